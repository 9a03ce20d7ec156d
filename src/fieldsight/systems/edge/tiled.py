"""Small objects and huge photos: overlapping tiles at native scale, and their boxes made one.

Slicing follows Akyon et al., "Slicing Aided Hyper Inference and Fine-tuning for Small Object Detection", ICIP 2022:
tiles that overlap and, beside them, the whole photo at reduced size for what is larger than a tile. The merging differs
from theirs. A box that ends at its tile's border is *cut*: two cut boxes are joined where their tiles see the same of
them, and what is still cut is dropped for a box of another tile that holds most of it, whatever their scores. Boxes
that are not cut meet those of other tiles by IoU alone, so that small objects before large ones of their class stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.blocks import Blocks, shrunk_by_bands
from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.errors import ConfigError, DataError
from fieldsight.nn.detection.boxes import iou_pairs

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Least side of a tile in pixels.
LEAST_TILE = 32

#: The whole photo is looked at with at most so many pixels on its longer side, or those of a tile if that is more.
WHOLE = 1024

#: A box is cut where it comes as near to its tile's border as this share of the tile, and at least so many pixels.
NEAR, NEAR_PX = 0.01, 2.0

#: Overlap of what two tiles see of one object, from which their cut boxes are joined.
AGREE = 0.5

#: Pixels of a photo that are shrunk at a time, about.
BAND = 2**23

#: Tiles from which progress is told.
MANY = 32


@dataclass(frozen=True)
class Pool:
    """Boxes of many tiles, before they are merged.

    Attributes:
        boxes: ``(K, 4)`` float64 corners in pixels of the photo.
        scores, labels: ``(K,)``.
        source: ``(K,)`` number of the tile that a box is from; boxes of one tile are left as they are.
        cut: ``(K, 4)`` whether it ends at the tile's left, top, right or bottom border inside of the photo.
        frames: ``(T, 4)`` corners of the tiles.
    """

    boxes: Floats
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    source: NDArray[np.int64]
    cut: Bools
    frames: Floats

    def take(self, chosen: NDArray[np.int64] | Bools) -> Pool:
        """Some of the boxes."""
        return Pool(
            self.boxes[chosen], self.scores[chosen], self.labels[chosen], self.source[chosen], self.cut[chosen],
            self.frames,
        )  # fmt: skip


def spans(length: int, tile: int, overlap: float) -> list[tuple[int, int]]:
    """Begin and end of the tiles along one side, spread evenly.

    Neighbours share at least ``overlap * tile`` pixels, rounded down: whatever is smaller lies whole in one of them.
    All are ``tile`` long, or there is one that is as long as the side.

    Args:
        length: pixels of the side, 1 or more.
        tile: pixels of a tile.
        overlap: share of a tile, 0 to below 1.
    """
    if length <= tile:
        return [(0, length)]
    step = tile - min(tile - 1, int(overlap * tile))
    count = -(-(length - tile) // step) + 1
    starts = [k * (length - tile) // (count - 1) for k in range(count)]
    return [(start, start + tile) for start in starts]


def find_tiled(
    find: Callable[[Picture], Detections],
    source: Picture | Blocks,
    tile: int,
    overlap: float = 0.2,
    whole: bool = True,
    iou: float = 0.5,
    inside: float = 0.6,
    most: int | None = None,
) -> Detections:
    """Look at a photo tile by tile, and at the whole of it, and merge what was found.

    One tile is in memory at a time, at the end the photo shrunk to :data:`WHOLE` pixels, and all boxes; a photo that
    fits in a tile is looked at once, as it is.

    Args:
        find: gives the boxes of a picture ``(h, w, 3)`` uint8 RGB in its pixels; called once a tile.
        source: the photo, or a reader of its blocks (an object with ``shape`` that is called with rows and columns).
        tile: pixels a side, 32 or more; best the side of the detector's input.
        overlap: share of a tile that the next one repeats, 0 to 0.9; larger than the largest of the small objects.
        whole: look at the whole photo too, for what is larger than a tile.
        iou: overlap from which boxes of two tiles are one object.
        inside: share of a cut box from which it is dropped for a box of another tile that holds it.
        most: boxes at the most, the best ones; None keeps all.

    Returns:
        Boxes in pixels of the photo, best first.

    Raises:
        ConfigError: a tile, an overlap or a threshold out of its range.
        DataError: the source has no pixels, or gives no picture.
    """
    _check(tile, overlap, iou, inside, most)
    height, width = _size(source)
    read = _reader(source)
    if max(height, width) <= tile:
        return _best(find(_seen(read, (0, 0, width, height))), most)
    rows, columns = spans(height, tile, overlap), spans(width, tile, overlap)
    frames = [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]
    watched = progress.track(frames, "looking at tiles") if len(frames) >= MANY else frames
    parts = [(frame, find(_seen(read, frame))) for frame in watched]
    if whole:
        parts.append(((0, 0, width, height), find_whole(find, source, max(tile, WHOLE))))
    return _best(merged(pooled(parts, (height, width), tile), iou, inside), most)


def find_whole(find: Callable[[Picture], Detections], source: Picture | Blocks, longest: int = WHOLE) -> Detections:
    """Boxes of the whole photo, looked at with ``longest`` pixels a side at the most, in its own pixels."""
    height, width = _size(source)
    small = shrunk(source, longest)
    found = find(small)
    scale = np.array([width / small.shape[1], height / small.shape[0]] * 2)
    return Detections.of(found.boxes.astype(np.float64) * scale, found.scores, found.labels)


def shrunk(source: Picture | Blocks, longest: int) -> Picture:
    """The photo shrunk by area to ``longest`` pixels a side at the most, read some rows at a time."""
    height, width = _size(source)
    read = _reader(source)

    def seen(rows: slice, columns: slice) -> Picture:
        return _seen(read, (columns.start, rows.start, columns.stop, rows.stop))

    return shrunk_by_bands(seen, (height, width), longest, BAND / width)


def pooled(parts: list[tuple[tuple[int, int, int, int], Detections]], size: tuple[int, int], tile: int = 0) -> Pool:
    """Boxes of tiles in pixels of the photo, with where they are cut.

    Args:
        parts: corners ``x0, y0, x1, y1`` of each tile, and its boxes in its own pixels (those of the whole photo in the
            photo's).
        size: height and width of the photo.
        tile: pixels a side, for how near to a border a box must come.

    Raises:
        DataError: boxes that are not finite.
    """
    frames = np.array([frame for frame, _ in parts], np.float64).reshape(-1, 4)
    source = np.repeat(np.arange(len(parts)), [len(found) for _, found in parts])
    boxes = np.concatenate([np.zeros((0, 4)), *(f.boxes.astype(np.float64) for _, f in parts)])
    if not np.isfinite(boxes).all():
        raise DataError("A tile has boxes with numbers that are not finite; the detector's output is broken.")
    boxes += np.tile(frames[source, :2], 2)
    borders = frames[source]
    near = max(NEAR_PX, NEAR * tile)
    inner = np.stack([borders[:, 0] > 0, borders[:, 1] > 0, borders[:, 2] < size[1], borders[:, 3] < size[0]], axis=1)
    return Pool(
        boxes,
        np.concatenate([np.zeros(0, np.float32), *(f.scores for _, f in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(f.labels for _, f in parts)]),
        source.astype(np.int64),
        inner & (np.abs(boxes - borders) <= near),
        frames,
    )


def merged(pool: Pool, iou: float = 0.5, inside: float = 0.6) -> Detections:
    """One box an object: cut boxes joined, then greedy suppression per class between tiles; best first.

    Whole boxes come first, by score, then cut ones, by area. A box is dropped if a kept one of its class and of another
    tile overlaps it by an IoU above ``iou`` or, where it is cut, holds more than the share ``inside`` of it.
    """
    kept = []
    for label in np.unique(pool.labels):
        one = joined(pool.take(pool.labels == label))
        kept.append(one.take(_suppressed(one, iou, inside)))
    if not kept:
        return Detections.of([], [], [])
    boxes, scores, labels = (np.concatenate([getattr(p, n) for p in kept]) for n in ("boxes", "scores", "labels"))
    return _best(Detections.of(boxes, scores, labels), None)


def joined(pool: Pool) -> Pool:
    """Cut boxes of one class that are parts of one object, as one box around them with the best of their scores.

    Two are parts of one where both are cut, and what lies of each in the area that both tiles see overlaps by an IoU
    of :data:`AGREE` or more. A joined box is cut only where none of its parts reaches further than the cut.
    """
    cut = np.flatnonzero(pool.cut.any(axis=1))
    if len(cut) < 2:
        return pool
    parent = np.arange(len(cut))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = int(parent[k])
        return k

    boxes, frames = pool.boxes[cut], pool.frames[pool.source[cut]]
    for k in range(len(cut)):
        shared = _common(frames[k], frames)
        mine, theirs = _common(boxes[k], shared), _common(boxes, shared)
        agree = iou_pairs(mine, theirs) >= AGREE
        agree &= pool.source[cut] != pool.source[cut[k]]
        for other in np.flatnonzero(agree[:k]):
            parent[root(k)] = root(int(other))
    roots = np.array([root(k) for k in range(len(cut))])
    out_boxes, out_scores, out_cut = pool.boxes.copy(), pool.scores.copy(), pool.cut.copy()
    gone = np.zeros(len(pool.boxes), np.bool_)
    for group in np.unique(roots):
        members = cut[roots == group]
        if len(members) > 1:
            first = members[np.argmax(pool.scores[members])]
            gone[members] = True
            gone[first] = False
            out_boxes[first], out_cut[first] = _around(pool.boxes[members], pool.cut[members])
            out_scores[first] = pool.scores[members].max()
    pool = Pool(out_boxes, out_scores, pool.labels, pool.source, out_cut, pool.frames)
    return pool.take(~gone)


def _around(boxes: Floats, cut: Bools) -> tuple[Floats, Bools]:
    """The box around several, and at which of its sides those that reach furthest are all cut."""
    signed = boxes * np.array([-1.0, -1.0, 1.0, 1.0])  # larger is further out
    furthest = signed.max(axis=0)
    ends = signed >= furthest - NEAR_PX
    return furthest * np.array([-1.0, -1.0, 1.0, 1.0]), (cut | ~ends).all(axis=0)


def _suppressed(pool: Pool, iou: float, inside: float) -> NDArray[np.int64]:
    """Which boxes of one class stay; see :func:`merged`."""
    cut = np.asarray(pool.cut.any(axis=1))
    area = _area(pool.boxes)
    order = np.lexsort((-pool.scores, np.where(cut, -area, 0.0), cut))
    kept = np.zeros(len(order), np.int64)
    count = 0
    for k in order:
        mine = kept[:count]
        mine = mine[pool.source[mine] != pool.source[k]]
        shared = _area(_common(pool.boxes[k], pool.boxes[mine]))
        union = area[k] + area[mine] - shared
        twin = shared > iou * union
        if cut[k]:
            twin |= shared > inside * area[k]
        if not twin.any():
            kept[count] = k
            count += 1
    return kept[:count]


# ------------------------------------------------------------------------------------------------- the photo


def _check(tile: int, overlap: float, iou: float, inside: float, most: int | None) -> None:
    problems = []
    if tile < LEAST_TILE:
        problems.append(f"tile is {tile}; allowed: {LEAST_TILE} or more pixels.")
    if not 0 <= overlap <= 0.9:
        problems.append(f"overlap is {overlap}; allowed: 0 to 0.9 of a tile.")
    problems += [f"{n} is {v}; allowed: 0 to 1." for n, v in (("iou", iou), ("inside", inside)) if not 0 <= v <= 1]
    if most is not None and most < 1:
        problems.append(f"most is {most}; allowed: 1 or more boxes.")
    if problems:
        raise ConfigError(problems)


def _size(source: Picture | Blocks) -> tuple[int, int]:
    shape = source.shape
    if len(shape) < 2 or min(shape[:2]) < 1:
        raise DataError(f"A photo of shape {tuple(shape)} has no pixels to look at; (H, W, 3) is wanted.")
    return int(shape[0]), int(shape[1])


def _reader(source: Picture | Blocks) -> Callable[[slice, slice], Picture]:
    if isinstance(source, np.ndarray):
        picture = source
        return lambda rows, columns: picture[rows, columns]
    return source


def _seen(read: Callable[[slice, slice], Picture], frame: tuple[int, int, int, int]) -> Picture:
    x0, y0, x1, y1 = frame
    part = np.ascontiguousarray(read(slice(y0, y1), slice(x0, x1)))
    if part.shape != (y1 - y0, x1 - x0, 3) or part.dtype != np.uint8:
        raise DataError(
            f"Rows {y0} to {y1} and columns {x0} to {x1} of the photo are {part.shape} {part.dtype}; "
            f"{(y1 - y0, x1 - x0, 3)} uint8 is wanted."
        )
    return part


# ------------------------------------------------------------------------------------------------- geometry


def _common(a: Floats, b: Floats) -> Floats:
    """What lies in both, ``(..., 4)`` broadcast; its sides may be negative."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    return np.concatenate([low, high], axis=-1)


def _area(boxes: Floats) -> Floats:
    sides = (boxes[..., 2:] - boxes[..., :2]).clip(0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _best(found: Detections, most: int | None) -> Detections:
    order = np.argsort(-found.scores, kind="stable")[:most]
    return Detections.of(found.boxes[order], found.scores[order], found.labels[order])
