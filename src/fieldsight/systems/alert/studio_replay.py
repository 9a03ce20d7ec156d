"""The Replay tab's right half: a frame to scrub through, the strip, and sliders that decide the stored states anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fieldsight.errors import FieldsightError
from fieldsight.predictions import Table
from fieldsight.studio import render
from fieldsight.studio.context import PageContext
from fieldsight.studio.frame import QUIET
from fieldsight.studio.results import Shown
from fieldsight.systems.alert import studio_view
from fieldsight.systems.alert.live_view import expected
from fieldsight.systems.alert.predict import Replay, sounded
from fieldsight.systems.alert.state import AlertState

#: Ends of the two sliders, as the paper's app has them: m/s and s.
SPEEDS, TIMES = (-5.0, 0.0), (0.0, 6.0)

#: Engines as the page offers them: preset and words. The first is whatever the chosen model says.
ENGINES = {
    "": "track: follows objects (the model's own settings)",
    "nearest": "nearest: the nearest surface in the way",
    "looming": "looming: how fast a silhouette grows",
    "paper": "paper: Algorithms 1 to 3 as printed",
    "paper_dt": "paper_dt: the same with the measured time step",
    "authors_app": "authors_app: the released app, its lag included",
    "quartile": "quartile: the app's revision of 2024",
    "fragile": "track, fragile: alarms early (-1 m/s, 5 s)",
    "robust": "track, robust: alarms late (-3 m/s, 3 s)",
    "distance_only": "distance_only: anything nearer than 2 m",
    "always_closer": "always_closer: anything that comes nearer",
}

_LIVE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}


def draw(context: PageContext) -> Any:
    """Draw the tab; gives it back."""
    import gradio as gr

    tab = context.tab("replay", ("video", "wav"), own_picture=True)
    engine = tab.left.preset
    engine.choices = [(words, name) for name, words in ENGINES.items()]
    engine.value, engine.label, engine.info = "", "Engine", "How distance and closing speed are read from depth"
    tab.right.body.visible = False  # facts and files come after the strip, with the present thresholds
    with tab.right.above:
        now = gr.HTML("", elem_classes="fs-html")
    with tab.right.below, gr.Column(visible=False, elem_id="alert-look") as more:
        at = gr.Slider(0, 1, value=0, step=0.05, label="Time [s]", elem_id="alert-scrub")
        strip = gr.HTML("", elem_classes="fs-html fs-svg fs-plot")
        with gr.Row():
            with gr.Column(scale=3, min_width=260):
                speed, tti, chosen = sliders()
            with gr.Column(scale=2, min_width=220):
                expect = gr.HTML("", elem_classes="fs-html", elem_id="alert-expect")
        below = gr.HTML("", elem_classes="fs-html")
    pages = _Pages(context)
    which = [tab.right.key, tab.right.which]
    asked = [*which, speed, tti, at]
    model = tab.left.model
    seen = [tab.right.picture, now, strip, below, expect]

    def opened(key: str, number: Any, name: Any) -> list[Any]:
        found = pages.find(key, number)
        if found is None:
            return [gr.update(visible=False), *[gr.skip()] * 3, gr.update(visible=False, value=None), "", "", "", ""]
        replay, shown = found
        v, t = replay.config.speed_threshold, replay.config.tti_threshold
        states = studio_view.restated(replay, v, t)
        first = next((s.t for s in states if s.alert), 0.0)
        end = max(states[-1].t if states else 0.0, 0.05)
        return [
            gr.update(visible=True),
            gr.update(value=v, minimum=min(SPEEDS[0], v)),
            gr.update(value=t, maximum=max(TIMES[1], t)),
            gr.update(maximum=round(end, 2), value=round(first, 2)),
            *pages.all(replay, shown, v, t, first),
            pages.expected(replay, name, v, t),
        ]

    def moved(key: str, number: Any, v: float, t: float, when: float, name: Any) -> list[Any]:
        found = pages.find(key, number)
        if found is None:
            return [gr.skip()] * len(seen)
        return [*pages.all(*found, v, t, when), pages.expected(found[0], name, v, t)]

    def scrubbed(key: str, number: Any, v: float, t: float, when: float) -> list[Any]:
        found = pages.find(key, number)
        if found is None:
            return [gr.skip()] * 2
        states = studio_view.restated(found[0], v, t)
        return [_picture(found[0], states, when, v, t), _strip(found[0], states, v, when)]

    extra = [model] if model is not None else [gr.State("")]
    everything = [more, speed, tti, at, *seen]
    tab.right.key.change(opened, [*which, *extra], everything, show_progress="hidden", api_visibility="private")
    tab.right.which.input(opened, [*which, *extra], everything, show_progress="hidden", api_visibility="private")
    for slider in (speed, tti):
        slider.input(moved, [*asked, *extra], seen, **_LIVE)
    at.input(scrubbed, asked, [tab.right.picture, strip], **_LIVE)
    for button, pair in chosen:
        button.click(lambda pair=pair: list(pair), None, [speed, tti], **QUIET).then(
            moved, [*asked, *extra], seen, **_LIVE
        )
    return tab


def sliders() -> tuple[Any, Any, list[tuple[Any, tuple[float, float]]]]:
    """Both thresholds and the buttons of the three settings that the paper's app has."""
    import gradio as gr

    from fieldsight.systems.alert.live_app import SLIDERS

    v, t = SLIDERS["default"]
    speed = gr.Slider(*SPEEDS, value=v, step=0.1, label="Speed threshold [m/s]", info="Alarm only below it")
    tti = gr.Slider(*TIMES, value=t, step=0.1, label="Time threshold [s]", info="Alarm only if impact comes sooner")
    with gr.Row(elem_classes="fs-examples"):
        buttons = [
            (gr.Button(f"{name.capitalize()}: {v:g} m/s, {t:g} s", size="sm"), (v, t))
            for name, (v, t) in SLIDERS.items()
        ]
    return speed, tti, buttons


class _Pages:
    """What the tab shows of a result at some thresholds and some time."""

    def __init__(self, context: PageContext) -> None:
        self.context = context

    def find(self, key: str, number: Any) -> tuple[Replay, Shown] | None:
        shown = self.context.shelf.get(key)
        if shown is None or not isinstance(number, int) or not 0 <= number < len(shown.views):
            return None
        found = shown.views[number].prediction
        return (found, shown) if isinstance(found, Replay) else None

    def all(self, replay: Replay, shown: Shown, v: float, t: float, when: float) -> list[Any]:
        """Picture, the line on top, strip, and what stands below."""
        states = studio_view.restated(replay, v, t)
        facts = facts_at(replay, states)
        files = render.downloads(shown.key, shown.files, shown.folder)
        return [
            _picture(replay, states, when, v, t),
            f'<p class="fs-run">{headline(replay, states, facts)}</p>',
            _strip(replay, states, v, when),
            render.facts(facts) + _alarms(states, v, t) + files,
        ]

    def expected(self, replay: Replay, name: Any, v: float, t: float) -> str:
        try:
            model, _ = self.context.models.load(self.context.spec, str(name or "") or None)
        except FieldsightError as error:
            return render.message(str(error), "quiet")
        return expected_html(model.artefacts.get("surface"), v, t, replay.config.mode, model.config.mode)


def expected_html(surface: Mapping[str, Any] | None, v: float, t: float, mode: str, measured: str) -> str:
    """What the thresholds gave where they were measured, and on what.

    Args:
        surface: the model's artefact, or None.
        v, t: thresholds, m/s and s.
        mode: of the replay.
        measured: mode that the surface was measured with.
    """
    from html import escape

    told = expected(surface, v, t)
    title = "<h3>To expect at this setting</h3>"
    if told["words"]:
        return title + render.message(told["words"], "quiet")
    facts = {
        "approaches missed": _share(told["missed"]),
        "false alarms": "-" if told["false_per_minute"] is None else f"{told['false_per_minute']:.1f} / min",
        "precision": _share(told["precision"]),
        "recall": _share(told["recall"]),
    }
    other = "" if mode == measured else f" Measured with {measured}; this replay is by {mode}."
    return f'{title}{render.facts(facts)}<p class="fs-soft">On {escape(str(told["on"]) + "." + other)}</p>'


def headline(replay: Replay, states: Sequence[AlertState], facts: Mapping[str, Any]) -> str:
    """The one sentence a person reads first."""
    if not any(s.judged for s in states):
        return "Nothing was judged: this says nothing about safety"
    alarm = facts["alarms"]
    words = "No alarm" if not alarm else f"{alarm} alarm{'s' if alarm > 1 else ''}, {facts['seconds in alarm']:g} s"
    if "approaches missed" not in facts:
        return words
    missed = str(facts["approaches missed"])
    danger = "nothing dangerous there" if missed.endswith("of 0") else f"approaches missed: {missed}"
    return f"{words}; {danger}, false alarms: {facts['false alarms']}"


def facts_at(replay: Replay, states: Sequence[AlertState]) -> dict[str, Any]:
    """Alarms and, where there are labels, misses and false alarms of states at some thresholds."""
    found = sounded(states)
    closest = min((s.tti for s in states if s.alert), default=float("inf"))
    judged = sum(s.judged for s in states)
    facts: dict[str, Any] = {
        "mode": replay.config.mode,
        "alarms": len(found),
        "seconds in alarm": round(sum(b - a for a, b, _ in found), 1),
        "first alarm [s]": round(found[0][0], 1) if found else "-",
        "least time to impact [s]": studio_view.number(closest) if found else "-",
        "judged": f"{judged / len(states):.0%}" if states else "-",
    }
    recording = replay.recording
    if recording is not None and recording.labels is not None:
        facts |= against_labels(replay, np.array([s.alert for s in states], dtype=bool))
    return facts


def against_labels(replay: Replay, alert: Any) -> dict[str, Any]:
    """Misses, false alarms and the lead of a replay whose recording has labels."""
    from fieldsight.systems.alert.events import score, summary

    assert replay.recording is not None
    try:
        found = summary([score(replay.recording, replay.states, alert)])
    except (FieldsightError, KeyError, ValueError, IndexError):  # a table of labels that is somebody's own
        return {}
    return {
        "approaches missed": f"{found.missed} of {found.approaches}",
        "false alarms": found.false_alarms,
        "lead [s]": studio_view.number(found.lead) if found.approaches > found.missed else "-",
    }


def danger_of(replay: Replay) -> list[tuple[float, float]]:
    """True danger, in seconds from the replay's begin."""
    begin = studio_view.start_of(replay)
    return [(a - begin, b - begin) for a, b in replay.danger]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _picture(replay: Replay, states: Sequence[AlertState], when: float, v: float, t: float) -> Any:
    import gradio as gr

    picture = studio_view.look(replay, states, studio_view.at_time(states, when), v, t)
    return gr.update(value=picture, visible=picture is not None)


def _strip(replay: Replay, states: Sequence[AlertState], v: float, when: float) -> str:
    drawn = studio_view.strip(states, v, danger_of(replay), when)
    return words_at(replay, states, when) + drawn + studio_view.legend()


def words_at(replay: Replay, states: Sequence[AlertState], when: float) -> str:
    """What holds at a time and why, and what the view from above shows, as HTML."""
    from html import escape

    n = studio_view.at_time(states, when)
    if n < 0 or replay.recording is None:
        return ""
    state = states[n]
    why = f": {state.reason}" if state.reason else ""
    parts = [f"At {state.t:.1f} s {state.state}{why}."]
    if replay.recording.manifest.kind != "range":
        parts.append(
            "From above: orange points move, dark ones stand; a ring is what it reckons with, its arrow a second."
        )
        if replay.recording.objects is not None:
            parts.append("Outlines are what is truly there, red where it is a danger.")
    return f'<p class="fs-soft">{escape(" ".join(parts))}</p>'


def _alarms(states: Sequence[AlertState], v: float, t: float) -> str:
    rows = [
        {
            "from": round(begin, 1), "to": round(end, 1), "level": max(s.level for s in inside),
            "distance": studio_view.number(inside[0].distance), "speed": studio_view.number(inside[0].speed),
            "time to impact": studio_view.number(inside[0].tti),
        }
        for begin, end, inside in sounded(states)
    ]  # fmt: skip
    if not rows:
        return ""
    units = {"from": "s", "to": "s", "level": "", "distance": "m", "speed": "m/s", "time to impact": "s"}
    return render.table(Table(units, rows, f"Alarms at {v:g} m/s and {t:g} s, as each began"))
