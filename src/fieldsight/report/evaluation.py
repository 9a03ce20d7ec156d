"""The result of ``evaluate``: numbers with their protocols, the items behind them, and the page that shows both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fieldsight.data.files import write_json, write_text
from fieldsight.metrics.items import PerItem
from fieldsight.predictions import Table
from fieldsight.registry import System
from fieldsight.report.html import Report


@dataclass(frozen=True)
class Evaluation:
    """What a model reaches on a data set.

    Attributes:
        spec: the system; its metrics give units and protocols.
        metrics: name to value; NaN where no item could be measured.
        items: the numbers of every item.
        on: the data, in words; drawn data is called drawn.
        tables: further tables, in order.
        plots: caption to SVG.
        pictures: caption to picture.
        facts: what else is worth telling.
        warnings: what a reader must know before using the numbers.
    """

    spec: System
    metrics: Mapping[str, float]
    items: PerItem
    on: str
    tables: tuple[Table, ...] = ()
    plots: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def protocols(self) -> dict[str, str]:
        """Name to unit and protocol line."""
        return {m.name: f"[{m.unit}] {m.protocol}" for m in self.spec.metrics}

    def table(self) -> Table:
        """The metrics with unit, protocol and spread over items."""
        rows = []
        for metric in self.spec.metrics:
            if metric.name not in self.metrics:
                continue
            summary = self.items.summary(metric.name) if metric.name in self.items.names() else None
            value = self.metrics[metric.name]
            rows.append(
                {
                    "metric": metric.name,
                    "value": None if math.isnan(value) else value,
                    "std": summary.std if summary else None,
                    "unit": metric.unit,
                    "better": metric.better,
                    "protocol": metric.protocol,
                }
            )
        columns = dict.fromkeys(("metric", "value", "std", "unit", "better", "protocol"), "")
        return Table(columns, rows, f"Metrics on {self.on}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values; NaN is None."""
        return {
            "system": self.spec.id,
            "on": self.on,
            "metrics": {k: None if math.isnan(v) or math.isinf(v) else v for k, v in self.metrics.items()},
            "protocols": self.protocols(),
            "items": len(self.items),
            "warnings": list(self.warnings),
            **self.facts,
        }

    def lines(self) -> list[str]:
        """One line a metric."""
        lines = [f"measured on {self.on} ({len(self.items)} items)"]
        lines += [f"{name}: {value:.5g}" for name, value in self.metrics.items()]
        return [*lines, *(f"warning: {w}" for w in self.warnings)]

    def report(self) -> Report:
        """The page."""
        report = Report(f"{self.spec.title}: evaluation", f"measured on {self.on}")
        section = report.section("Metrics").notice(self.spec.notice)
        for warning in self.warnings:
            section.notice(warning)
        section.table(self.table())
        if self.facts:
            section.facts({k: v for k, v in self.facts.items() if not isinstance(v, (dict, list))})
        if self.pictures:
            section = report.section("Pictures")
            for caption, picture in self.pictures.items():
                section.picture(picture, caption)
        if self.plots:
            section = report.section("Plots")
            for caption, svg in self.plots.items():
                section.plot(svg, caption)
        for table in self.tables:
            report.section(table.title or "Table").table(table)
        report.section("Items").table(self.items.table("All items"))
        return report

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``metrics.json``, ``items.csv`` and ``report.html``."""
        base = Path(folder)
        return [
            write_json(base / "metrics.json", self.to_dict()),
            write_text(base / "items.csv", self.items.table("").to_csv()),
            self.report().save(base / "report.html"),
        ]
