"""A system under the contract. Not in conftest.py: every folder of tests has one, and only one can be imported so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cases import CASES, Case

from fieldsight import registry


class Subject:
    """A system under test: its spec, its case, and one tiny run shared by all checks."""

    def __init__(self, id: str, folder: Path) -> None:
        self.id, self.folder = id, folder
        self.spec = registry.get(id)
        self.case: Case = CASES[id]
        self._run: Any = None

    @property
    def run(self) -> Any:
        """The tiny run, trained when first asked for."""
        if self._run is None:
            import fieldsight

            self._run = fieldsight.train(self.id, preset="tiny", run=self.folder / "run")
        return self._run

    @property
    def model(self) -> Any:
        """The model of the tiny run; a system that learns nothing gives its only one."""
        import fieldsight

        return self.run.model if "learns" in self.spec.traits else fieldsight.load(self.id)

    def untrained(self) -> Any:
        """A model with drawn weights."""
        presets = registry.load(self.spec.presets)
        return registry.load(self.spec.model).create(presets["tiny"])

    def inputs(self, folder: Path) -> list[Any]:
        """Three valid inputs."""
        folder.mkdir(parents=True, exist_ok=True)
        return self.case.inputs(folder)
