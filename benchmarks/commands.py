"""A command of the product in a process of its own: its time and its memory, and a row of what was measured."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any


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


def row_of(command: str, name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    """A row of the benchmark that ``command`` runs; a goal, where there is one, is what the value must not exceed."""
    limit = {"goal_on": "value, lower is better"} if "goal" in more else {}
    return {"name": name, "value": value, "unit": unit, "command": command, **more, **limit}
