"""Round trips of every format, what each means, and that their parsers raise nothing but DataError."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldsight import progress
from fieldsight.data.detection import coco, visdrone, voc, yolo
from fieldsight.data.detection.checks import Labelled, Marks, Reading, check_names, examine, number
from fieldsight.data.detection.folders import read_detection, write_detection
from fieldsight.data.detection.sample import Detections, DetectionSample, Truth
from fieldsight.data.images import write_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError

LAYOUTS = ("yolo", "coco", "voc", "visdrone")
SIZE = (30, 44)


class Fixed:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value


def samples_of(seed: int, layout: str, photos: int = 4) -> list[DetectionSample]:
    rng = rng_for(seed, "samples")
    names = names_of(layout)
    found = []
    for k in range(photos):
        count = int(rng.integers(0, 5))
        corners = rng.uniform(0, 1, (count, 2, 2)) * np.array(SIZE[::-1])
        low, high = corners.min(axis=1), corners.max(axis=1) + 0.5
        boxes = np.concatenate([low, np.minimum(high, SIZE[::-1])], axis=1)
        ignore = rng.random(count) < 0.3 if layout != "yolo" else np.zeros(count, bool)
        truth = Truth.of(boxes, rng.integers(0, len(names), count), ignore)
        picture = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        split = ("train", "train", "val", "test")[k % 4]
        found.append(DetectionSample(f"f{k}-{seed}", f"flight{k}", split, SIZE, Fixed(picture), Fixed(truth)))
    return found


def names_of(layout: str) -> tuple[str, ...]:
    # sorted, since VOC's files have no order of classes
    return visdrone.NAMES if layout == "visdrone" else ("a robot", "no", "Ünï & <co>")


def rows(truth: Truth) -> np.ndarray:
    table = np.column_stack([truth.boxes, truth.labels, truth.ignore]).astype(float)
    return table[np.lexsort(table.round(1).T)]


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_is_written_is_read_again(tmp_path_factory: Any, layout: str, seed: int) -> None:
    root = tmp_path_factory.mktemp(layout)
    before = samples_of(seed, layout)
    before[0] = DetectionSample(**{**vars(before[0]), "truth": Fixed(Truth.of([[1, 2, 9, 8.5]], [1]))})
    names = names_of(layout)
    with progress.watching(None, lambda text: None):
        write_detection(before, names, root / "a", layout)
        after = read_detection(root / "a", names=names if layout == "voc" else None)
        write_detection(after.samples, after.names, root / "b", layout)
    assert after.names == names
    assert after.layout == layout
    assert not after.findings.faults, after.findings.lines()
    assert [s.id for s in after.samples] == [s.id for s in before]
    for one, other in zip(before, after.samples, strict=True):
        assert (one.group, one.split, one.size) == (other.group, other.split, other.size)
        np.testing.assert_array_equal(one.image(), other.image())
        np.testing.assert_allclose(rows(one.truth()), rows(other.truth()), atol=2e-4)
    one, other = ({p.relative_to(top) for p in top.rglob("*")} for top in (root / "a", root / "b"))
    assert one == other


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("other", LAYOUTS)
def test_any_format_becomes_any_other(tmp_path: Path, layout: str, other: str) -> None:
    """Truth survives a way over two formats, but for what the second has no word for."""
    box = Truth.of([[3, 4, 20, 25], [10, 10, 30, 20]], [0, 2])
    picture = np.zeros((*SIZE, 3), np.uint8)
    one = [DetectionSample("a", "g", "test", SIZE, Fixed(picture), Fixed(box))]
    write_detection(one, visdrone.NAMES, tmp_path / "a", layout)
    first = read_detection(tmp_path / "a", names=visdrone.NAMES if layout == "voc" else None)
    write_detection(first.samples, first.names, tmp_path / "b", other)
    second = read_detection(tmp_path / "b", names=visdrone.NAMES if other == "voc" else None)
    np.testing.assert_allclose(rows(second.samples[0].truth()), rows(box), atol=1e-3)
    assert second.samples[0].group == "g"


def test_writers_refuse_before_they_write(tmp_path: Path) -> None:
    one = samples_of(1, "yolo")
    with pytest.raises(ConfigError, match="Did you mean 'coco'"):
        write_detection(one, ["a"], tmp_path / "x", "cocoo")
    for wrong, piece in (
        ([one[0], DetectionSample(**{**vars(one[0]), "id": one[0].id.upper()})], "other ids"),
        ([DetectionSample(**{**vars(one[0]), "split": "dev"})], "Allowed: train, val, test"),
    ):
        for layout in LAYOUTS:
            with pytest.raises(DataError, match=piece):
                write_detection(wrong, names_of(layout), tmp_path / "x", layout)
    with pytest.raises(DataError, match="VisDrone's classes are"):
        write_detection(one, ["a"], tmp_path / "x", "visdrone")
    for names in ([], [""], [" a"], ["a", "a"], ["a\nb"], ["a\u0000"]):
        with pytest.raises(DataError, match="class"):
            write_detection(one, names, tmp_path / "x", "coco")
    assert not (tmp_path / "x").exists()
    assert check_names(["a", "ü ö"], "x") == ("a", "ü ö")


# ------------------------------------------------------------------------------------------------------ YOLO


def test_lines_of_yolo_are_boxes_or_polygons() -> None:
    marks = yolo.parse_labels("0 0.5 0.5 0.2 0.4\n\n  2.0 0.1 0.2 0.5 0.2 0.3 0.9 \n1 nan 0.5 inf 0.1\n", "a.txt")
    np.testing.assert_allclose(marks.boxes[:2], [[0.4, 0.3, 0.6, 0.7], [0.1, 0.2, 0.5, 0.9]])
    assert marks.labels.tolist() == [0, 2, 1]
    assert marks.lines.tolist() == [1, 3, 4]
    assert not np.isfinite(marks.boxes[2]).all()
    assert not np.isfinite(yolo.parse_labels("0 0 0 nan 0 1 1", "a").boxes).any()
    pose = yolo.parse_labels("0 0.5 0.5 0.2 0.4 0.1 0.1 2 0.2 0.2 2", "a", pose=True)
    np.testing.assert_allclose(pose.boxes, [[0.4, 0.3, 0.6, 0.7]])
    assert len(yolo.parse_labels("", "a.txt").boxes) == 0


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("0 0.5 0.5 0.2", "line 1 has 4 values"),
        ("\n0 0.5 0.5 0.2 0.2 0.9", "line 2 has 6 values"),
        ("0 320 240 64 48", "320 is no share"),
        ("robot 0.5 0.5 0.1 0.1", "line 1: could not convert"),
        ("0 0.5 0.5 0.1 1_0", "'1_0' is no number"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5 is no whole number"),
        ("nan 0.5 0.5 0.1 0.1", "class nan"),
        ("1e300 0.5 0.5 0.1 0.1", "class 1e300"),
    ],
)
def test_lines_that_are_no_labels_are_named(text: str, piece: str) -> None:
    with pytest.raises(DataError, match=piece):
        yolo.parse_labels(text, "a.txt")


ULTRALYTICS = """# a public file, with what it holds besides
path: ../datasets/VisDrone  # dataset root dir
train: VisDrone2019-DET-train/images # train images
val:
  - a/images
  - "b images/#1"
test: # optional

# Classes
names:
  0: pedestrian
  1: 'no'
  2: awning-tricycle
nc: 3
kpt_shape: [17, 3]
roboflow:
  workspace: ws
  project: {id: p1, v: 2}
download: |
  import os

  for d in 'a', 'b': # not: yaml
    print(f"{d}")
extra: ['a',
  "b\\tc",   # a comment
  d: e]
"""


def test_the_yaml_of_public_data_sets_is_read() -> None:
    with pytest.raises(DataError, match="line 26"):  # a pair in a list
        yolo.parse_yaml(ULTRALYTICS, "'data.yaml'")
    found = yolo.parse_yaml(ULTRALYTICS.replace("d: e", "d:e"))
    assert found == {
        "path": "../datasets/VisDrone",
        "train": "VisDrone2019-DET-train/images",
        "val": ["a/images", "b images/#1"],
        "test": "",
        "names": {"0": "pedestrian", "1": "no", "2": "awning-tricycle"},
        "nc": "3",
        "kpt_shape": ["17", "3"],
        "roboflow": {"workspace": "ws", "project": {"id": "p1", "v": "2"}},
        "download": "",
        "extra": ["a", "b\tc", "d:e"],
    }
    assert yolo.parse_yaml("\ufeff---\r\nnames:\r\n- a\r\n- b # c\r\nnc: 2") == {"names": ["a", "b"], "nc": "2"}
    assert yolo.parse_yaml("# nothing\n\n") == {}


@pytest.mark.parametrize(
    "text",
    [
        "a: b\na: c", "a: &x b", "a: *x", "a: !!python/object x", "a: >\n  b", "a: b\n  c", "a: [b", "a: {b}", "- a",
        "a:\n\tb: c", "a: b: c", "a: 'b", 'a: "\\q"', "a: [b,, c]", "a: b\n---\nc: d", "%YAML 1.2\n---\na: b", "a",
        "a: " + "[" * 50 + "]" * 50, "? a\n: b", "a: [b]c", "  a: b", "a: b\n c: d", "a: @b", "a: \x07", "a: `b",
    ],
)  # fmt: skip
def test_other_yaml_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(DataError, match=r"x\.yaml, line \d+ .*Only plain YAML"):
        yolo.parse_yaml(text, "x.yaml")


PIECES = ["a", "b: c", "names", ": ", ":", "\n", "\n  ", "\n- ", "- ", " #", "#", "[", "]", "{", "}", ", ", ",", "'",
          '"', "0: x", "\\n", "|", "&", "~", "é", " ", "-", "?", "!", "...", "---", "<", "="]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@example("a: [b, {c: d}]\n")
@example("a:\n- b\n- c: d\n")
@example("a: {b: , c: d}")
def test_what_is_read_is_what_a_yaml_library_reads(text: str) -> None:
    library = pytest.importorskip("yaml")
    try:
        found = yolo.parse_yaml(text)
    except DataError:
        return
    if "|" not in text:  # texts after | are passed over
        assert found == (library.load(text, Loader=library.BaseLoader) or {})


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=8).map(
            str.strip
        ),
        min_size=1, max_size=5, unique=True,
    ).filter(all)
)  # fmt: skip
def test_any_name_survives_the_yaml(names: list[str]) -> None:
    text = "names:\n" + "".join(f"  {n}: {json.dumps(name, ensure_ascii=False)}\n" for n, name in enumerate(names))
    assert list(yolo.parse_yaml(text)["names"].values()) == names


# ------------------------------------------------------------------------------------------------------ COCO


def coco_file(path: Path, **changes: Any) -> Path:
    text: dict[str, Any] = {
        "info": {"year": 2026},
        "licenses": [],
        "annotations": [
            {"id": 7, "image_id": 3, "category_id": 90, "bbox": [1, 2, 10, 8.5], "area": 41.5, "iscrowd": 0,
             "segmentation": [[1, 2, 11, 2, 11, 10.5]]},
            {"id": 9, "image_id": 3, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1, "area": 12,
             "segmentation": {"counts": [3, 4], "size": [30, 44]}},
        ],
        "images": [{"id": 3, "file_name": "a.png", "height": 30, "width": 44}, {"id": 5, "file_name": "b.png"}],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
    }  # fmt: skip
    text.update(changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(text), encoding="utf-8")
    return path


def photos(folder: Path, *names: str, size: tuple[int, int] = SIZE) -> Path:
    for k, name in enumerate(names):
        write_image(folder / name, rng_for(k, name).integers(0, 256, (*size, 3), np.uint8))
    return folder


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_coco_with_gaps_crowds_areas_and_any_window(tmp_path: Path, monkeypatch: Any, chunk: int) -> None:
    monkeypatch.setattr(coco, "CHUNK", chunk)
    photos(tmp_path / "images", "a.png", "b.png")
    found = read_detection(coco_file(tmp_path / "annotations" / "instances_val2017.json"))
    assert found.names == ("person", "toothbrush")
    assert found.keys == (1, 90)
    one, two = found.samples
    truth = one.truth()
    np.testing.assert_array_equal(truth.boxes, [[1, 2, 11, 10.5], [0, 0, 5, 5]])
    assert truth.labels.tolist() == [1, 0]
    assert truth.ignore.tolist() == [False, True]
    assert truth.area.tolist() == [41.5, 12]
    assert (one.facts["image_id"], one.split, len(two.truth())) == (3, "val", 0)
    path = coco.write_results(
        tmp_path / "r.json", found.samples, [Detections.of([[1, 2, 4, 6]], [0.5], [1])] * 2, (1, 90)
    )
    assert json.loads(path.read_text())[1] == {"image_id": 5, "category_id": 90, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        (
            {"images": [{"id": 3, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}]},
            r"images\[1\] has the id 3 again",
        ),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, r"categories\[1\] has the id 1 again"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 90, "name": "a"}]}, "the class 'a' twice"),
        ({"annotations": [{"id": 1, "image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1]}] * 2}, "has the id 1 again"),
        ({"annotations": [{"image_id": 3, "category_id": 4, "bbox": [0, 0, 1, 1]}]}, r"category_id 4; known are 1, 90"),
        ({"annotations": [{"image_id": 3, "category_id": 1, "bbox": [0, 0, 1]}]}, "four numbers"),
        ({"annotations": [{"image_id": 3, "category_id": 1, "bbox": [0, 0, None, 1]}]}, "bbox None; a number"),
        ({"annotations": [{"image_id": 3, "category_id": "1", "bbox": [0, 0, 1, 1]}]}, "category_id '1'"),
        ({"annotations": [{"image_id": None, "category_id": 1, "bbox": [0, 0, 1, 1]}]}, "image_id None"),
        ({"annotations": ["x"]}, r"annotations\[0\] is 'x', no object"),
        ({"images": []}, "has no images"),
        ({"categories": []}, "has no categories"),
        ({"images": [{"id": 3}]}, "file_name None"),
        ({"images": [{"id": 3, "file_name": "a.png", "width": -4, "height": 3}]}, "-4 x 3 pixels"),
        ({"images": [{"id": 3, "file_name": "c.png"}]}, "there is no photo 'c.png'"),
    ],
)
def test_coco_that_is_wrong_is_named(tmp_path: Path, changes: Any, piece: str) -> None:
    photos(tmp_path, "a.png", "b.png")
    with pytest.raises(DataError, match=piece):
        read_detection(coco_file(tmp_path / "x.json", **changes))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"images": [', '{"images": [{}', '{"images": [{},]}', '{"a": 1,}', '{"a" 1}', "{1: 2}",
     '{"a": 1} x', "[" * 100_000, '{"a": ' + "[" * 100_000, '{"a": ' + "1" * 5000 + "}", "\x00", "nul"],
)  # fmt: skip
def test_json_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"x\.json"):
        list(coco.stream_json(path, ("images",)))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "images"]), JSONS, max_size=3), st.integers(1, 40), st.booleans())
def test_a_streamed_list_is_what_json_reads(tmp_path_factory, value, chunk, spaced) -> None:
    path = tmp_path_factory.getbasetemp() / "stream.json"
    path.write_text(
        json.dumps(value, ensure_ascii=spaced, indent=2 if spaced else None), encoding="utf-8", errors="replace"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco, "CHUNK", chunk)
        found = list(coco.stream_json(path, ("a", "images")))
    value = json.loads(path.read_text(encoding="utf-8"))
    expected = [(k, v) for k, of in value.items() if k != "b" and isinstance(of, list) for v in of]
    assert repr(found) == repr(expected)


def test_a_large_file_is_read_with_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "annotations" / "instances_train.json"
    path.parent.mkdir()
    photos(tmp_path / "images", "0.png")
    mask = json.dumps({"size": [30, 44], "counts": "x" * 20_000})
    head = '{"images": [{"id": 0, "file_name": "0.png"}], "categories": [{"id": 1, "name": "a"}], "annotations": ['
    with path.open("w") as file:
        file.write(head)
        for k in range(800):
            file.write(f'{", " if k else ""}{{"id": {k}, "image_id": 0, "category_id": 1, "bbox": [{k % 40}, 0, 3, ')
            file.write(f'{1 + k / 300}], "segmentation": {mask}}}')
        file.write("]}")
    assert path.stat().st_size > 16e6
    tracemalloc.start()
    found = coco.read_coco([coco.Part("train", path)], tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.photos[0].marks.boxes) == 800
    assert peak < 10e6


# ------------------------------------------------------------------------------------------------------- VOC

OBJECT = (
    "<object><name>cat</name><difficult>1</difficult>"
    "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20.5</ymax></bndbox></object>"
)


def test_a_box_of_voc_holds_its_first_and_last_pixel() -> None:
    part = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    text = f"""<?xml version="1.0"?><annotation><filename>a.jpg</filename>
      <size><width>44</width><height>30</height></size>
      {OBJECT.replace("</object>", part + "</object>")}
      {OBJECT.replace("cat", " d&amp;g ").replace("<difficult>1</difficult>", "")}</annotation>"""
    name, size, found = voc.parse_xml(text.encode(), "a.xml")
    assert (name, size) == ("a.jpg", (30, 44))
    assert found[0][0] == "cat"
    assert found[0][1][:5] == [0, 1, 10, 20.5, 1]
    assert found[1][0] == "d&g"
    assert found[1][1][4] == 0
    assert found[1][1][6] == 4  # the line
    latin = '<?xml version="1.0" encoding="latin-1"?><annotation><filename>ü.jpg</filename></annotation>'
    assert voc.parse_xml(latin.encode("latin-1"), "a")[0] == "ü.jpg"


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>"""


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        (BOMB, "declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "declares a document type"),
        ("<!DOCTYPE annotation><annotation/>", "declares a document type"),
        ("<annotation>&x;</annotation>", "undefined entity"),
        ("<annotations/>", "not the <annotation>"),
        ("", "no element found"),
        ("<annotation>", "no element found"),
        ("<annotation>" + "<a>" * 100, "nested too deeply"),
        (f"<annotation>{OBJECT.replace('<name>cat</name>', '')}</annotation>", "line 1: an object has no name"),
        (f"<annotation>\n{OBJECT.replace('<xmax>10</xmax>', '')}</annotation>", "line 2: an object has no xmax"),
        (f"<annotation>{OBJECT.replace('20.5', 'x')}</annotation>", "bndbox/ymax is 'x', no number"),
        (f"<annotation>{OBJECT.replace('</name>', '</name><name>dog</name>')}</annotation>", "two name"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "no XML that can be read"),
    ],
)
def test_xml_that_is_wrong_or_hostile_is_refused(text: str, piece: str) -> None:
    with pytest.raises(DataError, match=piece):
        voc.parse_xml(text.encode(), "a.xml")


# -------------------------------------------------------------------------------------------------- VisDrone


def test_lines_of_visdrone_with_regions_others_and_score_0() -> None:
    marks = visdrone.parse_lines(
        "684,8,273,116,0,0,0,0\n406,119,265,70,1,4,1,0,\n\n1,2,3,4,0,1,0,0\n5,5,5,5,1,11,0,0\n", "a"
    )
    assert marks.labels.tolist() == [*range(10), 3, 0, *range(10)]
    assert marks.ignore.tolist() == [True] * 10 + [False, True] + [True] * 10
    assert marks.boxes[10].tolist() == [406, 119, 671, 189]
    assert marks.lines.tolist() == [1] * 10 + [2, 4] + [5] * 10
    for wrong in (
        "1,2,3,4,1,12,0,0",
        "1,2,3,4,1,4.5,0,0",
        "1,2,3,4,1,4,0",
        "1,2,x,4,1,4,0,0",
        "1 2 3 4 1 4 0 0",
        "1,2,3,4,1,nan,0,0",
    ):
        with pytest.raises(DataError, match="'a' line 1"):
            visdrone.parse_lines(wrong, "a")


# --------------------------------------------------------------------------------------------- anything at all

TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(["0 0.5 0.5 0.1 0.1", "1,2,3,4,1,4,0,0", "nan", "-1e400", "\n", " ", ",", "0", "é", "1e9", "\x00"]),
    max_size=8,
).map("".join)


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_text_parsers_give_marks_or_a_data_error(text: str) -> None:
    for parse in (yolo.parse_labels, visdrone.parse_lines):
        with contextlib.suppress(DataError):
            marks = parse(text, "a")
            assert marks.boxes.shape == (len(marks.labels), 4)
    with contextlib.suppress(DataError):
        yolo.parse_yaml(text)
    with contextlib.suppress(ValueError):
        number(text)


XML = st.lists(
    st.sampled_from(["<annotation>", "</annotation>", OBJECT, "<object>", "</object>", "<name>", "<!DOCTYPE x>",
                     "&#0;", "&lt;",
                     "<size><width>1e999</width></size>", "<![CDATA[x]]>", "<?x?>", "\ud7ff", "x"]),
    max_size=8,
).map(lambda parts: "".join(parts).encode())  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80) | XML | XML.map(lambda b: b"<annotation>" + b + b"</annotation>"))
def test_xml_gives_objects_or_a_data_error(content: bytes) -> None:
    with contextlib.suppress(DataError):
        voc.parse_xml(content, "a")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([".yaml", ".json", "txt", ".xml", ".list"]))
def test_files_of_any_bytes_give_samples_or_a_data_error(tmp_path_factory: Any, content: bytes, which: str) -> None:
    root = tmp_path_factory.mktemp("any")
    photos(root / "images", "a.png")
    for folder in ("labels", "annotations"):
        (root / folder).mkdir()
    target = {
        ".yaml": root / "data.yaml", ".json": root / "annotations" / "instances_val.json",
        "txt": root / "labels" / "a.txt", ".xml": root / "annotations" / "a.xml", ".list": root / "classes.txt",
    }[which]  # fmt: skip
    (root / "classes.txt").write_text("robot\n")
    target.write_bytes(content)
    with contextlib.suppress(DataError), progress.watching(None, lambda text: None):
        read_detection(root)


@settings(max_examples=60, deadline=None)
@given(JSONS, st.sampled_from(["images", "annotations", "categories"]), st.booleans())
def test_json_of_any_shape_gives_samples_or_a_data_error(
    tmp_path_factory: Any, value: Any, key: str, deep: bool
) -> None:
    root = tmp_path_factory.mktemp("json")
    photos(root, "a.png")
    fields = {"images": "file_name", "annotations": "bbox", "categories": "name"}
    entry = {"id": 3, "image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1], "name": "a", "file_name": "a.png"}
    changed = [{**entry, fields[key]: value}, {**entry, "id": value}] if deep else value
    try:
        path = coco_file(root / "x.json", **{key: changed})
    except UnicodeEncodeError:
        return
    with contextlib.suppress(DataError), progress.watching(None, lambda text: None):
        read_detection(path)


def test_marks_of_nothing_and_readings_are_examined(tmp_path: Path) -> None:
    photos(tmp_path, "a.png")
    reading = Reading("yolo", tmp_path, ("a",), (0,), [Labelled(tmp_path / "a.png", "", Marks.of([]))])
    (one,) = examine(reading)
    assert len(one.truth()) == 0
    assert reading.findings.counts == {"background": 1}
