"""Photos with boxes as :class:`fieldsight.data.loader.Loader` wants them: items of one shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fieldsight.data.detection.augment import Example, Recipe, hide_ignored, train_view
from fieldsight.data.detection.letterbox import letterbox, place, resized, to_input
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.errors import ConfigError, DataError


class DetectionItems:
    """Items of a split: augmented for training, or letterboxed as in prediction.

    An item holds ``image`` ``(3, S, S)`` float32 in 0-1, ``boxes`` ``(K, 4)`` float32 xyxy in pixels of the image,
    ``labels`` ``(K,)`` int64 with -1 in the rows of padding, and ``index`` of the sample. K is the same for all.

    Args:
        samples: the split.
        side: S, a multiple of 32.
        recipe: of the augmentation; None letterboxes and changes nothing else.
        count: items an epoch; the number of samples where it is None. Item ``n`` begins with sample ``n`` modulo their
            number.
        max_boxes: K; the largest boxes are kept where there are more. None takes what the fullest photo needs, four
            times that with mosaics; :func:`trim` cuts a batch down to what is in it.
        hide: paint ignored regions grey (in training too, nothing is learnt there); False only leaves their boxes out.
        cache: bytes of resized photos to keep, in every worker.

    Raises:
        ConfigError: a side that is no multiple of 32, or max_boxes or count below 1.
        DataError: no samples.
    """

    def __init__(
        self,
        samples: Sequence[DetectionSample],
        side: int,
        recipe: Recipe | None = None,
        count: int | None = None,
        max_boxes: int | None = None,
        hide: bool = True,
        cache: int = 0,
    ) -> None:
        if not samples:
            raise DataError("There are no photos to learn from. Check the split and the data folder.")
        if (count is not None and count < 1) or (max_boxes is not None and max_boxes < 1):
            raise ConfigError(f"count and max_boxes must be 1 or more, got {count} and {max_boxes}.")
        place((side, side), side)  # refuses a side that does not fit
        self.samples, self.side, self.recipe, self.hide = list(samples), side, recipe, hide
        self.count = len(self.samples) if count is None else count
        most = max(int(np.count_nonzero(~s.truth().ignore)) for s in self.samples)
        parts = 4 if recipe is not None and recipe.mosaic > 0 else 1
        self.max_boxes = max(1, parts * most) if max_boxes is None else max_boxes
        self.free, self.kept = cache, dict[int, Example]()

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One item, see the class; all chance comes from ``rng``."""
        number = index % len(self.samples)
        if self.recipe is None:
            example = self._letterboxed(number)
        else:
            chosen = [number]
            if rng.random() < self.recipe.mosaic:
                chosen += [int(n) for n in rng.integers(len(self.samples), size=3)]
            example = train_view([self._fitted(n) for n in chosen], rng, self.side, self.recipe)
        return {"image": to_input(example.picture)[0], **self._padded(example), "index": number}

    def _letterboxed(self, number: int) -> Example:
        sample = self.samples[number]
        truth, where = sample.truth(), place(sample.size, self.side)
        example = Example(letterbox(sample.image(), where), where.into(truth.boxes), truth.labels, truth.ignore)
        return hide_ignored(example) if self.hide else example

    def _fitted(self, number: int) -> Example:
        """A sample with its longer side as long as the square's, from the cache where it is there."""
        if number in self.kept:
            return self.kept[number]
        sample = self.samples[number]
        truth, where = sample.truth(), place(sample.size, self.side)
        picture = sample.image()
        if picture.shape[:2] != sample.size:
            raise DataError(f"Photo '{sample.id}' is {picture.shape[:2]}, not {sample.size} as its header said.")
        boxes = (truth.boxes * np.array(where.scale * 2)).astype(np.float32)
        example = Example(resized(picture, where.inner), boxes, truth.labels, truth.ignore)
        example = hide_ignored(example) if self.hide else example
        if example.picture.nbytes <= self.free:
            self.free -= example.picture.nbytes
            self.kept[number] = example
        return example

    def _padded(self, example: Example) -> dict[str, Any]:
        boxes, labels = example.boxes[~example.ignore], example.labels[~example.ignore]
        if len(boxes) > self.max_boxes:
            sides = boxes[:, 2:] - boxes[:, :2]
            largest = np.sort(np.argsort(-sides.prod(axis=1), kind="stable")[: self.max_boxes])
            boxes, labels = boxes[largest], labels[largest]
        padded = np.zeros((self.max_boxes, 4), np.float32)
        classes = np.full(self.max_boxes, -1, np.int64)
        padded[: len(boxes)], classes[: len(labels)] = boxes, labels
        return {"boxes": padded, "labels": classes}


def trim(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch without the rows of padding that none of its items needs; one row is left at least.

    ``boxes`` ``(N, K, 4)`` becomes ``(N, k, 4)``, ``labels`` ``(N, K)`` becomes ``(N, k)``; the rest stays.
    """
    most = max(1, int((batch["labels"] >= 0).sum(1).max()))
    return {**batch, "boxes": batch["boxes"][:, :most], "labels": batch["labels"][:, :most]}
