"""``measure``: how narrow a stenosis is, from two marked points or a box, without a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import predicting
from fieldsight.data.detection.sample import Picture
from fieldsight.data.files import write_json
from fieldsight.data.images import resize, write_image
from fieldsight.errors import DataError
from fieldsight.predictions import Prediction, Table, beside
from fieldsight.report.plots import figure, pixels
from fieldsight.systems.vessel import fusing, lumen
from fieldsight.systems.vessel.enhancing import FilterOnly
from fieldsight.systems.vessel.lumen import Lumen
from fieldsight.systems.vessel.options import MeasureOptions
from fieldsight.systems.vessel.xa import open_angiography
from fieldsight.systems.vessel.xa_frames import key_frames

#: Height of the drawing, and room around what is measured, px.
_HEIGHT, _ROOM = 480, 25.0


@dataclass(frozen=True)
class Measured(Prediction):
    """A narrowing with its lumen.

    Attributes:
        frame: ``(H, W)`` uint8.
        lumen: what was measured.
        marks: ``(4,)`` what was given: x, y, x, y of two points or of a box.
        facts: number of the frame, view, what was assumed.
    """

    frame: NDArray[np.uint8]
    lumen: Lumen
    marks: NDArray[np.float64]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Percent, grade, diameters, and the reason where there is no number."""
        return {**self.lumen.to_dict(), **self.facts}

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """The number in words, lengths with their unit, or why there is none."""
        told = self.lumen.to_dict()
        lengths = {"narrowest": "minimal", "healthy": "reference", "length": "length"}
        facts: dict[str, Any] = {"loss of diameter": self.lumen.words or self.lumen.grade}
        if self.lumen.measured:
            facts |= {"error of the fit": f"{told['error']:.1f} points", "grade": self.lumen.grade}
            facts |= {word: f"{told[name]:g} {told['unit']}" for word, name in lengths.items()}
        facts |= {"reason": self.lumen.note} if self.lumen.note else {}
        notes = {"notes": "; ".join(self.facts["notes"])} if self.facts.get("notes") else {}
        return {**facts, **{k: v for k, v in self.facts.items() if k != "notes"}, **notes}, ()

    def profile(self) -> Table:
        """Diameter along the vessel; empty where nothing was measured."""
        own = self.lumen
        unit, by = ("mm", own.spacing) if own.spacing else ("px", 1.0)
        columns = {"x": "px", "y": "px", "read": unit, "diameter": unit, "reference": unit}
        lengths = np.stack([own.read, own.diameters, own.references], axis=1) * by
        values = np.concatenate([own.centreline[: len(lengths)], lengths], axis=1).tolist()
        rows = [dict(zip(columns, (round(v, 3) for v in row), strict=True)) for row in values]
        return Table(columns, rows, "Diameter along the vessel, a row a pixel of its way")

    def save(self, folder: str | Path, stem: str | Path = "lumen") -> list[Path]:
        """Write the drawing as PNG, numbers as JSON, and where there are some, diameters along the vessel as CSV."""
        base = Path(folder) / stem
        written = [
            write_image(base.with_name(f"{base.name}.png"), self.draw()),
            write_json(base.with_name(f"{base.name}.json"), self.to_dict()),
        ]
        return written + (self.profile().save(folder, f"{stem}_profile") if self.lumen.measured else [])

    def draw(self) -> Picture:
        """The vessel with the way that was followed, and its diameter along it."""
        points = np.concatenate([self.marks.reshape(2, 2), self.lumen.centreline])
        high, wide = self.frame.shape
        x1, y1 = (int(max(0, v)) for v in points.min(0) - _ROOM)
        x2, y2 = (int(min(m, v)) for m, v in zip((wide, high), points.max(0) + _ROOM + 1, strict=True))
        whole = lumen.drawn(fusing.grey(self.frame), [self.lumen])
        part = whole[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
        times = max(1, _HEIGHT // max(part.shape[:2]))
        part = resize(np.ascontiguousarray(part.repeat(times, 0).repeat(times, 1)), _HEIGHT)
        shown = below(part, _HEIGHT)
        return beside([shown, below(resize(self._plot(), 720), _HEIGHT)]) if self.lumen.measured else shown

    def _plot(self) -> Picture:
        drawn, (axes,) = figure(6.0, 4.0)
        own = self.lumen
        unit, by = ("mm", own.spacing) if own.spacing else ("px", 1.0)
        axes.plot(own.read * by, ".", color="0.6", label="as read")
        axes.plot(own.diameters * by, label="fitted")
        axes.plot(own.references * by, "--", label="healthy")
        axes.axvline(own.at, color="0.7", linewidth=1)
        axes.set(xlabel="along the vessel, px", ylabel=f"diameter, {unit}", title=f"{own.percent:.0f} % ({own.grade})")
        axes.set_ylim(0, None)
        axes.legend()
        return pixels(drawn)


def below(picture: Picture, height: int) -> Picture:
    """A picture of a height: white below it, or cut."""
    out = np.full((height, picture.shape[1], 3), 255, np.uint8)
    part = picture[:height]
    out[: len(part)] = part
    return out


def measure(inputs: Any, options: MeasureOptions, out: Path | None, strict: bool) -> Any:
    """Measure a narrowing in pictures, DICOM files and videos: at the same place in each.

    Raises:
        DataError: nothing to work on, or a single input that can't be read.
    """
    return predicting.predict(FilterOnly(options), inputs, options, out, strict, {}, action=measure_one)


def measure_one(source: Any, options: MeasureOptions) -> Measured:
    """One input: a picture, or a frame of a run.

    Raises:
        DataError: no such frame, or marks outside of it.
    """
    with open_angiography(source) as run:
        if options.frame is not None and options.frame >= run.count:
            raise DataError(f"frame: {options.frame} of {run.count} frames; they count from 0.")
        number = options.frame if options.frame is not None else 0 if run.count == 1 else key_frames(run).numbers[0]
        frame, spacing = run.frame(number), options.spacing or run.mm_per_px
        facts: dict[str, Any] = {"frame": number, "view": str(run.view(number))}
        facts |= {"notes": list(run.notes)} if run.notes else {}
    marks = np.array(options.between or options.box, np.float64)
    _inside(marks, frame.shape)
    return Measured(frame, lumen.measure(frame, marks, marks if options.between else None, spacing), marks, facts)


def _inside(marks: NDArray[np.float64], shape: Sequence[int]) -> None:
    high, wide = shape
    if (marks.reshape(2, 2) > [wide, high]).any():
        raise DataError(
            f"{marks.tolist()} lies outside of the frame, which is {wide} x {high} pixels. Give x before y, in pixels "
            "from the upper left corner."
        )
