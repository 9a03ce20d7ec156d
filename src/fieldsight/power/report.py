"""Energy of an inference, gross and net of idle power, as a report that says how it was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fieldsight.errors import ConfigError
from fieldsight.power.sampler import LEAST_HZ, Trace
from fieldsight.predictions import Table


@dataclass(frozen=True)
class EnergyReport:
    """What was measured; None throughout where there was no sensor.

    Attributes:
        method: the sensor, or why nothing was measured.
        inferences: done in that time.
        seconds, samples, hz: how long and how often the sensor was read.
        idle_w: power while nothing runs.
        mean_power_w: mean power, idle power included.
        gross_j, net_j: energy with idle power, and without (M3).
        epi_j, net_epi_j: the same for one inference (M4).
        warnings: what makes the numbers doubtful.
    """

    method: str
    inferences: int
    seconds: float | None = None
    samples: int = 0
    hz: float | None = None
    idle_w: float | None = None
    mean_power_w: float | None = None
    gross_j: float | None = None
    net_j: float | None = None
    epi_j: float | None = None
    net_epi_j: float | None = None
    warnings: tuple[str, ...] = ()

    def table(self) -> Table:
        """One row; 'not measured' where it was not."""
        units = {"seconds": "s", "hz": "1/s", "idle_w": "W", "mean_power_w": "W", "gross_j": "J", "net_j": "J",
                 "epi_j": "J", "net_epi_j": "J"}  # fmt: skip
        row: dict[str, Any] = {k: "not measured" if getattr(self, k) is None else getattr(self, k) for k in units}
        row |= {"inferences": self.inferences, "method": self.method, "warnings": "; ".join(self.warnings)}
        return Table({k: units.get(k, "") for k in row}, [row], "Energy")


def not_measured(reason: str, inferences: int = 0) -> EnergyReport:
    """The report of a machine without a sensor; nothing is guessed."""
    return EnergyReport(f"not measured: {reason}", inferences)


def energy(trace: Trace, inferences: int, idle_w: float | None = None) -> EnergyReport:
    """Joules of a trace, gross and net of idle power, and of one inference.

    Raises:
        ConfigError: a number of inferences below 0, or an idle power that is none.
    """
    if inferences < 0 or (idle_w is not None and not (math.isfinite(idle_w) and idle_w >= 0)):
        raise ConfigError(f"inferences and idle_w must be >= 0, got {inferences} and {idle_w}.")
    net = None if idle_w is None else trace.joules - idle_w * trace.length
    slow, below = trace.hz < 0.9 * LEAST_HZ, net is not None and net < 0
    warnings = [f"read {trace.hz:.1f} times a second only, 10 are wanted"] if slow else []
    warnings += ["less power than idle: the idle time was not idle"] if below else []
    warnings += [f"{trace.missed} readings failed"] if trace.missed else []
    each, net_each = ((j / inferences if j is not None and inferences else None) for j in (trace.joules, net))
    return EnergyReport(
        trace.method, inferences, trace.length, len(trace.seconds), trace.hz, idle_w, trace.joules / trace.length,
        trace.joules, net, each, net_each, tuple(warnings),
    )  # fmt: skip
