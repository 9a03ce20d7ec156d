"""What the specification wants to see in drawn streets (acceptance 12 and 13): how `paper` errs, what `nearest` and
`track` make of it, and what fog, sun, cities and noise do. 200 episodes of 8 s, half the wearers walking.

`paper` compares frames 0.5 s apart, as printed, but is scored at every frame (0.1 s).

    python studies/run.py alert effects
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fieldsight import progress, studies
from fieldsight.metrics.stats import bootstrap
from fieldsight.systems.alert.assess import assess
from fieldsight.systems.alert.config import PRESETS, AlertConfig
from fieldsight.systems.alert.replay import states_of
from fieldsight.systems.alert.scores import TABLE2, clustered, count
from fieldsight.systems.alert.sensors import PROFILES
from fieldsight.systems.alert.simulate import simulate

PAPER = PRESETS["paper"].replace(period=0.1, lag=5)
BASE = PRESETS["base"]
NEAREST = PRESETS["nearest"]
FIRST = 9_500_000
SPEEDS = (2.0, 4.0, 6.0, 8.0, 10.0, 14.0)


def run(seeds: tuple[int, ...] = (0,)) -> dict[str, Any]:
    first = FIRST + 10_000 * seeds[0]
    done = studies.Done("alert", "effects")
    parts = {}
    for name, make in (
        ("mixed", mixed), ("turns", turns), ("speed", speed), ("weather", weather), ("reach", reach),
    ):  # fmt: skip
        parts[name] = done.get({"part": name, "first": first}, partial(make, first))
        progress.note(f"{name}: {parts[name]}")
    return {"seeds": [first], "parts": parts, "claims": claims(parts)}


def claims(parts: dict[str, Any]) -> dict[str, bool]:
    """The effects that must appear, as yes or no."""
    rows = {(r["speed"], r["tti"]): r["recall"]["value"] for r in parts["mixed"]["table2"]}
    # a picture without holes, so that there is a background to jump from; the phone's drifts as well, and gives 1.9
    whole, car = parts["speed"]["pedestrian, perfect"], parts["speed"]["pedestrian, automotive"]
    return {
        "a: strict settings recall less": max(rows[-5.0, 3.0], rows[-2.2, 1.0]) < rows[-2.2, 3.0],
        "a: loose settings recall no less": min(rows[-2.2, 5.0], rows[-1.0, 3.0]) >= rows[-2.2, 3.0],
        "c: events are recalled more often than samples": parts["mixed"]["event_recall"]["paper"]
        > parts["mixed"]["sample_recall"]["paper"],
        "d: turning adds false alarms to paper": parts["turns"]["paper"]["turns"] > parts["turns"]["paper"]["static"],
        "e: paper overstates walkers twice and more (sensor perfect)": whole["paper"]["ratio_near"] > 2,
        "e: nearest is right within 10 %": car["nearest"]["median"] < 0.10,
    }


def mixed(first: int) -> dict[str, Any]:
    """(a), (b), (c), (g): 200 episodes of city traffic."""

    def episodes() -> Any:
        for n in range(200):
            wearer = "walk" if n % 2 else "stand"
            yield simulate(city="any", scenario="mixed", sensor="phone_lidar", wearer=wearer, seed=first + n)

    names = ("paper", "base")
    runs = assess(episodes(), [PAPER, BASE], 200, "mixed streets")
    table = []
    for v, t in TABLE2:
        clips = [r.at(v, t) for r in runs[0]]
        alert, danger = (np.concatenate([getattr(c, k) for c in clips]) for k in ("alert", "danger"))
        owner = [c.name for c in clips for _ in c.t]
        spread = clustered(alert, danger, owner)
        table.append({"speed": v, "tti": t, **{k: estimate(spread[k]) for k in ("precision", "recall")}})
    found: dict[str, Any] = {"table2": table, "event_recall": {}, "sample_recall": {}, "by_class": {}, "by_city": {}}
    for name, one in zip(names, runs, strict=True):
        clips = [r.clip for r in one]
        seen = [a for c in clips for a in c.approaches if a.seen]
        every = count(np.concatenate([c.alert for c in clips]), np.concatenate([c.danger for c in clips]))
        found["event_recall"][name] = sum(a.detected for a in seen) / len(seen)
        found["sample_recall"][name] = every.recall
        kinds = sorted({a.kind for a in seen})
        found["by_class"][name] = {
            k: [sum(a.kind == k and a.detected for a in seen), sum(a.kind == k for a in seen)] for k in kinds
        }
        found["by_city"][name] = {
            city: estimate(bootstrap([c.false_alarms / c.minutes for c in clips if c.city == city]))
            for city in sorted({c.city for c in clips})
        }
    return found


def estimate(e: Any) -> dict[str, float]:
    return {"value": e.value, "low": e.low, "high": e.high}


def turns(first: int) -> dict[str, Any]:
    """(d): a standing wearer in a street where nothing moves, turning and not; share of samples in alarm."""
    found: dict[str, dict[str, float]] = {"paper": {}, "base": {}, "nearest": {}}
    for name, config in (("paper", PAPER), ("base", BASE), ("nearest", NEAREST)):
        for scenario, wearer in (("wearer_turns", "stand"), ("static", "stand")):
            shares = []
            for n in range(30):
                r = simulate(scenario=scenario, wearer=wearer, seed=first + n)
                shares.append(np.mean([s.alert for s in states_of(r, config)]))
            found[name]["turns" if scenario == "wearer_turns" else "static"] = float(np.mean(shares))
    return found


def speed(first: int) -> dict[str, Any]:
    """(e) and acceptance 13: a walker at 2.8 m/s and a car at 8 m/s head-on; relative error at 1.5 to 10 m."""
    found: dict[str, Any] = {}
    for sensor in ("automotive", "phone_lidar", "perfect"):
        for kind, scenario, v, gap in (("pedestrian", "ped_head_on", 2.8, -0.5), ("car", "oncoming", 8.0, -1.15)):
            errors: dict[str, list[tuple[float, float]]] = {"nearest": [], "track": [], "paper": []}
            for n in range(20):
                r = simulate(scenario=scenario, kind=kind, speed=v, gap=gap, wearer="stand", alone=True, sensor=sensor,
                             seed=first + n)  # fmt: skip
                for name, config in (("nearest", NEAREST), ("track", BASE), ("paper", PAPER)):
                    errors[name] += readings(r, config)
            found[f"{kind}, {sensor}"] = {name: summary(np.array(rows)) for name, rows in errors.items()}
    return found


def readings(r: Any, config: AlertConfig) -> list[tuple[float, float]]:
    """True range, and measured over true closing speed, where something closes within 1.5 to 10 m."""
    actor = r.manifest.extra["actor"]
    here = np.asarray(r.truth["id"]) == actor
    t, reach, closing = (np.asarray(r.truth[k], dtype=float)[here] for k in ("t", "range", "closing"))
    rows = []
    for s in states_of(r, config):
        k = int(np.argmin(np.abs(t - s.t)))
        if s.state in ("alarm", "clear") and s.speed < 0 and 1.5 <= reach[k] <= 10 and closing[k] > 1:
            rows.append((float(reach[k]), -s.speed / closing[k]))
    return rows


def summary(rows: np.ndarray) -> dict[str, float]:
    """Median and 90 % of the relative error, whole and up to 5 m, and the median ratio within 6 m."""
    error = np.abs(rows[:, 1] - 1)
    near = rows[:, 0] <= 5
    return {
        "samples": len(rows), "median": float(np.median(error)), "p90": float(np.percentile(error, 90)),
        "median_to_5m": float(np.median(error[near])), "p90_to_5m": float(np.percentile(error[near], 90)),
        "ratio_near": float(np.median(rows[rows[:, 0] <= 6, 1])),
    }  # fmt: skip


def weather(first: int) -> dict[str, Any]:
    """(f) and noise: sample recall of dangers nearer and farther than 5 m, a car head-on on `automotive`."""
    found: dict[str, Any] = {}
    for air in ("cloud", "sun", "fog20", "rain30"):
        for name, config in (("paper", PAPER), ("base", BASE)):
            hits: dict[str, list[bool]] = {"to 5 m": [], "beyond": []}
            for n in range(20):
                r = simulate(scenario="oncoming", kind="car", speed=8.0, gap=-1.15, wearer="stand", sensor="automotive",
                             weather=air, seed=first + n)  # fmt: skip
                labels = r.labels
                times, danger = np.asarray(labels["t"]), np.asarray(labels["danger"]).astype(bool)
                here = np.asarray(r.truth["id"]) == r.manifest.extra["actor"]
                reach = np.interp(times, np.asarray(r.truth["t"])[here], np.asarray(r.truth["range"])[here])
                for s in states_of(r, config):
                    k = int(np.argmin(np.abs(times - s.t)))
                    if danger[k]:
                        hits["to 5 m" if reach[k] <= 5 else "beyond"].append(s.alert)
            found[f"{air}, {name}"] = {k: float(np.mean(v)) if v else None for k, v in hits.items()}
    return found


def reach(first: int) -> dict[str, Any]:
    """Lead time that a sensor's range allows at each speed, and what `base` and `paper` make of it: head-on, alone."""
    found: dict[str, Any] = {}
    for sensor in ("phone_lidar", "stereo", "automotive"):
        rows = []
        for v in SPEEDS:
            kind = "scooter" if v < 8 else "car"
            leads: dict[str, list[float]] = {"base": [], "paper": []}
            shown = []
            for n in range(8):
                r = simulate(scenario="oncoming", kind=kind, speed=v, gap=-0.6 if kind == "scooter" else -1.15,
                             wearer="stand", alone=True, sensor=sensor, seed=first + n, seconds=10.0)  # fmt: skip
                here = np.asarray(r.truth["id"]) == r.manifest.extra["actor"]
                t, ttc = np.asarray(r.truth["t"])[here], np.asarray(r.truth["ttc"], dtype=float)[here]
                seen = np.asarray(r.truth["returned"])[here] >= 5
                shown.append(float(ttc[np.argmax(seen)]) if seen.any() else 0.0)
                for name, config in (("base", BASE), ("paper", PRESETS["paper"])):
                    first_alarm = next((s.t for s in states_of(r, config) if s.alert), None)
                    lead = 0.0 if first_alarm is None else float(np.interp(first_alarm, t, np.minimum(ttc, 60)))
                    leads[name].append(lead)
            rows.append(
                {
                    "speed": v, "range_allows": PROFILES[sensor].max_range / v,
                    "first_returns": float(np.median(shown)),
                    **{name: float(np.median(values)) for name, values in leads.items()},
                }
            )  # fmt: skip
        found[sensor] = rows
    return found
