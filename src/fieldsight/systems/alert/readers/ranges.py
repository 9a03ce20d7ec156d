"""Tables of ranges: ``t,range_m[,id]``, and what ``rostopic echo -p`` writes for Range and LaserScan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.building import Raw, build
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.readers.arrays import seconds
from fieldsight.systems.alert.recording import Array, Manifest, Recording
from fieldsight.systems.alert.store import TABLE_LIMIT, Folder
from fieldsight.systems.alert.tables import is_number, numbers, rows_of

#: Rows of the picture that a flat scan becomes: the least that an engine takes, all at the scanner's height.
SCAN_ROWS = 6

_TIME = ("t", "time", "t_s", "timestamp", "%time", "seconds")
_RANGE = ("range_m", "range", "distance", "distance_m", "r", "range_mm", "field.range")


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Rows of a table file with their line numbers.

    Raises:
        DataError: absent, too large, no text, empty.
    """
    rows = rows_of(Folder(path.parent).read(path.name, TABLE_LIMIT), str(path))
    if not rows:
        raise DataError(f"'{path}' holds no row.")
    return rows


def kind_of(heading: list[str]) -> str:
    """``scan``, ``series``, ``cloud`` or ``""`` by the first row of a table."""
    names = [name.lower() for name in heading]
    if any(name.startswith("field.ranges") for name in names):
        return "scan"
    if any(n in _TIME for n in names) and any(n in _RANGE for n in names):
        return "series"
    if {"x", "y", "z"} <= set(names):
        return "cloud"
    return ""


def open_series(path: Path, options: SourceOptions) -> Recording:
    """A range series. With several ids, ``options.series`` names one; else the nearest at each time is taken.

    Raises:
        DataError: no times or ranges, a wrong cell with its line, no such id.
    """
    rows = read_rows(path)
    heading = [name.lower() for name in rows[0][1]]
    if kind_of(heading) == "series":
        rows = rows[1:]
    elif is_number(rows[0][1][0]) and len(rows[0][1]) in (2, 3):
        heading = ["t", "range_m", "id"][: len(rows[0][1])]
    else:
        raise DataError(f"'{path}' is no range series: it has the columns {', '.join(heading)}; t,range_m are wanted.")
    time, value = (next(n for n in names if n in heading) for names in (_TIME, _RANGE))
    table = _columns(rows, heading, (time, value), path)
    ids = [row[heading.index("id")] if "id" in heading else "" for _, row in rows]
    times, ranges = _clock(table[time], time, path), table[value]
    notes: tuple[str, ...] = ()
    names = sorted(set(ids))
    if options.series:
        if options.series not in names:
            raise DataError(f"'{path}' has no series '{options.series}'. It has: {', '.join(names[:20])}.")
        keep = np.array([one == options.series for one in ids])
        times, ranges = times[keep], ranges[keep]
    elif len(names) > 1:
        times, ranges = _nearest(times, ranges)
        notes = (f"{len(names)} series in one table: the nearest at each time is taken (series=ID picks one)",)
    scale = 1e-3 if value == "range_mm" else 0.0  # that it says metres is checked
    raw = Raw(
        path.stem, times, lambda i: ranges[i].reshape(1, 1), scale=scale, notes=notes, manifest=Manifest(kind="range")
    )
    return build(raw, options)


def _clock(stamps: Array, column: str, path: Path) -> Array:
    """Seconds; ROS counts nanoseconds, also in a simulation that begins at 0."""
    return seconds(stamps / 1e9 if column == "%time" else stamps, str(path))


def _nearest(times: Array, ranges: Array) -> tuple[Array, Array]:
    """The least range at each distinct time, in the order in which the times first come."""
    distinct, first, group = np.unique(times, return_index=True, return_inverse=True)
    least = np.full(len(distinct), np.inf)
    np.fmin.at(least, group, np.where(ranges > 0, ranges, np.inf))
    order = np.argsort(first)
    return distinct[order], np.where(np.isfinite(least), least, np.nan)[order]


def open_scan(path: Path, options: SourceOptions) -> Recording:
    """LaserScan rows as pictures of :data:`SCAN_ROWS` equal rows, all at the height of the scanner.

    Beams within 80 degrees of straight ahead are projected to a pinhole; the nearest wins a pixel.

    Raises:
        DataError: a field missing, a wrong cell with its line, beams that change from row to row.
    """
    rows = read_rows(path)
    heading = rows[0][1]
    fields = ("field.angle_min", "field.angle_increment", "field.range_min", "field.range_max")
    beams = [name for name in heading if name.startswith("field.ranges")]
    missing = [name for name in ("%time", *fields) if name not in heading]
    if missing:
        raise DataError(f"'{path}' is no LaserScan table: it lacks {', '.join(missing)}.")
    table = _columns(rows[1:], heading, ("%time", *fields, *beams), path)
    if len(rows) < 2:
        raise DataError(f"'{path}' holds no scan: it has a heading only.")
    for name in fields[:2]:
        if np.ptp(table[name]) > 1e-6:
            raise DataError(f"'{path}': {name} changes from row to row, from {table[name][0]:g}. Export one scanner.")
    angles = table[fields[0]][0] + np.arange(len(beams)) * table[fields[1]][0]
    angles = (angles + np.pi) % (2 * np.pi) - np.pi
    ahead = np.abs(angles) <= np.radians(80)
    if not ahead.any() or table[fields[1]][0] == 0:
        raise DataError(f"'{path}': no beam looks ahead: angle_min is {table[fields[0]][0]:g} rad.")
    ranges = np.stack([table[name] for name in np.array(beams)[ahead]], axis=1)
    low, high = table["field.range_min"][:, None], table["field.range_max"][:, None]
    ranges = np.where((ranges >= low) & (ranges <= high), ranges, np.nan)
    angles = angles[ahead]
    half = float(np.abs(angles).max())
    width = int(np.clip(round(2 * np.tan(half) / abs(table[fields[1]][0])), 12, 2048))
    focal = (width / 2) / np.tan(half)
    middle = (width - 1) / 2
    columns = np.clip(np.round(middle - focal * np.tan(angles)), 0, width - 1).astype(np.int64)  # left is positive
    K = np.array([[focal, 0.0, middle], [0.0, 1e6, (SCAN_ROWS - 1) / 2], [0.0, 0.0, 1.0]])

    def depth(i: int) -> Array:
        row = np.full(width, np.inf)
        np.fmin.at(row, columns, np.where(ranges[i] > 0, ranges[i] * np.cos(angles), np.inf))
        return np.repeat(np.where(np.isfinite(row), row, np.nan)[None], SCAN_ROWS, axis=0)

    longest = float(np.nanmax(high)) if np.isfinite(high).any() else None
    times = _clock(table["%time"], "%time", path)
    manifest = Manifest(kind="lidar", max_range=longest)
    return build(Raw(path.stem, times, depth, lambda i: K, scale=1.0, manifest=manifest), options)


def _columns(
    rows: list[tuple[int, list[str]]], heading: list[str], names: tuple[str, ...], path: Path
) -> dict[str, Array]:
    lines = [line for line, _ in rows]
    for line, row in rows:
        if len(row) != len(heading):
            raise DataError(f"'{path}' line {line} has {len(row)} cells, the heading {len(heading)}.")
    at = {name: heading.index(name) for name in names}
    return {name: numbers([row[k] for _, row in rows], lines, name, str(path)) for name, k in at.items()}
