"""Pictures of `crack`: what is found on every surface, what each expert sees, how wide cracks are; the gallery's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fieldsight
from fieldsight.data.images import resize, write_image
from fieldsight.engine.seed import rng_for
from fieldsight.report.plots import figure, pixels
from fieldsight.systems.crack import studio
from fieldsight.systems.crack.evaluate import HELD_OUT_SEED
from fieldsight.systems.crack.explain import Seen, look
from fieldsight.systems.crack.mixing import select
from fieldsight.systems.crack.options import PredictOptions
from fieldsight.systems.crack.overlay import comparison, labels, overlay, width_heat
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.results import CrackMap
from fieldsight.systems.crack.sample import Sample
from fieldsight.systems.crack.world import DOMAINS, UNSEEN, Scene, draw_photo

WIDTH = 1280


def make(folder: Path) -> None:
    """Write ``crack-*.jpg`` (photos, all drawn), and the gallery's picture in few colours."""
    model = fieldsight.load("crack", device="cpu")
    assert isinstance(model, CrackModel)
    write_image(folder / "crack-surfaces.jpg", surfaces(model))
    write_image(folder / "crack-experts.jpg", experts(model))
    write_image(folder / "crack-widths.jpg", widths(model))
    gallery = Image.fromarray(studio.gallery_picture())
    gallery.quantize(48, dither=Image.Dither.NONE).save(Path(studio.__file__).with_name("studio.png"), optimize=True)


def surfaces(model: CrackModel) -> np.ndarray[Any, Any]:
    """Photo, what is found, and that against the truth, one column a surface; the last one is in no training."""
    columns = []
    for domain in (*DOMAINS, *UNSEEN):
        drawn = scene(domain, (384, 384))
        mask = found_in(model, drawn).mask
        looks = [drawn.image, overlay(drawn.image, mask), comparison(drawn.image, mask, drawn.mask)]
        columns += [stacked(looks, 0), np.full((3 * 384 + 12, 6, 3), 255, np.uint8)]
    return resize(np.concatenate(columns[:-1], axis=1), WIDTH)


def experts(model: CrackModel) -> np.ndarray[Any, Any]:
    """A photo, every expert's map with the gate's weight, and the mixture."""
    drawn = scene("tile", (256, 256))
    seen: Seen = look(model, Sample("tile", "tile", "test", "tile", lambda: drawn.image, lambda: drawn.mask))
    chosen = select(seen.weights[None], **model.mixing(PredictOptions())).weights[0]
    plot, axes = figure(13.0, 2.4, columns=len(model.names) + 2)
    shown = {"photo (drawn)": drawn.image}
    for name, own, used, weight in zip(model.names, seen.maps, chosen, seen.weights, strict=True):
        shown[f"{name}: gate {weight:.0%}{', used' if used > 0 else ''}"] = own
    shown["mixed"] = np.tensordot(chosen, seen.maps, axes=1)
    for axis, (title, picture) in zip(axes, shown.items(), strict=True):
        axis.imshow(picture, cmap="magma", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    return pixels(plot)


def widths(model: CrackModel) -> np.ndarray[Any, Any]:
    """A larger photo with numbered cracks, and their centrelines in the colours of their widths."""
    drawn = scene("road", (640, 960))
    found = found_in(model, drawn)
    longest = sorted(found.cracks, key=lambda c: -c.length_px)[:12]
    left = labels(overlay(drawn.image, found.mask), longest)
    return resize(stacked([left, width_heat(drawn.image, found.cracks)], 1), WIDTH)


def scene(domain: str, size: tuple[int, int]) -> Scene:
    """A drawn photo that no training sees."""
    return draw_photo(domain, size, rng_for(HELD_OUT_SEED, "crack", "pictures", domain))


def found_in(model: CrackModel, drawn: Scene) -> CrackMap:
    """The cracks of a drawn photo."""
    found = model.predict(drawn.image)
    assert isinstance(found, CrackMap)
    return found


def stacked(pictures: list[np.ndarray[Any, Any]], axis: int) -> np.ndarray[Any, Any]:
    """Pictures beside or below each other with a white gap."""
    shape = list(pictures[0].shape)
    shape[axis] = 6
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=axis)
