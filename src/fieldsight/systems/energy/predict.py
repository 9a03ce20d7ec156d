"""The model without weights: reads a network, gives an estimate that saves, draws and explains itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight.data.files import write_json, write_text
from fieldsight.data.folders import Item, gather
from fieldsight.model import Model
from fieldsight.predictions import Picture, Prediction, Table
from fieldsight.profile.joules import PARTS, si
from fieldsight.systems.energy import networks
from fieldsight.systems.energy.config import EnergyConfig
from fieldsight.systems.energy.drawing import PART_WORDS, bars, joules, treemap
from fieldsight.systems.energy.estimate import (
    CONVENTIONS,
    Charged,
    charge,
    group_joules,
    layer_table,
    plain,
    supply,
    total_table,
    warnings,
)
from fieldsight.systems.energy.networks import Built, Network

METHOD = (
    "E(B) = E_weight + B (E_MAC + E_activation + E_KV): weights are fetched once a batch, everything else is paid per "
    "sample. E_weight = parameters x bits x pJ/bit, E_MAC = MACs x pJ/MAC, E_KV = cached values x bits x pJ/bit, "
    "E_activation = 2 x elements x bits x pJ/bit of the level that holds them. Bottom-up figures are lower bounds: "
    "static power, interconnect, control and instructions are left out, and real devices take 10 to 100 times as much; "
    "fieldsight energy calibrate fits the constants to measurements."
)


@dataclass(frozen=True)
class EnergyEstimate(Prediction):
    """What one network costs.

    Attributes:
        name: the network.
        joules: J of the batch by part, in the order of :data:`fieldsight.profile.joules.PARTS`.
        charged: everything that was computed.
    """

    name: str
    joules: tuple[float, ...]
    charged: Charged

    def save(self, folder: str | Path, stem: str | Path = "estimate") -> list[Path]:
        """Write JSON, two CSV files (layers, totals), LaTeX, the drawing as PNG and SVG, and an HTML report."""
        from fieldsight.data.images import write_image
        from fieldsight.report.plots import pixels, svg
        from fieldsight.systems.energy.plots import estimate_figure

        base, drawn = Path(folder) / stem, estimate_figure(self.charged)

        def at(ending: str) -> Path:
            return base.with_name(f"{base.name}{ending}")

        return [
            write_json(at(".json"), self.to_dict()),
            write_text(at("_layers.csv"), self.layers().to_csv()),
            write_text(at("_totals.csv"), self.totals().to_csv()),
            write_text(at(".tex"), self.to_latex()),
            write_image(at(".png"), pixels(drawn)),
            write_text(at(".svg"), svg(drawn)),
            self.report().save(at(".html")),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything, J throughout; infinities are None."""
        return plain(self.charged)

    def layers(self) -> Table:
        """Layer by layer."""
        return layer_table(self.charged)

    def totals(self) -> Table:
        """Both conventions side by side."""
        return total_table(self.charged)

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """The numbers one reads first, both conventions, and the layers."""
        c = self.charged
        tables = [self.totals()]
        if c.sensitivity is not None:
            columns = {"constant": "", "low": "", "high": "", "total at low": "J", "total at high": "J"}
            rows = [
                dict(zip(columns, (s.name, s.low, s.high, s.total_low, s.total_high), strict=True))
                for s in c.sensitivity.tornado
            ]
            tables.append(Table(columns, rows, "what the range of each constant does to the total"))
        if c.network.counts.unknown:
            tables.append(_ops(c.network.counts.unknown, "unknown operators, in no number here"))
        return {"network": c.network.name, **facts(c), **_supply_words(c)}, (*tables, self.layers())

    def draw(self) -> Picture:
        """Stacked bars over batches, and where the joules go."""
        from fieldsight.report.plots import pixels
        from fieldsight.systems.energy.plots import estimate_figure

        return pixels(estimate_figure(self.charged))

    def to_latex(self) -> str:
        """The parts in both conventions as a LaTeX table (needs no package)."""
        c = self.charged
        lines = [
            r"\begin{tabular}{lrrrr}",
            r"\hline",
            r" & \multicolumn{2}{c}{exact counts} & \multicolumn{2}{c}{as the paper charges} \\",
            r"part & J & share & J & share \\",
            r"\hline",
        ]
        exact, paper = (c.energies[n] for n in CONVENTIONS)
        for part in PARTS:
            cells = [f"{e.parts[part]:.4e} & {100 * e.shares[part]:.1f}\\,\\%" for e in (exact, paper)]
            lines.append(f"{PART_WORDS[part]} & {' & '.join(cells)} \\\\")
        lines += [
            r"\hline",
            f"total & {exact.total:.4e} & & {paper.total:.4e} & \\\\",
            r"\hline",
            r"\end{tabular}",
        ]
        caption = f"{c.network.name}, batch {exact.batch}, {c.precision}, {c.hardware.title}"
        return "\n".join([f"% {caption}", *lines]) + "\n"

    def lines(self) -> list[str]:
        """The estimate as text."""
        c, one = self.charged, self.charged.chosen
        bits = ", ".join(f"{v:g}-bit {k[:-5]}" for k, v in _own_bits(c.settings).items())
        head = f"{c.network.title}: {joules(one.per_sample)} per {one.unit} at batch {one.batch}"
        lines = [f"{head} ({c.precision}{', ' + bits if bits else ''}, {c.hardware.name})"]
        lines.append(f"{'':16}{'exact counts':>22}{'as the paper charges':>26}")
        exact, paper = (c.energies[n] for n in CONVENTIONS)
        for part in PARTS:
            if exact.parts[part] or paper.parts[part]:
                cells = [f"{joules(e.parts[part])} {e.shares[part]:>7.1%}" for e in (exact, paper)]
                lines.append(f"{PART_WORDS[part]:16}{cells[0]:>22}{cells[1]:>26}")
        lines.append(f"{'total':16}{joules(exact.total) + '  100.0%':>22}{joules(paper.total) + '  100.0%':>26}")
        counts = c.network.counts
        lines += self._regime() if exact.total else ["nothing here costs energy: no weights and no MACs"]
        lines.append(
            f"{counts.params:,} parameters, {counts.macs:,} MACs (1 MAC = 2 FLOPs), "
            f"{counts.activations:,} activation elements" + (f", {counts.kv:,} cached values" if counts.kv else "")
        )
        groups = sorted(group_joules(c, 6).items(), key=lambda g: -sum(g[1].values()))
        whole = exact.total or 1.0
        named = [f"{g} {sum(v.values()) / whole:.0%}" for g, v in groups if not g.endswith(" others")]
        lines += ["most: " + ", ".join(named[:5])] if named else []
        lines += [f"{words}: {value}" for words, value in _supply_words(c).items()]
        if c.answer:
            lines.append(
                f"an answer of {c.settings.tokens} tokens to a prompt of {c.settings.prompt}: "
                f"{joules(c.answer['total'] / one.batch)}, {joules(c.answer['per_token'])} per token"
            )
        lines += [f"warning: {w}" for w in warnings(c)]
        return [*lines, *(f"note: {n}" for n in c.notes)]

    def _regime(self) -> list[str]:
        c = self.charged
        r = c.regimes[c.settings.convention]
        one = c.chosen
        found = [
            f"{one.bound}-bound: {one.intensity:.4g} FLOPs per parameter, computing costs more above "
            f"{r.threshold:.4g}; MACs cost as much as weights at batch {r.mac_equals_weight:.4g}"
        ]
        if one.dominant == "activation":
            found.append("activations cost more than either: the bound compares MACs with weights and KV cache alone")
        if r.kv_equals_weight < float("inf"):
            found.append(
                f"the KV cache costs as much as the weights at batch {r.kv_equals_weight:.4g}"
                + (f", or at {r.break_even_context:,.1f} tokens" if r.break_even_context < float("inf") else "")
            )
        return found

    def report(self) -> Any:
        """The page: everything with plots, one file."""
        from fieldsight.report.html import Report
        from fieldsight.report.plots import svg
        from fieldsight.systems.energy.plots import estimate_figure, tornado_figure

        c, one = self.charged, self.charged.chosen
        report = Report(f"Energy of {c.network.name}", f"{c.network.title}; {c.hardware.title}")
        section = report.section("The estimate")
        for warning in warnings(c):
            section.notice(warning)
        section.facts(facts(c))
        section.plot(bars([(n, c.energies[n].parts) for n in CONVENTIONS]), "both conventions")
        section.plot(svg(estimate_figure(c)), "by batch, as in the paper's figures, and by group of layers")
        section.text(METHOD)
        report.section("Where the joules go").plot(
            treemap(list(zip((x.name for x in c.network.counts.layers), c.layers, strict=True))), "a rectangle a layer"
        )
        report.section("Both conventions").table(self.totals())
        if c.sensitivity is not None:
            part = report.section("If the constants are others")
            part.plot(svg(tornado_figure(c)), "the total while one constant moves through its range")
            odds = ", ".join(f"{PART_WORDS[k]} {v:.0%}" for k, v in c.sensitivity.probability.items())
            part.text(f"Largest part, over {c.settings.draws:,} draws of all constants from their ranges: {odds}.")
        if c.network.counts.unknown:
            part = report.section("Unknown operators").notice(
                "Nobody here knows their MACs: they are in no number above."
            )
            part.table(_ops(c.network.counts.unknown))
        if c.network.counts.uncounted:
            report.section("Arithmetic outside the MACs").table(_ops(c.network.counts.uncounted))
        if c.notes or c.hardware.notes:
            report.section("Notes").text("\n".join(f"– {n}" for n in (*c.notes, *c.hardware.notes)))
        doubtful = c.hardware.unchecked()
        if doubtful:
            report.section("Constants not compared with their sources").text(", ".join(doubtful))
        report.section("Computed as").text(f"{one.convention} counts, batch {one.batch}, {c.precision}.")
        report.section("Layers").table(self.layers(), most=2000)
        return report


def facts(c: Charged) -> dict[str, str]:
    """The few numbers that one reads first."""
    one = c.chosen
    found = {
        f"per {one.unit}": joules(one.per_sample),
        f"batch of {one.batch}": joules(one.total),
        "largest part": f"{PART_WORDS[one.dominant]}, {one.shares[one.dominant]:.0%}",
        "bound": one.bound,
        "MACs = weights at batch": f"{c.regimes[one.convention].mac_equals_weight:.4g}",
        "parameters": si(c.network.counts.params).strip(),
        "MACs": si(c.network.counts.macs / max(c.network.counts.samples, 1)).strip(),
        "format": c.precision,
        "activations in": one.act_level,
    }
    if c.time is not None:
        found["time, at least"] = f"{c.time.seconds:.3g} s ({c.time.bound})"
    return found


def _own_bits(settings: EnergyConfig) -> dict[str, float]:
    given = {"w_bits": settings.w_bits, "a_bits": settings.a_bits, "kv_bits": settings.kv_bits}
    return {k: v for k, v in given.items() if v is not None}


def _supply_words(c: Charged) -> dict[str, str]:
    words = {k.replace("_", " ").replace("co2", "CO2"): v for k, v in supply(c).items() if v is not None}
    return {k: f"{v:,.0f}" if v >= 1000 else f"{v:.4g}" for k, v in words.items()}


def _ops(ops: Any, title: str = "") -> Table:
    columns = {"operator": "", "calls": "", "input elements": "", "output elements": "", "first at": ""}
    rows = [dict(zip(columns, (o.kind, o.calls, o.inputs, o.outputs, o.where), strict=True)) for o in ops]
    return Table(columns, rows, title)


class EnergyModel(Model):
    """Formulas and settings; there are no networks inside and nothing was trained."""

    system = "energy"
    config: EnergyConfig

    @classmethod
    def create(cls, config: EnergyConfig) -> EnergyModel:
        """A model with these settings."""
        return cls(config)

    def describe(self) -> str:
        """The settings in a line."""
        c = self.config
        return f"energy from formulas: {c.hardware_file or c.hardware}, {c.precision}, {c.convention} counts"

    def items(self, inputs: Any) -> list[Item]:
        """Names and values as they are; files, folders and patterns as everywhere; a model's folder is its config."""
        return gather(networks.config_of(inputs), self.spec.inputs[0].suffixes, networks.is_name)

    def read(self, item: Any, options: EnergyConfig) -> Network:
        """One input to counts; see :mod:`fieldsight.systems.energy.networks`."""
        return networks.read(item, options)

    def predict_one(self, value: Network, options: EnergyConfig) -> EnergyEstimate:
        """Counts to joules."""
        charged = charge(value, options)
        return EnergyEstimate(value.name, tuple(charged.chosen.parts[p] for p in PARTS), charged)

    def predict(self, inputs: Any, *, example: Any = None, **options: Any) -> Any:
        """The estimate. A module may come with an ``example`` input (or a tuple of them) in place of ``shape``."""
        if example is not None:
            inputs = Built(inputs, example if isinstance(example, tuple) else (example,))
        return self._verb(self.spec.main.name)(networks.config_of(inputs), **options)

    estimate = predict
