"""DICOM pictures and runs, one frame in memory at a time, with technical tags only.

::

    with Dicom(Path("run.dcm")) as run:
        run.count, run.size, run.fps, run.spacing
        run.frame(7)      # (H, W) modality values
        run.picture(7)    # (H, W) uint8 as the file wants it shown
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.dicom_grey import Grey, Window
from fieldsight.data.dicom_header import DICOM_SUFFIXES, NUMBERS, TEXTS, WORDS, Header, is_dicom, open_header
from fieldsight.data.dicom_pixels import COLOUR, Frames, Stored, layout_of
from fieldsight.data.images import MAX_PIXELS
from fieldsight.errors import DataError

__all__ = ["DICOM_SUFFIXES", "Dicom", "Spacing", "Window", "is_dicom"]

#: Luminance of red, green and blue (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

#: Frames that percentiles are taken of.
_SAMPLE = 5

#: Two rates that differ by more than this share are told.
_RATE_GAP = 0.05


@dataclass(frozen=True)
class Spacing:
    """Size of a pixel: millimetres from row to row and from column to column, and what they were taken from.

    ``at_detector`` says that the size is that at the detector: in the patient it is smaller, by an unknown factor.
    """

    row: float
    column: float
    source: str
    at_detector: bool = False


class Dicom:
    """A DICOM file with pixels. Frames are read from the file when asked for; the file stays open until closed.

    Reads implicit and explicit little endian, big endian, deflated, RLE, and what the installed packages decode of
    JPEG, JPEG 2000 and JPEG-LS; 8 or 16 bits, signed or not, one number a pixel, palette, RGB and YBR (as luminance).

    Args:
        path: the file.
        max_pixels: larger frames are refused.
        lenient: take the whole frames of a file that is truncated or longer than its header says.

    Attributes:
        path: the file.
        count: frames.
        size: ``(H, W)``.
        fps: frames a second, or None where the file does not say.
        spacing: size of a pixel, or None where the file does not say.
        photometric: as the file has it, such as ``MONOCHROME2``.
        bits: bits stored of a number.
        notes: what was assumed, left out or converted, in words.

    Raises:
        DataError: absent, no DICOM, damaged, truncated, of a kind that is not supported, or packed in a way that no
            installed package unpacks. No message holds what the file says about the patient.
    """

    def __init__(self, path: str | Path, max_pixels: int = MAX_PIXELS, lenient: bool = False) -> None:
        self.path = Path(path)
        self._header = open_header(self.path)
        try:
            self._layout = layout_of(self._header, max_pixels)
            self._frames = Frames(self._header, self._layout, lenient)
            self._colour = self._layout.samples == 3
            self._grey = None if self._colour else Grey(self._header, self._layout, self._histogram)
            self.fps = _rate(self._header)
            self.spacing = _spacing(self._header)
        except BaseException:
            self.close()
            raise
        self.count = self._frames.count
        self.size = (self._layout.rows, self._layout.columns)
        self.photometric, self.bits = self._layout.photometric, self._layout.stored
        if self._colour or self.photometric == "PALETTE COLOR":
            self._header.note(f"the frames are in colour ({self.photometric}): their luminance is taken")
        if self._header.word("BurnedInAnnotation") == "YES":
            self._header.note("the file says that text is burnt into the picture (it may name the patient)")

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, left out or converted, in words; some is known only when a frame was read."""
        return tuple(self._header.notes)

    def frame(self, number: int) -> NDArray[np.uint16] | NDArray[np.float32]:
        """Modality values of a frame ``(H, W)``.

        Returns:
            uint16 as stored; float32 where a table, slope or intercept applies, or numbers may be below 0. Of colour,
            the luminance: uint16 in the range of the stored bits; of a palette, float32 0-255.

        Raises:
            DataError: no such frame, or it can't be read or decoded.
        """
        stored, photometric = self._stored(number)
        if self._grey is None:
            return np.rint(_luminance(stored, photometric)).astype(np.uint16)
        if self._grey.exact(number):
            return stored.astype(np.uint16)
        return self._grey.modality(number)[stored]

    def display(self, number: int, window: Window = "file") -> NDArray[np.float32]:
        """Grey values of a frame ``(H, W)``, 0-255, white is 255, not rounded.

        Args:
            number: of the frame, from 0.
            window: ``file`` takes the file's table or window, and where it has none all values of 8 bits and
                percentiles of more (noted); ``full`` all values; ``percentile``; or (centre, width) in modality values.
                Colour frames have no window.

        Raises:
            DataError: no such frame, it can't be read or decoded, or the window makes no sense.
        """
        stored, photometric = self._stored(number)
        if self._grey is None:
            return _luminance(stored, photometric) * np.float32(255 / (2**self.bits - 1))
        return self._grey.display(number, window)[stored]

    def picture(self, number: int, window: Window = "file") -> NDArray[np.uint8]:
        """The same as :meth:`display`, rounded to 8 bits ``(H, W)``."""
        return np.rint(self.display(number, window)).astype(np.uint8)

    def number(self, keyword: str, frame: int = 0) -> float | None:
        """First number of a technical tag (:data:`fieldsight.data.dicom_header.NUMBERS`), or None."""
        return self._header.number(keyword, frame)

    def numbers(self, keyword: str, frame: int = 0) -> tuple[float, ...]:
        """All numbers of a technical tag; empty where there are none."""
        return self._header.numbers(keyword, frame)

    def mentions(self, pattern: str) -> bool:
        """Whether the description of the series, study or protocol holds a match; the text itself is never given."""
        return self._header.mentions(pattern)

    def technical(self) -> dict[str, Any]:
        """What the file says of machine, geometry, exposure and picture, by keyword; nothing of the patient.

        Only tags of a fixed list of allowed ones: no names, dates, numbers of persons or studies, no free text but
        the machine's maker and model, no private tag.
        """
        header = self._header
        found: dict[str, Any] = {"Kind": header.kind(), "TransferSyntax": header.syntax_name}
        found |= {keyword: header.word(keyword) for keyword in WORDS}
        found |= {keyword: header.text(keyword) for keyword in TEXTS}
        for keyword in NUMBERS:
            many = header.numbers(keyword)
            found[keyword] = many if len(many) > 1 else (many[0] if many else "")
        return {keyword: value for keyword, value in found.items() if value != ""}

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._header.stream.close()

    def __enter__(self) -> Dicom:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stored(self, number: int) -> tuple[Stored, str]:
        if not 0 <= number < self.count:
            raise DataError(f"'{self.path}' has no frame {number}. Allowed: 0 to {self.count - 1}.")
        return self._frames(number)

    def _histogram(self) -> NDArray[np.int64]:
        """How often each stored value occurs in a few frames, evenly spread."""
        counts = np.zeros(2**self._layout.stored, np.int64)
        for number in sorted({int(n) for n in np.linspace(0, self.count - 1, _SAMPLE)}):
            counts += np.bincount(self._stored(number)[0].reshape(-1), minlength=len(counts))
        return counts


# ---------------------------------------------------------------------------------------------- internals


def _luminance(stored: Stored, photometric: str) -> NDArray[np.float32]:
    """Luminance ``(H, W)`` in the range of the stored bits; the first number of YBR is it."""
    if photometric in COLOUR and photometric != "RGB":
        return stored[..., 0].astype(np.float32)
    return stored.astype(np.float32) @ _LUMA


def _rate(header: Header) -> float | None:
    """Frames a second by the first that makes sense: CineRate, FrameTime, its vector, RecommendedDisplayFrameRate."""
    time, times = header.number("FrameTime"), header.numbers("FrameTimeVector")[1:]  # the first is 0
    mean = sum(times) / len(times) if times else 0.0
    rates = {
        "CineRate": header.number("CineRate") or 0.0,
        "FrameTime": 1000 / time if time is not None and time > 0 else 0.0,
        "FrameTimeVector": 1000 / mean if mean > 0 else 0.0,
        "RecommendedDisplayFrameRate": header.number("RecommendedDisplayFrameRate") or 0.0,
    }
    known = {name: rate for name, rate in rates.items() if 0 < rate < 1000}
    if not known:
        return None
    name, rate = next(iter(known.items()))
    for other, value in known.items():
        if other != "RecommendedDisplayFrameRate" and abs(value - rate) > _RATE_GAP * rate:
            header.note(f"{name} says {rate:g} frames a second, {other} {value:g}: the first is taken")
    return rate


def _spacing(header: Header) -> Spacing | None:
    """Size of a pixel in the patient where the file tells enough (PS3.3 10.7.1.3), else at the detector."""
    plain, detector = _pair(header, "PixelSpacing"), _pair(header, "ImagerPixelSpacing")
    calibration = header.word("PixelSpacingCalibrationType")
    if plain and (calibration or plain != detector):
        return Spacing(*plain, "PixelSpacing" + (f", calibrated: {calibration}" if calibration else ""))
    if not detector:
        return None
    source = "EstimatedRadiographicMagnificationFactor"
    factor = header.number(source)
    if factor is None:
        near, far = header.number("DistanceSourceToPatient"), header.number("DistanceSourceToDetector")
        if near and far and 0 < near <= far:
            factor, source = far / near, "DistanceSourceToDetector / DistanceSourceToPatient"
    if factor is None or not 1 <= factor < 10:
        header.note("the size of a pixel is that at the detector: the magnification is not known")
        return Spacing(*detector, "ImagerPixelSpacing", at_detector=True)
    row, column = detector
    return Spacing(row / factor, column / factor, f"ImagerPixelSpacing, divided by {source} ({factor:.3g})")


def _pair(header: Header, keyword: str) -> tuple[float, float] | None:
    found = header.numbers(keyword)
    if not found:
        return None
    if len(found) != 2 or not all(1e-4 < v < 100 for v in found):
        header.note(f"the tag {keyword} is no pair of sizes in millimetres and is left out")
        return None
    return found[0], found[1]
