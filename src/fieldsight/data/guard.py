"""A child process that reads a layout file first: a reader that crashes on a corrupt file takes only the child.

gdstk is C++ and fast, but a damaged byte in the wrong place ends its process (seen with single flipped bytes). One
child serves all files of this process; it is started at the first file and ends with us.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path

from fieldsight.data.gds_check import check_gds
from fieldsight.errors import DataError

#: Seconds a file may take, and seconds more per megabyte.
PATIENCE = (30.0, 2.0)

# Runs in the child: for every path on stdin, do with the file what open_layout and Layout will do with it.
_CHILD = """
import json, os, sys, warnings
import gdstk
warnings.simplefilter("ignore")
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
for line in sys.stdin:
    path, oasis = json.loads(line)
    try:
        library = gdstk.read_oas(path) if oasis else gdstk.read_gds(path)
        library.top_level()
        for cell in library.cells:
            cell.name
            if isinstance(cell, gdstk.Cell):
                cell.get_polygons(depth=0)
                for reference in cell.references:
                    reference.cell, reference.origin, reference.rotation
                    if reference.repetition is not None and reference.repetition.size < 1000:
                        reference.repetition.get_offsets()
        answer = ""
    except Exception as error:
        answer = str(error) or type(error).__name__
    print(json.dumps(answer), flush=True)
"""

_lock = threading.Lock()
_child: subprocess.Popen[str] | None = None


def check_layout(path: Path, oasis: bool) -> None:
    """Look at the records of a GDSII file, then read the layout file in the child.

    Raises:
        DataError: the file is not built as the format says; the reader refuses it, crashes on it, or takes too long.
    """
    if not oasis:
        check_gds(path)  # what breaks a heap need not crash the child, but crashes us later
    kind = "OASIS" if oasis else "GDSII"
    patience = PATIENCE[0] + PATIENCE[1] * path.stat().st_size / 1e6
    with _lock:
        answer = _ask(json.dumps([str(path.resolve()), oasis]), patience)
    if answer is None:
        _stop()
        raise DataError(f"'{path}' is damaged: the {kind} reader crashed on it or did not end. Export the file anew.")
    if answer:
        raise DataError(f"'{path}' is no {kind} file that can be read: {answer}")


def _ask(question: str, patience: float) -> str | None:
    """The child's answer, or None where it died or fell silent."""
    child = _running()
    assert child.stdin is not None
    assert child.stdout is not None
    answers: queue.Queue[str] = queue.Queue()
    try:
        child.stdin.write(question + "\n")
        child.stdin.flush()
    except OSError:
        return None
    reader = threading.Thread(target=lambda: answers.put(child.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        line = answers.get(timeout=patience)
    except queue.Empty:
        return None
    return str(json.loads(line)) if line else None


def _running() -> subprocess.Popen[str]:
    global _child
    if _child is None or _child.poll() is not None:
        _child = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return _child


@atexit.register
def _stop() -> None:
    """End the child."""
    global _child
    if _child is not None:
        with contextlib.suppress(OSError):
            _child.kill()
            _child.wait(5)
            for pipe in (_child.stdin, _child.stdout):
                if pipe is not None:
                    pipe.close()
        _child = None
