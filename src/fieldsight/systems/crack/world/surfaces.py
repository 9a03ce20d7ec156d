"""Bare surfaces: the ground that a crack runs through, before light, dirt and cracks.

Lengths are in pixels; a field of any size has the same texture scale. A surface is a function
``(shape, rng) -> Surface``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Shape = tuple[int, int]


@dataclass(frozen=True)
class Lattice:
    """Where the joints of a paving run: rows of stones ``high`` apart, upright joints ``wide`` apart.

    Attributes:
        angle: of the rows to the picture's columns, radians.
        wide, high: pitch along and across the rows, px.
        shift: how far every other row is moved along, px (running bond: half of ``wide``).
        row, column: a node of the lattice.
    """

    angle: float
    wide: float
    high: float
    shift: float
    row: float
    column: float

    def to_picture(self, along: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
        """Picture positions ``(n, 2)`` (row, column) of lattice coordinates in px."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.row + along * s + across * c, self.column + along * c - across * s], axis=1)


@dataclass(frozen=True)
class Surface:
    """A bare surface.

    Attributes:
        image: ``(H, W, 3)`` float32 RGB reflectance, about 0 to 1.
        kind: what it shows.
        lattice: its joints where it is paved, else None.
        real: whether it is a photo and not drawn.
    """

    image: Field
    kind: str
    lattice: Lattice | None = None
    real: bool = False


Draw = Callable[[Shape, np.random.Generator], Surface]


def smooth_noise(shape: Shape, scale: float, rng: np.random.Generator, stretch: float = 1.0) -> Field:
    """Value noise with features of ``scale`` px, ``stretch`` times as long along the columns; about unit variance."""
    height, width = shape
    step_r, step_c = scale, scale * stretch
    rows, columns = int(height / step_r) + 4, int(width / step_c) + 4
    knots = rng.standard_normal((rows, columns), dtype=np.float32)
    wide = cv2.resize(knots, (int(columns * step_c) + 1, int(rows * step_r) + 1), interpolation=cv2.INTER_CUBIC)
    top, left = (int(rng.integers(0, n - m + 1)) for n, m in zip(wide.shape, shape, strict=True))
    return np.asarray(wide[top : top + height, left : left + width] / np.float32(0.78), dtype=np.float32)


def mottle(shape: Shape, coarse: float, fine: float, rng: np.random.Generator, falloff: float = 0.7) -> Field:
    """Octaves of :func:`smooth_noise` from ``coarse`` to ``fine`` px, each ``falloff`` as strong; unit variance."""
    total, weight, power, scale = np.zeros(shape, np.float32), 1.0, 0.0, coarse
    while scale >= fine:
        total += np.float32(weight) * smooth_noise(shape, scale, rng)
        power += weight**2
        weight, scale = weight * falloff, scale / 2
    return np.asarray(total / np.float32(np.sqrt(max(power, 1e-6))), dtype=np.float32)


def grain(shape: Shape, fine: float, coarse: float, rng: np.random.Generator) -> Field:
    """White noise band-passed by a difference of Gaussians (sigmas in px), unit variance."""
    white = rng.standard_normal(shape, dtype=np.float32)
    low = cv2.GaussianBlur(white, (0, 0), coarse)
    high = cv2.GaussianBlur(white, (0, 0), fine) if fine > 0.2 else white
    band = high - low
    return np.asarray(band / np.float32(band.std() + 1e-6), dtype=np.float32)


def step(field: Field, edge: float, soft: float) -> Field:
    """A ramp from 0 to 1 around ``edge``, ``soft`` wide."""
    return np.asarray(np.clip((field - edge) / soft + 0.5, 0.0, 1.0), dtype=np.float32)


def tinted(grey: Field, tint: tuple[float, float, float], rng: np.random.Generator, chroma: float = 0.01) -> Field:
    """A grey field ``(H, W)`` as RGB: times a tint, with faint large patches of warmer and colder colour."""
    warm = np.float32(chroma) * smooth_noise(grey.shape, 45.0, rng)
    image = grey[..., None] * np.asarray(tint, np.float32)
    image[..., 0] *= 1 + warm
    image[..., 2] *= 1 - warm
    return np.asarray(image, dtype=np.float32)


def _near(value: float, spread: float, rng: np.random.Generator) -> float:
    return float(value + rng.uniform(-spread, spread))


def asphalt(shape: Shape, rng: np.random.Generator) -> Surface:
    """Fine asphalt: dark, bluish, with band-passed noise and small bright and dark stone grains."""
    base = rng.uniform(0.25, 0.40)
    grey = np.full(shape, base, np.float32)
    grey *= 1 + np.float32(rng.uniform(0.04, 0.09)) * mottle(shape, 90.0, 20.0, rng)
    grey *= 1 + np.float32(rng.uniform(0.10, 0.17)) * grain(shape, 0.5, rng.uniform(1.2, 2.0), rng)
    stones = grain(shape, rng.uniform(0.7, 1.1), 3.0, rng)
    grey += np.float32(rng.uniform(0.08, 0.18)) * step(stones, rng.uniform(1.6, 2.1), 0.8)
    grey -= np.float32(rng.uniform(0.05, 0.10)) * step(-stones, rng.uniform(1.5, 2.0), 0.8)
    cold = rng.uniform(0.0, 0.06)
    return Surface(tinted(grey, (1.0 - cold, 1.0, 1.0 + cold), rng), "asphalt")


def _cells(shape: Shape, pitch: float, rng: np.random.Generator) -> tuple[NDArray[np.intp], Field, NDArray[np.float32]]:
    """Cells around jittered seeds: label a pixel, its distance to the cell's border (px), seeds ``(n, 2)``."""
    height, width = shape
    rows, columns = np.mgrid[-pitch : height + pitch : pitch, -pitch : width + pitch : pitch]
    seeds = np.stack([rows.ravel(), columns.ravel()], axis=1)
    seeds = seeds + rng.uniform(-0.46 * pitch, 0.46 * pitch, seeds.shape)
    at = np.round(seeds).astype(np.intp)
    inside = (at[:, 0] >= 0) & (at[:, 0] < height) & (at[:, 1] >= 0) & (at[:, 1] < width)
    at = at[inside]
    empty = np.full(shape, 255, np.uint8)
    empty[at[:, 0], at[:, 1]] = 0
    _, labels = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    order = np.zeros((int(labels.max()) + 1, 2), np.float32)
    order[labels[at[:, 0], at[:, 1]]] = at
    border = np.zeros(shape, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    distance = cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, 3)
    return labels.astype(np.intp), np.asarray(distance, np.float32), order


_STONES = np.array(
    [
        [0.58, 0.54, 0.49],
        [0.50, 0.44, 0.38],
        [0.46, 0.46, 0.46],
        [0.66, 0.61, 0.53],
        [0.49, 0.36, 0.29],
        [0.36, 0.34, 0.33],
    ],
    np.float32,
)


def aggregate(shape: Shape, rng: np.random.Generator) -> Surface:
    """Exposed aggregate: shaded polygonal stones of mixed colours in a dark binder."""
    double = (2 * shape[0], 2 * shape[1])
    pitch = rng.uniform(6.0, 11.0)
    labels, distance, seeds = _cells(double, 2 * pitch, rng)
    count = len(seeds)
    mix = rng.dirichlet(np.full(len(_STONES), 0.9))
    colours = _STONES[rng.choice(len(_STONES), count, p=mix)] * rng.uniform(0.75, 1.2, (count, 1)).astype(np.float32)
    sunk = rng.random(count) > rng.uniform(0.7, 0.95)
    colours[sunk] *= 0.55
    gap = rng.uniform(1.0, 4.0, count).astype(np.float32)
    binder = np.float32(rng.uniform(0.18, 0.28))
    tilt = rng.normal(0.0, 0.10, (count, 2)).astype(np.float32)
    rows = np.arange(double[0], dtype=np.float32)[:, None] - seeds[labels, 0]
    columns = np.arange(double[1], dtype=np.float32)[None, :] - seeds[labels, 1]
    shade = 1 + (tilt[labels, 0] * rows + tilt[labels, 1] * columns) / np.float32(pitch)
    solid = step(distance - gap[labels], 0.0, 2.0)
    rim = 1 + np.float32(0.12) * step(distance - gap[labels], 2.0, 4.0)
    image = colours[labels] * (shade * rim)[..., None]
    image = binder + solid[..., None] * (image - binder)
    image = cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    image *= (1 + 0.06 * grain(shape, 0.0, 1.5, rng) + 0.05 * mottle(shape, 80.0, 20.0, rng))[..., None]
    return Surface(np.asarray(image, np.float32), "aggregate")


def _pores(grey: Field, rng: np.random.Generator, density: float) -> None:
    """Little dark holes with a bright lower rim, radius 0.6-3 px by a power law; changes ``grey``."""
    height, width = grey.shape
    for _ in range(int(rng.poisson(density * height * width))):
        radius = min(0.6 * float(rng.random()) ** -0.5, 3.2)
        centre = (int(rng.uniform(0, width) * 16), int(rng.uniform(0, height) * 16))
        tone = float(grey[centre[1] // 16, centre[0] // 16])
        lower = (centre[0] + 8, centre[1] + 10)
        cv2.circle(grey, lower, int(radius * 16), tone * 1.07, -1, cv2.LINE_AA, 4)
        cv2.circle(grey, centre, int(radius * 16), tone * float(rng.uniform(0.55, 0.85)), -1, cv2.LINE_AA, 4)


def turned_grid(shape: Shape, angle: float, row: float, column: float) -> tuple[Field, Field]:
    """Coordinates (along, across) in px of every pixel in a frame turned by ``angle`` around a point."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(row)
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(column)
    return rows * s + columns * c, rows * c - columns * s


def concrete(shape: Shape, rng: np.random.Generator) -> Surface:
    """Concrete: light, warm, cloudy at low frequency, with pores and the marks of formwork boards."""
    grey = np.full(shape, rng.uniform(0.56, 0.76), np.float32)
    grey *= 1 + np.float32(rng.uniform(0.05, 0.10)) * mottle(shape, 150.0, 8.0, rng, 0.75)
    grey *= 1 + np.float32(rng.uniform(0.015, 0.035)) * grain(shape, 0.4, 1.6, rng)
    if rng.random() < 0.4:
        angle = float(rng.choice([0.0, np.pi / 2])) + float(rng.normal(0.0, 0.03))
        _, across = turned_grid(shape, angle, rng.uniform(0, shape[0]), rng.uniform(0, shape[1]))
        board = rng.uniform(50.0, 130.0)
        number = np.floor(across / board).astype(np.intp)
        tones = rng.normal(0.0, 0.03, int(number.max() - number.min()) + 1).astype(np.float32)
        grey *= 1 + tones[number - number.min()]
        edge = np.abs(across - board * np.round(across / board))
        grey *= 1 - np.float32(rng.uniform(0.03, 0.14)) * (1 - step(edge, rng.uniform(0.5, 1.1), 1.2))
    _pores(grey, rng, rng.uniform(0.0004, 0.0030))
    warm = rng.uniform(0.0, 0.05)
    return Surface(tinted(grey, (1.0 + warm, 1.0, 0.97 - warm), rng), "concrete")


_CLAY = (
    (0.56, 0.32, 0.25),
    (0.62, 0.42, 0.30),
    (0.45, 0.30, 0.27),
    (0.47, 0.46, 0.47),
    (0.66, 0.60, 0.50),
    (0.42, 0.45, 0.50),
)


def tile(shape: Shape, rng: np.random.Generator) -> Surface:
    """Bricks, tiles or setts: stones of varied tone with regular joints, darker or lighter than they are."""
    running = bool(rng.random() < 0.6)
    high = rng.uniform(17.0, 30.0) if running else rng.uniform(30.0, 62.0)
    wide = high * (rng.uniform(1.9, 2.4) if running else rng.choice([1.0, 1.0, 1.5]))
    angle = rng.normal(0.0, 0.06) + float(rng.choice([0.0, 0.0, np.pi / 2, np.pi / 4]))
    grid = Lattice(
        float(angle), float(wide), float(high), 0.5 * float(wide) if running else 0.0,
        float(rng.uniform(0, shape[0])), float(rng.uniform(0, shape[1])),
    )  # fmt: skip
    along, across = turned_grid(shape, grid.angle, grid.row, grid.column)
    wobble = np.float32(rng.uniform(0.15, 0.6))
    across = across + wobble * smooth_noise(shape, 9.0, rng)
    along = along + wobble * smooth_noise(shape, 9.0, rng)
    course = np.floor(across / grid.high).astype(np.int64)
    moved = along - np.where(course % 2 == 1, np.float32(grid.shift), np.float32(0.0))
    stone = np.floor(moved / grid.wide).astype(np.int64)
    inner_r = across - course * np.float32(grid.high)
    inner_c = moved - stone * np.float32(grid.wide)
    edge = np.minimum(np.minimum(inner_r, grid.high - inner_r), np.minimum(inner_c, grid.wide - inner_c))
    tones = rng.normal(0.0, rng.uniform(0.04, 0.13), 997).astype(np.float32)
    tone = tones[(stone * 131 + course * 337) % 997]
    half = rng.uniform(0.6, 1.7)
    face = step(edge.astype(np.float32), half, 1.0)
    grey = 1 + tone + np.float32(rng.uniform(0.02, 0.07)) * grain(shape, 0.6, 2.5, rng)
    grey *= 1 + np.float32(0.05) * mottle(shape, 40.0, 8.0, rng)
    grey *= 1 - np.float32(rng.uniform(0.0, 0.15)) * (1 - step(edge.astype(np.float32), half + 2.0, 2.5))
    clay = np.asarray(_CLAY[int(rng.integers(len(_CLAY)))], np.float32) * np.float32(rng.uniform(0.8, 1.2))
    image = tinted(np.asarray(grey, np.float32), tuple(clay.tolist()), rng, 0.02)
    dark = rng.random() < 0.65
    mortar = clay.mean() * (rng.uniform(0.48, 0.80) if dark else rng.uniform(1.15, 1.5))
    joint = np.float32(mortar) * (1 + 0.08 * grain(shape, 0.5, 2.0, rng))
    image = joint[..., None] + face[..., None] * (image - joint[..., None])
    return Surface(np.asarray(image, np.float32), "brick" if running else "tile", grid)


def road(shape: Shape, rng: np.random.Generator) -> Surface:
    """The worn top of a carriageway, paler and browner than fresh asphalt; markings come as distractors."""
    grey = np.full(shape, rng.uniform(0.38, 0.54), np.float32)
    angle = float(rng.uniform(0, np.pi))
    _, across = turned_grid(shape, angle, shape[0] / 2, shape[1] / 2)
    track = np.sin(across * np.float32(2 * np.pi / rng.uniform(150.0, 260.0)) + np.float32(rng.uniform(0, 6.28)))
    grey *= 1 + np.float32(rng.uniform(0.02, 0.08)) * track + np.float32(0.04) * mottle(shape, 60.0, 15.0, rng)
    grey *= 1 + np.float32(rng.uniform(0.05, 0.11)) * grain(shape, 0.8, rng.uniform(1.8, 2.6), rng)
    pits = grain(shape, 1.0, 4.0, rng)
    grey -= np.float32(rng.uniform(0.04, 0.12)) * step(-pits, 2.0, 0.8)
    warm = rng.uniform(0.0, 0.05)
    return Surface(tinted(grey, (1.0 + warm, 1.0, 1.0 - warm), rng), "road")


_PASTEL = (
    (0.82, 0.80, 0.75),
    (0.80, 0.70, 0.52),
    (0.78, 0.63, 0.57),
    (0.66, 0.73, 0.76),
    (0.72, 0.76, 0.66),
    (0.86, 0.85, 0.84),
)


def plaster(shape: Shape, rng: np.random.Generator) -> Surface:
    """A painted plaster wall: soft trowel marks, and now and then paint that peels, with a thin shadow at its edge."""
    strokes = smooth_noise(shape, rng.uniform(5.0, 9.0), rng, rng.uniform(4.0, 7.0))
    bend = rng.uniform(8.0, 20.0)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    map_r = rows + np.float32(bend) * smooth_noise(shape, 55.0, rng)
    map_c = columns + np.float32(bend) * smooth_noise(shape, 55.0, rng)
    strokes = cv2.remap(strokes, map_c, map_r, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    grey = 1 + np.float32(rng.uniform(0.010, 0.03)) * strokes + np.float32(0.025) * mottle(shape, 120.0, 30.0, rng)
    grey += np.float32(rng.uniform(0.006, 0.015)) * grain(shape, 0.5, 1.8, rng)
    paint = _PASTEL[int(rng.integers(len(_PASTEL)))]
    image = tinted(np.asarray(grey, np.float32), paint, rng)
    kind = "plaster"
    if rng.random() < 0.45:
        kind = "peeling plaster"
        blob = mottle(shape, 70.0, 4.0, rng, 0.5)
        limit = rng.uniform(0.9, 1.6)
        bare = step(blob, limit, 0.06)
        under = np.asarray((0.66, 0.62, 0.55), np.float32) * np.float32(rng.uniform(0.8, 1.2))
        ground = under * (1 + 0.06 * grain(shape, 0.5, 2.0, rng))[..., None]
        image = image + bare[..., None] * (ground - image)
        moved = np.roll(bare, (1, 1), axis=(0, 1))
        image *= (1 - np.float32(rng.uniform(0.2, 0.5)) * np.clip(bare - moved, 0, 1))[..., None]
        image *= (1 + np.float32(0.12) * np.clip(moved - bare, 0, 1))[..., None]
    return Surface(np.asarray(image, np.float32), kind)


SURFACES: dict[str, Draw] = {
    "asphalt": asphalt,
    "aggregate": aggregate,
    "concrete": concrete,
    "tile": tile,
    "road": road,
    "plaster": plaster,
}
