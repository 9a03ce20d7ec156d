"""What the Studio page says and shows of a result: in plain words, after an attack, and when it is revealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.images import read_image, resize, to_uint8
from fieldsight.errors import DataError
from fieldsight.studio import pictures, render
from fieldsight.systems.stego import secret as secrets
from fieldsight.systems.stego.carrier import Carrier
from fieldsight.systems.stego.channel import SMALLEST as SMALLEST_MARK
from fieldsight.systems.stego.channel import strip_rows
from fieldsight.systems.stego.keys import unscramble
from fieldsight.systems.stego.options import RevealOptions
from fieldsight.systems.stego.results import Revealed, Stego, difference, psnr_of
from fieldsight.systems.stego.secret import Passphrase

if TYPE_CHECKING:
    from fieldsight.studio.results import Shown, View
    from fieldsight.systems.stego.predict import StegoModel

Picture = NDArray[np.uint8]


#: Share of smooth blocks of a cover from which on it is worth a word, and grey levels that such a block spans at most.
SMOOTH, SPAN = 0.25, 4

#: PSNR of the change to a cover from which on a sentence holds, in dB. Our judgement of pictures side by side.
CHANGES = (
    (40.0, "Nobody sees it"),
    (34.0, "Hardly anybody sees it"),
    (29.0, "A close look sees it"),
    (0.0, "Anybody sees it"),
)

#: The same of a revealed secret against the original.
SECRETS = (
    (34.0, "comes back almost as it was"),
    (27.0, "comes back a little softer"),
    (20.0, "comes back blurred, but can be recognised"),
    (0.0, "does not come back well"),
)

#: The same of a secret revealed after an attack, against the one revealed without.
LEFT = (
    (30.0, "The secret comes through as it was"),
    (24.0, "The secret comes through with some noise"),
    (15.0, "The secret is damaged, but easy to recognise"),
    (0.0, "The secret is lost, at most traces of it show"),
)

#: What may happen to a picture on its way: words, attack, and of its slider: words, ends, start, step.
WAYS: dict[str, tuple[str, str, float, float, float, float]] = {
    "JPEG": ("jpeg", "Quality of the JPEG", 30, 100, 80, 1),
    "Shrunk": ("resize", "Size it is shrunk to, before it is enlarged again", 0.3, 0.95, 0.75, 0.05),
    "Blurred": ("blur", "Radius of the blur [px]", 0.2, 3, 0.5, 0.1),
    "Noise": ("noise", "Strength of the noise [grey levels]", 0.5, 10, 2, 0.5),
    "Screenshot": ("screenshot", "", 0, 1, 0, 1),
}

#: A text that was hidden is shown up to so many bytes.
TEXT = 20_000

#: What :func:`strip` shows.
STRIP = "cover; stego picture; their difference, 10 times as strong; secret; revealed from the saved picture"

WORDS = (
    ("No passphrase", "Whoever has this model and looks for it can reveal what is hidden."),
    (
        "Passphrase and a file",
        "The file is encrypted (ChaCha20-Poly1305, the key by scrypt). It is as safe as the passphrase is long. "
        "A picture counts as a file where 'As file' is ticked.",
    ),
    (
        "Passphrase and a picture",
        "Its blocks are shuffled and recoloured: a jigsaw. It stops the curious, not somebody who takes the time.",
    ),
    (
        "Never",
        "No passphrase hides that something is there: statistics tell. None protects from loss: a picture that is "
        "saved as JPEG, shrunk or edited on its way loses much or all of what it carries.",
    ),
    (
        "Here",
        "The passphrase stays in its field: no result, command or file of this page repeats it. What was uploaded lies "
        "in a temporary folder of the machine that runs this Studio until it is stopped.",
    ),
)


def statement() -> str:
    """What the passphrase does and does not protect, as HTML."""
    rows = "".join(f"<div><dt>{escape(a)}</dt><dd>{escape(b)}</dd></div>" for a, b in WORDS)
    return f'<h3>What the passphrase protects, and what not</h3><dl class="fs-terms">{rows}</dl>'


# ------------------------------------------------------------------------------------------------ what was hidden


def in_words(value: float | None, steps: Sequence[tuple[float, str]]) -> str:
    """The sentence of a PSNR in dB; None is no difference at all."""
    return steps[0][1] if value is None else next((words for least, words in steps if value >= least), steps[-1][1])


def told(found: Stego) -> str:
    """A result in plain sentences, as HTML."""
    own = found.facts
    change = own["stego_psnr"]
    smooth = change is not None and smoothness(to_uint8(found.cover.colour)) > SMOOTH
    first = in_words(change, CHANGES[1:] if smooth else CHANGES)
    if change is None:
        first += ": not a pixel changed."
    else:
        first += f": PSNR {change:.1f} dB; largest change {own['largest_change']} of 255."
    if smooth:
        first += " In its smooth parts a faint grain shows when one zooms in."
    if "bytes" in own:
        second = f"{own['secret']}, {own['bytes']:,} bytes, was read back from the finished picture and is exact."
        warn = own["cells"] == "dense"
        second += " It is packed densely: the least change destroys it." if warn else ""
    elif "secret_psnr" in own:
        back = own["secret_psnr"]
        number = "" if back is None else f": PSNR {back:.1f} dB"
        second = f"The secret {in_words(back, SECRETS)}{number}."
    else:
        second = "It was not revealed again to see how well it comes back ('Check' is off)."
    notes = "".join(render.message(f"{n[:1].upper()}{n[1:]}.", "warning") for n in own.get("notes", ()))
    return render.message(f"{first} {second}", "info") + notes


def smoothness(picture: Picture) -> float:
    """Share of blocks of 8 x 8 pixels of ``(H, W, 3)`` uint8 whose green spans a few grey levels, as a sky's does."""
    height, width = (side // 8 * 8 for side in picture.shape[:2])
    blocks = picture[:height, :width, 1].reshape(height // 8, 8, width // 8, 8)
    span = blocks.max(axis=(1, 3)).astype(np.int16) - blocks.min(axis=(1, 3))
    return float((span <= SPAN).mean())


def facts_html(found: Stego, back: Back) -> str:
    """What stands below the pictures of a result, and a word where the secret could not be shown again."""
    if back.mark or "bytes" not in found.facts or back.trouble:
        word = back.trouble
    else:
        word = "The passphrase in the form is another one by now: with it, nothing is found."
    return (render.message(word, "quiet") if word else "") + render.facts(facts(found))


def facts(found: Stego) -> dict[str, Any]:
    """What stands below the pictures."""
    own = found.facts
    rows: dict[str, Any] = {"picture": f"{own['width']:,} x {own['height']:,} px"}
    rows["change to the cover"] = "none" if own["stego_psnr"] is None else f"{own['stego_psnr']:.1f} dB"
    rows["largest change"] = f"{own['largest_change']} of 255"
    if "bytes" in own:
        rows |= {"hidden file": own["secret"], "its size": f"{own['bytes']:,} bytes", "cells": own["cells"]}
        rows["bytes repaired"] = f"{own['repaired']:,}"
    elif own.get("secret_psnr") is not None:
        rows["secret, revealed"] = f"{own['secret_psnr']:.1f} dB"
    rows["room for a file"] = f"{own['capacity_bytes']:,} bytes"
    return rows


def button(shown: Shown, view: View, words: str) -> str:
    """A button that downloads the first file of a result; further ones as a list."""
    if not view.files:
        return ""
    first, rest = shown.folder / view.files[0], [shown.folder / name for name in view.files[1:]]
    address = f"/results/{quote(shown.key)}/{quote(view.files[0])}"
    more = render.downloads(shown.key, rest, shown.folder) if rest else ""
    return (
        f'<p><a class="fs-button fs-main" href="{address}" download="{escape(first.name)}">{escape(words)} '
        f"({render.size(first)})</a></p>{more}"
    )


def fitted(picture: Picture | None) -> Picture | None:
    """A picture for the page, see :func:`~fieldsight.studio.pictures.fitted`; None stays."""
    return None if picture is None else pictures.fitted(picture)


# -------------------------------------------------------------------------------------------------- what comes back


@dataclass(frozen=True)
class Back:
    """What Reveal makes of a picture.

    Attributes:
        picture: the secret, or what the network gives in its place; None for a file that did not come through.
        mark: True where Reveal would be sure that there is something.
        payload: the bytes of a file, or None.
        trouble: why a file can't be read, or empty.
    """

    picture: Picture | None
    mark: bool
    payload: bytes | None = None
    trouble: str = ""


def come_back(model: StegoModel, colour: NDArray[Any], phrase: Passphrase | None, like: Picture | None = None) -> Back:
    """Reveal from colours ``(H, W, 3)``, and show what the network gives even where no mark is left.

    Args:
        model: the model.
        colour: of the stego picture, uint8 or uint16.
        phrase: as it was hidden with.
        like: the secret as it comes back unharmed: without a mark nobody knows its size.
    """
    try:  # without the passphrase a keyed picture has no mark, and what the network gives comes as it is
        raw = model.reveal_one(Carrier(colour), RevealOptions(force=True))
        if phrase is None or raw.facts["mark"]:
            whole = raw.picture if raw.facts["mark"] else _unmarked(raw.picture, None, like)
            return Back(whole, bool(raw.facts["mark"]), raw.payload)
        found = secrets.find(raw.picture, phrase)
    except DataError as error:
        return Back(None, True, trouble=str(error))
    if isinstance(found, secrets.Found):
        return Back(found.picture, True, found.payload)
    return Back(_unmarked(raw.picture, phrase, like), False)


def over_secret(file: bool) -> str:
    """Words over the picture of what comes back."""
    return "The bytes of the file, as Reveal sees them" if file else "The secret, as Reveal gives it back"


def _unmarked(raw: Picture, phrase: Passphrase | None, like: Picture | None) -> Picture:
    """What the network gives, taken for a picture although no mark says so."""
    above = raw[: raw.shape[0] - strip_rows(raw.shape[1])] if min(raw.shape[:2]) >= SMALLEST_MARK else raw
    plain = above if phrase is None else unscramble(above, phrase.key)
    return plain if like is None else secrets.resized(plain, (like.shape[0], like.shape[1]))


def attack_of(way: str, strength: float) -> tuple[str, str]:
    """The name of an attack, as ``attacks.parse`` takes it, and the attack in words.

    Args:
        way: one of :data:`WAYS`.
        strength: position of its slider.
    """
    family, label, low, high, _, _ = WAYS[way]
    if not label:
        return family, "After a screenshot"
    value = min(max(round(float(strength), 3), low), high)
    words = {
        "jpeg": f"After JPEG at quality {value:g}",
        "resize": f"After it was shrunk to {value:.0%} and enlarged again",
        "blur": f"After a blur of {value:g} px",
        "noise": f"After noise of {value:g} grey levels",
    }[family]
    return f"{family}-{value:g}", words


def attacked(name: str, picture: Picture) -> Picture:
    """A picture ``(H, W, 3)`` uint8 after an attack of that name."""
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.stego import attacks

    return attacks.parse(name)[0].apply(picture, rng_for("stego", "studio", name))


def left_words(before: Back, after: Back, what: str) -> str:
    """What an attack left of a secret, as HTML; arguments as :func:`left_text`."""
    text, good = left_text(before, after, what)
    return render.message(text, "info" if good else "warning")


def left_text(before: Back, after: Back, what: str) -> tuple[str, bool]:
    """What an attack left of a secret, as a sentence, and whether that is much.

    Args:
        before, after: what comes back without the attack, and with it.
        what: the attack in words.
    """
    if before.payload is not None:
        if after.payload == before.payload:
            return f"{what}: the file still comes through, every byte of it.", True
        return f"{what}: the file is lost. {after.trouble}".strip(), False
    if before.picture is None or after.picture is None:
        return f"{what}: {after.trouble or before.trouble or 'nothing comes back'}", False
    same = psnr_of(before.picture, secrets.resized(after.picture, before.picture.shape[:2]))
    words = in_words(same, LEFT)
    number = "" if same is None else f" (PSNR {same:.1f} dB against the unharmed one)"
    mark = ""
    if after.mark:
        mark = " Reveal still knows that something is there."
    elif before.mark:
        mark = " Reveal no longer knows that something is there; with 'Force' it shows this."
    return f"{what}: {words[:1].lower()}{words[1:]}{number}.{mark}", same is None or same >= LEFT[1][0]


# ----------------------------------------------------------------------------------------------------- revealing


def revealed(found: Revealed) -> tuple[str, Picture | None, str]:
    """A revealed secret: a sentence as HTML, its picture or None, and what stands below as HTML."""
    own = found.facts
    rows: dict[str, Any] = {"mark": "found" if own["mark"] else "none"}
    if own["mark"] and "wrong_cells" in own:
        rows["wrong cells of the mark"] = f"{own['wrong_cells']:.1%}"
    if found.payload is None:
        size = f"{own['width']:,} x {own['height']:,} pixels"
        if own["mark"]:
            words = render.message(f"A picture of {size} was hidden here.", "info")
        else:
            words = render.message(
                "There is no mark: this is what the network makes of any picture. Most likely nothing is hidden here, "
                "or it was hidden by another model or with a passphrase.",
                "warning",
            )
        return words, fitted(found.picture), render.facts({"size": size, **rows})
    repaired = f", {own['repaired']:,} of them repaired" if own["repaired"] else ""
    words = f"A file was hidden here: {found.name}. All of its {len(found.payload):,} bytes came through{repaired}."
    text = _text_in(found.payload)
    picture = fitted(found.picture) if text is None else None
    if text is None and found.files:
        inside = picture_in(found.files[0], pictures.MOST)
        picture = picture if inside is None else fitted(inside)
    below = "" if text is None else f'<div class="fs-code"><pre>{escape(text)}</pre></div>'
    return render.message(words, "info"), picture, below + render.facts(rows)


def picture_in(path: Path, longest: int = 240) -> Picture | None:
    """The picture that a file is, at most ``longest`` pixels; None where it is none."""
    try:
        return np.asarray(resize(to_uint8(read_image(path, "rgb")), longest))
    except DataError:
        return None


def download_words(found: Revealed) -> str:
    """Words for the button that downloads what was hidden."""
    return "Download the picture, PNG" if found.payload is None else f"Download {found.name}"


def _text_in(payload: bytes) -> str | None:
    """The text that a file is, where it is a short one."""
    if len(payload) > TEXT:
        return None
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\r\n\t" for c in text) else None


# ------------------------------------------------------------------------------------------------------ the tour


def strip(found: Stego, secret: Picture, back: Picture, height: int = 260) -> Picture:
    """Middle squares of cover, stego picture, ten times their difference, secret, and what was revealed."""
    from fieldsight.predictions import beside
    from fieldsight.systems.stego.photos import square

    cover = to_uint8(found.cover.colour)
    shown = (cover, found.picture, difference(cover, found.picture), secret, back)
    return beside([square(picture, height) for picture in shown])
