"""The Studio page: replay with sliders, engines side by side, thresholds on the paper's readings, the way to the live
page; the drawn examples, the gallery's picture and the tour's part."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight.studio.context import Example, PageContext

if TYPE_CHECKING:
    from fieldsight.predictions import Picture
    from fieldsight.report.html import Section
    from fieldsight.systems.alert.recording import Recording

#: Drawn scenes, chosen to be telling: words of the button and how they are simulated. 60 frames a second, as a phone
#: delivers them: the released app counts frames.
_SCENES: dict[str, dict[str, Any]] = {
    "A car swerves towards you": {
        "scenario": "oncoming_swerve", "kind": "car", "speed": 8.0, "gap": -0.3, "seed": 1, "seconds": 7.0,
    },
    "A walker turns away": {"scenario": "ped_turns_away", "alone": True, "seed": 4, "seconds": 7.0},
    "The wearer turns in an empty street": {
        "scenario": "wearer_turns", "wearer": "turn", "alone": True, "seed": 2, "seconds": 8.0,
    },
}  # fmt: skip
_FPS, _SIZE = 60.0, (128, 96)

#: Middlebury 2014, Motorcycle, at a quarter of its size, as scikit-image describes its files.
_MOTORCYCLE = (994.978, 0.193001, 311.193, 254.877, 31.086)


# --------------------------------------------------------------------------------------------------- examples


def examples() -> Sequence[Example]:
    """Three drawn streets: something that hits, something that does not, and a wearer who turns."""
    return [Example(words, "drawn", partial(_write, words)) for words in _SCENES]


def scene(words: str) -> Recording:
    """A drawn scene by the words of its button."""
    from fieldsight.systems.alert.simulate import simulate

    return simulate(city="manhattan", sensor="stereo", fps=_FPS, size=_SIZE, **_SCENES[words])


def _write(words: str, folder: Path) -> Path:
    from fieldsight.systems.alert import iar

    folder.mkdir(parents=True, exist_ok=True)
    return iar.write(scene(words), folder / f"{words.lower().replace(' ', '-')}{iar.SUFFIX}")


# ----------------------------------------------------------------------------------------------------- the page


def page(context: PageContext) -> None:
    """Replay, Compare, Thresholds, Live; then the model's card."""
    import gradio as gr

    from fieldsight.systems.alert import studio_replay, studio_tables

    with gr.Tabs():
        with gr.Tab("Replay"):
            tab = studio_replay.draw(context)
        with gr.Tab("Compare"):
            studio_tables.draw_compare(context)
        with gr.Tab("Thresholds"):
            studio_tables.draw_thresholds(context)
        with gr.Tab("Live"):
            gr.HTML(live_html(), elem_classes="fs-html")
    context.card(tab)


def live_html() -> str:
    """What the live page is, the way to it, and what a phone needs."""
    from fieldsight.studio import render

    alone = "fieldsight alert live --host 192.168.1.5 --token SECRET --tls-cert cert.pem --tls-key key.pem"
    recording = "fieldsight alert live --source walk.iar"
    make = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 90 -subj /CN=192.168.1.5 -addext "
        "subjectAltName=IP:192.168.1.5 -addext extendedKeyUsage=serverAuth -keyout key.pem -out cert.pem"
    )
    return (
        '<p style="max-width:76ch">The live page takes depth frames as they come, shows what it sees, beeps, turns red '
        "and vibrates. It says at once when nobody watches: no frames, a covered lens, a picture that stands still. "
        "A drawn street runs on it without any sensor.</p>"
        '<p><a class="fs-button" href="/alert/live" target="_blank" rel="noopener">Open the live page</a></p>'
        "<h3>On a phone</h3>"
        '<p style="max-width:76ch">A phone gives its camera, and keeps its screen on, for pages over TLS only. Start '
        "the live page by itself, with a certificate for this machine's address (here 192.168.1.5), and open what it "
        "prints; the token keeps others out.</p>"
        + render.code(alone, "Live page for a phone")
        + render.code(make, "A certificate for trying it out")
        + render.code(recording, "Play a recording as if it were live")
        + '<p class="fs-soft">Senders speak WebSocket, at /alert/live/feed here, at /feed there: a line of JSON with '
        "time and shape, then the depth as float16. A phone's own camera gives colour: name a network that makes depth "
        "of it with --depth-model FILE.onnx.</p>"
    )


# ------------------------------------------------------------------------------------------------------ pictures


def gallery_picture() -> Picture:
    """The picture in the gallery, 540 x 360: the drawn car as the engine sees it, and from above."""
    from fieldsight.data.images import resize
    from fieldsight.systems.alert import drawing, studio_view

    replay = _replay(scene("A car swerves towards you"))
    states = studio_view.restated(replay, -2.2, 3.0)
    n = max((k for k, s in enumerate(states) if s.alert and s.distance > 6.0), default=len(states) - 1)
    i = studio_view.frame_of(replay.recording, replay.states[n].t)
    seen = drawing.draw(replay.recording.load(i), states[n], replay.config, height=286)
    above = studio_view.from_above(replay.recording, i, states[n], replay.config, (360, 540 - 372))
    return np.concatenate([resize(seen, 381)[:360, :366], np.full((360, 6, 3), 255, np.uint8), above], axis=1)


def _replay(recording: Recording, preset: str = "base") -> Any:
    import fieldsight

    return fieldsight.load("alert").predict(recording, preset=preset)


# ------------------------------------------------------------------------------------------------------ the tour


def demo(section: Section) -> None:
    """Add a short demonstration to the tour: one real depth frame, a drawn approach, the paper's Table 2."""
    from fieldsight.systems.alert import studio_tables, studio_view
    from fieldsight.systems.alert.table_a1 import table_a1

    found = motorcycle()
    if found is not None:
        section.text(
            "Input: the motorcycle pair of scikit-image (Middlebury 2014, real), depth by our own stereo matching. "
            "One still pair cannot show motion: this is what the engine sees of it, not a judgement."
        )
        section.picture(_first_look(found), "depth of the real pair, and the same from above")
    words = "A car swerves towards you"
    recording = scene(words)
    section.text(
        f"Input: '{words}', {recording.seconds:.0f} s of a street drawn by our simulator, through two engines. "
        "One scene shows how they behave, not how good they are."
    )
    replays = [_replay(recording, name) for name in ("base", "paper")]
    for replay in replays:
        section.plot(studio_tables.comparison_strip(replay, recording.seconds), f"engine {replay.config.mode}")
    section.text("Red ground: alarm; black bar: true danger; blue: distance; orange: closing speed, dashed its limit.")
    section.table(studio_tables.comparison(replays))
    first = replays[0]
    states = studio_view.restated(first, first.config.speed_threshold, first.config.tti_threshold)
    n = next((k for k, s in enumerate(states) if s.alert), 0)
    look = studio_view.look(first, states, n, first.config.speed_threshold, first.config.tti_threshold)
    if look is not None:
        section.picture(look, "the first alarm of track: what it sees, and from above (orange points move)")
    section.table(studio_tables.settings(table_a1(), "Table 2 of the paper, computed again from its Table A1"))


def motorcycle() -> Recording | None:
    """One real depth frame: the motorcycle pair inside the installed scikit-image; None where it is not there."""
    from fieldsight.data.images import read_image
    from fieldsight.systems.alert.calibration import Calibration
    from fieldsight.systems.alert.recording import of_arrays
    from fieldsight.systems.alert.stereo import stereo_depth

    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    paths = [folder / f"motorcycle_{side}.png" for side in ("left", "right")]
    if not all(path.is_file() for path in paths):
        return None
    depth = stereo_depth(read_image(paths[0]), read_image(paths[1]), Calibration(*_MOTORCYCLE))
    f, _, cx, cy, _ = _MOTORCYCLE
    K = np.array([[f, 0.0, cx], [0.0, f, cy], [0.0, 0.0, 1.0]])
    return of_arrays(depth[None], K=K, name="motorcycle")


def _first_look(recording: Recording) -> Picture:
    """The only frame of a recording: its depth, and from above."""
    from fieldsight.data.images import resize
    from fieldsight.systems.alert import drawing, studio_view
    from fieldsight.systems.alert.config import AlertConfig

    frame = recording.load(0)
    seen = resize(drawing.coloured(frame.depth, far=6.0), round(360 * frame.depth.shape[1] / frame.depth.shape[0]))
    above = studio_view.from_above(recording, 0, None, AlertConfig(), (seen.shape[0], 300), ahead=6.0)
    return np.concatenate([seen, np.full((seen.shape[0], 8, 3), 255, np.uint8), above], axis=1)
