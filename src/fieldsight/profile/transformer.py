"""Closed-form counts of decoder language models, one token or one prompt, without building anything.

For the GPT convention (tied head, learned positions, biases, 4 d wide MLP) with L layers, width d, vocabulary V and
context C the formulas reduce to

    N = 12 L d^2 + 13 L d + 2 d + (V + C) d        (R10)
    F = 24 L d^2 + 4 L C d + 2 V d                 (R11, with the logits)
    n_kv = 2 L C d                                 (R12)

Grouped heads, gated MLPs, experts, sliding windows, untied heads and the biases of each family are in the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fieldsight.errors import DataError
from fieldsight.profile.counts import Counts, Layer

Phase = Literal["decode", "prefill"]

#: More blocks than any model has; a config that asks for more is damaged.
MOST_LAYERS = 2_000


@dataclass(frozen=True)
class Decoder:
    """The shape of a decoder language model.

    Attributes:
        name: name in tables.
        vocab: tokens in the vocabulary (n_word).
        context: longest context (n_context).
        d: width (d_model).
        layers: blocks (n_layer).
        heads: query heads (n_head).
        kv_heads: key and value heads; fewer than ``heads`` with grouped queries.
        head_dim: width of a head (d_head).
        ffn: width of the MLP.
        gated: three matrices in the MLP (gate, up, down) instead of two.
        qkv_bias, out_bias, mlp_bias, head_bias: which matrices have biases.
        norm: parameters of one norm: 2 d (scale and shift), d (scale) or 0.
        norms: norms in a block.
        qk_norm: parameters of the norms of queries and keys in a block.
        final_norm: a norm before the head.
        embed_norm: a norm after the embedding.
        positions: rows of a learned position table, 0 without one.
        tied: the head is the embedding table.
        embed: width of the embedding where it differs from ``d`` (two projections then), 0 where not.
        window: reach of sliding-window attention, 0 without one.
        local: indices of the blocks with that window; empty means all when there is a window.
        experts: experts in a block, 0 without any.
        active: experts that one token uses.
        expert_ffn: width of one expert.
        shared_ffn: width of the expert that every token uses, 0 without one.
        dense: indices of blocks with an ordinary MLP although there are experts.
    """

    name: str
    vocab: int
    context: int
    d: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    gated: bool = False
    qkv_bias: bool = True
    out_bias: bool = True
    mlp_bias: bool = True
    head_bias: bool = False
    norm: int = 0
    norms: int = 2
    qk_norm: int = 0
    final_norm: bool = True
    embed_norm: bool = False
    positions: int = 0
    tied: bool = True
    embed: int = 0
    window: int = 0
    local: frozenset[int] = frozenset()
    experts: int = 0
    active: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    dense: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        problems = [
            f"{key} must be a whole number >= 1, got {value!r}"
            for key in ("vocab", "context", "d", "layers", "heads", "kv_heads", "head_dim", "ffn")
            if not isinstance(value := getattr(self, key), int) or isinstance(value, bool) or value < 1
        ]
        if not problems and self.layers > MOST_LAYERS:
            problems.append(f"{self.layers:,} layers are more than {MOST_LAYERS:,}")
        if not problems and self.heads % self.kv_heads:
            problems.append(f"{self.heads} query heads can't share {self.kv_heads} key/value heads evenly")
        if not problems and self.experts and not (0 < self.active <= self.experts and self.expert_ffn > 0):
            problems.append(f"{self.active} of {self.experts} experts of width {self.expert_ffn} make no sense")
        if problems:
            raise DataError(f"The decoder '{self.name}' can't be: {'; '.join(problems)}.")

    def reach(self, block: int, context: int) -> int:
        """Keys that a token in a block sees at a context."""
        windowed = self.window and (not self.local or block in self.local)
        return min(context, self.window) if windowed else context


def gpt(name: str, vocab: int, context: int, d: int, layers: int, heads: int) -> Decoder:
    """A model of the paper's Table 1: GPT convention, so that (R10) to (R12) hold.

    Raises:
        DataError: a size below 1, or a width that the heads do not divide.
    """
    if heads < 1 or d % heads:
        raise DataError(f"The width {d} of '{name}' is not a multiple of its {heads} heads.")
    return Decoder(name, vocab, context, d, layers, heads, heads, d // heads, 4 * d, norm=2 * d, positions=context)


def count_decoder(
    model: Decoder,
    context: int | None = None,
    phase: Phase = "decode",
    *,
    attention: Literal["dense", "causal"] = "dense",
    logits: Literal["all", "last"] = "all",
) -> Counts:
    """Count one decoded token at a context, or one prompt in a single pass.

    Args:
        model: the shape.
        context: ``decode``: tokens that the new token attends to, itself included; ``prefill``: tokens of the prompt.
            By default the longest.
        phase: ``decode`` or ``prefill``.
        attention: in a prefill, count every pair of tokens (``dense``, as plain kernels and hooks do), or only those
            that the causal mask and the window leave (``causal``).
        logits: in a prefill, the head for all tokens or for the last one.

    Returns:
        Counts with ``samples`` 1. ``kv`` holds the cache elements read by a decoded token (R12), or written by a
        prefill.

    Raises:
        DataError: the context is below 1, or longer than a learned position table.
    """
    length = model.context if context is None else context
    if length < 1 or (model.positions and length > model.context):
        raise DataError(f"'{model.name}' takes contexts from 1 to {model.context}, got {length}.")
    tokens = length if phase == "prefill" else 1
    rows = list(_rows(model, length, tokens, phase, attention, logits))
    notes = [] if length <= model.context else [f"The context {length} is beyond the model's {model.context}."]
    unit = "token" if phase == "decode" else f"prompt of {length} tokens"
    return Counts(model.name, "config", tuple(rows), unit=unit, notes=tuple(notes))


def _rows(m: Decoder, length: int, tokens: int, phase: Phase, attention: str, logits: str) -> Iterator[Layer]:
    embed = m.embed or m.d
    # a tied table is written down once, at the head, which reads all of it
    yield Layer("embedding", "embedding", 0 if m.tied else m.vocab * embed, outputs=tokens * embed)
    if m.positions:
        yield Layer("positions", "embedding", m.positions * m.d, outputs=tokens * m.d)
    if m.embed:
        yield _linear("project_in", embed, m.d, tokens, bias=False)
    if m.embed_norm:
        yield Layer("embedding_norm", "norm", biases=m.norm)
    for block in range(m.layers):
        yield from _block(m, block, length, tokens, phase, attention)
    if m.final_norm:
        yield Layer("final_norm", "norm", biases=m.norm)
    if m.embed:
        yield _linear("project_out", m.d, embed, tokens, bias=False)
    scored = tokens if logits == "all" else 1
    yield _linear("head", embed, m.vocab, scored, m.head_bias)


def _block(m: Decoder, block: int, length: int, tokens: int, phase: Phase, attention: str) -> Iterator[Layer]:
    at = f"layers.{block}."
    queries, keys = m.heads * m.head_dim, m.kv_heads * m.head_dim
    yield _linear(at + "qkv", m.d, queries + 2 * keys, tokens, m.qkv_bias)
    reach = m.reach(block, length)
    if phase == "decode":
        pairs, cached = reach, reach
    else:
        # a token at position i (from 1) sees min(i, reach) keys
        causal = reach * (reach + 1) // 2 + (length - reach) * reach
        pairs, cached = (causal if attention == "causal" else length * length), length
    yield Layer(
        at + "attention",
        "attention",
        macs=2 * pairs * queries,
        inputs=tokens * (queries + 2 * keys),  # what comes out of the cache is in kv
        outputs=tokens * queries,
        kv=2 * cached * keys,
    )
    yield _linear(at + "out", queries, m.d, tokens, m.out_bias)
    if m.experts and block not in m.dense:
        yield from _experts(m, at, tokens)
    else:
        yield from _mlp(at + "mlp", m.d, m.ffn, tokens, m.gated, m.mlp_bias)
    yield Layer(at + "norms", "norm", biases=m.norms * m.norm + m.qk_norm)


def _experts(m: Decoder, at: str, tokens: int) -> Iterator[Layer]:
    yield _linear(at + "router", m.d, m.experts, tokens, bias=False)
    one = 3 if m.gated else 2
    yield Layer(
        at + "experts",
        "linear",
        m.experts * one * m.d * m.expert_ffn,
        macs=tokens * m.active * one * m.d * m.expert_ffn,
        inputs=tokens * m.active * (m.d + m.expert_ffn),
        outputs=tokens * m.active * ((one - 1) * m.expert_ffn + m.d),
        share=m.active / m.experts,
    )
    if m.shared_ffn:
        yield from _mlp(at + "shared", m.d, m.shared_ffn, tokens, m.gated, bias=False)
        yield _linear(at + "shared_gate", m.d, 1, tokens, bias=False)


def _mlp(name: str, d: int, width: int, tokens: int, gated: bool, bias: bool) -> Iterator[Layer]:
    yield _linear(name + ".up", d, width * (2 if gated else 1), tokens, bias)
    yield _linear(name + ".down", width, d, tokens, bias)


def _linear(name: str, inputs: int, outputs: int, tokens: int, bias: bool) -> Layer:
    size = inputs * outputs
    return Layer(name, "linear", size, outputs if bias else 0, tokens * size, tokens * inputs, tokens * outputs)


def decode_macs_kv(model: Decoder, contexts: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """MACs and KV elements of one decoded token at each of many contexts.

    Args:
        model: the shape.
        contexts: any shape of whole numbers >= 1.

    Returns:
        Two arrays of that shape, equal to what :func:`count_decoder` gives one by one.
    """
    at = np.asarray(contexts, dtype=np.float64)
    base = count_decoder(model, 1)
    fixed = base.macs - sum(row.macs for row in base.layers if row.kind == "attention")
    seen = np.zeros_like(at)
    reaches = [
        model.window if model.window and (not model.local or b in model.local) else 0 for b in range(model.layers)
    ]
    for reach in set(reaches):
        seen += reaches.count(reach) * (np.minimum(at, reach) if reach else at)
    return fixed + 2 * seen * model.heads * model.head_dim, 2 * seen * model.kv_heads * model.head_dim
