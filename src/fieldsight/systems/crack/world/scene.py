"""A drawn photo with the truth beside it, and whole data sets of such photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, unknown
from fieldsight.systems.crack.sample import MaskArray, Picture, Sample
from fieldsight.systems.crack.world import backgrounds, distractors, lights
from fieldsight.systems.crack.world.cracks import Crack, draw_cracks
from fieldsight.systems.crack.world.laying import STYLES, annotate, check_style, cut_into, lay, stopped
from fieldsight.systems.crack.world.surfaces import SURFACES, Field, Surface

DOMAINS = ("asphalt", "aggregate", "concrete", "tile", "road")
UNSEEN = ("plaster",)
SPLITS = ("train", "val", "test")

_SIDES = (32, 8192)
_REAL_SHARE = 0.35
_LEAST_SHARE = 0.004
#: How strong blur (sigma, px), noise (of full scale) and the chance of JPEG are, smallest and largest.
_CAMERA: dict[str, tuple[tuple[float, float], tuple[float, float], float]] = {
    "asphalt": ((0.30, 0.70), (0.006, 0.018), 0.4),
    "aggregate": ((0.25, 0.55), (0.004, 0.014), 0.3),
    "concrete": ((0.40, 0.90), (0.004, 0.012), 0.4),
    "tile": ((0.35, 0.80), (0.004, 0.016), 0.5),
    "road": ((0.45, 1.00), (0.008, 0.024), 0.6),
    "plaster": ((0.40, 0.90), (0.004, 0.014), 0.5),
}


@dataclass(frozen=True)
class Scene:
    """One drawn photo.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        mask: ``(H, W)`` bool, True where there is crack, in the annotation style asked for.
        centrelines: ``(n, 3)`` float64 a crack: row, column, width in px.
        domain: the kind of surface.
        facts: ``surface``, ``light``, ``cracks`` (their number), ``distractors`` (names), ``real`` (ground is a photo).
    """

    image: Picture
    mask: MaskArray
    centrelines: list[NDArray[np.float64]]
    domain: str
    facts: dict[str, Any] = field(default_factory=dict)


def check_domain(domain: str) -> str:
    """The name of a domain that can be drawn.

    Raises:
        ConfigError: unknown domain.
    """
    if domain not in (*DOMAINS, *UNSEEN):
        raise ConfigError(unknown("domain", str(domain), (*DOMAINS, *UNSEEN)))
    return domain


def draw_photo(
    domain: str,
    size: tuple[int, int],
    rng: np.random.Generator,
    style: str = "exact",
    photos: bool = False,
    *,
    cracked: bool = True,
) -> Scene:
    """Draw one photo of a surface with cracks and the truth for it.

    Args:
        domain: one of ``DOMAINS`` or ``UNSEEN``.
        size: height and width in px, 32 to 8192; a larger field shows more ground at the same scale.
        rng: all chance; the picture does not depend on ``style``.
        style: ``exact`` (over half of the pixel is crack), ``centreline`` (the 1-px centreline dilated once, as in
            CFD) or ``dilated`` (the exact mask grown by 3 px, as in Crack500).
        photos: let real photos be the ground now and then.
        cracked: False draws the same world without a crack, and with more distractors.

    Raises:
        ConfigError: unknown domain or style, or a size out of range.
    """
    check_domain(domain)
    check_style(style)
    sides: tuple[object, ...] = tuple(size)
    if len(sides) != 2 or not all(isinstance(s, Integral) and _SIDES[0] <= int(s) <= _SIDES[1] for s in sides):
        raise ConfigError(f"size is {size!r}; give height and width from {_SIDES[0]} to {_SIDES[1]} px.")
    shape = (int(size[0]), int(size[1]))
    scene, cracks = _draw(_ground(domain, photos, 0, shape, rng), domain, rng, cracked)
    return replace(scene, mask=annotate(scene.mask, cracks, style))


def _ground(domain: str, photos: bool, number: int, shape: tuple[int, int], rng: np.random.Generator) -> Surface:
    real = backgrounds.surface(domain, shape, rng) if photos and rng.random() < _REAL_SHARE else None
    return real if real is not None else SURFACES[domain](shape, rng)


def _draw(ground: Surface, domain: str, rng: np.random.Generator, cracked: bool) -> tuple[Scene, list[Crack]]:
    """Everything that goes onto a ground, with the exact mask, and its cracks."""
    shape = (ground.image.shape[0], ground.image.shape[1])
    more = 1.0 if cracked else 1.6
    image, names = distractors.scatter(ground.image, distractors.BENEATH[domain], rng, more)
    image, iron = distractors.cover_up(image, domain, rng)
    families = draw_cracks(shape, domain, ground.lattice, rng) if cracked else []
    cracks = [crack for family in families for crack in family]
    if iron is not None:
        names.append("manhole")
        cracks = [stopped(crack, iron) for crack in cracks]
    laid = lay(cracks, shape)
    if cracks:
        image = cut_into(image, laid, domain, rng)
    image, over = distractors.scatter(image, distractors.ABOVE[domain], rng, more)
    light = lights.pick(domain, rng)
    picture = _camera(lights.SHINE[light](image, rng), domain, rng)
    facts = {
        "surface": ground.kind,
        "light": light,
        "cracks": len(families),
        "distractors": [*names, *over],
        "real": ground.real,
    }
    return Scene(picture, laid.cover > 0.5, [crack.points for crack in cracks], domain, facts), cracks


def _camera(image: Field, domain: str, rng: np.random.Generator) -> Picture:
    """Exposure, blur, sensor noise and, now and then, JPEG; gives ``(H, W, 3)`` uint8."""
    blur, noise, jpeg = _CAMERA[domain]
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(*blur)))
    metered = float(np.clip((0.42 / max(float(image.mean()), 1e-3)) ** 0.4, 0.85, 1.7))
    image = np.clip(image * np.float32(metered * rng.uniform(0.85, 1.15)), 0.0, None)
    shot = np.float32(rng.uniform(*noise)) * np.sqrt(np.clip(image, 0.02, 1.0) * 2.0)
    image = image + shot * rng.standard_normal(image.shape, dtype=np.float32)
    picture = np.asarray(np.clip(np.round(255.0 * image), 0, 255), dtype=np.uint8)
    if rng.random() < jpeg:
        done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))])
        if done:
            picture = np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
    return picture


def _corners(side: int, size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Top left corners of four crops of ``size`` that do not overlap within a square of ``side``."""
    slack = side - 2 * size
    columns = bool(rng.random() < 0.5)
    corners = []
    cut = int(rng.integers(0, slack + 1))
    for half in range(2):
        second = int(rng.integers(0, slack + 1))
        for other in range(2):
            first = int(rng.integers(0, cut + 1)) if half == 0 else int(size + rng.integers(cut, slack + 1))
            place = int(rng.integers(0, second + 1)) if other == 0 else int(size + rng.integers(second, slack + 1))
            corners.append((place, first) if columns else (first, place))
    return corners


def _crops(mask: MaskArray, size: int, cracked: bool, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Corners of 2-4 crops; in a cracked photo each shows some crack. Fewer if the photo has no more."""
    wanted = int(rng.integers(2, 5))
    best: list[tuple[int, int]] = []
    for _ in range(10):
        corners = _corners(mask.shape[0], size, rng)
        if cracked:
            corners = [c for c in corners if mask[c[0] : c[0] + size, c[1] : c[1] + size].mean() >= _LEAST_SHARE]
        if len(corners) > len(best):
            best = corners
        if len(best) >= wanted:
            break
    order = rng.permutation(len(best))[:wanted]
    return [best[i] for i in sorted(order.tolist())]


def _is_empty(number: int, empty: float, phase: float) -> bool:
    return int((number + 1) * empty + phase) > int(number * empty + phase)


Ground = Callable[[int, tuple[int, int], np.random.Generator], Surface]


def _photos(
    split: str, domain: str, size: int, seed: int, style: str, empty: float, ground: Ground, name: str
) -> Iterator[list[Sample]]:
    """The photos of one split and domain, each as the samples cut from it, without end."""
    side = round(2.2 * size)
    phase = float(rng_for(seed, "world", split, name, "empty").random())
    number = 0
    while True:
        rng = rng_for(seed, "world", split, name, number)
        cracked = not _is_empty(number, empty, phase)
        for _ in range(4):
            scene, cracks = _draw(ground(number, (side, side), rng), domain, rng, cracked)
            corners = _crops(scene.mask, size, cracked, rng)
            if len(corners) >= 2:
                break
        truth = annotate(scene.mask, cracks, style)
        group = f"{name}-{split}-{number:05d}"
        cut = []
        for k, (row, column) in enumerate(corners):
            window = np.s_[row : row + size, column : column + size]
            picture, mask = scene.image[window].copy(), truth[window].copy()
            cut.append(Sample(f"{group}-{k}", group, split, name, picture.copy, mask.copy))
        yield cut
        number += 1


def _pile(photo: Iterator[list[Sample]], wanted: int) -> list[Sample]:
    pile: list[Sample] = []
    while len(pile) < wanted:
        pile += next(photo)
    return pile[:wanted]


def draw_set(
    count: Mapping[str, int],
    domains: Sequence[str] = DOMAINS,
    size: int = 128,
    seed: int = 0,
    style: str = "exact",
    photos: bool = False,
    empty: float = 0.08,
) -> list[Sample]:
    """Draw a data set: virtual photos of 2.2 times the crop's side, from each of which 2-4 crops are cut.

    Every photo's chance is ``rng_for(seed, "world", split, domain, number)``: a split's pictures do not depend on the
    other splits or on how many are asked for. The domains take turns.

    Args:
        count: crops a split, as in ``{"train": 400, "val": 100, "test": 150}``.
        domains: which to draw.
        size: side of a crop, px, 32 to 2048.
        seed: of all chance.
        style: annotation, see :func:`draw_photo`.
        photos: let real photos be the ground now and then.
        empty: share of crops without a crack, 0 to 1.

    Raises:
        ConfigError: unknown split, domain or style; a count, size or share out of range.
    """
    _check_set(count, domains, size, style, empty)
    samples = []
    for split in (name for name in SPLITS if name in count):
        piles = []
        for i, domain in enumerate(domains):
            wanted = count[split] // len(domains) + (i < count[split] % len(domains))
            ground = partial(_ground, domain, photos)
            piles.append(_pile(_photos(split, domain, size, seed, style, empty, ground, domain), wanted))
        longest = max(len(pile) for pile in piles)
        samples += [pile[k] for k in range(longest) for pile in piles if k < len(pile)]
    return samples


def draw_heldout(count: int, size: int = 128, seed: int = 0, style: str = "exact", empty: float = 0.08) -> list[Sample]:
    """Drawn cracks and distractors on real concrete that is never trained on: split ``test``, domain ``heldout``.

    The photos of :func:`~fieldsight.systems.crack.world.backgrounds.heldout` take turns; cracks, light and camera are
    those of ``concrete``.

    Raises:
        ConfigError: a count, size, style or share out of range.
        DataError: the photos are not here, or can't be read.
    """
    _check_set({"test": count}, ("concrete",), size, style, empty)
    return _pile(_photos("test", "concrete", size, seed, style, empty, backgrounds.heldout_surface, "heldout"), count)


def _check_set(count: Mapping[str, int], domains: Sequence[str], size: int, style: str, empty: float) -> None:
    problems = [unknown("split", str(name), SPLITS) for name in count if name not in SPLITS]
    problems += [
        f"The count of '{name}' is {number!r}; give a whole number from 0 up."
        for name, number in count.items()
        if type(number) is not int or number < 0
    ]
    if isinstance(domains, str) or not domains:
        problems.append(f"domains is {domains!r}; give a list with one or more of {', '.join((*DOMAINS, *UNSEEN))}.")
    else:
        problems += [unknown("domain", str(d), (*DOMAINS, *UNSEEN)) for d in domains if d not in (*DOMAINS, *UNSEEN)]
    if style not in STYLES:
        problems.append(unknown("annotation style", str(style), STYLES))
    if type(size) is not int or not 32 <= size <= 2048:
        problems.append(f"size is {size!r}; give the side of a crop from 32 to 2048 px.")
    if not 0.0 <= empty <= 1.0:
        problems.append(f"empty is {empty!r}; give a share from 0 to 1.")
    if problems:
        raise ConfigError(problems)
