"""Boxes in a video, frame by frame in bounded memory; objects followed where it is wanted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.data.files import atomic, write_json
from fieldsight.data.images import resize, write_image
from fieldsight.data.video import LEAST_FPS, Frames, Video, write_video
from fieldsight.detection.drawing import draw_boxes
from fieldsight.detection.tracking import Tracker, TrackOptions
from fieldsight.errors import DataError, ExportError
from fieldsight.predictions import Prediction, Table, beside

if TYPE_CHECKING:
    from fieldsight.detection.model import DetectorModel
    from fieldsight.detection.options import DetectOptions

#: Seconds after which a track that was not seen ends (the paper's 30 frames).
FORGET = 1.0

#: Frames of the strip, and pixels of the longer side of each.
STRIP, STRIP_PX = 4, 480


@dataclass(frozen=True, eq=False)
class Frame:
    """What was found in one frame.

    Attributes:
        number: of the frame in the video, from 0.
        found: its boxes.
        ids: ``(K,)`` tracks from 1, 0 for none; None where nothing was followed.
    """

    number: int
    found: Detections
    ids: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class VideoFound(Prediction):
    """Boxes of a video.

    Attributes:
        source: the video; it is read again when the annotated one is written.
        size: height and width of its first frame.
        classes: names by label.
        frames: those that were looked at, in order.
        fps: frames a second of the video.
        every: every so many frames were looked at.
        announced: frames that the video's header tells of.
        notes: what went wrong.
        previews: drawn frames for the strip, number and picture.
        opener: opens the source; by default as a video.
        facts: what else is worth telling.
    """

    source: Path
    size: tuple[int, int]
    classes: tuple[str, ...]
    frames: Sequence[Frame]
    fps: float
    every: int = 1
    announced: int = 0
    notes: Sequence[str] = ()
    previews: Sequence[tuple[int, Picture]] = field(default=(), repr=False)
    opener: Callable[[Path], Any] | None = field(default=None, repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tracked(self) -> bool:
        """Objects were followed."""
        return any(frame.ids is not None for frame in self.frames)

    def save(self, folder: str | Path, stem: str | Path = "video") -> list[Path]:
        """Write ``_boxes.mp4`` with the boxes drawn in, ``.jsonl`` with a line a frame, ``.json`` and ``.png``.

        Where the annotated video can't be made, because the source is gone or this OpenCV writes no MP4, that is noted
        and all else is written.
        """
        base = Path(folder) / stem
        written = []
        target = base.with_name(f"{base.name}_boxes.mp4")
        problem = self._annotated(target)
        if problem:
            progress.note(f"no annotated video: {problem}")
        else:
            written.append(target)
        lines = base.with_name(f"{base.name}.jsonl")
        with atomic(lines) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in self.rows())
        written.append(lines)
        written.append(write_json(base.with_name(f"{base.name}.json"), self.to_dict()))
        written.append(write_image(base.with_name(f"{base.name}.png"), self.draw()))
        return written

    def rows(self) -> Iterator[dict[str, Any]]:
        """A frame each: its number, seconds, and boxes with class, score and, where objects were followed, track."""
        for frame in self.frames:
            yield row_of(frame, self.classes, frame.number / self.fps)

    def name(self, label: int) -> str:
        """A class by its label."""
        return name_of(label, self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Size, frames, boxes and tracks of each class, and what went wrong."""
        labels = np.concatenate([np.zeros(0, np.int64), *(f.found.labels for f in self.frames)])
        names, counts = np.unique(labels, return_counts=True)
        known: dict[str, Any] = {
            "video": self.source.name, "height": self.size[0], "width": self.size[1], "fps": round(self.fps, 4),
            "seconds": round((self.frames[-1].number + 1) / self.fps, 3) if self.frames else 0.0,
            "every": self.every, "frames": len(self.frames), "frames_in_all": self.announced,
            "frames_with_boxes": sum(len(f.found) > 0 for f in self.frames), "found": len(labels),
            "classes": {self.name(int(k)): int(n) for k, n in sorted(zip(names, counts, strict=True), key=_by_count)},
        }  # fmt: skip
        if self.tracked:
            kinds = [row["class"] for row in self.tracks().rows]
            known["tracks"] = {name: kinds.count(name) for name in dict.fromkeys(sorted(kinds))}
        known.update(self.facts)
        if self.notes:
            known["notes"] = list(self.notes)
        return known

    def tracks(self) -> Table:
        """The objects that were followed: class, first and last frame, in how many they were seen, best score."""
        seen: dict[int, dict[str, Any]] = {}
        for frame in self.frames:
            if frame.ids is None:
                continue
            for k in np.flatnonzero(frame.ids):
                number, score = int(frame.ids[k]), float(frame.found.scores[k])
                row = seen.setdefault(number, {"id": number, "from": frame.number, "frames": 0, "score": 0.0})
                row["class"] = self.name(int(frame.found.labels[k]))
                row["to"] = frame.number
                row["frames"] += 1
                row["score"] = max(row["score"], round(score, 5))
        for row in seen.values():
            row["seconds"] = round((row["to"] - row["from"]) / self.fps, 3)
        columns = {"id": "", "class": "", "from": "frame", "to": "frame", "seconds": "s", "frames": "", "score": ""}
        return Table(columns, [seen[k] for k in sorted(seen)], "tracks")

    def draw(self) -> Picture:
        """A strip of a few frames with their boxes, spread over the video."""
        chosen = [self.previews[k][1] for k in spread(len(self.previews), STRIP)]
        if not chosen:
            return np.full((48, 256, 3), 255, np.uint8)
        high, wide = (max(p.shape[k] for p in chosen) for k in (0, 1))
        panels = []
        for picture in chosen:
            panel = np.full((high, wide, 3), 255, np.uint8)
            panel[: picture.shape[0], : picture.shape[1]] = picture
            panels.append(panel)
        return beside(panels)

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """What one wants to know, in words; then the tracks, or how many of each class."""
        known = self.to_dict()
        told: dict[str, Any] = {
            "frames": f"{known['frames']:,} of {known['frames_in_all']:,}, {known['seconds']:.1f} s",
            "with boxes": f"{known['frames_with_boxes']:,}",
            "boxes": ", ".join(f"{n:,} {name}" for name, n in known["classes"].items()) or "none",
        }
        if "tracks" in known:
            told["tracks"] = ", ".join(f"{n:,} {name}" for name, n in known["tracks"].items()) or "none"
        told.update(self.facts)
        if self.notes:
            told["notes"] = "; ".join(self.notes)
        rows = [{"class": name, "boxes": n} for name, n in known["classes"].items()]
        return told, (self.tracks() if self.tracked else Table({"class": "", "boxes": ""}, rows, "boxes"),)

    def lines(self) -> list[str]:
        """The same words for a terminal."""
        return [f"{name}: {value}" for name, value in self.shown()[0].items()]

    def _annotated(self, target: Path) -> str:
        """Write the frames that were looked at with their boxes as a video; what of the source hinders it, or ""."""
        try:
            video = (self.opener or Video)(self.source)
        except DataError as error:
            return str(error)
        try:
            again = self._again(video)
            first = next(again, None)
            if first is None:
                return f"the frames of '{self.source}' can't be read any more"
            with write_video(target, max(LEAST_FPS, self.fps / self.every)) as add:
                add(first)
                for picture in again:
                    add(picture)
        except ExportError as error:
            return str(error)
        finally:
            video.close()
        return ""

    def _again(self, video: Any) -> Iterator[Picture]:
        """The frames drawn, as far as they can be read again."""
        for frame in progress.track(self.frames, "writing the video"):
            with contextlib.suppress(DataError):
                yield draw_boxes(video(frame.number), frame.found, self.classes, frame.ids)


def name_of(label: int, classes: Sequence[str]) -> str:
    """A class by its label."""
    return classes[label] if 0 <= label < len(classes) else str(label)


def row_of(frame: Frame, classes: Sequence[str], seconds: float) -> dict[str, Any]:
    """A frame as plain values: its number, seconds, and boxes with class, score and, if followed, track."""
    boxes = []
    found = frame.found
    for k, (box, score, label) in enumerate(
        zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ):
        one = {"class": name_of(label, classes), "score": round(score, 5), "box": [round(v, 2) for v in box]}
        if frame.ids is not None:
            one["id"] = int(frame.ids[k]) or None
        boxes.append(one)
    return {"frame": frame.number, "time": round(seconds, 3), "boxes": boxes}


def predict_video(
    model: DetectorModel, path: str | Path, options: DetectOptions, opener: Callable[[Path], Any] | None = None
) -> VideoFound:
    """Find boxes in every ``options.every``-th frame of a video; follow objects where ``options.track`` says so.

    One frame is in memory at a time, beside a few small drawn ones; rows of boxes are kept. Frames that can't be read
    are left out, and a video that ends before its header says so is taken up to there; both are told. With tracking,
    boxes from 0.4 of the least score on are looked at, and told where they continue a track.

    Args:
        model: gives ``classes`` and ``find(picture, options)``.
        path: a video's file.
        options: of ``predict``.
        opener: opens it: gives ``path``, ``count``, ``fps``, a picture by its number, ``close()``; by default a video.

    Raises:
        DataError: no such file, no video, or none of its frames can be read.
    """
    if "://" in str(path):
        raise DataError(f"'{path}' is an address, no file. Use: fieldsight edge watch --source {path}")
    source = Path(path)
    video = (opener or Video)(source)
    try:
        run = _Run(model, video, options)
        run.look_at_all()
        return replace(run.result(), opener=opener)
    finally:
        video.close()


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``count``, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(k * (count - 1) / (most - 1)) for k in range(most)] if most > 1 else [0]


class _Run:
    """A video while it is looked at."""

    def __init__(self, model: DetectorModel, video: Any, options: DetectOptions) -> None:
        self.model, self.video, self.options = model, video, options
        self.source = Frames(video, options.every)
        self.fps = self.source.fps
        self.frames: list[Frame] = []
        self.size = (0, 0)
        self.previews: list[tuple[int, Picture]] = []
        self._gap = 1  # looked-at frames from one preview to the next
        self.tracker: Tracker | None = None
        if options.track:
            conf = options.conf or model.config.conf
            tracking = TrackOptions.at(conf, max(1, round(FORGET * self.fps / options.every)))
            self.options = options.replace(conf=tracking.low)
            self.tracker = Tracker(tracking)

    def look_at_all(self) -> None:
        """Find the boxes of every frame that can be read."""
        for number, picture in self.source:
            if self.frames:
                self._pass((number - self.frames[-1].number) // self.options.every - 1)
            self.look(number, picture)
        for text in self.source.notes:
            progress.note(f"{self.video.path.name}: {text}")

    def _pass(self, count: int) -> None:
        """Let time go on for what is followed, over frames that can't be read."""
        if self.tracker is not None:
            for _ in range(count):
                self.tracker.step(Detections.of([], [], []))

    def look(self, number: int, picture: Picture) -> None:
        """Find the boxes of a frame."""
        found, ids = self.model.find(picture, self.options), None
        if self.tracker is not None:
            found, ids = self.tracker.step(found)
        if not self.frames:
            self.size = (picture.shape[0], picture.shape[1])
        if len(self.frames) % self._gap == 0:
            small = resize(picture, STRIP_PX)
            scale = np.array([small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]] * 2)
            shrunk = Detections.of(found.boxes * scale, found.scores, found.labels)
            self.previews.append((number, draw_boxes(small, shrunk, self.model.classes, ids, STRIP_PX)))
            if len(self.previews) >= 4 * STRIP:  # of twice as many frames, half as many previews
                self.previews, self._gap = self.previews[::2], 2 * self._gap
        self.frames.append(Frame(number, found, ids))

    def result(self) -> VideoFound:
        """All of it."""
        if not self.frames:
            raise DataError(f"'{self.video.path}': none of its frames can be read.")
        return VideoFound(
            self.video.path, self.size, tuple(self.model.classes), self.frames, self.fps, self.options.every,
            self.video.count, tuple(self.source.notes), tuple(self.previews),
        )  # fmt: skip


def _by_count(pair: tuple[Any, Any]) -> tuple[int, int]:
    return -int(pair[1]), int(pair[0])
