"""Classical LSB detectors and the ROC numbers: constructed pictures, photos, ties, intervals, bad input."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.systems.stego.roc import auc, auc_interval, pe, roc
from fieldsight.systems.stego.steganalysis import (
    chi_square,
    chi_square_curve,
    features,
    rs_analysis,
    sample_pairs,
)

Array = NDArray[Any]
RATES = (0.0, 0.1, 0.25, 0.5, 1.0)


def replaced(picture: Array, rate: float, seed: int = 0) -> Array:
    """LSB replacement of a random share of the samples."""
    rng = rng_for(seed, "lsb")
    chosen = rng.random(picture.shape) < rate
    return np.where(chosen, (picture & 254) | rng.integers(0, 2, picture.shape, dtype=np.uint8), picture)


@pytest.fixture(scope="module")
def photos() -> dict[str, Array]:
    """Photos whose estimates are nearly unbiased; many that were decoded from JPEG at full size are not."""
    from skimage import data

    return {name: getattr(data, name)() for name in ("coffee", "chelsea", "camera", "brick", "rocket", "moon")}


# ------------------------------------------------------------------------------------------------ estimates


@pytest.mark.parametrize("estimate", [rs_analysis, sample_pairs])
def test_estimates_follow_the_rate_on_photos(photos: dict[str, Array], estimate: Callable[[Array], float]) -> None:
    found = np.array([[estimate(replaced(p, rate)) for rate in RATES] for p in photos.values()])
    assert np.abs(found - RATES).mean() < 0.02
    assert np.abs(found - RATES)[:, :4].max() < 0.05
    assert np.abs(found - RATES).max() < 0.12  # at full rate both equations lose their slope
    assert (np.diff(found, axis=1) > 0.05).all()


def test_a_photo_decoded_from_jpeg_at_full_size_is_biased() -> None:
    from PIL import Image

    found = importlib.util.find_spec("sklearn")  # its file alone: importing it costs seconds
    assert found is not None
    assert found.origin is not None
    flower = np.asarray(Image.open(Path(found.origin).parent / "datasets" / "images" / "flower.jpg"))
    for estimate in (rs_analysis, sample_pairs):
        assert 0.05 < estimate(flower) < 0.15  # the module's warning, measured
        assert estimate(flower) + 0.15 < estimate(replaced(flower, 0.25)) < estimate(flower) + 0.25


def test_channels_are_averaged(photos: dict[str, Array]) -> None:
    red = photos["coffee"].copy()
    red[..., 0] = replaced(red[..., 0], 0.9)
    for estimate in (rs_analysis, sample_pairs):
        assert estimate(red) == pytest.approx(np.mean([estimate(red[..., c]) for c in range(3)]), abs=1e-12)
        assert estimate(red) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("estimate", [rs_analysis, sample_pairs])
def test_estimates_ignore_mirror_and_transposition(
    photos: dict[str, Array], estimate: Callable[[Array], float]
) -> None:
    picture = replaced(photos["chelsea"], 0.3)
    for same in (picture[:, ::-1], picture[::-1], picture.transpose(1, 0, 2), picture[..., ::-1]):
        assert estimate(same) == pytest.approx(estimate(picture), abs=1e-9)


def test_sample_pairs_golden_value() -> None:
    # Each neighbour pair in both orders, v the second value. 4 4 4 4 5 4: Z = 6; (4,5) and (5,4) are in Y and W:
    # Y = W = 4, X = 0: 5 p^2 - 10 p + 4 = 0.
    assert sample_pairs(np.array([[4, 4, 4, 4, 5, 4]], np.uint8)) == pytest.approx(1 - math.sqrt(0.2))
    # 7 7 7 9 12: Z = 4; (7,9): v odd, v larger: Y; (9,7): v odd, v smaller: X; (9,12): v even, larger: X;
    # (12,9): v odd, smaller: X. X = 3, Y = 1, W = 0: 2 p^2 - 2 p - 2 = 0.
    row = np.array([[7, 7, 7, 9, 12]], np.uint8)
    assert sample_pairs(row) == pytest.approx((1 - math.sqrt(5)) / 2)
    assert sample_pairs(row.T) == pytest.approx((1 - math.sqrt(5)) / 2)


def test_rs_golden_value() -> None:
    # One row of four: [10 11 11 10], f = 2. Mask: [10 10 10 10] f = 0 singular; negative: [10 12 12 10] f = 4 regular.
    # All LSBs flipped [11 10 10 11]: mask [11 11 11 11] singular; negative [11 9 9 11] regular. Only rows fit.
    # d0 = d1 = -1, n0 = n1 = 1: -4 x^2 + 4 x - 2 = 0, x = (1 +- i) / 2, p = x / (x - 1/2) = 1 -+ i: real part 1.
    assert rs_analysis(np.array([[10, 11, 11, 10]], np.uint8)) == pytest.approx(1.0)
    # [10 12 14 16]: f = 6, mask [10 13 15 16] f = 6: neither; negative [10 11 13 16] f = 6; the flipped row likewise.
    assert rs_analysis(np.array([[10, 12, 14, 16]], np.uint8)) == 0.0


def test_rs_equals_its_definition_written_out(photos: dict[str, Array]) -> None:
    crop = replaced(photos["moon"][200:240, 200:250], 0.4).astype(int)
    swaps = {1: lambda x: x ^ 1, -1: lambda x: ((x + 1) ^ 1) - 1, 0: lambda x: x}

    def balance(picture: Array, sign: int) -> float:
        found = []
        for lines in (picture, picture.T):
            for line in lines:
                for start in range(len(line) - 3):
                    group = [int(x) for x in line[start : start + 4]]
                    flipped = [swaps[sign * m](x) for m, x in zip((0, 1, 1, 0), group, strict=True)]
                    rough = [sum(abs(g[i + 1] - g[i]) for i in range(3)) for g in (group, flipped)]
                    found.append(np.sign(rough[1] - rough[0]))
        return float(np.mean(found))

    d0, n0 = balance(crop, 1), balance(crop, -1)
    d1, n1 = balance(crop ^ 1, 1), balance(crop ^ 1, -1)
    roots = np.roots([2 * (d1 + d0), n0 - n1 - d1 - 3 * d0, d0 - n0])
    x = roots[np.argmin(np.abs(roots))]
    assert rs_analysis(crop.astype(np.uint8)) == pytest.approx((x / (x - 0.5)).real, abs=1e-9)


def test_sample_pairs_equal_their_definition_written_out(photos: dict[str, Array]) -> None:
    crop = replaced(photos["moon"][200:240, 200:250], 0.4)
    X = Y = Z = W = 0
    for lines in (crop, crop.T, crop[:, ::-1], crop.T[:, ::-1]):
        for line in lines:
            for u, v in zip(line[:-1].tolist(), line[1:].tolist(), strict=True):
                X += (v % 2 == 0 and u < v) or (v % 2 == 1 and u > v)
                Y += (v % 2 == 0 and u > v) or (v % 2 == 1 and u < v)
                Z += u == v
                W += u != v and u // 2 == v // 2
    roots = np.roots([(W + Z) / 2, 2 * X - (X + Y + Z), Y - X])
    assert np.isreal(roots).all()
    assert sample_pairs(crop) == pytest.approx(roots[np.argmin(np.abs(roots))], abs=1e-9)


# ------------------------------------------------------------------------------------------------ chi-square


def test_chi_square_golden_value() -> None:
    from scipy.stats import chi2

    counts = {10: 30, 11: 10, 20: 12, 21: 20, 30: 3, 31: 3}  # the last pair is too rare (expected 3)
    picture = np.concatenate([np.full(n, value, np.uint8) for value, n in counts.items()]).reshape(1, -1)
    statistic = (30 - 20) ** 2 / 20 + (12 - 16) ** 2 / 16
    assert chi_square(picture) == pytest.approx(chi2.sf(statistic, 1))
    assert chi_square(np.stack([picture] * 3, axis=-1)) == pytest.approx(chi2.sf(3 * statistic, 3))


def test_chi_square_finds_full_and_sequential_messages(photos: dict[str, Array]) -> None:
    for name in ("coffee", "camera", "rocket"):
        picture = photos[name]
        assert chi_square(picture) < 0.01
        assert chi_square(replaced(picture, 1.0)) > 0.99
        half = picture.copy()
        rows = picture.shape[0] // 2
        half[:rows] = replaced(half[:rows], 1.0)
        curve = chi_square_curve(half, parts=20)
        assert curve.shape == (20,)
        assert (curve[1:9] > 0.9).all()
        assert curve[-1] < 0.01
        assert 0.4 < features(half)["chi_square_share"] < 0.75
        assert features(picture)["chi_square_share"] < 0.3


def test_chi_square_curve_ends_with_the_whole_picture(photos: dict[str, Array]) -> None:
    picture = replaced(photos["chelsea"], 0.1)
    assert chi_square_curve(picture, 7)[-1] == chi_square(picture)
    with pytest.raises(DataError, match="at least one part"):
        chi_square_curve(picture, 0)


# -------------------------------------------------------------------------------------------- robust, invalid


@pytest.mark.parametrize("value", [0, 101, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 3), (2, 40), (40, 1), (1, 1, 3), (16, 16, 3)])
def test_constant_pictures_give_zero(value: int, shape: tuple[int, ...]) -> None:
    assert all(found == 0.0 for found in features(np.full(shape, value, np.uint8)).values())


def test_saturated_and_binary_pictures_give_defined_values() -> None:
    binary = (rng_for(0, "binary").integers(0, 2, (64, 64, 3)) * 255).astype(np.uint8)
    board = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert sample_pairs(board) == 0.0  # no two neighbours are close
    for picture in (binary, board):
        assert np.isfinite(list(features(picture).values())).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.booleans(), st.integers(1, 256), st.integers(0, 10**6))
def test_any_picture_gives_finite_numbers(height: int, width: int, colour: bool, levels: int, seed: int) -> None:
    shape = (height, width, 3) if colour else (height, width)
    picture = rng_for(seed, "any").integers(256 - levels, 256, shape, dtype=np.uint8)
    found = features(picture)
    assert set(found) == {"rs", "sample_pairs", "chi_square", "chi_square_share"}
    assert all(-1.0 <= value <= 2.0 for value in found.values())
    assert 0.0 <= found["chi_square_share"] <= 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(wrong: Array) -> None:
    for function in (rs_analysis, sample_pairs, chi_square, features):
        with pytest.raises(DataError):
            function(wrong)


@pytest.mark.parametrize("function", [rs_analysis, sample_pairs, chi_square, features])
def test_the_picture_is_not_changed(photos: dict[str, Array], function: Callable[[Array], object]) -> None:
    picture = photos["camera"].copy()
    first = function(picture)
    assert np.array_equal(picture, photos["camera"])
    picture.flags.writeable = False  # a memory map of a file is as good
    assert function(picture) == first


# ------------------------------------------------------------------------------------------------------ ROC


def drawn(seed: int, n: int, m: int, shift: float, step: float = 0.0) -> tuple[Array, Array]:
    """Normal scores of covers and stego pictures; a step makes ties."""
    rng = rng_for(seed, "scores")
    cover, stego = rng.normal(size=n), rng.normal(shift, size=m)
    return (np.round(cover / step) * step, np.round(stego / step) * step) if step else (cover, stego)


@pytest.mark.parametrize("step", [0.0, 0.5, 2.0])
def test_auc_equals_its_definition_and_the_curve(step: float) -> None:
    cover, stego = drawn(1, 70, 45, 0.8, step)
    wins = (stego[:, None] > cover) + 0.5 * (stego[:, None] == cover)
    assert auc(cover, stego) == pytest.approx(wins.mean(), abs=1e-12)
    fpr, tpr = roc(cover, stego)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= 0).all()
    assert float(np.trapezoid(tpr, fpr)) == pytest.approx(auc(cover, stego), abs=1e-12)
    assert auc(stego, cover) == pytest.approx(1.0 - auc(cover, stego), abs=1e-12)


def test_roc_golden_values() -> None:
    fpr, tpr = roc([0, 1, 1, 2], [1, 2, 3])
    assert fpr.tolist() == [0, 0, 0.25, 0.75, 1.0]
    assert tpr == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert auc([0, 1, 1, 2], [1, 2, 3]) == pytest.approx((2 + 3.5 + 4) / 12)
    assert pe([0, 1, 1, 2], [1, 2, 3]) == pytest.approx((0.25 + 1 / 3) / 2)
    assert pe([0, 1], [2, 3]) == 0.0
    assert pe([2, 3], [0, 1]) == 0.5  # an inverted score is not turned round
    assert auc([5, 5], [5]) == pe([5, 5], [5]) == 0.5
    assert auc([-math.inf, 0], [0, math.inf]) == pytest.approx(3.5 / 4)


def test_delong_by_its_definition_and_by_bootstrap() -> None:
    cover, stego = drawn(2, 60, 40, 1.0, 0.25)
    wins = (stego[:, None] > cover) + 0.5 * (stego[:, None] == cover)
    variance = wins.mean(axis=1).var(ddof=1) / 40 + wins.mean(axis=0).var(ddof=1) / 60
    found = auc_interval(cover, stego)
    assert found.n == 100
    assert found.value == pytest.approx(wins.mean(), abs=1e-12)
    assert found.high - found.low == pytest.approx(2 * 1.959964 * math.sqrt(variance), rel=1e-6)
    rng = rng_for(2, "draws")
    draws = [auc(rng.choice(cover, 60), rng.choice(stego, 40)) for _ in range(500)]
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(draws), rel=0.12)


def test_paired_interval_by_bootstrap_of_pairs() -> None:
    content = rng_for(3, "content").normal(size=80)
    cover, stego = drawn(3, 80, 80, 0.8)
    cover, stego = cover + 2 * content, stego + 2 * content
    paired, apart = auc_interval(cover, stego, paired=True), auc_interval(cover, stego)
    assert paired.n == 80
    assert paired.high - paired.low < 0.8 * (apart.high - apart.low)
    rng = rng_for(3, "draws")
    picks = rng.integers(80, size=(600, 80))
    draws = [auc(cover[pick], stego[pick]) for pick in picks]
    assert paired.high - paired.low == pytest.approx(2 * 1.96 * np.std(draws), rel=0.15)
    with pytest.raises(DataError, match="must match"):
        auc_interval(cover, stego[1:], paired=True)


def test_delong_covers_the_true_area() -> None:
    truth = 0.7602499  # normal cdf of 1 / sqrt 2
    found = [auc_interval(*drawn(100 + i, 50, 50, 1.0)) for i in range(300)]
    assert 0.91 <= np.mean([e.low <= truth <= e.high for e in found]) <= 0.98


def test_perfect_separation_keeps_a_width() -> None:
    found = auc_interval(np.arange(10), np.arange(10, 30))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.7225, abs=1e-3)  # Wilson, 10 of 10
    inverted = auc_interval(np.arange(10, 30), np.arange(10))
    assert (inverted.low, inverted.high) == pytest.approx((0.0, 1.0 - found.low))


@pytest.mark.parametrize("function", [roc, auc, auc_interval, pe])
def test_bad_scores_are_refused(function: Callable[..., Any]) -> None:
    good = [0.0, 1.0]
    for bad in ([], [0.0, math.nan], ["a", "b"]):
        with pytest.raises(DataError):
            function(bad, good)
        with pytest.raises(DataError):
            function(good, bad)


def test_interval_needs_two_of_each_and_a_level() -> None:
    with pytest.raises(DataError, match="at least 2"):
        auc_interval([1.0], [0.0, 1.0])
    with pytest.raises(DataError, match="level"):
        auc_interval([0.0, 1.0], [0.0, 2.0], level=95)
