"""Simulated smoke, the data of table 6."""

from equigrid.datasets.smoke.builder import Smoke

__all__ = ["Smoke"]
