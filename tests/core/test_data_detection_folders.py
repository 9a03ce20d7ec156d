"""Layouts of folders, splits by group, and every fault of photos and labels: mended and counted, or refused by name."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fieldsight import progress
from fieldsight.data.detection import checks
from fieldsight.data.detection.checks import Findings, check_photos
from fieldsight.data.detection.folders import DetectionSet, group_by_name, read_detection, split_of
from fieldsight.data.images import write_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError

SIZE = (30, 40)


def photo(path: Path, size: tuple[int, int] = SIZE) -> Path:
    return write_image(path, rng_for(str(path)).integers(0, 256, (*size, 3), np.uint8))


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def read(path: Path, **options: Any) -> tuple[DetectionSet, str]:
    said: list[str] = []
    with progress.watching(None, said.append):
        found = read_detection(path, **options)
    return found, "\n".join(said)


def splits(found: DetectionSet) -> dict[str, int]:
    return dict(Counter(s.split for s in found.samples))


LINE = "0 0.5 0.5 0.25 0.5\n"
BOX = [15, 7.5, 25, 22.5]
YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [robot, person]\n"


def yolo_folder(root: Path, train: int = 3, val: int = 2, yaml: str = YAML) -> Path:
    for split, count in (("train", train), ("val", val)):
        for k in range(count):
            photo(root / "images" / split / f"{split}{k}.png")
            text(root / "labels" / split / f"{split}{k}.txt", LINE)
    text(root / "data.yaml", yaml)
    return root


def same_box(found: DetectionSet, count: int) -> None:
    assert len(found.samples) == count
    for sample in found.samples:
        np.testing.assert_allclose(sample.truth().boxes, [BOX], atol=1e-4)
        assert sample.image().shape == (*SIZE, 3)
        assert sample.size == SIZE


# --------------------------------------------------------------------------------------------------- layouts


def test_a_yolo_folder_its_yaml_and_a_copy_in_a_folder_are_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    root = yolo_folder(tmp_path / "outer" / "set")
    for path in (root, root / "data.yaml", tmp_path / "outer"):
        found, said = read(path)
        same_box(found, 5)
        assert splits(found) == {"train": 3, "val": 2}
        assert found.names == ("robot", "person")
        assert "(yolo): 5 photos (train 3, val 2, test 0), 5 boxes of 2 classes" in said
    assert len(found.split("val")) == 2
    sent = pickle.loads(pickle.dumps(found.samples[0]))  # noqa: S301  # loader processes get samples so
    assert len(sent.truth()) == 1
    monkeypatch.chdir(root)
    same_box(read(Path("data.yaml"))[0], 5)


@pytest.mark.parametrize(
    "yaml",
    [
        "train: images/train\nval: images/val\nnames: {0: robot, 1: person}\n",
        "path: /not/here\ntrain: [images/train]\nval:\n  - images/val\nnames:\n  0: robot\n  1: person\n",
        "train: ../images/train\nval: ../images/val\nnc: 2\nnames: ['robot', 'person']\n",
        "train: lists/a.txt\nval: [lists/b.txt]\nnames: [robot, person]",
        "path: images/..\ntrain: images/train\nval: images/val\ntest:\nnames: [robot, person]",
    ],
)
def test_every_way_to_name_photos(tmp_path: Path, yaml: str) -> None:
    root = yolo_folder(tmp_path / "set", yaml=yaml)
    text(root / "lists" / "a.txt", "".join(f"images/train/train{k}.png\n" for k in range(3)))
    text(root / "lists" / "b.txt", f"../images/val/val0.png\n\n{root}/images/val/val1.png\n")
    found, said = read(root)
    same_box(found, 5)
    assert splits(found) == {"train": 3, "val": 2}
    assert ("no folder here" in said) == ("/not/here" in yaml)


def test_photos_outside_of_the_folder_may_be_named(tmp_path: Path) -> None:
    yolo_folder(tmp_path / "set")
    here = text(tmp_path / "mine.yaml", f"train: {tmp_path}/set/images/train\nval: set/images/val\nnames: [a]\n")
    there = text(tmp_path / "x" / "y" / "mine.yml", "path: ../../set\ntrain: images/train\nnames: [a]\nval: images/val")
    for path in (here, there):
        same_box(read(path)[0], 5)


@pytest.mark.parametrize(
    ("yaml", "piece"),
    [
        ("train: images/train\n", "no names of classes"),
        ("names: [a]\n", "names no photos"),
        ("train: images/tran\nnames: [a]", "there is no folder and no .txt list '.*images/tran'"),
        ("train: data.yaml\nnames: [a]", "no folder and no .txt list"),
        ("train: images/train\nnames: [a, b]\nnc: 3", "says nc: 3, but has 2 names"),
        ("train: images/train\nnames: {0: a, 2: b}", "names have the numbers 0, 2; wanted are 0 to 1"),
        ("train: images/train\nnames: [a, a]", "the class 'a' twice"),
        ("train: {a: b}\nnames: [a]", "neither a folder nor a .txt list"),
        ("path: [a]\ntrain: images/train\nnames: [a]", "path must be one folder"),
        ("train: list.txt\nnames: [a]", "'.*list.txt', line 2: there is no photo 'b.png'"),
        (
            "train: images/train\nval: images/train\nnames: [a]",
            "lists the photo '.*train0.png' twice .in train and val",
        ),
    ],
)
def test_a_yaml_that_names_what_is_not_there(tmp_path: Path, yaml: str, piece: str) -> None:
    root = yolo_folder(tmp_path, yaml=yaml)
    text(root / "list.txt", "images/train/train0.png\nb.png\n")
    with pytest.raises(DataError, match=piece):
        read(root)


def test_yolo_without_a_yaml_with_classes_or_names(tmp_path: Path) -> None:
    for k in range(4):
        photo(tmp_path / "images" / f"p{k}.png")
        text(tmp_path / "labels" / f"p{k}.txt", LINE)
    with pytest.raises(DataError, match=r"classes\.txt, a name a line"):
        read(tmp_path)
    found, _ = read(tmp_path, names=["robot"])
    same_box(found, 4)
    text(tmp_path / "labels" / "classes.txt", "robot\nperson\n\n")
    found, said = read(tmp_path)
    assert found.names == ("robot", "person")
    assert not found.findings.faults
    assert splits(found) == {"train": 2, "val": 1, "test": 1}
    assert "nothing tells which photos belong together" in said


def test_split_folders_of_labelling_services(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for k in range(2):
            photo(tmp_path / split / "images" / f"{split}{k}.png")
            text(tmp_path / split / "labels" / f"{split}{k}.txt", LINE)
    assert splits(read(tmp_path, names=["robot"])[0]) == {"train": 2, "val": 2, "test": 2}
    text(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [robot]")
    found, said = read(tmp_path)
    same_box(found, 6)
    assert splits(found) == {"train": 2, "val": 2, "test": 2}
    assert "beside the file is taken" in said


def coco_text(names: list[str], size: tuple[int, int] = SIZE, box: Any = (15, 7.5, 10, 15)) -> str:
    images = [{"id": k, "file_name": n, "height": size[0], "width": size[1]} for k, n in enumerate(names)]
    marks = [{"id": k, "image_id": k, "category_id": 5, "bbox": list(box)} for k in range(len(names))]
    return json.dumps({"images": images, "annotations": marks, "categories": [{"id": 5, "name": "robot"}]})


@pytest.mark.parametrize("form", ["coco2017", "services", "arcade", "one"])
def test_layouts_of_coco(tmp_path: Path, form: str) -> None:
    wanted = {"train": 2, "val": 2}
    for split in wanted:
        names = [f"{split}{k}.png" for k in range(2)]
        folder = {
            "coco2017": tmp_path / f"{split}2017",
            "services": tmp_path / split,
            "arcade": tmp_path / split / "images",
            "one": tmp_path / "images",
        }[form]
        for name in names:
            photo(folder / name)
        if form == "coco2017":
            text(tmp_path / "annotations" / f"instances_{split}2017.json", coco_text(names))
            text(tmp_path / "annotations" / f"captions_{split}2017.json", "{}")
        elif form == "services":
            text(folder / "_annotations.coco.json", coco_text(names))
        elif form == "arcade":
            text(tmp_path / split / "annotations" / f"{split}.json", coco_text(names))
    if form == "one":
        text(tmp_path / "annotations.json", coco_text([f"{s}{k}.png" for s in wanted for k in range(2)]))
        wanted = {"train": 2, "val": 1, "test": 1}
    found, said = read(tmp_path)
    assert found.layout == "coco", said
    same_box(found, 4)
    assert splits(found) == wanted
    assert found.keys == (5,)


XML = (
    "<annotation><size><width>{1}</width><height>{0}</height></size><object><name>robot</name><bndbox><xmin>16</xmin>"
    "<ymin>8.5</ymin><xmax>25</xmax><ymax>22.5</ymax></bndbox></object></annotation>"
)


@pytest.mark.parametrize("form", ["devkit", "trainval", "beside", "plain"])
def test_layouts_of_voc(tmp_path: Path, form: str) -> None:
    for k in range(4):
        split = ("train", "test")[k % 2]
        folder = {"beside": tmp_path / split, "plain": tmp_path / "images"}.get(form, tmp_path / "VOC" / "JPEGImages")
        labels = {"beside": folder, "plain": tmp_path / "annotations"}.get(form, tmp_path / "VOC" / "Annotations")
        photo(folder / f"p{k}.png")
        text(labels / f"p{k}.xml", XML.format(*SIZE))
    sets = tmp_path / "VOC" / "ImageSets" / "Main"
    if form in ("devkit", "trainval"):
        text(sets / ("train.txt" if form == "devkit" else "trainval.txt"), "p0\np2\n")
        text(sets / "test.txt", "p1\np3\n")
    found, _ = read(tmp_path)
    assert found.layout == "voc"
    assert found.names == ("robot",)
    same_box(found, 4)
    if form != "plain":
        assert splits(found) == {"train": 1, "val": 1, "test": 2}  # one train group is held out
    assert {s.id for s in found.split("test")} <= {"p1", "p3"} or form == "plain"
    with pytest.raises(DataError, match="Unknown class 'robot'"):
        read(tmp_path, names=["person"])


def test_the_layout_of_visdrone(tmp_path: Path) -> None:
    for k, split in enumerate(("train", "train", "val", "test-dev", "test-challenge")):
        folder = tmp_path / f"VisDrone2019-DET-{split}"
        photo(folder / "images" / f"000000{k}_00001_d_0000001.png")
        if split != "test-challenge":
            text(folder / "annotations" / f"000000{k}_00001_d_0000001.txt", "15,7.5,10,15,1,4,0,0\n0,0,5,5,0,0,0,0,\n")
    found, said = read(tmp_path)
    assert splits(found) == {"train": 2, "val": 1, "test": 1}
    truth = found.samples[0].truth()
    np.testing.assert_allclose(truth.boxes[~truth.ignore], [BOX])
    assert truth.labels[~truth.ignore].tolist() == [3]
    assert truth.ignore.sum() == 10
    assert found.samples[0].group == "0000000"
    assert "4 boxes and 40 ignored ones of 10 classes" in said
    one, _ = read(tmp_path / "VisDrone2019-DET-val")
    assert splits(one) == {"val": 1}


def test_what_is_no_data_set_says_what_is_allowed(tmp_path: Path) -> None:
    for path, piece in (
        (tmp_path / "no", "no folder or file"),
        (photo(tmp_path / "x" / "a.png"), "neither a data.yaml nor"),
        (tmp_path / "x", "known layout. Allowed: a data.yaml.*Found: a.png"),
    ):
        with pytest.raises(DataError, match=piece):
            read(path)
    yolo_folder(tmp_path / "two")
    (tmp_path / "two" / "data.yaml").rename(tmp_path / "two" / "a.yaml")
    text(tmp_path / "two" / "b.yaml", YAML)
    with pytest.raises(DataError, match=r"a\.yaml and b\.yaml: which one counts"):
        read(tmp_path / "two")
    with pytest.raises(ConfigError, match="three numbers"):
        read(tmp_path / "two" / "a.yaml", shares=(1, 2))
    with pytest.raises(DataError, match="'robot ' is no name"):
        read(tmp_path / "two", names=["robot "])


# ---------------------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("flight3_000017", "flight3"),
        ("flight_03_000017", "flight_03"),
        ("town walk frame 0012", "town walk"),
        ("0000001_02999_d_0000005", "0000001"),
        ("p12_v3_00017", "p12"),
        ("arena-07-frame_0001", "arena-07"),
        ("clip7_12_jpg.rf.0a1b2c", "clip7"),
        ("photo of bob_jpeg.rf.0a1b2c", "photo of bob"),
        ("IMG_2042", ""),
        ("DJI_0001", ""),
        ("frame_000001", ""),
        ("000000000139", ""),
        ("robot7", ""),
        ("town_1", ""),
    ],
)
def test_names_tell_what_a_photo_was_taken_from(name: str, group: str) -> None:
    assert group_by_name(name) == group


def test_folders_named_after_splits() -> None:
    names = ["train", "Val2017", "validation", "test-dev", "VisDrone2019-DET-test-dev", "testing_2"]
    assert [split_of(n) for n in names] == ["train", "val", "val", "test", "test", "test"]
    for name in ("test_flight_1", "flight_test", "contest", "training day", "VisDrone2019-DET-test-challenge", ""):
        assert split_of(name) == ""


def plain(root: Path, names: list[str]) -> Path:
    for name in names:
        photo(root / "images" / f"{name}.png")
        text(root / "labels" / f"{name}.txt", LINE)
    text(root / "classes.txt", "robot\n")
    return root


def test_frames_of_a_flight_stay_in_one_split(tmp_path: Path) -> None:
    root = plain(tmp_path, [f"flight{g}_{k:04d}" for g in range(10) for k in range(3)])
    found, said = read(root, seed=1)
    by_group: dict[str, set[str]] = {}
    for sample in found.samples:
        by_group.setdefault(sample.group, set()).add(sample.split)
    assert set(by_group) == {f"flight{g}" for g in range(10)}
    assert all(len(of) == 1 for of in by_group.values())
    assert splits(found) == {"train": 21, "val": 6, "test": 3}
    assert "10 groups (by file name)" in said
    again, _ = read(root, seed=1)
    assert [(s.id, s.split) for s in again.samples] == [(s.id, s.split) for s in found.samples]
    other, _ = read(root, seed=2)
    assert [s.split for s in other.samples] != [s.split for s in found.samples]
    loose, said = read(root, seed=1, split_by_group=False)
    assert any(len({s.split for s in loose.samples if s.id.startswith(f"flight{g}_")}) > 1 for g in range(10))
    assert "frames of one video may be in several splits" in said
    assert splits(read(root, shares=(50, 0, 50))[0]) == {"train": 15, "test": 15}


def test_folders_below_images_are_groups(tmp_path: Path) -> None:
    root = plain(tmp_path, [f"{g}/{k:04d}" for g in ("east", "test_flight_1", "west") for k in range(4)])
    found, said = read(root)
    assert {s.group for s in found.samples} == {"east", "test_flight_1", "west"}
    assert splits(found) == {"train": 4, "val": 4, "test": 4}
    assert "by folder" in said
    assert found.samples[0].id == "images/east/0000"
    assert all(len(s.truth()) == 1 for s in found.samples)


def test_too_few_flights_are_refused_with_the_ways_out(tmp_path: Path) -> None:
    root = plain(tmp_path, [f"{g}_{k:04d}" for g in ("east", "west") for k in range(5)])
    with pytest.raises(DataError, match=r"2 groups can't fill 3 splits.*manifest\.csv.*split_by_group"):
        read(root)
    assert splits(read(root, shares=(70, 30, 0))[0]) == {"train": 5, "val": 5}
    assert splits(read(root, split_by_group=False)[0]) == {"train": 7, "val": 2, "test": 1}


def test_a_manifest_decides_groups_splits_and_what_is_left_out(tmp_path: Path) -> None:
    root = plain(tmp_path, ["a", "b", "c", "d"])
    rows = "id,group,split,domain\na,g1,train,day\nb,g1,train,night\nc,,TEST,day\nd,g3,ignore,\n"
    text(root / "manifest.csv", rows)
    found, _ = read(root)
    assert [(s.id, s.group, s.split, s.facts) for s in found.samples] == [
        ("a", "g1", "train", {"domain": "day"}),
        ("b", "g1", "train", {"domain": "night"}),
        ("c", "c", "test", {"domain": "day"}),
    ]
    for wrong, piece in (
        (rows.replace("TEST", "exam"), "split of 'c'"),
        (rows.replace("c,,TEST", "c,g1,TEST"), "group 'g1' is in"),
        (rows.replace("d,g3,ignore,\n", ""), "d is not listed"),
        (rows + "e,g4,train,\n", "e has no photo"),
        (re.sub("train|TEST", "ignore", rows), "leaves every photo out"),
        ("id,split\na,train\n", "lacks the columns group"),
    ):
        text(root / "manifest.csv", wrong)
        with pytest.raises(DataError, match=piece):
            read(root)


def test_flights_that_straddle_given_splits_are_told(tmp_path: Path) -> None:
    root = tmp_path
    for split, flights in (("train", (1, 2)), ("val", (2, 3))):
        for g in flights:
            photo(root / "images" / split / f"flight{g}_{split}_001.png")
            photo(root / "images" / split / f"flight{g}_00{1 if split == 'train' else 2}.png")
    text(root / "labels" / "train" / "flight1_001.txt", LINE)
    text(root / "data.yaml", YAML)
    found, said = read(root, strict=True)
    assert found.findings.names["straddling"] == ["flight2"]
    assert {s.group for s in found.samples if s.id.startswith("flight2_00")} == {"flight2 (train)", "flight2 (val)"}
    assert "scores will be too good: 1 (flight2)" in said


def test_the_same_photo_in_two_splits_is_found(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path)
    (root / "images" / "val" / "val1.png").write_bytes((root / "images" / "train" / "train0.png").read_bytes())
    found, said = read(root)
    assert found.findings.names["leaks"] == ["train0 of train is val1 of val"]
    assert "too good: 1 (train0 of train is val1 of val)" in said
    with pytest.raises(DataError, match="checks are strict"):
        read(root, strict=True)


def test_a_tenth_of_train_becomes_val_where_there_is_none(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path, 10, 1, "train: images/train\ntest: images/val\nnames: [a]")
    found, said = read(root)
    assert splits(found) == {"train": 9, "val": 1, "test": 1}
    assert "no val split: 1 of 10 train groups become it" in said


# ---------------------------------------------------------------------------------------------------- faults


def test_every_fault_that_can_be_mended_is_counted_and_named(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path, 6, 1)
    label = root / "labels" / "train"
    text(label / "train0.txt", LINE + "1 0.9 0.5 0.4 0.2\n0 0.5 0.5 0.2501 0.5\n")  # clipped; no double
    text(label / "train1.txt", LINE + "0 0.5 0.5 0 0.1\n1 nan 0.5 0.1 0.1\n0 1.5 0.5 0.1 0.1\n0 inf 0.5 0.1 0.1\n")
    text(label / "train2.txt", LINE + "1" + LINE[1:] + LINE + LINE)
    text(label / "train3.txt", "")
    (label / "train4.txt").unlink()
    text(label / "gone.txt", LINE)
    text(label / "classes.txt", "robot\n")
    found, said = read(root)
    assert found.findings.counts == {"clipped": 1, "dropped": 4, "doubled": 2, "background": 2, "orphans": 1}
    assert found.findings.faults == 8
    by_id = {s.id: s.truth() for s in found.samples}
    np.testing.assert_allclose(by_id["train0"].boxes[1], [28, 12, 40, 18], atol=1e-4)
    assert [len(by_id[f"train{k}"]) for k in range(6)] == [3, 1, 2, 0, 0, 1]
    for truth in by_id.values():
        sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
        assert (sides > 0).all()
        assert np.isfinite(truth.boxes).all()
        np.testing.assert_allclose(truth.area, sides.prod(axis=1), rtol=1e-6)
    assert said.count("\n") == 0
    for piece in (
        "boxes clipped, since they reach out of their photo: 1 (", "train0.txt line 2)", "not finite: 4 (",
        "train1.txt line 2, ", "there twice: 2 (", "train2.txt line 3", "taken as background: 2 (", "train3.png",
        "no photo: 1 (", "gone.txt",
    ):  # fmt: skip
        assert piece in said, piece
    with pytest.raises(DataError, match="is refused, since checks are strict") as caught:
        read(root, strict=True)
    assert "gone.txt" in str(caught.value)
    assert "train1.txt line 5" in str(caught.value)


def test_background_alone_passes_strict_checks(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path)
    text(root / "labels" / "train" / "train0.txt", "\n")
    assert read(root, strict=True)[0].findings.counts == {"background": 1}


def test_rounding_of_labels_is_no_fault(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path)
    text(root / "labels" / "train" / "train0.txt", "0 0.166667 0.333334 0.333334 0.666667\n0 0.5 0.5 1.0000004 1\n")
    found, _ = read(root, strict=True)
    truth = found.samples[0].truth()
    assert truth.boxes.min() == 0
    assert truth.boxes[1].tolist() == [0, 0, 40, 30]


def test_faults_that_cannot_be_mended_are_refused_together(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path)
    text(root / "labels" / "train" / "train0.txt", LINE + "2 0.5 0.5 0.1 0.1\n")
    text(root / "labels" / "train" / "train1.txt", "-1 0.5 0.5 0.1 0.1\n")
    (root / "images" / "val" / "val0.png").write_bytes(b"")
    (root / "images" / "val" / "val1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="4 faults that can't be mended") as caught:
        read(root)
    for piece in (
        "train0.txt' line 2: class 2 is out of range; there are 2 classes, 0 to 1", "train1.txt' line 1: class -1",
        "val0.png' is no photo that can be read: it is empty", "val1.png' is no photo",
    ):  # fmt: skip
        assert piece in str(caught.value)


def test_doubled_ids_are_refused(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path)
    photo(root / "images" / "train" / "train0.jpg")
    with pytest.raises(DataError, match=r"id 'images/train/train0' stands for .*train0\.(jpg|png) and train0"):
        read(root)


def test_a_data_set_without_any_label_is_refused(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path)
    for path in root.rglob("labels/*/*.txt"):
        path.unlink()
    with pytest.raises(DataError, match="None of 5 photos has a label file. Looked in '.*labels"):
        read(root)


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_labels_made_for_another_size(tmp_path: Path, layout: str) -> None:
    def write(size: tuple[int, int]) -> None:
        text(tmp_path / "a.xml", XML.format(*size)) if layout == "voc" else None
        text(tmp_path / "x.json", coco_text(["a.png"], size)) if layout == "coco" else None

    path = tmp_path if layout == "voc" else tmp_path / "x.json"
    photo(tmp_path / "a.png", (60, 80))
    write((30, 40))
    found, said = read(path, shares=(1, 0, 0))
    np.testing.assert_allclose(found.samples[0].truth().boxes, [2 * np.array(BOX)])
    assert found.samples[0].truth().area.tolist() == [600]
    assert "made for another size of the photo: 1 (" in said
    write((40, 40))
    with pytest.raises(DataError, match=r"made for a photo of 40 x 40, but '.*a\.png' is 80 x 60"):
        read(path, shares=(1, 0, 0))
    write((0, 0))
    assert not read(path, shares=(1, 0, 0))[0].findings.faults


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_labels_of_a_photo_that_exif_turns(tmp_path: Path, turn: int) -> None:
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[8:23, 15:25] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    text(tmp_path / "x.json", coco_text(["a.png"], SIZE, (15, 8, 10, 15)))
    found, said = read(tmp_path / "x.json", shares=(1, 0, 0))
    sample = found.samples[0]
    assert sample.size == (40, 30)
    bright = np.argwhere(sample.image()[..., 0] > 127)
    seen = [bright[:, 1].min(), bright[:, 0].min(), bright[:, 1].max() + 1, bright[:, 0].max() + 1]
    assert sample.truth().boxes.tolist() == [seen]
    assert "turned by its EXIF tag: 1 (" in said


def test_images_and_annotations_of_coco_without_each_other(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    content = json.loads(coco_text(["a.png", "gone.png"]))
    content["annotations"].append({"id": 9, "image_id": 77, "category_id": 5, "bbox": [0, 0, 1, 1]})
    content["annotations"].append({"id": 10, "image_id": 0, "category_id": 5, "bbox": [1e308, 0, 1e308, 5]})
    text(tmp_path / "val.json", json.dumps(content))
    found, said = read(tmp_path / "val.json")
    assert found.findings.counts == {"orphans": 2, "dropped": 1}
    assert "image_id 77" in said
    assert "gone.png" in said
    assert "annotations[3]" in said
    with pytest.raises(DataError, match=r"val\.json annotations\[3\]"):
        read(tmp_path / "val.json", strict=True)


def test_photos_that_are_no_regular_files_are_refused(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "images" / "train" / "pipe.png")
        with pytest.raises(DataError, match=r"pipe\.png' is no regular file"):
            read(root)
        (root / "images" / "train" / "pipe.png").unlink()
    (root / "images" / "train" / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"folder\.png' is no regular file"):
        read(root)


def test_broken_photos_are_found_before_training(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path)
    path = root / "images" / "train" / "train1.png"
    path.write_bytes(path.read_bytes()[:-700])
    found, _ = read(root)
    with pytest.raises(DataError, match=r"1 photos can't be used:\n.*train1\.png"):
        check_photos(found.samples)
    photo(path, (31, 40))
    with pytest.raises(DataError, match="its header says"):
        check_photos(found.samples)
    photo(path)
    check_photos(found.samples)


def test_findings_name_the_first_and_count_all() -> None:
    found = Findings()
    for k in range(50):
        found.add("dropped", f"f{k}")
    found.add("background", "b")
    assert found.faults == 50
    assert found.lines()[1].endswith("not finite: 50 (f0, f1, f2, ...)")
    with pytest.raises(DataError) as caught:
        found.refuse("x")
    assert "f19" in str(caught.value)
    assert "f20" not in str(caught.value)
    assert set(checks.NO_FAULTS) <= set(checks.KINDS)
    Findings().refuse("x")
