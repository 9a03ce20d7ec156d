"""Experts from outside: torch code, ONNX files and folders of maps, and how each of them can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

from fieldsight.data.images import write_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError, MissingExtraError
from fieldsight.systems.crack.external import FolderExpert, OnnxExpert, TorchExpert, load_external
from fieldsight.systems.crack.external_heads import resized

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)
        self.norm = nn.BatchNorm2d(1)
    def forward(self, x):
        return self.norm(self.conv(x))

def make():
    return Net()

def broken():
    raise RuntimeError("no such luck")

flat = lambda: (lambda x: x.mean(1, keepdim=True).sigmoid())
made = Net()
"""


def photo(size: tuple[int, int] = (32, 64), count: int = 2) -> Tensor:
    return torch.from_numpy(rng_for(0, "x").standard_normal((count, 3, *size)).astype(np.float32))


def onnx_file(
    path: Path,
    channels: int = 1,
    shape: list[Any] | None = None,
    sigmoid: bool = False,
    outputs: int = 1,
    kind: int = 1,
) -> tuple[Path, np.ndarray]:
    """A 1x1 convolution (kernel returned) of 3 to ``channels`` channels, with its output doubled where asked."""
    kernel = rng_for(channels, "onnx").standard_normal((channels, 3, 1, 1)).astype(np.float32)
    dtype = {1: np.float32, 10: np.float16}[kind]
    shape = ["n", 3, "h", "w"] if shape is None else shape
    nodes = [helper.make_node("Conv", ["x", "k"], ["y"])]
    names = ["y"]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["y"], ["p"]))
        names = ["p"]
    for extra in range(1, outputs):
        nodes.append(helper.make_node("Identity", [names[0]], [f"aux{extra}"]))
        names.append(f"aux{extra}")
    infos = [helper.make_tensor_value_info(n, kind, [shape[0], channels, *shape[2:]]) for n in names]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, shape)], infos,
        [numpy_helper.from_array(kernel.astype(dtype), "k")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path, kernel[:, :, 0, 0]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def convolved(x: Tensor, kernel: np.ndarray) -> np.ndarray:
    return np.einsum("nchw,oc->nohw", x.numpy(), kernel)


# ------------------------------------------------------------------------------------------------------ torch


def test_heads_of_one_and_two_channels() -> None:
    x = photo()
    raw = x[:, :1] * 3.0
    two = torch.cat([raw, -2.0 * raw], dim=1)
    for output, network, expected in (
        ("logits", lambda _: raw, torch.sigmoid(raw)),
        ("probability", lambda _: torch.sigmoid(raw), torch.sigmoid(raw)),
        ("logits", lambda _: two, torch.softmax(two, 1)[:, 1:]),
        ("softmax", lambda _: two, torch.sigmoid(-3.0 * raw)),
        ("probability", lambda _: torch.softmax(two, 1), torch.sigmoid(-3.0 * raw)),
        ("probability", lambda _: torch.sigmoid(raw).numpy(), torch.sigmoid(raw)),
    ):
        found = TorchExpert("mine", network, output).probability(x, ["a", "b"])
        assert found.shape == (2, 1, 32, 64)
        assert found.dtype == torch.float32
        assert torch.allclose(found, expected, atol=1e-6), output


def test_scales_and_sizes_of_the_input() -> None:
    x = photo()
    seen: list[Tensor] = []

    def network(given: Tensor) -> Tensor:
        seen.append(given)
        return torch.full((len(given), 1, 8, 8), 0.25)

    for expects, scale in (("imagenet", None), ("unit", 1.0), ("byte", 255.0)):
        expert = TorchExpert("mine", network, expects=expects, input_size=(16, 48))
        found = expert.probability(x, ["a", "b"])
        assert found.shape == (2, 1, 32, 64)
        assert torch.allclose(found, torch.tensor(0.25))
        small = resized(x, (16, 48))
        if scale is not None:
            std, mean = torch.tensor([0.229, 0.224, 0.225]), torch.tensor([0.485, 0.456, 0.406])
            small = (small * std.view(1, 3, 1, 1) + mean.view(1, 3, 1, 1)) * scale
        assert torch.allclose(seen[-1], small, atol=1e-4), expects


def test_a_module_is_frozen_and_its_statistics_stay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())
    expert = TorchExpert("mine", network)
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    found = expert.probability(photo(), ["a", "b"])
    assert not found.requires_grad
    assert not any(p.requires_grad for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    ("network", "output", "message"),
    [
        (lambda x: x[:, :1] * 9, "probability", "choose output=logits"),
        (lambda x: x[:, :1].abs() * 50, "probability", "divide by 255"),
        (lambda x: x[:, :1] * torch.nan, "probability", "NaN"),
        (lambda x: x[:, :2], "probability", "Choose output=softmax"),
        (lambda x: x[:, :1], "softmax", "choose output=logits"),
        (lambda x: x[:, 0], "logits", r"return output\.unsqueeze\(1\)"),
        (lambda x: x[:, :1].permute(0, 2, 3, 1), "logits", r"return output\.permute\(0, 3, 1, 2\)"),
        (lambda x: x, "logits", r"3 channels: return output\.softmax\(1\)\[:, K:K \+ 1\]"),
        (lambda x: x[:1, :1], "logits", r"\(1, 1, 32, 64\) for an input \(2, 3, 32, 64\)"),
        (lambda x: x[:, None, :1], "logits", "an axis too many"),
        (lambda x: {"out": x[:, :1], "aux": x}, "logits", r"dict with out, aux.*return output\['out'\]"),
        (lambda x: (x, x), "logits", r"return output\[0\]"),
        (lambda x: None, "logits", "gives a NoneType"),
        (lambda x: x.view(2, 3, 7, 7), "logits", r"fails on an input of shape \(2, 3, 32, 64\): RuntimeError"),
    ],
)
def test_wrong_outputs_say_what_to_change(network: Any, output: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        TorchExpert("mine", network, output).probability(photo(), ["a", "b"])
    assert "'mine'" in str(caught.value)


def test_a_thousandth_beyond_the_range_is_clipped() -> None:
    found = TorchExpert("mine", lambda x: torch.where(x[:, :1] > 0, 1.0009, -0.0009)).probability(photo(), ["a", "b"])
    assert set(found.unique().tolist()) == {0.0, 1.0}
    with pytest.raises(DataError, match="output=logits"):
        TorchExpert("mine", lambda x: torch.where(x[:, :1] > 0, 1.0011, 0.0)).probability(photo(), ["a", "b"])


def test_ids_and_input_must_fit() -> None:
    expert = TorchExpert("mine", lambda x: x[:, :1], "logits")
    with pytest.raises(DataError, match="2 photos and 1 ids"):
        expert.probability(photo(), ["a"])
    with pytest.raises(DataError, match=r"\(N, 3, H, W\)"):
        expert.probability(photo()[:, :1], ["a", "b"])
    with pytest.raises(ConfigError, match="Did you mean 'logits'"):
        TorchExpert("mine", lambda x: x, "logit")
    with pytest.raises(ConfigError) as caught:
        TorchExpert("mine", lambda x: x, "logit", "bytes", (0, 4))
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError, match="function is wanted"):
        TorchExpert("mine", 3)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------- loading


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "my nets.py"
    path.write_text(CODE)
    return path


def test_code_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "evil.py"
    path.write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\ndef make(): return lambda x: x[:, :1]\n"
    )
    for spec in ({"source": f"{path}:make"}, {"source": "antigravity:make", "name": "a"}):
        with pytest.raises(ConfigError, match="--allow-code"):
            load_external(spec, allow_code=False)
    assert not (tmp_path / "ran").exists()
    load_external({"source": f"{path}:make"}, allow_code=True)
    assert (tmp_path / "ran").exists()


def test_factories_instances_and_lambdas_of_a_file(code: Path) -> None:
    for factory in ("make", "Net", "made"):
        expert = load_external({"source": f"{code}:{factory}", "output": "logits"}, allow_code=True)
        assert expert.name == factory
        assert expert.probability(photo(), ["a", "b"]).shape == (2, 1, 32, 64)
    flat = load_external({"source": f"{code}:flat", "name": "mean"}, allow_code=True)
    assert flat.name == "mean"
    assert torch.allclose(flat.probability(photo(), ["a", "b"]), photo().mean(1, keepdim=True).sigmoid())


def test_an_installed_packages_factory() -> None:
    expert = load_external({"source": "torch.nn:Sigmoid", "name": "s"}, allow_code=True)
    with pytest.raises(DataError, match="3 channels"):
        expert.probability(photo(), ["a", "b"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}:broken", "no such luck"), ("{}:absent", "AttributeError"), ("absent.py:make", "There is no file"),
        ("no_such_package_x:make", "ModuleNotFoundError"), (":make", "can't be made"),
    ],
)  # fmt: skip
def test_code_that_fails_is_named(code: Path, source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_external({"source": source.format(code)}, allow_code=True)


def test_weights_are_safetensors_that_fit(code: Path, tmp_path: Path) -> None:
    tensors = {
        "conv.weight": torch.full((1, 3, 3, 3), 0.01), "conv.bias": torch.ones(1), "norm.weight": torch.ones(1),
        "norm.bias": torch.zeros(1), "norm.running_mean": torch.zeros(1), "norm.running_var": torch.ones(1),
        "norm.num_batches_tracked": torch.tensor(3),
    }  # fmt: skip
    save_file(tensors, str(tmp_path / "w.safetensors"))
    save_file({f"module.{k}": v for k, v in tensors.items()}, str(tmp_path / "wrapped.safetensors"))
    found = []
    for name in ("w", "wrapped"):
        spec = {"source": f"{code}:make", "output": "logits", "weights": tmp_path / f"{name}.safetensors"}
        found.append(load_external(spec, True).probability(torch.zeros(1, 3, 32, 32), ["a"]))
    assert torch.equal(*found)
    assert torch.allclose(found[0], torch.sigmoid(torch.ones(1) / np.sqrt(1 + 1e-5)), atol=1e-6)
    save_file({**tensors, "conv.bias": torch.ones(2), "more": torch.ones(1)}, str(tmp_path / "wrong.safetensors"))
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:50])
    (tmp_path / "w.pth").write_bytes(b"x")
    for name, error, message in (
        (
            "wrong.safetensors",
            ConfigError,
            r"more is not in the network; conv\.bias has shape \(2,\), the network's is \(1,\)",
        ),
        ("cut.safetensors", DataError, "Can't read"),
        ("absent.safetensors", DataError, "Can't read"),
        ("w.pth", ConfigError, "save_file"),
    ):
        with pytest.raises(error, match=message):
            load_external({"source": f"{code}:make", "weights": str(tmp_path / name)}, True)
    with pytest.raises(ConfigError, match="holds no weights"):
        load_external({"source": f"{code}:flat", "weights": str(tmp_path / "w.safetensors")}, True)


def test_options_in_the_source_text(tmp_path: Path) -> None:
    path, _ = onnx_file(tmp_path / "a,b.onnx")
    expert = load_external({"source": f"{path}, output=logits,input_size=16x32", "name": "n"}, False)
    assert isinstance(expert, OnnxExpert)
    assert (expert.output, expert.input_size, expert.path) == ("logits", (16, 32), path)
    expert = load_external({"source": str(path), "output": "logits", "input_size": 32}, False)
    assert isinstance(expert, OnnxExpert)
    assert (expert.name, expert.input_size) == ("a,b", (32, 32))
    for spec, message in (
        ({"source": str(path), "outptu": "logits"}, "Did you mean 'output'"),
        ({"source": " "}, "needs a source"),
        ({"source": str(path), "input_size": "big"}, "a side like 512"),
        ({"source": str(path), "input_size": (1, 2, 3)}, "a side like 512"),
        ({"source": str(path), "weights": "w.safetensors"}, "weights is for others"),
        ({"source": str(tmp_path), "output": "logits"}, "output is for others"),
        ({"source": "net.pth"}, "no network"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_external(spec, allow_code=False)


# -------------------------------------------------------------------------------------------------------- ONNX


def test_onnx_of_any_size(tmp_path: Path) -> None:
    x = photo()
    path, kernel = onnx_file(tmp_path / "one.onnx")
    found = OnnxExpert("one", path, "logits").probability(x, ["a", "b"])
    assert np.allclose(found.numpy(), sigmoid(convolved(x, kernel)), atol=1e-5)
    path, kernel = onnx_file(tmp_path / "two.onnx", channels=2)
    raw = convolved(x, kernel)
    found = OnnxExpert("two", path, "softmax").probability(x, ["a", "b"])
    assert np.allclose(found.numpy(), sigmoid(raw[:, 1:] - raw[:, :1]), atol=1e-5)
    path, kernel = onnx_file(tmp_path / "p.onnx", sigmoid=True)
    found = OnnxExpert("p", path).probability(x, ["a", "b"])
    assert np.allclose(found.numpy(), sigmoid(convolved(x, kernel)), atol=1e-5)
    path, kernel = onnx_file(tmp_path / "half.onnx", kind=TensorProto.FLOAT16)
    found = OnnxExpert("half", path, "logits").probability(x, ["a", "b"])
    assert np.allclose(found.numpy(), sigmoid(convolved(x, kernel)), atol=5e-3)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_onnx_of_fixed_size_and_batch(tmp_path: Path, batch: int) -> None:
    x = photo((32, 64), 3)
    path, kernel = onnx_file(tmp_path / "fixed.onnx", shape=[batch, 3, 16, 16])
    expert = OnnxExpert("fixed", path, "logits")
    assert expert.input_size == (16, 16)
    raw = torch.from_numpy(convolved(resized(x, (16, 16)), kernel).astype(np.float32))
    expected = torch.sigmoid(resized(raw, (32, 64)))
    assert torch.allclose(expert.probability(x, list("abc")), expected, atol=1e-5)
    with pytest.raises(ConfigError, match="leave input_size"):
        OnnxExpert("fixed", path, "logits", input_size=(32, 32))


def test_onnx_logits_taken_for_probabilities(tmp_path: Path) -> None:
    path, _ = onnx_file(tmp_path / "one.onnx")
    with pytest.raises(DataError, match="choose output=logits"):
        OnnxExpert("one", path).probability(photo(), ["a", "b"])


def test_onnx_files_that_do_not_fit(tmp_path: Path) -> None:
    def info(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    def save(nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Path:
        graph = helper.make_graph(nodes, "g", inputs, outputs)
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
            str(tmp_path / "n.onnx"),
        )
        return tmp_path / "n.onnx"

    same = [helper.make_node("Identity", ["x"], ["y"])]
    nhwc, grey, flat = ["n", 16, 16, 3], ["n", 1, "h", "w"], ["n", 3, "h", "w"]
    cases = [
        (same, [info("x", nhwc)], [info("y", nhwc)], r"x\.permute\(0, 2, 3, 1\)"),
        (same, [info("x", grey)], [info("y", grey)], "takes grey"),
        (same, [info("x", [3, "h", "w"])], [info("y", [3, "h", "w"])], r"x\[0\]"),
        (same, [info("x", flat)], [info("y", flat)], "3 channels: return"),
        (same, [info("x", flat, TensorProto.UINT8)], [info("y", flat, TensorProto.UINT8)], r"tensor\(uint8\)"),
        (same, [info("x", ["n", 3, 16, "w"])], [info("y", ["n", 3, 16, "w"])], "fixes one side"),
        (
            [helper.make_node("Add", ["x", "z"], ["y"])],
            [info("x", flat), info("z", flat)],
            [info("y", flat)],
            "2 inputs",
        ),
    ]
    for nodes, inputs, outputs, message in cases:
        with pytest.raises(ConfigError, match=message):
            OnnxExpert("n", save(nodes, inputs, outputs))
    (tmp_path / "junk.onnx").write_bytes(b"\x08\x07 nonsense")
    for name, message in (("junk.onnx", "can't load"), ("absent.onnx", "no file")):
        with pytest.raises(DataError, match=message):
            OnnxExpert("n", tmp_path / name)


def test_onnx_of_several_outputs(tmp_path: Path) -> None:
    path, kernel = onnx_file(tmp_path / "many.onnx", outputs=2)
    with pytest.raises(ConfigError, match="say which with output_name"):
        OnnxExpert("many", path, "logits")
    with pytest.raises(ConfigError, match="Did you mean 'aux1'"):
        OnnxExpert("many", path, "logits", output_name="aux2")
    found = OnnxExpert("many", path, "logits", output_name="aux1").probability(photo(), ["a", "b"])
    assert np.allclose(found.numpy(), sigmoid(convolved(photo(), kernel)), atol=1e-5)


def test_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = onnx_file(tmp_path / "one.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"fieldsight\[onnx\]"):
        OnnxExpert("one", path)


# ------------------------------------------------------------------------------------------------------ folders


def test_maps_of_every_kind(tmp_path: Path) -> None:
    values = rng_for(0, "maps").random((32, 64)).astype(np.float32)
    write_image(tmp_path / "a.png", np.round(values * 255).astype(np.uint8))
    write_image(tmp_path / "b.tif", values)
    write_image(tmp_path / "c.npy", values)
    write_image(tmp_path / "d.png", np.round(values * 65535).astype(np.uint16))
    write_image(tmp_path / "site" / "e.v2.npy", values)
    expert = FolderExpert("maps", tmp_path)
    found = expert.probability(photo((32, 64), 5), ["a", "photos/b.jpg", "c", "d.tiff", "site/e.v2"])
    assert found.shape == (5, 1, 32, 64)
    for n, tolerance in enumerate((0.5 / 255 + 1e-6, 1e-6, 1e-6, 1e-5, 1e-6)):
        assert np.abs(found[n, 0].numpy() - values).max() <= tolerance, n
    assert np.array_equal(expert.map("e.v2"), values)


def test_a_map_of_another_size_is_resized_or_padded(tmp_path: Path) -> None:
    values = rng_for(0, "maps").random((30, 60)).astype(np.float32)
    write_image(tmp_path / "a.npy", values)
    as_tensor = torch.from_numpy(values)[None, None]
    small = FolderExpert("maps", tmp_path).probability(photo((16, 16), 1), ["a"])
    assert torch.allclose(small, resized(as_tensor, (16, 16)))
    # the photo of 60 x 30 was padded to 64 x 32: its map must stay where it is
    padded = FolderExpert("maps", tmp_path).probability(photo((32, 64), 1), ["a"])
    assert torch.equal(padded[:, :, :30, :60], as_tensor)
    stretched = FolderExpert("maps", tmp_path, "resize").probability(photo((32, 64), 1), ["a"])
    assert torch.allclose(stretched, resized(as_tensor, (32, 64)))
    with pytest.raises(DataError, match="can't be cut into tiles"):
        FolderExpert("maps", tmp_path, "pad").probability(photo((16, 16), 1), ["a"])
    with pytest.raises(ConfigError, match="fit"):
        FolderExpert("maps", tmp_path, "stretch")


def test_maps_that_are_absent_doubled_or_no_probabilities(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        FolderExpert("maps", tmp_path / "absent")
    with pytest.raises(DataError, match="no probability maps"):
        FolderExpert("maps", tmp_path)
    write_image(tmp_path / "x" / "a.npy", np.full((8, 8), 0.5, np.float32))
    write_image(tmp_path / "y" / "a.npy", np.full((8, 8), 0.75, np.float32))
    write_image(tmp_path / "logits.npy", np.full((8, 8), -3.0, np.float32))
    write_image(tmp_path / "cut.png", np.full((64, 64), 9, np.uint8) + np.arange(64, dtype=np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"cut\.png"):
        FolderExpert("maps", tmp_path)
    (tmp_path / "cut.png").unlink()
    expert = FolderExpert("maps", tmp_path)
    assert float(expert.probability(photo(count=1), ["y/a"]).max()) == 0.75
    for id, message in (
        ("b", "no map of 'b'"),
        ("a", r"several maps of 'a': x.a\.npy, y.a\.npy"),
        ("logits", "sigmoid"),
    ):
        with pytest.raises(DataError, match=message):
            expert.probability(photo(count=1), [id])
    write_image(tmp_path / "binary" / "a.png", np.eye(8, dtype=np.uint8))
    with pytest.raises(DataError, match="255 is read as certain"):
        load_external({"source": str(tmp_path / "binary")}, allow_code=False)
