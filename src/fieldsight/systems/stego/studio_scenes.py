"""Pictures to try: the page's examples, the gallery's picture and the tour's part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fieldsight.studio.context import Example

if TYPE_CHECKING:
    from fieldsight.predictions import Picture
    from fieldsight.report.html import Section
    from fieldsight.systems.stego.predict import StegoModel
    from fieldsight.systems.stego.results import Revealed, Stego

#: Photos among the examples: words of the button, cover, secret.
_PHOTOS = (
    ("A rocket in a cat", "chelsea", "rocket"),
    ("A flower in a temple", "china", "flower"),
    ("An astronaut in a cup of coffee", "coffee", "astronaut"),
)

#: The same drawn: words, class and seed of cover and of secret.
_DRAWN = (
    ("Stained glass in leaves", ("leaves", 3), ("stained", 1)),
    ("Objects in clouds", ("cloud", 2), ("objects", 4)),
)

LETTER = (
    "Meet me where the two rivers join, at the hour when the lamps are lit.\n"
    "Bring the map, and tell nobody that a picture brought you this.\n"
)

_LONGEST = 900  # pixels of an example photo


# --------------------------------------------------------------------------------------------------- examples


@dataclass(frozen=True)
class Scene:
    """A cover and a secret to try.

    Attributes:
        words: for its button.
        origin: whether the pictures are photos.
        cover, secret: file name without ending, and what reads or draws the picture.
    """

    words: str
    origin: Literal["drawn", "real"]
    cover: tuple[str, Callable[[], Picture]]
    secret: tuple[str, Callable[[], Picture]]

    @property
    def letter(self) -> str:
        """Words for a letter in the same cover."""
        return f"A letter in {self.words.partition(' in ')[2]}"


def scenes() -> list[Scene]:
    """Pairs of photos where packaged ones are here, then a drawn pair; without photos two drawn pairs."""
    from fieldsight.systems.stego import photos

    here = {photo.name: partial(photo.read, _LONGEST) for photo in photos.find("test")}
    found = [Scene(w, "real", (c, here[c]), (s, here[s])) for w, c, s in _PHOTOS if c in here and s in here]
    drawn = [Scene(w, "drawn", (c[0], partial(_draw, *c)), (s[0], partial(_draw, *s))) for w, c, s in _DRAWN]
    return [*found, drawn[0]] if found else drawn


def examples() -> Sequence[Example]:
    """For Hide the scenes and a letter; for Reveal what they become, where the shipped model is here."""
    from fieldsight import registry
    from fieldsight.model import shipped
    from fieldsight.systems.stego.secret import Secret

    offered = scenes()
    first = offered[0]
    hide: dict[str, Any] = {"verbs": ("hide",)}
    found = [
        Example(s.words, s.origin, partial(_write, *s.cover), named={"secret": partial(_write, *s.secret)}, **hide)
        for s in offered
    ]
    cover = partial(_write, *first.cover)
    found.insert(1, Example(first.letter, first.origin, cover, named={"secret": _letter}, **hide))
    spec = registry.get("stego")
    if not spec.defaults or not (shipped(spec, spec.defaults[0]) / "model.json").is_file():
        return found
    ways: dict[str, tuple[str, Callable[[], Any]]] = {
        first.words: (f"{first.cover[0]}-with-{first.secret[0]}", first.secret[1]),
        first.letter: (f"{first.cover[0]}-with-letter", lambda: Secret(None, LETTER.encode(), "letter.txt")),
    }
    for words, (name, secret) in ways.items():
        write = partial(_finished, name, first.cover[1], secret)
        found.append(Example(words, first.origin, write, verbs=("reveal",)))
    return [*found, Example("Nothing hidden", first.origin, cover, verbs=("reveal",))]


def _draw(kind: str, seed: int, size: int = 480) -> Picture:
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.stego.textures import draw

    return draw(kind, size, rng_for(seed, "stego", "studio", kind))


def _write(name: str, read: Callable[[], Picture], folder: Path) -> Path:
    from fieldsight.data.images import write_image

    folder.mkdir(parents=True, exist_ok=True)
    return write_image(folder / f"{name}.png", read())


def _letter(folder: Path) -> Path:
    from fieldsight.data.files import write_text

    return write_text(folder / "letter.txt", LETTER)


def _finished(name: str, cover: Callable[[], Picture], secret: Callable[[], Any], folder: Path) -> Path:
    """A picture with a secret in it, hidden by the shipped model."""
    import fieldsight

    hidden = _hidden(fieldsight.load("stego"), cover(), secret=secret(), check=False)
    folder.mkdir(parents=True, exist_ok=True)
    return Path(hidden.save(folder / f"{name}.png")[0])


def _hidden(model: StegoModel, cover: Picture, **options: Any) -> Stego:
    """Hide without a word about the cover: these pictures were chosen by us."""
    from fieldsight import progress

    with progress.watching(progress.silent, lambda text: None):
        found: Stego = model.predict(cover, **options)
    return found


# ------------------------------------------------------------------------------------------------------ the tour


def gallery_picture() -> Picture:
    """The picture in the gallery, 540 x 360: a stego picture, the change to its cover, what is revealed from it."""
    import fieldsight
    from fieldsight.systems.stego.results import difference
    from fieldsight.systems.stego.studio_view import come_back

    scene = scenes()[0]
    cover, model = _filling(scene.cover[1]()), fieldsight.load("stego")
    secret = scene.secret[1]()
    lower_left = secret[secret.shape[0] // 4 :, : 2 * secret.shape[1] // 3]  # what stands in its middle is seen right
    hidden = _hidden(model, cover, secret=_filling(lower_left))
    back = come_back(model, hidden.picture, None).picture
    assert back is not None
    parts = [hidden.picture, difference(cover, hidden.picture), back]
    slanted = np.arange(540)[None, :] + 0.45 * np.arange(360)[:, None]
    picture = np.where((slanted < 290)[..., None], parts[0], np.where((slanted < 410)[..., None], parts[1], parts[2]))
    for border in (290, 410):
        picture = np.where((np.abs(slanted - border) < 2)[..., None], 255, picture)
    return picture.astype(np.uint8)


def _filling(picture: Picture, size: tuple[int, int] = (540, 360)) -> Picture:
    """The middle of a picture that fills a frame, width and height."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.BICUBIC))


def demo(section: Section) -> None:
    """Add a short demonstration to the tour: a photo in a photo and back, a letter behind a passphrase, a JPEG."""
    import tempfile

    import fieldsight
    from fieldsight.systems.stego import studio_view as view

    scene = scenes()[0]
    kind = "two photos out of installed packages" if scene.origin == "real" else "two pictures drawn by us"
    section.text(f"Input: {scene.cover[0]} as cover and {scene.secret[0]} as secret, {kind}.")
    model: StegoModel = fieldsight.load("stego")
    section.text(model.describe())
    cover, secret = scene.cover[1](), scene.secret[1]()
    with tempfile.TemporaryDirectory() as folder:
        hidden = _hidden(model, cover, secret=secret)
        back: Revealed = model.reveal(hidden.save(Path(folder) / "stego.png")[0])
        section.facts(view.facts(hidden))
        section.picture(view.strip(hidden, secret, back.picture), view.STRIP)
        letter = _hidden(model, cover, secret=LETTER.encode(), key="lamps and rivers")
        again: Revealed = model.reveal(letter.save(Path(folder) / "letter.png")[0], key="lamps and rivers")
    exact = "every byte came back" if again.payload == LETTER.encode() else "it did not come back whole"
    section.text(f"A letter of {len(LETTER)} bytes, encrypted with a passphrase, in the same cover: {exact}.")
    name, words = view.attack_of("JPEG", 80)
    harmed = view.come_back(model, view.attacked(name, hidden.picture), None, back.picture)
    section.text(view.left_text(view.Back(back.picture, True), harmed, words)[0])
