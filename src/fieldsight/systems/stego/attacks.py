"""What happens to a picture on its way, as functions of uint8 ``(H, W, 3)`` that keep the size.

===================== ======================== ===============================================================
name                  strength                 what it does
===================== ======================== ===============================================================
none                  -                        nothing: the lossless channel
jpeg-90               quality 1..100           JPEG and back, 4:2:0 (Pillow's and most cameras' default)
webp-90               quality 1..100           lossy WebP and back
resize-0.75           side ratio 0.05..0.99    down by area average, back up by bicubic interpolation
crop-0.9              side ratio 0.05..0.99    keeps the middle, pasted back where it was on mid-grey 128
blur-0.5              sigma 0.1..20 px         Gaussian blur, reflected at the border
noise-2               sigma 0.1..100           independent Gaussian noise in grey levels, rounded, clipped
bits-6                bits 1..7                that many bits a sample, black and white kept
lsb-1                 bits 1..7                the low bits become coin tosses
median-3              odd side 3..15 px        median filter, each channel alone
screenshot            -                        colour conversion, display scaling by 1.25 and back, PNG
screenshot-jpeg       -                        the same, then JPEG at quality 85
===================== ======================== ===============================================================

``crop`` is the kind case: the receiver is told where the piece was. ``screenshot`` is a model, not a measurement of
any display: see :func:`_screenshot`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, DataError, unknown

Picture = NDArray[np.uint8]
Apply = Callable[[Picture, np.random.Generator], Picture]

#: Longest side that a file of the format can hold.
LONGEST = {"JPEG": 65_500, "WEBP": 16_383}

#: What a cropped picture is pasted on.
MID_GREY = 128

#: Side ratio of the modelled display scaling, and the exponent by which its tone curve misses.
DISPLAY_SCALE, DISPLAY_GAMMA = 1.25, 1.02

#: Linear light of the picture's profile to that of the modelled display; rows sum to 1, so that greys stay grey.
DISPLAY_MATRIX = np.array([[0.975, 0.020, 0.005], [0.010, 0.980, 0.010], [0.005, 0.015, 0.980]])


@dataclass(frozen=True)
class Attack:
    """One thing that happens to a picture.

    Attributes:
        name: ``jpeg-90``; :func:`parse` gives the same attack back.
        family: ``jpeg``.
        strength: the number in the name, in the unit of the family; 0 where it has none.
        lossless: True where the picture arrives as it was sent.
        apply: ``(picture, rng) -> picture``, uint8 ``(H, W, 3)`` in and out, the size kept. It raises
            :class:`~fieldsight.errors.DataError` for anything else, or for sides that the file format can't hold. All
            chance comes from ``rng``; the input is left alone.
    """

    name: str
    family: str
    strength: float
    lossless: bool
    apply: Apply = field(compare=False, repr=False)


def parse(text: str) -> list[Attack]:
    """Attacks from words with commas or spaces between them, each once, in the order named.

    A word is a name (``jpeg-90``), a family (``jpeg``: all its listed strengths), a family with another strength
    (``jpeg-83``, ``blur-0.8``), or ``all``: every listed attack.

    Raises:
        ConfigError: no word, or words that name no attack or a strength out of range; all of them at once.
    """
    words = [word for word in re.split(r"[,\s]+", text.lower()) if word]
    if not words:
        raise ConfigError("No attack is named. Give names such as 'jpeg-90,blur-1', a family such as 'jpeg', or 'all'.")
    found: dict[str, Attack] = {}
    problems: list[str] = []
    for word in words:
        try:
            found.update((attack.name, attack) for attack in _named(word))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return list(found.values())


def check_picture(array: Any, what: str) -> Picture:
    """Return the array where it is uint8 ``(H, W, 3)`` with at least one pixel; ``what`` names it in the message.

    Raises:
        DataError: anything else.
    """
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"The {what} must be a uint8 array (H, W, 3) in RGB, got {got}. Convert it first.")
    if array.size == 0:
        raise DataError(f"The {what} has no pixel: its shape is {array.shape}. Give at least 1x1.")
    return array


def encoded(picture: Picture, kind: str, **options: Any) -> bytes:
    """The file (``JPEG``, ``WEBP``, ``JPEG2000``) that Pillow makes of uint8 ``(H, W, 3)``.

    Raises:
        DataError: sides that the format can't hold, or a Pillow that was built without it.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    longest = LONGEST.get(kind, max(height, width))
    if max(height, width) > longest:
        raise DataError(f"A {kind} file holds sides up to {longest}, and the picture has {width}x{height}. Shrink it.")
    buffer = io.BytesIO()
    try:
        Image.fromarray(picture).save(buffer, format=kind, **options)
    except (KeyError, OSError, ValueError) as error:
        raise DataError(
            f"Pillow can't write {width}x{height} pixels as {kind}: {error}. `python -m PIL` lists its formats."
        ) from error
    return buffer.getvalue()


def decoded(file: bytes, kind: str, shape: tuple[int, ...]) -> Picture:
    """The picture in a file of that kind, which must have the shape (H, W, 3); looked at before it is unpacked.

    Raises:
        DataError: not such a file, corrupt, or of another size.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file), formats=(kind,)) as opened:
            size = opened.size
            picture = np.asarray(opened.convert("RGB")) if size == (shape[1], shape[0]) else None
    except (KeyError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{len(file):,} bytes are no readable {kind} file: {error}. Make it again.") from error
    if picture is None:
        raise DataError(f"The {kind} file holds {size[0]}x{size[1]} pixels, and {shape[1]}x{shape[0]} are expected.")
    return picture


# ---------------------------------------------------------------------------------------------- the attacks


def _none(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    return picture.copy()


def _jpeg(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    return decoded(encoded(picture, "JPEG", quality=int(strength), subsampling="4:2:0"), "JPEG", picture.shape)


def _webp(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    return decoded(encoded(picture, "WEBP", quality=int(strength), method=4), "WEBP", picture.shape)


def _resize(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    return _there_and_back(picture, strength, "BOX", "BICUBIC")


def _crop(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    kept_height, kept_width = max(1, round(height * strength)), max(1, round(width * strength))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    inside = (slice(top, top + kept_height), slice(left, left + kept_width))
    result = np.full_like(picture, MID_GREY)
    result[inside] = picture[inside]
    return result


def _blur(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    from scipy.ndimage import gaussian_filter

    return _to_bytes(gaussian_filter(picture.astype(np.float64), (strength, strength, 0.0), mode="reflect"))


def _noise(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    return _to_bytes(picture + strength * rng.standard_normal(picture.shape))


def _bits(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    top = 2 ** int(strength) - 1
    return _to_bytes(np.rint(picture / 255.0 * top) / top * 255.0)


def _lsb(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    size = 1 << int(strength)
    return (picture & np.uint8(256 - size)) | rng.integers(0, size, picture.shape, dtype=np.uint8)


def _median(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    import cv2

    return np.asarray(cv2.medianBlur(picture, int(strength)), dtype=np.uint8)


def _screenshot(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    """Model of a screenshot on a scaled display, cropped by the receiver and brought back to size.

    1. Colour management: linear light (exponent 2.2), :data:`DISPLAY_MATRIX`, back with a tone curve that misses by the
    exponent :data:`DISPLAY_GAMMA`, 8 bits. 2. The system draws it larger by :data:`DISPLAY_SCALE`, bilinear, 8 bits.
    3. The receiver scales it back, bilinear over the area. PNG itself loses nothing.
    """
    linear = (np.arange(256) / 255.0) ** 2.2
    mixed = linear[picture] @ DISPLAY_MATRIX.T
    shown = _to_bytes(255.0 * mixed ** (DISPLAY_GAMMA / 2.2))
    return _there_and_back(shown, DISPLAY_SCALE, "BILINEAR", "BILINEAR")


def _screenshot_jpeg(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    return _jpeg(_screenshot(picture, strength, rng), 85.0, rng)


def _there_and_back(picture: Picture, ratio: float, there: str, back: str) -> Picture:
    """Scale both sides by the ratio and back; Pillow's filters, which average over the area when they shrink."""
    from PIL import Image

    height, width = picture.shape[:2]
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    other = Image.fromarray(picture).resize(size, Image.Resampling[there])
    return np.asarray(other.resize((width, height), Image.Resampling[back]))


def _to_bytes(values: NDArray[Any]) -> Picture:
    return np.clip(np.rint(values), 0.0, 255.0).astype(np.uint8)


# ---------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class _Family:
    function: Callable[[Picture, float, np.random.Generator], Picture]
    listed: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: int = 0  # 0 takes any number, 1 whole ones, 2 odd ones

    def takes(self, strength: float) -> bool:
        if not self.low <= strength <= self.high:
            return False
        return not self.step or (strength == int(strength) and (self.step == 1 or int(strength) % 2 == 1))

    @property
    def range(self) -> str:
        return ("numbers", "whole numbers", "odd numbers")[self.step] + f" from {self.low:g} to {self.high:g}"


_FAMILIES: dict[str, _Family] = {
    "none": _Family(_none),
    "jpeg": _Family(_jpeg, (95, 90, 80, 70, 60, 50), 1, 100, step=1),
    "webp": _Family(_webp, (90, 75), 1, 100, step=1),
    "resize": _Family(_resize, (0.9, 0.75, 0.5), 0.05, 0.99),
    "crop": _Family(_crop, (0.9, 0.75), 0.05, 0.99),
    "blur": _Family(_blur, (0.5, 1.0), 0.1, 20),
    "noise": _Family(_noise, (1, 2, 5), 0.1, 100),
    "bits": _Family(_bits, (7, 6), 1, 7, step=1),
    "lsb": _Family(_lsb, (1, 2), 1, 7, step=1),
    "median": _Family(_median, (3,), 3, 15, step=2),
    "screenshot": _Family(_screenshot),
    "screenshot-jpeg": _Family(_screenshot_jpeg),
}


def _apply(family: str, strength: float, picture: Picture, rng: np.random.Generator) -> Picture:
    """Module-level, so that an attack can be sent to another process."""
    return _FAMILIES[family].function(check_picture(picture, "picture to attack"), strength, rng)


def _attack(family: str, strength: float) -> Attack:
    short = f"{strength:g}"
    number = short if float(short) == strength else repr(strength)
    name = f"{family}-{number}" if _FAMILIES[family].listed else family
    return Attack(name, family, strength, family == "none", partial(_apply, family, strength))


#: The listed attacks by name, the lossless channel first.
ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for family, entry in _FAMILIES.items()
    for attack in (_attack(family, float(strength)) for strength in entry.listed or (0.0,))
}


def _named(word: str) -> list[Attack]:
    """The attacks that one lower-case word names."""
    if word == "all":
        return list(ATTACKS.values())
    if word in _FAMILIES:
        return [attack for attack in ATTACKS.values() if attack.family == word]
    match = re.fullmatch(r"([a-z]+)-([0-9]+(?:\.[0-9]+)?|\.[0-9]+)", word)
    family = match[1] if match else ""
    if not match or family not in _FAMILIES or not _FAMILIES[family].listed:
        raise ConfigError(unknown("attack", word, [*ATTACKS, *(f for f in _FAMILIES if f not in ATTACKS), "all"]))
    strength = float(match[2])
    if not _FAMILIES[family].takes(strength):
        raise ConfigError(f"Attack '{word}' is out of range: {family} takes {_FAMILIES[family].range}.")
    return [_attack(family, strength)]
