from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack.measure import measure
from fieldsight.systems.crack.polygons import (
    outlines,
    rasterize,
    regions,
    ring_area,
    run_lengths,
    simplify,
    to_coco,
    to_geojson,
)

yy, xx = np.mgrid[0:200, 0:200] + 0.5


def wave(width: float) -> np.ndarray:
    return np.abs(yy - 100 - 30 * np.sin(xx / 20)) < width * 0.9


def ring_mask() -> np.ndarray:
    return np.abs(np.hypot(xx - 100, yy - 100) - 50) < 2.5


def iou(one, two):
    return (one & two).sum() / (one | two).sum()


def filled(found, shape):
    out = np.zeros(shape, bool)
    for outline in found:
        out ^= rasterize(outline, shape)
    return out


def decoded(code):
    height, width = code["size"]
    flat = np.repeat(np.arange(len(code["counts"])) % 2, code["counts"])
    return flat.reshape(width, height).T.astype(bool)


def test_a_pixel_is_a_diamond_through_its_edges():
    mask = np.zeros((4, 5), bool)
    mask[1, 3] = True
    ((ring,),) = outlines(mask)
    assert ring.tolist() == [[3.5, 1.0], [4.0, 1.5], [3.5, 2.0], [3.0, 1.5]]
    assert ring_area(ring) == 0.5


def test_a_rectangle_and_its_hole():
    mask = np.zeros((10, 12), bool)
    mask[1:9, 2:11] = True
    mask[4:6, 5:8] = False
    ((outer, hole),) = outlines(mask)
    assert len(outer) == len(hole) == 8  # four sides, four cut corners
    assert ring_area(outer) == 72 - 0.5
    assert ring_area(hole) == -(6 - 0.5)
    assert (outer.min(), outer.max()) == (1.0, 11.0)


def test_corners_join_crack_and_part_ground():
    mask = np.eye(5, dtype=bool)
    ((ring,),) = outlines(mask)
    assert ring_area(ring) == pytest.approx(5 - 6 / 8 - 2 / 8 + 4 * 0 - 0, abs=1.0)
    assert (rasterize([ring], mask.shape) == mask).all()
    assert len(list(regions(mask))) == 1
    assert len(list(regions(mask[:, ::-1]))) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_polygons_and_run_lengths_give_any_mask_back(height, width, share, seed):
    mask = np.random.default_rng(seed).random((height, width)) < share
    found = outlines(mask)
    assert (filled(found, mask.shape) == mask).all()
    total = np.zeros_like(mask)
    for outline in found:
        code = run_lengths(outline, mask.shape)
        assert sum(code["counts"]) == mask.size
        assert all(c > 0 for c in code["counts"][1:])
        assert (decoded(code) == rasterize(outline, mask.shape)).all()
        total |= decoded(code)
    assert (total == mask).all()


@pytest.mark.parametrize("width", [3, 4, 6, 9])
def test_other_rasterisers_give_the_mask_back(width):
    from skimage.draw import polygon2mask

    for mask in (wave(width), wave(width).T, np.abs(yy - xx) < width):
        other = np.zeros_like(mask)
        for outline in outlines(mask):
            for ring in outline:
                other ^= polygon2mask(mask.shape, ring[:, ::-1] - 0.5)  # scikit-image counts from pixel centres
        assert iou(mask, other) >= 0.98
        assert (filled(outlines(mask), mask.shape) == mask).all()


def test_simplification_has_fewer_vertices_and_nearly_the_same_mask():
    mask = wave(9) | ring_mask()
    full, coarse = outlines(mask), outlines(mask, 0.6)
    assert sum(len(r) for o in coarse for r in o) < 0.4 * sum(len(r) for o in full for r in o)
    assert iou(filled(coarse, mask.shape), mask) > 0.93
    assert outlines(np.eye(1, dtype=bool), 5.0)[0][0].shape == (4, 2)  # an exterior never vanishes
    with pytest.raises(ConfigError, match="tolerance"):
        outlines(mask, -1.0)


def test_douglas_peucker_keeps_what_matters():
    line = np.array([[0, 0], [1, 0.2], [2, -0.2], [3, 2], [4, 0], [5, 0]], float)
    assert simplify(line, 0.5).tolist() == [0, 2, 3, 4, 5]
    assert simplify(line, 3.0).tolist() == [0, 5]
    assert simplify(line, 0.0).tolist() == list(range(6))


def test_outlines_refuse_floats():
    with pytest.raises(DataError, match="threshold"):
        outlines(np.zeros((4, 4)))
    assert outlines(np.zeros((4, 4), bool)) == []


def test_coco():
    waves, rings = measure(wave(4), np.full((200, 200), 0.9, np.float32)), measure(ring_mask())
    coco = to_coco([("a.jpg", (200, 200), waves), ("b.jpg", (200, 200), []), ("c.jpg", (200, 200), rings)])
    assert json.loads(json.dumps(coco, allow_nan=False)) == coco
    assert [image["id"] for image in coco["images"]] == [1, 2, 3]
    assert coco["categories"][0]["name"] == "crack"
    plain, holed = coco["annotations"]
    assert (plain["id"], holed["id"], plain["image_id"], holed["image_id"]) == (1, 2, 1, 3)
    assert plain["area"] == wave(4).sum()
    ring = np.array(plain["segmentation"][0]).reshape(-1, 2)
    assert (rasterize([ring], (200, 200)) == wave(4)).all()
    assert plain["bbox"] == [ring[:, 0].min(), ring[:, 1].min(), np.ptp(ring[:, 0]), np.ptp(ring[:, 1])]
    assert plain["score"] == pytest.approx(0.9)
    assert "score" not in holed
    assert (decoded(holed["segmentation"]) == ring_mask()).all()
    assert holed["iscrowd"] == 0
    assert to_coco([("a.jpg", (200, 200), waves)]) == to_coco(
        [("a.jpg", (200, 200), measure(wave(4), np.full((200, 200), 0.9, np.float32)))]
    )


def test_geojson_in_pixels():
    found = to_geojson(measure(wave(4)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "crs" not in found
    assert "pixels" in found["coordinate_system"]
    polygon, line = found["features"]
    assert (polygon["geometry"]["type"], line["geometry"]["type"]) == ("Polygon", "LineString")
    assert polygon["properties"]["length_px"] > 200
    assert polygon["properties"]["id"] == line["properties"]["id"] == 1
    assert len(line["properties"]["widths_px"]) == len(line["geometry"]["coordinates"])
    ring = np.array(polygon["geometry"]["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    assert (rasterize([ring[:-1]], (200, 200)) == wave(4)).all()
    assert to_geojson([])["features"] == []


@pytest.mark.parametrize("down", [-0.01, 0.01])
def test_geojson_on_the_map_follows_the_right_hand_rule(down):
    transform = (0.01, 0.0, 500000.0, 0.0, down, 4100000.0)
    found = to_geojson(measure(ring_mask()), transform, 32631)
    assert found["crs"] == {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
    outer, hole = (np.array(r) for r in found["features"][0]["geometry"]["coordinates"])
    assert ring_area(outer[:-1]) > 0 > ring_area(hole[:-1])
    assert outer[:, 0].min() == pytest.approx(500000.47, abs=0.02)
    assert outer[:, 1].mean() == pytest.approx(4100000 + 100 * down, abs=0.02)
    assert abs(ring_area(outer[:-1])) == pytest.approx(np.pi * 0.525**2, rel=0.02)
    assert to_geojson([], transform, 4326)["crs"]["properties"]["name"].endswith("CRS84")
    assert "unknown" in to_geojson([], transform)["coordinate_system"]


@pytest.mark.parametrize("transform", [(1, 0, 0, 0, 1), (1, 0, 0, 0, np.nan, 0), (1, 1, 0, 1, 1, 0)])
def test_geojson_refuses_a_broken_transform(transform):
    with pytest.raises(ConfigError, match="six finite numbers"):
        to_geojson([], transform)
