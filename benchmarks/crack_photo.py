"""Finding cracks in a photo of 12 megapixels and in an orthomosaic of 100: seconds, memory, seams.

    python -m benchmarks crack_photo

The photos are drawn. ``predict`` is the command, in a process of its own: Python's start, reading, measuring and
writing are on the clock, and peak memory is that process's. One thread. With the environment variable
``FIELDSIGHT_CRACK_QUICK`` set, photos are a quarter as wide and high.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.commands import row_of, timed

COMMAND = "python -m benchmarks crack_photo"
row = partial(row_of, COMMAND)
GIGABYTES = 3.0

#: Another model than the shipped one, and smaller photos; to try things out.
MODEL = os.environ.get("FIELDSIGHT_CRACK_MODEL", "base")
SHRINK = 4 if os.environ.get("FIELDSIGHT_CRACK_QUICK") else 1

#: Height and width of the photo and of the orthomosaic.
PHOTO, MOSAIC = (3000 // SHRINK, 4000 // SHRINK), (10_000 // SHRINK, 10_000 // SHRINK)


def main() -> list[dict[str, Any]]:
    # commands first: a process passes its peak memory on to its children
    return [*commands(), *seams()]


# ----------------------------------------------------------------------------------------------------- commands


def commands() -> list[dict[str, Any]]:
    """``fieldsight crack predict`` on files."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for file, shape, words in (
            ("photo.png", PHOTO, f"a photo of {PHOTO[1]} x {PHOTO[0]}"),
            ("mosaic.tif", MOSAIC, f"an orthomosaic of {MOSAIC[1]} x {MOSAIC[0]}, tiled TIFF"),
        ):
            # a process of its own draws it
            code = f"from benchmarks.crack_photo import write; write({str(Path(name) / file)!r}, {shape})"
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds, peak = timed(
                ["crack", "predict", f"{name}/{file}", "--out", f"{name}/out", "--model", MODEL, "--quiet"]
            )
            rows += [
                row(f"predict: {words}, every file written", seconds, "s"),
                row("the same, megapixels a second", shape[0] * shape[1] / 1e6 / seconds, "1/s"),
                row("the same, peak memory", peak, "GB", goal=GIGABYTES),
            ]
    return rows


def write(path: str, shape: tuple[int, int]) -> None:
    """Write a drawn road; a large one is drawn once and laid out in turned copies, tile by tile."""
    import numpy as np

    from fieldsight.data.images import write_image
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.crack import world

    side = min(2000, *shape)
    drawn = world.draw_photo("road", (side, side), rng_for(0, "benchmark")).image
    across, down = -(-shape[1] // side), -(-shape[0] // side)
    laid = np.concatenate(
        [np.concatenate([np.rot90(drawn, i + 2 * j) for i in range(across)], axis=1) for j in range(down)], axis=0
    )[: shape[0], : shape[1]]
    if path.endswith(".tif"):
        import tifffile

        tifffile.imwrite(path, laid, photometric="rgb", tile=(256, 256), compression="zlib")
    else:
        write_image(path, np.ascontiguousarray(laid))


# -------------------------------------------------------------------------------------------------------- seams


def seams() -> list[dict[str, Any]]:
    """The same photo in tiles of two sizes and in one piece."""
    import numpy as np
    import torch

    import fieldsight
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.crack import world

    torch.set_num_threads(1)
    model = fieldsight.load("crack", MODEL, device="cpu")
    picture = world.draw_photo("concrete", (1152, 1280), rng_for(1, "benchmark")).image
    rows = []
    for route in ("image", "tile"):
        whole, large, small = (model.predict(picture, route=route, tile=size) for size in (1280, 768, 512))
        gap = max(float(np.abs(whole.probability - p.probability).max()) for p in (large, small))
        rows += [
            row(f"experts chosen by {route}: largest difference of tiles from one piece", gap, "of 1", goal=1e-4),
            row("the same, mask pixels that differ from tiles of 768 to 512", float((large.mask != small.mask).mean()),
                "1", goal=0.01),
        ]  # fmt: skip
    return rows


if __name__ == "__main__":
    for one_row in main():
        print(one_row)
