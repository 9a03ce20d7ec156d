"""The loop drone -> link -> computer -> link, event by event: latency, throughput, drops and energy without hardware.

Two ways of asking. In the *closed* loop of the paper the next frame is sent when the answer is back, so that the
throughput is 1 / mean RTT (M5, M6). In the *open* loop a camera gives ``fps`` frames a second whatever happens; short
queues before the link and before the computer hold what waits, and a full queue drops its oldest frame.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fieldsight.config import Config, setting
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError
from fieldsight.predictions import Table
from fieldsight.systems.edge import profiles
from fieldsight.systems.edge.network import Network, Payload, PayloadName, Times, payload, wire_ms
from fieldsight.systems.edge.profiles import Device

_END = math.inf


@dataclass(frozen=True)
class LoopConfig(Config):
    """How frames go round."""

    frames: int = setting(3000, "frames that the camera gives", ge=1, le=1_000_000)
    fps: float | None = setting(
        None, "frames a second of the camera; none: the next one when the answer is back", gt=0, le=100_000
    )
    queue: int = setting(1, "frames that may wait before the link, and before the computer", ge=0, le=100_000)
    drop: Literal["oldest", "newest"] = setting("oldest", "which frame a full queue drops")
    workers: int = setting(1, "frames computed at the same time", ge=1, le=1024)
    pipelined: bool = setting(False, "overhead of one frame runs beside the model of the next")
    payload: PayloadName = setting("jpeg", "what is sent for a frame; matters where the network has a bandwidth")
    timeout: float = setting(1000.0, "wait for a lost frame in the closed loop", unit="ms", gt=0, le=1e9)
    seed: int = setting(0, "seed of delays and service times", ge=0)


@dataclass(frozen=True)
class Simulated:
    """What came of one loop.

    Attributes:
        name: for tables.
        rtt_ms: ``(N,)`` float64, from capture to the answer, of every frame that was answered.
        sent: frames that the camera gave.
        dropped: frames that a full queue threw away.
        lost: frames or answers that the network lost.
        seconds: from the first capture to the last answer.
        busy: share of that time in which a worker computed.
        energy_j: of the device over that time; None where its power was not measured.
        energy_method: how that was counted.
    """

    name: str
    rtt_ms: Times
    sent: int
    dropped: int
    lost: int
    seconds: float
    busy: float
    energy_j: float | None
    energy_method: str

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.rtt_ms) / self.seconds if self.seconds > 0 else 0.0

    @property
    def energy_per_frame_j(self) -> float | None:
        """Energy of an answered frame in J."""
        return None if self.energy_j is None or not len(self.rtt_ms) else self.energy_j / len(self.rtt_ms)

    def row(self) -> dict[str, Any]:
        """One row of :data:`COLUMNS`; times are None where no frame was answered."""
        found = len(self.rtt_ms) > 0
        quantiles = np.quantile(self.rtt_ms, (0.5, 0.95, 0.99)) if found else (None,) * 3
        return {
            "configuration": self.name,
            "rtt_mean": float(self.rtt_ms.mean()) if found else None,
            "rtt_sd": float(self.rtt_ms.std()) if found else None,
            **{f"rtt_p{q}": None if v is None else float(v) for q, v in zip((50, 95, 99), quantiles, strict=True)},
            "throughput": self.throughput,
            "sent": self.sent,
            "answered": len(self.rtt_ms),
            "dropped": self.dropped,
            "lost": self.lost,
            "busy": self.busy,
            "energy_per_frame": self.energy_per_frame_j,
        }


#: Columns of simulated loops with their units.
COLUMNS = {
    "configuration": "", "rtt_mean": "ms", "rtt_sd": "ms", "rtt_p50": "ms", "rtt_p95": "ms", "rtt_p99": "ms",
    "throughput": "1/s", "sent": "", "answered": "", "dropped": "", "lost": "", "busy": "", "energy_per_frame": "J",
}  # fmt: skip


def simulate(
    device: Device, network: Network, loop: LoopConfig | None = None, sent: Payload | None = None, name: str = ""
) -> Simulated:
    """Run frames through the loop.

    Args:
        device: the computer.
        network: the link to it.
        loop: how frames go round.
        sent: the payload, in place of the one that ``loop`` names.
        name: for tables; the device and the network where it is left out.
    """
    run = _Run(device, network, loop or LoopConfig(), sent)
    run.go()
    return run.result(name or f"{device.name}, {network.name}")


class _Run:
    """The state of a simulation: what waits where, and what happens next."""

    def __init__(self, device: Device, network: Network, loop: LoopConfig, sent: Payload | None) -> None:
        self.device, self.loop, n = device, loop, loop.frames
        what = sent or payload(loop.payload)
        # chance is drawn frame by frame under a label each, so that two devices meet the same network
        chance = {
            k: rng_for("edge", "loop", loop.seed, k)
            for k in ("service", "overhead", "size", "up", "down", "lost", "back")
        }
        self.service = device.service.draw(chance["service"], n)
        self.overhead = device.overhead.draw(chance["overhead"], n)
        sizes = what.draw(chance["size"], n)
        self.wire = sizes * (8e-3 / network.up_mbit_s) if network.up_mbit_s else np.zeros(n)
        self.up = network.up.draw(chance["up"], n) + network.retries(chance["lost"], n)
        self.down = network.down.draw(chance["down"], n) + network.retries(chance["back"], n)
        self.down += wire_ms(what.answer, network.down_mbit_s)
        self.started, self.ended = np.full(n, np.nan), np.full(n, np.nan)
        self.waiting: dict[str, deque[int]] = {"link": deque(), "device": deque()}
        self.on_wire, self.at_work, self.dropped, self.lost, self.busy = 0, 0, 0, 0, 0.0
        self.in_order, self.back_in_order = 0.0, 0.0  # messages of one connection do not overtake each other
        self.events: list[tuple[float, int, Callable[[float, int], None], int]] = []
        self.count = 0

    def go(self) -> None:
        """Until nothing is left to happen."""
        self.at(0.0, self.capture, 0)
        while self.events:
            now, _, handle, frame = heapq.heappop(self.events)
            handle(now, frame)

    def at(self, when: float, handle: Callable[[float, int], None], frame: int) -> None:
        """Have something happen; of two things at one time the one that was planned first."""
        self.count += 1
        heapq.heappush(self.events, (when, self.count, handle, frame))

    def follow(self, now: float, frame: int) -> None:
        """The next frame of the closed loop."""
        if self.loop.fps is None and frame + 1 < self.loop.frames:
            self.at(now, self.capture, frame + 1)

    def capture(self, now: float, frame: int) -> None:
        """A frame leaves the camera."""
        self.started[frame] = now
        if self.loop.fps is not None and frame + 1 < self.loop.frames:
            self.at((frame + 1) * 1000.0 / self.loop.fps, self.capture, frame + 1)
        if self.on_wire < 1:
            self.transmit(now, frame)
        else:
            self.wait("link", now, frame)

    def wait(self, where: str, now: float, frame: int) -> None:
        """Queue up; a full queue drops a frame."""
        line = self.waiting[where]
        if len(line) < self.loop.queue:
            line.append(frame)
            return
        self.dropped += 1
        gone = frame
        if line and self.loop.drop == "oldest":
            gone = line.popleft()
            line.append(frame)
        self.follow(now, gone)

    def transmit(self, now: float, frame: int) -> None:
        """The link takes a frame."""
        self.on_wire += 1
        self.at(now + self.wire[frame], self.transmitted, frame)

    def transmitted(self, now: float, frame: int) -> None:
        """A frame is on its way; the link takes the next one."""
        self.on_wire -= 1
        if self.up[frame] == _END:
            self.lose(now, frame)
        else:
            self.in_order = max(self.in_order, now + self.up[frame])
            self.at(self.in_order, self.arrive, frame)
        if self.waiting["link"]:
            self.transmit(now, self.waiting["link"].popleft())

    def lose(self, now: float, frame: int) -> None:
        """The network lost a frame or its answer; the closed loop waits in vain."""
        self.lost += 1
        self.follow(max(now, self.started[frame] + self.loop.timeout), frame)

    def arrive(self, now: float, frame: int) -> None:
        """A frame is at the computer."""
        if self.at_work < self.loop.workers:
            self.work(now, frame)
        else:
            self.wait("device", now, frame)

    def work(self, now: float, frame: int) -> None:
        """A worker takes a frame."""
        self.at_work += 1
        took = self.service[frame] + (0.0 if self.loop.pipelined else self.overhead[frame])
        self.busy += took
        self.at(now + took, self.worked, frame)

    def worked(self, now: float, frame: int) -> None:
        """A frame is computed; its worker takes the next one."""
        self.at_work -= 1
        later = self.overhead[frame] if self.loop.pipelined else 0.0
        if self.down[frame] == _END:
            self.lose(now + later, frame)
        else:
            self.back_in_order = max(self.back_in_order, now + later + self.down[frame])
            self.at(self.back_in_order, self.receive, frame)
        if self.waiting["device"]:
            self.work(now, self.waiting["device"].popleft())

    def receive(self, now: float, frame: int) -> None:
        """The answer is back."""
        self.ended[frame] = now
        self.follow(now, frame)

    def result(self, name: str) -> Simulated:
        """Sums over the run."""
        answered = ~np.isnan(self.ended)
        last = float(self.ended[answered].max()) if answered.any() else float(np.nanmax(self.started))
        seconds = last / 1000.0
        # frames that were lost after the last answer may have kept a worker busy for longer
        busy = float(min(self.busy / 1000.0 / self.loop.workers / seconds, 1.0)) if seconds > 0 else 0.0
        energy, how = energy_of(self.device, seconds, busy)
        rtt = (self.ended - self.started)[answered]
        return Simulated(name, rtt, self.loop.frames, self.dropped, self.lost, seconds, busy, energy, how)


def energy_of(device: Device, seconds: float, busy: float) -> tuple[float | None, str]:
    """Joules of a device that computes for the share ``busy`` of a time, and how they were counted."""
    if device.power_w is None:
        return None, "not measured: the device's power is not known"
    if device.idle_w is None:
        return device.power_w * seconds, "upper bound: full power all the time, since idle power is not known"
    return (
        device.idle_w + (device.power_w - device.idle_w) * busy
    ) * seconds, "idle power, and the rest while computing"


# --------------------------------------------------------------------------------------------------- the paper's tables


def table5(loop: LoopConfig | None = None) -> Table:
    """Table 5 from the timing model: profiles of Tables 4 to 6 over the local link, the printed values beside."""
    rows = []
    for device, printed in profiles.printed()["table5"].items():
        for key, values in printed.items():
            found = simulate(profiles.paper_device(device, *key.split("-")), profiles.edge_network(), loop)
            rows.append({
                **found.row(), "configuration": f"{device} + {key.replace('-', ' ')}", "rtt_printed": values[0],
                "sd_printed": values[1], "throughput_printed": values[4],
            })  # fmt: skip
    more = {"rtt_printed": "ms", "sd_printed": "ms", "throughput_printed": "1/s"}
    facts = {"note": "simulated from the paper's means; the sd of processing, lost in print, is a share of the RTT's",
             "energy": energy_of(profiles.paper_device("Orin NX", "n", "INT8"), 1.0, 1.0)[1]}  # fmt: skip
    return Table({**COLUMNS, **more}, rows, "Table 5, simulated", facts)


def table6(loop: LoopConfig | None = None) -> Table:
    """Table 6 from the timing model: s in FP16 at the edge and in the cloud, the printed values beside."""
    pairs = {
        "edge": (profiles.table6_edge(), profiles.edge_network()),
        "cloud": (profiles.table6_cloud(), profiles.cloud_network()),
    }
    printed = profiles.printed()["table6"]
    rows = [
        {**simulate(device, network, loop, name=where).row(), "rtt_printed": printed[where]["rtt"][0],
         "sd_printed": printed[where]["rtt"][1]}
        for where, (device, network) in pairs.items()
    ]  # fmt: skip
    return Table({**COLUMNS, "rtt_printed": "ms", "sd_printed": "ms"}, rows, "Table 6, simulated")


# ------------------------------------------------------------------------------------------------------ edge or cloud


def break_even_ms(edge_rtt_ms: float, cloud_processing_ms: float) -> float:
    """Communication time below which the cloud answers before the edge: 28.27 ms for Table 6.

    It holds what the link and the wire take there and back. Negative where the cloud's model alone takes longer.

    Raises:
        ConfigError: a time below 0.
    """
    if not (edge_rtt_ms >= 0 and cloud_processing_ms >= 0):
        raise ConfigError(f"Times must be >= 0 ms, got {edge_rtt_ms} and {cloud_processing_ms}.")
    return edge_rtt_ms - cloud_processing_ms


#: Network round trips of :func:`sweep`, in ms.
ROUND_TRIPS = (2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 400.0)


def sweep(
    round_trips: Sequence[float] = ROUND_TRIPS,
    edge: Device | None = None,
    cloud: Device | None = None,
    mbit_s: float | None = None,
    sent: Payload | None = None,
    spread: float = 0.205,
    loop: LoopConfig | None = None,
) -> Table:
    """Edge against cloud over the cloud's network round trip, one row each, ready to plot.

    Args:
        round_trips: without the time on the wire where ``mbit_s`` is given, else with it, in ms.
        edge: by default Table 6's; its local link takes 2.50 ms.
        cloud: by default Table 6's.
        mbit_s: bandwidth to the cloud.
        sent: what is sent for a frame, in place of what ``loop`` names.
        spread: sd of the round trip over its mean; 69.89 / 341.41 in Table 6.
        loop: how frames go round.

    Raises:
        ConfigError: no round trip, or one that is not above 0.
    """
    trips = sorted(float(t) for t in round_trips)
    if not trips or not trips[0] > 0 or not math.isfinite(trips[-1]):
        raise ConfigError(f"Network round trips must be one or more times above 0 ms, got {list(round_trips)}.")
    loop = loop or LoopConfig(frames=1000)
    here, far = edge or profiles.table6_edge(), cloud or profiles.table6_cloud()
    link, what = profiles.edge_network(), sent or payload(loop.payload)
    near = simulate(here, link, loop, what).row()
    even = break_even_ms(here.mean_ms + link.mean_ms(0, 0), far.mean_ms)
    wire = wire_ms(what.mean, mbit_s) + wire_ms(what.answer, mbit_s)
    rows = []
    for trip in trips:
        found = simulate(far, Network.round_trip("cloud", trip, spread * trip, mbit_s), loop, what).row()
        rows.append({
            "network_rtt": trip, "communication": trip + wire, "edge_rtt": near["rtt_mean"],
            "edge_p95": near["rtt_p95"], "cloud_rtt": found["rtt_mean"], "cloud_p95": found["rtt_p95"],
            "edge_throughput": near["throughput"], "cloud_throughput": found["throughput"],
            "faster": _faster(trip + wire < even if loop.fps is None else None, near["rtt_mean"], found["rtt_mean"]),
        })  # fmt: skip
    units = {"edge_throughput": "1/s", "cloud_throughput": "1/s", "faster": ""}
    facts = {
        "break_even_ms": even,
        "payload": what.name,
        "wire_ms": wire,
        "loop": "closed" if loop.fps is None else "open",
    }
    return Table({k: units.get(k, "ms") for k in rows[0]}, rows, "Edge against cloud", facts)


def _faster(cloud: bool | None, edge_ms: float | None, cloud_ms: float | None) -> str:
    """By the means of the closed loop, where they are exact; else by what was simulated."""
    if cloud is None:
        cloud = (math.inf if cloud_ms is None else cloud_ms) < (math.inf if edge_ms is None else edge_ms)
    return "cloud" if cloud else "edge"
