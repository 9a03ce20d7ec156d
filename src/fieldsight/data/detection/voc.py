"""Pascal VOC's XML: a file a photo, ``bndbox`` with the first and last pixel of a box, counted from 1.

A box of VOC from ``xmin`` to ``xmax`` holds both pixels, so it reaches from ``xmin - 1`` to ``xmax`` in continuous
coordinates. Document types and entities are refused: nothing in a label file needs them, and they are how XML attacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from fieldsight import progress
from fieldsight.data.detection import checks
from fieldsight.data.detection.checks import Labelled, Marks, Reading, read_text
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.data.files import write_text
from fieldsight.data.images import write_image
from fieldsight.data.splits import Row, write_manifest
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import DataError, unknown

#: Elements may be nested this deeply; VOC's are 4 deep.
DEEPEST = 16

#: Files larger than this are no label files, in bytes.
LARGEST = 64 << 20


@dataclass(frozen=True)
class Part:
    """A folder of XML files and one of photos, which may be the same.

    Attributes:
        split: that they are of, or an empty text.
        labels: folder of the XML files.
        photos: folder of the photos.
        ids: stems to take, in this order; all where it is None.
    """

    split: str
    labels: Path
    photos: Path
    ids: tuple[str, ...] | None = None


@dataclass
class _Object:
    """An ``object`` element; the line it begins on."""

    line: int
    texts: dict[str, str] = field(default_factory=dict)


# -------------------------------------------------------------------------------------------------- reading


def read_voc(parts: Sequence[Part], root: Path, names: Sequence[str] | None = None) -> Reading:
    """Read the folders of a data set. ``difficult`` makes a box ignored.

    Args:
        parts: folders, each with its split.
        root: of the data set.
        names: of the classes in their order; without them, those found, sorted.

    Raises:
        DataError: XML that can't be read or has a document type, an object without name or box, a class that is none of
            ``names``, or not one label file.
    """
    reading = Reading("voc", root, (), (), [])
    read: list[tuple[Path, str, Path | None, tuple[int, int] | None, list[tuple[str, list[float]]]]] = []
    with checks.refusing(root):
        for part in parts:
            photos = {p.stem: p for p in sorted(part.photos.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES}
            labels = {p.stem: p for p in sorted(part.labels.iterdir()) if p.suffix.lower() == ".xml"}
            wanted = part.ids if part.ids is not None else sorted({*photos, *labels})
            for stem in progress.track(wanted, "reading labels"):
                file = labels.get(stem)
                name, size, rows = parse_xml(file.read_bytes(), str(file)) if file is not None else ("", None, [])
                photo = photos.get(stem) or _named(part.photos, name)
                if photo is not None:
                    read.append((photo, part.split, file, size, rows))
                elif file is not None:
                    reading.findings.add("orphans", str(file))
                else:
                    raise DataError(f"'{root}': a list names '{stem}', but it has neither photo nor label file.")
    if not any(file for _, _, file, _, _ in read):
        raise DataError(f"'{root}': no photo has an XML file of its name.")
    found = sorted({label for *_, rows in read for label, _ in rows})
    reading.names = checks.check_names(found if names is None else names, f"'{root}'")
    reading.keys = reading.names
    number = {name: n for n, name in enumerate(reading.names)}
    for photo, split, file, size, rows in read:
        for label, values in rows:
            if label not in number:
                raise DataError(f"'{file}' line {values[-1]:g}: {unknown('class', label, number)}")
        marks = Marks.of([[*v[:4], number[label], *v[4:]] for label, v in rows])
        reading.photos.append(Labelled(photo, split, marks, str(file or ""), size=size))
    return reading


def parse_xml(content: bytes, where: str) -> tuple[str, tuple[int, int] | None, list[tuple[str, list[float]]]]:
    """Read one label file.

    Returns:
        The name of the photo's file; its height and width, None where they are not told or 0; and per object its
        class and x1, y1, x2, y2, ignore, area (NaN), line.

    Raises:
        DataError: names the file and the line.
    """
    parser = _Parser(where)
    parser.parse(content)
    rows = []
    for one in parser.objects:
        label = one.texts.get("name", "")
        if not label:
            raise DataError(f"'{where}' line {one.line}: an object has no name.")
        missing = [key for key in ("xmin", "ymin", "xmax", "ymax") if f"bndbox/{key}" not in one.texts]
        if missing:
            raise DataError(f"'{where}' line {one.line}: an object has no {', '.join(missing)}.")
        x1, y1, x2, y2 = (_number(one, f"bndbox/{key}", where) for key in ("xmin", "ymin", "xmax", "ymax"))
        hard = _number(one, "difficult", where) if one.texts.get("difficult") else 0.0
        rows.append((label, [x1 - 1.0, y1 - 1.0, x2, y2, float(hard != 0), float("nan"), float(one.line)]))
    sides = _Object(1, parser.texts)
    high, wide = (_number(sides, f"size/{k}", where) if sides.texts.get(f"size/{k}") else 0.0 for k in _SIDES)
    told = all(0 < side < 1e6 and side.is_integer() for side in (high, wide))
    return parser.texts.get("filename", ""), (int(high), int(wide)) if told else None, rows


_SIDES = ("height", "width")


class _Parser:
    """Texts of the elements that matter, by path below ``annotation``."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.path: list[str] = []
        self.texts: dict[str, str] = {}
        self.objects: list[_Object] = []
        self.said: list[str] = []
        self.expat = expat.ParserCreate()
        self.expat.StartDoctypeDeclHandler = self.refuse
        self.expat.EntityDeclHandler = self.refuse
        self.expat.StartElementHandler = self.start
        self.expat.EndElementHandler = self.end
        self.expat.CharacterDataHandler = self.said.append
        self.expat.buffer_text = True

    def parse(self, content: bytes) -> None:
        if len(content) > LARGEST:
            raise DataError(
                f"'{self.where}' has {len(content) / 1e6:.0f} MB; a label file has {LARGEST / 1e6:.0f} at most."
            )
        try:
            self.expat.Parse(content, True)
        except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two of odd encodings
            raise DataError(f"'{self.where}' is no XML that can be read: {error}.") from None

    def refuse(self, *declaration: Any) -> None:
        raise DataError(
            f"'{self.where}' line {self.expat.CurrentLineNumber} declares a document type or an entity, which is not "
            "read. Remove the <!DOCTYPE ...>; label files need none."
        )

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.path) >= DEEPEST:
            raise DataError(
                f"'{self.where}' line {self.expat.CurrentLineNumber} is nested too deeply for a label file."
            )
        if not self.path and tag != "annotation":
            raise DataError(f"'{self.where}' holds <{tag:.40}>, not the <annotation> of Pascal VOC.")
        self.path.append(tag)
        self.said.clear()
        if self.path == ["annotation", "object"]:
            self.objects.append(_Object(self.expat.CurrentLineNumber))

    def end(self, tag: str) -> None:
        text = "".join(self.said).strip()
        self.said.clear()
        if self.path[1:2] == ["object"]:
            texts, below = self.objects[-1].texts, self.path[2:]
        else:
            texts, below = self.texts, self.path[1:]
        key = "/".join(below)
        # a part of a body has a box of its own: it lies deeper
        if key in _KEYS:
            if key in texts and texts is not self.texts:
                raise DataError(f"'{self.where}' line {self.expat.CurrentLineNumber}: an object has two {key}.")
            texts[key] = text
        self.path.pop()


_KEYS = (
    "name", "difficult", "bndbox/xmin", "bndbox/ymin", "bndbox/xmax", "bndbox/ymax", "filename", "size/height",
    "size/width",
)  # fmt: skip


def _number(one: _Object, key: str, where: str) -> float:
    try:
        return checks.number(one.texts[key])
    except ValueError:
        raise DataError(f"'{where}' line {one.line}: {key} is '{one.texts[key]:.40}', no number.") from None


def _named(folder: Path, name: str) -> Path | None:
    """The photo that a label file names, in the folder of the photos and nowhere else."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    path = folder / last if last else folder
    return path if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() else None


def read_ids(file: Path) -> tuple[str, ...]:
    """The stems that a list of ``ImageSets`` names: the first word of each line.

    Raises:
        DataError: the list can't be read.
    """
    return tuple(line.split()[0] for line in read_text(file).splitlines() if line.strip())


# -------------------------------------------------------------------------------------------------- writing


def write_voc(samples: Sequence[DetectionSample], names: Sequence[str], out: str | Path, suffix: str = ".png") -> Path:
    """Write ``JPEGImages/``, ``Annotations/``, ``ImageSets/Main/{split}.txt`` and ``manifest.csv``.

    Ignored boxes are written as difficult.

    Raises:
        DataError: ids or names that can't be written, or the folder can't be.
    """
    root, files = Path(out), checks.file_names(samples)
    classes = checks.check_names(names, "The data set")
    lists: dict[str, list[str]] = {}
    for sample, name in progress.track(list(zip(samples, files, strict=True)), "writing photos"):
        write_image(root / "JPEGImages" / f"{name}{suffix}", sample.image())
        high, wide = sample.size
        truth, lines = sample.truth(), ["<annotation>", f" <filename>{escape(name + suffix)}</filename>"]
        lines.append(f" <size><width>{wide}</width><height>{high}</height><depth>3</depth></size>")
        for (x1, y1, x2, y2), label, ignore in zip(truth.boxes.tolist(), truth.labels, truth.ignore, strict=True):
            corners = {"xmin": x1 + 1.0, "ymin": y1 + 1.0, "xmax": x2, "ymax": y2}
            box = "".join(f"<{key}>{round(v, 4):.10g}</{key}>" for key, v in corners.items())
            title, hard = escape(classes[label]), int(ignore)
            lines.append(f" <object><name>{title}</name><difficult>{hard}</difficult><bndbox>{box}</bndbox></object>")
        write_text(root / "Annotations" / f"{name}.xml", "\n".join([*lines, "</annotation>", ""]))
        lists.setdefault(sample.split, []).append(name)
    write_manifest(root / "manifest.csv", [Row(n, s.group, s.split, {}) for n, s in zip(files, samples, strict=True)])
    for split, ids in lists.items():
        write_text(root / "ImageSets" / "Main" / f"{split}.txt", "\n".join([*ids, ""]))
    return root
