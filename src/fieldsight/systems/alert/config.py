"""Settings of the engine. Nothing is trained; ``tune`` fits some of them to labelled recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from fieldsight.config import Config, setting

Mode = Literal[
    "track", "nearest", "looming", "paper", "paper_dt", "authors_app", "quartile", "distance_only", "always_closer"
]


@dataclass(frozen=True)
class AlertConfig(Config):
    """What an engine needs to know; the options of ``replay`` and ``live`` begin with it."""

    mode: Mode = setting("track", "how distance and closing speed are read from depth")
    speed_threshold: float = setting(-2.2, "alarm only below this closing speed", unit="m/s", ge=-50, le=0)
    tti_threshold: float = setting(3.0, "alarm only below this time to impact", unit="s", ge=0, le=60)
    period: float = setting(0.1, "least time between processed frames", unit="s", gt=0, le=10)
    every_n: int = setting(0, "process every n-th frame instead, whatever its time; 0 uses period", ge=0, le=1000)
    # what follows is the paper's family: Algorithms 2 and 3
    roi: tuple[float, float, float, float] = setting(
        (1 / 12, 11 / 12, 1 / 3, 2 / 3), "left, right, top, bottom of the part looked at, as shares", ge=0, le=1
    )
    roi_rounding: Literal["paper", "authors"] = setting("paper", "floor of the product, or the app's integer division")
    roi_axes: Literal["upright", "sensor"] = setting(
        "upright", "sensor turns the part by 90 degrees, as the app has it"
    )
    quantile: float = setting(0.5, "share of the depths that counts as close", ge=0, le=1)
    strictly: bool = setting(False, "close means less than the quantile, and moved more than the step: the app")
    move_threshold: float = setting(0.2, "least step of a moved pixel", unit="m", ge=0, le=10)
    lag: int = setting(1, "processed frames between the two that are compared", ge=1, le=100)
    dt: Literal["measured", "fixed"] = setting("measured", "divide by the time between frames, or by fixed_dt")
    fixed_dt: float = setting(0.5, "what the paper divides by", unit="s", gt=0, le=10)
    min_moving: int = setting(1, "least number of moved pixels for an estimate", ge=1, le=10_000_000)
    near: float = setting(2.0, "alarm distance of distance_only", unit="m", gt=0, le=100)
    # what follows is nearest, track and looming
    corridor: float = setting(1.0, "half width of the way that is walked", unit="m", gt=0, le=10)
    swerve: float = setting(4.0, "sideways acceleration that is expected of a vehicle", unit="m/s2", ge=0, le=20)
    reach: float = setting(50.0, "farthest surface that counts", unit="m", gt=0, le=300)
    camera_height: float = setting(1.3, "height of the camera where the recording does not say", unit="m", gt=0, le=3)
    min_confidence: int = setting(0, "pixels of less confidence are left out (0 guessed, 1 fair, 2 good)", ge=0, le=2)
    window: float = setting(0.5, "seconds that a closing speed is fitted over", unit="s", gt=0, le=5)
    on_hits: int = setting(1, "alarm after so many of the last on_of samples", ge=1, le=10)
    on_of: int = setting(1, "see on_hits", ge=1, le=10)
    off_after: int = setting(5, "quiet after so many quiet samples", ge=1, le=100)
    hit_probability: float = setting(0.2, "least probability of a hit for an alarm of track", ge=0, le=1)
    # what follows says when nothing is judged
    max_gap: float = setting(3.0, "forget the past after a pause of so many periods", ge=1, le=1000)
    min_valid: float = setting(0.01, "least share of pixels with a return", ge=0, le=1)

    rules: ClassVar[tuple[tuple[Callable[[Any], bool], str], ...]] = (
        (lambda o: o.roi[0] < o.roi[1] and o.roi[2] < o.roi[3], "roi: left must lie below right, top below bottom"),
        (lambda o: o.on_hits <= o.on_of, "on_hits: must be at most on_of"),
    )


_PAPER = AlertConfig(mode="paper", period=0.5, dt="fixed", on_hits=1, on_of=1, off_after=1)

#: Settings by name; the first stands where nothing is said.
PRESETS: dict[str, AlertConfig] = {
    "base": AlertConfig(),
    "nearest": AlertConfig(mode="nearest", on_hits=2, on_of=3),
    "looming": AlertConfig(mode="looming", on_hits=2, on_of=3),
    "fragile": AlertConfig(speed_threshold=-1.0, tti_threshold=5.0),
    "robust": AlertConfig(speed_threshold=-3.0),
    "paper": _PAPER,
    "paper_dt": _PAPER.replace(mode="paper_dt", dt="measured"),
    "authors_app": _PAPER.replace(mode="authors_app", roi_rounding="authors", strictly=True, lag=10, every_n=10),
    "quartile": _PAPER.replace(mode="quartile", dt="measured", roi=(1 / 3, 2 / 3, 1 / 3, 2 / 3), quantile=0.25),
    "distance_only": _PAPER.replace(mode="distance_only"),
    "always_closer": _PAPER.replace(mode="always_closer"),
}
