"""Inputs that an INT8 export takes its ranges from, and others that it is checked with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight import progress
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.model import Model

if TYPE_CHECKING:
    from torch import Tensor

#: Named tensors or arrays in the form of :meth:`~fieldsight.model.Model.example`.
Batch = Mapping[str, Any]

#: One group of inputs of so many is held out of the calibration.
HELD_OUT = 5


class Inputs(Sequence[dict[str, np.ndarray]]):
    """Batches of arrays kept in files: hundreds of large pictures need not fit into memory.

    Attributes:
        files: a file a batch.
        groups: for each batch the number of the picture it came from.
    """

    def __init__(self, files: Sequence[Path] = (), groups: Sequence[int] = ()) -> None:
        self.files = list(files)
        self.groups = list(groups) or list(range(len(self.files)))

    @classmethod
    def store(cls, groups: Iterable[Iterable[Batch]], names: Sequence[str], folder: Path) -> Inputs:
        """Write batches into ``folder``; an item of ``groups`` is what came from one picture.

        Raises:
            DataError: a batch lacks one of ``names``, or holds what is not finite.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files: list[Path] = []
        numbers: list[int] = []
        for number, group in enumerate(groups):
            for batch in group:
                missing = [name for name in names if name not in batch]
                if missing:
                    raise DataError(
                        f"Calibration input {number} lacks {', '.join(missing)}; it has {', '.join(batch)}."
                    )
                arrays = {name: np.ascontiguousarray(batch[name]) for name in names}
                if not all(a.dtype.kind in "fiub" and np.isfinite(a).all() for a in arrays.values()):
                    raise DataError(f"Calibration input {number} holds values that are not finite numbers.")
                files.append(folder / f"{len(files):06d}.npz")
                # the dash keeps a tensor named like one of NumPy's own arguments apart from it
                stored: dict[str, Any] = {f"-{name}": array for name, array in arrays.items()}
                np.savez(files[-1], **stored)
                numbers.append(number)
        return cls(files, numbers)

    def divide(self) -> tuple[Inputs, Inputs]:
        """Inputs to calibrate with, and every fifth group, in a drawn order that is always the same, to check with.

        What is held out shares no picture with what calibrates, unless there is only one picture.

        Raises:
            DataError: fewer than two inputs.
        """
        groups = self.groups if len(set(self.groups)) > 1 else list(range(len(self)))
        known = sorted(set(groups))
        if len(known) < 2:
            raise DataError(f"Calibration needs at least 2 inputs, one of them to check with; got {len(known)}.")
        order = rng_for("int8").permutation(len(known))
        held = {known[n] for n in order[: math.ceil(len(known) / HELD_OUT)]}
        return self._only([g not in held for g in groups]), self._only([g in held for g in groups])

    def _only(self, chosen: Sequence[bool]) -> Inputs:
        kept = [n for n, wanted in enumerate(chosen) if wanted]
        return Inputs([self.files[n] for n in kept], [self.groups[n] for n in kept])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Inputs(self.files[index], self.groups[index])
        with np.load(self.files[index], allow_pickle=False) as stored:
            return {name[1:]: stored[name] for name in stored.files}


class Watched:
    """Inputs that report how far a pass over them is."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return progress.track(iter(self.inputs), "calibrating", len(self.inputs))


def calibration_inputs(model: Model, count: int, folder: Path | None, work: Path) -> tuple[Inputs, Inputs]:
    """Inputs to calibrate with and inputs to check with, kept in ``work``; see :meth:`Inputs.divide`.

    Args:
        model: the model; without a folder it names the inputs itself (:meth:`Model.calibration_inputs`).
        count: number of inputs in all.
        folder: a folder of inputs as ``predict`` takes them; see :func:`folder_inputs`.
        work: an empty folder that outlives the inputs.

    Raises:
        ConfigError: the system names no inputs, or needs more than one input for a prediction.
        DataError: the folder holds nothing to work with, or fewer than two inputs.
    """
    groups: Iterable[Iterable[Batch]]
    if folder is not None:
        groups = folder_inputs(model, folder, count)
    else:
        groups = ([batch] for _, batch in zip(range(count), model.calibration_inputs(count), strict=False))
    return Inputs.store(groups, model.input_names, work).divide()


def folder_inputs(model: Model, folder: Path, count: int) -> Iterator[list[Batch]]:
    """What a model's network is given while the main action runs over a folder, a list of batches of one a picture.

    Pictures are taken evenly over the folder, tiles evenly over a picture. Bad pictures are skipped with a note.

    Raises:
        ConfigError: the main action needs more than one input.
        DataError: no such folder, or nothing in it that fits.
    """
    needed = [i.name for i in model.spec.inputs if not i.optional]
    if len(needed) > 1:
        raise ConfigError(f"The system '{model.system}' takes {', '.join(needed)}; one folder can't calibrate it.")
    if not folder.is_dir():
        raise DataError(f"calibration: '{folder}' is no folder. Give a folder of inputs as predict takes them.")
    chosen = _evenly(model.items(folder), count)
    options = model.spec.load(model.spec.main.options)()
    for item in progress.track(chosen, "reading calibration inputs"):
        try:
            seen = _recorded(model, item.value, options)
        except DataError as error:
            progress.note(f"skipped {item.name}: {error}")
            continue
        yield _evenly(seen, math.ceil(count / len(chosen)))


def _recorded(model: Model, item: Any, options: Any) -> list[Batch]:
    seen: list[Batch] = []
    eager, before = model._eager(), model._runner

    def record(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        single = [{name: value[n : n + 1].cpu().clone() for name, value in batch.items()} for n in range(_size(batch))]
        seen.extend(single)
        return eager(batch)

    model.use(record)
    try:
        with progress.watching(progress.silent, lambda text: None):  # its remarks are about predictions nobody wants
            model.predict_one(model.read(item, options), options)
    finally:
        model.use(before)
    return seen


def _size(batch: Batch) -> int:
    return int(next(iter(batch.values())).shape[0])


def _evenly(items: Sequence[Any], count: int) -> list[Any]:
    if len(items) <= count:
        return list(items)
    return [items[n] for n in np.linspace(0, len(items) - 1, count).round().astype(int)]
