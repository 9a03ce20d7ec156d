"""Folders of photos with masks: every layout, every way of writing a mask, and what is refused."""

from __future__ import annotations

import contextlib
import pickle
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps
from scipy.io import savemat

from fieldsight.data.images import write_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.systems.crack.folders import check, group_of, read_folder, read_mask, read_photo, write_folder
from fieldsight.systems.crack.formats import _turned, binarize, read_header
from fieldsight.systems.crack.labels import read_labels
from fieldsight.systems.crack.sample import Sample

SIZE = (24, 36)


def photo(n: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return rng_for(n, "photo").integers(60, 200, (*size, 3)).astype(np.uint8)


def truth(n: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[3 + n % 5 : 6 + n % 5, 2:-4] = True
    return mask


def white(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8) * np.uint8(255)


def splits(samples: list[Sample]) -> dict[str, int]:
    return dict(Counter(s.split for s in samples))


def same(samples: list[Sample], count: int) -> None:
    """Every sample's mask is the one that was drawn for its number."""
    assert len(samples) == count
    for sample in samples:
        number = int(sample.id.split("/")[-1].split("_")[-1].split("-")[-1])
        assert sample.image().shape == (*SIZE, 3)
        assert sample.image().dtype == np.uint8
        assert np.array_equal(sample.mask(), truth(number)), sample.id


def plain(root: Path, count: int = 6, photos: str = "images", masks: str = "masks", ending: str = "") -> Path:
    for n in range(count):
        write_image(root / photos / f"{n:03d}.png", photo(n))
        write_image(root / masks / f"{n:03d}{ending}.png", white(truth(n)))
    return root


# ---------------------------------------------------------------------------------------------------- layouts


def crack500(root: Path, lists: bool) -> Path:
    for split, days in (("train", (1, 2)), ("val", (3,)), ("test", (4,))):
        lines = []
        for day in days:
            for n in (1, 361, 721):
                name = f"2016022{day}_081011_1_{n}"
                Image.fromarray(photo(10 * day + n)).save(_made(root / f"{split}crop") / f"{name}.jpg")
                write_image(root / f"{split}crop" / f"{name}.png", white(truth(n)))
                lines.append(f"{split}crop/{name}.jpg {split}crop/{name}.png")
        if lists:
            (root / f"{split}crop.txt").write_text("\n".join(lines[:-1]) + "\n\n")
    return root


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(
    ("lists", "count"), [(False, {"train": 6, "val": 3, "test": 3}), (True, {"train": 5, "val": 2, "test": 2})]
)
def test_crack500_as_published(tmp_path: Path, lists: bool, count: dict[str, int]) -> None:
    samples = read_folder(crack500(tmp_path, lists))
    same(samples, sum(count.values()))
    assert splits(samples) == count
    assert {s.group for s in samples} == {f"2016022{d}_081011" for d in (1, 2, 3, 4)}


def test_crack500_in_an_archives_folder_that_repeats_its_names(tmp_path: Path) -> None:
    inner = crack500(tmp_path / "a", False) / "traincrop"
    (tmp_path / "CRACK500").mkdir()
    inner.rename(_made(tmp_path / "CRACK500" / "CRACK500" / "traincrop") / "traincrop")
    same(read_folder(tmp_path / "CRACK500"), 6)


def test_a_list_that_names_an_absent_file_is_refused(tmp_path: Path) -> None:
    root = crack500(tmp_path, True)
    (root / "valcrop.txt").write_text("valcrop/x.jpg valcrop/x.png\n")
    with pytest.raises(DataError, match=r"x\.jpg \(named by valcrop\.txt\)"):
        read_folder(root)
    (root / "valcrop.txt").write_text("only-one-word\n")
    with pytest.raises(DataError, match="line 1"):
        read_folder(root)


@pytest.mark.parametrize("names", [("images", "masks"), ("Image", "GT"), ("img", "annotation")])
def test_the_relayout_with_groups_by_photo(tmp_path: Path, names: tuple[str, str]) -> None:
    for split, day in (("train", 1), ("valid", 2), ("testing", 3)):
        for n in (1, 361):
            write_image(tmp_path / split / names[0] / f"2016022{day}_081011_1_{n}.png", photo(n + day))
            write_image(tmp_path / split / names[1] / f"2016022{day}_081011_1_{n}.png", white(truth(n)))
    samples = read_folder(tmp_path)
    same(samples, 6)
    assert splits(samples) == {"train": 2, "val": 2, "test": 2}
    assert len({s.group for s in samples}) == 3


def test_equal_names_in_two_splits_get_the_split_in_their_id(tmp_path: Path) -> None:
    for k, split in enumerate(("train", "val", "test")):
        write_image(tmp_path / split / "images" / "1.png", photo(k))
        write_image(tmp_path / split / "masks" / "1.png", white(truth(1)))
    # the name is the group too, so that equal names in two splits must be told apart by a manifest
    with pytest.raises(DataError, match="group '1' is in"):
        read_folder(tmp_path)
    (tmp_path / "manifest.csv").write_text("id,group,split\ntrain/1,a,train\nval/1,b,val\ntest/1,c,test\n")
    assert [s.id for s in read_folder(tmp_path)] == ["test/1", "train/1", "val/1"]


def test_mmseg_with_0_and_1_and_a_palette(tmp_path: Path) -> None:
    for k, split in enumerate(("train", "val", "test")):
        for n in (1, 2):
            Image.fromarray(photo(10 * k + n)).save(_made(tmp_path / "images" / split) / f"{split}-{n}.jpg")
            label = Image.fromarray(truth(n).astype(np.uint8))
            if n == 2:
                label = label.convert("P")
                label.putpalette([120, 120, 120, 6, 230, 230])
            label.save(_made(tmp_path / "annotations" / split) / f"{split}-{n}.png")
    samples = read_folder(tmp_path)
    same(samples, 6)
    assert splits(samples) == {"train": 2, "val": 2, "test": 2}


def cfd(root: Path, count: int = 118, labels: int = 2) -> Path:
    for n in range(1, count + 1):
        Image.fromarray(photo(n)).save(_made(root / "image") / f"{n:03d}.jpg")
        label = truth(n).astype(np.uint8) + 1
        if labels > 2 and n == 1:
            label[-1, -1] = labels
        record = {"Segmentation": label, "Boundaries": np.zeros(SIZE, np.uint8)}
        savemat(_made(root / "groundTruth") / f"{n:03d}.mat", {"groundTruth": record})
    return root


def test_cfd_is_split_100_to_18_and_a_tenth_of_the_100_is_held_out(tmp_path: Path) -> None:
    root = cfd(tmp_path)
    samples = read_folder(root, seed=1)
    same(samples[::10], 12)
    assert splits(samples) == {"train": 90, "val": 10, "test": 18}
    again, other = read_folder(root, seed=1), read_folder(root, seed=2)
    assert [s.split for s in samples] == [s.split for s in again]
    assert [s.split for s in samples] != [s.split for s in other]


def test_cfd_photos_beyond_the_truths_are_left_out_but_a_gap_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = cfd(tmp_path, 12, labels=3)
    for n in (13, 14):
        Image.fromarray(photo(n)).save(root / "image" / f"{n:03d}.jpg")
    same(read_folder(root), 12)
    said = capsys.readouterr().err
    assert "2 photos" in said
    assert "3 in 1 files" in said
    (root / "groundTruth" / "005.mat").unlink()
    with pytest.raises(DataError, match=r"005\.jpg"):
        read_folder(root)


def test_cfd_with_list_files(tmp_path: Path) -> None:
    root = cfd(tmp_path, 12)
    (root / "test.txt").write_text("003\nimage/007.jpg\n011.jpg\n")
    samples = read_folder(root)
    assert {s.id for s in samples if s.split == "test"} == {"003", "007", "011"}
    assert splits(samples) == {"train": 8, "val": 1, "test": 3}
    (root / "train.txt").write_text("001\n002\n004\n")
    assert splits(read_folder(root)) == {"train": 2, "val": 1, "test": 3}
    (root / "train.txt").write_text("001\n003\n")
    with pytest.raises(DataError, match="in one split only"):
        read_folder(root)
    (root / "train.txt").write_text("900\n")
    with pytest.raises(DataError, match=r"no photo '900'"):
        read_folder(root)


def seg_text(labels: np.ndarray, header: str = "format ascii cr\n") -> str:
    height, width = labels.shape
    lines = [f"{header}# drawn\nwidth {width}\nheight {height}\nsegments {labels.max() + 1}\ngray 0\ndata"]
    for r, row in enumerate(labels):
        edges = np.flatnonzero(np.diff(row)) + 1
        for first, last in zip([0, *edges], [*edges, width], strict=True):
            lines.append(f"{row[first]} {r} {first} {last - 1}")
    return "\n".join(lines) + "\n"


def test_cfd_with_seg_files_only(tmp_path: Path) -> None:
    for n in range(1, 9):
        Image.fromarray(photo(n)).save(_made(tmp_path / "image") / f"{n:03d}.jpg")
        (_made(tmp_path / "seg") / f"{n:03d}.seg").write_text(seg_text(truth(n).astype(int)))
    same(read_folder(tmp_path), 8)


def test_deepcrack(tmp_path: Path) -> None:
    for split, numbers in (("train", range(1, 6)), ("test", range(6, 8))):
        for n in numbers:
            Image.fromarray(photo(n)).save(_made(tmp_path / f"{split}_img") / f"{n}.jpg")
            write_image(tmp_path / f"{split}_lab" / f"{n}.png", white(truth(n)))
    samples = read_folder(tmp_path)
    same(samples, 7)
    assert splits(samples) == {"train": 4, "val": 1, "test": 2}
    assert {s.id for s in samples if s.split == "test"} == {"6", "7"}


@pytest.mark.parametrize(
    ("names", "ending"), [(("images", "masks"), ""), (("img", "gt"), "_gt"), (("Image", "Labels"), "_label")]
)
def test_plain_folders(tmp_path: Path, names: tuple[str, str], ending: str) -> None:
    samples = read_folder(plain(tmp_path, 20, *names, ending), seed=3)
    same(samples, 20)
    assert splits(samples) == {"train": 14, "val": 2, "test": 4}
    whole = read_folder(tmp_path, shares=(0, 0, 1))
    assert splits(whole) == {"test": 20}


def test_files_side_by_side(tmp_path: Path) -> None:
    for n in range(5):
        write_image(tmp_path / f"{n}.png", photo(n))
        write_image(tmp_path / f"{n}_mask.png", white(truth(n)))
    same(read_folder(tmp_path), 5)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = [
        Sample(
            f"s-{n}",
            f"g{n // 2}",
            ("train", "val", "test")[n // 2 % 3],
            "tile",
            lambda n=n: photo(n),
            lambda n=n: truth(n),
        )
        for n in range(12)
    ]
    assert write_folder(made, tmp_path / "out") == tmp_path / "out"
    back = read_folder(tmp_path / "out")
    same(back, 12)
    by_id = {s.id: s for s in made}
    for sample in back:
        assert (sample.group, sample.split, sample.domain) == (by_id[sample.id].group, by_id[sample.id].split, "tile")
        assert np.array_equal(sample.image(), by_id[sample.id].image())
    assert pickle.loads(pickle.dumps(back[0])).mask().shape == SIZE  # noqa: S301  # loader processes get samples so
    with pytest.raises(DataError, match=r"S-0\.png|s-0\.png"):
        write_folder([made[0], Sample("S-0", "g", "train", "", made[0].image, made[0].mask)], tmp_path / "twice")
    with pytest.raises(DataError, match="Unknown split"):
        write_folder([Sample("a", "g", "trian", "", made[0].image, made[0].mask)], tmp_path / "typo")


# ------------------------------------------------------------------------------------------- manifest, leaks


def test_a_manifest_decides_groups_splits_and_what_is_left_out(tmp_path: Path) -> None:
    root = plain(tmp_path, 6)
    lines = [
        "id,group,split,domain",
        "000,a,train,tile",
        "001,a,train,",
        "002,b,Validation,",
        "003,c,test,",
        "004,d,test,",
    ]
    (root / "manifest.csv").write_text("\n".join([*lines, "005,e,ignore,"]))
    samples = read_folder(root)
    assert [(s.id, s.group, s.split) for s in samples] == [
        ("000", "a", "train"), ("001", "a", "train"), ("002", "b", "val"), ("003", "c", "test"), ("004", "d", "test")
    ]  # fmt: skip
    assert samples[0].domain == "tile"
    for wrong, message in (
        (lines, "005 is not listed"),
        ([*lines, "005,e,train,", "9,z,train,"], "9 has no files"),
        ([*lines, "005,b,test,"], "group 'b' is in test and val"),
        ([*lines, "005,e,tset,"], "Did you mean 'test'"),
    ):
        (root / "manifest.csv").write_text("\n".join(wrong))
        with pytest.raises(DataError, match=message):
            read_folder(root)


def test_the_same_photo_in_two_splits_is_refused(tmp_path: Path) -> None:
    for split, n in (("train", 1), ("train", 2), ("test", 3)):
        write_image(tmp_path / split / "images" / f"{n}.png", photo(min(n, 2)))
        write_image(tmp_path / split / "masks" / f"{n}.png", white(truth(n)))
    with pytest.raises(DataError, match="the same content is in"):
        read_folder(tmp_path, seed=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(4, 12))
def test_groups_never_straddle_and_no_test_group_is_held_out(seed: int, groups: int) -> None:
    from fieldsight.data.splits import Row
    from fieldsight.systems.crack.folders import _hold_out

    rows = [Row(f"{g}-{n}", f"{g}", "test" if g % 3 == 0 else "train", {}) for g in range(groups) for n in range(3)]
    held = _hold_out(rows, seed)
    assert [h.split for h, r in zip(held, rows, strict=True) if r.split == "test"] == ["test"] * len(
        [r for r in rows if r.split == "test"]
    )
    by_group = {h.group: {x.split for x in held if x.group == h.group} for h in held}
    assert all(len(s) == 1 for s in by_group.values())
    assert sum(s == {"val"} for s in by_group.values()) == 1


def test_group_of() -> None:
    assert group_of("20160222_081011_1_361") == "20160222_081011"
    assert group_of("001") == "001"
    assert group_of("20160222_081011") == "20160222_081011"


# --------------------------------------------------------------------------------------------------- bad data


def test_lonely_files_are_named_ten_at_most(tmp_path: Path) -> None:
    root = plain(tmp_path, 14)
    for n in range(12):
        (root / "masks" / f"{n:03d}.png").unlink()
    with pytest.raises(DataError) as caught:
        read_folder(root)
    assert "12 files have no partner" in str(caught.value)
    assert "009.png" in str(caught.value)
    assert "010.png" not in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_sizes_are_named_with_both_files(tmp_path: Path) -> None:
    root = plain(tmp_path)
    write_image(root / "masks" / "003.png", white(truth(0, (24, 30))))
    with pytest.raises(DataError, match=r"masks/003\.png' is 30 x 24, but '.*images/003\.png' is 36 x 24"):
        read_folder(root)


def test_a_truncated_file_passes_the_headers_and_is_named_by_check(tmp_path: Path) -> None:
    root = plain(tmp_path)
    broken = root / "images" / "002.png"
    broken.write_bytes(broken.read_bytes()[:200])
    samples = read_folder(root)
    with pytest.raises(DataError, match=r"images/002\.png' is truncated"):
        check(samples)
    for count in (0, 5, 20, 40):
        broken.write_bytes(broken.read_bytes()[:count])
        with pytest.raises(DataError, match=r"002\.png"):
            check(read_folder(root))


def test_check_gives_the_share_of_crack_and_refuses_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = [Sample("a", "a", "train", "", lambda: photo(0), lambda: truth(0))]
    assert check(samples) == {"train": truth(0).mean()}
    empty = Sample("a", "a", "train", "", lambda: photo(0), lambda: np.zeros(SIZE, bool))
    with pytest.raises(DataError, match="no crack in the whole training split"):
        check([empty, Sample("b", "b", "test", "", lambda: photo(1), lambda: truth(1))])
    check([Sample("a", "a", "train", "", lambda: photo(0), lambda: ~truth(0))])
    assert "inverted" in capsys.readouterr().err
    with pytest.raises(DataError, match="'a'"):
        check([Sample("a", "a", "train", "", lambda: photo(0), lambda: truth(0, (24, 30)))])


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        read_folder(tmp_path / "absent")
    _made(tmp_path / "stuff" / "a")
    _made(tmp_path / "stuff" / "b")
    with pytest.raises(DataError, match="Found: a/, b/"):
        read_folder(tmp_path / "stuff")
    plain(tmp_path / "two")
    _made(tmp_path / "two" / "gt")
    with pytest.raises(DataError, match="which one counts"):
        read_folder(tmp_path / "two")
    write_image(plain(tmp_path / "stems") / "images" / "001.bmp", photo(1))
    with pytest.raises(DataError, match="which one counts"):
        read_folder(tmp_path / "stems")
    write_image(plain(tmp_path / "small") / "images" / "001.png", photo(1, (8, 12)))
    with pytest.raises(DataError, match="16 a side"):
        read_folder(tmp_path / "small")
    with pytest.raises(DataError, match="shares"):
        read_folder(plain(tmp_path / "fine"), shares=(1, 2))


def test_a_thousand_photos_open_in_seconds(tmp_path: Path) -> None:
    big = write_image(tmp_path / "photo.jpg", photo(0, (360, 640))).read_bytes()
    mask = write_image(tmp_path / "mask.png", white(truth(0, (360, 640)))).read_bytes()
    for n in range(1000):
        (_made(tmp_path / "d" / "images") / f"{n}.jpg").write_bytes(big + bytes([n % 256, n // 256]))
        (_made(tmp_path / "d" / "masks") / f"{n}.png").write_bytes(mask)
    start = time.perf_counter()
    assert len(read_folder(tmp_path / "d")) == 1000
    assert time.perf_counter() - start < 5.0


# ----------------------------------------------------------------------------------------------------- masks


def test_masks_in_every_form(tmp_path: Path) -> None:
    mask = truth(1)
    forms: dict[str, Any] = {
        "255": white(mask), "1": mask.astype(np.uint8), "bool": mask, "int64": mask.astype(np.int64) * 255,
        "16 bit": mask.astype(np.uint16) * 65535, "16 bit holding 8": mask.astype(np.uint16) * 255,
        "16 bit holding 1": mask.astype(np.uint16), "float": mask.astype(np.float32),
        "float 255": mask.astype(np.float32) * 255, "rgb": np.dstack([white(mask)] * 3),
        "rgba": np.dstack([white(mask)] * 3 + [np.full(SIZE, 255, np.uint8)]),
        "anti-aliased": np.where(mask, 200, 20).astype(np.uint8),
    }  # fmt: skip
    for name, form in forms.items():
        assert np.array_equal(read_mask(form), mask), name
    for ending in ("png", "tif", "bmp", "npy"):
        assert np.array_equal(read_mask(write_image(tmp_path / f"m.{ending}", white(mask))), mask), ending
    assert np.array_equal(read_mask(write_image(tmp_path / "deep.png", forms["16 bit"])), mask)
    Image.fromarray(mask).save(tmp_path / "one-bit.png")
    assert np.array_equal(read_mask(tmp_path / "one-bit.png"), mask)
    Image.fromarray(white(mask)).convert("P").save(tmp_path / "grey-palette.png")
    assert np.array_equal(read_mask(tmp_path / "grey-palette.png"), mask)
    thick = np.kron(mask, np.ones((6, 6), bool))
    Image.fromarray(white(thick)).save(tmp_path / "lossy.jpg", quality=60)
    assert np.unique(np.asarray(Image.open(tmp_path / "lossy.jpg"))).size > 2  # the compression did change values
    assert np.array_equal(read_mask(tmp_path / "lossy.jpg"), thick)
    assert not read_mask(np.zeros(SIZE, np.uint8)).any()


def test_the_index_counts_in_a_label_map_not_the_colour(tmp_path: Path) -> None:
    label = Image.fromarray(truth(1).astype(np.uint8)).convert("P")
    label.putpalette([255, 255, 255, 200, 0, 0])  # white background
    label.save(tmp_path / "white.png")
    assert np.array_equal(read_mask(tmp_path / "white.png"), truth(1))
    empty = Image.new("P", (SIZE[1], SIZE[0]), 0)
    empty.putpalette([120, 120, 120, 6, 230, 230])
    empty.save(tmp_path / "empty.png")
    assert not read_mask(tmp_path / "empty.png").any()


def test_ambiguous_masks_are_refused_with_what_was_found(tmp_path: Path) -> None:
    mask = truth(1)
    three = np.zeros(SIZE, np.uint8)
    three[2:4], three[6:8] = 1, 255
    red = np.zeros((*SIZE, 3), np.uint8)
    red[mask] = (255, 0, 0)
    alpha = np.dstack([np.zeros((*SIZE, 3), np.uint8), white(mask)])
    cases: list[tuple[Any, str]] = [
        (mask.astype(np.uint8) * 100, "values 0, 100, the largest is 100"),
        (mask.astype(np.uint8) * 127, "largest is 127"),
        (mask.astype(np.uint16) * 4095, "16 bit"),
        (three, "values 0, 1, 255.*ignored"),
        (red, "largest is 76"),
        (alpha, "alpha channel"),
        (photo(3), "looks like a photo"),
        (np.where(mask, np.nan, 0.0), "float values"),
        (mask.astype(np.float32) * 1000, "0 to 1000"),
        (np.zeros((3, 4, 5)), "shape"),
    ]
    for form, message in cases:
        with pytest.raises(DataError, match=message):
            read_mask(form)
    classes = Image.fromarray(three // 100 + (three == 1)).convert("P")
    classes.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    classes.save(tmp_path / "classes.png")
    with pytest.raises(DataError, match=r"classes\.png.*label map with a palette"):
        read_mask(tmp_path / "classes.png")
    Image.fromarray(np.full(SIZE, 1, np.uint8)).save(tmp_path / "one.jpg", quality=100)
    with pytest.raises(DataError, match="saved with loss"):
        read_mask(tmp_path / "one.jpg")
    with pytest.raises(DataError, match="absent"):
        read_mask(tmp_path / "absent.png")


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, (5, 7), elements=st.sampled_from([0, 1, 2, 60, 126, 127, 128, 200, 255])))
def test_the_mask_rule(values: np.ndarray) -> None:
    try:
        found = binarize(values)
    except DataError:
        assert values.max() > 1
        return
    expected = values > 0 if values.max() <= 1 else values > 127
    assert np.array_equal(found, expected)
    assert values.max() <= 1 or values.max() > 127


def test_masks_of_another_size() -> None:
    mask = truth(1)
    twice = np.kron(mask, np.ones((2, 2), bool))
    assert np.array_equal(read_mask(white(twice), SIZE), mask)
    assert np.array_equal(read_mask(white(mask), (48, 72)), twice)
    centres = np.zeros((72, 108), bool)
    centres[1::3, 1::3] = True
    assert read_mask(white(centres), SIZE).all()  # the nearest of three is the middle one
    assert read_mask(white(mask), (100, 150)).shape == (100, 150)
    assert read_mask(white(truth(0, (100, 100))), (1000, 1009)).shape == (1000, 1009)
    with pytest.raises(DataError, match=r"36 x 24.*40 x 24"):
        read_mask(white(mask), (24, 40))
    with pytest.raises(DataError, match="100 x 100"):
        read_mask(white(truth(0, (100, 100))), (1000, 1011))


# --------------------------------------------------------------------------------------------- EXIF and depth


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_a_rotated_photo_and_a_mask_drawn_before_or_after_the_rotation(
    tmp_path: Path, orientation: int, ending: str
) -> None:
    mask = truth(1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = _made(tmp_path / "images") / f"a.{ending}"
    Image.fromarray(np.dstack([white(mask)] * 3)).save(file, exif=exif, **({"quality": 95} if ending == "jpg" else {}))
    upright = read_photo(file)[..., 0] > 127
    assert read_header(file).size == upright.shape == (36, 24)
    raw, turned = tmp_path / "raw.png", tmp_path / "turned.png"
    write_image(raw, white(mask))
    write_image(turned, white(upright))
    for name in (raw, turned):
        assert np.array_equal(read_mask(name, photo=file), upright), name
    write_image(tmp_path / "masks" / "a.png", white(mask))
    sample = read_folder(tmp_path, shares=(0, 0, 1))[0]
    assert np.array_equal(sample.mask(), sample.image()[..., 0] > 127)
    small = np.kron(mask, np.ones((3, 3), bool))
    assert np.array_equal(read_mask(small, photo=file), upright)


def test_a_nearly_square_mask_is_turned_before_it_is_stretched(tmp_path: Path) -> None:
    mask = truth(1, (300, 301))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.dstack([white(mask)] * 3)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_mask(white(mask), photo=tmp_path / "a.png"), np.rot90(mask, -1))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_turning_is_exifs(orientation: int) -> None:
    picture = photo(1)[..., 0]
    image = Image.fromarray(picture)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(_turned(picture, orientation), np.asarray(ImageOps.exif_transpose(image)))


def test_photos_in_every_form(tmp_path: Path) -> None:
    grey = photo(1)[..., 0]
    assert np.array_equal(read_photo(grey), np.dstack([grey] * 3))
    for top in (255, 4095, 16383, 65535):
        ramp = np.linspace(0, top, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint16)
        found = read_photo(ramp)
        assert found.dtype == np.uint8
        assert found.shape == (*SIZE, 3)
        assert found.max() == 255
        assert abs(found[..., 0].astype(float) - ramp * (255.0 / top)).max() <= 0.5001
        assert np.array_equal(read_photo(write_image(tmp_path / f"{top}.png", ramp)), found)
    colour = photo(1).astype(np.uint16) * 16
    assert abs(read_photo(write_image(tmp_path / "c.tif", colour)).astype(int) - photo(1)).max() <= 1
    assert abs(read_photo(photo(1) / np.float32(255)).astype(int) - photo(1)).max() == 0
    clear = np.dstack([photo(1), np.zeros(SIZE, np.uint8)])
    assert (read_photo(clear) == 255).all()
    with pytest.raises(DataError, match="float values"):
        read_photo(np.full((20, 20, 3), -1.0))


# --------------------------------------------------------------------------------------- MATLAB and Berkeley


@settings(max_examples=40, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(0, 2)))
def test_seg_files_come_back(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> None:
    file = tmp_path_factory.mktemp("seg") / "a.seg"
    file.write_text(seg_text(labels).replace("\n", "\r\n"), newline="")
    found, crack = read_labels(file)
    assert crack == 1
    assert np.array_equal(found, labels)
    assert read_header(file).size == labels.shape


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_label_files_give_data_errors_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    kind = data.draw(st.sampled_from(["seg", "mat"]))
    file = folder / f"a.{kind}"
    if kind == "seg":
        content = seg_text(truth(1).astype(int)).encode()
    else:
        savemat(file, {"groundTruth": {"Segmentation": truth(1).astype(np.uint8) + 1}})
        content = file.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    junk = data.draw(st.binary(max_size=12))
    end = data.draw(st.sampled_from([0, cut + len(junk)]))
    file.write_bytes(content[:cut] + junk + (content[end:] if end else b""))
    for read in (read_header, read_mask):
        with contextlib.suppress(DataError):
            read(file)


def test_label_files_of_other_builds(tmp_path: Path) -> None:
    good = seg_text(truth(1).astype(int))
    for text, message in (
        (good.replace("ascii cr", "binary map"), "of a kind"),
        (good.replace("width 36", ""), "must be in its header"),
        (good.replace("width 36", "width 36000000\n").replace("height 24", "height 36000000"), "must be in its header"),
        ("\n".join(good.splitlines()[:-1]), "each of its 36 x 24 pixels once"),
        (good.replace("data", "flipflop 1\ndata"), "unflipped"),
        (good + "1 2 x 3\n", "four whole numbers"),
        (good.replace("0 0 0 35", "0 0 0 17\n0 0 0 17"), "twice"),
    ):
        (tmp_path / "a.seg").write_text(text)
        with pytest.raises(DataError, match=message):
            read_mask(tmp_path / "a.seg")
    label = truth(1).astype(np.uint8)
    for content, message in (
        ({"other": label}, "no struct 'groundTruth'"),
        ({"groundTruth": label}, "no struct 'groundTruth'"),
        ({"groundTruth": {"Boundaries": label}}, "no struct 'groundTruth'"),
        ({"groundTruth": {"Segmentation": label}}, "label 0"),
        ({"groundTruth": {"Segmentation": np.full(SIZE, np.nan)}}, r"labels \(H, W\)"),
        ({"groundTruth": {"Segmentation": np.array("text")}}, r"labels \(H, W\)"),
    ):
        savemat(tmp_path / "a.mat", content)
        with pytest.raises(DataError, match=message):
            read_mask(tmp_path / "a.mat")
    cell = np.empty((1, 1), object)
    cell[0, 0] = {"Segmentation": label + 1}
    savemat(tmp_path / "cell.mat", {"groundTruth": cell})
    assert np.array_equal(read_mask(tmp_path / "cell.mat"), truth(1))
