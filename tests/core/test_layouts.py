"""Polygons to pixels, and layout files: cells, layers, hierarchy, everything that can be wrong with them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import gdstk
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldsight.data import gds
from fieldsight.data.gds import Window, open_layout, read_layer_names, write_polygons
from fieldsight.data.raster import rasterize
from fieldsight.errors import DataError

SQUARE = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], float)


def area(p: np.ndarray) -> float:
    return 0.5 * abs(np.dot(p[:, 0], np.roll(p[:, 1], -1)) - np.dot(p[:, 1], np.roll(p[:, 0], -1)))


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 12), st.integers(0, 10_000), st.booleans())
def test_coverage_of_a_star_is_its_area(corners: int, seed: int, turned: bool) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) + np.linspace(0, 1e-3, corners)
    radii = rng.uniform(3, 14, corners)
    star = np.stack([16 + radii * np.cos(angles), 16 + radii * np.sin(angles)], axis=1)
    star = star[::-1] if turned else star
    found = rasterize([star], (32, 32), 1.0)
    if np.ptp(angles) > np.pi * 1.2 and np.diff(np.append(angles, angles[0] + 2 * np.pi)).max() < np.pi:
        assert found.sum() == pytest.approx(area(star), rel=1e-4, abs=1e-3)
    assert found.min() >= 0
    assert found.max() <= 1


def test_windows_of_a_polygon_fit_together() -> None:
    angles = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    disc = np.stack([30 + 25 * np.cos(angles), 33 + 25 * np.sin(angles)], axis=1)
    whole = rasterize([disc], (64, 64), 1.0)
    for y in (0, 32):
        for x in (0, 32):
            part = rasterize([disc], (32, 32), 1.0, origin=(x, y))
            np.testing.assert_allclose(part, whole[y : y + 32, x : x + 32], atol=1e-6)


def test_abutting_shapes_leave_no_seam_and_outside_counts_nothing() -> None:
    left = np.array([[0, 0], [7.3, 0], [7.3, 20], [0, 20]])
    right = np.array([[7.3, 0], [20, 0], [20, 20], [7.3, 20]])
    np.testing.assert_allclose(rasterize([left, right], (20, 20), 1.0), 1.0, atol=1e-6)
    assert not rasterize([SQUARE + 100, SQUARE - 50], (20, 20), 1.0).any()
    assert rasterize([], (4, 4), 1.0).shape == (4, 4)
    huge = np.array([[-1e6, -1e6], [1e6, -1e6], [1e6, 1e6], [-1e6, 1e6]])
    np.testing.assert_allclose(rasterize([huge], (8, 8), 1.0), 1.0)


def test_pixel_size_scales() -> None:
    assert rasterize([SQUARE], (4, 4), 5.0).sum() == pytest.approx(4.0)


# ------------------------------------------------------------------------------------------------- files


@pytest.fixture
def hierarchy(tmp_path: Path) -> Path:
    library = gdstk.Library()
    leaf = library.new_cell("leaf")
    leaf.add(gdstk.rectangle((0, 0), (1, 2), layer=3), gdstk.FlexPath([(0, 0), (5, 5)], 0.3, layer=3, datatype=1))
    middle = library.new_cell("middle")
    middle.add(
        gdstk.Reference(
            leaf, (1, 2), rotation=0.4, magnification=1.3, x_reflection=True, columns=3, rows=2, spacing=(4, 6)
        )
    )
    middle.add(gdstk.Reference(leaf, (17, 1)))
    top = library.new_cell("top")
    top.add(gdstk.Reference(middle, (10, -4), rotation=1.1, x_reflection=True, columns=2, rows=2, spacing=(60, 40)))
    top.add(gdstk.Reference(middle, (0, 0), magnification=0.5))
    library.write_gds(tmp_path / "h.gds")
    library.write_oas(tmp_path / "h.oas")
    return tmp_path


@pytest.mark.parametrize("name", ["h.gds", "h.oas"])
def test_unfolding_equals_gdstks_own_flattening(hierarchy: Path, name: str) -> None:
    layout = open_layout(hierarchy / name)
    assert layout.cell == "top"
    assert layout.layers == {(3, 0): 35, (3, 1): 35}
    reader = gdstk.read_oas if name.endswith("oas") else gdstk.read_gds
    cell = next(c for c in reader(hierarchy / name).cells if c.name == "top")
    for layer in layout.layers:
        theirs = [p.points * 1000 for p in cell.get_polygons(layer=layer[0], datatype=layer[1])]
        key = lambda p: tuple(np.round(p.mean(axis=0), 1))  # noqa: E731
        for ours, other in zip(sorted(layout.polygons(layer), key=key), sorted(theirs, key=key), strict=True):
            np.testing.assert_allclose(np.sort(ours, axis=0), np.sort(other, axis=0), atol=1e-6)


def test_a_window_gives_what_touches_it(hierarchy: Path) -> None:
    layout = open_layout(hierarchy / "h.gds")
    x0, y0, x1, y1 = layout.bounds((3, 0))
    whole = layout.raster((3, 0), Window(x0, y0, x1, y1, 100.0))
    assert whole.any()
    window = Window(x0 + 20_000, y0 + 10_000, x0 + 50_000, y0 + 40_000, 100.0)
    inside = list(layout.polygons((3, 0), window))
    assert 0 < len(inside) < 35
    part = layout.raster((3, 0), window)
    top = round((y1 - window.y1) / 100)
    expected = whole[top : top + 300, 200:500]
    assert np.abs(part.sum() - expected.sum()) < 0.05 * max(1.0, expected.sum())


def test_windows_convert_between_pixels_and_layout() -> None:
    window = Window(100, 200, 357, 398, 10)
    assert window.shape == (20, 26)
    assert window.to_layout(0, 0) == (100, 398)
    part = window.part(slice(5, 10), slice(2, 6))
    assert (part.x0, part.y0, part.x1, part.y1) == (120, 298, 160, 348)
    assert part.shape == (5, 4)


def test_layers_by_number_name_and_choice(tmp_path: Path) -> None:
    library = gdstk.Library()
    cell = library.new_cell("c")
    cell.add(
        gdstk.rectangle((0, 0), (1, 1), layer=67, datatype=20), gdstk.rectangle((0, 0), (9, 9), layer=66, datatype=20)
    )
    cell.add(gdstk.rectangle((0, 0), (1, 1), layer=66, datatype=44))
    library.write_gds(tmp_path / "x.gds")
    layout = open_layout(tmp_path / "x.gds")
    assert layout.layer("67/20") == layout.layer("67") == layout.layer("li1") == layout.layer("LI1") == (67, 20)
    assert layout.layer(None) == (66, 20)
    for wanted, piece in (
        ("66", "several datatypes"),
        ("99", "has no layer '99'"),
        ("met1", "no layer"),
        ("pol", "Did you mean 'poly'"),
    ):
        with pytest.raises(DataError, match=piece) as caught:
            layout.layer(wanted)
        assert "66/20 poly (1)" in str(caught.value)
    (tmp_path / "names.toml").write_text('gate = "66/20"\n')
    assert layout.layer("gate", read_layer_names(tmp_path / "names.toml")) == (66, 20)
    (tmp_path / "names.lyp").write_text(
        "<layer-properties><properties><name>Metal One - 67/20</name><source>67/20@1</source></properties>"
        "</layer-properties>"
    )
    assert layout.layer("metal", read_layer_names(tmp_path / "names.lyp")) == (67, 20)
    (tmp_path / "bad.lyp").write_text("<layer-properties>")
    with pytest.raises(DataError, match="Can't read layer names"):
        read_layer_names(tmp_path / "bad.lyp")


def test_files_that_cannot_be_used(tmp_path: Path, hierarchy: Path) -> None:
    good = (hierarchy / "h.gds").read_bytes()
    for name, data, piece in (
        ("zero.gds", b"", "is empty"),
        ("cut.gds", good[: len(good) // 2], "no GDSII file"),
        ("text.gds", b"hello" * 30, "no GDSII file"),
        ("text.oas", b"hello" * 30, "no OASIS file"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=piece) as caught:
            open_layout(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(DataError, match="no layout file"):
        open_layout(tmp_path / "nowhere.gds")
    with pytest.raises(DataError, match="Did you mean 'leaf'"):
        open_layout(hierarchy / "h.gds", "laef")


def test_circles_missing_cells_empty_cells_and_many_tops(tmp_path: Path) -> None:
    library = gdstk.Library()
    a, b, top = library.new_cell("a"), library.new_cell("b"), library.new_cell("top")
    a.add(gdstk.Reference(b))
    b.add(gdstk.Reference(a))
    top.add(gdstk.Reference(a), gdstk.rectangle((0, 0), (1, 1)))
    library.write_gds(tmp_path / "circle.gds")
    with pytest.raises(DataError, match="recursive reference: a -> b -> a"):
        open_layout(tmp_path / "circle.gds")

    missing = gdstk.Library()
    missing.new_cell("top").add(gdstk.Reference("ghost"))
    missing.write_gds(tmp_path / "missing.gds")
    with pytest.raises(DataError, match="refers to 'ghost', which is not in the file"):
        open_layout(tmp_path / "missing.gds")

    empty = gdstk.Library()
    empty.new_cell("nothing")
    empty.write_gds(tmp_path / "empty.gds")
    with pytest.raises(DataError, match=r"'nothing' .* is empty"):
        open_layout(tmp_path / "empty.gds").layer(None)

    tops = gdstk.Library()
    tops.new_cell("one").add(gdstk.rectangle((0, 0), (1, 1)))
    tops.new_cell("two").add(gdstk.rectangle((0, 0), (1, 1)))
    tops.write_gds(tmp_path / "tops.gds")
    with pytest.raises(DataError, match=r"2 top cells\. Choose one with --cell: one, two"):
        open_layout(tmp_path / "tops.gds")
    assert open_layout(tmp_path / "tops.gds", "two").cell == "two"


def test_a_small_file_that_unfolds_to_a_trillion_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gds, "MAX_POLYGONS", 20_000)
    library = gdstk.Library()
    cell = library.new_cell("c0")
    cell.add(gdstk.rectangle((0, 0), (0.001, 0.001)))
    for level in range(1, 4):
        upper = library.new_cell(f"c{level}")
        upper.add(gdstk.Reference(cell, columns=10_000, rows=1, spacing=(0.002, 0)))
        cell = upper
    library.write_gds(tmp_path / "bomb.gds")
    layout = open_layout(tmp_path / "bomb.gds")
    assert sum(layout.layers.values()) == 10**12
    layer = layout.layer(None)
    assert layout.raster(layer, Window(0, 0, 20, 20, 1.0)).shape == (20, 20)  # few copies reach this corner
    for window in (None, Window(9000, 0, 9020, 20, 1.0)):
        with pytest.raises(DataError, match="unfolds to more than"):
            list(layout.polygons(layer, window))
    monkeypatch.setattr(gds, "MAX_POLYGONS", 500)
    with pytest.raises(DataError, match="is repeated 10,000 times"):
        list(layout.polygons(layer))


@settings(max_examples=60, deadline=None)
@example(72, 2)  # a property where none may be: gdstk itself crashes on some of these
@example(118, 0)  # a record without its coordinates
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_flipped_bytes_of_a_layout_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    data = bytearray(write_polygons(folder / "g.gds", [SQUARE, SQUARE + 30], (1, 0)).read_bytes())
    data[place % len(data)] = value
    (folder / "f.gds").write_bytes(bytes(data))
    with contextlib.suppress(DataError):
        layout = open_layout(folder / "f.gds")
        layer = layout.layer(None)
        list(layout.polygons(layer))


def test_markers_land_where_they_were_put(tmp_path: Path) -> None:
    path = write_polygons(tmp_path / "m.gds", [SQUARE * 1.5 + 2.25], (255, 0), "MARKS", ["1: 0.2"])
    layout = open_layout(path)
    assert layout.cell == "MARKS"
    np.testing.assert_allclose(next(layout.polygons((255, 0))), SQUARE * 1.5 + 2.25, atol=1e-3)
    assert gdstk.read_gds(path).cells[0].labels[0].text == "1: 0.2"
    again = write_polygons(tmp_path / "n.gds", [SQUARE * 1.5 + 2.25], (255, 0), "MARKS", ["1: 0.2"])
    assert path.read_bytes() == again.read_bytes()
    assert gds.describe((67, 20)) == "67/20 li1"
