"""The small generated models as torch modules: what closed forms are checked against and the host is timed with."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.profile.transformer import Decoder


def cnn(width: int, depth: int = 3, classes: int = 10) -> nn.Module:
    """The network of :func:`fieldsight.systems.energy.tables.cnn`, on (N, 3, H, W)."""
    layers: list[nn.Module] = []
    channels = 3
    for i in range(depth):
        out = width * 2 ** (i // 2)
        layers += [nn.Conv2d(channels, out, 3, stride=1 + i % 2, padding=1), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def mlp(width: int, depth: int = 3, inputs: int = 256, classes: int = 10) -> nn.Module:
    """The network of :func:`fieldsight.systems.energy.tables.mlp`, on (N, inputs)."""
    sizes = [inputs, *[width] * (depth - 1), classes]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Block(nn.Module):
    """A decoder block: norm, attention, norm, MLP, in the GPT convention."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor, cache: Tensor | None = None) -> Tensor:
        """(N, T, d) to the same; ``cache`` (2, N, heads, C, d / heads) holds earlier keys and values."""
        n, t, d = x.shape
        parts = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        if cache is not None:
            k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None and t > 1)
        x = x + self.out(seen.transpose(1, 2).reshape(n, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class ToyLM(nn.Module):
    """A language model in the GPT convention with a tied head, of any shape of Table 1's kind."""

    def __init__(self, shape: Decoder) -> None:
        super().__init__()
        self.shape = shape
        self.tokens, self.places = nn.Embedding(shape.vocab, shape.d), nn.Embedding(shape.positions, shape.d)
        self.blocks = nn.ModuleList(Block(shape.d, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.d)

    def forward(self, tokens: Tensor, caches: Tensor | None = None) -> Tensor:
        """Logits (N, T, V) of tokens (N, T); ``caches`` (L, 2, N, heads, C, d / heads) puts them after C others."""
        past = 0 if caches is None else caches.shape[4]
        places = torch.arange(past, past + tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.places(places)
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[i])
        return F.linear(self.norm(x), self.tokens.weight)

    def empty_cache(self, batch: int, length: int) -> Tensor:
        """Keys and values of ``length`` tokens for ``batch`` sequences, all zero."""
        s = self.shape
        return torch.zeros(s.layers, 2, batch, s.heads, length, s.d // s.heads)
