"""What ``predict`` gives: the mask with its probability, every crack measured, and the route that led to them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data.arrays import allocate, bands, release, write_tiff
from fieldsight.data.files import read_json, write_json, write_text
from fieldsight.data.georeference import Georeference
from fieldsight.data.geotiff import write_geotiff
from fieldsight.data.images import write_image
from fieldsight.predictions import Picture, Prediction, Table
from fieldsight.systems.crack import review
from fieldsight.systems.crack.agreement import Agreement
from fieldsight.systems.crack.measure import Crack, Summary, measure, summarize
from fieldsight.systems.crack.overlay import PREVIEW, labels, overlay
from fieldsight.systems.crack.polygons import to_coco, to_geojson
from fieldsight.systems.crack.routes import Route

if TYPE_CHECKING:
    from fieldsight.systems.crack.fusion import Fusion
    from fieldsight.systems.crack.options import PredictOptions
    from fieldsight.systems.crack.photo import Photo
    from fieldsight.systems.crack.predict import CrackModel

#: Columns of the table of cracks with their units.
COLUMNS = {
    "id": "", "length_px": "px", "mean_width_px": "px", "max_width_px": "px", "length_mm": "mm", "mean_width_mm": "mm",
    "max_width_mm": "mm", "orientation_deg": "°", "kind": "", "severity": "", "branches": "", "probability": "",
}  # fmt: skip

#: How the names of files with COCO outlines end.
COCO = "_coco.json"


@dataclass(frozen=True)
class CrackMap(Prediction):
    """Cracks of one photo.

    Attributes:
        mask: ``(H, W)`` bool.
        probability: ``(H, W)`` float32 in 0-1; NaN nowhere, 0 where the photo has no picture.
        source: the photo, at most 2,000 pixels a side, for drawing.
        cracks: measured.
        summary: all of them together.
        facts: the route, the signs of doubt, the scale, what went wrong.
        georeference: of the photo, or None.
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.float32]
    source: Picture
    cracks: Sequence[Crack] = field(repr=False)
    summary: Summary
    facts: Mapping[str, Any] = field(default_factory=dict)
    georeference: Georeference | None = field(default=None, repr=False)

    @classmethod
    def make(cls, model: CrackModel, photo: Photo, mixed: Fusion, options: PredictOptions) -> CrackMap:
        """Threshold, measure, and say how it came about."""
        threshold = options.threshold or model.config.mix.threshold
        mask = _mask(mixed.probability, photo, threshold)
        cracks = measure(mask, mixed.probability, photo.scale_mm, options.min_length)
        facts = {
            **({"photo": photo.name} if photo.name else {}),
            "threshold": threshold,
            **({"scale_mm": round(photo.scale_mm, 6)} if photo.scale_mm else {}),
            **route_facts(model, mixed.route, mixed.agreement),
            **({"failed": dict(mixed.failed)} if mixed.failed else {}),
            **({"notes": list(photo.notes)} if photo.notes else {}),
            "model": model.source,
        }
        shape = (mask.shape[0], mask.shape[1])
        return cls(
            mask, mixed.probability, photo.small(PREVIEW), cracks, summarize(cracks, shape, photo.scale_mm), facts,
            photo.georeference,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------- looks

    def save(self, folder: str | Path, stem: str | Path = "crack") -> list[Path]:
        """Write mask (PNG, or GeoTIFF with a georeference), overlay, probability, tables and outlines.

        ``_mask`` 0 or 255, ``_probability.tif`` float32, ``_overlay.png``, ``_cracks.csv``, ``.geojson``, ``.json``.
        """
        base = Path(folder) / stem
        name = base.name
        placed = self.georeference
        written = [
            write_geotiff(base.with_name(f"{name}_mask.tif"), self.mask, placed)
            if placed is not None
            else write_image(base.with_name(f"{name}_mask.png"), _bytes(self.mask)),
            write_geotiff(base.with_name(f"{name}_probability.tif"), self.probability, placed)
            if placed is not None
            else write_tiff(base.with_name(f"{name}_probability.tif"), self.probability, "probability of crack"),
            write_image(base.with_name(f"{name}_overlay.png"), self.draw()),
            write_text(base.with_name(f"{name}_cracks.csv"), self.table().to_csv()),
        ]
        transform = placed.transform if placed is not None else None
        outlines = to_geojson(self.cracks, transform, placed.epsg if placed is not None else None)
        written.append(write_json(base.with_name(f"{name}.geojson"), outlines, compact=True))
        # the photo's own name below the folder that was predicted, else what was written
        file = Path(stem).with_name(str(self.facts.get("photo") or written[0].name)).as_posix()
        coco = to_coco([(file, (self.mask.shape[0], self.mask.shape[1]), self.cracks)])
        written.append(write_json(base.with_name(f"{name}{COCO}"), coco, compact=True))
        written.append(write_json(base.with_name(f"{name}.json"), self.to_dict()))
        return written

    def to_dict(self) -> dict[str, Any]:
        """Size, sums, route, and every crack's measures."""
        return {
            "height": int(self.mask.shape[0]),
            "width": int(self.mask.shape[1]),
            **_rounded(self.summary.to_dict()),
            **self.facts,
            "cracks": [_rounded(c.to_dict()) for c in self.cracks],
        }

    def table(self) -> Table:
        """One row a crack, the longest first."""
        rows = [
            {k: v for k, v in _rounded(c.to_dict()).items() if k in COLUMNS}
            for c in sorted(self.cracks, key=lambda c: -c.length_px)
        ]
        known = {k: u for k, u in COLUMNS.items() if not rows or any(row.get(k) is not None for row in rows)}
        rows = [{k: v for k, v in row.items() if k in known} for row in rows]
        return Table(known, rows, "cracks, the longest first")

    def draw(self) -> Picture:
        """The photo with the mask in red, and the numbers of the longest cracks."""
        shown = overlay(self.source, _shrunk(self.mask, self.source.shape))
        longest = sorted(self.cracks, key=lambda c: -c.length_px)[:20]
        factor = max(self.source.shape[:2]) / max(self.mask.shape)
        return labels(shown, longest) if factor == 1.0 else _labelled(shown, longest, factor)

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """What one wants to know, in words; then the cracks."""
        total, facts = self.summary, self.facts
        length = f"{total.length_mm / 1000:.2f} m" if total.length_mm is not None else f"{total.length_px:.0f} px"
        widest = f"{total.max_width_mm:.2f} mm" if total.max_width_mm is not None else f"{total.max_width_px:.1f} px"
        told: dict[str, Any] = {
            "cracks": total.count,
            "length in all": length,
            "widest place": widest,
            "share of the photo": f"{100 * total.area_share:.2f} %",
            "experts used": ", ".join(f"{e} {share:.0%}" for e, share in facts["used"].items()),
        }
        if total.severities:
            told["severity"] = ", ".join(f"{n} {name}" for name, n in total.severities.items())
        if facts.get("disagreement") is not None:
            told["experts disagree on"] = f"{facts['disagreement']:.0%} of the crack"
        if facts.get("expert_set"):
            told["may be the best expert"] = f"{', '.join(facts['expert_set'])} ({facts['set_level']:.0%} sure)"
        if facts.get("failed"):
            told["left out"] = "; ".join(f"{name}: {why}" for name, why in facts["failed"].items())
        if facts.get("notes"):
            told["notes"] = "; ".join(facts["notes"])
        return told, (self.table(),)

    def lines(self) -> list[str]:
        """The same words for a terminal."""
        return [f"{name}: {value}" for name, value in self.shown()[0].items()]


# ---------------------------------------------------------------------------------------------- the route


def route_facts(model: CrackModel, route: Route, agreement: Agreement) -> dict[str, Any]:
    """Gate weights, what was used, and the signs of doubt."""
    gate = route.gate.reshape(-1, route.gate.shape[-1]).astype(np.float64)
    used = {n: round(float(u), 4) for n, u in zip(model.names, route.usage(), strict=True) if u > 0}
    facts: dict[str, Any] = {
        "weights": {n: round(float(w), 4) for n, w in zip(model.names, gate.mean(axis=0), strict=True)},
        "used": used,
        "routed": "as a whole" if route.single else f"in {route.gate.shape[0]} x {route.gate.shape[1]} cells",
        "disagreement": _plain(agreement.disagreement),
    }
    if len(model.names) > 1:
        facts["doubt"] = round(float(review.gate_doubt(gate).mean()), 4)
        kept = model.artefacts.get("routing")
        if kept:
            facts |= review.ExpertSets.from_dict(kept["sets"]).facts(model.names, gate)
    return facts


# -------------------------------------------------------------------------------------- files of a folder


def write_folder_files(
    files: Sequence[Path], summaries: Sequence[tuple[str, Mapping[str, Any]]], out: Path, reference: Any = None
) -> list[Path]:
    """For several photos: all outlines as one COCO file, and who should be looked at first.

    Args:
        files: what was written for the photos.
        summaries: name and ``to_dict`` of each photo or video.
        out: folder.
        reference: the model's ``routing`` artefact: what signs of doubt are usual.
    """
    outlines = [f for f in files if f.name.endswith(COCO)]
    written = [write_json(out / "coco.json", joined_coco(outlines), compact=True)]
    listed = review_table(summaries, reference)
    written.append(write_text(out / "review.csv", listed.to_csv()))
    return written


def review_table(summaries: Sequence[tuple[str, Mapping[str, Any]]], reference: Any = None) -> Table:
    """Photos sorted by doubt, with the reason in words; see :func:`fieldsight.systems.crack.review.review_list`."""
    rows = [s for _, s in summaries]

    def column(name: str) -> NDArray[np.float64]:
        return np.array([math.nan if r.get(name) is None else float(r[name]) for r in rows])

    experts = max((len(r.get("weights", {})) for r in rows), default=1)
    signs = review.Signs(column("disagreement"), column("doubt"), column("set_size"), experts)
    usual = None
    if reference:
        apart, doubt, sizes = (np.array(reference[k], dtype=np.float64) for k in ("disagreement", "doubt", "set_size"))
        usual = review.Signs(apart, doubt, sizes, experts)
    found = review.review_list([name for name, _ in summaries], signs, usual)
    by_name = dict(summaries)
    table = [
        {"place": r.place, "photo": r.id, "score": round(r.score, 4), "reason": r.reason,
         "cracks": by_name[r.id].get("count"), "length_px": by_name[r.id].get("length_px")}
        for r in found
    ]  # fmt: skip
    return Table(
        dict.fromkeys(("place", "photo", "score", "reason", "cracks", "length_px"), ""), table, "photos to review"
    )


def joined_coco(files: Sequence[Path]) -> dict[str, Any]:
    """COCO files of single photos as one; ids count from 1 through all of them."""
    joined: dict[str, Any] = to_coco([])
    for path in files:
        found = read_json(path)
        if "annotations" not in found:  # the summary of a photo whose own name ends so
            continue
        number = {image["id"]: len(joined["images"]) + k for k, image in enumerate(found["images"], 1)}
        joined["images"] += [{**image, "id": number[image["id"]]} for image in found["images"]]
        start = len(joined["annotations"])
        joined["annotations"] += [
            {**row, "id": start + k, "image_id": number[row["image_id"]]}
            for k, row in enumerate(found["annotations"], 1)
        ]
    return joined


# ---------------------------------------------------------------------------------------------- internals


def _mask(probability: NDArray[np.float32], photo: Photo, threshold: float) -> NDArray[np.bool_]:
    """Threshold in bands; where the photo holds no picture there is no crack."""
    mask = allocate(probability.shape, np.bool_)
    for rows in bands(*probability.shape):
        if photo.valid is not None:
            inside = photo.valid(rows, slice(0, probability.shape[1]))
            if not inside.all():
                probability[rows] = np.where(inside, probability[rows], 0.0)
        mask[rows] = probability[rows] >= threshold
        release(mask)
        release(probability)
    return mask


def _bytes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.multiply(mask, np.uint8(255), dtype=np.uint8)


def _shrunk(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask at the size of a preview: a pixel is crack where any of its pixels is, so that hairlines stay."""
    if mask.shape == shape[:2]:
        return np.asarray(mask)
    rows, columns = (np.arange(n) * m // n for n, m in zip(shape[:2], mask.shape, strict=True))
    parts = [np.maximum.reduceat(band, columns, axis=1) for band in _bands_of(mask, rows)]
    return np.stack([part.any(axis=0) for part in parts])


def _bands_of(mask: NDArray[np.bool_], rows: NDArray[np.intp]) -> list[NDArray[np.bool_]]:
    stops = [*rows[1:], mask.shape[0]]
    return [np.asarray(mask[a : max(b, a + 1)]) for a, b in zip(rows, stops, strict=True)]


def _labelled(picture: Picture, cracks: Sequence[Crack], factor: float) -> Picture:
    """Numbers in a preview: cracks are moved to where they are in it."""
    moved = [
        dataclasses.replace(
            crack,
            max_width_at=(crack.max_width_at[0] * factor, crack.max_width_at[1] * factor),
            max_width_px=crack.max_width_px * factor,
        )
        for crack in cracks
    ]
    return labels(picture, moved)


def _plain(value: float) -> float | None:
    return None if not math.isfinite(value) else round(value, 4)


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, float):
            found[name] = _plain(value)
        elif isinstance(value, (list, tuple)):
            found[name] = [_plain(v) if isinstance(v, float) else v for v in value]
        else:
            found[name] = value
    return found
