"""Calibrating and applying conformal intervals on 10^7 pixels, against MAPIE's prefit quantile regression.

    python -m benchmarks sem_conformal

The same predictions go to both as float64, one thread each, in turns; both take the exact order statistic. MAPIE's
estimators only hand over columns of the array they get.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fieldsight import conformal

PIXELS = 10_000_000
ALPHA = 0.1
ROUNDS = 3


def main() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(PIXELS)
    mid = y + rng.normal(0.0, 0.3, PIXELS)
    lo, hi = mid - 0.4, mid + 0.35
    stacked = np.stack([lo, hi, mid], axis=1)
    times: dict[str, list[float]] = {"fieldsight": [], "mapie": []}
    found: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, run in (("fieldsight", lambda: ours(y, lo, hi)), ("mapie", lambda: theirs(stacked, y))):
            seconds, found[name] = timed(run)
            times[name].append(seconds)
    middle = {name: statistics.median(t) for name, t in times.items()}
    gap = max(float(np.abs(a - b).max()) for a, b in zip(found["fieldsight"], found["mapie"], strict=True))
    common = {"peer": "MAPIE 1.x, prefit CQR, symmetric", "command": "python -m benchmarks sem_conformal"}
    return [
        {
            "name": f"calibrate and apply on {PIXELS:,} pixels", "value": middle["fieldsight"], "unit": "s",
            "peer_value": middle["mapie"], "ratio": middle["mapie"] / middle["fieldsight"], "goal": 5.0, **common,
        },
        {
            "name": "largest difference of a bound", "value": gap, "unit": "intensity", "peer_value": None,
            "ratio": None, "goal": 1e-6, **common,
        },
    ]  # fmt: skip


def ours(y: Any, lo: Any, hi: Any) -> tuple[Any, Any]:
    return conformal.widen(lo, hi, conformal.quantile(conformal.cqr_score(y, lo, hi), ALPHA))


class Column:
    """An estimator that was fitted elsewhere: its prediction is a column of what it is given."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.fitted_ = True

    def fit(self, X: Any, y: Any) -> Column:
        return self

    def predict(self, X: Any) -> Any:
        return X[:, self.number]

    def __sklearn_is_fitted__(self) -> bool:
        return True


def theirs(stacked: Any, y: Any) -> tuple[Any, Any]:
    from mapie.regression import ConformalizedQuantileRegressor

    regressor = ConformalizedQuantileRegressor(
        [Column(0), Column(1), Column(2)], confidence_level=1.0 - ALPHA, prefit=True
    )
    regressor.conformalize(stacked, y)
    _, intervals = regressor.predict_interval(stacked, symmetric_correction=True)
    return intervals[:, 0, 0], intervals[:, 1, 0]


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = run()
    return time.perf_counter() - begun, result
