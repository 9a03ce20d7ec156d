"""What a detector finds on photos with truth, in whatever precision or runtime it computes, and how precisions differ.

Every network gets the same bytes: photos are letterboxed once a pass by the core's code. Suppression runs at a
confidence of 0.001; what remains at 0.5 is the same boxes without the weak ones, so average precision there is never
higher.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldsight import progress
from fieldsight.data.detection.letterbox import letterbox, place, to_input
from fieldsight.data.detection.sample import Detections, DetectionSample, Picture
from fieldsight.errors import DataError
from fieldsight.metrics.detection import AveragePrecision, compare
from fieldsight.nn.detection.nms import suppress
from fieldsight.predictions import Table
from fieldsight.systems.edge.options import PredictOptions
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.quant.fake import Seen, choose_scales, observe, simulate
from fieldsight.systems.edge.quant.scheme import Scheme
from fieldsight.systems.edge.quant.tape import Traced, trace

#: Pictures ``(N, 3, S, S)`` float32 in 0-1 to ``(N, 4 + nc, A)``; an ``nn.Module``, or another runtime.
Network = Callable[[Tensor], Tensor]

#: Confidences at which average precision is told: the usual one, and the paper's.
CONFS = (0.001, 0.5)

#: Pictures a call.
BATCH = 8

#: Bad calibration of the specification: so few pictures, at so much of their brightness.
DARK_PICTURES, DARK_SHARE = 8, 0.15

#: Settings that are changed one by one, good and bad, and what the scheme calls them.
FACTORS: dict[str, tuple[str, str]] = {
    "pictures": ("training", "dark"),
    "observer": ("mse", "minmax"),
    "weights": ("channel", "tensor"),
    "head": ("float", "int8"),
}

#: Other observers, with all else good: TensorRT's, and the percentile (99.95) that is often recommended.
OBSERVERS = ("entropy", "percentile")

Source = Callable[[], Picture]

_COLUMNS = ("precision", "conf", "mAP50-95", "mAP50", "difference", "low", "high", "p", "MB")


def inputs(pictures: Sequence[Source], side: int, batch: int = BATCH) -> Iterator[Tensor]:
    """Pictures ``(H, W, 3)`` uint8 as batches ``(n, 3, side, side)`` float32 in 0-1, letterboxed as in prediction."""
    for begin in range(0, len(pictures), batch):
        seen = [picture() for picture in pictures[begin : begin + batch]]
        placed = [letterbox(p, place((p.shape[0], p.shape[1]), side)) for p in seen]
        yield torch.from_numpy(to_input(placed))


def measure(
    network: Network, model: EdgeModel, samples: Sequence[DetectionSample], label: str = "measuring"
) -> AveragePrecision:
    """Match what a network finds at a confidence of 0.001 or more with the truth.

    Args:
        network: any precision or runtime of the model's graph.
        model: says classes, size of the input, and how boxes are suppressed.
        samples: photos with truth; their labels are those of the model's classes.
        label: what progress calls it.

    Raises:
        DataError: no photo, or labels that are none of the model's classes.
    """
    if not samples:
        raise DataError("There are no photos to measure on. Check the split and the data folder.")
    options = PredictOptions(conf=CONFS[0])
    kept = model.suppression(options)
    pool = AveragePrecision(model.classes)
    task = progress.Task(label, len(samples))
    try:
        for begin in range(0, len(samples), BATCH):
            part = samples[begin : begin + BATCH]
            where = [place(s.size, model.config.input) for s in part]
            pictures = to_input([letterbox(s.image(), w) for s, w in zip(part, where, strict=True)])
            with torch.no_grad():
                output = network(torch.from_numpy(pictures)).float().cpu().numpy()
            for sample, rows, w in zip(part, suppress(output, kept), where, strict=True):
                found = Detections.of(w.back(rows[:, :4]), rows[:, 4], rows[:, 5].astype(np.int64))
                pool.add(sample.id, model.wanted(found, options), sample.truth(), sample.group)
            task.advance(len(part))
    finally:
        task.close()
    return pool


def score_of(model: EdgeModel, samples: Sequence[DetectionSample]) -> Callable[[torch.nn.Module], float]:
    """mAP50-95 at a confidence of 0.001 as a function of a network, for searches; 0 where nothing defines it."""

    def score(network: torch.nn.Module) -> float:
        return float(np.nan_to_num(measure(network, model, samples).compute(CONFS[0]).numbers()["mAP50-95"]))

    return score


def compare_precisions(
    model: EdgeModel,
    samples: Sequence[DetectionSample],
    networks: Mapping[str, Network],
    *,
    sizes: Mapping[str, float] | None = None,
    draws: int = 1000,
    seed: int = 0,
    title: str = "Precisions",
) -> Table:
    """Average precision of several precisions of one network on the same photos.

    Args:
        model: the original.
        samples: held-out photos with truth, at least one box.
        networks: by name; the first is what the others are compared with.
        sizes: of the files by name, in MB.
        draws, seed: of the paired bootstrap over groups of photos (95 %).
        title: of the table.

    Returns:
        Two rows a network, at a confidence of 0.001 and 0.5. ``difference`` is in mAP50-95, this less the first, with
        its interval ``low`` to ``high`` and two-sided ``p``; None for the first.

    Raises:
        DataError: no photo, or no true box among them.
    """
    pools = {name: measure(network, model, samples, f"measuring {name}") for name, network in networks.items()}
    return tabulate(pools, sizes or {}, draws, seed, title)


def tabulate(
    pools: Mapping[str, AveragePrecision], sizes: Mapping[str, float], draws: int, seed: int, title: str
) -> Table:
    """The table of :func:`compare_precisions` from what was measured.

    Raises:
        DataError: no true box, or measured on different photos.
    """
    first = next(iter(pools))
    rows: list[dict[str, Any]] = []
    for name, pool in pools.items():
        for conf in CONFS:
            told = pool.compute(conf).numbers()
            row = {"precision": name, "conf": conf, "mAP50-95": number(told["mAP50-95"])}
            row |= {"mAP50": number(told["mAP50"]), "MB": sizes.get(name)}
            if name != first:
                found = compare(pools[first], pool, conf=conf, draws=draws, seed=seed)
                gap = found.difference
                row |= {"difference": number(gap.value), "low": number(gap.low), "high": number(gap.high)}
                row |= {"p": number(found.p)}
            rows.append(row)
    groups = len(set(pools[first].table().groups))
    facts = {"photos": len(pools[first]), "groups": groups, "compared with": first, "interval": "95 %, by group"}
    return Table({c: "MB" if c == "MB" else "" for c in _COLUMNS}, rows, title, facts)


def factor_table(
    model: EdgeModel,
    pictures: Sequence[Source],
    samples: Sequence[DetectionSample],
    scheme: Scheme | None = None,
    *,
    seen: Seen | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Table:
    """What calibration pictures, observer, channels and head matter each, in simulated INT8.

    Twelve settings: the good one; each of :data:`FACTORS` made bad alone, and :data:`OBSERVERS`; the bad one (8
    pictures at 15 % of their brightness, min-max, one scale a layer, head in 8 bits); each mended alone.

    Args:
        model: the original.
        pictures: training pictures that calibrate; the first eight are darkened for the bad setting.
        samples: held-out photos with truth.
        scheme: everything else (engine, form of the grids, layers in float); the default one without it.
        seen: what calibration with ``pictures`` met, where it is known already.
        draws, seed: of the paired bootstrap against the float network.

    Returns:
        The table of :func:`compare_precisions` with a column for each factor; the float network first.

    Raises:
        DataError: no picture, photo or true box.
    """
    traced, side = traced_of(model), model.config.input
    dark = [darkened(picture) for picture in pictures[:DARK_PICTURES]]
    known = {
        "training": seen or observe(traced, inputs(pictures, side)),
        "dark": observe(traced, inputs(dark, side)),
    }
    pools = {"FP32": measure(traced.network, model, samples, "measuring FP32")}
    settings = dict(_settings())
    for name, chosen in settings.items():
        own = (scheme or Scheme()).replace(
            observer=chosen["observer"], weights=chosen["weights"], head_float=chosen["head"] == "float"
        )
        network = simulate(traced, choose_scales(traced, known[chosen["pictures"]], own))
        pools[name] = measure(network, model, samples, f"measuring {name}")
    table = tabulate(pools, {}, draws, seed, "Settings of calibration, one by one")
    rows = [{**row, **settings.get(str(row["precision"]), {})} for row in table.rows]
    for row in rows:
        del row["MB"]
    names = ("precision", *FACTORS, *(c for c in _COLUMNS[1:] if c != "MB"))
    facts = {"good pictures": len(pictures), "dark pictures": len(dark), "brightness": DARK_SHARE}
    return Table(dict.fromkeys(names, ""), rows, table.title, {**table.facts, **facts})


def _settings() -> Iterator[tuple[str, dict[str, str]]]:
    good = {name: values[0] for name, values in FACTORS.items()}
    for level, start in enumerate(("good", "bad")):
        same = {name: values[level] for name, values in FACTORS.items()}
        yield start, same
        for name, values in FACTORS.items():
            yield f"{start}, but {name} {values[1 - level]}", {**same, name: values[1 - level]}
        for observer in OBSERVERS if same == good else ():
            yield f"{start}, but observer {observer}", {**same, "observer": observer}


def darkened(picture: Source, share: float = DARK_SHARE) -> Source:
    """A picture at a share of its brightness."""

    def give() -> Picture:
        return np.rint(picture() * np.float32(share)).astype(np.uint8)

    return give


def traced_of(model: EdgeModel) -> Traced:
    """A model's exported graph on the CPU, BN folded, ready to be quantised; the model is not changed."""
    return trace(copy.deepcopy(model.graph()).cpu().eval(), model.example()["image"])


def number(value: float) -> float | None:
    """A number as tables hold it: five digits, None where it is not defined."""
    return round(float(value), 5) if math.isfinite(value) else None
