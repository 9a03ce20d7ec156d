from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack import overlay
from fieldsight.systems.crack.measure import kind_of, measure, severity_of, summarize
from fieldsight.systems.crack.polygons import regions
from fieldsight.systems.crack.skeleton import graph_of, thin

yy, xx = np.mgrid[0:300, 0:300] + 0.5


def band(x0, y0, x1, y1, width, size=300):
    """A straight band with square ends: pixels whose centre lies in the rectangle."""
    along = np.array([x1 - x0, y1 - y0], float)
    length = math.hypot(*along)
    along /= length
    u = (xx[:size, :size] - x0) * along[0] + (yy[:size, :size] - y0) * along[1]
    v = (yy[:size, :size] - y0) * along[0] - (xx[:size, :size] - x0) * along[1]
    return (np.abs(v) < width / 2) & (u >= 0) & (u < length)


def rotated(width, degrees, length=120.0, x=100.03, y=100.07):
    c, s = 0.5 * length * math.cos(math.radians(degrees)), -0.5 * length * math.sin(math.radians(degrees))
    return band(x - c, y - s, x + c, y + s, width, 200)


def only(mask, *arguments, **options):
    (crack,) = measure(mask, *arguments, **options)
    return crack


@pytest.mark.parametrize("width", range(1, 10))
@pytest.mark.parametrize("degrees", [0, 11, 22.5, 40, 67, 90, 113, 140, 171])
def test_a_band_has_its_width_length_and_direction(width, degrees):
    mask = rotated(width, degrees)
    crack = only(mask)
    assert crack.length_px == pytest.approx(120, rel=0.02)
    assert crack.mean_width_px == pytest.approx(width, abs=0.35)
    assert crack.mean_width_px == pytest.approx(mask.sum() / 120, abs=0.2)
    assert width - 0.3 <= crack.max_width_px <= width + 0.7
    assert abs((crack.orientation_deg - degrees + 90) % 180 - 90) < 1.0
    assert crack.coherence > 0.98
    assert (crack.branches, crack.ends, crack.loops) == (0, 2, 0)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
def test_at_45_degrees_the_width_is_that_of_the_pixels(width):
    mask = rotated(width, 45)
    assert only(mask).mean_width_px == pytest.approx(mask.sum() / 120, abs=0.1)
    assert only(mask).length_px == pytest.approx(120, rel=0.02)


def test_one_pixel_lines_end_at_the_mask():
    assert only(np.ones((1, 50), bool)).length_px == pytest.approx(50, abs=0.05)
    assert only(np.ones((50, 1), bool)).orientation_deg == 90
    diagonal = only(np.eye(50, dtype=bool))
    assert diagonal.length_px == pytest.approx(50 * math.sqrt(2), abs=0.2)
    assert diagonal.orientation_deg == pytest.approx(135)  # falls to the right on the screen
    staircase = np.eye(60, dtype=bool) | np.eye(60, k=1, dtype=bool)  # Zhang-Suen thinning eats half of this one
    assert only(staircase).length_px == pytest.approx(60 * math.sqrt(2), rel=0.03)


@pytest.mark.parametrize("width", [2, 4, 5, 8])
def test_t_junction(width):
    crack = only(band(50, 150, 250, 150, width) | band(150, 150, 150, 250, width))
    assert (crack.branches, crack.ends, crack.loops) == (1, 3, 0)
    assert crack.length_px == pytest.approx(300, rel=0.01)
    assert crack.max_width_px <= width + 0.1  # what lies inside the junction is not a wide place
    assert len(crack.polylines) == 3


@pytest.mark.parametrize("width", [1.5, 3, 5, 8])
def test_crossing_is_one_branch(width):
    straight = only(band(50, 150, 250, 150, width) | band(150, 50, 150, 250, width))
    assert (straight.branches, straight.ends, straight.loops) == (1, 4, 0)
    assert straight.length_px == pytest.approx(400, rel=0.01)
    assert straight.kind == "network"  # no direction
    diagonal = only(band(70, 70, 230, 230, width) | band(230, 70, 70, 230, width))
    assert (diagonal.branches, diagonal.ends) == (1, 4)
    assert diagonal.length_px == pytest.approx(320 * math.sqrt(2), rel=0.015)


@pytest.mark.parametrize(("radius", "width"), [(20, 1.5), (20, 9), (80, 3), (120, 6)])
def test_circle(radius, width):
    crack = only(np.abs(np.hypot(xx - 150, yy - 150) - radius) < width / 2)
    assert (crack.branches, crack.ends, crack.loops, crack.kind) == (0, 0, 1, "network")
    assert crack.length_px == pytest.approx(2 * math.pi * radius, rel=0.015)
    assert crack.mean_width_px == pytest.approx(width, abs=0.2)
    assert crack.coherence < 0.02


def test_network():
    mask = np.zeros((300, 300), bool)
    for at in (50, 117, 183, 250):
        mask |= band(48, at, 252, at, 4) | band(at, 48, at, 252, 4)
    crack = only(mask)
    assert (crack.branches, crack.ends, crack.loops, crack.kind) == (12, 0, 9, "network")
    assert crack.length_px == pytest.approx(1600, rel=0.02)
    assert crack.mean_width_px == pytest.approx(4, abs=0.1)
    assert len(crack.polylines) == 20  # the four corners are no branches


def test_the_widest_place_of_a_taper():
    crack = only((np.abs(yy - 150) < xx / 60) & (xx < 280) & (xx > 20))
    assert crack.max_width_px == pytest.approx(280 / 30, abs=0.8)
    assert crack.max_width_at[0] > 260
    assert crack.max_width_at[1] == pytest.approx(150, abs=1)
    line, widths = crack.polylines[0], crack.widths[0]
    assert len(line) == len(widths)
    assert widths[np.argmax(line[:, 0])] > 4 * widths[np.argmin(line[:, 0])]


def test_a_bump_and_a_hole_are_no_branch_and_no_loop():
    mask = band(50, 150, 250, 150, 8)
    mask[143:146, 120:123] = True
    mask[150, 200] = False
    crack = only(mask)
    assert (crack.branches, crack.ends, crack.loops) == (0, 2, 0)
    assert crack.length_px == pytest.approx(200, rel=0.02)
    assert crack.area_px == mask.sum()


def test_empty_one_pixel_full_and_borders():
    assert measure(np.zeros((20, 30), bool)) == []
    assert measure(np.zeros((0, 7), bool)) == []
    dot = np.zeros((5, 5), bool)
    dot[2, 3] = True
    assert measure(dot) == []  # under the limits
    crack = only(dot, min_length=0, min_area=1)
    assert (crack.bbox, crack.area_px) == ((3, 2, 1, 1), 1)
    assert (crack.length_px, crack.mean_width_px) == (pytest.approx(1), pytest.approx(1))
    full = only(np.ones((100, 100), bool))
    assert full.length_px == pytest.approx(100, rel=0.01)
    assert full.mean_width_px == pytest.approx(100, rel=0.01)
    assert (full.bbox, full.coherence) == ((0, 0, 100, 100), 0.0)
    frame = np.ones((60, 80), bool)
    frame[3:-3, 3:-3] = False
    crack = only(frame)
    assert (crack.loops, crack.ends, crack.bbox) == (1, 0, (0, 0, 80, 60))
    assert crack.length_px == pytest.approx(2 * (77 + 57), rel=0.03)
    assert only(np.ones((6, 200), bool)).length_px == pytest.approx(200, rel=0.01)


def test_probability_leaves_nan_out():
    mask = band(50, 150, 250, 150, 4)
    chances = np.where(mask, 0.75, 0.1).astype(np.float32)
    chances[:, :100] = np.nan
    assert only(mask, chances).probability == pytest.approx(0.75)
    assert only(mask, np.full_like(chances, np.nan)).probability is None
    assert only(mask).probability is None


def test_scale_and_severity():
    crack = only(band(50, 150, 250, 150, 4), scale_mm=2.0)
    assert crack.length_mm == pytest.approx(2 * crack.length_px)
    assert (crack.max_width_mm, crack.severity) == (pytest.approx(8, abs=0.1), "moderate")
    unscaled = only(band(50, 150, 250, 150, 4))
    assert (unscaled.length_mm, unscaled.mean_width_mm, unscaled.max_width_mm, unscaled.severity) == (None,) * 4
    classes = [severity_of(w) for w in (0.29, 0.3, 6.0, 6.1, 19.0, 19.1)]
    assert classes == ["hairline", "low", "low", "moderate", "moderate", "high"]


def test_kind_follows_the_direction_of_travel():
    assert [kind_of(d, 1.0, 0, 0) for d in (0, 29, 31, 59, 61, 90, 120, 121, 150, 151)] == [
        "transverse", "transverse", "diagonal", "diagonal", "longitudinal",
        "longitudinal", "longitudinal", "diagonal", "transverse", "transverse",
    ]  # fmt: skip
    assert kind_of(0, 1.0, 0, 0, travel_deg=0) == kind_of(179, 1.0, 0, 0, travel_deg=0) == "longitudinal"
    assert kind_of(0, 0.9, 9, 3) == kind_of(0, 0.1, 1, 0) == "network"
    assert kind_of(0, 0.1, 0, 0) == "transverse"


def test_summary():
    mask = band(50, 100, 250, 100, 4) | band(50, 200, 250, 200, 6)
    cracks = measure(mask, scale_mm=0.5)
    summary = summarize(cracks, mask.shape, 0.5)
    assert [c.id for c in cracks] == [1, 2]
    assert (summary.count, summary.widest, summary.kinds) == (2, 2, {"transverse": 2})
    assert summary.area_share == pytest.approx(mask.sum() / 90000)
    assert summary.length_mm == pytest.approx(200, rel=0.01)
    assert summary.density_per_m == pytest.approx(0.2 / 0.15**2, rel=0.01)  # 0.2 m in a square of 0.15 m
    json.dumps([summary.to_dict(), *(c.to_dict() for c in cracks)], allow_nan=False)
    empty = summarize([], (10, 10))
    assert (empty.count, empty.widest, empty.length_mm, empty.max_width_px) == (0, None, None, 0.0)


@pytest.mark.parametrize("mask", [np.zeros((5, 5)), np.full((5, 5), np.nan), np.zeros((5, 5, 3), bool)])
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(DataError, match=r"A mask is \(H, W\)"):
        measure(mask)


def test_bad_options_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        measure(np.zeros((5, 5), bool), scale_mm=0.0, min_length=-1, travel_deg=math.nan)
    assert len(caught.value.problems) == 3
    with pytest.raises(DataError, match="probability map"):
        measure(np.zeros((5, 5), bool), np.zeros((4, 5), np.float32))
    with pytest.raises(ConfigError):
        summarize([], (0, 5))


@settings(max_examples=25, deadline=None)
@given(
    ends=st.tuples(*[st.floats(20, 80)] * 4).filter(lambda e: math.hypot(e[2] - e[0], e[3] - e[1]) > 30),
    width=st.floats(1.5, 7),
    bend=st.floats(-0.02, 0.02),
    turns=st.integers(0, 3),
    flip=st.booleans(),
)
def test_turning_and_flipping_keep_lengths_and_widths(ends, width, bend, turns, flip):
    x, y = xx[:100, :100], yy[:100, :100] + bend * (xx[:100, :100] - 50) ** 2 / 4
    along = np.array([ends[2] - ends[0], ends[3] - ends[1]]) / math.hypot(ends[2] - ends[0], ends[3] - ends[1])
    u = (x - ends[0]) * along[0] + (y - ends[1]) * along[1]
    v = (y - ends[1]) * along[0] - (x - ends[0]) * along[1]
    mask = (np.abs(v) < width / 2) & (u > 0) & (u < math.hypot(ends[2] - ends[0], ends[3] - ends[1]))
    turned = np.rot90(mask[:, ::-1] if flip else mask, turns)
    before, after = measure(mask, min_area=30), measure(turned, min_area=30)
    assert len(before) == len(after)
    for one, two in zip(sorted(before, key=lambda c: c.area_px), sorted(after, key=lambda c: c.area_px), strict=True):
        assert two.area_px == one.area_px
        assert two.length_px == pytest.approx(one.length_px, rel=0.02, abs=2.0)
        assert two.mean_width_px == pytest.approx(one.mean_width_px, abs=0.35)
        assert two.max_width_px == pytest.approx(one.max_width_px, abs=0.8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
@example(51719222, 0.0625)  # nothing lies outside of branchings but one end
def test_thinning_keeps_pieces_and_holes(seed, share):
    import scipy.ndimage as ndi

    noise = ndi.gaussian_filter(np.random.default_rng(seed).random((40, 40)), 1.0)
    mask = np.pad(noise > np.quantile(noise, share), 1)
    skeleton = mask.astype(np.uint8)
    thin(skeleton)

    def topology(m):
        return ndi.label(m, np.ones((3, 3)))[1], ndi.label(~m)[1]

    assert topology(skeleton > 0) == topology(mask)
    assert not (skeleton.astype(bool) & ~mask).any()
    for region in regions(mask):
        graph = graph_of(region.crop())
        ends = sum(graph.degree(node) for node in graph.nodes)
        assert ends == 2 * len(graph.edges)
        assert len(graph.edges) - len(graph.nodes) + 1 >= 0
    for crack in measure(mask, min_length=0, min_area=1):
        json.dumps(crack.to_dict(), allow_nan=False)
        assert 0 < crack.mean_width_px <= crack.max_width_px
        assert 0 <= crack.orientation_deg < 180


def test_a_mapped_mask_gives_the_same(tmp_path):
    mask = band(20, 30, 280, 250, 3) | band(20, 250, 280, 30, 3)
    np.save(tmp_path / "mask.npy", np.tile(mask, (2, 1)))  # more than one band of rows
    mapped = measure(np.load(tmp_path / "mask.npy", mmap_mode="r"))
    plain = measure(np.tile(mask, (2, 1)))
    assert [c.to_dict() for c in mapped] == [c.to_dict() for c in plain]
    assert len(plain) == 2


# ------------------------------------------------------------------------------------------------------ overlay


def test_overlays():
    photo = np.full((300, 300, 3), 100, np.uint8)
    mask = band(50, 150, 250, 150, 4)
    truth = np.roll(mask, 2, axis=0)
    drawn = overlay.comparison(photo, mask, truth, alpha=1.0)
    assert tuple(drawn[150, 150]) == overlay.TRUE_POSITIVE
    assert tuple(drawn[148, 150]) == overlay.FALSE_POSITIVE
    assert tuple(drawn[153, 150]) == overlay.FALSE_NEGATIVE
    assert (drawn[0, 0] == 100).all()
    assert overlay.TRUE_POSITIVE[2] == max(overlay.TRUE_POSITIVE)
    assert overlay.FALSE_POSITIVE[0] == max(overlay.FALSE_POSITIVE)
    assert overlay.FALSE_NEGATIVE[1] == max(overlay.FALSE_NEGATIVE)
    assert tuple(overlay.overlay(photo, mask, (200, 0, 0), 0.5)[150, 150]) == (150, 50, 50)
    rgba = overlay.layer(mask, (200, 0, 0), 0.5)
    assert rgba.shape == (300, 300, 4)
    assert tuple(rgba[150, 150]) == (200, 0, 0, 128)
    assert rgba[0, 0, 3] == 0


def test_previews_are_small_and_keep_hairlines():
    photo = np.full((300, 300, 3), 100, np.uint8)
    mask = np.zeros((300, 300), bool)
    mask[:, 151] = True
    for drawn in (overlay.overlay(photo, mask, alpha=1.0, longest=40), overlay.layer(mask, longest=40)):
        assert drawn.shape[:2] == (40, 40)
        assert (drawn[..., 0] == 255).any(axis=1).all()
    assert overlay.overlay(photo, mask, longest=2000).shape == photo.shape
    assert (photo == 100).all()


def test_heat_and_labels_are_drawn_at_the_crack():
    photo = np.zeros((300, 300, 3), np.uint8)
    cracks = measure((np.abs(yy - 150) < xx / 60) & (xx > 20) & (xx < 280))
    heat = overlay.width_heat(photo, cracks)
    assert heat[140:160].any()
    assert not heat[:130].any()
    assert heat[149, 270].sum() > heat[149, 60].sum()  # yellow against dark violet
    named = overlay.labels(photo, cracks, longest=150)
    assert named.shape == (150, 150, 3)
    assert (named > 200).any()
    assert (overlay.labels(photo, []) == 0).all()


def test_overlays_refuse_what_does_not_fit():
    photo = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(DataError):
        overlay.overlay(photo, np.zeros((9, 10), bool))
    with pytest.raises(DataError):
        overlay.labels(photo[..., 0], [])
    with pytest.raises(ConfigError):
        overlay.overlay(photo, np.zeros((10, 10), bool), alpha=2.0)
    with pytest.raises(ConfigError):
        overlay.width_heat(photo, [], widest=0.0)
