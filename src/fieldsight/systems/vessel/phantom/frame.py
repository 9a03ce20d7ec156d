"""A drawn angiogram with the truth beside it; runs and data sets of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError
from fieldsight.systems.vessel.phantom.body import cast_body, draw_body
from fieldsight.systems.vessel.phantom.camera import Camera, View
from fieldsight.systems.vessel.phantom.devices import cast_catheter, cast_stent
from fieldsight.systems.vessel.phantom.flow import FPS
from fieldsight.systems.vessel.phantom.heart import squeeze_at
from fieldsight.systems.vessel.phantom.look import NOMINAL_SIDE, Look, look_of, within
from fieldsight.systems.vessel.phantom.noise import exposed, smeared
from fieldsight.systems.vessel.phantom.patient import Patient
from fieldsight.systems.vessel.phantom.project import Shadow, cast
from fieldsight.systems.vessel.phantom.truth import Profile, judge

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: Smallest and largest side of a picture, px.
SIDES = (64, 1024)

#: Attenuation of a catheter's wall and of a stent's wire, per px of path at side 512.
_WALL, _METAL = 0.030, 0.70

#: The exposure of one frame, s.
_SHUTTER = 0.008


@dataclass(frozen=True, eq=False)
class Angiogram:
    """One drawn frame. Pixel (row, column) covers [column, column + 1] x [row, row + 1] of the coordinates.

    Attributes:
        image: ``(H, W)`` uint8.
        intensity: ``(H, W)`` float32, 0 to 255, before rounding.
        lumen: ``(H, W)`` float32, path of the rays through contrast medium in px, without blur.
        mask: ``(H, W)`` bool, vessels with contrast.
        main: those of trunk, LAD, LCx or RCA.
        thin: those of side branches only, not over a main vessel, the catheter or a stent.
        devices: ``(H, W)`` bool, catheter and stented vessel.
        boxes: ``(K, 4)`` float32 xyxy in px of stenoses (s ≥ 50 %).
        percent: ``(K,)`` float32, diameter stenosis in %.
        branch: ``(K,)`` bool, on a side branch.
        reference: ``(K,)`` float32, healthy diameter at the narrowest point, px.
        ignored: ``(M, 4)`` float32, decoys and stenoses that can't be judged here: neither right nor wrong.
        profiles: quantitative truth of each box; ``decoys`` of each ignored one.
        crossings: ``(X, 2)`` float64, where vessels cross in projection, px.
        view: as in ``LCA LAO``.
        primary, secondary: angles, degrees.
        patient: its id.
        time: since the injection began, s.
        phase: of the heart, 0 to 1.
        mid_phase: all vessels are full of contrast.
    """

    image: NDArray[np.uint8]
    intensity: Floats
    lumen: Floats
    mask: Bools
    main: Bools
    thin: Bools
    devices: Bools
    boxes: Floats
    percent: Floats
    branch: Bools
    reference: Floats
    ignored: Floats
    profiles: tuple[Profile, ...]
    decoys: tuple[Profile, ...]
    crossings: Doubles
    view: str
    primary: float
    secondary: float
    patient: str
    time: float
    phase: float
    mid_phase: bool


def render(
    patient: Patient,
    view: str | View | None = None,
    time: float | None = None,
    side: int = 512,
    preset: str | Look | None = None,
    shot: int = 0,
) -> Angiogram:
    """Draw one frame.

    Args:
        patient: who.
        view: ``zero``, ``LAO``, ``RAO`` (angles by chance around them), exact angles, or None: by the paper's Table 1.
        time: seconds since the injection began; None takes one of the mid-phase.
        side: of the square picture, px, 64 to 1024.
        preset: contrast, noise, motion; None is the patient's own. The branches' diameters stay the patient's.
        shot: number of the run; each has angles, position, heart phase and noise of its own.

    Raises:
        ConfigError: unknown view or preset, a side, time or shot out of range.
    """
    run = _Run(patient, view, side, preset, shot)
    if time is None:
        time = float(patient.chance("moment", shot).uniform(patient.flow.full, patient.flow.ends))
    return run.frame(time, 0)


def sequence(
    patient: Patient,
    view: str | View | None = None,
    frames: int = 15,
    side: int = 512,
    preset: str | Look | None = None,
    shot: int = 0,
    start: float = 0.0,
) -> Iterator[Angiogram]:
    """Frames of one run at 15 a second: contrast washes in, the heart beats, bones stand still.

    Args:
        patient, view, side, preset, shot: see :func:`render`.
        frames: how many; 10 to 20 show the wash-in and some of the mid-phase.
        start: seconds since the injection began at the first frame.

    Raises:
        ConfigError: as :func:`render`, or a number of frames below 1.
    """
    if type(frames) is not int or frames < 1:
        raise ConfigError(f"frames is {frames!r}; give a whole number from 1 up, 10 to 20 for a usual run.")
    run = _Run(patient, view, side, preset, shot)
    return (run.frame(start + k / FPS, k) for k in range(frames))


def draw_frames(
    split: str,
    patients: int,
    each: int = 10,
    seed: int = 0,
    side: int = 512,
    preset: str | Look = "mixed",
) -> Iterator[Angiogram]:
    """Single mid-phase frames of a split: ``each`` of every patient, arteries and views as often as in Table 1.

    Raises:
        ConfigError: unknown split or preset, a count, seed or side out of range.
    """
    for name, value in (("patients", patients), ("each", each)):
        if type(value) is not int or value < 1:
            raise ConfigError(f"{name} is {value!r}; give a whole number from 1 up.")
    for number in range(patients):
        patient = Patient.draw(split, number, seed, preset)
        for shot in range(each):
            yield render(patient, side=side, shot=shot)


class _Run:
    """What the frames of one run share."""

    def __init__(
        self, patient: Patient, view: str | View | None, side: int, preset: str | Look | None, shot: int
    ) -> None:
        problems = []
        if type(side) is not int or not SIDES[0] <= side <= SIDES[1]:
            problems.append(f"side is {side!r}; give a whole number of px from {SIDES[0]} to {SIDES[1]}.")
        if type(shot) is not int or shot < 0:
            problems.append(f"shot is {shot!r}; give a whole number from 0 up.")
        if problems:
            raise ConfigError(problems)
        self.patient, self.shot = patient, shot
        self.look = patient.look if preset is None else look_of(preset)
        self.view = patient.view(view, shot)
        self.camera: Camera = patient.camera(self.view, side, shot)
        rng = patient.chance("run", self.view.name, shot)
        self.body = self.look.background * cast_body(draw_body(rng), patient.heart, self.camera, rng)
        self.start = float(rng.random())
        self.level, self.vignette = float(rng.uniform(112.0, 148.0)), float(rng.uniform(0.04, 0.14))
        self.radii = patient.radii()

    def frame(self, time: float, number: int) -> Angiogram:
        """The frame at a time after the injection began."""
        if not within(time, 0.0, 60.0):
            raise ConfigError(f"time is {time!r}; give seconds from 0 to 60 after the injection began.")
        patient, side = self.patient, self.camera.side
        phase = (self.start + time * patient.rate) % 1.0
        filled = [patient.flow.concentration(b.path + b.arc, time) for b in patient.tree.branches]
        squeeze = squeeze_at(phase)
        shadow = cast(patient.tree, self.radii, filled, patient.heart, self.camera, squeeze, self.look.motion)
        metal, devices = self._devices(squeeze, time)
        contrast = self._between(self.look.contrast, patient.contrast)
        loss = smeared(np.float32(contrast) * shadow.path + metal, self._move(phase))
        intensity = exposed(
            self.body + loss * np.float32(NOMINAL_SIDE / side),
            scale=self.camera.scale,
            scatter=self._between(self.look.scatter, patient.scatter),
            vignette=self.vignette,
            quanta=self._between(self.look.quanta, patient.quanta),
            level=self.level,
            rng=patient.chance("quanta", self.view.name, self.shot, number),
        )
        return self._labelled(intensity, shadow, devices, time, phase)

    def _labelled(self, intensity: Floats, shadow: Shadow, devices: Bools, time: float, phase: float) -> Angiogram:
        patient, side = self.patient, self.camera.side
        boxed, ignored = judge(patient.lesions, patient.tree, shadow.tracks, side)
        narrowest = [int(np.argmin(p.diameters / p.reference)) for p in boxed]
        return Angiogram(
            image=np.round(intensity).astype(np.uint8),
            intensity=intensity,
            lumen=shadow.path,
            mask=shadow.main | shadow.side,
            main=shadow.main,
            thin=shadow.side & ~shadow.main & ~devices,
            devices=devices,
            boxes=np.array([p.box for p in boxed], np.float32).reshape(-1, 4),
            percent=np.array([p.percent for p in boxed], np.float32),
            branch=np.array([p.branch for p in boxed], np.bool_),
            reference=np.array([p.reference[k] for p, k in zip(boxed, narrowest, strict=True)], np.float32),
            ignored=np.array([p.box for p in ignored], np.float32).reshape(-1, 4),
            profiles=tuple(boxed),
            decoys=tuple(ignored),
            crossings=shadow.crossings,
            view=f"{patient.artery} {self.view.name}",
            primary=self.view.primary,
            secondary=self.view.secondary,
            patient=patient.id,
            time=time,
            phase=phase,
            mid_phase=patient.flow.is_mid_phase(time),
        )

    def _devices(self, squeeze: float, time: float) -> tuple[Floats, Bools]:
        """Attenuation ``(H, W)`` of catheter and stents per px of path at side 512, and where they are."""
        patient, motion = self.patient, self.look.motion
        trunk = patient.tree.branches[0]
        begin = patient.heart.in_patient(trunk.points[:12], squeeze, motion)
        ahead = (begin[-1] - begin[0]) / max(float(np.linalg.norm(begin[-1] - begin[0])), 1e-9)
        wall, inside, where = cast_catheter(patient.catheter, begin[0], ahead, self.camera)
        injected = float(patient.flow.concentration(np.zeros(1), time)[0])
        contrast = self._between(self.look.contrast, patient.contrast)
        out = np.float32(_WALL) * wall + np.float32(contrast * injected) * inside
        for stent in patient.stents:
            branch = patient.tree.branches[stent.branch]
            wire, hull = cast_stent(stent, branch, patient.heart, self.camera, squeeze, motion)
            out = out + np.float32(_METAL) * wire
            where = where | hull
        return out, where

    def _move(self, phase: float) -> tuple[float, float]:
        """Mean movement (x, y) of the tree during the exposure, px."""
        patient, motion = self.patient, self.look.motion
        points = np.concatenate([b.points[::8] for b in patient.tree.branches])
        half = 0.5 * _SHUTTER * patient.rate
        before, after = (
            self.camera.project(patient.heart.in_patient(points, squeeze_at(phase + d), motion))[0]
            for d in (-half, half)
        )
        x, y = (after - before)[:, :2].mean(axis=0)
        return float(x), float(y)

    @staticmethod
    def _between(pair: tuple[float, float], share: float) -> float:
        return pair[0] + share * (pair[1] - pair[0])
