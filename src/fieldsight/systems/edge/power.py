"""Power of this machine while something runs: sensors, a sampler, joules and energy an inference; else 'not measured'.

====================== ============================================ ===========================================
sensor                 reads                                        sees
====================== ============================================ ===========================================
:class:`Rapl`          ``/sys/class/powercap/intel-rapl:*``         CPU packages, and DRAM where it is counted
:class:`Streamed`      ``tegrastats``, ``nvidia-smi``               a whole Jetson module; one GPU board
:class:`Pmic`          ``vcgencmd pmic_read_adc``                   12 rails of a Raspberry Pi 5, less than the wall
:class:`Synthetic`     a function of time                           nothing: for tests and demonstrations
====================== ============================================ ===========================================

Parsers take text of any kind and raise DataError only.
"""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldsight.errors import ConfigError, DataError
from fieldsight.predictions import Table

#: The least rate that a brief inference needs, in samples a second.
LEAST_HZ = 10.0

#: Rails of the Raspberry Pi 5's power chip that have both a current and a voltage.
PMIC_RAILS = ("3V7_WL_SW", "3V3_SYS", "1V8_SYS", "DDR_VDD2", "DDR_VDDQ", "1V1_SYS", "0V8_SW", "VDD_CORE", "3V3_DAC",
              "3V3_ADC", "0V8_AON", "HDMI")  # fmt: skip

#: Wall power over the sum of the rails of a Raspberry Pi 5, a public fit: slope, and offset in W.
PMIC_FIT = (1.1451, 0.5879)

_MOST_TEXT = 1_000_000
_RAIL = re.compile(r"(?<![\w/.])([A-Z][A-Z0-9_]{1,40}) (\d{1,7})(?:mW)?/(\d{1,7})(?:mW)?(?![\w/.%])")
_ADC = re.compile(
    r"^[ \t]*(\w{1,40})_([AV]) (?:current|volt)\(\d{1,3}\)=(\d{1,6}(?:\.\d{1,12})?)([AV])[ \t\r]*$",
    re.MULTILINE | re.ASCII,
)
_WATTS = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)(?: ?W)?", re.ASCII)

#: Rails of tegrastats that are the whole input of a module, and rails that another one feeds.
_INPUTS = ("VDD_IN", "POM_5V_IN")
_FED = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}


# ---------------------------------------------------------------------------------------------------------- parsers


def tegrastats_rails(text: str) -> dict[str, float]:
    """Power of each rail in W, from the last line of ``tegrastats`` that has any; the first number is that of now.

    Lines read ``... VDD_IN 4744mW/4744mW VDD_CPU_GPU_CV 559mW/559mW VDD_SOC 1440mW/1440mW``; older ones have no mW.

    Raises:
        DataError: no rail at all.
    """
    for line in (one for one in reversed(_text(text, "tegrastats").splitlines()) if "/" in one):
        # memory reads "RAM 3013/7620MB", which the unit tells from a rail; "SWAP 0/0" of old versions has none
        found = {
            name: int(now) / 1000.0 for name, now, _ in _RAIL.findall(line) if name not in ("RAM", "SWAP", "IRAM", "NC")
        }
        if found:
            return found
    raise DataError(
        "No power rail in this output of tegrastats. Run it as root on a Jetson; VDD_IN or the like must show."
    )


def tegrastats_watts(text: str) -> float:
    """Power of the module in W: VDD_IN (POM_5V_IN on old boards), else the sum of rails that do not feed each other.

    Raises:
        DataError: no rail at all.
    """
    rails = tegrastats_rails(text)
    for name in _INPUTS:
        if name in rails:
            return rails[name]
    return sum(watts for name, watts in rails.items() if _FED.get(name) not in rails)


def pmic_rails(text: str) -> dict[str, float]:
    """Power of the 12 rails in W, volts times amperes, from ``vcgencmd pmic_read_adc``.

    Raises:
        DataError: a rail is missing, has one of its two values only, or is there twice.
    """
    values: dict[tuple[str, str], float] = {}
    for name, kind, number, unit in _ADC.findall(_text(text, "vcgencmd pmic_read_adc")):
        if kind != unit or (name, kind) in values:
            raise DataError(
                f"pmic_read_adc: the {'current' if kind == 'A' else 'voltage'} of {name} is there twice or in {unit}."
            )
        values[name, kind] = float(number)
    missing = [r for r in PMIC_RAILS if (r, "A") not in values or (r, "V") not in values]
    if missing:
        raise DataError(f"pmic_read_adc: no current and voltage of {', '.join(missing)}. It needs a Raspberry Pi 5.")
    return {rail: values[rail, "A"] * values[rail, "V"] for rail in PMIC_RAILS}


def pmic_watts(text: str, corrected: bool = False) -> float:
    """Sum of the 12 rails in W; ``corrected`` gives the wall's power by a public fit, 1.1451 P + 0.5879 W.

    Raises:
        DataError: as :func:`pmic_rails`.
    """
    total = sum(pmic_rails(text).values())
    return PMIC_FIT[0] * total + PMIC_FIT[1] if corrected else total


def nvidia_smi_watts(text: str) -> list[float]:
    """Power of each GPU in W from ``nvidia-smi --query-gpu=power.draw --format=csv[,noheader][,nounits]``.

    Raises:
        DataError: no GPU, or one that does not tell its power.
    """
    lines = [line.strip() for line in _text(text, "nvidia-smi").splitlines() if line.strip()]
    lines = lines[1:] if lines and lines[0].startswith("power.draw") else lines
    if not lines:
        raise DataError("nvidia-smi named no GPU.")
    found = [_WATTS.fullmatch(line) for line in lines]
    for line, match in zip(lines, found, strict=True):
        if match is None:
            raise DataError(
                f"nvidia-smi tells no power: {line[:60]!r}. '[N/A]' means that this GPU has no such sensor."
            )
    return [float(match[1]) for match in found if match]


def counted_joules(before: int, after: int, most: int) -> float:
    """Joules between two readings of a RAPL counter in microjoules, which starts again after ``most``.

    Raises:
        DataError: a reading outside 0 to ``most``, or no range.
    """
    if not (most > 0 and 0 <= before <= most and 0 <= after <= most):
        raise DataError(f"RAPL counters must lie in 0 to {most} uJ, got {before} and {after}.")
    return (after - before if after >= before else after - before + most) / 1e6


def _text(text: object, what: str) -> str:
    if not isinstance(text, str) or len(text) > _MOST_TEXT:
        raise DataError(
            f"The output of {what} must be text of at most {_MOST_TEXT:,} characters, got {type(text).__name__}."
        )
    return text


# ---------------------------------------------------------------------------------------------------------- sensors


class Sensor(Protocol):
    """Something that tells power, or energy since some time.

    Attributes:
        name: what it is and what it sees, for reports.
        counts: True where :meth:`read` gives joules that grow, False where it gives watts.
    """

    name: str
    counts: bool

    def read(self) -> float:
        """Watts now, or joules so far; DataError where nothing can be read."""

    def close(self) -> None:
        """Let go of what it holds."""


class Rapl:
    """Energy counters of Intel and AMD CPUs: packages, and DRAM beside them; cores are part of their package.

    Raises:
        DataError: no counters, or they may not be read.
    """

    counts = True

    def __init__(self, root: Path = Path("/")) -> None:
        base = root / "sys/class/powercap"
        # psys counts the packages again, and so do the core and uncore zones inside them
        zones = [z for z in sorted(base.glob("intel-rapl:*")) if _line(z / "name").startswith(("package", "dram"))]
        if not zones:
            raise DataError(f"RAPL: no package counters in '{base}' (a virtual machine, or no x86 CPU).")
        self.zones = zones
        self.limits = [_whole(z / "max_energy_range_uj") for z in zones]
        self.last = [_whole(z / "energy_uj") for z in zones]
        self.total = 0.0
        kinds = [_line(z / "name").split("-")[0] for z in zones]
        self.name = f"RAPL: {kinds.count('package')} CPU package(s), {kinds.count('dram') or 'no'} DRAM counter(s)"

    def read(self) -> float:
        """Joules since the start; one wrap of a counter between two calls is made good."""
        now = [_whole(z / "energy_uj") for z in self.zones]
        self.total += sum(counted_joules(a, b, m) for a, b, m in zip(self.last, now, self.limits, strict=True))
        self.last = now
        return self.total

    def close(self) -> None:
        """Nothing to let go of."""


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except PermissionError:
        raise DataError(
            f"'{path}' is for root on most systems (CVE-2020-8694). Run as root, or `sudo chmod a+r` it once a boot."
        ) from None
    except OSError as error:
        raise DataError(f"Can't read '{path}': {error.strerror or error}.") from None


def _whole(path: Path) -> int:
    text = _line(path)
    if not re.fullmatch(r"\d{1,20}", text, re.ASCII):
        raise DataError(f"'{path}' must hold a whole number, got {text[:40]!r}.")
    return int(text)


class Pmic:
    """The power chip of a Raspberry Pi 5 through ``vcgencmd``; it sees less than the wall does.

    Args:
        corrected: give the wall's power by a public fit instead.
        command: in place of ``vcgencmd pmic_read_adc``.

    Raises:
        DataError: it is not there, or tells no rails.
    """

    counts = False

    def __init__(self, corrected: bool = False, command: Sequence[str] = ("vcgencmd", "pmic_read_adc")) -> None:
        self.corrected, self.command = corrected, list(command)
        fit = (
            f", {PMIC_FIT[0]} P + {PMIC_FIT[1]} W for the wall (a public fit)" if corrected else ", less than the wall"
        )
        self.name = f"vcgencmd pmic_read_adc: 12 rails of the board{fit}"
        self.read()

    def read(self) -> float:
        """Watts now."""
        try:
            done = subprocess.run(self.command, capture_output=True, text=True, timeout=5, check=True, errors="replace")
        except (OSError, subprocess.SubprocessError) as error:
            raise DataError(f"vcgencmd pmic_read_adc: {_why(error)}. It needs a Raspberry Pi 5.") from None
        return pmic_watts(done.stdout, self.corrected)

    def close(self) -> None:
        """Nothing to let go of."""


class Streamed:
    """A command that prints power over and over, such as tegrastats; the last line counts.

    Args:
        name: for reports.
        command: what to run; it must print at 10 Hz or faster.
        parse: watts of a line; DataError for lines without.
        wait: seconds to wait for the first value, and for a fresh one.

    Raises:
        DataError: the command can't run, or prints no power in time.
    """

    counts = False

    def __init__(self, name: str, command: Sequence[str], parse: Callable[[str], float], wait: float = 5.0) -> None:
        self.name, self._parse, self._last, self._error = name, parse, math.nan, "it printed nothing"
        self._ready, self._when, self._wait = threading.Event(), time.monotonic(), wait
        try:
            self._process = subprocess.Popen(
                list(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
            )
        except OSError as error:
            raise DataError(f"{command[0]}: {_why(error)}.") from None
        threading.Thread(target=self._follow, daemon=True).start()
        if not self._ready.wait(wait) or math.isnan(self._last):
            self.close()
            raise DataError(f"{command[0]} told no power within {wait:g} s: {self._error}")

    def _follow(self) -> None:
        lines = self._process.stdout
        for line in lines or ():
            try:
                self._last, self._when = self._parse(line), time.monotonic()
                self._ready.set()
            except DataError as error:
                self._error = str(error)
        if lines is not None:
            lines.close()
        self._ready.set()

    def read(self) -> float:
        """Watts of the last line."""
        if self._process.poll() is not None or time.monotonic() - self._when > self._wait:
            raise DataError(f"{self.name}: the command has ended or fallen silent.")
        return self._last

    def close(self) -> None:
        """End the command."""
        if self._process.poll() is None:
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)


def tegrastats(wait: float = 5.0) -> Streamed:
    """A Jetson's own tool at 10 Hz (by itself it prints once a second).

    Raises:
        DataError: it is not there, or tells no power.
    """
    name = "tegrastats --interval 100: VDD_IN, the whole module; without it the sum of its rails"
    return Streamed(name, ("tegrastats", "--interval", "100"), tegrastats_watts, wait)


def nvidia_smi(gpu: int = 0, wait: float = 10.0) -> Streamed:
    """One NVIDIA GPU board at 10 Hz; the driver itself averages over up to a second.

    Raises:
        DataError: it is not there, or tells no power.
    """
    query = ("--query-gpu=power.draw", "--format=csv,noheader,nounits", "-lms", "100", "-i", str(gpu))
    name = f"NVML through nvidia-smi: GPU board {gpu}, averaged by the driver, without CPU"
    return Streamed(name, ("nvidia-smi", *query), lambda line: nvidia_smi_watts(line)[0], wait)


def _why(error: BaseException) -> str:
    return "not installed" if isinstance(error, FileNotFoundError) else str(error).split("\n")[0][:200]


class Synthetic:
    """A sensor that is told what to say: watts as a number or a function of the seconds since its start."""

    counts = False
    name = "synthetic: no sensor at all"

    def __init__(
        self, watts: float | Callable[[float], float] = 10.0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._watts, self._clock, self._start = watts, clock, clock()

    def read(self) -> float:
        """What it was told."""
        return self._watts(self._clock() - self._start) if callable(self._watts) else self._watts

    def close(self) -> None:
        """Nothing to let go of."""


def find_sensor(root: Path = Path("/")) -> tuple[Sensor | None, str]:
    """The first sensor of this machine that can be read, or None with every reason.

    Looked for in this order: tegrastats, a Raspberry Pi 5's power chip, RAPL, nvidia-smi.
    """
    reasons = []
    tries: tuple[tuple[str, Callable[[], Sensor]], ...] = (
        ("tegrastats", tegrastats), ("vcgencmd", Pmic), ("", lambda: Rapl(root)), ("nvidia-smi", nvidia_smi),
    )  # fmt: skip
    for command, make in tries:
        if command and shutil.which(command) is None:
            reasons.append(f"{command} is not installed")
            continue
        try:
            return make(), ""
        except DataError as error:
            reasons.append(str(error).rstrip("."))
    return None, "; ".join(reasons)


# --------------------------------------------------------------------------------------------------------- sampling


@dataclass(frozen=True)
class Trace:
    """Power over a time.

    Attributes:
        seconds: ``(N,)`` float64, when it was read.
        watts: ``(N,)`` float64; of a counter the mean power since the reading before.
        joules: energy from the first to the last reading.
        method: the sensor and how joules came of it.
        missed: readings that failed.
    """

    seconds: NDArray[np.float64]
    watts: NDArray[np.float64]
    joules: float
    method: str
    missed: int = 0

    @property
    def length(self) -> float:
        """From the first to the last reading in s."""
        return float(self.seconds[-1] - self.seconds[0])

    @property
    def hz(self) -> float:
        """Readings a second."""
        return (len(self.seconds) - 1) / self.length


def integrate(seconds: ArrayLike, watts: ArrayLike) -> float:
    """Joules of power readings ``(N,)`` by the trapezoid rule.

    Raises:
        DataError: fewer than two readings, times that do not grow, or values that are no numbers.
    """
    at, power = np.asarray(seconds, np.float64).reshape(-1), np.asarray(watts, np.float64).reshape(-1)
    if len(at) < 2 or len(at) != len(power) or not (np.isfinite(at).all() and np.isfinite(power).all()):
        raise DataError(f"Energy needs two readings or more, a time and a power each; got {len(at)} and {len(power)}.")
    if (np.diff(at) < 0).any() or at[-1] == at[0]:
        raise DataError("The times of power readings must grow.")
    return float(((power[1:] + power[:-1]) / 2 * np.diff(at)).sum())


class Sampler:
    """Reads a sensor by a thread of its own.

    ::

        with Sampler(sensor) as sampler:
            work()
        energy(sampler.trace(), inferences=600)

    Args:
        sensor: what to read; it is not closed.
        hz: readings a second, at least 10.
        clock: seconds that grow.

    Raises:
        ConfigError: a rate below 10 Hz or above 1000 Hz.
    """

    def __init__(
        self, sensor: Sensor, hz: float = 2 * LEAST_HZ, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if not LEAST_HZ <= hz <= 1000:
            raise ConfigError(f"Power is read 10 to 1000 times a second, got {hz:g}.")
        self._sensor, self._period, self._clock = sensor, 1.0 / hz, clock
        self._readings: list[tuple[float, float]] = []
        self._missed, self._done, self._thread = 0, threading.Event(), threading.Thread(target=self._run, daemon=True)

    def tick(self) -> None:
        """Take one reading; one that fails is counted."""
        try:
            value = self._sensor.read()
        except DataError:
            self._missed += 1
        else:
            self._readings.append((self._clock(), value))

    def __enter__(self) -> Sampler:
        self.tick()
        self._thread.start()
        return self

    def _run(self) -> None:
        due = time.perf_counter() + self._period
        while not self._done.wait(max(due - time.perf_counter(), 0.0)):
            self.tick()
            due = max(due + self._period, time.perf_counter())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.tick()

    def trace(self) -> Trace:
        """All readings so far.

        Raises:
            DataError: fewer than two of them.
        """
        seconds, values = np.array(self._readings, np.float64).reshape(-1, 2).T
        if not self._sensor.counts:
            return Trace(
                seconds, values, integrate(seconds, values), f"{self._sensor.name}; trapezoid rule", self._missed
            )
        if len(seconds) < 2 or seconds[-1] <= seconds[0]:
            raise DataError("Energy needs two readings of the counter or more.")
        watts = np.diff(values) / np.maximum(np.diff(seconds), 1e-9)
        joules = float(values[-1] - values[0])
        return Trace(seconds, np.r_[watts[:1], watts], joules, f"{self._sensor.name}; counter", self._missed)


def idle_watts(sensor: Sensor, seconds: float = 5.0, hz: float = 2 * LEAST_HZ) -> float:
    """Mean power in W while nothing runs; run it before the work.

    Raises:
        DataError: the sensor can't be read.
    """
    with Sampler(sensor, hz) as sampler:
        time.sleep(seconds)
    trace = sampler.trace()
    return trace.joules / trace.length


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
