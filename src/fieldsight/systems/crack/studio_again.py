"""A result measured anew without running a network: another threshold, another scale, a mask corrected by hand."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack.measure import Crack, measure, severity_of, summarize
from fieldsight.systems.crack.results import CrackMap

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ByHand(CrackMap):
    """A map that a person corrected.

    Attributes:
        added: ``(H, W)`` bool, crack whatever the experts say.
        removed: ``(H, W)`` bool, no crack whatever they say.
    """

    added: Mask = dataclasses.field(default_factory=lambda: np.zeros((0, 0), np.bool_), repr=False)
    removed: Mask = dataclasses.field(default_factory=lambda: np.zeros((0, 0), np.bool_), repr=False)


def again(found: CrackMap, threshold: float, min_length: float) -> CrackMap:
    """The same photo at another threshold, from its probability map; what a person corrected stays corrected.

    Args:
        found: the result so far.
        threshold: probability from which a pixel is crack.
        min_length: pixels under which a crack is left out.
    """
    mask = np.asarray(found.probability) >= np.float32(threshold)
    scale = scale_in(found)
    facts = {**found.facts, "threshold": round(float(threshold), 4)}
    if isinstance(found, ByHand):
        mask = (mask | found.added) & ~found.removed
        facts["corrected"] = words_by_hand(found.added, found.removed)
    cracks = measure(mask, found.probability, scale, min_length)
    shape = (mask.shape[0], mask.shape[1])
    return dataclasses.replace(
        found, mask=mask, cracks=tuple(cracks), summary=summarize(cracks, shape, scale), facts=facts
    )


def rescaled(found: CrackMap, scale: float | None) -> CrackMap:
    """The same result with another scale in mm a pixel, or none: no pixel is looked at."""
    facts = {k: v for k, v in found.facts.items() if k != "scale_mm"}
    if scale is not None:
        facts["scale_mm"] = round(scale, 6)
    cracks = tuple(_in_mm(crack, scale) for crack in found.cracks)
    shape = (found.mask.shape[0], found.mask.shape[1])
    return dataclasses.replace(found, cracks=cracks, summary=summarize(cracks, shape, scale), facts=facts)


def corrected(found: CrackMap, before: Mask, after: Mask, min_length: float) -> ByHand:
    """A result with what a person painted into it or rubbed out.

    Args:
        found: the result.
        before: ``(h, w)`` bool, the mask as it was handed to the person; may be smaller than the photo.
        after: the same as it came back. Only where the two differ the mask changes, so that nothing is lost where it
            was shown smaller than it is.
        min_length: pixels under which a crack is left out.

    Raises:
        DataError: shapes that differ.
    """
    if before.shape != after.shape:
        raise DataError(f"The corrected mask is {after.shape}, it was handed out as {before.shape}. Open it again.")
    plus, minus = (enlarged(part, found.mask.shape) for part in (after & ~before, before & ~after))
    if isinstance(found, ByHand):
        plus, minus = (found.added & ~minus) | plus, (found.removed & ~plus) | minus
    own = {f.name: getattr(found, f.name) for f in dataclasses.fields(CrackMap)}
    made = again(ByHand(**own, added=plus, removed=minus), float(found.facts["threshold"]), min_length)
    assert isinstance(made, ByHand)
    return made


def without_hand(found: CrackMap, min_length: float) -> CrackMap:
    """The result as the experts gave it, at the present threshold and scale."""
    own = {f.name: getattr(found, f.name) for f in dataclasses.fields(CrackMap)}
    own["facts"] = {k: v for k, v in found.facts.items() if k != "corrected"}
    return again(CrackMap(**own), float(found.facts["threshold"]), min_length)


def words_by_hand(added: Mask, removed: Mask) -> str:
    """What a person did, for the JSON file."""
    return f"by hand: {int(added.sum()):,} pixels added, {int(removed.sum()):,} removed"


def scale_in(found: CrackMap) -> float | None:
    """Millimetres a pixel of a result, or None."""
    value = found.facts.get("scale_mm")
    return None if value is None else float(value)


def scale_of(text: Any, shrunk: float = 1.0) -> float | None:
    """The scale that was typed, in mm a pixel of what was measured; None where nothing was typed.

    Args:
        text: what the field holds.
        shrunk: the photo was shrunk by this factor before.

    Raises:
        ConfigError: no number above 0.
    """
    typed = str(text if text is not None else "").strip().replace(",", ".")
    if not typed:
        return None
    try:
        value = float(typed)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and 0 < value <= 1e6):
        raise ConfigError(f"Scale: '{typed}' is no number above 0. It is the side of a pixel in mm, such as 0.5.")
    return value / (shrunk or 1.0)


def enlarged(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """A mask ``(h, w)`` at the size of the photo: each pixel becomes the block it was made from."""
    if mask.shape == shape[:2]:
        return mask
    rows, columns = (
        np.searchsorted((np.arange(n) * m) // n, np.arange(m), "right") - 1
        for n, m in zip(mask.shape, shape[:2], strict=True)
    )
    return np.asarray(mask[rows][:, columns])


def _in_mm(crack: Crack, scale: float | None) -> Crack:
    if scale is None:
        return dataclasses.replace(crack, length_mm=None, mean_width_mm=None, max_width_mm=None, severity=None)
    widest = crack.max_width_px * scale
    return dataclasses.replace(
        crack, length_mm=crack.length_px * scale, mean_width_mm=crack.mean_width_px * scale, max_width_mm=widest,
        severity=severity_of(widest),
    )  # fmt: skip
