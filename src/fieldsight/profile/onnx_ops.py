"""What every ONNX operator costs: MACs from shapes, "arithmetic but no MACs", free, or unknown.

Formulas get a :class:`Node`: shapes of inputs and outputs and the attributes. They raise ``KeyError`` (as
:class:`MissingShapeError`) for a tensor without a known shape, which the reader turns into a sentence for the user.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fieldsight.profile.counts import (
    attention_macs,
    conv_macs,
    conv_transpose_macs,
    einsum_macs,
    matmul_macs,
)

Size = tuple[int, ...]


class MissingShapeError(KeyError):
    """A tensor that a formula needs has no known shape; the argument is its name."""


class NotCountedError(ValueError):
    """An operator in a form that no formula here covers; the argument says which."""


@dataclass(frozen=True)
class Node:
    """One operator as formulas see it."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]
    shapes: Mapping[str, Size]
    constants: frozenset[str] = field(default_factory=frozenset)

    def size(self, place: int) -> Size:
        """Shape of an input."""
        return self._known(self.inputs[place])

    def out(self, place: int = 0) -> Size:
        """Shape of an output."""
        return self._known(self.outputs[place])

    def given(self, place: int) -> bool:
        """True when an optional input is there."""
        return place < len(self.inputs) and bool(self.inputs[place])

    def _known(self, name: str) -> Size:
        if name not in self.shapes:
            raise MissingShapeError(name)
        return self.shapes[name]


Formula = Callable[[Node], int]


def _conv(weight: int) -> Formula:
    def macs(n: Node) -> int:
        kernel, channels = n.size(weight), n.size(0)[1]
        if channels != kernel[1] * int(n.attributes.get("group", 1)) and n.op != "CausalConvWithState":
            raise ValueError(f"{n.op} has weights {kernel} for an input of {channels} channels")
        return conv_macs(math.prod(n.out()), kernel)

    return macs


def _product(a: int, b: int) -> Formula:
    return lambda n: matmul_macs(n.size(a), n.size(b))


def _gemm(a: int, b: int) -> Formula:
    def macs(n: Node) -> int:
        left, right = n.size(a), n.size(b)
        if len(left) < 2 or len(right) < 2:
            raise NotCountedError(f"operands of shapes {left} and {right}")
        turned = [
            (*s[:-2], s[-1], s[-2]) if n.attributes.get(key) else s for s, key in ((left, "transA"), (right, "transB"))
        ]
        return matmul_macs(turned[0], turned[1])

    return macs


def _nbits(n: Node) -> int:
    return math.prod(n.size(0)) * int(n.attributes["N"])


def _recurrent(n: Node) -> int:
    # every weight matrix meets every time step once; W and R hold both directions
    size = n.size(0)
    return math.prod(size[:-1]) * (math.prod(n.size(1)[1:]) + math.prod(n.size(2)[1:])) * n.size(1)[0]


def _einsum(n: Node) -> int:
    return einsum_macs(str(n.attributes["equation"]), [n.size(i) for i in range(len(n.inputs))])


def _attention(n: Node) -> int:
    """ai.onnx Attention: Q, K, V of rank 4 (B, heads, T, d) or 3 (B, T, heads d); past keys make K longer."""
    query, key, value = n.size(0), n.size(1), n.size(2)
    if len(query) == 3:
        heads, groups = int(n.attributes["q_num_heads"]), int(n.attributes["kv_num_heads"])
        query = (query[0], heads, query[1], query[2] // heads)
        key = (key[0], groups, key[1], key[2] // groups)
        value = (value[0], groups, value[1], value[2] // groups)
    if n.given(4):
        key = (*key[:2], key[2] + n.size(4)[2], key[3])
    return attention_macs(query, key, value)


def _multi_head(n: Node) -> int:
    """com.microsoft MultiHeadAttention with separate Q (B, T, D), K and V."""
    if not (n.given(1) and n.given(2)) or len(n.size(0)) != 3 or len(n.size(1)) != 3:
        raise NotCountedError("packed queries, keys and values")
    (batch, length, width), past = n.size(0), n.size(6)[2] if n.given(6) else 0
    return batch * length * (n.size(1)[1] + past) * (width + n.size(2)[-1])


def _grouped_query(n: Node) -> int:
    """com.microsoft GroupQueryAttention: the longest key sequence that its cache has room for."""
    if not (n.given(1) and n.given(2)):
        raise NotCountedError("packed queries, keys and values")
    heads, groups = int(n.attributes["num_heads"]), int(n.attributes["kv_num_heads"])
    batch, length, width = n.size(0)
    keys = max(n.size(1)[1], n.size(3)[2] if n.given(3) else 0)
    return batch * length * keys * (width + n.size(2)[-1] // groups * heads)


def _fused_attention(n: Node) -> int:
    """com.microsoft Attention: projections of one input (B, T, D) by a (D, 3 D) matrix, then attention."""
    (batch, length, _), width = n.size(0), n.size(1)[1] // 3
    if "qkv_hidden_sizes" in n.attributes or n.given(4):
        raise NotCountedError("uneven projections or a past")
    return math.prod(n.size(0)) * n.size(1)[1] + 2 * batch * length * length * width


# operator -> kind, formula, inputs that are activations unless constant
MACS: dict[str, tuple[str, Formula, tuple[int, ...]]] = {
    "Conv": ("conv", _conv(1), (0, 1)),
    "ConvTranspose": ("conv_transpose", lambda n: conv_transpose_macs(math.prod(n.size(0)), n.size(1)), (0,)),
    "ConvInteger": ("conv", _conv(1), (0,)),
    "QLinearConv": ("conv", _conv(3), (0,)),
    "DeformConv": ("deform_conv", _conv(1), (0,)),
    "CausalConvWithState": ("conv", _conv(1), (0,)),
    "Gemm": ("linear", _gemm(0, 1), (0, 1)),
    "MatMul": ("matmul", _product(0, 1), (0, 1)),
    "MatMulInteger": ("matmul", _product(0, 1), (0, 1)),
    "QLinearMatMul": ("matmul", _product(0, 3), (0, 3)),
    "Einsum": ("einsum", _einsum, (0, 1, 2)),
    "LSTM": ("lstm", _recurrent, (0,)),
    "GRU": ("gru", _recurrent, (0,)),
    "RNN": ("rnn", _recurrent, (0,)),
    "Attention": ("attention", _attention, (0, 1, 2)),
    "com.microsoft.FusedConv": ("conv", _conv(1), (0,)),
    "com.microsoft.FusedGemm": ("linear", _gemm(0, 1), (0, 1)),
    "com.microsoft.FusedMatMul": ("matmul", _gemm(0, 1), (0, 1)),
    "com.microsoft.GemmFastGelu": ("linear", _product(0, 1), (0, 1)),
    "com.microsoft.QGemm": ("linear", _gemm(0, 3), (0,)),
    "com.microsoft.MatMulIntegerToFloat": ("matmul", _product(0, 1), (0, 1)),
    "com.microsoft.DynamicQuantizeMatMul": ("matmul", _product(0, 1), (0, 1)),
    "com.microsoft.MatMulNBits": ("linear", _nbits, (0,)),
    "com.microsoft.Attention": ("attention", _fused_attention, (0,)),
    "com.microsoft.MultiHeadAttention": ("attention", _multi_head, (0, 1, 2)),
    "com.microsoft.GroupQueryAttention": ("attention", _grouped_query, (0, 1, 2)),
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Operators that move, make or name elements.
FREE = _words(
    "Identity Reshape Transpose Flatten Squeeze Unsqueeze Concat Split Slice Gather GatherElements GatherND Scatter "
    "ScatterElements ScatterND Pad Expand Tile Shape Size Constant ConstantOfShape Cast CastLike BitCast Dropout "
    "EyeLike Range OneHot DepthToSpace SpaceToDepth CenterCropPad Trilu Compress ReverseSequence RandomNormal "
    "RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial HammingWindow HannWindow BlackmanWindow "
    "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SplitToSequence "
    "ConcatFromSequence Optional OptionalGetElement OptionalHasElement TensorScatter Unique NonZero"
)

#: Operators of the default domain whose cost no element count tells.
OPAQUE = _words(
    "Det LinearAttention ImageDecoder NonMaxSuppression RegexFullMatch StringConcat StringNormalizer StringSplit "
    "TfIdfVectorizer SequenceMap"
)

#: com.microsoft operators with arithmetic of the order of their elements.
MICROSOFT = _words(
    "BiasGelu FastGelu Gelu QuickGelu BiasAdd BiasSplitGelu LayerNormalization SkipLayerNormalization "
    "SimplifiedLayerNormalization SkipSimplifiedLayerNormalization EmbedLayerNormalization SkipGroupNorm GroupNorm "
    "QLinearAdd QLinearMul QLinearSigmoid QLinearLeakyRelu QLinearSoftmax QLinearAveragePool QLinearConcat "
    "QLinearGlobalAveragePool QLinearReduceMean QuantizeLinear DequantizeLinear RotaryEmbedding GridSample"
)

#: Operators through which a constant stays a constant.
FOLDED = _words(
    "Identity Reshape Transpose Flatten Squeeze Unsqueeze Cast DequantizeLinear QuantizeLinear Slice Concat Expand "
    "Split Constant ConstantOfShape"
)

#: Inputs that are neither weights nor activations: running statistics, first states, scales and zero points.
STATISTICS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4),
    "LSTM": (5, 6),
    "GRU": (5,),
    "RNN": (5,),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "com.microsoft.QGemm": (1, 2, 4, 5, 7, 8),
    "com.microsoft.MatMulNBits": (2, 3),
    "com.microsoft.MatMulIntegerToFloat": (2, 3, 4, 5),
    "com.microsoft.DynamicQuantizeMatMul": (2, 3),
}
