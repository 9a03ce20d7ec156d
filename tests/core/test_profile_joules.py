"""Joules: the equations, the exact numbers of the specification, the invariants, and the profiles as data."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight import profile
from fieldsight.errors import ConfigError
from fieldsight.profile import (
    Counts,
    Layer,
    Op,
    PaperNumbers,
    energy,
    generation,
    gpt,
    hardware_names,
    joules_line,
    load_hardware,
    regime,
    roofline,
    sensitivity,
    si,
    sweep,
)
from fieldsight.profile.joules import PARTS
from fieldsight.profile.transformer import count_decoder, decode_macs_kv

LLAMA = gpt("llama-7b", 50257, 2048, 4096, 32, 32)
SMALL = gpt("gpt3-small", 50257, 2048, 768, 12, 12)
HUGE = gpt("gpt3-175b", 50257, 2048, 12288, 96, 96)

# ResNet18 at 224 x 224 in totals, with what the paper charges
RESNET = Counts(
    "resnet18",
    "table",
    (
        Layer("conv1", "conv2d", 9_408, 128, 118_013_952, inputs=150_528, outputs=802_816),
        Layer("rest", "conv2d", 11_669_504, 10_472, 1_696_059_392, inputs=1_706_496, outputs=1_681_896, calls=20),
    ),
    unit="image",
    paper=PaperNumbers(11.7e6, 0.9e9, act_joules=10.8195e-6),
)


def close(value: float, wanted: float, within: float = 1e-4) -> bool:
    return math.isclose(value, wanted, rel_tol=within)


# ------------------------------------------------------------------------------- exact numbers


def test_the_paper_convention_of_resnet18() -> None:
    one = energy(RESNET, convention="paper")
    assert close(one.weight, 421.20e-6)
    assert close(one.mac, 207.00e-6)
    assert close(one.activation, 10.8195e-6)
    assert one.kv == 0
    assert close(one.total, 639.02e-6)
    assert close(one.crossover, 2.0348)
    assert close(one.threshold, 313.0435)
    assert close(one.threshold / (2 * 0.9e9 / 11.7e6), 2.0348)
    assert close(energy(RESNET, batch=16, convention="paper").per_sample, (421.2 / 16 + 207 + 10.8195) * 1e-6)


@pytest.mark.parametrize(
    ("batch", "shares", "per_image", "cuts"),
    [
        (1, (49.6, 49.2, 1.3), 848.9, (46.48, 46.08)),
        (4, (19.7, 78.2, 2.0), 533.3, (18.50, 73.35)),
        (8, (10.9, 86.8, 2.3), 480.7, (10.26, 81.38)),
        (16, (5.8, 91.8, 2.4), 454.4, (5.43, 86.09)),
    ],
)
def test_the_corrected_convention_of_resnet18(
    batch: int, shares: tuple[float, ...], per_image: float, cuts: tuple[float, float]
) -> None:
    one = energy(RESNET, batch=batch, act="paper")
    assert [round(100 * one.shares[p], 1) for p in ("weight", "mac", "activation")] == list(shares)
    assert round(one.per_sample * 1e6, 1) == per_image
    assert close(one.crossover, 1.0086)
    for part, cut in zip(("weight", "mac"), cuts, strict=True):
        less = energy(RESNET, batch=batch, act="paper", scale={part: 1 / 16})
        assert round(100 * (1 - less.total / one.total), 2) == cut
    assert one.bound == ("memory" if batch == 1 else "compute")


def test_activations_in_dram_and_on_chip() -> None:
    assert close(energy(RESNET, act="dram").activation, 178.9e-6, 1e-3)
    auto = energy(RESNET)
    assert auto.act_level == "1 MB SRAM", "the first layer reads and writes 953 kB at 8 bits"
    assert close(auto.activation, 2 * 2_484_712 * 8 * 1.5625e-12)
    assert energy(RESNET, a_bits=16).act_level == "LPDDR5"
    assert energy(RESNET, act="sram", a_bits=16).act_level == "1 MB SRAM"
    assert energy(RESNET, act="none").activation == 0
    spilled = energy(RESNET, batch=8)
    assert "would spill them to DRAM" in spilled.notes[0]
    assert energy(RESNET, batch=8, weight_reuse=1).notes == ()


@pytest.mark.parametrize(
    ("model", "weight", "mac", "kv", "one", "sixteen"),
    [
        (SMALL, 9.016, 0.2419, 2.718, (75.3, 2.0, 22.7), (16.0, 6.9, 77.1)),
        (LLAMA, 479.41, 10.778, 38.655, (90.7, 2.0, 7.3), (37.7, 13.6, 48.7)),
        (HUGE, 12_571.5, 269.09, 347.89, (95.3, 2.0, 2.6), (56.0, 19.2, 24.8)),
    ],
)
def test_decoders_at_full_context(
    model: Any, weight: float, mac: float, kv: float, one: tuple[float, ...], sixteen: tuple[float, ...]
) -> None:
    single = energy(model, precision="fp16", act="none")
    assert close(single.weight, weight * 1e-3)
    assert close(single.mac, mac * 1e-3, 2e-4)
    assert close(single.kv, kv * 1e-3, 2e-4)
    batch = energy(model, batch=16, precision="fp16", act="none")
    for got, wanted in ((single, one), (batch, sixteen)):
        assert [round(100 * got.shares[p], 1) for p in ("weight", "mac", "kv")] == list(wanted)


def test_energy_per_token_at_batch_16() -> None:
    per = [energy(m, batch=16, precision="fp16", act="none").per_sample for m in (SMALL, LLAMA, HUGE)]
    assert [float(f"{e:.3g}") for e in per] == [3.52e-3, 79.4e-3, 1.40]


def test_thresholds_and_crossovers() -> None:
    assert round(regime(RESNET).threshold, 2) == 313.04
    exact = regime(LLAMA, precision="fp16")
    assert round(exact.threshold, 1) == 96.0
    assert round(exact.break_even_context, 1) == 25_399.8
    assert close(exact.kv_per_context_token, 18.87e-6, 1e-3)
    assert round(regime(RESNET).mac_equals_weight, 4) == 1.0086
    assert round(regime(RESNET, convention="paper").mac_equals_weight, 4) == 2.0348
    paper = Counts("llama", "table", (), paper=PaperNumbers(6.66e9, 6.6e9, 1e9, 251.1e-6))
    assert round(regime(paper, precision="fp16", convention="paper").mac_equals_weight, 3) == 48.436
    assert round(regime(paper, precision="fp16", convention="paper").kv_equals_weight, 3) == 6.660
    assert exact.compute_bound_from == math.inf, "the cache grows with the batch faster than the MACs"
    assert close(regime(RESNET).compute_bound_from, 1.0086)
    assert math.isinf(regime(RESNET).break_even_context)


def test_break_even_with_a_window() -> None:
    base = {"kv_heads": 2, "norm": 0, "positions": 0}
    windowed = dataclasses.replace(SMALL, **base, window=64, local=frozenset({0, 1}), context=10**7)
    found = regime(windowed, precision="fp16").break_even_context
    at = energy(windowed, precision="fp16", context=round(found), act="none")
    assert close(at.kv, at.weight)
    everywhere = dataclasses.replace(windowed, local=frozenset())
    assert math.isinf(regime(everywhere, precision="fp16").break_even_context)


def test_prefill_against_decode() -> None:
    paper = Counts("llama", "table", (), paper=PaperNumbers(6.66e9, 6.6e9, 0.0, None))
    for tokens, share in ((512, 0.914), (1, 0.0202)):
        e = energy(paper, batch=tokens, precision="fp16", convention="paper")
        assert round(e.shares["mac"], 3 if tokens > 1 else 4) == share
    assert energy(LLAMA, precision="fp16", phase="prefill", context=512, act="none").shares["mac"] > 0.9
    assert energy(LLAMA, precision="fp16", context=512, act="none").shares["mac"] < 0.03


def test_bits_grouped_heads_and_context() -> None:
    full = energy(RESNET)
    assert energy(RESNET, w_bits=4).weight == full.weight / 2
    assert energy(RESNET, w_bits=4).mac == full.mac
    grouped = dataclasses.replace(LLAMA, kv_heads=8)
    assert energy(grouped, precision="fp16").kv * 4 == energy(LLAMA, precision="fp16").kv
    assert energy(LLAMA, precision="fp16", kv_bits=4).kv * 4 == energy(LLAMA, precision="fp16").kv
    long = dataclasses.replace(LLAMA, context=4096)
    assert energy(long, precision="fp16").kv == 2 * energy(LLAMA, precision="fp16").kv
    assert energy(RESNET, sparsity=0.5).mac == full.mac / 2
    assert energy(RESNET, sparsity=0.5).activation == full.activation


def test_experts_are_fetched_as_the_batch_needs_them() -> None:
    moe = Counts(
        "moe", "table", (Layer("dense", "linear", 100, macs=100), Layer("e", "linear", 800, macs=200, share=0.25))
    )
    bits = 8 * 4.5e-12
    assert close(energy(moe).weight, (100 + 200) * bits)
    assert close(energy(moe, batch=2).weight, (100 + 800 * (1 - 0.75**2)) * bits)
    assert close(energy(moe, batch=1000).weight, 900 * bits)


def test_lookup_tables_by_row() -> None:
    untied = dataclasses.replace(LLAMA, tied=False)
    full, rows = (energy(untied, precision="fp16", embedding=e) for e in ("full", "rows"))
    table = (50257 + 2048) * 4096  # tokens and positions
    assert close(full.weight - rows.weight, (table - 2 * 4096) * 16 * 4.5e-12)
    tied = energy(LLAMA, precision="fp16", embedding="rows")
    assert close(energy(LLAMA, precision="fp16").weight - tied.weight, (2048 - 1) * 4096 * 16 * 4.5e-12)
    assert energy(untied, batch=10**6, precision="fp16", embedding="rows").weight == full.weight


def test_weight_reuse_fetches_more_often() -> None:
    once = energy(RESNET, batch=8, act="none")
    assert energy(RESNET, batch=8, act="none", weight_reuse=1).weight == 8 * once.weight
    assert energy(RESNET, batch=8, act="none", weight_reuse=3).weight == 3 * once.weight
    assert energy(RESNET, batch=8, act="none", weight_reuse=3).mac == once.mac


def test_counts_of_several_samples_are_charged_per_sample() -> None:
    rows = [dataclasses.replace(x, macs=4 * x.macs, inputs=4 * x.inputs, outputs=4 * x.outputs) for x in RESNET.layers]
    four = dataclasses.replace(RESNET, samples=4, layers=tuple(rows))
    assert energy(four, batch=3).total == energy(RESNET, batch=3).total


def test_the_paper_rules_for_networks_it_does_not_report() -> None:
    cnn = dataclasses.replace(RESNET, paper=None)
    one = energy(cnn, convention="paper")
    assert close(one.mac, 1_814_073_344 / 2 * 0.23e-12)
    assert any("reports no energy" in n for n in one.notes)
    assert any("No activation energy" in n for n in one.notes)
    llm = energy(LLAMA, convention="paper", precision="fp16")
    assert close(llm.macs, 13.19e9 / 2, 1e-3)
    assert close(llm.kv, 1e9 * 16 * 4.5e-12)
    with pytest.raises(ConfigError, match="gives no activation energy for 'resnet18'"):
        energy(cnn, act="paper")


# ---------------------------------------------------------------------------------- invariants

positive = st.floats(0, 4, allow_nan=False)


@given(st.fixed_dictionaries(dict.fromkeys(PARTS, positive)), st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_affine_additive_and_scaling(scale: dict[str, float], batch: int) -> None:
    model = count_decoder(SMALL, 100)

    def total(b: int, s: dict[str, float]) -> float:
        return energy(model, batch=b, precision="fp16", scale=s, act="dram").total

    here = total(batch, scale)
    step = total(batch + 1, scale) - here
    assert math.isclose(total(batch + 7, scale), here + 7 * step, rel_tol=1e-9, abs_tol=1e-15)
    for part in PARTS:
        ends = [total(batch, {**scale, part: end}) for end in (0.0, 1.0)]
        assert math.isclose(here, ends[0] + scale[part] * (ends[1] - ends[0]), rel_tol=1e-9, abs_tol=1e-15)
    assert math.isclose(total(batch, {k: 3 * v for k, v in scale.items()}), 3 * here, rel_tol=1e-9, abs_tol=1e-18)
    e = energy(model, batch=batch, precision="fp16", scale=scale, act="dram")
    assert e.total == 0 or abs(sum(e.shares.values()) - 1) < 1e-12
    assert total(batch + 1, scale) / (batch + 1) <= here / batch * (1 + 1e-12)


def test_reductions_move_with_the_batch() -> None:
    def cut(batch: int, part: str) -> float:
        full = energy(RESNET, batch=batch, act="paper")
        return 1 - energy(RESNET, batch=batch, act="paper", scale={part: 1 / 16}).total / full.total

    weights, macs = ([cut(b, part) for b in (1, 2, 4, 8, 16, 32)] for part in ("weight", "mac"))
    assert weights == sorted(weights, reverse=True)
    assert macs == sorted(macs)


def test_the_ends() -> None:
    cached = energy(RESNET, scale={"weight": 0})
    assert (cached.weight, cached.crossover) == (0.0, 0.0)
    free = energy(RESNET, scale={"mac": 0})
    assert math.isinf(free.crossover)
    nothing = energy(Counts("nothing", "table", ()))
    assert nothing.total == 0
    assert set(nothing.shares.values()) == {0.0}
    assert nothing.inferences(1) == math.inf


def test_battery_and_co2() -> None:
    one = energy(RESNET, convention="paper")
    assert close(one.inferences(10), 36_000 / 639.0195e-6)
    assert close(one.grams_co2(1e9, 400), 639.0195e3 / 3.6e6 * 400)


def test_to_dict_is_json_with_units_stated() -> None:
    plain = json.loads(json.dumps(energy(RESNET).to_dict()))
    assert plain["counting"] == "1 MAC = multiply+add = 2 FLOPs"
    assert math.isclose(sum(plain["joules"].values()), plain["total"], rel_tol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 0}, "batch must be a whole number >= 1, got 0"),
        ({"batch": 1.5}, "batch"),
        ({"precision": "int7"}, r"Unknown precision 'int7'\. Did you mean 'int8'"),
        ({"scale": {"weights": 0.5}}, "Did you mean 'weight'"),
        ({"scale": {"mac": -1}}, "scale of mac"),
        ({"scale": {"mac": math.nan}}, "scale of mac"),
        ({"w_bits": 0}, "w_bits must be a number > 0"),
        ({"sparsity": 1.5}, "sparsity must lie in 0 to 1"),
        ({"weight_reuse": 0}, "weight_reuse"),
        ({"convention": "true"}, "Unknown convention 'true'"),
        ({"act": "cache"}, "Unknown activation placement 'cache'"),
        ({"hardware": "45nm"}, "Unknown hardware profile '45nm'"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        energy(RESNET, **options)


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        energy(RESNET, batch=0, precision="x", sparsity=-1)
    assert len(caught.value.problems) == 3


# --------------------------------------------------------------------------------------- sweeps


def test_a_sweep_equals_one_by_one() -> None:
    batch = np.array([[1], [4], [16]])
    factor = np.array([1.0, 0.5, 0.0625, 0.0])
    swept = sweep(RESNET, batch=batch, scale={"weight": factor}, act="paper", convention="paper")
    assert swept.total.shape == (3, 4)
    for i, b in enumerate((1, 4, 16)):
        for j, f in enumerate(factor):
            one = energy(RESNET, batch=b, scale={"weight": float(f)}, convention="paper")
            assert close(swept.total[i, j], one.total, 1e-12)
            assert bool(swept.compute_bound[i, j]) == (one.bound == "compute")
            assert close(swept.per_sample[i, j], one.per_sample, 1e-12)


def test_a_sweep_over_contexts_constants_and_bits() -> None:
    contexts = np.array([1, 512, 2048])
    swept = sweep(LLAMA, precision="fp16", context=contexts, act="none", batch=3)
    for total, c in zip(swept.total, contexts, strict=True):
        assert close(total, energy(LLAMA, batch=3, precision="fp16", context=int(c), act="none").total, 1e-12)
    paper = sweep(LLAMA, precision="fp16", context=[2048], convention="paper")
    assert close(paper.kv[0], 72e-3)
    other = sweep(RESNET, pj_per_bit=[4.5, 9.0], pj_per_mac=[0.23, 0.46], act="none")
    assert close(other.total[1], 2 * other.total[0], 1e-12)
    bits = sweep(LLAMA, precision="fp16", w_bits=[16, 4], kv_bits=[16, 8], act="none")
    assert (bits.weight[0] / bits.weight[1], bits.kv[0] / bits.kv[1]) == (4.0, 2.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": [1, 0]}, "batch must be finite and >= 1"),
        ({"scale": {"mac": [math.nan]}}, "scale of mac must be finite"),
        ({"scale": {"macs": 1}}, "'macs' is no part"),
        ({"context": 5}, "context needs a Decoder"),
        ({"batch": [1, 2], "pj_per_mac": [1, 2, 3]}, r"do not broadcast: batch \(2,\), pj_per_mac \(3,\)"),
        ({"batch": ["many"]}, "batch must be numbers"),
    ],
)
def test_bad_sweeps(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sweep(RESNET, **options)


def test_a_whole_answer_is_the_sum_of_its_tokens() -> None:
    made = generation(SMALL, prompt=100, tokens=5, batch=2)
    steps = sum(energy(SMALL, batch=2, precision="fp16", context=100 + i).total for i in range(1, 5))
    assert close(made["decode"], steps, 1e-9)
    assert close(made["total"], made["prefill"] + steps, 1e-9)
    assert close(made["per_token"], made["total"] / 10, 1e-12)
    # the cache's part grows with the square of the length
    kv = [generation(SMALL, 1, n + 1)["decode_kv"] for n in (100, 200, 400)]
    assert close(kv[2] / kv[1], 4, 0.02)
    assert close(float(decode_macs_kv(SMALL, 1)[1]) * 16 * 4.5e-12 * sum(range(2, 102)), kv[0], 1e-9)
    assert generation(SMALL, 10, 1)["decode"] == 0
    with pytest.raises(ConfigError, match="must be >= 1"):
        generation(SMALL, 0, 5)


def test_roofline() -> None:
    time = roofline(RESNET, bandwidth_gb_s=10, peak_gmac_s=100)
    assert close(time.moving, 11_689_512 / 10e9)
    assert close(time.computing, 1.814073344e9 / 100e9)
    assert (time.bound, time.seconds) == ("compute", time.computing)
    assert time.utilisation == 1.0
    token = roofline(LLAMA, precision="fp16")
    assert token.bound == "bandwidth"
    assert close(token.bytes, 6_658_404_352 * 2 + 2**30, 1e-6)
    with pytest.raises(ConfigError, match="needs peak_gmac_s > 0"):
        roofline(RESNET, peak_gmac_s=0)


def test_sensitivity_flags_what_flips() -> None:
    sure = sensitivity(LLAMA, precision="fp16", act="none")
    assert (sure.dominant, sure.flips) == ("weight", False)
    assert sure.probability == {"weight": 1.0, "mac": 0.0, "activation": 0.0, "kv": 0.0}
    assert sure.tornado[0].name == "memory"
    open_question = sensitivity(RESNET, act="none")  # B* = 1.009: a coin's edge
    assert open_question.flips
    assert 0.05 < open_question.probability["mac"] < 0.95
    assert math.isclose(sum(open_question.probability.values()), 1)
    low, middle, high = open_question.total
    assert low < middle < high
    assert sensitivity(RESNET, act="none") == open_question, "the same seed draws the same"
    narrow = sensitivity(RESNET, act="none", batch=8, ranges={"memory": (4.5, 4.5), "mac": (0.2, 0.3)})
    assert (narrow.dominant, narrow.flips) == ("mac", False)
    swing = {s.name: s for s in sensitivity(RESNET).tornado}
    assert swing.keys() == {"memory", "mac", "activation"}
    one = energy(RESNET)
    assert close(swing["mac"].total_high - one.total, one.mac * (0.5 / 0.23 - 1))
    with pytest.raises(ConfigError, match="No range 'dram'"):
        sensitivity(RESNET, ranges={"dram": (1, 2)})


# ------------------------------------------------------------------------------------- profiles


@pytest.mark.parametrize("name", hardware_names())
def test_shipped_profiles_have_sources_and_ranges(name: str) -> None:
    hardware = load_hardware(name)
    assert hardware.title
    assert hardware.node_nm > 0
    assert 2000 < hardware.year < 2030
    numbers = [hardware.dram.pj_per_bit, *(m.pj_per_bit for m in hardware.sram), *hardware.mac.values()]
    for number in numbers:
        assert number.low <= number.value <= number.high
        assert number.source
    assert energy(RESNET, hardware).total > 0
    assert roofline(RESNET, hardware).seconds > 0
    assert sensitivity(RESNET, hardware, draws=100).tornado


def test_the_default_profile_is_the_paper() -> None:
    hardware = load_hardware()
    assert hardware.name == "paper-45nm-lpddr5"
    assert hardware.dram.pj_per_bit.value == 4.5
    assert (hardware.mac_pj("int8"), hardware.mac_pj("fp16"), hardware.mac_pj("fp32")) == (0.23, 1.5, 4.6)
    assert [m.pj_per_bit.value * 64 for m in hardware.sram] == [10, 20, 100]
    assert "peak" in hardware.unchecked()


def test_in_memory_computing_saves_the_way_not_the_mac() -> None:
    cim, plain = (energy(RESNET, h, act="none") for h in ("in-memory", "paper-45nm-lpddr5"))
    assert cim.weight * 16 == pytest.approx(plain.weight)
    per_mac = 4 * 8 * (0.0049 + 1.67 / 128)
    assert close(cim.mac, 1_814_073_344 * per_mac * 1e-12)
    assert cim.mac > plain.mac, "the converters cost more than a digital 8-bit MAC"
    assert close(energy(RESNET, "in-memory", w_bits=2, a_bits=4).mac * 8, cim.mac)
    near = energy(RESNET, "near-memory", act="none")
    assert near.weight * 4 == plain.weight
    assert near.mac == plain.mac


def test_ones_own_profile(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('base = "paper-45nm-lpddr5"\ntitle = "Mine"\n[mac]\nint8 = { value = 0.1, source = "measured" }\n')
    mine = load_hardware(file)
    assert (mine.name, mine.title, mine.mac_pj("int8"), mine.mac_pj("fp16")) == ("mine", "Mine", 0.1, 1.5)
    assert energy(RESNET, str(file)).mac == pytest.approx(1_814_073_344 * 0.1e-12)


BROKEN = """
title = "broken"
node_nm = "small"
colour = "blue"
base = "something"
[dram]
pj_per_bit = { value = 4.5, low = 5, high = 8, source = "x" }
[mac]
int8 = { value = -1, source = "x" }
fp12 = 3
fp16 = { value = 1.0 }
"""


def test_a_broken_profile_lists_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text(BROKEN)
    with pytest.raises(ConfigError) as caught:
        load_hardware(file)
    text = str(caught.value)
    for words in (
        "Unknown entry 'colour'",
        "Unknown base 'something'",
        "node_nm must be a number > 0",
        "year must be",
        "dram.pj_per_bit: low <= value <= high",
        "mac.int8: value, low and high must be numbers >= 0",
        "Unknown precision 'fp12'",
        "mac.fp16 needs a source line",
    ):
        assert words in text
    assert all("broken.toml" in p for p in caught.value.problems)
    with pytest.raises(ConfigError, match="Can't read"):
        load_hardware(tmp_path / "absent.toml")


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_garbage_profiles_raise_nothing_but_our_own_errors(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "garbage.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load_hardware(file)


# ------------------------------------------------------------------------------------ the line


def test_the_line_of_a_model_card() -> None:
    line = joules_line(RESNET)
    assert line.startswith(
        "11,689,512 parameters, 1.81 GMAC (1 MAC = multiply+add = 2 FLOPs), 2.48 M activation elements, about 900 "
        "µJ per image (int8, batch 1, exact counts on paper-45nm-lpddr5: 4.5 pJ/bit, 0.23 pJ/MAC, activations in "
        "1 MB SRAM; weight 47%, mac 46%, activation 7%; a lower bound"
    )
    assert "per photo (fp16" in joules_line(RESNET, precision="fp16", unit="photo")
    odd = dataclasses.replace(RESNET, unknown=(Op("my.Warp", 1, 1, 1, "x"),))
    assert "without my.Warp" in joules_line(odd)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.814e9, "1.81 G"),
        (848.9e-6, "849 µ"),
        (0, "0 "),
        (999.7, "1 k"),
        (12, "12 "),
        (3e-15, "3 f"),
        (2.5e-13, "250 f"),
    ],
)
def test_si(value: float, text: str) -> None:
    assert si(value) == text


def test_the_package_names_are_functions_after_their_modules_are_loaded() -> None:
    for name in ("sweep", "energy", "regime", "roofline", "sensitivity", "generation"):
        getattr(profile, name)
        assert callable(getattr(profile, name)), f"a module must not hide the function {name}"
