"""Network, losses, conformal numbers and stages: acceptance 1 to 8, 11 to 13 of the specification."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage as ndi
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight import conformal
from fieldsight.errors import DataError, ModelFileError
from fieldsight.systems.sem import metrology, process
from fieldsight.systems.sem.calibrate import calibrate_model, outlier_weights, predict_pairs
from fieldsight.systems.sem.config import PRESETS, SemConfig
from fieldsight.systems.sem.data import Pair, Positions, draw_pairs, place
from fieldsight.systems.sem.losses import interval_loss, pinball
from fieldsight.systems.sem.model import Graph, ShallowUNet, bounds, freeze, parts
from fieldsight.systems.sem.options import PredictOptions
from fieldsight.systems.sem.predict import SemModel
from fieldsight.systems.sem.train import load_splits, second_stage, train_baseline

Y = torch.tensor([0.2, 0.5, 0.8, 0.9], dtype=torch.float64)
LO = torch.tensor([0.3, 0.4, 0.7, 0.85], dtype=torch.float64)
HI = torch.tensor([0.4, 0.6, 0.75, 0.95], dtype=torch.float64)
TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Pair]]:
    return load_splits(TINY, None)


@pytest.fixture(scope="module")
def baseline(splits: dict[str, list[Pair]]) -> SemModel:
    model = SemModel.create(TINY)
    train_baseline(model, splits, None)
    return model.with_calibration(calibrate_model(model, splits["calibration"], 0.1))


# ------------------------------------------------------------------------------------------- 1: the network


def test_parameter_counts_by_part() -> None:
    network = ShallowUNet()
    counts = {name: sum(p.numel() for p in found) for name, found in parts(network).items()}
    assert counts == {"encoder": 16_368, "bottleneck": 55_424, "decoder": 46_210}
    assert sum(p.numel() for p in network.parameters()) == 118_002


@pytest.mark.parametrize("size", [(256, 256), (64, 64), (260, 260), (64, 96)])
def test_shapes(size: tuple[int, int]) -> None:
    network = ShallowUNet().eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, *size)).shape == (2, 2, *size)


def test_glorot_and_he_differ_and_biases_start_at_zero() -> None:
    spreads = {}
    for init in ("glorot", "he"):
        torch.manual_seed(0)
        network = ShallowUNet(init=init)  # type: ignore[arg-type]
        layer = network.encoder[1].b
        spreads[init] = float(layer.weight.detach().std())
        assert not layer.bias.any()
    # both fans are 32 * 9 here: variance 2 / (fan_in + fan_out) and 2 / fan_in
    assert spreads["he"] == pytest.approx(spreads["glorot"] * 2**0.5, rel=0.05)


@pytest.mark.parametrize("head", ["quantile", "ordered", "median3", "gaussian", "mean"])
def test_every_head_gives_ordered_bounds_and_a_gradient_to_every_weight(head: str) -> None:
    torch.manual_seed(0)
    network = ShallowUNet(4, 2, head)  # type: ignore[arg-type]
    raw = network((torch.rand(2, 1, 32, 32) > 0.5).float())
    low, middle, high = bounds(raw, head)  # type: ignore[arg-type]
    assert bool((low <= middle).all())
    assert bool((middle <= high).all())
    interval_loss(raw, torch.rand(2, 32, 32), head, 0.05, 0.95, None).backward()  # type: ignore[arg-type]
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_crossed_quantiles_are_swapped_at_inference_only() -> None:
    raw = torch.tensor([0.8, 0.2]).reshape(1, 2, 1, 1)
    low, middle, high = (float(x) for x in bounds(raw, "quantile"))
    assert (low, middle, high) == pytest.approx((0.2, 0.5, 0.8))
    kept = interval_loss(raw, torch.full((1, 1, 1), 0.5), "quantile", 0.05, 0.95, None)
    assert float(kept) == pytest.approx(0.95 * 0.3 + 0.95 * 0.3)


def test_ensembles_and_dropout_passes_give_width_to_a_mean_head() -> None:
    torch.manual_seed(0)
    networks = [ShallowUNet(4, 2, "mean") for _ in range(3)]
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:20] = 1
    with torch.inference_mode():
        low, _, high = Graph(networks)(mask)
        alone_low, _, alone_high = Graph(networks[:1])(mask)
        dropping = Graph([ShallowUNet(4, 2, "mean", dropout=0.3).eval()], passes=8)
        first, second = dropping(mask), dropping(mask)
    assert float((high - low).mean()) > 0 == float((alone_high - alone_low).abs().max())
    assert float((first[2] - first[0]).mean()) > 0
    assert torch.equal(first[0], second[0])


# ------------------------------------------------------------------------------- 2, 7: pinball and its weights


def test_pinball_numbers() -> None:
    assert float(pinball(Y, LO, 0.05)) == pytest.approx(0.026875)
    assert float(pinball(Y, HI, 0.95)) == pytest.approx(0.016250)
    raw = torch.stack([LO, HI])[None, :, None, :]
    assert float(interval_loss(raw, Y[None, None], "quantile", 0.05, 0.95, None)) == pytest.approx(0.043125)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0.01, 0.99))
def test_pinball_is_never_negative(y: float, p: float, q: float) -> None:
    assert float(pinball(torch.tensor([y]), torch.tensor([p]), q)) >= 0


def test_weighted_loss() -> None:
    weight = torch.tensor([1.3, 1.0, 1.0, 1.0], dtype=torch.float64)
    assert float(pinball(Y, LO, 0.05, weight)) == pytest.approx(0.034000)
    assert float(pinball(Y, HI, 0.95, weight)) == pytest.approx(0.017000)
    ones = torch.ones_like(weight)
    assert float(pinball(Y, LO, 0.05, ones)) == float(pinball(Y, LO, 0.05))
    a, b = torch.rand(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    mixed = pinball(Y, LO, 0.05, 2.0 * a + 3.0 * b)
    assert float(mixed) == pytest.approx(float(2.0 * pinball(Y, LO, 0.05, a) + 3.0 * pinball(Y, LO, 0.05, b)))


# -------------------------------------------------------------------------------- 3, 4, 5: scores and quantiles


def test_conformal_numbers() -> None:
    y, lo, hi = Y.numpy(), LO.numpy(), HI.numpy()
    errors = conformal.cqr_score(y, lo, hi)
    np.testing.assert_allclose(errors, [0.10, -0.10, 0.05, -0.05], atol=1e-12)
    q = conformal.quantile(errors, 0.5)
    assert q == pytest.approx(0.05)
    assert conformal.quantile(errors, 0.25) == pytest.approx(0.10)
    assert conformal.quantile(errors, 0.1) == np.inf
    np.testing.assert_array_equal(np.where(errors > q, 1.3, 1.0), [1.3, 1.0, 1.0, 1.0])
    assert np.abs(0.5 * (lo + hi) - y).mean() == pytest.approx(0.05625)
    low, high = conformal.widen(lo, hi, q)
    assert (high - low).mean() == pytest.approx(0.2125)
    assert conformal.covered(y, low - 1e-12, high + 1e-12).mean() == 0.75


def test_the_printed_score_covers_practically_everything() -> None:
    y = np.random.default_rng(0).standard_normal(200_000)
    lo, hi = np.full_like(y, -1.5), np.full_like(y, 1.5)
    q = conformal.quantile(conformal.cqr_score(y, lo, hi), 0.1)
    assert q == pytest.approx(0.144, abs=0.005)
    assert conformal.covered(y, lo - q, hi + q).mean() == pytest.approx(0.900, abs=1e-3)
    printed = conformal.quantile(conformal.printed_score(y, lo, hi), 0.1)
    assert printed == pytest.approx(3.14, abs=0.01)
    assert conformal.covered(y, lo - printed, hi + printed).mean() == pytest.approx(0.99999, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 400), st.sampled_from([0.05, 0.1, 0.2, 0.5]), st.integers(0, 10_000))
def test_coverage_on_the_calibration_data_is_in_its_bounds(n: int, alpha: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, lo, hi = rng.random(n), rng.random(n), rng.random(n)
    lo, hi = conformal.ordered(lo, hi)
    scores = conformal.cqr_score(y, lo, hi)
    q = conformal.quantile(scores, alpha)
    inside = (scores <= q).mean()
    assert 1 - alpha <= inside <= 1 - alpha + (2 - alpha) / n + 1e-12


# ------------------------------------------------------------------------------------ 6, 7: the second stage


def test_fine_tuning_leaves_encoder_and_bottleneck_bit_identical(
    baseline: SemModel, splits: dict[str, list[Pair]]
) -> None:
    tuned = second_stage(baseline, splits, TINY.second, "none", None)
    before, after = baseline.networks["net"].state_dict(), tuned.networks["net"].state_dict()
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == name.startswith(("encoder.", "bottleneck.")), name
    assert tuned.calibration is not None
    assert tuned.calibration.q_from == "baseline"
    assert tuned.calibration.q == baseline.calibration.q  # type: ignore[union-attr]


def test_the_optimiser_holds_what_the_paper_trains() -> None:
    sizes = {
        what: sum(p.numel() for p in freeze(ShallowUNet(), what))  # type: ignore[arg-type]
        for what in ("encoder+bottleneck", "encoder", "none")
    }
    assert sizes == {"encoder+bottleneck": 46_210, "encoder": 101_634, "none": 118_002}


def test_gamma_one_equals_no_weights_and_gamma_matters(baseline: SemModel, splits: dict[str, list[Pair]]) -> None:
    stage = TINY.second.replace(steps=6)
    plain = second_stage(baseline, splits, stage.replace(gamma=1.0), "none", None)
    ones = outlier_weights(baseline, splits["calibration"], np.inf, 1.3, 4)
    assert all((w == 1).all() for w in ones.values())
    weighted = second_stage(baseline, splits, stage.replace(gamma=5.0), "none", None)
    assert plain.fingerprint() != weighted.fingerprint()
    again = second_stage(baseline, splits, stage.replace(gamma=1.0), "none", None)
    assert plain.fingerprint() == again.fingerprint()


def test_outlier_weights_mark_exactly_the_pixels_outside(baseline: SemModel, splits: dict[str, list[Pair]]) -> None:
    calibration = baseline.calibration
    assert calibration is not None
    weights = outlier_weights(baseline, splits["calibration"], calibration.q, 1.3, 4)
    share = np.mean([(w > 1).mean() for w in weights.values()])
    assert share == pytest.approx(0.1, abs=0.002)
    one = next(iter(predict_pairs(baseline, splits["calibration"][:1])))
    low, high = conformal.widen(one.lo, one.hi, calibration.q)
    np.testing.assert_array_equal(weights[0, 0] > 1, conformal.cqr_score(one.target, one.lo, one.hi) > calibration.q)
    assert ((weights[0, 0] > 1) == ~conformal.covered(one.target, low, high)).mean() > 0.999


@pytest.mark.parametrize(("recalibrate", "source"), [("val", "val"), ("split", "calibration")])
def test_recalibrated_thresholds_come_from_other_layouts(
    baseline: SemModel, splits: dict[str, list[Pair]], recalibrate: str, source: str
) -> None:
    tuned = second_stage(baseline, splits, TINY.second, recalibrate, None)
    assert tuned.calibration is not None
    assert tuned.calibration.q_from == "own"
    assert tuned.calibration.model_sha256 == tuned.fingerprint()
    expected = len(splits[source]) // (2 if recalibrate == "split" else 1)
    assert tuned.calibration.n_layouts == expected


def test_refreshed_weights_train_in_rounds(baseline: SemModel, splits: dict[str, list[Pair]]) -> None:
    stage = TINY.second.replace(refresh=1, epochs=2)
    tuned = second_stage(baseline, splits, stage, "none", None)
    assert tuned.fingerprint() != baseline.fingerprint()


# --------------------------------------------------------------------------------------- 8: rotations and splits


def test_rotations_share_a_split_and_no_layout_is_in_two(splits: dict[str, list[Pair]]) -> None:
    layouts = {name: {p.layout for p in pairs} for name, pairs in splits.items()}
    assert all(layouts.values())
    names = list(layouts)
    assert not any(layouts[a] & layouts[b] for i, a in enumerate(names) for b in names[i + 1 :])
    items = Positions(splits["train"], 32)
    assert len(items) == 4 * len(splits["train"])
    upright, turned = (items.item(k, np.random.default_rng(0)) for k in (0, 1))
    np.testing.assert_array_equal(np.rot90(upright["mask"][0]), turned["mask"][0])
    np.testing.assert_array_equal(np.rot90(upright["target"]), turned["target"])


def test_the_paper_preset_counts_pictures_as_its_tables_do() -> None:
    from fieldsight.data.splits import split_groups

    config: SemConfig = PRESETS["paper"]
    assigned = split_groups([f"l{n}" for n in range(config.data.layouts)], dict(enumerate(config.data.shares)), 0)  # type: ignore[arg-type]
    counts = [4 * list(assigned.values()).count(split) for split in range(4)]
    assert counts == [240, 72, 48, 40]


def test_drawing_data_twice_gives_the_same_bytes_and_another_seed_others() -> None:
    settings = TINY.data.replace(layouts=8)
    a, b, c = draw_pairs(settings), draw_pairs(settings), draw_pairs(settings.replace(seed=1))
    assert all(x.sem.tobytes() == y.sem.tobytes() for x, y in zip(a, b, strict=True))
    assert all(x.sem.tobytes() != y.sem.tobytes() for x, y in zip(a, c, strict=True))


def test_mirrored_positions_are_eight_different_ones() -> None:
    picture = np.arange(16).reshape(4, 4)
    assert len({place(picture, k).tobytes() for k in range(8)}) == 8


# ------------------------------------------------------------------------------------ 12, 13: what users get


def test_the_middle_is_untouched_by_calibration_and_bounds_are_ordered(
    baseline: SemModel, splits: dict[str, list[Pair]]
) -> None:
    for one in predict_pairs(baseline, splits["test"][:1]):
        low, high = baseline.calibrated(one.lo, one.mid, one.hi, one.mask, baseline.calibration)  # type: ignore[arg-type]
        assert np.abs(0.5 * (low.astype(np.float64) + high) - one.mid).max() < 1e-7 + 6e-8
        assert (low <= high).all()
    shrunk_low, shrunk_high = conformal.widen(np.array([0.2, 0.4]), np.array([0.3, 0.9]), -0.1)
    assert (shrunk_low <= shrunk_high).all()
    np.testing.assert_allclose(0.5 * (shrunk_low + shrunk_high), [0.25, 0.65])


def test_tiled_equals_untiled() -> None:
    model = SemModel.create(SemConfig())
    mask = np.kron(np.random.default_rng(0).random((64, 64)) > 0.5, np.ones((16, 16))).astype(bool)
    model.artefacts["calibration"] = calibrate_model(model, [_pair(mask[:64, :64])], 0.1).to_dict()
    whole = model.predict(mask, tile=1024, halo=0, hotspots=0)
    tiled = model.predict(mask, tile=256, halo=32, hotspots=0)
    for name in ("lo", "mid", "hi"):
        assert np.abs(getattr(whole, name) - getattr(tiled, name)).max() < 1e-5


def test_halo_is_needed_and_thirty_two_is_enough() -> None:
    model = SemModel.create(SemConfig())
    mask = np.kron(np.random.default_rng(0).random((16, 16)) > 0.5, np.ones((16, 16))).astype(bool)
    model.artefacts["calibration"] = calibrate_model(model, [_pair(mask[:64, :64])], 0.1).to_dict()
    whole = model.predict(mask, tile=256, hotspots=0).mid
    gaps = [np.abs(model.predict(mask, tile=64, halo=h, hotspots=0).mid - whole).max() for h in (0, 32)]
    assert gaps[0] > 1e-3 > 1e-5 > gaps[1]


def test_a_calibration_of_other_weights_is_refused(baseline: SemModel) -> None:
    other = SemModel.create(TINY.replace(seed=9))
    other.artefacts.update(baseline.artefacts)
    mask = np.zeros((32, 32), bool)
    mask[:, 8:16] = True
    with pytest.raises(ModelFileError, match="belongs to other weights"):
        other.predict(mask)
    assert other.predict(mask, allow_mismatch=True).alpha == 0.1
    bare = SemModel.create(TINY)
    with pytest.raises(ModelFileError, match="no calibration"):
        bare.predict(mask)


def test_another_pixel_size_is_refused_with_the_way_out(baseline: SemModel) -> None:
    with pytest.raises(DataError, match="trained for pixels of 6 nm, 2 nm was asked"):
        baseline.predict(np.zeros((32, 32), bool), pixel="2nm")


def test_group_thresholds_hold_in_every_group(baseline: SemModel, splits: dict[str, list[Pair]]) -> None:
    made = calibrate_model(baseline, splits["calibration"], 0.1, "density")
    assert len(made.groups) >= 2
    inside: dict[int, list[np.ndarray]] = {}
    for one in predict_pairs(baseline, splits["calibration"]):
        low, high = baseline.calibrated(one.lo, one.mid, one.hi, one.mask, made)
        groups = metrology.density_bins(one.mask, TINY.data.pixel)
        for name in np.unique(groups):
            inside.setdefault(int(name), []).append(conformal.covered(one.target, low, high)[groups == name])
    for found in inside.values():
        assert np.concatenate(found).mean() == pytest.approx(0.9, abs=0.02)


def test_a_strange_layout_is_called_strange() -> None:
    model = SemModel.create(TINY)
    pairs = draw_pairs(TINY.data.replace(layouts=40, shares=(1.0, 1.0, 37.0, 1.0)))
    chosen = [p for p in pairs if p.split == "calibration"]
    model = model.with_calibration(calibrate_model(model, chosen, 0.1))
    known = model.predict(chosen[3].mask)
    assert "warning" not in known.facts
    dots = np.zeros((32, 32), bool)
    dots[::2, ::2] = True
    strange = model.predict(dots)
    assert strange.facts["novelty_p"] <= 0.05
    assert "unlike the calibration layouts" in strange.facts["warning"]


def test_predict_takes_options_by_name_only_and_knows_them(baseline: SemModel) -> None:
    from fieldsight.errors import ConfigError

    with pytest.raises(ConfigError, match="Did you mean 'hotspots'"):
        baseline.predict(np.zeros((32, 32), bool), hotspot=3)
    assert PredictOptions().tile % 4 == 0


def _pair(mask: np.ndarray) -> Pair:
    sem = (mask * 200).astype(np.uint8)
    return Pair("one", "one", "", "calibration", mask, sem)


@pytest.mark.parametrize("pixel", [2.0, 5.0])
def test_roughness_is_read_off_straight_edges_only(pixel: float) -> None:
    rng = np.random.default_rng(0)
    rows = np.arange(400.0)
    wave = process.rough_field((400, 400), 20.0 / pixel, 0.6, rng)[:, 0] * 1.5 / pixel
    columns = np.arange(400.0)[None, :]
    height = 0.5 - 0.5 * np.tanh((columns - 200.0 - wave[:, None]) / 1.5)
    found = metrology.roughness(metrology.contours(height, 0.5), pixel)
    assert found == pytest.approx(3 * 1.5, rel=0.25)
    smooth = 0.5 - 0.5 * np.tanh((columns - 200.0 - 10.0 * np.sin(rows / 600.0)[:, None]) / 1.5)
    assert metrology.roughness(metrology.contours(smooth, 0.5), pixel) < 0.1 * pixel
    corners = np.zeros((400, 400))
    corners[20:200, 20:200] = corners[200:380, 200:380] = 1.0
    corners = ndi.gaussian_filter(corners, 2.0)
    assert metrology.roughness(metrology.contours(corners, 0.5), pixel) < 1.0  # round corners are no roughness


def test_a_picture_without_straight_edges_has_no_roughness() -> None:
    y, x = np.mgrid[:64, :64]
    disc = 1.0 / (1.0 + np.exp(np.hypot(y - 32, x - 32) - 10.0))
    assert math.isnan(metrology.roughness(metrology.contours(disc, 0.5), 5.0))
