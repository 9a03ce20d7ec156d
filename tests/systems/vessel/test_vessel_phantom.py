"""The projected coronary phantom: anatomy, projection, contrast flow, lesions, and what acceptance 13 and 14 ask."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from fieldsight.errors import ConfigError
from fieldsight.systems.vessel import filters
from fieldsight.systems.vessel.phantom import (
    PRESETS,
    SPLITS,
    TABLE_1,
    VIEWS,
    Angiogram,
    Look,
    Patient,
    View,
    draw_frames,
    render,
    sequence,
)
from fieldsight.systems.vessel.phantom.camera import Camera, axes_of
from fieldsight.systems.vessel.phantom.flow import FPS
from fieldsight.systems.vessel.phantom.heart import Heart, squeeze_at
from fieldsight.systems.vessel.phantom.lesions import Lesion, narrowed
from fieldsight.systems.vessel.phantom.project import Shadow, cast
from fieldsight.systems.vessel.phantom.raster import covered
from fieldsight.systems.vessel.phantom.tree import STEP, Branch, Tree

FLAT = Heart(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]), np.array([50.0, 50.0, 50.0]))
STILL = replace(PRESETS["mixed"], motion=0.0)


@cache
def patient(number: int, split: str = "train") -> Patient:
    return Patient.draw(split, number)


@cache
def frames() -> tuple[tuple[Patient, Angiogram], ...]:
    """Twelve patients, three views each, small pictures."""
    return tuple((patient(n), render(patient(n), view, side=160)) for n in range(12) for view in VIEWS)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def straight(start: tuple[float, float, float], end: tuple[float, float, float], radius: float, joins: float) -> Branch:
    """A cylinder in the frame of :data:`FLAT`, seen from the front: first axis right, second up, third to the back."""
    points = np.linspace(start, end, int(np.ceil(np.linalg.norm(np.subtract(end, start)) / STEP)) + 1)
    arc = np.linalg.norm(points - points[0], axis=1)
    return Branch(f"B{joins}", -1, joins, points, np.full(len(points), radius), arc, 0.0, False)


def shadow(branches: list[Branch], scale: float = 2.0, side: int = 128) -> Shadow:
    camera = Camera(axes_of(View(0.0)), (0.0, 0.0), scale, side)
    full = [np.ones(len(b.points)) for b in branches]
    return cast(Tree(tuple(branches), ()), [b.radii for b in branches], full, FLAT, camera)


# ------------------------------------------------------------------------------------------- chance and patients


def test_same_seed_same_bytes_and_another_run_differs() -> None:
    first, again = (render(Patient.draw("val", 3, 5), "LAO", side=96) for _ in range(2))
    for name in ("image", "intensity", "lumen", "mask", "main", "thin", "boxes", "percent", "ignored", "crossings"):
        assert digest(getattr(first, name)) == digest(getattr(again, name)), name
    others = [
        render(Patient.draw("val", 3, 5), "LAO", side=96, shot=1),
        render(Patient.draw("val", 3, 6), "LAO", side=96),
        render(Patient.draw("val", 4, 5), "LAO", side=96),
        render(Patient.draw("test", 3, 5), "LAO", side=96),
    ]
    assert len({digest(a.image) for a in (first, *others)}) == 5


def test_no_patient_is_in_two_splits() -> None:
    """Acceptance 13: different ids, and different people behind them."""
    people = {split: [patient(n, split) for n in range(12)] for split in SPLITS}
    ids = [p.id for group in people.values() for p in group]
    trees = [digest(p.tree.branches[0].points) for group in people.values() for p in group]
    assert len(set(ids)) == len(set(trees)) == 36
    assert all(p.id.startswith(split) for split, group in people.items() for p in group)


def test_arteries_and_views_are_as_frequent_as_in_table_1() -> None:
    arteries = Counter(patient(n).artery for n in range(20))
    assert arteries == {"LCA": 14, "RCA": 6}
    for artery, wanted in TABLE_1.items():
        someone = next(patient(n) for n in range(10) if patient(n).artery == artery)
        found = Counter(someone.view(None, shot).name for shot in range(600))
        for name, count in wanted.items():
            assert found[name] / 600 == pytest.approx(count / sum(wanted.values()), abs=0.07), (artery, name)
    assert sum(sum(counts.values()) for counts in TABLE_1.values()) == 400


def test_every_view_has_its_label_and_angles() -> None:
    for artery in ("LCA", "RCA"):
        someone = Patient.draw("train", 0, artery=artery)
        for name, primary in VIEWS.items():
            tilts = set()
            for shot in range(12):
                view = someone.view(name, shot)
                assert view.name == name
                assert view.primary == pytest.approx(primary, abs=5)
                tilts.add(round(view.secondary / 20))
            assert tilts == {-1, 0, 1}
            assert render(someone, name, side=64).view == f"{artery} {name}"
    exact = render(patient(0), View(16.0, 7.0), side=64)
    assert (exact.view, exact.primary, exact.secondary) == (f"{patient(0).artery} LAO", 16.0, 7.0)


# --------------------------------------------------------------------------------------------------- anatomy


def test_murray() -> None:
    for number in range(6):
        tree = patient(number).tree
        assert len(tree.junctions) == len(tree.branches) - 1 - any(b.name == "LM" for b in tree.branches)
        for j in tree.junctions:
            assert j.before**3 == pytest.approx(j.after**3 + j.side**3, rel=1e-9)
            stem, child = tree.branches[j.parent], tree.branches[j.child]
            place = int(np.argmin(np.abs(stem.arc - j.arc)))
            assert np.allclose(stem.points[place], child.points[0], atol=1e-6)
            assert child.radii[0] == pytest.approx(j.side, rel=0.06)
            assert child.path == pytest.approx(stem.path + j.arc, abs=1e-6)
            if 0 < place < len(stem.arc) - 1:
                assert stem.radii[place - 1] > stem.radii[place]


def test_branches_are_smooth_tapering_and_as_thick_as_asked_for() -> None:
    low, high = (d * 115 / 512 for d in PRESETS["mixed"].branch_diameter)
    for number in range(6):
        for branch in patient(number).tree.branches:
            ahead = np.diff(branch.points, axis=0)
            step = np.linalg.norm(ahead, axis=1)
            assert step.max() < 1.2 * STEP
            cosine = (ahead[1:] * ahead[:-1]).sum(axis=1) / (step[1:] * step[:-1])
            assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 20
            assert branch.radii.min() > 0.1
            assert branch.name == "LM" or branch.radii[-1] < 0.75 * branch.radii[0]
            if not branch.main:
                assert branch.radii[0] * 2 < high * 1.08
                assert branch.name[-1] in "abc" or branch.radii[0] * 2 > low * 0.5
    thick = Patient.draw("train", 0, look=Look(branch_diameter=(6.0, 6.0))).tree
    found = [2 * b.radii[0] * 512 / 115 for b in thick.branches if b.name in ("D1", "OM1", "RV1", "PDA")]
    assert found
    assert np.allclose(found, 6.0, rtol=0.06)


def test_the_heart_beats_and_rests() -> None:
    assert squeeze_at(0.0) == squeeze_at(0.8) == squeeze_at(1.0) == 0.0
    assert squeeze_at(0.35) == pytest.approx(1.0)
    phases = np.linspace(0, 2, 400)
    assert np.abs(np.diff([squeeze_at(p) for p in phases])).max() < 0.03
    heart = patient(0).heart
    apex, base = heart.place(0, 0)[None], heart.place(105, 0)[None]
    long = [float(np.linalg.norm(heart.in_patient(apex, s) - heart.in_patient(base, s))) for s in (0.0, 1.0)]
    assert long[1] < 0.97 * long[0]
    assert np.array_equal(heart.in_patient(apex, 1.0, motion=0.0), heart.in_patient(apex, 0.0))


def test_the_patients_left_is_on_the_right_and_oblique_views_see_the_septum_on_edge() -> None:
    left, head = np.array([[30.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 30.0]])
    camera = Camera(axes_of(View(0.0)), (0.0, 0.0), 2.0, 256)
    assert camera.project(left)[0][0, :2] == pytest.approx([128 + 60, 128])
    assert camera.project(head)[0][0, :2] == pytest.approx([128, 128 - 60])
    for view in (View(40.0), View(-30.0, 20.0), View(5.0, -25.0)):
        axes = axes_of(view)
        assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1.0)
    # the anterior and posterior grooves fall together in LAO, the long axis lies across the picture in RAO
    heart = next(patient(n) for n in range(9)).heart
    lao, rao = axes_of(View(40.0)), axes_of(View(-30.0))
    assert abs(lao[0] @ heart.axes[1]) > 0.9
    assert rao[0] @ heart.axes[2] > abs(lao[0] @ heart.axes[2])


# ------------------------------------------------------------------------------------------------- projection


@pytest.mark.parametrize("radius", [0.05, 0.125, 0.3, 1.0])
@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0, 90.0])
def test_thin_vessels_keep_their_integrated_density(radius: float, angle: float) -> None:
    """The path lengths of a tube sum to its volume; radii are 0.1 to 2 px here."""
    way = 20.0 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0.0])
    found = shadow([straight(tuple(-way), tuple(way), radius, 0.0)])
    volume = np.pi * radius**2 * 40.0 + 4 / 3 * np.pi * radius**3
    assert float(found.path.sum()) / 2.0**3 == pytest.approx(volume, rel=0.02)
    assert found.side.any()
    rows, columns = np.nonzero(found.side)
    assert max(np.ptp(rows), np.ptp(columns)) >= 40.0 * 2.0 * np.cos(np.radians(45)) - 2, "the mask has a gap at an end"


def test_the_chord_is_elliptic_and_longer_where_a_vessel_is_slanted() -> None:
    across = shadow([straight((-20, 0.25, 0), (20, 0.25, 0), 3.0, 0.0)])
    column = across.path[:, 64]
    offset = (64 - 0.5 - np.arange(128)) - 0.5  # rows above the axis, which is 0.25 mm = 0.5 px up
    expected = 2 * np.sqrt(np.clip(6.0**2 - offset**2, 0, None))
    assert np.abs(column - expected)[np.abs(offset) < 5].max() < 0.08
    slanted = shadow([straight((-15, 0.25, -15), (15, 0.25, 15), 3.0, 0.0)])
    assert slanted.path[63, 64] / across.path[63, 64] == pytest.approx(np.sqrt(2), rel=0.02)


def test_overlaps_add() -> None:
    one, two = straight((-20, 0, 10), (20, 0, 10), 2.0, 0.0), straight((0, -20, -10), (0, 20, -10), 1.5, 5.0)
    both, first, second = shadow([one, two]), shadow([one]), shadow([two])
    assert np.abs(both.path - first.path - second.path).max() < 1e-4
    assert both.path.max() > 1.6 * first.path.max()
    assert both.crossings.shape == (1, 2)
    assert both.crossings[0] == pytest.approx([64, 64], abs=1.5)
    assert len(first.crossings) == 0


def test_vessels_that_join_share_a_lumen() -> None:
    whole = straight((-20, 0, 0), (20, 0, 0), 2.0, 0.0)
    stem, rest = straight((-20, 0, 0), (0, 0, 0), 2.0, 0.0), straight((0, 0, 0), (20, 0, 0), 2.0, 20.0)
    split = shadow([stem, replace(rest, parent=0)])
    assert np.abs(split.path - shadow([whole]).path).max() < 0.1
    assert len(split.crossings) == 0
    fork = shadow([stem, replace(rest, parent=0), replace(straight((0, 0, 0), (15, 15, 0), 1.5, 20.0), parent=0)])
    assert fork.path.max() < 1.3 * split.path.max()


def test_the_covered_part_of_a_chord_is_measured_once() -> None:
    def px(*values: float) -> np.ndarray:
        return np.array(values, np.float32).reshape(-1, 1, 1)

    # chord 0..10 against 2..6, 4..8 and 20..30
    assert covered(px(10)[0], px(5)[0], px(4, 4, 10), px(4, 6, 25))[0, 0] == pytest.approx(6)
    assert covered(px(10)[0], px(5)[0], px(40), px(5))[0, 0] == pytest.approx(10)
    assert covered(px(10)[0], px(5)[0], px(4), px(-20))[0, 0] == 0


def test_a_picture_of_another_size_shows_the_same() -> None:
    big, small = (render(patient(2), "LAO", side=side) for side in (512, 128))
    assert np.allclose(big.boxes / 4, small.boxes, atol=1.0)
    assert float(big.lumen.sum()) / 4**3 == pytest.approx(float(small.lumen.sum()), rel=0.01)
    assert big.mask.mean() == pytest.approx(small.mask.mean(), rel=0.3)
    shrunk = big.intensity.reshape(128, 4, 128, 4).mean(axis=(1, 3))
    assert np.corrcoef(shrunk.ravel(), small.intensity.ravel())[0, 1] > 0.97
    assert render(patient(2), side=100).image.shape == (100, 100)


# ----------------------------------------------------------------------------------------------------- frames


def test_a_frame_has_all_that_is_promised() -> None:
    for someone, a in frames():
        assert a.image.shape == a.lumen.shape == a.mask.shape == (160, 160)
        assert (a.image.dtype, a.intensity.dtype, a.lumen.dtype) == (np.uint8, np.float32, np.float32)
        assert np.array_equal(a.image, np.round(a.intensity))
        assert (a.lumen >= 0).all()
        assert not (a.main & ~a.mask).any()
        assert not (a.thin & (a.main | a.devices)).any()
        assert not (a.thin & ~a.mask).any()
        assert a.mid_phase
        assert a.patient == someone.id
        assert len(a.boxes) == len(a.percent) == len(a.branch) == len(a.reference) == len(a.profiles)
        assert a.image[a.mask].mean() < a.image[~a.mask & ~a.devices].mean()
        assert a.image.min() > 5
        assert a.image.max() < 255


def test_decoys_and_crossings_are_in_every_frame_and_healthy_people_have_no_box() -> None:
    for someone, a in frames():
        assert len(a.crossings) >= 1
        assert any(not someone.lesions[d.lesion].significant for d in a.decoys)
        assert not (someone.healthy and len(a.boxes))
    people = [patient(n) for n in range(36)]
    assert 0.03 < np.mean([p.healthy for p in people]) < 0.35
    assert 0.03 < np.mean([bool(p.stents) for p in people]) < 0.35
    assert sum(len(a.boxes) for _, a in frames()) > 20


def test_boxes_hold_the_residual_lumen_and_decoys_have_none() -> None:
    for someone, a in frames():
        for box, profile, on_branch in zip(a.boxes, a.profiles, a.branch, strict=True):
            lesion = someone.lesions[profile.lesion]
            assert lesion.severity >= 0.5
            x, y = profile.points[int(np.argmin(profile.diameters / profile.reference))]
            assert box[0] < x < box[2]
            assert box[1] < y < box[3]
            assert box.min() >= 0
            assert box.max() <= 160
            assert on_branch == (not someone.tree.branches[lesion.branch].main)
            assert a.mask[min(int(y), 159), min(int(x), 159)]
        for decoy in a.decoys:
            if not someone.lesions[decoy.lesion].significant:
                assert decoy.percent < 50


def test_per_cent_stenosis_is_what_the_radii_say() -> None:
    for someone, a in frames():
        for percent, reference, profile in zip(a.percent, a.reference, a.profiles, strict=True):
            lesion = someone.lesions[profile.lesion]
            narrowest = int(np.argmin(profile.diameters / profile.reference))
            assert percent == pytest.approx(
                100 * (1 - profile.diameters[narrowest] / profile.reference[narrowest]), abs=1e-3
            )
            assert reference == pytest.approx(profile.reference[narrowest], rel=1e-5)
            # the flank of a neighbour may add a little
            assert 100 * lesion.severity - 0.01 <= percent <= 100 * lesion.severity + 4
            branch = someone.tree.branches[lesion.branch]
            if not branch.main:
                wide = 2 * branch.radii[int(np.argmin(np.abs(branch.arc - lesion.at)))] * 512 / 115
                assert 0.99 <= wide * (1 - lesion.severity) <= 3.01


def test_a_lesion_is_a_gaussian_dip() -> None:
    branch = straight((0, 0, 0), (40, 0, 0), 1.0, 0.0)
    radii = narrowed(branch, 0, (Lesion(0, 20.0, 0.8, 4.0), Lesion(1, 5.0, 0.9, 1.0)))
    at = {u: radii[int(np.argmin(np.abs(branch.arc - 20.0 - u)))] for u in (-4.0, 0.0, 4.0, 16.0)}
    assert at[0.0] == pytest.approx(0.2)
    assert at[4.0] == pytest.approx(1 - 0.8 * np.exp(-0.5))
    assert at[-4.0] == pytest.approx(at[4.0])
    assert at[16.0] == pytest.approx(1.0, abs=1e-3)
    assert radii[int(np.argmin(np.abs(branch.arc - 5.0)))] == pytest.approx(1.0, abs=1e-3)


# ------------------------------------------------------------------------------------------------- contrast flow


def test_wash_in_is_monotone_and_the_mid_phase_is_full() -> None:
    for number in range(4):
        flow, tree = patient(number).flow, patient(number).tree
        paths = np.concatenate([b.path + b.arc for b in tree.branches])
        times = np.linspace(0.0, flow.ends, 60)
        filled = np.array([flow.concentration(paths, t) for t in times])
        assert (np.diff(filled, axis=0) >= -1e-12).all()
        assert filled[0].max() < 0.5
        assert (filled[[flow.is_mid_phase(t) for t in times]] == 1.0).all()
        assert flow.concentration(paths, flow.ends + 5).max() == 0.0
        # what is further on fills later
        middle = flow.concentration(np.sort(paths), 0.5 * flow.full)
        assert (np.diff(middle) <= 1e-12).all()


def test_a_run_fills_the_vessels_frame_by_frame() -> None:
    someone = next(p for p in map(patient, range(20)) if not p.healthy)
    run = list(sequence(someone, "LAO", 20, side=96, preset=STILL))
    assert np.allclose(np.diff([a.time for a in run]), 1 / FPS)
    sums = np.array([a.lumen.sum() for a in run])
    assert (np.diff(sums) >= -1e-3).all()
    assert run[0].lumen.max() < 0.5 * run[-1].lumen.max()
    assert len(run[0].boxes) == len(run[0].ignored) == 0, "contrast has not arrived"
    assert run[-1].mid_phase
    assert not run[0].mid_phase
    full = [a for a in run if a.mid_phase]
    assert np.array_equal(full[0].lumen, full[-1].lumen)
    assert len(full[-1].boxes) == max(len(a.boxes) for a in run)
    assert digest(full[0].image) != digest(full[-1].image), "noise must differ from frame to frame"


def test_the_heart_moves_in_a_run_and_bones_do_not() -> None:
    moving = list(sequence(patient(0), "RAO", 4, side=96, start=patient(0).flow.full))
    assert any(not np.array_equal(a.lumen, moving[0].lumen) for a in moving[1:])
    assert len({a.phase for a in moving}) == 4
    calm = [np.where(a.mask | a.devices, np.nan, a.intensity) for a in moving]
    apart = np.nanmean(np.abs(calm[0] - calm[-1]))
    assert apart < 3.0


def test_a_set_of_frames_takes_each_patient_in_turn() -> None:
    found = list(draw_frames("test", 2, 3, side=64))
    assert [a.patient for a in found] == ["test-0-00000"] * 3 + ["test-0-00001"] * 3
    assert len({digest(a.image) for a in found}) == 6
    assert all(a.mid_phase for a in found)


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "piece"),
    [
        (lambda: Patient.draw("trial", 0), "Did you mean 'train'?"),
        (lambda: Patient.draw("train", -1), "number is -1"),
        (lambda: Patient.draw("train", 0, artery="LAD"), "Unknown artery 'LAD'"),
        (lambda: Patient.draw("train", 0, look="hihg"), "Did you mean 'high'?"),
        (lambda: render(patient(0), "cranial"), "Unknown view 'cranial'"),
        (lambda: render(patient(0), side=63), "side is 63"),
        (lambda: render(patient(0), side=2000), "side is 2000"),
        (lambda: render(patient(0), side=64, time=-1.0), "time is -1.0"),
        (lambda: render(patient(0), side=64, time=float("nan")), "time is nan"),
        (lambda: render(patient(0), side=64, shot=-1), "shot is -1"),
        (lambda: render(patient(0), preset="dim"), "Unknown preset 'dim'"),
        (lambda: sequence(patient(0), frames=0), "frames is 0"),
        (lambda: next(draw_frames("train", 0)), "patients is 0"),
        (lambda: View(200.0), "primary angle is 200.0"),
        (lambda: View(0.0, float("nan")), "secondary angle is nan"),
        (lambda: Look(contrast=(0.05, 0.02)), "contrast is (0.05, 0.02)"),
        (lambda: Look(motion=float("nan")), "motion is nan"),
        (lambda: Look(quanta=(0.0, 5.0)), "quanta is (0.0, 5.0)"),
    ],
)
def test_bad_input_is_named(call: Any, piece: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert piece in str(caught.value)


# --------------------------------------------------------------------------------------- acceptance 14: contrast


def auc(score: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve by ranks; ties count half."""
    p, n = score[positive], score[negative]
    rank = rankdata(np.concatenate([p, n]))
    return float((rank[: len(p)].sum() - len(p) * (len(p) + 1) / 2) / (len(p) * len(n)))


def separability(people: list[Patient], views: list[str], preset: str) -> tuple[float, float, float]:
    """Mean AUC of thin vessels against what is no vessel or device: inverted raw, Frangi, Frangi of wrong polarity."""
    rows = []
    for someone in people:
        for view in views:
            a = render(someone, view, preset=preset)
            background = ~a.mask & ~a.devices
            scores = [
                -a.image.astype(np.float64),
                filters.multiscale(a.image.astype(np.float64), polarity="dark").value,
                filters.multiscale(a.image.astype(np.float64), polarity="bright").value,
            ]
            rows.append([auc(s, a.thin, background) for s in scores])
    raw, right, wrong = np.mean(rows, axis=0)
    return float(raw), float(right), float(wrong)


def test_thin_vessels_are_hard_to_see_at_low_contrast_and_frangi_finds_them() -> None:
    raw, right, wrong = separability([patient(0), patient(1)], ["RAO"], "low")
    assert 0.65 <= raw <= 0.9, "two frames only; the slow test holds the preset to its range"
    assert right >= 0.93
    assert right >= raw + 0.08
    assert wrong < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["low", "high", "mixed"])
def test_presets_are_as_hard_as_they_say(preset: str) -> None:
    raw, right, wrong = separability([Patient.draw("val", n) for n in range(12)], list(VIEWS), preset)
    assert right >= 0.93
    assert wrong < 0.5
    if preset == "low":
        assert 0.75 <= raw <= 0.85
        assert right >= raw + 0.08
    if preset == "high":
        assert raw >= 0.95
