"""What systems give: small frozen objects that save, describe and draw themselves.

=========== ==================================================== =======================
class       holds                                                saved as
=========== ==================================================== =======================
Interval    lower, middle and upper picture                      TIFF x 4, PNG, JSON
Images      pictures                                             PNG
Labels      class probabilities                                  JSON
Alerts      what a stream said, step by step                     CSV, JSON
Table       rows of named values with units                      CSV, JSON
=========== ==================================================== =======================

Arrays may be mapped files where they are larger than memory.
"""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.arrays import thumbnail, write_tiff
from fieldsight.data.files import write_json, write_text
from fieldsight.data.images import to_uint8, write_image
from fieldsight.errors import DataError

Array = NDArray[Any]
Picture = NDArray[np.uint8]


class Prediction(ABC):
    """Base of all predictions.

    Attributes:
        files: where it was written, if it was; a field of those whose verb writes by itself.
    """

    files: tuple[Path, ...] = ()

    @property
    def saved(self) -> bool:
        """True where it was written already."""
        return bool(self.files)

    @abstractmethod
    def save(self, folder: str | Path, stem: str | Path = "prediction") -> list[Path]:
        """Write under ``folder`` with file names that begin with ``stem``; returns the files."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """A summary of plain values that JSON can hold; large arrays are left out."""

    @abstractmethod
    def draw(self) -> Picture:
        """A picture for people, ``(H, W, 3)`` uint8, at most about 2,000 pixels wide."""

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]] | None:
        """Facts and tables as a page shows them; None where they are made from the summary."""
        return None

    def lines(self) -> list[str]:
        """A few words for a terminal."""
        return [
            f"{name}: {_short(value)}" for name, value in self.to_dict().items() if not isinstance(value, (dict, list))
        ]


@dataclass(frozen=True)
class Interval(Prediction):
    """A picture with an interval for every pixel.

    Attributes:
        lo, mid, hi: ``(H, W)`` float32, ``lo <= hi``.
        alpha: the share of pixels that may fall outside.
        source: the input as a picture ``(H, W)``, for drawing; or None.
        facts: what else is worth telling: pixel size, threshold, warnings.
    """

    lo: Array
    mid: Array
    hi: Array
    alpha: float
    source: Array | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> Array:
        """``hi - lo``; for a mapped field prefer a band at a time."""
        return self.hi - self.lo

    def save(self, folder: str | Path, stem: str | Path = "prediction") -> list[Path]:
        """Write ``_lo``, ``_mid``, ``_hi`` and ``_width`` as float32 TIFF, a drawing as PNG, the facts as JSON."""
        base = Path(folder) / stem
        note = f"fieldsight interval, alpha {self.alpha}"
        written = [
            write_tiff(base.with_name(f"{base.name}_{name}.tif"), array, note)
            for name, array in (("lo", self.lo), ("mid", self.mid), ("hi", self.hi))
        ]
        written.append(write_tiff(base.with_name(f"{base.name}_width.tif"), _difference(self.hi, self.lo), note))
        written.append(write_image(base.with_name(f"{base.name}.png"), self.draw()))
        written.append(write_json(base.with_name(f"{base.name}.json"), self.to_dict()))
        return written

    def to_dict(self) -> dict[str, Any]:
        """Shape, level, mean of the middle, mean width, and the facts."""
        small = [thumbnail(a, 2048) for a in (self.mid, self.hi, self.lo)]
        return {
            "height": int(self.mid.shape[0]),
            "width": int(self.mid.shape[1]),
            "alpha": self.alpha,
            "mean": round(float(small[0].mean()), 6),
            "mean_width": round(float((small[1] - small[2]).mean()), 6),
            **self.facts,
        }

    def draw(self) -> Picture:
        """Input, middle and width side by side; the width in false colour from its least to its largest value."""
        small = [thumbnail(a, 512) for a in (self.lo, self.mid, self.hi)]
        panels = [] if self.source is None else [grey(_fit(self.source, small[1].shape))]
        panels += [grey(small[1]), heat(small[2] - small[0])]
        return beside(panels)


@dataclass(frozen=True)
class Images(Prediction):
    """Pictures that were made: ``(N, H, W)`` or ``(N, H, W, 3)``, float 0-1 or uint8, with a name each."""

    pictures: Array
    names: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path, stem: str | Path = "image") -> list[Path]:
        """Write one PNG a picture."""
        base = Path(folder) / stem
        return [
            write_image(base.with_name(f"{base.name}-{name}.png"), to_uint8(picture))
            for name, picture in zip(self.names, self.pictures, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Number, size and names."""
        return {
            "count": len(self.names),
            "height": int(self.pictures.shape[1]),
            "width": int(self.pictures.shape[2]),
            "names": list(self.names),
            **self.facts,
        }

    def draw(self) -> Picture:
        """A contact sheet of at most 64 pictures."""
        tiles = [grey(p) for p in self.pictures[:64]]
        columns = int(np.ceil(np.sqrt(len(tiles))))
        blank = np.full_like(tiles[0], 255)
        rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
        rows[-1] += [blank] * (columns - len(rows[-1]))
        return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


@dataclass(frozen=True)
class Labels(Prediction):
    """Probabilities of classes, summing to 1."""

    classes: tuple[str, ...]
    probabilities: Array
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> str:
        """The most probable class."""
        return self.classes[int(np.argmax(self.probabilities))]

    def save(self, folder: str | Path, stem: str | Path = "labels") -> list[Path]:
        """Write one JSON file."""
        base = Path(folder) / stem
        return [write_json(base.with_name(f"{base.name}.json"), self.to_dict())]

    def to_dict(self) -> dict[str, Any]:
        """The best class and all probabilities."""
        shares = {c: round(float(p), 6) for c, p in zip(self.classes, self.probabilities, strict=True)}
        return {"label": self.best, "probabilities": shares, **self.facts}

    def draw(self) -> Picture:
        """A bar per class, the best one in blue."""
        bars = np.full((24 * len(self.classes), 256, 3), 255, np.uint8)
        for row, share in enumerate(self.probabilities):
            colour = (31, 119, 180) if self.classes[row] == self.best else (170, 170, 170)
            bars[24 * row + 4 : 24 * row + 20, : max(1, int(256 * float(share)))] = colour
        return bars


@dataclass(frozen=True)
class Table(Prediction):
    """Rows of named values.

    Attributes:
        columns: name to unit (empty where there is none), in order.
        rows: one mapping a row; a missing value is None.
        title: what the table shows.
        facts: what holds for all rows.
    """

    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]
    title: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strangers = {k for row in self.rows for k in row} - set(self.columns)
        if strangers:
            raise DataError(f"Table rows hold columns that were not declared: {', '.join(sorted(strangers))}.")

    def save(self, folder: str | Path, stem: str | Path = "table") -> list[Path]:
        """Write CSV and JSON."""
        base = Path(folder) / stem
        return [
            write_text(base.with_name(f"{base.name}.csv"), self.to_csv()),
            write_json(base.with_name(f"{base.name}.json"), self.to_dict()),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything."""
        return {
            "title": self.title,
            "columns": dict(self.columns),
            "rows": [{c: _plain(row.get(c)) for c in self.columns} for row in self.rows],
            **self.facts,
        }

    def to_csv(self) -> str:
        """Comma-separated text; units stand in the header."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([f"{name} [{unit}]" if unit else name for name, unit in self.columns.items()])
        for row in self.rows:
            writer.writerow(["" if row.get(c) is None else _plain(row.get(c)) for c in self.columns])
        return buffer.getvalue()

    def draw(self) -> Picture:
        """The table as a picture, at most 40 rows."""
        from fieldsight.report.plots import table_picture

        return table_picture(self)

    def lines(self) -> list[str]:
        """The title and the number of rows."""
        return [f"{self.title}: {len(self.rows)} rows"]


@dataclass(frozen=True)
class Alerts(Prediction):
    """What a stream system said: one row a step, with time in seconds and a state."""

    steps: tuple[Mapping[str, Any], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> Table:
        """The steps as a table."""
        names = list(dict.fromkeys(k for step in self.steps for k in step))
        return Table({n: "s" if n == "time" else "" for n in names}, self.steps, "alerts", self.facts)

    def save(self, folder: str | Path, stem: str | Path = "alerts") -> list[Path]:
        """Write CSV and JSON."""
        return self.table().save(folder, stem)

    def to_dict(self) -> dict[str, Any]:
        """Number of steps, how many were in each state, and the facts."""
        states = [str(step.get("state")) for step in self.steps]
        return {"steps": len(states), "states": {s: states.count(s) for s in dict.fromkeys(states)}, **self.facts}

    def draw(self) -> Picture:
        """A strip over time, one colour a state."""
        states = list(dict.fromkeys(str(step.get("state")) for step in self.steps))
        colours = ((170, 170, 170), (214, 39, 40), (255, 187, 0), (44, 160, 44), (31, 119, 180))
        strip = [colours[states.index(str(step.get("state"))) % len(colours)] for step in self.steps]
        return np.repeat(np.repeat(np.array([strip], np.uint8), 48, axis=0), max(1, 512 // max(1, len(strip))), axis=1)


# --------------------------------------------------------------------------------------------- drawing


def grey(picture: Array) -> Picture:
    """Any picture as ``(H, W, 3)`` uint8; floats are clipped to 0-1."""
    eight = to_uint8(np.asarray(picture))
    return np.repeat(eight[..., None], 3, axis=2) if eight.ndim == 2 else eight[..., :3]


def heat(values: Array, low: float | None = None, high: float | None = None) -> Picture:
    """A map in false colour (cividis: readable without colour vision), from ``low`` to ``high``."""
    from matplotlib import colormaps

    floor = float(values.min()) if low is None else low
    top = float(values.max()) if high is None else high
    scaled = (np.asarray(values, dtype=np.float32) - floor) / max(top - floor, 1e-12)
    return (colormaps["cividis"](np.clip(scaled, 0, 1))[..., :3] * 255).astype(np.uint8)


def beside(panels: Sequence[Picture], gap: int = 6) -> Picture:
    """Pictures of one height side by side, white between."""
    parts: list[Picture] = []
    for panel in panels:
        if parts:
            parts.append(np.full((panel.shape[0], gap, 3), 255, np.uint8))
        parts.append(panel)
    return np.concatenate(parts, axis=1)


def _fit(picture: Array, shape: tuple[int, ...]) -> Array:
    import cv2

    small = np.asarray(thumbnail(picture, 512), dtype=np.float32)
    return small if small.shape[:2] == shape[:2] else cv2.resize(small, (shape[1], shape[0]))


def _difference(a: Array, b: Array) -> Array:
    from fieldsight.data.arrays import allocate, bands

    result = allocate(a.shape, np.float32)
    for rows in bands(*a.shape):
        result[rows] = a[rows] - b[rows]
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
