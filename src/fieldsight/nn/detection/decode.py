"""From logits to boxes: anchor points, distances, the common output ``(N, 4 + nc, A)`` of a deployed detector.

Decoding follows YOLOv8's conventions: a cell's point is its centre, each side of a box a distance from it that is the
expectation of a distribution over 0 to 15 strides (generalised focal loss, Li et al., NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

#: Bins of the distribution of a distance.
BINS = 16


class Raw(NamedTuple):
    """What one branch of a head says of a batch, before decoding; what losses take.

    Attributes:
        sides: ``(N, 4 * 16, A)`` logits of the distances left, top, right, bottom.
        classes: ``(N, nc, A)`` logits of the classes.
        points: ``(A, 2)`` x and y of the anchor points in strides.
        strides: ``(A,)`` pixels of the input.
        bins: ``(16,)`` the distances that the logits of a side stand for, 0 to 15.
    """

    sides: Tensor
    classes: Tensor
    points: Tensor
    strides: Tensor
    bins: Tensor


def anchors(maps: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Centres of the cells of several maps, row by row, and their strides.

    Sizes are read off the maps in each forward, so that an exported graph takes photos of any size.

    Args:
        maps: ``(N, C, H_i, W_i)``, the finest first; only their sizes, type and device matter.
        strides: pixels of the input a cell, one a map.

    Returns:
        Points ``(A, 2)``, x and y in strides: (0.5, 0.5), (1.5, 0.5), ...; strides ``(A,)``. ``A = sum H_i W_i``.
    """
    points, scales = [], []
    for level, stride in zip(maps, strides, strict=True):
        height, width = level.shape[-2:]
        x = torch.arange(width, device=level.device, dtype=torch.float32) + 0.5
        y = torch.arange(height, device=level.device, dtype=torch.float32) + 0.5
        grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), -1)
        points.append(grid.reshape(-1, 2))
        scales.append(torch.full_like(points[-1][:, 0], float(stride)))
    return torch.cat(points), torch.cat(scales)


def distances(sides: Tensor, bins: Tensor) -> Tensor:
    """Expected distances, ``sum_i i softmax(logits)_i``, in float32 whatever comes in.

    Args:
        sides: ``(N, 4 * 16, A)`` logits.
        bins: ``(16,)`` the distances i.

    Returns:
        ``(N, 4, A)`` left, top, right, bottom in strides, 0 to 15. Equal logits give 7.5.
    """
    n, _, count = sides.shape
    share = sides.float().view(n, 4, BINS, count).softmax(2)
    return (share * bins.float().view(1, 1, BINS, 1)).sum(2)


def corners(reach: Tensor, points: Tensor) -> Tensor:
    """Distances to boxes ``x1, y1, x2, y2``, in the unit of both.

    Args:
        reach: ``(N, 4, A)`` left, top, right, bottom.
        points: ``(A, 2)``.

    Returns:
        ``(N, A, 4)``.
    """
    near, far = reach.transpose(1, 2).chunk(2, -1)
    return torch.cat((points - near, points + far), -1)


def reaches(boxes: Tensor, points: Tensor, limit: float = BINS - 1 - 0.01) -> Tensor:
    """Boxes to distances, the inverse of :func:`corners` where the point is inside: targets of (Y4).

    Args:
        boxes: ``(..., A, 4)`` as ``x1, y1, x2, y2``, in strides.
        points: ``(A, 2)`` in strides.
        limit: distances are clipped to ``[0, limit]``; 14.99 by default.

    Returns:
        ``(..., A, 4)`` left, top, right, bottom.
    """
    near, far = boxes.chunk(2, -1)
    return torch.cat((points - near, far - points), -1).clamp(0.0, limit)


def boxes(raw: Raw) -> Tensor:
    """Boxes ``(N, A, 4)`` as ``x1, y1, x2, y2`` in pixels of the input; gradients flow."""
    return corners(distances(raw.sides, raw.bins), raw.points) * raw.strides[:, None]


def decoded(raw: Raw) -> Tensor:
    """The common layout of exported detectors.

    Returns:
        ``(N, 4 + nc, A)`` float32: ``cx, cy, w, h`` in pixels of the input, then scores in 0-1.
    """
    left, top, right, bottom = distances(raw.sides, raw.bins).unbind(1)
    x, y = raw.points.unbind(1)
    middle = torch.stack((x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom), 1)
    return torch.cat((middle * raw.strides, raw.classes.float().sigmoid()), 1)


class Deployed(nn.Module):
    """A detector as it is exported: photos in, decoded boxes and scores out.

    Overlaps are not suppressed: with a v8 head that is left to do (NMS, per class); a v10 head needs none.

    Attributes:
        net: any network whose forward gives a list of :class:`Raw`, the deployed branch last.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Any = net

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` in 0-1, H and W multiples of 32, to ``(N, 4 + nc, A)``; see :func:`decoded`."""
        return decoded(self.net(images)[-1])
