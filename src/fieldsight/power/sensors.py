"""Sensors of power and energy, and the first of them that this machine lets one read.

============================================== ======================================== ===============================
sensor                                         reads                                    sees
============================================== ======================================== ===============================
:class:`Ina`                                   ``/sys/class/hwmon/*/in*, curr*``        a whole Jetson module
:func:`~fieldsight.power.commands.tegrastats`  ``tegrastats``                           the same
:class:`~fieldsight.power.commands.Pmic`       ``vcgencmd pmic_read_adc``               12 rails of a Raspberry Pi 5,
                                                                                        less than the wall
:class:`Rapl`                                  ``/sys/class/powercap/intel-rapl:*``     CPU packages, and DRAM where it
                                                                                        is counted
:func:`~fieldsight.power.commands.nvidia_smi`  ``nvidia-smi``                           GPU boards
:class:`Synthetic`                             a function of time                       nothing: for tests
============================================== ======================================== ===============================
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fieldsight.errors import DataError
from fieldsight.power.commands import Pmic, nvidia_smi, tegrastats
from fieldsight.power.parse import counted_joules, counted_rails


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
    """Energy counters of Intel and AMD CPUs: each package, and DRAM beside it.

    Domains lie in each other: a package counts its ``core`` and ``uncore``, and ``psys``, which stands beside the
    packages as if it were one more, counts all of them again. ``intel-rapl-mmio`` is the same counter by another way.

    Raises:
        DataError: no counters, or they may not be read.
    """

    counts = True

    def __init__(self, root: Path = Path("/")) -> None:
        base = root / "sys/class/powercap"
        zones = [
            z for z in sorted(base.glob("intel-rapl:*")) if _line(z / "name", "RAPL").startswith(("package", "dram"))
        ]
        if not zones:
            raise DataError(f"RAPL: no package counters in '{base}' (a virtual machine, or no x86 CPU).")
        self.zones = zones
        self.limits = [_whole(z / "max_energy_range_uj", "RAPL") for z in zones]
        self.last = [_whole(z / "energy_uj", "RAPL") for z in zones]
        self.total = 0.0
        kinds = [_line(z / "name", "RAPL").split("-")[0] for z in zones]
        self.name = f"RAPL: {kinds.count('package')} CPU package(s), {kinds.count('dram') or 'no'} DRAM counter(s)"
        self.read()

    def read(self) -> float:
        """Joules since the start; one wrap of a counter between two calls is made good."""
        now = [_whole(z / "energy_uj", "RAPL") for z in self.zones]
        self.total += sum(counted_joules(a, b, m) for a, b, m in zip(self.last, now, self.limits, strict=True))
        self.last = now
        return self.total

    def close(self) -> None:
        """Nothing to let go of."""


class Ina:
    """INA3221 chips of a Jetson through hwmon: volts times amperes of the rails that make the module.

    Attributes:
        rails: name of each rail that counts, with its files of mV and mA.

    Raises:
        DataError: no such chip, or it can't be read.
    """

    counts = False

    def __init__(self, root: Path = Path("/")) -> None:
        base = root / "sys/class/hwmon"
        found: dict[str, tuple[Path, Path]] = {}
        for chip in (f for f in sorted(base.glob("hwmon*")) if (f / "name").is_file()):
            if "ina" in _line(chip / "name", "INA"):
                found |= self._channels(chip)
        if not found:
            raise DataError(f"INA: no such sensor in '{base}' (not a Jetson).")
        self.rails = {name: found[name] for name in counted_rails(found)}
        self.name = f"INA sensors: {' + '.join(self.rails)}, {len(self.rails)} rail(s) of the board"
        self.read()

    @staticmethod
    def _channels(chip: Path) -> dict[str, tuple[Path, Path]]:
        """Channels 1 to 3 by their labels; those beyond are shunts and the sum."""
        found = {}
        for k in "123":
            volts, amperes, label = chip / f"in{k}_input", chip / f"curr{k}_input", chip / f"in{k}_label"
            if volts.is_file() and amperes.is_file():
                found[_line(label, "INA") if label.is_file() else f"{chip.name}/{k}"] = (volts, amperes)
        return found

    def read(self) -> float:
        """Watts now."""
        return sum(_whole(volts, "INA") * _whole(amperes, "INA") for volts, amperes in self.rails.values()) / 1e6

    def close(self) -> None:
        """Nothing to let go of."""


def _line(path: Path, who: str) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except PermissionError:
        raise DataError(
            f"{who}: '{path}' is for root on most systems (CVE-2020-8694). "
            "Run as root, or `sudo chmod a+r` it once a boot."
        ) from None
    except OSError as error:
        raise DataError(f"{who}: Can't read '{path}': {error.strerror or error}.") from None


def _whole(path: Path, who: str) -> int:
    text = _line(path, who)
    if not re.fullmatch(r"-?\d{1,20}", text, re.ASCII):
        raise DataError(f"{who}: '{path}' must hold a whole number, got {text[:40]!r}.")
    return int(text)


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


def find_sensor(root: Path = Path("/"), gpu: int | None = 0) -> tuple[Sensor | None, str]:
    """The first sensor of this machine that can be read, or None with every reason.

    Looked for in this order: a Jetson's chips and its tegrastats, a Raspberry Pi 5's power chip, RAPL, nvidia-smi.

    Args:
        root: where ``sys`` lies.
        gpu: which GPU board nvidia-smi is asked for, None for the sum of all.
    """
    reasons = []
    tries: tuple[tuple[str, Callable[[], Sensor]], ...] = (
        ("", lambda: Ina(root)), ("tegrastats", tegrastats), ("vcgencmd", Pmic), ("", lambda: Rapl(root)),
        ("nvidia-smi", lambda: nvidia_smi(gpu)),
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
