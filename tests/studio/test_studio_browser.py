"""A real browser drives the Studio: every page at two widths, uploads, results, errors, stop and Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldsight import registry

pytestmark = pytest.mark.studio

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """``fieldsight studio`` as people start it; ends by Ctrl-C, with a page still open."""
    if CHROMIUM is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    process = start(runs, tmp_path_factory.mktemp("cwd"))
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Studio: "), process.communicate()
    process.address = line.split()[1]  # type: ignore[attr-defined]
    yield process
    process.kill()
    process.communicate()


def start(runs: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fieldsight", "studio", "--port", "0", "--runs", str(runs)], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield opened
        opened.close()


class Tab:
    """A page that remembers what went wrong in it."""

    def __init__(self, browser: Any, address: str, width: int = 1280, dark: bool = False) -> None:
        scheme = "dark" if dark else "light"
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page, self.address = self.context.new_page(), address
        self.faults: list[str] = []
        self.page.on("console", lambda m: self.faults.append(f"console: {m.text}") if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.faults.append(f"script: {e}"))
        self.page.on("request", self._request)
        self.page.on("response", lambda r: self.faults.append(f"{r.status} {r.url}") if r.status >= 400 else None)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, self.address.replace("http", "ws"), "data:", "blob:")):
            self.faults.append(f"foreign: {request.url}")

    def open(self, path: str) -> Any:
        self.page.goto(self.address + path)
        self.page.wait_for_selector(".fs-page h1")
        self.page.wait_for_timeout(1500)
        return self.page

    def sound(self) -> None:
        """No fault so far, and nothing wider than the window."""
        assert not self.faults
        wide, window = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window


@pytest.fixture
def tab(server: Any, browser: Any) -> Iterator[Tab]:
    opened = Tab(browser, server.address)
    yield opened
    opened.context.close()


def paths() -> list[str]:
    return ["/", *(f"/{id}" for id in registry.SYSTEMS), "/runs", "/api"]


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_at_two_widths(server: Any, browser: Any, width: int) -> None:
    opened = Tab(browser, server.address, width)
    for path in paths():
        page = opened.open(path)
        opened.sound()
        for name in page.locator("[role=tab]").all_inner_texts():
            page.get_by_role("tab", name=name, exact=True).click()
            page.wait_for_timeout(300)
            opened.sound()
    opened.context.close()


def test_a_dark_desktop_changes_nothing(server: Any, browser: Any) -> None:
    opened = Tab(browser, server.address, dark=True)
    for path in ("/", "/sem"):
        page = opened.open(path)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(28, 36, 48)"
    opened.sound()
    opened.context.close()


def test_an_example_is_one_press_away(tab: Tab) -> None:
    page = tab.open("/sem")
    page.get_by_role("button", name="Memory cells").first.click()
    page.wait_for_selector("#sem-predict-result .fs-facts", timeout=60_000)
    page.wait_for_selector("#sem-predict-result img")
    page.get_by_text("Cell SRAM").wait_for()
    before = page.locator("#sem-predict-result .fs-plot svg").inner_html()
    box = page.locator("#sem-predict-result img").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.2)  # moves the line scan
    page.wait_for_function(
        "old => document.querySelector('#sem-predict-result .fs-plot svg').innerHTML !== old", arg=before
    )
    page.get_by_text("Width", exact=True).first.click()
    page.get_by_text("Upper minus lower bound").wait_for()
    page.get_by_text("The same call elsewhere").first.click()
    page.get_by_text("fieldsight sem predict sram.gds").first.wait_for()
    with page.expect_download() as download:
        page.get_by_text("Download all (ZIP)").first.click()
    assert download.value.suggested_filename == "results.zip"
    tab.sound()


def test_uploads_give_results_and_errors_where_one_looks(tab: Tab, inputs: Path) -> None:
    page = tab.open("/sem")
    page.click("#sem-predict-run")
    page.get_by_text("Give layout").wait_for()
    sent = [str(inputs / n) for n in ("cell.gds", "mask.png", "short.png")]
    page.locator("input[type=file]").first.set_input_files(sent)
    page.get_by_text("Cell TOP").wait_for()
    page.get_by_label("Layer").first.click()
    page.get_by_role("option", name="67/20 li1").first.click()
    page.click("#sem-predict-run")
    page.wait_for_selector("#sem-predict-result .fs-facts", timeout=60_000)
    error = page.locator("#sem-predict-result .fs-error").inner_text()
    assert "1 of 3 could not be used" in error
    assert "short.png" in error
    assert "/" not in error.split("short.png", 1)[1].split(":")[0]
    page.get_by_label("Result", exact=True).click()
    page.get_by_role("option", name="2 of 3: mask.png").click()
    page.locator("#sem-predict-result .fs-facts").get_by_text("56", exact=True).wait_for()
    tab.sound()


def test_work_shows_its_progress_and_stops(tab: Tab) -> None:
    page = tab.open("/sem")
    page.get_by_role("tab", name="Simulate").click()
    page.get_by_label("Pattern").click()
    page.get_by_role("option", name="gratings").click()
    page.get_by_label("Count").fill("2000")
    page.click("#sem-simulate-run")
    page.get_by_text("of 2000").wait_for(timeout=60_000)
    page.click("#sem-simulate-stop")
    page.get_by_text("Stopped.").wait_for(timeout=5_000)
    page.get_by_label("Count").fill("2")
    page.click("#sem-simulate-run")
    page.get_by_text("1 of 2: gratings-0000").wait_for(timeout=60_000)
    tab.sound()


def test_the_runs_browser_shows_a_run_and_its_report(tab: Tab) -> None:
    page = tab.open("/runs?run=first")
    page.wait_for_selector(".fs-run")
    page.locator(".fs-svg svg").first.wait_for()
    frame = page.locator("iframe").first
    frame.scroll_into_view_if_needed()
    page.frame_locator("iframe").first.get_by_text("training run").wait_for()
    tab.sound()


def test_ctrl_c_ends_well_with_a_page_open_and_work_under_way(runs: Path, browser: Any, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    process = start(runs, tmp_path)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        opened = Tab(browser, address)
        page = opened.open("/sem")
        page.get_by_role("tab", name="Simulate").click()
        page.get_by_label("Pattern").click()
        page.get_by_role("option", name="gratings").click()
        page.get_by_label("Count").fill("2000")
        page.click("#sem-simulate-run")
        page.get_by_text("of 2000").wait_for(timeout=60_000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
        opened.context.close()
    finally:
        process.kill()
    assert process.returncode == 0
    assert (out, err) == ("", "")
