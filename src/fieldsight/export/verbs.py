"""``export`` and ``bench``, the same for every system with a graph."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight import progress
from fieldsight.errors import ConfigError, MissingExtraError
from fieldsight.export.onnx import example_tensors, export_onnx, export_openvino
from fieldsight.export.options import BenchOptions, ExportOptions
from fieldsight.export.runtime import onnx_runner, openvino_runner
from fieldsight.model import Model, Runner
from fieldsight.predictions import Table


@dataclass(frozen=True)
class Exported:
    """A written export and how far its outputs are from the original's."""

    path: Path
    format: str
    differences: Mapping[str, float]
    saved: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"file": str(self.path), "format": self.format, "largest_difference": dict(self.differences)}

    def lines(self) -> list[str]:
        """The file."""
        return [str(self.path)]


def export(model: Model, out: Path | None, options: ExportOptions) -> Exported:
    """Write the network for another runtime; see :func:`~fieldsight.export.onnx.export_onnx`.

    Raises:
        ConfigError: no file to write to.
        MissingExtraError: the runtime is not installed.
        ExportError: the export failed or differs; nothing is written then.
    """
    if out is None:
        raise ConfigError("export writes a file: name it with --out.")
    if options.format == "onnx" and out.suffix != ".onnx":
        raise ConfigError(f"out: an ONNX file ends in .onnx, got '{out}'.")
    write = export_onnx if options.format == "onnx" else export_openvino
    worst = write(model, out, options.tolerance, options.opset)
    progress.note(f"largest difference from the original: {max(worst.values()):.2g}")
    return Exported(out, options.format, worst)


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
    reference = float(np.median(seconds["torch"])) if "torch" in seconds else None
    for name, found in seconds.items():
        p50, p95, p99 = (1e3 * float(np.percentile(found, p)) for p in (50, 95, 99))
        ratio = None if reference is None else reference / float(np.median(found))
        rows.append(
            {
                "runtime": name,
                "p50": p50,
                "p95": p95,
                "p99": p99,
                "per_second": 1e3 * options.batch / p50,
                "ratio": ratio,
            }
        )
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


def _runners(model: Model, folder: Path, options: BenchOptions, rows: list[dict[str, Any]]) -> dict[str, Runner]:
    runners: dict[str, Runner] = {}
    graph = folder / "graph.onnx"
    for name in options.runtimes:
        try:
            if name == "torch":
                runners[name] = model._eager()
                continue
            if not graph.exists():
                export_onnx(model, graph)
            make = onnx_runner if name == "onnx" else openvino_runner
            runners[name] = make(model, graph, options.threads)
        except MissingExtraError as error:
            rows.append({"runtime": name, "note": str(error)})
    return runners
