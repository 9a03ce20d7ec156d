"""One configuration being measured, in the process at hand or in one of its own.

Its own process is ``python -m fieldsight.systems.edge.bench_child``: the first line of its input is the job, each
further line an order, and each line of its output an answer, all in JSON. Whatever else the runtimes print goes to
stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fieldsight.errors import DataError

if TYPE_CHECKING:
    from fieldsight.systems.edge.backends import Session


@dataclass(frozen=True)
class Job:
    """What is measured; plain values only.

    Attributes:
        backend, precision: the runtime and its numbers.
        path: what was written for it.
        threads: of the runtime.
        processors: numbers of those it may use; none: any.
        input: a NumPy file with the one input ``(1, 3, S, S)`` float32 that all runtimes are timed with.
        photos: files that the whole loop reads.
        side: pixels a side of the network's input.
        suppression: options of the suppression.
    """

    backend: str
    precision: str
    path: str
    threads: int
    processors: tuple[int, ...]
    input: str
    photos: tuple[str, ...]
    side: int
    suppression: Mapping[str, Any]

    def to_line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, text: str) -> Job:
        """Back from :meth:`to_line`."""
        told = json.loads(text)
        return cls(**{**told, "processors": tuple(told["processors"]), "photos": tuple(told["photos"])})


class Worker:
    """Loads a configuration and times it on order.

    Args:
        job: what to measure.
        session: already open, where the runtime is in this process only; its load is then not timed.
    """

    def __init__(self, job: Job, session: Session | None = None) -> None:
        import numpy as np

        from fieldsight.nn.detection.nms import Suppression
        from fieldsight.systems.edge.backends import backend

        self.job, self._place = job, 0
        self._rules = Suppression(**job.suppression)
        self._input = np.ascontiguousarray(np.load(job.input, allow_pickle=False))
        before = time.perf_counter()
        self._session = session or backend(job.backend).opening(Path(job.path), job.precision, job.threads)
        self._session(self._input)  # runtimes put off work to their first call
        self.load = time.perf_counter() - before

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Do what an order says: ``call``, ``loop``, ``video`` or ``tell``."""
        if order["do"] == "call":
            return {"seconds": self.calls(int(order["times"]))}
        if order["do"] == "loop":
            return self.loop(float(order["seconds"]))
        if order["do"] == "video":
            return self.video(Path(order["file"]), int(order["most"]))
        return {"load": self.load, "memory_mb": peak_memory()}

    def calls(self, times: int) -> list[float]:
        """Seconds of each call of the network alone, always on the same bytes."""
        found = []
        for _ in range(times):
            before = time.perf_counter()
            self._session(self._input)
            found.append(time.perf_counter() - before)
        return found

    def loop(self, seconds: float) -> dict[str, Any]:
        """The whole loop over photos for a time: read and letterbox, network, suppression and boxes in the photo.

        Returns:
            Seconds of each part of each frame, and of all together.
        """
        from fieldsight.data.detection.letterbox import read_photo

        parts: dict[str, list[float]] = {"pre": [], "model": [], "post": []}
        start = now = time.perf_counter()
        while now - start < seconds or not parts["pre"]:
            photo = Path(self.job.photos[self._place % len(self.job.photos)])
            self._place += 1
            now = self._frame(read_photo, photo, parts)
        return {**parts, "seconds": now - start}

    def video(self, file: Path, most: int) -> dict[str, Any]:
        """The whole loop from a video file; one that ends before its header says is measured as far as it goes."""
        from fieldsight.data.video import Video

        video, parts = Video(file), {"pre": list[float](), "model": list[float](), "post": list[float]()}
        expected = min(video.count, most) if most else video.count
        start = now = time.perf_counter()
        frames = 0
        try:
            while frames < expected:
                try:
                    now = self._frame(video, frames, parts)
                except DataError:
                    if not frames:
                        raise
                    break
                frames += 1
        finally:
            video.close()
        return {"frames": frames, "expected": expected, "seconds": now - start}

    def _frame(self, read: Any, item: Any, parts: dict[str, list[float]]) -> float:
        from fieldsight.data.detection.letterbox import preprocess
        from fieldsight.nn.detection.nms import suppress

        begin = time.perf_counter()
        pixels, where = preprocess(read(item), self.job.side)
        fed = time.perf_counter()
        output = self._session(pixels)
        told = time.perf_counter()
        (rows,) = suppress(output, self._rules)
        where.back(rows[:, :4])
        end = time.perf_counter()
        for name, value in (("pre", fed - begin), ("model", told - fed), ("post", end - told)):
            parts[name].append(value)
        return end


def peak_memory(status: Path = Path("/proc/self/status")) -> float | None:
    """Largest memory that this process held, in MB; None where the system does not tell.

    Linux' ``getrusage`` would also count what the parent held before this process began.
    """
    try:
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024 / 1e6
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e6 if sys.platform == "darwin" else used * 1024 / 1e6


def limits(threads: int) -> dict[str, str]:
    """Variables that hold all libraries to so many threads, idle ones asleep; set before the process starts."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def serve(orders: TextIO, answers: TextIO) -> int:
    """Take a job and orders, one a line, and answer each; ends with the input.

    An answer is an object; ``{"error": ...}`` says what went wrong, after which nothing more is answered.
    """
    try:
        job = Job.from_line(orders.readline())
        if job.processors and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, job.processors)
        import cv2
        import torch

        torch.set_num_threads(job.threads)
        cv2.setNumThreads(1)
        worker = Worker(job)
        _say(answers, {"ready": True})
        for line in orders:
            _say(answers, worker.answer(json.loads(line)))
    except Exception as error:  # whatever a runtime raises is told; the other rows go on
        _say(answers, {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"})
        return 1
    return 0


def _say(answers: TextIO, what: Mapping[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def main() -> int:
    """The process: answers go to the real stdout, all other printing to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return serve(sys.stdin, answers)


if __name__ == "__main__":
    raise SystemExit(main())
