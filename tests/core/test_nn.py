"""Encoders out of transformers: published parameter counts, shapes, lazy import, bad arguments."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

from fieldsight.errors import ConfigError
from fieldsight.nn import backbones


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: backbones.convnext(), 87_564_416),
        (lambda: backbones.convnext(norms=True), 87_568_256),
        (lambda: backbones.convnext((96, 192, 384, 768)), 49_453_152),
        (lambda: backbones.resnet(), 11_176_512),
        (lambda: backbones.swin(), 27_520_698),
    ],
    ids=["convnext-b", "convnext-b-norms", "convnext-s", "resnet-18", "swin-t"],
)
def test_published_parameter_counts(make, count) -> None:
    with torch.device("meta"):
        assert parameters(make()) == count


@pytest.mark.parametrize(
    ("encoder", "strides"),
    [
        (lambda: backbones.convnext((4, 6, 8), (1, 1, 1), patch=2), (2, 4, 8)),
        (lambda: backbones.convnext((4, 6, 8, 10), (1, 1, 1, 1), norms=True), (4, 8, 16, 32)),
        (lambda: backbones.resnet((4, 6, 8, 10)), (4, 8, 16, 32)),
        (lambda: backbones.swin(4, (1, 1), (1, 2), window=4, patch=2), (2, 4)),
    ],
    ids=["convnext-patch2", "convnext", "resnet", "swin"],
)
def test_one_map_a_stage_at_its_stride(encoder, strides) -> None:
    made = encoder().eval()
    assert made.strides == strides
    with torch.no_grad():
        maps = made(torch.randn(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, width, 64 // stride, 96 // stride) for width, stride in zip(made.widths, strides, strict=True)
    ]


@pytest.mark.parametrize("make", [backbones.convnext, backbones.resnet, lambda w, d: backbones.swin(8, d, w)])
@pytest.mark.parametrize(("widths", "depths"), [((8, 16), (1,)), ((), ())])
def test_widths_and_depths_must_agree(make, widths, depths) -> None:
    with pytest.raises(ConfigError, match="for each stage"):
        make(widths, depths)


def test_swin_widths_must_divide_by_heads() -> None:
    with pytest.raises(ConfigError, match="10 channels, no multiple of its 3 heads"):
        backbones.swin(10, (1,), (3,))


def test_channel_norm_normalises_each_pixel() -> None:
    x = torch.randn(2, 6, 3, 5) * 4 + 1
    y = backbones.ChannelNorm(6)(x)
    assert torch.allclose(y.mean(1), torch.zeros(2, 3, 5), atol=1e-5)
    assert torch.allclose(y.var(1, correction=0), torch.ones(2, 3, 5), atol=1e-3)


def test_weights_scaled_by_inputs() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 256, 3)
    backbones.scale_by_inputs(layer)
    assert layer.weight.std().item() == pytest.approx((64 * 9) ** -0.5, rel=0.02)
    assert not layer.bias.any()


def test_layer_scale_and_drop_path_arrive() -> None:
    encoder = backbones.convnext((4, 8), (1, 1), layer_scale=0.5, drop_path=0.4)
    last = encoder.stages[1].layers[-1]
    assert last.layer_scale_parameter.tolist() == [0.5] * 8
    x = torch.randn(1, 3, 32, 32)
    torch.manual_seed(1)
    assert (
        len({float(encoder.train()(x)[1].sum().detach()) for _ in range(12)}) == 2
    )  # the only random branch: on or off
    assert torch.equal(encoder.eval()(x)[1], encoder(x)[1])


def test_transformers_is_not_imported_with_the_module() -> None:
    tree = ast.parse(Path(backbones.__file__).read_text(encoding="utf-8"))
    modules = [n.module for n in tree.body if isinstance(n, ast.ImportFrom)]
    assert "transformers" not in modules
