"""Differences between two pictures ``(H, W)`` or ``(H, W, C)``, in 0-1 or up to ``top``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mae(target: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Mean absolute error over pixels."""
    return float(np.abs(np.asarray(predicted, dtype=np.float64) - target).mean())


def mse(target: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Mean squared error over pixels and channels."""
    return float(((np.asarray(predicted, dtype=np.float64) - target) ** 2).mean())


def psnr(target: NDArray[Any], predicted: NDArray[Any], top: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB over all pixels; infinite for equal pictures."""
    error = mse(target, predicted)
    return math.inf if error == 0 else 10.0 * math.log10(top * top / error)


def ssim(target: NDArray[Any], predicted: NDArray[Any], top: float = 1.0) -> float:
    """Structural similarity, Gaussian window of sigma 1.5, as Wang et al. 2004 (scikit-image); the mean over channels
    of a colour picture."""
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            np.asarray(target, dtype=np.float64),
            np.asarray(predicted, dtype=np.float64),
            data_range=top,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=None if np.ndim(target) == 2 else -1,
        )
    )
