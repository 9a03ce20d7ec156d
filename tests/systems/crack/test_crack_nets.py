"""Networks: acceptance 1 and 2 of the specification, twins, statistics over windows, tiles against the whole."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldsight.errors import ConfigError
from fieldsight.profile import count_module
from fieldsight.systems.crack.nets import GATES, KINDS, Gate, build, build_gate, context
from fieldsight.systems.crack.nets.blocks import PooledNorm, SqueezeExcite, up
from fieldsight.systems.crack.nets.compact import divisible
from fieldsight.systems.crack.nets.crackmaster import ASPP
from fieldsight.systems.crack.nets.crackrefine import AFR, CAM
from fieldsight.systems.crack.nets.ecsn import MDAE

FOUR = ("cen", "ecsn", "crackmaster", "crackrefine")


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def settled(kind: str, size: str, window: int | None, side: int = 128) -> nn.Module:
    """A network whose running statistics have seen a few pictures."""
    torch.manual_seed(0)
    network = build(kind, size, window).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 3, side, side))
    return network.eval()


# --- the published sizes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "count", "backbone", "tera"),
    [
        ("unet", 31_043_521, 18_851_136, 0.1927),
        ("cen", 62_087_618, 2 * 18_851_136 + 576, 0.3855),
        ("ecsn", 88_112_053, 49_453_152, 0.1370),
        ("crackmaster", 93_626_020, 87_564_416, 0.0835),
        ("crackrefine", 99_660_997, 87_568_256, 0.2056),
        ("swin", 58_941_627, 27_520_698, 0.2356),
        ("deepcrack", 3_683_019, 3_682_272, 0.0202),
        ("mobilenet", 3_282_225, 2_971_952, 0.0085),
    ],
)
def test_published_sizes(kind: str, count: int, backbone: int, tera: float) -> None:
    with torch.device("meta"):
        network = build(kind, "paper")
        macs = count_module(network.eval(), torch.zeros(1, 3, 512, 512)).macs
    assert parameters(network) == count
    assert sum(p.numel() for p in network.backbone_parameters()) == backbone
    assert macs / 1e12 == pytest.approx(tera, abs=5e-5)


def test_published_parts() -> None:
    with torch.device("meta"):
        master, refine, unet = (build(k, "paper") for k in ("crackmaster", "crackrefine", "unet"))
        assert parameters(AFR(256, 16, 0.3, None)) == 215_568
        assert parameters(CAM(256, 128, 16, None)) == 4_894_096
    assert parameters(master.reconstruction) == 1_352_147
    assert parameters(master) - parameters(master.reconstruction) == 92_273_873
    assert parameters(master.project) == 231_168
    assert sum(p.numel() for p in refine.head_parameters()) == 12_092_741
    biases = sum(
        m.bias.numel() for block in (unet.encoder, unet.decoder) for m in block.modules() if isinstance(m, nn.Conv2d)
    )
    assert parameters(unet) - biases == 31_037_633


def test_gate_sizes() -> None:
    with torch.device("meta"):
        gate = Gate(4)
    assert sum(p.numel() for p in gate.backbone_parameters()) == 11_176_512
    assert sum(p.numel() for p in gate.head_parameters()) == 66_180
    assert parameters(gate) == 11_242_692


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_of_the_twins(kind: str) -> None:
    assert 150e3 <= parameters(build(kind, "small")) <= 350e3
    assert 20e3 <= parameters(build(kind, "tiny")) <= 64e3


# --- the interface of an expert --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient(kind: str, size: str) -> None:
    torch.manual_seed(0)
    network = build(kind, size, 64).train()
    outputs = network.outputs(torch.randn(2, 3, 64, 64))
    assert outputs["logits"].shape == (2, 1, 64, 64)
    assert set(outputs) - {"logits"} == {"cen": {"aux"}, "deepcrack": {"aux"}, "crackmaster": {"reconstruction"}}.get(
        kind, set()
    )
    sum(value.square().mean() for value in outputs.values()).backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not silent
    weights = [n for n, p in network.named_parameters() if n.endswith("weight") and not p.grad.any()]
    assert not weights


@pytest.mark.parametrize("kind", KINDS)
def test_head_and_backbone_split_the_parameters(kind: str) -> None:
    network = build(kind, "tiny")
    head, backbone = ({id(p) for p in part} for part in (network.head_parameters(), network.backbone_parameters()))
    assert head
    assert backbone
    assert not head & backbone
    assert head | backbone == {id(p) for p in network.parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_is_deterministic_and_pictures_are_independent(kind: str) -> None:
    network = settled(kind, "tiny", 64, 64)
    x = torch.randn(3, 3, 64, 96)
    with torch.no_grad():
        whole = network(x)
        assert torch.equal(whole, network(x))
        assert torch.allclose(network(x[1:2]), whole[1:2], atol=1e-5)
        assert torch.equal(network.outputs(x)["logits"], whole)
    assert whole.shape == (3, 1, 64, 96)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_network(kind: str) -> None:
    first, second, third = (torch.manual_seed(seed) and build(kind, "tiny").state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_unknown_names_and_bad_windows() -> None:
    with pytest.raises(ConfigError, match=r"'crakmaster'.*Did you mean 'crackmaster'"):
        build("crakmaster", "tiny")
    with pytest.raises(ConfigError, match="Unknown size of network 'huge'"):
        build("cen", "huge")
    with pytest.raises(ConfigError, match="window must be at least 1"):
        build("cen", "tiny", 0)
    with pytest.raises(ConfigError, match="Unknown size of network 'huge'"):
        build_gate(4, "huge")


@pytest.mark.parametrize("kind", ["crackmaster", "swin"])
def test_one_picture_trains(kind: str) -> None:
    network = build(kind, "tiny").train()
    assert network(torch.randn(1, 3, 32, 32)).isfinite().all()


# --- single methods --------------------------------------------------------------------------------------------------


def test_cascade_passes_gradients_into_its_first_stage() -> None:
    network = build("cen", "tiny").train()
    network(torch.randn(1, 3, 32, 32)).square().mean().backward()
    assert network.first.out.weight.grad.any()


def test_reconstruction_is_for_training_only() -> None:
    network = build("crackmaster", "tiny").train()
    x = torch.randn(2, 3, 64, 32)
    assert network.outputs(x)["reconstruction"].shape == (2, 3, 64, 32)
    assert set(network.eval().outputs(x)) == {"logits"}


def test_crackrefine_joins_its_maps_as_published() -> None:
    network = settled("crackrefine", "tiny", None, 64)
    seen: dict[str, Tensor] = {}
    network.finish.register_forward_hook(lambda _m, _i, out: seen.update(detail=out))
    network.fuse.register_forward_hook(lambda _m, _i, out: seen.update(coarse=out))
    with torch.no_grad():
        logits = network(torch.randn(1, 3, 64, 64))
        published = network.out(torch.cat([seen["detail"], up(seen["coarse"], network.factor)], 1))
    assert torch.allclose(logits, published, atol=1e-5)
    assert network.scales.tolist() == [1.0] * 4


def test_a_flat_map_gives_no_nan_in_crack_attention() -> None:
    x = torch.ones(2, 8, 16, 16, requires_grad=True)
    CAM(8, 4, 4, None)(x).sum().backward()
    assert x.grad.isfinite().all()


def test_triplet_attention_by_hand() -> None:
    torch.manual_seed(0)
    block, x = MDAE(5, None).eval(), torch.randn(2, 5, 6, 7)

    def gate(name: str, planes: Tensor) -> Tensor:
        part = getattr(block, name).conv
        pooled = torch.stack([planes.amax(1), planes.mean(1)], 1)
        return torch.sigmoid(part[1](part[0](pooled)))

    rows = x.transpose(1, 2)  # N, H, C, W: pooled along the rows
    columns = x.permute(0, 3, 1, 2)  # N, W, C, H
    by_hand = x * gate("plane", x)
    by_hand = by_hand + (rows * gate("rows", rows)).transpose(1, 2)
    by_hand = by_hand + (columns * gate("columns", columns)).permute(0, 2, 3, 1)
    with torch.no_grad():
        assert torch.allclose(block(x), by_hand / 3 + block.edge(x), atol=1e-5)


def test_pooled_norm_of_one_picture_uses_running_statistics() -> None:
    norm, x = PooledNorm(3).train(), torch.randn(1, 3, 1, 1)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(norm(x), norm.eval()(x))
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize(("channels", "rounded"), [(2, 8), (11.9, 16), (12, 16), (19, 24), (30, 32), (40, 40)])
def test_channels_are_multiples_of_eight(channels: float, rounded: int) -> None:
    assert divisible(channels) == rounded


# --- the gate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_gate_shapes_and_gradients(size: str) -> None:
    gate = build_gate(3, size, shrink=2).train()
    x = torch.randn(2, 3, 64, 96)
    assert gate.features(x).shape == (2, GATES[size]["widths"][-1])
    assert gate.maps(x).shape[2:] == (1, 2)
    logits = gate(x)
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in gate.parameters())


def test_gate_shrinks_by_averaging() -> None:
    torch.manual_seed(0)
    plain = build_gate(2, "tiny").eval()
    shrunk = build_gate(2, "tiny", shrink=2).eval()
    shrunk.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(shrunk(x.repeat_interleave(2, 2).repeat_interleave(2, 3)), plain(x), atol=1e-5)


@pytest.mark.parametrize("arguments", [{"experts": 0}, {"experts": 2, "shrink": 0}])
def test_gate_refuses(arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"experts >= 1 and shrink >= 1"):
        Gate(**arguments)


# --- statistics over windows -----------------------------------------------------------------------------------------


def by_hand(x: Tensor, cells: int, reduce: str) -> Tensor:
    """The window around each cell, moved inward at the borders, one cell after the other."""
    height, width = x.shape[-2:]
    out = torch.empty_like(x)
    for i in range(height):
        for j in range(width):
            top = min(max(i - (cells - 1) // 2, 0), max(height - cells, 0))
            left = min(max(j - (cells - 1) // 2, 0), max(width - cells, 0))
            out[..., i, j] = getattr(x[..., top : top + cells, left : left + cells], reduce)((-2, -1))
    return out


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 14), width=st.integers(1, 14), cells=st.integers(1, 16), seed=st.integers(0, 99))
def test_windows_against_a_loop(height: int, width: int, cells: int, seed: int) -> None:
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    for function, reduce in ((context.window_mean, "mean"), (context.window_max, "amax")):
        wanted = by_hand(x, cells, reduce)
        assert torch.allclose(function(x, cells).expand_as(x), wanted, atol=1e-6)
        combine, neutral = (torch.add, 0.0) if reduce == "mean" else (torch.maximum, -torch.inf)
        exported = x
        for dim in (-2, 2 + 1):  # the form without branches, which exported graphs hold; both ways to name an axis
            exported = context._along_any(exported, cells, dim, combine, neutral)
        assert torch.allclose(exported, wanted, atol=1e-6)
    mean, variance = context.window_moments(x, cells)
    assert torch.allclose(mean.expand_as(x), by_hand(x, cells, "mean"), atol=1e-6)
    spread = by_hand(x.square(), cells, "mean") - by_hand(x, cells, "mean").square()
    assert torch.allclose(variance.expand_as(x), spread.clamp_min(0), atol=1e-5)


def test_a_window_that_covers_the_map_is_the_global_statistic() -> None:
    x = torch.randn(2, 8, 6, 9)
    assert torch.equal(context.window_mean(x, 9), context.window_mean(x, None))
    assert context.window_mean(x, 9).shape == (2, 8, 1, 1)
    assert context.window_mean(x, 6).shape == (2, 8, 1, 9)
    norm = context.WindowedGroupNorm(4, 8, 9).eval()
    assert torch.allclose(norm(x), F.group_norm(x, 4), atol=1e-6)


def test_training_ignores_the_window() -> None:
    x = torch.randn(2, 8, 12, 12)
    pool = context.WindowedMean(4)
    assert pool.train()(x).shape[-2:] == (1, 1)
    assert pool.eval()(x).shape[-2:] == (12, 12)


@pytest.mark.parametrize("groups", [1, 4])
def test_group_norm_over_a_window_is_group_norm_of_the_window(groups: int) -> None:
    torch.manual_seed(0)
    norm, x = context.WindowedGroupNorm(groups, 8, 5).eval(), torch.randn(2, 8, 11, 13) * 3 + 1
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    window = x[..., 4:9, 3:8]
    wanted = F.group_norm(window, groups, norm.weight, norm.bias, norm.eps)
    assert torch.allclose(norm(x)[..., 6, 5], wanted[..., 2, 2], atol=1e-5)


@pytest.mark.parametrize("make", [lambda k: SqueezeExcite(8, 4, k), lambda k: ASPP(8, 4, (1,), k)])
def test_blocks_see_only_their_window(make) -> None:
    torch.manual_seed(0)
    block, x = make(5).eval(), torch.randn(1, 8, 15, 15)
    with torch.no_grad():
        wide = block(x).expand(-1, -1, 15, 15)[..., 7, 7]
        assert torch.allclose(wide, block(x[..., 5:10, 5:10]).expand(-1, -1, 5, 5)[..., 2, 2], atol=1e-6)
        assert not torch.allclose(wide, make(None).eval()(x).expand(-1, -1, 15, 15)[..., 7, 7], atol=1e-6)


@pytest.mark.parametrize(("window", "stride", "cells"), [(128, 16, 8), (100, 32, 3), (8, 32, 1), (None, 4, None)])
def test_cells_of_a_window(window: int | None, stride: int, cells: int | None) -> None:
    assert context.cells_of(window, stride) == cells


# --- tiles -----------------------------------------------------------------------------------------------------------


def gap_of_a_tile(network: nn.Module, halo: int, tile: int = 64, side: int = 448) -> float:
    """Largest difference in probability of a corner tile, from its crop with a halo and from the whole picture."""
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = network(x)[..., :tile, :tile]
        crop = network(x[..., : tile + halo, : tile + halo])[..., :tile, :tile]
    return float((whole.sigmoid() - crop.sigmoid()).abs().max())


@pytest.mark.parametrize("kind", FOUR)
def test_a_tile_with_halo_gives_what_the_whole_picture_gives(kind: str) -> None:
    network = settled(kind, "small", 128)
    assert gap_of_a_tile(network, 192) < 1e-4


def test_global_statistics_show_at_any_halo() -> None:
    network = settled("crackmaster", "small", None)
    assert gap_of_a_tile(network, 256) > 1e-3


# --- export ----------------------------------------------------------------------------------------------------------


def exported(module: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
    onnxruntime = pytest.importorskip("onnxruntime")
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.onnx.export(
        module, (example,), dynamo=True, opset_version=18, dynamic_shapes=(free,), verbose=False
    )
    file = io.BytesIO(program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


@pytest.mark.onnx
def test_a_network_exports_with_free_batch_height_and_width() -> None:
    network = settled("cen", "tiny", 64, 64)
    run = exported(network, torch.randn(2, 3, 96, 128))
    for shape in ((1, 3, 64, 64), (1, 3, 32, 96), (3, 3, 160, 128)):
        x = torch.randn(shape)
        with torch.no_grad():
            assert torch.allclose(run(x), network(x), atol=1e-4)


@pytest.mark.onnx
def test_statistics_over_windows_export_with_free_sizes() -> None:
    torch.manual_seed(0)
    blocks = nn.Sequential(AFR(8, 2, 0.0, 6), CAM(8, 4, 2, 5)).eval()
    run = exported(blocks, torch.randn(2, 8, 9, 12))
    for shape in ((1, 8, 6, 6), (1, 8, 3, 10), (3, 8, 20, 7), (1, 8, 1, 1)):  # the window, around it and below it
        x = torch.randn(shape)
        with torch.no_grad():
            assert torch.allclose(run(x), blocks(x), atol=1e-4)
