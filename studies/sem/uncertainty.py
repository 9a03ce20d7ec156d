"""Other ways to an interval, all calibrated by the same code: which is narrow where coverage is kept?

python studies/run.py sem uncertainty [--seeds 0,1,2,3,4]
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch

from fieldsight import progress, studies
from fieldsight.metrics.stats import bootstrap, holm, paired
from fieldsight.systems.sem.calibrate import calibrate_model
from fieldsight.systems.sem.config import PRESETS
from fieldsight.systems.sem.evaluate import evaluate_pairs
from fieldsight.systems.sem.predict import SemModel
from fieldsight.systems.sem.train import load_splits, train_baseline

METRICS = ("mae", "coverage", "width", "interval_score", "coverage_edge", "coverage_interior", "coverage_background")

METHODS: dict[str, dict[str, Any]] = {
    "quantiles (CQR)": {},
    "ordered quantiles": {"net": {"head": "ordered"}},
    "three quantiles": {"net": {"head": "median3"}},
    "residual (classical)": {"net": {"head": "mean"}},
    "Gaussian head": {"net": {"head": "gaussian"}},
    "Gaussian head, scaled": {"net": {"head": "gaussian"}, "method": "scaled"},
    "dropout, scaled": {"net": {"head": "mean", "dropout": 0.1, "passes": 20}, "method": "scaled"},
    "ensemble of 5, scaled": {"net": {"head": "mean", "members": 5}, "method": "scaled"},
    "ensemble of 5 Gaussians": {"net": {"head": "gaussian", "members": 5}, "method": "scaled"},
}


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> dict[str, Any]:
    torch.set_num_threads(1)
    rows, done = [], studies.Done("sem", "uncertainty")
    for seed in seeds:
        for name, changes in METHODS.items():
            key = {"seed": seed, "method": name}
            rows.append({**key, **done.get({**key, **changes}, partial(one, seed, changes))})
            progress.note(f"seed {seed}, {name}: {rows[-1]['interval_score']:.5f}")
    return {"seeds": list(seeds), "preset": "small, cosine", "rows": rows, "claims": claims(rows)}


def one(seed: int, changes: dict[str, Any]) -> dict[str, float]:
    base = PRESETS["small"].replace(seed=seed, schedule="cosine", data={"seed": seed}, second={"kind": "none"})
    config = base.replace(**changes)
    splits = load_splits(config, None)
    model = SemModel.create(config)
    begun = time.perf_counter()
    train_baseline(model, splits, None)
    seconds = time.perf_counter() - begun
    model = model.with_calibration(
        calibrate_model(
            model, splits["calibration"], config.alpha, kind="scaled" if config.method == "scaled" else "cqr"
        )
    )
    layouts = evaluate_pairs(model, splits["test"], edges=False)[0].by_group()
    return {"seconds": seconds, **{m: layouts.summary(m).mean for m in METRICS}}


def claims(rows: list[dict[str, Any]]) -> dict[str, Any]:
    by: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by.setdefault(row["method"], []).append(row)
    reference = by["quantiles (CQR)"]
    found: dict[str, Any] = {}
    tests = {}
    for name, own in by.items():
        found[name] = {m: vars(bootstrap([r[m] for r in own])) for m in METRICS}
        if own is not reference:
            p = paired([r["interval_score"] for r in reference], [r["interval_score"] for r in own])
            found[name]["interval_score against CQR"] = {**vars(p.difference), "p": p.p, "smallest_p": p.smallest_p}
            tests[name] = p.p
    found["holm"] = holm(tests)
    return found
