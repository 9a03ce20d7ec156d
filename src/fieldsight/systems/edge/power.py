"""Power and energy are the core's, :mod:`fieldsight.power`; their names as this system uses them."""

from __future__ import annotations

from fieldsight.power.report import EnergyReport, energy, not_measured
from fieldsight.power.sampler import Sampler, Trace, idle_watts
from fieldsight.power.sensors import Sensor, Synthetic, find_sensor

__all__ = [
    "EnergyReport", "Sampler", "Sensor", "Synthetic", "Trace", "energy", "find_sensor", "idle_watts", "not_measured",
]  # fmt: skip
