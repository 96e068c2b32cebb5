"""The version of this package, for its parts."""

__version__ = "0.1.0"
