"""Tables of the page of `crack`, for ``scripts/render_docs.py``."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean
from typing import Any

MAKE = "make study SYSTEM=crack NAME=claim"

#: The specification's way, and what stands beside it: label of the record, words of the page.
OURS = "sharpened: top 2"
ROWS = {
    OURS: "**Top-2, gate on sharpened labels**",
    "sharpened: hard": "the same gate, best expert alone",
    "sharpened: soft": "the same gate, all four",
    "soft: top 2": "Top-2, gate on Eq. 3 (the paper)",
    "in-sample: top 2": "Top-2, gate on in-sample scores (control)",
    "uniform mean": "mean of all four",
    "majority vote": "vote of all four",
    "random two": "two at random",
    "best fixed pair": "one pair for all, chosen on validation photos",
    "fixed learned weights": "one weighting for all, chosen on validation photos",
    "best expert of the photos": "best expert, known afterwards",
    "oracle expert": "oracle: best expert of each photo",
    "oracle pair, equal weights": "oracle: best pair of each photo, equal weights",
    "oracle pair": "oracle: best pair of each photo, best weights",
    "oracle weights": "oracle: best weights of each photo",
}
GATES = {
    "hard": "best expert (Eq. 2)",
    "soft": "share of IoU (Eq. 3)",
    "sharpened": "softmax of IoU over 0.05",
    "ranking": "ranking loss",
    "regret": "regret loss",
    "in-sample": "sharpened, from in-sample IoU",
}
SETS = {"test": "test", "unseen": "unseen surface", "photos": "real surfaces"}


def percent(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{100 * value:.{digits}f}"


def points(entry: dict[str, float] | None) -> str:
    """A gain with its interval in points of percent."""
    if entry is None:
        return ""
    return f"{100 * entry['gain']:+.1f} [{100 * entry['low']:+.1f}, {100 * entry['high']:+.1f}]"


def over_seeds(record: dict[str, Any], *keys: str) -> float | None:
    """Mean over seeds of one number of the record; None where no seed has it, NaN left out."""
    found = []
    for value in record["values"].values():
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else value[int(key)]
            if value is None:
                break
        if value is not None and value == value:
            found.append(float(value))
    return mean(found) if found else None


def recorded(fill: Callable[[dict[str, Any]], str]) -> Callable[[], str]:
    """A table of the study, or a line that says that there is none."""

    def filled() -> str:
        from render_docs import study

        record = study("crack", "claim")
        return "Not recorded yet.\n" if record is None else fill(record)

    return filled


def claim(d: dict[str, Any]) -> str:
    from render_docs import made, seeds_of, table

    sets = [name for name in SETS if name in d["gains"]]
    rows = []
    for label, words in ROWS.items():
        cells = [words]
        for name in sets:
            entry = d["gains"][name].get(label)
            cells += ["" if entry is None else percent(entry["iou"]), "" if label == OURS else points(entry)]
        rows.append(cells)
    gain = d["gains"]["test"]["best expert of the photos"]
    holds = gain["gain"] >= 0.005 and gain["low"] > 0
    photos = ", ".join(f"{d['photos'][name]} ({SETS[name]})" for name in sets)
    note = (
        f"Pooled IoU in percent, mean over {seeds_of(d)}, each with photos, experts, table and gates of its own; drawn "
        f"photos a seed: {photos}. *Gain*: points by which the first row is ahead of this one, 95 % bootstrap over "
        f"seeds. That Top-2 gains at least half a point on the best expert {'holds' if holds else 'does not hold'}"
        f"{_share_of_oracle(d)}. {_by_seed(d)}"
    )
    header = ["way"] + [text for name in sets for text in (f"IoU, {SETS[name]}", "gain over it")]
    return table(header, rows, note + made(d, MAKE))


def _by_seed(d: dict[str, Any]) -> str:
    """The gains of every seed, and which expert's training failed."""
    names = list(next(iter(d["values"].values()))["oof_iou"])
    ahead: dict[str, list[str]] = {"the best expert": [], "the fixed pair": []}
    failed = []
    for seed, value in d["values"].items():
        rows = {name: row["pooled_iou"] for name, row in value["sets"]["test"]["rows"].items()}
        best = {"the best expert": max(rows[n] for n in names), "the fixed pair": rows["best fixed pair"]}
        for other, number in best.items():
            ahead[other].append(f"{100 * (rows[OURS] - number):+.1f}")
        failed += [f"`{n}` of seed {seed}" for n in names if rows[n] < 0.01]
    told = "; ".join(f"over {other} {', '.join(found)}" for other, found in ahead.items())
    words = f"Gains on the test photos seed by seed: {told}. "
    if failed:
        words += f"The training of {', '.join(failed)} failed: it marks nothing, while its copies do well. "
    return words


def _share_of_oracle(d: dict[str, Any]) -> str:
    entries = d["gains"]["test"]
    best, top, oracle = (entries[k]["iou"] for k in ("best expert of the photos", OURS, "oracle expert"))
    if oracle <= best:
        return ""
    return (
        f"; the best expert of each photo would gain {100 * (oracle - best):.1f} points, of which Top-2 reaches "
        f"{(top - best) / (oracle - best):.0%} (more than all is possible: two maps can beat both)"
    )


def grid(d: dict[str, Any]) -> str:
    from render_docs import made, seeds_of, table

    rows = []
    for gate, words in GATES.items():
        ways = [over_seeds(d, "sets", "test", "rows", f"{gate}: {way}", "pooled_iou") for way in _WAYS]
        told = [over_seeds(d, "sets", "test", "routing", gate, name) for name in _ROUTING]
        cells = [words, *map(percent, ways), *(percent(v, 0) for v in told[:2])]
        rows.append([*cells, *("" if v is None else f"{v:.2f}" for v in told[2:])])
    chance = [over_seeds(d, "sets", "test", "routing", "soft", name) for name in ("top1_chance", "top2_chance")]
    far = [over_seeds(d, "label_entropy", name) for name in ("soft", "sharpened")]
    note = (
        f"Pooled IoU in percent on the test photos, mean over {seeds_of(d)}. *Best named*, *among two*: percent of the "
        f"photos whose best expert has the greatest weight, or one of the two greatest; chance gives "
        f"{percent(chance[0], 0)} and {percent(chance[1], 0)}. *Rank*: correlation of the ranks of weights and IoUs. "
        f"*Entropy* of the weights: 1 is no preference at all. Labels of Eq. 3 lie {far[0]:.4f} nats from equal ones, "
        f"sharpened ones {far[1]:.4f}. "
    )
    header = [
        "the gate learned",
        "Hard",
        "Top-2",
        "Top-3",
        "Soft",
        "adaptive",
        "best named",
        "among two",
        "rank",
        "entropy",
    ]
    return table(header, rows, note + made(d, MAKE))


_WAYS = ("hard", "top 2", "top 3", "soft", "adaptive")
_ROUTING = ("top1_accuracy", "top2_recall", "spearman", "entropy_share")


def experts(d: dict[str, Any]) -> str:
    from render_docs import made, seeds_of, table

    names = list(next(iter(d["values"].values()))["oof_iou"])
    rows = []
    for k, name in enumerate(names):
        cells = [f"`{name}`"]
        for photos in (s for s in SETS if s in d["gains"]):
            cells.append(percent(over_seeds(d, "sets", photos, "rows", name, "pooled_iou")))
        cells.append(percent(over_seeds(d, "sets", "test", "wins", str(k)), 0))
        cells += [percent(over_seeds(d, kind, name)) for kind in ("oof_iou", "in_sample_iou")]
        cells += [percent(over_seeds(d, "sets", "test", "usage", g, str(k)), 0) for g in ("sharpened", "in-sample")]
        cells.append(percent(over_seeds(d, "sets", "test", "rows", f"{OURS} without {name}", "pooled_iou")))
        rows.append(cells)
    note = (
        f"Percent, mean over {seeds_of(d)}. `cen` learns a tenth of the photos by heart, the others are each trained "
        "for two of the five surfaces. *Best on*: share of test photos, ties counted for each. *Out of fold*, *in "
        "sample*: mean IoU over training photos. *Used*: mean weight in Top-2 by either gate. " + _leak(d)
    )
    header = ["expert", *(f"IoU, {SETS[s]}" for s in SETS if s in d["gains"]), "best on", "IoU out of fold"]
    header += ["IoU in sample", "used", "used, gate on in-sample scores", "Top-2 without it"]
    return table(header, rows, note + made(d, MAKE))


def _leak(d: dict[str, Any]) -> str:
    """What kept backbones do to the table, on the seed that measured it."""
    if "backbones" not in d:
        return ""
    kept, whole = d["backbones"], d["values"][str(d["backbones"]["seed"])]["oof_iou"]
    return (
        f"Mean of the table on seed {kept['seed']}: {percent(mean(whole.values()))} with copies trained from nothing, "
        f"{percent(mean(kept['deployed'].values()))} where only their heads are trained on the deployed experts' "
        f"backbones, which have seen every photo, {percent(mean(kept['generic'].values()))} on backbones of random "
        "weights. "
    )


def networks() -> str:
    """Computed by the product when this runs: it takes no record."""
    from render_docs import ROOT, table

    from fieldsight.config import read_toml
    from fieldsight.systems.crack import reproduce

    printed = read_toml(ROOT / "src/fieldsight/systems/crack/paper.toml")["table10"]
    rows = []
    for kind, words in reproduce.CALLED.items():
        own = reproduce.networks(kind)
        said = next(v for name, v in printed.items() if any(word in name for word in words))
        rows.append(
            [f"`{kind}`", f"{said['params']:g}", f"{own['parameters'] / 1e6:.2f}", f"{own['parameters']:,}",
             f"{said['flops']:g}", f"{own['macs'] / 1e12:.3f}"]
        )  # fmt: skip
    gate = reproduce.networks("gate")
    rows.append(
        ["gate", "", f"{gate['parameters'] / 1e6:.2f}", f"{gate['parameters']:,}", "", f"{gate['macs'] / 1e12:.3f}"]
    )
    header = ["network", "parameters, paper [M]", "ours [M]", "ours", "'FLOPs', paper [T]", "MACs, ours [T]"]
    return table(header, rows, "At the paper's size, 512 x 512: `fieldsight crack reproduce`.")


def paper() -> str:
    """What the paper's rows say about themselves; recomputed when this runs."""
    from render_docs import ROOT, table

    from fieldsight.config import read_toml
    from fieldsight.systems.crack.reproduce import crack_share, f1_of_iou, iou_of, share_of

    printed = read_toml(ROOT / "src/fieldsight/systems/crack/paper.toml")
    rows = []
    for data, own in printed["table3"].items():
        for name in ("E4 (CR'25)", "MoE (Hard)", "MoE (Soft)", "MoE (Top-K)"):
            iou, precision, recall, f1, _ = own[name]
            rows.append(
                [data, name, f"{iou:.2f}", f"{iou_of(precision, recall):.2f}", f"{f1:.2f}", f"{f1_of_iou(iou):.2f}",
                 f"{100 * crack_share(own[name]):.2f}", f"{100 * share_of(printed, data):.2f}"]
            )  # fmt: skip
    header = ["data", "row", "IoU, printed", "by precision and recall", "F1, printed", "by IoU"]
    header += ["crack that the row implies", "that single networks imply"]
    return table(header, rows, "Percent. A row of pooled sums has the same number twice in each pair.")


def tables(bench: Any, cards: Any) -> dict[str, Any]:
    """All tables by name."""
    return {
        "crack-claim": recorded(claim),
        "crack-grid": recorded(grid),
        "crack-experts": recorded(experts),
        "crack-networks": networks,
        "crack-paper": paper,
        "crack-cards": lambda: cards("crack"),
        "bench-crack": lambda: bench("crack_speed", "crack_photo", "crack_int8"),
    }
