"""Hiding a photo of 12 megapixels in another, tile by tile: seconds, memory, seams; and one pair of 256 x 256.

    python -m benchmarks stego_photo

The photos come out of installed packages where they are here, else they are drawn; the row says which. ``hide`` and
``reveal`` are the commands, each in a process of its own: Python's start, reading, checking and writing a PNG are on
the clock, and peak memory is that process's. One thread.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.commands import row_of, timed

COMMAND = "python -m benchmarks stego_photo"
row = partial(row_of, COMMAND)
SIZE = (3000, 4000)
GIGABYTES = 2.0

#: Another model than the shipped one; to try things out.
MODEL = os.environ.get("FIELDSIGHT_STEGO_MODEL")


def main() -> list[dict[str, Any]]:
    # commands first: a process passes its peak memory on to its children
    return [*commands(), *seams(), *pairs()]


# ------------------------------------------------------------------------------------------------ 12 megapixels


def commands() -> list[dict[str, Any]]:
    """``fieldsight stego hide`` and ``reveal`` on files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # a process of its own reads the photos
        code = f"from benchmarks.stego_photo import write; write({name!r})"
        kind = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        chosen = ["--model", MODEL] if MODEL else []
        stego = str(folder / "stego.png")
        hide = timed(["stego", "hide", f"{name}/cover.png", f"{name}/secret.png", "--out", stego, *chosen])
        reveal = timed(
            ["stego", "reveal", stego, "--out", str(folder / "revealed.png"), *chosen, *(["--force"] if MODEL else [])]
        )
    size = f"{SIZE[1]} x {SIZE[0]}"
    return [
        row(f"hide: {size} in {size}, {kind}", hide[0], "s"),
        row("the same, peak memory", hide[1], "GB", goal=GIGABYTES),
        row(f"reveal: {size}", reveal[0], "s"),
        row("the same, peak memory", reveal[1], "GB", goal=GIGABYTES),
    ]


def write(folder: str) -> None:
    """Write ``cover.png`` and ``secret.png``, and print where they come from."""
    import cv2
    import numpy as np

    from fieldsight.data.images import write_image
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.stego import photos

    found = {p.name: p for p in photos.find()}
    chosen = [found[n].read() for n in ("electronics", "dinner") if n in found]
    for number, name in enumerate(("cover", "secret")):
        if len(chosen) == 2:
            picture = chosen[number]
        else:  # large soft shapes with grain
            rng = rng_for(number, "benchmark")
            coarse = rng.integers(0, 256, (SIZE[0] // 100, SIZE[1] // 100, 3), dtype=np.uint8)
            soft = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
            picture = np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)
        assert picture.shape == (*SIZE, 3), picture.shape
        write_image(Path(folder) / f"{name}.png", picture)
    print("photos" if len(chosen) == 2 else "drawn")


# -------------------------------------------------------------------------------------------------------- seams


def seams() -> list[dict[str, Any]]:
    """The same pair in tiles and in one piece: before the rounding, and as files."""
    import numpy as np
    import torch

    from fieldsight.data import tiling
    from fieldsight.systems.stego.carrier import Carrier
    from fieldsight.systems.stego.options import HideOptions

    torch.set_num_threads(1)
    model = load()
    cover, secret = squares(768)
    carrier = Carrier.read(cover)
    whole, tiled = (model._hide(carrier, secret, HideOptions(tile=size)) for size in (1024, 256))
    batch = {"cover": pixels(cover), "secret": pixels(secret)}
    at_once = model._run_hide(batch)
    gap = 0.0
    for tile in tiling.tiles(cover.shape[:2], 256, model.halo):
        part = model._run_hide({n: v[(..., *tile.read)] for n, v in batch.items()})
        gap = max(gap, float((part[(..., *tile.inner)] - at_once[(..., *tile.keep)]).abs().max()))
    differing = float((whole != tiled).mean())
    revealed = [model._reveal(whole, HideOptions(tile=size)).astype(int) for size in (1024, 256)]
    return [
        row(
            "tiles of 256 against one piece of 768: largest difference of the network's output", gap, "of 1", goal=1e-4
        ),
        row("the same, stego files: values that differ by a grey level", differing, "1"),
        row("the same, largest difference", float(np.abs(whole.astype(int) - tiled).max()), "grey levels"),
        row("the same, revealed: largest difference", float(np.abs(revealed[0] - revealed[1]).max()), "grey levels"),
    ]


# ------------------------------------------------------------------------------------------------ 256 x 256 pairs


def pairs() -> list[dict[str, Any]]:
    """Seconds to hide, round and reveal one pair: what ships, and the paper's untrained network, narrow and full."""
    import torch

    from fieldsight.systems.stego.config import PRESETS
    from fieldsight.systems.stego.predict import StegoModel

    torch.set_num_threads(1)
    cover, secret = (pixels(p) for p in squares(256))
    paper = PRESETS["paper"]
    models = {
        "the default": (load(), 9),
        "the paper's network, width 16": (StegoModel.create(paper.replace(net={"width": 16})), 3),
        "the paper's network, width 50": (StegoModel.create(paper), 2),
    }
    rows = []
    for name, (model, runs) in models.items():
        codec = model.codec()
        times = []
        with torch.inference_mode():
            for _ in range(runs + 1):
                begun = time.perf_counter()
                codec.reveal(codec.finish(codec.hide(cover, secret), cover))
                times.append(time.perf_counter() - begun)
        goal = {} if "50" in name else {"goal": 1.0}
        rows.append(row(f"hide, round and reveal 256 x 256: {name}", statistics.median(times[1:]), "s", **goal))
    return rows


def load() -> Any:
    import fieldsight

    return fieldsight.load("stego", MODEL, device="cpu")


def squares(size: int) -> Any:
    """A drawn cover and secret, ``(size, size, 3)`` uint8."""
    from fieldsight.systems.stego.data import draw_pictures

    return draw_pictures(2, size, 0, ("leaves", "objects"), split="test")


def pixels(picture: Any) -> Any:
    import torch

    return (torch.from_numpy(picture).to(torch.float32) / 255).permute(2, 0, 1)[None].contiguous()


if __name__ == "__main__":
    for one_row in main():
        print(one_row)
