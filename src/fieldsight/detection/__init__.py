"""Detectors that people train and use: config, training, measuring, results. Networks are in :mod:`fieldsight.nn`."""
