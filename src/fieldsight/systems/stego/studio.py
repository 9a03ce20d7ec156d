"""The Studio page: hide with a preview and a look at the result, see what is left after an attack, reveal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fieldsight.data.images import to_uint8
from fieldsight.errors import DataError, FieldsightError
from fieldsight.studio import render
from fieldsight.studio.context import PageContext
from fieldsight.studio.pictures import before_after
from fieldsight.systems.stego import studio_look
from fieldsight.systems.stego import studio_view as view
from fieldsight.systems.stego.studio_scenes import demo, examples, gallery_picture

__all__ = ["demo", "examples", "gallery_picture", "page"]

_LIVE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def page(context: PageContext) -> None:
    """Hide with what is left after an attack, Reveal, what the passphrase protects; then the model's card."""
    import gradio as gr

    with gr.Tabs():
        with gr.Tab("Hide"):
            tab = _hide(_told(context, "cover", "Picture to hide in", "A picture, or any other file"))
        with gr.Tab("Reveal"):
            _reveal(_told(context, "picture", "As it came out of Hide, not saved anew", ""))
    gr.HTML(view.statement(), elem_classes="fs-html")
    context.card(tab)


def _told(context: PageContext, name: str, first: str, second: str) -> PageContext:
    """The context with the inputs as this page calls them; a secret may be a file of any kind.

    The notice stands over the page, so that no result repeats it.
    """
    from fieldsight.studio.form import ANY

    cover, secret = context.spec.inputs
    any_kind = (*(s for s in secret.suffixes if s != ANY), ANY)
    inputs = (replace(cover, name=name, help=first), replace(secret, help=second, suffixes=any_kind))
    return replace(context, spec=replace(context.spec, inputs=inputs, notice=""))


# -------------------------------------------------------------------------------------------------------- hiding


@dataclass(frozen=True)
class _Seen:
    """Components that show a result.

    Attributes:
        told: sentences and the download.
        all: everything below, hidden until there is a result.
        slider: cover and stego picture under a line that moves.
        gap, secret: their difference, and what is revealed.
        over: words over ``secret``.
        facts: numbers.
        way, strength: the attack.
        left: what it left, in words.
        arrives, harmed: the picture after the attack, and what is revealed from it.
        before: state with the place of the result on the shelf, and with what comes back without an attack.
    """

    told: Any
    all: Any
    slider: Any
    gap: Any
    secret: Any
    over: Any
    facts: Any
    way: Any
    strength: Any
    left: Any
    arrives: Any
    harmed: Any
    before: Any


def _hide(context: PageContext) -> Any:
    # what is downloaded is a PNG: there is nothing lossy to allow
    tab = context.tab("hide", ("key", "as_file"), own_picture=True, without=("allow_lossy",))
    tab.field("key").label = "Passphrase (optional)"
    tab.field("key").info = "Encrypts a file; a picture is only shuffled by it, unless it is hidden as a file."
    tab.field("as_file").info = "Hide the exact bytes of a picture, as of any other file."
    words = "Give a cover and a secret, or try an example, then press Hide. The result appears here."
    tab.right.head.value = render.placeholder(words)
    tab.right.body.visible = False  # the page tells facts and files itself
    with tab.right.above:
        seen = _draw_seen()
    _connect(context, tab, seen)
    _connect_look(context, tab)
    return tab


def _draw_seen() -> _Seen:
    import gradio as gr

    def html(words: str = "", id: str = "") -> Any:
        return gr.HTML(words, elem_classes="fs-html fs-tight" if words else "fs-html", elem_id=id or None)

    def image(words: str) -> tuple[Any, Any]:
        with gr.Column(min_width=200):
            return html(_soft(words)), gr.Image(
                show_label=False, interactive=False, type="numpy", format="png", buttons=["fullscreen"],
                elem_classes="fs-picture-out",
            )  # fmt: skip

    told = html()
    with gr.Column(visible=False) as all_:
        html(_soft("Left of the line the cover, right of it the picture that carries the secret. Move the line."))
        slider = before_after("stego-slider", height=560)
        with gr.Row():
            (_, gap), (over, secret) = image("Their difference, 10 times as strong"), image(view.over_secret(False))
        facts = html()
        html(
            "<h3>What is left after its journey</h3>"
            + _soft("Chat programs and web sites save pictures as JPEG and shrink them. Try what that does.")
        )
        _, label, low, high, value, step = view.WAYS["JPEG"]
        way = gr.Radio(list(view.WAYS), value="JPEG", show_label=False, container=False, elem_id="stego-way")
        strength = gr.Slider(low, high, value=value, step=step, label=label, elem_id="stego-strength")
        left = html(id="stego-left")
        with gr.Row():
            (_, arrives), (_, harmed) = image("The picture as it arrives"), image("What is left of the secret")
    before = gr.State(None)
    return _Seen(told, all_, slider, gap, secret, over, facts, way, strength, left, arrives, harmed, before)


def _soft(words: str) -> str:
    return f'<p class="fs-soft">{words}</p>'


def _connect(context: PageContext, tab: Any, seen: _Seen) -> None:
    import gradio as gr

    from fieldsight.studio.tab import WORK
    from fieldsight.systems.stego.results import Stego, difference

    own = [tab.right.key, tab.right.which, tab.field("key"), tab.field("key_file")]

    def opened(key: str, number: Any, phrase: str, file: Any) -> list[Any]:
        found = context.found(key, number, Stego)
        if found is None:
            return ["", gr.update(visible=False), None, None, None, "", "", None]
        shown, hidden = found
        back = _back(context, hidden, hidden.saved_as.colour, phrase, file)
        cover = to_uint8(hidden.cover.colour)
        return [
            view.told(hidden) + view.button(shown, shown.views[number], "Download the picture, PNG"),
            gr.update(visible=True),
            (view.fitted(cover), view.fitted(hidden.picture)),
            view.fitted(difference(cover, hidden.picture)),
            view.fitted(back.picture),
            _soft(view.over_secret("bytes" in hidden.facts)),
            view.facts_html(hidden, back),
            (key, number, back),
        ]

    def attacked(kept: Any, phrase: str, file: Any, way: str, strength: float) -> list[Any]:
        key, number, before = kept or ("", None, view.Back(None, False))
        found = context.found(key, number, Stego)
        if found is None:
            return ["", None, None]
        name, words = view.attack_of(way, strength)
        harmed = view.attacked(name, found[1].picture)
        after = _back(context, found[1], harmed, phrase, file, before.picture)
        return [view.left_words(before, after, words), view.fitted(harmed), view.fitted(after.picture)]

    def turned(way: str) -> Any:
        _, label, low, high, value, step = view.WAYS[way]
        return gr.update(label=label, minimum=low, maximum=high, value=value, step=step, visible=bool(label))

    results = [seen.told, seen.all, seen.slider, seen.gap, seen.secret, seen.over, seen.facts, seen.before]
    asked, answer = [seen.before, *own[2:], seen.way, seen.strength], [seen.left, seen.arrives, seen.harmed]
    for changed in (tab.right.key.change, tab.right.which.input):
        changed(opened, own, results, **_LIVE, **WORK).then(attacked, asked, answer, **_LIVE, **WORK)
    seen.way.input(turned, seen.way, seen.strength, **_LIVE).then(attacked, asked, answer, **_LIVE, **WORK)
    seen.strength.input(attacked, asked, answer, trigger_mode="always_last", **_LIVE, **WORK)


def _connect_look(context: PageContext, tab: Any) -> None:
    """After an upload: what it is, the room for a file, what is wrong with it."""
    import gradio as gr

    from fieldsight.studio.guard import uploaded

    def look(covers: Any, hidden: Any, as_file: bool, robustness: str, *model: Any) -> Any:
        listed = covers if isinstance(covers, list) else [covers] if covers else []
        try:
            paths = [uploaded(v, context.uploads) for v in listed]
            secret = uploaded(hidden, context.uploads) if hidden else None
        except DataError as error:
            return gr.update(value=studio_look.looks_html([], [str(error)]), visible=True)
        found = studio_look.look(paths, secret, _stride(context, *model), as_file, robustness)
        return gr.update(value=found, visible=bool(found))

    inputs = [tab.left.inputs["cover"], tab.left.inputs["secret"], tab.field("as_file"), tab.field("robustness")]
    given = [*inputs, tab.left.model]
    for component in given:
        component.change(look, given, tab.left.note, trigger_mode="always_last", **_LIVE)


def _stride(context: PageContext, model: Any) -> int:
    """Of the chosen model; of the default's kind where there is none yet."""
    from fieldsight.systems.stego.config import PRESETS

    try:
        return int(context.models.load(context.spec, model or None)[0].config.stride)
    except FieldsightError:
        return PRESETS["base"].stride


# ----------------------------------------------------------------------------------------------------- revealing


def _reveal(context: PageContext) -> None:
    import gradio as gr

    from fieldsight.systems.stego.results import Revealed

    tab = context.tab("reveal", ("key", "force"), own_picture=True, calm=True)
    tab.field("key").label = "Passphrase, if one was used"
    tab.field("key").info = ""
    tab.field("force").info = "Show what the network makes of the picture, although it seems to hold nothing."
    words = "Give a picture or try an example, then press Reveal. What is hidden in it appears here."
    tab.right.head.value = render.placeholder(words)
    tab.right.body.visible = False
    with tab.right.above:
        told = gr.HTML("", elem_classes="fs-html")
    with tab.right.below:
        facts = gr.HTML("", elem_classes="fs-html")

    def opened(key: str, number: Any) -> list[Any]:
        found = context.found(key, number, Revealed)
        if found is None:
            return ["", gr.update(value=None, visible=False), ""]
        shown, secret = found
        words, picture, below = view.revealed(secret)
        words += view.button(shown, shown.views[number], view.download_words(secret))
        return [words, gr.update(value=picture, visible=picture is not None), below]

    tab.right.key.change(opened, [tab.right.key, tab.right.which], [told, tab.right.picture, facts], **_LIVE)


def _back(context: PageContext, hidden: Any, colour: Any, phrase: str, file: Any, like: Any = None) -> view.Back:
    """What Reveal makes of colours, by the model that hid, with the passphrase as it stands in the form."""
    from fieldsight.studio.guard import uploaded
    from fieldsight.systems.stego.secret import Passphrase

    try:
        path = uploaded(file, context.uploads) if file else None
        known = Passphrase.of(None if path is not None else phrase or None, path)
        model, lock = context.models.load(context.spec, str(hidden.facts["model"]))
    except FieldsightError as error:
        return view.Back(None, False, trouble=str(error))
    with lock:
        return view.come_back(model, colour, known, like)
