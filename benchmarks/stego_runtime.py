"""The default's graphs in every runtime: pairs, hiding and revealing a second, one thread each, in turns.

    python -m benchmarks stego_runtime

The graph holds the network with its transforms, in floating point; rounding to grey levels is outside. Every graph is
exported once, with free height and width, and held against eager torch (parity) before anything is timed.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = "python -m benchmarks stego_runtime"
SIZES = (256, 512)
TOLERANCE = 1e-4

#: Another model than the shipped one; to try things out.
MODEL = os.environ.get("FIELDSIGHT_STEGO_MODEL")


def main() -> list[dict[str, Any]]:
    import torch

    import fieldsight
    import fieldsight.systems.stego.kernels  # in use from now on: eager torch at its best
    from fieldsight.export.onnx import export_onnx
    from fieldsight.export.runtime import onnx_runner, openvino_runner
    from fieldsight.export.verbs import time_runners

    torch.set_num_threads(1)
    model = fieldsight.load("stego", MODEL, device="cpu")
    rows = []
    for name in ("pair", "hide", "reveal"):
        part = model.part(name)
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "graph.onnx"
            begun = time.perf_counter()
            worst = max(export_onnx(part, graph, TOLERANCE).values())
            rows.append(row(f"{name}: export to ONNX, checked", time.perf_counter() - begun, "s"))
            gap = f"{name}: largest difference from eager torch"
            rows.append(row(gap, worst, "of 1", goal=TOLERANCE, goal_on="value, lower is better"))
            runners = {
                "torch": part._eager(),
                "onnx": onnx_runner(part, graph, 1),
                "openvino": openvino_runner(part, graph, 1),
            }
            for size in SIZES:
                seconds = time_runners(runners, batch(part, size), warmup=3, runs=15)
                rows += speeds(f"{name}, {size} x {size}", seconds)
    return rows


def batch(part: Any, size: int) -> dict[str, Any]:
    """One drawn cover, secret or both, ``(1, 3, size, size)`` in 0-1."""
    import torch

    from fieldsight.systems.stego.data import draw_pictures

    pictures = draw_pictures(2, size, 0, ("leaves", "objects"), split="test")
    both = [(torch.from_numpy(p).to(torch.float32) / 255).permute(2, 0, 1)[None].contiguous() for p in pictures]
    return dict(zip(part.input_names, both, strict=False))


def speeds(what: str, seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Calls a second of each runtime; the ratio is the middle of the ratios of each turn, spread their tenths."""
    rows = []
    for name, times in seconds.items():
        ratios = sorted(a / b for a, b in zip(seconds["torch"], times, strict=True))
        peer = {
            "peer": "eager torch", "peer_value": 1 / statistics.median(seconds["torch"]),
            "ratio": statistics.median(ratios), "spread": [ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]],
        }  # fmt: skip
        rows.append(row(f"{what}: {name}", 1 / statistics.median(times), "1/s", **(peer if name != "torch" else {})))
    return rows


def row(name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}


if __name__ == "__main__":
    for one_row in main():
        print(one_row)
