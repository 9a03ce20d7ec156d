"""Tables of the page of `vessel`, for ``scripts/render_docs.py``."""

from __future__ import annotations

from typing import Any

MAKE = "make study SYSTEM=vessel NAME=effects"
FAMILIES = {"yolov8": "YOLOv8", "yolov10": "YOLOv10"}


def effects(record: dict[str, Any]) -> str:
    """AP50 and sensitivities of what the detectors see, and differences from the raw frame."""
    from render_docs import table

    rows = []
    for family, found in record["families"].items():
        for name, value in found.items():
            rows.append([FAMILIES[family], name, str(len(value["ap50"])), *_numbers(value), _gap(value)])
    for name, value in record["pretrained"].items():
        rows.append(["YOLOv8 `n` from streets", name, str(len(value["ap50"])), *_numbers(value), _gap(value)])
    own = record["settings"]
    note = (
        f"Percent. Scale `p` at {own['input']} pixels from nothing, {own['steps']} steps on {own['frames']} drawn "
        f"frames of low contrast, tested on {own['test frames']} frames of {own['patients tested']} held-out patients. "
        f"*From streets*: scale `n` from the detector of drawn streets that `edge` ships, {own['steps'] // 2} steps. "
        "Sensitivity at one false box a frame. Differences are paired, 95 % bootstrap over patients and trainings. "
        f"Made by `{MAKE}`, commit {record['commit']}, {record['date'][:10]}."
    )
    header = ["detector", "sees", "seeds", "AP50", "sensitivity, main", "branches", "AP50 less raw, points"]
    return table(header, rows, note)


def _numbers(value: dict[str, Any]) -> list[str]:
    return [f"{100 * value[k]:.1f}" for k in ("mean_ap50", "mean_sensitivity_main", "mean_sensitivity_branch")]


def _gap(value: dict[str, Any]) -> str:
    gap = value.get("minus_raw")
    return f"{gap['points']:+.1f} [{gap['low']:+.1f}, {gap['high']:+.1f}]" if gap else ""


def known(record: dict[str, Any]) -> str:
    """Detectors on other frames of patients they have met, and on strangers."""
    from render_docs import table

    names = ("other frames of known patients", "other patients")
    rows = [[seed, *(f"{100 * value[n]:.1f}" for n in names)] for seed, value in record["known patients"].items()]
    frames = next(iter(record["known patients"].values()))["frames"]
    note = (
        f"AP50 in percent, `ihs`, trained on ten frames of each of 20 patients, measured on {frames} frames of either "
        "kind: what a split by frame measures, and what a new patient meets. "
        f"Made by `{MAKE}`, commit {record['commit']}, {record['date'][:10]}."
    )
    return table(["seed", *names], rows, note)


def amounts(record: dict[str, Any]) -> str:
    """What more training frames leave of the effect."""
    from render_docs import table

    rows = [
        [frames, f"{100 * found['raw']['mean_ap50']:.1f}", f"{100 * found['ihs']['mean_ap50']:.1f}", _gap(found["ihs"])]
        for frames, found in record["amounts"].items()
    ]
    note = (
        "AP50 in percent, YOLOv8, three seeds, the same number of steps. "
        f"Made by `{MAKE}`, commit {record['commit']}, {record['date'][:10]}."
    )
    return table(["training frames", "raw", "ihs", "difference, points"], rows, note)


def lumens(record: dict[str, Any]) -> str:
    """Per cent stenosis against the truth of drawn patients."""
    from render_docs import table

    rows = []
    for look, modes in record["looks"].items():
        for mode, v in modes.items():
            if not v["measured"]:
                rows.append([look, mode, str(v["lesions"]), "0", *[""] * 5])
                continue
            error = f"{v['error']:.1f} [{v['low']:.1f}, {v['high']:.1f}]"
            share = f"{100 * v['measured'] / v['lesions']:.0f} %"
            numbers = [f"{v['bias']:+.1f}", f"{v['r']:.2f}", f"{v['constant_median']:.1f}, {v['constant']:.1f}"]
            rows.append([look, mode, str(v["lesions"]), share, f"{v['median']:.1f}", error, *numbers])
    note = (
        "Points of per cent, on stenoses (50 % and above) of held-out drawn patients; 95 % bootstrap over patients. "
        "The last column is the median and mean error of always saying the mean of all stenoses, on the same ones. "
        f"Made by `make study SYSTEM=vessel NAME=lumens`, commit {record['commit']}, {record['date'][:10]}."
    )
    header = [
        "contrast",
        "given",
        "stenoses",
        "measured",
        "median error",
        "mean error",
        "bias",
        "r",
        "error of the mean",
    ]
    return table(header, rows, note)


def tables(bench: Any, cards: Any) -> dict[str, Any]:
    """All tables by name."""
    from tables_edge import recorded

    return {
        "vessel-effects": recorded(effects, "vessel"),
        "vessel-known": recorded(known, "vessel"),
        "vessel-amounts": recorded(amounts, "vessel"),
        "vessel-lumens": recorded(lumens, "vessel", "lumens"),
        "vessel-cards": lambda: cards("vessel"),
        "bench-vessel": lambda: bench("vessel_filter"),
    }
