"""``reveal``: the way back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fieldsight import predicting
from fieldsight.systems.stego.options import RevealOptions
from fieldsight.systems.stego.predict import StegoModel


def reveal(model: StegoModel, inputs: Any, out: Path | None, options: RevealOptions, strict: bool) -> Any:
    """Get what is hidden out of pictures; one gives a prediction, several give a list.

    Raises:
        DataError: a picture holds nothing; see :meth:`StegoModel.reveal_one`.
    """
    items = model.items(inputs)
    many = isinstance(inputs, (list, tuple)) or (isinstance(inputs, (str, Path)) and Path(inputs).is_dir())
    if len(items) > 1 or many:
        return predicting.predict(model, inputs, options, out, strict, {}, action=model.reveal_one)
    found = model.reveal_one(model.read(items[0].value, options), options)
    return found if out is None else dataclasses.replace(found, files=tuple(found.save(out, items[0].stem)))
