"""TensorRT (NVIDIA): an engine built from the ONNX file, with explicit pairs for INT8. Needs an NVIDIA GPU.

Written against TensorRT 10's documented Python interface. No CI machine has it, so what is here runs on users'
devices only; exports are checked there like any other before they are written.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight.errors import ExportError, FieldsightError, MissingExtraError
from fieldsight.systems.edge.quant.scheme import Scheme

if TYPE_CHECKING:
    from fieldsight.systems.edge.backends import Floats, Session
    from fieldsight.systems.edge.backends_source import Source


class NoTensorRTError(MissingExtraError):
    """TensorRT or its GPU is not there; no extra brings them."""

    def __init__(self, why: str) -> None:
        self.package, self.extra = "tensorrt", ""
        FieldsightError.__init__(
            self,
            f"TensorRT needs an NVIDIA GPU and NVIDIA's package 'tensorrt', version 10 or later; {why}. No extra of "
            "fieldsight brings it: on a PC `pip install tensorrt`, on a Jetson it comes with JetPack.",
        )


def import_tensorrt() -> tuple[Any, Any]:
    """The modules ``tensorrt`` and ``torch``, with a GPU.

    Raises:
        NoTensorRTError: the package or the GPU is missing.
    """
    try:
        tensorrt = importlib.import_module("tensorrt")
    except ImportError:
        raise NoTensorRTError("the package is not installed") from None
    import torch

    if not torch.cuda.is_available():
        raise NoTensorRTError("torch finds no GPU here")
    return tensorrt, torch


def write(source: Source, path: Path, precision: str) -> tuple[str, ...]:
    """Build an engine for this machine's GPU, for one picture of the model's size.

    Raises:
        NoTensorRTError: TensorRT or a GPU is missing.
        ExportError: TensorRT can't build the engine.
    """
    tensorrt, torch = import_tensorrt()
    graph = source.onnx
    if precision == "int8":
        from fieldsight.systems.edge.quant.qdq import write_qdq

        graph = source.work / "tensorrt-int8.onnx"
        write_qdq(source.onnx, graph, source.scales(Scheme(engine="fused")), integers="int8")
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        said = parser.get_error(0).desc() if parser.num_errors else "no reason given"
        raise ExportError(f"TensorRT can't read this network: {said}")
    config = builder.create_builder_config()
    if precision != "fp32":
        config.set_flag(tensorrt.BuilderFlag.FP16)
    else:
        config.clear_flag(tensorrt.BuilderFlag.TF32)  # 10 bits of mantissa are not FP32
    if precision == "int8":
        config.set_flag(tensorrt.BuilderFlag.INT8)
    profile = builder.create_optimization_profile()
    shape = tuple(source.example.shape)
    profile.set_shape(network.get_input(0).name, shape, shape, shape)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"TensorRT can't build an engine in {precision.upper()}; see its log.")
    path.write_bytes(bytes(engine))
    return (f"for {torch.cuda.get_device_name()} and TensorRT {tensorrt.__version__} only",)


def session(path: Path) -> Session:
    """Open an engine; pictures of a batch run one by one, copies to and from the GPU included.

    Raises:
        NoTensorRTError: TensorRT or a GPU is missing.
        ExportError: the engine was built for another GPU or version.
    """
    tensorrt, torch = import_tensorrt()
    engine = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise ExportError(f"TensorRT can't load '{path.name}': engines run on the GPU and version they were built for.")
    context = engine.create_execution_context()
    given, told = engine.get_tensor_name(0), engine.get_tensor_name(1)
    stream = torch.cuda.Stream()

    def one(picture: Floats) -> Floats:
        with torch.cuda.stream(stream):
            here = torch.from_numpy(picture[None]).cuda(non_blocking=True)
            context.set_input_shape(given, tuple(here.shape))
            out = torch.empty(tuple(context.get_tensor_shape(told)), dtype=torch.float32, device="cuda")
            context.set_tensor_address(given, here.data_ptr())
            context.set_tensor_address(told, out.data_ptr())
            if not context.execute_async_v3(stream.cuda_stream):
                raise ExportError(f"TensorRT could not run '{path.name}'.")
            found: Floats = out.cpu().numpy()[0]
        return found

    def run(pictures: Floats) -> Floats:
        return np.stack([one(np.ascontiguousarray(picture)) for picture in pictures])

    return run
