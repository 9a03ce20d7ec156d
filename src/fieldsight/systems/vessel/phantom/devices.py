"""Things of metal and plastic: the catheter that brings the contrast medium, and stents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.vessel.phantom.camera import Camera
from fieldsight.systems.vessel.phantom.heart import Heart
from fieldsight.systems.vessel.phantom.lesions import Stent
from fieldsight.systems.vessel.phantom.project import fine_of, shrunk, window_of
from fieldsight.systems.vessel.phantom.raster import tube
from fieldsight.systems.vessel.phantom.tree import Branch, arc_of, spline

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: Wire of a stent: half its thickness, distance of its rings, height of its zigzag (mm), zigzags around the vessel.
_WIRE, _RING, _ZIGZAG, _CROWNS = 0.05, 1.2, 0.5, 7


@dataclass(frozen=True)
class Catheter:
    """A guiding catheter from the aortic arch into the ostium.

    Attributes:
        outer, inner: radius of the wall and of the lumen, mm.
        bends: ``(4, 3)`` stations after the tip, mm from the ostium in patient coordinates.
    """

    outer: float
    inner: float
    bends: Doubles


def draw_catheter(artery: str, rng: np.random.Generator) -> Catheter:
    """A catheter of 5 to 6 French with the bend for the left or the right artery."""
    outer = float(rng.uniform(0.85, 1.0))
    first = [-15.0, 6.0, 12.0] if artery == "LCA" else [-7.0, 5.0, 16.0]
    bends = np.array([first, [-17.0, 9.0, 36.0], [-9.0, 20.0, 78.0], [6.0, 36.0, 125.0]])
    return Catheter(outer, 0.78 * outer, bends + rng.normal(0.0, 3.0, bends.shape))


def cast_catheter(catheter: Catheter, ostium: Doubles, ahead: Doubles, camera: Camera) -> tuple[Floats, Floats, Bools]:
    """Path through the wall and through the lumen (px), and the silhouette, each ``(H, W)``.

    Args:
        catheter: what is cast.
        ostium: ``(3,)`` where the artery begins, patient coordinates in mm.
        ahead: ``(3,)`` unit direction in which the artery begins.
        camera: view and size of the picture.
    """
    knots = np.vstack([ostium + 2.0 * ahead, ostium - 5.0 * ahead, ostium + catheter.bends])
    seen, scale = camera.project(spline(knots))
    outer, inner = (
        _cast(np.column_stack([seen, r * scale, 0 * scale]), camera.side) for r in (catheter.outer, catheter.inner)
    )
    return outer[0] - inner[0], inner[0], outer[3] > 0


def cast_stent(
    stent: Stent, branch: Branch, heart: Heart, camera: Camera, squeeze: float, motion: float
) -> tuple[Floats, Bools]:
    """Path through the wire (px) of a stent and the silhouette of the stented vessel, each ``(H, W)``."""
    inside = (branch.arc >= stent.first) & (branch.arc <= stent.last)
    points = heart.in_patient(branch.points, squeeze, motion)[inside]
    radii = branch.radii[inside]
    seen, scale = camera.project(points)
    hull = _cast(np.column_stack([seen, radii * scale, 0 * scale]), camera.side)[3] > 0
    fine, times = fine_of(camera)
    wire = np.zeros((fine.side, fine.side), np.float32)
    for ring in _rings(points, radii):
        where, size = fine.project(ring)
        axis = np.column_stack([where, _WIRE * size, 0 * size])
        window = window_of(axis, fine.side)
        if window is not None:
            row, column, height, width = window
            wire[row : row + height, column : column + width] += tube(axis, column, row, height, width)[0]
    return shrunk(wire, times) / np.float32(times), hull


def _rings(points: Doubles, radii: Doubles) -> list[Doubles]:
    """Half rings ``(n, 3)`` of a zigzag mesh around an axis; halves, because front and back wires add."""
    ahead = np.gradient(points, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    helper = np.eye(3)[int(np.argmin(np.abs(ahead.mean(axis=0))))]
    first = np.cross(ahead, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(ahead, first)
    arc = arc_of(points)
    halves = []
    for number, place in enumerate(np.arange(_ZIGZAG, arc[-1] - _ZIGZAG, _RING)):
        turn = np.linspace(0, 2 * np.pi, 8 * _CROWNS + 1)
        wave = 2 / np.pi * np.arcsin(np.sin(_CROWNS * turn + np.pi * (number % 2)))
        k = np.clip(np.searchsorted(arc, place + _ZIGZAG * wave), 0, len(arc) - 1)
        ring = points[k] + radii[k, None] * (np.cos(turn)[:, None] * first[k] + np.sin(turn)[:, None] * second[k])
        middle = len(turn) // 2
        halves += [ring[: middle + 1], ring[middle:]]
    return halves


def _cast(axis: Doubles, side: int) -> Floats:
    """What :func:`~fieldsight.systems.vessel.phantom.raster.tube` finds, ``(4, side, side)``."""
    out = np.zeros((4, side, side), np.float32)
    window = window_of(axis, side)
    if window is not None:
        row, column, height, width = window
        out[:, row : row + height, column : column + width] = tube(axis, column, row, height, width)
    return out
