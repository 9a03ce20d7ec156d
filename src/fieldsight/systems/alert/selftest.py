"""The self-test: can this stream protect anybody? It runs at the start and goes on while frames come.

Its findings are sentences with what to do. Where one of them fails the verdict is ``not protected``, and what would
have been ``clear`` is shown as *not watching*: silence must never look like safety.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fieldsight.systems.alert.checks import COVERED
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.recording import Array, Frame
from fieldsight.systems.alert.units import unit_problem

Outcome = Literal["ok", "warn", "fail"]
Verdict = Literal["checking", "protected", "not protected"]

#: Seconds of frames that are looked at.
SPAN = 2.0
#: A car in town, m/s: what the lead time is told for.
CAR = 8.0
#: Frames a second: fewer are few, and fewer still are no watch.
FEW, TOO_FEW = 8.0, 2.5
#: Seconds for which ground that was seen at the bottom tells that the picture is upright.
REMEMBERED = 10.0
#: Modes that measure in metres across the picture, and need intrinsics for it.
NEEDS_K = ("nearest", "track")

_SIDES = ("bottom", "right", "top", "left")
_TURNS = {"right": "a quarter turn clockwise", "top": "half a turn", "left": "a quarter turn counter-clockwise"}


@dataclass(frozen=True)
class Finding:
    """One line of the self-test.

    Attributes:
        name: short.
        outcome: ``ok``, ``warn`` or ``fail``.
        words: what was seen, and what to do.
    """

    name: str
    outcome: Outcome
    words: str


@dataclass(frozen=True)
class Report:
    """What the self-test found.

    Attributes:
        verdict: ``checking`` for the first two seconds, then ``protected`` or ``not protected``.
        findings: the lines.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        """The words of what failed first, and how much else did; empty where nothing did."""
        failed = [f.words for f in self.findings if f.outcome == "fail"]
        more = f" And {len(failed) - 1} more: see the self-test." if len(failed) > 1 else ""
        return failed[0] + more if failed else ""

    def lost(self, problem: str) -> Report:
        """What holds while nobody watches for another reason: nothing is protected then."""
        words = f"{problem[:1].upper()}{problem[1:].rstrip('.')}. Look at the sensor and its connection."
        others = (f for f in self.findings if f.name != "frames")
        return Report("not protected", (Finding("frames", "fail", words), *others))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"verdict": self.verdict, "findings": [vars(f) for f in self.findings]}


@dataclass(frozen=True)
class _Look:
    """What is kept of a frame."""

    t: float
    size: tuple[int, ...]
    mark: int
    valid: float
    covered: float
    far: float


@dataclass
class SelfTest:
    """Looks at frames as they come; :meth:`report` says what it thinks.

    Args:
        config: of the engine that gets the same frames.
        max_range: metres that the sensor reaches, where it is known.
        camera_height: metres above the ground.
    """

    config: AlertConfig
    max_range: float | None = None
    camera_height: float | None = None
    _looks: deque[_Look] = field(default_factory=deque, init=False)
    _last: Frame | None = field(default=None, init=False)
    _same: int = field(default=0, init=False)
    _since: float = field(default=math.nan, init=False)
    _began: float = field(default=math.nan, init=False)
    _frames: int = field(default=0, init=False)
    _reach: float = field(default=0.0, init=False)
    _sides: deque[tuple[float, str]] = field(default_factory=deque, init=False)
    _asked: float = field(default=math.nan, init=False)

    def add(self, frame: Frame) -> None:
        """Look at a frame; one that is no picture is left to the engine, which says why."""
        depth, t = np.asarray(frame.depth), float(frame.t)
        if depth.ndim != 2 or depth.size == 0 or depth.dtype.kind not in "fiu" or not math.isfinite(t):
            return
        if self._looks and t <= self._looks[-1].t:  # set anew
            self._looks.clear()
            self._sides.clear()
            self._began = self._since = math.nan
        self._began = t if math.isnan(self._began) else self._began
        step = max(1, math.isqrt(depth.size // 3072))
        some = np.asarray(depth[::step, ::step], dtype=np.float32)
        seen = some[np.isfinite(some) & (some > 0)]
        near = float((seen < COVERED).mean()) if seen.size else 0.0
        far = float(np.percentile(seen, 99)) if seen.size else math.nan
        mark = zlib.crc32(np.ascontiguousarray(depth).tobytes())
        if self._looks and self._looks[-1].mark == mark and self._looks[-1].size == depth.shape:
            self._same += 1
        else:
            self._same, self._since = 0, t
        self._looks.append(_Look(t, depth.shape, mark, seen.size / some.size, near, far))
        self._reach = max(self._reach, 0.0 if math.isnan(far) else far)
        self._last, self._frames = frame, self._frames + 1
        while self._looks[-1].t - self._looks[0].t > SPAN:
            self._looks.popleft()

    def report(self) -> Report:
        """What holds now."""
        if not self._looks or self._last is None:
            words = "No frame has come. Check that the sensor is on and that its sender names this address."
            return Report("checking", (Finding("frames", "fail", words),))
        checks = (self._rate, self._returns, self._covered, self._frozen, self._unit, self._lens, self._upright)
        findings = [found for found in (check() for check in (*checks, self._range)) if found is not None]
        failed = any(f.outcome == "fail" for f in findings)
        young = self._looks[-1].t - self._began < 0.9 * SPAN
        return Report("checking" if young else "not protected" if failed else "protected", tuple(findings))

    def _rate(self) -> Finding | None:
        span = self._looks[-1].t - self._looks[0].t
        if len(self._looks) < 3 or span <= 0:
            return Finding("frames", "warn", "Only a few frames have come so far.")
        fps = (len(self._looks) - 1) / span
        longest = self.config.max_gap * self.config.period
        if fps < TOO_FEW or 1 / fps > longest:
            wanted = max(TOO_FEW, 1 / longest)
            return Finding(
                "frames", "fail", f"{fps:.1f} frames a second are too few; at least {wanted:.1f} are needed. "
                "Send more, smaller frames, or start with a longer --period.",
            )  # fmt: skip
        if fps < FEW:
            words = f"{fps:.1f} frames a second are few: an alarm comes late. Send smaller frames, 10 a second."
            return Finding("frames", "warn", words)
        return Finding("frames", "ok", f"{fps:.0f} frames a second.")

    def _returns(self) -> Finding:
        valid = float(np.median([look.valid for look in self._looks]))
        if valid == 0:
            words = "Nothing comes back: the lens is covered, the sensor is off, or there is nothing within its reach."
            return Finding("returns", "fail", words + " Wipe the lens and point it at a wall two metres away.")
        if valid < self.config.min_valid:
            words = f"Only {valid:.1%} of the picture comes back. Wipe the lens; avoid full sun on a depth sensor."
            return Finding("returns", "fail", words)
        if valid < 0.3:
            words = f"Only {valid:.0%} of the picture comes back; what is in the rest is not seen."
            return Finding("returns", "warn", words)
        return Finding("returns", "ok", f"{valid:.0%} of the picture comes back.")

    def _covered(self) -> Finding | None:
        share = float(np.median([look.covered for look in self._looks]))
        if share > 0.9:
            words = f"Nearly everything is nearer than {COVERED} m: a hand, a coat or dirt covers the lens. Uncover it."
            return Finding("lens", "fail", words)
        if share > 0.4:
            return Finding("lens", "warn", f"{share:.0%} of the picture is nearer than {COVERED} m. Uncover the lens.")
        return Finding("lens", "ok", "Nothing covers the lens.")

    def _frozen(self) -> Finding | None:
        if self._looks[-1].size == (1, 1):
            return None  # one range may well repeat
        still = self._looks[-1].t - self._since
        if self._same >= 4 and still >= 0.5:
            words = f"The picture has been the same, bit by bit, for {still:.1f} s: it hangs. Start the sensor again."
            return Finding("picture", "fail", words)
        return Finding("picture", "ok", "The picture moves on.")

    def _unit(self) -> Finding:
        assert self._last is not None
        problem = unit_problem(self._last.depth)
        if problem:
            return Finding("unit", "fail", f"{problem[:1].upper()}{problem[1:]}. Send metres.")
        return Finding("unit", "ok", "The values can be metres.")

    def _lens(self) -> Finding | None:
        assert self._last is not None
        if self._last.K is not None or self.config.mode not in NEEDS_K:
            return None
        return Finding(
            "intrinsics", "fail", f"The frames carry no intrinsics, and the mode {self.config.mode} needs them for the "
            "way ahead. Send K with the frames, or start with --mode paper_dt --period 0.5, which looks at pixels.",
        )  # fmt: skip

    def _upright(self) -> Finding | None:
        assert self._last is not None
        if min(self._looks[-1].size) < 6:
            return None
        now = self._looks[-1].t
        if now != self._asked:
            self._asked = now
            self._sides.append((now, ground_side(self._last, self.camera_height or self.config.camera_height)))
            while now - self._sides[0][0] > REMEMBERED:
                self._sides.popleft()
        sides = [side for _, side in self._sides]
        steady = sides[-1] if sides[-3:] == 3 * sides[-1:] else ""
        # a house beside the way hides the ground for a while and looks like it; nothing above does
        side = "bottom" if "bottom" in sides and steady != "top" else steady
        if side == "bottom":
            return Finding("orientation", "ok", "The ground is at the bottom.")
        if side in _TURNS:
            words = f"The ground shows at the {side}, not at the bottom. Turn the picture by {_TURNS[side]}."
            return Finding("orientation", "warn" if self._last.K is None else "fail", words)
        words = "The ground was not made out, so nobody can say if the picture is upright. Look along a street once."
        return Finding("orientation", "warn", words)

    def _range(self) -> Finding:
        known = self.max_range is not None
        reach = self.max_range if self.max_range is not None else self._reach
        lead = reach / CAR
        source = "The sensor reaches" if known else "The farthest surface so far is at"
        words = f"{source} {reach:.0f} m: a car at {CAR:.0f} m/s is seen {lead:.1f} s before it is there"
        wanted = self.config.tti_threshold
        if lead < wanted:
            advice = "" if known else "; walls end the view, so look along a street to judge it"
            return Finding("range", "warn", f"{words}, and the threshold is {wanted:g} s. Alarms come late{advice}.")
        return Finding("range", "ok", f"{words}.")


def ground_side(frame: Frame, height: float) -> str:
    """Which side of a picture shows the ground: ``bottom``, ``right``, ``top``, ``left``, or nothing.

    With intrinsics it is asked how much of each side is where a plane ``height`` below the camera would be, for any
    pitch; a house that close beside the way looks the same, so the bottom is believed first. Without intrinsics one
    over depth must grow evenly towards the edge, and where it does at several sides the steepest is taken.

    Args:
        frame: the frame.
        height: metres of the camera above the ground.
    """
    depth = np.asarray(frame.depth, dtype=np.float32)
    step = max(1, min(depth.shape) // 48)
    small = depth[::step, ::step]
    turned = {side: np.rot90(small, -turns) for turns, side in enumerate(_SIDES)}
    if frame.K is not None:
        focal = {side: float(np.asarray(frame.K)[n, n]) / step for side, n in zip(_SIDES, (1, 0, 1, 0), strict=True)}
        shares = {side: _on_plane(picture, focal[side], height) for side, picture in turned.items()}
        if shares["bottom"] > 0.35:
            return "bottom"
        side = max(shares, key=lambda s: shares[s])
        return side if shares[side] > 0.6 and shares["bottom"] < 0.2 else ""
    slopes = {side: slope for side, picture in turned.items() if (slope := _evenness(picture)) > 0}
    steepest = max(slopes, key=lambda s: slopes[s], default="")
    return "bottom" if slopes.get("bottom", 0.0) * 1.8 > slopes.get(steepest, math.inf) else steepest


def _band(picture: Array) -> Array:
    """One over depth of the lowest rows, NaN where nothing came back."""
    rows = picture[int(0.65 * len(picture)) :]
    return np.where(np.isfinite(rows) & (rows > COVERED), 1 / np.maximum(rows, COVERED), np.nan)


def _on_plane(picture: Array, focal: float, height: float) -> float:
    """Share of the lowest rows that a plane below the camera explains best, and better than a wall ahead does."""
    seen = _band(picture)
    y = (np.arange(len(picture) - len(seen), len(picture)) - (len(picture) - 1) / 2)[:, None] / focal
    best = 0.0
    for pitch in np.arange(-0.3, 0.61, 0.06):
        for h in (0.85 * height, height, 1.15 * height):
            plane = (y * math.cos(pitch) + math.sin(pitch)) / h
            with np.errstate(invalid="ignore"):
                fits = (np.abs(seen - plane) < 0.08 * plane) & (plane > 0.03)
            best = max(best, float(fits.mean()))
    with np.errstate(invalid="ignore"):
        middle = np.nanmedian(seen) if np.isfinite(seen).any() else 1.0
        wall = float((np.abs(seen - middle) < 0.08 * middle).mean())
    return best if best > wall else 0.0


def _evenness(picture: Array) -> float:
    """How fast one over depth grows over the lowest rows, where it does so evenly; else 0."""
    inverse = _band(picture)
    told = np.isfinite(inverse).mean(axis=1) > 0.3
    if told.sum() < max(3, 0.5 * len(inverse)):
        return 0.0
    x = np.arange(len(inverse), dtype=np.float64)[told]
    y = np.array([np.nanmedian(row) for row in inverse[told]], dtype=np.float64)
    slope, start = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    if slope * len(inverse) < 0.02 or spread <= 0:
        return 0.0
    return float(slope) if 1 - float(((y - slope * x - start) ** 2).sum()) / spread > 0.88 else 0.0
