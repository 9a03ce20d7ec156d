"""Photos to try: the page's examples, the gallery's picture and the tour's part. All of them are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fieldsight.studio.context import Example

if TYPE_CHECKING:
    from fieldsight.predictions import Picture
    from fieldsight.report.html import Section
    from fieldsight.systems.crack.predict import CrackModel
    from fieldsight.systems.crack.results import CrackMap
    from fieldsight.systems.crack.world import Scene

#: Height and width of an example.
SIZE = (700, 1000)

#: Examples: words of the button; surface, number of the drawing, whether it has cracks.
SCENES = (
    ("Road", ("road", 3, True)),
    ("Asphalt", ("asphalt", 1, True)),
    ("Aggregate", ("aggregate", 3, True)),
    ("Concrete", ("concrete", 1, True)),
    ("Tiles", ("tile", 2, True)),
    ("Bricks", ("tile", 1, True)),
    ("Plaster, never seen", ("plaster", 1, True)),
    ("Joints, no crack", ("concrete", 0, False)),
)


def examples() -> Sequence[Example]:
    """Drawn photos of every surface, one of a surface that is not in training, and one without a crack."""
    return [Example(words, "drawn", partial(_write, *drawn)) for words, drawn in SCENES]


#: What the examples' buttons look like: a picture above the words.
BUTTONS = """
:is(#crack-example-0, [id^=crack-example-]) { flex: 0 0 calc(25% - 6px) !important; min-width: 78px !important;
  border-radius: 10px !important; padding: 74px 4px 5px !important; font-size: .78rem !important; line-height: 1.25;
  background: #eef2f5 center top / 100% 68px no-repeat; align-items: flex-start; white-space: normal; }
:is(#crack-example-0, [id^=crack-example-]):hover { background-color: #d8eaf2; }
@media (max-width: 720px) { #crack-editor { height: 400px !important; } }
"""


def buttons() -> str:
    """A style sheet that gives the examples' buttons their pictures; drawing them takes seconds, once a process."""
    return f"<style>{BUTTONS}{''.join(_thumbnails())}</style>"


@cache
def _thumbnails() -> tuple[str, ...]:
    import base64
    import io

    from PIL import Image

    from fieldsight.data.images import resize

    found = []
    for n, (_, drawn) in enumerate(SCENES):
        target = io.BytesIO()
        Image.fromarray(resize(scene(*drawn).image, 260)).save(target, "JPEG", quality=72)
        data = base64.b64encode(target.getvalue()).decode()
        found.append(f"#crack-example-{n} {{ background-image: url(data:image/jpeg;base64,{data}) !important; }}")
    return tuple(found)


def scene(surface: str, number: int = 0, cracked: bool = True, size: tuple[int, int] = SIZE) -> Scene:
    """A drawn photo with its truth; the same every time, and none of those that models train on."""
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.crack.world import draw_photo

    rng = rng_for("crack", "studio", surface, number)
    return draw_photo(surface, size, rng, cracked=cracked)


def _write(surface: str, number: int, cracked: bool, folder: Path) -> Path:
    from fieldsight.data.images import write_image

    folder.mkdir(parents=True, exist_ok=True)
    name = f"{surface}-{number}" if cracked else f"{surface}-{number}-without"
    return write_image(folder / f"{name}.png", scene(surface, number, cracked).image)


# ------------------------------------------------------------------------------------------------------ the tour


def gallery_picture() -> Picture:
    """The picture in the gallery, 540 x 360: a photo, and over a slanted line the cracks that were found in it."""
    import fieldsight
    from fieldsight.data.images import resize
    from fieldsight.systems.crack.overlay import overlay

    model: CrackModel = fieldsight.load("crack")
    photo = scene("road", 3, size=(720, 1080)).image
    found: CrackMap = model.predict(photo)
    drawn = overlay(photo, np.asarray(found.mask), alpha=0.85)
    slanted = np.arange(1080)[None, :] + 0.3 * np.arange(720)[:, None]
    picture = np.where((slanted < 640)[..., None], photo, drawn)
    picture = np.where((np.abs(slanted - 640) < 3)[..., None], 255, picture).astype(np.uint8)
    return np.asarray(resize(picture, 540))


def demo(section: Section) -> None:
    """Add a short demonstration to the tour: a drawn photo of a road, what is found in it, and what is true."""
    import fieldsight
    from fieldsight.predictions import beside
    from fieldsight.systems.crack import studio_view as view
    from fieldsight.systems.crack.inference import iou
    from fieldsight.systems.crack.overlay import comparison

    drawn = scene("road", 3)
    section.text(f"Input: a photo of a road, drawn by us, {drawn.image.shape[1]} x {drawn.image.shape[0]} pixels.")
    model: CrackModel = fieldsight.load("crack")
    section.text(model.describe())
    found: CrackMap = model.predict(drawn.image)
    facts, tables = found.shown()
    section.facts({**facts, "IoU with the truth": f"{iou(np.asarray(found.mask), drawn.mask):.2f}"})
    pictures = [view.pair(found)[1], comparison(drawn.image, np.asarray(found.mask), drawn.mask)]
    section.picture(beside(pictures), "found cracks; against the truth: found blue, missed green, invented red")
    for table in tables:
        section.table(table, most=8)
