"""From a network and settings to an estimate: both conventions, layers, regime, time, sensitivity, battery."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from fieldsight.errors import ConfigError, DataError
from fieldsight.predictions import Table
from fieldsight.profile.counts import CONVENTION
from fieldsight.profile.hardware import BITS, Hardware, load_hardware
from fieldsight.profile.joules import PARTS, Energy, by_layer, energy
from fieldsight.profile.sweeps import Regime, Sensitivity, Time, generation, regime, roofline, sensitivity
from fieldsight.systems.energy.config import EnergyConfig
from fieldsight.systems.energy.networks import Network

CONVENTIONS = ("exact", "paper")


@dataclass(frozen=True)
class Charged:
    """Everything that was computed for one network.

    Attributes:
        network: what was counted.
        settings: as they were given.
        hardware: the profile, after constants set by hand.
        precision: the number format, ``auto`` resolved.
        energies: one batch, by convention.
        base: J of the unscaled batch 1 by convention, to normalise with as the paper does.
        regimes: bound class and crossovers, by convention.
        layers: J by layer and part in exact counts, in the order of the counts.
        time: roofline, None where the profile has no rates.
        sensitivity: None where no draws were asked for.
        answer: J of a whole answer, empty where none was asked for.
        notes: what a reader must know.
    """

    network: Network
    settings: EnergyConfig
    hardware: Hardware
    precision: str
    energies: Mapping[str, Energy]
    base: Mapping[str, float]
    regimes: Mapping[str, Regime]
    layers: tuple[dict[str, float], ...]
    time: Time | None
    sensitivity: Sensitivity | None
    answer: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def chosen(self) -> Energy:
        """The energy in the convention asked for."""
        return self.energies[self.settings.convention]


def resolve(network: Network, settings: EnergyConfig) -> tuple[Hardware, str]:
    """The profile and number format that settings mean for a network.

    Raises:
        ConfigError: an own profile that can't be read, or without this format.
    """
    precision = network.precision if settings.precision == "auto" else settings.precision
    hardware = load_hardware(settings.hardware_file or settings.hardware)
    hardware = hardware.with_constants(precision, settings.pj_per_bit, settings.pj_per_mac)
    hardware.mac_pj(precision)
    return hardware, precision


def terms(network: Network, settings: EnergyConfig) -> dict[str, Any]:
    """Settings as keyword arguments of :func:`fieldsight.profile.energy`, without hardware, batch and convention."""
    return {
        "precision": network.precision if settings.precision == "auto" else settings.precision,
        "w_bits": settings.w_bits,
        "a_bits": settings.a_bits,
        "kv_bits": settings.kv_bits,
        "scale": settings.scale,
        "act": None if settings.act == "default" else settings.act,
        "weight_reuse": settings.weight_reuse,
        "embedding": settings.embedding,
        "sparsity": settings.sparsity,
    }


def charge(network: Network, settings: EnergyConfig) -> Charged:
    """Compute everything for one network.

    Raises:
        ConfigError: a profile that can't be read or lacks the format.
        DataError: what does not fit this network: the paper's activation constant where it gives none, an answer
            longer than the learned positions.
    """
    hardware, precision = resolve(network, settings)
    given = terms(network, settings)
    if given["act"] == "paper" and (network.counts.paper is None or network.counts.paper.act_joules is None):
        raise DataError(
            f"The paper gives no activation energy for '{network.name}'. Use --act auto, sram, dram or none."
        )
    plain = {**given, "scale": None}
    energies = {
        c: energy(network.counts, hardware, settings.batch, convention=c, **given)  # type: ignore[arg-type]
        for c in CONVENTIONS
    }
    base = {c: energy(network.counts, hardware, 1, convention=c, **plain).total for c in CONVENTIONS}  # type: ignore[arg-type]
    # the shape's longest context has a break-even only while a token is decoded
    shape = network.decoder if settings.phase == "decode" else None
    regimes = {c: regime(network.counts, hardware, decoder=shape, convention=c, **given) for c in CONVENTIONS}
    spread = None
    if settings.draws:
        spread = sensitivity(
            network.counts, hardware, settings.batch, draws=settings.draws, seed=settings.seed,
            convention=settings.convention, **given,
        )  # fmt: skip
    return Charged(
        network,
        settings,
        hardware,
        precision,
        energies,
        base,
        regimes,
        by_layer(network.counts, energies["exact"], settings.embedding),
        _time(network, hardware, settings, precision),
        spread,
        _answer(network, hardware, settings, given),
        _notes(network, *(energies[c] for c in (settings.convention, "paper"))),
    )


def _notes(network: Network, *energies: Energy) -> tuple[str, ...]:
    """Each once; unknown operators are a warning and no note."""
    told = [*network.counts.notes, *network.notes, *(n for e in energies for n in e.notes)]
    unknown = set(network.counts.warnings()) - set(network.counts.notes)
    return tuple(dict.fromkeys(n for n in told if n not in unknown))


def _time(network: Network, hardware: Hardware, settings: EnergyConfig, precision: str) -> Time | None:
    if hardware.bandwidth is None or hardware.peak is None:
        return None
    bits = {k: getattr(settings, k) for k in ("w_bits", "a_bits", "kv_bits")}
    return roofline(network.counts, hardware, settings.batch, precision=precision, **bits)


def _answer(
    network: Network, hardware: Hardware, settings: EnergyConfig, given: Mapping[str, Any]
) -> Mapping[str, float]:
    shape = network.decoder
    if settings.prompt is None or settings.tokens is None or shape is None:
        return {}
    longest = settings.prompt + settings.tokens - 1
    if shape.positions and longest > shape.context:
        raise DataError(
            f"'{network.name}' takes at most {shape.context:,} tokens, prompt and answer together; "
            f"{settings.prompt:,} + {settings.tokens:,} are more."
        )
    kept = 1 - settings.sparsity
    scale = {part: factor * (kept if part in ("weight", "mac") else 1) for part, factor in settings.scale.items()}
    act = "none" if given["act"] == "paper" else given["act"]
    bits = {k: given[k] for k in ("w_bits", "a_bits", "kv_bits")}
    try:
        return generation(
            shape, settings.prompt, settings.tokens, hardware, batch=settings.batch, precision=given["precision"],
            scale=scale, act=act, **bits,
        )  # fmt: skip
    except ConfigError as error:
        raise DataError(str(error)) from error


# ------------------------------------------------------------------------------------------------ plain values


def finite(value: float) -> float | None:
    """A number as JSON can hold it: None for infinity and NaN."""
    return float(value) if math.isfinite(value) else None


def plain(c: Charged) -> dict[str, Any]:
    """Everything as plain values, J throughout; single values first."""
    network, one, counts = c.network, c.chosen, c.network.counts
    n = max(counts.samples, 1)
    bits = {k: v if v is not None else BITS[c.precision] for k, v in _bits(c.settings).items()}
    return {
        "name": network.name,
        "title": network.title,
        "source": network.source,
        "unit": one.unit,
        "hardware": c.hardware.name,
        "precision": c.precision,
        "convention": one.convention,
        "batch": one.batch,
        "phase": c.settings.phase if network.decoder else None,
        "context": _context(c),
        **bits,
        "parameters": counts.params,
        "macs": counts.macs // n if counts.macs % n == 0 else counts.macs / n,
        "flops": 2 * counts.macs // n if counts.macs % n == 0 else 2 * counts.macs / n,
        "activations": counts.activations / n if counts.activations % n else counts.activations // n,
        "kv_values": counts.kv,
        "total_j": one.total,
        "per_sample_j": one.per_sample,
        "normalised_total": one.total / c.base[one.convention] if c.base[one.convention] else None,
        "dominant": one.dominant,
        "bound": one.bound,
        "activations_in": one.act_level,
        "counting": CONVENTION,
        "parts_j": one.parts,
        "shares": one.shares,
        "conventions": {name: _convention(c, name) for name in CONVENTIONS},
        "time": None if c.time is None else _time_plain(c.time),
        "sensitivity": None if c.sensitivity is None else _spread(c.sensitivity),
        "answer_j": {k: finite(v) for k, v in c.answer.items()},
        "supply": supply(c),
        "uncounted": [op.to_dict() for op in counts.uncounted],
        "unknown": [op.to_dict() for op in counts.unknown],
        "unchecked": c.hardware.unchecked(),
        "notes": list(c.notes),
        "warnings": warnings(c),
        "settings": changed(c.settings),
        "layers": layer_table(c).to_dict()["rows"],
    }


def changed(settings: EnergyConfig) -> dict[str, Any]:
    """Settings that differ from the first preset, without the options of one verb; files by their names."""
    own = settings.to_dict()
    found = {k: own[k] for k, default in EnergyConfig().to_dict().items() if own[k] != default}
    if "hardware_file" in found:
        found["hardware_file"] = PurePath(found["hardware_file"]).name
    return found


def _bits(settings: EnergyConfig) -> dict[str, float | None]:
    return {"w_bits": settings.w_bits, "a_bits": settings.a_bits, "kv_bits": settings.kv_bits}


def _context(c: Charged) -> int | None:
    shape = c.network.decoder
    return None if shape is None else c.settings.context or shape.context


def _convention(c: Charged, name: str) -> dict[str, Any]:
    one, r = c.energies[name], c.regimes[name]
    base = c.base[name]
    return {
        "parts_j": one.parts,
        "total_j": one.total,
        "per_sample_j": one.per_sample,
        "shares": one.shares,
        "normalised": {k: v / base if base else None for k, v in {**one.parts, "total": one.total}.items()},
        "dominant": one.dominant,
        "bound": one.bound,
        "parameters": one.params,
        "macs": one.macs,
        "flops_per_parameter": finite(one.intensity),
        "threshold": finite(r.threshold),
        "mac_equals_weight_at_batch": finite(r.mac_equals_weight),
        "kv_equals_weight_at_batch": finite(r.kv_equals_weight),
        "compute_bound_from_batch": finite(r.compute_bound_from),
        "kv_equals_weight_at_context": finite(r.break_even_context),
        "kv_j_per_context_token": r.kv_per_context_token,
        "activations_in": one.act_level,
    }


def _time_plain(time: Time) -> dict[str, Any]:
    return {
        "seconds": time.seconds,
        "bound": time.bound,
        "moving": time.moving,
        "computing": time.computing,
        "bytes": time.bytes,
        "utilisation": time.utilisation,
    }


def _spread(s: Sensitivity) -> dict[str, Any]:
    return {
        "dominant": s.dominant,
        "probability": s.probability,
        "flips": s.flips,
        "total_j": {"low": s.total[0], "middle": s.total[1], "high": s.total[2]},
        "tornado": [dataclasses.asdict(swing) for swing in s.tornado],
    }


def supply(c: Charged) -> dict[str, float | None]:
    """What a battery pays for and what the grid emits, as far as they were asked for."""
    one, settings = c.chosen, c.settings
    found: dict[str, float | None] = {}
    if settings.battery is not None:
        samples = one.inferences(settings.battery)
        found["samples_per_battery"] = finite(samples)
        if settings.rate is not None:
            found["hours_per_battery"] = finite(samples / settings.rate)
        if c.answer.get("total"):
            found["answers_per_battery"] = finite(settings.battery * 3600 / (c.answer["total"] / settings.batch))
    if settings.rate is not None:
        found["watts_at_rate"] = finite(one.per_sample * settings.rate / 3600)
    if settings.grid is not None:
        found["grams_co2_per_million"] = finite(one.grams_co2(1e6, settings.grid))
    return found


def warnings(c: Charged) -> list[str]:
    """What must not be missed; no full stop at the end."""
    lines = []
    counts = c.network.counts
    if counts.unknown:
        listed = ", ".join(f"{op.kind} x{op.calls} (first at {op.where})" for op in counts.unknown)
        lines.append(f"{c.network.name}: unknown operators are not in the MACs: {listed}")
    if c.sensitivity is not None and c.sensitivity.flips:
        odds = ", ".join(f"{k} {v:.0%}" for k, v in c.sensitivity.probability.items() if v > 0)
        lines.append(
            f"{c.network.name}: which part is largest depends on the constants within their ranges: {odds} of the draws"
        )
    return lines


# ------------------------------------------------------------------------------------------------------ tables

_COUNTS = ("parameters", "macs", "flops", "activations", "kv values")


def layer_table(c: Charged) -> Table:
    """Every layer with its counts for one pass and its J of the batch, in exact counts."""
    columns = {
        "layer": "",
        "kind": "",
        **dict.fromkeys(_COUNTS, ""),
        **{f"{part} energy": "J" for part in PARTS},
        "total energy": "J",
        "share": "",
    }
    whole = c.energies["exact"].total
    rows = []
    for layer, joules in zip(c.network.counts.layers, c.layers, strict=True):
        total = sum(joules.values())
        counted = (layer.params, layer.macs, layer.flops, layer.outputs, layer.kv)
        rows.append(
            {
                "layer": layer.name,
                "kind": layer.kind,
                **dict(zip(_COUNTS, counted, strict=True)),
                **{f"{part} energy": joules[part] for part in PARTS},
                "total energy": total,
                "share": total / whole if whole else 0.0,
            }
        )
    return Table(columns, rows, f"{c.network.name}, layer by layer, exact counts")


def group_names(network: Network) -> list[str]:
    """The group of every layer; of a language model the same matrix of all blocks together."""
    if network.decoder is None:
        return network.counts.groups()
    split = (layer.name.split(".") for layer in network.counts.layers)
    return [".".join(part for part in name if not part.isdigit()).removeprefix("layers.") for name in split]


def group_joules(c: Charged, most: int = 12) -> dict[str, dict[str, float]]:
    """J by group of layers and part: the groups of the counts, the smallest ones together as ``others``."""
    merged: dict[str, dict[str, float]] = {}
    groups = group_names(c.network)
    for group, joules in zip(groups, c.layers, strict=True):
        row = merged.setdefault(group, dict.fromkeys(PARTS, 0.0))
        for part in PARTS:
            row[part] += joules[part]
    if len(merged) <= most:
        return merged
    ranked = sorted(merged, key=lambda g: -sum(merged[g].values()))
    kept = set(ranked[: most - 1])
    found = {g: v for g, v in merged.items() if g in kept}
    rest = [v for g, v in merged.items() if g not in kept]
    found[f"{len(rest)} others"] = {part: sum(v[part] for v in rest) for part in PARTS}
    return found


def total_table(c: Charged) -> Table:
    """Parts and totals in both conventions, J and shares; what is charged and where the regimes change."""
    columns = {"quantity": "", "exact": "", "paper": "", "unit": ""}
    both = {name: _convention(c, name) for name in CONVENTIONS}

    def row(quantity: str, unit: str, key: str, inner: str = "") -> dict[str, Any]:
        values = {n: both[n][key][inner] if inner else both[n][key] for n in CONVENTIONS}
        return {"quantity": quantity, **values, "unit": unit}

    rows = [row(f"{part} energy", "J", "parts_j", part) for part in PARTS]
    rows += [row("total energy", "J", "total_j"), row(f"energy per {c.chosen.unit}", "J", "per_sample_j")]
    rows += [row(f"{part} share", "1", "shares", part) for part in PARTS]
    rows += [row(f"{part}, batch 1 unscaled = 1", "1", "normalised", part) for part in (*PARTS, "total")]
    rows += [
        row("parameters charged", "", "parameters"),
        row("MACs charged per sample", "", "macs"),
        row("FLOPs per parameter at this batch", "", "flops_per_parameter"),
        row("compute-bound above, FLOPs per parameter", "", "threshold"),
        row("MACs cost as much as weights at batch", "", "mac_equals_weight_at_batch"),
        row("bound", "", "bound"),
    ]
    if c.network.counts.kv:
        rows += [
            row("KV cache costs as much as weights at batch", "", "kv_equals_weight_at_batch"),
            row("KV cache costs as much as weights at context", "tokens", "kv_equals_weight_at_context"),
        ]
    return Table(columns, rows, f"{c.network.name}, both conventions, batch {c.chosen.batch}")
