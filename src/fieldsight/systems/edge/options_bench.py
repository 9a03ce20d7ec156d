"""Options of ``export`` and ``bench``, and the columns of the benchmark's table; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting
from fieldsight.export.options import ExportOptions

Runtime = Literal["torch", "torchscript", "onnx", "openvino", "ncnn", "tensorrt"]
Precision = Literal["fp32", "fp16", "int8"]

RUNTIMES: tuple[Runtime, ...] = ("torch", "torchscript", "onnx", "openvino", "ncnn", "tensorrt")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

#: What a row of ``bench`` says and in which unit, in order.
COLUMNS: dict[str, str] = {
    "device": "",
    "model": "",
    "precision": "",
    "backend": "",
    "map50_95": "",  # at confidence 0.001
    "map50": "",
    "map50_95_conf50": "",  # at confidence 0.5, the paper's setting
    "map50_conf50": "",
    "mis_fps": "1/s",  # (M1)
    "ipm": "1/min",  # (M2)
    "mean_power_w": "W",
    "energy_j": "J",  # (M3) of 60 s
    "epi_j": "J",  # (M4), idle power included
    "epi_net_j": "J",  # without it
    "epi_estimated_j": "J",  # from counts; never measured
    "latency_ms": "ms",
    "latency_sd_ms": "ms",
    "p50_ms": "ms",
    "p95_ms": "ms",
    "p99_ms": "ms",
    "pre_ms": "ms",  # the whole loop's parts: reading and letterbox, network, suppression
    "model_ms": "ms",
    "post_ms": "ms",
    "load_s": "s",
    "size_mb": "MB",
    "memory_mb": "MB",
    "video_fps": "1/s",
    "speedup": "x FP32",
    "speedup_p": "",  # Wilcoxon's signed ranks over rounds
    "map_loss": "",  # of mAP50-95 against FP32 of the same runtime, with its paired bootstrap interval
    "map_loss_low": "",
    "map_loss_high": "",
    "int8_unit": "",
    "notes": "",
}

#: Columns that :func:`fieldsight.systems.edge.profiles.read_rows` has no use for; give them as its ``ignore``.
MORE_COLUMNS: tuple[str, ...] = (
    "map50_95_conf50", "map50_conf50", "energy_j", "epi_net_j", "epi_estimated_j", "p50_ms", "p95_ms", "p99_ms",
    "pre_ms", "model_ms", "post_ms", "load_s", "size_mb", "memory_mb", "video_fps", "speedup", "speedup_p",
    "map_loss", "map_loss_low", "map_loss_high", "int8_unit",
)  # fmt: skip


@dataclass(frozen=True)
class EdgeExportOptions(ExportOptions):
    """Options of ``export``."""

    format: Literal["onnx", "openvino", "ncnn", "torchscript", "tensorrt"] = setting("onnx", "file format")  # type: ignore[assignment]
    precision: Precision = setting("fp32", "numbers it computes with; int8 needs calibration inputs")  # type: ignore[assignment]
    tolerance: float = setting(1e-3, "largest difference of an output of FP32, in its own unit", gt=0, le=1)
    samples: int = setting(375, "inputs for INT8, a fifth of them to check it with", ge=2, le=100_000)
    nms: bool = setting(False, "with the suppression of overlapping boxes inside the file; onnx only")
    pictures: int = setting(16, "held-out pictures whose boxes are compared; 0: none", ge=0, le=10_000)
    box_loss: float = setting(0.1, "largest share of boxes that may be lost, or be new", ge=0, le=1)

    rules = (  # type: ignore[assignment]
        *ExportOptions.rules,
        (lambda o: not o.nms or o.format == "onnx", "nms: only with format onnx"),
    )


@dataclass(frozen=True)
class EdgeBenchOptions(Config):
    """Options of ``bench``."""

    runtimes: tuple[Runtime, ...] = setting(RUNTIMES, "runtimes to measure", min_items=1)
    precisions: tuple[Precision, ...] = setting(PRECISIONS, "precisions of each", min_items=1)
    threads: int = setting(1, "threads of every runtime", ge=1, le=1024)
    warmup: int = setting(50, "calls before the clock starts", ge=0, le=100_000)
    rounds: int = setting(10, "rounds; precisions of a runtime take turns in each", ge=1, le=10_000)
    runs: int = setting(10, "timed calls of the network in a round", ge=1, le=100_000)
    seconds: float = setting(5.0, "time of the whole loop, over all rounds; scaled to 60 s", unit="s", gt=0, le=86_400)
    frames: int = setting(200, "held-out pictures to measure accuracy on; 0: none", ge=0, le=1_000_000)
    draws: int = setting(1000, "resamples of the bootstrap of mAP", ge=1, le=100_000)
    calibration: Path | None = setting(
        None, "folder of pictures to calibrate INT8 with, instead of drawn ones", web=False
    )
    samples: int = setting(375, "pictures for INT8, a fifth of them left out", ge=2, le=100_000)
    video: Path | None = setting(None, "a video to run from file to boxes in every runtime", web=False)
    video_frames: int = setting(0, "pictures of it at the most; 0: all", ge=0)
    idle: float = setting(3.0, "time over which idle power is measured first, where there is a sensor", unit="s", ge=0)
    hardware: str = setting("paper-45nm-lpddr5", "profile for the estimated energy; see the system energy")
    isolate: bool = setting(True, "each row in a process of its own, on its own processors")

    rules = (
        (lambda o: len(set(o.runtimes)) == len(o.runtimes), "runtimes: a name is given twice"),
        (lambda o: len(set(o.precisions)) == len(o.precisions), "precisions: a name is given twice"),
    )
