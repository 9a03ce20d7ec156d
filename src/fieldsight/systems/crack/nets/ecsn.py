"""E2, the enhanced crack segmentation network: U-Net on ConvNeXt, attention in several dimensions on the skips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fieldsight.nn.backbones import Encoder
from fieldsight.systems.crack.nets.blocks import Expert, conv_bn, double_conv, init_kaiming, pixels_first, up
from fieldsight.systems.crack.nets.context import Windowed, cells_of, window_max, window_mean


class TripletGate(nn.Module):
    """The gate of triplet attention (Misra et al., WACV 2021): maximum and mean, 7x7, batch normalisation, sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv_bn(2, 1, 7)

    def forward(self, highest: Tensor, mean: Tensor) -> Tensor:
        """Two planes ``(N, 1, A, B)`` to one of weights 0-1."""
        return self.conv(torch.cat([highest, mean], 1)).sigmoid()


class MDAE(Windowed):
    """Multiple dimension attention enhancement of a skip: triplet attention and a depthwise edge branch, summed.

    The three gates look along the channels, the rows and the columns. Rows and columns are pooled over a window in
    evaluation, which gives every row its own (channel, column) plane.

    Args:
        channels: of the map.
        cells: side of the window.
    """

    def __init__(self, channels: int, cells: int | None) -> None:
        super().__init__(cells)
        self.plane = TripletGate()
        self.rows = TripletGate()
        self.columns = TripletGate()
        self.edge = conv_bn(channels, channels, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input, ``(N, C, H, W)``."""
        weights = self.plane(x.amax(1, keepdim=True), x.mean(1, keepdim=True))
        weights = weights + self._pooled(x, self.rows)
        turned = self._pooled(x.transpose(2, 3), self.columns)
        return x * ((weights + turned.transpose(2, 3)) / 3.0) + self.edge(x)

    def _pooled(self, x: Tensor, gate: nn.Module) -> Tensor:
        """Weights ``(N, C, H or 1, W)`` from the maximum and the mean along axis 2."""
        planes = [pool(x, self.reach, (2,)).transpose(1, 2) for pool in (window_max, window_mean)]
        n, h, c, w = planes[0].shape
        weights: Tensor = gate(*(plane.reshape(n * h, 1, c, w) for plane in planes))
        return weights.reshape(n, h, c, w).transpose(1, 2)


class ECSN(Expert):
    """E2: ConvNeXt encoder, U-Net decoder with bilinear enlarging, :class:`MDAE` on every skip.

    88,112,053 parameters with ConvNeXt-S and the default widths.

    Args:
        encoder: four stages.
        bottom: channels of the double convolution on the deepest map.
        widths: channels of the decoder's levels, from the deepest up to full size; levels without a skip come last.
        window: side of the training crops in pixels, None for global statistics.
    """

    def __init__(
        self,
        encoder: Encoder,
        bottom: int = 1024,
        widths: Sequence[int] = (800, 384, 192, 96, 48),
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        deep, *skips = encoder.widths[::-1]
        self.bottom = double_conv(deep, bottom)
        strides = encoder.strides[-2::-1]
        self.attention = nn.ModuleList(MDAE(c, cells_of(window, s)) for c, s in zip(skips, strides, strict=True))
        joined = [*skips, *[0] * (len(widths) - len(skips))]
        self.decoder = nn.ModuleList(
            double_conv(i + skip, o) for i, skip, o in zip((bottom, *widths[:-1]), joined, widths, strict=True)
        )
        self.out = nn.Conv2d(widths[-1], 1, 1)
        init_kaiming([self.bottom, self.decoder])

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """``logits`` (N, 1, H, W)."""
        *skips, x = self.encoder(pixels_first(x))
        x = self.bottom(x)
        for level, block in enumerate(self.decoder):
            x = up(x, 2)
            if level < len(skips):
                x = torch.cat([x, self.attention[level](skips[-1 - level])], 1)
            x = block(x)
        return {"logits": self.out(x)}

    def backbone_modules(self) -> tuple[nn.Module, ...]:
        """The ConvNeXt encoder."""
        return (self.encoder,)
