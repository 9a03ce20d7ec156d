"""Flags from options: the one file that knows the flag library, tyro.

Every flag is taken as text and left to :mod:`fieldsight.config`, which knows types, units and limits and reports
all problems at once. tyro finds the flags, prints the help, and names the nearest flag when one is misspelt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fieldsight.config import Config, Option, options, type_name


@dataclass(frozen=True)
class Flag:
    """One flag or argument of a command.

    Attributes:
        name: name in Python; underscores become dashes.
        help: one line.
        kind: ``value`` takes one word, ``switch`` none, ``many`` may be repeated, ``words`` is positional and takes
            any number, ``word`` is positional and takes one, ``maybe`` is positional and may be left out.
        metavar: what stands for the value in the help.
        default: text of the default for the help.
    """

    name: str
    help: str
    kind: str = "value"
    metavar: str = "TEXT"
    default: str = ""


def flags_of(cls: type[Config], base: Config | None = None) -> list[Flag]:
    """A flag for every option of a config class that asks for one; groups are reached by ``--set``."""
    flags = []
    for option in options(cls):
        if option.group is None and option.setting.flag:
            flags.append(_flag(option, getattr(base, option.name) if base is not None else option.default))
    return flags


def _flag(option: Option, default: Any) -> Flag:
    known = option.setting
    facts = "; ".join(f for f in (known.unit, known.limits()) if f)
    text = known.help + (f" ({facts})" if facts else "")
    if option.type is bool:
        return Flag(option.name, text, "switch", default="yes" if default else "no")
    if known.repeat:
        return Flag(option.name, text, "many", type_name(option.type).removesuffix(",..."))
    shown = "" if default is dataclasses.MISSING or default is None else _shown(default)
    return Flag(option.name, text, "value", type_name(option.type), shown)


def _shown(value: Any) -> str:
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


class _Words(tuple[str, ...]):
    """Values of a flag or place that takes several.

    A class of its own, since tyro imports typeguard, and that unittest and asyncio, to check a ``tuple[str, ...]``:
    a third of the time that ``--help`` takes.
    """


#: Joins the values of a repeated flag, which tyro then sees once.
_BETWEEN = "\x1f"


class _NotGiven(str):
    """Default of a flag nobody gave; a string, as the flag library wants for its type."""


def parse(prog: str, description: str, flags: Sequence[Flag], arguments: Sequence[str]) -> dict[str, Any]:
    """Parse a command's arguments; returns only what was given, as text (True or False for switches).

    Raises:
        SystemExit: 0 after ``--help``, 2 on a flag that does not exist or lacks its value.
    """
    if not arguments and all(flag.kind != "word" for flag in flags):
        return {}  # nothing to parse: `fieldsight list` need not wait for the flag library
    import tyro

    fields: list[tuple[str, Any, Any]] = []
    for flag in flags:
        fields += _fields(flag)
    command = dataclasses.make_dataclass("Command", fields, frozen=True)
    given: Any = tyro.cli(
        command,
        prog=prog,
        description=description,
        args=_joined(flags, arguments),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    found: dict[str, Any] = {}
    for flag in flags:
        value = getattr(given, flag.name)
        if flag.kind == "switch":
            if value:
                found[flag.name] = True
            if getattr(given, f"no_{flag.name}", False):
                found[flag.name] = False
        elif not isinstance(value, _NotGiven) and value != ():
            found[flag.name] = value
    return found


def _joined(flags: Sequence[Flag], arguments: Sequence[str]) -> list[str]:
    """The arguments with every repeated flag put together, at the place where it stood first."""
    names = {f"--{flag.name.replace('_', '-')}" for flag in flags if flag.kind == "many"}
    done: list[str] = []
    first: dict[str, int] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        if word == "--":
            return [*done, word, *rest]
        if name not in names or (not equals and (not rest or rest[0].startswith("--"))):
            done.append(word)
            continue
        value = value if equals else rest.pop(0)
        if name in first:
            done[first[name]] += _BETWEEN + value
        else:
            done += [name, value]
            first[name] = len(done) - 1
    return done


def _fields(flag: Flag) -> list[tuple[str, Any, Any]]:
    import tyro
    from tyro.constructors import PrimitiveConstructorSpec

    markers: Any = tyro.conf  # subscripted at run time, which its type stubs do not know

    def described(text: str, hint: str = "", metavar: str | None = None) -> Any:
        return tyro.conf.arg(help=text, help_behavior_hint=hint, metavar=metavar)

    if flag.kind == "switch":
        off = dataclasses.field(default=False)
        on = (flag.name, Annotated[bool, described(flag.help, "(default: on)" if flag.default == "yes" else "")], off)
        if flag.default != "yes":
            return [on]
        return [on, (f"no_{flag.name}", Annotated[bool, described(f"switch {flag.name} off")], off)]
    if flag.kind in ("words", "many"):
        many = flag.kind == "many"
        taken = PrimitiveConstructorSpec(
            nargs=1 if many else "*",
            metavar=flag.metavar,
            instance_from_str=lambda words: _Words(words[0].split(_BETWEEN) if many else words),
            is_instance=lambda value: isinstance(value, _Words),
            str_from_instance=list,
        )
        several: Any = Annotated[_Words, taken, described(flag.help, "(repeatable)" if many else "(one or more)")]
        wrapped = several if many else markers.Positional[several]
        return [(flag.name, wrapped, dataclasses.field(default=_Words()))]
    spec = PrimitiveConstructorSpec(
        nargs=1,
        metavar=flag.metavar,
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [str(value)],
    )
    hint = f"(default: {flag.default})" if flag.default else ""
    one: Any = Annotated[str, spec, described(flag.help, hint)]
    if flag.kind == "word":
        return [(flag.name, markers.Positional[one], dataclasses.field())]
    if flag.kind == "maybe":
        return [(flag.name, markers.Positional[one], dataclasses.field(default=_NotGiven()))]
    return [(flag.name, one, dataclasses.field(default=_NotGiven()))]
