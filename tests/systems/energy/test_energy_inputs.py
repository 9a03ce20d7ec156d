"""What people hand in: every kind of network, and everything that can be wrong with it, at the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fieldsight
from fieldsight.cli import main
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.energy import networks
from fieldsight.systems.energy.config import EnergyConfig

onnx = pytest.importorskip("onnx")

LAYERS = "name,kind,weights,macs,outputs\nfirst,conv2d,432,110592,4096\nlast,linear,1280,1280,10\n"
LLAMA = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100, "max_position_embeddings": 128,
}  # fmt: skip


def graph(file: Path, shape: Any = (1, 3, 8, 8), own: bool = False) -> Path:
    """A convolution of 4 channels; with ``own`` an operator nobody knows behind it."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Conv", ["x", "w"], ["h" if own else "y"], name="conv")]
    if own:
        nodes.append(helper.make_node("Warp", ["h"], ["y"], name="warp", domain="my"))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w")],
        value_info=[helper.make_tensor_value_info("h", TensorProto.FLOAT, (1, 4, 6, 6))] if own else [],
    )
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8), str(file))
    return file


def config(file: Path, **changes: Any) -> Path:
    file.write_text(json.dumps({k: v for k, v in {**LLAMA, **changes}.items() if v is not None}))
    return file


def cut(file: Path) -> Path:
    whole = graph(file).read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    return file


def raw(content: bytes) -> Callable[[Path], Path]:
    def write(file: Path) -> Path:
        file.write_bytes(content)
        return file

    return write


#: Name of the file, how it is made, a piece of the message; the way out is in it.
BAD: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "empty onnx": ("a.onnx", raw(b""), "is empty. Give an ONNX file"),
    "cut onnx": ("a.onnx", cut, "truncated, damaged or no ONNX"),
    "nonsense onnx": ("a.onnx", raw(b"\x08\x07 and then nonsense"), "'"),
    "text onnx": ("a.onnx", raw(b"import torch\n"), "'"),
    "dynamic onnx": ("a.onnx", lambda f: graph(f, ("N", 3, "H", "W")), "dynamic shape (N, 3, H, W).*--shape x=1,3,1,1"),
    "shapeless onnx": ("a.onnx", lambda f: graph(f, None), "input 'x' has no shape.*--shape x="),
    "channels": ("a.onnx", lambda f: graph(f, (1, 5, 8, 8)), "5 channels"),
    "empty json": ("config.json", raw(b""), "not valid JSON"),
    "half json": ("config.json", raw(b'{"model_type": "llama"'), "not valid JSON"),
    "list json": ("config.json", raw(b"[1, 2]"), "holds list"),
    "no type": ("config.json", lambda f: config(f, model_type=None), "no 'model_type'. Give the config.json"),
    "nearest type": ("config.json", lambda f: config(f, model_type="lama"), "Did you mean 'llama'"),
    "words": ("config.json", lambda f: config(f, hidden_size="64"), "'hidden_size' must be a whole number"),
    "negative": ("config.json", lambda f: config(f, vocab_size=-1), "'vocab_size' must be a whole number >= 1, got -1"),
    "missing": ("config.json", lambda f: config(f, hidden_size=None, vocab_size=None), "'hidden_size' is missing; 'vo"),
    "million layers": ("config.json", lambda f: config(f, num_hidden_layers=10**6), "1,000,000 layers are more than"),
    "heads": ("config.json", lambda f: config(f, num_key_value_heads=3), "can't share 3"),
    "own code": ("config.json", lambda f: config(f, auto_map={"AutoModel": "x.Y"}), "never run here"),
    "empty csv": ("a.csv", raw(b""), "is empty. Its first line must name the columns"),
    "header csv": ("a.csv", raw(b"name,weights,macs\n"), "a header and no rows"),
    "strange csv": ("a.csv", raw(b"name,weight,macs\na,1,2\n"), "unknown column 'weight'. Did you mean 'weights'"),
    "cells csv": ("a.csv", raw(b"name,weights,macs\na,x,-2\n"), "line 2: weights must be a number.*line 2: macs"),
    "binary csv": ("a.csv", raw(b"\x89PNG\xff\xfe\x00"), "is no text file"),
    "another kind": ("a.pt", raw(b"PK\x03\x04"), "is no network: its name must end in .onnx, .json, .csv"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_the_way_out(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, write, words = BAD[case]
    path, out = write(tmp_path / name), tmp_path / "out"
    assert main(["energy", "estimate", str(path), "--out", str(out)]) == 3
    said = capsys.readouterr()
    assert name in said.err
    assert all(piece in said.err for piece in words.split(".*")), said.err
    assert "Traceback" not in said.err
    assert "internal error" not in said.err
    assert said.out == ""
    assert not list(out.rglob("*"))
    # Python raises the same, and every verb that takes networks refuses it alike
    with pytest.raises(DataError, match=name):
        fieldsight.predict("energy", path)
    assert main(["energy", "sweep", str(path)]) == 3
    assert main(["energy", "compare", str(path), str(path)]) == 3
    assert main(["energy", "page", str(path), "--out", str(out / "page.html")]) == 3
    assert not list(out.rglob("*"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet-18", "Did you mean 'resnet18'"),
        ("lama-7b", "Did you mean 'llama-7b'"),
        ("absent.onnx", "There is no file 'absent.onnx'"),
        ("no/such/net.csv", "There is no file"),
        ("nowhere.at.all:net", "Can't import 'nowhere.at.all'.*Start in the folder that holds it"),
        ("os:nothing", "'os' has no 'nothing'"),
        ("torch.nn:Linearr", "Did you mean 'Linear'"),
        ("torch.nn:Linear", "can't be built: TypeError.*without arguments"),
        ("os:sep", "neither a torch.nn.Module nor what makes one"),
        ("os:getcwd", "gives 'str', no torch.nn.Module"),
        ("torch.nn:ReLU", "needs the shape of its input: --shape"),
        ("fieldsight:crakc", "Unknown system with a network 'crakc'"),
        ("fieldsight:energy", "Unknown system with a network 'energy'"),
    ],
)
def test_a_name_that_is_none(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["energy", "estimate", name]) == 3
    said = capsys.readouterr().err
    assert all(piece in said for piece in words.split(".*")), said
    assert "Traceback" not in said


def test_an_empty_text_is_no_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["energy", "estimate", ""]) == 3
    assert "empty text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--batch", "0"], "batch: must be >= 1"),
        (["--w-bits", "65"], "w_bits: must be > 0 and <= 64"),
        (["--act", "dramm"], "Did you mean 'dram'"),
        (["--prompt", "5"], "give both"),
        (["--experts", "4"], "say with active"),
        (["--pj-per-bit", "-1"], "pj_per_bit: must be >= 0"),
        (["--sparsity", "1.5"], "sparsity: must be >= 0 and <= 1"),
        (["--hardware-file", "absent.toml"], "Can't read the config file 'absent.toml'"),
    ],
)
def test_bad_settings(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["energy", "estimate", "resnet18", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        ("llama-7b", {"context": 4096}, "takes contexts from 1 to 2048"),
        ("llama-7b", {"kv_heads": 7}, "can't share 7"),
        ("llama-7b", {"prompt": 2000, "tokens": 100}, "at most 2,048 tokens, prompt and answer together"),
        ("llama-7b", {"active": 2}, "has no experts"),
        ("llama-7b", {"experts": 7, "active": 2}, "don't divide into 7 experts"),
        ("resnet50", {"act": "paper"}, "The paper gives no activation energy for 'resnet50'"),
    ],
)
def test_settings_that_do_not_fit_the_network(network: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        fieldsight.predict("energy", network, **options)


def test_a_profile_that_is_broken_lists_its_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("title = 3\n")
    assert main(["energy", "estimate", "resnet18", "--hardware-file", str(file)]) == 2
    said = capsys.readouterr().err
    assert "mine.toml: dram is missing" in said
    assert "mine.toml: mac is missing" in said


# ------------------------------------------------------------------------------------------------- what is said


def test_unknown_operators_are_listed_and_never_silently_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = graph(tmp_path / "own.onnx", own=True)
    assert main(["energy", "estimate", str(file), "--out", str(tmp_path / "out")]) == 0
    assert main(["energy", "estimate", str(file)]) == 0
    text = capsys.readouterr().out
    assert "warning: own: unknown operators are not in the MACs: my.Warp x1 (first at warp)" in text
    facts = json.loads((tmp_path / "out" / "own.json").read_text())
    assert facts["macs"] == 4 * 36 * 27
    assert [op["kind"] for op in facts["unknown"]] == ["my.Warp"]
    assert "Unknown operators" in (tmp_path / "out" / "own.html").read_text()
    assert main(["energy", "page", str(file), "--out", str(tmp_path / "page.html")]) == 0
    assert '"unknown": ["my.Warp"]' in (tmp_path / "page.html").read_text()


def test_a_shape_from_outside_opens_a_dynamic_graph(tmp_path: Path) -> None:
    file = graph(tmp_path / "open.onnx", ("N", 3, "H", "W"))
    for shape in ("x=2,3,10,8", "2,3,10,8", "2x3x10x8"):
        found = fieldsight.predict("energy", file, shape=shape).to_dict()
        assert (found["macs"], found["parameters"]) == (4 * 8 * 6 * 27, 108), shape
    for shape, words in (
        ("z=1,3,8,8", "Unknown input 'z'"), ("1,3", "4 dimensions"), ("wide", "is none"), ("0,3,8,8", "is none"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=words):
            fieldsight.predict("energy", file, shape=shape)


def test_unknown_keys_of_a_config_change_nothing(tmp_path: Path) -> None:
    """Every real config.json holds dozens of keys that have no part in the counts."""
    plain = fieldsight.predict("energy", config(tmp_path / "a.json")).to_dict()
    more = {"use_cache": True, "my_own_key": {"deep": [1]}, "torch_dtype": "float13", "transformers_version": "99"}
    odd = fieldsight.predict("energy", config(tmp_path / "b.json", **more)).to_dict()
    for key in ("parameters", "macs", "kv_values", "parts_j", "notes"):
        assert plain[key] == odd[key]


def test_one_bad_file_among_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "layers.csv").write_text(LAYERS)
    graph(folder / "deep" / "net.onnx")
    (folder / "broken.onnx").write_bytes(b"")
    (folder / "notes.txt").write_text("no network")
    assert main(["energy", "estimate", str(folder), "--out", str(out)]) == 3
    said = capsys.readouterr().err
    assert f"skipped {folder / 'broken.onnx'}" in said
    assert "1 of 3 inputs were skipped" in said
    assert (out / "layers.json").is_file()
    assert (out / "deep" / "net.html").is_file()
    assert not list(out.rglob("broken*"))
    assert main(["energy", "estimate", str(folder), "--out", str(tmp_path / "strict"), "--strict"]) == 3
    for verb in ("sweep", "compare"):
        assert main(["energy", verb, str(folder), "--out", str(out / verb)]) == 3
        assert list((out / verb).iterdir()), verb
        assert main(["energy", verb, str(folder)]) == 3
        assert "internal error" not in capsys.readouterr().err
    page = tmp_path / "page.html"
    assert main(["energy", "page", str(folder), "--out", str(page)]) == 3
    assert page.is_file()
    model = fieldsight.load("energy")
    assert len(model.compare(str(folder)).networks) == 2
    with pytest.raises(DataError):
        model.sweep(str(folder), strict=True)


def test_a_table_of_layers_with_nothing_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "nothing.csv"
    file.write_text("name,weights,macs\nrelu,0,0\n")
    assert main(["energy", "estimate", str(file), "--out", str(tmp_path / "out")]) == 0
    assert main(["energy", "estimate", str(file)]) == 0
    text = capsys.readouterr().out
    assert "nothing here costs energy" in text
    assert "inf" not in text
    json.loads((tmp_path / "out" / "nothing.json").read_text())
    assert main(["energy", "compare", str(file), "resnet18", "--out", str(tmp_path / "c")]) == 0
    assert main(["energy", "sweep", str(file), "--out", str(tmp_path / "s")]) == 0


# ------------------------------------------------------------------------------------------- every kind of input


def test_every_kind_of_network_gives_its_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch import nn

    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    (tmp_path / "mynet.py").write_text(
        "from torch import nn\nprint('noise')\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
    )
    monkeypatch.chdir(tmp_path)
    model = fieldsight.load("energy")
    macs = 4 * 36 * 27
    assert model.estimate(graph(tmp_path / "net.onnx")).to_dict()["macs"] == macs
    assert model.estimate("mynet:make", shape="1,3,8,8").to_dict()["macs"] == macs
    assert model.estimate(module, shape="1,3,8,8").to_dict()["macs"] == macs
    assert model.estimate(module, example=torch.zeros(2, 3, 8, 8)).to_dict()["macs"] == macs
    counts = networks.read("resnet18", EnergyConfig()).counts
    assert model.estimate(counts).to_dict()["macs"] == counts.macs
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config(folder / "config.json")
    by_folder, by_dict = model.estimate(folder).to_dict(), model.estimate(LLAMA).to_dict()
    assert by_folder["parameters"] == by_dict["parameters"] > 0
    assert (by_folder["source"], by_folder["unit"], by_folder["precision"]) == ("config", "token", "fp16")
    with pytest.raises(DataError, match="Can't cost 'float'"):
        model.estimate(3.5)


def test_the_noise_of_an_import_is_kept_off_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loudnet.py").write_text(
        "from torch import nn\nprint('LOUD')\ndef make():\n    return nn.Linear(4, 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main(["energy", "estimate", "loudnet:make", "--shape", "1,4", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["macs"] == 8
    assert sys.path == before


def test_estimates_from_names_and_files_import_no_torch(tmp_path: Path, root: Path) -> None:
    """Only a build from a config without a closed form, a module and ``measure`` need torch."""
    (tmp_path / "layers.csv").write_text(LAYERS)
    config(tmp_path / "config.json")
    graph(tmp_path / "net.onnx")
    code = """
import sys
from fieldsight.cli import main
for words in (["resnet18", "llama-7b"], ["layers.csv"], ["config.json"], ["net.onnx"]):
    assert main(["energy", "estimate", *words, "--json"]) == 0, words
assert main(["energy", "sweep", "resnet18"]) == 0
assert main(["energy", "compare", "resnet18", "gpt3-small"]) == 0
assert main(["energy", "reproduce"]) == 0
assert main(["energy", "page", "--out", "page.html"]) == 0
heavy = ("torch", "lightning_fabric", "transformers", "gradio", "cv2", "onnxruntime", "matplotlib")
assert not [m for m in heavy if m in sys.modules], [m for m in heavy if m in sys.modules]
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["1,3,224,224", "input=1,3,224,224", "ids=1,128:int64", "1x3x8x8"])
def test_shapes_survive_being_cut_at_their_commas(text: str) -> None:
    assert networks.parse_shapes([text]) == networks.parse_shapes(text.split(","))


def test_options_that_do_not_apply_are_said() -> None:
    found = fieldsight.predict("energy", "resnet18", context=5, kv_heads=3).to_dict()
    assert any("Not used" in n and "context, kv_heads" in n for n in found["notes"])
    with pytest.raises(ConfigError):
        fieldsight.predict("energy", "resnet18", no_such_option=1)
