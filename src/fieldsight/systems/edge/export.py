"""``export``: the detector for another runtime, compared as tensors and as boxes before the file is there."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fieldsight import progress
from fieldsight.data.files import atomic, atomic_folder
from fieldsight.errors import ConfigError, ExportError
from fieldsight.export.calibration import Inputs
from fieldsight.export.onnx import check_parity, export_onnx, export_openvino, stamp
from fieldsight.export.quantize import Gap, check_useful, export_openvino_int8
from fieldsight.export.verbs import Exported
from fieldsight.model import Runner
from fieldsight.systems.edge.backends import Backend, half_unit, size_of
from fieldsight.systems.edge.backends_source import Source, inputs_for
from fieldsight.systems.edge.export_parity import BoxParity, check_boxes, unseen_pictures, with_suppression
from fieldsight.systems.edge.external import OnnxDetector, backend_for
from fieldsight.systems.edge.options import PredictOptions
from fieldsight.systems.edge.options_bench import EdgeExportOptions
from fieldsight.systems.edge.predict import EdgeModel

#: With the suppression inside, an FP32 file may lose or add this share of boxes at the most: equal scores may swap.
NMS_LOSS = 0.02


@dataclass(frozen=True)
class EdgeExported(Exported):
    """A written export and how far it is from the original.

    Attributes:
        precision: numbers it computes with.
        bytes: its size.
        boxes: its boxes against the original's; None where none were compared.
        notes: what a reader should know.
    """

    precision: str = "fp32"
    bytes: int = 0
    boxes: BoxParity | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        more = {"boxes": self.boxes.to_dict()} if self.boxes else {}
        notes = {"notes": list(self.notes)} if self.notes else {}
        return {**super().to_dict(), "precision": self.precision, "bytes": self.bytes, **more, **notes}


@dataclass(frozen=True)
class _Checked:
    """What the comparison of tensors gave."""

    differences: Mapping[str, float]
    gaps: Mapping[str, Gap]
    notes: tuple[str, ...] = ()


def export(model: EdgeModel, out: Path | None, options: EdgeExportOptions) -> EdgeExported:
    """Write the detector for another runtime.

    An FP32 file must give the original's numbers within ``tolerance``, FP16 and INT8 within ``int8_tolerance`` of the
    output's spread; each must find the boxes that the original finds on pictures that calibrated nothing.

    Raises:
        ConfigError: nowhere to write to, another ending than the format's, no calibration inputs.
        DataError: calibration inputs that can't be used.
        MissingExtraError: the runtime is not installed.
        ExportError: the export failed, or differs; nothing is written then.
    """
    chosen = backend_for(model, options.format)
    target = _target(out, chosen)
    if options.nms and isinstance(model, OnnxDetector):
        raise ExportError(model.lacking("An export with its suppression inside"))
    joined = with_suppression(model, model.suppression(PredictOptions())) if options.nms else model
    with tempfile.TemporaryDirectory() as name, _place(target, chosen) as temporary:
        work = Path(name)
        parts = (None, None) if options.precision != "int8" else _calibration(model, options, work)
        source = Source(joined, work, parts[0], options.opset, model)
        pictures = unseen_pictures(model, options.pictures, parts[1])
        done = _write(model, source, chosen, temporary, options, parts[1])
        boxes = _compare(model, chosen, temporary, options, pictures, done)
        size = size_of(temporary)
    progress.note(f"largest difference from the original: {max(done.differences.values(), default=0.0):.2g}")
    differences = dict(done.differences) or {"boxes": boxes.largest_score_difference if boxes else 0.0}
    for text in (*done.notes, *([boxes.line()] if boxes else [])):
        progress.note(text)
    return EdgeExported(
        target, options.format, differences, gaps=done.gaps, precision=options.precision, bytes=size, boxes=boxes,
        notes=done.notes,
    )  # fmt: skip


def _target(out: Path | None, chosen: Backend) -> Path:
    if out is None:
        raise ConfigError(f"export writes a {'file' if chosen.suffixes else 'folder'}: name it with --out.")
    if chosen.suffixes and out.suffix not in chosen.suffixes:
        allowed = " or ".join(chosen.suffixes)
        article = "an ONNX" if chosen.name == "onnx" else f"a {chosen.title}"
        raise ConfigError(f"out: {article} file ends in {allowed}, got '{out}'.")
    if not chosen.suffixes and out.suffix in (".onnx", ".xml", ".bin", ".param"):
        raise ConfigError(f"out: {chosen.title} writes a folder, got the file name '{out}'.")
    return out


@contextlib.contextmanager
def _place(target: Path, chosen: Backend) -> Iterator[Path]:
    with atomic(target) if chosen.suffixes else atomic_folder(target) as temporary:
        yield temporary


def _calibration(model: EdgeModel, options: EdgeExportOptions, work: Path) -> tuple[Inputs, Inputs]:
    parts = inputs_for(model, options.samples, options.calibration, work / "inputs")
    progress.note(f"INT8 takes its ranges from {len(parts[0])} pictures; {len(parts[1])} others check it")
    return parts


def _write(
    model: EdgeModel, source: Source, chosen: Backend, path: Path, options: EdgeExportOptions, held_out: Inputs | None
) -> _Checked:
    """Write one precision and compare tensors; what the core writes, it checks itself."""
    name, precision = chosen.name, options.precision
    core = name in ("onnx", "openvino") and not isinstance(model, OnnxDetector)
    if precision == "fp32" and core and not options.nms:
        whole = export_onnx if name == "onnx" else export_openvino
        return _Checked(whole(model, path, options.tolerance, options.opset), {})
    if name == "openvino" and core and precision == "int8":
        assert held_out is not None
        found = export_openvino_int8(
            model, path, source.calibration_inputs(), held_out, options.int8_tolerance, options.opset
        )
        return _Checked({n: gap.largest for n, gap in found.items()}, found)
    artefact = chosen.write(source.model, source.work, precision, source=source, path=path)
    notes = artefact.notes
    if precision == "fp16" and not half_unit() and name != "tensorrt":
        notes = (*notes, "this processor does not compute in FP16: the file is smaller, not faster")
    if options.nms:
        rules = asdict(model.suppression(PredictOptions()))
        stamp(path, {"fieldsight.suppression": rules, "fieldsight.precision": precision})
        return _Checked({}, {}, notes)
    runner = chosen.open(model, artefact)
    if precision == "fp32":
        return _Checked(check_parity(model, runner, options.tolerance), {}, notes)
    gaps = _gaps(model, runner, held_out, options)
    if gaps and name == "onnx":
        stamp(path, {"fieldsight.differences": {n: asdict(gap) for n, gap in gaps.items()}})
    return _Checked({n: gap.largest for n, gap in gaps.items()}, gaps, notes)


def _gaps(model: EdgeModel, runner: Runner, held_out: Inputs | None, options: EdgeExportOptions) -> Mapping[str, Gap]:
    """Compare a file of fewer bits: INT8 on the inputs left out of its calibration, FP16 on the model's example."""
    name = model.input_names[0]
    example = [{name: picture[None].numpy()} for picture in model.example()[name]]
    return check_useful(model, runner, held_out or example, options.int8_tolerance)


def _compare(
    model: EdgeModel, chosen: Backend, path: Path, options: EdgeExportOptions, pictures: list[Any], done: _Checked
) -> BoxParity | None:
    """Compare boxes; a file with its own suppression is compared by nothing else."""
    from fieldsight.systems.edge.backends import Artefact, as_runner

    if not pictures and not options.nms:
        return None
    kept = pictures or unseen_pictures(model, 4)
    session = chosen.session(Artefact(path, 0, options.precision, chosen.name))
    allowed = min(options.box_loss, NMS_LOSS) if options.nms and options.precision == "fp32" else options.box_loss
    return check_boxes(model, as_runner(model, session), kept, allowed, options.nms)
