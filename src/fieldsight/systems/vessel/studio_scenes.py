"""Angiograms to try: the page's examples, the gallery's picture and the tour's part."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fieldsight import assets
from fieldsight.studio.context import Example

if TYPE_CHECKING:
    from fieldsight.predictions import Picture
    from fieldsight.report.html import Section
    from fieldsight.systems.vessel.phantom import Angiogram
    from fieldsight.systems.vessel.predict import VesselModel
    from fieldsight.systems.vessel.results import Stenoses

#: Seed of the drawn examples; nothing is trained or measured with it.
SEED = 800_000

#: Examples: words of the button; artery, view, contrast and number of the drawn patient.
SCENES = (
    ("Left artery, clear", ("LCA", "RAO", "high", 9)),
    ("Left artery, faint", ("LCA", "LAO", "low", 1)),
    ("Right artery", ("RCA", "LAO", "mixed", 2)),
)

#: A drawn patient with a stenosis, as in :data:`SCENES`, and two points on its vessel, px.
NARROWED = ("A narrowing, two points", ("RCA", "LAO", "high", 2), (112.0, 131.0, 80.0, 183.0))

#: Frames of the run among the examples, and two points on a narrowed side branch of it, px.
RUN, RUN_MARKS = 8, (272.0, 169.0, 320.0, 195.0)


def examples() -> Sequence[Example]:
    """Drawn frames, a drawn run as a DICOM file, and for the filter alone scikit-image's retina where it is here."""
    found = [
        Example(words, "drawn", partial(_write, *drawn), verbs=("predict", "enhance", "fuse"))
        for words, drawn in SCENES
    ]
    words, drawn, marks = NARROWED
    found.append(Example(words, "drawn", partial(_write, *drawn), options={"between": marks}, verbs=("measure",)))
    found.append(Example("A run, DICOM", "drawn", _write_run, options={"track": True}, verbs=("predict",)))
    run = {"between": RUN_MARKS}
    found.append(Example("A narrowing in a run, DICOM", "drawn", _write_run, options=run, verbs=("measure",)))
    retina = assets.locate("scikit-image-retina")
    if retina is not None:
        copy = partial(_copy, retina / "retina.jpg")
        found.append(Example("A retina", "real", copy, options={"channel": "green"}, verbs=("enhance",)))
    return found


def scene(artery: str, view: str, look: str, number: int, side: int = 512) -> Angiogram:
    """A drawn frame with its truth; the same every time, and none of those that models train on."""
    from fieldsight.systems.vessel.phantom import Patient, render

    return render(Patient.draw("test", number, SEED, look, artery), view, side=side)


def _write(artery: str, view: str, look: str, number: int, folder: Path) -> Path:
    from fieldsight.data.images import write_image

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{artery}-{view}-{look}-{number}.png".lower()
    return write_image(target, scene(artery, view, look, number).image)


def _write_run(folder: Path) -> Path:
    import numpy as np

    from fieldsight.systems.vessel.phantom import Patient, sequence
    from fieldsight.systems.vessel.xa_write import write_xa

    folder.mkdir(parents=True, exist_ok=True)
    artery, view, look, number = SCENES[0][1]
    patient = Patient.draw("test", number, SEED, look, artery)
    shots = list(sequence(patient, view, RUN, start=patient.flow.full))
    frames = np.stack([one.image for one in shots])
    return write_xa(
        folder / "run.dcm", frames, 15.0, shots[0].primary, shots[0].secondary, artery=artery, overwrite=True
    )


def _copy(source: Path, folder: Path) -> Path:
    import shutil

    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, folder / source.name))


# ------------------------------------------------------------------------------------------------------ the tour


def stages(model: VesselModel, one: Angiogram) -> Picture:
    """A frame, its vesselness, what the detector sees, what it finds: side by side."""
    from fieldsight.predictions import beside
    from fieldsight.systems.vessel import fusing
    from fieldsight.systems.vessel.enhance import measure, mixed, shown

    settings = model.config.enhance
    seen = shown(measure(one.image, settings, 2, detail=False).value, settings)
    found: Stenoses = model.predict(one.image)
    parts = [fusing.grey(one.image), fusing.grey(fusing.levels(seen)), mixed(one.image, seen, settings), found.draw()]
    return beside(parts)


def gallery_picture() -> Picture:
    """The picture in the gallery, 540 x 360: vessels of a drawn frame brought out."""
    import numpy as np

    from fieldsight.data.images import resize
    from fieldsight.systems.vessel.config import Enhance
    from fieldsight.systems.vessel.enhance import fused

    one = scene(*SCENES[0][1], side=540)
    picture = fused(one.image, Enhance(), 2)[90:450]
    return np.asarray(resize(picture, 540))


def demo(section: Section) -> None:
    """Add a short demonstration to the tour: two drawn frames, stage by stage, and a retina where it is here."""
    import fieldsight
    from fieldsight.data.images import resize

    model: VesselModel = fieldsight.load("vessel")
    section.text(model.describe())
    section.text("Input: angiograms of patients who do not exist, drawn by us.")
    for words, drawn in SCENES[:2]:
        section.picture(stages(model, scene(*drawn)), f"{words}: frame, vesselness, what the detector sees, boxes")
    _, drawn, marks = NARROWED
    measured = fieldsight.call("vessel", "measure", scene(*drawn).image, between=marks)
    section.picture(measured.draw(), "A narrowing measured between two points, and the diameter along the vessel")
    root = assets.locate("scikit-image-retina")
    if root is not None:
        shown = fieldsight.call("vessel", "enhance", root / "retina.jpg", channel="green")
        section.text("The filter alone on a real picture it was not made for: a retina (scikit-image, CC0).")
        section.picture(resize(shown.draw(), 1280), "frame, vesselness, fused")
