"""U-Net, and the cascade of two of them (E1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fieldsight.systems.crack.nets.blocks import Expert, double_conv, init_kaiming, pixels_first


class UNet(Expert):
    """U-Net (Ronneberger et al., MICCAI 2015) with batch normalisation and padded convolutions with bias.

    31,043,521 parameters at the default widths; 0.1927 T multiply-accumulates at 512 x 512.

    Args:
        widths: channels of the levels; the map halves from one to the next.
        inputs: channels of the picture.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 1024), inputs: int = 3) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            double_conv(i, o, bias=True) for i, o in zip((inputs, *widths[:-1]), widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        rising = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in rising)
        self.decoder = nn.ModuleList(double_conv(2 * o, o, bias=True) for _, o in rising)
        self.out = nn.Conv2d(widths[0], 1, 1)
        init_kaiming([self.encoder, self.decoder])

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """``logits`` (N, 1, H, W)."""
        x = pixels_first(x)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for enlarge, block, skip in zip(self.ups, self.decoder, skips[-2::-1], strict=True):
            x = block(torch.cat([skip, enlarge(x)], 1))
        return {"logits": self.out(x)}

    def backbone_modules(self) -> tuple[nn.Module, ...]:
        """The contracting path, bottleneck included."""
        return (self.encoder,)


class CascadeNet(Expert):
    """E1, cascade enhanced network: a U-Net's logit goes with the picture into a second U-Net.

    62,087,618 parameters at the default widths. Both stages are supervised; gradients pass from the second into the
    first.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 1024)) -> None:
        super().__init__()
        self.first = UNet(widths)
        self.second = UNet(widths, inputs=4)

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """``logits`` of the second stage and ``aux`` of the first, both (N, 1, H, W)."""
        x = pixels_first(x)
        first = self.first(x)
        return {"logits": self.second(torch.cat([x, first], 1)), "aux": first}

    def backbone_modules(self) -> tuple[nn.Module, ...]:
        """The contracting paths of both stages."""
        return (self.first.encoder, self.second.encoder)
