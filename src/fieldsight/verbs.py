"""One way to call a verb, for all three doors: command line, Python and Studio come through here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldsight import registry
from fieldsight.config import Config, options, resolve
from fieldsight.errors import ConfigError, unknown
from fieldsight.registry import System, Verb

if TYPE_CHECKING:
    from fieldsight.model import Model


@dataclass(frozen=True)
class Written:
    """What a verb wrote by itself: its folder and what is worth telling."""

    folder: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    saved: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"folder": str(self.folder), **self.facts}

    def lines(self) -> list[str]:
        """The folder: the next command's input."""
        return [str(self.folder)]


#: Keyword arguments that belong to the house; all others are options of the verb.
HOUSE = ("out", "strict", "config_file", "preset")


def call(
    spec: System,
    name: str,
    model: Model | None = None,
    subject: Any = None,
    /,
    *,
    out: str | Path | None = None,
    strict: bool = False,
    config_file: str | Path | None = None,
    preset: str | None = None,
    **changes: Any,
) -> Any:
    """Run a verb.

    Args:
        spec: the system.
        name: the verb; ``predict`` always means the main action.
        model: the model, for verbs that work on one; None loads the default.
        subject: what the verb works on: inputs, or a data set folder.
        out: folder or file to write; without it nothing is written.
        strict: stop at the first bad input instead of skipping it.
        config_file: TOML file with options of the verb.
        preset: settings to start from, where the verb's options are or extend the system's settings.
        changes: options of the verb, and its other named inputs.

    Raises:
        ConfigError: unknown options or values out of range, all at once; a missing subject.
        FieldsightError: whatever the verb raises.
    """
    verb = spec.verb(name)
    if verb.needs in ("inputs", "data") and subject is None:
        wanted = spec.inputs[0].name if verb.needs == "inputs" else "a data folder"
        raise ConfigError(f"{spec.id} {verb.name}: give {wanted}.")
    named = {i.name: changes.pop(i.name) for i in spec.inputs[1:] if verb is spec.main and i.name in changes}
    chosen = options_of(spec, verb, config_file, changes, model, preset)
    if verb.model and model is None:
        from fieldsight.model import load

        model = load(spec.id)
    available = {
        "spec": spec,
        "model": model,
        "inputs": subject,
        "data": None if subject is None else Path(subject) if isinstance(subject, str) else subject,
        "out": None if out is None else Path(out),
        "options": chosen,
        "strict": strict,
        "named": named,
    }
    function = registry.load(verb.run)
    wanted_names = [p for p in inspect.signature(function).parameters if p in available]
    return function(**{name: available[name] for name in wanted_names})


def options_of(
    spec: System,
    verb: Verb,
    config_file: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    model: Model | None = None,
    preset: str | None = None,
) -> Config:
    """The options of a verb from its defaults, a TOML file and changes; later wins.

    Where the options are the system's settings, or extend them, the defaults are those of ``preset``, else the
    model's own, else the first preset's.

    Raises:
        ConfigError: every problem found; a preset for options that have none.
    """
    cls: type[Config] = registry.load(verb.options)
    own = {o.name for o in options(cls)}
    clash = own & {*HOUSE} - {"preset"}
    assert not clash, f"{spec.id} {verb.name}: {clash} are names of the house"
    if preset is not None and "preset" in own:  # a verb may have an option of that name, as make-data has
        changes, preset = {**(changes or {}), "preset": preset}, None
    presets: Mapping[str, Config] = {}
    if takes_settings(spec, verb):
        if model is not None and preset is None:
            presets = {"the model's": cls.parse(model.config.to_dict())}
        else:
            presets = {name: cls.parse(known.to_dict()) for name, known in registry.load(spec.presets).items()}
    return resolve(cls, presets, preset, config_file, changes)


def takes_settings(spec: System, verb: Verb) -> bool:
    """True where a verb's options are, or extend, the system's settings."""
    return issubclass(registry.load(verb.options), registry.load(spec.config))


def find_input(spec: System, name: str) -> registry.Input:
    """The input of a name.

    Raises:
        ConfigError: unknown input.
    """
    for one in spec.inputs:
        if one.name == name:
            return one
    raise ConfigError(unknown(f"input of {spec.id}", name, [i.name for i in spec.inputs]))
