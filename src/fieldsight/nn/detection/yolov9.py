"""YOLOv9 (Wang, Yeh, Liao, arXiv 2402.13616): GELAN bodies with programmable gradient information, as layer tables.

Each size has an auxiliary branch of its own pyramid and head that only training uses. In ``c`` it is the reversible
branch: a second backbone that reads the photo again and the first one's features. In ``e`` the second backbone is the
main branch and stays at inference, and the pyramid of the first one is auxiliary. In ``t`` only a second pyramid is.
Layers are numbered as in the published tables, so that layer 0 of ``c`` and ``e`` is the photo itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fieldsight.errors import ConfigError, unknown
from fieldsight.nn.detection.assign import Targets
from fieldsight.nn.detection.blocks import Concat, Conv, Upsample
from fieldsight.nn.detection.blocks_gelan import AvgConv, AvgDown, CBFuse, CBLinear, Elan, SPPElan
from fieldsight.nn.detection.decode import BINS, Raw
from fieldsight.nn.detection.heads import Detect
from fieldsight.nn.detection.loss import Gains, detection_loss
from fieldsight.nn.detection.yolo import STRIDES, Yolo

#: Weight of the auxiliary branch's loss in the sum, as the authors train.
AUXILIARY = 0.25
GAINS = Gains()


@dataclass(frozen=True)
class Row:
    """A layer of a table: block, its channels before scaling (of CBFuse the parts it picks), sources (-1: before)."""

    block: str
    channels: tuple[int, ...] = ()
    sources: tuple[int, ...] = (-1,)


@dataclass(frozen=True)
class Table:
    """A size of YOLOv9.

    Attributes:
        rows: all layers but the head.
        auxiliary, main: the layers that the two branches of the head read, finest first.
        repeats: bottlenecks in each RepCSP.
        width: factor of all channels.
    """

    rows: tuple[Row, ...]
    auxiliary: tuple[int, int, int]
    main: tuple[int, int, int]
    repeats: int
    width: float = 1.0


def _up(width: int, inner: int, beside: int) -> tuple[Row, ...]:
    """Twice the size, a map of the backbone beside it, a block."""
    return Row("up"), Row("cat", sources=(-1, beside)), Row("elan", (width, width, inner))


def _down(block: str, entry: int, elan: tuple[int, int, int], beside: int) -> tuple[Row, ...]:
    """Half the size, a map of the way up beside it, a block."""
    return Row(block, (entry,)), Row("cat", sources=(-1, beside)), Row("elan", elan)


_T = (
    Row("conv", (16,)), Row("conv", (32,)), Row("elan1", (32, 32, 16)),
    Row("avgconv", (64,)), Row("elan", (64, 64, 32)), Row("avgconv", (96,)), Row("elan", (96, 96, 48)),
    Row("avgconv", (128,)), Row("elan", (128, 128, 64)),
    Row("spp", (128, 64)), *_up(96, 48, 6), *_up(64, 32, 4),  # 9, 12, 15
    *_down("avgconv", 48, (96, 96, 48), 12), *_down("avgconv", 64, (128, 128, 64), 9),  # 18, 21
    Row("spp", (128, 64), (8,)), *_up(96, 48, 6), *_up(64, 32, 4),  # auxiliary: 22, 25, 28
)  # fmt: skip

_C = (
    Row("input"), Row("conv", (64,)), Row("conv", (128,)), Row("elan", (256, 128, 64)),
    Row("avgdown", (256,)), Row("elan", (512, 256, 128)), Row("avgdown", (512,)), Row("elan", (512, 512, 256)),
    Row("avgdown", (512,)), Row("elan", (512, 512, 256)),  # 9
    Row("spp", (512, 256)), *_up(512, 256, 7), *_up(256, 128, 5),  # 10, 13, 16
    *_down("avgdown", 256, (512, 512, 256), 13), *_down("avgdown", 512, (512, 512, 256), 10),  # 19, 22
    # auxiliary, reversible
    Row("cblinear", (256,), (5,)), Row("cblinear", (256, 512), (7,)), Row("cblinear", (256, 512, 512), (9,)),
    Row("conv", (64,), (0,)), Row("conv", (128,)), Row("elan", (256, 128, 64)),  # 28
    Row("avgdown", (256,)), Row("cbfuse", (0, 0, 0), (23, 24, 25, -1)), Row("elan", (512, 256, 128)),  # 31
    Row("avgdown", (512,)), Row("cbfuse", (1, 1), (24, 25, -1)), Row("elan", (512, 512, 256)),  # 34
    Row("avgdown", (512,)), Row("cbfuse", (2,), (25, -1)), Row("elan", (512, 512, 256)),  # 37
)  # fmt: skip

_E = (
    Row("input"), Row("conv", (64,)), Row("conv", (128,)), Row("elan", (256, 128, 64)),
    Row("avgdown", (256,)), Row("elan", (512, 256, 128)), Row("avgdown", (512,)), Row("elan", (1024, 512, 256)),
    Row("avgdown", (1024,)), Row("elan", (1024, 512, 256)),  # 9
    Row("cblinear", (64,), (1,)), Row("cblinear", (64, 128), (3,)), Row("cblinear", (64, 128, 256), (5,)),
    Row("cblinear", (64, 128, 256, 512), (7,)), Row("cblinear", (64, 128, 256, 512, 1024), (9,)),  # 14
    # the second backbone, which the first one's features enter at each size
    Row("conv", (64,), (0,)), Row("cbfuse", (0, 0, 0, 0, 0), (10, 11, 12, 13, 14, -1)),
    Row("conv", (128,)), Row("cbfuse", (1, 1, 1, 1), (11, 12, 13, 14, -1)), Row("elan", (256, 128, 64)),  # 19
    Row("avgdown", (256,)), Row("cbfuse", (2, 2, 2), (12, 13, 14, -1)), Row("elan", (512, 256, 128)),  # 22
    Row("avgdown", (512,)), Row("cbfuse", (3, 3), (13, 14, -1)), Row("elan", (1024, 512, 256)),  # 25
    Row("avgdown", (1024,)), Row("cbfuse", (4,), (14, -1)), Row("elan", (1024, 512, 256)),  # 28
    Row("spp", (512, 256), (9,)), *_up(512, 256, 7), *_up(256, 128, 5),  # auxiliary: 29, 32, 35
    Row("spp", (512, 256), (28,)), *_up(512, 256, 25), *_up(256, 128, 22),  # 36, 39, 42
    *_down("avgdown", 256, (512, 512, 256), 39), *_down("avgdown", 512, (512, 1024, 512), 36),  # 45, 48
)  # fmt: skip

#: The sizes. ``p`` is ours, for training on a CPU: ``e``'s wiring at an eighth of its width.
TABLES: dict[str, Table] = {
    "p": Table(_E, (35, 32, 29), (42, 45, 48), 1, 0.125),
    "t": Table(_T, (28, 25, 22), (15, 18, 21), 3),
    "c": Table(_C, (31, 34, 37), (16, 19, 22), 1),
    "e": Table(_E, (35, 32, 29), (42, 45, 48), 2),
}


class GroupedDetect(Detect):
    """YOLOv9's head: as :class:`Detect`, each side of the box in a group of channels of its own, wider class branches.

    Attributes:
        box: per level a 3x3 Conv, a 3x3 Conv in 4 groups and a 1x1 convolution in 4 groups to ``4 * 16`` logits.
        cls: of ``max(P3, min(2 nc, 128))`` channels.
    """

    def __init__(self, channels: Sequence[int], classes: int, strides: Sequence[int], prior_size: int = 640) -> None:
        super().__init__(channels, classes, strides, prior_size)
        width = max(16, channels[0] // 4, 4 * BINS)
        self.box = nn.ModuleList(
            nn.Sequential(Conv(c, width, 3), Conv(width, width, 3, groups=4), nn.Conv2d(width, 4 * BINS, 1, groups=4))
            for c in channels
        )
        self._start_biases(prior_size)  # the new box branches'

    def _class_branch(self, inputs: int, width: int) -> nn.Sequential:
        # ``width`` is max(P3, min(nc, 100)), never more than what is wanted
        return super()._class_branch(inputs, max(width, min(2 * self.classes, 128)))


class AuxiliaryDetect(GroupedDetect):
    """Two heads trained together; the auxiliary one is never deployed.

    Attributes:
        aux_box, aux_cls, aux_bins: the auxiliary head, as ``box``, ``cls`` and ``bins``; empty once fused.
    """

    positives: tuple[int, ...] = (10, 10)

    def __init__(
        self,
        channels: Sequence[int],
        auxiliary: Sequence[int],
        classes: int,
        strides: Sequence[int],
        prior_size: int = 640,
    ) -> None:
        super().__init__(channels, classes, strides, prior_size)
        other = GroupedDetect(auxiliary, classes, strides, prior_size)
        self.aux_box, self.aux_cls = other.box, other.cls
        self.aux_bins: nn.Parameter | None = other.bins

    def forward(self, maps: Sequence[Tensor]) -> list[Raw]:
        """See :meth:`Detect.forward`; of six maps, the first three are the auxiliary branch's."""
        main = self._branch(maps[-len(self.strides) :], self.box, self.cls)
        if len(maps) == len(self.strides):
            return [main]
        assert self.aux_bins is not None
        aux = self._branch(maps[: len(self.strides)], self.aux_box, self.aux_cls)
        return [aux._replace(bins=self.aux_bins.flatten()), main]

    def fuse(self) -> None:
        """Drop the auxiliary head, which only training needs."""
        self.aux_box, self.aux_cls, self.aux_bins = nn.ModuleList(), nn.ModuleList(), None
        self.positives = self.positives[-1:]


class Yolov9(Yolo):
    """A body of numbered layers with an auxiliary branch, and a head of two parts.

    In training a forward gives the auxiliary and the main branch, in evaluation the main branch alone, and layers
    that only the auxiliary branch needs are not computed.

    Attributes:
        aux_taps: the layers that the auxiliary head reads; none once fused.
    """

    def __init__(self, scale: str, classes: int, prior_size: int) -> None:
        nn.Module.__init__(self)  # Yolo's builds YOLOv8's and YOLOv10's tables
        table = TABLES[scale]
        self.scale, self.body, self.classes, self.strides = scale, "v9", classes, STRIDES
        self.taps: tuple[int, int, int] = table.main
        self.aux_taps: tuple[int, ...] = table.auxiliary
        self.sources: list[tuple[int, ...]] = []
        self.widths: list[int] = []
        layers: list[nn.Module] = []
        for number, row in enumerate(table.rows):
            self.sources.append(tuple(number - 1 if s == -1 else s for s in row.sources))
            inputs = [self.widths[s] if s >= 0 else 3 for s in self.sources[-1]]
            layer, width = _layer(row, inputs, table)
            layers.append(layer)
            self.widths.append(width)
        main, aux = ([self.widths[t] for t in taps] for taps in (self.taps, self.aux_taps))
        layers.append(AuxiliaryDetect(main, aux, classes, STRIDES, prior_size))
        self.layers = nn.ModuleList(layers)

    def features(self, images: Tensor, layers: Sequence[int] | None = None) -> list[Tensor]:
        """Outputs of numbered layers of the body, by default those that the main head reads.

        Args:
            images: ``(N, 3, H, W)`` in 0-1, H and W multiples of 32.
            layers: their numbers, in the order wanted; not those of a CBLinear, which gives several maps.

        Returns:
            ``(N, widths[i], H / stride, W / stride)`` a layer.

        Raises:
            ConfigError: a number that no layer of the body has, or a CBLinear's.
        """
        wanted = self.taps if layers is None else tuple(layers)
        if any(not 0 <= n < len(self.sources) or isinstance(self.layers[n], CBLinear) for n in wanted):
            allowed = f"0 to {len(self.sources) - 1} without those that give several maps"
            raise ConfigError(f"The body has layers {allowed}; {list(wanted)} were asked for.")
        order = self._needed(wanted)
        last_use = {s: number for number in order for s in self.sources[number]}
        kept: dict[int, Any] = {-1: images}
        for number in order:
            kept[number] = self.layers[number](*(kept[s] for s in self.sources[number]))
            for s in set(self.sources[number]):  # what nobody reads any more is let go
                if last_use[s] == number and s not in wanted:
                    del kept[s]
        return [kept[n] for n in wanted]

    def forward(self, images: Tensor) -> list[Raw]:
        """``(N, 3, H, W)`` in 0-1, H and W multiples of 32, to the logits of the head's branches, deployed one last."""
        taps = (*self.aux_taps, *self.taps) if self.training else self.taps
        return self.head(self.features(images, taps))

    def loss(
        self,
        images: Tensor,
        targets: Targets,
        gains: Gains = GAINS,
        topk: int = 10,
        alpha: float = 0.5,
        beta: float = 6.0,
    ) -> dict[str, Tensor]:
        """Loss of the main branch plus 0.25 times that of the auxiliary one, each :func:`detection_loss`.

        Args:
            images: ``(N, 3, H, W)`` in 0-1.
            targets: boxes in pixels of the input, on the network's device.
            gains, topk, alpha, beta: as for :func:`detection_loss`, the same in both branches.

        Returns:
            Scalars: ``loss``, and the parts of :func:`detection_loss`, those of the auxiliary branch with ``aux_`` in
            front (in training only).

        Raises:
            DataError: as :func:`detection_loss`.
            ConfigError: as :func:`detection_loss`.
        """
        *aux, main = (detection_loss(raw, targets, gains, topk, alpha, beta) for raw in self(images))
        for parts in aux:
            main["loss"] = main["loss"] + AUXILIARY * parts.pop("loss")
            main.update({f"aux_{name}": value for name, value in parts.items()})
        return main

    def fuse(self) -> Yolov9:
        """Fold batch normalisations, merge each RepConv into one 3x3, drop the auxiliary branch.

        In place and for evaluation, as :meth:`Yolo.fuse`. Layers keep their numbers. Returns itself.
        """
        super().fuse()
        self.aux_taps = ()
        needed = set(self._needed(self.taps))
        for number in range(len(self.sources)):
            if number not in needed:
                self.layers[number] = nn.Identity()
        return self

    def _needed(self, wanted: Sequence[int]) -> list[int]:
        """The layers that some layers depend on, and they, in order."""
        found: set[int] = set()
        left = [n for n in wanted if n >= 0]
        while left:
            number = left.pop()
            if number not in found:
                found.add(number)
                left.extend(s for s in self.sources[number] if s >= 0)
        return sorted(found)


def yolov9(scale: str, classes: int, *, prior_size: int = 640) -> Yolov9:
    """A YOLOv9 with random weights.

    Args:
        scale: ``p`` (for a CPU), ``t``, ``c`` or ``e``; see :data:`TABLES`.
        classes: their number.
        prior_size: side of the photos for which the class biases expect five objects.

    Raises:
        ConfigError: a scale that does not exist, fewer than one class, a prior size below 32.
    """
    problems = [] if scale in TABLES else [unknown("scale of YOLOv9", scale, TABLES)]
    if classes < 1:
        problems.append(f"A detector needs at least one class; got {classes}.")
    if prior_size < STRIDES[-1]:
        problems.append(f"prior_size is the side of a photo in pixels, at least {STRIDES[-1]}; got {prior_size}.")
    if problems:
        raise ConfigError(problems)
    return Yolov9(scale, classes, prior_size)


def _layer(row: Row, inputs: Sequence[int], table: Table) -> tuple[nn.Module, int]:
    """A layer and the channels of its output (of a CBLinear: of all its parts)."""
    source = sum(inputs)
    if row.block == "input":
        return nn.Identity(), source
    if row.block == "up":
        return Upsample(), source
    if row.block == "cat":
        return Concat(), source
    if row.block == "cbfuse":
        return CBFuse(row.channels), inputs[-1]
    channels = [round(c * table.width) for c in row.channels]
    if row.block == "cblinear":
        return CBLinear(source, channels), sum(channels)
    if row.block == "conv":
        return Conv(source, channels[0], 3, 2), channels[0]
    if row.block == "avgconv":
        return AvgConv(source, channels[0]), channels[0]
    if row.block == "avgdown":
        return AvgDown(source, channels[0]), channels[0]
    if row.block == "spp":
        return SPPElan(source, channels[0], channels[1]), channels[0]
    outputs, width, inner = channels
    return Elan(source, outputs, width, inner, None if row.block == "elan1" else table.repeats), outputs
