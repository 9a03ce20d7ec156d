"""Export to ONNX and OpenVINO. A file appears only after it gave the same predictions as the original."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldsight._version import __version__
from fieldsight.data.files import atomic, atomic_folder
from fieldsight.errors import ExportError, MissingExtraError
from fieldsight.export.runtime import first_line as first_line  # stands there for both
from fieldsight.export.runtime import import_openvino, onnx_runner, openvino_runner
from fieldsight.model import Model

if TYPE_CHECKING:
    from torch import Tensor


def export_onnx(model: Model, path: str | Path, tolerance: float = 1e-4, opset: int = 18) -> dict[str, float]:
    """Write a model's graph as ONNX.

    The file carries the system, its config and the names of its tensors, so that pre- and postprocessing can be
    repeated elsewhere.

    Args:
        model: any model with a graph.
        path: the ``.onnx`` file.
        tolerance: largest absolute difference of an output from eager torch.
        opset: ONNX operator set.

    Returns:
        Largest absolute difference of each output.

    Raises:
        MissingExtraError: the packages of the extra ``onnx`` are not installed.
        ExportError: the graph can't be exported, or differs from the original; nothing is written then.
    """
    with atomic(path) as temporary:
        to_onnx(model, temporary, opset)
        return check_parity(model, onnx_runner(model, temporary), tolerance)


def export_openvino(model: Model, path: str | Path, tolerance: float = 1e-4, opset: int = 18) -> dict[str, float]:
    """Write a model's graph as an OpenVINO folder with ``model.xml`` and ``model.bin``; see :func:`export_onnx`."""
    openvino = import_openvino("The OpenVINO export")
    with atomic_folder(path) as folder:
        graph = folder / "graph.onnx"
        to_onnx(model, graph, opset)
        # float32 throughout: the default would store float16 and compute something else than the original
        openvino.save_model(openvino.Core().read_model(str(graph)), str(folder / "model.xml"), compress_to_fp16=False)
        graph.unlink()
        (folder / "fieldsight.json").write_text(json.dumps(facts(model), indent=1), encoding="utf-8")
        return check_parity(model, openvino_runner(model, folder), tolerance)


def check_parity(model: Model, runner: Any, tolerance: float) -> dict[str, float]:
    """Compare a runtime with eager torch on the model's example, in its own batch size and in another.

    Raises:
        ExportError: an output differs by more than ``tolerance``, or has another shape.
    """
    import torch

    example = model.example()
    single = {name: value[:1] for name, value in example.items()}
    worst = dict.fromkeys(model.output_names, 0.0)
    eager = model._eager()
    for batch in (example, single):
        expected, found = eager(batch), runner(batch)
        for name in model.output_names:
            if expected[name].shape != found[name].shape:
                shapes = tuple(found[name].shape), tuple(expected[name].shape)
                raise ExportError(f"The export gives '{name}' as {shapes[0]}, the original {shapes[1]}.")
            gap = (expected[name].to(torch.float64) - found[name].to(torch.float64)).abs().max()
            worst[name] = max(worst[name], float(gap))
    bad = {name: gap for name, gap in worst.items() if not gap <= tolerance}
    if bad:
        listed = ", ".join(f"'{name}' by {gap:.3g}" for name, gap in bad.items())
        raise ExportError(f"The export differs from the original: {listed}; at most {tolerance:g} is allowed.")
    return worst


def to_onnx(model: Model, path: Path, opset: int) -> None:
    """Write a model's graph as ONNX, unchecked; see :func:`export_onnx`."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "The ONNX export") from None
    import torch

    example = model.example()
    inputs = tuple(example[name].to("cpu") for name in model.input_names)
    axes = model.dynamic_axes()
    shapes = tuple(_dynamic(axes.get(name, {})) for name in model.input_names)
    device = model.device
    graph = model.to("cpu").graph().eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                inputs,
                dynamo=True,
                opset_version=opset,
                input_names=list(model.input_names),
                output_names=list(model.output_names),
                dynamic_shapes=shapes,
                verbose=False,
            )
            assert program is not None
            program.save(str(path))
    except Exception as error:  # the exporter raises whatever its passes raise
        raise ExportError(f"torch could not export this graph: {type(error).__name__}: {first_line(error)}") from error
    finally:
        model.to(str(device))
    stamp(path, facts(model))


def stamp(path: Path, values: dict[str, Any]) -> None:
    """Write facts into an ONNX file, texts as they are and all else as JSON; what it said before is replaced."""
    import onnx

    stored = onnx.load(str(path))
    kept = [(entry.key, entry.value) for entry in stored.metadata_props if entry.key not in values]
    del stored.metadata_props[:]
    for key, value in [*kept, *values.items()]:
        entry = stored.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.save(stored, str(path))


def _dynamic(axes: dict[int, str]) -> dict[int, Any]:
    import torch

    return dict.fromkeys(axes, torch.export.Dim.DYNAMIC)


def facts(model: Model) -> dict[str, Any]:
    """What an export says of its model: version, system, config, artefacts, tensor names and fingerprint."""
    return {
        "fieldsight.version": __version__,
        "fieldsight.system": model.system,
        "fieldsight.config": model.config.to_dict(),
        "fieldsight.artefacts": model.artefacts,
        "fieldsight.inputs": list(model.input_names),
        "fieldsight.outputs": list(model.output_names),
        "fieldsight.fingerprint": model.fingerprint(),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs every pass and prints; nobody asked."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def example_tensors(model: Model, batch: int) -> dict[str, Tensor]:
    """``batch`` copies of the model's typical input, for timing."""
    return {name: value[:1].repeat(batch, *[1] * (value.ndim - 1)) for name, value in model.typical().items()}
