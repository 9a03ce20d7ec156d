"""``detect``: how well statistics, a trained network and this model itself tell stego pictures from plain ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.folders import gather
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.predictions import Table
from fieldsight.report import plots
from fieldsight.systems.stego import photos, steganalysis
from fieldsight.systems.stego.attack import Findings, Way, mark_of, network
from fieldsight.systems.stego.carrier import Carrier
from fieldsight.systems.stego.data import draw_pictures, photo_crops
from fieldsight.systems.stego.evaluate import Pair, choose
from fieldsight.systems.stego.options import DetectOptions, EvaluateOptions
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.roc import auc_interval, pe, roc
from fieldsight.systems.stego.srm import SrmNet, scores, train_detector

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]
Detector = Callable[[Picture], "float | None"]

#: Statistics that need no training and no model.
CLASSICAL: dict[str, Detector] = {
    "rs": steganalysis.rs_analysis,
    "sample_pairs": steganalysis.sample_pairs,
    "chi_square": steganalysis.chi_square,
}

#: Fewest pictures of a kind that are compared; false alarms at which the share of found stego pictures is told.
FEWEST, ALARMS = 4, 0.05

#: The network learns from at most so many pixels a side, from the middle of a picture.
LEARNT_SIDE = 1024

MARK = "this very model looks for its mark, without a passphrase"

NO_PROOF = (
    "A high value is no proof: plain pictures, above all JPEGs in full size, reach high values too. A low value clears "
    "nothing: these statistics are made for replaced low bits"
)


@dataclass(frozen=True)
class Scored:
    """Scores of pictures by detector, larger for "more likely stego"; None where a detector can't say.

    Attributes:
        names: of the pictures.
        values: one list a detector, as long as the names.
        skipped: pictures that were left out, with the reason.
    """

    names: list[str] = field(default_factory=list)
    values: dict[str, list[float | None]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def add(self, name: str, picture: Picture, detectors: Mapping[str, Detector]) -> None:
        """Score one picture ``(H, W, 3)`` uint8."""
        self.names.append(name)
        for key, detector in detectors.items():
            self.values.setdefault(key, []).append(detector(picture))

    def means(self, groups: Sequence[str]) -> dict[str, Floats]:
        """Mean score of each group, in the order first seen; detectors that were silent on any picture are left out."""
        own, order = np.array(groups), list(dict.fromkeys(groups))
        arrays = {key: np.array(values, dtype=np.float64) for key, values in self.values.items() if None not in values}
        return {key: np.array([array[own == group].mean() for group in order]) for key, array in arrays.items()}


def mark_detector(model: StegoModel, whole: bool = False) -> Detector:
    """The model itself as a detector; None for pictures too small for a mark.

    Args:
        model: it knows no passphrase.
        whole: score 1 for a whole mark and 0 for none; else the correlation of its sync word, -1 to 1.
    """

    def detector(picture: Picture) -> float | None:
        reading = mark_of(model, picture)
        return None if reading is None else float(reading.header is not None) if whole else reading.score

    return detector


def trained_detector(net: SrmNet) -> Detector:
    """A trained network as a detector: its logit."""
    return lambda picture: float(scores(net, [picture])[0])


def judge(plain: Mapping[str, Floats], stego: Mapping[str, Floats], paired: bool) -> list[dict[str, Any]]:
    """One row a detector that scored both kinds.

    Args:
        plain, stego: by detector one score a picture.
        paired: the i-th stego picture was made from the i-th plain one.

    Returns:
        ``auc`` with DeLong's 95 % interval (``low``, ``high``), ``pe`` (least average error, 0.5 is chance), and
        ``found``: share of stego pictures above a threshold that at most :data:`ALARMS` of the plain ones reach.

    Raises:
        DataError: fewer than two scores of a kind.
    """
    rows = []
    for name in (name for name in plain if name in stego):
        a, b = plain[name], stego[name]
        area = auc_interval(a, b, paired=paired)
        false, true = roc(a, b)
        rows.append(
            {
                "detector": name, "auc": round(area.value, 5), "low": round(area.low, 5), "high": round(area.high, 5),
                "pe": round(pe(a, b), 5), "found": round(float(true[false <= ALARMS].max()), 5),
                "plain": int(a.size), "stego": int(b.size),
            }
        )  # fmt: skip
    return rows


# ------------------------------------------------------------------------------------------ own stego pictures


def learning_pairs(count: int, size: int, real: bool, seed: int = 0) -> tuple[list[Pair], str]:
    """At most ``count`` pairs for a detector to learn from, ``size`` pixels a side, and what they are in words.

    They are crops of packaged photos of the split ``train`` where ``real``, else drawn pictures of a seed.

    Raises:
        DataError: fewer than two pictures.
    """
    pictures = photo_crops("train", size) if real else draw_pictures(count, size, seed, split="train")
    total = len(pictures)
    if total < 2:
        raise DataError(
            f"{total} pictures to learn from: no packaged photo of the split 'train' is here, or all are narrower "
            f"than {size} pixels. Get some with `fieldsight assets fetch`, or choose --method classical."
        )
    chosen = np.linspace(0, total - 1, min(count, total)).round().astype(int)
    # crops of one photo stand together: half the list away is another photo
    pairs = [Pair(f"learn-{n}", pictures[n], pictures[(n + total // 2) % total], str(n)) for n in chosen]
    return pairs, f"{len(pairs)} {'crops of training photos' if real else 'drawn pictures'}"


def learnt(way: Way, pairs: Sequence[Pair], steps: int, crop: int, seed: int) -> SrmNet:
    """The detector trained on what a way makes of pairs.

    Raises:
        ConfigError: a crop larger than the pairs.
    """
    covers = [way.cut(pair.cover) for pair in pairs]
    side = min(min(cover.shape[:2]) for cover in covers)
    if crop > side:
        raise ConfigError(f"crop: {crop} is larger than the pictures to learn from ({side} px). Give --crop {side}.")
    hiding = progress.track(pairs, f"hiding by {way.name}")
    stegos = [way.put(way.cut(pair.cover), pair.secret)[0] for pair in hiding]
    return train_detector(covers, stegos, steps=steps, crop=crop, seed=seed)


def score_pairs(way: Way, pairs: Sequence[Pair], detectors: Mapping[str, Detector]) -> tuple[Scored, Scored]:
    """Scores of the covers of pairs, and of what a way makes of them."""
    plain, stego = Scored(), Scored()
    for pair in progress.track(pairs, f"scoring {way.name}"):
        cover = way.cut(pair.cover)
        plain.add(pair.id, cover, detectors)
        stego.add(pair.id, way.put(cover, pair.secret)[0], detectors)
    return plain, stego


def _own(model: StegoModel, options: DetectOptions) -> Findings:
    """The model's own stego pictures of held-out pairs."""
    pairs, on = choose(model, None, EvaluateOptions(pairs=options.pairs, size=options.size))
    way, real = network(model), "photos" in on
    detectors, facts = {**CLASSICAL, "mark": mark_detector(model)}, _facts(model, options)
    if options.method == "trained":
        learning, facts["learnt"] = learning_pairs(options.learn, pairs[0].cover.shape[0], real)
        detectors["trained"] = trained_detector(learnt(way, learning, options.steps, options.crop, options.seed))
    plain, stego = score_pairs(way, pairs, detectors)
    groups = [pair.group for pair in pairs]
    warnings = [] if real else ["drawn pictures: real photos give other numbers"]
    return _compared(on, plain, stego, (groups, groups), True, facts, warnings)


# ------------------------------------------------------------------------------------------------- two folders


def sources(root: Path) -> dict[str, Path]:
    """The pictures of a file or folder by their names: the path below the folder, without its ending.

    Raises:
        DataError: nothing there.
    """
    return {item.stem.as_posix(): Path(item.value) for item in gather(root, IMAGE_SUFFIXES)}


def read_stored(path: Path, most: int | None = None) -> Picture:
    """The stored 8-bit colours ``(H, W, 3)``, transparency left out; the middle, at most ``most`` pixels a side.

    Raises:
        DataError: can't be read, fewer than 16 pixels a side, or not 8 bits a sample.
    """
    colour = Carrier.read(path).colour
    if colour.dtype != np.uint8:
        raise DataError(f"'{path}' has 16 bits a sample; the detectors look at 8. Save it with 8.")
    top, left = (0 if most is None else max(0, n - most) // 2 for n in colour.shape[:2])
    return colour[top:, left:][:most, :most]


def score_sources(given: Mapping[str, Path], detectors: Mapping[str, Detector]) -> Scored:
    """Scores of pictures; those that can't be read are named, and left out."""
    found = Scored()
    for name, path in progress.track(given.items(), "scoring pictures", len(given)):
        try:
            picture = read_stored(path)
        except DataError as error:
            _skip(found.skipped, str(error))
            continue
        found.add(name, picture, detectors)
    return found


def _folders(model: StegoModel, data: Path, other: Path, options: DetectOptions) -> Findings:
    """Plain pictures of one folder against stego pictures of another."""
    plain_of, stego_of = sources(data), sources(other)
    detectors, facts = {**CLASSICAL, "mark": mark_detector(model)}, _facts(model, options)
    skipped: list[str] = []
    if options.method == "trained":
        net, used = _learnt_from_folders(plain_of, stego_of, options, skipped)
        detectors["trained"] = trained_detector(net)
        facts["learnt"] = f"{len(used)} pairs of one name; all detectors are compared on the other pictures"
        plain_of, stego_of = ({n: p for n, p in own.items() if n not in used} for own in (plain_of, stego_of))
    plain, stego = (score_sources(own, detectors) for own in (plain_of, stego_of))
    for kind, found in (("plain", plain), ("stego", stego)):
        if len(found.names) < (2 if options.method == "trained" else FEWEST):
            left = f"{len(found.names)} {kind} pictures can be compared"
            raise DataError(f"{left}; {FEWEST} or more of each kind are needed. Add pictures.")
    paired = plain.names == stego.names
    facts["pairs"] = "same names in both folders" if paired else "pictures are not paired"
    skipped += plain.skipped + stego.skipped
    on = f"'{data.name}' (plain) and '{other.name}' (stego)"
    return _compared(on, plain, stego, (plain.names, stego.names), paired, facts, [], skipped)


def _learnt_from_folders(
    plain: Mapping[str, Path], stego: Mapping[str, Path], options: DetectOptions, skipped: list[str]
) -> tuple[SrmNet, list[str]]:
    """The detector trained on half of the pairs of one name, and the names of these."""
    names = [name for name in plain if name in stego]
    order = rng_for(options.seed, "stego", "detect", "split").permutation(len(names))
    used = [names[n] for n in sorted(order[: len(names) // 2])]
    covers, stegos, widest = [], [], 0
    for name in progress.track(used, "reading pairs"):
        try:
            cover, other = (read_stored(own[name], LEARNT_SIDE) for own in (plain, stego))
            side = min(cover.shape[:2])
            widest = max(widest, side)
            if cover.shape != other.shape:
                raise DataError(f"'{name}' has other sizes in both folders: {cover.shape[:2]} and {other.shape[:2]}.")
            if side < options.crop:
                raise DataError(f"'{name}' has {side} pixels on its shorter side, less than the crop {options.crop}.")
        except DataError as error:
            _skip(skipped, f"not learnt from: {error}")
            continue
        covers.append(cover)
        stegos.append(other)
    if len(covers) < 2:
        hint = f" No pair is wider than {widest} pixels: give --crop {widest}." if 32 <= widest < options.crop else ""
        raise DataError(
            f"Half of the {len(names)} pairs of one name in both folders are to be learnt from; {len(covers)} of these "
            f"can be, and 2 are needed.{hint} Add pictures whose names agree, or choose --method classical."
        )
    return train_detector(covers, stegos, steps=options.steps, crop=options.crop, seed=options.seed), used


# --------------------------------------------------------------------------------------------------- screening


def plain_photos(size: int) -> list[Picture]:
    """Plain pictures of the packaged test photos that are here: each as a resized square, and cut at its full size."""
    found = []
    for photo in progress.track(photos.find("test"), "reading photos"):
        whole = photo.read()
        found.append(photos.square(whole, size))
        if min(whole.shape[:2]) > size:
            top, left = ((n - size) // 2 for n in whole.shape[:2])
            found.append(np.ascontiguousarray(whole[top : top + size, left : left + size]))
    return found


def _screen(model: StegoModel, data: Path, options: DetectOptions) -> Findings:
    """Numbers of single pictures, and how many plain photos have as high ones."""
    given, detectors, facts = sources(data), dict(CLASSICAL), _facts(model, options)
    if options.method == "trained":
        learning, learnt_on = learning_pairs(options.learn, options.size, bool(photos.find("train")))
        net = learnt(network(model), learning, options.steps, options.crop, options.seed)
        detectors["trained"], facts["learnt"] = trained_detector(net), f"this model's stego pictures of {learnt_on}"
    found = score_sources(given, {**detectors, "mark": mark_detector(model, whole=True)})
    if not found.names:
        raise DataError(f"None of {len(given)} pictures can be looked at:\n" + "\n".join(found.skipped[:20]))
    known = Scored()
    for number, picture in enumerate(plain_photos(options.size)):
        known.add(str(number), picture, detectors)
    rows, lines = [], []
    for number, name in enumerate(found.names):
        row: dict[str, Any] = {"picture": name}
        for key in detectors:
            value = found.values[key][number] or 0.0
            row |= {key: round(value, 5), f"{key}_plain": _share_above(known.values.get(key, []), value)}
        row["mark"] = {None: "too small", 0.0: "none"}.get(found.values["mark"][number], "found")
        rows.append(row)
        share = {k: f" ({100 * row[f'{k}_plain']:.0f} %)" if known.names else "" for k in detectors}
        parts = [f"{k} {row[k]:.3f}{share[k]}" for k in detectors]
        lines.append(f"{name}: {', '.join(parts)}; mark of this model: {row['mark']}")
    plain = "how many plain photos reach a value is not known: no packaged photo is here (`fieldsight assets fetch`)"
    if known.names:
        plain = f"share of {len(known.names)} plain pictures, {options.size} px from packaged photos, as high or more"
    facts |= {"plain": plain, "mark": MARK}
    table = Table(dict.fromkeys(rows[0], ""), rows, f"Screening of {len(rows)} pictures")
    on = f"'{data.name}' ({len(rows)} pictures)"
    words = (*lines, *([f"percentages: {plain}"] if known.names else [plain]))
    return Findings("detect", on, table, table, words, facts=facts, warnings=(NO_PROOF,), skipped=tuple(found.skipped))


def _share_above(known: Sequence[float | None], value: float) -> float | None:
    """Share of known plain scores that are at least a value, the picture itself counted as one of them."""
    return round((1 + sum(k is not None and k >= value for k in known)) / (1 + len(known)), 4) if known else None


def detect(model: StegoModel, data: Path | None, options: DetectOptions) -> Findings:
    """The verb: compare plain with stego pictures, of this model or of two folders, or screen pictures.

    ``data`` and ``options.stego``: plain and stego pictures of any tool. ``data`` alone: numbers of single pictures.
    Neither: this model's stego pictures of held-out pairs.

    Raises:
        ConfigError: stego pictures without plain ones, or a crop larger than the pictures.
        DataError: too few pictures that can be read.
    """
    if data is None:
        if options.stego is not None:
            raise ConfigError("stego: give the folder of plain pictures too: detect PLAIN --stego STEGO.")
        return _own(model, options)
    return _screen(model, data, options) if options.stego is None else _folders(model, data, options.stego, options)


def _compared(
    on: str, plain: Scored, stego: Scored, groups: tuple[Sequence[str], Sequence[str]], paired: bool,
    facts: Mapping[str, Any], warnings: Sequence[str], skipped: Sequence[str] = (),
) -> Findings:  # fmt: skip
    """The findings of two kinds of pictures."""
    a, b = plain.means(groups[0]), stego.means(groups[1])
    rows = judge(a, b, paired)
    curves = {row["detector"]: roc(a[row["detector"]], b[row["detector"]]) for row in rows}
    curves["chance"] = (np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    each = [
        {"kind": kind, "picture": name, **{key: values[number] for key, values in own.values.items()}}
        for kind, own in (("plain", plain), ("stego", stego))
        for number, name in enumerate(own.names)
    ]
    if min(rows[0]["plain"], rows[0]["stego"]) < 20:
        warnings = [*warnings, "few pictures: the intervals are wide, and P_E is too low"]
    words = (
        f"{r['detector']:14} AUC {r['auc']:.3f} ({r['low']:.3f} to {r['high']:.3f}), P_E {r['pe']:.3f}, "
        f"{100 * r['found']:.0f} % found at 5 % false alarms; {r['plain']} plain, {r['stego']} stego"
        for r in rows
    )
    told = {
        **facts,
        "auc": "area under the ROC curve, 0.5 is chance, below it the score falls; DeLong's 95 % interval",
        "pe": "least average of false alarms and misses, 0.5 is chance; too low on few pictures",
        "found": f"share of stego pictures found at no more than {100 * ALARMS:.0f} % false alarms",
        "mark": MARK,
    }
    return Findings(
        "detect", on, Table(dict.fromkeys(rows[0], ""), rows, f"Plain against stego pictures, {on}"),
        Table(dict.fromkeys(("kind", "picture", *plain.values), ""), each, "All pictures"), tuple(words),
        {"ROC: stego pictures found against false alarms": plots.curves(curves, "false alarms", "found")},
        facts=told, warnings=tuple(warnings), skipped=tuple(skipped),
    )  # fmt: skip


def _facts(model: StegoModel, options: DetectOptions) -> dict[str, Any]:
    own = {"model": model.source, "method": options.method, "seed": options.seed}
    return own if options.method == "classical" else {**own, "steps": options.steps, "crop": options.crop}


def _skip(skipped: list[str], reason: str) -> None:
    skipped.append(reason)
    progress.note(f"left out: {reason}")
