"""The other end of a process that measures one configuration; see :mod:`~fieldsight.systems.edge.bench_child`."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

from fieldsight.errors import ExportError
from fieldsight.systems.edge.bench_child import Job, Worker, limits

#: Seconds that a process may take to start and load, or longer than it was asked to work.
PATIENCE = 600.0


class Measured:
    """A configuration in this process."""

    def __init__(self, job: Job, session: Any = None) -> None:
        self.job = job
        self._worker = Worker(job, session)

    def ask(self, order: Mapping[str, Any], seconds: float = 0.0) -> dict[str, Any]:
        """Have an order done."""
        return self._worker.answer(order)

    def close(self) -> None:
        """Let go of it."""
        del self._worker


class Isolated:
    """A configuration in a process of its own.

    Args:
        job: what to measure.

    Raises:
        ExportError: the process can't start or load it, with its reason.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  close() closes it
        command = [sys.executable, "-m", "fieldsight.systems.edge.bench_child"]
        environment = {**os.environ, **limits(job.threads)}
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True, encoding="utf-8",
                env=environment,
            )  # fmt: skip
        except OSError as error:
            raise ExportError(f"No process can be started: {error}") from None
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self._send(job.to_line())
            self._receive(PATIENCE)
        except ExportError:
            self.close()
            raise

    def ask(self, order: Mapping[str, Any], seconds: float = 0.0) -> dict[str, Any]:
        """Have an order done that takes about so long.

        Raises:
            ExportError: it failed, the process ended, or nothing was heard for too long.
        """
        self._send(json.dumps(order))
        return self._receive(PATIENCE + 2 * seconds)

    def close(self) -> None:
        """End the process."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # it may have ended before it took all
                process.stdin.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5.0)
        self._said.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise ExportError(self._ended()) from None

    def _receive(self, patience: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=patience)
        except queue.Empty:
            self._process.kill()
            raise ExportError(f"its process said nothing for {patience:.0f} s and was ended") from None
        if not line:
            raise ExportError(self._ended())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ExportError(str(answer["error"]))
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._process.stdout.close()
        self._answers.put("")

    def _ended(self) -> str:
        """Why there is no process any more: its signal or status, and its last words."""
        try:
            status: int | None = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            status = None
        self._said.seek(0)
        words = (self._said.read()[-2000:].strip().splitlines() or [""])[-1][:200]
        return f"its process ended with status {status}{': ' + words if words else ''}"
