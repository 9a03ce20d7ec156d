"""Options of the verbs. Light: asking for help imports this and no numerics."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fieldsight.config import Config, setting
from fieldsight.systems.alert.config import AlertConfig


@dataclass(frozen=True)
class LiveOptions(AlertConfig):
    """Options of ``live``."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in")
    port: int = setting(8766, "port to listen on; 0 takes a free one", ge=0, le=65535)
    tls_cert: Path | None = setting(
        None, "certificate (PEM): over TLS only does a phone give its camera and stay awake"
    )
    tls_key: Path | None = setting(None, "private key of the certificate (PEM)")
    token: str = setting("", "secret that every client must know, for use beyond this machine")
    source: str = setting(
        "", "where frames come from: nothing (clients send them), tcp://HOST:PORT, - (stdin), a recording, camera:0"
    )
    depth_model: Path | None = setting(None, "ONNX file that gives depth from colour, for a camera without depth")
    depth_output: Literal["metric", "inverse"] = setting(
        "metric", "what it gives: metres, or inverse depth up to scale and shift, which the ground then fixes"
    )
    cane: str = setting("", "cane handle to drive: a serial port, tcp://HOST:PORT, or - (stdout)")
    beep: bool = setting(True, "let the page beep at an alarm; that nobody watches is heard in any case")

    rules = (
        *AlertConfig.rules,
        (lambda o: (o.tls_cert is None) == (o.tls_key is None), "tls_cert, tls_key: give both, or none"),
        (
            lambda o: not o.source.startswith("camera:") or o.depth_model is not None,
            "source: a camera gives colour, not depth. Name a network that does: --depth-model FILE.onnx",
        ),
    )


@dataclass(frozen=True)
class EvaluateOptions(Config):
    """Options of ``evaluate``."""

    against: str = setting("paper", "second setting on the same streams: a preset, or nothing")
    approaches: int = setting(40, "simulated approaches where no data is given", ge=2, le=10_000)
    sensor: str = setting("any", "sensor of the simulated approaches: a profile, or any")
    seed: int = setting(9_400_000, "first seed of the simulated approaches; the held-out ones by default", ge=0)
    draws: int = setting(2000, "bootstrap samples, over clips", ge=100, le=100_000)


@dataclass(frozen=True)
class SweepOptions(Config):
    """Options of ``sweep``."""

    speeds: tuple[float, ...] = setting((-5.0, -3.0, -2.2, -1.0), "speed thresholds", unit="m/s", min_items=1, le=0)
    ttis: tuple[float, ...] = setting((1.0, 3.0, 5.0), "thresholds on time to impact", unit="s", min_items=1, ge=0)
    inclusive: bool = setting(False, "let an alarm sound at the thresholds themselves, against the paper")
    draws: int = setting(2000, "bootstrap samples, over clips", ge=100, le=100_000)


@dataclass(frozen=True)
class TuneOptions(Config):
    """Options of ``tune``."""

    miss_rate: float = setting(0.1, "share of approaches that may be missed", gt=0, lt=1)
    constants: bool = setting(False, "also search the paper's constants (96 settings), as section 3.2 did")
    folds: int = setting(3, "folds by clip that hold the choice to account", ge=2, le=20)
    approaches: int = setting(60, "simulated approaches where no data is given", ge=10, le=10_000)
    sensor: str = setting("any", "sensor of the simulated approaches: a profile, or any")
    seed: int = setting(1_000_000, "first seed of the simulated approaches; the tuning ones by default", ge=0)


@dataclass(frozen=True)
class ReproduceOptions(Config):
    """Options of ``reproduce``."""


@dataclass(frozen=True)
class StereoOptions(Config):
    """How depth is found from two pictures: OpenCV's semi-global matching."""

    calibration: Path | None = setting(None, "JSON, YAML or Middlebury calib.txt with focal length and baseline")
    focal: float | None = setting(None, "focal length of the rectified pictures in pixels", gt=0, le=1e6)
    baseline: float | None = setting(None, "distance between the cameras", unit="m", gt=0, le=100)
    doffs: float = setting(0.0, "pixels that the principal points lie apart", ge=-1e5, le=1e5)
    right: Path | None = setting(None, "right picture, where the source is the left one")
    disparities: int = setting(128, "largest disparity looked for, in pixels; a multiple of 16", ge=16, le=2048)
    block: int = setting(5, "side of the matched block in pixels; odd", ge=1, le=31)
    uniqueness: int = setting(10, "percent by which the best match must win", ge=0, le=100)
    speckle: int = setting(100, "smaller islands of disparity are dropped, in pixels", ge=0, le=100_000)
    search: Literal["3way", "5way", "8way"] = setting(
        "3way", "directions of the search; more are slower and use memory"
    )

    rules = (
        (lambda o: o.disparities % 16 == 0, "disparities: must be a multiple of 16"),
        (lambda o: o.block % 2 == 1, "block: must be odd"),
    )


@dataclass(frozen=True)
class CloudOptions(Config):
    """How points become a depth picture."""

    width: int = setting(256, "pixels of the picture", ge=6, le=4096)
    height: int = setting(128, "pixels of the picture", ge=6, le=4096)
    fov: float = setting(90.0, "degrees from the left to the right edge", gt=1, lt=170)
    axes: Literal["lidar", "camera"] = setting("lidar", "x forward, y left, z up; or x right, y down, z forward")
    yaw: float = setting(0.0, "degrees that the picture looks to the left of the points' forward axis", ge=-180, le=180)
    grow: int = setting(1, "half side of the square a point covers, in pixels", ge=0, le=16)


@dataclass(frozen=True)
class MonoOptions(Config):
    """How depth comes from single pictures: by a network that the user brings."""

    model: Path | None = setting(None, "ONNX file with one picture in and one depth out")
    output: Literal["metric", "inverse"] = setting(
        "metric", "what it gives: metres, or inverse depth up to scale and shift, which the ground then fixes"
    )
    rescale: bool = setting(False, "fit metres to the ground by the camera's height too")
    normalise: Literal["auto", "imagenet", "unit", "signed", "none"] = setting(
        "auto", "input values: ImageNet's mean and deviation, 0-1, -1-1, 0-255; auto is imagenet for floats, else none"
    )
    size: int = setting(518, "longer side where the network takes any; rounded to a multiple of 14", ge=32, le=4096)
    every: int = setting(1, "take every n-th picture of a video", ge=1, le=1000)


#: Kinds of sources; :mod:`fieldsight.systems.alert.sources` says what each is.
SourceFormat = Literal[
    "auto", "iar", "array", "series", "scan", "cloud", "stray", "record3d", "zlib", "tum", "euroc", "scannet",
    "arkitscenes", "stereo", "mono", "pictures",
]  # fmt: skip


@dataclass(frozen=True)
class SourceOptions(Config):
    """What a source does not say of itself."""

    format: SourceFormat = setting("auto", "kind of source; auto looks at the files")
    unit: Literal["auto", "m", "mm", "cm"] = setting("auto", "unit of depth; auto: whole numbers are mm, others m")
    scale: float | None = setting(None, "metres per unit of depth instead (TUM 0.0002); nothing is checked then", gt=0)
    depth: Literal["auto", "plane", "range"] = setting("auto", "along the optical axis, or Euclidean distance")
    fps: float = setting(10.0, "frames a second where the source has no times", gt=0, le=1000)
    rotate: Literal["auto", "0", "90", "180", "270"] = setting(
        "auto", "turn clockwise; auto goes by the poses' gravity"
    )
    intrinsics: tuple[float, ...] = setting((), "fx,fy,cx,cy in pixels of the depth as it is stored")
    fov: float | None = setting(None, "degrees along the longer side, where no intrinsics are known", gt=1, lt=170)
    camera_height: float = setting(1.3, "height of the camera over the ground", unit="m", gt=0, le=30)
    pitch: float = setting(0.0, "degrees that the camera looks below the horizon", ge=-90, le=90)
    series: str = setting("", "id of one series in a range table; else the nearest at each time is taken")
    max_range: float | None = setting(None, "farther values are dropped", unit="m", gt=0)
    stereo: StereoOptions = setting(StereoOptions(), "pairs of pictures")
    cloud: CloudOptions = setting(CloudOptions(), "clouds of points")
    mono: MonoOptions = setting(MonoOptions(), "depth from single pictures")

    rules = ((lambda o: len(o.intrinsics) in (0, 4), "intrinsics: give fx,fy,cx,cy"),)


@dataclass(frozen=True)
class ConvertOptions(SourceOptions):
    """Options of ``convert``."""

    storage: Literal["png", "npz", "npy"] = setting("png", "millimetre pictures, or one float16 array")
    folder: bool = setting(False, "write folders instead of .iar files")
    city: str = setting("", "where it was recorded, kept in the manifest")
    weather: str = setting("", "kept in the manifest")
    licence: str = setting("", "kept in the manifest")


@dataclass(frozen=True)
class SimulateOptions(Config):
    """Options of ``simulate``."""

    city: Literal["jaipur", "manhattan", "brooklyn", "hefei", "any"] = setting("jaipur", "street and traffic")
    scenario: Literal[
        "mixed", "approach", "calm", "static", "oncoming", "oncoming_swerve", "overtaking", "receding", "crossing_lr",
        "crossing_rl", "parked", "parked_wearer_walks_at", "pull_out", "turning", "ped_head_on", "ped_turns_away",
        "ped_turns_in", "static_approach", "occluded_emerge", "wearer_turns",
    ] = setting("mixed", "the city's traffic, one drawn approach, nothing dangerous, or one behaviour")  # fmt: skip
    sensor: Literal["phone_lidar", "phone_dots", "stereo", "automotive", "mono", "range", "perfect", "any"] = setting(
        "phone_lidar", "what the wearer carries"
    )
    wearer: Literal["walk", "stand", "stop_and_go", "turn", "any"] = setting("walk", "what the wearer does")
    seconds: float = setting(8.0, "length of a recording", unit="s", ge=1, le=3600)
    n: int = setting(1, "number of recordings, of seeds that follow each other", ge=1, le=100_000)
    seed: int = setting(0, "seed of the first recording", ge=0)
    fps: float = setting(10.0, "frames a second", ge=1, le=120)
    size: tuple[int, int] = setting((96, 72), "width and height in pixels", ge=8, le=2048)
    weather: str = setting("cloud", "night, cloud, sun, fog50 (metres of visibility) or rain10 (mm/h)")
    poses: bool = setting(True, "deliver camera poses")
    pose_noise: float = setting(1.0, "error of the poses, times a phone's", ge=0, le=100)
    kind: str | None = setting(None, "class of the main actor: car, bus, pedestrian, ...; drawn without")
    speed: float | None = setting(None, "speed of the main actor; drawn without", unit="m/s", gt=0, le=40)
    gap: float | None = setting(None, "distance at which it passes, negative for a hit; drawn without", ge=-5, le=30)
    alone: bool = setting(False, "only the main actor, in an empty street")

    def scene(self) -> dict[str, Any]:
        """Arguments of :func:`~fieldsight.systems.alert.simulate.simulate`, all but the seed."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("n", "seed")}


@dataclass(frozen=True)
class MakeDataOptions(Config):
    """Options of ``make-data``."""

    count: int = setting(6, "number of recordings, over cities, sensors and scenarios in turn", ge=1, le=10_000)
    seconds: float = setting(8.0, "length of a recording", unit="s", ge=1, le=600)
    seed: int = setting(0, "seed of the first recording", ge=0)
    size: tuple[int, int] = setting((96, 72), "width and height in pixels", ge=8, le=2048)


@dataclass(frozen=True)
class ReplayOptions(AlertConfig):
    """Options of ``replay``."""

    video: bool = setting(False, "also write an annotated MP4")
    wav: bool = setting(False, "also write the alarms as sound")
    source: SourceOptions = setting(SourceOptions(), "what the source does not say of itself")
