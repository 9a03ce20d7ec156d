"""Videos in and out, one picture in memory at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.files import atomic
from fieldsight.data.images import MAX_PIXELS
from fieldsight.errors import DataError, ExportError

Picture = NDArray[np.uint8]


class Video:
    """Pictures ``(H, W, 3)`` uint8 RGB of a video; reading on is fast, going back seeks.

    Args:
        path: the file.
        max_pixels: larger pictures are refused.

    Attributes:
        count: pictures that its header tells of; fewer may be there.
        fps: pictures a second as its header says; may be 0 or nonsense.

    Raises:
        DataError: absent, or no video that OpenCV can open.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        import cv2

        if not path.is_file():
            raise DataError(f"There is no file '{path}'.")
        self.path, self.max_pixels, self._lock = path, max_pixels, threading.Lock()
        self._capture = cv2.VideoCapture(str(path))
        self.count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) if self._capture.isOpened() else 0
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self._next = 0
        if self.count <= 0:
            raise DataError(f"'{path}' is no video that can be read.")

    def __call__(self, i: int) -> Picture:
        """Picture ``i``.

        Raises:
            DataError: it can't be read.
        """
        import cv2

        with self._lock:
            if i < self._next or i > self._next + 60:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, i)
                self._next = i
            while self._next < i and self._capture.grab():
                self._next += 1
            good, picture = self._capture.read()
            self._next += 1
        if not good or picture.shape[0] * picture.shape[1] > self.max_pixels:
            raise DataError(f"'{self.path}': picture {i} can't be read.")
        return np.ascontiguousarray(picture[..., ::-1])

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        with self._lock:
            self._capture.release()


@contextlib.contextmanager
def write_video(path: str | Path, fps: float) -> Iterator[Callable[[Picture], None]]:
    """Give a function that adds a picture to an MP4 (MPEG-4 part 2); the file appears, whole, when the block ends well.

    Pictures ``(H, W, 3)`` uint8 RGB of another size than the first are cut or padded with black below and right;
    odd sides get one more row or column, since codecs want even ones.

    Args:
        path: ends in ``.mp4``.
        fps: pictures a second, above 0.

    Raises:
        DataError: another ending, no picture was added, or the file can't be written.
        ExportError: this build of OpenCV writes no MP4.
    """
    import cv2

    target = Path(path)
    if target.suffix.lower() != ".mp4":
        raise DataError(f"'{target}': a video is written as .mp4.")
    writer: Any = None
    size = (0, 0)

    def add(picture: Picture) -> None:
        nonlocal writer, size
        if writer is None:
            height, width = (side + side % 2 for side in picture.shape[:2])
            size = (height, width)
            writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
            if not writer.isOpened():
                raise ExportError("This build of OpenCV writes no MP4. Install another build, e.g. opencv-python.")
        part = picture[: size[0], : size[1]]
        fitting = np.pad(part, ((0, size[0] - part.shape[0]), (0, size[1] - part.shape[1]), (0, 0)))
        writer.write(np.ascontiguousarray(fitting[..., ::-1]))

    with atomic(target) as temporary:
        try:
            yield add
        finally:
            if writer is not None:
                writer.release()
        if writer is None:
            raise DataError(f"'{target}': there is no picture to write.")
