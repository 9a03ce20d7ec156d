"""The chosen experts' maps of a photo, mixed into one: whole, or tile by tile in bounded memory."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fieldsight import progress
from fieldsight.data import tiling
from fieldsight.data.arrays import allocate, bands, release
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack.agreement import Agreement
from fieldsight.systems.crack.config import CrackConfig
from fieldsight.systems.crack.engines import Place, WithExternal
from fieldsight.systems.crack.inference import Engine, prepared
from fieldsight.systems.crack.options import PredictOptions
from fieldsight.systems.crack.photo import Photo
from fieldsight.systems.crack.routes import Route

Map = NDArray[np.float32]

#: Told of an expert that fails: its name, and why.
Warn = Callable[[str, str], None]


@dataclass
class Fusion:
    """One photo's maps as they are mixed.

    Attributes:
        engine: what computes.
        route: which experts are mixed where; changes when one fails.
        warn: told of each expert that fails: its name, and why.
        probability: the mixture ``(H, W)``; a mapped file where it is large.
        failed: why experts failed, by name.
        agreement: how far the experts agree.
    """

    engine: Engine
    route: Route
    warn: Warn
    probability: Map = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    failed: dict[str, str] = field(default_factory=dict)
    agreement: Agreement = field(default_factory=Agreement)

    def mix(self, image: Tensor, size: tuple[int, int], keep: Place, inner: Place) -> Map:
        """One tile: the experts that have weight in it, mixed by the weights of its pixels.

        Args:
            image: the tile with its surroundings, normalised and padded ``(1, 3, H, W)``.
            size: height and width of it without padding.
            keep: rows and columns of the photo that it fills.
            inner: where these lie in the image.

        Raises:
            DataError: every expert failed.
        """
        maps: dict[int, Map] = {}
        while missing := [int(m) for m in np.flatnonzero(self.route.needed(*keep)) if int(m) not in maps]:
            name = self.engine.names[missing[0]]
            found, problem = compute(self.engine, name, image, size)
            _trim()
            if found is not None:
                maps[missing[0]] = found[inner]
                continue
            self.failed[name] = problem
            self.warn(name, problem)
            if len(self.failed) == len(self.engine.names):
                raise DataError(f"Every expert failed on this photo; the last one, '{name}': {problem}")
            self.route = self.route.without(missing[0])
        weights = self.route.field(*keep)
        mixed = np.zeros(next(iter(maps.values())).shape, np.float32)
        for m in sorted(maps):  # in the order of the pool, so that running all experts gives the same bits
            if weights[m].any():
                mixed += weights[m] * maps[m]
        self.agreement.add(maps, weights)
        return mixed


def left_out(name: str, problem: str) -> None:
    """Say that an expert failed."""
    progress.note(f"warning: expert '{name}' failed and is left out: {problem}")


def fuse(
    photo: Photo,
    route: Route,
    engine: Engine,
    config: CrackConfig,
    options: PredictOptions,
    warn: Warn,
) -> Fusion:
    """Run the experts of a route and mix their maps.

    An expert that fails is left out of the whole photo: where tiles were already computed with it, all begins anew.

    Raises:
        DataError: every expert failed.
    """
    shape = photo.shape
    work = Fusion(engine, route, warn)
    if config.fit == "squash":  # mixed at the size of the networks, then brought to that of the photo
        whole, every = (slice(0, shape[0]), slice(0, shape[1])), (slice(None), slice(None))
        side = (config.input, config.input)
        mixed = work.mix(prepared(photo.block(*whole), config), side, whole, every)
        work.probability = stretched(mixed, shape)
        return work
    target = allocate(shape, np.float32)
    while not _tiles(photo, work, target, config, options):
        pass
    work.probability = target
    return work


def _tiles(photo: Photo, work: Fusion, target: Map, config: CrackConfig, options: PredictOptions) -> bool:
    """Fill the target; False where an expert failed after the first tile, which would leave a seam."""
    before, work.agreement = len(work.failed), Agreement()
    number = tiling.count(photo.shape, options.tile)
    pieces = tiling.tiles(photo.shape, options.tile, options.halo)
    for n, tile in enumerate(progress.track(pieces, "predicting tiles", number) if number > 4 else pieces):
        block = photo.block(*tile.read)
        if isinstance(work.engine, WithExternal):
            work.engine.look_at(photo.shape, tile.read)
        mixed = work.mix(prepared(block, config), (block.shape[0], block.shape[1]), tile.keep, tile.inner)
        if n and len(work.failed) > before:
            return False
        target[tile.keep] = mixed
        release(target)
    return True


def _trim() -> None:
    """Give freed memory back: tiles of several sizes leave holes in glibc's heap that add up to a gigabyte."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return None
    return found


def compute(engine: Engine, name: str, image: Tensor, size: tuple[int, int]) -> tuple[Map | None, str]:
    """An expert's map ``(h, w)``, or why there is none: a user's network may raise anything, and must not end a run.

    Raises:
        ConfigError: what is wrong are the options.
    """
    try:
        found: Any = engine.expert(name, image)[0, 0, : size[0], : size[1]].float().cpu().numpy()
    except ConfigError:
        raise
    except Exception as error:
        return None, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
    if found.shape != size:
        return None, f"its map has {found.shape[1]} x {found.shape[0]} pixels where {size[1]} x {size[0]} are needed"
    return (found, "") if np.isfinite(found).all() else (None, "its map holds NaN or infinity")


def stretched(values: Map, shape: tuple[int, int]) -> Map:
    """A map ``(h, w)`` at another size, bilinear; band by band, into a mapped file where it is large."""
    if values.shape == shape:
        return values
    across = F.interpolate(torch.from_numpy(values)[None, None], (values.shape[0], shape[1]), mode="bilinear")[
        0, 0
    ].numpy()
    place = np.clip((np.arange(shape[0]) + 0.5) * values.shape[0] / shape[0] - 0.5, 0.0, values.shape[0] - 1.0)
    low = np.minimum(place.astype(np.int64), values.shape[0] - 2)
    part = (place - low).astype(np.float32)[:, None]
    target = allocate(shape, np.float32)
    for rows in bands(*shape):
        target[rows] = across[low[rows]] * (1.0 - part[rows]) + across[low[rows] + 1] * part[rows]
        release(target)
    return target
