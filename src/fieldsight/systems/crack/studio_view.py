"""What the Studio page says and shows of a result, and how it is measured anew without running a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.predictions import Picture, Table
from fieldsight.studio import render
from fieldsight.systems.crack.measure import Crack
from fieldsight.systems.crack.overlay import labels, overlay, width_heat
from fieldsight.systems.crack.results import CrackMap, review_table
from fieldsight.systems.crack.studio_again import ByHand, scale_in

if TYPE_CHECKING:
    from pathlib import Path

    from fieldsight.studio.results import Shown, View
    from fieldsight.systems.crack.explain import Explanation

Mask = NDArray[np.bool_]
Look = Literal["Cracks", "Widths", "Probability"]

#: Experts as their papers call them.
NAMES = {
    "cen": "CEN", "ecsn": "ECSN", "crackmaster": "CrackMaster", "crackrefine": "CrackRefineNet", "unet": "U-Net",
    "swin": "Swin", "deepcrack": "DeepCrack", "mobilenet": "MobileNetV3",
}  # fmt: skip

#: What may stand under the line that moves, and the words over it.
LOOKS: dict[str, str] = {
    "Cracks": "Left of the line the photo, right of it what was found, the longest ones numbered. Move the line.",
    "Widths": "Right of the line the middle of each crack coloured by width: dark is narrow, yellow the widest.",
    "Probability": "Right of the line how sure the experts are: dark blue is certainly no crack, yellow certainly one.",
}

#: Longer side of a shown picture in pixels, and how many cracks carry their number in it.
ROOM, NUMBERED = 1000, 12

#: Score of the review list from which on a person is asked to look; where the model knows no usual values, the
#: disagreement from which on. Our judgement.
DOUBTFUL, APART = 0.8, 0.2

#: Ends of the threshold's slider.
LOW, HIGH = 0.02, 0.98

_BLUE, _GREY, _AMBER = "#0b6e99", "#c5cdd6", "#fff4e0"

#: What can be downloaded: end of the file's name, and words for its button.
FILES = (
    ("_mask.png", "Mask, PNG"), ("_mask.tif", "Mask, GeoTIFF"), ("_overlay.png", "Picture with cracks, PNG"),
    ("_cracks.csv", "Table, CSV"), (".geojson", "Outlines, GeoJSON"), ("_coco.json", "Outlines, COCO"),
    ("_probability.tif", "Probability, TIFF"), (".json", "Everything, JSON"),
)  # fmt: skip


# ------------------------------------------------------------------------------------------------- pictures


def pair(found: CrackMap, look: str = "Cracks") -> tuple[Picture, Picture]:
    """What lies left and right of the moving line: the photo and one of :data:`LOOKS`, both at most :data:`ROOM` px."""
    base = small_photo(found)
    factor = base.shape[1] / found.mask.shape[1]
    moved = [_moved(crack, factor) for crack in found.cracks]
    if look == "Probability":
        return base, _glow(base, np.asarray(found.probability))
    if look == "Widths":
        return base, _drawn_widths(base, moved)
    drawn = overlay(base, small_mask(found), alpha=0.7)
    return base, labels(drawn, longest(moved)[:NUMBERED])


def small_photo(found: CrackMap) -> Picture:
    """The photo at most :data:`ROOM` pixels a side."""
    from fieldsight.data.images import resize

    return np.ascontiguousarray(resize(found.source, ROOM))


def small_mask(found: CrackMap) -> Mask:
    """The mask at the size of :func:`small_photo`; a pixel is crack where any of its pixels is."""
    height, width = small_photo(found).shape[:2]
    if found.mask.shape == (height, width):
        return np.asarray(found.mask)
    rows, columns = ((np.arange(n) * m) // n for n, m in zip((height, width), found.mask.shape, strict=True))
    return np.logical_or.reduceat(np.logical_or.reduceat(np.asarray(found.mask), rows, axis=0), columns, axis=1)


def longest(cracks: Sequence[Crack]) -> list[Crack]:
    """Cracks, the longest first."""
    return sorted(cracks, key=lambda crack: -crack.length_px)


def _moved(crack: Crack, factor: float) -> Crack:
    """A crack in the coordinates of a smaller picture."""
    if factor == 1.0:
        return crack
    x, y = crack.max_width_at
    return dataclasses.replace(
        crack, max_width_at=(x * factor, y * factor), max_width_px=crack.max_width_px * factor,
        polylines=tuple(line * factor for line in crack.polylines),
        widths=tuple(width * factor for width in crack.widths),
    )  # fmt: skip


def _drawn_widths(photo: Picture, cracks: Sequence[Crack]) -> Picture:
    """Centrelines thick enough to tell their colours, over a pale photo."""
    import cv2

    lines = cv2.dilate(width_heat(np.zeros_like(photo), cracks), np.ones((5, 5), np.uint8))
    pale = np.repeat(0.5 * photo.mean(axis=2, keepdims=True) + 110.0, 3, axis=2).astype(np.uint8)
    return np.asarray(np.where(lines.any(axis=2, keepdims=True), lines, pale))


def _glow(photo: Picture, probability: NDArray[Any]) -> Picture:
    import cv2

    from fieldsight.predictions import heat

    size = (photo.shape[1], photo.shape[0])
    small = cv2.resize(probability.astype(np.float32, copy=False), size, interpolation=cv2.INTER_AREA)
    return heat(np.clip(small, 0.0, 1.0), 0.0, 1.0)


# ---------------------------------------------------------------------------------------------------- words


def name_of(expert: str) -> str:
    """An expert as its paper calls it; a user's own by its own name."""
    return NAMES.get(expert, expert)


def verdict(found: CrackMap) -> str:
    """The result in one sentence, as HTML."""
    total = found.summary
    hand = " Corrected by hand." if isinstance(found, ByHand) else ""
    if not total.count:
        words = f"No crack found at threshold {found.facts['threshold']:.2f}. That is no proof that there is none."
        return render.message(words + hand, "quiet")
    many = "1 crack" if total.count == 1 else f"{total.count:,} cracks"
    if total.length_mm is None or total.max_width_mm is None:
        size = f"{total.length_px:,.0f} px long in all, {total.max_width_px:.1f} px at the widest place"
        rest = " Give the scale to have millimetres and a class of severity."
    else:
        size = f"{total.length_mm / 1000:,.2f} m long in all, {total.max_width_mm:.2f} mm at the widest place"
        order = ("hairline", "low", "moderate", "high")
        rest = f" Worst class of severity: {max(total.severities, key=order.index)}." if total.severities else ""
    return render.message(f"{many} found: {size}.{rest}{hand}", "info")


def remark(found: CrackMap, reference: Any = None) -> str:
    """A word where a person should look at this photo; empty where nothing is unusual.

    Args:
        found: the result.
        reference: the model's ``routing`` artefact: which signs of doubt are usual.
    """
    parts = []
    if found.facts.get("failed"):
        failed = "; ".join(f"{name_of(name)}: {why}" for name, why in found.facts["failed"].items())
        parts.append(render.message(f"Experts that failed and were left out: {failed}", "warning"))
    reason = doubt(found, reference)
    if reason:
        parts.append(render.message(reason, "warning", "Look at this photo yourself."))
    if found.facts.get("notes"):
        parts.append(render.message("; ".join(found.facts["notes"]) + ".", "quiet"))
    return "".join(parts)


def doubt(found: CrackMap, reference: Any = None) -> str:
    """Why a person should look, or empty; arguments as :func:`remark`."""
    apart = found.facts.get("disagreement")
    if reference:
        (row,) = review_table([("photo", found.facts)], reference).rows
        return str(row["reason"]) if row["score"] >= DOUBTFUL else ""
    if apart is not None and apart >= APART:
        return f"The experts disagree on {apart:.0%} of the crack."
    return ""


def numbers(found: CrackMap) -> str:
    """The sums, as HTML."""
    told = dict(found.shown()[0])
    wanted = ("cracks", "length in all", "widest place", "share of the photo", "severity")
    shown = {name: told[name] for name in wanted if name in told}
    scale = scale_in(found)
    shown["scale"] = "unknown" if scale is None else f"{scale:.4g} mm a pixel"
    return render.facts(shown)


def table(found: CrackMap) -> str:
    """One row a crack, the longest first, as HTML."""
    if not found.cracks:
        return ""
    metric = found.summary.length_mm is not None
    unit = "mm" if metric else "px"
    columns = {"no.": "", "length": unit, "mean width": unit, "widest": unit, "direction": "°", "kind": ""}
    columns |= {"severity": ""} if metric else {}
    columns |= {"branches": "", "sure": ""}
    rows, fine = [], 2 if metric else 1
    for one in longest(found.cracks):
        mm = (one.length_mm, one.mean_width_mm, one.max_width_mm)
        sizes = mm if metric else (one.length_px, one.mean_width_px, one.max_width_px)
        length, mean, widest = (0.0 if value is None else float(value) for value in sizes)
        row = {
            "no.": one.id, "length": f"{length:,.0f}", "mean width": f"{mean:.{fine}f}", "widest": f"{widest:.{fine}f}",
            "direction": f"{one.orientation_deg:.0f}", "kind": one.kind, "severity": one.severity or "",
            "branches": one.branches, "sure": "" if one.probability is None else f"{one.probability:.0%}",
        }  # fmt: skip
        rows.append({name: row[name] for name in columns})
    return render.table(Table(columns, rows, "cracks, the longest first"))


def bars(weights: Mapping[str, float], used: Mapping[str, float], most: float = 1.0) -> str:
    """A bar an expert, as HTML: the longer, the more the gate trusts it; those that are used in colour."""
    rows = ""
    for expert, weight in sorted(weights.items(), key=lambda item: -item[1]):
        share = used.get(expert, 0.0)
        wide = 100 * min(1.0, weight / max(most, 1e-9))
        colour = _BLUE if share else _GREY
        word = f"<b>counts {share:.0%}</b>" if share else "not asked"
        bar = f"height:14px;border-radius:4px;background:linear-gradient(90deg,{colour} {wide:.1f}%,#eef2f5 0)"
        nowrap = "white-space:nowrap;font-size:.84rem"
        number = "text-align:right;font-variant-numeric:tabular-nums"
        rows += (
            '<div style="display:grid;grid-template-columns:minmax(96px,128px) minmax(40px,1fr) 38px 90px;gap:8px;'
            'align-items:center;margin:5px 0;font-size:.9rem">'
            f'<span style="overflow-wrap:anywhere">{escape(name_of(expert))}</span>'
            f'<i style="{bar}"></i><span style="{number}">{weight:.0%}</span><span style="{nowrap}">{word}</span></div>'
        )
    return f'<div role="img" style="margin-bottom:10px" aria-label="Trust of the gate in each expert">{rows}</div>'


def route(found: CrackMap) -> str:
    """Which experts looked, with what weight and how far they agree, as HTML."""
    facts = found.facts
    used, weights = facts["used"], facts["weights"]
    ranked = sorted(used, key=lambda name: -used[name])
    if len(weights) == 1:
        words = f"This model has one expert, {name_of(ranked[0])}."
    else:
        chosen = " and ".join(f"{name_of(name)} ({used[name]:.0%})" for name in ranked)
        if facts["routed"] == "as a whole":
            words = f"The gate looked at the photo once and chose {chosen}."
        else:
            words = f"The photo is large: the gate chose place by place, {facts['routed']}. On average: {chosen}."
        if facts.get("disagreement") is not None:
            words += f" Where one of them sees crack, they disagree on {facts['disagreement']:.0%} of it."
    return f"<h3>Who looked</h3>{render.soft(words)}{bars(weights, used)}"


def downloads(shown: Shown, view: View, hand: bool = False) -> str:
    """Buttons that download the files of one photo, and all of all photos as ZIP, as HTML."""
    found: list[tuple[Path, str]] = []
    left = list(view.files)
    for end, words in FILES:
        for name in [n for n in left if n.endswith(end)]:
            left.remove(name)
            words = f"{words}, corrected by hand" if hand and "_by-hand" in name else words
            found.append((shown.folder / name, words))
    about = "The files hold what is shown: they follow the threshold, the scale and what you correct."
    return render.buttons(shown.key, found, shown.folder, about)


def review(shown: Shown, reference: Any = None) -> str:
    """Several photos, the most doubtful first, as HTML; empty for one photo."""
    listed = numbered(shown)
    if len(listed) < 2:
        return ""
    found = review_table([(name, {**v.facts, **v.summary.to_dict()}) for name, v in listed], reference)
    rows = [
        {"look at": "first" if row["score"] >= DOUBTFUL else "", "photo": row["photo"], "cracks": row["cracks"],
         "length": f"{row['length_px']:,.0f}", "why": row["reason"]}
        for row in found.rows
    ]  # fmt: skip
    columns = {"look at": "", "photo": "", "cracks": "", "length": "px", "why": ""}
    words = "All photos, the most doubtful first. Choose one by its number above."
    return f"<h3>{len(listed)} photos</h3>{render.soft(words)}" + render.table(Table(columns, rows), most=200)


def numbered(shown: Shown) -> list[tuple[str, CrackMap]]:
    """The good results with the number and name by which the page's list calls them."""
    return [
        (f"{n}: {view.name}", view.prediction)
        for n, view in enumerate(shown.views, 1)
        if isinstance(view.prediction, CrackMap)
    ]


# ---------------------------------------------------------------------------------------------- the route, why


def why(found: Explanation) -> str:
    """What stands above the picture of an explanation, as HTML."""
    used = dict.fromkeys(found.chosen, 1.0)
    weights = {name: float(w) for name, w in zip(found.experts, found.weights, strict=True)}
    total = sum(weights[name] for name in used) or 1.0
    shares = {name: weights[name] / total for name in used}
    words = "How far the gate trusts each expert with this photo. It saw the photo only, never what the experts found."
    return f"<h3>Trust</h3>{render.soft(words)}{bars(weights, shares)}{_sure(found)}"


def _sure(found: Explanation) -> str:
    members = found.facts.get("expert_set")
    if not members:
        return ""
    names = ", ".join(name_of(name) for name in members)
    level = found.facts["set_level"]
    if len(members) == len(found.experts):
        return render.message(f"Any of them may be the best one: the gate can't rule out any at {level:.0%}.", "quiet")
    return render.message(
        f"With {level:.0%} certainty the best expert for a photo like this is among: {names}.", "quiet"
    )


def alike(found: Explanation) -> str:
    """The training photos that look most alike to the gate, and how the experts did there, as HTML."""
    rows = found.nearest.rows
    if not rows:
        return ""
    means = {}
    for expert in found.experts:
        scores = [float(row[expert]) for row in rows if row.get(expert) is not None]
        if scores:
            means[expert] = sum(scores) / len(scores)
    best = max(means, key=lambda name: means[name]) if means else ""
    words = (
        f"The {len(rows)} training photos that look most alike to the gate, each scored by experts that never saw it."
    )
    if best and max(means.values()) > 0:
        words += f" On average {name_of(best)} did best there, with an IoU of {means[best]:.2f}."
    columns = {"photo": "", "surface": "", **{name_of(e): "IoU" for e in found.experts}}
    shown = [
        {"photo": row["photo"], "surface": row["surface"]}
        | {name_of(e): None if row.get(e) is None else f"{float(row[e]):.2f}" for e in found.experts}
        for row in rows
    ]
    return f"<h3>What it learnt from</h3>{render.soft(words)}" + render.table(Table(columns, shown))
