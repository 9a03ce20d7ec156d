"""Pictures of `vessel`: a held-out drawn frame stage by stage; a narrowing measured; the gallery's."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import fieldsight
from fieldsight.data.images import resize, write_image
from fieldsight.systems.vessel import studio_scenes
from fieldsight.systems.vessel.data import HELD_OUT_SEED
from fieldsight.systems.vessel.measuring import measure_one
from fieldsight.systems.vessel.options import MeasureOptions
from fieldsight.systems.vessel.phantom import Patient, render
from fieldsight.systems.vessel.predict import VesselModel

WIDTH = 1280

#: The first held-out patient with two stenoses: number, contrast, view.
SHOWN = (0, "mixed", "RAO")


#: A drawn patient of val with a stenosis of 72 %: number, seed, and two points on the vessel, px.
NARROWED = (21, 1, (327.0, 232.0, 304.0, 308.0))


def make(folder: Path) -> None:
    """Write ``vessel-stages.jpg`` and ``vessel-lumen.png``, and the gallery's picture in few colours."""
    model = fieldsight.load("vessel", device="cpu")
    assert isinstance(model, VesselModel)
    number, look, view = SHOWN
    one = render(Patient.draw("test", number, HELD_OUT_SEED, look, "LCA"), view)
    write_image(folder / "vessel-stages.jpg", resize(studio_scenes.stages(model, one), WIDTH))
    number, seed, marks = NARROWED
    frame = render(Patient.draw("val", number, seed, "high"), shot=0).image
    write_image(folder / "vessel-lumen.png", measure_one(frame, MeasureOptions(between=marks)).draw())
    gallery = Image.fromarray(studio_scenes.gallery_picture())
    target = Path(studio_scenes.__file__).with_name("studio.png")
    gallery.quantize(40, dither=Image.Dither.NONE).save(target, optimize=True)
