"""Is depth in metres? What depth in another unit looks like, and how it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: No worn sensor sees this far: a median beyond it can only be millimetres.
MILLIMETRES = 200.0

#: Centimetres reach from a few dozen to a few thousand and are told from a far view by their nearest values.
CENTIMETRES = (60.0, 20.0)


def unit_problem(depth: NDArray[Any]) -> str:
    """What depth of any shape looks like where it is no metres; empty where nothing speaks against metres.

    Values that are NaN, infinite or <= 0 say nothing; without any other value there is nothing to name. Recognised
    are millimetres (median above 200), centimetres (median above 60 with nothing nearer than 20) and pictures
    scaled to 0-1 (every value at or below 1, and the largest exactly 1).
    """
    values = np.asarray(depth)
    values = values[np.isfinite(values) & (values > 0)] if values.dtype.kind == "f" else values[values > 0]
    if values.size == 0:
        return ""
    middle = float(np.median(values))
    if middle > MILLIMETRES:
        return f"half of the values lie above {middle:.0f}: these are millimetres, not metres"
    nearest = float(np.percentile(values, 1))
    if middle > CENTIMETRES[0] and nearest > CENTIMETRES[1]:
        return f"the values lie around {middle:.0f} and none is below {nearest:.0f}: these look like centimetres"
    if values.size >= 64 and float(values.max()) == 1.0 and np.unique(values[:4096]).size > 16:
        return "every value lies in 0-1 and the largest is exactly 1: this looks like a scaled picture, not metres"
    return ""
