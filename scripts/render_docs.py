"""Fill the tables of README and docs from records: cards, studies, benchmarks. ``--check`` only compares.

    python scripts/render_docs.py [--check]

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; NAME is a function below. No number in a page is
typed by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tables_crack
import tables_edge
import tables_stego
import tables_vessel

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/**/*.md", "src/fieldsight/systems/*/README.md", "benchmarks/README.md")
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    stale = []
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            filled = BLOCK.sub(lambda m: f"{m[1]}{render(m[2])}{m[3]}", text)
            if filled != text:
                stale.append(str(path.relative_to(ROOT)))
                if "--check" not in sys.argv:
                    path.write_text(filled, encoding="utf-8")
    for name in stale:
        print(f"{'stale' if '--check' in sys.argv else 'filled'}: {name}")
    return 1 if stale and "--check" in sys.argv else 0


def render(name: str) -> str:
    return TABLES[name]()


def study(system: str, name: str) -> dict[str, Any] | None:
    path = ROOT / "studies" / system / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def table(header: list[str], rows: list[list[str]], note: str = "") -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n" + (f"\n{note}\n" if note else "")


def made(record: dict[str, Any], make: str) -> str:
    return f"Made by `{make}`, commit {record['commit'] or '?'}, {record['date'][:10]}."


def seeds_of(record: dict[str, Any]) -> str:
    count = len(record["seeds"])
    return f"{count} seed{'s' * (count != 1)}"


def interval(entry: dict[str, Any], digits: int = 4) -> str:
    return f"{entry['value']:.{digits}f} [{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"


# --------------------------------------------------------------------------------------------------------- sem


def sem_second_stage() -> str:
    record = study("sem", "second_stage")
    if record is None:
        return "Not recorded yet.\n"
    rows = []
    for epochs in record["epochs"]:
        for variant in (
            "baseline",
            "transfer",
            "gamma 1",
            "continue decoder",
            "continue all",
            "unfrozen",
            "joint data",
        ):
            entry = record["claims"][f"{epochs} epochs/{variant}"]
            wins = "" if variant == "baseline" else f"{entry['better_mae_than_baseline']}/{len(record['seeds'])}"
            rows.append(
                [
                    str(epochs), variant, interval(entry["mae"]), interval(entry["coverage"], 3),
                    interval(entry["interval_score_val"]), wins,
                ]
            )  # fmt: skip
    header = ["epochs of baseline", "second stage", "test MAE", "coverage at the baseline's q*",
              "interval score, recalibrated", "MAE better than baseline"]  # fmt: skip
    note = (
        "Brackets: 95 % bootstrap interval over seeds. *transfer* is the paper's (gamma 1.3 on calibration pictures, "
        "encoder and bottleneck frozen); *gamma 1* leaves out the weights; *continue* trains on the training pictures "
        "for as many steps. " + made(record, "make study SYSTEM=sem NAME=second_stage")
    )
    return table(header, rows, note)


def sem_recipes() -> str:
    record = study("sem", "recipes")
    if record is None:
        return "Not recorded yet.\n"
    rows = []
    for name, entry in record["claims"].items():
        if name in ("winner", "best", "holm"):
            continue
        against = entry.get("interval_score against paper, transfer")
        difference = (
            "" if against is None else f"{against['value']:+.4f} [{against['low']:+.4f}, {against['high']:+.4f}]"
        )
        shown = f"**{name}**" if name == record["claims"]["winner"] else name
        rows.append(
            [
                shown,
                interval(entry["mae"]),
                interval(entry["coverage"], 3),
                interval(entry["interval_score"]),
                difference,
            ]
        )
    header = [
        "recipe, equal number of steps",
        "test MAE",
        "coverage",
        "interval score",
        "difference from the paper's recipe",
    ]
    note = (
        "Coverage with a threshold from layouts nothing was trained on. Bold: the simplest recipe that is not shown to "
        "be worse than the best. "
    ) + made(record, "make study SYSTEM=sem NAME=recipes")
    return table(header, rows, note)


def sem_verdict() -> str:
    recipes, stage = study("sem", "recipes"), study("sem", "second_stage")
    if recipes is None or stage is None:
        return "Not recorded yet.\n"
    claims = stage["claims"]
    seeds = len(stage["seeds"])
    short, long = stage["epochs"][0], stage["epochs"][-1]
    wins = claims[f"{short} epochs/transfer"]["better_mae_than_baseline"]
    late = claims[f"{long} epochs/transfer"]["better_mae_than_baseline"]
    gap = claims[f"{short} epochs/gamma 1"]["mae against transfer"]
    more = claims[f"{short} epochs/continue all"]["mae against transfer"]
    scores = {
        n: e["interval_score"]["value"] for n, e in recipes["claims"].items() if isinstance(e, dict) and "mae" in e
    }
    alone = scores["paper, no second stage"]
    return (
        f"After {short} epoch of baseline the second stage lowers test MAE in {wins} of {seeds} seeds; after {long} "
        f"epochs in {late} of {seeds}. The outlier weights move MAE by {-gap['value']:+.5f} against gamma 1, and plain "
        f"continued training on the training pictures gives {more['value']:+.5f} against the paper's second stage. "
        "Against a baseline without a second stage, the interval score moves by "
        f"{scores['paper, transfer'] - alone:+.5f} with the paper's second stage, by "
        f"{scores['longer baseline'] - alone:+.5f} when the baseline goes on for as many steps, and by "
        f"{scores['cosine'] - alone:+.5f} when its learning rate also falls to zero. The recipe that ships is "
        f"*{recipes['claims']['winner']}*.\n"
    )


def sem_uncertainty() -> str:
    record = study("sem", "uncertainty")
    if record is None:
        return "Not recorded yet.\n"
    rows = [
        [name, interval(e["mae"]), interval(e["coverage"], 3), interval(e["width"]), interval(e["interval_score"]),
         interval(e["coverage_edge"], 3)]
        for name, e in record["claims"].items() if name != "holm"
    ]  # fmt: skip
    header = ["method", "test MAE", "coverage", "width", "interval score", "coverage near edges"]
    note = f"{seeds_of(record)}; all calibrated by the same code on the same layouts. " + made(
        record, "make study SYSTEM=sem NAME=uncertainty"
    )
    return table(header, rows, note)


def sem_behaviour() -> str:
    record = study("sem", "behaviour")
    if record is None:
        return "Not recorded yet.\n"
    names = {
        "raw_coverage": "coverage before calibration",
        "calibration_coverage": "coverage on the calibration layouts, after",
        "test_coverage": "coverage on test layouts, after",
        "edge_ratio_of_errors": "large absolute errors: how much more often near edges",
        "edge_ratio_of_outliers": "pixels outside the interval: how much more often near edges",
        "shift_coverage": "coverage at another process corner with new patterns",
        "weighted_coverage": "the same, calibration weighted by likelihood of the layouts",
        "online_coverage": "the same, threshold adapted online (second half)",
        "test_width": "width of the interval",
        "online_width": "width, adapted online at the other corner",
        "aleatoric": "spread of pictures under fresh noise, measured",
        "epistemic": "spread of middles over weights, measured",
    }
    rows = [[label, interval(record["claims"][name])] for name, label in names.items()]
    note = f"{record['layouts']} drawn layouts of 64 x 64, {record['epochs']} epochs, {seeds_of(record)}. " + made(
        record, "make study SYSTEM=sem NAME=behaviour"
    )
    return table(["what", "mean over seeds"], rows, note)


def sem_paper() -> str:
    record = study("sem", "paper")
    if record is None:
        return "Not recorded yet.\n"
    from fieldsight.config import read_toml

    printed = read_toml(ROOT / "src/fieldsight/systems/sem/paper.toml")["table1"]
    rows = []
    for name in printed:
        split, model = name.split("_")
        ours = record["means"][name]
        rows.append(
            [split, model, f"{printed[name]['mae']:.4f}", f"{ours['mae']:.4f}", f"{printed[name]['coverage']:.3f}",
             f"{ours['coverage']:.3f}", f"{ours['width']:.4f}"]
        )  # fmt: skip
    means = record["means"]
    note = (
        f"Ours: drawn data, full size, {seeds_of(record)}, both at the baseline's q* ({means['q']:.4f}; the "
        f"paper's 0.0617). The second stage took {means['minutes_transfer'] / means['minutes_baseline']:.2f} of the "
        f"first's time (paper 0.28), test MAE ratio {means['mae_ratio_test']:.3f} (paper 0.699), coverage gain "
        f"{means['coverage_gain_test']:+.3f} (paper +0.022). " + made(record, "make study SYSTEM=sem NAME=paper")
    )
    header = ["set", "model", "MAE, paper", "MAE, ours", "coverage, paper", "coverage, ours", "width, ours"]
    return table(header, rows, note)


def sem_cards() -> str:
    return cards("sem")


def cards(system: str) -> str:
    from fieldsight import registry
    from fieldsight.model import shipped

    rows = []
    spec = registry.get(system)
    for name in spec.defaults:
        path = shipped(spec, name) / "card.json"
        if not path.is_file():
            continue
        card = json.loads(path.read_text(encoding="utf-8"))
        metrics = card["metrics"]
        shown = ", ".join(f"{k} {metrics[k]:.4g}" for k in list(metrics)[:4] if metrics[k] is not None)
        rows.append(
            [
                f"`{name}`",
                card["data"],
                shown,
                card["measured_on"],
                card["energy"],
                f"`{card['command']}`, {card['commit']}",
            ]
        )
    header = ["model", "trained on", "metrics", "measured on", "energy", "command, commit"]
    return table(header, rows) if rows else "None yet.\n"


# ------------------------------------------------------------------------------------------------------ energy


def energy_networks() -> str:
    """Computed by the product when this runs: it takes no record."""
    import fieldsight
    from fieldsight.systems.energy import data
    from fieldsight.systems.energy.drawing import joules

    rows = []
    for row in fieldsight.load("energy").compare(list(data.names()), draws=0).table().rows:
        shares = [f"{row[part] / row['total']:.0%}" for part in ("weight", "mac", "activation", "kv")]
        rows.append(
            [f"`{row['network']}`", row["format"], f"{row['parameters']:,}", f"{row['MACs']:,}",
             joules(row["per sample"]), *shares, f"{row['MAC = weight at batch']:.4g}"]
        )  # fmt: skip
    header = ["network", "format", "parameters", "MACs", "per sample", "weights", "MACs", "activations", "KV cache",
              "MACs = weights at batch"]  # fmt: skip
    names = " ".join(data.names())
    return table(header, rows, f"`fieldsight energy compare {names}`: true counts, batch 1, 45 nm logic and LPDDR5.")


def energy_paper() -> str:
    from fieldsight.systems.energy.reproduce import reproduce

    found = reproduce()
    facts = found.facts
    rows = [[name, number_of(facts[name])] for name in list(facts)[:3]]
    wrong = [r for t in found.tables for r in t.rows if r.verdict == "contradicts"]
    rows += [[f"contradicted: {r.name}", f"printed {r.printed}, recomputed {r.recomputed:.4g}"] for r in wrong]
    rows += [[name, number_of(value)] for name, value in list(facts.items())[3:]]
    return table(["what", "value"], rows, "`fieldsight energy reproduce` prints them all, row by row with `--out`.")


def energy_savings() -> str:
    from fieldsight.systems.energy.reproduce import figure10

    rows = []
    for r in figure10().rows:
        network, batch, part, _ = r.name.split(", ")
        cells = [f"{v:.1f}" for v in (r.printed, r.recomputed, r.ours)]
        rows.append([network, batch.removeprefix("batch "), part, *cells])
    header = ["network", "batch", "part at 1/16", "saved, printed [%]", "recomputed [%]", "with true counts [%]"]
    return table(header, rows, "Figure 10 of the paper: `fieldsight energy reproduce`. It truncates, we round.")


def energy_regime() -> str:
    record = study("energy", "regime")
    if record is None:
        return "Not recorded yet.\n"
    own = [r for r in record["rows"] if r["convention"] == "exact"]
    rows = []
    for name in dict.fromkeys(r["network"] for r in own):
        cells = [name]
        for r in (r for r in own if r["network"] == name):
            drawn = r["mac_equals_weight_drawn"]
            cells.append(f"{r['mac_equals_weight']:.3g} [{drawn['low']:.2g}, {drawn['high']:.3g}]")
            for batch in ("1", "16"):
                part = max(r["largest"][batch], key=r["largest"][batch].get)
                cells.append(f"{part} {r['largest'][batch][part]:.0%}")
        rows.append(cells)
    header = ["network"]
    for words in ("45 nm", "7 nm"):
        header += [f"B*, {words}", "largest at batch 1", "at batch 16"]
    note = (
        f"B*: batch at which MACs cost as much as weights, at the profile's constants and [5 %, 95 %] of "
        f"{record['draws'] * len(record['seeds']):,} draws from their ranges; behind it the part that is the largest "
        f"most often, and how often. {made(record, 'make study SYSTEM=energy NAME=regime')}"
    )
    return table(header, rows, note)


def energy_claims() -> str:
    record = study("energy", "regime")
    if record is None:
        return "Not recorded yet.\n"
    rows = [
        [name, f"{odds['paper']:.0%}", f"{odds['exact']:.0%}", f"{odds['exact, 7 nm']:.0%}"]
        for name, odds in record["claims"].items()
    ]
    header = ["statement", "as the paper charges, 45 nm", "true counts, 45 nm", "true counts, 7 nm"]
    return table(header, rows, "Share of the draws in which it holds, KV cache counted as memory; the same study.")


def energy_calibration() -> str:
    record = study("energy", "calibration")
    if record is None:
        return "Not recorded yet.\n"
    rows = []
    for row in record["rows"]:
        errors = [f"{e['median']:.1f} / {e['p95']:.1f}" for e in row["error_percent"].values()]
        held = min(row["interval_holds"].values())
        rows.append([f"{row['static_share']:.0%}", *errors, f"{held:.0%}", f"{row['left_out_percent']:.1f}"])
    header = ["static share", "pJ/bit: error median / 95 % [%]", "pJ/MAC", "static watts",
              "95 % interval holds the truth (worst of three)", "error on a network left out [%]"]  # fmt: skip
    note = (
        f"{record['seeds']} drawn sets of 30 readings with {record['noise']:.0%} noise; a make-believe meter, no "
        f"device. {made(record, 'make study SYSTEM=energy NAME=calibration')}"
    )
    return table(header, rows, note)


def energy_timing() -> str:
    record = study("energy", "timing")
    if record is None:
        return "Not recorded yet.\n"
    claims = record["claims"]
    rows = []
    for batch in record["batches"]:
        lm, cnn = (claims[kind][str(batch)] for kind in ("lm", "cnn"))
        ratios = [interval(c["time_ratio"], 1) for c in (lm, cnn)]
        rows.append([str(batch), *ratios, f"{lm['gb_s']['value']:.1f}", f"{cnn['gflop_s']['value']:.0f}"])
    header = ["batch", "decode step, batch 1 = 1", "CNN, batch 1 = 1", "weights read by the step [GB/s]",
              "CNN [GFLOP/s]"]  # fmt: skip
    machine = record["machine"]
    note = (
        f"float32, one thread of {machine['processor']} with {record['last_level_cache'] / 2**20:.0f} MB of cache, the "
        f"decoder's weights {claims['weights_to_cache']:.1f} times as much; copying runs at "
        f"{claims['copy_gb_s']['value']:.0f} GB/s, convolutions at {claims['conv_gflop_s']['value']:.0f} GFLOP/s. "
        f"Brackets: 95 % over {len(record['seeds'])} repeats beside other work. "
        + made(record, "make study SYSTEM=energy NAME=timing")
    )
    return table(header, rows, note)


# ------------------------------------------------------------------------------------------------------- alert


def alert_goal() -> str:
    record = study("alert", "goal")
    if record is None:
        return "Not recorded yet.\n"
    rows = []
    for sensor, c in record["claims"].items():
        for mode in ("base", "nearest", "paper", "authors_app"):
            e = c[mode]
            where = f"{sensor}: {c['approaches']} approaches, {c['unseen']} more unseen" if mode == "base" else ""
            lead = "" if e["lead"] is None else f"{e['lead']:.2f}"
            rows.append(
                [where, f"`{mode}`", f"{e['missed']} ({e['missed_share']:.1%}) [{e['low']:.1%}, {e['high']:.1%}]",
                 f"{e['false_per_minute']:.2f}", f"{e['false_share']:.1%}", lead, f"{e['fast_late']} of {c['fast']}",
                 str(e["unseen_missed"])]
            )  # fmt: skip
    header = ["sensor", "engine", "missed", "false alarms a minute", "time in alarm for nothing", "lead, median [s]",
              "fast vehicles announced late", "unseen without alarm"]  # fmt: skip
    note = (
        f"{len(record['seeds'])} blocks of {record['approaches_a_block']} held-out drawn recordings a sensor, at "
        "-2.2 m/s and 3 s. "
    ) + made(record, "make study SYSTEM=alert NAME=goal")
    return table(header, rows, note)


def alert_against() -> str:
    record = study("alert", "goal")
    if record is None:
        return "Not recorded yet.\n"
    rows = []
    for title, claims in (("all blocks", record["claims"]), ("first block of 200", record["first_block"])):
        for sensor, c in claims.items():
            d = c["base against paper"]
            rows.append(
                [title, sensor, interval(d["missed_share"], 3), interval(d["false_per_minute"], 2),
                 interval(d["false_share"], 3), f"{d['only_base_announced']} / {d['only_paper_announced']}",
                 f"{d['mcnemar_p']:.2g}", f"{d['lead_gained']['median']:+.2f}"]
            )  # fmt: skip
    header = ["recordings", "sensor", "share missed", "false alarms a minute", "time in alarm for nothing",
              "announced by `base` / `paper` only", "McNemar p", "lead gained, median [s]"]  # fmt: skip
    return table(header, rows, "`base` minus `paper` on the same streams; 95 % intervals over resampled recordings.")


def alert_groups(name: str) -> str:
    record = study("alert", "goal")
    if record is None:
        return "Not recorded yet.\n"
    rows = []
    for group, row in record[f"by_{name}"].items():
        cells = [group, str(row["approaches"])]
        for mode in ("base", "paper"):
            e = row[mode]
            lead = "-" if e["lead"] is None else f"{e['lead']:.2f}"
            cells += [f"{e['missed']} [{e['low']:.1%}, {e['high']:.1%}]", lead]
        rows.append(cells)
    header = [name, "approaches", "missed by `base`", "lead [s]", "missed by `paper`", "lead [s]"]
    return table(header, rows, "Phone, stereo and automotive together; the same study.")


def alert_reach() -> str:
    record = study("alert", "effects")
    if record is None:
        return "Not recorded yet.\n"
    rows = []
    for sensor, found in record["parts"]["reach"].items():
        rows += [
            [sensor, f"{r['speed']:g}", f"{r['range_allows']:.1f}", f"{r['first_returns']:.1f}", f"{r['base']:.1f}",
             f"{r['paper']:.1f}"]
            for r in found
        ]  # fmt: skip
    header = ["sensor", "speed [m/s]", "its range allows [s]", "first returns [s]", "`base` sounds [s]",
              "`paper` sounds [s]"]  # fmt: skip
    note = (
        "Seconds to impact, median of 8: a scooter below 8 m/s, a car from there, head-on in an empty street, "
        "thresholds -2.2 m/s and 3 s. At 2 m/s, and sooner than 3 s, sounds what the noise makes possible. "
    ) + made(record, "make study SYSTEM=alert NAME=effects")
    return table(header, rows, note)


def alert_errors() -> str:
    record = study("alert", "effects")
    if record is None:
        return "Not recorded yet.\n"
    rows = []
    for name, modes in record["parts"]["speed"].items():
        cells = [f"{100 * e['median']:.1f} / {100 * e['p90']:.1f}" for e in modes.values()]
        rows.append([name, *cells, f"{modes['paper']['ratio_near']:.2f}"])
    header = ["who, sensor", *(f"`{m}`: error median / 90 % [%]" for m in ("nearest", "track", "paper")),
              "`paper` over true, within 6 m"]  # fmt: skip
    note = "A walker at 2.8 m/s and a car at 8 m/s head-on, 1.5 to 10 m away, wearer standing, 20 recordings each."
    return table(header, rows, note)


def alert_effects() -> str:
    record = study("alert", "effects")
    if record is None:
        return "Not recorded yet.\n"
    parts = record["parts"]
    rows = [[name, "yes" if holds else "**no**"] for name, holds in record["claims"].items()]
    turns = parts["turns"]
    for mode in ("paper", "base", "nearest"):
        rows.append(
            [f"d: time in alarm where nothing moves, `{mode}`: standing / turning",
             f"{turns[mode]['static']:.1%} / {turns[mode]['turns']:.1%}"]
        )  # fmt: skip
    for r in parts["mixed"]["table2"]:
        rows.append([f"a: `paper` at {r['speed']:g} m/s, {r['tti']:g} s: precision; recall",
                     f"{interval(r['precision'], 2)}; {interval(r['recall'], 2)}"])  # fmt: skip
    for mode in ("paper", "base"):
        m = parts["mixed"]
        rows.append([f"c: recall of events / of samples, `{mode}`",
                     f"{m['event_recall'][mode]:.2f} / {m['sample_recall'][mode]:.2f}"])  # fmt: skip
        shown = ", ".join(f"{k} {a}/{n}" for k, (a, n) in m["by_class"][mode].items())
        rows.append([f"b: events announced by class, `{mode}`", shown])
        cities = ", ".join(f"{k} {interval(e, 1)}" for k, e in m["by_city"][mode].items())
        rows.append([f"g: false alarms a minute by city, `{mode}`", cities])
    for name, w in parts["weather"].items():
        values = ", ".join(f"{k} {v:.2f}" for k, v in w.items() if v is not None)
        rows.append([f"f: sample recall of a car, {name}", values])
    return table(["effect", "found"], rows, made(record, "make study SYSTEM=alert NAME=effects"))


def number_of(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,.6g}"


# -------------------------------------------------------------------------------------------------- benchmarks


def bench(*names: str) -> str:
    rows = []
    note = ""
    for name in names:
        path = ROOT / "benchmarks" / "results" / f"{name}.json"
        if not path.is_file():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        for row in record["rows"]:
            peer = f"{row.get('peer') or ''} {number(row.get('peer_value'))}".strip()
            rows.append(
                [row["name"].strip(), f"{number(row['value'])} {row.get('unit', '')}".strip(), peer,
                 number(row.get("ratio")), number(row.get("goal")), f"`{row['command']}`"]
            )  # fmt: skip
        machine = record["machine"]
        note = f"{machine['processor']}, {machine['cores']} cores, commit {record['commit']}, {record['date'][:10]}."
    header = ["what", "value", "peer", "ratio", "goal", "command"]
    return table(header, rows, note) if rows else "Not recorded yet.\n"


def number(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, list):
        return ", ".join(map(number, value))
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


TABLES: dict[str, Callable[[], str]] = {
    "sem-second-stage": sem_second_stage,
    "sem-recipes": sem_recipes,
    "sem-verdict": sem_verdict,
    "sem-uncertainty": sem_uncertainty,
    "sem-behaviour": sem_behaviour,
    "sem-paper": sem_paper,
    "sem-cards": sem_cards,
    "energy-networks": energy_networks,
    "energy-paper": energy_paper,
    "energy-savings": energy_savings,
    "energy-regime": energy_regime,
    "energy-claims": energy_claims,
    "energy-calibration": energy_calibration,
    "energy-timing": energy_timing,
    "alert-goal": alert_goal,
    "alert-against": alert_against,
    "alert-classes": lambda: alert_groups("class"),
    "alert-cities": lambda: alert_groups("city"),
    "alert-reach": alert_reach,
    "alert-errors": alert_errors,
    "alert-effects": alert_effects,
    "alert-cards": lambda: cards("alert"),
    **tables_crack.tables(bench, cards),
    **tables_edge.tables(bench, cards),
    **tables_vessel.tables(bench, cards),
    **tables_stego.tables(bench, cards),
    "bench-alert": lambda: bench("alert_engine", "alert_simulator"),
    "bench-sem": lambda: bench("sem_conformal", "sem_field"),
    "bench-energy": lambda: bench("energy_count", "energy_sweep"),
    "bench-house": lambda: bench("house_start"),
}

if __name__ == "__main__":
    sys.exit(main())
