"""The regime effect without a power meter: the time of a decode step against that of a CNN, over batches.

A decoder whose weights are several times the last-level cache reads them once for all sequences of a batch, so a step
takes hardly longer for more of them; a CNN takes twice as long for twice the images. One thread; every repeat times
all points anew; the copy bandwidth and the fastest kernel of the same minute stand beside.

    python studies/run.py energy timing [--seeds 0,1,2,3,4]
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fieldsight import progress
from fieldsight.metrics.stats import bootstrap
from fieldsight.systems.energy.measure import last_level_cache, regime_demo, roof, threads

BATCHES = (1, 2, 4, 8, 16)


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> dict[str, Any]:
    """Seeds are repeats: nothing is drawn."""
    repeats = []
    with threads(1):
        for seed in seeds:
            own = roof()
            lm, cnn = regime_demo(batches=BATCHES)
            repeats.append({"roof": asdict(own), "lm": [asdict(s) for s in lm], "cnn": [asdict(s) for s in cnn]})
            progress.note(f"repeat {seed}: done")
    return {
        "seeds": list(seeds),
        "batches": list(BATCHES),
        "last_level_cache": last_level_cache(),
        "repeats": repeats,
        "claims": claims(repeats),
    }


def claims(repeats: list[dict[str, Any]]) -> dict[str, Any]:
    """Time of a batch over that of batch 1, and the rates reached."""
    found: dict[str, Any] = {"weights_to_cache": None}
    for kind in ("lm", "cnn"):
        found[kind] = {}
        for i, batch in enumerate(BATCHES):
            rows = [r[kind][i] for r in repeats]
            found[kind][str(batch)] = {
                "time_ratio": vars(bootstrap([r[kind][i]["seconds"] / r[kind][0]["seconds"] for r in repeats])),
                "seconds": vars(bootstrap([row["seconds"] for row in rows])),
                "gb_s": vars(bootstrap([row["gb_s"] for row in rows])),
                "gflop_s": vars(bootstrap([row["gflop_s"] for row in rows])),
            }
    for key in ("copy_gb_s", "gemm_gflop_s", "conv_gflop_s"):
        found[key] = vars(bootstrap([r["roof"][key] for r in repeats]))
    cache = last_level_cache()
    found["weights_to_cache"] = repeats[0]["lm"][0]["weight_bytes"] / cache if cache else None
    return found
