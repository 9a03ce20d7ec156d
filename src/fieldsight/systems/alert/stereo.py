"""Depth from a rectified pair of pictures, by OpenCV's semi-global matching."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError
from fieldsight.systems.alert.calibration import Calibration
from fieldsight.systems.alert.options import StereoOptions
from fieldsight.systems.alert.recording import Array

_SEARCH = {"3way": 2, "5way": 0, "8way": 1}  # OpenCV's numbers of the modes


def disparity(left: Array, right: Array, options: StereoOptions | None = None) -> NDArray[np.float32]:
    """Pixels by which a point lies farther left in the right picture, ``(H, W)`` float32; NaN where none was found.

    Args:
        left, right: ``(H, W)`` or ``(H, W, 3)`` uint8, rectified.
        options: the matcher's.

    Raises:
        DataError: pictures of different sizes, or narrower than the disparities looked for.
    """
    import cv2

    o = options or StereoOptions()
    a, b = _grey(left), _grey(right)
    if a.shape != b.shape:
        raise DataError(f"The left picture is {a.shape}, the right {b.shape}; a rectified pair has one size.")
    if a.shape[1] <= o.disparities + o.block:
        raise DataError(
            f"The pictures are {a.shape[1]} pixels wide, too few for {o.disparities} disparities. "
            "Give stereo.disparities a smaller multiple of 16."
        )
    area = o.block * o.block
    matcher = cv2.StereoSGBM.create(
        minDisparity=0, numDisparities=o.disparities, blockSize=o.block, P1=8 * area, P2=32 * area, disp12MaxDiff=1,
        preFilterCap=31, uniquenessRatio=o.uniqueness, speckleWindowSize=o.speckle, speckleRange=2,
        mode=_SEARCH[o.search],
    )  # fmt: skip
    # what leaves the right picture at its left edge has no match: pad, so that the left strip is not lost
    pad = o.disparities
    padded = [cv2.copyMakeBorder(p, 0, 0, pad, 0, cv2.BORDER_REPLICATE) for p in (a, b)]
    found = matcher.compute(*padded)[:, pad:].astype(np.float32) / np.float32(16)
    columns = np.arange(a.shape[1], dtype=np.float32)[None]
    found[(found <= 0) | (found > columns)] = np.nan  # beyond the right picture's edge there is only padding
    return found


def depth_of(found: Array, calibration: Calibration) -> NDArray[np.float32]:
    """Disparity ``(H, W)`` in pixels as plane depth in metres; NaN stays, and where the sum with doffs is <= 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shifted = np.asarray(found, dtype=np.float64) + calibration.doffs
        depth = calibration.baseline * calibration.focal / shifted
    return np.where(shifted > 0, depth, np.nan).astype(np.float32)


def stereo_depth(
    left: Array, right: Array, calibration: Calibration, options: StereoOptions | None = None
) -> NDArray[np.float32]:
    """Plane depth ``(H, W)`` float32 in metres of the left picture of a rectified pair; NaN where none was found.

    Raises:
        DataError: as :func:`disparity`.
    """
    return depth_of(disparity(left, right, options), calibration)


def _grey(picture: Array) -> NDArray[np.uint8]:
    import cv2

    array = np.asarray(picture)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise DataError(f"A picture of a pair is uint8 (H, W) or (H, W, 3), got {array.dtype} {array.shape}.")
    return np.ascontiguousarray(array) if array.ndim == 2 else cv2.cvtColor(array[..., :3], cv2.COLOR_RGB2GRAY)
