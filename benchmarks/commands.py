"""A command of the product in a process of its own: its time and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time


def timed(words: list[str], threads: int = 1) -> tuple[float, float]:
    """Seconds and peak gigabytes of a ``fieldsight`` command, Python's start included; it must succeed."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "fieldsight", *words], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, (words, child.returncode)
    return seconds, usage.ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
