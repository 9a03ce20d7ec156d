"""The engine of ``alert`` on frames of 256 x 192: speed of every mode, peers in the same run, memory over 10^5 frames.

    python -m benchmarks alert_engine

Frames come from the simulator (phone lidar, an approach and a mixed street, a wearer who walks, with poses), are
rendered once and kept in memory; rendering, imports and one warm-up are outside the clock. ``every_n=1``: every frame
is processed, none is skipped for not being due. The clock runs over the whole of ``AlertEngine.step``, its checks of
units, covered lenses and frozen pictures included. All modes and peers take turns within one process on one thread;
garbage collection is on. Times are what a clock on the wall says; ``cpu_p99`` (processor time) tells what other
processes did to it.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

COMMAND = "python -m benchmarks alert_engine"
HERE = Path(__file__).resolve().parents[1]
SIZE = (256, 192)
ROUNDS = 10
#: Frames a second that are wanted, and milliseconds that 99 of 100 frames stay under.
FPS, P99 = 500.0, 5.0
#: Engine by preset and whether it gets poses; goals for what ships as default and for the paper's.
ENGINES: dict[str, tuple[str, bool, bool]] = {
    "paper": ("paper", True, True),
    "paper_dt": ("paper_dt", True, False),
    "authors_app": ("authors_app", True, False),
    "quartile": ("quartile", True, False),
    "nearest": ("nearest", True, False),
    "base (track)": ("base", True, True),
    "base (track) without poses": ("base", False, True),
    "looming": ("looming", True, False),
}

#: Runs in a process of its own, so that its memory is its own.
MEMORY = """
import sys, time
from benchmarks.alert_engine import frames, one_thread, resident
one_thread()
from fieldsight.systems.alert.config import PRESETS
from fieldsight.systems.alert.engine import AlertEngine
seen = frames("mixed", 60.0, 3.0)[::2]
seen += seen[-2:0:-1]  # there and back, so that nothing jumps where the cycle closes
def make():
    return AlertEngine(PRESETS[sys.argv[1]].replace(every_n=1))
def step(engine, number):
    depth, _, confidence, K, pose = seen[number % len(seen)]
    return engine.step(depth, number / 30.0, confidence, K, pose)
engine, cycles = make(), {}
for number in range(100_000):
    state = step(engine, number)
    if number in (9_999, 99_999):
        print(resident())
    which = number // len(seen)
    if which in (56, 100_000 // len(seen) - 1):
        cycles.setdefault(which, []).append((state.distance, state.speed, state.n_moving, state.n_valid))
early, late = cycles.values()
alike = lambda a, b: 0.0 if a == b or (a != a and b != b) else abs(a - b)
print(max(alike(a, b) for x, y in zip(early, late) for a, b in zip(x, y)))
engines, clocks, seconds = (engine, make()), [100_000, 0], [0.0, 0.0]  # one clock goes on, the other begins
for turn in range(22):
    for n in (0, 1):
        begun = time.perf_counter()
        for number in range(clocks[n], clocks[n] + len(seen)):
            step(engines[n], number)
        clocks[n] += len(seen)
        seconds[n] += (time.perf_counter() - begun) * (turn > 1)  # the first two warm up
print(20 * len(seen) / seconds[0], 20 * len(seen) / seconds[1])
"""

Seen = tuple[Any, float, Any, Any, Any]


def main() -> list[dict[str, Any]]:
    """Run everything and print one row a line."""
    one_thread()
    street = [frames("approach", 10.0, 12.0), frames("mixed", 10.0, 12.0)]
    rows = [*speeds(street), *at_the_phones_rate(), *algorithm3(street), *memory("paper"), *memory("base")]
    for one in rows:
        print(json.dumps(one, ensure_ascii=False))
    return rows


def one_thread() -> None:
    """Keep numpy and OpenCV to one thread; before numpy is imported, or through threadpoolctl where it was."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[name] = "1"
    import cv2
    import threadpoolctl

    cv2.setNumThreads(1)
    threadpoolctl.threadpool_limits(1)


def frames(scenario: str, fps: float, seconds: float) -> list[Seen]:
    """Depth, time, confidence, lens and pose of a simulated street, in memory."""
    from fieldsight.systems.alert.simulate import simulate

    made = simulate(scenario=scenario, sensor="phone_lidar", size=SIZE, fps=fps, seconds=seconds, seed=3)
    return [(f.depth, f.t, f.confidence, f.K, f.pose) for f in made]


def speeds(street: Sequence[list[Seen]]) -> list[dict[str, Any]]:
    """Frames a second of every mode, in turns, with the straightforward numpy version among them."""
    wall: dict[str, list[float]] = {name: [] for name in (*ENGINES, "numpy")}
    cpu: dict[str, list[float]] = {name: [] for name in (*ENGINES, "numpy")}
    for turn in range(ROUNDS + 1):
        for name, (preset, posed, _) in ENGINES.items():
            for seen in street:
                found = run(preset, seen, posed)
                if turn:  # the first is the warm-up
                    wall[name] += found[0]
                    cpu[name] += found[1]
        for seen in street:
            found = run_numpy(seen)
            if turn:
                wall["numpy"] += found[0]
                cpu["numpy"] += found[1]
    rows = []
    for name, (_, _, wanted) in ENGINES.items():
        peer = {
            "peer": "Algorithm 3 alone in plain numpy, nothing checked",
            "peer_value": 1 / statistics.fmean(wall["numpy"]),
        }
        rows += speed_rows(name, wall[name], cpu[name], wanted, peer if name == "paper" else {})
    return rows


def at_the_phones_rate() -> list[dict[str, Any]]:
    """The default at 60 frames a second, all of them processed: six times as much past to look at."""
    seen = frames("mixed", 60.0, 3.0)
    rows = []
    for name, posed in (
        ("base (track), camera at 60 Hz", True),
        ("base (track) without poses, camera at 60 Hz", False),
    ):
        run("base", seen, posed)
        found = [run("base", seen, posed) for _ in range(ROUNDS)]
        rows += speed_rows(name, [w for f in found for w in f[0]], [c for f in found for c in f[1]], True, {})
    return rows


def speed_rows(
    name: str, wall: list[float], cpu: list[float], wanted: bool, peer: dict[str, Any]
) -> list[dict[str, Any]]:
    """Mean frames a second, and the time that 99 of 100 frames stay under."""
    rate = 1 / statistics.fmean(wall)
    ratio = {"ratio": rate / peer["peer_value"]} if peer else {}
    half, most = 1e3 * statistics.median(wall), 1e3 * share(wall, 0.99)
    goals = ({"goal": FPS, "goal_on": "value, higher is better"}, {"goal": P99, "goal_on": "value, lower is better"})
    first, second = goals if wanted else ({}, {})
    return [
        row(f"{name}: frames a second", rate, "1/s", **peer, **ratio, **first, frames=len(wall)),
        row(
            f"{name}: 99 of 100 frames within (half within {half:.2f} ms)", most, "ms", **second, p50=half,
            cpu_mean=1e3 * statistics.fmean(cpu), cpu_p99=1e3 * share(cpu, 0.99),
        ),
    ]  # fmt: skip


def run(preset: str, seen: list[Seen], posed: bool) -> tuple[list[float], list[float]]:
    """Seconds of each step of a fresh engine: on the wall, and of the processor."""
    from fieldsight.systems.alert.config import PRESETS
    from fieldsight.systems.alert.engine import AlertEngine

    engine = AlertEngine(PRESETS[preset].replace(every_n=1))
    wall, cpu = [], []
    for depth, t, confidence, K, pose in seen:
        busy, begun = time.thread_time(), time.perf_counter()
        engine.step(depth, t, confidence, K, pose if posed else None)
        wall.append(time.perf_counter() - begun)
        cpu.append(time.thread_time() - busy)
    return wall, cpu


def run_numpy(seen: list[Seen]) -> tuple[list[float], list[float]]:
    """The same for the plain numpy version, which checks nothing."""
    wall, cpu = [], []
    for before, now in pairwise(seen):
        busy, begun = time.thread_time(), time.perf_counter()
        plain_numpy(cut(now[0]), cut(before[0]))
        wall.append(time.perf_counter() - begun)
        cpu.append(time.thread_time() - busy)
    return wall, cpu


# ------------------------------------------------------------------------------------------------ Algorithm 3


def algorithm3(street: Sequence[list[Seen]]) -> list[dict[str, Any]]:
    """Algorithm 3 alone on the region of 213 x 64, against three ways to write it down; all give the same."""
    from fieldsight.systems.alert.differencing import _border, moved

    def ours(now: Any, before: Any) -> tuple[float, float, int, float]:
        found = moved(now, before)
        return found.distance, found.difference / 0.5, found.n_moving, found.median

    pairs = [(cut(b[0]), cut(a[0])) for seen in street for a, b in pairwise(seen)]
    check(pairs, ours, street)
    few = pairs[:: len(pairs) // 12]
    ways: dict[str, tuple[Callable[..., Any], list[Any]]] = {
        "ours": (ours, pairs),
        "plain numpy (np.median on a copy)": (plain_numpy, pairs),
        "plain numpy, median by a full sort": (sorted_numpy, pairs),
        "Python loop over pixels": (python_loop, few),
        "Python loop over nested lists": (list_loop, [(a.tolist(), b.tolist()) for a, b in few]),
    }
    times = in_turns(ways, 7)
    rows = []
    for peer in list(ways)[1:]:
        ratio = times[peer] / times["ours"]
        goal = {"goal": 100.0, "goal_on": "ratio, higher is better"} if peer == "Python loop over pixels" else {}
        rows.append(
            row("Algorithm 3 alone, 213 x 64 pixels", 1e6 * times["ours"], "us", peer=peer,
                peer_value=1e6 * times[peer], ratio=ratio, **goal)
        )  # fmt: skip
    flat = [(a.ravel(),) for a, _ in pairs]
    import numpy as np

    times = in_turns(
        {
            "ours": (lambda a: _border(a, 0.5, strict=False), flat),
            "np.median": (np.median, flat),
            "a full sort": (lambda a: full_sort_median(np, a), flat),
        },
        7,
    )
    for peer in ("a full sort", "np.median"):
        rows.append(
            row("median of 13,632 depths", 1e6 * times["ours"], "us", peer=peer, peer_value=1e6 * times[peer],
                ratio=times[peer] / times["ours"])
        )  # fmt: skip
    return rows


def check(pairs: list[Any], ours: Callable[..., Any], street: Sequence[list[Seen]]) -> None:
    """The engine says what every peer says: counts to the pixel, sums to the last digits."""
    from fieldsight.systems.alert.config import PRESETS
    from fieldsight.systems.alert.engine import AlertEngine

    states = []
    for seen in street:
        engine = AlertEngine(PRESETS["paper"].replace(every_n=1))
        states += [s for f in seen if (s := engine.step(*f)) is not None][1:]
    moving = 0
    for n, ((now, before), state) in enumerate(zip(pairs, states, strict=True)):
        said = (state.distance, state.speed, state.n_moving, state.median)
        found = [ours(now, before), plain_numpy(now, before), sorted_numpy(now, before)]
        if n % 20 == 0:
            found += [python_loop(now, before), list_loop(now.tolist(), before.tolist())]
        moving += state.n_moving
        for other in found:
            for a, b in zip(said, other, strict=True):
                same = math.isclose(a, b, rel_tol=1e-6) or (math.isnan(a) and math.isnan(b))
                assert same, (n, said, other)
            assert other[2] == state.n_moving, (n, said, other)
    assert moving > 0


def cut(depth: Any) -> Any:
    """The region of Algorithm 2."""
    height, width = depth.shape
    return depth[height // 3 : 2 * height // 3, width // 12 : 11 * width // 12]


def plain_numpy(now: Any, before: Any) -> tuple[float, float, int, float]:
    """Algorithm 3 as one writes it down with numpy: distance, speed, moved pixels, median."""
    import numpy as np

    return by_median(now, before, np.median(now[now > 0]))


def sorted_numpy(now: Any, before: Any) -> tuple[float, float, int, float]:
    """The same with a full sort."""
    import numpy as np

    return by_median(now, before, full_sort_median(np, now[now > 0]))


def full_sort_median(np: Any, depths: Any) -> Any:
    ordered = np.sort(depths)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def by_median(now: Any, before: Any, median: Any) -> tuple[float, float, int, float]:
    import numpy as np

    close = (now > 0) & (now <= median)
    change = now - before
    here = close & (before > 0) & (np.abs(change) >= 0.2)
    count = int(here.sum())
    if count == 0:
        return math.nan, 0.0, 0, float(median)
    distance, difference = now[here].astype(np.float64).mean(), change[here].astype(np.float64).mean()
    return float(distance), float(difference) / 0.5, count, float(median)


def python_loop(now: Any, before: Any) -> tuple[float, float, int, float]:
    """Algorithm 3 pixel by pixel, as it is printed."""
    height, width = now.shape
    depths = []
    for y in range(height):
        for x in range(width):
            if now[y, x] > 0:
                depths.append(now[y, x])
    depths.sort()
    median = (depths[(len(depths) - 1) // 2] + depths[len(depths) // 2]) / 2
    total, change, count = 0.0, 0.0, 0
    for y in range(height):
        for x in range(width):
            new, old = now[y, x], before[y, x]
            if 0 < new <= median and old > 0 and abs(new - old) >= 0.2:
                total += float(new)
                change += float(new - old)
                count += 1
    return (total / count, change / count / 0.5, count, float(median)) if count else (math.nan, 0.0, 0, float(median))


def list_loop(now: list[list[float]], before: list[list[float]]) -> tuple[float, float, int, float]:
    """The same on lists of Python's numbers, which a loop reads faster; making the lists is not timed."""
    depths = sorted(d for line in now for d in line if d > 0)
    median = (depths[(len(depths) - 1) // 2] + depths[len(depths) // 2]) / 2
    total, change, count = 0.0, 0.0, 0
    for news, olds in zip(now, before, strict=True):
        for new, old in zip(news, olds, strict=True):
            if 0 < new <= median and old > 0 and abs(new - old) >= 0.2:
                total += new
                change += new - old
                count += 1
    return (total / count, change / count / 0.5, count, median) if count else (math.nan, 0.0, 0, median)


def in_turns(ways: dict[str, tuple[Callable[..., Any], list[Any]]], rounds: int) -> dict[str, float]:
    """Seconds of a call of each: the middle round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (call, inputs) in ways.items():
            begun = time.perf_counter()
            for values in inputs:
                call(*values)
            found[name].append((time.perf_counter() - begun) / len(inputs))
    return {name: statistics.median(times) for name, times in found.items()}


# ----------------------------------------------------------------------------------------------------- memory


def memory(preset: str) -> list[dict[str, Any]]:
    """What 10^5 frames leave behind: 56 minutes of camera time at 30 frames a second, all processed."""
    done = subprocess.run([sys.executable, "-c", MEMORY, preset], cwd=HERE, capture_output=True, text=True, check=True)
    before, after, differ, old, new = (float(x) for x in done.stdout.split())
    return [
        row(
            f"{preset}: memory grown from 10^4 to 10^5 frames", after - before, "MB", goal=5.0,
            goal_on="value, lower is better", resident=after,
        ),
        row(
            f"{preset}: frames a second after 10^5 frames, in turns with a new engine", old, "1/s",
            peer="a new engine", peer_value=new, ratio=old / new,
        ),
        row(f"{preset}: largest difference of a state, same frames 10^4 and 10^5 steps in", differ, "m, m/s, pixels"),
    ]  # fmt: skip


def resident() -> float:
    """Memory that this process holds now, MB; where the system does not say, the most it ever held."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def share(values: list[float], part: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(int(part * len(values)), len(values) - 1)]


def row(name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}


if __name__ == "__main__":
    main()
