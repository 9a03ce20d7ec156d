"""The Studio page: a photo in; cracks under a line that moves, measured anew as one moves the threshold.

Below: who looked and how far they agree, a brush and an eraser to correct the mask, and why the gate chose as it did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fieldsight.errors import FieldsightError
from fieldsight.studio import render
from fieldsight.studio.context import PageContext
from fieldsight.studio.pictures import before_after
from fieldsight.systems.crack import studio_view as view
from fieldsight.systems.crack.results import CrackMap
from fieldsight.systems.crack.studio_again import ByHand, again, corrected, rescaled, scale_of, without_hand
from fieldsight.systems.crack.studio_desk import RED, Desk, explained, painted_mask, painting
from fieldsight.systems.crack.studio_scenes import BUTTONS, buttons, demo, examples, gallery_picture

if TYPE_CHECKING:
    from fieldsight.studio.results import Shown

__all__ = ["demo", "examples", "gallery_picture", "page"]

#: Options that say nothing on a page, or that no page may set.
HIDDEN = ("allow_code", "exports", "tile", "halo")

_LARGE = "This photo is large and was routed place by place; what follows is about all of it at once."

_LIVE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def page(context: PageContext) -> None:
    """The generated tab with a result of its own, then the model's card."""
    import gradio as gr

    from fieldsight.studio.frame import QUIET, on_visit

    image = context.spec.inputs[0]
    told = replace(image, help="One or several; also GeoTIFF and video")
    # the notice stands over the page, so that no result repeats it
    calm = replace(context, spec=replace(context.spec, inputs=(told, *context.spec.inputs[1:]), notice=""))
    tab = calm.tab("predict", ("scale",), own_picture=True, without=HIDDEN)
    _word(tab)
    with tab.right.above:
        seen = _draw()
    desk = Desk(calm)
    _connect(desk, tab, seen)
    _connect_hand(desk, tab, seen)
    _connect_why(desk, tab, seen)
    for number, (button, _) in enumerate(tab.left.examples):
        button.elem_id = f"crack-example-{number}"
    style = gr.HTML(f"<style>{BUTTONS}</style>", elem_classes="fs-html", padding=False)
    on_visit(buttons, None, style, **QUIET)
    context.card(tab)


def _word(tab: Any) -> None:
    """Labels as an inspector calls things."""
    tab.left.run.value = "Find cracks"
    scale = tab.field("scale")
    scale.label, scale.placeholder = "Scale [mm per pixel]", "unknown"
    scale.info = (
        "Optional, for lengths and widths in mm. A rule in the photo tells it: 500 mm over 1,000 pixels is 0.5."
    )
    tab.field("threshold").placeholder = "the model's own"
    words = "Drop a photo or press an example. Its cracks appear here."
    tab.right.head.value = render.placeholder(words)
    tab.right.which.label = "Photo"
    tab.right.body.visible = False  # the page tells facts and files itself


# ---------------------------------------------------------------------------------------------- what is drawn


@dataclass(frozen=True)
class _Seen:
    """Components that show a result.

    Attributes:
        told: the result in a sentence, and whether a person should look.
        all: everything below, hidden until there is a result.
        tabs: its parts.
        look, over: what lies right of the moving line, and words about it.
        slider: the photo and what was found.
        threshold: from which probability a pixel is crack.
        numbers, route, table, files, several: sums, experts, cracks, downloads, all photos.
        hand, why: the other two parts.
        editor, apply, undo, done: brush and eraser, buttons, and what came of it.
        trust, attention, alike: weights, where the gate looked, and similar training photos.
        ran: state; by which factor photos were shrunk when they ran.
    """

    told: Any
    all: Any
    tabs: Any
    look: Any
    over: Any
    slider: Any
    threshold: Any
    numbers: Any
    route: Any
    table: Any
    files: Any
    several: Any
    hand: Any
    why: Any
    editor: Any
    apply: Any
    undo: Any
    done: Any
    trust: Any
    attention: Any
    alike: Any
    ran: Any


def _draw() -> _Seen:
    import gradio as gr

    made: dict[str, Any] = {"told": _html(), "several": _html()}
    with gr.Column(visible=False) as made["all"], gr.Tabs(selected="cracks") as made["tabs"]:
        with gr.Tab("Cracks", id="cracks"):
            _draw_cracks(made)
        with gr.Tab("Correct by hand", id="hand") as made["hand"]:
            _draw_hand(made)
        with gr.Tab("Why these experts?", id="why") as made["why"]:
            made["trust"] = _html()
            _html(render.soft("Left what the gate saw; right where it looked to choose: yellow counted most."))
            made["attention"] = gr.Image(
                show_label=False, interactive=False, type="numpy", format="png", buttons=["fullscreen"],
                elem_classes="fs-picture-out",
            )  # fmt: skip
            made["alike"] = _html()
    made["ran"] = gr.State(1.0)
    return _Seen(**made)


def _draw_cracks(made: dict[str, Any]) -> None:
    import gradio as gr

    made["look"] = gr.Radio(list(view.LOOKS), value="Cracks", show_label=False, container=False, elem_id="crack-look")
    made["over"] = _html(render.soft(view.LOOKS["Cracks"]))
    made["slider"] = before_after("crack-slider", position=30)
    made["threshold"] = gr.Slider(
        view.LOW, view.HIGH, value=0.5, step=0.01, label="Threshold", elem_id="crack-threshold",
        info="How sure the experts must be. Lower finds more cracks and invents more; all below follows at once.",
    )  # fmt: skip
    for name in ("numbers", "route", "table", "files"):
        made[name] = _html()


def _draw_hand(made: dict[str, Any]) -> None:
    import gradio as gr

    _html(
        render.soft(
            "Paint what is missing, rub out what is no crack. Then press Measure: sums, table and files follow."
        )
    )
    made["editor"] = gr.ImageEditor(
        show_label=False, type="numpy", image_mode="RGBA", format="png", sources=(), transforms=(), layers=False,
        brush=gr.Brush(default_size=2, colors=[f"rgb{RED}"], color_mode="fixed"), eraser=gr.Eraser(default_size=14),
        buttons=["fullscreen"], height=560, elem_id="crack-editor",
    )  # fmt: skip
    with gr.Row():
        made["apply"] = gr.Button("Measure", variant="primary", elem_id="crack-apply")
        made["undo"] = gr.Button("Undo all corrections", elem_id="crack-undo")
    made["done"] = _html()


def _html(words: str = "") -> Any:
    import gradio as gr

    return gr.HTML(words, elem_classes="fs-html fs-tight" if words else "fs-html")


# -------------------------------------------------------------------------------------------- what happens


def _connect(desk: Desk, tab: Any, seen: _Seen) -> None:
    """A new result, another photo of it, another threshold, scale or look."""
    import gradio as gr

    from fieldsight.studio.tab import WORK

    key, which, length = tab.right.key, tab.right.which, tab.field("min_length")
    own = [seen.told, seen.slider, seen.numbers, seen.table]
    more = [seen.all, seen.tabs, seen.threshold, seen.route, seen.several, seen.files, seen.look, seen.over]
    empty = ["", None, "", "", gr.update(visible=False), gr.update(), gr.update(), "", "", "", "Cracks", ""]

    def live(found: CrackMap, look: str) -> list[Any]:
        told = view.verdict(found) + view.remark(found, desk.reference(found))
        return [told, view.pair(found, look), view.numbers(found), view.table(found)]

    def opened(name: str, number: Any) -> list[Any]:
        at = desk.found(name, number)
        if at is None:
            return empty
        if not (at[0].folder / "files" / "review.csv").is_file():
            desk.write(name, [])  # several photos: what is about all of them
        shown, found = desk.found(name, number) or at
        threshold = min(max(float(found.facts["threshold"]), view.LOW), view.HIGH)
        return [
            *live(found, "Cracks"), gr.update(visible=True), gr.update(selected="cracks"), threshold, view.route(found),
            view.review(shown, desk.reference(found)), _files(shown, number, found), "Cracks",
            render.soft(view.LOOKS["Cracks"]),
        ]  # fmt: skip

    def moved(name: str, number: Any, threshold: float, look: str, shortest: Any) -> list[Any]:
        at = desk.found(name, number)
        if at is None:
            return _gone(len(own))
        desk.change(name, [number], lambda found: again(found, threshold, float(shortest or 0)))
        return live((desk.found(name, number) or at)[1], look)

    def scaled(name: str, number: Any, text: str, shrunk: float, look: str) -> list[Any]:
        at = desk.found(name, number)
        if at is None:
            return [gr.skip()] * len(own)
        try:
            typed = scale_of(text, shrunk)
        except FieldsightError as error:
            return [render.message(str(error), "warning"), *[gr.skip()] * (len(own) - 1)]
        desk.change(name, range(len(at[0].views)), lambda found: rescaled(found, _scale(found, typed, shrunk)))
        return live((desk.found(name, number) or at)[1], look)

    def written(name: str, number: Any, all_: bool = False) -> str:
        at = desk.found(name, number)
        if at is None:
            return ""
        desk.write(name, range(len(at[0].views)) if all_ else [number])
        shown, found = desk.found(name, number) or at
        return _files(shown, number, found)

    def turned(name: str, number: Any, look: str) -> list[Any]:
        at = desk.found(name, number)
        return [gr.skip(), ""] if at is None else [view.pair(at[1], look), render.soft(view.LOOKS[look])]

    key.change(lambda factor: float(factor or 1.0), tab.field("resize"), seen.ran, **_LIVE)
    for changed in (key.change, which.input):
        changed(opened, [key, which], [*own, *more], **_LIVE, **WORK)
    asked = [key, which, seen.threshold, seen.look, length]
    # one event for both: of two at once the older answer could come last
    either = [seen.threshold.input, length.input]
    gr.on(either, moved, asked, own, trigger_mode="always_last", **_LIVE, **WORK).then(
        written, [key, which], seen.files, **_LIVE, **WORK
    )
    tab.field("scale").change(
        scaled, [key, which, tab.field("scale"), seen.ran, seen.look], own, trigger_mode="always_last", **_LIVE, **WORK
    ).then(lambda name, number: written(name, number, True), [key, which], seen.files, **_LIVE, **WORK)
    comma = "text => (text || '').replace(',', '.')"
    tab.field("scale").blur(None, tab.field("scale"), tab.field("scale"), js=comma, api_visibility="private")
    seen.look.input(turned, [key, which, seen.look], [seen.slider, seen.over], **_LIVE, **WORK)


def _scale(found: CrackMap, typed: float | None, shrunk: float) -> float | None:
    """The typed scale; without one that of the photo's place on the map."""
    if typed is not None or found.georeference is None or found.georeference.pixel_size_mm is None:
        return typed
    return found.georeference.pixel_size_mm / (shrunk or 1.0)


def _files(shown: Shown, number: int, found: CrackMap) -> str:
    return view.downloads(shown, shown.views[number], isinstance(found, ByHand))


def _gone(count: int) -> list[Any]:
    import gradio as gr

    words = render.message("These results are no longer kept. Press Find cracks again.", "quiet")
    return [words, *[gr.skip()] * (count - 1)]


def _connect_hand(desk: Desk, tab: Any, seen: _Seen) -> None:
    """Brush and eraser: the mask as a layer over the photo, and what becomes of it."""
    import gradio as gr

    from fieldsight.studio.tab import WORK

    key, which, length = tab.right.key, tab.right.which, tab.field("min_length")
    results = [seen.told, seen.slider, seen.numbers, seen.table, seen.files, seen.done]

    def handed(name: str, number: Any) -> list[Any]:
        at = desk.found(name, number)
        return [None, ""] if at is None else [painting(at[1]), ""]

    def after(name: str, number: Any, look: str, words: str) -> list[Any]:
        desk.write(name, [number])
        at = desk.found(name, number)
        if at is None:
            return _gone(len(results))
        shown, found = at
        told = view.verdict(found) + view.remark(found, desk.reference(found))
        files = _files(shown, number, found)
        done = render.message(words or _by_hand(found), "info") + files
        return [told, view.pair(found, look), view.numbers(found), view.table(found), files, done]

    def applied(name: str, number: Any, painted: Any, look: str, shortest: Any) -> list[Any]:
        at = desk.found(name, number)
        if at is None:
            return _gone(len(results))
        try:
            before, mask = view.small_mask(at[1]), painted_mask(painted, at[1])
            if (mask != before).any():
                desk.change(name, [number], lambda found: corrected(found, before, mask, float(shortest or 0)))
                return after(name, number, look, "")
            words = render.message("Nothing was changed since.", "quiet")
        except FieldsightError as error:
            words = render.message(str(error), "warning")
        return [*[gr.skip()] * (len(results) - 1), words]

    def undone(name: str, number: Any, look: str, shortest: Any) -> list[Any]:
        if desk.found(name, number) is None:
            return [*_gone(len(results)), None]
        desk.change(name, [number], lambda found: without_hand(found, float(shortest or 0)))
        told = after(name, number, look, "This is what the experts found.")
        at = desk.found(name, number)
        return [*told, None if at is None else painting(at[1])]

    seen.hand.select(handed, [key, which], [seen.editor, seen.done], **_LIVE, **WORK)
    seen.apply.click(applied, [key, which, seen.editor, seen.look, length], results, api_visibility="private", **WORK)
    seen.undo.click(undone, [key, which, seen.look, length], [*results, seen.editor], api_visibility="private", **WORK)


def _by_hand(found: CrackMap) -> str:
    words = str(found.facts.get("corrected", "")).removeprefix("by hand: ")
    return f"Corrected by hand: {words}. The name of the mask to download says so."


def _connect_why(desk: Desk, tab: Any, seen: _Seen) -> None:
    """Why the gate chose: asked only when one looks."""
    from fieldsight.studio.tab import WORK

    def asked(name: str, number: Any) -> list[Any]:
        at = desk.found(name, number)
        if at is None:
            return ["", None, ""]
        try:
            found = explained(desk, at[1])
        except FieldsightError as error:
            return [render.message(str(error), "quiet"), None, ""]
        words = "" if at[1].facts.get("routed") == "as a whole" else render.soft(_LARGE)
        return [words + view.why(found), found.draw(), view.alike(found)]

    seen.why.select(
        asked, [tab.right.key, tab.right.which], [seen.trust, seen.attention, seen.alike], api_visibility="private",
        show_progress="minimal", **WORK,
    )  # fmt: skip
