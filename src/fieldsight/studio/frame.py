"""What every page has: the bar on top, a column, a heading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from fieldsight.registry import System, Verb
from fieldsight.studio import render

#: Arguments of events that answer at once, show no progress and are no part of the API.
QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}


@contextmanager
def frame(here: str) -> Iterator[None]:
    """The bar on top, and the column in which a page is drawn.

    Args:
        here: ``home``, ``runs`` or ``api`` for the pages of the Studio itself; else the id of a system.
    """
    import gradio as gr

    links = (("/", "Systems", "home"), ("/runs", "Runs", "runs"), ("/api", "API", "api"))
    place = here if here in ("runs", "api") else "home"
    shown = "".join(
        f'<a href="{address}"{" class=fs-here" if key == place else ""}>{words}</a>' for address, words, key in links
    )
    brand = '<a class="fs-brand" href="/"><i></i>fieldsight</a>'
    gr.HTML(f'<nav class="fs-bar">{brand}{shown}</nav>', elem_classes="fs-html")
    with gr.Column(elem_classes="fs-page"):
        yield


def heading(spec: System) -> None:
    """Title, summary, paper and notice of a system."""
    import gradio as gr

    summary = f"{spec.summary[:1].upper()}{spec.summary[1:]}."
    notice = render.message(spec.notice, "warning") if spec.notice else ""
    paper = f'<p class="fs-paper">{escape(spec.paper)}</p>'
    gr.HTML(
        f'<div class="fs-head"><h1>{escape(spec.title)}</h1><p>{escape(summary)}</p>{paper}</div>{notice}',
        elem_classes="fs-html",
    )


def verb_title(verb: Verb) -> str:
    """The verb as a button says it."""
    return verb.name.replace("-", " ").capitalize()


def on_visit(*arguments: Any, **more: Any) -> Any:
    """Connect a function to every visit of the present page; arguments as for any Gradio event."""
    from gradio.context import Context

    return Context.root_block.load(*arguments, **more)
