"""Hiding and revealing as people use it: sizes, depths, files, keys, bad inputs, three doors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fieldsight
from fieldsight import progress
from fieldsight.cli import main
from fieldsight.data.images import read_image, write_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.metrics import image
from fieldsight.systems.stego.carrier import check_target
from fieldsight.systems.stego.textures import draw


def picture(seed: int, size: tuple[int, int] = (128, 160), kind: str = "cloud") -> np.ndarray:
    return np.ascontiguousarray(draw(kind, max(size), rng_for(seed, "use"))[: size[0], : size[1]])


@pytest.fixture(scope="module")
def model() -> Any:
    return fieldsight.load("stego")


# ------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("size", [(128, 160), (131, 165), (64, 64), (200, 72)])
def test_a_picture_comes_back_in_its_own_size(model: Any, size: tuple[int, int], tmp_path: Path) -> None:
    cover, secret = picture(1, size), picture(2, (90, 123), "objects")
    found = model.hide(cover, secret=secret)
    assert found.picture.shape == cover.shape
    (path,) = found.save(tmp_path / "out.png")
    assert path == tmp_path / "out.png"
    stored = read_image(path)
    assert np.array_equal(stored, found.picture)
    assert image.psnr(cover, stored, 255) == pytest.approx(found.facts["stego_psnr"], abs=1e-3)
    assert found.facts["stego_psnr"] > 30
    back = model.reveal(path)
    assert back.picture.shape == secret.shape
    assert image.ssim(secret, back.picture, 255) > 0.6
    assert back.facts["mark"]


def test_the_rim_beyond_whole_blocks_stays(model: Any) -> None:
    cover = picture(3, (133, 150))
    stego = model.hide(cover, secret=picture(4)).picture
    assert np.array_equal(stego[128:], cover[128:])
    assert np.array_equal(stego[:, 144:], cover[:, 144:])
    assert not np.array_equal(stego[:128, :144], cover[:128, :144])


def test_transparency_depth_and_grey(model: Any, tmp_path: Path) -> None:
    cover, secret = picture(5), picture(6)
    alpha = picture(7)[..., 0]
    (path,) = model.hide(np.dstack([cover, alpha]), secret=secret).save(tmp_path / "alpha.png")
    stored = read_image(path)
    assert stored.shape == (128, 160, 4)
    assert np.array_equal(stored[..., 3], alpha)
    assert model.reveal(path).facts["mark"]
    deep = cover.astype(np.uint16) * 257
    (path,) = model.hide(deep, secret=secret).save(tmp_path / "deep.png")
    stored = read_image(path)
    assert stored.dtype == np.uint16
    assert len(np.unique(stored % 257)) > 100  # the depth is used
    eight = model.reveal(model.hide(cover, secret=secret).picture).picture
    fine = model.reveal(path).picture
    shrunk = read_image(path).astype(float)
    assert image.psnr(deep, shrunk, 65535) > 30
    assert np.abs(fine.astype(int) - eight).mean() < 12
    grey = model.hide(cover[..., 1], secret=secret)
    assert grey.picture.shape == (128, 160, 3)
    assert "grey" in grey.facts["notes"][0]


def test_lossless_formats_keep_it_and_lossy_ones_are_refused(model: Any, tmp_path: Path) -> None:
    found = model.hide(picture(8), secret=picture(9))
    for name in ("a.png", "a.tif", "a.bmp", "a.webp", "a.npy"):
        (path,) = found.save(tmp_path / name)
        assert np.array_equal(read_image(path), found.picture), name
        assert model.reveal(path).facts["mark"], name
    with pytest.raises(DataError, match="lossy format"):
        found.save(tmp_path / "a.jpg")
    assert not (tmp_path / "a.jpg").exists()
    with pytest.raises(DataError, match="ends in"):
        check_target(tmp_path / "a.xyz", False)
    told: list[str] = []
    with progress.watching(None, told.append):
        (path,) = model.hide(picture(8), secret=picture(9), allow_lossy=True).save(tmp_path / "a.jpg")
    assert "lossy" in told[0]
    with pytest.raises(DataError, match="It is a JPEG"):
        model.reveal(path)


def test_a_secret_that_is_shrunk_is_told(model: Any) -> None:
    assert "shrunk from 300 x 200" in model.hide(picture(10), secret=picture(11, (200, 300))).facts["notes"][0]
    assert "notes" not in model.hide(picture(10), secret=picture(11, (60, 80))).facts


def test_notes_are_told_once_on_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    frames = [Image.fromarray(picture(47 + n)).convert("L") for n in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(picture(45)).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    write_image(tmp_path / "grey.png", picture(10)[..., 1])
    write_image(tmp_path / "wide.png", picture(11, (200, 300)))
    write_image(tmp_path / "good.png", picture(11, (64, 64)))
    asked = {
        ("moving.gif", "good.png"): "it has 3 frames", ("cmyk.jpg", "good.png"): "its colours are CMYK",
        ("grey.png", "good.png"): "it is grey", ("good.png", "wide.png"): "shrunk from 300 x 200",
        ("good.png", "good.png"): "",
    }  # fmt: skip
    for (cover, secret), words in asked.items():
        for out in (["--out", str(tmp_path / "out.png")], []):
            assert main(["stego", "hide", str(tmp_path / cover), str(tmp_path / secret), *out]) == 0
            told = capfd.readouterr()
            warned = [line for line in told.err.splitlines() if line.startswith("warning: ")]
            assert len(warned) == bool(words), told.err
            assert all(words in line and cover in line for line in warned)
            assert not words or words not in told.out
    assert main(["stego", "hide", str(tmp_path / "grey.png"), str(tmp_path / "good.png"), "--quiet"]) == 0
    assert "grey" not in capfd.readouterr().err


def test_eight_bits_of_a_deep_cover_are_a_stego_too(model: Any) -> None:
    cover, secret = picture(5), picture(6)
    found = model.hide(cover.astype(np.uint16) * 257, secret=secret)
    assert np.array_equal(found.picture, model.hide(cover, secret=secret).picture)
    assert found.saved_as.colour.dtype == np.uint16
    fine, eight = (model.reveal(p).picture for p in (found.saved_as.colour, found.picture))
    assert image.psnr(secret, eight, 255) > image.psnr(secret, fine, 255) - 1.5


def test_tiles_make_no_seams(model: Any) -> None:
    cover, secret = picture(10, (168, 208)), picture(11, (168, 208))
    whole = model.hide(cover, secret=secret, tile=1024)
    tiled = model.hide(cover, secret=secret, tile=96)
    assert np.array_equal(whole.picture, tiled.picture)
    a, b = (model.reveal(whole.picture, tile=t).picture for t in (1024, 96))
    assert np.array_equal(a, b)


def test_nothing_but_the_picture_is_written(model: Any, tmp_path: Path) -> None:
    from PIL import Image

    files = model.hide(picture(12), secret=picture(13), out=tmp_path / "x").__class__  # a single input gives the object
    assert files.__name__ == "Stego"
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["input-0000.png"]
    with Image.open(tmp_path / "x" / "input-0000.png") as opened:
        assert not opened.info
    model.hide(picture(12), secret=picture(13), out=tmp_path / "y", details=True)
    assert len(list((tmp_path / "y").iterdir())) == 3


def test_the_secret_is_deterministic(model: Any) -> None:
    a, b = (model.hide(picture(14), secret=picture(15), key="k").picture for _ in range(2))
    assert np.array_equal(a, b)


# --------------------------------------------------------------------------------------------------- files


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.binary(max_size=90), keyed=st.booleans())
def test_any_bytes_come_back_exactly(model: Any, payload: bytes, keyed: bool) -> None:
    key = {"key": "a passphrase"} if keyed else {}
    found = model.hide(picture(20, (160, 160)), secret=payload, **key)
    back = model.reveal(found.picture, **key)
    assert back.payload == payload
    assert back.name == "secret.bin"


def test_a_file_keeps_its_name_and_says_where_it_fits(model: Any, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("meet me at noon\n" * 8)
    cover = write_image(tmp_path / "cover.png", picture(21, (192, 192)))
    assert main(["stego", "hide", str(cover), str(note), "--out", str(tmp_path / "s.png"), "--quiet"]) == 0
    assert main(["stego", "reveal", str(tmp_path / "s.png"), "--out", str(tmp_path / "got"), "--quiet"]) == 0
    (path,) = (tmp_path / "got").iterdir()
    assert path.name == "s_note.txt"
    assert path.read_text() == note.read_text()
    big = tmp_path / "big.bin"
    big.write_bytes(rng_for(0, "big").bytes(50_000))
    with pytest.raises(DataError, match="holds at most"):
        model.hide(cover, secret=big)
    capacity = model.hide(cover, secret=note).facts["capacity_bytes"]
    fits = rng_for(1, "fits").bytes(capacity)
    assert model.reveal(model.hide(cover, secret=fits).picture).payload == fits
    photo = write_image(tmp_path / "tiny.png", picture(22, (16, 16)))
    exact = model.hide(picture(23, (256, 256)), secret=photo, as_file=True)
    assert model.reveal(exact.picture).payload == photo.read_bytes()


def test_a_damaged_file_is_refused_never_wrong(model: Any) -> None:
    stego = model.hide(picture(24, (160, 160)), secret=b"precious" * 8).picture.copy()
    stego[:140] = picture(25, (160, 160))[:140]  # the mark below is left
    with pytest.raises(DataError, match="hidden file, but it can't be read"):
        model.reveal(stego)


# ---------------------------------------------------------------------------------------------------- keys


def test_two_users_of_one_model_do_not_read_each_other(model: Any, tmp_path: Path) -> None:
    cover, secret = picture(30), picture(31, kind="objects")
    stego = model.hide(cover, secret=secret, key="mine").picture
    mine = model.reveal(stego, key="mine")
    assert image.ssim(secret, mine.picture, 255) > 0.55
    for other in ({}, {"key": "theirs"}):
        with pytest.raises(DataError, match="holds nothing that this model hid"):
            model.reveal(stego, **other)
    forced = model.reveal(stego, force=True).picture
    small = secret[: forced.shape[0], : forced.shape[1]]
    assert image.ssim(small, forced[: small.shape[0], : small.shape[1]], 255) < 0.4  # a jigsaw
    kept = tmp_path / "key.txt"
    kept.write_text("mine\nsecond line\n")
    assert np.array_equal(model.reveal(stego, key_file=kept).picture, mine.picture)
    with pytest.raises(ConfigError, match="not both"):
        model.reveal(stego, key="mine", key_file=kept)
    with pytest.raises(DataError, match="Can't read the passphrase"):
        model.reveal(stego, key_file=tmp_path / "none.txt")
    with pytest.raises(ConfigError, match="empty"):
        model.hide(cover, secret=secret, key="")


def test_the_passphrase_is_told_nowhere(model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = model.hide(picture(32), secret=picture(33), key="hunter2 hunter2", details=True, out=tmp_path)
    told = json.dumps(found.to_dict()) + repr(found.facts) + "".join(found.lines())
    written = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    out = capsys.readouterr()
    assert "hunter2" not in told + out.out + out.err
    assert b"hunter2" not in written


# ---------------------------------------------------------------------------------------------- bad inputs


def test_a_plain_picture_holds_nothing(model: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds nothing that this model hid \(probability of a mark"):
        model.reveal(picture(40, (256, 256)))
    shown = model.reveal(picture(40), force=True)
    assert not shown.facts["mark"]
    with pytest.raises(DataError, match="too small for a mark"):
        model.reveal(picture(41, (48, 48)))


def test_bad_covers_and_secrets_are_named(model: Any, tmp_path: Path) -> None:
    good = write_image(tmp_path / "good.png", picture(42))
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:300])
    (tmp_path / "text.png").write_text("no picture at all")
    write_image(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    for name, piece in (("cut.png", "truncated"), ("text.png", "no picture"), ("dot.png", "1 x 1")):
        with pytest.raises(DataError, match=piece) as caught:
            model.hide(tmp_path / name, secret=picture(43))
        assert name in str(caught.value)
        with pytest.raises(DataError, match=piece if name != "dot.png" else "1 x 1"):
            model.reveal(tmp_path / name)
    with pytest.raises(DataError, match="truncated"):
        model.hide(good, secret=tmp_path / "cut.png")
    with pytest.raises(DataError, match="There is no file"):
        model.hide(good, secret=tmp_path / "nowhere.png")
    with pytest.raises(ConfigError, match="There is no secret"):
        model.hide(good)
    with pytest.raises(DataError, match="needs a mark"):
        model.hide(picture(44, (48, 48)), secret=b"x")
    assert model.hide(good, secret=tmp_path / "dot.png").facts["stego_psnr"] > 20  # a secret of one pixel is a secret


def test_cmyk_animated_and_rotated_pictures(model: Any, tmp_path: Path) -> None:
    from PIL import Image

    whole = Image.fromarray(picture(45))
    whole.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    found = model.hide(tmp_path / "cmyk.jpg", secret=picture(46))
    assert "CMYK" in found.facts["notes"][0]
    frames = [Image.fromarray(picture(47 + n)).convert("P") for n in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert "3 frames" in model.hide(tmp_path / "moving.gif", secret=picture(46)).facts["notes"][0]
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera that tells"
    whole.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    (path,) = model.hide(tmp_path / "turned.jpg", secret=picture(46)).save(tmp_path / "t.png")
    assert read_image(path).shape == (160, 128, 3)
    assert b"camera" not in path.read_bytes()


# --------------------------------------------------------------------------------------------- three doors


def test_cover_and_secret_side_by_side_and_folder_by_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    covers = [write_image(tmp_path / "covers" / f"c{n}.png", picture(50 + n)) for n in range(3)]
    for n in range(2):
        write_image(tmp_path / "secrets" / f"s{n}.png", picture(60 + n, kind="objects"))
    one = ["stego", "hide", str(covers[0]), str(tmp_path / "secrets" / "s0.png"), "--out", str(tmp_path / "o.png")]
    assert main(one) == 0
    assert read_image(tmp_path / "o.png").shape == (128, 160, 3)
    assert main(["stego", "reveal", str(tmp_path / "o.png"), "--out", str(tmp_path / "b.png")]) == 0
    assert read_image(tmp_path / "b.png").shape == (128, 160, 3)
    folders = [str(tmp_path / "covers"), "--secret", str(tmp_path / "secrets")]
    assert main(["stego", "hide", *folders, "--out", str(tmp_path / "many"), "--json"]) == 0
    capsys.readouterr()
    assert sorted(p.name for p in (tmp_path / "many").iterdir()) == ["c0.png", "c1.png", "c2.png"]
    assert main(["stego", "reveal", str(tmp_path / "many"), "--out", str(tmp_path / "back"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 3
    backs = [read_image(tmp_path / "back" / f"c{n}.png").astype(int) for n in range(3)]
    assert np.abs(backs[0] - backs[2]).mean() < np.abs(backs[0] - backs[1]).mean()  # secrets were dealt in turn
    assert main(["stego", "hide", str(covers[0])]) == 2
    assert main(["stego", "hide", *map(str, covers)]) == 2
    assert "There is no secret" in capsys.readouterr().err
    assert main(["stego", "hide", str(covers[0]), str(covers[1]), "--out", str(tmp_path / "o.jpg")]) == 3
    assert main(["stego", "reveal", str(covers[0])]) == 3


def test_several_results_are_not_written_into_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(2):
        write_image(tmp_path / "covers" / f"{n}.png", picture(50 + n, (96, 96)))
    write_image(tmp_path / "s.png", picture(60, (64, 64)))
    hide = ["stego", "hide", str(tmp_path / "covers"), "--secret", str(tmp_path / "s.png"), "--out"]
    assert main([*hide, str(tmp_path / "one.png")]) == 2
    assert "names one picture, and there are 2 inputs" in capsys.readouterr().err
    assert main([*hide, str(tmp_path / "many")]) == 0
    for name in ("one.png", "one.txt"):
        assert main(["stego", "reveal", str(tmp_path / "many"), "--out", str(tmp_path / name)]) == 2
        assert "2 pictures. Name a folder" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["covers", "many", "s.png"]
    (tmp_path / "some.v2").mkdir()  # a folder that is there may have any name
    assert main(["stego", "reveal", str(tmp_path / "many"), "--out", str(tmp_path / "some.v2")]) == 0


def test_parts_share_the_networks(model: Any) -> None:
    import torch

    pair, hide, reveal = (model.part(n) for n in ("pair", "hide", "reveal"))
    example = pair.example()
    both = pair.forward(example)
    torch.testing.assert_close(hide.forward(hide.example())["stego"], both["stego"])
    shown = reveal.forward({"stego": both["stego"]})["revealed"]
    torch.testing.assert_close(shown, both["revealed"])
    assert reveal.fingerprint() == model.fingerprint()


def test_the_shipped_model_knows_how_plain_photos_score(model: Any) -> None:
    plain = model.artefacts["plain"]
    assert plain["photos"] == len(plain["scores"]) == 1000
    assert max(plain["scores"]) < 0.9
    with pytest.raises(DataError, match="of 1,000 plain photos"):
        model.reveal(picture(70, (128, 128)))


def test_a_passphrase_may_be_any_text_and_is_printed_nowhere(capsys: pytest.CaptureFixture[str], model: Any) -> None:
    assert main(["stego", "hide", "--print-config", "--key", "hunter2"]) == 0
    assert "hunter2" not in capsys.readouterr().out
    stego = model.hide(picture(71), secret=picture(72), key="none").picture
    with pytest.raises(DataError):
        model.reveal(stego)
    assert model.reveal(stego, key="none").facts["mark"]
