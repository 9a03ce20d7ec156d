"""Seconds per training step of the paper's loss, the same in pixels, and its predecessor's gain through the inverse.

The paper claims a significant reduction of training time over its predecessor and gives no number.

python -m benchmarks stego_steps
"""

from __future__ import annotations

import time
from typing import Any

import torch

COMMAND = "python -m benchmarks stego_steps"
ROUNDS = 25


def main() -> list[dict[str, Any]]:
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.stego.config import PRESETS
    from fieldsight.systems.stego.predict import StegoModel
    from fieldsight.systems.stego.train import losses

    torch.set_num_threads(1)
    batch = {
        name: torch.from_numpy(rng_for(0, "steps", name).random((16, 3, 32, 32)).astype("float32"))
        for name in ("cover", "secret")
    }
    found: dict[str, list[float]] = {"dwt": [], "pixel": [], "gain": []}
    steps = {}
    for domain in found:
        config = PRESETS["small"].replace(loss={"domain": domain})
        codec = StegoModel.create(config).codec(pixels=domain != "dwt")
        steps[domain] = (config, codec, torch.optim.Adam(codec.parameters(), lr=config.lr))
    for number in range(ROUNDS + 3):
        for domain, (config, codec, optimizer) in steps.items():  # in turn, so that drift meets all alike
            began = time.perf_counter()
            loss = losses(config, codec, batch)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if number >= 3:
                found[domain].append(time.perf_counter() - began)
    middle = {domain: sorted(times)[len(times) // 2] for domain, times in found.items()}
    own = middle["dwt"]
    return [
        row("training step, squared error of coefficients (the paper)", 1e3 * own, "ms"),
        row("the same in pixels, through the inverse transform", 1e3 * middle["pixel"], "ms", "dwt", 1e3 * own),
        row("the predecessor's gain: PSNR and SSIM through the inverse", 1e3 * middle["gain"], "ms", "dwt", 1e3 * own),
    ]


def row(name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None) -> dict[str, Any]:
    """A row whose ratio says how many times as long it takes as the paper's loss."""
    more: dict[str, Any] = {}
    if peer_value is not None:
        more = {"peer": peer, "peer_value": peer_value, "ratio": value / peer_value}
    return {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}
