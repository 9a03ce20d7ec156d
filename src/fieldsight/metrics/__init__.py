"""Metrics that say how they are computed, and the statistics around them."""
