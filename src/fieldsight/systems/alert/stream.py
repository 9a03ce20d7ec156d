r"""The wire format of live depth: a line of JSON, then the raw picture; over stdin, TCP or WebSocket.

::

    {"t": 12.5, "shape": [192, 256], "dtype": "<f2", "K": [9 numbers], "pose": [16 numbers], "confidence": true}\n
    192 * 256 * 2 bytes of depth, rows first; then 192 * 256 bytes of confidence where the line says so

``<f2`` and ``<f4`` are metres, ``<u2`` millimetres; 0, negative and NaN mean that nothing came back. ``K``, ``pose``
and ``confidence`` may be left out. A range is ``[1, 1]``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fieldsight.errors import DataError
from fieldsight.systems.alert.frames import metres, millimetres
from fieldsight.systems.alert.recording import Array, Frame

#: Bytes of a header line, with its newline.
MAX_HEADER = 64 * 1024

#: Pixels of a frame.
MAX_PIXELS = 4_000_000

_UNITS = {"<f2": 1.0, "<f4": 1.0, "<u2": 1e-3}

Dtype = Literal["<f2", "<f4", "<u2"]


def encode(frame: Frame, dtype: Dtype = "<f2") -> bytes:
    """A frame as bytes to send.

    Args:
        frame: its depth is ``(H, W)`` metres.
        dtype: ``<f2`` (16 mm at 20 m), ``<f4``, or ``<u2`` for whole millimetres up to 65 m.

    Raises:
        DataError: more than :data:`MAX_PIXELS`, or a time that is not finite.
    """
    depth = np.asarray(frame.depth)
    if depth.ndim != 2 or not 0 < depth.size <= MAX_PIXELS or not math.isfinite(frame.t):
        raise DataError(f"A frame to send is (H, W) with a finite time, got {depth.shape} at {frame.t}.")
    header: dict[str, Any] = {"t": float(frame.t), "shape": list(depth.shape), "dtype": dtype}
    if frame.K is not None:
        header["K"] = [float(v) for v in np.ravel(frame.K)]
    if frame.pose is not None and np.isfinite(frame.pose).all():
        header["pose"] = [float(v) for v in np.ravel(frame.pose)]
    header["confidence"] = frame.confidence is not None
    with np.errstate(over="ignore", invalid="ignore"):
        raw = millimetres(depth) if dtype == "<u2" else np.where(depth > 0, depth, np.nan).astype(dtype)
    tail = b"" if frame.confidence is None else np.ascontiguousarray(frame.confidence, dtype=np.uint8).tobytes()
    return json.dumps(header, allow_nan=False).encode() + b"\n" + raw.tobytes() + tail


@dataclass(frozen=True)
class _Header:
    t: float
    shape: tuple[int, int]
    dtype: str
    K: Array | None
    pose: Array | None
    confidence: bool

    @property
    def size(self) -> int:
        pixels = self.shape[0] * self.shape[1]
        return pixels * (int(self.dtype[-1]) + self.confidence)


class Decoder:
    """Takes bytes as they come and gives frames.

    Anything that is no message is named once by a :class:`DataError` and skipped up to the next header. Memory stays
    below one message and what is fed at once.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._header: _Header | None = None
        self._lost = False  # True between an error and the next header
        self._ready: list[Frame] = []

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that are whole after ``data``.

        Raises:
            DataError: what was wrong; the decoder then looks for the next header. Frames around it are not lost:
                they come with the next call, which may be ``feed(b"")``.
        """
        for found in self.events(data):
            if isinstance(found, DataError):
                raise found
            self._ready.append(found)
        ready, self._ready = self._ready, []
        return ready

    def events(self, data: bytes) -> Iterator[Frame | DataError]:
        """Frames and errors in their order; the errors are given, not raised."""
        self._buffer += data
        try:
            while True:
                found = self._frame() if self._header is not None else self._head()
                if found is None:
                    return
                if not isinstance(found, _Header):
                    yield found
        finally:
            del self._buffer[: self._at]
            self._at = 0

    def close(self) -> None:
        """Say that no more bytes come.

        Raises:
            DataError: the last message is not whole.
        """
        rest, header, lost = len(self._buffer) - self._at, self._header, self._lost
        pending = bytes(self._buffer[self._at :]).strip()
        self._buffer.clear()
        self._at, self._header, self._lost = 0, None, False
        if header is not None:
            raise DataError(f"The stream ended within a frame: {rest} of {header.size} bytes came.")
        if pending and not lost:
            raise DataError(f"The stream ended within a header: {rest} bytes without a newline came.")

    # each step gives a frame, an error, a header (go on), or None (more bytes are needed)

    def _head(self) -> _Header | DataError | None:
        buffer = self._buffer
        if self._lost:
            return self._search()
        while self._at < len(buffer) and buffer[self._at] in b"\r\n \t":
            self._at += 1
        if self._at == len(buffer):
            return None
        if buffer[self._at] != ord("{"):
            return self._lose(f"a header begins with '{{', got the byte 0x{buffer[self._at]:02x}")
        end = buffer.find(b"\n", self._at, self._at + MAX_HEADER)
        if end < 0:
            if len(buffer) - self._at >= MAX_HEADER:
                return self._lose(f"a header has at most {MAX_HEADER // 1024} kB, this one does not end")
            return None
        try:
            self._header = _parse(bytes(buffer[self._at : end]))
        except DataError as error:
            return self._lose(str(error))
        self._at = end + 1
        return self._header

    def _lose(self, reason: str) -> DataError:
        self._lost = True
        return DataError(f"The stream is not as it should be: {reason}. It is skipped up to the next header.")

    def _search(self) -> _Header | None:
        """The next line that ends in a header; what stands before it is dropped."""
        buffer = self._buffer
        while True:
            end = buffer.find(b"\n", self._at)
            if end < 0:
                self._at = max(self._at, len(buffer) - MAX_HEADER)  # a header may still be under way
                return None
            found = _last_header(bytes(buffer[max(self._at, end - MAX_HEADER) : end]))
            self._at = end + 1
            if found is not None:
                self._header, self._lost = found, False
                return found

    def _frame(self) -> Frame | DataError | None:
        header, buffer = self._header, self._buffer
        assert header is not None
        end = self._at + header.size
        if len(buffer) < end:
            return None
        self._header = None
        cut = _cut_short(buffer, self._at, end)
        if cut is not None:
            missing = end - cut
            self._at = cut
            return DataError(f"A frame was cut short: the next header came {missing} bytes early. It is skipped.")
        payload = bytes(buffer[self._at : end])
        self._at = end
        pixels = header.shape[0] * header.shape[1]
        raw = np.frombuffer(payload, dtype=header.dtype, count=pixels).reshape(header.shape)
        confidence = None
        if header.confidence:
            confidence = np.frombuffer(payload[-pixels:], dtype=np.uint8).reshape(header.shape)
        return Frame(metres(raw, _UNITS[header.dtype]), header.t, confidence, header.K, header.pose)


def _cut_short(buffer: bytearray, start: int, end: int) -> int | None:
    """Where a header of the next message stands within the bytes of a frame, or None: a sender broke off."""
    at = start
    for _ in range(64):  # chance gives a picture one or two of these two bytes
        at = buffer.find(b'{"', at, end + 1)  # one byte on: the last one missing is cut short too
        if at < 0:
            return None
        stop = buffer.find(b"\n", at, at + MAX_HEADER)
        if stop >= 0 and _valid(bytes(buffer[at:stop])) is not None:
            return at
        at += 1
    return None


def _last_header(line: bytes) -> _Header | None:
    at = len(line) if b'"shape"' in line else 0
    for _ in range(8):  # a line of garbage may hold any number of braces
        at = line.rfind(b"{", 0, at)
        if at < 0:
            return None
        found = _valid(line[at:])
        if found is not None:
            return found
    return None


def _valid(line: bytes) -> _Header | None:
    try:
        return _parse(line)
    except DataError:
        return None


def _parse(line: bytes) -> _Header:
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"a header is a line of JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError("a header is a JSON object")
    t: Any = found.get("t")
    shape: Any = found.get("shape")
    dtype: Any = found.get("dtype", "<f2")
    if isinstance(t, bool) or not isinstance(t, (int, float)) or not abs(t) < 1e18:
        raise DataError(f"t is {_short(t)}, a finite number of seconds is wanted")
    sides = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and n > 0 for n in shape)
    if not sides or shape[0] * shape[1] > MAX_PIXELS:
        raise DataError(
            f"shape is {_short(shape)}, [height, width] of at most {MAX_PIXELS / 1e6:g} megapixels is wanted"
        )
    if not isinstance(dtype, str) or dtype not in _UNITS:
        raise DataError(f"dtype is {_short(dtype)}, allowed are {', '.join(_UNITS)}")
    confidence = found.get("confidence", False)
    if not isinstance(confidence, bool):
        raise DataError(f"confidence is {_short(confidence)}, true or false is wanted")
    K, pose = _matrix(found, "K", 3), _matrix(found, "pose", 4)
    if K is not None and not (K[0, 0] > 0 and K[1, 1] > 0):
        raise DataError("K needs focal lengths above 0")
    return _Header(float(t), (shape[0], shape[1]), dtype, K, pose, confidence)


def _matrix(found: dict[str, Any], name: str, side: int) -> Array | None:
    value = found.get(name)
    if value is None:
        return None
    try:
        array = np.asarray(value, dtype=np.float64).reshape(side, side)
    except (TypeError, ValueError, OverflowError):
        array = np.full((side, side), np.nan)
    if not np.isfinite(array).all():
        raise DataError(f"{name} is {_short(value)}, {side * side} finite numbers are wanted")
    return array


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."
