"""The truth about each lesion in a picture: box, per cent stenosis, diameters along the vessel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.systems.vessel.phantom.lesions import Lesion
from fieldsight.systems.vessel.phantom.look import NOMINAL_SIDE
from fieldsight.systems.vessel.phantom.project import ARRIVED, Track
from fieldsight.systems.vessel.phantom.tree import Tree

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

#: Room around a lesion's lumen, px at side 512.
_MARGIN = 3.0

#: A lesion seen at less than this share of its length can't be judged: it is ignored, not boxed.
_FORESHORTENED = 0.45

#: A box of which less than this share is inside the picture is ignored.
_INSIDE = 0.6


@dataclass(frozen=True)
class Profile:
    """Quantitative coronary analysis of one lesion.

    Attributes:
        lesion: index in the patient's lesions.
        points: ``(P, 2)`` axis where |u| is at most 1.5·l, continuous picture coordinates in px.
        diameters: ``(P,)`` true lumen, px.
        reference: ``(P,)`` lumen as it would be without the lesion, px.
        percent: loss of diameter at the narrowest point, %.
        branch: on a side branch.
        box: ``(4,)`` xyxy in px.
    """

    lesion: int
    points: Doubles
    diameters: Doubles
    reference: Doubles
    percent: float
    branch: bool
    box: Floats


def judge(
    lesions: tuple[Lesion, ...], tree: Tree, tracks: tuple[Track, ...], side: int
) -> tuple[list[Profile], list[Profile]]:
    """Profiles of the stenoses that are boxed, and of what is to be ignored, in one picture.

    Ignored are decoys, and stenoses that are mostly out of the picture or seen end-on. What lies wholly outside, or
    where contrast medium has not arrived, is in neither list.
    """
    boxed: list[Profile] = []
    ignored: list[Profile] = []
    for index, lesion in enumerate(lesions):
        branch, track = tree.branches[lesion.branch], tracks[lesion.branch]
        within = np.flatnonzero((branch.arc >= lesion.span[0]) & (branch.arc <= lesion.span[1]))
        if track.concentration[within].min() < ARRIVED:
            continue
        whole = _hull(track, within, _MARGIN * side / NOMINAL_SIDE)
        box = np.clip(whole, 0.0, side)
        area, seen = _area(whole), _area(box)
        if seen <= 0:
            continue
        profile = Profile(
            lesion=index,
            points=track.xy[within],
            diameters=2 * track.radius[within],
            reference=2 * track.healthy[within],
            percent=100 * float(1 - (track.radius[within] / track.healthy[within]).min()),
            branch=not branch.main,
            box=box.astype(np.float32),
        )
        narrow = track.xy[within][int(np.argmin(track.radius[within] / track.healthy[within]))]
        visible = bool(np.all((narrow >= 0) & (narrow <= side))) and seen >= _INSIDE * area
        judged = visible and float(track.slant[within].mean()) >= _FORESHORTENED
        (boxed if lesion.significant and judged else ignored).append(profile)
    return boxed, ignored


def _hull(track: Track, within: NDArray[np.intp], margin: float) -> Doubles:
    """Box ``(4,)`` around the healthy lumen of a part of a track."""
    reach = track.healthy[within, None] + margin
    return np.concatenate([(track.xy[within] - reach).min(axis=0), (track.xy[within] + reach).max(axis=0)])


def _area(box: Doubles) -> float:
    return float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0))
