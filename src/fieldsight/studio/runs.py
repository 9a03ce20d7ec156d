"""The runs browser: all runs of a folder, one in detail, two side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fieldsight import registry
from fieldsight.cli.console import cell
from fieldsight.data.files import read_json
from fieldsight.errors import ConfigError, DataError, RunError
from fieldsight.run import Run, find_runs
from fieldsight.studio import render
from fieldsight.studio.frame import frame, on_visit

_STATES = {"done": "good", "running": "busy", "failed": "bad", "interrupted": "warn"}
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def draw_runs(folder: Path) -> None:
    """Draw the runs browser inside its route; it looks at the folder anew with every visit and every few seconds."""
    import gradio as gr

    with frame("runs"):
        gr.HTML(
            '<div class="fs-head"><h1>Runs</h1><p>What was trained here: command, config, losses and results. '
            f"Folder: <code>{escape(str(folder))}</code></p></div>",
            elem_classes="fs-html",
        )
        overview = gr.HTML("", elem_classes="fs-html")
        with gr.Row(elem_classes="fs-choose") as chooser:
            first = gr.Dropdown([], label="Run", min_width=200)
            second = gr.Dropdown([], label="Side by side with", min_width=200)
            again = gr.Button("Refresh", scale=0, min_width=110, elem_classes="fs-again")
        between = gr.HTML("", elem_classes="fs-html")
        sides: list[tuple[Any, ...]] = []
        with gr.Row(elem_classes="fs-halves"):
            for _ in range(2):
                with gr.Column(min_width=300, visible=not sides) as column:
                    sides.append((column, *_draw_side()))
        watch = gr.Timer(5.0)
        seen = gr.State("")

    def visit(request: Any) -> tuple[Any, ...]:
        wanted = request.query_params
        return (*_listed(folder, wanted.get("run"), wanted.get("with")), overview_stamp(folder))

    def refresh(one: str | None, other: str | None) -> tuple[Any, ...]:
        return (*_listed(folder, one, other), overview_stamp(folder))

    def changed(one: str | None, other: str | None, stamp: str) -> tuple[Any, ...]:
        if overview_stamp(folder) == stamp:
            return tuple(gr.skip() for _ in range(5))
        return refresh(one, other)

    def show(one: str | None, other: str | None) -> list[Any]:
        both = [details(folder, one, alone=not other), details(folder, other, alone=False)]
        updates: list[Any] = [compare(folder, one, other)]
        for number, (html, card, report) in enumerate(both):
            updates += [
                gr.update(visible=number == 0 or bool(other)),
                html,
                gr.update(visible=bool(card)),
                card,
                report,
            ]
        return updates

    visit.__annotations__["request"] = gr.Request
    outputs = [overview, chooser, first, second, seen]
    shown = [between, *(part for side in sides for part in side)]
    for trigger, inputs in ((on_visit, None), (again.click, [first, second])):
        done = trigger(visit if inputs is None else refresh, inputs, outputs, **_QUIET)
        done.then(show, [first, second], shown, **_QUIET)
    watch.tick(changed, [first, second, seen], outputs, **_QUIET)
    gr.on([first.input, second.input], show, [first, second], shown, **_QUIET)


def _draw_side() -> tuple[Any, Any, Any, Any]:
    import gradio as gr

    html = gr.HTML("", elem_classes="fs-html fs-svg")
    with gr.Accordion("Model card", open=False, visible=False) as section:
        card = gr.Markdown("", elem_classes="fs-card-text")
    report = gr.HTML("", elem_classes="fs-html")
    return html, section, card, report


# -------------------------------------------------------------------------------------------------- what is read


def all_runs(folder: Path) -> list[Run]:
    """The readable runs inside a folder, newest first; one that points elsewhere is left out."""
    return [run for run in find_runs(folder) if _own(folder, run.path)]


def damaged(folder: Path) -> list[str]:
    """Names of run folders that can't be read."""
    readable = {run.path.name for run in all_runs(folder)}
    return sorted(p.parent.name for p in folder.glob("*/run.json") if p.parent.name not in readable)


def run_of(folder: Path, name: str | None) -> Run | None:
    """A run by the name of its folder, or None; never one outside the folder of runs."""
    path = _inside(folder, name)
    if path is None or not _own(folder, path):
        return None
    try:
        return Run.open(path)
    except RunError:
        return None


def report_of(folder: Path, name: str) -> Path | None:
    """The report of a run, or None; never a file outside the folder of runs."""
    path = _inside(folder, name)
    if path is None:
        return None
    report = (path / "report.html").resolve()
    return report if report.is_file() and report.is_relative_to(folder.resolve()) else None


def overview_stamp(folder: Path) -> str:
    """Changes whenever the list of runs would look different."""
    stamps = []
    for path in sorted(folder.glob("*/run.json")):
        try:
            stamps.append(f"{path.parent.name}:{path.stat().st_mtime_ns}")
        except OSError:
            continue
    return "|".join(stamps)


def _inside(folder: Path, name: str | None) -> Path | None:
    if not name or name in (".", "..") or any(c in name for c in "/\\\0:"):
        return None
    home = folder.resolve()
    path = (home / name).resolve()
    return path if path.parent == home and path.is_dir() else None


def _own(folder: Path, run: Path) -> bool:
    """True when a run and everything of it that is read here lies inside the folder of runs, links followed."""
    home = folder.resolve()
    read = ("", "run.json", "config.toml", "metrics.jsonl", "model", "model/card.json", "model/model.json")
    return _inside(folder, run.name) is not None and all((run / n).resolve().is_relative_to(home) for n in read)


# ------------------------------------------------------------------------------------------------- what is shown


def _listed(folder: Path, one: str | None, other: str | None) -> tuple[Any, ...]:
    import gradio as gr

    found = all_runs(folder)
    names = [run.path.name for run in found]
    first = one if one in names else names[0] if names else None
    second = other if other in names and other != first else ""
    return (
        overview_html(folder, found),
        gr.update(visible=bool(names)),
        gr.update(choices=names, value=first),
        gr.update(choices=[("nothing", ""), *((n, n) for n in names)], value=second),
    )


def overview_html(folder: Path, found: Sequence[Run]) -> str:
    """The table of runs; each name links to its details."""
    bad = damaged(folder)
    warning = render.message(", ".join(bad), "warning", f"{len(bad)} folders can't be read:") if bad else ""
    if not found:
        first = next(iter(s.id for s in registry.systems() if "learns" in s.traits), "SYSTEM")
        words = f"No runs yet. Train one: fieldsight {first} train --preset tiny. It appears here while it trains."
        return warning + render.placeholder(words)
    lines = []
    for run in found:
        name, info = run.path.name, run.info
        state = str(info.get("state", "?"))
        cells = [
            f'<a href="/runs?run={quote(name)}">{escape(name)}</a>',
            escape(str(info.get("system", "?"))),
            escape(str(info.get("preset") or info.get("verb") or "")),
            f'<span class="fs-state fs-{_STATES.get(state, "warn")}">{escape(state)}</span>',
            escape(str(info.get("created", ""))[:16].replace("T", " ")),
            escape(" · ".join(f"{k} {cell(v)}" for k, v in key_metrics(info).items())),
        ]
        lines.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    head = "".join(f"<th>{h}</th>" for h in ("run", "system", "preset", "state", "created (UTC)", "key metrics"))
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'{warning}<div class="fs-scroll fs-runs" tabindex="0">{body}</div>'


def key_metrics(info: Mapping[str, Any], most: int = 3) -> dict[str, float]:
    """The first few metrics, in the system's own order."""
    values = _metrics(info)
    try:
        order = [m.name for m in registry.get(str(info.get("system"))).metrics]
    except ConfigError:
        order = []
    names = [n for n in order if n in values] + [n for n in values if n not in order]
    return {n: values[n] for n in names[:most]}


def details(folder: Path, name: str | None, alone: bool = True) -> tuple[str, str, str]:
    """One run: HTML of what it is, its card as Markdown, HTML of its report; empty texts where there is none.

    Metrics are left out of a run that does not stand alone: :func:`compare` has them side by side.
    """
    run = run_of(folder, name)
    if run is None:
        return ("" if not name else render.message(f"The run '{name}' can't be read.", "warning"), "", "")
    info = run.info
    facts = {
        k: str(info.get(k))
        for k in ("system", "verb", "preset", "seed", "state", "commit")
        if info.get(k) not in (None, "")
    }
    facts["created (UTC)"] = str(info.get("created", ""))[:16].replace("T", " ")
    parts = [f"<h2 class='fs-run'>{escape(run.path.name)}</h2>", render.facts(facts)]
    if info.get("error"):
        parts.append(render.message(str(info["error"]), "error", "It failed."))
    parts.append(f"<h3>Command</h3><pre>{escape(str(info.get('command', '')))}</pre>")
    metrics, left, right = _metrics(info), "", ""
    if metrics and alone:
        left = render.rows(("metric", "value"), metrics.items(), "Metrics")
    stages = info.get("stages")
    if isinstance(stages, Mapping) and stages:
        columns = ("stage", "steps", "epochs", "seconds")
        values = [(k, *(v.get(c) for c in columns[1:])) for k, v in stages.items() if isinstance(v, Mapping)]
        right = render.rows(columns, values, "Stages")
    right += "".join(f"<h3>Loss, stage {escape(stage)}</h3>{svg}" for stage, svg in _plots(run).items())
    parts.append(f'<div class="fs-pair"><div>{left}</div><div>{right}</div></div>' if left else right)
    config = _text(run.path / "config.toml")
    if config:
        parts.append(f"<details><summary>All options (config.toml)</summary><pre>{escape(config)}</pre></details>")
    report = ""
    if report_of(folder, run.path.name) is not None:
        report = "<h3>Report</h3>" + render.frame(f"/reports/{quote(run.path.name)}/report.html", "Report of the run")
    return "".join(parts), _card(run), report


def compare(folder: Path, one: str | None, other: str | None) -> str:
    """Metrics of two runs and the options in which they differ; empty without two runs."""
    first, second = run_of(folder, one), run_of(folder, other) if other else None
    if first is None or second is None:
        return ""
    mine, theirs = _metrics(first.info), _metrics(second.info)
    rows = [
        (n, mine.get(n), theirs.get(n), theirs[n] - mine[n] if n in mine and n in theirs else None)
        for n in dict.fromkeys((*mine, *theirs))
    ]
    one_config, other_config = _config(first), _config(second)
    options = [
        (n, one_config.get(n, ""), other_config.get(n, ""))
        for n in dict.fromkeys((*one_config, *other_config))
        if one_config.get(n) != other_config.get(n)
    ]
    names = (first.path.name, second.path.name)
    parts = [render.rows(("metric", *names, "difference"), rows, "Metrics side by side")] if rows else []
    if options:
        parts.append(render.rows(("option", *names), options, "Options that differ"))
    else:
        parts.append(render.message("Both runs have the same options.", "quiet"))
    return "".join(parts)


def _metrics(info: Mapping[str, Any]) -> dict[str, float]:
    values = info.get("metrics")
    if not isinstance(values, Mapping):
        return {}
    return {str(k): v for k, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _plots(run: Run) -> dict[str, str]:
    log = run.path / "metrics.jsonl"
    try:
        stamp = log.stat().st_mtime_ns
    except OSError:
        return {}
    return _drawn(str(run.path), stamp)


@lru_cache(maxsize=64)
def _drawn(path: str, stamp: int) -> dict[str, str]:
    from fieldsight.training import loss_plots

    try:
        return loss_plots(Run(Path(path), {}))
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}  # a log that is not ours; the rest of the run is shown all the same


def _card(run: Run) -> str:
    from fieldsight.report.card import Card

    try:
        return Card.from_dict(read_json(run.model / "card.json")).to_markdown()
    except (DataError, TypeError, ValueError, AttributeError):
        return ""


def _config(run: Run) -> dict[str, str]:
    from fieldsight.config import read_toml
    from fieldsight.studio.fields import flat

    try:
        return {name: cell(value) for name, value in flat(read_toml(run.path / "config.toml"))}
    except ConfigError:
        return {}


def _text(path: Path, most: int = 100_000) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(most)
    except OSError:
        return ""
