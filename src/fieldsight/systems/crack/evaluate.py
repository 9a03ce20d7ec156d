"""How good the masks are on held-out photos: the mixture, every expert, every way of mixing, and the oracles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress, registry
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.predictions import Table, beside, grey
from fieldsight.report import plots
from fieldsight.report.card import Card
from fieldsight.report.energy import energy_line
from fieldsight.report.evaluation import Evaluation
from fieldsight.report.training_card import training_card
from fieldsight.run import Run
from fieldsight.systems.crack import oracle, routing, world
from fieldsight.systems.crack.data import draw, squash
from fieldsight.systems.crack.explain import Seen, look
from fieldsight.systems.crack.folders import read_folder
from fieldsight.systems.crack.mixing import select
from fieldsight.systems.crack.options import EvaluateOptions, PredictOptions
from fieldsight.systems.crack.overlay import comparison, overlay
from fieldsight.systems.crack.pooling import Pool, compare
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.sample import Sample
from fieldsight.systems.crack.scores import COUNTS, Counts, pooled_scores

Weights = NDArray[np.float64]

#: First seed of drawn test photos; see studies/crack/heldout.toml.
HELD_OUT_SEED = 900_000


def evaluate(model: CrackModel, data: Path | None, options: EvaluateOptions) -> Evaluation:
    """Measure a model; without ``data`` on drawn photos that no training ever sees.

    Raises:
        ConfigError: the model names Python code as an expert, which only a training run of yours may call.
        DataError: the folder can't be used, the split is empty, or an expert fails.
    """
    model.external_experts()  # code that came with a model is refused here, before anything is run
    samples, on = choose(model, data, options)
    found = gather(model, samples)
    metrics = totals_of(model, found)
    tables = [surfaces(model.names, found)]
    if len(model.names) > 1:
        ran = select(found.weights, **model.mixing(PredictOptions())).run
        tables.insert(0, routing.expert_table(model.names, found.weights, found.expert_iou, ran))
        if options.ablate:
            val = aside(model, data, options)
            tables = [*ablation(model, found, options.draws, gather(model, val) if val else None), *tables]
    facts: dict[str, Any] = {"mixing": str(model.mixing(PredictOptions()))}
    if found.at_input is not None:
        side = model.config.input
        summed = found.at_input.compute()
        facts[f"at {side} x {side}"] = {k: round(summed[k], 5) for k in (*_COLUMNS, "iou")}
    return Evaluation(
        registry.get("crack"),
        metrics,
        found.pool.items,
        on,
        tuple(tables),
        _plots(found.pool),
        dict(_pictures(model, samples, options.pictures)),
        facts,
        tuple(found.pool.notes()),
    )


def choose(model: CrackModel, data: Path | None, options: EvaluateOptions) -> tuple[list[Sample], str]:
    """What to measure on, and what to call it."""
    if data is not None:
        found = [s for s in read_folder(data, model.config.seed) if s.split == options.split]
        if not found:
            raise DataError(f"'{data}' has no photos in the split '{options.split}'. See manifest.csv.")
        return found, f"{len(found)} photos of '{data}' ({options.split})"
    domains = world.UNSEEN if options.unseen else world.DOMAINS
    samples = heldout(model, domains)
    surface = f"{domains[0]}, not in training" if options.unseen else f"{len(domains)} surfaces"
    return samples, f"{len(samples)} held-out drawn photos ({surface})"


def aside(model: CrackModel, data: Path | None, options: EvaluateOptions) -> list[Sample]:
    """Validation photos, on which mixtures that are fixed for all photos are chosen; none where they are measured."""
    if data is None:
        return [s for s in draw(model.config.data) if s.split == "val"]
    found = [s for s in read_folder(data, model.config.seed) if s.split == "val"]
    return found if options.split != "val" else []


def heldout(model: CrackModel, domains: Sequence[str] = world.DOMAINS) -> list[Sample]:
    """The held-out drawn test photos of a model's size and annotation."""
    own = model.config.data.replace(seed=HELD_OUT_SEED + model.config.data.seed, train=10, val=2)
    return [s for s in draw(own, domains) if s.split == "test"]


# ---------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Gathered:
    """What is kept of measured photos: their maps would not fit into memory.

    Attributes:
        samples: the photos.
        pool: the numbers of the mixture.
        weights: the gate's ``(N, M)``.
        mixing: what the maps were mixed with ``(N, M)``.
        cases: of every photo's maps, what mixing can change.
        at_input: the numbers at the size of the networks, where photos are squashed to it; else None.
    """

    samples: tuple[Sample, ...]
    pool: Pool
    weights: Weights
    mixing: Weights
    cases: oracle.Cases
    at_input: Pool | None = None

    @property
    def expert_iou(self) -> Weights:
        """IoU of every expert alone on every photo ``(N, M)``."""
        return oracle.iou_of(self.cases.single())

    def routed(self, name: str) -> Weights:
        """A number of the mixture for every photo ``(N,)``, in the order of the photos."""
        found = np.empty(len(self.samples))
        found[sorted(range(len(found)), key=lambda k: self.samples[k].id)] = self.pool.items.column(name)
        return found


def gather(model: CrackModel, samples: Sequence[Sample], threshold: float = 0.5) -> Gathered:
    """Run all experts on photo after photo and measure the mixture.

    Raises:
        DataError: a photo can't be read, or an expert fails.
    """
    return gather_seen(model, (look(model, s) for s in progress.track(samples, "measuring photos")), threshold)


def gather_seen(model: CrackModel, photos: Iterable[Seen], threshold: float = 0.5) -> Gathered:
    """The same of photos that were looked at."""
    pool, small = Pool(), Pool()
    samples, weights, mixing = list[Sample](), list[Weights](), list[Weights]()
    truths = deque[NDArray[np.bool_]]()

    def maps() -> Iterator[NDArray[np.float32]]:
        for one in photos:
            own = select(one.weights[None], **model.mixing(PredictOptions())).weights[0]
            mixed = blend(one.maps, own) if one.mixed is None else one.mixed
            pool.add(one.sample.id, mixed >= threshold, one.truth, one.sample.group)
            if one.raw is not None:
                wanted = squash(one.truth, model.config.input)
                small.add_counts(one.sample.id, Counts.of(blend(one.raw, own) >= threshold, wanted), one.sample.group)
            samples.append(one.sample)
            weights.append(one.weights)
            mixing.append(own)
            truths.append(one.truth)
            yield one.maps

    def answers() -> Iterator[NDArray[np.bool_]]:  # asked for after each photo's maps
        while truths:
            yield truths.popleft()

    cases = oracle.Cases(maps(), answers(), threshold)
    return Gathered(tuple(samples), pool, np.stack(weights), np.stack(mixing), cases, small if len(small) else None)


def blend(maps: NDArray[np.float32], weights: Weights) -> NDArray[np.float32]:
    """Weighted sum ``(H, W)`` of maps ``(M, H, W)``, in the order in which prediction adds them."""
    found = np.zeros(maps.shape[1:], np.float32)
    for m in np.flatnonzero(weights):
        found += np.float32(weights[m]) * maps[m]
    return found


def totals_of(model: CrackModel, found: Gathered) -> dict[str, float]:
    """The metrics of the spec."""
    names = {m.name for m in registry.get("crack").metrics}
    metrics = {k: v for k, v in found.pool.compute().items() if k in names}
    if len(model.names) > 1:
        told = routing.report(found.weights, found.expert_iou, found.routed("iou"))
        metrics.update(
            hit=told["top1_accuracy"],
            top2_recall=told["top2_recall"],
            regret=told["regret"],
            entropy=told["entropy_share"],
        )
    return metrics


def stacked(seen: Sequence[Seen]) -> Weights:
    """The gate's weights ``(N, M)``."""
    return np.stack([s.weights for s in seen])


def expert_scores(seen: Sequence[Seen]) -> Weights:
    """IoU of every expert alone on every photo ``(N, M)``."""
    return oracle.iou_of(oracle.Cases([s.maps for s in seen], [s.truth for s in seen]).single())


# ------------------------------------------------------------------------------------------------- tables


def surfaces(names: Sequence[str], found: Gathered) -> Table:
    """Pooled IoU on each kind of surface: the mixture beside every expert."""
    rows: list[Mapping[str, Any]] = []
    single = found.cases.single()
    counts = np.stack([found.routed(name) for name in COUNTS], axis=1)
    domains = np.array([s.domain for s in found.samples])
    for domain in sorted(set(domains)):
        chosen = domains == domain
        row = {"surface": str(domain) or "unknown", "photos": int(chosen.sum())}
        row["mixture"] = round(float(pooled_scores(counts[chosen].sum(axis=0))["pooled_iou"]), 4)
        for m, name in enumerate(names):
            total = single[chosen, m].sum(axis=0).astype(np.float64)
            row[name] = round(float(pooled_scores(total)["pooled_iou"]), 4)
        rows.append(row)
    return Table(dict.fromkeys(rows[0], ""), rows, "Pooled IoU by surface")


def ways(
    model: CrackModel, seen: Sequence[Seen] | Weights, cases: oracle.Cases, val: oracle.Cases | None = None
) -> list[oracle.Mixture]:
    """Every expert, Hard, Soft, Top-K for every K, adaptive, leave-one-out, simple mixtures, oracles.

    Args:
        model: its names and its settings of mixing.
        seen: the photos, or the gate's weights of them ``(N, M)``.
        cases: the same photos, for counting.
        val: validation photos, on which mixtures that are fixed for all photos are chosen.
    """
    names, gate = model.names, seen if isinstance(seen, np.ndarray) else stacked(seen)
    found = [oracle.mixture(cases, np.eye(len(names))[m], name) for m, name in enumerate(names)]
    for mode in ("hard", "soft"):
        found.append(oracle.mixture(cases, select(gate, mode).weights, f"gate, {mode}"))
    for k in range(2, len(names) + 1):
        found.append(oracle.mixture(cases, select(gate, "topk", k).weights, f"gate, top {k}"))
    found.append(oracle.mixture(cases, select(gate, "adaptive", p=model.config.mix.p).weights, "gate, adaptive"))
    for m, name in enumerate(names):
        if len(names) > 2:
            rest = gate * (np.arange(len(names)) != m)
            rest = rest / rest.sum(axis=1, keepdims=True)
            found.append(oracle.mixture(cases, select(rest, "topk", 2).weights, f"gate, top 2 without {name}"))
    return [*found, *oracle.baselines(cases, val)]


def ablation(model: CrackModel, found: Gathered, draws: int = 10_000, val: Gathered | None = None) -> list[Table]:
    """The paper's Tables 3 to 5 on our photos, with simple mixtures and oracles, against the best single expert."""
    mixtures = ways(model, found.weights, found.cases, val.cases if val is not None else None)
    pools = {m.name: _pool(m, found.samples) for m in mixtures}
    best = max(model.names, key=lambda n: pools[n].compute()["pooled_iou"])
    others = {n: p for n, p in pools.items() if n != best}
    compared = {c.name: c for c in compare(pools[best], others, by="group", draws=draws)}
    rows = []
    for mixed in mixtures:
        summary = mixed.summary()
        row: dict[str, Any] = {"way": mixed.name}
        row.update({k.removeprefix("pooled_"): round(100 * summary[k], 2) for k in _COLUMNS})
        row["mean IoU"] = round(100 * summary["iou"], 2)
        if mixed.name in compared:
            gain = compared[mixed.name].pooled["pooled_iou"]
            row["gain"] = f"{100 * gain.value:+.2f} [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}]"
            row["p"] = round(compared[mixed.name].p_holm, 5)
        rows.append(row)
    columns = dict.fromkeys(("way", *(k.removeprefix("pooled_") for k in _COLUMNS), "mean IoU", "gain", "p"), "")
    title = f"Ways of mixing, pooled % (gain: IoU over {best}, 95 % bootstrap over photos; p: Wilcoxon, Holm)"
    return [Table(columns, rows, title)]


_COLUMNS = ("pooled_iou", "pooled_precision", "pooled_recall", "pooled_f1", "pooled_miou")


def _pool(mixed: oracle.Mixture, samples: Sequence[Sample]) -> Pool:
    pool = Pool()
    for sample, counts in zip(samples, mixed.counts, strict=True):
        pool.add_counts(sample.id, Counts(*(int(c) for c in counts)), sample.group)
    return pool


# ------------------------------------------------------------------------------------------------ drawing


def _plots(pool: Pool) -> dict[str, str]:
    column = pool.items.column("iou")
    return {"IoU of each photo": plots.histogram(column, "IoU", {"mean": float(np.nanmean(column))})}


def _pictures(model: CrackModel, samples: Sequence[Sample], count: int) -> Iterator[tuple[str, NDArray[Any]]]:
    order = rng_for(0, "crack", "pictures", len(samples)).permutation(len(samples))[:count]
    for k in sorted(int(i) for i in order):
        one = look(model, samples[k])
        own = select(one.weights[None], **model.mixing(PredictOptions())).weights[0]
        found = (blend(one.maps, own) if one.mixed is None else one.mixed) >= 0.5
        picture = one.sample.image()
        row = [grey(picture), overlay(picture, found), comparison(picture, found, one.truth)]
        yield f"{one.sample.id}: photo, mask found, right (blue), invented (red), missed (green)", beside(row)


# --------------------------------------------------------------------------------------------------- card


def card_of(model: CrackModel, samples: Sequence[Sample], run: Run | None, drawn: bool) -> Card:
    """The card of a freshly trained model, measured on held-out drawn photos, or on a user's test split."""
    chosen = heldout(model) if drawn else list(samples)
    metrics = totals_of(model, gather(model, chosen))
    data = model.config.data
    words = (
        f"{data.train} drawn photos of {len(world.DOMAINS)} surfaces with drawn cracks" if drawn else "a user's photos"
    )
    where = f"held-out drawn photos of {data.size} pixels" if drawn else "photos of the user's test split"
    if drawn and data.photos:
        words += ", some drawn on packaged photos of gravel and brick"
    return training_card(
        model,
        run,
        metrics,
        title=f"Crack experts ({', '.join(model.names)}) and gate",
        data=words,
        measured_on=f"{len(chosen)} {where}",
        limits=(
            "Trained on drawn cracks, 1 to 7 pixels wide; no real crack data set was within reach.",
            "Photos from very near show wider cracks: shrink them (--resize).",
            "Lengths and widths in millimetres are as good as the scale that you give.",
        ),
        energy=energy_line(model) if "gate" in model.networks and not model.config.external else "not estimated",
    )
