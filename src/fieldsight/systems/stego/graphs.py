"""What is exported: both networks in a row, or one alone, as modules from tensors to tensors."""

from __future__ import annotations

from torch import Tensor, nn

from fieldsight.systems.stego.model import Codec


class Both(nn.Module):
    """Hiding and revealing in a row, for exports: no rounding between, so that runtimes can be compared."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, cover: Tensor, secret: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels ``(N, 3, H, W)`` in 0-1 to stego and revealed pixels."""
        found = self.codec(cover, secret)
        return found["stego"], found["revealed"]


class Hiding(nn.Module):
    """Hiding alone, for exports."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, cover: Tensor, secret: Tensor) -> Tensor:
        """Pixels ``(N, 3, H, W)`` in 0-1 to stego pixels."""
        return self.codec.hide(cover, secret)


class Revealing(nn.Module):
    """Revealing alone, for exports."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, stego: Tensor) -> Tensor:
        """Stego pixels ``(N, 3, H, W)`` in 0-1 to revealed pixels."""
        return self.codec.reveal(stego)
