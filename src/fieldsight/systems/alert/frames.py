"""Frames as they lie in files: 16-bit pictures in and out, units to metres, quarter turns."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError
from fieldsight.systems.alert.recording import Array, Frame

#: Pixels of one frame; a frame that claims more is refused before it is unpacked.
MAX_PIXELS = 16 * 2**20

PNG = b"\x89PNG\r\n\x1a\n"


def png(picture: Array) -> bytes:
    """A grey picture ``(H, W)`` uint8 or uint16 as PNG; the same picture gives the same bytes."""
    import cv2

    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 4])[1].tobytes()


def read_png(data: bytes, where: str) -> Array:
    """A grey picture ``(H, W)`` uint8 or uint16 (or what else the file has) out of the bytes of a PNG or TIFF.

    Raises:
        DataError: no picture, truncated, damaged, in colour, or above :data:`MAX_PIXELS`; ``where`` is named.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked below
            with Image.open(io.BytesIO(data), formats=("PNG", "TIFF", "PPM")) as image:
                check_size(image.size, where)
                image.load()
                found = np.asarray(image)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise DataError(f"{where} is no depth picture that can be read: {error}.") from None
    deep = data.startswith(PNG) and data[24:25] == b"\x10"  # Pillow halves 16-bit colour to 8 bits
    if found.ndim == 3 and not deep and (found[..., :1] == found[..., :3]).all():
        found = found[..., 0]  # grey written as colour
    if found.ndim != 2:
        raise DataError(f"{where} is a colour picture {found.shape}; depth is grey, 16 bit.")
    return found


def check_size(size: tuple[int, int], where: str) -> None:
    """Refuse a width and height that no depth frame has.

    Raises:
        DataError: above :data:`MAX_PIXELS` or empty.
    """
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise DataError(f"{where} has {size[0]} x {size[1]} pixels; a depth frame has 1 to {MAX_PIXELS // 2**20} M.")


def png_size(head: bytes) -> tuple[int, int] | None:
    """Width and height from the first 24 bytes of a PNG, or None."""
    if len(head) < 24 or not head.startswith(PNG):
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def metres(values: Array, unit: float) -> NDArray[np.float32]:
    """Raw values times ``unit`` as float32 metres; 0, negative and non-finite values become NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        # in double: 7804 mm must be the float32 next to 7.804
        depth = (np.asarray(values, dtype=np.float64) * unit).astype(np.float32)
        depth[~((depth > 0) & np.isfinite(depth))] = np.nan
    return depth


def millimetres(depth: Array) -> NDArray[np.uint16]:
    """Metres ``(H, W)`` as whole millimetres; 0 where nothing came back; beyond 65.535 m it is 65535."""
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.round(np.asarray(depth, dtype=np.float64) * 1000.0)
        scaled = np.where(np.isfinite(scaled) & (scaled > 0), np.clip(scaled, 1, 65535), 0)
    return scaled.astype(np.uint16)


def empty(shape: tuple[int, int], t: float, K: Array | None = None, pose: Array | None = None) -> Frame:
    """A frame in which nothing came back, for one that could not be read."""
    return Frame(np.full(shape, np.nan, dtype=np.float32), t, None, K, pose)


def plane_depth(distance: Array, K: Array) -> NDArray[np.float32]:
    """Euclidean distance ``(H, W)`` to plane depth, by the angle of each pixel of ``K (3, 3)``."""
    height, width = distance.shape
    x = (np.arange(width) - K[0, 2]) / K[0, 0]
    y = (np.arange(height) - K[1, 2]) / K[1, 1]
    return (distance / np.sqrt(1.0 + x[None, :] ** 2 + y[:, None] ** 2)).astype(np.float32)


def turned(frame: Frame, turns: int) -> Frame:
    """A frame turned clockwise by quarter turns: depth, confidence, intrinsics and pose together."""
    for _ in range(turns % 4):
        frame = _quarter(frame)
    return frame


def _quarter(frame: Frame) -> Frame:
    # clockwise: pixel (u, v) goes to (H - 1 - v, u), so the new camera has x' = -y and y' = x
    height = frame.depth.shape[0]
    K, pose = frame.K, frame.pose
    if K is not None:
        K = np.array([[K[1, 1], 0.0, height - 1 - K[1, 2]], [0.0, K[0, 0], K[0, 2]], [0.0, 0.0, 1.0]])
    if pose is not None:
        back = np.eye(4)
        back[:2, :2] = [[0.0, 1.0], [-1.0, 0.0]]
        pose = pose @ back
    return Frame(_turn(frame.depth), frame.t, None if frame.confidence is None else _turn(frame.confidence), K, pose)


def _turn(picture: Array) -> Array:
    return np.ascontiguousarray(np.rot90(picture, -1))


def turns_by_gravity(poses: Any) -> int:
    """Clockwise quarter turns ``0..3`` that bring the sky to row 0, from poses ``(4, 4)`` (None is skipped)."""
    up = np.zeros(2)
    for pose in poses:
        if pose is not None:
            up += pose[2, :2]  # the world's z axis, seen from the camera: x right, y down
    if float(np.hypot(*up)) < 1e-6:
        return 0
    # a clockwise turn takes (x, y) to (-y, x); the sky is up where y is least
    heights = [up[1], up[0], -up[1], -up[0]]
    return int(np.argmin(heights))
