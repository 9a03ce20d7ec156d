"""One thread owns the detector; clients take turns, and what they send faster than that is dropped, not queued."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.errors import FieldsightError
from fieldsight.systems.edge import protocol
from fieldsight.systems.edge.protocol import Frame, FrameError

#: Clients at once, and bytes of all frames that wait.
MOST, MOST_BYTES = 24, 128 * 2**20

Find = Callable[[Picture], Detections]
Words = dict[str, Any]
Tell = Callable[[Words], None]


class Job(NamedTuple):
    """A frame that waits, when it came by the server's clock, and who takes its answer."""

    frame: Frame
    received: float
    tell: Tell


class FullError(FieldsightError):
    """There are as many clients as are taken."""


class Line:
    """The frames of one client that wait.

    Args:
        name: for people.
        depth: frames that may wait.
        tell: takes answers, in the worker's thread or the caller's; must not raise or block.
    """

    def __init__(self, name: str, depth: int, tell: Tell) -> None:
        self.name, self.depth, self.tell = name, depth, tell
        self.waiting: deque[Job] = deque()
        self.answered = self.dropped = self.bad = 0
        self.gone = False


class Worker:
    """Finds boxes in the frames of all clients, one after the other.

    Args:
        make: gives the detector; called in the worker's thread, at the first client.
        depth: frames of a client that may wait; a new one pushes the oldest out.
        clock: seconds.
    """

    def __init__(
        self, make: Callable[[], Find], depth: int = 1, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.make, self.depth, self.clock = make, depth, clock
        self.lines: set[Line] = set()
        self.answered = self.dropped = self.bad = 0
        self.problem = ""
        self._turns: deque[Line] = deque()  # lines with waiting frames, the next one first
        self._bytes = 0
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False

    # ------------------------------------------------------------------------------------------- for clients

    def open(self, name: str, tell: Tell, depth: int | None = None, counted: bool = True) -> Line:
        """A new client.

        Args:
            name: for people.
            tell: takes its answers.
            depth: frames that may wait, if other than the worker's.
            counted: False for what the server opens for itself.

        Raises:
            FullError: there are :data:`MOST` already, or the worker has been closed.
        """
        with self._news:
            if self._ended:
                raise FullError("The server is closing.")
            if counted and len(self.lines) >= MOST:
                raise FullError(f"{MOST} clients are connected; that is as many as this server takes.")
            line = Line(name, depth or self.depth, tell)
            if counted:
                self.lines.add(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="edge detector", daemon=True)
                self._thread.start()
        return line

    def put(self, line: Line, frame: Frame, received: float, tell: Tell | None = None) -> None:
        """Have a frame looked at; where too many wait, the client's oldest is told as dropped.

        Args:
            line: the client's.
            frame: the frame.
            received: when it came, by :attr:`clock`.
            tell: takes the answer, where that is not the line's.
        """
        job, out = Job(frame, received, tell or line.tell), []
        with self._news:
            if line.gone or self._ended:
                return
            size = len(frame.data)
            while line.waiting and (len(line.waiting) >= line.depth or self._bytes + size > MOST_BYTES):
                out.append(line.waiting.popleft())
                self._bytes -= len(out[-1].frame.data)
            if self._bytes + size > MOST_BYTES:
                out.append(job)
            else:
                line.waiting.append(job)
                self._bytes += size
            if line.waiting and line not in self._turns:
                self._turns.append(line)
            line.dropped += len(out)
            self.dropped += len(out)
            self._news.notify()
        for old in out:
            old.tell({"id": old.frame.id, "client": old.frame.sent, "dropped": "newer frames came before its turn"})

    def wrong(self, line: Line, error: FrameError, tell: Tell | None = None) -> None:
        """Tell a client that a message was no frame that can be used."""
        with self._news:
            line.bad += 1
            self.bad += 1
        (tell or line.tell)({"id": error.id, "error": str(error)})

    def leave(self, line: Line) -> None:
        """A client has gone: what it sent is forgotten, and what is being looked at has no receiver."""
        with self._news:
            line.gone = True
            self.lines.discard(line)
            self._bytes -= sum(len(job.frame.data) for job in line.waiting)
            line.waiting.clear()
            if line in self._turns:
                self._turns.remove(line)

    def close(self, patience: float = 5.0) -> None:
        """End the thread, after the frame that it looks at."""
        with self._news:
            self._ended = True
            self._news.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(patience)

    def status(self) -> Words:
        """What goes on, plain values."""
        with self._news:
            return {
                "clients": len(self.lines), "waiting": sum(len(line.waiting) for line in self._turns),
                "answered": self.answered, "dropped": self.dropped, "bad": self.bad, "problem": self.problem,
            }  # fmt: skip

    # -------------------------------------------------------------------------------------------- the thread

    def _next(self) -> tuple[Line, Job] | None:
        with self._news:
            while not self._turns and not self._ended:
                self._news.wait()
            if self._ended:
                return None
            line = self._turns.popleft()
            job = line.waiting.popleft()
            self._bytes -= len(job.frame.data)
            if line.waiting:  # behind all others
                self._turns.append(line)
        return line, job

    def _work(self) -> None:
        try:
            find = self.make()
        except Exception as error:  # told to every client; the server stays to say so
            find = None
            self.problem = f"the detector can't be loaded: {error}"
        while (got := self._next()) is not None:
            line, job = got
            try:
                words = self._answer(find, job.frame, job.received)
            except FrameError as error:
                self.wrong(line, error, job.tell)
                continue
            except Exception as error:  # one frame that the detector can't take must not end the others
                self.wrong(line, FrameError(f"the detector failed: {str(error)[:200]}", job.frame.id), job.tell)
                continue
            with self._news:
                line.answered += 1
                self.answered += 1
            job.tell(words)

    def _answer(self, find: Find | None, frame: Frame, received: float) -> Words:
        if find is None:
            raise FrameError(self.problem, frame.id)
        started = self.clock()
        picture = protocol.decode(frame)
        decoded = self.clock()
        found = find(picture)
        words = protocol.answer(frame, found, (picture.shape[0], picture.shape[1]))
        times: Mapping[str, float] = {
            "received": received, "started": started, "decoded": decoded, "finished": self.clock(),
        }  # fmt: skip
        return {**words, **times}
