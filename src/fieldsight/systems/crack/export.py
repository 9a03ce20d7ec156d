"""``export``: the pool in one file, or its parts alone; ``bench``: the same and the routed whole, timed."""

from __future__ import annotations

import copy
import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldsight import progress
from fieldsight.data import tiling
from fieldsight.errors import ConfigError
from fieldsight.export.verbs import Exported, _runners
from fieldsight.export.verbs import bench as bench_graph
from fieldsight.export.verbs import export as write
from fieldsight.model import Runner
from fieldsight.predictions import Table
from fieldsight.systems.crack import world
from fieldsight.systems.crack.gating import of_picture, pieces, windows
from fieldsight.systems.crack.inference import STRIDE, prepared
from fieldsight.systems.crack.mixing import select
from fieldsight.systems.crack.options import CrackBenchOptions, CrackExportOptions, PredictOptions
from fieldsight.systems.crack.photo import Photo
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.sample import Picture

#: Drawn photos over which the routed whole is timed, one of each surface, and the seed of them.
PHOTOS, SEED = len(world.DOMAINS), 800_000

#: Photos are drawn up to this size; larger ones repeat, since drawing takes longer than timing.
DRAWN = 512


@dataclass(frozen=True)
class ExportedParts:
    """A folder of exports.

    Attributes:
        path: the folder.
        parts: what was written, by part.
    """

    path: Path
    parts: Mapping[str, Exported]
    saved: bool = True

    @property
    def differences(self) -> dict[str, float]:
        """Largest difference of each part from the original."""
        return {name: max(part.differences.values()) for name, part in self.parts.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"folder": str(self.path), "parts": {n: p.to_dict() for n, p in self.parts.items()}}

    def lines(self) -> list[str]:
        """The files."""
        return [str(p.path) for p in self.parts.values()]


def export(model: CrackModel, out: Path | None, options: CrackExportOptions) -> Exported | ExportedParts:
    """Write networks for another runtime; see :func:`fieldsight.export.verbs.export`.

    ``--part all`` writes the gate and every expert alone, which ``predict --exports`` takes: only the chosen ones run.

    Raises:
        ConfigError: no such part, or nowhere to write to.
    """
    if options.part != "all":
        return write(part_of(model, options.part), out, options)
    if out is None:
        raise ConfigError("export writes a folder: name it with --out.")
    if out.suffix:
        raise ConfigError(f"out: --part all writes a folder, got the file name '{out}'.")
    found = {}
    for name in progress.track(list(model.networks), "exporting parts"):
        target = out / (f"{name}.onnx" if options.format == "onnx" else name)
        found[name] = write(part_of(model, name), target, options)
    return ExportedParts(out, found)


def part_of(model: CrackModel, name: str, side: int | None = None) -> CrackModel:
    """The pool, the gate or an expert, which runs as it is on the inputs that calibrate it.

    Args:
        model: the whole.
        name: ``pool``, ``gate``, or an expert's name.
        side: pixels a side of its typical input; the model's own without it.

    Raises:
        ConfigError: no such part.
    """
    found = model.part(name) if name != "pool" else copy.copy(model)
    if side is not None:
        found.typical = lambda: {"image": torch.zeros(1, 3, side, side)}  # type: ignore[method-assign]
    if name != "pool":

        def run(photo: Photo, options: PredictOptions) -> Any:
            for image in _views(photo, name, model, options):
                found.forward({"image": image})

        found.predict_one = run  # type: ignore[method-assign, assignment]
    return found


def _views(photo: Photo, name: str, model: CrackModel, options: PredictOptions) -> list[Tensor]:
    """What a part sees of a photo in prediction."""
    if name == "gate":
        return [windows(view, model.gate_side)[1] for _, view in pieces(photo, model.config)]
    if model.config.fit == "squash":
        return [prepared(photo.block(slice(0, photo.shape[0]), slice(0, photo.shape[1])), model.config)]
    tiles = tiling.tiles(photo.shape, options.tile, options.halo)
    return [prepared(photo.block(*tile.read), model.config) for tile in tiles]


# ------------------------------------------------------------------------------------------------- timing


def bench(model: CrackModel, options: CrackBenchOptions) -> Table:
    """Time the pool as one network, or with ``parts`` the gate, every expert, and photos as they are really routed.

    Raises:
        ConfigError: a size that the networks can't take, or a pool that can't be timed.
    """
    side = options.size
    if model.config.fit == "squash":
        if side != model.config.input:
            progress.note(f"this model computes at {model.config.input} x {model.config.input}: timed at that size")
        side = model.config.input
    elif side % STRIDE:
        raise ConfigError(f"size: must be a multiple of {STRIDE}, got {side}.")
    if not options.parts:
        return bench_graph(part_of(model, "pool", side), options)
    if model.config.external or "gate" not in model.networks:
        raise ConfigError("parts: only a pool of trained experts with a gate is timed part by part.")
    if options.batch != 1:
        raise ConfigError(f"batch: with --parts photos are routed one by one; got {options.batch}, allowed is 1.")
    return _bench_parts(model, side, options)


def _bench_parts(model: CrackModel, side: int, options: CrackBenchOptions) -> Table:
    before = torch.get_num_threads()
    photos = [Timed(model, picture) for picture in drawn(side)]
    left_out: list[dict[str, Any]] = []
    try:
        torch.set_num_threads(options.threads)
        with tempfile.TemporaryDirectory() as folder:
            parts = _all_runners(model, side, Path(folder), options, left_out)
            seconds = time_parts(model, parts, photos, options.warmup, options.runs)
    finally:
        torch.set_num_threads(before)
    rows = [row for runtime in parts for row in _rows(runtime, seconds[runtime], seconds.get("torch"))]
    notes = {row["runtime"]: row["note"] for row in left_out}
    rows += [{"runtime": runtime, "note": note} for runtime, note in notes.items() if runtime not in parts]
    columns = {
        "runtime": "", "part": "", "p50": "ms", "p95": "ms", "x mean expert": "", "x all experts": "", "x torch": "",
        "note": "",
    }  # fmt: skip
    routes = Counter("+".join(photo.chosen) for photo in photos)
    facts = {
        "input": f"1 x 3 x {side} x {side}",
        "routed": ", ".join(f"{names} on {count}" for names, count in routes.most_common())
        + f" of {len(photos)} photos",
        "threads": options.threads,
        "runs": options.runs,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    return Table(columns, rows, "crack: latency of the parts and of the routed whole", facts)


def drawn(side: int) -> list[Picture]:
    """Drawn photos of the size, one of each surface."""
    samples = world.draw_set({"test": PHOTOS}, size=min(side, DRAWN), seed=SEED)
    again = -(-side // DRAWN)
    return [np.tile(s.image(), (again, again, 1))[:side, :side] for s in samples]


class Timed:
    """A photo to be timed: what gate and experts see of it, and which experts the gate chose.

    Attributes:
        view: for the gate, as windows.
        image: for the experts.
        chosen: names of the experts that ran when it was routed last.
    """

    def __init__(self, model: CrackModel, picture: Picture) -> None:
        seen = [windows(view, model.gate_side)[1] for _, view in pieces(of_picture(picture), model.config)]
        self.view, self.image = torch.cat(seen), prepared(picture, model.config)
        self.chosen: tuple[str, ...] = ()


def time_parts(
    model: CrackModel, parts: Mapping[str, Mapping[str, Runner]], photos: Sequence[Timed], warmup: int, runs: int
) -> dict[str, dict[str, list[list[float]]]]:
    """Seconds by runtime and part, a list for each photo; runtimes take turns, so that drift meets all alike.

    Parts are the gate, every expert, ``routed`` (gate, chosen experts, mixture) and ``all experts`` (their mean).
    """
    names = ("gate", *model.names, "routed", "all experts")
    seconds = {r: {n: [list[float]() for _ in photos] for n in names} for r in parts}
    for number in progress.track(range(warmup + runs), "timing"):
        place = number % len(photos)
        for runtime, runners in parts.items():
            for name, run in _calls(model, runners, photos[place]).items():
                start = time.perf_counter()
                run()
                if number >= warmup:
                    seconds[runtime][name][place].append(time.perf_counter() - start)
    return seconds


def _calls(model: CrackModel, runners: Mapping[str, Runner], photo: Timed) -> dict[str, Callable[[], Any]]:
    def expert(name: str) -> np.ndarray[Any, Any]:
        return runners[name]({"image": photo.image})["probability"].numpy()

    def routed() -> Any:
        weights = runners["gate"]({"image": photo.view})["weights"].numpy().mean(axis=0, keepdims=True)
        own = select(weights, **model.mixing(PredictOptions())).weights[0]
        photo.chosen = tuple(n for n, w in zip(model.names, own, strict=True) if w > 0)
        return sum(np.float32(w) * expert(n) for n, w in zip(model.names, own, strict=True) if w > 0)

    def everything() -> Any:
        return sum(np.float32(1 / len(model.names)) * expert(n) for n in model.names)

    calls: dict[str, Callable[[], Any]] = {"gate": lambda: runners["gate"]({"image": photo.view})}
    calls |= {name: lambda name=name: expert(name) for name in model.names}  # type: ignore[misc]
    return {**calls, "routed": routed, "all experts": everything}


def _all_runners(
    model: CrackModel, side: int, folder: Path, options: CrackBenchOptions, left_out: list[dict[str, Any]]
) -> dict[str, dict[str, Runner]]:
    """Runners by runtime and part; a runtime that lacks a part is left out."""
    found: dict[str, dict[str, Runner]] = {}
    for name in progress.track(list(model.networks), "preparing parts"):
        (folder / name).mkdir()
        for runtime, run in _runners(part_of(model, name, side), folder / name, options, left_out).items():
            found.setdefault(runtime, {})[name] = run
    return {runtime: runners for runtime, runners in found.items() if len(runners) == len(model.networks)}


def _rows(
    runtime: str, seconds: Mapping[str, list[list[float]]], torch_seconds: Mapping[str, list[list[float]]] | None
) -> list[dict[str, Any]]:
    """One row a part: median and 95th percentile, the routed whole as the mean over photos of their own."""
    middle = {name: _over_photos(found, 50) for name, found in seconds.items()}
    experts = [v for n, v in middle.items() if n not in ("gate", "routed", "all experts")]
    rows = []
    for name, value in middle.items():
        row: dict[str, Any] = {"runtime": runtime, "part": name, "p50": value, "p95": _over_photos(seconds[name], 95)}
        if name == "routed":
            row["x mean expert"] = value / float(np.mean(experts))
            row["x all experts"] = value / middle["all experts"]
        if torch_seconds is not None:
            row["x torch"] = _over_photos(torch_seconds[name], 50) / value
        rows.append(row)
    return rows


def _over_photos(seconds: Sequence[Sequence[float]], percent: float) -> float:
    """Milliseconds: a percentile of every photo's runs, mean over the photos that were timed."""
    return 1e3 * float(np.mean([np.percentile(found, percent) for found in seconds if found]))
