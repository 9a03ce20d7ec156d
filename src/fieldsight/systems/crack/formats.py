"""One photo or one mask, whatever it was saved as: 0/1 and 0/255, label maps, JPEG, 16 bit, MATLAB and Berkeley files.

A mask is taken as crack or not by one rule: values above 127, or above 0 where the largest value is 1. Values that fit
neither are refused, never guessed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.images import MAX_PIXELS, read_image
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import DataError
from fieldsight.systems.crack.labels import LABEL_SUFFIXES, read_labels, read_seg_header
from fieldsight.systems.crack.sample import MaskArray, Picture

Array = NDArray[Any]

#: Endings of files whose compression changes values, so that 0/1 can't be told from noise.
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")

#: Values above this are crack, strictly.
THRESHOLD = 127

#: Aspect ratios may differ by this much, relatively, where a mask has another size than its photo.
ASPECT_TOLERANCE = 0.01

#: Share of middle grey values (64-191) above which a picture is a photo and no mask.
PHOTO_SHARE = 0.5

#: Depths that 16-bit files really hold; 12 and 14 bits are what cameras give.
DEPTHS = (8, 12, 14, 16)

_TAG = 0x0112  # EXIF's orientation


@dataclass(frozen=True)
class Header:
    """What a file says of itself without being decoded.

    Attributes:
        size: ``(H, W)``, after the rotation that EXIF asks for.
        orientation: EXIF's, 1 to 8; 1 is upright.
        others: labels of a MATLAB or Berkeley file beside background and crack.
    """

    size: tuple[int, int]
    orientation: int = 1
    others: tuple[int, ...] = ()


# ---------------------------------------------------------------------------------------------------- photos


def read_photo(source: str | Path | Array) -> Picture:
    """Read a photo as ``(H, W, 3)`` uint8 RGB, EXIF rotation applied, transparency over white.

    Grey becomes RGB. 16-bit values are scaled by the smallest of 8, 12, 14 and 16 bits that holds the largest value.
    Float values are 0-1 or 0-255.

    Raises:
        DataError: absent, truncated, no picture, or float values that are neither 0-1 nor 0-255.
    """
    picture = read_image(source, "rgb")
    if picture.dtype == np.uint16:
        top = next((1 << d) - 1 for d in DEPTHS if picture.max() < 1 << d)
        picture = np.round(picture * np.float32(255.0 / top)).astype(np.uint8)
    elif picture.dtype != np.uint8:
        picture = np.round(_scaled(picture, _name(source, "The photo"))).astype(np.uint8)
    return np.ascontiguousarray(picture)


def _scaled(picture: Array, name: str) -> Array:
    """Floats of 0-1 or 0-255 as 0-255."""
    low, top = float(picture.min()), float(picture.max())
    if not (low >= 0.0 and top <= 255.0):  # also NaN
        raise DataError(f"{name} holds float values from {low:g} to {top:g}; allowed are 0 to 1, or 0 to 255.")
    return picture * np.float32(255.0) if top <= 1.0 else picture


# ----------------------------------------------------------------------------------------------------- masks


def read_mask(
    source: str | Path | Array, size: tuple[int, int] | None = None, photo: str | Path | None = None
) -> MaskArray:
    """Read a mask as ``(H, W)`` bool, True where there is crack.

    Args:
        source: a picture, a ``.mat`` or ``.seg`` file, or an array.
        size: ``(H, W)`` that the mask must get; that of ``photo`` without one. A mask of another size is resized,
            nearest neighbour, if the aspect ratios agree within 1 %.
        photo: the photo's file, for messages, and for its EXIF rotation: a mask that has the size of the photo before
            rotation is rotated likewise, if only then the sizes agree.

    Raises:
        DataError: unreadable, values that are neither 0/1 nor 0/255, a label map of several classes, an alpha channel
            that holds something, or another shape than the photo's.
    """
    name = _name(source, "The mask")
    mask = _read(Path(source)) if isinstance(source, (str, Path)) else binarize(read_image(source), name)
    if size is None and photo is not None:
        size = read_header(photo).size
    if size is None or mask.shape == size:
        return mask
    candidates = [mask]
    orientation = read_header(photo).orientation if photo is not None else 1
    if orientation >= 5:  # those that swap height and width
        candidates.append(_turned(mask, orientation))
    for candidate in candidates:
        if candidate.shape == size:
            return candidate
    for candidate in candidates:
        if same_aspect(candidate.shape, size):
            return _nearest(candidate, size)
    raise sizes_differ(name, mask.shape, f"'{photo}'" if photo is not None else "its photo", size)


def binarize(picture: Array, name: str = "The mask", lossy: bool = False) -> MaskArray:
    """Crack or not, by the values of a picture ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``.

    Args:
        picture: uint8, uint16 or float, as :func:`fieldsight.data.images.read_image` gives it.
        name: for messages.
        lossy: it comes from a JPEG: then 0/1 values can't be told from noise and are refused.

    Raises:
        DataError: values that fit neither 0/1 nor 0/255 (nor 0/65535).
    """
    grey = _grey(picture, name)
    if grey.dtype.kind == "f":
        scaled = _scaled(grey, name)
        if not lossy and float(grey.max()) <= 1.0:
            return grey > 0.5
        grey = np.round(scaled).astype(np.uint8)
    top = int(grey.max())
    if top > 255:
        if top <= 32767:
            raise _ambiguous(name, grey, "is 16 bit, where crack is 65535")
        grey, top = (grey >> 8).astype(np.uint8), top >> 8
    grey = grey.astype(np.uint8, copy=False)
    if top == 0:
        return np.zeros(grey.shape, bool)
    if top == 1 and not lossy:
        return grey > 0
    if top <= THRESHOLD:
        raise _ambiguous(name, grey, "was saved with loss" if lossy else "")
    counts = np.bincount(grey.ravel(), minlength=256)
    if not lossy and counts[1] and counts[255] and not counts[2:255].any():
        raise _ambiguous(name, grey, "looks like labels with 255 for ignored pixels")
    if counts[64:192].sum() > PHOTO_SHARE * grey.size:
        raise _ambiguous(name, grey, "looks like a photo")
    return grey > THRESHOLD


def _read(path: Path) -> MaskArray:
    name = f"'{path}'"
    if path.suffix.lower() in LABEL_SUFFIXES:
        labels, crack = read_labels(path)
        return labels == crack
    picture = np.asarray(read_image(path))
    if picture.ndim == 3 and picture.shape[2] == 3:
        palette = _palette(path)
        if palette is not None:
            if palette.max() <= 1:
                return palette == 1
            if not _is_grey(picture):
                raise _ambiguous(name, palette, "is a label map with a palette")
    return binarize(picture, name, path.suffix.lower() in LOSSY_SUFFIXES)


def _palette(path: Path) -> Array | None:
    """The indices of a picture whose palette has colours, EXIF rotation applied; None for any other.

    Indices count, not colours: index 0 of a label map is background whatever its colour is.
    """
    from PIL import Image, ImageOps

    if path.suffix.lower() == ".npy":
        return None
    with Image.open(path) as image:  # it was decoded just before, so nothing can go wrong
        if image.mode != "P" or _is_grey(np.array(image.getpalette() or [0, 0, 0]).reshape(1, -1, 3)):
            return None
        return np.asarray(ImageOps.exif_transpose(image))


def _grey(picture: Array, name: str) -> Array:
    """One value a pixel; equal channels stay exact."""
    if picture.ndim == 3 and picture.shape[2] == 4:
        alpha = picture[..., 3]
        full = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
        if float(alpha.min()) < full:
            raise DataError(
                f"{name} has an alpha channel with values from {alpha.min():g} to {alpha.max():g}; whether it or the "
                "colour is the mask can't be told. Save the mask as a grey picture, crack 255, without transparency."
            )
        picture = picture[..., :3]
    if picture.ndim == 2:
        return picture
    return picture[..., 0] if _is_grey(picture) else read_image(picture, "grey")


def _is_grey(picture: Array) -> bool:
    return bool((picture[..., :1] == picture[..., 1:3]).all())


def _ambiguous(name: str, grey: Array, remark: str) -> DataError:
    values = np.unique(grey)
    shown = ", ".join(str(v) for v in values[:6]) + (f", ... ({len(values)} values)" if len(values) > 6 else "")
    return DataError(
        f"{name} is no mask that can be understood: it holds the values {shown}, the largest is {values[-1]}"
        f"{', and it ' + remark if remark else ''}. A mask is 0 and 255 (above {THRESHOLD} is crack), or 0 and 1 "
        "without loss. Save it as a PNG of 0 and 255."
    )


# ----------------------------------------------------------------------------------------------------- sizes


def read_header(path: str | Path) -> Header:
    """Size and rotation of a picture, ``.mat`` or ``.seg`` file; pictures are not decoded.

    Raises:
        DataError: absent, empty, too large, or not what its ending says. A file whose end is missing passes.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix == ".npy":
        shape = read_image(source).shape
        return Header((shape[0], shape[1]))
    if suffix == ".mat":
        labels, crack = read_labels(source)
        others = tuple(int(v) for v in np.unique(labels) if v not in (crack - 1, crack))
        return Header((labels.shape[0], labels.shape[1]), 1, others)
    if suffix == ".seg":
        height, width, segments = read_seg_header(source)
        return Header((height, width), 1, tuple(range(2, segments)))
    return _picture_header(source)


def _picture_header(path: Path) -> Header:
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # read_image has its own limit
            with Image.open(path) as image:
                width, height = image.size
                # asking a PNG for EXIF that its header lacks would decode all of it
                known = image.format != "PNG" or "exif" in image.info
                tag = image.getexif().get(_TAG, 1) if known else 1
                orientation = tag if tag in range(1, 9) else 1
                swapped = orientation in (5, 6, 7, 8) and image.format != "TIFF"  # Pillow turns TIFF itself
    except UnidentifiedImageError:
        kind = "is empty (0 bytes)" if path.stat().st_size == 0 else "is no picture that can be read, or truncated"
        raise DataError(f"'{path}' {kind}. Allowed: {', '.join(IMAGE_SUFFIXES)}.") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        TypeError,
        KeyError,
        Image.DecompressionBombError,
    ) as e:
        raise DataError(f"'{path}' is truncated or corrupt: {e}.") from None
    if width * height > MAX_PIXELS:
        raise DataError(f"'{path}' has {width} x {height} pixels, more than {MAX_PIXELS / 1e6:.0f} million.")
    return Header((width, height) if swapped else (height, width), orientation)


def same_aspect(shape: Sequence[int], size: Sequence[int]) -> bool:
    """True where ``(h, w)`` and ``(H, W)`` have the same aspect ratio within 1 %."""
    return abs(shape[1] * size[0] / (shape[0] * size[1]) - 1.0) <= ASPECT_TOLERANCE


def fits(mask: Header, photo: Header) -> bool:
    """Whether a mask of this header can be brought to its photo's size by :func:`read_mask`."""
    turned = photo.orientation >= 5 and same_aspect(mask.size[::-1], photo.size)
    return same_aspect(mask.size, photo.size) or turned


def sizes_differ(mask: str, shape: Sequence[int], photo: str, size: Sequence[int]) -> DataError:
    """The error for a mask ``(h, w)`` that does not fit its photo ``(H, W)``."""
    return DataError(
        f"{mask} is {shape[1]} x {shape[0]}, but {photo} is {size[1]} x {size[0]} (width x height); the aspect ratios "
        "differ by more than 1 %. Give the mask of this photo."
    )


def _nearest(mask: MaskArray, size: tuple[int, int]) -> MaskArray:
    """Nearest neighbour by pixel centres."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for new, old in zip(size, mask.shape, strict=True)
    )
    return np.ascontiguousarray(mask[rows[:, None], columns])


def _turned(mask: MaskArray, orientation: int) -> MaskArray:
    """The rotation of EXIF orientations 5 to 8."""
    turned = {5: mask.T, 6: np.rot90(mask, -1), 7: np.rot90(mask, 2).T, 8: np.rot90(mask, 1)}[orientation]
    return np.ascontiguousarray(turned)


def _name(source: Any, otherwise: str) -> str:
    return f"'{source}'" if isinstance(source, (str, Path)) else otherwise
