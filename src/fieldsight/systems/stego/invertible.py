"""An invertible wavelet coupling network: cover and secret in, stego and a residual out; the residual is thrown away.

As in HiNet (Jing et al., ICCV 2021) and DeepMIH (Guan et al., TPAMI 2022), hiding runs affine couplings forward and
revealing runs the same couplings backward, with a constant in the residual's place. Ours differs in three ways that
matter where training is short:

- a full Haar packet of ``levels`` (8 x 8 blocks at three levels) instead of one transform: the couplings work on an
  eighth of the height and width, so that a weight costs 64 times less;
- a fixed rotation of the packet into the principal components of training pictures (Karhunen-Loeve transform);
- a *swap* between the couplings: the cover's weakest components make room for the secret's strongest ones, each
  scaled by :func:`swap_gains`. The untrained network already hides, linearly; the couplings start
  as good as identity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.systems.stego.model import Codec
from fieldsight.systems.stego.rounding import round_blocks
from fieldsight.systems.stego.wavelet import packet, packet_filters, unpacket

#: Largest log-scale of an affine coupling; HiNet clamps to 2.
CLAMP = 1.0

#: What a unit of a subnet's output is worth, in sizes of the component it changes.
STEP = 0.1

#: Smallest size of a component that a subnet is told, in 0-1: weaker ones would be blown up.
LEAST = 0.01

#: Largest size that a subnet's output is measured in: a small part of a strong component is a visible error.
MOST = 0.03

#: Standard deviation of rounding to 8 bits, in 0-1: a step of 1/255 over sqrt(12).
ROUNDING = 1.0 / (255.0 * math.sqrt(12.0))


class Subnet(nn.Module):
    """Three convolutions; the last one starts near zero, so that a coupling starts as good as identity."""

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        self.c = nn.Conv2d(2 * width, outputs, 3, padding=1)
        nn.init.normal_(self.c.weight, std=1e-4)  # not zero: the layers before it would get no gradient at first
        assert self.c.bias is not None
        nn.init.zeros_(self.c.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, h, w)`` to ``(N, outputs, h, w)``."""
        one = F.leaky_relu(self.a(x), 0.2)
        two = F.leaky_relu(self.b(one), 0.2)
        out: Tensor = self.c(torch.cat([one, two], 1))
        return out


class Coupling(nn.Module):
    """``c <- c + phi(s)``, then ``s <- s exp(rho(c)) + eta(c)``: invertible whatever the subnets are.

    Components differ in strength by a factor of a thousand: the subnets see them divided by ``size_c`` and
    ``size_s``, and what they give is multiplied by a :data:`STEP` of these.
    """

    size_c: Tensor
    size_s: Tensor

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.phi = Subnet(channels, width, channels)
        self.rho_eta = Subnet(channels, width, 2 * channels)
        self.register_buffer("size_c", torch.ones(channels, 1, 1))
        self.register_buffer("size_s", torch.ones(channels, 1, 1))

    def forward(self, c: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Both ``(N, channels, h, w)``."""
        c = c + self._change(s)
        scale, shift = self._affine(c)
        return c, s * torch.exp(scale) + shift

    def inverse(self, c: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Undo :meth:`forward`."""
        scale, shift = self._affine(c)
        s = (s - shift) * torch.exp(-scale)
        return c - self._change(s), s

    def _change(self, s: Tensor) -> Tensor:
        found: Tensor = self.phi(s / self.size_s)
        return STEP * self.size_c.clamp_max(MOST) * found

    def _affine(self, c: Tensor) -> tuple[Tensor, Tensor]:
        rho, eta = self.rho_eta(c / self.size_c).chunk(2, 1)
        return CLAMP * torch.tanh(STEP * rho), STEP * self.size_s.clamp_max(MOST) * eta


@dataclass(frozen=True)
class Basis:
    """Principal components of packets of training pictures.

    Attributes:
        mean: ``(K,)``.
        rotation: ``(K, K)``, one component a row, the strongest first.
        variance: ``(K,)``, descending.
    """

    mean: Tensor
    rotation: Tensor
    variance: Tensor


def fit_basis(pictures: list[Tensor], levels: int) -> Basis:
    """Principal components of the packets of pictures ``(3, H, W)`` in 0-1, heights and widths of whole blocks."""
    size = 3 * 4**levels
    total, square, count = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64), 0
    for picture in pictures:
        rows = packet(picture[None], levels)[0].flatten(1).T.to(torch.float64)
        total += rows.sum(0)
        square += rows.T @ rows
        count += len(rows)
    mean = total / count
    values, vectors = torch.linalg.eigh(square / count - torch.outer(mean, mean))
    order = torch.argsort(values, descending=True)
    rotation = vectors.T[order]
    # the sign of an eigenvector is the solver's; ours is fixed, so that every machine starts alike
    sign = torch.sign(rotation.gather(1, rotation.abs().argmax(1, keepdim=True)))
    return Basis(mean.float(), (rotation * sign).float(), values[order].clamp_min(0).float())


def swap_gains(variance: Tensor, beta: float, noise: float = ROUNDING) -> tuple[int, Tensor]:
    """How many components to send, and how strongly, for the least ``E|s - s'|^2 + beta E|c - c'|^2``.

    Sending the secret's component i with gain a costs the cover ``a^2 v_i`` and what it had there, and gives the
    secret back up to rounding noise, ``noise^2 / a^2``; the best gain is ``(noise^2 / (beta v_i))^(1/4)``.

    Returns:
        The number k of components, and ``(k,)`` gains.
    """
    v = variance.to(torch.float64).clamp_min(1e-12)
    gains = (noise**2 / (beta * v)) ** 0.25
    sent = beta * gains**2 * v + noise**2 / gains**2
    lost = v
    room = beta * v.flip(0)
    # cost of sending the k strongest in the room of the k weakest; at most half, so that both sets differ
    half = len(v) // 2
    costs = torch.cumsum(sent + room - lost, 0)[:half]
    k = int(torch.argmin(costs)) + 1
    return k, gains[:k].float()


class Swap(nn.Module):
    """The secret's k strongest components take the place of the cover's k weakest ones; linear and invertible.

    Of a carrier, ``stego = keep * c + gain * s`` and the residual is ``c``; elsewhere the stego is ``c`` and the
    residual ``s``.
    """

    def __init__(self, channels: int, sent: int) -> None:
        super().__init__()
        self.sent = sent
        self.log_gain = nn.Parameter(torch.zeros(sent))
        self.keep = nn.Parameter(torch.zeros(sent))

    def forward(self, c: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Both ``(N, K, h, w)`` in components."""
        k = self.sent
        own, weak = c[:, :-k], c[:, -k:]
        gain, keep = torch.exp(self.log_gain)[:, None, None], self.keep[:, None, None]
        return torch.cat([own, keep * weak + gain * s[:, :k]], 1), torch.cat([weak, s[:, k:]], 1)

    def inverse(self, c: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Undo :meth:`forward`."""
        k = self.sent
        gain, keep = torch.exp(self.log_gain)[:, None, None], self.keep[:, None, None]
        weak = r[:, :k]
        strong = (c[:, -k:] - keep * weak) / gain
        return torch.cat([c[:, :-k], weak], 1), torch.cat([strong, r[:, k:]], 1)


class InvertibleNet(Codec):
    """Couplings, swap, couplings on the components of Haar packets.

    Args:
        levels: of the packet; height and width must be multiples of ``2**levels``.
        width: channels inside the subnets.
        before, after: couplings before and after the swap.
        sent: components that are swapped; see :func:`swap_gains`.
        settling: rounds of :meth:`settle`.
        balance: weight of the cover's error in :meth:`start` and :meth:`finish`.
    """

    mean: Tensor
    rotation: Tensor

    def __init__(
        self,
        levels: int = 3,
        width: int = 48,
        before: int = 1,
        after: int = 2,
        sent: int = 48,
        settling: int = 4,
        balance: float = 1.0,
    ) -> None:
        super().__init__()
        channels = 3 * 4**levels
        self.levels, self.channels, self.settling, self.balance = levels, channels, settling, balance
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("rotation", torch.eye(channels))
        self.before = nn.ModuleList(Coupling(channels, width) for _ in range(before))
        self.swap = Swap(channels, sent)
        self.after = nn.ModuleList(Coupling(channels, width) for _ in range(after))

    def start(self, basis: Basis) -> None:
        """Take over the components of training pictures and the best linear gains for them.

        The number of swapped components stays what the network was built with.
        """
        with torch.no_grad():
            self.mean.copy_(basis.mean)
            self.rotation.copy_(basis.rotation)
            k = self.swap.sent
            sent = basis.variance.clamp_min(1e-10)[:k]
            self.swap.log_gain.copy_(0.25 * torch.log(ROUNDING**2 / (self.balance * sent)))
            own = basis.variance.sqrt()
            carried = self.swap.log_gain.exp() * sent.sqrt()
            swapped = torch.cat([own[:-k], carried]), torch.cat([own[-k:], own[k:]])
            for couplings, sizes in ((self.before, (own, own)), (self.after, swapped)):
                for coupling in couplings:
                    assert isinstance(coupling, Coupling)
                    coupling.size_c.copy_(sizes[0].clamp_min(LEAST)[:, None, None])
                    coupling.size_s.copy_(sizes[1].clamp_min(LEAST)[:, None, None])

    def hide(self, cover: Tensor, secret: Tensor) -> Tensor:
        """Pixels ``(N, 3, H, W)`` in 0-1 to stego pixels."""
        return self.couple(cover, secret)[0]

    def reveal(self, stego: Tensor) -> Tensor:
        """Stego pixels to secret pixels, with zeros in the residual's place."""
        return self._pixels(self._undo(stego)[0])

    def couple(self, cover: Tensor, secret: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels ``(N, 3, H, W)`` in 0-1 to stego pixels, not rounded, and the residual in components."""
        c, s = self._components(cover), self._components(secret)
        for coupling in self.before:
            c, s = coupling(c, s)
        c, s = self.swap(c, s)
        for coupling in self.after:
            c, s = coupling(c, s)
        return self.settle(c), s

    def finish(self, stego: Tensor, cover: Tensor, top: float = 255.0) -> Tensor:
        """Stego pixels as a file holds them, rounded so that the carriers suffer least; see
        :mod:`~fieldsight.systems.stego.rounding`. 16 bits are fine enough for plain rounding."""
        if top > 255:
            return super().finish(stego, cover, top)
        found = round_blocks(stego, cover, self._rows(), self.balance, top)
        return found.to(stego.device)

    def _rows(self) -> Tensor:
        """How an error of a block's pixels shows in the secret, ``(sent, 3 b b)``: carriers over their gains."""
        with torch.no_grad():
            carriers = (self.rotation @ self._packets())[-self.swap.sent :]
            return carriers / torch.exp(self.swap.log_gain)[:, None]

    def settle(self, c: Tensor) -> Tensor:
        """Components ``(N, K, h, w)`` of a stego to pixels that a file can hold, with the carriers as they should be.

        White skies and black shadows leave no room for what is added to them: clipping would take it away again. So
        the two demands, pixels in 0-1 and carriers unchanged, are met in turn (projections onto convex sets); the
        components that carry nothing give way. The last round ends with the carriers; what still lies outside 0-1 is
        little. What it is worth is in the study ``shipped``.
        """
        k = self.swap.sent
        carriers = c[:, -k:]
        pixels = self._pixels(c)
        for _ in range(self.settling):
            own = self._components(pixels.clamp(0, 1))
            pixels = self._pixels(torch.cat([own[:, :-k], carriers], 1))
        return pixels

    def uncouple(self, stego: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo :meth:`couple`: secret and cover pixels; without the residual with zeros in its place."""
        s, c = self._undo(stego, residual)
        return self._pixels(s), self._pixels(c)

    def _undo(self, stego: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Components of secret and cover."""
        c = self._components(stego)
        s = torch.zeros_like(c) if residual is None else residual
        for coupling in reversed(self.after):
            c, s = coupling.inverse(c, s)  # type: ignore[operator]
        c, s = self.swap.inverse(c, s)
        for coupling in reversed(self.before):
            c, s = coupling.inverse(c, s)  # type: ignore[operator]
        return s, c

    def _components(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():  # exported, packet and rotation are one convolution: half the time
            atoms = (self.rotation @ self._packets()).reshape(self.channels, 3, *[2**self.levels] * 2)
            return F.conv2d(x, atoms, -(self.rotation @ self.mean), stride=2**self.levels)
        bands = packet(x, self.levels) - self.mean[:, None, None]
        return torch.einsum("kc,nchw->nkhw", self.rotation, bands)

    def _pixels(self, components: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            back = (self.rotation @ self._packets()).T
            blocks = F.conv2d(components, back[:, :, None, None], self._packets().T @ self.mean)
            return F.pixel_shuffle(blocks, 2**self.levels)
        bands = torch.einsum("kc,nkhw->nchw", self.rotation, components) + self.mean[:, None, None]
        return unpacket(bands, self.levels)

    def _packets(self) -> Tensor:
        """What a packet's band sees of a block's pixels, ``(K, 3 b b)``: orthogonal."""
        return torch.from_numpy(packet_filters(self.levels, 3)).to(self.rotation).flatten(1)
