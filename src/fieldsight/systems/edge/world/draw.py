"""Data sets and single frames of the drawn worlds; each frame is a function of its place in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import DetectionSample, Picture, Truth
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, unknown
from fieldsight.systems.edge.world import arena, cutouts, street
from fieldsight.systems.edge.world.cutouts import Pool
from fieldsight.systems.edge.world.flight import Flight
from fieldsight.systems.edge.world.scene import Scene, boxes_of, draw_view

WORLDS = ("arena", "street", "cutouts")

#: ``domain-shift`` has other light, textures and altitudes; nothing is ever trained on it.
SPLITS = ("train", "val", "test", "domain-shift")

#: Names of each world's classes, in the order of their labels.
CLASSES: dict[str, tuple[str, ...]] = {"arena": arena.CLASSES, "street": street.CLASSES, "cutouts": cutouts.CLASSES}

#: Seeds from here on are for final tests only: nothing is trained, tuned or looked at on them before.
HELD_OUT_SEED = 900_000

#: Boxes with a side below this many pixels of a frame 640 px wide are left out.
LEAST_SIDE = 8.0

_SIDES = (32, 4096)


@dataclass(frozen=True)
class Shot:
    """Names one frame.

    Attributes:
        world: one of ``WORLDS``; split: one of ``SPLITS``.
        trajectory, frame: counted from 0.
        size: height and width in px.
        seed: of the world.
        pool: of the world ``cutouts``; None draws one.
    """

    world: str
    split: str
    trajectory: int
    frame: int
    size: tuple[int, int]
    seed: int
    pool: Pool | None = None

    @property
    def shift(self) -> bool:
        """Whether it is of the shifted domain."""
        return self.split == "domain-shift"

    def rng(self, *what: str | int) -> np.random.Generator:
        """Chance for this trajectory."""
        return rng_for(self.seed, "edge", self.world, self.split, self.trajectory, *what)


@dataclass(frozen=True)
class Frame:
    """A drawn photo with its truth.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        truth: tight boxes of what is visible of each object.
        ids: ``(2 H, 2 W)`` int32, two samples a pixel each way: 0 for the world, above it one number an object.
        facts: plain values: world, domain, trajectory, frame, flight, altitude (m), pitch (degrees), background.
    """

    image: Picture
    truth: Truth
    ids: NDArray[np.int32]
    facts: dict[str, object]


def _check(world: str, split: str) -> None:
    if world not in WORLDS:
        raise ConfigError(unknown("world", str(world), WORLDS))
    if split not in SPLITS:
        raise ConfigError(unknown("split", str(split), SPLITS))


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def frame_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width in px of ``size``: a width, which gives a frame of 4:3, or height and width.

    Raises:
        ConfigError: not whole numbers from 32 to 4096.
    """
    given = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    low, high = _SIDES
    if len(given) != 2 or not all(_whole(side) and low <= side <= high for side in given):
        raise ConfigError(f"size is {size!r}; give a width, or height and width, from {low} to {high} px.")
    return (int(given[0]), int(given[1])) if isinstance(size, (tuple, list)) else (int(size) * 3 // 4, int(size))


@lru_cache(maxsize=4096)
def _flown(world: str, split: str, trajectory: int, seed: int) -> tuple[Flight, object]:
    shot = Shot(world, split, trajectory, 0, (0, 0), seed)
    return (arena.plan if world == "arena" else street.plan)(shot.rng("plan"), shot.shift)


@lru_cache(maxsize=24)
def _built(world: str, split: str, trajectory: int, seed: int) -> Scene:
    shot = Shot(world, split, trajectory, 0, (0, 0), seed)
    flight, place = _flown(world, split, trajectory, seed)
    if world == "arena":
        return arena.build(flight, place, shot.rng("build"), shot.shift)  # type: ignore[arg-type]
    return street.build(flight, place, shot.rng("build"), shot.shift)  # type: ignore[arg-type]


def trajectory_length(world: str, split: str, trajectory: int, seed: int = 0) -> int:
    """Frames of a trajectory: 60 to 120, or 20 photos over one background in ``cutouts``.

    Raises:
        ConfigError: unknown world or split.
    """
    _check(world, split)
    return cutouts.FRAMES if world == "cutouts" else len(_flown(world, split, trajectory, seed)[0])


def _facts(shot: Shot) -> dict[str, object]:
    facts: dict[str, object] = {
        "world": shot.world,
        "domain": "shift" if shot.shift else "plain",
        "trajectory": shot.trajectory,
        "frame": shot.frame,
    }
    if shot.world == "cutouts":
        phase = int(shot.rng("phase").integers(cutouts.EMPTY))
        return {**facts, "background": (shot.frame + phase) % cutouts.EMPTY == 0}
    return {**facts, **_flown(shot.world, shot.split, shot.trajectory, shot.seed)[0].facts(shot.frame)}


@lru_cache(maxsize=64)
def _drawn(shot: Shot) -> Frame:
    rng, facts = shot.rng("frame", shot.frame), _facts(shot)
    if shot.world == "cutouts":
        pool = shot.pool or cutouts.drawn_pool(0)
        empty = bool(facts["background"])
        view, labels = cutouts.draw_cutout(pool, shot.split, shot.trajectory, empty, shot.size, shot.seed, rng)
    else:
        scene = _built(shot.world, shot.split, shot.trajectory, shot.seed)
        view, labels = draw_view(scene, shot.frame, shot.size, rng), [actor.label for actor in scene.actors]
    boxes, kept, _ = boxes_of(view.ids, labels, LEAST_SIDE * shot.size[1] / 640.0)
    view.image.setflags(write=False)
    return Frame(view.image, Truth.of(boxes, kept), view.ids, facts)


@lru_cache(maxsize=65536)
def _truth(shot: Shot) -> Truth:
    return _drawn(shot).truth


def _image(shot: Shot) -> Picture:
    return _drawn(shot).image.copy()


def render_frame(
    world: str,
    split: str,
    trajectory: int,
    frame: int,
    size: int | tuple[int, int] = 160,
    seed: int = 0,
    pool: Pool | None = None,
) -> Frame:
    """Draw one frame.

    Args:
        world: ``arena`` (a room, one class), ``street`` (six classes) or ``cutouts`` (objects pasted over photos).
        split: one of ``SPLITS``.
        trajectory: from 0, without end.
        frame: from 0 to ``trajectory_length(...) - 1``.
        size: width in px of a 4:3 frame, or height and width.
        seed: of the world; from ``HELD_OUT_SEED`` on for final tests only.
        pool: what ``cutouts`` pastes; drawn if None.

    Raises:
        ConfigError: unknown world or split, a size or number out of range.
    """
    length = trajectory_length(world, split, trajectory, seed)
    if trajectory < 0 or not 0 <= frame < length:
        raise ConfigError(
            f"frame {frame} of trajectory {trajectory} does not exist; this one has frames 0 to {length - 1}."
        )
    return _drawn(Shot(world, split, trajectory, frame, frame_size(size), seed, pool))


def _picked(world: str, split: str, count: int, seed: int, per_trajectory: int | None) -> list[tuple[int, int]]:
    """Trajectories and frames of a split: evenly spread over each trajectory in turn."""
    wanted = per_trajectory or max(1, -(-count // 8))
    found: list[tuple[int, int]] = []
    trajectory = 0
    while len(found) < count:
        length = trajectory_length(world, split, trajectory, seed)
        take = min(wanted, length, count - len(found))
        phase = float(rng_for(seed, "edge", world, split, trajectory, "spread").random())
        found += [(trajectory, int((n + phase) * length / take)) for n in range(take)]
        trajectory += 1
    return found


def draw_set(
    world: str,
    counts_by_split: Mapping[str, int],
    size: int | tuple[int, int] = 160,
    seed: int = 0,
    *,
    per_trajectory: int | None = None,
    pool: Pool | None = None,
) -> list[DetectionSample]:
    """A data set, drawn when it is looked at.

    Args:
        world: see :func:`render_frame`.
        counts_by_split: number of photos of each split; a trajectory belongs to one split.
        size: width in px of a 4:3 frame, or height and width.
        seed: of the world; from ``HELD_OUT_SEED`` on for final tests only.
        per_trajectory: at most so many photos of one trajectory, evenly spread over it; None takes every frame, but
            as few as give eight trajectories a split.
        pool: what ``cutouts`` pastes; drawn if None.

    Returns:
        Samples in the order of splits, trajectories and frames; ``group`` is the trajectory (in ``cutouts``, the
        background). About a tenth show none of the classes, and ``facts["background"]`` says so.

    Raises:
        ConfigError: unknown world or split, a size or number out of range.
    """
    sides = frame_size(size)
    problems = [unknown("split", str(s), SPLITS) for s in counts_by_split if s not in SPLITS]
    if world not in WORLDS:
        problems.append(unknown("world", str(world), WORLDS))
    numbers = {**counts_by_split, "per_trajectory": 1 if per_trajectory is None else per_trajectory}
    for name, value in numbers.items():
        least = 1 if name == "per_trajectory" else 0
        if not _whole(value) or value < least:
            problems.append(f"{name} is {value!r}; give a whole number from {least}.")
    if pool is not None and world != "cutouts":
        problems.append(f"A pool is for the world cutouts, not for {world}.")
    if problems:
        raise ConfigError(problems)
    found = []
    for split, count in counts_by_split.items():
        for trajectory, frame in _picked(world, split, int(count), seed, per_trajectory):
            found.append(_sample(Shot(world, split, trajectory, frame, sides, seed, pool)))
    return found


def _sample(shot: Shot) -> DetectionSample:
    group = f"{shot.world}-{shot.seed}-{shot.split}-{shot.trajectory:04d}"
    name = f"{group}-{shot.frame:03d}"
    if shot.world == "cutouts":
        grounds, _ = (shot.pool or cutouts.drawn_pool(0)).part(shot.split, shot.seed)
        group = f"cutouts-{shot.seed}-background-{grounds[shot.trajectory % len(grounds)]:04d}"
    return DetectionSample(
        name, group, shot.split, shot.size, partial(_image, shot), partial(_truth, shot), _facts(shot)
    )
