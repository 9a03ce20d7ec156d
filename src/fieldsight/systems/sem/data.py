"""Pairs of mask and SEM picture: drawn by the simulator, cut from standard cells, or a user's own folder.

A pair's *layout* is its independent unit. Its four rotations are one layout and stay in one split.

Folder layout, for drawn and for real data::

    root/
    ├── mask/<id>.png     white is written
    ├── sem/<id>.png      the picture, same size
    ├── meta.csv          optional: id, layout, family, px_nm, lot, tool
    └── manifest.csv      optional: id, group, split
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import assets, progress
from fieldsight.data.files import write_json
from fieldsight.data.images import read_image, to_float, write_image
from fieldsight.data.splits import Row, check_leakage, read_manifest, split_groups, write_manifest
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.systems.sem.config import SHIFTED_FAMILIES, Data
from fieldsight.systems.sem.options import MakeDataOptions

SPLITS = ("train", "val", "calibration", "test")

#: Value above which a pixel of a mask picture is written: section 2.1's threshold, strict as in OpenCV.
MASK_THRESHOLD = 127

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """A mask and its picture.

    Attributes:
        id: name of the pair.
        layout: the independent unit it belongs to.
        family: kind of pattern, empty where unknown.
        split: ``train``, ``val``, ``calibration`` or ``test``.
        mask: ``(H, W)`` bool.
        sem: ``(H, W)`` uint8 or float32 in 0-1.
        height: ``(H, W)`` float32 nm where it was simulated, else None.
        pixel: nm a pixel; 0 where unknown.
        rotation: quarter turns from the layout as drawn.
    """

    id: str
    layout: str
    family: str
    split: str
    mask: Mask
    sem: NDArray[Any]
    height: NDArray[np.float32] | None = None
    pixel: float = 0.0
    rotation: int = 0

    @property
    def target(self) -> NDArray[np.float32]:
        """The picture in 0-1, ``(H, W)`` float32."""
        return to_float(self.sem)

    def rotated(self, turns: int) -> Pair:
        """The pair turned by quarter turns, mask and picture alike."""
        if turns % 4 == 0:
            return self
        height = None if self.height is None else np.ascontiguousarray(np.rot90(self.height, turns))
        return replace(
            self,
            id=f"{self.id}-r{turns % 4}",
            mask=np.ascontiguousarray(np.rot90(self.mask, turns)),
            sem=np.ascontiguousarray(np.rot90(self.sem, turns)),
            height=height,
            rotation=turns % 4,
        )


def binarize(picture: NDArray[Any]) -> Mask:
    """A grey mask picture ``(H, W)`` to bool: 8-bit values above 127, 16-bit and float values likewise scaled."""
    if picture.dtype == np.bool_:
        return picture
    if picture.dtype == np.uint8:
        return picture > MASK_THRESHOLD
    return to_float(picture) > MASK_THRESHOLD / 255.0


# ------------------------------------------------------------------------------------------- drawn layouts


def draw_pairs(settings: Data, shift: bool = False) -> list[Pair]:
    """Draw and simulate all layouts of a config; the same settings give the same bytes.

    With ``shift``, every layout is a test layout of another process corner (beam 20 % to 76 % wider, noise half as
    strong again) and of families that training never saw.

    Raises:
        DataError: design rules that no layout meets, or standard cells wanted but not fetched.
    """
    from fieldsight.systems.sem.layouts import draw
    from fieldsight.systems.sem.process import simulate

    families = SHIFTED_FAMILIES if shift else settings.families
    recipe = settings.recipe
    if shift:
        recipe = recipe.replace(
            exposure={"fwhm": recipe.exposure.fwhm * 18.5 / 12.5},
            microscope={"noise": min(0.99, 1.5 * recipe.microscope.noise)},
        )
    prefix = "shift" if shift else "layout"
    crops = [] if shift else cell_crops(settings)
    ids = [f"{prefix}-{settings.seed}-{n:05d}" for n in range(settings.layouts)]
    groups = [*ids, *(group for group, _ in crops)]
    split_of = dict.fromkeys(ids, "test") if shift else _splits(settings, groups)
    pairs = []
    for number, id in enumerate(progress.track(ids, "simulating layouts")):
        rng = rng_for(settings.seed, "sem", prefix, number)
        family = families[number % len(families)]
        mask = draw(family, settings.size, settings.pixel, settings.design, rng)
        made = simulate(mask, settings.pixel, recipe.sample(rng) if settings.sample else recipe, rng)
        pairs.append(Pair(id, id, family, split_of[id], made.mask, made.sem, made.height, settings.pixel))
    for number, (group, mask) in enumerate(crops):
        rng = rng_for(settings.seed, "sem", "cell", number)
        made = simulate(mask, settings.pixel, recipe.sample(rng) if settings.sample else recipe, rng)
        id = f"cell-{number:05d}-{group}"
        pairs.append(Pair(id, group, "cells", split_of[group], made.mask, made.sem, made.height, settings.pixel))
    check_leakage([Row(p.id, p.layout, p.split, {}) for p in pairs], {p.id: p.sem for p in pairs})
    return pairs


def _splits(settings: Data, groups: Sequence[str]) -> dict[str, str]:
    shares = dict(zip(SPLITS, settings.shares, strict=True))
    return split_groups(groups, shares, settings.seed)


#: Cell functions that no training sees, whatever the seed; see studies/sem/heldout.toml.
HELD_OUT_CELLS = (
    "dfxtp", "mux4", "xnor3", "fah", "sdfrtp", "a2111oi", "dlxtn", "o41a", "einvn", "maj3", "nand4bb", "or3b",
)  # fmt: skip

#: Drawing layers of SKY130 that standard cells are cut from, by name.
CELL_LAYERS = ("poly", "li1", "met1", "licon1", "diff")


def cell_crops(settings: Data, held_out: bool = False) -> list[tuple[str, Mask]]:
    """Square crops of SKY130 standard cells as ``(cell function, mask)``, the same for the same settings.

    The function (all drive strengths of ``nand2``, say) is the group of a split. Crops for training leave out
    :data:`HELD_OUT_CELLS`; with ``held_out`` they come from those alone.

    Raises:
        DataError: crops are wanted but the asset was not fetched.
    """
    if settings.cells == 0:
        return []
    from fieldsight.data.gds import LAYER_NAMES, Window, open_layout

    root = assets.locate("sky130")
    if root is None:
        raise DataError("data.cells needs the asset sky130. Get it with: fieldsight assets fetch sky130")
    files = [
        path
        for path in sorted((root / "sky130_fd_sc_hd" / "cells").rglob("*.gds"))
        if (path.parent.name in HELD_OUT_CELLS) == held_out
    ]
    field = settings.size * settings.pixel
    crops: list[tuple[str, Mask]] = []
    for number in range(20 * settings.cells):
        rng = rng_for(settings.seed, "sem", "held-out crop" if held_out else "crop", number)
        file = files[int(rng.integers(len(files)))]
        layout = open_layout(file)
        name = CELL_LAYERS[int(rng.integers(len(CELL_LAYERS)))]
        if LAYER_NAMES[name] not in {f"{a}/{b}" for a, b in layout.layers}:
            continue
        layer = layout.layer(name)
        x0, y0, x1, y1 = layout.bounds(layer)
        x = rng.uniform(x0 - 0.25 * field, max(x0, x1 - 0.75 * field))
        y = rng.uniform(y0 - 0.25 * field, max(y0, y1 - 0.75 * field))
        x, y = (round(v / settings.pixel) * settings.pixel for v in (x, y))
        mask = layout.raster(layer, Window(x, y, x + field, y + field, settings.pixel)) >= 0.5
        if 0.03 <= mask.mean() <= 0.85:
            crops.append((file.parent.name, mask))
        if len(crops) == settings.cells:
            return crops
    raise DataError(f"Only {len(crops)} of {settings.cells} standard-cell crops could be cut. Ask for fewer.")


# -------------------------------------------------------------------------------------------- data folders


def make_data(out: Path | None, options: MakeDataOptions) -> Any:
    """Write drawn data as a folder in the layout of user data, with a sidecar for every pair."""
    from fieldsight.systems.sem.config import PRESETS
    from fieldsight.verbs import Written

    if out is None:
        raise DataError("make-data writes a folder: name it with --out.")
    changes = {"seed": options.seed, **({"layouts": options.layouts} if options.layouts else {})}
    settings = PRESETS[options.preset].data.replace(**changes)
    pairs = draw_pairs(settings, options.shift)
    write_pairs(out, pairs, settings)
    counts = {split: sum(p.split == split for p in pairs) for split in SPLITS}
    return Written(out, {"layouts": counts, "px_nm": settings.pixel, "drawn": True})


def write_pairs(root: Path, pairs: Sequence[Pair], settings: Data) -> None:
    """Write pairs as a data folder; heights as float32 TIFF where they are known."""
    for pair in progress.track(pairs, "writing pairs"):
        write_image(root / "mask" / f"{pair.id}.png", pair.mask.astype(np.uint8) * np.uint8(255))
        write_image(root / "sem" / f"{pair.id}.png", pair.sem)
        if pair.height is not None:
            write_image(root / "height" / f"{pair.id}.tif", pair.height)
        sidecar = {
            "id": pair.id, "layout": pair.layout, "family": pair.family, "px_nm": pair.pixel, "drawn": True,
            "seed": settings.seed, "recipe": settings.recipe.to_dict(), "sampled": settings.sample,
        }  # fmt: skip
        write_json(root / "json" / f"{pair.id}.json", sidecar)
    rows = [Row(p.id, p.layout, p.split, {"family": p.family, "px_nm": f"{p.pixel:g}"}) for p in pairs]
    write_manifest(root / "manifest.csv", rows)


def read_pairs(root: Path, shares: Sequence[float] = (60, 18, 12, 10), seed: int = 0) -> list[Pair]:
    """Read a data folder; without a manifest, layouts are split by ``shares``.

    Raises:
        DataError: no such folder, masks without pictures or the reverse, pairs of different sizes, splits that leak;
            all broken files are named at once.
    """
    if not (root / "mask").is_dir() or not (root / "sem").is_dir():
        raise DataError(
            f"'{root}' is no data folder: it needs the folders mask/ and sem/ with files of the same names."
        )
    masks, pictures = _by_stem(root / "mask"), _by_stem(root / "sem")
    alone = sorted(set(masks) ^ set(pictures))
    if alone:
        raise DataError(f"'{root}': {len(alone)} files have no partner in mask/ or sem/: {', '.join(alone[:10])}.")
    if not masks:
        raise DataError(f"'{root}' holds no pairs.")
    rows = _rows(root, sorted(masks), shares, seed)
    pairs, problems = [], []
    for row in progress.track(rows, "reading pairs"):
        try:
            pairs.append(_read_pair(root, row, masks[row.id], pictures[row.id]))
        except (DataError, KeyError) as error:
            problems.append(str(error))
    if problems:
        raise DataError(f"'{root}': {len(problems)} pairs can't be used:\n" + "\n".join(problems[:20]))
    check_leakage(rows, {p.id: p.sem for p in pairs})
    return pairs


def _read_pair(root: Path, row: Row, mask_file: Path, sem_file: Path) -> Pair:
    mask = binarize(read_image(mask_file, "grey"))
    sem = read_image(sem_file, "grey")
    if sem.dtype == np.uint16:
        sem = to_float(sem)
    if mask.shape != sem.shape:
        raise DataError(
            f"'{mask_file}' is {mask.shape[1]} x {mask.shape[0]}, its picture {sem.shape[1]} x {sem.shape[0]}."
        )
    if min(mask.shape) < 16:
        raise DataError(f"'{mask_file}' is smaller than 16 pixels.")
    height_file = root / "height" / f"{row.id}.tif"
    height = read_image(height_file, "grey") if height_file.is_file() else None
    pixel = float(row.extra.get("px_nm") or 0.0)
    return Pair(row.id, row.group, row.extra.get("family", ""), row.split, mask, sem, height, pixel)


def _rows(root: Path, ids: list[str], shares: Sequence[float], seed: int) -> list[Row]:
    if (root / "manifest.csv").is_file():
        listed = {row.id: row for row in read_manifest(root / "manifest.csv")}
        missing = [i for i in ids if i not in listed]
        if missing:
            raise DataError(f"'{root / 'manifest.csv'}' does not list {', '.join(missing[:10])}.")
        return [listed[i] for i in ids]
    meta: dict[str, dict[str, str]] = {}
    if (root / "meta.csv").is_file():
        with open(root / "meta.csv", encoding="utf-8", newline="") as file:
            meta = {line.get("id", ""): {k: v or "" for k, v in line.items() if k} for line in csv.DictReader(file)}
    groups = [meta.get(i, {}).get("layout") or i for i in ids]
    split_of = split_groups(groups, dict(zip(SPLITS, shares, strict=True)), seed)
    return [Row(i, g, split_of[g], meta.get(i, {})) for i, g in zip(ids, groups, strict=True)]


def _by_stem(folder: Path) -> dict[str, Path]:
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES}


def check_registration(pairs: Sequence[Pair], limit: float = 1.0) -> list[str]:
    """Warnings for pairs whose picture is shifted against its mask by more than ``limit`` pixels.

    A shift along the lines of a grating can't be seen and is not reported.
    """
    warnings = []
    for pair in pairs:
        shift = measure_shift(pair.mask, pair.target)
        if shift is not None and limit < np.hypot(*shift) < 0.25 * min(pair.mask.shape):
            warnings.append(f"{pair.id}: the picture is shifted by {shift[0]:+.1f}, {shift[1]:+.1f} pixels (x, y)")
    return warnings


def measure_shift(mask: Mask, picture: NDArray[np.float32]) -> tuple[float, float] | None:
    """Shift ``(x, y)`` of a picture ``(H, W)`` against its mask, to a tenth of a pixel; None where one is empty.

    Features of the picture are wider than those of the mask, by the etch: the correlation of both has a plateau as
    wide as that, on which noise alone decides. Their distances to the rim differ by a constant only, so distances are
    correlated, clipped to where a rim is near.
    """
    from scipy.ndimage import distance_transform_edt as distance
    from scipy.ndimage import gaussian_filter
    from skimage.filters import threshold_otsu
    from skimage.registration import phase_cross_correlation

    soft = gaussian_filter(picture, 2.0)
    bright = soft > threshold_otsu(soft)
    if mask.all() or not mask.any() or bright.all() or not bright.any():
        return None
    drawn, seen = (distance(m) - distance(~m) for m in (mask, bright))
    drawn -= np.quantile(drawn, 1.0 - bright.mean())  # the mask grown until both areas are equal
    window = np.outer(np.hanning(mask.shape[0]), np.hanning(mask.shape[1]))
    near = [np.clip(d, -8.0, 8.0) for d in (drawn, seen)]
    a, b = ((d - d.mean()) * window for d in near)
    shift, _, _ = phase_cross_correlation(a, b, upsample_factor=10, normalization=None)
    return -float(shift[1]), -float(shift[0])


# ------------------------------------------------------------------------------------------------- items


class Positions:
    """Pairs in all their positions, as a :class:`~fieldsight.data.loader.Loader` reads them.

    Args:
        pairs: layouts as drawn.
        size: pictures larger than this are cropped at random; all items then have one size.
        flips: also mirror each rotation.
        weights: ``(H, W)`` weight of every pair in every position, by (pair number, position number).
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        size: int,
        flips: bool = False,
        weights: dict[tuple[int, int], NDArray[np.float32]] | None = None,
    ) -> None:
        self.pairs, self.size, self.weights = list(pairs), size, weights
        self.positions = 8 if flips else 4

    def __len__(self) -> int:
        return len(self.pairs) * self.positions

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Mask ``(1, H, W)``, target ``(H, W)`` and weight ``(H, W)`` of one pair in one position."""
        number, position = divmod(index, self.positions)
        pair = self.pairs[number]
        arrays = [pair.mask.astype(np.float32), pair.target]
        arrays = [place(a, position) for a in arrays]
        arrays.append(np.ones_like(arrays[1]) if self.weights is None else self.weights[number, position])
        rows, columns = arrays[0].shape
        top = int(rng.integers(rows - self.size + 1)) if rows > self.size else 0
        left = int(rng.integers(columns - self.size + 1)) if columns > self.size else 0
        mask, target, weight = (a[top : top + self.size, left : left + self.size] for a in arrays)
        return {"mask": mask[None].copy(), "target": target.copy(), "weight": weight.copy()}


def place(array: NDArray[Any], position: int) -> NDArray[Any]:
    """Turn by ``position % 4`` quarters; positions above 3 are mirrored first."""
    mirrored = array[:, ::-1] if position >= 4 else array
    return np.ascontiguousarray(np.rot90(mirrored, position % 4))
