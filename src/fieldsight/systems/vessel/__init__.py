"""Vessels enhanced and stenoses found in angiograms (paper 12)."""
