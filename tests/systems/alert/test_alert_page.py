"""A real browser looks at the live page: what it shows, when it beeps, and that it never calls silence safe."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from streets import K, approach, noisy, street
from test_alert_live import SURFACE, Live, serving

from fieldsight.systems.alert import live_app
from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.recording import Frame
from fieldsight.systems.alert.stream import encode

pytestmark = [pytest.mark.studio, pytest.mark.xdist_group("browser")]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Notes what the page plays and how it shakes.
LISTEN = """
window.played = []
const real = window.AudioContext
window.AudioContext = class extends real {
  createOscillator() { const voice = super.createOscillator(), start = voice.start.bind(voice)
    voice.start = at => { window.played.push(voice.frequency.value); start(at) }; return voice }
}
window.shaken = []
navigator.vibrate = pattern => window.shaken.push(pattern)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with serving(live_app.build(AlertConfig(), SURFACE)) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


def until(page: Any, expression: str, seconds: float = 8.0) -> None:
    """Wait for the page; its own policy forbids the browser's driver to wait within it."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{expression}: {page.locator('#state').inner_text()}"
        time.sleep(0.03)


class Sender(threading.Thread):
    """Sends the street, or an approach, fifteen times a second."""

    def __init__(self, server: Live) -> None:
        super().__init__(daemon=True)
        self.server, self.depth, self.paused, self.end = server, street(), False, threading.Event()

    def run(self) -> None:
        with self.server.connect("/feed?name=chest") as socket:
            while not self.end.wait(0.066):
                if not self.paused:
                    socket.send(encode(Frame(noisy(self.depth), time.monotonic(), K=K)))

    def near(self) -> None:
        for distance in np.arange(9.0, 1.5, -0.3):
            self.depth = approach(float(distance))
            time.sleep(0.066)
        self.depth = street()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_walk_is_shown_heard_and_felt(server: Live, browser: Any, width: int) -> None:
    server.hub.feeds.clear()
    page = browser.new_page(viewport={"width": width, "height": 844})
    errors: list[str] = []
    asked: set[str] = set()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.add(request.url.split("/")[2] if "//" in request.url else ""))
    page.add_init_script(LISTEN)
    page.goto(server.address)
    word, more = page.locator("#word"), page.locator("#more")
    until(page, "document.getElementById('more').textContent.includes('Start')")
    assert word.inner_text() == "NOT WATCHING"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the first thing the keyboard reaches is Start
    until(page, "document.getElementById('more').textContent.includes('othing is connected')")
    until(page, "window.played.length >= 2")
    assert [round(h) for h in page.evaluate("window.played.slice(0, 2)")] == [587, 392]  # falling
    sender = Sender(server)
    sender.start()
    page.wait_for_selector("#state.clear", timeout=8000)
    assert word.inner_text() == "Watching"
    assert page.locator("#said").inner_text() == "Watching."
    assert page.locator("#verdict").inner_text() == "protected"
    assert "%" in page.locator("#missed").inner_text()
    assert "drawn" in page.locator("#expected-words").inner_text()
    page.evaluate("window.played = []")
    page.wait_for_timeout(300)
    assert page.evaluate("window.played") == []
    approach_ = threading.Thread(target=sender.near)
    approach_.start()
    page.wait_for_selector("#state.alarm", timeout=8000)
    assert word.inner_text() == "STOP"
    assert "impact in" in more.inner_text()
    assert "Danger" in page.locator("#said").inner_text()
    assert page.title().startswith("STOP")
    until(page, "window.played.includes(880)")
    assert page.locator("#state").bounding_box()["y"] >= -1  # in sight
    approach_.join()
    page.wait_for_selector("#state.clear", timeout=8000)
    page.locator("#numbers").scroll_into_view_if_needed()
    assert page.locator("#state").is_visible()
    page.locator("#presets button", has_text="fragile").click()
    until(page, "document.getElementById('numbers').innerText.includes('−1.0 m/s')")
    sender.paused = True
    page.wait_for_selector("#state.none", timeout=2500)
    assert "No frame for" in more.inner_text()
    until(page, "window.played.slice(-2).map(Math.round).join() === '587,392'")
    assert [350, 150, 350] in page.evaluate("window.shaken")
    sender.paused = False
    page.wait_for_selector("#state.clear", timeout=4000)
    sender.end.set()
    until(page, "document.getElementById('more').textContent.includes('gone')")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert asked == {server.address.split("/")[2]}
    assert errors == []
    page.close()


def test_it_says_so_when_the_server_goes_away_or_the_tab_is_hidden(browser: Any) -> None:
    app = live_app.build(AlertConfig(), None)
    with serving(app) as running:
        page = browser.new_page(viewport={"width": 900, "height": 700})
        page.goto(running.address)
        page.click("#go")
        until(page, "document.getElementById('expected-words').textContent.includes('Nothing was measured')")
        page.evaluate("""() => { Object.defineProperty(document, 'hidden', { value: true, configurable: true })
            document.dispatchEvent(new Event('visibilitychange')) }""")
        until(page, "document.getElementById('more').textContent.includes('hidden')")
        page.evaluate("Object.defineProperty(document, 'hidden', { value: false, configurable: true })")
    until(page, "document.getElementById('more').textContent.includes('o connection')")
    assert page.locator("#state.none").is_visible()
    page.close()


def test_without_what_a_camera_needs_it_is_named(server: Live, browser: Any) -> None:
    page = browser.new_page()
    page.goto(server.address)
    until(page, "document.getElementById('presets').children.length === 3")
    page.click("#camera")
    assert "--depth-model" in page.locator("#help").inner_text()
    page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.click("#camera")
    told = page.locator("#help").inner_text()
    assert "refuses its camera" in told
    assert "--tls-cert cert.pem --tls-key key.pem" in told
    page.close()
