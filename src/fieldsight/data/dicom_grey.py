"""From stored bits to grey values: modality, window, polarity; as one table of all values that can be stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.dicom_header import Header, reading
from fieldsight.data.dicom_pixels import Layout
from fieldsight.errors import DataError

#: How grey values become 0 to 255: the file's own way, all values, percentiles of the file, or (centre, width).
Window = Literal["file", "full", "percentile"] | tuple[float, float]

#: Percentiles of the window where the file has none, or where they are asked for.
PERCENTILES = (0.5, 99.5)

Table = NDArray[np.float32]

#: Objects whose modality table leads back to the X-ray intensity and is not for display (PS3.3 C.8.7.1.1.2).
_X_RAY = ("1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2", "1.2.840.10008.5.1.4.1.1.12.3")


class Grey:
    """Tables from the stored bits of a picture with one number a pixel to its values.

    Args:
        header: the open file.
        layout: how the frames are stored.
        histogram: counts of the stored bits ``(2**stored,)`` over frames of the file, for percentiles.

    Raises:
        DataError: the palette can't be read.
    """

    def __init__(self, header: Header, layout: Layout, histogram: Callable[[], NDArray[np.int64]]) -> None:
        self.header, self.layout, self._histogram = header, layout, histogram
        self.raw = np.arange(2**layout.stored, dtype=np.int64)
        if layout.signed:
            self.raw[self.raw >= 2 ** (layout.stored - 1)] -= 2**layout.stored
        self.inverted = layout.photometric == "MONOCHROME1" or header.word("PresentationLUTShape") == "INVERSE"
        self._palette = _palette(header, layout) if layout.photometric == "PALETTE COLOR" else None
        self._limits: dict[int, tuple[float, float]] = {}
        self._last: tuple[Any, Table] | None = None

    def modality(self, frame: int = 0, display: bool = False) -> Table:
        """Modality values of all stored bits ``(2**stored,)`` (PS3.3 C.11.1): table, or slope and intercept.

        Args:
            frame: number of the frame.
            display: leave out what is not meant for display, as viewers do with angiograms.
        """
        if self._palette is not None:
            return self._palette
        own = display and self._intensity_only()
        slope, intercept = (self.header.number(k, frame) for k in ("RescaleSlope", "RescaleIntercept"))
        sequence = self.header.find("ModalityLUTSequence", frame)
        if own and (sequence or (slope, intercept) not in ((None, None), (1.0, 0.0))):
            self.header.note("the modality table leads to X-ray intensity and is left out for display")
        if own:
            return self.raw.astype(np.float32)
        if sequence:
            entries, first, _ = self._table(sequence, "ModalityLUTSequence")
            return entries[np.clip(self.raw - first, 0, len(entries) - 1)]
        return (self.raw * (1.0 if slope is None else slope) + (intercept or 0.0)).astype(np.float32)

    def exact(self, frame: int = 0) -> bool:
        """Whether modality values are the stored whole numbers, none below 0."""
        plain = self.header.number("RescaleSlope", frame) in (None, 1.0) and not self.header.number(
            "RescaleIntercept", frame
        )
        return plain and not self.layout.signed and self._palette is None and not self._has_table(frame)

    def display(self, frame: int, window: Window) -> Table:
        """Grey values 0-255, white is 255, of all stored bits ``(2**stored,)``.

        Raises:
            DataError: a table of the file can't be read, or a width that is not above 0.
        """
        key = (frame if self.header.per_frame() else 0, window)
        if self._last is None or self._last[0] != key:
            self._last = (key, self._display(frame, window))
        return self._last[1]

    def _display(self, frame: int, window: Window) -> Table:
        if self._palette is not None and window == "file":
            return self._palette
        values = self.modality(frame, display=True)
        if isinstance(window, tuple):
            if not window[1] > 0 or not np.isfinite(window).all():
                raise DataError(f"The window is {window}: centre and width, and a width above 0 is wanted.")
            shown = windowed(values, *window)
        elif window == "file":
            shown = self._by_file(values, frame)
        elif window == "percentile":
            shown = self._between(values, *self._percentiles(values, frame))
        elif window == "full":
            shown = self._between(values, float(values.min()), float(values.max()))
        else:
            raise DataError(f"Unknown window '{window}'. Allowed: file, full, percentile, or (centre, width).")
        return 255 - shown if self.inverted else shown

    def _by_file(self, values: Table, frame: int) -> Table:
        """By the file's table or window (PS3.3 C.11.2), the first where there are several."""
        sequence = self.header.find("VOILUTSequence", frame)
        if sequence:
            entries, first, bits = self._table(sequence, "VOILUTSequence")
            at = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
            return np.minimum(entries[at] * np.float32(255 / (2**bits - 1)), 255)
        centre, width = (self.header.number(k, frame) for k in ("WindowCenter", "WindowWidth"))
        function = self.header.word("VOILUTFunction", frame) or "LINEAR"
        if centre is not None and width is not None and width > 0:
            return windowed(values, centre, width, function)
        said = "a window that is not above 0 wide" if centre is not None and width is not None else "no window"
        if self.layout.stored <= 8:
            if said != "no window":
                self.header.note(f"the file has {said}: all its grey values are shown")
            return self._between(values, float(values.min()), float(values.max()))
        self.header.note(
            f"the file has {said}: the grey values between its percentiles {PERCENTILES[0]:g} and {PERCENTILES[1]:g} "
            "are shown"
        )
        return self._between(values, *self._percentiles(values, frame))

    def _between(self, values: Table, low: float, high: float) -> Table:
        scaled = (values - low) / np.float32(max(high - low, 1e-6))
        return (np.clip(scaled, 0, 1) * 255).astype(np.float32)

    def _percentiles(self, values: Table, frame: int) -> tuple[float, float]:
        key = frame if self.header.per_frame() else 0
        if key not in self._limits:
            counts = self._histogram()
            order = np.argsort(values, kind="stable")
            share = np.cumsum(counts[order]) / max(1, counts.sum())
            at = np.minimum(np.searchsorted(share, np.array(PERCENTILES) / 100), len(order) - 1)
            self._limits[key] = (float(values[order[at[0]]]), float(values[order[at[1]]]))
        return self._limits[key]

    def _intensity_only(self) -> bool:
        log = self.header.word("PixelIntensityRelationship") in ("LOG", "DISP")
        return log and str(self.header.find("SOPClassUID") or "") in _X_RAY

    def _has_table(self, frame: int) -> bool:
        return bool(self.header.find("ModalityLUTSequence", frame))

    def _table(self, sequence: Any, keyword: str) -> tuple[Table, int, int]:
        with reading(self.header.path, f"{keyword} can't be read"):
            item = sequence[0]
            return _entries(item.LUTDescriptor, item.LUTData, self.layout.signed, self.header.little)


def windowed(values: Table, centre: float, width: float, function: str = "LINEAR") -> Table:
    """Grey values 0-255 by a window, of modality values of any shape (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: float32.
        centre: of the window.
        width: above 0.
        function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.

    Raises:
        DataError: another function.
    """
    if function == "SIGMOID":
        power = np.clip(-4 * (values - centre) / width, -80, 80)
        return (255 / (1 + np.exp(power))).astype(np.float32)
    if function == "LINEAR":  # a width of 1 is a step: it is as steep as a number can be
        scaled = (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
    elif function == "LINEAR_EXACT":
        scaled = (values - centre) / width + 0.5
    else:
        raise DataError(f"The window function {function} is not known. Allowed: LINEAR, LINEAR_EXACT, SIGMOID.")
    return (np.clip(scaled, 0, 1) * 255).astype(np.float32)


# ---------------------------------------------------------------------------------------------- internals


def _entries(descriptor: Any, data: Any, signed: bool, little: bool) -> tuple[Table, int, int]:
    """Entries of a lookup table, the stored value that the first belongs to, and bits of an entry."""
    order = "<" if little else ">"
    if isinstance(descriptor, bytes):
        descriptor = np.frombuffer(descriptor, f"{order}u2").tolist()
    count, first, bits = (int(v) for v in descriptor)
    count, first = (count % 2**16) or 2**16, first % 2**16
    if signed and first >= 2**15:
        first -= 2**16
    if not 8 <= bits <= 16:
        raise ValueError
    if isinstance(data, bytes):
        small = len(data) < 2 * count  # 8-bit entries, one a byte
        entries = np.frombuffer(data, "u1" if small else f"{order}u2")
    else:
        entries = np.asarray(data, np.int64) % 2**16
    if len(entries) < count:
        raise ValueError
    return entries[:count].astype(np.float32), first, bits


def _palette(header: Header, layout: Layout) -> Table:
    """Luminance 0-255 of every stored value of a palette picture (ITU-R BT.601)."""
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_color_lut

    weights = {"Red": 0.299, "Green": 0.587, "Blue": 0.114}
    raw = np.arange(2**layout.stored)
    total = np.zeros(len(raw), np.float64)
    segmented = header.find("SegmentedRedPaletteColorLookupTableData") is not None
    with reading(header.path, "the palette can't be read"):
        if segmented:
            table = Dataset()
            table.set_original_encoding(False, header.little, "ascii")
            for colour in weights:
                descriptor = header.find(f"{colour}PaletteColorLookupTableDescriptor")
                table.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", list(descriptor))
                name = f"Segmented{colour}PaletteColorLookupTableData"
                table.add_new(name, "OW", header.find(name))
            colours = apply_color_lut(raw, table)
            return (colours[:, :3] @ np.array(list(weights.values())) * (255 / np.iinfo(colours.dtype).max)).astype(
                np.float32
            )
        for colour, weight in weights.items():
            descriptor = header.find(f"{colour}PaletteColorLookupTableDescriptor")
            data = header.find(f"{colour}PaletteColorLookupTableData")
            entries, first, bits = _entries(descriptor, data, False, header.little)
            total += weight * entries[np.clip(raw - first, 0, len(entries) - 1)] * (255 / (2**bits - 1))
    return np.minimum(total, 255).astype(np.float32)
