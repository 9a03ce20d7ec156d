"""Model cards: what a model was trained on, how good it is, and what it must not be used for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Card:
    """What is known of a model; travels with its weights as ``card.json``.

    Attributes:
        title: name for people.
        system, preset: how it was made.
        data: what it was trained on, in a sentence; drawn data is called drawn.
        command, commit, date: the exact way to make it again.
        metrics: name to value, on ``measured_on``.
        protocols: name to unit and protocol line.
        measured_on: held-out data of the metrics.
        parameters: number of weights.
        energy: parameters, MACs and microjoules per input under a named hardware profile.
        limits: what it does not do well.
        notice: a warning that goes with every result.
        licence: licence of the weights.
        versions: software it was made with.
        fingerprint: hash of the weights.
    """

    title: str
    system: str
    preset: str = ""
    data: str = ""
    command: str = ""
    commit: str = ""
    date: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)
    measured_on: str = ""
    parameters: int = 0
    energy: str = ""
    limits: tuple[str, ...] = ()
    notice: str = ""
    licence: str = "Apache-2.0"
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dataclasses.asdict(self)
        values["limits"] = list(self.limits)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Card:
        """Rebuild from :meth:`to_dict`; fields of a newer version are ignored."""
        known = {f.name for f in dataclasses.fields(cls)}
        plain = {k: v for k, v in values.items() if k in known}
        plain["limits"] = tuple(plain.get("limits", ()))
        return cls(**plain)

    def line(self) -> str:
        """One line for the terminal: name, data, notice."""
        parts = [self.title, f"Trained on {self.data}" if self.data else "", self.notice]
        return ". ".join(p.rstrip(".") for p in parts if p)

    def to_markdown(self) -> str:
        """The card as a page."""
        lines = [f"# {self.title}", ""]
        if self.notice:
            lines += [f"> **{self.notice}**", ""]
        facts = {
            "System": self.system,
            "Preset": self.preset,
            "Trained on": self.data,
            "Weights": f"{self.parameters:,} parameters, {self.licence}",
            "Energy": self.energy,
            "Command": f"`{self.command}`" if self.command else "",
            "Commit": self.commit,
            "Date": self.date,
        }
        lines += [f"- **{name}**: {value}" for name, value in facts.items() if value]
        if self.metrics:
            lines += ["", f"## Measured on {self.measured_on}", "", "| metric | value | protocol |", "|---|---|---|"]
            for name, value in self.metrics.items():
                shown = "–" if value is None else f"{value:.4g}"
                lines.append(f"| {name} | {shown} | {self.protocols.get(name, '')} |")
        if self.limits:
            lines += ["", "## Limits", "", *(f"- {limit}" for limit in self.limits)]
        return "\n".join(lines) + "\n"
