"""Options of ``export`` and ``bench``; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fieldsight.config import Config, setting


@dataclass(frozen=True)
class ExportOptions(Config):
    """Options of ``export``."""

    format: Literal["onnx", "openvino"] = setting("onnx", "file format")
    tolerance: float = setting(1e-4, "largest difference of an output, in its own unit", gt=0, le=1)
    opset: int = setting(18, "ONNX operator set", ge=18, le=23)


@dataclass(frozen=True)
class BenchOptions(Config):
    """Options of ``bench``."""

    runtimes: tuple[Literal["torch", "onnx", "openvino"], ...] = setting(
        ("torch", "onnx", "openvino"), "runtimes to time", min_items=1
    )
    batch: int = setting(1, "inputs per call", ge=1, le=4096)
    threads: int = setting(1, "threads of every runtime", ge=1, le=1024)
    warmup: int = setting(3, "calls before the clock starts", ge=0, le=1000)
    runs: int = setting(20, "timed calls of each runtime", ge=3, le=100_000)
