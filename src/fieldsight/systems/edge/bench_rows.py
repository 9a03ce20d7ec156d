"""From times, joules and boxes to the rows of the benchmark's table (metrics M1 to M4 of the paper's Table 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.detection.measure import LOW
from fieldsight.errors import DataError
from fieldsight.metrics.detection import AveragePrecision, compare
from fieldsight.metrics.stats import paired
from fieldsight.power.sampler import Trace
from fieldsight.systems.edge.evaluate import PAPER

#: Length of a run in the paper, in s.
MINUTE = 60.0

NOT_MEASURED = "not measured"


@dataclass
class Timing:
    """What was measured of one configuration, round by round.

    Attributes:
        calls: seconds of each call of the network alone, a list a round.
        pre, model, post: seconds of each part of each frame of the whole loop.
        seconds: of the whole loop.
        load: seconds to open the runtime and run once.
        memory_mb: largest memory of its process.
        joules, power_seconds: energy and time while power was read; 0 without a sensor.
        video_fps: frames a second from a video file to boxes.
        notes: what is wrong.
    """

    calls: list[list[float]] = field(default_factory=list)
    pre: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)
    post: list[float] = field(default_factory=list)
    seconds: float = 0.0
    load: float = 0.0
    memory_mb: float | None = None
    joules: float = 0.0
    power_seconds: float = 0.0
    video_fps: float | None = None
    notes: list[str] = field(default_factory=list)

    def add_loop(self, told: dict[str, Any], trace: Trace | None = None) -> None:
        """Take in a part of the whole loop, with the power read meanwhile."""
        for name in ("pre", "model", "post"):
            getattr(self, name).extend(told[name])
        self.seconds += told["seconds"]
        if trace is not None:
            self.joules, self.power_seconds = self.joules + trace.joules, self.power_seconds + trace.length

    @property
    def frames(self) -> int:
        """Frames of the whole loop."""
        return len(self.model)

    @property
    def ipm(self) -> float | None:
        """Inferences in 60 s, whole loop (M2): what is left of a minute after opening, at the speed measured."""
        left = MINUTE - self.load
        return left * self.frames / self.seconds if self.frames and left > 0 else None

    @property
    def latencies(self) -> NDArray[np.float64]:
        """``(N,)`` seconds of the network alone.

        It was timed twice, alone and inside the loop; the quicker of the two means counts, for what made the other one
        slower was something else. So IPM / 60 can never exceed MIS.
        """
        alone = np.array([s for part in self.calls for s in part], np.float64)
        inside = np.array(self.model, np.float64)
        if not alone.size or (inside.size and inside.mean() < alone.mean()):
            return inside
        return alone

    @property
    def disturbed(self) -> bool:
        """The network took longer alone than inside the loop, by more than a tenth."""
        alone = [s for part in self.calls for s in part]
        return bool(alone and self.model) and float(np.mean(self.model)) < 0.9 * float(np.mean(alone))


def speed_cells(timing: Timing) -> dict[str, Any]:
    """Cells of speed: M1, M2, latency, the loop's parts."""
    taken = timing.latencies
    p50, p95, p99 = (1e3 * float(np.percentile(taken, p)) for p in (50, 95, 99))
    parts = {f"{n}_ms": 1e3 * float(np.mean(v)) for n in ("pre", "model", "post") if (v := getattr(timing, n))}
    return {
        "mis_fps": 1 / float(taken.mean()),
        "ipm": timing.ipm,
        "latency_ms": 1e3 * float(taken.mean()),
        "latency_sd_ms": 1e3 * float(taken.std(ddof=1)) if taken.size > 1 else None,
        "p50_ms": p50, "p95_ms": p95, "p99_ms": p99,
        **parts,
        "load_s": timing.load,
        "memory_mb": timing.memory_mb,
        "video_fps": timing.video_fps,
    }  # fmt: skip


def energy_cells(timing: Timing | None, idle_w: float | None, sensor: bool) -> dict[str, Any]:
    """Cells of energy: mean power, M3 over 60 s, M4 gross and net of idle power; 'not measured' without a sensor."""
    names = ("mean_power_w", "energy_j", "epi_j", "epi_net_j")
    if timing is None:
        return {}
    if not sensor or timing.power_seconds <= 0:
        return dict.fromkeys(names, NOT_MEASURED)
    power = timing.joules / timing.power_seconds
    ipm = timing.ipm
    net = None if idle_w is None else power - idle_w
    return {
        "mean_power_w": power,
        "energy_j": power * MINUTE,
        "epi_j": epi(power, ipm),
        "epi_net_j": NOT_MEASURED if net is None else epi(net, ipm),
    }


def epi(power_w: float, ipm: float | None) -> float | None:
    """Energy of an inference in J: ``P x 60 s / IPM`` (M4)."""
    return power_w * MINUTE / ipm if ipm else None


def accuracy_cells(pool: AveragePrecision | None) -> dict[str, Any]:
    """Cells of accuracy at both settings of confidence; empty where it was not measured or nothing is true."""
    if pool is None:
        return {}
    low, high = (pool.compute(conf).numbers() for conf in (LOW, PAPER))
    cells = {
        "map50_95": low["mAP50-95"], "map50": low["mAP50"],
        "map50_95_conf50": high["mAP50-95"], "map50_conf50": high["mAP50"],
    }  # fmt: skip
    return {name: float(value) for name, value in cells.items() if math.isfinite(value)}


def against_single(
    own: Timing | None,
    single: Timing | None,
    pool: AveragePrecision | None,
    reference: AveragePrecision | None,
    draws: int,
) -> dict[str, Any]:
    """Cells that compare a precision with FP32 of the same runtime, run and threads.

    Speed by the medians of all calls, with Wilcoxon's signed-rank test over the rounds' medians, which were taken in
    turn; mAP50-95 by a paired bootstrap over pictures' groups.
    """
    cells: dict[str, Any] = {}
    if own is not None and single is not None and own.calls and single.calls:
        mine, theirs = (np.array([np.median(part) for part in t.calls]) for t in (own, single))
        cells["speedup"] = _median(single.calls) / _median(own.calls)
        count = min(len(mine), len(theirs))
        cells["speedup_p"] = paired(theirs[:count], mine[:count]).p
    if pool is not None and reference is not None:
        try:
            found = compare(reference, pool, draws=draws).difference
        except DataError:  # no true box on these pictures: nothing to lose
            return cells
        cells |= {"map_loss": 0.0 - found.value, "map_loss_low": 0.0 - found.high, "map_loss_high": 0.0 - found.low}
    return cells


def _median(calls: Sequence[Sequence[float]]) -> float:
    return float(np.median([s for part in calls for s in part]))
