"""What the terminal shows: data on stdout, talk, tables and bars on stderr."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fieldsight.progress import Watcher


def say(text: str) -> None:
    """One line of talk, on stderr."""
    print(text, file=sys.stderr)


def print_json(values: Any) -> None:
    """Data as JSON on stdout."""
    print(json.dumps(values, indent=1, ensure_ascii=False, default=str))


def print_rows(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """A table on stdout, its units in the header; plain text where stdout is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name, unit in columns.items():
        numeric = all(isinstance(row.get(name), (int, float, type(None))) for row in rows)
        table.add_column(f"{name} [{unit}]" if unit else name, justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        table.add_row(*(Text(cell(row.get(name))) for name in columns))
    width = None if sys.stdout.isatty() else 200
    Console(file=sys.stdout, width=width, highlight=False).print(table)


def cell(value: Any) -> str:
    """A value as a table shows it: five significant digits, thousands apart."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        size = abs(value)
        return f"{value:,.1f}" if size >= 1e5 else f"{value:.5g}" if size >= 1e-3 or value == 0 else f"{value:.3e}"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(v) for v in value)
    return str(value)


@functools.cache
def bar() -> Watcher:
    """The process's progress display on stderr, one line a task that is under way."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[remark]}"),
        console=Console(file=sys.stderr),
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def watch(label: str, done: int, total: int | None, remark: str) -> None:
        if label not in tasks:
            if not tasks:
                shown.start()
            tasks[label] = shown.add_task(label, total=total, remark="")
        shown.update(tasks[label], completed=done, total=total, remark=remark)
        if total is not None and done >= total:
            shown.remove_task(tasks.pop(label))
            if not tasks:
                shown.stop()

    return watch
