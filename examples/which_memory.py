"""What would a better memory or a better multiplier save? Your own torch module, over batches and number formats.

python examples/which_memory.py
"""

import torch
from torch import nn

import fieldsight


def network() -> nn.Module:
    """Any module will do; on the command line it is named as ``package.module:factory``."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def main() -> None:
    """Energy of one picture in three number formats, and where it goes."""
    example = torch.zeros(1, 3, 96, 96)
    for precision in ("fp32", "int8", "int4"):
        found = fieldsight.load("energy").predict(network(), example=example, precision=precision)
        energy = found.charged.chosen
        shares = ", ".join(f"{part} {share:.0%}" for part, share in energy.shares.items() if share)
        print(f"{precision}: {energy.total * 1e6:.2f} uJ a picture ({shares})")


if __name__ == "__main__":
    main()
