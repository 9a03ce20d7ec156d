"""Precisions of one runtime timed in turn, with power read meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from fieldsight import progress
from fieldsight.errors import DataError, ExportError, MissingExtraError
from fieldsight.power.sampler import Sampler, Trace
from fieldsight.power.sensors import Sensor
from fieldsight.systems.edge.bench_child import Job
from fieldsight.systems.edge.bench_isolated import Isolated, Measured
from fieldsight.systems.edge.bench_rows import Timing
from fieldsight.systems.edge.options_bench import EdgeBenchOptions

__all__ = ["Job", "measure"]


def measure(
    jobs: Mapping[str, Job], options: EdgeBenchOptions, sensor: Sensor | None = None, sessions: Mapping[str, Any] = {}
) -> dict[str, Timing | str]:
    """Time configurations round by round: A, B, A, B, first the network alone, then the whole loop.

    Args:
        jobs: by a name, e.g. the precision.
        options: rounds, runs, seconds, isolation.
        sensor: of power; read while the whole loop runs.
        sessions: open already, by name, for configurations in this process.

    Returns:
        By name what was measured, or why it could not be.
    """
    timings: dict[str, Timing | str] = {}
    with _threads_of(options), contextlib.ExitStack() as stack:
        live: dict[str, Isolated | Measured] = {}
        for name, job in jobs.items():
            try:
                live[name] = Isolated(job) if options.isolate else Measured(job, sessions.get(name))
                stack.callback(live[name].close)
                timings[name] = Timing()
                if options.warmup:
                    live[name].ask({"do": "call", "times": options.warmup})
            except (ExportError, MissingExtraError, DataError) as error:
                timings[name] = str(error)
        part = options.seconds / options.rounds
        for _ in progress.track(range(options.rounds), "timing"):
            for name in live:
                _asked(timings, live, name, {"do": "call", "times": options.runs})
            for name in live:
                _looped(timings, live, name, part, sensor)
        for name in live:
            _told(timings, live, name, options)
    return timings


def _asked(
    timings: dict[str, Timing | str], live: Mapping[str, Isolated | Measured], name: str, order: Mapping[str, Any]
) -> None:
    timing = timings[name]
    if isinstance(timing, Timing):
        try:
            timing.calls.append(live[name].ask(order)["seconds"])
        except ExportError as error:
            timings[name] = str(error)


def _looped(
    timings: dict[str, Timing | str], live: Mapping[str, Isolated | Measured], name: str, seconds: float,
    sensor: Sensor | None,
) -> None:  # fmt: skip
    timing = timings[name]
    if not isinstance(timing, Timing):
        return
    try:
        if sensor is None:
            timing.add_loop(live[name].ask({"do": "loop", "seconds": seconds}, seconds))
            return
        with Sampler(sensor) as sampler:
            told = live[name].ask({"do": "loop", "seconds": seconds}, seconds)
        timing.add_loop(told, _trace(sampler, timing))
    except (ExportError, DataError) as error:
        timings[name] = str(error)


def _trace(sampler: Sampler, timing: Timing) -> Trace | None:
    try:
        return sampler.trace()
    except DataError as error:
        timing.notes.append(f"power was not read: {error}")
        return None


def _told(
    timings: dict[str, Timing | str], live: Mapping[str, Isolated | Measured], name: str, options: EdgeBenchOptions
) -> None:
    """Memory, load, and the video at last, since a film's memory is none of the network's."""
    timing = timings[name]
    if not isinstance(timing, Timing):
        return
    try:
        told = live[name].ask({"do": "tell"})
        timing.load, timing.memory_mb = told["load"], told["memory_mb"] if options.isolate else None
        if timing.ipm is None:
            timing.notes.append(f"opening it takes {timing.load:.0f} s: nothing is done within the first minute")
        if timing.disturbed:
            timing.notes.append("slower alone than inside the loop: something else ran; the loop's times count")
        if options.video is not None:
            order = {"do": "video", "file": str(options.video), "most": options.video_frames}
            seen = live[name].ask(order, 3600.0)
            timing.video_fps = seen["frames"] / seen["seconds"]
            if seen["frames"] < seen["expected"]:
                timing.notes.append(f"the video ended after {seen['frames']} of {seen['expected']} pictures")
    except (ExportError, DataError) as error:
        timing.notes.append(str(error))


@contextlib.contextmanager
def _threads_of(options: EdgeBenchOptions) -> Iterator[None]:
    """In this process torch computes on so many threads meanwhile."""
    import torch

    before = torch.get_num_threads()
    try:
        if not options.isolate:
            torch.set_num_threads(options.threads)
        yield
    finally:
        torch.set_num_threads(before)
