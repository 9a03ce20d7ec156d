"""``export``: the pool in one file, every part alone, or one of them; ``bench``: the same and the routed whole, timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight import progress
from fieldsight.errors import ConfigError
from fieldsight.export.verbs import Exported
from fieldsight.export.verbs import export as write
from fieldsight.systems.crack.options import CrackExportOptions
from fieldsight.systems.crack.predict import CrackModel


@dataclass(frozen=True)
class ExportedParts:
    """A folder of exports.

    Attributes:
        path: the folder.
        parts: what was written, by part.
    """

    path: Path
    parts: Mapping[str, Exported]
    saved: bool = True

    @property
    def differences(self) -> dict[str, float]:
        """Largest difference of each part from the original."""
        return {name: max(part.differences.values()) for name, part in self.parts.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"folder": str(self.path), "parts": {n: p.to_dict() for n, p in self.parts.items()}}

    def lines(self) -> list[str]:
        """The files."""
        return [str(p.path) for p in self.parts.values()]


def export(model: CrackModel, out: Path | None, options: CrackExportOptions) -> Exported | ExportedParts:
    """Write networks for another runtime; see :func:`fieldsight.export.verbs.export`.

    ``--part all`` writes the gate and every expert alone, which ``predict --exports`` takes: only the chosen ones run.

    Raises:
        ConfigError: no such part, or nowhere to write to.
    """
    if options.part != "all":
        return write(model.part(options.part), out, options)
    if out is None:
        raise ConfigError("export writes a folder: name it with --out.")
    if out.suffix:
        raise ConfigError(f"out: --part all writes a folder, got the file name '{out}'.")
    found = {}
    for name in progress.track(list(model.networks), "exporting parts"):
        target = out / (f"{name}.onnx" if options.format == "onnx" else name)
        found[name] = write(model.part(name), target, options)
    return ExportedParts(out, found)
