"""The invertible network: exact inverses, the linear start, the fit into a file's range."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fieldsight.engine.seed import rng_for
from fieldsight.systems.stego.invertible import ROUNDING, Coupling, InvertibleNet, Swap, fit_basis, swap_gains
from fieldsight.systems.stego.textures import draw
from fieldsight.systems.stego.wavelet import packet


def pictures(count: int, size: int = 64, seed: int = 0) -> torch.Tensor:
    kinds = ("cloud", "leaves", "objects", "grain")
    drawn = [draw(kinds[n % 4], size, rng_for(seed, "inn", n)) for n in range(count)]
    return torch.from_numpy(np.stack(drawn).transpose(0, 3, 1, 2).astype(np.float32) / 255)


def shaken(net: torch.nn.Module, by: float = 0.02) -> torch.nn.Module:
    """Weights as after a training: not near identity any more."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += by * torch.randn_like(parameter)
    return net


def started(balance: float = 1.0, sent: int = 96, settling: int = 4) -> InvertibleNet:
    torch.manual_seed(0)
    net = InvertibleNet(levels=3, width=4, before=0, after=1, sent=sent, settling=settling, balance=balance)
    net.start(fit_basis(list(pictures(24)), 3))
    return net.eval()


# ------------------------------------------------------------------------------------------ inverses


def test_couplings_and_swap_are_undone() -> None:
    torch.manual_seed(0)
    c, s = torch.randn(2, 2, 12, 6, 8)
    for part in (shaken(Coupling(12, 5), 0.3), shaken(Swap(12, 5), 0.3)):
        forward = part(c, s)
        assert not torch.allclose(forward[0], c)
        for found, meant in zip(part.inverse(*forward), (c, s), strict=True):  # type: ignore[operator]
            torch.testing.assert_close(found, meant, atol=2e-5, rtol=0)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_with_its_residual_everything_comes_back(levels: int) -> None:
    net = InvertibleNet(levels, width=4, before=1, after=2, sent=3 * 4**levels // 2, settling=0)
    net.start(fit_basis(list(pictures(12, 32)), levels))
    shaken(net, 0.01)
    cover, secret = pictures(2, 32, seed=5).unsqueeze(1)
    with torch.inference_mode():
        stego, residual = net.couple(cover, secret)
        found, back = net.uncouple(stego, residual)
    torch.testing.assert_close(found, secret, atol=2e-3, rtol=0)  # gains of a hundredth magnify float32's rounding
    torch.testing.assert_close(back, cover, atol=1e-4, rtol=0)
    assert (net.reveal(stego) - secret).abs().max() > 1e-2  # the residual was worth something


# -------------------------------------------------------------------------------------- the linear start


def test_principal_components_are_a_rotation_that_sorts_by_strength() -> None:
    basis = fit_basis(list(pictures(24)), 2)
    eye = torch.eye(48)
    torch.testing.assert_close(basis.rotation @ basis.rotation.T, eye, atol=1e-5, rtol=0)
    assert (basis.variance[:-1] >= basis.variance[1:]).all()
    bands = packet(pictures(24), 2).permute(1, 0, 2, 3).flatten(1)
    components = basis.rotation @ (bands - basis.mean[:, None])
    torch.testing.assert_close(components.var(1, unbiased=False), basis.variance, rtol=1e-3, atol=1e-6)


def test_the_gain_of_a_component_is_the_best_one() -> None:
    variance = torch.tensor([4.0, 1.0, 0.25, 0.01, 1e-4, 1e-5])
    for beta in (0.5, 2.0):
        count, gains = swap_gains(variance, beta)
        assert 1 <= count <= 3

        def cost(gain: float, v: float, beta: float = beta) -> float:
            return beta * gain**2 * v + ROUNDING**2 / gain**2

        for v, gain in zip(variance.tolist(), gains.tolist(), strict=False):
            assert cost(gain, v) < min(cost(1.1 * gain, v), cost(0.9 * gain, v))
    assert pytest.approx(1 / 255 / math.sqrt(12)) == ROUNDING


def test_the_untrained_network_already_hides_and_beta_moves_it() -> None:
    """The linear start alone; this is the control of what training adds."""
    cover, secret = pictures(8, seed=1), pictures(8, seed=2).flip(0)
    found = []
    for beta in (0.25, 1.0, 4.0):
        with torch.inference_mode():
            net = started(beta)
            stego = net.finish(net.hide(cover, secret), cover)
            errors = [float(((a - b) ** 2).mean()) for a, b in ((stego, cover), (net.reveal(stego), secret))]
        found.append([-10 * math.log10(e) for e in errors])
    stego_db, secret_db = zip(*found, strict=True)
    assert stego_db[0] < stego_db[1] < stego_db[2]
    assert secret_db[0] > secret_db[2]
    assert stego_db[1] > 30
    assert secret_db[1] > 27


def test_white_and_black_covers_keep_the_secret() -> None:
    """Without settling, clipping takes the secret out of saturated places."""
    secret = pictures(4, seed=3)
    cover = pictures(4, seed=4)
    cover[:2, :, :, :40] = 1.0
    cover[2:, :, 24:] = 0.0
    added = []
    for rounds in (0, 4):
        net = started(settling=rounds)
        with torch.inference_mode():
            raw = net.hide(cover, secret)
            if not rounds:
                unclipped = net.reveal(raw)
            added.append(float(((net.reveal(net.finish(raw, cover)) - unclipped) ** 2).mean()))
            if rounds:
                assert float((raw - raw.clamp(0, 1)).abs().mean()) < 2e-3
    assert added[1] < 0.75 * added[0]


def test_blocks_are_independent_at_the_start() -> None:
    """Nothing but the couplings joins 8 x 8 blocks: what a halo must cover is their reach."""
    net = started()
    for coupling in net.after:
        for parameter in coupling.parameters():
            torch.nn.init.zeros_(parameter)
    cover, secret = pictures(2, seed=6)[:, None]
    changed = secret.clone()
    changed[..., 16:24, 16:24] = 0.5
    with torch.inference_mode():
        gap = (net.hide(cover, changed) - net.hide(cover, secret)).abs().amax((0, 1))
    gap = gap.clone()
    gap[16:24, 16:24] = 0
    assert float(gap.max()) < 1e-5


def test_the_reach_of_couplings_is_the_halo() -> None:
    from fieldsight.systems.stego.config import PRESETS
    from fieldsight.systems.stego.predict import StegoModel

    model = StegoModel.create(PRESETS["tiny"])
    shaken(model.networks["net"], 0.05)
    halo, size = model.halo, 144
    assert halo == 48  # two couplings of two subnets of three 3x3 convolutions, in blocks of 4 pixels
    cover, secret = torch.rand(2, 1, 3, size, size)
    changed = secret.clone()
    changed[..., 68:72, 68:72] = 0.0
    with torch.inference_mode():
        codec = model.codec()
        hidden = (codec.hide(cover, changed) - codec.hide(cover, secret)).abs().amax((0, 1))
        spot = cover.clone()
        spot[..., 68:72, 68:72] = 0.0
        shown = (codec.reveal(spot) - codec.reveal(cover)).abs().amax((0, 1))
    for gap in (hidden, shown):
        reached = (gap > 0).nonzero()
        assert int(reached.min()) >= 68 - halo
        assert int(reached.max()) < 72 + halo


# ------------------------------------------------------------------------------------------------ rounding


def test_rounding_spares_the_secret_at_no_cost_to_the_cover() -> None:
    cover, secret = pictures(6, seed=8), pictures(6, seed=9).flip(0)
    net = started()
    with torch.inference_mode():
        raw = net.hide(cover, secret)
        plain = torch.round(raw.clamp(0, 1) * 255) / 255
        ours = net.finish(raw, cover)
        whole = net.reveal(raw)
        added = [float(((net.reveal(x) - whole) ** 2).mean()) for x in (plain, ours)]
        seen = [float(((x - cover) ** 2).mean()) for x in (plain, ours)]
    assert torch.equal(ours * 255, torch.round(ours * 255))
    assert float(ours.min()) >= 0
    assert float(ours.max()) <= 1
    assert added[1] < 0.7 * added[0]
    assert seen[1] < 1.02 * seen[0]
    fine = net.finish(raw, cover, 65535.0)
    assert torch.equal(torch.round(fine * 65535), torch.round(raw.clamp(0, 1) * 65535))


def test_rounding_is_never_worse_than_plain_by_its_own_measure() -> None:
    from fieldsight.systems.stego.rounding import round_blocks

    torch.manual_seed(4)
    rows = torch.randn(20, 3 * 16)
    target = torch.rand(2, 3, 8, 12)
    cover = (target + 0.002 * torch.randn_like(target)).clamp(0, 1)

    def cost(x: torch.Tensor) -> float:
        gap = (x - target).reshape(2, 3, 2, 4, 3, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 48) * 255
        return float((gap @ rows.T).pow(2).sum() + 0.5 * ((x - cover) * 255).pow(2).sum())

    found = [cost(round_blocks(target, cover, rows, 0.5, passes=p)) for p in (0, 1, 4, 50)]
    assert found[0] == pytest.approx(cost(torch.round(target * 255) / 255), rel=1e-4)
    assert found[1] < 0.5 * found[0]
    assert found[1] >= found[2] >= found[3] - 1e-2
    same = round_blocks(target, cover, rows, 0.5)
    assert torch.equal(same, round_blocks(target.clone(), cover, rows, 0.5))
    alone = round_blocks(target[:1, :, :4, 4:8], cover[:1, :, :4, 4:8], rows, 0.5)
    assert torch.equal(same[:1, :, :4, 4:8], alone)  # blocks are independent: tiles make no seams
