"""The tables that every way of counting ends in, and the formulas that torch and ONNX share."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.profile import counts as C
from fieldsight.profile.counts import Counts, Layer, Op


def net() -> Counts:
    return Counts(
        "net",
        "table",
        (
            Layer("stem.conv", "conv2d", weights=10, biases=2, macs=100, inputs=8, outputs=4),
            Layer("stem.norm", "batch_norm", biases=4),
            Layer("a.0", "linear", weights=20, macs=40, inputs=4, outputs=5, calls=2),
            Layer("a.1", "linear", weights=8, macs=8, inputs=3, outputs=2, share=0.25),
        ),
        uncounted=(Op("relu", 2, 9, 9, "stem"),),
        unknown=(Op("mylib::warp", 1, 3, 3, "a.0"),),
        notes=("A note.",),
    )


def test_totals_add_up_and_state_the_convention() -> None:
    totals = net().totals()
    assert totals["convention"] == "1 MAC = multiply+add = 2 FLOPs"
    assert (totals["params"], totals["weights"], totals["biases"]) == (44, 38, 6)
    assert (totals["macs"], totals["flops"], totals["activations"]) == (148, 296, 11)
    assert totals["active_params"] == 44 - 6
    assert (totals["uncounted"], totals["unknown"]) == (2, 1)
    assert net().macs_per_param == pytest.approx(148 / 44)
    assert math.isnan(Counts("empty", "table", ()).macs_per_param)


def test_largest_activation_is_of_one_call() -> None:
    assert net().largest_activation == 12
    twice = Layer("x", "matmul", macs=1, inputs=30, outputs=10, calls=2)
    assert Counts("n", "table", (twice,)).largest_activation == 20


def test_groups_and_kinds_keep_every_number() -> None:
    for merged in (net().by_group(1), net().by_kind(), net().by_group()):
        assert sum(row.macs for row in merged.values()) == 148
        assert sum(row.params for row in merged.values()) == 44
        assert sum(row.params * row.share for row in merged.values()) == pytest.approx(38)
    assert list(net().by_group(1)) == ["stem", "a"]
    assert net().by_group(1)["stem"].kind == "conv2d"
    assert list(net().by_kind()) == ["conv2d", "linear", "batch_norm"]


def test_to_dict_is_json_with_the_convention() -> None:
    plain = json.loads(json.dumps(net().to_dict()))
    assert plain["totals"]["convention"] == C.CONVENTION
    assert plain["layers"][0]["flops"] == 200
    assert plain["unknown"][0]["kind"] == "mylib::warp"


def test_unknown_operators_are_said() -> None:
    assert net().warnings() == ["A note.", "Unknown operators, not in the MACs: mylib::warp x1 (first at a.0)."]


def test_merge_ops_adds_by_kind() -> None:
    merged = C.merge_ops([Op("relu", 1, 5, 5, "a"), Op("add", 1, 50, 50, "b"), Op("relu", 2, 6, 6, "c")])
    assert merged == (Op("add", 1, 50, 50, "b"), Op("relu", 3, 11, 11, "a"))


@given(st.lists(st.integers(1, 5), max_size=3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_matmul_macs_is_output_elements_times_inner_size(batch: list[int], m: int, k: int, n: int) -> None:
    a, b = np.zeros((*batch, m, k)), np.zeros((k, n))
    assert C.matmul_macs(a.shape, b.shape) == (a @ b).size * k
    assert C.matmul_macs(b.shape[::-1], (*batch[-1:], k, m)) == math.prod(batch[-1:]) * n * k * m


def test_matmul_macs_of_vectors_and_bad_shapes() -> None:
    assert C.matmul_macs((7,), (7,)) == 7
    assert C.matmul_macs((3, 7), (7,)) == 21
    assert C.matmul_macs((7,), (7, 3)) == 21
    with pytest.raises(ValueError, match="can't multiply"):
        C.matmul_macs((2, 3), (4, 5))
    with pytest.raises(ValueError, match="can't broadcast"):
        C.matmul_macs((2, 3, 4), (5, 4, 3))


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 24),
        ("bij,bjk", [(5, 2, 3), (5, 3, 4)], 120),
        ("...ij,jk->...ik", [(5, 6, 2, 3), (3, 4)], 30 * 24),
        ("i,j->ij", [(3,), (4,)], 0),  # an outer product is elementwise
        ("ij,ij->ij", [(3, 4), (3, 4)], 0),
        ("ij,ij->", [(3, 4), (3, 4)], 12),
        ("ia,jk,jk->k", [(9, 9), (3, 4), (3, 4)], 12),  # i and a are summed before any product
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 24 + 40),
        ("ii->i", [(3, 3)], 0),
    ],
)
def test_einsum_macs(equation: str, shapes: list[tuple[int, ...]], macs: int) -> None:
    assert C.einsum_macs(equation, shapes) == macs
    np.einsum(equation, *[np.zeros(s) for s in shapes])  # the case itself is valid


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ij,jk->ik", [(2, 3)]), ("ij->i", [(2, 3, 4)]), ("ij,jk->iz", [(2, 3), (3, 4)]), ("ij,jk", [(2, 3), (4, 5)])],
)
def test_einsum_that_does_not_fit(equation: str, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="einsum"):
        C.einsum_macs(equation, shapes)


def test_rnn_macs() -> None:
    assert C.rnn_macs(rows=12, gates=4, inputs=5, hidden=7, layers=1, directions=1) == 12 * 28 * 12
    assert C.rnn_macs(12, 4, 5, 7, 1, 1, proj=3) == 12 * (28 * 8 + 21)
    assert C.rnn_macs(1, 3, 5, 7, 2, 2) == 2 * (21 * 12 + 21 * 21)


def test_importing_the_package_imports_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, fieldsight.profile as p; p.Counts; p.CONVENTION;"
        "print([m for m in ('torch', 'onnx', 'scipy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    import fieldsight.profile as profile

    assert set(profile.__all__) == set(profile._WHERE)
    for name in profile.__all__:
        assert getattr(profile, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        profile.nothing_here  # noqa: B018
