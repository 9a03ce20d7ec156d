"""``cutouts``: objects with transparency pasted over photos.

Works with nothing: then the backgrounds are drawn surfaces and the objects are the models of the other two worlds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.systems.edge.world import camera, raster, robots, shading, textures, traffic
from fieldsight.systems.edge.world.mesh import Model
from fieldsight.systems.edge.world.scene import View
from fieldsight.systems.edge.world.sensor import Picture, develop, draw_sensor
from fieldsight.systems.edge.world.shadows import Ground
from fieldsight.systems.edge.world.textures import Rng

CLASSES = ("turtlebot", *traffic.CLASSES)

#: Photos made of one background.
FRAMES = 20

#: Every so many photos of a background one stays empty.
EMPTY = 10

SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}


@dataclass(frozen=True, eq=False)
class Pool:
    """What is pasted over what.

    Attributes:
        backgrounds: ``(H, W, 3)`` uint8 RGB, any sizes, at least four.
        objects: ``(H, W, 4)`` uint8 RGB and opacity, cut tight or not.
        labels: class of each object, an index of ``classes``.
        classes: names.
    """

    backgrounds: Sequence[Picture]
    objects: Sequence[Picture]
    labels: Sequence[int]
    classes: tuple[str, ...] = CLASSES

    def __post_init__(self) -> None:
        """Look everything through.

        Raises:
            DataError: too few backgrounds, no object, arrays of another shape or type, a label without a class.
        """
        if len(self.backgrounds) < 4:
            raise DataError(
                f"A pool has {len(self.backgrounds)} backgrounds; give at least 4, so that splits share none."
            )
        if not self.objects or len(self.objects) != len(self.labels):
            raise DataError(
                f"A pool has {len(self.objects)} objects and {len(self.labels)} labels; give one label each."
            )
        for name, channels, arrays in (("background", 3, self.backgrounds), ("object", 4, self.objects)):
            for n, array in enumerate(arrays):
                shape: tuple[int, ...] = getattr(array, "shape", ())
                kind = getattr(array, "dtype", None)
                if len(shape) != 3 or shape[2] != channels or min(shape) < 1 or kind != np.uint8:
                    raise DataError(f"{name} {n} is {kind} {shape}; give (H, W, {channels}) uint8.")
        for n, (array, label) in enumerate(zip(self.objects, self.labels, strict=True)):
            if not 0 <= label < len(self.classes):
                raise DataError(f"Object {n} has label {label}; the pool has {len(self.classes)} classes, from 0.")
            if not (array[..., 3] > 127).any():
                raise DataError(f"Object {n} is transparent everywhere; leave it out.")

    def part(self, split: str, seed: int) -> tuple[list[int], list[int]]:
        """Backgrounds and objects of a split: 70, 15 and 15 %, disjoint; ``domain-shift`` has those of ``test``.

        A class with fewer than four objects has the same in every split.
        """
        rng = rng_for(seed, "cutouts", "parts")
        wanted = "test" if split == "domain-shift" else split
        grounds = _share(list(range(len(self.backgrounds))), wanted, rng)
        objects: list[int] = []
        for label in range(len(self.classes)):
            of_class = [n for n, found in enumerate(self.labels) if found == label]
            objects += _share(of_class, wanted, rng) if len(of_class) >= 4 else of_class
        return sorted(grounds), sorted(objects)


def _share(items: list[int], split: str, rng: Rng) -> list[int]:
    order = [items[i] for i in rng.permutation(len(items))]
    few = max(1, round(SHARES["val"] * len(items)))
    return {"val": order[:few], "test": order[few : 2 * few], "train": order[2 * few :]}[split]


def sprite(model: Model, rng: Rng, side: int = 128) -> Picture:
    """A model seen from a random side a little from above, as ``(H, W, 4)`` uint8 cut tight."""
    mesh = model.placed(0, 0, 0, rng.uniform(0, 2 * np.pi)).mesh()
    points = mesh.corners.reshape(-1, 3)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    reach = float(np.linalg.norm(points - middle, axis=1).max())
    tilt, away = -rng.uniform(0.1, 0.9), 4.0 * reach
    place = middle - away * np.array([0.0, np.cos(tilt), np.sin(tilt)])
    pose = camera.poses(place[None], np.zeros(1), np.array([tilt]), np.zeros(1))[0]
    lens = np.array([1.8 * side, side / 2, side / 2, side, side], np.float64) * raster.SAMPLES
    still, moves = np.zeros((3, 4)), np.zeros((len(mesh), 3))
    weights, area = raster.set_up(raster.to_camera(mesh.corners, moves, pose, still, lens, 0.0), lens)
    owner, _ = raster.visible(weights, area, 2 * side, 2 * side)
    angle = rng.uniform(0, 2 * np.pi)
    lamps = np.array([[0.7 * np.cos(angle), 0.7 * np.sin(angle), 0.7, 1.3, 1.27, 1.2, 0.0, 1.0]])
    ambient = np.array([[0.5, 0.52, 0.55], [0.3, 0.29, 0.27]])
    ground = Ground(-1.0, -1.0, 1.0, (2, 2), -1e9)
    atlas, table = np.zeros(3, np.uint8), np.zeros((0, 3), np.int32)
    bare = np.full(len(mesh), -1, np.int32)
    surface = shading.Surface(mesh.corners, mesh.normals, mesh.uv, bare, mesh.paint, moves, atlas, table)
    light = shading.Light(lamps, ambient, ground.lit(), ground.frame(), np.zeros((3, 3)))
    image, _ = shading.shade(owner, weights, surface, pose, still, lens, light)
    cover = (owner >= 0).reshape(side, 2, side, 2).mean(axis=(1, 3)).astype(np.float32)
    colour = np.sqrt(np.clip(image / np.maximum(cover, 0.25)[..., None], 0.0, 1.0))
    whole = np.asarray(np.concatenate([colour, cover[..., None]], axis=2) * 255.0 + 0.5, np.uint8)
    rows, columns = np.nonzero(cover.any(axis=1))[0], np.nonzero(cover.any(axis=0))[0]
    return whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _surface(rng: Rng) -> Picture:
    """A drawn ground, seen at a slant under uneven light: ``(240, 320, 3)``."""
    value = float(rng.uniform(0.35, 0.75))
    colour = textures.near((value + 0.03, value, value - 0.04), 0.15, rng)
    joint = textures.near((0.5, 0.5, 0.5), 0.1, rng)
    kind = int(rng.integers(7))
    if kind == 0:
        found = textures.tiles(256, rng, colour, joint)
    elif kind == 1:
        found = textures.wood(256, rng, colour)
    elif kind == 2:
        found = textures.carpet(256, rng, colour, textures.near(colour, 0.2, rng))
    elif kind == 3:
        found = textures.bricks(256, rng, colour, joint)
    elif kind == 4:
        found = textures.facade(256, rng, textures.plaster(256, rng, colour))
    elif kind == 5:
        found = textures.lawn(256, rng, colour)
    else:
        found = textures.stone(256, rng, colour, chips=0.1 * rng.random())
    tiled = np.tile(found, (3, 3, 1))
    corners = np.array([(0, 0), (320, 0), (320, 240), (0, 240)], np.float32)
    slant = rng.uniform(0.0, 0.45) * 320
    wide, off = rng.uniform(300, 600), rng.uniform(0, 160)
    source = np.array(
        [(off - slant / 2, off), (off + wide * 0.6 + slant / 2, off), (off + wide * 0.6, off + 320), (off, off + 320)],
        np.float32,
    )
    view = cv2.warpPerspective(
        tiled, cv2.getPerspectiveTransform(source, corners), (320, 240), borderMode=cv2.BORDER_WRAP
    )
    light = 1 + 0.13 * cv2.resize(
        rng.standard_normal((4, 4)).astype(np.float32), (320, 240), interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(np.clip(view * np.clip(light, 0.4, 1.6)[..., None] * 255.0, 0, 255), np.uint8)


@lru_cache(maxsize=4)
def drawn_pool(seed: int) -> Pool:
    """40 drawn surfaces, and eight objects of each of ``CLASSES``."""
    backgrounds = [_surface(rng_for(seed, "cutouts", "background", n)) for n in range(40)]
    objects, labels = [], []
    for label, make in enumerate((robots.turtlebot, *traffic.MAKERS)):
        for n in range(8):
            rng = rng_for(seed, "cutouts", "object", label, n)
            objects.append(sprite(make(rng), rng))
            labels.append(label)
    return Pool(backgrounds, objects, labels)


def _ground(pool: Pool, number: int, size: tuple[int, int], rng: Rng) -> NDArray[np.float32]:
    """A random crop of a background with the frame's shape, 0 to 1."""
    picture = pool.backgrounds[number]
    high, wide = picture.shape[:2]
    fit = min(high / size[0], wide / size[1]) * rng.uniform(0.6, 1.0)
    rows, columns = max(1, int(size[0] * fit)), max(1, int(size[1] * fit))
    top, left = int(rng.integers(0, high - rows + 1)), int(rng.integers(0, wide - columns + 1))
    crop = picture[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    way = cv2.INTER_AREA if fit > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(crop), size[::-1], interpolation=way), np.float32) / np.float32(
        255.0
    )


def _laid(cut: Picture, size: tuple[int, int], rng: Rng) -> NDArray[np.float32]:
    """An object scaled, turned a little, mirrored now and then, put somewhere: ``(H, W, 4)`` premultiplied, 0 to 1."""
    layer = cut.astype(np.float32) / np.float32(255.0)
    layer[..., :3] *= layer[..., 3:]
    high, wide = layer.shape[:2]
    extent = np.exp(rng.uniform(np.log(0.07), np.log(0.5))) * size[1]
    scale = float(extent / max(high, wide))
    if scale < 1:
        # shrink without aliasing first
        layer = cv2.resize(
            layer, (max(1, round(wide * scale)), max(1, round(high * scale))), interpolation=cv2.INTER_AREA
        )
        high, wide, scale = layer.shape[0], layer.shape[1], 1.0
    turn, mirror = np.radians(rng.uniform(-12.0, 12.0)), rng.choice([-1.0, 1.0])
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    x, y = rng.uniform(0.03, 0.97) * size[1], rng.uniform(0.05, 0.95) * size[0]
    move = np.array([[c * mirror, -s, 0.0], [s * mirror, c, 0.0]])
    move[:, 2] = np.array([x, y]) - move[:, :2] @ (wide / 2, high / 2)
    return np.asarray(cv2.warpAffine(layer, move, size[::-1], flags=cv2.INTER_LINEAR), np.float32)


def _decoy(pool: Pool, number: int, size: tuple[int, int], rng: Rng) -> NDArray[np.float32]:
    """A patch of another background cut out as a blob, so that a pasted edge alone means nothing."""
    patch = _ground(pool, number, size, rng)
    mask = np.zeros(size, np.float32)
    angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 9))))
    reach = rng.uniform(0.04, 0.2) * size[1] * rng.uniform(0.6, 1.0, len(angle))
    at = rng.uniform(0.1, 0.9, 2) * size[::-1]
    ring = at + np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None]
    cv2.fillPoly(mask, [np.round(ring * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return np.concatenate([patch * mask[..., None], mask[..., None]], axis=2)


def draw_cutout(
    pool: Pool, split: str, trajectory: int, empty: bool, size: tuple[int, int], seed: int, rng: Rng
) -> tuple[View, list[int]]:
    """One photo: one to four objects and up to two decoys over the split's background number ``trajectory``.

    Returns:
        The view, and the class of each object in the order of its id.
    """
    grounds, objects = pool.part(split, seed)
    image = _ground(pool, grounds[trajectory % len(grounds)], size, rng)
    ids = np.zeros(size, np.int32)
    for _ in range(int(rng.integers(0, 3))):
        patch = _decoy(pool, grounds[int(rng.integers(len(grounds)))], size, rng)
        image = image * (1 - patch[..., 3:]) + patch[..., :3]
    labels: list[int] = []
    for _ in range(0 if empty else int(rng.integers(1, 5))):
        number = objects[int(rng.integers(len(objects)))]
        layer = _laid(pool.objects[number], size, rng)
        labels.append(int(pool.labels[number]))
        tone = np.float32(rng.uniform(0.7, 1.2)) * rng.uniform(0.93, 1.07, 3).astype(np.float32)
        image = image * (1 - layer[..., 3:]) + layer[..., :3] * tone
        ids[layer[..., 3] > 0.5] = len(labels)
    sensor = draw_sensor(rng, split == "domain-shift")
    light = np.square(np.clip(image, 0.0, 1.0), dtype=np.float32)
    return View(
        develop(light, sensor, rng), np.repeat(np.repeat(ids, raster.SAMPLES, axis=0), raster.SAMPLES, axis=1)
    ), labels
