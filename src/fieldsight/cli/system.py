"""``fieldsight SYSTEM VERB ...``: flags from the verb's options, the call, and the printing of what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from fieldsight import progress, registry, verbs
from fieldsight.cli.console import print_json, print_rows, say
from fieldsight.cli.flags import Flag, flags_of, parse
from fieldsight.config import Config, options, resolve
from fieldsight.errors import ConfigError
from fieldsight.registry import System, Verb

_ANY = [
    Flag("config", "TOML file with options", metavar="FILE"),
    Flag("set", "any option by its full name, as in --set etch.depth=80nm", "many", "NAME=VALUE"),
    Flag("print_config", "print all options as TOML and stop", "switch"),
    Flag("json", "print the result as JSON", "switch"),
    Flag("quiet", "no progress, no notes", "switch"),
]
_MODEL = [
    Flag("model", "shipped model, run folder or model folder", metavar="MODEL"),
    Flag("device", "where to compute: auto, cpu, cuda, mps", metavar="DEVICE", default="auto"),
]
_OUT = Flag("out", "folder or file to write to; without it nothing is written", metavar="PATH")
_STRICT = Flag("strict", "stop at the first bad input instead of skipping it", "switch")
_PRESET = Flag("preset", "options to start from", metavar="NAME")
_TRAIN = [
    _PRESET,
    Flag("run", "run folder; by default a new one below runs/", metavar="DIR"),
    Flag("resume", "continue an unfinished run", metavar="RUN"),
    Flag("init", "start from the weights of a model or run", metavar="MODEL"),
    Flag("accelerator", "auto, cpu, cuda or mps", default="auto"),
    Flag("devices", "devices per node; start several processes with torchrun", metavar="INT", default="1"),
    Flag("nodes", "machines", metavar="INT", default="1"),
    Flag("precision", "number format, as in Lightning Fabric", default="32-true"),
]


def run_system(spec: System, words: Sequence[str]) -> int:
    """Run one verb of a system from its command line; returns the exit code."""
    if not words or words[0] in ("-h", "--help", "help"):
        _print_system(spec)
        return 0
    verb = spec.verb(words[0])
    prog = f"fieldsight {spec.id} {verb.name}"
    given = parse(prog, _description(spec, verb), _flags(spec, verb), words[1:])
    watcher = progress.silent if given.get("quiet") else None
    mute = (lambda text: None) if given.get("quiet") else say
    with progress.watching(watcher, mute):
        return _train(spec, verb, given) if verb.name == "train" else _run(spec, verb, given)


def _flags(spec: System, verb: Verb) -> list[Flag]:
    cls: type[Config] = registry.load(verb.options)
    flags: list[Flag] = []
    if verb.needs.startswith("inputs"):
        first = spec.inputs[0]
        flags.append(Flag("inputs", first.help, "words", first.name.upper()))
        flags += [Flag(i.name, i.help, metavar=i.kind.upper()) for i in spec.inputs[1:] if verb is spec.main]
    elif verb.needs == "data":
        flags.append(Flag("data", "data set: a folder, or its file where it is one", "word", "DATA"))
    elif verb.needs == "data?":
        flags.append(Flag("data", "data set folder; drawn data without it", "maybe", "DATA", "drawn"))
    if verb.model:
        flags += _MODEL
    if verb.name == "train":
        flags += _TRAIN
    else:
        flags += [_OUT, _PRESET] if verbs.takes_settings(spec, verb) else [_OUT]
    if verb.needs == "inputs":
        flags.append(_STRICT)
    taken = {f.name for f in [*flags, *_ANY]}
    own = flags_of(cls)
    assert not taken & {f.name for f in own}, f"{spec.id} {verb.name}: options collide with {taken}"
    return [*flags, *own, *_ANY]


def _run(spec: System, verb: Verb, given: dict[str, Any]) -> int:
    from fieldsight import predicting
    from fieldsight.predictions import Prediction

    options_class: type[Config] = registry.load(verb.options)
    house = _take(given, options_class)
    changes = _changes(given, house.pop("set", ()), options_class)
    preset = house.get("preset")
    if house.get("print_config"):
        print(verbs.options_of(spec, verb, house.get("config"), changes, None, preset).to_toml(), end="")
        return 0
    subject = house.get("inputs") or house.get("data")
    if verb.needs == "inputs" and not subject:
        raise ConfigError(f"fieldsight {spec.id} {verb.name}: give {spec.inputs[0].name}: {spec.inputs[0].help}.")
    # look at the options before loading a model: a typing error should not cost seconds
    chosen = verbs.options_of(spec, verb, house.get("config"), changes, None, preset)
    model = None
    if verb.model:
        from fieldsight.model import load

        model = load(spec.id, house.get("model"), house.get("device") or "auto")
        chosen = verbs.options_of(spec, verb, house.get("config"), changes, model, preset)
        if model.networks and not house.get("quiet"):
            say(model.describe())
    out = Path(house["out"]) if house.get("out") else None
    if verb is spec.main and verb.run == "fieldsight.predicting:predict":
        assert model is not None
        inputs = [str(word) for word in subject or ()]
        named = {i.name: given[i.name] for i in spec.inputs[1:] if i.name in given}
        result: Any = predicting.run_all(model, inputs, chosen, out, bool(house.get("strict")), named)
    else:
        single = subject[0] if isinstance(subject, tuple) and len(subject) == 1 else subject
        named = {i.name: given[i.name] for i in spec.inputs[1:] if verb is spec.main and i.name in given}
        asked = {"preset": preset, **changes, **named}  # the verb may have an option of its own called preset
        result = verbs.call(
            spec, verb.name, model, single, out=out, strict=bool(house.get("strict")),
            config_file=house.get("config"), **asked,
        )  # fmt: skip
        if out is not None and isinstance(result, Prediction) and result.saved:
            result = _Saved(result, result.files)
        elif out is not None and hasattr(result, "save") and not getattr(result, "saved", False):
            result = _Saved(result, result.save(out))
    _print(result, bool(house.get("json")), out)
    return int(getattr(result, "exit_code", 0))


def _train(spec: System, verb: Verb, given: dict[str, Any]) -> int:
    from fieldsight.training import train

    config_class: type[Config] = registry.load(spec.config)
    house = _take(given, config_class)
    changes = _changes(given, house.pop("set", ()), config_class)
    if house.get("print_config"):
        presets = registry.load(spec.presets)
        print(resolve(config_class, presets, house.get("preset"), house.get("config"), changes).to_toml(), end="")
        return 0
    devices: dict[str, Any] = {
        key: int(house[key]) if key in ("devices", "nodes") else house[key]
        for key in ("accelerator", "devices", "nodes", "precision")
        if house.get(key)
    }
    run = train(
        spec.id,
        data=house.get("data"),
        preset=house.get("preset"),
        config_file=house.get("config"),
        run=house.get("run"),
        resume=house.get("resume"),
        init=house.get("init"),
        **devices,
        **changes,
    )
    _print(run, bool(house.get("json")), None)
    return 0


class _Saved:
    """A result and the files it was written to."""

    def __init__(self, result: Any, files: Sequence[Path]) -> None:
        self.result, self.files = result, list(files)
        self.exit_code = int(getattr(result, "exit_code", 0))

    def to_dict(self) -> dict[str, Any]:
        return {**self.result.to_dict(), "files": [str(f) for f in self.files]}

    def lines(self) -> list[str]:
        return [str(f) for f in self.files]


_HOUSE_FLAGS = {
    "inputs", "data", "model", "device", "out", "strict", "config", "set", "print_config", "json", "quiet",
    "preset", "run", "resume", "init", "accelerator", "devices", "nodes", "precision",
}  # fmt: skip


def _take(given: dict[str, Any], cls: type[Config]) -> dict[str, Any]:
    """What belongs to the house; an option of the verb may have a name that is the house's elsewhere."""
    house = _HOUSE_FLAGS - {o.name for o in options(cls) if o.group is None}  # a group is no flag
    return {name: given.pop(name) for name in list(given) if name in house}


def _changes(given: Mapping[str, Any], settings: Sequence[str], cls: type[Config]) -> dict[str, Any]:
    changes = {name: value for name, value in given.items() if name in {o.name for o in options(cls)}}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set wants NAME=VALUE, got '{text}'.")
        changes[name.strip()] = value.strip()
    return changes


def _print(result: Any, as_json: bool, out: Path | None) -> None:
    from fieldsight.predictions import Table

    if as_json:
        print_json(result.to_dict())
    elif isinstance(result, Table):
        for fact, value in result.facts.items():
            say(f"{fact}: {value}")
        print_rows(result.columns, result.rows, result.title)
    else:
        for line in result.lines():
            print(line)
    skipped = getattr(result, "skipped", ())
    if skipped:
        of_all = f" of {len(result)}" if isinstance(result, Sized) else ""
        say(f"{len(skipped)}{of_all} inputs were skipped; see above.")


def _description(spec: System, verb: Verb) -> str:
    text = f"{spec.title}: {verb.help}."
    return f"{text}\n\n{spec.notice}" if spec.notice else text


def _print_system(spec: System) -> None:
    print(f"{spec.title}: {spec.summary}\n\nusage: fieldsight {spec.id} VERB ...\n")
    for verb in spec.verbs:
        mark = "*" if verb is spec.main else " "
        print(f" {mark} {verb.name:14} {verb.help}")
    print(f"\n * the main action; `predict` is the same.  fieldsight {spec.id} VERB --help shows the options.")
    print(f"\npaper: {spec.paper}")
    if spec.notice:
        print(f"\n{spec.notice}")
