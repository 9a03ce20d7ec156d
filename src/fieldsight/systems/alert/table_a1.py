"""The paper's Table A1 (85 readings with labels), and tables of readings in its form."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.scores import Samples

_TIMECODE = re.compile(r"^(\d+):([0-5]\d):([0-5]\d)$")
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def table_a1() -> Samples:
    """Table A1: 16 clips, speed and time to impact as the app showed them, danger as the authors labelled it.

    Kept as printed, its three slips included: Car3 0:00:45 closes at -3.92 m/s with a time of 9999, Walking8 0:05:40
    likewise, Walking3 0:06:50 has 1391.66 s. None of them changes a cell of Tables 1 and 2.
    """
    return read_samples(Path(__file__).with_name("table_a1.csv"))


def timecode(text: str) -> float:
    """Seconds of ``m:ss:ff`` at 60 frames a second, as the fields of Table A1 turn out to be.

    Raises:
        DataError: another form, or a field of 60 and more.
    """
    found = _TIMECODE.match(text.strip())
    if not found:
        raise DataError(f"'{text}' is no timecode. It reads minutes:seconds:frames with frames below 60, as 0:03:50.")
    minutes, seconds, frames = (int(g) for g in found.groups())
    return 60 * minutes + seconds + frames / 60


def read_samples(path: str | Path) -> Samples:
    """Readings with labels: a CSV with ``speed``, ``tti`` and ``danger`` (yes or no), and any of ``clip``, ``class``,
    ``timecode``, ``t_s`` or ``t``; a file of states may take its labels from a column ``danger``.

    Raises:
        DataError: no such file, missing columns, no rows, and every bad cell with its line (the first ten).
    """
    file = Path(path)
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Can't read '{file}' as a table: {error}.") from None
    if not rows:
        raise DataError(f"'{file}' holds no rows.")
    missing = [name for name in ("speed", "tti", "danger") if name not in rows[0]]
    if missing:
        raise DataError(f"'{file}' lacks the column {', '.join(missing)}. It has {', '.join(map(str, rows[0]))}.")
    problems: list[str] = []
    speed = [_cell(r["speed"], "speed", n, problems) for n, r in enumerate(rows, 2)]
    tti = [_cell(r["tti"], "tti", n, problems, math.inf) for n, r in enumerate(rows, 2)]
    danger = [_yes(r["danger"], n, problems) for n, r in enumerate(rows, 2)]
    t = [_time(r, n, problems) for n, r in enumerate(rows, 2)]
    if problems:
        more = f" And {len(problems) - 10} more." if len(problems) > 10 else ""
        raise DataError(f"'{file}': " + "; ".join(problems[:10]) + "." + more)
    clip = [(r.get("clip") or file.stem) for r in rows]
    kind = [(r.get("class") or r.get("kind") or "any") for r in rows]
    return Samples(np.array(clip), np.array(kind), np.array(t), np.array(speed), np.array(tti), np.array(danger))


def _cell(text: str | None, name: str, line: int, problems: list[str], empty: float = math.nan) -> float:
    if text is None or not text.strip():
        if not math.isnan(empty):
            return empty
        problems.append(f"line {line}: {name} is empty")
        return math.nan
    try:
        value = float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        value = math.nan
    if math.isnan(value):
        problems.append(f"line {line}: {name} must be a number, got '{text}'")
    return value


def _yes(text: str | None, line: int, problems: list[str]) -> bool:
    found = _YES.get((text or "").strip().lower())
    if found is None:
        problems.append(f"line {line}: danger must be yes or no, got '{text}'")
    return bool(found)


def _time(row: dict[str, str], line: int, problems: list[str]) -> float:
    for name in ("t_s", "t", "time"):
        if row.get(name):
            return _cell(row[name], name, line, problems)
    if row.get("timecode"):
        try:
            return timecode(row["timecode"])
        except DataError as error:
            problems.append(f"line {line}: {error}")
    return float(line - 2)
