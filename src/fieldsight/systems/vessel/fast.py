"""Frangi's filter as quickly as a processor allows: the same numbers as :mod:`.filters` to about 1e-6.

A wide Gaussian needs few samples. The picture is blurred with a part of it and every second (fourth) pixel is kept;
derivatives are taken from those with the rest of the blur, straight at every pixel of the full picture (polyphase
kernels), so nothing is enlarged afterwards. A row of derivatives becomes vesselness while it is still in the cache.

Aliases: a frequency ``2 pi / d - w`` passes the first blur ``b`` and looks like ``w``, which the rest ``r`` passes.
With ``b^2 + r^2 = sigma^2`` the worst ``w`` passes both with ``exp(-(2 pi / d)^2 b^2 r^2 / 2 sigma^2)``, which for
``b = r`` and ``sigma = 1.75 d`` is 3e-7; the second derivative makes 8e-6 of it, relative to what was there.
"""

from __future__ import annotations

import functools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled_for_rows
from fieldsight.systems.vessel.constants import BETA, SIGMAS, C
from fieldsight.systems.vessel.filters import Polarity, Vesselness
from fieldsight.systems.vessel.hessian import REACH, check_sigmas, kernel

Floats = NDArray[np.float32]

#: Blur before every second, fourth ... pixel is kept, and the least scale that is taken from them, in spacings.
LEAST = 1.75
BLUR = LEAST / math.sqrt(2)
SPACINGS = (8, 4, 2)


@dataclass(frozen=True)
class Stage:
    """How a scale is computed.

    Attributes:
        sigma: the scale.
        spacing: pixels between the samples it is taken from.
        kernels: ``(3, spacing, taps)`` polyphase kernels of orders 0, 1, 2; those of order 1 and 2 carry one sigma a
            derivative.
    """

    sigma: float
    spacing: int
    kernels: Floats

    @property
    def radius(self) -> int:
        """Samples from the middle of the kernels to their end."""
        return self.kernels.shape[2] // 2


@functools.lru_cache(maxsize=64)
def stage(sigma: float) -> Stage:
    """The widest spacing that leaves enough blur for the derivative."""
    for spacing in SPACINGS:
        if sigma >= LEAST * spacing:
            return Stage(sigma, spacing, _kernels(sigma, math.sqrt(sigma**2 - (BLUR * spacing) ** 2), spacing))
    return Stage(sigma, 1, _kernels(sigma, sigma, 1))


def _kernels(sigma: float, rest: float, spacing: int) -> Floats:
    each = [[sigma**n * kernel(rest, n, spacing, p) for p in range(spacing)] for n in range(3)]
    return np.ascontiguousarray(each, np.float32)


def vesselness(
    image: NDArray[Any], sigmas: tuple[float, ...] = SIGMAS, polarity: Polarity = "dark", beta: float = BETA,
    c: float = C, threads: int = 1, detail: bool = True,
) -> Vesselness:  # fmt: skip
    """Frangi's measure, its scale and its direction.

    Args:
        image: ``(H, W)`` grey levels, 0-255, of any number type.
        sigmas: scales in pixels, in any order.
        polarity: what vessels are.
        beta, c: see :func:`.filters.frangi`.
        threads: strips of rows that are worked on at once.
        detail: also say scale and direction; without it both are empty arrays.

    Raises:
        ConfigError: an impossible scale.
    """
    scales = check_sigmas(sigmas)
    stages = [stage(s) for s in scales]
    height, width = image.shape
    margin = max(math.ceil(REACH * s.sigma * 1.5) for s in stages) + 2 * SPACINGS[0]
    margin += -margin % SPACINGS[0]
    levels = _levels(_mirrored(image, margin), max(s.spacing for s in stages))
    value = np.zeros((height, width), np.float32)
    scale = np.full((height, width) if detail else (0, 0), scales[0], np.float32)
    bends = np.zeros((2, height, width) if detail else (2, 0, 0), np.float32)
    sign = np.float32(1 if polarity == "dark" else -1)
    falls = np.float32(1 / (2 * beta**2)), np.float32(1 / (2 * c**2))

    def strip(first: int, last: int) -> None:
        for s in stages:
            _scale(levels[s.spacing], s.kernels, margin // s.spacing, first, last, sign, *falls, np.float32(s.sigma),
                   value, scale, bends)  # fmt: skip

    edges = np.linspace(0, height, min(threads, height) + 1).astype(int).tolist()
    if len(edges) > 2:
        with ThreadPoolExecutor(len(edges) - 1) as pool:
            list(pool.map(strip, edges[:-1], edges[1:]))
    else:
        strip(0, height)
    return Vesselness(value, scale, _angle(bends) if detail else bends[0])


def _mirrored(image: NDArray[Any], margin: int) -> Floats:
    """The picture with a margin: mirrored, as often as a small picture needs."""
    plain = np.asarray(image, np.float32)
    if margin < min(plain.shape):
        return cast(Floats, cv2.copyMakeBorder(plain, margin, margin, margin, margin, cv2.BORDER_REFLECT_101))
    for axis, side in enumerate(plain.shape):
        width = [(margin, margin) if n == axis else (0, 0) for n in range(2)]
        plain = np.pad(plain, width, mode="reflect" if side > 1 else "edge")
    return plain


def _levels(padded: Floats, most: int) -> dict[int, Floats]:
    """The padded picture at spacings 1, 2, 4 ..., each but the first blurred by :data:`BLUR` of its spacing."""
    levels, spacing = {1: padded}, 1
    while spacing < most:
        had = BLUR * spacing if spacing > 1 else 0.0
        blur = math.sqrt((BLUR * 2 * spacing) ** 2 - had**2) / spacing
        levels[2 * spacing] = _halved(levels[spacing], kernel(blur, 0).astype(np.float32))
        spacing *= 2
    return levels


def _halved(image: Floats, weights: Floats) -> Floats:
    """Blurred, every second row and column kept. At the margin's outer edge it does not matter how."""
    rows = np.empty(((image.shape[0] + 1) // 2, image.shape[1]), np.float32)
    _halve_rows(image, weights, rows)
    across = cv2.sepFilter2D(rows, cv2.CV_32F, weights, np.ones(1, np.float32), borderType=cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(across[:, ::2])


@compiled_for_rows
def _halve_rows(image: Floats, weights: Floats, out: Floats) -> None:
    radius, last = len(weights) // 2, image.shape[0] - 1
    for y in range(out.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] = 0
        for k in range(-radius, radius + 1):
            source = image[min(max(2 * y + k, 0), last)]
            weight = weights[k + radius]
            for x in range(image.shape[1]):
                out[y, x] += weight * source[x]


def _angle(bends: Floats) -> Floats:
    """Along the vessel, from the double angle across it."""
    angle = np.arctan2(bends[1], bends[0]) * np.float32(0.5)
    turn = np.float32(np.pi / 2)
    return np.where(angle > 0, angle - turn, angle + turn)


@compiled_for_rows
def _scale(
    level: Floats, kernels: Floats, margin: int, first: int, last: int, sign: float, fall_b: float, fall_s: float,
    sigma: float, value: Floats, scale: Floats, bends: Floats,
) -> None:  # fmt: skip
    """One scale over rows ``first`` to ``last``: larger values replace what is there."""
    spacing, taps = kernels.shape[1], kernels.shape[2]
    radius, width = taps // 2, value.shape[1]
    some = (width + spacing - 1) // spacing
    columns = some + 2 * radius
    start = margin - radius
    detail = scale.shape[0] > 0
    down = np.empty((3, columns), np.float32)
    parts = np.empty((3, some), np.float32)
    best = np.empty(some, np.float32)
    for y in range(first, last):
        _down(level, kernels, start + y // spacing, y % spacing, start, down)
        for phase in range(spacing):
            count = (width - phase + spacing - 1) // spacing
            for n in range(3):  # the order of the derivative along the row; the other one was taken down the column
                _along(down[2 - n], kernels[n, phase], parts[n], count)
            _measure(parts, count, sign, fall_b, fall_s, best)
            _keep(parts, best, count, spacing, phase, sign, sigma, value[y], scale, bends, y, detail)


@compiled_for_rows
def _down(level: Floats, kernels: Floats, row: int, phase: int, start: int, out: Floats) -> None:
    """Derivatives of orders 0, 1, 2 down the columns, of one row; four taps at a time, as in :func:`_along`."""
    taps, columns = kernels.shape[2], out.shape[1]
    for n in range(3):
        for x in range(columns):
            out[n, x] = 0
    for k in range(0, taps - 3, 4):
        i, j = level[row + k, start : start + columns], level[row + k + 1, start : start + columns]
        p, q = level[row + k + 2, start : start + columns], level[row + k + 3, start : start + columns]
        for n in range(3):
            w = kernels[n, phase]
            a, b, c, d = w[k], w[k + 1], w[k + 2], w[k + 3]
            for x in range(columns):
                out[n, x] += a * i[x] + b * j[x] + c * p[x] + d * q[x]
    for k in range(taps - taps % 4, taps):
        i = level[row + k, start : start + columns]
        for n in range(3):
            a = kernels[n, phase, k]
            for x in range(columns):
                out[n, x] += a * i[x]


@compiled_for_rows
def _along(source: Floats, weights: Floats, out: Floats, count: int) -> None:
    """Correlate a row, four taps at a time: one write for four products.

    Slices, since an index that might be negative keeps numba from taking several numbers at a time.
    """
    taps = len(weights)
    for x in range(count):
        out[x] = 0
    for k in range(0, taps - 3, 4):
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        i, j = source[k : k + count], source[k + 1 : k + 1 + count]
        p, q = source[k + 2 : k + 2 + count], source[k + 3 : k + 3 + count]
        for x in range(count):
            out[x] += a * i[x] + b * j[x] + c * p[x] + d * q[x]
    for k in range(taps - taps % 4, taps):
        a, i = weights[k], source[k : k + count]
        for x in range(count):
            out[x] += a * i[x]


@compiled_for_rows
def _measure(parts: Floats, count: int, sign: float, fall_b: float, fall_s: float, out: Floats) -> None:
    """Vesselness of a row from its second derivatives yy, xy, xx."""
    half, zero, one = np.float32(0.5), np.float32(0), np.float32(1)
    for x in range(count):
        yy, xy, xx = sign * parts[0, x], parts[1, x], sign * parts[2, x]
        middle, apart = half * (xx + yy), half * (xx - yy)
        root = np.sqrt(apart * apart + xy * xy)
        # of dark ridges the larger eigenvalue in magnitude is positive: then it is middle + root, and middle > 0
        large, small = middle + root, middle - root
        ratio = small / (large if large > zero else one)
        blob = fall_b * ratio * ratio
        strength = fall_s * (large * large + small * small)
        found = -_less(blob, strength)
        out[x] = found if middle > zero else zero


@compiled_for_rows
def _less(blob: float, strength: float) -> float:
    """``exp(-blob) * (exp(-strength) - 1)`` by squaring, since a call of exp can't be vectorised here."""
    return (np.float32(1) + _expm1(-blob)) * _expm1(-strength)


@compiled_for_rows
def _expm1(v: float) -> float:
    """``exp(v) - 1`` for ``v <= 0`` to 2e-6: Taylor's series of ``v / 32``, then five squarings of ``1 + p``."""
    y = max(v, np.float32(-24)) * np.float32(1 / 32)
    p = y * (np.float32(1) + y * (np.float32(1 / 2) + y * (np.float32(1 / 6) + y * (np.float32(1 / 24) + y * (
        np.float32(1 / 120) + y * (np.float32(1 / 720) + y * np.float32(1 / 5040)))))))  # fmt: skip
    for _ in range(5):
        p = p * (np.float32(2) + p)
    return p


@compiled_for_rows
def _keep(
    parts: Floats, best: Floats, count: int, spacing: int, phase: int, sign: float, sigma: float, value: Floats,
    scale: Floats, bends: Floats, y: int, detail: bool,
) -> None:  # fmt: skip
    """Write a phase's values back among the others where they are larger."""
    if not detail:
        for x in range(count):
            at = phase + x * spacing
            value[at] = max(value[at], best[x])
        return
    for x in range(count):
        at = phase + x * spacing
        if best[x] > value[at]:
            value[at] = best[x]
            scale[y, at] = sigma
            bends[0, y, at] = sign * (parts[2, x] - parts[0, x])
            bends[1, y, at] = sign * 2 * parts[1, x]


def spacing_of(sigma: float) -> tuple[int, int]:
    """Pixels between the samples a scale is taken from, and taps of its kernels: what it costs."""
    found = stage(float(sigma))
    return found.spacing, found.kernels.shape[2]
