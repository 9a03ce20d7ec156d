"""Real photos that lie inside other packages: which there are, which are here, and who may use them for what.

``photos.toml`` beside this file is the only list. Its split is fixed by hand, whole photos at a time, and photos of one
scene share a split. Photos under the GPL are in ``test`` only: nothing that ships is trained on them.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from fieldsight import assets
from fieldsight.config import read_toml
from fieldsight.data.images import read_image, resize, to_uint8
from fieldsight.errors import ConfigError, DataError, unknown

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

#: Side of the squares that the held-out pairs are compared on, in pixels: the paper's size.
HELD_OUT_SIZE = 256


@dataclass(frozen=True)
class Listed:
    """A line of ``photos.toml``.

    Attributes:
        name: how the photo is called everywhere.
        asset: entry of ``assets.toml`` that holds it.
        file: path below the asset's folder.
        member: path inside ``file`` where that is a Qt resource bundle, else empty.
        licence: as the package states it for this file.
        split: ``train``, ``val`` or ``test``.
        subject: what is seen.
    """

    name: str
    asset: str
    file: str
    licence: str
    split: Split
    subject: str
    member: str = ""


@dataclass(frozen=True)
class Photo:
    """A photo that is here.

    Attributes:
        name, asset, file, licence, split, member, subject: as :class:`Listed`.
        path: the file; a resource bundle where ``member`` is not empty, so read with :meth:`read`.
    """

    name: str
    asset: str
    file: str
    licence: str
    split: Split
    path: Path
    member: str = ""
    subject: str = ""

    def read(self, longest: int | None = None) -> NDArray[np.uint8]:
        """The picture, ``(H, W, 3)`` uint8 RGB, EXIF rotation applied, its longer side at most ``longest`` pixels.

        Raises:
            DataError: the file is gone or broken.
        """
        if self.member:
            picture = _read_bytes(read_bundle(self.path, self.member), f"{self.path}:{self.member}")
        else:
            picture = to_uint8(read_image(self.path, "rgb"))
        return picture if longest is None else cast("NDArray[np.uint8]", resize(picture, longest))

    def square(self, size: int = HELD_OUT_SIZE) -> NDArray[np.uint8]:
        """The photo as :func:`square`, ``(size, size, 3)`` uint8."""
        return square(self.read(), size)


@cache
def _table() -> dict[str, Any]:
    return read_toml(Path(__file__).with_name("photos.toml"))


@cache
def listed() -> tuple[Listed, ...]:
    """All photos of ``photos.toml``, here or not, in its order."""
    return tuple(Listed(**line) for line in _table()["photo"])


def find(split: str | None = None) -> list[Photo]:
    """Photos whose asset is here, in the order of the list; only looks, never downloads.

    Args:
        split: ``train``, ``val`` or ``test``; all of them by default.

    Raises:
        ConfigError: unknown split.
    """
    if split is not None and split not in SPLITS:
        raise ConfigError(unknown("split", split, SPLITS))
    folders = {name: assets.locate(name) for name in _asset_names()}
    found = []
    for line in listed():
        folder = folders[line.asset]
        if folder is None or split not in (None, line.split) or not (folder / line.file).is_file():
            continue
        path = folder / line.file
        found.append(Photo(line.name, line.asset, line.file, line.licence, line.split, path, line.member, line.subject))
    return found


def missing(split: str | None = None) -> list[str]:
    """Names of assets that are not here and would give more photos of a split.

    Each is got with ``fieldsight assets fetch NAME``.
    """
    here = {photo.name for photo in find(split)}
    wanted = (line for line in listed() if split in (None, line.split) and line.name not in here)
    return list(dict.fromkeys(line.asset for line in wanted))


def _asset_names() -> list[str]:
    return list(dict.fromkeys(line.asset for line in listed()))


def pair_names() -> tuple[tuple[str, str], ...]:
    """The held-out pairs as names ``(cover, secret)``, drawn once; every test photo has each part equally often."""
    return tuple((cover, secret) for cover, secret in _table()["pairs"])


def heldout_pairs() -> list[tuple[Photo, Photo]]:
    """The held-out pairs ``(cover, secret)`` of which both photos are here; see ``studies/stego/heldout.toml``."""
    here = {photo.name: photo for photo in find("test")}
    return [(here[cover], here[secret]) for cover, secret in pair_names() if cover in here and secret in here]


def square(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The centre square of a picture ``(H, W, 3)`` uint8, resized by Pillow's bicubic filter with antialiasing.

    Returns:
        ``(size, size, 3)`` uint8.

    Raises:
        DataError: not an ``(H, W, 3)`` uint8 array, or no positive size.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or size < 1:
        raise DataError(
            f"A square is cut from an array (H, W, 3) of uint8 to 1 pixel or more; got {picture.shape} "
            f"of {picture.dtype} and size {size}. Read the picture with channels='rgb'."
        )
    from PIL import Image

    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    centre = Image.fromarray(np.ascontiguousarray(picture[top : top + side, left : left + side]))
    return np.asarray(centre.resize((size, size), Image.Resampling.BICUBIC))


# --------------------------------------------------------------------------------------- Qt resource bundles


def read_bundle(path: Path, member: str) -> bytes:
    """One file out of a Qt resource bundle (``.rcc``, formats 1 to 3), by its path.

    Layout, big endian: ``qres``, format, offsets of tree, data and names. A tree node holds the offset of its name,
    flags, and either count and first index of its children or, after two locale fields, the offset of its data.

    Raises:
        DataError: not a bundle, cut short, no such member, or compressed in a way that is not read here.
    """
    try:
        data = path.read_bytes()
        if data[:4] != b"qres":
            raise DataError(f"'{path}' is no Qt resource bundle: it does not begin with 'qres'.")
        return _member(data, member, path)
    except (struct.error, zlib.error, UnicodeDecodeError, IndexError, OSError) as error:
        raise DataError(f"'{path}' is a broken resource bundle: {error}. Fetch its asset again.") from None


def _member(data: bytes, member: str, path: Path) -> bytes:
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    node_size = 22 if version >= 2 else 14
    node = tree
    for part in member.split("/"):
        _, flags, count, first = struct.unpack_from(">IHII", data, node)
        children = [tree + (first + i) * node_size for i in range(count)] if flags & 2 and count < 100_000 else []
        matches = [child for child in children if _name(data, names, child) == part]
        if not matches:
            raise DataError(f"'{path}' holds no '{member}': another version of the package?")
        node = matches[0]
    _, flags, _, offset = struct.unpack_from(">IHII", data, node)
    (length,) = struct.unpack_from(">I", data, contents + offset)
    start = contents + offset + 4
    body = data[start : start + length]
    if flags & 2 or flags & 4 or len(body) < length:
        raise DataError(f"'{path}': '{member}' is a folder, cut short, or compressed by zstd, which is not read here.")
    return zlib.decompress(body[4:]) if flags & 1 else body


def _name(data: bytes, names: int, node: int) -> str:
    (offset,) = struct.unpack_from(">I", data, node)
    (length,) = struct.unpack_from(">H", data, names + offset)
    start = names + offset + 6  # length, then a hash of four bytes
    return data[start : start + 2 * length].decode("utf-16-be")


def _read_bytes(encoded: bytes, name: str) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"'{name}' is no picture that can be read: {error}.") from None
