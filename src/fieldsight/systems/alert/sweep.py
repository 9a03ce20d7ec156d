"""``sweep``: other thresholds on stored readings, as the paper's Table 2; curves and surfaces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.predictions import Table
from fieldsight.systems.alert.options import SweepOptions
from fieldsight.systems.alert.scores import Counts, Samples, auc, by_group, clustered, count
from fieldsight.systems.alert.table_a1 import read_samples, table_a1


@dataclass(frozen=True)
class Sweep(Table):
    """Counts and ratios at every pair of thresholds."""

    samples: Samples | None = None

    def figures(self) -> Mapping[str, str]:
        """Curves as SVG by caption."""
        from fieldsight.report import plots

        assert self.samples is not None
        return {
            "recall against precision, as the speed threshold moves": plots.curves(
                {f"TTI < {t:g} s": precision_recall(self.samples, t) for t in (1.0, 3.0, 5.0)}, "recall", "precision"
            )
        }


def sweep(data: Path | None, options: SweepOptions) -> Sweep:
    """The verb: counts at every pair of thresholds; Table A1 of the paper without data.

    Raises:
        DataError: no such file, or a damaged one.
    """
    samples = table_a1() if data is None else read_samples(data)
    where = "Table A1 of the paper" if data is None else data.name
    rows = []
    for speed in options.speeds:
        for tti in options.ttis:
            rows.append({"speed": speed, "tti": tti, **row_of(samples, speed, tti, options)})
    columns = {"speed": "m/s", "tti": "s", **dict.fromkeys(("TP", "FP", "FN", "TN", *_RATIOS), "")}
    columns |= dict.fromkeys(("precision low", "precision high", "recall low", "recall high"), "")
    facts = {
        "readings": len(samples),
        "clips": len(set(samples.clip.tolist())),
        "dangers": int(samples.danger.sum()),
        "AUC of -speed": _plain(auc(-samples.speed, samples.danger)),
        "AUC of -time": _plain(auc(-samples.tti, samples.danger)),
        "intervals": "95 %, clips resampled",
    }
    return Sweep(columns, rows, f"Thresholds on {where}", facts, samples)


_RATIOS = ("accuracy", "precision", "recall", "f1")


def row_of(samples: Samples, speed: float, tti: float, options: SweepOptions) -> dict[str, Any]:
    """Counts, ratios and clustered intervals at one pair of thresholds."""
    alert = samples.alerts(speed, tti, options.inclusive)
    counts = count(alert, samples.danger)
    spread = clustered(alert, samples.danger, samples.clip.tolist(), draws=options.draws)
    return {
        **cells(counts),
        **{f"{k} {end}": _plain(getattr(spread[k], end)) for k in ("precision", "recall") for end in ("low", "high")},
    }


def cells(counts: Counts) -> dict[str, Any]:
    """Counts and ratios as a row."""
    found: dict[str, Any] = {"TP": counts.tp, "FP": counts.fp, "FN": counts.fn, "TN": counts.tn}
    return found | {name: _plain(getattr(counts, name)) for name in _RATIOS}


def class_rows(samples: Samples, speed: float, tti: float) -> list[dict[str, Any]]:
    """Counts by class at one pair of thresholds: Table 1."""
    found = by_group(samples.alerts(speed, tti), samples.danger, samples.kind.tolist())
    return [{"class": name, **cells(c)} for name, c in found.items()]


def precision_recall(samples: Samples, tti: float) -> tuple[list[float], list[float]]:
    """Recall and precision as the speed threshold moves over all readings, at one time threshold."""
    recall, precision = [], []
    for speed in np.unique(np.concatenate([samples.speed + 1e-9, [-20.0, 0.0]])):
        c = count(samples.alerts(float(speed), tti), samples.danger)
        if not math.isnan(c.precision) and not math.isnan(c.recall):
            recall.append(c.recall)
            precision.append(c.precision)
    return recall, precision


def roc(samples: Samples, score: Sequence[float]) -> tuple[list[float], list[float]]:
    """False and true positive rate as one score's threshold moves."""
    s = np.asarray(score, dtype=np.float64)
    cuts = [math.inf, *np.unique(s)[::-1].tolist()]
    points = [count(s >= c, samples.danger) for c in cuts]
    return [1 - p.specificity for p in points], [p.recall for p in points]


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
