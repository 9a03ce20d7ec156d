"""The shipped model on the committed held-out pairs, beside the classical ways and its own linear start.

python studies/run.py stego shipped
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

import fieldsight
from fieldsight import progress
from fieldsight.metrics.stats import bootstrap, holm, paired
from fieldsight.systems.stego import train
from fieldsight.systems.stego.baselines import METHODS
from fieldsight.systems.stego.evaluate import (
    COMPARED,
    baseline_runs,
    evaluate_pairs,
    extremes,
    photo_pairs,
    run_pair,
    totals,
)
from fieldsight.systems.stego.invertible import InvertibleNet
from fieldsight.systems.stego.model import Codec
from fieldsight.systems.stego.predict import StegoModel


def linear_start(model: StegoModel) -> StegoModel:
    """The same network before its first step: the control of what training adds."""
    learned, _, _ = train.gather_pictures(model.config, None)
    fresh = StegoModel.create(model.config)
    train.start(fresh, learned)
    for coupling in [*fresh.networks["net"].before, *fresh.networks["net"].after]:  # type: ignore[union-attr]
        for parameter in coupling.parameters():
            torch.nn.init.zeros_(parameter)
    return fresh.round_weights()


def without(model: StegoModel, part: str) -> StegoModel:
    """The model without its fit into a file's range, or with pixels rounded to the nearest level."""
    twin = copy.deepcopy(model.networks["net"])
    assert isinstance(twin, InvertibleNet)
    if part == "fit":
        twin.settling = 0
    else:
        twin.finish = partial(Codec.finish, twin)  # type: ignore[method-assign]
    return StegoModel(model.config, {"net": twin})


def run(seeds: Sequence[int] = (0,)) -> dict[str, Any]:
    torch.set_num_threads(1)
    pairs = photo_pairs()
    model = fieldsight.load("stego", device="cpu")
    start = linear_start(model)
    ways = {
        "base": partial(run_pair, model),
        "linear start, untrained": partial(run_pair, start),
        "base, rounded to the nearest level": partial(run_pair, without(model, "rounding")),
        "base, not fitted into the range": partial(run_pair, without(model, "fit")),
        **baseline_runs(),
    }
    found = {}
    for name, way in ways.items():
        found[name], _ = evaluate_pairs(way, pairs, name)
        progress.note(f"{name}: " + ", ".join(f"{m} {totals(found[name])[m]:.4f}" for m in COMPARED))
    base = found["base"].by_group()
    tests = {
        f"{name}/{metric}": paired(base.column(metric), other.by_group().column(metric))
        for name, other in found.items()
        if name != "base"
        for metric in COMPARED
    }
    adjusted = holm({k: v.p for k, v in tests.items()})
    goal = totals(found["base"])
    return {
        "claim": "stego PSNR above 36 dB and secret SSIM above 0.96 on held-out 256 x 256 photos, from the 8-bit file",
        "holds": bool(goal["stego_psnr"] > 36 and goal["secret_ssim"] > 0.96),
        "seeds": list(seeds),
        "pairs": len(pairs),
        "covers": len({p.group for p in pairs}),
        "fingerprint": model.fingerprint(),
        "means": {name: {k: round(v, 5) for k, v in totals(items).items()} for name, items in found.items()},
        "intervals": {name: {m: _interval(items, m) for m in COMPARED} for name, items in found.items()},
        "extremes": extremes(found["base"]).to_dict()["rows"],
        "against_base": {
            k: {
                "difference": v.difference.value,
                "low": v.difference.low,
                "high": v.difference.high,
                "p_holm": adjusted[k],
            }
            for k, v in tests.items()
        },
        "control": "the linear start is the same network before its first step; the classical ways learn nothing; two "
        "ways leave out one part each of what ships",
        "methods": sorted(METHODS),
    }


def _interval(items: Any, metric: str) -> list[float]:
    estimate = bootstrap(items.column(metric), items.groups())
    return [round(estimate.low, 4), round(estimate.high, 4)]
