"""Options of ``quantize``; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.systems.edge.quant.scheme import Observer, Scheme


@dataclass(frozen=True)
class QuantizeOptions(Config):
    """Options of ``quantize``."""

    calibration: Path | None = setting(
        None, "folder of pictures to calibrate with, instead of the training split", web=False
    )
    pictures: int = setting(300, "calibration pictures at the most", ge=1, le=100_000)
    observer: Observer = setting("mse", "how the range of activations is taken from calibration pictures")
    percentile: float = setting(99.95, "share of values inside the range, for the observer percentile", ge=90, lt=100)
    per_channel: bool = setting(True, "a scale for each output channel of the weights, or one for each layer")
    activations: Literal["symmetric", "affine"] = setting("symmetric", "zero in the middle of the range, or anywhere")
    head_float: bool = setting(True, "keep the last convolutions, DFL and sigmoid in float")
    keep_float: tuple[str, ...] = setting((), "layers to keep in float, by name or pattern (*.layers.0.*)")
    engine: Literal["onnxruntime", "fused"] = setting(
        "onnxruntime", "what the file is for: ONNX Runtime in integers, or TensorRT (fused)"
    )
    integers: Literal["uint8", "int8"] = setting(
        "uint8", "how activations are stored: uint8 for ONNX Runtime on x86, int8 for TensorRT; the same numbers"
    )
    keep_within: float | None = setting(
        None, "find the fewest layers in float so that no more than this is lost, e.g. 0.01", ge=0, le=1
    )
    keep_by: Literal["map", "output"] = setting(
        "map", "what is lost: mAP50-95 on validation pictures, or the output's relative error on calibration pictures"
    )
    qat_steps: int = setting(0, "steps of quantisation-aware training; 0: none", ge=0, le=1_000_000)
    qat_lr: float = setting(2e-4, "its learning rate", gt=0, le=1)
    qat_batch: int = setting(16, "pictures per step of it", ge=1, le=4096)
    qat_scales: Literal["moving", "fixed"] = setting(
        "moving", "scales of activations while it trains: a running mean over its batches, or those of calibration"
    )
    split: Literal["val", "test"] = setting("val", "split of a data folder that is measured on")
    frames: int = setting(300, "held-out pictures to measure on, at the most; 0: nothing is measured", ge=0)
    probes: int = setting(8, "calibration pictures for the sensitivity of each layer; 0: it is left out", ge=0, le=1000)
    factors: bool = setting(False, "also measure calibration pictures, observer, channels and head one by one")
    draws: int = setting(1000, "resamples of the bootstrap", ge=1, le=100_000)
    seed: int = setting(0, "seed of every choice", ge=0)

    rules = (
        (lambda o: o.keep_within is None or o.keep_by == "output" or o.frames > 0, "keep_within: by map needs frames"),
        (lambda o: o.keep_within is None or o.probes > 0, "keep_within: needs probes, to rank layers by"),
        (lambda o: not o.factors or o.frames > 0, "factors: needs frames to measure on"),
    )

    def scheme(self) -> Scheme:
        """The part that says how a network is quantised."""
        return Scheme(
            self.observer, self.percentile, "channel" if self.per_channel else "tensor", self.activations,
            self.head_float, self.engine, self.keep_float,
        )  # fmt: skip

    @property
    def judges(self) -> bool:
        """Whether pictures with truth are needed beside those that measure: to choose an epoch or layers by."""
        return bool(self.qat_steps) or (self.keep_within is not None and self.keep_by == "map")
