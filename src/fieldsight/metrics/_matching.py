"""Matching of found boxes to true ones, and what average precision is made of, compiled for the processor.

The rules are those of the COCO evaluation code (Lin et al. 2014; pycocotools 2.0, BSD), step by step and with its
arithmetic, so that the numbers are the same to the last digits. Import this module only where boxes are compared: numba
has to start, and compiles once for every processor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Bits = NDArray[np.uint16]

TINY = 2.0**-52  #: keeps 0 / 0 out of precision, as numpy.spacing(1) does in pycocotools


@compiled
def overlaps(found: Floats, truth: Floats, crowd: NDArray[np.bool_]) -> Floats:
    """Intersection over union of ``(D, 4)`` and ``(G, 4)`` as ``(D, G)``; over the found area for crowds."""
    out = np.zeros((len(found), len(truth)))
    for d in range(len(found)):
        own = (found[d, 2] - found[d, 0]) * (found[d, 3] - found[d, 1])
        for g in range(len(truth)):
            width = min(found[d, 2], truth[g, 2]) - max(found[d, 0], truth[g, 0])
            if width <= 0:
                continue
            height = min(found[d, 3], truth[g, 3]) - max(found[d, 1], truth[g, 1])
            if height <= 0:
                continue
            shared = width * height
            other = (truth[g, 2] - truth[g, 0]) * (truth[g, 3] - truth[g, 1])
            out[d, g] = shared / (own if crowd[g] else own + other - shared)
    return out


@compiled
def assign(
    overlap: Floats, order: Counts, outside: NDArray[np.bool_], many: NDArray[np.bool_], beyond: NDArray[np.bool_],
    ious: Floats, hit: Bits, ignored: Bits,
) -> None:  # fmt: skip
    """Each found box takes the free true box of highest overlap, one that counts if possible, the later of equals.

    Args:
        overlap: ``(D, G)``, found boxes by falling score.
        order: in which true boxes are looked at; those that do not count come last.
        outside: ``(G,)``, true boxes that do not count.
        many: ``(G,)``, those that may be found again.
        beyond: ``(D,)``, found boxes that are not false where they hit nothing.
        ious: ``(T,)``, the overlap that is asked for.
        hit, ignored: ``(D,)``, written, a bit for every IoU.
    """
    taken = np.zeros(len(order), np.uint16)
    whole = (1 << len(ious)) - 1
    for d in range(len(overlap)):
        hits, skipped = 0, 0
        best = 0.0
        for g in range(len(order)):
            best = max(best, overlap[d, g])
        for t in range(len(ious)):
            least = min(ious[t], 1 - 1e-10)
            if best < least:
                break  # nor at any higher IoU
            chosen = -1
            for g in order:
                if (taken[g] >> t) & 1 and not many[g]:
                    continue
                if chosen >= 0 and not outside[chosen] and outside[g]:
                    break
                if overlap[d, g] >= least:
                    least = overlap[d, g]
                    chosen = g
            if chosen >= 0:
                taken[chosen] |= 1 << t
                hits |= 1 << t
                if outside[chosen]:
                    skipped |= 1 << t
        hit[d] = hits
        ignored[d] = skipped | (whole & ~hits) if beyond[d] else skipped


@compiled
def match(
    found: Floats, found_labels: Counts, truth: Floats, truth_labels: Counts, crowd: NDArray[np.bool_], area: Floats,
    ranges: Floats, ious: Floats, hit: Bits, ignored: Bits,
) -> None:  # fmt: skip
    """Match the boxes of a photo at every IoU and in every range of areas.

    Args:
        found: ``(D, 4)``, x1, y1, x2, y2; ordered by label, within a label by falling score.
        found_labels: ``(D,)``.
        truth: ``(G, 4)``, ordered by label.
        truth_labels: ``(G,)``.
        crowd: ``(G,)``, boxes that may be found any number of times and are neither hit nor miss.
        area: ``(G,)`` of the true objects.
        ranges: ``(A, 2)``, areas from and to, both included.
        ious: ``(T,)``, at most 16.
        hit: ``(D, A)``, written: bit t is set where the box found something at ``ious[t]``.
        ignored: ``(D, A)``, written: bit t is set where the box counts as neither hit nor false.
    """
    own = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    g1 = 0
    d0 = 0
    while d0 < len(found):
        label = found_labels[d0]
        d1 = d0
        while d1 < len(found) and found_labels[d1] == label:
            d1 += 1
        while g1 < len(truth) and truth_labels[g1] < label:
            g1 += 1
        g0 = g1
        while g1 < len(truth) and truth_labels[g1] == label:
            g1 += 1
        n = g1 - g0
        many = crowd[g0:g1]
        overlap = overlaps(found[d0:d1], truth[g0:g1], many)
        order = np.empty(n, np.int64)
        outside = np.empty(n, np.bool_)
        for a in range(len(ranges)):
            for g in range(n):
                outside[g] = many[g] or area[g0 + g] < ranges[a, 0] or area[g0 + g] > ranges[a, 1]
            place = 0
            for last in (False, True):
                for g in range(n):
                    if outside[g] == last:
                        order[place] = g
                        place += 1
            beyond = (own[d0:d1] < ranges[a, 0]) | (own[d0:d1] > ranges[a, 1])
            assign(overlap, order, outside, many, beyond, ious, hit[d0:d1, a], ignored[d0:d1, a])
        d0 = d1


@compiled
def envelope(
    hit: Bits, ignored: Bits, photo: Counts, weights: Floats, truths: float, steps: Floats, out: Floats, recall: Floats
) -> None:
    """Highest precision at or beyond each step of recall, for one class.

    Args:
        hit, ignored: ``(N,)`` bits of :func:`match`, by falling score.
        photo: ``(N,)``, the photo each box is in.
        weights: how often each photo counts, whole numbers.
        truths: true boxes, weighted likewise; positive.
        steps: ``(R,)`` recalls, rising from 0.
        out: ``(T, R)`` precision, written; 0 where the recall is not reached.
        recall: ``(T,)``, written: the highest recall.
    """
    every = 0.0  # boxes so far, each as often as its photo
    true, skipped, best = np.zeros(len(recall)), np.zeros(len(recall)), np.zeros(len(recall))
    for n in range(len(hit)):
        every += weights[photo[n]]
        if hit[n] | ignored[n]:
            for t in range(len(recall)):
                if (ignored[n] >> t) & 1:
                    skipped[t] += weights[photo[n]]
                elif (hit[n] >> t) & 1:
                    true[t] += weights[photo[n]]
    step = np.full(len(recall), len(steps) - 1)
    for t in range(len(recall)):
        recall[t] = true[t] / truths
        while step[t] >= 0 and steps[step[t]] > recall[t]:
            out[t, step[t]] = 0.0
            step[t] -= 1
    for n in range(len(hit) - 1, -1, -1):
        weight = weights[photo[n]]
        if weight > 0 and hit[n] | ignored[n]:  # precision after a false box is never the highest to come
            for t in range(len(recall)):
                if (ignored[n] >> t) & 1:
                    skipped[t] -= weight
                elif (hit[n] >> t) & 1:
                    best[t] = max(best[t], true[t] / (every - skipped[t] + TINY))
                    true[t] -= weight
                    while step[t] >= 0 and steps[step[t]] > true[t] / truths:
                        out[t, step[t]] = best[t]
                        step[t] -= 1
        every -= weight
    for t in range(len(recall)):
        out[t, : step[t] + 1] = best[t]


@compiled
def mean_precision(
    hit: Bits, ignored: Bits, photo: Counts, starts: Counts, ends: Counts, weights: Floats, truths: Floats,
    steps: Floats, out: Floats,
) -> None:  # fmt: skip
    """Average precision of every class at every IoU, where photos count ``weights`` times.

    Args:
        hit, ignored, photo: ``(N,)``, class after class, within a class by falling score.
        starts, ends: ``(K,)``, which of them belong to a class.
        weights: how often each photo counts.
        truths: ``(K,)`` true boxes, weighted likewise.
        steps: ``(R,)`` recalls.
        out: ``(K, T)``, written; NaN for a class without truth.
    """
    precision = np.empty((out.shape[1], len(steps)))
    recall = np.empty(out.shape[1])
    for k in range(len(starts)):
        if truths[k] <= 0:
            out[k] = np.nan
            continue
        part = slice(starts[k], ends[k])
        envelope(hit[part], ignored[part], photo[part], weights, truths[k], steps, precision, recall)
        for t in range(out.shape[1]):
            out[k, t] = precision[t].mean()
