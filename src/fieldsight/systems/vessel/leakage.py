"""Splits of angiograms that do not leak: patients kept together, near-duplicates found where patients are not told.

The paper splits frames of 40 patients at random, so that the same lesion is in training and test. Here patients are
split; the random split is kept to show what it makes of the scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.data.images import read_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.vessel.constants import SHARES
from fieldsight.systems.vessel.datasets.common import SPLITS, UNKNOWN

#: Side of the thumbnail a picture is hashed from, and of its block of low frequencies.
SIDE, LOW = 64, 16

#: Bits of a hash: all of the block but the mean.
BITS = LOW * LOW - 1

#: Pictures whose hashes differ in this many bits or fewer are near-duplicates. Drawn frames at 15 a second differ by 6
#: in the median and 26 at most from the next, recompressed or noisy copies by 14 at most, and those of 150 patients by
#: 60 or more (mean 122, standard deviation 15.5).
LIMIT = 32

#: Orders that are tried, and assignments that may be looked at, for the best split.
ORDERS, WORK = 40, 40_000

Bits = NDArray[np.bool_]


# ------------------------------------------------------------------------------------------- near-duplicates


def picture_hash(picture: NDArray[np.uint8]) -> Bits:
    """What a picture looks like in 255 bits: which of its low frequencies are over their median (Zauner 2010, pHash).

    Args:
        picture: ``(H, W, 3)`` or ``(H, W)`` uint8.

    Returns:
        ``(255,)`` bool; it hardly changes with size, compression, noise or brightness.
    """
    import cv2

    grey = read_image(picture, "grey").astype(np.float32)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small)[:LOW, :LOW].ravel()[1:]
    return np.asarray(low > np.median(low), np.bool_)


def near_duplicates(samples: Sequence[DetectionSample], limit: int = LIMIT) -> list[list[str]]:
    """Pictures that show nearly the same, as lists of ids; every picture is read.

    Whoever is near to one of a list belongs to it (single linkage), as the frames of a run do from first to last.

    Args:
        samples: of a data set.
        limit: bits in which near hashes may differ, 0 to 255.

    Raises:
        ConfigError: the limit is out of range.
        DataError: a picture can't be read.
    """
    if not 0 <= limit <= BITS:
        raise ConfigError(f"limit is {limit}; allowed are 0 to {BITS} bits.")
    if not samples:
        return []
    hashes = np.stack([picture_hash(s.image()) for s in progress.track(samples, "looking for near-duplicates")])
    signs = np.where(hashes, 1.0, -1.0).astype(np.float32)
    leader = np.arange(len(samples))

    def find(k: int) -> int:
        while leader[k] != k:
            leader[k] = leader[leader[k]]
            k = int(leader[k])
        return k

    for start in range(0, len(samples), 1024):  # a block of rows at a time: all pairs of 18,000 would take 1.3 GB
        apart = (BITS - signs[start : start + 1024] @ signs.T) / 2
        for row, column in np.argwhere(apart <= limit + 0.25):  # sums of 255 ones are exact; room for none is needed
            first, second = find(start + int(row)), find(int(column))
            leader[max(first, second)] = min(first, second)
    clusters: dict[int, list[str]] = defaultdict(list)
    for k, sample in enumerate(samples):
        clusters[find(k)].append(sample.id)
    return [sorted(ids) for ids in clusters.values() if len(ids) > 1]


def regrouped(samples: Sequence[DetectionSample], clusters: Sequence[Sequence[str]]) -> list[DetectionSample]:
    """Samples whose groups are joined where a cluster holds pictures of several; the first name of them is kept."""
    group = {s.id: s.group for s in samples}
    name = {s.group: s.group for s in samples}

    def find(one: str) -> str:
        while name[one] != one:
            one = name[one]
        return one

    for ids in clusters:
        found = sorted({find(group[id]) for id in ids})
        for other in found[1:]:
            name[other] = found[0]
    return [replace(s, group=find(s.group)) for s in samples]


# --------------------------------------------------------------------------------------------------- splits


def straddling(samples: Sequence[DetectionSample]) -> dict[str, tuple[str, ...]]:
    """Groups (patients) that are in several splits, with these splits: each of them leaks."""
    found: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        found[sample.group].add(sample.split)
    return {
        group: tuple(s for s in SPLITS if s in splits) for group, splits in sorted(found.items()) if len(splits) > 1
    }


def split_angiograms(
    samples: Sequence[DetectionSample], views: Mapping[str, str], shares: Sequence[float] = SHARES, seed: int = 0,
    by: Literal["patient", "random"] = "patient",
) -> list[DetectionSample]:  # fmt: skip
    """Samples with splits, each view shared out as wished, as far as whole patients allow.

    Patients are dealt out one by one, those with most pictures first, each to the split that lacks most of what he has;
    the best of several orders counts. The result depends on ids, groups, views and seed only.

    Args:
        samples: any splits they have are forgotten.
        views: id to view; unknown ones are one more kind.
        shares: of pictures for train, val and test; 0 leaves a split out.
        seed: of the orders.
        by: ``patient`` keeps groups together; ``random`` deals out single pictures, as the paper did: it leaks.

    Raises:
        ConfigError: shares that make no sense.
        DataError: fewer patients (or pictures) than splits.
    """
    if len(shares) != len(SPLITS) or not min(shares) >= 0 or not 0 < sum(shares) < float("inf"):
        raise ConfigError(f"shares are {list(shares)}; three numbers are wanted, of {', '.join(SPLITS)}, none below 0.")
    unit = {s.id: s.group if by == "patient" else s.id for s in samples}
    names = sorted(set(unit.values()))
    wanted = [k for k, share in enumerate(shares) if share > 0]
    if len(names) < len(wanted):
        what = "patients" if by == "patient" else "pictures"
        raise DataError(
            f"{len(names)} {what} can't fill {len(wanted)} splits. Give more, or leave splits out by a share of 0."
        )
    kinds = sorted(set(views.values()) | {UNKNOWN})
    counts = np.zeros((len(names), len(kinds)))
    row, column = {n: k for k, n in enumerate(names)}, {v: k for k, v in enumerate(kinds)}
    for sample in samples:
        counts[row[unit[sample.id]], column[views.get(sample.id, UNKNOWN)]] += 1
    share = np.array([shares[k] for k in wanted]) / sum(shares)
    chosen = _dealt(counts[:, counts.any(axis=0)], share, seed)
    split = {name: SPLITS[wanted[k]] for name, k in zip(names, chosen.tolist(), strict=True)}
    return [replace(s, split=split[unit[s.id]]) for s in samples]


def _dealt(counts: NDArray[np.float64], share: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Split of each unit, ``(units,)``: the best of several orders.

    Args:
        counts: ``(units, views)`` pictures.
        share: ``(splits,)``, sums to 1.
        seed: of the orders.
    """
    # the total is one more column; relative to its sum a rare view weighs as much as a common one
    table = np.concatenate([counts, counts.sum(axis=1, keepdims=True)], axis=1)
    table = table / table.sum(axis=0)
    rng = rng_for(seed, "vessel split")
    best, least = np.zeros(len(table), np.int64), np.inf
    for _ in range(max(1, min(ORDERS, WORK // len(table)))):
        shuffled = rng.permutation(len(table))
        order = shuffled[np.argsort(-counts.sum(axis=1)[shuffled], kind="stable")]
        chosen, cost = _deal(table, share, order)
        if cost < least - 1e-12:
            best, least = chosen, cost
    return best


def _deal(
    table: NDArray[np.float64], share: NDArray[np.float64], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], float]:
    """Split of each unit in this order, and how far the result is from what is wanted (sum of squares)."""
    lacking = share[:, None] * np.ones(table.shape[1])
    chosen = np.zeros(len(table), np.int64)
    empty = set(range(len(share)))
    for place, k in enumerate(order.tolist()):
        gain = lacking @ table[k]
        if len(order) - place <= len(empty):  # every split gets one
            gain = np.where(np.isin(np.arange(len(share)), list(empty)), gain, -np.inf)
        to = int(np.argmax(gain))
        empty.discard(to)
        chosen[k] = to
        lacking[to] -= table[k]
    return chosen, float((lacking**2).sum())
