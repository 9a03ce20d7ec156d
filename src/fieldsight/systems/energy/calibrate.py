"""Constants from measurements: pJ a bit, pJ a MAC and static watts by non-negative least squares.

    E = e_mem bits + e_mac MACs + P seconds

Rows are divided by E, so that errors are relative, and columns scaled to unit norm. The condition number of that matrix
says whether the rows can tell the three apart: layers with one MAC a weight at one batch size can not, and rows without
different clocks or idle time hide static power in the MACs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fieldsight.errors import ConfigError, DataError
from fieldsight.profile.counts import Counts
from fieldsight.profile.hardware import BITS, Hardware, Memory, Number, load_hardware
from fieldsight.systems.energy import data

Array = npt.NDArray[np.float64]

#: Above this condition number constants can't be told apart and none are given.
LIMIT = 1e4
#: Above this one the intervals are the message.
DOUBTFUL = 30.0

UNITS = {"e_mem": "pJ/bit", "e_mac": "pJ/MAC", "static": "W"}
_SCALE = np.array([1e-12, 1e-12, 1.0])
_COLUMNS = ("model", "batch", "joules", "seconds", "precision", "weights", "bits", "kv", "macs")


@dataclass(frozen=True)
class Row:
    """One measurement of one batch.

    Attributes:
        model: what ran; ``idle`` for nothing. Rows of one model are left out together in cross-validation.
        batch: samples.
        bits: memory bits moved: weights once, KV cache per sequence.
        macs: of the whole batch.
        seconds: wall time.
        joules: measured energy.
    """

    model: str
    batch: int
    bits: float
    macs: float
    seconds: float
    joules: float


@dataclass(frozen=True)
class Fit:
    """Fitted constants with how far to trust them.

    Attributes:
        constants: ``e_mem`` in pJ/bit, ``e_mac`` in pJ/MAC, ``static`` in W.
        intervals: 95 % bootstrap intervals of each.
        condition: of the scaled matrix.
        static_share: median part of static energy in the rows.
        mape: mean absolute relative error in percent.
        r2: coefficient of determination of the joules.
        left_out: mean absolute relative error in percent for each model when its rows are not fitted; NaN where the
            rest does not identify the constants.
        residuals: relative errors by row, predicted minus measured.
        rows: how many.
        warnings: what a reader must know.
    """

    constants: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    condition: float
    static_share: float
    mape: float
    r2: float
    left_out: Mapping[str, float]
    residuals: tuple[float, ...]
    rows: int
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain values with units, ready for JSON."""
        return {
            "constants": {k: {"value": v, "unit": UNITS[k], "low": self.intervals[k][0], "high": self.intervals[k][1]}
                          for k, v in self.constants.items()},
            "condition": self.condition, "static_share": self.static_share, "mape_percent": self.mape, "r2": self.r2,
            "left_out_percent": dict(self.left_out), "rows": self.rows, "warnings": list(self.warnings),
        }  # fmt: skip

    def hardware(self, name: str, precision: str, base: str | Hardware) -> Hardware:
        """A profile with the fitted memory and MAC energies on top of another profile."""
        import dataclasses

        old = load_hardware(base)
        source = f"fitted to {self.rows} measurements"
        numbers = {k: Number(v, min(v, self.intervals[k][0]), max(v, self.intervals[k][1]), source)
                   for k, v in self.constants.items()}  # fmt: skip
        return dataclasses.replace(
            old, name=name, title=f"{name}, {source}", dram=Memory("measured memory", numbers["e_mem"]),
            mac={**old.mac, precision: numbers["e_mac"]}, in_memory=None,
            notes=(f"Static power of {self.constants['static']:.3g} W is not in the energies of this profile.",),
        )  # fmt: skip


def calibrate(rows: Sequence[Row], draws: int = 1000, seed: int = 0) -> Fit:
    """Fit the three constants.

    Args:
        rows: measurements; different networks, batch sizes, clocks and some idle rows tell the constants apart.
        draws: bootstrap samples for the intervals.
        seed: of the bootstrap.

    Raises:
        DataError: fewer than four rows, values that can't be, or rows that do not identify the constants: the
            message names which can't be told apart, the condition number and what to measure.
    """
    _validate(rows)
    design, joules = _design(rows)
    relative = design / joules[:, None]
    condition = _condition(relative)
    if not condition < LIMIT:
        raise DataError(_not_identifiable(relative, condition))
    constants = _solve(relative)
    predicted = design @ constants
    residuals = predicted / joules - 1
    total = float(((joules - joules.mean()) ** 2).sum())
    left = _left_out(rows, design, joules)
    shares = design[:, 2] * constants[2] / joules
    warnings = []
    if condition > DOUBTFUL:
        warnings.append(f"The condition number {condition:.0f} is high: trust the intervals, not the values.")
    if float(np.median(shares)) > 0.3:
        warnings.append(f"Static power makes {np.median(shares):.0%} of the energy: pJ/MAC is uncertain.")
    warnings += [
        f"{k} came out as 0: the rows show no sign of it." for k, v in zip(UNITS, constants, strict=True) if v == 0
    ]
    return Fit(
        constants=dict(zip(UNITS, map(float, constants), strict=True)),
        intervals=_bootstrap(relative, draws, seed),
        condition=condition,
        static_share=float(np.median(shares)),
        mape=float(100 * np.abs(residuals).mean()),
        r2=1 - float(((joules - predicted) ** 2).sum()) / total if total else math.nan,
        left_out=left,
        residuals=tuple(map(float, residuals)),
        rows=len(rows),
        warnings=tuple(warnings),
    )


def _validate(rows: Sequence[Row]) -> None:
    if len(rows) < 4:
        raise DataError(f"Three constants need at least four measurements, got {len(rows)}.")
    for i, row in enumerate(rows, start=1):
        values = (row.bits, row.macs, row.seconds, row.joules)
        if not all(math.isfinite(v) and v >= 0 for v in values) or row.joules <= 0:
            raise DataError(f"Measurement {i} ({row.model}) needs joules > 0 and nothing negative, got {values}.")


def _design(rows: Sequence[Row]) -> tuple[Array, Array]:
    design = np.array([[r.bits, r.macs, r.seconds] for r in rows], dtype=np.float64) * _SCALE
    return design, np.array([r.joules for r in rows], dtype=np.float64)


def _condition(relative: Array) -> float:
    norms = np.linalg.norm(relative, axis=0)
    return math.inf if not norms.all() else float(np.linalg.cond(relative / norms))


def _solve(relative: Array) -> Array:
    from scipy.optimize import nnls

    norms = np.linalg.norm(relative, axis=0)
    norms[norms == 0] = 1.0
    solution, _ = nnls(relative / norms, np.ones(len(relative)))
    return np.asarray(solution / norms, dtype=np.float64)


def _not_identifiable(relative: Array, condition: float) -> str:
    names = list(UNITS)
    norms = np.linalg.norm(relative, axis=0)
    absent = [n for n, norm in zip(names, norms, strict=True) if norm == 0]
    if absent:
        what = {"e_mem": "moves any memory", "e_mac": "computes any MAC", "static": "has a time"}
        return f"The constants are not identifiable: no row {' or '.join(what[a] for a in absent)}. Add such rows."
    unit = relative / norms
    a, b = np.unravel_index(int((unit.T @ unit - np.eye(3)).argmax()), (3, 3))
    mixed = "measure several batch sizes, or networks with other MACs per weight (a CNN and an MLP)"
    clocks = "measure at several clock rates and add idle rows"
    advice = {frozenset({"e_mem", "e_mac"}): mixed}
    pair = frozenset({names[a], names[b]})
    return (
        f"The constants are not identifiable: {names[a]} and {names[b]} can't be told apart in these "
        f"{len(relative)} rows (condition number {condition:.1e}, at most {LIMIT:.0e} is usable). To tell them apart, "
        f"{advice.get(pair, clocks)}."
    )


def _bootstrap(relative: Array, draws: int, seed: int) -> dict[str, tuple[float, float]]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        sample = relative[rng.integers(0, len(relative), len(relative))]
        if _condition(sample) < LIMIT:
            found.append(_solve(sample))
    if len(found) < max(draws // 2, 1):
        return dict.fromkeys(UNITS, (0.0, math.inf))
    low, high = np.quantile(np.array(found), [0.025, 0.975], axis=0)
    return {k: (float(lo), float(hi)) for k, lo, hi in zip(UNITS, low, high, strict=True)}


def _left_out(rows: Sequence[Row], design: Array, joules: Array) -> dict[str, float]:
    errors: dict[str, float] = {}
    models = np.array([r.model for r in rows])
    for name in dict.fromkeys(r.model for r in rows if r.macs or r.bits):
        held = models == name
        rest = (design / joules[:, None])[~held]
        if len(rest) < 4 or not _condition(rest) < LIMIT:
            errors[name] = math.nan
            continue
        predicted = design[held] @ _solve(rest)
        errors[name] = float(100 * np.abs(predicted / joules[held] - 1).mean())
    return errors


# ----------------------------------------------------------------------------------------------- rows


def row_of(counts: Counts, batch: int, seconds: float, joules: float, precision: str = "fp32") -> Row:
    """A measurement of a counted network: weights once, KV cache and MACs per sample.

    Raises:
        ConfigError: unknown precision.
    """
    if precision not in BITS:
        raise ConfigError(f"Unknown precision '{precision}'. Allowed: {', '.join(BITS)}.")
    per = batch / max(counts.samples, 1)
    bits = BITS[precision] * (counts.params + per * counts.kv)
    return Row(counts.name, batch, bits, per * counts.macs, seconds, joules)


def read_rows(file: str | Path) -> list[Row]:
    """Measurements from a CSV file: ``model, batch, joules, seconds`` and, for a model that is not built in,
    ``weights`` and ``macs`` per sample (and ``kv`` values, ``precision`` or ``bits`` a value; fp32 where nothing is
    said). A model named ``idle`` needs joules and seconds only.

    Raises:
        DataError: as :func:`~fieldsight.systems.energy.data.read_table`, and every row that can't be used.
    """
    path = Path(file)
    problems: list[str] = []
    rows = []
    for line, cells in data.read_table(path, _COLUMNS, ("model", "batch", "joules", "seconds")):
        row = _row(cells, line, problems)
        if row is not None:
            rows.append(row)
    data.refuse(path, problems)
    return rows


def _row(cells: Mapping[str, str], line: int, problems: list[str]) -> Row | None:
    before = len(problems)

    def cell(column: str, default: str, least: float = 0.0) -> float:
        value = data.number(cells.get(column) or default, column, line, problems)
        if value < least:
            problems.append(f"line {line}: {column} must be >= {least:g}, got {value:g}")
        return value

    name = cells["model"] or f"row{line}"
    joules, seconds = cell("joules", "nothing"), cell("seconds", "nothing")
    if name.lower() == "idle":
        return Row("idle", 0, 0.0, 0.0, seconds, joules) if len(problems) == before else None
    batch = cell("batch", "nothing", 1.0)
    precision = cells.get("precision") or "fp32"
    if precision not in BITS:
        problems.append(f"line {line}: unknown precision '{precision}' ({', '.join(BITS)})")
        return None
    bits = cell("bits", str(BITS[precision]))
    if cells.get("weights") or cells.get("macs"):
        weights, macs, kv = (cell(c, "nothing" if c != "kv" else "0") for c in ("weights", "macs", "kv"))
    elif name in data.names():
        counts = data.model(name)
        weights, macs, kv = float(counts.params), float(counts.macs), float(counts.kv)
    else:
        problems.append(f"line {line}: '{name}' is no built-in model, so weights and macs must be given")
        return None
    if len(problems) > before:
        return None
    return Row(name, int(batch), bits * (weights + batch * kv), batch * macs, seconds, joules)


# ------------------------------------------------------------------------------------- synthetic meter


@dataclass(frozen=True)
class Meter:
    """A make-believe device with a power meter, to test the fit with.

    Attributes:
        e_mem, e_mac: pJ a bit and pJ a MAC.
        static: W.
        bandwidth: bytes a second.
        peak: MACs a second.
        noise: relative standard deviation of a reading.
        bits: of a weight.
    """

    e_mem: float = 4.5
    e_mac: float = 4.6
    static: float = 0.02
    bandwidth: float = 20e9
    peak: float = 50e9
    noise: float = 0.03
    bits: int = 32

    def read(self, counts: Counts, batch: int, clock: int, rng: np.random.Generator) -> Row:
        """One noisy reading: time is the slower of memory and MACs, times the clock factor."""
        moved, macs = (
            float(counts.params) * self.bits + batch * float(counts.kv) * self.bits,
            float(batch * counts.macs),
        )
        seconds = max(moved / 8 / self.bandwidth, macs / self.peak) * clock
        joules = (self.e_mem * moved + self.e_mac * macs) * 1e-12 + self.static * seconds
        return Row(counts.name, batch, moved, macs, seconds, joules * self._factor(rng))

    def idle(self, seconds: float, rng: np.random.Generator) -> Row:
        """One noisy reading of doing nothing."""
        return Row("idle", 0, 0.0, 0.0, seconds, self.static * seconds * self._factor(rng))

    def _factor(self, rng: np.random.Generator) -> float:
        return max(1 + self.noise * float(rng.standard_normal()), 0.05)

    def rows(self, seed: int, models: Iterable[Counts] | None = None, number: int = 25, idle: int = 5) -> list[Row]:
        """A campaign: random models, batches 1 to 32 and clock factors 1, 2, 4, then idle rows."""
        rng = np.random.default_rng(seed)
        known = list(models if models is not None else data.generated().values())
        found = []
        for _ in range(number):
            counts = known[int(rng.integers(len(known)))]
            found.append(self.read(counts, int(2 ** rng.integers(0, 6)), int(2 ** rng.integers(0, 3)), rng))
        return found + [self.idle(float(rng.uniform(0.1, 2.0)), rng) for _ in range(idle)]
