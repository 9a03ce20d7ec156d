"""Per-item metrics, statistics, predictions and pages."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldsight.errors import DataError
from fieldsight.metrics import image
from fieldsight.metrics.items import PerItem
from fieldsight.metrics.stats import bootstrap, holm, paired, spread
from fieldsight.predictions import Alerts, Images, Interval, Labels, Table, heat
from fieldsight.report import plots
from fieldsight.report.card import Card
from fieldsight.report.html import Report

# ---------------------------------------------------------------------------------------------------- metrics


@given(st.permutations(list(range(8))), st.integers(1, 7))
def test_items_do_not_depend_on_order_or_shards(order: list[int], cut: int) -> None:
    values = {n: {"a": 0.1 * n, "b": math.nan if n % 3 == 0 else 1e15 + n} for n in range(8)}
    whole, first, second = PerItem(), PerItem(), PerItem()
    for place, n in enumerate(order):
        whole.add(f"i{n}", values[n], f"g{n % 2}")
        (first if place < cut else second).add(f"i{n}", values[n], f"g{n % 2}")
    merged = second.merge(first)
    assert merged.compute() == whole.compute()
    assert merged.by_group().compute() == whole.by_group().compute()
    assert whole.summary("b").empty == 3


def test_items_by_hand() -> None:
    items = PerItem()
    for id, value, group in (("a", 1.0, "x"), ("b", 3.0, "x"), ("c", 8.0, "y"), ("d", math.nan, "y")):
        items.add(id, {"v": value}, group)
    assert items.summary("v").mean == 4.0
    assert items.summary("v").std == pytest.approx(np.std([1, 3, 8], ddof=1))
    assert items.by_group().compute() == {"v": 5.0}
    assert items.table("t").rows[3]["v"] is None
    assert math.isnan(PerItem().summary("v").mean)
    with pytest.raises(DataError, match="measured twice"):
        items.add("a", {"v": 1.0})


def test_image_metrics_against_scikit_image() -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    rng = np.random.default_rng(0)
    a, b = rng.random((40, 50)), rng.random((40, 50))
    assert image.psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0))
    assert image.ssim(a, b) == pytest.approx(
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    )
    assert image.psnr(a, a) == math.inf
    assert image.ssim(a, a) == 1.0
    assert image.mae(a, b) == np.abs(a - b).mean()


# ------------------------------------------------------------------------------------------------- statistics


def test_bootstrap_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        found = bootstrap(rng.exponential(1.0, 40), seed=seed, draws=300)
        hits += found.low <= 1.0 <= found.high
    assert 0.86 <= hits / 200 <= 0.99


def test_bootstrap_by_group_is_wider_when_items_of_a_group_agree() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 20)
    values = rng.standard_normal(10)[groups] + 0.1 * rng.standard_normal(200)
    alone, grouped = bootstrap(values), bootstrap(values, groups)
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)
    assert grouped.n == 10
    median = bootstrap(values, groups, statistic=lambda v: float(np.median(v)), draws=100)
    assert median.low <= np.median(values) <= median.high
    assert bootstrap([1.0, math.nan, 3.0]).value == 2.0
    for bad in (([], None), ([1.0], ["a", "b"])):
        with pytest.raises(DataError):
            bootstrap(*bad)


def test_paired_test_against_scipy_and_its_power() -> None:
    from scipy.stats import wilcoxon

    rng = np.random.default_rng(0)
    a = rng.standard_normal(12)
    b = a + rng.normal(0.4, 0.3, 12)
    found = paired(a, b)
    assert found.p == wilcoxon(b - a).pvalue
    assert found.effect > 0.5
    assert found.difference.value == pytest.approx((b - a).mean())
    assert paired([1, 2, 3, 4, 5], [2, 3, 4, 5, 6.5]).smallest_p == 0.0625
    assert paired([1, 2], [1, 2]).p == 1.0
    with pytest.raises(DataError, match="must match"):
        paired([1], [1, 2])


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": 0.03, "b": 0.06, "c": 0.06}
    assert holm({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0}


def test_box_plot_numbers() -> None:
    found = spread([1, 2, 3, 4, 100, math.nan])
    assert found == {"median": 3.0, "q1": 2.0, "q3": 4.0, "low": 1.0, "high": 4.0}
    assert math.isnan(spread([])["median"])


# ------------------------------------------------------------------------------------------------ predictions


def test_every_prediction_saves_draws_and_describes_itself(tmp_path: Path) -> None:
    lo = np.zeros((20, 30), np.float32)
    found = [
        Interval(lo, lo + 0.5, lo + 1, 0.1, lo, {"q": 0.1}),
        Images(np.random.default_rng(0).random((3, 8, 8)), ("a", "b", "c")),
        Labels(("no", "yes"), np.array([0.2, 0.8])),
        Alerts(({"time": 0.0, "state": "clear"}, {"time": 0.1, "state": "alarm", "distance": 2.0})),
        Table({"name": "", "joules": "J"}, [{"name": "a,b", "joules": 1.5}, {"name": "c"}], "energy"),
    ]
    for prediction in found:
        files = prediction.save(tmp_path / type(prediction).__name__, "sub/x")
        assert files
        assert all(f.is_file() and f.stat().st_size for f in files)
        assert prediction.draw().dtype == np.uint8
        assert prediction.draw().shape[2] == 3
        json.dumps(prediction.to_dict(), allow_nan=False)
        assert prediction.lines()
    assert found[2].best == "yes"  # type: ignore[attr-defined]
    assert found[4].to_csv() == 'name,joules [J]\n"a,b",1.5\nc,\n'  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="not declared: z"):
        Table({"x": ""}, [{"z": 1}])


def test_heat_goes_from_low_to_high() -> None:
    drawn = heat(np.array([[0.0, 1.0]]))
    assert drawn[0, 0].sum() < drawn[0, 1].sum()
    assert heat(np.zeros((2, 2))).shape == (2, 2, 3)


# ------------------------------------------------------------------------------------------------------ pages


def test_a_report_is_one_file_and_escapes_what_it_is_told(tmp_path: Path) -> None:
    report = Report("A <script>alert(1)</script> & more", "sub")
    section = report.section("First")
    section.text("<b>bold</b>").notice("careful").notice("").code("rm -rf <x>")
    section.facts({"n": 12345, "v": 0.00001234, "t": None, "y": True})
    section.table(Table({"a": "J", "b": ""}, [{"a": 1.5, "b": "<i>"}] * 5, "T"), most=3)
    section.picture(np.zeros((4, 5))).plot(plots.histogram([1, 2, 3], "x", {"mean": 2}))
    page = report.save(tmp_path / "r.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>bold" not in page
    assert "and 2 more rows" in page
    assert "12,345" in page
    assert not re.search(r"(src|href)=.?https?:", page)
    assert "<script" not in page


def test_every_plot_is_svg_and_the_same_each_time() -> None:
    drawn = {
        "curves": lambda: plots.curves({"a": ([1, 2], [3, 4]), "b": ([1, 2], [1, 9])}, "x", "y", log=True),
        "histogram": lambda: plots.histogram([1, 2, 2, 3], "x"),
        "boxes": lambda: plots.boxes({"a": [1, 2, 3, 30], "b": [2, math.nan]}, "y"),
        "bars": lambda: plots.bars({"a": 0.9, "b": 0.8}, "y", 0.9, {"a": (0.8, 1.0), "b": (0.7, 0.9)}),
        "stacked": lambda: plots.stacked({"w": [1, 2], "m": [3, 1]}, ["b1", "b4"], "J", "t"),
        "band": lambda: plots.band([1, 2], [1, 2], [0, 1], [2, 3], "x", "y", "t"),
    }
    for name, make in drawn.items():
        text = make()
        assert text.startswith("<svg"), name
        assert "http://" not in text.replace("http://www.w3.org", ""), name
        assert text == make(), name


def test_cards_round_trip_and_read_well() -> None:
    card = Card(
        "Layout to SEM",
        "sem",
        data="drawn layouts",
        metrics={"mae": 0.03, "x": None},
        limits=("one",),
        notice="No device.",
    )
    assert Card.from_dict(json.loads(json.dumps({**card.to_dict(), "later": 1}))) == card
    assert card.line() == "Layout to SEM. Trained on drawn layouts. No device"
    assert "| x | – |" in card.to_markdown()
    assert "> **No device.**" in card.to_markdown()
