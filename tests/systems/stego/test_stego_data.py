"""Pictures of `stego`: drawn ones, photos out of packages, data folders and pairs."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldsight import assets
from fieldsight.config import read_toml
from fieldsight.data.images import read_image, write_image
from fieldsight.data.loader import Loader
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.stego import config, data, folders, photos, textures
from fieldsight.systems.stego.options import MakeDataOptions

HELD_OUT = Path(__file__).parents[3] / "studies" / "stego" / "heldout.toml"


def picture(seed: int, height: int = 24, width: int = 20) -> np.ndarray:
    return rng_for(seed, "test").integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(root: Path, *names: str) -> Path:
    """A different picture under every name."""
    for name in names:
        write_image(root / name, picture(int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)))
    return root


def outcome(work: Callable[[], object]) -> str | None:
    """What a DataError says, or None where there is none; nothing else is caught."""
    try:
        work()
    except DataError as error:
        return str(error)
    return None


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with nothing fetched and no Debian packages: only what Python packages bring."""
    monkeypatch.setenv("FIELDSIGHT_CACHE", str(tmp_path / "cache"))
    installed = assets._installed
    monkeypatch.setattr(assets, "_installed", lambda a: None if a.source == "Debian" else installed(a))


# ---------------------------------------------------------------------------------------- drawn pictures


@pytest.mark.parametrize("kind", textures.KINDS)
def test_every_kind_draws_the_same_bytes_for_the_same_seed_and_others_for_another(kind: str) -> None:
    first, again, other = (textures.draw(kind, 48, rng_for(seed, kind)) for seed in (1, 1, 2))
    assert first.shape == (48, 48, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() > 1


def test_the_kinds_are_those_of_the_config() -> None:
    assert textures.KINDS == config.KINDS
    assert len(textures.KINDS) == 8


def test_unknown_kinds_and_tiny_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'cloud'"):
        textures.draw("clouds", 64, rng_for(0))
    with pytest.raises(ConfigError, match="16 or more"):
        textures.draw("cloud", 8, rng_for(0))


def many(kind: str, number: int = 30, size: int = 64) -> np.ndarray:
    return np.stack([textures.draw(kind, size, rng_for(5, kind, n)) for n in range(number)]).astype(np.float64)


def detail(pictures: np.ndarray) -> float:
    """Share of the energy about the mean that lies in LH, HL and HH of the Haar transform."""
    a, b = pictures[:, 0::2, 0::2], pictures[:, 0::2, 1::2]
    c, d = pictures[:, 1::2, 0::2], pictures[:, 1::2, 1::2]
    high = ((a + b - c - d) ** 2 + (a - b + c - d) ** 2 + (a - b - c + d) ** 2).sum() / 4
    mean = pictures.mean(axis=(1, 2), keepdims=True)
    return float(high / ((pictures - mean) ** 2).sum())


def test_stripes_have_most_detail_and_gradients_least() -> None:
    shares = {kind: detail(many(kind)) for kind in ("gradient", "cloud", "leaves", "stripes")}
    assert shares["gradient"] < 0.01 < shares["cloud"] < shares["leaves"] < shares["stripes"]


def test_clouds_have_the_channel_correlation_asked_for() -> None:
    found = []
    for cloud in many("cloud", 60):
        flat = cloud.reshape(-1, 3)
        if ((flat == 0) | (flat == 255)).mean() < 0.02:  # clipping bends it
            found += [np.corrcoef(flat.T)[i, j] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert len(found) > 45
    # a field has few strong waves, so single pictures scatter by about 0.06
    assert np.mean(found) == pytest.approx(textures.CLOUD_CORRELATION, abs=0.03)


def test_noise_has_the_spectrum_asked_for() -> None:
    rng = rng_for(0, "spectrum")
    fields = np.stack([textures._noise(128, 1.3, 1, rng)[..., 0] for _ in range(16)])
    power = (np.abs(np.fft.fft2(fields)) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    inside = (frequency > 0.02) & (frequency < 0.45)
    slope = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0]
    assert slope == pytest.approx(-2.6, abs=0.05)  # power is amplitude squared


def test_leaf_radii_follow_r_to_the_minus_three() -> None:
    radii = textures.leaf_radii(200_000, 1.5, 60.0, rng_for(0, "radii"))
    assert radii.min() >= 1.5
    assert radii.max() <= 60.0
    for r in (2.0, 3.0, 6.0, 12.0):  # P(R > r) = (r^-2 - high^-2) / (low^-2 - high^-2)
        expected = (r**-2 - 60.0**-2) / (1.5**-2 - 60.0**-2)
        assert (radii > r).mean() == pytest.approx(expected, rel=0.05)


def test_stained_glass_is_saturated_with_dark_borders_and_text_has_a_plain_ground() -> None:
    stained = many("stained")
    assert (stained.max(axis=-1) - stained.min(axis=-1)).mean() > 100
    assert 0.03 < (stained.max(axis=-1) < 50).mean() < 0.35
    for page in many("text", 20):
        colours = Counter(map(tuple, page.reshape(-1, 3)))
        assert colours.most_common(1)[0][1] > 0.2 * 64 * 64


def test_grain_has_noise_that_clean_gradients_lack() -> None:
    def second(pictures: np.ndarray) -> np.ndarray:
        return np.abs(np.diff(pictures, 2, axis=1)).mean(axis=(1, 2, 3))

    assert np.median(second(many("gradient", 20))) < 1 < np.min(second(many("grain", 20)))


# ----------------------------------------------------------------------------------------------- photos


def test_the_list_of_photos_is_sound() -> None:
    lines = photos.listed()
    assert len({line.name for line in lines}) == len(lines) >= 80
    assert len({(line.asset, line.file, line.member) for line in lines}) == len(lines)
    counts = Counter(line.split for line in lines)
    assert counts["train"] >= 36
    assert counts["val"] >= 6
    assert counts["test"] >= 24
    for line in lines:
        asset = assets.get(line.asset)
        assert line.file in asset.files, line.name
        assert "stego" in asset.systems
        assert line.subject
        if line.split != "test":
            words = set(re.split(r"[-\s]", line.licence))
            assert words & {"Apache", "BSD", "MIT", "CC", "CC0", "public"}, line.name
            assert not words & {"GPL", "GFDL", "NC", "ND"}, line.name
        assert not {"lena", "baboon", "peppers"} & {line.name, Path(line.file).stem}


def test_photos_of_one_scene_share_a_split() -> None:
    split = {line.name: line.split for line in photos.listed()}
    for scene in (
        ("aero-1", "aero-3"),
        ("books-left", "books-right"),
        ("samoyeds-root", "samoyeds-grass", "samoyed-tiles"),
    ):
        assert len({split[name] for name in scene}) == 1, scene


def test_held_out_pairs_use_each_test_photo_equally_and_agree_with_the_committed_record() -> None:
    pairs = photos.pair_names()
    test = [line.name for line in photos.listed() if line.split == "test"]
    assert len(pairs) >= 120
    for place in (0, 1):
        assert set(Counter(pair[place] for pair in pairs).items()) == {(n, len(pairs) // len(test)) for n in test}
    assert all(cover != secret for cover, secret in pairs)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    record = read_toml(HELD_OUT)
    assert record["photos"]["names"] == test
    assert record["pairs"]["number"] == len(pairs)
    text = "".join(f"{cover} {secret}\n" for cover, secret in pairs)
    assert record["pairs"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert record["crop"]["side"] == photos.HELD_OUT_SIZE == 256


@pytest.mark.usefixtures("bare")
def test_a_bare_installation_has_test_photos_and_says_what_is_missing() -> None:
    here = {photo.name for photo in photos.find("test")}
    assert here >= {"astronaut", "coffee", "chelsea", "rocket", "china", "flower"}
    assert {photo.split for photo in photos.find()} == {"train", "test"}
    assert "gcompris-photos" in photos.missing("test")
    assert "palapeli-photos" in photos.missing("train")
    assert not {"scikit-image", "scikit-learn"} & set(photos.missing())
    assert {frozenset((a.name, b.name)) <= here for a, b in photos.heldout_pairs()} <= {True}
    with pytest.raises(ConfigError, match="Unknown split 'tests'"):
        photos.find("tests")


def test_installed_photos_are_read_and_squared() -> None:
    found = {photo.name: photo for photo in photos.find("test")}
    whole = found["china"].read()
    assert whole.shape == (427, 640, 3)
    assert whole.dtype == np.uint8
    assert max(found["china"].read(longest=320).shape) == 320
    square = found["china"].square()
    assert square.shape == (256, 256, 3)
    centre = whole[:, 106:533]  # (640 - 427) // 2 columns are cut on the left
    assert abs(float(square.mean()) - float(centre.mean())) < 1.0


def test_every_photo_that_is_here_can_be_read() -> None:
    """Only the small ones: the rest costs seconds. Bundled ones among them where they are fetched."""
    small = [p for p in photos.find() if p.member or p.path.stat().st_size < 300_000]
    assert len(small) >= 3
    for photo in small[::4]:
        shape = photo.read().shape
        assert min(shape[:2]) >= 256, photo.name


def test_a_square_is_the_centre_and_keeps_constants() -> None:
    plain = np.full((40, 91, 3), (3, 200, 77), np.uint8)
    assert np.array_equal(photos.square(plain, 16), np.broadcast_to((3, 200, 77), (16, 16, 3)))
    marked = np.zeros((30, 70, 3), np.uint8)
    marked[:, 20:50] = 255
    assert np.array_equal(photos.square(marked, 30), marked[:, 20:50])
    assert photos.square(marked, 64).shape == (64, 64, 3)
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 4), np.uint8)):
        with pytest.raises(DataError, match="channels='rgb'"):
            photos.square(wrong, 8)  # type: ignore[arg-type]


def bundle(members: dict[str, bytes], flags: int = 0) -> bytes:
    """A Qt resource bundle, format 3, of files in one folder ``a``."""
    names, offsets = b"", {}
    for name in ("a", *members):
        offsets[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    contents, nodes = b"", [struct.pack(">IHIIQ", 0, 2, 1, 1, 0)]
    nodes.append(struct.pack(">IHIIQ", offsets["a"], 2, len(members), 2, 0))
    for name, body in members.items():
        stored = struct.pack(">I", len(body)) + zlib.compress(body) if flags & 1 else body
        nodes.append(struct.pack(">IHIIQ", offsets[name], flags, 0, len(contents), 0))
        contents += struct.pack(">I", len(stored)) + stored
    tree = b"".join(nodes)
    start = 24
    head = struct.pack(">4s5I", b"qres", 3, start, start + len(tree), start + len(tree) + len(contents), 0)
    return head + tree + contents + names


@pytest.mark.parametrize("flags", [0, 1])
def test_bundles_are_read_stored_and_compressed(tmp_path: Path, flags: int) -> None:
    path = tmp_path / "b.rcc"
    path.write_bytes(bundle({"one.webp": b"first", "two.webp": b"the second"}, flags))
    assert photos.read_bundle(path, "a/two.webp") == b"the second"
    assert photos.read_bundle(path, "a/one.webp") == b"first"
    with pytest.raises(DataError, match="holds no 'a/three.webp'"):
        photos.read_bundle(path, "a/three.webp")
    with pytest.raises(DataError, match="is a folder"):
        photos.read_bundle(path, "a")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_broken_bundles_are_named_and_never_end_otherwise(tmp_path: Path, chosen: st.DataObject) -> None:
    whole = bytearray(bundle({"one.webp": b"first", "two.webp": b"second"}, 1))
    for _ in range(chosen.draw(st.integers(0, 6))):
        whole[chosen.draw(st.integers(0, len(whole) - 1))] = chosen.draw(st.integers(0, 255))
    path = tmp_path / "b.rcc"
    path.write_bytes(bytes(whole[: chosen.draw(st.integers(0, len(whole)))]))
    said = outcome(lambda: photos.read_bundle(path, "a/two.webp"))
    assert said is None or "b.rcc" in said


# ----------------------------------------------------------------------------------------- data folders


def imagenette(root: Path) -> Path:
    write(root, "train/n01440764/a.JPEG", "train/n01440764/b.JPEG", "train/n03028079/c.JPEG", "val/n03028079/d.JPEG")
    (root / "noisy_imagenette.csv").write_text(
        "path,noisy_labels_0\ntrain/n01440764/a.JPEG,n01440764\nval/n03028079/d.JPEG,n03028079\n"
    )
    return root


def test_imagenette_is_recognised(tmp_path: Path) -> None:
    imagenette(tmp_path)
    (tmp_path / "train" / "n01440764" / "._a.JPEG").write_bytes(b"left by macOS")
    train = data.read_pictures(tmp_path, "train")
    ids = [p.id for p in train]
    assert ids == ["train/n01440764/a", "train/n01440764/b", "train/n03028079/c"]
    assert [p.kind for p in train] == ["tench", "tench", "church"]
    assert [p.id for p in data.read_pictures(tmp_path, "val")] == ["val/n03028079/d"]
    assert data.read_pictures(tmp_path, "test") == data.read_pictures(tmp_path, "val")
    assert train[0].read().shape == (24, 20, 3)
    assert data.read_pictures(tmp_path.joinpath("train", ".."), "train")


def test_imagenette_in_a_folder_around_it_is_recognised_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imagenette(tmp_path / "imagenette2")
    imagenette(tmp_path / "imagenette2-160")
    write(tmp_path, "Linnaeus 5 64X64/train/berry/x.jpg", "Linnaeus 5 64X64/test/berry/y.jpg")
    train = data.read_pictures(tmp_path, "train")
    assert [p.id for p in train if p.kind == "church"] == ["imagenette2/train/n03028079/c"]
    assert len(train) == 4  # three and Linnaeus's one, as the paper adds them up
    assert "'imagenette2-160' is left out" in capsys.readouterr().err


def test_missing_pictures_of_imagenette_are_named(tmp_path: Path) -> None:
    imagenette(tmp_path)
    (tmp_path / "val" / "n03028079" / "d.JPEG").rename(tmp_path / "val" / "n03028079" / "e.JPEG")
    with pytest.raises(DataError, match=r"lacks 1 pictures .*: val/n03028079/d\.JPEG"):
        data.read_pictures(tmp_path, "train")
    (tmp_path / "noisy_imagenette.csv").write_text("file\nx\n")
    with pytest.raises(DataError, match="no column 'path'"):
        data.read_pictures(tmp_path, "train")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_table_of_labels_is_used_or_refused_with_its_name(tmp_path: Path, table: bytes) -> None:
    if not (tmp_path / "train").exists():
        imagenette(tmp_path)
    (tmp_path / "noisy_imagenette.csv").write_bytes(b"path,x\n" + table)
    said = outcome(lambda: data.read_pictures(tmp_path, "train"))
    assert said is None or "noisy_imagenette.csv" in said


@pytest.mark.parametrize("size", [256, 128, 64, 32])
def test_linnaeus_is_recognised_by_itself_and_from_its_parent(tmp_path: Path, size: int) -> None:
    root = tmp_path / f"Linnaeus 5 {size}X{size}"
    write(root, "train/berry/1.jpg", "train/dog/2.jpg", "test/other/3.jpg")
    for folder in (root, tmp_path):
        assert [p.kind for p in data.read_pictures(folder, "train")] == ["berry", "dog"]
        assert [p.kind for p in data.read_pictures(folder, "test")] == ["other"]
        assert [p.kind for p in data.read_pictures(folder, "val")] == ["other"]


def test_the_largest_linnaeus_is_taken(tmp_path: Path) -> None:
    for size in (64, 256, 128):
        write(tmp_path / f"Linnaeus 5 {size}X{size}", f"train/berry/{size}.jpg", f"test/berry/{size}0.jpg")
    assert [p.path.stem for p in data.read_pictures(tmp_path, "train")] == ["256"]


def test_div2k_is_recognised_without_its_small_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "DIV2K_train_HR/0001.png", "DIV2K_train_HR/0002.png", "DIV2K_valid_HR/0801.png")
    write(tmp_path, "DIV2K_train_LR_bicubic/X2/0001x2.png")
    assert [p.path.stem for p in data.read_pictures(tmp_path, "train")] == ["0001", "0002"]
    assert [p.path.stem for p in data.read_pictures(tmp_path, "val")] == ["0801"]
    assert "DIV2K_train_LR_bicubic" in capsys.readouterr().err


def test_a_plain_folder_is_split_by_groups_and_copies_stay_together(tmp_path: Path) -> None:
    write(tmp_path, *(f"holiday/{n}.png" for n in range(18)), "x.webp", "y.bmp")
    for n in range(6):
        write_image(tmp_path / f"copy{n}.png", read_image(tmp_path / "holiday" / f"{n}.png"))
    pictures = data.list_pictures(tmp_path)
    assert len(pictures) == 26
    assert {p.split for p in pictures} == {"train", "val", "test"}
    split = {p.id: p.split for p in pictures}
    assert all(split[f"copy{n}"] == split[f"holiday/{n}"] for n in range(6))
    assert data.list_pictures(tmp_path) == pictures
    assert any(data.list_pictures(tmp_path, seed=s) != pictures for s in (1, 2, 3))


def test_a_manifest_wins(tmp_path: Path) -> None:
    imagenette(tmp_path)
    rows = [
        "train/n01440764/a,t,test",
        "train/n01440764/b,t,test",
        "train/n03028079/c,c,train",
        "val/n03028079/d,d,val",
    ]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["id,group,split", *rows]))
    assert [p.id for p in data.read_pictures(tmp_path, "test")] == ["train/n01440764/a", "train/n01440764/b"]
    for line, words in (
        ("gone,g,train", "lists pictures that are not there: gone"),
        ("", "does not list: val/n03028079/d"),
        ("val/n03028079/d,d,dev", "other than train, val and test for: val/n03028079/d"),
        ("val/n03028079/d,t,val", "group 't' is in test and val"),
    ):
        extra = [*rows, line] if "gone" in line else [*rows[:3], line]
        manifest.write_text("\n".join(["id,group,split", *filter(None, extra)]))
        with pytest.raises(DataError, match=words):
            data.read_pictures(tmp_path, "train")


def test_all_broken_files_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, *(f"{n}.png" for n in range(6)), "cut.jpg", "cut.png", "cut.bmp")
    for name in ("cut.jpg", "cut.png", "cut.bmp"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).rename(tmp_path / f"cut-{name[4:]}{Path(name).suffix}")
        (tmp_path / f"cut-{name[4:]}{Path(name).suffix}").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "words.png").write_text("no picture")
    write_image(tmp_path / "flat.png", picture(1, 15, 40))
    with pytest.raises(DataError) as caught:
        data.list_pictures(tmp_path)
    text = str(caught.value)
    for name in ("cut-jpg.jpg", "cut-png.png", "cut-bmp.bmp", "empty.jpg", "words.png", "flat.png"):
        assert name in text, name
    assert "40 x 15 pixels" in text
    assert "0.png'" not in text
    assert "6 pictures can't be used" in text


def test_damage_inside_a_file_is_named_when_it_is_loaded(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "val/a/2.png")
    whole = bytearray((tmp_path / "train/a/1.png").read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    (tmp_path / "train/a/1.png").write_bytes(bytes(whole))
    pictures = data.read_pictures(tmp_path, "train")
    with pytest.raises(DataError, match=r"1\.png"):
        data.load_pictures(pictures)
    loaded = data.load_pictures(data.read_pictures(tmp_path, "val"), longest=22)
    assert max(loaded[0].shape) == 22
    with pytest.raises(DataError, match="a side needs 16 or more"):
        data.load_pictures(data.read_pictures(tmp_path, "val"), longest=16)


def test_the_same_content_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "train/a/2.png", "val/a/3.png")
    (tmp_path / "val" / "a" / "other.png").write_bytes((tmp_path / "train" / "a" / "1.png").read_bytes())
    with pytest.raises(DataError, match="the same content is in"):
        data.read_pictures(tmp_path, "train")


def test_folders_without_use_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        data.read_pictures(tmp_path / "none", "train")
    with pytest.raises(DataError, match="holds no pictures"):
        data.read_pictures(tmp_path, "train")
    with pytest.raises(ConfigError, match="Unknown split 'valid'"):
        data.read_pictures(tmp_path, "valid")
    write(tmp_path, "a.png", "b.png", "a.jpg")
    with pytest.raises(DataError, match="differ in their ending only"):
        data.read_pictures(tmp_path, "train")
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(DataError, match="2 groups can't fill 3 splits"):
        data.read_pictures(tmp_path, "train")


# ------------------------------------------------------------------------------------- drawn data, make-data


def test_drawn_pictures_depend_on_seed_split_and_number_only() -> None:
    first = data.draw_pictures(5, 32, 7)
    assert all(np.array_equal(a, b) for a, b in zip(first, data.draw_pictures(9, 32, 7), strict=False))
    for other in (data.draw_pictures(5, 32, 8), data.draw_pictures(5, 32, 7, split="val")):
        assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert all(np.ptp(p.mean(axis=(0, 1, 2))) == 0 for p in data.draw_pictures(2, 32, 7, ("gradient",)))


@pytest.mark.usefixtures("bare")
def test_training_pictures_mix_drawn_ones_and_photos(capsys: pytest.CaptureFixture[str]) -> None:
    plain = config.Data(drawn=6, size=32, validation=4)
    learned, watched, words = data.training_pictures(plain, 32)
    assert [p.shape for p in learned] == [(32, 32, 3)] * 6
    assert len(watched) == 4
    assert words == "6 drawn pictures of 8 classes"
    assert capsys.readouterr().err == ""
    learned, watched, words = data.training_pictures(plain.replace(photos=True, longest=512), 64)
    assert len(learned) > 6
    assert all(p.shape == (256, 256, 3) for p in learned[6:])
    assert words.startswith("6 drawn pictures of 8 classes and ")
    assert "fieldsight assets fetch palapeli-photos" in capsys.readouterr().err
    with pytest.raises(DataError, match="make no pair"):
        data.training_pictures(config.Data(drawn=1), 32)


def test_photo_crops_cover_the_photo() -> None:
    photo = np.arange(300 * 500, dtype=np.uint32).reshape(300, 500)
    coded = np.stack([photo & 255, photo >> 8 & 255, photo >> 16], axis=-1).astype(np.uint8)
    tiles = data._tiles(coded, 128)
    assert len(tiles) == 3 * 4
    seen = {tuple(v) for t in tiles for v in t[::, ::].reshape(-1, 3)}
    assert len(seen) == 300 * 500
    assert data._tiles(coded, 301) == []


def test_make_data_writes_what_read_pictures_reads(tmp_path: Path) -> None:
    options = MakeDataOptions(count=12, size=32, val=0.25, seed=3)
    written = data.make_data(tmp_path / "d", options)
    assert written.to_dict()["counts"] == {"train": 9, "val": 3}
    train, val = (data.read_pictures(tmp_path / "d", s) for s in ("train", "val"))
    assert len(train) == 9
    assert {p.kind for p in train} == set(textures.KINDS)
    assert [p.path.parent.parent.name for p in val] == ["val"] * 3
    drawn = data.draw_pictures(9, 32, 3)
    by_number = {int(p.path.stem): p.read() for p in train}
    assert all(np.array_equal(by_number[n], drawn[n]) for n in range(9))
    assert '"drawn": true' in (tmp_path / "d" / "drawn.json").read_text()
    (tmp_path / "d" / "manifest.csv").unlink()
    assert [p.id for p in data.read_pictures(tmp_path / "d", "train")] == [p.id for p in train]
    with pytest.raises(DataError, match="--out"):
        data.make_data(None, options)
    with pytest.raises(DataError, match="leave none to train on"):
        data.make_data(tmp_path / "e", MakeDataOptions(count=2, val=0.9))


# ------------------------------------------------------------------------------------------------- pairs


def flat(number: int, height: int = 40, width: int = 48) -> list[np.ndarray]:
    """Pictures that one value tells apart."""
    return [np.full((height, width, 3), n + 1, np.uint8) for n in range(number)]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.integers(1, 40), st.booleans(), st.booleans(), st.integers(0, 5))
def test_pairs_are_never_of_one_picture(number: int, count: int, augment: bool, shuffle: bool, seed: int) -> None:
    items = data.PairItems(flat(number), 16, augment, shuffle, count=count, seed=seed)
    assert len(items) == count
    for index in range(count):
        item = items.item(index, rng_for(seed, index))
        for part in item.values():
            assert part.shape == (3, 16, 16)
            assert part.dtype == np.float32
            assert part.min() == part.max()
        assert item["cover"].max() == np.float32(index % number + 1) / np.float32(255)
        assert item["cover"].max() != item["secret"].max()


def test_fixed_pairs_ignore_chance_and_use_each_picture_once_a_round() -> None:
    items = data.PairItems(flat(7), 16, augment=False, count=42)
    pairs = []
    for index in range(42):
        a, b = (items.item(index, rng_for(seed)) for seed in (1, 2))
        assert all(np.array_equal(a[k], b[k]) for k in a)
        pairs.append((float(a["cover"].max()), float(a["secret"].max())))
    assert len(set(pairs)) == 42  # all ordered pairs of seven before one comes again
    for start in range(0, 42, 7):
        assert len({secret for _, secret in pairs[start : start + 7]}) == 7


def test_random_crops_are_parts_of_the_picture_at_full_or_half_scale() -> None:
    base = picture(4, 64, 80)
    items = data.PairItems([base, picture(5, 64, 80)], 16)
    kinds = Counter()
    for n in range(60):
        cover = np.rint(items.item(0, rng_for(n))["cover"] * 255).astype(np.uint8).transpose(1, 2, 0)
        for mirrored, found in ((False, cover), (True, cover[:, ::-1])):
            windows = np.lib.stride_tricks.sliding_window_view(base[..., 0], (16, 16))
            if (windows == found[..., 0]).all(axis=(2, 3)).any():
                kinds["mirrored" if mirrored else "plain"] += 1
                break
        else:
            kinds["half"] += 1
            assert cover.std() < 0.75 * base.std()  # four independent values averaged: half the deviation
    assert min(kinds[k] for k in ("plain", "mirrored", "half")) >= 5


def test_without_augmentation_the_centre_is_cut_and_small_pictures_are_enlarged() -> None:
    base = picture(6, 40, 60)
    items = data.PairItems([base, picture(7, 10, 12)], 20, augment=False)
    item = items.item(0, rng_for(0))
    assert np.array_equal(np.rint(item["cover"] * 255), base[10:30, 20:40].transpose(2, 0, 1))
    assert item["secret"].shape == (3, 20, 20)
    whole = data.PairItems([base, base + 1], 20, augment=False, whole=True).item(0, rng_for(0))
    assert np.array_equal(np.rint(whole["cover"] * 255), photos.square(base, 20).transpose(2, 0, 1))


def test_pairs_go_through_the_loader_alike_for_any_number_of_readings() -> None:
    items = data.PairItems([picture(n, 40, 40) for n in range(6)], 16)
    first, again = ([b["secret"].numpy() for b in Loader(items, 2, 0).batches("pair", 3)] for _ in range(2))
    assert len(first) == 3
    assert first[0].shape == (2, 3, 16, 16)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    other = [b["secret"].numpy() for b in Loader(items, 2, 0).batches("pair", 4)]
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_pairs_that_can_not_be_are_refused() -> None:
    with pytest.raises(DataError, match="1 pictures make no pair"):
        data.PairItems(flat(1), 16)
    with pytest.raises(DataError, match=r"got \(8, 8\) of uint8"):
        data.PairItems([np.zeros((8, 8), np.uint8)] * 2, 4)
    with pytest.raises(DataError, match="both must be 1 or more"):
        data.PairItems(flat(2), 0)
    assert folders.SPLITS == ("train", "val", "test")
