"""The systems, as data: what each is called, takes, gives, and where its parts are.

A :class:`System` holds strings only, so listing systems imports no torch. Its parts are ``"module:attr"`` strings
that are imported when they are first used. Ids are explicit: :data:`SYSTEMS` names the shipped ones, and
:func:`register` adds one from outside (as the test suite does with its toy systems).
"""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib
from dataclasses import dataclass
from typing import Any, Literal

from fieldsight.errors import ConfigError, unknown

#: Ids of the shipped systems, in the order in which people meet them.
SYSTEMS: tuple[str, ...] = ("sem", "energy", "alert", "stego", "crack", "edge", "vessel")

Trait = Literal["learns", "exports", "streams", "generates"]
Kind = Literal["image", "text", "layout", "network", "depth", "label", "table"]
Better = Literal["higher", "lower", "target"]


@dataclass(frozen=True)
class Input:
    """A named input of a system's main action.

    Attributes:
        name: the name on the command line, in the Studio and in an export (``image``, ``text``, ``layout``).
        kind: how it is read and which field the Studio shows.
        help: one line.
        suffixes: file endings taken from a folder, lower case with the dot; empty where the value is no file. With
            ``*`` among them any other file may be named too, but is not taken from a folder.
        optional: True where the main action works without it.
    """

    name: str
    kind: Kind
    help: str
    suffixes: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Metric:
    """A number a system reports, with how it is computed.

    Attributes:
        name: key in every metrics dictionary.
        unit: unit or ``"1"``.
        better: ``higher``, ``lower`` or ``target`` (neither: coverage wants its nominal level).
        range: least and greatest possible value.
        perfect: value of a perfect prediction.
        protocol: averaging, thresholds and what happens to empty cases, in one line.
    """

    name: str
    unit: str
    better: Better
    range: tuple[float, float]
    perfect: float
    protocol: str


@dataclass(frozen=True)
class Verb:
    """Something a system can do.

    Attributes:
        name: word on the command line; in Python the same word with underscores.
        run: ``"module:function"``. The function's parameter names say what it takes: ``model``, ``inputs``,
            ``data``, ``out``, ``run``, ``config``, ``options``, ``init``.
        options: ``"module:Class"`` of its options, a :class:`~fieldsight.config.Config`.
        help: one line.
        needs: what the command line asks for: ``inputs`` (files or folders), ``data`` (a data set folder) or
            nothing; a question mark where it may be left out.
        model: True when it works on a model; it is then a method of :class:`~fieldsight.model.Model`.
        page: True when the Studio offers it.
    """

    name: str
    run: str
    options: str
    help: str
    needs: Literal["inputs", "inputs?", "data", "data?", ""] = ""
    model: bool = True
    page: bool = False

    @property
    def attribute(self) -> str:
        """The verb as a Python name."""
        return self.name.replace("-", "_")


#: Verbs that are the same for every system with an exported graph.
EXPORT = Verb(
    "export",
    "fieldsight.export.verbs:export",
    "fieldsight.export.options:ExportOptions",
    "write the network for another runtime, checked from input to prediction",
)
BENCH = Verb(
    "bench",
    "fieldsight.export.verbs:bench",
    "fieldsight.export.options:BenchOptions",
    "time the network in every runtime that is installed",
)


@dataclass(frozen=True)
class System:
    """All that the house knows of a system.

    Attributes:
        id: short stable name.
        title: name for people.
        summary: one line: what a person does with it.
        paper: citation with DOI.
        number: number of the paper.
        model: ``"module:Class"`` of its :class:`~fieldsight.model.Model`.
        config: ``"module:Class"`` of its training config, or of its settings where nothing is trained.
        presets: ``"module:PRESETS"``, a dict from preset name to config.
        inputs: named inputs of the main action; the first one is positional on the command line.
        verbs: what it can do, the main action first.
        output: name of the prediction class.
        metrics: what ``evaluate`` reports.
        traits: which checks of the contract apply.
        demo: ``"module:function"`` for `tour` and the Studio's examples.
        examples: ``"module:function"`` that gives the Studio's example inputs, or empty.
        page: ``"module:function"`` for a Studio page of its own, or empty for the generated one.
        routes: ``"module:function"`` that adds own web routes (WebSockets) beside the Studio, or empty.
        notice: a warning that card, page and report repeat (no medical device, no safety device).
        defaults: names of the shipped models, the default first; empty where nothing is trained.
    """

    id: str
    title: str
    summary: str
    paper: str
    number: int
    model: str
    config: str
    presets: str
    inputs: tuple[Input, ...]
    verbs: tuple[Verb, ...]
    output: str
    metrics: tuple[Metric, ...] = ()
    traits: frozenset[Trait] = frozenset()
    demo: str = ""
    examples: str = ""
    page: str = ""
    routes: str = ""
    notice: str = ""
    defaults: tuple[str, ...] = ()

    @property
    def main(self) -> Verb:
        """The main action: `predict`, or the field's own word for it."""
        return self.verbs[0]

    def verb(self, name: str) -> Verb:
        """Find a verb by its name; ``predict`` always finds the main action.

        Raises:
            ConfigError: with the nearest verb and the list of them.
        """
        wanted = name.replace("_", "-")
        for verb in self.verbs:
            if verb.name == wanted:
                return verb
        if wanted == "predict":
            return self.main
        raise ConfigError(unknown(f"verb of {self.id}", name, [v.name for v in self.verbs]))

    def load(self, part: str) -> Any:
        """Import one of the ``"module:attr"`` parts: ``system.load(system.model)``."""
        return load(part)


_extra: dict[str, System] = {}


def load(reference: str) -> Any:
    """Import what a ``"module:attr"`` string names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def register(system: System) -> System:
    """Add a system from outside this package for the length of the process.

    Raises:
        ConfigError: the id is taken by another system.
    """
    if system.id in SYSTEMS or _extra.get(system.id, system) != system:
        raise ConfigError(f"The system id '{system.id}' is taken. Choose another.")
    _extra[system.id] = system
    return system


def get(id: str) -> System:
    """Return the system of an id.

    Raises:
        ConfigError: unknown id, with the nearest one.
    """
    if id in _extra:
        return _extra[id]
    if id in SYSTEMS:
        spec = importlib.import_module(f"fieldsight.systems.{id}").SPEC
        assert isinstance(spec, System)
        return spec
    raise ConfigError(unknown("system", id, names()))


def names() -> tuple[str, ...]:
    """Ids of all registered systems: the shipped ones, then those registered from outside."""
    return (*SYSTEMS, *_extra)


def systems(pattern: str = "*") -> list[System]:
    """All registered systems whose id or title matches a shell pattern (``"*seg*"``), ignoring case."""
    wanted = pattern.lower()
    found = [get(id) for id in names()]
    return [s for s in found if any(fnmatch.fnmatch(text.lower(), wanted) for text in (s.id, s.title))]


def check(system: System) -> list[str]:
    """Return what is missing or contradictory in a spec, in words; empty when it is complete."""
    problems = []
    for field in dataclasses.fields(system):
        if field.name in ("examples", "page", "routes", "notice", "metrics", "traits", "defaults"):
            continue
        if not getattr(system, field.name):
            problems.append(f"{system.id}: '{field.name}' is empty")
    verbs = [v.name for v in system.verbs]
    if len(set(verbs)) != len(verbs):
        problems.append(f"{system.id}: a verb is listed twice")
    wanted = {"learns": ("train", "evaluate", "make-data"), "exports": ("export", "bench")}
    for trait, needed in wanted.items():
        if trait in system.traits:
            problems += [f"{system.id}: the trait '{trait}' needs the verb '{v}'" for v in needed if v not in verbs]
    if "evaluate" in verbs and not system.metrics:
        problems.append(f"{system.id}: 'evaluate' without metrics")
    for metric in system.metrics:
        if not metric.protocol.strip() or not metric.range[0] <= metric.perfect <= metric.range[1]:
            problems.append(f"{system.id}: metric '{metric.name}' lacks a protocol or its perfect value is outside")
    return problems
