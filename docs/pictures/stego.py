"""Pictures of `stego`: held-out pairs hidden and revealed, what attacks leave, and the picture of its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import fieldsight
from fieldsight.data.images import resize, write_image
from fieldsight.engine.seed import rng_for
from fieldsight.systems.stego import studio
from fieldsight.systems.stego.attacks import parse
from fieldsight.systems.stego.evaluate import photo_pairs, run_pair, strip

PAIRS = 3
ATTACKS = ("none", "noise-2", "resize-0.75", "screenshot", "jpeg-95", "jpeg-80")


def make(folder: Path) -> None:
    """Write ``stego-*.jpg`` (photos), and the gallery's picture in few colours."""
    model = fieldsight.load("stego", device="cpu")
    outcomes = [run_pair(model, pair) for pair in photo_pairs(PAIRS)]
    rows = [resize(strip(one), 1280) for one in outcomes]
    gap = np.full((6, rows[0].shape[1], 3), 255, np.uint8)
    write_image(folder / "stego-pairs.jpg", np.concatenate([part for row in rows for part in (row, gap)][:-1]))
    write_image(folder / "stego-attacks.jpg", attacked(model, outcomes[0]))
    gallery = Image.fromarray(studio.gallery_picture())
    gallery.quantize(48, dither=Image.Dither.NONE).save(Path(studio.__file__).with_name("studio.png"), optimize=True)


def attacked(model: fieldsight.Model, outcome: object) -> np.ndarray:
    """The picture as it arrives, above what is left of the secret, one column an attack."""
    from fieldsight.systems.stego.attack import network
    from fieldsight.systems.stego.evaluate import Outcome
    from fieldsight.systems.stego.predict import StegoModel

    assert isinstance(outcome, Outcome)
    assert isinstance(model, StegoModel)
    way = network(model)
    columns = []
    for attack in parse(",".join(ATTACKS)):
        arrived = attack.apply(outcome.stego, rng_for(0, "pictures", attack.name))
        columns.append(np.concatenate([arrived, way.reveal(arrived)]))
        columns.append(np.full((columns[0].shape[0], 6, 3), 255, np.uint8))
    return resize(np.concatenate(columns[:-1], axis=1), 1280)
