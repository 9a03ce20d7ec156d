"""NCNN (Tencent, BSD-3): converted by pnnx, run by the package ``ncnn``, and quantised here.

The INT8 form is NCNN's own: each quantised convolution holds int8 weights with a factor for each output channel, and
one factor for what it reads; activations between convolutions stay in float32. NCNN's own tools for this are no part
of its Python package, so the two files are rewritten here, with the scales of the system's calibration.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ExportError, MissingExtraError
from fieldsight.export.onnx import facts, first_line
from fieldsight.systems.edge.quant.scheme import Scheme

if TYPE_CHECKING:
    from fieldsight.systems.edge.backends import Floats, Session
    from fieldsight.systems.edge.backends_source import Source

PARAM, BIN = "model.ncnn.param", "model.ncnn.bin"

#: First line of a .param file.
_MAGIC = "7767517"

#: How weights are stored: the number before them in the .bin file.
_FLOAT, _INTEGERS = 0x00000000, 0x000D4B38

#: Layers with weights that are understood here, and the number that says that theirs are integers with scales.
_CONVOLUTIONS = {"Convolution": 2, "ConvolutionDepthWise": 1}

#: Layers that are known to have weights and are not understood.
_WEIGHTED = frozenset(
    {"InnerProduct", "Deconvolution", "DeconvolutionDepthWise", "Convolution1D", "Convolution3D", "BatchNorm", "Bias",
     "Scale", "PReLU", "LayerNorm", "GroupNorm", "InstanceNorm", "Embed", "LSTM", "GRU", "RNN", "MultiHeadAttention",
     "Gemm", "Normalize", "DeformableConv2D", "ConvolutionDepthWise1D", "ConvolutionDepthWise3D", "RMSNorm"}
)  # fmt: skip


def import_ncnn(purpose: str) -> Any:
    """The module ``ncnn``.

    Raises:
        MissingExtraError: it is not installed.
    """
    return _import("ncnn", purpose)


def _import(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(name, "ncnn", purpose) from None


def write(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    """Write ``model.ncnn.param`` and ``model.ncnn.bin`` into a folder.

    Raises:
        MissingExtraError: pnnx is not installed.
        ExportError: it can't convert this network, or made of it what can't be quantised here.
    """
    convert(source, path, half=precision == "fp16")
    notes: tuple[str, ...] = ()
    if precision == "int8":
        count, total = quantize(path, source)
        notes = (f"{count} of {total} convolutions in INT8, activations between them in FP32",)
    told = {**facts(source.model), "fieldsight.precision": precision}
    (path / "fieldsight.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    return notes


def convert(source: Source, path: Path, half: bool) -> None:
    """Trace the folded network and let pnnx convert it; ``half`` stores the weights in FP16."""
    pnnx = _import("pnnx", "The NCNN export")
    import torch

    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "model.pt"
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            script = torch.jit.trace(source.traced.network, source.example, check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(script, str(traced))
        shape = ",".join(str(n) for n in source.example.shape)
        command = [pnnx.EXEC_PATH, traced.name, f"inputshape=[{shape}]f32", f"fp16={int(half)}"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=600)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(f"pnnx can't run: {first_line(error)}") from None
        made = [Path(folder) / name for name in (PARAM, BIN)]
        if done.returncode or not all(p.is_file() for p in made):
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:300]
            raise ExportError(f"pnnx could not convert this network: {said}")
        left = [
            line.split()[0] for line in made[0].read_text(encoding="utf-8").splitlines()[2:] if "." in line.split()[0]
        ]
        if left:
            raise ExportError(f"NCNN lacks operators of this network: {', '.join(sorted(set(left))[:5])}.")
        for file in made:
            (path / file.name).write_bytes(file.read_bytes())


def session(path: Path, half: bool, threads: int | None) -> Session:
    """Open a folder; pictures of a batch run one by one.

    Raises:
        MissingExtraError: ncnn is not installed.
        ExportError: the files can't be loaded.
    """
    ncnn = import_ncnn("The NCNN runtime")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
    net.opt.use_bf16_storage = False
    if threads is not None:
        net.opt.num_threads = threads
    if net.load_param(str(path / PARAM)) or net.load_model(str(path / BIN)):
        raise ExportError(f"NCNN can't load '{path}': export again.")

    def one(picture: Floats) -> Floats:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(picture))
        failed, found = extractor.extract("out0")
        if failed:
            raise ExportError(f"NCNN could not run '{path}'.")
        return np.array(found, np.float32)

    def run(pictures: Floats) -> Floats:
        return np.stack([one(np.ascontiguousarray(picture)) for picture in pictures])

    return run


# ------------------------------------------------------------------------------------------------- INT8


@dataclass(frozen=True)
class _Layer:
    """A line of the .param file with the bytes that belong to it."""

    words: tuple[str, ...]
    stored: bytes = b""

    @property
    def kind(self) -> str:
        return self.words[0]

    def value(self, key: int, default: int = 0) -> int:
        """An entry ``key=value``."""
        for word in self.words[4:]:
            name, found, text = word.partition("=")  # names of tensors are there, too
            if found and name == str(key):
                return int(text)
        return default


def quantize(path: Path, source: Source) -> tuple[int, int]:
    """Rewrite a float32 folder in INT8, head in float.

    Returns:
        Convolutions in INT8, and in all.

    Raises:
        ExportError: the files are not as they are known here.
    """
    from fieldsight.systems.edge.quant.grid import quantize_weight, weight_scales

    scheme = Scheme()
    scales = source.scales(scheme)
    graph = source.traced.graph
    plan = graph.plan(scheme)
    layers = _read(path)
    by_weight = {_key(source.traced.convolution(n).weight.detach().numpy()): n for n in graph.convolutions}
    made: list[_Layer] = []
    count = 0
    for layer in layers:
        name = by_weight.get(_key(_weights(layer))) if layer.kind in _CONVOLUTIONS else None
        if layer.kind in _CONVOLUTIONS and name is None:
            raise ExportError(
                "pnnx changed the weights of a convolution: its scales are not known. Use another format."
            )
        if name is None or name not in plan.layers:
            made.append(layer)
            continue
        number = graph.convolutions[name]
        grid = scales.grids[plan.reads[number][graph.ops[number].inputs[0]]]
        weight = source.traced.convolution(name).weight.detach()
        steps = weight_scales(weight, True)
        integers = quantize_weight(weight, steps).numpy().astype(np.int8).tobytes()
        bias = layer.stored[4 + 4 * layer.value(6) :]
        parts = (
            _INTEGERS.to_bytes(4, "little"), integers, b"\0" * (-len(integers) % 4), bias,
            (1.0 / steps.numpy()).astype("<f4").tobytes(), np.float32(1.0 / grid.scale).tobytes(),
        )  # fmt: skip
        made.append(replace(layer, words=(*layer.words, f"8={_CONVOLUTIONS[layer.kind]}"), stored=b"".join(parts)))
        count += 1
    _save(path, made)
    return count, sum(layer.kind in _CONVOLUTIONS for layer in layers)


def _key(weights: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(weights, "<f4").tobytes()


def _weights(layer: _Layer) -> NDArray[np.float32]:
    return np.frombuffer(layer.stored, "<f4", layer.value(6), 4)


def _read(path: Path) -> list[_Layer]:
    lines = (path / PARAM).read_text(encoding="utf-8").splitlines()
    stored = (path / BIN).read_bytes()
    if not lines or lines[0].strip() != _MAGIC:
        raise ExportError(f"'{path / PARAM}' is no text form of an NCNN network.")
    place, found = 0, []
    with _understood(path):
        for line in lines[2:]:
            layer = _Layer(tuple(line.split()))
            size = _size(layer, stored, place)
            found.append(replace(layer, stored=stored[place : place + size]))
            place += size
    if place != len(stored):
        raise ExportError(f"'{path / BIN}' holds {len(stored)} bytes, its layers take {place}: it can't be quantised.")
    return found


def _size(layer: _Layer, stored: bytes, place: int) -> int:
    if layer.kind in _WEIGHTED:
        raise ExportError(f"INT8 for NCNN knows no layer '{layer.kind}'. Use ONNX or OpenVINO.")
    if layer.kind == "MemoryData":
        return 4 * int(np.prod([max(1, layer.value(key)) for key in (0, 1, 11, 2)]))
    if layer.kind not in _CONVOLUTIONS:
        return 0
    if int.from_bytes(stored[place : place + 4], "little") != _FLOAT:
        raise ExportError(f"The weights of '{layer.words[1]}' are not in float32: it can't be quantised.")
    return 4 + 4 * layer.value(6) + (4 * layer.value(0) if layer.value(5) else 0)


@contextlib.contextmanager
def _understood(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, IndexError) as error:
        raise ExportError(f"'{path / PARAM}' can't be read: {first_line(error)}") from None


def _save(path: Path, layers: list[_Layer]) -> None:
    head = (path / PARAM).read_text(encoding="utf-8").splitlines()[:2]
    lines = [*head, *(" ".join(layer.words) for layer in layers)]
    (path / PARAM).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (path / BIN).write_bytes(b"".join(layer.stored for layer in layers))
