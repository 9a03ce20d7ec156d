"""Objects followed from frame to frame: a tracker that keeps low scores for a second look.

Written from Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022 (its
Algorithm 1 and section 4.1). Tracks are moved on by a Kalman filter of constant velocity and matched to boxes by IoU:
first all tracks to the boxes of high score, then those that are left, and were seen in the frame before, to the boxes
of low score, which are mostly objects half hidden or blurred. A box of high score that nothing takes begins a track.

The filter's state is the centre, the aspect (width over height) and the height, each with its velocity (Wojke et al.,
"Simple Online and Realtime Tracking with a Deep Association Metric", ICIP 2017). Its noise has no part between them, so
the filter of eight numbers is four filters of two, and is computed as such.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import Detections
from fieldsight.errors import ConfigError

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

#: Standard deviations of position and of velocity (a step) as shares of the height, and those of the aspect: of its
#: movement, its velocity and its measurement.
POSITION, VELOCITY = 1 / 20, 1 / 160
ASPECT, ASPECT_VELOCITY, ASPECT_MEASURED = 1e-2, 1e-5, 1e-1

#: Of the state cx, cy, aspect, height: which numbers are lengths.
_LENGTHS = np.array([True, True, False, True])


@dataclass(frozen=True)
class TrackOptions:
    """When a box belongs to a track. The defaults are the paper's.

    Attributes:
        high: boxes from this score on are matched first; 0 to 1.
        low: boxes below are not looked at; at most ``high``.
        start: score from which a box that nothing took begins a track; at least ``high``.
        buffer: steps after which a track that was not seen ends.
        iou: least IoU of a track and a box of high score.
        iou_low: the same for boxes of low score.
        iou_new: the same for tracks that were seen once.
        agnostic: boxes may continue a track of another class.

    Raises:
        ConfigError: a value out of its range.
    """

    high: float = 0.6
    low: float = 0.1
    start: float = 0.7
    buffer: int = 30
    iou: float = 0.2
    iou_low: float = 0.5
    iou_new: float = 0.3
    agnostic: bool = False

    def __post_init__(self) -> None:
        names = ("high", "low", "start", "iou", "iou_low", "iou_new")
        values = [(name, getattr(self, name)) for name in names]
        problems = [f"{n} of the tracker is {v}; allowed: 0 to 1." for n, v in values if not 0 <= v <= 1]
        if not problems and not self.low <= self.high <= self.start:
            got = f"{self.low:g}, {self.high:g}, {self.start:g}"
            problems.append(f"low, high and start of the tracker must not fall, got {got}.")
        if self.buffer < 1:
            problems.append(f"buffer of the tracker is {self.buffer}; allowed: 1 step or more.")
        if problems:
            raise ConfigError(problems)

    @classmethod
    def at(cls, conf: float, buffer: int = 30) -> TrackOptions:
        """Options for a detector whose boxes count from the score ``conf``: the second look begins at 0.4 of it."""
        return cls(high=conf, low=0.4 * conf, start=conf, buffer=buffer)


@dataclass(frozen=True)
class _Tracks:
    """Tracks as columns; ``T`` of them, the oldest first.

    Attributes:
        id: ``(T,)`` from 1; 0 of a track that was seen once and is not sure yet.
        label: ``(T,)`` class.
        unseen: ``(T,)`` steps since it was seen.
        mean: ``(T, 4, 2)`` centre x, y, aspect and height, each with its velocity a step.
        spread: ``(T, 4, 3)`` variances of both, their covariance between: position, covariance, velocity.
    """

    id: Whole
    label: Whole
    unseen: Whole
    mean: Floats
    spread: Floats

    def take(self, chosen: Whole | NDArray[np.bool_]) -> _Tracks:
        return _Tracks(self.id[chosen], self.label[chosen], self.unseen[chosen], self.mean[chosen], self.spread[chosen])

    def boxes(self) -> Floats:
        """``(T, 4)`` corners where they are now."""
        cx, cy, aspect, high = self.mean[..., 0].T
        high = np.maximum(high, 1e-3)
        wide = np.maximum(aspect, 1e-3) * high
        return np.stack([cx - wide / 2, cy - high / 2, cx + wide / 2, cy + high / 2], axis=1)


class Tracker:
    """Follows objects through the frames of one video; the same boxes in the same order give the same numbers.

    Args:
        options: when a box belongs to a track.
    """

    def __init__(self, options: TrackOptions | None = None) -> None:
        self.options = options or TrackOptions()
        self._tracks = _begun(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._steps = 0
        self._last = 0

    def step(self, detections: Detections) -> tuple[Detections, Whole]:
        """Take the boxes of the next frame; none at all for a frame that could not be read.

        Boxes of high score are all given back, those of low score where a track took them. The boxes stay the
        detector's own, in their order. An object that is first seen in the first frame is numbered at once, any other
        when it is seen in two frames that follow each other; numbers are never used again, and none is left out.

        Args:
            detections: boxes ``(K, 4)``, from the score ``options.low`` on. A box without width or height, or not
                finite, is given back where its score is high, and belongs to no track.

        Returns:
            The boxes that count, and their tracks ``(k,)`` from 1; 0 where a box belongs to none yet.
        """
        self._steps += 1
        own, tracks = self.options, _moved(self._tracks)
        boxes, scores = detections.boxes.astype(np.float64), detections.scores
        least_high, least_low, start = (np.float32(v) for v in (own.high, own.low, own.start))  # the scores' own type
        with np.errstate(invalid="ignore"):
            fine = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & np.isfinite(scores)
            high, low = scores >= least_high, (scores >= least_low) & (scores < least_high)
        of = np.full(len(tracks.id), -1, np.int64)  # the box that each track took
        sure = tracks.id > 0
        self._match(tracks, np.flatnonzero(sure), detections, np.flatnonzero(fine & high), own.iou, of)
        seen = sure & (tracks.unseen == 1) & (of < 0)  # in the frame before: all have been moved on by one
        self._match(tracks, np.flatnonzero(seen), detections, np.flatnonzero(fine & low), own.iou_low, of)
        rest = _without(np.flatnonzero(fine & high), of)
        self._match(tracks, np.flatnonzero(~sure), detections, rest, own.iou_new, of)
        tracks = self._updated(tracks, of, detections)
        ids = np.zeros(len(boxes), np.int64)
        ids[of[of >= 0]] = tracks.id[of >= 0]
        alive = np.where(sure, tracks.unseen <= own.buffer, of >= 0)
        rest = _without(rest, of)
        begins = rest[scores[rest] >= start]
        numbers = np.zeros(len(begins), np.int64)
        if self._steps == 1:
            numbers = self._numbers(len(begins))
            ids[begins] = numbers
        fresh = _begun(_measured(boxes[begins]), detections.labels[begins], numbers)
        self._tracks = _joined(tracks.take(alive), fresh)
        told = high | (ids > 0)
        return Detections.of(detections.boxes[told], detections.scores[told], detections.labels[told]), ids[told]

    def _match(
        self, tracks: _Tracks, which: Whole, detections: Detections, boxes: Whole, least: float, of: Whole
    ) -> None:
        """Give boxes to tracks so that the sum of their IoUs is largest, none below ``least``; writes into ``of``."""
        from scipy.optimize import linear_sum_assignment

        from fieldsight.nn.detection.boxes import iou_matrix  # brings torch, which looking at a page does without

        if not len(which) or not len(boxes):
            return
        gain = iou_matrix(tracks.boxes()[which], detections.boxes[boxes].astype(np.float64))
        gain[gain < max(least, 1e-9)] = 0.0
        if not self.options.agnostic:
            gain[tracks.label[which][:, None] != detections.labels[boxes]] = 0.0
        for t, d in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
            if gain[t, d] > 0:
                of[which[t]] = boxes[d]

    def _updated(self, tracks: _Tracks, of: Whole, detections: Detections) -> _Tracks:
        """Tracks corrected by the boxes they took; those that were seen once, and now again, get a number."""
        hit = of >= 0
        mean, spread = tracks.mean.copy(), tracks.spread.copy()
        measured = _measured(detections.boxes[of[hit]].astype(np.float64))
        mean[hit], spread[hit] = _corrected(mean[hit], spread[hit], measured)
        mean[~hit, 3, 1] = 0.0  # what is not seen keeps its height
        ids, labels = tracks.id.copy(), tracks.label.copy()
        fresh = hit & (ids == 0)
        ids[fresh] = self._numbers(int(fresh.sum()))
        labels[hit] = detections.labels[of[hit]]
        return _Tracks(ids, labels, np.where(hit, 0, tracks.unseen), mean, spread)

    def _numbers(self, count: int) -> Whole:
        """The next numbers of tracks."""
        numbers = self._last + 1 + np.arange(count, dtype=np.int64)
        self._last += count
        return numbers


# ------------------------------------------------------------------------------------------- Kalman filter


def _noise(height: Floats, length: float, other: float) -> Floats:
    """Variances ``(T, 4)``: ``length`` heights for lengths, ``other`` for the aspect."""
    return np.asarray(np.where(_LENGTHS, length * np.maximum(height, 1e-3)[:, None], other) ** 2)


def _begun(measured: Floats, labels: Whole, ids: Whole) -> _Tracks:
    """New tracks from ``(T, 4)`` measured states: at rest, twice the noise in position, ten times in velocity."""
    mean = np.stack([measured, np.zeros_like(measured)], axis=-1)
    position = _noise(measured[:, 3], 2 * POSITION, ASPECT)
    velocity = _noise(measured[:, 3], 10 * VELOCITY, ASPECT_VELOCITY)
    spread = np.stack([position, np.zeros_like(position), velocity], axis=-1)
    return _Tracks(ids, labels, np.zeros(len(ids), np.int64), mean, spread)


def _moved(tracks: _Tracks) -> _Tracks:
    """Tracks one step on: ``x += v``, ``P = F P F' + Q``."""
    height = tracks.mean[:, 3, 0]
    mean, (pp, pv, vv) = tracks.mean.copy(), np.moveaxis(tracks.spread, -1, 0)
    mean[..., 0] += mean[..., 1]
    spread = np.stack(
        [
            pp + 2 * pv + vv + _noise(height, POSITION, ASPECT),
            pv + vv,
            vv + _noise(height, VELOCITY, ASPECT_VELOCITY),
        ],
        axis=-1,
    )
    return _Tracks(tracks.id, tracks.label, tracks.unseen + 1, mean, spread)


def _corrected(mean: Floats, spread: Floats, measured: Floats) -> tuple[Floats, Floats]:
    """States and their spread after a measurement ``(T, 4)``: gain ``K = P H' / (H P H' + R)``."""
    pp, pv, vv = np.moveaxis(spread, -1, 0)
    total = pp + _noise(mean[:, 3, 0], POSITION, ASPECT_MEASURED)
    gain = np.stack([pp / total, pv / total], axis=-1)
    found = mean + gain * (measured - mean[..., 0])[..., None]
    rest = 1 - gain[..., 0]
    return found, np.stack([pp * rest, pv * rest, vv - gain[..., 1] * pv], axis=-1)


def _measured(boxes: Floats) -> Floats:
    """Corners ``(K, 4)`` of boxes with width and height as centre x, y, aspect, height."""
    wide, high = (boxes[:, 2:] - boxes[:, :2]).T
    return np.stack([boxes[:, 0] + wide / 2, boxes[:, 1] + high / 2, wide / high, high], axis=1)


def _without(boxes: Whole, taken: Whole) -> Whole:
    return boxes[~np.isin(boxes, taken)]


def _joined(a: _Tracks, b: _Tracks) -> _Tracks:
    return _Tracks(*(np.concatenate([getattr(t, n) for t in (a, b)]) for n in _Tracks.__dataclass_fields__))
