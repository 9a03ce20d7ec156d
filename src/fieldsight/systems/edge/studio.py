"""The Studio page: boxes that follow a slider and ticks at once, a board for what a mission needs, a live camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fieldsight.errors import FieldsightError
from fieldsight.studio import render
from fieldsight.studio.context import PageContext
from fieldsight.systems.edge import studio_choose
from fieldsight.systems.edge import studio_view as view
from fieldsight.systems.edge.studio_desk import Desk
from fieldsight.systems.edge.studio_scenes import BUTTONS, buttons, demo, examples, gallery_picture

__all__ = ["demo", "examples", "gallery_picture", "page"]

#: Options that stand beside the picture, or that say nothing on a page.
HIDDEN = ("conf", "only", "labels")

#: Events that redraw: several at a time, and never behind somebody's long work.
LOOK: dict[str, Any] = {
    "show_progress": "hidden", "api_visibility": "private", "concurrency_id": "edge-look", "concurrency_limit": 4,
}  # fmt: skip

#: What the slider of the confidence does.
LOWER = "Lower shows more, and more that is wrong; all below follows at once."

#: On a phone: down to the result, once the page has grown by it.
_DOWN = """() => { if (innerWidth < 720) setTimeout(() => {
  const place = document.getElementById('edge-predict-result')
  if (place.querySelector('#edge-told .fs-message')) place.scrollIntoView()
}, 200) }"""

_STYLE = "#edge-picture img { max-height: 74vh; } #edge-classes .wrap { gap: 6px; }"


def page(context: PageContext) -> None:
    """Find, Choose a board, Live camera; then the model's card."""
    import gradio as gr

    from fieldsight.studio.frame import QUIET, on_visit

    with gr.Tabs():
        with gr.Tab("Find"):
            tab = _find(_once(context))
        with gr.Tab("Choose a board"):
            studio_choose.draw(context)
        with gr.Tab("Live camera"):
            gr.HTML(live_html(), elem_classes="fs-html")
    gr.HTML(f"<style>{_STYLE}{studio_choose.STYLE}</style>", elem_classes="fs-html", padding=False)
    style = gr.HTML(f"<style>{BUTTONS}</style>", elem_classes="fs-html", padding=False)
    on_visit(buttons, None, style, **QUIET)
    context.card(tab)


def live_html() -> str:
    """What the live page is, and the way to it."""
    return (
        '<p style="max-width:76ch">The live page sends the pictures of this device\'s camera or of a video file to '
        "this machine and draws the boxes that come back, with the time of each round trip; nothing is stored.</p>"
        '<p><a class="fs-button fs-main" href="/edge/live" target="_blank" rel="noopener">Open the live page</a></p>'
    )


def _once(context: PageContext) -> PageContext:
    """The context whose main action runs once at a low confidence; the notice stands over the page."""
    main, *others = context.spec.verbs
    verbs = (replace(main, run=f"{view.__name__}:find_all"), *others)
    told = replace(context.spec.inputs[0], help="Photos, or a video")
    return replace(context, spec=replace(context.spec, verbs=verbs, inputs=(told,), notice=""))


# ---------------------------------------------------------------------------------------------- what is drawn


@dataclass(frozen=True)
class _Seen:
    """Components that show a result.

    Attributes:
        told: the result in a sentence.
        all: everything below, hidden until there is a result.
        conf, classes: what is shown.
        picture, frame: the drawing, and which frame of a video it is.
        table, film, files, several: boxes, button that writes the video, downloads, all photos.
        listed: state; the classes that have a tick box.
    """

    told: Any
    all: Any
    conf: Any
    classes: Any
    picture: Any
    frame: Any
    table: Any
    film: Any
    files: Any
    several: Any
    listed: Any


def _find(context: PageContext) -> Any:
    tab = context.tab("predict", ("tile", "track"), own_picture=True, without=HIDDEN)
    tab.left.run.value = "Find objects"
    tile, track, every = (tab.field(name) for name in ("tile", "track", "every"))
    tile.label, tile.info = (
        "Cut into tiles [px]",
        "For small objects in large photos: try 640. 0: none.",
    )
    track.label, track.info = "Follow objects", "Through a video: each gets a number."
    every.label, every.info = "Every so many frames", "Of a video: 1 looks at all of them."
    words = "Drop photos or a video, or press an example. What is found appears here."
    tab.right.head.value = render.placeholder(words)
    tab.right.which.label = "Photo"
    tab.right.body.visible = False  # the page tells facts and files itself
    with tab.right.above:
        seen = _draw()
    _connect(Desk(context), tab, seen)
    for number, (button, _) in enumerate(tab.left.examples):
        button.elem_id = f"edge-example-{number}"
    return tab


def _draw() -> _Seen:
    import gradio as gr

    made: dict[str, Any] = {"told": _html("edge-told")}
    with gr.Column(visible=False) as made["all"]:
        made["conf"] = gr.Slider(
            view.LEAST, view.MOST, value=0.25, step=0.01, label="Confidence", elem_id="edge-conf",
            info=f"How sure the detector must be. {LOWER}",
        )  # fmt: skip
        made["classes"] = gr.CheckboxGroup([], label="Show", elem_id="edge-classes")
        made["picture"] = gr.Image(
            show_label=False, interactive=False, type="numpy", format="png", buttons=["download", "fullscreen"],
            alt_text="The photo with a box around each object that was found", elem_id="edge-picture",
            elem_classes="fs-picture-out",
        )  # fmt: skip
        made["frame"] = gr.Slider(
            0, 1, value=0, step=1, label="Frame", visible=False, elem_id="edge-frame", info="Move through the video."
        )
        made["table"] = _html("edge-table")
        made["film"] = gr.Button("Make a video with these boxes", visible=False, elem_id="edge-film")
        made["files"] = _html("edge-files")
        made["several"] = _html("edge-several")
    made["listed"] = gr.State([])
    return _Seen(**made)


def _html(name: str) -> Any:
    import gradio as gr

    return gr.HTML("", elem_classes="fs-html", elem_id=name)


# -------------------------------------------------------------------------------------------- what happens


def _connect(desk: Desk, tab: Any, seen: _Seen) -> None:
    """A new result, another photo of it, another confidence, other classes, another frame, the video."""
    import gradio as gr

    from fieldsight.studio.tab import WORK

    key, which = tab.right.key, tab.right.which
    own = [seen.told, seen.picture, seen.table, seen.several]
    more = [seen.all, seen.frame, seen.film, seen.files]
    asked = [key, which, seen.conf, seen.classes, seen.listed]

    def live(name: str, number: Any, index: int = 0) -> list[Any]:
        at = desk.found(name, number)
        if at is None:
            return _gone(len(own))
        try:
            picture = at[1].picture(index)
        except FieldsightError as error:
            return [render.message(str(error), "warning"), *[gr.skip()] * (len(own) - 1)]
        return [view.verdict(at[1]), picture, view.table(at[1]), view.several(desk.all(name))]

    def turned_to(name: str, number: Any) -> list[Any]:
        at = desk.found(name, number)
        if at is None:
            return ["", None, "", "", gr.update(visible=False), gr.update(visible=False), gr.update(visible=False), ""]
        last = at[1].count - 1
        frame = gr.update(value=0, maximum=max(1, last), visible=last > 0)
        return [
            *live(name, number),
            gr.update(visible=True),
            frame,
            gr.update(visible=last >= 0),
            desk.files(name, number),
        ]

    def opened(name: str, number: Any) -> list[Any]:
        at = desk.found(name, number)
        if at is None:
            return [*turned_to(name, number), gr.skip(), gr.skip(), []]
        desk.joint(name)
        made, listed = at[1].made, view.classes_of(one for _, one in desk.all(name))
        info = f"How sure the detector must be: the model's own is {made.conf:g}. {LOWER}"
        top = max(view.MOST, made.conf)
        slider = gr.update(minimum=made.least, maximum=top, value=made.conf, info=info)
        ticks = gr.update(choices=listed, value=listed, visible=len(listed) > 1)
        return [*turned_to(name, number), slider, ticks, listed]

    def moved(name: str, number: Any, conf: float, ticked: list[str], listed: list[str], index: Any) -> list[Any]:
        desk.change(name, float(conf), None if set(listed) <= set(ticked) else tuple(ticked))
        return live(name, number, int(index or 0))

    def written(name: str, number: Any) -> list[Any]:
        desk.write(name)
        at = desk.found(name, number)
        if at is None:
            return ["", gr.skip(), gr.skip()]
        return [desk.files(name, number), gr.update(visible=at[1].count > 0), desk.lines(name)]

    def scrubbed(name: str, number: Any, index: Any) -> Any:
        return live(name, number, int(index or 0))[1] if desk.found(name, number) else gr.skip()

    def filmed(name: str, number: Any, request: Any) -> list[Any]:
        try:
            desk.film(name, number, f"{request.session_hash} edge-film")
        except FieldsightError as error:
            return [render.message(str(error), "warning"), gr.update()]
        return [desk.files(name, number), gr.update(visible=False)]

    filmed.__annotations__["request"] = gr.Request
    told = key.change(opened, [key, which], [*own, *more, seen.conf, seen.classes, seen.listed], **LOOK)
    told.then(None, None, None, js=_DOWN, api_visibility="private")
    which.input(turned_to, [key, which], [*own, *more], **LOOK)
    # one event for both, so that one call at a time is under way: two at once, the older answer could come last
    either = [seen.conf.input, seen.classes.input]
    gr.on(either, moved, [*asked, seen.frame], own, trigger_mode="always_last", **LOOK).then(
        written, [key, which], [seen.files, seen.film, tab.right.lines], **LOOK
    )
    seen.frame.input(scrubbed, [key, which, seen.frame], seen.picture, trigger_mode="always_last", **LOOK)
    seen.film.click(filmed, [key, which], [seen.files, seen.film], api_visibility="private", **WORK)


def _gone(count: int) -> list[Any]:
    import gradio as gr

    words = render.message("These results are no longer kept. Press Find objects again.", "quiet")
    return [words, *[gr.skip()] * (count - 1)]
