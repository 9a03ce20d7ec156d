"""Conformal calibration: exactness, guarantees, files, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fieldsight import conformal
from fieldsight.conformal import AdaptiveLevel, Calibration, Novelty
from fieldsight.errors import DataError

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@given(st.integers(1, 5000), st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.3, 0.5]))
def test_rank_is_exact_where_floats_are_not(n: int, alpha: float) -> None:
    from fractions import Fraction

    assert conformal.rank(n, alpha) == math.ceil((n + 1) * (1 - Fraction(str(alpha))))
    assert conformal.rank(9, 0.1) == 9  # (9 + 1) * 0.9 is 9.000000000000002 in floats


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.integers(1, 300), elements=finite), st.sampled_from([0.05, 0.1, 0.25, 0.5]), st.integers(1, 7)
)
def test_quantiles_in_memory_and_in_a_stream_are_the_same_order_statistic(
    scores: np.ndarray, alpha: float, parts: int
) -> None:
    k = conformal.rank(scores.size, alpha)
    expected = float(np.sort(scores)[k - 1]) if k <= scores.size else math.inf
    assert conformal.quantile(scores, alpha) == expected
    batches = lambda: iter(np.array_split(scores, parts))  # noqa: E731
    assert conformal.streamed_quantile(batches, alpha, keep=4) == expected


def test_streams_with_many_ties() -> None:
    scores = np.repeat([0.0, 1.0, 1.0, 2.0], 5000)
    assert conformal.streamed_quantile(lambda: iter(np.array_split(scores, 9)), 0.5, keep=10) == 1.0


@pytest.mark.parametrize("kind", ["normal", "ties", "sorted", "periodic", "constant"])
def test_the_quantile_of_many_scores_is_the_order_statistic(kind: str) -> None:
    rng = np.random.default_rng(0)
    n = 2**19 + 12_345
    scores = {
        "normal": rng.standard_normal(n),
        "ties": np.round(rng.standard_normal(n), 1),
        "sorted": np.sort(rng.standard_normal(n)),
        "periodic": np.where(np.arange(n) % (n // 2**16) == 0, 50.0, rng.standard_normal(n)),  # misleads the sample
        "constant": np.zeros(n),
    }[kind]
    ordered = np.sort(scores)
    for alpha in (0.1, 0.5, 0.01, 1e-5):
        assert conformal.quantile(scores, alpha) == ordered[conformal.rank(n, alpha) - 1]
    scores[77] = np.nan
    with pytest.raises(DataError, match="NaN"):
        conformal.quantile(scores, 0.1)


def test_nan_nothing_and_bad_levels_are_refused() -> None:
    for bad in ([], [np.nan, 1.0, 2.0], [1.0, np.nan]):
        with pytest.raises(DataError):
            conformal.quantile(bad, 0.5)
        with pytest.raises(DataError):
            conformal.streamed_quantile(lambda bad=bad: iter([np.array(bad)]), 0.5)
    with pytest.raises(DataError, match="NaN"):
        conformal.quantile([np.nan], 0.1)
    for alpha in (0.0, 1.0, -1.0):
        with pytest.raises(DataError, match="alpha must be between"):
            conformal.rank(5, alpha)


def test_marginal_coverage_holds_on_fresh_data() -> None:
    rng = np.random.default_rng(0)
    coverage = []
    for _ in range(400):
        known, new = rng.standard_normal(30), rng.standard_normal(200)
        coverage.append((new <= conformal.quantile(known, 0.1)).mean())
    law = conformal.coverage_law(30, 0.1)
    assert np.mean(coverage) == pytest.approx(law.mean, abs=0.01)
    assert np.std(coverage) == pytest.approx(law.std, abs=0.015)


def test_the_law_of_coverage() -> None:
    few, many = conformal.coverage_law(12, 0.1), conformal.coverage_law(48, 0.1)
    assert (few.k, many.k) == (12, 45)
    assert (few.mean, few.std) == pytest.approx((0.923, 0.071), abs=5e-4)
    assert (many.mean, many.std) == pytest.approx((0.918, 0.039), abs=5e-4)
    with pytest.raises(DataError, match="at least 9 are needed"):
        conformal.coverage_law(8, 0.1)
    assert conformal.coverage_law(9, 0.1).k == 9


def test_groups_hold_their_own_level_and_small_ones_are_named() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(["flat", "edge"], [5000, 800])
    scores = np.where(groups == "edge", 3.0, 1.0) * np.abs(rng.standard_normal(5800))
    pooled = conformal.quantile(scores, 0.1)
    own = conformal.group_quantiles(scores, groups, 0.1)
    for name in ("flat", "edge"):
        assert (scores[groups == name] <= own[name]).mean() == pytest.approx(0.9, abs=0.002)
    assert (scores[groups == "edge"] <= pooled).mean() < 0.75
    with pytest.raises(DataError, match="Group 'tiny' has 3"):
        conformal.group_quantiles([*scores, 1, 2, 3], [*groups, "tiny", "tiny", "tiny"], 0.1)


def test_weights_restore_coverage_under_covariate_shift() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 4000)
    y = rng.standard_normal(4000) * (0.5 + 2 * x)
    new_x = rng.beta(4, 1, 4000)
    new_y = rng.standard_normal(4000) * (0.5 + 2 * new_x)
    ratio = 4 * x**3
    plain = conformal.quantile(np.abs(y), 0.1)
    weighted = conformal.weighted_quantile(np.abs(y), ratio, float((4 * new_x**3).mean()), 0.1)
    assert (np.abs(new_y) <= plain).mean() < 0.87
    assert (np.abs(new_y) <= weighted).mean() == pytest.approx(0.9, abs=0.02)
    assert conformal.weighted_quantile([1.0, 2.0], [1.0, 1.0], 100.0, 0.1) == math.inf
    equal = conformal.weighted_quantile(np.abs(y), np.ones_like(y), 1.0, 0.1)
    assert equal == conformal.quantile(np.abs(y), 0.1)
    with pytest.raises(DataError, match="one per score"):
        conformal.weighted_quantile([1.0, 2.0], [1.0], 1.0, 0.1)


def test_the_adaptive_level_follows_drift() -> None:
    rng = np.random.default_rng(0)
    pool = np.abs(rng.standard_normal(2000))
    level, missed = AdaptiveLevel(0.1, 0.05), []
    for _ in range(400):
        new = 1.8 * np.abs(rng.standard_normal(50))
        q = level.threshold(pool)
        missed.append(float((new > q).mean()))
        level.update(missed[-1])
    assert np.mean(missed[:20]) > 0.15
    assert np.mean(missed[200:]) == pytest.approx(0.1, abs=0.03)


def test_risk_control_keeps_the_mean_loss_below_alpha() -> None:
    rng = np.random.default_rng(0)
    limits = rng.uniform(0, 1, 300)
    found = conformal.control_risk(lambda lam: (limits > lam).astype(float), np.linspace(0, 1, 101), 0.1)
    assert (rng.uniform(0, 1, 5000) > found).mean() <= 0.12
    with pytest.raises(DataError, match="Extend the grid"):
        conformal.control_risk(lambda lam: np.ones(10), [0.0, 1.0], 0.1)


@given(arrays(np.float64, 20, elements=finite), arrays(np.float64, 20, elements=finite), finite)
def test_widening_keeps_order_and_midpoint(a: np.ndarray, b: np.ndarray, q: float) -> None:
    lo, hi = conformal.ordered(a, b)
    low, high = conformal.widen(lo, hi, q)
    assert (low <= high).all()
    np.testing.assert_allclose(0.5 * (low + high), 0.5 * (lo + hi), rtol=1e-9, atol=1e-6)


def test_interval_score_by_hand() -> None:
    found = conformal.interval_score([0.0, 2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], 0.1)
    np.testing.assert_allclose(found, [1.0, 1.0 + 20.0, 1.0 + 20.0])


def test_single_values_work_as_arrays_do() -> None:
    assert float(conformal.cqr_score(0.2, 0.3, 0.4)) == pytest.approx(0.1)
    assert float(conformal.residual_score(1.0, 3.0, 4.0)) == 0.5


# -------------------------------------------------------------------------------------------- novelty, files


def test_novelty_is_uniform_for_known_units_and_small_for_strange_ones() -> None:
    rng = np.random.default_rng(0)
    test = Novelty(rng.standard_normal((99, 3)))
    p = np.array([test.p_value(rng.standard_normal(3)) for _ in range(400)])
    assert (p <= 0.1).mean() == pytest.approx(0.1, abs=0.05)
    assert test.p_value([9.0, 9.0, 9.0]) == 0.01
    again = Novelty.from_dict(json.loads(json.dumps(test.to_dict())))
    assert again.p_value([1.0, 0.0, 2.0]) == test.p_value([1.0, 0.0, 2.0])
    with pytest.raises(DataError, match="needs"):
        Novelty(np.zeros((2, 3)))


def _made(**changes: object) -> Calibration:
    values: dict[str, object] = {
        "alpha": 0.1, "q": 0.0617, "method": "cqr-pooled", "score": "max(lo-y,y-hi)", "n_pixels": 3_145_728,
        "n_images": 48, "n_layouts": 12, "model_sha256": "ab", "data_sha256": "cd",
    }  # fmt: skip
    return Calibration(**{**values, **changes})  # type: ignore[arg-type]


def test_calibration_files_round_trip_infinity_included(tmp_path: Path) -> None:
    for made in (_made(), _made(q=math.inf, groups={"edge": math.inf, "flat": 0.1})):
        assert Calibration.load(made.save(tmp_path / "c.json")) == made
    values = json.loads((tmp_path / "c.json").read_text())
    assert values["version"] == 1
    assert values["q"] == "inf"


def test_calibration_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = _made().save(tmp_path / "c.json")
    values = json.loads(path.read_text())
    for change, piece in (
        ({"version": 5}, "has format 5"),
        ({"alpha": 2.0}, "alpha must be"),
        ({"q": "many"}, "not a calibration file"),
        ({"q": "nan"}, "NaN"),
    ):
        path.write_text(json.dumps({**values, **change}))
        with pytest.raises(DataError, match=piece):
            Calibration.load(path)
    del values["method"]
    for text in (json.dumps(values), "[1]", "{", ""):
        path.write_text(text)
        with pytest.raises(DataError):
            Calibration.load(path)
    with pytest.raises(DataError, match="Can't read"):
        Calibration.load(tmp_path / "none.json")
