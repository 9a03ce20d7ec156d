"""Where does each network go from paying for weights to paying for MACs, and do the constants decide it?

For every built-in network and two technologies, the constants are drawn from the ranges of their profile: the batch at
which MACs cost as much as weights (B*, R9), the batch from which MACs cost more than weights and KV cache together
(R8), and how often each part is the largest. The paper's statements are then read off.

    python studies/run.py energy regime [--seeds 0,1,2,3,4]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fieldsight.profile import energy, load_hardware, regime, sensitivity, sweep
from fieldsight.profile.joules import PARTS
from fieldsight.systems.energy import data

DRAWS = 10_000
BATCHES = (1, 4, 8, 16)
PROFILES = ("paper-45nm-lpddr5", "7nm-lpddr5")


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> dict[str, Any]:
    rows = []
    for profile in PROFILES:
        for model in data.MODELS:
            # the paper's own way of charging, where the paper reports energies
            own = profile == PROFILES[0] and model.id in ("resnet18", "llama-7b")
            for convention in ("exact", "paper") if own else ("exact",):
                rows.append(one(model.id, profile, convention, seeds))
    return {"seeds": list(seeds), "draws": DRAWS, "batches": list(BATCHES), "rows": rows, "claims": claims(rows)}


def one(name: str, profile: str, convention: Any, seeds: tuple[int, ...]) -> dict[str, Any]:
    counts, precision = data.model(name), data.built_in(name).precision
    terms = {"precision": precision, "convention": convention}
    known = nominal(name, profile, convention)
    odds = {b: [sensitivity(counts, profile, b, draws=DRAWS, seed=s, **terms) for s in seeds] for b in BATCHES}
    drawn = [crossings(name, profile, convention, s) for s in seeds]
    return {
        "network": name,
        "profile": profile,
        "convention": convention,
        "precision": precision,
        **known,
        "mac_equals_weight_drawn": spread([d[0] for d in drawn]),
        "compute_bound_from_drawn": spread([d[1] for d in drawn]),
        "memory_bound": {str(b): [float((d[1] >= b).mean()) for d in drawn] for b in BATCHES},
        "largest": {
            str(b): {part: float(np.mean([s.probability[part] for s in found])) for part in PARTS}
            for b, found in odds.items()
        },
        "between_seeds": max(
            float(np.ptp([s.probability[part] for s in found])) for found in odds.values() for part in PARTS
        ),
        "flips": {str(b): any(s.flips for s in found) for b, found in odds.items()},
    }


def nominal(name: str, profile: str, convention: Any) -> dict[str, Any]:
    """What holds at the profile's own constants; infinities are None."""
    counts, precision = data.model(name), data.built_in(name).precision
    r = regime(counts, profile, precision=precision, convention=convention)
    parts = {b: energy(counts, profile, b, precision=precision, convention=convention) for b in BATCHES}
    values = {
        "mac_equals_weight": r.mac_equals_weight,
        "kv_equals_weight": r.kv_equals_weight,
        "compute_bound_from": r.compute_bound_from,
    }
    return {
        **{k: v if np.isfinite(v) else None for k, v in values.items()},
        "dominant": {str(b): e.dominant for b, e in parts.items()},
        "shares": {str(b): e.shares for b, e in parts.items()},
    }


def crossings(name: str, profile: str, convention: Any, seed: int) -> tuple[Any, Any]:
    """B* and the batch from which computing costs more than memory, for every draw; inf where it never does."""
    counts, precision = data.model(name), data.built_in(name).precision
    hardware = load_hardware(profile)
    bit, mac = hardware.dram.pj_per_bit, hardware.mac[precision]
    rng = np.random.default_rng(seed)
    drawn = {
        "pj_per_bit": rng.uniform(bit.low, bit.high, DRAWS),
        "pj_per_mac": rng.uniform(mac.low, mac.high, DRAWS),
    }
    found = sweep(counts, hardware, **drawn, precision=precision, convention=convention, act="none")
    more = found.mac - found.kv
    return found.weight / found.mac, np.where(more > 0, found.weight / np.where(more > 0, more, 1), np.inf)


def spread(draws: list[Any]) -> dict[str, float | None]:
    """5, 50 and 95 % over all draws, and the part of them without an end; None for infinity."""
    values = np.concatenate(draws)
    finite = np.isfinite(values)
    ends = np.quantile(np.where(finite, values, 1e300), [0.05, 0.5, 0.95])
    named = dict(zip(("low", "middle", "high"), (float(v) if v < 1e299 else None for v in ends), strict=True))
    return {**named, "never": float(1 - finite.mean())}


def claims(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The paper's statements: how often they hold over the ranges of the constants, by way of charging."""

    def of(network: str, convention: str = "exact", profile: str = PROFILES[0]) -> dict[str, Any]:
        return next(
            r for r in rows
            if (r["network"], r["convention"], r["profile"]) == (network, convention, profile)
        )  # fmt: skip

    def odds(network: str, batch: int) -> dict[str, float]:
        found = {c: float(np.mean(of(network, c)["memory_bound"][str(batch)])) for c in ("exact", "paper")}
        modern = of(network, profile=PROFILES[1])["memory_bound"][str(batch)]
        return {**found, "exact, 7 nm": float(np.mean(modern))}

    return {
        "ResNet18 is memory-bound at batch 1": odds("resnet18", 1),
        "ResNet18 is memory-bound at batch 4": odds("resnet18", 4),
        "ResNet18 is memory-bound at batch 16": odds("resnet18", 16),
        "Llama-7B is memory-bound at batch 1": odds("llama-7b", 1),
        "Llama-7B is memory-bound at batch 16": odds("llama-7b", 16),
    }
