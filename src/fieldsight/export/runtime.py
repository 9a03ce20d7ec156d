"""Exported graphs as runners: named tensors in, named tensors out, like the eager network."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldsight.errors import ConfigError, ExportError, MissingExtraError
from fieldsight.model import Model, Runner

if TYPE_CHECKING:
    from torch import Tensor

#: Runtimes beside eager torch, with the package each needs.
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}

#: What multiplies 8-bit integers, best first: the name and the processor flag that shows it.
INT8_UNITS = (
    ("AMX", "amx_int8"),
    ("AVX-512 VNNI", "avx512_vnni"),
    ("AVX VNNI", "avx_vnni"),
    ("Arm I8MM", "i8mm"),
    ("Arm dot product", "asimddp"),
    ("AVX-512 without VNNI", "avx512bw"),
    ("AVX2 without VNNI", "avx2"),
)
#: Other names of the same flags, as NumPy writes them.
_FLAGS = {"avx512vnni": "avx512_vnni", "avx512_clx": "avx512_vnni", "avx512_skx": "avx512bw"}


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """OpenVINO and NNCF imported inside the block report to nobody.

    Otherwise both send every import and call to an analytics service and keep an id in a folder of the home, unless
    a file there says no. Where the package ``openvino_telemetry`` is absent they do without, so it is hidden.
    """
    name = "openvino_telemetry"
    known = name in sys.modules
    before = sys.modules.get(name)
    hidden: dict[str, Any] = sys.modules
    hidden[name] = None  # Python's own way of saying that an import fails
    try:
        yield
    finally:
        if known:
            hidden[name] = before
        else:
            hidden.pop(name, None)


def import_openvino(purpose: str) -> Any:
    """The module ``openvino``, silent; see :func:`without_telemetry`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with without_telemetry():
            import openvino
    except ImportError:
        raise MissingExtraError("openvino", "openvino", purpose) from None
    return openvino


def import_onnxruntime(purpose: str) -> Any:
    """The module ``onnxruntime``, silent: its Windows builds report to Microsoft otherwise.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx", purpose) from None
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def int8_support() -> str:
    """What of this processor multiplies 8-bit integers, e.g. ``AVX-512 VNNI``; ``unknown`` where nobody can tell."""
    flags = _cpu_flags()
    return next((name for name, flag in INT8_UNITS if flag in flags), "unknown")


def _cpu_flags(source: Path = Path("/proc/cpuinfo")) -> set[str]:
    try:
        for line in source.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                return set(value.split())
    except OSError:
        pass
    import numpy as np

    core = getattr(np, "_core", None) or getattr(np, "core", None)
    features = getattr(getattr(core, "_multiarray_umath", None), "__cpu_features__", {})
    found = {str(name).lower() for name, present in features.items() if present}
    return found | {_FLAGS[name] for name in found & set(_FLAGS)}


def first_line(error: BaseException) -> str:
    """The first line of what an error says, at most 300 characters."""
    return (str(error).strip().splitlines() or [""])[0][:300]


def onnx_session(path: str | Path, threads: int | None = None) -> Any:
    """Open an ONNX file in ONNX Runtime on the CPU: an ``onnxruntime.InferenceSession``.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ExportError: the file can't be loaded.
    """
    onnxruntime = import_onnxruntime("The ONNX runtime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # idle threads that spin take the cores from whatever runs next to it; no slower without (measured)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ExportError(f"ONNX Runtime can't load '{Path(path).name}': {first_line(error)}") from None


def onnx_runner(model: Model, path: str | Path, threads: int | None = None) -> Runner:
    """Run an ONNX file by ONNX Runtime on the CPU.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ExportError: the file can't be loaded or belongs to another system.
    """
    session = onnx_session(path, threads)
    import torch

    made_for = session.get_modelmeta().custom_metadata_map.get("fieldsight.system", model.system)
    if made_for != model.system:
        raise ExportError(f"'{path}' was exported from the system '{made_for}', not '{model.system}'.")
    names = list(model.output_names)

    def run(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        feed = {name: batch[name].numpy() for name in model.input_names}
        return {n: torch.from_numpy(v) for n, v in zip(names, session.run(names, feed), strict=True)}

    return run


def openvino_runner(model: Model, path: str | Path, threads: int | None = None) -> Runner:
    """Run an OpenVINO folder or an ONNX file by OpenVINO on the CPU.

    What the file holds as INT8 is computed in INT8, all else in float32.

    Raises:
        MissingExtraError: openvino is not installed.
        ExportError: the file can't be loaded.
    """
    openvino = import_openvino("The OpenVINO runtime")
    import torch

    source = Path(path)
    source = source / "model.xml" if source.is_dir() else source
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(str(source)), "CPU", settings)
    except Exception as error:  # openvino raises RuntimeError and its own kinds
        raise ExportError(f"OpenVINO can't load '{source.name}': {error}") from None
    request = compiled.create_infer_request()
    names = list(model.output_names)

    def run(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        feed = {name: batch[name].numpy() for name in model.input_names}
        found = request.infer(feed, share_inputs=True)
        return {n: torch.from_numpy(found[n].copy()) for n in names}

    return run


def runner_for(model: Model, path: str | Path, threads: int | None = None) -> Runner:
    """The runner that fits a file: ``.onnx`` by ONNX Runtime, a folder or ``.xml`` by OpenVINO.

    Raises:
        ConfigError: another kind of file.
    """
    source = Path(path)
    if source.suffix == ".onnx":
        return onnx_runner(model, source, threads)
    if source.is_dir() or source.suffix == ".xml":
        return openvino_runner(model, source, threads)
    raise ConfigError(f"'{source}' is no export: give an .onnx file or an OpenVINO folder.")
