"""Which models a page offers, and the ones that are loaded. Nothing is loaded before its first use."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight.data.files import read_json
from fieldsight.errors import ConfigError, DataError, ModelFileError, unknown
from fieldsight.registry import System, Verb
from fieldsight.run import find_runs


@dataclass(frozen=True)
class Choice:
    """A model on offer.

    Attributes:
        name: how page and API call it: a shipped model's name, or the name of a run's folder.
        label: words for the list.
        folder: its model folder.
        source: what ``fieldsight.load`` takes; None for the default.
    """

    name: str
    label: str
    folder: Path
    source: str | None


class Models:
    """The models of one Studio: found by name, never by a path that a page names; the last few stay loaded."""

    def __init__(self, runs: Path, most: int = 4) -> None:
        self.runs, self._most = runs, most
        self._loaded: OrderedDict[tuple[str, str, float], tuple[Any, threading.RLock]] = OrderedDict()
        self._lock = threading.Lock()

    def choices(self, spec: System) -> list[Choice]:
        """The shipped models that are here, the default first, then the runs of this system, newest first."""
        from fieldsight.model import shipped

        found = []
        for number, name in enumerate(spec.defaults):
            folder = shipped(spec, name)
            if (folder / "model.json").is_file():
                words = f"{name} (shipped{', the default' if number == 0 else ''})"
                found.append(Choice(name, words, folder, None if number == 0 else name))
        taken = {c.name for c in found}
        for run in find_runs(self.runs):
            if (
                run.info.get("system") == spec.id
                and (run.model / "model.json").is_file()
                and run.path.name not in taken
            ):
                when = str(run.info.get("created", ""))[:16].replace("T", " ")
                found.append(Choice(run.path.name, f"run {run.path.name} ({when})", run.model, str(run.path)))
        return found

    def find(self, spec: System, name: str | None) -> Choice:
        """The model of a name; the first one without a name.

        Raises:
            ModelFileError: there is none at all.
            ConfigError: no such model, with those there are.
        """
        offered = self.choices(spec)
        if not offered:
            raise ModelFileError(
                f"There is no model of '{spec.id}' yet. Train one into the folder of runs '{self.runs}': "
                f"fieldsight {spec.id} train --run {self.runs / 'first'}"
            )
        if not name:
            return offered[0]
        for choice in offered:
            if choice.name == name:
                return choice
        raise ConfigError(unknown(f"model of {spec.id}", name, [c.name for c in offered]))

    def load(self, spec: System, name: str | None = None) -> tuple[Any, threading.RLock]:
        """The loaded model of a name and the lock to hold while it works.

        Raises:
            ModelFileError, ConfigError: as :meth:`find` and ``fieldsight.load``.
        """
        from fieldsight.model import load

        if not needed(spec) and not self.choices(spec):
            source, stamp = None, 0.0
        else:
            choice = self.find(spec, name)
            source, stamp = str(choice.folder), _stamp(choice.folder)
        key = (spec.id, source or "", stamp)
        with self._lock:
            if key not in self._loaded:
                model = load(spec.id, source)
                if source is not None:
                    model.source = choice.name
                self._loaded[key] = (model, threading.RLock())
                while len(self._loaded) > self._most:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]

    def card(self, spec: System, name: str | None) -> str:
        """The card of a model as Markdown, read without loading the model; a sentence where there is none."""
        from fieldsight.report.card import Card

        if not needed(spec):
            return f"The system '{spec.id}' computes from formulas: it has no trained model and no card."
        try:
            choice = self.find(spec, name)
            return Card.from_dict(read_json(choice.folder / "card.json")).to_markdown()
        except (ModelFileError, ConfigError) as error:
            return str(error)
        except (DataError, TypeError, ValueError, AttributeError):
            return f"The model '{choice.name}' has no card that can be read."


def needed(spec: System) -> bool:
    """True where the system works on trained models, False where it computes from formulas alone."""
    return bool(spec.defaults) or "learns" in spec.traits


def chooses(spec: System, verb: Verb) -> bool:
    """True where a page of this verb asks for a model."""
    return verb.model and needed(spec)


def _stamp(folder: Path) -> float:
    try:
        return (folder / "model.json").stat().st_mtime
    except OSError:
        return 0.0
