"""Compile what the Studio's first press would wait for: draw every example, and run the default model on one.

Called once by ``setup_env.py`` with the environment's Python. numba keeps its machine code beside the sources, so the
next process reads it. Nothing depends on it: what fails here is compiled later, when somebody waits for it.

    python scripts/warm_compiled.py [SYSTEM ...]
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import fieldsight
from fieldsight import registry
from fieldsight.registry import System


def main(names: list[str]) -> int:
    for spec in registry.systems():
        if spec.examples and (not names or spec.id in names):
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
                warm(spec, Path(folder))
    return 0


def warm(spec: System, folder: Path) -> None:
    """Draw a system's examples, and use its default model on the first one that its main action takes."""
    used = False
    for example in registry.load(spec.examples)():
        with contextlib.suppress(Exception):  # it only gets slower: the Studio says what is wrong, if somebody asks
            if example.origin != "drawn" or example.write is None:
                continue
            value = example.write(folder)
            named = {name: write(folder) for name, write in example.named.items()}
            fits = spec.defaults and (not example.verbs or spec.main.name in example.verbs)
            if fits and not used:
                used = True
                getattr(fieldsight.load(spec.id), spec.main.name)(value, out=folder / "out", **named)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
