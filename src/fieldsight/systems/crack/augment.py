"""Changes of a photo in training; all chance comes from the generator given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def turn(picture: Picture, mask: NDArray[Any], rng: np.random.Generator) -> tuple[Picture, NDArray[Any]]:
    """One of the eight positions of a square, for photo and mask alike."""
    quarter, flip = int(rng.integers(4)), bool(rng.integers(2))
    turned = [np.rot90(a, quarter, axes=(0, 1)) for a in (picture, mask)]
    if flip:
        turned = [a[:, ::-1] for a in turned]
    return np.ascontiguousarray(turned[0]), np.ascontiguousarray(turned[1])


def recolour(
    picture: Picture,
    rng: np.random.Generator,
    brightness: float = 0.25,
    contrast: float = 0.25,
    saturation: float = 0.3,
    hue: float = 0.05,
    chance: float = 1.0,
) -> Picture:
    """Jitter of brightness, contrast, saturation (factors 1 ± value) and hue (± value of the circle)."""
    import cv2

    drawn = rng.uniform(-1.0, 1.0, 4)
    if rng.random() >= chance:
        return picture
    values = picture.astype(np.float32)
    values = values * (1.0 + brightness * drawn[0])
    mean = values.mean()
    values = (values - mean) * (1.0 + contrast * drawn[1]) + mean
    grey = values @ np.array([0.299, 0.587, 0.114], np.float32)
    values = grey[..., None] + (values - grey[..., None]) * (1.0 + saturation * drawn[2])
    eight = np.clip(np.round(values), 0, 255).astype(np.uint8)
    if hue:
        hsv = cv2.cvtColor(eight, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(180 * hue * drawn[3])) % 180
        eight = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return eight


def gate_view(picture: Picture, rng: np.random.Generator) -> Picture:
    """The moderate changes of section 4.2: colours, grey, flips, rotation by up to 7 degrees, blur."""
    import cv2

    for axis in (0, 1):
        if rng.random() < 0.5:
            picture = np.flip(picture, axis)
    picture = np.ascontiguousarray(picture)
    angle = float(rng.uniform(-7.0, 7.0))
    height, width = picture.shape[:2]
    rotation = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    picture = cv2.warpAffine(picture, rotation, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    picture = recolour(picture, rng, 0.2, 0.2, 0.2, 0.05, chance=0.8)
    if rng.random() < 0.1:
        grey = np.round(picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        picture = np.repeat(grey[..., None], 3, axis=2)
    if rng.random() < 0.2:
        picture = cv2.GaussianBlur(picture, (5, 5), float(rng.uniform(0.1, 1.5)))
    return picture
