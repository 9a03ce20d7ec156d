"""Which recipe should ship? The paper's two stages against plain alternatives of the same number of steps.

Every recipe gets the same layouts and as many optimiser steps as the paper's recipe took in both stages. It is
measured on the same test layouts, with a threshold from layouts that nothing was trained on.

    python studies/run.py sem recipes [--seeds 0,1,2,3,4]
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch

from fieldsight import progress, studies
from fieldsight.metrics.stats import bootstrap, holm, paired
from fieldsight.systems.sem.calibrate import calibrate_model
from fieldsight.systems.sem.config import PRESETS, SemConfig
from fieldsight.systems.sem.evaluate import evaluate_pairs
from fieldsight.systems.sem.predict import SemModel
from fieldsight.systems.sem.train import load_splits, second_stage, train_baseline

METRICS = ("mae", "coverage", "width", "interval_score")
EPOCHS = 15

#: From simple to elaborate. Changes to the preset `small`; `epochs` grows by what the paper's second stage costs.
RECIPES: dict[str, dict[str, Any]] = {
    "paper, no second stage": {"second": {"kind": "none"}},
    "paper, transfer": {"recalibrate": "val"},
    "paper, gamma 1": {"recalibrate": "val", "second": {"gamma": 1.0}},
    "longer baseline": {"second": {"kind": "none"}, "longer": True},
    "cosine": {"schedule": "cosine", "second": {"kind": "none"}, "longer": True},
    "cosine, all labels": {
        "schedule": "cosine", "second": {"kind": "none"}, "longer": True, "fit_on": "train+calibration",
    },
    "cosine, then transfer": {"schedule": "cosine", "recalibrate": "val"},
    "cosine, flips": {
        "schedule": "cosine", "second": {"kind": "none"}, "augment": "rotations+flips", "longer": True,
    },
}  # fmt: skip


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> dict[str, Any]:
    torch.set_num_threads(1)
    rows, done = [], studies.Done("sem", "recipes")
    for seed in seeds:
        for name, changes in RECIPES.items():
            key = {"seed": seed, "recipe": name}
            rows.append({**key, **done.get({**key, **changes}, partial(one, seed, changes))})
            progress.note(f"seed {seed}, {name}: {rows[-1]['interval_score']:.5f}")
    recipes = {n: {k: v for k, v in c.items() if k != "longer"} for n, c in RECIPES.items()}
    return {
        "seeds": list(seeds), "preset": "small", "epochs": EPOCHS, "recipes": recipes, "rows": rows,
        "claims": claims(rows),
    }  # fmt: skip


def one(seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in changes.items() if k != "longer"}
    config: SemConfig = PRESETS["small"].replace(seed=seed, epochs=EPOCHS, data={"seed": seed}).replace(**plain)
    splits = load_splits(config, None)
    if changes.get("longer"):
        # the paper's second stage takes about 17 epochs of 48 pictures, as many steps as 3.4 epochs of 240
        per_epoch = len(splits["train"]) + (len(splits["calibration"]) if config.fit_on != "train" else 0)
        per_epoch *= 8 if config.augment == "rotations+flips" else 4
        wanted = EPOCHS * 4 * len(splits["train"]) + 17 * 4 * len(splits["calibration"])
        config = config.replace(epochs=max(1, round(wanted / per_epoch)))
    model = SemModel.create(config)
    begun = time.perf_counter()
    train_baseline(model, splits, None)
    fresh = splits["calibration" if config.fit_on == "train" else "val"]
    model = model.with_calibration(calibrate_model(model, fresh, config.alpha))
    if config.second.kind == "finetune":
        model = second_stage(model, splits, config.second, config.recalibrate, None)
    seconds = time.perf_counter() - begun
    layouts = evaluate_pairs(model, splits["test"], edges=False)[0].by_group()
    return {"seconds": seconds, "epochs": config.epochs, **{m: layouts.summary(m).mean for m in METRICS}}


def claims(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of each recipe with its interval over seeds, and its difference from the paper's."""
    by: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by.setdefault(row["recipe"], []).append(row)
    found: dict[str, Any] = {}
    tests: dict[str, float] = {}
    for name, own in by.items():
        entry: dict[str, Any] = {m: vars(bootstrap([r[m] for r in own])) for m in METRICS}
        if name != "paper, transfer":
            for metric in ("mae", "interval_score"):
                p = paired([r[metric] for r in by["paper, transfer"]], [r[metric] for r in own])
                entry[f"{metric} against paper, transfer"] = {
                    **vars(p.difference), "p": p.p, "smallest_p": p.smallest_p,
                }  # fmt: skip
                tests[f"{name}/{metric}"] = p.p
        found[name] = entry
    valid = {n: e for n, e in found.items() if 0.87 <= e["coverage"]["value"] <= 0.93}
    best = min(valid, key=lambda n: valid[n]["interval_score"]["value"])
    return {**found, "best": best, "winner": simplest_of_equals(by, list(valid), best), "holm": holm(tests)}


def simplest_of_equals(by: dict[str, list[dict[str, Any]]], valid: list[str], best: str) -> str:
    """The first recipe, they go from simple to elaborate, that is not shown to be worse than the best."""
    for name in valid:
        p = paired([r["interval_score"] for r in by[best]], [r["interval_score"] for r in by[name]])
        if name == best or p.difference.low <= 0.0:
            return name
    return best
