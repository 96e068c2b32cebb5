"""equigrid: grids, tracked runs and tables for approximately equivariant networks."""

__version__ = "0.1.0"
