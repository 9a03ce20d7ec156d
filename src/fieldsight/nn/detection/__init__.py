"""Detectors: YOLOv8, YOLOv10 and RT-DETR, their decoding and the reading of users' checkpoints.

Importing this package loads no torch; its modules do.
"""
