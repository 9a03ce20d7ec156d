"""What people do with it: layouts in, files out, own pairs, several verbs in a row, and everything that goes wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import gdstk
import numpy as np
import pytest

import fieldsight
from fieldsight import studies
from fieldsight.cli import main
from fieldsight.data.gds import open_layout, write_polygons
from fieldsight.data.images import read_image, write_image
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.sem import metrology
from fieldsight.systems.sem.config import PRESETS, TRAINED_FAMILIES
from fieldsight.systems.sem.data import HELD_OUT_CELLS, Pair, check_registration, measure_shift, read_pairs
from fieldsight.systems.sem.simulate import shrink

TINY = PRESETS["tiny"]
BAR = np.array([[0, 0], [60, 0], [60, 400], [0, 400]], float)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fieldsight.train("sem", preset="tiny", run=tmp_path_factory.mktemp("sem") / "run").path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "data"
    fieldsight.call("sem", "make-data", out=folder, preset="tiny")
    return folder


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_polygons(tmp_path / "cell.gds", [BAR + 1000, BAR + 1000 + np.array([140, 0])], (67, 20), "CELL")


# ----------------------------------------------------------------------------------------------- predictions


def test_a_layout_gives_pictures_hotspots_and_markers_in_layout_coordinates(
    run: Path, layout: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(["sem", "predict", str(layout), "--model", str(run), "--pixel", "6nm", "--out", str(out)]) == 0
    facts = json.loads((out / "cell.json").read_text())
    assert facts["cell"] == "CELL"
    assert facts["layer"] == "67/20 li1"
    assert (facts["height"], facts["width"]) == (83, 50)  # (400 + 16 * 6) / 6 and (200 + 16 * 6) / 6, rounded up
    pictures = {name: read_image(out / f"cell_{name}.tif") for name in ("lo", "mid", "hi", "width")}
    assert all(p.dtype == np.float32 and p.shape == (83, 50) for p in pictures.values())
    np.testing.assert_allclose(pictures["hi"] - pictures["lo"], pictures["width"], atol=1e-6)
    with open(out / "cell_hotspots.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        x, y = float(row["x_nm [nm]"]), float(row["y_nm [nm]"])
        assert 950 <= x <= 1250
        assert 950 <= y <= 1450
        assert x == pytest.approx(1000 - 48 + (int(row["column [px]"]) + 0.5) * 6)
        assert y == pytest.approx(1400 + 48 - (int(row["row [px]"]) + 0.5) * 6)
    markers = open_layout(out / "cell_hotspots.gds")
    assert markers.layers == {(255, 0): len(rows)}
    centre = next(markers.polygons((255, 0))).mean(axis=0)
    assert np.hypot(*(centre - [float(rows[0]["x_nm [nm]"]), float(rows[0]["y_nm [nm]"])])) < 0.01


def test_the_middle_shows_the_bars_where_the_layout_has_them(run: Path, layout: Path) -> None:
    found = fieldsight.load("sem", run).predict(layout)
    row = found.mid[found.mid.shape[0] // 2]
    bar, gap = row[(48 + 30) // 6], row[(48 + 100) // 6]
    assert bar > gap + 0.15


def test_a_window_and_a_cell_can_be_chosen(run: Path, tmp_path: Path) -> None:
    library = gdstk.Library()
    for name, shift in (("one", 0), ("two", 5)):
        library.new_cell(name).add(gdstk.rectangle((shift, 0), (shift + 0.06, 0.4), layer=1))
    library.write_gds(tmp_path / "two.gds")
    model = fieldsight.load("sem", run)
    with pytest.raises(DataError, match="2 top cells"):
        model.predict(tmp_path / "two.gds")
    found = model.predict(tmp_path / "two.gds", cell="two", window="4900,0,5260,180")
    assert found.mid.shape == (30, 60)
    assert found.window is not None
    assert found.window.x0 == 4900
    with pytest.raises(ConfigError, match="x0 must be below x1"):
        model.predict(tmp_path / "two.gds", cell="two", window="5,0,4,1")
    with pytest.raises(DataError, match="at least 16 x 16"):
        model.predict(tmp_path / "two.gds", cell="two", window="4990,0,5020,30")
    with pytest.raises(DataError, match="Choose a part with --window"):
        model.predict(tmp_path / "two.gds", cell="two", window="0,0,9e6,9e6")


def test_an_empty_field_has_no_edges_and_no_crash(run: Path) -> None:
    found = fieldsight.load("sem", run).predict(np.zeros((32, 32), bool))
    assert np.isfinite(found.mid).all()
    json.dumps(found.to_dict(), allow_nan=False)
    assert "guard_band_nm" not in found.facts


def test_a_large_field_is_predicted_in_pieces_and_mapped(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fieldsight.data import arrays

    mask = np.kron(np.random.default_rng(0).random((40, 40)) > 0.5, np.ones((8, 8))).astype(bool)
    whole = fieldsight.load("sem", run).predict(mask, tile=64)
    monkeypatch.setattr(arrays.allocate, "__defaults__", (np.float32, 1000))
    monkeypatch.setattr(arrays, "IN_MEMORY", 1000)
    found = fieldsight.load("sem", run).predict(mask, tile=64)
    assert isinstance(found.mid, np.memmap)
    np.testing.assert_array_equal(whole.mid, found.mid)
    files = found.save(tmp_path, "big")
    np.testing.assert_array_equal(read_image(files[1]), whole.mid)


def test_a_folder_with_broken_files_goes_on(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    good = write_image(folder / "sub" / "a.png", np.kron(np.eye(4), np.ones((8, 8))).astype(np.uint8) * 255)
    (folder / "b.png").write_bytes(b"")
    (folder / "c.gds").write_bytes(b"nonsense" * 9)
    (folder / "d.png").write_bytes(good.read_bytes()[:50])
    (folder / "notes.txt").write_text("not a layout")
    assert main(["sem", "predict", str(folder), "--model", str(run), "--out", str(tmp_path / "out")]) == 3
    said = capsys.readouterr().err
    for name in ("b.png", "c.gds", "d.png"):
        assert f"skipped {folder / name}" in said
    assert "3 of 4 inputs were skipped" in said
    assert (tmp_path / "out" / "sub" / "a_mid.tif").is_file()
    assert not list((tmp_path / "out").glob("b*"))


# ------------------------------------------------------------------------------------------- the other verbs


def test_simulate_draws_reads_and_repeats(tmp_path: Path, layout: Path) -> None:
    drawn = fieldsight.call("sem", "simulate", pattern="contacts", count=2, size=64, pixel="4nm", seed=3)
    again = fieldsight.call("sem", "simulate", pattern="contacts", count=2, size=64, pixel="4nm", seed=3)
    assert [a.made.sem.tobytes() for a in drawn.samples] == [b.made.sem.tobytes() for b in again.samples]
    files = drawn.save(tmp_path / "sim")
    assert len(files) == 8
    sidecar = json.loads((tmp_path / "sim" / "json" / "contacts-0001.json").read_text())
    assert sidecar["recipe"]["etch"]["anisotropy"] == 0.85
    assert sidecar["drawn"] is True
    noisy = fieldsight.call("sem", "simulate", layout, count=2, pixel="4nm")
    assert (noisy.samples[0].made.sem != noisy.samples[1].made.sem).any()
    np.testing.assert_array_equal(noisy.samples[0].made.mask, noisy.samples[1].made.mask)
    for change in ({}, {"pattern": "cells"}):
        with pytest.raises(ConfigError):
            fieldsight.call("sem", "simulate", **change)


def test_the_bias_correction_brings_features_back_to_size() -> None:
    from fieldsight.systems.sem.process import simulate

    mask = np.zeros((128, 128), bool)
    mask[:, 40:90] = True
    assert shrink(mask, 15.0, 2.0).sum() == 128 * (50 - 16)
    assert shrink(mask, 15.0, 2.0)[:, 48:82].all()
    widths = []
    for m in (mask, shrink(mask, 7.5, 2.0)):
        height = simulate(m, 2.0, TINY.data.recipe, np.random.default_rng(0)).height
        widths.append(float((height > 55).mean() * 128))
    assert abs(widths[1] - 50) < abs(widths[0] - 50)


def test_own_pairs_from_folder_to_report(run: Path, data: Path, tmp_path: Path) -> None:
    model = fieldsight.load("sem", run)
    calibrated = model.calibrate(data, groups="density")
    assert calibrated.calibration.n_layouts == 4
    assert calibrated.coverage == pytest.approx(0.9, abs=0.01)
    files = calibrated.save(tmp_path / "cal")
    assert [f.name for f in files] == ["calibration.json", "model"]
    ready = fieldsight.load("sem", tmp_path / "cal" / "model")
    assert ready.calibration == calibrated.calibration
    first = next(iter((data / "mask").glob("*.png")))
    with_file = model.predict(first, calibration=files[0])
    np.testing.assert_array_equal(with_file.hi, ready.predict(first).hi)
    tuned = model.finetune(data, out=tmp_path / "tuned", second={"epochs": 2})
    assert tuned.info["verb"] == "finetune"
    compared = tuned.model.evaluate(data, against=str(run))
    table = compared.tables[0]
    assert {row["metric"] for row in table.rows} == {"mae", "coverage", "width", "interval_score"}
    assert all(0 <= row["p_holm"] <= 1 for row in table.rows)
    printed = model.calibrate(data, score="printed")
    assert printed.coverage > 0.97
    with pytest.raises(DataError, match="name it with --out"):
        model.finetune(data)
    shifted = model.evaluate(shift=True)
    assert "another process corner" in shifted.on


def test_pairs_keep_what_their_folder_says(data: Path) -> None:
    pairs = read_pairs(data)
    assert {p.split for p in pairs} == {"train", "val", "calibration", "test"}
    assert all(p.height is not None and p.pixel == 6.0 and p.family in TRAINED_FAMILIES for p in pairs)


def test_shifted_pictures_are_noticed() -> None:
    made = fieldsight.call("sem", "simulate", pattern="manhattan", count=4, size=128, pixel="4nm").samples
    straight = [Pair(s.name, s.name, "", "train", s.made.mask, s.made.sem) for s in made]
    moved = [Pair(s.name, s.name, "", "train", s.made.mask, np.roll(s.made.sem, (3, -4), (0, 1))) for s in made]
    assert check_registration(straight) == []
    found = check_registration(moved)
    assert len(found) == 4
    assert "pixels (x, y)" in found[0]
    shift = measure_shift(moved[0].mask, moved[0].target)
    assert shift == pytest.approx((-4.0, 3.0), abs=0.7)


@pytest.mark.parametrize(("pixel", "size"), [("6nm", 32), ("4nm", 64), ("2nm", 256)])
def test_an_etch_that_widens_lines_is_no_shift(pixel: str, size: int) -> None:
    made = fieldsight.call("sem", "simulate", pattern="gratings", count=6, size=size, pixel=pixel).samples
    assert check_registration([Pair(s.name, s.name, "", "train", s.made.mask, s.made.sem) for s in made]) == []


def test_data_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs the folders mask/ and sem/"):
        read_pairs(tmp_path)
    (tmp_path / "mask").mkdir()
    (tmp_path / "sem").mkdir()
    with pytest.raises(DataError, match="holds no pairs"):
        read_pairs(tmp_path)


def test_cells_need_their_asset() -> None:
    with pytest.raises(DataError, match="fieldsight assets fetch sky130"):
        fieldsight.call("sem", "make-data", out="unused", preset="base", layouts=8)


def test_reproduce_names_the_papers_errors_and_mixes_no_columns(tmp_path: Path) -> None:
    found = fieldsight.call("sem", "reproduce")
    assert len(found.errors) >= 12
    verdicts = found.verdicts()
    assert verdicts["reproduced"] >= 14
    assert verdicts["contradicts"] == 5
    rows = {row.name: row for table in found.tables for row in table.rows}
    assert rows["images, baseline"].recomputed == 240
    assert rows["test, transfer, mae"].recomputed is None
    assert [p.name for p in found.save(tmp_path)] == ["reproduce.json", "reproduce.csv", "reproduce.html"]


# -------------------------------------------------------------------------------------------------- metrology


def disc(radius: float, size: int = 128) -> np.ndarray:
    rows, cols = np.indices((size, size))
    distance = radius - np.hypot(rows - size / 2, cols - size / 2)
    return (0.2 + 0.4 / (1 + np.exp(-distance / 1.5))).astype(np.float32)


def test_edges_are_measured_in_nanometres() -> None:
    true, wide = disc(30.0), disc(32.0)
    found = metrology.edge_errors(true, wide - 0.05, wide, wide + 0.05, pixel=2.0)
    assert found.epe == pytest.approx(4.0, abs=0.4)
    assert found.cd == pytest.approx(8.0, abs=0.8)
    assert found.band > 0
    narrow = metrology.edge_errors(true, disc(29.0), disc(29.0), disc(29.0), pixel=2.0)
    assert narrow.cd == pytest.approx(-4.0, abs=0.8)
    assert np.isnan(found.ler)  # a disc has no straight edge
    blank = metrology.edge_errors(np.full((32, 32), 0.2), true[:32, :32], true[:32, :32], true[:32, :32], 1.0)
    assert np.isnan(blank.epe)


def test_edge_band_follows_the_surface_not_the_mask() -> None:
    band = metrology.edge_band(disc(30.0))
    rows, cols = np.nonzero(band)
    radii = np.hypot(rows - 64, cols - 64)
    assert radii.min() > 26
    assert radii.max() < 34
    assert not metrology.edge_band(np.zeros((8, 8))).any()


def test_hotspots_are_the_highest_and_keep_their_distance() -> None:
    score = np.zeros((64, 64), np.float32)
    for row, column, height in ((10, 10, 3.0), (12, 12, 2.9), (40, 50, 2.0), (60, 5, 1.0)):
        score[row, column] = height
    found = metrology.hotspots(score, 3)
    assert [(s.row, s.column) for s in found][1:] == [(40, 50), (60, 5)]
    joined = metrology.strongest([*found, *metrology.hotspots(score, 3, offset=(0, 100))], 4)
    assert [s.score for s in joined] == sorted((s.score for s in joined), reverse=True)


# ----------------------------------------------------------------------------------------------------- studies


def test_held_out_lists_agree_with_the_code(root: Path) -> None:
    import tomlkit

    listed = tomlkit.parse((root / "studies" / "sem" / "heldout.toml").read_text()).unwrap()
    assert tuple(listed["cells"]["functions"]) == HELD_OUT_CELLS
    assert not {*listed["shipped"]["families"]} & {*TRAINED_FAMILIES}
    assert listed["shipped"]["data_seed"] == PRESETS["base"].data.seed == PRESETS["paper"].data.seed


def test_the_recorded_studies_bear_the_claims() -> None:
    """Acceptance 10 and 11: derived from records, not from words."""
    behaviour, stage, recipes = (studies.read("sem", n) for n in ("behaviour", "second_stage", "recipes"))
    assert behaviour is not None
    assert stage is not None
    assert recipes is not None
    assert len(behaviour["seeds"]) == len(stage["seeds"]) == len(recipes["seeds"]) == 5
    means = {name: entry["value"] for name, entry in behaviour["claims"].items()}
    assert means["edge_ratio_of_errors"] >= 1.5
    assert means["calibration_coverage"] == pytest.approx(0.9, abs=1e-3)
    assert means["test_coverage"] == pytest.approx(0.9, abs=0.03)
    assert means["shift_drop"] >= 0.03
    assert abs(means["online_coverage"] - 0.9) < abs(means["shift_coverage"] - 0.9)
    assert means["online_width"] > means["shift_width"]
    rows = {(r["seed"], r["epochs"], r["variant"]): r for r in stage["rows"]}
    for seed in stage["seeds"]:
        assert rows[seed, 1, "transfer"]["mae"] < rows[seed, 1, "baseline"]["mae"]
    assert {e for _, e, _ in rows} == {1, 5, 15, 50}
    for epochs in (1, 5, 15, 50):
        for control in ("gamma 1", "continue decoder", "continue all"):
            assert (0, epochs, control) in rows
    winner = recipes["claims"]["winner"]
    entries = {n: e for n, e in recipes["claims"].items() if n not in ("winner", "best", "holm")}
    valid = {n: e for n, e in entries.items() if 0.87 <= e["coverage"]["value"] <= 0.93}
    best = min(valid, key=lambda n: valid[n]["interval_score"]["value"])
    assert recipes["claims"]["best"] == best
    assert winner in valid
    assert valid[winner]["interval_score"]["value"] <= valid[best]["interval_score"]["high"]  # equal, and simpler
    base, changed = PRESETS["base"], PRESETS["small"].replace(**recipes["recipes"][winner])
    for name in ("schedule", "fit_on", "augment"):  # what ships is what won
        assert getattr(base, name) == getattr(changed, name), name
    assert base.second.kind == changed.second.kind
