"""Points out of files: PCD (ascii, binary), PLY (ascii, binary little endian), KITTI ``.bin``, and text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError
from fieldsight.systems.alert.store import FRAME_LIMIT, Folder
from fieldsight.systems.alert.tables import is_number, numbers, rows_of

#: Endings of clouds.
ENDINGS = (".pcd", ".ply", ".bin", ".xyz")

_PCD = {"F": "f", "I": "i", "U": "u"}
_PLY = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


def read_cloud(path: Path) -> NDArray[np.float32]:
    """Points ``(N, 3)`` float32 in metres as the file has them; points that are not finite are left out.

    Raises:
        DataError: absent, of another kind, truncated, compressed, or larger than 128 MB.
    """
    data = Folder(path.parent).read(path.name, FRAME_LIMIT)
    suffix, where = path.suffix.lower(), f"'{path}'"
    if suffix == ".pcd":
        points = _pcd(data, where)
    elif suffix == ".ply":
        points = _ply(data, where)
    elif suffix == ".bin":
        if len(data) % 16:
            raise DataError(f"{where} has {len(data)} bytes; a KITTI scan is four float32 a point.")
        points = np.frombuffer(data, dtype="<f4").reshape(-1, 4)[:, :3]
    else:
        points = _text(data, where)
    with np.errstate(over="ignore"):
        found = points.astype(np.float32)
    return found[np.isfinite(found).all(axis=1)]


def _pcd(data: bytes, where: str) -> NDArray[np.float64]:
    header: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in header:
        end = data.find(b"\n", at, at + 4096)
        if end < 0:
            raise DataError(f"{where} is no PCD: its header has no DATA line.")
        words = data[at:end].decode("latin-1").split()
        at = end + 1
        if words and not words[0].startswith("#"):
            header[words[0].upper()] = words[1:]
    try:
        fields, sizes, kinds = header["FIELDS"], [int(s) for s in header["SIZE"]], header["TYPE"]
        counts = [int(c) for c in header.get("COUNT", ["1"] * len(fields))]
        points = int(header["POINTS"][0]) if "POINTS" in header else int(header["WIDTH"][0]) * int(header["HEIGHT"][0])
        form = header["DATA"][0].lower()
        rows = zip(fields, sizes, kinds, counts, strict=True)
        kind = np.dtype([(f"{n}{k}", f"<{_PCD[t]}{s}", (c,)) for k, (n, s, t, c) in enumerate(rows)])
        columns = [fields.index(axis) for axis in "xyz"]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(f"{where} is no PCD with x, y and z: its header is damaged ({error}).") from None
    if form == "ascii":
        firsts = np.cumsum([0, *counts])[columns]
        return _lines(data[at:], [int(f) for f in firsts], points, where)
    if form != "binary":
        raise DataError(f"{where} is packed (DATA {form}). Save it as binary: pcl_convert_pcd_ascii_binary IN OUT 1.")
    return _records(data[at:], kind, points, columns, where)


def _ply(data: bytes, where: str) -> NDArray[np.float64]:
    end = data.find(b"end_header", 0, 65536)
    if not data.startswith(b"ply") or end < 0:
        raise DataError(f"{where} is no PLY: it lacks 'ply' or 'end_header'.")
    form, points, names, kinds, element = "", 0, [], [], ""
    try:
        for line in data[:end].decode("latin-1").splitlines():
            words = line.split()
            if words[:1] == ["format"]:
                form = words[1]
            elif words[:1] == ["element"]:
                if not element and words[1] != "vertex":
                    raise DataError(f"{where}: its first element is '{words[1]}', vertex is wanted.")
                element = words[1]
                points = int(words[2]) if element == "vertex" else points
            elif words[:1] == ["property"] and element == "vertex":
                kinds.append(_PLY[words[1]])
                names.append(words[2])
        columns = [names.index(axis) for axis in "xyz"]
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(f"{where} is no PLY with x, y and z: its header is damaged ({error}).") from None
    body = data[data.index(b"\n", end) + 1 :] if b"\n" in data[end:] else b""
    if form == "ascii":
        return _lines(body, columns, points, where)
    if form != "binary_little_endian":
        raise DataError(f"{where} is '{form}'; ascii and binary_little_endian are read. Save it as one of them.")
    kind = np.dtype([(f"{name}{k}", f"<{t}") for k, (name, t) in enumerate(zip(names, kinds, strict=True))])
    return _records(body, kind, points, columns, where)


def _records(body: bytes, kind: np.dtype[np.void], points: int, columns: list[int], where: str) -> NDArray[np.float64]:
    if points < 0 or kind.itemsize == 0 or points * kind.itemsize > len(body):
        raise DataError(
            f"{where} is cut short: {points} points of {kind.itemsize} bytes are named, {len(body)} bytes are there."
        )
    records = np.frombuffer(body, dtype=kind, count=points)
    assert kind.names is not None
    return np.stack([records[kind.names[k]].reshape(points, -1)[:, 0].astype(np.float64) for k in columns], axis=1)


def _lines(body: bytes, columns: list[int], points: int, where: str) -> NDArray[np.float64]:
    rows = rows_of(body, where)[:points]
    if len(rows) < points:
        raise DataError(f"{where} is cut short: it names {points} points and holds {len(rows)}.")
    return _table(rows, columns, where)


def _text(data: bytes, where: str) -> NDArray[np.float64]:
    rows = rows_of(data, where)
    columns = [0, 1, 2]
    if rows and not is_number(rows[0][1][0]):
        heading = [name.lower() for name in rows[0][1]]
        if not {"x", "y", "z"} <= set(heading):
            raise DataError(f"{where} has no columns x, y and z; it has: {', '.join(heading)}.")
        columns, rows = [heading.index(axis) for axis in "xyz"], rows[1:]
    return _table(rows, columns, where)


def _table(rows: list[tuple[int, list[str]]], columns: list[int], where: str) -> NDArray[np.float64]:
    for line, row in rows:
        if len(row) <= max(columns):
            raise DataError(f"{where} line {line} has {len(row)} cells, x, y and z are wanted.")
    lines = [line for line, _ in rows]
    name = where.strip("'")
    return np.stack([numbers([row[k] for _, row in rows], lines, f"column {k + 1}", name) for k in columns], axis=1)
