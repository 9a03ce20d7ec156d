"""LZW as TIFF packs with it; apart, since compiling takes long to import."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled


@compiled
def unlzw(data: NDArray[np.uint8], out: NDArray[np.uint8]) -> bool:
    """Unpack bytes until ``out`` is full: TIFF 6.0, section 13 (codes of 9 to 12 bits, high bit first).

    Returns:
        False if the data is damaged.
    """
    start, length = np.zeros(4097, np.int64), np.zeros(4097, np.int64)  # of each code's string in the output
    at, bits, used, size, following = 0, 0, 0, 9, 258
    held, last = 0, -1
    while used < len(out):
        while bits < size:
            if at == len(data):
                return False
            held = ((held << 8) | data[at]) & 0xFFFFFF
            at += 1
            bits += 8
        code = (held >> (bits - size)) & ((1 << size) - 1)
        bits -= size
        if code == 257:
            return False  # the end, too early
        if code == 256:
            size, following, last = 9, 258, -1
            continue
        begin = used
        if code < 256:
            out[used] = code
            used += 1
        elif last < 0 or code > following:
            return False
        else:
            first, count = (start[code], length[code]) if code < following else (last, begin - last + 1)
            for k in range(min(count, len(out) - used)):
                out[used] = out[first + k]
                used += 1
        if last >= 0 and following < 4096:
            start[following], length[following] = last, begin - last + 1
            following += 1
        if following >= (1 << size) - 1 and size < 12:
            size += 1
        last = begin
    return True
