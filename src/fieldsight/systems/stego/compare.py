"""Ways to hide side by side, on the same pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fieldsight.metrics.items import PerItem
from fieldsight.metrics.stats import bootstrap, holm, paired
from fieldsight.predictions import Table
from fieldsight.report.evaluation import Evaluation

#: Metrics compared between two ways, pair by pair.
COMPARED = ("stego_psnr", "stego_ssim", "secret_psnr", "secret_ssim")


@dataclass(frozen=True)
class Measured(Evaluation):
    """An evaluation that tells on the terminal too how others did, where that was asked for."""

    def lines(self) -> list[str]:
        """One line a metric, then one a way that was compared."""
        lines = [f"measured on {self.on}", *super().lines()[1:]]
        for title, rows in self.facts.get("compared", {}).items():
            wide = max(12, *(len(row["method"]) for row in rows))
            lines += ["", f"{title}; means:", " " * wide + "".join(f"{name:>13}" for name in COMPARED)]
            lines += [row["method"].ljust(wide) + "".join(_cell(row[name]) for name in COMPARED) for row in rows]
        return lines


def ranking(found: Mapping[str, PerItem], title: str = "Ways to hide on the same pairs") -> Table:
    """Ways side by side: means with intervals over covers; p of Wilcoxon's test against the first, Holm-adjusted."""
    names = list(found)
    first = found[names[0]].by_group()
    tests = {
        f"{name}/{metric}": paired(first.column(metric), found[name].by_group().column(metric)).p
        for name in names[1:]
        for metric in COMPARED
    }
    adjusted = holm(tests) if tests else {}
    rows = []
    for name in names:
        items = found[name]
        row: dict[str, Any] = {"method": name, "pairs": len(items)}
        for metric in COMPARED:
            estimate = bootstrap(items.column(metric), items.groups())
            digits = 2 if metric.endswith("psnr") else 4
            row[metric] = round(estimate.value, digits)
            row[f"{metric} interval"] = f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"
        row["largest p"] = max((adjusted[f"{name}/{m}"] for m in COMPARED), default=None) if name != names[0] else None
        row["equal"] = items.summary("secret_psnr").empty
        rows.append(row)
    return Table(dict.fromkeys(rows[0], ""), rows, title)


def _cell(value: float | None) -> str:
    return f"{'' if value is None else f'{value:.4g}':>13}"
