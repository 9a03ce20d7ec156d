"""Detectors of others as models of this system: an ONNX file whose one input is a square photo and that gives one of

======== =================== ==========================================================================================
YOLOv8   ``(1, 4 + nc, A)``  centre x, y, width, height in pixels of the input, then scores; suppression comes after it
DETR     ``(1, Q, 4 + nc)``  the same as shares of the input's sides; each object once, so nothing is suppressed
======== =================== ==========================================================================================

Either is brought to ``(N, 4 + nc, A)`` in pixels inside the graph, and that file is what every runtime is given.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.config import Config
from fieldsight.data.files import atomic, sha256
from fieldsight.detection.network import Detector, soft_pictures
from fieldsight.errors import ConfigError, DataError, ExportError, FieldsightError, ModelFileError
from fieldsight.export.onnx import facts, stamp
from fieldsight.export.runtime import first_line, import_openvino, onnx_session
from fieldsight.model import Model, Runner
from fieldsight.nn.detection.nms import Suppression
from fieldsight.systems.edge.backends import Backend, backend, opened
from fieldsight.systems.edge.config import EdgeConfig
from fieldsight.systems.edge.external_file import (
    artefacts_of,
    canonical,
    fewer_bits,
    input_of,
    known_config,
    names_of,
    output_of,
    read,
    refuse_suppressed,
    tried,
    world_of,
)
from fieldsight.systems.edge.options import PredictOptions
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.quant.onnx_graph import import_onnx

if TYPE_CHECKING:
    from fieldsight.systems.edge.backends_source import Source

#: Pixels a side of a file that takes any size.
SIDE = 640

#: Families whose detectors tell each object once.
_FREE = ("rtdetr", "yolov10")


class Folder:
    """A folder that goes when nobody holds this any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fieldsight-"))
        weakref.finalize(self, shutil.rmtree, str(self.path), ignore_errors=True)


@dataclass(frozen=True)
class OnnxFile:
    """What is known of a detector's file.

    Attributes:
        path: the file as it was named.
        folder: holds the canonical form for as long as the model lives.
        single: takes one picture at a time only.
        free: tells each object once; nothing is suppressed.
        world: a drawn world with the same classes; empty where there is none.
        holds: ``INT8`` or ``FP16`` where the file computes in these already.
    """

    path: Path
    folder: Folder
    single: bool
    free: bool
    world: str
    holds: str

    @property
    def canonical(self) -> Path:
        """``image`` ``(N, 3, S, S)`` in 0-1 to ``output`` ``(N, 4 + nc, A)`` in pixels."""
        return self.folder.path / "model.onnx"


class OnnxDetector(EdgeModel):
    """A detector that is an ONNX file, computed by ONNX Runtime."""

    def __init__(self, config: Config, file: OnnxFile, artefacts: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, {}, artefacts)
        self.file = file

    @classmethod
    def from_file(cls, path: Path) -> OnnxDetector:
        """Read a file and check what it takes and gives, on a drawn picture.

        Raises:
            MissingExtraError: the packages of the extra ``onnx`` are not installed.
            ModelFileError: damaged, no detector, another layout, or nobody says what its classes are called.
        """
        if path.suffix.lower() != ".onnx":
            raise ModelFileError(
                f"'{path}' is no model folder and no ONNX file. Allowed: a model folder, a run folder, or a detector "
                "as a file ending in .onnx."
            )
        proto = read(path)
        told = {entry.key: entry.value for entry in proto.metadata_props}
        refuse_suppressed(path, proto, told)
        given = input_of(path, proto)
        known, names = known_config(path, told), names_of(path, told)
        side = given.side or (known.input if known else SIDE)
        if not given.side:
            progress.note(f"'{path.name}' takes any size: {side} pixels a side are used")
        output = output_of(path, tried(path, given.name, side), names)
        free = output.shares or (known is not None and known.family in _FREE)
        file = OnnxFile(path, Folder(), given.single, free, world_of(names, known), fewer_bits(proto))
        model = cls(_config(path, known, names, side, file), file, artefacts_of(told))
        _save(canonical(proto, given, output, side), model)
        if file.holds:
            progress.note(f"'{path.name}' computes in {file.holds} already")
        return model

    # ---------------------------------------------------------------------------------- what it lacks

    @property
    def detector(self) -> Detector:
        """There is none.

        Raises:
            ExportError: always.
        """
        raise ExportError(self.lacking("This"))

    def lacking(self, what: str) -> str:
        """Why something that needs the torch network can't be had, and what can."""
        return (
            f"{what} needs the network in torch, and '{self.file.path.name}' is an ONNX file. It can be used by "
            "predict, evaluate, bench, serve and export to onnx and openvino; for the rest name a model folder."
        )

    def graph(self) -> nn.Module:
        """There is none.

        Raises:
            ExportError: always.
        """
        raise ExportError(self.lacking("This"))

    def save(self, folder: str | Path) -> Path:
        """Write the canonical file as ``model.onnx`` into a folder; it is loaded by the path that is returned."""
        target = Path(folder) / "model.onnx"
        with atomic(target) as temporary:
            shutil.copyfile(self.file.canonical, temporary)
        return target

    # ------------------------------------------------------------------------------------ what it does

    @property
    def name(self) -> str:
        """Stem of the file and the input's side, for tables."""
        return f"{self.file.path.stem}-{self.config.input}"

    def describe(self) -> str:
        """File, input and classes."""
        names = ", ".join(self.classes[:8]) + (", ..." if len(self.classes) > 8 else "")
        return f"edge model '{self.source}' (ONNX file at {self.config.input} px: {names})"

    def fingerprint(self) -> str:
        """Hash of the file."""
        return sha256(self.file.path)

    def example(self) -> dict[str, Tensor]:
        """Pictures of soft waves; one, where the file takes no more at a time."""
        return {"image": soft_pictures(self.config.input, 1 if self.file.single else 2)}

    def suppression(self, options: PredictOptions) -> Suppression:
        """What is kept; without the options' word nothing is suppressed where each object is told once."""
        own = self.config
        iou = 1.0 if self.file.free and options.iou is None else options.iou or own.iou
        return Suppression(conf=options.conf or own.conf, iou=iou, limit=options.most or own.most)

    def calibration_inputs(self, count: int) -> Iterator[dict[str, Tensor]]:
        """Drawn training frames, where its classes are a drawn world's.

        Raises:
            ConfigError: they are not, or it was trained on somebody's photos.
        """
        if not self.artefacts["training"]["drawn"]:
            raise ConfigError(
                f"INT8 takes its ranges from pictures, and '{self.file.path.name}' holds none: name some like those "
                "that it was trained on with --calibration FOLDER."
            )
        return super().calibration_inputs(count)

    def needs_world(self) -> None:
        """Say so where no drawn data can be measured on.

        Raises:
            DataError: its classes are no drawn world's.
        """
        if not self.file.world:
            raise DataError(
                f"Nothing is drawn with the classes of '{self.file.path.name}' ({', '.join(self.classes[:8])}"
                f"{', ...' if len(self.classes) > 8 else ''}). Name a folder of photos with their boxes."
            )

    def _eager(self) -> Runner:
        run, where = opened(self, self.file.canonical), self.file.path.name

        def checked(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            try:
                found = run(batch)
            except FieldsightError:
                raise
            except Exception as error:  # onnxruntime's exceptions share no base class
                raise ExportError(f"'{where}' can't be run: {first_line(error)}") from None
            if not bool(torch.isfinite(found["output"]).all()):
                raise ExportError(f"'{where}' gives numbers that are not finite. Export it again, in FP32.")
            return found

        return checked


def _config(path: Path, known: EdgeConfig | None, names: tuple[str, ...], side: int, file: OnnxFile) -> EdgeConfig:
    """Settings of a model: an export's own, or the usual ones; the family tells whether boxes are suppressed."""
    data: dict[str, Any] = {} if known is not None else {"size": side}
    if file.world:
        data["world"] = file.world
    family = known.family if known is not None else "rtdetr" if file.free else "yolov8"
    try:
        return (known or EdgeConfig()).replace(
            classes=names, input=side, family=family, checkpoint=None, without=(), data=data
        )
    except ConfigError as error:
        raise ModelFileError(f"'{path}' can't be used: {error}") from None


def _save(proto: Any, model: OnnxDetector) -> None:
    """Write the canonical file with what an export of ours says, and try it."""
    onnx, file = import_onnx("A detector as an ONNX file"), model.file
    model.artefacts["training"] = {"drawn": bool(file.world), **model.artefacts["training"]}
    try:
        onnx.save(proto, str(file.canonical))
        stamp(file.canonical, {**facts(model), "names": list(model.classes)})
        onnx_session(file.canonical)
    except FieldsightError as error:
        raise ModelFileError(f"'{file.path}' can't be brought to the form used here: {error}") from None
    except Exception as error:  # onnx's exceptions share no base class
        raise ModelFileError(f"'{file.path}' can't be brought to the form used here: {first_line(error)}") from None


# ------------------------------------------------------------------------------------------------ runtimes


def backend_for(model: Model, name: str) -> Backend:
    """The runtime of a name, as it writes this model.

    Raises:
        ConfigError: there is none.
    """
    chosen = backend(name)
    if not isinstance(model, OnnxDetector):
        return chosen
    lacking, note = model.lacking, f"the file itself computes in {model.file.holds}" if model.file.holds else ""

    def write(source: Source, path: Path, precision: str) -> tuple[str, ...]:
        if name in ("torch", "torchscript", "ncnn"):
            raise ExportError(lacking(chosen.title))
        if precision == "int8" and name != "openvino":
            raise ExportError(lacking(f"INT8 for {chosen.title}"))
        notes = _openvino_int8(source, path) if precision == "int8" else chosen.writing(source, path, precision)
        return (*notes, note) if note else notes

    return replace(chosen, writing=write)


def _openvino_int8(source: Source, path: Path) -> tuple[str, ...]:
    """NNCF's INT8 of the canonical file; what it is compared with is for the caller to say."""
    from fieldsight.export.quantize import import_nncf, nncf_int8

    openvino, nncf, inputs = import_openvino("The OpenVINO export"), import_nncf(), source.calibration_inputs()
    try:
        network = openvino.Core().read_model(str(source.onnx))
        openvino.save_model(nncf_int8(nncf, network, inputs), str(path / "model.xml"), compress_to_fp16=False)
    except Exception as error:  # NNCF's and openvino's exceptions share no base class
        raise ExportError(f"NNCF could not quantise this file: {type(error).__name__}: {first_line(error)}") from None
    told = {**facts(source.model), "fieldsight.precision": "int8", "fieldsight.calibration": len(inputs)}
    (path / "fieldsight.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    return ()
