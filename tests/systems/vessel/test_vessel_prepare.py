"""Boxes under rotation (acceptance 11), splits by patient (13), near-duplicates, and what ``prepare`` writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight import progress
from fieldsight.data.detection.checks import Known
from fieldsight.data.detection.folders import write_detection
from fieldsight.data.detection.sample import DetectionSample, Truth
from fieldsight.data.images import read_image, write_image
from fieldsight.data.splits import read_manifest
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.vessel import leakage, rotated
from fieldsight.systems.vessel.datasets import STENOSIS, AngiogramSet, read_angiograms
from fieldsight.systems.vessel.datasets.plain import ViewRow, write_views
from fieldsight.systems.vessel.phantom import TABLE_1, Patient, render
from fieldsight.systems.vessel.prepare import PrepareOptions, draw, fused_frame, prepare
from fieldsight.systems.vessel.rotated import Change
from fieldsight.verbs import Written

SIZE = (60, 80)


@contextmanager
def quiet() -> Iterator[list[str]]:
    said: list[str] = []
    with progress.watching(progress.silent, said.append):
        yield said


def sample(
    id: str, group: str, split: str = "train", picture: Any = None, truth: Truth | None = None
) -> DetectionSample:
    seen = rng_for(id).integers(0, 256, (*SIZE, 3), np.uint8) if picture is None else picture
    known = Truth.of([[10, 12, 30, 28], [50, 40, 60, 52]], [0, 0], [False, True]) if truth is None else truth
    return DetectionSample(id, group, split, seen.shape[:2], partial(np.array, seen), Known(known))


# ------------------------------------------------------------------------------------------ boxes in rotation


def area(boxes: Any) -> Any:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


@pytest.mark.parametrize(("degrees", "factor"), [(15, 1.5), (30, 1.866), (45, 2.0), (-30, 1.866), (0, 1.0)])
def test_a_square_box_grows_by_its_corners_and_not_by_its_ellipse(degrees: float, factor: float) -> None:
    square = np.array([[10.0, 20.0, 30.0, 40.0]])
    assert area(rotated.hull(square, degrees))[0] / 400 == pytest.approx(factor, abs=1e-3)
    assert area(rotated.ellipse(square, degrees))[0] == pytest.approx(400)


def test_sides_after_a_rotation_are_those_of_the_formulas() -> None:
    box, turn = np.array([[0.0, 0.0, 30.0, 10.0]]), np.radians(25)
    c, s = np.cos(turn), np.sin(turn)
    sides = rotated.hull(box, 25).reshape(2, 2)
    assert sides[1] - sides[0] == pytest.approx([30 * c + 10 * s, 30 * s + 10 * c])
    sides = rotated.ellipse(box, 25).reshape(2, 2)
    assert sides[1] - sides[0] == pytest.approx([np.hypot(30 * c, 10 * s), np.hypot(30 * s, 10 * c)])
    up = rotated.hull(np.array([[60.0, 45.0, 80.0, 55.0]]), 90, (50.0, 50.0))
    assert up[0] == pytest.approx([45, 20, 55, 40])  # counter-clockwise as seen: from the right to the top


corners = st.tuples(*[st.floats(0, 500, width=32)] * 4).map(
    lambda v: [*np.minimum(v[:2], v[2:]), *np.maximum(v[:2], v[2:])]
)


@settings(max_examples=80, deadline=None)
@given(st.lists(corners, max_size=6), st.integers(1, 1024))
def test_flips_are_involutions(boxes: list[list[float]], side: int) -> None:
    rows = np.array(boxes, np.float64).reshape(-1, 4)
    for flip in (rotated.flipped_lr, rotated.flipped_ud):
        assert flip(flip(rows, side), side) == pytest.approx(rows, abs=1e-9)
        assert area(flip(rows, side)) == pytest.approx(area(rows), abs=1e-6)
    whole = np.round(rows)
    assert np.array_equal(rotated.flipped_lr(rotated.flipped_lr(whole, side), side), whole)


@settings(max_examples=80, deadline=None)
@given(st.floats(-180, 180), st.floats(2, 100), st.floats(2, 100), st.integers(3, 9), st.integers(0, 99))
def test_outline_lies_in_the_hull_and_each_rule_keeps_the_centre(
    degrees: float, wide: float, high: float, points: int, seed: int
) -> None:
    box = np.array([[5.0, 7.0, 5.0 + wide, 7.0 + high]])
    outline = np.random.default_rng(seed).uniform(box[0, :2], box[0, 2:], (points, 2))
    outer, inner = rotated.hull(box, degrees, (40, 40)), rotated.ellipse(box, degrees, (40, 40))
    drawn = rotated.polygon(box, [(outline,)], degrees, (40, 40))
    assert (outer[:, :2] <= inner[:, :2] + 1e-9).all()
    assert (inner[:, 2:] <= outer[:, 2:] + 1e-9).all()
    assert (outer[:, :2] <= drawn[:, :2] + 1e-9).all()
    assert (drawn[:, 2:] <= outer[:, 2:] + 1e-9).all()
    assert outer[:, :2] + outer[:, 2:] == pytest.approx(inner[:, :2] + inner[:, 2:])
    assert np.array_equal(rotated.polygon(box, [None], degrees, (40, 40)), inner)


def test_rules_and_angles_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown rule 'elipse'"):
        Change(10.0, "", "elipse")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rotation or the flip"):
        Change(10.0, "h")
    with pytest.raises(ConfigError, match="nan"):
        Change(float("nan"))
    with pytest.raises(DataError, match="2 boxes have 1 outlines"):
        rotated.polygon(np.zeros((2, 4)), [None], 5)


def disc(box: Sequence[float], size: tuple[int, int] = (120, 160)) -> Any:
    """A bright ellipse that fills a box, on black."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    x1, y1, x2, y2 = box
    inside = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
    return np.repeat((255 * inside).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("change", [*rotated.changes(), Change(180.0), Change(-120.0)], ids=lambda c: c.name)
def test_box_and_picture_move_together(change: Change) -> None:
    box = [70.0, 45.0, 104.0, 59.0]
    picture = disc(box)
    seen = np.argwhere(change.picture(picture)[..., 0] > 127)
    truth = change.truth(Truth.of([box], [0]), (120, 160))
    found = np.array([*seen.min(axis=0)[::-1], *(seen.max(axis=0)[::-1] + 1)])
    assert truth.boxes[~truth.ignore][0] == pytest.approx(found, abs=1.01)
    middle = (truth.boxes[0, :2] + truth.boxes[0, 2:]) / 2
    copies = truth.boxes[truth.ignore]  # of the reflected surroundings only
    assert not ((copies[:, :2] < middle) & (middle < copies[:, 2:])).all(axis=1).any()
    assert change.picture(picture).shape == picture.shape


@pytest.mark.parametrize(("degrees", "top"), [(10.0, 4.0), (-25.0, 4.0), (45.0, 50.0), (-12.0, 98.0), (180.0, 4.0)])
def test_what_reflected_corners_show_of_a_stenosis_is_ignored(degrees: float, top: float) -> None:
    box = [136.0, top, 156.0, top + 20.0]
    change = Change(degrees)
    picture, truth = change.picture(disc(box)), change.truth(Truth.of([box], [0]), (120, 160))
    covered = np.zeros(picture.shape[:2], np.bool_)
    for x1, y1, x2, y2 in truth.boxes:
        covered[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
    bright = picture[..., 0] > 127
    assert bright.any()
    assert (bright & ~covered).sum() <= 12  # slivers of under two pixels
    plain = replace(change, ignore_rest=False).truth(Truth.of([box], [0]), (120, 160))
    assert not plain.ignore.any()


def test_corners_are_filled_by_reflection_not_by_black() -> None:
    flat = np.full((40, 60, 3), 90, np.uint8)
    assert (Change(33.0).picture(flat) == 90).all()


def test_boxes_mostly_outside_are_dropped_and_ignored_regions_stay() -> None:
    corner, middle = [148.0, 108.0, 158.0, 118.0], [70.0, 50.0, 90.0, 70.0]
    truth = Truth.of([corner, middle, corner], [0, 0, 0], [False, False, True])
    found = Change(45.0, ignore_rest=False).truth(truth, (120, 160))
    assert found.ignore.tolist() == [False]  # the corner has left the picture altogether
    for shift, kept in ((2.0, True), (-2.0, False)):  # half of a square around the middle of an edge would be left
        edge = [[70.0, -10.0 + shift, 90.0, 10.0 + shift]]
        turned = Change(180.0, ignore_rest=False).truth(Truth.of(edge * 2, [0, 0], [False, True]), (120, 160))
        assert turned.ignore.tolist() == ([False, True] if kept else [True])
        assert turned.boxes.max(axis=0).tolist() == [70.0, 110.0 - shift, 90.0, 120.0]
        rest = Change(180.0).truth(Truth.of(edge, [0]), (120, 160))
        assert (~rest.ignore).sum() == kept
        assert any(np.allclose(box, turned.boxes[0]) for box in rest.boxes)


def test_offline_gives_nineteen_rotations_and_two_flips_and_the_papers_count_fits_none() -> None:
    one = replace(sample("a", "p"), facts={"polygons": (None, None), "grades": ("p99", "p0_20"), "artery": "LCA"})
    made = list(rotated.offline(one))
    names = [s.id for s in made]
    assert len(names) == len(set(names)) == 21
    assert {f"a_r{d}" for d in range(-45, 46, 5)} | {"a_fh", "a_fv"} == set(names)
    assert {s.group for s in made} == {"p"}
    assert made[0].facts == {"artery": "LCA", "change": "r-45"}
    same = next(s for s in made if s.id == "a_r0")
    assert np.array_equal(same.image(), one.image())
    assert np.array_equal(same.truth().boxes, one.truth().boxes)
    found = rotated.count()
    assert (found.images, found.rotated, found.flipped, found.printed) == (280, 5320, 5880, 7320)
    assert found.each == pytest.approx(26.14, abs=0.005)
    assert not found.each.is_integer()


# ----------------------------------------------------------------------------------------------------- splits


def table_1() -> tuple[list[DetectionSample], dict[str, str]]:
    """400 frames of 40 patients with the paper's counts by view; a patient has one artery."""
    samples, views = [], {}
    for artery, counts in TABLE_1.items():
        patients = 28 if artery == "LCA" else 12
        frames = [f"{artery} {name}" for name, count in counts.items() for _ in range(count)]
        for k, view in enumerate(frames):
            one = sample(f"{artery}{k:03d}", f"{artery}{k % patients:02d}")
            samples.append(one)
            views[one.id] = view
    return samples, views


def counted(samples: Sequence[DetectionSample], views: dict[str, str]) -> dict[str, list[int]]:
    table: dict[str, Counter[str]] = {}
    for one in samples:
        table.setdefault(views[one.id], Counter())[one.split] += 1
    return {view: [row[s] for s in ("train", "val", "test")] for view, row in table.items()}


def test_a_random_split_has_the_papers_counts_and_leaks() -> None:
    samples, views = table_1()
    made = leakage.split_angiograms(samples, views, by="random")
    assert Counter(s.split for s in made) == {"train": 280, "val": 60, "test": 60}
    printed = {
        "LCA zero": [76, 16, 17], "LCA LAO": [67, 14, 15], "LCA RAO": [53, 11, 11],
        "RCA zero": [21, 5, 4], "RCA LAO": [36, 8, 7], "RCA RAO": [27, 6, 6],
    }  # fmt: skip
    for view, row in counted(made, views).items():
        assert row == pytest.approx(printed[view], abs=1)
    assert len(leakage.straddling(made)) >= 35  # of 40 patients


def test_a_split_by_patient_leaks_none_and_shares_out_the_views() -> None:
    samples, views = table_1()
    made = leakage.split_angiograms(samples, views)
    assert leakage.straddling(made) == {}
    for view, (train, val, test) in counted(made, views).items():
        total = train + val + test
        assert train / total == pytest.approx(0.7, abs=0.1), view
        assert min(val, test) / total >= 0.07, view
    assert [(s.id, s.split) for s in made] == [(s.id, s.split) for s in leakage.split_angiograms(samples, views)]
    order = {s.id: s.split for s in leakage.split_angiograms(samples[::-1], views)}
    assert order == {s.id: s.split for s in made}
    other = leakage.split_angiograms(samples, views, seed=1)
    assert {s.id: s.split for s in other} != order


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=12), st.integers(0, 5))
def test_no_patient_is_in_two_splits_whatever_the_sizes(sizes: list[int], seed: int) -> None:
    samples = [
        sample(f"{g}-{k}", f"p{g}", picture=np.zeros((2, 2, 3), np.uint8))
        for g, n in enumerate(sizes)
        for k in range(n)
    ]
    made = leakage.split_angiograms(samples, {}, seed=seed)
    assert leakage.straddling(made) == {}
    assert {s.split for s in made} == {"train", "val", "test"}


def test_splits_that_cannot_be_are_refused() -> None:
    samples = [sample("a", "p"), sample("b", "p")]
    with pytest.raises(DataError, match="1 patients can't fill 3 splits"):
        leakage.split_angiograms(samples, {})
    assert {s.split for s in leakage.split_angiograms(samples, {}, (1, 0, 0))} == {"train"}
    for shares in ((1, 1), (0, 0, 0), (1, -1, 1)):
        with pytest.raises(ConfigError, match="shares are"):
            leakage.split_angiograms(samples, {}, shares)


# -------------------------------------------------------------------------------------------- near-duplicates


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    """One frame each of six drawn patients."""
    return [np.asarray(render(Patient.draw("train", n), side=96).image) for n in range(6)]


def altered(frame: Any, how: str) -> Any:
    if how == "jpeg":
        return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)
    if how == "smaller":
        return cv2.resize(frame, (70, 70), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).normal(0, 3, frame.shape)
    return np.clip(1.1 * frame + 6 + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("how", ["jpeg", "smaller", "brighter"])
def test_altered_copies_are_near_and_other_patients_are_not(frames: list[Any], how: str) -> None:
    hashes = np.stack([leakage.picture_hash(f) for f in frames])
    assert hashes.shape == (6, 255)
    for frame, own in zip(frames, hashes, strict=True):
        assert (leakage.picture_hash(altered(frame, how)) != own).sum() <= leakage.LIMIT
    apart = (hashes[:, None] != hashes[None]).sum(axis=2)
    assert apart[~np.eye(6, dtype=bool)].min() > 1.5 * leakage.LIMIT


def test_near_duplicates_are_found_and_grouped(frames: list[Any]) -> None:
    rgb = [np.repeat(f[..., None], 3, axis=2) for f in frames]
    copy = np.repeat(altered(frames[0], "jpeg")[..., None], 3, axis=2)
    samples = [sample(f"f{k}", f"g{k}", picture=p) for k, p in enumerate([*rgb, copy])]
    clusters = leakage.near_duplicates(samples)
    assert clusters == [["f0", "f6"]]
    joined = leakage.regrouped(samples, [*clusters, ["f6", "f3"]])
    assert [s.group for s in joined] == ["g0", "g1", "g2", "g0", "g4", "g5", "g0"]
    assert leakage.near_duplicates([]) == []
    with pytest.raises(ConfigError, match="limit is 256"):
        leakage.near_duplicates(samples, 256)


# ---------------------------------------------------------------------------------------------------- prepare


def options(**changes: Any) -> PrepareOptions:
    return PrepareOptions.parse({"drawn": {"patients": 5, "each": 2, "side": 96}, "sigmas": (1.0, 3.0), **changes})


def run(data: Path | None, out: Path, **changes: Any) -> tuple[Written, str]:
    with quiet() as said:
        written = prepare(data, out, options(**changes))
    return written, "\n".join(said)


def read(folder: Path) -> AngiogramSet:
    with quiet():
        return read_angiograms(folder)


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def drawn() -> AngiogramSet:
    with quiet():
        return draw(options())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written]:
    out = tmp_path_factory.mktemp("prepared") / "set"
    return out, run(None, out, offline=True)[0]


def test_both_variants_have_the_same_names_boxes_and_splits(prepared: tuple[Path, Written]) -> None:
    out, written = prepared
    raw, fused = tree(out / "raw"), tree(out / "fused")
    assert list(raw) == list(fused)
    same = {name for name in raw if raw[name] == fused[name]}
    assert {name for name in raw if not name.startswith("images/")} <= same
    assert not any(name.startswith("images/") for name in same)
    assert sorted(p.name for p in out.iterdir()) == ["fused", "prepare.json", "raw"]
    assert written.facts["written"] == {
        "train": 21 * written.facts["split"]["train"], "val": written.facts["split"]["val"],
        "test": written.facts["split"]["test"],
    }  # fmt: skip
    assert json.loads((out / "prepare.json").read_text())["drawn"] is True


def test_no_drawn_patient_is_in_two_splits_and_all_comes_back(
    prepared: tuple[Path, Written], drawn: AngiogramSet
) -> None:
    out, written = prepared
    assert written.facts["patients_in_two_splits"] == 0
    assert leakage.straddling(drawn.samples) == {}
    for variant in ("raw", "fused"):
        found = read(out / variant)
        assert found.patients and found.settled  # noqa: PT018
        assert leakage.straddling(found.samples) == {}
        back = {s.id: s for s in found.samples}
        for one in drawn.samples:
            other = back[f"{one.id}_r0" if one.split == "train" else one.id]
            assert (other.group, other.split) == (one.group, one.split)
            assert found.views[other.id] == drawn.views[one.id]
            if variant == "raw":
                assert np.array_equal(other.image(), one.image())
            for hidden in (False, True):
                mine, theirs = one.truth(), other.truth()
                assert theirs.boxes[theirs.ignore == hidden] == pytest.approx(
                    mine.boxes[mine.ignore == hidden], abs=1e-3
                )


def test_drawn_views_are_those_of_the_frames(drawn: AngiogramSet) -> None:
    for one in drawn.samples[:4]:
        split, seed, number, shot = one.id.split("-")
        frame = render(Patient.draw(split, int(number), int(seed)), side=96, shot=int(shot))
        assert drawn.views[one.id] == frame.view
        assert np.array_equal(one.image()[..., 0], frame.image)
        assert (~one.truth().ignore).sum() == len(frame.boxes)


def test_pictures_are_enhanced_before_they_are_turned(prepared: tuple[Path, Written]) -> None:
    out, _ = prepared
    raw, fused = (out / variant / "images" / "train" for variant in ("raw", "fused"))
    names = [p.name for p in sorted(raw.iterdir()) if p.name.endswith("_r0.png")]
    assert len(names) > 3
    for name in names:
        enhanced = fused_frame(read_image(raw / name, "grey"), "ihs", options())
        assert np.array_equal(read_image(fused / name), enhanced)
        turned = name.replace("_r0", "_r35")
        assert np.array_equal(read_image(fused / turned), Change(35.0).picture(enhanced))
        late = fused_frame(read_image(raw / turned, "grey"), "ihs", options())
        assert not np.array_equal(read_image(fused / turned), late)


def test_same_options_give_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    few = {"drawn": {"patients": 3, "each": 1, "side": 64}}
    run(None, tmp_path / "a", **few)
    run(None, tmp_path / "b", **few)
    run(None, tmp_path / "c", **few, seed=1)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert tree(tmp_path / "a" / "raw") != tree(tmp_path / "c" / "raw")


@pytest.mark.parametrize(
    "mode", ["raw", "ihs", "blend", "average", "stack", "substitute", "vesselness", "clahe", "unsharp"]
)
def test_every_mode_gives_a_picture(frames: list[Any], mode: str) -> None:
    found = fused_frame(frames[0], mode, options())
    assert found.shape == (96, 96, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found[..., 0], frames[0]) == (mode in ("raw", "stack"))


def own(root: Path, layout: str = "yolo", patients: int = 5, each: int = 3) -> Path:
    """A user's set without splits, with a ``views.csv``."""
    made = [sample(f"p{p}_{k}", f"p{p}") for p in range(patients) for k in range(each)]
    with quiet():
        write_detection(made, STENOSIS, root, layout)
    (root / "manifest.csv").unlink()
    write_views(root / "views.csv", [ViewRow(s.id, s.group, "RCA LAO") for s in made])
    return root


@pytest.mark.parametrize("layout", ["yolo", "coco", "voc"])
def test_ignored_regions_survive_every_layout_twice(tmp_path: Path, layout: str) -> None:
    data = own(tmp_path / "data", "coco")
    _, said = run(data, tmp_path / "out", layout=layout, shares=(50, 25, 25))
    assert "left out" not in said
    run(tmp_path / "out" / "fused", tmp_path / "again", layout=layout)
    for folder in (tmp_path / "out" / "raw", tmp_path / "again" / "fused"):
        found = read(folder)
        assert len(found.samples) == 15
        assert found.layout == layout
        assert set(found.views.values()) == {"RCA LAO"}
        for one in found.samples:
            truth = one.truth()
            rows = np.column_stack([truth.boxes, truth.ignore])
            assert rows[np.argsort(truth.ignore)] == pytest.approx(
                np.array([[10, 12, 30, 28, 0], [50, 40, 60, 52, 1]]), abs=1e-3
            )


def cadica(root: Path, patients: int = 6) -> Path:
    for n in range(1, patients + 1):
        for video in ("v1", "v2"):
            name, folder = f"p{n}_{video}", root / "CADICA" / "selectedVideos" / f"p{n}" / video
            for frame in range(1, 3):
                write_image(
                    folder / "input" / f"{name}_{frame:05d}.png",
                    rng_for(name, frame).integers(0, 256, (48, 48), np.uint8),
                )
            (folder / f"{name}_selectedFrames.txt").write_text(f"{name}_00001\n{name}_00002\n")
            (folder / "groundtruth").mkdir()
            for frame in (1, 2):
                (folder / "groundtruth" / f"{name}_{frame:05d}.txt").write_text("5 6 9 9 p70_90\n1 1 3 3 p0_20\n")
    return root


def test_no_patient_of_cadica_is_in_two_splits(tmp_path: Path) -> None:
    written, said = run(cadica(tmp_path / "data"), tmp_path / "out")
    assert written.facts["patients"] == {"train": 4, "val": 1, "test": 1}
    assert written.facts["patients_in_two_splits"] == 0
    assert "Warning" not in said
    found = read(tmp_path / "out" / "raw")
    assert leakage.straddling(found.samples) == {}
    assert {s.group for s in found.samples} == {f"p{n}" for n in range(1, 7)}
    manifest: dict[str, set[str]] = {}
    for row in read_manifest(tmp_path / "out" / "fused" / "manifest.csv"):
        manifest.setdefault(row.group, set()).add(row.split)
    assert all(len(splits) == 1 for splits in manifest.values())


def test_a_random_split_is_kept_to_show_the_leak_and_says_so(tmp_path: Path) -> None:
    written, said = run(cadica(tmp_path / "data"), tmp_path / "out", by="random")
    assert written.facts["patients_in_two_splits"] > 0
    assert "Warning: " in said
    assert "split at random, as the paper did" in said
    found = read(tmp_path / "out" / "raw")  # still readable, and the leak is still seen
    assert len(leakage.straddling(found.samples)) == written.facts["patients_in_two_splits"]


def arcade(root: Path, frames: list[Any]) -> Path:
    """Six pictures in the data set's own splits; the first of test is a copy of the first of train."""
    pictures = {"train": frames[:3], "val": [frames[3]], "test": [altered(frames[0], "jpeg"), frames[4]]}
    for split, own_ in pictures.items():
        folder = root / "stenosis" / split
        images = [{"id": n, "file_name": f"{n}.png", "width": 96, "height": 96} for n in range(1, len(own_) + 1)]
        for image, picture in zip(images, own_, strict=True):
            write_image(folder / "images" / str(image["file_name"]), picture)
        marks = [{"id": 1, "image_id": 1, "category_id": 26, "bbox": [30, 30, 20, 20], "area": 300, "iscrowd": 0,
                  "segmentation": [[30, 30, 50, 30, 50, 50, 30, 50]]}]  # fmt: skip
        content = {"images": images, "categories": [{"id": 26, "name": "stenosis"}], "annotations": marks}
        (folder / "annotations").mkdir(parents=True)
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return root


def test_arcade_keeps_its_splits_and_near_duplicates_across_them_are_told(tmp_path: Path, frames: list[Any]) -> None:
    data = arcade(tmp_path / "arcade", frames)
    written, said = run(data, tmp_path / "out", rule="polygon")
    assert written.facts["split"] == {"train": 3, "val": 1, "test": 2}
    assert written.facts["near_duplicates_across_splits"] == 1
    assert "1 sets, 1 of them across splits" in said
    assert not read(tmp_path / "out" / "raw").patients  # nobody told them
    dropped, _ = run(data, tmp_path / "dropped", leaks="drop")
    assert dropped.facts["split"] == {"train": 2, "val": 1, "test": 2}
    assert dropped.facts["patients_in_two_splits"] == 0
    anew, _ = run(data, tmp_path / "anew", splits="new", shares=(40, 30, 30))
    assert anew.facts["near_duplicates_across_splits"] == 0


def test_folders_that_prepare_must_not_touch_are_left_alone(tmp_path: Path) -> None:
    data = own(tmp_path / "data")
    before = tree(tmp_path)
    with pytest.raises(DataError, match="--out"):
        prepare(data, None, options())
    with pytest.raises(DataError, match="holds the data set itself"):
        run(data, data)
    with pytest.raises(DataError, match="holds the data set itself"):
        run(data / "data.yaml", tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("x")
    with pytest.raises(DataError, match="is not empty and no folder of prepare"):
        run(data, tmp_path / "other")
    with pytest.raises(DataError, match="is a file"):
        run(data, tmp_path / "other" / "precious.txt")
    assert before.items() <= tree(tmp_path).items()
    assert (tmp_path / "other" / "precious.txt").read_text() == "x"


def test_a_run_that_fails_leaves_the_earlier_result(tmp_path: Path) -> None:
    data = own(tmp_path / "data")
    run(data, tmp_path / "out")
    before = tree(tmp_path / "out")
    broken = next((data / "images").rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(DataError, match=broken.name):
        run(data, tmp_path / "out")
    assert tree(tmp_path / "out") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "out"]


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="shares"):
        options(shares=(0, 0, 0))
    with pytest.raises(ConfigError, match="Unknown choice 'patients'"):
        options(by="patients")
    with quiet(), pytest.raises(DataError, match=r"Draw more patients"):
        draw(options(drawn={"patients": 2}))
