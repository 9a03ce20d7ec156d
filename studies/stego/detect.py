"""How well stego pictures are told from plain ones: classical statistics and a network trained for each way to hide.

Held-out photos (40 pairs of the committed list, every photo once a cover, 256 px, photos hidden with the mark) against
the stego pictures of the shipped model, of bit replacement (`lsb-4`, and `lsb-4+` with adjusted samples) and of a
compressed file in one low bit (`lsb-codec-1`). The network (Spatial Rich Model filters, 73 k weights) learns from crops
of the training photos, hidden in by the same way: 300 steps of 8 covers with their stego pictures, 64 px crops; more
steps, pairs or a larger network can only find more, so its numbers are lower bounds of what an attacker reaches.
Seeds change the network's weights and crops, nothing else. Controls: `lsb-codec-1` puts bits like noise into the lowest
plane, for which the statistics are made, and `lsb-4` changes far more than the network needs; half of the plain photos
against the other half, which must stay at chance; and plain photos with noise as strong as the model's change against
plain ones, which tells whether the network knows the model or any noise.

    python studies/run.py stego detect [--seeds 0,1,2]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import fieldsight
from fieldsight import progress
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.systems.stego.attack import Way, network
from fieldsight.systems.stego.baselines import METHODS
from fieldsight.systems.stego.detect import CLASSICAL, Scored, judge, learning_pairs, mark_detector, trained_detector
from fieldsight.systems.stego.evaluate import Pair, photo_pairs
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.srm import train_detector

CONTROLS = ("lsb-4", "lsb-4+", "lsb-codec-1")

CLAIM = (
    "The classical statistics, made for replaced low bits, find part of the model's pictures; a small network trained "
    "on the model's own pictures finds nearly all among photos that it never saw, and so does whoever has the model."
)


def run(
    seeds: tuple[int, ...] = (0, 1, 2),
    model: str | None = None,
    pairs: int = 40,
    learn: int = 160,
    steps: int = 300,
    crop: int = 64,
    size: int = 256,
) -> dict[str, Any]:
    torch.set_num_threads(1)
    loaded = fieldsight.load("stego", model)
    assert isinstance(loaded, StegoModel)
    held_out = photo_pairs(pairs, size)
    learning, words = learning_pairs(learn, size, real=True)
    if len(held_out) < pairs:
        raise DataError(f"{len(held_out)} of {pairs} held-out pairs are here. Fetch the packaged photos first.")
    ways = {"model": network(loaded)}
    ways |= {name: Way(name, METHODS[name].hide, METHODS[name].reveal) for name in CONTROLS}
    values: dict[str, Any] = {}
    for name, way in ways.items():
        extra = {"mark": mark_detector(loaded)} if name == "model" else {}
        plain, stego = pictures(way, held_out)
        groups = [pair.group for pair in held_out]
        values[name] = {"statistics": judged(plain, stego, groups, {**CLASSICAL, **extra}), "trained": []}
        covers, learnt = pictures(way, learning)
        for seed in seeds:
            net = train_detector(covers, learnt, steps=steps, crop=crop, seed=seed)
            row = judged(plain, stego, groups, {"trained": trained_detector(net)})[0]
            values[name]["trained"].append({"seed": seed, **row})
            progress.note(f"{name}, seed {seed}: AUC {row['auc']:.3f}, P_E {row['pe']:.3f}")
            if name == "model":
                values.setdefault("controls of the model's network", []).append(
                    {"seed": seed, **controls(trained_detector(net), plain, stego)}
                )
        values[name]["trained_over_seeds"] = over_seeds(values[name]["trained"])
    return {
        "claim": CLAIM,
        "seeds": list(seeds),
        "pairs": len(held_out),
        "covers": len({p.group for p in held_out}),
        "size": size,
        "learnt": words,
        "steps": steps,
        "crop": crop,
        "fingerprint": loaded.fingerprint(),
        "arch": loaded.config.arch,
        "controls": [*CONTROLS, "plain against plain", "noise against plain"],
        "values": values,
    }


def pictures(way: Way, pairs: list[Pair]) -> tuple[list[Any], list[Any]]:
    """Covers and stego pictures of pairs."""
    covers = [way.cut(pair.cover) for pair in pairs]
    hiding = progress.track(zip(covers, pairs, strict=True), f"hiding by {way.name}", len(pairs))
    return covers, [way.put(cover, pair.secret)[0] for cover, pair in hiding]


def judged(plain: list[Any], stego: list[Any], groups: list[str], detectors: Any) -> list[dict[str, Any]]:
    """AUC and P_E of detectors, one score a cover."""
    return judge(scored(plain, detectors).means(groups), scored(stego, detectors).means(groups), paired=True)


def scored(chosen: list[Any], detectors: Any) -> Scored:
    found = Scored()
    for number, picture in enumerate(chosen):
        found.add(str(number), picture, detectors)
    return found


def controls(detector: Any, plain: list[Any], stego: list[Any]) -> dict[str, Any]:
    """The network between two halves of the plain photos, and between plain photos and the same with noise."""
    rng = rng_for(0, "stego", "study", "detect controls")
    order = [int(n) for n in rng.permutation(len(plain))]
    noisy = []
    for cover, other in zip(plain, stego, strict=True):
        strength = float(np.sqrt(np.mean((other.astype(np.float64) - cover) ** 2)))
        noise = strength * rng.standard_normal(cover.shape)
        noisy.append(np.clip(np.rint(cover + noise), 0, 255).astype(np.uint8))
    names = [str(n) for n in range(len(plain))]
    values = scored(plain, {"trained": detector}).means(names)["trained"]
    first, second = ({"trained": values[half]} for half in (order[::2], order[1::2]))
    return {
        "plain against plain": judge(first, second, paired=False)[0],
        "noise against plain": judge(
            {"trained": values}, scored(noisy, {"trained": detector}).means(names), paired=True
        )[0],
    }


def over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, least and largest over seeds: of three seeds no interval is made."""
    return {
        key: {"mean": float(np.mean(own)), "least": min(own), "largest": max(own)}
        for key in ("auc", "pe", "found")
        for own in [[row[key] for row in rows]]
    }
