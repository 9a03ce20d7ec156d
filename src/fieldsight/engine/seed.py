"""Chance as a function of labels.

Nothing here is a stream that would have to be saved: the numbers for (seed, stage, epoch, item) are the same
whenever they are asked for. That is why a resumed run equals an uninterrupted one, and why the number of loader
workers changes nothing.
"""

from __future__ import annotations

import hashlib

import numpy as np


def digest(*labels: int | str) -> int:
    """A 128-bit number from labels; ``(1, "2")`` and ``("1", 2)`` differ."""
    text = "\x1f".join(f"{type(label).__name__}:{label}" for label in labels)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def rng_for(*labels: int | str) -> np.random.Generator:
    """A NumPy generator that depends on its labels only: ``rng_for(seed, "augment", epoch, item)``."""
    return np.random.Generator(np.random.PCG64(digest(*labels)))


def torch_seed(*labels: int | str) -> int:
    """A seed for ``torch.manual_seed`` from labels."""
    return digest(*labels) % 2**63
