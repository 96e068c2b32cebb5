"""The report: one HTML page, its figures, and what is said of them."""
