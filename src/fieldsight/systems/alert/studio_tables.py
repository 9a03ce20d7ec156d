"""The tabs Compare (one recording through several engines) and Thresholds (readings with labels at two sliders)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, FieldsightError
from fieldsight.predictions import Table
from fieldsight.report.plots import COLOURS
from fieldsight.studio import render
from fieldsight.studio.context import PageContext
from fieldsight.systems.alert import studio_replay, studio_view
from fieldsight.systems.alert.config import PRESETS
from fieldsight.systems.alert.predict import Replay
from fieldsight.systems.alert.scores import TABLE2, Counts, Samples, auc, count, sweep

#: Engines that are compared at first, by preset.
COMPARED = ("base", "nearest", "paper", "authors_app")

#: Colours of rows by alarm and danger.
_DOTS = {"TP": "#b8231f", "FN": "#E69F00", "FP": "#CC79A7", "TN": "#9aa5b1"}
_WORDS = {"TP": "danger, alarm", "FN": "danger, no alarm", "FP": "no danger, alarm", "TN": "no danger, no alarm"}
_MOST_CLIPS, _MOST_DOTS = 60, 100  # of a drawing, and of a clip
_POINTS = 300  # of a curve


# ------------------------------------------------------------------------------------------------------ compare


def draw_compare(context: PageContext) -> None:
    """Draw the tab: a recording and engines left, strips and a table right."""
    import gradio as gr

    from fieldsight.studio.fields import caption

    one = context.spec.inputs[0]
    examples = [e for e in context.examples(context.spec.main) if e.write is not None]
    with gr.Row(elem_classes="fs-halves"):
        with gr.Column(scale=5, min_width=300, elem_classes="fs-left"):
            caption("Recording", f"({', '.join(one.suffixes[:3])} …)")
            file = gr.File(show_label=False, file_types=list(one.suffixes), height=150, elem_classes="fs-drop")
            caption("Or try one of these")
            with gr.Row(elem_classes="fs-examples"):
                buttons = [(gr.Button(f"{e.label} ({e.origin})", size="sm"), e) for e in examples]
            engines = gr.Dropdown(
                [(_engine(name), name) for name in PRESETS], value=list(COMPARED), multiselect=True, label="Engines"
            )
            run = gr.Button("Compare", variant="primary", size="lg", elem_id="alert-compare-run")
        with gr.Column(scale=8, min_width=300, elem_classes="fs-right", elem_id="alert-compare-result"):
            result = gr.HTML(
                render.placeholder("Give a recording or try an example, then press Compare. The strips appear here."),
                elem_classes="fs-html fs-svg fs-plot",
            )

    def go(request: Any, path: Any, chosen: Any) -> str:
        return _compare(context, path, chosen, f"{request.session_hash} compare")

    go.__annotations__["request"] = gr.Request
    work: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "work"}
    run.click(go, [file, engines], result, **work)
    for button, example in buttons:
        fill = functools.partial(_example, context, example)
        button.click(fill, None, file, api_visibility="private").then(go, [file, engines], result, **work)


def _engine(name: str) -> str:
    return "track" if name == "base" else name


def _example(context: PageContext, example: Any) -> str:
    folder = context.uploads / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    return str(example.write(folder))


def _compare(context: PageContext, path: Any, chosen: Any, who: str) -> str:
    from fieldsight.studio.form import values_of
    from fieldsight.studio.results import clean

    names = {str(path): Path(str(path)).name, str(context.scratch): "the Studio's folder"}
    try:
        given = values_of(context.spec.inputs[0], path, context.uploads)
        if not given:
            raise ConfigError("Give a recording, or try an example.")
        if not chosen:
            raise ConfigError("Choose one engine or more.")
        model, lock = context.models.load(context.spec)

        def work() -> list[Replay]:
            with lock:
                return compared(model, given[0], chosen)

        found, _ = context.jobs.run(who, work)
    except FieldsightError as error:
        return render.message(clean(str(error), names), "error", "This did not work.")
    return compared_html(found)


def compared(model: Any, subject: Any, presets: Sequence[str] = COMPARED) -> list[Replay]:
    """A recording through several engines, each with the settings of its preset.

    Raises:
        ConfigError: no such preset.
        DataError: the recording can't be read.
    """
    from fieldsight import progress

    return [model.predict(subject, preset=name) for name in progress.track(list(presets), "comparing")]


def compared_html(replays: Sequence[Replay]) -> str:
    """Strips under each other on one time axis, and a row an engine."""
    seconds = max((r.recording.seconds for r in replays if r.recording is not None), default=0.0)
    strips = "".join(comparison_strip(r, seconds) for r in replays)
    words = (
        '<p class="fs-soft">Alarms less than a second apart count as one; lead is the true time left at the first.</p>'
    )
    return f"{strips}{studio_view.legend()}{render.table(comparison(replays))}{words}"


def comparison_strip(replay: Replay, seconds: float) -> str:
    """One engine's strip with its alarms in the title."""
    c = replay.config
    states = studio_view.restated(replay, c.speed_threshold, c.tti_threshold)
    alarms = studio_replay.facts_at(replay, states)["alarms"]
    title = f"{c.mode}: {alarms} alarm{'' if alarms == 1 else 's'}"
    return studio_view.strip(states, c.speed_threshold, studio_replay.danger_of(replay), None, seconds, 140, title)


def comparison(replays: Sequence[Replay]) -> Table:
    """A row an engine: alarms, and misses and false alarms where there are labels."""
    names = {
        "mode": "engine", "alarms": "alarms", "first alarm [s]": "first [s]", "seconds in alarm": "in all [s]",
        "approaches missed": "missed", "false alarms": "false", "lead [s]": "lead [s]", "judged": "judged",
    }  # fmt: skip
    rows = []
    for replay in replays:
        c = replay.config
        facts = studio_replay.facts_at(replay, studio_view.restated(replay, c.speed_threshold, c.tti_threshold))
        rows.append({short: facts[name] for name, short in names.items() if name in facts})
    columns = dict.fromkeys(k for row in rows for k in row)
    return Table(dict.fromkeys(columns, ""), rows)


# --------------------------------------------------------------------------------------------------- thresholds


def draw_thresholds(context: PageContext) -> None:
    """Draw the tab: a table and two sliders left; counts, dots and curves right."""
    import gradio as gr

    from fieldsight.studio.fields import caption
    from fieldsight.studio.frame import QUIET, on_visit

    words = "speed, tti, danger (yes or no); clip and class where known. Without a file: the paper's Table A1 (.csv)"
    with gr.Row(elem_classes="fs-halves"):
        with gr.Column(scale=5, min_width=300, elem_classes="fs-left"):
            caption("Readings with labels", words)
            file = gr.File(show_label=False, file_types=[".csv"], height=120, elem_classes="fs-drop")
            speed, tti, presets = studio_replay.sliders()
            again = gr.HTML("", elem_classes="fs-html")
        with gr.Column(scale=8, min_width=300, elem_classes="fs-right", elem_id="alert-thresholds-result"):
            result = gr.HTML("", elem_classes="fs-html fs-svg")

    def show(path: Any, v: float, t: float) -> list[str]:
        try:
            return list(thresholds_html(*_readings(context, path), v, t))
        except FieldsightError as error:
            text = str(error).replace(str(path), Path(str(path)).name)
            return [render.message(text, "error", "This did not work."), ""]

    live: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}
    asked, shown = [file, speed, tti], [result, again]
    file.change(show, asked, shown, **live)
    for slider in (speed, tti):
        slider.input(show, asked, shown, **live)
    for button, pair in presets:
        button.click(lambda pair=pair: list(pair), None, [speed, tti], **QUIET).then(show, asked, shown, **live)
    on_visit(show, asked, shown, **live)


def _readings(context: PageContext, path: Any) -> tuple[Samples, str]:
    from fieldsight.studio.guard import uploaded
    from fieldsight.systems.alert.table_a1 import table_a1

    if not path:
        return table_a1(), "Table A1 of the paper"
    file = uploaded(path, context.uploads)
    return _read(file, file.stat().st_mtime), file.name


@functools.lru_cache(maxsize=8)
def _read(file: Path, stamp: float) -> Samples:
    from fieldsight.systems.alert.table_a1 import read_samples

    return read_samples(file)


def thresholds_html(samples: Samples, name: str, v: float, t: float) -> tuple[str, str]:
    """What two thresholds give on readings: counts, dots and curves; and the paper's six settings on the same.

    Args:
        samples: readings with labels.
        name: of the table.
        v, t: thresholds, m/s and s.
    """
    alert = samples.alerts(v, t)
    now = count(alert, samples.danger)
    facts = {
        "precision": _ratio(now.precision), "recall": _ratio(now.recall), "accuracy": _ratio(now.accuracy),
        "F1": _ratio(now.f1), "alarms in danger": now.tp, "false alarms": now.fp, "missed": now.fn,
        "rightly quiet": now.tn,
    }  # fmt: skip
    clips = len(np.unique(samples.clip))
    head = f'<p class="fs-run">{now.fn} of {now.tp + now.fn} dangers missed, {now.fp} false alarms</p>'
    about = (
        f'<p class="fs-soft">{escape(name)}: {len(samples)} readings of {clips} clips. Alarm where speed '
        f"&lt; {v:g} m/s and time to impact &lt; {t:g} s. Readings of one clip are not independent.</p>"
    )
    right = (
        f"{head}{about}{render.facts(facts)}{_dot_legend()}{dots(samples, alert)}"
        f'<div style="display:flex;flex-wrap:wrap;gap:4px 28px">{_side(roc(samples, v, t, now))}'
        f'{_side(precision_recall(samples, v, t, now))}</div><p class="fs-soft">The black dot is this setting. '
        f"{escape(areas(samples))}</p>"
    )
    title = "The paper's Table 2" if name.startswith("Table A1") else "The settings of the paper's Table 2"
    return right, render.table(settings(samples, title, ("precision", "recall")))


def _side(svg: str) -> str:
    return f'<div style="flex:1 1 290px;max-width:346px">{svg}</div>'


def areas(samples: Samples) -> str:
    """How well either number alone tells danger from no danger, in words."""
    speed, time = auc(-samples.speed, samples.danger), auc(-np.minimum(samples.tti, 1e9), samples.danger)
    return f"Area under the ROC curve of speed alone: {_ratio(speed)}, of time alone: {_ratio(time)}."


def settings(samples: Samples, title: str, ratios: Sequence[str] = ("accuracy", "precision", "recall", "f1")) -> Table:
    """The six settings of the paper's Table 2 on any readings, with some of the ratios."""
    rows = []
    for v, t, c in sweep(samples, TABLE2):
        counts = {"TP": c.tp, "FP": c.fp, "FN": c.fn, "TN": c.tn}
        rows.append({"m/s, s": f"{v:g}, {t:g}", **counts, **{k: round(getattr(c, k), 3) for k in ratios}})
    return Table(dict.fromkeys(rows[0], ""), rows, title)


def outcome(alert: NDArray[np.bool_], danger: NDArray[np.bool_]) -> NDArray[np.str_]:
    """``TP``, ``FP``, ``FN`` or ``TN`` of each reading."""
    found: NDArray[np.str_] = np.where(danger, np.where(alert, "TP", "FN"), np.where(alert, "FP", "TN"))
    return found


def dots(samples: Samples, alert: NDArray[np.bool_]) -> str:
    """Every reading as a dot coloured by :func:`outcome`, a row a clip, as two drawings side by side."""
    kinds = outcome(alert, samples.danger)
    clips = list(dict.fromkeys(str(c) for c in samples.clip))[:_MOST_CLIPS]
    rows = [(clip, np.flatnonzero(samples.clip == clip)[:_MOST_DOTS]) for clip in clips]
    step = min(20.0, 262 / max(len(row) for _, row in rows))
    half = (len(rows) + 1) // 2
    drawings = "".join(_side(_dots(samples, kinds, part, step)) for part in (rows[:half], rows[half:]) if part)
    left = len(samples) - sum(len(row) for _, row in rows)
    more = f'<p class="fs-soft">{left:,} more readings are not drawn.</p>' if left else ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:0 28px">{drawings}</div>{more}'


def _dots(samples: Samples, kinds: NDArray[np.str_], rows: Sequence[tuple[str, Any]], step: float) -> str:
    parts = []
    for n, (clip, row) in enumerate(rows):
        y = 13 + 20 * n
        parts.append(f'<text x="66" y="{y + 4}" text-anchor="end">{escape(clip[:10])}</text>')
        for k, i in enumerate(row):
            kind = str(kinds[i])
            words = f"{samples.speed[i]:g} m/s, {samples.tti[i]:g} s: {_WORDS[kind]}"
            parts.append(
                f'<circle cx="{82 + k * step:.1f}" cy="{y}" r="{min(7.0, 0.42 * step):.1f}" '
                f'fill="{_DOTS[kind]}"><title>{escape(words)}</title></circle>'
            )
    return _svg(346, 20 * len(rows) + 6, parts, "readings by clip")


def _dot_legend() -> str:
    items = "".join(
        f'<span style="display:inline-flex;align-items:center;gap:6px;margin-right:16px">'
        f'<i style="width:11px;height:11px;border-radius:50%;background:{_DOTS[k]}"></i>{_WORDS[k]}</span>'
        for k in _DOTS
    )
    return f'<p class="fs-soft">{items}</p>'


def roc(samples: Samples, v: float, t: float, now: Counts) -> str:
    """Recall over the share of false alarms: one threshold moved while the other stands; the dot is now."""
    series = {}
    for words, pairs in _moved(samples, v, t).items():
        found = [c for _, _, c in sweep(samples, pairs)]
        series[words] = [(1 - c.specificity, c.recall) for c in found]
    return _unit(series, (1 - now.specificity, now.recall), "share of harmless readings with an alarm", "recall")


def precision_recall(samples: Samples, v: float, t: float, now: Counts) -> str:
    """Precision over recall: one threshold moved while the other stands; the dot is now."""
    series = {}
    for words, pairs in _moved(samples, v, t).items():
        series[words] = [(c.recall, c.precision) for _, _, c in sweep(samples, pairs)]
    return _unit(series, (now.recall, now.precision), "recall", "precision")


def _moved(samples: Samples, v: float, t: float) -> dict[str, list[tuple[float, float]]]:
    speeds, times = (_thin(np.unique(values)) for values in (samples.speed, np.minimum(samples.tti, 60.0)))
    return {
        f"speed moves, time {t:g} s": [(float(x), t) for x in [*speeds, 1e9]],
        f"time moves, speed {v:g} m/s": [(v, float(x)) for x in [*times, 1e9]],
    }


def _thin(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values if len(values) <= _POINTS else values[np.linspace(0, len(values) - 1, _POINTS).astype(int)]


def _unit(series: Mapping[str, Sequence[tuple[float, float]]], now: tuple[float, float], x: str, y: str) -> str:
    """Lines in the unit square as SVG."""
    left, top, side = 44, 12, 250

    def place(p: tuple[float, float]) -> tuple[float, float]:
        return left + side * p[0], top + side * (1 - p[1])

    parts = []
    for k in range(6):
        a, b = place((k / 5, 0)), place((0, k / 5))
        parts.append(f'<path d="M{a[0]} {top}V{top + side}M{left} {b[1]}H{left + side}" stroke="#e4e8ed"/>')
        parts.append(f'<text x="{a[0]}" y="{top + side + 15}" text-anchor="middle">{k / 5:g}</text>')
        parts.append(f'<text x="{left - 6}" y="{b[1] + 4}" text-anchor="end">{k / 5:g}</text>')
    for n, (words, points) in enumerate(series.items()):
        known = [place(p) for p in points if np.isfinite(p).all()]
        path = "M" + "L".join(f"{p[0]:.1f} {p[1]:.1f}" for p in known) if known else ""
        parts.append(f'<path d="{path}" fill="none" stroke="{COLOURS[n]}" stroke-width="2"/>')
        parts.append(f'<text x="{left + 84}" y="{top + side - 28 + 16 * n}" fill="{COLOURS[n]}">{escape(words)}</text>')
    if np.isfinite(now).all():
        here = place(now)
        parts.append(
            f'<circle cx="{here[0]:.1f}" cy="{here[1]:.1f}" r="6" fill="#1c2430" stroke="#fff" stroke-width="2"/>'
        )
    parts.append(f'<text x="{left + side / 2}" y="{top + side + 31}" text-anchor="middle">{escape(x)}</text>')
    parts.append(
        f'<text transform="translate(12 {top + side / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )
    return _svg(left + side + 14, top + side + 38, parts, f"{y} over {x}")


def _svg(width: int, height: int, parts: Sequence[str], words: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(words)}" font-family="system-ui, DejaVu Sans, sans-serif" font-size="11.5" '
        f'fill="#1c2430">{"".join(parts)}</svg>'
    )


def _ratio(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"
