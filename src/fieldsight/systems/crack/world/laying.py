"""Laying cracks into a surface: coverage by drawing at 4x, their look, and the three kinds of annotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, unknown
from fieldsight.systems.crack.sample import MaskArray
from fieldsight.systems.crack.world.cracks import HABITS, Crack, Line
from fieldsight.systems.crack.world.surfaces import Field, Shape, smooth_noise, step

STYLES = ("exact", "centreline", "dilated")
SUPERSAMPLE = 4


@dataclass(frozen=True)
class Laid:
    """Cracks rasterised: all ``(H, W)`` float32 in 0-1.

    Attributes:
        cover: share of each pixel inside a crack.
        dark: mean darkening of the pixel.
        fill: mean share of debris.
    """

    cover: Field
    dark: Field
    fill: Field


def stopped(crack: Crack, solid: Field) -> Crack:
    """The crack with gaps where ``solid`` (``(H, W)``, 0-1) takes more than half of a pixel."""
    at = np.round(crack.points[:, :2]).astype(np.intp)
    at = np.clip(at, 0, np.array(solid.shape) - 1)
    hidden = solid[at[:, 0], at[:, 1]] > 0.5
    return Crack(crack.points, np.where(hidden, 0.0, crack.depth), crack.fill)


def stroke(canvas: NDArray[np.uint8], line: Line, values: Line) -> None:
    """Draw a line of varying width into a canvas ``SUPERSAMPLE`` times as fine; ``values`` 0-1, 0 is not drawn."""
    at = np.round((line[:, 1::-1] + 0.5) * (SUPERSAMPLE * 8) - 4).astype(np.int64).tolist()
    middle = 0.5 * (line[1:, 2] + line[:-1, 2])
    thick = np.maximum(np.round(middle * SUPERSAMPLE), 1).astype(np.int64).tolist()
    tone = np.round(255 * np.minimum(values[1:], values[:-1])).astype(np.int64).tolist()
    for i in range(len(line) - 1):
        if tone[i] > 0:
            cv2.line(canvas, at[i], at[i + 1], tone[i], thick[i], cv2.LINE_8, 3)


def cover_of(lines: Sequence[Line], shape: Shape) -> Field:
    """Share of each pixel under lines ``(n, 3)``, by drawing at 4x and averaging down; ``(H, W)`` float32 in 0-1."""
    canvas = np.zeros((shape[0] * SUPERSAMPLE, shape[1] * SUPERSAMPLE), np.uint8)
    for line in lines:
        stroke(canvas, line, np.ones(len(line)))
    return _down(canvas, shape)


def _down(canvas: NDArray[np.uint8], shape: Shape) -> Field:
    small = cv2.resize(canvas, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(small.astype(np.float32) / np.float32(255), dtype=np.float32)


def lay(cracks: Sequence[Crack], shape: Shape) -> Laid:
    """Rasterise cracks by drawing at 4x and averaging down."""
    canvas = np.zeros((shape[0] * SUPERSAMPLE, shape[1] * SUPERSAMPLE), np.uint8)
    for crack in cracks:
        stroke(canvas, crack.points, crack.depth)
    dark = _down(canvas, shape)
    cover = _down(cv2.compare(canvas, 0, cv2.CMP_GT), shape)
    fill = np.zeros(shape, np.float32)
    if any(crack.fill.any() for crack in cracks):
        canvas[:] = 0
        for crack in cracks:
            stroke(canvas, crack.points, np.where(crack.depth > 0, crack.fill, 0.0))
        fill = _down(canvas, shape)
    return Laid(cover, dark, fill)


def cut_into(image: Field, laid: Laid, domain: str, rng: np.random.Generator) -> Field:
    """Lay cracks into a surface: dark inside, with debris, chipped edges or a fringe; returns a new image."""
    habit = HABITS[domain]
    shape = (image.shape[0], image.shape[1])
    inside_ = np.clip(laid.cover, 0, 1)[..., None]
    smooth = cv2.GaussianBlur(image, (0, 0), 2.5)
    ground = image + 0.85 * inside_ * (smooth - image)
    out = ground * (1 - laid.dark)[..., None]
    if laid.fill.any():
        dust = np.asarray((0.56, 0.50, 0.42), np.float32) * np.float32(rng.uniform(0.7, 1.05))
        speck = 1 + 0.25 * smooth_noise(shape, 2.5, rng)
        share = np.clip(laid.fill * step(smooth_noise(shape, 4.0, rng), -0.2, 1.0), 0, 1)[..., None]
        out = out + np.float32(0.7) * share * (dust * speck[..., None] - out)
    if rng.random() < habit.spall:
        near = np.clip(cv2.GaussianBlur(laid.cover, (0, 0), 1.6) * 2.2, 0, 1) * (1 - laid.cover)
        chips = step(smooth_noise(shape, 5.0, rng), 0.3, 0.6)
        out = out * (1 + np.float32(rng.uniform(0.15, 0.35)) * near * chips)[..., None]
    if rng.random() < habit.halo:
        fringe = np.clip(cv2.GaussianBlur(laid.cover, (0, 0), rng.uniform(3.0, 6.0)) * 2.0, 0, 1)
        out = out * (1 - np.float32(rng.uniform(0.06, 0.16)) * fringe)[..., None]
    return np.asarray(out, dtype=np.float32)


def check_style(style: str) -> None:
    """Refuse an annotation style that does not exist.

    Raises:
        ConfigError: unknown style.
    """
    if style not in STYLES:
        raise ConfigError(unknown("annotation style", str(style), STYLES))


def annotate(exact: MaskArray, cracks: Sequence[Crack], style: str) -> MaskArray:
    """The truth as one of three kinds of annotator gives it; ``(H, W)`` bool.

    Raises:
        ConfigError: unknown style.
    """
    check_style(style)
    if style == "exact":
        return exact
    if style == "dilated":
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
        return np.asarray(cv2.dilate(exact.astype(np.uint8), disc), dtype=bool)
    canvas = np.zeros(exact.shape, np.uint8)
    for crack in cracks:
        at = np.round(crack.points[:, 1::-1]).astype(np.int32)
        seen = (crack.points[:, 2] >= 0.8) & (crack.depth > 0)
        for a, b in zip(np.flatnonzero(seen[:-1] & seen[1:]), np.flatnonzero(seen[:-1] & seen[1:]) + 1, strict=True):
            cv2.line(canvas, at[a].tolist(), at[b].tolist(), 1, 1)
    return np.asarray(cv2.dilate(canvas, np.ones((3, 3), np.uint8)), dtype=bool)
