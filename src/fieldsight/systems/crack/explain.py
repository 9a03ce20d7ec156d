"""Why the gate chose as it did, and what of its choices a person should check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from fieldsight import predicting
from fieldsight.data.files import write_json
from fieldsight.data.images import write_image
from fieldsight.errors import ConfigError, DataError
from fieldsight.predictions import Picture, Prediction, Table, beside, heat
from fieldsight.systems.crack import review
from fieldsight.systems.crack.engines import EagerEngine
from fieldsight.systems.crack.fusion import fuse
from fieldsight.systems.crack.gating import of_picture, pieces, windows
from fieldsight.systems.crack.inference import iou, prepared, probability, restored
from fieldsight.systems.crack.mixing import select
from fieldsight.systems.crack.nets.gate import Gate
from fieldsight.systems.crack.oof import Table as Oof
from fieldsight.systems.crack.options import ExplainOptions, PredictOptions
from fieldsight.systems.crack.photo import Photo
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.routes import Route
from fieldsight.systems.crack.sample import MaskArray, Sample

#: Dimensions that are kept of a training photo's embedding.
KEPT = 16

#: Miscoverage of the set of experts that holds the best one.
ALPHA = 0.1


@dataclass(frozen=True)
class Explanation(Prediction):
    """One photo's route.

    Attributes:
        picture: the photo, a large one shrunk, ``(H, W, 3)`` uint8.
        attention: Grad-CAM of the greatest weight's logit on it, ``(H, W)`` float32 in 0-1.
        experts: names.
        weights: the gate's weights ``(M,)``; their mean where experts are chosen place by place.
        chosen: names of the experts that are mixed.
        nearest: training photos that look most alike to the gate, with their out-of-fold scores.
        facts: entropy of the weights, the set of experts that holds the best one.
        files: where it was written, if it was.
    """

    picture: Picture
    attention: NDArray[np.float32]
    experts: tuple[str, ...]
    weights: NDArray[np.float32]
    chosen: tuple[str, ...]
    nearest: Table
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def save(self, folder: str | Path, stem: str | Path = "photo") -> list[Path]:
        """Write the drawing as PNG and the rest as JSON."""
        base = Path(folder) / stem
        return [
            write_image(base.with_name(f"{base.name}_route.png"), self.draw()),
            write_json(base.with_name(f"{base.name}_route.json"), self.to_dict()),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Weights, choice, neighbours."""
        return {
            "weights": {e: round(float(w), 4) for e, w in zip(self.experts, self.weights, strict=True)},
            "chosen": list(self.chosen),
            **self.facts,
            "nearest": [dict(row) for row in self.nearest.rows],
        }

    def draw(self) -> Picture:
        """What the gate saw, and where it looked."""
        shade = 0.45 * self.picture + 0.55 * heat(self.attention, 0.0, 1.0)
        return beside([self.picture, np.clip(shade, 0, 255).astype(np.uint8)])

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """Weights in words, then the neighbours."""
        facts = {
            e: f"{w:.0%}{' (used)' if e in self.chosen else ''}"
            for e, w in zip(self.experts, self.weights, strict=True)
        }
        facts.update({k.replace("_", " "): str(v) for k, v in self.facts.items()})
        return facts, (self.nearest,)


def explain(model: CrackModel, inputs: Any, out: Path | None, options: ExplainOptions, strict: bool) -> Any:
    """The verb: weights, Grad-CAM of the gate, nearest training photos with their out-of-fold rows.

    Raises:
        ConfigError: the model has no gate.
    """
    if "gate" not in model.networks:
        raise ConfigError("This model has one expert and no gate: there is no choice to explain.")
    return predicting.predict(
        model, inputs, PredictOptions(), out, strict, {}, action=lambda value, _: explain_one(model, value, options)
    )


def explain_one(model: CrackModel, photo: Photo, options: ExplainOptions) -> Explanation:
    """Explain one photo's route; of a photo that is routed place by place, the mean over its places."""
    own = PredictOptions()
    route = model.route(photo, own, EagerEngine(model, {}))
    gate = route.gate.reshape(-1, len(model.names)).astype(np.float64)
    weights = gate.mean(axis=0).astype(np.float32)
    used = route.usage()
    picture = photo.small()
    attention, embedding = attend(model, photo, int(weights.argmax()), (picture.shape[0], picture.shape[1]))
    facts: dict[str, Any] = {"entropy": round(float(review.gate_doubt(gate).mean()), 4)}
    kept = model.artefacts.get("routing")
    if kept:
        facts |= review.ExpertSets.from_dict(kept["sets"]).facts(model.names, gate)
    if not route.single:
        shares = [f"{n} {w:.0%}" for n, w in zip(model.names, used, strict=True)]
        facts["note"] = f"chosen place by place in a photo of this size; mixed on average: {', '.join(shares)}"
    return Explanation(
        picture, attention, model.names, weights,
        tuple(n for n, w in zip(model.names, used, strict=True) if w > 0),
        nearest(model, embedding, options.neighbours), facts,
    )  # fmt: skip


def attend(
    model: CrackModel, photo: Photo, expert: int, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Where the gate looks for one expert, on a photo shrunk to ``shape``, in 0-1; and the photo's embedding ``(D,)``.

    Both are gathered window by window, as the gate sees the photo.
    """
    import cv2

    gate = model.networks["gate"]
    assert isinstance(gate, Gate)
    canvas, embedding = np.zeros(shape, np.float32), []
    for place, view in pieces(photo, model.config):
        corners, parts = windows(view, model.gate_side)
        cams, features = grad_cam(gate, parts.to(model.device), expert)
        whole = np.zeros(view.shape[2:], np.float32)
        for (top, left), cam in zip(corners, cams, strict=True):
            part = whole[top : top + cam.shape[0], left : left + cam.shape[1]]
            np.maximum(part, cam, out=part)
        if model.config.fit == "native":  # without what was padded
            whole = whole[: place[0].stop - place[0].start, : place[1].stop - place[1].start]
        rows, columns = (
            slice(at.start * n // size, max(at.start * n // size + 1, at.stop * n // size))
            for at, n, size in zip(place, shape, photo.shape, strict=True)
        )
        here = canvas[rows, columns]
        here[:] = cv2.resize(whole, (here.shape[1], here.shape[0]), interpolation=cv2.INTER_LINEAR)
        embedding.append(features.mean(axis=0))
    return canvas / max(float(canvas.max()), 1e-12), np.mean(np.stack(embedding), axis=0)


def grad_cam(gate: Gate, views: torch.Tensor, expert: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Grad-CAM of an expert's logit ``(N, H, W)``, 0 or more, and embeddings ``(N, D)`` (Selvaraju et al. 2017)."""
    gate.eval()
    with torch.enable_grad():
        maps = gate.maps(views).detach().requires_grad_(True)
        features = maps.mean(dim=(2, 3))
        # windows do not mix, so the gradient of the sum holds that of each
        (gradient,) = torch.autograd.grad(gate.head(features)[:, expert].sum(), maps)
    cam = F.relu((gradient.mean(dim=(2, 3), keepdim=True) * maps.detach()).sum(dim=1, keepdim=True))
    cam = F.interpolate(cam, views.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return cam.cpu().numpy(), features.detach().cpu().numpy().astype(np.float64)


# ------------------------------------------------------------------------------------ what training leaves


def neighbours(model: CrackModel, samples: Sequence[Sample], table: Oof) -> dict[str, Any]:
    """Embeddings of the training photos, reduced to :data:`KEPT` dimensions, with their out-of-fold rows.

    Raises:
        DataError: the table is of other photos.
    """
    gate = model.networks["gate"]
    assert isinstance(gate, Gate)
    by_id = {s.id: s for s in samples}
    rows = [r for r in table.rows if r.id in by_id]
    if not rows:
        raise DataError("The out-of-fold table names none of the training photos. Make it of the same data.")
    found = []
    for row in rows:
        seen = pieces(of_picture(by_id[row.id].image()), model.config)
        with torch.inference_mode():
            parts = (windows(view, model.gate_side)[1] for _, view in seen)
            found.append(np.mean([gate.features(p.to(model.device)).mean(0).cpu().numpy() for p in parts], axis=0))
    features = np.stack(found).astype(np.float64)
    mean = features.mean(axis=0)
    _, _, axes = np.linalg.svd(features - mean, full_matrices=False)
    axes = axes[:KEPT]
    return {
        "mean": np.round(mean, 5).tolist(),
        "axes": np.round(axes, 5).tolist(),
        "points": np.round((features - mean) @ axes.T, 4).tolist(),
        "ids": [r.id for r in rows],
        "domains": [r.domain for r in rows],
        "experts": list(table.experts),
        "scores": [[_plain(r.scores[e]) for e in table.experts] for r in rows],
    }


def nearest(model: CrackModel, embedding: NDArray[Any], count: int) -> Table:
    """The training photos whose embeddings lie nearest, with their out-of-fold scores.

    Raises:
        DataError: they were kept for another gate.
    """
    kept = model.artefacts.get("neighbours")
    if not kept or not count:
        return Table({}, [], "nearest training photos")
    mean, axes = np.array(kept["mean"]), np.array(kept["axes"])
    if mean.shape != embedding.shape:
        raise DataError("The model's neighbours are of another gate. Train the gate again.")
    point = (embedding - mean) @ axes.T
    distance = np.linalg.norm(np.array(kept["points"]) - point, axis=1)
    rows = []
    for k in np.argsort(distance, kind="stable")[:count]:
        scores = dict(zip(kept["experts"], kept["scores"][k], strict=True))
        rows.append(
            {"photo": kept["ids"][k], "surface": kept["domains"][k], "distance": round(float(distance[k]), 3), **scores}
        )
    columns = {"photo": "", "surface": "", "distance": "", **dict.fromkeys(kept["experts"], "IoU")}
    return Table(columns, rows, "nearest training photos, with their out-of-fold IoU")


def calibrate(model: CrackModel, samples: Sequence[Sample], table: Oof) -> dict[str, Any]:
    """From validation photos: the expert sets' threshold, and which signs of doubt are usual there."""
    weights, scores, apart = [], [], []
    for sample in samples:
        seen = look(model, sample)
        weights.append(seen.weights)
        scores.append([iou(m >= 0.5, seen.truth) for m in seen.maps])
        ran = select(seen.weights[None], **model.mixing(PredictOptions())).run[0]
        apart.append(review.disagreement(seen.maps, ran))
    w, s = np.array(weights), np.array(scores)
    sets = review.ExpertSets.calibrate(w, s, ALPHA, [sample.group for sample in samples])
    return {
        "sets": sets.to_dict(),
        "disagreement": [round(v, 4) for v in sorted(v for v in apart if not np.isnan(v))],
        "doubt": [round(float(v), 4) for v in np.sort(review.gate_doubt(w))],
        "set_size": sorted(int(v) for v in sets.members(w).sum(axis=1)),
        "val_iou": {n: round(float(v), 5) for n, v in zip(model.names, s.mean(axis=0), strict=True)},
        "oof_iou": {n: round(v, 5) for n, v in table.means().items()},
    }


@dataclass(frozen=True)
class Seen:
    """All that the pool says of a photo whose truth is known.

    Attributes:
        sample: the photo.
        truth: its mask.
        weights: the gate's, ``(M,)``; their mean where a large photo was routed cell by cell.
        maps: of all experts, ``(M, H, W)`` in 0-1.
        mixed: what prediction gives ``(H, W)``, where the photo was routed cell by cell; else None.
        raw: the maps at the size of the networks ``(M, S, S)``, where photos are squashed to it; else None.
    """

    sample: Sample
    truth: MaskArray
    weights: NDArray[np.float64]
    maps: NDArray[np.float32]
    mixed: NDArray[np.float32] | None = None
    raw: NDArray[np.float32] | None = None


def look(model: CrackModel, sample: Sample) -> Seen:
    """Run the gate and every expert on a photo: in one piece, or tile by tile where prediction would.

    Raises:
        DataError: an expert failed.
    """
    picture, truth = sample.image(), sample.mask()
    if model.config.fit == "native" and max(truth.shape) > PredictOptions().tile:
        return _look_by_tiles(model, sample, picture, truth)
    weights = _weights(model, picture)
    if model.config.fit == "squash":
        image = prepared(picture, model.config)
        found = torch.cat([_squashed(model, name, image, sample.id) for name in model.names], dim=1)
        shape = (truth.shape[0], truth.shape[1])
        maps = restored(found, shape, model.config)[0].numpy().clip(0.0, 1.0)
        return Seen(sample, truth, weights, maps, raw=found[0].numpy())
    found_maps = [
        probability(model.networks[n], picture, model.config)
        if n in model.config.pool
        else model.external_map(n, sample)
        for n in model.names
    ]
    return Seen(sample, truth, weights, np.stack(found_maps).clip(0.0, 1.0))


def _squashed(model: CrackModel, name: str, image: torch.Tensor, id: str) -> torch.Tensor:
    """One expert's map ``(1, 1, S, S)`` of what the networks take."""
    if name not in model.config.pool:
        return model.external_experts(allow_code=True)[name].probability(image, [id]).cpu()
    with torch.inference_mode():
        return torch.sigmoid(model.networks[name].eval()(image.to(model.device))).cpu()


def _weights(model: CrackModel, picture: Picture) -> NDArray[np.float64]:
    if "gate" not in model.networks:
        return np.ones(1)
    route = model.route(of_picture(picture), PredictOptions(), EagerEngine(model, {}))
    found = route.gate.reshape(-1, len(model.names)).astype(np.float64).mean(axis=0)
    return np.asarray(found / found.sum(), np.float64)


def _look_by_tiles(model: CrackModel, sample: Sample, picture: Picture, truth: MaskArray) -> Seen:
    options = PredictOptions()
    photo = Photo((truth.shape[0], truth.shape[1]), lambda rows, columns: picture[rows, columns], sample.id)
    model.external_experts(allow_code=True)
    engine = model.engine(options, sample.id)

    def refuse(name: str, problem: str) -> None:
        raise DataError(f"'{sample.id}' can't be measured: expert '{name}' failed: {problem}")

    maps = np.empty((len(model.names), *truth.shape), np.float32)
    for m in range(len(model.names)):
        alone = np.eye(len(model.names), dtype=np.float32)[m][None, None]
        maps[m] = fuse(photo, Route(alone, alone), engine, model.config, options, refuse).probability
    route = model.route(photo, options, engine)
    mixed = None if route.single else fuse(photo, route, engine, model.config, options, refuse).probability
    weights = route.gate.reshape(-1, len(model.names)).astype(np.float64).mean(axis=0)
    return Seen(sample, truth, weights / weights.sum(), maps.clip(0.0, 1.0), mixed)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
