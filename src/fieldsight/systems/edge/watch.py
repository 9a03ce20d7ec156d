"""``watch``: a camera or a network stream as it comes: always the newest frame, a line for each one looked at.

Frames that arrive while the detector works are dropped and counted, never queued: what is told is never older than one
frame and one look at it. Lines are written as they are made, so that whatever ends the run loses none of them.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from fieldsight import progress
from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.data.images import write_image
from fieldsight.data.video import FPS
from fieldsight.detection.drawing import draw_boxes
from fieldsight.detection.tracking import Tracker, TrackOptions
from fieldsight.detection.video import FORGET, Frame, row_of
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge.options import WatchOptions

if TYPE_CHECKING:
    from fieldsight.systems.edge.predict import EdgeModel

#: Seconds between two writings of the picture with boxes, and between two tries to open a stream again.
PICTURE_EVERY, PAUSE = 1.0, 1.0


@dataclass(frozen=True)
class Watched:
    """What was seen of a stream.

    Attributes:
        source: its address, without a password.
        looked: frames that were looked at.
        dropped: frames that arrived while the detector worked.
        seconds: how long it was watched.
        boxes: found, by class.
        reopened: how often the stream was opened again.
        files: what was written.
        ended: why it ended.
    """

    source: str
    looked: int
    dropped: int
    seconds: float
    boxes: dict[str, int]
    reopened: int
    files: tuple[Path, ...]
    ended: str
    saved: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "source": self.source, "looked": self.looked, "dropped": self.dropped, "seconds": round(self.seconds, 3),
            "fps": round(self.looked / self.seconds, 3) if self.seconds > 0 else None, "boxes": dict(self.boxes),
            "reopened": self.reopened, "ended": self.ended, "files": [str(f) for f in self.files],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same in words."""
        rate = self.looked / self.seconds if self.seconds > 0 else 0.0
        boxes = ", ".join(f"{n:,} {name}" for name, n in self.boxes.items()) or "none"
        return [
            f"frames: {self.looked:,} looked at ({rate:.1f} a second), {self.dropped:,} dropped",
            f"boxes: {boxes}", f"ended: {self.ended}", *(str(f) for f in self.files),
        ]  # fmt: skip


def watch(model: EdgeModel, out: Path | None, options: WatchOptions) -> Watched:
    """Look at a stream until it ends, ``--seconds`` are over, or Ctrl-C.

    Raises:
        ConfigError: no source, or one that is a file.
        DataError: the stream can't be opened, or no frame of it can be read.
    """
    shown = without_password(options.source)
    with contextlib.ExitStack() as stack:
        newest = stack.enter_context(Newest(opened(options), options))
        lines = stack.enter_context(_lines(out))
        run = _Run(model, options, newest, lines, None if out is None else out / "watch.png")
        ended = run.go()
    if not run.looked:
        raise DataError(f"'{shown}' was opened, but gave no frame in {run.seconds:.0f} s ({ended}).")
    files = () if out is None else (out / "watch.jsonl", out / "watch.png")
    return Watched(
        shown, run.looked, newest.taken - run.looked, run.seconds, run.boxes, newest.reopened, files, ended
    )  # fmt: skip


def without_password(address: str) -> str:
    """An address as it may be told and written."""
    return re.sub(r"(?<=//)[^/@]*@", "", address)


def opened(options: WatchOptions) -> Any:
    """The stream as OpenCV's capture.

    Raises:
        ConfigError: a file, or neither an address nor the number of a camera.
        DataError: it can't be opened.
    """
    import cv2

    source, wait = options.source.strip(), int(1000 * options.timeout)
    if not source.isdigit() and "://" not in source:
        if Path(source).is_file():
            raise ConfigError(f"source: '{source}' is a file. Use: fieldsight edge predict {source}")
        raise ConfigError(
            f"source: an address (rtsp://, http://, udp://) or the number of a camera (0), got '{source}'."
        )
    if source.isdigit():
        capture = cv2.VideoCapture(int(source))
    else:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, wait, cv2.CAP_PROP_READ_TIMEOUT_MSEC, wait]
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        capture.release()
        what = f"camera {source}" if source.isdigit() else f"'{without_password(source)}'"
        raise DataError(f"{what} can't be opened. Is it switched on, reachable, and used by nothing else?")
    return capture


class Newest:
    """A thread that reads a stream on and keeps its newest frame; use as a context.

    Attributes:
        taken: frames that arrived.
        reopened: how often the stream broke off and was opened again.
        over: why there are no more frames; empty as long as there may be.
    """

    def __init__(self, capture: Any, options: WatchOptions) -> None:
        self.taken = self.reopened = 0
        self.over = ""
        self._capture, self._options = capture, options
        self._frame: tuple[int, float, Picture] | None = None
        self._ready = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="stream", daemon=True)

    def __enter__(self) -> Newest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * self._options.timeout)  # a read that hangs ends with the process
        if not self._thread.is_alive():
            self._capture.release()

    def take(self, wait: float) -> tuple[int, float, Picture] | None:
        """Number, time of arrival (``time.monotonic``) and RGB picture of the newest frame not yet taken, or None.

        Args:
            wait: seconds to wait for one.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._frame is not None or self.over, wait)
            frame, self._frame = self._frame, None
            return frame

    def _read_on(self) -> None:
        left = self._options.retries
        while not self._stop.is_set():
            good, picture = self._capture.read()
            if good:
                left = self._options.retries
                with self._ready:
                    self._frame = (self.taken, time.monotonic(), np.ascontiguousarray(picture[..., ::-1]))
                    self.taken += 1
                    self._ready.notify()
            elif left:
                left -= 1
                self._again()
            else:
                break
        with self._ready:
            self.over = "the stream ended"
            self._ready.notify()

    def _again(self) -> None:
        """Open the stream once more after a pause; where that fails, the next reading fails too."""
        self._stop.wait(PAUSE)
        self._capture.release()
        with contextlib.suppress(DataError):
            self._capture = opened(self._options)
            self.reopened += 1


class _Run:
    """A stream while it is looked at."""

    def __init__(
        self, model: EdgeModel, options: WatchOptions, newest: Newest, lines: TextIO | None, picture: Path | None
    ) -> None:
        self.model, self.options, self.newest, self.lines, self.picture = model, options, newest, lines, picture
        self.looked, self.seconds = 0, 0.0
        self.boxes: dict[str, int] = {}
        self._drawn = -PICTURE_EVERY
        self._tracker: Tracker | None = None
        if options.track:
            tracking = TrackOptions.at(options.conf or model.config.conf, max(1, round(FORGET * FPS)))
            self.options = options.replace(conf=tracking.low)
            self._tracker = Tracker(tracking)

    def go(self) -> str:
        """Look until something ends it; says what did."""
        own, begin = self.options, time.monotonic()
        task = progress.Task("watching")
        try:
            while not own.seconds or self.seconds < own.seconds:
                left = own.seconds - self.seconds if own.seconds else own.timeout
                frame = self.newest.take(min(own.timeout, left))
                self.seconds = time.monotonic() - begin
                if frame is not None:
                    self._look(*frame, begin)
                    task.advance(remark=f"{self.newest.taken - self.looked} dropped")
                elif self.newest.over:
                    return self.newest.over
            return f"{own.seconds:g} s are over"
        except KeyboardInterrupt:
            return "Ctrl-C"
        finally:
            self.seconds = time.monotonic() - begin
            task.close()

    def _look(self, number: int, at: float, picture: Picture, begin: float) -> None:
        found, ids = self.model.find(picture, self.options), None
        if self._tracker is not None:
            found, ids = self._tracker.step(found)
        self.looked += 1
        frame = Frame(number, found, ids)
        for one in row_of(frame, self.model.classes, at - begin)["boxes"]:
            self.boxes[one["class"]] = self.boxes.get(one["class"], 0) + 1
        self._tell(frame, at - begin)
        if self.picture is not None and time.monotonic() - self._drawn >= PICTURE_EVERY:
            self._draw(picture, found, frame)

    def _tell(self, frame: Frame, seconds: float) -> None:
        if self.lines is not None:
            row = row_of(frame, self.model.classes, seconds)
            self.lines.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")

    def _draw(self, picture: Picture, found: Detections, frame: Frame) -> None:
        assert self.picture is not None
        write_image(self.picture, draw_boxes(picture, found, self.model.classes, frame.ids))
        self._drawn = time.monotonic()


@contextlib.contextmanager
def _lines(out: Path | None) -> Iterator[TextIO | None]:
    """``watch.jsonl`` in a folder, each line on the disk when it is written; None without a folder."""
    if out is None:
        yield None
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = open(out / "watch.jsonl", "w", encoding="utf-8", newline="\n", buffering=1)  # noqa: SIM115
    except OSError as error:
        raise ConfigError(f"out: can't write into '{out}': {error.strerror or error}.") from None
    with file:
        yield file
