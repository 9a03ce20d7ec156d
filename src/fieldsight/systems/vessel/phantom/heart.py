"""The heart as an ellipsoid on which the coronary arteries run, and how it beats.

Heart coordinates (mm, origin in the middle): anterior interventricular groove, lateral wall of the left ventricle,
apex. Patient coordinates follow DICOM: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

#: The heart's own axes in patient coordinates, one a row. The apex points left, forward and down; seen from LAO 40°
#: the septum is edge-on, from RAO 30° the long axis lies across the picture, as in the catheter laboratory.
_APEX = np.array([0.62, -0.50, -0.60]) / np.linalg.norm([0.62, -0.50, -0.60])
_ANTERIOR = np.array([0.0, 0.0, 1.0]) - _APEX[2] * _APEX
_ANTERIOR = _ANTERIOR / np.linalg.norm(_ANTERIOR)
_LATERAL = np.cross(_ANTERIOR, _APEX)

#: How much a beat shortens the long axis, narrows the short ones, twists the apex (rad) and lifts the heart (mm).
_SHORTENING, _NARROWING, _TWIST = 0.09, 0.10, 0.14
_LIFT = np.array([0.0, -1.5, 2.0])


@dataclass(frozen=True)
class Heart:
    """An ellipsoid in the chest.

    Attributes:
        axes: ``(3, 3)`` rows are the anterior, lateral and apical direction in patient coordinates.
        half: ``(3,)`` semi-axes along them, mm.
    """

    axes: Doubles
    half: Doubles

    def place(self, polar: float, azimuth: float, lift: float = 1.0) -> Doubles:
        """A point ``(3,)`` in heart coordinates.

        Args:
            polar: degrees from the apex (0) over the base's rim (about 105) to the middle of the base (180).
            azimuth: degrees from the anterior groove (0) over the lateral wall (90) to the posterior groove (180).
            lift: 1 is on the surface, less is inside.
        """
        p, a = np.radians(polar), np.radians(azimuth)
        ball = np.array([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)])
        return np.asarray(lift * self.half * ball)

    def lift(self, points: Doubles) -> Doubles:
        """How far out points ``(..., 3)`` are: 1 on the surface, 0 in the middle."""
        return np.asarray(np.linalg.norm(points / self.half, axis=-1))

    def outward(self, points: Doubles) -> Doubles:
        """Unit normals ``(..., 3)`` of the ellipsoid through points ``(..., 3)``."""
        normals = points / np.square(self.half)
        return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9))

    def in_patient(self, points: Doubles, squeeze: float = 0.0, motion: float = 1.0) -> Doubles:
        """Points ``(n, 3)`` of the resting heart in patient coordinates (mm) while the heart is contracted.

        Args:
            points: heart coordinates, mm.
            squeeze: 0 relaxed to 1 contracted, see :func:`squeeze_at`.
            motion: factor on the contraction.
        """
        amount = squeeze * motion
        base = -0.35 * self.half[2]
        down = (points[:, 2] - base) / (self.half[2] - base)  # 0 at the base, 1 at the apex
        angle = _TWIST * amount * down
        narrow = 1 - _NARROWING * amount * np.clip(0.4 + 0.6 * down, 0.2, 1.0)
        moved = np.empty_like(points)
        moved[:, 0] = narrow * (np.cos(angle) * points[:, 0] - np.sin(angle) * points[:, 1])
        moved[:, 1] = narrow * (np.sin(angle) * points[:, 0] + np.cos(angle) * points[:, 1])
        moved[:, 2] = base + (points[:, 2] - base) * (1 - _SHORTENING * amount)
        return np.asarray(moved @ self.axes + amount * _LIFT)


def draw_heart(rng: np.random.Generator) -> Heart:
    """A heart of its own size and position: semi-axes about 45, 47 and 58 mm, turned by a few degrees."""
    from scipy.spatial.transform import Rotation

    axes = np.stack([_ANTERIOR, _LATERAL, _APEX])
    turn = Rotation.from_rotvec(np.radians(rng.normal(0.0, 6.0, 3))).as_matrix()
    half = np.array([45.0, 47.0, 58.0]) * rng.uniform(0.92, 1.08) * rng.uniform(0.96, 1.04, 3)
    return Heart(axes @ turn.T, half)


def squeeze_at(phase: float) -> float:
    """Contraction, 0 to 1, at a phase of the cardiac cycle (0 to 1, systole first): smooth, periodic, at rest late."""
    p = phase % 1.0
    if p < 0.35:
        return float(np.sin(0.5 * np.pi * p / 0.35) ** 2)
    if p < 0.65:
        return float(np.cos(0.5 * np.pi * (p - 0.35) / 0.30) ** 2)
    return 0.0
