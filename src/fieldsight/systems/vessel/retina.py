"""The filter on a real photo: scikit-image's picture of a healthy retina, dark vessels on bright ground.

Nobody drew its vessels, so nothing here is an accuracy. What is checked needs no truth: agreement with an independent
implementation, dark against bright polarity, noise, size, rotation. Nothing was tuned on this picture; the bounds were
set after a first look at it, so that they catch a filter that breaks and prove nothing of one that works.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fieldsight import assets
from fieldsight.data.images import read_image, resize, write_image
from fieldsight.errors import DataError
from fieldsight.predictions import Picture, Prediction, Table, beside
from fieldsight.systems.vessel import fast, fusing
from fieldsight.systems.vessel.config import Enhance
from fieldsight.systems.vessel.constants import BETA, SIGMAS, C
from fieldsight.systems.vessel.enhance import mixed, shown
from fieldsight.systems.vessel.filters import Polarity
from fieldsight.systems.vessel.hessian import reach

Floats = NDArray[np.floating[Any]]
Frame = NDArray[np.uint8]
Bools = NDArray[np.bool_]

#: Side at which the picture is looked at, px; size is checked at twice that.
SIDE = 512
#: Red level that is still retina, and the width of its rim that is not shown, px at side 512.
LIT, RIM = 30, 3
#: Standard deviation of the noise that is added, grey levels.
NOISE = 5.0
#: Share of the field that counts as found: its strongest tenth.
TOP = 0.1
#: Side of the median that tells whether a pixel is darker than what is around it, px at side 512.
AROUND = 31
#: Vesselness that is compared between sizes.
CLEAR = 0.3
#: Diameter of the disc that a closing fills dark lines with, px at side 512: wider than any vessel here.
DISC = 21


@dataclass(frozen=True)
class Check:
    """One property of the filter on the picture.

    Attributes:
        name: what is measured.
        value: what was found.
        low, high: what is allowed; both included.
        control: the same of something that should be worse, and what that is; empty where there is none.
        remark: why it says something.
    """

    name: str
    value: float
    low: float
    high: float
    control: str = ""
    remark: str = ""

    @property
    def holds(self) -> bool:
        """The value is within its bounds; NaN is not."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True, eq=False)
class RetinaCheck(Prediction):
    """What was found on the retina.

    Attributes:
        checks: the properties.
        picture: ``(H, W, 3)`` uint8: green channel, vesselness, both fused, side by side.
        notes: what is no check but worth telling.
        files: where it was written, if it was.
    """

    checks: tuple[Check, ...]
    picture: Picture
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def holds(self) -> bool:
        """All checks hold."""
        return all(check.holds for check in self.checks)

    def table(self) -> Table:
        """The checks as rows."""
        columns = dict.fromkeys(("check", "value", "allowed", "holds", "control", "remark"), "")
        rows = [
            {"check": c.name, "value": float(f"{c.value:.4g}"), "allowed": _allowed(c), "holds": c.holds,
             "control": c.control, "remark": c.remark}
            for c in self.checks
        ]  # fmt: skip
        return Table(columns, rows, "The filter on a photo of a retina", {"notes": list(self.notes)})

    def save(self, folder: str | Path, stem: str | Path = "retina") -> list[Path]:
        """Write the table as CSV and JSON, and the picture as PNG."""
        base = Path(folder) / stem
        return [*self.table().save(folder, stem), write_image(base.with_name(f"{base.name}.png"), self.picture)]

    def to_dict(self) -> dict[str, Any]:
        """The table, and whether all holds."""
        return {"holds": self.holds, **self.table().to_dict()}

    def draw(self) -> Picture:
        """The picture."""
        return self.picture


def _allowed(check: Check) -> str:
    if np.isinf(check.high):
        return f"at least {check.low:g}"
    return f"at most {check.high:g}" if np.isinf(check.low) else f"{check.low:g} to {check.high:g}"


@dataclass(frozen=True, eq=False)
class Fundus:
    """The picture as the checks take it.

    Attributes:
        green: ``(H, W)`` uint8 green channel.
        lit: ``(H, W)`` bool, the round field of view without its rim.
        inside: ``(H, W)`` bool, what no kernel connects with pixels that are not of the field.
    """

    green: Frame
    lit: Bools
    inside: Bools


def retina_check(picture: str | Path | None = None, seed: int = 0) -> RetinaCheck:
    """Look at the filter on the picture of the retina (1411 x 1411, Mikael Häggström 2014, CC0-1.0).

    Args:
        picture: the file; scikit-image's own by default.
        seed: of the noise.

    Raises:
        DataError: there is no such picture, it is another one than meant, or too small.
    """
    colours = read_retina(picture)
    small, large = fundus(colours, SIDE), fundus(colours, 2 * SIDE)
    value = vessels(small.green)
    checks = (
        agreement(small, value),
        *polarity(small, value),
        noise(small, seed),
        size(small, large, value),
        rotation(small, value),
        tophat(small, value),
    )
    settings = Enhance()
    seen = shown(np.where(small.lit, value, np.float32(0)), settings)
    panels = [fusing.grey(small.green), fusing.grey(fusing.levels(seen)), mixed(small.green, seen, settings)]
    notes = (
        f"scikit-image's retina.jpg (CC0), green channel at {SIDE} x {SIDE}, scales "
        f"{', '.join(f'{s:g}' for s in SIGMAS)} px, beta {BETA:g}, c {C:g}; nobody drew its vessels: no number here is "
        "an accuracy",
        "the edge of the optic disc and the fovea respond too: pseudo-vessels, as the paper saw in angiograms",
        "vessels of a retina are thicker and clearer against their ground than those of an angiogram",
    )
    return RetinaCheck(checks, beside([np.where(small.lit[..., None], p, np.uint8(0)) for p in panels]), notes)


def read_retina(picture: str | Path | None = None) -> Picture:
    """The photo, ``(H, W, 3)`` uint8; scikit-image's, where no other is named. Nothing is downloaded.

    Raises:
        DataError: the file is absent or, without a name, another one than meant; no colours; too small.
    """
    path = _packaged() if picture is None else Path(picture)
    found = read_image(path, "rgb")
    if found.dtype != np.uint8 or min(found.shape[:2]) < 2 * SIDE:
        raise DataError(
            f"'{path}' is {found.shape[1]} x {found.shape[0]} pixels of {found.dtype}; the check needs 8-bit colours "
            f"and sides of at least {2 * SIDE} pixels."
        )
    return found


def _packaged() -> Path:
    folder = assets.locate("scikit-image-retina")
    if folder is None:
        raise DataError(
            "The retina of scikit-image 0.26 is wanted, but what is installed is another version. Get it by "
            "'fieldsight assets fetch scikit-image-retina', or name a colour photo of a retina."
        )
    return folder / "retina.jpg"


def fundus(colours: Picture, side: int) -> Fundus:
    """The green channel at a size, with its field of view.

    Outside of the round field the picture is black, and that edge is the strongest structure of all: only what no
    kernel connects with it is compared.

    Args:
        colours: ``(H, W, 3)`` uint8.
        side: longest side, px.

    Raises:
        DataError: nothing is lit.
    """
    small = resize(colours, side)
    lit = ndimage.binary_fill_holes(small[..., 0] > LIT)
    away = ndimage.distance_transform_edt(np.pad(lit, 1))[1:-1, 1:-1]
    scale = side / SIDE
    inside = away > reach(SIGMAS[-1] * scale)
    if not inside.any():
        raise DataError("The photo has no bright round field of view as photos of a retina have. Name another one.")
    return Fundus(np.ascontiguousarray(small[..., 1]), away > RIM * scale, inside)


def vessels(frame: NDArray[Any], polarity: Polarity = "dark", larger: int = 1) -> NDArray[np.float32]:
    """Vesselness ``(H, W)`` of the paper's settings; of a picture that is ``larger`` times as large, scales too."""
    sigmas = tuple(larger * s for s in SIGMAS)
    return np.asarray(fast.vesselness(frame, sigmas, polarity, detail=False).value)


def skimage_frangi(
    frame: NDArray[Any], normalised: bool, sigmas: tuple[float, ...] = SIGMAS, beta: float = BETA, c: float = C,
    mode: Literal["reflect", "mirror"] = "mirror",
) -> NDArray[np.float64]:  # fmt: skip
    """Frangi's filter by scikit-image's own Hessian, as ``skimage.filters.frangi`` 0.26 puts it together.

    That function takes ``skimage.feature.hessian_matrix`` of each scale as it is: the factor ``sigma^2``, by which
    derivatives of different scales become comparable (Lindeberg 1998), is missing. With one ``c`` for all scales, the
    response of sigma 9 is 81 times too small and hardly counts. (Without a ``gamma``, it takes half of the largest
    norm of the first scale, and keeps it for all.)

    Args:
        frame: ``(H, W)`` grey levels, 0-255.
        normalised: with ``sigma^2``; without it the result is that of ``skimage.filters.frangi``.
        sigmas, beta, c: see :func:`.filters.multiscale`; ``c`` is called gamma there.
        mode: border; scikit-image's default is ``reflect``, which repeats the last pixel; ours is ``mirror``.

    Returns:
        ``(H, W)``, 0 to 1, for dark vessels.
    """
    from skimage.feature import hessian_matrix, hessian_matrix_eigvals

    best = np.zeros(frame.shape, np.float64)
    for sigma in sigmas:
        bends = hessian_matrix(np.asarray(frame, np.float64), sigma, mode=mode, use_gaussian_derivatives=True)
        values = hessian_matrix_eigvals([sigma**2 * b if normalised else b for b in bends])
        small, large = np.take_along_axis(values, np.abs(values).argsort(0), 0)
        large = np.maximum(large, 1e-10)  # as there: of the wrong sign, the ratio becomes so large that exp is 0
        strength = (values**2).sum(0)
        value = np.exp(-((small / large) ** 2) / (2 * beta**2)) * (1 - np.exp(-strength / (2 * c**2)))
        best = np.maximum(best, value)
    return best


# -------------------------------------------------------------------------------------------------- the checks


def agreement(small: Fundus, value: Floats) -> Check:
    """Ranks of ours against scikit-image's Hessian with the factor it lacks; control: as it is."""
    other, bare = (skimage_frangi(small.green, normalised) for normalised in (True, False))
    found = _ranks(value[small.inside], other[small.inside])
    control = f"{_ranks(value[small.inside], bare[small.inside]):.3f} against skimage.filters.frangi as it is"
    return Check(
        "rank correlation with scikit-image's filter, sigma^2 added", found, 0.99, np.inf, control,
        "independent code: two first derivatives of sigma / sqrt 2 instead of one second",
    )  # fmt: skip


def polarity(small: Fundus, value: Floats) -> tuple[Check, Check]:
    """How much of the response lies on pixels that are darker than their neighbourhood, by both polarities."""
    darker = (small.green < cv2.medianBlur(small.green, AROUND)) & small.inside
    bright = vessels(small.green, "bright")

    def share(v: Floats) -> float:
        return float(v[darker].sum() / v[small.inside].sum())

    area = f"{darker.sum() / small.inside.sum():.3f} of the field is darker than its surroundings"
    return (
        Check("share of the response on dark pixels, dark polarity", share(value), 0.75, np.inf, area,
              "darker than the median of 31 x 31 pixels, which knows nothing of derivatives"),
        Check("share of the response on dark pixels, printed polarity", share(bright), -np.inf, 0.25, area,
              "Eq. 2 as printed is for bright vessels: its response is what lies between the vessels"),
    )  # fmt: skip


def noise(small: Fundus, seed: int) -> Check:
    """Overlap of the strongest tenths of two noisy copies; control: without the factor of the scale."""
    copies = [_noisy(small.green, [seed, n]) for n in range(2)]
    ours, bare = (
        _overlap(*(_strongest(v(frame), small.inside) for frame in copies)) for v in (vessels, _without_factor)
    )
    return Check(
        f"overlap (Dice) of two copies with noise of {NOISE:g} grey levels, strongest tenth", ours, 0.9, np.inf,
        f"{bare:.3f} of skimage.filters.frangi as it is",
        "large scales must have a say, or noise decides",
    )  # fmt: skip


def _without_factor(frame: NDArray[Any]) -> Floats:
    return skimage_frangi(frame, normalised=False)


def size(small: Fundus, large: Fundus, value: Floats) -> Check:
    """A picture twice as large with scales twice as large has the same vesselness: what sigma^2 is for."""
    wide = vessels(large.green, larger=2)
    shrunk = cv2.resize(wide, value.shape[::-1], interpolation=cv2.INTER_AREA)
    clear = small.inside & (value > CLEAR)
    found = float(np.median(shrunk[clear] / value[clear])) if clear.any() else float("nan")
    return Check(
        "vesselness at twice the size and scales, median ratio", found, 0.95, 1.05, "",
        "c = 15 grey levels means the same at every size; without sigma^2 the Hessian falls to a quarter",
    )  # fmt: skip


def rotation(small: Fundus, value: Floats) -> Check:
    """A turned picture has turned vesselness."""
    turned = vessels(np.rot90(small.green))
    apart = float(np.abs(np.rot90(value) - turned)[np.rot90(small.inside)].max())
    return Check("largest difference after a quarter turn", apart, -np.inf, 1e-4, "", "rows and columns alike")


def tophat(small: Fundus, value: Floats) -> Check:
    """Overlap with a self-made reference: dark lines by morphology, a black top-hat. It is no truth."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (DISC, DISC))
    lines = cv2.morphologyEx(small.green, cv2.MORPH_BLACKHAT, disc).astype(np.float32)
    reference = _strongest(lines, small.inside)
    ours = _overlap(reference, _strongest(value, small.inside))
    bright = _overlap(reference, _strongest(vessels(small.green, "bright"), small.inside))
    return Check(
        "overlap (Dice) with a black top-hat, strongest tenth", ours, 0.5, np.inf,
        f"{bright:.3f} of the printed polarity; {TOP:g} by chance",
        "a self-made reference without derivatives; two filters that agree may both be wrong",
    )  # fmt: skip


def _noisy(frame: Frame, seed: list[int]) -> Frame:
    rng = np.random.default_rng(seed)
    return np.clip(np.rint(frame + rng.normal(0, NOISE, frame.shape)), 0, 255).astype(np.uint8)


def _strongest(value: Floats, inside: Bools) -> Bools:
    """The strongest tenth of the field, ``(n,)`` over its pixels; ties by place, so that it is always a tenth."""
    within = value[inside]
    found = np.zeros(within.shape, bool)
    found[np.argsort(within, kind="stable")[-max(1, round(TOP * within.size)) :]] = True
    return found


def _overlap(a: Bools, b: Bools) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def _ranks(a: Floats, b: Floats) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)
