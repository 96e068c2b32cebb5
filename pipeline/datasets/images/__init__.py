"""Labelled images and volumes under an exact action: the base of datasets of one's own."""

from equigrid.datasets.images.builder import ImageClassification

__all__ = ["ImageClassification"]
