"""The Studio page: sliders with live stacked bars, the verbs' tabs, calibration from a table; and the tour's part.

A page names nothing but built-in networks, systems of this package and files that were uploaded: import paths are for
the command line and Python.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from fieldsight import assets, registry
from fieldsight.errors import ConfigError, FieldsightError, unknown
from fieldsight.profile.hardware import load_hardware
from fieldsight.profile.joules import PARTS, energy
from fieldsight.registry import Input
from fieldsight.studio.context import Call, Example, PageContext
from fieldsight.systems.energy import data, networks
from fieldsight.systems.energy.config import EnergyConfig, Format, Profile
from fieldsight.systems.energy.drawing import bars, columns, joules, treemap
from fieldsight.systems.energy.estimate import CONVENTIONS, Charged, charge, group_joules, layer_table, terms, warnings
from fieldsight.systems.energy.networks import Network
from fieldsight.systems.energy.predict import METHOD, facts

if TYPE_CHECKING:
    from fieldsight.predictions import Picture
    from fieldsight.report.html import Section

#: The network that a page shows first.
FIRST = "resnet18"

#: Light ONNX files among the examples, with words for their buttons.
_ONNX = {
    "light_squeezenet.onnx": "SqueezeNet, ONNX",
    "light_inception_v1.onnx": "Inception v1, ONNX",
    "light_densenet121.onnx": "DenseNet-121, ONNX",
}

_CONTEXT = 2048  # tokens that the context slider ends at where nothing else is known


# --------------------------------------------------------------------------------------------------- examples


def examples() -> Sequence[Example]:
    """The built-in networks and the other systems' own, by name; light ONNX files where the asset is here."""
    found = [Example(m.title, "real", value=m.id) for m in data.MODELS]
    found += [
        Example(f"{s.title}, the network of fieldsight's {s.id}", "real", value=f"fieldsight:{s.id}")
        for s in registry.systems()
        if "exports" in s.traits and s.defaults
    ]
    folder = assets.locate("onnx-light")
    if folder is not None:
        for name, words in _ONNX.items():
            if (folder / name).is_file():
                found.append(Example(words, "real", partial(_copy, folder / name), verbs=("estimate",)))
    return found


def _copy(source: Path, folder: Path) -> Path:
    import shutil

    return Path(shutil.copyfile(source, folder / source.name))


# ----------------------------------------------------------------------------------------------------- the page


def page(context: PageContext) -> None:
    """Sliders first, then a tab a verb."""
    import gradio as gr

    with gr.Tabs():
        with gr.Tab("Explore"):
            _explore(context)
        with gr.Tab("Estimate"):
            tab = context.tab("estimate", ("batch", "hardware", "precision", "context", "shape"))
            _look_closer(context, tab)
        with gr.Tab("Sweep"):
            context.tab("sweep", ("over", "part", "batches", "factors", "convention"))
        with gr.Tab("Compare"):
            _compare(context)
        with gr.Tab("Calibrate"):
            _calibrate(context)
        with gr.Tab("Write a page"):
            written = context.tab("page", ("batch", "hardware", "precision"))
            written.left.run.value = "Write a page"
            written.right.head.value = _placeholder(
                "Press Write a page: one HTML file with sliders, that computes by itself, appears here."
            )
    gr.HTML(f'<p class="fs-soft">{escape(METHOD)}</p>', elem_classes="fs-html")


_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}


@dataclasses.dataclass(frozen=True)
class Form:
    """The components of the sliders, in the order in which their values come back."""

    network: Any
    file: Any
    shape: Any
    convention: Any
    hardware: Any
    precision: Any
    batch: Any
    context: Any
    pj_per_bit: Any
    pj_per_mac: Any
    w_bits: Any
    a_bits: Any
    kv_bits: Any
    scale_weight: Any
    scale_mac: Any
    scale_activation: Any
    scale_kv: Any

    def all(self) -> list[Any]:
        """The components."""
        return [getattr(self, f.name) for f in dataclasses.fields(self)]


def _explore(context: PageContext) -> None:
    import gradio as gr

    from fieldsight.studio.frame import on_visit

    start = _now(FIRST, EnergyConfig())
    with gr.Row(elem_classes="fs-halves"):
        with gr.Column(scale=5, min_width=300, elem_classes="fs-left"):
            small = gr.HTML(now_html(start), elem_classes="fs-html fs-now fs-narrow")
            form = _form(context, start)
        with gr.Column(scale=8, min_width=300, elem_classes="fs-right"):
            large = gr.HTML(now_html(start), elem_classes="fs-html fs-now fs-wide")
            head = gr.HTML(head_html(start), elem_classes="fs-html")
            plot = gr.HTML(plots_html(start), elem_classes="fs-html fs-svg")
            with gr.Accordion("Layers", open=False):
                layers = gr.HTML(layers_html(start), elem_classes="fs-html fs-svg")
            with gr.Row():
                write = gr.Button("Write report and files", size="sm")
            files = gr.HTML("", elem_classes="fs-html")
    shown = [small, large, head, plot, layers]
    moved = [form.pj_per_bit, form.pj_per_mac, form.w_bits, form.a_bits, form.kv_bits, form.context, form.scale_kv]

    def show(*values: Any) -> list[Any]:
        try:
            c = _now(*_settings(context, values))
        except FieldsightError as error:
            return ["", "", _error(context, error, values), "", ""]
        return [now_html(c), now_html(c), head_html(c), plots_html(c), layers_html(c)]

    def begin(*values: Any) -> list[Any]:
        """Another network, profile or format: its own constants on the sliders, then the picture."""
        plain = list(values[:6])
        try:
            network, settings = _settings(context, (*plain, values[6], *[None] * 6, *values[13:]))
            c = _now(network, settings)
        except FieldsightError as error:
            return [*[gr.skip()] * len(moved), "", "", _error(context, error, values), "", ""]
        return [*_own(c), now_html(c), now_html(c), head_html(c), plots_html(c), layers_html(c)]

    def save(request: Any, *values: Any) -> str:
        return _write(context, values, f"{request.session_hash} explore")

    save.__annotations__["request"] = gr.Request
    for component in (form.network, form.file, form.hardware, form.precision):
        component.change(begin, form.all(), [*moved, *shown], **_QUIET)
    form.shape.submit(begin, form.all(), [*moved, *shown], **_QUIET)
    for component in form.all()[3:]:
        if component not in (form.hardware, form.precision):
            component.input(show, form.all(), shown, **_QUIET)
    write.click(save, form.all(), files, api_visibility="private", concurrency_id="work")
    on_visit(begin, form.all(), [*moved, *shown], **_QUIET)


def _form(context: PageContext, start: Charged) -> Form:
    import gradio as gr

    from fieldsight.studio.fields import caption

    named = [(f"{e.label} ({e.value})", e.value) for e in examples() if e.value]
    network = gr.Dropdown(named, value=FIRST, label="Network")
    caption("Or upload", "an ONNX file, a config.json or a CSV of layers")
    file = gr.File(show_label=False, file_types=list(networks.SUFFIXES), height=150, elem_classes="fs-drop")
    shape = gr.Textbox(
        label="Input shape", info="Where the file leaves it open; then press Enter", placeholder="1,3,224,224", lines=1
    )
    convention = gr.Radio(
        list(CONVENTIONS), value="exact", label="Charged", info="True counts, or what the paper charges"
    )
    with gr.Row():
        hardware = gr.Dropdown(list(get_args(Profile)), value="paper-45nm-lpddr5", label="Profile", min_width=140)
        precision = gr.Dropdown(list(get_args(Format)), value="auto", label="Number format", min_width=120)
    batch = gr.Slider(1, 128, value=1, step=1, label="Batch")
    tokens = gr.Slider(1, _CONTEXT, value=_CONTEXT, step=1, label="Context, tokens", visible=False)
    bit = gr.Slider(0, 12, value=4.5, step=0.05, label="Memory [pJ per bit]")
    mac = gr.Slider(0, 6, value=0.23, step=0.01, label="MAC [pJ]")
    with gr.Accordion("Bits", open=False):
        bits = [gr.Slider(1, 32, value=8, step=1, label=f"Bits of {words}") for words in ("a weight", "an activation")]
        bits.append(gr.Slider(1, 32, value=8, step=1, label="Bits of a cached value", visible=False))
    scales = []
    with gr.Accordion("What if a part cost less", open=True):
        for words in ("Weights", "MACs", "Activations", "KV cache"):
            slider = gr.Slider(0, 1, value=1, step=1 / 16, label=f"{words} ×", visible="KV" not in words)
            scales.append(slider)
    return Form(network, file, shape, convention, hardware, precision, batch, tokens, bit, mac, *bits, *scales)


def _own(c: Charged) -> list[Any]:
    """What the sliders stand on for a network, profile and format."""
    import gradio as gr

    return [gr.update(**changes) for changes in at_rest(c).values()]


def at_rest(c: Charged) -> dict[str, dict[str, Any]]:
    """The sliders that follow a network, profile and format: by name, what changes in each."""
    from fieldsight.profile.hardware import BITS

    profile = load_hardware(c.settings.hardware)
    width = BITS[c.precision]
    cached = c.network.counts.kv > 0
    shape = c.network.decoder
    limit = _CONTEXT if shape is None else shape.context if shape.positions else max(8192, shape.context)
    return {
        "pj_per_bit": {"value": profile.dram.pj_per_bit.value},
        "pj_per_mac": {"value": round(profile.mac_pj(c.precision), 4), "interactive": profile.in_memory is None},
        "w_bits": {"value": width},
        "a_bits": {"value": width},
        "kv_bits": {"value": width, "visible": cached},
        "context": {"value": shape.context if shape else _CONTEXT, "maximum": limit, "visible": shape is not None},
        "scale_kv": {"visible": cached},
    }


def _settings(context: PageContext, values: Sequence[Any]) -> tuple[str | Path, EnergyConfig]:
    """What the sliders say: the network by name or as an uploaded file, and the settings.

    Raises:
        ConfigError: a name that is not on offer, or settings that can't be.
        DataError: a file that was not uploaded.
    """
    from fieldsight.studio.guard import uploaded

    form = dict(zip((f.name for f in dataclasses.fields(Form)), values, strict=True))
    network: str | Path = str(form["network"] or FIRST)
    offered = [e.value for e in examples() if e.value]
    if form["file"]:
        network = uploaded(form["file"], context.uploads)
    elif network not in offered:
        raise ConfigError(unknown("network", str(network), offered))
    changes = {k: form[k] for k in ("convention", "hardware", "precision", "batch") if form[k] is not None}
    changes |= {
        k: form[k] for k in ("scale_weight", "scale_mac", "scale_activation", "scale_kv") if form[k] is not None
    }
    if form["shape"]:
        changes["shape"] = str(form["shape"])
    settings = EnergyConfig.parse(changes)
    one = _read(network, settings)
    profile = load_hardware(settings.hardware)
    precision = one.precision if settings.precision == "auto" else settings.precision
    from fieldsight.profile.hardware import BITS

    usual = {
        "pj_per_bit": profile.dram.pj_per_bit.value,
        "pj_per_mac": None if profile.in_memory else round(profile.mac_pj(precision), 4),
        "context": one.decoder.context if one.decoder else None,
        **dict.fromkeys(("w_bits", "a_bits", "kv_bits"), BITS[precision]),
    }
    moved = {k: form[k] for k, v in usual.items() if form[k] is not None and v is not None and form[k] != v}
    if "context" in moved:
        moved["context"] = int(moved["context"])
    return network, settings.replace(**moved)


def _now(network: str | Path, settings: EnergyConfig) -> Charged:
    """The estimate, without the draws of sensitivity."""
    return charge(_read(network, settings), settings.replace(draws=0))


def _read(network: str | Path, settings: EnergyConfig) -> Network:
    stamp = network.stat().st_mtime if isinstance(network, Path) else 0.0
    plain = EnergyConfig(shape=settings.shape, context=settings.context)
    return _counted(network, stamp, plain)


@functools.lru_cache(maxsize=32)
def _counted(network: str | Path, stamp: float, settings: EnergyConfig) -> Network:
    return networks.read(network, settings)


def _error(context: PageContext, error: FieldsightError, values: Sequence[Any]) -> str:
    from fieldsight.studio import render
    from fieldsight.studio.results import clean

    names = {str(v): Path(str(v)).name for v in values[1:2] if v} | {str(context.scratch): "the Studio's folder"}
    return render.message(clean(str(error), names), "error", "This did not work.")


def now_html(c: Charged) -> str:
    """The number: it stays in sight while the sliders move, on a narrow window above them."""
    return f'<p class="fs-run">{escape(joules(c.chosen.per_sample))} per {escape(c.chosen.unit)}</p>'


def head_html(c: Charged) -> str:
    """What the number rests on, and the few facts one reads first."""
    from fieldsight.studio import render

    one = c.chosen
    told = "".join(render.message(f"{w}.", "warning") for w in warnings(c))
    about = f"{c.network.title}; {c.hardware.title}; {c.precision}, batch {one.batch}"
    if c.network.decoder is not None:
        about += f", context {c.settings.context or c.network.decoder.context:,}"
    return f'{told}<p class="fs-soft">{escape(about)}</p>{render.facts(facts(c))}'


def plots_html(c: Charged) -> str:
    """Both conventions, the batches of the paper's figures, and groups of layers, as stacked bars."""
    both = bars([("exact counts", c.energies["exact"].parts), ("as the paper charges", c.energies["paper"].parts)])
    given = terms(c.network, c.settings)
    batches = sorted({1, 4, 8, 16, c.settings.batch})
    stacked = [
        (f"batch {b}", energy(c.network.counts, c.hardware, b, convention=c.settings.convention, **given).parts)
        for b in batches
    ]
    upright = columns(stacked, c.base[c.settings.convention], title="energy by batch")
    groups = [(g, parts) for g, parts in group_joules(c).items() if sum(parts.values()) > 0]
    notes = "".join(f"<li>{escape(n)}</li>" for n in c.notes)
    return (
        f"{both}<h3>By batch, unscaled batch 1 = 1</h3>{upright}<h3>Where the joules go (exact counts)</h3>"
        f"{bars(groups)}" + (f'<ul class="fs-notes">{notes}</ul>' if notes else "")
    )


def layers_html(c: Charged) -> str:
    """Every layer as an area, and as a row."""
    from fieldsight.studio import render

    areas = treemap([(x.name, parts) for x, parts in zip(c.network.counts.layers, c.layers, strict=True)])
    return areas + render.table(layer_table(c), most=300)


def _write(context: PageContext, values: Sequence[Any], who: str) -> str:
    """Run the same estimate as a verb, so that its files can be downloaded."""
    from fieldsight.studio import render, same

    try:
        network, settings = _settings(context, values)
        default = EnergyConfig().to_dict()
        changes = {k: v for k, v in settings.to_dict().items() if v != default[k]}
        call = Call(context.spec.main, (network,), changes=changes)
        shown = context.perform(call, who)
    except FieldsightError as error:
        return _error(context, error, values)
    lines = f"<pre>{escape(same.command(context.spec, call, None))}</pre>"
    return render.downloads(shown.key, shown.files, shown.folder) + lines


def _look_closer(context: PageContext, tab: Any) -> None:
    """Treemap and layers under the drawing of the generated tab."""
    import gradio as gr

    from fieldsight.systems.energy.predict import EnergyEstimate

    with tab.right.below:
        more = gr.HTML("", elem_classes="fs-html fs-svg")

    def opened(key: str, number: Any) -> str:
        shown = context.shelf.get(key)
        if shown is None or not isinstance(number, int) or not 0 <= number < len(shown.views):
            return ""
        found = shown.views[number].prediction
        if not isinstance(found, EnergyEstimate):
            return ""
        c = found.charged
        return treemap([(x.name, parts) for x, parts in zip(c.network.counts.layers, c.layers, strict=True)])

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    tab.right.key.change(opened, [tab.right.key, tab.right.which], more, **quiet)
    tab.right.which.input(opened, [tab.right.key, tab.right.which], more, **quiet)


# -------------------------------------------------------------------------------------- compare and calibrate


def _compare(context: PageContext) -> None:
    import gradio as gr

    from fieldsight.studio.fields import caption

    named = [(f"{e.label} ({e.value})", e.value) for e in examples() if e.value]
    with gr.Row(elem_classes="fs-halves"):
        with gr.Column(scale=5, min_width=300, elem_classes="fs-left"):
            chosen = gr.Dropdown(
                named, value=["resnet18", "gpt3-small", "llama-7b"], multiselect=True, label="Networks"
            )
            caption("And uploads", "ONNX files, config.json, CSV of layers")
            files = gr.File(
                show_label=False, file_count="multiple", height=150, file_types=list(networks.SUFFIXES),
                elem_classes="fs-drop",
            )  # fmt: skip
            convention = gr.Radio(
                list(CONVENTIONS), value="exact", label="Charged", info="True counts, or what the paper charges"
            )
            batch = gr.Slider(1, 128, value=1, step=1, label="Batch of the table")
            run = gr.Button("Compare", variant="primary", size="lg", elem_id="energy-compare-run")
        with gr.Column(scale=8, min_width=300, elem_classes="fs-right", elem_id="energy-compare-result"):
            result = gr.HTML(
                _placeholder("Choose networks, then press Compare. The result appears here."),
                elem_classes="fs-html fs-svg",
            )

    def go(request: Any, names: Any, uploads: Any, way: str, size: float) -> str:
        try:
            subject = _subject(context, names, uploads)
            changes = {k: v for k, v in (("convention", way), ("batch", int(size))) if v not in ("exact", 1)}
            call = Call(context.spec.verb("compare"), subject, changes=changes)
            return _shown(context, context.perform(call, f"{request.session_hash} compare"))
        except FieldsightError as error:
            return _error(context, error, ["", *(uploads or [])])

    go.__annotations__["request"] = gr.Request
    run.click(go, [chosen, files, convention, batch], result, api_visibility="private", concurrency_id="work")


def _subject(context: PageContext, names: Any, files: Any) -> tuple[Any, ...]:
    from fieldsight.studio.form import inputs_of

    verb = context.spec.verb("compare")
    given = {context.spec.inputs[0].name: [*(names or []), *(files or [])]}
    subject, _ = inputs_of(context.spec, verb, given, context.uploads, context.names(verb))
    if not subject:
        raise ConfigError("Choose one network or more.")
    return subject


def _calibrate(context: PageContext) -> None:
    import gradio as gr

    from fieldsight.studio.fields import caption

    words = (
        "A table with the columns model, batch, joules, seconds, and for networks that are not built in weights, macs "
        "and kv per sample; rows of the model idle need joules and seconds only"
    )
    with gr.Row(elem_classes="fs-halves"):
        with gr.Column(scale=5, min_width=300, elem_classes="fs-left"):
            caption("Measurements", f"{words} (.csv)")
            file = gr.File(show_label=False, file_types=[".csv"], height=150, elem_classes="fs-drop")
            caption("Or try this")
            with gr.Row(elem_classes="fs-examples"):
                drawn = gr.Button("Readings of a power meter (drawn)", size="sm")
            name = gr.Textbox(label="Name of the profile", value="measured", lines=1)
            precision = gr.Dropdown(list(get_args(Format))[1:], value="fp32", label="Number format that was measured")
            run = gr.Button("Calibrate", variant="primary", size="lg", elem_id="energy-calibrate-run")
        with gr.Column(scale=8, min_width=300, elem_classes="fs-right", elem_id="energy-calibrate-result"):
            result = gr.HTML(
                _placeholder("Upload measurements, then press Calibrate. The result appears here."),
                elem_classes="fs-html fs-svg",
            )

    def go(request: Any, path: Any, title: str, kind: str) -> str:
        from fieldsight.studio.guard import uploaded

        try:
            if not path:
                raise ConfigError("Give measurements: a CSV file.")
            changes = {
                k: v for k, v in (("name", title or "measured"), ("precision", kind)) if v not in ("measured", "fp32")
            }
            call = Call(context.spec.verb("calibrate"), (uploaded(path, context.uploads),), changes=changes)
            return _shown(context, context.perform(call, f"{request.session_hash} calibrate"))
        except FieldsightError as error:
            return _error(context, error, ["", path])

    def draw() -> str:
        from fieldsight.systems.energy.fit import MEASURED
        from fieldsight.systems.energy.options import MakeDataOptions
        from fieldsight.systems.energy.standin import make_data

        folder = context.uploads / "drawn-measurements"
        make_data(folder, MakeDataOptions())
        return str(folder / MEASURED)

    go.__annotations__["request"] = gr.Request
    context.endpoint("calibrate", (Input("measurements", "table", f"CSV. {words}", (".csv",)),))
    inputs = [file, name, precision]
    run.click(go, inputs, result, api_visibility="private", concurrency_id="work")
    drawn.click(draw, None, file, api_visibility="private").then(go, inputs, result, api_visibility="private")


def _shown(context: PageContext, shown: Any) -> str:
    """Tables, picture and files of a result as HTML."""
    from fieldsight.report.plots import svg
    from fieldsight.studio import render
    from fieldsight.systems.energy.compare import Comparison
    from fieldsight.systems.energy.fit import Calibration

    found = shown.views[0].prediction
    parts = [render.message(w, "warning") for w in shown.views[0].warnings]
    if isinstance(found, Comparison):
        parts += [render.message(f"Skipped {s}", "warning") for s in found.skipped]
        each = [
            (r.charged.network.name, {p: v / r.charged.chosen.batch for p, v in r.charged.chosen.parts.items()})
            for r in found.networks
        ]
        parts += ["<h3>Energy per sample</h3>", bars(each), "<h3>The same, each as a whole</h3>", bars(each, even=True)]
        parts.append(render.table(found.table()))
        parts += [svg(figure) for figure in found.figures().values()]
    elif isinstance(found, Calibration):
        parts += [render.table(found.constants()), svg(found.figure()), render.table(found.residuals())]
    parts.append(render.downloads(shown.key, shown.files, shown.folder))
    return "".join(parts)


def _placeholder(words: str) -> str:
    from fieldsight.studio import render

    return render.placeholder(words)


# ------------------------------------------------------------------------------------------------------ the tour


def gallery_picture() -> Picture:
    """The picture in the gallery, 540 x 360: ResNet-18 and Llama-7B by batch, stacked as in the paper."""
    from fieldsight.report.plots import figure, pixels
    from fieldsight.systems.energy.plots import BATCHES, stack

    drawn, axes = figure(5.0, 3.2, 2)
    for ax, name in zip(axes, ("resnet18", "llama-7b"), strict=True):
        c = _now(name, EnergyConfig())
        given = terms(c.network, c.settings)
        found = [energy(c.network.counts, c.hardware, b, **given).parts for b in BATCHES]
        heights = {part: [one[part] / c.base["exact"] for one in found] for part in PARTS}
        stack(ax, [str(b) for b in BATCHES], heights, "")
        ax.set_title(name, fontsize=11, loc="left")
        ax.set_xlabel("batch")
    return np.pad(pixels(drawn, dpi=100), ((20, 20), (20, 20), (0, 0)), constant_values=255)


def demo(section: Section) -> None:
    """Add a short demonstration to the tour: the light ONNX networks where they are here, else the built-in ones."""
    import fieldsight
    from fieldsight.systems.energy.reproduce import reproduce

    folder = assets.locate("onnx-light")
    chosen: Sequence[Any] = sorted(folder.glob("light_*.onnx")) if folder is not None else data.names()
    where = "nine classical networks as ONNX files of the package onnx" if folder is not None else "built-in networks"
    section.text(f"Input: {where}, INT8, batch 1, 45 nm logic and LPDDR5 (the paper's constants), true counts.")
    found = fieldsight.load("energy").compare([str(c) for c in chosen])
    each: list[tuple[str, Mapping[str, float]]] = [
        (r.charged.network.name.removeprefix("light_"), r.charged.chosen.parts) for r in found.networks
    ]
    section.plot(bars(each), "energy of one inference, a lower bound: devices take 10 to 100 times as much")
    section.table(found.table())
    again = reproduce()
    section.facts({k: v for k, v in again.facts.items() if "Table 2" in k or "Figure 10" in k or "MAC = weight" in k})
    section.text(
        f"The paper computed again, with {len(again.findings)} errors and gaps named: fieldsight energy reproduce"
    )
