"""Constants out of measurements: recovered within a few percent, or refused in words."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import ConfigError, DataError, FieldsightError
from fieldsight.profile import energy
from fieldsight.systems.energy import data, tables
from fieldsight.systems.energy.calibrate import LIMIT, Meter, Row, calibrate, read_rows, row_of

METER = Meter()


def test_the_constants_come_back_within_ten_percent() -> None:
    true = np.array([METER.e_mem, METER.e_mac, METER.static])
    fits = [calibrate(METER.rows(seed), draws=0) for seed in range(100)]
    errors = np.array([np.abs(np.array(list(f.constants.values())) / true - 1) for f in fits])
    assert all(len(METER.rows(seed)) == 30 for seed in range(3))
    assert np.median([f.static_share for f in fits]) <= 0.1
    worst = np.quantile(errors, 0.95, axis=0)
    assert (worst < 0.10).all(), worst
    assert (worst < 0.04).all(), "as good as it was when this was written"
    assert max(f.condition for f in fits) < 3


def test_intervals_hold_what_they_promise() -> None:
    true = {"e_mem": METER.e_mem, "e_mac": METER.e_mac, "static": METER.static}
    inside = dict.fromkeys(true, 0)
    for seed in range(30):
        fit = calibrate(METER.rows(1000 + seed), draws=200)
        for key, value in true.items():
            low, high = fit.intervals[key]
            assert low <= fit.constants[key] * 1.02
            inside[key] += low <= value <= high
    assert all(count >= 23 for count in inside.values()), inside


def test_quality_is_reported() -> None:
    fit = calibrate(METER.rows(7))
    assert 1 < fit.mape < 4, "the noise is 3 %"
    assert fit.r2 > 0.99
    assert len(fit.residuals) == fit.rows == 30
    assert fit.left_out.keys() == {r.model for r in METER.rows(7)} - {"idle"}
    assert all(error < 15 for error in fit.left_out.values())
    plain = fit.to_dict()
    assert plain["constants"]["e_mem"]["unit"] == "pJ/bit"
    assert plain["constants"]["static"]["low"] <= plain["constants"]["static"]["high"]


def test_much_static_power_is_said() -> None:
    fit = calibrate(Meter(static=0.5).rows(3))
    assert fit.static_share > 0.3
    assert any("Static power makes" in w for w in fit.warnings)
    low, high = fit.intervals["e_mac"]
    assert high - low > 2 * (
        calibrate(METER.rows(3)).intervals["e_mac"][1] - calibrate(METER.rows(3)).intervals["e_mac"][0]
    )


def test_one_kind_of_network_at_one_batch_size_is_refused() -> None:
    rng = np.random.default_rng(0)
    nets = [tables.mlp(w) for w in (64, 128, 256, 512, 1024)]
    rows = [METER.read(net, 4, 2 ** (i % 3), rng) for net in nets for i in range(5)]
    rows += [METER.idle(1.0, rng) for _ in range(5)]
    with pytest.raises(
        DataError, match=r"not identifiable: e_mem and e_mac .*condition number \d\.\de\+1\d.*batch sizes"
    ):
        calibrate(rows)
    # several batch sizes tell them apart
    better = [METER.read(net, b, 2 ** (i % 3), rng) for net in nets for i, b in enumerate((1, 4, 32))] + rows[-5:]
    assert calibrate(better, draws=0).condition < 10
    # so does a mix of networks at one batch size
    mixed = [METER.read(net, 4, 2 ** (i % 3), rng) for i, net in enumerate(data.generated().values())] + rows[-5:]
    assert calibrate(mixed, draws=0).condition < 10


def test_without_clocks_and_idle_rows_static_power_is_not_told_from_the_rest() -> None:
    rng = np.random.default_rng(0)
    rows = [METER.read(tables.mlp(w, 4), 1, 1, rng) for w in (64, 256, 512, 1024) for _ in range(4)]
    with pytest.raises(DataError, match="not identifiable"):
        calibrate(rows)


def test_a_constant_that_no_row_shows_is_refused() -> None:
    rows = [Row("a", 1, 1e6 * i, 0.0, 0.1, 1e-3 * i) for i in range(1, 8)]
    with pytest.raises(DataError, match="no row computes any MAC"):
        calibrate(rows)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "at least four measurements, got 0"),
        ([Row("a", 1, 1.0, 1.0, 1.0, 0.0)] * 5, "needs joules > 0"),
        ([Row("a", 1, -1.0, 1.0, 1.0, 1.0)] * 5, "nothing negative"),
        ([Row("a", 1, math.nan, 1.0, 1.0, 1.0)] * 5, "Measurement 1"),
    ],
)
def test_bad_measurements(rows: list[Row], words: str) -> None:
    with pytest.raises(DataError, match=words):
        calibrate(rows)


def test_a_fit_makes_a_profile() -> None:
    fit = calibrate(METER.rows(2))
    mine = fit.hardware("my-board", "fp32", "7nm-lpddr5")
    assert mine.dram.pj_per_bit.value == fit.constants["e_mem"]
    assert mine.mac_pj("fp32") == fit.constants["e_mac"]
    assert mine.mac_pj("int8") == 0.077
    assert "Static power" in mine.notes[0]
    counts = data.model("resnet18")
    one = energy(counts, mine, precision="fp32", act="none")
    assert one.weight == pytest.approx(11_689_512 * 32 * fit.constants["e_mem"] * 1e-12)


def test_a_measurement_of_a_counted_network() -> None:
    counts = data.model("llama-7b", 100)
    row = row_of(counts, 4, 0.5, 3.0, "fp16")
    assert row.bits == 16 * (counts.params + 4 * counts.kv)
    assert row.macs == 4 * counts.macs
    with pytest.raises(ConfigError, match="Unknown precision"):
        row_of(counts, 1, 1, 1, "fp12")


# ------------------------------------------------------------------------------------------- CSV


def test_rows_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "measured.csv"
    file.write_text(
        "model,batch,joules,seconds,precision,weights,macs,kv\n"
        "resnet18,4,0.5,0.02,int8,,,\n"
        "mine,2,0.1,0.01,fp16,1000,5000,7\n"
        "idle,,2.0,1.5,,,,\n"
        "resnet50,1,0.3,0.02,,,,\n"
    )
    rows = read_rows(file)
    assert rows[0] == Row("resnet18", 4, 8.0 * 11_689_512, 4.0 * 1_814_073_344, 0.02, 0.5)
    assert rows[1] == Row("mine", 2, 16.0 * (1000 + 14), 10_000.0, 0.01, 0.1)
    assert rows[2] == Row("idle", 0, 0.0, 0.0, 1.5, 2.0)
    assert rows[3].bits == 32.0 * 25_557_032


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,joules\na,1\n", "the column 'batch' is missing; the column 'seconds' is missing"),
        ("model,batch,joules,seconds\nunheard,1,1,1\n", "line 2: 'unheard' is no built-in model"),
        ("model,batch,joules,seconds\nresnet18,0,1,1\nresnet18,1,x,1\n", "line 2: batch must be >= 1.*line 3: joules"),
        ("model,batch,joules,seconds,precision\nresnet18,1,1,1,fp9\n", "unknown precision 'fp9'"),
        ("model,batch,joules,seconds,weights\nmine,1,1,1,5\n", "line 2: macs must be a number"),
        ("model,batch,joules,seconds\nresnet18,1,,1\n", "line 2: joules must be a number"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_rows(file)
    assert "bad.csv" in str(caught.value)


@given(st.text(alphabet='resnt18idle,0159-.eE\n";', max_size=80))
@settings(max_examples=100, deadline=None)
def test_garbage_raises_nothing_but_our_own_errors(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "measured.csv"
    file.write_text("model,batch,joules,seconds\n" + text, encoding="utf-8")
    try:
        assert all(isinstance(row, Row) for row in read_rows(file))
    except FieldsightError as error:
        message = str(error)
    else:
        return
    assert "measured.csv" in message


def test_the_limit_is_far_from_both_sides() -> None:
    assert 100 < LIMIT < 1e10
