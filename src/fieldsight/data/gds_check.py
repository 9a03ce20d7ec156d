"""Is a GDSII file built as the format says? Asked before a reader in C++ sees it, which a broken file can crash.

A GDSII file is a chain of records: two bytes of length, a record type, a data type, the data. Libraries hold
structures, structures hold elements; each record type stands in its place and holds its kind of data.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from fieldsight.errors import DataError

_HEADER, _LIBRARY, _NAME, _UNITS, _END, _BEGIN, _CELL, _END_CELL = range(8)
_END_ELEMENT, _XY, _SNAME, _COLROW, _ATTRIBUTE, _VALUE, _STRING = 0x11, 0x10, 0x12, 0x13, 0x2B, 0x2C, 0x19

#: Record type to the data type it holds and the bytes of one item; 0 bytes: text or anything.
_DATA: dict[int, tuple[int, int]] = {
    0x00: (2, 2), 0x01: (2, 2), 0x02: (6, 0), 0x03: (5, 8), 0x04: (0, 0), 0x05: (2, 2), 0x06: (6, 0), 0x07: (0, 0),
    0x08: (0, 0), 0x09: (0, 0), 0x0A: (0, 0), 0x0B: (0, 0), 0x0C: (0, 0), 0x0D: (2, 2), 0x0E: (2, 2), 0x0F: (3, 4),
    0x10: (3, 8), 0x11: (0, 0), 0x12: (6, 0), 0x13: (2, 2), 0x15: (0, 0), 0x16: (2, 2), 0x17: (1, 2), 0x19: (6, 0),
    0x1A: (1, 2), 0x1B: (5, 8), 0x1C: (5, 8), 0x1F: (6, 0), 0x20: (6, 0), 0x21: (2, 2), 0x22: (2, 2), 0x23: (6, 0),
    0x26: (1, 2), 0x2A: (2, 2), 0x2B: (2, 2), 0x2C: (6, 0), 0x2D: (0, 0), 0x2E: (2, 2), 0x2F: (3, 4), 0x30: (3, 4),
    0x31: (3, 4), 0x34: (1, 2), 0x36: (2, 2), 0x37: (6, 0), 0x38: (0, 0), 0x39: (2, 2), 0x3A: (6, 0), 0x3B: (2, 2),
}  # fmt: skip

#: Exact number of items, where there is one; 0: none at all.
_ITEMS = {
    0x03: 2, 0x04: 0, 0x07: 0, 0x08: 0, 0x09: 0, 0x0A: 0, 0x0B: 0, 0x0C: 0, 0x0D: 1, 0x0E: 1, 0x0F: 1, 0x11: 0,
    0x13: 2, 0x15: 0, 0x16: 1, 0x17: 1, 0x1A: 1, 0x1B: 1, 0x1C: 1, 0x21: 1, 0x26: 1, 0x2A: 1, 0x2B: 1, 0x2D: 0,
    0x2E: 1, 0x2F: 1, 0x30: 1, 0x31: 1, 0x38: 0,
}  # fmt: skip

#: Element type to what it must hold before it ends, and its least number of points.
_ELEMENTS: dict[int, tuple[tuple[int, ...], int]] = {
    0x08: ((_XY,), 3), 0x09: ((_XY,), 1), 0x0A: ((_XY, _SNAME), 1), 0x0B: ((_XY, _SNAME, _COLROW), 3),
    0x0C: ((_XY, _STRING), 1), 0x15: ((), 1), 0x2D: ((_XY,), 4),
}  # fmt: skip

_IN_ELEMENT = frozenset(
    (0x0D, 0x0E, 0x0F, 0x10, 0x12, 0x13, 0x16, 0x17, 0x19, 0x1A, 0x1B, 0x1C, 0x21, 0x26, 0x2A, 0x2B, 0x2C, 0x2E, 0x2F,
     0x30, 0x31)
)  # fmt: skip
_IN_HEAD = frozenset((0x01, 0x02, 0x1F, 0x20, 0x22, 0x23, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x3B))
_MAY_BE_EMPTY = (0x02, _STRING, _VALUE)


def check_gds(path: Path) -> None:
    """Walk the records of a file.

    Raises:
        DataError: a record that is cut, unknown, of the wrong kind or size, or out of its place; names the byte.
    """
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError) as error:
            raise DataError(f"'{path}' is no GDSII file that can be read: {error}.") from None
        with data:
            at, problem = _walk(data)
    if problem:
        raise DataError(f"'{path}' is no GDSII file that can be read: at byte {at:,} {problem}.")


def _walk(data: mmap.mmap) -> tuple[int, str]:
    """Position and description of the first fault; no description where all is well."""
    end, at, place = len(data), 0, "start"
    read = struct.Struct(">HBB").unpack_from
    while at + 4 <= end:
        length, kind, form = read(data, at)
        if length < 4 or length % 2 or at + length > end:
            return at, "a record is cut or has an impossible length"
        sizes = _SIZES.get(kind << 8 | form)
        if sizes is None or (length != sizes[0] if sizes[0] else (length - 4) % sizes[1] or length < sizes[2]):
            return at, f"record {kind:#04x} is unknown or holds other data than it should"
        if place == "cell" and kind in _ELEMENTS:
            at, problem = _element(data, at + 4, end, kind)
            if problem:
                return at, problem
            continue
        following = _NEXT.get((place, kind))
        if following is None:
            return at, f"record {kind:#04x} is out of place"
        if following == "end":
            return at, ""
        place = following
        at += length
    return at, "it ends too early"


def _element(data: mmap.mmap, at: int, end: int, element: int) -> tuple[int, str]:
    """Walk the records of one element from its second on; returns the position after it, or of the fault."""
    read = struct.Struct(">HBB").unpack_from
    needed, points = _ELEMENTS[element]
    sizes, inside = _SIZES, _IN_ELEMENT
    held = 0
    while at + 4 <= end:
        length, kind, form = read(data, at)
        if length < 4 or length % 2 or at + length > end:
            return at, "a record is cut or has an impossible length"
        known = sizes.get(kind << 8 | form)
        if known is None or (length != known[0] if known[0] else (length - 4) % known[1] or length < known[2]):
            return at, f"record {kind:#04x} is unknown or holds other data than it should"
        if kind == _END_ELEMENT:
            missing = [n for n in needed if not held >> n & 1]
            return at + 4, f"an element {element:#04x} ends without record {missing[0]:#04x}" if missing else ""
        if kind not in inside:
            return at, f"record {kind:#04x} stands inside an element"
        if kind == _XY and length < 4 + 8 * points:
            return at, f"an element {element:#04x} has too few points"
        if kind == _VALUE and not held >> _ATTRIBUTE & 1:
            return at, "a property has a value but no number"
        held |= 1 << kind
        at += length
    return at, "it ends inside an element"


def _sizes() -> dict[int, tuple[int, int, int]]:
    """Record and data type in one number to exact length (0: any), divisor and least length."""
    found = {}
    for kind, (form, item) in _DATA.items():
        items = _ITEMS.get(kind)
        exact = 0 if items is None else 4 + items * item
        found[kind << 8 | form] = (exact, item or 1, 4 if kind in _MAY_BE_EMPTY else 5)
    return found


_SIZES = _sizes()

#: Place and record to the next place.
_NEXT = {
    ("start", _HEADER): "head",
    **{("head", kind): "head" for kind in _IN_HEAD},
    ("head", _UNITS): "library",
    ("library", _BEGIN): "named",
    ("library", _END): "end",
    ("named", _CELL): "cell",
    **{("cell", kind): "cell" for kind in (0x34, _ATTRIBUTE, _VALUE)},
    ("cell", _END_CELL): "library",
}
