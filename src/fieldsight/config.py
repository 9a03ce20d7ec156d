"""Configs: frozen dataclasses whose help, units and limits are data.

The same class gives the command line its flags, the Studio its fields, TOML files their keys and Python its
keyword arguments. Values come from the preset, then a TOML file, then flags; later wins. Every problem is found
before any is reported.

    @dataclass(frozen=True)
    class BlurConfig(Config):
        sigma: float = setting(1.5, "width of the blur", unit="nm", gt=0)
        mode: Literal["edge", "zero"] = setting("edge", "what lies outside the image")

    BlurConfig.parse({"sigma": "2nm"})      # BlurConfig(sigma=2.0, mode='edge')
    BlurConfig.parse({"sigmma": 0})         # ConfigError: Unknown option 'sigmma'. Did you mean 'sigma'? ...
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from fieldsight.errors import ConfigError, unknown

C = TypeVar("C", bound="Config")

_KEY = "fieldsight"
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

# Each dimension in its own reference unit; a field's `unit` picks the dimension and what the number means.
_UNITS: tuple[dict[str, float], ...] = (
    {"nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "mm": 1e6, "m": 1e9, "A": 0.1, "Å": 0.1},
    {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0},
    {"pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "Wh": 3600.0},
    {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    {"Pa": 1.0, "kPa": 1e3, "MPa": 1e6, "bar": 1e5},
)
_QUANTITY = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s]\S*)?\s*$")


@dataclass(frozen=True)
class Setting:
    """What is known of one option beside its type and default: the text and the limits."""

    help: str
    unit: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_items: int | None = None
    flag: bool = True
    repeat: bool = False
    secret: bool = False
    web: bool = True

    def limits(self) -> str:
        """The allowed range in words, empty where everything goes."""
        parts = [f"{sign} {bound:g}" for sign, bound in self._bounds() if bound is not None]
        return " and ".join(parts)

    def _bounds(self) -> tuple[tuple[str, float | None], ...]:
        return ((">=", self.ge), (">", self.gt), ("<=", self.le), ("<", self.lt))

    def check(self, number: float) -> str | None:
        """Return what is wrong with a number, or None."""
        outside = (
            number != number  # NaN; math.isnan refuses integers beyond float
            or (self.ge is not None and number < self.ge)
            or (self.gt is not None and number <= self.gt)
            or (self.le is not None and number > self.le)
            or (self.lt is not None and number >= self.lt)
        )
        return f"must be {self.limits() or 'a number'}{' ' + self.unit if self.unit else ''}" if outside else None


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    unit: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    min_items: int | None = None,
    flag: bool = True,
    repeat: bool = False,
    secret: bool = False,
    web: bool = True,
) -> Any:
    """Declare an option of a :class:`Config`.

    Args:
        default: the value when nothing is said; a nested ``Config`` instance makes a group.
        help: one line for ``--help``, the Studio and ``--print-config``.
        unit: unit of the number; ``"5nm"`` and ``"0.005um"`` are then understood.
        ge, gt, le, lt: bounds of the number, or of each number of a tuple.
        min_items: least length of a tuple.
        flag: False keeps it off the command line (TOML and ``--set`` still reach it).
        repeat: the flag of a tuple may be given several times, each time for one item that may hold commas.
        secret: a passphrase: any text is taken as it is, also ``none``, and ``--print-config`` does not write it.
        web: False where it must never come from a browser (it runs code, or reads the server's files): neither the
            Studio's pages nor its API know it.
    """
    known = Setting(help, unit, ge, gt, le, lt, min_items, flag, repeat, secret, web)
    return dataclasses.field(default=default, metadata={_KEY: known})


@dataclass(frozen=True)
class Option:
    """One option as seen from outside: name, type, default and :class:`Setting`."""

    name: str
    type: Any
    default: Any
    setting: Setting

    @property
    def group(self) -> type[Config] | None:
        """The nested config class when this option is a group, else None."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, Config) else None

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words of a ``Literal`` option (or of the items of a tuple of them), else ``()``."""
        inner = _strip_optional(self.type)
        if get_origin(inner) is tuple:
            inner = get_args(inner)[0]
        return tuple(str(a) for a in get_args(inner)) if get_origin(inner) is Literal else ()


_known: dict[type, tuple[Option, ...]] = {}


def options(cls: type[Config]) -> tuple[Option, ...]:
    """All options of a config class in order of declaration."""
    if cls not in _known:
        hints = typing.get_type_hints(cls)
        _known[cls] = tuple(
            Option(f.name, hints[f.name], f.default, f.metadata.get(_KEY, Setting("")))
            for f in dataclasses.fields(cls)
            if f.init
        )
    return _known[cls]


@dataclass(frozen=True)
class Config:
    """Base of all configs. Construction checks types and limits and raises one ``ConfigError`` with every problem."""

    #: ``(check, message)`` pairs over several fields; ``check(config)`` is true when all is well.
    rules: ClassVar[tuple[tuple[Callable[[Any], bool], str], ...]] = ()

    def __post_init__(self) -> None:
        problems: list[str] = []
        for option in options(type(self)):
            try:
                value = coerce(getattr(self, option.name), option)
            except ValueError as error:
                problems.append(f"{option.name}: {error}")
            else:
                object.__setattr__(self, option.name, value)
        if not problems:
            problems += [message for check, message in type(self).rules if not check(self)]
        if problems:
            raise ConfigError(problems)

    @classmethod
    def parse(cls: type[C], values: Mapping[str, Any], base: C | None = None, where: str = "") -> C:
        """Build a config from plain values (strings are understood), on top of ``base`` or the defaults.

        Args:
            values: option name to value; ``{"group.name": v}`` and ``{"group": {"name": v}}`` both reach groups.
            base: the config whose values stand where ``values`` says nothing.
            where: put in front of every problem, e.g. the TOML file's name.

        Raises:
            ConfigError: with every unknown name, wrong type and value out of range found.
        """
        problems: list[str] = []
        built = _parse(cls, _nest(values), base, "", problems)
        if problems or built is None:
            raise ConfigError([f"{where}: {p}" if where else p for p in problems])
        return built

    def replace(self: C, **changes: Any) -> C:
        """Return a copy with some options changed; a group takes a dict of its own changes."""
        return type(self).parse(changes, base=self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only (groups are dicts, tuples are lists), as JSON and TOML want them."""
        return {o.name: _plain(getattr(self, o.name)) for o in options(type(self))}

    def to_toml(self, comments: bool = True) -> str:
        """The whole config as TOML, each option under a comment with its help, unit and limits."""
        import tomlkit

        document = tomlkit.document()
        _write_toml(document, self, comments)
        return tomlkit.dumps(document)

    def differences(self, other: Config) -> list[str]:
        """Lines ``name: mine -> other's`` for every option that differs."""
        mine, theirs = dict(_flatten(self.to_dict())), dict(_flatten(other.to_dict()))
        names = [*mine, *(n for n in theirs if n not in mine)]
        return [f"{n}: {mine.get(n)!r} -> {theirs.get(n)!r}" for n in names if mine.get(n) != theirs.get(n)]


def resolve(
    cls: type[C],
    presets: Mapping[str, C],
    preset: str | None = None,
    file: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> C:
    """Preset, then TOML file, then changes: the order of precedence in one place.

    Raises:
        ConfigError: unknown preset; a TOML file that is absent or does not parse; any problem of its values.
    """
    name = preset or next(iter(presets), None)
    if preset is not None and preset not in presets:
        raise ConfigError(unknown("preset", preset, presets))
    base = presets[name] if name is not None else None
    problems: list[str] = []
    if file is not None:
        base = cls.parse(read_toml(file), base=base, where=str(file))
    try:
        return cls.parse(changes or {}, base=base)
    except ConfigError as error:
        problems += error.problems
    raise ConfigError(problems)


def read_toml(file: str | Path) -> dict[str, Any]:
    """Read a TOML file into plain values.

    Raises:
        ConfigError: the file is absent or is not TOML; the message names line and column.
    """
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        return tomlkit.parse(Path(file).read_text(encoding="utf-8")).unwrap()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Can't read the config file '{file}': {error}. Give a TOML file.") from None
    except ParseError as error:
        raise ConfigError(f"'{file}' is not valid TOML: {error}. `--print-config` shows a valid one.") from None


def coerce(value: Any, option: Option) -> Any:
    """Turn a value, perhaps a string from a command line, into the option's type and check its limits.

    Raises:
        ValueError: with the sentence for the user: what was got and what is allowed.
    """
    return _coerce(value, option.type, option.setting)


def type_name(annotation: Any) -> str:
    """A short word for a type, for help and messages: ``INT``, ``NUMBER``, ``a|b``, ``PATH``, ``TEXT``."""
    inner = _strip_optional(annotation)
    origin = get_origin(inner)
    if origin is Literal:
        return "|".join(str(a) for a in get_args(inner))
    if origin is tuple:
        item, *rest = get_args(inner)
        return " ".join(type_name(a) for a in (item, *rest)) if Ellipsis not in rest else f"{type_name(item)},..."
    return {bool: "yes|no", int: "INT", float: "NUMBER", Path: "PATH"}.get(inner, "TEXT")


# ---------------------------------------------------------------------------------------------- internals


def _strip_optional(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        return inner[0] if len(inner) == 1 else annotation
    return annotation


def _coerce(value: Any, annotation: Any, known: Setting) -> Any:
    inner = _strip_optional(annotation)
    if inner is not annotation and (value is None or (value == "none" and not known.secret)):
        return None
    origin = get_origin(inner)
    if origin is Literal:
        return _coerce_choice(value, get_args(inner))
    if origin is tuple:
        return _coerce_tuple(value, get_args(inner), known)
    if isinstance(inner, type) and issubclass(inner, Config):
        if isinstance(value, inner):
            return value
        raise ValueError(f"must be a group of options, got {value!r}")
    if inner is bool:
        return _coerce_bool(value)
    if inner in (int, float):
        return _coerce_number(value, inner, known)
    if inner is Path:
        if isinstance(value, (str, Path)) and str(value):
            return Path(value)
        raise ValueError(f"must be a path, got {value!r}")
    if inner is str:
        if isinstance(value, str):
            return value
        raise ValueError(f"must be text, got {value!r}")
    raise TypeError(f"configs can't hold {annotation!r}")


def _coerce_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLS:
        return _BOOLS[value.lower()]
    raise ValueError(f"must be yes or no, got {value!r}")


def _coerce_choice(value: Any, allowed: tuple[Any, ...]) -> Any:
    for choice in allowed:
        if value == choice or (isinstance(value, str) and value == str(choice)):
            return choice
    raise ValueError(unknown("choice", str(value), [str(a) for a in allowed]))


def _coerce_number(value: Any, kind: type, known: Setting) -> float | int:
    wanted = f"must be a whole number{_allowed(known)}" if kind is int else f"must be a number{_allowed(known)}"
    if isinstance(value, bool):
        raise ValueError(f"{wanted}, got {value!r}")
    if isinstance(value, str):
        number = _parse_quantity(value, known.unit)
        if number is None:
            raise ValueError(f"{wanted}, got '{value}'")
    elif isinstance(value, (int, float)) or hasattr(value, "__float__"):
        number = value if isinstance(value, int) else float(value)
    else:
        raise ValueError(f"{wanted}, got {value!r}")
    if kind is int:
        if isinstance(number, float) and not number.is_integer():  # also infinity and NaN
            raise ValueError(f"{wanted}, got {value!r}")
        number = int(number)
    elif isinstance(number, int) and abs(number) > sys.float_info.max:
        raise ValueError(f"{wanted}, got one of {len(str(number))} digits")
    else:
        number = float(number)
    problem = known.check(number)
    if problem:
        raise ValueError(f"{problem}, got {value}")
    return number


def _allowed(known: Setting) -> str:
    unit = f" in {known.unit}" if known.unit else ""
    return unit + (f" {known.limits()}" if known.limits() else "")


def _parse_quantity(text: str, unit: str) -> float | int | None:
    match = _QUANTITY.match(text)
    if not match:
        return float(text) if text.strip().lower() in ("inf", "-inf") else None
    number = float(match[1])
    given = match[2]
    if given is None or given == unit:
        return int(match[1]) if re.fullmatch(r"[+-]?\d+", match[1]) else number
    for dimension in _UNITS:
        if given in dimension and unit in dimension:
            # rounded to 12 digits: "0.005um" is 5 nm, not 5.000000000000001
            return float(f"{number * dimension[given] / dimension[unit]:.12g}")
    return None


def _coerce_tuple(value: Any, inner: tuple[Any, ...], known: Setting) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part for part in re.split(r"[,\s]+", value.strip()) if part]
    elif not isinstance(value, (list, tuple)):
        value = [value]
    if len(inner) == 2 and inner[1] is Ellipsis:
        items = tuple(_coerce(v, inner[0], known) for v in value)
    else:
        if len(value) != len(inner):
            raise ValueError(f"must hold {len(inner)} values, got {len(value)}: {value!r}")
        items = tuple(_coerce(v, t, known) for v, t in zip(value, inner, strict=True))
    if known.min_items is not None and len(items) < known.min_items:
        raise ValueError(f"must hold at least {known.min_items} values, got {len(items)}")
    return items


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        head, _, tail = key.partition(".")
        if tail:
            group = nested.setdefault(head, {})
            if isinstance(group, dict):
                group[tail] = value
        else:
            nested[head] = value
    return nested


def _parse(cls: type[C], values: Mapping[str, Any], base: C | None, prefix: str, problems: list[str]) -> C | None:
    known = {o.name: o for o in options(cls)}
    aliases = {name.replace("_", "-"): name for name in known}
    before = len(problems)
    final: dict[str, Any] = {} if base is None else {name: getattr(base, name) for name in known}
    for key, value in values.items():
        name = aliases.get(key, key)
        if name not in known:
            problems.append(unknown("option", prefix + key, [prefix + n for n in known]))
            continue
        option = known[name]
        if option.group is not None and isinstance(value, Mapping):
            inner = final.get(name, option.default)
            parsed = _parse(option.group, _nest(value), inner, f"{prefix}{name}.", problems)
            if parsed is not None:
                final[name] = parsed
            continue
        try:
            final[name] = coerce(value, option)
        except ValueError as error:
            problems.append(f"{prefix}{name}: {error}")
    missing = [n for n, o in known.items() if n not in final and o.default is dataclasses.MISSING]
    problems.extend(f"{prefix}{name}: must be given. {known[name].setting.help}" for name in missing)
    if len(problems) > before:
        return None
    try:
        return cls(**final)
    except ConfigError as error:
        problems.extend(prefix + p for p in error.problems)
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _write_toml(table: Any, config: Config, comments: bool) -> None:
    import tomlkit

    groups = []
    for option in options(type(config)):
        value = getattr(config, option.name)
        if isinstance(value, Config):
            groups.append((option, value))
            continue
        if comments and option.setting.help:
            limits = option.setting.limits()
            facts = "; ".join(f for f in (option.setting.unit, limits, ", ".join(option.choices)) if f)
            table.add(tomlkit.comment(option.setting.help + (f" ({facts})" if facts else "")))
        if value is None or option.setting.secret:  # a passphrase is written nowhere
            table.add(tomlkit.comment(f'{option.name} = "none"'))
        else:
            table.add(option.name, _plain(value))
    for option, value in groups:
        inner = tomlkit.table()
        if comments and option.setting.help:
            inner.comment(option.setting.help)
        _write_toml(inner, value, comments)
        table.add(option.name, inner)
