"""Label maps that are no pictures: CFD's MATLAB files and the text files of the Berkeley segmentation data set."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.images import MAX_PIXELS
from fieldsight.errors import DataError

Labels = NDArray[np.int64]

#: Endings of the files that are read here.
LABEL_SUFFIXES = (".mat", ".seg")


def read_labels(path: str | Path) -> tuple[Labels, int]:
    """Label map ``(H, W)`` of a ``.mat`` or ``.seg`` file, and the label that is crack.

    ``.mat`` is CFD's struct ``groundTruth`` with ``Segmentation``: 1 is background, 2 is crack. ``.seg`` is the text
    format "ascii cr" of the Berkeley segmentation data set (D. Martin, 2001): lines ``segment row first last``,
    counted from 0, last column included; segment 0 is background, 1 is crack. Nothing is dilated.

    Raises:
        DataError: damaged, of another build, or labels below the background's.
    """
    source = Path(path)
    if source.suffix.lower() == ".seg":
        return _seg_labels(source), 1
    labels = _mat_labels(source)
    if labels.min() < 1:
        raise DataError(f"'{source}' holds the label {labels.min()}; in CFD 1 is background and 2 is crack.")
    return labels, 2


def read_seg_header(path: str | Path) -> tuple[int, int, int]:
    """Height, width and number of segments that a ``.seg`` file announces.

    Raises:
        DataError: no such file, or its header lacks one of them.
    """
    source = Path(path)
    fields, _ = _seg_header(source, _text(source))
    return fields["height"], fields["width"], fields["segments"]


def _mat_labels(path: Path) -> Labels:
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    try:
        truth = loadmat(str(path), variable_names=["groundTruth"]).get("groundTruth")
    except Exception as error:  # the reader raises a dozen kinds on damaged files
        raise DataError(f"'{path}' is damaged, or no MATLAB file up to version 7: {error}.") from None
    while isinstance(truth, np.ndarray) and truth.dtype == object and truth.size == 1:
        truth = truth.ravel()[0]  # a cell of one
    fields = getattr(getattr(truth, "dtype", None), "names", None) or ()
    if "Segmentation" not in fields or truth.size != 1:
        raise DataError(f"'{path}' holds no struct 'groundTruth' with one field 'Segmentation', as CFD's files do.")
    labels = np.asarray(truth["Segmentation"].ravel()[0])
    numbers = labels.ndim == 2 and labels.size > 0 and labels.dtype.kind in "iuf"
    if not numbers or not np.isfinite(labels).all() or (labels != np.round(labels)).any():
        raise DataError(
            f"'{path}': 'Segmentation' is {labels.dtype} of shape {labels.shape}; labels (H, W) are wanted."
        )
    return labels.astype(np.int64)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise DataError(f"Can't read '{path}' as text: {error}.") from None


def _seg_header(path: Path, text: str) -> tuple[dict[str, int], str]:
    """Width, height and segments, and the text after the header."""
    match = re.search(r"^data[ \t]*\r?$", text, re.MULTILINE)
    head = re.sub(r"#.*", "", text[: match.start()] if match else text[:2000])
    words = {line.split()[0]: line.split()[1:] for line in head.splitlines() if line.strip()}
    fields = {
        k: int(words[k][0])
        for k in ("width", "height", "segments")
        if re.fullmatch(r"\d{1,9}", "".join(words.get(k, [])))
    }
    if match is None or len(fields) < 3 or not 0 < fields["width"] * fields["height"] <= MAX_PIXELS:
        raise DataError(f"'{path}' is no segmentation file: width, height, segments and 'data' must be in its header.")
    if words.get("format", ["ascii", "cr"]) != ["ascii", "cr"] or words.get("flipflop", ["0"]) != ["0"]:
        raise DataError(
            f"'{path}' is a segmentation file of a kind that is not read; 'format ascii cr', unflipped, is."
        )
    return fields, text[match.end() :]


def _seg_labels(path: Path) -> Labels:
    fields, data = _seg_header(path, _text(path))
    height, width = fields["height"], fields["width"]
    try:
        segment, row, first, last = np.array(data.split(), dtype=np.int64).reshape(-1, 4).T
    except (ValueError, OverflowError):
        raise DataError(
            f"'{path}': every line after 'data' must hold four whole numbers. It may be truncated."
        ) from None
    inside = (row >= 0) & (row < height) & (first >= 0) & (first <= last) & (last < width) & (segment >= 0)
    lengths = np.where(inside, last - first + 1, 0)
    if not inside.all() or lengths.sum() != height * width:
        raise DataError(f"'{path}' does not name each of its {width} x {height} pixels once. It may be truncated.")
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.repeat(row * width + first, lengths) + np.arange(height * width) - before
    labels = np.full(height * width, -1, np.int64)
    labels[places] = np.repeat(segment, lengths)
    if (labels < 0).any():
        raise DataError(f"'{path}' names some pixels twice and others not at all.")
    return labels.reshape(height, width)
