"""YOLOv8 and YOLOv10 as tables of layers, in six scales.

Written from the published architectures: YOLOv8's layer table and YOLOv10's paper (Wang et al., arXiv 2405.14458).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, nn

from fieldsight.errors import ConfigError, unknown
from fieldsight.nn.detection.blocks import PSA, SPPF, Concat, Conv, SCDown, Upsample, c2f, c2f_cib
from fieldsight.nn.detection.decode import Deployed, Raw
from fieldsight.nn.detection.heads import Detect, DualDetect

#: Depth, width and the most channels before the width is applied. ``p`` is ours, for training on a CPU.
SCALES: dict[str, tuple[float, float, int]] = {
    "p": (0.33, 0.125, 1024),
    "n": (0.33, 0.25, 1024),
    "s": (0.33, 0.50, 1024),
    "m": (0.67, 0.75, 768),
    "l": (1.00, 1.00, 512),
    "x": (1.00, 1.25, 512),
}
HEADS: dict[str, type[Detect]] = {"v8": Detect, "v10": DualDetect}
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Row:
    """A layer of a table: block, channels and repeats before scaling, sources (-1 is the layer before)."""

    block: str
    channels: int = 0
    repeats: int = 1
    sources: tuple[int, ...] = (-1,)


_STEM = (Row("conv", 64), Row("conv", 128), Row("c2f+", 128, 3), Row("conv", 256), Row("c2f+", 256, 6))

#: YOLOv8; its head reads layers 15, 18 and 21. ``c2f+`` adds the input in its bottlenecks, ``c2f`` does not.
_V8 = (
    *_STEM,
    Row("conv", 512), Row("c2f+", 512, 6), Row("conv", 1024), Row("c2f+", 1024, 3), Row("sppf", 1024),
    Row("up"), Row("cat", sources=(-1, 6)), Row("c2f", 512, 3),
    Row("up"), Row("cat", sources=(-1, 4)), Row("c2f", 256, 3),
    Row("conv", 256), Row("cat", sources=(-1, 12)), Row("c2f", 512, 3),
    Row("conv", 512), Row("cat", sources=(-1, 9)), Row("c2f", 1024, 3),
)  # fmt: skip

#: YOLOv10-N; its head reads layers 16, 19 and 22.
_V10 = (
    *_STEM,
    Row("scdown", 512), Row("c2f+", 512, 6), Row("scdown", 1024), Row("c2f+", 1024, 3), Row("sppf", 1024), Row("psa"),
    Row("up"), Row("cat", sources=(-1, 6)), Row("c2f", 512, 3),
    Row("up"), Row("cat", sources=(-1, 4)), Row("c2f", 256, 3),
    Row("conv", 256), Row("cat", sources=(-1, 13)), Row("c2f", 512, 3),
    Row("scdown", 512), Row("cat", sources=(-1, 10)), Row("c2f", 1024, 3),
)  # fmt: skip

#: Layers of YOLOv10 that are C2f of compact inverted blocks; only the small scales give these a 7x7 kernel.
_CIB = {"n": (22,), "s": (8, 22), "m": (8, 19, 22), "l": (8, 13, 19, 22), "x": (6, 8, 13, 19, 22)}
_LARGE = ("p", "n", "s")


def _table(body: str, scale: str) -> tuple[tuple[Row, ...], tuple[int, int, int]]:
    """Rows, and the layers that the head reads."""
    if body == "v8":
        return _V8, (15, 18, 21)
    block = "cib7" if scale in _LARGE else "cib"
    compact = _CIB.get(scale, _CIB["n"])
    rows = (replace(row, block=block) if number in compact else row for number, row in enumerate(_V10))
    return tuple(rows), (16, 19, 22)


class Yolo(nn.Module):
    """A body of numbered layers and a head.

    Attributes:
        layers: all of them, numbered as in the published tables, the head last.
        sources: the layers each reads; -1 is the photo.
        taps: the layers the head reads: P3, P4, P5.
        widths: channels of each layer's output but the head's.
        strides: pixels of the input a cell of P3, P4, P5.
        scale, body, classes: what it was made from.
    """

    def __init__(self, scale: str, classes: int, head: str, body: str, prior_size: int) -> None:
        super().__init__()
        self.scale, self.body, self.classes, self.strides = scale, body, classes, STRIDES
        rows, self.taps = _table(body, scale)
        self.sources: list[tuple[int, ...]] = []
        self.widths: list[int] = []
        layers: list[nn.Module] = []
        for number, row in enumerate(rows):
            self.sources.append(tuple(number - 1 if s == -1 else s for s in row.sources))
            inputs = [self.widths[s] if s >= 0 else 3 for s in self.sources[-1]]
            layer, width = _layer(row, inputs, *SCALES[scale])
            layers.append(layer)
            self.widths.append(width)
        layers.append(HEADS[head]([self.widths[t] for t in self.taps], classes, STRIDES, prior_size))
        self.layers = nn.ModuleList(layers)
        self._last_use = {s: number for number, sources in enumerate(self.sources) for s in sources}

    @property
    def head(self) -> Detect:
        """The last layer."""
        return cast(Detect, self.layers[-1])

    @property
    def nms_free(self) -> bool:
        """Whether the deployed branch says each object once."""
        return self.head.nms_free

    def features(self, images: Tensor, layers: Sequence[int] | None = None) -> list[Tensor]:
        """Outputs of numbered layers of the body, by default those the head reads.

        Args:
            images: ``(N, 3, H, W)`` in 0-1, H and W multiples of 32.
            layers: their numbers, in the order wanted; 4, 6 and the last before the neck (9 in v8) are the backbone's.

        Returns:
            ``(N, widths[i], H / stride, W / stride)`` a layer.

        Raises:
            ConfigError: a number that no layer of the body has.
        """
        wanted = self.taps if layers is None else tuple(layers)
        if any(not 0 <= n < len(self.sources) for n in wanted):
            raise ConfigError(f"The body has layers 0 to {len(self.sources) - 1}; {list(wanted)} were asked for.")
        kept = {-1: images}
        for number in range(max(wanted, default=-1) + 1):
            sources = self.sources[number]
            kept[number] = self.layers[number](*(kept[s] for s in sources))
            for s in sources:  # what nobody reads any more is let go
                if self._last_use[s] == number and s not in wanted:
                    del kept[s]
        return [kept[n] for n in wanted]

    def forward(self, images: Tensor) -> list[Raw]:
        """``(N, 3, H, W)`` in 0-1, H and W multiples of 32, to the logits of the head's branches, deployed one last."""
        return self.head(self.features(images))

    def deployed(self) -> Deployed:
        """This network, sharing its weights, with decoding: ``(N, 3, H, W)`` to ``(N, 4 + nc, A)``."""
        return Deployed(self).train(self.training)

    def fuse(self) -> Yolo:
        """Fold all batch normalisations into their convolutions; a v10 head also drops its one-to-many branch.

        In place (``copy.deepcopy`` first to keep the original) and for evaluation; a fused network can't be trained
        on as before. Returns itself.
        """
        for module in list(self.modules()):
            # blocks that fuse their parts in a way of their own come before these parts, which are then done already
            fuse = getattr(module, "fuse", None)
            if callable(fuse) and module is not self:
                fuse()
        return self


def yolo(scale: str, classes: int, head: str = "v8", *, body: str | None = None, prior_size: int = 640) -> Yolo:
    """A detector with random weights.

    Parameters with one class: 912,731 (p), 3,011,043 (n), 11,135,987 (s). With 80: 3,157,200 (n), 11,166,560 (s),
    25,902,640 (m), 43,691,520 (l), 68,229,648 (x).

    Args:
        scale: ``p``, ``n``, ``s``, ``m``, ``l`` or ``x``; see :data:`SCALES`.
        classes: their number.
        head: ``v8`` (NMS afterwards) or ``v10`` (none needed).
        body: ``v8`` or ``v10``, by default the head's.
        prior_size: side of the photos for which the class biases expect five objects.

    Raises:
        ConfigError: a name that does not exist, fewer than one class.
    """
    problems = []
    if scale not in SCALES:
        problems.append(unknown("scale", scale, SCALES))
    for what, name in (("head", head), ("body", body if body is not None else head)):
        if name not in HEADS and not (what == "body" and body is None):
            problems.append(unknown(what, name, HEADS))
    if classes < 1:
        problems.append(f"A detector needs at least one class; got {classes}.")
    if prior_size < STRIDES[-1]:
        problems.append(f"prior_size is the side of a photo in pixels, at least {STRIDES[-1]}; got {prior_size}.")
    if problems:
        raise ConfigError(problems)
    return Yolo(scale, classes, head, body or head, prior_size)


def _layer(row: Row, inputs: Sequence[int], depth: float, width: float, most: int) -> tuple[nn.Module, int]:
    """A layer and the channels of its output: ``ceil8(min(channels, most) width)``, ``max(round(n depth), 1)``."""
    source = sum(inputs)
    channels = math.ceil(min(row.channels, most) * width / 8) * 8
    repeats = max(round(row.repeats * depth), 1)
    if row.block == "up":
        return Upsample(), source
    if row.block == "cat":
        return Concat(), source
    if row.block == "psa":
        return PSA(source), source
    if row.block == "conv":
        return Conv(source, channels, 3, 2), channels
    if row.block == "scdown":
        return SCDown(source, channels), channels
    if row.block == "sppf":
        return SPPF(source, channels), channels
    if row.block in ("cib", "cib7"):
        return c2f_cib(source, channels, repeats, shortcut=True, large=row.block == "cib7"), channels
    return c2f(source, channels, repeats, shortcut=row.block == "c2f+"), channels
