"""The runtimes that a detector can run in: how each one's file is written, and how it is opened.

============ ================================ ==================== ==================================================
runtime      file                             packages             INT8
============ ================================ ==================== ==================================================
torch        model folder                     (none)               none: eager torch has no integers
torchscript  ``.torchscript``                 (none)               none
onnx         ``.onnx``, ONNX Runtime          extra ``onnx``       own calibration (least error, float head)
openvino     folder, OpenVINO                 extra ``openvino``   the same
ncnn         folder, ncnn through pnnx        extra ``ncnn``       own calibration, own writer
tensorrt     ``.engine``, TensorRT            NVIDIA's own         own calibration, explicit pairs
============ ================================ ==================== ==================================================

A :data:`Session` takes one array and gives one; all runtimes are fed the same bytes. Opening needs no model, so that a
benchmark's process holds nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, ExportError, unknown
from fieldsight.export.calibration import Inputs
from fieldsight.export.onnx import facts
from fieldsight.export.runtime import _cpu_flags, first_line, import_openvino, onnx_session
from fieldsight.model import Model, Runner
from fieldsight.systems.edge.backends_source import Source

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]

#: Pictures ``(N, 3, S, S)`` float32 in 0-1 to the detector's output ``(N, 4 + nc, A)`` float32.
Session = Callable[[Floats], Floats]

#: Processor flags that show arithmetic in half precision; both of a pair are needed.
_HALF_FLAGS = (("avx512_fp16",), ("amx_fp16",), ("fphp", "asimdhp"))

#: Runtimes whose CPU kernels use it on x86, and on Arm.
_HALF_X86, _HALF_ARM = frozenset({"torch", "openvino", "ncnn"}), frozenset({"torch", "onnx", "openvino", "ncnn"})


@dataclass(frozen=True)
class Artefact:
    """What was written for a runtime.

    Attributes:
        path: the file or folder.
        bytes: its size.
        precision: ``fp32``, ``fp16`` or ``int8``.
        backend: the runtime's name.
        notes: what a reader should know.
    """

    path: Path
    bytes: int
    precision: str
    backend: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backend:
    """A runtime.

    Attributes:
        name: in options.
        title: for people.
        suffixes: endings of its file, the usual one first; none where it writes a folder.
        precisions: what it can be written in.
        writing: writes a prepared model at a path in a precision, and says what is worth knowing.
        opening: a session of what was written, in a precision, with so many threads.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    precisions: tuple[str, ...]
    writing: Callable[[Source, Path, str], tuple[str, ...]]
    opening: Callable[[Path, str, int | None], Session]

    def write(
        self,
        model: Model,
        folder: Path,
        precision: str = "fp32",
        calibration: Inputs | None = None,
        source: Source | None = None,
        path: Path | None = None,
    ) -> Artefact:
        """Write a model, unchecked; :func:`fieldsight.systems.edge.export.export` writes and checks.

        Args:
            model: any model of one input and one output.
            folder: where to write, and to keep what lies on the way.
            precision: ``fp32``, ``fp16`` or ``int8``.
            calibration: inputs that INT8 takes its ranges from.
            source: the same model prepared before; what it made is not made again.
            path: where exactly to write, in place of a name in ``folder``.

        Raises:
            ConfigError: this runtime has no such precision, or INT8 without calibration.
            MissingExtraError: a package is not installed.
            ExportError: the model can't be written so.
        """
        if precision not in self.precisions:
            raise ConfigError(f"{self.title} has no {precision.upper()} here. Allowed: {', '.join(self.precisions)}.")
        prepared = source or Source(model, folder, calibration)
        ending = self.suffixes[0] if self.suffixes else ""
        target = path or folder / f"{self.name}-{precision}{ending}"
        if not self.suffixes:
            target.mkdir(parents=True, exist_ok=True)
        notes = self.writing(prepared, target, precision)
        return Artefact(target, size_of(target), precision, self.name, notes)

    def session(self, artefact: Artefact, threads: int | None = None) -> Session:
        """Open what was written.

        Raises:
            MissingExtraError: a package is not installed.
            ExportError: it can't be opened.
        """
        return self.opening(artefact.path, artefact.precision, threads)

    def open(self, model: Model, artefact: Artefact, threads: int | None = None) -> Runner:
        """Open what was written as a runner, for :meth:`fieldsight.model.Model.use`."""
        return as_runner(model, self.session(artefact, threads))


def backend(name: str) -> Backend:
    """The runtime of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in BACKENDS:
        raise ConfigError(unknown("runtime", name, BACKENDS))
    return BACKENDS[name]


def as_runner(model: Model, session: Session) -> Runner:
    """A session as named tensors in and out."""
    import torch

    (given,), (told,) = model.input_names, model.output_names

    def run(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {told: torch.from_numpy(session(np.ascontiguousarray(batch[given].numpy(), np.float32)))}

    return run


def opened(model: Model, path: str | Path, threads: int | None = None) -> Runner:
    """A runner for anything that ``export`` wrote, by its ending or what the folder holds.

    Raises:
        ConfigError: another kind of file.
        MissingExtraError, ExportError: it can't be opened.
    """
    source = Path(path)
    if source.is_dir():
        name = "ncnn" if (source / "model.ncnn.param").is_file() else "openvino"
        known = (source / "model.ncnn.param").is_file() or (source / "model.xml").is_file()
    else:
        found = [b.name for b in BACKENDS.values() if source.suffix in b.suffixes]
        name, known = (found or [""])[0], bool(found)
    if not known:
        endings = ", ".join(ending for b in BACKENDS.values() for ending in b.suffixes)
        raise ConfigError(f"'{source}' is no export. Allowed: files ending in {endings}, folders of OpenVINO or ncnn.")
    return as_runner(model, BACKENDS[name].opening(source, _told_precision(source), threads))


def _told_precision(source: Path) -> str:
    file = source / "fieldsight.json"
    try:
        told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return str(told.get("fieldsight.precision", "fp32"))
    except (OSError, ValueError, AttributeError) as error:
        raise ExportError(f"'{file}' can't be read: {first_line(error)}. Export again.") from None


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def half_unit(flags: set[str] | None = None) -> str:
    """The processor's flag of arithmetic in half precision; empty where it has none, and FP16 saves space only."""
    own = _cpu_flags() if flags is None else flags
    return next((found[0] for found in _HALF_FLAGS if own.issuperset(found)), "")


def computes_half(name: str, flags: set[str] | None = None) -> bool:
    """Whether a runtime computes in FP16 on this machine; elsewhere its FP16 is worth no timing."""
    if name == "tensorrt":
        return True
    unit = half_unit(flags)
    return bool(unit) and name in (_HALF_ARM if unit == "fphp" else _HALF_X86)


# -------------------------------------------------------------------------------------------- onnx


def _write_onnx(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    import shutil

    from fieldsight.systems.edge.quant.half import write_half

    if precision == "fp16":
        half, single = write_half(source.onnx, path)
        return (f"{half} operators in FP16, {single} in FP32 (decoding)",)
    if precision == "int8":
        return source.write_int8(path)
    shutil.copyfile(source.onnx, path)
    return ()


def _open_onnx(path: Path, precision: str, threads: int | None) -> Session:
    session = onnx_session(path, threads)
    given, told = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run(pictures: Floats) -> Floats:
        found: Floats = session.run([told], {given: pictures})[0]
        return found

    return run


# ------------------------------------------------------------------------------------------ openvino


def _write_openvino(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    openvino = import_openvino("The OpenVINO export")
    if precision == "int8" and getattr(source.model.config, "family", "") == "rtdetr":
        return _write_openvino_nncf(source, path)
    graph = source.onnx
    if precision == "int8":
        from fieldsight.systems.edge.quant.qdq import write_qdq
        from fieldsight.systems.edge.quant.scheme import Scheme

        # signed activations cost OpenVINO half of the average precision, NNCF's own ranges over a point of it
        graph = source.work / "graph-openvino-int8.onnx"
        write_qdq(source.onnx, graph, source.scales(Scheme(engine="fused")), integers="uint8")
    network = openvino.Core().read_model(str(graph))
    openvino.save_model(network, str(path / "model.xml"), compress_to_fp16=precision == "fp16")
    told = {**facts(source.model), "fieldsight.precision": precision}
    if precision == "int8":
        told["fieldsight.calibration"] = len(source.calibration_inputs())
    (path / "fieldsight.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    half_stored = precision == "fp16" and not computes_half("openvino")
    return ("weights in FP16, computed in FP32 here",) if half_stored else ()


def _write_openvino_nncf(source: Source, path: Path) -> tuple[str, ...]:
    import math

    from fieldsight.export.quantize import export_openvino_int8

    inputs = source.calibration_inputs()
    # what it is compared with is for the caller to say: here any difference passes
    export_openvino_int8(source.model, path, inputs, inputs[:1], math.inf, source.opset)
    return ("ranges by NNCF: our own calibration does not follow transformers",)


def _open_openvino(path: Path, precision: str, threads: int | None) -> Session:
    openvino = import_openvino("The OpenVINO runtime")
    source = path / "model.xml" if path.is_dir() else path
    half = precision == "fp16" and computes_half("openvino")
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f16" if half else "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        core = openvino.Core()
        core.read_model(str(source))
    except Exception as error:  # openvino raises RuntimeError and its own kinds
        raise ExportError(f"OpenVINO can't load '{source.name}': {first_line(error)}") from None
    requests: dict[tuple[int, ...], Any] = {}

    def request(shape: tuple[int, ...]) -> Any:
        """Compiled for one shape: with free sizes a twentieth to a sixth of the time goes into finding them again."""
        if shape not in requests:
            try:
                network = core.read_model(str(source))
                network.reshape({0: list(shape)})
                requests[shape] = core.compile_model(network, "CPU", settings).create_infer_request()
            except Exception as error:  # openvino raises RuntimeError and its own kinds
                raise ExportError(f"OpenVINO can't run '{source.name}' on {shape}: {first_line(error)}") from None
        return requests[shape]

    def run(pictures: Floats) -> Floats:
        found: Floats = request(pictures.shape).infer({0: pictures}, share_inputs=True)[0].copy()
        return found

    return run


# -------------------------------------------------------------------------------------------- the table


def _write_torch(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    from fieldsight.systems.edge.backends_torch import write_torch

    return write_torch(source, path, precision)


def _open_torch(path: Path, precision: str, threads: int | None) -> Session:
    from fieldsight.systems.edge.backends_torch import open_torch

    return open_torch(path, precision, threads)


def _write_torchscript(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    from fieldsight.systems.edge.backends_torch import write_torchscript

    return write_torchscript(source, path, precision)


def _open_torchscript(path: Path, precision: str, threads: int | None) -> Session:
    from fieldsight.systems.edge.backends_torch import open_torchscript

    return open_torchscript(path, precision, threads)


def _write_ncnn(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    from fieldsight.systems.edge.backends_ncnn import write

    return write(source, path, precision)


def _open_ncnn(path: Path, precision: str, threads: int | None) -> Session:
    from fieldsight.systems.edge.backends_ncnn import session

    return session(path, precision == "fp16" and computes_half("ncnn"), threads)


def _write_tensorrt(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    from fieldsight.systems.edge.backends_tensorrt import write

    return write(source, path, precision)


def _open_tensorrt(path: Path, precision: str, threads: int | None) -> Session:
    from fieldsight.systems.edge.backends_tensorrt import session

    return session(path)


_ALL, _FLOAT = ("fp32", "fp16", "int8"), ("fp32", "fp16")

BACKENDS: Mapping[str, Backend] = {
    b.name: b
    for b in (
        Backend("torch", "PyTorch eager", (), _FLOAT, _write_torch, _open_torch),
        Backend("torchscript", "TorchScript", (".torchscript", ".pt"), _FLOAT, _write_torchscript, _open_torchscript),
        Backend("onnx", "ONNX Runtime", (".onnx",), _ALL, _write_onnx, _open_onnx),
        Backend("openvino", "OpenVINO", (), _ALL, _write_openvino, _open_openvino),
        Backend("ncnn", "NCNN", (), _ALL, _write_ncnn, _open_ncnn),
        Backend("tensorrt", "TensorRT", (".engine",), _ALL, _write_tensorrt, _open_tensorrt),
    )
}


def usable_processors() -> list[int]:
    """Numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
