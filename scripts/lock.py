"""Resolve ``pyproject.toml`` for every Python it allows and write ``constraints.txt``. Called by ``make lock``.

A release of any library can break a build that was green an hour before; so ``make`` installs what is written there,
and moving forward is a commit of its own, with its own run of the tests.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from setup_env import ROOT, interpreter, pip_settings, run

HEADER = """\
# What `make` installs exactly, so that two machines get the same libraries; users' ranges are in pyproject.toml.
# Written by `make lock`. `make TORCH=any ...` leaves this file out, for a CUDA or macOS build of torch of your own.
"""
# the CPU build of torch needs none of these, and the versions follow from torch where another build does
OF_TORCH = ("nvidia-", "cuda-", "triton")
# held by hand: the torch whose CPU build is small, and the OpenCV that every record was made with
HELD = ("torch==2.13.0", "opencv-python-headless==4.14.0.94")


def main() -> int:
    python = interpreter(ROOT / ".venv")
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "held.txt"
        held.write_text("\n".join(HELD) + "\n")
        found = Path(folder) / "found.txt"
        command: list[str | Path] = [python, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
        command += ["--python-version", "3.10", "--extra", "dev", "--extra", "peers", "-c", held]
        command += ["--no-header", "--no-annotate", "--no-emit-find-links", "-o", found, ROOT / "pyproject.toml"]
        with pip_settings(python) as environment:
            if run(command, environment) != 0:
                return 1
        lines = found.read_text().splitlines()
    # torch's own line names the build found here (+cpu): any build of that version will do
    lines = sorted([line for line in lines if not line.startswith((*OF_TORCH, "torch==", "opencv-"))] + list(HELD))
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(lines) + "\n")
    print(f"constraints.txt: {len(lines)} pins")
    return 0


if __name__ == "__main__":
    sys.exit(main())
