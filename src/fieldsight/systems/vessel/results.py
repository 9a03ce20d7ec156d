"""What the detector found in a frame: boxes with per cent stenosis, view, the filter before, and each stage's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fieldsight.data.detection.sample import Picture
from fieldsight.detection.drawing import draw_boxes
from fieldsight.detection.found import Found
from fieldsight.predictions import Table
from fieldsight.systems.vessel import lumen
from fieldsight.systems.vessel.lumen import Lumen


@dataclass(frozen=True)
class Stenoses(Found):
    """Boxes of stenoses in a frame.

    Attributes:
        view: as in ``LCA LAO``; ``unknown`` where nothing says so.
        preproc: filter and fusion before the detector, and ``input``, the side in px of the square they work on.
        ms: what filter and fusion, the network, suppression, and measuring took, in milliseconds.
        lumens: how narrow each box is, in the order of the boxes; empty where it was not asked for.
    """

    view: str = "unknown"
    preproc: Mapping[str, Any] = field(default_factory=dict)
    ms: Mapping[str, float] = field(default_factory=dict)
    lumens: tuple[Lumen, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Boxes, view, filter."""
        return {**super().to_dict(), "view": self.view, "preproc": dict(self.preproc)}

    def _rows(self) -> list[dict[str, Any]]:
        """Every box, and its lumen where it was asked for."""
        rows = super()._rows()
        return (
            [{**row, "lumen": one.to_dict()} for row, one in zip(rows, self.lumens, strict=True)]
            if self.lumens
            else rows
        )

    def draw(self, longest: int = 2000) -> Picture:
        """The frame with its boxes, loss of diameter where it was measured, and the way that was followed there."""
        picture = lumen.drawn(self.picture, self.lumens)
        words = [one.words for one in self.lumens]
        return draw_boxes(picture, self.found, self.classes, limit_width=longest, size=self.size, words=words)

    def document(self) -> dict[str, Any]:
        """The same with times."""
        return {**self.to_dict(), "ms": dict(self.ms)}

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """How many boxes, the view, the filter in words."""
        facts, tables = super().shown()
        told = {"view": self.view, "enhancement": str(self.preproc.get("mode", ""))}
        if self.lumens:
            told["measured"] = f"{sum(one.measured for one in self.lumens)} of {len(self.lumens)} boxes"
            tables = [*tables, lumen.table(self.lumens)]
        return {**facts, **told, "time": f"{sum(self.ms.values()):.0f} ms"}, tables
