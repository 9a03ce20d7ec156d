"""Energy constants as data: TOML files in which every number names its source, its range and whether it was checked."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from fieldsight.config import read_toml
from fieldsight.errors import ConfigError, unknown

Precision = Literal["int4", "int8", "fp16", "bf16", "fp32"]

#: Bits of a value in each number format.
BITS: dict[str, int] = {"int4": 4, "int8": 8, "fp16": 16, "bf16": 16, "fp32": 32}

#: The profile that stands where nothing is said.
DEFAULT = "paper-45nm-lpddr5"

_FOLDER = Path(__file__).parent / "hardware"


@dataclass(frozen=True)
class Number:
    """A constant with where it is from.

    Attributes:
        value: the number.
        low, high: its plausible range, for sensitivity; equal to the value where nothing is known.
        source: publication or derivation, one line.
        checked: False where the number could not be compared with its source.
    """

    value: float
    low: float
    high: float
    source: str
    checked: bool = True


@dataclass(frozen=True)
class Memory:
    """A memory level: energy of an access in pJ a bit, and its size in bytes (0: no limit)."""

    name: str
    pj_per_bit: Number
    bytes: int = 0


@dataclass(frozen=True)
class InMemory:
    """A simple model of computing in a memory array, bit by bit of the activation.

    A MAC of w-bit weights with a-bit activations takes ``ceil(w / cell_bits)`` cells in as many columns, each read a
    times, and its share of a conversion per column and activation bit:

        e_mac = ceil(w / cell_bits) * a * (cell_pj + adc_pj / rows)
    """

    rows: int
    cell_bits: int
    cell_pj: Number
    adc_pj: Number

    def mac_pj(self, w_bits: float, a_bits: float) -> float:
        """Energy of one MAC in pJ."""
        return math.ceil(w_bits / self.cell_bits) * a_bits * (self.cell_pj.value + self.adc_pj.value / self.rows)


@dataclass(frozen=True)
class Hardware:
    """A technology profile.

    Attributes:
        name: file name without its ending.
        title: one line for people.
        node_nm: logic node in nm.
        year: year of the logic's numbers.
        dram: where weights, KV cache and spilled activations live.
        sram: on-chip levels, smallest first.
        mac: energy of one multiply-accumulate in pJ by number format.
        weight_factor: what is left of the weights' DRAM energy (1; less where weights stay in the arrays).
        in_memory: replaces ``mac`` where computing happens in the memory.
        bandwidth: DRAM bandwidth in GB/s.
        peak: 10^9 MACs a second.
        notes: what a reader must know.
    """

    name: str
    title: str
    node_nm: float
    year: int
    dram: Memory
    sram: tuple[Memory, ...]
    mac: Mapping[str, Number]
    weight_factor: Number
    in_memory: InMemory | None = None
    bandwidth: Number | None = None
    peak: Number | None = None
    notes: tuple[str, ...] = field(default=())

    def mac_pj(self, precision: str, w_bits: float | None = None, a_bits: float | None = None) -> float:
        """Energy of one MAC in pJ; bit widths matter to in-memory computing only.

        Raises:
            ConfigError: no such number format in this profile.
        """
        if self.in_memory is not None:
            bits = BITS.get(precision, 8)
            return self.in_memory.mac_pj(w_bits or bits, a_bits or bits)
        if precision not in self.mac:
            raise ConfigError(unknown(f"precision of the profile '{self.name}'", precision, self.mac))
        return self.mac[precision].value

    def with_constants(self, precision: str, pj_per_bit: float | None, pj_per_mac: float | None) -> Hardware:
        """The profile with its memory energy, or that of a MAC in one format, set by hand; None leaves it."""
        dram, mac, in_memory, by_hand = self.dram, dict(self.mac), self.in_memory, "set by hand"
        if pj_per_bit is not None:
            dram = replace(dram, pj_per_bit=Number(pj_per_bit, pj_per_bit, pj_per_bit, by_hand))
        if pj_per_mac is not None:
            mac[precision], in_memory = Number(pj_per_mac, pj_per_mac, pj_per_mac, by_hand), None
        return replace(self, dram=dram, mac=mac, in_memory=in_memory)

    def to_toml(self) -> str:
        """The profile as a file that :func:`load_hardware` reads; the name is the file's."""
        import tomlkit

        plain: dict[str, Any] = {"title": self.title, "node_nm": self.node_nm, "year": self.year}
        plain["notes"] = list(self.notes)
        plain["dram"] = {"name": self.dram.name, "pj_per_bit": _entry(self.dram.pj_per_bit)}
        plain["sram"] = [{"name": m.name, "bytes": m.bytes, "pj_per_bit": _entry(m.pj_per_bit)} for m in self.sram]
        plain["mac"] = {key: _entry(number) for key, number in self.mac.items()}
        plain["weights"] = {"factor": _entry(self.weight_factor)}
        if self.in_memory is not None:
            plain["in_memory"] = {
                "rows": self.in_memory.rows,
                "cell_bits": self.in_memory.cell_bits,
                "cell_pj": _entry(self.in_memory.cell_pj),
                "adc_pj": _entry(self.in_memory.adc_pj),
            }
        speeds = {"bandwidth_gb_s": self.bandwidth, "peak_gmac_s": self.peak}
        plain["roofline"] = {key: _entry(number) for key, number in speeds.items() if number is not None}
        return tomlkit.dumps(plain)

    def level(self, needed: float) -> Memory | None:
        """The smallest on-chip level that holds that many bytes, or None."""
        return next((m for m in self.sram if m.bytes == 0 or m.bytes >= needed), None)

    def unchecked(self) -> list[str]:
        """Names of the constants that could not be compared with their sources."""
        named = {
            f"{self.dram.name} pJ/bit": self.dram.pj_per_bit,
            **{f"{m.name} pJ/bit": m.pj_per_bit for m in self.sram},
            **({} if self.in_memory else {f"{k} MAC": n for k, n in self.mac.items()}),
            "weight factor": self.weight_factor,
            "bandwidth": self.bandwidth,
            "peak": self.peak,
        }
        if self.in_memory:
            named |= {"cell": self.in_memory.cell_pj, "ADC": self.in_memory.adc_pj}
        return [name for name, number in named.items() if number is not None and not number.checked]


def _entry(number: Number) -> dict[str, Any]:
    plain = {"value": number.value, "low": number.low, "high": number.high, "source": number.source}
    return plain if number.checked else {**plain, "checked": False}


def hardware_names() -> tuple[str, ...]:
    """Names of the shipped profiles, the default first."""
    return (DEFAULT, *sorted(p.stem for p in _FOLDER.glob("*.toml") if p.stem != DEFAULT))


def load_hardware(name: str | Path | Hardware = DEFAULT) -> Hardware:
    """A shipped profile by name, or one's own from a TOML file.

    Raises:
        ConfigError: unknown name; a file that is absent or is not TOML; every missing, unknown, badly typed or
            negative entry of it.
    """
    if isinstance(name, Hardware):
        return name
    if isinstance(name, Path) or str(name).endswith(".toml"):
        return _parse(Path(name), Path(name).stem)
    if str(name) not in hardware_names():
        names = hardware_names()
        raise ConfigError(f"{unknown('hardware profile', str(name), names)} Or give a .toml file of your own.")
    return _shipped(str(name))


@functools.cache
def _shipped(name: str) -> Hardware:
    return _parse(_FOLDER / f"{name}.toml", name)


# ---------------------------------------------------------------------------------------------- reading

_KEYS = {"title", "node_nm", "year", "base", "notes", "dram", "sram", "mac", "weights", "in_memory", "roofline"}
_ONE = Number(1.0, 1.0, 1.0, "weights are fetched from DRAM")


class _Problems(list[str]):
    """Everything that is wrong in one file."""


def _parse(file: Path, name: str) -> Hardware:
    table = read_toml(file)
    problems = _Problems()
    problems += [unknown("entry", key, sorted(_KEYS)) for key in table if key not in _KEYS]
    base = None
    if table.get("base") in hardware_names() and table["base"] != name:
        base = _shipped(table["base"])
    elif "base" in table:
        problems.append(unknown("base", str(table["base"]), hardware_names()))
    dram = _memory(table.get("dram"), "dram", problems) or (base.dram if base else None)
    levels = table.get("sram", [])
    if not isinstance(levels, list):
        problems.append("sram must be a list of tables: [[sram]]")
        levels = []
    sram = tuple(m for i, level in enumerate(levels) if (m := _memory(level, f"sram[{i}]", problems)))
    given = _table(table.get("mac", {}), "mac", problems)
    allowed = get_args(Precision)
    problems += [unknown("precision", key, allowed) for key in given if key not in allowed]
    mac = {k: n for k, v in given.items() if k in allowed and (n := _number(v, f"mac.{k}", problems))}
    speed = _table(table.get("roofline", {}), "roofline", problems)
    weights = _table(table.get("weights", {}), "weights", problems)
    made: dict[str, Any] = {
        "title": str(table.get("title", name)),
        "node_nm": _plain(table.get("node_nm", base.node_nm if base else None), "node_nm", problems),
        "year": int(_plain(table.get("year", base.year if base else None), "year", problems)),
        "sram": tuple(sorted(sram, key=lambda m: m.bytes or math.inf)) or (base.sram if base else ()),
        "mac": {**(base.mac if base else {}), **mac},
        "weight_factor": _number(weights["factor"], "weights.factor", problems) if "factor" in weights else _ONE,
        "in_memory": _in_memory(table.get("in_memory"), problems),
        "notes": tuple(str(n) for n in table.get("notes", ())) if isinstance(table.get("notes", []), list) else (),
    }
    for key, short in (("bandwidth_gb_s", "bandwidth"), ("peak_gmac_s", "peak")):
        made[short] = _number(speed[key], f"roofline.{key}", problems) if key in speed else None
    if dram is None and not any(p.startswith("dram") for p in problems):
        problems.append("dram is missing: [dram] with name and pj_per_bit")
    if not made["mac"] and made["in_memory"] is None:
        problems.append("mac is missing: [mac] with int8, fp16, ...")
    if problems or dram is None:
        raise ConfigError([f"{file}: {p}" for p in problems])
    return Hardware(name=name, dram=dram, **made)


def _table(value: Any, where: str, problems: _Problems) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    problems.append(f"{where} must be a table, got {value!r}")
    return {}


def _plain(value: Any, where: str, problems: _Problems) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        problems.append(f"{where} must be a number > 0, got {value!r}")
        return 1.0
    return float(value)


def _number(value: Any, where: str, problems: _Problems) -> Number | None:
    entry = {"value": value, "source": "not stated"} if isinstance(value, (int, float)) else value
    if not isinstance(entry, Mapping) or "value" not in entry:
        problems.append(f"{where} must be a number, or a table with value, low, high, source")
        return None
    extra = set(entry) - {"value", "low", "high", "source", "checked"}
    if extra:
        problems.append(f"{where}: {unknown('entry', sorted(extra)[0], ['value', 'low', 'high', 'source', 'checked'])}")
    numbers = [entry.get(key, entry["value"]) for key in ("value", "low", "high")]
    if any(isinstance(n, bool) or not isinstance(n, (int, float)) or not 0 <= n < math.inf for n in numbers):
        problems.append(f"{where}: value, low and high must be numbers >= 0, got {numbers}")
        return None
    middle, low, high = (float(n) for n in numbers)
    if not low <= middle <= high:
        problems.append(f"{where}: low <= value <= high must hold, got {low}, {middle}, {high}")
        return None
    source = entry.get("source")
    if not isinstance(source, str) or not source.strip():
        problems.append(f"{where} needs a source line")
    return Number(middle, low, high, str(source), bool(entry.get("checked", True)))


def _memory(value: Any, where: str, problems: _Problems) -> Memory | None:
    if value is None:
        return None
    table = _table(value, where, problems)
    number = _number(table.get("pj_per_bit"), f"{where}.pj_per_bit", problems)
    size = table.get("bytes", 0)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        problems.append(f"{where}.bytes must be a whole number >= 0, got {size!r}")
        return None
    return Memory(str(table.get("name", where)), number, size) if number else None


def _in_memory(value: Any, problems: _Problems) -> InMemory | None:
    if value is None:
        return None
    table = _table(value, "in_memory", problems)
    cell = _number(table.get("cell_pj"), "in_memory.cell_pj", problems)
    adc = _number(table.get("adc_pj"), "in_memory.adc_pj", problems)
    rows = int(_plain(table.get("rows"), "in_memory.rows", problems))
    bits = int(_plain(table.get("cell_bits"), "in_memory.cell_bits", problems))
    return InMemory(max(rows, 1), max(bits, 1), cell, adc) if cell and adc else None
