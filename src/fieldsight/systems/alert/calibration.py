"""Calibrations of stereo pairs: JSON, plain YAML, or Middlebury's ``calib.txt``."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight.errors import DataError

_LINE = re.compile(r"^\s*-?\s*([A-Za-z_]\w*)\s*[:=]\s*(.*)$")


@dataclass(frozen=True)
class Calibration:
    """A rectified pair: ``depth = baseline * focal / (disparity + doffs)``.

    Attributes:
        focal: pixels.
        baseline: metres.
        cx, cy: principal point of the left picture in pixels; NaN is the middle.
        doffs: pixels by which the principal points differ.
    """

    focal: float
    baseline: float
    cx: float = math.nan
    cy: float = math.nan
    doffs: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.focal < 1e6 and 0 < self.baseline < 100 and math.isfinite(self.doffs)):
            raise DataError(
                "A calibration needs a focal length in pixels and a baseline in metres, both above 0; got "
                f"{self.focal:g} px, {self.baseline:g} m, doffs {self.doffs:g} px."
            )


def read_calibration(path: str | Path) -> Calibration:
    """Read ``f`` or ``focal`` (px), ``baseline`` (m; ``baseline_mm`` is understood), ``cx``, ``cy``, ``doffs``.

    Middlebury's ``calib.txt`` has ``cam0=[f 0 cx; 0 f cy; 0 0 1]`` and its baseline in millimetres.

    Raises:
        DataError: absent, no such file, values missing or not above 0.
    """
    target = Path(path)
    try:
        data = target.read_bytes()
    except OSError as error:
        raise DataError(f"Can't read the calibration '{target}': {error.strerror or error}.") from None
    return parse_calibration(data, str(target))


def parse_calibration(data: bytes, where: str) -> Calibration:
    """The calibration in the bytes of a file; see :func:`read_calibration`.

    Raises:
        DataError: values missing or not above 0.
    """
    if data.lstrip()[:1] == b"{":
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DataError(f"'{where}' is no JSON: {error}.") from None
    else:
        values = parse_flat(data, where)
    values = {str(key).lower(): value for key, value in values.items()}
    camera = values.get("cam0")
    if isinstance(camera, list) and len(camera) == 9:
        values = {"focal": camera[0], "cx": camera[2], "cy": camera[5], **values}
        if "baseline" in values:
            values["baseline_mm"] = values.pop("baseline")
    focal = _one(values, ("focal", "f", "fx", "focal_px"), where)
    millimetres = _one(values, ("baseline_mm",), where)
    baseline = _one(values, ("baseline", "baseline_m", "b"), where) if millimetres is None else millimetres / 1000
    if focal is None or baseline is None:
        raise DataError(
            f"'{where}' lacks the {'baseline' if focal else 'focal length'}; it holds: {', '.join(values)}."
        )
    if baseline >= 5 and millimetres is None:
        raise DataError(
            f"'{where}': a baseline of {baseline:g} m looks like millimetres. Name it baseline_mm, or give metres."
        )
    cx, cy, doffs = (_one(values, (name,), where) for name in ("cx", "cy", "doffs"))
    return Calibration(
        focal, baseline, math.nan if cx is None else cx, math.nan if cy is None else cy, 0.0 if doffs is None else doffs
    )


def parse_flat(data: bytes, where: str) -> dict[str, Any]:
    """``name: value`` or ``name = value`` lines, nested or not, with lists in brackets, also over several lines.

    Enough for YAML of calibrations; later lines of the same name do not replace earlier ones.

    Raises:
        DataError: no text.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"'{where}' is no text.") from None
    found: dict[str, Any] = {}
    lines = [line.split("#")[0] for line in text.splitlines()[:100_000]]
    at = 0
    while at < len(lines):
        match = _LINE.match(lines[at])
        at += 1
        if not match:
            continue
        name, value = match[1], match[2].strip()
        if value.startswith("["):
            while "]" not in value and at < len(lines):
                value += " " + lines[at].strip()
                at += 1
            found.setdefault(name, [_value(v) for v in re.split(r"[,;\s]+", value.strip("[] ;")) if v])
        elif value:
            found.setdefault(name, _value(value.strip("\"'")))
    return found


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _one(values: dict[str, Any], names: tuple[str, ...], where: str) -> float | None:
    for name in names:
        value = values.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise DataError(f"'{where}': {name} is {value!r:.40}, a number is wanted.")
        return float(value)
    return None
