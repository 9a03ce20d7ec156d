"""``train``: open or make the run, call the system's own program, keep what it gives."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

from fieldsight import progress, registry
from fieldsight.config import Config, read_toml, resolve
from fieldsight.errors import ConfigError, DataError
from fieldsight.model import Model, load
from fieldsight.report import plots
from fieldsight.report.html import Report
from fieldsight.run import Devices, Run, is_main, new_run_path


class TrainedRun:
    """A finished run: its folder and its model.

    Attributes:
        path: the run folder.
        info: what ``run.json`` holds.
    """

    def __init__(self, run: Run, system: str) -> None:
        self.path, self.info, self._system = run.path, run.info, system

    @property
    def model(self) -> Any:
        """The model, loaded from the run."""
        return load(self._system, self.path)

    def to_dict(self) -> dict[str, Any]:
        """The run's record and its folder."""
        return {"run": str(self.path), **self.info}

    def lines(self) -> list[str]:
        """The folder: the next command's ``--model``."""
        return [str(self.path)]


def train(
    system: str,
    data: str | Path | None = None,
    *,
    preset: str | None = None,
    config_file: str | Path | None = None,
    run: str | Path | None = None,
    runs: str | Path = "runs",
    resume: str | Path | None = None,
    init: str | Path | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    precision: str = "32-true",
    **changes: Any,
) -> TrainedRun:
    """Train a system.

    Args:
        system: a system id.
        data: data set folder; drawn stand-in data without it.
        preset: options to start from; the first preset without it.
        config_file: TOML file with options, over the preset.
        run: run folder; a new one below ``runs`` without it.
        runs: where new run folders go.
        resume: an unfinished run to continue. Options given must be those it was made with.
        init: a model or run to start from; a new run with the weights of an old one.
        accelerator, devices, nodes, precision: as in Lightning Fabric; several processes are started by torchrun.
        changes: options, over all others.

    Raises:
        ConfigError: options that can't be used.
        RunError: the run folder can't be used.
        DataError: the data can't be used.
        KeyboardInterrupt: after Ctrl-C; the run can be resumed.
    """
    spec = registry.get(system)
    verb = spec.verb("train")
    where = Devices(accelerator, devices, nodes, precision)
    if resume is not None and init is not None:
        raise ConfigError("--resume continues a run, --init starts a new one from weights: give one of them.")
    if resume is not None:
        opened = _resume(spec, resume, preset, config_file, changes, where)
        config: Config = registry.load(spec.config).parse(read_toml(opened.path / "config.toml"))
        data = data if data is not None else opened.info["inputs"].get("data") or None
        init = opened.info["inputs"].get("init") or None
    else:
        presets = registry.load(spec.presets)
        config = resolve(registry.load(spec.config), presets, preset, config_file, changes)
        named = preset or next(iter(presets))
        inputs = {"data": str(data or ""), "init": str(init or "")}
        path = Path(run) if run is not None else new_run_path(runs, system, named)
        seed = int(getattr(config, "seed", 0))
        opened = Run.create(path, system, config, preset=named, seed=seed, inputs=inputs, devices=where)
    progress.note(f"run folder: {opened.path}")
    program = registry.load(verb.run)
    with opened:
        arguments = {
            "config": config,
            "data": None if data is None else Path(data),
            "run": opened,
            "init": None if init is None else load(system, init, device="cpu"),
        }
        wanted = inspect.signature(program).parameters
        model: Model = program(**{name: arguments[name] for name in wanted})
        if is_main():
            keep(opened, model)
    return TrainedRun(opened, system)


def keep(run: Run, model: Model) -> None:
    """Save a run's model, its card and its report."""
    model.save(run.model)
    if model.card is not None:
        run.record(metrics={k: v for k, v in model.card.metrics.items() if v is not None})
    run_report(run, model).save(run.path / "report.html")


def run_report(run: Run, model: Model | None = None) -> Report:
    """The page of a run: what was run, how the losses went, what came out."""
    spec = registry.get(run.info["system"])
    report = Report(f"{spec.title}: training run", run.path.name)
    section = report.section("Run").notice(spec.notice)
    section.facts({k: run.info.get(k) for k in ("preset", "seed", "state", "created", "commit") if run.info.get(k)})
    section.code(run.info.get("command", ""))
    stages = [{"stage": name, **values} for name, values in run.info.get("stages", {}).items()]
    if stages:
        section.table(_stages(stages))
    for name, svg in loss_plots(run).items():
        section.plot(svg, f"stage {name}: mean over each epoch")
    if model is not None and model.card is not None:
        card = model.card
        result = report.section("Result")
        result.facts({k: v for k, v in card.metrics.items() if v is not None and math.isfinite(v)})
        result.text(f"Measured on {card.measured_on}. {card.energy}")
    return report


def loss_plots(run: Run) -> dict[str, str]:
    """One plot a stage of several epochs with every logged value over them, as SVG."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for line in run.history():
        stages.setdefault(str(line.get("stage")), []).append(line)
    drawn = {}
    for stage, lines in stages.items():
        if len(lines) < 2:  # one point is no curve
            continue
        names = [n for n in lines[-1] if n not in ("stage", "step", "epoch")]
        series = {
            n: ([x["epoch"] for x in lines if n in x], [x[n] for x in lines if n in x])
            for n in names
            if isinstance(lines[-1][n], (int, float))
        }
        positive = all(v > 0 for _, ys in series.values() for v in ys)
        drawn[stage] = plots.curves(series, "epoch", "value", log=positive)
    return drawn


def _stages(stages: list[dict[str, Any]]) -> Any:
    from fieldsight.predictions import Table

    columns = {"stage": "", "steps": "", "epochs": "", "seconds": "s"}
    return Table(columns, [{k: v for k, v in s.items() if k in columns} for s in stages], "Stages")


def _resume(spec: Any, path: str | Path, preset: Any, config_file: Any, changes: dict[str, Any], where: Devices) -> Run:
    wanted = None
    if preset is not None or config_file is not None or changes:
        made_with = Run.open(path)
        cls = registry.load(spec.config)
        base = cls.parse(read_toml(made_with.path / "config.toml"))
        if preset is not None:
            base = resolve(cls, registry.load(spec.presets), preset)
        wanted = cls.parse(read_toml(config_file), base=base, where=str(config_file)) if config_file else base
        wanted = cls.parse(changes, base=wanted)
    run = Run.resume(path, wanted, where)
    if run.info["system"] != spec.id:
        run.close()
        raise DataError(f"'{path}' is a run of '{run.info['system']}', not of '{spec.id}'.")
    return run
