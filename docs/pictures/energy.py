"""Pictures of `energy`: an estimate, both ways of charging by batch, and what the constants leave open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import fieldsight
from fieldsight import studies
from fieldsight.data.images import write_image
from fieldsight.errors import DataError
from fieldsight.profile.joules import PARTS
from fieldsight.report.plots import COLOURS, figure, pixels
from fieldsight.systems.energy.drawing import joules
from fieldsight.systems.energy.plots import BATCHES, stack


def make(folder: Path) -> None:
    """Write ``energy-*.png``."""
    write_image(folder / "energy-estimate.png", fieldsight.predict("energy", "resnet18").draw())
    write_image(folder / "energy-conventions.png", pixels(conventions()))
    write_image(folder / "energy-regimes.png", pixels(regimes()))


def conventions() -> Any:
    """ResNet-18 and Llama-7B as the paper charges and in exact counts, one scale a network."""
    model = fieldsight.load("energy")
    plot, axes = figure(10.5, 3.0, 4)
    for pair, name in zip((axes[:2], axes[2:]), ("resnet18", "llama-7b"), strict=True):
        for ax, convention in zip(pair, ("paper", "exact"), strict=True):
            found = [model.estimate(name, batch=b, convention=convention, draws=0).to_dict() for b in BATCHES]
            base = found[0]["total_j"]
            heights = {part: [one["parts_j"][part] / base for one in found] for part in PARTS}
            stack(ax, [str(b) for b in BATCHES], heights, "energy, batch 1 = 1" if ax is axes[0] else "")
            words = "as the paper charges" if convention == "paper" else "exact counts"
            ax.set_title(f"{name}, {words}\nbatch 1: {joules(base)}", fontsize=9, loc="left")
            ax.set_xlabel("batch")
        top = max(ax.get_ylim()[1] for ax in pair)
        for ax in pair:
            ax.set_ylim(0, top)
    axes[2].legend(frameon=False, fontsize=8)
    return plot


def regimes() -> Any:
    """Batch at which MACs cost as much as weights: at the profiles' constants, and over their ranges."""
    record = studies.read("energy", "regime")
    if record is None:
        raise DataError("The study is missing. Record it with: make study SYSTEM=energy NAME=regime")
    rows = [r for r in record["rows"] if r["convention"] == "exact"]
    names = list(dict.fromkeys(r["network"] for r in rows))[::-1]
    profiles = list(dict.fromkeys(r["profile"] for r in rows))
    plot, (ax,) = figure(8.4, 3.6)
    for i, profile in enumerate(profiles):
        own = {r["network"]: r for r in rows if r["profile"] == profile}
        place = np.arange(len(names)) + (0.14 if i == 0 else -0.14)
        low, high = ([own[n]["mac_equals_weight_drawn"][end] for n in names] for end in ("low", "high"))
        ax.hlines(place, low, high, color=COLOURS[i], linewidth=5, alpha=0.35)
        at = [own[n]["mac_equals_weight"] for n in names]
        ax.plot(at, place, "o", color=COLOURS[i], markersize=5, label=profile)
    for batch in record["batches"]:
        ax.axvline(batch, color="#999999", linewidth=0.8, linestyle=":")
    ax.set_xscale("log")
    ax.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_xlabel("batch at which MACs cost as much as weights; bars: 5 to 95 % over the ranges of the constants")
    ax.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.55))
    ax.grid(False, axis="y")
    return plot
