"""Header of a DICOM file: technical tags by a list of allowed ones, and where the pixels lie.

Tags that are not on the list are skipped in the file, so names, dates, numbers and private tags of a patient are not
even in memory. What pydicom warns, logs and raises may quote values of the file: all of it is silenced, and an error
here names the file, the tag's keyword and what to do, never a value that is not a plain technical word.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from fieldsight.errors import DataError, FieldsightError

#: Endings that DICOM files have, where they have one.
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")

#: Words of at most 16 capital letters, digits, blanks and underscores (value representation CS).
WORDS = (
    "Modality", "ImageType", "PhotometricInterpretation", "PixelIntensityRelationship", "PositionerMotion",
    "PositionerType", "RadiationSetting", "FieldOfViewShape", "BurnedInAnnotation", "LossyImageCompression",
    "VOILUTFunction", "PresentationLUTShape", "PixelSpacingCalibrationType",
)  # fmt: skip

#: Free text that names a machine.
TEXTS = ("Manufacturer", "ManufacturerModelName")

#: Numbers of the acquisition and of the picture.
NUMBERS = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "CineRate", "FrameTime", "FrameTimeVector", "RecommendedDisplayFrameRate",
    "PixelSpacing", "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor", "DistanceSourceToDetector",
    "DistanceSourceToPatient", "PositionerPrimaryAngle", "PositionerSecondaryAngle", "PositionerPrimaryAngleIncrement",
    "PositionerSecondaryAngleIncrement", "IntensifierSize", "FieldOfViewDimensions", "KVP", "XRayTubeCurrent",
    "XRayTubeCurrentInmA", "ExposureTime", "Exposure", "AveragePulseWidth", "WindowCenter", "WindowWidth",
    "RescaleSlope", "RescaleIntercept", "PixelIntensityRelationshipSign",
)  # fmt: skip

#: Free text that may say which vessel is shown. It is looked through for words, never given out.
DESCRIPTIONS = (
    "SeriesDescription", "ProtocolName", "StudyDescription", "AcquisitionProtocolName",
    "AcquisitionProtocolDescription", "PerformedProcedureStepDescription",
)  # fmt: skip

_PALETTES = tuple(
    f"{kind}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for kind, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
_STRUCTURE = (
    "SOPClassUID", "ModalityLUTSequence", "VOILUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    *_PALETTES,
)  # fmt: skip

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

#: Transfer syntaxes whose pixels are not packed.
NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)

#: Media storage directory: an index of files, which holds no picture.
_DIRECTORY = "1.2.840.10008.1.3.10"

#: Float, double and plain pixel data.
_PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}

#: A value longer than this is not loaded, bytes; and a deflated file may not grow beyond, bytes.
_LONGEST, _INFLATED = 2**24, 2**31
_UNDEFINED = 0xFFFFFFFF

#: Groups of nested sequences that are looked into.
_DEPTH = 4

_LOCK = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let pydicom work without a warning or a line in a log: they quote values of the file."""
    from pydicom import config

    log = logging.getLogger("pydicom")
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level, mode = log.level, config.settings.reading_validation_mode
        log.setLevel(logging.CRITICAL + 1)  # of its children too, which "disabled" would not reach
        config.settings.reading_validation_mode = config.IGNORE
        try:
            yield
        finally:
            log.setLevel(level)
            config.settings.reading_validation_mode = mode


@contextlib.contextmanager
def reading(path: Path, doing: str) -> Iterator[None]:
    """The same, and whatever pydicom raises becomes a :class:`DataError` without its text.

    Args:
        path: the file, for the message.
        doing: what could not be done, for the message: "the header can't be read".
    """
    with quiet():
        try:
            yield
        except FieldsightError:
            raise
        except Exception as error:  # a parser of foreign bytes raises anything; its text may quote the patient
            name = type(error).__name__
            raise DataError(f"'{path}': {doing} ({name}). The file is damaged; export it anew.") from None


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels lie: keyword of the tag, its value representation, first byte, length or None (in items)."""

    keyword: str
    kind: str | None
    offset: int
    length: int | None


@dataclass
class Header:
    """What a DICOM file tells of its picture.

    Attributes:
        path: the file.
        stream: the open file, or what was deflated in it; positions in ``pixels`` count in this.
        size: bytes of the stream.
        syntax: transfer syntax UID; empty where the file names none.
        little: whether numbers are little endian.
        pixels: where the pixels lie.
        notes: what was left out or assumed, in words.
    """

    path: Path
    stream: BinaryIO
    size: int
    syntax: str
    little: bool
    pixels: PixelElement
    notes: list[str]
    _tags: Any = field(repr=False)

    @property
    def syntax_name(self) -> str:
        """Name of the transfer syntax as the standard has it, its number where it is unknown."""
        return uid_name(self.syntax) or self.syntax or "none named"

    def find(self, keyword: str, frame: int = 0) -> Any:
        """Value of an allowed tag, or None: the frame's own, that of all frames, or that of the file.

        Raises:
            DataError: the value can't be parsed.
        """
        with reading(self.path, f"the tag {keyword} can't be read"):
            groups = self._tags.get("PerFrameFunctionalGroupsSequence")
            if groups is not None and frame < len(groups):
                found = _within(groups[frame], keyword)
                if found is not None:
                    return found
            shared = self._tags.get("SharedFunctionalGroupsSequence")
            if shared:
                found = _within(shared[0], keyword)
                if found is not None:
                    return found
            return self._tags.get(keyword)

    def per_frame(self) -> bool:
        """Whether frames may have values of their own (enhanced multi-frame objects)."""
        return "PerFrameFunctionalGroupsSequence" in self._tags

    def numbers(self, keyword: str, frame: int = 0) -> tuple[float, ...]:
        """Numbers of a tag of :data:`NUMBERS`; empty where it is absent, empty or not numeric (which is noted)."""
        assert keyword in NUMBERS, keyword
        try:
            value = self.find(keyword, frame)
            many: Any = () if value is None or value == "" else value
            with reading(self.path, "no number"):
                found = tuple(float(v) for v in (many if _is_list(many) else (many,)))
        except DataError:
            found = (math.nan,)
        if all(math.isfinite(v) for v in found):
            return found
        self.note(f"the tag {keyword} holds no number and is left out")
        return ()

    def number(self, keyword: str, frame: int = 0) -> float | None:
        """First number of a tag of :data:`NUMBERS`, or None."""
        found = self.numbers(keyword, frame)
        return found[0] if found else None

    def word(self, keyword: str, frame: int = 0) -> str:
        """Word of a tag of :data:`WORDS`, several joined by a backslash; empty where absent or no such word."""
        assert keyword in WORDS, keyword
        try:
            value = self.find(keyword, frame)
        except DataError:
            return ""
        words = [str(v).strip() for v in value] if _is_list(value) else [str(value or "").strip()]
        return "\\".join(words) if all(re.fullmatch(r"[A-Z0-9_ ]{0,16}", w) for w in words) else ""

    def text(self, keyword: str) -> str:
        """Text of a tag of :data:`TEXTS`: printable, at most 64 letters; empty where absent."""
        assert keyword in TEXTS, keyword
        try:
            value = self.find(keyword)
        except DataError:
            return ""
        return "".join(c for c in str(value or "") if c.isprintable())[:64].strip()

    def mentions(self, pattern: str) -> bool:
        """Whether a description of series, study or protocol holds a match of a regular expression, in any case."""
        for keyword in DESCRIPTIONS:
            with contextlib.suppress(DataError):
                if re.search(pattern, str(self.find(keyword) or ""), re.IGNORECASE):
                    return True
        return False

    def kind(self) -> str:
        """Name of the SOP class, such as "X-Ray Angiographic Image Storage"; empty where unknown."""
        try:
            return uid_name(str(self.find("SOPClassUID") or ""))
        except DataError:
            return ""

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do: 128 bytes, then the letters DICM."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def uid_name(uid: str) -> str:
    """The standard's name of a UID; empty where the standard has none."""
    from pydicom import config
    from pydicom.uid import UID

    name = str(UID(uid, validation_mode=config.IGNORE).name)
    return "" if name == uid else name


def open_header(path: Path) -> Header:
    """Open a DICOM file and read its header up to the pixels. The stream stays open.

    Raises:
        DataError: absent, empty, no DICOM, a DICOMDIR, without pixels, or damaged.
    """
    if not path.exists():
        raise DataError(f"There is no file '{path}'.")
    if path.is_dir():
        raise DataError(f"'{path}' is a folder, a DICOM file is wanted.")
    try:
        stream: BinaryIO = open(path, "rb")  # noqa: SIM115 - frames are read from it later
    except OSError as error:
        raise DataError(f"Can't read '{path}': {error.strerror or 'no access'}.") from None
    notes: list[str] = []
    try:
        syntax, proper = _meta(stream, path, notes)
        if syntax == DEFLATED:
            stream = _inflate(stream, path)
        return _body(stream, path, syntax, proper, notes)
    except BaseException:
        stream.close()
        raise


# ---------------------------------------------------------------------------------------------- internals


def _meta(stream: BinaryIO, path: Path, notes: list[str]) -> tuple[str, bool]:
    """Transfer syntax of the file, and whether it has meta information."""
    from pydicom.filereader import read_dataset

    if stream.read(132)[128:] != b"DICM":
        stream.seek(0)
        if not _could_be_headless(stream.read(8)):
            what = "is empty (0 bytes)" if stream.seek(0, 2) == 0 else "is no DICOM file"
            raise DataError(f"'{path}' {what}. Allowed: a DICOM file with pixels.")
        stream.seek(0)
        notes.append("the file has no DICOM preamble")
    with reading(path, "the header can't be read"):
        meta = read_dataset(
            stream, False, True, stop_when=lambda tag, kind, length: tag >> 16 != 2, defer_size=_LONGEST,
            specific_tags=[0x00020002, 0x00020010],
        )  # fmt: skip
        syntax, kind = str(meta.get("TransferSyntaxUID") or ""), str(meta.get("MediaStorageSOPClassUID") or "")
    if kind == _DIRECTORY:
        raise DataError(f"'{path}' is a DICOMDIR, the index of a disc, and holds no picture. Name one of its files.")
    if not re.fullmatch(r"[0-9.]{0,64}", syntax):
        raise DataError(f"'{path}' names no proper transfer syntax. The file is damaged; export it anew.")
    return syntax, bool(meta)


def _body(stream: BinaryIO, path: Path, syntax: str, proper: bool, notes: list[str]) -> Header:
    """Allowed tags up to the pixels."""
    from pydicom.filereader import read_dataset

    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    if not syntax:
        implicit, little, syntax = _guess(stream)
        notes.append(f"the file names no transfer syntax: {uid_name(syntax)} is assumed")
    found: list[PixelElement] = []

    def at_pixels(tag: Any, kind: str | None, length: int) -> bool:
        if int(tag) in _PIXELS:
            found.append(PixelElement(_PIXELS[int(tag)], kind, stream.tell(), None if length == _UNDEFINED else length))
            return True
        return False

    with reading(path, "the header can't be read"):
        tags = read_dataset(
            stream, implicit, little, stop_when=at_pixels, defer_size=_LONGEST, specific_tags=_allowed()
        )
    position, size = stream.tell(), stream.seek(0, 2)
    if not found:
        raise _no_pixels(path, position > size, proper or "Rows" in tags)
    return Header(path, stream, size, syntax, little, found[-1], notes, tags)


def _no_pixels(path: Path, ends_early: bool, proper: bool) -> DataError:
    if ends_early:
        return DataError(f"'{path}' is truncated: it ends inside of the header. Copy or export it anew.")
    if not proper:
        return DataError(f"'{path}' is no DICOM file. Allowed: a DICOM file with pixels.")
    return DataError(
        f"'{path}' holds no PixelData: it is a DICOM file without a picture (a report, a presentation state), or it "
        "is truncated. Name the file of the picture, or export it anew."
    )


def _allowed() -> list[Any]:
    from pydicom.datadict import tag_for_keyword

    tags = [tag_for_keyword(k) for k in (*WORDS, *TEXTS, *NUMBERS, *DESCRIPTIONS, *_STRUCTURE)]
    assert None not in tags
    return tags


def _could_be_headless(start: bytes) -> bool:
    """Whether bytes can be the first tag of a DICOM file that has no preamble: group 0002 or 0008, low element."""
    if len(start) < 8:
        return False
    little = start[1] == 0 and start[0] in (2, 8) and start[3] == 0
    big = start[0] == 0 and start[1] == 8 and start[2] == 0
    return little or big


def _guess(stream: BinaryIO) -> tuple[bool, bool, str]:
    """Implicit, little endian, UID of the transfer syntax by the first tag of the data set."""
    start = stream.read(6)
    stream.seek(-len(start), 1)
    if not re.fullmatch(rb"[A-Z]{2}", start[4:6]):
        return True, True, IMPLICIT
    little = start[1:2] == b"\0"
    return False, little, EXPLICIT if little else BIG_ENDIAN


def _inflate(stream: BinaryIO, path: Path) -> BinaryIO:
    """What was deflated behind the file's meta information, in memory or an unnamed temporary file."""
    # it is the header's stream, closed by it
    out = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=2**26))  # noqa: SIM115
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while not unpack.eof and (packed := unpack.unconsumed_tail or stream.read(1 << 20)):
            out.write(unpack.decompress(packed, 1 << 24))
            if out.tell() > _INFLATED:
                raise DataError(
                    f"'{path}' is deflated and grows beyond {_INFLATED / 2**30:g} GiB. Save it without deflate "
                    "(Explicit VR Little Endian) if you trust it."
                )
    except zlib.error:
        out.close()
        raise DataError(f"'{path}' is deflated, and damaged. Export it anew.") from None
    except BaseException:
        out.close()
        raise
    stream.close()
    out.seek(0)
    return out


def _within(group: Any, keyword: str, depth: int = _DEPTH) -> Any:
    """Value of a tag in a data set or in the sequences of it."""
    if keyword in group:
        return group[keyword].value
    if depth == 0:
        return None
    for tag in group.keys():  # noqa: SIM118 - a Dataset's iterator gives elements, and converts all of them
        element = group.get_item(tag)
        if element.VR == "SQ" or (element.VR is None and group[tag].VR == "SQ"):
            for item in group[tag].value[:1]:
                found = _within(item, keyword, depth - 1)
                if found is not None:
                    return found
    return None


def _is_list(value: Any) -> bool:
    return not isinstance(value, (str, bytes)) and hasattr(value, "__iter__")
