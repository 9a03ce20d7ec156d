"""Photos larger than memory and photos on a map: read in pieces, the same boxes, told in pixels of the photo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from fieldsight.data import blocks
from fieldsight.data.blocks import BlockReader
from fieldsight.data.detection.sample import Detections, Picture
from fieldsight.data.georeference import Georeference
from fieldsight.data.geotiff import write_geotiff
from fieldsight.detection.found import Found
from fieldsight.engine.seed import rng_for
from fieldsight.predicting import predict, run_all
from fieldsight.systems.edge import photo as edge_photo
from fieldsight.systems.edge import predict as edge_predict
from fieldsight.systems.edge.config import PRESETS
from fieldsight.systems.edge.options import PredictOptions
from fieldsight.systems.edge.photo import Photo, open_photo
from fieldsight.systems.edge.predict import EdgeModel

SIZE = (900, 1300)
KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32631)
WHERE = Georeference(
    (0.1, 0.0, 500000.0, 0.0, -0.1, 4100000.0), 32631, "area", tags=((34735, 3, len(KEYS), KEYS),)
)  # fmt: skip


class Seeing(EdgeModel):
    """Finds red squares, the larger the surer, where the real one would look through its network."""

    def find(self, picture: Any, options: PredictOptions | None = None) -> Detections:
        tile = options.tile if options else 0
        if not isinstance(picture, np.ndarray) or 0 < tile < max(picture.shape[:2]):
            return super().find(picture, options)
        red = (picture[..., 0] > 180) & (picture[..., 1] < 100)
        _, _, rows, _ = cv2.connectedComponentsWithStats(red.astype(np.uint8))
        boxes = [(x, y, x + wide, y + high) for x, y, wide, high, _ in rows[1:].tolist()]
        return Detections.of(boxes, [min(0.99, area / 20000) for area in rows[1:, 4]], [0] * len(boxes))


@pytest.fixture(scope="module")
def model() -> EdgeModel:
    made = EdgeModel.create(PRESETS["tiny"])
    return Seeing(made.config, made.networks)


@pytest.fixture(scope="module")
def picture() -> Picture:
    """Red squares on noise."""
    rng = rng_for(0, "large photo")
    found = rng.integers(100, 170, (*SIZE, 3), dtype=np.uint8)
    for y in range(30, 850, 110):
        for x in range(20, 1200, 150):
            high, wide = rng.integers(20, 90, 2)
            found[y : y + high, x : x + wide] = (220, 20, 20)
    return found


@pytest.fixture(scope="module")
def mapped(picture: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The picture as a tiled GeoTIFF."""
    return write_geotiff(tmp_path_factory.mktemp("photo") / "map.tif", picture, WHERE, tile=128)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Heights and widths of what is read, where photos of a million pixels are large."""
    sizes: list[tuple[int, int]] = []
    read = BlockReader.read

    def counted(self: BlockReader, rows: slice, columns: slice = slice(None)) -> Any:
        found = read(self, rows, columns)
        sizes.append(found[1].shape)
        return found

    monkeypatch.setattr(BlockReader, "read", counted)
    for module in (edge_photo, edge_predict):
        monkeypatch.setattr(module, "LARGE", 10**6)
    monkeypatch.setattr(edge_photo, "PREVIEW", 650)
    monkeypatch.setattr("fieldsight.systems.edge.tiled.BAND", 100 * SIZE[1])
    yield sizes
    monkeypatch.undo()


def options(**changes: Any) -> PredictOptions:
    return PredictOptions(conf=0.002, **changes)


def look(model: EdgeModel, inputs: Any, out: Path | None = None, **changes: Any) -> Found:
    found = predict(model, inputs, options(**changes), out, False, {})
    assert isinstance(found, Found)
    return found


def test_a_large_photo_is_read_in_tiles_and_has_the_boxes_of_the_whole(
    model: EdgeModel, picture: Picture, mapped: Path, asked: list[tuple[int, int]]
) -> None:
    found = look(model, mapped, tile=256)
    assert max(high * wide for high, wide in asked) <= 256 * 256 + 100 * SIZE[1]
    assert max(high for high, _ in asked) <= 256
    whole = look(model, picture, tile=256)
    assert len(found.boxes) >= 64
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert found.picture.shape == (450, 650, 3)
    assert (found.shape, whole.shape) == (SIZE, SIZE)
    told = found.to_dict()
    assert (told["height"], told["width"]) == SIZE
    assert "notes" not in told
    assert told == whole.to_dict()
    assert found.yolo() == whole.yolo()


def test_without_tiles_it_is_shrunk_and_that_is_said(
    model: EdgeModel, mapped: Path, asked: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = look(model, mapped)
    assert max(high for high, _ in asked) <= 110
    assert sum(high for high, _ in asked) == 2 * SIZE[0]  # once to look, once to draw
    note = "1,300 x 900 pixels looked at as a whole: small objects are lost, tiles find them (--tile 640)"
    assert found.to_dict()["notes"] == [note]
    assert note in capsys.readouterr().err
    assert found.shown()[0]["notes"] == note
    assert found.boxes[:, 2].max() > 700  # in pixels of the photo
    assert (found.boxes <= np.array([1300, 900, 1300, 900])).all()


def test_an_array_that_is_large_is_noted_too(
    model: EdgeModel, picture: Picture, asked: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = look(model, picture)
    assert "looked at as a whole" in found.to_dict()["notes"][0]
    assert found.picture.shape == picture.shape
    assert asked == []
    assert "notes" not in look(model, picture[:500]).to_dict()
    capsys.readouterr()


def test_boxes_are_drawn_where_they_are() -> None:
    large, small = np.full((400, 600, 3), 90, np.uint8), np.full((200, 300, 3), 90, np.uint8)
    one = Detections.of([[120, 80, 480, 320]], [0.9], [0])
    drawn = [
        Found(p, one.boxes, one.scores, one.labels, ("car",), size=(400, 600)).draw(600)[160:170]
        for p in (large, small)
    ]
    rows = [np.flatnonzero((d != 90).any(axis=(0, 2))) / d.shape[1] for d in drawn]
    assert abs(rows[0].min() - rows[1].min()) < 0.02
    assert abs(rows[0].max() - rows[1].max()) < 0.02


def test_files_of_a_photo_on_a_map(model: EdgeModel, mapped: Path, tmp_path: Path, asked: Any) -> None:
    found = look(model, mapped, tmp_path, tile=512, labels="yolo", most=5)
    assert {p.name for p in tmp_path.iterdir()} == {"map.png", "map.json", "map.txt", "map.geojson"}
    assert len(found.boxes) == 5  # in all, not in each tile
    told = json.loads((tmp_path / "map.geojson").read_text())
    assert told["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32631"
    assert len(told["features"]) == 5
    for feature, row in zip(told["features"], found.to_dict()["boxes"], strict=True):
        assert feature["properties"] == {"class": row["class"], "score": row["score"]}
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        east, north = np.array(ring).T
        x1, y1, x2, y2 = row["box"]
        np.testing.assert_allclose([east.min(), east.max()], 500000 + 0.1 * np.array([x1, x2]), atol=2e-3)
        np.testing.assert_allclose([north.min(), north.max()], 4100000 - 0.1 * np.array([y2, y1]), atol=2e-3)
        assert ((east[1:] - east[:-1]) * (north[1:] + north[:-1])).sum() < 0  # counter-clockwise


def test_a_small_photo_with_a_world_file_is_on_a_map_as_well(
    model: EdgeModel, picture: Picture, tmp_path: Path
) -> None:
    Image.fromarray(picture[:200, :300]).save(tmp_path / "a.png")
    assert isinstance(open_photo(tmp_path / "a.png"), np.ndarray)
    (tmp_path / "a.pgw").write_text("0.5\n0\n0\n-0.5\n10.25\n89.75\n")
    found = look(model, tmp_path / "a.png", tmp_path / "out")
    assert found.picture.shape == (200, 300, 3)
    told = json.loads((tmp_path / "out" / "a.geojson").read_text())
    assert "crs" not in told
    assert "system unknown" in told["coordinate_system"]
    results = run_all(model, [tmp_path / "a.png", picture], options(), tmp_path / "more", False, {})
    assert all(not o.error for o in results.outcomes)
    rows = json.loads((tmp_path / "more" / "detections.json").read_text())
    assert {Path(row["image_id"]).name for row in rows} == {"a.png", "input 1"}


def test_files_are_closed_and_odd_ones_read_as_before(
    model: EdgeModel, picture: Picture, mapped: Path, tmp_path: Path, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    close = BlockReader.close
    monkeypatch.setattr(BlockReader, "close", lambda self: (closed.append(self.path), close(self)))
    look(model, mapped, tile=256)
    assert closed == [mapped]
    Image.fromarray(picture).save(tmp_path / "liar.png")
    (tmp_path / "liar.png").rename(tmp_path / "liar.tif")
    assert isinstance(open_photo(tmp_path / "liar.tif"), np.ndarray)
    tifffile.imwrite(tmp_path / "turned.tif", picture, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    turned = open_photo(tmp_path / "turned.tif")
    assert isinstance(turned, Photo)
    assert turned.size == (1300, 900)
    turned.close()


def test_lzw_is_compiled_only_where_it_is_met() -> None:
    assert "compiled" not in vars(blocks)
