"""How a network is quantised; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fieldsight.config import Config, setting

Observer = Literal["minmax", "entropy", "percentile", "mse"]


@dataclass(frozen=True)
class Scheme(Config):
    """Options of INT8 post-training quantisation.

    The defaults lose least on drawn validation frames. Objects are rare: a percentile cuts off the very activations
    that objects make, so the range is the one of least squared error (study "effects").
    """

    observer: Observer = setting("mse", "how the range of activations is taken from calibration pictures")
    percentile: float = setting(99.95, "share of values inside the range, for the observer percentile", ge=90, lt=100)
    weights: Literal["channel", "tensor"] = setting("channel", "a scale for each output channel, or for each layer")
    activations: Literal["symmetric", "affine"] = setting("symmetric", "zero in the middle of the range, or anywhere")
    head_float: bool = setting(True, "keep the last convolutions, DFL and sigmoid in float")
    engine: Literal["fused", "onnxruntime"] = setting(
        "fused", "fused: rounded after the activation function (TensorRT); onnxruntime: also before it"
    )
    keep_float: tuple[str, ...] = setting((), "layers to keep in float, by name or pattern (backbone.0*)")
