"""The model users hold: a photo in, boxes with names and scores out, in whatever runtime computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldsight import progress
from fieldsight.data.blocks import Blocks
from fieldsight.data.detection.letterbox import preprocess as letterboxed
from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.data.folders import Item
from fieldsight.data.images import read_image, to_uint8
from fieldsight.detection.found import Found
from fieldsight.detection.model import DetectorModel
from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.predictions import Prediction
from fieldsight.systems.edge.config import EdgeConfig
from fieldsight.systems.edge.data import class_names, drawn_splits
from fieldsight.systems.edge.options import PredictOptions
from fieldsight.systems.edge.photo import LARGE, Photo, open_photo
from fieldsight.systems.edge.tiled import WHOLE, find_tiled, find_whole

#: Endings of videos that are read frame by frame.
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")


class EdgeModel(DetectorModel):
    """A small detector."""

    system = "edge"
    config: EdgeConfig

    # ------------------------------------------------------------------------------------------ networks

    @classmethod
    def classes_of(cls, config: EdgeConfig) -> tuple[str, ...]:
        """Those of its drawn world."""
        return class_names(config.data.world)

    @classmethod
    def from_file(cls, path: Path) -> EdgeModel:
        """A detector of others as an ONNX file; see :mod:`fieldsight.systems.edge.external`."""
        from fieldsight.systems.edge.external import OnnxDetector

        return OnnxDetector.from_file(path)

    def describe(self) -> str:
        """Family, size and classes, and what the default was trained on."""
        own = self.config
        names = ", ".join(self.classes[:8]) + (", ..." if len(self.classes) > 8 else "")
        told = f"edge model '{self.source}' ({own.family}-{own.size} at {own.input} px: {names})"
        return f"{told}. {self.card.line()}" if self.card else told

    # ---------------------------------------------------------------------------------------- prediction

    def items(self, inputs: Any) -> list[Item]:
        """Photos and videos, one by one.

        Raises:
            DataError: nothing to work on, or an address: streams have a verb of their own.
        """
        for one in inputs if isinstance(inputs, (list, tuple)) else [inputs]:
            if isinstance(one, str) and "://" in one:
                raise DataError(f"'{one}' is an address, no file. Use: fieldsight edge watch --source ADDRESS")
        return super().items(inputs)

    def read(self, item: Any, options: PredictOptions) -> Any:
        """A photo as ``(H, W, 3)`` uint8 RGB, or a :class:`~fieldsight.systems.edge.photo.Photo` where it is a large
        TIFF or lies on a map; the path of a video as it is."""
        if isinstance(item, (str, Path)):
            video = Path(item).suffix.lower() in VIDEO_SUFFIXES
            return Path(item) if video else open_photo(Path(item))
        return np.ascontiguousarray(to_uint8(read_image(item, "rgb")))

    def preprocess(self, value: Picture, options: PredictOptions) -> tuple[dict[str, Tensor], Any]:
        """Letterboxed to the input's square; every runtime is fed these very bytes."""
        pixels, where = letterboxed(value, self.config.input)
        return {"image": torch.from_numpy(pixels)}, (value, where)

    def postprocess(self, raw: dict[str, Tensor], meta: Any, options: PredictOptions) -> Found:
        """Suppression, and boxes back in pixels of the photo."""
        picture, where = meta
        return self.told(picture, self.boxes(raw["output"].numpy(), where, options))

    def wanted(self, found: Detections, options: PredictOptions) -> Detections:
        """Boxes of the classes that are told, without those that have no pixel in the photo.

        Raises:
            ConfigError: an unknown class.
        """
        found = super().wanted(found, options)
        strangers = [name for name in options.only if name not in self.classes]
        if strangers:
            raise ConfigError(unknown("class", strangers[0], self.classes))
        if not options.only:
            return found
        kept = np.isin(found.labels, [self.classes.index(name) for name in options.only])
        return Detections.of(found.boxes[kept], found.scores[kept], found.labels[kept])

    def find(self, picture: Picture | Blocks, options: PredictOptions | None = None) -> Detections:
        """Boxes of a photo, in its pixels; in tiles where the options say so.

        Args:
            picture: ``(H, W, 3)`` uint8 RGB, or a reader of its blocks, of which no more than a tile or a band of rows
                is in memory at a time; without tiles it is looked at as a whole, shrunk.
            options: of ``predict``.
        """
        options = options or PredictOptions()
        if options.tile and max(picture.shape[:2]) > options.tile:
            whole = options.__class__(**{**options.to_dict(), "tile": 0})
            return find_tiled(
                lambda part: self.find(part, whole), picture, options.tile, options.overlap, most=options.most
            )
        if not isinstance(picture, np.ndarray):
            return find_whole(lambda part: self.find(part, options), picture, max(self.config.input, WHOLE))
        batch, (_, where) = self.preprocess(picture, options)
        return self.boxes(self.forward(batch)["output"].numpy(), where, options)

    def told(self, picture: Picture, found: Detections) -> Found:
        """A prediction from a photo and its boxes."""
        return Found(picture, found.boxes, found.scores, found.labels, self.classes)

    def predict_one(self, value: Any, options: PredictOptions) -> Prediction:
        """The boxes of a photo, or of a video frame by frame."""
        if isinstance(value, Path):
            from fieldsight.detection.video import predict_video

            return predict_video(self, value, options)
        photo = value if isinstance(value, Photo) else Photo(value)
        with contextlib.closing(photo):
            found = self.told(photo.picture(), self.find(photo.source, options))
        notes = self._notes(photo, options)
        return replace(
            found, size=photo.size, georeference=photo.georeference, label_files=options.labels,
            facts={**found.facts, **({"notes": notes} if notes else {})},
        )  # fmt: skip

    def _notes(self, photo: Photo, options: PredictOptions) -> list[str]:
        """What is worth knowing of how a photo was looked at; said, too."""
        high, wide = photo.size
        if high * wide <= LARGE or 0 < options.tile < max(high, wide):
            return []
        text = f"{wide:,} x {high:,} pixels looked at as a whole: small objects are lost, tiles find them (--tile 640)"
        progress.note(text)
        return [text]

    # ------------------------------------------------------------------------------------------- exports

    def calibration_inputs(self, count: int) -> Iterator[dict[str, Tensor]]:
        """Drawn training frames, for INT8.

        Raises:
            ConfigError: it was trained on a user's photos, which it does not hold.
        """
        if not self.artefacts.get("training", {}).get("drawn", True):
            raise ConfigError("This model was trained on your own photos: name them with --calibration FOLDER.")
        samples = drawn_splits(self.config.data).train
        for sample in samples[:: max(1, len(samples) // count)][:count]:
            yield {"image": torch.from_numpy(letterboxed(sample.image(), self.config.input)[0])}
