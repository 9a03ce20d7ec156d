"""The goal: fewer misses and fewer false alarms than `paper`, on held-out simulated approaches, by sensor.

Blocks of 200 approaches from the seeds in heldout.toml, over all cities and wearers; four engines on the same
streams at the paper's default thresholds. Intervals resample recordings.

    python studies/run.py alert goal [--seeds 0,1]     # seeds are blocks: first + 100,000 * block
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight import progress, studies
from fieldsight.config import read_toml
from fieldsight.engine.seed import rng_for
from fieldsight.metrics.stats import mcnemar, wilson
from fieldsight.systems.alert.assess import assess, simulated
from fieldsight.systems.alert.config import PRESETS
from fieldsight.systems.alert.scores import TABLE2, Counts, count

SENSORS = ("phone_lidar", "stereo", "automotive", "range")
MODES = ("base", "nearest", "paper", "authors_app")
DRAWS = 4000


#: Blocks 0 and 1 were looked at once, with an engine that missed as much as `paper` (automotive 50 of 662 against 62,
#: stereo 86 of 647 against 79); it was tuned further on tuning seeds. The claim rests on blocks nobody had seen.
LOOKED_AT = (0, 1)


def run(seeds: tuple[int, ...] = (2, 3)) -> dict[str, Any]:
    held = read_toml(Path(__file__).with_name("heldout.toml"))["held_out"]
    done = studies.Done("alert", "goal")
    blocks: dict[str, list[dict[str, Any]]] = {sensor: [] for sensor in SENSORS}
    for block in seeds:
        for sensor in SENSORS:
            first = int(held["first"]) + 100_000 * block
            key = {"sensor": sensor, "first": first, "approaches": int(held["approaches"])}
            blocks[sensor].append(done.get(key, partial(one, sensor, first, int(held["approaches"]))))
            progress.note(f"block {block}, {sensor}: {line(blocks[sensor][-1:])}")
    claims = {sensor: claim(parts) for sensor, parts in blocks.items()}
    claims["depth sensors together"] = claim([p for s in SENSORS[:3] for p in blocks[s]])
    first_block = {sensor: claim(parts[:1]) for sensor, parts in blocks.items()}
    return {
        "looked_at_before": list(LOOKED_AT),
        "seeds": [int(held["first"]) + 100_000 * b for b in seeds],
        "approaches_a_block": int(held["approaches"]),
        "thresholds": {"speed": -2.2, "tti": 3.0},
        "claims": claims,
        "first_block": first_block,
        "by_class": grouped(blocks, "kind"),
        "by_city": grouped(blocks, "city"),
        "table2": table2(blocks),
    }


def one(sensor: str, first: int, approaches: int) -> dict[str, Any]:
    """One block: a row a recording and engine, a row an approach."""
    configs = [PRESETS[m] for m in MODES]
    runs = assess(simulated(first, approaches, sensor), configs, approaches, f"{sensor} from {first}")
    clips = []
    events = []
    for n in range(approaches):
        row: dict[str, Any] = {}
        for mode, one_mode in zip(MODES, runs, strict=True):
            c = one_mode[n].clip
            row[mode] = [c.false_alarms, round(c.false_seconds, 3), round(c.minutes, 5), c.flips,
                         *counts(count(c.alert, c.danger)), int(c.judged.sum()), len(c.t)]  # fmt: skip
        clips.append(row)
        for k, a in enumerate(runs[0][n].clip.approaches):
            events.append(
                {
                    "clip": n, "kind": a.kind, "city": a.city, "seen": a.seen, "fast": a.fast,
                    "closing": round(a.closing, 2),
                    "modes": {
                        mode: [r[n].clip.approaches[k].detected, round(float(r[n].clip.approaches[k].lead), 3),
                               r[n].clip.approaches[k].in_time]
                        for mode, r in zip(MODES, runs, strict=True)
                    },
                }
            )  # fmt: skip
    paper = runs[MODES.index("paper")]
    sweep = []
    for speed, tti in TABLE2:
        parts = [r.at(speed, tti) for r in paper]
        sweep.append([speed, tti, *np.sum([counts(count(p.alert, p.danger)) for p in parts], axis=0).tolist()])
    return {"clips": clips, "events": events, "table2": sweep}


def counts(c: Counts) -> list[int]:
    return [c.tp, c.fp, c.fn, c.tn]


def line(parts: list[dict[str, Any]]) -> str:
    found = claim(parts)
    return "; ".join(
        f"{m}: missed {found[m]['missed']}/{found['approaches']}, {found[m]['false_per_minute']:.2f} false a minute"
        for m in ("base", "paper")
    )


def claim(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What one sensor's blocks say: every engine's numbers, and base against paper with intervals over recordings."""
    clips = [c for p in parts for c in p["clips"]]
    offsets = np.cumsum([0] + [len(p["clips"]) for p in parts])
    events = [{**e, "clip": e["clip"] + int(o)} for p, o in zip(parts, offsets[:-1], strict=True) for e in p["events"]]
    seen = [e for e in events if e["seen"]]
    found: dict[str, Any] = {
        "recordings": len(clips),
        "minutes": round(sum(c["base"][2] for c in clips), 2),
        "approaches": len(seen),
        "unseen": len(events) - len(seen),
        "fast": sum(e["fast"] for e in seen),
    }
    for mode in MODES:
        missed = [e for e in seen if not e["modes"][mode][0]]
        leads = [e["modes"][mode][1] for e in seen if e["modes"][mode][0]]
        table = np.array([c[mode] for c in clips], dtype=float).sum(axis=0)
        w = wilson(len(missed), len(seen))
        tp, fp, fn, _ = table[4:8]
        found[mode] = {
            "missed": len(missed), "missed_share": w.value, "low": w.low, "high": w.high,
            "unseen_missed": sum(not e["seen"] and not e["modes"][mode][0] for e in events),
            "false_per_minute": table[0] / table[2], "false_share": table[1] / table[2] / 60,
            "flips_per_minute": table[3] / table[2], "judged": table[8] / table[9],
            "lead": float(np.median(leads)) if leads else None,
            "fast_late": sum(e["fast"] and not e["modes"][mode][2] for e in seen),
            "precision": tp / (tp + fp) if tp + fp else None, "recall": tp / (tp + fn) if tp + fn else None,
        }  # fmt: skip
    found["base against paper"] = against(clips, seen)
    return found


def against(clips: list[dict[str, Any]], seen: list[dict[str, Any]]) -> dict[str, Any]:
    n = len(clips)
    rows = np.zeros((n, 7))  # misses of both, approaches, false alarms of both, false seconds of both
    for e in seen:
        rows[e["clip"], 0] += not e["modes"]["base"][0]
        rows[e["clip"], 1] += not e["modes"]["paper"][0]
        rows[e["clip"], 2] += 1
    for k, c in enumerate(clips):
        rows[k, 3:5] = c["base"][0], c["paper"][0]
        rows[k, 5:7] = c["base"][1], c["paper"][1]
    minutes = np.array([c["base"][2] for c in clips])
    chosen = rng_for(0, "goal", n).integers(n, size=(DRAWS, n))
    sums, time = rows[chosen].sum(axis=1), minutes[chosen].sum(axis=1)
    whole, total = rows.sum(axis=0), minutes.sum()
    only_base = sum(e["modes"]["base"][0] and not e["modes"]["paper"][0] for e in seen)
    only_paper = sum(e["modes"]["paper"][0] and not e["modes"]["base"][0] for e in seen)
    leads = [e["modes"]["base"][1] - e["modes"]["paper"][1] for e in seen
             if e["modes"]["base"][0] and e["modes"]["paper"][0]]  # fmt: skip
    return {
        "missed_share": interval((whole[0] - whole[1]) / whole[2], (sums[:, 0] - sums[:, 1]) / sums[:, 2]),
        "false_per_minute": interval((whole[3] - whole[4]) / total, (sums[:, 3] - sums[:, 4]) / time),
        "false_share": interval((whole[5] - whole[6]) / total / 60, (sums[:, 5] - sums[:, 6]) / time / 60),
        "only_base_announced": int(only_base), "only_paper_announced": int(only_paper),
        "mcnemar_p": mcnemar(int(only_paper), int(only_base)),
        "lead_gained": {
            "median": float(np.median(leads)) if leads else None,
            "quartiles": np.percentile(leads, [25, 75]).tolist() if leads else None,
        },
    }  # fmt: skip


def interval(value: float, draws: np.ndarray) -> dict[str, float]:
    kept = draws[np.isfinite(draws)]
    low, high = np.percentile(kept, [2.5, 97.5]) if kept.size else (math.nan, math.nan)
    return {"value": float(value), "low": float(low), "high": float(high)}


def grouped(blocks: dict[str, list[dict[str, Any]]], key: str) -> dict[str, Any]:
    """Visible approaches of the three depth sensors, by class or city: misses and late fast ones of each engine."""
    table: dict[str, dict[str, Any]] = {}
    for sensor in SENSORS[:3]:
        for part in blocks[sensor]:
            for e in part["events"]:
                if not e["seen"]:
                    continue
                row = table.setdefault(e[key], {"approaches": 0, **{m: {"missed": 0, "leads": []} for m in MODES}})
                row["approaches"] += 1
                for m in MODES:
                    row[m]["missed"] += not e["modes"][m][0]
                    if e["modes"][m][0]:
                        row[m]["leads"].append(e["modes"][m][1])
    for row in table.values():
        for m in MODES:
            leads = row[m].pop("leads")
            row[m]["lead"] = float(np.median(leads)) if leads else None
            w = wilson(row[m]["missed"], row["approaches"])
            row[m] |= {"low": w.low, "high": w.high}
    return {k: table[k] for k in sorted(table)}


def table2(blocks: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The paper's thresholds, its algorithm, our drawn approaches of the three depth sensors."""
    total = np.sum([np.array(p["table2"])[:, 2:] for s in SENSORS[:3] for p in blocks[s]], axis=0)
    rows = []
    for (speed, tti), cells in zip(TABLE2, total, strict=True):
        c = Counts(*(int(v) for v in cells))
        ratios = {k: round(getattr(c, k), 4) for k in ("accuracy", "precision", "recall", "f1")}
        rows.append({"speed": speed, "tti": tti, "TP": c.tp, "FP": c.fp, "FN": c.fn, "TN": c.tn, **ratios})
    return rows
