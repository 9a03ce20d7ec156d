"""Numbers per item, gathered in any order, merged from any shards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldsight.errors import DataError
from fieldsight.predictions import Table


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation (n - 1) and count over items; NaN items (empty cases) are left out and counted."""

    mean: float
    std: float
    n: int
    empty: int


class PerItem:
    """Accumulate one dictionary of numbers an item; merge shards; compute means over items or over groups.

    The result does not depend on order or sharding: items are sorted by id and summed exactly.
    """

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, dict[str, float]]] = {}

    def add(self, id: str, values: Mapping[str, float], group: str = "") -> None:
        """Record the numbers of one item.

        Raises:
            DataError: the id was recorded before.
        """
        if id in self._rows:
            raise DataError(f"The item '{id}' was measured twice.")
        self._rows[id] = (group or id, {name: float(value) for name, value in values.items()})

    def merge(self, other: PerItem) -> PerItem:
        """Take over another shard's items; returns itself."""
        for id, (group, values) in other._rows.items():
            self.add(id, values, group)
        return self

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> list[str]:
        """Names of the numbers, in the order first seen by id."""
        return list(dict.fromkeys(name for _, (_, values) in sorted(self._rows.items()) for name in values))

    def column(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One number of all items, ordered by id; NaN where it is missing."""
        return np.array([values.get(name, math.nan) for _, (_, values) in sorted(self._rows.items())])

    def groups(self) -> list[str]:
        """Group of each item, ordered by id."""
        return [group for _, (group, _) in sorted(self._rows.items())]

    def by_group(self) -> PerItem:
        """Means within each group, as items of their own: the independent units of a test."""
        gathered: dict[str, list[dict[str, float]]] = {}
        for _, (group, values) in sorted(self._rows.items()):
            gathered.setdefault(group, []).append(values)
        result = PerItem()
        for group, rows in gathered.items():
            names = dict.fromkeys(name for row in rows for name in row)
            result.add(
                group, {n: _mean([row[n] for row in rows if n in row and not math.isnan(row[n])]) for n in names}
            )
        return result

    def summary(self, name: str) -> Summary:
        """Mean and spread of one number over items."""
        values = [v for v in self.column(name) if not math.isnan(v)]
        mean = _mean(values)
        std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else 0.0
        return Summary(mean, std, len(values), len(self._rows) - len(values))

    def compute(self) -> dict[str, float]:
        """Mean of every number over items."""
        return {name: self.summary(name).mean for name in self.names()}

    def table(self, title: str, units: Mapping[str, str] | None = None) -> Table:
        """All items as rows."""
        columns = {"id": "", "group": "", **{n: (units or {}).get(n, "") for n in self.names()}}
        rows = [{"id": id, "group": group, **_clean(values)} for id, (group, values) in sorted(self._rows.items())]
        return Table(columns, rows, title)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.nan


def _clean(values: Mapping[str, float]) -> dict[str, float | None]:
    return {k: None if math.isnan(v) else v for k, v in values.items()}
