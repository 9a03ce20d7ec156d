"""How well do measurements give back the constants, and when do they not? The drawn meter with 3 % noise.

Thirty rows (25 of small networks at batches 1 to 32 and clocks 1, 2, 4; 5 idle) are drawn, fitted, and compared with
the constants behind them, for a growing share of static power.

    python studies/run.py energy calibration [--seeds 0,1]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fieldsight.systems.energy.calibrate import UNITS, Meter, calibrate

#: Watts of static power; the first is that of ``make-data``.
STATIC = (0.02, 0.1, 0.3, 1.0)


def run(seeds: tuple[int, ...] = tuple(range(300))) -> dict[str, Any]:
    rows = [{"static_w": static, **one(Meter(static=static), seeds)} for static in STATIC]
    return {"seeds": len(seeds), "noise": Meter().noise, "rows": rows, "claims": rows[0]["error_percent"]}


def one(meter: Meter, seeds: tuple[int, ...]) -> dict[str, Any]:
    true = np.array([meter.e_mem, meter.e_mac, meter.static])
    fits = [calibrate(meter.rows(seed), draws=200, seed=seed) for seed in seeds]
    errors = 100 * np.abs(np.array([[f.constants[k] for k in UNITS] for f in fits]) / true - 1)
    inside = [
        float(np.mean([f.intervals[k][0] <= t <= f.intervals[k][1] for f in fits]))
        for k, t in zip(UNITS, true, strict=True)
    ]
    return {
        "static_share": float(np.median([f.static_share for f in fits])),
        "condition": float(np.median([f.condition for f in fits])),
        "mape_percent": float(np.median([f.mape for f in fits])),
        "left_out_percent": float(np.median([np.nanmean(list(f.left_out.values())) for f in fits])),
        "error_percent": {
            k: {"median": float(np.median(e)), "p95": float(np.quantile(e, 0.95)), "worst": float(e.max())}
            for k, e in zip(UNITS, errors.T, strict=True)
        },
        "interval_holds": dict(zip(UNITS, inside, strict=True)),
        "warned": float(np.mean([bool(f.warnings) for f in fits])),
    }
