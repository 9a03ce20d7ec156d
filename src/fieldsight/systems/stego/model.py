"""The networks of section 2.3 and their readings: tensors in, tensors out.

Sub-bands are ``(N, 4, C, h, w)`` as :mod:`~fieldsight.systems.stego.wavelet` gives them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.systems.stego.wavelet import DWT, IDWT, WaveletName

#: Which two axes the kernels run over; see :func:`fold`.
Axes = Literal["spatial", "literal", "banded"]

#: What happens to a stego picture between hiding and revealing.
Way = Callable[[Tensor], Tensor]


class SameConv(nn.Module):
    """A convolution that keeps the size; an even kernel of 4 pads 1 before and 2 after, as TensorFlow and PyTorch do.

    The padding is explicit for even kernels, since an exporter wants it so.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        before, after = (kernel - 1) // 2, kernel // 2
        self.pad = (before, after, before, after)
        self.even = kernel % 2 == 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=0 if self.even else kernel // 2)
        nn.init.xavier_uniform_(self.conv.weight)  # Keras' default, Glorot and Bengio 2010
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        out: Tensor = self.conv(F.pad(x, self.pad) if self.even else x)
        return out


class MultiKernel(nn.Module):
    """Three branches of four convolutions, a 3x3, a 4x4 and a 5x5 one; then one of each over all branches.

    Gives ``3 * width`` channels.
    """

    def __init__(self, inputs: int, width: int, kernels: Sequence[int] = (3, 4, 5)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.ModuleList(SameConv(inputs if k == 0 else width, width, kernel) for k in range(4)) for kernel in kernels
        )
        self.finals = nn.ModuleList(SameConv(len(kernels) * width, width, kernel) for kernel in kernels)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, 3 * width, H, W)``."""
        found = []
        for branch in self.branches:
            y = x
            for layer in branch:  # type: ignore[attr-defined]
                y = F.relu(layer(y))
            found.append(y)
        joined = torch.cat(found, 1)
        return torch.cat([F.relu(final(joined)) for final in self.finals], 1)


class MultiKernelNet(nn.Module):
    """:class:`MultiKernel` and a linear 1x1 convolution: 766,203 weights for 6 inputs, 3 outputs and a width of 50.

    The last layer is linear although the paper draws none: half of all detail coefficients are negative.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 50, kernels: Sequence[int] = (3, 4, 5)) -> None:
        super().__init__()
        self.features = MultiKernel(inputs, width, kernels)
        self.out = SameConv(len(kernels) * width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        found: Tensor = self.out(self.features(x))
        return found


def fold(bands: Tensor, axes: Axes) -> Tensor:
    """Bring the two convolved axes last, ``(N, 4, C, h, w)`` to what the kernels see.

    ``spatial`` runs over rows and columns, each band by itself: ``(4N, C, h, w)``. ``literal`` runs over columns and
    bands, each row by itself, as Keras does with the paper's 5-D shapes: ``(N h, C, w, 4)``. ``banded`` takes all
    bands as channels: ``(N, 4C, h, w)``.
    """
    if axes == "spatial":
        return bands.flatten(0, 1)
    if axes == "banded":
        return bands.flatten(1, 2)
    return bands.permute(0, 3, 2, 4, 1).flatten(0, 1)


def unfold(x: Tensor, axes: Axes, batch: int) -> Tensor:
    """The inverse of :func:`fold`."""
    if axes == "spatial":
        return x.unflatten(0, (batch, 4))  # type: ignore[no-untyped-call]
    if axes == "banded":
        return x.unflatten(1, (4, x.shape[1] // 4))  # type: ignore[no-untyped-call]
    return x.unflatten(0, (batch, x.shape[0] // batch)).permute(0, 4, 2, 1, 3)  # type: ignore[no-untyped-call]


class HidingNet(nn.Module):
    """Cover and secret bands to stego bands (Fig. 3, left).

    Args:
        width: filters of each convolution; the paper has 50.
        axes: see :func:`fold`; ``banded`` has 24 inputs and 12 outputs.
        residual: predict the change to the cover instead, starting near none.
    """

    def __init__(self, width: int = 50, axes: Axes = "spatial", residual: bool = False) -> None:
        super().__init__()
        self.axes: Axes = axes
        self.residual = residual
        many = 4 if axes == "banded" else 1
        self.net = MultiKernelNet(6 * many, 3 * many, width)
        if residual:
            with torch.no_grad():
                self.net.out.conv.weight.mul_(0.01)

    def forward(self, cover: Tensor, secret: Tensor) -> Tensor:
        """Both ``(N, 4, 3, h, w)``; gives the same."""
        found = unfold(self.net(fold(torch.cat([cover, secret], 2), self.axes)), self.axes, cover.shape[0])
        return cover + found if self.residual else found


class RevealingNet(nn.Module):
    """Stego bands to secret bands (Fig. 3, right); nothing else is asked for.

    Args:
        width: filters of each convolution.
        axes: see :func:`fold`.
        inputs: 3, what the text says; 6 feeds the stego bands twice, which gives the paper's count of 1,532,406
            weights for both networks and adds nothing.
    """

    def __init__(self, width: int = 50, axes: Axes = "spatial", inputs: Literal[3, 6] = 3) -> None:
        super().__init__()
        self.axes: Axes = axes
        self.twice = inputs == 6
        many = 4 if axes == "banded" else 1
        self.net = MultiKernelNet(inputs * many, 3 * many, width)

    def forward(self, stego: Tensor) -> Tensor:
        """``(N, 4, 3, h, w)`` to the same."""
        given = torch.cat([stego, stego], 2) if self.twice else stego
        return unfold(self.net(fold(given, self.axes)), self.axes, stego.shape[0])


class Codec(nn.Module, ABC):
    """A pair of hiding and revealing networks around pixels ``(N, 3, H, W)`` in 0-1."""

    @abstractmethod
    def hide(self, cover: Tensor, secret: Tensor) -> Tensor:
        """Cover and secret to stego pixels, neither clipped nor rounded."""

    @abstractmethod
    def reveal(self, stego: Tensor) -> Tensor:
        """Stego pixels to secret pixels; nothing else is known."""

    def finish(self, stego: Tensor, cover: Tensor, top: float = 255.0) -> Tensor:
        """Stego pixels as a file holds them: multiples of ``1 / top`` in 0-1. Plain rounding here."""
        return torch.round(stego.clamp(0, 1) * top) / top

    def forward(
        self, cover: Tensor, secret: Tensor, way: Way | None = None, finished: bool = False
    ) -> dict[str, Tensor]:
        """Both in a row: ``stego``, and ``revealed`` from what becomes of it on its way, and as a file, where asked
        for; gradients pass through the rounding as if there were none."""
        stego = self.hide(cover, secret)
        return {"stego": stego, "revealed": self.reveal(self._sent(stego, cover, way, finished))}

    def _sent(self, stego: Tensor, cover: Tensor, way: Way | None, finished: bool) -> Tensor:
        passed = stego if way is None else way(stego)
        return passed + (self.finish(passed, cover) - passed).detach() if finished else passed


class WaveletFusion(Codec):
    """DeepWaveletFusionToo: transform, hide, transform back; and the way back.

    Args:
        hiding, revealing: the networks.
        wavelet: of the transform.
        pixels: whether :meth:`forward` gives pixels; else it gives bands, and no inverse transform is computed.
    """

    def __init__(
        self, hiding: HidingNet, revealing: RevealingNet, wavelet: WaveletName = "haar", pixels: bool = True
    ) -> None:
        super().__init__()
        self.hiding, self.revealing, self.pixels = hiding, revealing, pixels
        self.dwt, self.idwt = DWT(wavelet), IDWT(wavelet)

    def hide(self, cover: Tensor, secret: Tensor) -> Tensor:
        """Pixels ``(N, 3, H, W)`` in 0-1 to stego pixels."""
        found: Tensor = self.idwt(self.hiding(self.dwt(cover), self.dwt(secret)))
        return found

    def reveal(self, stego: Tensor) -> Tensor:
        """Stego pixels to secret pixels."""
        found: Tensor = self.idwt(self.revealing(self.dwt(stego)))
        return found

    def forward(
        self, cover: Tensor, secret: Tensor, way: Way | None = None, finished: bool = False
    ) -> dict[str, Tensor]:
        """As :meth:`Codec.forward`; without ``pixels`` the bands of cover, secret, stego and revealed secret."""
        if self.pixels:
            return super().forward(cover, secret, way, finished)
        c, s = self.dwt(cover), self.dwt(secret)
        fused = self.hiding(c, s)
        changed = way is not None or finished
        sent = self.dwt(self._sent(self.idwt(fused), cover, way, finished)) if changed else fused
        return {"cover": c, "secret": s, "stego": fused, "revealed": self.revealing(sent)}


class Baluja(Codec):
    """Preparation, hiding and revealing in pixels (Baluja, NIPS 2017), with the same multi-kernel blocks."""

    def __init__(self, width: int = 50) -> None:
        super().__init__()
        self.prepare = MultiKernel(3, width)
        self.hiding = MultiKernelNet(3 + 3 * width, 3, width)
        self.revealing = MultiKernelNet(3, 3, width)

    def hide(self, cover: Tensor, secret: Tensor) -> Tensor:
        """Pixels ``(N, 3, H, W)`` in 0-1 to stego pixels."""
        found: Tensor = self.hiding(torch.cat([cover, self.prepare(secret)], 1))
        return found

    def reveal(self, stego: Tensor) -> Tensor:
        """Stego pixels to secret pixels."""
        found: Tensor = self.revealing(stego)
        return found
