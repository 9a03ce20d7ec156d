"""Videos in and out, one picture in memory at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.files import atomic
from fieldsight.data.images import MAX_PIXELS
from fieldsight.errors import DataError, ExportError

Picture = NDArray[np.uint8]

#: Pictures that are read over rather than seeked over.
AHEAD = 60

#: After so many frames in a row that can't be read, no more are tried.
PATIENCE = 1000

#: Frames a second where a video does not say; and the least that are written.
FPS, LEAST_FPS = 25.0, 1.0


class Video:
    """Pictures ``(H, W, 3)`` uint8 RGB of a video; reading on is fast, going back seeks.

    A picture has the number that it was filmed with, whatever is damaged before it: a damaged one counts. Where a seek
    does not arrive, since something on its way is damaged, the pictures before are counted, which takes longer.

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
        self._next = 0  # number of the picture that is read next
        self._damaged = False  # a picture could not be read, or a seek did not arrive
        self._seeks = True  # the first picture can be read
        if self.count <= 0:
            raise DataError(f"'{path}' is no video that can be read.")

    def __call__(self, i: int) -> Picture:
        """Picture ``i``.

        Raises:
            DataError: it can't be read.
        """
        with self._lock:
            if i < self._next or (i > self._next + AHEAD and not self._damaged):
                self._seek(i)
            while self._next < i:
                self._grab()
            found: Any = self._capture.retrieve() if self._grab() else (False, None)
        good, picture = found
        if not good or picture.shape[0] * picture.shape[1] > self.max_pixels:
            raise DataError(f"'{self.path}': picture {i} can't be read.")
        return np.ascontiguousarray(picture[..., ::-1])

    def _grab(self) -> bool:
        """Go on by one picture, a damaged one too; whether it can be read."""
        good = bool(self._capture.grab())
        self._damaged |= not good
        self._seeks &= good or self._next > 0
        self._next += 1
        return good

    def _seek(self, i: int) -> None:
        """Go to picture ``i``, or to one before it from where it can be counted to.

        OpenCV counts from the first picture that it can read, and stops seeking at the first damaged one without a
        word, but tells another place then.
        """
        import cv2

        if self._next == 0:
            self._grab()
        for place in (i, min(i, self._next)) if self._seeks else ():
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, place)
            if self._capture.get(cv2.CAP_PROP_POS_FRAMES) == place:
                self._next = place
                return
            self._damaged = True
        self._capture.release()
        self._capture.open(str(self.path))
        self._next = 0

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        with self._lock:
            self._capture.release()


class Frames:
    """Number and picture of every so many frames of a video, one after the other, as far as they can be read.

    Frames that can't be read are left out. Where the last ones can't, or :data:`PATIENCE` in a row, the video ends
    there, whatever its header says.

    Args:
        video: the video; it stays open.
        every: every so many frames.

    Attributes:
        wanted: numbers of the frames that are asked for.
        fps: frames a second, :data:`FPS` where the video does not say.
        lost: frames inside of the video that can't be read; complete when all were gone through.
        end: the frame at which the video ends before its header says so, or None; known when all were gone through.
        notes: what went wrong, in words; complete when all were gone through.
    """

    def __init__(self, video: Video, every: int = 1) -> None:
        self.video, self.wanted = video, range(0, video.count, every)
        self.fps = video.fps if 0 < video.fps < 1000 else FPS
        self.lost: list[int] = []
        self.end: int | None = None
        self.notes: list[str] = []
        if self.fps != video.fps:
            self.notes.append(f"the video does not say its speed: {FPS:g} frames a second are assumed")

    def __iter__(self) -> Iterator[tuple[int, Picture]]:
        """The frames, with their progress shown; once."""
        missing: list[int] = []  # since the last one that could be read
        seen = False
        for number in progress.track(self.wanted, "looking at frames"):
            try:
                picture = self.video(number)
            except DataError:
                missing.append(number)
                if len(missing) >= PATIENCE:
                    break
                continue
            self.lost += missing
            missing, seen = [], True
            yield number, picture
        if self.lost:
            some = ", ".join(map(str, self.lost[:10])) + (", ..." if len(self.lost) > 10 else "")
            self.notes.append(f"frames that can't be read are left out: {some} ({len(self.lost):,} in all)")
        if missing and seen:
            self.end = missing[0]
            self.notes.append(f"the video ends at frame {self.end}, though its header tells of {self.video.count}")


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
