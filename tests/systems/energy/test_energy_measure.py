"""Timing and meters: the method is always named, nothing is made up, and sensors are read as they write."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from pathlib import Path

import pytest

from fieldsight.errors import ConfigError
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


def test_rapl_counts_packages_and_makes_good_a_wrap(tmp_path: Path) -> None:
    zones = tmp_path / "sys/class/powercap"
    files = [write(zones / f"intel-rapl:{i}/energy_uj", 900_000) for i in range(2)]
    for i in range(2):
        write(zones / f"intel-rapl:{i}/max_energy_range_uj", 1_000_000)
    write(zones / "intel-rapl:0:0/energy_uj", 5)  # a core zone is part of its package
    meter, why = m.find_meter(tmp_path)
    assert why == ""
    assert meter is not None
    assert "2 CPU package(s)" in meter.name
    meter.start()
    write(files[0], 950_000)
    write(files[1], 100_000)
    assert meter.stop() == pytest.approx(0.05 + 0.2)


def test_counters_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    write(zone / "max_energy_range_uj", 10)
    secret = write(zone / "energy_uj", 1)
    secret.chmod(0)
    if os.access(secret, os.R_OK):  # root reads everything: a broken counter then stands for a forbidden one
        secret.chmod(stat.S_IRUSR | stat.S_IWUSR)
        write(secret, "?")
    meter, why = m.find_meter(tmp_path)
    assert meter is None or "NVML" in meter.name
    if meter is None:
        assert "RAPL: " in why
        assert "energy_uj is for root" in why
        assert "INA: no such sensor" in why


def test_a_jetson_board_by_its_whole_input(tmp_path: Path) -> None:
    chip = tmp_path / "sys/class/hwmon/hwmon1"
    write(chip / "name", "ina3221")
    for rail, label, volts, amps in ((1, "VDD_IN", 5000, 2000), (2, "VDD_CPU_GPU_CV", 5000, 900)):
        write(chip / f"in{rail}_label", label)
        write(chip / f"in{rail}_input", volts)
        write(chip / f"curr{rail}_input", amps)
    meter = m.Ina(tmp_path)
    assert meter._watts() == pytest.approx(10.0), "the whole input, not the sum with what it feeds"
    (chip / "in1_label").unlink()
    assert m.Ina(tmp_path)._watts() == pytest.approx(14.5)
    meter.start()
    joules = meter.stop()
    took = meter._samples[-1][0] - meter._samples[0][0]
    assert joules == pytest.approx(10 * took, rel=1e-6)


@pytest.mark.skipif(os.name == "nt", reason="stands in for the tool by a shell script")
def test_nvidia_smi_is_asked_and_its_boards_added(tmp_path: Path) -> None:
    tool = write(tmp_path / "nvidia-smi", "#!/bin/sh\necho 70.5\necho 29.5")
    tool.chmod(0o755)
    assert m.Nvml(str(tool))._watts() == 100.0
    with pytest.raises(m._UnreadableError, match="not installed"):
        m.Nvml(str(tmp_path / "absent"))
    write(tool, "#!/bin/sh\necho '[N/A]'")
    with pytest.raises(m._UnreadableError, match="NVML"):
        m.Nvml(str(tool))


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
