"""Wall time and, where the host lets one read it, joules; always with the method by name.

A meter counts what its sensor sees (a CPU package, a whole GPU, a board), idle power included. Where nothing can be
read, the result says so and why; nothing is ever estimated in its place.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fieldsight.errors import ConfigError, DataError
from fieldsight.power.sampler import Sampler
from fieldsight.power.sensors import find_sensor
from fieldsight.profile.counts import Counts
from fieldsight.profile.transformer import gpt


@dataclass(frozen=True)
class Measured:
    """What one repeated call took.

    Attributes:
        seconds: median wall time of a call.
        spread: 25 % and 75 % quantiles in s.
        calls: how many were timed.
        joules: energy of a call, None where no meter could be read.
        method: which meter, or why none.
    """

    seconds: float
    spread: tuple[float, float]
    calls: int
    joules: float | None
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values in s and J."""
        return {"seconds": self.seconds, "spread": list(self.spread), "calls": self.calls, "joules": self.joules,
                "method": self.method}  # fmt: skip


class PowerMeter(Protocol):
    """Something that says how many joules passed."""

    name: str

    def start(self) -> None:
        """Begin."""

    def stop(self) -> float:
        """Joules since :meth:`start`."""


def measure(call: Callable[[], Any], budget: float = 2.0, warmup: int = 2, meter: PowerMeter | None = None) -> Measured:
    """Time a call, and read the host's meter around the calls together.

    Args:
        call: what to run; it must have finished when it returns.
        budget: seconds to spend on timed calls; at least three are made.
        warmup: calls before the clock starts.
        meter: in place of the first one that :func:`find_meter` can read.

    Raises:
        ConfigError: budget or warm-up below 0.
    """
    if budget < 0 or warmup < 0:
        raise ConfigError(f"budget and warmup must be >= 0, got {budget} and {warmup}.")
    for _ in range(warmup):
        call()
    found, why = (meter, "") if meter is not None else find_meter()
    if found is not None:
        try:
            found.start()
        except DataError as error:
            found, why = None, str(error)
    times: list[float] = []
    joules: float | None = None
    try:
        end = time.perf_counter() + budget
        while len(times) < 3 or time.perf_counter() < end:
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
    finally:
        if found is not None:
            try:
                joules = found.stop()
            except DataError as error:  # the time stands without it
                found, why = None, str(error)
    low, middle, high = (float(q) for q in np.quantile(times, [0.25, 0.5, 0.75]))
    method = found.name if found is not None else f"not measured: {why}"
    return Measured(middle, (low, high), len(times), None if joules is None else joules / len(times), method)


def find_meter(root: Path = Path("/")) -> tuple[PowerMeter | None, str]:
    """The first meter that can be read, or None with the reasons; see :func:`fieldsight.power.sensors.find_sensor`.

    Of several GPU boards it is their sum.
    """
    sensor, why = find_sensor(root, gpu=None)
    if sensor is None:
        return None, why
    sensor.close()
    return _SensorMeter(sensor.name, root), ""


class _SensorMeter:
    """The first sensor that can be read; it is open, a command perhaps, between start and stop only."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self._root = name, root

    def start(self) -> None:
        """Read it until :meth:`stop`; DataError where it is gone."""
        self._sensor, why = find_sensor(self._root, gpu=None)
        if self._sensor is None:
            raise DataError(f"There was a sensor and is none any more: {why}.")
        self.name = self._sensor.name
        self._sampler = Sampler(self._sensor).start()

    def stop(self) -> float:
        """Joules since then; DataError where it fell silent."""
        assert self._sensor is not None
        try:
            self._sampler.stop()
        finally:
            self._sensor.close()
        return self._sampler.trace().joules


# ---------------------------------------------------------------------------------- this machine's roof


@dataclass(frozen=True)
class Roof:
    """What this machine can do with the threads that torch has.

    Attributes:
        copy_gb_s: GB/s of copying a large array, reads and writes counted (STREAM's copy).
        gemm_gflop_s: GFLOP/s of a large float32 matrix product.
        conv_gflop_s: GFLOP/s of a 3 x 3 convolution, which another library computes and may be faster.
        threads: torch's threads.
        cache_bytes: size of the last-level cache, 0 where it is not told.
    """

    copy_gb_s: float
    gemm_gflop_s: float
    conv_gflop_s: float
    threads: int
    cache_bytes: int

    @property
    def peak_gflop_s(self) -> float:
        """The better of the two, for a roofline."""
        return max(self.gemm_gflop_s, self.conv_gflop_s)


def roof(megabytes: int = 256, size: int = 1024, budget: float = 0.5) -> Roof:
    """Measure bandwidth and peak.

    Args:
        megabytes: of the array copied; several times the last-level cache.
        size: of the square matrices.
        budget: seconds for each of the three.

    Raises:
        ConfigError: sizes below 1.
    """
    import torch

    if megabytes < 1 or size < 1:
        raise ConfigError(f"megabytes and size must be >= 1, got {megabytes} and {size}.")
    source = torch.ones(megabytes * 250_000)
    target = torch.empty_like(source)
    a, b, c = torch.ones(size, size), torch.ones(size, size), torch.empty(size, size)
    copied = measure(lambda: target.copy_(source), budget, meter=_NO_METER)
    multiplied = measure(lambda: torch.mm(a, b, out=c), budget, meter=_NO_METER)
    image, kernel = torch.ones(1, 64, size // 8 + 3, size // 8 + 3), torch.ones(64, 64, 3, 3)
    flops = 2 * 64 * 64 * 9 * (size // 8 + 1) ** 2
    with torch.inference_mode():
        convolved = measure(lambda: torch.conv2d(image, kernel), budget, meter=_NO_METER)
    return Roof(
        copy_gb_s=2 * source.numel() * 4 / copied.seconds / 1e9,
        gemm_gflop_s=2 * size**3 / multiplied.seconds / 1e9,
        conv_gflop_s=flops / convolved.seconds / 1e9,
        threads=torch.get_num_threads(),
        cache_bytes=last_level_cache(),
    )


def last_level_cache(root: Path = Path("/")) -> int:
    """Bytes of the largest cache of CPU 0, 0 where the system does not tell."""
    sizes = [0]
    for file in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            text = file.read_text().strip()
            sizes.append(
                int(text[:-1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[text[-1]] if text[-1:] in "KMG" else int(text)
            )
    return max(sizes)


class _NoMeter:
    name = "not asked for"

    def start(self) -> None:
        """Nothing."""

    def stop(self) -> float:
        """Nothing."""
        return 0.0


_NO_METER = _NoMeter()


# ------------------------------------------------------------------------------------------- regimes


@dataclass(frozen=True)
class Step:
    """One point of the regime demonstration: a model at a batch, its time, and what that is in GB/s and GFLOP/s."""

    model: str
    batch: int
    seconds: float
    weight_bytes: float
    gb_s: float
    gflop_s: float


def regime_demo(
    d: int = 1024, layers: int = 4, batches: tuple[int, ...] = (1, 2, 4, 8), context: int = 64, width: int = 64,
    budget: float = 0.5,
) -> tuple[list[Step], list[Step]]:  # fmt: skip
    """The regime effect without a power meter: a decode step of a language model against a CNN, over batches.

    While its weights are several times the last-level cache, a decode step reads them once for all sequences and takes
    hardly longer for more of them; a CNN takes twice as long for twice the images.

    Args:
        d, layers, context: of the language model (float32; 12 d^2 weights a layer).
        batches: to time.
        width: of the CNN.
        budget: seconds a point.

    Returns:
        Steps of the language model and of the CNN.
    """
    import torch

    from fieldsight.profile.torch_counts import count_module
    from fieldsight.systems.energy import toys

    shape = gpt(f"lm-{d}x{layers}", 512, context + 1, d, layers, max(d // 64, 1))
    model, net = toys.ToyLM(shape).eval(), toys.cnn(width, 5).eval()
    found: tuple[list[Step], list[Step]] = ([], [])
    with torch.inference_mode():
        for batch in batches:
            token, cache = torch.zeros(batch, 1, dtype=torch.long), model.empty_cache(batch, context)
            images = torch.zeros(batch, 3, 64, 64)
            for steps, module, inputs in ((found[0], model, (token, cache)), (found[1], net, (images,))):
                counts = count_module(module, *inputs)
                took = measure(_caller(module, inputs), budget, meter=_NO_METER)
                steps.append(_step(counts, batch, took.seconds))
    return found


def _caller(module: Callable[..., Any], inputs: tuple[Any, ...]) -> Callable[[], Any]:
    return lambda: module(*inputs)


def _step(counts: Counts, batch: int, seconds: float) -> Step:
    weights = 4.0 * counts.params
    return Step(counts.name, batch, seconds, weights, weights / seconds / 1e9, counts.flops / seconds / 1e9)


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """torch's threads for the length of a block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
