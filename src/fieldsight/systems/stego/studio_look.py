"""What the Studio page says of an uploaded picture or file before anything is hidden."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.images import png_bytes, resize, to_uint8
from fieldsight.errors import DataError
from fieldsight.studio import render
from fieldsight.studio.results import clean
from fieldsight.systems.stego import secret as secrets
from fieldsight.systems.stego.carrier import Carrier
from fieldsight.systems.stego.channel import SMALLEST as SMALLEST_MARK
from fieldsight.systems.stego.secret import Secret
from fieldsight.systems.stego.studio_view import SMOOTH, picture_in, smoothness

Picture = NDArray[np.uint8]

#: What carries a file, by the name of its cells.
CELLS = {
    "strong": "in the strongest way",
    "normal": "in the middle way",
    "dense": "in the densest way, which is the first to break",
}

#: Share of samples at black or white from which on a cover is worth a warning.
CLIPPED = 0.2

#: Pixels from which on hiding takes long enough to say so, and pixels a second of one core, to say how long.
LARGE, SPEED = 6_000_000, 250_000

#: So many covers are looked at before hiding.
COVERS = 4


@dataclass(frozen=True)
class Look:
    """What an uploaded picture or file is, before anything is hidden.

    Attributes:
        name: the file's name.
        words: a sentence about it.
        worries: what is worth a warning.
        picture: small, or None for a file.
        field: height and width of a cover that can be used; None for a secret.
    """

    name: str
    words: str
    worries: tuple[str, ...] = ()
    picture: Picture | None = None
    field: tuple[int, int] | None = None


def look_at_cover(path: Path, stride: int) -> Look:
    """A cover: its size, the room for a file, and what makes it a bad one.

    Args:
        path: the picture.
        stride: of the model, which uses whole strides of a picture.

    Raises:
        DataError: no picture, or one that can't carry anything; the message names the path.
    """
    carrier = Carrier.read(path)
    height, width = carrier.shape
    step = max(2, stride)
    field = height // step * step, width // step * step
    dense, strong = (secrets.capacity(field, robustness=name) for name in ("dense", "strong"))
    room = f"room for a file of {dense:,} bytes, or {strong:,} in the way that bears most"
    words = f"{width:,} x {height:,} pixels, {room if dense else 'no room for a file'}."
    eight = to_uint8(carrier.colour)
    return Look(path.name, words, tuple(worries(carrier, eight)), resize(eight, 240), field)


def worries(carrier: Carrier, eight: Picture) -> list[str]:
    """Why a cover is a bad one, as sentences; empty for a good one.

    Args:
        carrier: the cover.
        eight: its colours ``(H, W, 3)`` in 8 bits.
    """
    found = [f"{note[:1].upper()}{note[1:]}." for note in carrier.notes]
    if min(carrier.shape) < SMALLEST_MARK:
        found.append(
            f"It is below {SMALLEST_MARK} pixels a side: there is no room for a mark, so Reveal can't be sure of it "
            "(tick 'Force' there)."
        )
    clipped, smooth = blackwhite(eight), smoothness(eight)
    if clipped > CLIPPED:
        found.append(f"{clipped:.0%} of it is pure black or white and can't stay so: the change to it is stronger.")
    if smooth > SMOOTH:
        found.append(
            f"{smooth:.0%} of it is smooth, as a clear sky is: a faint grain shows there when one zooms in. A photo "
            "full of grass, leaves or cloth hides better."
        )
    pixels = carrier.shape[0] * carrier.shape[1]
    if pixels > LARGE:
        found.append(f"It is large: hiding takes about {max(10, round(pixels / SPEED, -1)):.0f} s.")
    return found


def blackwhite(picture: Picture) -> float:
    """Share of samples of ``(H, W, 3)`` uint8 within one grey level of 0 or 255."""
    return float(((picture <= 1) | (picture >= 254)).mean())


def look_at_secret(path: Path, field: tuple[int, int] | None, as_file: bool, robustness: str) -> Look:
    """A secret: what it is, and whether it fits.

    Args:
        path: a picture or any other file.
        field: of the cover, from :class:`Look`; None where there is none yet.
        as_file: hide the bytes of a picture.
        robustness: as the option of that name.

    Raises:
        DataError: it can't be read, or does not fit; the message names the path.
    """
    found = Secret.read(path, as_file)
    if found.picture is not None:
        height, width = found.picture.shape[:2]
        words = f"{width:,} x {height:,} pixels: a picture, comes back much alike, not bit for bit."
        larger = field is not None and (height > 2 * field[0] or width > 2 * field[1])
        worry = ("It is much larger than the cover: its small things get lost.",) if larger else ()
        return Look(path.name, words, worry, resize(found.picture, 240))
    assert found.payload is not None
    words = f"{len(found.payload):,} bytes: a file, comes back exactly or not at all"
    small = picture_in(path) if as_file else None
    if field is None:
        return Look(path.name, f"{words}.", (), small)
    if len(found.payload) > 100 * max(1, secrets.capacity(field)):  # too much to be worth compressing
        raise DataError(f"'{path}' has {len(found.payload):,} bytes; this cover holds {secrets.capacity(field):,}.")
    _, cells = next(found.drawings(field, None, True, robustness))
    return Look(path.name, f"{words}. It fits, {CELLS[cells]}.", (), small)


def look(covers: Sequence[Path], secret: Path | None, stride: int, as_file: bool, robustness: str) -> str:
    """What was uploaded, as HTML: small pictures with sentences, and what is wrong with them, calmly.

    Args:
        covers: uploaded covers; the first few are shown.
        secret: the uploaded secret, or None.
        stride, as_file, robustness: as :func:`look_at_cover` and :func:`look_at_secret`.
    """
    found: list[Look] = []
    troubles: list[str] = []
    for path in covers[:COVERS]:
        try:
            found.append(look_at_cover(path, stride))
        except DataError as error:
            troubles.append(clean(str(error), {str(path): path.name}))
    if len(covers) > COVERS:
        troubles.append(f"{len(covers) - COVERS} more covers are not shown here.")
    if secret is not None:
        field = next((one.field for one in found), None)
        try:
            found.append(look_at_secret(secret, field, as_file, robustness))
        except DataError as error:
            troubles.append(clean(str(error), {str(secret): secret.name}))
    return looks_html(found, troubles)


def looks_html(found: Sequence[Look], troubles: Sequence[str]) -> str:
    """Covers and secrets as small pictures with their sentences; below what is wrong."""
    cards = "".join(
        f"<figure>{_image(one.picture, one.name)}<figcaption><b>{escape(one.name)}</b> {escape(one.words)}"
        "</figcaption></figure>"
        for one in found
    )
    shown = f'<div class="fs-looks">{cards}</div>' if cards else ""
    told = [render.message(words, "warning", one.name) for one in found for words in one.worries]
    return shown + "".join(told) + "".join(render.message(words, "quiet") for words in troubles)


def _image(picture: Picture | None, name: str) -> str:
    if picture is None:
        return f"<i>{escape(Path(name).suffix[1:6].upper() or 'FILE')}</i>"
    source = base64.b64encode(png_bytes(picture)).decode()
    return f'<img src="data:image/png;base64,{source}" alt="{escape(name)}">'
