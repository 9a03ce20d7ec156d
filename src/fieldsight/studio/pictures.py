"""Pictures on pages: before and after under a line that moves, and sizes that a page has room for."""

from __future__ import annotations

from typing import Any

import numpy as np

from fieldsight.data.images import resize
from fieldsight.predictions import Picture

#: Shorter pictures are enlarged by whole pixels until they have so many, larger ones shrunk to so many a side.
LEAST, MOST = 320, 1000


def before_after(name: str, position: float = 50, height: int = 640) -> Any:
    """An ``ImageSlider``: a pair of pictures of one size, left and right of a line that is moved.

    Args:
        name: ``elem_id``.
        position: where the line stands at first, per cent.
        height: most pixels.
    """
    import gradio as gr

    return gr.ImageSlider(
        show_label=False, interactive=False, type="numpy", format="png", max_height=height, slider_position=position,
        buttons=["fullscreen"], elem_id=name, elem_classes="fs-picture-out",
    )  # fmt: skip


def fitted(picture: Picture) -> Picture:
    """A picture for a page: small ones enlarged by whole pixels, large ones shrunk."""
    times = max(1, LEAST // max(picture.shape[:2]))
    return np.ascontiguousarray(resize(picture.repeat(times, axis=0).repeat(times, axis=1), MOST))
