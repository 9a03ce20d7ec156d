"""Samples of detection by split, as trainings take them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fieldsight.data.detection.sample import DetectionSample
from fieldsight.errors import DataError


@dataclass(frozen=True)
class Splits:
    """Samples by split, and what their labels are called."""

    train: list[DetectionSample]
    val: list[DetectionSample]
    test: list[DetectionSample]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, samples: Iterable[DetectionSample], classes: tuple[str, ...]) -> Splits:
        """Samples by the split that each names, in their order."""
        parts: dict[str, list[DetectionSample]] = {"train": [], "val": [], "test": []}
        for sample in samples:
            if sample.split in parts:
                parts[sample.split].append(sample)
        return cls(**parts, classes=classes)

    def usable(self, data: Path, advice: str) -> Splits:
        """Itself, where a training can use it.

        Args:
            data: where it was read, for messages.
            advice: what to do where a split is missing, as a sentence.

        Raises:
            DataError: a split is empty, or no training picture has a box that counts.
        """
        empty = [name for name in ("train", "val", "test") if not getattr(self, name)]
        if empty:
            raise DataError(f"'{data}' has no pictures of the split {' and '.join(empty)}. {advice}")
        if not any((~sample.truth().ignore).any() for sample in self.train):
            raise DataError(f"'{data}' has no box in the whole training split. Check its labels.")
        return self
