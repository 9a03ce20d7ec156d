"""The Studio page: stenoses and enhanced vessels under a line that moves, a narrowing measured between two clicks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight.errors import DataError, FieldsightError
from fieldsight.predictions import Picture
from fieldsight.studio import render
from fieldsight.studio.context import PageContext
from fieldsight.studio.pictures import before_after, fitted
from fieldsight.systems.vessel import studio_view as view
from fieldsight.systems.vessel.studio_scenes import demo, examples, gallery_picture

if TYPE_CHECKING:
    from fieldsight.systems.vessel.enhancing import Enhanced

__all__ = ["demo", "examples", "gallery_picture", "page"]

_LIVE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

#: Words over the frame that is marked.
HINT = (
    "Press on the healthy vessel before the narrowing, then on the healthy vessel after it. The second press measures; "
    "a third one starts again."
)

#: Where a measurement will appear.
_EMPTY = "Give a frame or try an example, and mark it. How narrow it is appears here."

#: What the page does once two points are there: the same as a press on the button.
_RUN = """(text) => { if ((text || '').split(',').length === 4)
  setTimeout(() => document.getElementById('vessel-measure-run').click(), 50) }"""

_STYLE = "#vessel-pick img { cursor: crosshair; }"


def page(context: PageContext) -> None:
    """Find stenoses, Bring out vessels, Measure; then the model's card."""
    import gradio as gr

    context = replace(context, spec=replace(context.spec, notice=""))  # it stands over the page
    with gr.Tabs():
        with gr.Tab("Find stenoses"):
            tab = _find(context)
        with gr.Tab("Bring out vessels"):
            _enhance(context)
        with gr.Tab("Measure"):
            _measure(context)
    gr.HTML(f"<style>{_STYLE}</style>", elem_classes="fs-html", padding=False)
    context.card(tab)


# ------------------------------------------------------------------------------------------------------ finding


def _find(context: PageContext) -> Any:
    from fieldsight.systems.vessel.results import Stenoses

    tab = context.tab("predict", ("conf", "artery", "track", "lumen"), own_picture=True)
    box, look, over, slider = _compared(tab, "vessel-found", view.FOUND)

    def opened(key: str, number: Any, look: str) -> list[Any]:
        import gradio as gr

        found = context.found(key, number, Stenoses)
        if found is None:  # a run of frames has one drawing
            return [gr.update(visible=False), None, "", _drawing(context, key, number)]
        pair = view.found_pair(found[1], look)
        return [gr.update(visible=True), pair, render.soft(view.FOUND[look]), gr.update(visible=False)]

    asked = [tab.right.key, tab.right.which, look]
    _follow(tab, [look], opened, asked, [box, slider, over, tab.right.picture])
    return tab


def _drawing(context: PageContext, key: str, number: Any) -> Any:
    import gradio as gr

    found = context.found(key, number, object)
    path = found[0].views[number].picture if found is not None else None
    return gr.update(value=str(path) if path else None, visible=path is not None)


def _compared(tab: Any, name: str, looks: dict[str, str]) -> tuple[Any, Any, Any, Any]:
    """Over the result: a choice of what to see, words about it, and the slider."""
    import gradio as gr

    first = next(iter(looks))
    with tab.right.above, gr.Column(visible=False) as box:
        look = gr.Radio(list(looks), value=first, show_label=False, container=False, elem_id=f"{name}-look")
        over = gr.HTML("", elem_classes="fs-html fs-tight")
        slider = before_after(f"{name}-slider", position=35)
    return box, look, over, slider


def _follow(tab: Any, chosen: list[Any], opened: Any, asked: list[Any], results: list[Any]) -> None:
    """Draw anew after a new result, another one of several, another choice: one at a time, the last one for sure."""
    import gradio as gr

    from fieldsight.studio.tab import WORK

    changed = [tab.right.key.change, tab.right.which.input, *(c.input for c in chosen)]
    gr.on(changed, opened, asked, results, trigger_mode="always_last", **_LIVE, **WORK)


# ---------------------------------------------------------------------------------------------------- enhancing


def _enhance(context: PageContext) -> Any:
    import gradio as gr

    tab = context.tab("enhance", ("channel", "polarity", "flat", "mode", "filter"), own_picture=True)
    box, look, over, slider = _compared(tab, "vessel-enhanced", view.ENHANCED)
    with tab.right.above, gr.Column(visible=False) as below:
        sigma = gr.Slider(
            *view.SCALES, value=0, step=0.5, label="One scale [px]", elem_id="vessel-scale",
            info="Only vessels of about this half width; 0 is all scales together, as in the files.",
        )  # fmt: skip

    def opened(key: str, number: Any, look: str, sigma: float) -> list[Any]:
        shown = _enhanced(context, key, number)
        if shown is None:
            return [gr.update(visible=False), gr.update(visible=False), None, ""]
        pair = view.enhanced_pair(shown, look, float(sigma or 0))
        return [gr.update(visible=True), gr.update(visible=look != "Widths"), pair, render.soft(view.ENHANCED[look])]

    asked = [tab.right.key, tab.right.which, look, sigma]
    _follow(tab, [look, sigma], opened, asked, [box, below, slider, over])
    return tab


def _enhanced(context: PageContext, key: str, number: Any) -> Enhanced | None:
    """The frame that is looked at; of a run the one of fullest contrast."""
    from fieldsight.systems.vessel.enhancing import Enhanced, EnhancedRun

    run = context.found(key, number, EnhancedRun)
    one = context.found(key, number, Enhanced)
    return run[1].key if run is not None else one[1] if one is not None else None


# ---------------------------------------------------------------------------------------------------- measuring


def _measure(context: PageContext) -> Any:
    import gradio as gr

    from fieldsight.studio.guard import uploaded

    tab = context.tab("measure", ("between", "spacing"))
    between, number, file = tab.field("between"), tab.field("frame"), tab.left.inputs["image"]
    between.label, between.info = (
        "Points [px]",
        "x, y before and x, y after the narrowing; set by pressing on the frame.",
    )
    tab.right.head.value = render.placeholder(_EMPTY)
    with tab.right.above, gr.Column(visible=False) as box:
        gr.HTML(render.soft(HINT), elem_classes="fs-html fs-tight")
        frame = gr.Image(
            show_label=False, interactive=False, type="numpy", format="png", buttons=["fullscreen"],
            elem_id="vessel-pick", elem_classes="fs-picture-out",
        )  # fmt: skip
        which = gr.Slider(0, 1, value=0, step=1, label="Frame of the run", visible=False, elem_id="vessel-frame")
    plain = gr.State(None)  # what was read last: file, wanted number, and what _shown gave

    def looked(value: Any, chosen: str, text: str, kept: Any) -> list[Any]:
        paths = value if isinstance(value, list) else [value] if value else []
        hidden = [None, gr.update(visible=False), None, gr.update(visible=False)]
        if not paths:
            return [*hidden, gr.update(visible=False)]
        try:
            path = uploaded(paths[0], context.uploads)
            kept = kept if kept and kept[:2] == (path, chosen) else (path, chosen, *_shown(path, chosen))
        except FieldsightError as error:
            words = str(error).replace(str(paths[0]), Path(str(paths[0])).name)
            return [*hidden, gr.update(value=render.message(words, "error"), visible=True)]
        *_, picture, factor, at, count = kept
        several = gr.update(visible=count > 1, maximum=max(1, count - 1), value=at)
        return [kept, gr.update(visible=True), view.marked(picture, text, factor), several, gr.update(visible=False)]

    def pressed(kept: Any, text: str, event: Any) -> str:
        if not kept:
            return text
        *_, factor, _, _ = kept
        x, y = ((float(v) + 0.5) / factor for v in event.index)
        return view.pressed(text, x, y)

    pressed.__annotations__["event"] = gr.SelectData
    shown = [plain, box, frame, which, tab.left.note]
    file.upload(lambda: ("", ""), None, [between, number], **_LIVE)  # marks of another frame mean nothing here
    changed = [file.change, number.change, between.change]  # one event: of two at once the older could come last
    gr.on(changed, looked, [file, number, between, plain], shown, trigger_mode="always_last", **_LIVE)
    which.input(lambda at: str(int(at)), which, number, trigger_mode="always_last", **_LIVE)
    # a number must not stand below a frame that it is not of
    results = [tab.right.head, tab.right.picture, tab.right.body, tab.right.calls]
    gr.on([file.upload, file.clear, which.input], _nothing_yet, None, results, **_LIVE)
    frame.select(pressed, [plain, between], between, **_LIVE).then(
        None, between, None, js=_RUN, api_visibility="private"
    )
    return tab


def _nothing_yet() -> list[Any]:
    """Head, picture, body and calls as they are before a result."""
    import gradio as gr

    hidden = gr.update(visible=False)
    return [gr.update(value=render.placeholder(_EMPTY), visible=True), gr.update(value=None, visible=False), "", hidden]


def _shown(path: Path, chosen: str) -> tuple[Picture, float, int, int]:
    """A frame as the page shows it, how much larger that is, its number, and how many there are.

    Raises:
        DataError: a file that can't be read, or no such frame.
    """
    from fieldsight.systems.vessel import fusing
    from fieldsight.systems.vessel.xa import open_angiography
    from fieldsight.systems.vessel.xa_frames import key_frames

    with open_angiography(path) as run:
        try:
            wanted = int(float(chosen)) if (chosen or "").strip() else None
        except ValueError:
            raise DataError(f"Frame: '{chosen}' is no number. Allowed: 0 to {run.count - 1}.") from None
        at = wanted if wanted is not None else 0 if run.count == 1 else key_frames(run).numbers[0]
        frame = run.frame(at)
        picture = fitted(fusing.grey(np.asarray(frame)))
        return picture, picture.shape[1] / frame.shape[1], at, run.count
