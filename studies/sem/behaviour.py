"""What the specification says must appear in the drawn data: acceptance 10, and the shift of a process corner.

Forty layouts (24/7/5/4) as in the specification's `tiny`, 15 epochs of the paper's recipe, per seed:
coverage before and after calibration, concentration of errors at edges, coverage under `shift`, and what weighted
and online (adaptive) calibration make of it; aleatoric and epistemic shares of the error, measured.

    python studies/run.py sem behaviour [--seeds 0,1,2,3,4]
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from fieldsight import conformal, progress, studies
from fieldsight.engine.seed import rng_for
from fieldsight.metrics.stats import bootstrap
from fieldsight.systems.sem.calibrate import calibrate_model, predict_pairs, score
from fieldsight.systems.sem.config import PRESETS
from fieldsight.systems.sem.data import draw_pairs
from fieldsight.systems.sem.evaluate import edge_concentration, evaluate_pairs, outlier_ratio
from fieldsight.systems.sem.metrology import features
from fieldsight.systems.sem.predict import SemModel
from fieldsight.systems.sem.process import simulate
from fieldsight.systems.sem.train import load_splits, train_baseline


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> dict[str, Any]:
    torch.set_num_threads(1)
    rows, done = [], studies.Done("sem", "behaviour")
    for seed in seeds:
        rows.append({"seed": seed, **done.get({"seed": seed}, partial(one, seed))})
        progress.note(f"seed {seed}: {rows[-1]}")
    means = {k: vars(bootstrap([r[k] for r in rows])) for k in rows[0] if k != "seed"}
    return {"seeds": list(seeds), "layouts": 40, "epochs": 15, "rows": rows, "claims": means}


def one(seed: int) -> dict[str, float]:
    config = PRESETS["small"].replace(seed=seed, epochs=15, data={"seed": seed, "layouts": 40}, second={"kind": "none"})
    splits = load_splits(config, None)
    model = SemModel.create(config)
    train_baseline(model, splits, None)
    model = model.with_calibration(calibrate_model(model, splits["calibration"], config.alpha))
    calibration = model.calibration
    assert calibration is not None
    inside, _ = evaluate_pairs(model, splits["calibration"], edges=False)
    test, found = evaluate_pairs(model, splits["test"], edges=False)
    shifted = draw_pairs(config.data, shift=True)
    moved, _ = evaluate_pairs(model, shifted, edges=False)
    values = {
        "raw_coverage": test.summary("raw_coverage").mean,
        "calibration_coverage": inside.summary("coverage").mean,
        "test_coverage": test.summary("coverage").mean,
        "test_width": test.summary("width").mean,
        "mae": test.summary("mae").mean,
        "edge_ratio_of_errors": edge_concentration(found) or float("nan"),
        "edge_ratio_of_outliers": outlier_ratio(found, calibration) or float("nan"),
        "shift_coverage": moved.summary("coverage").mean,
        "shift_drop": test.summary("coverage").mean - moved.summary("coverage").mean,
        "shift_width": moved.summary("width").mean,
    }
    values.update(weighted(model, splits["calibration"], shifted))
    values.update(online(model, splits["calibration"], shifted))
    values.update(shares(seed, config, splits))
    return values


def weighted(model: SemModel, known: Any, new: Any) -> dict[str, float]:
    """Weigh calibration layouts by the likelihood ratio of their features (logistic regression), Tibshirani 2019."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    pixel = model.config.data.pixel
    old, fresh = (np.stack([features(p.mask, pixel) for p in pairs]) for pairs in (known, new))
    scaler = StandardScaler().fit(np.concatenate([old, fresh]))
    labels = np.r_[np.zeros(len(old)), np.ones(len(fresh))]
    regression = LogisticRegression().fit(scaler.transform(np.concatenate([old, fresh])), labels)

    def ratio(rows: np.ndarray) -> np.ndarray:
        p = regression.predict_proba(scaler.transform(rows))[:, 1]
        return p / (1 - p) * len(old) / len(fresh)

    scores, weights = [], []
    for one_ in predict_pairs(model, known):
        found = score(one_, "cqr").ravel()
        scores.append(found)
        weights.append(np.full(found.size, ratio(old[one_.number : one_.number + 1])[0]))
    q = conformal.weighted_quantile(np.concatenate(scores), np.concatenate(weights), float(ratio(fresh).mean()), 0.1)
    return _applied(model, new, {p.id: q for p in new}, "weighted")


def online(model: SemModel, known: Any, new: Any) -> dict[str, float]:
    """Adaptive conformal inference: layout by layout, the truth of each is told before the next comes."""
    pool = np.concatenate([score(one_, "cqr").ravel() for one_ in predict_pairs(model, known)])
    level = conformal.AdaptiveLevel(0.1, gamma=0.05)
    thresholds = {}
    for pair in new:
        q = level.threshold(pool)
        thresholds[pair.id] = float(np.clip(q, pool.min(), pool.max()))
        missed = [float((score(one_, "cqr") > thresholds[pair.id]).mean()) for one_ in predict_pairs(model, [pair])]
        level.update(float(np.mean(missed)))
    return _applied(model, new[len(new) // 2 :], thresholds, "online")


def _applied(model: SemModel, pairs: Any, thresholds: dict[str, float], name: str) -> dict[str, float]:
    coverage, width = [], []
    for one_ in predict_pairs(model, pairs):
        lo, hi = conformal.widen(one_.lo, one_.hi, thresholds[one_.pair.id])
        coverage.append(conformal.covered(one_.target, lo, hi).mean())
        width.append((hi - lo).mean())
    return {f"{name}_coverage": float(np.mean(coverage)), f"{name}_width": float(np.mean(width))}


def shares(seed: int, config: Any, splits: Any) -> dict[str, float]:
    """Aleatoric: spread of pictures of one layout under fresh noise. Epistemic: spread of middles over weights."""
    middles = []
    for k in range(3):
        model = SemModel.create(config.replace(seed=1000 + 10 * seed + k))
        train_baseline(model, splits, None)
        middles.append([one_.mid for one_ in predict_pairs(model, splits["test"]) if one_.position == 0])
    epistemic = [np.std([m[n] for m in middles], axis=0).mean() for n in range(len(splits["test"]))]
    aleatoric = []
    for pair in splits["test"]:
        pictures = []
        for k in range(8):
            rng = rng_for(seed, "repeat", pair.id, k)
            recipe = config.data.recipe.sample(rng_for(seed, "repeat", pair.id))
            pictures.append(simulate(pair.mask, config.data.pixel, recipe, rng).sem / 255.0)
        aleatoric.append(np.std(pictures, axis=0).mean())
    return {"aleatoric": float(np.mean(aleatoric)), "epistemic": float(np.mean(epistemic))}
