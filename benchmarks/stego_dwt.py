"""One wavelet transform and its inverse on 16 colour pictures of 256 x 256, against PyWavelets: one thread each.

    python -m benchmarks stego_dwt

Both get the same float32 array ``(16, 3, 256, 256)``, take turns, and give the same numbers (checked here). Times are
processor time of the thread, so that other processes meet them less; ratios are the middle of the ratios of each turn,
``spread`` is their first and ninth tenth. A transform reads and writes 12.6 MB and its inverse as much, so that a plain
copy there and back is the limit; it takes turns with them. The kernels are loaded before; what loading them costs a
process is measured in processes of their own, with an empty cache and with a full one. The control is the torch code
that training uses, against Haar as a convolution.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

COMMAND = "python -m benchmarks stego_dwt"
SHAPE = (16, 3, 256, 256)
ROUNDS = 15
GOAL = 5.0

#: Ours by PyWavelets' name.
NAMES = {"haar": "haar", "db2": "db2", "db4": "db4", "cdf97": "bior4.4", "legall53": "bior2.2"}

#: Runs in a process of its own: seconds until the first transform and its inverse are through, with and without.
FIRST = """
import time, torch
torch.set_num_threads(1)
from fieldsight.systems.stego.wavelet import DWT, IDWT
x = torch.rand(1, 3, 256, 256)
begun = time.perf_counter()
IDWT()(DWT()(x))
plain = time.perf_counter() - begun
begun = time.perf_counter()
import fieldsight.systems.stego.kernels
IDWT()(DWT()(x))
print(plain, time.perf_counter() - begun)
"""


def main() -> list[dict[str, Any]]:
    return [*first_use(), *transforms(), *control()]


def first_use() -> list[dict[str, Any]]:
    """What a process pays for the kernels of Haar: numba has to start, and to compile where no cache is."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        found = []
        for _ in range(4):
            done = subprocess.run(
                [sys.executable, "-c", FIRST], capture_output=True, text=True, check=True, env=environment
            )
            found.append([float(x) for x in done.stdout.split()])
    return [
        row("first transform of a process, torch alone", statistics.median(f[0] for f in found), "s"),
        row("first transform of a process, kernels compiled", found[0][1], "s"),
        row("first transform of a process, kernels out of the cache", statistics.median(f[1] for f in found[1:]), "s"),
    ]


def transforms() -> list[dict[str, Any]]:
    """Transform and inverse of every wavelet: ours, PyWavelets, and a copy of as many bytes."""
    import numpy as np
    import pywt
    import torch

    import fieldsight.systems.stego.kernels  # noqa: F401  in use from now on
    from fieldsight.systems.stego.wavelet import DWT, IDWT

    torch.set_num_threads(1)
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    given = x.numpy()
    rows = []
    for name, theirs in NAMES.items():
        ahead, back = DWT(name), IDWT(name)  # type: ignore[arg-type]
        check(x, ahead, back, pywt, theirs)

        def ours() -> Any:
            with torch.inference_mode():
                return back(ahead(x))  # noqa: B023  called at once

        def peer() -> Any:
            return pywt.idwt2(pywt.dwt2(given, theirs, mode="periodization"), theirs, mode="periodization")  # noqa: B023

        def copies() -> Any:
            return np.array(np.array(given))

        times = in_turns({"ours": ours, "theirs": peer, "copy": copies})
        rows.append(
            row(
                f"transform and inverse, {name}", *compared(times, "ours", "theirs"), goal=GOAL,
                peer=f"PyWavelets {version('PyWavelets')}, {theirs}",
            )
        )  # fmt: skip
        if name == "haar":
            limit = compared(times, "ours", "copy")
            rows.append(row("the same against the limit", *limit, peer="a copy of the bytes there and back"))
    return rows


def check(x: Any, ahead: Any, back: Any, pywt: Any, theirs: str) -> None:
    """Both give the same bands, and the picture again."""
    import numpy as np

    from fieldsight.systems.stego.wavelet import gains_of

    bands = ahead(x).numpy()
    smooth, details = pywt.dwt2(x.numpy(), theirs, mode="periodization")
    low, high = gains_of(ahead.wavelet)
    for number, (band, gain) in enumerate(
        zip((smooth, *details), (low * low, low * high, low * high, high * high), strict=True)
    ):
        gap = float(np.abs(bands[:, number] - band * gain).max())
        assert gap < 5e-6, (theirs, number, gap)
    assert float((back(ahead(x)) - x).abs().max()) < 2e-6, theirs


def control() -> list[dict[str, Any]]:
    """Forward and backward by the torch code, against Haar as a strided convolution: what a training pays."""
    import torch
    import torch.nn.functional as F

    from fieldsight.systems.stego.wavelet import DWT, IDWT, packet_filters

    torch.set_num_threads(1)
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    one = torch.from_numpy(packet_filters(1, 1))
    ahead, back = DWT(), IDWT()

    def ours() -> None:
        back(ahead(x)).square().mean().backward()

    def convolved() -> None:
        bands = F.conv2d(x.flatten(0, 1)[:, None], one, stride=2)
        F.conv_transpose2d(bands, one, stride=2).square().mean().backward()

    times = in_turns({"ours": ours, "theirs": convolved})
    return [
        row(
            "haar, both ways with gradients (torch code)", *compared(times, "ours", "theirs"), peer="torch convolutions"
        )
    ]


def in_turns(ways: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds of each call; two turns warm up."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 2):
        for name, call in ways.items():
            begun = time.thread_time()
            call()
            if turn > 1:
                found[name].append(time.thread_time() - begun)
    return found


def compared(times: Mapping[str, list[float]], ours: str, theirs: str) -> tuple[float, str, float, float, list[float]]:
    """Milliseconds of ours, their unit, of theirs, the ratio and its spread."""
    ratios = sorted(b / a for a, b in zip(times[ours], times[theirs], strict=True))
    a, b = (1e3 * statistics.median(times[name]) for name in (ours, theirs))
    return a, "ms", b, statistics.median(ratios), [ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]]


def row(
    name: str,
    value: float,
    unit: str,
    peer_value: float | None = None,
    ratio: float | None = None,
    spread: list[float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    found = {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}
    if ratio is not None:
        found |= {"peer_value": peer_value, "ratio": ratio, "spread": spread}
    return found | ({"goal_on": "ratio, higher is better"} if "goal" in more else {})


if __name__ == "__main__":
    for one_row in main():
        print(one_row)
