"""Whether a network takes longer for fused frames than for raw ones, and what the whole way from frame to boxes takes.

The paper's Table 4 says 10 to 14 per cent longer. Here its best detector (YOLOv10-X, one class, untrained:
arithmetic does not depend on weights) sees raw and fused frames of one size in turns, on two threads.

    python studies/run.py vessel latency
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldsight import progress
from fieldsight.data.detection.letterbox import to_input
from fieldsight.detection.network import Exported
from fieldsight.metrics.stats import bootstrap
from fieldsight.systems.vessel.config import PRESETS, Enhance
from fieldsight.systems.vessel.data import some, squared
from fieldsight.systems.vessel.enhance import fused
from fieldsight.systems.vessel.predict import VesselModel

THREADS = 2


def run(seeds: Sequence[int] = (0, 1, 2, 3, 4, 5)) -> dict[str, Any]:
    """Seeds are frames: each is drawn, and seen raw and fused in turns."""
    torch.set_num_threads(THREADS)
    config = PRESETS["paper"]
    model = VesselModel.create(config)
    network = Exported(model.detector).eval()
    rows = []
    for seed in progress.track(seeds, "timing frames"):
        (sample,) = some("val", 1, config.data.replace(look="low", each=1), seed)
        frame = np.ascontiguousarray(sample.image()[..., 0])
        rows.append(one(network, frame, config.input))
    change = bootstrap([100 * (r["network on fused"] / r["network on raw"] - 1) for r in rows])
    control = bootstrap([100 * (r["network on raw again"] / r["network on raw"] - 1) for r in rows])
    whole = [r["filter and fusion, 512 px"] + r["network on fused"] for r in rows]
    ms = {name: float(np.median([r[name] for r in rows])) for name in rows[0]}
    total = float(np.median(whole))
    return {
        "claim": "YOLOv10-X takes as long for fused frames as for raw ones; the filter's time comes on top",
        "seeds": list(seeds),
        "threads": THREADS,
        "rows": rows,
        "median_ms": ms,
        "change": vars(change),
        "control": {"the same frame twice": vars(control)},
        "reproduce": {
            "change of the network's latency by what the frames show [%]": (
                f"{change.value:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"
            ),
            "filter and fusion [ms]": round(ms["filter and fusion, 512 px"], 1),
            "end to end, YOLOv10-X [ms]": round(total, 1),
            "end to end, YOLOv10-X [frames a second]": round(1000 / total, 2),
        },
    }


def one(network: torch.nn.Module, frame: np.ndarray, side: int) -> dict[str, float]:
    """Milliseconds of each stage, the median of several repeats in turns; raw frames twice, as a control."""
    whole, _ = squared(frame, side)
    settings = {"raw": Enhance(mode="raw"), "fused": Enhance()}
    seen = {name: torch.from_numpy(to_input([fused(whole, s)])) for name, s in settings.items()}
    seen["raw again"] = seen["raw"]
    times: dict[str, list[float]] = {f"network on {name}": [] for name in seen}
    for turn in range(len(seen)):
        passed(network, seen["raw"])  # what comes first would pay for what was done before
        for name in [*list(seen)[turn:], *list(seen)[:turn]]:  # each is once first, once second, once third
            times[f"network on {name}"].append(timed(lambda t=seen[name]: passed(network, t)))
    times["filter and fusion, 512 px"] = [timed(lambda: fused(frame, settings["fused"], THREADS)) for _ in range(4)]
    return {name: round(float(np.median(values)), 3) for name, values in times.items()}


def passed(network: torch.nn.Module, seen: Tensor) -> None:
    with torch.inference_mode():
        network(seen)


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)
