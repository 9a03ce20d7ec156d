"""Length, width, direction, branching and severity of every crack in a mask.

Coordinates are those of :mod:`~fieldsight.systems.crack.polygons`: x right, y down, (0, 0) the outer corner of the
first pixel. A crack is an 8-connected piece of the mask. Its skeleton (:mod:`~fieldsight.systems.crack.skeleton`) is
smoothed to a centreline, which is carried on straight to where the mask ends; length is measured along it. Width at a
point is the chord across the centreline, looked for no further than 1.5 px beyond the distance transform there,
averaged along 5 px, and never more than twice the distance transform. So the staircase of the pixels averages out: for
bands 1 to 9 px wide and 120 px long at any angle the mean width is within 0.2 px of the band's area by its length, and
the length within 2 %. (The drawing itself may miss the width by more: at 45 degrees rows of pixels lie 0.71 px apart.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled
from fieldsight.errors import ConfigError
from fieldsight.systems.crack.polygons import Outline, Region, fill_specks, outline_of, regions, simplify
from fieldsight.systems.crack.skeleton import Graph, Points, graph_of

Kind = Literal["longitudinal", "transverse", "diagonal", "network"]
Severity = Literal["hairline", "low", "moderate", "high"]

#: Upper limits of hairline, low and moderate in mm of the widest place. 6 and 19 mm are those of longitudinal and
#: transverse cracks in asphalt (FHWA, Distress Identification Manual for the Long-Term Pavement Performance Program,
#: FHWA-HRT-13-092; the manual goes by the mean width of the crack, so the class here is the stricter one). 0.3 mm is
#: the reasonable width for reinforced concrete in humid air and soil (ACI 224R-01, table 4.1).
SEVERITY_LIMITS_MM = (0.3, 6.0, 19.0)
#: A crack whose direction is no clearer than this has no direction: with branches or a loop it is a network.
NETWORK_COHERENCE = 0.35
#: Distance between points of a centreline, its smoothing (standard deviation) and the least span a width is
#: averaged over, in pixels.
STEP, SMOOTHING, WINDOW = 0.5, 2.0, 5.0


@dataclass(frozen=True, eq=False)
class Crack:
    """One crack. Lengths and widths end in ``_px`` or, where a scale was given, ``_mm`` (else None).

    Attributes:
        id: 1, 2, ... by the first pixel in reading order.
        bbox: x, y, width, height in pixels.
        area_px: pixels of the mask.
        length_px: of all branches together, from end to end of the mask.
        mean_width_px: mean along the centreline, without what lies inside a branching.
        max_width_px: at the widest place, without what lies inside a branching.
        max_width_at: x, y of the widest place, on the centreline.
        orientation_deg: mean direction, 0 = along the picture's width, 90 = along its height, 45 = rising to the right
            as seen on the screen; in [0, 180).
        coherence: 0 (all directions) to 1 (straight): length of the mean of the doubled angles' unit vectors.
        kind: see :func:`kind_of`.
        branches: points where three or more arms meet.
        ends: free ends.
        loops: closed meshes of the skeleton; holes of up to 4 px and rings no wider than the crack do not count.
        severity: see :func:`severity_of`; None without a scale.
        probability: mean of the probability map over the crack; None without one.
        polylines: the arms of the centreline, each ``(n, 2)`` x, y, simplified.
        widths: width in pixels at each vertex of each polyline.
        outline: rings ``(n, 2)``, the exterior first, then holes.
    """

    id: int
    bbox: tuple[int, int, int, int]
    area_px: int
    length_px: float
    mean_width_px: float
    max_width_px: float
    max_width_at: tuple[float, float]
    orientation_deg: float
    coherence: float
    kind: Kind
    branches: int
    ends: int
    loops: int
    length_mm: float | None
    mean_width_mm: float | None
    max_width_mm: float | None
    severity: Severity | None
    probability: float | None
    polylines: tuple[Points, ...]
    widths: tuple[NDArray[np.float64], ...]
    outline: Outline

    def to_dict(self) -> dict[str, Any]:
        """Everything but the lines and the outline, for JSON and tables; no NaN in it."""
        left_out = ("polylines", "widths", "outline")
        row = {name: value for name, value in self.__dict__.items() if name not in left_out}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}


@dataclass(frozen=True)
class Summary:
    """All cracks of a picture together.

    Attributes:
        count: cracks.
        area_px: crack pixels.
        area_share: crack pixels by all pixels, 0 to 1.
        length_px: sum of the lengths.
        length_mm: the same in mm; None without a scale.
        density_per_px: length by area of the picture, px by px².
        density_per_m: the same in metres by square metre; None without a scale.
        max_width_px: of the widest crack; 0 without cracks.
        max_width_mm: the same in mm; None without a scale.
        widest: id of the widest crack; None without cracks.
        kinds: number of cracks of each kind.
        severities: number of cracks of each class; empty without a scale.
    """

    count: int
    area_px: int
    area_share: float
    length_px: float
    length_mm: float | None
    density_per_px: float
    density_per_m: float | None
    max_width_px: float
    max_width_mm: float | None
    widest: int | None
    kinds: dict[str, int]
    severities: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """For JSON and tables; no NaN in it."""
        return dict(self.__dict__)


def measure(
    mask: NDArray[Any],
    probability: NDArray[Any] | None = None,
    scale_mm: float | None = None,
    min_length: float = 10.0,
    min_area: int = 10,
    travel_deg: float = 90.0,
    tolerance: float = 0.5,
) -> list[Crack]:
    """Measure the cracks of a mask, by reading order of their first pixels.

    Args:
        mask: ``(H, W)`` bool or integers, not 0 = crack; may be memory-mapped.
        probability: ``(H, W)`` float in [0, 1] or None; NaN is left out of the mean.
        scale_mm: side of a pixel in mm, or None.
        min_length: shorter cracks are left out, px.
        min_area: smaller cracks are left out, px.
        travel_deg: direction along the road or structure, as ``orientation_deg``; 90 = up the picture, as in a photo
            taken forward. Decides what is longitudinal.
        tolerance: pixels that ``polylines`` and ``widths`` may leave the centreline by; lengths are taken before.

    Raises:
        DataError: the mask is no mask, or the probability map has another shape.
        ConfigError: a scale that is not above 0, a negative limit, or an angle that is not finite.
    """
    problems = [f"scale_mm is {scale_mm}; it is the side of a pixel in mm, above 0."] if _bad_scale(scale_mm) else []
    for name, value in (("min_length", min_length), ("min_area", min_area), ("tolerance", tolerance)):
        if not (math.isfinite(value) and value >= 0):
            problems.append(f"{name} is {value}; wanted 0 or more.")
    if not math.isfinite(travel_deg):
        problems.append(f"travel_deg is {travel_deg}; wanted an angle in degrees.")
    if problems:
        raise ConfigError(problems)
    cracks: list[Crack] = []
    for region in regions(mask, probability, min_area):
        crack = _measure_region(region, len(cracks) + 1, scale_mm, min_length, travel_deg, tolerance)
        if crack is not None:
            cracks.append(crack)
    return cracks


def summarize(cracks: Sequence[Crack], shape: tuple[int, int], scale_mm: float | None = None) -> Summary:
    """Sums over the cracks of a picture of ``shape`` (H, W).

    Raises:
        ConfigError: a scale that is not above 0, or a picture without pixels.
    """
    if _bad_scale(scale_mm) or min(shape[:2]) < 1:
        raise ConfigError(f"scale_mm is {scale_mm} and shape {shape}; wanted a scale above 0 or None, and pixels.")
    pixels = int(shape[0]) * int(shape[1])
    area, length = sum(c.area_px for c in cracks), math.fsum(c.length_px for c in cracks)
    widest = max(cracks, key=lambda c: c.max_width_px, default=None)
    kinds, severities = [c.kind for c in cracks], [c.severity for c in cracks if c.severity]
    return Summary(
        count=len(cracks), area_px=area, area_share=area / pixels,
        length_px=length, length_mm=None if scale_mm is None else length * scale_mm,
        density_per_px=length / pixels, density_per_m=None if scale_mm is None else 1000.0 * length / pixels / scale_mm,
        max_width_px=widest.max_width_px if widest else 0.0,
        max_width_mm=None if scale_mm is None else (widest.max_width_px if widest else 0.0) * scale_mm,
        widest=widest.id if widest else None,
        kinds={kind: kinds.count(kind) for kind in sorted(set(kinds))},
        severities={name: severities.count(name) for name in sorted(set(severities))},
    )  # fmt: skip


def kind_of(orientation_deg: float, coherence: float, branches: int, loops: int, travel_deg: float = 90.0) -> Kind:
    """Name a crack by its course.

    ``network``: three loops or more, or a loop or branch with coherence under :data:`NETWORK_COHERENCE`. Else
    ``longitudinal`` within 30 degrees of ``travel_deg``, ``transverse`` within 30 degrees of its perpendicular,
    ``diagonal`` between.
    """
    if loops >= 3 or (coherence < NETWORK_COHERENCE and (loops >= 1 or branches >= 1)):
        return "network"
    away = abs((orientation_deg - travel_deg + 90.0) % 180.0 - 90.0)
    return "longitudinal" if away <= 30.0 else "transverse" if away >= 60.0 else "diagonal"


def severity_of(max_width_mm: float, limits: tuple[float, float, float] = SEVERITY_LIMITS_MM) -> Severity:
    """Class of a crack by its widest place in mm: under 0.3 hairline, to 6 low, to 19 moderate, above high.

    The limits' sources stand at :data:`SEVERITY_LIMITS_MM`; give others where another code rules.
    """
    if max_width_mm < limits[0]:
        return "hairline"
    return "low" if max_width_mm <= limits[1] else "moderate" if max_width_mm <= limits[2] else "high"


def _bad_scale(scale_mm: float | None) -> bool:
    return scale_mm is not None and not (math.isfinite(scale_mm) and scale_mm > 0)


# --------------------------------------------------------------------------------------------------- centrelines


@dataclass(frozen=True, eq=False)
class _Line:
    """A centreline: points ``(n, 2)`` every half pixel, width at each, and whether each lies outside branchings."""

    points: Points
    width: NDArray[np.float64]
    chord: NDArray[np.float64]
    clear: NDArray[np.bool_]

    @property
    def steps(self) -> Points:
        return np.diff(self.points, axis=0)


def _measure_region(
    region: Region, name: int, scale: float | None, min_length: float, travel: float, tolerance: float
) -> Crack | None:
    crop = region.crop()
    x, y = region.bbox[0] - 1, region.bbox[1] - 1
    outline = outline_of(crop)
    fill_specks(crop, outline)
    graph = graph_of(crop)
    lines = list(_centrelines(crop, graph))
    axis: tuple[float, float] | None = None
    if not lines:
        line, axis = _blob(crop, region, graph)
        lines = [line]
    steps = np.concatenate([line.steps for line in lines])
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    length = float(lengths.sum())
    if length < min_length:
        return None
    orientation, coherence = axis or _direction(steps, lengths)
    mean, widest, at = _widths(lines)
    degrees = [graph.degree(node) for node in graph.nodes]
    branches, loops = sum(d >= 3 for d in degrees), len(graph.edges) - len(graph.nodes) + 1
    kept = [simplify(np.column_stack([line.points, line.width]), tolerance) for line in lines]
    in_mm = (lambda v: None) if scale is None else (lambda v: v * scale)
    return Crack(
        id=name, bbox=region.bbox, area_px=region.area,
        length_px=length, mean_width_px=mean, max_width_px=widest,
        max_width_at=(float(at[0] + x), float(at[1] + y)),
        orientation_deg=orientation, coherence=coherence,
        kind=kind_of(orientation, coherence, branches, loops, travel),
        branches=branches, ends=2 if axis else sum(d == 1 for d in degrees), loops=loops,
        length_mm=in_mm(length), mean_width_mm=in_mm(mean), max_width_mm=in_mm(widest),
        severity=None if scale is None else severity_of(widest * scale),
        probability=region.probability,
        polylines=tuple(line.points[own] + np.array([x, y]) for line, own in zip(lines, kept, strict=True)),
        widths=tuple(line.width[own] for line, own in zip(lines, kept, strict=True)),
        outline=tuple(ring + np.array([x, y]) for ring in outline),
    )  # fmt: skip


def _direction(steps: Points, lengths: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of the doubled angles, weighted with length: direction in [0, 180) and coherence in [0, 1]."""
    double = 2.0 * np.arctan2(-steps[:, 1], steps[:, 0])  # y points down
    mean = complex((lengths * np.cos(double)).sum(), (lengths * np.sin(double)).sum()) / float(lengths.sum())
    coherence = min(abs(mean), 1.0)
    if coherence < 1e-9:
        return 0.0, 0.0
    degrees = math.degrees(math.atan2(mean.imag, mean.real)) / 2.0 % 180.0
    return (0.0 if degrees > 180.0 - 1e-9 else degrees), coherence


def _widths(lines: Sequence[_Line]) -> tuple[float, float, Points]:
    """Mean width, greatest width, and where that is."""
    points = np.concatenate([line.points for line in lines])
    width, chord = np.concatenate([line.width for line in lines]), np.concatenate([line.chord for line in lines])
    weight = np.concatenate([np.gradient(_arc(line.points)) for line in lines])
    clear = np.concatenate([line.clear for line in lines])
    if not (chord[clear] > 0).any():  # branchings everywhere, or all but an end, whose chord is 0
        clear[:] = True
    mean = float(np.average(chord[clear], weights=weight[clear]))
    best = int(np.flatnonzero(clear)[np.argmax(width[clear])])
    return mean, max(float(width[best]), mean), points[best]


def _centrelines(crop: NDArray[np.uint8], graph: Graph) -> Iterator[_Line]:
    """The arms of a crack; none for a blob, whose skeleton is no longer than 1.5 times its width."""
    widest = max(float(node[2]) for node in graph.nodes.values())
    widest = max([widest, *(float(edge.points[:, 2].max()) for edge in graph.edges.values())])
    if len(graph.edges) < len(graph.nodes) and sum(edge.length for edge in graph.edges.values()) <= 3.0 * widest - 2.0:
        return
    for edge in graph.edges.values():
        closed = edge.a == edge.b and graph.degree(edge.a) == 2
        line = _smooth(edge.points, closed)
        for tip, last in ((edge.a, 0), (edge.b, -1)):
            if graph.degree(tip) == 1:
                line = (
                    _extend(crop, line[::-1], edge.points[last])[::-1]
                    if last == 0
                    else _extend(crop, line, edge.points[last])
                )
        yield _sample(crop, line, closed, [graph.nodes[n] for n in {edge.a, edge.b} if graph.degree(n) >= 3])


def _smooth(points: Points, closed: bool) -> Points:
    """Smooth a chain ``(n, 3)`` in x and y; ends stay, curves keep their radius to second order (kernel 2G - G*G)."""
    radius = float(np.median(points[:, 2]))
    sigma = min(max(SMOOTHING, 0.4 * radius), 0.25 * len(points))
    reach = min(math.ceil(5.0 * sigma), len(points) - 1)
    if reach < 2:
        return points
    at = np.arange(-reach, reach + 1)
    once, twice = np.exp(-0.5 * (at / sigma) ** 2), np.exp(-0.25 * (at / sigma) ** 2)
    kernel = 2.0 * once / once.sum() - twice / twice.sum()
    out = points.copy()
    for axis in (0, 1):
        values = points[:, axis]
        if closed:
            padded = np.concatenate([values[-1 - reach : -1], values, values[1 : reach + 1]])
        else:
            padded = np.concatenate(
                [2 * values[0] - values[reach:0:-1], values, 2 * values[-1] - values[-2 : -2 - reach : -1]]
            )
        out[:, axis] = np.convolve(padded, kernel, mode="valid")
    return out


def _extend(crop: NDArray[np.uint8], line: Points, tip: Points) -> Points:
    """Carry a line ``(n, 3)`` on from its end to where the mask ends.

    Near its end a skeleton turns into a corner of the mask. So the last piece, as long as half the width, is cut off,
    and replaced by a straight one along the piece before.
    """
    arc = _arc(line)
    radius = float(line[arc >= arc[-1] - 2.0 * float(np.median(line[:, 2])), 2].max())
    cut = min(radius, 0.25 * float(arc[-1]))
    kept = line[arc <= arc[-1] - cut]
    span = kept[_arc(kept) >= _arc(kept)[-1] - max(4.0 * radius, 8.0), :2]
    if len(span) < 2:
        kept, span = line, line[:, :2]
    centred = span - span.mean(axis=0)
    heading = np.linalg.svd(centred, full_matrices=False)[2][0]
    heading = heading if heading @ (span[-1] - span[0]) >= 0 else -heading
    start = span.mean(axis=0) + heading * float(centred[-1] @ heading)
    least = max(0.0, float((tip[:2] - start) @ heading))
    end = start + heading * (least + _inside(crop, start + heading * least, heading, 3.0 * radius + 3.0))
    return np.concatenate([kept, [[end[0], end[1], radius]]])


def _inside(crop: NDArray[np.uint8], start: Points, heading: Points, limit: float) -> float:
    """How far the mask goes from a point along a heading; half a pixel from a point outside."""
    found = _chords(crop, start[None], heading[None], np.array([limit]))
    return float(found[0, 1]) if found[0, 2] else 0.5


def _sample(crop: NDArray[np.uint8], line: Points, closed: bool, joints: Sequence[Points]) -> _Line:
    """Points every half pixel along a line ``(n, 3)``, with the width at each."""
    arc = _arc(line)
    total = float(arc[-1])
    along = np.linspace(0.0, total, max(2, round(total / STEP) + 1))
    x, y, radius = (np.interp(along, arc, line[:, k]) for k in range(3))
    points = np.stack([x, y], axis=1)
    radius = _running_max(radius, 6)
    back = max(2, round(2.0 / STEP))
    far = np.arange(len(points))
    if closed:
        ring = len(points) - 1
        heading = points[(far + back) % ring] - points[(far - back) % ring]
    else:
        heading = points[np.minimum(far + back, len(points) - 1)] - points[np.maximum(far - back, 0)]
    size = np.maximum(np.hypot(heading[:, 0], heading[:, 1]), 1e-9)
    normal = np.stack([-heading[:, 1] / size, heading[:, 0] / size], axis=1)
    probes = points.copy()  # the ends lie on the mask's edge: look just inside
    probes[0], probes[-1] = points[:2].mean(axis=0), points[-2:].mean(axis=0)
    sides = _chords(crop, probes, normal, radius + 1.5)
    chord = sides[:, 0] + sides[:, 1]
    clear = np.ones(len(points), np.bool_)
    for joint in joints:
        clear &= np.hypot(points[:, 0] - joint[0], points[:, 1] - joint[1]) > 1.5 * joint[2] + 1.0
    counted = (clear if clear.any() else np.ones_like(clear)).astype(np.float64)
    share = _running_mean(counted, closed)
    width = np.where(share > 0.01, _running_mean(chord * counted, closed) / np.maximum(share, 0.01), chord)
    width = np.minimum(width, 2.0 * radius)
    return _Line(points, width, chord, clear)


def _arc(points: Points) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points[:, :2], axis=0).T))])


def _running_max(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    padded = np.pad(values, reach, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1))


def _running_mean(values: NDArray[np.float64], closed: bool) -> NDArray[np.float64]:
    """Mean over a window cut off at the ends, or carried round a closed line (whose last point is the first)."""
    half = min(round(WINDOW / STEP / 2), (len(values) - 1) // 2)
    ones = np.ones(2 * half + 1)
    if closed and half:
        padded = np.concatenate([values[-1 - half : -1], values, values[1 : half + 1]])
        return np.convolve(padded, ones / len(ones), mode="valid")
    return np.convolve(values, ones, mode="same") / np.convolve(np.ones(len(values)), ones, mode="same")


@compiled
def _chords(
    crop: NDArray[np.uint8], points: Points, headings: Points, limits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far the mask goes backward and forward along each heading, and whether the point is inside, ``(n, 3)``.

    A point up to 0.75 px outside still counts what it meets. Steps are 0.05 px, more for limits over 50 px.
    """
    out = np.zeros((len(points), 3))
    height, width = crop.shape
    for n in range(len(points)):
        step = max(0.05, limits[n] / 1000.0)
        for side in range(2):
            sign = 2.0 * side - 1.0
            count, at, met = 0, 0.5 * step, False
            while at < limits[n]:
                x, y = points[n, 0] + sign * at * headings[n, 0], points[n, 1] + sign * at * headings[n, 1]
                i, j = int(np.floor(x)), int(np.floor(y))
                if 0 <= i < width and 0 <= j < height and crop[j, i]:
                    met = True
                    count += 1
                elif met or at > 0.75:
                    break
                at += step
            out[n, side] = count * step
        i, j = int(np.floor(points[n, 0])), int(np.floor(points[n, 1]))
        out[n, 2] = 0 <= i < width and 0 <= j < height and crop[j, i] > 0
    return out


def _blob(crop: NDArray[np.uint8], region: Region, graph: Graph) -> tuple[_Line, tuple[float, float]]:
    """A piece that is no line: its axis of least inertia from edge to edge, with (direction, coherence)."""
    size = (region.runs[:, 2] - region.runs[:, 1]).astype(np.float64)
    x = (region.runs[:, 2] + region.runs[:, 1]) / 2.0 - region.bbox[0] + 1
    y = region.runs[:, 0] + 0.5 - region.bbox[1] + 1
    total = size.sum()
    cx, cy = float((size * x).sum() / total), float((size * y).sum() / total)
    xx = float((size * ((x - cx) ** 2 + size**2 / 12)).sum() / total)
    yy = float((size * ((y - cy) ** 2 + 1 / 12)).sum() / total)
    xy = float((size * (x - cx) * (y - cy)).sum() / total)
    coherence = math.hypot(xx - yy, 2 * xy) / (xx + yy)
    coherence = coherence if coherence > 1e-9 else 0.0
    angle = 0.5 * math.atan2(2 * xy, xx - yy) if coherence else 0.0
    heading = np.array([math.cos(angle), math.sin(angle)])
    centre = np.array([cx, cy])
    deepest = max(
        [*graph.nodes.values(), *(edge.points[np.argmax(edge.points[:, 2])] for edge in graph.edges.values())],
        key=lambda p: float(p[2]),
    )
    if not crop[int(cy), int(cx)]:
        centre = deepest[:2]
    back, forth, _ = _chords(crop, centre[None], heading[None], np.array([float(sum(crop.shape))]))[0]
    ends = np.stack([centre - back * heading, centre + forth * heading])
    line = np.concatenate([ends, np.full((2, 1), deepest[2])], axis=1)
    return _sample(crop, line, False, []), (math.degrees(-angle) % 180.0, min(coherence, 1.0))
