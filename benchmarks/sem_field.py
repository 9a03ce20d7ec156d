"""A large field, tile by tile: memory, speed in each runtime, and what the simulator spends its time on.

python -m benchmarks sem_field
"""

from __future__ import annotations

import cProfile
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMAND = "python -m benchmarks sem_field"

#: Runs in a process of its own, so that its peak memory is its own.
FIELD = """
import resource, sys, time
import numpy as np, torch
torch.set_num_threads(1)
import fieldsight
from fieldsight import progress
from fieldsight.systems.sem.predict import Field
size = int(sys.argv[1])
rng = np.random.default_rng(0)
cells = rng.random((size // 16, size // 16)) > 0.6
def block(rows, columns):
    coarse = cells[rows.start // 16 : -(-rows.stop // 16), columns.start // 16 : -(-columns.stop // 16)]
    fine = np.repeat(np.repeat(coarse, 16, axis=0), 16, axis=1)
    return fine[rows.start % 16 :, columns.start % 16 :][: rows.stop - rows.start, : columns.stop - columns.start]
model = fieldsight.load("sem", device="cpu")
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
with progress.watching(progress.silent, lambda text: None):
    options = __import__("fieldsight.systems.sem.options", fromlist=["x"]).PredictOptions()
    found = model.predict_one(Field((size, size), block), options)
    files = found.save(sys.argv[2], "field")
print(base, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter() - begun, len(files))
"""


def main() -> list[dict[str, Any]]:
    return [*field(8192), *runtimes(), *simulator()]


def field(size: int) -> list[dict[str, Any]]:
    """Peak memory and time to predict and save ``size`` x ``size`` pixels."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", FIELD, str(size), folder], capture_output=True, text=True, check=True
        )
        written = sum(p.stat().st_size for p in Path(folder).iterdir()) / 1e9
    base, peak, seconds, files = (float(x) for x in done.stdout.split())
    tiles = (size / 256) ** 2
    return [
        row(f"peak memory of a {size} x {size} field, predicted and saved", peak / 1e6, "GB", goal=1.5),
        row("the same before the first tile (imports and model)", base / 1e6, "GB"),
        row(f"seconds for it ({int(files)} files, {written:.2f} GB)", seconds, "s"),
        row("tiles of 256 x 256 per second, halo and saving included", tiles / seconds, "1/s"),
    ]


def runtimes() -> list[dict[str, Any]]:
    """Tiles of 256 x 256 per second in each runtime: same tiles, one thread, in turns."""
    import fieldsight

    model = fieldsight.load("sem", device="cpu")
    rows = []
    for threads in (1, 2):
        found = model.bench(batch=4, threads=threads, runs=15, warmup=3)
        speeds = {r["runtime"]: r["per_second"] for r in found.rows if r.get("per_second")}
        for name, speed in speeds.items():
            goal = 2.0 if name != "torch" else None
            rows.append(
                row(
                    f"tiles of 256 x 256 per second, {name}, {threads} thread{'s' * (threads > 1)}",
                    speed,
                    "1/s",
                    peer="eager torch",
                    peer_value=speeds["torch"],
                    ratio=speed / speeds["torch"],
                    goal=goal,
                )
            )
    return rows


def simulator() -> list[dict[str, Any]]:
    """Seconds per 256 x 256 layout at 2 nm, and the functions that take them."""
    import numpy as np

    from fieldsight.systems.sem.config import Recipe, Rules
    from fieldsight.systems.sem.layouts import FAMILIES, draw
    from fieldsight.systems.sem.process import simulate

    rng = np.random.default_rng(0)
    masks = [draw(f, 256, 2.0, Rules(), rng) for f in FAMILIES]
    for mask in masks:
        simulate(mask, 2.0, Recipe(), rng)
    times = []
    for mask in masks * 3:
        begun = time.perf_counter()
        simulate(mask, 2.0, Recipe(), rng)
        times.append(time.perf_counter() - begun)
    profiler = cProfile.Profile()
    profiler.enable()
    for mask in masks:
        simulate(mask, 2.0, Recipe(), rng)
    profiler.disable()
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(entry[2] for entry in stats.values())
    stages = ("expose", "develop", "cavity_width", "etch", "imprint", "release", "render", "photograph")
    rows = [row("simulate a 256 x 256 layout", statistics.median(times), "s")]
    for (file, _, name), entry in sorted(stats.items(), key=lambda item: -item[1][3]):
        if name in stages and file.endswith("process.py"):
            rows.append(row(f"  share of {name}", entry[3] / total, "1"))
    return rows


def row(name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}


if __name__ == "__main__":
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
