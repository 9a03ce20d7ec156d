"""Training of a detector (section 3.1.2) on drawn frames or a user's photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fieldsight.data.detection.kept import keep
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.detection.train import begin, fit_detector
from fieldsight.run import Run
from fieldsight.systems.edge.config import EdgeConfig
from fieldsight.systems.edge.data import load_splits
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.quant.calibrate import ENOUGH, PictureStatistics


def train(config: EdgeConfig, data: Path | None, run: Run, init: EdgeModel | None) -> EdgeModel:
    """Train a detector; without ``data`` on drawn frames.

    Raises:
        DataError: the data can't be used.
        ModelFileError: the checkpoint can't be read or is of another network.
    """
    splits = load_splits(config, data)
    model = EdgeModel.create(config.replace(classes=splits.classes))
    begin(model, init)
    learn, watch = keep(splits.train, "training frames"), keep(splits.val, "validation frames")
    fit_detector(model.detector, model.config, learn, watch, run)
    model.artefacts["training"] = training_facts(learn, drawn=data is None)
    model.round_weights()
    from fieldsight.systems.edge.evaluate import card_of

    model.card = card_of(model, splits.test, run, drawn=data is None)
    return model


def training_facts(samples: Sequence[DetectionSample], drawn: bool) -> dict[str, Any]:
    """What later calibrations are compared with: statistics of at most 300 training pictures, and their source."""
    step = max(1, len(samples) // ENOUGH)
    found = PictureStatistics.of(s.image() for s in samples[::step][:ENOUGH])
    return {"drawn": drawn, "pictures": len(samples), "statistics": found.to_dict()}
