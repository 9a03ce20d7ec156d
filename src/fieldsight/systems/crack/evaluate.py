"""How good the masks are on held-out photos: the mixture, every expert, every way of mixing, and the oracles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from fieldsight.run import Run, command_line, commit, now, versions
from fieldsight.systems.crack import oracle, routing, world
from fieldsight.systems.crack.data import draw
from fieldsight.systems.crack.explain import Seen, look
from fieldsight.systems.crack.folders import read_folder
from fieldsight.systems.crack.mixing import select
from fieldsight.systems.crack.options import EvaluateOptions, PredictOptions
from fieldsight.systems.crack.overlay import comparison, overlay
from fieldsight.systems.crack.pooling import Pool, compare
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.sample import Sample
from fieldsight.systems.crack.scores import Counts

Weights = NDArray[np.float64]

#: First seed of drawn test photos; see studies/crack/heldout.toml.
HELD_OUT_SEED = 900_000


def evaluate(model: CrackModel, data: Path | None, options: EvaluateOptions) -> Evaluation:
    """Measure a model; without ``data`` on drawn photos that no training ever sees.

    Raises:
        DataError: the folder can't be used, or the split is empty.
    """
    samples, on = choose(model, data, options)
    seen = [look(model, s) for s in progress.track(samples, "measuring photos")]
    pool, weights = measure(model, seen)
    metrics = totals(model, seen, pool, weights)
    tables = [surfaces(seen, weights)]
    if len(model.names) > 1:
        ran = select(stacked(seen), **model.mixing(PredictOptions())).run
        tables.insert(0, routing.expert_table(model.names, stacked(seen), expert_scores(seen), ran))
    if options.ablate:
        tables = [*ablation(model, seen, options.draws), *tables]
    warnings = tuple(pool.notes())
    return Evaluation(
        registry.get("crack"),
        metrics,
        pool.items,
        on,
        tuple(tables),
        _plots(pool, seen),
        dict(_pictures(seen, weights, options.pictures)),
        {"mixing": str(model.mixing(PredictOptions()))},
        warnings,
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


def heldout(model: CrackModel, domains: Sequence[str] = world.DOMAINS) -> list[Sample]:
    """The held-out drawn test photos of a model's size and annotation."""
    own = model.config.data.replace(seed=HELD_OUT_SEED + model.config.data.seed, train=10, val=2)
    return [s for s in draw(own, domains) if s.split == "test"]


# ---------------------------------------------------------------------------------------------- measuring


def stacked(seen: Sequence[Seen]) -> Weights:
    """The gate's weights ``(N, M)``."""
    return np.stack([s.weights for s in seen])


def expert_scores(seen: Sequence[Seen]) -> Weights:
    """IoU of every expert alone on every photo ``(N, M)``."""
    return oracle.iou_of(oracle.Cases([s.maps for s in seen], [s.truth for s in seen]).single())


def measure(model: CrackModel, seen: Sequence[Seen], threshold: float = 0.5) -> tuple[Pool, Weights]:
    """All numbers of the mixture, photo by photo, and the mixing weights ``(N, M)``."""
    weights = mixed_weights(model, seen)
    pool = Pool()
    for one, w in zip(seen, weights, strict=True):
        pool.add(one.sample.id, blend(one.maps, w) >= threshold, one.truth, one.sample.group)
    return pool, weights


def mixed_weights(model: CrackModel, seen: Sequence[Seen], **changes: Any) -> Weights:
    """Mixing weights ``(N, M)`` by the model's own way, or another one."""
    return select(stacked(seen), **{**model.mixing(PredictOptions()), **changes}).weights


def blend(maps: NDArray[np.float32], weights: Weights) -> NDArray[np.float32]:
    """Weighted sum ``(H, W)`` of maps ``(M, H, W)``, in the order in which prediction adds them."""
    found = np.zeros(maps.shape[1:], np.float32)
    for m in np.flatnonzero(weights):
        found += np.float32(weights[m]) * maps[m]
    return found


def totals(model: CrackModel, seen: Sequence[Seen], pool: Pool, weights: Weights) -> dict[str, float]:
    """The metrics of the spec."""
    found = pool.compute()
    names = {m.name for m in registry.get("crack").metrics}
    metrics = {k: v for k, v in found.items() if k in names}
    if len(model.names) > 1:
        scores = expert_scores(seen)
        order = sorted(range(len(seen)), key=lambda k: seen[k].sample.id)
        routed = np.empty(len(seen))
        routed[order] = pool.items.column("iou")
        told = routing.report(stacked(seen), scores, routed)
        metrics.update(
            hit=told["top1_accuracy"], top2_recall=told["top2_recall"], regret=told["regret"], entropy=told["entropy_share"]
        )
    return metrics


# ------------------------------------------------------------------------------------------------- tables


def surfaces(seen: Sequence[Seen], weights: Weights) -> Table:
    """Pooled IoU on each kind of surface: the mixture beside every expert."""
    rows: list[Mapping[str, Any]] = []
    for domain in sorted({s.sample.domain for s in seen}):
        chosen = [k for k, s in enumerate(seen) if s.sample.domain == domain]
        cases = oracle.Cases([seen[k].maps for k in chosen], [seen[k].truth for k in chosen])
        row = {"surface": domain or "unknown", "photos": len(chosen)}
        row["mixture"] = round(oracle.mixture(cases, weights[chosen], "").summary()["pooled_iou"], 4)
        for m in range(cases.experts):
            row[f"expert {m + 1}"] = round(oracle.mixture(cases, np.eye(cases.experts)[m], "").summary()["pooled_iou"], 4)
        rows.append(row)
    return Table(dict.fromkeys(rows[0], ""), rows, "Pooled IoU by surface")


def ways(model: CrackModel, seen: Sequence[Seen], cases: oracle.Cases, val: oracle.Cases | None = None) -> list[oracle.Mixture]:
    """Every expert, Hard, Soft, Top-K for every K, adaptive, leave-one-out, simple mixtures, oracles."""
    names, gate = model.names, stacked(seen)
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


def ablation(model: CrackModel, seen: Sequence[Seen], draws: int = 10_000, val: Sequence[Seen] = ()) -> list[Table]:
    """The paper's Tables 3 to 5 on our photos, with simple mixtures and oracles, against the best single expert."""
    cases = oracle.Cases([s.maps for s in seen], [s.truth for s in seen])
    aside = oracle.Cases([s.maps for s in val], [s.truth for s in val]) if val else None
    found = ways(model, seen, cases, aside)
    pools = {m.name: _pool(m, seen) for m in found}
    best = max(model.names, key=lambda n: pools[n].compute()["pooled_iou"])
    compared = {c.name: c for c in compare(pools[best], {n: p for n, p in pools.items() if n != best}, by="group", draws=draws)}
    rows = []
    for mixed in found:
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


def _pool(mixed: oracle.Mixture, seen: Sequence[Seen]) -> Pool:
    pool = Pool()
    for one, counts in zip(seen, mixed.counts, strict=True):
        pool.add_counts(one.sample.id, Counts(*(int(c) for c in counts)), one.sample.group)
    return pool


# ------------------------------------------------------------------------------------------------ drawing


def _plots(pool: Pool, seen: Sequence[Seen]) -> dict[str, str]:
    return {"IoU of each photo": plots.histogram(pool.items.column("iou"), "IoU", {"mean": float(np.nanmean(pool.items.column("iou")))})}


def _pictures(seen: Sequence[Seen], weights: Weights, count: int) -> Mapping[str, NDArray[Any]]:
    order = rng_for(0, "crack", "pictures", len(seen)).permutation(len(seen))[:count]
    drawn = {}
    for k in sorted(int(i) for i in order):
        one, picture = seen[k], seen[k].sample.image()
        found = blend(one.maps, weights[k]) >= 0.5
        row = [grey(picture), overlay(picture, found), comparison(picture, found, one.truth)]
        drawn[f"{one.sample.id}: photo, mask found, right (blue), invented (red), missed (green)"] = beside(row)
    return drawn


# --------------------------------------------------------------------------------------------------- card


def card_of(model: CrackModel, samples: Sequence[Sample], run: Run | None, drawn: bool) -> Card:
    """The card of a freshly trained model, measured on held-out drawn photos, or on a user's test split."""
    chosen = heldout(model) if drawn else list(samples)
    seen = [look(model, s) for s in progress.track(chosen, "measuring photos")]
    pool, weights = measure(model, seen)
    metrics = totals(model, seen, pool, weights)
    spec = registry.get("crack")
    data = model.config.data
    words = f"{data.train} drawn photos of {len(world.DOMAINS)} surfaces with drawn cracks" if drawn else "a user's photos"
    if drawn and data.photos:
        words += ", some drawn on packaged photos of gravel and brick"
    return Card(
        title=f"Crack experts ({', '.join(model.names)}) and gate",
        system="crack",
        preset=str(run.info.get("preset", "")) if run is not None else "",
        data=words,
        command=run.info["command"] if run is not None else command_line(),
        commit=commit(),
        date=now(),
        metrics={m.name: _finite(metrics.get(m.name)) for m in spec.metrics},
        protocols={m.name: f"[{m.unit}] {m.protocol}" for m in spec.metrics},
        measured_on=f"{len(chosen)} held-out {'drawn ' if drawn else ''}photos of {data.size if drawn else 'their own'} pixels",
        parameters=sum(p.numel() for n in model.networks.values() for p in n.parameters()),
        energy=energy_line(model) if "gate" in model.networks and not model.config.external else "not estimated",
        limits=(
            "Trained on drawn cracks, 1 to 7 pixels wide; no real crack data set was within reach.",
            "Photos from very near show wider cracks: shrink them (--resize).",
            "Lengths and widths in millimetres are as good as the scale that you give.",
        ),
        notice=spec.notice,
        versions=versions(),
        fingerprint=model.fingerprint(),
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 5)
