"""Splits by group: what belongs together (rotations of a layout, slices of a patient) stays on one side."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.data.files import write_text
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError


@dataclass(frozen=True)
class Row:
    """One item of a manifest: its id, the group it belongs to, the split it is in, and free columns."""

    id: str
    group: str
    split: str
    extra: Mapping[str, str]


def split_groups(groups: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Assign whole groups to splits.

    Args:
        groups: group of each item; only their distinct values matter, in any order.
        shares: split name to its share of groups; shares are scaled to sum to 1.
        seed: the assignment depends on seed and group names only.

    Returns:
        group to split name. Every split with a positive share gets at least one group.

    Raises:
        DataError: fewer groups than splits.
    """
    distinct = sorted(set(groups))
    wanted = {name: share for name, share in shares.items() if share > 0}
    if len(distinct) < len(wanted):
        raise DataError(f"{len(distinct)} groups can't fill {len(wanted)} splits ({', '.join(wanted)}).")
    order = [distinct[i] for i in rng_for(seed, "split").permutation(len(distinct))]
    counts = _whole_counts(list(wanted.values()), len(order))
    assigned, start = {}, 0
    for name, count in zip(wanted, counts, strict=True):
        for group in order[start : start + count]:
            assigned[group] = name
        start += count
    return assigned


def _whole_counts(shares: list[float], total: int) -> list[int]:
    """Largest remainders, at least one each."""
    exact = np.array(shares) / sum(shares) * total
    counts = np.maximum(np.floor(exact + 1e-9).astype(int), 1)
    while counts.sum() < total:
        counts[int(np.argmax(exact - counts))] += 1
    while counts.sum() > total:
        counts[int(np.argmax(np.where(counts > 1, counts - exact, -np.inf)))] -= 1
    return [int(c) for c in counts]


def folds(groups: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """Partition distinct groups into ``count`` folds of near equal size.

    Raises:
        DataError: fewer groups than folds.
    """
    distinct = sorted(set(groups))
    if len(distinct) < count:
        raise DataError(f"{len(distinct)} groups can't make {count} folds. Use at most {len(distinct)}.")
    order = rng_for(seed, "folds").permutation(len(distinct))
    return [[distinct[i] for i in order[start::count]] for start in range(count)]


def check_leakage(rows: Iterable[Row], contents: Mapping[str, Any] | None = None) -> None:
    """Make sure that no group, and no content, is in two splits.

    Args:
        rows: the manifest.
        contents: id to array or bytes; equal contents under different ids are found too.

    Raises:
        DataError: lists the groups and the pairs of ids that leak.
    """
    by_group: dict[str, set[str]] = defaultdict(set)
    by_content: dict[Hashable, dict[str, str]] = defaultdict(dict)
    for row in rows:
        by_group[row.group].add(row.split)
        if contents is not None and row.id in contents:
            by_content[_digest(contents[row.id])].setdefault(row.split, row.id)
    problems = [f"group '{g}' is in {' and '.join(sorted(s))}" for g, s in by_group.items() if len(s) > 1]
    for found in by_content.values():
        if len(found) > 1:
            problems.append("the same content is in " + " and ".join(f"{s} as '{i}'" for s, i in found.items()))
    if problems:
        shown = "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")
        raise DataError(f"The splits leak: {shown}. Split by group, and remove duplicates.")


def write_manifest(path: str | Path, rows: Sequence[Row]) -> Path:
    """Write a manifest as CSV with the columns id, group, split and the extra ones."""
    import io

    columns = list(dict.fromkeys(k for row in rows for k in row.extra))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["id", "group", "split", *columns])
    for row in rows:
        writer.writerow([row.id, row.group, row.split, *(row.extra.get(c, "") for c in columns)])
    return write_text(path, buffer.getvalue())


def read_manifest(path: str | Path) -> list[Row]:
    """Read a manifest that :func:`write_manifest` wrote, or one with the columns id, group and split.

    Raises:
        DataError: absent, not text, a column is missing, or an id appears twice.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [c for c in ("id", "group", "split") if c not in (reader.fieldnames or [])]
            if missing:
                raise DataError(f"'{path}' lacks the columns {', '.join(missing)}. A manifest has id, group, split.")
            rows = []
            for values in reader:
                extra = {k: v or "" for k, v in values.items() if k and k not in ("id", "group", "split")}
                rows.append(Row(values["id"] or "", values["group"] or "", values["split"] or "", extra))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Can't read the manifest '{path}': {error}.") from None
    ids = [row.id for row in rows]
    doubled = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []
    if doubled:
        raise DataError(f"'{path}' lists the id '{doubled[0]}' more than once.")
    return rows


def _digest(content: Any) -> str:
    data = content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes()
    return hashlib.sha256(data).hexdigest()
