"""Stenoses in a run of frames: DICOM or video, frame by frame, boxes followed where it is wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.dicom import DICOM_SUFFIXES, is_dicom
from fieldsight.detection.video import VideoFound, predict_video
from fieldsight.systems.vessel import fusing
from fieldsight.systems.vessel.xa import VIDEO_SUFFIXES, open_angiography

if TYPE_CHECKING:
    from fieldsight.systems.vessel.options import PredictOptions
    from fieldsight.systems.vessel.predict import VesselModel


class RunVideo:
    """An angiogram as the house reads videos: ``path``, ``count``, ``fps``, RGB pictures by their number.

    Raises:
        DataError: as :func:`.xa.open_angiography`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.run = path, open_angiography(path)
        self.count, self.fps = self.run.count, self.run.fps

    def __call__(self, number: int) -> NDArray[np.uint8]:
        """A frame ``(H, W, 3)`` uint8."""
        return fusing.grey(self.run.frame(number))

    def close(self) -> None:
        """Close the file."""
        self.run.close()


def is_run(path: Path) -> bool:
    """Whether a file may hold several frames."""
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES or suffix in DICOM_SUFFIXES or (path.is_file() and is_dicom(path))


def predict_run(model: VesselModel, path: Path, options: PredictOptions) -> VideoFound:
    """Boxes in every ``options.every``-th frame.

    Raises:
        DataError: it can't be read.
    """
    artery: Any = None if options.artery == "file" else options.artery
    with open_angiography(path, artery=artery) as run:
        view, notes = str(run.view(0)), list(run.notes)
    found = predict_video(model, path, options, opener=RunVideo)
    return replace(found, facts={"view": view}, notes=tuple(dict.fromkeys([*notes, *found.notes])))
