"""What the paper's numbers say about themselves, and that ours never stand in their column."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest

from fieldsight import registry, studies
from fieldsight.config import read_toml
from fieldsight.report.paper import Reproduction, Row
from fieldsight.systems.crack import reproduce as own
from fieldsight.systems.crack.options import ReproduceOptions
from fieldsight.systems.crack.scores import pooled_scores

PRINTED = read_toml(own.Path(own.__file__).with_name("paper.toml"))


@pytest.fixture(scope="module")
def found() -> Reproduction:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "read", lambda system, name: None)
        return own.reproduce(ReproduceOptions())


def rows(found: Reproduction, title: str = "") -> dict[str, Row]:
    return {row.name: row for table in found.tables if not title or table.title == title for row in table.rows}


# ------------------------------------------------------------------------------------------------- identities


def test_identities_are_those_of_counts() -> None:
    tp, fp, fn, tn = 30.0, 10.0, 20.0, 940.0
    assert own.iou_of(75.0, 60.0) == pytest.approx(50.0)
    assert own.f1_of_iou(50.0) == pytest.approx(own.f1_of(75.0, 60.0)) == pytest.approx(200 / 3)
    miou = 50 * (0.5 + tn / (tn + fp + fn))
    values = (50.0, 75.0, 60.0, 200 / 3, miou)
    assert own.crack_share(values) == pytest.approx((tp + fn) / (tp + fp + fn + tn))
    assert own.miou_of(75.0, 60.0, 0.05) == pytest.approx(miou)
    assert own.pooled(values)
    assert not own.pooled((50.0, 75.0, 60.0, 66.0, miou))
    assert not own.pooled((50.5, 75.0, 60.0, own.f1_of(75, 60), miou))


def test_a_mean_over_photos_breaks_the_identity_and_a_sum_does_not() -> None:
    import numpy as np

    photos = np.array([[30.0, 10.0, 20.0, 940.0], [9.0, 0.0, 1.0, 990.0]])
    each = pooled_scores(photos)
    means = [100 * float(np.mean(each[f"pooled_{m}"])) for m in ("iou", "precision", "recall", "f1", "miou")]
    total = pooled_scores(photos.sum(axis=0))
    sums = [100 * float(total[f"pooled_{m}"]) for m in ("iou", "precision", "recall", "f1", "miou")]
    assert own.pooled(sums)
    assert not own.pooled(means)


def test_every_single_network_is_pooled_and_no_mixture_is(found: Reproduction) -> None:
    assert found.facts["single networks whose IoU, F1, precision and recall agree"] == "42 of 42"
    assert found.facts["mixtures whose IoU, F1, precision and recall agree"] == "0 of 17"
    held = rows(found)
    row = held["MoE (Top-K), RCFD, F1 by IoU"]
    assert (row.printed, row.recomputed, row.verdict) == (81.16, 80.82, "contradicts")
    row = held["MoE (Top-K), RCFD, IoU"]
    assert (row.printed, row.recomputed, row.verdict) == (67.82, 68.29, "contradicts")
    assert held["MoE (Top-K), RCFD, F1 by precision and recall"].verdict == "reproduced"
    row = held["MoE (Hard), CFD, F1 by precision and recall"]
    assert (row.printed, row.recomputed, row.verdict) == (70.88, 71.03, "contradicts")
    row = held["E4 (CR'25), RCFD, F1 by IoU"]
    assert (row.printed, row.recomputed, row.verdict) == (79.09, 79.09, "reproduced")


@pytest.mark.parametrize("data", ["RCFD", "Crack500", "CFD"])
def test_single_networks_agree_on_how_much_crack_there_is(data: str) -> None:
    share = own.share_of(PRINTED, data)
    for name, values in PRINTED["table3"][data].items():
        off = own.crack_share(values) / share - 1
        assert (abs(off) > 0.08) == own.is_mixture(name), (name, off)


def test_tables_that_print_a_row_twice_print_the_same() -> None:
    for number, data in ((7, "RCFD"), (8, "Crack500"), (9, "CFD")):
        table, first = PRINTED[f"table{number}"], PRINTED["table3"][data]
        assert len(table) == 13
        assert all(len(v) == 5 for v in (*table.values(), *first.values()))
        for a, b in (("CrackMaster", "E3 (CM'25)"), ("CrackRefineNet", "E4 (CR'25)"), ("MoE (Top-K)",) * 2):
            assert table[a] == first[b]
    best = PRINTED["table3"]["RCFD"]["MoE (Top-K)"]
    assert PRINTED["table4"]["MoE (Top-K, K=2)"] == best
    assert PRINTED["table5"]["MoE, all experts"] == best
    assert PRINTED["table6"]["MoE of E1, E2, E3, E4"] == best


# ----------------------------------------------------------------------------------------------------- tables


def test_table_1_with_its_true_rounding(found: Reproduction) -> None:
    held = rows(found, "Table 1")
    true = [held[f"img_001, soft label of E{k}"].recomputed for k in (1, 2, 3, 4)]
    assert true == [0.2426, 0.261, 0.2316, 0.2647]
    true = [held[f"img_002, soft label of E{k}"].recomputed for k in (1, 2, 3, 4)]
    assert true == [0.2437, 0.2563, 0.2521, 0.2479]
    wrong = {name for name, row in held.items() if row.verdict == "contradicts"}
    assert wrong == {
        "img_001, soft label of E4", "img_002, soft label of E2", "img_002, soft label of E4",
        "img_002, sum of the soft labels",
    }  # fmt: skip
    assert held["img_002, sum of the soft labels"].printed == 0.98
    assert [held[f"img_00{n}, KL from uniform [nats]"].recomputed for n in (1, 2)] == [0.00147, 0.00018]
    assert [held[f"img_00{n}, hard label"].ours for n in (1, 2)] == ["E4", "E2"]
    assert own.kl_from_uniform([0.25] * 4) == 0
    assert own.kl_from_uniform([1.0, 0.0]) == pytest.approx(0.693147, abs=1e-6)


def test_k_4_must_be_soft(found: Reproduction) -> None:
    row = rows(found, "Table 4")["K=4, IoU: must be Soft's of Table 3"]
    assert (row.printed, row.recomputed, row.verdict) == (67.38, 67.12, "contradicts")


def test_our_networks_have_the_published_counts(found: Reproduction) -> None:
    held = rows(found, "Table 10")
    assert own.networks("gate")["parameters"] == 11_242_692
    exact = {"cen": 62_087_618, "ecsn": 88_112_053, "crackmaster": 93_626_020, "crackrefine": 99_660_997}
    assert {k: own.networks(k)["parameters"] for k in exact} == exact
    assert held["U-Net, MACs [T]"].ours == pytest.approx(0.1927, abs=5e-5)
    same = [name for name, row in held.items() if row.ours is not None and row.verdict == "reproduced"]
    assert {"EnhancedNet (E2), parameters [M]", "CrackRefineNet (E4), MACs [T]", "SwinT, parameters [M]"} <= set(same)
    assert held["EnhancedNet (E2), MACs [T]"].verdict == "open"
    assert held["LMM, MACs [T]"].verdict == "not comparable"
    assert all(row.recomputed is None for name, row in held.items() if name.endswith("s [M]") and "MoE" not in name)


def test_the_total_of_the_mixture(found: Reproduction) -> None:
    row = rows(found, "Table 10")["MoE, parameters [M]"]
    assert (row.printed, row.recomputed, row.ours, row.verdict) == (296.5, 354.41, 354.73, "contradicts")
    assert "343.17" in row.note
    experts = [v["params"] for name, v in PRINTED["table10"].items() if "(E" in name]
    assert len(experts) == 4
    sums = [sum(chosen) + gate for n in range(5) for chosen in combinations(experts, n) for gate in (0, 11.24)]
    assert min(abs(s - 296.5) for s in sums) > 3  # no choice of experts explains it


def test_the_cost_of_the_mixture_is_of_no_routing(found: Reproduction) -> None:
    held = rows(found, "Table 10")
    assert held["MoE, MACs [T]"].recomputed == 0.4945
    row = held["MoE, time [s]"]
    assert row.recomputed == pytest.approx(0.0704, abs=5.1e-5)
    assert row.verdict == "contradicts"
    row = held["MoE, MACs [T], at most with the printed time"]
    assert row.verdict == "contradicts"
    assert row.recomputed == pytest.approx(0.4876, abs=1e-4)


def test_the_most_macs_within_a_time() -> None:
    pairs = [(1.0, 1.0), (2.0, 5.0), (4.0, 6.0), (3.0, 2.0)]
    assert own.most_macs(pairs, 0.5) == 0
    assert own.most_macs(pairs, 1.0) == 1
    assert own.most_macs(pairs, 1.5) == 3
    assert own.most_macs(pairs, 3.0) == pytest.approx(5.5)
    assert own.most_macs(pairs, 9.0) == 6


def test_what_the_text_says_of_the_tables(found: Reproduction) -> None:
    held = rows(found, "Text and Table 2")
    assert [held[f"gain over E4, {d}, IoU"].recomputed for d in ("RCFD", "Crack500", "CFD")] == [2.41, 2.29, 1.67]
    assert held["gain over E4, RCFD, F1"].recomputed == 2.07
    assert held["'up to 2.5 points in mean IoU'"].recomputed == 1.37
    assert held["'1.5 to 2.5 points in IoU and F1': least"].recomputed == 1.31
    assert "E2" in held["best recall on RCFD (bold)"].note
    assert "MobileViT" in held["best precision on CFD (bold)"].note
    row = held["CFD, images"]
    assert (row.printed, row.ours, row.verdict) == (119, 118, "contradicts")


# ------------------------------------------------------------------------------------------------------- ours


def claim_of(seeds: int = 3) -> dict[str, Any]:
    """A record as ``studies/crack/claim.py`` writes it, with plain numbers."""
    labels = [*own.POOL, "hard: hard", "soft: soft", *(f"soft: top {k}" for k in (2, 3, 4))]
    labels += [f"soft: top 2 without {name}" for name in own.POOL]
    values = {}
    for seed in range(seeds):
        scores = {name: 0.4 + 0.01 * k + 0.001 * seed for k, name in enumerate(labels)}
        table = {n: {f"pooled_{m}": v + 0.1 * (m == "f1") for m in ("iou", "f1")} for n, v in scores.items()}
        values[str(seed)] = {"sets": {"test": {"rows": table}}}
    return {"seeds": list(range(seeds)), "values": values}


def test_ours_comes_from_the_study_and_has_its_own_column(monkeypatch: pytest.MonkeyPatch, found: Reproduction) -> None:
    claim = claim_of()
    monkeypatch.setattr(studies, "read", lambda system, name: claim if (system, name) == ("crack", "claim") else None)
    with_study = own.reproduce(ReproduceOptions())
    before, after = rows(found), rows(with_study)
    assert found.facts["seeds behind ours"] != 3
    assert with_study.facts["seeds behind ours"] == 3
    for name, row in before.items():  # a study changes neither what is printed nor what is recomputed
        assert (after[name].printed, after[name].recomputed, after[name].verdict) == (
            row.printed, row.recomputed, row.verdict,
        )  # fmt: skip
    row = after["E1 (CEN'23), drawn photos, IoU"]
    assert (row.printed, row.recomputed, row.ours) == (None, None, 40.1)
    assert after["E1 (CEN'23), drawn photos, F1"].ours == 50.1
    assert after["MoE (Top-K, K=3), IoU"].ours == 47.1
    assert after["MoE without E4, IoU"].ours == 52.1
    assert after["gain over E4, RCFD, IoU"].ours == 3.0
    assert after["gain over E4, CFD, IoU"].ours is None
    assert all(row.ours is None for name, row in after.items() if "LMM" in name)


def test_a_record_without_a_row_leaves_its_place_empty() -> None:
    claim = claim_of()
    for seed in claim["values"].values():
        del seed["sets"]["test"]["rows"]["soft: top 3"]
    assert own.mean_of(claim, "soft: top 3") is None
    assert own.mean_of(claim, "soft: top 2", photos="unseen") is None


@pytest.mark.parametrize("name", sorted(own.CALLED))
def test_rows_of_one_expert_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "networks", lambda kind: {"parameters": 1, "macs": 1})
    held = rows(own.reproduce(ReproduceOptions(expert=name)))  # type: ignore[arg-type]
    assert held
    assert all(any(word in row for word in own.CALLED[name]) for row in held)
    assert any("parameters" in row for row in held)
    strangers = {"cen": "E2", "ecsn": "E1", "unet": "DeepCrack", "swin": "LMM"}
    assert not any(row.startswith(strangers.get(name, "LMM")) for row in held)


def test_it_can_be_told_and_written(found: Reproduction, tmp_path: Any) -> None:
    assert found.spec is registry.get("crack")
    assert len(found.errors) >= 15  # every trap of the specification
    assert sum(found.verdicts().values()) == sum(len(t.rows) for t in found.tables)
    assert "none: the study claim is not recorded" in "\n".join(found.lines())
    written = found.save(tmp_path)
    assert [p.name for p in written] == ["reproduce.json", "reproduce.csv", "reproduce.html"]
    stored = json.loads(written[0].read_text(encoding="utf-8"))
    assert stored["verdicts"] == dict(found.verdicts())
