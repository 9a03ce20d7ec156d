"""What a user's networks have in common: sizes, scales and heads around a function of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fieldsight.errors import ConfigError, DataError, FieldsightError, unknown

OUTPUTS = ("probability", "logits", "softmax")

#: What a network takes: ImageNet-normalised RGB, RGB of 0 to 1, or RGB of 0 to 255.
EXPECTS = ("imagenet", "unit", "byte")

#: Probabilities may leave 0 to 1 by this much.
TOLERANCE = 1e-3

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)  # of ImageNet
_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class Network:
    """What torch and ONNX experts have in common: sizes, scales and heads around a function of tensors."""

    def __init__(self, name: str, output: str, expects: str, input_size: tuple[int, int] | None) -> None:
        problems = [
            unknown(f"{what} of expert '{name}':", value, allowed)
            for what, value, allowed in (("output", output, OUTPUTS), ("expects", expects, EXPECTS))
            if value not in allowed
        ]
        if input_size is not None and min(input_size) < 1:
            problems.append(f"input_size of expert '{name}' is {input_size}; height and width must be at least 1.")
        if problems:
            raise ConfigError(problems)
        self.name, self.output, self.expects, self.input_size = name, output, expects, input_size

    def _compute(self, x: Tensor) -> Any:
        raise NotImplementedError

    def probability(self, x: Tensor, ids: Sequence[str]) -> Tensor:
        """See :meth:`Expert.probability`."""
        check_input(self.name, x, ids)
        given = resized(x, self.input_size) if self.input_size else x
        if self.expects != "imagenet":
            given = given * _STD.to(x.device) + _MEAN.to(x.device)
            given = given * 255.0 if self.expects == "byte" else given
        try:
            with torch.inference_mode():
                raw = self._compute(given)
        except FieldsightError:
            raise
        except Exception as error:  # whatever somebody else's network raises
            raise DataError(
                f"The expert '{self.name}' fails on an input of shape {tuple(given.shape)}: "
                f"{type(error).__name__}: {short(error)}. If it takes one size only, give input_size=SIDE."
            ) from error
        raw = checked_shape(self.name, raw, given)
        raw = resized(raw.float().to(x.device), (x.shape[2], x.shape[3]))
        return in_range(self.name, _head(self.name, raw, self.output))


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(N, C, h, w)`` to ``size``, bilinear, with antialiasing where it shrinks."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    smaller = size[0] < x.shape[2] or size[1] < x.shape[3]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=smaller)


def check_input(name: str, x: Tensor, ids: Sequence[str]) -> None:
    """Refuse inputs that are not ``(N, 3, H, W)`` with one id each.

    Raises:
        DataError: another shape, or another number of ids.
    """
    if x.ndim != 4 or x.shape[1] != 3:
        raise DataError(f"The expert '{name}' got an input of shape {tuple(x.shape)}; (N, 3, H, W) is wanted.")
    if len(ids) != len(x):
        raise DataError(f"The expert '{name}' got {len(x)} photos and {len(ids)} ids.")


def checked_shape(name: str, raw: Any, given: Tensor) -> Tensor:
    """An output as ``(N, 1 or 2, h, w)`` for an input ``(N, 3, H, W)``.

    Raises:
        DataError: no tensor, or of another shape; the message says what to change.
    """
    if isinstance(raw, np.ndarray):
        raw = torch.from_numpy(raw)
    if not isinstance(raw, Tensor):
        keys = list(raw) if isinstance(raw, Mapping) else []
        fix = f"return output[{keys[0]!r}]" if keys else "return output[0]" if isinstance(raw, (tuple, list)) else ""
        held = f" with {', '.join(map(str, keys))}" if keys else ""
        raise DataError(
            f"The expert '{name}' gives a {type(raw).__name__}{held}; a tensor is wanted."
            + (f" Wrap it: {fix}." if fix else "")
        )
    shape = tuple(raw.shape)
    if raw.ndim == 4 and shape[0] == len(given) and shape[1] in (1, 2) and min(shape) > 0:
        return raw
    raise DataError(
        f"The expert '{name}' gives shape {shape} for an input {tuple(given.shape)}; "
        f"({len(given)}, 1 or 2, H, W) is wanted.{fix_for(shape)}"
    )


def fix_for(shape: Sequence[Any]) -> str:
    """What to change so that an output of this shape fits, in torch's words."""
    if len(shape) == 3:
        return " The channel is missing: return output.unsqueeze(1)."
    if len(shape) == 4 and shape[3] in (1, 2):
        return " Channels are last: return output.permute(0, 3, 1, 2)."
    if len(shape) == 4 and isinstance(shape[1], int) and shape[1] > 2:
        return (
            f" There are {shape[1]} channels: return output.softmax(1)[:, K:K + 1] for the number K of crack, "
            "and choose output=probability."
        )
    if len(shape) == 5:
        return " There is an axis too many: return output[:, -1] or the axis that counts."
    return ""


def _head(name: str, raw: Tensor, output: str) -> Tensor:
    """Raw values ``(N, 1 or 2, H, W)`` to ``(N, 1, H, W)``."""
    channels = raw.shape[1]
    if output == "softmax" and channels == 1:
        raise DataError(f"The expert '{name}' gives one channel, of which a softmax is always 1: choose output=logits.")
    if channels == 1:
        return torch.sigmoid(raw) if output == "logits" else raw
    if output != "probability":
        return torch.softmax(raw, dim=1)[:, 1:]
    total = raw.sum(dim=1)
    if bool(torch.isfinite(raw).all()) and float((total - 1.0).abs().max()) > 0.01:
        raise DataError(
            f"The two channels of expert '{name}' sum to {float(total.min()):.3g} to {float(total.max()):.3g}, not to "
            "1: they are no probabilities. Choose output=softmax."
        )
    return raw[:, 1:]


def in_range(name: str, values: Tensor) -> Tensor:
    """Values ``(N, 1, H, W)`` clipped to 0 to 1.

    Raises:
        DataError: they leave 0 to 1 by more than :data:`TOLERANCE`, or are no numbers.
    """
    low, top = float(values.min()), float(values.max())
    if not torch.isfinite(values).all():
        raise DataError(f"The expert '{name}' gives values that are no numbers (NaN or infinity).")
    if low < -TOLERANCE or top > 1.0 + TOLERANCE:
        fix = "divide by 255" if low >= 0 and 2.0 < top <= 255.0 else "choose output=logits"
        raise DataError(f"The expert '{name}' gives values from {low:.3g} to {top:.3g}, not 0 to 1: {fix}.")
    return values.clamp(0.0, 1.0)


def short(error: BaseException) -> str:
    """An error's text on one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
