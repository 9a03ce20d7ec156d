"""Loops compiled to machine code by numba, kept for the next process where a folder can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile at the first call; runs without the interpreter's lock."""
    import numba

    try:
        found: Any = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        found = numba.njit(nogil=True)(function)
    kept: F = found
    return kept
