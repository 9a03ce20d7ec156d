"""Top-2 against one expert and against all four: photos as they are really routed, at shipped and at the paper's size.

    python -m benchmarks crack_speed

Shipped size: every held-out photo of 512 x 512 is timed from pixels to the mixed map (gate, chosen experts, mixing),
then all four experts on the same photo, in turns. Paper size: gate and experts have random weights (their time does not
depend on them); each is timed alone, and the routes of the shipped gate on the same photos say which of them count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

COMMAND = "python -m benchmarks crack_speed"
PHOTOS, SIDE, PAPER_RUNS = 25, 512, 3


def main() -> list[dict[str, Any]]:
    import torch

    import fieldsight
    from fieldsight.systems.crack.fusion import fuse, left_out
    from fieldsight.systems.crack.options import PredictOptions
    from fieldsight.systems.crack.photo import open_photo

    torch.set_num_threads(2)
    model = fieldsight.load("crack", device="cpu")
    photos = [open_photo(p) for p in drawn()]
    options, soft = PredictOptions(), PredictOptions(mix="soft")
    engine = model.engine(options)
    routes = [model.route(p, options, engine) for p in photos]

    def mixed(photo: Any, route: Any) -> Any:
        return fuse(photo, route, engine, model.config, options, left_out)

    ways: dict[str, Callable[[Any], Any]] = {
        "top 2": lambda p: mixed(p, model.route(p, options, engine)),
        "all four": lambda p: mixed(p, model.route(p, soft, engine)),
        "gate": lambda p: model.route(p, options, engine),
        **{name: (lambda p, name=name: mixed(p, only(model, name))) for name in model.names},
    }
    for way in ways.values():
        way(photos[0])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for photo in photos:
        for name, way in ways.items():
            begun = time.perf_counter()
            way(photo)
            seconds[name].append(time.perf_counter() - begun)
    rows = report("shipped size", {k: statistics.mean(v) for k, v in seconds.items()}, model.names)
    return rows + paper(model, [r.mixed[0, 0] > 0 for r in routes])


def drawn() -> list[Any]:
    """Held-out drawn photos, five surfaces in turn."""
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.crack import world

    return [
        world.draw_photo(world.DOMAINS[n % len(world.DOMAINS)], (SIDE, SIDE), rng_for(900_000, "bench", n)).image
        for n in range(PHOTOS)
    ]


def only(model: Any, name: str) -> Any:
    """A route to one expert."""
    import numpy as np

    from fieldsight.systems.crack.routes import Route

    one = np.array([[[float(n == name) for n in model.names]]], np.float32)
    return Route(one, one)


def paper(model: Any, routes: list[Any]) -> list[dict[str, Any]]:
    """The same shares at the paper's size, from the time of each part."""
    import numpy as np
    import torch

    from fieldsight.systems.crack import nets

    image = torch.zeros(1, 3, 512, 512)
    parts: dict[str, float] = {}
    for name in ("gate", *model.names):
        network = (nets.build_gate(len(model.names), "paper") if name == "gate" else nets.build(name, "paper")).eval()
        with torch.inference_mode():
            network(image)
            found = []
            for _ in range(PAPER_RUNS):
                begun = time.perf_counter()
                network(image)
                found.append(time.perf_counter() - begun)
        parts[name] = statistics.median(found)
        del network
    experts = np.array([parts[n] for n in model.names])
    routed = parts["gate"] + float(np.mean([experts[r].sum() for r in routes]))
    return report("paper size", {**parts, "top 2": routed, "all four": float(experts.sum())}, model.names)


def report(size: str, seconds: dict[str, float], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows with the two ratios of the goal."""
    single = statistics.mean(seconds[n] for n in names)
    top, whole = seconds["top 2"], seconds["all four"]
    rows = [row(f"{size}: {name}, 512 x 512, 2 threads", seconds[name], "s") for name in ("gate", *names)]
    rows.append(
        row(f"{size}: Top-2 with gate, mean over {PHOTOS} photos as routed", top, "s", peer="all four experts",
            peer_value=whole, ratio=top / whole, goal=0.6, goal_on="ratio, lower is better")
    )  # fmt: skip
    rows.append(
        row(f"{size}: Top-2 with gate against one expert", top, "s", peer="mean of the experts", peer_value=single,
            ratio=top / single, goal=2.3, goal_on="ratio, lower is better")
    )  # fmt: skip
    return rows


def row(name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}


if __name__ == "__main__":
    for one_row in main():
        print(one_row)
