"""Theme and style: light, calm, system fonts, the colours of the reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

INK, SOFT, LINE, TINT, KEY = "#1c2430", "#5b6776", "#dfe4ea", "#f5f7f9", "#0b6e99"

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

_VALUES = {
    "body_background_fill": "#ffffff",
    "body_text_color": INK,
    "body_text_color_subdued": SOFT,
    "background_fill_primary": "#ffffff",
    "background_fill_secondary": TINT,
    "block_background_fill": "#ffffff",
    "block_border_color": LINE,
    "block_border_width": "1px",
    "block_shadow": "none",
    "block_label_background_fill": "#ffffff",
    "block_label_text_color": SOFT,
    "block_label_text_weight": "500",
    "block_title_text_color": INK,
    "block_title_text_weight": "600",
    "block_title_text_size": "0.875rem",
    "block_info_text_color": SOFT,
    "block_info_text_size": "0.8rem",
    "input_background_fill": "#ffffff",
    "input_border_color": "#c5cdd6",
    "input_border_color_focus": KEY,
    "input_border_width": "1px",
    "input_shadow": "none",
    "input_shadow_focus": "0 0 0 3px #0b6e9922",
    "button_primary_background_fill": KEY,
    "button_primary_background_fill_hover": "#085272",
    "button_primary_text_color": "#ffffff",
    "button_secondary_background_fill": "#ffffff",
    "button_secondary_background_fill_hover": TINT,
    "button_secondary_border_color": "#c5cdd6",
    "button_secondary_text_color": INK,
    "button_border_width": "1px",
    "button_primary_border_color": KEY,
    "button_large_text_weight": "600",
    "button_small_text_weight": "500",
    "slider_color": KEY,
    "checkbox_background_color_selected": KEY,
    "checkbox_border_color": "#9aa5b1",
    "checkbox_label_background_fill": "#ffffff",
    "checkbox_label_background_fill_selected": "#eef6fa",
    "checkbox_label_border_color": "#c5cdd6",
    "link_text_color": KEY,
    "accordion_text_color": INK,
}


def theme() -> Any:
    """The Gradio theme; its dark half is its light half, so a dark desktop changes nothing."""
    import gradio as gr

    blue = gr.themes.Color(
        c50="#eef6fa", c100="#d8eaf2", c200="#b3d5e4", c300="#82b9d1", c400="#4a98b8", c500="#0b6e99", c600="#0a6289",
        c700="#085272", c800="#07425c", c900="#05334a", c950="#042536",
    )  # fmt: skip
    grey = gr.themes.Color(
        c50="#f8f9fb", c100="#f1f4f7", c200="#e4e8ed", c300="#d3d9e0", c400="#9aa5b1", c500="#6b7785", c600="#515d6b",
        c700="#3a4553", c800="#27303c", c900="#1c2430", c950="#12181f",
    )  # fmt: skip
    base = gr.themes.Base(
        primary_hue=blue,
        secondary_hue=blue,
        neutral_hue=grey,
        font=list(FONT),
        font_mono=list(MONO),
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
    )
    for name, value in _VALUES.items():
        if hasattr(base, name):  # names come and go between versions of Gradio
            setattr(base, name, value)
    for name in [n for n in dir(base) if n.endswith("_dark")]:
        light = name[: -len("_dark")]
        if hasattr(base, light):
            setattr(base, name, getattr(base, light))
    return base


def css() -> str:
    """The style sheet."""
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")
