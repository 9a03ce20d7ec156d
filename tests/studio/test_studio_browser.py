"""A real browser drives the Studio: every page at two widths, uploads, results, errors, stop and Ctrl-C."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldsight import registry

pytestmark = [pytest.mark.studio, pytest.mark.xdist_group("browser")]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


#: What a browser's console says of answers that nobody waits for any more.
LEFT = ("console: AbortError", "console: Unexpected error Connection errored out")

#: Pairs of texts, buttons, fields and pictures of which one lies on the other.
OVERLAPS = """() => {
  const kinds = 'h1, h2, h3, p, dt, dd, th, summary, pre, button, a.fs-button, label > span, .block > span, iframe, '
    + 'input:not([type=range]), textarea, [data-testid=block-info]'
  const seen = [...document.querySelectorAll('.fs-bar a, .fs-page :is(' + kinds + ')')].filter(e => {
    const s = getComputedStyle(e)
    return e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && s.position !== 'sticky'
      && !e.closest('.fs-scroll, .fs-now, .icon-button-wrapper, .visually-hidden, .sr-only, [inert]')
      && e.innerText + e.value + e.src !== '' && e.type !== 'file'
  }).map(e => [e, e.getBoundingClientRect()]).filter(([e, r]) => r.width > 2 && r.height > 2)
  const found = []
  for (const [i, [e, r]] of seen.entries()) for (const [f, q] of seen.slice(i + 1)) {
    if (e.contains(f) || f.contains(e)) continue
    const x = Math.min(r.right, q.right) - Math.max(r.left, q.left)
    const y = Math.min(r.bottom, q.bottom) - Math.max(r.top, q.top)
    const words = g => (g.innerText || g.outerHTML).slice(0, 60)
    if (x > 3 && y > 3) found.push(words(e) + ' / ' + words(f))
  }
  return found
}"""

#: Visible fields and buttons that say nothing of what they do.
NAMELESS = """() => [...document.querySelectorAll('.fs-page :is(button, input, textarea, select)')].filter(e => {
  if (!e.checkVisibility({ opacityProperty: true, visibilityProperty: true })) return false
  if (e.closest('.visually-hidden') || e.querySelector('.image-frame')) return false
  const label = [...(e.labels || [])].map(l => l.innerText).join('')
  const caption = e.closest('.fs-drop, .fs-small-file')?.previousElementSibling?.innerText
  return !(e.innerText || e.ariaLabel || e.title || label || caption || '').trim()
}).map(e => e.outerHTML.slice(0, 120))"""


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
        self.context.set_default_timeout(120_000)  # two cores may be busy with exports beside
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
        before = len(self.faults)
        self.page.goto("about:blank")  # a page that is left while an answer comes says that it was left
        self.page.wait_for_timeout(100)
        self.faults[before:] = [f for f in self.faults[before:] if not f.startswith(LEFT)]
        self.page.goto(self.address + path)
        self.page.wait_for_selector(".fs-page h1")
        self.page.wait_for_timeout(1500)
        return self.page

    def tabs(self) -> list[str]:
        """The labels of the page's tabs; on a narrow window some are in a menu."""
        return [str(t) for t in self.page.locator(".tab-container.visually-hidden button").all_text_contents()]

    def turn_to(self, name: str) -> None:
        there = self.page.get_by_role("tab", name=name, exact=True)
        if not there.is_visible():
            self.page.get_by_label("More tabs").locator("visible=true").click()
            there = self.page.locator(".overflow-dropdown button").filter(has_text=name)
        there.click()
        self.page.wait_for_timeout(300)

    def sound(self) -> None:
        """No fault so far, nothing wider than the window, no words on top of others, no field without a name."""
        assert not self.faults
        wide, window = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window
        assert self.page.evaluate(OVERLAPS) == []
        assert self.page.evaluate(NAMELESS) == []


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
        opened.open(path)
        opened.sound()
        for name in opened.tabs():
            opened.turn_to(name)
            opened.sound()
        assert path not in ("/sem", "/energy") or len(opened.tabs()) > 1
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
    page.wait_for_selector("#sem-predict-result .fs-facts", timeout=120_000)
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
    page.get_by_role("option", name="67/20 li1 (").first.click()
    page.get_by_text("67/20 li1 is 0.19 x 0.24 µm").wait_for()
    page.click("#sem-predict-run")
    page.wait_for_selector("#sem-predict-result .fs-facts", timeout=120_000)
    error = page.locator("#sem-predict-result .fs-error").inner_text()
    assert "1 of 3 could not be used" in error
    assert "short.png" in error
    assert "/" not in error.split("short.png", 1)[1].split(":")[0]
    page.get_by_label("Result", exact=True).click()
    page.get_by_role("option", name="2 of 3: mask.png").click()
    page.locator("#sem-predict-result .fs-facts").get_by_text(re.compile(r"\b56\b.* px")).wait_for()
    tab.sound()


def test_work_shows_its_progress_and_stops(tab: Tab) -> None:
    page = tab.open("/sem")
    page.get_by_role("tab", name="Simulate").click()
    page.get_by_label("Pattern").click()
    page.get_by_role("option", name="gratings").click()
    page.get_by_label("Count").fill("2000")
    page.click("#sem-simulate-run")
    page.get_by_text("of 2000").wait_for(timeout=120_000)
    page.click("#sem-simulate-stop")
    page.get_by_text("Stopped.").wait_for(timeout=5_000)
    page.get_by_label("Count").fill("2")
    page.click("#sem-simulate-run")
    page.wait_for_function(
        "document.querySelector('#sem-simulate-result input[aria-label=Result]')?.value === '1 of 2: gratings-0000'",
        timeout=120_000,
    )
    tab.sound()


def test_an_error_speaks_of_the_page_and_not_of_flags(tab: Tab) -> None:
    page = tab.open("/sem")
    tab.turn_to("Simulate")
    page.click("#sem-simulate-run")
    page.get_by_text("a family of drawn layouts with 'Pattern'").wait_for()
    tab.sound()


def test_a_phone_is_taken_to_the_result(server: Any, browser: Any) -> None:
    opened = Tab(browser, server.address, 390)
    page = opened.open("/sem")
    page.get_by_role("button", name="Contact holes").first.click()
    page.wait_for_selector("#sem-predict-result .fs-facts", timeout=120_000)
    page.wait_for_timeout(800)
    top = page.locator("#sem-predict-result").bounding_box()["y"]
    assert -5 <= top < 450  # its beginning is in the upper half of the window
    opened.sound()
    opened.context.close()


def test_sliders_move_the_joules_at_once(server: Any, browser: Any) -> None:
    for width in (1280, 390):
        opened = Tab(browser, server.address, width)
        page = opened.open("/energy")
        number = page.locator(".fs-wide .fs-run" if width > 720 else ".fs-narrow .fs-run").first
        number.get_by_text("900 µJ").wait_for()
        memory = page.get_by_label("number input for Memory [pJ per bit]").first
        memory.scroll_into_view_if_needed()
        memory.fill("0")
        memory.press("Enter")
        page.wait_for_function("document.querySelector('.fs-wide .fs-run').innerText.startsWith('479 µJ')")
        place = number.bounding_box()
        assert 0 <= place["y"] < 900, width  # what one looks at is on the screen
        opened.sound()
        opened.context.close()


def test_energy_of_an_upload_of_a_list_and_of_measurements(tab: Tab, inputs: Path, tmp_path: Path) -> None:
    page = tab.open("/energy")
    (tmp_path / "evil.onnx").write_bytes(b"\x08\x07" + b"no network" * 9)
    page.locator("input[type=file]").first.set_input_files(str(tmp_path / "evil.onnx"))
    page.locator(".fs-error:visible").get_by_text("evil.onnx").wait_for()
    assert str(tmp_path) not in page.locator(".fs-error:visible").inner_text()
    tab.turn_to("Compare")
    page.click("#energy-compare-run")
    page.locator("#energy-compare-result .fs-files").get_by_text("result.csv").wait_for()
    tab.sound()
    tab.turn_to("Calibrate")
    page.click("#energy-calibrate-run")
    page.get_by_text("Give measurements").wait_for()
    for _ in range(2):
        page.get_by_role("button", name="Readings of a power meter").click()
        page.locator("#energy-calibrate-result").get_by_text("e_mem").wait_for()
    tab.sound()
    tab.turn_to("Write a page")
    page.click("#energy-page-run")
    inside = page.frame_locator("#energy-page-result iframe")
    inside.get_by_text("per image").first.wait_for(timeout=120_000)
    tab.sound()


def test_cracks_are_found_moved_by_a_threshold_corrected_by_hand_and_explained(tab: Tab, tmp_path: Path) -> None:
    page = tab.open("/crack")
    page.get_by_role("button", name=re.compile("asphalt", re.IGNORECASE)).first.click()
    result = page.locator("#crack-predict-result")
    page.locator("#crack-slider img").first.wait_for(timeout=120_000)
    table = page.locator("#crack-predict-result table").first
    table.wait_for()
    before = result.inner_text()
    slider = page.get_by_label("number input for Threshold").first
    slider.fill("0.9")
    slider.press("Enter")
    page.wait_for_function("old => document.querySelector('#crack-predict-result').innerText !== old", arg=before)
    page.get_by_label("Scale [mm per pixel]").first.fill("0,5")
    page.get_by_label("Scale [mm per pixel]").first.press("Tab")
    result.get_by_text(re.compile(r"\d mm")).first.wait_for()
    tab.sound()
    tab.turn_to("Correct by hand")
    page.locator("#crack-editor canvas").first.wait_for()
    found = result.get_by_text("Corrected by hand").first
    for _ in range(8):  # the canvas takes strokes some time after it is there, and says nothing of it
        page.wait_for_timeout(1500)
        place = page.locator("#crack-editor canvas").first.bounding_box()
        page.mouse.move(place["x"] + place["width"] * 0.3, place["y"] + place["height"] * 0.8)
        page.mouse.down()
        page.mouse.move(place["x"] + place["width"] * 0.6, place["y"] + place["height"] * 0.85, steps=12)
        page.mouse.up()
        page.click("#crack-apply")
        page.wait_for_timeout(6000)
        if found.is_visible():
            break
    found.wait_for()
    page.click("#crack-undo")
    result.get_by_text("This is what the experts found.").first.wait_for()
    tab.turn_to("Why these experts?")
    result.get_by_text("nearest training photos").or_(result.get_by_text("look most alike")).first.wait_for()
    tab.sound()


def test_a_narrowing_is_measured_between_two_presses(tab: Tab) -> None:
    page = tab.open("/vessel")
    tab.turn_to("Measure")
    page.locator("button:visible", has_text="A narrowing, two points").first.click()
    result = page.locator("#vessel-measure-result")
    result.locator(".fs-facts").wait_for()
    points = page.get_by_label("Points [px]").first
    first = points.input_value()
    frame = page.locator("#vessel-pick img").first
    scale = frame.bounding_box()["width"] / 512
    for x, y in ((112, 131), (80, 183)):
        frame.click(position={"x": x * scale, "y": y * scale})
        page.wait_for_timeout(1500)
    assert points.input_value() != first
    assert len(points.input_value().split(",")) == 4
    page.wait_for_function("document.querySelector('#vessel-measure-run').disabled === false")
    result.get_by_text("loss of diameter").first.wait_for()
    tab.sound()
    # another frame of a run: it is shown, and what was measured on the one before is gone
    page.locator("button:visible", has_text="A narrowing in a run").first.click()
    result.get_by_text("LCA RAO").first.wait_for()
    source = frame.get_attribute("src")
    which = page.get_by_label("number input for Frame of the run").locator("visible=true").first
    which.fill("6")
    which.press("Enter")
    page.wait_for_function("old => document.querySelector('#vessel-pick img').getAttribute('src') !== old", arg=source)
    result.get_by_text("appears here").first.wait_for()
    assert not result.get_by_text("loss of diameter").is_visible()
    page.click("#vessel-measure-run")
    result.get_by_text("loss of diameter").first.wait_for()
    tab.sound()


def test_several_photos_have_a_list_of_those_to_look_at(tab: Tab, tmp_path: Path) -> None:
    from fieldsight.data.images import write_image
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.crack import world

    sent = [tmp_path / "none.png"]
    sent[0].write_bytes(b"no picture")
    for n, domain in enumerate(("asphalt", "tile")):
        drawn = world.draw_photo(domain, (192, 256), rng_for(n, "browser")).image
        sent.append(write_image(tmp_path / f"{domain}.png", drawn))
    page = tab.open("/crack")
    page.locator("input[type=file]").first.set_input_files([str(p) for p in sent])
    page.click("#crack-predict-run")
    result = page.locator("#crack-predict-result")
    page.locator("#crack-slider img").first.wait_for(timeout=120_000)
    assert "1 of 3 could not be used" in page.locator("#crack-predict-result .fs-error").inner_text()
    result.get_by_text("asphalt.png").first.wait_for()
    page.get_by_label("Photo", exact=True).click()
    page.get_by_role("option", name="2 of 3: tile.png").or_(page.get_by_role("option", name="tile.png")).first.click()
    page.wait_for_timeout(1500)
    with page.expect_download() as download:
        page.get_by_text("All files, ZIP").first.click()
    with zipfile.ZipFile(str(download.value.path())) as kept:
        names = {Path(n).name for n in kept.namelist()}
    assert {"review.csv", "coco.json", "asphalt_mask.png", "tile_mask.png"} <= names
    tab.sound()


def test_the_checks_see_what_they_are_for(tab: Tab) -> None:
    page = tab.open("/sem")
    page.evaluate("document.querySelector('.fs-head p').style.marginTop = '-30px'")
    page.evaluate("document.querySelector('#sem-predict-run').innerText = ''")
    assert any("Layout to SEM" in pair for pair in page.evaluate(OVERLAPS))
    assert any("sem-predict-run" in element for element in page.evaluate(NAMELESS))


def test_calls_on_the_api_page_say_where_this_studio_is(tab: Tab) -> None:
    page = tab.open("/api")
    page.locator("#sem_predict").wait_for()
    page.locator("pre").first.get_by_text(f'Client("{tab.address}")').wait_for()
    shipped = [registry.get(id) for id in registry.SYSTEMS]  # not the toys of other tests
    paged = sum(verb.page for spec in shipped for verb in spec.verbs)
    assert page.locator("section").count() == paged + 1  # energy's calibrate has a tab of its own
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
        page.get_by_text("of 2000").wait_for(timeout=120_000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
        opened.context.close()
    finally:
        process.kill()
    assert process.returncode == 0
    assert (out, err) == ("", "")
