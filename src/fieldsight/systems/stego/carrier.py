"""Pictures that carry: colour, depth, transparency, and what is worth a warning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.images import read_image, to_uint8
from fieldsight.errors import DataError

Array = NDArray[Any]

#: Fewest pixels a side: below it there is nothing to hide in.
SMALLEST = 16

#: Formats that keep every pixel, and those that do not.
LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".webp", ".npy")
LOSSY = (".jpg", ".jpeg", ".gif")


@dataclass(frozen=True)
class Carrier:
    """A picture to hide in or to reveal from.

    Attributes:
        colour: ``(H, W, 3)`` uint8 or uint16.
        alpha: ``(H, W)`` of the same type, or None.
        notes: what a person should know of it.
        name: for messages.
    """

    colour: Array
    alpha: Array | None = None
    notes: tuple[str, ...] = ()
    name: str = "the picture"

    @classmethod
    def read(cls, source: Any) -> Carrier:
        """Read a path, or take an array ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``; EXIF rotation is applied.

        Raises:
            DataError: what :func:`~fieldsight.data.images.read_image` raises; a side below :data:`SMALLEST` pixels.
        """
        picture = read_image(source)
        name = f"'{source}'" if isinstance(source, (str, Path)) else "the array"
        notes = list(_file_notes(Path(source))) if isinstance(source, (str, Path)) else []
        if picture.dtype not in (np.uint8, np.uint16):
            picture = to_uint8(picture)
        if min(picture.shape[:2]) < SMALLEST:
            size = f"{picture.shape[1]} x {picture.shape[0]}"
            raise DataError(f"{name} has {size} pixels; at least {SMALLEST} x {SMALLEST} are needed to hide anything.")
        if picture.ndim == 2:
            notes.append("it is grey: the result is in colour, since faint colour noise carries the secret")
            picture = np.repeat(picture[..., None], 3, axis=2)
        alpha = picture[..., 3].copy() if picture.shape[2] == 4 else None
        return cls(np.ascontiguousarray(picture[..., :3]), alpha, tuple(notes), name)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.colour.shape[0], self.colour.shape[1]

    @property
    def top(self) -> int:
        """The value of white: 255 or 65535."""
        return int(np.iinfo(self.colour.dtype).max)

    def with_colour(self, colour: Array) -> Carrier:
        """The same with other colours ``(H, W, 3)``."""
        return replace(self, colour=colour)

    def pixels(self) -> Array:
        """Colours and transparency, ``(H, W, 3)`` or ``(H, W, 4)``."""
        return self.colour if self.alpha is None else np.dstack([self.colour, self.alpha])


def _file_notes(path: Path) -> list[str]:
    if path.suffix.lower() == ".npy":
        return []
    from PIL import Image

    try:
        with Image.open(path) as image:
            frames, mode = int(getattr(image, "n_frames", 1)), image.mode
    except (OSError, ValueError, SyntaxError):
        return []
    notes = [f"it has {frames} frames: the first one is used"] if frames > 1 else []
    if mode in ("CMYK", "YCbCr", "LAB"):
        notes.append(f"its colours are {mode}: they were converted to RGB")
    return notes


def check_target(path: Path, allow_lossy: bool) -> str:
    """Whether a file can hold a stego picture; gives a warning where it damages the secret, or nothing.

    Raises:
        DataError: a lossy format without ``allow_lossy``, or an unknown one.
    """
    suffix = path.suffix.lower()
    if suffix in LOSSLESS:
        return ""
    if suffix not in LOSSY:
        raise DataError(f"'{path}': a stego picture ends in {', '.join(LOSSLESS)}.")
    if not allow_lossy:
        raise DataError(
            f"'{path}' is a lossy format, which damages or destroys what is hidden. "
            f"Use {', '.join(LOSSLESS)}, or --allow-lossy if you know why."
        )
    return f"{suffix} is lossy: expect to lose much of the secret, and all of a file"
