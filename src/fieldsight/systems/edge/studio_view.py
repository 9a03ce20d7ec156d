"""What the Studio page says and shows of boxes that were found once, at every confidence and for any of the classes.

The network runs once, at a confidence so low that all others are a choice among its boxes: suppression goes from the
best box down, so what is above a confidence does not depend on what was found below it. Tiles are joined in another
order; with them nothing below the model's own confidence is offered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight import predicting
from fieldsight.data.detection.sample import Detections
from fieldsight.data.files import atomic, write_json
from fieldsight.data.images import write_image
from fieldsight.data.video import Video
from fieldsight.detection.drawing import class_colour, draw_boxes
from fieldsight.detection.found import Found
from fieldsight.detection.tracking import Tracker, TrackOptions
from fieldsight.detection.video import FORGET, STRIP, STRIP_PX, Frame, VideoFound, spread
from fieldsight.predictions import Picture, Prediction, Table
from fieldsight.studio import render
from fieldsight.systems.edge.options import PredictOptions

if TYPE_CHECKING:
    from fieldsight.studio.results import Shown, View
    from fieldsight.systems.edge.predict import EdgeModel

#: Ends of the slider. With tracking, the second look begins at 0.4 of it: so low the network runs.
LEAST, MOST, SECOND = 0.05, 0.95, 0.4

#: Longer side of a shown picture in pixels.
ROOM = 1000

#: Plurals that no rule gives, and names that English rules fit: those of lower-case letters.
PLURALS = {"person": "people", "bus": "buses", "sheep": "sheep", "mouse": "mice", "knife": "knives"}

#: What can be downloaded: end of the file's name, and words for its button; of one photo or video, and of all photos.
FILES = (
    (".png", "Picture with boxes, PNG"), (".json", "Boxes, JSON"), (".txt", "Labels, YOLO"),
)  # fmt: skip
VIDEO_FILES = (
    ("_boxes.mp4", "Video with boxes, MP4"), (".jsonl", "Boxes by frame, JSONL"), (".json", "Sums, JSON"),
    (".png", "Some frames, PNG"),
)  # fmt: skip
JOINT_FILES = (("classes.txt", "Names of the classes"), ("detections.json", "Boxes of all photos, COCO JSON"))

#: Folder of the files about all photos.
JOINT = "all"


# --------------------------------------------------------------------------------------------- found once, sifted


@dataclass(frozen=True)
class Made:
    """How boxes were found.

    Attributes:
        model: name of the model.
        conf: the model's own confidence.
        least: least confidence that can be chosen now.
        options: what the person asked for.
    """

    model: str
    conf: float
    least: float
    options: PredictOptions


@dataclass(frozen=True, eq=False)
class Sifted(Prediction):
    """Boxes that were found once, as they are at one confidence and for some of the classes.

    Attributes:
        whole: all that was found.
        made: how.
        conf: scores must be above it.
        only: the classes that are told; None tells all of them.
    """

    whole: Found | VideoFound
    made: Made
    conf: float
    only: tuple[str, ...] | None = None

    @cached_property
    def seen(self) -> Found | VideoFound:
        """What a run with this confidence and these classes would find."""
        whole, classes = self.whole, self.whole.classes
        labels = None if self.only is None else [classes.index(name) for name in self.only if name in classes]
        if isinstance(whole, VideoFound):
            frames = (
                _followed(whole, self.conf, labels) if self.made.options.track else _sifted(whole, self.conf, labels)
            )
            return replace(whole, frames=frames, previews=())
        found = sift(whole.found, self.conf, labels)
        facts = {**whole.facts, "conf": self.conf, **({} if self.only is None else {"only": list(self.only)})}
        return replace(whole, boxes=found.boxes, scores=found.scores, labels=found.labels, facts=facts)

    @property
    def count(self) -> int:
        """Frames of a video that were looked at; 0 of a photo."""
        return len(self.whole.frames) if isinstance(self.whole, VideoFound) else 0

    def picture(self, index: int = 0) -> Picture:
        """The photo with its boxes, or a frame by its place among those that were looked at; at most :data:`ROOM` px.

        Raises:
            DataError: the frame can't be read any more.
        """
        seen = self.seen
        if isinstance(seen, Found):
            return seen.draw(ROOM)
        ((_, drawn),) = _drawn(seen, [seen.frames[min(max(index, 0), len(seen.frames) - 1)]], ROOM)
        return drawn

    def draw(self) -> Picture:
        """The photo with its boxes, or a strip of a few frames."""
        return self._complete().draw()

    def save(self, folder: str | Path, stem: str | Path = "boxes") -> list[Path]:
        """The files of a photo; of a video all but the video itself, which takes long: see :meth:`film`."""
        seen = self.seen
        if isinstance(seen, Found):
            return seen.save(folder, stem)
        base = Path(folder) / stem
        lines = base.with_name(f"{base.name}.jsonl")
        with atomic(lines) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(_json_line(row) for row in seen.rows())
        written = write_json(base.with_name(f"{base.name}.json"), self.to_dict())
        return [lines, written, write_image(base.with_name(f"{base.name}.png"), self.draw())]

    def film(self, folder: Path, stem: str) -> list[Path]:
        """All files of a video, with the boxes drawn in."""
        written = self._complete().save(folder, stem)
        write_json(folder / f"{stem}.json", self.to_dict())
        return written

    def to_dict(self) -> dict[str, Any]:
        """As of the result itself, with the confidence and the classes."""
        only = {} if self.only is None else {"only": list(self.only)}
        return {**self.seen.to_dict(), "conf": self.conf, **only}

    def _complete(self) -> Found | VideoFound:
        """The same, of a video with the drawn frames of its strip."""
        seen = self.seen
        if isinstance(seen, Found):
            return seen
        chosen = [seen.frames[k] for k in spread(len(seen.frames), STRIP)]
        return replace(seen, previews=tuple(_drawn(seen, chosen, STRIP_PX)))


def find_all(model: EdgeModel, inputs: Any, options: PredictOptions, strict: bool, named: Mapping[str, Any]) -> Any:
    """The verb ``predict`` as the page runs it: once, at a low confidence, each result with a choice that can move.

    Returns:
        :class:`~fieldsight.predicting.Results` with :class:`Sifted` results at the model's own confidence.
    """
    own = model.config.conf
    made = Made(str(model.source), own, own if options.tile else min(LEAST, own), options)
    low = made.least if options.tile and not options.track else SECOND * made.least
    listed = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    found = predicting.predict(
        model, listed, options.replace(conf=low, track=False, labels="yolo"), None, strict, named
    )
    assert isinstance(found, predicting.Results)
    return predicting.Results([_opened(outcome, made) for outcome in found])


def _opened(outcome: predicting.Outcome, made: Made) -> predicting.Outcome:
    whole = outcome.prediction
    if not isinstance(whole, (Found, VideoFound)):
        return outcome
    if isinstance(whole, Found):
        whole = whole.with_labels("yolo")
    return replace(outcome, prediction=Sifted(whole, made, made.conf))


def sift(found: Detections, conf: float, labels: Sequence[int] | None = None) -> Detections:
    """The boxes whose score is above a confidence, of some of the classes or of all."""
    kept = found.scores > np.float32(conf)
    if labels is not None:
        kept &= np.isin(found.labels, list(labels))
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])


def _sifted(whole: VideoFound, conf: float, labels: Sequence[int] | None) -> list[Frame]:
    return [replace(frame, found=sift(frame.found, conf, labels)) for frame in whole.frames]


def _followed(whole: VideoFound, conf: float, labels: Sequence[int] | None) -> list[Frame]:
    """Tracks anew, as :func:`fieldsight.detection.video.predict_video` makes them."""
    tracking = TrackOptions.at(conf, max(1, round(FORGET * whole.fps / whole.every)))
    tracker, frames = Tracker(tracking), list[Frame]()
    gaps = [0, *((b.number - a.number) // whole.every - 1 for a, b in pairwise(whole.frames))]
    for frame, gap in zip(whole.frames, gaps, strict=True):
        for _ in range(gap):  # time goes on over frames that can't be read
            tracker.step(Detections.of([], [], []))
        found, ids = tracker.step(sift(frame.found, tracking.low, labels))
        frames.append(Frame(frame.number, found, ids))
    return frames


def _drawn(seen: VideoFound, frames: Iterable[Frame], longest: int) -> list[tuple[int, Picture]]:
    with closing(Video(seen.source)) as video:
        return [(f.number, draw_boxes(video(f.number), f.found, seen.classes, f.ids, longest)) for f in frames]


def _json_line(row: Mapping[str, Any]) -> str:
    import json

    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def classes_of(results: Iterable[Sifted]) -> list[str]:
    """The classes of all boxes at the least confidence, those with the surest boxes first."""
    best: dict[str, float] = {}
    for one in results:
        whole = one.whole
        parts = [whole.found] if isinstance(whole, Found) else [frame.found for frame in whole.frames]
        for part in parts:
            for label, score in zip(part.labels.tolist(), part.scores.tolist(), strict=True):
                if score > one.made.least:
                    best[whole.classes[label]] = max(score, best.get(whole.classes[label], 0.0))
    return sorted(best, key=lambda name: (-best[name], name))


# ---------------------------------------------------------------------------------------------------------- words


def many(count: int, name: str) -> str:
    """A number of things: ``7 cars``, ``1 person``; a name that is no plain English word stays as it is."""
    if count == 1 or not (name.isascii() and name.replace(" ", "").isalpha() and name.islower()):
        return f"{count:,} {name}" if count == 1 else f"{count:,} × {name}"
    plural = PLURALS.get(name)
    if plural is None and name.endswith(("s", "x", "ch", "sh")):
        plural = f"{name}es"
    elif plural is None and name.endswith("y") and name[-2:-1] not in "aeiou":
        plural = f"{name[:-1]}ies"
    return f"{count:,} {plural or name + 's'}"


def counts_of(one: Sifted) -> dict[str, int]:
    """How many of each class, most first: in a photo, followed through a video, or in one frame of it at the most."""
    seen = one.seen
    if isinstance(seen, Found):
        found = Counter(seen.classes[k] for k in seen.labels.tolist())
    elif seen.tracked:
        found = Counter(str(row["class"]) for row in seen.tracks().rows)
    else:
        found = Counter()
        for frame in seen.frames:
            found |= Counter(seen.classes[k] for k in frame.found.labels.tolist())
    return dict(found.most_common())


def verdict(one: Sifted) -> str:
    """The result in a sentence, the colour of its boxes before each class, as HTML."""
    found, seen = counts_of(one), one.seen
    if not found:
        return _status("quiet", escape(_nothing(one)))
    parts = [f"{_chip(seen.classes.index(name))}{escape(many(n, name))}" for name, n in found.items()]
    if isinstance(seen, Found):
        lead = f"<strong>{len(seen.labels):,} found:</strong>"
    elif seen.tracked:
        lead = f"<strong>{sum(found.values()):,} followed</strong> through {len(seen.frames):,} frames:"
    else:
        lead = f"In {len(seen.frames):,} frames, in one of them at the most:"
    return _status("info", f"{lead} {', '.join(parts)}.{escape(_hidden(one))}")


def _status(tone: str, inside: str) -> str:
    return f'<div class="fs-message fs-{tone}" role="status">{inside}</div>'


def _chip(label: int) -> str:
    colour = "#{:02x}{:02x}{:02x}".format(*class_colour(label))
    return (
        f'<i style="display:inline-block;width:.78em;height:.78em;border-radius:3px;background:{colour};'
        'border:1px solid #1c2430;margin-right:5px"></i>'
    )


def _nothing(one: Sifted) -> str:
    words = f"Nothing found at a confidence of {one.conf:.2f}."
    parts = [one.whole.found] if isinstance(one.whole, Found) else [frame.found for frame in one.whole.frames]
    best = max((float(part.scores.max()) for part in parts if len(part)), default=0.0)
    if one.only is not None and any(len(sift(part, one.conf)) for part in parts):
        return f"{words[:-1]} among the classes with a tick. Tick more of them."
    if best > one.made.least:
        return f"{words} The surest box has {best:.2f}: move the slider to the left to see it."
    some = ", ".join(one.whole.classes[:12]) + (" and others" if len(one.whole.classes) > 12 else "")
    return f"{words} That is no proof that nothing is there. The model knows: {some}."


def _hidden(one: Sifted) -> str:
    """What is not shown of a photo, in words; empty where all is."""
    if not isinstance(one.whole, Found) or not isinstance(one.seen, Found):
        return ""
    every = one.whole.found
    ticked = None if one.only is None else [one.whole.classes.index(n) for n in one.only if n in one.whole.classes]
    unsure = len(sift(every, one.made.least, ticked)) - len(one.seen.labels)
    others = len(sift(every, one.conf)) - len(one.seen.labels)
    parts = [f"{unsure:,} less sure"] if unsure > 0 else []
    parts += [f"{others:,} without a tick"] if others > 0 else []
    return f" Not shown: {', '.join(parts)}." if parts else ""


def table(one: Sifted) -> str:
    """The boxes of a photo, the surest first; of a video its tracks or how many of each class. As HTML."""
    seen = one.seen
    if isinstance(seen, VideoFound):
        told, tables = seen.shown()
        facts = {name: value for name, value in told.items() if name not in ("boxes", "tracks")}
        return render.facts(facts) + "".join(render.table(t) for t in tables if t.rows)
    columns = {"no.": "", "class": "", "sure": "", "left": "px", "top": "px", "width": "px", "height": "px"}
    rows = []
    for n, (box, score, label) in enumerate(
        zip(seen.boxes.tolist(), seen.scores.tolist(), seen.labels.tolist(), strict=True), 1
    ):
        x1, y1, x2, y2 = box
        size = {"left": round(x1), "top": round(y1), "width": round(x2 - x1), "height": round(y2 - y1)}
        rows.append({"no.": n, "class": seen.classes[label], "sure": f"{score:.0%}", **size})
    return render.table(Table(columns, rows, "Boxes, the surest first")) if rows else ""


def several(results: Sequence[tuple[str, Sifted]]) -> str:
    """How many of what in each of several photos and videos, as HTML; empty for one."""
    if len(results) < 2:
        return ""
    counted = [(name, counts_of(one)) for name, one in results]
    total: Counter[str] = Counter()
    for _, found in counted:
        total.update(found)
    names = [name for name, _ in total.most_common(6)]
    rows = [
        {"photo or video": name, "in all": sum(found.values())} | {k: found.get(k, 0) for k in names}
        for name, found in counted
    ]
    columns = dict.fromkeys(("photo or video", "in all", *names), "")
    return f"<h3>All {len(results)}</h3>{render.soft('Choose one by its number above.')}" + render.table(
        Table(columns, rows), most=200
    )


def downloads(shown: Shown, view: View, joint: Sequence[str]) -> str:
    """Buttons that download the files of one result and those about all photos, and everything as ZIP, as HTML."""
    found: list[tuple[Path, str]] = []
    own = [name for name in view.files if not is_joint(name)]
    mine = VIDEO_FILES if any(name.endswith(".jsonl") for name in own) else FILES
    for names, kinds in ((own, mine), (joint, JOINT_FILES)):
        for end, words in kinds:
            for name in (n for n in names if n.endswith(end)):
                found.append((shown.folder / name, words))
    about = "The files hold what is shown: they follow the confidence and the ticks."
    return render.buttons(shown.key, found, shown.folder, about)


def is_joint(name: str) -> bool:
    """True for a file about all photos."""
    return Path(name).parent.name == JOINT
