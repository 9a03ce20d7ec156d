"""What tests of `crack` share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fieldsight import progress


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The notes that people are told meanwhile; no progress bars."""
    lines: list[str] = []
    with progress.watching(progress.silent, lines.append):
        yield lines
