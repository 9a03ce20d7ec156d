"""What every reader ends with: units to metres, upright by gravity, bad frames blank, and notes on what was odd."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.frames import empty, metres, plane_depth, turned, turns_by_gravity
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.poses import is_lens
from fieldsight.systems.alert.recording import Array, Frame, Manifest, Recording, field_of_view
from fieldsight.systems.alert.units import unit_problem

#: Metres per unit, by name.
UNITS = {"m": 1.0, "mm": 1e-3, "cm": 1e-2}

#: A median below this is no street: the values are in a larger unit than was thought.
TOO_NEAR = 0.02


@dataclass(frozen=True)
class Raw:
    """A stream as its files have it.

    Attributes:
        name: for people.
        times: ``(N,)`` seconds.
        depth: frame ``i`` as stored, ``(H, W)`` of any number type; DataError where it can't be read.
        lens: frame ``i``'s intrinsics ``(3, 3)`` at the depth's size, or None; without, none are known.
        poses: ``(4, 4)`` or None a frame, in our convention but for the picture's turn; empty without.
        confidence: frame ``i``'s ``(H, W)`` uint8, or None.
        scale: metres per unit, where the format says it; 0 where it does not.
        euclidean: the values are distances, not plane depth.
        sizes: ``(height, width)`` of the frames as far as they are known without reading them.
        bad: numbers of frames that are known to be damaged.
        manifest: what else is known.
        notes: decisions of the reader.
    """

    name: str
    times: Array
    depth: Callable[[int], Array]
    lens: Callable[[int], Array | None] | None = None
    poses: Sequence[Array | None] = ()
    confidence: Callable[[int], Array | None] | None = None
    scale: float = 0.0
    euclidean: bool = False
    sizes: Sequence[tuple[int, int]] = ()
    bad: Sequence[int] = ()
    manifest: Manifest = field(default_factory=Manifest)
    notes: tuple[str, ...] = ()


def build(raw: Raw, options: SourceOptions) -> Recording:
    """A recording of upright plane depth in metres.

    A frame that can't be read becomes an empty one of the size of the first.

    Raises:
        DataError: no frame, none that can be read, depth that is not in the unit that was said, Euclidean depth
            without intrinsics.
    """
    count = len(raw.times)
    if count == 0:
        raise DataError(f"'{raw.name}' holds no frame.")
    samples = _samples(raw)
    shape = samples[0].shape
    factor, notes = _unit(raw, samples, options)
    notes = [*raw.notes, *notes]
    lens, assumed = _lens(raw, shape, options)
    notes += [assumed] if assumed else []
    euclidean = options.depth == "range" or (options.depth == "auto" and raw.euclidean)
    if euclidean and lens(0) is None:
        raise DataError(f"'{raw.name}': Euclidean distances need a camera. Give intrinsics=fx,fy,cx,cy or fov=DEGREES.")
    turns = _turns(raw, options)
    if turns:
        notes.append(f"turned clockwise by {90 * turns} degrees" + (" by gravity" if options.rotate == "auto" else ""))
    notes += times_notes(raw.times)
    notes += _frame_notes(raw)

    def load(i: int) -> Frame:
        t, K = float(raw.times[i]), lens(i)
        pose = raw.poses[i] if len(raw.poses) else None
        try:
            values = raw.depth(i)
        except DataError:
            return turned(empty(shape, t, K, pose), turns)
        depth = metres(values, factor)
        if euclidean and K is not None:
            depth = plane_depth(depth, K)
        if options.max_range is not None:
            depth[depth > options.max_range] = np.nan
        return turned(Frame(depth, t, _confidence(raw, i, depth.shape), K, pose), turns)

    first = turned(Frame(np.empty(shape, dtype=np.float32), 0.0, None, lens(0)), turns)
    manifest = raw.manifest.replace(
        height=first.depth.shape[0],
        width=first.depth.shape[1],
        K=None if first.K is None else tuple(tuple(float(v) for v in row) for row in first.K),
        fps=_rate(raw.times, options.fps),
        max_range=options.max_range or raw.manifest.max_range,
        camera_height=options.camera_height,
        pitch=math.radians(options.pitch),
        source=raw.manifest.source or raw.name,
    )
    return Recording(manifest, np.asarray(raw.times, dtype=np.float64), load, raw.name, notes=tuple(notes))


def _samples(raw: Raw) -> list[Array]:
    """Up to five frames from all over the stream; more are tried where those can't be read."""
    count, bad = len(raw.times), frozenset(raw.bad)
    spread = [round(k * (count - 1) / 4) for k in range(5)]
    order = list(dict.fromkeys([*spread, *range(count)]))
    found: list[Array] = []
    last = ""
    for tried, i in enumerate(k for k in order if k not in bad):
        if found and tried >= len(set(spread)):
            break
        try:
            values = np.asarray(raw.depth(i))
        except DataError as error:
            last = str(error)
            continue
        if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "fiu":
            raise DataError(f"'{raw.name}': frame {i} is {values.dtype} {values.shape}; (height, width) is wanted.")
        found.append(values)
    if not found:
        raise DataError(f"'{raw.name}': none of the {count} frames can be read. {last}".rstrip())
    return found


def _unit(raw: Raw, samples: list[Array], options: SourceOptions) -> tuple[float, list[str]]:
    if options.scale is not None:
        return options.scale, []
    values = np.concatenate([s.ravel()[:: max(1, s.size // 20_000)] for s in samples])
    whole = values.dtype.kind in "iu"
    factor = raw.scale or (UNITS["mm"] if whole else UNITS["m"])
    if options.unit != "auto":
        factor = UNITS[options.unit]
    depth = metres(values, factor)
    taken = options.unit if options.unit != "auto" else "millimetres" if factor == UNITS["mm"] else "metres"
    problem, way_out = unit_problem(depth), "Give unit=mm or unit=cm, or scale=1 where they truly are metres"
    if problem and options.unit == "auto" and not raw.scale and not whole and "are millimetres," in problem:
        return UNITS["mm"], [f"taken as millimetres: {problem}"]
    if not problem and np.isfinite(depth).any() and float(np.nanmedian(depth)) < TOO_NEAR:
        problem = f"half of the values lie below {np.nanmedian(depth) * 100:.2g} cm: this is too near for {taken}"
        way_out = "Give unit=m, or scale=METRES"
    elif "picture" in problem:
        way_out = "Give scale=METRES, the depth that 1 stands for"
    if problem:
        said = f"declared as {options.unit}" if options.unit != "auto" else f"taken for {taken}"
        raise DataError(f"'{raw.name}': depth {said}: {problem}. {way_out}.")
    return factor, []


def _lens(raw: Raw, shape: tuple[int, ...], options: SourceOptions) -> tuple[Callable[[int], Array | None], str]:
    if options.intrinsics:
        fx, fy, cx, cy = options.intrinsics
        if fx <= 0 or fy <= 0:
            raise DataError(f"intrinsics: focal lengths are above 0, got {fx:g} and {fy:g}.")
        given = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        return lambda i: given, ""
    known = raw.lens
    first = None if known is None else known(0)
    if known is not None and first is not None:
        if not is_lens(first):
            raise DataError(f"'{raw.name}': intrinsics are 3 x 3 with focal lengths above 0, got {first.tolist()}.")
        return lambda i: K if (K := known(i)) is not None and is_lens(K) else None, ""
    if options.fov is not None:
        assumed = field_of_view(shape[1], shape[0], options.fov)
        return lambda i: assumed, f"intrinsics from a field of view of {options.fov:g} degrees"
    return lambda i: None, ""


def _turns(raw: Raw, options: SourceOptions) -> int:
    if options.rotate != "auto":
        return int(options.rotate) // 90
    return turns_by_gravity(raw.poses)


def _confidence(raw: Raw, i: int, shape: tuple[int, ...]) -> Array | None:
    if raw.confidence is None:
        return None
    try:
        found = raw.confidence(i)
    except DataError:
        return None
    return None if found is None or found.shape != shape else found.astype(np.uint8)


def _rate(times: Array, fallback: float) -> float:
    steps = np.diff(times)
    steps = steps[steps > 0]
    return float(np.clip(1 / np.median(steps), 1e-3, 1e5)) if steps.size else fallback


def times_notes(times: Array) -> list[str]:
    """What is odd about ``(N,)`` times: order, doubles, long pauses; the frames are passed on as they are."""
    steps = np.diff(times)
    notes = []
    back, same = int((steps < 0).sum()), int((steps == 0).sum())
    if back:
        notes.append(f"{back} of {len(times)} frames are older than the one before them (out of order)")
    if same:
        notes.append(f"{same} of {len(times)} frames have the time of the one before them (duplicate stamps)")
    ahead = steps[steps > 0]
    if ahead.size and float(ahead.max()) > max(1.0, 10 * float(np.median(ahead))):
        notes.append(f"the longest pause between frames is {ahead.max():.3g} s")
    return notes


def _frame_notes(raw: Raw) -> list[str]:
    notes = []
    if len(raw.bad):
        first = ", ".join(str(i) for i in list(raw.bad)[:5])
        notes.append(f"{len(raw.bad)} of {len(raw.times)} frames can't be read and are empty: {first}")
    sizes = sorted(set(raw.sizes))
    if len(sizes) > 1:
        shown = ", ".join(f"{w} x {h}" for h, w in sizes[:4])
        notes.append(f"frames have {len(sizes)} sizes: {shown}")
    return notes


def scaled_lens(K: Array, of: tuple[float, float], to: tuple[float, float]) -> Array:
    """Intrinsics of a picture of size ``of`` (width, height) for the same view at size ``to``."""
    return np.diag([to[0] / of[0], to[1] / of[1], 1.0]) @ K


def nearest_index(times: Array, wanted: Array) -> tuple[Array, Array]:
    """For each wanted time the index of the nearest of ``times`` (any order), and how far it lies, seconds."""
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    right = np.clip(np.searchsorted(ordered, wanted), 1, max(1, len(ordered) - 1))
    left = right - 1
    right = np.minimum(right, len(ordered) - 1)
    pick = np.where(np.abs(wanted - ordered[left]) <= np.abs(ordered[right] - wanted), left, right)
    return order[pick], np.abs(ordered[pick] - wanted)
