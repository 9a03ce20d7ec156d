"""Choices from numbers: the acceptance cases, the front, near misses in words, and tables of users."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge.profiles import BenchRow, paper_rows, read_rows, rows_of
from fieldsight.systems.edge.recommend import (
    Constraints,
    Recommendation,
    endurance_min,
    inferences_per_wh,
    missions,
    pareto,
    recommend,
    table7,
)


def ask(rows: Any = None, **constraints: Any) -> Recommendation:
    return recommend(Constraints(**constraints), rows)


def names(found: Recommendation) -> list[str]:
    return [f"{j.row.device} {j.row.model} {j.row.precision}" for j in found.ranked]


# ---------------------------------------------------------------------------------------------------- acceptance


def test_accuracy_power_and_speed_leave_one() -> None:
    assert names(ask(min_map=0.86, max_power=8, min_fps=20)) == ["Orin Nano s FP16"]


def test_without_the_speed_the_raspberry_pi_fits_too() -> None:
    found = ask(min_map=0.86, max_power=8)
    assert names(found) == ["Orin Nano s FP16", "RPi5 s FP32"]
    assert "4.74" in found.ranked[1].reason
    assert "Table 5" in found.ranked[1].reason


def test_sixty_frames_a_second_leave_one() -> None:
    found = ask(min_fps=60)
    assert names(found) == ["Orin NX n INT8"]
    assert "57.4 FPS only (IPM / 60)" in found.ranked[0].reason
    assert not ask(min_fps=60, rate="loop").ranked
    assert not ask(min_fps=34, rate="rtt").ranked
    assert names(ask(min_fps=33, rate="rtt")) == ["Orin NX n INT8"]


def test_energy_ranks_the_nx_ahead_of_the_nano() -> None:
    found = ask(max_epi=0.25, min_map=0.84)
    assert names(found)[:2] == ["Orin NX n FP16", "Orin Nano n FP16"]
    first, second = (j.row.epi_j or 0 for j in found.ranked[:2])
    assert (round(first, 3), round(second, 3)) == (0.203, 0.208)


def test_inferences_of_a_wh() -> None:
    assert [round(inferences_per_wh(j)) for j in (0.185, 0.302, 1.498)] == [19_459, 11_921, 2_403]


# ------------------------------------------------------------------------------------------------------- ranking


@pytest.mark.parametrize(
    ("prefer", "first"),
    [("epi", "Orin NX n INT8"), ("map", "Orin Nano s FP16"), ("fps", "Orin NX n INT8"), ("power", "RPi5 s FP32"),
     ("latency", "Orin NX n INT8")],
)  # fmt: skip
def test_what_is_preferred_comes_first(prefer: str, first: str) -> None:
    assert names(ask(prefer=prefer))[0] == first


def test_a_near_miss_names_the_constraint_that_it_breaks() -> None:
    found = ask(min_fps=60)
    near = {j.row.name: j for j in found.near}
    nx = near["Orin NX + n FP16 (TensorRT)"]
    assert [b.name for b in nx.broken] == ["min_fps"]
    assert nx.reason == "speed 58.82 FPS, at least 60 FPS asked (2.0 % off)"
    assert found.near[0] is nx  # the nearest first
    assert all(len(j.broken) == 1 and j.broken[0].by <= 0.25 for j in found.near)
    assert len(found.ranked) + len(found.near) + len(found.others) == 14


def test_a_bound_itself_fits() -> None:
    assert names(ask(min_map=0.8622)) == ["Orin Nano s FP16"]
    assert names(ask(max_power=5.422)) == ["RPi5 s FP32"]


def test_nothing_fits_and_says_so() -> None:
    found = ask(min_map=0.87)
    assert found.best is None
    assert found.lines()[0].startswith("No configuration fits")
    assert found.near[0].row.map50_95 == 0.8622


def test_unmeasured_is_not_met_and_never_near() -> None:
    found = ask(max_weight=200)
    assert not found.ranked
    assert not found.near
    assert "weight not measured, at most 200 g asked" in found.others[0].reason
    light = [replace(r, weight_g=46.0 if r.device == "RPi5" else 176.0) for r in paper_rows()]
    assert {n.split()[0] for n in names(ask(light, max_weight=100))} == {"RPi5"}


def test_battery_and_endurance() -> None:
    assert endurance_min(10.0, 7.5) == pytest.approx(80)
    assert endurance_min(10.0, 7.5, 92.5) == pytest.approx(6)
    found = ask(battery_wh=10, airframe_w=60, min_endurance=9)
    assert {j.row.device for j in found.ranked} == {"RPi5"}
    assert {j.row.device for j in found.near} == {"Orin Nano", "Orin NX"}
    assert found.table().rows[0]["endurance"] == pytest.approx(60 * 10 / (60 + found.ranked[0].row.mean_power_w))
    with pytest.raises(ConfigError, match="battery_wh"):
        Constraints(min_endurance=10)
    for bad in (lambda: endurance_min(0, 1), lambda: endurance_min(1, 0), lambda: inferences_per_wh(0)):
        with pytest.raises(ConfigError):
            bad()


def test_the_cloud_is_a_question_of_the_network() -> None:
    near, far = ask(network_rtt=20, min_map=0.86), ask(network_rtt=30, min_map=0.86)
    assert "26.82 ms" in near.notes[0]
    assert "the cloud is faster; they are even at 28.27 ms" in near.notes[0]
    assert "the edge is faster" in far.notes[0]
    assert ask(network_rtt=20, min_map=0.99).notes[0].endswith("26.82 ms.")


def test_latency_is_the_loop() -> None:
    found = ask(max_latency=35.5, min_map=0.86)
    assert names(found) == ["Orin NX s FP16"]
    assert "latency 35.09 ms (at most 35.5 ms)" in found.ranked[0].reason


# --------------------------------------------------------------------------------------------------------- front


def row(name: str, accuracy: float | None, fps: float | None, epi: float | None) -> BenchRow:
    return BenchRow("host", name, "FP32", map50_95=accuracy, mis_fps=fps, told_epi_j=epi)


def test_front_by_hand() -> None:
    rows = [
        row("a", 0.9, 10, 1.0),
        row("b", 0.8, 20, 1.0),
        row("c", 0.8, 10, 1.0),
        row("d", 0.8, 20, None),
        row("e", 0.8, 20, 1.0),
    ]
    assert pareto(rows) == [True, True, False, None, True]  # equals share the front
    unmeasured = [row("a", 0.9, 10, None), row("b", 0.8, 5, None)]
    assert pareto(unmeasured) == [True, False]  # energy nowhere measured: left out
    assert pareto([row("a", None, None, None)]) == [None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 100), st.floats(0.01, 2)), min_size=1, max_size=12))
def test_front_is_what_nothing_dominates(points: list[tuple[float, float, float]]) -> None:
    front = pareto([row(str(i), *p) for i, p in enumerate(points)])
    assert any(front)
    for (a, f, e), on in zip(points, front, strict=True):
        dominated = any(x >= a and y >= f and z <= e and (x, y, z) != (a, f, e) for x, y, z in points)
        assert on is not dominated


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.floats(0, 80), st.floats(0.1, 20), st.floats(0.01, 2))
def test_what_fits_keeps_every_constraint(accuracy: float, fps: float, power: float, epi: float) -> None:
    found = ask(min_map=accuracy, min_fps=fps, max_power=power, max_epi=epi)
    assert len(found.ranked) + len(found.near) + len(found.others) == 14
    for r in (j.row for j in found.ranked):
        assert (r.map50_95 or 0) >= accuracy
        assert (r.mis_fps or 0) >= fps
        assert (r.mean_power_w or 99) <= power
        assert (r.epi_j or 99) <= epi
    for j in (*found.near, *found.others):
        assert j.broken
    order = [j.row.epi_j for j in found.ranked]
    assert order == sorted(order)  # type: ignore[type-var]


# ------------------------------------------------------------------------------------------------------ missions


def test_table_7_again() -> None:
    made = table7()
    assert [r["configuration"] for r in made.rows] == [
        "Orin Nano + s INT8 (TensorRT)", "Orin NX + n INT8 (TensorRT)", "Orin Nano + s FP16 (TensorRT)",
        "Orin NX + n FP16 (TensorRT)", "RPi5 + n FP32 (NCNN)",
    ]  # fmt: skip
    assert [r["map50"] for r in made.rows] == [0.9189, 0.8276, 0.9771, 0.9622, 0.9612]
    assert all(m.rule for m in missions())


def test_rules_follow_the_numbers() -> None:
    nano = [r for r in paper_rows() if r.device == "Orin Nano"]
    assert all("Orin Nano" in r["configuration"] for r in table7(nano).rows)
    slow = [replace(r, mis_fps=1.0, ipm=60.0) for r in nano]
    assert [r["configuration"] for r in table7(slow).rows].count("none fits") == 4


# -------------------------------------------------------------------------------------------------- users' tables


CSV = """device,model,precision,map50_95,map50,mis_fps,ipm,mean_power_w [W],epi_j [J],notes
host,p,FP32,0.79,0.97,40,2100,,,
host,p,INT8,0.78,0.96,60,3000,not measured,,"no VNNI; two threads"
board,n,FP16,0.84,0.97,30,1500,7.5,0.3,
"""


def written(folder: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_csv_and_json_give_the_same_rows(tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path, CSV))
    assert [r.mean_power_w for r in rows] == [None, None, 7.5]
    assert rows[1].notes == ("no VNNI", "two threads")
    assert rows[2].epi_j == pytest.approx(0.3)
    plain = [{"device": r.device, "model": r.model, "precision": r.precision, "map50_95": r.map50_95, "map50": r.map50,
              "mis_fps": r.mis_fps, "ipm": r.ipm, "mean_power_w": r.mean_power_w, "notes": list(r.notes),
              "epi_j": r.epi_j} for r in rows]  # fmt: skip
    again = read_rows(written(tmp_path, json.dumps({"title": "x", "rows": plain}), "rows.json"))
    assert [replace(r, told_epi_j=None) for r in again] == [replace(r, told_epi_j=None) for r in rows]
    assert read_rows(written(tmp_path, json.dumps(plain), "list.json")) == again
    assert read_rows(written(tmp_path, CSV.replace(",", ";").encode("utf-8-sig")))[0] == rows[0]


def test_users_rows_are_judged(tmp_path: Path) -> None:
    found = recommend(Constraints(max_power=10), read_rows(written(tmp_path, CSV)))
    assert names(found) == ["board n FP16"]
    assert all("power not measured" in j.reason for j in found.others)
    assert recommend(Constraints(prefer="fps"), read_rows(written(tmp_path, CSV))).ranked[-1].front is not False


def test_impossible_rows_are_flagged_and_not_mended(tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path, "device,model,precision,mis_fps,ipm,map50,map50_95\nx,n,FP32,10,900,0.5,0.6\n"))
    assert rows[0].mis_fps == 10
    assert "15.00 is more than the model alone can do" in rows[0].notes[0]
    assert "more than mAP50" in rows[0].notes[1]
    nx = next(r for r in paper_rows() if (r.device, r.model, r.precision) == ("Orin NX", "n", "FP32"))
    assert "53.03" in nx.notes[0]
    assert nx.mis_fps == 52.19


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("device,model,precision\n", "no rows"),
        ("device,model\nx,n\n", "'precision' is missing"),
        ("device,model,precision,mis_fp\nx,n,FP32,3\n", "Did you mean 'mis_fps'"),
        ("device,model,precision,mis_fps\nx,n,FP32,nan\n", "row 1: mis_fps must be a number above 0, got 'nan'"),
        ("device,model,precision,mis_fps\nx,n,FP32,inf\n", "above 0"),
        ("device,model,precision,mis_fps\nx,n,FP32,0\n", "above 0"),
        ("device,model,precision,map50\nx,n,FP32,97\n", "0 to 1"),
        ("device,model,precision,map50\nx,,FP32,0.5\n", "model is empty"),
        ("device,model,precision,mis_fps\nx,n,FP32\n", "number of cells"),
        ("device,model,precision,model\nx,n,FP32,n\n", "twice"),
        ("device,model,precision\nx,n,FP32\nx,n,FP32\n", "is there twice"),
        ('device,model,precision\n"x,n,FP32\n', "no CSV"),
        ("device,model,precision,mean_power_w,ipm,epi_j\nx,n,FP32,10,600,0.5\n", "mean_power_w x 60 / ipm = 1"),
        (b"\xff\xfe\x00device", "no text"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        read_rows(written(tmp_path, text))


ROW = '[{"device": "x", "model": "n", "precision": "y", %s}]'


@pytest.mark.parametrize(
    "text",
    ["{", "3", '{"rows": 3}', "[1]", "[]", '[{"device": "x"}]', "[[[[", "[" * 100_000, "9" * 5000]
    + [ROW % cell for cell in ('"ipm": true', '"ipm": NaN', '"ipm": 1e999', '"ipm": [1]', '"map50": {}', '"ipm": -1')],
)
def test_bad_json(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        read_rows(written(tmp_path, text, "rows.json"))


def test_files_that_are_none(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path, "nul\0byte.csv"):
        with pytest.raises(DataError, match="Can't read"):
            read_rows(path)
    with pytest.raises(DataError, match="no configurations"):
        recommend(Constraints(), [])
    assert rows_of([{"device": "x", "model": "n", "precision": "y", "seconds": 3}], ignore=["seconds"])


CELLS = st.text(alphabet='device,model\nprecision;\t"0123456789.nae-+', max_size=200)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        CELLS.map(lambda text: b"device,model,precision,ipm\n" + text.encode()),
    ),
    st.sampled_from(["rows.csv", "rows.json"]),
)
def test_hostile_tables_end_in_data_errors(tmp_path: Path, text: bytes, name: str) -> None:
    try:
        rows = read_rows(written(tmp_path, text, name))
    except DataError:
        return
    assert rows
    assert all(r.ipm is None or (math.isfinite(r.ipm) and r.ipm > 0) for r in rows)


NAMES = st.sampled_from(["device", "model", "precision", "ipm", "map50", "epi_j", "notes", "mean_power_w"])
THINGS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**5000), st.floats(), st.text(max_size=8),
    st.lists(st.integers(), max_size=2), st.just([10**5000]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(NAMES, THINGS, max_size=8), max_size=4))
def test_hostile_rows_end_in_data_errors(rows: list[dict[str, Any]]) -> None:
    with contextlib.suppress(DataError):
        recommend(Constraints(min_fps=1.0), rows_of(rows)).lines()


# -------------------------------------------------------------------------------------------------------- output


def test_it_saves(tmp_path: Path) -> None:
    found = ask(min_map=0.86, max_power=8, battery_wh=10)
    files = found.save(tmp_path)
    kept = json.loads(files[0].read_text())
    assert kept["constraints"]["max_power"] == 8
    assert kept["rows"][0]["verdict"] == "fits"
    assert len(kept["rows"]) == 14
    assert files[1].read_text().startswith("verdict,rank,configuration")
    assert found.shown()[0]["best"] == "Orin Nano + s FP16 (TensorRT)"
