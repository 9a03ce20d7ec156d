"""INT8: inputs to calibrate with, the comparison with the original, and that nobody is told of it."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.config import Config
from fieldsight.data.images import read_image, to_float, write_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError, ExportError, MissingExtraError
from fieldsight.export import onnx, quantize, runtime, verbs
from fieldsight.export.calibration import Inputs, calibration_inputs, folder_inputs
from fieldsight.export.options import BenchOptions, ExportOptions
from fieldsight.export.quantize import check_useful, export_onnx_int8, export_openvino_int8
from fieldsight.model import Model
from fieldsight.registry import Input


@dataclass(frozen=True)
class Nothing(Config):
    """No options."""


def picture(number: int, size: int = 32) -> np.ndarray:
    """Noise with a bright disc, float32 in [0, 1], (size, size, 3)."""
    rng = rng_for("int8 test", number)
    y, x = np.mgrid[:size, :size] - rng.uniform(8, size - 8, (2, 1, 1))
    disc = (np.hypot(x, y) < rng.uniform(3, 8))[..., None]
    return (0.3 + 0.4 * disc + rng.normal(0, 0.05, (size, size, 3))).clip(0, 1).astype(np.float32)


def batch(number: int) -> dict[str, Tensor]:
    return {"image": torch.from_numpy(picture(number)).permute(2, 0, 1)[None].contiguous()}


class Norm(nn.LayerNorm):
    """Over the channels of pictures; ONNX Runtime has something to say about it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Small(Model):
    """A small convolutional network; a picture is taken in two halves, as a system that tiles would."""

    system = "small"
    output_names = ("logit",)
    spec: Any = SimpleNamespace(
        id="small",
        inputs=(Input("image", "image", "a picture", (".png",)),),
        main=SimpleNamespace(name="predict", options="Nothing"),
        load=lambda name: Nothing,
    )

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)]
            layers += [nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), Norm(16), nn.ReLU(), nn.Conv2d(16, 1, 1)]
            super().__init__(Nothing(), {"net": nn.Sequential(*layers)})

    def graph(self) -> nn.Module:
        return self.networks["net"]

    def example(self) -> dict[str, Tensor]:
        return {"image": torch.cat([batch(n)["image"] for n in (1, 2)])}

    def read(self, item: Any, options: Any) -> np.ndarray:
        return to_float(read_image(item))

    def predict_one(self, value: Any, options: Any) -> Any:
        tiles = torch.from_numpy(np.stack([value[:16], value[16:]])).permute(0, 3, 1, 2)
        return self.forward({"image": tiles})

    def describe(self) -> str:
        return "small"


class Named(Small):
    """One that names its own inputs."""

    def calibration_inputs(self, count: int) -> Iterator[dict[str, Tensor]]:
        return (batch(n) for n in range(count))


@pytest.fixture
def model() -> Small:
    return Small()


def stored(folder: Path, sizes: list[int]) -> Inputs:
    return Inputs.store(([batch(n)] * n for n in sizes), ("image",), folder)


# ------------------------------------------------------------------------------------------- calibration inputs


def test_inputs_come_back_from_their_files_whatever_their_name(tmp_path: Path) -> None:
    given = {"file": torch.arange(3.0)[None], "kind": torch.tensor([2])}
    inputs = Inputs.store([[given], [given, given]], ("file", "kind"), tmp_path)
    assert inputs.groups == [0, 1, 1]
    assert len(inputs) == 3
    assert all(set(b) == {"file", "kind"} for b in inputs)
    assert inputs[2]["file"].tolist() == [[0, 1, 2]]
    assert inputs[2]["kind"].dtype == np.int64
    assert [b["kind"][0] for b in inputs[1:]] == [2, 2]


def test_inputs_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="input 0 lacks image; it has picture"):
        Inputs.store([[{"picture": torch.ones(1)}]], ("image",), tmp_path)
    with pytest.raises(DataError, match="input 1 holds values that are not finite"):
        Inputs.store([[batch(0)], [{"image": torch.tensor([math.nan])}]], ("image",), tmp_path)


def test_what_is_held_out_shares_no_picture(tmp_path: Path) -> None:
    inputs = stored(tmp_path, [3, 1, 2, 4, 1, 2, 1])
    used, held = inputs.divide()
    assert len(used) + len(held) == len(inputs)
    assert not set(used.groups) & set(held.groups)
    assert len(set(held.groups)) == 2
    assert inputs.divide()[1].files == held.files


def test_a_single_picture_is_divided_by_its_tiles(tmp_path: Path) -> None:
    used, held = stored(tmp_path, [5]).divide()
    assert (len(used), len(held)) == (4, 1)
    assert not set(used.files) & set(held.files)
    with pytest.raises(DataError, match="at least 2 inputs"):
        stored(tmp_path, [1]).divide()


def test_without_inputs_of_the_system_a_folder_is_asked_for(model: Small, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no calibration inputs; give --calibration FOLDER"):
        verbs.export(model, tmp_path / "x.onnx", ExportOptions(precision="int8"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="only with precision int8"):
        ExportOptions(calibration=tmp_path)


def test_the_system_is_asked_for_no_more_than_wanted(tmp_path: Path) -> None:
    used, held = calibration_inputs(Named(), 10, None, tmp_path)
    assert (len(used), len(held)) == (8, 2)


def test_a_folder_gives_what_the_network_is_given(model: Small, tmp_path: Path) -> None:
    for n in range(4):
        write_image(tmp_path / f"{n}.png", (picture(n) * 255).round().astype(np.uint8))
    (tmp_path / "9.png").write_text("no picture")
    notes: list[str] = []
    with progress.watching(None, notes.append):
        groups = list(folder_inputs(model, tmp_path, 10))
    assert [len(g) for g in groups] == [2] * 4  # both tiles of each good picture
    assert len(notes) == 1
    assert "9.png" in notes[0]
    want = to_float(read_image(tmp_path / "2.png"))[16:].transpose(2, 0, 1)
    np.testing.assert_array_equal(groups[2][1]["image"][0].numpy(), want)
    assert model._runner is None
    assert len(list(folder_inputs(model, tmp_path, 3))) == 2  # first, middle and last, of which the last is bad


def test_folders_that_do_not_fit_are_named(model: Small, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        list(folder_inputs(model, tmp_path / "nowhere", 4))
    with pytest.raises(DataError, match="holds no file"):
        list(folder_inputs(model, tmp_path, 4))
    two = Small()
    two.spec = SimpleNamespace(inputs=[Input("cover", "image", ""), Input("secret", "image", "")])
    with pytest.raises(ConfigError, match="takes cover, secret"):
        list(folder_inputs(two, tmp_path, 4))


# ---------------------------------------------------------------------------------------------- the comparison


class Line(Small):
    """Gives what it is given, so that gaps can be worked out by hand."""

    def graph(self) -> nn.Module:
        return nn.Identity()

    def example(self) -> dict[str, Tensor]:
        return {"image": torch.zeros(2, 2)}


def test_gaps_are_means_over_all_held_out_values() -> None:
    held = [{"image": np.array([[0.0, 2.0]])}, {"image": np.array([[0.0, 2.0]])}]
    offs = iter([0.0, 0.1, 0.3])  # the example, then both batches

    def runner(b: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logit": b["image"] - next(offs)}

    gap = check_useful(Line(), runner, held, 0.25)["logit"]
    assert gap.mean == pytest.approx(0.2)
    assert gap.largest == pytest.approx(0.3)
    assert gap.relative == pytest.approx(0.2)  # the spread of 0, 2, 0, 2 is 1


def test_ruined_networks_are_refused() -> None:
    held = [{"image": np.array([[0.0, 2.0]])}]
    with pytest.raises(ExportError, match=r"'logit' by 0.3 \(mean 0.3\); at most 0.1"):
        check_useful(Line(), lambda b: {"logit": b["image"] + 0.3}, held, 0.1)
    with pytest.raises(ExportError, match="not finite"):
        check_useful(Line(), lambda b: {"logit": b["image"] / 0}, held, math.inf)
    with pytest.raises(ExportError, match=r"'logit' as \(2, 1\), the original \(2, 2\)"):
        check_useful(Line(), lambda b: {"logit": b["image"][:, :1]}, held, 0.1)


def test_a_constant_output_is_measured_by_its_size() -> None:
    held = [{"image": np.array([[5.0, 5.0]])}]
    gap = check_useful(Line(), lambda b: {"logit": b["image"] + 0.001}, held, 1)["logit"]
    assert gap.relative == pytest.approx(0.2, rel=1e-3)
    assert check_useful(Line(), lambda b: {"logit": b["image"]}, held, 0.1)["logit"].relative == 0


# -------------------------------------------------------------------------------------------------- the machine


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("flags\t\t: fpu avx2 avx512bw avx512_vnni avx_vnni\n", "AVX-512 VNNI"),
        ("flags : avx2 avx512bw\n", "AVX-512 without VNNI"),
        ("flags : fpu avx2\n", "AVX2 without VNNI"),
        ("processor : 0\nFeatures : fp asimd asimddp\n", "Arm dot product"),
        ("flags : avx2 avx512_vnni amx_int8\n", "AMX"),
        ("flags : fpu\n", "unknown"),
    ],
)
def test_the_processor_says_what_multiplies_8_bits(
    text: str, unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "cpuinfo"
    source.write_text(text)
    found = runtime._cpu_flags(source)
    monkeypatch.setattr(runtime, "_cpu_flags", lambda: found)
    assert runtime.int8_support() == unit


def test_without_the_file_numpy_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = SimpleNamespace(_multiarray_umath=SimpleNamespace(__cpu_features__={"AVX512VNNI": True, "SVE": False}))
    monkeypatch.setattr(np, "_core", core, raising=False)
    found = runtime._cpu_flags(tmp_path / "none")
    assert "avx512_vnni" in found
    assert "sve" not in found


def test_telemetry_is_hidden_only_inside_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, SimpleNamespace()):
        if before is None:
            monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
        else:
            monkeypatch.setitem(sys.modules, "openvino_telemetry", before)  # type: ignore[arg-type]
        with runtime.without_telemetry(), pytest.raises(ImportError):
            import openvino_telemetry  # noqa: F401
        assert sys.modules.get("openvino_telemetry") is before


def test_a_missing_quantiser_names_the_command(model: Small, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match=r"'(nncf|openvino)'.*fieldsight\[openvino\]"):
        export_openvino_int8(model, tmp_path / "x", [batch(0)], [batch(1)])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"fieldsight\[onnx\]"):
        export_onnx_int8(model, tmp_path / "x.onnx", [batch(0)], [batch(1)])
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------ exports

CALIBRATION, HELD = [batch(n) for n in range(12)], [batch(n) for n in range(100, 104)]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network in ONNX: torch takes seconds for it, so all share one."""
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    quantize.to_onnx(Small(), path, 18)
    return path


@pytest.fixture
def ready(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (quantize, onnx):
        monkeypatch.setattr(module, "to_onnx", lambda model, path, opset: shutil.copy(graph, path))


@pytest.mark.onnx
@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_int8_exports_predict_nearly_the_same_every_time(model: Small, tmp_path: Path, format: str) -> None:
    write: Any = export_onnx_int8 if format == "onnx" else export_openvino_int8
    a, b = (tmp_path / (f"{n}.onnx" if format == "onnx" else n) for n in "ab")
    gap = write(model, a, CALIBRATION, HELD)["logit"]
    assert 0 < gap.relative < 0.1
    assert gap.mean < gap.largest
    write(model, b, CALIBRATION, HELD)
    outputs = []
    for path in (a, b):
        run = runtime.runner_for(model, path, 1)
        outputs.append(run(model.example())["logit"])
        assert run(HELD[0])["logit"].shape == (1, 1, 32, 32)
    assert torch.equal(*outputs)
    assert 0 < (outputs[0] - model.forward(model.example())["logit"]).abs().mean() < 2 * gap.mean
    if format == "onnx":
        from onnx import load

        written = load(str(a))
        assert sum(node.op_type == "QuantizeLinear" for node in written.graph.node) >= 4
        facts = {p.key: p.value for p in written.metadata_props}
        assert len(facts) == len(written.metadata_props)
        assert a.read_bytes() == b.read_bytes()
    else:
        assert 'type="FakeQuantize"' in (a / "model.xml").read_text()
        assert 'element_type="i8"' in (a / "model.xml").read_text()
        facts = json.loads((a / "fieldsight.json").read_text())
        assert (a / "model.bin").read_bytes() == (b / "model.bin").read_bytes()
    assert facts["fieldsight.precision"] == "int8"
    assert int(facts["fieldsight.calibration"]) == 12


@pytest.mark.onnx
@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_a_network_that_int8_ruins_keeps_its_normalisation_in_floating_point(
    model: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    tried: list[bool] = []
    quantiser, write = {"openvino": ("nncf_int8", export_openvino_int8), "onnx": ("_qdq", export_onnx_int8)}[format]
    real, judge = getattr(quantize, quantiser), quantize.check_useful

    def spied(*given: Any) -> Any:
        tried.append(given[-1])
        return real(*given)

    def ruined(*given: Any) -> Any:
        found = judge(*given)
        if not tried[-1]:
            raise quantize._RuinedError("INT8 ruins this network")
        return found

    monkeypatch.setattr(quantize, quantiser, spied)
    monkeypatch.setattr(quantize, "check_useful", ruined)
    target = tmp_path / ("x" if format == "openvino" else "x.onnx")
    gaps = write(model, target, CALIBRATION, HELD)
    assert tried == [False, True]
    assert all(gap.relative <= 0.1 for gap in gaps.values())
    assert target.exists()


@pytest.mark.onnx
@pytest.mark.usefixtures("ready")
def test_poor_calibration_is_refused_and_nothing_is_written(model: Small, tmp_path: Path) -> None:
    dark = [{"image": b["image"] * 0.01} for b in CALIBRATION]
    with pytest.raises(ExportError, match="INT8 ruins this network"):
        export_openvino_int8(model, tmp_path / "x", dark, HELD)
    with pytest.raises(ExportError, match="INT8 ruins this network"):
        export_onnx_int8(model, tmp_path / "x.onnx", dark, HELD)
    with pytest.raises(ExportError, match="could not quantise this graph"):
        export_openvino_int8(model, tmp_path / "x", [{"image": torch.zeros(1, 4, 8, 8)}], HELD)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.onnx
@pytest.mark.usefixtures("ready")
def test_int8_is_timed_beside_the_others_or_says_why_not(tmp_path: Path) -> None:
    options = BenchOptions(runs=3, warmup=0)
    rows = {row["runtime"]: row for row in verbs.bench(Named(), options).rows}
    assert list(rows) == ["torch", "onnx", "openvino", "onnx-int8", "openvino-int8"]
    assert all(row["p50"] > 0 for row in rows.values())
    assert rows["onnx-int8"]["note"] == f"8-bit products: {runtime.int8_support()}"
    found = verbs.bench(Small(), options).rows
    missing = {row["runtime"]: row["note"] for row in found if "p50" not in row}
    assert set(missing) == {"onnx-int8", "openvino-int8"}
    assert "names no calibration inputs" in missing["openvino-int8"]


@pytest.mark.onnx
def test_nobody_is_told_and_nothing_is_printed(tmp_path: Path, root: Path, graph: Path) -> None:
    """In a process of its own: OpenVINO and NNCF hold back by themselves where they see pytest."""
    code = f"""
        import logging, multiprocessing, os, socket, subprocess, sys, urllib.request
        sys.path.insert(0, {str(root / "tests" / "core")!r})

        def caught(*args, **named):
            os.write(2, b"tried to phone home\\n")
            os._exit(9)

        # the senders work in forked processes and swallow every exception
        socket.socket.connect = socket.getaddrinfo = urllib.request.urlopen = caught
        multiprocessing.Process.start = caught

        import test_quantize as t
        from pathlib import Path
        t.onnx.to_onnx = t.quantize.to_onnx = lambda model, path, opset: t.shutil.copy({str(graph)!r}, path)
        kept = logging.getLoggerClass(), len(logging.root.handlers)
        model, out = t.Named(), Path({str(tmp_path / "out")!r})
        t.onnx.export_openvino(model, out / "plain")
        t.export_openvino_int8(model, out / "int8", t.CALIBRATION, t.HELD)
        t.export_onnx_int8(model, out / "int8.onnx", t.CALIBRATION, t.HELD)
        assert "nncf" in sys.modules and "openvino_telemetry" not in sys.modules
        assert kept == (logging.getLoggerClass(), len(logging.root.handlers))
    """
    # test_quantize imports pytest, by which NNCF would know a test: a stand-in takes its place
    stand_in = "import sys, unittest.mock; sys.modules['pytest'] = unittest.mock.MagicMock()\n"
    hide = "del sys.modules['pytest']\n"
    lines = textwrap.dedent(code).replace("import test_quantize as t\n", f"{stand_in}import test_quantize as t\n{hide}")
    home = tmp_path / "home"
    home.mkdir()
    # what tells the senders that this is a robot's machine is taken out, too
    known = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV")}
    known |= {"HOME": str(home), "USERPROFILE": str(home), "LOCALAPPDATA": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", lines], env=known, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not any(word in done.stderr for word in ("WARNING", "calibrat"))
    assert not (home / "intel").exists()
    assert not (home / "Intel Corporation").exists()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["int8", "int8.onnx", "plain"]
