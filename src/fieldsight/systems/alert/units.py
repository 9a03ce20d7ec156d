"""Is depth in metres? What depth in another unit looks like, and how it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: No worn sensor sees this far: a median beyond it can only be millimetres.
MILLIMETRES = 200.0

#: As centimetres this were ten metres: below it, the unit can't be told from the values alone.
SURELY = 1000.0

#: Centimetres reach from a few dozen to a few thousand and are told from a far view by their nearest values.
CENTIMETRES = (60.0, 20.0)


def unit_problem(depth: NDArray[Any]) -> str:
    """What depth of any shape looks like where it is no metres; empty where nothing speaks against metres.

    Values that are NaN, infinite or <= 0 say nothing; without any other value there is nothing to name. Recognised
    are millimetres (median above 200; above 1000 surely), centimetres (median above 60 with nothing nearer than 20)
    and pictures scaled to 0-1 (every value at or below 1, and the largest exactly 1).
    """
    values = np.asarray(depth)
    values = values[np.isfinite(values) & (values > 0)] if values.dtype.kind == "f" else values[values > 0]
    if values.size == 0:
        return ""
    largest, values = float(values.max()), values[:: max(1, values.size // 8192)]
    middle = float(np.median(values))
    if middle > MILLIMETRES:
        which = "millimetres" if middle > SURELY else "millimetres or centimetres"
        return f"half of the values lie above {middle:.0f}: these are {which}, not metres"
    nearest = float(np.percentile(values, 1))
    if middle > CENTIMETRES[0] and nearest > CENTIMETRES[1]:
        return f"the values lie around {middle:.0f} and none is below {nearest:.0f}: these look like centimetres"
    if largest == 1.0 and values.size >= 64 and np.unique(values).size > 16:
        return "every value lies in 0-1 and the largest is exactly 1: this looks like a scaled picture, not metres"
    return ""
