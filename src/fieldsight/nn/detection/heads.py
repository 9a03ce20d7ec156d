"""Anchor-free heads: YOLOv8's Detect and YOLOv10's pair of branches that needs no NMS."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from fieldsight.nn.detection.blocks import Conv
from fieldsight.nn.detection.decode import BINS, Raw, anchors


def _box_branch(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(Conv(inputs, width, 3), Conv(width, width, 3), nn.Conv2d(width, 4 * BINS, 1))


def _class_branch(inputs: int, width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(Conv(inputs, width, 3), Conv(width, width, 3), nn.Conv2d(width, classes, 1))


def _light_class_branch(inputs: int, width: int, classes: int) -> nn.Sequential:
    """YOLOv10's: each 3x3 Conv becomes a depthwise 3x3 and a 1x1."""
    return nn.Sequential(
        nn.Sequential(Conv(inputs, inputs, 3, groups=inputs), Conv(inputs, width)),
        nn.Sequential(Conv(width, width, 3, groups=width), Conv(width, width)),
        nn.Conv2d(width, classes, 1),
    )


class Detect(nn.Module):
    """YOLOv8's head: per level a branch for the four distances and one for the classes; no objectness.

    Attributes:
        classes: their number, nc.
        strides: pixels of the input a cell, one a level.
        box: per level two 3x3 Convs of ``max(16, P3 / 4, 64)`` channels and a 1x1 convolution to ``4 * 16`` logits.
        cls: per level two 3x3 Convs of ``max(P3, min(nc, 100))`` channels and a 1x1 convolution to nc logits.
        bins: ``(1, 16, 1, 1)`` the fixed weights 0 to 15 of the expectation; counted as parameters, never trained.
        positives: positives a box that task-aligned assignment gives the branches of a training forward, in order.
        nms_free: whether the deployed branch says each object once.
    """

    positives: tuple[int, ...] = (10,)
    nms_free = False

    def __init__(self, channels: Sequence[int], classes: int, strides: Sequence[int], prior_size: int = 640) -> None:
        super().__init__()
        self.classes = classes
        self.strides = tuple(strides)
        box_width = max(16, channels[0] // 4, 4 * BINS)
        class_width = max(channels[0], min(classes, 100))
        self.box = nn.ModuleList(_box_branch(c, box_width) for c in channels)
        self.cls = nn.ModuleList(self._class_branch(c, class_width) for c in channels)
        self.bins = nn.Parameter(torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1), requires_grad=False)
        self._start_biases(prior_size)

    def _class_branch(self, inputs: int, width: int) -> nn.Sequential:
        return _class_branch(inputs, width, self.classes)

    def _start_biases(self, size: int) -> None:
        """Distances 1.0; classes as if a photo of ``size`` held 5 objects: ``log(5 / nc / (size / stride)^2)``."""
        for box, cls, stride in zip(self.box, self.cls, self.strides, strict=True):
            for branch, bias in ((box, 1.0), (cls, math.log(5 / self.classes / (size / stride) ** 2))):
                last = cast(nn.Conv2d, cast(nn.Sequential, branch)[-1])
                nn.init.constant_(cast(Tensor, last.bias), bias)

    def _branch(self, maps: Sequence[Tensor], box: nn.ModuleList, cls: nn.ModuleList) -> Raw:
        sides = torch.cat([layer(x).flatten(2) for layer, x in zip(box, maps, strict=True)], 2)
        classes = torch.cat([layer(x).flatten(2) for layer, x in zip(cls, maps, strict=True)], 2)
        return Raw(sides, classes, *anchors(maps, self.strides), self.bins.flatten())

    def forward(self, maps: Sequence[Tensor]) -> list[Raw]:
        """One map ``(N, C_i, H / stride_i, W / stride_i)`` a level to the branches' logits, the deployed one last."""
        return [self._branch(maps, self.box, self.cls)]


class DualDetect(Detect):
    """YOLOv10's head: one-to-many and one-to-one branches trained together, the second deployed without NMS.

    Consistent dual assignment (Wang et al., arXiv 2405.14458, section 3.1): both are assigned by the same metric
    ``s^0.5 u^6``, the first with ten positives a box, the second with one, so the second's positive is the first's
    best. The one-to-one branch starts as a copy and sends no gradient into the body, as the authors' training does.

    A forward in training gives both branches, in evaluation the one-to-one branch alone.

    Attributes:
        one_box, one_cls: the one-to-one branch; ``box`` and ``cls``, the one-to-many branch, are empty once fused.
    """

    positives: tuple[int, ...] = (10, 1)
    nms_free = True

    def __init__(self, channels: Sequence[int], classes: int, strides: Sequence[int], prior_size: int = 640) -> None:
        super().__init__(channels, classes, strides, prior_size)
        self.one_box = copy.deepcopy(self.box)
        self.one_cls = copy.deepcopy(self.cls)

    def _class_branch(self, inputs: int, width: int) -> nn.Sequential:
        return _light_class_branch(inputs, width, self.classes)

    def forward(self, maps: Sequence[Tensor]) -> list[Raw]:
        """See :meth:`Detect.forward`; in training one-to-many, then one-to-one."""
        one = self._branch([x.detach() for x in maps] if self.training else maps, self.one_box, self.one_cls)
        return [self._branch(maps, self.box, self.cls), one] if self.training and len(self.box) else [one]

    def fuse(self) -> None:
        """Drop the one-to-many branch, which only training needs."""
        self.box, self.cls = nn.ModuleList(), nn.ModuleList()
        self.positives = self.positives[-1:]
