"""The drawing of the tab Choose a board: accuracy over frames a second, joules as size, the chosen one marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fieldsight.systems.edge.recommend import Judged, Recommendation, value_of

#: Fill of a dot and of its words: on the front, fitting, nearly fitting, not fitting.
COLOURS = {
    "front": ("#0b6e99", "#ffffff"), "fits": ("#82b9d1", "#05334a"), "near": ("#E69F00", "#1c2430"),
    "no": ("#c5cdd6", "#1c2430"),
}  # fmt: skip

#: Least and greatest radius of a dot in pixels of the drawing.
RADII = (8.0, 21.0)

#: From this ratio of the fastest to the slowest on, the axis of speed is logarithmic.
WIDE = 30.0


@dataclass(frozen=True)
class Dot:
    """A configuration in the drawing: place in 0-1, radius, kind, rank (0 for none) and words."""

    x: float
    y: float
    radius: float
    kind: str
    rank: int
    words: str


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` as 0 to 1."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value is, kept within 0 to 1."""
        if self.log:
            share = (math.log(max(value, self.low)) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round values, four to nine of them or fewer."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            some = [m * 10.0**k for k in range(first, last + 1) for m in ((1, 2, 5) if last - first < 4 else (1,))]
            return [v for v in some if self.low <= v <= self.high]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (m * step) <= 8)
        return [step * k for k in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def axes_of(speeds: Sequence[float], accuracies: Sequence[float]) -> tuple[Axis, Axis]:
    """Axes that hold all values with some room."""
    slow, fast = min(speeds), max(speeds)
    log = slow > 0 and fast / slow > WIDE
    x = Axis(slow / 1.6, fast * 1.6, True) if log else Axis(0.0, 1.12 * fast or 1.0)
    low, high = min(accuracies), max(accuracies)
    room = max(0.02, 0.18 * (high - low))
    return x, Axis(max(0.0, low - room), min(1.05, high + room))


def plot(found: Recommendation, narrow: bool = False) -> str:
    """The drawing as SVG, for a desktop or a phone; empty where nothing can be drawn."""
    asked = found.constraints
    groups: list[tuple[str, Sequence[Judged]]] = [("no", found.others), ("near", found.near), ("fits", found.ranked)]
    known = [
        (judged, kind, place, speed, judged.row.map50_95)
        for kind, group in groups
        for place, judged in enumerate(group, 1)
        if (speed := value_of(judged.row, "fps", asked)) is not None and judged.row.map50_95 is not None
    ]
    if not known:
        return ""
    x, y = axes_of([k[3] for k in known], [float(k[4]) for k in known])
    most = max((k[0].row.epi_j or 0.0 for k in known), default=0.0)
    dots = []
    for judged, kind, place, speed, accuracy in known:
        own = "front" if kind == "fits" and judged.front else kind
        rank = place if kind == "fits" else 0
        words = f"{judged.row.name}: {accuracy:.3f} mAP50-95, {speed:.3g} frames a second"
        words += "" if judged.row.epi_j is None else f", {judged.row.epi_j:.3g} J an image"
        dots.append(Dot(x.at(speed), y.at(float(accuracy)), _radius(judged.row.epi_j, most), own, rank, words))
    best = found.best.name if found.best is not None else ""
    return _Drawing(narrow).render(x, y, dots, best, asked.min_fps, asked.min_map)


def _radius(joules: float | None, most: float) -> float:
    if joules is None or most <= 0:
        return RADII[0]
    return RADII[0] + (RADII[1] - RADII[0]) * math.sqrt(joules / most)


def staircase(dots: Sequence[Dot]) -> list[Dot]:
    """Those of the fitting dots that no other one beats in speed and accuracy, by speed."""
    fitting = sorted((d for d in dots if d.rank), key=lambda d: (-d.x, -d.y))
    kept: list[Dot] = []
    for dot in fitting:
        if not kept or dot.y > kept[-1].y:
            kept.append(dot)
    return kept[::-1]


class _Drawing:
    """Sizes of the drawing for one width."""

    def __init__(self, narrow: bool) -> None:
        self.wide, self.high = (366, 330) if narrow else (700, 400)
        self.left, self.right, self.top, self.bottom = (54, 10, 12, 42)
        self.name = "edge-narrow" if narrow else "edge-wide"

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a place in 0-1."""
        return (
            self.left + x * (self.wide - self.left - self.right),
            self.top + (1 - y) * (self.high - self.top - self.bottom),
        )

    def render(
        self, x: Axis, y: Axis, dots: Sequence[Dot], best: str, least_x: float | None, least_y: float | None
    ) -> str:
        """All of it."""
        ground, said = self._excluded(x, y, least_x, least_y)
        parts = [*ground, *self._grid(x, y), *said, *self._front(dots)]
        for dot in sorted(dots, key=lambda d: (d.rank == 1, -d.radius)):  # small ones on top, the chosen one last
            parts.append(self._dot(dot))
        parts += [self._label(dot, best, dots) for dot in dots if dot.rank == 1]
        words = f"Accuracy over frames a second of {len(dots)} configurations" + (f"; first is {best}" if best else "")
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="{self.name}" viewBox="0 0 {self.wide} {self.high}" '
            f'role="img" aria-label="{escape(words)}" font-family="system-ui, DejaVu Sans, sans-serif" '
            f'font-size="12.5" fill="#1c2430">{"".join(parts)}</svg>'
        )

    def _excluded(self, x: Axis, y: Axis, least_x: float | None, least_y: float | None) -> tuple[list[str], list[str]]:
        """Grey ground where it is too slow or not accurate enough, and the words on it."""
        ground, said = [], []
        (x0, y0), (x1, y1) = self.place(0, 1), self.place(1, 0)
        halo = 'stroke="#eceff3" stroke-width="4" paint-order="stroke" fill="#5b6776"'
        if least_x and x.at(least_x) > 0:
            edge = self.place(x.at(least_x), 0)[0]
            ground.append(f'<rect x="{x0}" y="{y0}" width="{edge - x0:.1f}" height="{y1 - y0}" fill="#eceff3"/>')
            if edge - x0 > 66:
                said.append(f'<text x="{x0 + 8}" y="{y1 - 8}" {halo}>too slow</text>')
        if least_y and y.at(least_y) > 0:
            edge = self.place(0, y.at(least_y))[1]
            ground.append(f'<rect x="{x0}" y="{edge:.1f}" width="{x1 - x0}" height="{y1 - edge:.1f}" fill="#eceff3"/>')
            if y1 - edge > 22:
                said.append(f'<text x="{x1 - 8}" y="{y1 - 8}" text-anchor="end" {halo}>not accurate enough</text>')
        return ground, said

    def _grid(self, x: Axis, y: Axis) -> list[str]:
        parts = []
        (x0, y0), (x1, y1) = self.place(0, 1), self.place(1, 0)
        for value in x.ticks():
            at = self.place(x.at(value), 0)[0]
            parts.append(f'<path d="M{at:.1f} {y0}V{y1}" stroke="#dfe4ea"/>')
            parts.append(f'<text x="{at:.1f}" y="{y1 + 16}" text-anchor="middle">{value:g}</text>')
        for value in y.ticks():
            at = self.place(0, y.at(value))[1]
            parts.append(f'<path d="M{x0} {at:.1f}H{x1}" stroke="#dfe4ea"/>')
            parts.append(f'<text x="{x0 - 6}" y="{at + 4:.1f}" text-anchor="end">{round(value, 10):g}</text>')
        middle = (x0 + x1) / 2
        parts.append(
            f'<text x="{middle}" y="{self.high - 7}" text-anchor="middle">frames a second: right is faster</text>'
        )
        turned = f"translate(12 {(y0 + y1) / 2}) rotate(-90)"
        parts.append(f'<text transform="{turned}" text-anchor="middle">accuracy (mAP50-95)</text>')
        return parts

    def _front(self, dots: Sequence[Dot]) -> list[str]:
        """A dashed line along the dots that none beats in speed and accuracy."""
        steps = [self.place(d.x, d.y) for d in staircase(dots)]
        if len(steps) < 2:
            return []
        path = f"M{steps[0][0]:.1f} {steps[0][1]:.1f}"
        path += "".join(f"L{px:.1f} {py:.1f}" for px, py in steps[1:])
        return [f'<path d="{path}" fill="none" stroke="#0b6e99" stroke-width="1.5" stroke-dasharray="5 4"/>']

    def _dot(self, dot: Dot) -> str:
        cx, cy = self.place(dot.x, dot.y)
        fill, ink = COLOURS[dot.kind]
        ring = 'stroke="#1c2430" stroke-width="3.5"' if dot.rank == 1 else 'stroke="#ffffff" stroke-width="1.5"'
        circle = (
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{dot.radius:.1f}" fill="{fill}" {ring}>'
            f"<title>{escape(dot.words)}</title></circle>"
        )
        if not dot.rank:
            return circle
        return (
            f'{circle}<text x="{cx:.1f}" y="{cy + 4:.1f}" text-anchor="middle" font-size="11" font-weight="700" '
            f'fill="{ink}" pointer-events="none">{dot.rank}</text>'
        )

    def _label(self, dot: Dot, name: str, dots: Sequence[Dot]) -> str:
        """The name of the chosen one beside its dot, where it covers least of the others."""
        words = name[:48]
        half, (cx, cy), far = 3.9 * len(words), self.place(dot.x, dot.y), dot.radius + 7
        middle = min(max(cx, self.left + half), self.wide - self.right - half)
        spots = [(middle, cy - far - 4), (middle, cy + far + 12), (cx + far + half, cy + 4), (cx - far - half, cy + 4)]
        spots += [(middle, cy - far - 30), (middle, cy + far + 38)]
        x, y = min(spots, key=lambda spot: self._covered(spot, half, dots))
        return (
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-weight="700" stroke="#ffffff" '
            f'stroke-width="4" paint-order="stroke" stroke-linejoin="round">{escape(words)}</text>'
        )

    def _covered(self, spot: tuple[float, float], half: float, dots: Sequence[Dot]) -> float:
        """Pixels of dots that words at a place would cover; much more where they leave the drawing."""
        x, y = spot
        box = (x - half, y - 12, x + half, y + 4)
        outside = (
            box[0] < self.left - 1 or box[2] > self.wide - 2 or box[1] < self.top or box[3] > self.high - self.bottom
        )
        covered = 1e6 if outside else 0.0
        for dot in dots:
            px, py = self.place(dot.x, dot.y)
            wide = min(box[2], px + dot.radius) - max(box[0], px - dot.radius)
            high = min(box[3], py + dot.radius) - max(box[1], py - dot.radius)
            covered += max(wide, 0.0) * max(high, 0.0)
        return covered
