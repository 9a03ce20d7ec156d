"""Videos and folders of colour pictures, with a network that gives their depth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.data.images import read_image
from fieldsight.data.video import Video
from fieldsight.errors import DataError
from fieldsight.systems.alert.building import Raw, build
from fieldsight.systems.alert.frames import MAX_PIXELS
from fieldsight.systems.alert.mono import DepthModel
from fieldsight.systems.alert.options import SourceOptions
from fieldsight.systems.alert.recording import Array, Manifest, Recording, field_of_view
from fieldsight.systems.alert.store import Folder, numbered

#: Endings of videos.
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")

#: Endings of colour pictures.
COLOURS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def open_video(path: Path, options: SourceOptions) -> Recording:
    """A video by ``mono.model``; every ``mono.every``-th picture.

    Raises:
        DataError: no video, or no network given.
    """
    video = Video(path, MAX_PIXELS)
    picked = range(0, video.count, options.mono.every)
    fps = video.fps if 0 < video.fps < 1000 else options.fps
    return _record(lambda i: video(picked[i]), np.array(picked) / fps, path.stem, options)


def open_colours(store: Folder, name: str, options: SourceOptions) -> Recording:
    """A folder of colour pictures (or with them in ``rgb/`` or ``images/``) by ``mono.model``.

    Raises:
        DataError: no picture, or no network given.
    """
    names = store.names()
    folder = next((f for f in ("", "rgb", "images", "color") if any(numbered(names, f, COLOURS))), "")
    files = [store.path / f for f in numbered(names, folder, COLOURS)][:: options.mono.every]
    if not files:
        raise DataError(f"'{store.name}' holds no picture ending in {', '.join(COLOURS)}.")

    def picture(i: int) -> Array:
        found = read_image(files[i], "rgb", MAX_PIXELS)
        return found if found.dtype == np.uint8 else (found / 257).astype(np.uint8)

    return _record(picture, np.arange(len(files)) * options.mono.every / options.fps, name, options)


def _record(picture: Any, times: Array, name: str, options: SourceOptions) -> Recording:
    if options.mono.model is None:
        raise DataError(
            f"'{name}' holds colour, not depth. Name a network that gives depth: mono.model=FILE.onnx (any ONNX file "
            "with one picture in and one depth out)."
        )
    model = DepthModel(options.mono.model, options.mono)
    lenses: dict[str, Array] = {}

    def depth(i: int) -> Array:
        rgb = picture(i)
        turns = 0 if options.rotate == "auto" else int(options.rotate) // 90
        K = _lens(rgb.shape, options)
        lenses["K"] = K
        if turns:  # a network wants the sky on top, and the ground is looked for at the foot
            rgb = np.ascontiguousarray(np.rot90(rgb, -turns))
            return np.rot90(model.metric(rgb, _lens(rgb.shape, options), options.camera_height, pitch), turns)
        return model.metric(rgb, K, options.camera_height, pitch)

    pitch = math.radians(options.pitch)
    assumed = () if options.intrinsics or options.fov else ("a field of view of 62 degrees is assumed",)
    notes = (f"depth by the network {model.name} ({options.mono.output})", *assumed)
    raw = Raw(name, times, depth, lambda i: lenses.get("K"), scale=1.0, manifest=Manifest(kind="mono"), notes=notes)
    return build(raw, options)


def _lens(shape: tuple[int, ...], options: SourceOptions) -> Array:
    if options.intrinsics:
        fx, fy, cx, cy = options.intrinsics
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    return field_of_view(shape[1], shape[0], options.fov or 62.0)
