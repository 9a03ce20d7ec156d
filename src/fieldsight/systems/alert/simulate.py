"""``simulate`` and ``make-data``: recordings of street scenes with exact labels.

A frame is taken at its time (a little jitter included) and bears that time; objects, labels and truth hold for that
moment. A real sensor hands it over some 50 ms later: ``manifest.extra["latency"]``, to be taken off a lead time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.systems.alert.danger import Judgement, judge_world
from fieldsight.systems.alert.options import MakeDataOptions, SimulateOptions
from fieldsight.systems.alert.recording import Manifest, Recording, field_of_view, of_arrays
from fieldsight.systems.alert.render import View, render
from fieldsight.systems.alert.scenes import Scene, build
from fieldsight.systems.alert.sensors import PROFILES, Sensor, in_beam, weather_of
from fieldsight.systems.alert.wearer import rotation
from fieldsight.systems.alert.world import Solids
from fieldsight.verbs import Written

Array = NDArray[Any]

#: Objects farther away than this are not written down, in metres.
FARTHEST = 45.0

#: Seconds from a frame's time until it is handed over.
LATENCY = 0.05

#: Odometry of a phone: jitter in m and radians of each pose, and drift of both in a second.
POSE_JITTER, POSE_DRIFT = (0.005, np.radians(0.2)), (0.005, np.radians(0.05))


def simulate(
    city: str = "jaipur",
    scenario: str = "mixed",
    sensor: str = "phone_lidar",
    wearer: str = "walk",
    seconds: float = 8.0,
    seed: int = 0,
    fps: float = 10.0,
    size: tuple[int, int] = (96, 72),
    weather: str = "cloud",
    poses: bool = True,
    pose_noise: float = 1.0,
    kind: str | None = None,
    speed: float | None = None,
    gap: float | None = None,
    alone: bool = False,
) -> Recording:
    """A street scene as a worn depth sensor records it, with exact labels; same arguments, same recording.

    Args:
        city: ``manhattan``, ``brooklyn``, ``jaipur``, ``hefei`` or ``any``.
        scenario: ``mixed`` (the city's traffic), ``approach`` (one actor that comes nearer, drawn by the seed),
            ``calm`` (nothing dangerous), ``static`` (nothing moves: the street of ``wearer_turns`` of the same
            seed), or a behaviour.
        sensor: a key of :data:`~fieldsight.systems.alert.sensors.PROFILES`, or ``any``.
        wearer: ``walk``, ``stand``, ``stop_and_go``, ``turn`` or ``any``.
        seconds: length; it ends earlier where a vehicle hits the wearer.
        seed: of all chance.
        fps: frames a second, 1 to 120.
        size: width and height in pixels; the sensor ``range`` gives 1 x 1 whatever it is.
        weather: ``night``, ``cloud``, ``sun``, ``fog50``, ``rain10``.
        poses: deliver camera poses, with the errors of a phone's odometry.
        pose_noise: how large these errors are, times a phone's; 0 delivers exact poses.
        kind, speed, gap: class, m/s and passing distance in metres (negative is a hit) of the main actor, instead of
            drawn ones.
        alone: only the main actor in an empty street, to measure an estimator on it.

    Raises:
        ConfigError: an unknown word or a number out of range.
    """
    if sensor not in (*PROFILES, "any"):
        raise ConfigError(unknown("sensor", sensor, [*PROFILES, "any"]))
    if not 1.0 <= fps <= 120.0 or min(size) < 8 or max(size) > 2048:
        raise ConfigError(f"simulate: fps is 1 to 120 and a side 8 to 2048 pixels, got {fps:g} and {size}.")
    if sensor == "any":
        sensor = str(rng_for(seed, "alert sensor").choice([k for k in PROFILES if k != "perfect"]))
    air = weather_of(weather)
    scene = build(city, scenario, wearer, seconds, seed, kind, speed, gap, alone)
    taken = _record(scene, Sensor(PROFILES[sensor], air, rng_for(seed, "alert noise")), fps, size, pose_noise, seed)
    times, depth, confidence, told, tables = taken
    profile = PROFILES[sensor]
    manifest = Manifest(
        kind=profile.kind, fps=fps, max_range=profile.max_range, camera_height=round(scene.wearer.height, 2),
        user_height=round(scene.wearer.height / 0.743, 2), city=str(scene.facts["city"]), weather=weather, seed=seed,
        source="simulated", licence="CC0-1.0",
        extra={**scene.facts, "sensor": sensor, "latency": LATENCY},
    )  # fmt: skip
    found = of_arrays(
        depth,
        times,
        fps=fps,
        K=None if profile.beam else field_of_view(*size),
        confidence=confidence,
        poses=told if poses else None,
        manifest=manifest,
        name=f"{scene.facts['city']}-{scene.facts['behaviour']}-{sensor}-{seed}",
    )
    return found.replace(objects=tables.objects(), truth=tables.truth(), labels=tables.labels())


def _record(
    scene: Scene, eye: Sensor, fps: float, size: tuple[int, int], pose_noise: float, seed: int
) -> tuple[Array, Array, Array, Array, Tables]:
    """Times, depth, confidence and poses of all frames that arrive, and the tables of what was there."""
    profile, K = eye.profile, field_of_view(*size)
    timing, odometry = rng_for(seed, "alert timing"), Odometry(pose_noise, rng_for(seed, "alert odometry"))
    rows: list[tuple[float, Array, Array, Array]] = []
    tables = Tables(scene)
    for k in range(max(2, int(np.floor(scene.seconds * fps + 1e-9)))):
        jitter, lost = float(np.clip(timing.standard_normal() * profile.jitter, -0.2 / fps, 0.2 / fps)), timing.random()
        t = max(k / fps + jitter, 0.0)
        camera = scene.wearer.camera(t)
        told = odometry.read(camera, t)
        if lost < profile.lost and k > 1:
            continue
        solids = scene.world.at(t)
        view = render(solids, camera, K, size)
        if profile.beam:
            reach, hit = eye.beam(view, scene.world.albedo, K, t)
            depth, confidence = (
                np.full((1, 1), reach, dtype=np.float32),
                np.full((1, 1), 2 * np.isfinite(reach), dtype=np.uint8),
            )
            seen, back = in_beam(view.depth.shape, K, profile.beam), view.ids == hit
        else:
            reading = eye.read(view, scene.world.albedo, t)
            depth, confidence, back = reading.depth, reading.confidence, reading.returned
            seen = np.ones(back.shape, dtype=bool)
        tables.add(t, solids, view, seen & (view.depth <= profile.max_range), seen & back)
        rows.append((t, depth, confidence, told))
    times, depths, confidences, poses = zip(*rows, strict=True)
    return np.array(times), np.stack(depths), np.stack(confidences), np.stack(poses), tables


class Odometry:
    """A phone's tracking: each pose jitters, and all of them drift slowly."""

    def __init__(self, scale: float, rng: np.random.Generator) -> None:
        self.scale, self.rng = scale, rng
        self._place, self._turn, self._last = np.zeros(3), np.zeros(3), 0.0

    def read(self, pose: Array, t: float) -> Array:
        """The pose ``(4, 4)`` as it is delivered at time ``t`` in seconds."""
        draws = self.rng.standard_normal((4, 3)) * self.scale
        wait = np.sqrt(max(t - self._last, 0.0))
        self._last = t
        self._place = self._place + draws[0] * POSE_DRIFT[0] * wait
        self._turn = self._turn + draws[1] * POSE_DRIFT[1] * wait
        told = pose.copy()
        told[:3, :3] = pose[:3, :3] @ rotation(*(self._turn + draws[2] * POSE_JITTER[1]))
        told[:3, 3] += self._place + draws[3] * POSE_JITTER[0]
        return told


class Tables:
    """Objects, truth and labels of a recording, gathered frame by frame."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._rows: list[dict[str, Array]] = []
        self._states: list[dict[str, Array]] = []
        self._frames: list[tuple[Any, ...]] = []

    def add(self, t: float, solids: Solids, view: View, seen: Array, back: Array) -> None:
        """Write down one frame: ``seen (H, W)`` marks pixels within reach, ``back`` those that were measured."""
        world, i = self._scene.world, len(self._frames)
        wearer = self._scene.wearer.at(t)
        judged = judge_world(world, solids, wearer)
        keep = np.flatnonzero((judged.range <= FARTHEST) & (world.rules != "none"))
        count = len(world.things) + 1
        ids = view.ids.ravel()
        visible, returned = (
            np.bincount(ids[(mask.ravel()) & (ids > 0)], minlength=count)[1:] for mask in (seen, back & seen)
        )
        frame = np.full(len(keep), i)
        named = {"i": frame, "id": world.ids[keep], "class": world.kinds[keep]}
        place = {"x": solids.x[keep], "y": solids.y[keep]}
        self._states.append({
            **named, **place, "yaw": solids.yaw[keep], "l": solids.length[keep], "w": solids.width[keep],
            "h": solids.height[keep], "vx": solids.vx[keep], "vy": solids.vy[keep],
            "behaviour": world.behaviours[keep],
        })  # fmt: skip
        relative = {"x": solids.x[keep] - wearer[0], "y": solids.y[keep] - wearer[1]}
        self._rows.append({
            **named, "t": np.full(len(keep), t), "behaviour": world.behaviours[keep], **relative,
            **{name: getattr(judged, name)[keep] for name in Judgement.__dataclass_fields__},
            "visible": visible[keep], "returned": returned[keep],
        })  # fmt: skip
        self._frames.append(self._label(i, t, judged, visible))

    def _label(self, i: int, t: float, judged: Judgement, visible: Array) -> tuple[Any, ...]:
        """The most urgent danger of a frame; nothing's label where there is none."""
        if not judged.danger.any():
            return i, t, False, "", -1, np.inf, 0.0, np.inf, "", False
        n = int(np.where(judged.danger, judged.ttc, np.inf).argmin())
        values = judged.ttc[n], judged.closing[n], judged.d_cpa[n], judged.rule[n]
        seen = bool((judged.danger & (visible > 0)).any())
        return i, t, True, self._scene.world.kinds[n], n + 1, *values, seen

    def objects(self) -> Mapping[str, Array]:
        """One row a frame and object; positions in the world."""
        return _joined(self._states)

    def truth(self) -> Mapping[str, Array]:
        """One row a frame and object: what :class:`Judgement` holds, ``x`` and ``y`` from the wearer to its centre,
        and in how many pixels it is ``visible`` within reach and really ``returned``."""
        return _joined(self._rows)

    def labels(self) -> Mapping[str, Array]:
        """One row a frame; ``closing_true`` is positive while it comes nearer, ``in_view`` says whether any danger
        shows in at least one pixel within the sensor's reach."""
        names = (
            "i", "t", "danger", "kind", "object_id", "ttc_true", "closing_true", "d_cpa_true", "rule", "in_view",
        )  # fmt: skip
        return {name: np.array([row[k] for row in self._frames]) for k, name in enumerate(names)}


def _joined(parts: list[dict[str, Array]]) -> Mapping[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# -------------------------------------------------------------------------------------------------- verbs


def simulate_verb(out: Path | None, options: SimulateOptions) -> Written:
    """Write ``n`` recordings of seeds ``seed, seed + 1, ...`` into a folder, or one into a ``.iar`` file.

    Raises:
        ConfigError: options that no scene can have.
        DataError: nowhere to write, or one file for several recordings.
    """
    jobs = [{**options.scene(), "seed": options.seed + k} for k in range(options.n)]
    return _write("simulate", jobs, out)


def make_data(out: Path | None, options: MakeDataOptions) -> Written:
    """Write a small labelled set: cities and sensors in turn, scripted approaches, city traffic and calm scenes.

    Raises:
        ConfigError: options that no scene can have.
        DataError: nowhere to write.
    """
    cities, sensors = ("jaipur", "hefei", "manhattan", "brooklyn"), ("phone_lidar", "stereo", "automotive")
    scenarios = ("approach", "mixed", "calm")
    jobs = [
        {
            "city": cities[k % 4], "sensor": sensors[k % 3], "scenario": scenarios[(k + k // 3) % 3], "wearer": "any",
            "seed": options.seed + k, "seconds": options.seconds, "size": options.size,
        }
        for k in range(options.count)
    ]  # fmt: skip
    return _write("make-data", jobs, out)


def _write(verb: str, jobs: list[dict[str, Any]], out: Path | None) -> Written:
    from fieldsight.systems.alert import iar

    if out is None:
        raise DataError(f"{verb} writes recordings: name a folder, or a file that ends in .iar, with --out.")
    single = out.suffix == iar.SUFFIX
    if single and len(jobs) > 1:
        raise DataError(f"{verb}: {out} is one file, but {len(jobs)} recordings are wanted. Name a folder.")

    names, danger, frames = [], 0, 0
    for job in progress.track(jobs, "simulating"):
        made = simulate(**job)
        iar.write(made, out if single else out / f"{made.name}{iar.SUFFIX}")
        names.append(made.name)
        frames += len(made)
        danger += int(made.labels["danger"].sum()) if made.labels else 0
    return Written(out, {"recordings": len(names), "frames": frames, "danger": danger, "names": names})
