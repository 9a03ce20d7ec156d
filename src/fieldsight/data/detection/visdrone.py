"""VisDrone's text files: ``x,y,w,h,score,category,truncation,occlusion`` a line, whole pixels from the top left.

Score 0 marks what evaluation ignores. Categories 1 to 10 are the classes; 0 (ignored regions) and 11 (others) are of no
class: such a box is ignored for every class, so it is there once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fieldsight import progress
from fieldsight.data.detection import checks
from fieldsight.data.detection.checks import Labelled, Marks, Reading, read_text
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.data.files import write_text
from fieldsight.data.images import write_image
from fieldsight.data.splits import Row, write_manifest
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import DataError

#: Classes by category; category 1 is the first.
NAMES = (
    "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor",
)  # fmt: skip

#: Categories of no class: ignored regions, and others.
REGION, OTHERS = 0, 11

_FIELDS = 8


@dataclass(frozen=True)
class Part:
    """Folders of photos and of their text files; the split they are of, or an empty text."""

    split: str
    photos: Path
    labels: Path


def read_visdrone(parts: Sequence[Part], root: Path) -> Reading:
    """Read the folders of VisDrone2019-DET.

    Raises:
        DataError: a line that can't be understood, or no photo has a label file.
    """
    reading = Reading("visdrone", root, NAMES, tuple(range(1, 11)), [])
    labelled = 0
    with checks.refusing(root):
        for part in parts:
            photos = {p.stem: p for p in sorted(part.photos.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES}
            labels = {p.stem: p for p in sorted(part.labels.iterdir()) if p.suffix.lower() == ".txt"}
            for stem, photo in progress.track(photos.items(), "reading labels", len(photos)):
                file = labels.get(stem)
                marks = parse_lines(read_text(file), str(file)) if file is not None else Marks.of([])
                reading.photos.append(Labelled(photo, part.split, marks, str(file or "")))
                labelled += file is not None
            for stem in sorted(set(labels) - set(photos)):
                reading.findings.add("orphans", str(labels[stem]))
    if not labelled:
        raise DataError(f"'{root}': no photo has a text file of its name in annotations/.")
    return reading


def parse_lines(text: str, where: str) -> Marks:
    """The lines of a file; a comma at a line's end is fine.

    Raises:
        DataError: names file and line.
    """
    rows = []
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        words = [word.strip() for word in content.strip().removesuffix(",").split(",")]
        try:
            x, y, w, h, score, category = (checks.number(word) for word in words[:6])
        except ValueError:
            words = []
        if len(words) != _FIELDS:
            raise DataError(
                f"'{where}' line {line} is '{content.strip():.60}'; wanted are eight numbers: "
                "x,y,w,h,score,category,truncation,occlusion."
            )
        if category not in range(OTHERS + 1):
            raise DataError(f"'{where}' line {line}: category {category:g} is out of range; allowed are 0 to {OTHERS}.")
        of_none = category in (REGION, OTHERS)
        for label in range(len(NAMES)) if of_none else (int(category) - 1,):
            rows.append([x, y, x + w, y + h, label, of_none or score == 0, float("nan"), line])
    return Marks.of(rows)


def write_visdrone(samples: Sequence[DetectionSample], out: str | Path, suffix: str = ".png") -> Path:
    """Write ``VisDrone2019-DET-{split}/images`` and ``annotations``, and ``manifest.csv``, of the ten classes.

    A box that is ignored for all classes is written once, as a region.

    Raises:
        DataError: a class beyond the ten, ids that can't be written, or the folder can't be.
    """
    root, files, rows = Path(out), checks.file_names(samples), []
    for sample, name in progress.track(list(zip(samples, files, strict=True)), "writing photos"):
        truth = sample.truth()
        if len(truth) and not 0 <= truth.labels.min() <= truth.labels.max() < len(NAMES):
            raise DataError(f"'{sample.id}' has the class {truth.labels.max()}; VisDrone knows 0 to {len(NAMES) - 1}.")
        folder = root / f"VisDrone2019-DET-{'test-dev' if sample.split == 'test' else sample.split}"
        write_image(folder / "images" / f"{name}{suffix}", sample.image())
        ignored: dict[tuple[float, ...], list[int]] = {}
        for box, label in zip(truth.boxes[truth.ignore].tolist(), truth.labels[truth.ignore].tolist(), strict=True):
            ignored.setdefault(tuple(box), []).append(label)
        lines = []
        for box, labels in ignored.items():
            regions = (REGION,) if len(set(labels)) == len(NAMES) else tuple(label + 1 for label in labels)
            lines += [_line(box, 0, category) for category in regions]
        for box, label in zip(truth.boxes[~truth.ignore].tolist(), truth.labels[~truth.ignore].tolist(), strict=True):
            lines.append(_line(box, 1, label + 1))
        write_text(folder / "annotations" / f"{name}.txt", "".join(lines))
        rows.append(Row(name, sample.group, sample.split, {}))
    write_manifest(root / "manifest.csv", rows)
    return root


def _line(box: Sequence[float], score: int, category: int) -> str:
    x1, y1, x2, y2 = box
    sides = ",".join(f"{round(v, 4):.10g}" for v in (x1, y1, x2 - x1, y2 - y1))
    return f"{sides},{score},{category},0,0\n"
