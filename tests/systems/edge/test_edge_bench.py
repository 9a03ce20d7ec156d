"""The benchmark: metrics from times and joules, processes of their own, rows that are read back, runtimes that lack."""

from __future__ import annotations

import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.data.detection.sample import Detections, Truth
from fieldsight.data.images import write_image
from fieldsight.data.video import write_video
from fieldsight.errors import ConfigError, DataError, ExportError
from fieldsight.metrics.detection import AveragePrecision
from fieldsight.power.sampler import Sampler
from fieldsight.power.sensors import Synthetic
from fieldsight.predictions import Table
from fieldsight.systems.edge import bench_isolated
from fieldsight.systems.edge.backends import BACKENDS
from fieldsight.systems.edge.bench import bench, estimated_joules
from fieldsight.systems.edge.bench_child import Job, Worker, limits, peak_memory, serve
from fieldsight.systems.edge.bench_host import clock_mhz, environment, governor, power_source, processor
from fieldsight.systems.edge.bench_isolated import Isolated
from fieldsight.systems.edge.bench_report import with_clip
from fieldsight.systems.edge.bench_rows import (
    NOT_MEASURED,
    Timing,
    accuracy_cells,
    against_single,
    energy_cells,
    speed_cells,
)
from fieldsight.systems.edge.bench_timing import measure
from fieldsight.systems.edge.config import PRESETS
from fieldsight.systems.edge.options_bench import COLUMNS, MORE_COLUMNS, EdgeBenchOptions
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.profiles import _NUMBERS, _TEXTS, BenchRow, impossible, read_rows
from fieldsight.systems.edge.recommend import Constraints, recommend

RULES = {"conf": 0.25, "iou": 0.7, "limit": 300, "best_class": False, "agnostic": False}


@pytest.fixture(scope="module")
def model() -> EdgeModel:
    return EdgeModel.create(PRESETS["tiny"])


@pytest.fixture
def job(tmp_path: Path) -> Job:
    np.save(tmp_path / "input.npy", np.zeros((1, 3, 64, 64), np.float32))
    photo = write_image(tmp_path / "a.png", np.zeros((40, 60, 3), np.uint8))
    return Job("torch", "fp32", "", 1, (), str(tmp_path / "input.npy"), (str(photo),), 64, RULES)


def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither ncnn nor TensorRT is installed."""
    real = importlib.import_module

    def some(name: str, *more: Any, **named: Any) -> Any:
        if name in ("ncnn", "pnnx", "tensorrt"):
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(importlib, "import_module", some)


def silent(pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.zeros((len(pictures), 6, 84), np.float32)


# ------------------------------------------------------------------------------------------------- metrics


def looped(frames: int, seconds: float, load: float = 0.0, model: float = 0.05) -> Timing:
    timing = Timing(calls=[[model] * 4] * 3, load=load)
    each = seconds / frames - model
    timing.add_loop(
        {"pre": [each / 2] * frames, "model": [model] * frames, "post": [each / 2] * frames, "seconds": seconds}
    )
    return timing


def test_ten_watts_for_a_minute_and_600_inferences_cost_a_joule_each() -> None:
    now = [0.0]
    sampler = Sampler(Synthetic(10.0, lambda: now[0]), clock=lambda: now[0])
    for _ in range(601):
        sampler.tick()
        now[0] += 0.1
    timing = looped(600, 60.0)
    timing.joules, timing.power_seconds = sampler.trace().joules, sampler.trace().length
    cells = energy_cells(timing, idle_w=4.0, sensor=True)
    assert timing.ipm == pytest.approx(600)
    assert cells["mean_power_w"] == pytest.approx(10)
    assert cells["energy_j"] == pytest.approx(600)
    assert f"{cells['epi_j']:.3f}" == "1.000"
    assert f"{cells['epi_net_j']:.3f}" == "0.600"


def test_without_a_sensor_nothing_is_guessed() -> None:
    cells = energy_cells(looped(10, 1.0), None, sensor=False)
    assert set(cells.values()) == {NOT_MEASURED}
    assert energy_cells(None, None, sensor=False) == {}
    timing = looped(600, 60.0)
    timing.joules, timing.power_seconds = 600.0, 60.0
    assert energy_cells(timing, None, sensor=True)["epi_net_j"] == NOT_MEASURED


def test_ipm_is_scaled_to_a_minute_less_one_opening() -> None:
    assert looped(50, 5.0).ipm == pytest.approx(600)
    assert looped(50, 5.0, load=6.0).ipm == pytest.approx(540)
    assert looped(50, 5.0, load=61.0).ipm is None


TIMES = st.lists(st.floats(1e-6, 2.0), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(st.lists(TIMES, max_size=4), TIMES, st.floats(0, 59), st.floats(0, 0.5))
def test_the_whole_loop_is_never_faster_than_the_network(
    calls: list[list[float]], inside: list[float], load: float, other: float
) -> None:
    timing = Timing(calls=calls, load=load)
    parts = [other] * len(inside)
    timing.add_loop({"pre": parts, "model": inside, "post": parts, "seconds": sum(inside) + 2 * other * len(inside)})
    cells = speed_cells(timing)
    row = BenchRow("d", "m", "FP32", mis_fps=cells["mis_fps"], ipm=cells["ipm"])
    assert not impossible(row)
    assert cells["p50_ms"] <= cells["p95_ms"] <= cells["p99_ms"]


def test_a_network_that_was_disturbed_is_told() -> None:
    timing = looped(10, 1.0, model=0.05)
    assert not timing.disturbed
    timing.calls = [[0.08] * 4]
    assert timing.disturbed
    assert speed_cells(timing)["latency_ms"] == pytest.approx(50)


def test_int8_against_fp32_is_paired() -> None:
    rng = np.random.default_rng(0)
    drift = rng.uniform(1, 3, 12)[:, None]  # what disturbs a round disturbs both
    single = Timing(calls=(0.010 * drift * rng.normal(1, 0.01, (12, 5))).tolist())
    own = Timing(calls=(0.008 * drift * rng.normal(1, 0.01, (12, 5))).tolist())
    cells = against_single(own, single, None, None, 10)
    assert cells["speedup"] == pytest.approx(1.25, rel=0.1)
    assert cells["speedup_p"] == pytest.approx(2 / 2**12)
    assert against_single(own, None, None, None, 10) == {}


def pool(shift: float, scores: float = 0.9) -> AveragePrecision:
    found = AveragePrecision(("a",))
    for n in range(12):
        truth = Truth.of([[10, 10, 50, 50]], [0])
        moved = shift if n % 3 == 0 else 0.0
        found.add(f"{n}", Detections.of([[10 + moved, 10, 50 + moved, 50]], [scores], [0]), truth)
    return found


def test_lost_map_has_an_interval_and_both_settings_are_told() -> None:
    cells = against_single(None, None, pool(8.0), pool(0.0), 200)
    assert 0 < cells["map_loss"] < 1
    assert cells["map_loss_low"] <= cells["map_loss"] <= cells["map_loss_high"]
    assert against_single(None, None, pool(0.0), pool(0.0), 50)["map_loss"] == 0
    told = accuracy_cells(pool(0.0, scores=0.3))
    assert (told["map50_95"], told["map50_95_conf50"]) == (1.0, 0.0)
    empty = AveragePrecision(("a",))
    empty.add("x", Detections.of([], [], []), Truth.of([], []))
    assert accuracy_cells(empty) == {}
    assert against_single(None, None, empty, empty, 10) == {}
    assert accuracy_cells(None) == {}


def test_columns_are_those_that_rows_are_read_by() -> None:
    known = {*_TEXTS, *_NUMBERS, "notes"}
    assert set(COLUMNS) <= known | set(MORE_COLUMNS)
    assert not known & set(MORE_COLUMNS)
    assert set(MORE_COLUMNS) <= set(COLUMNS)


# ------------------------------------------------------------------------------------------------- one configuration


def test_a_worker_times_calls_the_loop_and_a_video(job: Job, tmp_path: Path) -> None:
    worker = Worker(job, silent)
    assert len(worker.answer({"do": "call", "times": 3})["seconds"]) == 3
    told = worker.answer({"do": "loop", "seconds": 0.02})
    assert told["seconds"] >= 0.02
    assert len(told["pre"]) == len(told["model"]) == len(told["post"]) > 0
    assert sum(map(sum, (told["pre"], told["model"], told["post"]))) <= told["seconds"]
    with write_video(tmp_path / "v.mp4", 10) as add:
        for n in range(6):
            add(np.full((48, 64, 3), 40 * n, np.uint8))
    film = worker.answer({"do": "video", "file": str(tmp_path / "v.mp4"), "most": 4})
    assert (film["frames"], film["expected"]) == (4, 4)
    with pytest.raises(DataError):
        worker.video(tmp_path / "none.mp4", 0)


def test_a_video_that_ends_early_is_told(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fieldsight.data import video

    class Short:
        count = 9

        def __init__(self, path: Path) -> None:
            pass

        def __call__(self, n: int) -> Any:
            if n == 5:
                raise DataError("it ends here")
            return np.zeros((48, 64, 3), np.uint8)

        def close(self) -> None:
            pass

    monkeypatch.setattr(video, "Video", Short)
    options = EdgeBenchOptions(
        isolate=False, warmup=0, rounds=2, runs=2, seconds=0.02, video=tmp_path / "v.avi", idle=0
    )
    found = measure({"fp32": job}, options, None, {"fp32": silent})["fp32"]
    assert isinstance(found, Timing)
    assert found.video_fps is not None
    assert found.video_fps > 0
    assert any("ended after 5 of 9" in note for note in found.notes)


def test_rounds_take_turns_and_power_is_read(job: Job) -> None:
    order: list[str] = []

    def named(name: str) -> Any:
        def run(pictures: Any) -> Any:
            order.append(name)
            return silent(pictures)

        return run

    options = EdgeBenchOptions(isolate=False, warmup=0, rounds=3, runs=2, seconds=0.3)
    sessions = {"a": named("a"), "b": named("b")}
    found = measure({"a": job, "b": job}, options, Synthetic(5.0), sessions)
    calls = "".join(order[2:])  # after the first call of each
    assert calls.startswith("aabb")
    assert "".join(dict.fromkeys(calls.replace("aa", "a").replace("bb", "b"))) == "ab"
    for timing in found.values():
        assert isinstance(timing, Timing)
        assert [len(part) for part in timing.calls] == [2, 2, 2]
        assert timing.joules / timing.power_seconds == pytest.approx(5)
        assert timing.memory_mb is None  # of this process it would say nothing


def test_jobs_and_answers_are_lines(job: Job) -> None:
    assert Job.from_line(job.to_line()) == job
    for text in ("", "[]\n", "{}\n", "no json\n", job.to_line() + "\n"):  # the last one names no model
        answers = io.StringIO()
        assert serve(io.StringIO(text), answers) == 1
        assert set(json.loads(answers.getvalue())) == {"error"}
    assert limits(2)["OMP_NUM_THREADS"] == "2"
    memory = peak_memory()
    assert memory is None or 1 < memory < 1e6


# ------------------------------------------------------------------------------------------------- processes


def test_a_process_that_dies_is_told(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho out of memory >&2\nexit 7\n")
    script.chmod(0o755)
    monkeypatch.setattr(bench_isolated.sys, "executable", str(script))
    with pytest.raises(ExportError, match=r"status 7: out of memory"):
        Isolated(job)
    options = EdgeBenchOptions(rounds=1, runs=1, seconds=0.01, warmup=0)
    assert "status 7" in str(measure({"fp32": job}, options)["fp32"])


def test_one_that_says_nothing_is_ended(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(bench_isolated.sys, "executable", str(script))
    monkeypatch.setattr(bench_isolated, "PATIENCE", 0.2)
    with pytest.raises(ExportError, match="said nothing"):
        Isolated(job)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processors are pinned on Linux")
def test_a_configuration_in_a_process_of_its_own(model: EdgeModel, job: Job, tmp_path: Path) -> None:
    artefact = BACKENDS["torchscript"].write(model, tmp_path, "fp32")
    own = Job(**{**job.__dict__, "backend": "torchscript", "path": str(artefact.path), "processors": (0,)})
    child = Isolated(own)
    try:
        assert len(child.ask({"do": "call", "times": 2})["seconds"]) == 2
        assert child.ask({"do": "loop", "seconds": 0.01})["model"]
        told = child.ask({"do": "tell"})
        assert told["load"] > 0
        with pytest.raises(ExportError, match="KeyError"):
            child.ask({"order": "unknown"})
        with pytest.raises(ExportError, match="ended"):
            child.ask({"do": "tell"})
    finally:
        child.close()


# ------------------------------------------------------------------------------------------------- the table


def short(**changes: Any) -> EdgeBenchOptions:
    known: dict[str, Any] = {
        "runtimes": ("torch",), "precisions": ("fp32",), "isolate": False, "warmup": 1, "rounds": 2, "runs": 2,
        "seconds": 0.05, "frames": 3, "samples": 4, "draws": 10, "idle": 0.0,
    }  # fmt: skip
    return EdgeBenchOptions(**{**known, **changes})


def test_a_table_is_saved_read_and_chosen_from(
    model: EdgeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_packages(monkeypatch)
    threads = torch.get_num_threads()
    table = bench(
        model, short(runtimes=("torch", "ncnn", "tensorrt"), precisions=("fp32", "fp16")), sensor=Synthetic(8.0)
    )
    assert torch.get_num_threads() == threads
    assert [(r["backend"], r["precision"]) for r in table.rows] == [
        ("PyTorch eager", "FP32"), ("PyTorch eager", "FP16"), ("NCNN", "ALL"), ("TensorRT", "ALL"),
    ]  # fmt: skip
    first = table.rows[0]
    assert first["ipm"] / 60 <= first["mis_fps"]
    assert first["mean_power_w"] == pytest.approx(8)
    assert first["epi_j"] == pytest.approx(8 * 60 / first["ipm"])
    assert first["epi_estimated_j"] == estimated_joules(model, "paper-45nm-lpddr5")["fp32"]
    assert "fieldsight[ncnn]" in table.rows[2]["notes"]
    assert "estimated" in table.facts["epi_estimated_j"]
    assert [f.suffix for f in table.save(tmp_path, "bench")] == [".csv", ".json", ".html"]
    page = (tmp_path / "bench.html").read_text()
    assert "Energy: measured, or estimated in a column of its own" in page
    for file in ("bench.csv", "bench.json"):
        rows = read_rows(tmp_path / file, ignore=MORE_COLUMNS)
        assert rows[0].mis_fps == pytest.approx(first["mis_fps"])
        assert rows[0].epi_j == pytest.approx(first["epi_j"])
        best = recommend(Constraints(min_fps=0.01), rows).best
        assert best is not None
        assert best.backend == "PyTorch eager"


def test_the_page_of_a_benchmark_shows_the_clip(model: EdgeModel, tmp_path: Path) -> None:
    with write_video(tmp_path / "clip.mp4", 10.0) as add:
        for n in range(8):
            add(np.full((48, 64, 3), 20 * n, np.uint8))
    table = with_clip(Table({"device": "", "model": ""}, []), model, tmp_path / "clip.mp4")
    assert len(table.clip) == 4
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 for p in table.clip)
    assert len({float(p.mean()) for p in table.clip}) == 4  # they are spread over the clip
    assert with_clip(table, model, None).clip == ()


def test_without_a_sensor_the_column_says_so(model: EdgeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from fieldsight.systems.edge import bench as module

    monkeypatch.setattr(module, "find_sensor", lambda: (None, "no sensor here"))
    table = bench(model, short(frames=0))
    assert table.rows[0]["mean_power_w"] == table.rows[0]["epi_j"] == "not measured"
    assert table.rows[0]["epi_estimated_j"] > 0
    assert table.facts["power"] == "not measured: no sensor here"
    assert "map50" not in table.rows[0]


def test_bad_options_come_before_any_work(model: EdgeModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="threads"):
        bench(model, short(threads=1000))
    with pytest.raises(ConfigError, match="hardware"):
        bench(model, short(hardware="no such profile"))
    with pytest.raises(DataError, match="no file"):
        bench(model, short(video=tmp_path / "none.avi"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        bench(model, short(runtimes=("onnx",), precisions=("int8",), calibration=tmp_path / "empty"))
    with pytest.raises(ConfigError, match="twice"):
        short(runtimes=("torch", "torch"))


def test_int8_without_pictures_is_a_note(model: EdgeModel) -> None:
    foreign = EdgeModel.create(PRESETS["tiny"])
    foreign.artefacts["training"] = {"drawn": False}
    table = bench(foreign, short(runtimes=("onnx",), precisions=("int8",), frames=0))
    assert "--calibration" in table.rows[0]["notes"]


# ------------------------------------------------------------------------------------------------- the host


def test_the_host_is_told_from_its_files(tmp_path: Path) -> None:
    def put(where: str, text: str) -> None:
        file = tmp_path / where
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    assert governor(tmp_path) == "unknown"
    assert power_source(tmp_path) == "unknown"
    assert clock_mhz(tmp_path) is None
    put("proc/cpuinfo", "processor : 0\nmodel name : Some  CPU @ 2 GHz\ncpu MHz : 1500.0\ncpu MHz : 2500.0\n")
    assert processor(tmp_path) == "Some CPU @ 2 GHz"
    assert clock_mhz(tmp_path) == 2000
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    put("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n")
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1800000\n")
    assert governor(tmp_path) == "performance, powersave"
    assert clock_mhz(tmp_path) == 1800
    put("sys/class/power_supply/BAT0/type", "Battery\n")
    put("sys/class/power_supply/BAT0/capacity", "71\n")
    assert power_source(tmp_path) == "battery (71 %)"
    put("sys/class/power_supply/AC/type", "Mains\n")
    put("sys/class/power_supply/AC/online", "1\n")
    assert power_source(tmp_path) == "mains"
    put("proc/device-tree/model", "Raspberry Pi 5 Model B\0")
    assert processor(tmp_path) == "Raspberry Pi 5 Model B"
    one, two = environment(1, (0,), tmp_path), environment(2, (0, 1), tmp_path)
    assert one["environment"] != two["environment"]
    assert one["environment"] == environment(1, (0,), tmp_path)["environment"]
