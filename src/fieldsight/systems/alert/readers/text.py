"""Tables and matrices in text files of a source, with file and line named where a cell is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.poses import is_lens
from fieldsight.systems.alert.recording import Array
from fieldsight.systems.alert.store import TABLE_LIMIT, Store, check_name
from fieldsight.systems.alert.tables import is_number, numbers, rows_of


def table_of(store: Store, name: str, columns: int) -> list[tuple[int, list[str]]]:
    """Rows of a table, a heading left off, each with its line number and at least so many cells.

    Raises:
        DataError: no row, or one that is too short.
    """
    where = f"{store.name}: {name}"
    rows = rows_of(store.read(name, TABLE_LIMIT), where)
    if rows and not is_number(rows[0][1][0]) and columns > 1:
        rows = rows[1:]  # a heading that no comment sign marks
    for line, row in rows:
        if len(row) < columns:
            raise DataError(f"'{where}' line {line} has {len(row)} cells, {columns} are wanted.")
    if not rows:
        raise DataError(f"'{where}' holds no row.")
    return rows


def matrix_of(rows: list[tuple[int, list[str]]], columns: int, where: str) -> Array:
    """The first ``columns`` cells of each row as float64 ``(rows, columns)``.

    Raises:
        DataError: a cell that is no number.
    """
    for line, row in rows:
        if len(row) < columns:
            raise DataError(f"'{where}' line {line} has {len(row)} cells, {columns} are wanted.")
    lines = [line for line, _ in rows]
    return np.stack(
        [numbers([row[k] for _, row in rows], lines, f"column {k + 1}", where) for k in range(columns)], axis=1
    )


def values_of(store: Store, name: str, size: int) -> Array:
    """All numbers of a text file, ``(size,)``; a size of 0 takes any.

    Raises:
        DataError: a cell that is no number, or another count.
    """
    where = f"{store.name}: {name}"
    rows = rows_of(store.read(name, 2**20), where)
    cells = [(line, cell) for line, row in rows for cell in row if cell]
    found = numbers([cell for _, cell in cells], [line for line, _ in cells], "a cell", where)
    if size and found.size != size:
        raise DataError(f"'{where}' has {found.size} numbers, {size} are wanted.")
    return found


def check_there(store: Store, files: Sequence[str], where: str) -> None:
    """See that the pictures a table names are there; single ones may be missing, they become empty frames.

    Raises:
        DataError: none is there, or a name leads out of the source.
    """
    missing = [name for name in files if check_name(name, where) not in store.names()]
    if len(missing) == len(files):
        raise DataError(f"'{where}' names {len(files)} pictures, none of them is there: '{missing[0]}' is the first.")


def json_of(store: Store, name: str) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        DataError: absent, no JSON, or no object.
    """
    where = f"'{store.name}': {name}"
    try:
        found = json.loads(store.read(name, 64 * 2**20))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise DataError(f"{where} holds no JSON object.")
    return found


def lens_in(store: Store, name: str) -> Array:
    """Intrinsics ``(3, 3)`` out of a text file with 4 (fx fy cx cy), 9 or 16 numbers.

    Raises:
        DataError: another count, numbers that are not finite, focal lengths that are not above 0.
    """
    values = values_of(store, name, 0)
    if values.size == 4:
        K = np.array([[values[0], 0, values[2]], [0, values[1], values[3]], [0, 0, 1.0]])
    elif values.size in (9, 16):
        side = int(values.size**0.5)
        K = values.reshape(side, side)[:3, :3]
    else:
        raise DataError(f"'{store.name}': {name} has {values.size} numbers; 4 (fx fy cx cy) or 9 are wanted.")
    if not is_lens(K):
        raise DataError(
            f"'{store.name}': {name}: focal lengths are finite and above 0, got {K[0, 0]:g} and {K[1, 1]:g}."
        )
    return K
