"""The person who wears the sensor: how they walk, turn and sway, and where the camera is because of it.

The wearer walks along the street, +y. Numbers of the gait are the specification's; amplitudes are half the swing.
Camera: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.alert.world import STEP, Path, between, moving

Array = NDArray[Any]

Gait = Literal["walk", "stand", "stop_and_go", "turn", "any"]

#: How often each state is drawn for ``any``.
STATES = {"walk": 0.5, "stand": 0.25, "stop_and_go": 0.15, "turn": 0.1}

#: Speed in m/s at which the gait has its full swing.
STRIDE = 1.35


@dataclass(frozen=True)
class Wearer:
    """A wearer over the whole scene; angles in radians, arrays ``(T,)`` on the grid.

    Attributes:
        path: of the body, without sway.
        height: of the chest in metres.
        rows: ``(T, 6)``: side, height above ground, pitch (up), yaw of the torso against the way, x and y of the body.
        mount: ``(3, 3)`` constant rotation of the phone against the chest.
        body: ``(T, 4)``: x, y, vx, vy of the body.
    """

    path: Path
    height: float
    rows: Array
    mount: Array
    body: Array

    def camera(self, t: float) -> Array:
        """Exact ``T_world_cam`` ``(4, 4)`` at time ``t`` in seconds."""
        sway, height, pitch, yaw, x, y = between(self.rows, t)
        pose = np.eye(4)
        pose[:3, :3] = facing(np.pi / 2 + yaw) @ rotation(pitch, 0.0, 0.0) @ self.mount
        pose[:3, 3] = x + sway, y, height
        return pose

    def at(self, t: float) -> Array:
        """``x, y, vx, vy`` of the body at time ``t``."""
        return between(self.body, t)


def facing(heading: float) -> Array:
    """Camera axes as columns ``(3, 3)`` for a level view along ``heading`` (radians from +x, counter-clockwise)."""
    c, s = np.cos(heading), np.sin(heading)
    return np.array([[s, 0.0, c], [-c, 0.0, s], [0.0, -1.0, 0.0]])


def rotation(pitch: float, yaw: float, roll: float) -> Array:
    """Rotation ``(3, 3)`` in camera axes: yaw to the left about -y, then pitch up about x, then roll about z."""
    cy, sy, cp, sp, cr, sr = np.cos(-yaw), np.sin(-yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
    about_z = np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return about_y @ about_x @ about_z


def pace(state: str, times: Array, rng: np.random.Generator) -> Array:
    """Walking speed ``(T,)`` in m/s of a state: stand, walk, stop_and_go or turn (on the spot)."""
    speed = max(0.7, rng.normal(1.35, 0.15))
    if state == "walk":
        return np.full(len(times), speed)
    wanted = np.zeros(len(times))
    if state == "stop_and_go":
        start, going = 0.0, bool(rng.random() < 0.7)
        while start < times[-1]:
            stop = start + (rng.uniform(2.0, 4.0) if going else rng.uniform(1.0, 2.5))
            wanted[(times >= start) & (times < stop)] = speed if going else 0.0
            start, going = stop, not going
        # half a second to get going or to stop
        window = np.ones(25) / 25
        wanted = np.convolve(np.pad(wanted, 12, mode="edge"), window, mode="valid")
    return wanted


def look_around(times: Array, rng: np.random.Generator) -> Array:
    """Yaw ``(T,)`` of the body: turns of 30 to 120 degrees at 30 to 90 degrees a second, and back after a while."""
    yaw, start, sign = np.zeros(len(times)), rng.uniform(0.8, 1.6), rng.choice([-1.0, 1.0])
    while start < times[-1]:
        angle = sign * np.radians(rng.uniform(30.0, 120.0))
        for turn in (angle, -angle):
            seconds = abs(turn) / np.radians(rng.uniform(30.0, 90.0))
            share = np.clip((times - start) / seconds, 0.0, 1.0)
            # the yaw rate is a raised cosine
            yaw += turn * (share - np.sin(2 * np.pi * share) / (2 * np.pi))
            start += seconds + rng.uniform(0.6, 1.5)
        sign = -sign
    return yaw


def walk(speed: Array) -> Path:
    """A straight walk along +y from the origin at ``speed (T,)``."""
    y = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * STEP)])
    return moving(np.zeros(len(speed)), y, np.pi / 2)


def halt(path: Path, times: Array, stop: float, yaw: bool = True) -> Path:
    """The same way, but standing from about ``stop`` seconds on where it would have been then; 0.8 s of braking."""
    start, length = stop - 0.4, 0.8
    inside = np.clip(times - start, 0.0, length)
    run = np.where(times < start, times, start + inside - inside**2 / (2 * length))
    x, y, turned = (np.interp(run, times, np.broadcast_to(a, times.shape)) for a in (path.x, path.y, path.yaw))
    return moving(x, y, turned if yaw else None)


def dress(path: Path, turn: Array, times: Array, rng: np.random.Generator) -> Wearer:
    """Gait, mounting and height on top of a way.

    Args:
        path: of the body.
        turn: ``(T,)`` yaw of the body against the way, radians.
        times: the grid.
        rng: of phases, height and mounting.
    """
    height = 1.30 + float(np.clip(rng.normal(0.0, 0.08), -0.2, 0.2))
    phases = rng.uniform(0.0, 2 * np.pi, 4)
    offset = np.radians(rng.normal(0.0, 3.0, 3))
    speed = np.hypot(path.vx, path.vy)
    swing = np.minimum(speed / STRIDE, 1.2)
    steps = 2 * np.pi * np.cumsum(0.9 + 0.75 * speed) * STEP
    sway = 0.025 * swing * np.sin(steps / 2 + phases[0])
    bob = 0.022 * swing * np.sin(steps + phases[1])
    pitch = np.radians(2.0) * swing * np.sin(steps + phases[2])
    yaw = turn + np.radians(5.0) * swing * np.sin(steps / 2 + phases[3])
    rows = np.stack([sway, height + bob, pitch, yaw, path.x, path.y], axis=1)
    body = np.stack([path.x, path.y, path.vx, path.vy], axis=1)
    return Wearer(path, height, rows, rotation(*offset), body)
