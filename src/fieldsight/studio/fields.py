"""A form for any options: each option of a ``Config`` as a Gradio component, and the form's values back as changes.

=============================== ==========================================================
option                          field
=============================== ==========================================================
``bool``                        checkbox
``Literal``                     up to four short words: radio; else a dropdown
number with two bounds          slider, where a slider can be aimed at; else a number
any other number                number; where ``None`` is allowed a text, so that ``5nm`` and nothing can be said
tuple of ``Literal``            dropdown with several choices
any other tuple                 text, values apart by commas
``str``                         text
``str`` that is a secret        password: what is typed is never shown again
``Path``                        upload: a server's path is never typed
nested ``Config``               a closed section with its own fields
=============================== ==========================================================
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from fieldsight.config import Config, Option, coerce, options
from fieldsight.errors import ConfigError

Kind = Literal[
    "checkbox", "radio", "dropdown", "several", "slider", "number", "quantity", "text", "password", "list", "file",
    "suggest",
]  # fmt: skip

#: A slider has at most this many positions; finer ranges are typed.
POSITIONS = 2000

#: Options of a group shown at once; the others stand in a section that opens.
SHOWN = 4


@dataclass(frozen=True)
class Plan:
    """A field before it is drawn.

    Attributes:
        name: full name of the option, ``recipe.etch.depth``.
        option: the option.
        kind: which component.
        value: what the component shows at first.
        label, info: its words.
        choices: ``(words, value)`` of radio and dropdown.
        low, high, step: of a slider.
    """

    name: str
    option: Option
    kind: Kind
    value: Any
    label: str
    info: str
    choices: tuple[tuple[str, str], ...] = ()
    low: float = 0.0
    high: float = 1.0
    step: float = 1.0


@dataclass(frozen=True)
class Field:
    """A drawn field: its plan and its component."""

    plan: Plan
    component: Any


def plan_all(cls: type[Config], base: Config | None = None, suggest: Sequence[str] = ()) -> list[Plan]:
    """The fields of a config class and its groups, in order.

    Args:
        cls: the options.
        base: where the first values come from; the class's defaults without it.
        suggest: names of text options whose field offers a list that the page fills, besides free text.
    """
    return list(_plans(cls, base, "", frozenset(suggest)))


def plan(option: Option, default: Any, prefix: str = "", suggest: bool = False) -> Plan:
    """The field of one option that is no group."""
    inner, optional = _inner(option.type)
    words: dict[str, Any] = {
        "name": prefix + option.name,
        "option": option,
        "label": label_of(option),
        "info": info_of(option),
    }
    blank = default is None or default is dataclasses.MISSING
    origin = get_origin(inner)
    if suggest:
        return Plan(kind="suggest", value="" if blank else str(default), **words)
    if origin is Literal:
        choices = tuple((str(a), str(a)) for a in get_args(inner))
        choices = (("none", ""), *choices) if optional else choices
        short = len(choices) <= 4 and sum(len(c) for c, _ in choices) <= 28
        value = "" if blank else str(default)
        return Plan(kind="radio" if short else "dropdown", value=value, choices=choices, **words)
    if origin is tuple:
        items = () if blank else default
        if option.choices:
            chosen = [str(i) for i in items]
            return Plan(kind="several", value=chosen, choices=tuple((c, c) for c in option.choices), **words)
        return Plan(kind="list", value=", ".join(_text(i) for i in items), **words)
    if inner is bool:
        return Plan(kind="checkbox", value=bool(default) if not blank else False, **words)
    if inner in (int, float):
        scale = None if blank or optional else _scale(option, float(default), whole=inner is int)
        if scale is not None:
            return Plan(kind="slider", value=default, low=scale[0], high=scale[1], step=scale[2], **words)
        if optional or blank:
            return Plan(kind="quantity", value="" if blank else _text(default), **words)
        return Plan(kind="number", value=default, **words)
    if inner is Path:
        return Plan(kind="file", value=None, **words)
    return Plan(kind="text", value="" if blank else str(default), **words)


def hushed(cls: type[Config]) -> frozenset[str]:
    """Names of options that hold a secret: forms take them as passwords, and no command or snippet repeats them."""
    return frozenset(o.name for o in options(cls) if o.setting.secret)


def changes(plans: Sequence[Plan], values: Sequence[Any], base: Config | None = None) -> dict[str, Any]:
    """What a form changes: full option name to value, for every field that says something other than the default.

    A value that does not fit is passed on as it is, so that the house reports all problems at once.

    Args:
        plans: the fields, as :func:`plan_all` gave them.
        values: what the components hold, in the same order.
        base: the config the form was drawn from.

    Raises:
        ConfigError: a password that can't be one; it is not repeated.
    """
    found: dict[str, Any] = {}
    for one, value in zip(plans, values, strict=True):
        default = default_of(one, base)
        known = one.kind in ("list", "quantity") and default is not dataclasses.MISSING
        if known and value == to_component(one, default):
            continue  # left as it stands: the text may show fewer digits than the default has
        if value in (None, "", []) and not (value == "" and one.kind == "text"):
            value = _empty(one, value, default)
        elif value == "" and _inner(one.option.type)[1]:
            value = None
        if value is dataclasses.MISSING:
            continue
        if one.kind == "password" and value is not None and not isinstance(value, str):
            raise ConfigError(f"{one.name}: this can't be one, since it is no text.")
        try:
            final = coerce(value, one.option)
        except ValueError:
            found[one.name] = value
            continue
        if final != default:
            found[one.name] = final
    return found


def to_component(one: Plan, value: Any) -> Any:
    """A config value as the field's component takes it; None leaves it empty."""
    return plan(dataclasses.replace(one.option, default=value), value, suggest=one.kind == "suggest").value


def default_of(one: Plan, base: Config | None = None) -> Any:
    """The default of a field's option: the base's value where there is a base."""
    if base is None:
        return one.option.default
    value: Any = base
    for part in one.name.split("."):
        value = getattr(value, part)
    return value


def draw(cls: type[Config], plans: Sequence[Plan], shown: Sequence[str] = ()) -> list[Field]:
    """Draw the fields inside the present Gradio block: the first ones openly, the others in sections that open.

    Args:
        cls: the options.
        plans: what :func:`plan_all` gave for them.
        shown: names of the options that stand openly, in this order; the first few without it.

    Returns:
        the drawn fields in the order of ``plans``.
    """
    import gradio as gr

    drawn: dict[str, Field] = {}
    plain = [p for p in plans if "." not in p.name]
    first = plain if len(plain) <= SHOWN + 1 else plain[:SHOWN]
    if shown:
        first = sorted((p for p in plain if p.name in shown), key=lambda p: shown.index(p.name))
    rest = [p for p in plain if p not in first]
    _draw_rows(first, drawn)
    if rest:
        with gr.Accordion(f"More options ({len(rest)})", open=False):
            _draw_rows(rest, drawn)
    _draw_groups(cls, [p for p in plans if "." in p.name], "", drawn)
    return [drawn[p.name] for p in plans]


def label_of(option: Option) -> str:
    """The option's name as people write it, with its unit."""
    name = option.name.replace("_", " ")
    unit = f" [{option.setting.unit}]" if option.setting.unit else ""
    return name[:1].upper() + name[1:] + unit


def info_of(option: Option) -> str:
    """The option's help and its limits, as a sentence."""
    text = option.setting.help.strip()
    limits = option.setting.limits().replace(">=", "≥").replace("<=", "≤")
    facts = f" ({limits})" if limits else ""
    first = text.split(" ")[0]
    shown = text[:1].upper() + text[1:] if first.isalpha() or first.endswith((";", ",")) else text
    return f"{shown}{facts}" if text else limits


# ---------------------------------------------------------------------------------------------- internals


def _plans(cls: type[Config], base: Config | None, prefix: str, suggest: frozenset[str]) -> Iterator[Plan]:
    quiet = hushed(cls)
    for option in options(cls):
        if not option.setting.web:
            continue
        default = getattr(base, option.name) if base is not None else option.default
        if option.group is not None:
            inner = default if isinstance(default, Config) else None
            yield from _plans(option.group, inner, f"{prefix}{option.name}.", frozenset())
        else:
            known = dataclasses.replace(option, default=default)
            one = plan(known, default, prefix, option.name in suggest)
            yield dataclasses.replace(one, kind="password") if option.name in quiet else one


def _inner(annotation: Any) -> tuple[Any, bool]:
    """The type without ``None``, and whether ``None`` is allowed."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        return (inner[0] if len(inner) == 1 else annotation), len(inner) < len(get_args(annotation))
    return annotation, False


def _empty(one: Plan, value: Any, default: Any) -> Any:
    """What an emptied field means: nothing where that is allowed, no items where any number is, else the default."""
    inner, optional = _inner(one.option.type)
    if optional:
        return None
    variable = get_origin(inner) is tuple and Ellipsis in get_args(inner)
    return () if variable and value is not None else default


def _scale(option: Option, default: float, whole: bool) -> tuple[float, float, float] | None:
    """Lowest, highest and step of a slider, or None where one could not be aimed at."""
    known = option.setting
    low = known.ge if known.ge is not None else known.gt
    high = known.le if known.le is not None else known.lt
    if low is None or high is None or not math.isfinite(high - low) or high <= low:
        return None
    step = 1.0 if whole else 10.0 ** math.floor(math.log10((high - low) / 200))
    for _ in range(2):
        first = low + step if known.ge is None else low
        last = high - step if known.le is None else high
        steps = (default - first) / step
        if abs(steps - round(steps)) < 1e-6:
            break
        step /= 10
    else:
        return None
    if (last - first) / step > POSITIONS or not first <= default <= last:
        return None
    return round(first, 12), round(last, 12), step


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _draw_rows(plans: Sequence[Plan], drawn: dict[str, Field]) -> None:
    import gradio as gr

    narrow: list[Plan] = []

    def flush() -> None:
        if narrow:
            with gr.Row(elem_classes="fs-fields"):
                for one in narrow:
                    drawn[one.name] = Field(one, _component(one))
            narrow.clear()

    for one in plans:
        if one.kind in ("number", "quantity", "suggest", "dropdown"):
            narrow.append(one)
            if len(narrow) == 2:
                flush()
        else:
            flush()
            drawn[one.name] = Field(one, _component(one))
    flush()


def _draw_groups(cls: type[Config], plans: Sequence[Plan], prefix: str, drawn: dict[str, Field]) -> None:
    import gradio as gr

    for option in options(cls):
        if option.group is None:
            continue
        inside = f"{prefix}{option.name}."
        members = [p for p in plans if p.name.startswith(inside)]
        with gr.Accordion(_title(option), open=False):
            _draw_rows([p for p in members if "." not in p.name[len(inside) :]], drawn)
            _draw_groups(option.group, members, inside, drawn)


def _title(option: Option) -> str:
    name = option.name.replace("_", " ").capitalize()
    help = option.setting.help
    return name if not help or help.lower() == name.lower() else f"{name}: {help}"


def _component(one: Plan) -> Any:
    import gradio as gr

    words: dict[str, Any] = {"label": one.label, "info": one.info, "value": one.value}
    if one.kind == "checkbox":
        return gr.Checkbox(**words)
    if one.kind == "radio":
        return gr.Radio(list(one.choices), **words)
    if one.kind == "dropdown":
        return gr.Dropdown(list(one.choices), min_width=140, **words)
    if one.kind == "several":
        return gr.Dropdown(list(one.choices), multiselect=True, **words)
    if one.kind == "slider":
        return gr.Slider(one.low, one.high, step=one.step, **words)
    if one.kind == "number":
        whole = _inner(one.option.type)[0] is int
        return gr.Number(precision=0 if whole else None, min_width=140, **words)
    if one.kind == "quantity":
        return gr.Textbox(placeholder="default", lines=1, min_width=140, **words)
    if one.kind == "suggest":
        return gr.Dropdown(
            [("automatic", "")], allow_custom_value=True, min_width=140, label=one.label, info=one.info, value=one.value
        )
    if one.kind == "file":
        caption(one.label, one.info)
        return gr.File(label=one.label, show_label=False, type="filepath", height=92, elem_classes="fs-small-file")
    if one.kind == "password":
        unsaved = gr.InputHTMLAttributes(autocomplete="new-password", spellcheck=False)
        return gr.Textbox(type="password", html_attributes=unsaved, **words)
    empty = "default" if _inner(one.option.type)[1] or one.kind == "list" else ""
    return gr.Textbox(placeholder=empty, lines=1, **words)


def caption(title: str, help: str = "") -> Any:
    """A label above a component that has no room for one of its own."""
    import gradio as gr

    words = f"<span>{escape(help)}</span>" if help else ""
    return gr.HTML(f'<p class="fs-caption"><b>{escape(title)}</b>{words}</p>', elem_classes="fs-html fs-tight")


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested options as full names: ``{"etch": {"depth": 80}}`` gives ``("etch.depth", 80)``; files stay whole."""
    for key, value in values.items():
        if isinstance(value, Mapping) and "path" not in value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
