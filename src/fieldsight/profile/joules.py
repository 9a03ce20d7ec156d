"""Joules of a network's inference from its counts and a technology profile.

For B samples (images, or sequences that decode one token each):

    E(B) = s_w E_w + B (s_m E_m + s_a E_a + s_k E_k)          (R1)
    E_w = N b e_mem                weights, fetched once a batch   (R2)
    E_m = MACs e_mac                                               (R3)
    E_k = n_kv b e_mem             KV cache read per new token     (R4)
    E_a = 2 elements b e_level     activations written and read
    compute-bound  <=>  B E_m > E_w + B E_k                        (R8)
    B* = E_w / E_m                                                 (R9)

These are lower bounds by construction: static power, interconnect, control and instructions are left out, and real
devices take 10 to 100 times as much. ``fieldsight energy calibrate`` fits the constants to measurements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fieldsight.errors import ConfigError, unknown
from fieldsight.profile.counts import CONVENTION, Counts
from fieldsight.profile.hardware import BITS, DEFAULT, Hardware, load_hardware
from fieldsight.profile.transformer import Decoder, Phase, count_decoder

Convention = Literal["exact", "paper"]
Act = Literal["auto", "sram", "dram", "none", "paper"]
Array = npt.NDArray[np.float64]

PARTS = ("weight", "mac", "activation", "kv")
_PJ = 1e-12


@dataclass(frozen=True)
class Workload:
    """What one sample asks of the hardware, after the convention has been applied.

    Attributes:
        name: of the network.
        unit: what a sample is.
        weights: ``(elements, share)`` pairs: parameters by the part of them that one sample touches.
        lookup: ``(table, rows)`` elements of each embedding charged by row: fetched is the lesser of table and B rows.
        macs, kv, activations: per sample.
        largest: activation elements that the largest operator reads and writes.
        act_joules: the paper's constant in place of the count, or None.
    """

    name: str
    unit: str
    weights: tuple[tuple[float, float], ...]
    lookup: tuple[tuple[float, float], ...]
    macs: float
    kv: float
    activations: float
    largest: float
    act_joules: float | None = None

    @property
    def params(self) -> float:
        """All stored parameters."""
        return sum(n for n, _ in (*self.weights, *self.lookup))

    def fetched(self, batch: Any) -> Any:
        """Expected parameters fetched for a batch: with experts, those that any of the samples is sent to."""
        dense = sum(n for n, share in self.weights if share >= 1)
        routed = sum(n * (1 - (1 - share) ** batch) for n, share in self.weights if share < 1)
        return dense + routed + sum(np.minimum(table, batch * rows) for table, rows in self.lookup)


@dataclass(frozen=True)
class Costs:
    """Energies in pJ for one workload on one profile: per weight, KV and activation bit and per MAC; bit widths."""

    weight_bit: float
    kv_bit: float
    act_bit: float
    mac: float
    w_bits: float
    a_bits: float
    kv_bits: float
    act_level: str


@dataclass(frozen=True)
class Energy:
    """Joules of one batch by part, and what follows from them.

    Attributes:
        name, hardware, convention, precision, unit: what was computed.
        batch: samples in the batch.
        weight, mac, activation, kv: J per batch.
        params, macs: per sample, as charged.
        threshold: FLOPs per parameter above which computing costs more than weights (R8).
        crossover: batch at which MACs cost as much as weights (R9); inf without MACs.
        act_level: where activations were charged.
        held: samples that share a fetch of the weights.
        rates: J per weight fetched, per MAC, per activation written (and read), per cached value read; after scaling.
        notes: what a reader must know.
    """

    name: str
    hardware: str
    convention: str
    precision: str
    unit: str
    batch: int
    weight: float
    mac: float
    activation: float
    kv: float
    params: float
    macs: float
    threshold: float
    crossover: float
    act_level: str
    held: int = 1
    rates: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())

    @property
    def total(self) -> float:
        """J per batch."""
        return self.weight + self.mac + self.activation + self.kv

    @property
    def per_sample(self) -> float:
        """J per sample."""
        return self.total / self.batch

    @property
    def parts(self) -> dict[str, float]:
        """J per batch by part."""
        return {part: float(getattr(self, part)) for part in PARTS}

    @property
    def shares(self) -> dict[str, float]:
        """Parts of the total; zeros when there is no energy at all."""
        return {k: v / self.total if self.total else 0.0 for k, v in self.parts.items()}

    @property
    def dominant(self) -> str:
        """The largest part."""
        return max(self.parts, key=lambda part: self.parts[part])

    @property
    def bound(self) -> Literal["memory", "compute"]:
        """``compute`` where MACs cost more than weights and KV cache together (R8)."""
        return "compute" if self.mac > self.weight + self.kv else "memory"

    @property
    def intensity(self) -> float:
        """FLOPs per parameter at this batch (R7)."""
        return 2 * self.macs * self.batch / self.params if self.params else math.inf

    def inferences(self, watt_hours: float) -> float:
        """Samples that a battery of that capacity pays for."""
        return watt_hours * 3600 / self.per_sample if self.per_sample else math.inf

    def grams_co2(self, samples: float, grams_per_kwh: float) -> float:
        """Grams of CO2 for that many samples at a grid's intensity."""
        return samples * self.per_sample / 3.6e6 * grams_per_kwh

    def to_dict(self) -> dict[str, Any]:
        """Plain values in J, ready for JSON."""
        return {
            "name": self.name, "hardware": self.hardware, "convention": self.convention, "precision": self.precision,
            "unit": self.unit, "batch": self.batch, "counting": CONVENTION, "joules": self.parts, "total": self.total,
            "per_sample": self.per_sample, "shares": self.shares, "bound": self.bound, "dominant": self.dominant,
            "intensity": self.intensity, "threshold": self.threshold, "crossover": self.crossover,
            "act_level": self.act_level, "params": self.params, "macs": self.macs, "notes": list(self.notes),
        }  # fmt: skip


def energy(
    counts: Counts | Decoder,
    hardware: str | Hardware = DEFAULT,
    batch: int = 1,
    *,
    convention: Convention = "exact",
    precision: str = "int8",
    w_bits: float | None = None,
    a_bits: float | None = None,
    kv_bits: float | None = None,
    scale: Mapping[str, float] | None = None,
    act: Act | None = None,
    weight_reuse: int | None = None,
    embedding: Literal["full", "rows"] = "full",
    sparsity: float = 0.0,
    phase: Phase = "decode",
    context: int | None = None,
) -> Energy:
    """Energy of one batch.

    Args:
        counts: counts of a pass, or a :class:`Decoder` that is counted at ``phase`` and ``context`` first.
        hardware: profile or its name.
        batch: samples, or sequences that decode one token each.
        convention: ``exact`` charges true counts; ``paper`` what the paper charges (see :func:`workload`).
        precision: number format of the MACs; sets the bit widths that are not given.
        w_bits, a_bits, kv_bits: bits of a weight, activation and cached value.
        scale: factors on parts: ``{"weight": 1/16}``; 0 is the ideal limit.
        act: where activations go: ``auto`` (the smallest on-chip level that holds the largest operator's input and
            output, else DRAM), ``sram``, ``dram``, ``none``, or ``paper`` (its back-solved constant). By default
            ``auto``, and ``paper`` under the paper's convention.
        weight_reuse: samples that share one fetch of the weights; by default the whole batch, which supposes that a
            batch streams through layer by layer.
        embedding: ``full`` charges lookup tables like other weights (R2); ``rows`` only the rows read.
        sparsity: part of weights and MACs that is skipped, 0 to 1.
        phase, context: only with a :class:`Decoder`.

    Raises:
        ConfigError: every argument out of range at once; an activation constant that the paper does not give.
    """
    profile = load_hardware(hardware)
    problems = _check(batch, scale, weight_reuse, sparsity, precision, {"w": w_bits, "a": a_bits, "kv": kv_bits})
    if problems:
        raise ConfigError(problems)
    if isinstance(counts, Decoder):
        counts = count_decoder(counts, context, phase)
    work, notes = workload(counts, convention, embedding)
    place, more = placement(work, convention, act)
    bill = costs(work, profile, precision, w_bits, a_bits, kv_bits, place)
    held = min(batch, weight_reuse or batch)
    if place == "auto" and bill.act_level != profile.dram.name and held > 1:
        more = (*more, *_spill(work, bill, profile, held))
    kept, factors = 1 - sparsity, {**dict.fromkeys(PARTS, 1.0), **(scale or {})}
    one = {k: float(v) for k, v in bill_parts(work, bill, 1, place).items()}
    fetch = float(bill_parts(work, bill, held, place)["weight"]) * math.ceil(batch / held)
    weight, mac = (one[k] * kept * factors[k] for k in ("weight", "mac"))
    rates = _rates(bill, one["activation"] / work.activations if work.activations else 0.0, kept, factors)
    return Energy(
        name=work.name,
        hardware=profile.name,
        convention=convention,
        precision=precision,
        unit=work.unit,
        batch=batch,
        weight=fetch * kept * factors["weight"],
        mac=batch * mac,
        activation=batch * one["activation"] * factors["activation"],
        kv=batch * one["kv"] * factors["kv"],
        params=work.params,
        macs=work.macs,
        threshold=2 * rates["weight"] / rates["mac"] if rates["mac"] else math.inf,
        crossover=weight / mac if mac else math.inf,
        act_level=bill.act_level,
        held=held,
        rates=rates,
        notes=(*notes, *more, *(counts.warnings() if counts.unknown else ())),
    )


def _rates(bill: Costs, activation: float, kept: float, factors: Mapping[str, float]) -> dict[str, float]:
    return {
        "weight": bill.w_bits * bill.weight_bit * _PJ * kept * factors["weight"],
        "mac": bill.mac * _PJ * kept * factors["mac"],
        "activation": activation * factors["activation"],
        "kv": bill.kv_bits * bill.kv_bit * _PJ * factors["kv"],
    }


def by_layer(counts: Counts, one: Energy, embedding: Literal["full", "rows"] = "full") -> tuple[dict[str, float], ...]:
    """The exact energy of a batch by layer and part in J, in the order of ``counts.layers``; the sums are the totals.

    Args:
        counts: what ``one`` was computed from.
        one: from :func:`energy` with the exact convention.
        embedding: as there.

    Raises:
        ConfigError: another convention, whose rounded numbers belong to no layer.
    """
    if one.convention != "exact":
        raise ConfigError(f"Only exact counts have layers; the convention '{one.convention}' has totals.")
    n, fetches = max(counts.samples, 1), math.ceil(one.batch / one.held)
    found = []
    for x in counts.layers:
        share = 1 - (1 - x.share) ** one.held if x.share < 1 else 1.0
        fetched = x.params * share
        if embedding == "rows" and x.kind == "embedding" and not x.macs:
            fetched = min(float(x.params), one.held * min(x.outputs, x.params) / n)
        found.append(
            {
                "weight": fetched * fetches * one.rates["weight"],
                "mac": one.batch * x.macs / n * one.rates["mac"],
                "activation": one.batch * x.outputs / n * one.rates["activation"] if x.macs else 0.0,
                "kv": one.batch * x.kv / n * one.rates["kv"],
            }
        )
    return tuple(found)


def placement(work: Workload, convention: Convention, act: Act | None) -> tuple[Act, tuple[str, ...]]:
    """Where activations are charged when nothing, or the paper's constant, is asked for.

    Raises:
        ConfigError: the paper's constant is asked for and there is none.
    """
    place: Act = act or ("paper" if convention == "paper" else "auto")
    if place != "paper" or work.act_joules is not None:
        return place, ()
    if act == "paper":
        raise ConfigError(f"The paper gives no activation energy for '{work.name}'. Use auto, sram, dram or none.")
    return "none", ("No activation energy: the paper gives none for this network.",)


def workload(
    counts: Counts, convention: Convention = "exact", embedding: Literal["full", "rows"] = "full"
) -> tuple[Workload, tuple[str, ...]]:
    """Counts per sample under a convention, and what was assumed, in words.

    The paper's rules where it gives no number: a CNN's MACs are halved (they are taken for FLOPs and divided by
    two); a decoder's FLOPs have one V d instead of two and are divided by 2^30 for 10^9; n_kv is 10^9 / 2^29 of (R12).
    """
    n = max(counts.samples, 1)
    tables = [x for x in counts.layers if x.kind == "embedding" and not x.macs] if embedding == "rows" else []
    by_share: dict[float, float] = {}
    for layer in counts.layers:
        if layer not in tables:
            by_share[layer.share] = by_share.get(layer.share, 0.0) + layer.params
    lookup = tuple((float(x.params), min(x.outputs, x.params) / n) for x in tables)
    macs, kv = counts.macs / n, counts.kv / n
    notes: tuple[str, ...] = ()
    act = counts.paper.act_joules if counts.paper else None
    if convention == "paper":
        if counts.paper is not None:
            by_share, lookup = {1.0: counts.paper.params}, ()
            macs, kv = counts.paper.macs, counts.paper.kv
        else:
            head = sum(x.macs for x in counts.layers if x.name == "head") / n
            macs = (macs - head / 2) * 1e9 / 2**30 if kv else macs / 2
            kv = kv * 1e9 / 2**29
            notes = ("The paper reports no energy of this network; its rules are applied as recovered.",)
    elif convention != "exact":
        raise ConfigError(unknown("convention", str(convention), ("exact", "paper")))
    pairs = tuple((elements, share) for share, elements in by_share.items())
    return (
        Workload(counts.name, counts.unit, pairs, lookup, macs, kv, counts.activations / n,
                 counts.largest_activation / n, act),
        notes,
    )  # fmt: skip


def costs(
    work: Workload,
    profile: Hardware,
    precision: str = "int8",
    w_bits: float | None = None,
    a_bits: float | None = None,
    kv_bits: float | None = None,
    act: Act = "auto",
) -> Costs:
    """Resolve a profile for a workload: which bit widths, and which memory level holds the activations.

    Raises:
        ConfigError: unknown precision or activation placement.
    """
    bits = BITS.get(precision)
    if bits is None:
        raise ConfigError(unknown("precision", precision, BITS))
    w, a, kv = (given if given is not None else bits for given in (w_bits, a_bits, kv_bits))
    dram = profile.dram.pj_per_bit.value
    level = None
    if act in ("auto", "sram"):
        level = profile.level(work.largest * a / 8)
        if level is None and act == "sram" and profile.sram:
            level = profile.sram[-1]
    elif act not in ("dram", "none", "paper"):
        raise ConfigError(unknown("activation placement", str(act), ("auto", "sram", "dram", "none", "paper")))
    where = {"none": "none", "paper": "the paper's constant"}.get(act) or (level.name if level else profile.dram.name)
    return Costs(
        weight_bit=dram * profile.weight_factor.value,
        kv_bit=dram,
        act_bit=level.pj_per_bit.value if level else dram,
        mac=profile.mac_pj(precision, w, a),
        w_bits=w,
        a_bits=a,
        kv_bits=kv,
        act_level=where,
    )


def bill_parts(work: Workload, bill: Costs, batch: Any, act: Act) -> dict[str, Any]:
    """The four parts of (R1) in J for a batch, or arrays of batches."""
    activation = 2 * work.activations * bill.a_bits * bill.act_bit * _PJ
    if act == "paper":
        activation = work.act_joules or 0.0
    elif act == "none":
        activation = 0.0
    return {
        "weight": work.fetched(batch) * bill.w_bits * bill.weight_bit * _PJ,
        "mac": batch * (work.macs * bill.mac * _PJ),
        "activation": batch * activation,
        "kv": batch * (work.kv * bill.kv_bits * bill.kv_bit * _PJ),
    }


def joules_line(counts: Counts, hardware: str | Hardware = DEFAULT, precision: str = "int8", unit: str = "") -> str:
    """The energy line of a model card: counts, joules a sample, and what they rest on.

    Args:
        counts: counts of the network's forward.
        hardware: profile or its name.
        precision: number format supposed.
        unit: what a sample is, by default as the counts say.
    """
    one = energy(counts, hardware, precision=precision)
    profile, n = load_hardware(hardware), max(counts.samples, 1)
    shares = ", ".join(f"{k} {v:.0%}" for k, v in one.shares.items() if v >= 0.005)
    text = (
        f"{counts.params:,} parameters, {si(counts.macs / n)}MAC ({CONVENTION}), "
        f"{si(counts.activations / n).strip()} activation elements, about {si(one.per_sample)}J "
        f"per {unit or counts.unit} "
        f"({precision}, batch 1, exact counts on {profile.name}: {profile.dram.pj_per_bit.value:g} pJ/bit, "
        f"{profile.mac_pj(precision):g} pJ/MAC, activations in {one.act_level}; {shares}; a lower bound, devices take "
        "10 to 100 times as much)"
    )
    if counts.unknown:
        text += f"; without {', '.join(op.kind for op in counts.unknown)}, which nobody knows how to count"
    return text


def si(value: float) -> str:
    """Three digits with the SI prefix: ``1.81 G``, ``849 µ``, ``0 ``."""
    if not value or not math.isfinite(value):
        return f"{value:g} "
    power = max(-5, min(5, math.floor(math.log10(abs(value)) / 3 + 1e-12)))
    scaled = value / 10 ** (3 * power)
    if abs(float(f"{scaled:.3g}")) >= 1000 and power < 5:
        power, scaled = power + 1, scaled / 1000
    return f"{float(f'{scaled:.3g}'):g} {'fpnµm kMGTP'[power + 5].strip()}"


def _check(
    batch: Any,
    scale: Mapping[str, Any] | None,
    reuse: Any,
    sparsity: float,
    precision: str,
    bits: Mapping[str, float | None],
) -> list[str]:
    problems = []
    if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1:
        problems.append(f"batch must be a whole number >= 1, got {batch!r}")
    if reuse is not None and (isinstance(reuse, bool) or not isinstance(reuse, int) or reuse < 1):
        problems.append(f"weight_reuse must be a whole number >= 1, got {reuse!r}")
    for key, value in (scale or {}).items():
        if key not in PARTS:
            problems.append(unknown("part to scale", str(key), PARTS))
        elif not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            problems.append(f"scale of {key} must be a number >= 0, got {value!r}")
    if not 0 <= sparsity <= 1:
        problems.append(f"sparsity must lie in 0 to 1, got {sparsity!r}")
    if precision not in BITS:
        problems.append(unknown("precision", precision, BITS))
    problems += [f"{k}_bits must be a number > 0, got {v!r}" for k, v in bits.items() if v is not None and not v > 0]
    return problems


def _spill(work: Workload, bill: Costs, profile: Hardware, held: int) -> tuple[str, ...]:
    needed = work.largest * bill.a_bits / 8 * held
    if profile.level(needed) is not None:
        return ()
    return (
        f"With {held} samples at once the largest layer's activations take {needed / 1e6:.1f} MB, more than any "
        "on-chip level: fetching weights once a batch would spill them to DRAM (act='dram'), or take weight_reuse.",
    )
