"""The shadow of a coronary tree: X-ray path through contrast medium, masks and projected crossings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.vessel.phantom.camera import Camera
from fieldsight.systems.vessel.phantom.heart import Heart
from fieldsight.systems.vessel.phantom.raster import covered, tube
from fieldsight.systems.vessel.phantom.tree import STEP, Branch, Tree

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: Tubes are laid down on a grid of about this side and averaged down to the picture.
_FINE = 1024

#: A branch is drawn in pieces of this many mm, so that it may cross itself.
_PIECE = 30.0

#: Lumens this near to a junction (mm of the parent's arc) are one lumen, not two that add.
_JOINT = 10.0

#: Contrast medium counts as arrived from this concentration.
ARRIVED = 0.5


@dataclass(frozen=True)
class Track:
    """A branch in the picture.

    Attributes:
        xy: ``(n, 2)`` axis, continuous picture coordinates in px.
        radius: ``(n,)`` with lesions, px.
        healthy: ``(n,)`` without lesions, px.
        slant: ``(n,)`` share of the axis' true length that is seen: 1 across the rays, 0 along them.
        concentration: ``(n,)`` of contrast medium, 0 to 1.
    """

    xy: Doubles
    radius: Doubles
    healthy: Doubles
    slant: Doubles
    concentration: Doubles


@dataclass(frozen=True)
class Shadow:
    """What a tree casts onto the detector, without anything else.

    Attributes:
        path: ``(H, W)`` float32, way of each ray through contrast medium in px; overlapping vessels add.
        main, side: ``(H, W)`` bool, silhouettes of main vessels and of side branches that contrast has reached.
        crossings: ``(K, 2)`` middles of the places where one vessel lies over another, px.
        tracks: the branches in the tree's order.
    """

    path: Floats
    main: Bools
    side: Bools
    crossings: Doubles
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class _Piece:
    """A part of a branch on the fine grid: its window and what :func:`tube` found there."""

    branch: int
    first: float
    last: float
    row: int
    column: int
    found: Floats

    def window(self) -> tuple[slice, slice]:
        height, width = self.found.shape[1:]
        return slice(self.row, self.row + height), slice(self.column, self.column + width)


def cast(
    tree: Tree,
    radii: list[Doubles],
    concentrations: list[Doubles],
    heart: Heart,
    camera: Camera,
    squeeze: float = 0.0,
    motion: float = 1.0,
) -> Shadow:
    """Project a tree.

    Args:
        tree: the branches.
        radii: of each branch with its lesions, ``(n,)`` mm.
        concentrations: of contrast in each branch, ``(n,)``, 0 to 1.
        heart: carries the tree.
        camera: view and size of the picture.
        squeeze: contraction of the heart, 0 to 1.
        motion: factor on it.
    """
    fine, times = fine_of(camera)
    canvas = _Canvas(tree, fine.side)
    tracks = []
    for index, branch in enumerate(tree.branches):
        seen, scale = fine.project(heart.in_patient(branch.points, squeeze, motion))
        axis = np.column_stack([seen, radii[index] * scale, concentrations[index]])
        for piece in _pieces(branch, index, axis, fine.side):
            canvas.add(piece)
        slant = np.linalg.norm(np.gradient(seen[:, :2], axis=0), axis=1) / np.maximum(
            np.linalg.norm(np.gradient(seen, axis=0), axis=1), 1e-9
        )
        tracks.append(Track(seen[:, :2] / times, axis[:, 3] / times, branch.radii * scale / times, slant, axis[:, 4]))
    axes = [
        _on_axis([t for t, b in zip(tracks, tree.branches, strict=True) if b.main == main], camera.side)
        for main in (True, False)
    ]
    return Shadow(
        path=shrunk(canvas.path, times) / np.float32(times),
        main=(shrunk(canvas.main, times) >= 0.5) | axes[0],
        side=(shrunk(canvas.side, times) >= 0.5) | axes[1],
        crossings=canvas.crossings() / times,
        tracks=tuple(tracks),
    )


def fine_of(camera: Camera) -> tuple[Camera, int]:
    """The camera with the grid that tubes are laid down on, and its pixels along a pixel's side."""
    times = max(1, round(_FINE / camera.side))
    return camera.resized(camera.side * times), times


def shrunk(field: Floats, times: int) -> Floats:
    """Mean over blocks of ``times`` x ``times`` px."""
    if times == 1:
        return field
    side = field.shape[0] // times
    return np.asarray(cv2.resize(field, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def window_of(axis: Doubles, side: int) -> tuple[int, int, int, int] | None:
    """Row, column, height and width of the part of a square picture that a tube ``(n, 5)`` may touch; None if none."""
    reach = axis[:, 3] + 1.5
    left, right = int(max((axis[:, 0] - reach).min(), 0)), int(min((axis[:, 0] + reach).max() + 1, side))
    top, bottom = int(max((axis[:, 1] - reach).min(), 0)), int(min((axis[:, 1] + reach).max() + 1, side))
    return (top, left, bottom - top, right - left) if right > left and bottom > top else None


def _pieces(branch: Branch, index: int, axis: Doubles, side: int) -> list[_Piece]:
    count = max(1, round(branch.length / _PIECE))
    cuts = np.linspace(0, len(axis) - 1, count + 1).round().astype(int)
    found = []
    for first, last in pairwise(cuts.tolist()):
        part = np.ascontiguousarray(axis[first : last + 1])
        window = window_of(part, side)
        if window is not None:
            row, column, height, width = window
            laid = tube(part, column, row, height, width)
            found.append(_Piece(index, float(branch.arc[first]), float(branch.arc[last]), row, column, laid))
    return found


def _on_axis(tracks: list[Track], side: int) -> Bools:
    """Pixels that an axis with contrast runs through: a vessel thinner than a pixel stays in the mask."""
    out = np.zeros((side, side), np.bool_)
    for track in tracks:
        places = np.linspace(0, len(track.xy) - 1, 4 * len(track.xy))
        index = np.arange(len(track.xy))
        x, y, c = (np.interp(places, index, v) for v in (track.xy[:, 0], track.xy[:, 1], track.concentration))
        seen = (c >= ARRIVED) & (x >= 0) & (y >= 0) & (x < side) & (y < side)
        out[y[seen].astype(int), x[seen].astype(int)] = True
    return out


class _Canvas:
    """Sums over the pieces of a tree on the fine grid; lumens that belong together are united, others add."""

    def __init__(self, tree: Tree, side: int) -> None:
        self.tree = tree
        self.path, self.main, self.side = (np.zeros((side, side), np.float32) for _ in range(3))
        self._layers = np.zeros((side, side), np.uint8)
        self._crossed = np.zeros((side, side), np.uint8)
        self._pieces: list[_Piece] = []

    def add(self, piece: _Piece) -> None:
        """Lay a piece over what is there."""
        window = piece.window()
        chord, depth, filled, outline = piece.found
        joined = [other for other in self._pieces if self._are_one(piece, other)]
        cut = [(c, d) for other in joined if (c_d := _cropped(other, piece)) is not None for c, d in [c_d]]
        fresh, shape = chord, chord > 0
        others = self._layers[window].astype(np.int16)
        if cut:
            chords, depths = (np.stack([pair[k] for pair in cut]) for k in range(2))
            fresh = chord - covered(chord, depth, chords, depths)
            others -= (chords > 0).sum(axis=0, dtype=np.int16)
        self.path[window] += fresh * filled
        reached = outline * (filled >= ARRIVED)
        silhouette = self.main if self.tree.branches[piece.branch].main else self.side
        np.maximum(silhouette[window], reached, out=silhouette[window])
        crossed = (reached > 0) & (others > 0) & (fresh > 0.6 * chord)
        self._crossed[window] |= crossed.astype(np.uint8)
        self._layers[window] += shape.astype(np.uint8)
        self._pieces.append(piece)

    def crossings(self) -> Doubles:
        """Middles ``(K, 2)`` (x, y) of the places with two lumens one over the other, fine px."""
        count, _, stats, middles = cv2.connectedComponentsWithStats(self._crossed, connectivity=8)
        least = max(6.0, (0.006 * self.path.shape[0]) ** 2)
        keep = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= least]
        return np.asarray(middles[keep] + 0.5, np.float64).reshape(-1, 2)

    def _are_one(self, a: _Piece, b: _Piece) -> bool:
        """Whether two pieces share a lumen: neighbours along a branch, a branch and its parent, twins of a fork."""
        if a.branch == b.branch:
            return min(abs(a.first - b.last), abs(b.first - a.last)) < STEP
        mine, other = self.tree.branches[a.branch], self.tree.branches[b.branch]
        if a.first > 0:
            return False
        if mine.parent == b.branch:
            return b.first - _JOINT <= mine.joins <= b.last + _JOINT
        return b.first == 0 and mine.parent == other.parent and abs(mine.joins - other.joins) < STEP


def _cropped(other: _Piece, piece: _Piece) -> tuple[Floats, Floats] | None:
    """Chord and depth of a piece within the window of another; None where the windows don't meet."""
    height, width = piece.found.shape[1:]
    high, wide = other.found.shape[1:]
    top, left = max(piece.row, other.row), max(piece.column, other.column)
    bottom, right = min(piece.row + height, other.row + high), min(piece.column + width, other.column + wide)
    if bottom <= top or right <= left:
        return None
    out = np.zeros((2, height, width), np.float32)
    here = np.s_[:, top - piece.row : bottom - piece.row, left - piece.column : right - piece.column]
    there = np.s_[:2, top - other.row : bottom - other.row, left - other.column : right - other.column]
    out[here] = other.found[there]
    return out[0], out[1]
