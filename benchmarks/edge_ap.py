"""Average precision of 5,000 photos against faster-coco-eval, and the paired bootstrap on the same boxes.

    python -m benchmarks edge_ap

Each photo has 30 true boxes of 10 classes and 60 found ones: every true box found loosely, and 30 strays. Both run on
one thread, in turns; the clock is processor time, after one warm-up. Once the peer's annotations are already loaded and
indexed, which suits it; once both begin with the arrays a detector gives, which is what a validation has to do.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fieldsight.data.detection.sample import Detections, Truth
from fieldsight.engine.seed import rng_for
from fieldsight.metrics.detection import AveragePrecision, compare

COMMAND = "python -m benchmarks edge_ap"
PHOTOS, TRUTHS, CLASSES, ROUNDS, DRAWS = 5000, 30, 10, 3, 20
NAMES = [f"class {k}" for k in range(CLASSES)]

Photo = tuple[str, Detections, Truth]


def main() -> list[dict[str, Any]]:
    photos = made(0)
    data, results = as_coco(photos)
    loaded = load(data, results)
    ours(photos[:50])
    theirs(load(*as_coco(photos[:50])))
    times: dict[str, list[float]] = {"ours": [], "loaded": [], "arrays": []}
    found: dict[str, Any] = {}
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(photos),
        "loaded": lambda: theirs(loaded),
        "arrays": lambda: theirs(load(*as_coco(photos))),
    }
    for _ in range(ROUNDS):
        for name, way in ways.items():
            gc.collect()
            seconds, found[name] = timed(way)
            times[name].append(seconds)
    middle = {name: statistics.median(t) for name, t in times.items()}
    measured, numbers = found["ours"]
    gap = float(np.abs(np.array(list(numbers.values())) - found["loaded"]).max())
    again, _ = timed(lambda: measured.compute(0.5))
    other = ours(made(1, truths=photos))[0]
    compare(measured, other, draws=1)
    resampled, _ = timed(lambda: compare(measured, other, draws=DRAWS))
    title = f"the 12 COCO numbers of {PHOTOS:,} photos, {TRUTHS} true and {2 * TRUTHS} found boxes, {CLASSES} classes"
    peer = "faster-coco-eval"
    return [
        row(title, middle["ours"], "s", peer=f"{peer}, annotations loaded", peer_value=middle["loaded"],
            ratio=middle["loaded"] / middle["ours"], goal=5.0),
        row("the same, both from arrays", middle["ours"], "s", peer=peer, peer_value=middle["arrays"],
            ratio=middle["arrays"] / middle["ours"], goal=5.0),
        row("largest difference of a number", gap, "1", peer=peer, goal=1e-12),
        row("the same photos at confidence 0.5", again, "s"),
        row("paired bootstrap of two detectors on them, a draw", 1e3 * resampled / (DRAWS + 1), "ms"),
    ]  # fmt: skip


def made(seed: int, truths: list[Photo] | None = None) -> list[Photo]:
    """Photos with drawn boxes; the same true ones as another set where it is given."""
    photos = []
    for n in range(PHOTOS):
        rng = rng_for(seed, "bench", n)
        if truths is None:
            corner, sides = rng.uniform(0, 500, (TRUTHS, 2)), np.exp(rng.uniform(2.3, 5.3, (TRUTHS, 2)))
            boxes = np.concatenate([corner, corner + sides], axis=1)
            truth = Truth.of(boxes, rng.integers(CLASSES, size=TRUTHS))
        else:
            truth = truths[n][2]
        sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
        near = truth.boxes + rng.normal(0, 0.06, (TRUTHS, 4)) * np.tile(sides, 2)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        stray = rng.uniform(0, 500, (TRUTHS, 2))
        scores = np.concatenate([rng.beta(4, 2, TRUTHS), rng.beta(1, 4, TRUTHS)])
        found = np.concatenate([near, np.concatenate([stray, stray + sides], axis=1)])
        labels = np.concatenate([truth.labels, rng.integers(CLASSES, size=TRUTHS)])
        photos.append((f"{n:05d}", Detections.of(found, scores, labels), truth))
    return photos


def ours(photos: list[Photo]) -> tuple[AveragePrecision, dict[str, float]]:
    measured = AveragePrecision(NAMES)
    for photo in photos:
        measured.add(*photo)
    return measured, measured.compute().numbers()


def as_coco(photos: list[Photo]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The dictionaries that the peer takes."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for n, (_, d, t) in enumerate(photos, 1):
        for (x1, y1, x2, y2), label, area in zip(t.boxes.tolist(), t.labels.tolist(), t.area.tolist(), strict=True):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": n, "category_id": label + 1, "area": area, "iscrowd": 0,
                 "bbox": [x1, y1, x2 - x1, y2 - y1]}
            )  # fmt: skip
        for (x1, y1, x2, y2), label, score in zip(d.boxes.tolist(), d.labels.tolist(), d.scores.tolist(), strict=True):
            results.append(
                {"image_id": n, "category_id": label + 1, "score": score, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            )
    images = [{"id": n, "height": 700, "width": 700} for n in range(1, len(photos) + 1)]
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def load(data: dict[str, Any], results: list[dict[str, Any]]) -> tuple[Any, Any]:
    from faster_coco_eval import COCO

    truth = COCO(data, print_function=silent)
    return truth, truth.loadRes(results)


def theirs(loaded: tuple[Any, Any]) -> np.ndarray[Any, Any]:
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    judge = COCOeval_faster(*loaded, "bbox", print_function=silent)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return np.array(judge.stats[:12])


def silent(*_: Any) -> None:
    pass


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.process_time()
    result = run()
    return time.process_time() - begun, result


def row(name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}


if __name__ == "__main__":
    for one_row in main():
        print(one_row)
