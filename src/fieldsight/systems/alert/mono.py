"""Depth from single pictures, by any network that a user brings as ONNX: one picture in, one depth out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError, ExportError, MissingExtraError
from fieldsight.systems.alert.options import MonoOptions
from fieldsight.systems.alert.recording import Array

#: Mean and deviation of ImageNet's colours, which most networks were trained with.
IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))

#: Depth beyond which inverse depth says nothing, metres.
FARTHEST = 80.0


class DepthModel:
    """An ONNX network ``rgb -> depth``; size, layout and kind of its input are read from the graph.

    Args:
        path: the file.
        options: what it gives and how its input is scaled.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ExportError: no network that can be loaded.
        DataError: not one picture in, or not one depth out.
    """

    def __init__(self, path: str | Path, options: MonoOptions | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("onnxruntime", "onnx", "Depth from single pictures") from None
        self.name, self.options = Path(path).name, options or MonoOptions()
        if not Path(path).is_file():
            raise DataError(f"There is no file '{path}'. Give mono.model an ONNX file.")
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ExportError(f"ONNX Runtime can't load '{self.name}': {error}") from None
        entries = self._session.get_inputs()
        shape = list(entries[0].shape) if entries else []
        if len(entries) != 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            found = ", ".join(f"{e.name} {e.shape}" for e in entries)
            raise DataError(f"'{self.name}' takes {found}; one picture (1, 3, H, W) or (1, H, W, 3) is wanted.")
        self._input, self._first = entries[0].name, shape[1] == 3
        self._bytes = "uint8" in entries[0].type
        self._half = "float16" in entries[0].type
        sides = shape[2:] if self._first else shape[1:3]
        self._size = tuple(s if isinstance(s, int) and s > 0 else 0 for s in sides)

    def __call__(self, rgb: Array) -> NDArray[np.float32]:
        """What the network gives for a picture ``(H, W, 3)`` uint8, at its size, ``(H, W)`` float32; untouched values.

        Raises:
            DataError: a picture of another kind, or a network that fails on it or gives no depth.
        """
        import cv2

        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise DataError(f"A picture is uint8 (H, W, 3), got {rgb.dtype} {rgb.shape}.")
        height, width = self._target(rgb.shape[0], rgb.shape[1])
        small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        feed = self._scaled(small)
        feed = (feed.transpose(2, 0, 1) if self._first else feed)[None]
        try:
            found = np.asarray(self._session.run(None, {self._input: np.ascontiguousarray(feed)})[0])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise DataError(f"'{self.name}' fails on a picture of {width} x {height}: {error}") from None
        found = found.reshape([n for n in found.shape if n != 1] or [1])
        if found.ndim != 2 or found.dtype.kind != "f":
            raise DataError(f"'{self.name}' gives {found.dtype} {found.shape}; one depth (H, W) is wanted.")
        size = (rgb.shape[1], rgb.shape[0])
        return cv2.resize(found.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)

    def metric(self, rgb: Array, K: Array, height: float, pitch: float = 0.0) -> NDArray[np.float32]:
        """Plane depth ``(H, W)`` in metres of an upright picture.

        Args:
            rgb: ``(H, W, 3)`` uint8.
            K: ``(3, 3)`` of the picture.
            height: metres of the camera over the ground.
            pitch: radians that it looks below the horizon.

        Raises:
            DataError: as in a call, or no ground in sight that could fix the scale.
        """
        found = self(rgb)
        if self.options.output == "inverse":
            return by_ground(found, K, height, pitch)
        if self.options.rescale:
            with np.errstate(divide="ignore"):
                inverse = np.where(found > 0, 1 / found, 0.0)
            return by_ground(inverse, K, height, pitch, shift=False)
        return np.where(np.isfinite(found) & (found > 0), found, np.nan).astype(np.float32)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if all(self._size):
            return self._size[0], self._size[1]
        scale = self.options.size / max(height, width)
        # vision transformers cut pictures into squares of 14
        sides = [max(14, round(side * scale / 14) * 14) for side in (height, width)]
        return self._size[0] or sides[0], self._size[1] or sides[1]

    def _scaled(self, picture: Array) -> Array:
        if self._bytes:
            return picture
        kind = np.float16 if self._half else np.float32
        how = self.options.normalise
        values = picture.astype(np.float64)
        if how in ("auto", "imagenet"):
            values = (values / 255 - IMAGENET[0]) / IMAGENET[1]
        elif how == "unit":
            values = values / 255
        elif how == "signed":
            values = values / 127.5 - 1
        return values.astype(kind)


def by_ground(inverse: Array, K: Array, height: float, pitch: float = 0.0, shift: bool = True) -> NDArray[np.float32]:
    """Inverse depth up to scale and shift, made metres by the ground: it lies ``height`` below the camera.

    The ground's inverse depth is a straight line in the row, so scale and shift follow from the lower half of the
    picture. Whatever stands there is nearer than the ground: the fit is repeated without what lies far from it.

    Args:
        inverse: ``(H, W)``, larger is nearer.
        K: ``(3, 3)``.
        height: metres.
        pitch: radians that the camera looks below the horizon.
        shift: False where zero means infinitely far already.

    Returns:
        Plane depth ``(H, W)`` float32; NaN beyond 80 m.

    Raises:
        DataError: the ground can't be seen, or does not grow nearer towards the picture's foot.
    """
    rows, columns = inverse.shape
    slope = (np.arange(rows) - K[1, 2]) / K[1, 1] * math.cos(pitch) + math.sin(pitch)
    ground = slope / height  # 1/m of the ground in each row
    seen = (ground > 1 / 30.0) & (np.arange(rows) >= rows // 2)
    if seen.sum() < 4:
        raise DataError("The ground is not in the picture, so depth has no scale. Set pitch, or use a metric network.")
    step = max(1, columns // 64)
    x = np.asarray(inverse, dtype=np.float64)[seen][:, ::step]
    y = np.repeat(ground[seen][:, None], x.shape[1], axis=1)
    x, y = x[np.isfinite(x)], y[np.isfinite(x)]
    keep = np.ones(x.size, dtype=bool)
    a, b = 0.0, 0.0
    for _ in range(8):
        if keep.sum() < 8 or float(np.ptp(x[keep])) < 1e-12:
            raise DataError("The ground is equally far everywhere, so it has no scale. Is this a depth network?")
        if shift:
            a, b = (float(v) for v in np.polyfit(x[keep], y[keep], 1))
        else:
            a = float(np.median(y[keep] / np.maximum(x[keep], 1e-9)))
        off = np.abs(a * x + b - y)
        keep = off <= max(3 * float(np.median(off)), 1e-6)
    if a <= 0:
        raise DataError("The ground grows farther towards the picture's foot. Is the picture upright?")
    metres = a * np.asarray(inverse, dtype=np.float64) + b
    return np.where(metres > 1 / FARTHEST, 1 / np.maximum(metres, 1 / FARTHEST), np.nan).astype(np.float32)
