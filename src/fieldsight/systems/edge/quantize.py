"""``quantize``: a detector as a real INT8 file, with what it lost, where, and what of the settings mattered.

::

    out/
    ├── model.onnx        INT8 with pairs of QuantizeLinear and DequantizeLinear
    ├── scales.json       scheme, scales and what calibration cut off; see :class:`~.quant.fake.Scales`
    ├── sensitivity.csv   what each layer loses alone
    ├── quantize.json     everything that was measured, with the calibration pictures' statistics
    └── report.html
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fieldsight import progress
from fieldsight.data.files import atomic_folder, write_json, write_text
from fieldsight.errors import ConfigError, ExportError
from fieldsight.export.onnx import stamp, to_onnx
from fieldsight.export.runtime import import_onnxruntime, int8_support, onnx_runner
from fieldsight.predictions import Table
from fieldsight.report import plots
from fieldsight.report.html import Report
from fieldsight.systems.edge.options_quantize import QuantizeOptions
from fieldsight.systems.edge.predict import EdgeModel
from fieldsight.systems.edge.quant.fake import Scales, choose_scales, observe, simulate
from fieldsight.systems.edge.quant.graph import Plan
from fieldsight.systems.edge.quant.half import write_half
from fieldsight.systems.edge.quant.measure import (
    Network,
    compare_precisions,
    factor_table,
    inputs,
    number,
    score_of,
    traced_of,
)
from fieldsight.systems.edge.quant.mixed import Mixed, by_output, fewest_in_float
from fieldsight.systems.edge.quant.onnx_graph import import_onnx
from fieldsight.systems.edge.quant.photos import Photos, gather_photos
from fieldsight.systems.edge.quant.qdq import fused_operators, write_qdq
from fieldsight.systems.edge.quant.sensitivity import Sensitivity, sensitivities, sqnr
from fieldsight.systems.edge.quant.tape import Traced

#: ONNX operator set of the files.
OPSET = 18

#: Signal to noise in dB from which a file equals its simulation but for float rounding.
AGREEMENT = 60.0

#: Layers named in a note.
NAMED = 8

#: Largest difference of a float file from eager torch: of scores, and of boxes as a share of the largest number.
TOLERANCE = (1e-3, 1e-4)


@dataclass(frozen=True)
class Quantized:
    """What ``quantize`` wrote and measured.

    Attributes:
        folder: what was written.
        precisions: average precision of each precision, see :func:`~.quant.measure.compare_precisions`; or None.
        sensitivity: what each layer loses alone, most sensitive first; or None.
        factors: see :func:`~.quant.measure.factor_table`; or None.
        facts: scheme, calibration, layers, training, agreement of file and simulation.
        warnings: what speaks against using it.
    """

    folder: Path
    precisions: Table | None
    sensitivity: Table | None
    factors: Table | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    saved: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        tables = {"precisions": self.precisions, "sensitivity": self.sensitivity, "factors": self.factors}
        told = {name: table.to_dict() for name, table in tables.items() if table is not None}
        return {"folder": str(self.folder), **self.facts, **told, "warnings": list(self.warnings)}

    def lines(self) -> list[str]:
        """The folder, average precision of each precision, warnings."""
        rows = [] if self.precisions is None else list(self.precisions.rows)
        told = [
            f"{row['precision']}, conf {row['conf']:g}: mAP50-95 {row['mAP50-95']}, mAP50 {row['mAP50']}"
            + ("" if row.get("difference") is None else f", {row['difference']:+.4f} [{row['low']}, {row['high']}]")
            for row in rows
        ]
        return [str(self.folder), *told, *(f"warning: {w}" for w in self.warnings)]


def quantize(model: EdgeModel, out: Path | None, options: QuantizeOptions, data: Path | None = None) -> Quantized:
    """Write a model in INT8 and measure what it lost.

    Without ``data``, drawn training frames calibrate and held-out drawn frames measure; with it, its training split
    and the split that the options name. ``--calibration FOLDER`` calibrates in any case.

    Raises:
        ConfigError: no folder to write to, one that holds something else, options that can't be used.
        DataError: data or calibration pictures that can't be used.
        MissingExtraError: onnx or onnxruntime is not installed.
        ExportError: the export failed, or the file does not compute what the simulation says. Nothing is written then.
    """
    target = _target(out)
    import_onnx("INT8 as ONNX")
    import_onnxruntime("Measuring INT8")
    model.graph()  # an ONNX file has none: said before anything is read
    photos = gather_photos(model, options, data)
    for warning in photos.warnings:
        progress.note(f"warning: {warning}")
    side = model.config.input
    traced = traced_of(model)
    seen = observe(traced, inputs(photos.calibration, side))
    found = _Found(traced, choose_scales(traced, seen, options.scheme()), list(photos.warnings))
    if options.qat_steps:
        _train_aware(model, options, photos, found)
    probes = list(inputs(photos.calibration[: options.probes], side))
    order = sensitivities_of(found.traced, found.scales, probes) if probes else []
    if options.keep_within is not None:
        _keep(model, options, photos, found, order, probes)
    with tempfile.TemporaryDirectory() as folder, atomic_folder(target) as inside:
        files = _write(model, traced, found, options, Path(folder), inside / "model.onnx")
        precisions = None
        if photos.held:
            networks: dict[str, Network] = {"FP32 (torch)": traced.network, **found.networks, **files.networks}
            precisions = compare_precisions(
                model, photos.held, networks, sizes=files.sizes, draws=options.draws, seed=options.seed,
                title=f"Precisions on {photos.held_name}",
            )  # fmt: skip
        factors = None
        if options.factors and photos.held:
            factors = factor_table(
                model, photos.calibration, photos.held, options.scheme(), seen=seen, draws=options.draws,
                seed=options.seed,
            )  # fmt: skip
        facts = _facts(model, options, photos, found, files)
        table = sensitivity_table(order, found.scales, files.plan) if order else None
        result = Quantized(target, precisions, table, factors, facts, tuple(found.warnings))
        _save(result, found.scales, inside)
    return result


def by_onnx(model: EdgeModel, path: Path) -> Network:
    """An ONNX file of a model as a network: pictures ``(N, 3, S, S)`` to ``(N, 4 + nc, A)``.

    Raises:
        MissingExtraError, ExportError: as :func:`~fieldsight.export.runtime.onnx_runner`.
    """
    run = onnx_runner(model, path, torch.get_num_threads())

    def network(images: Tensor) -> Tensor:
        return run({"image": images})["output"]

    return network


def write_float(model: EdgeModel, traced: Traced, path: Path) -> float:
    """Write a traced network as float32 ONNX; its convolutions keep the names that scales know.

    Returns:
        Largest difference from eager torch on the model's example.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ExportError: it can't be exported, or differs: scores by more than 1e-3, boxes by more than 1e-4 of the largest.
    """
    shown = copy.copy(model)
    shown.graph = lambda: traced.network  # type: ignore[method-assign]
    to_onnx(shown, path, OPSET)
    batch = model.example()["image"]
    with torch.no_grad():
        expected, found = traced.network(batch), by_onnx(model, path)(batch)
    gap = (expected - found).abs()
    allowed = max(TOLERANCE[0], TOLERANCE[1] * float(expected.abs().max()))
    if not (float(gap[:, 4:].max()) <= TOLERANCE[0] and float(gap.max()) <= allowed):
        raise ExportError(f"The float export differs from the original by {float(gap.max()):.3g}.")
    return float(gap.max())


# ------------------------------------------------------------------------------------------------- its parts


@dataclass
class _Found:
    """What becomes of the network on its way."""

    traced: Traced
    scales: Scales
    warnings: list[str]
    networks: dict[str, Network] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def simulated(self, name: str) -> None:
        self.networks[f"INT8 {name} (simulated)"] = simulate(self.traced, self.scales)


@dataclass(frozen=True)
class _Files:
    """What was exported, to be measured."""

    networks: dict[str, Network]
    sizes: dict[str, float]
    plan: Plan
    facts: dict[str, Any]


def _train_aware(model: EdgeModel, options: QuantizeOptions, photos: Photos, found: _Found) -> None:
    from fieldsight.systems.edge.quant.qat import Recipe, train_aware

    found.simulated("calibrated")
    how = Recipe(
        options.qat_steps, options.qat_lr, options.qat_batch, options.qat_scales == "moving", options.seed
    )  # fmt: skip
    trained = train_aware(model, found.traced, found.scales, photos.train, photos.search, how)
    told = f"mAP50-95 {trained.before:.4f} before, {trained.after:.4f} after, on {len(photos.search)} pictures"
    taken = trained.after >= trained.before
    found.facts["training"] = {**asdict(how), "before": trained.before, "after": trained.after, "taken": taken}
    if taken:
        progress.note(f"quantisation-aware training: {told}")
        found.traced, found.scales = trained.traced, trained.scales
    else:
        found.warnings.append(f"Quantisation-aware training did not help and was dropped: {told}. Give more steps.")
        progress.note(f"warning: {found.warnings[-1]}")


def _keep(
    model: EdgeModel, options: QuantizeOptions, photos: Photos, found: _Found, order: Sequence[Sensitivity],
    probes: Sequence[Tensor],
) -> None:  # fmt: skip
    found.simulated("trained" if found.facts.get("training", {}).get("taken") else "throughout")
    assert options.keep_within is not None
    score = score_of(model, photos.search) if options.keep_by == "map" else by_output(found.traced, probes)
    mixed = fewest_in_float(found.traced, found.scales, order, score, options.keep_within)
    found.facts["mixed"] = mixed_facts(mixed, options.keep_by)
    scheme = found.scales.scheme
    found.scales = replace(
        found.scales, scheme=scheme.replace(keep_float=(*scheme.keep_float, *mixed.kept_float))
    )  # fmt: skip
    kept = ", ".join(mixed.kept_float[:NAMED]) + (", ..." if len(mixed.kept_float) > NAMED else "")
    progress.note(
        f"{len(mixed.kept_float)} layers in float for a loss of at most {options.keep_within:g}, of {len(mixed.steps)} "
        f"networks tried{': ' if kept else ''}{kept}"
    )
    if not mixed.within:
        found.warnings.append(f"Even {len(mixed.kept_float)} layers in float lose more than {options.keep_within:g}.")


def mixed_facts(mixed: Mixed, by: str) -> dict[str, Any]:
    """A search for layers to keep in float as plain values."""
    return {
        "by": by, "kept_float": list(mixed.kept_float), "score": number(mixed.score),
        "float_score": number(mixed.float_score), "within": mixed.within, "share_int8": round(mixed.share, 5),
        "steps": [{"kept_float": len(s.kept_float), "score": number(s.score), "passed": s.taken} for s in mixed.steps],
    }  # fmt: skip


def _write(
    model: EdgeModel, original: Traced, found: _Found, options: QuantizeOptions, work: Path, target: Path
) -> _Files:
    """Write the INT8 file, and float and FP16 files of the original for comparison."""
    simulated = simulate(found.traced, found.scales)
    difference = write_float(model, original, work / "float.onnx")
    source = work / "float.onnx"
    if found.traced is not original:
        source = work / "trained.onnx"
        difference = max(difference, write_float(model, found.traced, source))
    networks: dict[str, Network] = {}
    files = {"FP32 (torch)": work / "float.onnx"}
    try:
        write_half(work / "float.onnx", work / "half.onnx")
        networks["FP16 (ONNX Runtime)"] = by_onnx(model, work / "half.onnx")
        files["FP16 (ONNX Runtime)"] = work / "half.onnx"
    except ExportError as error:
        found.warnings.append(f"FP16 is left out: {error}")
    plan = write_qdq(source, target, found.scales, integers=options.integers)
    if found.traced is not original:
        stamp(target, {"fieldsight.training": found.facts["training"]})
    networks["INT8 (simulated)"] = simulated
    networks["INT8 (ONNX Runtime)"] = by_onnx(model, target)
    files["INT8 (ONNX Runtime)"] = target
    batch = model.example()["image"]
    with torch.no_grad():
        reference, expected = found.traced.network(batch), simulated(batch)
        given = networks["INT8 (ONNX Runtime)"](batch)
    noise, agreement = sqnr(reference, expected), sqnr(expected, given)
    if not agreement >= min(noise, AGREEMENT):
        raise ExportError(
            f"The INT8 file differs from its simulation as much as from the original ({agreement:.1f} dB against "
            f"{noise:.1f} dB): this ONNX Runtime computes something else. Please report it."
        )
    facts = {
        "float_difference": difference, "sqnr_simulated": number(noise), "sqnr_file_to_simulation": number(agreement),
        "operators": dict(fused_operators(target)), "int8_unit": int8_support(),
    }  # fmt: skip
    return _Files(networks, {name: round(f.stat().st_size / 1e6, 4) for name, f in files.items()}, plan, facts)


def _target(out: Path | None) -> Path:
    if out is None:
        raise ConfigError("quantize writes a folder: name it with --out.")
    if out.is_file() or out.suffix.lower() == ".onnx":
        raise ConfigError(f"out: quantize writes a folder with model.onnx in it, got the file name '{out}'.")
    if out.is_dir() and any(out.iterdir()) and not (out / "quantize.json").is_file():
        raise ConfigError(f"out: the folder '{out}' holds something else. Choose another, or empty it.")
    return out


def _facts(
    model: EdgeModel, options: QuantizeOptions, photos: Photos, found: _Found, files: _Files
) -> dict[str, Any]:  # fmt: skip
    scales, graph = found.scales, found.traced.graph
    cut = sorted(scales.clipped.items(), key=lambda entry: -entry[1])[:5]
    return {
        "model": model.source,
        "network": f"{model.config.family}-{model.config.size} at {model.config.input} px",
        "fingerprint": model.fingerprint(),
        "scheme": scales.scheme.to_dict(),
        "integers": options.integers,
        "calibration": {
            "pictures": scales.pictures, "source": photos.calibration_name,
            "statistics": photos.statistics.to_dict(),
            "most_cut_off": {key: round(share, 7) for key, share in cut},
        },
        "layers": {"int8": len(files.plan.layers), "float": sorted(set(graph.convolutions) - files.plan.layers)},
        **found.facts,
        **files.facts,
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------- report


def sensitivities_of(traced: Traced, scales: Scales, batches: Sequence[Tensor]) -> list[Sensitivity]:
    """What each layer loses when it alone is in 8 bits, by the output's relative error (their ``loss``), worst first.

    Raises:
        DataError: no batch.
    """
    return sensitivities(traced, scales, batches, by_output(traced, batches))


def sensitivity_table(order: Sequence[Sensitivity], scales: Scales, plan: Plan) -> Table:
    """:func:`sensitivities_of` as rows; ``in`` says what a layer computes in in the result."""
    columns = {"layer": "", "error": "", "sqnr": "dB", "weight_sqnr": "dB", "parameters": "", "in": ""}
    rows = [
        {
            "layer": one.layer, "error": None if one.loss is None else float(f"{one.loss:.4g}"),
            "sqnr": number(one.sqnr), "weight_sqnr": number(one.weight_sqnr), "parameters": one.parameters,
            "in": "int8" if one.layer in plan.layers else "float",
        }
        for one in order
    ]  # fmt: skip
    told = {
        "scheme": scales.scheme.to_dict(), "error": "of the network's output, relative, over its channels",
        "sqnr": "of the network's output, by the mean of its channels' relative noise",
    }  # fmt: skip
    return Table(columns, rows, "What each layer loses when it alone is in 8 bits", told)


def _save(result: Quantized, scales: Scales, folder: Path) -> None:
    scales.save(folder / "scales.json")
    write_json(folder / "quantize.json", result.to_dict())
    if result.sensitivity is not None:
        write_text(folder / "sensitivity.csv", result.sensitivity.to_csv())
    report(result).save(folder / "report.html")


def report(result: Quantized) -> Report:
    """The page: precisions, layers, factors, and how it was made."""
    facts = result.facts
    page = Report("INT8 of a detector", str(facts.get("network", "")))
    section = page.section("Precisions")
    for warning in result.warnings:
        section.notice(warning)
    if result.precisions is None:
        section.text("Nothing was measured: there were no pictures with truth.")
    else:
        section.table(result.precisions)
        rows = [row for row in result.precisions.rows if row["mAP50-95"] is not None]
        for conf in dict.fromkeys(row["conf"] for row in rows):
            bars = {str(row["precision"]): float(row["mAP50-95"]) for row in rows if row["conf"] == conf}
            section.plot(plots.bars(bars, "mAP50-95"), f"confidence {conf:g}")
    if result.sensitivity is not None:
        section = page.section("Layers").plot(_layers_plot(result.sensitivity), "each layer alone in 8 bits")
        section.table(result.sensitivity)
    if result.factors is not None:
        page.section("Factors").text(
            "Each setting of a good calibration is made bad alone, then each of a bad one is mended alone."
        ).table(result.factors)
    if "mixed" in facts:
        steps = Table(dict.fromkeys(("kept_float", "score", "passed"), ""), facts["mixed"]["steps"], "Networks tried")
        kept = ", ".join(facts["mixed"]["kept_float"]) or "none"
        page.section("Layers kept in float").text(f"Kept: {kept}.").table(steps)
    made = page.section("How it was made").facts(facts.get("scheme", {}))
    for name in ("calibration", "training", "operators"):
        if name in facts:
            made.facts({k: v for k, v in facts[name].items() if not isinstance(v, (dict, list))})
    made.facts({k: v for k, v in facts.items() if isinstance(v, (str, int, float))})
    return page


def _layers_plot(table: Table) -> str:
    rows = [row for row in table.rows if row["error"] is not None]
    drawn, (ax,) = plots.figure(7.0, 0.8 + 0.16 * len(rows))
    places = range(len(rows))
    for kind, colour in (("int8", plots.COLOURS[0]), ("float", plots.COLOURS[6])):
        own = [(p, row["error"]) for p, row in zip(places, rows, strict=True) if row["in"] == kind]
        if own:
            label = f"in {kind} in the result"
            ax.barh([p for p, _ in own], [v for _, v in own], color=colour, height=0.7, label=label)
    ax.set_yticks(list(places), [_short(str(row["layer"])) for row in rows], fontsize=6)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("relative error of the output; more is worse")
    ax.legend(frameon=False, fontsize=7)
    return plots.svg(drawn)


def _short(layer: str) -> str:
    return layer.removeprefix("deployed.net.")
