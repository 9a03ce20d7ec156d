"""The card of a freshly trained model: what the run, the spec and the model themselves say, and what only it knows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fieldsight import registry
from fieldsight.report.card import Card
from fieldsight.report.energy import energy_line
from fieldsight.run import Run, command_line, commit, now, versions

if TYPE_CHECKING:
    from fieldsight.model import Model


def training_card(
    model: Model,
    run: Run | None,
    metrics: Mapping[str, float],
    *,
    title: str,
    data: str,
    measured_on: str,
    limits: Sequence[str] = (),
    energy: str | None = None,
) -> Card:
    """Fill a card.

    Args:
        model: as it was measured.
        run: the run that trained it; None takes this process's own command.
        metrics: by name; what is undefined or absent becomes None.
        title, data, measured_on, limits: see :class:`.card.Card`.
        energy: where it can't be counted; counted by default.
    """
    spec = registry.get(model.system)
    return Card(
        title=title,
        system=spec.id,
        preset=str(run.info.get("preset", "")) if run is not None else "",
        data=data,
        command=run.info["command"] if run is not None else command_line(),
        commit=commit(),
        date=now(),
        metrics={m.name: finite(metrics.get(m.name)) for m in spec.metrics},
        protocols={m.name: f"[{m.unit}] {m.protocol}" for m in spec.metrics},
        measured_on=measured_on,
        parameters=sum(p.numel() for network in model.networks.values() for p in network.parameters()),
        energy=energy_line(model) if energy is None else energy,
        limits=tuple(limits),
        notice=spec.notice,
        versions=versions(),
        fingerprint=model.fingerprint(),
    )


def finite(value: float | None) -> float | None:
    """A number for a card, rounded; None where it is undefined."""
    return None if value is None or not math.isfinite(value) else round(float(value), 5)
