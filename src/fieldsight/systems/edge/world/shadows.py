"""Shadows on the floor: coarse convex solids, thrown from each lamp onto a map seen from above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Ground:
    """Where the floor's map lies.

    Attributes:
        x, y: of the first cell's corner, m.
        cells: number per metre.
        shape: rows and columns.
        level: height in m up to which a point counts as floor.
        soft: width of a shadow's edge, m.
        depth: share of direct light that a full shadow takes.
    """

    x: float
    y: float
    cells: float
    shape: tuple[int, int]
    level: float = 0.02
    soft: float = 0.03
    depth: float = 0.8

    def frame(self) -> Doubles:
        """As :class:`~fieldsight.systems.edge.world.shading.Light` has it."""
        return np.array([self.x, self.y, self.cells, self.level])

    def lit(self) -> Map:
        """A floor without a shadow: ``(2, R, C)`` ones."""
        return np.ones((2, *self.shape), np.float32)


def thrown(points: Doubles, lamp: Doubles) -> Doubles | None:
    """Where corners ``(n, 3)`` throw their shadows ``(n, 2)`` on z = 0; None if the lamp is not above them."""
    height = np.maximum(points[:, 2], 0.0)
    if lamp[6] > 0:
        if lamp[2] <= height.max() + 0.05:
            return None
        reach = (height / (lamp[2] - height))[:, None]
        return np.asarray(points[:, :2] + (points[:, :2] - lamp[:2]) * reach)
    if lamp[2] <= 0.05:
        return None
    return np.asarray(points[:, :2] - lamp[:2] * (height / lamp[2])[:, None])


def cast(floor: Map, ground: Ground, casters: Sequence[Doubles], lamps: Doubles) -> None:
    """Darken the map ``(2, R, C)`` in place by what stands on the floor.

    Args:
        floor: share of direct and of ambient light.
        casters: ``(n, 3)`` corners of convex solids, m.
        lamps: ``(L, 8)``, see :class:`~fieldsight.systems.edge.world.shading.Light`.
    """
    power = lamps[:, 3:6].sum(axis=1) if len(lamps) else np.zeros(0)
    shares = power / max(float(power.sum()), 1e-9)
    drops: list[tuple[int, float, Doubles]] = []
    for solid in casters:
        low = solid[solid[:, 2] < solid[:, 2].min() + 0.05]
        if solid[:, 2].min() < 10 * ground.soft and len(low) >= 3:
            drops.append((1, 0.7, low[:, :2]))
        for lamp, share in zip(lamps, shares, strict=True):
            shadow = thrown(solid, lamp)
            if shadow is not None:
                drops.append((0, ground.depth * float(share), shadow))
    by_layer: dict[tuple[int, float], list[Doubles]] = {}
    for layer, strength, shape in drops:
        by_layer.setdefault((layer, round(strength, 6)), []).append(shape)
    for (layer, strength), shapes in by_layer.items():
        _darken(floor[layer], ground, shapes, strength, ground.soft * (1.3 if layer else 1.0))


def _darken(layer: Map, ground: Ground, shapes: Sequence[Doubles], strength: float, soft: float) -> None:
    """Fill hulls of ``(n, 2)`` points in m, soften, and multiply; only the part of the map that they touch."""
    hulls = [(np.asarray(s) - (ground.x, ground.y)) * ground.cells for s in shapes]
    margin = int(3 * soft * ground.cells) + 2
    low = np.floor(np.min([h.min(axis=0) for h in hulls], axis=0)).astype(int) - margin
    high = np.ceil(np.max([h.max(axis=0) for h in hulls], axis=0)).astype(int) + margin
    c0, r0 = np.maximum(low, 0)
    c1, r1 = np.minimum(high, (ground.shape[1], ground.shape[0]))
    if c0 >= c1 or r0 >= r1:
        return
    mask = np.zeros((r1 - r0, c1 - c0), np.uint8)
    for hull in hulls:
        # four fractional bits; far corners of long shadows must not overflow
        fixed = np.clip((hull - (c0, r0) - 0.5) * 16, -(2**20), 2**20).astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(fixed), 255, cv2.LINE_8, 4)
    sigma = max(0.4, soft * ground.cells)
    blurred = cv2.GaussianBlur(mask, (0, 0), sigma)
    layer[r0:r1, c0:c1] *= 1 - np.float32(strength / 255.0) * blurred.astype(np.float32)
