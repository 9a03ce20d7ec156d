"""Pictures of `edge`: what the shipped detector finds in drawn worlds and in a real frame; the gallery's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fieldsight
from fieldsight.data.detection.sample import Detections
from fieldsight.data.images import resize, write_image
from fieldsight.detection.drawing import draw_boxes
from fieldsight.systems.edge import studio
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.studio_scenes import CLIP_FRAMES, clip_frame, real_clip
from fieldsight.systems.edge.world import CLASSES, HELD_OUT_SEED, Frame, render_frame

WIDTH = 1280
SIDE = (300, 400)

#: Held-out frames: world, split, trajectory, frame.
SHOWN = (("street", "test", 0, 12), ("arena", "test", 0, 20), ("cutouts", "test", 1, 3))


def make(folder: Path) -> None:
    """Write ``edge-*.jpg`` (drawn photos, and one real frame), and the gallery's picture in few colours."""
    model = fieldsight.load("edge", device="cpu")
    assert isinstance(model, EdgeModel)
    write_image(folder / "edge-worlds.jpg", worlds(model))
    clip = real_clip()
    if clip is not None:
        frames = [draw_boxes(p, model.find(p), model.classes) for p in (clip_frame(clip, n) for n in CLIP_FRAMES)]
        write_image(folder / "edge-clip.jpg", resize(beside(frames), WIDTH))
    gallery = Image.fromarray(studio.gallery_picture())
    gallery.quantize(64, dither=Image.Dither.NONE).save(Path(studio.__file__).with_name("studio.png"), optimize=True)


def worlds(model: EdgeModel) -> np.ndarray[Any, Any]:
    """Held-out drawn frames: what is found above, what is true below."""
    columns = []
    for world, split, trajectory, number in SHOWN:
        frame = render_frame(world, split, trajectory, number, SIDE, HELD_OUT_SEED)
        found = draw_boxes(frame.image, model.find(frame.image), model.classes)
        columns.append(np.concatenate([found, truth_of(frame, world, model)], axis=0))
    return resize(beside(columns), WIDTH)


def truth_of(frame: Frame, world: str, model: EdgeModel) -> np.ndarray[Any, Any]:
    """A frame with its true boxes, in the model's labels."""
    own = [model.classes.index(CLASSES[world][k]) for k in frame.truth.labels.tolist()]
    true = Detections.of(frame.truth.boxes, np.ones(len(own)), own)
    return draw_boxes(frame.image, true, model.classes)


def beside(parts: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Pictures of one size side by side, white between."""
    gap = np.full((parts[0].shape[0], 8, 3), 255, np.uint8)
    return np.concatenate([p for part in parts for p in (part, gap)][:-1], axis=1)
