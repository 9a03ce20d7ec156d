"""Sensors that are commands: the tools of a Jetson, a Raspberry Pi 5 and NVIDIA's GPUs."""

from __future__ import annotations

import contextlib
import math
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from fieldsight.errors import DataError
from fieldsight.power.parse import PMIC_FIT, Boards, nvidia_smi_watts, pmic_watts, tegrastats_watts

#: Lines without power after which none is expected any more, if none had any.
_MOST_LINES = 25


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
        lines, without = self._process.stdout, 0
        for line in lines or ():
            try:
                self._last, self._when = self._parse(line), time.monotonic()
                self._ready.set()
            except DataError as error:
                self._error, without = str(error), without + 1
                if math.isnan(self._last) and without >= _MOST_LINES:
                    break
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


def nvidia_smi(gpu: int | None = 0, wait: float = 10.0, command: str = "nvidia-smi") -> Streamed:
    """One NVIDIA GPU board at 10 Hz, or all of them together; the driver itself averages over up to a second.

    Args:
        gpu: which one, None for their sum.
        wait: seconds to wait for the first value, and for a fresh one.
        command: in place of ``nvidia-smi``.

    Raises:
        DataError: it is not there, or tells no power.
    """
    style = ("--format=csv,noheader,nounits", "-lms", "100")
    if gpu is None:
        name = "NVML through nvidia-smi: all GPU boards, averaged by the driver, without CPU"
        return Streamed(name, (command, "--query-gpu=index,power.draw", *style), Boards(), wait)
    name = f"NVML through nvidia-smi: GPU board {gpu}, averaged by the driver, without CPU"
    query = (command, "--query-gpu=power.draw", *style, "-i", str(gpu))
    return Streamed(name, query, lambda line: nvidia_smi_watts(line)[0], wait)


def _why(error: BaseException) -> str:
    return "not installed" if isinstance(error, FileNotFoundError) else str(error).split("\n")[0][:200]
