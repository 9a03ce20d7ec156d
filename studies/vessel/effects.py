"""What filter and fusion do to a small detector that starts from nothing, on drawn angiograms of low contrast.

The specification's stand-in: 200 frames, two families of detectors, several seeds, equal settings; measured on
held-out patients. Controls: the raw frame, contrast raised by plain means (CLAHE), and the filter with the printed,
wrong polarity. A second question: what frames of known patients would have made of the numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import fieldsight
from fieldsight import studies
from fieldsight.data.detection.kept import keep
from fieldsight.data.detection.sample import Detections, DetectionSample
from fieldsight.detection.measure import detect_all
from fieldsight.detection.model import DetectorModel
from fieldsight.detection.train import begin, fit_detector
from fieldsight.metrics.detection import AveragePrecision, compare
from fieldsight.metrics.froc import FROC
from fieldsight.systems.vessel.config import PRESETS, VesselConfig
from fieldsight.systems.vessel.data import HELD_OUT_SEED, drawn, drawn_splits, some
from fieldsight.systems.vessel.evaluate import branches, only
from fieldsight.systems.vessel.predict import VesselModel
from fieldsight.systems.vessel.train import shown

SEEDS = (0, 1, 2, 3, 4)

#: What the detector sees, by the name in the record.
INPUTS: dict[str, dict[str, Any]] = {
    "raw": {"mode": "raw"},
    "vesselness": {"mode": "vesselness"},
    "ihs": {"mode": "ihs"},
    "blend": {"mode": "blend"},
    "stack": {"mode": "stack"},
    "average": {"mode": "average"},
    "clahe": {"mode": "clahe"},
    "ihs, wrong polarity": {"mode": "ihs", "polarity": "bright"},
}

#: With all seeds; the rest, and the second family, with the first three.
MAIN = ("raw", "vesselness", "ihs", "blend", "stack")
FEWER = 3

#: The second family, and what it is shown.
SECOND = ("yolov10", ("raw", "vesselness", "ihs"))

#: Other numbers of training frames, with the first three seeds: what more data leave of the effect.
AMOUNTS = (50, 800)

#: Test frames, two of a patient; boxes that are kept of each.
TEST, KEPT = 160, 30


def run(seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    done = studies.Done("vessel", "effects")

    def one(family: str, name: str, seed: int) -> dict[str, Any]:
        key = {"family": family, "input": name, "seed": seed}
        return done.get(key, lambda: trained_once(config_of(family, name, seed)))

    found: dict[str, dict[str, dict[str, Any]]] = {"yolov8": {}, SECOND[0]: {}}
    for seed in seeds:
        for name in MAIN:
            found["yolov8"].setdefault(name, {})[str(seed)] = one("yolov8", name, seed)
    for seed in seeds[:FEWER]:
        for name in SECOND[1]:
            found[SECOND[0]].setdefault(name, {})[str(seed)] = one(SECOND[0], name, seed)
    for seed in seeds[:FEWER]:
        for name in [n for n in INPUTS if n not in MAIN]:
            found["yolov8"].setdefault(name, {})[str(seed)] = one("yolov8", name, seed)
    known = {str(s): done.get({"known patients": s}, lambda s=s: known_patients(s)) for s in seeds[:FEWER]}
    amounts: dict[int, dict[str, dict[str, Any]]] = {n: {"raw": {}, "ihs": {}} for n in AMOUNTS}
    for seed in seeds[:FEWER]:
        for frames in AMOUNTS:
            for name in ("raw", "ihs"):
                config = config_of("yolov8", name, seed, train=frames)
                key = {"frames": frames, "input": name, "seed": seed}
                amounts[frames][name][str(seed)] = done.get(key, lambda c=config: trained_once(c))
    amounts[200] = {n: {str(s): found["yolov8"][n][str(s)] for s in seeds[:FEWER]} for n in ("raw", "ihs")}
    starts: dict[str, dict[str, Any]] = {"raw": {}, "ihs": {}}
    for seed in seeds[:FEWER]:
        for name in starts:
            config = config_of("yolov8", name, seed).replace(size="n", steps=STEPS // 2)
            key = {"from": "edge", "input": name, "seed": seed}
            starts[name][str(seed)] = done.get(key, lambda c=config: trained_once(c, known=True))
    families = {family: summary(values) for family, values in found.items()}
    return {
        "claim": "AP50 on held-out drawn patients of low contrast, of small detectors trained from nothing on 200 "
        "frames as they are, filtered, or fused; paired intervals over patients and trainings",
        "seeds": list(seeds),
        "settings": {"input": 256, "steps": STEPS, "frames": 200, "test frames": TEST, "patients tested": TEST // 2},
        "families": families,
        "known patients": known,
        "amounts": {str(n): summary(amounts[n]) for n in sorted(amounts)},
        "pretrained": (pretrained := summary(starts)),
        "views": (views := by_view(found["yolov8"])),
        "reproduce": told(families["yolov8"], views, known, pretrained),
    }


#: Fewer than the preset's: validation has shown no more beyond, and there are forty trainings.
STEPS = 400


def config_of(family: str, name: str, seed: int, **data: Any) -> VesselConfig:
    own = {"train": 200, "val": 24, "each": 2, "look": "low", "seed": seed, **data}
    return PRESETS["small"].replace(family=family, seed=seed, steps=STEPS, enhance=INPUTS[name], data=own)


# ---------------------------------------------------------------------------------------------- one training


def trained_once(config: VesselConfig, known: bool = False) -> dict[str, Any]:
    """Boxes on the test frames, after a training; ``known`` starts from the detector of streets that ships."""
    start = time.perf_counter()
    learn, watch = learning(config.data.seed, config.data.train)
    model = fitted(config, learn, watch, cast(DetectorModel, fieldsight.load("edge")) if known else None)
    found = [list(_plain(d)) for d in detect_all(model, tests())]
    return {"minutes": round((time.perf_counter() - start) / 60, 2), "found": found}


def fitted(
    config: VesselConfig,
    learn: Sequence[DetectionSample],
    watch: Sequence[DetectionSample],
    start: DetectorModel | None = None,
) -> VesselModel:
    model = VesselModel.create(config)
    begin(model, start)
    fit_detector(model.detector, config, shown(learn, config), shown(watch, config, False))
    model.round_weights()
    return model


def _plain(found: Detections) -> tuple[list[list[float]], list[float]]:
    order = np.argsort(-found.scores, kind="stable")[:KEPT]
    boxes = [[round(float(v), 1) for v in box] for box in found.boxes[order]]
    return boxes, [round(float(s), 5) for s in found.scores[order]]


@lru_cache(maxsize=1)
def learning(seed: int, frames: int = 200) -> tuple[list[DetectionSample], list[DetectionSample]]:
    """The frames of a seed, drawn once for all inputs."""
    splits = drawn_splits(config_of("yolov8", "raw", seed, train=frames).data)
    return keep(splits.train, "training frames"), keep(splits.val, "validation frames")


@lru_cache(maxsize=1)
def tests() -> list[DetectionSample]:
    """The test frames, the same for all: held-out patients."""
    config = config_of("yolov8", "raw", 0)
    return keep(some("test", TEST, config.data, HELD_OUT_SEED), "test frames")


# ------------------------------------------------------------------------------------------------- measures


def summary(values: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """AP50 and sensitivities by input and seed, and differences from the raw frame with their intervals."""
    pools = {name: {s: pool_of(v["found"]) for s, v in runs.items()} for name, runs in values.items()}
    out: dict[str, Any] = {}
    for name, runs in values.items():
        ap50 = {s: round(float(pools[name][s].compute().numbers()["mAP50"]), 5) for s in runs}
        kinds = {s: sensitivities(v["found"]) for s, v in runs.items()}
        out[name] = {"ap50": ap50, "mean_ap50": _mean(ap50.values())}
        out[name] |= {f"mean_sensitivity_{k}": _mean(v[k] for v in kinds.values()) for k in ("main", "branch")}
        out[name] |= {"sensitivity": kinds, "minutes": {s: v["minutes"] for s, v in runs.items()}}
        if name != "raw":
            out[name]["minus_raw"] = gap(pools["raw"], pools[name])
            raw = [sensitivities(values["raw"][s]["found"]) for s in runs]
            for kind in ("main", "branch"):
                more = [kinds[s][kind] - r[kind] for s, r in zip(runs, raw, strict=True)]
                out[name][f"{kind}_minus_raw"] = {"mean": _mean(more), "seeds": [round(m, 4) for m in more]}
    if "ihs, wrong polarity" in pools:
        out["ihs, wrong polarity"]["minus_ihs"] = gap(pools["ihs"], pools["ihs, wrong polarity"])
    if "clahe" in pools:
        out["ihs"]["minus_clahe"] = gap(pools["clahe"], pools["ihs"])
    return out


def gap(a: dict[str, AveragePrecision], b: dict[str, AveragePrecision]) -> dict[str, Any]:
    """Mean difference of AP50 over the seeds both have, with its interval over patients and trainings."""
    both = [s for s in a if s in b]
    told = compare([a[s] for s in both], [b[s] for s in both], iou=0.5, draws=2000)
    d = told.difference
    value, low, high = (round(100 * v, 2) for v in (d.value, d.low, d.high))
    return {"points": value, "low": low, "high": high, "p": told.p}


def by_view(values: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """AP50 of raw and fused frames by view, mean over seeds, for what tables call views; frames of each."""
    frames: dict[str, list[int]] = {}
    for k, sample in enumerate(tests()):
        for name in (str(sample.facts["view"]), str(sample.facts["view"])[:3]):
            frames.setdefault(name, []).append(k)
    out: dict[str, dict[str, float]] = {}
    for view, chosen in sorted(frames.items()):
        out[view] = {"frames": len(chosen)}
        for name in ("raw", "ihs"):
            pools = [pool_of(run["found"], chosen) for run in values[name].values()]
            out[view][name] = _mean(p.compute().numbers()["mAP50"] for p in pools)
    return out


def told(
    inputs: dict[str, Any], views: dict[str, dict[str, float]], known: dict[str, Any], pretrained: dict[str, Any]
) -> dict[str, str]:
    """Numbers for ``reproduce``, in its words."""

    def points(name: str, among: dict[str, Any] = inputs) -> str:
        g = among[name]["minus_raw"]
        return f"{g['points']:+.1f} [{g['low']:+.1f}, {g['high']:+.1f}]"

    own = {v: 100 * (n["ihs"] - n["raw"]) for v, n in views.items() if len(v) > 3}
    sides = [100 * (views["LCA"][name] - views["RCA"][name]) for name in ("raw", "ihs")]
    more = 100 * (inputs["ihs"]["branch_minus_raw"]["mean"] - inputs["ihs"]["main_minus_raw"]["mean"])
    names = {"vesselness": "vesselness alone", "blend": "blend", "average": "average", "stack": "stack",
             "clahe": "CLAHE", "ihs, wrong polarity": "printed polarity"}  # fmt: skip
    flattery = [100 * (v["other frames of known patients"] - v["other patients"]) for v in known.values()]
    return {
        "gain of fused over raw frames in AP50 [points]": points("ihs"),
        "control: gain of fused over raw frames of a pretrained detector in AP50 [points]": points("ihs", pretrained),
        "views with a gain": f"{sum(v > 0 for v in own.values())} of {len(own)}, {min(own.values()):+.1f} to "
        f"{max(own.values()):+.1f} points",
        "AP50 of LCA less RCA [points]": f"raw {sides[0]:.1f}, fused {sides[1]:.1f}",
        "gain in sensitivity on side branches less that on main vessels [points]": f"{more:+.1f}",
        **{f"control: {word} less raw frames in AP50 [points]": points(name) for name, word in names.items()},
        "control: split by frame less split by patient in AP50 [points]": f"{np.mean(flattery):+.1f} "
        f"(seeds {', '.join(f'{v:+.1f}' for v in flattery)})",
    }


def _mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 5)


def _detections(one: Any) -> Detections:
    return Detections.of(one[0], one[1], np.zeros(len(one[1])))


def pool_of(found: Sequence[Any], chosen: Sequence[int] | None = None) -> AveragePrecision:
    """Of all test frames, or of some."""
    pool = AveragePrecision(("stenosis",))
    pairs = list(zip(tests(), found, strict=True))
    for sample, one in pairs if chosen is None else [pairs[k] for k in chosen]:
        pool.add(sample.id, _detections(one), sample.truth(), sample.group)
    return pool


@lru_cache(maxsize=1)
def on_branches() -> list[NDArray[np.bool_]]:
    """Which true boxes of each test frame are on side branches."""
    found = [branches(sample) for sample in tests()]
    assert all(one is not None for one in found)
    return [one for one in found if one is not None]


def sensitivities(found: Sequence[Any]) -> dict[str, float]:
    """Sensitivity at one false box a frame to lesions on main vessels and on branches."""
    out = {}
    for kind in ("main", "branch"):
        froc = FROC(("stenosis",))
        for sample, one, branch in zip(tests(), found, on_branches(), strict=True):
            truth = only(sample.truth(), branch if kind == "branch" else ~branch)
            froc.add(sample.id, _detections(one), truth, sample.group)
        out[kind] = round(float(froc.compute(rates=(1.0,), draws=0).mean.value), 5)
    return out


# ------------------------------------------------------------------------------------------- known patients


def known_patients(seed: int) -> dict[str, Any]:
    """The same detector on new frames of the 20 patients it was trained on, and on as many of other patients."""
    start = time.perf_counter()
    config = config_of("yolov8", "ihs", seed, each=10)
    look, side = config.data.look, config.data.side
    every = drawn("train", 20, 14, seed, look, side)
    learn = [s for k, s in enumerate(every) if k % 14 < 10]
    again = [s for k, s in enumerate(every) if k % 14 >= 10]
    others = drawn("test", 20, 4, HELD_OUT_SEED, look, side)
    model = fitted(config, keep(learn, "training frames"), learning(seed)[1])
    found: dict[str, Any] = {}
    for name, samples in (("other frames of known patients", again), ("other patients", others)):
        pool = AveragePrecision(("stenosis",))
        for sample, one in zip(samples, detect_all(model, samples), strict=True):
            pool.add(sample.id, one, sample.truth(), sample.group)
        found[name] = round(float(pool.compute().numbers()["mAP50"]), 5)
    return {**found, "frames": len(again), "minutes": round((time.perf_counter() - start) / 60, 2)}
