"""The first page: every system as a card."""

from __future__ import annotations

import importlib.util
from html import escape
from pathlib import Path

from fieldsight import registry
from fieldsight.registry import System
from fieldsight.studio.frame import frame, verb_title

#: The product in one sentence, in two parts.
SENTENCE = ("Vision systems for the field", "Little data, small devices, answers you can stand behind.")


def draw_home() -> None:
    """Draw the gallery inside the home page."""
    import gradio as gr

    cards = "".join(_card(spec) for spec in registry.systems())
    with frame("home"):
        gr.HTML(
            f'<div class="fs-head fs-home"><h1>{SENTENCE[0]}</h1><p>{SENTENCE[1]} Choose a system, or look at your '
            f'<a href="/runs">runs</a>.</p></div><div class="fs-cards">{cards}</div>',
            elem_classes="fs-html",
        )


def picture_of(spec: System) -> Path | None:
    """The system's picture: ``studio.png`` beside the module of its model; None where there is none."""
    try:
        found = importlib.util.find_spec(spec.model.partition(":")[0])
    except (ImportError, ValueError):
        return None
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).with_name("studio.png")
    return path if path.is_file() else None


def _card(spec: System) -> str:
    inside = f'<b class="fs-letters">{escape(spec.id)}</b>'
    if picture_of(spec) is not None:
        inside = f'<img src="/pictures/{escape(spec.id)}.png" alt="" width="540" height="360">'
    does = ", ".join(verb_title(v) for v in spec.verbs if v.page)
    return (
        f'<a class="fs-card" href="/{escape(spec.id)}"><div class="fs-picture">{inside}</div>'
        f'<div class="fs-words"><strong>{escape(spec.title)}</strong>'
        f"<span>{escape(spec.summary[:1].upper() + spec.summary[1:])}.</span><small>{escape(does)}</small></div></a>"
    )
