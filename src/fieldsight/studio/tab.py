"""The tab of a verb: inputs, model, buttons and options left; messages, picture, facts and files right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight import registry
from fieldsight.config import Config
from fieldsight.errors import DataError, FieldsightError
from fieldsight.registry import Input, System, Verb
from fieldsight.studio import render, same
from fieldsight.studio.context import Call, Example, PageContext
from fieldsight.studio.fields import Field, Plan, caption, changes, draw, plan_all, to_component
from fieldsight.studio.form import ANY, base_of, inputs_of, presets_of, taken
from fieldsight.studio.frame import QUIET, on_visit, verb_title
from fieldsight.studio.guard import uploaded
from fieldsight.studio.jobs import StoppedError
from fieldsight.studio.models import chooses
from fieldsight.studio.results import Shown, View

#: Work of all pages and of the API together: two pieces compute, the next one waits its turn in the queue.
WORK = {"concurrency_id": "work", "concurrency_limit": 2}

_FAILED = "This did not work."


@dataclass(frozen=True)
class Left:
    """The components of a tab's left half.

    Attributes:
        inputs: components of the named inputs, by name.
        builtin: dropdown of built-in names for the first input, or None.
        note: room for a line under the inputs, hidden at first.
        examples: buttons and what they fill in.
        model: dropdown of models, or None.
        preset: dropdown of presets, or None.
        run, stop: the buttons.
        fields: the options' fields, in order.
    """

    inputs: Mapping[str, Any]
    builtin: Any
    note: Any
    examples: Sequence[tuple[Any, Example]]
    model: Any
    preset: Any
    run: Any
    stop: Any
    fields: Sequence[Field]

    def all(self) -> list[Any]:
        """Every component that says something about the call."""
        extra = [c for c in (self.builtin, self.model, self.preset) if c is not None]
        return [*self.inputs.values(), *extra, *(f.component for f in self.fields)]


@dataclass(frozen=True)
class Right:
    """The components of a tab's right half.

    Attributes:
        head: messages, and what stands there before the first result.
        which: chooses among several results; its value is their number, from 0.
        above, below: columns over and under the picture, for components of an own page.
        picture: the drawing.
        body: facts, tables and files.
        calls: the section with the same call elsewhere.
        lines: that call, as command line and as Python.
        key: state with the key of the present results on the shelf, empty before the first.
    """

    head: Any
    which: Any
    above: Any
    picture: Any
    below: Any
    body: Any
    calls: Any
    lines: Any
    key: Any


@dataclass(frozen=True)
class VerbTab:
    """A drawn tab, for pages that add to it; ``calm`` as :meth:`PageContext.tab` says."""

    verb: Verb
    left: Left
    right: Right
    calm: bool = False

    def field(self, name: str) -> Any:
        """The component of an option by its full name.

        Raises:
            KeyError: there is no such option.
        """
        return {f.plan.name: f.component for f in self.left.fields}[name]


def draw_tab(
    context: PageContext,
    verb: Verb,
    shown: Sequence[str],
    suggest: Sequence[str],
    own_picture: bool,
    calm: bool,
    without: Sequence[str] = (),
) -> VerbTab:
    """Draw the tab of a verb and connect it; see :meth:`PageContext.tab`."""
    import gradio as gr

    name = f"{context.spec.id}-{verb.name}"
    with gr.Row(elem_classes="fs-halves"):
        with gr.Column(scale=5, min_width=300, elem_classes="fs-left"):
            left = _left(context, verb, shown, suggest, without, name)
        with gr.Column(scale=8, min_width=300, elem_classes="fs-right", elem_id=f"{name}-result"):
            right = _right(verb, bool(left.examples))
    tab = VerbTab(verb, left, right, calm)
    _connect(context, tab, name, own_picture)
    return tab


# ------------------------------------------------------------------------------------------------ what is drawn


def _left(
    context: PageContext, verb: Verb, shown: Sequence[str], suggest: Sequence[str], without: Sequence[str], name: str
) -> Left:
    import gradio as gr

    spec, options = context.spec, registry.load(verb.options)
    inputs = {one.name: _input(one, verb, spec) for one in taken(spec, verb)}
    builtin = _builtin(context, verb)
    note = gr.HTML("", elem_classes="fs-html", visible=False)
    examples = _examples(context, verb)
    model = _model(context, verb)
    preset = _preset(spec, verb)
    with gr.Row(elem_classes="fs-actions"):
        run = gr.Button(verb_title(verb), variant="primary", size="lg", elem_id=f"{name}-run")
        stop = gr.Button("Stop", size="lg", interactive=False, elem_classes="fs-stop", elem_id=f"{name}-stop")
    plans = [p for p in plan_all(options, base_of(spec, verb), suggest) if p.name not in without]
    fields = draw(options, plans, shown)
    return Left(inputs, builtin, note, examples, model, preset, run, stop, fields)


def _right(verb: Verb, tried: bool) -> Right:
    import gradio as gr

    want = "Give an input" if verb.needs == "inputs" else "Choose what you want"
    words = f"{want}{' or try an example' if tried else ''}, then press {verb_title(verb)}. The result appears here."
    head = gr.HTML(render.placeholder(words), elem_classes="fs-html fs-result-head")
    which = gr.Dropdown([], label="Result", visible=False)
    above = gr.Column()
    picture = gr.Image(
        visible=False, interactive=False, show_label=False, type="filepath", format="png",
        buttons=["download", "fullscreen"], elem_classes="fs-picture-out",
    )  # fmt: skip
    below = gr.Column()
    body = gr.HTML("", elem_classes="fs-html")
    with gr.Accordion("The same call elsewhere", open=False, visible=False) as calls:
        lines = gr.HTML("", elem_classes="fs-html")
    return Right(head, which, above, picture, below, body, calls, lines, gr.State(""))


def _input(one: Input, verb: Verb, spec: System) -> Any:
    import gradio as gr

    label = f"{one.name.capitalize()}{' (optional)' if one.optional or verb.needs.endswith('?') else ''}"
    words = one.help.partition("; on the command line")[0]  # what only the command line takes is not offered here
    help = words[:1].upper() + words[1:]
    if not one.suffixes:
        return gr.Textbox(label=label, info=help, lines=2 if one.kind == "text" else 1)
    count = "multiple" if one is spec.inputs[0] and verb is spec.main else "single"
    some = ", ".join(one.suffixes[:3]) + (" …" if len(one.suffixes) > 3 else "")
    every = ANY in one.suffixes
    caption(label, help if every else f"{help} ({some})")
    return gr.File(
        label=label, show_label=False, file_count=count, file_types=None if every else list(one.suffixes),
        height=150,
        elem_classes="fs-drop",
    )  # fmt: skip


def _builtin(context: PageContext, verb: Verb) -> Any:
    import gradio as gr

    offered = [e for e in context.examples(verb) if e.value]
    if not offered:
        return None
    choices = [("none", ""), *((f"{e.label} ({e.value})", e.value) for e in offered)]
    return gr.Dropdown(choices, value="", label=f"Or a built-in {context.spec.inputs[0].name}")


def _examples(context: PageContext, verb: Verb) -> list[tuple[Any, Example]]:
    import gradio as gr

    offered = [e for e in context.examples(verb) if e.write is not None]
    if not offered:
        return []
    caption("Or try one of these")
    with gr.Row(elem_classes="fs-examples"):
        return [(gr.Button(f"{e.label} ({e.origin})", size="sm"), e) for e in offered]


def _model(context: PageContext, verb: Verb) -> Any:
    import gradio as gr

    if not chooses(context.spec, verb):
        return None
    offered = context.models.choices(context.spec)
    listed = [(c.label, c.name) for c in offered]
    info = None if offered else f"None yet: fieldsight {context.spec.id} train makes one; then reload this page."
    return gr.Dropdown(listed, value=listed[0][1] if listed else None, label="Model", info=info)


def _preset(spec: System, verb: Verb) -> Any:
    import gradio as gr

    offered = presets_of(spec, verb)
    if len(offered) < 2:
        return None
    return gr.Dropdown(list(offered), value=offered[0], label="Preset", info="Options to start from")


# ------------------------------------------------------------------------------------------------ what happens


def _connect(context: PageContext, tab: VerbTab, name: str, own_picture: bool) -> None:
    import gradio as gr

    left, right = tab.left, tab.right
    outputs = [right.head, right.which, right.body, right.calls, right.lines, right.key]
    outputs += [] if own_picture else [right.picture]
    place = f"document.getElementById('{name}-result')"
    look = f"() => {{ if (innerWidth < 720) setTimeout(() => {place}.scrollIntoView(), 100) }}"
    bar = gr.Progress()  # a default of this type is how Gradio hands the real one over

    def work(values: dict[Any, Any], request: Any, progress: Any = bar) -> dict[Any, Any]:
        updates = _run(context, tab, values, f"{request.session_hash} {name}", progress)
        return {component: update for component, update in updates.items() if component in outputs}

    def halt(request: Any) -> None:
        context.jobs.stop(f"{request.session_hash} {name}")

    work.__annotations__["request"] = halt.__annotations__["request"] = gr.Request
    working = gr.update(value=render.placeholder("Working …"), visible=True)
    busy = lambda: (gr.update(interactive=False), gr.update(interactive=True), working)  # noqa: E731
    idle = lambda: (gr.update(interactive=True), gr.update(interactive=False))  # noqa: E731

    def chain(trigger: Callable[..., Any]) -> None:
        started = trigger(busy, None, [left.run, left.stop, right.head], **QUIET)
        started.then(None, None, None, js=look, api_visibility="private")
        done = started.then(
            work, set(left.all()), outputs, show_progress_on=right.head, api_visibility="private", **WORK
        )
        ended = done.then(idle, None, [left.run, left.stop], **QUIET)
        ended.then(None, None, None, js=look, api_visibility="private")  # the page has grown

    chain(left.run.click)
    left.stop.click(halt, None, None, **QUIET)
    picked = [right.body] if own_picture else [right.body, right.picture]
    right.which.input(
        lambda key, number: _pick(context, key, number)[: len(picked)], [right.key, right.which], picked, **QUIET
    )
    options = [f.component for f in left.fields]
    filled = [*left.inputs.values(), *([left.builtin] if left.builtin is not None else []), *options]
    for button, example in left.examples:
        chain(button.click(_fill(context, tab, example), left.preset, filled, **QUIET).then)
    if left.preset is not None:
        left.preset.input(lambda preset: _refill(context, tab, preset), left.preset, options, **QUIET)
    if left.model is not None:
        on_visit(lambda: _offer(context), None, left.model, **QUIET)


def _run(context: PageContext, tab: VerbTab, values: Mapping[Any, Any], who: str, progress: Any) -> dict[Any, Any]:
    """One press of the button: every component's update, an error included."""
    import gradio as gr

    right = tab.right
    empty = {
        right.which: gr.update(visible=False), right.picture: gr.update(value=None, visible=False), right.body: "",
        right.calls: gr.update(visible=False), right.lines: "", right.key: "",
    }  # fmt: skip
    try:
        call = _call(context, tab, values)
        shown = context.perform(call, who, lambda share, words: progress(share, desc=words))
    except StoppedError as stopped:
        return {**empty, right.head: render.message(str(stopped), "quiet")}
    except FieldsightError as error:
        words = _by_label(str(error), tab)
        calm = tab.calm and isinstance(error, DataError)
        told = render.message(words, "info") if calm else render.message(words, "error", _FAILED)
        return {**empty, right.head: told}
    good = [(f"{n + 1} of {len(shown.views)}: {v.name}", n) for n, v in enumerate(shown.views) if not v.error]
    first = good[0][1] if good else 0
    model = context.models.find(context.spec, call.model) if chooses(context.spec, call.verb) else None
    head = head_html(context.spec, shown)
    return {
        right.head: gr.update(value=head, visible=bool(head)),
        right.which: gr.update(choices=good, value=first if good else None, visible=len(good) > 1),
        right.picture: _picture(shown.views[first]),
        right.body: body_html(shown, shown.views[first]),
        right.calls: gr.update(visible=True),
        right.lines: render.code(same.command(context.spec, call, model), "Command line")
        + render.code(same.python(context.spec, call, model), "Python"),
        right.key: shown.key,
    }


def _call(context: PageContext, tab: VerbTab, values: Mapping[Any, Any]) -> Call:
    """What the form says.

    Raises:
        ConfigError, DataError: an input is missing, unknown, of another kind, or was not uploaded.
    """
    spec, verb, left = context.spec, tab.verb, tab.left
    given = {name: values.get(component) for name, component in left.inputs.items()}
    if left.builtin is not None:
        first = next(iter(left.inputs))
        given[first] = given[first] or values.get(left.builtin)
    subject, named = inputs_of(spec, verb, given, context.uploads, context.names(verb))
    told = [
        uploaded(values[f.component], context.uploads)
        if f.plan.kind == "file" and values.get(f.component)
        else values.get(f.component)
        for f in left.fields
    ]
    model = str(values.get(left.model) or "") if left.model is not None else ""
    preset = str(values.get(left.preset) or "") if left.preset is not None else next(iter(presets_of(spec, verb)), "")
    found = changes([f.plan for f in left.fields], told, base_of(spec, verb, preset))
    return Call(verb, subject, named, found, model, preset)


def _by_label(text: str, tab: VerbTab) -> str:
    """A message with the page's labels where it names flags of the command line."""
    labels = {"--" + f.plan.name.replace("_", "-"): _label(f) for f in tab.left.fields}
    if getattr(tab.left, "model", None) is not None:
        labels["--model"] = "Model"
    return re.sub(r"--[a-z][\w-]*", lambda found: f"'{labels[found[0]]}'" if found[0] in labels else found[0], text)


def _label(field: Field) -> str:
    """A field's label as it stands on the page, without unit or remark."""
    shown = str(getattr(getattr(field, "component", None), "label", None) or field.plan.label)
    return re.split(r" [\[(]", shown)[0]


def _pick(context: PageContext, key: str, number: Any) -> list[Any]:
    shown = context.shelf.get(key)
    if shown is None or not isinstance(number, int) or not 0 <= number < len(shown.views):
        return [render.message("These results are no longer kept. Run again.", "quiet"), _picture(View(""))]
    return [body_html(shown, shown.views[number]), _picture(shown.views[number])]


def _fill(context: PageContext, tab: VerbTab, example: Example) -> Callable[..., list[Any]]:
    def fill(preset: str = "") -> list[Any]:
        folder = context.uploads / "examples"
        folder.mkdir(parents=True, exist_ok=True)
        assert example.write is not None
        value = example.write(folder)
        shown = str(value) if isinstance(value, Path) else value
        filled = []
        for number, (name, component) in enumerate(tab.left.inputs.items()):
            several = getattr(component, "file_count", "") == "multiple"
            other = example.named[name](folder) if number and name in example.named else None
            filled.append(str(other) if isinstance(other, Path) else other if number else [shown] if several else shown)
        if tab.left.builtin is not None:
            filled.append("")
        for plan in _plans(context, tab, preset):
            chosen = plan.name in example.options
            filled.append(to_component(plan, example.options[plan.name]) if chosen else plan.value)
        return filled

    return fill


def _refill(context: PageContext, tab: VerbTab, preset: str) -> list[Any]:
    filled = [plan.value for plan in _plans(context, tab, preset)]
    return filled if len(filled) != 1 else filled[0]


def _plans(context: PageContext, tab: VerbTab, preset: str) -> list[Plan]:
    """The tab's fields as they stand at a preset."""
    options: type[Config] = registry.load(tab.verb.options)
    drawn = {f.plan.name: f.plan.kind for f in tab.left.fields}
    suggest = [name for name, kind in drawn.items() if kind == "suggest"]
    return [p for p in plan_all(options, base_of(context.spec, tab.verb, preset), suggest) if p.name in drawn]


def _offer(context: PageContext) -> Any:
    import gradio as gr

    listed = [(c.label, c.name) for c in context.models.choices(context.spec)]
    return gr.update(choices=listed, value=listed[0][1] if listed else None)


# ------------------------------------------------------------------------------------------------ what is seen


def head_html(spec: System, shown: Shown) -> str:
    """What must be read before a result: errors, warnings, the system's notice, remarks."""
    failed = [v for v in shown.views if v.error]
    parts = []
    if failed and len(shown.views) == 1:
        parts.append(render.message(failed[0].error, "error", _FAILED))
    elif failed:
        words = "\n".join(f"{v.name}: {v.error}" for v in failed)
        parts.append(render.message(words, "error", f"{len(failed)} of {len(shown.views)} could not be used.\n"))
    warnings = dict.fromkeys(w for v in shown.views for w in v.warnings)
    parts += [render.message(f"{w[:1].upper()}{w[1:].rstrip('.')}.", "warning") for w in warnings]
    if spec.notice and len(failed) < len(shown.views):
        parts.append(render.message(spec.notice, "warning"))
    told = [n for n in shown.notes if not n.startswith(("warning:", "skipped "))]
    return "".join(parts) + render.notes(told)


def body_html(shown: Shown, view: View) -> str:
    """Facts, tables, report and files of a result."""
    if view.error:
        return ""
    parts = [render.facts(view.facts)]
    parts += [render.table(table) for table in view.tables]
    if view.report:
        parts.append(render.frame(f"/results/{shown.key}/{view.report}", "Report", scripts=True))
    parts.append(render.downloads(shown.key, shown.files, shown.folder))
    return "".join(parts)


def _picture(view: View) -> Any:
    import gradio as gr

    return gr.update(value=str(view.picture) if view.picture else None, visible=view.picture is not None)
