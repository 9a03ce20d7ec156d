"""``attack``: what is left of the secret after JPEG, resizing, noise and the like; and the form of such findings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fieldsight import progress, registry
from fieldsight.data.files import write_json, write_text
from fieldsight.data.images import resize
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.metrics import image
from fieldsight.metrics.items import PerItem
from fieldsight.metrics.stats import Estimate, bootstrap
from fieldsight.predictions import Table, beside
from fieldsight.report import plots
from fieldsight.report.html import Report
from fieldsight.systems.stego.attacks import MID_GREY, Attack, parse
from fieldsight.systems.stego.channel import SMALLEST, Reading, read_mark, strip_rows
from fieldsight.systems.stego.evaluate import Pair, choose
from fieldsight.systems.stego.options import AttackOptions, EvaluateOptions
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.secret import Found, Secret, draw_picture, find

Picture = NDArray[np.uint8]

#: Bytes of the small file that has to come back exactly, and the cells that carry it.
FILE_BYTES, CELLS = 64, "strong"

#: Row of what the network reveals from covers that hold nothing: what "all is lost" looks like.
NOTHING = "(nothing hidden)"

#: What is measured of a pair after an attack; see :func:`trial`.
MEASURED = ("secret_psnr", "secret_ssim", "damage_psnr", "mark", "file", "unreadable")

#: Side of a picture in the report's strips, in pixels, and how many attacks a strip shows.
STRIP_SIDE, STRIP_ATTACKS = 192, 7


@dataclass(frozen=True)
class Way:
    """A way to hide a picture in another of its size, on uint8 pictures ``(H, W, 3)``: a network, or a classical one.

    Attributes:
        name: of the model or the method.
        hide: ``(cover, secret)`` to the stego picture.
        reveal: stego picture to the secret; DataError where nothing is readable.
        step: height and width must be multiples of this.
    """

    name: str
    hide: Callable[[Picture, Picture], Picture] = field(repr=False)
    reveal: Callable[[Picture], Picture] = field(repr=False)
    step: int = 1

    def cut(self, picture: Picture) -> Picture:
        """The upper left part of a picture whose sides are multiples of :attr:`step`."""
        height, width = (side // self.step * self.step for side in picture.shape[:2])
        return picture[:height, :width]

    def put(self, cover: Picture, secret: Picture) -> tuple[Picture, Picture]:
        """Hide a picture of any size with its mark, as the verb ``hide`` does, in a cover ``(H, W, 3)`` that is cut.

        Returns:
            the stego picture, and the secret as it was drawn: resized, its mark at the bottom; both ``(H, W, 3)``.
        """
        drawn = draw_picture(secret, (cover.shape[0], cover.shape[1]), None, mark=True)
        return self.hide(cover, drawn), drawn


def network(model: StegoModel) -> Way:
    """A model as a way to hide: the stego picture is brought to 8 bits as that of the verb ``hide`` is."""

    def hide(cover: Picture, secret: Picture) -> Picture:
        codec, own = model.codec(), _tensor(cover, model)
        with torch.inference_mode():
            return _bytes(codec.finish(codec.hide(own, _tensor(secret, model)), own))

    def reveal(stego: Picture) -> Picture:
        with torch.inference_mode():
            return _bytes(model.codec().reveal(_tensor(stego, model)))

    return Way(model.source, hide, reveal, max(2, model.config.stride))


# ---------------------------------------------------------------------------------------------- measuring


def trial(
    way: Way, pair: Pair, attacks: Sequence[Attack], seed: int, see: Callable[[str, Picture], None] | None = None
) -> dict[str, dict[str, float]]:
    """Hide a picture and, in the same cover, a small file; attack both stego pictures; read both again.

    Args:
        way: how to hide.
        pair: its cover is cut to whole steps; its secret is hidden with a mark below.
        attacks, seed: what happens to the 8-bit stego pictures; of noise and of the file's bytes.
        see: told every attack's name with the secret picture as it was revealed.

    Returns:
        by attack, and for :data:`NOTHING`: ``secret_psnr`` in dB and ``secret_ssim`` of what was revealed against what
        was hidden, above the mark; ``damage_psnr``, the attacked stego against the stego in dB; ``mark``, 1 where it
        is found; ``file``, 1 where all bytes come back; ``unreadable``, 1 where nothing came back at all, which counts
        as a mid-grey picture. NaN where there is no such number: equal pictures, or too small for a mark or the file.
    """
    cover = way.cut(pair.cover)
    stego, drawn = way.put(cover, pair.secret)
    payload = rng_for(seed, "stego", "attack", "file", pair.id).bytes(FILE_BYTES)
    carrier = _file_carrier(way, cover, payload)
    found = {}
    for attack in attacks:
        name = attack.name
        changed = attack.apply(stego, rng_for(seed, "stego", "attack", name, pair.id))
        revealed, values = _compared(way, changed, drawn)
        values["damage_psnr"] = _psnr(stego, changed)
        if carrier is not None:
            sent = attack.apply(carrier, rng_for(seed, "stego", "attack", name, pair.id, "file"))
            values["file"] = float(_payload(way, sent) == payload)
        found[name] = values
        if see is not None:
            see(name, revealed)
    found[NOTHING] = _compared(way, cover, drawn)[1]
    return {name: {key: values.get(key, math.nan) for key in MEASURED} for name, values in found.items()}


def trials(way: Way, pairs: Sequence[Pair], attacks: Sequence[Attack], seed: int, keep: int = 0) -> Trials:
    """Run :func:`trial` on pairs; the first ``keep`` are drawn as strips."""
    items: dict[str, PerItem] = {}
    strips: dict[str, Picture] = {}
    for number, pair in enumerate(progress.track(pairs, f"attacking {way.name}")):
        seen: dict[str, Picture] = {}
        for name, values in trial(way, pair, attacks, seed, seen.__setitem__ if number < keep else None).items():
            items.setdefault(name, PerItem()).add(pair.id, values, pair.group)
        if seen:
            shown = shown_attacks(seen)
            panels = [way.cut(pair.secret), *(seen[name] for name in shown)]
            caption = f"{pair.id}: secret, then revealed after {', '.join(shown)}"
            strips[caption] = beside([np.asarray(resize(p, STRIP_SIDE)) for p in panels])
    return Trials(items, strips)


def shown_attacks(names: Iterable[str]) -> list[str]:
    """The attacks that a strip shows: a middling one of each family, as many as fit."""
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(name.split("-")[0], []).append(name)
    return [members[(len(members) - 1) // 2] for members in families.values()][:STRIP_ATTACKS]


@dataclass(frozen=True)
class Trials:
    """What :func:`trials` measured: numbers of every pair by attack, and strips by caption."""

    items: Mapping[str, PerItem]
    strips: Mapping[str, Picture] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row an attack: means with 95 % bootstrap intervals over covers, and shares of pairs; None if unknown."""
        rows = []
        for name, own in self.items.items():
            psnr, ssim = (_interval(own, key) for key in ("secret_psnr", "secret_ssim"))
            damage, mark, file, unreadable = (own.summary(key) for key in MEASURED[2:])
            rows.append(
                {
                    "attack": name, "pairs": len(own), "covers": len(set(own.groups())),
                    "secret_psnr": _plain(psnr.value, 3), "psnr_low": _plain(psnr.low, 3),
                    "psnr_high": _plain(psnr.high, 3), "secret_ssim": _plain(ssim.value, 5),
                    "ssim_low": _plain(ssim.low, 5), "ssim_high": _plain(ssim.high, 5),
                    "damage_psnr": _plain(damage.mean, 3), "mark": _plain(mark.mean, 4), "file": _plain(file.mean, 4),
                    "unreadable": _plain(unreadable.mean, 4),
                }
            )  # fmt: skip
        return rows

    def each(self) -> Table:
        """Every pair after every attack."""
        rows = [{"attack": n, **row} for n, own in self.items.items() for row in own.table("").rows]
        return Table(dict.fromkeys(rows[0], ""), rows, "All pairs")


# ----------------------------------------------------------------------------------------------- the mark


def mark_of(model: StegoModel, picture: Picture) -> Reading | None:
    """What this model reads at the place of the mark of a picture ``(H, W, 3)`` uint8, without a passphrase.

    Only the lower rim of the picture goes through the network, with all that the rim depends on.

    Returns:
        the reading; None where a picture is too small for a mark.
    """
    way = network(model)
    whole = way.cut(picture)
    if min(whole.shape[:2]) < SMALLEST:
        return None
    band = -(-max(strip_rows(whole.shape[1]) + model.halo, SMALLEST) // way.step) * way.step
    return read_mark(way.reveal(whole[-band:]))


# -------------------------------------------------------------------------------------------- the findings


@dataclass(frozen=True)
class Findings:
    """What attacks or detectors found: a table, the numbers behind it, and the page that shows both.

    Attributes:
        verb: ``attack`` or ``detect``; files are called by it.
        on: the pictures, in words.
        table, each: the result, and the numbers of every picture or pair.
        words: the result for a terminal.
        drawings, pictures: caption to SVG, and to picture.
        facts: how it was measured.
        warnings: what a reader must know before using the numbers.
        skipped: pictures that were left out, with the reason.
    """

    verb: str
    on: str
    table: Table
    each: Table
    words: tuple[str, ...]
    drawings: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows of the table."""
        return self.table.rows

    def to_dict(self) -> dict[str, Any]:
        """Plain values; an unknown number is None."""
        return {
            "system": "stego", "verb": self.verb, "on": self.on, **self.facts,
            "rows": [dict(row) for row in self.rows], "warnings": list(self.warnings), "skipped": list(self.skipped),
        }  # fmt: skip

    def lines(self) -> list[str]:
        """One line a row."""
        return [f"measured on {self.on}", *self.words, *(f"warning: {w}" for w in self.warnings)]

    def report(self) -> Report:
        """The page."""
        spec = registry.get("stego")
        report = Report(f"{spec.title}: {self.verb}", f"measured on {self.on}")
        section = report.section("Result").notice(spec.notice)
        for warning in self.warnings:
            section.notice(warning)
        section.table(self.table).facts(self.facts)
        for caption, svg in self.drawings.items():
            section.plot(svg, caption)
        for caption, picture in self.pictures.items():
            section.picture(picture, caption)
        if self.skipped:
            report.section("Left out").code("\n".join(self.skipped))
        report.section("Each").table(self.each)
        return report

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``<verb>.json``, ``<verb>.csv``, ``items.csv`` and ``report.html``."""
        base = Path(folder)
        return [
            write_json(base / f"{self.verb}.json", self.to_dict()),
            write_text(base / f"{self.verb}.csv", self.table.to_csv()),
            write_text(base / "items.csv", self.each.to_csv()),
            self.report().save(base / "report.html"),
        ]


def attack(model: StegoModel, data: Path | None, options: AttackOptions) -> Findings:
    """The verb: attack the stego pictures of held-out pairs and measure what is left of the secrets.

    Raises:
        ConfigError: an attack that does not exist; before anything is computed.
        DataError: too few pictures in the data folder.
    """
    attacks = parse(",".join(options.attacks))
    pairs, on = choose(model, data, EvaluateOptions(pairs=options.pairs, size=options.size))
    found = trials(network(model), pairs, attacks, options.seed, options.pictures)
    rows = found.rows()
    side = pairs[0].cover.shape[0]
    warnings = [] if data is not None or "photos" in on else ["drawn pictures: real photos give other numbers"]
    if all(row["file"] is None for row in rows):
        warnings.append(f"pairs of {side} pixels are too small for the file of {FILE_BYTES} bytes: it was left out")
    facts = {
        "model": model.source, "arch": model.config.arch, "size": side, "pairs": len(pairs), "seed": options.seed,
        "intervals": "95 %, covers resampled",
        "secret": "revealed against what was hidden, 8 bits, above the mark",
        "file": f"{FILE_BYTES} bytes of chance in '{CELLS}' cells, share of pairs in which all come back",
        "damage": "attacked stego against stego; empty where they are equal",
    }  # fmt: skip
    columns = {k: "dB" if "psnr" in k else "" for k in rows[0]}
    return Findings(
        "attack", on, Table(columns, rows, f"What is left after each attack, {on}"), found.each(),
        tuple(_lines(rows)), {"SSIM of the secret after each attack": ssim_plot(rows)}, found.strips, facts,
        tuple(warnings),
    )  # fmt: skip


def ssim_plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """SVG of the secret's SSIM by attack with its interval, and as a line that of nothing hidden at all."""
    own = [row for row in rows if row["attack"] != NOTHING]
    drawn, (ax,) = plots.figure(7.0, 0.9 + 0.22 * len(own))
    places = np.arange(len(own))[::-1]
    mean = np.array([row["secret_ssim"] for row in own])
    ends = np.array([[row["ssim_low"], row["ssim_high"]] for row in own])
    reach = np.abs(ends.T - mean)  # numbers were rounded: an end may lie a hair within
    ax.barh(places, mean, xerr=reach, color=plots.COLOURS[0], ecolor="#333333", capsize=2, height=0.65)
    ax.set_yticks(places, [row["attack"] for row in own])
    for row in rows:
        if row["attack"] == NOTHING:
            ax.axvline(row["secret_ssim"], color=plots.COLOURS[1], linestyle="--", label="nothing hidden")
            ax.legend(frameon=False, loc="lower right")
    ax.set_xlabel("SSIM of the secret")
    return plots.svg(drawn)


# ---------------------------------------------------------------------------------------------- internals


def _compared(way: Way, stego: Picture, drawn: Picture) -> tuple[Picture, dict[str, float]]:
    """What is revealed, ``(H, W, 3)`` with its mark, and its numbers."""
    try:
        revealed, lost = way.reveal(stego), 0.0
    except DataError:
        revealed, lost = np.full_like(drawn, MID_GREY), 1.0
    reading = read_mark(revealed)
    rows = drawn.shape[0] - (strip_rows(drawn.shape[1]) if reading is not None else 0)
    secret, seen = drawn[:rows], revealed[:rows]
    values = {"secret_psnr": _psnr(secret, seen), "secret_ssim": image.ssim(secret, seen, 255), "unreadable": lost}
    if reading is not None:
        values["mark"] = float(reading.header is not None)
    return revealed, values


def _file_carrier(way: Way, cover: Picture, payload: bytes) -> Picture | None:
    """The stego picture that holds a file, or None where the cover is too small for it."""
    try:
        drawn = next(iter(Secret.read(payload).drawings((cover.shape[0], cover.shape[1]), None, True, CELLS)))[0]
    except DataError:
        return None
    return way.hide(cover, drawn)


def _payload(way: Way, stego: Picture) -> bytes | None:
    try:
        found = find(way.reveal(stego), None)
    except DataError:
        return None
    return found.payload if isinstance(found, Found) else None


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield f"{'attack':18}{'secret SSIM':>24}{'secret PSNR [dB]':>24}{'damage [dB]':>13}{'mark':>8}{'file':>8}"
    for row in rows:
        ssim = f"{row['secret_ssim']:.3f} ({row['ssim_low']:.3f} to {row['ssim_high']:.3f})"
        known = row["secret_psnr"] is not None
        psnr = f"{row['secret_psnr']:.1f} ({row['psnr_low']:.1f} to {row['psnr_high']:.1f})" if known else "equal"
        damage = "" if row["damage_psnr"] is None else f"{row['damage_psnr']:.1f}"
        shares = ("" if row[k] is None else f"{100 * row[k]:.0f} %" for k in ("mark", "file"))
        yield f"{row['attack']:18}{ssim:>24}{psnr:>24}{damage:>13}" + "".join(f"{s:>8}" for s in shares)


def _interval(items: PerItem, name: str) -> Estimate:
    """Mean with its bootstrap interval over groups; NaN throughout where no item has the number."""
    if np.isnan(items.column(name)).all():
        return Estimate(math.nan, math.nan, math.nan, 0.95, 0)
    return bootstrap(items.column(name), items.groups())


def _psnr(a: Picture, b: Picture) -> float:
    """In dB, peak 255; NaN for equal pictures."""
    found = image.psnr(a, b, 255)
    return found if math.isfinite(found) else math.nan


def _plain(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _tensor(picture: Picture, model: StegoModel) -> torch.Tensor:
    scaled = picture.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return torch.from_numpy(np.ascontiguousarray(scaled))[None].to(model.device)


def _bytes(batch: torch.Tensor) -> Picture:
    """``(1, 3, H, W)`` in 0-1 to uint8 ``(H, W, 3)``."""
    return torch.round(batch[0].clamp(0, 1) * 255).to(torch.uint8).cpu().numpy().transpose(1, 2, 0).copy()
