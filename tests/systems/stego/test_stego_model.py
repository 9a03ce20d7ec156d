"""The paper's networks: parameters, shapes, padding, receptive fields, gradients (Acceptance 1, 4, 10, 11, 15)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fieldsight.systems.stego.config import PRESETS
from fieldsight.systems.stego.model import (
    Baluja,
    HidingNet,
    RevealingNet,
    SameConv,
    WaveletFusion,
    fold,
    unfold,
)
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.wavelet import bands_first, bands_last


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# ---------------------------------------------------------------------------------- Acceptance 1: parameters


def test_the_numbers_of_parameters() -> None:
    hide, reveal, twice = HidingNet(), RevealingNet(), RevealingNet(inputs=6)
    assert (count(hide), count(reveal), count(twice)) == (766_203, 758_703, 766_203)
    assert count(hide) + count(reveal) == 1_524_906
    assert count(hide) + count(twice) == 1_532_406
    assert pytest.approx(5.846, abs=5e-4) == 1_532_406 * 4 / 2**20
    for width, total in ((16, 161_574), (8, 42_390)):
        assert count(HidingNet(width)) + count(RevealingNet(width)) == total
    assert (count(HidingNet(axes="banded")), count(RevealingNet(axes="banded"))) == (812_562, 782_562)
    for axes in ("spatial", "literal"):
        assert count(HidingNet(axes=axes)) == 766_203


def test_layers_cost_what_the_table_says() -> None:
    features = HidingNet().net.features
    for branch, first, later, final in zip(
        range(3), (2_750, 4_850, 7_550), (22_550, 40_050, 62_550), (67_550, 120_050, 187_550), strict=True
    ):
        layers = features.branches[branch]
        assert [count(layer) for layer in layers] == [first, later, later, later]  # type: ignore[attr-defined]
        assert count(features.finals[branch]) == final
    assert count(HidingNet().net.out) == 453


def test_the_paper_preset_is_the_whole_network() -> None:
    model = StegoModel.create(PRESETS["paper"])
    assert count(model.codec()) == 1_524_906
    stated = StegoModel.create(PRESETS["paper"].replace(net={"reveal_inputs": "6"}))
    assert count(stated.codec()) == 1_532_406


def test_both_networks_cost_99_8_gmac_at_256() -> None:
    from fieldsight.profile import count_module

    graph = StegoModel.create(PRESETS["paper"]).graph()
    counts = count_module(graph, torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
    assert counts.macs * 256 / 1e9 == pytest.approx(99.8, abs=0.15)  # 256 times the pixels


# -------------------------------------------------------------------------------------- Acceptance 4: shapes


@pytest.mark.parametrize("axes", ["spatial", "literal", "banded"])
@pytest.mark.parametrize("size", [(16, 16), (18, 34), (32, 20)])
def test_any_even_size_keeps_its_shape(axes: Any, size: tuple[int, int]) -> None:
    codec = WaveletFusion(HidingNet(4, axes), RevealingNet(4, axes))
    cover, secret = torch.rand(2, 2, 3, *size)
    stego = codec.hide(cover, secret)
    assert stego.shape == cover.shape
    assert codec.reveal(stego).shape == cover.shape


def test_the_papers_own_shapes() -> None:
    hide, reveal = HidingNet(4), RevealingNet(4)
    paper = torch.rand(2, 8, 8, 4, 6)  # (B, H/2, W/2, 4, 6): cover and secret on the last axis
    cover, secret = (bands_first(part) for part in (paper[..., :3], paper[..., 3:]))
    fused = hide(cover, secret)
    assert bands_last(fused).shape == (2, 8, 8, 4, 3)
    assert bands_last(reveal(fused)).shape == (2, 8, 8, 4, 3)
    assert torch.equal(bands_first(bands_last(fused)), fused)


@pytest.mark.parametrize("axes", ["spatial", "literal", "banded"])
def test_folding_is_undone(axes: Any) -> None:
    bands = torch.rand(3, 4, 3, 6, 10)
    assert torch.equal(unfold(fold(bands, axes), axes, 3), bands)


# ---------------------------------------------------------------------------------- padding and receptive field


def test_an_even_kernel_pads_one_before_and_two_after() -> None:
    layer = SameConv(1, 1, 4)
    nn.init.ones_(layer.conv.weight)
    picture = torch.zeros(1, 1, 16, 16)
    picture[0, 0, 8, 8] = 1
    reached = layer(picture)[0, 0].nonzero()
    # an impulse at i reaches i - 2 to i + 1: output i sees i - 1 to i + 2
    assert (int(reached.min()), int(reached.max())) == (6, 9)
    same = nn.Conv2d(1, 1, 4, padding="same")
    same.load_state_dict(layer.conv.state_dict())
    torch.testing.assert_close(layer(picture), same(picture))


def touched(net: nn.Module, axes: str) -> torch.Tensor:
    """Inputs (band, row, column) on which one output coefficient of band 1, row 14, column 13 depends."""
    bands = torch.rand(1, 4, 3, 28, 27, requires_grad=True)
    net(bands)[0, 1, :, 14, 13].sum().backward()
    assert bands.grad is not None
    return (bands.grad[0] != 0).any(1)  # (4, 28, 27)


def positive(net: nn.Module) -> nn.Module:
    """Weights above zero, so that no unit is dead and nothing cancels."""
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.01, 0.02)
    return net


def test_a_spatial_output_sees_ten_rows_and_columns_of_its_own_band() -> None:
    seen = touched(positive(RevealingNet(2, "spatial")), "spatial")
    assert not seen[[0, 2, 3]].any()
    rows, columns = seen[1].nonzero().T
    assert (int(rows.min()), int(rows.max())) == (4, 24)
    assert (int(columns.min()), int(columns.max())) == (3, 23)


def test_a_literal_output_sees_ten_columns_and_all_bands_of_its_own_row() -> None:
    seen = touched(positive(RevealingNet(2, "literal")), "literal")
    assert seen[:, 14].any(1).all()
    assert not seen[:, :14].any()
    assert not seen[:, 15:].any()
    columns = seen[:, 14].any(0).nonzero()
    assert (int(columns.min()), int(columns.max())) == (3, 23)


# -------------------------------------------------------------------------------------------- gradients


def test_the_revealing_networks_gradient_knows_no_beta() -> None:
    from fieldsight.systems.stego.losses import fusion_loss

    torch.manual_seed(0)
    codec = WaveletFusion(HidingNet(3), RevealingNet(3))
    cover, secret = torch.rand(2, 1, 3, 16, 16)
    found = []
    for beta in (0.0, 0.95, 4.0):
        codec.zero_grad()
        out = codec(cover, secret)
        fusion_loss(secret, out["revealed"], cover, out["stego"], beta).backward()
        found.append([p.grad.clone() for p in codec.revealing.parameters()])  # type: ignore[union-attr]
        hiding = [p.grad.clone() for p in codec.hiding.parameters()]  # type: ignore[union-attr]
    for one, other in zip(found[0], found[2], strict=True):
        torch.testing.assert_close(one, other)
    assert any(g.abs().sum() > 0 for g in hiding)


def test_without_beta_nothing_holds_the_stego() -> None:
    from fieldsight.systems.stego.losses import fusion_loss

    stego = torch.rand(1, 3, 8, 8, requires_grad=True)
    fusion_loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), stego, 0.0).backward()
    assert stego.grad is not None
    assert not stego.grad.any()


def test_revealing_takes_nothing_but_the_stego() -> None:
    import inspect

    for kind in (WaveletFusion, Baluja):
        assert list(inspect.signature(kind.reveal).parameters) == ["self", "stego"]
    assert list(inspect.signature(RevealingNet.forward).parameters) == ["self", "stego"]
    six = RevealingNet(3, inputs=6)
    bands = torch.rand(1, 4, 3, 8, 8)
    doubled = six.net(fold(torch.cat([bands, bands], 2), "spatial"))
    torch.testing.assert_close(six(bands), unfold(doubled, "spatial", 1))


def test_the_last_layer_is_linear() -> None:
    net = HidingNet(4)
    nn.init.constant_(net.net.out.conv.bias, -0.5)  # type: ignore[arg-type]
    bands = torch.rand(1, 4, 3, 8, 8)
    assert (net(bands, bands) < 0).any()


def test_the_residual_starts_at_the_cover() -> None:
    torch.manual_seed(1)
    cover, secret = torch.rand(2, 1, 4, 3, 8, 8)
    plain, residual = (HidingNet(8, residual=r)(cover, secret) - cover for r in (False, True))
    assert residual.abs().mean() < 0.02 < plain.abs().mean()


def test_rounding_is_a_files_and_lets_gradients_pass() -> None:
    codec = WaveletFusion(HidingNet(3), RevealingNet(3))
    picture = torch.tensor([-0.2, 0.1, 0.5, 1.3]).reshape(1, 1, 2, 2)
    expected = torch.tensor([0.0, 26 / 255, 128 / 255, 1.0]).reshape(1, 1, 2, 2)
    torch.testing.assert_close(codec.finish(picture, picture), expected)
    asked = picture.clone().requires_grad_()
    sent = codec._sent(asked, picture, None, True)
    torch.testing.assert_close(sent.detach(), expected)
    sent.sum().backward()
    assert asked.grad is not None
    assert torch.equal(asked.grad, torch.ones_like(picture))


def test_bands_and_pixels_are_two_views_of_one_pass() -> None:
    torch.manual_seed(2)
    hiding, revealing = HidingNet(3), RevealingNet(3)
    cover, secret = torch.rand(2, 1, 3, 16, 16)
    pixels = WaveletFusion(hiding, revealing)(cover, secret)
    bands = WaveletFusion(hiding, revealing, pixels=False)(cover, secret)
    codec = WaveletFusion(hiding, revealing)
    torch.testing.assert_close(codec.idwt(bands["stego"]), pixels["stego"], atol=1e-6, rtol=0)
    torch.testing.assert_close(codec.idwt(bands["revealed"]), pixels["revealed"], atol=1e-6, rtol=0)
    through = WaveletFusion(hiding, revealing, pixels=False)(cover, secret, finished=True)
    revealed = codec.reveal(codec.finish(pixels["stego"], cover))
    torch.testing.assert_close(codec.idwt(through["revealed"]), revealed, atol=1e-5, rtol=0)
