"""The specification's Acceptance through the door that users have: ``fieldsight.load("energy").estimate``.

The equations behind them are tested in ``tests/core/test_profile_*.py``, item 6 in ``test_energy_reproduce.py``, items
10 and 12 in ``test_energy_data.py`` and ``test_energy_calibrate.py``, item 14 in ``test_energy_doors.py``.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fieldsight
from fieldsight.profile.joules import PARTS
from fieldsight.systems.energy import data
from fieldsight.systems.energy.predict import EnergyEstimate, EnergyModel

REAL_LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "intermediate_size": 11008, "vocab_size": 32000, "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> EnergyModel:
    loaded = fieldsight.load("energy")
    assert isinstance(loaded, EnergyModel)
    return loaded


def estimate(model: EnergyModel, network: Any, **options: Any) -> dict[str, Any]:
    found = model.estimate(network, draws=0, **options)
    assert isinstance(found, EnergyEstimate)
    return found.to_dict()


def test_item_1_counts_of_resnet18(model: EnergyModel) -> None:
    one = estimate(model, "resnet18")
    assert (one["parameters"], one["macs"], one["activations"]) == (11_689_512, 1_814_073_344, 2_484_712)
    assert one["flops"] == 2 * one["macs"]
    assert round(one["macs"] / one["parameters"], 3) == 155.188


def test_item_2_parameters_of_decoders(model: EnergyModel, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(REAL_LLAMA))
    wanted = {
        "gpt3-small": 125_226_240, "llama-7b": 6_658_404_352, "gpt3-175b": 174_604_259_328,
        "llama-7b-real": 6_738_415_616, str(config): 6_738_415_616,
    }  # fmt: skip
    assert {name: estimate(model, name)["parameters"] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("name", "flops", "ratio", "kv"),
    [
        ("gpt3-small", 245_366_784, 1.9594, 37_748_736),
        ("llama-7b", 13_958_643_712, 2.0964, 536_870_912),
        ("gpt3-175b", 357_556_027_392, 2.0478, 4_831_838_208),
    ],
)
def test_items_3_and_4_flops_and_cache_of_a_token(
    model: EnergyModel, name: str, flops: int, ratio: float, kv: int
) -> None:
    one = estimate(model, name)
    shape = data.DECODERS[name]
    without_logits = one["flops"] - 2 * shape.vocab * shape.d
    assert without_logits == flops
    assert round(without_logits / one["parameters"], 4) == ratio
    assert one["kv_values"] == kv
    assert one["kv_bits"] == 16
    assert (one["kv_values"] * one["kv_bits"] / 8 == 2**30) == (name == "llama-7b")


def test_item_5_totals_as_the_paper_charges(model: EnergyModel) -> None:
    wanted = {
        "resnet18": {"weight": 421.20e-6, "mac": 207.00e-6, "activation": 10.8195e-6, "kv": 0.0},
        "llama-7b": {"weight": 479.52e-3, "mac": 9.90e-3, "activation": 0.2511e-3, "kv": 72.00e-3},
    }
    totals = {"resnet18": 639.02e-6, "llama-7b": 561.67e-3}
    for name, parts in wanted.items():
        one = estimate(model, name, convention="paper")
        assert one["parts_j"] == pytest.approx(parts, rel=1e-4)
        assert one["total_j"] == pytest.approx(totals[name], rel=1e-4)


def test_items_7_and_8_crossovers_and_thresholds(model: EnergyModel, tmp_path: Path) -> None:
    resnet, llama, real = (estimate(model, n)["conventions"] for n in ("resnet18", "llama-7b", "llama-7b-real"))
    assert resnet["paper"]["mac_equals_weight_at_batch"] == pytest.approx(2.0348, abs=5e-5)
    assert resnet["exact"]["mac_equals_weight_at_batch"] == pytest.approx(1.0086, abs=5e-5)
    assert llama["paper"]["mac_equals_weight_at_batch"] == pytest.approx(48.436, abs=5e-4)
    assert llama["paper"]["kv_equals_weight_at_batch"] == pytest.approx(6.660, abs=5e-4)
    assert llama["exact"]["kv_equals_weight_at_context"] == pytest.approx(25_399.8, abs=0.05)
    assert real["exact"]["kv_equals_weight_at_context"] == pytest.approx(25_705.0, abs=0.05)
    assert resnet["paper"]["threshold"] == pytest.approx(313.0435, abs=1e-4)
    assert llama["paper"]["threshold"] == pytest.approx(96.0, rel=1e-12)
    for one in (resnet["paper"], llama["paper"], resnet["exact"], llama["exact"]):
        again = one["threshold"] * one["parameters"] / (2 * one["macs"])
        assert one["mac_equals_weight_at_batch"] == pytest.approx(again, rel=1e-12)


anything = {
    "network": st.sampled_from(["resnet18", "mobilenetv2", "gpt3-small", "llama-7b-real"]),
    "batch": st.integers(1, 200),
    "convention": st.sampled_from(["exact", "paper"]),
    "hardware": st.sampled_from(["paper-45nm-lpddr5", "45nm-gddr6", "7nm-lpddr5", "near-memory", "in-memory"]),
    "precision": st.sampled_from(["auto", "int4", "int8", "fp16", "fp32"]),
    "act": st.sampled_from(["default", "auto", "sram", "dram", "none"]),
    "sparsity": st.floats(0, 0.9),
    "w_bits": st.none() | st.integers(1, 32),
    "scale": st.tuples(*[st.sampled_from([0.0, 1 / 16, 0.5, 1.0])] * 4),
}


@given(st.fixed_dictionaries(anything))
@settings(max_examples=60, deadline=None)
def test_item_9_invariants(chosen: dict[str, Any]) -> None:
    model = fieldsight.load("energy")
    network, factors = chosen.pop("network"), chosen.pop("scale")
    scales = {f"scale_{part}": f for part, f in zip(PARTS, factors, strict=True)}

    def total(batch: int, **changes: float) -> float:
        value: float = estimate(model, network, **{**chosen, **scales, **changes, "batch": batch})["total_j"]
        return value

    one = estimate(model, network, **chosen, **scales)
    batch, here = chosen["batch"], one["total_j"]
    assert not here or abs(sum(one["shares"].values()) - 1) < 1e-12
    assert here == pytest.approx(sum(one["parts_j"].values()), rel=1e-12)
    assert total(batch, **{k: 0.5 * f for k, f in scales.items()}) == pytest.approx(0.5 * here, rel=1e-9)
    ends = [total(batch, scale_mac=f) for f in (0.0, 1.0)]
    assert here == pytest.approx(ends[0] + scales["scale_mac"] * (ends[1] - ends[0]), rel=1e-9, abs=1e-18)
    step = total(batch + 1) - here
    assert total(batch + 10) == pytest.approx(here + 10 * step, rel=1e-7, abs=1e-18)
    assert total(batch + 1) / (batch + 1) <= here / batch * (1 + 1e-12)
    layers = sum(row["total energy"] for row in one["layers"])
    assert layers == pytest.approx(one["conventions"]["exact"]["total_j"], rel=1e-9, abs=1e-18)


def test_item_9_savings_move_with_the_batch(model: EnergyModel) -> None:
    def saved(part: str, batch: int) -> float:
        full, less = (estimate(model, "resnet18", batch=batch, **{f"scale_{part}": f}) for f in (1.0, 1 / 16))
        return float(1 - less["total_j"] / full["total_j"])

    weights, macs = ([saved(part, b) for b in (1, 2, 4, 8, 16)] for part in ("weight", "mac"))
    assert all(a > b for a, b in itertools.pairwise(weights))
    assert all(a < b for a, b in itertools.pairwise(macs))


def test_item_11_bits_groups_and_context(model: EnergyModel) -> None:
    plain, four = (estimate(model, "resnet18", w_bits=b)["parts_j"]["weight"] for b in (8, 4))
    assert four == plain / 2
    shape = data.DECODERS["llama-7b-real"]
    full, grouped, longer = (
        estimate(model, "llama-7b-real", **o) for o in ({}, {"kv_heads": 8}, {"context": 4096})
    )  # no learned positions: any context
    assert grouped["parts_j"]["kv"] == full["parts_j"]["kv"] / 4
    assert longer["parts_j"]["kv"] == 2 * full["parts_j"]["kv"]
    assert longer["flops"] - full["flops"] == 4 * shape.layers * 2048 * shape.d


def test_item_13_a_prompt_computes_where_a_token_loads(model: EnergyModel) -> None:
    paper: dict[str, Any] = {"convention": "paper", "scale_kv": 0, "scale_activation": 0}
    prompt, token = (estimate(model, "llama-7b", batch=n, **paper) for n in (512, 1))
    assert prompt["shares"]["mac"] == pytest.approx(0.914, abs=5e-4)
    assert token["shares"]["mac"] == pytest.approx(0.020, abs=5e-4)
    prefill, decode = (
        estimate(model, "llama-7b", context=512, phase=p, act="none") for p in ("prefill", "decode")
    )  # true counts
    assert prefill["shares"]["mac"] > 0.9 > 0.03 > decode["shares"]["mac"]
    assert (prefill["bound"], decode["bound"]) == ("compute", "memory")


def test_the_corrected_table_of_resnet18(model: EnergyModel) -> None:
    """True MACs with the paper's activation constant: balanced at batch 1, computing beyond."""
    wanted = {
        1: (49.6, 49.2, 1.3, 848.9),
        4: (19.7, 78.2, 2.0, 533.3),
        8: (10.9, 86.8, 2.3, 480.7),
        16: (5.8, 91.8, 2.4, 454.4),
    }
    for batch, (weight, mac, act, each) in wanted.items():
        one = estimate(model, "resnet18", batch=batch, act="paper")
        shares = [100 * one["shares"][part] for part in ("weight", "mac", "activation")]
        assert shares == pytest.approx([weight, mac, act], abs=0.051)
        assert 1e6 * one["per_sample_j"] == pytest.approx(each, abs=0.051)


@pytest.mark.parametrize(
    ("name", "first", "last", "joules"),
    [
        ("gpt3-small", (75.3, 2.0, 22.7), (16.0, 6.9, 77.1), 3.52e-3),
        ("llama-7b", (90.7, 2.0, 7.3), (37.7, 13.6, 48.7), 79.4e-3),
        ("gpt3-175b", (95.3, 2.0, 2.6), (56.0, 19.2, 24.8), 1.40),
        ("llama-7b-real", (90.8, 2.0, 7.2), (38.0, 13.4, 48.5), None),
    ],
)
def test_the_corrected_table_of_decoders(
    model: EnergyModel, name: str, first: tuple[float, ...], last: tuple[float, ...], joules: float | None
) -> None:
    for batch, wanted in ((1, first), (16, last)):
        one = estimate(model, name, batch=batch, act="none")
        assert [100 * one["shares"][p] for p in ("weight", "mac", "kv")] == pytest.approx(wanted, abs=0.06)
    if joules is not None:
        assert one["per_sample_j"] == pytest.approx(joules, rel=5e-3)


def test_edges(model: EnergyModel) -> None:
    cached = estimate(model, "resnet18", scale_weight=0)
    assert cached["conventions"]["exact"]["mac_equals_weight_at_batch"] == 0
    assert cached["parts_j"]["weight"] == 0
    assert estimate(model, "resnet18")["parts_j"]["kv"] == 0
    free = estimate(model, "resnet18", scale_mac=0)
    assert free["conventions"]["exact"]["mac_equals_weight_at_batch"] is None
    json.dumps(free, allow_nan=False)
    nothing = estimate(model, "llama-7b", **{f"scale_{p}": 0 for p in PARTS})
    assert nothing["total_j"] == 0
    json.dumps(nothing, allow_nan=False)
    windowed, short = (estimate(model, "llama-7b-real", **o) for o in ({"window": 512}, {"context": 512}))
    assert windowed["parts_j"]["kv"] == short["parts_j"]["kv"]
    dram = estimate(model, "resnet18", act="dram")["parts_j"]["activation"]
    assert dram == pytest.approx(178.9e-6, rel=1e-3)


def test_a_battery_an_answer_and_the_grid(model: EnergyModel) -> None:
    one = estimate(model, "resnet18", battery=10, rate=3600, grid=400)
    assert one["supply"]["samples_per_battery"] == pytest.approx(36_000 / one["per_sample_j"])
    assert one["supply"]["hours_per_battery"] == pytest.approx(10 / one["per_sample_j"])
    assert one["supply"]["watts_at_rate"] == pytest.approx(one["per_sample_j"])
    assert one["supply"]["grams_co2_per_million"] == pytest.approx(one["per_sample_j"] * 1e6 / 3.6e6 * 400)
    answer = estimate(model, "llama-7b", prompt=100, tokens=50, act="none")["answer_j"]
    steps = [estimate(model, "llama-7b", context=100 + i, act="none")["total_j"] for i in range(1, 50)]
    assert answer["decode"] == pytest.approx(math.fsum(steps), rel=1e-9)


def test_a_conclusion_that_the_constants_decide_is_flagged(model: EnergyModel) -> None:
    resnet = model.estimate("resnet18")
    llama = model.estimate("llama-7b")
    assert resnet.to_dict()["sensitivity"]["flips"]
    assert any("depends on the constants" in w for w in resnet.to_dict()["warnings"])
    assert not llama.to_dict()["sensitivity"]["flips"]
    assert llama.to_dict()["warnings"] == []
    odds = resnet.to_dict()["sensitivity"]["probability"]
    assert sum(odds.values()) == pytest.approx(1)
    assert model.estimate("resnet18").to_dict() == resnet.to_dict()
    assert model.estimate("resnet18", seed=1).to_dict()["sensitivity"] != resnet.to_dict()["sensitivity"]
