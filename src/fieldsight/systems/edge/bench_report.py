"""The page of a benchmark: rows, accuracy against speed, what INT8 costs, and a clip with its boxes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight.errors import DataError
from fieldsight.predictions import Picture, Table
from fieldsight.report.html import Report
from fieldsight.systems.edge.options_bench import MORE_COLUMNS
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.profiles import rows_of
from fieldsight.systems.edge.recommend import Constraints, recommend
from fieldsight.systems.edge.studio_plot import plot

#: Pictures of a clip that the page shows.
SHOWN = 4

#: What the page shows of a row, in this order; all columns are in the CSV.
_SPEED = ("backend", "precision", "p50_ms", "p95_ms", "p99_ms", "mis_fps", "ipm", "video_fps", "size_mb", "notes")
_PARTS = ("backend", "precision", "pre_ms", "model_ms", "post_ms", "load_s", "memory_mb")
_ACCURACY = (
    "backend", "precision", "map50_95", "map50", "map50_95_conf50", "map50_conf50", "map_loss", "map_loss_low",
    "map_loss_high", "speedup", "speedup_p", "int8_unit",
)  # fmt: skip
_ENERGY = ("backend", "precision", "mean_power_w", "energy_j", "epi_j", "epi_net_j", "epi_estimated_j")


@dataclass(frozen=True)
class BenchTable(Table):
    """The rows of a benchmark, with pictures of the clip that it ran over.

    Attributes:
        clip: pictures with their boxes, evenly over the clip.
        clip_name: its file's name.
    """

    clip: tuple[Picture, ...] = ()
    clip_name: str = ""

    def save(self, folder: str | Path, stem: str | Path = "bench") -> list[Path]:
        """Write CSV, JSON, and a page."""
        base = Path(folder) / stem
        return [*super().save(folder, stem), self.report().save(base.with_name(f"{base.name}.html"))]

    def report(self) -> Report:
        """The page."""
        page = Report("Edge detector: benchmark", self.title)
        section = page.section("Where")
        section.facts({k: v for k, v in self.facts.items() if not isinstance(v, (dict, list))})
        drawn = self._plot()
        if drawn:
            page.section("Accuracy against speed").plot(drawn, "larger dots take more joules an inference, where known")
        for title, names in (
            ("Speed: one thread of work, one frame at a time", _SPEED),
            ("Where the time goes in the whole loop", _PARTS),
            ("Accuracy, and INT8 against FP32 of the same runtime", _ACCURACY),
            ("Energy: measured, or estimated in a column of its own", _ENERGY),
        ):
            page.section(title).table(self._part(names))
        if self.clip:
            section = page.section(f"The clip {self.clip_name}").text("What the detector finds in it, in eager torch.")
            for picture in self.clip:
                section.picture(picture)
        return page

    def _part(self, names: Sequence[str]) -> Table:
        rows = [{name: _short(row.get(name)) for name in names} for row in self.rows]
        return Table({name: self.columns[name] for name in names}, rows)

    def _plot(self) -> str:
        """Empty where too little was measured to place a row."""
        rows = [{k: v for k, v in row.items() if v is not None} for row in self.rows if row.get("mis_fps") is not None]
        with contextlib.suppress(DataError):
            return plot(recommend(Constraints(), rows_of(rows, "bench", MORE_COLUMNS)))
        return ""


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def clip_pictures(model: EdgeModel, file: Path, shown: int = SHOWN) -> Iterable[Picture]:
    """Pictures of a video with their boxes, evenly over it; those that can't be read are left out."""
    from fieldsight.data.video import Video

    with contextlib.closing(Video(file)) as video:
        for n in range(shown):
            with contextlib.suppress(DataError):
                picture = video(int((n + 0.5) * video.count / shown))
                yield model.told(picture, model.find(picture)).draw()


def with_clip(table: Table, model: EdgeModel, file: Path | None) -> BenchTable:
    """A benchmark's rows with the clip that was named."""
    pictures = tuple(clip_pictures(model, file)) if file is not None else ()
    facts: Mapping[str, Any] = table.facts
    return BenchTable(table.columns, table.rows, table.title, facts, pictures, file.name if file is not None else "")
