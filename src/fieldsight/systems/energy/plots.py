"""The paper's kinds of figures: stacked bars over batches and factors (Figs. 5 to 9), savings and regions (Fig. 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight.profile.joules import PARTS, energy
from fieldsight.report.plots import COLOURS, figure
from fieldsight.systems.energy.drawing import PART_COLOURS, PART_WORDS, joules
from fieldsight.systems.energy.estimate import Charged, group_joules, terms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Batches of the paper's figures.
BATCHES = (1, 4, 8, 16)


def stack(ax: Axes, labels: Sequence[str], heights: Mapping[str, Sequence[float]], y: str) -> None:
    """Stacked bars: part to one height per label; parts that are nowhere are left out."""
    floor = np.zeros(len(labels))
    for part, values in heights.items():
        if any(values):
            ax.bar(labels, values, bottom=floor, label=PART_WORDS[part], color=PART_COLOURS[part], width=0.62)
            floor = floor + np.asarray(values)
    ax.set_ylabel(y)
    ax.grid(False, axis="x")


def estimate_figure(c: Charged) -> Figure:
    """An estimate: batches stacked and normalised as in the paper's figures, and where the joules of this batch go."""
    drawn, (left, right) = figure(10.5, 3.9, 2)
    batches = sorted({*BATCHES, c.settings.batch})
    base = c.base[c.settings.convention] or 1.0
    found = [
        energy(c.network.counts, c.hardware, b, convention=c.settings.convention, **terms(c.network, c.settings)).parts
        for b in batches
    ]
    heights = {part: [one[part] / base for one in found] for part in PARTS}
    stack(left, [str(b) for b in batches], heights, "energy, batch 1 = 1")
    left.set_xlabel("batch")
    left.set_title(f"{c.network.name}: {joules(base)} at batch 1 ({c.settings.convention})", fontsize=10, loc="left")
    if any(map(any, heights.values())):
        left.legend(frameon=False, fontsize=8, loc="upper left")
    groups = group_joules(c)
    names = list(groups)[::-1]
    floor = np.zeros(len(names))
    whole = c.energies["exact"].total or 1.0
    for part in PARTS:
        values = np.array([100 * groups[n][part] / whole for n in names])
        if values.any():
            right.barh([_short(n) for n in names], values, left=floor, color=PART_COLOURS[part], height=0.7)
            floor = floor + values
    right.set_xlabel(f"% of {joules(c.energies['exact'].total)} at batch {c.settings.batch} (exact)")
    right.set_title("where they go", fontsize=10, loc="left")
    right.tick_params(axis="y", labelsize=8)
    right.grid(False, axis="y")
    return drawn


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:10]}…{name[-10:]}"


def sweep_figure(
    title: str,
    scaled: str,
    batches: Sequence[int],
    labels: Sequence[str],
    parts: Sequence[Mapping[str, Sequence[float]]],
) -> Figure:
    """Figures 5 to 9: a panel for each batch, a bar for each factor, stacked by part, one scale for all.

    Args:
        title: the network.
        scaled: what the bars are labelled with.
        batches: one a panel.
        labels: of the bars.
        parts: for each batch, part to a height for each bar, normalised.
    """
    drawn, axes = figure(max(3.0 * len(batches), 4.0), 3.3, len(batches))
    top = max((sum(one[p][i] for p in one) for one in parts for i in range(len(labels))), default=1.0)
    for ax, batch, one in zip(axes, batches, parts, strict=True):
        stack(ax, labels, one, "energy, unscaled batch 1 = 1" if ax is axes[0] else "")
        ax.set_ylim(0, top * 1.05 or 1)
        ax.set_xlabel(scaled)
        ax.set_title(f"batch {batch}", fontsize=10, loc="left")
        ax.tick_params(axis="x", labelsize=8)
    if top > 0:
        axes[0].legend(frameon=False, fontsize=8)
    drawn.suptitle(title, fontsize=10, x=0.01, ha="left")
    return drawn


def savings_figure(savings: Mapping[str, Mapping[str, Mapping[int, float]]], factor: str = "1/16") -> Figure:
    """Figure 10a, b: percent saved by scaling one part to ``factor``, by network, part and batch."""
    drawn, axes = figure(max(4.2 * len(savings), 4.5), 3.2, max(len(savings), 1))
    for ax, (name, parts) in zip(axes, savings.items(), strict=True):
        batches = [str(b) for b in next(iter(parts.values()), ())]
        place = np.arange(len(batches))
        wide = 0.8 / max(len(parts), 1)
        for i, (part, values) in enumerate(parts.items()):
            ax.bar(place + (i - (len(parts) - 1) / 2) * wide, list(values.values()), wide, label=PART_WORDS[part],
                   color=PART_COLOURS[part])  # fmt: skip
        ax.set_xticks(place, batches)
        ax.set_xlabel("batch")
        ax.set_ylabel(f"% saved at {factor}")
        ax.set_title(name, fontsize=10, loc="left")
        ax.set_ylim(0, 100)
    fullest = max(zip(axes, savings.values(), strict=True), key=lambda pair: len(pair[1]))[0]
    if any(savings.values()):
        fullest.legend(frameon=False, fontsize=8)
    return drawn


def regions_figure(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], thresholds: Mapping[str, float]
) -> Figure:
    """Figure 10c: FLOPs per parameter against batch, with the region above each format's threshold compute-bound.

    Args:
        lines: network to batches and FLOPs per parameter (R7).
        thresholds: words to FLOPs per parameter (R8).
    """
    drawn, (ax,) = figure(7.5, 4.2)
    batches = np.asarray(next(iter(lines.values()))[0], dtype=float)
    for i, (name, (x, y)) in enumerate(lines.items()):
        ax.plot(x, y, marker="o", markersize=3.5, linewidth=1.5, color=COLOURS[i % len(COLOURS)], label=name)
    finite = {k: v for k, v in thresholds.items() if np.isfinite(v) and v > 0}
    for i, (words, value) in enumerate(sorted(finite.items(), key=lambda t: -t[1])):
        ax.axhline(
            value, color="#333333", linestyle=("--", ":", "-.")[i % 3], linewidth=1, label=f"{words}: {value:.4g}"
        )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(batches, [f"{b:g}" for b in batches])
    ax.set_xlabel("batch")
    ax.set_ylabel("FLOPs per parameter")
    if finite:
        low, high = ax.get_ylim()
        ax.axhspan(max(finite.values()), high, color=PART_COLOURS["mac"], alpha=0.07, linewidth=0)
        ax.axhspan(low, min(finite.values()), color=PART_COLOURS["weight"], alpha=0.07, linewidth=0)
        ax.set_ylim(low, high)
        ax.text(0.99, 0.98, "MACs cost more", transform=ax.transAxes, ha="right", va="top", fontsize=8)
        ax.text(0.99, 0.02, "weights cost more", transform=ax.transAxes, ha="right", va="bottom", fontsize=8)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return drawn


def tornado_figure(c: Charged) -> Figure:
    """What the range of each constant does to the total, the widest swing on top."""
    assert c.sensitivity is not None
    swings = c.sensitivity.tornado[::-1]
    drawn, (ax,) = figure(7.0, 1.2 + 0.45 * len(swings))
    total = c.chosen.total
    size, unit = si_unit(max([total, *(s.total_high for s in swings)]))
    for i, swing in enumerate(swings):
        low, high = sorted((swing.total_low / size, swing.total_high / size))
        ax.barh(i, high - low, left=low, height=0.55, color=COLOURS[0])
    ax.axvline(total / size, color="#333333", linewidth=1)
    ax.set_yticks(range(len(swings)), [f"{s.name}: {s.low:.3g} to {s.high:.3g} {_unit(s.name)}" for s in swings])
    ax.set_xlabel(f"{unit}J of the batch")
    ax.grid(False, axis="y")
    return drawn


def si_unit(value: float) -> tuple[float, str]:
    """The power of thousand that a value is told in, and its prefix: ``(1e-6, "µ")`` for 0.0009."""
    steps = [(10.0**power, prefix) for power, prefix in zip(range(-15, 10, 3), "fpnµm kMG", strict=True)]
    size, prefix = max((s for s in steps if s[0] <= value), default=steps[5])
    return size, prefix.strip()


def _unit(name: str) -> str:
    return "pJ/MAC" if name == "mac" else "pJ/bit"


def fit_figure(measured: Any, predicted: Any, names: Sequence[str]) -> Figure:
    """Measured against fitted J on logarithmic axes, a mark for each model."""
    drawn, (ax,) = figure(5.2, 4.2)
    for i, name in enumerate(dict.fromkeys(names)):
        chosen = [k for k, n in enumerate(names) if n == name]
        ax.scatter(np.asarray(measured)[chosen], np.asarray(predicted)[chosen], s=16, color=COLOURS[i % len(COLOURS)],
                   label=name)  # fmt: skip
    ends = [float(min(np.min(measured), np.min(predicted))), float(max(np.max(measured), np.max(predicted)))]
    ax.plot(ends, ends, color="#333333", linewidth=1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("measured J")
    ax.set_ylabel("fitted J")
    if len(set(names)) <= 12:
        ax.legend(frameon=False, fontsize=7, ncols=2)
    return drawn
