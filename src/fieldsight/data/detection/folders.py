"""A folder or file of photos with boxes, whatever its layout, as samples in splits by group.

::

    yolo       data.yaml (or one *.yaml with names); images/ labels/ classes.txt; {train,val,test}/{images,labels}/
    coco       annotations/*.json, {train,val,test}/annotations/*.json, {train,val,test}/_annotations.coco.json, *.json
    visdrone   images/ annotations/*.txt, also in VisDrone2019-DET-{train,val,test-dev}/
    voc        JPEGImages/ Annotations/*.xml ImageSets/Main/{train,val,test}.txt, or photos and XML side by side

They are tried in this order. A ``manifest.csv`` (id, group, split) beside any layout decides groups and splits; its
split ``ignore`` leaves a photo out.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fieldsight import progress
from fieldsight.data.detection import coco, visdrone, voc, yolo
from fieldsight.data.detection.checks import Findings, Reading, check_names, examine, listed, read_text
from fieldsight.data.detection.letterbox import photos_below
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.data.files import sha256
from fieldsight.data.splits import check_leakage, read_manifest, split_groups
from fieldsight.errors import ConfigError, DataError, unknown

SPLITS = ("train", "val", "test")

#: Shares of groups that go to train, val and test where nothing says it.
SHARES = (70.0, 20.0, 10.0)

#: Share of the train groups that is held out where there is no val split; the test split never is.
HELD_OUT = 0.1

_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
_SPLIT = re.compile(r"(?:visdrone\d*-[a-z]+-)?([a-z]+)(?:-dev)?[-_]?\d*", re.IGNORECASE)
_JSON = re.compile(r"coco|annotation|instances|labels|train|val|test", re.IGNORECASE)
_PHOTOS = ("images", "image", "img", "imgs", "jpegimages", "photos", "input", "data")

#: Names of files that tell what a photo was taken from, by what made them; the last is any name with a frame's number.
_NAMES = (
    re.compile(r"(?P<group>.+)_(?:jpe?g|png|bmp|webp)\.rf\.[0-9A-Za-z]+"),  # copies that Roboflow augments
    re.compile(r"(?P<group>\d{7})_\d{5}_d_\d{7}"),  # VisDrone: sequence, frame, number
    re.compile(r"(?P<group>p\d+)_v\d+_\d+"),  # CADICA: patient, video, frame
    re.compile(r"(?P<group>.+?)[_\-. ]+(?:frame|img|image|f|t)?[_\-. ]?\d{2,}"),
)

#: What cameras and cutters call any picture.
_ANY = re.compile(r"(img|image|im|dsc[nf]?|dji|gopr|gp|pic|picture|photo|frame|pxl|file|p)?[_\-. \d]*", re.IGNORECASE)


@dataclass(frozen=True)
class DetectionSet:
    """Photos with boxes, checked and split.

    Attributes:
        samples: by id.
        names: of the classes, by label.
        keys: what the files call each class.
        layout: the format's name.
        root: the folder, or the file, that was read.
        findings: what was mended.
    """

    samples: tuple[DetectionSample, ...]
    names: tuple[str, ...]
    keys: tuple[int | str, ...]
    layout: str
    root: Path
    findings: Findings

    def split(self, name: str) -> list[DetectionSample]:
        """The samples of ``train``, ``val`` or ``test``."""
        return [sample for sample in self.samples if sample.split == name]


def read_detection(
    path: str | Path,
    seed: int = 0,
    split_by_group: bool = True,
    shares: Sequence[float] = SHARES,
    strict: bool = False,
    names: Sequence[str] | None = None,
) -> DetectionSet:
    """Find photos and boxes, check them, and split them by group where nothing gives splits.

    All label files and the headers of all photos are read; photos themselves when a sample is asked for its own. The
    group of a photo is what the manifest says, else the folder it lies in below ``images`` where there are several,
    else what its name says (``flight3_000017.jpg`` is of ``flight3``), else itself. Where there is train but no val, a
    tenth of the train groups becomes val. One line of :func:`fieldsight.progress.note` sums up what was found.

    Args:
        path: a folder of one of the layouts above, a ``data.yaml``, or a JSON file of COCO.
        seed: of splits that the data set does not give.
        split_by_group: False splits photo by photo, which lets frames of a video into several splits.
        shares: of train, val and test groups where nothing gives splits; 0 leaves a split out.
        strict: refuse what would be mended.
        names: of the classes in their order, for layouts that do not give it (VOC, YOLO without a YAML file).

    Raises:
        ConfigError: shares that make no sense.
        DataError: no known layout, or what :func:`fieldsight.data.detection.checks.examine` and the readers refuse, a
            manifest that does not fit, too few groups for the splits, or anything at all to mend if ``strict``.
    """
    if len(shares) != len(SPLITS) or not min(shares) >= 0 or not 0 < sum(shares) < float("inf"):
        raise ConfigError(f"shares are {list(shares)}; three numbers are wanted, of {', '.join(SPLITS)}, none below 0.")
    source = Path(os.path.abspath(path))
    try:
        reading = _find(source, None if names is None else check_names(names, "The list of names"))
        samples = examine(reading)
        homes = [p if p.is_dir() else p.parent for p in (source, reading.root)]
        told = next((p / "manifest.csv" for p in homes if (p / "manifest.csv").is_file()), None)
        if told is not None:
            samples, how = _hold_out(_by_manifest(told, samples), seed), "by manifest.csv"
        else:
            samples, how = _grouped(samples, reading.root, split_by_group)
            samples = _split(samples, seed, shares, reading.findings)
        _find_leaks(samples, reading)
    except OSError as error:
        raise DataError(f"Can't read '{error.filename or source}': {error.strerror or error}.") from None
    found = DetectionSet(tuple(samples), reading.names, reading.keys, reading.layout, source, reading.findings)
    if strict:
        found.findings.refuse(str(source))
    progress.note(_summary(found, how))
    return found


def write_detection(
    samples: Sequence[DetectionSample], names: Sequence[str], out: str | Path, layout: str, suffix: str = ".png"
) -> Path:
    """Write samples in a layout: ``yolo``, ``coco``, ``voc`` or ``visdrone``.

    Raises:
        ConfigError: another layout.
        DataError: as the writer of that layout.
    """
    if layout == "visdrone":
        if tuple(names) != visdrone.NAMES:
            raise DataError(f"VisDrone's classes are {', '.join(visdrone.NAMES)}; got {', '.join(names)}.")
        return visdrone.write_visdrone(samples, out, suffix)
    writers = {"yolo": yolo.write_yolo, "coco": coco.write_coco, "voc": voc.write_voc}
    if layout not in writers:
        raise ConfigError(unknown("layout", layout, [*writers, "visdrone"]))
    return writers[layout](samples, names, out, suffix)


# ---------------------------------------------------------------------------------------------------- layouts


def _find(source: Path, names: tuple[str, ...] | None) -> Reading:
    if source.is_file():
        if source.suffix.lower() in (".yaml", ".yml"):
            return yolo.read_yolo(source)
        if source.suffix.lower() == ".json":
            return coco.read_coco([coco.Part(_split_in(source.stem), source)], source)
        raise DataError(f"'{source}' is neither a data.yaml nor a COCO .json. Give one of those, or a folder.")
    if not source.is_dir():
        raise DataError(f"There is no folder or file '{source}'. Give the folder that holds photos and labels.")
    for finder in (_yaml, _coco, _visdrone, _voc, _yolo):
        found = finder(source, names)
        if found is not None:
            return found
    below = _folders(source)
    if len(below) == 1:
        return _find(next(iter(below.values())), names)  # the one folder of an unpacked archive
    raise DataError(
        f"'{source}' holds no photos with boxes in a known layout. Allowed: a data.yaml (YOLO); images/ and labels/ "
        "with classes.txt; annotations/*.json (COCO); JPEGImages/ and Annotations/*.xml (VOC); images/ and "
        f"annotations/*.txt (VisDrone). Found: {', '.join(sorted(p.name for p in source.iterdir())[:10]) or 'nothing'}."
    )


def _folders(root: Path) -> dict[str, Path]:
    return {p.name.lower(): p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")}


def _files(folder: Path | None, suffix: str) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == suffix and not p.name.startswith("."))


def split_of(name: str) -> str:
    """The split that a folder is named after (``train2017``, ``VisDrone2019-DET-test-dev``), else an empty text."""
    match = _SPLIT.fullmatch(name)
    return next((split for split, known in _WORDS.items() if match and match[1].lower() in known), "")


def _split_in(name: str) -> str:
    """The split that a file's name tells in any place (``instances_val2017``)."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((split for word in words if (split := split_of(word))), "")


def _branches(root: Path) -> dict[str, Path]:
    """The folder itself as no split, and those below it that are named after splits."""
    found = {"": root}
    for folder in _folders(root).values():
        split = split_of(folder.name)
        if split and split in found:
            raise DataError(f"'{root}' holds {found[split].name}/ and {folder.name}/: which is {split}? Keep one.")
        if split:
            found[split] = folder
    return found


def _yaml(root: Path, names: tuple[str, ...] | None) -> Reading | None:
    files = [*_files(root, ".yaml"), *_files(root, ".yml")]
    chosen = [p for p in files if p.stem == "data"] or [p for p in files if re.search(r"(?m)^names\s*:", read_text(p))]
    if len(chosen) > 1:
        raise DataError(f"'{root}' holds {' and '.join(p.name for p in chosen)}: which one counts? Name the file.")
    return yolo.read_yolo(chosen[0]) if chosen else None


def _coco(root: Path, names: tuple[str, ...] | None) -> Reading | None:
    parts: dict[str, list[coco.Part]] = defaultdict(list)
    for split, folder in _branches(root).items():
        places = [folder / "_annotations.coco.json", *_files(_folders(folder).get("annotations"), ".json")]
        loose = [p for p in _files(root, ".json") if _JSON.search(p.stem)] if split == "" else []
        files = [p for p in places if p.is_file()] or loose
        files = [p for p in files if p.stem.startswith("instances_")] or files
        for file in files:
            parts[split or _split_in(file.stem)].append(coco.Part(split or _split_in(file.stem), file))
    for split, found in parts.items():
        if len(found) > 1:
            both = " and ".join(part.file.name for part in found)
            raise DataError(f"'{root}' holds {both} for {split or 'no'} split: which one counts? Name the file.")
    if "" in parts and len(parts) > 1:
        del parts[""]  # a file beside those of the splits says nothing of them
    return coco.read_coco([found[0] for found in parts.values()], root) if parts else None


def _visdrone(root: Path, names: tuple[str, ...] | None) -> Reading | None:
    parts = []
    for split, folder in _branches(root).items():
        below = _folders(folder)
        if "images" in below and _files(below.get("annotations"), ".txt"):
            parts.append(visdrone.Part(split or split_of(root.name), below["images"], below["annotations"]))
    return visdrone.read_visdrone(parts, root) if parts else None


def _voc(root: Path, names: tuple[str, ...] | None) -> Reading | None:
    below = _folders(root)
    photos = below.get("jpegimages") or below.get("images")
    if photos is not None and _files(below.get("annotations"), ".xml"):
        lists = {s: root / "ImageSets" / "Main" / f"{s}.txt" for s in (*SPLITS, "trainval")}
        ids = {split: voc.read_ids(file) for split, file in lists.items() if file.is_file()}
        both = ids.pop("trainval", ())
        if both and not {"train", "val"} & set(ids):
            ids["train"] = both
        parts = [voc.Part(split, below["annotations"], photos, found) for split, found in ids.items()]
        return voc.read_voc(parts or [voc.Part("", below["annotations"], photos)], root, names)
    parts = [voc.Part(split, folder, folder) for split, folder in _branches(root).items() if _files(folder, ".xml")]
    return voc.read_voc(parts, root, names) if parts else None


def _yolo(root: Path, names: tuple[str, ...] | None) -> Reading | None:
    photos: dict[str, list[Path]] = {}
    for split, folder in _branches(root).items():
        below = _folders(folder)
        if "images" in below and "labels" in below:
            inner = _branches(below["images"])
            for photo in photos_below(below["images"]):
                own = next((one for one, at in inner.items() if one and photo.is_relative_to(at)), "")
                photos.setdefault(split or own, []).append(photo)
    if not photos:
        return None
    lists = [p for p in (root / "classes.txt", root / "labels" / "classes.txt") if p.is_file()]
    if names is None and not lists:
        raise DataError(f"'{root}' has labels/, but nothing names its classes. Write a classes.txt, a name a line.")
    found = names or check_names((n.strip() for n in read_text(lists[0]).splitlines() if n.strip()), f"'{lists[0]}'")
    return yolo.read_labels(root, photos, found)


# -------------------------------------------------------------------------------------------- groups and splits


def group_by_name(stem: str) -> str:
    """What a photo was taken from by its name: a sequence, video or patient; empty where it does not tell."""
    for pattern in _NAMES:
        match = pattern.fullmatch(stem)
        if match:
            group = match["group"]
            inner = group_by_name(group) if pattern is _NAMES[0] else ""
            return inner or ("" if pattern is _NAMES[-1] and _ANY.fullmatch(group) else group)
    return ""


def _by_manifest(file: Path, samples: Sequence[DetectionSample]) -> list[DetectionSample]:
    rows = {row.id: row for row in read_manifest(file)}
    ids = {sample.id for sample in samples}
    problems = [f"{id} is not listed" for id in sorted(ids - set(rows))]
    problems += [f"{id} has no photo" for id in sorted(set(rows) - ids)]
    if problems:
        raise DataError(listed(f"'{file}' does not fit the photos:", problems))
    kept = []
    for sample in samples:
        row = rows[sample.id]
        split = row.split.strip().lower()
        if split in ("", "ignore"):
            continue
        if not (known := split_of(split)):
            raise DataError(unknown(f"split of '{row.id}' in '{file}':", split, (*SPLITS, "ignore")))
        facts = {**sample.facts, **row.extra}
        kept.append(replace(sample, group=row.group or row.id, split=known, facts=facts))
    if not kept:
        raise DataError(f"'{file}' leaves every photo out.")
    check_leakage([replace(rows[s.id], group=s.group, split=s.split) for s in kept])
    return kept


def _path_of(sample: DetectionSample) -> Path:
    path = getattr(sample.image, "path", None)
    return path if isinstance(path, Path) else Path(sample.id)


def _grouped(samples: Sequence[DetectionSample], root: Path, split_by_group: bool) -> tuple[list[DetectionSample], str]:
    """Samples with their groups, and how these were found."""
    if not split_by_group:
        return list(samples), "none, as asked for: frames of one video may be in several splits"
    folders = []
    for sample in samples:
        parent = _path_of(sample).parent
        whole = parent.relative_to(root).parts if parent.is_relative_to(root) else parent.parts
        parts = [part for part in whole if part.lower() not in _PHOTOS]
        named = bool(parts and sample.split) and split_of(parts[0]) == sample.split
        folders.append("/".join(parts[1:] if named else parts))
    if len(set(folders)) > 1:
        found, how = folders, "by folder"
    else:
        found, how = [group_by_name(_path_of(sample).stem) for sample in samples], "by file name"
    if len(set(found)) < 2:
        return list(samples), "none: nothing tells which photos belong together; a manifest.csv would"
    return [replace(s, group=group or s.id) for s, group in zip(samples, found, strict=True)], how


def _split(
    samples: list[DetectionSample], seed: int, shares: Sequence[float], findings: Findings
) -> list[DetectionSample]:
    """Splits where the layout gives none; where it gives some, groups that straddle them are kept apart by name."""
    bare = [sample.id for sample in samples if not sample.split]
    if 0 < len(bare) < len(samples):
        raise DataError(f"{len(bare)} of {len(samples)} photos are in no split, as '{bare[0]}'. Put them in one.")
    if bare:
        try:
            split = split_groups([s.group for s in samples], dict(zip(SPLITS, shares, strict=True)), seed)
        except DataError as error:
            raise DataError(
                f"{error} Groups are the folders or videos that photos come from. Leave splits out (shares), or name "
                "groups and splits in a manifest.csv (id, group, split), or give up groups (split_by_group)."
            ) from None
        return [replace(s, split=split[s.group]) for s in samples]
    splits: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        splits[sample.group].add(sample.split)
    torn = {group for group, found in splits.items() if len(found) > 1}
    for group in sorted(torn):
        findings.add("straddling", group)
    samples = [replace(s, group=f"{s.group} ({s.split})") if s.group in torn else s for s in samples]
    return _hold_out(samples, seed)


def _hold_out(samples: list[DetectionSample], seed: int) -> list[DetectionSample]:
    groups = [s.group for s in samples if s.split == "train"]
    if any(s.split == "val" for s in samples) or len(set(groups)) < 2:
        return samples
    moved = split_groups(groups, {"train": 1.0 - HELD_OUT, "val": HELD_OUT}, seed)
    progress.note(f"There is no val split: {list(moved.values()).count('val')} of {len(moved)} train groups become it")
    return [replace(s, split=moved[s.group]) if s.split == "train" else s for s in samples]


def _find_leaks(samples: Sequence[DetectionSample], reading: Reading) -> None:
    """The same photo in two splits; only files of equal length are read."""
    lengths: dict[int, list[DetectionSample]] = defaultdict(list)
    for sample in samples:
        lengths[_path_of(sample).stat().st_size].append(sample)
    seen: dict[str, DetectionSample] = {}
    for same in lengths.values():
        for sample in same if len({s.split for s in same}) > 1 else ():
            other = seen.setdefault(sha256(_path_of(sample)), sample)
            if other.split != sample.split:
                reading.findings.add("leaks", f"{other.id} of {other.split} is {sample.id} of {sample.split}")


def _summary(found: DetectionSet, how: str) -> str:
    splits = Counter(s.split for s in found.samples)
    boxes = Counter[bool]()
    for sample in found.samples:
        boxes.update(sample.truth().ignore.tolist())
    counts = ", ".join(f"{split} {splits[split]}" for split in SPLITS)
    kept = f"{boxes[False]} boxes" + (f" and {boxes[True]} ignored ones" if boxes[True] else "")
    head = f"'{found.root}' ({found.layout}): {len(found.samples)} photos ({counts}), {kept}"
    groups = f"{len({s.group for s in found.samples})} groups ({how})"
    return "; ".join([f"{head} of {len(found.names)} classes", groups, *found.findings.lines()])
