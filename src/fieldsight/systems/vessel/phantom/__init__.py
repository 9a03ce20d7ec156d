"""Drawn coronary angiograms: a 3-D tree on a beating heart, projected, with the exact truth beside each picture."""

from __future__ import annotations

from fieldsight.systems.vessel.phantom.camera import VIEWS, View
from fieldsight.systems.vessel.phantom.flow import FPS
from fieldsight.systems.vessel.phantom.frame import SIDES, Angiogram, draw_frames, render, sequence
from fieldsight.systems.vessel.phantom.lesions import Lesion, Stent
from fieldsight.systems.vessel.phantom.look import PRESETS, Look
from fieldsight.systems.vessel.phantom.patient import ARTERIES, SPLITS, TABLE_1, Patient
from fieldsight.systems.vessel.phantom.truth import Profile

__all__ = [
    "ARTERIES",
    "FPS",
    "PRESETS",
    "SIDES",
    "SPLITS",
    "TABLE_1",
    "VIEWS",
    "Angiogram",
    "Lesion",
    "Look",
    "Patient",
    "Profile",
    "Stent",
    "View",
    "draw_frames",
    "render",
    "sequence",
]
