"""Pictures in and out: 8 and 16 bit, grey, colour, alpha, palette, CMYK, float TIFF, NPY; EXIF rotation applied."""

from __future__ import annotations

import io
import tokenize
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.files import atomic
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import DataError

Array = NDArray[Any]

#: Pictures larger than this are refused unless the caller allows more (a 100-megapixel photo passes).
MAX_PIXELS = 178_000_000

#: Numbers in a picture above which it is converted some rows at a time.
LARGE = 2**24

Channels = Literal["grey", "rgb", "keep"]


def read_image(source: str | Path | Array, channels: Channels = "keep", max_pixels: int = MAX_PIXELS) -> Array:
    """Read a picture, or take an array as one.

    Args:
        source: a path, or an array ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)`` of uint8, uint16, bool or float.
        channels: ``grey`` gives ``(H, W)``, ``rgb`` gives ``(H, W, 3)``, ``keep`` gives what the file holds.
            Transparency is laid over white when it is dropped.
        max_pixels: larger pictures are refused before they are unpacked.

    Returns:
        uint8, uint16 or float32, as the file has it; the first frame where there are several.

    Raises:
        DataError: absent, empty, truncated, corrupt, too large, or an array of a shape that is no picture. The
            message names the file.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        array = _read_npy(path, max_pixels) if path.suffix.lower() == ".npy" else _read_file(path, max_pixels)
        name = f"'{path}'"
    else:
        array, name = np.asarray(source), "The array"
    array = _check(array, name)
    return array if channels == "keep" else _convert(array, channels)


def to_float(picture: Array) -> NDArray[np.float32]:
    """Scale to 0-1: uint8 by 255, uint16 by 65535, bool to 0 and 1; floats stay as they are."""
    if picture.dtype == np.uint8:
        return picture.astype(np.float32) / np.float32(255.0)
    if picture.dtype == np.uint16:
        return picture.astype(np.float32) / np.float32(65535.0)
    return picture.astype(np.float32)


def to_uint8(picture: Array) -> NDArray[np.uint8]:
    """Clip a float picture to 0-1 and quantise it to 8 bits; NaN becomes 0; uint16 is scaled, uint8 stays."""
    if picture.dtype == np.uint8:
        return picture

    def quantised(part: Array) -> Array:
        scaled = np.nan_to_num(to_float(part), nan=0.0, posinf=1.0, neginf=0.0)
        return np.round(np.clip(scaled, 0.0, 1.0) * 255.0).astype(np.uint8)

    return _by_bands(quantised, picture)


def write_image(path: str | Path, picture: Array) -> Path:
    """Write PNG, JPEG, WebP or TIFF by the file ending; float32 pictures need ``.tif`` or ``.npy``.

    Raises:
        DataError: a float picture with an ending that can't hold it, or the file can't be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    with atomic(target) as temporary:
        if suffix == ".npy":
            np.save(temporary, picture, allow_pickle=False)
        elif suffix in (".tif", ".tiff"):
            import tifffile

            tifffile.imwrite(temporary, picture, photometric="rgb" if picture.ndim == 3 else "minisblack")
        elif picture.dtype.kind == "f":
            raise DataError(f"'{target}' can't hold float values. Use .tif or .npy, or convert with to_uint8.")
        elif picture.dtype == np.uint16:
            import cv2

            flipped = picture if picture.ndim == 2 else picture[..., ::-1]
            _, encoded = cv2.imencode(suffix, flipped)
            temporary.write_bytes(encoded.tobytes())
        else:
            from PIL import Image

            Image.fromarray(picture).save(temporary)
    return target


def png_bytes(picture: Array) -> bytes:
    """A picture as PNG in memory, for reports and pages; floats are clipped to 0-1."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(to_uint8(picture)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def resize(picture: Array, longest: int) -> Array:
    """Shrink so that the longer side has at most ``longest`` pixels; smaller pictures stay."""
    import cv2

    scale = longest / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


# ---------------------------------------------------------------------------------------------- internals


#: What NumPy lets out besides on a damaged header, which it parses as Python text.
_DAMAGED_HEADER = (SyntaxError, tokenize.TokenError, TypeError, OverflowError, MemoryError, RecursionError)


def _read_npy(path: Path, max_pixels: int) -> Array:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, *_DAMAGED_HEADER) as error:
        raise DataError(f"Can't read '{path}' as an array: {error}.") from None
    if array.ndim >= 2 and array.shape[0] * array.shape[1] > max_pixels:
        raise _too_large(path, array.shape[1], array.shape[0], max_pixels)
    return array


def _read_file(path: Path, max_pixels: int) -> Array:
    from PIL import Image, UnidentifiedImageError

    if not path.exists():
        raise DataError(f"There is no file '{path}'.")
    if path.is_dir():
        raise DataError(f"'{path}' is a folder, a picture is wanted.")
    if path.stat().st_size == 0:
        raise DataError(f"'{path}' is empty (0 bytes).")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked below
            with Image.open(path) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise _too_large(path, width, height, max_pixels)
                return _pixels(image, path)
    except UnidentifiedImageError:
        raise DataError(f"'{path}' is no picture that can be read. Allowed: {', '.join(IMAGE_SUFFIXES)}.") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"'{path}' is too large: {str(error).split(',')[0]}.") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, IndexError, TypeError, KeyError) as error:
        # what Pillow's decoders raise on truncated and corrupt files
        raise DataError(f"'{path}' is truncated or corrupt: {error}.") from None


def _pixels(image: Any, path: Path) -> Array:
    from PIL import ImageOps

    deep = image.mode.startswith("I") or (image.format in ("PNG", "TIFF") and _is_deep_colour(image))
    if deep or image.mode == "F":
        image.load()  # raises on truncated data, which OpenCV would fill with zeros
        return _read_deep(path)
    turned = ImageOps.exif_transpose(image)
    if turned.mode == "P":
        turned = turned.convert("RGBA" if "transparency" in turned.info else "RGB")
    elif turned.mode not in ("L", "RGB", "RGBA"):
        turned = turned.convert({"1": "L", "LA": "RGBA", "PA": "RGBA"}.get(turned.mode, "RGB"))
    return np.asarray(turned)


def _is_deep_colour(image: Any) -> bool:
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    return any(tile[0] == "zip" and "16" in str(tile[3]) for tile in image.tile)


def _read_deep(path: Path) -> Array:
    import cv2

    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    array = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if array is None:
        import tifffile

        array = tifffile.imread(path)
    elif array.ndim == 3:
        array = array[..., [2, 1, 0, *range(3, array.shape[2])]]
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    return np.ascontiguousarray(array)


def _check(array: Array, name: str) -> Array:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or 0 in array.shape:
        raise DataError(f"{name} has shape {array.shape}; a picture is (H, W), (H, W, 3) or (H, W, 4).")
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 65535:
        return array.astype(np.uint8 if array.max() <= 255 else np.uint16)
    raise DataError(f"{name} holds {array.dtype}; a picture holds uint8, uint16, bool or float.")


def _over_white(array: Array) -> Array:
    top = np.float32({np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(array.dtype, 1))
    alpha = array[..., 3:].astype(np.float32) / top
    laid = array[..., :3].astype(np.float32) * alpha + top * (1.0 - alpha)
    return laid.astype(np.float32) if array.dtype.kind == "f" else np.round(laid).astype(array.dtype)


def _by_bands(function: Callable[[Array], Array], array: Array) -> Array:
    """A function of pixels on a large picture, some rows at a time: what it holds in between would be several times as
    large as the picture."""
    if array.ndim < 2 or array.size <= LARGE:
        return function(array)
    step = max(1, LARGE * len(array) // array.size)
    first = function(array[:step])
    out = np.empty((len(array), *first.shape[1:]), first.dtype)
    out[:step] = first
    for start in range(step, len(array), step):
        out[start : start + step] = function(array[start : start + step])
    return out


def _convert(array: Array, channels: Channels) -> Array:
    if array.ndim == 3 and array.shape[2] == 4:
        array = _by_bands(_over_white, array)
    if channels == "rgb":
        return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    if array.ndim == 2:
        return array
    grey = array.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
    return grey if array.dtype.kind == "f" else np.round(grey).astype(array.dtype)


def _too_large(path: Path, width: int, height: int, limit: int) -> DataError:
    return DataError(
        f"'{path}' has {width} x {height} pixels, more than the {limit / 1e6:.0f} million allowed. "
        "Cut it into tiles, or raise max_pixels if you trust the file."
    )
