"""``compare``: networks side by side, what scaling each part saves (Fig. 10a, b), and the regions (Fig. 10c)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight import predicting
from fieldsight.data.files import write_json, write_text
from fieldsight.errors import DataError
from fieldsight.model import Model
from fieldsight.predictions import Picture, Prediction, Table, beside
from fieldsight.profile.joules import PARTS, energy
from fieldsight.systems.energy.drawing import joules
from fieldsight.systems.energy.estimate import Charged, finite, terms
from fieldsight.systems.energy.options import CompareOptions
from fieldsight.systems.energy.predict import EnergyEstimate
from fieldsight.systems.energy.sweep import fraction


@dataclass(frozen=True)
class Row:
    """One network in a comparison.

    Attributes:
        charged: its estimate.
        savings: percent saved by scaling a part, by part and batch.
        intensity: FLOPs per parameter at each batch of the axis (R7).
    """

    charged: Charged
    savings: dict[str, dict[int, float]]
    intensity: tuple[float, ...]


@dataclass(frozen=True)
class Comparison(Prediction):
    """Several networks under the same settings.

    Attributes:
        networks: one row each.
        factor: that a part is scaled to in the savings.
        axis: batches of the plot of regions.
        skipped: inputs that could not be used, with the reason.
    """

    networks: tuple[Row, ...]
    factor: float
    axis: tuple[int, ...]
    skipped: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, or the code for bad data when an input was skipped."""
        return DataError.exit_code if self.skipped else 0

    def table(self) -> Table:
        """A row for each network."""
        rows = []
        for row in self.networks:
            c = row.charged
            one, r = c.chosen, c.regimes[c.settings.convention]
            rows.append(
                {
                    "network": c.network.name,
                    "format": c.precision,
                    "parameters": c.network.counts.params,
                    "MACs": c.network.counts.macs // max(c.network.counts.samples, 1),
                    **{part: one.parts[part] for part in PARTS},
                    "total": one.total,
                    "per sample": one.per_sample,
                    "FLOPs per parameter": finite(one.intensity),
                    "threshold": finite(r.threshold),
                    "MAC = weight at batch": finite(r.mac_equals_weight),
                    "bound": one.bound,
                }
            )
        columns = dict.fromkeys(rows[0], "") | dict.fromkeys((*PARTS, "total", "per sample"), "J")
        first = self.networks[0].charged
        title = f"batch {first.settings.batch}, {first.hardware.name}, {first.settings.convention} counts"
        return Table(columns, rows, title)

    def to_dict(self) -> dict[str, Any]:
        """The table, the savings and the regions."""
        return {
            "rows": self.table().to_dict()["rows"],
            "factor": self.factor,
            "saved_percent": {
                r.charged.network.name: {p: {str(b): v for b, v in s.items()} for p, s in r.savings.items()}
                for r in self.networks
            },
            "axis": list(self.axis),
            "flops_per_parameter": {r.charged.network.name: [finite(v) for v in r.intensity] for r in self.networks},
            "thresholds": {k: finite(v) for k, v in self.thresholds().items()},
            "skipped": list(self.skipped),
        }

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """The table."""
        return {}, (self.table(),)

    def thresholds(self) -> dict[str, float]:
        """FLOPs per parameter above which computing costs more, by number format."""
        found = {}
        for row in self.networks:
            c = row.charged
            found[f"bound changes, {c.precision}"] = c.regimes[c.settings.convention].threshold
        return found

    def lines(self) -> list[str]:
        """The table as text, then the savings."""
        head = f"{'network':22}{'per sample':>12}{'weights':>9}{'MACs':>9}{'act.':>9}{'KV':>9}{'FLOPs/par.':>12}  bound"
        lines = [self.table().title, head]
        for row in self.networks:
            one = row.charged.chosen
            cells = "".join(f"{one.shares[p]:>9.1%}" for p in PARTS)
            name = f"{row.charged.network.name[:21]:22}"
            lines.append(f"{name}{joules(one.per_sample):>12}{cells}{one.intensity:>12.4g}  {one.bound}")
        lines += ["", f"saved by scaling a part to {fraction(self.factor)}, %"]
        for row in self.networks:
            for part, saved in row.savings.items():
                cells = "".join(f"{f'batch {b}: {v:.2f}':>18}" for b, v in saved.items())
                lines.append(f"{row.charged.network.name[:21]:22}{part:>11}{cells}")
        return lines + [f"note: skipped {s}" for s in self.skipped]

    def figures(self) -> dict[str, Any]:
        """Figure 10a, b as ``savings`` and Figure 10c as ``regions``."""
        from fieldsight.systems.energy.plots import regions_figure, savings_figure

        lines = {r.charged.network.name: (self.axis, r.intensity) for r in self.networks}
        return {
            "savings": savings_figure(
                {r.charged.network.name: r.savings for r in self.networks}, fraction(self.factor)
            ),
            "regions": regions_figure(lines, self.thresholds()),
        }

    def draw(self) -> Picture:
        """Savings and regions side by side."""
        import numpy as np

        from fieldsight.report.plots import pixels

        panels = [pixels(f) for f in self.figures().values()]
        tall = max(p.shape[0] for p in panels)
        even = [np.pad(p, ((0, tall - p.shape[0]), (0, 0), (0, 0)), constant_values=255) for p in panels]
        return beside(even)

    def report(self) -> Any:
        """The page."""
        from fieldsight.report.html import Report
        from fieldsight.report.plots import svg
        from fieldsight.systems.energy.drawing import bars
        from fieldsight.systems.energy.predict import METHOD

        report = Report("Energy of networks, compared", self.table().title)
        section = report.section("Side by side")
        for reason in self.skipped:
            section.notice(f"Skipped: {reason}")
        scaled = []
        for row in self.networks:
            one = row.charged.chosen
            scaled.append((row.charged.network.name, {p: v / one.batch for p, v in one.parts.items()}))
        section.plot(bars(scaled), "energy per sample")
        section.plot(bars(scaled, even=True), "the same, each as a whole").table(self.table())
        figures = self.figures()
        report.section("What each part saves").plot(svg(figures["savings"]), "as in Figure 10a, b")
        report.section("Bound by weights or by MACs").plot(
            svg(figures["regions"]),
            "as in Figure 10c; for language models the KV cache grows with the batch as the MACs do",
        )
        report.section("Method").text(METHOD)
        return report

    def save(self, folder: str | Path, stem: str | Path = "comparison") -> list[Path]:
        """Write JSON, CSV, both plots as PNG and SVG, and the HTML report."""
        from fieldsight.data.images import write_image
        from fieldsight.report.plots import pixels, svg

        base = Path(folder) / stem
        written = [
            write_json(base.with_name(f"{base.name}.json"), self.to_dict()),
            write_text(base.with_name(f"{base.name}.csv"), self.table().to_csv()),
        ]
        for name, drawn in self.figures().items():
            written.append(write_image(base.with_name(f"{base.name}_{name}.png"), pixels(drawn)))
            written.append(write_text(base.with_name(f"{base.name}_{name}.svg"), svg(drawn)))
        return [*written, self.report().save(base.with_name(f"{base.name}.html"))]


def compare(model: Model, inputs: Any, options: CompareOptions, strict: bool) -> Comparison:
    """Compare networks under the same settings.

    Raises:
        DataError: none of them could be used; with ``strict`` the first bad one.
    """
    listed = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    found = predicting.predict(model, listed, options, None, strict, {})
    assert isinstance(found, predicting.Results)
    made = [p for p in found.predictions if isinstance(p, EnergyEstimate)]
    skipped = tuple(f"{o.name}: {o.error}" for o in found.skipped)
    if not made:
        raise DataError("None of the networks could be used. " + " ".join(skipped))
    rows = tuple(_row(one.charged, options) for one in made)
    return Comparison(rows, options.factor, tuple(options.axis), skipped)


def _row(c: Charged, options: CompareOptions) -> Row:
    shown = [p for p in PARTS if c.chosen.parts[p] > 0]
    savings = {part: {b: saved(c, part, options.factor, b) for b in options.batches} for part in shown}
    return Row(c, savings, tuple(_intensity(c, options.axis)))


def _intensity(c: Charged, axis: Sequence[int]) -> list[float]:
    one = c.chosen
    each = one.intensity / one.batch
    return [each * batch for batch in axis]


def saved(c: Charged, part: str, factor: float, batch: int) -> float:
    """Percent of the total that scaling a part to ``factor`` saves at a batch (R6)."""
    given = terms(c.network, c.settings)
    scale = {**given["scale"], part: given["scale"][part] * factor}
    convention = c.settings.convention
    full = energy(c.network.counts, c.hardware, batch, convention=convention, **given).total
    less = energy(c.network.counts, c.hardware, batch, convention=convention, **{**given, "scale": scale}).total
    return 100 * (1 - less / full) if full else 0.0
