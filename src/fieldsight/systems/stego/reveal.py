"""``reveal``: the way back."""

from __future__ import annotations

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
    return predicting.predict(model, inputs, options, out, strict, {}, action=model.reveal_one)
