"""Annotated clips: MP4 by OpenCV, GIF by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fieldsight.data.files import atomic
from fieldsight.errors import DataError, ExportError
from fieldsight.predictions import Picture


def write_clip(path: str | Path, pictures: Sequence[Picture], fps: float) -> Path:
    """Write pictures as a clip, whole or not at all; smaller ones are padded to the largest.

    Args:
        path: ending in ``.mp4`` or ``.gif``.
        pictures: ``(H, W, 3)`` uint8.
        fps: pictures a second.

    Raises:
        DataError: no picture, another ending, or the file can't be written.
        ExportError: this build of OpenCV writes no MP4.
    """
    target = Path(path)
    if not pictures:
        raise DataError(f"'{target}': there is no picture to write.")
    if target.suffix.lower() not in (".mp4", ".gif"):
        raise DataError(f"'{target}': a clip ends in .mp4 or .gif.")
    height = max(p.shape[0] for p in pictures)
    width = max(p.shape[1] for p in pictures)
    height, width = height + height % 2, width + width % 2  # codecs want even sizes
    padded = (np.pad(p, ((0, height - p.shape[0]), (0, width - p.shape[1]), (0, 0))) for p in pictures)
    with atomic(target) as temporary:
        if target.suffix.lower() == ".gif":
            from PIL import Image

            first, *rest = [Image.fromarray(p) for p in padded]
            first.save(temporary, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
        else:
            import cv2

            writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
            if not writer.isOpened():
                raise ExportError("This build of OpenCV writes no MP4. Ask for a .gif, or install another build.")
            for picture in padded:
                writer.write(np.ascontiguousarray(picture[..., ::-1]))
            writer.release()
    return target
