"""What every source gives and every engine takes: depth frames with times, and what is known of them.

Depth is *plane depth*: metres along the optical axis, ``(H, W)`` float32, upright (row 0 is the sky); NaN where
nothing came back. The camera looks along +z with x right and y down; the world has x right, y forward and z up, the
ground at z = 0. A pose is ``T_world_cam``, ``(4, 4)``: it takes camera coordinates to the world's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError

Array = NDArray[Any]

#: A table as columns of equal length, in the order in which they are written.
Columns = Mapping[str, Array]

SensorKind = Literal["lidar", "stereo", "mono", "range", "sim"]

#: Newest version of the recording format that is read.
FORMAT = 1


@dataclass(frozen=True)
class Frame:
    """One look at the world.

    Attributes:
        depth: ``(H, W)`` float32 plane depth in metres; NaN or <= 0 where nothing came back. A range is ``(1, 1)``.
        t: time in seconds.
        confidence: ``(H, W)`` uint8, 0 guessed, 1 fair, 2 good; or None.
        K: ``(3, 3)`` intrinsics in pixels; or None.
        pose: ``(4, 4)`` ``T_world_cam``; or None.
    """

    depth: Array
    t: float
    confidence: Array | None = None
    K: Array | None = None
    pose: Array | None = None


@dataclass(frozen=True)
class Manifest:
    """What holds for a whole recording; ``manifest.json`` of the format.

    Attributes:
        kind: what made the depth.
        width, height: pixels of a frame.
        fps: nominal frames a second.
        K: ``(3, 3)`` intrinsics as rows, or None.
        depth: ``plane`` or ``range`` (Euclidean) in the files; frames are plane depth always.
        max_range: metres beyond which the sensor gives nothing; None where nobody knows.
        upright: row 0 is the sky.
        camera_height: metres above the ground.
        pitch: radians that the camera looks below the horizon, where no pose tells it.
        user_height: metres.
        city, weather, source, licence: words.
        seed: of a simulation.
        extra: anything else the file held, kept.
    """

    kind: SensorKind = "lidar"
    width: int = 0
    height: int = 0
    fps: float = 10.0
    K: tuple[tuple[float, float, float], ...] | None = None
    depth: Literal["plane", "range"] = "plane"
    max_range: float | None = None
    upright: bool = True
    camera_height: float = 1.30
    pitch: float = 0.0
    user_height: float = 1.75
    city: str = ""
    weather: str = ""
    seed: int | None = None
    source: str = ""
    licence: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def intrinsics(self) -> Array | None:
        """``K`` as an array, or None."""
        return None if self.K is None else np.asarray(self.K, dtype=np.float64)

    def replace(self, **changes: Any) -> Manifest:
        """A copy with some values changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Recording:
    """Frames that are read when they are asked for, with their times, and what is known of the scene.

    Attributes:
        manifest: what holds for all frames.
        times: ``(N,)`` seconds, as the source has them: they may repeat or run backwards.
        load: gives frame ``i``.
        name: for people and files.
        objects: one row a frame and object (``i, id, class, x, y, yaw, l, w, h, vx, vy, behaviour``), or None.
        labels: one row a frame (``i, t, danger, kind, object_id, ttc_true, closing_true, d_cpa_true, rule``), or
            None.
        truth: one row a frame and object, with everything that was computed about it, or None.
        notes: what a reader had to decide or mend, in words.
    """

    manifest: Manifest
    times: Array
    load: Callable[[int], Frame]
    name: str = "recording"
    objects: Columns | None = None
    labels: Columns | None = None
    truth: Columns | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[Frame]:
        return (self.load(i) for i in range(len(self)))

    @property
    def seconds(self) -> float:
        """Time from the first to the last frame."""
        return float(self.times[-1] - self.times[0]) if len(self) > 1 else 0.0

    def replace(self, **changes: Any) -> Recording:
        """A copy with some parts changed."""
        return dataclasses.replace(self, **changes)


def of_arrays(
    depth: Array,
    times: Array | None = None,
    *,
    fps: float = 10.0,
    K: Array | None = None,
    confidence: Array | None = None,
    poses: Array | None = None,
    manifest: Manifest | None = None,
    name: str = "recording",
) -> Recording:
    """A recording of arrays in memory (or mapped).

    Args:
        depth: ``(N, H, W)`` metres, or ``(N,)`` ranges.
        times: ``(N,)`` seconds; ``0, 1/fps, ...`` without.
        fps: frames a second.
        K: ``(3, 3)``.
        confidence: ``(N, H, W)`` uint8.
        poses: ``(N, 4, 4)``.
        manifest: what else is known; its size and intrinsics are filled in.
        name: for people.

    Raises:
        DataError: shapes that do not go together, or no frame.
    """
    frames = np.asarray(depth)
    frames = frames[:, None, None] if frames.ndim == 1 else frames
    if frames.ndim != 3 or 0 in frames.shape:
        raise DataError(f"A depth stream is (frames, height, width) or (frames,), got {np.asarray(depth).shape}.")
    count = len(frames)
    stamps = np.arange(count) / fps if times is None else np.asarray(times, dtype=np.float64).ravel()
    for what, array, shape in (
        ("times", stamps, (count,)),
        ("confidence", confidence, frames.shape),
        ("poses", poses, (count, 4, 4)),
        ("K", K, (3, 3)),
    ):
        if array is not None and np.shape(array) != shape:
            raise DataError(f"{what} have shape {np.shape(array)}, the depth {frames.shape} wants {shape}.")
    known = manifest or Manifest(kind="range" if frames.shape[1:] == (1, 1) else "lidar", fps=fps)
    matrix = known.intrinsics if K is None else np.asarray(K, dtype=np.float64)
    rows = None if matrix is None else tuple(tuple(float(v) for v in row) for row in matrix)
    known = known.replace(height=frames.shape[1], width=frames.shape[2], K=rows)

    def load(i: int) -> Frame:
        return Frame(
            np.asarray(frames[i], dtype=np.float32),
            float(stamps[i]),
            None if confidence is None else np.asarray(confidence[i]),
            matrix,
            None if poses is None else np.asarray(poses[i], dtype=np.float64),
        )

    return Recording(known, stamps, load, name)


def field_of_view(width: int, height: int, degrees: float = 62.0) -> Array:
    """Intrinsics ``(3, 3)`` of a pinhole whose longer side spans ``degrees``: fx = 213 px at 256 for 62 degrees.

    The optical axis goes through the middle of the picture; pixel ``u`` has its centre at ``u``.
    """
    f = max(width, height) / 2 / math.tan(math.radians(degrees) / 2)
    return np.array([[f, 0.0, (width - 1) / 2], [0.0, f, (height - 1) / 2], [0.0, 0.0, 1.0]])
