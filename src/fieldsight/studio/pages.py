"""A system's page, made from its SPEC: a tab a verb, then the card of its model."""

from __future__ import annotations

from fieldsight import registry
from fieldsight.studio.context import PageContext
from fieldsight.studio.frame import QUIET, frame, heading, verb_title
from fieldsight.studio.tab import VerbTab


def draw_page(context: PageContext) -> None:
    """Draw a system's page inside its route: heading, then its own body or the generated one."""
    with frame(context.spec.id):
        heading(context.spec)
        if context.spec.page:
            registry.load(context.spec.page)(context)
        else:
            generated(context)


def generated(context: PageContext) -> None:
    """The generated body: a tab for each verb with a page, then the card of the main action's model."""
    import gradio as gr

    tabs = []
    with gr.Tabs():
        for verb in context.verbs():
            with gr.Tab(verb_title(verb)):
                tabs.append(context.tab(verb.name))
    for tab in tabs:
        if tab.left.model is not None:
            context.card(tab)
            break


def draw_card(context: PageContext, tab: VerbTab) -> None:
    """The card of the chosen model, in a section that opens."""
    import gradio as gr

    spec, models, model = context.spec, context.models, tab.left.model
    with gr.Accordion("Model card", open=False):
        card = gr.Markdown(models.card(spec, None), elem_classes="fs-card-text")
    if model is not None:
        model.change(lambda name: models.card(spec, name), model, card, **QUIET)
