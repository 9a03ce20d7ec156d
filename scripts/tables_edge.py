"""Tables of the page of `edge`, for ``scripts/render_docs.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import mean
from typing import Any

from fieldsight import registry

MAKE = "make study SYSTEM=edge NAME=effects"
KINDS = ("FP32", "FP16", "INT8 simulated", "INT8")
LOW, PAPER = "0.001", "0.5"


def percent(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{100 * mean(known):.1f}" if known else ""


def interval(entry: Mapping[str, float]) -> str:
    """Points with their interval."""
    return f"{entry['value']:+.2f} [{entry['low']:+.2f}, {entry['high']:+.2f}]"


def made(record: dict[str, Any]) -> str:
    return f"Made by `{MAKE}`, commit {record['commit']}, {record['date'][:10]}."


def precisions(record: dict[str, Any]) -> str:
    """Average precision in every precision, at both settings of confidence."""
    from render_docs import table

    seeds = record["values"].values()
    rows = []
    for kind in KINDS:
        cells = [percent([v["precisions"][kind][conf][name] for v in seeds])
                 for conf in (LOW, PAPER) for name in ("mAP50-95", "mAP50")]  # fmt: skip
        gap = record["summary"].get(f"{kind} less FP32")
        rows.append([kind, *cells, interval(gap) if gap else ""])
    one = next(iter(seeds))
    n = record["size_n"]["precisions"]
    lost = 100 * (n["INT8"][LOW]["mAP50-95"] - n["FP32"][LOW]["mAP50-95"])
    shift = percent([v["shift"][LOW]["mAP50-95"] for v in seeds])
    note = (
        f"Percent, mean over {len(record['seeds'])} seeds: scale `p` at 160 pixels, trained for {one['steps']:,} steps "
        f"({mean(v['minutes'] for v in seeds):.1f} minutes), measured on {one['photos']} held-out drawn frames each. "
        "*Against FP32*: points of mAP50-95 at a confidence of 0.001, 95 % bootstrap over seeds. FP16 and INT8 are "
        f"ONNX files; INT8 is also simulated. Scale `n` on seed {record['size_n']['seed']} has "
        f"{100 * n['FP32'][LOW]['mAP50-95']:.1f} and loses {-lost:.2f} points by INT8. In other light and with other "
        f"textures (`--shift`) FP32 of `p` has {shift}. {made(record)}"
    )
    header = ["precision", "mAP50-95", "mAP50", "at 0.5: mAP50-95", "at 0.5: mAP50", "against FP32"]
    return table(header, rows, note)


def factors(record: dict[str, Any]) -> str:
    """What each setting of calibration matters."""
    from render_docs import table

    found: dict[str, dict[str, list[Any]]] = {}
    for value in record["values"].values():
        for row in value["factors"]:
            kept = found.setdefault(row["precision"], {})
            for name in ("mAP50-95", "mAP50", "difference"):
                kept.setdefault(f"{name} {row['conf']}", []).append(row.get(name))
    rows = []
    for name, cells in found.items():
        gap = [v for v in cells[f"difference {LOW}"] if v is not None]
        rows.append([name, percent(cells[f"mAP50-95 {LOW}"]), percent(cells[f"mAP50 {LOW}"]),
                     percent(cells[f"mAP50 {PAPER}"]), f"{100 * mean(gap):+.1f}" if gap else ""])  # fmt: skip
    note = (
        "Percent, mean over seeds, simulated INT8. *Good*: 300 training frames, least squared error, a scale a "
        "channel, head in float. *Bad*: 8 frames at 15 % of their brightness, min-max, a scale a layer, head in 8 "
        f"bits. {made(record)}"
    )
    return table(["setting", "mAP50-95", "mAP50", "at 0.5: mAP50", "points against FP32"], rows, note)


def leak(record: dict[str, Any]) -> str:
    """The same test for detectors that have met neighbours of its frames, and for others that have not."""
    from render_docs import table

    rows = []
    for way in ("by frame", "by flight"):
        cells = [
            percent([v[way][k][LOW]["mAP50-95"] for v in record["leak"].values()]) for k in ("own_test", "new_flights")
        ]
        rows.append([way, *cells])
    told = record["summary"]
    rows.append(["difference in points", interval(told["flattery of a split by frame"]),
                 interval(told["the same detectors on new flights"])])  # fmt: skip
    one = next(iter(record["leak"].values()))
    note = (
        f"Percent, mean over {len(record['leak'])} seeds, `p` at 160 pixels, {one['by frame']['steps']:,} steps, "
        f"{one['by frame']['learned']:,} training frames either way, {one['photos']} test frames of {one['flights']} "
        "flights, the same ones for both; by frame, training has the frames in between. Differences with 95 % "
        f"bootstrap over seeds. {made(record)}"
    )
    return table(["training and test are split", "mAP50-95 on the test", "on new flights"], rows, note)


def recorded(
    render: Callable[[dict[str, Any]], str], system: str = "edge", study: str = "effects"
) -> Callable[[], str]:
    """A table of the record of a system's study."""

    def give() -> str:
        from render_docs import ROOT

        from fieldsight.data.files import read_json

        path = ROOT / "studies" / system / f"{study}.json"
        return render(read_json(path)) if path.is_file() else "Not recorded yet.\n"

    return give


def tables(bench: Any, cards: Any) -> dict[str, Any]:
    """All tables by name."""
    return {
        "edge-precisions": recorded(precisions),
        "edge-factors": recorded(factors),
        "edge-leak": recorded(leak),
        "edge-cards": lambda: cards("edge") if "edge" in registry.names() else "Not recorded yet.\n",
        "bench-edge": lambda: bench("edge_int8", "edge_ap"),
    }
