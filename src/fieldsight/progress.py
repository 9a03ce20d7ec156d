"""Progress of long work, wherever it is watched: a terminal's bar, the Studio's, or nobody.

Work says ``for x in track(items, "simulating")``; who watches is set by the command line or the Studio with
:func:`watching`. In a notebook or script on a terminal the bar appears by itself.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Watcher(Protocol):
    """Told how far a piece of work is: label, number done, number in all (None where nobody knows), remark."""

    def __call__(self, label: str, done: int, total: int | None, remark: str) -> None:
        """Take one report. ``done == total`` ends the bar of this label."""
        ...


_watcher: contextvars.ContextVar[Watcher | None] = contextvars.ContextVar("fieldsight_watcher", default=None)
_say: contextvars.ContextVar[Callable[[str], None] | None] = contextvars.ContextVar("fieldsight_say", default=None)


@contextlib.contextmanager
def watching(watcher: Watcher | None, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Let ``watcher`` see the progress, and ``say`` the notes, of everything done inside the block."""
    tokens = (_watcher.set(watcher), _say.set(say))
    try:
        yield
    finally:
        _watcher.reset(tokens[0])
        _say.reset(tokens[1])


def silent(label: str, done: int, total: int | None, remark: str) -> None:
    """A watcher that shows nothing."""


def note(text: str) -> None:
    """Say one line to whoever watches; stderr where nobody else listens."""
    say = _say.get()
    if say is not None:
        say(text)
    else:
        print(text, file=sys.stderr)


class Task:
    """A piece of work of known or unknown length; call :meth:`advance` as it goes on."""

    def __init__(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._watcher = _watcher.get() or _terminal()

    def advance(self, by: int = 1, remark: str = "") -> None:
        """Tell that ``by`` more are done."""
        self.done += by
        self._watcher(self.label, self.done, self.total, remark)

    def close(self) -> None:
        """End the bar."""
        self._watcher(self.label, self.done, self.done, "")


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Go through items and report each one done."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    task = Task(label, total)
    try:
        for item in items:
            yield item
            task.advance()
    finally:
        task.close()


def _terminal() -> Watcher:
    if not sys.stderr.isatty():
        return silent
    from fieldsight.cli.console import bar

    return bar()


def label_of(value: Any) -> str:
    """A short text for a value in a progress label."""
    text = str(value)
    return text if len(text) <= 40 else f"…{text[-39:]}"
