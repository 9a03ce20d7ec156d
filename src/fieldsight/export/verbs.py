"""``export`` and ``bench``, the same for every system with a graph."""

from __future__ import annotations

import math
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight import progress
from fieldsight.errors import ConfigError, ExportError, MissingExtraError
from fieldsight.export.calibration import calibration_inputs
from fieldsight.export.onnx import example_tensors, export_onnx, export_openvino
from fieldsight.export.options import BenchOptions, ExportOptions
from fieldsight.export.quantize import Gap, export_onnx_int8, export_openvino_int8
from fieldsight.export.runtime import int8_support, onnx_runner, openvino_runner
from fieldsight.model import Model, Runner
from fieldsight.predictions import Table

#: Inputs that INT8 is calibrated with in ``bench``: its speed does not depend on the ranges.
BENCH_SAMPLES = 10


@dataclass(frozen=True)
class Exported:
    """A written export and how far its outputs are from the original's.

    Attributes:
        path: the file or folder.
        format: ``onnx`` or ``openvino``.
        differences: largest absolute difference of each output.
        saved: it was written.
        gaps: of an INT8 export, all that was compared on inputs held out of the calibration; else empty.
    """

    path: Path
    format: str
    differences: Mapping[str, float]
    saved: bool = True
    gaps: Mapping[str, Gap] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        known = {"file": str(self.path), "format": self.format, "largest_difference": dict(self.differences)}
        if self.gaps:
            known |= {"precision": "int8", "differences": {name: asdict(gap) for name, gap in self.gaps.items()}}
        return known

    def lines(self) -> list[str]:
        """The file."""
        return [str(self.path)]


def export(model: Model, out: Path | None, options: ExportOptions) -> Exported:
    """Write the network for another runtime; see :func:`~fieldsight.export.onnx.export_onnx`.

    With ``precision="int8"`` it is quantised; see :func:`~fieldsight.export.quantize.export_openvino_int8`.

    Raises:
        ConfigError: no file to write to, or no calibration inputs.
        DataError: calibration inputs that can't be used.
        MissingExtraError: the runtime is not installed.
        ExportError: the export failed or differs; nothing is written then.
    """
    if out is None:
        raise ConfigError("export writes a file: name it with --out.")
    if options.format == "onnx" and out.suffix != ".onnx":
        raise ConfigError(f"out: an ONNX file ends in .onnx, got '{out}'.")
    if options.precision == "int8":
        return _export_int8(model, out, options)
    write = export_onnx if options.format == "onnx" else export_openvino
    worst = write(model, out, options.tolerance, options.opset)
    progress.note(f"largest difference from the original: {max(worst.values()):.2g}")
    return Exported(out, options.format, worst)


def _export_int8(model: Model, out: Path, options: ExportOptions) -> Exported:
    write = export_onnx_int8 if options.format == "onnx" else export_openvino_int8
    with tempfile.TemporaryDirectory() as work:
        inputs, held_out = calibration_inputs(model, options.samples, options.calibration, Path(work))
        gaps = write(model, out, inputs, held_out, options.int8_tolerance, options.opset)
    worst = max(gaps.values(), key=lambda gap: gap.relative)
    progress.note(
        f"mean difference from the original: {worst.mean:.2g}, {worst.relative:.1%} of the output's spread; "
        f"largest {max(gap.largest for gap in gaps.values()):.2g}"
    )
    return Exported(out, options.format, {name: gap.largest for name, gap in gaps.items()}, gaps=gaps)


def bench(model: Model, options: BenchOptions) -> Table:
    """Time the graph in every runtime on the same tensors and threads, in turn, so that drift meets all alike."""
    import torch

    batch = example_tensors(model, options.batch)
    before = torch.get_num_threads()
    rows: list[dict[str, Any]] = []
    try:
        torch.set_num_threads(options.threads)
        with tempfile.TemporaryDirectory() as folder:
            runners = _runners(model, Path(folder), options, rows)
            seconds = time_runners(runners, batch, options.warmup, options.runs)
    finally:
        torch.set_num_threads(before)
    rows += _timed(seconds, options.batch)
    shape = " x ".join(str(n) for n in next(iter(batch.values())).shape)
    columns = {
        "runtime": "",
        "p50": "ms",
        "p95": "ms",
        "p99": "ms",
        "per_second": "1/s",
        "ratio": "x torch",
        "note": "",
    }
    facts = {
        "input": shape, "threads": options.threads, "runs": options.runs,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip
    return Table(columns, rows, f"{model.system}: latency of the network", facts)


def time_runners(
    runners: Mapping[str, Runner], batch: dict[str, Any], warmup: int, runs: int
) -> dict[str, list[float]]:
    """Seconds of each call, one runtime after another in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for number in progress.track(range(warmup + runs), "timing"):
        for name, run in runners.items():
            start = time.perf_counter()
            run(batch)
            if number >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _timed(seconds: Mapping[str, list[float]], batch: int) -> list[dict[str, Any]]:
    reference = float(np.median(seconds["torch"])) if "torch" in seconds else None
    rows = []
    for name, found in seconds.items():
        p50, p95, p99 = (1e3 * float(np.percentile(found, p)) for p in (50, 95, 99))
        ratio = None if reference is None else reference / float(np.median(found))
        row: dict[str, Any] = {"runtime": name, "p50": p50, "p95": p95, "p99": p99}
        row |= {"per_second": 1e3 * batch / p50, "ratio": ratio}
        if name.endswith("-int8"):
            row["note"] = f"8-bit products: {int8_support()}"
        rows.append(row)
    return rows


def _runners(model: Model, folder: Path, options: BenchOptions, rows: list[dict[str, Any]]) -> dict[str, Runner]:
    runners: dict[str, Runner] = {}
    for name in options.runtimes:
        try:
            runners[name] = _runner(name, model, folder, options)
        except MissingExtraError as error:
            rows.append({"runtime": name, "note": str(error)})
        except (ConfigError, ExportError) as error:
            # no calibration inputs, or a graph that can't be quantised: all else can be timed
            if not name.endswith("-int8") or options.calibration is not None:
                raise
            rows.append({"runtime": name, "note": str(error)})
    return runners


def _runner(name: str, model: Model, folder: Path, options: BenchOptions) -> Runner:
    if name == "torch":
        return model._eager()
    make = onnx_runner if name.startswith("onnx") else openvino_runner
    if name in ("onnx", "openvino"):
        graph = folder / "graph.onnx"
        if not graph.exists():
            export_onnx(model, graph)
        return make(model, graph, options.threads)
    write = export_onnx_int8 if make is onnx_runner else export_openvino_int8
    graph = folder / ("int8.onnx" if make is onnx_runner else "int8")
    inputs, held_out = calibration_inputs(model, BENCH_SAMPLES, options.calibration, folder / f"{name}-inputs")
    write(model, graph, inputs, held_out, math.inf)
    return make(model, graph, options.threads)
