"""What is not a crack but looks like one: joints, seams, twigs, blades of grass, wires, marks, stains, paint.

Some are as dark and as thin as cracks, but of another kind: straight, with parallel edges, smooth, lighter or coloured.
A distractor is a function ``(image, rng) -> image`` on ``(H, W, 3)`` float32 RGB.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from fieldsight.systems.crack.world.cracks import Line
from fieldsight.systems.crack.world.laying import cover_of
from fieldsight.systems.crack.world.surfaces import Field, Shape, grain, mottle, smooth_noise, step, turned_grid

Paint = Callable[[Field, np.random.Generator], Field]


def _shape(image: Field) -> Shape:
    return image.shape[0], image.shape[1]


def _somewhere(shape: Shape, rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(0.1, 0.9) * shape[0]), float(rng.uniform(0.1, 0.9) * shape[1])


def _blend(image: Field, share: Field, colour: Field) -> Field:
    return np.asarray(image + share[..., None] * (colour - image), dtype=np.float32)


def _colour(rgb: tuple[float, float, float], rng: np.random.Generator, spread: float = 0.2) -> Field:
    return np.asarray(rgb, np.float32) * np.float32(rng.uniform(1 - spread, 1 + spread))


def arc(shape: Shape, length: float, bend: float, widths: tuple[float, float], rng: np.random.Generator) -> Line:
    """A smooth curve through a random point, ``(n, 3)``; ``bend`` is its turn per 100 px, widths are at both ends."""
    count = max(int(length / 4.0), 3)
    at = _somewhere(shape, rng)
    turn = np.linspace(-0.5, 0.5, count) * rng.normal(0.0, bend) * length / 100.0
    angle = rng.uniform(0, 2 * np.pi) + turn + 0.25 * bend * np.sin(np.linspace(0, rng.uniform(2, 7), count))
    rows, columns = np.cumsum(4.0 * np.sin(angle)), np.cumsum(4.0 * np.cos(angle))
    middle = count // 2
    return np.column_stack([
        at[0] + rows - rows[middle], at[1] + columns - columns[middle], np.linspace(widths[0], widths[1], count)
    ])  # fmt: skip


def _span(shape: Shape) -> float:
    return 1.5 * float(np.hypot(*shape))


def joint(image: Field, rng: np.random.Generator) -> Field:
    """A sawn joint: straight, of one width, with sharp parallel edges, dark; sometimes sealed with a grey strip."""
    shape = _shape(image)
    angle = float(rng.choice([0.0, np.pi / 2]) + rng.normal(0.0, 0.12))
    _, across = turned_grid(shape, angle, *_somewhere(shape, rng))
    half = rng.uniform(0.7, 2.6)
    line = 1 - step(np.abs(across), half, 1.0)
    deep = np.float32(rng.uniform(0.25, 0.6))
    lip = (1 - step(np.abs(across), half + 1.5, 1.0)) * (1 - line)
    image = image * (1 + np.float32(rng.uniform(0.0, 0.10)) * lip)[..., None]
    return np.asarray(image * (1 - deep * line)[..., None], dtype=np.float32)


def seam(image: Field, rng: np.random.Generator) -> Field:
    """A band of tar poured over a joint: black, smooth, winding, with parallel edges and a faint gloss."""
    shape = _shape(image)
    width = float(rng.uniform(3.0, 9.0))
    line = arc(shape, _span(shape), 0.35, (width, width), rng)
    line[:, 2] *= 1 + 0.12 * np.sin(np.arange(len(line)) * rng.uniform(0.2, 0.6))
    share = np.clip(cover_of([line], shape), 0, 1) * np.float32(rng.uniform(0.75, 0.95))
    gloss = np.float32(0.10) * step(smooth_noise(shape, 14.0, rng), 0.6, 1.0)
    tar = _colour((0.10, 0.10, 0.11), rng) + gloss[..., None]
    return _blend(image, share, tar)


def scratch(image: Field, rng: np.random.Generator) -> Field:
    """Thin straight scratches, lighter than the ground."""
    shape = _shape(image)
    lines = [
        arc(shape, rng.uniform(20, 140), 0.03, (0.7, rng.uniform(0.8, 1.6)), rng)
        for _ in range(int(rng.integers(1, 4)))
    ]
    gain = np.float32(rng.uniform(0.12, 0.35)) * cover_of(lines, shape)
    return np.asarray(image * (1 + gain)[..., None], dtype=np.float32)


def pencil(image: Field, rng: np.random.Generator) -> Field:
    """Dark thin ruled lines, as a mason leaves them."""
    shape = _shape(image)
    width = float(rng.uniform(0.8, 1.6))
    lines = [arc(shape, rng.uniform(50, 300), 0.005, (width, width), rng) for _ in range(int(rng.integers(1, 3)))]
    loss = np.float32(rng.uniform(0.15, 0.5)) * cover_of(lines, shape)
    return np.asarray(image * (1 - loss)[..., None], dtype=np.float32)


def wire(image: Field, rng: np.random.Generator) -> Field:
    """A wire or hose: smooth, of one width, with a light ridge and a soft shadow beside it."""
    shape = _shape(image)
    width = float(rng.uniform(1.4, 3.6))
    line = arc(shape, rng.uniform(0.6, 1.0) * _span(shape), 0.8, (width, width), rng)
    fallen = line + np.array([rng.uniform(0.5, 1.2) * width, rng.uniform(0.5, 1.2) * width, 0.0])
    shade = cv2.GaussianBlur(cover_of([fallen], shape), (0, 0), 1.2)
    image = np.asarray(image * (1 - np.float32(0.4) * shade)[..., None], np.float32)
    hue = [(0.08, 0.08, 0.09), (0.10, 0.10, 0.10), (0.62, 0.30, 0.10), (0.75, 0.74, 0.70)][int(rng.integers(4))]
    image = _blend(image, np.clip(cover_of([line], shape), 0, 1), _colour(hue, rng))
    ridge = line - np.array([0.2 * width, 0.2 * width, 0.0])
    ridge[:, 2] = max(0.3 * width, 0.5)
    return np.asarray(image + np.float32(0.18) * cover_of([ridge], shape)[..., None], np.float32)


def _twig_lines(shape: Shape, rng: np.random.Generator) -> list[Line]:
    length, width = rng.uniform(35.0, 120.0), rng.uniform(1.3, 3.2)
    main = arc(shape, length, 0.25, (width, 0.7), rng)
    lines = [main]
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(1, max(len(main) - 1, 2)))
        heading = np.arctan2(*(main[at, :2] - main[at - 1, :2])) + rng.choice([-1, 1]) * rng.uniform(0.5, 0.9)
        reach = np.linspace(0, rng.uniform(8.0, 30.0), 5)
        rows, columns = main[at, 0] + reach * np.sin(heading), main[at, 1] + reach * np.cos(heading)
        lines.append(np.column_stack([rows, columns, np.linspace(0.7 * main[at, 2], 0.6, 5)]))
    return lines


def twig(image: Field, rng: np.random.Generator) -> Field:
    """A fallen twig: brown, of straight pieces, with a shadow along one side."""
    shape = _shape(image)
    lines = _twig_lines(shape, rng)
    fallen = [line + np.array([1.8, 1.2, 0.0]) for line in lines]
    shade = cv2.GaussianBlur(cover_of(fallen, shape), (0, 0), 0.9)
    image = np.asarray(image * (1 - np.float32(0.45) * shade)[..., None], np.float32)
    brown = _colour(((0.34, 0.24, 0.15), (0.45, 0.36, 0.25), (0.22, 0.16, 0.11))[int(rng.integers(3))], rng)
    return _blend(image, np.clip(cover_of(lines, shape), 0, 1), brown)


def twig_shadow(image: Field, rng: np.random.Generator) -> Field:
    """The shadow of twigs or wires overhead: thin and dark, but blurred."""
    shape = _shape(image)
    lines = [line for _ in range(int(rng.integers(1, 4))) for line in _twig_lines(shape, rng)]
    if rng.random() < 0.4:
        lines.append(arc(shape, _span(shape), 0.1, (2.5, 2.5), rng))
    shade = cv2.GaussianBlur(cover_of(lines, shape), (0, 0), rng.uniform(1.0, 2.2))
    return np.asarray(image * (1 - np.float32(rng.uniform(0.35, 0.6)) * shade)[..., None], np.float32)


def grass(image: Field, rng: np.random.Generator) -> Field:
    """Blades of grass: green or straw, curved, pointed, in a tuft."""
    shape = _shape(image)
    root = _somewhere(shape, rng)
    lines = []
    for _ in range(int(rng.integers(3, 14))):
        blade = arc(shape, rng.uniform(12.0, 45.0), 1.2, (rng.uniform(1.2, 2.6), 0.5), rng)
        blade[:, :2] += np.array(root) + rng.normal(0, 5.0, 2) - blade[0, :2]
        lines.append(blade)
    hue = ((0.30, 0.42, 0.16), (0.22, 0.33, 0.13), (0.58, 0.52, 0.32))[int(rng.integers(3))]
    shade = cv2.GaussianBlur(cover_of([b + np.array([1.0, 1.0, 0.0]) for b in lines], shape), (0, 0), 1.0)
    image = np.asarray(image * (1 - np.float32(0.35) * shade)[..., None], np.float32)
    return _blend(image, np.clip(cover_of(lines, shape), 0, 1), _colour(hue, rng))


def stain(image: Field, rng: np.random.Generator) -> Field:
    """Oil, damp or rust: soft blobs darker than the ground, with a rim."""
    shape = _shape(image)
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    columns = np.arange(shape[1], dtype=np.float32)[None, :]
    at = _somewhere(shape, rng)
    size = np.float32(rng.uniform(12.0, 55.0))
    distance = np.hypot((rows - at[0]) * rng.uniform(0.6, 1.4), columns - at[1]) / size
    blob = step(-(distance + 0.22 * mottle(shape, 30.0, 6.0, rng)).astype(np.float32), -1.0, rng.uniform(0.1, 0.6))
    hue = ((0.55, 0.55, 0.55), (0.72, 0.70, 0.66), (0.82, 0.70, 0.58))[int(rng.integers(3))]
    return np.asarray(image * (1 + blob[..., None] * (_colour(hue, rng, 0.1) - 1)), np.float32)


def drip(image: Field, rng: np.random.Generator) -> Field:
    """Streaks where water ran down: upright, soft, fading."""
    shape = _shape(image)
    lines = []
    for _ in range(int(rng.integers(1, 5))):
        line = arc(shape, rng.uniform(40.0, 200.0), 0.03, (rng.uniform(1.5, 6.0), 0.6), rng)
        start, reach = line[0, :2].copy(), np.arange(len(line)) * 4.0
        line[:, 0], line[:, 1] = start[0] + reach, start[1] + np.cumsum(rng.normal(0, 0.25, len(line)))
        lines.append(line)
    streak = cv2.GaussianBlur(cover_of(lines, shape), (0, 0), rng.uniform(0.8, 2.2))
    hue = ((0.70, 0.68, 0.66), (0.78, 0.58, 0.42), (1.18, 1.18, 1.16))[int(rng.integers(3))]
    return np.asarray(image * (1 + streak[..., None] * (np.asarray(hue, np.float32) - 1)), np.float32)


def tyre(image: Field, rng: np.random.Generator) -> Field:
    """Tyre marks: a pair of soft dark bands with the blocks of a tread."""
    shape = _shape(image)
    band = float(rng.uniform(7.0, 16.0))
    line = arc(shape, _span(shape), 0.25, (band, band), rng)
    heading = np.arctan2(np.gradient(line[:, 0]), np.gradient(line[:, 1]))
    gauge = rng.uniform(45.0, 110.0)
    other = line + np.stack([gauge * np.cos(heading), -gauge * np.sin(heading), np.zeros(len(line))], axis=1)
    marks = cv2.GaussianBlur(cover_of([line, other], shape), (0, 0), 1.5)
    along, across = turned_grid(shape, float(heading.mean()), *_somewhere(shape, rng))
    tread = 0.7 + 0.3 * np.sign(np.sin(along * np.float32(1.1) + 2 * np.sin(across * np.float32(0.9))))
    worn = step(mottle(shape, 40.0, 8.0, rng), rng.uniform(-0.6, 0.3), 1.2)
    return np.asarray(image * (1 - np.float32(rng.uniform(0.2, 0.45)) * marks * tread * worn)[..., None], np.float32)


def _worn_paint(image: Field, share: Field, rng: np.random.Generator) -> Field:
    """Road paint over ``share`` of each pixel, white or yellow, worn through where the stones stand out."""
    shape = _shape(image)
    wear = 0.7 * grain(shape, 0.8, 2.5, rng) + mottle(shape, 50.0, 10.0, rng)
    left = step(-wear, -rng.uniform(0.6, 2.2), 0.8)
    paint = _colour((0.86, 0.86, 0.83) if rng.random() < 0.7 else (0.84, 0.66, 0.22), rng, 0.1)
    texture = paint * (1 + 0.05 * grain(shape, 0.6, 2.0, rng))[..., None]
    return _blend(image, np.asarray(share * left * np.float32(rng.uniform(0.75, 0.95)), np.float32), texture)


def stripe(image: Field, rng: np.random.Generator) -> Field:
    """Lane paint: one band, a double line with a thin dark gap between, or the bars of a crossing."""
    shape = _shape(image)
    angle = float(rng.uniform(0, np.pi))
    along, across = turned_grid(shape, angle, *_somewhere(shape, rng))
    half = rng.uniform(8.0, 20.0)
    kind = rng.random()
    if kind < 0.45:
        band = 1 - step(np.abs(across), half, 1.2)
    elif kind < 0.75:
        gap = rng.uniform(1.0, 5.0)
        band = (1 - step(np.abs(across), half, 1.2)) * step(np.abs(across), gap, 1.2)
    else:
        pitch = np.float32(half * 2.2)
        band = 1 - step(np.abs(across - pitch * np.round(across / pitch)), half * 0.55, 1.2)
        band = band * step(along, float(rng.uniform(-60, 20)), 1.2)
    return _worn_paint(image, np.asarray(band, np.float32), rng)


def manhole(image: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """An iron cover in its ring: thin dark circles, studs or ribs; also the share of each pixel that it hides."""
    shape = _shape(image)
    at = _somewhere(shape, rng)
    radius = rng.uniform(38.0, 75.0)
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(at[0])
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(at[1])
    distance = np.hypot(rows, columns)
    iron = _colour((0.30, 0.29, 0.28), rng) * (1 + 0.10 * grain(shape, 0.6, 2.0, rng))[..., None]
    pitch = rng.uniform(6.0, 11.0)
    angle = float(rng.uniform(0, np.pi))
    along, across = turned_grid(shape, angle, *at)
    wave = np.sin(along * np.float32(2 * np.pi / pitch))
    if rng.random() < 0.6:
        wave = wave * np.sin(across * np.float32(2 * np.pi / pitch))
    iron = iron * (1 + np.float32(0.28) * step(np.asarray(wave, np.float32), 0.3, 0.4) - 0.1)[..., None]
    frame = np.float32(radius + rng.uniform(5.0, 9.0))
    out = _blend(image, 1 - step(distance, radius, 1.0), np.asarray(iron, np.float32))
    for ring, half in ((radius, rng.uniform(0.8, 1.8)), (frame, rng.uniform(0.6, 1.4))):
        edge = 1 - step(np.abs(distance - np.float32(ring)), half, 1.0)
        out = np.asarray(out * (1 - np.float32(rng.uniform(0.4, 0.7)) * edge)[..., None], np.float32)
    return out, 1 - step(distance, frame, 1.0)


def patch(image: Field, rng: np.random.Generator) -> Field:
    """A repaired rectangle of another tone, with a thin dark sealed outline."""
    shape = _shape(image)
    along, across = turned_grid(shape, float(rng.normal(0, 0.15)), *_somewhere(shape, rng))
    half_a, half_b = rng.uniform(30.0, 90.0, 2)
    edge = np.maximum(np.abs(along) - np.float32(half_a), np.abs(across) - np.float32(half_b))
    edge = edge + 0.6 * smooth_noise(shape, 8.0, rng)
    tone = np.float32(rng.uniform(0.7, 1.15))
    image = image * (1 + (tone - 1) * (1 - step(edge, 0.0, 1.5)))[..., None]
    rim = 1 - step(np.abs(edge), rng.uniform(0.6, 2.0), 1.0)
    return np.asarray(image * (1 - np.float32(rng.uniform(0.2, 0.6)) * rim)[..., None], np.float32)


def leaf(image: Field, rng: np.random.Generator) -> Field:
    """Fallen leaves: pointed ovals, yellow to brown, with a midrib and a shadow."""
    shape = _shape(image)
    for _ in range(int(rng.integers(1, 4))):
        along, across = turned_grid(shape, float(rng.uniform(0, 2 * np.pi)), *_somewhere(shape, rng))
        length, width = rng.uniform(9.0, 20.0), rng.uniform(3.5, 8.0)
        rim = np.abs(across) - np.float32(width) * np.clip(1 - (along / np.float32(length)) ** 2, 0, None)
        body = (1 - step(rim, 0.0, 1.2)) * (np.abs(along) < length)
        shade = cv2.GaussianBlur(np.roll(body, (2, 1), (0, 1)).astype(np.float32), (0, 0), 1.2)
        image = np.asarray(image * (1 - np.float32(0.4) * shade)[..., None], np.float32)
        hue = ((0.62, 0.45, 0.14), (0.45, 0.26, 0.12), (0.35, 0.38, 0.15))[int(rng.integers(3))]
        rib = 1 - np.float32(0.25) * (1 - step(np.abs(across), 0.5, 1.0))
        image = _blend(image, body.astype(np.float32), _colour(hue, rng) * rib[..., None])
    return image


BENEATH: dict[str, dict[str, tuple[Paint, float]]] = {
    "asphalt": {"stain": (stain, 0.35), "tyre": (tyre, 0.30), "patch": (patch, 0.12), "scratch": (scratch, 0.15)},
    "aggregate": {"stain": (stain, 0.45), "patch": (patch, 0.08)},
    "concrete": {
        "joint": (joint, 0.50),
        "stain": (stain, 0.30),
        "drip": (drip, 0.35),
        "scratch": (scratch, 0.25),
        "pencil": (pencil, 0.2),
    },
    "tile": {"stain": (stain, 0.35), "scratch": (scratch, 0.10)},
    "road": {
        "stripe": (stripe, 0.65),
        "seam": (seam, 0.60),
        "patch": (patch, 0.22),
        "tyre": (tyre, 0.25),
    },
    "plaster": {"drip": (drip, 0.35), "pencil": (pencil, 0.35), "stain": (stain, 0.25), "scratch": (scratch, 0.35)},
}

ABOVE: dict[str, dict[str, tuple[Paint, float]]] = {
    "asphalt": {"leaf": (leaf, 0.15), "twig shadow": (twig_shadow, 0.15), "wire": (wire, 0.06)},
    "aggregate": {"twig": (twig, 0.50), "grass": (grass, 0.35), "leaf": (leaf, 0.30)},
    "concrete": {"wire": (wire, 0.15), "twig shadow": (twig_shadow, 0.12)},
    "tile": {"grass": (grass, 0.40), "leaf": (leaf, 0.25), "twig": (twig, 0.20)},
    "road": {"twig shadow": (twig_shadow, 0.15), "leaf": (leaf, 0.10)},
    "plaster": {"wire": (wire, 0.35), "twig shadow": (twig_shadow, 0.25)},
}


#: Chance of a manhole cover on 280 x 280 px; no crack runs through one.
MANHOLES: dict[str, float] = {"road": 0.30}


def cover_up(image: Field, domain: str, rng: np.random.Generator) -> tuple[Field, Field | None]:
    """Set a manhole cover by the domain's chance; gives the image and the share of each pixel it takes, or None."""
    area = image.shape[0] * image.shape[1] / 280.0**2
    if rng.random() >= MANHOLES.get(domain, 0.0) * min(max(area, 0.3), 2.0):
        return image, None
    return manhole(image, rng)


def scatter(
    image: Field, table: dict[str, tuple[Paint, float]], rng: np.random.Generator, more: float = 1.0
) -> tuple[Field, list[str]]:
    """Put on distractors by a table's chances per 280 x 280 px, times ``more``; returns the image and their names."""
    area = image.shape[0] * image.shape[1] / 280.0**2
    names: list[str] = []
    for name, (paint, chance) in table.items():
        mean = chance * more * min(max(area, 0.3) ** 0.7, 12.0)
        times = int(mean) + int(rng.random() < mean - int(mean))
        for _ in range(times):
            image = paint(image, rng)
            names.append(name)
    return image, names
