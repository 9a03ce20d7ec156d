"""Readers and writers, folders, splits, loaders, and the drawing kit for stand-in data."""
