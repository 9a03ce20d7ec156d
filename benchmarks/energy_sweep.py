"""Sweeps of the energy model in points a second, and the cost of counting a model of 175 billion parameters.

    python benchmarks/energy_sweep.py

The sweep broadcasts 10^6 points of batch, scales, pJ a bit, pJ a MAC and context through (R1). The large model is
counted in a process of its own, in closed form and built on the meta device; its peak memory includes torch and
transformers.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from typing import Any

COMMAND = "python benchmarks/energy_sweep.py"
POINTS = 1_000_000

_LARGE = """
import json, resource, sys, time
def peak():
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 2**20 if sys.platform != "darwin" else used / 2**30
from fieldsight.profile import count_hf_config
config = dict(model_type="gpt2", vocab_size=50257, n_embd=12288, n_layer=96, n_head=96, n_positions=2048)
begin = time.perf_counter()
closed = count_hf_config(config)
seconds, memory = time.perf_counter() - begin, peak()
import torch, transformers
from transformers import GPT2LMHeadModel
torch.set_num_threads(1)
begin = time.perf_counter()
built = count_hf_config(config, closed_form=False)
assert (closed.params, closed.macs, closed.kv) == (built.params, built.macs, built.kv)
print(json.dumps([closed.params, seconds, memory, time.perf_counter() - begin, peak()]))
"""


def main() -> list[dict[str, Any]]:
    """Run both and print one row a line."""
    rows = [sweep_row(False), sweep_row(True), table_row(), *large_rows()]
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    return rows


def _row(name: str, value: float, unit: str, goal: float, **more: Any) -> dict[str, Any]:
    better = "higher" if unit == "points/s" else "lower"
    return {"name": name, "value": value, "unit": unit, "peer": None, "peer_value": None, "ratio": None, "goal": goal,
            "goal_on": f"value, {better} is better", "command": COMMAND, **more}  # fmt: skip


def sweep_row(everything: bool) -> dict[str, Any]:
    """Points a second over batch and one scale, or over every argument."""
    import numpy as np

    from fieldsight.profile import gpt, sweep

    rng = np.random.default_rng(0)
    model = gpt("llama-7b", 50257, 2048, 4096, 32, 32)
    options: dict[str, Any] = {
        "batch": rng.integers(1, 65, POINTS),
        "scale": {"weight": rng.uniform(0, 1, POINTS)},
    }
    if everything:
        options["scale"] |= {part: rng.uniform(0, 1, POINTS) for part in ("mac", "kv", "activation")}
        options |= {
            "context": rng.integers(1, 2049, POINTS),
            "pj_per_bit": rng.uniform(3, 8, POINTS),
            "pj_per_mac": rng.uniform(0.3, 3, POINTS),
        }
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        total = sweep(model, precision="fp16", **options).total
        times.append(time.perf_counter() - begin)
    assert total.shape == (POINTS,)
    what = "eight arguments" if everything else "batch and weight scale"
    return _row(f"sweep of 10^6 points over {what}", POINTS / statistics.median(times), "points/s", 1e6)


def table_row() -> dict[str, Any]:
    """Milliseconds for the energy of a network of a hundred layers, counted and costed."""
    from fieldsight.profile import energy, gpt
    from fieldsight.profile.transformer import count_decoder

    model = gpt("gpt3-175b", 50257, 2048, 12288, 96, 96)
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        energy(count_decoder(model), precision="fp16")
        times.append(time.perf_counter() - begin)
    return _row("count and cost a decoder of 96 layers", 1e3 * statistics.median(times), "ms", 50.0)


def large_rows() -> list[dict[str, Any]]:
    """Seconds and peak memory for 175 billion parameters, both ways."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _LARGE], capture_output=True, text=True, check=True)
    params, closed_s, closed_gb, built_s, built_gb = json.loads(done.stdout.strip().split("\n")[-1])
    return [
        _row(f"count {params:,} parameters in closed form", closed_s, "s", 10.0),
        _row("the same, peak memory of the process", closed_gb, "GiB", 1.5),
        _row(f"build {params:,} parameters on the meta device and count", built_s, "s", 10.0),
        _row("the same, peak memory of the process with torch and transformers", built_gb, "GiB", 1.5),
    ]


if __name__ == "__main__":
    main()
