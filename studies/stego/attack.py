"""What is left of the secret after each attack: the shipped model next to two classical ways, on held-out photos.

The first pairs of the committed list, 256 px: in each cover a photo, and apart from it a file of 64 bytes in the
strongest cells. Every listed attack on the 8-bit stego picture, then SSIM and PSNR of the revealed photo against the
hidden one (above the mark), whether the mark is found, and whether the file comes back exactly. Controls: bit
replacement (`lsb-4`), a compressed file in two low bits (`lsb-codec-2`; where it can't be read, a mid-grey picture
counts), and what each way reveals from covers that hold nothing. Differences to the model are paired by cover, p by
Wilcoxon's test, adjusted together by Holm.

    python studies/run.py stego attack [--seeds 0]
"""

from __future__ import annotations

from typing import Any

import torch

import fieldsight
from fieldsight import progress
from fieldsight.errors import DataError
from fieldsight.metrics.stats import holm, paired
from fieldsight.systems.stego.attack import NOTHING, Trials, Way, network, trials
from fieldsight.systems.stego.attacks import parse
from fieldsight.systems.stego.baselines import METHODS
from fieldsight.systems.stego.evaluate import photo_pairs
from fieldsight.systems.stego.predict import StegoModel

CONTROLS = ("lsb-4", "lsb-codec-2")

CLAIM = (
    "Without training for it, what the model hides survives lossless files, and no lossy format; a mark and a small "
    "file in strong cells survive more than the picture does."
)


def run(
    seeds: tuple[int, ...] = (0,), model: str | None = None, pairs: int = 24, attacks: str = "all", size: int = 256
) -> dict[str, Any]:
    """Seeds are those of the attacks' noise and of the files' bytes; pairs and all else stay."""
    torch.set_num_threads(1)
    loaded = fieldsight.load("stego", model)
    assert isinstance(loaded, StegoModel)
    chosen = photo_pairs(pairs, size)
    if len(chosen) < pairs:
        raise DataError(f"{len(chosen)} of {pairs} held-out pairs are here. Fetch the packaged photos first.")
    ways = [network(loaded), *(Way(name, METHODS[name].hide, METHODS[name].reveal) for name in CONTROLS)]
    names = ["model", *CONTROLS]
    per_seed = []
    for seed in seeds:
        found = {n: trials(way, chosen, parse(attacks), seed) for n, way in zip(names, ways, strict=True)}
        per_seed.append({"seed": seed, "rows": {name: own.rows() for name, own in found.items()}, **claims(found)})
        progress.note(f"seed {seed}: survived {per_seed[-1]['survived']}")
    return {
        "claim": CLAIM,
        "seeds": list(seeds),
        "pairs": len(chosen),
        "covers": len({p.group for p in chosen}),
        "size": size,
        "fingerprint": loaded.fingerprint(),
        "arch": loaded.config.arch,
        "noise_in_training": list(loaded.config.loss.noise),
        "controls": list(CONTROLS),
        "values": per_seed,
    }


def claims(found: dict[str, Trials]) -> dict[str, Any]:
    """What survives by way, and every difference in SSIM to the model's."""
    survived: dict[str, dict[str, list[str]]] = {}
    against: dict[str, dict[str, Any]] = {}
    for name, own in found.items():
        rows = own.rows()
        floor = next(row["ssim_high"] for row in rows if row["attack"] == NOTHING)
        left = [row for row in rows if row["attack"] != NOTHING]
        survived[name] = {
            "picture": [r["attack"] for r in left if r["ssim_low"] > max(floor, 0.5)],  # half of the structure, surely
            "mark": [r["attack"] for r in left if r["mark"] == 1.0],
            "file": [r["attack"] for r in left if r["file"] == 1.0],
        }
        if name == "model":
            continue
        for attack, items in own.items.items():
            mine = found["model"].items[attack].by_group().column("secret_ssim")
            test = paired(mine, items.by_group().column("secret_ssim"))
            against[f"{name}/{attack}"] = {**vars(test.difference), "p": test.p, "smallest_p": test.smallest_p}
    adjusted = holm({key: value["p"] for key, value in against.items()})
    for key, value in against.items():
        value["p_holm"] = adjusted[key]
    return {"survived": survived, "ssim_minus_the_models": against}
