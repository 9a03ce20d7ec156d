"""Every option has a field, and a field gives back what it was given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from fieldsight import registry
from fieldsight.config import Config, options, setting
from fieldsight.studio.fields import changes, default_of, draw, flat, plan_all, to_component


@dataclass(frozen=True)
class Inner(Config):
    depth: float = setting(100.0, "depth", unit="nm", gt=0)
    deep: bool = setting(True, "deep")


@dataclass(frozen=True)
class Outer(Config):
    inner: Inner = setting(Inner(), "inner part")
    name: str = setting("x", "name")


@dataclass(frozen=True)
class Everything(Config):
    yes: bool = setting(False, "switch")
    short: Literal["a", "b"] = setting("a", "few words")
    long: Literal["first one", "second one", "third one", "fourth one"] = setting("first one", "many words")
    number_choice: Literal[1, 2, 4] = setting(2, "numbers to choose")
    maybe_choice: Literal["a", "b"] | None = setting(None, "choice or nothing")
    share: float = setting(0.1, "a share", gt=0, lt=1)
    count: int = setting(20, "small count", ge=0, le=64)
    big: int = setting(20, "large count", ge=0, le=100_000)
    open_end: float = setting(2.0, "open", unit="nm", gt=0)
    maybe_number: float | None = setting(None, "number or nothing", unit="nm", gt=0, le=1000)
    maybe_int: int | None = setting(None, "whole number or nothing", ge=1)
    word: str = setting("layer", "a word")
    maybe_word: str | None = setting(None, "a word or nothing")
    numbers: tuple[float, ...] = setting((), "numbers", unit="nm")
    words: tuple[str, ...] = setting(("a", "b"), "words")
    several: tuple[Literal["p", "q", "r"], ...] = setting(("p",), "several of these", min_items=1)
    pair: tuple[int, int] = setting((3, 4), "two numbers")
    file: Path | None = setting(None, "a file")
    outer: Outer = setting(Outer(), "outer part")


#: Another value of each option, as its component holds it, and as the option.
OTHER: dict[str, tuple[Any, Any]] = {
    "yes": (True, True),
    "short": ("b", "b"),
    "long": ("third one", "third one"),
    "number_choice": ("4", 4),
    "maybe_choice": ("b", "b"),
    "share": (0.25, 0.25),
    "count": (3, 3),
    "big": (99.0, 99),
    "open_end": (2.5, 2.5),
    "maybe_number": ("0.005um", 5.0),
    "maybe_int": ("7", 7),
    "word": ("", ""),
    "maybe_word": ("li1", "li1"),
    "numbers": ("0, 10, 200, 3e2", (0.0, 10.0, 200.0, 300.0)),
    "words": ("c", ("c",)),
    "several": (["q", "r"], ("q", "r")),
    "pair": ("5 6", (5, 6)),
    "outer.name": ("y", "y"),
    "outer.inner.depth": (80, 80.0),
    "outer.inner.deep": (False, False),
}


def test_the_kinds() -> None:
    kinds = {p.name: p.kind for p in plan_all(Everything)}
    assert kinds == {
        "yes": "checkbox", "short": "radio", "long": "dropdown", "number_choice": "radio", "maybe_choice": "radio",
        "share": "slider", "count": "slider", "big": "number", "open_end": "number", "maybe_number": "quantity",
        "maybe_int": "quantity", "word": "text", "maybe_word": "text", "numbers": "list", "words": "list",
        "several": "several", "pair": "list", "file": "file", "outer.inner.depth": "number",
        "outer.inner.deep": "checkbox", "outer.name": "text",
    }  # fmt: skip
    assert {k: v.kind for k, v in ((p.name, p) for p in plan_all(Everything, suggest=("word",)))}["word"] == "suggest"


def test_an_untouched_form_changes_nothing() -> None:
    plans = plan_all(Everything)
    assert changes(plans, [p.value for p in plans]) == {}


@pytest.mark.parametrize("name", OTHER)
def test_a_field_gives_back_what_it_was_given(name: str) -> None:
    plans = plan_all(Everything)
    shown, final = OTHER[name]
    values = [shown if p.name == name else p.value for p in plans]
    found = changes(plans, values)
    assert found == {name: final}
    changed = Everything.parse(found)
    assert dict(flat(changed.to_dict()))[name] == (list(final) if isinstance(final, tuple) else final)
    # and drawn from the changed config, the form shows it and changes nothing
    again = plan_all(Everything, changed)
    one = next(p for p in again if p.name == name)
    assert default_of(one, changed) == final
    assert changes(again, [p.value for p in again], changed) == {}
    assert to_component(one, final) == one.value


def test_an_upload_is_a_path_and_nothing_else() -> None:
    plans = plan_all(Everything)
    values = [Path("a.lyp") if p.name == "file" else p.value for p in plans]
    assert changes(plans, values) == {"file": Path("a.lyp")}


def test_empty_means_nothing_where_that_is_allowed_and_else_the_default() -> None:
    plans = plan_all(Everything)
    assert changes(plans, [None] * len(plans)) == {}
    emptied = {"words": "", "several": [], "pair": "", "big": None, "maybe_word": "", "maybe_choice": ""}
    assert changes(plans, [emptied.get(p.name, p.value) for p in plans]) == {"words": (), "several": ()}


def test_a_value_that_does_not_fit_is_left_to_the_house() -> None:
    plans = plan_all(Everything)
    values = ["-3" if p.name == "maybe_number" else p.value for p in plans]
    assert changes(plans, values) == {"maybe_number": "-3"}


def test_sliders_can_be_aimed_at() -> None:
    sliders = {p.name: p for p in plan_all(Everything) if p.kind == "slider"}
    share = sliders["share"]
    assert share.low > 0
    assert share.high < 1
    assert (share.value - share.low) / share.step == pytest.approx(round((share.value - share.low) / share.step))


def test_every_option_of_every_system_is_planned() -> None:
    for spec in registry.systems():
        for verb in spec.verbs:
            cls = registry.load(verb.options)
            plans = plan_all(cls)
            # but those that must never come from a browser
            assert {p.name.split(".")[0] for p in plans} == {o.name for o in options(cls) if o.setting.web}
            assert changes(plans, [p.value for p in plans]) == {}, (spec.id, verb.name)


def test_drawn_components_hold_the_values() -> None:
    import gradio as gr

    plans = plan_all(Everything)
    with gr.Blocks(analytics_enabled=False):
        fields = draw(Everything, plans, shown=("big", "yes"))
    assert [f.plan.name for f in fields] == [p.name for p in plans]
    for field in fields:
        if field.plan.kind != "file":
            shown = field.component.value
            assert shown == field.plan.value, field.plan.name
            assert field.component.preprocess(shown) in (field.plan.value, shown)
