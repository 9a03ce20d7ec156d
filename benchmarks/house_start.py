"""How long a person waits: help, list, and the Studio's first answer on a second start.

python -m benchmarks house_start
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

COMMAND = "python -m benchmarks house_start"


def main() -> list[dict[str, Any]]:
    rows = []
    for words in (["list"], ["--help"], ["sem", "predict", "--help"], ["energy", "estimate", "--help"]):
        times = [timed([sys.executable, "-m", "fieldsight", *words]) for _ in range(6)][1:]
        rows.append(row(f"fieldsight {' '.join(words)}", statistics.median(times), "s", goal=0.5))
    times = [timed([sys.executable, "-c", "import fieldsight"]) for _ in range(6)][1:]
    rows.append(row("import fieldsight, with Python's own start", statistics.median(times), "s", goal=0.5))
    rows.append(row("Studio: from the command to the first answer, second start", studio(), "s", goal=10.0))
    return rows


def timed(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - begun


def studio() -> float:
    """Start it twice; the second start is timed until the page answers."""
    seconds = 0.0
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        begun = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "fieldsight", "studio", "--port", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while time.perf_counter() - begun < 120:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                        answer.read()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.05)
            seconds = time.perf_counter() - begun
        finally:
            child.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
            child.wait(30)
    return seconds


def row(name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}
