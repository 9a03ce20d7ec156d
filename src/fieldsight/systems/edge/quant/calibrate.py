"""Which pictures calibrate, and whether they are such as the network was trained on.

The scales of INT8 come from these pictures alone. Dark, few or foreign ones give ranges that cut off what the network
meets in use: in the trial of the specification, 8 pictures at 15 % of their brightness cost half of mAP50, whatever
else was done well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.folders import Item, gather
from fieldsight.data.images import read_image, to_uint8
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError

Picture = NDArray[np.uint8]

#: So many training pictures are recommended.
ENOUGH = 300

#: What is measured of a picture, all in 0-1: means of the channels, standard deviation of brightness, mean step of
#: brightness from pixel to pixel.
FEATURES = ("red", "green", "blue", "contrast", "gradient")

#: Calibration pictures are foreign when the mean of a feature is so many standard deviations of single training
#: pictures from the training mean: further out than five of six training pictures.
FAR = 1.0

#: ... and so many standard errors of a mean of as few pictures: chance alone then says so less than once in 10,000.
CERTAIN = 4.0

#: Mean brightness below this share of the training's is called dark, above its inverse bright.
DARK = 0.5

#: Pictures are too much alike when every feature spreads less than this share of the training's spread.
ALIKE = 0.25


@dataclass(frozen=True)
class PictureStatistics:
    """Mean and spread of simple features over pictures; small enough to be kept beside a model.

    Attributes:
        count: number of pictures.
        mean: of each of :data:`FEATURES`.
        spread: standard deviation over pictures of each.
    """

    count: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def of(cls, pictures: Iterable[Picture]) -> PictureStatistics:
        """Measure pictures ``(H, W, 3)`` uint8 RGB.

        Raises:
            DataError: no picture, or an array that is none.
        """
        return cls.of_features([picture_features(picture) for picture in pictures])

    @classmethod
    def of_features(cls, features: Sequence[tuple[float, ...]]) -> PictureStatistics:
        """From what :func:`picture_features` gave for each picture.

        Raises:
            DataError: no picture.
        """
        if not features:
            raise DataError("There is no picture to measure.")
        rows = np.array(features, np.float64)
        spread = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(len(FEATURES))
        return cls(len(rows), tuple(rows.mean(axis=0).tolist()), tuple(spread.tolist()))

    @property
    def brightness(self) -> float:
        """Mean of the three channels in 0-1."""
        return sum(self.mean[:3]) / 3

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a model's config or a JSON file."""
        return {"count": self.count, "mean": list(self.mean), "spread": list(self.spread)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PictureStatistics:
        """Read what :meth:`to_dict` wrote.

        Raises:
            DataError: something else.
        """
        try:
            count, mean, spread = int(values["count"]), *(tuple(map(float, values[k])) for k in ("mean", "spread"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"These are no statistics of pictures: {error!r}.") from None
        if count < 1 or len(mean) != len(FEATURES) or len(spread) != len(FEATURES):
            raise DataError(f"Statistics of pictures have a count and {len(FEATURES)} means and spreads.")
        if not all(map(math.isfinite, (*mean, *spread))):
            raise DataError("Statistics of pictures must be finite numbers.")
        return cls(count, mean, spread)


@dataclass(frozen=True)
class Calibration:
    """Pictures chosen to calibrate with.

    Attributes:
        items: the pictures, in a steady order.
        statistics: what they look like.
        warnings: what is wrong with them, for people.
    """

    items: tuple[Item, ...]
    statistics: PictureStatistics
    warnings: tuple[str, ...]


def picture_features(picture: Picture) -> tuple[float, ...]:
    """The five numbers of :data:`FEATURES` of one picture ``(H, W, 3)`` uint8 RGB.

    Raises:
        DataError: an array that is no such picture.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise DataError(f"A picture is (H, W, 3) uint8; got {picture.shape} {picture.dtype}.")
    channels = picture.reshape(-1, 3).mean(axis=0, dtype=np.float64) / 255
    grey = picture.mean(axis=2, dtype=np.float32) / np.float32(255)
    steps = [float(np.abs(np.diff(grey, axis=axis)).mean()) if grey.shape[axis] > 1 else 0.0 for axis in (0, 1)]
    return (*channels.tolist(), float(grey.std(dtype=np.float64)), sum(steps) / 2)


def choose_pictures(
    source: str | Path | Sequence[str | Path],
    count: int = ENOUGH,
    training: PictureStatistics | None = None,
    seed: int = 0,
) -> Calibration:
    """Draw calibration pictures and say what is wrong with them.

    Args:
        source: a folder (with those below it), a pattern, or paths. An empty folder is an error.
        count: how many to draw at most; the same ones for the same files and seed.
        training: what the network was trained on; without it, only the number is judged.
        seed: of the draw.

    Returns:
        The pictures with warnings; pictures that can't be read are skipped and named there.

    Raises:
        ConfigError: a count below 1.
        DataError: no such folder, no picture in it, or none that can be read.
    """
    if count < 1:
        raise ConfigError(f"count: at least 1 calibration picture is needed, better {ENOUGH}; got {count}.")
    sources = list(source) if isinstance(source, Sequence) and not isinstance(source, str) else source
    items = gather(sources, IMAGE_SUFFIXES)
    order = rng_for(seed, "calibration pictures").permutation(len(items))
    chosen: list[Item] = []
    features: list[tuple[float, ...]] = []
    broken: list[str] = []
    for number in progress.track(order.tolist(), "measuring calibration pictures", min(count, len(items))):
        if len(chosen) == count:
            break
        try:
            features.append(picture_features(read_picture(items[number])))
            chosen.append(items[number])
        except DataError as error:
            broken.append(str(error))
    if not chosen:
        raise DataError(f"None of {len(items)} calibration pictures can be read. The first: {broken[0]}")
    found = PictureStatistics.of_features(features)
    notes = [f"{len(broken)} calibration pictures can't be read and are left out, e.g.: {broken[0]}"] if broken else []
    if any("test" in Path(str(item.value)).parts for item in chosen):
        notes.append("Calibration pictures lie in a folder 'test': what is tested on must not calibrate.")
    return Calibration(tuple(chosen), found, (*notes, *judge(found, training)))


def read_picture(item: Item) -> Picture:
    """The picture of an item, ``(H, W, 3)`` uint8 RGB.

    Raises:
        DataError: it can't be read.
    """
    return to_uint8(read_image(item.value, "rgb"))


def judge(found: PictureStatistics, training: PictureStatistics | None, enough: int = ENOUGH) -> list[str]:
    """What speaks against calibrating with pictures; empty where nothing does.

    A feature is far off when its mean over the calibration pictures is more than :data:`FAR` training spreads (standard
    deviations of single pictures) from the training mean, and more than :data:`CERTAIN` standard errors, so that a
    handful of good pictures does not warn by chance.

    Args:
        found: of the calibration pictures.
        training: of the training pictures; None: nothing to compare with.
        enough: fewer pictures than this are few.
    """
    notes = []
    if found.count < enough:
        notes.append(f"Only {found.count} pictures calibrate; {enough} or more of the training split are recommended.")
    if training is None:
        return notes
    share = found.brightness / max(training.brightness, 1e-6)
    if share < DARK or share > 1 / DARK:
        word = "dark" if share < DARK else "bright"
        notes.append(
            f"The calibration pictures are too {word}: their brightness is {share:.0%} of the training pictures'. "
            "Ranges taken from them do not hold in use; calibrate with training pictures."
        )
    limit = max(FAR, CERTAIN / math.sqrt(found.count))
    floor = 1 / 255 / 4  # training pictures that hardly differ: less than a quarter of a grey level is no difference
    far = []
    for name, mean, usual, spread in zip(FEATURES, found.mean, training.mean, training.spread, strict=True):
        off = (mean - usual) / max(spread, floor)
        if abs(off) > limit:
            far.append(f"{name} {mean:.3f} against {usual:.3f} ({off:+.1f} spreads)")
    if far:
        notes.append(
            f"The calibration pictures look unlike the training pictures: {', '.join(far)}; more than {limit:.1f} "
            "is another domain. Calibrate with training pictures."
        )
    narrow = all(s < ALIKE * usual for s, usual in zip(found.spread, training.spread, strict=True) if usual > floor)
    if found.count > 1 and narrow and max(training.spread) > floor:
        notes.append(
            "The calibration pictures are all alike: they spread less than a quarter as much as the training pictures. "
            "Take them from all of the training split."
        )
    return notes
