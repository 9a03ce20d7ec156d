"""Plots as SVG text, drawn without a global figure so that threads may draw at once."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fieldsight.predictions import Table

#: Colours that people without red-green vision can tell apart (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")


def figure(width: float = 7.0, height: float = 3.2, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with ``columns`` axes side by side, in inches."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = [drawn.add_subplot(1, columns, i + 1) for i in range(columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    return drawn, axes


def svg(drawn: Figure) -> str:
    """A figure as SVG text, without its XML header; the same figure gives the same text."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "fieldsight", "svg.fonttype": "path"}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def pixels(drawn: Figure, dpi: int = 110) -> NDArray[np.uint8]:
    """A figure as ``(H, W, 3)`` uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn.set_dpi(dpi)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def curves(series: Mapping[str, tuple[ArrayLike, ArrayLike]], x: str, y: str, log: bool = False) -> str:
    """Lines by name, each ``(x values, y values)``."""
    drawn, (ax,) = figure()
    for (name, (xs, ys)), colour in zip(series.items(), _cycle(len(series)), strict=True):
        ax.plot(np.asarray(xs), np.asarray(ys), label=name, color=colour, linewidth=1.6)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    if log:
        ax.set_yscale("log")
    if len(series) > 1:
        ax.legend(frameon=False)
    return svg(drawn)


def histogram(values: ArrayLike, x: str, marks: Mapping[str, float] | None = None, bins: int = 20) -> str:
    """A histogram with named vertical lines."""
    drawn, (ax,) = figure()
    ax.hist(np.asarray(values), bins=bins, color="#9ecae1", edgecolor="white")
    for (name, place), colour in zip((marks or {}).items(), ("#009E73", "#D55E00", "#0072B2"), strict=False):
        ax.axvline(place, color=colour, linestyle="--", label=f"{name} {place:.4g}")
    ax.set_xlabel(x)
    ax.set_ylabel("count")
    if marks:
        ax.legend(frameon=False)
    return svg(drawn)


def boxes(groups: Mapping[str, ArrayLike], y: str) -> str:
    """Box plots by name, whiskers by the 1.5 IQR rule, points beyond them as circles."""
    drawn, (ax,) = figure()
    data = [np.asarray(v, dtype=float)[~np.isnan(np.asarray(v, dtype=float))] for v in groups.values()]
    ax.boxplot(data, widths=0.5, medianprops={"color": "#D55E00"}, flierprops={"markersize": 4})
    ax.set_xticks(range(1, len(groups) + 1), list(groups))
    ax.set_ylabel(y)
    return svg(drawn)


def bars(
    groups: Mapping[str, float], y: str, target: float | None = None, errors: Mapping[str, Any] | None = None
) -> str:
    """One bar a name, a dashed target line, and error bars ``name -> (low, high)``."""
    drawn, (ax,) = figure()
    names = list(groups)
    heights = [groups[n] for n in names]
    ax.bar(names, heights, color=COLOURS[0], width=0.6)
    if errors:
        low = [groups[n] - errors[n][0] for n in names]
        high = [errors[n][1] - groups[n] for n in names]
        ax.errorbar(names, heights, yerr=[low, high], fmt="none", ecolor="#333333", capsize=3)
    if target is not None:
        ax.axhline(target, color="#D55E00", linestyle="--", linewidth=1.2)
    ax.set_ylabel(y)
    ax.tick_params(axis="x", rotation=20 if len(names) > 5 else 0)
    return svg(drawn)


def stacked(parts: Mapping[str, Sequence[float]], labels: Sequence[str], y: str, title: str = "") -> str:
    """Stacked bars: part name to one height per label, as energy shares are drawn."""
    drawn, (ax,) = figure(max(4.0, 0.75 * len(labels) + 2.5))
    floor = np.zeros(len(labels))
    for (name, heights), colour in zip(parts.items(), _cycle(len(parts)), strict=True):
        ax.bar(labels, heights, bottom=floor, label=name, color=colour, width=0.6)
        floor = floor + np.asarray(heights)
    ax.set_ylabel(y)
    ax.set_title(title, fontsize=10, loc="left")
    ax.legend(frameon=False, ncols=min(4, len(parts)), loc="upper left", bbox_to_anchor=(0, -0.12))
    return svg(drawn)


def band(truth: ArrayLike, mid: ArrayLike, lo: ArrayLike, hi: ArrayLike, x: str, y: str, title: str = "") -> str:
    """Truth, prediction and interval along a line of pixels."""
    drawn, (ax,) = figure()
    place = np.arange(np.size(truth))
    ax.fill_between(place, np.asarray(lo), np.asarray(hi), color="#cccccc", label="interval", linewidth=0)
    ax.plot(place, np.asarray(truth), color="black", linewidth=0.8, label="truth")
    ax.plot(place, np.asarray(mid), color=COLOURS[0], linestyle="--", linewidth=1.2, label="middle")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, fontsize=10, loc="left")
    ax.legend(frameon=False, ncols=3)
    return svg(drawn)


def table_picture(table: Table, most: int = 40) -> NDArray[np.uint8]:
    """A table as a picture, for galleries."""
    from fieldsight.cli.console import cell

    rows = list(table.rows)[:most]
    header = [f"{n} [{u}]" if u else n for n, u in table.columns.items()]
    text = [[cell(row.get(c))[:28] for c in table.columns] for row in rows] or [[""] * len(header)]
    drawn, (ax,) = figure(max(4.0, 1.5 * len(header)), 0.6 + 0.28 * (len(text) + 1))
    ax.axis("off")
    shown = ax.table(cellText=text, colLabels=header, loc="upper center", cellLoc="right")
    shown.auto_set_font_size(False)
    shown.set_fontsize(8)
    ax.set_title(table.title, fontsize=10, loc="left")
    return pixels(drawn)


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
