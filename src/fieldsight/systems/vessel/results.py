"""What the detector found in a frame: boxes with the view, the filter that came before, and what each stage took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fieldsight.detection.found import Found
from fieldsight.predictions import Table


@dataclass(frozen=True)
class Stenoses(Found):
    """Boxes of stenoses in a frame.

    Attributes:
        view: as in ``LCA LAO``; ``unknown`` where nothing says so.
        preproc: filter and fusion before the detector.
        ms: what filter and fusion, the network, and suppression took, in milliseconds.
    """

    view: str = "unknown"
    preproc: Mapping[str, Any] = field(default_factory=dict)
    ms: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Boxes, view, filter."""
        return {**super().to_dict(), "view": self.view, "preproc": dict(self.preproc)}

    def document(self) -> dict[str, Any]:
        """The same with times."""
        return {**self.to_dict(), "ms": dict(self.ms)}

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """How many boxes, the view, the filter in words."""
        facts, tables = super().shown()
        told = {"view": self.view, "enhancement": str(self.preproc.get("mode", ""))}
        return {**facts, **told, "time": f"{sum(self.ms.values()):.0f} ms"}, tables
