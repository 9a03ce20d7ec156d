"""A model prepared for other runtimes: its ONNX file, its folded network, its INT8 scales, each made once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldsight import progress
from fieldsight.errors import ConfigError
from fieldsight.export.calibration import Inputs
from fieldsight.export.calibration import calibration_inputs as drawn_inputs
from fieldsight.export.onnx import facts, stamp, to_onnx
from fieldsight.model import Model
from fieldsight.systems.edge.quant.scheme import Scheme

if TYPE_CHECKING:
    from torch import Tensor

    from fieldsight.systems.edge.quant.fake import Scales, Seen
    from fieldsight.systems.edge.quant.tape import Traced


class Source:
    """What all writers share.

    Args:
        model: a model of one input and one output.
        work: a folder for what lies on the way.
        calibration: inputs that INT8 takes its ranges from.
        opset: ONNX operator set.
        plain: the same without what follows the detector, whose operations torch can't follow; for scales.
    """

    def __init__(
        self,
        model: Model,
        work: Path,
        calibration: Inputs | None = None,
        opset: int = 18,
        plain: Model | None = None,
    ) -> None:
        self.model, self.work, self.calibration, self.opset = model, work, calibration, opset
        self.plain = plain or model

    @cached_property
    def example(self) -> Tensor:
        """One input ``(1, 3, S, S)``."""
        return self.model.example()[self.model.input_names[0]][:1].to("cpu")

    @cached_property
    def onnx(self) -> Path:
        """The network in float32 as an ONNX file: its own, where the model is such a file.

        Raises:
            MissingExtraError: the packages of the extra ``onnx`` are not installed.
            ExportError: the network can't be written.
        """
        from fieldsight.systems.edge.external import OnnxDetector

        if isinstance(self.model, OnnxDetector):
            return self.model.file.canonical
        self.work.mkdir(parents=True, exist_ok=True)
        path = self.work / "graph-fp32.onnx"
        to_onnx(self.model, path, self.opset)
        return path

    @cached_property
    def traced(self) -> Traced:
        """The network with BN folded, and its operations."""
        from fieldsight.systems.edge.quant.tape import trace

        return trace(self.plain.graph().to("cpu").eval(), self.example)

    @cached_property
    def seen(self) -> Seen:
        """What calibration met.

        Raises:
            ConfigError: there are no calibration inputs.
        """
        from fieldsight.systems.edge.quant.fake import observe

        return observe(self.traced, self._batches())

    def scales(self, scheme: Scheme) -> Scales:
        """The scales that a scheme gives."""
        from fieldsight.systems.edge.quant.fake import choose_scales

        return choose_scales(self.traced, self.seen, scheme)

    def calibration_inputs(self) -> Inputs:
        """The calibration inputs.

        Raises:
            ConfigError: there are none.
        """
        if not self.calibration:
            raise ConfigError("INT8 takes its ranges from calibration inputs: give some.")
        return self.calibration

    def _batches(self) -> Iterator[Tensor]:
        import torch

        for arrays in self.calibration_inputs():
            yield torch.from_numpy(arrays[self.model.input_names[0]])

    def write_int8(self, path: Path) -> tuple[str, ...]:
        """Write INT8 for ONNX Runtime: least squared error, weights by channel, head in float, activations uint8.

        With pairs behind every convolution (``onnxruntime``) it computes in integers; ``fused`` leaves its convolutions
        in float and is slower than FP32. Activation functions are one operator of ONNX Runtime's own, as it makes them
        itself of a float file; split by the pairs it would not find them (a seventh of the time).
        """
        from fieldsight.systems.edge.quant.qdq import write_qdq

        scales = self.scales(Scheme(engine="onnxruntime"))
        write_qdq(self.onnx, path, scales, integers="uint8")
        count = join_silu(path)
        stamp(path, {**facts(self.model), "fieldsight.precision": "int8", "fieldsight.calibration": scales.pictures})
        return (f"{count} activation functions are operators of ONNX Runtime's own (QuickGelu)",) if count else ()


def join_silu(path: Path) -> int:
    """Make ``x * sigmoid(x)`` one operator, ``com.microsoft.QuickGelu`` with alpha 1, in an ONNX file.

    Returns:
        How many there were.
    """
    import onnx

    model = onnx.load(str(path))
    body = model.graph
    readers: dict[str, list[Any]] = {}
    for node in body.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    told = {entry.name for entry in body.output}
    joined: dict[str, Any] = {}  # output of the product to the operator in its place
    gone: set[str] = set()
    for node in body.node:
        after = readers.get(node.output[0], []) if node.op_type == "Sigmoid" else []
        if len(after) != 1 or after[0].op_type != "Mul" or node.output[0] in told:
            continue
        if sorted(after[0].input) == sorted([node.input[0], node.output[0]]):
            name = after[0].output[0]
            made = onnx.helper.make_node(
                "QuickGelu", [node.input[0]], [name], name=f"{name}.silu", domain="com.microsoft", alpha=1.0
            )
            joined[name] = made
            gone.add(node.output[0])
    kept = [joined.get(node.output[0], node) for node in body.node if node.output[0] not in gone]
    del body.node[:]
    body.node.extend(kept)
    if joined:
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
        onnx.save(model, str(path))
    return len(joined)


def inputs_for(model: Model, count: int, folder: Path | None, work: Path) -> tuple[Inputs, Inputs]:
    """Inputs to calibrate INT8 with and others to check it with; what is wrong with a folder's pictures is said.

    Args:
        model: without a folder it draws the inputs itself.
        count: number in all, a fifth of them to check with.
        folder: pictures to calibrate with, best of the training split.
        work: an empty folder that outlives the inputs.

    Raises:
        ConfigError: no folder, and the model was trained on photos that it does not hold.
        DataError: the folder holds fewer than two pictures that can be read.
    """
    if folder is None:
        return drawn_inputs(model, count, None, work)
    from fieldsight.systems.edge.options import PredictOptions
    from fieldsight.systems.edge.quant.calibrate import PictureStatistics, choose_pictures, read_picture

    known = model.artefacts.get("training", {}).get("statistics")
    chosen = choose_pictures(folder, count, PictureStatistics.from_dict(known) if known else None)
    for warning in chosen.warnings:
        progress.note(f"calibration: {warning}")
    groups = ([model.preprocess(read_picture(item), PredictOptions())[0]] for item in chosen.items)
    return Inputs.store(groups, model.input_names, work).divide()
