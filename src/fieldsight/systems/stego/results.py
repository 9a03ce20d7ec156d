"""What hiding and revealing give: objects that save, describe and draw themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.files import atomic, write_json
from fieldsight.data.images import resize, to_uint8, write_image
from fieldsight.errors import ConfigError, DataError
from fieldsight.predictions import Picture, Prediction, Table, beside
from fieldsight.systems.stego.carrier import LOSSLESS, LOSSY, Carrier, check_target

Array = NDArray[Any]

#: Differences are drawn so many times as strong, around mid-grey.
MAGNIFIED = 10


def psnr_of(a: Array, b: Array) -> float | None:
    """Peak signal-to-noise ratio in dB of two pictures of one integer type; None where they are equal.

    Computed in bands of rows, so that memory does not grow with the picture.
    """
    total, top = 0.0, float(np.iinfo(a.dtype).max)
    for row in range(0, a.shape[0], 256):
        gap = a[row : row + 256].astype(np.float64) - b[row : row + 256]
        total += float((gap * gap).sum())
    return None if total == 0 else round(10 * math.log10(top * top / (total / a.size)), 3)


@dataclass(frozen=True)
class Stego(Prediction):
    """A picture with something hidden in it.

    Attributes:
        picture: ``(H, W, 3)`` uint8 stego colours; of a 16-bit cover the stego finished in 8 bits, which reveals too.
        saved_as: the stego picture as it is saved: in the cover's depth, with its transparency.
        cover: what it was.
        revealed: what the revealing network makes of the saved picture, or None.
        facts: sizes, PSNR, warnings.
        details: also write the facts and a comparison.
        allow_lossy: write a lossy format where one is asked for.
    """

    picture: Picture
    saved_as: Carrier
    cover: Carrier
    revealed: Revealed | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    details: bool = False
    allow_lossy: bool = False

    def save(self, folder: str | Path, stem: str | Path = "stego") -> list[Path]:
        """Write a PNG below ``folder``, or exactly ``folder`` where that is the name of a picture.

        No side file tells of the secret, unless details were asked for. The picture holds no metadata.

        Raises:
            DataError: a lossy format that was not allowed, or the file can't be written.
        """
        target = Path(folder)
        named = target.suffix.lower() in (*LOSSLESS, *LOSSY)
        path = target if named else target / Path(stem).with_suffix(".png")
        if not named and Path(stem).suffix:
            path = target / f"{stem}.png"
        warning = check_target(path, self.allow_lossy)
        if warning:
            progress.note(f"warning: {path.name}: {warning}")
        written = [_write(path, self.saved_as.pixels())]
        if self.details:
            base = path.with_suffix("")
            written.append(write_json(base.with_name(f"{base.name}_details.json"), self.to_dict()))
            written.append(write_image(base.with_name(f"{base.name}_details.png"), self.draw()))
        return written

    def to_dict(self) -> dict[str, Any]:
        """The facts."""
        return dict(self.facts)

    def draw(self) -> Picture:
        """Cover, stego, their difference ten times as strong, and the secret as it is revealed from the saved file."""
        cover = to_uint8(self.cover.colour)
        panels = [cover, self.picture, difference(cover, self.picture)]
        if self.revealed is not None:
            panels.append(self.revealed.picture)
        return beside([_square(p, 480) for p in panels])

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """Facts for a page."""
        own = self.facts
        rows: dict[str, Any] = {
            "picture": f"{own['width']} x {own['height']} px",
            "change to the cover": _decibels(own["stego_psnr"], own["largest_change"]),
        }
        if "secret_psnr" in own:
            rows["secret, revealed from the saved picture"] = _decibels(own["secret_psnr"])
        if "bytes" in own:
            rows["hidden file"] = f"{own['secret']}, {own['bytes']:,} bytes, comes back exactly ({own['cells']} cells)"
        rows["room for a file"] = f"{own['capacity_bytes']:,} bytes"
        for number, note in enumerate(own.get("notes", ())):
            rows[f"note {number + 1}"] = note
        return rows, ()

    def lines(self) -> list[str]:
        """The same for a terminal, without the notes: they were told while it was made."""
        return [f"{name}: {value}" for name, value in self.shown()[0].items() if not name.startswith("note ")]


@dataclass(frozen=True)
class Revealed(Prediction):
    """What was hidden: a picture, or a file.

    Attributes:
        picture: ``(H, W, 3)`` uint8; of a file the data picture that carried it.
        payload: the exact bytes of a file, or None.
        name: the file's own name, safe in any folder.
        facts: sizes, the mark.
        files: where it was written, if it was.
    """

    picture: Picture
    payload: Any
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def save(self, folder: str | Path, stem: str | Path = "secret") -> list[Path]:
        """Write the picture as PNG, or the file, below ``folder``; or exactly ``folder`` where it names a file.

        Raises:
            ConfigError: a folder to write into that is a file.
            DataError: the file can't be written.
        """
        target = Path(folder)
        if target.is_file() and not target.suffix:
            raise ConfigError(f"out: '{target}' is a file; name a folder, or a file with an ending.")
        if self.payload is None:
            named = target.suffix.lower() in (*LOSSLESS, *LOSSY)
            return [_write(target if named else target / f"{stem}.png", self.picture)]
        base = Path(stem)
        path = target if target.suffix and not target.is_dir() else target / base.parent / f"{base.name}_{self.name}"
        try:
            with atomic(path) as temporary:
                temporary.write_bytes(self.payload)
        except OSError as error:
            raise DataError(f"Can't write '{path}': {error.strerror or error}.") from None
        return [path]

    def to_dict(self) -> dict[str, Any]:
        """The facts."""
        return dict(self.facts)

    def draw(self) -> Picture:
        """The picture, at most 1024 pixels."""
        return np.ascontiguousarray(resize(self.picture, 1024))

    def lines(self) -> list[str]:
        """The files, or a few words for a terminal."""
        if self.files:
            return [str(f) for f in self.files]
        if self.payload is not None:
            return [f"file: {self.name}, {len(self.payload):,} bytes, {self.facts['repaired']} repaired"]
        own = self.facts
        return [f"picture: {own['width']} x {own['height']}", f"mark: {'found' if own['mark'] else 'none'}"]


def difference(a: Picture, b: Picture) -> Picture:
    """``b - a`` ten times as strong around mid-grey, ``(H, W, 3)`` uint8."""
    gap = (b.astype(np.int16) - a.astype(np.int16)) * MAGNIFIED + 128
    return np.clip(gap, 0, 255).astype(np.uint8)


def _write(path: Path, picture: Array) -> Path:
    if path.suffix.lower() == ".webp":
        from PIL import Image

        if picture.dtype != np.uint8:
            raise DataError(f"'{path}': WebP holds 8 bits, this picture has 16. Use .png or .tif.")
        with atomic(path) as temporary:
            Image.fromarray(picture).save(temporary, format="WEBP", lossless=True, exact=True)
        return path
    if path.suffix.lower() in (".jpg", ".jpeg", ".bmp") and (picture.dtype != np.uint8 or picture.shape[2] == 4):
        raise DataError(f"'{path}' can't hold 16 bits or transparency. Use .png or .tif.")
    return write_image(path, picture)


def _square(picture: Picture, height: int) -> Picture:
    import cv2

    scale = height / picture.shape[0]
    size = (max(1, round(picture.shape[1] * scale)), height)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=way))


def _decibels(value: float | None, largest: int | None = None) -> str:
    words = "none at all" if value is None else f"PSNR {value:.1f} dB"
    return words if largest is None else f"{words}, at most {largest} of 255"
