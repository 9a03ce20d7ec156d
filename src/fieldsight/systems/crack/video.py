"""Cracks in a video, picture by picture in bounded memory."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight.data.files import atomic, write_json, write_text
from fieldsight.data.images import resize, write_image
from fieldsight.data.video import LEAST_FPS, Frames, Video, write_video
from fieldsight.errors import DataError, ExportError
from fieldsight.predictions import Picture, Prediction, Table
from fieldsight.systems.crack.fusion import left_out
from fieldsight.systems.crack.photo import Photo, open_photo
from fieldsight.systems.crack.results import CrackMap

if TYPE_CHECKING:
    from fieldsight.systems.crack.options import PredictOptions
    from fieldsight.systems.crack.predict import CrackModel

#: Worst pictures that are kept, and the least time in seconds between two of them.
WORST, APART = 6, 1.0

#: Columns of the table of pictures with their units.
COLUMNS = {
    "frame": "", "time": "s", "count": "", "length_px": "px", "length_mm": "mm", "max_width_px": "px",
    "max_width_mm": "mm", "area_share": "", "experts": "", "disagreement": "", "doubt": "",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Worst:
    """A picture with much crack: its number in the video, seconds, length of its cracks in pixels, and the overlay."""

    frame: int
    time: float
    length: float
    picture: Picture = field(repr=False)


@dataclass(frozen=True)
class CrackVideo(Prediction):
    """Cracks of a video.

    A crack that is seen in several pictures counts in each of them: lengths of pictures must not be added up.

    Attributes:
        frames: one row a picture that was looked at.
        worst: those with the greatest length of crack, a second or more apart, the worst first.
        facts: size, time, the experts, what went wrong.
        overlay: the video with the cracks drawn in, in a temporary folder that goes with this object; None where it
            could not be written.
    """

    frames: Table
    worst: Sequence[Worst]
    facts: Mapping[str, Any] = field(default_factory=dict)
    overlay: Path | None = None
    _folder: _Folder | None = field(default=None, repr=False, compare=False)

    def save(self, folder: str | Path, stem: str | Path = "video") -> list[Path]:
        """Write ``_overlay.mp4``, the worst pictures as ``_frame_000123.png``, ``.csv`` and ``.json``."""
        base = Path(folder) / stem
        name = base.name
        written = []
        if self.overlay is not None:
            target = base.with_name(f"{name}_overlay.mp4")
            with atomic(target) as temporary:
                shutil.copyfile(self.overlay, temporary)
            written.append(target)
        written += [write_image(base.with_name(f"{name}_frame_{w.frame:06d}.png"), w.picture) for w in self.worst]
        written.append(write_text(base.with_name(f"{name}.csv"), self.frames.to_csv()))
        written.append(write_json(base.with_name(f"{name}.json"), self.to_dict()))
        return written

    def to_dict(self) -> dict[str, Any]:
        """Sums over the pictures, the worst of them, and every row."""
        return {
            **self.facts,
            "worst": [{"frame": w.frame, "time": w.time, "length_px": round(w.length, 4)} for w in self.worst],
            "rows": [dict(row) for row in self.frames.rows],
        }

    def draw(self) -> Picture:
        """The worst pictures, two beside each other."""
        small = [resize(w.picture, 960) for w in self.worst]
        if not small:
            return np.full((48, 256, 3), 255, np.uint8)
        height, width = (max(p.shape[k] for p in small) for k in (0, 1))
        columns = 2 if len(small) > 1 else 1
        sheet = np.full((-(-len(small) // columns) * height, columns * width, 3), 255, np.uint8)
        for n, picture in enumerate(small):
            top, left = n // columns * height, n % columns * width
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        return sheet

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """What one wants to know, in words; then the pictures."""
        facts = self.facts
        told: dict[str, Any] = {
            "pictures": f"{facts['frames']:,} of {facts['frames_in_all']:,}, {facts['seconds']:.1f} s",
            "with cracks": f"{facts['frames_with_cracks']:,}",
            "experts used": ", ".join(f"{name} {share:.0%}" for name, share in facts["used"].items()),
        }
        if self.worst:
            told["worst at"] = ", ".join(f"{w.time:.1f} s" for w in self.worst)
        if facts.get("disagreement") is not None:
            told["experts disagree on"] = f"{facts['disagreement']:.0%} of the crack"
        if facts.get("failed"):
            told["left out"] = "; ".join(f"{name} in {n:,} pictures" for name, n in facts["failed"].items())
        if facts.get("notes"):
            told["notes"] = "; ".join(facts["notes"])
        return told, (self.frames,)

    def lines(self) -> list[str]:
        """The same words for a terminal."""
        return [f"{name}: {value}" for name, value in self.shown()[0].items()]


def predict_video(model: CrackModel, photo: Photo, options: PredictOptions) -> CrackVideo:
    """Look at every ``options.every``-th picture of a video; the gate chooses experts once a picture.

    Pictures that can't be read are left out with a note, and a video that ends before its header says so is taken up
    to there. A folder of maps names those of a video ``<video>_000123``, the number counting from 0.

    Args:
        model: the model.
        photo: as :func:`~fieldsight.systems.crack.photo.open_photo` opens a video.
        options: of ``predict``; with ``route`` tile experts are chosen place by place.

    Raises:
        DataError: no picture can be read, or every expert fails.
    """
    assert photo.video is not None
    if options.route == "auto":
        options = options.replace(route="image")
    video = Video(photo.video)
    found = _Found(photo, video, options)
    fps = max(LEAST_FPS, found.fps / options.every)
    folder = _Folder()
    overlay: Path | None = folder.path / "overlay.mp4"
    assert overlay is not None
    try:
        with write_video(overlay, fps) as add:
            for i, picture in found.frames:
                opened = open_photo(picture, options.resize, options.scale)
                one = model.find(replace(opened, id=f"{photo.id}_{i:06d}"), options, found.warn)
                drawn = one.draw()
                found.add(i, one, drawn)
                if overlay is not None:
                    overlay = _added(add, drawn, overlay, found.notes)
            if not found.rows:
                raise DataError(f"'{photo.video}': none of its pictures can be read.")
    finally:
        video.close()
    return found.result(model, overlay, folder)


class _Folder:
    """A temporary folder that goes when nobody holds this object any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fieldsight-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _added(add: Any, drawn: Picture, overlay: Path, notes: list[str]) -> Path | None:
    try:
        add(drawn)
    except ExportError as error:
        notes.append(f"no overlay video: {error}")
        return None
    return overlay


class _Found:
    """What is known of a video's pictures so far; of the pictures themselves only the worst are kept."""

    def __init__(self, photo: Photo, video: Video, options: PredictOptions) -> None:
        self.photo, self.video, self.options = photo, video, options
        self.frames = Frames(video, options.every)
        self.fps = self.frames.fps
        self.notes = list(photo.notes)
        self.rows: list[dict[str, Any]] = []
        self.worst: list[Worst] = []
        self.failed: dict[str, int] = {}
        self.last: CrackMap | None = None
        self._sums: dict[str, dict[str, float]] = {"weights": {}, "used": {}}
        self._sizes: list[float] = []

    def warn(self, name: str, problem: str) -> None:
        """Say once of each expert that it fails: what fails once fails often."""
        if name not in self.failed:
            left_out(name, problem)
        self.failed[name] = self.failed.get(name, 0) + 1

    def add(self, i: int, one: CrackMap, drawn: Picture) -> None:
        """Take in a picture's cracks."""
        total, facts = one.summary.to_dict(), one.facts
        used = sorted(facts["used"], key=lambda n: -facts["used"][n])
        row = {
            "frame": i, "time": round(i / self.fps, 3), **{k: _plain(total[k]) for k in COLUMNS if k in total},
            "experts": "+".join(used), "disagreement": facts["disagreement"], "doubt": facts.get("doubt"),
        }  # fmt: skip
        self.rows.append(row)
        for name, sums in self._sums.items():
            for expert, value in facts[name].items():
                sums[expert] = sums.get(expert, 0.0) + value
        if "set_size" in facts:
            self._sizes.append(facts["set_size"])
        self.last = one
        near = [w for w in self.worst if abs(w.time - row["time"]) < APART]
        length = one.summary.length_px
        if length > max([0.0, *(w.length for w in near)]):
            kept = [w for w in self.worst if all(w is not n for n in near)]
            kept.append(Worst(i, row["time"], length, drawn))
            self.worst = sorted(kept, key=lambda w: (-w.length, w.frame))[:WORST]

    def result(self, model: CrackModel, overlay: Path | None, folder: _Folder) -> CrackVideo:
        """All of it."""
        assert self.last is not None
        rows, count = self.rows, len(self.rows)
        facts = {
            "video": self.photo.name, "height": self.photo.shape[0], "width": self.photo.shape[1],
            "fps": round(self.fps, 4), "seconds": round((rows[-1]["frame"] + 1) / self.fps, 3),
            "every": self.options.every, "frames": count, "frames_in_all": self.video.count,
            "frames_with_cracks": sum(r["count"] > 0 for r in rows),
            "mean_length_px": _mean(rows, "length_px"), "mean_area_share": _mean(rows, "area_share"),
            "greatest_length_px": max(r["length_px"] for r in rows),
            "max_width_px": max(r["max_width_px"] for r in rows),
            **{k: self.last.facts[k] for k in ("threshold", "scale_mm") if k in self.last.facts},
            **{n: {e: round(v / count, 4) for e, v in sums.items()} for n, sums in self._sums.items()},
            "disagreement": _mean(rows, "disagreement"), "doubt": _mean(rows, "doubt"),
        }  # fmt: skip
        if self._sizes:
            facts["set_size"] = round(sum(self._sizes) / len(self._sizes), 2)
        if self.failed:
            facts["failed"] = dict(self.failed)
        if self.notes or self.frames.notes:
            facts["notes"] = [*self.notes, *self.frames.notes]
        facts["model"] = model.source
        known = {k: u for k, u in COLUMNS.items() if any(r.get(k) is not None for r in rows)}
        table = Table(known, [{k: v for k, v in r.items() if k in known} for r in rows], "pictures of the video")
        return CrackVideo(table, list(self.worst), facts, overlay, folder)


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [r[name] for r in rows if r[name] is not None]
    return round(sum(values) / len(values), 6) if values else None


def _plain(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
