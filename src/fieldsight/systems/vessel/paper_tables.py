"""The paper's tables, equations and claims, cell by cell: what is printed, and what follows from it.

*Recomputed* is from other printed numbers, or what the printed equations give; *ours* is what our networks have when
they are counted and what our filter does on drawn input. What studies say is added by :mod:`.reproduce`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from fieldsight.report.paper import PaperTable, Row, Verdict
from fieldsight.systems.vessel.constants import BETA, SIGMAS, C

Printed = Mapping[str, Any]

#: What stands where a study would.
NOT_YET = "not recorded yet"

#: Half of the last printed digit: margins have two, AP50 one, latencies two.
MARGIN, POINT, MS = 0.005, 0.05, 0.005

#: A size within this share of another is the same: one class for 80 makes less.
NEAR = 0.05

#: How far a mean over views may be from the AP of all frames: AP is no mean.
MEAN_OF_VIEWS = 0.2


#: A change from a raw value to one of preprocessed frames, in per cent.
Margin = Callable[[float, float], float]


def tables_of(printed: Printed) -> tuple[PaperTable, ...]:
    """Tables 1 to 5, equations and claims."""
    five = (table1(printed), table2(printed), table3(printed), table4(printed), table5(printed))
    return (*five, equations(), claims(printed))


def _held(name: str, printed: float, recomputed: float, tolerance: float, note: str = "", digits: int = 2) -> Row:
    verdict: Verdict = "reproduced" if abs(printed - recomputed) <= tolerance + 1e-9 else "contradicts"
    return Row(name, printed, round(recomputed, digits), None, verdict, note)


# ------------------------------------------------------------------------------------------------- margins


def accuracy_margin(raw: float, fused: float) -> float:
    """Gain of AP50 in per cent of the raw frames' AP50, as the paper counts it."""
    return 100.0 * (fused - raw) / raw


def latency_margin(raw: float, fused: float, of: Literal["fused", "raw"] = "fused") -> float:
    """Per cent by which latency changes: ``(raw - fused) / fused`` as the paper counts, or ``(fused - raw) / raw``."""
    return 100.0 * (raw - fused) / fused if of == "fused" else 100.0 * (fused - raw) / raw


def _span(margin: Margin, raw: float, fused: float, half: float) -> tuple[float, float]:
    """What a margin may be if both inputs were rounded by at most ``half`` a digit."""
    ends = [margin(raw + a * half, fused + b * half) for a in (-1, 1) for b in (-1, 1)]
    return min(ends), max(ends)


def _margin(name: str, printed: float, margin: Margin, raw: float, fused: float, half: float) -> Row:
    exact, (low, high) = margin(raw, fused), _span(margin, raw, fused, half)
    if abs(printed - exact) <= MARGIN + 1e-9:
        return Row(name, printed, round(exact, 2), None, "reproduced")
    verdict: Verdict = "reproduced" if low - MARGIN <= printed <= high + MARGIN else "contradicts"
    note = f"off by {abs(printed - round(exact, 2)):.2f}; inputs before rounding allow {low:.2f} to {high:.2f}"
    return Row(name, printed, round(exact, 2), None, verdict, note)


# ------------------------------------------------------------------------------------------------- tables 1 to 5


def table1(printed: Printed) -> PaperTable:
    """Table 1: rows and columns add up."""
    views = {name: v for name, v in printed["table1"].items() if name != "SUM"}
    rows = [
        _held(f"{name}, frames", v[0], sum(v[1:]), 0, "training, validation and test", 0) for name, v in views.items()
    ]
    total, text = printed["table1"]["SUM"], printed["text"]
    for n, column in enumerate(("frames", "training", "validation", "test")):
        rows.append(_held(f"sum, {column}", total[n], sum(v[n] for v in views.values()), 0, "", 0))
    for artery in ("lca", "rca"):
        found = sum(v[0] for name, v in views.items() if name.startswith(artery.upper()))
        rows.append(_held(f"{artery.upper()}, frames", text[artery], found, 0, "Section 3.1.1", 0))
    for n, column in enumerate(("training", "validation", "test")):
        rows.append(_held(f"share for {column} [%]", text["split"][n], 100 * total[n + 1] / total[0], POINT))
    return PaperTable("Table 1", rows, "Split by frame, not by patient.")


def table2(printed: Printed) -> PaperTable:
    """Table 2: raw frames; AP50 stands in Table 4 too."""
    rows = []
    for name, (strict, loose) in printed["table2"].items():
        rows.append(Row(f"{name}, raw, AP_val [%]", strict, None, None, "not comparable", "private frames"))
        other = printed["table4"].get(name)
        if other:
            rows.append(_held(f"{name}, raw, AP50 [%]", loose, other[0], 0, "Table 4"))
        else:
            rows.append(Row(f"{name}, raw, AP50 [%]", loose, None, None, "not comparable", "private frames"))
    return PaperTable("Table 2", rows)


def table3(printed: Printed) -> PaperTable:
    """Table 3: sizes against networks of these names, AP50 and latency against Table 4."""
    rows: list[Row] = []
    for name, (millions, giga, strict, loose, ms) in printed["table3"].items():
        own, four = networks(name), printed["table4"][name]
        gain = strict - printed["table2"][name][0]
        rows += [
            _size(f"{name}, parameters [M]", millions, own.parameters / 1e6, printed["published"][name][0]),
            _size(f"{name}, FLOPs [G]", giga, own.giga(640), printed["published"][name][1],
                  f"; as printed with frames of {own.side(giga):.0f} px"),
            Row(f"{name}, fused, AP_val [%]", strict, None, None, "not comparable", f"{gain:+.1f} points over Table 2"),
            _held(f"{name}, fused, AP50 [%]", loose, four[1], 0, "Table 4"),
            _held(f"{name}, latency [ms]", ms, four[4], 0, "Table 4"),
        ]  # fmt: skip
    rows.append(_sides({name: v[1] for name, v in printed["table3"].items()}))
    return PaperTable(
        "Table 3", rows,
        "Ours: our networks of these names for one class, as deployed, 640 x 640, a multiply-add counted as two; "
        "counted without weights. Smaller frames save FLOPs, never parameters.",
    )  # fmt: skip


def _size(name: str, printed: float, ours: float, published: float, more: str = "") -> Row:
    note = f"{printed / ours:.2f} of ours; {published:g} published with 80 classes{more}"
    verdict: Verdict = "reproduced" if abs(printed / ours - 1) <= NEAR else "contradicts"
    if more and verdict == "contradicts":
        verdict = "open"  # the size of the frames is not stated
    return Row(name, printed, None, round(ours, 1), verdict, note)


def _sides(giga: Mapping[str, float]) -> Row:
    """Frames were of 'a uniform dimension': is there one at which the named networks have the printed FLOPs?"""
    sides = [networks(name).side(v) for name, v in giga.items()]
    macs = [networks(name).side(2 * v) for name, v in giga.items()]
    verdict: Verdict = "contradicts" if max(sides) > (1 + NEAR) * min(sides) else "reproduced"
    note = f"at which the named networks have the printed FLOPs; {min(macs):.0f} to {max(macs):.0f} if they were MACs"
    return Row("side of the frames [px]", "uniform", None, f"{min(sides):.0f} to {max(sides):.0f}", verdict, note)


def table4(printed: Printed) -> PaperTable:
    """Table 4: both margins again, in points, and latency relative to the raw frames."""
    rows: list[Row] = []
    for name, (raw, fused, gain, before, after, loss) in printed["table4"].items():
        slower = latency_margin(before, after, "raw")
        rows += [
            _margin(f"{name}, margin of AP50 [%]", gain, accuracy_margin, raw, fused, POINT),
            Row(f"{name}, gain in AP50 [points]", None, round(fused - raw, 1), None, "not comparable"),
            _margin(f"{name}, margin of latency [%]", loss, latency_margin, before, after, MS),
            Row(f"{name}, latency added to the raw one [%]", None, round(slower, 1), None, "not comparable"),
        ]
    return PaperTable(
        "Table 4", rows,
        "The margin of AP50 is relative to raw frames, that of latency to preprocessed ones, (raw - fused) / fused.",
    )  # fmt: skip


def table5(printed: Printed) -> PaperTable:
    """Table 5: views, and their mean by test frames against the whole."""
    rows = []
    for view, (strict, raw, fused) in printed["table5"].items():
        few = f"{printed['table1'][view][3]} test frames"
        rows += [
            Row(f"{view}, fused, AP_val [%]", strict, None, None, "not comparable", few),
            Row(f"{view}, raw, AP50 [%]", raw, None, None, "not comparable", few),
            Row(f"{view}, fused, AP50 [%]", fused, None, None, "not comparable", few),
            Row(f"{view}, gain in AP50 [points]", None, round(fused - raw, 1), None, "not comparable", few),
        ]
    whole = printed["table4"]["YOLOv10-X"]
    for n, name, value in ((1, "raw, AP50", whole[0]), (2, "fused, AP50", whole[1]),
                           (0, "fused, AP_val", printed["table3"]["YOLOv10-X"][2])):  # fmt: skip
        rows.append(
            _held(f"all views, {name} [%]", value, weighted(printed, n), MEAN_OF_VIEWS,
                  "mean of the views by test frames; AP is no mean, so near is all that can be asked")
        )  # fmt: skip
    return PaperTable("Table 5", rows, "YOLOv10-X.")


def weighted(printed: Printed, column: int, artery: str = "") -> float:
    """Mean of a column of Table 5 by the test frames of Table 1, of all views or of one artery's."""
    views = {v: row[column] for v, row in printed["table5"].items() if v.startswith(artery)}
    frames = {v: printed["table1"][v][3] for v in views}
    return sum(views[v] * frames[v] for v in views) / sum(frames.values())


# ---------------------------------------------------------------------------------------------- our networks


@dataclass(frozen=True)
class Size:
    """A network of one class, as deployed.

    Attributes:
        parameters: their number.
        small, large: 10^9 floating-point operations at 320 x 320 and 640 x 640, two for each multiply-add.
    """

    parameters: int
    small: float
    large: float

    def giga(self, side: float) -> float:
        """10^9 operations at a side, a straight line in the number of pixels through both counts."""
        each = (self.large - self.small) / (640**2 - 320**2)
        return self.large + each * (side**2 - 640**2)

    def side(self, giga: float) -> float:
        """The side that has so many operations, px."""
        each = (self.large - self.small) / (640**2 - 320**2)
        return max(0.0, 640**2 + (giga - self.large) / each) ** 0.5


@cache
def networks(name: str) -> Size:
    """One of our networks by its name in Table 3, counted without memory for its weights."""
    import torch

    from fieldsight import profile
    from fieldsight.nn.detection.rtdetr import rtdetr
    from fieldsight.nn.detection.yolo import yolo
    from fieldsight.nn.detection.yolov9 import yolov9

    family, _, size = name.replace("-", " ").rpartition(" ")
    with torch.device("meta"):
        if family == "RT DETR":
            net: Any = rtdetr(size.lower(), 1)
        elif family == "YOLOv9":
            net = yolov9(size.lower(), 1)
            net.fuse()  # the auxiliary branch goes
        else:
            net = yolo(size.lower(), 1, family.removeprefix("YOLO"))
            if family == "YOLOv10":
                net.head.fuse()  # the one-to-many branch goes
        deployed = net.eval().deployed()
    counts = [2e-9 * profile.count_module(deployed, profile.example((1, 3, s, s))).macs for s in (320, 640)]
    return Size(sum(p.numel() for p in net.parameters()), *counts)


# --------------------------------------------------------------------------------------------- equations and claims


def printed_eq2(l1: float, l2: float, beta: float, c: float) -> float:
    """Eq. 2 to the letter, for an eigenvalue of the sign that it lets through."""
    blob, strength = (l1 / l2) ** 2 / (2 * beta**2), (l1**2 + l2**2) / (2 * c**2)
    return math.exp(-blob * (1 - math.exp(strength)))


def equations() -> PaperTable:
    """Eqs. 1, 2, 5 and 6 as printed and as meant, run on drawn input."""
    import numpy as np

    from fieldsight.systems.vessel import fusing
    from fieldsight.systems.vessel.filters import frangi

    rows = []
    for l1, l2 in ((0.0, 30.0), (15.0, 30.0)):
        right = float(frangi(np.array(l1), np.array(l2)))
        text = printed_eq2(l1, l2, BETA, C)
        rows.append(
            Row(f"Eq. 2, V of eigenvalues {l1:g} and {l2:g}", None, round(text, 4), round(right, 6),
                _same(math.isclose(text, right, abs_tol=1e-6)), "recomputed to the letter; Frangi's stays below 1")
        )  # fmt: skip
    bare, factor = ridge_scale(False), ridge_scale(True)
    rows.append(Row("Eq. 1, best scale of a ridge of width 4 [px]", None, bare, factor, _same(bare == factor),
                    "recomputed without sigma^2; sqrt(2) times the width, 5.7, is right"))  # fmt: skip
    dark, bright = polarity_areas()
    rows += [
        Row("Eq. 2, AUC of thin vessels, polarity as printed", None, None, bright, _same(bright > 0.5),
            "one drawn patient, low contrast; 0.5 is chance"),
        Row("Eq. 2, AUC of thin vessels, dark vessels", None, None, dark, "not comparable", "the same frame"),
    ]  # fmt: skip
    colour = np.array([0.2, 0.6, 0.4])
    i, h, s = fusing.to_ihs(colour)
    there, back = fusing.from_ihs(i, h - 1, s, least="R"), fusing.from_ihs(i, h, s)
    rows.append(Row("Eqs. 5 and 6, (0.2, 0.6, 0.4) there and back", "(0.2, 0.6, 0.4)", _triple(there), _triple(back),
                    _same(_triple(there) == _triple(colour)), "recomputed without the offset of the hue"))  # fmt: skip
    return PaperTable("Equations", rows, "Recomputed: as printed. Ours: as meant, on drawn input.")


def _same(same: bool) -> Verdict:
    return "reproduced" if same else "contradicts"


def ridge_scale(factor: bool, width: float = 4.0) -> float:
    """The scale at which a dark Gaussian ridge responds most, with or without sigma^2."""
    import numpy as np

    from fieldsight.systems.vessel.hessian import eigenvalues, hessian

    x = np.arange(-80.0, 81.0)
    ridge = np.broadcast_to(200 - 100 * np.exp(-(x**2) / (2 * width**2)), (3, 161))
    strong = [float(eigenvalues(hessian(ridge, s))[1][1, 80]) / (1 if factor else s**2) for s in SIGMAS]
    return SIGMAS[int(np.argmax(strong))]


def polarity_areas(side: int = 256) -> tuple[float, float]:
    """AUC of thin vessels against the background of a drawn patient, by dark and by the printed polarity."""
    from sklearn.metrics import roc_auc_score

    from fieldsight.systems.vessel import fast
    from fieldsight.systems.vessel.phantom import Patient, render

    drawn = render(Patient.draw("val", 0), "LAO", side=side, preset="low")
    judged = drawn.thin | (~drawn.mask & ~drawn.devices)
    found = [fast.vesselness(drawn.image, polarity=p, detail=False).value for p in ("dark", "bright")]
    dark, bright = (round(float(roc_auc_score(drawn.thin[judged], v[judged])), 3) for v in found)
    return dark, bright


def _triple(colour: Any) -> str:
    return f"({', '.join(f'{round(float(v), 6) + 0.0:g}' for v in colour)})"


def claims(printed: Printed) -> PaperTable:
    """What the paper claims in words, with what drawn patients say where a study is recorded."""
    four, text = printed["table4"], printed["text"]
    gains = [v[1] - v[0] for v in four.values()]
    views = [v[2] - v[1] for v in printed["table5"].values()]
    slower = [latency_margin(v[3], v[4], "raw") for v in four.values()]
    sides = [weighted(printed, n, "LCA") - weighted(printed, n, "RCA") for n in (1, 2)]
    total = text["preprocessing_ms"] + four["YOLOv10-X"][4]
    rows = [
        _margin(f"abstract: {name} improves by [%]", said, accuracy_margin, four[name][0], four[name][1], POINT)
        for name, said in text["abstract_margins"].items()
    ]
    rows += [
        *_said_in_text(printed),
        _claim("gain of fused over raw frames in AP50 [points]", None, f"{min(gains):+.1f} to {max(gains):+.1f}"),
        _claim("views with a gain", "all", f"{sum(v > 0 for v in views)} of {len(views)}, {min(views):+.1f} to "
               f"{max(views):+.1f} points"),
        _claim("AP50 of LCA less RCA [points]", None, f"raw {sides[0]:.1f}, fused {sides[1]:.1f}"),
        _claim("gain in sensitivity on side branches less that on main vessels [points]", "branches gain", None),
        _claim("change of the network's latency by what the frames show [%]", None,
               f"{min(slower):+.1f} to {max(slower):+.1f}", "tensors have one size; only suppression can take longer"),
        _claim("filter and fusion [ms]", text["preprocessing_ms"], None, "device not stated"),
        _claim("end to end, YOLOv10-X [ms]", None, round(total, 2), "37.1 ms of filter and fusion added"),
        _claim("end to end, YOLOv10-X [frames a second]", None, round(1000 / total, 1),
               f"video has {text['frames_per_second']}"),
        *(_claim(f"control: {name} less raw frames in AP50 [points]", None, None)
          for name in ("vesselness alone", "blend", "average", "stack", "CLAHE", "printed polarity")),
        _claim("control: gain of fused over raw frames of a pretrained detector in AP50 [points]", None, None),
        _claim("control: split by frame less split by patient in AP50 [points]", None, None),
    ]  # fmt: skip
    return PaperTable("Claims", rows, "Ours: drawn patients, from recorded studies.")


def _claim(name: str, printed: float | str | None, recomputed: float | str | None, note: str = "") -> Row:
    return Row(name, printed, recomputed, NOT_YET, "open", note)


def _said_in_text(printed: Printed) -> list[Row]:
    """Sentences that the tables decide."""
    four, text = printed["table4"], printed["text"]
    gains = {name: v[1] - v[0] for name, v in four.items()}
    low, high, step = text["rotation"]
    angles = (high - low) // step + 1
    train = printed["table1"]["SUM"][1]
    each = text["augmented"] / train
    best = max(printed["table5"], key=lambda v: printed["table5"][v][2])
    slow = [latency_margin(v[3], v[4], "raw") for name, v in four.items() if name.startswith("YOLOv10")]
    updates = [four[name][1] for name in ("YOLOv8-X", "YOLOv9-E", "YOLOv10-L")]
    return [
        _words("greatest gain", text["greatest_gain"], max(gains, key=gains.__getitem__)),
        _words("least gain", text["least_gain"], min(gains, key=gains.__getitem__)),
        _words("best view", text["best_view"], best, f"{printed['table1'][best][3]} test frames"),
        _words("models on both inputs", text["on_both_inputs"], len(four), "R-FCN was left out of Table 3"),
        _words("each update of YOLO is more precise", "yes", "yes" if updates == sorted(updates) else "no",
               f"AP50 of fused frames {', '.join(f'{v:g}' for v in updates)} for v8-X, v9-E, v10-L"),
        _held("slowdown of YOLOv10-L and -X [%]", text["yolov10_slowdown"], sum(slow) / len(slow), 0.5,
              f"relative to what it was: {slow[0]:.1f} and {slow[1]:.1f}", 1),
        Row("copies of each training frame", None, round(each, 2), None,
            "reproduced" if each == round(each) else "contradicts",
            f"{text['augmented']} / {train}; {angles} angles give {train * angles}, with {text['flips']} flips "
            f"{train * (angles + text['flips'])}"),
    ]  # fmt: skip


def _words(name: str, printed: str | int, recomputed: str | int, note: str = "") -> Row:
    return Row(name, printed, recomputed, None, "reproduced" if printed == recomputed else "contradicts", note)
