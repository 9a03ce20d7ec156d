"""The Studio page: layers to look at, a line scan through the interval, example layouts; and the tour's demonstration.

The picture shows one layer of a result at a time (mask, expected picture, lower and upper bound, width) with the
uncertain places marked, and the plot below it the interval along one line, as in the paper's Figs. 7 and 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import assets
from fieldsight.errors import DataError, ModelFileError
from fieldsight.studio.context import Example, PageContext

if TYPE_CHECKING:
    from fieldsight.report.html import Section
    from fieldsight.systems.sem.predict import SemInterval

Array = NDArray[Any]
Picture = NDArray[np.uint8]

#: Layers of a result, as the page calls them.
LAYERS = ("Overview", "Mask", "Expected", "Lower", "Upper", "Width")

#: Families of drawn examples with the words for their buttons.
_DRAWN = {"sram": "Memory cells", "contacts": "Contact holes", "manhattan": "Random routing", "rings": "Rings"}

#: Standard cells among the examples: cell, layer, words.
_REAL = (
    ("nand2/sky130_fd_sc_hd__nand2_1", "67/20", "SKY130 NAND gate, li1"),
    ("mux2/sky130_fd_sc_hd__mux2_1", "66/20", "SKY130 multiplexer, poly"),
    ("dfxtp/sky130_fd_sc_hd__dfxtp_1", "68/20", "SKY130 flip-flop, met1"),
)

_FIELD = 1500.0  # nm a side of a drawn example
_MARK = (230, 97, 1)  # orange: seen on grey and on cividis
_SCAN = (86, 180, 233)
_LARGE = (900, 640)  # most columns and rows of a drawn layer
_SMALL = (320, 480)  # the same of one of three side by side
_GAP = 8


# --------------------------------------------------------------------------------------------------- examples


def examples() -> Sequence[Example]:
    """Real standard cells where the asset ``sky130`` is here, then drawn layouts of a few families."""
    found = []
    root = assets.locate("sky130")
    if root is not None:
        for name, layer, words in _REAL:
            path = root / "sky130_fd_sc_hd" / "cells" / f"{name}.gds"
            if path.is_file():
                found.append(Example(words, "real", partial(_copy, path), options={"layer": layer}))
    found += [Example(words, "drawn", partial(_draw_layout, family)) for family, words in _DRAWN.items()]
    return found


def _copy(source: Path, folder: Path) -> Path:
    import shutil

    return Path(shutil.copyfile(source, folder / source.name))


def _draw_layout(family: str, folder: Path) -> Path:
    """Write a drawn layout of a family as GDSII; the same every time."""
    import gdstk

    from fieldsight.data.gds import write_polygons
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.sem.config import Rules
    from fieldsight.systems.sem.layouts import FAMILIES

    rules = Rules(min_width=50.0, max_width=90.0, min_space=90.0, max_space=160.0)
    shapes = FAMILIES[family](_FIELD, rules, rng_for(5, "studio", family, 0))
    field = gdstk.rectangle((0, 0), (_FIELD, _FIELD))
    inside = gdstk.boolean([gdstk.Polygon(p) for p in shapes], field, "and", precision=1e-3)
    return write_polygons(folder / f"{family}.gds", [p.points for p in inside], (1, 0), family.upper())


# ----------------------------------------------------------------------------------------------------- the page


def page(context: PageContext) -> None:
    """The generated tabs; `predict` with layers, line scan and the layer list of an uploaded layout."""
    import gradio as gr

    with gr.Tabs():
        with gr.Tab("Predict"):
            shown = ("layer", "pixel", "cell", "window")
            tab = context.tab("predict", shown, suggest=("layer", "cell"), own_picture=True)
            _look_closer(context, tab)
            _offer_layers(context, tab)
        with gr.Tab("Simulate"):
            open_ = ("layer", "pattern", "count", "seed", "pixel")
            other = context.tab("simulate", open_, suggest=("layer", "cell"))
            _explain(other)
            _offer_layers(context, other)
    context.card(tab)


def _explain(tab: Any) -> None:
    """A line under the simulator's picture that says what the three panels are."""
    import gradio as gr

    with tab.right.below:
        words = gr.HTML("", elem_classes="fs-html")
    text = (
        '<p class="fs-soft">Mask; height of the imprint, dark blue low and yellow high; '
        "the picture a microscope would show.</p>"
    )
    tab.right.key.change(
        lambda key: text if key else "", tab.right.key, words, show_progress="hidden", api_visibility="private"
    )


def _look_closer(context: PageContext, tab: Any) -> None:
    import gradio as gr

    with tab.right.above:
        layer = gr.Radio(list(LAYERS), value="Overview", show_label=False, container=False, visible=False)
    with tab.right.below:
        legend = gr.HTML("", elem_classes="fs-html")
        with gr.Column(visible=False) as scan:
            with gr.Row():
                axis = gr.Radio(["across", "down"], value="across", label="Line scan", scale=2, min_width=170)
                place = gr.Slider(0, 1, value=0, step=1, label="Position [px]", scale=5, min_width=200)
            plot = gr.HTML("", elem_classes="fs-html fs-svg fs-plot")
    outputs = [tab.right.picture, legend, plot]
    inputs = [tab.right.key, tab.right.which, layer, axis, place]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def opened(key: str, number: Any) -> tuple[Any, ...]:
        found = _interval(context, key, number)
        if found is None:
            hidden = gr.update(visible=False)
            return hidden, hidden, gr.skip(), gr.skip(), gr.update(visible=False, value=None), "", ""
        at = telling_line(found, "across")
        chosen = gr.update(visible=True, value="Overview")
        slider = gr.update(maximum=found.mid.shape[0] - 1, value=at)
        shown = _shown(found, "Overview", "across", at)
        return chosen, gr.update(visible=True), "across", slider, *shown

    def moved(key: str, number: Any, chosen: str, way: str, at: float) -> tuple[Any, ...]:
        found = _interval(context, key, number)
        return (gr.skip(),) * 3 if found is None else _shown(found, chosen, way, int(at))

    def turned(key: str, number: Any, way: str) -> Any:
        found = _interval(context, key, number)
        if found is None:
            return gr.update(maximum=1, value=0)
        return gr.update(maximum=found.mid.shape[0 if way == "across" else 1] - 1, value=telling_line(found, way))

    def pressed(key: str, number: Any, chosen: str, way: str, event: Any) -> Any:
        found = _interval(context, key, number)
        return gr.skip() if found is None else _place(found, chosen, way, event.index)

    pressed.__annotations__["event"] = gr.SelectData
    everything = [layer, scan, axis, place, *outputs]
    tab.right.key.change(opened, [tab.right.key, tab.right.which], everything, **quiet)
    tab.right.which.input(opened, [tab.right.key, tab.right.which], everything, **quiet)
    axis.input(turned, [tab.right.key, tab.right.which, axis], place, **quiet).then(moved, inputs, outputs, **quiet)
    layer.input(moved, inputs, outputs, **quiet)
    place.input(moved, inputs, outputs, trigger_mode="always_last", **quiet)
    tab.right.picture.select(pressed, [tab.right.key, tab.right.which, layer, axis], place, **quiet).then(
        moved, inputs, outputs, **quiet
    )


def _offer_layers(context: PageContext, tab: Any) -> None:
    """After an upload: the layers of the layout as a list, and a line that says what the file holds."""
    import gradio as gr

    from fieldsight.studio import render
    from fieldsight.studio.guard import uploaded

    file, layer, cell = tab.left.inputs["layout"], tab.field("layer"), tab.field("cell")

    def look(value: Any, chosen: str | None, named: str | None) -> tuple[Any, Any]:
        paths = value if isinstance(value, list) else [value] if value else []
        try:
            layouts = [p for p in (uploaded(v, context.uploads) for v in paths) if _is_layout(p)]
            if not layouts:
                return gr.update(choices=[("automatic", "")], value=""), gr.update(visible=False)
            listed, words = layers_of(layouts[0], named or None, chosen or "")
        except DataError as error:
            words = render.message(_named(error, paths), "error")
            return gr.update(choices=[("automatic", "")]), gr.update(value=words, visible=True)
        kept = chosen if chosen in [value for _, value in listed] else ""
        return gr.update(choices=listed, value=kept), gr.update(value=render.message(words, "quiet"), visible=True)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    file.change(look, [file, layer, cell], [layer, tab.left.note], **quiet)
    cell.change(look, [file, layer, cell], [layer, tab.left.note], **quiet)
    layer.input(look, [file, layer, cell], [layer, tab.left.note], **quiet)


def layers_of(path: Path, cell: str | None = None, chosen: str = "") -> tuple[list[tuple[str, str]], str]:
    """Layers of a layout as ``(words, "67/20")`` for a list, and a sentence about the file and its chosen layer.

    Raises:
        DataError: as :func:`~fieldsight.data.gds.open_layout`.
    """
    from fieldsight.data.gds import describe, open_layout

    layout = open_layout(path, cell)
    usual = layout.layer(None)
    listed = [(f"automatic: {describe(usual)}", "")]
    shown = usual
    for layer, number in sorted(layout.layers.items()):
        name = f"{layer[0]}/{layer[1]}"
        listed.append((f"{describe(layer)} ({number:,} polygons)", name))
        shown = layer if name == chosen else shown
    x0, y0, x1, y1 = layout.bounds(shown)
    size = f"{(x1 - x0) / 1000:.4g} x {(y1 - y0) / 1000:.4g} µm"
    count = len(layout.layers)
    return listed, f"Cell {layout.cell}, {count} layer{'s' if count > 1 else ''}; {describe(shown)} is {size}."


def _is_layout(path: Path) -> bool:
    from fieldsight.data.suffixes import LAYOUT_SUFFIXES

    return path.suffix.lower() in LAYOUT_SUFFIXES


def _named(error: Exception, paths: Sequence[Any]) -> str:
    text = str(error)
    for path in paths:
        text = text.replace(str(path), Path(str(path)).name)
    return text


# ------------------------------------------------------------------------------------------ pictures and plots


def _interval(context: PageContext, key: str, number: Any) -> SemInterval | None:
    from fieldsight.systems.sem.predict import SemInterval

    found = context.found(key, number, SemInterval)
    return found[1] if found is not None else None


def _shown(found: SemInterval, layer: str, axis: str, at: int) -> tuple[Any, str, str]:
    import gradio as gr

    at = max(0, min(at, found.mid.shape[0 if axis == "across" else 1] - 1))
    picture = gr.update(value=layer_picture(found, layer, axis, at), visible=True)
    return picture, legend_of(found, layer), scan_plot(found, axis, at)


def layer_picture(found: SemInterval, layer: str, axis: str, at: int) -> Picture:
    """One layer as ``(H, W, 3)`` uint8, small fields enlarged by whole pixels, with marked places and the scan line.

    Args:
        found: a result.
        layer: one of :data:`LAYERS`.
        axis: ``across`` for a row, ``down`` for a column.
        at: the row or column, in pixels of the field.
    """
    from fieldsight.predictions import beside

    if layer != "Overview":
        return _marked(found, layer, axis, at, _LARGE)
    return beside([_marked(found, name, axis, at, _SMALL) for name in ("Mask", "Expected", "Width")], gap=_GAP)


def _marked(found: SemInterval, layer: str, axis: str, at: int, room: tuple[int, int]) -> Picture:
    import cv2

    height, width = found.mid.shape
    picture = _plain(found, layer, room)
    scale = picture.shape[0] / height, picture.shape[1] / width
    thick = 1 if room == _SMALL else 2
    if axis == "across":
        row = int((at + 0.5) * scale[0])
        cv2.line(picture, (0, row), (picture.shape[1], row), _SCAN, thick)
    else:
        column = int((at + 0.5) * scale[1])
        cv2.line(picture, (column, 0), (column, picture.shape[0]), _SCAN, thick)
    if layer in ("Expected", "Width"):
        for spot in found.hotspots.rows[:20]:
            centre = (int((spot["column"] + 0.5) * scale[1]), int((spot["row"] + 0.5) * scale[0]))
            cv2.circle(picture, centre, 4 + 3 * thick, _MARK, thick, cv2.LINE_AA)
    return picture


def _plain(found: SemInterval, layer: str, room: tuple[int, int]) -> Picture:
    """A layer without marks, as large as the room allows."""
    import cv2

    from fieldsight.data.arrays import thumbnail
    from fieldsight.predictions import grey, heat

    longest = max(room)
    if layer == "Mask":
        source = found.source if found.source is not None else np.zeros((2, 2), np.float32)
        small = grey(thumbnail(source, longest))
    elif layer == "Width":
        small = heat(thumbnail(found.hi, longest) - thumbnail(found.lo, longest))
    else:
        array = {"Expected": found.mid, "Lower": found.lo, "Upper": found.hi}[layer]
        small = grey(thumbnail(array, longest))
    size = _size(found, room)
    enlarged = cv2.resize(small, size, interpolation=cv2.INTER_NEAREST if size[0] > small.shape[1] else cv2.INTER_AREA)
    return np.ascontiguousarray(enlarged, dtype=np.uint8)


def _size(found: SemInterval, room: tuple[int, int]) -> tuple[int, int]:
    height, width = found.mid.shape
    factor = min(room[0] / width, room[1] / height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _place(found: SemInterval, layer: str, axis: str, pressed: Any) -> int:
    """The row or column of the field under a click on the drawn picture."""
    columns, rows = _size(found, _LARGE if layer != "Overview" else _SMALL)
    x, y = int(pressed[0]), int(pressed[1])
    if layer == "Overview":
        x %= columns + _GAP
    share = y / rows if axis == "across" else x / columns
    length = found.mid.shape[0 if axis == "across" else 1]
    return max(0, min(length - 1, int(share * length)))


def legend_of(found: SemInterval, layer: str) -> str:
    """What the colours of a layer mean, as HTML."""
    from html import escape

    from fieldsight.data.arrays import thumbnail

    width = thumbnail(found.hi, 512) - thumbnail(found.lo, 512)
    span = f"dark blue {float(width.min()):.3f} to yellow {float(width.max()):.3f}"
    share = f"{100 * (1 - found.alpha):g} %"
    circles = "Orange circles: uncertain places, listed below." if found.hotspots.rows else ""
    words = {
        "Overview": f"Mask, expected picture, and width of the {share} interval ({span}). {circles}",
        "Mask": "What was asked for: white is written.",
        "Expected": f"The picture a microscope is expected to show, intensity 0 to 1. {circles}",
        "Lower": f"Lower bound of the {share} interval.",
        "Upper": f"Upper bound of the {share} interval.",
        "Width": f"Upper minus lower bound: {span}. {circles}",
    }[layer]
    return f'<p class="fs-soft">{escape(words)} Press into the picture to move the line.</p>'


def telling_line(found: SemInterval, axis: str) -> int:
    """The row (``across``) or column (``down``) that crosses most edges of the mask, of several the middle one."""
    length = found.mid.shape[0 if axis == "across" else 1]
    if found.source is None:
        return length // 2
    source = np.asarray(found.source) > 0.5
    lines = source if axis == "across" else source.T
    edges = np.count_nonzero(lines[:, 1:] != lines[:, :-1], axis=1)
    best = np.flatnonzero(edges == edges.max())
    middle = best[np.argmin(np.abs(best - len(edges) / 2))]
    return min(length - 1, int((middle + 0.5) * length / len(edges)))


def scan_plot(found: SemInterval, axis: str, at: int) -> str:
    """The interval along one line of the field, as SVG (the paper's Figs. 7 and 9, without a truth)."""
    from fieldsight.report.plots import COLOURS, figure, svg

    lo, mid, hi = (np.asarray(a[at] if axis == "across" else a[:, at]) for a in (found.lo, found.mid, found.hi))
    step = max(1, mid.size // 2000)
    pixel = float(found.facts.get("pixel_nm", 1.0))
    place = (np.arange(mid.size) + 0.5) * pixel
    drawn, (ax,) = figure(7.6, 2.5)
    if found.source is not None:
        written = _line(found.source, axis, at, found.mid.shape)
        ax.fill_between(place, 0, 1, where=written > 0.5, color="#eceff2", linewidth=0, step="mid", label="mask",
                        transform=ax.get_xaxis_transform())  # fmt: skip
    ax.fill_between(place[::step], lo[::step], hi[::step], color="#9ecae1", linewidth=0, label="interval")
    ax.plot(place[::step], mid[::step], color=COLOURS[0], linewidth=1.3, label="expected")
    ax.set_xlim(0, place[-1] + 0.5 * pixel)
    ax.set_xlabel(f"{'x' if axis == 'across' else 'y, downwards'} [nm], {'row' if axis == 'across' else 'column'} {at}")
    ax.set_ylabel("intensity")
    ax.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=8)
    return svg(drawn)


def _line(source: Array, axis: str, at: int, shape: tuple[int, ...]) -> Array:
    """The mask along a line, by the nearest pixel of its small picture."""
    rows = np.minimum(np.arange(shape[0]) * source.shape[0] // shape[0], source.shape[0] - 1)
    columns = np.minimum(np.arange(shape[1]) * source.shape[1] // shape[1], source.shape[1] - 1)
    return source[rows[at], columns] if axis == "across" else source[rows, columns[at]]


def gallery_picture() -> Picture:
    """The picture in the gallery, 540 x 360: a drawn layout, its simulated SEM picture, the imprinted height."""
    from fieldsight.data.raster import rasterize
    from fieldsight.engine.seed import rng_for
    from fieldsight.predictions import grey, heat
    from fieldsight.systems.sem.config import Recipe, Rules
    from fieldsight.systems.sem.layouts import FAMILIES
    from fieldsight.systems.sem.process import simulate

    rules = Rules(min_width=50.0, max_width=60.0, min_space=90.0, max_space=100.0)
    shapes = FAMILIES["manhattan"](1620.0, rules, rng_for(2, "x", "manhattan"))
    mask = rasterize(shapes, (360, 540), 3.0) >= 0.5
    made = simulate(mask, 3.0, Recipe(), rng_for(3, "studio", "noise"))
    parts = [grey(0.12 + 0.8 * mask), grey(made.sem.astype(np.float32) / 255), heat(made.height)]
    slanted = np.arange(540)[None, :] + 0.45 * np.arange(360)[:, None]
    picture = np.where((slanted < 240)[..., None], parts[0], np.where((slanted < 470)[..., None], parts[1], parts[2]))
    for border in (240, 470):
        picture = np.where((np.abs(slanted - border) < 2)[..., None], 255, picture)
    return picture.astype(np.uint8)


# ------------------------------------------------------------------------------------------------------ the tour


def demo(section: Section) -> None:
    """Add a short demonstration to the tour: a standard cell where the asset is here, else a drawn layout."""
    import tempfile

    import fieldsight

    example = examples()[0]
    assert example.write is not None
    real = example.origin == "real"
    section.text(
        f"Input: {example.label}, "
        + ("a real layout of the open SKY130 process." if real else "a layout drawn by us, since sky130 is not here.")
    )
    with tempfile.TemporaryDirectory() as folder:
        path = example.write(Path(folder))
        try:
            model = fieldsight.load("sem")
        except ModelFileError:
            _demo_simulator(section, path, example)
            return
        result: SemInterval = model.predict(path, **example.options)
    section.text(model.describe())
    section.facts(result.shown()[0])
    if "warning" in result.facts:
        section.notice(str(result.facts["warning"]))
    at = result.mid.shape[0] // 2
    share = f"{100 * (1 - result.alpha):g} %"
    section.picture(
        layer_picture(result, "Overview", "across", at), f"mask, expected picture, width of the {share} interval"
    )
    section.plot(scan_plot(result, "across", at), "the interval along the blue line")
    section.table(result.hotspots, most=5)


def _demo_simulator(section: Section, path: Path, example: Example) -> None:
    import fieldsight

    sample = fieldsight.call("sem", "simulate", str(path), pixel=5, **example.options).samples[0]
    section.text("No trained model is here; the process simulator ran instead.")
    section.picture(sample.draw(), "mask, height, simulated SEM picture")
