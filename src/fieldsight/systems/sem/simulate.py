"""``simulate``: any layout or drawn pattern through the process, with a sidecar of every parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.files import write_json
from fieldsight.data.folders import gather
from fieldsight.data.images import write_image
from fieldsight.data.suffixes import IMAGE_SUFFIXES, LAYOUT_SUFFIXES
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.predictions import Picture, Prediction, beside, grey, heat
from fieldsight.systems.sem.layouts import draw
from fieldsight.systems.sem.options import SimulateOptions
from fieldsight.systems.sem.predict import read_field
from fieldsight.systems.sem.process import Simulated, lateral_bias
from fieldsight.systems.sem.process import simulate as run_process

#: The simulator holds a whole field in memory; larger ones are cut by the caller.
MAX_PIXELS = 64_000_000


@dataclass(frozen=True)
class Sample(Prediction):
    """One simulated field with all that made it."""

    name: str
    made: Simulated
    facts: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path, stem: str | Path = "") -> list[Path]:
        """``mask/``, ``sem/`` (PNG) and ``height/`` (float32 TIFF, nm) by name, and a JSON sidecar."""
        base, name = Path(folder), str(stem) or self.name
        return [
            write_image(base / "mask" / f"{name}.png", self.made.mask.astype(np.uint8) * np.uint8(255)),
            write_image(base / "sem" / f"{name}.png", self.made.sem),
            write_image(base / "height" / f"{name}.tif", self.made.height),
            write_json(base / "json" / f"{name}.json", {**self.to_dict(), "recipe": self.made.recipe.to_dict()}),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Size and key numbers."""
        return {
            "id": self.name,
            "height": int(self.made.mask.shape[0]),
            "width": int(self.made.mask.shape[1]),
            "density": round(float(self.made.mask.mean()), 4),
            "height_nm": round(float(self.made.height.max()), 3),
            "clipped": round(float((self.made.clean > 1).mean()), 6),
            "drawn": True,
            **self.facts,
        }

    def draw(self) -> Picture:
        """Mask, height and picture side by side."""
        return beside([grey(self.made.mask.astype(np.float32)), heat(self.made.height), grey(self.made.sem)])


@dataclass(frozen=True)
class Samples:
    """Simulated fields in order."""

    samples: list[Sample]

    def to_dict(self) -> dict[str, Any]:
        """A list of summaries."""
        return {"samples": [s.to_dict() for s in self.samples]}

    def lines(self) -> list[str]:
        """One line a field."""
        return [
            f"{s.name}: {s.made.mask.shape[1]} x {s.made.mask.shape[0]} px, {s.facts['px_nm']:g} nm"
            for s in self.samples
        ]

    def save(self, out: str | Path) -> list[Path]:
        """Write all; the folder can be trained on after adding more."""
        return [path for sample in self.samples for path in sample.save(out)]


def simulate(inputs: Any, options: SimulateOptions) -> Samples:
    """Simulate layouts, mask pictures, or drawn patterns; ``count`` repeats each input with fresh noise.

    Raises:
        ConfigError: neither an input nor ``pattern``.
        DataError: an input that can't be read, or a field too large for memory.
    """
    samples = []
    masks = _masks(inputs, options)
    for name, mask, facts in progress.track(masks, "simulating") if len(masks) > 1 else masks:
        if mask.size > MAX_PIXELS:
            raise DataError(f"{name} gives {mask.size:,} pixels; the simulator takes {MAX_PIXELS:,}. Use --window.")
        written = shrink(mask, lateral_bias(options.recipe.etch.depth, options.recipe.etch.anisotropy), options.pixel)
        repeats = range(1 if options.pattern else options.count)
        for number in progress.track(repeats, "simulating") if len(repeats) > 1 else repeats:
            rng = rng_for(options.seed, "simulate", name, number)
            recipe = options.recipe.sample(rng) if options.sample else options.recipe
            made = run_process(written if options.opc == "bias" else mask, options.pixel, recipe, rng)
            label = f"{name}-{number:04d}" if len(repeats) > 1 else name
            samples.append(
                Sample(label, made, {"px_nm": options.pixel, "seed": options.seed, "opc": options.opc, **facts})
            )
    return Samples(samples)


def _masks(inputs: Any, options: SimulateOptions) -> list[tuple[str, NDArray[np.bool_], dict[str, Any]]]:
    if options.pattern is not None:
        if options.pattern == "cells":
            raise ConfigError("pattern: 'cells' are real layouts; give a GDS file of one instead.")
        drawn = []
        for number in range(options.count):
            rng = rng_for(options.seed, "pattern", options.pattern, number)
            mask = draw(options.pattern, options.size, options.pixel, options.design, rng)
            drawn.append((f"{options.pattern}-{number:04d}", mask, {"family": options.pattern}))
        return drawn
    if inputs is None:
        raise ConfigError("simulate: give a layout, or a family of drawn layouts with --pattern.")
    found = []
    for item in gather(inputs, (*LAYOUT_SUFFIXES, *IMAGE_SUFFIXES)):
        opened = read_field(item.value, options.pixel, options.layer, options.cell, options.window, options.layer_names)
        mask = opened.block(slice(0, opened.shape[0]), slice(0, opened.shape[1]))
        found.append((item.stem.name, mask, dict(opened.facts)))
    return found


def shrink(mask: NDArray[np.bool_], bias: float, pixel: float) -> NDArray[np.bool_]:
    """Pull every edge of a mask in by ``bias`` nm, so that the etch brings it back: the simplest correction there is.

    Features narrower than twice the bias vanish.
    """
    reach = round(bias / pixel)
    if reach < 1:
        return mask
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    # outside the field the pattern goes on: a border is no edge
    padded = np.pad(mask.astype(np.uint8), reach, mode="edge")
    return cv2.erode(padded, kernel)[reach:-reach, reach:-reach] > 0
