"""The simulator of ``alert``: frames a second at 96 x 72, rendering alone and whole recordings of each sensor.

    python -m benchmarks alert_simulator

One process, one thread; four cities in turns; imports and one warm-up are outside the clock. *Rendering* is the depth
of one view, its objects already placed. A *recording* is all of ``simulate``: traffic, gait, rendering, the sensor's
noise, odometry and exact labels, divided by the frames that arrive.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from benchmarks.alert_engine import one_thread

COMMAND = "python -m benchmarks alert_simulator"
SIZE = (96, 72)
GOAL = 60.0
CITIES = ("manhattan", "brooklyn", "jaipur", "hefei")
ROUNDS = 3


def main() -> list[dict[str, Any]]:
    """Run both and print one row a line."""
    one_thread()
    rows = [*rendering(), *recordings()]
    for one in rows:
        print(json.dumps(one, ensure_ascii=False))
    return rows


def rendering() -> list[dict[str, Any]]:
    """Views a second of each city, and of the slowest."""
    from fieldsight.systems.alert.recording import field_of_view
    from fieldsight.systems.alert.render import render
    from fieldsight.systems.alert.scenes import build

    K = field_of_view(*SIZE)
    times: dict[str, list[float]] = {city: [] for city in CITIES}
    views = {}
    for city in CITIES:
        scene = build(city, "mixed", "walk", 8.0, 0)
        moments = [n / 10 for n in range(int(scene.seconds * 10))]
        views[city] = [(scene.world.at(t), scene.wearer.camera(t)) for t in moments]
    for turn in range(ROUNDS + 1):
        for city, placed in views.items():
            for solids, camera in placed:
                begun = time.perf_counter()
                render(solids, camera, K, SIZE)
                if turn:  # the first is the warm-up
                    times[city].append(time.perf_counter() - begun)
    each = {city: 1 / statistics.fmean(t) for city, t in times.items()}
    every = [t for city in CITIES for t in times[city]]
    slowest = min(each, key=lambda city: each[city])
    return [
        row("rendered views a second, four cities", 1 / statistics.fmean(every), by_city=each, views=len(every)),
        row(f"rendered views a second, the slowest city ({slowest})", each[slowest]),
    ]


def recordings() -> list[dict[str, Any]]:
    """Frames a second of whole recordings, by sensor."""
    from fieldsight.systems.alert.sensors import PROFILES
    from fieldsight.systems.alert.simulate import simulate

    frames = dict.fromkeys(PROFILES, 0)
    seconds = dict.fromkeys(PROFILES, 0.0)
    simulate(size=SIZE, seconds=2.0)
    for turn in range(ROUNDS):
        for city in CITIES:
            for sensor in PROFILES:
                begun = time.perf_counter()
                made = simulate(city=city, scenario="mixed", sensor=sensor, size=SIZE, seconds=8.0, seed=turn)
                seconds[sensor] += time.perf_counter() - begun
                frames[sensor] += len(made)
    return [
        row(f"frames a second of whole recordings, {sensor}", frames[sensor] / seconds[sensor], frames=frames[sensor])
        for sensor in PROFILES
    ]


def row(name: str, value: float, **more: Any) -> dict[str, Any]:
    goal = {"goal": GOAL, "goal_on": "value, higher is better"}
    return {"name": name, "value": value, "unit": "1/s", **goal, "command": COMMAND, **more}


if __name__ == "__main__":
    main()
