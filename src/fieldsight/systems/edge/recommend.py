"""Which board, model and precision: constraints, the Pareto front, a ranking with reasons in words, and near misses.

Nothing is guessed: what a row does not tell is 'not measured', and a constraint on it is not met.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fieldsight.config import Config, setting
from fieldsight.data.files import write_json, write_text
from fieldsight.errors import ConfigError, DataError
from fieldsight.predictions import Picture, Prediction, Table
from fieldsight.systems.edge import profiles
from fieldsight.systems.edge.profiles import BenchRow, paper_rows
from fieldsight.systems.edge.simulate import break_even_ms

Prefer = Literal["epi", "map", "fps", "power", "latency"]


@dataclass(frozen=True)
class Constraints(Config):
    """What a mission needs. What is left out is free."""

    min_map: float | None = setting(None, "least mAP50-95", ge=0, le=1)
    min_map50: float | None = setting(None, "least mAP50", ge=0, le=1)
    min_fps: float | None = setting(None, "least frames a second", ge=0, le=1e6)
    rate: Literal["mis", "loop", "rtt"] = setting(
        "mis", "frames a second of what: the model alone (MIS), the whole loop on the board (IPM / 60), or 1 / RTT"
    )
    max_power: float | None = setting(None, "most mean power of the board", unit="W", gt=0, le=1e6)
    max_epi: float | None = setting(None, "most energy of an inference", unit="J", gt=0, le=1e9)
    max_latency: float | None = setting(None, "most time from frame to answer", unit="ms", gt=0, le=1e9)
    max_weight: float | None = setting(None, "most weight of the board in g", gt=0, le=1e9)
    battery_wh: float | None = setting(None, "energy of the battery in Wh", gt=0, le=1e9)
    airframe_w: float = setting(
        0.0, "power of all the rest that the battery feeds, flying included, in W", ge=0, le=1e9
    )
    min_endurance: float | None = setting(None, "least time on one battery", unit="min", gt=0, le=1e9)
    network_rtt: float | None = setting(None, "round trip to a cloud with all that is sent", unit="ms", ge=0, le=1e9)
    prefer: Prefer = setting("epi", "what decides among those that fit: energy, accuracy, speed, power or latency")

    rules = (
        (
            lambda c: c.min_endurance is None or c.battery_wh is not None,
            "min_endurance needs battery_wh: give the battery's energy in Wh.",
        ),
    )


@dataclass(frozen=True)
class Broken:
    """A constraint that a configuration does not meet: its name, by how much as a share of what was asked (infinite
    where the value was not measured), and the words for it."""

    name: str
    by: float
    text: str


@dataclass(frozen=True)
class Judged:
    """A configuration against the constraints.

    Attributes:
        row: its numbers.
        broken: constraints that it does not meet; none for one that fits.
        met: the words for those that it meets.
        front: whether no other one that fits is better in accuracy, speed and energy at once; None where one of the
            three was not measured, or it does not fit.
        notes: what to know beside.
    """

    row: BenchRow
    broken: tuple[Broken, ...]
    met: tuple[str, ...]
    front: bool | None = None
    notes: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """The whole in words."""
        if self.broken:
            return "; ".join(b.text for b in self.broken)
        seen = {
            True: "on the Pareto front",
            False: "not on the Pareto front",
            None: "Pareto front: not all was measured",
        }
        return "; ".join((*self.met, seen[self.front], *self.notes))


@dataclass(frozen=True)
class Recommendation(Prediction):
    """Configurations that fit, best first; those that miss one constraint by a quarter or less; and the others.

    Attributes:
        constraints: what was asked.
        ranked, near, others: the configurations.
        notes: on the question as a whole, such as edge or cloud.
    """

    constraints: Constraints
    ranked: tuple[Judged, ...]
    near: tuple[Judged, ...]
    others: tuple[Judged, ...]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> BenchRow | None:
        """The first of those that fit; None where none does."""
        return self.ranked[0].row if self.ranked else None

    def table(self) -> Table:
        """All configurations, one row each, with their reasons."""
        rows = []
        for verdict, group in (("fits", self.ranked), ("near miss", self.near), ("no", self.others)):
            for place, judged in enumerate(group, 1):
                rows.append({
                    "verdict": verdict, "rank": place if verdict == "fits" else None, "configuration": judged.row.name,
                    **{name: value_of(judged.row, name, self.constraints) for name in _UNITS}, "front": judged.front,
                    "reason": judged.reason,
                })  # fmt: skip
        columns = {"verdict": "", "rank": "", "configuration": "", **_UNITS, "front": "", "reason": ""}
        return Table(columns, rows, "Recommendation", {"notes": list(self.notes)})

    def lines(self) -> list[str]:
        """The ranking, the near misses and the notes as sentences."""
        lines = [f"{i}. {j.row.name}: {j.reason}" for i, j in enumerate(self.ranked, 1)]
        lines = lines or ["No configuration fits. The nearest ones stand below; loosen what they break."]
        lines += [f"near miss: {j.row.name}: {j.reason}" for j in self.near]
        return [*lines, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """The question and the table."""
        return {"constraints": self.constraints.to_dict(), **self.table().to_dict()}

    def save(self, folder: str | Path, stem: str | Path = "recommendation") -> list[Path]:
        """Write JSON and CSV."""
        base = Path(folder) / stem
        return [
            write_json(base.with_name(f"{base.name}.json"), self.to_dict()),
            write_text(base.with_name(f"{base.name}.csv"), self.table().to_csv()),
        ]

    def draw(self) -> Picture:
        """The table as a picture."""
        return self.table().draw()

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """For a page."""
        return {"best": self.best.name if self.best else "none fits", "notes": "; ".join(self.notes)}, [self.table()]


_UNITS = {"map50_95": "", "map50": "", "fps": "1/s", "power": "W", "epi": "J", "latency": "ms", "inferences_per_wh": "",
          "endurance": "min", "weight": "g"}  # fmt: skip


def value_of(row: BenchRow, name: str, asked: Constraints) -> float | None:
    """One number of a row under the names of the table; None where it was not measured."""
    rtt = None if not row.rtt_ms else 1000.0 / row.rtt_ms
    values: dict[str, float | None] = {
        "map50_95": row.map50_95, "map50": row.map50, "power": row.mean_power_w, "epi": row.epi_j,
        "latency": row.loop_ms, "weight": row.weight_g,
        "fps": {"mis": row.mis_fps, "loop": row.loop_fps, "rtt": rtt}[asked.rate],
        "inferences_per_wh": inferences_per_wh(row.epi_j) if row.epi_j else None,
    }  # fmt: skip
    if name == "endurance":
        power = row.mean_power_w
        return (
            None if asked.battery_wh is None or not power else endurance_min(asked.battery_wh, power, asked.airframe_w)
        )
    return values[name]


def inferences_per_wh(epi_j: float) -> float:
    """Inferences that one Wh pays for: 3600 / EPI.

    Raises:
        ConfigError: an energy that is not above 0.
    """
    if not epi_j > 0:
        raise ConfigError(f"The energy of an inference must be above 0 J, got {epi_j}.")
    return 3600.0 / epi_j


def endurance_min(battery_wh: float, power_w: float, airframe_w: float = 0.0) -> float:
    """Minutes that a battery lasts under the board's mean power and that of the rest; all of it is taken as usable.

    Raises:
        ConfigError: no battery, or no power at all.
    """
    if not battery_wh > 0 or not power_w + airframe_w > 0:
        raise ConfigError(
            f"Endurance needs a battery above 0 Wh and a power above 0 W, got {battery_wh} and {power_w}."
        )
    return 60.0 * battery_wh / (power_w + airframe_w)


# ----------------------------------------------------------------------------------------------------------- judging

#: Constraint, the value it holds for, whether it is a least or a most, words and unit.
_CHECKS = (
    ("min_map", "map50_95", 1, "mAP50-95", ""), ("min_map50", "map50", 1, "mAP50", ""),
    ("min_fps", "fps", 1, "speed", " FPS"), ("max_power", "power", -1, "power", " W"),
    ("max_epi", "epi", -1, "energy of an inference", " J"), ("max_latency", "latency", -1, "latency", " ms"),
    ("max_weight", "weight", -1, "weight", " g"), ("min_endurance", "endurance", 1, "endurance", " min"),
)  # fmt: skip

#: A configuration that misses one constraint by at most this share is a near miss.
NEAR = 0.25

#: What is best of all three at once is on the front; +1: more is better.
_OBJECTIVES = {"map50_95": 1, "fps": 1, "epi": -1}


def recommend(asked: Constraints, rows: Sequence[BenchRow] | None = None) -> Recommendation:
    """Judge, rank and explain.

    Args:
        asked: the constraints.
        rows: configurations; by default the paper's Table 4.

    Those that fit are ordered by ``asked.prefer``, then by accuracy, speed and name. On the Pareto front is what no
    other fitting configuration equals in mAP50-95, speed and energy and beats in one of them.

    Raises:
        DataError: no rows.
    """
    given = paper_rows() if rows is None else tuple(rows)
    if not given:
        raise DataError("There are no configurations to choose from. Give rows of bench, or none for the paper's.")
    judged = [_judge(row, asked) for row in given]
    fitting = [j for j in judged if not j.broken]
    front = pareto([j.row for j in fitting], asked)
    fitting = [replace(j, front=on) for j, on in zip(fitting, front, strict=True)]
    ranked = sorted(fitting, key=lambda j: _order(j.row, asked.prefer, asked))
    missing = sorted(
        (j for j in judged if j.broken), key=lambda j: (len(j.broken), sum(b.by for b in j.broken), j.row.name)
    )
    near = tuple(j for j in missing if len(j.broken) == 1 and j.broken[0].by <= NEAR)
    others = tuple(j for j in missing if j not in near)
    return Recommendation(asked, tuple(ranked), near, others, _notes(asked, [j.row for j in ranked]))


def _judge(row: BenchRow, asked: Constraints) -> Judged:
    broken, met = [], []
    for name, key, sign, words, unit in _CHECKS:
        bound = getattr(asked, name)
        if bound is None:
            continue
        value, limit = value_of(row, key, asked), f"{'at least' if sign > 0 else 'at most'} {bound:g}{unit}"
        if value is None:
            broken.append(Broken(name, math.inf, f"{words} not measured, {limit} asked"))
        elif sign * (value - bound) < 0:
            by = abs(value - bound) / bound  # a bound of 0 is never broken
            broken.append(Broken(name, by, f"{words} {value:.4g}{unit}, {limit} asked ({100 * by:.1f} % off)"))
        else:
            met.append(f"{words} {value:.4g}{unit} ({limit})")
    if row.epi_j is not None and asked.max_epi is None:
        met.append(f"{row.epi_j:.3f} J an inference")
    if row.epi_j:
        met.append(f"{inferences_per_wh(row.epi_j):,.0f} inferences a Wh")
    notes = list(row.notes)
    if asked.min_fps and asked.rate == "mis" and row.loop_fps is not None and row.loop_fps < asked.min_fps:
        notes.append(f"its whole loop holds {row.loop_fps:.1f} FPS only (IPM / 60)")
    return Judged(row, tuple(broken), tuple(met), None, tuple(notes))


def _order(row: BenchRow, prefer: str, asked: Constraints) -> tuple[float, float, float, str]:
    """Smaller is better; what was not measured comes last."""

    def of(name: str, sign: int) -> float:
        value = value_of(row, name, asked)
        return math.inf if value is None else -sign * value

    key, sign = {"epi": ("epi", -1), "map": ("map50_95", 1), "fps": ("fps", 1), "power": ("power", -1),
                 "latency": ("latency", -1)}[prefer]  # fmt: skip
    return of(key, sign), of("map50_95", 1), of("fps", 1), row.name


def pareto(rows: Sequence[BenchRow], asked: Constraints | None = None) -> list[bool | None]:
    """Whether each row is on the front of mAP50-95 and speed (more is better) and energy of an inference (less is).

    An objective that no row has is left out; a row that lacks one of the others is None.
    """
    asked = asked or Constraints()
    points = [{k: value_of(r, k, asked) for k in _OBJECTIVES} for r in rows]
    used = [k for k in _OBJECTIVES if any(p[k] is not None for p in points)]
    better = [
        None if any(p[k] is None for k in used) else [_OBJECTIVES[k] * (p[k] or 0.0) for k in used] for p in points
    ]
    known = [b for b in better if b is not None]

    def beaten(mine: list[float]) -> bool:
        return any(o != mine and all(a >= b for a, b in zip(o, mine, strict=True)) for o in known)

    return [None if b is None or not used else not beaten(b) for b in better]


def _notes(asked: Constraints, ranked: Sequence[BenchRow]) -> tuple[str, ...]:
    if asked.network_rtt is None:
        return ()
    cloud = float(profiles.printed()["table6"]["cloud"]["processing"][0])
    total = cloud + asked.network_rtt
    text = f"A T4 in the cloud (s FP16, {cloud:g} ms, Table 6) would answer after {total:.2f} ms"
    best = ranked[0] if ranked else None
    if best is None or best.loop_ms is None:
        return (f"{text}.",)
    even = break_even_ms(best.loop_ms, cloud)
    who = "the cloud is faster" if asked.network_rtt < even else "the edge is faster"
    return (
        f"{text}, {best.name} after {best.loop_ms:.2f} ms: {who}; they are even at {even:.2f} ms of communication.",
    )


# ----------------------------------------------------------------------------------------------------------- missions


@dataclass(frozen=True)
class Mission:
    """A mission as a rule over a table of configurations.

    Attributes:
        need, area: the paper's words.
        rule: ours, in words.
        asked: the constraints, and what decides.
        within: of those that fit, only the ones this near to the best mAP50-95 are kept; None keeps all.
    """

    need: str
    area: str
    rule: str
    asked: Constraints
    within: float | None = None

    def pick(self, rows: Sequence[BenchRow]) -> BenchRow | None:
        """The configuration that the rule chooses; None where none fits."""
        ranked = [j.row for j in recommend(self.asked, rows).ranked]
        accuracies = [r.map50_95 for r in ranked if r.map50_95 is not None]
        if self.within is not None and accuracies:
            floor = max(accuracies) - self.within - 1e-9
            ranked = [r for r in ranked if r.map50_95 is not None and r.map50_95 >= floor]
        return ranked[0] if ranked else None


def missions() -> tuple[Mission, ...]:
    """The five needs of Table 7 with rules that choose from numbers; 0.002 mAP is taken for noise (Table 4's own)."""
    rules: tuple[tuple[str, dict[str, Any], float | None], ...] = (
        ("least power with at least 30 FPS and mAP50 0.8", {"min_fps": 30, "min_map50": 0.8, "prefer": "power"}, None),
        ("most FPS", {"prefer": "fps"}, None),
        ("least power within 0.002 of the best mAP50-95 at 30 FPS or more", {"min_fps": 30, "prefer": "power"}, 0.002),
        ("most FPS within 0.02 of the best mAP50-95 at 30 FPS or more", {"min_fps": 30, "prefer": "fps"}, 0.02),
        ("least power with a whole loop of at least 5 FPS", {"min_fps": 5, "rate": "loop", "prefer": "power"}, None),
    )
    return tuple(
        Mission(row["need"], row["area"], rule, Constraints(**asked), within)
        for row, (rule, asked, within) in zip(profiles.printed()["table7"], rules, strict=True)
    )


def table7(rows: Sequence[BenchRow] | None = None) -> Table:
    """Table 7 again: for each need what its rule chooses among the rows (the paper's by default)."""
    given, found = paper_rows() if rows is None else tuple(rows), []
    for mission in missions():
        chosen = mission.pick(given)
        values = {k: None if chosen is None else value_of(chosen, k, mission.asked) for k in _TABLE7}
        found.append({"need": mission.need, "area": mission.area, "rule": mission.rule,
                      "configuration": "none fits" if chosen is None else chosen.name, **values})  # fmt: skip
    columns = {"need": "", "area": "", "rule": "", "configuration": "", **{k: _UNITS[k] for k in _TABLE7}}
    return Table(columns, found, "Recommended configurations by need")


_TABLE7 = ("map50_95", "map50", "fps", "power", "epi", "latency")
