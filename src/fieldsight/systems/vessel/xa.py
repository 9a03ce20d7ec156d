"""Coronary angiograms in: DICOM XA, videos, pictures and arrays behind one interface, with view and pixel size.

::

    with open_angiography("run.dcm") as run:
        str(run.view())                 # "LCA LAO"
        for number, frame in run: ...   # (H, W) uint8
        key_frames(run, 5).numbers      # frames of full contrast

Frames have dark vessels, as angiograms have. The view is told by the file's positioner angles; which artery is shown,
by a word of its descriptions or by the caller. What is not told is ``unknown``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.data.dicom import DICOM_SUFFIXES, Dicom, Spacing, Window, is_dicom
from fieldsight.data.images import MAX_PIXELS, read_image
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.data.video import Frames, Video
from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.systems.vessel.xa_frames import KeyFrames, key_frames
from fieldsight.systems.vessel.xa_write import write_xa

__all__ = [
    "SUFFIXES", "Angiography", "Artery", "KeyFrames", "Side", "Tilt", "View", "angles_of_run", "key_frames",
    "open_angiography", "same_size", "view_of", "write_xa",
]  # fmt: skip

Array = NDArray[Any]
Artery = Literal["LCA", "RCA", "unknown"]
Side = Literal["zero", "LAO", "RAO", "unknown"]
Tilt = Literal["zero", "cranial", "caudal", "unknown"]

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")

#: Endings of files that are taken from a folder; DICOM files without an ending are known by their first bytes.
SUFFIXES = (*DICOM_SUFFIXES, *VIDEO_SUFFIXES, *IMAGE_SUFFIXES)

#: Degrees from which a beam counts as turned (specification; the paper gives no number).
TURNED = 15.0

#: Frames a second where a source does not say (specification: 15).
FPS = 15.0

#: 16-bit pictures whose values stay below this are told to be dark (they hold 12 to 14 bits).
_DARK = 2**14

#: Words of a description that name an artery, in any case.
_WORDS = {
    "LCA": r"(?<![a-z])(LCA|LAD|LCX)(?![a-z])|left\s+coronar|coronaire\s+gauche|coronaria\s+(sinistra|izquierda)",
    "RCA": r"(?<![a-z])RCA(?![a-z])|right\s+coronar|coronaire\s+droite|coronaria\s+(dextra|destra|derecha)",
}


@dataclass(frozen=True)
class View:
    """What an angiogram shows and from where; ``unknown`` where nothing says so.

    ``artery`` and ``side`` make the paper's six classes; ``tilt`` is kept beside. Angles are in degrees: primary
    towards LAO and secondary towards cranial are positive (PS3.3 C.8.7.5).
    """

    artery: Artery = "unknown"
    side: Side = "unknown"
    tilt: Tilt = "unknown"
    primary: float | None = None
    secondary: float | None = None

    def __str__(self) -> str:
        """Such as ``LCA LAO``; ``unknown`` where neither half is known."""
        return "unknown" if self.artery == self.side == "unknown" else f"{self.artery} {self.side}"


def view_of(primary: float | None, secondary: float | None = None, artery: Artery = "unknown") -> View:
    """View by the angles of the beam in degrees: turned where above 15 or below -15, else zero; None is unknown."""
    side: Side = "unknown" if primary is None else _turned(primary, "LAO", "RAO")
    tilt: Tilt = "unknown" if secondary is None else _turned(secondary, "cranial", "caudal")
    return View(artery, side, tilt, primary, secondary)


def angles_of_run(start: float | None, increments: Sequence[float], count: int) -> tuple[list[float | None], str]:
    """Angle of every frame of a run whose positioner moves.

    The standard's increments are steps from frame to frame, as its FrameTimeVector; some machines write the way from
    the first frame, or the angles themselves. Steps that would leave the range of a positioner (-180 to 180) can't be
    steps: then a vector that begins at ``start`` holds angles, another one ways from the first frame.

    Args:
        start: angle of the first frame, degrees; None where it is not known.
        increments: as the file has them, one a frame, or none.
        count: frames.

    Returns:
        One angle a frame (None where it is not known), and a note or an empty text.
    """
    if start is None or not increments:
        return [start] * count, ""
    if len(increments) < count:
        return [start] * count, "the angle increments are fewer than the frames and are left out"
    steps = np.asarray(increments[:count], np.float64)
    ways = {"steps from frame to frame": start + np.cumsum(steps)}
    if abs(steps[0] - start) < 0.5 < abs(start):
        ways["angles"] = steps
    else:
        ways["ways from the first frame"] = start + steps
    for name, angles in ways.items():
        if np.abs(angles).max() <= 180:
            first, last = angles[0], angles[-1]
            moved = float(np.ptp(angles)) > 0
            note = f"the positioner moves from {first:.0f} to {last:.0f} degrees (increments read as {name})"
            return [float(a) for a in angles], note if moved else ""
    return [start] * count, "the angle increments leave every range of a positioner and are left out"


@dataclass
class Angiography:
    """Frames of an angiogram, one at a time. Made by :func:`open_angiography`.

    Attributes:
        name: of the source, for messages.
        count: frames; of a video, those that its header tells of.
        size: ``(H, W)``.
        fps: frames a second.
        spacing: size of a pixel, or None where nothing says so.
        artery: which coronary artery, or ``unknown``.
        notes: what was assumed, converted or left out, in words; may grow while frames are read.
    """

    name: str
    count: int
    size: tuple[int, int]
    fps: float
    spacing: Spacing | None
    artery: Artery
    notes: list[str]
    _read: Callable[[int], Array] = field(repr=False)
    _angles: Callable[[int], tuple[float | None, float | None]] = field(repr=False)
    _each: Callable[[], Iterator[tuple[int, Array]]] | None = field(default=None, repr=False)
    _more_notes: Callable[[], Sequence[str]] = field(default=tuple, repr=False)
    _close: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def mm_per_px(self) -> float | None:
        """Millimetres of a pixel, the mean of both directions, or None where nothing says so."""
        return None if self.spacing is None else (self.spacing.row + self.spacing.column) / 2

    def values(self, number: int) -> NDArray[np.float32]:
        """A frame ``(H, W)`` float32, 0-255, not rounded where its source is deeper than 8 bits.

        Raises:
            DataError: no such frame, it can't be read, or it has another size than the first.
        """
        if not 0 <= number < self.count:
            raise DataError(f"{self.name} has no frame {number}. Allowed: 0 to {self.count - 1}.")
        return self._checked(self._read(number), number)

    def frame(self, number: int) -> NDArray[np.uint8]:
        """A frame ``(H, W)`` uint8; raises as :meth:`values`."""
        return np.rint(self.values(number)).astype(np.uint8)

    def view(self, number: int = 0) -> View:
        """View of a frame: one for the whole run unless the positioner moves."""
        return view_of(*self._angles(number), self.artery)

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Number and frame ``(H, W)`` uint8, in order; frames of a damaged video are left out, which is noted."""
        plain = ((number, self._read(number)) for number in progress.track(range(self.count), "looking at frames"))
        for number, frame in self._each() if self._each is not None else plain:
            yield number, np.rint(self._checked(frame, number)).astype(np.uint8)
        self.refresh()

    def __len__(self) -> int:
        return self.count

    def refresh(self) -> None:
        """Take over notes that the source made since."""
        self.notes += [note for note in self._more_notes() if note not in self.notes]

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._close()

    def __enter__(self) -> Angiography:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, frame: Array, number: int) -> NDArray[np.float32]:
        self.refresh()
        same_size(frame.shape, self.size, f"{self.name}, frame {number}")
        return frame.astype(np.float32, copy=False)


def open_angiography(
    source: Any,
    window: Window = "file",
    artery: Artery | None = None,
    fps: float | None = None,
    primary: float | None = None,
    secondary: float | None = None,
    spacing: float | None = None,
    white: float | None = None,
    max_pixels: int = MAX_PIXELS,
    lenient: bool = False,
) -> Angiography:
    """Open an angiogram.

    Args:
        source: a DICOM file, a video, a picture, a folder of pictures (one run, by name), or an array: ``(H, W)``,
            ``(N, H, W)``, ``(H, W, 3)`` or ``(N, H, W, 3)``, also as ``.npy``. An array whose last side is 3 or 4 is in
            colour.
        window: of DICOM files, see :meth:`fieldsight.data.dicom.Dicom.display`.
        artery: LCA or RCA; None takes what a DICOM file's descriptions say, else ``unknown``.
        fps: frames a second; None takes the file's, else 15 (noted).
        primary: angle in degrees, positive to LAO; None takes the file's.
        secondary: angle in degrees, positive to cranial; None takes the file's.
        spacing: mm of a pixel; None takes the file's.
        white: value that is white in pictures and arrays: None is 255 of uint8, 65535 of uint16, 1 of float.
        max_pixels: larger frames are refused.
        lenient: take the whole frames of a DICOM file that is truncated.

    Raises:
        ConfigError: an option out of its range.
        DataError: the source is absent, damaged, or of a kind that is not read.
    """
    _check_options(artery, fps, primary, secondary, spacing, white)
    if not isinstance(source, (str, Path)):
        run = _arrays(np.asarray(source), "The array", white, max_pixels)
    else:
        path = Path(source)
        if path.is_dir():
            run = _folder(path, white, max_pixels)
        elif path.suffix.lower() in DICOM_SUFFIXES or is_dicom(path):
            run = _dicom(path, window, artery, max_pixels, lenient)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            run = _video(path, max_pixels)
        elif path.suffix.lower() == ".npy":
            run = _arrays(_load(path), f"'{path}'", white, max_pixels)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            run = _pictures([path], f"'{path}'", white, max_pixels)
        elif not path.exists():
            raise DataError(f"There is no file '{path}'.")
        else:
            raise DataError(f"'{path}' is no angiogram that can be read. Allowed: DICOM, or {', '.join(SUFFIXES)}.")
    return _with_options(run, artery, fps, primary, secondary, spacing)


def same_size(shape: Sequence[int], wanted: Sequence[int], what: str, of: str = "the first frame") -> None:
    """Refuse a mask, frame or box file that belongs to a picture of another size.

    Args:
        shape: its ``(H, W, ...)``.
        wanted: ``(H, W, ...)`` of the frame.
        what: the name of the thing, for the message.
        of: what ``wanted`` is the size of, for the message.

    Raises:
        DataError: the sizes differ.
    """
    if tuple(shape[:2]) != tuple(wanted[:2]):
        raise DataError(
            f"{what} has {shape[1]} x {shape[0]} pixels, {of} {wanted[1]} x {wanted[0]}. They must agree: name "
            "the file that belongs to it, or bring both to one size."
        )


# ---------------------------------------------------------------------------------------------- kinds of sources


def _dicom(path: Path, window: Window, artery: Artery | None, max_pixels: int, lenient: bool) -> Angiography:
    file = Dicom(path, max_pixels, lenient)
    notes: list[str] = []
    primary, secondary = (_angles(file, f"Positioner{axis}Angle", notes) for axis in ("Primary", "Secondary"))
    return Angiography(
        f"'{path}'", file.count, file.size, file.fps or 0.0, file.spacing,
        _artery(file, notes) if artery is None else artery, notes,
        lambda number: file.display(number, window), lambda number: (primary(number), secondary(number)),
        _more_notes=lambda: file.notes, _close=file.close,
    )  # fmt: skip


def _angles(file: Dicom, keyword: str, notes: list[str]) -> Callable[[int], float | None]:
    """Angle of a frame: its own, or that of the file with what is added from frame to frame."""
    increments = file.numbers(f"{keyword}Increment")
    if not increments:
        return lambda number: file.number(keyword, number)
    angles, note = angles_of_run(file.number(keyword), increments, file.count)
    notes += [note] if note else []
    return angles.__getitem__


def _artery(file: Dicom, notes: list[str]) -> Artery:
    left, right = (file.mentions(_WORDS[name]) for name in ("LCA", "RCA"))
    if left == right:
        if left:
            notes.append("the descriptions name both coronary arteries: the artery is unknown unless you give it")
        return "unknown"
    return "LCA" if left else "RCA"


def _video(path: Path, max_pixels: int) -> Angiography:
    video = Video(path, max_pixels)
    frames = Frames(video)
    try:
        height, width = video(0).shape[:2]
    except DataError:  # a damaged first frame does not end it
        height, width = next((p.shape[:2] for _, p in Frames(video)), (0, 0))
    if height == 0:
        video.close()
        raise DataError(f"'{path}': no frame of the video can be read.")

    def each() -> Iterator[tuple[int, Array]]:
        for number, picture in frames:
            yield number, read_image(picture, "grey")

    fps = video.fps if 0 < video.fps < 1000 else 0.0
    return Angiography(
        f"'{path}'", video.count, (height, width), fps, None, "unknown", [],
        lambda number: read_image(video(number), "grey"), _no_angles, each,
        lambda: [note for note in frames.notes if "speed" not in note], video.close,
    )  # fmt: skip


def _folder(path: Path, white: float | None, max_pixels: int) -> Angiography:
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    pictures = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES and p.suffix.lower() != ".npy"]
    if not pictures:
        runs = sum(1 for p in files if p.suffix.lower() in (*DICOM_SUFFIXES, *VIDEO_SUFFIXES) or is_dicom(p))
        hint = f" It holds {runs} DICOM files or videos: name one of them." if runs else ""
        raise DataError(f"The folder '{path}' holds no picture ending in {', '.join(IMAGE_SUFFIXES)}.{hint}")
    return _pictures(pictures, f"The folder '{path}'", white, max_pixels)


def _pictures(files: list[Path], name: str, white: float | None, max_pixels: int) -> Angiography:
    notes: list[str] = []

    def read(number: int) -> Array:
        picture = read_image(files[number], "grey", max_pixels)
        return _scaled(picture, white, f"'{files[number]}'", notes)

    size = read(0).shape
    return Angiography(name, len(files), (size[0], size[1]), 0.0, None, "unknown", notes, read, _no_angles)


def _arrays(array: Array, name: str, white: float | None, max_pixels: int) -> Angiography:
    colour = array.ndim > 2 and array.shape[-1] in (3, 4)
    dimensions = array.ndim - int(colour)
    if dimensions not in (2, 3) or 0 in array.shape:
        raise DataError(
            f"{name} has shape {array.shape}. Allowed: (H, W), (N, H, W), and with 3 or 4 colours as the last side."
        )
    frames = array if dimensions == 3 else array[None]
    height, width = frames.shape[1:3]
    if height * width > max_pixels:
        raise DataError(f"{name} has frames of {width} x {height} pixels, more than {max_pixels / 1e6:.0f} million.")
    notes: list[str] = []

    def read(number: int) -> Array:
        return _scaled(read_image(frames[number], "grey", max_pixels), white, name, notes)

    return Angiography(name, len(frames), (height, width), 0.0, None, "unknown", notes, read, _no_angles)


# ---------------------------------------------------------------------------------------------- internals


def _turned(angle: float, above: Any, below: Any) -> Any:
    return above if angle > TURNED else below if angle < -TURNED else "zero"


def _no_angles(number: int) -> tuple[float | None, float | None]:
    return None, None


def _load(path: Path) -> Array:
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python text, and lets out what that raises
        raise DataError(f"Can't read '{path}' as an array ({type(error).__name__}). Save it anew.") from None


def _scaled(picture: Array, white: float | None, name: str, notes: list[str]) -> Array:
    """Grey values 0-255: uint8 as it is, float32 of what is deeper.

    Raises:
        DataError: values below 0, above ``white``, or none at all.
    """
    if picture.dtype == np.uint8 and white in (None, 255):
        return picture
    top = white or (float(np.iinfo(picture.dtype).max) if picture.dtype.kind == "u" else 1.0)
    low, high = float(picture.min()), float(picture.max())
    if not (low >= 0 and high <= top):  # also where it holds NaN
        raise DataError(
            f"{name} holds values from {low:g} to {high:g}; allowed: 0 to {top:g}. Say which is white (white=...)."
        )
    if picture.dtype == np.uint16 and white is None and 0 < high < _DARK:
        note = f"16-bit values go to {high:g} of 65535 only, so frames are dark: white=... says which value is white"
        if not any(text.startswith("16-bit values") for text in notes):
            notes.append(note)
    return picture * np.float32(255 / top)


def _check_options(
    artery: str | None, fps: float | None, primary: float | None, secondary: float | None, spacing: float | None,
    white: float | None,
) -> None:  # fmt: skip
    problems = []
    if artery is not None and artery not in get_args(Artery):
        problems.append(unknown("artery", str(artery), get_args(Artery)))
    for name, value in (("fps", fps), ("spacing", spacing), ("white", white)):
        if value is not None and not (math.isfinite(value) and value > 0):
            problems.append(f"{name} is {value}; a number above 0 is wanted.")
    for name, value in (("primary", primary), ("secondary", secondary)):
        if value is not None and not abs(value) <= 180:
            problems.append(f"{name} is {value}; degrees from -180 to 180 are wanted.")
    if problems:
        raise ConfigError(problems)


def _with_options(
    run: Angiography, artery: Artery | None, fps: float | None, primary: float | None, secondary: float | None,
    spacing: float | None,
) -> Angiography:  # fmt: skip
    told = run._angles
    if artery is not None:
        run.artery = artery
    if spacing is not None:
        run.spacing = Spacing(spacing, spacing, "given")
    if primary is not None or secondary is not None:

        def angles(number: int) -> tuple[float | None, float | None]:
            own = told(number)
            return (own[0] if primary is None else primary, own[1] if secondary is None else secondary)

        run._angles = angles
    if fps is not None:
        run.fps = fps
    elif run.fps == 0.0:
        run.fps = FPS
        if run.count > 1:
            run.notes.append(f"the source does not say its speed: {FPS:g} frames a second are assumed")
    run.refresh()
    return run
