"""Where a drone flies and where it looks: one trajectory, a function of chance alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.edge.world.camera import eased, poses, shake, sway

Doubles = NDArray[np.float64]
Rng = np.random.Generator

#: Fewest and most frames of a trajectory.
FRAMES = (60, 120)

#: Share of each trajectory's frames in which nothing that is looked for is there.
BACKGROUND = 0.1


@dataclass(frozen=True)
class Flight:
    """A trajectory of N frames.

    Attributes:
        kind: ``straight`` or ``diagonal``.
        places: ``(N + 2, 3)`` m, from one frame before the first to one after the last, as the angles.
        yaw, pitch, roll: ``(N + 2,)`` radians, see :func:`~fieldsight.systems.edge.world.camera.poses`.
        goal: x, y of the point on the ground that the drone flies at.
        background: ``(N,)`` bool, frames of an empty place.
    """

    kind: str
    places: Doubles
    yaw: Doubles
    pitch: Doubles
    roll: Doubles
    goal: tuple[float, float]
    background: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.background)

    def poses(self) -> Doubles:
        """World to camera ``(N + 2, 3, 4)``."""
        return poses(self.places, self.yaw, self.pitch, self.roll)

    def facts(self, frame: int) -> dict[str, object]:
        """What is known of a frame: kind, altitude in m, pitch in degrees, whether it is background."""
        return {
            "flight": self.kind,
            "altitude": round(float(self.places[frame + 1, 2]), 3),
            "pitch": round(float(np.degrees(self.pitch[frame + 1])), 2),
            "background": bool(self.background[frame]),
        }


def _empty(count: int, rng: Rng) -> NDArray[np.bool_]:
    """A tenth of the frames at the begin or the end."""
    found = np.zeros(count, np.bool_)
    share = round(BACKGROUND * count)
    if rng.random() < 0.5:
        found[:share] = True
    else:
        found[count - share :] = True
    return found


def _bounded(values: Doubles, low: float, high: float) -> Doubles:
    """Held within bounds, and bent softly on the way to them so that a flight does not stick to one."""
    middle, half = (low + high) / 2, (high - low) / 2
    return np.asarray(middle + half * np.tanh((values - middle) / half))


def arena_flight(rng: Rng, room: tuple[float, float], shift: bool) -> Flight:
    """Through a room of ``room`` m width and depth around the origin: from 2-3.6 m to 0.7-1.4 m before a goal.

    Altitude 0.5-1.5 m (1.5-2.2 m with ``shift``), pitch -10 to -60 degrees.
    """
    count = int(rng.integers(FRAMES[0], FRAMES[1] + 1))
    kind = "straight" if rng.random() < 0.5 else "diagonal"
    while True:
        goal = np.array([rng.uniform(-0.2, 0.2) * room[0], rng.uniform(-0.2, 0.2) * room[1]])
        heading = rng.uniform(0, 2 * np.pi)
        ahead, right = np.array([-np.sin(heading), np.cos(heading)]), np.array([np.cos(heading), np.sin(heading)])
        aside = rng.uniform(0.5, 1.3) * rng.choice([-1.0, 1.0]) if kind == "diagonal" else 0.0
        begin = goal - rng.uniform(2.0, 3.6) * ahead + aside * right
        end = goal - rng.uniform(0.7, 1.4) * ahead - 0.8 * aside * right
        if (np.abs(np.stack([begin, end])) < np.array(room) / 2 - 0.35).all():
            break
    if rng.random() < 0.25:
        begin, end = end, begin
    low, high = (1.5, 2.2) if shift else (0.5, 1.5)
    heights = rng.uniform(low, high, 2)
    if rng.random() < 0.6:
        heights = np.sort(heights)[::-1]
    t = eased(count + 2)[:, None]
    flat = begin + t * (end - begin) + 0.03 * np.stack([sway(count + 2, 1.0, rng) for _ in range(2)], axis=1)
    height = heights[0] + t[:, 0] * (heights[1] - heights[0]) + sway(count + 2, 0.02, rng)
    height = np.clip(height, low, high)
    to_goal = goal - flat
    aim = np.arctan2(-to_goal[:, 0], to_goal[:, 1])
    follow = rng.uniform(0.6, 1.0)
    yaw = heading + follow * (np.mod(aim - heading + np.pi, 2 * np.pi) - np.pi)
    yaw += sway(count + 2, np.radians(6.0), rng) + shake(count + 2, np.radians(0.12), rng)
    down = -np.arctan2(height - 0.1, np.hypot(*to_goal.T)) + np.radians(rng.uniform(-6.0, 8.0))
    pitch = _bounded(down + sway(count + 2, np.radians(3.0), rng), np.radians(-60.0), np.radians(-10.0))
    pitch = np.clip(pitch + shake(count + 2, np.radians(0.12), rng), np.radians(-60.0), np.radians(-10.0))
    roll = sway(count + 2, np.radians(2.5), rng) + shake(count + 2, np.radians(0.1), rng)
    places = np.concatenate([flat, height[:, None]], axis=1)
    return Flight(kind, places, yaw, pitch, roll, (float(goal[0]), float(goal[1])), _empty(count, rng))


def street_flight(rng: Rng, half_width: float, shift: bool) -> Flight:
    """Over a street along y, ``half_width`` m of free air on either side of its middle.

    Altitude 5-18 m (16-30 m with ``shift``), pitch -15 to -65 degrees; straight is along the street, diagonal crosses
    it.
    """
    count = int(rng.integers(FRAMES[0], FRAMES[1] + 1))
    kind = "straight" if rng.random() < 0.5 else "diagonal"
    heading = rng.uniform(-0.25, 0.25) if kind == "straight" else rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.3)
    if rng.random() < 0.5:
        heading += np.pi
    ahead = np.array([-np.sin(heading), np.cos(heading)])
    low, high = (16.0, 30.0) if shift else (5.0, 18.0)
    heights = rng.uniform(low, high) * np.array([1.0, rng.uniform(0.65, 1.5)])
    pace = rng.uniform(0.05, 0.35)
    course = (
        np.array([0.0, np.sign(ahead[1])])
        if kind == "straight"
        else np.array([np.sign(ahead[0]) * 0.5, 0.85 * np.sign(ahead[1])])
    )
    t = eased(count + 2)[:, None]
    length = pace * count
    start = np.array([0.0, -0.5 * length * course[1]])
    flat = start + t * length * course + 0.15 * np.stack([sway(count + 2, 1.0, rng) for _ in range(2)], axis=1)
    height = np.clip(heights[0] + t[:, 0] * (heights[1] - heights[0]) + sway(count + 2, 0.2, rng), low, high)
    aim = rng.uniform(-0.4, 0.4) * half_width
    tilt = np.radians(rng.uniform(-55.0, -20.0))
    if abs(ahead[0]) > 0.05:
        # the goal lies on the road: look down more steeply where the houses leave too little room to stand back
        far = (half_width + abs(aim)) / abs(ahead[0])
        tilt = min(tilt, -float(np.arctan2(height.mean(), far)))
    reach = float(height.mean() / np.tan(-max(tilt, np.radians(-65.0))))
    flat[:, 0] += aim - reach * ahead[0] - flat[:, 0].mean()
    flat[:, 0] = _bounded(flat[:, 0], -half_width, half_width)
    pitch = _bounded(tilt + sway(count + 2, np.radians(4.0), rng), np.radians(-65.0), np.radians(-15.0))
    pitch = np.clip(pitch + shake(count + 2, np.radians(0.08), rng), np.radians(-65.0), np.radians(-15.0))
    yaw = heading + sway(count + 2, np.radians(5.0), rng) + shake(count + 2, np.radians(0.08), rng)
    roll = sway(count + 2, np.radians(2.0), rng) + shake(count + 2, np.radians(0.08), rng)
    places = np.concatenate([flat, height[:, None]], axis=1)
    goal = np.median(flat, axis=0) + reach * ahead
    return Flight(kind, places, yaw, pitch, roll, (float(goal[0]), float(goal[1])), _empty(count, rng))
