"""Data sets of angiograms in their real layouts: what is read, what is refused by name, and that nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldsight import progress
from fieldsight.data.detection.checks import Known
from fieldsight.data.detection.folders import write_detection
from fieldsight.data.detection.sample import DetectionSample, Truth
from fieldsight.data.images import write_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.systems.vessel.datasets import (
    GRADES,
    STENOSIS,
    UNKNOWN,
    VIEWS,
    AngiogramSet,
    is_arcade,
    is_cadica,
    is_danilov,
    read_angiograms,
    read_vessel_masks,
)
from fieldsight.systems.vessel.datasets.arcade import read_arcade
from fieldsight.systems.vessel.datasets.cadica import parse_boxes, read_cadica
from fieldsight.systems.vessel.datasets.common import view_named
from fieldsight.systems.vessel.datasets.danilov import read_danilov
from fieldsight.systems.vessel.datasets.masks import read_masks
from fieldsight.systems.vessel.datasets.plain import (
    ViewRow,
    parse_ignored,
    parse_views,
    read_plain,
    write_ignored,
    write_views,
)

SIZE = (40, 48)
SEGMENTS = (
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "9a", "10", "10a", "11", "12", "12a", "13", "14", "14a", "15", "16",
    "16a", "16b", "16c", "12b", "14b",
)  # fmt: skip


def photo(path: Path, size: tuple[int, int] = SIZE) -> Path:
    return write_image(path, rng_for(str(path.name)).integers(0, 256, size, np.uint8))


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def read(path: Path, seed: int = 0) -> AngiogramSet:
    with progress.watching(progress.silent, lambda _: None):
        return read_angiograms(path, seed)


def boxes(found: AngiogramSet, id: str) -> dict[bool, list[list[float]]]:
    truth = next(s for s in found.samples if s.id == id).truth()
    exact = np.round(truth.boxes.astype(np.float64), 4)  # YOLO's files have 8 digits
    return {hidden: exact[truth.ignore == hidden].tolist() for hidden in (False, True)}


# ---------------------------------------------------------------------------------------------------- ARCADE


def arcade(root: Path, task: str = "stenosis", **changes: Any) -> Path:
    """Two pictures a split, the first with one stenosis; categories as in the real files."""
    categories = [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate((*SEGMENTS, "stenosis"), 1)]
    polygon = [10.0, 10.0, 20.0, 8.0, 22.0, 20.0, 12.0, 24.0]
    one = {"id": 1, "image_id": 1, "category_id": 26 if task == "stenosis" else 6, "segmentation": [polygon],
           "bbox": [10.0, 8.0, 12.0, 16.0], "area": 140.0, "iscrowd": 0, "attributes": {"occluded": False}}  # fmt: skip
    one.update(changes)
    for split in ("train", "val", "test"):
        folder = root / "arcade" / task / split
        images = [{"id": n, "file_name": f"{n}.png", "width": SIZE[1], "height": SIZE[0]} for n in (1, 2)]
        for image in images:
            photo(folder / "images" / str(image["file_name"]))
        content = {"images": images, "categories": categories, "annotations": [one]}
        text(folder / "annotations" / f"{split}.json", json.dumps(content))
    return root


def test_arcade_is_read_with_its_splits_by_name_of_category(tmp_path: Path) -> None:
    root = arcade(tmp_path)
    assert is_arcade(root)
    assert is_arcade(root / "arcade")
    assert is_arcade(root / "arcade" / "stenosis")
    found = read(root)
    assert (found.layout, found.names, found.settled, found.patients) == ("arcade", ("stenosis",), True, False)
    assert [s.id for s in found.samples] == ["test-1", "test-2", "train-1", "train-2", "val-1", "val-2"]
    assert {s.id: s.split for s in found.samples}["val-2"] == "val"
    assert boxes(found, "train-1") == {False: [[10.0, 8.0, 22.0, 24.0]], True: []}
    assert boxes(found, "train-2") == {False: [], True: []}
    assert set(found.views.values()) == {UNKNOWN}
    polygons: Any = found.samples[0].facts["polygons"]
    assert len(polygons) == 1
    assert polygons[0][0].shape == (4, 2)
    assert found.samples[0].image().shape == (*SIZE, 3)
    assert "patients are not told" in found.note


def test_arcade_takes_the_polygon_where_its_box_is_wrong(tmp_path: Path) -> None:
    found = read(arcade(tmp_path, bbox=[0.0, 0.0, 40.0, 40.0]))
    assert boxes(found, "train-1")[False] == [[10.0, 8.0, 22.0, 24.0]]
    assert "3 boxes differ from their polygons" in found.note


@pytest.mark.parametrize("segmentation", [[], [[1.0]], [[1, 2, 3, 4, 5, None]], {"counts": [1], "size": [4, 4]}, None])
def test_arcade_keeps_the_box_where_there_is_no_polygon(tmp_path: Path, segmentation: Any) -> None:
    found = read(arcade(tmp_path, segmentation=segmentation))
    assert boxes(found, "train-1")[False] == [[10.0, 8.0, 22.0, 24.0]]
    assert next(s for s in found.samples if s.id == "train-1").facts["polygons"] == (None,)


def test_arcade_clips_and_counts_what_reaches_out_and_leaves_segments_out(tmp_path: Path) -> None:
    found = read(arcade(tmp_path / "a", segmentation=[[40.0, 30.0, 60.0, 30.0, 60.0, 50.0]], bbox=[40, 30, 20, 20]))
    assert boxes(found, "val-1")[False] == [[40.0, 30.0, 48.0, 40.0]]
    assert found.findings.counts["clipped"] == 3
    one: Any = next(s for s in found.samples if s.id == "val-1").facts["polygons"]
    assert one[0][0].max() == 60.0  # found again although its box was clipped
    other = read(arcade(tmp_path / "b", category_id=5))
    assert sum(len(s.truth()) for s in other.samples) == 0
    assert "3 annotations of vessel segments left out" in other.note


def test_arcade_without_a_category_of_that_name_is_refused(tmp_path: Path) -> None:
    root = arcade(tmp_path)
    for file in (root / "arcade").rglob("*.json"):
        text(file, file.read_text().replace('"stenosis"', '"plaque"'))
    with pytest.raises(DataError, match="no category named 'stenosis'"):
        read_arcade(root)


def test_arcade_syntax_gives_vessel_masks(tmp_path: Path) -> None:
    found = read_vessel_masks(arcade(tmp_path, "syntax", segmentation=[[10, 10, 20, 10, 20, 30, 10, 30]]))
    assert [s.id for s in found][:2] == ["test-1", "test-2"]
    mask = found[0].mask()
    assert mask.shape == SIZE
    assert mask.dtype == np.bool_
    assert mask[15, 15]
    assert not mask[5, 5]
    assert mask[10:30, 10:20].all()
    assert abs(int(mask.sum()) - 200) <= 35
    assert not found[1].mask().any()


# ---------------------------------------------------------------------------------------------------- CADICA


def cadica(root: Path, patients: int = 2, lines: str = "10 12 8 6 p50_70\n1 2 3 4 p20_50\n") -> Path:
    """Each patient has a video with lesions (two labelled key frames) and one without, and frames that are none."""
    home = root / "CADICA" / "selectedVideos"
    for n in range(1, patients + 1):
        for video, sick in (("v1", True), ("v2", False)):
            name, folder = f"p{n}_{video}", home / f"p{n}" / video
            for frame in range(1, 5):
                photo(folder / "input" / f"{name}_{frame:05d}.png")
            text(folder / f"{name}_selectedFrames.txt", f"{name}_00001\n{name}_00002\n\n")
            for frame in (1, 2) if sick else ():
                text(folder / "groundtruth" / f"{name}_{frame:05d}.txt", lines)
        text(home / f"p{n}" / "lesionVideos.txt", "v1\n")
    return root


def test_cadica_is_read_by_key_frames_with_grades_and_patients(tmp_path: Path) -> None:
    root = cadica(tmp_path)
    told = {"videosLCA": ["p1_v1", "p2_v1"], "videosLCA2": [], "videosRCA": ["p1_v2", "p2_v1", 7]}
    text(root / "CADICA" / "CADICAprojections.json", json.dumps(told))
    assert is_cadica(root)
    assert is_cadica(root / "CADICA")
    assert is_cadica(root / "CADICA" / "selectedVideos")
    found = read(root)
    assert (found.layout, found.settled, found.patients, found.names) == ("cadica", False, True, STENOSIS)
    assert [s.id for s in found.samples if s.group == "p1"] == [f"p1_v{v}_0000{k}" for v in (1, 2) for k in (1, 2)]
    assert {s.group for s in found.samples} == {"p1", "p2"}
    assert boxes(found, "p1_v1_00001") == {False: [[10.0, 12.0, 18.0, 18.0]], True: [[1.0, 2.0, 4.0, 6.0]]}
    assert boxes(found, "p1_v2_00001") == {False: [], True: []}
    facts = {s.id: s.facts for s in found.samples}
    assert facts["p1_v1_00001"]["grades"] == ("p50_70", "p20_50")
    assert facts["p1_v1_00001"]["artery"] == "LCA"
    assert facts["p1_v2_00001"]["artery"] == "RCA"
    assert "artery" not in facts["p2_v1_00001"]  # in two lists: not told
    assert set(found.views.values()) == {UNKNOWN}  # an artery is no view


@pytest.mark.parametrize("grade", GRADES)
def test_cadica_from_fifty_percent_on_is_a_stenosis(grade: str) -> None:
    marks, grades = parse_boxes(f"1 2 3 4 {grade}", "x")
    assert grades == [grade]
    assert marks.boxes.tolist() == [[1, 2, 4, 6]]
    assert bool(marks.ignore[0]) == (grade in ("p0_20", "p20_50"))


def test_cadica_tells_missing_files_and_keeps_grades_beside_dropped_boxes(tmp_path: Path) -> None:
    root = cadica(tmp_path, lines="nan 1 2 3 p99\n5 5 0 9 p100\n-5 0 10 10 p90_98\n500 5 9 9 p70_90\n")
    home = root / "CADICA" / "selectedVideos"
    (home / "p1" / "v1" / "groundtruth" / "p1_v1_00002.txt").unlink()
    text(home / "p2" / "v2" / "p2_v2_selectedFrames.txt", "p2_v2_00001.png\np2_v2_00099\n")
    (home / "p1" / "v2" / "p1_v2_selectedFrames.txt").unlink()
    found = read(root)
    assert boxes(found, "p1_v1_00001")[False] == [[0.0, 0.0, 5.0, 10.0]]
    assert next(s for s in found.samples if s.id == "p1_v1_00001").facts["grades"] == ("p90_98",)
    assert found.findings.counts["dropped"] == 9
    assert found.findings.counts["clipped"] == 3
    assert found.findings.counts["orphans"] == 1
    assert "p2_v2_00099" in found.findings.names["orphans"][0]
    assert "1 key frames without a file in a video with lesions" in found.note
    assert "p1_v1_00002" in found.note
    assert "p1_v2" in found.note
    assert not any(s.id.startswith("p1_v2") for s in found.samples)
    assert [s.id for s in found.samples if s.id.startswith("p2_v2")] == ["p2_v2_00001"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 2 3 4 p50_71", "Did you mean 'p50_70'"), ("1 2 3 4", "x y w h grade"), ("a b c d p99", "line 1"),
        ("1 2 3 4 p99 5", "x y w h grade"), ("1_0 2 3 4 p99", "x y w h grade"),
    ],
)  # fmt: skip
def test_cadica_refuses_lines_by_file_and_number(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        read_cadica(cadica(tmp_path, lines=line))
    assert "p1_v1_00001.txt" in str(error.value)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"(-?[0-9.]{1,4} ){0,5}(p0_20|p99|x)?\n?", fullmatch=True))
def test_cadica_garbage_never_ends_in_a_traceback(content: str) -> None:
    try:
        marks, grades = parse_boxes(content, "file")
    except DataError:
        return
    assert len(marks.boxes) == len(grades)
    assert set(grades) <= set(GRADES)


# --------------------------------------------------------------------------------------------------- Danilov


def danilov(root: Path, name: str = "Stenosis") -> Path:
    home = root / "Stenosis detection" / "dataset"
    for stem in ("14_002_5_0016", "14_002_7_0003", "14_011_1_0001", "3_002_1_0001"):
        photo(home / f"{stem}.bmp")
        box = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>20</xmax><ymax>15</ymax></bndbox>"
        size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>1</depth></size>"
        body = f"<filename>{stem}.bmp</filename>{size}<object><name>{name}</name>{box}</object>"
        text(home / f"{stem}.xml", f"<annotation>{body}</annotation>")
    return root


def test_danilov_keeps_the_series_of_a_patient_together(tmp_path: Path) -> None:
    root = danilov(tmp_path)
    assert is_danilov(root)
    assert is_danilov(root / "Stenosis detection" / "dataset")
    found = read(root)
    assert (found.layout, found.settled, found.patients) == ("danilov", False, True)
    assert {s.id: s.group for s in found.samples} == {
        "14_002_5_0016": "14_002", "14_002_7_0003": "14_002", "14_011_1_0001": "14_011", "3_002_1_0001": "3_002",
    }  # fmt: skip
    assert boxes(found, "14_002_5_0016")[False] == [[10.0, 5.0, 20.0, 15.0]]  # VOC counts pixels from 1
    assert found.samples[0].facts["series"] == "14_002_5"


def test_danilov_refuses_other_classes_and_names_without_a_patient(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Unknown class 'stent'"):
        read_danilov(danilov(tmp_path / "a", "stent"))
    root = danilov(tmp_path / "b")
    photo(root / "Stenosis detection" / "dataset" / "holiday.png")
    with pytest.raises(DataError, match=r"tell no patient(.|\n)*holiday\.png"):
        read_danilov(root)


# ------------------------------------------------------------------------------------------------------ masks


@pytest.mark.parametrize("layout", ["dca1", "xcad", "plain"])
def test_masks_of_every_layout(tmp_path: Path, layout: str) -> None:
    drawn = np.zeros(SIZE, np.uint8)
    drawn[5:10] = 1 if layout == "plain" else 255
    pairs = {
        "dca1": ("Database_134_Angiograms/1.pgm", "Database_134_Angiograms/1_gt.pgm"),
        "xcad": ("test/images/a.png", "test/masks/a.png"),
        "plain": ("images/a.png", "masks/a_mask.png"),
    }[layout]
    photo(tmp_path / pairs[0])
    write_image(tmp_path / pairs[1], drawn)
    if layout == "xcad":
        photo(tmp_path / "train" / "img" / "b.png")  # its training pictures have no masks
    (one,) = read_vessel_masks(tmp_path)
    assert one.id == {"dca1": "1", "xcad": "test-a", "plain": "a"}[layout]
    assert one.split == ("test" if layout == "xcad" else "")
    assert np.array_equal(one.mask(), drawn > 0)
    assert one.image().shape == (*SIZE, 3)


def test_masks_of_another_size_and_without_a_partner_are_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        photo(tmp_path / "images" / f"{name}.png")
    photo(tmp_path / "masks" / "a.png", (SIZE[0], SIZE[1] + 1))
    photo(tmp_path / "masks" / "b.png")
    photo(tmp_path / "masks" / "d.png")
    with pytest.raises(DataError) as error:
        read_masks(tmp_path)
    said = str(error.value)
    assert "3 files can't be used" in said
    assert "48 x 40 px, its mask" in said
    assert "c.png' has no partner" in said
    assert "d.png' has no partner" in said
    with pytest.raises(DataError, match="holds no angiograms with masks"):
        read_masks(photo(tmp_path / "other" / "x.png").parent)


# ------------------------------------------------------------------------------------------------------ plain


def sample(id: str, group: str, split: str, truth: Truth) -> DetectionSample:
    picture = rng_for(id).integers(0, 256, (*SIZE, 3), np.uint8)
    return DetectionSample(id, group, split, SIZE, lambda: picture, Known(truth))


def own_set(root: Path, layout: str = "yolo", splits: Sequence[str] = ("train", "train", "val", "test")) -> Path:
    made = [
        sample(f"im{k}", f"g{k}", split, Truth.of([[4 + k, 5, 14 + k, 20], [1, 1, 9, 9]], [0, 0], [False, True]))
        for k, split in enumerate(splits)
    ]
    with progress.watching(progress.silent, lambda _: None):
        write_detection(made, STENOSIS, root, layout)
    return root


@pytest.mark.parametrize("layout", ["yolo", "coco", "voc"])
def test_views_and_ignored_regions_come_back_in_every_layout(tmp_path: Path, layout: str) -> None:
    root = own_set(tmp_path / "set", layout)
    rows = [ViewRow(f"im{k}.png", f"person {k // 2}", ("LCA LAO", "rca_zero", "", "LCA unknown")[k]) for k in range(4)]
    write_views(root / "views.csv", rows)
    if layout == "yolo":
        write_ignored(root / "ignored.json", {f"im{k}": np.array([[1, 1, 9, 9]], np.float32) for k in range(4)})
    found = read(root)
    assert (found.layout, found.settled, found.patients) == (layout, True, True)
    assert dict(found.views) == {"im0": "LCA LAO", "im1": "RCA zero", "im2": UNKNOWN, "im3": UNKNOWN}
    assert [s.group for s in found.samples] == ["person 0", "person 0", "person 1", "person 1"]
    assert [s.split for s in found.samples] == ["train", "train", "val", "test"]
    for k in range(4):
        assert boxes(found, f"im{k}") == {False: [[4 + k, 5, 14 + k, 20]], True: [[1, 1, 9, 9]]}


def test_a_set_without_views_has_unknown_ones_and_no_patients(tmp_path: Path) -> None:
    found = read(own_set(tmp_path / "set", splits=("train",) * 4))
    assert set(found.views.values()) == {UNKNOWN}
    assert not found.patients
    assert not found.settled
    assert {s.split for s in found.samples} == {"train"}
    assert "no test split of its own" in found.note


def test_faults_of_views_and_ignored_regions_are_told(tmp_path: Path) -> None:
    root = own_set(tmp_path / "set")
    write_views(root / "views.csv", [ViewRow("im0", "a", ""), ViewRow("gone", "b", "")])
    text(root / "ignored.json", '{"ignored": {"im0": [[-5, 0, 9, 9], [50, 1, 60, 9]], "gone": []}}')
    found = read(root)
    assert boxes(found, "im0")[True] == [[0, 0, 9, 9]]
    assert found.findings.counts["dropped"] == 1
    assert "views.csv names 1 pictures that are not there" in found.note
    assert not found.patients
    assert "ignored.json names 1 pictures" in found.note
    assert "tells the patient of 1 pictures only" in found.note
    write_views(root / "views.csv", [ViewRow("im0", "a", ""), ViewRow("im0.png", "a", "")])
    with pytest.raises(DataError, match="names the picture 'im0' twice"):
        read_plain(root)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "image,patient,view"), ("picture,view\n", "image,patient,view"), ("image\na\n", "image,patient,view"),
        ("image,view\na,LCA LAD\n", "Did you mean 'LCA LAO'"), ("image,view\n,LCA LAO\n", "no image is named"),
        ("image,patient\na,1\na,2\n", "a is there twice"), ('image,view\n"a,b\n', "as CSV"),
    ],
)  # fmt: skip
def test_views_that_make_no_sense_are_refused(content: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_views(content, "views.csv")


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=80), st.booleans())
def test_views_garbage_never_ends_in_a_traceback(content: str, headed: bool) -> None:
    try:
        rows = parse_views(("image,patient,view\n" if headed else "") + content, "file")
    except DataError:
        return
    assert all(row.image and row.view in (*VIEWS, UNKNOWN) for row in rows)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(JSON | st.fixed_dictionaries({"ignored": JSON}))
def test_ignored_garbage_never_ends_in_a_traceback(value: Any) -> None:
    try:
        found = parse_ignored(value, "file")
    except DataError:
        return
    assert all(rows.shape[1:] == (4,) and np.isfinite(rows).all() for rows in found.values())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_arcade_garbage_never_ends_in_a_traceback(tmp_path: Path, value: Any) -> None:
    root = tmp_path / "garbage"
    if not root.exists():
        arcade(root)
    file = root / "arcade" / "stenosis" / "val" / "annotations" / "val.json"
    content = json.loads((file.parent / "../../train/annotations/train.json").resolve().read_text())
    content["annotations"][0]["segmentation"] = value
    text(file, json.dumps(content))
    try:
        with progress.watching(progress.silent, lambda _: None):
            found = read_arcade(root)
    except DataError:
        return
    assert len(found.samples) == 6


def test_views_are_named_as_people_write_them_and_never_guessed() -> None:
    for name in VIEWS:
        artery, side = name.split()
        for text_ in (name, name.lower(), f"{artery}_{side}", f"{artery}-{side.upper()}", f" {artery}  {side} "):
            assert view_named(text_, "x") == name
    assert {view_named(t, "x") for t in ("", " ", "unknown", "LCA unknown", "unknown LAO")} == {UNKNOWN}
    for text_ in ("LCA", "LAO", "LCA cranial", "LCALAO"):
        with pytest.raises(DataError, match="Unknown view"):
            view_named(text_, "x")


def test_classes_are_stenosis_by_name_alone_or_by_grade(tmp_path: Path) -> None:
    def made(root: Path, names: tuple[str, ...], labels: list[int]) -> Path:
        rows = [[4 * k, 5, 4 * k + 3, 20] for k in range(len(labels))]
        with progress.watching(progress.silent, lambda _: None):
            write_detection([sample("a", "a", "train", Truth.of(rows, labels))], names, root, "yolo")
        return root

    lesion = read(made(tmp_path / "one", ("lesion",), [0]))
    assert len(lesion.samples[0].truth()) == 1
    assert "'lesion' is taken as stenosis" in lesion.note
    both = read(made(tmp_path / "two", ("catheter", "Stenosis"), [0, 1, 0]))
    assert boxes(both, "a")[False] == [[4, 5, 7, 20]]
    assert "left out: catheter" in both.note
    graded = read(made(tmp_path / "grades", ("p0_20", "p99"), [0, 1]))
    assert boxes(graded, "a") == {False: [[4, 5, 7, 20]], True: [[0, 5, 3, 20]]}
    with pytest.raises(DataError, match="none named stenosis"):
        read(made(tmp_path / "none", ("cat", "dog"), [0]))


def test_a_folder_of_no_layout_and_one_of_two_variants_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        read(tmp_path / "absent")
    (tmp_path / "two" / "raw").mkdir(parents=True)
    (tmp_path / "two" / "fused").mkdir()
    with pytest.raises(DataError, match="two variants"):
        read(tmp_path / "two")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photos with boxes"):
        read(tmp_path / "empty")
