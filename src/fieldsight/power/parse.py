"""What tools and counters print, as watts and joules. Parsers take text of any kind and raise DataError only."""

from __future__ import annotations

import re
from collections.abc import Collection

from fieldsight.errors import DataError

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

#: Rails of a Jetson that are the whole input of its module, and rails that another one feeds.
_INPUTS = ("VDD_IN", "POM_5V_IN")
_FED = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}


def counted_rails(names: Collection[str]) -> list[str]:
    """Rails of a Jetson whose sum is the module: VDD_IN (POM_5V_IN on old boards), else those that no other one feeds.

    On a Jetson AGX Orin VIN_SYS_5V0 feeds VDDQ_VDD2_1V8AO and counts it already.
    """
    for name in _INPUTS:
        if name in names:
            return [name]
    return [name for name in names if name != "NC" and _FED.get(name) not in names]


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
    """Power of the module in W, the sum of its :func:`counted_rails`.

    Raises:
        DataError: no rail at all.
    """
    rails = tegrastats_rails(text)
    return sum(rails[name] for name in counted_rails(rails))


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


class Boards:
    """Sum in W of GPU boards whose lines ``index, watts`` come one after the other, round after round.

    One of them without a number makes the sum unknown from then on: the others would pass for all.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._whole, self._broken = False, ""

    def __call__(self, line: str) -> float:
        """Watts of all boards after this line.

        Raises:
            DataError: the first round is not over, or a board tells no power.
        """
        index, _, watts = _text(line, "nvidia-smi").strip().partition(",")
        try:
            now = nvidia_smi_watts(watts)[0]
        except DataError as error:
            self._broken = self._broken or str(error)
        if self._broken:
            raise DataError(self._broken)
        self._whole = self._whole or index in self._last
        self._last[index] = now
        if not self._whole:
            raise DataError("nvidia-smi has not named every GPU board yet.")
        return sum(self._last.values())


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
