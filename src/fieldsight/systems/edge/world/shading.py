"""The colour of what each sample sees: textures, lamps, haze, and the blur of a moving camera.

Colours are light (linear): a photo's value is about its square root.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fieldsight.compiled import compiled

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]


class Surface(NamedTuple):
    """Triangles as the shader reads them; see :class:`~fieldsight.systems.edge.world.mesh.Mesh`.

    Attributes:
        corners: ``(T, 3, 3)`` m; normals: ``(T, 3, 3)``; uv: ``(T, 3, 2)``; texture: ``(T,)``; paint: ``(T, 5)``.
        moves: ``(T, 3)`` own movement, m per frame interval.
        atlas, table: textures, see :func:`fetch`.
    """

    corners: Doubles
    normals: Floats
    uv: Floats
    texture: Ints
    paint: Floats
    moves: Doubles
    atlas: Bytes
    table: Ints


class Light(NamedTuple):
    """What lights a scene.

    Attributes:
        lamps: ``(L, 8)``: x y z (a place, or the direction towards it), RGB, 1 for a place or 0 for a direction, reach
            in m at which a lamp gives half.
        ambient: ``(2, 3)`` RGB from above and from below.
        ground: ``(2, R, C)`` on the floor: share of direct light, share of ambient light.
        frame: x and y of the first cell, cells per metre, height up to which the floor's map counts.
        air: ``(3, 3)``: RGB at the horizon, RGB overhead, and haze (metres at which about two thirds are lost; 0 none).
    """

    lamps: Doubles
    ambient: Doubles
    ground: Floats
    frame: Doubles
    air: Doubles


@compiled
def fetch(atlas: Bytes, table: Ints, texture: int, u: float, v: float, spread: float, found: Floats) -> None:
    """A bilinear look into a texture's level of detail; writes photo RGB 0-1 to ``found`` (3).

    ``table`` holds for each texture: first byte, side in px (a power of two), number of levels.
    """
    offset, side, levels = table[texture, 0], table[texture, 1], table[texture, 2]
    texels = spread * side
    level = 0
    while texels > 1.5 and level < levels - 1:
        texels *= 0.5
        offset += side * side * 3
        side //= 2
        level += 1
    x, y = (u - np.floor(u)) * side - 0.5, (v - np.floor(v)) * side - 0.5
    i, j = int(np.floor(x)), int(np.floor(y))
    a, b = np.float32(x - i), np.float32(y - j)
    mask = side - 1
    top = offset + (j & mask) * side * 3
    low = offset + ((j + 1) & mask) * side * 3
    left, right = (i & mask) * 3, ((i + 1) & mask) * 3
    one = np.float32(1.0)
    for c in range(3):
        upper = atlas[top + left + c] * (one - a) + atlas[top + right + c] * a
        lower = atlas[low + left + c] * (one - a) + atlas[low + right + c] * a
        found[c] = (upper * (one - b) + lower * b) * np.float32(1.0 / 255.0)


@compiled
def _floor_light(x: float, y: float, ground: Floats, frame: Doubles) -> tuple[float, float]:
    """Shares of direct and ambient light at a place on the floor; 1 beyond the map."""
    column, row = (x - frame[0]) * frame[2] - 0.5, (y - frame[1]) * frame[2] - 0.5
    if not (0 <= column < ground.shape[2] - 1 and 0 <= row < ground.shape[1] - 1):
        return 1.0, 1.0
    i, j = int(column), int(row)
    a, b = column - i, row - j
    p, q, r, s = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    direct = p * ground[0, j, i] + q * ground[0, j, i + 1] + r * ground[0, j + 1, i] + s * ground[0, j + 1, i + 1]
    around = p * ground[1, j, i] + q * ground[1, j, i + 1] + r * ground[1, j + 1, i] + s * ground[1, j + 1, i + 1]
    return direct, around


@compiled
def lit(
    place: Doubles,
    normal: Doubles,
    eye: Doubles,
    paint: Floats,
    colour: Floats,
    lamps: Doubles,
    ambient: Doubles,
    ground: Floats,
    frame: Doubles,
) -> None:
    """Light on one point; turns the reflectance in ``colour`` (3) into radiance in place.

    Args:
        place: world coordinates; normal: unit normal; eye: the camera's place.
        paint: ``(5,)``, its gloss and glow are used.
        lamps, ambient, ground, frame: as in :class:`Light`.
    """
    direct, around = 1.0, 1.0
    if place[2] < frame[3]:
        direct, around = _floor_light(place[0], place[1], ground, frame)
    else:
        around = 0.62 + 0.38 * min(1.0, place[2] * frame[2] * 0.08)
    up = 0.5 + 0.5 * normal[2]
    red = around * (ambient[0, 0] * up + ambient[1, 0] * (1 - up))
    green = around * (ambient[0, 1] * up + ambient[1, 1] * (1 - up))
    blue = around * (ambient[0, 2] * up + ambient[1, 2] * (1 - up))
    shine = 0.0
    vx, vy, vz = eye[0] - place[0], eye[1] - place[1], eye[2] - place[2]
    away = np.sqrt(vx * vx + vy * vy + vz * vz) + 1e-9
    for n in range(lamps.shape[0]):
        lx, ly, lz, power = lamps[n, 0], lamps[n, 1], lamps[n, 2], 1.0
        if lamps[n, 6] > 0:
            lx, ly, lz = lx - place[0], ly - place[1], lz - place[2]
            square = lx * lx + ly * ly + lz * lz
            power = 1.0 / (1.0 + square / (lamps[n, 7] * lamps[n, 7]))
            far = np.sqrt(square) + 1e-9
            lx, ly, lz = lx / far, ly / far, lz / far
        facing = normal[0] * lx + normal[1] * ly + normal[2] * lz
        if facing <= 0:
            continue
        power *= direct
        red += power * facing * lamps[n, 3]
        green += power * facing * lamps[n, 4]
        blue += power * facing * lamps[n, 5]
        if paint[3] > 0.02:
            hx, hy, hz = lx + vx / away, ly + vy / away, lz + vz / away
            half = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
            sharp = (normal[0] * hx + normal[1] * hy + normal[2] * hz) / half
            if sharp > 0:
                shine += power * paint[3] * sharp**40
    glow = paint[4]
    colour[0] = colour[0] * (red * (1 - glow) + glow) + 0.5 * shine
    colour[1] = colour[1] * (green * (1 - glow) + glow) + 0.5 * shine
    colour[2] = colour[2] * (blue * (1 - glow) + glow) + 0.5 * shine


@compiled
def footprint(w: Doubles, depth: float, weights: Doubles, uv: Floats, found: Doubles) -> None:
    """Texture coordinates and the side of a pixel's footprint there; writes u, v, side to ``found`` (3).

    ``w`` are barycentric weights over depth, ``weights`` ``(3, 3)`` their change over columns and rows of samples.
    """
    u, v, ux, uy, vx, vy, tx, ty = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(3):
        p, q, a, b = uv[i, 0], uv[i, 1], weights[i, 0], weights[i, 1]
        u, v = u + w[i] * p, v + w[i] * q
        ux, uy, vx, vy = ux + a * p, uy + b * p, vx + a * q, vy + b * q
        tx, ty = tx + a, ty + b
    u, v = u * depth, v * depth
    ux, uy, vx, vy = ux - u * tx, uy - u * ty, vx - v * tx, vy - v * ty
    one, two = np.sqrt(ux * ux + vx * vx), np.sqrt(uy * uy + vy * vy)
    found[0], found[1] = u, v
    # two samples a pixel; between the footprint's long and short side: crisp at grazing angles, little flicker
    found[2] = 2.0 * depth * (0.85 * np.sqrt(one * two) + 0.15 * max(one, two))


@compiled
def backdrop(su: float, sv: float, pose: Doubles, lens: Doubles, air: Doubles, found: Floats) -> None:
    """The sky's light at a sample; writes RGB to ``found`` (3)."""
    dx, dy = (su + 0.5 - lens[1]) / lens[0], (sv + 0.5 - lens[2]) / lens[0]
    rise = (pose[0, 2] * dx + pose[1, 2] * dy + pose[2, 2]) / np.sqrt(dx * dx + dy * dy + 1)
    rise = min(max(rise * 2.0, 0.0), 1.0)
    for c in range(3):
        found[c] = air[0, c] + (air[1, c] - air[0, c]) * rise


@compiled
def centroid(four: Ints, k: int, found: Doubles) -> float:
    """Share of a pixel's four samples that see what sample ``k`` sees, 0 if an earlier one already spoke for it.

    Writes the mean column and row of those samples within the pixel to ``found`` (2).
    """
    share, su, sv = 0.0, 0.0, 0.0
    for other in range(4):
        if four[other] == four[k]:
            if other < k:
                return 0.0
            share, su, sv = share + 0.25, su + other % 2, sv + other // 2
    found[0], found[1] = su / (4 * share), sv / (4 * share)
    return share


@compiled
def surface_point(
    t: int,
    su: float,
    sv: float,
    weights: Doubles,
    corners: Doubles,
    normals: Floats,
    w: Doubles,
    place: Doubles,
    normal: Doubles,
) -> float:
    """Where sample column ``su`` and row ``sv`` meet triangle ``t``; gives the depth in m.

    Writes the barycentric weights over depth to ``w`` (3), world coordinates to ``place``, a unit vector to ``normal``.
    """
    for i in range(3):
        w[i] = weights[t, i, 0] * su + weights[t, i, 1] * sv + weights[t, i, 2]
    depth = 1.0 / (w[0] + w[1] + w[2])
    for c in range(3):
        place[c] = depth * (w[0] * corners[t, 0, c] + w[1] * corners[t, 1, c] + w[2] * corners[t, 2, c])
        normal[c] = w[0] * normals[t, 0, c] + w[1] * normals[t, 1, c] + w[2] * normals[t, 2, c]
    long = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-12
    for c in range(3):
        normal[c] /= long
    return depth


@compiled
def drift(place: Doubles, move: Doubles, pose: Doubles, rate: Doubles, found: Doubles) -> None:
    """Speed of a world point in camera coordinates, m per frame interval; writes it to ``found`` (3)."""
    for c in range(3):
        found[c] = rate[c, 3]
        for i in range(3):
            found[c] += rate[c, i] * place[i] + pose[c, i] * move[i]


@compiled
def shade(
    owner: Ints, weights: Doubles, surface: Surface, pose: Doubles, rate: Doubles, lens: Doubles, light: Light
) -> tuple[Floats, Floats]:
    """Radiance ``(H, W, 3)`` and movement ``(H, W, 2)`` in px per frame interval, one shading per triangle and pixel.

    Args:
        owner: ``(2 H, 2 W)`` from :func:`~fieldsight.systems.edge.world.raster.visible`; ``weights`` from ``set_up``.
        pose, rate, lens: as for :func:`~fieldsight.systems.edge.world.raster.to_camera`.
    """
    # a field of a tuple that is read in the inner loop costs as much as the shading itself
    corners, normals, uv, texture, paint, moves, atlas, table = surface
    lamps, ambient, ground, frame, air = light
    high, wide = owner.shape[0] // 2, owner.shape[1] // 2
    image, flow = np.zeros((high, wide, 3), np.float32), np.zeros((high, wide, 2), np.float32)
    eye, place, normal, w, look = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    colour, seen, four = np.zeros(3, np.float32), np.zeros(3, np.float32), np.zeros(4, np.int32)
    for c in range(3):
        eye[c] = -(pose[0, c] * pose[0, 3] + pose[1, c] * pose[1, 3] + pose[2, c] * pose[2, 3])
    for row in range(high):
        for column in range(wide):
            for k in range(4):
                four[k] = owner[2 * row + k // 2, 2 * column + k % 2]
            for k in range(4):
                share = centroid(four, k, look)
                if share == 0.0:
                    continue
                t, su, sv = four[k], 2 * column + look[0], 2 * row + look[1]
                if t < 0:
                    backdrop(su, sv, pose, lens, air, colour)
                    for c in range(3):
                        image[row, column, c] += np.float32(share) * colour[c]
                    continue
                depth = surface_point(t, su, sv, weights, corners, normals, w, place, normal)
                for c in range(3):
                    colour[c] = paint[t, c]
                if texture[t] >= 0:
                    footprint(w, depth, weights[t], uv[t], look)
                    fetch(atlas, table, texture[t], look[0], look[1], look[2], seen)
                    for c in range(3):
                        colour[c] *= seen[c] * seen[c]
                lit(place, normal, eye, paint[t], colour, lamps, ambient, ground, frame)
                veil = np.float32(1.0 - np.exp(-depth / air[2, 0]) if air[2, 0] > 0 else 0.0)
                for c in range(3):
                    colour[c] += (np.float32(air[0, c]) - colour[c]) * veil
                    image[row, column, c] += np.float32(share) * colour[c]
                drift(place, moves[t], pose, rate, w)
                pace = lens[0] * 0.5 * share / depth
                flow[row, column, 0] += np.float32(pace * (w[0] - (su + 0.5 - lens[1]) / lens[0] * w[2]))
                flow[row, column, 1] += np.float32(pace * (w[1] - (sv + 0.5 - lens[2]) / lens[0] * w[2]))
    return image, flow


@compiled
def smear(image: Floats, flow: Floats, open_for: float, limit: int) -> Floats:
    """Blur ``(H, W, 3)`` along each pixel's way while the shutter is open, by at most ``limit`` looks either side."""
    high, wide = image.shape[0], image.shape[1]
    found = np.empty_like(image)
    for row in range(high):
        for column in range(wide):
            dx, dy = flow[row, column, 0] * open_for, flow[row, column, 1] * open_for
            looks = min(int(max(abs(dx), abs(dy)) * 0.5 + 0.35), limit)
            if looks == 0:
                for c in range(3):
                    found[row, column, c] = image[row, column, c]
                continue
            red, green, blue = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for n in range(-looks, looks + 1):
                share = 0.5 * n / looks
                i = min(max(int(np.floor(column + dx * share + 0.5)), 0), wide - 1)
                j = min(max(int(np.floor(row + dy * share + 0.5)), 0), high - 1)
                red += image[j, i, 0]
                green += image[j, i, 1]
                blue += image[j, i, 2]
            scale = np.float32(1.0 / (2 * looks + 1))
            found[row, column, 0] = red * scale
            found[row, column, 1] = green * scale
            found[row, column, 2] = blue * scale
    return found
