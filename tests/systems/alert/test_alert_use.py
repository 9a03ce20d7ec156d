"""The verbs as people use them: replay, evaluate, sweep, tune, reproduce; what they write and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fieldsight
from fieldsight.cli import main
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.alert import iar
from fieldsight.systems.alert.assess import assess, difference, metrics_of, surface
from fieldsight.systems.alert.config import PRESETS
from fieldsight.systems.alert.options import SweepOptions, TuneOptions
from fieldsight.systems.alert.recording import of_arrays
from fieldsight.systems.alert.replay import states_of
from fieldsight.systems.alert.reproduce import severity
from fieldsight.systems.alert.simulate import simulate
from fieldsight.systems.alert.sources import open_recording
from fieldsight.systems.alert.tune import pair, search


@pytest.fixture(scope="module")
def streets() -> list:  # type: ignore[type-arg]
    return [simulate(city="any", scenario="approach", wearer="any", sensor="any", seed=1_000_000 + n) for n in range(8)]


@pytest.fixture(scope="module")
def folder(streets: list, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[type-arg]
    root = tmp_path_factory.mktemp("streets")
    for n, street in enumerate(streets[:3]):
        iar.write(street, root / f"{n}.iar")
    return root


def test_saving_and_replaying_gives_the_same_states(tmp_path: Path) -> None:
    """Acceptance 14: whole millimetres go through the file unchanged."""
    street = simulate(scenario="approach", seed=7, sensor="automotive")
    depth = np.array([np.round(f.depth, 3) for f in street]).astype(np.float32)
    poses = np.array([f.pose for f in street])
    whole = of_arrays(depth, street.times, K=street.manifest.intrinsics, poses=poses, manifest=street.manifest)
    again = open_recording(iar.write(whole, tmp_path / "a.iar"))
    a, b = (states_of(r, PRESETS["base"]) for r in (whole, again))
    assert [s.state for s in a] == [s.state for s in b]
    assert [s.distance for s in a] == pytest.approx([s.distance for s in b], abs=2e-3, nan_ok=True)


def test_replay_writes_states_pictures_clip_and_sound(streets: list, tmp_path: Path) -> None:  # type: ignore[type-arg]
    model = fieldsight.load("alert")
    found = model.replay(streets[0], video=True, wav=True)
    files = {p.suffix if "_states" not in p.name else "states": p for p in found.save(tmp_path, "street")}
    assert set(files) == {"states", ".jsonl", ".png", ".json", ".mp4", ".wav"}
    header = files["states"].read_text().splitlines()[0]
    assert header.startswith("clip,timecode,speed,tti,time,state,alert,")
    lines = [json.loads(x) for x in files[".jsonl"].read_text().splitlines()]
    assert len(lines) == len(found.states)
    assert {x["state"] for x in lines} <= {"alarm", "clear", "warming up", "no judgement"}
    assert all(p.stat().st_size > 200 for p in files.values())
    import cv2

    clip = cv2.VideoCapture(str(files[".mp4"]))
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == len(found.states)
    facts, (alarms,) = found.shown()
    assert facts["frames"] == len(streets[0])
    assert len(alarms.rows) == facts["alarms"]


def test_a_replay_of_nothing_never_looks_safe() -> None:
    found = fieldsight.load("alert").replay(np.full((20, 12, 16), np.nan, np.float32))
    assert found.facts["judged"] == 0
    assert "nothing was judged" in found.facts["warnings"][0]
    assert {s["state"] for s in found.steps} == {"no judgement"}


def test_presets_and_thresholds_by_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = str(folder / "0.iar")
    assert main(["alert", "replay", one, "--json", "--quiet"]) == 0
    base = json.loads(capsys.readouterr().out)["results"][0]
    assert base["mode"] == "track"
    assert main(["alert", "replay", one, "--preset", "paper", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["mode"] == "paper"
    assert main(["alert", "replay", one, "--speed-threshold", "-50", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["alarms"] == 0
    assert main(["alert", "replay", one, "--speed-threshold", "5"]) == 2
    assert "speed_threshold" in capsys.readouterr().err


def test_evaluate_a_folder_against_the_paper(folder: Path, tmp_path: Path) -> None:
    found = fieldsight.load("alert").evaluate(folder)
    assert set(found.metrics) == {m.name for m in found.spec.metrics}
    assert found.on.startswith("3 drawn recordings")
    assert found.tables[0].title.startswith("track against paper")
    assert any("approaches: the shares say little" in w for w in found.warnings)
    page = {p.suffix: p for p in found.save(tmp_path)}[".html"].read_text()
    assert "no safety device" in page
    with pytest.raises(ConfigError, match="Did you mean 'paper'"):
        fieldsight.load("alert").evaluate(folder, against="papr")


def test_evaluation_needs_labels(tmp_path: Path) -> None:
    iar.write(of_arrays(np.full((5, 12, 16), 4.0, np.float32)), tmp_path / "bare.iar")
    with pytest.raises(DataError, match="labels"):
        fieldsight.load("alert").evaluate(tmp_path)


def test_two_settings_on_the_same_streams(streets: list) -> None:  # type: ignore[type-arg]
    ours, theirs = assess(streets, [PRESETS["base"], PRESETS["paper"]])
    a, b = ([r.clip for r in one] for one in (ours, theirs))
    found = difference(b, a, draws=200)
    missed = [sum(x.seen and not x.detected for c in clips for x in c.approaches) for clips in (a, b)]
    total = sum(x.seen for c in a for x in c.approaches)
    assert found.missed.value == pytest.approx((missed[0] - missed[1]) / total)
    assert found.only_second - found.only_first == missed[1] - missed[0]
    same = difference(a, a, draws=50)
    assert same.missed.value == same.false_per_minute.value == same.lead.value == 0
    assert same.p == 1
    with pytest.raises(DataError, match="same recordings"):
        difference(a, b[:-1])


def test_the_surface_is_monotone(streets: list) -> None:  # type: ignore[type-arg]
    (runs,) = assess(streets[:4], [PRESETS["base"]])
    found = surface(runs, "four", (-4.0, -2.2, -1.0), (1.0, 3.0, 5.0))
    missed = np.array(found["missed"], float)
    recall = np.array(found["recall"], float)
    assert (np.diff(missed, axis=0) <= 1e-9).all()
    assert (np.diff(missed, axis=1) <= 1e-9).all()
    assert (np.diff(recall, axis=0) >= -1e-9).all()
    at = metrics_of([r.at(-2.2, 3.0) for r in runs])
    assert at["missed"] == pytest.approx(metrics_of([r.clip for r in runs])["missed"], nan_ok=True)


def test_a_perfect_engine_scores_perfectly(streets: list) -> None:  # type: ignore[type-arg]
    (runs,) = assess(streets, [PRESETS["base"]])
    from fieldsight.systems.alert.events import score

    found = metrics_of([score(r.truth, r.states, r.clip.danger) for r in runs])
    assert found["missed"] == found["false_per_minute"] == found["false_share"] == 0
    assert found["precision"] == found["recall"] == found["f1"] == found["accuracy"] == 1
    silent = metrics_of([score(r.truth, r.states, np.zeros(len(r.states), bool)) for r in runs])
    assert silent["missed"] == 1
    assert silent["recall"] == 0


# --------------------------------------------------------------------------------------------- sweep and tune


def test_sweep_prints_table_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["alert", "sweep", "--json", "--quiet", "--out", str(tmp_path)]) == 0
    rows = {(r["speed"], r["tti"]): r for r in json.loads(capsys.readouterr().out)["rows"]}
    assert (rows[-2.2, 3.0]["TP"], rows[-2.2, 3.0]["FP"]) == (51, 3)
    assert rows[-2.2, 5.0]["precision"] == 0.85
    assert (tmp_path / "table.csv").is_file()
    from fieldsight.systems.alert.sweep import sweep

    inclusive = sweep(None, SweepOptions(inclusive=True, speeds=(-2.2,), ttis=(3.0,)))
    assert inclusive.rows[0]["FP"] == 4
    assert "svg" in next(iter(inclusive.figures().values()))


def test_tuned_thresholds_hold_their_miss_rate(streets: list) -> None:  # type: ignore[type-arg]
    (runs,) = assess(streets, [PRESETS["base"]])
    rows = [pair(runs, v, TuneOptions(miss_rate=m, folds=2)) for v in (-1.0, -2.2) for m in (0.5, 0.3)]
    found = [r for r in rows if r is not None]
    assert found
    for row in found:
        assert 0 <= row["low"] <= row["missed, held out"] <= row["high"] <= 1
    assert pair(runs, -2.2, TuneOptions(miss_rate=0.01)) is None  # eight clips can't promise one in a hundred


def test_tune_by_python_and_the_model_it_writes(folder: Path, tmp_path: Path) -> None:
    model = fieldsight.load("alert")
    with pytest.raises(DataError, match="Give more recordings"):
        model.tune(folder, miss_rate=0.02)
    done = model.tune(folder, miss_rate=0.6, folds=2)
    done.save(tmp_path / "mine")
    again = fieldsight.load("alert", tmp_path / "mine")
    assert again.config.speed_threshold == done.facts["speed threshold"]
    assert again.artefacts["surface"]["on"].startswith("3 drawn recordings")
    assert any("miss rate" in line for line in done.lines())


def test_the_search_of_section_3_2(streets: list) -> None:  # type: ignore[type-arg]
    found = search(streets[:3], TuneOptions(folds=3))
    assert len(found) == 96
    keys = [(r["missed"], r["false"], -r["margin"]) for r in found]
    assert keys == sorted(keys)
    assert found[0]["samples"] > 20
    assert {"missed, held out", "false, held out"} <= set(found[0])


# ------------------------------------------------------------------------------------------------- reproduce


def test_reproduce_finds_every_cell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["alert", "reproduce", "--json", "--quiet", "--out", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["facts"]["cells of Tables 1 and 2"] == "64/64 equal"
    assert len(found["errors"]) >= 14
    assert found["verdicts"]["contradicts"] == 3


def test_severity_at_20_mph() -> None:
    """Trap 16."""
    death, severe = severity(20 * 0.44704)
    assert death == pytest.approx(0.071, abs=0.001)
    assert severe == pytest.approx(0.166, abs=0.001)
    assert severity(23 * 0.44704)[0] == pytest.approx(0.1)
