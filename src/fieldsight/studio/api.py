"""A verb as an API endpoint: uploaded files, options by name and a model in; plain values and files out."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fieldsight import registry
from fieldsight.cli.console import cell
from fieldsight.config import Config, type_name
from fieldsight.config import options as options_of
from fieldsight.errors import ConfigError, FieldsightError, unknown
from fieldsight.registry import Input, Verb
from fieldsight.studio import render, same
from fieldsight.studio.context import Call, PageContext
from fieldsight.studio.fields import changes, flat, plan_all
from fieldsight.studio.form import ANY, base_of, inputs_of, presets_of, taken
from fieldsight.studio.frame import QUIET, frame, on_visit
from fieldsight.studio.guard import uploaded
from fieldsight.studio.models import chooses
from fieldsight.studio.results import Shown, write_pages
from fieldsight.studio.tab import WORK

#: Where the Studio answers unless told otherwise.
DEFAULT = "http://127.0.0.1:8765"


def name_of(context: PageContext, verb: Verb) -> str:
    """The stable name of a verb's endpoint: ``sem_predict``."""
    return f"{context.spec.id}_{verb.attribute}".replace("-", "_")


def add(context: PageContext, verb: Verb, wanted: Sequence[Input] | None = None) -> None:
    """Add a verb's endpoint to the present page.

    Args:
        context: of the page.
        verb: what it does.
        wanted: its inputs, where they are not the system's named ones.
    """
    import gradio as gr

    spec = context.spec
    inputs = taken(spec, verb) if wanted is None else tuple(wanted)
    context.endpoints.append((verb, inputs))
    parameters = []
    for one in inputs:
        kind: Any = str if not one.suffixes else list[gr.FileData]
        if one is inputs[0] and wanted is None and context.names(verb):
            kind = list[Any]  # uploaded files, or built-in names
        parameters.append(_parameter(one.name, kind, "" if not one.suffixes else []))
    parameters.append(_parameter("options", dict[str, Any], {}))
    if chooses(spec, verb):
        parameters.append(_parameter("model", str, ""))
    if len(presets_of(spec, verb)) > 1:
        parameters.append(_parameter("preset", str, ""))
    names = [p.name for p in parameters]

    def endpoint(*values: Any, **more: Any) -> dict[str, Any]:
        return _serve(context, verb, {**dict(zip(names, values, strict=False)), **more}, wanted)

    signature = inspect.Signature(parameters, return_annotation=dict[str, Any])
    endpoint.__signature__ = signature  # type: ignore[attr-defined]
    endpoint.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": dict[str, Any]}
    endpoint.__name__ = name_of(context, verb)
    takes = ", ".join(f"{i.name}: {i.help}" for i in inputs) or "no input"
    about = f"{spec.title}: {verb.help}. {takes}. Options: those of `fieldsight {spec.id} {verb.name} --help`."
    gr.api(endpoint, api_name=name_of(context, verb), api_description=about, **WORK)


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)


def _serve(
    context: PageContext, verb: Verb, given: Mapping[str, Any], wanted: Sequence[Input] | None
) -> dict[str, Any]:
    import gradio as gr

    try:
        call = _call(context, verb, given, wanted)
        shown = context.perform(call, f"api {uuid.uuid4().hex}")
        failed = [v for v in shown.views if v.error]
        if failed and len(failed) == len(shown.views):
            raise FieldsightError("\n".join(v.error for v in failed))
        return _answer(context, call, shown)
    except FieldsightError as error:
        raise gr.Error(str(error), print_exception=False) from None


def _call(context: PageContext, verb: Verb, given: Mapping[str, Any], wanted: Sequence[Input] | None) -> Call:
    spec = context.spec
    subject, named = inputs_of(spec, verb, given, context.uploads, context.names(verb), wanted)
    preset = str(given.get("preset") or next(iter(presets_of(spec, verb)), ""))
    found = _changes(context, verb, given.get("options"), preset)
    return Call(verb, subject, named, found, str(given.get("model") or ""), preset)


def _changes(context: PageContext, verb: Verb, given: Any, preset: str) -> dict[str, Any]:
    cls: type[Config] = registry.load(verb.options)
    if not isinstance(given, Mapping):
        if given in (None, "", []):
            return {}
        raise ConfigError(f"options: must be an object of names and values, got {type(given).__name__}.")
    base = base_of(context.spec, verb, preset)
    plans = {p.name: p for p in plan_all(cls, base)}
    groups = {o.name for o in options_of(cls) if o.group is not None}
    named: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, Mapping) and key.split(".")[0] in groups:
            named.update(flat({key: value}))
        else:
            named[key] = value
    strangers = [n for n in named if n not in plans]
    if strangers:
        raise ConfigError([unknown("option", n, plans) for n in strangers])
    chosen = [plans[n] for n in named]
    values = [
        uploaded(v, context.uploads) if plans[n].kind == "file" and v is not None else v for n, v in named.items()
    ]
    return changes(chosen, values, base)


def _answer(context: PageContext, call: Call, shown: Shown) -> dict[str, Any]:
    model = context.models.find(context.spec, call.model) if chooses(context.spec, call.verb) else None
    return {
        "results": [
            {"name": v.name, **({"error": v.error} if v.error else {"summary": dict(v.summary)})} for v in shown.views
        ],
        "warnings": list(dict.fromkeys(w for v in shown.views for w in v.warnings)),
        "notice": context.spec.notice,
        "notes": list(shown.notes),
        "model": model.name if model is not None else "",
        "command": same.command(context.spec, call, model),
        "files": [_file(p) for p in write_pages(shown)],
    }


def _file(path: Path) -> dict[str, Any]:
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


# ------------------------------------------------------------------------------------------------ its reference


def draw_reference(contexts: Sequence[PageContext]) -> None:
    """Draw the page that lists every endpoint with calls to copy."""
    import gradio as gr

    words = (
        "Every page can be called by a program: with Python's gradio_client, or with plain HTTP. "
        "Files are uploaded first; results come back as plain values and files."
    )
    with frame("api"):
        gr.HTML(f'<div class="fs-head"><h1>API</h1><p>{words}</p></div>', elem_classes="fs-html")
        shown = gr.HTML(_entries(contexts, DEFAULT), elem_classes="fs-html")

    def visit(request: Any) -> Any:
        url = request.request.url
        here = f"{url.scheme}://{url.netloc}"
        return gr.skip() if here == DEFAULT else _entries(contexts, here)

    visit.__annotations__["request"] = gr.Request
    on_visit(visit, None, shown, **QUIET)


def _entries(contexts: Sequence[PageContext], address: str) -> str:
    found = [
        _entry(context, verb, inputs, address)
        for context in contexts
        for verb, inputs in sorted(context.endpoints, key=lambda e: context.spec.verbs.index(e[0]))
    ]
    return "".join(found)


def _entry(context: PageContext, verb: Verb, inputs: Sequence[Input], address: str) -> str:
    given = context, verb, inputs, address
    calls = render.code(client_snippet(*given), "Python") + render.code(http_snippet(*given), "HTTP")
    name, names = name_of(context, verb), context.names(verb)
    words = f"{context.spec.title}: {verb.help}."
    if names:
        words += f" Instead of a file, {inputs[0].name} takes a name: {', '.join(names)}."
    return (
        f'<section><h2 class="fs-run" id="{name}">/{name}</h2>'
        f'<p class="fs-soft">{escape(words)}</p>'
        f'<div class="fs-pair">{calls}</div>{_options_table(context, verb)}</section>'
    )


def client_snippet(context: PageContext, verb: Verb, inputs: Sequence[Input], address: str = DEFAULT) -> str:
    """A call by ``gradio_client``, as text."""
    lines = [f"from gradio_client import Client{', handle_file' if any(i.suffixes for i in inputs) else ''}", ""]
    lines += [f'client = Client("{address}")', "answer = client.predict("]
    for one in inputs:
        value = f'[handle_file("{_sample(one)}")]' if one.suffixes else '"..."'
        lines.append(f"    {one.name}={value},")
    lines += ["    options={},", f'    api_name="/{name_of(context, verb)}",', ")"]
    return "\n".join([*lines, 'print(answer["results"], answer["files"])'])


def http_snippet(context: PageContext, verb: Verb, inputs: Sequence[Input], address: str = DEFAULT) -> str:
    """The same by curl: upload, call, fetch the answer."""
    base, name = f"{address}/gradio_api", name_of(context, verb)
    lines, given = [], ['"options": {}']
    for one in inputs:
        if one.suffixes:
            lines.append(f"P=$(curl -s -F files=@{_sample(one)} {base}/upload | cut -d'\"' -f2)")
            file = '{"path": "\'$P\'", "meta": {"_type": "gradio.FileData"}}'
            given.insert(0, f'"{one.name}": [{file}]')
        else:
            given.insert(0, f'"{one.name}": "..."')
    body = "{" + ", ".join(given) + "}"
    lines.append(f"ID=$(curl -s {base}/call/v2/{name} -H 'Content-Type: application/json' \\")
    lines += [f"  -d '{body}' | cut -d'\"' -f4)", f"curl -sN {base}/call/{name}/$ID"]
    return "\n".join(lines)


def _sample(one: Input) -> str:
    return f"{one.name}{next((s for s in one.suffixes if s != ANY), '.bin')}"


def _options_table(context: PageContext, verb: Verb) -> str:
    rows = [
        (p.name, type_name(p.option.type), cell(p.option.default), p.info.replace("\n", " "))
        for p in plan_all(registry.load(verb.options), base_of(context.spec, verb))
    ]
    table = render.rows(("option", "type", "default", "what it does"), rows)
    return f"<details><summary>{len(rows)} options</summary>{table}</details>"
