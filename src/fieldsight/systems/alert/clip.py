"""Annotated clips: MP4 by OpenCV, GIF by Pillow."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from fieldsight.data.files import atomic
from fieldsight.errors import DataError, ExportError
from fieldsight.predictions import Picture


def write_clip(path: str | Path, pictures: Iterable[Picture], fps: float) -> Path:
    """Write pictures as a clip, whole or not at all, one picture in memory at a time (MP4).

    Args:
        path: ending in ``.mp4`` or ``.gif``.
        pictures: ``(H, W, 3)`` uint8; those of another size than the first are padded or cut to it.
        fps: pictures a second.

    Raises:
        DataError: no picture, another ending, or the file can't be written.
        ExportError: this build of OpenCV writes no MP4.
    """
    target = Path(path)
    if target.suffix.lower() not in (".mp4", ".gif"):
        raise DataError(f"'{target}': a clip ends in .mp4 or .gif.")
    coming = iter(pictures)
    first = next(coming, None)
    if first is None:
        raise DataError(f"'{target}': there is no picture to write.")
    height, width = (side + side % 2 for side in first.shape[:2])  # codecs want even sizes
    fitting = (_fit(p, height, width) for p in chain([first], coming))
    with atomic(target) as temporary:
        if target.suffix.lower() == ".gif":
            from PIL import Image

            opening, *rest = [Image.fromarray(p) for p in fitting]
            opening.save(temporary, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
        else:
            import cv2

            writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
            if not writer.isOpened():
                raise ExportError("This build of OpenCV writes no MP4. Ask for a .gif, or install another build.")
            for picture in fitting:
                writer.write(np.ascontiguousarray(picture[..., ::-1]))
            writer.release()
    return target


def _fit(picture: Picture, height: int, width: int) -> Picture:
    part = picture[:height, :width]
    return np.pad(part, ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0)))
