"""Counting ResNet-50 against fvcore and calflops: the time from the built module to totals per layer, and whether
all three say the same, operator by operator.

    python benchmarks/energy_count.py

All run in one process on one thread, in turns, on the same module and input; imports and one warm-up are outside the
clock. The peers run a real forward on values, we on shapes alone; calflops also runs on a copy of the module on the
meta device, where fvcore fails. fvcore gives its table by module and operator too; calflops gives totals (its
per-module table is printed text, which is left out in its favour).
"""

from __future__ import annotations

import copy
import gc
import json
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

COMMAND = "python benchmarks/energy_count.py"
GOAL = 5.0
ROUNDS = 15


def main() -> list[dict[str, Any]]:
    """Run the comparison and print one row a line."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.set_num_threads(1)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    module = ResNetForImageClassification(ResNetConfig(num_labels=1000)).eval()
    picture = torch.zeros(1, 3, 224, 224)
    shadow = copy.deepcopy(module).to("meta")
    counters: dict[str, Callable[[], Any]] = {
        "fieldsight": lambda: ours(module, picture),
        "fvcore": lambda: by_fvcore(module, picture),
        "calflops": lambda: by_calflops(module, picture),
        "calflops on meta": lambda: by_calflops(shadow, picture.to("meta")),
    }
    gc.collect()  # what the imports left behind must not fall into the first count
    first = {name: timed(count) for name, count in counters.items()}
    times: dict[str, list[float]] = {name: [] for name in counters}
    for _ in range(ROUNDS):
        for name, count in counters.items():
            times[name].append(timed(count))
    middle = {name: statistics.median(t) for name, t in times.items()}
    rows = [
        {
            "name": f"count ResNet-50 at 224 x 224, against {peer}",
            "value": 1e3 * middle["fieldsight"],
            "unit": "ms",
            "peer": peer,
            "peer_value": 1e3 * middle[peer],
            "ratio": middle[peer] / middle["fieldsight"],
            "goal": GOAL,
            "goal_on": "ratio, higher is better",
            "command": COMMAND,
        }
        for peer in ("fvcore", "calflops", "calflops on meta")
    ]
    rows += [agreement_fvcore(module, picture), agreement_calflops(module, picture), small(picture)]
    rows.append(
        {
            "name": "first count in a process",
            "value": 1e3 * first["fieldsight"],
            "unit": "ms",
            "peer": "fvcore, calflops",
            "peer_value": [1e3 * first["fvcore"], 1e3 * first["calflops"]],
            "ratio": None,
            "goal": None,
            "goal_on": None,
            "command": COMMAND,
        }
    )
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    return rows


def small(picture: Any) -> dict[str, Any]:
    """ResNet-18, built and counted: a person waits for it."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", num_labels=1000)
    with torch.device("meta"):
        module = ResNetForImageClassification(config)
    times = [timed(lambda: ours(module, picture)) for _ in range(ROUNDS)]
    return {
        "name": "count ResNet-18 at 224 x 224 on the meta device",
        "value": 1e3 * statistics.median(times),
        "unit": "ms",
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "goal": 1000.0,
        "goal_on": "value, lower is better",
        "command": COMMAND,
    }


def timed(count: Callable[[], Any]) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    count()
    return time.perf_counter() - begin


def ours(module: Any, picture: Any) -> Any:
    """Counts per layer, and the totals."""
    from fieldsight.profile import count_module

    counts = count_module(module, picture)
    return counts, counts.totals()


def by_fvcore(module: Any, picture: Any) -> Any:
    """fvcore's table by module and operator."""
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(module, picture)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    return analysis.by_module_and_operator(), analysis.total(), analysis.unsupported_ops()


def by_calflops(module: Any, picture: Any) -> Any:
    """calflops' totals."""
    import calflops

    return calflops.calculate_flops(module, args=[picture], print_results=False, output_as_string=False)


def agreement_fvcore(module: Any, picture: Any) -> dict[str, Any]:
    """fvcore counts one per MAC, 2 per element of an affine batch norm, 1 per input element of an average pool."""
    counts, _ = ours(module, picture)
    table, _, skipped = by_fvcore(module, picture)
    leaves = {name: ops for name, ops in table.items() if name and not any(n.startswith(f"{name}.") for n in table)}
    mine = places(module, picture)
    theirs: dict[tuple[str, str], int] = {}
    names = {
        "conv": "conv2d",
        "adaptive_avg_pool2d": "adaptive_avg_pool2d",
        "batch_norm": "batch_norm",
        "linear": "linear",
    }
    for name, ops in leaves.items():
        for op, number in ops.items():
            theirs[name, names[op]] = int(number) // (2 if op == "batch_norm" else 1)
    left_out = sorted({kind for _, kind in mine.keys() - theirs.keys()})
    return agreed("fvcore", counts.macs, mine, theirs, left_out, dict(skipped))


def agreement_calflops(module: Any, picture: Any) -> dict[str, Any]:
    """calflops counts MACs apart; 2 FLOPs per element of a batch norm, 1 per input element of ReLU and pools."""
    from calflops.calculate_pipline import CalFlopsPipline

    counts, _ = ours(module, picture)
    mine = places(module, picture)
    kinds: dict[str, str] = {}
    for name, kind in mine:
        kinds.setdefault(name, kind)
    line = CalFlopsPipline(model=module, include_backPropagation=False, compute_bp_factor=2.0)
    line.start_flops_calculate()
    module(picture)
    theirs: dict[tuple[str, str], int] = {}
    for name, part in module.named_modules():
        flops, macs = int(part.__flops__), int(part.__macs__)
        if flops and not list(part.children()):
            kind = kinds.get(name, type(part).__name__)
            theirs[name, kind] = macs if macs else flops // (2 if kind == "batch_norm" else 1)
    line.end_flops_calculate()
    left_out = sorted({kind for _, kind in mine.keys() - theirs.keys()})
    return agreed("calflops", counts.macs, mine, theirs, left_out, {})


def places(module: Any, picture: Any) -> dict[tuple[str, str], int]:
    """Our numbers by place and kind: MACs, or input elements of what has none."""
    from fieldsight.profile import torch_counts

    kept: list[Any] = []
    original = torch_counts._Recorder.counts

    def keep(self: Any, *args: Any) -> Any:
        kept.append(self)
        return original(self, *args)

    torch_counts._Recorder.counts = keep  # type: ignore[method-assign]
    try:
        torch_counts.count_module(module, picture)
    finally:
        torch_counts._Recorder.counts = original  # type: ignore[method-assign]
    recorder = kept[0]
    found = {(where, kind): row[1] for (where, kind), row in recorder.rows.items()}
    found |= {(where, kind): row[1] for (_, where, kind), row in recorder.ops.items()}
    return found


def agreed(
    peer: str,
    macs: int,
    mine: dict[tuple[str, str], int],
    theirs: dict[tuple[str, str], int],
    left_out: list[str],
    skipped: dict[str, int],
) -> dict[str, Any]:
    """One row: how many of the peer's operators have our number."""
    same = sum(mine.get(key) == number for key, number in theirs.items())
    differ = {f"{k[0]} {k[1]}": (mine.get(k), v) for k, v in theirs.items() if mine.get(k) != v}
    return {
        "name": f"equal to {peer}, operator by operator (total {macs:,} MACs)",
        "value": same,
        "unit": f"of {len(theirs)} operators",
        "peer": peer,
        "peer_value": len(theirs),
        "ratio": same / len(theirs),
        "goal": 1.0,
        "goal_on": "ratio, higher is better",
        "command": COMMAND,
        "left_out_by_peer": left_out,
        "said_by_peer": skipped,
        "differ": differ,
    }


if __name__ == "__main__":
    main()
