"""What the recorded studies say, derived from the records: the shipped model, the goal, the CPU preset, attacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fieldsight
from fieldsight import studies

NAMES = ("attack", "detect", "goal", "plain", "shipped", "small")


def record(name: str) -> dict[str, Any]:
    found = studies.read("stego", name)
    assert found is not None, f"make study SYSTEM=stego NAME={name}"
    return found


def test_the_records_rest_on_this_code() -> None:
    assert studies.states("stego") == dict.fromkeys(NAMES, "fresh")


def test_the_records_of_the_shipped_model_are_of_this_one() -> None:
    own = fieldsight.load("stego", device="cpu").fingerprint()
    for name in ("shipped", "attack", "detect", "plain"):
        assert record(name)["fingerprint"] == own, name


def test_the_shipped_model_reaches_the_goal_on_held_out_photos() -> None:
    found = record("shipped")
    assert found["pairs"] == 120
    means, spans = found["means"]["base"], found["intervals"]["base"]
    assert means["stego_psnr"] > 36
    assert means["secret_ssim"] > 0.96
    assert spans["stego_psnr"][0] > 36
    assert found["holds"]
    start = found["means"]["linear start, untrained"]
    assert means["secret_psnr"] > start["secret_psnr"]  # training added something to its control
    for name in ("lsb-4", "lsb-4+", "dwt-alpha"):
        assert means["stego_psnr"] > found["means"][name]["stego_psnr"], name
        assert means["secret_psnr"] > found["means"][name]["secret_psnr"], name


def test_the_invertible_network_gains_three_decibels_on_both_pictures() -> None:
    found = record("goal")
    assert len(found["seeds"]) >= 3
    ours = found["rows"]["inn"]
    for name, runs in found["rows"].items():
        if name == "inn":
            continue
        for a, b in zip(ours, runs, strict=True):
            assert b["parameters"] == pytest.approx(a["parameters"], rel=0.03)
            assert a["parameters"] <= b["parameters"]  # the paper's design has no fewer
            assert abs(a["seconds"] - b["seconds"]) < 0.25 * found["seconds"]
            assert a["stego_psnr"] >= b["stego_psnr"] + 3
            assert a["secret_psnr"] >= b["secret_psnr"] + 3
    assert found["holds"]


def test_the_cpu_preset_learns() -> None:
    """Acceptance 12, on every seed."""
    for row in record("small")["kin"]["dwf2, spatial"]:
        assert row["last_losses"] <= row["first_loss"] / 5
        assert row["stego_psnr"] >= 14.5
        assert row["secret_ssim"] >= 0.27


def test_beta_trades_the_cover_for_the_secret() -> None:
    """Acceptance 13: the same seed at both ends, and the rank over the whole grid."""
    found = record("small")
    for low, high in zip(found["ends"]["0.25"], found["ends"]["4.0"], strict=True):
        assert high["stego_psnr"] >= low["stego_psnr"] + 3
        assert high["secret_ssim"] <= low["secret_ssim"] - 0.08
    assert found["spearman_of_log_beta"]["stego_psnr"] >= 0.9
    assert found["spearman_of_log_beta"]["secret_ssim"] <= -0.7


def test_smooth_secrets_are_easier_than_glass_and_stripes() -> None:
    classes = record("small")["means"]["dwf2, spatial"]["secret_ssim_by_class"]
    easy = min(classes["gradient"], classes["cloud"])
    assert easy > max(classes["stained"], classes["stripes"])


def test_rounding_costs_the_papers_cover_little() -> None:
    """Acceptance 14: clipping helps, rounding costs less than a tenth of a decibel."""
    for rows in record("small")["kin"].values():
        for row in rows:
            if row["stego_psnr"] < 31:
                assert row["stego_psnr"] > row["stego_psnr_float"] - 0.1


def test_plain_photos_are_not_taken_for_stego() -> None:
    found = record("plain")
    assert found["number"] == 1000
    assert found["false_positives"]["high"] < 0.005
    control = found["controls"]["found"]
    assert control["count"] == control["number"]


def test_what_survives_and_what_does_not_is_told() -> None:
    found = record("attack")["values"][0]
    rows = {r["attack"]: r for r in found["rows"]["model"]}
    assert rows["none"]["file"] == 1.0
    assert rows["none"]["mark"] == 1.0
    assert rows["none"]["secret_ssim"] > 0.95
    assert rows["jpeg-50"]["secret_ssim"] < 0.5 * rows["none"]["secret_ssim"]


def test_it_is_detectable_and_the_controls_hold() -> None:
    found = record("detect")
    own = found["values"]["model"]["trained_over_seeds"]["auc"]
    assert own["mean"] > 0.9
    assert np.isfinite(own["least"])
    codec = {r["detector"]: r["auc"] for r in found["values"]["lsb-codec-1"]["statistics"]}
    assert max(codec.values()) > 0.9
