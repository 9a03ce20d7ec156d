"""What boards do, from the paper's Tables 4 to 6 or measured: accuracy, speed and power, and times for the simulator.

The paper prints mean power under the name of energy; here it is ``mean_power_w``. Rows that can't be as printed are
kept with a note, and only the Raspberry Pi's speed with model s is taken from its iteration time instead.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from fieldsight.config import read_toml
from fieldsight.errors import ConfigError, DataError, nearest, unknown
from fieldsight.systems.edge.network import NO_DELAY, Delay, Network

#: From data sheets, where the paper is wrong or vague: CUDA cores, tensor cores, memory bandwidth in GB/s.
DATASHEET: Mapping[str, Mapping[str, float]] = {
    "Orin Nano": {"cuda_cores": 1024, "tensor_cores": 32, "bandwidth_gb_s": 68.0},
    "Orin NX": {"cuda_cores": 1024, "tensor_cores": 32, "bandwidth_gb_s": 102.4},
}


@dataclass(frozen=True)
class BenchRow:
    """One configuration as a benchmark measures it: a row of Table 4. What was not measured is None.

    Attributes:
        device, model, precision: what ran where.
        backend: the runtime.
        map50_95, map50: accuracy in 0-1.
        mis_fps: inferences a second, model alone (M1).
        ipm: inferences in 60 s, whole loop (M2).
        mean_power_w: mean power of the whole board, idle power included.
        latency_ms: mean time of a frame through the model.
        latency_sd_ms: its standard deviation.
        rtt_ms: mean time from sending a frame to the answer, in a loop with camera and network (M5).
        weight_g: of the board.
        told_epi_j: energy of an inference where power and IPM are not told.
        notes: what is wrong with the row.
    """

    device: str
    model: str
    precision: str
    backend: str = ""
    map50_95: float | None = None
    map50: float | None = None
    mis_fps: float | None = None
    ipm: float | None = None
    mean_power_w: float | None = None
    latency_ms: float | None = None
    latency_sd_ms: float | None = None
    rtt_ms: float | None = None
    weight_g: float | None = None
    told_epi_j: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Device, model and precision, and the runtime where it is told."""
        words = f"{self.device} + {self.model} {self.precision}"
        return f"{words} ({self.backend})" if self.backend else words

    @property
    def epi_j(self) -> float | None:
        """Energy of an inference, idle power included: power x 60 s / IPM (M4)."""
        if self.mean_power_w is None or not self.ipm:
            return self.told_epi_j
        return self.mean_power_w * 60.0 / self.ipm

    @property
    def loop_fps(self) -> float | None:
        """Frames a second of the whole loop on the device: IPM / 60."""
        return None if self.ipm is None else self.ipm / 60.0

    @property
    def loop_ms(self) -> float | None:
        """Time from frame to answer: the measured RTT, else a frame's share of the whole loop, else the model alone."""
        if self.rtt_ms is not None:
            return self.rtt_ms
        if self.ipm:
            return 60_000.0 / self.ipm
        return self.latency_ms if self.latency_ms is not None else 1000.0 / self.mis_fps if self.mis_fps else None


@functools.cache
def printed() -> dict[str, Any]:
    """``paper.toml``: the numbers as printed."""
    return read_toml(Path(__file__).with_name("paper.toml"))


def paper_rows(tables: Mapping[str, Any] | None = None) -> tuple[BenchRow, ...]:
    """The 14 rows of Table 4 with the RTT of Table 5; power under its right name, doubtful values with a note.

    Args:
        tables: printed numbers in place of the paper's.
    """
    tables, rows = tables or printed(), []
    for device, table in tables["table4"].items():
        for key, values in table.items():
            model, precision = key.split("-")
            loop = tables["table5"].get(device, {}).get(key)
            backend = "NCNN" if device == "RPi5" else "TensorRT"
            accurate, loose, mis, power, ipm = (float(v) for v in values[:5])
            row = BenchRow(
                device, model, precision, backend, map50_95=accurate, map50=loose, mis_fps=mis, ipm=ipm,
                mean_power_w=power, rtt_ms=loop[0] if loop else None, latency_ms=tables["iteration"][device].get(key),
            )  # fmt: skip
            rows.append(_noted(row))
    return tuple(rows)


def _noted(row: BenchRow) -> BenchRow:
    notes = list(impossible(row))
    if row.device == "RPi5":
        notes.append("no row in Table 5: in the loop with the drone it was unstable")
    if row.device == "RPi5" and row.model == "s" and row.latency_ms:
        notes.append(f"{row.mis_fps} FPS printed, {1000 / row.latency_ms:.2f} by its iteration time")
        notes.append("mAP50 is that of model n elsewhere")
        row = replace(row, mis_fps=1000.0 / row.latency_ms)
    return replace(row, notes=tuple(notes))


def impossible(row: BenchRow) -> tuple[str, ...]:
    """What can't be true of a row: a whole loop that is faster than the model alone, a higher mAP50-95 than mAP50."""
    notes = []
    if row.loop_fps is not None and row.mis_fps is not None and row.loop_fps > row.mis_fps * (1 + 1e-9):
        notes.append(f"IPM / 60 = {row.loop_fps:.2f} is more than the model alone can do, {row.mis_fps:.2f} FPS")
    if row.map50 is not None and row.map50_95 is not None and row.map50_95 > row.map50:
        notes.append(f"mAP50-95 {row.map50_95:g} is more than mAP50 {row.map50:g}")
    return tuple(notes)


# ------------------------------------------------------------------------------------------------- rows from a file

_TEXTS = ("device", "model", "precision", "backend")
_NUMBERS = (
    "map50_95",
    "map50",
    "mis_fps",
    "ipm",
    "mean_power_w",
    "epi_j",
    "latency_ms",
    "latency_sd_ms",
    "rtt_ms",
    "weight_g",
)
_NOTHING = ("", "none", "null", "not measured", "-")
_MOST_BYTES = 20_000_000


def read_rows(file: str | Path, ignore: Iterable[str] = ()) -> tuple[BenchRow, ...]:
    """Rows of ``bench`` from CSV (comma, semicolon or tab) or JSON (a list of rows, or a table with ``rows``).

    Args:
        file: columns device, model, precision, and any of backend, map50_95, map50, mis_fps, ipm, mean_power_w, epi_j,
            latency_ms, latency_sd_ms, rtt_ms, weight_g, notes. A unit in brackets after a name is fine, and an empty
            cell or 'not measured' is a missing value.
        ignore: further columns that are there and not needed.

    Raises:
        DataError: no such file, no rows, unknown or missing columns, NaN or impossible numbers, a configuration twice,
            an EPI that is not power x 60 / IPM within 2 %; the first ten problems with their rows.
    """
    path = Path(file)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"'{path}' has more than {_MOST_BYTES // 10**6} MB: that is no table of benchmarks.")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is no text: {error.reason} at byte {error.start}. Give CSV or JSON.") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"Can't read '{path}': {getattr(error, 'strerror', None) or error}. Give CSV or JSON."
        ) from None
    return rows_of(
        _from_json(text, path) if path.suffix.lower() == ".json" else _from_csv(text, path), str(path), ignore
    )


def rows_of(
    found: Sequence[Mapping[str, Any]], where: str = "rows", ignore: Iterable[str] = ()
) -> tuple[BenchRow, ...]:
    """Rows from plain values, checked as :func:`read_rows` says.

    Raises:
        DataError: as there.
    """
    problems: list[str] = []
    allowed = (*_TEXTS, *_NUMBERS, "notes", *ignore)
    seen = dict.fromkeys(str(k) for row in found for k in row)
    for name in [k for k in seen if k not in allowed][:5]:
        problems.append(f"unknown column '{name[:40]}'.{nearest(name[:40], allowed)} Allowed: {', '.join(allowed)}")
    problems += [f"the column '{k}' is missing" for k in _TEXTS[:3] if k not in seen] if found else ["it holds no rows"]
    rows = [] if problems else [_checked(row, i, problems) for i, row in enumerate(found, 1)]
    names = [row.name for row in rows]
    problems += [
        f"'{name}' is there twice: tell them apart by model or backend"
        for name in dict.fromkeys(names)
        if names.count(name) > 1 and not problems
    ]
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError(f"'{where}': {'; '.join(problems[:10])}{more}.")
    return tuple(rows)


def _checked(row: Mapping[str, Any], line: int, problems: list[str]) -> BenchRow:
    texts = {k: "" if row.get(k) is None else _shown(row[k], 200) for k in _TEXTS}
    problems += [f"row {line}: {k} is empty" for k in _TEXTS[:3] if not texts[k]]
    values = {k: _number(row.get(k), k, line, problems) for k in _NUMBERS}
    told = values.pop("epi_j")
    cells: dict[str, Any] = {**texts, **values, "told_epi_j": told}
    made = BenchRow(**cells)
    if told is not None and made.epi_j and abs(told - made.epi_j) > 0.02 * made.epi_j:
        problems.append(
            f"row {line}: epi_j {told:g} is not mean_power_w x 60 / ipm = {made.epi_j:.4g}; give gross energy"
        )
    said = row.get("notes")
    notes = said if isinstance(said, (list, tuple)) else _shown(said or "", 3000).split(";")
    kept = tuple(text for n in notes if (text := _shown(n, 300)))
    return replace(made, notes=tuple(dict.fromkeys((*kept, *impossible(made)))))


def _number(value: Any, name: str, line: int, problems: list[str]) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    zero = name in ("map50_95", "map50", "mean_power_w", "latency_sd_ms", "epi_j")
    fits = (
        math.isfinite(number) and (number >= 0 if zero else number > 0) and (number <= 1 or not name.startswith("map"))
    )
    if not fits:
        limits = "0 to 1" if name.startswith("map") else "a number >= 0" if zero else "a number above 0"
        problems.append(
            f"row {line}: {name} must be {limits}, got {_shown(value)!r}; leave it empty where not measured"
        )
        return None
    return number


def _shown(value: object, most: int = 40) -> str:
    try:
        return str(value).strip()[:most]
    except ValueError:  # an int of thousands of digits
        return "a huge number"


def _from_csv(text: str, path: Path) -> list[dict[str, Any]]:
    header = text.lstrip().split("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        lines = [
            r for r in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True) if any(c.strip() for c in r)
        ]
    except csv.Error as error:
        raise DataError(f"'{path}' is no CSV: {error}. Quote cells that hold {delimiter!r}.") from None
    if not lines:
        raise DataError(f"'{path}' is empty. Its first line must name the columns: device, model, precision, ...")
    names = [c.split("[")[0].strip() for c in lines[0]]
    wrong = [i for i, row in enumerate(lines[1:], 1) if len(row) != len(names)]
    if wrong or len(set(names)) != len(names):
        what = f"row {wrong[0]} has another number of cells than the header" if wrong else "a column is there twice"
        raise DataError(f"'{path}': {what}.")
    return [dict(zip(names, row, strict=True)) for row in lines[1:]]


def _from_json(text: str, path: Path) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is no JSON: {error}.") from None
    rows = found.get("rows") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"'{path}' must hold a list of rows, or a table with 'rows'.")
    return rows


# ------------------------------------------------------------------------------------------------ for the simulator


@dataclass(frozen=True)
class Device:
    """A computer as the simulator sees it.

    Attributes:
        name: for tables.
        service: time in the model, ms.
        overhead: other time of a frame on the device (decoding, copying, sending), ms.
        power_w: mean board power while it computes; None where it was not measured.
        idle_w: board power while it waits; None where it was not measured.
        source: where the numbers come from.
    """

    name: str
    service: Delay
    overhead: Delay = NO_DELAY
    power_w: float | None = None
    idle_w: float | None = None
    source: str = "measured"

    def __post_init__(self) -> None:
        for what in ("power_w", "idle_w"):
            value = getattr(self, what)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{what} of '{self.name}' must be >= 0 W, got {value}. Leave it out where unknown.")

    @property
    def mean_ms(self) -> float:
        """Mean time of a frame on the device."""
        return self.service.mean + self.overhead.mean

    def fixed(self) -> Device:
        """The mean times alone."""
        return replace(self, service=self.service.fixed(), overhead=self.overhead.fixed())


def paper_device(device: str, model: str, precision: str) -> Device:
    """A profile from Tables 4 and 5.

    Processing is Table 5's mean; the overhead is RTT less processing less Table 6's communication at the edge. The sd
    of processing was lost in print: the sd of the RTT, less that of communication, is shared by variance in proportion
    to the means. The Raspberry Pi has iteration times and IPM only, and no spread.

    Raises:
        ConfigError: no such configuration in the paper.
    """
    key, tables = f"{model}-{precision.upper()}", printed()
    if device not in tables["table4"]:
        raise ConfigError(unknown("device", device, tables["table4"]))
    if key not in tables["table4"][device]:
        raise ConfigError(unknown(f"configuration of {device}", key, tables["table4"][device]))
    power, ipm = (float(v) for v in tables["table4"][device][key][3:5])
    name = f"{device} + {model} {precision.upper()}"
    if device not in tables["table5"]:
        alone = float(tables["iteration"][device][key])
        return Device(name, Delay(alone), Delay(60_000.0 / ipm - alone), power, None, "Table 4 and Section 4.1")
    rtt, sd, processing = (float(v) for v in tables["table5"][device][key][:3])
    far, far_sd = tables["table6"]["edge"]["communication"]
    here = Delay(rtt - far, math.sqrt(max(sd**2 - far_sd**2, 0.0)))
    service, overhead = here.parts((processing, rtt - far - processing))
    return Device(name, service, overhead, power, None, "Tables 4, 5 and 6")


def paper_devices() -> tuple[Device, ...]:
    """All 14 configurations of Table 4."""
    return tuple(paper_device(row.device, row.model, row.precision) for row in paper_rows())


def edge_network() -> Network:
    """The local link of Table 6: 2.50 ms there and back."""
    return Network.round_trip("edge", *printed()["table6"]["edge"]["communication"])


def cloud_network() -> Network:
    """The link from Madrid to London of Table 6, HTTP and the paper's unnamed payload included: 341.41 ms."""
    return Network.round_trip("cloud", *printed()["table6"]["cloud"]["communication"])


def table6_edge() -> Device:
    """The edge device of Table 6, 32.59 ms a frame: all that is not communication."""
    return Device("edge", Delay(*printed()["table6"]["edge"]["processing"]), source="Table 6")


def table6_cloud() -> Device:
    """The T4 in the cloud of Table 6, 6.82 ms a frame; its power is not printed."""
    return Device("cloud", Delay(*printed()["table6"]["cloud"]["processing"]), source="Table 6")


def measured_device(
    name: str,
    service_ms: ArrayLike,
    overhead_ms: ArrayLike | None = None,
    power_w: float | None = None,
    idle_w: float | None = None,
) -> Device:
    """A profile from times measured one by one, ``(N,)`` in ms, as on the host at hand.

    Raises:
        DataError: no times, or some that are negative or no numbers.
        ConfigError: a negative power.
    """
    overhead = NO_DELAY if overhead_ms is None else Delay.measured(overhead_ms)
    return Device(name, Delay.measured(service_ms), overhead, power_w, idle_w)


def device_of(row: BenchRow) -> Device:
    """A profile from a benchmark row: latency (or 1 / MIS) with its sd, the rest of the loop as overhead.

    Raises:
        ConfigError: the row has neither latency nor MIS.
    """
    mean = row.latency_ms if row.latency_ms is not None else 1000.0 / row.mis_fps if row.mis_fps else None
    if not mean:
        raise ConfigError(f"'{row.name}' has neither latency_ms nor mis_fps: measure one of them with bench.")
    whole = 60_000.0 / row.ipm if row.ipm else mean
    return Device(row.name, Delay(mean, row.latency_sd_ms or 0.0), Delay(max(whole - mean, 0.0)), row.mean_power_w)
