"""How good both pictures are, from the 8-bit file: per pair, against the classical ways, against a second model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.errors import DataError
from fieldsight.metrics import image
from fieldsight.metrics.items import PerItem
from fieldsight.metrics.stats import bootstrap
from fieldsight.model import load
from fieldsight.predictions import Table, beside
from fieldsight.report import plots
from fieldsight.report.card import Card
from fieldsight.report.training_card import training_card
from fieldsight.run import Run
from fieldsight.systems.stego import photos
from fieldsight.systems.stego.compare import COMPARED as COMPARED
from fieldsight.systems.stego.compare import Measured, ranking
from fieldsight.systems.stego.data import draw_pictures
from fieldsight.systems.stego.folders import load_pictures, read_pictures
from fieldsight.systems.stego.options import EvaluateOptions
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.results import difference

Picture = NDArray[np.uint8]

#: First seed of drawn test pictures; see studies/stego/heldout.toml.
HELD_OUT_SEED = 900_000


@dataclass(frozen=True)
class Pair:
    """A cover and a secret of one size, ``(H, W, 3)`` uint8; ``group`` is the cover's photo, the unit of intervals."""

    id: str
    cover: Picture
    secret: Picture
    group: str


@dataclass(frozen=True)
class Outcome:
    """What became of a pair: the stego file's pixels and what was revealed from them; before rounding where known."""

    pair: Pair
    stego: Picture
    revealed: Picture
    stego_float: NDArray[np.float32] | None = None
    revealed_float: NDArray[np.float32] | None = None


# ------------------------------------------------------------------------------------------------ pairs


def photo_pairs(count: int = 0, size: int = 256) -> list[Pair]:
    """The committed held-out pairs of packaged photos whose photos are both here."""
    squares: dict[str, Picture] = {}

    def square(photo: photos.Photo) -> Picture:
        if photo.name not in squares:
            squares[photo.name] = photo.square(size)
        return squares[photo.name]

    chosen = photos.heldout_pairs()
    chosen = chosen[:count] if count else chosen
    return [
        Pair(f"{s.name} in {c.name}", square(c), square(s), c.name) for c, s in progress.track(chosen, "reading photos")
    ]


def drawn_pairs(count: int, size: int, seed: int = HELD_OUT_SEED) -> list[Pair]:
    """Drawn held-out pairs: cover and secret of every class in turn, never of one picture."""
    pictures = draw_pictures(2 * count, size, seed, split="test")
    order = [(n, 2 * count - 1 - n) for n in range(count)]
    return [Pair(f"drawn-{a:04d}-{b:04d}", pictures[a], pictures[b], f"drawn-{a:04d}") for a, b in order]


def folder_pairs(root: Path, split: str, count: int, size: int) -> list[Pair]:
    """Pairs of a data folder: every picture of a split is a cover, the next one its secret.

    Args:
        root: the folder.
        split: ``train``, ``val`` or ``test``.
        count: number of pairs, spread evenly over the split, whose first pictures are often of one class; 0 takes all.
        size: pixels a side of the squares.

    Raises:
        DataError: fewer than two pictures, or what :func:`~fieldsight.systems.stego.folders.list_pictures` raises.
    """
    found = read_pictures(root, split)
    if len(found) < 2:
        raise DataError(f"'{root}' has {len(found)} pictures in the split '{split}'; two make a pair.")
    if count and count + 1 < len(found):
        found = [found[n * len(found) // (count + 1)] for n in range(count + 1)]
    squares = [photos.square(p, size) for p in load_pictures(found)]
    turns = range(min(count or len(found), len(found)))
    return [
        Pair(f"{found[n].id}", squares[n], squares[(n + 1) % len(squares)], found[n].id) for n in turns
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- measuring


def run_pair(model: StegoModel, pair: Pair) -> Outcome:
    """Hide, round to 8 bits, reveal; without a mark and a key, as all ways are compared."""
    cover, secret = (_tensor(p) for p in (pair.cover, pair.secret))
    codec = model.codec()
    with torch.inference_mode():
        raw = codec.hide(cover.to(model.device), secret.to(model.device))
        stego = codec.finish(raw, cover.to(model.device))
        revealed = codec.reveal(stego)
        before = codec.reveal(raw)
    return Outcome(pair, _bytes(stego), _bytes(revealed), _floats(raw), _floats(before))


def measure(outcome: Outcome) -> dict[str, float]:
    """All numbers of one pair; a PSNR of equal pictures is NaN (left out of means, counted as empty)."""
    pair = outcome.pair
    values = {
        "stego_psnr": _psnr(pair.cover, outcome.stego),
        "stego_ssim": image.ssim(pair.cover, outcome.stego, 255),
        "secret_psnr": _psnr(pair.secret, outcome.revealed),
        "secret_ssim": image.ssim(pair.secret, outcome.revealed, 255),
        "secret_ssim_global": global_ssim(pair.secret, outcome.revealed, 255),
        "largest_change": float(np.abs(outcome.stego.astype(int) - pair.cover).max()),
        "stego_mse": image.mse(pair.cover, outcome.stego),
        "secret_mse": image.mse(pair.secret, outcome.revealed),
        "bpp": hiding_capacity(8 * outcome.revealed.size, *pair.cover.shape[:2]),
    }
    if outcome.stego_float is not None and outcome.revealed_float is not None:
        cover, secret = (p.astype(np.float32) / 255 for p in (pair.cover, pair.secret))
        values["stego_psnr_float"] = _finite(image.psnr(cover, outcome.stego_float))
        values["secret_psnr_float"] = _finite(image.psnr(secret, outcome.revealed_float))
        values["secret_ssim_float"] = image.ssim(secret, outcome.revealed_float)
    return values


def hiding_capacity(bits: int, height: int, width: int) -> float:
    """Eq. (4): payload in bits over pixels of the cover; 24 for a colour picture in one of its size."""
    return bits / (height * width)


def global_ssim(a: NDArray[Any], b: NDArray[Any], top: float) -> float:
    """Eq. (3) in one window over the whole picture ``(H, W)`` or ``(H, W, C)``, mean over channels."""
    channels = 1 if np.ndim(a) == 2 else np.shape(a)[2]
    first, second = (np.asarray(x, dtype=np.float64).reshape(-1, channels) for x in (a, b))
    c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
    mu, nu = first.mean(0), second.mean(0)
    both = ((first - mu) * (second - nu)).mean(0)
    values = (2 * mu * nu + c1) * (2 * both + c2) / ((mu**2 + nu**2 + c1) * (first.var(0) + second.var(0) + c2))
    return float(values.mean())


def evaluate_pairs(
    run: Callable[[Pair], Outcome], pairs: Sequence[Pair], label: str = "measuring pairs", keep: int = 0
) -> tuple[PerItem, list[Outcome]]:
    """Measure pairs; returns the numbers, and the first ``keep`` outcomes to draw."""
    items = PerItem()
    kept: list[Outcome] = []
    for pair in progress.track(pairs, label):
        outcome = run(pair)
        items.add(pair.id, measure(outcome), pair.group)
        if len(kept) < keep:
            kept.append(outcome)
    return items, kept


def totals(items: PerItem) -> dict[str, float]:
    """Means over pairs, and PSNR of the pooled errors."""
    found = items.compute()
    for name in ("stego", "secret"):
        pooled = items.summary(f"{name}_mse").mean
        found[f"{name}_psnr_pooled"] = min(99.0, 10 * math.log10(255**2 / pooled)) if pooled > 0 else math.nan
    return found


# --------------------------------------------------------------------------------------------- the verb


def evaluate(model: StegoModel, data: Path | None, options: EvaluateOptions) -> Measured:
    """The verb: measure on a data folder, on the held-out photos, or on drawn pictures.

    Raises:
        DataError: too few pictures.
    """
    pairs, on = choose(model, data, options)
    items, kept = evaluate_pairs(lambda p: run_pair(model, p), pairs, keep=options.pictures)
    metrics = totals(items)
    compared = []
    if options.baselines:
        compared.append(against_baselines(items, model, pairs))
    if options.against:
        compared.append(comparison(items, load("stego", options.against, device=str(model.device)), pairs))
    facts = {"arch": model.config.arch, "beta": model.config.loss.beta, "size": pairs[0].cover.shape[0]}
    if compared:
        facts["compared"] = {table.title: table.to_dict()["rows"] for table in compared}
    warnings = [] if data is not None or "photos" in on else ["drawn pictures: real photos give other numbers"]
    return Measured(
        spec=model.spec,
        metrics={m.name: metrics[m.name] for m in model.spec.metrics if m.name in metrics},
        items=items,
        on=on,
        tables=(*compared, extremes(items)),
        plots=_plots(items),
        pictures={k.pair.id: strip(k) for k in kept},
        facts=facts,
        warnings=tuple(warnings),
    )


def choose(model: StegoModel, data: Path | None, options: EvaluateOptions) -> tuple[list[Pair], str]:
    """The pairs to measure on, and what they are in words."""
    if data is not None:
        pairs = folder_pairs(data, options.split, options.pairs, options.size)
        return pairs, f"the {options.split} split of '{Path(data).name}' ({len(pairs)} pairs)"
    # a model that never saw a photo is held against drawn pictures, as its training is
    if model.config.data.photos and not options.drawn:
        pairs = photo_pairs(options.pairs, options.size)
        if pairs:
            return pairs, f"held-out photos ({len(pairs)} pairs of {len({p.group for p in pairs})} covers)"
    size = min(options.size, max(64, model.config.crop)) if not model.config.data.photos else options.size
    count = options.pairs or (8 if model.config.crop < 64 else 64)
    pairs = drawn_pairs(count, size)
    return pairs, f"held-out drawn pictures ({len(pairs)} pairs)"


def extremes(items: PerItem) -> Table:
    """Mean with interval, standard deviation, worst and best pair: never the best alone, as the paper's Table 3."""
    rows = []
    ids = [r["id"] for r in items.table("").rows]
    for name in COMPARED:
        column = items.column(name)
        found = bootstrap(column, items.groups())
        worst, best = int(np.nanargmin(column)), int(np.nanargmax(column))
        rows.append(
            {
                "metric": name, "mean": found.value, "low": found.low, "high": found.high,
                "std": items.summary(name).std, "worst": float(column[worst]), "worst pair": ids[worst],
                "best": float(column[best]), "best pair": ids[best], "equal": items.summary(name).empty,
            }
        )  # fmt: skip
    return Table(dict.fromkeys(rows[0], ""), rows, "Means with intervals over covers, worst and best pair")


def against_baselines(items: PerItem, model: StegoModel, pairs: Sequence[Pair]) -> Table:
    """The classical ways on the same pairs, with the mean difference to the model and Wilcoxon p adjusted by Holm."""
    found = {name: evaluate_pairs(run, pairs, name)[0] for name, run in baseline_runs().items()}
    return ranking({model.source: items, **found})


def baseline_runs() -> dict[str, Callable[[Pair], Outcome]]:
    """The classical ways that stand in every table."""
    from fieldsight.systems.stego.baselines import METHODS

    def run(method: Any) -> Callable[[Pair], Outcome]:
        def one(pair: Pair) -> Outcome:
            stego = method.hide(pair.cover, pair.secret)
            return Outcome(pair, stego, method.reveal(stego, pair.cover, method.key(pair.secret)))

        return one

    names = ("lsb-4", "lsb-4+", "lsb-codec-2", "lsb-j2k-2", "dwt-alpha", "dwt-svd")
    return {name: run(METHODS[name]) for name in names if name in METHODS}


def comparison(items: PerItem, other: StegoModel, pairs: Sequence[Pair]) -> Table:
    """A second model on the same pairs."""
    theirs, _ = evaluate_pairs(lambda p: run_pair(other, p), pairs, f"measuring {other.source}")
    return ranking({"this model": items, other.source: theirs}, "Two models on the same pairs")


# ------------------------------------------------------------------------------------------------ drawing


def strip(outcome: Outcome) -> Picture:
    """Cover, stego, ten times their difference, secret, revealed, ten times their difference."""
    pair = outcome.pair
    return beside(
        [
            pair.cover, outcome.stego, difference(pair.cover, outcome.stego),
            pair.secret, outcome.revealed, difference(pair.secret, outcome.revealed),
        ]
    )  # fmt: skip


def _plots(items: PerItem) -> dict[str, str]:
    return {
        "PSNR of each pair (the paper's Fig. 4)": plots.boxes(
            {"stego": items.column("stego_psnr"), "secret": items.column("secret_psnr")}, "PSNR [dB]"
        ),
        "SSIM of each pair (the paper's Fig. 5)": plots.boxes(
            {"stego": items.column("stego_ssim"), "secret": items.column("secret_ssim")}, "SSIM"
        ),
    }


# --------------------------------------------------------------------------------------------------- card


def card_of(model: StegoModel, run: Run | None, words: str) -> Card:
    """The card of a freshly trained model, measured on held-out pairs."""
    pairs, on = choose(model, None, EvaluateOptions())
    metrics = totals(evaluate_pairs(lambda p: run_pair(model, p), pairs)[0])
    limits = [
        "Survives lossless files only: saving as JPEG, resizing or editing destroys most of what is hidden.",
        "Statistics and trained detectors tell its pictures from plain ones; see `fieldsight stego detect`.",
        "Without a key everybody with this model can reveal.",
    ]
    if model.config.loss.noise:
        limits[0] = f"Trained through {', '.join(model.config.loss.noise)}; see `fieldsight stego attack`."
    return training_card(
        model,
        run,
        metrics,
        title=f"Photo in photo ({model.config.arch})",
        data=words,
        measured_on=on,
        limits=tuple(limits),
    )


# ---------------------------------------------------------------------------------------------- internals


def _psnr(a: Picture, b: Picture) -> float:
    return _finite(image.psnr(a, b, 255))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _tensor(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32) / np.float32(255))[None]


def _floats(batch: torch.Tensor) -> NDArray[np.float32]:
    return batch[0].cpu().numpy().transpose(1, 2, 0).astype(np.float32)


def _bytes(batch: torch.Tensor) -> Picture:
    return np.round(np.clip(_floats(batch), 0, 1) * 255).astype(np.uint8)
