"""The paper's tables against each other and against ours.

*Recomputed* is from other printed numbers only. *Ours* is what our networks have when they are counted, what our filter
does on drawn input, and what recorded studies say of drawn patients. A study hands its numbers over by an entry
``reproduce`` in its record: names of rows here, each with a number or with words such as ``3.1 [0.4, 5.6]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fieldsight import registry, studies
from fieldsight.config import read_toml
from fieldsight.errors import DataError, unknown
from fieldsight.report.paper import PaperTable, Reproduction, Row, Verdict
from fieldsight.systems.vessel.options import ReproduceOptions
from fieldsight.systems.vessel.paper_tables import NEAR, POINT, Printed, claims, latency_margin, table4, tables_of

#: Test frames of a view below which its AP says little.
FEW = 20

#: Gaps and misprints that no number shows, and what is done here instead.
GAPS = (
    "Eq. 1 lacks the factor sigma^2, without which responses of different scales can't be compared (Lindeberg 1998): "
    "the smallest scale always wins. Here it is in.",
    "Eq. 2 lost a bracket and a sign: exp(-R^2 / 2 beta^2 (1 - exp(S^2 / 2 c^2))) grows beyond all bounds. Here it is "
    "Frangi's product exp(-R^2 / 2 beta^2) (1 - exp(-S^2 / 2 c^2)) (1998, Eq. 15).",
    "Eq. 2 sets lambda_2 > 0 to 0, for bright vessels on dark ground; vessels full of contrast medium are dark. Here "
    "`enhance.polarity` is dark; bright is the printed one.",
    "Eq. 5 omits the offsets of the hue (+1 where red is least, +2 where green is), which Eq. 6 assumes. Here they "
    "are in, and the way back gives the colour again.",
    "What is fused with what is not said: two grey pictures have no saturation, so that IHS of grey on grey only swaps "
    "the intensity. Here `enhance.mode` is ihs (vesselness as saturation of one hue, the frame as intensity); "
    "blend, average, stack and substitute are there to compare.",
    "Eq. 10 sums from k = n to k = 1 and calls k a class: it runs over the ten IoU thresholds from 0.50 to 0.95.",
    "c, the scales, the border and the scaling of the result are not stated. Here c is 15 grey levels and the scales "
    "1, 3, 5, 7, 9 px (defaults of MATLAB's FrangiFilter2D), mirrored, divided by the 99.5th percentile.",
    "'RAO: Right coronary artery' among the abbreviations is the right anterior oblique view.",
    "Section 2.3.1 describes R-FCN on ResNet-101, Table 2 names Inception-ResNet-v2. Here the table is "
    "followed; `family=rfcn size=l` is ResNet-101.",
    "RT-DETR is described with four residual blocks, two heads and grouped attention, the DFL of YOLOv8 as 'deep "
    "feature loss' and its class loss as varifocal. Here it is the authors' RT-DETR (8 heads), the distribution focal "
    "loss and binary cross-entropy.",
    "Frames of 40 patients were split at random, so that one lesion may be seen in training and test. Here a patient "
    "belongs to one split; `prepare --by random` shows what the other way is worth.",
    "Everything was trained from nothing on 280 frames; any input that calms noise may help there. Without a detector "
    "that starts from other pictures, the gain can't be ascribed to vessels.",
    "'Multiple times' has no number, and no table a spread. Here seeds and paired intervals are given.",
    "Image size, epochs, optimiser, batch and the device of the latencies are not stated; here all are printed.",
    "Stenoses of branches 'still go unnoticed and unmarked', by the authors' own words: what finds them counts as "
    "false. Here `evaluate` has ignored regions, and drawn patients have a full truth.",
    "Brightness was not evened out, but c is in grey levels. Here `enhance --flat` does it.",
)


def reproduce(options: ReproduceOptions) -> Reproduction:
    """``reproduce``: every printed number, recomputed where it follows from others, ours beside it.

    Raises:
        DataError: a study names a row that does not exist.
    """
    del options
    printed = read_printed()
    states = studies.states("vessel")
    found = {name: studies.read("vessel", name) or {} for name in states}
    tables = with_ours(tables_of(printed), found)
    errors = [*findings(printed).values(), *GAPS]
    return Reproduction(registry.get("vessel"), tables, errors, states, facts(printed))


def read_printed() -> dict[str, Any]:
    """``paper.toml``."""
    return read_toml(Path(__file__).with_name("paper.toml"))


def with_ours(tables: Sequence[PaperTable], records: Mapping[str, Mapping[str, Any]]) -> list[PaperTable]:
    """The tables with what studies say in the column *ours*.

    Args:
        tables: as computed.
        records: studies by name; each may have an entry ``reproduce`` with names of rows.

    Raises:
        DataError: a row that no table has, or two studies for one row.
    """
    known = {row.name for table in tables for row in table.rows}
    told: dict[str, tuple[str, float | str]] = {}
    for study, record in records.items():
        for name, value in record.get("reproduce", {}).items():
            if name not in known:
                raise DataError(f"studies/vessel/{study}.json: {unknown('row of reproduce', name, known)}")
            if name in told:
                raise DataError(f"studies/vessel: both {told[name][0]} and {study} have the row '{name}'.")
            told[name] = (study, value)
    return [replace(t, rows=[_told(row, told.get(row.name)) for row in t.rows]) for t in tables]


def _told(row: Row, found: tuple[str, float | str] | None) -> Row:
    if found is None:
        return row
    verdict: Verdict = "not comparable" if row.verdict == "open" else row.verdict
    note = f"{row.note}; study {found[0]}" if row.note else f"study {found[0]}"
    return replace(row, ours=found[1], verdict=verdict, note=note)


# -------------------------------------------------------------------------------------------- findings and facts


def findings(printed: Printed) -> dict[str, str]:
    """What the printed numbers contradict, by a short name; what does not is absent."""
    checks: dict[str, Callable[[Printed], str | None]] = {
        "sizes": _sizes, "margins": _margins, "relative": _relative, "latency": _latency, "left-out": _left_out,
        "slowdown": _slowdown, "copies": _copies, "models": _models, "updates": _updates, "small-test": _small_test,
    }  # fmt: skip
    found = {name: check(printed) for name, check in checks.items()}
    return {name: words for name, words in found.items() if words}


def _row(table: PaperTable, name: str) -> Row:
    return next(row for row in table.rows if row.name == name)


def _sizes(p: Printed) -> str | None:
    shares = [[v[n] / p["published"][name][n] for name, v in p["table3"].items()] for n in (0, 1)]
    if min(shares[0]) > 1 - NEAR:
        return None
    return (
        f"Parameters in Table 3 are {min(shares[0]):.2f} to {max(shares[0]):.2f}, FLOPs {min(shares[1]):.2f} to "
        f"{max(shares[1]):.2f} of what networks of these names have; the text says nothing of smaller ones, and "
        "smaller frames save no parameters. Here the networks have their authors' sizes, and what is counted is "
        "printed."
    )


def _margins(p: Printed) -> str | None:
    rows = [row for row in table4(p).rows if row.note.startswith("off by")]
    if not rows:
        return None
    most = max(abs(float(row.printed) - float(row.recomputed)) for row in rows)  # type: ignore[arg-type]
    beyond = [row.name for row in rows if row.verdict == "contradicts"]
    told = f"not even before rounding: {', '.join(beyond)}" if beyond else "inputs before rounding would allow all"
    return (
        f"{len(rows)} of {2 * len(p['table4'])} margins of Table 4 do not follow from the digits beside them, by up to "
        f"{most:.2f}; {told}. Here they are computed from the printed digits."
    )


def _relative(p: Printed) -> str | None:
    said = p["text"]["abstract_margins"]
    told = {name: p["table4"][name][1] - p["table4"][name][0] for name in said}
    if all(abs(told[name] - said[name]) <= POINT for name in told):
        return None
    names = " and ".join(f"{said[name]} % of {name} are {told[name]:.1f} points" for name in told)
    return f"The abstract's gains are relative: {names} of AP50. Here differences are in points."


def _latency(p: Printed) -> str | None:
    more = [latency_margin(v[3], v[4], "raw") for v in p["table4"].values()]
    if min(more) <= 0:
        return None
    return (
        f"Networks take {min(more):.1f} to {max(more):.1f} % longer for fused frames (Table 4), by 'complexity of the "
        "regions'; but the tensors have one size, and YOLOv10 and RT-DETR have no suppression whose time depends on "
        "the picture. Here stages are timed apart."
    )


def _left_out(p: Printed) -> str | None:
    (_, _, _, raw, net, _), before = p["table4"]["YOLOv10-X"], p["text"]["preprocessing_ms"]
    if net >= before:
        return None
    total = before + net
    return (
        f"Tables 3 and 4 leave out the {before} ms of filter and fusion: YOLOv10-X takes {total:.2f} ms from frame to "
        f"boxes, {1000 / total:.0f} frames a second and {total / raw:.1f} times its {raw:.2f} ms for raw frames. A "
        f"video has {p['text']['frames_per_second']} frames a second."
    )


def _slowdown(p: Printed) -> str | None:
    row = _row(claims(p), "slowdown of YOLOv10-L and -X [%]")
    if row.verdict == "reproduced":
        return None
    return (
        f"The margins of latency divide by the longer time: what is called a {row.printed} % slowdown of YOLOv10 is "
        f"{row.recomputed} % of what it was. Here changes are relative to raw frames."
    )


def _copies(p: Printed) -> str | None:
    row = _row(claims(p), "copies of each training frame")
    if row.verdict == "reproduced":
        return None
    return (
        f"{p['text']['augmented']} augmented frames are no multiple of {p['table1']['SUM'][1]} ({row.note}): the "
        "recipe can't be recovered. Here turns and flips are drawn anew in each epoch; `prepare --offline` writes "
        "turned copies."
    )


def _models(p: Printed) -> str | None:
    said, found = p["text"]["on_both_inputs"], len(p["table4"])
    if said == found:
        return None
    return f"The discussion counts {said} models on raw and fused frames; R-FCN has raw ones only, so {found}."


def _updates(p: Printed) -> str | None:
    row = _row(claims(p), "each update of YOLO is more precise")
    holds = row.verdict == "reproduced"
    return None if holds else f"'More precise with each update of YOLO' does not hold: {row.note}."


def _small_test(p: Printed) -> str | None:
    few = {view: v[3] for view, v in p["table1"].items() if view != "SUM" and v[3] < FEW}
    if not few:
        return None
    least = min(few, key=few.__getitem__)
    return (
        f"Views are ranked on {min(few.values())} to {max(few.values())} test frames ({least}: {few[least]}) without "
        "an interval. Here a view has its interval by patients, and no rank without it."
    )


def facts(printed: Printed) -> dict[str, Any]:
    """Numbers that are derived from printed ones."""
    four = printed["table4"]
    gains = [v[1] - v[0] for v in four.values()]
    total = printed["text"]["preprocessing_ms"] + four["YOLOv10-X"][4]
    off = [row for row in table4(printed).rows if row.note.startswith("off by")]
    return {
        "gain in AP50, points": f"{min(gains):.1f} to {max(gains):.1f}",
        "margins of Table 4 that follow from its digits": f"{2 * len(four) - len(off)} of {2 * len(four)}",
        "YOLOv10-X end to end [ms]": round(total, 2),
        "YOLOv10-X end to end [frames a second]": round(1000 / total, 1),
    }
