"""A flight through a world, ready to be drawn frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.edge.world import camera, raster, shading
from fieldsight.systems.edge.world.flight import Flight
from fieldsight.systems.edge.world.mesh import Mesh, Model, about_z, joined
from fieldsight.systems.edge.world.sensor import Picture, Sensor, develop
from fieldsight.systems.edge.world.shadows import Ground, cast
from fieldsight.systems.edge.world.textures import Rng, Textures

Doubles = NDArray[np.float64]

#: No label: a thing that moves but is not looked for.
UNLABELLED = -1


@dataclass(frozen=True)
class Actor:
    """A thing with a label or with movement.

    Attributes:
        mesh: around its own origin, facing +x; ``casters`` its coarse solids, as in a model.
        label: index of its class, or ``UNLABELLED``.
        path: ``(N + 2, 4)`` x, y, z in m and yaw in radians from one frame before the first to one after the last.
        leaves: it is gone in background frames.
    """

    mesh: Mesh
    casters: list[Doubles]
    label: int
    path: Doubles
    leaves: bool = True

    @classmethod
    def of(cls, model: Model, label: int, path: Doubles, leaves: bool = True) -> Actor:
        """From a model."""
        return cls(model.mesh(), model.casters, label, path, leaves)

    @cached_property
    def reach(self) -> float:
        """Radius of a ball around its origin that holds it, m."""
        return float(np.sqrt(np.square(self.mesh.corners).sum(axis=2).max()))


@dataclass(frozen=True)
class Scene:
    """Everything that a flight sees.

    Attributes:
        still: what never moves; ``floor`` the shadows it throws ``(2, R, C)``.
        actors: in the order of their ids, which start at 1.
        poses: ``(N + 2, 3, 4)`` world to camera from one frame before the first to one after the last.
        background: ``(N,)`` bool, frames without anything that leaves.
        atlas, table: textures; lamps, ambient, air: see :class:`~fieldsight.systems.edge.world.shading.Light`.
        sensor: the camera's settings.
    """

    still: Mesh
    floor: NDArray[np.float32]
    ground: Ground
    actors: list[Actor]
    poses: Doubles
    background: NDArray[np.bool_]
    atlas: NDArray[np.uint8]
    table: NDArray[np.int32]
    lamps: Doubles
    ambient: Doubles
    air: Doubles
    sensor: Sensor

    @classmethod
    def of(
        cls, flight: Flight, parts: Sequence[Mesh], things: Sequence[Model], ground: Ground, actors: list[Actor],
        textures: Textures, light: tuple[Doubles, Doubles, Doubles], sensor: Sensor,
    ) -> Scene:  # fmt: skip
        """What a flight sees of a world.

        Args:
            flight: of the camera.
            parts: what never moves and throws no shadow.
            things: what never moves and throws one.
            ground: where the shadows fall.
            actors: see above.
            textures: of all meshes.
            light: lamps, ambient and air.
            sensor: the camera's settings.
        """
        lamps, ambient, air = light
        floor = ground.lit()
        for thing in things:
            cast(floor, ground, thing.casters, lamps)
        still = joined([*parts, *(thing.mesh() for thing in things)])
        poses, (atlas, table) = flight.poses(), textures.packed()
        return cls(
            still, floor, ground, actors, poses, flight.background, atlas, table, lamps, ambient, air, sensor
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.background)

    def throw(self, floor: NDArray[np.float32], who: Sequence[int], frame: int) -> None:
        """Darken the floor in place by the shadows of some actors."""
        for k in who:
            x, y, z, yaw = self.actors[k].path[frame + 1]
            turn, move = about_z(float(yaw)), np.array([x, y, z])
            cast(floor, self.ground, [c @ turn.T + move for c in self.actors[k].casters], self.lamps)

    @cached_property
    def resting(self) -> frozenset[int]:
        """The actors that never move."""
        return frozenset(k for k, actor in enumerate(self.actors) if np.ptp(actor.path, axis=0).max() == 0)

    @cached_property
    def occupied(self) -> NDArray[np.float32]:
        """The floor with the shadows of those that never move: they are thrown once, not in every frame."""
        floor = self.floor.copy()
        self.throw(floor, sorted(self.resting), 0)
        return floor


@dataclass(frozen=True)
class View:
    """One frame.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        ids: ``(2 H, 2 W)`` int32, two samples a pixel each way: 0 for the world, ``k + 1`` for actor ``k``.
    """

    image: Picture
    ids: NDArray[np.int32]


def _present(scene: Scene, frame: int, lens: Doubles) -> list[int]:
    """Indices of the actors that stand in the frame or near it."""
    pose, found = scene.poses[frame + 1], []
    slope = np.array([lens[3] / (2 * lens[0]), lens[4] / (2 * lens[0])])
    for k, actor in enumerate(scene.actors):
        if actor.leaves and scene.background[frame]:
            continue
        x, y, z = pose[:, :3] @ actor.path[frame + 1, :3] + pose[:, 3]
        reach = 1.1 * actor.reach + 0.05
        grow = np.hypot(1.0, slope)
        inside = abs(x) < z * slope[0] + reach * grow[0] and abs(y) < z * slope[1] + reach * grow[1]
        if z > -reach and inside:
            found.append(k)
    return found


def _assembled(scene: Scene, frame: int, present: Sequence[int]) -> tuple[Mesh, Doubles, NDArray[np.int32]]:
    """All triangles of a frame, their movement ``(T, 3)`` m per frame interval, and whose they are ``(T,)``."""
    meshes, moves = [scene.still], [np.zeros((len(scene.still), 3))]
    owners = [np.zeros(len(scene.still), np.int32)]
    for k in present:
        actor = scene.actors[k]
        x, y, z, yaw = (float(v) for v in actor.path[frame + 1])
        meshes.append(actor.mesh.placed(x, y, z, yaw))
        speed = (actor.path[frame + 2, :3] - actor.path[frame, :3]) / 2
        moves.append(np.tile(speed, (len(actor.mesh), 1)))
        owners.append(np.full(len(actor.mesh), k + 1, np.int32))
    return joined(meshes), np.concatenate(moves), np.concatenate(owners)


def draw_view(scene: Scene, frame: int, size: tuple[int, int], rng: Rng) -> View:
    """Draw a frame of ``size`` (height, width); ``rng`` is the chance of this frame's sensor."""
    lens = camera.lens(size, raster.SAMPLES)
    present = _present(scene, frame, lens)
    mesh, moves, owners = _assembled(scene, frame, present)
    pose = np.ascontiguousarray(scene.poses[frame + 1])
    rate = np.ascontiguousarray((scene.poses[frame + 2] - scene.poses[frame]) / 2)
    sensor = scene.sensor
    seen = raster.to_camera(mesh.corners, moves, pose, rate, lens, sensor.readout)
    weights, area = raster.set_up(seen, lens)
    owner, _ = raster.visible(weights, area, raster.SAMPLES * size[0], raster.SAMPLES * size[1])
    ids = np.where(owner < 0, 0, owners[owner]).astype(np.int32)
    # in a background frame whoever leaves has taken the shadow along
    still = () if scene.background[frame] else scene.resting
    floor = (scene.occupied if still else scene.floor).copy()
    scene.throw(floor, [k for k in present if k not in still], frame)
    surface = shading.Surface(
        mesh.corners, mesh.normals, mesh.uv, mesh.texture, mesh.paint, moves, scene.atlas, scene.table
    )
    light = shading.Light(scene.lamps, scene.ambient, floor, scene.ground.frame(), scene.air)
    image, flow = shading.shade(owner, weights, surface, pose, rate, lens, light)
    image = shading.smear(image, flow, sensor.shutter, 16)
    return View(develop(image, sensor, rng), ids)


def boxes_of(
    ids: NDArray[np.int32], labels: Sequence[int], least: float
) -> tuple[Doubles, NDArray[np.int64], list[int]]:
    """Boxes of the visible parts, in px.

    Args:
        ids: ``(2 H, 2 W)`` as :class:`View` has them.
        labels: class of each actor, ``UNLABELLED`` for what gets no box.
        least: boxes with a side below this many px are left out, and slivers of less than half a square of that side.

    Returns:
        ``(K, 4)`` x1, y1, x2, y2; ``(K,)`` labels; the actors' indices.
    """
    from scipy.ndimage import find_objects

    boxes, kept, who = [], [], []
    for k, part in enumerate(find_objects(ids, len(labels))):
        if part is None or labels[k] == UNLABELLED:
            continue
        rows, columns = part
        box = np.array([columns.start, rows.start, columns.stop, rows.stop]) / raster.SAMPLES
        seen = float((ids[part] == k + 1).sum()) / raster.SAMPLES**2
        if min(box[2] - box[0], box[3] - box[1]) >= least and seen >= least * least / 2:
            boxes.append(box)
            kept.append(labels[k])
            who.append(k)
    return np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(kept, np.int64), who
