"""Loops compiled to machine code by numba, kept for the next process where a folder can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F, **options: Any) -> F:
    """Compile at the first call; runs without the interpreter's lock.

    Args:
        function: what numba understands.
        options: further ones of ``numba.njit``.
    """
    import numba

    try:
        found: Any = numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        found = numba.njit(nogil=True, **options)(function)
    kept: F = found
    return kept


def compiled_for_rows(function: F) -> F:
    """The same for loops over rows of numbers that the processor shall take several at a time.

    A division by zero gives infinity as in numpy, not an error: the check would keep the loop from being vectorised.
    Products may be added without rounding in between.
    """
    return compiled(function, error_model="numpy", fastmath={"contract"})
