"""Filter and fusion as torch modules, so that an exported detector takes plain frames: all of it convolutions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.systems.vessel.constants import ALPHA, BETA, KAPPA, SIGMAS, C
from fieldsight.systems.vessel.filters import FAINT, PERCENTILE, Polarity
from fieldsight.systems.vessel.fusing import HUE, RAMP
from fieldsight.systems.vessel.hessian import check_sigmas, kernel, reach

#: Fusions that are arithmetic of a pixel; ``stack`` needs CLAHE, which no runtime has.
Exportable = Literal["raw", "vesselness", "ihs", "blend", "average", "substitute"]
EXPORTABLE: tuple[str, ...] = ("raw", "vesselness", "ihs", "blend", "average", "substitute")


class Frangi(nn.Module):
    """Frangi's measure at several scales; the same numbers as :func:`.filters.multiscale` to about 1e-5.

    Args:
        sigmas: scales in pixels, in any order.
        polarity: what vessels are.
        beta, c: see :func:`.filters.frangi`.

    Raises:
        ConfigError: an impossible scale.
    """

    def __init__(
        self, sigmas: tuple[float, ...] = SIGMAS, polarity: Polarity = "dark", beta: float = BETA, c: float = C
    ) -> None:
        super().__init__()
        self.sigmas = check_sigmas(sigmas)
        self.sign = 1.0 if polarity == "dark" else -1.0
        self.fall_b, self.fall_s = 1 / (2 * beta**2), 1 / (2 * c**2)
        for number, sigma in enumerate(self.sigmas):
            rows = torch.stack([torch.from_numpy(sigma**n * kernel(sigma, n)) for n in range(3)]).float()
            # one convolution along the row for three orders, then one down the column for what belongs to each
            self.register_buffer(f"along{number}", rows[:, None, None, :].clone(), persistent=False)
            self.register_buffer(f"down{number}", rows.flip(0)[:, None, :, None].clone(), persistent=False)

    @property
    def least(self) -> int:
        """The smallest side a frame may have: a frame can be mirrored once."""
        return reach(self.sigmas[-1]) + 1

    def forward(self, frames: Tensor) -> Tensor:
        """Vesselness of frames.

        Args:
            frames: ``(N, 1, H, W)`` grey levels, 0-255, sides of at least :attr:`least`.

        Returns:
            ``(N, 1, H, W)``, 0 to 1.

        Raises:
            DataError: frames that are too small.
        """
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # the older exporter
        if not tracing and min(frames.shape[-2:]) < self.least:
            raise DataError(
                f"Frames of {frames.shape[-1]} x {frames.shape[-2]} are too small for sigma {self.sigmas[-1]:g}: sides "
                f"of at least {self.least} pixels are needed. Enlarge them or leave out large scales."
            )
        best: Tensor | None = None
        for number in range(len(self.sigmas)):
            value = self._measure(*self._hessian(frames, number))
            best = value if best is None else torch.maximum(best, value)
        assert best is not None
        return best

    def _hessian(self, frames: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
        along, down = self.get_buffer(f"along{number}"), self.get_buffer(f"down{number}")
        radius = along.shape[-1] // 2
        wide = functional.pad(frames, (radius, radius, radius, radius), mode="reflect")
        bent = functional.conv2d(functional.conv2d(wide, along), down, groups=3)
        return bent[:, 2:], bent[:, 1:2], bent[:, :1]

    def _measure(self, xx: Tensor, xy: Tensor, yy: Tensor) -> Tensor:
        """Of dark ridges the eigenvalue that is larger in magnitude is positive: the mean of both is, too."""
        middle, apart = self.sign * (xx + yy) / 2, (xx - yy) / 2
        root = torch.sqrt(apart * apart + xy * xy)
        large, small = middle + root, middle - root
        ratio = small / large.clamp(min=1e-12)
        strength = self.fall_s * (large * large + small * small)
        value = torch.exp(-self.fall_b * ratio * ratio) * (1 - torch.exp(-strength))
        return torch.where(middle > 0, value, torch.zeros_like(value))


class Enhancer(nn.Module):
    """Frames to what a detector sees: vesselness, scaled, fused with the frame.

    Args:
        mode: ``raw`` (the frame three times), ``vesselness``, or a fusion; see :func:`.fusing.fuse`.
        filter: by default :class:`Frangi` with the paper's numbers.
        scaled: divide vesselness by its 99.5th percentile of each frame where that is not faint.
        kappa, alpha: see :func:`.fusing.fuse`.

    Raises:
        ConfigError: a mode that is not arithmetic of a pixel.
    """

    def __init__(
        self, mode: Exportable = "ihs", filter: Frangi | None = None, scaled: bool = True, kappa: float = KAPPA,
        alpha: float = ALPHA,
    ) -> None:  # fmt: skip
        super().__init__()
        if mode not in EXPORTABLE:
            raise ConfigError(unknown("mode", mode, EXPORTABLE))
        self.mode, self.scaled, self.kappa, self.alpha = mode, scaled, kappa, alpha
        self.filter = filter or Frangi()

    def forward(self, frames: Tensor) -> Tensor:
        """``(N, 1, H, W)`` grey levels 0-255 to ``(N, 3, H, W)`` whole grey levels 0-255."""
        if self.mode == "raw":
            return frames.expand(-1, 3, -1, -1)
        v = self.filter(frames)
        if self.scaled:
            v = _scaled(v)
        return torch.floor(self._fuse(frames, v).clamp(0, 255) + 0.5)

    def _fuse(self, frames: Tensor, v: Tensor) -> Tensor:
        if self.mode == "vesselness":
            return (255 * v).expand(-1, 3, -1, -1)
        if self.mode in ("blend", "average"):
            plain = (
                frames * (1 - self.kappa * v)
                if self.mode == "blend"
                else self.alpha * frames + (1 - self.alpha) * 255 * (1 - v)
            )
            return plain.expand(-1, 3, -1, -1)
        if self.mode == "ihs":
            i, s = frames * (1 - self.kappa * v), v
        else:
            i, s = frames, 1 - (1 - v) / (1 - (1 + RAMP) / 3 * v)
        return torch.cat([i * (1 + (2 - 3 * HUE) * s), i * (1 + (3 * HUE - 1) * s), i * (1 - s)], dim=1)


def _scaled(value: Tensor) -> Tensor:
    """Over the percentile of each frame, cut at 1; left alone where even that is faint. Linear between ranks."""
    flat = value.flatten(1)
    count = flat.shape[1]
    position = (count - 1) * PERCENTILE / 100
    low = int(position)
    most = torch.topk(flat, count - low, dim=1).values  # descending; the last one has rank ``low`` from below
    above = most[:, -2] if count - low > 1 else most[:, -1]
    top = (most[:, -1] + (position - low) * (above - most[:, -1]))[:, None, None, None]
    return torch.where(top > FAINT, (value / top.clamp(min=FAINT)).clamp(max=1), value)
