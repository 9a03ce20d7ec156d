"""The specification's CPU preset of the paper's network on drawn data: learning, beta, axes, kin, classes.

400 steps of 16 pairs of 32 x 32 pixels, width 8, learning rate 2e-3; measured on held-out drawn pairs from the 8-bit
stego. Such runs show directions, not quality.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from fieldsight import progress, studies
from fieldsight.engine.seed import rng_for
from fieldsight.metrics.stats import bootstrap
from fieldsight.systems.stego.config import KINDS, PRESETS, StegoConfig
from fieldsight.systems.stego.evaluate import HELD_OUT_SEED, Pair, evaluate_pairs, run_pair
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.textures import draw
from fieldsight.systems.stego.train import gather_pictures, step_of, train_pair

SEEDS = (0, 1, 2)
BETAS = (0.25, 0.5, 1.0, 2.0, 4.0)

#: Both ends of the grid once more, trained twice as long: a short run has hardly left what all weights share.
LONGER = 500

#: What is trained beside the preset itself: the three readings of the axes, and the paper's kin.
KIN: dict[str, dict[str, Any]] = {
    "dwf2, spatial": {},
    "dwf2, literal": {"net": {"axes": "literal"}},
    "dwf2, banded": {"net": {"axes": "banded"}},
    "residual, spatial": {"arch": "residual"},
    "baluja": {"arch": "baluja", "loss": {"domain": "pixel"}},
    "dwf1 (gain loss)": {"loss": {"domain": "gain"}},
    "dwf2, trained through 8 bits": {"loss": {"rounding": "8bit"}},
}


def pairs(size: int = 128) -> list[Pair]:
    """40 held-out drawn pairs, every class as secret five times; the cover's class moves on."""
    found = []
    for n in range(5 * len(KINDS)):
        secret, cover = KINDS[n % len(KINDS)], KINDS[(n + 1 + n // len(KINDS)) % len(KINDS)]
        pictures = [draw(k, size, rng_for(HELD_OUT_SEED, "stego", "small", n, k)) for k in (cover, secret)]
        found.append(Pair(f"{n:02d} {secret} in {cover}", pictures[0], pictures[1], f"{n:02d}"))
    return found


def one(config: StegoConfig, held: Sequence[Pair]) -> dict[str, Any]:
    """Train once; losses, seconds a step, and all held-out numbers."""
    learned, watched, _ = gather_pictures(config, None)
    model = StegoModel.create(config)
    losses: list[float] = []
    inner = step_of(config)

    def step(*given: Any) -> Any:
        values = inner(*given)
        losses.append(float(values["loss"]))
        return values

    began = time.perf_counter()
    train_pair(model, learned, watched, None, step)
    seconds = (time.perf_counter() - began) / config.steps
    items, _ = evaluate_pairs(lambda p: run_pair(model, p), held, "measuring")
    names = ("stego_psnr", "stego_ssim", "secret_psnr", "secret_ssim", "stego_psnr_float", "secret_ssim_float")
    column = items.column("secret_ssim")
    by_class = {k: [v for v, p in zip(column, held, strict=True) if f" {k} in" in p.id] for k in KINDS}
    return {
        **{name: float(np.nanmean(items.column(name))) for name in names},
        "first_loss": losses[0],
        "last_losses": float(np.mean(losses[-20:])),
        "seconds_a_step": round(seconds, 4),
        "secret_ssim_by_class": {k: round(float(np.mean(v)), 4) for k, v in by_class.items()},
    }


def run(seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    from scipy.stats import spearmanr

    torch.set_num_threads(1)
    held, base, done = pairs(), PRESETS["small"], studies.Done("stego", "small")
    kin: dict[str, Any] = {}
    for name, changes in KIN.items():
        kin[name] = [
            done.get({"name": name, "seed": s}, partial(one, base.replace(**changes, seed=s), held)) for s in seeds
        ]
        progress.note(f"{name}: {_told(kin[name])}")
    beta: dict[str, Any] = {}
    for value in BETAS:
        config = base.replace(steps=250, loss={"beta": value})
        beta[str(value)] = [
            done.get({"beta": value, "seed": s}, partial(one, config.replace(seed=s), held)) for s in seeds
        ]
        progress.note(f"beta {value}: {_told(beta[str(value)])}")
    ends: dict[str, Any] = {}
    for value in (BETAS[0], BETAS[-1]):
        config = base.replace(steps=LONGER, loss={"beta": value})
        keys = [{"beta": value, "seed": s, "steps": LONGER} for s in seeds]
        ends[str(value)] = [done.get(k, partial(one, config.replace(seed=k["seed"]), held)) for k in keys]
        progress.note(f"beta {value}, {LONGER} steps: {_told(ends[str(value)])}")
    weights = [v for v in BETAS for _ in seeds]
    rank = {
        name: float(spearmanr(weights, [r[name] for v in BETAS for r in beta[str(v)]]).statistic)
        for name in ("stego_psnr", "secret_ssim")
    }
    return {
        "claim": "the paper's network learns to hide and reveal on a CPU; beta trades cover for secret",
        "seeds": list(seeds),
        "pairs": len(held),
        "preset": base.to_dict(),
        "kin": kin,
        "means": {name: _means(rows) for name, rows in kin.items()},
        "beta": beta,
        "beta_means": {v: _means(rows) for v, rows in beta.items()},
        "ends": ends,
        "ends_means": {v: _means(rows) for v, rows in ends.items()},
        "spearman_of_log_beta": rank,
        "control": "residual, baluja and the gain loss are trained alike; chance alone is the spread over seeds",
    }


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, first in rows[0].items():
        if isinstance(first, dict):
            found[name] = {k: round(float(np.mean([r[name][k] for r in rows])), 4) for k in first}
        else:
            estimate = bootstrap([r[name] for r in rows])
            found[name] = round(estimate.value, 4)
            found[f"{name}_range"] = [round(min(r[name] for r in rows), 4), round(max(r[name] for r in rows), 4)]
    return found


def _told(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{n} {np.mean([r[n] for r in rows]):.3f}" for n in ("stego_psnr", "secret_psnr", "secret_ssim"))
