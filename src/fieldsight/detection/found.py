"""What the detector found in a photo: boxes that draw, list and save themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.data import geojson
from fieldsight.data.detection.sample import Boxes, Detections, Labels, Picture
from fieldsight.data.files import read_json, write_json, write_text
from fieldsight.data.georeference import Georeference
from fieldsight.data.images import write_image
from fieldsight.detection.drawing import draw_boxes
from fieldsight.predicting import Outcome
from fieldsight.predictions import Prediction, Table


@dataclass(frozen=True)
class Found(Prediction):
    """Boxes in a photo, best first.

    Attributes:
        picture: the photo ``(H, W, 3)`` uint8 RGB, or a shrunk one to draw on where it is too large to keep.
        boxes: ``(K, 4)`` float32, ``x1, y1, x2, y2`` in pixels of the photo itself.
        scores: ``(K,)`` float32 in 0-1.
        labels: ``(K,)`` int64.
        classes: names by label.
        facts: what else is worth telling.
        label_files: label files that are written beside: ``yolo``, or ``none``.
        size: height and width of the photo itself; None where they are those of ``picture``.
        georeference: of the photo, or None.
    """

    picture: Picture
    boxes: Boxes
    scores: NDArray[np.float32]
    labels: Labels
    classes: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    label_files: str = "none"
    size: tuple[int, int] | None = None
    georeference: Georeference | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the photo in pixels."""
        return self.size or (self.picture.shape[0], self.picture.shape[1])

    @property
    def found(self) -> Detections:
        """The boxes alone."""
        return Detections(self.boxes, self.scores, self.labels)

    def with_labels(self, files: str) -> Found:
        """The same, with label files beside it when it is saved."""
        return replace(self, label_files=files)

    def save(self, folder: str | Path, stem: str | Path = "boxes") -> list[Path]:
        """Write the photo with its boxes as PNG and the boxes as JSON; where wanted, a label file of YOLO.

        Of a photo with a place on the map, the boxes as GeoJSON in its map's coordinates too.
        """
        base = Path(folder) / stem
        written = [
            write_image(base.with_name(f"{base.name}.png"), self.draw()),
            write_json(base.with_name(f"{base.name}.json"), self.document()),
        ]
        if self.label_files == "yolo":
            written.append(write_text(base.with_name(f"{base.name}.txt"), self.yolo()))
        if self.georeference is not None:
            written.append(write_json(base.with_name(f"{base.name}.geojson"), self.geojson(), compact=True))
        return written

    def geojson(self) -> dict[str, Any]:
        """A polygon a box with its class and score, in the coordinates of the photo's map; in pixels without one."""
        where = self.georeference or Georeference()
        placed = geojson.placing(where.transform)
        boxes = self.boxes.astype(np.float64)
        features = [
            geojson.feature("Polygon", [geojson.ring(placed(corners))], {"class": b["class"], "score": b["score"]})
            for corners, b in zip(boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]], self._rows(), strict=True)
        ]
        return geojson.collection(features, where.transform, where.epsg)

    def yolo(self) -> str:
        """A line a box, as label files have it: class, centre, width and height as shares of the photo."""
        high, wide = self.shape
        share = self.boxes.astype(np.float64) / np.array([wide, high, wide, high])
        centre, sides = (share[:, :2] + share[:, 2:]) / 2, share[:, 2:] - share[:, :2]
        rows = np.concatenate([centre, sides], axis=1)
        return "".join(
            f"{label} " + " ".join(f"{v:.6f}" for v in row) + "\n" for label, row in zip(self.labels, rows, strict=True)
        )

    def document(self) -> dict[str, Any]:
        """What is written beside the photo: the summary, and what differs from run to run where there is such."""
        return self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """Size of the photo, how many of each class, and every box with its class and score."""
        counts = Counter(self.classes[k] for k in self.labels.tolist())
        return {
            "height": int(self.shape[0]),
            "width": int(self.shape[1]),
            "found": len(self.labels),
            "classes": dict(counts.most_common()),
            "boxes": self._rows(),
            **self.facts,
        }

    def _rows(self) -> list[dict[str, Any]]:
        """Every box with its class and score."""
        return [
            {"class": self.classes[k], "score": round(float(s), 5), "box": [round(float(v), 2) for v in b]}
            for b, s, k in zip(self.boxes, self.scores, self.labels, strict=True)
        ]

    def draw(self, longest: int = 2000) -> Picture:
        """The photo with its boxes, names and scores; at most so many pixels a side."""
        return draw_boxes(self.picture, self.found, self.classes, limit_width=longest, size=self.size)

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """How many of what; the boxes as a table."""
        known = self.to_dict()
        facts = {"found": known["found"], **known["classes"], **self.facts}
        if "notes" in facts:
            facts["notes"] = "; ".join(facts["notes"])
        rows = [
            {"class": b["class"], "score": b["score"], **dict(zip(("x1", "y1", "x2", "y2"), b["box"], strict=True))}
            for b in known["boxes"]
        ]
        columns = {"class": "", "score": "", "x1": "px", "y1": "px", "x2": "px", "y2": "px"}
        return facts, [Table(columns, rows, "Boxes")] if rows else []


def write_together(outcomes: Sequence[Outcome], classes: Sequence[str], out: Path) -> list[Path]:
    """All boxes of several photos in COCO's result format, and the names of the classes, a line each.

    Boxes are ``x, y, width, height``; ``image_id`` is the photo's name, ``category_id`` counts from 1.
    """
    rows = []
    for outcome in outcomes:
        told = next((f for f in outcome.files if f.suffix == ".json"), None)
        summary = read_json(told) if told is not None else outcome.summary
        for one in summary.get("boxes", ()):
            x1, y1, x2, y2 = one["box"]
            box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            label = list(classes).index(one["class"]) + 1
            rows.append({"image_id": outcome.name, "category_id": label, "bbox": box, "score": one["score"]})
    return [write_json(out / "detections.json", rows), write_text(out / "classes.txt", "\n".join(classes) + "\n")]
