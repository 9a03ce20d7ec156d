"""Frames of a DICOM file, one at a time: plain, or packed in items (RLE, JPEG, JPEG 2000, JPEG-LS)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.dicom_header import BIG_ENDIAN, NATIVE, Header, quiet, reading
from fieldsight.errors import DataError

#: Whole numbers as they are stored: ``(H, W)``, or ``(H, W, 3)``.
Stored = NDArray[np.uint8] | NDArray[np.uint16]

#: Photometric interpretations with one number a pixel, and with three.
GREY, COLOUR = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), ("RGB", "YBR_FULL", "YBR_FULL_422")
_BY_CODEC = ("YBR_ICT", "YBR_RCT")  # JPEG 2000 only; its decoders give RGB

#: More frames or pieces of frames than this are refused.
_MOST = 1_000_000

#: A packed frame may be this many times as long as the plain one, and this many bytes longer.
_SLACK = (2, 2**20)

_RLE = "1.2.840.10008.1.2.5"
_JPEG = "1.2.840.10008.1.2.4."

#: What brings a decoder, by the last number of the JPEG family's transfer syntax.
_PACKAGES = {
    **dict.fromkeys(("50", "51"), "pylibjpeg pylibjpeg-libjpeg"),
    **dict.fromkeys(("80", "81"), "pyjpegls"),
    **dict.fromkeys(("90", "91", "201", "202", "203"), "pylibjpeg pylibjpeg-openjpeg"),
}
#: Syntaxes that GDCM decodes as well.
_GDCM = ("50", "51", "80", "81", "90", "91")

#: Lossless JPEG, which is decoded here.
_LOSSLESS = (f"{_JPEG}57", f"{_JPEG}70")


@dataclass(frozen=True)
class Layout:
    """How a frame is stored: size, numbers a pixel, bits, and how many frames the header tells of."""

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: bool
    allocated: int
    stored: int
    high: int
    signed: bool
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of a plain frame; YBR_FULL_422 shares its colours between two neighbours."""
        numbers = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * numbers * (self.allocated // 8)


def layout_of(header: Header, max_pixels: int) -> Layout:
    """Read and check how the frames are stored.

    Raises:
        DataError: a tag is absent or has a value that makes no sense or is not supported, or the frame is too large.
    """
    path = header.path
    if header.pixels.keyword != "PixelData":
        raise DataError(f"'{path}' holds {header.pixels.keyword}; PixelData of 8 or 16 bits is wanted.")
    rows, columns = (_whole(header, name, 1, 65535) for name in ("Rows", "Columns"))
    if rows * columns > max_pixels:
        raise DataError(
            f"'{path}' has {columns} x {rows} pixels, more than the {max_pixels / 1e6:.0f} million allowed. "
            "The header may be damaged; raise max_pixels if you trust the file."
        )
    frames = _whole(header, "NumberOfFrames", 0, 2**31, default=1) or 1
    if frames > _MOST:
        raise DataError(f"'{path}' tells of {frames:,} frames, more than the {_MOST:,} allowed. The header is damaged.")
    samples = _whole(header, "SamplesPerPixel", 1, 4, default=1)
    photometric = _photometric(header, samples)
    allocated = _whole(header, "BitsAllocated", 1, 64)
    stored = _whole(header, "BitsStored", 1, 64, default=allocated)
    high = _whole(header, "HighBit", 0, 63, default=stored - 1)
    if allocated not in (8, 16) or not stored - 1 <= high < allocated:
        raise DataError(
            f"'{path}' has BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}. "
            "Allowed: 8 or 16 allocated, at most as many stored. Export it as 8 or 16 bit."
        )
    planar = bool(_whole(header, "PlanarConfiguration", 0, 1, default=0))
    signed = bool(_whole(header, "PixelRepresentation", 0, 1, default=0))
    if photometric == "YBR_FULL_422" and header.syntax in NATIVE and (allocated != 8 or columns % 2):
        raise DataError(f"'{path}': YBR_FULL_422 needs 8 bits and an even width, got {allocated} and {columns}.")
    return Layout(rows, columns, samples, photometric, planar, allocated, stored, high, signed, frames)


class Frames:
    """Frames of a file, read when asked for.

    Args:
        header: the open file.
        layout: how a frame is stored.
        lenient: take the whole frames of a truncated file, and those of one with more data than its header says.

    Attributes:
        count: frames that can be asked for.

    Raises:
        DataError: the data does not fit the header, or nothing here can decode it.
    """

    def __init__(self, header: Header, layout: Layout, lenient: bool = False) -> None:
        self.header, self.layout, self.count = header, layout, layout.frames
        self._items: list[list[tuple[int, int]]] | None = None
        if header.pixels.length is None:
            self._decoder = None if header.syntax in _LOSSLESS else _decoder(header)
            self._items, whole = _frames_of_items(header, layout)
            expected = f"{layout.frames:,} frame(s) by NumberOfFrames"
            self._settle(whole, len(self._items), expected, lenient)
        else:
            if header.syntax not in NATIVE:
                raise DataError(
                    f"'{header.path}' says {header.syntax_name}, but its pixels are not packed in items, or the syntax "
                    "is not known here. Export it as Explicit VR Little Endian."
                )
            self._settle_plain(lenient)

    def __call__(self, number: int) -> tuple[Stored, str]:
        """Frame ``(H, W)`` or ``(H, W, 3)`` of the stored bits (unsigned, lowest bit first) and its photometric word.

        Raises:
            DataError: it can't be read or decoded.
        """
        array, photometric = self._plain(number) if self._items is None else self._decoded(number)
        shift = self.layout.high + 1 - self.layout.stored
        if shift and (self._items is None or self.header.syntax == _RLE):
            array = array >> np.array(shift, array.dtype)
        if self.layout.stored < array.itemsize * 8:
            array = array & np.array(2**self.layout.stored - 1, array.dtype)
        return array, photometric

    def _settle_plain(self, lenient: bool) -> None:
        header, size = self.header, self.layout.frame_bytes
        told = header.pixels.length or 0
        there = min(told, header.size - header.pixels.offset)
        row = max(2, size // self.layout.rows)  # less than a row more is padding
        rest = there - self.layout.frames * size
        longer = rest >= row and not self._padding(there - rest, rest)
        whole = there // size if longer else min(there // size, self.layout.frames)
        found = max(whole, self.layout.frames + 1) if longer else whole
        expected = f"{self.layout.frames:,} frame(s) of {self.layout.columns} x {self.layout.rows}"
        self._settle(whole, found, f"{expected}, {self.layout.frames * size:,} bytes, against {there:,}", lenient)

    def _padding(self, begin: int, length: int) -> bool:
        """Whether what follows the frames is less than a frame and nothing but zeros."""
        if length >= self.layout.frame_bytes or any(self._read(self.header.pixels.offset + begin, length)):
            return False
        self.header.note(f"{length:,} zeros behind the pixels are left out")
        return True

    def _settle(self, whole: int, found: int, expected: str, lenient: bool) -> None:
        """Compare the frames that are whole, and those that are at least begun, with those that the header tells of."""
        path, frames = self.header.path, self.layout.frames
        if whole < frames:
            text = f"the pixel data is shorter than the header says: {expected}; {whole:,} frame(s) are whole"
        elif found > frames:
            text = f"the pixel data is longer than the header says: {expected}; Rows, Columns or frames are wrong"
        else:
            return
        if not lenient or whole == 0:
            way = f", or open it with lenient=True to get {min(whole, frames):,} frame(s)" if whole else ""
            raise DataError(f"'{path}': {text}. Copy or export the file anew{way}.")
        self.count = min(whole, frames)
        self.header.note(text)

    def _read(self, offset: int, length: int) -> bytes:
        with reading(self.header.path, "the pixels can't be read"):
            self.header.stream.seek(offset)
            data = self.header.stream.read(length)
        if len(data) < length:
            raise DataError(f"'{self.header.path}': the pixels end early. The file was cut while it was read.")
        return data

    def _plain(self, number: int) -> tuple[Stored, str]:
        layout, length = self.layout, self.layout.frame_bytes
        begin = number * length
        swapped = self.header.syntax == BIG_ENDIAN and layout.allocated == 8 and self.header.pixels.kind == "OW"
        first = begin - begin % 2 if swapped else begin  # bytes lie in swapped pairs, and a frame may begin in one
        last = begin + length + ((begin + length) % 2 if swapped else 0)
        data = self._read(self.header.pixels.offset + first, last - first)
        order = "<" if self.header.little else ">"
        array = np.frombuffer(data, f"{order}u{layout.allocated // 8}")
        if swapped:
            array = array.reshape(-1, 2)[:, ::-1].reshape(-1)[begin - first :][:length]
        return _shaped(array.astype(array.dtype.newbyteorder("="), copy=False), layout), layout.photometric

    def _decoded(self, number: int) -> tuple[Stored, str]:
        from pydicom.encaps import encapsulate

        assert self._items is not None
        layout, path = self.layout, self.header.path
        pieces = self._items[number]
        length = sum(size for _, size in pieces)
        if length > _SLACK[0] * layout.frame_bytes + _SLACK[1]:
            raise DataError(f"'{path}': frame {number} is packed into {length:,} bytes, more than it has unpacked.")
        data = b"".join(self._read(*piece) for piece in pieces)
        if self._decoder is None:
            return self._lossless(data, number), layout.photometric
        _check_size(data, self.header, layout, number)
        packages = _packages(self.header.syntax)
        more = f" Another decoder may take it: {packages}." if packages else ""
        doing = f"frame {number} ({self.header.syntax_name}) can't be decoded here.{more} Or it is broken"
        # RLE keeps the bits where they are: all of them are wanted, and cut out by the caller
        stored = layout.allocated if self.header.syntax == _RLE else layout.stored
        with reading(path, doing):
            array, found = self._decoder.as_array(
                encapsulate([data], has_bot=False), index=0, raw=True, rows=layout.rows, columns=layout.columns,
                number_of_frames=1, samples_per_pixel=layout.samples, photometric_interpretation=layout.photometric,
                planar_configuration=int(layout.planar), bits_allocated=layout.allocated, bits_stored=stored,
                pixel_representation=int(layout.signed), pixel_keyword="PixelData",
            )  # fmt: skip
        return array.view(f"u{array.itemsize}"), str(found["photometric_interpretation"])

    def _lossless(self, data: bytes, number: int) -> Stored:
        from fieldsight.data.jpeg_lossless import decode_lossless

        layout = self.layout
        try:
            array = decode_lossless(data, layout.rows, layout.columns, layout.samples)
        except DataError as error:  # its text is our own
            raise DataError(
                f"'{self.header.path}': frame {number} can't be decoded: {error}. Export it anew."
            ) from None
        return array.astype(np.uint8) if layout.stored <= 8 else array


# ---------------------------------------------------------------------------------------------- internals


def _whole(header: Header, keyword: str, low: int, high: int, default: int | None = None) -> int:
    value = header.number(keyword)
    if value is None and default is not None:
        return default
    if value is None:
        raise DataError(f"'{header.path}' lacks the tag {keyword} or it holds no number. Export the file anew.")
    if value != int(value) or not low <= value <= high:
        raise DataError(f"'{header.path}': {keyword} is {value:g}; allowed: whole, {low} to {high}. Export it anew.")
    return int(value)


def _photometric(header: Header, samples: int) -> str:
    word = header.word("PhotometricInterpretation")
    allowed = (*GREY, *COLOUR, *(() if header.syntax in NATIVE else _BY_CODEC))
    if word not in allowed or samples != (1 if word in GREY else 3):
        raise DataError(
            f"'{header.path}': PhotometricInterpretation is {word or 'absent or no word'} with {samples} number(s) "
            f"a pixel. Allowed: {', '.join(GREY)} with 1; {', '.join(COLOUR)} with 3. Export it as MONOCHROME2."
        )
    return word


def _shaped(array: Stored, layout: Layout) -> Stored:
    rows, columns = layout.rows, layout.columns
    if layout.photometric == "YBR_FULL_422":  # Y Y Cb Cr for two neighbours
        pairs = array.reshape(rows, columns // 2, 4)
        colours = np.repeat(pairs[..., 2:], 2, axis=1)
        return np.concatenate([pairs[..., :2].reshape(rows, columns, 1), colours], axis=2)
    if layout.samples == 1:
        return array.reshape(rows, columns)
    return array.reshape(3, rows, columns).transpose(1, 2, 0) if layout.planar else array.reshape(rows, columns, 3)


def _packages(syntax: str) -> str:
    last = syntax.removeprefix(_JPEG)
    if last == syntax or last not in _PACKAGES:
        return ""
    return f"pip install {_PACKAGES[last]}" + (" (or python-gdcm)" if last in _GDCM else "")


def _decoder(header: Header) -> Any:
    """pydicom's decoder of a packed transfer syntax.

    Raises:
        DataError: there is none, or the packages that it needs are not installed.
    """
    from pydicom.pixels.decoders.base import get_decoder

    path, name, last = header.path, header.syntax_name, header.syntax.removeprefix(_JPEG)
    if header.syntax in NATIVE:
        raise DataError(f"'{path}' says {name}, but its pixels are packed in items. Export the file anew.")
    if last.isdigit() and 100 <= int(last) <= 108:
        raise DataError(
            f"'{path}' holds a video stream ({name}), which is not read here. Save the run as MP4 or "
            "without compression from a program that shows it."
        )
    try:
        with quiet():
            decoder = get_decoder(header.syntax)
    except (NotImplementedError, ValueError):
        raise DataError(
            f"'{path}': the transfer syntax {name} is not known here. Export it as Explicit VR Little Endian or JPEG."
        ) from None
    if not decoder.is_available:
        raise DataError(
            f"'{path}' is packed as {name}, and no decoder of it is installed. Install one with: "
            f"{_packages(header.syntax) or 'pip install python-gdcm'}; or export the file without compression."
        )
    return decoder


def _check_size(data: bytes, header: Header, layout: Layout, number: int) -> None:
    """Refuse a JPEG whose own size is another one, before it is unpacked: it may be huge.

    One that Pillow does not know (12 bits) is left to the decoder, which checks it or says what is missing.
    """
    import io

    from PIL import Image, UnidentifiedImageError

    if not header.syntax.startswith(_JPEG) or header.syntax.removeprefix(_JPEG) not in ("50", "51", "90", "91"):
        return
    with reading(header.path, f"frame {number} ({header.syntax_name}) is no such picture"):
        try:
            size = Image.open(io.BytesIO(data), formats=("JPEG", "JPEG2000")).size
        except UnidentifiedImageError:
            return
    if size != (layout.columns, layout.rows):
        raise DataError(
            f"'{header.path}': frame {number} has {size[0]} x {size[1]} pixels inside, the header says "
            f"{layout.columns} x {layout.rows}. Export the file anew."
        )


def _frames_of_items(header: Header, layout: Layout) -> tuple[list[list[tuple[int, int]]], int]:
    """Pieces (first byte, length) of every packed frame, and how many frames are whole."""
    table, pieces, ended = _items(header)
    at_table = [number * 4 for number in range(len(table) // 4)]
    offsets = [struct.unpack_from("<L", table, at)[0] for at in at_table]
    extended = header.find("ExtendedOffsetTable")
    if isinstance(extended, bytes) and len(extended) % 8 == 0 and extended:
        offsets = list(struct.unpack(f"<{len(extended) // 8}Q", extended))
    inside = [begin + size <= header.size for begin, size in pieces]
    if layout.frames == 1:
        return [pieces] if pieces else [], int(bool(pieces) and all(inside))
    if len(pieces) == layout.frames or (not ended and not offsets):
        groups = [[piece] for piece in pieces]  # a piece a frame, as RLE demands and most do
    elif len(offsets) > 0:
        groups = _by_offsets(header, pieces, offsets)
    else:
        groups = _by_end_marks(header, pieces)
    whole = sum(1 for group in groups if group and group[-1][0] + group[-1][1] <= header.size)
    return groups, whole


def _items(header: Header) -> tuple[bytes, list[tuple[int, int]], bool]:
    """Offset table, pieces, and whether the list of items is ended as it must be."""
    stream, position = header.stream, header.pixels.offset
    table: bytes | None = None
    pieces: list[tuple[int, int]] = []
    with reading(header.path, "the packed pixels can't be read"):
        while True:
            stream.seek(position)
            head = stream.read(8)
            if len(head) < 8:
                return table or b"", pieces, False
            group, element, length = struct.unpack("<HHL", head)
            position += 8
            if (group, element) == (0xFFFE, 0xE0DD):
                return table or b"", pieces, True
            if (group, element) != (0xFFFE, 0xE000) or length == 0xFFFFFFFF:
                raise DataError(f"'{header.path}': the packed pixels are no list of items. Export the file anew.")
            if table is None:
                table = stream.read(min(length, 4 * _MOST))
            elif len(pieces) == _MOST:
                raise DataError(f"'{header.path}': the pixels are in more than {_MOST:,} pieces. The file is damaged.")
            else:
                pieces.append((position, length))
            position += length


def _by_offsets(
    header: Header, pieces: Sequence[tuple[int, int]], offsets: Sequence[int]
) -> list[list[tuple[int, int]]]:
    """Pieces of each frame by the table of where frames begin, counted from the first item behind the table."""
    if not pieces:
        return []
    begins = {begin - pieces[0][0]: number for number, (begin, _) in enumerate(pieces)}
    places = [begins.get(offset) for offset in offsets]
    if None in places or places != sorted(p for p in places if p is not None) or places[0] != 0:
        raise DataError(
            f"'{header.path}': the table of frames does not fit the packed pixels. The file is damaged; export it anew."
        )
    bounds = [*(p for p in places if p is not None), len(pieces)]
    return [list(pieces[a:b]) for a, b in itertools.pairwise(bounds)]


def _by_end_marks(header: Header, pieces: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Pieces of each frame where no table tells: a JPEG of any kind ends with FF D9."""
    groups: list[list[tuple[int, int]]] = [[]]
    with reading(header.path, "the packed pixels can't be read"):
        for begin, size in pieces:
            groups[-1].append((begin, size))
            header.stream.seek(begin + max(0, size - 10))
            if b"\xff\xd9" in header.stream.read(min(size, 10)):
                groups.append([])
    return [group for group in groups if group]
