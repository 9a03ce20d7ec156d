"""Real photos as ground: some may be trained on, others are for testing only.

The first come with the installed scikit-image and are CC0. The second are textures of the game OpenArena, which are
under the GPL: they are never trained on and never copied. Nothing is fetched here.
"""

from __future__ import annotations

import io
import zipfile
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight import assets
from fieldsight.errors import DataError
from fieldsight.systems.crack.sample import Picture
from fieldsight.systems.crack.world.surfaces import Field, Shape, Surface, smooth_noise, step

#: For each domain: file, smallest and largest scale, mean brightness, tint.
_TRAINABLE: dict[str, tuple[str, tuple[float, float], tuple[float, float], tuple[float, float, float]]] = {
    "asphalt": ("gravel.png", (0.20, 0.34), (0.26, 0.42), (0.97, 1.0, 1.04)),
    "aggregate": ("gravel.png", (0.45, 0.95), (0.32, 0.50), (1.06, 1.0, 0.92)),
    "tile": ("brick.png", (0.60, 0.95), (0.34, 0.55), (1.20, 0.95, 0.82)),
    "road": ("gravel.png", (0.16, 0.26), (0.40, 0.55), (1.03, 1.0, 0.97)),
}

#: Concrete and walls without cracks of their own, inside the archive of the asset ``openarena-concrete``.
_HELDOUT_ARCHIVE = "pak4-textures.pk3"
_HELDOUT = (
    "base_floor/concrete", "base_wall/concrete", "base_wall/concrete1", "base_wall/concrete_dark",
    "evil1_walls/cementwall", "proto2/concrete02", "proto2/concrete04", "proto2/concrete07_smth", "proto2/crackcrete",
    "cosmo_floor/sand02",
)  # fmt: skip


@cache
def _grey(name: str) -> NDArray[np.float32] | None:
    folder = assets.locate("scikit-image-textures")
    if folder is None:
        return None
    picture = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
    return None if picture is None else np.asarray(picture, np.float32) / np.float32(255)


def placed(picture: Field, shape: Shape, scale: float, rng: np.random.Generator) -> Field:
    """A field cut from a picture ``(h, w)`` or ``(h, w, 3)``: scaled, turned, flipped, mirrored beyond its borders."""
    height, width = picture.shape[:2]
    small = (max(int(width * scale), 8), max(int(height * scale), 8))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    source = cv2.resize(picture, small, interpolation=method)
    angle = float(rng.choice([0.0, 90.0, 180.0, 270.0]) + rng.normal(0.0, 6.0))
    centre = tuple(
        float(rng.uniform(half, side - half)) if 2 * half < side else side / 2
        for side, half in zip(small, (0.55 * shape[1], 0.55 * shape[0]), strict=True)
    )
    turn = cv2.getRotationMatrix2D(centre, angle, 1.0)
    turn[:, 2] += np.array([shape[1] / 2 - centre[0], shape[0] / 2 - centre[1]])
    out = cv2.warpAffine(source, turn, (shape[1], shape[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    return np.ascontiguousarray(out, dtype=np.float32)


def mixed(field: Field, source: Field, rng: np.random.Generator) -> Field:
    """Hide the mirror symmetry of a grain larger than its photo: soft patches of ``source`` at random places; new."""
    out = field.copy()
    reach = int(0.32 * min(source.shape))
    if reach < 8:
        return out
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    distance = np.hypot(rows, columns) / np.float32(reach)
    for _ in range(int(2.5 * field.size / (2 * reach) ** 2)):
        row, column = (int(rng.integers(0, side)) for side in out.shape)
        from_r, from_c = (int(rng.integers(reach, side - reach)) for side in source.shape)
        patch = source[from_r - reach : from_r + reach + 1, from_c - reach : from_c + reach + 1]
        patch = np.rot90(patch, int(rng.integers(4)))
        share = step(
            -(distance + 0.12 * smooth_noise((patch.shape[0], patch.shape[1]), reach / 3, rng)).astype(np.float32),
            -0.75,
            0.15,
        )
        top, left = max(row - reach, 0), max(column - reach, 0)
        below, right = min(row + reach + 1, out.shape[0]), min(column + reach + 1, out.shape[1])
        part = np.s_[top - row + reach : below - row + reach, left - column + reach : right - column + reach]
        out[top:below, left:right] += share[part] * (patch[part] - out[top:below, left:right])
    return out


def surface(domain: str, shape: Shape, rng: np.random.Generator) -> Surface | None:
    """A photo as the ground of a domain, tinted; None where the domain has none or scikit-image is not installed."""
    if domain not in _TRAINABLE:
        return None
    name, scales, means, tint = _TRAINABLE[domain]
    grey = _grey(name)
    if grey is None:
        return None
    scale = float(rng.uniform(*scales))
    field = placed(grey, shape, scale, rng)
    if name == "gravel.png" and scale * min(grey.shape) < 1.3 * max(shape):
        field = mixed(field, cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), rng)
    field = field / np.float32(max(float(field.mean()), 1e-3))
    field = 1 + np.float32(rng.uniform(0.6, 1.0)) * (field - 1)
    field = field * np.float32(rng.uniform(*means)) * (1 + 0.04 * smooth_noise(shape, 60.0, rng))
    colour = np.asarray(tint, np.float32) * (1 + rng.uniform(-0.05, 0.05, 3).astype(np.float32))
    image = np.clip(field, 0.02, 1.0)[..., None] * colour
    return Surface(np.asarray(image, np.float32), name.removesuffix(".png"), real=True)


@cache
def _heldout() -> tuple[tuple[str, Picture], ...]:
    folder = assets.locate("openarena-concrete")
    if folder is None:
        return ()
    from PIL import Image

    found = []
    try:
        with zipfile.ZipFile(folder / _HELDOUT_ARCHIVE) as archive:
            for name in _HELDOUT:
                with Image.open(io.BytesIO(archive.read(f"textures/{name}.jpg"))) as picture:
                    found.append((name, np.asarray(picture.convert("RGB"), np.uint8)))
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise DataError(
            f"Can't read '{folder / _HELDOUT_ARCHIVE}': {error}. Fetch the asset again: fieldsight assets fetch "
            "openarena-concrete."
        ) from None
    return tuple(found)


def heldout() -> list[tuple[str, Picture]]:
    """Photos of bare concrete and cement for testing only: (name, ``(H, W, 3)`` uint8 RGB); empty where not fetched.

    They are the asset ``openarena-concrete`` (GPL-2.0-or-later). No drawn set for training uses them.

    Raises:
        DataError: the asset is here but can't be read.
    """
    return [(name, picture.copy()) for name, picture in _heldout()]


def heldout_surface(number: int, shape: Shape, rng: np.random.Generator) -> Surface:
    """Held-out photo ``number`` (modulo their count) as the ground of a field.

    Raises:
        DataError: the asset is not here, or can't be read.
    """
    found = _heldout()
    if not found:
        raise DataError(
            "The held-out photos are not on this machine. Fetch them: fieldsight assets fetch openarena-concrete."
        )
    name, picture = found[number % len(found)]
    field = placed(picture.astype(np.float32) / np.float32(255), shape, float(rng.uniform(0.6, 1.1)), rng)
    gain = np.float32(rng.uniform(0.30, 0.55) / max(float(field.mean()), 1e-3))
    return Surface(np.asarray(np.clip(field * gain, 0.0, 1.2), np.float32), name, real=True)
