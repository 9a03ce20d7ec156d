"""``enhance`` and ``fuse``: vessels of any picture brought out, without a detector; of runs frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fieldsight import predicting, progress
from fieldsight.data.arrays import write_tiff
from fieldsight.data.detection.sample import Picture
from fieldsight.data.files import write_json
from fieldsight.data.folders import Item, gather
from fieldsight.data.images import read_image, resize, to_uint8, write_image
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.data.video import LEAST_FPS, write_video
from fieldsight.errors import DataError
from fieldsight.model import Model
from fieldsight.predictions import Prediction, Table, beside
from fieldsight.systems.vessel import fusing
from fieldsight.systems.vessel.enhance import fused, measure, mixed, shown
from fieldsight.systems.vessel.filters import FAINT, Vesselness
from fieldsight.systems.vessel.options import EnhanceOptions, FrameOptions, FuseOptions
from fieldsight.systems.vessel.xa import SUFFIXES, Angiography, open_angiography
from fieldsight.systems.vessel.xa_frames import key_frames

Frame = NDArray[np.uint8]

#: Longest side of the three pictures of a drawing, px.
PANEL = 640

#: Frames of more pixels are filtered in bands of so many rows, which costs memory for one band only.
WHOLE, BAND = 16_000_000, 1024

#: Rows beyond a band that its filter may look at, in sigmas; more than it does, and whole steps of its coarsest grid.
HALO, GRID = 12, 64

#: Blur of the brightness that ``flat`` evens out, as a share of the longer side.
EVEN = 1 / 8


@dataclass(frozen=True, eq=False)
class Enhanced(Prediction):
    """A frame with its vessels brought out.

    Attributes:
        frame: ``(H, W)`` uint8.
        vesselness: value ``(H, W)`` in 0-1 unscaled, scale (px), direction (rad).
        visible: ``(H, W)`` float32 vesselness as it is shown and fused.
        fused: ``(H, W, 3)`` uint8.
        maps: write the three maps as TIFF too.
        options: filter and fusion.
        facts: what else is worth telling.
        files: where it was written, if it was.
    """

    frame: Frame
    vesselness: Vesselness
    visible: NDArray[np.float32]
    fused: Picture
    maps: bool = False
    options: FrameOptions = field(default_factory=FrameOptions)
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def save(self, folder: str | Path, stem: str | Path = "frame") -> list[Path]:
        """Write vesselness and fused picture as PNG, the rest as JSON; where wanted the maps as float TIFF."""
        base = Path(folder) / stem

        def named(ending: str) -> Path:
            return base.with_name(f"{base.name}{ending}")

        written = [
            write_image(named("_vesselness.png"), fusing.levels(self.visible)),
            write_image(named("_fused.png"), self.fused),
            write_json(named(".json"), self.to_dict()),
        ]
        if self.maps:
            one = self.vesselness
            for name, array in (("vesselness", one.value), ("scale", one.scale), ("direction", one.direction)):
                written.append(write_tiff(named(f"_{name}.tif"), np.asarray(array, np.float32)))
        return written

    def to_dict(self) -> dict[str, Any]:
        """Size, how much of the frame looks like a vessel, the widths found."""
        high, wide = self.frame.shape
        strong = self.vesselness.value > FAINT
        scale = np.asarray(self.vesselness.scale)
        widths = scale[strong] if scale.shape == strong.shape else scale[:0]
        return {
            "height": high, "width": wide, "vessel_share": round(float(strong.mean()), 5),
            "median_scale_px": round(float(np.median(widths)), 3) if widths.size else None, **self.facts,
        }  # fmt: skip

    def draw(self) -> Picture:
        """Frame, vesselness and fused picture side by side."""
        panels = [fusing.grey(self.frame), fusing.grey(fusing.levels(self.visible)), self.fused]
        return beside([resize(p, PANEL) for p in panels])


@dataclass(frozen=True, eq=False)
class EnhancedRun(Prediction):
    """A run of frames: the one of fullest contrast, and a video of all when it is saved.

    Attributes:
        key: that frame, enhanced.
        number: which one it is.
        source: what the frames are read from again.
        options: filter and fusion.
        frames: of the run.
        fps: frames a second.
        notes: what was assumed.
        files: where it was written, if it was.
    """

    key: Enhanced
    number: int
    source: Any
    options: EnhanceOptions
    frames: int
    fps: float
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def save(self, folder: str | Path, stem: str | Path = "run") -> list[Path]:
        """The key frame's files, and ``_enhanced.mp4``: frame and fused picture side by side."""
        base = Path(folder) / stem
        written = self.key.save(folder, f"{stem}_frame{self.number:04d}")
        target = base.with_name(f"{base.name}_enhanced.mp4")
        with write_video(target, max(LEAST_FPS, self.fps / self.options.every)) as add:
            for _, frame in self._again():
                add(beside([fusing.grey(frame), fused(frame, self.options, self.options.threads)], gap=0))
        return [*written, target, write_json(base.with_name(f"{base.name}.json"), self.to_dict())]

    def _again(self) -> Iterator[tuple[int, Frame]]:
        with open_angiography(self.source) as run:
            for number, frame in run:
                if number % self.options.every == 0:
                    yield number, _even(frame) if self.options.flat else frame

    def to_dict(self) -> dict[str, Any]:
        """Of the key frame, and of the run."""
        notes = {"notes": list(self.notes)} if self.notes else {}
        return {
            "frames": self.frames,
            "key_frame": self.number,
            "fps": round(self.fps, 3),
            **self.key.to_dict(),
            **notes,
        }

    def draw(self) -> Picture:
        """The key frame's drawing."""
        return self.key.draw()

    def shown(self) -> tuple[Mapping[str, Any], Sequence[Table]]:
        """The same words as the summary."""
        told = self.to_dict()
        return {k: "; ".join(v) if isinstance(v, list) else v for k, v in told.items()}, ()


class FilterOnly(Model):
    """Filter and fusion as the house's loop over inputs wants them: nothing is learned."""

    system = "vessel"

    def items(self, inputs: Any) -> list[Item]:
        """Pictures, DICOM files and videos."""
        return gather(inputs, SUFFIXES)

    def describe(self) -> str:
        """In words."""
        return "vessel filter"


def enhance(inputs: Any, options: EnhanceOptions, out: Path | None, strict: bool) -> Any:
    """Bring out the vessels of pictures, DICOM files and videos.

    Raises:
        DataError: nothing to work on, or a single input that can't be read.
    """
    return predicting.predict(FilterOnly(options), inputs, options, out, strict, {}, action=enhance_one)


def fuse(inputs: Any, options: FuseOptions, out: Path | None, strict: bool) -> Any:
    """Lay vesselness over frames: what a detector sees.

    Raises:
        DataError: as :func:`enhance`; a vesselness picture of another size.
    """
    return predicting.predict(FilterOnly(options), inputs, options, out, strict, {}, action=fuse_one)


def enhance_one(source: Any, options: EnhanceOptions) -> Enhanced | EnhancedRun:
    """One input: a picture, or a run of frames."""
    with _opened(source, options) as run:
        if run.count == 1:
            return _enhanced(run.frame(0), options, {"notes": list(run.notes)} if run.notes else {})
        chosen = key_frames(run)
        number = chosen.numbers[0]
        facts = {"view": str(run.view(number))}
        key = _enhanced(run.frame(number), options, facts)
        run.refresh()
        notes = tuple(dict.fromkeys([*run.notes, *chosen.notes]))
        return EnhancedRun(key, number, source, options, run.count, run.fps, notes)


def fuse_one(source: Any, options: FuseOptions) -> Enhanced:
    """One input: a picture, or the frame of a run with the fullest contrast."""
    with _opened(source, options) as run:
        number = 0 if run.count == 1 else key_frames(run).numbers[0]
        frame = run.frame(number)
    if options.vesselness is None:
        return _enhanced(frame, options, {"frame": number})
    value = _given(options.vesselness, frame)
    empty = np.zeros((0, 0), np.float32)
    return Enhanced(
        frame,
        Vesselness(value, empty, empty),
        value,
        mixed(frame, value, options),
        options=options,
        facts={"frame": number},
    )


def _given(path: Path, frame: Frame) -> NDArray[np.float32]:
    """Vesselness from a picture, white for 1.

    Raises:
        DataError: another size than the frame.
    """
    value = to_uint8(read_image(path, "grey"))
    if value.shape != frame.shape:
        raise DataError(
            f"vesselness: '{path}' is {value.shape[1]} x {value.shape[0]} pixels, the frame {frame.shape[1]} x "
            f"{frame.shape[0]}. Both must have one size: make it with 'fieldsight vessel enhance' of this frame."
        )
    return np.asarray(value, np.float32) / np.float32(255)


def _enhanced(frame: Frame, options: FrameOptions, facts: Mapping[str, Any]) -> Enhanced:
    frame = _even(frame) if options.flat else frame
    maps = isinstance(options, EnhanceOptions) and options.maps
    found = _measured(frame, options, maps)
    visible = shown(found.value, options)
    picture = fused(frame, options, options.threads) if options.mode in ("clahe", "unsharp") else None
    if visible.max(initial=0.0) <= FAINT:
        progress.note("nothing here looks like a vessel: vesselness is left as faint as it is")
    picture = mixed(frame, visible, options) if picture is None else picture
    return Enhanced(frame, found, visible, picture, maps, options, facts)


def _measured(frame: Frame, options: FrameOptions, maps: bool) -> Vesselness:
    """:func:`.enhance.measure`, of a large frame band by band: the same numbers. Direction there only where wanted."""
    high, wide = frame.shape
    if frame.size <= WHOLE or options.filter != "frangi" or options.c == 0:
        return measure(frame, options, options.threads)
    halo = GRID * math.ceil(HALO * max(options.sigmas) / GRID)
    value, scale = (np.empty((high, wide), np.float32) for _ in range(2))
    direction = np.empty((high, wide) if maps else (0, 0), np.float32)
    for top in progress.track(range(0, high, BAND), "filtering"):
        below, start = min(high, top + BAND), max(0, top - halo)
        part = measure(frame[start : min(high, below + halo)], options, options.threads)
        own = slice(top - start, below - start)
        value[top:below], scale[top:below] = part.value[own], part.scale[own]
        if maps:
            direction[top:below] = part.direction[own]
    return Vesselness(value, scale, direction)


def _opened(source: Any, options: FrameOptions) -> Angiography:
    """Frames of a source; of a colour picture the wanted channel."""
    still = not isinstance(source, (str, Path)) or Path(source).suffix.lower() in IMAGE_SUFFIXES
    if options.channel == "grey" or not still:
        return open_angiography(source)
    picture = to_uint8(read_image(source, "rgb"))
    return open_angiography(np.ascontiguousarray(picture[..., ("red", "green", "blue").index(options.channel)]))


def _even(frame: Frame) -> Frame:
    """The frame over its own blurred brightness, at a mean of 128: shadows go, vessels stay."""
    light = frame.astype(np.float32) + 1
    sigma = max(frame.shape) * EVEN
    soft = cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.clip(np.rint(128 * light / soft), 0, 255), np.uint8)
