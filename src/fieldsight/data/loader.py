"""Batches whose order and randomness depend on (seed, stage, epoch, item) only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError


class Items(Protocol):
    """What a loader reads: a length, and an item by number with the chance to use for its augmentation."""

    def __len__(self) -> int:
        """Number of items."""
        ...

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One item as named arrays, tensors or plain values; all randomness comes from ``rng``."""
        ...


class Loader:
    """Shuffled batches of :class:`Items`.

    Args:
        items: where items come from.
        batch: items per optimiser step, over all devices together, so that several devices train the same.
        seed: with the stage and the epoch it decides order and augmentation.
        shuffle: keep the order of items when False.
        drop_last: leave out a last batch that is not full.
        workers: loader processes; any number gives the same batches.

    Raises:
        DataError: there are no items.
    """

    def __init__(
        self, items: Items, batch: int, seed: int, shuffle: bool = True, drop_last: bool = False, workers: int = 0
    ) -> None:
        if len(items) == 0:
            raise DataError("A loader got no items. Check the split and the data folder.")
        self.items, self.batch, self.seed = items, batch, seed
        self.shuffle, self.drop_last, self.workers = shuffle, drop_last, workers

    def __len__(self) -> int:
        """Batches per epoch."""
        full, rest = divmod(len(self.items), self.batch)
        return max(1, full + (1 if rest and not self.drop_last else 0))

    def batches(
        self, stage: str, epoch: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[dict[str, Any]]:
        """The batches of an epoch from number ``start`` on, the part of one of ``world`` devices.

        Raises:
            ConfigError: the batch can't be shared evenly by that many devices.
        """
        if self.batch % world:
            raise ConfigError(f"A batch of {self.batch} can't be shared by {world} devices. Use a multiple of {world}.")
        keys = [
            [(self.seed, stage, epoch, index) for index in chosen[rank::world]]
            for chosen in self._order(stage, epoch)[start:]
        ]
        if self.workers == 0:
            return (collate([_fetch(self.items, key) for key in chunk]) for chunk in keys)
        from torch.utils.data import DataLoader

        return iter(
            DataLoader(
                _Keyed(self.items),  # type: ignore[arg-type]  # keys are tuples, not indices
                batch_sampler=keys,
                num_workers=self.workers,
                collate_fn=collate,
            )
        )

    def _order(self, stage: str, epoch: int) -> list[list[int]]:
        number = len(self.items)
        order = rng_for(self.seed, stage, epoch, "order").permutation(number) if self.shuffle else np.arange(number)
        size = self.batch
        return [[int(i) for i in order[k * size : (k + 1) * size]] for k in range(len(self))]


class _Keyed:
    """Lets torch's DataLoader ask for items by (seed, stage, epoch, index)."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, str, int, int]) -> dict[str, Any]:
        return _fetch(self.items, key)


def _fetch(items: Items, key: tuple[int, str, int, int]) -> dict[str, Any]:
    seed, stage, epoch, index = key
    return items.item(index, rng_for(seed, stage, epoch, "item", index))


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack arrays and tensors of one name along a new first axis; other values become lists."""
    batch: dict[str, Any] = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        if isinstance(first, Tensor):
            batch[name] = torch.stack(values)
        elif isinstance(first, np.ndarray):
            batch[name] = torch.from_numpy(np.stack(values))
        elif isinstance(first, (int, float)) and not isinstance(first, bool):
            batch[name] = torch.tensor(values)
        else:
            batch[name] = values
    return batch
