"""Exported graphs as runners: named tensors in, named tensors out, like the eager network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldsight.errors import ConfigError, ExportError, MissingExtraError
from fieldsight.model import Model, Runner

if TYPE_CHECKING:
    from torch import Tensor

#: Runtimes beside eager torch, with the package each needs.
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino"}


def onnx_runner(model: Model, path: str | Path, threads: int | None = None) -> Runner:
    """Run an ONNX file by ONNX Runtime on the CPU.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ExportError: the file can't be loaded or belongs to another system.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx", "The ONNX runtime") from None
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # idle threads that spin take the cores from whatever runs next to it; no slower without (measured)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ExportError(f"ONNX Runtime can't load '{Path(path).name}': {error}") from None
    made_for = session.get_modelmeta().custom_metadata_map.get("fieldsight.system", model.system)
    if made_for != model.system:
        raise ExportError(f"'{path}' was exported from the system '{made_for}', not '{model.system}'.")
    names = list(model.output_names)

    def run(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        feed = {name: batch[name].numpy() for name in model.input_names}
        return {n: torch.from_numpy(v) for n, v in zip(names, session.run(names, feed), strict=True)}

    return run


def openvino_runner(model: Model, path: str | Path, threads: int | None = None) -> Runner:
    """Run an OpenVINO folder or an ONNX file by OpenVINO on the CPU, in float32.

    Raises:
        MissingExtraError: openvino is not installed.
        ExportError: the file can't be loaded.
    """
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("openvino", "openvino", "The OpenVINO runtime") from None
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
