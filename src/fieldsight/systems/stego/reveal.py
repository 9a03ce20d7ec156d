"""``reveal``: the way back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fieldsight import predicting
from fieldsight.errors import ConfigError
from fieldsight.systems.stego.options import RevealOptions
from fieldsight.systems.stego.predict import StegoModel


def reveal(model: StegoModel, inputs: Any, out: Path | None, options: RevealOptions, strict: bool) -> Any:
    """Get what is hidden out of pictures; one gives a prediction, several give a list.

    Raises:
        ConfigError: several pictures, and ``out`` names one file.
        DataError: a picture holds nothing; see :meth:`StegoModel.reveal_one`.
    """
    items = model.items(inputs)
    many = isinstance(inputs, (list, tuple)) or (isinstance(inputs, (str, Path)) and Path(inputs).is_dir())
    if len(items) > 1 and out is not None and out.suffix and not out.is_dir():  # the name of whatever was hidden
        raise ConfigError(f"out: '{out}' names one file, and there are {len(items)} pictures. Name a folder.")
    if len(items) > 1 or many:
        return predicting.predict(model, inputs, options, out, strict, {}, action=model.reveal_one)
    found = model.reveal_one(model.read(items[0].value, options), options)
    return found if out is None else dataclasses.replace(found, files=tuple(found.save(out, items[0].stem)))
