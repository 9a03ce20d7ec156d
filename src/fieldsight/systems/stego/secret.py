"""What is hidden, a picture or a file's exact bytes, drawn as the picture that the networks hide, and read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.images import read_image, to_uint8
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import DataError, FieldsightError
from fieldsight.systems.stego import container
from fieldsight.systems.stego.channel import SMALLEST as SMALLEST_MARK
from fieldsight.systems.stego.channel import Cells, Header, Reading, read_mark, repair_hint, strip_rows, write_mark
from fieldsight.systems.stego.keys import Key, derive, scramble, unscramble

Picture = NDArray[np.uint8]

#: Cells that carry files by name, the strongest first: side in pixels and grey levels.
ROBUSTNESS: dict[str, tuple[int, int]] = {"strong": (8, 2), "normal": (4, 4), "dense": (3, 4)}


@dataclass(frozen=True)
class Passphrase:
    """A passphrase and what it was stretched to; neither is shown when printed."""

    text: str
    key: Key

    def __repr__(self) -> str:
        return "Passphrase(...)"

    @classmethod
    def of(cls, text: str | None, file: Path | None = None) -> Passphrase | None:
        """From a text, or the first line of a file; None without both.

        Raises:
            DataError: the file can't be read.
            ConfigError: the passphrase is empty.
        """
        if file is not None:
            try:
                text = file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"Can't read the passphrase from '{file}': {error}.") from None
        return None if text is None else cls(text, derive(text))


@dataclass(frozen=True)
class Secret:
    """What somebody wants to hide.

    Attributes:
        picture: ``(H, W, 3)`` uint8, or None where bytes are hidden.
        payload: the bytes, or None where a picture is hidden.
        name: the file's name.
    """

    picture: Picture | None
    payload: bytes | None
    name: str

    @classmethod
    def read(cls, source: Any, as_file: bool = False) -> Secret:
        """A path of a picture or of any other file, an array, or bytes.

        Raises:
            DataError: the file can't be read.
        """
        if isinstance(source, Secret):
            return source
        if isinstance(source, (bytes, bytearray, memoryview)):
            return cls(None, bytes(source), "secret.bin")
        if isinstance(source, (str, Path)):
            path = Path(source)
            if as_file or path.suffix.lower() not in IMAGE_SUFFIXES:
                try:
                    return cls(None, path.read_bytes(), path.name)
                except OSError as error:
                    raise DataError(f"Can't read the secret '{path}': {error.strerror or error}.") from None
            return cls(to_uint8(read_image(path, "rgb")), None, path.name)
        picture = to_uint8(read_image(source, "rgb"))
        if as_file:
            raise DataError("as_file wants a file or bytes, an array was given.")
        return cls(picture, None, "secret")

    def drawings(
        self, field: tuple[int, int], phrase: Passphrase | None, mark: bool, robustness: str
    ) -> Iterator[tuple[Picture, str]]:
        """Pictures ``(*field, 3)`` to try in turn, with their names: one of a picture, the strongest cells first of a
        file.

        Raises:
            DataError: the file fits into no cells (with the capacity), or has no mark to be found by.
        """
        if self.picture is not None:
            yield draw_picture(self.picture, field, phrase, mark), "picture"
            return
        assert self.payload is not None
        if not mark or min(field) < SMALLEST_MARK:
            size = f"{field[1]} x {field[0]}"
            raise DataError(
                f"A file needs a mark, and that a cover of at least {SMALLEST_MARK} x {SMALLEST_MARK} usable pixels; "
                f"there are {size}{'' if mark else ', and the mark is switched off'}."
            )
        # 64 bytes of parity in 255 throughout: the strength is chosen by the cells
        frame = container.pack(self.payload, self.name, passphrase=None if phrase is None else phrase.text)
        names = list(ROBUSTNESS) if robustness == "auto" else [robustness]
        fitting = [n for n in names if len(frame) <= _cells(n, phrase).capacity(_above(field))]
        if not fitting:
            room = capacity(field, phrase is not None, names[-1])
            raise DataError(
                f"'{self.name}' has {len(self.payload):,} bytes ({len(frame):,} with its protection); this cover of "
                f"{field[1]} x {field[0]} usable pixels holds at most {room:,}. Use a larger cover, or a smaller file."
            )
        for name in fitting:
            yield draw_file(frame, field, phrase, name), name


def draw_picture(picture: Picture, field: tuple[int, int], phrase: Passphrase | None, mark: bool) -> Picture:
    """A secret picture in the field's size: resized, scrambled where there is a key, with its mark below."""
    marked = mark and min(field) >= SMALLEST_MARK
    drawn = resized(picture, _above(field) if marked else field)
    if phrase is not None:
        drawn = scramble(drawn, phrase.key)
    if not marked:
        return drawn
    header = Header("picture", picture.shape[0], picture.shape[1], keyed=phrase is not None)
    return _with_mark(drawn, field, header, phrase)


def draw_file(frame: bytes, field: tuple[int, int], phrase: Passphrase | None, robustness: str) -> Picture:
    """A frame as a data picture with its mark below."""
    size, levels = ROBUSTNESS[robustness]
    above = _above(field)
    drawn = _cells(robustness, phrase).write(frame, above)
    header = Header("file", above[0], above[1], keyed=phrase is not None, size=size, levels=levels)
    return _with_mark(drawn, field, header, phrase)


def capacity(field: tuple[int, int], keyed: bool = False, robustness: str = "dense") -> int:
    """Bytes of a file that a cover of so many usable pixels surely holds."""
    if min(field) < SMALLEST_MARK:
        return 0
    room = _cells(robustness, None).capacity(_above(field))
    return container.largest_payload(room, "x" * 32, encrypted=keyed)


@dataclass(frozen=True)
class Found:
    """What a revealed field holds.

    Attributes:
        reading: of the mark; None where the field is too small for one.
        picture: the secret picture ``(H, W, 3)``, or the data picture of a file.
        payload, name: of a file.
        repaired: bytes of the file's frame that had to be repaired.
    """

    reading: Reading | None
    picture: Picture
    payload: bytes | None = None
    name: str = ""
    repaired: int = 0


def find(revealed: Picture, phrase: Passphrase | None, force: bool = False) -> Found | Reading | None:
    """Read a revealed field ``(h, w, 3)``; gives the reading alone where there is no valid mark.

    Args:
        revealed: what the revealing network gave, 8 bits.
        phrase: as it was hidden with.
        force: take it for a picture although there is no mark.

    Raises:
        DataError: a file that did not come through whole, or another passphrase.
    """
    reading = read_mark(revealed, None if phrase is None else phrase.key)
    if reading is None or reading.header is None:
        if not force:
            return reading
        if phrase is None:
            return Found(reading, revealed)
        above = revealed if reading is None else revealed[: _above(revealed.shape[:2])[0]]  # without the lost mark
        return Found(reading, unscramble(above, phrase.key))
    header = reading.header
    above = revealed[: _above(revealed.shape[:2])[0]]
    if header.kind == "picture":
        plain = unscramble(above, phrase.key) if header.keyed and phrase is not None else above
        return Found(reading, resized(plain, (header.height, header.width)))
    cells = header.cells(None if phrase is None else phrase.key)
    try:
        unpacked = container.unpack(cells.read(above), None if phrase is None else phrase.text)
    except FieldsightError as error:
        raise DataError(f"There is a hidden file, but it can't be read: {error} {repair_hint(reading.rate)}") from None
    return Found(reading, above, unpacked.payload, unpacked.name, unpacked.repaired)


def resized(picture: Picture, shape: tuple[int, int]) -> Picture:
    """A picture ``(H, W, 3)`` in another size, antialiased bicubic."""
    if picture.shape[:2] == shape:
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _above(field: tuple[int, int]) -> tuple[int, int]:
    """The part of a field above its mark."""
    return field[0] - strip_rows(field[1]), field[1]


def _cells(robustness: str, phrase: Passphrase | None) -> Cells:
    size, levels = ROBUSTNESS[robustness]
    return Cells(size, levels) if phrase is None else Cells(size, levels, seed=phrase.key.sub("cells"))


def _with_mark(drawn: Picture, field: tuple[int, int], header: Header, phrase: Passphrase | None) -> Picture:
    whole = np.concatenate([drawn, np.zeros((field[0] - drawn.shape[0], field[1], 3), np.uint8)])
    return write_mark(whole, header, None if phrase is None else phrase.key)
