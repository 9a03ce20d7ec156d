"""Training of a detector of stenoses: filter and fuse (Eqs. 1 to 6), then augment, then learn; the paper's order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fieldsight.data.detection.kept import keep
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.detection.train import begin, fit_detector
from fieldsight.run import Run
from fieldsight.systems.vessel.config import VesselConfig
from fieldsight.systems.vessel.data import load_splits, seen
from fieldsight.systems.vessel.predict import VesselModel


def train(config: VesselConfig, data: Path | None, run: Run, init: VesselModel | None) -> VesselModel:
    """Train a detector on a data set; without ``data`` on drawn patients.

    Raises:
        DataError: the data can't be used.
        ModelFileError: the checkpoint can't be read or is of another network.
    """
    splits = load_splits(config, data)
    model = VesselModel.create(config.replace(classes=splits.classes))
    begin(model, init)
    fit_detector(model.detector, model.config, shown(splits.train, config), shown(splits.val, config, False), run)
    model.artefacts["training"] = {"drawn": data is None, "pictures": len(splits.train)}
    model.round_weights()
    from fieldsight.systems.vessel.evaluate import card_of

    model.card = card_of(model, splits.test, run, drawn=data is None)
    return model


def shown(samples: Sequence[DetectionSample], config: VesselConfig, learn: bool = True) -> list[DetectionSample]:
    """Samples as the detector sees them, filtered and fused once and then kept."""
    what = "training frames" if learn else "validation frames"
    return keep([seen(s, config.input, config.enhance, learn) for s in samples], what)
