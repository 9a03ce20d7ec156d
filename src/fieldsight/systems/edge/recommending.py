"""``recommend``: which configuration, from the paper's boards or from tables that ``bench`` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fieldsight.systems.edge.options_bench import MORE_COLUMNS
from fieldsight.systems.edge.profiles import BenchRow, read_rows
from fieldsight.systems.edge.recommend import Constraints, Recommendation, recommend


def recommend_verb(inputs: Any, options: Constraints) -> Recommendation:
    """Judge, rank and explain configurations.

    Args:
        inputs: tables of benchmarks, CSV or JSON; None for the paper's 14 configurations.
        options: what the mission needs.

    Raises:
        DataError: a table that can't be read, or one without rows.
    """
    tables = [] if inputs is None else [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    rows: list[BenchRow] = []
    for table in tables:
        rows += read_rows(table, ignore=MORE_COLUMNS)
    return recommend(options, rows or None)
