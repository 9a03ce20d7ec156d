"""Drawn pictures that stand in for photos: eight classes, each with another kind of wavelet statistics.

Not copied from anywhere; the dead-leaves model follows Lee, Mumford and Huang, "Occlusion Models for Natural Images",
IJCV 41 (2001): occluding shapes with radii of density r^-3 give scale-invariant statistics like those of photos.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, unknown

Generator = np.random.Generator
Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: Channel correlation of the cloud class.
CLOUD_CORRELATION = 0.8
#: Radius of the smallest leaf, and of the largest as a share of the side: bounds of the r^-3 law.
SMALLEST_LEAF, LARGEST_LEAF = 1.5, 0.4
#: Leaves are laid until their areas sum to this many times the picture.
LEAF_COVERAGE = 5.0


def draw(kind: str, size: int, rng: Generator) -> Picture:
    """Draw a picture.

    Args:
        kind: one of :data:`KINDS`.
        size: side in pixels, 16 or more.
        rng: all chance; the same state gives the same bytes on one machine.

    Returns:
        ``(size, size, 3)`` uint8 RGB.

    Raises:
        ConfigError: unknown kind, or a size below 16.
    """
    if kind not in KINDS:
        raise ConfigError(unknown("kind", kind, KINDS))
    if size < 16:
        raise ConfigError(f"A drawn picture of {size} pixels a side is too small. Use 16 or more.")
    return _quantise(_DRAWN[kind](size, rng)) if kind != "grain" else _grain(size, rng)


def _quantise(picture: Floats) -> Picture:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _colour(rng: Generator, saturation: float = 0.35) -> Floats:
    """A colour in 0-255: a common brightness, and a departure of each channel, so that channels are correlated."""
    base = rng.uniform(20, 235)
    return np.clip(base + saturation * 128 * rng.uniform(-1, 1, 3), 0, 255).astype(np.float32)


def _two_colours(rng: Generator, contrast: float) -> tuple[Floats, Floats]:
    """Two colours whose mean brightness differs by at least ``contrast`` grey levels."""
    for _ in range(20):
        first, second = _colour(rng), _colour(rng)
        if abs(float(first.mean() - second.mean())) >= contrast:
            break
    return first, second


def _grid(size: int) -> tuple[Floats, Floats]:
    axis = np.arange(size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis, indexing="xy")
    return x, y


def _noise(size: int, exponent: float, channels: int, rng: Generator) -> Floats:
    """Noise of amplitude spectrum 1/f^exponent, ``(size, size, channels)``, mean 0 and standard deviation 1 each."""
    white = rng.standard_normal((size, size, channels), dtype=np.float32)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf  # no mean
    spectrum = np.fft.rfft2(white, axes=(0, 1)) / frequency[..., None] ** exponent
    field = np.fft.irfft2(spectrum, (size, size), axes=(0, 1))
    deviation = np.maximum(field.std(axis=(0, 1)), 1e-9)
    return np.asarray(field / deviation, np.float32)


def _cloud(size: int, rng: Generator) -> Floats:
    """1/f^a noise, a in 1.0-1.6, channel correlation 0.8."""
    fields = _noise(size, float(rng.uniform(1.0, 1.6)), 4, rng)
    shared, own = np.sqrt(CLOUD_CORRELATION), np.sqrt(1.0 - CLOUD_CORRELATION)
    mixed = shared * fields[..., :1] + own * fields[..., 1:]
    return np.asarray(_colour(rng, 0.5) * 0.5 + 64 + float(rng.uniform(25, 55)) * mixed, np.float32)


def leaf_radii(count: int, low: float, high: float, rng: Generator) -> NDArray[np.float64]:
    """Radii ``(count,)`` in pixels of density r^-3 on [low, high], by the inverse of its distribution function."""
    return 1.0 / np.sqrt(rng.uniform(high**-2, low**-2, count))


def _leaves(size: int, rng: Generator) -> Floats:
    """Dead leaves: discs, ellipses and polygons laid over each other, drawn at twice the size and averaged down."""
    scale, large = 2, 2 * size
    low, high = SMALLEST_LEAF * scale, max(LARGEST_LEAF * large, 4.0 * scale)
    mean_area = 2.0 * np.pi * np.log(high / low) / (low**-2 - high**-2)  # pi E[r^2] of density r^-3
    count = int(LEAF_COVERAGE * (large + high) ** 2 / mean_area)
    radii = leaf_radii(count, low, high, rng)
    centres = rng.uniform(-high / 2, large + high / 2, (count, 2))
    stretch, turn = rng.uniform(0.45, 1.0, count), rng.uniform(0, 180, count)
    corners = rng.choice([0, 0, 3, 4, 5, 6], count)
    labels = np.zeros((large, large), np.int32)
    for index in range(count):
        _lay(labels, index + 1, centres[index], radii[index], stretch[index], turn[index], int(corners[index]))
    centre_colour = _colour(rng) * 0.6 + 51
    brightness = rng.normal(0, 45, (count + 1, 1))
    colours = centre_colour + brightness + rng.normal(0, 22, (count + 1, 3))
    slopes = rng.normal(0, 18, (count + 1, 2)) / np.append(high, radii)[:, None]
    middles = np.vstack([[large / 2, large / 2], centres])
    x, y = _grid(large)
    ramp = (x - middles[labels, 0]) * slopes[labels, 0] + (y - middles[labels, 1]) * slopes[labels, 1]
    picture = np.asarray(np.clip(colours[labels] + np.clip(ramp, -60, 60)[..., None], 0, 255), np.float32)
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small + float(rng.uniform(0, 5)) * _noise(size, 0.8, 1, rng), np.float32)


def _lay(
    labels: NDArray[np.int32], label: int, centre: NDArray[np.float64], r: float, stretch: float, turn: float, n: int
) -> None:
    """Paint one leaf of area near pi r^2: an ellipse, or a regular polygon of ``n`` corners, stretched and turned."""
    if n == 0:
        wide, high = r / np.sqrt(stretch), r * np.sqrt(stretch)
        axes = (max(1, round(wide)), max(1, round(high)))
        cv2.ellipse(labels, (round(centre[0]), round(centre[1])), axes, turn, 0, 360, label, cv2.FILLED)
        return
    around = np.deg2rad(turn) + 2.0 * np.pi * np.arange(n) / n
    grow = r * np.sqrt(2.0 * np.pi / (n * np.sin(2.0 * np.pi / n)))
    points = centre + grow * np.stack([np.cos(around) / np.sqrt(stretch), np.sin(around) * np.sqrt(stretch)], axis=1)
    cv2.fillConvexPoly(labels, np.rint(points).astype(np.int32), label)


def _gradient(size: int, rng: Generator) -> Floats:
    """Smooth two-colour ramps, straight or round, sometimes a third colour across."""
    first, second = _two_colours(rng, 40)
    x, y = (axis / size for axis in _grid(size))
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) + 0.5
    else:
        cx, cy = rng.uniform(0.1, 0.9, 2)
        along = np.hypot(x - cx, y - cy) / rng.uniform(0.5, 1.0)
    share = np.clip(along, 0, 1)[..., None]
    if rng.random() < 0.5:
        share = share * share * (3.0 - 2.0 * share)
    picture = first * (1.0 - share) + second * share
    if rng.random() < 0.4:
        third, across = _colour(rng), np.clip(y, 0, 1)[..., None] * rng.uniform(0.2, 0.6)
        picture = picture * (1.0 - across) + third * across
    return np.asarray(picture, np.float32)


def _stained(size: int, rng: Generator) -> Floats:
    """Voronoi cells of saturated colours with dark borders: leaded glass."""
    from scipy.spatial import cKDTree

    count = int(rng.integers(8, 20)) + size // 8
    seeds = rng.uniform(-0.1 * size, 1.1 * size, (count, 2))
    x, y = _grid(size)
    distance, nearest = cKDTree(seeds).query(np.stack([x, y], axis=-1), k=2)
    apart = np.linalg.norm(seeds[nearest[..., 0]] - seeds[nearest[..., 1]], axis=-1)
    rim = (distance[..., 1] ** 2 - distance[..., 0] ** 2) / (2.0 * np.maximum(apart, 1e-6))  # pixels to the border
    hsv = np.stack(
        [rng.uniform(0, 180, count), rng.uniform(170, 255, count), rng.uniform(120, 255, count)], axis=-1
    ).astype(np.uint8)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0].astype(np.float32)
    glass = colours[nearest[..., 0]] * (1.0 + 0.08 * _noise(size, 1.2, 1, rng))
    lead = np.clip(rim - rng.uniform(0.5, 1.2), 0, 1)[..., None]
    return np.asarray(glass * lead + rng.uniform(5, 40) * (1.0 - lead), np.float32)


def _stripes(size: int, rng: Generator) -> Floats:
    """Stripes or a checker with bars of 1-4 pixels at any angle: energy in LH, HL and HH."""
    first, second = _two_colours(rng, 50)
    x, y = _grid(size)
    angle, bar = rng.uniform(0, np.pi), rng.uniform(1.0, 4.0)
    if rng.random() < 0.3:
        angle = rng.choice([0.0, np.pi / 4, np.pi / 2])
    phase = rng.uniform(0, 2 * np.pi, 2)
    wave = np.sin(np.pi / bar * (x * np.cos(angle) + y * np.sin(angle)) + phase[0])
    if rng.random() < 0.4:
        other = bar * rng.uniform(0.7, 1.4)
        wave = wave * np.sin(np.pi / other * (y * np.cos(angle) - x * np.sin(angle)) + phase[1])
    if rng.random() < 0.7:
        wave = np.clip(wave * rng.uniform(2.0, 6.0), -1, 1)  # towards bars with edges
    share = (0.5 + 0.5 * wave)[..., None]
    return np.asarray(first * (1.0 - share) + second * share, np.float32)


_GLYPHS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:;!?&%+-/()"))
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)


def _text(size: int, rng: Generator) -> Floats:
    """Lines of random glyphs in one of OpenCV's stroke fonts, and a few free strokes, on plain ground."""
    ground, ink = _two_colours(rng, 80)
    cover = np.zeros((size, size), np.uint8)
    font, height = _FONTS[int(rng.integers(len(_FONTS)))], float(rng.uniform(7, 7 + 0.2 * size))
    scale, thick = height / 22.0, 1 + int(height > 24)  # a Hershey capital is about 22 pixels high
    line = float(rng.uniform(0.6, 1.4)) * height
    while line < size + height:
        words = "".join(rng.choice(_GLYPHS, int(2.5 * size / height) + 2))
        cv2.putText(cover, words, (int(rng.integers(-8, 8)), round(line)), font, scale, 255, thick, cv2.LINE_AA)
        line += height * float(rng.uniform(1.3, 2.2))
    for _ in range(int(rng.integers(0, 3))):
        points = np.rint(rng.uniform(0, size, (int(rng.integers(2, 5)), 2))).astype(np.int32)
        cv2.polylines(cover, [points], False, 255, int(rng.integers(1, 3)), cv2.LINE_AA)
    if rng.random() < 0.3:
        turn = cv2.getRotationMatrix2D((size / 2, size / 2), float(rng.uniform(-30, 30)), 1.1)
        cover = np.asarray(cv2.warpAffine(cover, turn, (size, size)), np.uint8)
    share = cover.astype(np.float32)[..., None] / np.float32(255)
    return np.asarray(ground * (1.0 - share) + ink * share, np.float32)


def _objects(size: int, rng: Generator) -> Floats:
    """Shaded ellipses and boxes with soft shadows on a cloud."""
    picture = _cloud(size, rng)
    x, y = _grid(size)
    light = rng.uniform(0, 2 * np.pi)
    toward = np.array([np.cos(light), np.sin(light)], np.float32)
    for _ in range(int(rng.integers(2, 7))):
        centre, half = rng.uniform(0, size, 2), rng.uniform(0.06, 0.26, 2) * size
        turn, box = rng.uniform(0, np.pi), rng.random() < 0.4
        around = np.linspace(0, 2 * np.pi, 5 if box else 33)[:-1] + (np.pi / 4 if box else 0.0)
        rim = half * np.stack([np.cos(around), np.sin(around)], axis=1) * (np.sqrt(2.0) if box else 1.0)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        mask = np.zeros((size, size), np.float32)
        points = np.rint(16 * (rim @ rotation.T + centre)).astype(np.int32)
        cv2.fillConvexPoly(mask, points, 1.0, cv2.LINE_8, 4)  # four bits of the coordinates are fractions
        shift = np.array([[1, 0, -toward[0] * half.mean() * 0.5], [0, 1, -toward[1] * half.mean() * 0.5]], np.float32)
        shadow = cv2.GaussianBlur(cv2.warpAffine(mask, shift, (size, size)), (0, 0), max(0.8, 0.03 * size))
        picture = picture * (1.0 - float(rng.uniform(0.3, 0.7)) * shadow[..., None])
        lit = ((x - centre[0]) * toward[0] + (y - centre[1]) * toward[1]) / (half.mean() * (2.0 if box else 1.0))
        shade = np.clip(0.75 + 0.35 * lit, 0.2, 1.3)[..., None] * _colour(rng, 0.8)
        soft = cv2.GaussianBlur(mask, (3, 3), 0.5)[..., None]
        picture = np.asarray(picture * (1.0 - soft) + shade * soft, np.float32)
    return picture


def _grain(size: int, rng: Generator) -> Picture:
    """A picture of another class with sensor noise of 2-6 grey levels, after a real JPEG pass at quality 75-95."""
    clean = _DRAWN[KINDS[int(rng.integers(len(KINDS) - 1))]](size, rng)
    noisy = _quantise(clean + float(rng.uniform(2, 6)) * rng.standard_normal(clean.shape, dtype=np.float32))
    quality = int(rng.integers(75, 96))
    _, encoded = cv2.imencode(".jpg", noisy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)


_DRAWN: dict[str, Callable[[int, Generator], Floats]] = {
    "cloud": _cloud,
    "leaves": _leaves,
    "gradient": _gradient,
    "stained": _stained,
    "stripes": _stripes,
    "text": _text,
    "objects": _objects,
}

#: The classes, in the order of the specification; ``stripes`` holds checkers too.
KINDS: tuple[str, ...] = (*_DRAWN, "grain")
