"""A virtual patient: all that stays the same from picture to picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, unknown
from fieldsight.systems.vessel.phantom.anatomy import grow
from fieldsight.systems.vessel.phantom.camera import VIEWS, Camera, View, axes_of, draw_view
from fieldsight.systems.vessel.phantom.devices import Catheter, draw_catheter
from fieldsight.systems.vessel.phantom.flow import Flow, draw_flow
from fieldsight.systems.vessel.phantom.heart import Heart, draw_heart
from fieldsight.systems.vessel.phantom.lesions import Lesion, Stent, draw_lesions, narrowed
from fieldsight.systems.vessel.phantom.look import MM_PER_PX, NOMINAL_FIELD, Look, look_of
from fieldsight.systems.vessel.phantom.tree import Tree

Doubles = NDArray[np.float64]

#: A split is a part of the seed: no patient of one can be drawn in another.
SPLITS = {"train": 0, "val": 1, "test": 2}

ARTERIES = ("LCA", "RCA")

#: Frames by artery and view in the paper's Table 1.
TABLE_1 = {"LCA": {"zero": 109, "LAO": 96, "RAO": 75}, "RCA": {"zero": 30, "LAO": 51, "RAO": 39}}


@dataclass(frozen=True, eq=False)
class Patient:
    """One person with one coronary artery under study. Made by :meth:`draw`.

    Attributes:
        id: split, seed and number, as in ``test-0-00012``.
        split, number, seed: where the chance comes from.
        artery: ``LCA`` or ``RCA``.
        look: what :meth:`draw` was given.
        heart, tree, lesions, stents, catheter, flow: what is seen.
        contrast, quanta, scatter: shares, 0 to 1, of the look's ranges: a patient keeps his place in another preset.
        rate: heart beats a second.
    """

    id: str
    split: str
    number: int
    seed: int
    artery: str
    look: Look
    heart: Heart
    tree: Tree
    lesions: tuple[Lesion, ...]
    stents: tuple[Stent, ...]
    catheter: Catheter
    flow: Flow
    contrast: float
    quanta: float
    scatter: float
    rate: float

    @classmethod
    def draw(
        cls, split: str, number: int, seed: int = 0, look: str | Look = "mixed", artery: str | None = None
    ) -> Patient:
        """The patient with this number; same arguments, same patient.

        Args:
            split: ``train``, ``val`` or ``test``; each has patients of its own.
            number: 0 and up. Seven of ten patients have their left artery studied, as the paper's frames.
            seed: of all chance.
            look: preset or knobs; here its branch diameters count.
            artery: ``LCA`` or ``RCA`` instead of the patient's own.

        Raises:
            ConfigError: unknown split, preset or artery; a number or seed that is none.
        """
        knobs = look_of(look)
        _check(split, number, seed, artery)
        own = _artery(split, number, seed) if artery is None else artery
        heart = draw_heart(_chance(seed, split, number, "heart"))
        diameters = (knobs.branch_diameter[0] * MM_PER_PX, knobs.branch_diameter[1] * MM_PER_PX)
        tree = grow(own, heart, diameters, _chance(seed, split, number, "tree", own))
        lesions, stents = draw_lesions(tree, _chance(seed, split, number, "lesions", own))
        rng = _chance(seed, split, number, "person")
        shares = rng.random(3)
        return cls(
            id=f"{split}-{seed}-{number:05d}",
            split=split,
            number=number,
            seed=seed,
            artery=own,
            look=knobs,
            heart=heart,
            tree=tree,
            lesions=lesions,
            stents=stents,
            catheter=draw_catheter(own, rng),
            flow=draw_flow(tree.reach, rng),
            contrast=float(shares[0]),
            quanta=float(shares[1]),
            scatter=float(shares[2]),
            rate=float(rng.uniform(0.95, 1.5)),
        )

    @property
    def healthy(self) -> bool:
        """No stenosis; decoys do not count."""
        return not any(lesion.significant for lesion in self.lesions)

    def chance(self, *labels: int | str) -> np.random.Generator:
        """Chance of this patient for a purpose."""
        return _chance(self.seed, self.split, self.number, self.artery, *labels)

    def radii(self) -> list[Doubles]:
        """Radii ``(n,)`` in mm of each branch with its lesions."""
        return [narrowed(branch, i, self.lesions) for i, branch in enumerate(self.tree.branches)]

    def view(self, view: str | View | None = None, shot: int = 0) -> View:
        """The angles of one run: as given, of a view by name, or (None) by the paper's frequencies.

        Raises:
            ConfigError: unknown name.
        """
        if isinstance(view, View):
            return view
        if view is None:
            share = np.array([TABLE_1[self.artery][name] for name in VIEWS], np.float64)
            view = str(self.chance("view", shot).choice(list(VIEWS), p=share / share.sum()))
        return draw_view(view, self.chance("angles", str(view), shot))

    def camera(self, view: View, side: int, shot: int = 0) -> Camera:
        """The C-arm set to a view, with the artery near the middle of a picture of ``side`` px."""
        rng = self.chance("camera", view.name, shot)
        scale = side / (NOMINAL_FIELD * float(rng.uniform(0.94, 1.06)))
        blank = Camera(axes_of(view), (0.0, 0.0), scale, side)
        points = self.heart.in_patient(np.concatenate([branch.points for branch in self.tree.branches]))
        seen, _ = blank.project(points)
        middle = 0.5 * (seen[:, :2].min(axis=0) + seen[:, :2].max(axis=0)) - 0.5 * side
        jitter = rng.normal(0.0, 3.0, 2)
        return Camera(
            blank.axes, (float(middle[0] / scale + jitter[0]), float(-middle[1] / scale + jitter[1])), scale, side
        )


def _check(split: str, number: int, seed: int, artery: str | None) -> None:
    problems = []
    if split not in SPLITS:
        problems.append(unknown("split", str(split), SPLITS))
    for name, value in (("number", number), ("seed", seed)):
        if type(value) is not int or value < 0:
            problems.append(f"The patient's {name} is {value!r}; give a whole number from 0 up.")
    if artery is not None and artery not in ARTERIES:
        problems.append(unknown("artery", str(artery), ARTERIES))
    if problems:
        raise ConfigError(problems)


def _chance(seed: int, split: str, number: int, *labels: int | str) -> np.random.Generator:
    return rng_for("coronary phantom", seed, SPLITS[split], number, *labels)


def _artery(split: str, number: int, seed: int) -> str:
    """Right for three of any ten patients in a row, as in Table 1 (120 of 400 frames)."""
    total = {artery: sum(counts.values()) for artery, counts in TABLE_1.items()}
    share = total["RCA"] / sum(total.values())
    phase = float(rng_for("coronary phantom", seed, SPLITS[split], "arteries").random())
    return "RCA" if int((number + 1) * share + phase) > int(number * share + phase) else "LCA"
