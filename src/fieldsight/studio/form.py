"""What a form or a client sends, as the inputs of a call: only uploaded files, only names that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldsight import registry, verbs
from fieldsight.config import Config
from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.registry import Input, System, Verb
from fieldsight.studio.guard import uploaded

#: Most files of one call.
MAX_FILES = 200

#: Among the endings of an input: a file of any kind is taken.
ANY = "*"


def taken(spec: System, verb: Verb) -> tuple[Input, ...]:
    """The named inputs that a verb takes here."""
    if not verb.needs.startswith("inputs"):
        return ()
    return spec.inputs if verb is spec.main else spec.inputs[:1]


def presets_of(spec: System, verb: Verb) -> tuple[str, ...]:
    """Presets that a verb's options start from; empty where they have none."""
    return tuple(registry.load(spec.presets)) if verbs.takes_settings(spec, verb) else ()


def base_of(spec: System, verb: Verb, preset: str = "") -> Config | None:
    """The options before anything is changed; None where one of them has no default.

    Raises:
        ConfigError: no such preset.
    """
    if preset and preset not in presets_of(spec, verb):
        raise ConfigError(unknown("preset", preset, presets_of(spec, verb)))
    try:
        return verbs.options_of(spec, verb, preset=preset or None)
    except ConfigError:
        return None


def inputs_of(
    spec: System,
    verb: Verb,
    given: Mapping[str, Any],
    home: Path,
    names: Sequence[str] = (),
    wanted: Sequence[Input] | None = None,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The first input and the other named inputs of a verb.

    Args:
        spec: the system.
        verb: the verb.
        given: what was sent, by input name: uploaded files, texts, built-in names.
        home: folder of uploads; no other file is taken.
        names: built-in names that the first input may be instead of a file.
        wanted: the inputs, where they are not those of :func:`taken`; the first one is then needed.

    Raises:
        ConfigError: an input is missing, or a name is not known.
        DataError: a path that was not uploaded, a file of another kind, or too many.
    """
    subject: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    for number, one in enumerate(taken(spec, verb) if wanted is None else wanted):
        found = values_of(one, given.get(one.name), home, names if number == 0 else ())
        if number == 0 and (found or wanted is None):
            subject = found
        elif found:
            named[one.name] = found[0]
        elif not one.optional:
            raise ConfigError(f"Give {one.name}: {one.help}.")
    return subject, named


def values_of(one: Input, value: Any, home: Path, names: Sequence[str] = ()) -> tuple[Any, ...]:
    """One input as its verb takes it: uploaded files as paths, built-in names, or a text; empty where nothing was sent.

    Raises:
        ConfigError: a name that is not known.
        DataError: a path that was not uploaded, a file of another kind, or too many.
    """
    if value in (None, "", []):
        return ()
    if not one.suffixes:
        return (str(value),)
    listed = value if isinstance(value, list) else [value]
    if len(listed) > MAX_FILES:
        raise DataError(f"{len(listed)} files at once; at most {MAX_FILES} are allowed here. Use the command line.")
    return tuple(_fitting(one, v, home, names) for v in listed)


def _fitting(one: Input, value: Any, home: Path, names: Sequence[str]) -> Any:
    if names and isinstance(value, str) and not Path(value).is_absolute():
        if value in names:
            return value
        raise ConfigError(unknown(f"built-in {one.name}", value, names))
    path = uploaded(value, home)
    if ANY not in one.suffixes and path.suffix.lower() not in one.suffixes:
        raise DataError(f"'{path.name}' is no {one.name}: its name must end in {', '.join(one.suffixes)}.")
    return path
