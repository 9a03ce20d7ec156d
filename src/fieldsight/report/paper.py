"""``reproduce``: the paper's tables against ours, three columns that are never mixed.

*Printed* is what the paper says. *Recomputed* follows from the paper's own inputs by its own formulas, where that
can be done. *Ours* is what this package reaches on its own data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fieldsight.data.files import write_json, write_text
from fieldsight.predictions import Table
from fieldsight.registry import System
from fieldsight.report.html import Report

#: Tables with more rows are summed up on the terminal; files and JSON hold every row.
LONG = 30

Verdict = Literal["reproduced", "reproduced with a recovered constant", "contradicts", "not comparable", "open"]


@dataclass(frozen=True)
class Row:
    """One printed value: what it is, the printed, recomputed and own value, the verdict and a remark."""

    name: str
    printed: float | str | None
    recomputed: float | str | None = None
    ours: float | str | None = None
    verdict: Verdict = "open"
    note: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table or figure of the paper."""

    title: str
    rows: Sequence[Row]
    note: str = ""

    def table(self) -> Table:
        """For printing."""
        columns = dict.fromkeys(("name", "printed", "recomputed", "ours", "verdict", "note"), "")
        rows = [
            {
                "name": r.name,
                "printed": r.printed,
                "recomputed": r.recomputed,
                "ours": r.ours,
                "verdict": r.verdict,
                "note": r.note,
            }
            for r in self.rows
        ]
        return Table(columns, rows, self.title)


@dataclass(frozen=True)
class Reproduction:
    """All tables of a paper, and its errors by name.

    Attributes:
        spec: the system.
        tables: the paper's tables and figures.
        errors: what the paper gets wrong or leaves out, and what we do instead.
        studies: recorded studies that *ours* quotes, with their state.
        facts: counts worth telling.
    """

    spec: System
    tables: Sequence[PaperTable]
    errors: Sequence[str]
    studies: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def verdicts(self) -> dict[str, int]:
        """How many printed values were reproduced, contradicted, and so on."""
        listed = [row.verdict for table in self.tables for row in table.rows]
        return {v: listed.count(v) for v in dict.fromkeys(listed)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "system": self.spec.id,
            "paper": self.spec.paper,
            "verdicts": dict(self.verdicts()),
            "facts": dict(self.facts),
            "tables": [{**t.table().to_dict(), "note": t.note} for t in self.tables],
            "errors": list(self.errors),
            "studies": dict(self.studies),
        }

    def lines(self) -> list[str]:
        """The tables as text, of long ones what stands out; then facts and errors."""
        from fieldsight.cli.console import cell

        lines = [self.spec.paper, ""]
        for table in self.tables:
            lines += [table.title] + ([f"  {table.note}"] if table.note else [])
            lines += [*_lines(table), ""]
        if self.facts:
            lines += [*(f"{name}: {cell(value)}" for name, value in self.facts.items()), ""]
        lines += ["The paper's errors and gaps, and what we do:"] + [f"  - {e}" for e in self.errors]
        lines += [f"study {name}: {state}" for name, state in self.studies.items()]
        return [*lines, ", ".join(f"{n} {v}" for v, n in self.verdicts().items())]

    def report(self) -> Report:
        """The page."""
        report = Report(f"{self.spec.title}: the paper against ours", self.spec.paper)
        section = report.section("Verdicts").notice(self.spec.notice)
        section.facts({**self.verdicts(), **self.facts})
        section.text(
            "Printed: what the paper says. Recomputed: what follows from the paper's own inputs. "
            "Ours: what this package reaches on its own data, which is not the paper's data."
        )
        for table in self.tables:
            part = report.section(table.title)
            if table.note:
                part.text(table.note)
            part.table(table.table(), most=1000)
        report.section("The paper's errors and gaps").text("\n\n".join(f"– {e}" for e in self.errors))
        return report

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``reproduce.json``, ``reproduce.csv`` (all rows) and ``reproduce.html``."""
        base = Path(folder)
        rows = [{"table": t.title, **row} for t in self.tables for row in t.table().rows]
        columns = dict.fromkeys(("table", "name", "printed", "recomputed", "ours", "verdict", "note"), "")
        return [
            write_json(base / "reproduce.json", self.to_dict()),
            write_text(base / "reproduce.csv", Table(columns, rows).to_csv()),
            self.report().save(base / "reproduce.html"),
        ]


def _lines(table: PaperTable) -> list[str]:
    shown = list(table.rows)
    lines = []
    if len(shown) > LONG:
        found = [r.verdict for r in shown]
        told = ", ".join(f"{found.count(v)} {v}" for v in dict.fromkeys(found))
        off = [abs(r.printed - r.recomputed) for r in shown if _number(r.printed) and _number(r.recomputed)]  # type: ignore[operator]
        far = f"; recomputed differs from printed by at most {max(off):.2g}" if off else ""
        lines.append(f"  {len(shown)} values: {told}{far}. Every row: --out FOLDER or --json")
        shown = [r for r in shown if not r.verdict.startswith("reproduced")]
    for r in shown:
        values = ["not printed" if r.printed is None else f"printed {_text(r.printed)}"]
        values += [f"recomputed {_text(r.recomputed)}"] if r.recomputed is not None else []
        values += [f"ours {_text(r.ours)}"] if r.ours is not None else []
        lines.append(f"  {r.name}: {'; '.join(values)} ({r.verdict}{': ' + r.note if r.note else ''})")
    return lines


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: float | str) -> str:
    """Six digits, so that what was printed with five can be compared; thousands apart."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.6g}"
