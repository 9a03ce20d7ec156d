"""Training of detectors: every family moves, the loss falls, the mean of the weights stays, chance has one source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fieldsight.data.detection.sample import DetectionSample, Truth
from fieldsight.detection import train, validate
from fieldsight.detection.network import Exported, Losing, build_detector, decayed, soft_pictures
from fieldsight.engine.seed import rng_for
from fieldsight.systems.edge.config import PRESETS, EdgeConfig

TINY = PRESETS["tiny"].replace(classes=("square", "bar"))


def photo(number: int, split: str = "train") -> DetectionSample:
    """A bright square or bar on grey noise, 64 x 64."""
    rng = rng_for(number, "edge train test")
    picture = rng.integers(90, 130, (64, 64, 3), dtype=np.uint8)
    label = int(rng.integers(2))
    wide, high = ((20, 20), (34, 12))[label]
    left, top = int(rng.integers(64 - wide)), int(rng.integers(64 - high))
    picture[top : top + high, left : left + wide] = (250, 240, 60)
    truth = Truth.of([[left, top, left + wide, top + high]], [label])
    return DetectionSample(f"{split}-{number}", f"g{number}", split, (64, 64), lambda: picture, lambda: truth)


def batch_of(count: int) -> dict[str, torch.Tensor]:
    samples = [photo(n) for n in range(count)]
    pictures = np.stack([s.image() for s in samples]).transpose(0, 3, 1, 2) / np.float32(255)
    boxes = np.stack([s.truth().boxes for s in samples])
    labels = np.stack([s.truth().labels for s in samples])
    return {name: torch.from_numpy(a) for name, a in (("image", pictures), ("boxes", boxes), ("labels", labels))}


def made(config: EdgeConfig) -> Any:
    torch.manual_seed(0)
    return build_detector(config, len(config.classes))


@pytest.mark.parametrize("family", ["yolov8", "yolov10", "rtdetr"])
def test_every_family_learns_by_its_loss_and_exports_one_shape(family: Any) -> None:
    config = TINY.replace(family=family)
    detector = made(config)
    net = Losing(detector, config).train()
    optimizer = torch.optim.AdamW(decayed(detector, 5e-4), lr=2e-3)
    batch, losses = batch_of(4), []
    for _ in range(10 if family != "yolov10" else 20):
        loss = net(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-2:]) < 0.9 * np.mean(losses[:2])
    with torch.inference_mode():
        found = Exported(detector).eval()(soft_pictures(64))
    assert found.shape[:2] == (2, 4 + 2)
    assert ((found[:, 4:] >= 0) & (found[:, 4:] <= 1)).all()


def test_weights_decay_and_biases_do_not() -> None:
    detector = made(TINY)
    weights, others = decayed(detector, 5e-4)
    assert (weights["weight_decay"], others["weight_decay"]) == (5e-4, 0.0)
    assert all(p.ndim > 1 for p in weights["params"])
    learning = sum(p.requires_grad for p in detector.parameters())
    assert len(weights["params"]) + len(others["params"]) == learning


def test_a_training_finds_squares_and_the_same_seed_gives_the_same_weights() -> None:
    calm = {"flip": 0.0, "hue": 0.0, "saturation": 0.0, "value": 0.0}
    config = TINY.replace(
        steps=80, data={"train": 32}, batch=4, nominal=4, lr=0.01, ema=0.95, patience=1000, augment=calm
    )
    learned, seen = [photo(n) for n in range(32)], [photo(n, "val") for n in range(100, 112)]
    detector = made(config)
    before = validate.fitness(detector, seen, config)
    train.fit_detector(detector, config, learned, seen)
    after = validate.fitness(detector, seen, config)
    assert before["val_map50"] < 0.1
    assert after["val_map50"] > 0.7
    found = validate.detect(detector, seen, config, conf=0.1)
    best = [f.boxes[f.scores.argmax()] for f in found if len(f)]
    assert len(best) >= 9
    short = config.replace(steps=2)
    one, two = made(short), made(short)
    for same in (one, two):
        train.fit_detector(same, short, learned, seen)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_mosaic_ends_before_the_training_does(monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[tuple[str, float, int]] = []

    def fake(state: Any, step: Any, loader: Any, *, stage: str, until: Any, **_: Any) -> None:
        stages.append((stage, loader.items.recipe.mosaic, until.count))

    monkeypatch.setattr(train, "fit", fake)
    config = TINY.replace(
        epochs=5, steps=0, batch=4, nominal=8, data={"train": 16}, augment={"mosaic": 1.0, "close_mosaic": 2}
    )
    train.fit_detector(made(config), config, [photo(n) for n in range(16)], [photo(50, "val")])
    assert stages == [("mosaic", 1.0, 12), ("detector", 0.0, 8)]
    stages.clear()
    plain = config.replace(augment={"mosaic": 0.0})
    train.fit_detector(made(plain), plain, [photo(n) for n in range(16)], [photo(50, "val")])
    assert stages == [("detector", 0.0, 20)]
