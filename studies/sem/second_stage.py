"""Does the second stage earn its place? The paper's fine-tuning against the controls it lacks.

For each seed (new layouts, new weights) and each length of the baseline, every variant starts from the same
baseline and is measured on the same test layouts: at the baseline's q* (the paper's protocol), and recalibrated on
the validation layouts (a valid protocol).

    python studies/run.py sem second_stage [--seeds 0,1,2,3,4]
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import torch

from fieldsight import progress, studies
from fieldsight.metrics.stats import bootstrap, holm, paired
from fieldsight.systems.sem.calibrate import calibrate_model
from fieldsight.systems.sem.config import PRESETS, SemConfig
from fieldsight.systems.sem.evaluate import evaluate_pairs
from fieldsight.systems.sem.predict import SemModel
from fieldsight.systems.sem.train import load_splits, second_stage, train_baseline

EPOCHS = (1, 5, 15, 50)
METRICS = ("mae", "coverage", "width", "interval_score")

#: Second stages by name; `steps` is filled in with the number of steps that `transfer` took.
VARIANTS: dict[str, dict[str, Any]] = {
    "transfer": {},
    "gamma 1": {"gamma": 1.0},
    "gamma 1.1": {"gamma": 1.1},
    "gamma 2": {"gamma": 2.0},
    "gamma 5": {"gamma": 5.0},
    "bottleneck free": {"frozen": "encoder"},
    "unfrozen": {"frozen": "none"},
    "continue decoder": {"split": "train", "gamma": 1.0, "same_steps": True},
    "continue all": {"split": "train", "gamma": 1.0, "frozen": "none", "same_steps": True},
    "joint data": {"split": "both", "gamma": 1.0, "frozen": "none", "same_steps": True},
}


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    done = studies.Done("sem", "second_stage")
    for seed in seeds:
        for epochs in EPOCHS:
            rows += done.get({"seed": seed, "epochs": epochs, "variants": VARIANTS}, partial(one, seed, epochs))
            progress.note(f"seed {seed}, {epochs} epochs: done")
    return {"seeds": list(seeds), "epochs": list(EPOCHS), "preset": "small", "rows": rows, "claims": claims(rows)}


def one(seed: int, epochs: int) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    config = PRESETS["small"].replace(seed=seed, epochs=epochs, data={"seed": seed}, second={"epochs": 50})
    splits = load_splits(config, None)
    baseline = SemModel.create(config)
    begun = time.perf_counter()
    train_baseline(baseline, splits, None)
    baseline_seconds = time.perf_counter() - begun
    baseline = baseline.with_calibration(calibrate_model(baseline, splits["calibration"], config.alpha))
    facts = {"seed": seed, "epochs": epochs, "steps": epochs * 4 * len(splits["train"])}
    rows = [{**facts, "variant": "baseline", "seconds": baseline_seconds, **measured(baseline, splits, config)}]
    taken = 0
    for name, changes in VARIANTS.items():
        settings = {k: v for k, v in changes.items() if k != "same_steps"}
        if changes.get("same_steps"):
            settings["steps"] = taken
        begun = time.perf_counter()
        tuned, steps = stage(baseline, splits, config.replace(second=settings))
        seconds = time.perf_counter() - begun
        taken = taken or steps
        rows.append({**facts, "variant": name, "steps": steps, "seconds": seconds, **measured(tuned, splits, config)})
    halved = second_stage(baseline, splits, config.second, "split", None)
    rows.append({**facts, "variant": "transfer, split", "seconds": 0.0, **measured(halved, splits, config)})
    return rows


def stage(baseline: SemModel, splits: Any, config: SemConfig) -> tuple[SemModel, int]:
    """A second stage with the baseline's threshold, and the steps it took."""
    import fieldsight.systems.sem.train as program

    taken = []
    original = program.fit

    def counting(*args: Any, **kwargs: Any) -> Any:
        ended = original(*args, **kwargs)
        taken.append(ended.step)
        return ended

    program.fit = counting  # type: ignore[assignment]
    try:
        return second_stage(baseline, splits, config.second, "none", None), sum(taken) if not taken else taken[-1]
    finally:
        program.fit = original  # type: ignore[assignment]


def measured(model: SemModel, splits: Any, config: SemConfig) -> dict[str, Any]:
    """Means over test layouts, at the model's own threshold and recalibrated on validation layouts."""
    own, _ = evaluate_pairs(model, splits["test"], edges=False)
    fresh = calibrate_model(model, splits["val"], config.alpha)
    again, _ = evaluate_pairs(model, splits["test"], fresh, edges=False)
    calibration = model.calibration
    assert calibration is not None
    values: dict[str, Any] = {"q": calibration.q, "q_val": fresh.q}
    for name in METRICS:
        values[name] = own.by_group().summary(name).mean
        values[f"{name}_val"] = again.by_group().summary(name).mean
    values["raw_coverage"] = own.summary("raw_coverage").mean
    values["raw_width"] = own.summary("raw_width").mean
    return values


def claims(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Differences to the baseline and to `transfer` over seeds, with intervals; all p adjusted together by Holm."""
    found: dict[str, Any] = {}
    tests: dict[str, float] = {}
    for epochs in EPOCHS:
        table: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row["epochs"] == epochs:
                table.setdefault(row["variant"], []).append(row)
        for variant, own in table.items():
            entry: dict[str, Any] = {}
            for metric in (*METRICS, *(f"{m}_val" for m in METRICS)):
                entry[metric] = vars(bootstrap([r[metric] for r in own]))
            for other in ("baseline", "transfer"):
                if variant != other:
                    for metric in ("mae", "interval_score_val"):
                        p = paired([r[metric] for r in table[other]], [r[metric] for r in own])
                        entry[f"{metric} against {other}"] = {
                            **vars(p.difference),
                            "p": p.p,
                            "smallest_p": p.smallest_p,
                        }
                        tests[f"{epochs}/{variant}/{metric}/{other}"] = p.p
            entry["better_mae_than_baseline"] = sum(
                r["mae"] < b["mae"] for r, b in zip(own, table["baseline"], strict=True)
            )
            entry["time_ratio"] = float(
                np.mean([r["seconds"] / b["seconds"] for r, b in zip(own, table["baseline"], strict=True)])
            )
            found[f"{epochs} epochs/{variant}"] = entry
    found["holm"] = holm(tests)
    return found
