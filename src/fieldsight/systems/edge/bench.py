"""``bench``: accuracy, speed, energy and size of the detector in every runtime and precision on this machine.

One row of the paper's Table 4 a configuration. Precisions of a runtime take turns, round by round, each in a process of
its own on the same processors, so that drift meets all alike; FP32 of the same runtime is what INT8 is compared with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fieldsight import progress
from fieldsight.data.detection.kept import keep
from fieldsight.data.detection.letterbox import preprocess
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.data.files import sha256
from fieldsight.data.images import write_image
from fieldsight.detection.measure import average_precision
from fieldsight.errors import ConfigError, DataError, FieldsightError, MissingExtraError
from fieldsight.export.calibration import Inputs
from fieldsight.export.onnx import first_line
from fieldsight.export.runtime import int8_support
from fieldsight.metrics.detection import AveragePrecision
from fieldsight.power.sampler import idle_watts
from fieldsight.power.sensors import Sensor, find_sensor
from fieldsight.predictions import Table
from fieldsight.systems.edge.backends import Artefact, Backend, backend, computes_half, usable_processors
from fieldsight.systems.edge.backends_source import Source, inputs_for
from fieldsight.systems.edge.bench_host import environment, load, processor
from fieldsight.systems.edge.bench_report import BenchTable, with_clip
from fieldsight.systems.edge.bench_rows import Timing, accuracy_cells, against_single, energy_cells, speed_cells
from fieldsight.systems.edge.bench_timing import Job, measure
from fieldsight.systems.edge.evaluate import choose
from fieldsight.systems.edge.external import OnnxDetector, backend_for
from fieldsight.systems.edge.options import EvaluateOptions, PredictOptions
from fieldsight.systems.edge.options_bench import COLUMNS, EdgeBenchOptions
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.profiles import BenchRow, impossible

#: Photos that the whole loop reads over and over, as files.
PHOTOS = 8

NOT = "not asked for"

#: Processes that want a processor beside what is measured, from which a warning is given.
BUSY = 0.5


def bench(
    model: EdgeModel, options: EdgeBenchOptions, data: Path | None = None, sensor: Sensor | None = None
) -> BenchTable:
    """Measure the detector in runtimes and precisions; ``data`` names labelled photos, without them they are drawn.

    A runtime that is not installed gets a row that says how to get it; the others go on.

    Args:
        model: the detector.
        options: see there.
        data: a labelled folder whose test split is measured on.
        sensor: of power; by default the first one that this machine has.

    Returns:
        A row a configuration with the columns of :data:`~fieldsight.systems.edge.options_bench.COLUMNS`;
        :func:`~fieldsight.systems.edge.profiles.read_rows` reads it back.

    Raises:
        ConfigError: more threads than processors, an unknown hardware profile.
        DataError: the folder, the calibration pictures or the video can't be used.
    """
    processors = _processors(options)
    joules = estimated_joules(model, options.hardware)
    if options.video is not None:
        _check_video(options.video)
    if (busy := load()) is not None and busy > BUSY:
        progress.note(f"{busy:g} other processes want a processor: times will be worse than they are alone")
    samples, on = choose(model, data, EvaluateOptions())
    step = max(1, len(samples) // max(options.frames, PHOTOS))
    found, why = (sensor, "") if sensor is not None else find_sensor()
    before = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as name:
            kept = keep(samples[::step][: max(options.frames, PHOTOS)], "reading pictures")
            idle = idle_watts(found, options.idle) if found is not None and options.idle > 0 else None
            run = _Run(model, options, Path(name), kept, processors, found, idle, joules)
            rows = [row for runtime in options.runtimes for row in run.rows(backend_for(model, runtime))]
            facts = {**environment(options.threads, processors), **run.facts(on, why)}
    finally:
        torch.set_num_threads(before)
        if found is not None and sensor is None:
            found.close()
    return with_clip(Table(COLUMNS, rows, f"edge: {run.name} in runtimes and precisions", facts), model, options.video)


def estimated_joules(model: EdgeModel, hardware: str) -> dict[str, float]:
    """Joules of one inference by precision, from counts and a hardware profile: an estimate, never a measurement.

    Empty where an ONNX file's operations can't be counted.

    Raises:
        ConfigError: there is no such profile, or it knows no such precision.
    """
    from fieldsight.profile import count_module, count_onnx, energy

    if isinstance(model, OnnxDetector):
        try:
            counts = count_onnx(model.file.canonical, {"image": tuple(model.typical()["image"].shape)})
        except DataError as error:
            progress.note(f"no estimate of energy: {error}")
            return {}
    else:
        counts = count_module(model.graph(), *(model.typical()[name] for name in model.input_names))
    return {p: float(energy(counts, hardware, precision=p).per_sample) for p in ("fp32", "fp16", "int8")}


def _processors(options: EdgeBenchOptions) -> tuple[int, ...]:
    """The last ones that may be used: the first one also serves the system's interrupts."""
    usable = usable_processors()
    if options.threads > len(usable):
        raise ConfigError(f"threads: this process may use {len(usable)} processors, got {options.threads}.")
    return tuple(usable[-options.threads :]) if options.isolate else ()


def _check_video(file: Path) -> None:
    from fieldsight.data.video import Video

    Video(file).close()


@dataclass(frozen=True)
class _Written:
    """A configuration that could be written.

    Attributes:
        artefact: the file.
        pool: its boxes, matched; None where accuracy was not asked for.
    """

    artefact: Artefact
    pool: AveragePrecision | None


class _Run:
    """One benchmark: what all rows share."""

    def __init__(
        self,
        model: EdgeModel,
        options: EdgeBenchOptions,
        work: Path,
        samples: Sequence[DetectionSample],
        processors: tuple[int, ...],
        sensor: Sensor | None,
        idle_w: float | None,
        joules: dict[str, float],
    ) -> None:
        own = model.config
        self.model, self.options, self.work, self.samples = model, options, work, samples
        self.processors, self.sensor, self.idle_w, self.joules = processors, sensor, idle_w, joules
        self.name = model.name if isinstance(model, OnnxDetector) else f"{own.family}{own.size}-{own.input}"
        self.device = processor()
        self.input, self.photos = self._stage()
        self.no_int8 = ""
        self.source = Source(model, work / "prepared", self._calibration())

    def _stage(self) -> tuple[Path, list[Path]]:
        """The one input that all runtimes are timed with, and the photos that the whole loop reads, as files."""
        pictures = [sample.image() for sample in self.samples[:PHOTOS]]
        photos = [write_image(self.work / f"photo-{n}.jpg", picture) for n, picture in enumerate(pictures)]
        path = self.work / "input.npy"
        np.save(path, preprocess(pictures[0], self.model.config.input)[0])
        return path, photos

    def _calibration(self) -> Inputs | None:
        own = self.options
        if "int8" not in own.precisions or not any("int8" in backend(r).precisions for r in own.runtimes):
            return None
        try:
            return inputs_for(self.model, own.samples, own.calibration, self.work / "inputs")[0]
        except ConfigError as error:  # trained on photos that it does not hold
            self.no_int8 = str(error)
            return None

    # -------------------------------------------------------------------------------------------- rows

    def rows(self, chosen: Backend) -> list[dict[str, Any]]:
        """The rows of a runtime, in the order of the options."""
        written: dict[str, _Written] = {}
        failed: dict[str, str] = {}
        for precision in (p for p in self.options.precisions if p in chosen.precisions):
            try:
                written[precision] = self._prepared(chosen, precision)
            except MissingExtraError as error:
                return [{**self._head(chosen, "all"), "notes": str(error)}]
            except FieldsightError as error:
                failed[precision] = str(error)
            except Exception as error:  # runtimes raise what they like; the other rows go on
                failed[precision] = f"{type(error).__name__}: {first_line(error)}"
        jobs = {p: self._job(w.artefact) for p, w in written.items() if p != "fp16" or computes_half(chosen.name)}
        progress.note(f"timing {chosen.title}: {', '.join(p.upper() for p in jobs) or 'nothing'}")
        timings = measure(jobs, self.options, self.sensor)
        rows = []
        for precision in self.options.precisions:
            if precision in written:
                rows.append(self._row(chosen, precision, written, timings))
            elif precision in failed:
                rows.append({**self._head(chosen, precision), "notes": failed[precision]})
        return rows

    def _prepared(self, chosen: Backend, precision: str) -> _Written:
        if precision == "int8" and self.no_int8:
            raise ConfigError(self.no_int8)
        artefact = chosen.write(self.model, self.work, precision, source=self.source)
        runner = chosen.open(self.model, artefact, self.options.threads)
        if not self.options.frames:
            runner(self.model.typical())
            return _Written(artefact, None)
        progress.note(f"accuracy of {chosen.title} {precision.upper()}")
        try:
            self.model.use(runner)
            return _Written(artefact, average_precision(self.model, self.samples[: self.options.frames]))
        finally:
            self.model.use(None)

    def _job(self, artefact: Artefact) -> Job:
        return Job(
            artefact.backend, artefact.precision, str(artefact.path), self.options.threads, self.processors,
            str(self.input), tuple(str(p) for p in self.photos), self.model.config.input,
            asdict(self.model.suppression(PredictOptions())),
        )  # fmt: skip

    def _head(self, chosen: Backend, precision: str) -> dict[str, Any]:
        device = self.device
        if chosen.name == "tensorrt":
            device = torch.cuda.get_device_name() if torch.cuda.is_available() else "GPU"
        return {"device": device, "model": self.name, "precision": precision.upper(), "backend": chosen.title}

    def _row(
        self, chosen: Backend, precision: str, written: dict[str, _Written], timings: dict[str, Timing | str]
    ) -> dict[str, Any]:
        own = written[precision]
        told = timings.get(precision)
        timing = told if isinstance(told, Timing) else None
        notes = [*own.artefact.notes, *(timing.notes if timing else [])]
        if isinstance(told, str):
            notes.append(f"not timed: {told}")
        elif timing is None:
            notes.append("FP16 is not timed: this processor does not compute in it, or this runtime does not use it")
        row = {
            **self._head(chosen, precision),
            **accuracy_cells(own.pool),
            **(speed_cells(timing) if timing else {}),
            **energy_cells(timing, self.idle_w, self.sensor is not None),
            "epi_estimated_j": self.joules.get(precision),
            "size_mb": own.artefact.bytes / 1e6,
        }
        single, reference = timings.get("fp32"), written.get("fp32")
        if precision != "fp32":
            row |= against_single(
                timing, single if isinstance(single, Timing) else None, own.pool,
                reference.pool if reference else None, self.options.draws,
            )  # fmt: skip
        if precision == "int8":
            row["int8_unit"] = int8_support()
        notes += impossible(_bench_row(row))
        return {**row, "notes": "; ".join(dict.fromkeys(notes))}

    def facts(self, on: str, why: str) -> dict[str, Any]:
        """What holds for all rows."""
        own = self.options
        power = self.sensor.name if self.sensor is not None else f"not measured: {why}"
        calibration = self.source.calibration
        return {
            "input": f"1 x 3 x {self.model.config.input} x {self.model.config.input}, float32, the same bytes for all "
            f"(sha256 {sha256(self.input)[:12]})",
            "latency": f"{own.warmup} calls first, then {own.rounds} rounds of {own.runs}, precisions in turn",
            "isolated": own.isolate,
            "ipm": f"over {own.seconds:g} s of the whole loop on {len(self.photos)} photo files, scaled to 60 s with "
            "one opening of the runtime; imports are not counted",
            "accuracy": f"{min(own.frames, len(self.samples))} of {on}" if own.frames else NOT,
            "calibration": f"{len(calibration)} pictures" if calibration else NOT,
            "power": power,
            "idle_w": self.idle_w,
            "epi_estimated_j": f"estimated from counts with the profile '{own.hardware}', not measured",
            "ratios": "against FP32 of the same runtime; p: Wilcoxon's signed ranks over rounds; mAP: paired bootstrap",
            "video": str(own.video.name) if own.video else NOT,
        }


def _bench_row(row: dict[str, Any]) -> BenchRow:
    """The part of a row that can contradict itself."""
    return BenchRow(
        row["device"], row["model"], row["precision"], map50_95=row.get("map50_95"), map50=row.get("map50"),
        mis_fps=row.get("mis_fps"), ipm=row.get("ipm"),
    )  # fmt: skip
