"""stego's own page: what it says before and after hiding, attacks, revealing, passphrases that nothing repeats."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import standin
from hostile import bomb
from PIL import Image
from standin import Page

import fieldsight
from fieldsight import registry
from fieldsight.config import options
from fieldsight.errors import ConfigError, DataError
from fieldsight.report.html import Report
from fieldsight.studio import api, pictures, same
from fieldsight.studio.context import Call, PageContext
from fieldsight.studio.fields import changes, hushed, plan_all
from fieldsight.studio.pages import draw_page
from fieldsight.studio.results import views_of
from fieldsight.studio.tab import _fill
from fieldsight.systems.stego import secret as secrets
from fieldsight.systems.stego import studio, studio_look, studio_scenes
from fieldsight.systems.stego import studio_view as view
from fieldsight.systems.stego.options import HideOptions, RevealOptions
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.results import Revealed, Stego
from fieldsight.systems.stego.secret import Passphrase

PHRASE = "nineteen green herons"


@pytest.fixture(scope="module")
def model() -> StegoModel:
    found: StegoModel = fieldsight.load("stego")
    found.source = "base"
    return found


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cover and secrets, and what people should not send."""
    folder = tmp_path_factory.mktemp("sent")
    cover = studio_scenes._draw("cloud", 2, 192)[:144]
    secret = studio_scenes._draw("objects", 4, 128)
    for name, picture in {"cover": cover, "secret": secret, "one": cover[:1, :1], "small": cover[:40, :40]}.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    (folder / "letter.txt").write_text(studio_scenes.LETTER)
    (folder / "long.bin").write_bytes(np.random.default_rng(0).bytes(20_000))
    (folder / "words.png").write_text("no picture")
    (folder / "short.png").write_bytes((folder / "cover.png").read_bytes()[:2000])
    (folder / "empty.png").write_bytes(b"")
    bomb(folder / "bomb.png")
    Image.fromarray(cover).convert("L").save(folder / "grey.png")
    Image.fromarray(cover).convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    frames = [Image.fromarray(np.roll(cover, 9 * n, 1)) for n in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (192, 144), (255, 255, 255)).save(folder / "white.png")
    return folder


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> PageContext:
    return standin.context_in(tmp_path_factory.mktemp("stego"), registry.get("stego"))


@pytest.fixture(scope="module")
def hiding(context: PageContext) -> Page:
    return standin.draw(
        context, lambda c: studio._hide(studio._told(c, "cover", "Picture to hide in", "A picture, or any other file"))
    )


@pytest.fixture(scope="module")
def revealing(context: PageContext) -> Page:
    told = studio._told(context, "picture", "As it came out of Hide", "")
    return standin.draw(told, studio._reveal)


# ---------------------------------------------------------------------------------------------------- examples


def test_examples_fill_both_inputs_and_say_what_they_are(hiding: Page, tmp_path: Path) -> None:
    offered = [e for e in studio.examples() if "hide" in e.verbs]
    assert len(offered) >= 3
    assert "drawn" in {e.origin for e in offered}
    assert len({e.label for e in offered}) == len(offered)
    for example in offered:
        assert example.write is not None
        assert set(example.named) == {"secret"}
    drawn = next(e for e in offered if e.origin == "drawn")
    assert drawn.write is not None
    assert drawn.write(tmp_path / "a").read_bytes() == drawn.write(tmp_path / "b").read_bytes()
    filled = _fill(hiding.context, hiding.tab, offered[1])("")
    assert [Path(p).suffix for p in (filled[0][0], filled[1])] == [".png", ".txt"]
    assert all(Path(p).is_relative_to(hiding.context.uploads) for p in (filled[0][0], filled[1]))
    assert filled[2:] == [f.plan.value for f in hiding.tab.left.fields]  # a passphrase of before is gone too


def test_examples_for_reveal_hold_what_they_say(model: StegoModel, tmp_path: Path) -> None:
    picture, letter, nothing = [e for e in studio.examples() if "reveal" in e.verbs]
    assert picture.write
    assert letter.write
    assert nothing.write
    assert model.reveal(letter.write(tmp_path)).payload == studio_scenes.LETTER.encode()
    found = model.reveal(picture.write(tmp_path))
    assert found.payload is None
    assert found.facts["mark"]
    with pytest.raises(DataError, match="holds nothing"):
        model.reveal(nothing.write(tmp_path))


def test_drawn_pictures_stand_in_for_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fieldsight.systems.stego.photos.find", lambda split: [])
    offered = studio.examples()
    assert {e.origin for e in offered} == {"drawn"}
    assert {v for e in offered for v in e.verbs} == {"hide", "reveal"}


# ----------------------------------------------------------------------------------------------- before hiding


@pytest.mark.parametrize("name", ["cover.png", "moving.gif", "white.png", "small.png"])
def test_the_room_is_right_before_anything_is_hidden(model: StegoModel, sent: Path, name: str) -> None:
    found = studio_look.look_at_cover(sent / name, model.config.stride)
    after = model.predict(sent / name, secret=sent / "secret.png")
    room = after.facts["capacity_bytes"]
    assert found.field == model.field((after.facts["height"], after.facts["width"]))
    assert (f"{room:,} bytes" in found.words) == (room > 0)
    assert ("no room" in found.words) == (room == 0)
    if room:  # a file of just that size fits, a byte more that can't be compressed does not
        assert found.field is not None
        payload = np.random.default_rng(1).bytes(room)
        (sent / "full.bin").write_bytes(payload)
        assert "It fits" in studio_look.look_at_secret(sent / "full.bin", found.field, False, "auto").words
        (sent / "over.bin").write_bytes(payload + np.random.default_rng(2).bytes(300))
        with pytest.raises(DataError, match="holds at most"):
            studio_look.look_at_secret(sent / "over.bin", found.field, False, "auto")


def test_bad_covers_are_warned_of(sent: Path) -> None:
    worries = {n: " ".join(studio_look.look_at_cover(sent / n, 8).worries) for n in
               ("cover.png", "grey.png", "cmyk.jpg", "moving.gif", "white.png", "small.png")}  # fmt: skip
    assert worries["cover.png"] == ""
    assert "result is in colour" in worries["grey.png"]
    assert "CMYK" in worries["cmyk.jpg"]
    assert "3 frames" in worries["moving.gif"]
    assert "100% of it is pure black or white" in worries["white.png"]
    assert "100% of it is smooth" in worries["white.png"]
    assert "no room for a mark" in worries["small.png"]


BAD = {
    "words.png": "no picture that can be read", "short.png": "truncated", "one.png": "1 x 1", "bomb.png": "too large",
    "empty.png": "empty", "letter.txt": "no picture",
}  # fmt: skip


@pytest.mark.parametrize(("name", "words"), BAD.items())
def test_hostile_covers_get_a_sentence(hiding: Page, sent: Path, name: str, words: str) -> None:
    cover, secret = hiding.upload(sent, name, "secret.png")
    told = hiding.happens["look"]([cover], secret, False, "auto", "")["value"]
    assert words in told
    assert "fs-error" not in told
    assert "secret.png" in told  # the other one is looked at all the same
    assert str(hiding.context.scratch) not in told
    updates = hiding.press(cover=[cover], secret=secret)
    text = str(updates["head"])
    assert words in text or "must end in" in text
    assert str(hiding.context.scratch) not in text
    if "which" in updates:
        assert updates["which"].get("value") is None  # an empty list has no first entry


def test_what_was_not_uploaded_is_not_looked_at(hiding: Page, sent: Path) -> None:
    told = hiding.happens["look"]([str(sent / "cover.png")], None, False, "auto", "")["value"]
    assert "is no uploaded file" in told
    assert "pixels" not in told


def test_the_preview_says_whether_a_secret_fits(hiding: Page, sent: Path) -> None:
    cover, letter, long, picture = hiding.upload(sent, "cover.png", "letter.txt", "long.bin", "secret.png")
    look = hiding.happens["look"]
    assert "It fits" in look([cover], letter, False, "auto", "")["value"]
    assert "20,000 bytes" in look([cover], long, False, "auto", "")["value"]
    assert "holds" in look([cover], long, False, "auto", "")["value"]
    assert "not bit for bit" in look([cover], picture, False, "auto", "")["value"]
    assert "exactly or not at all" in look([], picture, True, "auto", "")["value"]
    assert "2 more covers" in look([cover] * 6, None, False, "auto", "")["value"]
    assert look(None, None, False, "auto", "") == {"value": "", "visible": False, "__type__": "update"}


def test_names_of_uploads_are_text(sent: Path) -> None:
    look = studio_look.Look("<b>&.png", "words", ("worry",), np.zeros((4, 4, 3), np.uint8))
    html = studio_look.looks_html([look], ["<i>"])
    assert "<b>&.png" not in html
    assert "<i>" not in html.replace("<i>PNG", "")


# ---------------------------------------------------------------------------------------------------- the page


def test_hide_attack_and_reveal_by_the_page(hiding: Page, revealing: Page, sent: Path) -> None:
    cover, secret = hiding.upload(sent, "cover.png", "secret.png")
    updates = hiding.press(cover=[cover], secret=secret)
    key = updates["key"]
    seen = hiding.happens["opened"](key, 0, "", None)
    assert "dB; largest change" in seen[0]
    assert "Download the picture, PNG" in seen[0]
    shown = hiding.context.shelf.get(key)
    assert shown is not None
    assert [p.name for p in shown.files] == ["cover.png"]  # the PNG and nothing else
    assert seen[2][0].shape == seen[2][1].shape
    assert (seen[2][0] != seen[2][1]).any()
    kept = seen[-1]
    jpeg = hiding.happens["attacked"](kept, "", None, "JPEG", 50)
    assert "at quality 50: the secret is lost" in jpeg[0]
    calm = hiding.happens["attacked"](kept, "", None, "Blurred", 0.2)
    assert "the secret comes through" in calm[0]
    assert hiding.happens["attacked"](None, "", None, "JPEG", 50) == ["", None, None]
    assert hiding.happens["turned"]("Screenshot")["visible"] is False

    stego = revealing.context.uploads / "came.png"
    shutil.copyfile(shown.files[0], stego)
    found = revealing.press(picture=str(stego))
    words, picture, below = revealing.happens["opened"](found["key"], 0)
    assert "A picture of 128 x 128 pixels was hidden here" in words
    assert picture["visible"]
    assert picture["value"].shape == (256, 256, 3)
    assert "mark" in below
    again = revealing.context.shelf.get(found["key"])
    assert again is not None
    assert [p.name for p in again.files] == ["came.png"]  # written once, not twice


def test_what_says_nothing_here_is_not_shown(hiding: Page, revealing: Page, sent: Path) -> None:
    assert [f.plan.name for f in hiding.tab.left.fields if "lossy" in f.plan.name] == []
    assert {f.plan.name for f in hiding.tab.left.fields} == {o.name for o in options(HideOptions)} - {"allow_lossy"}
    notice = registry.get("stego").notice.partition(":")[0]
    cover, secret = hiding.upload(sent, "grey.png", "secret.png")
    updates = hiding.press(cover=[cover], secret=secret)
    assert notice not in str(updates["head"])  # it stands over the page
    told = hiding.happens["opened"](updates["key"], 0, "", None)[0]
    assert (str(updates["head"]) + told).lower().count("it is grey") == 1
    with gr.Blocks() as blocks:
        draw_page(dataclasses.replace(hiding.context, spec=registry.get("stego")))
    page = [str(b.value) for b in blocks.blocks.values() if isinstance(b, gr.HTML)]
    assert sum(notice in text for text in page) == 1


def test_nothing_hidden_is_told_calmly(revealing: Page, sent: Path) -> None:
    (cover,) = revealing.upload(sent, "cover.png")
    head = str(revealing.press(picture=cover)["head"])
    assert "fs-info" in head
    assert "fs-error" not in head
    assert "&#x27;Force&#x27;" in head  # the page's words, not the command line's
    assert "--" not in head
    forced = revealing.press(picture=cover, force=True)
    words, picture, _ = revealing.happens["opened"](forced["key"], 0)
    assert "no mark" in words
    assert picture["value"] is not None
    assert revealing.happens["opened"]("", None)[0] == ""


def test_a_result_with_nothing_good_in_it_is_empty(hiding: Page) -> None:
    assert hiding.happens["opened"]("gone", 0, PHRASE, None)[0] == ""
    assert hiding.happens["opened"]("gone", None, PHRASE, None)[1]["visible"] is False


# ------------------------------------------------------------------------------------------------- passphrases


@pytest.mark.parametrize("name", ["letter.txt", "secret.png"])
def test_the_passphrase_is_repeated_nowhere(
    hiding: Page, revealing: Page, sent: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    cover, secret = hiding.upload(sent, "cover.png", name)
    updates = hiding.press(cover=[cover], secret=secret, key=PHRASE)
    key = updates["key"]
    seen = hiding.happens["opened"](key, 0, PHRASE, None)
    left = hiding.happens["attacked"](seen[-1], PHRASE, None, "Blurred", 0.2)
    assert "--key-file FILE" in str(updates["lines"])
    assert "key_file=&quot;FILE&quot;" in str(updates["lines"])
    shown = hiding.context.shelf.get(key)
    assert shown is not None
    stego = revealing.context.uploads / "came.png"
    shutil.copyfile(shown.files[0], stego)
    closed = revealing.press(picture=str(stego))
    opened = revealing.press(picture=str(stego), key=PHRASE)
    wrong = revealing.press(picture=str(stego), key="another heron")
    secret_seen = revealing.happens["opened"](opened["key"], 0)
    told = [updates, seen, left, closed, opened, wrong, secret_seen, shown.views]
    everything = "".join(map(repr, told)) + "".join(capfd.readouterr())
    assert PHRASE not in everything
    assert "another heron" not in everything
    assert not [p for p in hiding.context.scratch.rglob("*") if p.is_file() and PHRASE.encode() in p.read_bytes()]
    assert "key" not in closed or not closed["key"]  # without it there is nothing
    assert not wrong["key"]
    assert ("letter.txt" if name == "letter.txt" else "A picture of 128 x 128") in secret_seen[0]
    other = hiding.happens["opened"](key, 0, "another heron", None)
    assert ("another one by now" in other[6]) == (name == "letter.txt")


def test_the_passphrase_is_typed_unseen() -> None:
    plans = {p.name: p for p in plan_all(HideOptions)}
    assert hushed(HideOptions) == hushed(RevealOptions) == {"key"}
    assert plans["key"].kind == "password"
    assert changes([plans["key"]], [PHRASE]) == {"key": PHRASE}
    assert changes([plans["key"]], [""]) == changes([plans["key"]], [None]) == {}
    assert changes([plans["key"]], ["none"]) == {"key": "none"}  # elsewhere the house's word for nothing
    for bad in (123456, ["a"]):
        with pytest.raises(ConfigError, match="key: this can't be one") as error:
            changes([plans["key"]], [bad])
        assert "123456" not in str(error.value)


def test_no_command_repeats_it(hiding: Page) -> None:
    spec = registry.get("stego")
    call = Call(spec.main, (Path("a.png"),), {"secret": Path("b.txt")}, {"key": PHRASE, "as_file": True})
    line, python = same.command(spec, call, None), same.python(spec, call, None)
    assert line == "fieldsight stego hide a.png --secret b.txt --key-file FILE --as-file --out out/"
    assert 'key_file="FILE"' in python
    assert PHRASE not in line + python
    with gr.Blocks() as blocks:
        studio.page(dataclasses.replace(hiding.context, spec=spec))
    fields = [b for b in blocks.blocks.values() if getattr(b, "type", "") == "password"]
    assert len(fields) == 2
    assert all(f.html_attributes.autocomplete == "new-password" for f in fields)


def test_a_program_gets_no_passphrase_back(context: PageContext, sent: Path) -> None:
    paths = [shutil.copyfile(sent / n, context.uploads / n) for n in ("cover.png", "secret.png")]
    cover, secret = ({"path": str(p), "meta": {"_type": "gradio.FileData"}} for p in paths)
    given = {"cover": [cover], "secret": [secret], "options": {"key": PHRASE, "as_file": False}}
    answer = api._serve(context, context.spec.main, given, None)
    assert PHRASE not in json.dumps(answer)
    assert "--key-file FILE" in answer["command"]
    assert answer["results"][0]["summary"]["stego_psnr"] > 25
    with pytest.raises(gr.Error, match="key: this can't be one"):
        api._serve(context, context.spec.main, given | {"options": {"key": 77_123}}, None)


# ------------------------------------------------------------------------------------------------ what is said


def test_sentences_follow_the_numbers(model: StegoModel, sent: Path) -> None:
    found: Stego = model.predict(sent / "cover.png", secret=sent / "secret.png")
    steps = {psnr: view.told(dataclasses.replace(found, facts={**found.facts, "stego_psnr": psnr})) for psnr in
             (None, 45.0, 35.0, 30.0, 12.0)}  # fmt: skip
    assert "not a pixel changed" in steps[None]
    assert len({text.split(":")[0] for text in steps.values()}) == 4  # no change at all and 45 dB begin alike
    assert "Anybody sees it: PSNR 12.0 dB" in steps[12.0]
    white: Stego = model.predict(sent / "white.png", secret=sent / "secret.png")
    assert "Nobody sees it" not in view.told(white)
    assert "faint grain" in view.told(white)
    unchecked = model.predict(sent / "cover.png", secret=sent / "secret.png", check=False)
    assert "not revealed again" in view.told(unchecked)
    assert "dB" in view.facts(found)["change to the cover"]


@pytest.mark.parametrize("phrase", [None, Passphrase.of(PHRASE)])
def test_what_comes_back_has_the_size_of_the_secret(model: StegoModel, sent: Path, phrase: Passphrase | None) -> None:
    key = None if phrase is None else PHRASE
    found: Stego = model.predict(sent / "cover.png", secret=sent / "secret.png", key=key)
    back = view.come_back(model, found.saved_as.colour, phrase)
    assert back.mark
    assert back.picture is not None
    assert back.picture.shape == (128, 128, 3)
    original = np.asarray(Image.open(sent / "secret.png"))
    assert view.psnr_of(original, back.picture) > 24
    harmed = view.attacked("jpeg-60", found.picture)
    lost = view.come_back(model, harmed, phrase, back.picture)
    assert not lost.mark
    assert lost.picture is not None
    assert lost.picture.shape == (128, 128, 3)
    text, good = view.left_text(back, lost, "After JPEG")
    assert not good
    assert "no longer knows" in text
    assert view.left_text(back, back, "After nothing")[1]


def test_of_a_file_all_comes_back_or_nothing(model: StegoModel, sent: Path) -> None:
    found: Stego = model.predict(sent / "cover.png", secret=sent / "letter.txt")
    back = view.come_back(model, found.saved_as.colour, None)
    assert back.payload == studio_scenes.LETTER.encode()
    assert "every byte" in view.left_text(back, back, "After nothing")[0]
    lost = view.come_back(model, view.attacked("jpeg-50", found.picture), None, back.picture)
    assert "the file is lost" in view.left_text(back, lost, "After JPEG")[0]
    broken = view.Back(None, True, trouble="There is a hidden file, but it can't be read: <why>")
    assert "&lt;why&gt;" in view.left_words(back, broken, "After it")


def test_revealed_files_are_shown_as_what_they_are(tmp_path: Path, sent: Path) -> None:
    data = np.zeros((16, 16, 3), np.uint8)
    facts = {"mark": True, "repaired": 3, "wrong_cells": 0.01, "height": 16, "width": 16}
    words, picture, below = view.revealed(Revealed(data, b"a <b> letter", "note.txt", facts))
    assert picture is None
    assert "a &lt;b&gt; letter" in below
    assert "3 of them repaired" in words
    shutil.copyfile(sent / "secret.png", tmp_path / "x_secret.png")
    hidden = Revealed(data, (sent / "secret.png").read_bytes(), "secret.png", facts, (tmp_path / "x_secret.png",))
    assert view.revealed(hidden)[1].shape == (256, 256, 3)  # type: ignore[union-attr]
    other = view.revealed(Revealed(data, b"\xff\xfe\x00", "x.bin", facts))
    assert other[1] is not None
    assert "<pre>" not in other[2]
    assert view.download_words(hidden) == "Download secret.png"


def test_what_a_verb_wrote_is_not_written_again(model: StegoModel, sent: Path, tmp_path: Path) -> None:
    stego = model.predict(sent / "cover.png", secret=sent / "letter.txt").save(tmp_path / "came.png")[0]
    below = tmp_path / "result" / "files"
    (seen,) = views_of(model.reveal(stego, out=below), tmp_path / "result", "reveal")
    assert [p.name for p in below.iterdir()] == ["came_letter.txt"]
    assert seen.files == ("files/came_letter.txt",)


@pytest.mark.parametrize("way", view.WAYS)
def test_every_slider_names_an_attack(way: str) -> None:
    _, _, low, high, first, _ = view.WAYS[way]
    picture = np.full((24, 24, 3), 99, np.uint8)
    for strength in (low, first, high, low - 5, high + 5):
        name, words = view.attack_of(way, strength)
        assert view.attacked(name, picture).shape == picture.shape
        assert words.startswith("After ")


def test_pictures_fit_their_room() -> None:
    assert view.fitted(None) is None
    for shape in ((16, 16), (300, 500), (2000, 3000)):
        fitted = view.fitted(np.zeros((*shape, 3), np.uint8))
        assert fitted is not None
        assert pictures.LEAST * 0.5 <= max(fitted.shape) <= pictures.MOST
    assert view.smoothness(np.full((64, 64, 3), 7, np.uint8)) == 1
    assert view.smoothness(np.random.default_rng(0).integers(0, 99, (64, 64, 3), np.uint8)) == 0
    assert studio_look.blackwhite(np.array([[[0, 255, 128]]], np.uint8)) == pytest.approx(2 / 3)


def test_the_statement_says_what_the_code_does() -> None:
    text = view.statement()
    for word in ("ChaCha20-Poly1305", "scrypt", "jigsaw", "statistics", "JPEG", "temporary folder"):
        assert word in text
    assert secrets.ROBUSTNESS.keys() == studio_look.CELLS.keys()


# ------------------------------------------------------------------------------------------------ tour, gallery


def test_the_demonstration_says_what_it_ran_on() -> None:
    report = Report("tour")
    studio.demo(report.section("stego"))
    text = report.render()
    assert "Input: " in text
    assert "every byte came back" in text
    assert "After JPEG at quality 80" in text
    assert "<img" in text


def test_the_gallery_picture_can_be_made() -> None:
    picture = studio.gallery_picture()
    assert picture.shape == (360, 540, 3)
    assert picture.dtype == np.uint8
