"""The verbs beside the estimate, and what they write: sweeps, comparisons, timings, drawn data, calibration, pages."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

import fieldsight
from fieldsight.cli import main
from fieldsight.errors import ConfigError, DataError
from fieldsight.profile.joules import PARTS
from fieldsight.systems.energy import data, drawing, timing
from fieldsight.systems.energy.measure import Measured
from fieldsight.systems.energy.plots import si_unit
from fieldsight.systems.energy.reproduce import printed
from fieldsight.systems.energy.sweep import fraction


def table(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


# --------------------------------------------------------------------------------------------------------- sweep


@pytest.mark.parametrize("letter", "abcde")
def test_a_sweep_is_the_papers_table_2(letter: str, tmp_path: Path) -> None:
    """What a person gets from ``sweep --convention paper`` is Table 2, cell by cell."""
    wanted = printed()[f"table2{letter}"]
    words = ["energy", "sweep", wanted["model"], "--part", wanted["scaled"], "--convention", "paper"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    rows = table(tmp_path / f"{wanted['model']}_sweep.csv")
    steps = ("1/16", "1/8", "1/4", "1/2", "1")
    assert tuple(rows[0])[2:] == steps
    found = {(int(r["batch"]), r["part"]): [float(r[s]) for s in steps] for r in rows}
    cells = 0
    for batch in (1, 4, 8, 16):
        for part, values in wanted[f"batch{batch}"].items():
            ours = found[batch, part]
            for value, mine in zip(values, ours, strict=False):
                assert abs(value - mine) <= 1.05e-5
                cells += 1
    assert cells > 70
    names = {p.name.removeprefix(f"{wanted['model']}_sweep") for p in tmp_path.iterdir()}
    assert names == {".csv", "_joules.csv", ".json", ".md", ".png", ".svg"}


def test_a_sweep_moves_what_it_says() -> None:
    model = fieldsight.load("energy")
    bits = model.sweep("resnet18", over="bits", bits=(8, 4), batches=(1,)).parts[0]
    assert bits[1]["weight"] == bits[0]["weight"] / 2
    assert bits[1]["mac"] == bits[0]["mac"]
    contexts = model.sweep("llama-7b", over="context", contexts=(512, 1024), batches=(2,)).parts[0]
    assert contexts[1]["kv"] == 2 * contexts[0]["kv"]
    formats = model.sweep("resnet18", over="format", batches=(1,))
    assert formats.labels == ("fp16", "int8", "int4")
    for label, parts in zip(formats.labels, formats.parts[0], strict=True):
        assert parts == model.estimate("resnet18", precision=label, draws=0).to_dict()["parts_j"]
    grouped = model.sweep("llama-7b", over="context", contexts=(100,), kv_heads=8, batches=(1,)).parts[0][0]
    assert grouped == model.estimate("llama-7b", context=100, kv_heads=8, draws=0).to_dict()["parts_j"]
    twice = model.sweep("resnet18", part="mac", factors=(0.5, 0.5, 0.0), scale_mac=0.5, batches=(1,))
    assert twice.labels == ("1/2", "0")
    assert twice.parts[0][0]["mac"] == pytest.approx(0.25 * 1_814_073_344 * 0.23e-12)
    assert twice.parts[0][1]["mac"] == 0
    with pytest.raises(DataError, match="no context to sweep over"):
        model.sweep("resnet18", over="context")
    assert [fraction(v) for v in (1 / 16, 1, 2 / 3, 0.3, 2)] == ["1/16", "1", "0.666667", "0.3", "2"]


def test_several_networks_are_swept_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["energy", "sweep", "resnet18", "gpt3-small", "--batches", "1", "--factors", "0.5"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert [r["name"] for r in found] == ["resnet18", "gpt3-small"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "resnet18, weight energy x" in text
    assert "kv" in text


# ------------------------------------------------------------------------------------------------------- compare


def test_a_comparison_is_the_papers_figure_10(tmp_path: Path) -> None:
    words = ["energy", "compare", "resnet18", "llama-7b", "--convention", "paper", "--out", str(tmp_path)]
    assert main(words) == 0
    found = json.loads((tmp_path / "comparison.json").read_text())
    wrong = []
    for network, parts in printed()["figure10"].items():
        for part, values in parts.items():
            saved = found["saved_percent"][network][part]
            for batch, value in zip((1, 4, 8, 16), values, strict=True):
                if int(saved[str(batch)] * 10 + 1e-9) / 10 != value:
                    wrong.append((network, part, batch))
    assert wrong == [("resnet18", "mac", 4)]
    assert found["thresholds"] == {
        "bound changes, int8": pytest.approx(313.0435),
        "bound changes, fp16": pytest.approx(96.0),
    }
    line = dict(zip(found["axis"], found["flops_per_parameter"]["resnet18"], strict=True))
    assert line[4] == pytest.approx(4 * line[1])
    assert {p.name for p in tmp_path.iterdir()} == {
        "comparison.json", "comparison.csv", "comparison.html", "comparison_savings.png", "comparison_savings.svg",
        "comparison_regions.png", "comparison_regions.svg",
    }  # fmt: skip


def test_a_comparison_shows_what_activations_cost() -> None:
    found = fieldsight.load("energy").compare(["mobilenetv2", "resnet18"], batches=(1,))
    one = found.to_dict()
    assert one["saved_percent"]["mobilenetv2"]["activation"]["1"] > one["saved_percent"]["mobilenetv2"]["weight"]["1"]
    assert any("mobilenetv2" in line and "71" in line for line in found.lines())
    told = "\n".join(fieldsight.predict("energy", "mobilenetv2").lines())
    assert "activations cost more than either" in told


# --------------------------------------------------------------------------------------- what an estimate writes


def test_an_estimate_writes_tables_that_agree(tmp_path: Path) -> None:
    assert main(["energy", "estimate", "resnet18", "llama-7b", "--batch", "4", "--out", str(tmp_path)]) == 0
    for name, unit in (("resnet18", "image"), ("llama-7b", "token")):
        facts = json.loads((tmp_path / f"{name}.json").read_text())
        layers, totals = table(tmp_path / f"{name}_layers.csv"), table(tmp_path / f"{name}_totals.csv")
        assert sum(float(r["total energy [J]"]) for r in layers) == pytest.approx(facts["total_j"], rel=1e-9)
        for part in PARTS:
            joules = sum(float(r[f"{part} energy [J]"]) for r in layers)
            assert joules == pytest.approx(facts["parts_j"][part], rel=1e-9)
        both = {r["quantity"]: r for r in totals}
        assert float(both["total energy"]["exact"]) == facts["total_j"]
        assert float(both["total energy"]["paper"]) == facts["conventions"]["paper"]["total_j"]
        assert f"energy per {unit}" in both
        assert facts["counting"] == "1 MAC = multiply+add = 2 FLOPs"
        tex = (tmp_path / f"{name}.tex").read_text()
        assert tex.count(r"\\") == len(PARTS) + 3
        assert f"{facts['total_j']:.4e}" in tex
        page = (tmp_path / f"{name}.html").read_text()
        assert not re.search(r"(src|href)=.?https?:", page)
        assert "exact counts, batch 4" in page
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000


def test_a_page_for_networks_of_ones_own_and_its_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["energy", "page", "--out", str(tmp_path)]) == 0
    assert main(["energy", "page", "resnet18", "--batch", "16", "--out", str(tmp_path / "one.html")]) == 0
    assert '"batch": 16' in (tmp_path / "one.html").read_text()
    capsys.readouterr()
    assert main(["energy", "page", "resnet18"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")
    assert {p.name for p in tmp_path.iterdir()} == {"energy.html", "one.html"}
    one = fieldsight.call("energy", "page", "resnet18").to_dict()
    assert one["networks"] == ["resnet18"]


# ------------------------------------------------------------------- drawn data, calibration, and back to estimates


def test_from_drawn_measurements_to_estimates_on_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn, out = tmp_path / "drawn", tmp_path / "cal"
    assert main(["energy", "make-data", "--out", str(drawn)]) == 0
    truth = json.loads((drawn / "meter.json").read_text())
    assert truth["drawn"] is True
    assert len(table(drawn / "measured.csv")) == 30
    for name, counts in data.generated().items():
        again = data.read_layers(drawn / "layers" / f"{name}.csv")
        assert (again.params, again.macs, again.kv) == (counts.params, counts.macs, counts.kv)
    assert main(["energy", "calibrate", str(drawn), "--name", "my board", "--out", str(out)]) == 0
    fit = json.loads((out / "my-board.json").read_text())["constants"]
    for key, true in truth["true_constants"].items():
        assert fit[key]["value"] == pytest.approx(true, rel=0.1)
        assert fit[key]["low"] <= fit[key]["value"] <= fit[key]["high"]
    capsys.readouterr()
    words = ["energy", "estimate", "resnet18", "--hardware-file", str(out / "my-board.toml"), "--precision", "fp32"]
    assert main([*words, "--json", "--quiet"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["results"]
    wanted = 11_689_512 * 32 * fit["e_mem"]["value"] * 1e-12
    assert one["parts_j"]["weight"] == pytest.approx(wanted, rel=1e-6)
    assert one["parts_j"]["mac"] == pytest.approx(1_814_073_344 * fit["e_mac"]["value"] * 1e-12, rel=1e-6)
    assert one["hardware"] == "my-board"
    assert any("Static power" in n for n in (out / "my-board.toml").read_text().splitlines())


def test_measurements_that_tell_nothing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mlp.csv"
    head = "model,batch,joules,seconds,weights,macs,kv\n"
    file.write_text(head + "".join(f"m{i},1,{i}e-3,{i}e-2,{i}000000,{i}000000,0\n" for i in range(1, 9)))
    assert main(["energy", "calibrate", str(file), "--out", str(tmp_path / "out")]) == 3
    said = capsys.readouterr().err
    assert "not identifiable" in said
    assert not (tmp_path / "out").exists()
    assert main(["energy", "calibrate", str(tmp_path / "absent.csv")]) == 3
    assert main(["energy", "make-data"]) == 2
    assert "--out FOLDER" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- measure


def measured(joules: float | None) -> Measured:
    return Measured(seconds=0.01, spread=(0.009, 0.011), calls=20, joules=joules, method="a counter")


def test_a_timing_says_what_ran_and_what_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from fieldsight.systems.energy import measure

    monkeypatch.setattr(measure, "find_meter", lambda: (None, "RAPL: no counters"))
    from torch import nn

    found = fieldsight.load("energy").measure(nn.Linear(8, 4), shape="1,8", batch=3, budget=0, warmup=0)
    plain = found.to_dict()
    assert plain["batch"] == 3
    assert plain["joules"] is None
    assert plain["seconds"] > 0
    assert plain["runtime"].startswith("torch")
    assert any("not measured: RAPL: no counters" in line for line in found.lines())
    assert found.row() is None
    assert plain["gflop_s"] == pytest.approx(2 * 3 * 32 / plain["seconds"] / 1e9)


def test_a_measured_row_goes_into_the_table_that_calibrate_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing, "time_it", lambda *a: measured(0.5))
    monkeypatch.setattr(timing, "find_meter", lambda: (object(), ""))
    (tmp_path / "smallnet.py").write_text("from torch import nn\n\ndef make():\n    return nn.Linear(8, 4)\n")
    monkeypatch.chdir(tmp_path)
    words = ["energy", "measure", "smallnet:make", "--shape", "1,8", "--append", "rows.csv"]
    assert main(words) == 0
    assert main([*words, "--batch", "4", "--out", "out"]) == 0
    rows = table(tmp_path / "rows.csv")
    assert [(r["model"], r["batch"], r["joules"], r["weights"], r["macs"]) for r in rows] == [
        ("make", "1", "0.5", "36", "32"), ("make", "4", "0.5", "36", "32"),
    ]  # fmt: skip
    from fieldsight.systems.energy.calibrate import read_rows

    assert [r.macs for r in read_rows(tmp_path / "rows.csv")] == [32, 128]
    assert table(tmp_path / "out" / "make_measured.csv")[0]["seconds"] == "0.01"


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        ("resnet18", {}, "known by its counts alone"),
        ("torch.nn:ReLU", {"shape": "1,4", "append": "rows.csv"}, "Nothing could be added to 'rows.csv'"),
    ],
)
def test_what_can_not_be_measured(
    network: str, options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timing, "find_meter", lambda: (None, "no meter"))
    with pytest.raises(DataError, match=words):
        fieldsight.load("energy").measure(network, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.onnx
def test_an_onnx_file_is_timed(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_squeezenet.onnx"
    found = fieldsight.load("energy").measure(light, budget=0.1).to_dict()
    assert found["runtime"].startswith("onnxruntime")
    assert 0 < found["gflop_s"] < 10_000
    with pytest.raises(DataError, match="dimensions"):
        fieldsight.load("energy").measure(light, shape="1,3", budget=0)


# ------------------------------------------------------------------------------------------------------ pictures


def test_bars_and_areas_have_the_sizes_of_their_numbers() -> None:
    svg = drawing.bars([("a", {"weight": 3.0, "mac": 1.0}), ("<b>", {"weight": 2.0})], width=640, label=150)
    wide = [float(w) for w in re.findall(r'width="([\d.]+)" height="18"', svg)]
    assert wide == [300.0, 100.0, 200.0]
    assert "&lt;b&gt;" in svg
    even = drawing.bars([("a", {"weight": 3.0, "mac": 1.0}), ("b", {"weight": 2.0})], width=640, label=150, even=True)
    assert [float(w) for w in re.findall(r'width="([\d.]+)" height="18"', even)] == [300.0, 100.0, 400.0]
    places = drawing.squarify([6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0], 0, 0, 6, 4)
    assert [w * h for _, _, w, h in places] == pytest.approx([6, 6, 4, 3, 2, 2, 1])
    assert all(x >= -1e-9 and y >= -1e-9 and x + w <= 6 + 1e-9 and y + h <= 4 + 1e-9 for x, y, w, h in places)
    assert [si_unit(v) for v in (9e-4, 5e-3, 0.0, 7, 2e4)] == [
        (1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1.0, ""), (1e3, "k"),
    ]  # fmt: skip


def test_reproduce_on_the_terminal_is_short_and_whole_in_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["energy", "reproduce"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 130
    assert any("79 values: 79 reproduced with a recovered constant" in line for line in lines)
    assert any("resnet18, batch 4, mac, %: printed 18.2; recomputed 60.059" in line for line in lines)
    assert "Table 2 cells within 1.05e-5: 447/447" in lines
    assert main(["energy", "reproduce", "--out", str(tmp_path)]) == 0
    rows = table(tmp_path / "reproduce.csv")
    assert sum(r["table"].startswith("Table 2") for r in rows) == 447
    with pytest.raises(ConfigError):
        fieldsight.call("energy", "reproduce", no_such=1)
