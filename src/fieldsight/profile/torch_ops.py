"""What every torch operator costs: MACs, "arithmetic but no MACs", free, or unknown.

A :class:`Plan` is made once an operator. Its ``shape`` stands in for torch's own meta kernel where that one is slow;
counts are the same either way, which a test holds.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fieldsight.profile.counts import attention_macs, conv_macs, conv_transpose_macs, matmul_macs
from fieldsight.profile.torch_shapes import SHAPES, Args, Shape

Macs = Callable[[Args, Mapping[str, Any], Any], int]
Role = Literal["macs", "arithmetic", "lookup", "free", "composite", "unknown"]


@dataclass(frozen=True)
class Plan:
    """What to do with one operator.

    Attributes:
        role: whether it has MACs, other arithmetic, none, or is made of other operators.
        kind: its name in the tables.
        macs: the formula, for ``role == "macs"``.
        reads: which arguments hold activations (weights among them are left out when they are parameters).
        shape: shape arithmetic in place of the meta kernel, or None.
        always: the meta kernel refuses what the real one takes, so shape arithmetic stands in always.
    """

    role: Role
    kind: str
    macs: Macs | None = None
    reads: tuple[int, int] = (0, 1)
    shape: Shape | None = None
    always: bool = False


# --------------------------------------------------------------------------------------------- MACs


def _conv(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    return conv_macs(out.numel(), args[1].shape)


def _conv_transpose(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    return conv_transpose_macs(args[0].numel(), args[1].shape)


def _convolution(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    return _conv_transpose(args, kwargs, out) if args[6] else _conv(args, kwargs, out)


def _linear(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    weight = args[1]
    return int(args[0].numel() * (weight.shape[0] if weight.dim() == 2 else 1))


def _product(first: int) -> Macs:
    def macs(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
        return matmul_macs(args[first].shape, args[first + 1].shape)

    return macs


def _grouped(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    # 2-D x 3-D: tokens sorted by expert; 2-D x 2-D: groups along the contracted dimension
    a, b = args[0], args[1]
    return int(a.numel() * b.shape[-1]) if 2 in (a.dim(), b.dim()) else matmul_macs(a.shape, b.shape)


def _rows_times_columns(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    return int(args[0].numel() * out.shape[-1])


def _attention(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    return attention_macs(args[0].shape, args[1].shape, args[2].shape)


def _bilinear(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    # x1 W first (in1 x in2 products per output), then the dot product with x2
    return int(out.numel() * (args[2].shape[1] + 1) * args[2].shape[2])


def _rnn(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    # every weight matrix meets every time step of every sequence once; (input, hx, params) or (data, sizes, hx, params)
    packed = isinstance(args[1], Tensor) and isinstance(args[3], (list, tuple))
    params = args[3] if packed else args[2]
    rows = args[0].numel() // args[0].shape[-1]
    return int(rows * sum(w.numel() for w in params if w.dim() == 2))


def _mha_fused(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    query, key, value, width = args[0], args[1], args[2], args[3]
    projections = (query.numel() + key.numel() + value.numel()) * width + query.numel() * args[7].shape[0]
    return int(projections + 2 * query.numel() * key.shape[1])


def _encoder_layer_fused(args: Args, kwargs: Mapping[str, Any], out: Any) -> int:
    source, matrices = args[0], [a for a in args[3:] if isinstance(a, Tensor) and a.dim() == 2]
    width = int(args[1])
    lengths = source._nested_tensor_size()[:, 0].tolist() if source.is_nested else [source.shape[1]] * source.shape[0]
    dense = sum(lengths) * sum(int(w.numel()) for w in matrices[:4])
    return int(dense + 2 * width * sum(n * n for n in lengths))


_MACS: dict[str, tuple[str, Macs]] = {
    "aten::conv1d": ("conv1d", _conv),
    "aten::conv2d": ("conv2d", _conv),
    "aten::conv3d": ("conv3d", _conv),
    "aten::conv_transpose1d": ("conv_transpose1d", _conv_transpose),
    "aten::conv_transpose2d": ("conv_transpose2d", _conv_transpose),
    "aten::conv_transpose3d": ("conv_transpose3d", _conv_transpose),
    "aten::convolution": ("convolution", _convolution),
    "aten::_convolution": ("convolution", _convolution),
    "aten::conv_tbc": ("conv1d", lambda a, k, out: int(out.numel() * a[1].shape[0] * a[1].shape[1])),
    "torchvision::deform_conv2d": ("deform_conv2d", _conv),
    "aten::linear": ("linear", _linear),
    "aten::matmul": ("matmul", _product(0)),
    "aten::mm": ("matmul", _product(0)),
    "aten::bmm": ("matmul", _product(0)),
    "aten::mv": ("matmul", _product(0)),
    "aten::dot": ("matmul", _product(0)),
    "aten::vdot": ("matmul", _product(0)),
    "aten::_int_mm": ("matmul", _product(0)),
    "aten::_scaled_mm": ("matmul", _product(0)),
    "aten::addmm": ("matmul", _product(1)),
    "aten::_addmm_activation": ("matmul", _product(1)),
    "aten::addmv": ("matmul", _product(1)),
    "aten::addbmm": ("matmul", _product(1)),
    "aten::baddbmm": ("matmul", _product(1)),
    "aten::_grouped_mm": ("matmul", _grouped),
    "aten::_weight_int8pack_mm": ("linear", _rows_times_columns),
    "aten::_weight_int4pack_mm": ("linear", _rows_times_columns),
    "aten::bilinear": ("bilinear", _bilinear),
    "aten::lstm": ("lstm", _rnn),
    "aten::gru": ("gru", _rnn),
    "aten::rnn_tanh": ("rnn", _rnn),
    "aten::rnn_relu": ("rnn", _rnn),
    "aten::scaled_dot_product_attention": ("attention", _attention),
    "aten::_scaled_dot_product_flash_attention": ("attention", _attention),
    "aten::_scaled_dot_product_flash_attention_for_cpu": ("attention", _attention),
    "aten::_scaled_dot_product_efficient_attention": ("attention", _attention),
    "aten::_scaled_dot_product_cudnn_attention": ("attention", _attention),
    "aten::_native_multi_head_attention": ("multihead_attention", _mha_fused),
    "aten::_transformer_encoder_layer_fwd": ("encoder_layer", _encoder_layer_fused),
}

# which arguments are activations, where it is not the first one alone
_READS: dict[str, tuple[int, int]] = {
    "matmul": (0, 2),
    "attention": (0, 3),
    "multihead_attention": (0, 3),
    "bilinear": (0, 2),
}
_ADDED = frozenset({"aten::addmm", "aten::_addmm_activation", "aten::addmv", "aten::addbmm", "aten::baddbmm"})

# ------------------------------------------------------------------- arithmetic that is no MAC, and none


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# composite or untagged operators with arithmetic of the order of their elements
_ARITHMETIC = _words(
    """
    batch_norm layer_norm group_norm instance_norm rms_norm native_batch_norm native_layer_norm
    native_group_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _fused_rms_norm
    local_response_norm renorm _weight_norm _weight_norm_interface normalize softmax _softmax log_softmax
    _log_softmax _safe_softmax _masked_softmax logsumexp avg_pool1d avg_pool2d avg_pool3d max_pool1d
    max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices max_pool1d_with_indices
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d
    max_unpool2d max_unpool3d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d
    upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d grid_sampler grid_sampler_2d
    grid_sampler_3d affine_grid_generator sum nansum mean nanmean prod std var std_mean var_mean norm
    linalg_vector_norm amax amin max min aminmax _aminmax median nanmedian mode argmax argmin all any
    count_nonzero cumsum cumprod cummax cummin logcumsumexp trace _logcumsumexp _cummax_helper _cummin_helper
    sort argsort topk kthvalue bucketize searchsorted histc bincount unique_consecutive isin dist prelu
    _prelu_kernel rrelu rrelu_with_noise log_sigmoid log_sigmoid_forward glu hardswish gelu relu6 celu softmin
    floor_divide embedding_bag _embedding_bag _embedding_bag_forward_only index_add scatter_add scatter_reduce
    index_reduce segment_reduce addr outer ger cross linalg_cross mse_loss smooth_l1_loss huber_loss
    nll_loss_forward nll_loss2d_forward binary_cross_entropy binary_cross_entropy_with_logits _fft_c2c
    _fft_c2r _fft_r2c complex polar _add_relu nonzero quantize_per_tensor quantize_per_channel
    quantize_per_tensor_dynamic dequantize fake_quantize_per_tensor_affine_cachemask
    fake_quantize_per_channel_affine_cachemask
    """
)

# moves, makes or names elements
_FREE = _words(
    """
    clone contiguous copy _to_copy _copy_from lift lift_fresh lift_fresh_copy detach detach_copy alias_copy
    view_copy flatten reshape view expand permute _unsafe_view _reshape_alias _reshape_copy expand_copy
    unfold_copy empty empty_like empty_strided empty_permuted new_empty new_empty_strided new_zeros new_ones
    new_full zeros zeros_like ones ones_like full full_like fill zero arange range linspace logspace eye
    scalar_tensor tensor rand rand_like randn randn_like randint randint_like randperm normal uniform
    bernoulli random exponential geometric multinomial native_dropout dropout feature_dropout alpha_dropout
    feature_alpha_dropout normal_functional hann_window hamming_window bartlett_window blackman_window
    kaiser_window cat concat concatenate stack _stack hstack vstack dstack column_stack block_diag repeat
    repeat_interleave tile roll flip rot90 fliplr flipud constant_pad_nd pad reflection_pad1d reflection_pad2d
    reflection_pad3d replication_pad1d replication_pad2d replication_pad3d _pad_circular pixel_shuffle
    pixel_unshuffle channel_shuffle native_channel_shuffle im2col col2im unsafe_split unsafe_split_with_sizes
    split_copy split_with_sizes_copy slice_scatter select_scatter diagonal_scatter as_strided_scatter
    diag_embed index index_select index_put _index_put_impl index_fill index_copy _unsafe_index
    _unsafe_index_put gather scatter take take_along_dim masked_select masked_scatter masked_fill put
    nonzero_static tril triu tril_indices triu_indices one_hot meshgrid cartesian_prod unique_dim _unique2
    _unique resize resize_as set t transpose squeeze unsqueeze as_strided swapaxes swapdims is_same_size
    is_pinned _pin_memory pin_memory _local_scalar_dense item equal allclose is_nonzero sym_size sym_stride
    sym_numel sym_storage_offset size stride numel dim _assert_async _assert_scalar _assert_tensor_metadata
    _functional_assert_async _functional_assert_scalar _has_same_storage_numel _fused_sdp_choice
    _pack_padded_sequence _pad_packed_sequence _nested_tensor_from_mask _nested_tensor_from_mask_left_aligned
    _nested_tensor_size to_padded_tensor _nested_tensor_from_tensor_list result_type promote_types
    is_floating_point is_complex _print type_as _efficientzerotensor _mkldnn_reshape to_mkldnn to_dense
    _to_dense view_as_real_copy view_as_complex_copy copy_sparse_to_sparse
    _linalg_check_errors
    """
)

# ----------------------------------------------------------------------------------------------- plans


@functools.cache
def plan(func: Any) -> Plan:
    """The plan of one operator overload (``torch.ops.aten.conv2d.default``)."""
    name = func._schema.name
    namespace, _, base = name.partition("::")
    kind = base.rstrip("_") if not base.startswith("__") else base.strip("_")
    shape = SHAPES.get(f"{name}.{func._overloadname}", SHAPES.get(name))
    counted = _MACS.get(name) or _MACS.get(f"{namespace}::{kind}")
    if counted is not None:
        if func._overloadname in ("padding",) or name.startswith("aten::_convolution"):
            shape = None
        reads = (1, 3) if name.rstrip("_") in _ADDED else _READS.get(counted[0], (0, 1))
        return Plan("macs", counted[0], counted[1], reads, shape, always=name == "aten::_grouped_mm")
    if namespace in ("prim", "prims"):
        return Plan("free" if namespace == "prim" else "unknown", name)
    if namespace != "aten":
        return Plan("composite" if _decomposes(func) else "unknown", name)
    if kind == "embedding":
        return Plan("lookup", "embedding", shape=shape)
    if kind in _FREE or func.is_view:
        return Plan("free", kind, shape=shape)
    tags = {torch.Tag.pointwise, getattr(torch.Tag, "reduction", None)}
    if kind in _ARITHMETIC or tags & set(func.tags):
        return Plan("arithmetic", kind.lstrip("_"), shape=shape)
    return Plan("composite" if _decomposes(func) else "unknown", kind)


def _decomposes(func: Any) -> bool:
    try:
        return bool(func._can_decompose())
    except RuntimeError:  # TorchScript's own overloads have no dispatcher entry
        return False


def elements(values: Any) -> int:
    """Elements of the largest tensor among arguments, lists of tensors included."""
    largest = 0
    for value in values:
        if isinstance(value, Tensor):
            largest = max(largest, math.prod(value.shape) if not value.is_nested else value.numel())
        elif isinstance(value, (list, tuple)):
            largest = max(largest, elements(value))
    return largest


def first_tensor(out: Any) -> Tensor | None:
    """The first tensor of an operator's result, or None."""
    if isinstance(out, Tensor):
        return out
    if isinstance(out, (list, tuple)):
        return next((t for t in map(first_tensor, out) if t is not None), None)
    return None
