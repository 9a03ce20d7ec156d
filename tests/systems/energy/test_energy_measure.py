"""Timing and meters: the method is always named, nothing is made up, and sensors are read as they write."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import time
from pathlib import Path

import pytest

from fieldsight.errors import ConfigError, DataError
from fieldsight.power import sensors
from fieldsight.power.sensors import Synthetic
from fieldsight.systems.energy import measure as m


class Counter:
    """A meter that saw 6 J."""

    name = "a counter"

    def __init__(self) -> None:
        self.log: list[str] = []

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> float:
        self.log.append("stop")
        return 6.0


def test_calls_are_timed_and_the_meter_is_shared_among_them() -> None:
    calls = itertools.count()
    meter = Counter()
    done = m.measure(lambda: next(calls), budget=0, warmup=2, meter=meter)
    assert done.calls == 3
    assert next(calls) == 5
    assert done.joules == 2.0
    assert done.method == "a counter"
    assert meter.log == ["start", "stop"]
    assert done.spread[0] <= done.seconds <= done.spread[1]
    assert done.to_dict()["method"] == "a counter"
    with pytest.raises(ConfigError, match="must be >= 0"):
        m.measure(lambda: None, budget=-1)


def test_without_a_meter_the_result_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "find_meter", lambda: (None, "RAPL: no counters"))
    done = m.measure(lambda: None, budget=0)
    assert done.joules is None
    assert done.method == "not measured: RAPL: no counters"


def write(path: Path, text: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
    return path


def zone(root: Path, key: str, name: str, count: int) -> Path:
    folder = root / "sys/class/powercap" / key
    write(folder / "name", name)
    write(folder / "max_energy_range_uj", 1_000_000)
    return write(folder / "energy_uj", count)


def test_rapl_counts_packages_and_dram_once_and_makes_good_a_wrap(tmp_path: Path) -> None:
    files = [zone(tmp_path, f"intel-rapl:{i}", f"package-{i}", 900_000) for i in range(2)]
    core = zone(tmp_path, "intel-rapl:0:0", "core", 5)  # part of its package
    dram = zone(tmp_path, "intel-rapl:0:1", "dram", 0)  # beside it
    psys = zone(tmp_path, "intel-rapl:2", "psys", 0)  # counts the packages again
    meter, why = m.find_meter(tmp_path)
    assert why == ""
    assert meter is not None
    assert "2 CPU package(s)" in meter.name
    meter.start()
    for file, count in ((files[0], 950_000), (files[1], 100_000), (core, 50_005), (dram, 30_000), (psys, 700_000)):
        write(file, count)
    assert meter.stop() == pytest.approx(0.05 + 0.2 + 0.03)


def test_counters_that_may_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors.shutil, "which", lambda name: None)
    secret = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    secret.chmod(0)
    if os.access(secret, os.R_OK):  # root reads everything: a broken counter then stands for a forbidden one
        secret.chmod(stat.S_IRUSR | stat.S_IWUSR)
        write(secret, "?")
    meter, why = m.find_meter(tmp_path)
    assert meter is None
    for words in ("RAPL: ", "energy_uj", "INA: no such sensor", "nvidia-smi is not installed"):
        assert words in why


def test_a_power_sensor_is_open_while_calls_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Sensor(Synthetic):
        name = "10 W"

        def __init__(self) -> None:
            super().__init__(10.0)
            events.append("open")

        def close(self) -> None:
            events.append("close")

    def find(root: Path, gpu: int | None) -> tuple[Sensor, str]:
        assert gpu is None  # all boards
        return Sensor(), ""

    monkeypatch.setattr(m, "find_sensor", find)
    done = m.measure(lambda: time.sleep(0.01), budget=0, warmup=0)
    assert events == ["open", "close"] * 2
    assert done.method == "10 W"
    assert done.joules is not None
    assert 0.1 <= done.joules < 10  # 10 W for 10 ms, and the sensor's begin and end, a third of it each

    def broken() -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        m.measure(broken, budget=0, warmup=0)
    assert events == ["open", "close"] * 4


def test_a_sensor_that_goes_leaves_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Synthetic):
        name = "silent"

        def read(self) -> float:
            raise DataError("gone")

    found = [(Silent(), ""), (Silent(), ""), (Silent(), ""), (None, "unplugged")]
    monkeypatch.setattr(m, "find_sensor", lambda root, gpu: found.pop(0))
    for words in ("two readings", "unplugged"):
        done = m.measure(lambda: None, budget=0)
        assert done.joules is None
        assert done.calls == 3
        assert done.method.startswith("not measured: ")
        assert words in done.method


def test_the_last_level_cache(tmp_path: Path) -> None:
    base = tmp_path / "sys/devices/system/cpu/cpu0/cache"
    write(base / "index0/size", "48K")
    write(base / "index3/size", "32M")
    assert m.last_level_cache(tmp_path) == 32 * 2**20
    assert m.last_level_cache(tmp_path / "nowhere") == 0


def test_the_roof_of_this_machine_is_a_roof() -> None:
    roof = m.roof(megabytes=8, size=256, budget=0)
    assert roof.copy_gb_s > 0.1
    assert roof.gemm_gflop_s > 0.1
    assert roof.peak_gflop_s == max(roof.gemm_gflop_s, roof.conv_gflop_s)
    with pytest.raises(ConfigError, match="must be >= 1"):
        m.roof(megabytes=0)


def test_the_regime_demonstration_has_its_points() -> None:
    lm, cnn = m.regime_demo(d=64, layers=1, batches=(1, 2), context=8, width=8, budget=0)
    assert [s.batch for s in lm] == [s.batch for s in cnn] == [1, 2]
    assert lm[0].weight_bytes == lm[1].weight_bytes, "weights do not grow with the batch"
    for step in (*lm, *cnn):
        assert step.gb_s == pytest.approx(step.weight_bytes / step.seconds / 1e9)
        assert step.gflop_s > 0


def test_threads_are_put_back() -> None:
    import torch

    before = torch.get_num_threads()
    with contextlib.suppress(ValueError), m.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ValueError("inside")
    assert torch.get_num_threads() == before
