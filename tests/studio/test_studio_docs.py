"""The how-to of the API and the lines of the API page do what they say, as they stand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fieldsight import registry
from fieldsight.studio import api
from fieldsight.studio.context import PageContext
from fieldsight.studio.form import taken

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "studio-api.md"


@pytest.fixture
def here(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder with a layout of one's own."""
    for name in ("cell.gds", "layout.gds"):
        shutil.copyfile(inputs / "cell.gds", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def shell(text: str) -> str:
    if not (shutil.which("curl") and shutil.which("sh")):
        pytest.skip("no curl here")
    done = subprocess.run(["sh", "-eu"], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(text: str) -> list[dict[str, Any]]:
    """What streams of events ended with."""
    events = re.findall(r"^event: complete\ndata: (.*)$", text, re.MULTILINE)
    assert "event: error" not in text, text
    return [json.loads(e)[0] for e in events]


def test_the_python_of_the_page(studio: Any, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = blocks("py")
    assert api.DEFAULT in text
    scope: dict[str, Any] = {}
    exec(compile(text.replace(api.DEFAULT, studio.address), str(PAGE), "exec"), scope)  # noqa: S102  our own page
    assert scope["result"]["summary"]["layer"].startswith("67/20")
    assert len(scope["result"]["summary"]["hotspots"]) <= 5
    assert all(Path(p).is_file() for p in scope["answer"]["files"])
    table = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE))))
    assert set(scope["answer"]) == table  # the page lists every key
    assert "--hotspots 5" in capsys.readouterr().out


def test_the_curl_of_the_page(studio: Any, here: Path) -> None:
    start, *rest = blocks("sh")
    assert start == "fieldsight studio --port 8765\n"
    found = answers(shell("\n".join(rest).replace(api.DEFAULT, studio.address)))
    assert [a["results"][0]["name"] for a in found] == ["cell.gds", "resnet18"]
    assert "--batch 16" in found[1]["command"]


def test_the_lines_of_the_api_page(studio: Any, here: Path) -> None:
    spec = registry.get("sem")
    context: PageContext = SimpleNamespace(spec=spec)  # type: ignore[assignment]
    given = context, spec.main, taken(spec, spec.main), studio.address
    (answer,) = answers(shell(api.http_snippet(*given)))
    assert answer["results"][0]["name"] == "layout.gds"
    scope: dict[str, Any] = {}
    exec(api.client_snippet(*given), scope)  # noqa: S102  our own page
    assert scope["answer"]["results"][0]["summary"] == answer["results"][0]["summary"]


def test_the_numbers_of_the_page() -> None:
    from fieldsight.studio import app, form, results, tab

    shelf = results.Shelf(Path("nowhere"))
    words = PAGE.read_text(encoding="utf-8")
    assert f"{app.MAX_UPLOAD // 2**20} MB and a call {form.MAX_FILES} files" in words
    assert tab.WORK["concurrency_limit"] == 2
    assert "Two calls compute at a time; up to 64 wait" in words
    assert f"until {shelf._most} newer ones are there, or {shelf._limit // 2**30} GB" in words
