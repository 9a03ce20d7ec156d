"""Files that nobody should send. Not in conftest.py: every folder of tests has one, and only one can be imported so."""

from __future__ import annotations

from pathlib import Path


def bomb(path: Path) -> None:
    """A picture of a few kilobytes that claims to be 60,000 pixels a side."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 60_000
    rows = zlib.compress(b"\0" * (side // 8 + 1) * 64)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
