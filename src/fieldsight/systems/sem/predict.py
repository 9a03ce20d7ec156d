"""The model users hold: a layout in, the expected picture with a calibrated interval for every pixel out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldsight import conformal, progress
from fieldsight.conformal import Calibration, Novelty
from fieldsight.data import tiling
from fieldsight.data.arrays import allocate, release
from fieldsight.data.files import write_text
from fieldsight.data.gds import (
    LAYER_NAMES,
    Window,
    describe,
    open_layout,
    read_layer_names,
    write_polygons,
)
from fieldsight.data.images import read_image
from fieldsight.data.suffixes import LAYOUT_SUFFIXES
from fieldsight.engine.seed import torch_seed
from fieldsight.errors import DataError, ModelFileError
from fieldsight.model import Model
from fieldsight.predictions import Interval, Table
from fieldsight.systems.sem.config import SemConfig
from fieldsight.systems.sem.data import binarize
from fieldsight.systems.sem.metrology import (
    FEATURES,
    Hotspot,
    density_bins,
    edge_band,
    features,
    guard_band,
    hotspots,
    level_of,
    strongest,
)
from fieldsight.systems.sem.model import Graph, ShallowUNet
from fieldsight.systems.sem.options import PredictOptions

Array = NDArray[Any]

#: Fields with more pixels than this are refused; a window or a larger pixel is the way out.
MAX_FIELD = 1_000_000_000

#: Below this chance a layout counts as unlike the calibration layouts.
NOVEL = 0.05


@dataclass(frozen=True)
class Field:
    """A mask of any size, read block by block.

    Attributes:
        shape: ``(H, W)`` pixels.
        block: gives the mask of rows and columns as bool.
        pixel: nm a pixel, or None where the file does not say.
        window: where the field lies in a layout, or None.
        facts: cell, layer.
    """

    shape: tuple[int, int]
    block: Callable[[slice, slice], NDArray[np.bool_]]
    pixel: float | None = None
    window: Window | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def whole(self, longest: int = 512) -> Array:
        """The mask as a small picture in 0-1, ``longest`` pixels at most; of a large field every n-th block's mean."""
        step = max(1, int(np.ceil(max(self.shape) / longest)))
        if step == 1:
            return self.block(slice(0, self.shape[0]), slice(0, self.shape[1])).astype(np.float32)
        rows = []
        for top in range(0, self.shape[0] // step * step, step):
            band = self.block(slice(top, top + step), slice(0, self.shape[1] // step * step)).astype(np.float32)
            rows.append(band.reshape(step, -1, step).mean(axis=(0, 2)))
        return np.stack(rows)


@dataclass(frozen=True)
class SemInterval(Interval):
    """An interval with the places a metrologist should look at first."""

    hotspots: Table = field(default_factory=lambda: Table({}, []))
    window: Window | None = None

    def save(self, folder: str | Path, stem: str | Path = "prediction") -> list[Path]:
        """The interval's files, the hotspots as CSV, and their markers as GDS in layout coordinates."""
        base = Path(folder) / stem
        written = super().save(folder, stem)
        written.append(write_text(base.with_name(f"{base.name}_hotspots.csv"), self.hotspots.to_csv()))
        if self.hotspots.rows:
            squares = [_square(row["x_nm"], row["y_nm"], 6 * self.facts["pixel_nm"]) for row in self.hotspots.rows]
            labels = [f"{row['rank']}: {row['width']:.3f}" for row in self.hotspots.rows]
            path = base.with_name(f"{base.name}_hotspots.gds")
            written.append(write_polygons(path, squares, (255, 0), "HOTSPOTS", labels))
        return written

    def to_dict(self) -> dict[str, Any]:
        """The interval's summary and the hotspots."""
        return {**super().to_dict(), "hotspots": [dict(row) for row in self.hotspots.rows]}

    def shown(self) -> tuple[dict[str, Any], Sequence[Table]]:
        """What one wants to know of the field, in words; then the hotspots."""
        own = self.to_dict()
        pixel = float(own["pixel_nm"])
        height, width = (f"{own[k] * pixel / 1000:.3g}" for k in ("height", "width"))
        facts = {
            "field": f"{own['width']} x {own['height']} px, {width} x {height} µm",
            "pixel": f"{pixel:g} nm",
            "inside the interval": f"{1 - self.alpha:.0%} of new pixels",
            "mean width": f"{own['mean_width']:.4f} of 0-1",
            "width of an edge's band": f"{own['guard_band_nm']:g} nm" if "guard_band_nm" in own else "no edges",
            "like the calibration layouts": f"p = {own['novelty_p']:g}" if "novelty_p" in own else "not checked",
            **{k: own[k] for k in ("cell", "layer", "model") if own.get(k)},
        }
        return facts, (self.hotspots,)

    def lines(self) -> list[str]:
        """The same words for a terminal."""
        return [f"{name}: {value}" for name, value in self.shown()[0].items()]


class SemModel(Model):
    """Layout to SEM picture with calibrated interval."""

    system = "sem"
    input_names = ("mask",)
    output_names = ("lo", "mid", "hi")
    config: SemConfig

    @classmethod
    def build(cls, config: SemConfig) -> dict[str, nn.Module]:
        """One network, or the members of an ensemble."""
        net = config.net
        return {
            f"net{k}" if net.members > 1 else "net": ShallowUNet(net.base, net.depth, net.head, net.dropout, net.init)
            for k in range(net.members)
        }

    @classmethod
    def create(cls, config: SemConfig) -> SemModel:
        """An untrained model; its weights depend on the config's seed only."""
        networks = {}
        with torch.random.fork_rng(devices=[]):
            for k in range(config.net.members):
                torch.manual_seed(torch_seed(config.seed, "init", k))
                one = cls.build(config.replace(net={"members": 1}))["net"]
                networks[f"net{k}" if config.net.members > 1 else "net"] = one
        return cls(config, networks)

    def describe(self) -> str:
        """What the default was trained on, and the pixel it works at."""
        name = f"sem model '{self.source}' for {self.config.data.pixel:g} nm pixels"
        return f"{name}. {self.card.line()}" if self.card else name

    # -------------------------------------------------------------------------------------------- the graph

    def graph(self) -> nn.Module:
        """Mask to low, middle and high, uncalibrated."""
        return Graph([n for n in self.networks.values() if isinstance(n, ShallowUNet)], self.config.net.passes)

    def example(self) -> dict[str, Tensor]:
        """Two masks with a few bars."""
        size = 16 * 2**self.config.net.depth
        mask = torch.zeros(2, 1, size, size)
        mask[0, :, size // 8 : size // 3] = 1.0
        mask[1, :, :, size // 2 : size // 2 + size // 5] = 1.0
        return {"mask": mask}

    def typical(self) -> dict[str, Tensor]:
        """One empty mask of the size it was trained on."""
        return {"mask": torch.zeros(1, 1, self.config.data.size, self.config.data.size)}

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Batch, height and width may change; height and width by multiples of ``2**depth``."""
        return {"mask": {0: "batch", 2: "height", 3: "width"}}

    @property
    def stride(self) -> int:
        """Height and width must be multiples of this."""
        return int(2**self.config.net.depth)

    def run(self, masks: Array) -> tuple[Array, Array, Array]:
        """Raw low, middle and high ``(N, H, W)`` of masks ``(N, H, W)``, padded to the stride inside."""
        rows, columns = masks.shape[1:]
        pad = [(0, 0), (0, -rows % self.stride), (0, -columns % self.stride)]
        padded = np.pad(masks, pad, mode="edge") if any(p[1] for p in pad) else masks
        batch = {"mask": torch.from_numpy(np.ascontiguousarray(padded, dtype=np.float32))[:, None]}
        found = self.forward(batch)
        low, middle, high = (found[name].numpy()[:, :rows, :columns] for name in self.output_names)
        return low, middle, high

    # ------------------------------------------------------------------------------------------ calibration

    @property
    def calibration(self) -> Calibration | None:
        """The calibration that travels with the model, or None."""
        stored = self.artefacts.get("calibration")
        return None if stored is None else Calibration.from_dict(stored, "the model's calibration")

    def with_calibration(self, calibration: Calibration | None) -> SemModel:
        """The same networks with another calibration."""
        artefacts = {k: v for k, v in self.artefacts.items() if k != "calibration"}
        if calibration is not None:
            artefacts["calibration"] = calibration.to_dict()
        model = SemModel(self.config, self.networks, artefacts, self.card)
        model.source, model.device = self.source, self.device
        return model

    def calibrated(
        self, lo: Array, mid: Array, hi: Array, mask: Array, calibration: Calibration
    ) -> tuple[Array, Array]:
        """Apply a calibration to raw bounds ``(..., H, W)``; the middle stays."""
        if calibration.method.startswith("scaled"):
            half = 0.5 * (hi - lo) * calibration.q
            return mid - half, mid + half
        kind = calibration.method.removeprefix("cqr-")
        if kind in ("edge", "density"):
            groups = pixel_groups(kind, mid, mask, self.config.data.pixel, calibration.params)
            table = np.array([calibration.groups.get(str(g), calibration.q) for g in range(4)], dtype=np.float32)
            return conformal.widen(lo, hi, table[groups])
        return conformal.widen(lo, hi, calibration.q)

    # -------------------------------------------------------------------------------------------- prediction

    def read(self, item: Any, options: PredictOptions) -> Field:
        """Open a layout file, a mask picture, or take an array ``(H, W)``."""
        pixel = options.pixel or self.config.data.pixel
        return read_field(item, pixel, options.layer, options.cell, options.window, options.layer_names)

    def preprocess(self, value: Field, options: PredictOptions) -> tuple[dict[str, Tensor], Any]:
        """A field small enough for one pass as a batch of one."""
        mask = value.block(slice(0, value.shape[0]), slice(0, value.shape[1])).astype(np.float32)
        return {"mask": torch.from_numpy(mask)[None, None]}, value

    def postprocess(self, raw: dict[str, Tensor], meta: Field, options: PredictOptions) -> Interval:
        """Bounds of a batch of one to a calibrated interval without hotspots."""
        lo, mid, hi = (raw[name].numpy()[0] for name in self.output_names)
        calibration = self._chosen(options)
        mask = meta.block(slice(0, meta.shape[0]), slice(0, meta.shape[1]))
        low, high = self.calibrated(lo, mid, hi, mask, calibration)
        return Interval(low, mid, high, calibration.alpha, mask.astype(np.float32))

    def predict_one(self, value: Field, options: PredictOptions) -> SemInterval:
        """Predict a field tile by tile; memory does not grow with its size.

        Raises:
            DataError: the pixel size is not the model's.
            ModelFileError: the calibration belongs to other weights.
        """
        pixel = self._check_pixel(value, options)
        calibration = self._chosen(options)
        lo, mid, hi = (allocate(value.shape, np.float32) for _ in range(3))
        found: list[Hotspot] = []
        number = tiling.count(value.shape, options.tile)
        pieces = tiling.tiles(value.shape, options.tile, options.halo)
        for tile in progress.track(pieces, "predicting tiles", number) if number > 4 else pieces:
            mask = value.block(*tile.read)
            low, middle, high = (part[0] for part in self.run(mask[None]))
            low, high = self.calibrated(low, middle, high, mask, calibration)
            for target, part in ((lo, low), (mid, middle), (hi, high)):
                target[tile.keep] = part[tile.inner]
                release(target)
            if options.hotspots:
                width = (high - low)[tile.inner]
                corner = (tile.keep[0].start, tile.keep[1].start)
                found += hotspots(width, options.hotspots, offset=corner)
        spots = strongest(found, options.hotspots) if options.hotspots else []
        facts = self._facts(value, pixel, calibration, (lo, mid, hi))
        return SemInterval(
            lo, mid, hi, calibration.alpha, value.whole(), facts, _hotspot_table(spots, value, pixel), value.window
        )

    def _check_pixel(self, value: Field, options: PredictOptions) -> float:
        wanted, own = options.pixel or value.pixel or self.config.data.pixel, self.config.data.pixel
        if abs(wanted - own) > 1e-6 * own and not options.allow_mismatch:
            others = ", ".join(f"--model {name}" for name in self.spec.defaults)
            raise DataError(
                f"This model was trained for pixels of {own:g} nm, {wanted:g} nm was asked for: blur and etch bias "
                f"would be off and the interval not valid. Use --pixel {own:g}nm, another model ({others}), "
                "one trained for your pixel, or --allow-mismatch."
            )
        return float(wanted)

    def _chosen(self, options: PredictOptions) -> Calibration:
        calibration = Calibration.load(options.calibration) if options.calibration else self.calibration
        if calibration is None:
            raise ModelFileError(
                "This model has no calibration, so it can't give an interval. Make one: fieldsight sem calibrate DATA"
            )
        own = calibration.q_from != "own" or calibration.model_sha256 == self.fingerprint()
        if not own and not options.allow_mismatch:
            raise ModelFileError(
                "The calibration belongs to other weights. Calibrate this model (fieldsight sem calibrate), "
                "or use --allow-mismatch if you know why they differ."
            )
        return calibration

    def _facts(self, value: Field, pixel: float, calibration: Calibration, bounds: tuple[Array, ...]) -> dict[str, Any]:
        facts: dict[str, Any] = {"pixel_nm": pixel, "q": round(calibration.q, 6), "model": self.source, **value.facts}
        chance = self.novelty(value, calibration)
        if chance is not None:
            facts["novelty_p"] = round(chance, 4)
            if chance <= NOVEL:
                facts["warning"] = (
                    f"this layout is unlike the calibration layouts (p = {chance:.3f}): "
                    f"the {100 * (1 - calibration.alpha):g} % of the interval is not guaranteed here"
                )
                progress.note(f"warning: {facts['warning']}")
        if max(value.shape) <= 4096:
            band = guard_band(bounds[0], bounds[2], level_of(bounds[1]), pixel)
            if band == band:
                facts["guard_band_nm"] = round(band, 2)
        return facts

    def novelty(self, value: Field, calibration: Calibration) -> float | None:
        """Chance that the field looks like the calibration layouts; of a large field the worst of nine windows."""
        if not calibration.novelty:
            return None
        test = Novelty.from_dict(calibration.novelty)
        size = self.config.data.size
        chances = []
        for top in _starts(value.shape[0], size):
            for left in _starts(value.shape[1], size):
                mask = value.block(
                    slice(top, min(top + size, value.shape[0])), slice(left, min(left + size, value.shape[1]))
                )
                if mask.any():
                    chances.append(test.p_value(features(mask, self.config.data.pixel)))
        return min(1.0, len(chances) * min(chances)) if chances else 1.0 / (len(test.features) + 1)


def pixel_groups(kind: str, mid: Array, mask: Array, pixel: float, params: Mapping[str, float]) -> NDArray[np.int64]:
    """Group of every pixel of ``(H, W)``, known without the truth: 1 near a predicted edge, or the local density."""
    if kind == "density":
        return density_bins(mask, pixel)
    return edge_band(mid, level=params["level"]).astype(np.int64)


def read_field(
    item: Any,
    pixel: float,
    layer: str | None = None,
    cell: str | None = None,
    window: tuple[float, ...] = (),
    layer_names: Path | None = None,
) -> Field:
    """Open a layout file (GDSII, OASIS), a mask picture or an array ``(H, W)`` as a field.

    Raises:
        DataError: what :func:`~fieldsight.data.gds.open_layout` and :func:`~fieldsight.data.images.read_image` raise;
            a field smaller than 16 pixels or larger than a gigapixel.
    """
    if isinstance(item, (str, Path)) and Path(item).suffix.lower() in LAYOUT_SUFFIXES:
        names = {**LAYER_NAMES, **read_layer_names(layer_names)} if layer_names else LAYER_NAMES
        layout = open_layout(item, cell)
        chosen = layout.layer(layer, names)
        if layer is None and len(layout.layers) > 1:
            progress.note(f"layer {describe(chosen, names)} of {len(layout.layers)} (choose with --layer)")
        margin = 8 * pixel
        x0, y0, x1, y1 = window or layout.bounds(chosen)
        corners = (x0, y0, x1, y1) if window else (x0 - margin, y0 - margin, x1 + margin, y1 + margin)
        area = Window(*corners, pixel)
        _check_size(area.shape, str(item))

        def block(rows: slice, columns: slice) -> NDArray[np.bool_]:
            return layout.raster(chosen, area.part(rows, columns)) >= 0.5

        return Field(area.shape, block, pixel, area, {"cell": layout.cell, "layer": describe(chosen, names)})
    mask = binarize(read_image(item, "grey"))
    _check_size(mask.shape, str(item) if isinstance(item, (str, Path)) else "the array")
    return Field((mask.shape[0], mask.shape[1]), lambda rows, columns: mask[rows, columns])


def _check_size(shape: tuple[int, ...], name: str) -> None:
    if min(shape) < 16:
        raise DataError(f"{name} gives a field of {shape[1]} x {shape[0]} pixels; at least 16 x 16 are needed.")
    if shape[0] * shape[1] > MAX_FIELD:
        raise DataError(
            f"{name} gives a field of {shape[1]:,} x {shape[0]:,} pixels, more than {MAX_FIELD:,}. "
            "Choose a part with --window x0,y0,x1,y1 or a larger --pixel."
        )


def _starts(length: int, size: int) -> list[int]:
    last = max(0, length - size)
    return sorted({0, last // 2, last})


def _hotspot_table(spots: list[Hotspot], value: Field, pixel: float) -> Table:
    rows = []
    for rank, spot in enumerate(spots, 1):
        if value.window is not None:
            x, y = value.window.to_layout(spot.row + 0.5, spot.column + 0.5)
        else:
            x, y = (spot.column + 0.5) * pixel, -(spot.row + 0.5) * pixel
        around = value.block(
            slice(max(0, spot.row - 16), spot.row + 17), slice(max(0, spot.column - 16), spot.column + 17)
        )
        rows.append(
            {
                "rank": rank, "x_nm": round(x, 3), "y_nm": round(y, 3), "row": spot.row, "column": spot.column,
                "width": round(spot.score, 5), "density": round(float(around.mean()), 3),
            }
        )  # fmt: skip
    columns = {"rank": "", "x_nm": "nm", "y_nm": "nm", "row": "px", "column": "px", "width": "", "density": ""}
    return Table(columns, rows, "uncertain places, widest interval first")


def _square(x: float, y: float, half: float) -> NDArray[np.float64]:
    return np.array([[x - half, y - half], [x + half, y - half], [x + half, y + half], [x - half, y + half]])


def novelty_of(masks: list[Array], pixel: float) -> dict[str, Any]:
    """The features of calibration masks, for :meth:`SemModel.novelty`; empty where there are too few."""
    if len(masks) < 5:
        return {}
    return Novelty(np.stack([features(m, pixel) for m in masks]), 3, FEATURES).to_dict()
