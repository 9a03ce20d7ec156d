"""Pictures on surfaces: floors, walls, posters, facades; each repeats seamlessly, and is drawn from chance alone.

A texture is ``(S, S, 3)`` float32 RGB 0 to 1, S a power of two. Its first row lies at v = 0, the lower edge of a wall.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Texture = NDArray[np.float32]
Grey = NDArray[np.float32]
Rng = np.random.Generator
Colour = tuple[float, float, float]


class Textures:
    """The textures of a scene; a material names one by its index."""

    def __init__(self) -> None:
        self._levels: list[list[NDArray[np.uint8]]] = []

    def add(self, picture: Texture) -> int:
        """Take a texture in; gives its index."""
        level = np.asarray(np.clip(np.round(picture * 255.0), 0, 255), np.uint8)
        levels = [level]
        while level.shape[0] > 1:
            side = level.shape[0] // 2
            level = np.asarray(cv2.resize(level, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
            levels.append(level.reshape(side, side, 3))
        self._levels.append(levels)
        return len(self._levels) - 1

    def packed(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """All levels of detail in a row, and ``(K, 3)`` first byte, side and number of levels of each texture."""
        table, parts, at = [], [np.zeros(0, np.uint8)], 0
        for levels in self._levels:
            table.append((at, levels[0].shape[0], len(levels)))
            for level in levels:
                parts.append(level.ravel())
                at += level.size
        return np.concatenate(parts), np.asarray(table, np.int32).reshape(-1, 3)


def noise(side: int, cells: tuple[int, int], rng: Rng) -> Grey:
    """Smooth periodic noise with ``cells`` bumps along rows and columns, about unit variance."""
    rows, columns = (min(c, side) for c in cells)
    knots = np.pad(rng.standard_normal((rows, columns), dtype=np.float32), 2, mode="wrap")
    tall, wide = side // rows, side // columns
    big = cv2.resize(knots, ((columns + 4) * wide, (rows + 4) * tall), interpolation=cv2.INTER_CUBIC)
    part = big[2 * tall : 2 * tall + rows * tall, 2 * wide : 2 * wide + columns * wide]
    return np.asarray(cv2.resize(part, (side, side)) / np.float32(0.75), np.float32)


def mottled(side: int, coarse: int, octaves: int, rng: Rng) -> Grey:
    """Octaves of :func:`noise`, each twice as fine and 0.6 as strong, unit variance."""
    total = np.zeros((side, side), np.float32)
    weight, power = 1.0, 0.0
    for n in range(octaves):
        cells = min(side, coarse * 2**n)
        total += np.float32(weight) * noise(side, (cells, cells), rng)
        power, weight = power + weight**2, weight * 0.6
    return np.asarray(total / np.float32(np.sqrt(power)), np.float32)


def grain(side: int, rng: Rng) -> Grey:
    """White noise."""
    return rng.standard_normal((side, side), dtype=np.float32)


def tinted(grey: Grey, colour: Colour) -> Texture:
    """A grey field around 1 times a colour."""
    return np.asarray(grey[..., None] * np.asarray(colour, np.float32), np.float32)


def near(colour: Colour, spread: float, rng: Rng) -> Colour:
    """A colour a little off: its value by ``spread``, its hue by a third of it."""
    shift = rng.uniform(-spread, spread) + rng.uniform(-spread / 3, spread / 3, 3)
    r, g, b = (float(np.clip(c + s, 0.02, 0.98)) for c, s in zip(colour, shift, strict=True))
    return (r, g, b)


def pick(colours: list[Colour], rng: Rng, spread: float = 0.05) -> Colour:
    """One of several colours, a little off."""
    return near(colours[int(rng.integers(len(colours)))], spread, rng)


def tiles(
    side: int, rng: Rng, colour: Colour, joint: Colour, count: int = 4, spread: float = 0.03, check: float = 0.0
) -> Texture:
    """Square tiles with joints; ``check`` darkens every second one."""
    pitch = side // count
    level = 1 + rng.normal(0.0, spread, (count, count)).astype(np.float32)
    level *= 1 - np.float32(check) * (np.indices((count, count)).sum(axis=0) % 2)
    grey = np.kron(level, np.ones((pitch, pitch), np.float32)) + np.float32(0.03) * mottled(side, 8, 4, rng)
    found = tinted(grey, colour)
    ramp = np.minimum(np.arange(side) % pitch, pitch - 1 - np.arange(side) % pitch)
    edge = np.minimum(ramp[:, None], ramp[None, :])
    width = max(1, round(pitch * rng.uniform(0.012, 0.025)))
    found[edge < width] = np.asarray(joint, np.float32)
    bevel = (edge >= width) & (edge < 2 * width)
    found[bevel] *= np.float32(1.05)
    return found


def wood(side: int, rng: Rng, colour: Colour, boards: int = 8) -> Texture:
    """Planks along the columns with grain and staggered ends."""
    high = side // boards
    fibre = noise(side, (min(side, 128), 4), rng) * 0.5 + noise(side, (side // 2, 8), rng) * 0.5
    found = np.empty((side, side, 3), np.float32)
    for n in range(boards):
        rows = slice(n * high, (n + 1) * high)
        cut = int(rng.integers(side))
        for half in range(2):
            level = (
                1 + 0.10 * rng.standard_normal() + np.float32(0.07) * np.roll(fibre[rows], int(rng.integers(side)), 1)
            )
            columns = (np.arange(side // 2) + cut + half * side // 2) % side
            found[rows, columns] = tinted(np.asarray(level[:, : side // 2], np.float32), near(colour, 0.03, rng))
        for at in (cut, (cut + side // 2) % side):
            found[rows, at] *= 0.45
        found[rows.start] *= 0.45
    return found


def carpet(side: int, rng: Rng, colour: Colour, second: Colour | None = None) -> Texture:
    """Pile with a woven band or a field of squares in a second colour."""
    pile = 1 + np.float32(0.13) * grain(side, rng) + np.float32(0.04) * mottled(side, 8, 3, rng)
    base = np.broadcast_to(np.asarray(colour, np.float32), (side, side, 3)).copy()
    if second is not None:
        kind = rng.integers(3)
        at = np.arange(side) / side
        if kind == 0:
            mask = np.broadcast_to((at * rng.integers(3, 9) % 1.0 < 0.35)[:, None], (side, side))
        elif kind == 1:
            n = int(rng.integers(3, 6))
            mask = (np.abs(at * n % 1 - 0.5)[:, None] + np.abs(at * n % 1 - 0.5)[None, :]) < 0.3
        else:
            off = np.minimum(at, 1 - at)
            mask = np.abs(np.minimum(off[:, None], off[None, :]) - 0.1) < 0.03
        base[mask] = np.asarray(second, np.float32)
    return np.asarray(base * pile[..., None], np.float32)


def stone(side: int, rng: Rng, colour: Colour, chips: float = 0.0) -> Texture:
    """Concrete or asphalt: mottled and grainy; ``chips`` is the share of bright stones (terrazzo)."""
    found = tinted(1 + 0.05 * mottled(side, 4, 5, rng) + np.float32(0.035) * grain(side, rng), colour)
    if chips > 0:
        speck = noise(side, (side // 6, side // 6), rng)
        mask = speck > np.quantile(speck, 1 - chips)
        hue = rng.uniform(0.25, 0.95, (8, 3)).astype(np.float32)
        found[mask] = hue[(np.abs(noise(side, (side // 8, side // 8), rng)) * 40).astype(int) % 8][mask]
    return found


def bricks(side: int, rng: Rng, colour: Colour, joint: Colour, rows: int = 8, columns: int = 3) -> Texture:
    """Running bond."""
    found = np.empty((side, side, 3), np.float32)
    found[:] = np.asarray(joint, np.float32)
    high, wide = side / rows, side / columns
    gap = max(1, round(high * 0.08))
    for r in range(rows):
        for c in range(columns):
            shade = near(colour, 0.07, rng)
            left = round(c * wide + (wide / 2 if r % 2 else 0))
            span = np.arange(left + gap, round(left + wide) - gap) % side
            found[round(r * high) + gap : round((r + 1) * high) - gap, span] = np.asarray(shade, np.float32)
    return np.asarray(found * (1 + np.float32(0.06) * mottled(side, 16, 3, rng))[..., None], np.float32)


def plaster(side: int, rng: Rng, colour: Colour) -> Texture:
    """A painted wall; now and then wallpaper stripes."""
    found = tinted(1 + np.float32(0.02) * mottled(side, 4, 5, rng), colour)
    if rng.random() < 0.25:
        at = (np.arange(side) / side * rng.integers(4, 10)) % 1.0 < 0.5
        found[:, at] *= np.float32(rng.uniform(0.88, 0.97))
    return found


def poster(side: int, rng: Rng) -> Texture:
    """A framed picture, a diagram or a page of text, with hard edges."""
    paper = (
        near((0.9, 0.9, 0.88), 0.08, rng)
        if rng.random() < 0.6
        else pick([(0.2, 0.3, 0.5), (0.7, 0.2, 0.2), (0.15, 0.15, 0.17)], rng)
    )
    found = np.empty((side, side, 3), np.float32)
    found[:] = np.asarray(paper, np.float32)
    edge = side // 16
    if rng.random() < 0.6:
        sky, land = rng.uniform(0.3, 0.9, 3), rng.uniform(0.1, 0.7, 3)
        line = side // 2 + (noise(side, (4, 4), rng)[0] * side * 0.08).astype(int)
        rows = np.arange(side)[:, None]
        picture = (
            np.where((rows > line[None, :])[..., None], sky, land) * (1 + 0.1 * mottled(side, 4, 3, rng))[..., None]
        )
        top = side - edge if rng.random() < 0.5 else side - 3 * edge
        found[5 * edge : top, edge : side - edge] = picture[5 * edge : top, edge : side - edge]
    ink = tuple(rng.uniform(0.0, 1.0, 3)) if rng.random() < 0.4 else (0.1, 0.1, 0.12)
    for n in range(int(rng.integers(2, 6))):
        y = int(rng.integers(edge, side - 2 * edge)) if rng.random() < 0.3 else edge + n * edge
        cv2.rectangle(found, (2 * edge, y), (int(rng.integers(4, 14)) * edge, y + edge // 3), ink, -1)
    for _ in range(int(rng.integers(0, 4))):
        hue = tuple(rng.uniform(0.0, 1.0, 3))
        a, b = (int(v) for v in rng.integers(3 * edge, side - 3 * edge, 2))
        if rng.random() < 0.5:
            cv2.circle(found, (a, b), int(rng.integers(edge, 3 * edge)), hue, -1)
        else:
            cv2.rectangle(found, (a, b), (a + 3 * edge, b + 2 * edge), hue, -1)
    frame = near((0.2, 0.18, 0.16), 0.15, rng)
    cv2.rectangle(found, (0, 0), (side - 1, side - 1), frame, max(1, edge // 2))
    return found


def marker(side: int, rng: Rng) -> Texture:
    """A square fiducial: black border round 4 x 4 random cells, on white."""
    cells = np.ones((8, 8), np.float32)
    cells[1:7, 1:7] = 0.03
    cells[2:6, 2:6] = np.where(rng.random((4, 4)) < 0.5, 0.03, 0.95)
    grey = np.kron(cells, np.ones((side // 8, side // 8), np.float32))
    return np.asarray(np.repeat(grey[..., None], 3, axis=2) * np.float32(0.95), np.float32)


def cardboard(side: int, rng: Rng) -> Texture:
    """Brown card with a tape and a printed label."""
    found = tinted(1 + 0.03 * mottled(side, 4, 3, rng), near((0.68, 0.52, 0.36), 0.06, rng))
    half = side // 2
    cv2.rectangle(found, (half - side // 16, 0), (half + side // 16, side), near((0.78, 0.66, 0.48), 0.05, rng), -1)
    if rng.random() < 0.6:
        a, b = (int(v) for v in rng.integers(side // 12, side // 2, 2))
        cv2.rectangle(found, (a, b), (a + side // 4, b + side // 6), (0.92, 0.92, 0.9), -1)
        cv2.line(found, (a + 2, b + side // 12), (a + side // 5, b + side // 12), (0.1, 0.1, 0.1), max(1, side // 64))
    return found


def books(side: int, rng: Rng) -> Texture:
    """A shelf: four boards with spines in many colours."""
    found = np.full((side, side, 3), 0.12, np.float32)
    high = side // 4
    for shelf in range(4):
        at = 0
        while at < side:
            wide = int(rng.integers(side // 40 + 1, side // 14))
            tall = int(high * rng.uniform(0.55, 0.85))
            if rng.random() < 0.88:
                hue = tuple(rng.uniform(0.1, 0.85) + rng.uniform(-0.2, 0.2, 3).clip(-0.1, 0.3))
                cv2.rectangle(found, (at, shelf * high + high // 12), (at + wide - 2, shelf * high + tall), hue, -1)
            at += wide
        found[shelf * high : shelf * high + high // 12] = np.asarray((0.55, 0.42, 0.3), np.float32)
    return found


def window(side: int, rng: Rng, sky: Colour = (0.80, 0.88, 0.97)) -> Texture:
    """A window seen from inside: brightness, things outside, a white cross of bars."""
    rise = np.linspace(0.0, 1.0, side, dtype=np.float32)[:, None, None]
    low = np.asarray(near((0.55, 0.62, 0.55), 0.1, rng), np.float32)
    found = np.asarray(low + (np.asarray(sky, np.float32) - low) * np.minimum(1.0, rise * 2), np.float32)
    found = np.repeat(found, side, axis=1) * (1 + np.float32(0.05) * mottled(side, 4, 3, rng))[..., None]
    bar = side // 24
    for at in (0, side // 2, side - bar):
        found[at : at + bar] = 0.9
        found[:, at : at + bar] = 0.9
    return np.asarray(found, np.float32)


def facade(side: int, rng: Rng, wall: Texture) -> Texture:
    """One storey of a house, four windows wide, on a wall texture of the same side."""
    found = wall.copy()
    lit = rng.random() < 0.2
    wide, gap = side // 8, side // 4
    frame = near((0.85, 0.85, 0.82), 0.12, rng)
    for n in range(4):
        left, low, top = n * gap + gap // 4, int(side * 0.3), int(side * 0.8)
        glass = near((0.22, 0.28, 0.34), 0.06, rng)
        if lit and rng.random() < 0.3:
            glass = (0.85, 0.75, 0.5)
        cv2.rectangle(found, (left - 3, low - 3), (left + wide + 3, top + 3), frame, -1)
        cv2.rectangle(found, (left, low), (left + wide, top), glass, -1)
        cv2.rectangle(found, (left, (low + top) // 2), (left + wide, top), near((0.42, 0.5, 0.58), 0.06, rng), -1)
        cv2.line(found, (left + wide // 2, low), (left + wide // 2, top), frame, max(1, side // 128))
    found[: side // 40] *= 0.75
    return found


def foliage(side: int, rng: Rng, colour: Colour) -> Texture:
    """Leaves, grass or hedge: green with dark holes."""
    light = 1 + np.float32(0.22) * mottled(side, 8, 4, rng) + np.float32(0.12) * grain(side, rng)
    return tinted(np.asarray(np.clip(light, 0.3, 1.7), np.float32), colour)


def lawn(side: int, rng: Rng, colour: Colour) -> Texture:
    """Grass or snow from above: patches and fine grain."""
    light = 1 + np.float32(0.06) * mottled(side, 3, 4, rng) + np.float32(0.08) * grain(side, rng)
    return tinted(np.asarray(np.clip(light, 0.5, 1.5), np.float32), colour)
