"""Counting torch modules: every operator exactly, the module untouched, and clear words when it can't be done."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldsight.errors import DataError
from fieldsight.profile import Counts, count_module, example
from fieldsight.profile.torch_ops import plan


def count(module: nn.Module, *inputs: Any, **kwargs: Any) -> Counts:
    """Count by shape arithmetic, and hold it equal to counting by torch's own meta kernels."""
    fast = count_module(module, *inputs, **kwargs)
    assert fast == count_module(module, *inputs, kernels=True, **kwargs)
    return fast


class Fn(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


sizes = st.integers(1, 4)


@given(
    dims=st.integers(1, 3),
    groups=st.integers(1, 3),
    per=st.tuples(sizes, sizes),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 2),
    batch=st.integers(1, 2),
    bias=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_convolutions_equal_the_closed_form(
    dims: int,
    groups: int,
    per: tuple[int, int],
    kernel: int,
    stride: int,
    dilation: int,
    padding: int,
    batch: int,
    bias: bool,
) -> None:
    cin, cout = groups * per[0], groups * per[1]
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    conv = make(cin, cout, kernel, stride, padding, dilation, groups, bias=bias)
    out = conv(torch.zeros(batch, cin, *[7] * dims))
    counts = count(conv, example((batch, cin, *[7] * dims)))
    assert counts.macs == out.numel() * cin // groups * kernel**dims
    assert counts.layers[0].kind == f"conv{dims}d"
    assert counts.activations == out.numel()
    assert counts.params == sum(p.numel() for p in conv.parameters())
    assert counts.biases == (cout if bias else 0)
    assert counts.samples == batch


@given(dims=st.integers(1, 3), groups=st.integers(1, 2), stride=st.integers(1, 3), kernel=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_transposed_convolutions(dims: int, groups: int, stride: int, kernel: int) -> None:
    make = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    conv = make(2 * groups, 3 * groups, kernel, stride, groups=groups)
    counts = count(conv, example((2, 2 * groups, *[4] * dims)))
    assert counts.macs == 2 * 2 * groups * 4**dims * 3 * kernel**dims
    assert counts.layers[0].kind == f"conv_transpose{dims}d"
    assert counts.activations == conv(torch.zeros(2, 2 * groups, *[4] * dims)).numel()


def test_unbatched_same_and_circular_padding() -> None:
    assert count(nn.Conv2d(2, 3, 3), example((2, 7, 7))).macs == 3 * 25 * 18
    assert count(nn.Conv2d(2, 3, 3, padding="same"), example((1, 2, 7, 7))).macs == 3 * 49 * 18
    circular = nn.Conv1d(4, 4, 3, padding=1, groups=4, padding_mode="circular")
    assert count(circular, example((2, 4, 9))).macs == 2 * 4 * 9 * 3


@pytest.mark.parametrize(("make", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_networks(make: Any, gates: int, layers: int, both: bool) -> None:
    net = make(5, 7, num_layers=layers, bidirectional=both, batch_first=True)
    directions = 2 if both else 1
    per_row = sum(directions * gates * 7 * ((7 * directions if i else 5) + 7) for i in range(layers))
    counts = count(net, example((3, 4, 5)))
    assert counts.macs == 12 * per_row
    assert counts.activations == 12 * 7 * directions


def test_projected_and_packed_lstm_and_cells() -> None:
    assert count(nn.LSTM(5, 7, proj_size=3), example((3, 4, 5))).macs == 12 * (28 * 8 + 21)
    packed = nn.utils.rnn.pack_padded_sequence(torch.zeros(6, 3, 5), torch.tensor([6, 4, 1]))
    assert count(nn.LSTM(5, 7), packed).macs == 11 * 28 * 12
    assert count(nn.GRUCell(5, 7), example((3, 5))).macs == 3 * 21 * 12


def test_multihead_attention_on_every_path() -> None:
    B, T, E = 2, 10, 64
    x = torch.zeros(B, T, E)
    expected = 4 * B * T * E * E + 2 * B * T * T * E
    net = nn.MultiheadAttention(E, 8, batch_first=True)
    assert count(net, x, x, x).macs == expected
    assert count(net, x, x, x, need_weights=False).macs == expected
    fused = count_module(net, x, x, x, device="cpu")
    assert fused.layers[0].kind == "multihead_attention", "torch's fast path is what this test is about"
    assert fused.macs == expected
    assert fused.params == sum(p.numel() for p in net.parameters())
    cross = nn.MultiheadAttention(E, 8, kdim=16, vdim=24)
    q, k, v = torch.zeros(5, 2, E), torch.zeros(7, 2, 16), torch.zeros(7, 2, 24)
    assert count(cross, q, k, v).macs == 10 * E * E * 2 + 14 * E * (16 + 24) + 2 * 2 * 5 * 7 * E


def test_transformer_encoder_layer_on_every_path() -> None:
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 48, batch_first=True), 2)
    x = torch.zeros(2, 10, 32)
    one = 20 * (4 * 32 * 32 + 2 * 32 * 48) + 2 * 2 * 10 * 10 * 32
    assert count(net, x).macs == 2 * one
    fused = count_module(net, x, device="cpu")
    assert fused.by_kind().keys() == {"encoder_layer"}
    assert fused.macs == 2 * one
    # with a padding mask torch drops the padded tokens: 10 and 7 are left
    mask = torch.zeros(2, 10, dtype=torch.bool)
    mask[1, 7:] = True
    nested = count_module(net, x, device="cpu", src_key_padding_mask=mask)
    assert nested.macs == 2 * (17 * (4 * 32 * 32 + 2 * 32 * 48) + 2 * (100 + 49) * 32)


x, y = torch.zeros(2, 5, 6), torch.zeros(2, 6, 4)
FUNCTIONS: dict[str, tuple[Any, tuple[Tensor, ...], int]] = {
    "matmul": (lambda a, b: a @ b, (x, y), 240),
    "matmul-broadcast": (torch.matmul, (torch.zeros(3, 1, 5, 6), y), 3 * 2 * 5 * 6 * 4),
    "matmul-vector": (torch.matmul, (x, torch.zeros(6)), 60),
    "dot": (torch.dot, (torch.zeros(9), torch.zeros(9)), 9),
    "mv": (torch.mv, (torch.zeros(3, 9), torch.zeros(9)), 27),
    "bmm": (torch.bmm, (x, y), 240),
    "baddbmm": (torch.baddbmm, (torch.zeros(2, 5, 4), x, y), 240),
    "addmm": (torch.addmm, (torch.zeros(4), x[0], y[0]), 120),
    "addbmm": (torch.addbmm, (torch.zeros(5, 4), x, y), 240),
    "einsum": (lambda a, b: torch.einsum("bij,bjk->bik", a, b), (x, y), 240),
    "einsum-bilinear": (lambda a, b: torch.einsum("bij,bjk,bk->bi", a, b, torch.zeros(2, 4)), (x, y), 240 + 40),
    "tensordot": (lambda a: torch.tensordot(a, a, dims=([0, 1], [0, 1])), (x,), 360),
    "inner": (torch.inner, (x, torch.zeros(4, 6)), 240),
    "linear": (F.linear, (x, torch.zeros(3, 6)), 180),
    "conv2d": (F.conv2d, (torch.zeros(1, 2, 5, 5), torch.zeros(4, 2, 3, 3)), 4 * 9 * 18),
    "bilinear": (F.bilinear, (x, torch.zeros(2, 5, 3), torch.zeros(7, 6, 3)), 10 * 7 * (6 * 3 + 3)),
    "attention": (F.scaled_dot_product_attention, (x, x, x), 2 * 5 * 5 * 12),
    "outer": (torch.outer, (torch.zeros(3), torch.zeros(4)), 0),
    "mul": (torch.mul, (x, x), 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_counted_as_modules_are(name: str) -> None:
    function, inputs, macs = FUNCTIONS[name]
    counts = count(Fn(function), *inputs)
    assert counts.macs == macs
    assert counts.unknown == ()
    assert count_module(Fn(function), *inputs, device="cpu").macs == macs
    if not macs:
        assert counts.uncounted, "work outside the MACs is listed"


def test_grouped_queries_and_the_causal_mask_are_counted_dense() -> None:
    q, kv = torch.zeros(1, 8, 5, 4), torch.zeros(1, 2, 9, 4)
    grouped = Fn(lambda a, b: F.scaled_dot_product_attention(a, b, b, enable_gqa=True))
    assert count(grouped, q, kv).macs == 8 * 5 * 9 * 8
    causal = Fn(lambda a: F.scaled_dot_product_attention(a, a, a, is_causal=True))
    assert count(causal, q).macs == 8 * 5 * 5 * 8


class Block(nn.Module):
    """Convolution, norm, activation, skip: with a counter, a cache and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.calls = 0
        self.cache: list[Tensor] = []
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = self.conv(x) * torch.rand(1)
        self.cache.append(self.last)
        return self.drop(F.relu(self.norm(self.last)) + x)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_module_is_left_as_it_was(device: str) -> None:
    net = Block().train()
    net.norm.eval()
    net.conv.weight.grad = torch.ones_like(net.conv.weight)
    seen: list[str] = []
    net.conv.register_forward_hook(lambda *_: seen.append("hook"))
    before = {k: (v.data_ptr(), v.clone()) for k, v in {**net.state_dict(keep_vars=True)}.items()}
    rng, identity = torch.get_rng_state(), id(net.conv.weight)
    counts = count_module(net, torch.zeros(2, 3, 8, 8), device=device)
    assert counts.macs == 2 * 3 * 64 * 27
    assert net.training
    assert not net.norm.training
    assert (net.calls, net.cache, net.last) == (0, [], None)
    assert id(net.conv.weight) == identity
    assert isinstance(net.conv.weight, nn.Parameter)
    assert net.conv.weight.grad is not None
    assert torch.equal(torch.get_rng_state(), rng)
    assert "forward" not in net.__dict__
    for key, value in net.state_dict(keep_vars=True).items():
        assert value.data_ptr() == before[key][0]
        assert torch.equal(value, before[key][1])
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    assert net.calls == 1
    assert seen == ["hook"] * 2
    assert inspect.signature(net.forward).parameters.keys() == {"x"}


def test_a_failing_forward_leaves_the_module_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 6)).train()
    with pytest.raises(DataError):
        count_module(net, example((1, 3)))
    assert net.training
    assert net[0].weight.device.type == "cpu"
    assert net[0](torch.zeros(1, 3)).shape == (1, 4)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_what_only_torch_compile_runs_is_said(device: Any) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    x = torch.zeros(1, 2, 16, 16)
    with pytest.raises(DataError, match=r"only torch\.compile runs.*attn_implementation='sdpa'"):
        count_module(Fn(lambda a: flex_attention(a, a, a)), x, device=device)


def test_hooks_a_forward_installs_are_taken_out_again() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)
            self.ready = False

        def forward(self, x: Tensor) -> Tensor:
            if not self.ready:
                self.inner.register_forward_hook(lambda module, args, out: out + 1)
                self.ready = True
            return self.inner(x)

    net = Lazy()
    count_module(net, example((1, 2)))
    assert not net.ready
    assert not net.inner._forward_hooks


def test_rows_norms_and_what_stays_outside_the_macs() -> None:
    counts = count(Block(), example((1, 3, 8, 8)))
    assert [(x.name, x.kind, x.weights, x.biases, x.calls) for x in counts.layers] == [
        ("conv", "conv2d", 81, 3, 1),
        ("norm", "batch_norm", 0, 6, 0),
    ]
    assert {op.kind: (op.calls, op.inputs, op.where) for op in counts.uncounted} == {
        "batch_norm": (1, 192, "norm"),
        "mul": (1, 192, "Block"),
        "relu": (1, 192, "Block"),
        "add": (1, 192, "Block"),
    }
    assert counts.buffers == 7


def test_tied_shared_and_unused_parameters() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(11, 4)
            self.middle = nn.Linear(4, 4)
            self.head = nn.Linear(4, 11, bias=False)
            self.head.weight = self.table.weight
            self.unused = nn.Linear(2, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.middle(self.middle(self.table(tokens))))

    net = Tied()
    counts = count(net, torch.zeros(2, 3, dtype=torch.long))
    assert counts.params == sum(p.numel() for p in net.parameters()) == 44 + 20 + 6
    assert counts.macs == 6 * (2 * 16 + 44)
    assert {x.name: (x.kind, x.params, x.calls) for x in counts.layers} == {
        "table": ("embedding", 0, 1),
        "middle": ("linear", 20, 2),
        "head": ("linear", 44, 1),  # where the MACs are: a head reads its whole table, a lookup some rows
        "unused": ("linear", 6, 0),
    }
    assert counts.notes == ("6 parameters were not used in this forward.",)


def test_reparametrised_and_compiled_modules() -> None:
    from torch.nn.utils.parametrizations import weight_norm

    net = weight_norm(nn.Linear(3, 4))
    counts = count(net, example((2, 3)))
    assert counts.macs == 24
    assert counts.params == sum(p.numel() for p in net.parameters())
    assert counts.notes == ()
    assert count(torch.compile(nn.Sequential(nn.Linear(3, 4), nn.ReLU())), example((2, 3))).macs == 24


def test_torchscript() -> None:
    script = torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)))
    script.train()
    with pytest.raises(DataError, match=r"TorchScript.*device='cpu'"):
        count_module(script, example((1, 3, 8, 8)))
    counts = count_module(script, torch.zeros(1, 3, 8, 8), device="cpu")
    assert counts.macs == 8 * 36 * 27 + 288 * 2
    assert counts.params == sum(p.numel() for p in script.parameters())
    assert script.training


@torch.jit.script
def swish_square(x: Tensor) -> Tensor:
    return (x * torch.sigmoid(x)) @ x.t()


def test_scripted_functions_inside_a_module_are_seen() -> None:
    assert count(Fn(swish_square), example((4, 5))).macs == 80


def test_constants_on_the_cpu_and_copies_to_a_device_inside_a_forward() -> None:
    def forward(x: Tensor) -> Tensor:
        positions = torch.arange(5).float().unsqueeze(1)  # made on the CPU, as many forwards do
        return (x.cpu().to("cpu", torch.float32) + positions) @ torch.ones(6, 2)

    assert count(Fn(forward), example((5, 6))).macs == 60


def test_a_forward_that_looks_at_values_says_where_and_how_else() -> None:
    class Choice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = Fn(lambda x: x if x.sum() > 0 else -x)
            self.out = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.gate(x))

    with pytest.raises(DataError, match=r"in module 'gate' can't run on shapes alone.*device='cpu'"):
        count_module(Choice(), torch.ones(1, 4))
    assert count_module(Choice(), torch.ones(1, 4), device="cpu").macs == 8


@pytest.mark.parametrize(
    ("module", "inputs", "words"),
    [
        (nn.Linear(3, 4), (torch.ones(2, 5),), r"aten\.linear.*\(2, 5\) float32: check the example inputs"),
        (nn.Linear(3, 4), (), r"missing 1 required positional argument.*no tensor"),
        (Fn(lambda x: torch.autograd.grad(x.sum(), x)), (torch.ones(2, requires_grad=True),), "takes gradients"),
        (nn.LazyLinear(3), (torch.ones(2, 5),), "lazy parameter"),
        (nn.Sequential(), (), "failed"),
        ("resnet", (), r"no torch\.nn\.Module"),
    ],
)
def test_bad_modules_and_inputs(module: Any, inputs: tuple[Any, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        count_module(module, *inputs)


@pytest.mark.parametrize("shape", [(0, 3), (2, -1), ("a",), (1.5,)])
def test_bad_example_shapes(shape: tuple[Any, ...]) -> None:
    with pytest.raises(DataError, match="positive whole numbers"):
        example(shape)
    with pytest.raises(DataError, match="no dtype 'float33'"):
        example((1,), "float33")


def test_operators_nobody_knows_are_listed_never_zero() -> None:
    library = torch.library.Library("fieldsight_test", "DEF")
    library.define("warp(Tensor x) -> Tensor")
    library.impl("warp", lambda x: torch.empty_like(x), "Meta")
    counts = count(Fn(torch.ops.fieldsight_test.warp), example((2, 3)))
    assert [(op.kind, op.calls, op.inputs, op.where) for op in counts.unknown] == [
        ("fieldsight_test::warp", 1, 6, "Fn")
    ]
    solve = count_module(Fn(torch.linalg.inv), torch.eye(4), device="cpu")
    assert [op.kind for op in solve.unknown] == ["linalg_inv_ex"]
    assert "Unknown operators" in solve.warnings()[0]


def test_an_operator_has_one_role() -> None:
    aten = torch.ops.aten
    roles = {
        aten.conv2d.default: "macs",
        aten.addmm_.default: "macs",
        aten.relu_.default: "arithmetic",
        aten.softmax.int: "arithmetic",
        aten.sum.dim_IntList: "arithmetic",
        aten.view.default: "free",
        aten._to_copy.default: "free",
        aten.embedding.default: "lookup",
        aten.einsum.default: "composite",
        aten.linalg_qr.default: "unknown",
    }
    assert {op: plan(op).role for op in roles} == roles
