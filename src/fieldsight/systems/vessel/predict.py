"""The model users hold: a frame in, boxes of stenoses out; filter and fusion are part of it, as it was trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldsight.data.detection.letterbox import to_input
from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.data.images import read_image, to_uint8
from fieldsight.detection.model import DetectorModel
from fieldsight.detection.network import Exported
from fieldsight.errors import ConfigError, DataError
from fieldsight.model import Runner
from fieldsight.predictions import Prediction
from fieldsight.systems.vessel.config import VesselConfig
from fieldsight.systems.vessel.data import drawn_splits, squared
from fieldsight.systems.vessel.enhance import fused
from fieldsight.systems.vessel.enhancer import EXPORTABLE, Enhancer, Frangi
from fieldsight.systems.vessel.lumen import measure_all
from fieldsight.systems.vessel.options import PredictOptions
from fieldsight.systems.vessel.results import Stenoses
from fieldsight.systems.vessel.runs import is_run, predict_run
from fieldsight.systems.vessel.xa import open_angiography

#: A picture is a fused one where this share of its coloured pixels has the hue of the fusion, within this much.
FUSED_SHARE, HUE_WITHIN = 0.9, 0.08


@dataclass(frozen=True, eq=False)
class Still:
    """One frame ``(H, W)`` uint8; its view and the mm of a pixel where the file says them."""

    frame: NDArray[np.uint8]
    view: str = "unknown"
    spacing: float | None = None


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
    #: Seconds that filter and fusion took last; 0 where they are part of an exported graph.
    _filtering = 0.0

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
        """A frame as :class:`Still`; the path of a run as it is.

        Raises:
            DataError: absent, no picture, or one that is fused already.
        """
        path = Path(item) if isinstance(item, (str, Path)) else None
        if path is not None and is_run(path):
            artery: Any = None if options.artery == "file" else options.artery
            with open_angiography(path, artery=artery) as run:
                return path if run.count > 1 else Still(run.frame(0), str(run.view(0)), run.mm_per_px)
        picture = to_uint8(read_image(item, "rgb"))
        if looks_fused(picture):
            raise DataError(
                "This picture is coloured by a fusion already. The model filters and fuses frames itself, as it was "
                "trained: give it the raw frame."
            )
        return Still(np.asarray(read_image(picture, "grey"), np.uint8))

    def preprocess(self, value: Still, options: PredictOptions) -> tuple[dict[str, Tensor], Any]:
        """Squared to the input's size with mirrored borders; filter and fusion are part of :meth:`forward`."""
        frame, where = squared(value.frame, self.config.input)
        return {"image": torch.from_numpy(frame.astype(np.float32) / np.float32(255))[None, None]}, (value, where)

    def _eager(self) -> Runner:
        """The same as the graph, with the fast filter in place of the convolutions of an export."""
        detector = Exported(self.detector).eval()

        def run(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            frames = np.floor(batch["image"].numpy()[:, 0] * 255 + 0.5).astype(np.uint8)
            threads, started = min(8, torch.get_num_threads()), time.perf_counter()
            pictures = to_input([fused(frame, self.config.enhance, threads) for frame in frames])
            self._filtering = time.perf_counter() - started
            with torch.inference_mode():
                return {"output": detector(torch.from_numpy(pictures).to(self.device)).float().cpu()}

        return run

    def postprocess(self, raw: dict[str, Tensor], meta: Any, options: PredictOptions) -> Stenoses:
        """Suppression, and boxes back in pixels of the frame."""
        still, where = meta
        found = self.boxes(raw["output"].numpy(), where, options)
        picture = np.repeat(still.frame[..., None], 3, axis=-1)
        return Stenoses(
            picture, found.boxes, found.scores, found.labels, self.classes, label_files=options.labels,
            view=still.view, preproc={**self.config.enhance.to_dict(), "input": self.config.input},
        )  # fmt: skip

    def predict_one(self, value: Any, options: PredictOptions) -> Prediction:
        """The boxes of a frame, or of a run frame by frame."""
        if isinstance(value, Path):
            return predict_run(self, value, options)
        started = time.perf_counter()
        batch, meta = self.preprocess(value, options)
        raw = self.forward(batch)
        computed = time.perf_counter()
        found = self.postprocess(raw, meta, options)
        ended = time.perf_counter()
        ms = {"enhance": self._filtering, "network": computed - started - self._filtering, "post": ended - computed}
        if options.lumen:
            found = replace(found, lumens=measure_all(value.frame, found.boxes, value.spacing))
            ms["lumen"] = time.perf_counter() - ended
        return replace(found, ms={name: round(1000 * seconds, 2) for name, seconds in ms.items()})

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
