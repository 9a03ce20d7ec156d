"""Sensors and joules: real lines of tools, wrap-around, hostile text, and 'not measured' where nothing is."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import ConfigError, DataError
from fieldsight.power import sensors
from fieldsight.power.commands import Pmic, Streamed, nvidia_smi
from fieldsight.power.parse import (
    PMIC_RAILS,
    Boards,
    counted_joules,
    counted_rails,
    nvidia_smi_watts,
    pmic_rails,
    pmic_watts,
    tegrastats_rails,
    tegrastats_watts,
)
from fieldsight.power.report import energy, not_measured
from fieldsight.power.sampler import Sampler, Trace, integrate
from fieldsight.power.sensors import Ina, Rapl, Sensor, Synthetic, find_sensor

NANO = (
    "06-18-2025 11:25:24 RAM 3452/7620MB (lfb 25x4MB) SWAP 1518/16384MB (cached 174MB) CPU [1%@1420,off,2%@729] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[305] APE 200 cpu@50.031C soc2@49.031C tj@50.25C VDD_IN 4824mW/4763mW "
    "VDD_CPU_GPU_CV 518mW/520mW VDD_SOC 1475mW/1475mW\n"
)
OLD = (
    "RAM 1903/3964MB (lfb 4x4MB) SWAP 0/1982MB IRAM 0/252kB(lfb 252kB) CPU [1%@102] POM_5V_IN 2532/2698 POM_5V_GPU 0/0"
)
AGX = (
    "RAM 1/2MB VDD_GPU_SOC 2400mW/2400mW VDD_CPU_CV 400mW/400mW VIN_SYS_5V0 3200mW/3200mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 200mW/200mW"
)


def adc(amperes: float = 0.1, volts: float = 2.0, rails: tuple[str, ...] = PMIC_RAILS) -> str:
    lines = [f"{r + '_A':>14} current({i})={amperes:.8f}A" for i, r in enumerate(rails)]
    lines += [f"{r + '_V':>14} volt({i + 8})={volts:.8f}V" for i, r in enumerate(rails)]
    return "\n".join([*lines, "       EXT5V_V volt(24)=5.15222500V", "        BATT_V volt(25)=0.00000000V"]) + "\n"


# ------------------------------------------------------------------------------------------------------- parsers


def test_tegrastats() -> None:
    assert tegrastats_rails(NANO) == {"VDD_IN": 4.824, "VDD_CPU_GPU_CV": 0.518, "VDD_SOC": 1.475}
    assert tegrastats_watts(NANO) == 4.824  # the whole module, not the sum of its rails
    assert tegrastats_watts(OLD) == 2.532
    assert tegrastats_watts(AGX) == pytest.approx(6.0)  # VIN_SYS_5V0 feeds VDDQ_VDD2_1V8AO
    assert tegrastats_watts(NANO + NANO.replace("4824", "9000")) == 9.0
    with pytest.raises(DataError, match="No power rail"):
        tegrastats_watts("RAM 3452/7620MB SWAP 1518/16384MB CPU [1%@1420]")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9_999_999), st.integers(0, 9_999_999), st.sampled_from(["mW", ""]))
def test_tegrastats_reads_what_was_written(now: int, mean: int, unit: str) -> None:
    assert tegrastats_watts(f"RAM 1/2MB VDD_IN {now}{unit}/{mean}{unit} VDD_SOC 1{unit}/1{unit}") == now / 1000


def test_pmic() -> None:
    assert len(PMIC_RAILS) == 12
    assert pmic_watts(adc()) == pytest.approx(12 * 0.2)
    assert pmic_watts(adc(), corrected=True) == pytest.approx(1.1451 * 2.4 + 0.5879)
    assert set(pmic_rails(adc())) == set(PMIC_RAILS)  # EXT5V has no current and counts nowhere
    with pytest.raises(DataError, match="VDD_CORE"):
        pmic_watts(adc(rails=tuple(r for r in PMIC_RAILS if r != "VDD_CORE")))
    with pytest.raises(DataError, match="HDMI"):
        pmic_watts(adc().replace("HDMI_V", "HDMI_X"))
    with pytest.raises(DataError, match="twice"):
        pmic_watts(adc() + "HDMI_V volt(3)=1.0V\n")
    with pytest.raises(DataError, match="Raspberry Pi 5"):
        pmic_watts("Command not registered")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**8)), min_size=12, max_size=12),
    st.randoms(use_true_random=False),
)
def test_pmic_reads_any_order(values: list[tuple[int, int]], order: object) -> None:
    lines = [f"{r}_A current(1)={a / 1e8:.8f}A" for r, (a, _) in zip(PMIC_RAILS, values, strict=True)]
    lines += [f"  {r}_V volt(2)={v / 1e8:.8f}V" for r, (_, v) in zip(PMIC_RAILS, values, strict=True)]
    order.shuffle(lines)  # type: ignore[attr-defined]
    assert pmic_watts("\n".join(lines)) == pytest.approx(sum(a * v / 1e16 for a, v in values), abs=1e-9)


def test_nvidia_smi() -> None:
    assert nvidia_smi_watts("31.42\n") == [31.42]
    assert nvidia_smi_watts("power.draw [W]\n31.42 W\n70.00 W\n") == [31.42, 70.0]
    with pytest.raises(DataError, match="no such sensor"):
        nvidia_smi_watts("31.42\n[N/A]\n")
    with pytest.raises(DataError, match="no GPU"):
        nvidia_smi_watts("power.draw [W]\n")
    with pytest.raises(DataError, match="tells no power"):
        nvidia_smi_watts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")


def test_the_boards_of_a_machine_are_added_once_each() -> None:
    boards = Boards()
    with pytest.raises(DataError, match="not named every"):
        boards("0, 70.50\n")
    with pytest.raises(DataError, match="not named every"):
        boards("1, 29.50\n")
    assert boards("0, 80.50\n") == 110.0
    assert boards("1, 9.50\n") == 90.0
    with pytest.raises(DataError, match="no such sensor"):
        boards("1, [N/A]\n")
    with pytest.raises(DataError, match="no such sensor"):  # one board would pass for both
        boards("0, 80.50\n")


def test_rails_of_a_jetson_that_count() -> None:
    assert counted_rails(("VDD_CPU_GPU_CV", "VDD_IN", "VDD_SOC")) == ["VDD_IN"]
    assert counted_rails(("POM_5V_IN", "POM_5V_GPU")) == ["POM_5V_IN"]
    orin = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "NC", "VDDQ_VDD2_1V8AO")
    assert counted_rails(orin) == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    assert counted_rails(("VDDQ_VDD2_1V8AO", "CPU")) == ["VDDQ_VDD2_1V8AO", "CPU"]  # what feeds it is not measured
    assert counted_rails(()) == []


def second_round(line: str) -> float:
    boards = Boards()
    with contextlib.suppress(DataError):
        boards(line)
    return boards(line)


PARSERS = (tegrastats_rails, tegrastats_watts, pmic_rails, pmic_watts, nvidia_smi_watts, second_round)
PIECES = [
    "VDD_IN ", "mW", "/", "12", "4744mW/4744mW", "VDD_IN 1/2", "3V7_WL_SW_A current(0)=", "volt(8)=", "1.5", "A", "V",
    "\n", " ", "W", "nan", "inf", "1e999", "\uff19", "\u00b2", "-", "[N/A]", "9" * 5000, "\0", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=50, deadline=None)
@given(st.one_of(st.text(max_size=300), st.lists(st.sampled_from(PIECES), max_size=30).map("".join)))
def test_hostile_text_raises_data_errors_only(parser: Callable[[str], object], text: str) -> None:
    try:
        found = parser(text)
    except DataError:
        return
    values = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else [found]
    assert all(math.isfinite(v) and v >= 0 for v in values)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "text", [None, b"VDD_IN 1mW/1mW", 3, "\n" * 1_000_001, "a" * 999_999, " " * 999_999, "\n" * 999_999]
)
def test_what_is_no_text_or_far_too_much(parser: Callable[[object], object], text: object) -> None:
    start = time.perf_counter()
    with pytest.raises(DataError):
        parser(text)
    assert time.perf_counter() - start < 5  # no expression that takes squares of time


# ---------------------------------------------------------------------------------------------------------- RAPL


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2**62), st.data())
def test_counters_wrap(most: int, data: st.DataObject) -> None:
    before, step = data.draw(st.integers(0, most - 1)), data.draw(st.integers(0, most - 1))
    assert counted_joules(before, (before + step) % most, most) == pytest.approx(step / 1e6)


@pytest.mark.parametrize("bad", [(-1, 0, 10), (0, 11, 10), (0, 0, 0), (0, -1, 10)])
def test_counters_out_of_range(bad: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match="RAPL"):
        counted_joules(*bad)


def zone(root: Path, key: str, name: str, count: int, most: int = 1_000_000) -> Path:
    folder = root / "sys/class/powercap" / key
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (("name", name), ("energy_uj", count), ("max_energy_range_uj", most)):
        (folder / file).write_text(f"{text}\n")
    return folder


def test_rapl_counts_packages_and_dram_once(tmp_path: Path) -> None:
    package, dram = zone(tmp_path, "intel-rapl:0", "package-0", 900_000), zone(tmp_path, "intel-rapl:0:1", "dram", 5)
    core, psys = zone(tmp_path, "intel-rapl:0:0", "core", 0), zone(tmp_path, "intel-rapl:1", "psys", 0)
    sensor = Rapl(tmp_path)
    assert "1 CPU package(s), 1 DRAM" in sensor.name
    for folder, count in ((package, 100_000), (dram, 50_005), (core, 999_999), (psys, 999_999)):
        (folder / "energy_uj").write_text(str(count))
    assert sensor.read() == pytest.approx(0.2 + 0.05)  # the package wrapped; its cores and psys are not added
    (package / "energy_uj").write_text("0")
    assert sensor.read() == pytest.approx(0.2 + 0.05 + 0.9)  # and wrapped again


def test_rapl_of_a_laptop_counts_nothing_twice(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    others = [
        zone(tmp_path, key, name, 0)
        for key, name in (
            ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "uncore"), ("intel-rapl:1", "psys"),
            ("intel-rapl-mmio:0", "package-0"),
        )
    ]  # fmt: skip
    sensor = Rapl(tmp_path)
    for folder in (package, *others):
        (folder / "energy_uj").write_text("400000")
    assert sensor.read() == pytest.approx(0.4)
    assert sensor.name == "RAPL: 1 CPU package(s), no DRAM counter(s)"


def test_rapl_adds_two_sockets(tmp_path: Path) -> None:
    zones = [zone(tmp_path, f"intel-rapl:{i}", f"package-{i}", 0) for i in range(2)]
    zones += [zone(tmp_path, f"intel-rapl:{i}:0", "dram", 0) for i in range(2)]
    sensor = Rapl(tmp_path)
    for count, folder in enumerate(zones, 1):
        (folder / "energy_uj").write_text(str(count * 100_000))
    assert sensor.read() == pytest.approx(0.1 + 0.2 + 0.3 + 0.4)


def test_rapl_explains_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no package counters"):
        Rapl(tmp_path)
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (folder / "energy_uj").write_text("many")
    with pytest.raises(DataError, match="whole number, got 'many'"):
        Rapl(tmp_path)
    (folder / "energy_uj").unlink()
    with pytest.raises(DataError, match="Can't read"):
        Rapl(tmp_path)
    (folder / "energy_uj").write_text("1")
    (folder / "max_energy_range_uj").write_text("-1")
    with pytest.raises(DataError, match="RAPL counters must lie in"):
        Rapl(tmp_path)
    (folder / "max_energy_range_uj").write_text("1000000")
    real = Path.read_text

    def refuse(path: Path, *args: object, **kwargs: object) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(DataError, match="for root.*chmod"):
        Rapl(tmp_path)


# ----------------------------------------------------------------------------------------------------------- INA


def chip(root: Path, key: str, rails: dict[int, tuple[str, int, int]], name: str = "ina3221") -> Path:
    folder = root / "sys/class/hwmon" / key
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for k, (label, volts, amperes) in rails.items():
        (folder / f"in{k}_input").write_text(f"{volts}\n")
        (folder / f"curr{k}_input").write_text(f"{amperes}\n")
        if label:
            (folder / f"in{k}_label").write_text(f"{label}\n")
    return folder


def test_a_jetson_board_by_its_whole_input(tmp_path: Path) -> None:
    chip(tmp_path, "hwmon0", {1: ("Vcore", 900, 9000)}, "coretemp")
    folder = chip(tmp_path, "hwmon1", {1: ("VDD_IN", 5000, 2000), 2: ("VDD_CPU_GPU_CV", 5000, 900)})
    sensor = Ina(tmp_path)
    assert sensor.read() == pytest.approx(10.0)  # not the sum with what it feeds
    assert "VDD_IN" in sensor.name
    (folder / "in1_label").unlink()
    assert Ina(tmp_path).read() == pytest.approx(14.5)
    (folder / "curr2_input").write_text("-12\n")  # a rail that hardly draws reads below 0
    assert Ina(tmp_path).read() == pytest.approx(10.0 - 0.06)


def test_an_agx_orin_by_the_rails_that_no_other_feeds(tmp_path: Path) -> None:
    chip(
        tmp_path,
        "hwmon3",
        {1: ("VDD_GPU_SOC", 20000, 120), 2: ("VDD_CPU_CV", 20000, 20), 3: ("VIN_SYS_5V0", 5000, 640)},
    )
    second = chip(tmp_path, "hwmon4", {1: ("NC", 5000, 7), 2: ("VDDQ_VDD2_1V8AO", 5000, 40)})
    for k in (4, 7):  # a shunt, and the sum that newer kernels add
        for kind in ("in", "curr"):
            (second / f"{kind}{k}_input").write_text("9999\n")
    sensor = Ina(tmp_path)
    assert set(sensor.rails) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}
    assert sensor.read() == pytest.approx(tegrastats_watts(AGX)) == pytest.approx(6.0)


def test_chips_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a Jetson"):
        Ina(tmp_path)
    folder = chip(tmp_path, "hwmon1", {1: ("VDD_IN", 5000, 2000)})
    sensor = Ina(tmp_path)
    (folder / "curr1_input").write_text("much\n")
    with pytest.raises(DataError, match="INA: .*whole number, got 'much'"):
        sensor.read()
    with pytest.raises(DataError, match="whole number"):
        Ina(tmp_path)
    (folder / "curr1_input").unlink()
    with pytest.raises(DataError, match="not a Jetson"):
        Ina(tmp_path)


# ------------------------------------------------------------------------------------------------------ commands


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-u", "-c", code]


def test_a_command_that_prints_power() -> None:
    code = f"import time\nprint('starting')\nwhile True: print({NANO!r}, flush=True); time.sleep(0.02)"
    sensor = Streamed("tegrastats", python(code), tegrastats_watts, wait=30)
    try:
        assert sensor.read() == 4.824
    finally:
        sensor.close()
    with pytest.raises(DataError, match="ended"):
        sensor.read()


def test_commands_that_print_none() -> None:
    with pytest.raises(DataError, match="not installed"):
        Streamed("x", ["no-such-tool-here"], tegrastats_watts)
    with pytest.raises(DataError, match="No power rail"):
        Streamed("x", python("print('RAM 1/2MB')"), tegrastats_watts, wait=30)
    with pytest.raises(DataError, match="Raspberry Pi 5"):
        Pmic(command=["no-such-tool-here"])
    with pytest.raises(DataError, match="Raspberry Pi 5"):
        Pmic(command=python("raise SystemExit(3)"))


def tool(path: Path, script: str) -> str:
    path.write_text(f"#!{sys.executable} -S\nimport sys, time\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(os.name == "nt", reason="stands in for the tool by a script")
def test_nvidia_smi_is_asked_and_its_boards_added(tmp_path: Path) -> None:
    script = """
alone = "-i" in sys.argv
while True:
    print("70.50" if alone else "0, 70.50\\n1, 29.50", flush=True)
    time.sleep(0.02)"""
    command = tool(tmp_path / "nvidia-smi", script)
    for gpu, watts in ((1, 70.5), (None, 100.0)):
        sensor = nvidia_smi(gpu, 30, command)
        assert sensor.read() == watts
        sensor.close()
    with pytest.raises(DataError, match="not installed"):
        nvidia_smi(None, 1, str(tmp_path / "absent"))


@pytest.mark.skipif(os.name == "nt", reason="stands in for the tool by a script")
def test_a_board_without_a_sensor_is_not_waited_for(tmp_path: Path) -> None:
    script = "while True:\n    print('0, 70.50\\n1, [N/A]', flush=True)\n    time.sleep(0.01)"
    command = tool(tmp_path / "nvidia-smi", script)
    start = time.monotonic()
    with pytest.raises(DataError, match="no such sensor"):
        nvidia_smi(None, 60, command)
    assert time.monotonic() - start < 30


def test_the_power_chip_by_its_command() -> None:
    sensor = Pmic(True, python(f"print({adc()!r})"))
    assert sensor.read() == pytest.approx(1.1451 * 2.4 + 0.5879)
    assert "public fit" in sensor.name


def test_a_machine_without_sensors_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors.shutil, "which", lambda name: None)
    found, why = find_sensor(tmp_path)
    assert found is None
    for words in (
        "INA: no such sensor",
        "tegrastats is not installed",
        "vcgencmd is not installed",
        "no package counters",
        "nvidia-smi is not installed",
    ):
        assert words in why
    made = not_measured(why, 600)
    assert made.method.startswith("not measured: ")
    assert made.epi_j is made.gross_j is made.mean_power_w is None
    assert made.table().rows[0]["epi_j"] == "not measured"
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    assert isinstance(find_sensor(tmp_path)[0], Rapl)
    chip(tmp_path, "hwmon1", {1: ("VDD_IN", 5000, 2000)})
    assert isinstance(find_sensor(tmp_path)[0], Ina)


def test_the_gpu_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stand_in(gpu: int | None) -> Sensor:
        asked.append(gpu)
        return Synthetic()

    monkeypatch.setattr(sensors.shutil, "which", lambda name: name if name == "nvidia-smi" else None)
    monkeypatch.setattr(sensors, "nvidia_smi", stand_in)
    assert isinstance(find_sensor(tmp_path)[0], Synthetic)
    find_sensor(tmp_path, gpu=None)
    assert asked == [0, None]


# ------------------------------------------------------------------------------------------------------ sampling


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def sampled(watts: float | Callable[[float], float], seconds: float = 60.0, hz: float = 10.0) -> Trace:
    clock = Clock()
    sampler = Sampler(Synthetic(watts, clock), hz, clock)
    for i in range(round(seconds * hz) + 1):
        clock.now = 100.0 + i / hz
        sampler.tick()
    return sampler.trace()


def test_ten_watts_for_a_minute_and_600_inferences_are_one_joule() -> None:
    found = energy(sampled(10.0), 600, idle_w=4.0)
    assert found.epi_j == pytest.approx(1.000)
    assert found.gross_j == pytest.approx(600.0)
    assert (found.net_j, found.net_epi_j) == (pytest.approx(360.0), pytest.approx(0.6))
    assert found.mean_power_w == pytest.approx(10.0)
    assert found.hz == pytest.approx(10.0)
    assert found.warnings == ()
    assert found.samples == 601


def test_energy_follows_power_that_changes() -> None:
    assert sampled(lambda t: 2.0 * t, 10.0).joules == pytest.approx(100.0)  # exact for a ramp
    assert sampled(lambda t: 5 + math.sin(t), 10.0, 50).joules == pytest.approx(50 + 1 - math.cos(10), abs=1e-3)
    assert integrate([0, 1, 3], [1, 3, 3]) == pytest.approx(2 + 6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 10), st.floats(0, 100)), min_size=2, max_size=20), st.floats(0, 10))
def test_integrals_add_up_and_scale(steps: list[tuple[float, float]], factor: float) -> None:
    at = np.cumsum([s for s, _ in steps])
    watts = np.array([w for _, w in steps])
    whole = integrate(at, watts)
    assert watts.min() * (at[-1] - at[0]) - 1e-6 <= whole <= watts.max() * (at[-1] - at[0]) + 1e-6
    assert integrate(at, factor * watts) == pytest.approx(factor * whole, abs=1e-9)
    if len(at) > 2:
        assert integrate(at[:2], watts[:2]) + integrate(at[1:], watts[1:]) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize(
    ("at", "watts"),
    [([], []), ([0], [1]), ([0, 1], [1]), ([1, 0], [1, 1]), ([0, 0], [1, 1]), ([0, 1], [1, math.nan]),
     ([0, math.inf], [1, 1])],
)  # fmt: skip
def test_integrals_of_nothing(at: list[float], watts: list[float]) -> None:
    with pytest.raises(DataError):
        integrate(at, watts)


def test_doubts_are_told() -> None:
    slow = Trace_(np.arange(0, 10, 1.0), 10.0)
    assert "1.0 times a second only" in energy(slow, 5).warnings[0]
    assert "less power than idle" in energy(sampled(3.0), 5, idle_w=4.0).warnings[0]
    assert energy(sampled(3.0), 0).epi_j is None
    for bad in ((-1, None), (1, -1.0), (1, math.nan)):
        with pytest.raises(ConfigError):
            energy(sampled(3.0), *bad)


def Trace_(at: np.ndarray, watts: float) -> Trace:
    return Trace(at, np.full(len(at), watts), watts * float(at[-1] - at[0]), "test")


def test_readings_that_fail_are_counted_and_not_invented() -> None:
    class Flaky(Synthetic):
        calls = 0

        def read(self) -> float:
            self.calls += 1
            if self.calls % 3 == 0:
                raise DataError("gone")
            return 10.0

    clock = Clock()
    sampler = Sampler(Flaky(10.0, clock), 10, clock)
    for i in range(31):
        clock.now = 100 + i / 10
        sampler.tick()
    found = energy(sampler.trace(), 10)
    assert found.gross_j == pytest.approx(30.0)
    assert "10 readings failed" in found.warnings[-1]
    with pytest.raises(DataError):
        Sampler(Synthetic(), 10).trace()


def test_the_thread_reads_often_enough() -> None:
    with Sampler(Synthetic(10.0), 50) as sampler:
        time.sleep(0.3)
    trace = sampler.trace()
    assert len(trace.seconds) >= 5  # 16 on an idle machine
    assert trace.joules == pytest.approx(10.0 * trace.length)
    assert trace.length >= 0.3


def test_a_counter_is_not_integrated(tmp_path: Path) -> None:
    folder, clock = zone(tmp_path, "intel-rapl:0", "package-0", 0, 10**9), Clock()
    sampler = Sampler(Rapl(tmp_path), 10, clock)
    for i in range(11):
        clock.now = 100 + i / 10
        (folder / "energy_uj").write_text(str(i * i * 10_000))
        sampler.tick()
    trace = sampler.trace()
    assert trace.joules == pytest.approx(1.0)
    assert trace.watts[-1] == pytest.approx((100 - 81) * 0.01 / 0.1)
    assert "counter" in trace.method


@pytest.mark.parametrize("hz", [0, 5, 9.9, 2000, math.nan])
def test_rates_that_are_too_low_are_refused(hz: float) -> None:
    with pytest.raises(ConfigError, match="10 to 1000"):
        Sampler(Synthetic(), hz)
