"""Pages: their commands run, their Python runs, their tables are what the records say, their links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fieldsight.cli import main

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    p
    for pattern in ("README.md", "docs/**/*.md", "src/**/README.md", "benchmarks/README.md")
    for p in ROOT.glob(pattern)
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path, kind: str) -> list[str]:
    return [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language == kind]


def runnable() -> list[Path]:
    return [p for p in PAGES if blocks(p, "console") or blocks(p, "python")]


@pytest.mark.parametrize("page", runnable(), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_page_shows_runs_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``console`` blocks: every line after ``$``. ``python`` blocks: as they stand. In a fresh folder, page by page."""
    monkeypatch.chdir(tmp_path)
    _bring_inputs(tmp_path)
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            for line in text.splitlines():
                if line.startswith("$ "):
                    words = shlex.split(line[2:], comments=True)
                    assert words[0] == "fieldsight"
                    assert main(words[1:]) == 0, line
        elif language == "python":
            code = compile(text, str(page.name), "exec")
            exec(code, {"__name__": "page"})  # noqa: S102  our own pages, read from the checkout


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(script: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr().out
    assert said.strip()
    if script.stem == "own_microscope":
        shipped, own = (float(n) for n in re.findall(r"coverage (\d\.\d+)", said))
        assert shipped < 0.8 < 0.87 < own < 0.93


def _bring_inputs(folder: Path) -> None:
    """What pages call "yours": a small layout file."""
    import numpy as np

    from fieldsight.data.gds import write_polygons

    bar = np.array([[0, 0], [170, 0], [170, 1200], [0, 1200]], float)
    write_polygons(folder / "cell.gds", [bar + np.array([400 * n, 0]) for n in range(3)], (67, 20))


def test_tables_are_what_the_records_say() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/render_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run scripts/render_docs.py: {done.stdout}{done.stderr}"


def test_links_and_pictures_lead_somewhere() -> None:
    wrong = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http:", "https:")) and not (page.parent / target).exists():
                wrong.append(f"{page.relative_to(ROOT)}: {target}")
    assert not wrong


def test_the_readme_lists_every_system() -> None:
    from fieldsight import registry

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for id in registry.SYSTEMS:
        assert f"[`{id}`](src/fieldsight/systems/{id}/README.md)" in text
        assert "ready" in next(line for line in text.splitlines() if f"[`{id}`]" in line)
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    count = len(registry.SYSTEMS)
    assert f"{(*words, 'thirteen')[count - 1].capitalize()} of fourteen systems are here" in text or count == 14
    assert text.count("| planned |") == 14 - count
