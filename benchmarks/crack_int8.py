"""INT8 against FP32 and eager torch, part by part: the gate and every expert, on the same threads, in turns; with IoU.

    python -m benchmarks crack_int8

The IoU is that of the mixture (Top-2) on held-out drawn photos: all parts in FP32 against all parts in INT8. The two
experts on ConvNeXt, whose normalisation the export keeps in floating point, stand there in INT8 throughout as well.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

COMMAND = "python -m benchmarks crack_int8"
SIDE, THREADS, RUNS, PHOTOS = 512, 2, 15, 150
CONVNEXT = ("ecsn", "crackrefine")
#: No export is refused for what INT8 does to it: the largest bound that may be set.
ANY = 10.0


def main() -> list[dict[str, Any]]:
    import torch

    import fieldsight
    from fieldsight.export.runtime import int8_support, openvino_runner
    from fieldsight.export.verbs import time_runners

    torch.set_num_threads(THREADS)
    model = fieldsight.load("crack", device="cpu")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        places = {p: Path(folder) / p for p in ("fp32", "int8")}
        for precision, place in places.items():
            model.export(out=place, part="all", format="openvino", precision=precision)
        image = {"image": torch.randn(1, 3, SIDE, SIDE)}
        totals: dict[str, float] = {}
        for name in model.networks:
            part = model.part(name)
            runners = {
                "torch": part._eager(),
                "OpenVINO FP32": openvino_runner(part, places["fp32"] / name, THREADS),
                "OpenVINO INT8": openvino_runner(part, places["int8"] / name, THREADS),
            }
            seconds = time_runners(runners, image, warmup=3, runs=RUNS)
            middle = {k: statistics.median(v) for k, v in seconds.items()}
            for k, v in middle.items():
                totals[k] = totals.get(k, 0.0) + v
            rows += speeds(f"{name}, {SIDE} x {SIDE}", middle)
        rows += speeds("gate and all experts", totals)
        rows += [r for name in CONVNEXT for r in throughout(model, name, Path(folder), image)]
        rows += quality(model, places)
    rows.append(row("INT8 instructions of this processor", int8_support(), ""))
    return rows


def throughout(model: Any, name: str, folder: Path, image: dict[str, Any]) -> list[dict[str, Any]]:
    """An expert with its normalisation in INT8 too: how far off it is then, and how fast."""
    from fieldsight.export.runtime import onnx_runner, openvino_runner
    from fieldsight.export.verbs import time_runners

    part, rows = model.part(name), []
    paths = {"OpenVINO": folder / f"{name}-all", "ONNX Runtime": folder / f"{name}-all.onnx"}
    open_one = {"OpenVINO": openvino_runner, "ONNX Runtime": onnx_runner}
    for runtime, path in paths.items():
        kind = "onnx" if path.suffix else "openvino"
        done = model.export(out=path, part=name, format=kind, precision="int8", int8_tolerance=ANY)
        off = max(gap.relative for gap in done.gaps.values())
        runners = {"torch": part._eager(), "INT8": open_one[runtime](part, path, THREADS)}
        seconds = time_runners(runners, image, warmup=3, runs=RUNS)
        middle = {k: statistics.median(v) for k, v in seconds.items()}
        what = f"{name}, {runtime} INT8 throughout"
        rows.append(row(f"{what}: mean difference, of the output's spread", 100 * off, "%"))
        rows.append(
            row(f"{what}, {THREADS} threads", 1e3 * middle["INT8"], "ms", peer="eager torch",
                peer_value=1e3 * middle["torch"], ratio=middle["torch"] / middle["INT8"])
        )  # fmt: skip
    return rows


def speeds(what: str, middle: dict[str, float]) -> list[dict[str, Any]]:
    """Milliseconds of a call in each runtime, as a ratio to eager torch."""
    rows = []
    for name, seconds in middle.items():
        more: dict[str, Any] = {}
        if name != "torch":
            more = {"peer": "eager torch", "peer_value": 1e3 * middle["torch"], "ratio": middle["torch"] / seconds}
        if name.endswith("INT8"):
            more["goal"] = 2
        rows.append(row(f"{what}: {name}, {THREADS} threads", 1e3 * seconds, "ms", **more))
    return rows


def quality(model: Any, places: dict[str, Path]) -> list[dict[str, Any]]:
    """Pooled IoU of the mixture with every part in FP32 and in INT8."""
    from fieldsight.systems.crack.evaluate import heldout
    from fieldsight.systems.crack.pooling import Pool

    samples = heldout(model)[:PHOTOS]
    found = {}
    for precision, place in {"eager": None, **places}.items():
        pool = Pool()
        for sample in samples:
            mask = model.predict(sample.image(), exports=place).mask
            pool.add(sample.id, mask, sample.mask(), sample.group)
        found[precision] = 100 * pool.compute()["pooled_iou"]
    return [
        row(f"pooled IoU on {len(samples)} held-out photos, OpenVINO {k.upper()}", found[k], "%", peer="eager torch",
            peer_value=found["eager"], difference=found[k] - found["eager"], goal=0.5, goal_on="difference in points")
        for k in ("fp32", "int8")
    ]  # fmt: skip


def row(name: str, value: Any, unit: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}


if __name__ == "__main__":
    for one_row in main():
        print(one_row)
