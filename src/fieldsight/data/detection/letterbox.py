"""From a photo's file to a network's input and back: the one way, whatever runs the network.

Coordinates are continuous: a photo of width W reaches from 0 to W, the centre of its first pixel is 0.5. Boxes are
scaled by the sizes that photo and input really have, so that the inverse is exact although sizes are whole pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.detection.sample import Boxes, Picture
from fieldsight.data.images import MAX_PIXELS, read_image, to_float, to_uint8
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import ConfigError, DataError

#: The grey around a photo, of 255.
GREY = 114

#: Sides of an input are multiples of this.
STRIDE = 32

Fit = Literal["square", "rectangle"]

_TURN = 0x0112  # EXIF's orientation

# ------------------------------------------------------------------------------------------------- photos


@dataclass(frozen=True)
class Photo:
    """A photo's file as the function that a sample wants; it can be sent to other processes."""

    path: Path

    def __call__(self) -> Picture:
        """Read it, ``(H, W, 3)`` uint8 RGB; see :func:`read_photo`."""
        return read_photo(self.path)


def read_photo(path: Path) -> Picture:
    """A photo as ``(H, W, 3)`` uint8 RGB, EXIF's rotation applied; 16 bits are scaled to 8, transparency is white.

    Raises:
        DataError: absent, no regular file, truncated, or no picture.
    """
    _regular(path)
    return np.ascontiguousarray(to_uint8(read_image(path, "rgb")))


def photo_size(path: Path) -> tuple[tuple[int, int], int]:
    """Height and width by a photo's header, after EXIF's rotation, and EXIF's orientation (1 to 8, 1 is upright).

    Raises:
        DataError: absent, no regular file, no picture, or too large. A file whose end is missing passes.
    """
    _regular(path)
    if path.suffix.lower() == ".npy":
        shape = read_image(path).shape
        return (shape[0], shape[1]), 1
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs and odd tags; the limit is checked below
            with Image.open(path) as image:
                wide, high = image.size
                turn = 1
                if image.format != "PNG" or "exif" in image.info:  # without, asking a PNG would decode all of it
                    turn = image.getexif().get(_TURN, 1)
                if image.format == "TIFF" or turn not in range(1, 9):  # Pillow turns TIFF itself
                    turn = 1
    except Exception as error:  # Pillow's readers let out almost anything on damaged headers
        reason = "it is empty" if path.stat().st_size == 0 else str(error) or type(error).__name__
        allowed = ", ".join(IMAGE_SUFFIXES)
        raise DataError(f"'{path}' is no photo that can be read: {reason}. Allowed: {allowed}.") from None
    if wide * high > MAX_PIXELS or not wide * high:
        raise DataError(f"'{path}' has {wide} x {high} pixels; allowed are 1 to {MAX_PIXELS / 1e6:.0f} million.")
    return ((wide, high) if turn >= 5 else (high, wide)), int(turn)


def turned(boxes: NDArray[Any], size: tuple[int, int], turn: int) -> NDArray[Any]:
    """Boxes ``(K, 4)`` of a photo ``size`` (H, W) as it is stored, after EXIF's rotation 5, 6, 7 or 8."""
    high, wide = size
    x1, y1, x2, y2 = boxes.T
    left, right = (y1, y2) if turn in (5, 8) else (high - y2, high - y1)
    top, bottom = (x1, x2) if turn in (5, 6) else (wide - x2, wide - x1)
    return np.stack([left, top, right, bottom], axis=1)


def photos_below(folder: Path) -> list[Path]:
    """The pictures in a folder and below, sorted; hidden ones are left out.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}'.")
    found = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _regular(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"'{path}' is no regular file." if path.exists() else f"There is no photo '{path}'.")


# ---------------------------------------------------------------------------------------------- letterbox


@dataclass(frozen=True)
class Placement:
    """Where a photo lies in a network's input.

    Attributes:
        size: height and width of the photo.
        inner: height and width that it has in the input.
        input: height and width of the input.
        top, left: pixels of grey above it and to its left.
    """

    size: tuple[int, int]
    inner: tuple[int, int]
    input: tuple[int, int]
    top: int
    left: int

    @property
    def scale(self) -> tuple[float, float]:
        """Input pixels per photo pixel, in x and in y; they differ by what rounding to whole pixels makes."""
        return self.inner[1] / self.size[1], self.inner[0] / self.size[0]

    def into(self, boxes: NDArray[Any]) -> Boxes:
        """Boxes ``(K, 4)`` xyxy in pixels of the photo as pixels of the input, float32."""
        scale, shift = self._affine()
        return (np.asarray(boxes, np.float64).reshape(-1, 4) * scale + shift).astype(np.float32)

    def back(self, boxes: NDArray[Any], clip: bool = True) -> Boxes:
        """Boxes ``(K, 4)`` xyxy in pixels of the input as pixels of the photo, float32; ``clip`` keeps them in it."""
        scale, shift = self._affine()
        found = (np.asarray(boxes, np.float64).reshape(-1, 4) - shift) / scale
        if clip:
            found = np.clip(found, 0.0, np.array([self.size[1], self.size[0]] * 2, np.float64))
        return found.astype(np.float32)

    def _affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.scale * 2, np.float64), np.array([self.left, self.top] * 2, np.float64)


def place(
    size: tuple[int, int], imgsz: int | tuple[int, int] = 640, fit: Fit = "square", enlarge: bool = True
) -> Placement:
    """Where a photo of ``size`` (H, W) lies in an input of ``imgsz``: as large as fits, centred.

    1280 x 720 in 640: scale 0.5, 640 x 360, 140 pixels of grey above and below; as a rectangle 640 x 384, 12 pixels.

    Args:
        size: height and width of the photo.
        imgsz: side of the square, or height and width, each a multiple of 32.
        fit: ``rectangle`` cuts the grey so that sides are the next multiples of 32 of what the photo takes.
        enlarge: False leaves photos that are smaller at their size.

    Raises:
        ConfigError: a side that is no positive multiple of 32, or an unknown fit.
        DataError: a photo without pixels.
    """
    sides = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    if any(side <= 0 or side % STRIDE for side in sides):
        raise ConfigError(f"imgsz must be a multiple of {STRIDE} above 0, or two of them, got {imgsz}.")
    if fit not in ("square", "rectangle"):
        raise ConfigError(f"Unknown fit '{fit}'. Allowed: square, rectangle.")
    if min(size) < 1:
        raise DataError(f"A photo has {size[1]} x {size[0]} pixels; at least one is needed.")
    scale = min(sides[0] / size[0], sides[1] / size[1])
    if not enlarge:
        scale = min(scale, 1.0)
    # min: rounding must not make it larger than the input
    high, wide = (min(side, max(1, round(n * scale))) for n, side in zip(size, sides, strict=True))
    if fit == "rectangle":
        sides = (-(-high // STRIDE) * STRIDE, -(-wide // STRIDE) * STRIDE)
    return Placement(size, (high, wide), sides, (sides[0] - high) // 2, (sides[1] - wide) // 2)


def letterbox(picture: Picture, placement: Placement) -> Picture:
    """A photo ``(H, W, 3)`` uint8 in its place on grey 114, ``(h, w, 3)`` uint8.

    Resized bilinearly in whole-number arithmetic (OpenCV's ``INTER_LINEAR_EXACT``): the same bytes on every processor.

    Raises:
        DataError: the picture has another size than the placement is for, or is not ``(H, W, 3)`` uint8.
    """
    if picture.shape != (*placement.size, 3) or picture.dtype != np.uint8:
        raise DataError(
            f"A photo of shape {picture.shape} and type {picture.dtype} can't be placed; "
            f"{(*placement.size, 3)} and uint8 are wanted."
        )
    out = np.full((*placement.input, 3), GREY, np.uint8)
    high, wide = placement.inner
    out[placement.top : placement.top + high, placement.left : placement.left + wide] = resized(picture, (high, wide))
    return out


def resized(picture: Picture, size: tuple[int, int]) -> Picture:
    """A photo ``(H, W, 3)`` uint8 at another ``size`` (h, w), bilinear, the same bytes on every processor."""
    import cv2

    if picture.shape[:2] == size:
        return picture
    return cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_LINEAR_EXACT)


def to_input(pictures: Picture | Sequence[Picture]) -> NDArray[np.float32]:
    """Letterboxed pictures ``(h, w, 3)`` uint8 of one size as a network's input ``(N, 3, h, w)`` float32 in 0-1.

    Values are the float32 nearest to v / 255. Every backend is fed with this function's bytes.

    Raises:
        DataError: no picture, or pictures of different sizes.
    """
    many = [pictures] if isinstance(pictures, np.ndarray) else list(pictures)
    sizes = {picture.shape for picture in many}
    if len(sizes) != 1 or any(picture.dtype != np.uint8 for picture in many):
        raise DataError(f"A batch needs uint8 pictures of one size, got {sorted(sizes) or 'none'}. Letterbox them.")
    return np.ascontiguousarray(to_float(np.stack(many)).transpose(0, 3, 1, 2))


def preprocess(
    picture: Picture, imgsz: int | tuple[int, int] = 640, fit: Fit = "square", enlarge: bool = True
) -> tuple[NDArray[np.float32], Placement]:
    """A photo ``(H, W, 3)`` uint8 RGB as input ``(1, 3, h, w)`` float32 in 0-1, and where it lies in it.

    Raises:
        ConfigError, DataError: as :func:`place` and :func:`letterbox`.
    """
    placement = place((picture.shape[0], picture.shape[1]), imgsz, fit, enlarge)
    return to_input(letterbox(picture, placement)), placement
