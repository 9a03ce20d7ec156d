"""``measure``: how long a network takes on this machine, and its joules where the machine lets one read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight import predicting
from fieldsight.data.files import write_json, write_text
from fieldsight.data.folders import safe_name
from fieldsight.errors import DataError, MissingExtraError
from fieldsight.model import Model
from fieldsight.predictions import Picture, Prediction, Table
from fieldsight.profile.counts import Counts
from fieldsight.systems.energy import networks
from fieldsight.systems.energy.config import EnergyConfig
from fieldsight.systems.energy.drawing import joules
from fieldsight.systems.energy.estimate import resolve, terms
from fieldsight.systems.energy.measure import Measured, find_meter, threads
from fieldsight.systems.energy.measure import measure as time_it
from fieldsight.systems.energy.networks import Built, Network
from fieldsight.systems.energy.options import MeasureOptions
from fieldsight.systems.energy.sweep import Several

#: Columns of a row for ``calibrate``.
COLUMNS = ("model", "batch", "joules", "seconds", "precision", "weights", "macs", "kv")


@dataclass(frozen=True)
class Timed(Prediction):
    """One network on this machine.

    Attributes:
        name: the network.
        measured: time, joules and the method by name.
        counts: of the pass that was timed.
        estimated: J of the same batch from formulas, float32.
        hardware: profile of that estimate.
        facts: runtime and threads.
    """

    name: str
    measured: Measured
    counts: Counts
    estimated: float
    hardware: str
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Seconds, joules or None, the method, and the rates reached."""
        m, n = self.measured, max(self.counts.samples, 1)
        return {
            "name": self.name,
            "batch": n,
            **m.to_dict(),
            "samples_per_second": n / m.seconds,
            "gflop_s": self.counts.flops / m.seconds / 1e9,
            "weight_gb_s": 4 * self.counts.params / m.seconds / 1e9,
            "estimated_j": self.estimated,
            "estimated_on": self.hardware,
            "measured_to_estimated": m.joules / self.estimated if m.joules is not None and self.estimated else None,
            **self.facts,
        }

    def row(self) -> dict[str, Any] | None:
        """A row for ``calibrate``; None where no joules were read."""
        if self.measured.joules is None:
            return None
        n = max(self.counts.samples, 1)
        values = (
            self.name, n, self.measured.joules, self.measured.seconds, "fp32", self.counts.params,
            self.counts.macs // n, self.counts.kv // n,
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))

    def lines(self) -> list[str]:
        """Time, rates, joules with their method."""
        plain = self.to_dict()
        low, high = self.measured.spread
        lines = [
            f"{self.name}: {self.measured.seconds:.4g} s a batch of {plain['batch']} (middle half {low:.4g} to "
            f"{high:.4g}, {self.measured.calls} calls, {self.facts['runtime']}, threads: {self.facts['threads']})",
            f"  {plain['samples_per_second']:.4g} samples/s, {plain['gflop_s']:.4g} GFLOP/s, "
            f"weights at {plain['weight_gb_s']:.4g} GB/s",
        ]
        if self.measured.joules is None:
            lines.append(f"  joules {self.measured.method}")
        else:
            lines.append(f"  {joules(self.measured.joules)} a batch by {self.measured.method}")
        lines.append(f"  from formulas {joules(self.estimated)} (fp32, {self.hardware}), a lower bound")
        return lines

    def draw(self) -> Picture:
        """The numbers as a table."""
        plain = {k: v for k, v in self.to_dict().items() if not isinstance(v, list)}
        rows = [{"what": k, "value": v} for k, v in plain.items()]
        return Table({"what": "", "value": ""}, rows, self.name).draw()

    def save(self, folder: str | Path, stem: str | Path = "") -> list[Path]:
        """Write JSON, and a CSV row for ``calibrate`` where joules were read."""
        base = Path(folder) / (stem or f"{safe_name(self.name)}_measured")
        written = [write_json(base.with_name(f"{base.name}.json"), self.to_dict())]
        row = self.row()
        if row is not None:
            written.append(write_text(base.with_name(f"{base.name}.csv"), _csv([row])))
        return written


def measure(model: Model, inputs: Any, options: MeasureOptions, strict: bool) -> Any:
    """Time ONNX files, modules and other systems' graphs on this machine.

    Raises:
        DataError: the single input is bad or has nothing that runs; with ``strict`` the first bad one.
        MissingExtraError: an ONNX file without the package onnxruntime.
    """
    if options.batch > 1 and options.shape:
        options = options.replace(shape=_with_batch(options))
    if options.append is not None:
        meter, why = find_meter()
        if meter is None:
            raise DataError(
                f"Nothing could be added to '{options.append}': no joules can be read here ({why}). Read them from an "
                f"outside meter and write the row yourself: {','.join(COLUMNS)}"
            )
    found = predicting.predict(model, inputs, options, None, strict, {}, lambda network, o: timed(network, o))
    if options.append is not None:
        made = found.predictions if isinstance(found, predicting.Results) else [found]
        _append(options.append, [p for p in made if isinstance(p, Timed)])
    return Several(found) if isinstance(found, predicting.Results) else found


def timed(network: Network, options: MeasureOptions) -> Timed:
    """Time one network.

    Raises:
        DataError: there is nothing that runs.
        MissingExtraError: onnxruntime is missing.
    """
    with threads(options.threads):
        call, runtime = _runner(network, options)
        found = time_it(call, options.budget, options.warmup)
    settings: EnergyConfig = options.replace(precision="fp32")
    hardware, precision = resolve(network, settings)
    from fieldsight.profile.joules import energy

    batch = max(network.counts.samples, 1)
    one = energy(network.counts, hardware, batch, **{**terms(network, settings), "precision": precision})
    facts = {"runtime": runtime, "threads": options.threads}
    return Timed(network.name, found, network.counts, one.total, hardware.name, facts)


def _runner(network: Network, options: MeasureOptions) -> tuple[Callable[[], Any], str]:
    if isinstance(network.origin, Path):
        return _onnx_runner(network.origin, options)
    import torch

    origin = network.origin
    module = networks.build(origin, meta=False) if isinstance(origin, str) else getattr(origin, "module", None)
    if module is None:
        raise DataError(
            f"'{network.name}' is known by its counts alone and can't be run. Give an ONNX file, "
            "package.module:factory, or fieldsight:SYSTEM."
        )
    if any(p.is_meta for p in module.parameters()):
        raise DataError(f"'{network.name}' lies on the meta device and has no weights to run with.")
    inputs = origin.inputs if isinstance(origin, Built) and origin.inputs else ()
    named: dict[str, Any] = {}
    if not inputs:
        shaped, named = networks.examples(network.name, options)
        inputs = tuple(torch.zeros(x.shape, dtype=x.dtype) for x in shaped)
        named = {k: torch.zeros(x.shape, dtype=x.dtype) for k, x in named.items()}
    module.eval()

    def call() -> Any:
        with torch.inference_mode():
            return module(*inputs, **named)

    return call, f"torch {torch.__version__.split('+')[0]}"


def _onnx_runner(path: Path, options: MeasureOptions) -> tuple[Callable[[], Any], str]:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx", "Running ONNX files") from None
    import numpy as np

    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = options.threads
    chosen.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), chosen, providers=["CPUExecutionProvider"])
        shapes = networks.parse_shapes(options.shape)
        by_name = {s.name: s.dims for s in shapes if s.name is not None}
        in_order = [s.dims for s in shapes if s.name is None]
        feed = {}
        for i, one in enumerate(session.get_inputs()):
            dims = by_name.get(one.name) or (in_order[i] if i < len(in_order) else tuple(one.shape))
            feed[one.name] = np.zeros(dims, dtype=_numpy_type(one.type))
        session.run(None, feed)
    except Exception as error:  # the runtime raises classes of its own
        reason = str(error).strip().splitlines()[0][:300]
        raise DataError(f"onnxruntime can't run '{path}': {reason}. See --shape.") from error
    return lambda: session.run(None, feed), f"onnxruntime {onnxruntime.__version__}"


def _numpy_type(kind: str) -> str:
    names = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"}
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return names.get(inner, inner)


def _with_batch(options: MeasureOptions) -> tuple[str, ...]:
    found = []
    for shape in networks.parse_shapes(options.shape):
        dims = ",".join(str(d) for d in (options.batch, *shape.dims[1:]))
        found.append(f"{shape.name + '=' if shape.name else ''}{dims}:{shape.dtype}")
    return tuple(found)


def _append(file: Path, made: list[Timed]) -> None:
    rows = [row for row in (one.row() for one in made) if row is not None]
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    if before and not before.endswith("\n"):
        before += "\n"
    added = _csv(rows)
    write_text(file, before + (added.partition("\n")[2] if before else added))


def _csv(rows: list[dict[str, Any]]) -> str:
    return Table(dict.fromkeys(COLUMNS, ""), rows).to_csv()
