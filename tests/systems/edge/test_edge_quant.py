"""Post-training quantisation: grids, observers, the simulation against integers and ONNX Runtime, calibration."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldsight.data.files import write_json
from fieldsight.data.images import write_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError, ExportError
from fieldsight.systems.edge.quant import integer
from fieldsight.systems.edge.quant.calibrate import PictureStatistics, choose_pictures, judge, picture_features
from fieldsight.systems.edge.quant.fake import EXACT, Scales, Seen, choose_scales, observe, quantize_bias, simulate
from fieldsight.systems.edge.quant.graph import Graph, Op
from fieldsight.systems.edge.quant.grid import Grid, fake_quantize, quantize_weight, weight_scales
from fieldsight.systems.edge.quant.half import write_half
from fieldsight.systems.edge.quant.mixed import fewest_in_float
from fieldsight.systems.edge.quant.observers import (
    Histogram,
    choose_grid,
    clipped_share,
    entropy_bound,
    mse_range,
    percentile_range,
)
from fieldsight.systems.edge.quant.qdq import fused_operators, write_qdq
from fieldsight.systems.edge.quant.scheme import Scheme
from fieldsight.systems.edge.quant.sensitivity import BEST_SQNR, sensitivities, sqnr
from fieldsight.systems.edge.quant.tape import Traced, fold_batch_norm, trace

# ------------------------------------------------------------------------------------------------ a small detector


class Block(nn.Module):
    """Convolution, BN, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, momentum=None)  # a mean over all batches seen
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Split(nn.Module):
    """C2f with one bottleneck."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter, self.exit = Block(inputs, outputs), Block(outputs * 3 // 2, outputs)
        self.one, self.two = Block(outputs // 2, outputs // 2, 3), Block(outputs // 2, outputs // 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        parts.append(parts[-1] + self.two(self.one(parts[-1])))
        return self.exit(torch.cat(parts, 1))


class Detector(nn.Module):
    """Two levels, a neck with upsampling, pooling in series, DFL; ``(N, 3, H, W)`` to ``(N, 6, A)``."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem, self.down = Block(3, width, 3, 2), Block(width, 2 * width, 3, 2)
        self.split = Split(2 * width, 2 * width)
        self.deep = Block(2 * width, 4 * width, 3, 2)
        self.pool, self.pooled = nn.MaxPool2d(5, 1, 2), Block(12 * width, 4 * width)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.neck = Block(6 * width, 2 * width)
        self.box = nn.ModuleList(nn.Sequential(Block(c, 16, 3), nn.Conv2d(16, 64, 1)) for c in (2 * width, 4 * width))
        self.cls = nn.ModuleList(nn.Sequential(Block(c, 8, 3), nn.Conv2d(8, 2, 1)) for c in (2 * width, 4 * width))
        self.dfl = nn.Conv2d(16, 1, 1, bias=False)
        self.dfl.weight.data[:] = torch.arange(16.0).view(1, 16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.split(self.down(self.stem(x)))
        pools = [self.deep(fine)]
        for _ in range(2):
            pools.append(self.pool(pools[-1]))
        coarse = self.pooled(torch.cat(pools, 1))
        levels = [self.neck(torch.cat((self.up(coarse), fine), 1)), coarse]
        boxes = torch.cat([layer(m).flatten(2) for layer, m in zip(self.box, levels, strict=True)], 2)
        scores = torch.cat([layer(m).flatten(2) for layer, m in zip(self.cls, levels, strict=True)], 2)
        bins = boxes.view(len(x), 4, 16, -1).transpose(2, 1).softmax(1)
        sides = self.dfl(bins).view(len(x), 4, -1)
        near, far = sides.chunk(2, 1)
        return torch.cat(((far - near) / 2, far + near, scores.sigmoid()), 1)


def pictures(count: int, *labels: int | str, dark: float = 1.0, side: int = 32) -> Tensor:
    """Blobs of colour on a ground, ``(N, 3, side, side)`` in 0-1."""
    rng = rng_for("pictures", *labels)
    grid = np.mgrid[:side, :side].astype(np.float32)
    found = np.empty((count, 3, side, side), np.float32)
    for one in found:
        one[:] = rng.uniform(0.2, 0.7, (3, 1, 1))
        for _ in range(4):
            centre, width = rng.uniform(0, side, (2, 1, 1)), rng.uniform(2, 8)
            shape = np.exp(-((grid - centre) ** 2).sum(0) / width**2)
            one += shape * rng.uniform(-0.6, 0.6, (3, 1, 1))
        one += rng.normal(0, 0.02, one.shape)
    return torch.from_numpy(found.clip(0, 1) * np.float32(dark))


@cache
def detector() -> Detector:
    torch.manual_seed(0)
    network = Detector().train()
    with torch.no_grad():
        for n in range(8):
            network(pictures(16, "norm", n))
        for layer in (*network.box, *network.cls):
            layer[-1].weight.mul_(4)  # outputs that say something
    return network.eval()


@cache
def traced() -> Traced:
    return trace(detector(), pictures(2, "example"))


@cache
def seen() -> Seen:
    return observe(traced(), [pictures(8, "calibration", n) for n in range(4)])


def scales(**options: Any) -> Scales:
    return choose_scales(traced(), seen(), Scheme(**options))


HEAD = ("box.0.1", "box.1.1", "cls.0.1", "cls.1.1", "dfl")

# ------------------------------------------------------------------------------------------------------------ grids


def test_q1_golden_numbers() -> None:
    grid = Grid.symmetric(2.54)
    assert grid.scale == pytest.approx(0.02, abs=1e-9)
    values = torch.tensor([0.5, -1.234, 3.0, -3.0])
    assert grid.quantize(values).tolist() == [25, -62, 127, -127]
    assert torch.allclose(grid.fake(values), torch.tensor([0.5, -1.24, 2.54, -2.54]), atol=1e-6)


def test_affine_golden_numbers() -> None:
    grid = Grid.affine(-1.0, 3.0)
    assert grid.scale == pytest.approx(0.0156863, abs=1e-7)
    assert grid.zero_point == -64
    assert grid.quantize(torch.tensor([-1.0, 0.0, 3.0, 9.0])).tolist() == [-128, -64, 127, 127]
    assert float(grid.fake(torch.zeros(1))) == 0.0


def test_rounding_is_half_to_even() -> None:
    halves = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert Grid(1.0).quantize(halves).tolist() == [-2, -2, 0, 0, 2, 2]
    assert integer.quantize(halves.numpy(), Grid(1.0)).tolist() == [-2, -2, 0, 0, 2, 2]


@settings(deadline=None, max_examples=40)
@given(st.floats(2.0**-60, 2.0**60, width=32), st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50))
def test_inside_the_range_the_error_is_at_most_half_a_step(bound: float, shares: list[float]) -> None:
    for grid in (Grid.symmetric(bound), Grid.affine(-bound / 4, bound)):
        values = torch.tensor(shares, dtype=torch.float32) * np.float32(bound)
        low, high = ((end - grid.zero_point) * grid.scale for end in (grid.low, grid.high))
        values = values.clamp(low, high)
        back = grid.dequantize(grid.quantize(values))
        assert float((back - values).abs().max()) <= grid.scale / 2 * (1 + 1e-4)
        assert torch.equal(grid.fake(values), back)
        assert torch.equal(grid.fake(back), back)
        assert np.array_equal(integer.quantize(values.numpy(), grid), grid.quantize(values).numpy())
        assert np.array_equal(integer.dequantize(integer.quantize(values.numpy(), grid), grid), back.numpy())


@settings(deadline=None, max_examples=40)
@given(st.floats(-1e6, 1e6, width=32), st.floats(0, 1e6, width=32))
def test_affine_grids_hold_zero_and_the_range(low: float, extent: float) -> None:
    high = float(np.float32(low + extent))
    grid = Grid.affine(low, high)
    assert float(grid.fake(torch.zeros(1))) == 0.0
    ends = torch.tensor([low, high])
    # the zero point is rounded to an integer, so that one end may lie half a step outside
    assert float((grid.fake(ends) - ends).abs().max()) <= grid.scale * 1.001 or extent == 0 == low


def test_grids_of_dead_tensors_and_bad_ranges() -> None:
    assert Grid.symmetric(0.0).scale == 1.0
    assert Grid.affine(0.0, 0.0) == Grid(1.0, -128, -128, 127)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(DataError):
            Grid.symmetric(bad)
    with pytest.raises(DataError, match="low to high"):
        Grid.affine(1.0, -1.0)
    with pytest.raises(DataError):
        Grid(0.0)
    with pytest.raises(DataError, match="8 bits"):
        Grid(1.0, 0, -300, 127)


def test_weights_have_a_scale_for_each_channel() -> None:
    weight = torch.zeros(3, 2, 1, 1)
    weight[0, 0], weight[1, 1] = 2.54, -1.27
    found = weight_scales(weight)
    assert torch.allclose(found, torch.tensor([0.02, 0.01, 1.0]))
    assert quantize_weight(weight, found).flatten(1).tolist() == [[127, 0], [0, -127], [0, 0]]
    assert torch.allclose(weight_scales(weight, per_channel=False), torch.full((3,), 0.02))
    with pytest.raises(DataError, match="not finite"):
        weight_scales(weight / 0)


def test_gradients_pass_inside_the_range_only() -> None:
    values = torch.tensor([0.3, 1.0, 1.5, -2.0], requires_grad=True)
    Grid.symmetric(1.0).fake(values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1, 1, 0, 0]
    weight = torch.randn(2, 3, requires_grad=True)
    fake_quantize(weight, torch.tensor([[0.01], [1.0]])).sum().backward()
    assert weight.grad is not None


# -------------------------------------------------------------------------------------------------------- observers


def counted(values: np.ndarray | Tensor, pieces: int = 1) -> Histogram:
    found = Histogram()
    for piece in np.array_split(np.asarray(values, np.float32).ravel(), pieces):
        found.update(torch.from_numpy(piece))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-(2.0**40), 2.0**40, width=32), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_a_histogram_does_not_depend_on_order_or_batches(values: list[float], random: Any) -> None:
    mixed = list(values)
    random.shuffle(mixed)
    one, other = counted(np.array(values)), counted(np.array(mixed), pieces=min(5, len(mixed)))
    assert (one.low, one.high, one.count, one.width) == (other.low, other.high, other.count, other.width)
    assert np.array_equal(one.signed()[1], other.signed()[1])
    assert one.signed()[1].sum() == len(values)


def test_a_histogram_keeps_its_size_and_refuses_what_is_not_finite() -> None:
    found = Histogram()
    for exponent in range(-30, 30):
        found.update(torch.full((1000,), 2.0**exponent))
    assert found.magnitudes().size == 4096
    assert (found.count, found.largest) == (60_000, 2.0**29)
    found.update(torch.empty(0))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(DataError, match="not finite"):
            found.update(torch.tensor([bad]))
    with pytest.raises(DataError, match="at least one"):
        choose_grid(Histogram(), Scheme())


def test_min_max_is_exact() -> None:
    found = counted(np.array([-0.7, 0.1, 2.54]))
    assert choose_grid(found, Scheme(observer="minmax")) == Grid.symmetric(np.float32(2.54))
    assert choose_grid(found, Scheme(observer="minmax", activations="affine")) == Grid.affine(found.low, found.high)
    assert choose_grid(found, Scheme(observer="minmax", engine="onnxruntime")).low == -128


def test_percentiles_of_known_distributions() -> None:
    even = counted(np.linspace(-1, 1, 200_001))
    for percentile in (90.0, 99.0, 99.9, 99.99):
        assert percentile_range(even, percentile)[1] == pytest.approx(percentile / 100, abs=1e-4)
    low, high = percentile_range(even, 99.0, affine=True)
    assert (low, high) == (pytest.approx(-0.99, abs=1e-4), pytest.approx(0.99, abs=1e-4))
    assert percentile_range(even, 100.0) == (-1.0, 1.0)
    normal = counted(rng_for("normal").normal(size=400_000))
    assert percentile_range(normal, 99.73)[1] == pytest.approx(3.0, abs=0.03)
    assert clipped_share(normal, Grid.symmetric(3.0)) == pytest.approx(0.0027, abs=3e-4)
    # nearly always 0: the percentile is 0, min-max remains
    sparse = counted(np.r_[np.zeros(100_000), 5.0])
    assert percentile_range(sparse, 99.9) == (0.0, 5.0)


def test_entropy_keeps_an_even_distribution_and_cuts_outliers() -> None:
    even = counted(np.linspace(-1, 1, 200_001))
    assert entropy_bound(even) == pytest.approx(1.0, abs=0.02)
    normal = rng_for("entropy").normal(size=400_000)
    bound = entropy_bound(counted(np.r_[normal, 40.0]))
    assert 2.0 < bound < 10.0
    assert choose_grid(counted(np.r_[normal, 40.0]), Scheme(observer="entropy")).scale == pytest.approx(bound / 127)
    assert entropy_bound(counted(np.array([3.0]))) == 3.0
    assert entropy_bound(counted(np.zeros(5))) == 0.0


def test_mse_comes_near_the_best_bound() -> None:
    rng = rng_for("mse")
    for values in (rng.normal(size=50_000), rng.laplace(size=50_000), rng.standard_t(3, size=50_000)):
        found, tensor = counted(values), torch.from_numpy(values.astype(np.float32))

        def error(bound: float, tensor: Tensor = tensor) -> float:
            return float((Grid.symmetric(bound).fake(tensor) - tensor).square().sum())

        best = min(error(float(b)) for b in np.linspace(0.02, 1, 200) * found.largest)
        assert error(mse_range(found)[1]) <= 1.03 * best
    silu = nn.functional.silu(torch.from_numpy(rng.normal(size=50_000).astype(np.float32)))
    low, high = mse_range(counted(silu), affine=True)
    assert -0.279 <= low < -0.2
    assert 0 < high <= float(silu.max())


def test_observers_rank_as_they_should_on_outliers() -> None:
    found = counted(np.r_[rng_for("rank").normal(size=300_000), [100.0]])
    scale = {o: choose_grid(found, Scheme(observer=o)).scale for o in ("minmax", "entropy", "percentile", "mse")}
    assert scale["percentile"] < scale["entropy"] < 0.1 * scale["minmax"]
    assert scale["mse"] < 0.5 * scale["minmax"], "a single error of 60 weighs as much as rounding 300,000 values"


# --------------------------------------------------------------------------------------------------- folding, graph


def test_folding_changes_outputs_by_less_than_1e_4() -> None:
    batch = pictures(4, "fold")
    before = {k: v.clone() for k, v in detector().state_dict().items()}
    folded = fold_batch_norm(detector(), batch)
    with torch.no_grad():
        assert float((folded(batch) - detector()(batch)).abs().max()) < 1e-4
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(torch.equal(v, before[k]) for k, v in detector().state_dict().items())


def test_what_cannot_be_folded_stays() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.first, self.norm, self.plain = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(self.first(x))
            return self.plain(self.last(self.norm(y) + y))  # y has two readers

    network = Odd().eval()
    network.plain.running_var *= 3
    folded = fold_batch_norm(network, torch.rand(1, 3, 8, 8))
    kept = [name for name, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert kept == ["first", "norm", "plain"]
    batch = torch.rand(2, 3, 8, 8)
    assert torch.allclose(folded(batch), network(batch), atol=1e-6)


def test_concatenated_tensors_share_a_scale_and_the_head_is_found() -> None:
    graph = traced().graph
    assert graph.head == HEAD
    keys = {label: key for key, group in graph.groups.items() for label in group.labels}
    # upsampled and joined in the neck: both branches, however far apart, and whatever else reads them
    assert keys["pooled.conv.act"] == keys["split.exit.conv.act"] == keys["neck.conv.in"] == keys["deep.conv.in"]
    assert keys["split.enter.conv.act"] == keys["split.exit.conv.in"] == keys["split.one.conv.in"]
    assert keys["deep.conv.act"] == keys["pooled.conv.in"]
    assert keys["stem.conv.act"] != keys["down.conv.act"]
    joined = graph.groups[keys["deep.conv.act"]]
    assert len(joined.producers) == 1, "pooled values are not counted twice"


def test_schemes_choose_layers() -> None:
    graph = traced().graph
    every = tuple(graph.convolutions)
    assert graph.quantised_layers(Scheme()) == tuple(name for name in every if name not in HEAD)
    assert graph.quantised_layers(Scheme(head_float=False)) == every
    kept = graph.quantised_layers(Scheme(keep_float=("split.*", "stem.conv")))
    assert not [name for name in kept if name.startswith(("split", "stem"))]
    with pytest.raises(ConfigError, match=r"no layer fits 'spilt.enter.conv'.*Did you mean 'split.enter.conv'"):
        graph.quantised_layers(Scheme(keep_float=("spilt.enter.conv",)))
    with pytest.raises(ConfigError, match="no layer 'nothing'"):
        simulate(traced(), scales(), ["nothing"])
    with pytest.raises(ConfigError):
        Scheme.parse({"percentile": 10})


def test_a_gate_written_by_hand_is_an_activation() -> None:
    ops = [
        Op("conv", "conv2d", ("x",), ("a",), "one"), Op("sigmoid", "sigmoid", ("a",), ("g",)),
        Op("mul", "mul", ("g", "a"), ("b",)), Op("conv", "conv2d", ("b",), ("c",), "one"),
    ]  # fmt: skip
    graph = Graph.of(ops, ["x"], ["c"])
    assert [op.kind for op in graph.ops] == ["conv", "inner", "act", "conv"]
    assert tuple(graph.convolutions) == ("one", "one#2")
    assert graph.label["b"] == "one.act"


def test_networks_that_cannot_be_followed() -> None:
    with pytest.raises(ConfigError, match="nothing to quantise"):
        trace(nn.ReLU(), torch.rand(1, 3, 4, 4))
    with pytest.raises(ConfigError, match="fails on an input"):
        trace(nn.Conv2d(4, 4, 1), torch.rand(1, 3, 4, 4))

    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y.relu() if x.shape[-1] > 4 else y.tanh()

    found = trace(Fickle(), torch.rand(1, 3, 8, 8))
    with pytest.raises(DataError, match="another way"):
        observe(found, [torch.rand(1, 3, 4, 4)])
    grids = choose_scales(found, observe(found, [torch.rand(1, 3, 8, 8)]), Scheme(head_float=False))
    with pytest.raises(DataError, match="another way"):
        simulate(found, grids)(torch.rand(1, 3, 4, 4))
    with pytest.raises(DataError, match="no calibration picture"):
        observe(found, [])
    with pytest.raises(DataError, match="another network"):
        simulate(traced(), grids)


# --------------------------------------------------------------------------------------------- integers, bit by bit


def one_layer(conv: nn.Conv2d, batch: Tensor, **options: Any) -> tuple[Traced, Scales]:
    found = trace(nn.Sequential(conv), batch)
    return found, choose_scales(found, observe(found, [batch]), Scheme(head_float=False, **options))


def by_integers(found: Traced, grids: Scales, layer: str, values: np.ndarray, key: str) -> tuple[np.ndarray, Any]:
    conv = found.convolution(layer)
    grid, per_channel = grids.grids[key], grids.scheme.weights == "channel"
    steps = weight_scales(conv.weight, per_channel)
    assert isinstance(conv.padding, tuple)
    sums = integer.integer_conv(
        integer.quantize(values, grid),
        quantize_weight(conv.weight, steps).numpy().astype(np.int8),
        None if conv.bias is None else quantize_bias(conv.bias, grid, steps).numpy().astype(np.int32),
        stride=conv.stride, padding=conv.padding, dilation=conv.dilation, groups=conv.groups,
        zero_point=grid.zero_point,
    )  # fmt: skip
    return sums, (grid, steps.numpy())


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2]), st.integers(0, 2),
    st.sampled_from([1, 2]), st.sampled_from([1, 2, 4]), st.booleans(),
    st.sampled_from(["symmetric", "affine"]), st.sampled_from(["channel", "tensor"]),
    st.sampled_from(["fused", "onnxruntime"]),
)  # fmt: skip
def test_the_integer_convolution_equals_the_simulation_exactly(
    seed: int, kernel: int, stride: int, padding: int, dilation: int, groups: int, bias: bool,
    activations: str, weights: str, engine: str,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    conv = nn.Conv2d(8, 12, kernel, stride, padding, dilation, groups, bias)
    batch = torch.randn(2, 8, 7, 9) * 3 + 0.5
    found, grids = one_layer(conv, batch, activations=activations, weights=weights, engine=engine)
    sums, (grid, steps) = by_integers(found, grids, "0", batch.numpy(), "input")
    # the output is rounded, too: the last convolution of a fully quantised network
    output = grids.grids[grids.labels["0"]]
    expected = simulate(found, grids)(batch)
    assert torch.equal(
        expected, torch.from_numpy(integer.dequantize(integer.requantize(sums, grid, steps, output), output))
    )
    # and the sums themselves, against another arithmetic
    exact = nn.functional.conv2d(
        (grid.quantize(batch) - grid.zero_point).double(),
        quantize_weight(conv.weight, torch.from_numpy(steps)).double(),
        None if conv.bias is None else quantize_bias(conv.bias, grid, torch.from_numpy(steps)),
        stride, padding, dilation, groups,
    )  # fmt: skip
    assert torch.equal(exact.detach(), torch.from_numpy(sums).double())


def test_large_sums_are_exact_too() -> None:
    torch.manual_seed(1)
    conv = nn.Conv2d(512, 3, 3, padding=1)
    nn.init.constant_(conv.weight, 0.5)
    batch = torch.rand(1, 512, 4, 4) * 0.1 + 0.9
    found, grids = one_layer(conv, batch, observer="minmax")
    sums, (grid, steps) = by_integers(found, grids, "0", batch.numpy(), "input")
    assert np.abs(sums).max() > EXACT
    network = simulate(found, grids)
    output = grids.grids[grids.labels["0"]]
    expected = integer.dequantize(integer.requantize(sums, grid, steps, output), output)
    assert np.array_equal(network(batch).numpy(), expected)
    assert network.weights("0", grid).dtype == torch.float64


def test_two_layers_in_integers_equal_the_simulation_exactly() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
    batch = pictures(2, "two")
    found = trace(network, batch)
    scheme = Scheme(head_float=False, engine="onnxruntime")
    grids = choose_scales(found, observe(found, [batch]), scheme)
    sums, (grid, steps) = by_integers(found, grids, "0", batch.numpy(), "input")
    middle = grids.grids[grids.labels["0"]]
    rounded = np.maximum(integer.dequantize(integer.requantize(sums, grid, steps, middle), middle), 0)
    sums, (grid, steps) = by_integers(found, grids, "2", rounded, grids.labels["2.in"])
    output = grids.grids[grids.labels["2"]]
    expected = integer.dequantize(integer.requantize(sums, grid, steps, output), output)
    assert np.array_equal(simulate(found, grids)(batch).numpy(), expected)


def test_bad_integer_convolutions() -> None:
    one = np.ones((1, 2, 3, 3), np.int8)
    with pytest.raises(DataError, match="int8"):
        integer.integer_conv(one.astype(np.int32), one)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no convolution"):
        integer.integer_conv(one, np.ones((1, 3, 1, 1), np.int8))
    with pytest.raises(DataError, match="does not fit"):
        integer.integer_conv(one, np.ones((1, 2, 5, 5), np.int8))
    with pytest.raises(DataError, match="32 bits"):
        integer.integer_conv(one, np.ones((1, 2, 3, 3), np.int8), np.array([2**31 - 1], np.int32))


# ------------------------------------------------------------------------------------------------------- simulation


@pytest.mark.parametrize("observer", ["minmax", "entropy", "percentile", "mse"])
def test_good_settings_stay_near_the_float_network(observer: str) -> None:
    batch = pictures(8, "held out")
    reference = traced().network(batch)
    assert sqnr(reference, simulate(traced(), scales(observer=observer))(batch)) > 16


def test_the_factors_act_as_they_should() -> None:
    batch = pictures(8, "held out")
    reference = traced().network(batch)
    noise = {
        name: sqnr(reference, simulate(traced(), scales(**options))(batch))
        for name, options in {
            "good": {}, "affine": {"activations": "affine"}, "head": {"head_float": False},
            "both sides": {"engine": "onnxruntime"}, "cut": {"observer": "percentile", "percentile": 90.0},
        }.items()
    }  # fmt: skip
    assert noise["affine"] > noise["good"] + 2, "SiLU leaves most of the negative half unused"
    assert noise["good"] > noise["head"]
    assert noise["good"] > noise["both sides"]
    assert noise["good"] > noise["cut"] + 5
    assert sqnr(reference, simulate(traced(), scales(), [])(batch)) == BEST_SQNR


def test_the_simulation_takes_other_sizes_and_leaves_the_network_alone() -> None:
    network = simulate(traced(), scales())
    before = traced().network(pictures(2, "a"))
    single, pair = pictures(2, "a", side=64)[:1], pictures(2, "a", side=64)
    assert torch.equal(network(pair)[:1], network(single))
    assert torch.equal(traced().network(pictures(2, "a")), before)
    values = pictures(1, "a")
    network(values)
    assert not [name for name in vars(values) if "fieldsight" in name]


def test_dark_pictures_calibrate_badly() -> None:
    """The specification's effect (b): 8 pictures at 15 % brightness, min-max, against a good setting."""
    batch = pictures(16, "use")
    reference = traced().network(batch)
    dark = observe(traced(), [pictures(8, "calibration", 0, dark=0.15)])
    bad = simulate(traced(), choose_scales(traced(), dark, Scheme(observer="minmax")))
    few = simulate(traced(), choose_scales(traced(), observe(traced(), [pictures(8, "calibration", 0)]), Scheme()))
    good = simulate(traced(), scales())
    noise = {name: sqnr(reference, network(batch)) for name, network in {"bad": bad, "few": few, "good": good}.items()}
    assert noise["good"] > noise["bad"] + 12
    assert noise["few"] > noise["bad"] + 10, "it is the darkness, not the number"


def test_training_aware_of_quantisation() -> None:
    found = trace(detector(), pictures(2, "example"))
    network = simulate(found, choose_scales(found, seen(), Scheme()))
    batch = pictures(4, "train")
    before = network(batch)
    found.network.requires_grad_(True)
    soft = network(batch)
    assert sqnr(before, soft.detach()) > 24, "the path with gradients computes the same, but for float sums"
    soft.square().mean().backward()
    gradients = [p.grad for p in found.network.stem.conv.parameters()]
    assert all(g is not None and float(g.abs().max()) > 0 for g in gradients)
    with torch.no_grad():
        found.network.stem.conv.weight.mul_(1.5)
        assert not torch.equal(network(batch), before), "integers follow the weights"


def test_scales_are_saved_whole(tmp_path: Path) -> None:
    found = scales(keep_float=("stem.*",), activations="affine", observer="mse")
    assert Scales.load(found.save(tmp_path / "scales.json")) == found
    assert len(found.weights["stem.conv"]) == 8
    assert found.pictures == 32
    assert max(scales(observer="minmax").clipped.values()) == 0.0
    for bad in ([], {}, {"format": 99}, {"format": 1, "scheme": {"observer": "guess"}}, {"format": 1, "scheme": {}}):
        with pytest.raises(DataError, match="bad.json"):
            Scales.load(write_json(tmp_path / "bad.json", bad))


# ------------------------------------------------------------------------------------------------------------- ONNX


@pytest.fixture(scope="session")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("onnx") / "float.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            traced().network, (pictures(2, "example"),), str(path), dynamo=False, opset_version=17,
            input_names=["images"], output_names=["out"],
        )  # fmt: skip
    return path


def run(path: Path, batch: Tensor) -> Tensor:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": batch.numpy()})[0])


@pytest.mark.parametrize("head_float", [True, False])
@pytest.mark.parametrize("activations", ["symmetric", "affine"])
@pytest.mark.parametrize("weights", ["channel", "tensor"])
def test_onnx_runtime_computes_what_the_simulation_says(
    tmp_path: Path, floats: Path, head_float: bool, activations: str, weights: str
) -> None:
    found = scales(engine="onnxruntime", head_float=head_float, activations=activations, weights=weights)
    batch = pictures(2, "onnx")
    reference, simulated = traced().network(batch), simulate(traced(), found)
    plan = write_qdq(floats, tmp_path / "int8.onnx", found)
    assert plan.layers == simulated.plan.layers
    given = run(tmp_path / "int8.onnx", batch)
    # a few values round the other way; the noise of 8 bits itself is a hundred times larger
    assert sqnr(simulated(batch), given) > sqnr(reference, given) + 20
    operators = fused_operators(tmp_path / "int8.onnx")
    assert operators["QLinearConv"] == len(plan.layers)
    assert operators["Conv"] + operators["FusedConv"] == len(traced().graph.convolutions) - len(plan.layers)
    assert operators["QLinearConcat"] >= 3
    assert operators["QLinearAdd"] == 1
    assert (tmp_path / "int8.onnx").stat().st_size < 0.75 * floats.stat().st_size


def test_int8_and_uint8_are_the_same_numbers(tmp_path: Path, floats: Path) -> None:
    found, batch = scales(observer="minmax", activations="affine"), pictures(2, "onnx")
    for integers in ("int8", "uint8"):
        write_qdq(floats, tmp_path / f"{integers}.onnx", found, integers=integers)
    given = run(tmp_path / "int8.onnx", batch)
    assert torch.allclose(given, run(tmp_path / "uint8.onnx", batch), atol=1e-5)
    # rounded after the activation function only: nothing is cut off, file and simulation agree but for float sums
    assert sqnr(simulate(traced(), found)(batch), given) > 60


def test_single_layers_and_foreign_files(tmp_path: Path, floats: Path) -> None:
    import onnx

    found, batch = scales(engine="onnxruntime"), pictures(2, "onnx")
    layers = ["neck.conv", "split.one.conv"]
    assert write_qdq(floats, tmp_path / "two.onnx", found, layers).layers == set(layers)
    assert sqnr(simulate(traced(), found, layers)(batch), run(tmp_path / "two.onnx", batch)) > 60
    assert fused_operators(tmp_path / "two.onnx")["QLinearConv"] == 2
    facts = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "two.onnx")).metadata_props}
    assert facts["fieldsight.precision"] == "int8"
    (tmp_path / "text.onnx").write_text("no network")
    for bad in ("text.onnx", "absent.onnx"):
        with pytest.raises(ExportError, match="can't be read"):
            write_qdq(tmp_path / bad, tmp_path / "out.onnx", found)
    old = onnx.load(str(floats))
    old.opset_import[0].version = 11
    onnx.save(old, str(tmp_path / "old.onnx"))
    with pytest.raises(ExportError, match=r"operator set 11|can't be read"):
        write_qdq(tmp_path / "old.onnx", tmp_path / "out.onnx", found)
    with pytest.raises(ExportError, match="no convolution 'other'"):
        write_qdq(floats, tmp_path / "out.onnx", replace(found, weights={"other": [1.0]}))
    with pytest.raises(ExportError, match="No scale is known"):
        write_qdq(floats, tmp_path / "out.onnx", replace(found, labels={}))
    assert not (tmp_path / "out.onnx").exists()


def test_half_precision(tmp_path: Path, floats: Path) -> None:
    import onnx

    half, single = write_half(floats, tmp_path / "half.onnx")
    assert half > single > 0
    batch = pictures(2, "onnx")
    reference = traced().network(batch)
    given = run(tmp_path / "half.onnx", batch)
    assert given.dtype == torch.float32
    assert float((given - reference).abs().max()) < 0.02
    assert sqnr(reference, given) > sqnr(reference, simulate(traced(), scales())(batch)) + 10
    assert (tmp_path / "half.onnx").stat().st_size < 0.65 * floats.stat().st_size
    stored = onnx.load(str(tmp_path / "half.onnx"))
    kinds = {entry.name: entry.data_type for entry in stored.graph.initializer}
    half_type, single_type = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    convolutions = [n.input[1] for n in stored.graph.node if n.op_type == "Conv"]
    assert [name for name in convolutions if kinds[name] == single_type] == ["dfl.weight"]
    inferred = onnx.shape_inference.infer_shapes(stored, strict_mode=True).graph
    types = {entry.name: entry.type.tensor_type.elem_type for entry in inferred.value_info}
    for node in stored.graph.node:
        if node.op_type == "Softmax":
            assert types[node.output[0]] == single_type
        if node.op_type == "MaxPool":
            assert types[node.output[0]] == half_type
    large = onnx.load(str(floats))
    for entry in large.graph.initializer:
        if entry.name == "stem.conv.bias":
            values = onnx.numpy_helper.to_array(entry) + np.float32(1e5)
            entry.CopyFrom(onnx.numpy_helper.from_array(values, entry.name))
    onnx.save(large, str(tmp_path / "large.onnx"))
    with pytest.raises(ExportError, match="65504"):
        write_half(tmp_path / "large.onnx", tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


# ------------------------------------------------------------------------------------------------------ sensitivity


def test_the_layer_with_an_outlier_is_the_most_sensitive() -> None:
    torch.manual_seed(3)
    network = nn.Sequential(
        *(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(4)), nn.Conv2d(4, 4, 1)
    )
    for layer in network[:4]:
        nn.init.orthogonal_(layer[0].weight)
    network[2][0].weight.data[0, 0, 0, 0] = 60.0  # with one scale for all channels, the others vanish
    batch = torch.rand(4, 4, 16, 16)
    found = trace(network, batch)
    grids = choose_scales(found, observe(found, [batch]), Scheme(weights="tensor", observer="minmax"))
    ranked = sensitivities(found, grids, [batch])
    assert ranked[0].layer == "2.0"
    assert ranked[0].sqnr < ranked[1].sqnr
    assert len(ranked) == 5
    assert ranked[0].score is None
    assert ranked[0].weight_sqnr > 30, "measured by the outlier itself, the weights look fine"
    reference = found.network(batch)

    def score(tried: nn.Module) -> float:
        return -float((tried(batch) - reference).square().mean().sqrt() / reference.std())

    with_score = sensitivities(found, grids, [batch], score)
    assert with_score[0].layer == "2.0"
    assert with_score[0].loss == pytest.approx(-with_score[0].score, abs=1e-9)
    every = score(simulate(found, grids))
    alone = score(simulate(found, grids, ["0.0", "1.0", "3.0"]))
    mixed = fewest_in_float(found, grids, with_score, score, -(every + alone) / 2)
    assert mixed.kept_float == ("2.0",)
    assert mixed.within
    strict = fewest_in_float(found, grids, with_score, score, 0.0)
    assert (len(strict.kept_float), strict.share) == (4, 0.0), "nothing is left to quantise"
    with pytest.raises(DataError, match="at least one"):
        sensitivities(found, grids, [])


def test_noise_is_counted_by_channel() -> None:
    reference = torch.stack((torch.full((2, 8), 600.0), torch.full((2, 8), 0.5)), 1)
    off = reference.clone()
    off[:, 1] *= 1.1
    assert sqnr(reference, off) == pytest.approx(20 + 10 * np.log10(2), abs=1e-3), "one exact channel hides nothing"
    assert sqnr({"a": [reference]}, {"a": [reference * 1.01]}) == pytest.approx(40, abs=1e-3)
    assert np.isnan(sqnr(torch.zeros(1, 1), torch.zeros(1, 1)))
    with pytest.raises(DataError, match="other shapes"):
        sqnr(reference, reference[:1])


# --------------------------------------------------------------------------------------------- calibration pictures


def photos(count: int, *labels: int | str, dark: float = 1.0) -> list[np.ndarray]:
    found = pictures(count, *labels, dark=dark, side=16).permute(0, 2, 3, 1).numpy()
    return list(np.rint(found * 255).astype(np.uint8))


@cache
def training() -> PictureStatistics:
    return PictureStatistics.of(photos(300, "training"))


def test_pictures_like_the_training_set_raise_no_warning() -> None:
    assert judge(PictureStatistics.of(photos(300, "more")), training()) == []
    # a handful of good pictures is few, and no more: chance alone does not make another domain
    for n in range(20):
        notes = judge(PictureStatistics.of(photos(8, "few", n)), training())
        assert len(notes) == 1, notes
        assert "Only 8 pictures" in notes[0]


def test_dark_foreign_and_equal_pictures_raise_warnings() -> None:
    dark = judge(PictureStatistics.of(photos(300, "more", dark=0.15)), training())
    assert any("too dark" in note and "15%" in note for note in dark)
    noise = [rng_for(n).integers(0, 256, (16, 16, 3)).astype(np.uint8) for n in range(300)]
    foreign = judge(PictureStatistics.of(noise), training())
    assert len([note for note in foreign if "unlike" in note and "gradient" in note]) == 1
    same = judge(PictureStatistics.of(photos(1, "more") * 300), training())
    assert any("all alike" in note for note in same)
    assert judge(PictureStatistics.of(photos(300, "more", dark=0.15)), None) == []


def test_features_of_a_known_picture() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:, 2:] = (255, 0, 0)
    assert picture_features(picture) == pytest.approx((0.5, 0, 0, 1 / 6, 1 / 18))
    for bad in (picture[..., 0], picture.astype(np.float32), picture[:0]):
        with pytest.raises(DataError, match="uint8"):
            picture_features(bad)


def test_choosing_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for n, photo in enumerate(photos(12, "folder")):
        write_image(folder / f"{n:02d}.png", photo)
    (folder / "broken.png").write_bytes(b"no picture")
    chosen = choose_pictures(folder, 8, training(), seed=3)
    assert len(chosen.items) == 8
    assert chosen.statistics.count == 8
    again = choose_pictures(folder, 8, training(), seed=3)
    assert [i.name for i in again.items] == [i.name for i in chosen.items]
    assert [i.name for i in choose_pictures(folder, 8, seed=4).items] != [i.name for i in chosen.items]
    every = choose_pictures([folder / f"{n:02d}.png" for n in range(12)], 300)
    assert (len(every.items), len(every.warnings)) == (12, 1)
    assert any("can't be read" in note for note in choose_pictures(folder, 300).warnings)
    (tmp_path / "test").mkdir()
    write_image(tmp_path / "test" / "a.png", photos(1, "t")[0])
    assert any("'test'" in note for note in choose_pictures(tmp_path / "test").warnings)


def test_folders_that_cannot_calibrate(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        choose_pictures(tmp_path / "empty")
    with pytest.raises(DataError, match="no file or folder"):
        choose_pictures(tmp_path / "absent")
    (tmp_path / "empty" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="None of 1"):
        choose_pictures(tmp_path / "empty")
    with pytest.raises(ConfigError, match="at least 1"):
        choose_pictures(tmp_path, 0)
    with pytest.raises(DataError, match="no picture"):
        PictureStatistics.of([])


def test_statistics_are_plain_values() -> None:
    assert PictureStatistics.from_dict(training().to_dict()) == training()
    good = training().to_dict()
    for bad in ({}, good | {"count": 0}, good | {"mean": [1.0]}, good | {"spread": ["x"] * 5}, good | {"mean": None}):
        with pytest.raises(DataError, match="tatistics of pictures"):
            PictureStatistics.from_dict(bad)
    with pytest.raises(DataError, match="finite"):
        PictureStatistics.from_dict(good | {"mean": [float("nan")] * 5})
