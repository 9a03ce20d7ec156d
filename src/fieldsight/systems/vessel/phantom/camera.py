"""The C-arm: view angles and perspective projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, unknown
from fieldsight.systems.vessel.phantom.look import within

Doubles = NDArray[np.float64]

#: Primary angle of each view, degrees: LAO positive, RAO negative.
VIEWS = {"zero": 0.0, "LAO": 40.0, "RAO": -30.0}

#: Beyond this primary angle (degrees) a view is LAO or RAO, not zero.
OBLIQUE = 15.0

#: Distance of the X-ray source from the isocentre, mm.
_SOURCE = 750.0


@dataclass(frozen=True)
class View:
    """Angles of the C-arm in degrees: primary (LAO positive, RAO negative), secondary (cranial positive)."""

    primary: float
    secondary: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            f"The {name} angle is {value!r}; give degrees from -{limit} to {limit}."
            for name, value, limit in (("primary", self.primary, 120), ("secondary", self.secondary, 50))
            if not within(value, -limit, limit)
        ]
        if problems:
            raise ConfigError(problems)

    @property
    def name(self) -> str:
        """``LAO`` beyond +15°, ``RAO`` beyond -15°, else ``zero``."""
        if self.primary > OBLIQUE:
            return "LAO"
        return "RAO" if self.primary < -OBLIQUE else "zero"


def draw_view(name: str, rng: np.random.Generator) -> View:
    """A view by name, as it is set by hand: a few degrees off, often tilted by about 20° to cranial or caudal.

    Raises:
        ConfigError: unknown name.
    """
    if str(name) not in VIEWS:
        raise ConfigError(unknown("view", str(name), VIEWS))
    tilt = float(rng.choice([0.0, 20.0, -20.0], p=[0.4, 0.3, 0.3]))
    return View(VIEWS[name] + float(rng.uniform(-5, 5)), tilt + float(rng.uniform(-4, 4)))


@dataclass(frozen=True)
class Camera:
    """Perspective projection of patient coordinates (mm) onto a picture.

    Picture coordinates are continuous: pixel (row, column) covers column to column + 1 and row to row + 1.

    Attributes:
        axes: ``(3, 3)`` rows are the picture's right, its up, and the way to the detector.
        centre: right and up (mm, at the isocentre) of the picture's middle.
        scale: px per mm at the isocentre.
        side: of the picture, px.
    """

    axes: Doubles
    centre: tuple[float, float]
    scale: float
    side: int

    def project(self, points: Doubles) -> tuple[Doubles, Doubles]:
        """Picture coordinates and depth ``(n, 3)`` (x, y, z; px) and scale ``(n,)`` (px per mm) of points ``(n, 3)``.

        Depth grows towards the detector and is measured in px of the isocentre.
        """
        seen = points @ self.axes.T
        near: Doubles = _SOURCE / np.maximum(_SOURCE + seen[:, 2], 50.0)
        x = 0.5 * self.side + self.scale * (near * seen[:, 0] - self.centre[0])
        y = 0.5 * self.side - self.scale * (near * seen[:, 1] - self.centre[1])
        return np.column_stack([x, y, self.scale * seen[:, 2]]), np.asarray(self.scale * near)

    def resized(self, side: int) -> Camera:
        """The same picture with another number of pixels."""
        return Camera(self.axes, self.centre, self.scale * side / self.side, side)

    def grid(self) -> tuple[Doubles, Doubles]:
        """Right ``(1, side)`` and up ``(side, 1)`` of the pixels' middles in mm at the isocentre."""
        offset = (np.arange(self.side) + 0.5 - 0.5 * self.side) / self.scale
        return np.asarray(self.centre[0] + offset)[None], np.asarray(self.centre[1] - offset)[:, None]


def axes_of(view: View) -> Doubles:
    """Right, up and to-the-detector ``(3, 3)`` in patient coordinates (x left, y back, z head).

    The picture is seen as if facing the patient: at 0° the patient's left is on the right.
    """
    p, s = np.radians(view.primary), np.radians(view.secondary)
    toward = np.array([np.sin(p) * np.cos(s), -np.cos(p) * np.cos(s), np.sin(s)])
    right = np.array([np.cos(p), np.sin(p), 0.0])
    return np.stack([right, np.cross(toward, right), toward])
