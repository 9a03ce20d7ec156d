"""Many energies at once: sweeps over arrays, regimes and crossovers, roofline times, whole generations, sensitivity."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fieldsight.errors import ConfigError
from fieldsight.profile.counts import Counts
from fieldsight.profile.hardware import DEFAULT, Hardware, Number, load_hardware
from fieldsight.profile.joules import (
    PARTS,
    Act,
    Array,
    Convention,
    Costs,
    Workload,
    bill_parts,
    costs,
    energy,
    placement,
    workload,
)
from fieldsight.profile.transformer import Decoder, count_decoder, decode_macs_kv

_PJ = 1e-12


@dataclass(frozen=True)
class Sweep:
    """Joules per batch of every point, by part; arrays of one shape."""

    weight: Array
    mac: Array
    activation: Array
    kv: Array
    batch: Array

    @property
    def total(self) -> Array:
        """J per batch."""
        return self.weight + self.mac + self.activation + self.kv

    @property
    def per_sample(self) -> Array:
        """J per sample."""
        return self.total / self.batch

    @property
    def compute_bound(self) -> npt.NDArray[np.bool_]:
        """Where MACs cost more than weights and KV cache together (R8)."""
        return self.mac > self.weight + self.kv


def sweep(
    counts: Counts | Decoder,
    hardware: str | Hardware = DEFAULT,
    *,
    batch: npt.ArrayLike = 1,
    scale: Mapping[str, npt.ArrayLike] | None = None,
    context: npt.ArrayLike | None = None,
    pj_per_bit: npt.ArrayLike | None = None,
    pj_per_mac: npt.ArrayLike | None = None,
    w_bits: npt.ArrayLike | None = None,
    kv_bits: npt.ArrayLike | None = None,
    a_bits: float | None = None,
    precision: str = "int8",
    convention: Convention = "exact",
    act: Act | None = None,
) -> Sweep:
    """Energies of (R1) at every point; the arguments broadcast against each other as numpy arrays do.

    Args:
        counts: counts, or a :class:`Decoder` (decoding) whose ``context`` may then be an array.
        hardware: profile or its name, for what the arrays do not say.
        batch: samples, > 0.
        scale: factors >= 0 by part.
        context: tokens attended to, only with a :class:`Decoder`.
        pj_per_bit: energy of a weight and KV bit.
        pj_per_mac: energy of a MAC.
        w_bits, kv_bits: bits of a weight and of a cached value.
        a_bits: bits of an activation, one number.
        precision, convention, act: as in :func:`~fieldsight.profile.joules.energy`.

    Raises:
        ConfigError: an unknown part, a value that is not finite or out of range; shapes that do not broadcast.
    """
    base, work, bill, place = _resolved(counts, load_hardware(hardware), precision, convention, act, a_bits=a_bits)
    factors = {part: (scale or {}).get(part, 1.0) for part in PARTS}
    given = {
        "batch": batch,
        **{f"scale of {k}": v for k, v in factors.items()},
        "context": 1.0 if context is None else context,
        "pj_per_bit": bill.kv_bit if pj_per_bit is None else pj_per_bit,
        "pj_per_mac": bill.mac if pj_per_mac is None else pj_per_mac,
        "w_bits": bill.w_bits if w_bits is None else w_bits,
        "kv_bits": bill.kv_bits if kv_bits is None else kv_bits,
    }
    arrays = _arrays(given, set(scale or ()) - set(PARTS), context is not None and not isinstance(counts, Decoder))
    at, bits, e_mac = arrays["batch"], arrays["pj_per_bit"], arrays["pj_per_mac"]
    macs: Any = work.macs
    kv: Any = work.kv
    if context is not None and isinstance(base, Decoder):
        macs, kv = decode_macs_kv(base, arrays["context"])
        if convention == "paper":
            head = base.vocab * (base.embed or base.d)
            macs, kv = (macs - head / 2) * 1e9 / 2**30, kv * 1e9 / 2**29
    ratio = bill.weight_bit / bill.kv_bit if bill.kv_bit else 0.0
    parts = {
        "weight": work.fetched(at) * (arrays["w_bits"] * bits * (ratio * _PJ)),
        "mac": (at * _PJ) * macs * e_mac,
        "activation": np.asarray(bill_parts(work, bill, at, place)["activation"]),
        "kv": (at * _PJ) * kv * arrays["kv_bits"] * bits,
    }
    shape = np.broadcast_shapes(*(a.shape for a in arrays.values()))
    scaled = {k: np.broadcast_to(v * arrays[f"scale of {k}"], shape) for k, v in parts.items()}
    return Sweep(**scaled, batch=np.broadcast_to(at, shape))


def _arrays(given: Mapping[str, Any], strange: set[str], lonely_context: bool) -> dict[str, Array]:
    problems = [f"'{part}' is no part of the energy: {', '.join(PARTS)}." for part in sorted(strange)]
    if lonely_context:
        problems.append("context needs a Decoder; counts are of one context already.")
    arrays: dict[str, Array] = {}
    for key, value in given.items():
        try:
            arrays[key] = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            problems.append(f"{key} must be numbers, got {value!r}")
            continue
        least = 1.0 if key in ("batch", "context") else 0.0
        if arrays[key].size and not (np.isfinite(arrays[key]).all() and arrays[key].min() >= least):
            problems.append(f"{key} must be finite and >= {least:g}")
    try:
        np.broadcast_shapes(*(a.shape for a in arrays.values()))
    except ValueError:
        problems.append(
            "The arrays do not broadcast: " + ", ".join(f"{k} {a.shape}" for k, a in arrays.items() if a.ndim)
        )
    if problems:
        raise ConfigError(problems)
    return arrays


def _resolved(
    counts: Counts | Decoder,
    profile: Hardware,
    precision: str,
    convention: Convention,
    act: Act | None,
    **bits: Any,
) -> tuple[Counts | Decoder, Workload, Costs, Act]:
    work, _ = workload(count_decoder(counts) if isinstance(counts, Decoder) else counts, convention)
    place, _ = placement(work, convention, act)
    return counts, work, costs(work, profile, precision, act=place, **bits), place


# ---------------------------------------------------------------------------------------------- regimes


@dataclass(frozen=True)
class Regime:
    """Where one part overtakes another; inf where it never does.

    Attributes:
        bound: memory or compute at batch 1.
        threshold: FLOPs per parameter from which computing costs more than weights (R8).
        intensity: FLOPs per parameter at batch 1 (R7).
        mac_equals_weight: batch B* (R9); for a prompt in one pass the same number of tokens.
        kv_equals_weight: batch at which the KV cache costs as much as the weights.
        compute_bound_from: least batch at which MACs cost more than weights and KV cache together.
        break_even_context: tokens at which the KV cache costs as much as the weights at batch 1.
        kv_per_context_token: J per token of context, sequence and decoded token.
    """

    bound: Literal["memory", "compute"]
    threshold: float
    intensity: float
    mac_equals_weight: float
    kv_equals_weight: float
    compute_bound_from: float
    break_even_context: float
    kv_per_context_token: float


def regime(
    counts: Counts | Decoder, hardware: str | Hardware = DEFAULT, *, decoder: Decoder | None = None, **terms: Any
) -> Regime:
    """Bound class, crossovers and break-even context (R7 to R9).

    Args:
        counts: counts, or a :class:`Decoder` at its longest context.
        hardware: profile or its name.
        decoder: the shape behind the counts; only with it is there a break-even context.
        terms: precision, convention, bits, scale and the rest of :func:`~fieldsight.profile.joules.energy` but the
            batch.
    """
    one = energy(counts, hardware, 1, **{**terms, "act": "none"})
    weight, mac, kv = one.weight, one.mac, one.kv
    shape = counts if isinstance(counts, Decoder) else decoder
    each, even = 0.0, math.inf
    if shape is not None:
        joules = one.rates["kv"] * (1e9 / 2**29 if one.convention == "paper" else 1.0)
        each = float(decode_macs_kv(shape, 1)[1]) * joules
        even = _break_even(shape, weight, joules) if joules else math.inf
    return Regime(
        bound=one.bound,
        threshold=one.threshold,
        intensity=one.intensity,
        mac_equals_weight=one.crossover,
        kv_equals_weight=weight / kv if kv else math.inf,
        compute_bound_from=weight / (mac - kv) if mac > kv else math.inf,
        break_even_context=even,
        kv_per_context_token=each,
    )


def _break_even(model: Decoder, weight: float, joules: float) -> float:
    """Context at which the cache costs ``weight`` J: linear between the windows' ends, so solved on two points."""

    def cost(context: float) -> float:
        return float(decode_macs_kv(model, context)[1]) * joules

    edge = float(model.window or 1)
    if cost(edge) >= weight:
        return weight / cost(edge) * edge
    slope = cost(edge + 1) - cost(edge)
    return edge + (weight - cost(edge)) / slope if slope > 0 else math.inf


# --------------------------------------------------------------------------------------------- roofline


@dataclass(frozen=True)
class Time:
    """A roofline estimate of one batch: seconds, what limits it, and the two times it is the larger of."""

    seconds: float
    bound: Literal["bandwidth", "compute"]
    moving: float
    computing: float
    bytes: float

    @property
    def utilisation(self) -> float:
        """Part of the peak MAC rate that is used."""
        return self.computing / self.seconds if self.seconds else 0.0


def roofline(
    counts: Counts | Decoder,
    hardware: str | Hardware = DEFAULT,
    batch: int = 1,
    *,
    precision: str = "int8",
    bandwidth_gb_s: float | None = None,
    peak_gmac_s: float | None = None,
    **bits: Any,
) -> Time:
    """Time of one batch as the larger of moving its DRAM bytes and computing its MACs.

    Args:
        counts, hardware, batch, precision: as in :func:`~fieldsight.profile.joules.energy`.
        bandwidth_gb_s, peak_gmac_s: in place of the profile's.
        bits: ``w_bits``, ``a_bits``, ``kv_bits``.

    Raises:
        ConfigError: neither the profile nor the arguments give both rates.
    """
    profile = load_hardware(hardware)
    rates = []
    for given, known, what in (
        (bandwidth_gb_s, profile.bandwidth, "bandwidth_gb_s"),
        (peak_gmac_s, profile.peak, "peak_gmac_s"),
    ):
        rate = given if given is not None else known.value if known else None
        if rate is None or not rate > 0:
            raise ConfigError(f"A roofline on '{profile.name}' needs {what} > 0, got {rate}.")
        rates.append(rate)
    _, work, bill, _ = _resolved(counts, profile, precision, "exact", "auto", **bits)
    moved = float(work.fetched(batch)) * bill.w_bits * profile.weight_factor.value + batch * work.kv * bill.kv_bits
    if bill.act_level == profile.dram.name:
        moved += batch * 2 * work.activations * bill.a_bits
    moving, computing = moved / 8 / (rates[0] * 1e9), batch * work.macs / (rates[1] * 1e9)
    return Time(max(moving, computing), "compute" if computing > moving else "bandwidth", moving, computing, moved / 8)


# -------------------------------------------------------------------------------------- whole sequences


def generation(
    model: Decoder,
    prompt: int,
    tokens: int,
    hardware: str | Hardware = DEFAULT,
    *,
    batch: int = 1,
    precision: str = "fp16",
    attention: Literal["dense", "causal"] = "causal",
    **bits: Any,
) -> dict[str, float]:
    """Joules of a whole answer: one pass over the prompt, then token by token.

    The cache read by a token is linear in its context, so that of a whole answer grows with the square of its length.

    Args:
        model: the shape.
        prompt: tokens of the prompt, >= 1.
        tokens: new tokens, >= 1; the first comes out of the prompt's pass.
        hardware, precision: as in :func:`~fieldsight.profile.joules.energy`.
        batch: sequences in parallel.
        attention: pairs of tokens counted in the prompt's pass.
        bits: ``w_bits``, ``a_bits``, ``kv_bits``.

    Returns:
        ``prefill``, ``decode``, ``total`` and ``per_token`` in J for the batch, and ``decode_<part>``.

    Raises:
        ConfigError: lengths or batch below 1.
    """
    if min(prompt, tokens, batch) < 1:
        raise ConfigError(f"prompt, tokens and batch must be >= 1, got {prompt}, {tokens} and {batch}.")
    first = count_decoder(model, prompt, "prefill", attention=attention, logits="last")
    begin = energy(first, hardware, batch, precision=precision, **bits).total
    steps = sweep(model, hardware, batch=batch, context=prompt + np.arange(1, tokens), precision=precision, **bits)
    parts = {f"decode_{part}": float(getattr(steps, part).sum()) for part in PARTS}
    decode = sum(parts.values())
    total = begin + decode
    return {"prefill": begin, "decode": decode, "total": total, "per_token": total / (batch * tokens), **parts}


# ------------------------------------------------------------------------------------------ sensitivity


@dataclass(frozen=True)
class Swing:
    """What one constant's range does to the total: J at its low and its high end."""

    name: str
    low: float
    high: float
    total_low: float
    total_high: float


@dataclass(frozen=True)
class Sensitivity:
    """What is left of a conclusion when the constants move through their ranges.

    Attributes:
        dominant: the largest part at the nominal constants.
        probability: how often each part is the largest when all constants are drawn evenly from their ranges.
        flips: True when some corner of the ranges has another largest part.
        total: 5 %, 50 % and 95 % quantiles of the total in J.
        tornado: swings of single constants, the widest first.
    """

    dominant: str
    probability: dict[str, float]
    flips: bool
    total: tuple[float, float, float]
    tornado: tuple[Swing, ...]


def sensitivity(
    counts: Counts | Decoder,
    hardware: str | Hardware = DEFAULT,
    batch: int = 1,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    **terms: Any,
) -> Sensitivity:
    """Tornado and Monte-Carlo over the profile's ranges.

    Args:
        counts, hardware, batch: as in :func:`~fieldsight.profile.joules.energy`.
        ranges: other ranges for ``memory`` (pJ/bit), ``mac`` (pJ) and ``activation`` (pJ/bit).
        draws: Monte-Carlo samples.
        seed: of the draws.
        terms: precision, convention, bits, scale and the rest of :func:`~fieldsight.profile.joules.energy`.

    Raises:
        ConfigError: an unknown or empty range.
    """
    profile = load_hardware(hardware)
    one = energy(counts, profile, batch, **terms)
    nominal = {"memory": profile.dram.pj_per_bit.value, "mac": profile.mac_pj(one.precision, *_mac_bits(terms))}
    known = {"memory": _span(profile.dram.pj_per_bit), "mac": _mac_span(profile, one.precision, nominal["mac"])}
    level = next((m.pj_per_bit for m in profile.sram if m.name == one.act_level), None)
    if level is not None:
        known["activation"], nominal["activation"] = _span(level), level.value
    for key, (low, high) in (ranges or {}).items():
        if key not in known or not 0 <= low <= high:
            raise ConfigError(f"No range '{key}' from {low} to {high}: {', '.join(known)} have one, low <= high.")
        known[key] = (low, high)
    base = {k: np.asarray(v, dtype=np.float64) for k, v in one.parts.items()}
    spilled = "activation" if level is not None else "memory" if one.act_level == profile.dram.name else None

    def at(**values: Any) -> dict[str, Any]:
        """Every part is proportional to its constant."""
        ratio = {k: values.get(k, nominal[k]) / nominal[k] if nominal[k] else 1.0 for k in nominal}
        return {
            "weight": base["weight"] * ratio["memory"],
            "mac": base["mac"] * ratio["mac"],
            "activation": base["activation"] * (ratio[spilled] if spilled else 1.0),
            "kv": base["kv"] * ratio["memory"],
        }

    rng = np.random.default_rng(seed)
    drawn = at(**{k: rng.uniform(low, high, draws) for k, (low, high) in known.items()})
    stack = np.stack([np.broadcast_to(drawn[p], draws) for p in PARTS])
    winners = np.bincount(stack.argmax(axis=0), minlength=len(PARTS)) / draws
    corners = [at(**dict(zip(known, ends, strict=True))) for ends in itertools.product(*known.values())]
    best = max(PARTS, key=lambda p: float(base[p]))
    tops = {max(PARTS, key=lambda p: float(c[p])) for c in corners}
    swings = [
        Swing(k, low, high, *(sum(float(v) for v in at(**{k: end}).values()) for end in (low, high)))
        for k, (low, high) in known.items()
    ]
    quantiles = np.quantile(stack.sum(axis=0), [0.05, 0.5, 0.95])
    return Sensitivity(
        dominant=best,
        probability=dict(zip(PARTS, map(float, winners), strict=True)),
        flips=tops != {best},
        total=(float(quantiles[0]), float(quantiles[1]), float(quantiles[2])),
        tornado=tuple(sorted(swings, key=lambda s: -abs(s.total_high - s.total_low))),
    )


def _mac_bits(terms: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return terms.get("w_bits"), terms.get("a_bits")


def _span(number: Number) -> tuple[float, float]:
    return number.low, number.high


def _mac_span(profile: Hardware, precision: str, nominal: float) -> tuple[float, float]:
    if profile.in_memory is None:
        return _span(profile.mac[precision])
    cell, adc, rows = profile.in_memory.cell_pj, profile.in_memory.adc_pj, profile.in_memory.rows
    one = cell.value + adc.value / rows
    ends: Sequence[float] = (cell.low + adc.low / rows, cell.high + adc.high / rows)
    return nominal * ends[0] / one, nominal * ends[1] / one
