"""Triangles with material, and the solids that the drawn world is built of.

Metres; x right, y ahead, z up. Corners run counter-clockwise seen from outside: a triangle has one visible side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Colour = tuple[float, float, float]
Vector = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """What a surface is made of.

    Attributes:
        colour: RGB as seen in a photo, 0 to 1; multiplies the texture.
        texture: index in the scene's textures, -1 for none.
        period: metres that one repeat of the texture covers; 0 stretches it over the face.
        gloss: strength of the highlight, 0 to 1.
        glow: 1 for what shines by itself (lamps, windows), else 0.
    """

    colour: Colour
    texture: int = -1
    period: float = 0.0
    gloss: float = 0.1
    glow: float = 0.0


@dataclass(frozen=True)
class Mesh:
    """Triangles.

    Attributes:
        corners: ``(T, 3, 3)`` float64, triangle, corner, x y z in metres.
        normals: ``(T, 3, 3)`` float32 unit normals at the corners.
        uv: ``(T, 3, 2)`` float32 texture coordinates, one repeat is 1.
        texture: ``(T,)`` int32, -1 for none.
        paint: ``(T, 5)`` float32: linear RGB, gloss, glow.
    """

    corners: Points
    normals: Floats
    uv: Floats
    texture: Ints
    paint: Floats

    def __len__(self) -> int:
        return len(self.corners)

    def placed(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Mesh:
        """Turned by ``yaw`` radians about z (counter-clockwise from above), then moved."""
        return self.turned(about_z(yaw), (x, y, z))

    def turned(self, turn: Points, move: Vector = (0.0, 0.0, 0.0)) -> Mesh:
        """Under the rotation ``turn`` ``(3, 3)``, then moved."""
        # one product of flat arrays is many times faster than one of (T, 3, 3)
        corners = self.corners.reshape(-1, 3) @ turn.T + np.asarray(move, np.float64)
        normals = self.normals.reshape(-1, 3) @ turn.T.astype(np.float32)
        return replace(self, corners=corners.reshape(-1, 3, 3), normals=normals.reshape(-1, 3, 3))


def about_z(angle: float) -> Points:
    """Rotation ``(3, 3)`` by ``angle`` radians about z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def about_x(angle: float) -> Points:
    """Rotation ``(3, 3)`` by ``angle`` radians about x: y towards z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def about_y(angle: float) -> Points:
    """Rotation ``(3, 3)`` by ``angle`` radians about y: z towards x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """All triangles of several meshes, in order; at least one mesh."""
    return Mesh(
        np.concatenate([m.corners for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.texture for m in meshes]),
        np.concatenate([m.paint for m in meshes]),
    )


def _mesh(corners: Points, normals: Points, uv: Points, material: Material) -> Mesh:
    count = len(corners)
    # photos hold about the square root of light (gamma 2)
    paint = np.array([*(c * c for c in material.colour), material.gloss, material.glow], np.float32)
    return Mesh(
        np.asarray(corners, np.float64),
        np.asarray(normals, np.float32),
        np.asarray(uv, np.float32),
        np.full(count, material.texture, np.int32),
        np.broadcast_to(paint, (count, 5)),
    )


def _crossed(a: Points, b: Points) -> Points:
    """Cross product of two vectors; ``np.cross`` costs twenty times as much for one pair."""
    (p, q, r), (s, t, u) = a.tolist(), b.tolist()
    return np.array([q * u - r * t, r * s - p * u, p * t - q * s])


def _unit(a: Points) -> Points:
    return np.asarray(a / max(float(np.sqrt(a @ a)), 1e-12))


def fan(ring: Points, material: Material, uv: Points | None = None) -> Mesh:
    """A flat convex polygon ``(n, 3)``, counter-clockwise from its visible side."""
    n = len(ring)
    edge = ring[1] - ring[0]
    normal = _unit(_crossed(edge, ring[2] - ring[0]))
    pick = np.array([(0, i, i + 1) for i in range(1, n - 1)])
    if uv is None and material.texture < 0:
        uv = np.zeros((n, 2))
    elif uv is None:
        across = _unit(edge)
        up = _crossed(normal, across)
        uv = np.stack([(ring - ring[0]) @ across, (ring - ring[0]) @ up], axis=1)
        uv = uv / material.period if material.period > 0 else uv / np.maximum(uv.max(axis=0), 1e-9)
    return _mesh(ring[pick], np.broadcast_to(normal, (len(pick), 3, 3)), uv[pick], material)


def quad(a: Vector, b: Vector, c: Vector, d: Vector, material: Material) -> Mesh:
    """A flat four-sided face; the texture's u runs from ``a`` to ``b``, its v from ``a`` to ``d``."""
    return fan(np.array([a, b, c, d], np.float64), material)


def sheet(origin: Vector, along: Vector, up: Vector, cells: tuple[int, int], material: Material) -> Mesh:
    """A parallelogram seen from the side of ``along`` x ``up``, cut into cells so that a rolling shutter can bend it.

    The texture starts at ``origin``; with a period of 0 it is stretched over the whole.
    """
    start, u, v = (np.asarray(p, np.float64) for p in (origin, along, up))
    long = np.array([np.linalg.norm(u), np.linalg.norm(v)])
    scale = long / material.period if material.period > 0 else np.ones(2)
    parts = []
    for j in range(cells[1]):
        for i in range(cells[0]):
            at = np.array([((i + a) / cells[0], (j + b) / cells[1]) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))])
            parts.append(fan(start + at[:, :1] * u + at[:, 1:] * v, material, at * scale))
    return joined(parts)


def box(size: Vector, centre: Vector, material: Material, top: Material | None = None, base: bool = True) -> Mesh:
    """A box of ``size`` x y z around ``centre``; ``top`` is another material for its upper face."""
    half = np.asarray(size, np.float64) / 2
    middle = np.asarray(centre, np.float64)

    def face(*signs: tuple[int, int, int]) -> Points:
        return middle + half * np.array(signs, np.float64)

    rings = [
        face((1, -1, -1), (1, 1, -1), (1, 1, 1), (1, -1, 1)),
        face((-1, 1, -1), (-1, -1, -1), (-1, -1, 1), (-1, 1, 1)),
        face((1, 1, -1), (-1, 1, -1), (-1, 1, 1), (1, 1, 1)),
        face((-1, -1, -1), (1, -1, -1), (1, -1, 1), (-1, -1, 1)),
    ]
    parts = [fan(ring, material) for ring in rings]
    parts.append(fan(face((-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)), top or material))
    if base:
        parts.append(fan(face((-1, 1, -1), (1, 1, -1), (1, -1, -1), (-1, -1, -1)), material))
    return joined(parts)


def frustum(
    radii: tuple[float, float],
    height: float,
    centre: Vector,
    material: Material,
    sides: int = 12,
    top: Material | None = None,
    base: bool = True,
) -> Mesh:
    """An upright cylinder or cut cone on ``centre`` (of its base), with smooth shading round the side."""
    angle = np.linspace(0.0, 2 * np.pi, sides + 1)
    round_ = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    low = np.concatenate([radii[0] * round_, np.zeros((sides + 1, 1))], axis=1) + np.asarray(centre, np.float64)
    high = np.concatenate([radii[1] * round_, np.full((sides + 1, 1), height)], axis=1) + np.asarray(centre, np.float64)
    slope = (radii[0] - radii[1]) / max(height, 1e-9)
    normal = np.concatenate([round_, np.full((sides + 1, 1), slope)], axis=1) / np.hypot(1.0, slope)
    around = angle / (2 * np.pi)
    if material.period > 0:
        around = around * max(1.0, round(2 * np.pi * max(radii) / material.period))
    rise = height / material.period if material.period > 0 else 1.0
    corners, normals, uv = [], [], []
    for i in range(sides):
        for pick in (
            ((low, i, 0.0), (low, i + 1, 0.0), (high, i + 1, rise)),
            ((low, i, 0.0), (high, i + 1, rise), (high, i, rise)),
        ):
            corners.append([ring[n] for ring, n, _ in pick])
            normals.append([normal[n] for _, n, _ in pick])
            uv.append([(around[n], v) for _, n, v in pick])
    parts = [_mesh(np.array(corners), np.array(normals), np.array(uv), material)]
    if radii[1] > 0:
        parts.append(fan(high[:-1], top or material))
    if base and radii[0] > 0:
        parts.append(fan(low[-2::-1], material))
    return joined(parts)


def ball(radii: Vector, centre: Vector, material: Material, rings: int = 5, sides: int = 9) -> Mesh:
    """An ellipsoid with half axes ``radii``."""
    lift = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    angle = np.linspace(0.0, 2 * np.pi, sides + 1)
    unit = np.stack(
        [
            np.cos(lift)[:, None] * np.cos(angle),
            np.cos(lift)[:, None] * np.sin(angle),
            np.broadcast_to(np.sin(lift)[:, None], (rings + 1, sides + 1)),
        ],
        axis=-1,
    )
    normal = unit / np.asarray(radii)
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    place = unit * np.asarray(radii) + np.asarray(centre, np.float64)
    period = material.period or 1.0
    flat = np.stack(np.meshgrid(angle / (2 * np.pi), np.linspace(0, 1, rings + 1)), axis=-1) / period
    picks = []
    for j in range(rings):
        for i in range(sides):
            if j > 0:
                picks.append([(j, i), (j, i + 1), (j + 1, i + 1)])
            if j < rings - 1:
                picks.append([(j, i), (j + 1, i + 1), (j + 1, i)])
    at = np.array(picks)
    rows, columns = at[..., 0], at[..., 1]
    return _mesh(place[rows, columns], normal[rows, columns], flat[rows, columns], material)


def prism(outline: Points, width: float, material: Material, sides: Sequence[Material] | None = None) -> Mesh:
    """A convex outline ``(n, 2)`` in x and z, counter-clockwise seen from -y, drawn out over ``width`` along y.

    ``sides`` gives a material for each edge, from corner ``i`` to ``i + 1``.
    """
    n = len(outline)
    near = np.stack([outline[:, 0], np.full(n, -width / 2), outline[:, 1]], axis=1)
    far = near + np.array([0.0, width, 0.0])
    parts = [fan(near, material), fan(far[::-1], material)]
    for i in range(n):
        j = (i + 1) % n
        parts.append(fan(np.array([near[j], near[i], far[i], far[j]]), sides[i] if sides else material))
    return joined(parts)


def rod(a: Vector, b: Vector, radius: float, material: Material, sides: int = 5) -> Mesh:
    """A round bar from ``a`` to ``b``."""
    start, end = np.asarray(a, np.float64), np.asarray(b, np.float64)
    axis = end - start
    length, up = float(np.sqrt(axis @ axis)), _unit(axis)
    side = _unit(_crossed(up, np.array([1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 1.0, 0.0])))
    turn = np.stack([side, _crossed(up, side), up], axis=1)
    return frustum((radius, radius), length, (0, 0, 0), material, sides).turned(turn, start)


@dataclass
class Model:
    """A thing made of meshes, and the coarse convex solids whose shadows it throws.

    Attributes:
        meshes: what is seen.
        casters: ``(n, 3)`` corner points each.
    """

    meshes: list[Mesh] = field(default_factory=list)
    casters: list[Points] = field(default_factory=list)

    def add(self, mesh: Mesh, casts: bool = True) -> Model:
        """Take a convex part in; ``casts`` lets it throw a shadow."""
        self.meshes.append(mesh)
        if casts:
            self.casters.append(np.unique(mesh.corners.reshape(-1, 3), axis=0))
        return self

    def mesh(self) -> Mesh:
        """All parts as one."""
        return joined(self.meshes)

    def placed(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Model:
        """Turned by ``yaw`` about z, then moved."""
        turn, move = about_z(yaw), np.array([x, y, z])
        return Model([self.mesh().placed(x, y, z, yaw)], [c @ turn.T + move for c in self.casters])
