"""Small tables as CSV: columns out, columns in, with the line named where a cell is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.recording import Array, Columns

#: Columns that hold words whatever they look like.
WORDS = frozenset(
    {"class", "behaviour", "kind", "rule", "clip", "city", "reason", "depth_file", "conf_file", "rgb_file"}
)

_YES = {"true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False}


def to_csv(columns: Columns) -> bytes:
    """Columns of equal length as CSV: bools as true and false, numbers so that they read back exactly.

    Raises:
        DataError: columns of different lengths.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"A table needs columns of one length, got {lengths}.")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*([cell(v) for v in values] for values in columns.values()), strict=True))
    return text.getvalue().encode()


def cell(value: Any) -> str:
    """One value as it stands in a table."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    return "" if value is None else str(value)


def rows_of(data: bytes, where: str, comment: str = "#") -> list[tuple[int, list[str]]]:
    """Rows of a CSV with the number of their line; empty and comment lines are left out.

    Commas, semicolons, tabs or blanks part the cells, whichever the first row has.

    Raises:
        DataError: no text, or a row that is no CSV.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"'{where}' is no UTF-8 text: {error.reason} at byte {error.start}.") from None
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [(n, line) for n, line in lines if not line.lstrip().startswith(comment)] if comment else lines
    if not lines:
        return []
    parted = next((c for c in ",;\t" if c in lines[0][1]), None)
    if parted is None:
        return [(n, line.split()) for n, line in lines]
    try:
        reader = csv.reader((line for _, line in lines), delimiter=parted, strict=True)
        return [(n, [c.strip() for c in row]) for (n, _), row in zip(lines, reader, strict=False)]
    except csv.Error as error:
        raise DataError(f"'{where}' is no table: {error}.") from None


def from_csv(data: bytes, where: str, needed: Iterable[str] = ()) -> dict[str, Array]:
    """Columns of a CSV with a heading: bool, int64, float64 (an empty cell is NaN) or text, as their cells allow.

    ``danger`` is bool however it is written. ``needed`` columns must be there.

    Raises:
        DataError: no heading, a column missing, a row of another length; file and line are named.
    """
    rows = rows_of(data, where, comment="")
    heading = rows[0][1] if rows else []
    missing = [name for name in needed if name not in heading]
    if missing or not heading:
        raise DataError(f"'{where}' lacks the column {', '.join(missing) or 'names'}; it has: {', '.join(heading)}.")
    if len(set(heading)) < len(heading):
        raise DataError(f"'{where}' has a column twice: {', '.join(heading)}.")
    for line, row in rows[1:]:
        if len(row) != len(heading):
            raise DataError(f"'{where}' line {line} has {len(row)} cells, the heading {len(heading)}.")
    lines = [line for line, _ in rows[1:]]
    return {name: _column(name, [row[k] for _, row in rows[1:]], lines, where) for k, name in enumerate(heading)}


def numbers(cells: Sequence[str], lines: Sequence[int], name: str, where: str) -> Array:
    """Cells as float64; an empty cell is NaN.

    Raises:
        DataError: a cell that is no number; file, line and column are named.
    """
    found = np.empty(len(cells))
    for k, text in enumerate(cells):
        try:
            found[k] = float(text) if text else np.nan
        except ValueError:
            raise DataError(f"'{where}' line {lines[k]}: {name} is '{text}', a number is wanted.") from None
    return found


def _column(name: str, cells: list[str], lines: list[int], where: str) -> Array:
    if name in WORDS:
        return np.array(cells, dtype=np.str_)
    lowered = [c.lower() for c in cells]
    if name == "danger":
        for line, text in zip(lines, lowered, strict=True):
            if text not in _YES:
                raise DataError(f"'{where}' line {line}: danger is '{text}', allowed are true/false, yes/no, 1/0.")
        return np.array([_YES[text] for text in lowered], dtype=np.bool_)
    if cells and set(lowered) <= {"true", "false"}:
        return np.array([text == "true" for text in lowered])
    if name in _NUMERIC or all(map(is_number, cells)):
        if cells and all(c.lstrip("+-").isdigit() and len(c) < 19 for c in cells):
            return np.array([int(c) for c in cells], dtype=np.int64)
        return numbers(cells, lines, name, where)
    return np.array(cells, dtype=np.str_)


_NUMERIC = frozenset(
    {"i", "id", "t", "t_s", "x", "y", "z", "yaw", "l", "w", "h", "vx", "vy", "qw", "qx", "qy", "qz", "px", "py", "pz"}
    | {"fx", "fy", "cx", "cy", "range_m", "object_id", "ttc_true", "closing_true", "d_cpa_true", "speed", "tti"}
)


def is_number(text: str) -> bool:
    """True for what reads as a number, NaN and an empty cell among them."""
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True
