"""Pictures of `sem`: a standard cell that no training saw, and a drawn layout against its simulated picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fieldsight
from fieldsight import assets
from fieldsight.data.images import to_uint8, write_image
from fieldsight.errors import DataError
from fieldsight.report.plots import figure, pixels
from fieldsight.systems.sem.metrology import outlier_overlay


def make(folder: Path) -> None:
    """Write ``sem-*.png``."""
    root = assets.locate("sky130")
    if root is None:
        raise DataError("The asset sky130 is missing. Get it with: fieldsight assets fetch sky130")
    model = fieldsight.load("sem")
    cell = next(root.rglob("sky130_fd_sc_hd__dfxtp_1.gds"))
    write_image(folder / "sem-cell.png", model.predict(cell, pixel="5nm", layer="li1").draw())

    drawn = fieldsight.call("sem", "simulate", pattern="sram", size=192, pixel="5nm", seed=7).samples[0].made
    found = model.predict(drawn.mask)
    truth = drawn.sem.astype(np.float32) / 255.0
    outside = (truth < found.lo) | (truth > found.hi)
    plot, axes = figure(10.0, 2.3, columns=5)
    shown = {
        "mask": drawn.mask, "simulated (drawn data)": drawn.sem, "expected": to_uint8(found.mid),
        "width of the interval": found.hi - found.lo, f"outside: {outside.mean():.1%}": outlier_overlay(outside),
    }  # fmt: skip
    for axis, (title, picture) in zip(axes, shown.items(), strict=True):
        axis.imshow(picture, cmap="cividis" if title.startswith("width") else "gray")
        axis.set_title(title, fontsize=8)
        axis.axis("off")
    write_image(folder / "sem-pair.png", pixels(plot))

    plot, axes = figure(10.0, 2.4)
    row = truth.shape[0] // 2
    place = np.arange(truth.shape[1]) * 5.0
    axes[0].fill_between(place, found.lo[row], found.hi[row], alpha=0.3, label="90 % interval")
    axes[0].plot(place, found.mid[row], lw=1.2, label="expected")
    axes[0].plot(place, truth[row], ".", ms=3, color="black", label="simulated (drawn data)")
    axes[0].set_xlabel("nm")
    axes[0].set_ylabel("intensity")
    axes[0].set_ylim(top=0.9)  # room for the legend
    axes[0].legend(frameon=False, fontsize=8, ncols=3)
    write_image(folder / "sem-band.png", pixels(plot))
