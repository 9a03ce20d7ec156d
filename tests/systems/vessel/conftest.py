"""The system is not among the shipped ones yet: these tests register it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fieldsight import registry
from fieldsight.systems.vessel import SPEC


@pytest.fixture
def registered() -> Iterator[None]:
    """The house knows the system."""
    known = dict(registry._extra)
    registry.register(SPEC)
    yield
    registry._extra.clear()
    registry._extra.update(known)
