"""A picture with dark tubes, for tests of filters and fusion."""

from __future__ import annotations

import numpy as np


def picture(height: int = 150, width: int = 170, seed: int = 0) -> np.ndarray:
    """Dark curved tubes of several widths on uneven, noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    ground = 150 + 40 * np.sin(x / 60) + 0.1 * y
    for centre, wide, deep in ((40 + 15 * np.sin(y / 30), 2.0, 60), (110 + y * 0.2, 5.0, 50), (20 + y * 0.9, 1.0, 40)):
        ground -= deep * np.exp(-((x - centre) ** 2) / (2 * wide**2))
    return np.clip(np.rint(ground + rng.normal(0, 3, ground.shape)), 0, 255).astype(np.uint8)
