"""JPEG lossless (ITU-T T.81, process 14), the packing of angiograms on discs; apart, since compiling takes long.

DICOM's profile for cardiac discs wants this packing, and the usual picture libraries do not read it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled
from fieldsight.errors import DataError

#: Markers: start of frame (lossless, Huffman), tables, scan, restart interval.
_SOF3, _DHT, _SOS, _DRI = 0xC3, 0xC4, 0xDA, 0xDD

#: Frame markers of other kinds of JPEG.
_OTHER = {*range(0xC0, 0xD0)} - {_SOF3, _DHT, 0xC8, 0xCC}

Codes = NDArray[np.int32]


@dataclass
class _Head:
    """What stands before the packed numbers: size, bits, tables by number, restart interval, and the scan."""

    precision: int = 0
    rows: int = 0
    columns: int = 0
    components: int = 0
    restart: int = 0
    predictor: int = 1
    shift: int = 0
    start: int = 0


def decode_lossless(data: bytes, rows: int, columns: int, components: int) -> NDArray[np.uint16]:
    """Unpack a lossless JPEG of one scan.

    Args:
        data: the file.
        rows: wanted; another size is refused before anything is unpacked.
        columns: wanted.
        components: numbers a pixel, 1 or 3.

    Returns:
        uint16 ``(rows, columns)``, or ``(rows, columns, components)`` for 3.

    Raises:
        DataError: another kind of JPEG, another size, or damaged.
    """
    try:
        head, tables = _parse(data)
    except (struct.error, IndexError, KeyError, ValueError):
        raise DataError("the JPEG's header is damaged") from None
    if (head.rows, head.columns, head.components) != (rows, columns, components):
        raise DataError(
            f"the JPEG has {head.columns} x {head.rows} pixels of {head.components} number(s) inside, not {columns} x "
            f"{rows} of {components}"
        )
    out = np.zeros((rows, columns, components), np.uint16)
    packed = np.frombuffer(data, np.uint8)[head.start :]
    good = _unpack(packed, tables, head.precision - head.shift, head.predictor, head.restart, out)
    if not good:
        raise DataError("the JPEG's numbers are damaged")
    out <<= np.uint16(head.shift)
    return out[..., 0] if components == 1 else out


def _parse(data: bytes) -> tuple[_Head, NDArray[np.int32]]:
    """Head, and the Huffman table of each component of the scan ``(components, 3 * 17 + 256)``."""
    head, tables, numbers = _Head(), dict[int, Codes](), list[int]()
    if data[:2] != b"\xff\xd8":
        raise ValueError
    at = 2
    while True:
        while data[at] == 0xFF:  # any number of them fills up before a marker
            at += 1
        marker, length = data[at], struct.unpack_from(">H", data, at + 1)[0]
        part, at = data[at + 3 : at + 1 + length], at + 1 + length
        if marker == _DHT:
            tables |= _tables(part)
        elif marker == _DRI:
            head.restart = struct.unpack(">H", part)[0]
        elif marker == _SOF3:
            head.precision, head.rows, head.columns, head.components = struct.unpack_from(">BHHB", part)
            numbers = [part[6 + 3 * n] for n in range(head.components)]
            if any(part[7 + 3 * n] != 0x11 for n in range(head.components)) or not 2 <= head.precision <= 16:
                raise ValueError
        elif marker in _OTHER:
            raise ValueError
        elif marker == _SOS:
            break
        if data[at] != 0xFF:
            raise ValueError
    scan = {part[1 + 2 * n]: part[2 + 2 * n] >> 4 for n in range(part[0])}
    head.predictor, _, low = struct.unpack_from("3B", part, 1 + 2 * part[0])
    head.shift, head.start = low & 15, at
    if list(scan) != numbers or not 1 <= head.predictor <= 7 or head.shift >= head.precision:
        raise ValueError
    return head, np.stack([tables[scan[n]] for n in numbers])


def _tables(part: bytes) -> dict[int, Codes]:
    """Huffman tables by number: of each code length 0 to 16 the largest code, the first code, the place of its first
    value (T.81, F.2.2.3); then the values."""
    found = {}
    while part:
        counts, values = part[1:17], part[17 : 17 + sum(part[1:17])]
        if len(counts) < 16 or len(values) < sum(counts) or len(values) > 256:
            raise ValueError
        table = np.full(3 * 17 + 256, -1, np.int32)
        code, place = 0, 0
        for length in range(1, 17):
            table[17 + length], table[34 + length] = code, place
            code, place = code + counts[length - 1], place + counts[length - 1]
            if counts[length - 1]:
                table[length] = code - 1
            if code > 1 << length:
                raise ValueError
            code <<= 1
        table[51 : 51 + len(values)] = list(values)
        found[part[0] & 15] = table
        part = part[17 + len(values) :]
    return found


@compiled
def _predicted(out: NDArray[np.uint16], y: int, x: int, c: int, first: int, predictor: int, bits: int) -> int:
    """Prediction from the neighbours to the left, above, and above left (T.81, table H.1)."""
    if y == first:
        return np.int64(out[y, x - 1, c]) if x else 1 << (bits - 1)
    above = np.int64(out[y - 1, x, c])
    if x == 0 or predictor == 2:
        return above
    left, corner = np.int64(out[y, x - 1, c]), np.int64(out[y - 1, x - 1, c])
    if predictor == 1:
        return left
    if predictor == 3:
        return corner
    if predictor == 4:
        return left + above - corner
    if predictor == 5:
        return left + ((above - corner) >> 1)
    if predictor == 6:
        return above + ((left - corner) >> 1)
    return (left + above) >> 1


@compiled
def _fill(data: NDArray[np.uint8], state: NDArray[np.int64]) -> None:
    """Hold at least 32 bits, zeros where a marker or the end is reached.

    ``state`` is place, bits held, their number, and how many of them are such zeros. A byte of ones is followed by a
    zero; else it is a marker.
    """
    at, held, left = state[0], state[1], state[2]
    while left <= 40:
        if at < len(data) and (data[at] != 0xFF or (at + 1 < len(data) and data[at + 1] == 0)):
            held = (held << 8) | np.int64(data[at])
            at += 2 if data[at] == 0xFF else 1
        else:
            held <<= 8
            state[3] += 8
        left += 8
    state[0], state[1], state[2] = at, held, left


@compiled
def _difference(data: NDArray[np.uint8], state: NDArray[np.int64], table: NDArray[np.int32]) -> int:
    """The next difference; 2**20 where the data is damaged."""
    if state[2] < 32:
        _fill(data, state)
    held, left = state[1], state[2]
    ahead = (held >> (left - 16)) & 0xFFFF
    length = 1
    while length < 17 and ahead >> (16 - length) > table[length]:
        length += 1
    if length == 17:
        return 1 << 20
    place = table[34 + length] + (ahead >> (16 - length)) - table[17 + length]
    size = np.int64(table[51 + place]) if 0 <= place < 256 else -1
    bits = size if size < 16 else 0
    left -= length + bits
    if size < 0 or size > 16 or left < state[3]:  # beyond the last bit
        return 1 << 20
    extra = (held >> left) & ((1 << bits) - 1)
    state[1], state[2] = held & ((1 << left) - 1), left
    if size == 16:
        return 32768
    return extra if bits == 0 or extra >> (bits - 1) else extra - (1 << bits) + 1


@compiled
def _unpack(
    data: NDArray[np.uint8], tables: NDArray[np.int32], bits: int, predictor: int, restart: int,
    out: NDArray[np.uint16],
) -> bool:  # fmt: skip
    """Fill ``out`` ``(H, W, C)`` with predictions and differences (T.81, H.1.2); False where the data is damaged."""
    rows, columns, components = out.shape
    state = np.zeros(4, np.int64)
    first = 0  # row at which the predictions began anew
    for y in range(rows):
        if restart and y and (y * columns) % restart == 0:
            at, first = state[0], y
            state[1:] = 0
            while at + 1 < len(data) and not (data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7):
                at += 1
            state[0] = at + 2
        for x in range(columns):
            for c in range(components):
                difference = _difference(data, state, tables[c])
                if difference == 1 << 20:
                    return False
                out[y, x, c] = (_predicted(out, y, x, c, first, predictor, bits) + difference) & 0xFFFF
    return True
