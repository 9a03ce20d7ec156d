"""INT8 by post-training quantisation: weights and activations as 8-bit integers, scales from calibration inputs.

Two ways, since neither wins everywhere; measured with VNNI, on one and two threads, against eager torch. NNCF makes
OpenVINO models: 6 to 10 times for a small U-Net, where OpenVINO in float32 gives 2 to 3 and the QDQ files of ONNX
Runtime's own quantiser 3 to 5. For a small ConvNeXt both give 1.6 to 3 times, ONNX Runtime the more at small sizes.
Networks of attention gain little or lose.

The activations' range is the smallest and largest value met (Krishnamoorthi, arXiv:1806.08342, min-max), asymmetric,
not NNCF's default for asymmetric ranges, a mean over the inputs: that clips what only some inputs show, a crack on an
otherwise empty wall, and cost 3 points of IoU where min-max costs 0.1. Weights are symmetric, a scale for each output
channel.

An INT8 network never equals its original. It is compared with eager torch on inputs that were held out of the
calibration, and refused where its outputs are ruined; a system checks its own metric on top.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight import progress
from fieldsight.data.files import atomic, atomic_folder
from fieldsight.errors import DataError, ExportError, MissingExtraError
from fieldsight.export.calibration import Batch, Inputs, Watched
from fieldsight.export.onnx import facts, first_line, stamp, to_onnx
from fieldsight.export.runtime import (
    import_onnxruntime,
    import_openvino,
    int8_support,
    onnx_runner,
    openvino_runner,
    without_telemetry,
)
from fieldsight.model import Model, Runner

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Gap:
    """How far an output is from eager torch over the held-out inputs.

    Attributes:
        mean: mean absolute difference, in the output's unit.
        largest: largest absolute difference, in the output's unit.
        relative: ``mean`` as a share of the output's spread, its standard deviation over all held-out values.
    """

    mean: float
    largest: float
    relative: float


class _RuinedError(ExportError):
    """What was quantised says something else than the original."""


# ------------------------------------------------------------------------------------------------- the two ways


def export_openvino_int8(
    model: Model,
    path: str | Path,
    calibration: Iterable[Batch],
    held_out: Iterable[Batch],
    tolerance: float = 0.1,
    opset: int = 18,
) -> dict[str, Gap]:
    """Write a model's graph as an OpenVINO folder in INT8, quantised by NNCF.

    Args:
        model: any model with a graph.
        path: the folder, with ``model.xml``, ``model.bin`` and ``fieldsight.json``.
        calibration: batches in the form of :meth:`Model.example`, in the size that will be predicted with; the same
            batches give the same file.
        held_out: other batches, to compare with eager torch.
        tolerance: largest mean absolute difference of an output, as a share of the output's spread.
        opset: ONNX operator set on the way.

    Returns:
        How far each output is from the original.

    Raises:
        MissingExtraError: the packages of the extras ``onnx`` and ``openvino`` are not installed.
        DataError: calibration inputs that don't fit the graph.
        ExportError: the graph can't be quantised, or is ruined by it; nothing is written then.
    """
    openvino, nncf = import_openvino("The OpenVINO export"), import_nncf()
    with _stored(model, calibration, held_out) as (inputs, checks, work), atomic_folder(path) as folder:
        to_onnx(model, work / "graph.onnx", opset)
        network = openvino.Core().read_model(str(work / "graph.onnx"))

        def attempt(careful: bool) -> dict[str, Gap]:
            try:
                quantised = nncf_int8(nncf, network.clone(), inputs, careful)
            except Exception as error:  # NNCF's exceptions share no base class
                raise _failed("NNCF", error) from error
            openvino.save_model(quantised, str(folder / "model.xml"), compress_to_fp16=False)
            return check_useful(model, openvino_runner(model, folder), checks, tolerance)

        gaps = _second_try(attempt)
        text = json.dumps(_int8_facts(model, inputs, gaps), indent=1)
        (folder / "fieldsight.json").write_text(text, encoding="utf-8")
        return gaps


def export_onnx_int8(
    model: Model,
    path: str | Path,
    calibration: Iterable[Batch],
    held_out: Iterable[Batch],
    tolerance: float = 0.1,
    opset: int = 18,
) -> dict[str, Gap]:
    """Write a model's graph as an ONNX file in INT8 (QDQ) by ONNX Runtime; see :func:`export_openvino_int8`."""
    import_onnxruntime("INT8 for ONNX Runtime")
    with _stored(model, calibration, held_out) as (inputs, checks, work), atomic(path) as temporary:
        to_onnx(model, work / "graph.onnx", opset)

        def attempt(careful: bool) -> dict[str, Gap]:
            try:
                _qdq(work, temporary, inputs, careful)
            except Exception as error:  # ONNX Runtime's exceptions share no base class
                raise _failed("ONNX Runtime", error) from error
            stamp(temporary, facts(model))
            return check_useful(model, onnx_runner(model, temporary), checks, tolerance)

        gaps = _second_try(attempt)
        stamp(temporary, _int8_facts(model, inputs, gaps))
        return gaps


def _second_try(attempt: Callable[[bool], dict[str, Gap]]) -> dict[str, Gap]:
    """Quantise throughout; where that ruins the network, once more with normalisation in floating point."""
    try:
        return attempt(False)
    except _RuinedError:
        progress.note("INT8 throughout ruins this network: its normalisation stays in floating point")
        return attempt(True)


def check_useful(model: Model, runner: Runner, held_out: Iterable[Batch], tolerance: float) -> dict[str, Gap]:
    """Compare an INT8 runtime with eager torch on held-out inputs, and try it in the example's batch size.

    Args:
        model: the original.
        runner: the runtime.
        held_out: batches of arrays.
        tolerance: largest mean absolute difference of an output, as a share of the output's spread.

    Raises:
        ExportError: an output has another shape, is not finite, or is off by more.
    """
    import torch

    eager = model._eager()
    example = model.example()
    _comparable(eager(example), runner(example))
    sums = {name: np.zeros(5) for name in model.output_names}  # values, sum, squares, differences, largest
    for arrays in held_out:
        batch = {name: torch.from_numpy(value) for name, value in arrays.items()}
        expected, found = eager(batch), runner(batch)
        _comparable(expected, found)
        for name in model.output_names:
            values = expected[name].to(torch.float64)
            off = (found[name].to(torch.float64) - values).abs()
            added = (values.numel(), float(values.sum()), float(values.square().sum()), float(off.sum()))
            sums[name][:4] += added
            sums[name][4] = max(sums[name][4], float(off.max()))
    gaps = {name: _gap(*map(float, found)) for name, found in sums.items()}
    bad = {name: gap for name, gap in gaps.items() if not gap.relative <= tolerance}
    if bad:
        listed = ", ".join(f"'{name}' by {gap.relative:.3g} (mean {gap.mean:.3g})" for name, gap in bad.items())
        raise _RuinedError(
            f"INT8 ruins this network: off from the original, as a share of the output's spread, {listed}; at most "
            f"{tolerance:g} is allowed. Give more calibration inputs, or such as it will meet."
        )
    return gaps


def _gap(count: float, total: float, squares: float, off: float, largest: float) -> Gap:
    centre = total / count
    spread = math.sqrt(max(squares / count - centre * centre, 0.0))
    # a constant output has no spread: differences are then measured by a thousandth of its size
    unit = max(spread, 1e-3 * math.sqrt(squares / count), 1e-12)
    return Gap(off / count, largest, off / count / unit)


def _comparable(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        if value.shape != found[name].shape:
            shapes = tuple(found[name].shape), tuple(value.shape)
            raise ExportError(f"The INT8 export gives '{name}' as {shapes[0]}, the original {shapes[1]}.")
        if found[name].is_floating_point() and not bool(found[name].isfinite().all()):
            raise ExportError(f"The INT8 export gives values of '{name}' that are not finite.")


@contextlib.contextmanager
def _stored(
    model: Model, calibration: Iterable[Batch], held_out: Iterable[Batch]
) -> Iterator[tuple[Inputs, Inputs, Path]]:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        names = model.input_names
        parts = [
            given if isinstance(given, Inputs) else Inputs.store(([batch] for batch in given), names, work / part)
            for part, given in (("calibration", calibration), ("held-out", held_out))
        ]
        if not all(parts):
            raise DataError("INT8 needs at least one input to calibrate with and one to check with.")
        yield parts[0], parts[1], work


def _int8_facts(model: Model, inputs: Inputs, gaps: dict[str, Gap]) -> dict[str, Any]:
    return {
        **facts(model),
        "fieldsight.precision": "int8",
        "fieldsight.calibration": len(inputs),
        "fieldsight.differences": {name: asdict(gap) for name, gap in gaps.items()},
    }


def _seven_bits() -> bool:
    """Without VNNI, sums of two products of 8 bits run over; weights of 7 bits keep them in bounds."""
    return int8_support().endswith("without VNNI")


def nncf_int8(nncf: Any, network: Any, inputs: Inputs, careful: bool = False) -> Any:
    """Quantise; ``careful`` keeps normalisation and what follows it in floating point, as for transformers (ConvNeXt's
    layer normalisation has outliers that one scale a tensor can't hold).
    """
    from nncf.quantization.advanced_parameters import OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    advanced = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        overflow_fix=OverflowFix.ENABLE if _seven_bits() else OverflowFix.FIRST_LAYER,
    )
    with _hushed("nncf"):
        return nncf.quantize(
            network,
            nncf.Dataset(Watched(inputs)),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if careful else None,
            subset_size=len(inputs),
            advanced_parameters=advanced,
        )


def _qdq(work: Path, path: Path, inputs: Inputs, careful: bool = False) -> None:
    """Quantise; ``careful`` rounds convolutions and products of matrices only, and nothing between them."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package is untyped
        def __init__(self) -> None:
            self.left = iter(Watched(inputs))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with _hushed("onnxruntime"):
        quant_pre_process(str(work / "graph.onnx"), str(work / "prepared.onnx"), skip_symbolic_shape=True)
        quantize_static(
            str(work / "prepared.onnx"),
            str(path),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=_seven_bits(),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"] if careful else None,
        )


def _failed(tool: str, error: BaseException) -> ExportError:
    return ExportError(f"{tool} could not quantise this graph: {type(error).__name__}: {first_line(error)}")


def import_nncf() -> Any:
    """The module ``nncf``, silent, and without its class of loggers for everybody else's."""
    before, level = logging.getLoggerClass(), logging.root.manager.disable
    logging.disable(logging.INFO)  # NNCF 2 prints on import which frameworks it found
    try:
        with without_telemetry():
            import nncf
    except ImportError:
        raise MissingExtraError("nncf", "openvino", "INT8 for OpenVINO") from None
    finally:
        logging.disable(level)
        logging.setLoggerClass(before)
    return nncf


@contextlib.contextmanager
def _hushed(name: str) -> Iterator[None]:
    """The quantisers print bars and advice of their own; who watches sees fieldsight's progress."""
    logger = logging.getLogger(name)
    level = logger.level
    handler = logging.NullHandler()  # or the first warning to the root logger would set one up for good
    logger.setLevel(logging.ERROR)
    logging.root.addHandler(handler)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.removeHandler(handler)
        logger.setLevel(level)
