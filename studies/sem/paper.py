"""The preset `paper` as published: 100 layouts of 256 x 256, 50 epochs, transfer on 48 pictures; Tables 1 and 2.

python studies/run.py sem paper [--seeds 0,1]      about 50 minutes a seed on one idle core

Each seed is a run folder, studies/sem/.runs/paper-SEED, which a killed study goes on with. The command line makes the
same one: fieldsight sem train --preset paper --recalibrate none --seed SEED --set data.seed=SEED --run FOLDER.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldsight import progress, studies
from fieldsight.run import Run
from fieldsight.systems.sem.calibrate import calibrate_model
from fieldsight.systems.sem.config import PRESETS, SemConfig
from fieldsight.systems.sem.evaluate import edge_concentration, evaluate_pairs, outlier_ratio
from fieldsight.systems.sem.predict import SemModel
from fieldsight.systems.sem.train import load_splits, second_stage, train_baseline


def run(seeds: tuple[int, ...] = (0, 1)) -> dict[str, Any]:
    torch.set_num_threads(1)
    rows, done = [], studies.Done("sem", "paper")
    for seed in seeds:
        rows.append({"seed": seed, **done.get({"seed": seed}, partial(one, seed))})
        progress.note(f"seed {seed}: {rows[-1]}")
    return {"seeds": list(seeds), "preset": "paper", "threads": 1, "rows": rows, "means": means(rows)}


def one(seed: int) -> dict[str, Any]:
    config = PRESETS["paper"].replace(seed=seed, data={"seed": seed})
    splits = load_splits(config, None)
    baseline = SemModel.create(config)
    with opened(seed, config) as run:
        train_baseline(baseline, splits, run)
        baseline = baseline.with_calibration(calibrate_model(baseline, splits["calibration"], config.alpha))
        transfer = second_stage(baseline, splits, config.second, "none", run)
        minutes = [run.info["stages"][stage]["seconds"] / 60 for stage in ("baseline", "finetune")]
    calibration = baseline.calibration
    assert calibration is not None
    values: dict[str, Any] = {"q": calibration.q, "minutes_baseline": minutes[0], "minutes_transfer": minutes[1]}
    for name, model in (("baseline", baseline), ("transfer", transfer)):
        for split in ("calibration", "test"):
            items, found = evaluate_pairs(model, splits[split], edges=split == "test")
            mae, coverage = items.summary("mae"), items.summary("coverage")
            values[f"{split}_{name}"] = {
                "mae": mae.mean,
                "mae_std": mae.std,
                "mae_90": float(np.percentile(items.column("mae"), 90)),
                "coverage": coverage.mean,
                "coverage_std": coverage.std,
                "width": items.summary("width").mean,
                "interval_score": items.summary("interval_score").mean,
                "raw_coverage": items.summary("raw_coverage").mean,
                "raw_width": items.summary("raw_width").mean,
            }
            if (name, split) == ("baseline", "test"):
                values["edge_ratio_of_errors"] = edge_concentration(found)
                values["edge_ratio_of_outliers"] = outlier_ratio(found, calibration)
                values["epe_nm"] = items.summary("epe_nm").mean
    fresh = calibrate_model(transfer, splits["val"], config.alpha)
    again, _ = evaluate_pairs(transfer, splits["test"], fresh, edges=False)
    values["test_transfer_recalibrated"] = {
        m: again.summary(m).mean for m in ("mae", "coverage", "width", "interval_score")
    }
    base, moved = values["calibration_baseline"]["mae"], values["calibration_transfer"]["mae"]
    values["mae_improvement_percent"] = 100 * (base - moved) / base
    values["time_reduction_percent"] = 100 * (1 - minutes[1] / minutes[0])
    values["mae_ratio_test"] = values["test_transfer"]["mae"] / values["test_baseline"]["mae"]
    values["coverage_gain_test"] = values["test_transfer"]["coverage"] - values["test_baseline"]["coverage"]
    return values


def opened(seed: int, config: SemConfig) -> Run:
    """The run folder of a seed, gone on with where there is one."""
    folder = Path(__file__).parent / ".runs" / f"paper-{seed}"
    if (folder / "run.json").is_file():
        return Run.resume(folder, config)
    return Run.create(folder, "sem", config, preset="paper", seed=seed)


def means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over seeds of every number, nested as it is."""
    result: dict[str, Any] = {}
    for key, first in rows[0].items():
        if isinstance(first, dict):
            result[key] = means([row[key] for row in rows])
        elif isinstance(first, (int, float)) and key != "seed":
            result[key] = float(np.mean([row[key] for row in rows]))
    return result
