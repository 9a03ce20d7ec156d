"""Scenes to try: the page's examples with their small pictures, the gallery's picture and the tour's part."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from fieldsight import assets
from fieldsight.studio.context import Example

if TYPE_CHECKING:
    from fieldsight.detection.found import Found
    from fieldsight.predictions import Picture
    from fieldsight.report.html import Section
    from fieldsight.systems.edge.predict import EdgeModel
    from fieldsight.systems.edge.world import Frame

#: Height and width of a drawn example.
SIZE = (540, 720)

#: Seed of the drawn examples; nothing is trained or measured with it.
SEED = 800_000

#: Examples: words of the button; world, split, trajectory and frame of the drawing.
SCENES = (
    ("Street from a drone", ("street", "test", 1, 20)),
    ("Street, another height", ("street", "test", 4, 40)),
    ("Room with a robot", ("arena", "test", 2, 30)),
    ("Room, other light", ("arena", "domain-shift", 1, 30)),
    ("Objects pasted over a photo", ("cutouts", "test", 2, 5)),
)

#: Frames of the real clip that are shown, and the piece of it that is a video: first frame, every so many, how many.
CLIP_FRAMES, CLIP_PIECE = (60, 400), (300, 1, 40)


def examples() -> Sequence[Example]:
    """Drawn scenes of every world; where the asset ``opencv-vtest`` is here, two frames and a piece of a real clip."""
    found = [Example(words, "drawn", partial(_write, *drawn)) for words, drawn in SCENES]
    clip = real_clip()
    if clip is not None:
        found += [Example(f"Campus, frame {n}", "real", partial(_write_frame, clip, n)) for n in CLIP_FRAMES]
        found.append(Example("Campus, 4 s of video", "real", partial(_write_piece, clip), options={"track": True}))
    return found


#: What the examples' buttons look like: a picture above the words.
BUTTONS = """
:is(#edge-example-0, [id^=edge-example-]) { flex: 0 0 calc(25% - 6px) !important; min-width: 78px !important;
  border-radius: 10px !important; padding: 74px 4px 5px !important; font-size: .78rem !important; line-height: 1.25;
  background: #eef2f5 center top / 100% 68px no-repeat; align-items: flex-start; white-space: normal; }
:is(#edge-example-0, [id^=edge-example-]):hover { background-color: #d8eaf2; }
"""


def buttons() -> str:
    """A style sheet that gives the examples' buttons their pictures; drawing them takes seconds, once a process."""
    return f"<style>{BUTTONS}{''.join(_thumbnails())}</style>"


@cache
def _thumbnails() -> tuple[str, ...]:
    import base64
    import io

    from PIL import Image

    from fieldsight.data.images import resize

    found = []
    for n, picture in enumerate(_pictures()):
        target = io.BytesIO()
        Image.fromarray(resize(picture, 240)).save(target, "JPEG", quality=75)
        data = base64.b64encode(target.getvalue()).decode()
        found.append(f"#edge-example-{n} {{ background-image: url(data:image/jpeg;base64,{data}) !important; }}")
    return tuple(found)


def _pictures() -> list[Picture]:
    """A small picture of each example, in order."""
    found: list[Picture] = [scene(*drawn, size=(240, 320)).image for _, drawn in SCENES]
    clip = real_clip()
    return found if clip is None else [*found, *(clip_frame(clip, n) for n in (*CLIP_FRAMES, CLIP_PIECE[0]))]


def real_clip() -> Path | None:
    """The clip of people on a campus among OpenCV's samples, or None where it is not here."""
    root = assets.locate("opencv-vtest")
    return None if root is None else root / "data" / "vtest.avi"


def scene(world: str, split: str, trajectory: int, frame: int, size: tuple[int, int] = SIZE) -> Frame:
    """A drawn frame with its truth; the same every time, and none of those that models train on."""
    from fieldsight.systems.edge.world import render_frame, trajectory_length

    last = trajectory_length(world, split, trajectory, SEED) - 1
    return render_frame(world, split, trajectory, min(frame, last), size, SEED)


def _write(world: str, split: str, trajectory: int, frame: int, folder: Path) -> Path:
    from fieldsight.data.images import write_image

    folder.mkdir(parents=True, exist_ok=True)
    return write_image(
        folder / f"{world}-{split}-{trajectory}-{frame}.png", scene(world, split, trajectory, frame).image
    )


def _write_frame(clip: Path, number: int, folder: Path) -> Path:
    from fieldsight.data.images import write_image

    folder.mkdir(parents=True, exist_ok=True)
    return write_image(folder / f"campus-{number}.png", clip_frame(clip, number))


def _write_piece(clip: Path, folder: Path) -> Path:
    from contextlib import closing

    from fieldsight.data.video import Video, write_video

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "campus-piece.mp4"
    first, every, count = CLIP_PIECE
    with closing(Video(clip)) as video, write_video(target, (video.fps or 10.0) / every) as add:
        for n in range(first, first + every * count, every):
            add(video(n))
    return target


def clip_frame(clip: Path, number: int) -> Picture:
    """A frame of a video ``(H, W, 3)`` uint8."""
    from contextlib import closing

    from fieldsight.data.video import Video

    with closing(Video(clip)) as video:
        return video(number)


# ------------------------------------------------------------------------------------------------------ the tour


def gallery_picture() -> Picture:
    """The picture in the gallery, 540 x 360: a street from a drone with what was found in it."""
    import numpy as np

    import fieldsight
    from fieldsight.data.images import resize

    model: EdgeModel = fieldsight.load("edge")
    found: Found = model.predict(scene(*SCENES[0][1], size=(480, 720)).image)
    return np.asarray(resize(found.draw(), 540))


def demo(section: Section) -> None:
    """Add a short demonstration to the tour: a drawn street, a real frame where it is here, and the paper's boards."""
    import fieldsight
    from fieldsight.predictions import beside
    from fieldsight.systems.edge.recommend import table7

    model: EdgeModel = fieldsight.load("edge")
    section.text(model.describe())
    shown: list[Picture] = []
    for _, drawn in (SCENES[0], SCENES[2]):
        found: Found = model.predict(scene(*drawn).image)
        shown.append(found.draw())
    section.text("Input: a street and a room, drawn by us as a small drone would see them.")
    section.picture(beside(shown), "what the default model finds in drawn scenes")
    clip = real_clip()
    if clip is not None:
        real: Found = model.predict(clip_frame(clip, CLIP_FRAMES[0]))
        section.text("A frame of a real clip (OpenCV's vtest.avi); the model has seen drawn people only.")
        section.picture(real.draw(), "what it finds in the real frame")
    section.text("Which board for which mission, from the paper's own measurements (its Table 7, with errors mended):")
    section.table(table7())
