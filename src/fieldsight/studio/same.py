"""The call that a page makes, as a command line and as Python: what a person copies to go on elsewhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldsight import registry
from fieldsight.config import Config, options
from fieldsight.registry import System
from fieldsight.studio.context import Call
from fieldsight.studio.fields import hushed
from fieldsight.studio.form import presets_of
from fieldsight.studio.models import Choice, needed


def command(spec: System, call: Call, model: Choice | None) -> str:
    """The command line of a call; uploaded files by their names, of passwords only where one would stand."""
    words = ["fieldsight", spec.id, call.verb.name, *(_word(s) for s in call.subject)]
    for name, value in call.named.items():
        words += [_flag(name), _word(value)]
    if model is not None and model.source is not None:
        words += ["--model", model.source]
    if _says_preset(spec, call):
        words += ["--preset", call.preset]
    known = {o.name: o for o in options(_options(call))}
    for name, value in _open(call).items():
        option = known.get(name)
        if option is None or not option.setting.flag:
            words += ["--set", f"{name}={_word(value)}"]
        elif option.type is bool:
            words.append(_flag(name) if value else f"--no-{name.replace('_', '-')}")
        else:
            words += [_flag(name), _word(value)]
    words += ["--out", "out/"]
    return " ".join(shlex.quote(w) for w in words)


def python(spec: System, call: Call, model: Choice | None) -> str:
    """The same in Python."""
    given = [_literal(s) for s in call.subject]
    subject = given[0] if len(given) == 1 else f"[{', '.join(given)}]" if given else ""
    arguments = [subject] if subject else []
    arguments += [f"{name}={_literal(value)}" for name, value in call.named.items()]
    if _says_preset(spec, call):
        arguments.append(f"preset={_literal(call.preset)}")
    arguments += [f"{name}={_literal(value)}" for name, value in _nested(_open(call)).items()]
    lines = ["import fieldsight", ""]
    if call.verb.model:
        source = f", {_literal(model.source)}" if model is not None and model.source is not None else ""
        lines.append(f'model = fieldsight.load("{spec.id}"{source})')
        lines.append(f"result = model.{call.verb.attribute}({', '.join(arguments)})")
    else:
        lines.append(f'result = fieldsight.call("{spec.id}", "{call.verb.name}"{"".join(", " + a for a in arguments)})')
    if len(call.subject) > 1 and call.verb is spec.main:
        lines += ["for number, prediction in enumerate(result.predictions):", '    prediction.save(f"out/{number}")']
    else:
        lines.append('result.save("out/")')
    return "\n".join(lines)


def _says_preset(spec: System, call: Call) -> bool:
    """True where the preset must be said: it is not the one that is taken without a word."""
    return bool(call.preset) and (needed(spec) or call.preset != presets_of(spec, call.verb)[0])


def _open(call: Call) -> dict[str, Any]:
    """What was changed, with the name of a file in place of a password: an option ``NAME`` has a twin ``NAME_file``."""
    quiet = hushed(_options(call))
    return {f"{n}_file" if n in quiet else n: "FILE" if n in quiet else value for n, value in call.changes.items()}


def _options(call: Call) -> type[Config]:
    found: type[Config] = registry.load(call.verb.options)
    return found


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _word(value: Any) -> str:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, (tuple, list)):
        return ",".join(_word(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _literal(value: Any) -> str:
    """A value as Python writes it, texts in double quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (str, Path)):
        return json.dumps(value.name if isinstance(value, Path) else value, ensure_ascii=False)
    if isinstance(value, (tuple, list)):
        inside = ", ".join(_literal(v) for v in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return repr(value)


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in changes.items():
        *groups, last = name.split(".")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return found
