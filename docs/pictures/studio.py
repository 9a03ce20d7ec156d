"""The Studio in a browser: its first page, sem, energy with its sliders, a replay of alert, a photo in a photo."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, MOST = 1280, 220_000


def make(folder: Path) -> None:
    """Start the Studio on a free port, drive a browser, write pictures of its pages."""
    from playwright.sync_api import sync_playwright

    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with _studio() as address, sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=flags)
        page = opened.new_page(viewport={"width": WIDTH, "height": 900})
        _open(page, address)
        _shoot(page, folder / "studio-home.jpg", _end(page.locator(".fs-cards")) + 16)
        _open(page, f"{address}/sem")
        page.get_by_role("button", name="Memory cells").first.click()
        page.wait_for_selector("#sem-predict-result .fs-facts", timeout=120_000)
        page.wait_for_selector("#sem-predict-result .fs-plot svg")
        page.mouse.move(2, 2)
        _shoot(page, folder / "studio-sem.png", _end(page.locator("#sem-predict-result .fs-plot svg").first))
        _open(page, f"{address}/energy")
        batch = page.get_by_label("number input for Batch").first
        batch.fill("8")
        batch.press("Enter")
        page.get_by_text("batch 8").first.wait_for()
        _shoot(page, folder / "studio-energy.png", _end(page.locator(".fs-svg").first))
        _open(page, f"{address}/alert")
        page.get_by_role("button", name="A car swerves towards you").first.click()
        page.wait_for_selector("#alert-look svg", timeout=120_000)
        when = page.get_by_label("number input for Time [s]").first
        when.fill("4.1")
        when.press("Enter")
        page.mouse.move(2, 2)
        _shoot(page, folder / "studio-alert.png", _end(page.locator("#alert-expect").first))
        _open(page, f"{address}/stego")
        page.get_by_role("button", name="A rocket in a cat").first.click()
        page.wait_for_selector("#stego-left", timeout=120_000)
        page.wait_for_timeout(8000)
        page.mouse.move(2, 2)
        _shoot(page, folder / "studio-stego.jpg", _end(page.locator("#stego-hide-result .fs-facts").first))
        _open(page, f"{address}/vessel")
        page.get_by_role("tab", name="Measure").click()
        page.locator("button:visible", has_text="A narrowing, two points").first.click()
        page.wait_for_selector("#vessel-measure-result .fs-facts", timeout=120_000)
        page.wait_for_timeout(2000)
        page.mouse.move(2, 2)
        _shoot(page, folder / "studio-vessel.jpg", _end(page.locator("#vessel-measure-result .fs-facts").first))
        opened.close()


def _open(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(".fs-page h1")
    page.wait_for_timeout(2500)


def _end(element: Any) -> float:
    """Where an element ends, in pixels from the top of the page."""
    box = element.bounding_box()
    return float(element.page.evaluate("scrollY") + box["y"] + box["height"])


def _shoot(page: Any, path: Path, below: float) -> None:
    """A picture of the page from its top to ``below``, in few colours where it would be heavy."""
    page.wait_for_timeout(1500)
    page.screenshot(path=path, full_page=True)
    with Image.open(path) as full:
        picture = full.convert("RGB").crop((0, 0, full.width, min(full.height, round(below) + 8)))
    if path.suffix == ".jpg":  # a page of photos: few colours would show as steps
        picture.save(path, quality=85)
        return
    picture.save(path, optimize=True)
    for colours in (256, 128, 64):
        if path.stat().st_size < MOST:
            break
        picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)


@contextmanager
def _studio() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fieldsight", "studio", "--port", "0"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[1]
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    make(Path(__file__).parent)
