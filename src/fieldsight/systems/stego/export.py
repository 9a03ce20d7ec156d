"""``export``: both networks in a row, or one alone."""

from __future__ import annotations

from pathlib import Path

from fieldsight.export.verbs import Exported
from fieldsight.export.verbs import export as write
from fieldsight.systems.stego.options import StegoExportOptions
from fieldsight.systems.stego.predict import StegoModel


def export(model: StegoModel, out: Path | None, options: StegoExportOptions) -> Exported:
    """Write a network for another runtime; see :func:`fieldsight.export.verbs.export`."""
    return write(model.part(options.part), out, options)
