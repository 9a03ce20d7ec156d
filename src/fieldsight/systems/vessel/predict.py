"""The model users hold: a frame in, boxes of stenoses out; filter and fusion are part of it, as it was trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldsight.data.detection.letterbox import to_input
from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.data.images import read_image, to_uint8
from fieldsight.detection.found import Found
from fieldsight.detection.model import DetectorModel
from fieldsight.detection.network import Exported
from fieldsight.errors import ConfigError, DataError
from fieldsight.model import Runner
from fieldsight.systems.vessel.config import VesselConfig
from fieldsight.systems.vessel.data import drawn_splits, squared
from fieldsight.systems.vessel.enhance import fused
from fieldsight.systems.vessel.enhancer import EXPORTABLE, Enhancer, Frangi
from fieldsight.systems.vessel.options import PredictOptions

#: A picture is a fused one where this share of its coloured pixels has the hue of the fusion, within this much.
FUSED_SHARE, HUE_WITHIN = 0.9, 0.08


class Whole(nn.Module):
    """Filter, fusion and detector as one graph: grey frames ``(N, 1, S, S)`` in 0-1 to ``(N, 4 + nc, A)``."""

    def __init__(self, enhancer: nn.Module, detector: nn.Module) -> None:
        super().__init__()
        self.enhancer, self.detector = enhancer, detector

    def forward(self, image: Tensor) -> Tensor:
        """See the class. Grey levels are whole numbers, as in files."""
        found: Tensor = self.detector(self.enhancer(torch.floor(image * 255 + 0.5)) / 255)
        return found


class VesselModel(DetectorModel):
    """A detector of stenoses with its preprocessing."""

    system = "vessel"
    config: VesselConfig

    def graph(self) -> nn.Module:
        """Filter, fusion and network, so that an exported file takes plain frames.

        Raises:
            ConfigError: a filter or fusion that is no arithmetic of pixels.
        """
        own = self.config.enhance
        if own.filter != "frangi" or own.c == 0 or own.mode not in EXPORTABLE:
            raise ConfigError(
                f"enhance: mode '{own.mode}' with filter '{own.filter}' and c {own.c:g} can't be part of an exported "
                f"graph. Allowed: filter frangi with c above 0 and one of the modes {', '.join(EXPORTABLE)}."
            )
        mode: Any = own.mode
        frangi = Frangi(own.sigmas, own.polarity, own.beta, own.c)
        return Whole(Enhancer(mode, frangi, own.scaled, own.kappa, own.alpha), Exported(self.detector))

    def example(self) -> dict[str, Tensor]:
        """Two drawn-like frames: soft waves with a dark square."""
        whole = super().example()["image"][:, :1]
        return {"image": torch.floor(whole * 255 + 0.5) / 255}

    def typical(self) -> dict[str, Tensor]:
        """One grey frame of the input's size."""
        return {"image": torch.full((1, 1, self.config.input, self.config.input), 0.5)}

    def describe(self) -> str:
        """Family, size and preprocessing, and what the default was trained on."""
        own = self.config
        told = f"vessel model '{self.source}' ({own.family}-{own.size} at {own.input} px on {own.enhance.mode} frames)"
        return f"{told}. {self.card.line()}" if self.card else told

    # ---------------------------------------------------------------------------------------- prediction

    def read(self, item: Any, options: PredictOptions) -> Any:
        """A frame as ``(H, W)`` uint8.

        Raises:
            DataError: absent, no picture, or one that is fused already.
        """
        picture = to_uint8(read_image(item, "rgb"))
        if looks_fused(picture):
            raise DataError(
                "This picture is coloured by a fusion already. The model filters and fuses frames itself, as it was "
                "trained: give it the raw frame."
            )
        return np.asarray(read_image(picture, "grey"), np.uint8)

    def preprocess(self, value: NDArray[np.uint8], options: PredictOptions) -> tuple[dict[str, Tensor], Any]:
        """Squared to the input's size with mirrored borders; filter and fusion are part of :meth:`forward`."""
        frame, where = squared(value, self.config.input)
        return {"image": torch.from_numpy(frame.astype(np.float32) / np.float32(255))[None, None]}, (value, where)

    def _eager(self) -> Runner:
        """The same as the graph, with the fast filter in place of the convolutions of an export."""
        detector = Exported(self.detector).eval()

        def run(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            frames = np.floor(batch["image"].numpy()[:, 0] * 255 + 0.5).astype(np.uint8)
            pictures = to_input([fused(frame, self.config.enhance) for frame in frames])
            with torch.inference_mode():
                return {"output": detector(torch.from_numpy(pictures).to(self.device)).float().cpu()}

        return run

    def postprocess(self, raw: dict[str, Tensor], meta: Any, options: PredictOptions) -> Found:
        """Suppression, and boxes back in pixels of the frame."""
        frame, where = meta
        found = self.boxes(raw["output"].numpy(), where, options)
        picture = np.repeat(frame[..., None], 3, axis=-1)
        return Found(picture, found.boxes, found.scores, found.labels, self.classes)

    def find(self, picture: Picture | NDArray[np.uint8], options: Any = None) -> Detections:
        """Boxes of a frame ``(H, W)`` or ``(H, W, 3)`` uint8, in its pixels."""
        options = options or PredictOptions()
        batch, (_, where) = self.preprocess(self.read(picture, options), options)
        return self.boxes(self.forward(batch)["output"].numpy(), where, options)

    def calibration_inputs(self, count: int) -> Iterator[dict[str, Tensor]]:
        """Drawn training frames, for INT8.

        Raises:
            ConfigError: it was trained on a user's frames, which it does not hold.
        """
        if not self.artefacts.get("training", {}).get("drawn", True):
            raise ConfigError("This model was trained on your own frames: name them with --calibration FOLDER.")
        samples = drawn_splits(self.config.data).train
        for sample in samples[:: max(1, len(samples) // count)][:count]:
            yield self.preprocess(self.read(sample.image(), PredictOptions()), PredictOptions())[0]


def looks_fused(picture: Picture) -> bool:
    """Whether a picture ``(H, W, 3)`` has the one hue that ``ihs`` and ``substitute`` colour vessels with."""
    low, high = picture.min(axis=-1).astype(np.int16), picture.max(axis=-1).astype(np.int16)
    coloured = (high - low) > 24
    if coloured.mean() < 0.002:
        return False
    red, green, blue = (picture[..., k][coloured].astype(np.float64) for k in range(3))
    warm = (red >= green) & (green >= blue)
    hue = (green - blue) / np.maximum(red + green + blue - 3 * blue, 1e-9)
    return bool((warm & (np.abs(hue - 0.375) < HUE_WITHIN)).mean() > FUSED_SHARE)
