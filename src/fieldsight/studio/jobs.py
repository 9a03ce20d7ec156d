"""One piece of work: run beside the request, watched, stopped when asked."""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fieldsight import progress
from fieldsight.errors import FieldsightError

#: ``(share done or None, words)``.
Report = Callable[[float | None, str], None]


class StoppedError(FieldsightError):
    """The work was stopped by the person who started it."""

    def __init__(self) -> None:
        super().__init__("Stopped. Nothing was kept.")


@dataclass
class Job:
    """Work under way: its notes, and the flag that stops it."""

    notes: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: BaseException | None = None


class Jobs:
    """All work of one Studio, by who asked for it (a browser's session and a tab)."""

    def __init__(self) -> None:
        self._running: dict[str, list[Job]] = {}
        self._lock = threading.Lock()

    def run(self, key: str, work: Callable[[], Any], report: Report | None = None) -> tuple[Any, list[str]]:
        """Do ``work`` in a thread of its own and wait for it.

        Work that reports progress stops within its next report; other work is left to end by itself, its result
        thrown away.

        Args:
            key: who asks; :meth:`stop` takes the same.
            work: what to do.
            report: told how far it is.

        Returns:
            what ``work`` gave, and the notes it made on the way.

        Raises:
            StoppedError: :meth:`stop` was called.
            FieldsightError: whatever ``work`` raises; anything else is printed and raised as one too.
        """
        job = Job()
        with self._listed(key, job):
            context = contextvars.copy_context()
            target = lambda: context.run(_work, job, work, _watcher(job, report))  # noqa: E731
            threading.Thread(target=target, daemon=True, name=f"studio {key}").start()
            while not job.done.wait(0.05):
                if job.stop.is_set():
                    job.done.wait(0.5)  # work that reports often ends cleanly
                    raise StoppedError
        if job.error is not None:
            raise job.error
        return job.value, job.notes

    def stop(self, key: str = "") -> int:
        """Stop the work of ``key``, or all of it without one; returns how much there was."""
        with self._lock:
            found = [job for k, jobs in self._running.items() if key in ("", k) for job in jobs]
        for job in found:
            job.stop.set()
        return len(found)

    def running(self) -> int:
        """Pieces of work under way."""
        with self._lock:
            return sum(len(jobs) for jobs in self._running.values())

    @contextmanager
    def _listed(self, key: str, job: Job) -> Iterator[None]:
        with self._lock:
            self._running.setdefault(key, []).append(job)
        try:
            yield
        finally:
            with self._lock:
                self._running[key].remove(job)
                if not self._running[key]:
                    del self._running[key]


def internal(error: BaseException) -> FieldsightError:
    """The sentence for a fault of our own; the traceback goes to the terminal, never to a page."""
    traceback.print_exception(error)
    return FieldsightError(
        f"Internal error: {type(error).__name__}: {error}. This is a fault of fieldsight; "
        "the terminal that runs the Studio shows where it comes from."
    )


def _work(job: Job, work: Callable[[], Any], watcher: progress.Watcher) -> None:
    try:
        with progress.watching(watcher, job.notes.append):
            job.value = work()
    except FieldsightError as error:
        job.error = error
    except Exception as error:
        job.error = internal(error)
    finally:
        job.done.set()


def _watcher(job: Job, report: Report | None) -> progress.Watcher:
    last = [0.0]

    def watch(label: str, done: int, total: int | None, remark: str) -> None:
        if job.stop.is_set():
            raise StoppedError
        now = time.monotonic()
        if report is not None and now - last[0] > 0.1:
            last[0] = now
            words = f"{label}: {done} of {total}" if total else f"{label}: {done}"
            report(done / total if total else None, f"{words} {remark}".strip())

    return watch
