"""Metrics: one part each, fed batch by batch."""
