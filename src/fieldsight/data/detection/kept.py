"""Pictures that cost time to draw or read, made once and then kept in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from fieldsight import progress
from fieldsight.data.detection.sample import DetectionSample, Truth


def keep(samples: Sequence[DetectionSample], label: str) -> list[DetectionSample]:
    """The same samples with pictures drawn or read once and then kept in a file that goes when they are forgotten.

    A drawn frame takes a fifth of a second, and a training looks at each many times; thousands do not fit into memory.
    """
    if not samples:
        return []
    places = []
    with tempfile.TemporaryFile() as file:
        for sample in progress.track(samples, label):
            picture = np.ascontiguousarray(sample.image())
            places.append((file.tell(), picture.shape, sample.truth()))
            file.write(picture.data)
        file.flush()
        pixels = np.memmap(file, np.uint8, "r")  # outlives the open file
    found = []
    for sample, (start, shape, truth) in zip(samples, places, strict=True):
        picture = pixels[start : start + int(np.prod(shape))].reshape(shape)
        found.append(replace(sample, image=partial(np.array, picture), truth=partial(_known, truth)))
    return found


def _known(truth: Truth) -> Truth:
    return truth
