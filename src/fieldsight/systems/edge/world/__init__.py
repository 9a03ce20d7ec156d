"""The drawn worlds: a room, a street, and objects pasted over photos, seen by a small drone, with the exact truth.

Every frame is a function of (seed, split, trajectory, frame); a trajectory belongs to one split.
"""

from __future__ import annotations

from fieldsight.systems.edge.world.cutouts import Pool, drawn_pool
from fieldsight.systems.edge.world.draw import (
    CLASSES,
    HELD_OUT_SEED,
    LEAST_SIDE,
    SPLITS,
    WORLDS,
    Frame,
    draw_set,
    frame_size,
    render_frame,
    trajectory_length,
)

__all__ = [
    "CLASSES",
    "HELD_OUT_SEED",
    "LEAST_SIDE",
    "SPLITS",
    "WORLDS",
    "Frame",
    "Pool",
    "draw_set",
    "drawn_pool",
    "frame_size",
    "render_frame",
    "trajectory_length",
]
