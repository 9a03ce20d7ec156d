"""The Studio page: hide with a preview and a look at the result, see what is left after an attack, reveal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fieldsight.errors import DataError, FieldsightError
from fieldsight.studio.context import PageContext
from fieldsight.systems.stego.studio_scenes import demo, examples, gallery_picture

__all__ = ["demo", "examples", "gallery_picture", "page"]

_LIVE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


# ----------------------------------------------------------------------------------------------------- the page


def page(context: PageContext) -> None:
    """Hide with what is left after an attack, Reveal, what the passphrase protects; then the model's card."""
    import gradio as gr

    from fieldsight.systems.stego import studio_view as view

    with gr.Tabs():
        with gr.Tab("Hide"):
            hide = _hide(_told(context, "cover", "Picture to hide in", "A picture, or any other file"))
        with gr.Tab("Reveal"):
            _reveal(_told(context, "picture", "As it came out of Hide, not saved anew", ""))
    gr.HTML(view.statement(), elem_classes="fs-html")
    context.card(hide)


def _told(context: PageContext, name: str, first: str, second: str) -> PageContext:
    """The context with the inputs as this page calls them; a secret may be a file of any kind."""
    from fieldsight.studio.form import ANY

    cover, secret = context.spec.inputs
    any_kind = (*(s for s in secret.suffixes if s != ANY), ANY)
    inputs = (replace(cover, name=name, help=first), replace(secret, help=second, suffixes=any_kind))
    return replace(context, spec=replace(context.spec, inputs=inputs))


def _hide(context: PageContext) -> Any:
    import gradio as gr

    tab = context.tab("hide", ("key", "as_file"), own_picture=True)
    tab.field("key").label = "Passphrase (optional)"
    tab.field("key").info = "Encrypts a file; a picture is only shuffled by it, unless it is hidden as a file."
    tab.field("as_file").info = "Hide the exact bytes of a picture, as of any other file."
    tab.right.body.visible = False  # the page tells facts and files itself
    with tab.right.above:
        told = gr.HTML("", elem_classes="fs-html")
        with gr.Column(visible=False) as pictures:
            slider = gr.ImageSlider(
                show_label=False, interactive=False, type="numpy", format="png", max_height=560, elem_id="stego-slider",
                buttons=["fullscreen"], elem_classes="fs-picture-out",
            )  # fmt: skip
            with gr.Row():
                gap = _image("Difference, 10 times as strong")
                secret = _image("Secret, as Reveal gives it back")
            facts = gr.HTML("", elem_classes="fs-html")
            with gr.Column(elem_id="stego-attack"):
                attack = _attack()
    _connect_hide(context, tab, (told, pictures, slider, gap, secret, facts), attack)
    _connect_preview(context, tab)
    return tab


def _image(label: str, name: str = "") -> Any:
    import gradio as gr

    return gr.Image(
        label=label, interactive=False, type="numpy", format="png", buttons=["fullscreen"], min_width=200,
        elem_classes="fs-picture-out", elem_id=name or None,
    )  # fmt: skip


@dataclass(frozen=True)
class _Attack:
    """Components of the section on attacks, and the state that holds what comes back unharmed."""

    way: Any
    strength: Any
    words: Any
    arrives: Any
    left: Any
    before: Any


def _attack() -> _Attack:
    import gradio as gr

    first = view.WAYS["JPEG"]
    gr.HTML(
        "<h3>What is left after its journey</h3>"
        '<p class="fs-soft">Chat programs and web sites save pictures as JPEG and shrink them. Try what that does.</p>',
        elem_classes="fs-html",
    )
    way = gr.Radio(list(view.WAYS), value="JPEG", show_label=False, container=False, elem_id="stego-way")
    strength = gr.Slider(first[2], first[3], value=first[4], step=first[5], label=first[1], elem_id="stego-strength")
    words = gr.HTML("", elem_classes="fs-html", elem_id="stego-left")
    with gr.Row():
        arrives, left = _image("The picture as it arrives"), _image("What is left of the secret")
    return _Attack(way, strength, words, arrives, left, gr.State(None))


def _connect_hide(context: PageContext, tab: Any, seen: tuple[Any, ...], attack: _Attack) -> None:
    import gradio as gr

    from fieldsight.data.images import to_uint8
    from fieldsight.studio.tab import WORK
    from fieldsight.systems.stego import studio_view as view
    from fieldsight.systems.stego.results import Stego, difference

    own = [tab.right.key, tab.right.which, tab.field("key"), tab.field("key_file")]

    def opened(key: str, number: Any, phrase: str, file: Any) -> list[Any]:
        found = _found(context, key, number, Stego)
        if found is None:
            return ["", gr.update(visible=False), None, None, None, "", None]
        shown, one = context.shelf.get(key), found
        assert shown is not None
        back = _back(context, one, one.saved_as.colour, phrase, file)
        cover = to_uint8(one.cover.colour)
        sides = tuple(view.fitted(p) for p in (cover, one.picture))
        words = view.told(one) + view.button(shown, shown.views[number], "Download the picture, PNG")
        gap = view.fitted(difference(cover, one.picture))
        secret = gr.update(value=view.back_picture(back), label=view.back_label(one))
        return [words, gr.update(visible=True), sides, gap, secret, view.facts_html(one, back), back]

    def attacked(key: str, number: Any, phrase: str, file: Any, way: str, strength: float, before: Any) -> list[Any]:
        found = _found(context, key, number, Stego)
        if found is None or before is None:
            return ["", None, None]
        name, words = view.attack_of(way, strength)
        harmed = view.attacked(name, found.picture)
        after = _back(context, found, harmed, phrase, file, before.picture)
        left = None if after.picture is None else view.fitted(after.picture)
        return [view.left_words(before, after, words), view.fitted(harmed), left]

    def turned(way: str) -> Any:
        _, label, low, high, value, step = view.WAYS[way]
        return gr.update(label=label, minimum=low, maximum=high, value=value, step=step, visible=bool(label))

    shown = [*seen, attack.before]
    asked = [*own, attack.way, attack.strength, attack.before]
    results = [attack.words, attack.arrives, attack.left]
    for changed in (tab.right.key.change, tab.right.which.input):
        changed(opened, own, shown, **_LIVE, **WORK).then(attacked, asked, results, **_LIVE, **WORK)
    attack.way.input(turned, attack.way, attack.strength, **_LIVE).then(attacked, asked, results, **_LIVE, **WORK)
    attack.strength.input(attacked, asked, results, trigger_mode="always_last", **_LIVE, **WORK)


def _connect_preview(context: PageContext, tab: Any) -> None:
    """After an upload: what it is, the room for a file, what is wrong with it."""
    import gradio as gr

    from fieldsight.studio.guard import uploaded
    from fieldsight.systems.stego import studio_view as view

    cover, secret = tab.left.inputs["cover"], tab.left.inputs["secret"]
    more = [tab.field("as_file"), tab.field("robustness")]

    def look(covers: Any, hidden: Any, model: Any, as_file: bool, robustness: str) -> Any:
        listed = covers if isinstance(covers, list) else [covers] if covers else []
        try:
            paths = [uploaded(v, context.uploads) for v in listed]
            kept = uploaded(hidden, context.uploads) if hidden else None
        except DataError as error:
            return gr.update(value=view.looks_html([], [str(error)]), visible=True)
        found = view.look(paths, kept, _stride(context, model), as_file, robustness)
        return gr.update(value=found, visible=bool(found))

    given = [cover, secret, tab.left.model or gr.State(""), *more]
    for component in given:
        if hasattr(component, "change"):
            component.change(look, given, tab.left.note, trigger_mode="always_last", **_LIVE)


def _reveal(context: PageContext) -> None:
    import gradio as gr

    from fieldsight.systems.stego import studio_view as view
    from fieldsight.systems.stego.results import Revealed

    tab = context.tab("reveal", ("key", "force"), own_picture=True, calm=True)
    tab.field("key").label = "Passphrase, if one was used"
    tab.field("key").info = ""
    tab.field("force").info = "Show what the network makes of the picture, although it seems to hold nothing."
    tab.right.body.visible = False
    with tab.right.above:
        told = gr.HTML("", elem_classes="fs-html")
    with tab.right.below:
        facts = gr.HTML("", elem_classes="fs-html")

    def opened(key: str, number: Any) -> list[Any]:
        found = _found(context, key, number, Revealed)
        if found is None:
            return ["", gr.update(value=None, visible=False), ""]
        shown = context.shelf.get(key)
        assert shown is not None
        words, picture, below = view.revealed(found)
        words += view.button(shown, shown.views[number], view.download_words(found))
        return [words, gr.update(value=picture, visible=picture is not None), below]

    own, outputs = [tab.right.key, tab.right.which], [told, tab.right.picture, facts]
    tab.right.key.change(opened, own, outputs, **_LIVE)


# ------------------------------------------------------------------------------------------------- what it needs


def _found(context: PageContext, key: str, number: Any, kind: type[Any]) -> Any:
    shown = context.shelf.get(key)
    if shown is None or not isinstance(number, int) or not 0 <= number < len(shown.views):
        return None
    found = shown.views[number].prediction
    return found if isinstance(found, kind) else None


def _back(context: PageContext, hidden: Any, colour: Any, phrase: str, file: Any, like: Any = None) -> Any:
    """What Reveal makes of colours, by the model that hid, with the passphrase as it stands in the form."""
    from fieldsight.studio.guard import uploaded
    from fieldsight.systems.stego.secret import Passphrase
    from fieldsight.systems.stego.studio_view import Back, come_back

    try:
        path = uploaded(file, context.uploads) if file else None
        known = Passphrase.of(None if path is not None else phrase or None, path)
        model, lock = context.models.load(context.spec, str(hidden.facts["model"]))
    except FieldsightError as error:
        return Back(None, False, trouble=str(error))
    with lock:
        return come_back(model, colour, known, like)


def _stride(context: PageContext, model: Any) -> int:
    """Of the chosen model; of the default's kind where there is none yet."""
    from fieldsight.systems.stego.config import PRESETS

    try:
        return int(context.models.load(context.spec, model or None)[0].config.stride)
    except FieldsightError:
        return PRESETS["base"].stride
