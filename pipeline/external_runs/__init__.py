"""Tables of runs that somebody else's code has tracked, in MLflow, a CSV file or a data frame.

schema: what a search space with `runs:` may say. source: runs and their curves, read from a store.
identity: which row, dataset, point and seed a run is of. scores: which of its scores count.
collection: what became of every run, and the selected points. cells: the table of them.
"""
