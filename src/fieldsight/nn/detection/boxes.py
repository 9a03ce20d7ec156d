"""Boxes as tensors and arrays: corners and centres, area, IoU, CIoU, clipping.

Corners are ``x1, y1, x2, y2``, centres ``cx, cy, w, h``. Nothing here divides by zero: an empty box has area 0, IoU 0
with everything, and finite gradients. A box whose second corner lies before its first counts as empty.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = TypeVar("Array", Tensor, NDArray[np.float32], NDArray[np.float64])


def _library(array: Any) -> Any:
    return torch if isinstance(array, Tensor) else np


def to_corners(boxes: Array) -> Array:
    """``(..., 4)`` centres, widths and heights to corners; tensor or float array, any unit."""
    half = boxes[..., 2:] / 2
    return _library(boxes).concatenate((boxes[..., :2] - half, boxes[..., :2] + half), -1)


def to_centres(boxes: Array) -> Array:
    """``(..., 4)`` corners to centres, widths and heights; tensor or float array, any unit."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return _library(boxes).concatenate(((low + high) / 2, high - low), -1)


def clip_boxes(boxes: Array, size: tuple[int, int]) -> Array:
    """Corners ``(..., 4)`` in pixels, cut to a picture of ``size = (height, width)``; a box outside becomes empty."""
    height, width = size
    x, y = boxes[..., 0::2].clip(0, width), boxes[..., 1::2].clip(0, height)
    return _library(boxes).stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)


def box_area(boxes: Array) -> Array:
    """Area ``(...)`` of corners ``(..., 4)``; 0 of an empty box."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clip(0)
    return sides[..., 0] * sides[..., 1]


def iou_pairs(first: Array, second: Array) -> Array:
    """IoU of corners that belong together, ``(..., 4)`` and ``(..., 4)`` broadcast to ``(...)``, 0 to 1.

    0 where both are empty. Tensors or float arrays; the result has their type.
    """
    library = _library(first)
    low = library.maximum(first[..., :2], second[..., :2])
    high = library.minimum(first[..., 2:], second[..., 2:])
    sides = (high - low).clip(0)
    shared = sides[..., 0] * sides[..., 1]
    union = box_area(first) + box_area(second) - shared
    return shared / library.where(union > 0, union, library.ones_like(union))


def iou_matrix(first: Array, second: Array) -> Array:
    """IoU of all pairs: corners ``(..., K, 4)`` and ``(..., M, 4)`` to ``(..., K, M)``, 0 to 1; K or M may be 0."""
    return iou_pairs(first[..., :, None, :], second[..., None, :, :])


def ciou(predicted: Tensor, truth: Tensor) -> Tensor:
    """Complete IoU (Zheng et al. 2020, Eqs. 10 and 11; Y6) of corners ``(..., 4)`` that belong together, to ``(...)``.

    ``IoU - rho^2 / c^2 - alpha v`` with ``v = (4 / pi^2) (atan(w_g / h_g) - atan(w / h))^2``: above -2, at most 1, and
    symmetric. ``alpha = v / (1 - IoU + v)`` is a weight, so no gradient flows through it. Where a denominator is 0
    the fraction is left at its numerator, which is 0 too: no epsilon, and gradients stay finite for empty boxes.
    """
    iou = iou_pairs(predicted, truth)
    enclosing = torch.maximum(predicted[..., 2:], truth[..., 2:]) - torch.minimum(predicted[..., :2], truth[..., :2])
    diagonal = enclosing.square().sum(-1)
    centres = (predicted[..., :2] + predicted[..., 2:] - truth[..., :2] - truth[..., 2:]) / 2
    distance = centres.square().sum(-1) / torch.where(diagonal > 0, diagonal, 1.0)
    v = (4 / math.pi**2) * (_angle(truth) - _angle(predicted)).square()
    with torch.no_grad():
        weight = 1 - iou + v
        alpha = v / torch.where(weight > 0, weight, 1.0)
    return iou - distance - alpha * v


def _angle(boxes: Tensor) -> Tensor:
    """``atan(w / h)``; of a point 0, and so is its gradient, by torch's definition of atan2."""
    w, h = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return torch.atan2(w, h)
