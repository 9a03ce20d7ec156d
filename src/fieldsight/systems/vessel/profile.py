"""What absorbs across a vessel, point by point along its way, and the narrowing that is fitted to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates

from fieldsight.systems.vessel.course import SHORTEST

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Places across a way where the picture is read, px.
REACH = np.arange(-22.0, 22.01, 0.5)

#: What lies this far beyond the lumen on both sides is ground, px; its level is this quantile.
_GROUND, _LEVEL = 5.0, 0.35

#: Levels of ground that differ by this share of the vessel's height: something else lies on one side.
_BESIDE = 0.3

#: Standard deviations of smoothing along the way, px: of the absorbed sums, of ground and of the way's direction.
_ALONG, _ALONG_GROUND, _ALONG_WAY = 0.7, 1.5, 2.0

#: Residuals beyond this share of the diameter count less (soft L1): neighbours and crossings.
_SOFT = 0.08

#: Width that blur alone makes of a line, as :func:`_width` reads it, px.
_BLUR = 3.0

#: Points that share a pixel: so many neighbours along the way tell one thing.
_SHARED = 3.0


@dataclass(frozen=True, eq=False)
class Lumens:
    """What was read along a way.

    Attributes:
        points: ``(P, 2)`` x, y as indices, moved to the middle of what absorbs.
        root: ``(P,)`` root of what absorbs, summed across: proportional to the diameter of a round lumen.
        beside: ``(P,)`` something else lies on one side.
        width: diameter of the healthy part from the shape of its profile, px.
        profiles: ``(P, X)`` what absorbs at :data:`REACH` across the way.
    """

    points: Doubles
    root: Doubles
    beside: Bools
    width: float
    profiles: Doubles

    def excess(self, dip: Dip) -> float:
        """How much wider the narrowest part looks than what absorbs there allows, px.

        A narrow lumen is seen as narrow, but for blur. Wires of a stent, and a vessel that crosses just there, are not.
        """
        at = int(np.clip(round(dip.at), 0, len(self.root) - 1))
        near = self.profiles[max(0, at - 2) : at + 3].mean(0)
        healthy = float(np.median(dip.reference))
        lumen = self.width * float(dip.root[at]) / max(healthy, 1e-9)
        return _width(near) - math.hypot(lumen, _BLUR)


@dataclass(frozen=True, eq=False)
class Dip:
    """One smooth narrowing on a vessel that tapers evenly.

    Attributes:
        depth: share of the diameter that is lost.
        at, wide: place and half width along the way, px.
        reference: ``(P,)`` healthy root.
        left: mean absolute residual near it, share of the diameter.
        spread: standard error of the depth.
    """

    depth: float
    at: float
    wide: float
    reference: Doubles
    left: float
    spread: float

    @property
    def root(self) -> Doubles:
        """``(P,)`` the narrowed root."""
        u = (np.arange(len(self.reference)) - self.at) / self.wide
        return np.asarray(self.reference * (1 - self.depth * np.exp(-0.5 * u * u)))


def read(absorbed: Doubles, way: Doubles, inside: Bools) -> Lumens:
    """Sums across a way whose points are a px apart.

    Args:
        absorbed: ``(h, w)`` attenuation, the logarithm of the intensity with its sign turned.
        way: ``(P, 2)`` x, y as indices.
        inside: ``(P,)`` points that may be narrowed.
    """
    profiles, points = _centred(absorbed, way)
    width = _width(np.median(profiles[~inside], axis=0))
    half = float(np.clip(0.75 * width + 1.5, 3.0, 14.0))
    sides = [profiles[:, (side * REACH > half) & (side * REACH <= half + _GROUND)] for side in (-1, 1)]
    base = np.stack([np.quantile(side, _LEVEL, axis=1) for side in sides], axis=1)
    base = gaussian_filter1d(base, _ALONG_GROUND, axis=0, mode="nearest")
    height = float(np.median(profiles[:, np.abs(REACH) <= 1].max(1) - base.min(1)))
    beside = np.abs(base[:, 0] - base[:, 1]) > _BESIDE * max(height, 0.02)
    ground = np.where(beside, base.min(1), base.mean(1))
    core = np.abs(REACH) <= half
    area = np.maximum((_falling(profiles)[:, core] - ground[:, None]).sum(1) * 0.5, 0.0)
    root = np.sqrt(np.maximum(gaussian_filter1d(area, _ALONG, mode="nearest"), 0.0))
    return Lumens(points, root, beside, width, profiles)


def fit(root: Doubles, inside: Bools, beyond: Bools, free: bool) -> Dip:
    """A line with one Gaussian dip, fitted to roots; what does not belong weighs little.

    Args:
        root: ``(P,)`` see :class:`Lumens`.
        inside, beyond: ``(P,)`` where the dip may be, and where the vessel is healthy or nearly.
        free: fit the line together with the dip, for where the narrowing may reach beyond; else it is the line through
            what lies beyond, by Theil and Sen.
    """
    from scipy.optimize import least_squares

    use, within = np.flatnonzero(inside | beyond), np.flatnonzero(inside)
    first = _line(root, beyond, inside)
    middle, length = float(within.mean()), float(len(within))
    level = float(first[round(middle)])
    tilt = float(first[-1] - first[0]) / max(len(first) - 1, 1) * length / level
    share = gaussian_filter1d(root / first, 1.5, mode="nearest")
    deepest = int(within[np.argmin(share[within])])
    low = np.array([0.0, within[0], 1.0, 0.7, -1.0])
    high = np.array([1.0, within[-1] + 1e-3, max(length / 2, 2.0), 1.5, 1.0])
    start = np.clip([1 - share[deepest], deepest, length / 5, 1.0, tilt], low + 1e-4, high - 1e-4)
    count = 5 if free else 3

    def healthy(p: Doubles, at: Doubles) -> Doubles:
        """The line over its level."""
        if not free:
            return np.asarray(np.interp(at, np.arange(len(first)), first) / level)
        return np.asarray(np.maximum(p[3] + p[4] * (at - middle) / length, 0.05))

    places = use.astype(np.float64)

    def left(p: Doubles) -> Doubles:
        line = healthy(p, places)
        dip = 1 - p[0] * np.exp(-((places - p[1]) ** 2) / (2 * p[2] ** 2))
        return np.asarray(line * dip - root[use] / level if free else dip - root[use] / level / line)

    found = least_squares(
        left, start[:count], bounds=(low[:count], high[:count]), loss="soft_l1", f_scale=_SOFT, max_nfev=80
    )
    depth, at, wide = (float(v) for v in found.x[:3])
    rest = left(found.x)[np.abs(places - at) <= 3 * wide + 6]
    spread = math.sqrt(_SHARED * float(np.mean(rest**2)) * float(np.linalg.pinv(found.jac.T @ found.jac)[0, 0]))
    reference = level * healthy(found.x, np.arange(len(root), dtype=np.float64))
    return Dip(depth, at, wide, reference, float(np.abs(rest).mean()), spread)


def tangents(points: Doubles, smooth: float = _ALONG_WAY) -> Doubles:
    """Unit vectors ``(P, 2)`` along a way."""
    step = np.gradient(gaussian_filter1d(points, smooth, axis=0, mode="nearest"), axis=0)
    return np.asarray(step / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9))


def _centred(absorbed: Doubles, points: Doubles) -> tuple[Doubles, Doubles]:
    """Profiles ``(P, X)`` across the way, once moved onto the middle of what absorbs, and the moved way."""
    profiles = np.empty(0)
    for last in (False, True):
        along = tangents(points)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
        place = points[:, None] + REACH[None, :, None] * normal[:, None]
        profiles = map_coordinates(absorbed, [place[..., 1], place[..., 0]], order=1, mode="nearest")
        if last:
            break
        near = np.abs(REACH) <= 4
        weight = profiles[:, near] - np.quantile(profiles[:, near], 0.3, axis=1)[:, None]
        weight = np.maximum(gaussian_filter1d(weight, 3.0, axis=0, mode="nearest"), 0.0)
        shift = (weight * REACH[near]).sum(1) / np.maximum(weight.sum(1), 1e-9)
        points = points + gaussian_filter1d(np.clip(shift, -2, 2), 2.0, mode="nearest")[:, None] * normal
    return np.asarray(profiles), points


def _width(profile: Doubles) -> float:
    """Diameter of a round lumen from its profile's width at half of the height: the root of 3/4 of it."""
    middle = np.abs(REACH) <= 1.5
    half = (float(profile[middle].max()) + float(np.quantile(profile, 0.25))) / 2
    first = last = int(np.argmax(np.where(middle, profile, -np.inf)))
    while first > 0 and profile[first - 1] > half:
        first -= 1
    while last < len(profile) - 1 and profile[last + 1] > half:
        last += 1
    return float(np.clip((REACH[last] - REACH[first] + 0.5) / math.sqrt(0.75), 1.5, 24.0))


def _falling(profiles: Doubles) -> Doubles:
    """Profiles that only fall from the middle outwards, so that neighbours do not count."""
    middle = len(REACH) // 2
    top = profiles[:, middle - 2 : middle + 3].max(1, keepdims=True)
    out = np.empty_like(profiles)
    for part in (slice(middle, None), slice(middle, None, -1)):
        side = profiles[:, part].copy()
        side[:, :3] = np.maximum(side[:, :3], np.minimum(top, side[:, :3].max(1, keepdims=True)))
        out[:, part] = np.minimum.accumulate(side, axis=1)
    return out


def _line(root: Doubles, beyond: Bools, inside: Bools) -> Doubles:
    """A first guess at the healthy root: a line through what lies beyond, by Theil and Sen.

    With points on one side only it is their median: a line would run away.
    """
    where = np.flatnonzero(beyond)
    middle = float(np.flatnonzero(inside).mean())
    values = root[where]
    if min((where < middle).sum(), (where > middle).sum()) < SHORTEST / 2:
        return np.full(len(root), max(float(np.median(values)), 1e-6))
    first, second = np.triu_indices(len(where), 1)
    far = where[second] - where[first] > 6
    slope = float(np.median((values[second] - values[first])[far] / (where[second] - where[first])[far]))
    line = float(np.median(values - slope * where)) + slope * np.arange(len(root))
    return np.asarray(np.maximum(line, 0.3 * float(np.median(values)) + 1e-6))
