"""alert's own page: examples that work, states decided anew, strips and pictures, tables, errors; the tour's part."""

from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fieldsight
from fieldsight import registry
from fieldsight.report.html import Report
from fieldsight.studio.context import PageContext
from fieldsight.studio.home import picture_of
from fieldsight.studio.jobs import Jobs
from fieldsight.studio.models import Models
from fieldsight.studio.results import Shelf
from fieldsight.systems.alert import studio, studio_replay, studio_tables, studio_view
from fieldsight.systems.alert.config import PRESETS, AlertConfig
from fieldsight.systems.alert.predict import Replay
from fieldsight.systems.alert.recording import of_arrays
from fieldsight.systems.alert.scores import TABLE2, Samples, sweep
from fieldsight.systems.alert.simulate import simulate
from fieldsight.systems.alert.state import AlertState
from fieldsight.systems.alert.table_a1 import table_a1

ENGINES = ("base", "nearest", "looming", "paper", "authors_app", "always_closer")


@pytest.fixture(scope="module")
def recording() -> Any:
    """A small drawn street, 30 frames a second."""
    return simulate("manhattan", "oncoming_swerve", "stereo", seconds=4, seed=1, fps=30, size=(48, 36), kind="car")


@pytest.fixture(scope="module")
def replays(recording: Any) -> dict[str, Replay]:
    model = fieldsight.load("alert")
    return {name: model.replay(recording, preset=name) for name in ENGINES}


@pytest.fixture
def context(tmp_path: Path) -> PageContext:
    (tmp_path / "uploads").mkdir()
    spec = registry.get("alert")
    return PageContext(
        spec, tmp_path / "runs", tmp_path, Models(tmp_path / "runs"), Jobs(), Shelf(tmp_path / "results")
    )


def well_formed(html: str) -> ET.Element:
    return ET.fromstring(f"<div>{html}</div>")


# ---------------------------------------------------------------------------------------------------- examples


def test_examples_are_labelled_and_written_where_told(tmp_path: Path) -> None:
    offered = studio.examples()
    assert [e.origin for e in offered] == ["drawn"] * 3
    one = offered[2]
    assert one.write is not None
    written = one.write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [written.name]
    found = fieldsight.load("alert").replay(written)
    assert len(found.states) > 60
    assert found.danger == []  # an empty street: whatever sounds there is false


def test_every_engine_is_on_the_list() -> None:
    assert set(studio_replay.ENGINES) - {""} == set(PRESETS) - {"base"}
    assert next(iter(studio_replay.ENGINES)) == ""


# ------------------------------------------------------------------------------------------- other thresholds


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("pair", [(-2.2, 3.0), (-1.0, 5.0), (-4.0, 1.5), (0.0, 6.0), (-5.0, 0.0)])
def test_states_decided_anew_are_those_of_a_replay(
    recording: Any, replays: dict[str, Replay], name: str, pair: tuple[float, float]
) -> None:
    anew = studio_view.restated(replays[name], *pair)
    model = fieldsight.load("alert")
    again = model.replay(recording, preset=name, speed_threshold=pair[0], tti_threshold=pair[1])
    assert len(anew) == len(again.states) > 5
    begin = studio_view.start_of(again)
    for a, b in zip(anew, again.states, strict=True):
        assert a.t == pytest.approx(b.t - begin)
        assert dataclasses.replace(a, t=0.0).to_dict() == dataclasses.replace(b, t=0.0).to_dict()


def test_nobody_is_spared_by_the_sliders(replays: dict[str, Replay]) -> None:
    broken = AlertState(math.nan, "no judgement", reason="the lens is covered")
    replay = dataclasses.replace(replays["base"], states=[replays["base"].states[0], broken])
    found = studio_view.restated(replay, 0.0, 6.0)
    assert found[1].state == "no judgement"
    assert found[1].t == found[0].t  # a time that is none stays where the last one was


# ------------------------------------------------------------------------------------------- strips and pictures


@pytest.mark.parametrize("name", ENGINES)
def test_strips_are_drawn_for_every_engine(replays: dict[str, Replay], name: str) -> None:
    replay = replays[name]
    states = studio_view.restated(replay, -2.2, 3.0)
    drawn = well_formed(studio_view.strip(states, -2.2, studio_replay.danger_of(replay), 1.0, title="<b> & so on"))
    assert len(drawn[0].findall(".//{*}rect")) >= len(replay.danger)
    ends = list(studio_view.spans(states))
    assert ends[0][1] == 0
    assert all(a[2] <= b[1] + 1e-9 for a, b in pairwise(ends))
    well_formed(studio_view.legend())


@pytest.mark.parametrize("states", [[], [AlertState(0.0, "warming up")], [AlertState(0.0, "no judgement")] * 2])
def test_strips_of_almost_nothing(states: list[AlertState]) -> None:
    well_formed(studio_view.strip(states, -2.2))
    assert studio_view.at_time(states, 3.0) == (-1 if not states else 0)


def test_a_pause_is_not_painted_over() -> None:
    states = [AlertState(t, "alarm", True) for t in (0.0, 0.1, 0.2, 9.0, 9.1)]
    assert [(round(a, 1), round(b, 1)) for _, a, b in studio_view.spans(states)] == [(0.0, 1.2), (9.0, 9.2)]


@pytest.mark.parametrize("name", ["base", "paper"])
def test_a_frame_beside_its_view_from_above(replays: dict[str, Replay], name: str) -> None:
    states = studio_view.restated(replays[name], -2.2, 3.0)
    first, last = (studio_view.look(replays[name], states, n, -2.2, 3.0) for n in (0, len(states) - 1))
    assert first is not None
    assert last is not None
    assert first.dtype == np.uint8
    assert first.shape == last.shape
    assert (first != last).any()
    assert studio_view.look(replays[name], states, -1, -2.2, 3.0) is None
    assert studio_view.look(dataclasses.replace(replays[name], recording=None), states, 0, -2.2, 3.0) is None


def test_what_came_nearer_moves_and_what_is_truly_there_lies_on_its_points(recording: Any) -> None:
    i = len(recording) - 1
    along, side, motion = studio_view.points_of(recording, i, AlertConfig())
    assert (motion == 2).sum() > 20  # the car
    frame = recording.load(i)
    dangers = [c for c, risky in studio_view._truth(recording, i, frame) if risky]
    assert dangers
    middle = min((c.mean(axis=0) for c in dangers), key=lambda c: float(np.hypot(*c)))
    moving = np.array([np.median(side[motion == 2]), np.median(along[motion == 2])])
    assert np.hypot(*(moving - middle)) < 4.0  # half a car and its near face


def test_ranges_and_pictures_without_a_lens() -> None:
    model = fieldsight.load("alert")
    ranges = of_arrays(np.linspace(12, 2, 30, dtype=np.float32))
    flat = of_arrays(np.full((12, 24, 32), 5.0, np.float32) - np.arange(12, dtype=np.float32)[:, None, None] * 0.2)
    for recording in (ranges, flat):
        replay = model.replay(recording, preset="paper")
        states = studio_view.restated(replay, -2.2, 3.0)
        assert studio_view.look(replay, states, len(states) - 1, -2.2, 3.0) is not None


# ------------------------------------------------------------------------------------------------- tables


def test_facts_follow_the_thresholds(replays: dict[str, Replay]) -> None:
    replay = replays["base"]
    never = studio_replay.facts_at(replay, studio_view.restated(replay, -5.0, 0.0))
    often = studio_replay.facts_at(replay, studio_view.restated(replay, 0.0, 6.0))
    assert never["alarms"] == 0
    assert often["alarms"] >= 1
    assert never["approaches missed"].split(" of ")[0] == never["approaches missed"].split(" of ")[1]
    assert studio_replay.headline(replay, studio_view.restated(replay, -5.0, 0.0), never).startswith("No alarm")
    blind = [AlertState(0.0, "no judgement", reason="<nothing> came back")]
    told = studio_replay.words_at(replay, blind, 0.0)
    assert "no judgement: &lt;nothing&gt; came back" in told
    assert "truly there" in told
    assert "nothing about safety" in studio_replay.headline(replay, blind, studio_replay.facts_at(replay, blind))


def test_what_to_expect_says_on_what_it_was_measured() -> None:
    surface = {
        "speed": [-3.0, -1.0], "tti": [1.0, 5.0], "precision": [[1.0, 0.5], [0.5, 0.0]], "recall": [[0.2, 0.4]] * 2,
        "missed": [[0.5, 0.25], [0.25, 0.0]], "false_per_minute": [[0.0, 2.0], [2.0, 4.0]], "on": "9 walks & so on",
    }  # fmt: skip
    text = studio_replay.expected_html(surface, -2.0, 3.0, "paper", "track")
    assert "9 walks &amp; so on" in text
    assert "2.0 / min" in text
    assert "50%" in text
    assert "this replay is by paper" in text
    assert "Nothing was measured at" in studio_replay.expected_html(surface, -4.5, 3.0, "track", "track")
    assert "Nothing was measured for" in studio_replay.expected_html(None, -2.0, 3.0, "track", "track")


def test_the_shipped_model_knows_what_to_expect_everywhere_on_the_sliders() -> None:
    surface = fieldsight.load("alert").artefacts["surface"]
    for v in (*studio_replay.SPEEDS, -2.2):
        for t in (*studio_replay.TIMES, 3.0):
            text = studio_replay.expected_html(surface, v, t, "track", "track")
            assert "approaches missed" in text
            assert "(drawn)" in text


def test_strips_under_each_other_and_a_row_an_engine(replays: dict[str, Replay]) -> None:
    several = list(replays.values())
    drawn = well_formed(studio_tables.compared_html(several))
    assert len(drawn.findall("{*}svg")) == len(several)
    table = studio_tables.comparison(several)
    assert [r["engine"] for r in table.rows] == [r.config.mode for r in several]
    assert all("missed" in row for row in table.rows)


def test_thresholds_of_the_papers_table() -> None:
    right, left = studio_tables.thresholds_html(table_a1(), "Table A1 of the paper", -2.2, 3.0)
    drawn = well_formed(right)
    assert "2 of 53 dangers missed, 3 false alarms" in right
    by_clip = [e for e in drawn.iter() if e.tag.endswith("circle") and len(e)]
    assert len(by_clip) == 85
    colours = [e.get("fill") for e in by_clip]
    assert [colours.count(studio_tables._DOTS[k]) for k in ("TP", "FP", "FN", "TN")] == [51, 3, 2, 29]
    assert "0.933" in right
    assert "The paper" in left
    rows = studio_tables.settings(table_a1(), "").rows
    counts = [(c.tp, c.fp, c.fn, c.tn) for _, _, c in sweep(table_a1(), TABLE2)]
    assert [(r["TP"], r["FP"], r["FN"], r["TN"]) for r in rows] == counts


def test_readings_of_one_kind_only_and_of_very_many() -> None:
    def samples(n: int, danger: bool) -> Samples:
        rng = np.random.default_rng(0)
        names = np.array([f"clip <{k % 90}>" for k in range(n)])
        return Samples(names, names, np.arange(n) * 1.0, -5 * rng.random(n), 6 * rng.random(n), np.full(n, danger))

    for found in (samples(1, True), samples(3, False), samples(20_000, True)):
        for part in studio_tables.thresholds_html(found, "readings.csv", -2.2, 3.0):
            assert len(part) < 2_000_000
            assert "clip <" not in part
            well_formed(part)


# ------------------------------------------------------------------------------------------------------ the page


def test_the_page_and_the_live_page_answer(studio: Any) -> None:
    import httpx

    page = httpx.get(f"{studio.address}/alert")
    assert page.status_code == 200
    for words in ("no safety device", "Compare", "Thresholds", "Open the live page", "--tls-cert", "/alert/live"):
        assert words in page.text
    assert httpx.get(f"{studio.address}/alert/live").status_code == 200


def test_a_program_replays_by_the_endpoint(studio: Any, recording: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file

    from fieldsight.systems.alert import iar

    sent = handle_file(str(iar.write(recording, tmp_path / "street.iar")))
    answer = studio.client().predict([sent], {"mode": "nearest"}, api_name="/alert_replay")
    told = str(answer)
    assert "nearest" in told
    assert "Error" not in told


def test_bad_input_is_a_message(context: PageContext, tmp_path: Path) -> None:
    outside = tmp_path / "outside.iar"
    outside.write_bytes(b"x")
    bad = context.uploads / "bad.iar"
    bad.write_bytes(b"PK\x03\x04 no recording")
    table = context.uploads / "bad.csv"
    table.write_text("speed,tti\n-1,2\n")
    for path, words in ((None, "Give a recording"), (str(outside), "no uploaded file"), (str(bad), "bad.iar")):
        told = studio_tables._compare(context, path, ["base"], "test")
        assert words in told
        assert "fs-error" in told
        assert str(tmp_path) not in told
    assert "Choose one engine" in studio_tables._compare(context, str(bad), [], "test")
    good = context.uploads / "good.csv"
    good.write_text("t,range_m\n" + "".join(f"{k / 10},{9 - k / 10}\n" for k in range(30)))
    assert "Unknown preset" in studio_tables._compare(context, str(good), ["nope"], "test")
    assert "<svg" in studio_tables._compare(context, str(good), ["paper"], "test")
    with pytest.raises(fieldsight.errors.DataError, match="danger"):
        studio_tables._readings(context, str(table))
    with pytest.raises(fieldsight.errors.DataError, match="no uploaded file"):
        studio_tables._readings(context, str(outside))


def test_an_example_keeps_the_engine_that_was_chosen(context: PageContext) -> None:
    import gradio as gr

    from fieldsight.studio.tab import _fill

    with gr.Blocks():
        tab = context.tab("replay")
    names = [f.plan.name for f in tab.left.fields]
    example = studio.examples()[0]
    example = dataclasses.replace(example, write=lambda folder: folder / "nothing.iar")
    for preset, mode in (("", "track"), ("paper", "paper")):
        filled = _fill(context, tab, example)(preset)
        assert filled[1:][names.index("mode")] == mode


# ------------------------------------------------------------------------------------------------ tour, gallery


def test_the_demonstration_says_what_is_real_and_what_is_drawn() -> None:
    report = Report("tour")
    studio.demo(report.section("alert"))
    text = report.render()
    assert "drawn by our simulator" in text
    assert ("cannot show motion" in text) == (studio.motorcycle() is not None)
    assert text.count("<svg") == 2
    assert "Table 2" in text


def test_the_gallery_picture_is_here_and_small() -> None:
    path = picture_of(registry.get("alert"))
    assert path is not None
    assert path.stat().st_size < 100_000


@pytest.mark.studio
@pytest.mark.xdist_group("browser")
def test_sliders_and_scrubbing_in_a_browser(runs: Path, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from test_studio_browser import CHROMIUM, FLAGS, Tab, start

    if CHROMIUM is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    process = start(runs, tmp_path)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        with sync.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
            for width in (1280, 390):
                drive(Tab(browser, address, width))
            browser.close()
    finally:
        process.kill()
        process.communicate()


def drive(tab: Any) -> None:
    """Press an example, move sliders and time, compare, thresholds, a broken upload."""
    page = tab.open("/alert")
    page.get_by_role("button", name="A car swerves towards you").locator("visible=true").first.click()
    page.wait_for_selector("#alert-look svg")
    line = page.locator(".fs-run").locator("visible=true").first
    before = line.inner_text()
    speed = page.get_by_label("number input for Speed threshold [m/s]").locator("visible=true").first
    speed.fill("-5")
    speed.press("Enter")
    page.wait_for_function(
        "old => document.querySelector('#alert-replay-result .fs-run').innerText !== old", arg=before
    )
    page.get_by_role("button", name="Fragile").locator("visible=true").first.click()
    page.locator("#alert-look").get_by_text("Alarms at -1 m/s and 5 s").wait_for()
    picture = page.locator("#alert-replay-result img").first.get_attribute("src")
    when = page.get_by_label("number input for Time [s]").first
    when.fill("4.2")
    when.press("Enter")
    page.wait_for_function(
        "old => document.querySelector('#alert-replay-result img').getAttribute('src') !== old", arg=picture
    )
    page.locator("#alert-expect").get_by_text("(drawn)").wait_for()
    tab.sound()
    tab.turn_to("Compare")
    page.get_by_role("button", name="A walker turns away").locator("visible=true").first.click()
    page.locator("#alert-compare-result table").get_by_text("authors_app").wait_for()
    assert page.locator("#alert-compare-result svg[role=img]").count() == 4
    tab.sound()
    tab.turn_to("Thresholds")
    page.get_by_text("2 of 53 dangers missed").wait_for()
    page.get_by_role("button", name="Robust").locator("visible=true").first.click()
    page.get_by_text("7 of 53 dangers missed").wait_for()
    tab.sound()
    tab.turn_to("Live")
    assert page.get_by_role("link", name="Open the live page").get_attribute("href") == "/alert/live"
    tab.sound()
