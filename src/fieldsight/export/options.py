"""Options of ``export`` and ``bench``; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting


@dataclass(frozen=True)
class ExportOptions(Config):
    """Options of ``export``."""

    format: Literal["onnx", "openvino"] = setting("onnx", "file format")
    tolerance: float = setting(1e-4, "largest difference of an output, in its own unit", gt=0, le=1)
    opset: int = setting(18, "ONNX operator set", ge=18, le=23)
    precision: Literal["fp32", "int8"] = setting("fp32", "numbers it computes with; int8 needs calibration inputs")
    calibration: Path | None = setting(None, "folder of inputs to calibrate INT8 with, instead of the system's own")
    samples: int = setting(160, "inputs for INT8, a fifth of them to check it with", ge=2, le=100_000)
    int8_tolerance: float = setting(
        0.1, "largest mean difference of an INT8 output, as a share of the output's spread", gt=0, le=10
    )

    rules = ((lambda o: o.calibration is None or o.precision == "int8", "calibration: only with precision int8"),)


@dataclass(frozen=True)
class BenchOptions(Config):
    """Options of ``bench``."""

    runtimes: tuple[Literal["torch", "onnx", "openvino", "onnx-int8", "openvino-int8"], ...] = setting(
        ("torch", "onnx", "openvino", "onnx-int8", "openvino-int8"), "runtimes to time", min_items=1
    )
    calibration: Path | None = setting(None, "folder of inputs to calibrate INT8 with, instead of the system's own")
    batch: int = setting(1, "inputs per call", ge=1, le=4096)
    threads: int = setting(1, "threads of every runtime", ge=1, le=1024)
    warmup: int = setting(3, "calls before the clock starts", ge=0, le=1000)
    runs: int = setting(20, "timed calls of each runtime", ge=3, le=100_000)
