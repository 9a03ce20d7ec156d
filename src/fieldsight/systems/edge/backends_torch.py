"""PyTorch itself as a runtime: eager, and as TorchScript."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from fieldsight.errors import ExportError
from fieldsight.export.onnx import facts, first_line

if TYPE_CHECKING:
    from fieldsight.systems.edge.backends import Floats, Session
    from fieldsight.systems.edge.backends_source import Source


def write_torch(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    """Save the model's folder; in FP16 its weights are rounded first."""
    model = source.model
    if precision == "fp16" and not model.is_rounded():
        model = copy.copy(model)
        model.networks = {name: copy.deepcopy(net) for name, net in source.model.networks.items()}
        with torch.no_grad():
            model.round_weights()
    model.save(path)
    return ("stored as FP16: it holds every weight exactly",) if precision == "fp32" and model.is_rounded() else ()


def open_torch(path: Path, precision: str, threads: int | None) -> Session:
    """Load a model's folder.

    Raises:
        ModelFileError: it is no such folder, or damaged.
    """
    from fieldsight.model import load

    return torch_session(load("edge", path, "cpu").graph(), precision, threads)


def torch_session(graph: torch.nn.Module, precision: str = "fp32", threads: int | None = None) -> Session:
    """A network in eager torch; in FP16 its convolutions compute in half precision, the decoding in float32."""
    own = copy.deepcopy(graph).eval().half() if precision == "fp16" else graph.eval()
    _set_threads(threads)
    kind = torch.float16 if precision == "fp16" else torch.float32

    def run(pictures: Floats) -> Floats:
        with torch.inference_mode():
            found: Floats = own(torch.from_numpy(pictures).to(kind)).float().numpy()
        return found

    return run


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


def write_torchscript(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    """Trace the folded network and freeze it.

    Raises:
        ExportError: it can't be traced.
    """
    network, example = copy.deepcopy(source.traced.network), source.example
    if precision == "fp16":
        network, example = network.half(), example.half()
    extra = {"fieldsight.json": json.dumps({**facts(source.model), "fieldsight.precision": precision})}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch wants to see torch.export used instead
            traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
            frozen = torch.jit.freeze(traced.eval())
            torch.jit.save(frozen, str(path), _extra_files=extra)
    except Exception as error:  # the tracer raises whatever the network's code raises
        raise ExportError(f"torch can't trace this network: {type(error).__name__}: {first_line(error)}") from error
    return ()


def open_torchscript(path: Path, precision: str, threads: int | None) -> Session:
    """Load a traced network; the file says its precision.

    Raises:
        ExportError: it can't be loaded.
    """
    _set_threads(threads)
    told = {"fieldsight.json": ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = torch.jit.load(str(path), "cpu", _extra_files=told)  # type: ignore[no-untyped-call]
            text = cast(Any, told["fieldsight.json"])
            precision = json.loads(text or "{}").get("fieldsight.precision", precision)
    except (RuntimeError, ValueError, OSError, AttributeError) as error:
        raise ExportError(f"torch can't load '{path.name}': {first_line(error)}") from None
    kind = torch.float16 if precision == "fp16" else torch.float32

    def run(pictures: Floats) -> Floats:
        with torch.inference_mode():
            found: Floats = network(torch.from_numpy(pictures).to(kind)).float().numpy()
        return found

    return run
