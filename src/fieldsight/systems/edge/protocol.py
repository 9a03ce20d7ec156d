"""What client and server say: a frame is a line of JSON and bytes, an answer is one JSON text.

A frame, as one binary message::

    {"id": 7, "sent": 12.5, "kind": "jpeg", "size": [480, 640], "bytes": 81234}\\n<81234 bytes>

``kind`` says what the bytes are: ``jpeg`` a JPEG file, ``raw`` ``(H, W, 3)`` uint8 RGB, ``float32`` ``(3, H, W)``
little-endian in 0-1, the network's input. ``size`` is height and width; a JPEG may leave it out. ``sent`` is the
client's own time and comes back as it went. An answer::

    {"id": 7, "client": 12.5, "size": [480, 640], "boxes": [[x1, y1, x2, y2]], "scores": [0.9], "labels": [0],
     "received": ..., "started": ..., "decoded": ..., "finished": ..., "sent": ...}

Boxes are pixels of the frame. The five times are seconds of the server's clock, so only their differences mean
anything elsewhere: the message was there, a worker took it, its picture was unpacked, the boxes were found, the answer
left. A frame that could not be used has ``error`` in place of boxes; one that a newer frame pushed out, ``dropped``.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import Detections
from fieldsight.errors import DataError

Picture = NDArray[np.uint8]
Kind = Literal["jpeg", "raw", "float32"]

KINDS: tuple[Kind, ...] = ("jpeg", "raw", "float32")
#: Longest line before a frame's bytes, largest message, and longest text of an answer.
MAX_HEADER, MAX_BYTES, MAX_ANSWER = 512, 16 * 2**20, 4 * 2**20
#: Most pixels of a frame (4096 x 2160) and longest side.
MAX_PIXELS, MAX_SIDE = 8_847_360, 8192
#: Segments before a JPEG's pixels, and passes over them: more are made to keep a server busy.
_MAX_SEGMENTS, _MAX_SCANS = 2000, 64
_MAX_ID = 2**53 - 1
#: Bytes of a pixel.
_BYTES: Mapping[str, int] = {"raw": 3, "float32": 12}
#: Names of a server's times, in order.
TIMES = ("received", "started", "decoded", "finished", "sent")


class FrameError(DataError):
    """A message that is no frame that can be used; ``id`` where it was readable."""

    def __init__(self, words: str, id: int | None = None) -> None:
        super().__init__(words)
        self.id = id


@dataclass(frozen=True)
class Frame:
    """A frame on its way.

    Attributes:
        id: the client's number.
        sent: the client's time, s; comes back as it went.
        kind: what ``data`` is.
        size: height and width; None where a JPEG's header is to say.
        data: the bytes.
    """

    id: int
    sent: float
    kind: Kind
    size: tuple[int, int] | None
    data: bytes | memoryview

    def message(self) -> bytes:
        """As one binary message."""
        words = {
            "id": self.id, "sent": self.sent, "kind": self.kind, "size": list(self.size) if self.size else None,
            "bytes": len(self.data),
        }  # fmt: skip
        return b"".join((json.dumps({k: v for k, v in words.items() if v is not None}).encode(), b"\n", self.data))


# --------------------------------------------------------------------------------------------------- to the server


def pack(picture: Picture, kind: Kind, quality: int = 90) -> bytes:
    """The bytes of a picture ``(H, W, 3)`` uint8 RGB as a payload."""
    if kind == "raw":
        return np.ascontiguousarray(picture).tobytes()
    if kind == "float32":
        return (picture.transpose(2, 0, 1).astype("<f4") / np.float32(255.0)).tobytes()
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def parse(message: bytes) -> Frame:
    """A message as a frame; its bytes are counted and not looked at.

    Raises:
        FrameError: no line of JSON, a value missing or out of range, another number of bytes than it says.
    """
    if len(message) > MAX_BYTES + MAX_HEADER:
        raise FrameError(f"a message has at most {MAX_BYTES >> 20} MiB, got {len(message)} bytes")
    end = message.find(b"\n", 0, MAX_HEADER)
    if end < 0:
        raise FrameError(f"a frame begins with a line of JSON of at most {MAX_HEADER} bytes")
    try:
        words = json.loads(message[:end], parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise FrameError("the line before a frame's bytes is no JSON") from None
    if not isinstance(words, dict):
        raise FrameError("the line before a frame's bytes is a JSON object")
    number = words.get("id")
    if not isinstance(number, int) or not _whole(number, 0, _MAX_ID):
        raise FrameError(f"id is a whole number from 0 to {_MAX_ID}")
    kind, sent = words.get("kind"), words.get("sent", 0.0)
    if kind not in KINDS:
        raise FrameError(f"kind is one of {', '.join(KINDS)}", number)
    if isinstance(sent, bool) or not isinstance(sent, (int, float)) or not abs(sent) <= 1e15:
        raise FrameError("sent is a number of seconds", number)
    data = memoryview(message)[end + 1 :]
    if words.get("bytes") != len(data) or isinstance(words.get("bytes"), bool):
        raise FrameError(f"bytes must be the number of bytes after the line; {len(data)} came", number)
    return Frame(number, float(sent), kind, _size(words.get("size"), kind, len(data), number), data)


def _no_number(text: str) -> float:
    raise ValueError(text)


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _size(value: Any, kind: Kind, count: int, number: int) -> tuple[int, int] | None:
    """Height and width that a frame's line tells, checked against its bytes."""
    if value is None and kind == "jpeg":
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(_whole(v, 1, MAX_SIDE) for v in value):
        raise FrameError(f"size is [height, width] in pixels, each from 1 to {MAX_SIDE}", number)
    high, wide = value
    if high * wide > MAX_PIXELS:
        raise FrameError(f"a frame has at most {MAX_PIXELS} pixels, got {wide} x {high}", number)
    wanted = _BYTES.get(kind)
    if wanted is not None and high * wide * wanted != count:
        raise FrameError(f"{kind} of {wide} x {high} pixels has {high * wide * wanted} bytes, {count} came", number)
    return high, wide


# ----------------------------------------------------------------------------------------------------- in the server


def decode(frame: Frame) -> Picture:
    """The picture of a frame, ``(H, W, 3)`` uint8 RGB; a JPEG's header is read before its pixels.

    Raises:
        FrameError: no JPEG, truncated, more pixels than allowed, another size than the frame says; values that are
            no numbers or outside 0-1.
    """
    if frame.kind == "jpeg":
        picture = _unpacked(frame)
        if frame.size is not None and picture.shape[:2] != frame.size:
            raise FrameError(f"the JPEG has {picture.shape[1]} x {picture.shape[0]} pixels, not its size", frame.id)
        return picture
    assert frame.size is not None
    if frame.kind == "raw":
        return np.frombuffer(frame.data, np.uint8).reshape(*frame.size, 3)
    values = np.frombuffer(frame.data, "<f4").reshape(3, *frame.size)
    if not np.isfinite(values).all() or values.min() < -1e-3 or values.max() > 1.001:
        raise FrameError("float32 values must be numbers in 0-1", frame.id)
    eight = np.clip(values, 0.0, 1.0) * np.float32(255.0) + np.float32(0.5)
    return np.ascontiguousarray(eight.astype(np.uint8).transpose(1, 2, 0))


def _unpacked(frame: Frame) -> Picture:
    from PIL import Image, ImageOps

    high, wide = jpeg_size(frame.data, frame.id)
    try:
        with Image.open(io.BytesIO(frame.data), formats=("JPEG",)) as image:
            if image.size != (wide, high):
                raise FrameError("the JPEG tells two sizes", frame.id)
            turned = ImageOps.exif_transpose(image)
            return np.array(turned.convert("RGB"))
    except FrameError:
        raise
    except Exception as error:  # Pillow's readers let out almost anything on damaged bytes
        raise FrameError(f"the JPEG is truncated or corrupt: {str(error)[:120]}", frame.id) from None


def jpeg_size(data: bytes | memoryview, number: int | None = None) -> tuple[int, int]:
    """Height and width by a JPEG's header, before anything is unpacked.

    Raises:
        FrameError: no JPEG, no size in it, a side of 0, or more pixels or passes than allowed.
    """
    raw = bytes(data) if isinstance(data, memoryview) else data
    if raw[:3] != b"\xff\xd8\xff":
        raise FrameError("the bytes are no JPEG", number)
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if len(raw) < at + 4 or raw[at] != 0xFF:
            break
        if raw[at + 1] == 0xFF:  # filling; counted too, or 16 MiB of it would take seconds
            at += 1
            continue
        marker, length = raw[at + 1], struct.unpack_from(">H", raw, at + 2)[0]
        if marker == 0xDA or length < 2:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if len(raw) < at + 9:
                break
            high, wide = struct.unpack_from(">HH", raw, at + 5)
            if not (0 < high <= MAX_SIDE and 0 < wide <= MAX_SIDE and high * wide <= MAX_PIXELS):
                raise FrameError(
                    f"a JPEG of {wide} x {high} pixels; allowed are 1 to {MAX_PIXELS} with sides up to {MAX_SIDE}",
                    number,
                )
            if raw.count(b"\xff\xda") > _MAX_SCANS:
                raise FrameError(f"a JPEG has at most {_MAX_SCANS} scans here", number)
            return high, wide
        at += 2 + length
    raise FrameError("the JPEG's header is damaged", number)


def answer(frame: Frame, found: Detections, size: tuple[int, int]) -> dict[str, Any]:
    """The words of an answer, without its times.

    Raises:
        FrameError: the detector gave values that are no numbers.
    """
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise FrameError("the detector gave values that are no numbers", frame.id)
    return {
        "id": frame.id,
        "client": frame.sent,
        "size": list(size),
        "boxes": [[round(float(v), 2) for v in box] for box in found.boxes],
        "scores": [round(float(v), 5) for v in found.scores],
        "labels": [int(v) for v in found.labels],
    }


# ----------------------------------------------------------------------------------------------------- in the client


@dataclass(frozen=True)
class Answer:
    """What a server says of a frame.

    Attributes:
        id: of the frame; None where the server could not read it.
        found: boxes, scores and labels; None where there are none to tell.
        times: seconds of the server's clock by the names of :data:`TIMES`; empty without boxes.
        problem: why there are no boxes.
        dropped: True where a newer frame pushed it out.
    """

    id: int | None
    found: Detections | None
    times: Mapping[str, float]
    problem: str = ""
    dropped: bool = False

    @property
    def processing_ms(self) -> float:
        """Time in the worker: unpacking, model, and what is around it."""
        return 1000.0 * (self.times["finished"] - self.times["started"])

    @property
    def waiting_ms(self) -> float:
        """Time in the server's queue."""
        return 1000.0 * (self.times["started"] - self.times["received"])


def read_answer(text: str | bytes) -> Answer | None:
    """A server's text as an answer; None for what is none, such as its greeting.

    Raises:
        DataError: no JSON object, or values that make no sense.
    """
    if len(text) > MAX_ANSWER:
        raise DataError(f"The server's answer has {len(text)} bytes; at most {MAX_ANSWER} make sense.")
    try:
        words = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise DataError("The server's answer is no JSON. Is it a fieldsight edge server?") from None
    if not isinstance(words, dict):
        raise DataError("The server's answer is no JSON object. Is it a fieldsight edge server?")
    if words.get("kind") == "refused":
        raise DataError(f"The server refused: {str(words.get('reason'))[:200]}")
    number = words.get("id")
    if "kind" in words or not (number is None or _whole(number, 0, _MAX_ID)):
        return None
    if "error" in words or "dropped" in words:
        told = str(words.get("error", words.get("dropped")))[:200]
        return Answer(number, None, {}, told, "dropped" in words)
    return Answer(number, _detections(words), _times(words))


def _detections(words: Mapping[str, Any]) -> Detections:
    try:
        found = Detections.of(words["boxes"], words["scores"], words["labels"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DataError("The server's answer has no boxes, scores and labels that can be read.") from None
    if not len(found.boxes) == len(found.scores) == len(found.labels):
        raise DataError("The server's answer has other numbers of boxes, scores and labels.")
    return found


def _times(words: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    last = -math.inf
    for name in TIMES:
        value = words.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not last <= value <= 1e15:
            raise DataError(f"The server's times must be numbers that rise ({', '.join(TIMES)}); '{name}' is {value}.")
        found[name] = last = float(value)
    return found
