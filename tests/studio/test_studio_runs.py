"""The runs browser shows what is there, survives what is broken, and never leaves its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from fieldsight.studio import runs as browser


@pytest.fixture
def zoo(runs: Path, tmp_path: Path) -> Path:
    """A good run, a second one with other options, a running one, and broken ones."""
    folder = tmp_path / "runs"
    shutil.copytree(runs / "first", folder / "good")
    shutil.copytree(runs / "first", folder / "other")
    config = folder / "other" / "config.toml"
    config.write_text(config.read_text().replace("epochs = 8", "epochs = 9"))
    info = json.loads((folder / "other" / "run.json").read_text())
    (folder / "other" / "run.json").write_text(json.dumps({**info, "created": "2001-01-01T00:00:00+00:00"}))
    for name, text in {
        "torn": '{"format": 1, "system"',
        "list": "[1, 2]",
        "newer": '{"format": 99}',
        "binary": "\x00\x01",
    }.items():
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(text)
    (folder / "bare").mkdir()
    (folder / "bare" / "run.json").write_text('{"format": 1, "stages": 3, "metrics": [1], "state": {"x": 1}}')
    (folder / "log").mkdir()
    (folder / "log" / "run.json").write_text('{"format": 1, "system": "nope", "state": "running"}')
    (folder / "log" / "metrics.jsonl").write_text('{"loss": "x"}\n[1]\n{"stage": 1}\nno json\n')
    (folder / "empty").mkdir()
    (folder / "a file").write_text("no run")
    return folder


def test_the_list_shows_runs_and_names_the_damaged(zoo: Path) -> None:
    found = browser.all_runs(zoo)
    assert {r.path.name for r in found} == {"good", "other", "bare", "log"}
    assert browser.damaged(zoo) == ["binary", "list", "newer", "torn"]
    html = browser.overview_html(zoo, found)
    for name in ("good", "torn", "4 folders", "mae"):
        assert name in html


def test_an_empty_folder_says_how_to_begin(tmp_path: Path) -> None:
    html = browser.overview_html(tmp_path / "nowhere", browser.all_runs(tmp_path / "nowhere"))
    assert "fieldsight sem train" in html


def test_details_hold_all_that_a_run_is(zoo: Path) -> None:
    html, card, report = browser.details(zoo, "good")
    for part in ("Command", "Metrics", "coverage", "Stages", "baseline", "<svg", "config.toml", "epochs"):
        assert part in html, part
    assert card.startswith("#")
    assert "/reports/good/report.html" in report


@pytest.mark.parametrize("name", ["bare", "log", "torn", "empty", "nowhere", "", None, "..", "a file"])
def test_broken_runs_break_nothing(zoo: Path, name: str | None) -> None:
    html, card, report = browser.details(zoo, name)
    assert isinstance(html, str)
    assert card == report == ""


def test_what_a_run_says_is_text_and_no_markup(zoo: Path) -> None:
    path = zoo / "good" / "run.json"
    info = json.loads(path.read_text())
    evil = "<img src=x onerror=alert(1)>"
    path.write_text(json.dumps({**info, "command": evil, "preset": evil, "state": evil, "metrics": {evil: 1.0}}))
    (zoo / "good" / "config.toml").write_text(f'name = "{evil}"\n')
    pages = "".join(browser.details(zoo, "good")) + browser.overview_html(zoo, browser.all_runs(zoo))
    pages += browser.compare(zoo, "good", "other")
    assert "<img" not in pages
    assert "&lt;img" in pages


def test_two_runs_side_by_side(zoo: Path) -> None:
    html = browser.compare(zoo, "good", "other")
    assert "difference" in html
    assert "epochs" in html
    assert browser.compare(zoo, "good", None) == ""
    assert browser.compare(zoo, "good", "torn") == ""


def test_a_new_run_changes_the_stamp(zoo: Path) -> None:
    before = browser.overview_stamp(zoo)
    assert browser.overview_stamp(zoo) == before
    shutil.copytree(zoo / "good", zoo / "third")
    assert browser.overview_stamp(zoo) != before


@pytest.mark.parametrize("name", ["..", ".", "../secret", "good/../../secret", "/etc", "C:evil", "good\0", "\\evil"])
def test_no_name_leaves_the_folder(zoo: Path, name: str) -> None:
    secret = zoo.parent / "secret"
    shutil.copytree(zoo / "good", secret, dirs_exist_ok=True)
    assert browser.run_of(zoo, name) is None
    assert browser.report_of(zoo, name) is None


def test_no_link_leads_out(zoo: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    shutil.copytree(zoo / "good", secret)
    try:
        (zoo / "link").symlink_to(secret, target_is_directory=True)
        (zoo / "good" / "report.html").unlink()
        (zoo / "good" / "report.html").symlink_to(secret / "report.html")
        (zoo / "other" / "config.toml").unlink()
        (zoo / "other" / "config.toml").symlink_to(secret / "config.toml")
    except OSError:
        pytest.skip("no links on this file system")
    assert browser.run_of(zoo, "link") is None
    assert browser.report_of(zoo, "link") is None
    assert browser.report_of(zoo, "good") is None
    assert browser.run_of(zoo, "other") is None
    assert {r.path.name for r in browser.all_runs(zoo)} == {"good", "bare", "log"}


def test_the_report_is_served_and_nothing_beside_it(studio: Any) -> None:
    answer = httpx.get(f"{studio.address}/reports/first/report.html")
    assert answer.status_code == 200
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html")
    for path in (
        "first/run.json", "first/model/weights.safetensors", "../runs/first/report.html", "%2e%2e/first/report.html",
        "..%2f..%2fetc/report.html", "nope/report.html", "first/..%2freport.html", "first/report.html/..",
    ):  # fmt: skip
        assert httpx.get(f"{studio.address}/reports/{path}").status_code in (404, 405), path
