"""Which file of a folder is a photo and which is its mask: the layouts of the public data sets, and of anybody's own.

::

    crack500     {traincrop,valcrop,testcrop}/<name>.jpg + <name>.png, traincrop.txt where present
    deepcrack    train_img/ train_lab/ test_img/ test_lab/
    splits       {train,val,test}/{images,masks}/     Crack500's usual re-layout, and what write_folder writes
    mmseg        images/{train,val,test}/ annotations/{train,val,test}/
    cfd          image/<n>.jpg groundTruth/<n>.mat, or seg/<n>.seg
    plain        images/ masks/
    beside       a.jpg and a.png, or a_mask.png, in one folder

They are tried in this order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fieldsight import progress
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import DataError
from fieldsight.systems.crack.labels import LABEL_SUFFIXES

SPLITS = ("train", "val", "test")

#: Splits by the names that their folders have.
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip

IMAGE_NAMES = ("images", "image", "img", "imgs")
MASK_NAMES = ("masks", "mask", "labels", "label", "gt", "annotations", "annotation", "groundtruth")
MASK_ENDINGS = ("_mask", "_label", "_gt")


@dataclass(frozen=True)
class Pair:
    """A photo's and its mask's file; ``split`` is empty where the layout does not say it."""

    id: str
    split: str
    photo: Path
    mask: Path


def find_pairs(root: Path) -> tuple[str, Path, list[Pair]]:
    """Recognise the layout of a folder.

    Returns:
        The layout's name, the folder that it starts in (the one folder below ``root`` of an unpacked archive, or
        ``root``), and the pairs of files by id.

    Raises:
        DataError: no such folder, no known layout, or files without a partner.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder '{root}'. Give the folder that holds photos and masks.")
    try:
        return _find(root)
    except OSError as error:
        raise DataError(f"Can't read the folder '{error.filename or root}': {error.strerror or error}.") from None


def _find(root: Path) -> tuple[str, Path, list[Pair]]:
    below = _folders(root)
    alone: list[str] = []
    layout, pairs = "", list[Pair]()
    for name, finder in (
        ("crack500", _crack500), ("deepcrack", _deepcrack), ("splits", _splits), ("mmseg", _mmseg), ("cfd", _cfd),
        ("plain", _plain), ("beside", _beside),
    ):  # fmt: skip
        found = finder(root, below, alone)
        if found is not None:
            layout, pairs = name, found
            break
    if alone:
        raise DataError(
            listed(f"'{root}': {len(alone)} files have no partner:", alone, 10)
            + "\nEvery photo needs a mask of the same name, or of its name with _mask, _label or _gt."
        )
    if not pairs:
        if len(below) == 1 and not layout:
            return _find(next(iter(below.values())))  # the one folder of an unpacked archive
        raise DataError(
            f"'{root}' holds no photos with masks. Allowed: images/ and masks/ with files of the same names; "
            "{train,val,test}/{images,masks}; images/{train,val,test} with annotations/{train,val,test}; Crack500's "
            f"traincrop/; CFD's image/ and groundTruth/; DeepCrack's train_img/ and train_lab/. "
            f"Found: {', '.join([p.name + '/' for p in below.values()][:10]) or 'no folders'}."
        )
    return layout, root, _unique(pairs)


def _folders(root: Path) -> dict[str, Path]:
    return {p.name.lower(): p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")}


def _crack500(root: Path, below: Mapping[str, Path], alone: list[str]) -> list[Pair] | None:
    found = {split: below[split + "crop"] for split in SPLITS if split + "crop" in below}
    if not found:
        return None
    pairs = []
    for split, folder in found.items():
        folder = _folders(folder).get(folder.name.lower(), folder)  # the archives repeat the name
        lists = [p for p in (root / f"{split}crop.txt", folder / f"{split}crop.txt") if p.is_file()]
        pairs += _listed_pairs(lists[0], root, folder, split, alone) if lists else _side_by_side(folder, split, alone)
    return pairs


def _listed_pairs(file: Path, root: Path, folder: Path, split: str, alone: list[str]) -> list[Pair]:
    pairs = []
    for number, line in read_lines(file):
        words = line.split()
        if len(words) != 2:
            raise DataError(f"'{file}', line {number}: '{line}' is not 'image mask'.")
        photo, mask = (next((p for p in (root / w, folder / Path(w).name) if p.is_file()), None) for w in words)
        if photo is None or mask is None:
            alone.append(f"{words[0] if photo is None else words[1]} (named by {file.name})")
        else:
            pairs.append(Pair(photo.stem, split, photo, mask))
    return pairs


def _deepcrack(root: Path, below: Mapping[str, Path], alone: list[str]) -> list[Pair] | None:
    found = [s for s in SPLITS if f"{s}_img" in below and f"{s}_lab" in below]
    return _all((below[f"{s}_img"], below[f"{s}_lab"], s, alone) for s in found) if found else None


def _splits(root: Path, below: Mapping[str, Path], alone: list[str]) -> list[Pair] | None:
    found, lacking = [], list[str]()
    for name, split in SPLIT_NAMES.items():
        parts = _folders(below[name]) if name in below else {}
        photos, masks = _one(root, parts, IMAGE_NAMES), _one(root, parts, MASK_NAMES)
        if photos and masks:
            found.append((photos, masks, split, alone))
        elif photos or masks:
            lacking.append(f"folder {name}/{(photos or masks or root).name}")
    if found:
        alone += lacking
    return _all(found) if found else None


def _mmseg(root: Path, below: Mapping[str, Path], alone: list[str]) -> list[Pair] | None:
    photos, masks = _one(root, below, IMAGE_NAMES), _one(root, below, MASK_NAMES)
    if photos is None or masks is None:
        return None
    first, second = _folders(photos), _folders(masks)
    lacking = sorted(name for name in set(first) ^ set(second) if name in SPLIT_NAMES)
    found = [(first[n], second[n], s, alone) for n, s in SPLIT_NAMES.items() if n in first and n in second]
    if found and lacking:
        alone += [f"folder {name} of {(photos if name in first else masks).name}" for name in lacking]
    return _all(found) if found else None


def _cfd(root: Path, below: Mapping[str, Path], alone: list[str]) -> list[Pair] | None:
    photos = _one(root, below, IMAGE_NAMES)
    for name, suffix in (("groundtruth", ".mat"), ("seg", ".seg")):
        if photos is not None and name in below and any(below[name].glob(f"*{suffix}")):
            files, truths = _by_stem(photos, IMAGE_SUFFIXES), _by_stem(below[name], (suffix,))
            # the public release holds photos beyond the last that has a truth
            extra = {stem for stem in files if stem not in truths and stem > max(truths)}
            if extra:
                progress.note(f"{len(extra)} photos in '{photos}' come after the last truth; they are left out")
            return _match({k: v for k, v in files.items() if k not in extra}, truths, "", alone)
    return None


def _plain(root: Path, below: Mapping[str, Path], alone: list[str]) -> list[Pair] | None:
    photos, masks = _one(root, below, IMAGE_NAMES), _one(root, below, MASK_NAMES)
    return _all([(photos, masks, "", alone)]) if photos is not None and masks is not None else None


def _beside(root: Path, below: Mapping[str, Path], alone: list[str]) -> list[Pair] | None:
    files = [p for p in root.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    stems = Counter(p.stem for p in files)
    marked = any(p.stem.endswith(e) and p.stem[: -len(e)] in stems for p in files for e in MASK_ENDINGS)
    return _side_by_side(root, "", alone) if marked or max(stems.values(), default=0) > 1 else None


def _side_by_side(folder: Path, split: str, alone: list[str]) -> list[Pair]:
    """Photos and masks of one folder: masks are the PNG beside a JPEG, or what ends in _mask, _label or _gt."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    stems = Counter(p.stem for p in files)
    marked = {p for p in files for e in MASK_ENDINGS if p.stem.endswith(e) and p.stem[: -len(e)] in stems}
    second = {p for p in files if p.suffix.lower() == ".png" and (stems[p.stem] > 1 or not marked)} - marked
    masks = {p.stem: p for p in sorted(marked | second)}
    photos = {p.stem: p for p in files if p not in marked and p not in second}
    return _match(photos, masks, split, alone)


def _one(root: Path, below: Mapping[str, Path], names: Sequence[str]) -> Path | None:
    found = [below[name] for name in names if name in below]
    if len(found) > 1:
        raise DataError(f"'{root}' holds {' and '.join(p.name + '/' for p in found)}: which one counts? Keep one.")
    return found[0] if found else None


def _all(folders: Iterable[tuple[Path, Path, str, list[str]]]) -> list[Pair]:
    pairs = []
    for photos, masks, split, alone in folders:
        files = _by_stem(photos, IMAGE_SUFFIXES), _by_stem(masks, (*IMAGE_SUFFIXES, *LABEL_SUFFIXES))
        pairs += _match(*files, split, alone)
    return pairs


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise DataError(
                    f"'{folder}' holds {found[path.stem].name} and {path.name}: which one counts? Keep one."
                )
            found[path.stem] = path
    return found


def _match(photos: Mapping[str, Path], masks: Mapping[str, Path], split: str, alone: list[str]) -> list[Pair]:
    """Pair by stem; those without a partner are added to ``alone``."""
    partner = dict[str, Path]()
    for stem, mask in masks.items():
        bare = next((stem[: -len(e)] for e in MASK_ENDINGS if stem.endswith(e)), stem)
        stem = stem if stem in photos else bare
        if stem in partner:
            alone.append(f"{mask} (as {partner[stem].name} has the same photo)")
        partner.setdefault(stem, mask)
    alone += [str(p) for stem, p in photos.items() if stem not in partner]
    alone += [str(p) for stem, p in partner.items() if stem not in photos]
    return [Pair(stem, split, photo, partner[stem]) for stem, photo in photos.items() if stem in partner]


def _unique(pairs: list[Pair]) -> list[Pair]:
    """Stems as ids where they are unique, else with the split in front."""
    if len({p.id for p in pairs}) < len(pairs):
        pairs = [replace(p, id=f"{p.split}/{p.id}") for p in pairs]
    twice = [i for i, count in Counter(p.id for p in pairs).items() if count > 1]
    if twice:
        raise DataError(f"The photo '{twice[0]}' is listed more than once.")
    return sorted(pairs, key=lambda p: p.id)


def read_lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a list file that are not blank, with their numbers from 1.

    Raises:
        DataError: the file can't be read as text.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Can't read the list '{file}': {error}.") from None
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def listed(head: str, items: Sequence[str], limit: int = 20) -> str:
    """A message with one item a line, the first ``limit`` of them."""
    more = [f"... and {len(items) - limit} more"] if len(items) > limit else []
    return "\n".join([head, *items[:limit], *more])
