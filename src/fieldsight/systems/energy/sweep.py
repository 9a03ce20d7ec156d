"""``sweep``: one part scaled over batches as in the paper's Table 2; or contexts, weight bits, number formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from fieldsight import predicting
from fieldsight.data.files import write_json, write_text
from fieldsight.data.folders import safe_name
from fieldsight.errors import DataError
from fieldsight.model import Model
from fieldsight.predictions import Picture, Prediction, Table
from fieldsight.profile.joules import PARTS, energy
from fieldsight.systems.energy import networks
from fieldsight.systems.energy.config import EnergyConfig
from fieldsight.systems.energy.drawing import joules
from fieldsight.systems.energy.estimate import changed, resolve, terms
from fieldsight.systems.energy.networks import Network
from fieldsight.systems.energy.options import SweepOptions

#: Words for what the columns of a table are.
_OVER = {"scale": "{part} energy x", "context": "context", "bits": "bits of a weight", "format": "format"}


@dataclass(frozen=True)
class EnergySweep(Prediction):
    """The energies of one network over batches and one other quantity.

    Attributes:
        name: the network.
        title: what moved.
        labels: of the columns.
        batches: of the rows.
        parts: J by part, for every batch and column.
        base: J of batch 1 with nothing scaled, which the table is normalised to.
        facts: how it was computed.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    batches: tuple[int, ...]
    parts: tuple[tuple[Mapping[str, float], ...], ...]
    base: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    def parts_shown(self) -> list[str]:
        """Parts that are somewhere above zero, in the order of the paper's tables."""
        order = ("activation", "mac", "weight", "kv")
        return [p for p in order if any(one[p] for row in self.parts for one in row)]

    def table(self) -> Table:
        """The shape of Table 2: a row for each batch and part, a column for each step, batch 1 unscaled = 1."""
        rows = []
        scale = self.base or 1.0
        for batch, line in zip(self.batches, self.parts, strict=True):
            for part in (*self.parts_shown(), "total"):
                values = [sum(one.values()) if part == "total" else one[part] for one in line]
                cells = dict(zip(self.labels, (v / scale for v in values), strict=True))
                rows.append({"batch": batch, "part": part, **cells})
        columns = {"batch": "", "part": "", **dict.fromkeys(self.labels, "")}
        return Table(columns, rows, f"{self.name}, {self.title}; unscaled batch 1 = 1 ({joules(self.base)})")

    def long(self) -> Table:
        """One row for each batch, column and part, in J."""
        rows = [
            {"batch": batch, "step": label, **{p: one[p] for p in PARTS}, "total": sum(one.values()),
             "per sample": sum(one.values()) / batch}
            for batch, line in zip(self.batches, self.parts, strict=True)
            for label, one in zip(self.labels, line, strict=True)
        ]  # fmt: skip
        columns = {"batch": "", "step": "", **dict.fromkeys((*PARTS, "total", "per sample"), "J")}
        return Table(columns, rows, f"{self.name}, {self.title}")

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """The two tables."""
        facts = {k: v for k, v in self.facts.items() if isinstance(v, (str, int, float))}
        return {"unscaled batch 1": joules(self.base), **facts}, (self.table(), self.long())

    def to_dict(self) -> dict[str, Any]:
        """The table, the J behind it and how they were computed."""
        return {
            "name": self.name,
            "title": self.title,
            "base_j": self.base,
            **self.facts,
            "normalised": self.table().to_dict()["rows"],
            "joules": self.long().to_dict()["rows"],
        }

    def to_markdown(self) -> str:
        """The table of normalised energies."""
        table = self.table()
        head = list(table.columns)
        lines = [f"**{table.title}**", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for row in table.rows:
            cells = [f"{row[c]:.5g}" if isinstance(row[c], float) else str(row[c]) for c in head]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def lines(self) -> list[str]:
        """The table as text."""
        table = self.table()
        head = f"{'batch':>6}  {'part':10}" + "".join(f"{label:>11}" for label in self.labels)
        lines = [table.title, head]
        for row in table.rows:
            cells = "".join(f"{row[label]:>11.5g}" for label in self.labels)
            lines.append(f"{row['batch']:>6}  {row['part']:10}{cells}")
        return lines

    def figure(self) -> Any:
        """The figure of the paper's kind."""
        from fieldsight.systems.energy.plots import sweep_figure

        scale = self.base or 1.0
        heights = [{p: [one[p] / scale for one in line] for p in PARTS} for line in self.parts]
        return sweep_figure(self.name, self.title, self.batches, self.labels, heights)

    def draw(self) -> Picture:
        """Stacked bars, a panel for each batch, as in Figures 5 to 9."""
        from fieldsight.report.plots import pixels

        return pixels(self.figure())

    def save(self, folder: str | Path, stem: str | Path = "") -> list[Path]:
        """Write CSV (normalised), CSV (J), JSON, Markdown, and the plot as PNG and SVG."""
        from fieldsight.data.images import write_image
        from fieldsight.report.plots import pixels, svg

        base = Path(folder) / (stem or f"{safe_name(self.name)}_sweep")
        drawn = self.figure()

        def at(ending: str) -> Path:
            return base.with_name(f"{base.name}{ending}")

        return [
            write_text(at(".csv"), self.table().to_csv()),
            write_text(at("_joules.csv"), self.long().to_csv()),
            write_json(at(".json"), self.to_dict()),
            write_text(at(".md"), self.to_markdown()),
            write_image(at(".png"), pixels(drawn)),
            write_text(at(".svg"), svg(drawn)),
        ]


@dataclass(frozen=True)
class Several:
    """What a verb gave for several networks; those that could not be used are named in ``results``."""

    results: predicting.Results

    @property
    def predictions(self) -> list[Prediction]:
        """Without the skipped inputs."""
        return self.results.predictions

    @property
    def exit_code(self) -> int:
        """0, or the code for bad data when an input was skipped."""
        return self.results.exit_code

    @property
    def skipped(self) -> list[predicting.Outcome]:
        """Inputs that could not be used."""
        return self.results.skipped

    def __len__(self) -> int:
        return len(self.results)

    def to_dict(self) -> dict[str, Any]:
        """A list of summaries."""
        return self.results.to_dict()

    def lines(self) -> list[str]:
        """One after the other."""
        return [line for p in self.predictions for line in (*p.lines(), "")]

    def save(self, folder: str | Path) -> list[Path]:
        """Write each under its own name."""
        return [path for p in self.predictions for path in p.save(folder)]


def sweep(model: Model, inputs: Any, options: SweepOptions, strict: bool) -> Any:
    """Sweep one network, or several one after the other.

    Raises:
        DataError: the single input is bad; with ``strict`` the first bad one; a sweep over contexts of what has none.
    """
    inputs = networks.config_of(inputs)
    found = predicting.predict(model, inputs, options, None, strict, {}, lambda network, o: sweep_one(network, o))
    return Several(found) if isinstance(found, predicting.Results) else found


def sweep_one(network: Network, options: SweepOptions) -> EnergySweep:
    """The sweep of one network.

    Raises:
        DataError: contexts for a network without one.
    """
    hardware, _ = resolve(network, options)
    plain = {**terms(network, options), "scale": None}
    convention = options.convention
    base = energy(network.counts, hardware, 1, convention=convention, **plain).total
    steps = _steps(network, options)
    rows = []
    for batch in options.batches:
        line = []
        for at, settings in steps.values():
            profile, _ = resolve(at, settings)
            one = energy(at.counts, profile, batch, convention=convention, **terms(at, settings))
            line.append(one.parts)
        rows.append(tuple(line))
    title = _OVER[options.over].format(part=options.part)
    facts = {
        "over": options.over,
        "part": options.part if options.over == "scale" else None,
        "unit": network.counts.unit,
        "hardware": hardware.name,
        "convention": convention,
        "settings": changed(options),
    }
    return EnergySweep(network.name, title, tuple(steps), tuple(options.batches), tuple(rows), base, facts)


def _steps(network: Network, options: SweepOptions) -> dict[str, tuple[Network, SweepOptions]]:
    """Column labels to the network and the settings of that column."""
    if options.over == "scale":
        own = options.scale[options.part]
        return {
            fraction(f): (network, options.replace(**{f"scale_{options.part}": f * own}))
            for f in _unique(options.factors)
        }
    if options.over == "bits":
        return {f"{b:g}": (network, options.replace(w_bits=b)) for b in _unique(options.bits)}
    if options.over == "format":
        return {p: (network, options.replace(precision=p)) for p in _unique(options.formats)}
    if network.decoder is None:
        raise DataError(f"'{network.name}' has no context to sweep over: that needs a language model in closed form.")
    return {f"{c}": (_at(network, c, options), options.replace(context=c)) for c in _unique(options.contexts)}


def _at(network: Network, context: int, options: EnergyConfig) -> Network:
    """The language model at another context; its shape is changed already."""
    assert network.decoder is not None
    plain = EnergyConfig(context=context, phase=options.phase)
    return networks.read(network.decoder, plain)


def _unique(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def fraction(value: float) -> str:
    """``1/16`` where a factor is one over a whole number, else its digits."""
    near = Fraction(value).limit_denominator(1024)
    exact = abs(float(near) - value) < 1e-12
    return str(near) if exact and near.numerator == 1 else f"{value:g}"
