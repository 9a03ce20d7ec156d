"""How hard the pictures are: contrast, noise, motion, thickness of the side branches."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Real

from fieldsight.errors import ConfigError, unknown

#: Every length in px that a :class:`Look` names is meant in a picture of this side; other sides scale it.
NOMINAL_SIDE = 512

#: Width of the field of view at the isocentre, mm, that turns px at :data:`NOMINAL_SIDE` into mm.
NOMINAL_FIELD = 115.0

MM_PER_PX = NOMINAL_FIELD / NOMINAL_SIDE

_PAIRS = ("contrast", "branch_diameter", "quanta", "scatter")


def within(value: object, low: float, high: float) -> bool:
    """Whether a value is a number from low to high."""
    return isinstance(value, Real) and low <= float(value) <= high


@dataclass(frozen=True)
class Look:
    """Difficulty of the drawn angiograms. A pair is the smallest and largest value; a patient draws one in between.

    Attributes:
        contrast: attenuation μ of the contrast medium per px of path at side 512, in I = I0·exp(-μ·t).
        branch_diameter: diameter of a side branch where it leaves the main vessel, px at side 512.
        quanta: X-ray quanta that a pixel of side 512 receives in the mean; fewer are noisier.
        scatter: share of the signal that is scattered radiation.
        background: strength of bones, diaphragm, heart shadow and soft tissue; 1 is typical.
        motion: strength of the heart's motion and its blur; 1 is typical.
    """

    contrast: tuple[float, float] = (0.024, 0.056)
    branch_diameter: tuple[float, float] = (3.0, 8.0)
    quanta: tuple[float, float] = (1700.0, 3300.0)
    scatter: tuple[float, float] = (0.08, 0.20)
    background: float = 1.0
    motion: float = 1.0

    def __post_init__(self) -> None:
        problems = []
        limits = {
            "contrast": (0.0, 0.5),
            "branch_diameter": (1.0, 14.0),
            "quanta": (10.0, 1e6),
            "scatter": (0.0, 0.9),
            "background": (0.0, 4.0),
            "motion": (0.0, 4.0),
        }
        for entry in fields(self):
            value = getattr(self, entry.name)
            low, high = limits[entry.name]
            pair = value if isinstance(value, tuple) else (value, value)
            real = len(pair) == 2 and all(within(v, low, high) for v in pair)
            if not real or not pair[0] <= pair[1] or isinstance(value, tuple) != (entry.name in _PAIRS):
                shape = "smallest and largest value" if entry.name in _PAIRS else "one number"
                problems.append(f"{entry.name} is {value!r}; give {shape} from {low:g} to {high:g}.")
        if problems:
            raise ConfigError(problems)


#: By contrast: thin vessels drown in ``low``, stand out in ``high``; ``mixed`` draws each patient in between.
PRESETS: dict[str, Look] = {
    "low": Look(contrast=(0.024, 0.024)),
    "high": Look(contrast=(0.056, 0.056)),
    "mixed": Look(),
}


def look_of(preset: str | Look) -> Look:
    """The look that a preset's name stands for; a :class:`Look` is given back as it is.

    Raises:
        ConfigError: unknown name.
    """
    if isinstance(preset, Look):
        return preset
    if str(preset) not in PRESETS:
        raise ConfigError(unknown("preset", str(preset), PRESETS))
    return PRESETS[preset]
