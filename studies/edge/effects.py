"""What calibration, precision, confidence and the way of splitting do to a small detector, on drawn flights.

The specification's stand-in: the smallest scale at 160 pixels, drawn rooms, a few hundred steps from nothing, three
seeds; measured on held-out flights. The control of every comparison is the same network in FP32 on the same frames.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight import studies
from fieldsight.data.detection.kept import keep
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.detection import train
from fieldsight.engine.seed import rng_for
from fieldsight.metrics.detection import AveragePrecision
from fieldsight.metrics.stats import bootstrap
from fieldsight.systems.edge.config import PRESETS, EdgeConfig
from fieldsight.systems.edge.data import draw, drawn_splits, heldout
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.quant.fake import choose_scales, observe, simulate
from fieldsight.systems.edge.quant.half import write_half
from fieldsight.systems.edge.quant.measure import CONFS, Network, factor_table, inputs, measure, traced_of
from fieldsight.systems.edge.quant.qdq import write_qdq
from fieldsight.systems.edge.quant.scheme import Scheme
from fieldsight.systems.edge.quantize import by_onnx, write_float

SEEDS = (0, 1, 2)

#: Frames that calibrate well; the specification asks for 300.
CALIBRATION = 300


def run(seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    done = studies.Done("edge", "effects")
    values = {str(s): done.get({"seed": s}, lambda s=s: one_seed(s)) for s in seeds}
    larger = done.get({"size": "n", "seed": seeds[0]}, lambda: larger_size(seeds[0]))
    leaks = {str(s): done.get({"leak": s, "test": "the same frames"}, lambda s=s: leak(s)) for s in seeds}
    return {
        "claim": "mAP50-95 and mAP50 on held-out drawn flights, in several precisions and settings of calibration; the "
        "same detector trained on frames split at random and by flight",
        "seeds": list(seeds),
        "values": values,
        "size_n": {"seed": seeds[0], **larger},
        "leak": leaks,
        "summary": summary(values, leaks),
    }


def config_of(seed: int, **changes: Any) -> EdgeConfig:
    return PRESETS["small"].replace(seed=seed, data={"seed": seed}, **changes)


#: Steps of the comparisons that need no good detector, only equal ones: by way of splitting, and of a larger scale.
FEWER = 1500


class Losses:
    """Mean loss of each hundred steps of a training; it stands in for the step that is logged nowhere else."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def watched(self, config: EdgeConfig, accumulate: int) -> Any:
        step = _training_step(config, accumulate)

        def one(fabric: Any, state: Any, batch: Any, number: int) -> Any:
            found = step(fabric, state, batch, number)
            self.values.append(float(found["loss"]))
            return found

        return one

    def hundreds(self) -> list[float]:
        return [round(float(np.mean(self.values[k : k + 100])), 4) for k in range(0, len(self.values) - 99, 100)]


_training_step = train.training_step


def trained(
    config: EdgeConfig, learn: list[DetectionSample], watch: list[DetectionSample]
) -> tuple[EdgeModel, dict[str, Any]]:
    model, losses = EdgeModel.create(config), Losses()
    start = time.perf_counter()
    train.training_step = losses.watched
    try:
        train.fit_detector(model.detector, model.config, learn, watch)
    finally:
        train.training_step = _training_step
    told: dict[str, Any] = {"steps": config.steps}
    told |= {"minutes": round((time.perf_counter() - start) / 60, 2), "loss_by_100_steps": losses.hundreds()}
    model.round_weights()
    return model, told


def numbers(pool: AveragePrecision) -> dict[str, dict[str, float]]:
    """mAP at both settings of confidence."""
    found = {}
    for conf in CONFS:
        told = pool.compute(conf).numbers()
        found[str(conf)] = {k: round(float(told[k]), 5) for k in ("mAP50-95", "mAP50")}
    return found


def one_seed(seed: int) -> dict[str, Any]:
    config = config_of(seed)
    splits = drawn_splits(config.data)
    learn, watch = keep(splits.train, "training frames"), keep(splits.val, "validation frames")
    test, shift = (keep(heldout(config.data, shift=s), "test frames") for s in (False, True))
    model, told = trained(config, learn, watch)
    precisions = {name: numbers(pool) for name, pool in measured(model, learn, test).items()}
    table = factor_table(model, [s.image for s in learn[:: len(learn) // CALIBRATION][:CALIBRATION]], test)
    return {
        **told,
        "photos": len(test),
        "precisions": precisions,
        "shift": numbers(measure(model.graph().eval(), model, shift)),
        "factors": [dict(row) for row in table.rows],
    }


def measured(
    model: EdgeModel, learn: Sequence[DetectionSample], test: Sequence[DetectionSample]
) -> dict[str, AveragePrecision]:
    """The network in FP32; in FP16 and well calibrated INT8 as ONNX files; and INT8 simulated."""
    traced = traced_of(model)
    good = [s.image for s in learn[:: len(learn) // CALIBRATION][:CALIBRATION]]
    seen = observe(traced, inputs(good, model.config.input))
    scales = choose_scales(traced, seen, Scheme())
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in ("FP32", "FP16", "INT8")}
        write_float(model, traced, files["FP32"])
        write_half(files["FP32"], files["FP16"])
        write_qdq(files["FP32"], files["INT8"], scales)
        networks: dict[str, Network] = {"FP32": traced.network, "INT8 simulated": simulate(traced, scales)}
        networks |= {name: by_onnx(model, files[name]) for name in ("FP16", "INT8")}
        return {name: measure(network, model, test, f"measuring {name}") for name, network in networks.items()}


def larger_size(seed: int) -> dict[str, Any]:
    """Scale n on the same frames: what INT8 costs it beside what it costs the smaller one."""
    config = config_of(seed, size="n", steps=FEWER)
    splits = drawn_splits(config.data)
    learn, watch = keep(splits.train, "training frames"), keep(splits.val, "validation frames")
    model, told = trained(config, learn, watch)
    test = keep(heldout(config.data), "test frames")
    return {**told, "precisions": {name: numbers(pool) for name, pool in measured(model, learn, test).items()}}


def leak(seed: int) -> dict[str, Any]:
    """One test, two trainings of equal size: with other frames of the test's flights among them, and without.

    The test is every other frame of a sixth of the flights. A split by frame leaves their neighbours to training, one
    by flight does not; both detectors meet held-out flights too, where neither has seen a neighbour.
    """
    config = config_of(seed, steps=FEWER)
    own = config.data
    count = own.train + own.val
    frames = keep(draw(own.world, {"train": count}, own.size, own.seed), "frames")
    new = keep(heldout(own), "test frames")
    flights = sorted({s.group for s in frames})
    chosen = {flights[k] for k in rng_for(seed, "leak flights").permutation(len(flights))[: len(flights) // 6]}
    tested = [s for s in frames if s.group in chosen]
    test, neighbours = [replace(s, split="test") for s in tested[::2]], tested[1::2]
    others = [s for s in frames if s.group not in chosen]
    others = [others[k] for k in rng_for(seed, "leak").permutation(len(others))]
    found: dict[str, Any] = {"photos": len(test), "flights": len(chosen)}
    for way, learn in {"by frame": [*neighbours, *others[: -len(neighbours)]], "by flight": others}.items():
        model, told = trained(config, learn, learn[-own.val :])
        graph = model.graph().eval()
        found[way] = {
            **told,
            "learned": len(learn),
            "own_test": numbers(measure(graph, model, test)),
            "new_flights": numbers(measure(graph, model, new)),
        }
    return found


def summary(values: dict[str, Any], leaks: dict[str, Any]) -> dict[str, Any]:
    """Means over seeds with 95 % bootstrap intervals, in points of mAP50-95 at a confidence of 0.001."""

    def points(name: str) -> list[float]:
        return [100 * ap_of(v["precisions"][name]) for v in values.values()]

    def told(numbers: Sequence[float]) -> dict[str, float]:
        found = bootstrap(np.array(numbers))
        return {"value": round(found.value, 3), "low": round(found.low, 3), "high": round(found.high, 3)}

    base = points("FP32")
    result = {"FP32": told(base)}
    for name in ("FP16", "INT8 simulated", "INT8"):
        result[f"{name} less FP32"] = told([b - a for a, b in zip(base, points(name), strict=True)])

    def gaps(on: str) -> list[float]:
        """What a split by frame says above one by flight."""
        return [100 * (ap_of(v["by frame"][on]) - ap_of(v["by flight"][on])) for v in leaks.values()]

    return {
        **result,
        "flattery of a split by frame": told(gaps("own_test")),
        "the same detectors on new flights": told(gaps("new_flights")),
    }


def ap_of(measured: dict[str, dict[str, float]]) -> float:
    """mAP50-95 at a confidence of 0.001."""
    return measured["0.001"]["mAP50-95"]
