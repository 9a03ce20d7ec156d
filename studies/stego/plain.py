"""How often a plain photo passes for a stego picture: the mark of the shipped model on 1,000 crops of photos.

Crops of 256 px from every packaged photo of the splits `test` and `val`, none of which any model learnt from: at five
scales (the photo itself up to 2048 px, then 1024, 724 and 512 px on the longer side, and the shorter side at 256),
squares that cover the photo; of these 1,000 are taken in turn from all photos. The decision is a valid header in the
mark, as `reveal` makes it. The interval treats crops as independent, which those of one photo are not, so the share of
photos with any false positive stands beside it. Control: 200 of the same crops with another crop hidden in them, with
the mark, must all be found.

    python studies/run.py stego plain
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

import fieldsight
from fieldsight import progress
from fieldsight.data.images import resize
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.metrics.stats import wilson
from fieldsight.systems.stego import photos
from fieldsight.systems.stego.attack import mark_of, network
from fieldsight.systems.stego.channel import Reading
from fieldsight.systems.stego.predict import StegoModel

SIDE = 256
SCALES = (2048, 1024, 724, 512)

CLAIM = (
    "A plain photo does not pass for a stego picture: no valid mark in 1,000 plain crops, all found in 200 with one."
)


def run(
    seeds: tuple[int, ...] = (0,), model: str | None = None, number: int = 1000, marked: int = 200
) -> dict[str, Any]:
    """The first seed chooses the crops of each photo; further ones are not used."""
    torch.set_num_threads(1)
    loaded = fieldsight.load("stego", model)
    assert isinstance(loaded, StegoModel)
    crops = plain_crops(number, seeds[0])
    if len(crops) < number:
        raise DataError(f"{len(crops)} of {number} plain crops are here. Fetch the packaged photos first.")
    plain = [reading(loaded, crop) for _, crop in progress.track(crops, "plain crops")]
    way = network(loaded)
    control = []
    for n in progress.track(range(marked), "crops with a mark"):
        cover = way.cut(crops[n * len(crops) // marked][1])
        secret = crops[(n * len(crops) // marked + len(crops) // 2) % len(crops)][1]
        control.append(reading(loaded, way.put(cover, secret)[0]))
    names = [name for name, _ in crops]
    false = [r.header is not None for r in plain]
    doubtful = [r.probability > 0.5 for r in plain]
    hit = {name for name, positive in zip(names, false, strict=True) if positive}
    return {
        "claim": CLAIM,
        "seeds": list(seeds[:1]),
        "fingerprint": loaded.fingerprint(),
        "arch": loaded.config.arch,
        "side": SIDE,
        "number": len(crops),
        "photos": len(set(names)),
        "crops_of_a_photo": {name: names.count(name) for name in dict.fromkeys(names)},
        "false_positives": {**share(sum(false), len(false)), "of": "crops with a valid header"},
        "photos_with_one": {**share(len(hit), len(set(names))), "names": sorted(hit)},
        "above_half": {**share(sum(doubtful), len(doubtful)), "of": "crops whose probability of a mark is above 0.5"},
        "distribution": quantiles([r.score for r in plain]),
        "least_p_value": min(r.p_value for r in plain),
        "controls": {
            "found": {**share(sum(r.header is not None for r in control), len(control)), "of": "crops with a mark"},
            "distribution": quantiles([r.score for r in control]),
            "wrong_cells": quantiles([r.rate for r in control]),
        },
        "scores": sorted(round(r.score, 4) for r in plain),
    }


def plain_crops(number: int, seed: int) -> list[tuple[str, Any]]:
    """Names of photos with a crop ``(256, 256, 3)`` each, taken in turn from all photos until there are enough."""
    piles = []
    for photo in progress.track([*photos.find("test"), *photos.find("val")], "reading photos"):
        whole = photo.read(SCALES[0])
        height, width = whole.shape[:2]
        sizes = {min(size, max(height, width)) for size in SCALES}
        sizes.add(-(-SIDE * max(height, width) // min(height, width)))
        pile = [crop for size in sorted(sizes) for crop in squares(np.asarray(resize(whole, size)))]
        order = rng_for(seed, "stego", "study", "plain", photo.name).permutation(len(pile))
        piles.append([(photo.name, pile[n]) for n in order[: -(-number // 8)]])
    turns = itertools.zip_longest(*piles)
    return [crop for turn in turns for crop in turn if crop is not None][:number]


def squares(picture: Any) -> list[Any]:
    """Squares that cover a picture and overlap as little as that allows; none where it is narrower."""
    if min(picture.shape[:2]) < SIDE:
        return []
    tops, lefts = (np.linspace(0, n - SIDE, -(-n // SIDE)).round().astype(int) for n in picture.shape[:2])
    return [np.ascontiguousarray(picture[t : t + SIDE, s : s + SIDE]) for t in tops for s in lefts]


def reading(model: StegoModel, picture: Any) -> Reading:
    found = mark_of(model, picture)
    assert found is not None
    return found


def share(count: int, number: int) -> dict[str, Any]:
    own = wilson(count, number)
    return {"count": count, "number": number, "share": own.value, "low": own.low, "high": own.high}


def quantiles(values: list[float]) -> dict[str, float]:
    marks = (0, 1, 5, 25, 50, 75, 95, 99, 99.9, 100)
    return {f"{mark:g} %": round(float(v), 6) for mark, v in zip(marks, np.percentile(values, marks), strict=True)}
