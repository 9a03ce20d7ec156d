"""Warn a pedestrian of what is about to hit them, from any depth stream (paper 03)."""
