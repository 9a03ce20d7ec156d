"""Using a pool: the route, experts that fail, every kind of picture, what is written."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from pools import FOUR, Broken, Dark, config, cracked, noise, seeing, untrained
from torch import Tensor

from fieldsight.cli import main
from fieldsight.data.georeference import Georeference, read_georeference
from fieldsight.data.geotiff import write_geotiff
from fieldsight.data.images import write_image
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack.agreement import Agreement
from fieldsight.systems.crack.engines import EagerEngine
from fieldsight.systems.crack.fusion import Fusion, fuse, stretched
from fieldsight.systems.crack.inference import prepared, restored
from fieldsight.systems.crack.mixing import mix, select
from fieldsight.systems.crack.options import PredictOptions
from fieldsight.systems.crack.photo import open_photo
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.results import CrackMap
from fieldsight.systems.crack.review import disagreement
from fieldsight.systems.crack.routes import Route


@pytest.fixture(scope="module")
def four() -> CrackModel:
    return untrained(FOUR)


@pytest.fixture
def two() -> CrackModel:
    return seeing()


def mixed(model: CrackModel, picture: Any, **options: Any) -> tuple[Fusion, EagerEngine]:
    chosen = PredictOptions.parse(options)
    photo = open_photo(picture)
    engine = model.engine(chosen)
    assert isinstance(engine, EagerEngine)
    found = fuse(photo, model.route(photo, chosen, engine), engine, model.config, chosen, lambda name, why: None)
    return found, engine


def dense(model: CrackModel, picture: NDArray[np.uint8], **how: Any) -> NDArray[np.float32]:
    """All experts, then the selection: what the sparse way must equal."""
    raw = model.forward({"image": prepared(picture, model.config)})
    weights = select(raw["weights"].numpy(), **how).weights
    maps = restored(raw["maps"], (picture.shape[0], picture.shape[1]), model.config)
    return mix(maps.numpy(), weights)[0]


# ------------------------------------------------------------------------------------------------- the route


@pytest.mark.parametrize(("mode", "k", "count"), [("hard", 1, 1), ("topk", 2, 2), ("topk", 3, 3), ("soft", 4, 4)])
def test_only_the_chosen_experts_run_and_nothing_else_changes(four: CrackModel, mode: str, k: int, count: int) -> None:
    for seed in range(3):
        picture = noise(64, 96, seed)
        found, engine = mixed(four, picture, mix=mode, k=k)
        assert sorted(engine.calls.values()) == [0] * (4 - count) + [1] * count
        assert np.count_nonzero(found.route.mixed) == count
        wanted = dense(four, picture, mode=mode, k=k)
        assert np.abs(found.probability - wanted).max() < 1e-6
        assert float(np.std(wanted)) > 0.01  # there is something to compare


def test_all_of_topk_is_soft_bit_for_bit(four: CrackModel) -> None:
    picture = noise(50, 70)
    a, b = (mixed(four, picture, **how)[0].probability for how in ({"mix": "topk", "k": 4}, {"mix": "soft"}))
    assert np.array_equal(a, b)
    one, hard = (mixed(four, picture, **how)[0].probability for how in ({"mix": "topk", "k": 1}, {"mix": "hard"}))
    assert np.array_equal(one, hard)


def test_adaptive_takes_the_fewest_that_hold_the_share(four: CrackModel) -> None:
    picture = noise(64, 64)
    weights = mixed(four, picture, mix="soft")[0].route.gate[0, 0]
    largest = float(weights.max())
    assert 0.3 < largest < 0.999
    for p, count in ((0.99 * largest, 1), (min(1.0, 1.001 * largest), 2)):
        assert sum(mixed(four, picture, mix="adaptive", p=p)[1].calls.values()) == count


def test_a_squashed_photo_is_mixed_as_the_paper_says() -> None:
    model = untrained(FOUR, fit="squash", input=64, window=0)
    picture = noise(90, 130)
    found, engine = mixed(model, picture)
    assert sum(engine.calls.values()) == 2
    assert np.abs(found.probability - dense(model, picture, mode="topk", k=2)).max() < 2e-6
    values = np.random.default_rng(0).random((32, 64), np.float32)
    for shape in ((32, 64), (50, 70), (17, 200), (8, 8)):
        wanted = restored(torch.from_numpy(values)[None, None], shape, model.config)[0, 0].numpy()
        assert np.abs(stretched(values, shape) - wanted).max() < 2e-6


def test_a_pool_of_one_is_that_expert() -> None:
    model = seeing(("unet",))
    assert list(model.networks) == ["unet"]
    found = model.predict(cracked())
    assert found.facts["used"] == {"unet": 1.0}
    assert found.facts["disagreement"] is None
    assert "doubt" not in found.facts
    assert np.array_equal(found.mask, cracked()[..., 0] < 100)


def test_routes_interpolate_and_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    gate = rng.dirichlet(np.ones(4), (3, 5)).astype(np.float32)
    route = Route(gate, select(gate.reshape(-1, 4), "topk", 2).weights.reshape(3, 5, 4).astype(np.float32))
    field = route.field(slice(100, 700), slice(0, 1280))
    assert field.shape == (4, 600, 1280)
    assert np.abs(field.sum(axis=0) - 1).max() < 1e-6
    part = route.field(slice(300, 330), slice(500, 600))
    assert np.allclose(part, field[:, 200:230, 500:600], atol=1e-7)
    needed = route.needed(slice(300, 330), slice(500, 600))
    assert np.array_equal(needed, part.reshape(4, -1).any(axis=1))
    # in the middle of a cell, its own weights
    assert np.allclose(route.field(slice(383, 385), slice(639, 641)).mean(axis=(1, 2)), route.mixed[1, 2], atol=5e-3)


def test_agreement_of_tiles_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    maps = rng.random((3, 40, 60), np.float32)
    weights = np.full((3, 1, 1), 1 / 3, np.float32)
    whole, parts = Agreement(), Agreement()
    whole.add(dict(enumerate(maps)), weights)
    for rows in (slice(0, 13), slice(13, 40)):
        for columns in (slice(0, 31), slice(31, 60)):
            parts.add({m: maps[m, rows, columns] for m in range(3)}, weights)
    assert whole.disagreement == pytest.approx(disagreement(maps), abs=1e-12)
    assert parts.disagreement == pytest.approx(whole.disagreement, abs=1e-12)
    # where an expert has no weight it does not count, whatever tile it was computed for
    split = np.zeros((3, 40, 60), np.float32)
    split[0], split[1, :, :30], split[2, :, 30:] = 0.5, 0.5, 0.5
    half = Agreement()
    half.add(dict(enumerate(maps)), split)
    left = disagreement(maps[[0, 1], :, :30]), disagreement(maps[[0, 2], :, 30:])
    counts = [float((maps[[0, i], :, s].max(axis=0) >= 0.25).sum()) for i, s in ((1, slice(0, 30)), (2, slice(30, 60)))]
    assert half.disagreement == pytest.approx(float(np.average(left, weights=counts)))
    alone = Agreement()
    alone.add({0: maps[0]}, weights)
    assert math.isnan(alone.disagreement)


# ------------------------------------------------------------------------------------------ experts that fail


@pytest.mark.parametrize("how", ["raise", "nan", "small"])
def test_an_expert_that_fails_is_left_out(said: list[str], how: str) -> None:
    model = untrained(FOUR)
    picture = noise(64, 64)
    weights = mixed(model, picture, mix="soft")[0].route.gate[0, 0]
    best, second, third, _ = (FOUR[i] for i in np.argsort(-weights))
    alone = mixed(model, picture, mix="hard")[0].probability
    model.networks[best] = Broken(model.networks[best], how)
    found = model.predict(picture)
    assert found.facts["used"] == {second: 1.0}  # of the two best one is left, with all the weight
    assert list(found.facts["failed"]) == [best]
    assert len(said) == 1
    assert f"expert '{best}' failed and is left out" in said[0]
    assert np.isfinite(found.probability).all()
    assert not np.array_equal(found.probability, alone)
    soft = model.predict(picture, mix="soft").facts["used"]
    left = {n: w for n, w in zip(FOUR, weights, strict=True) if n != best}
    assert soft == {n: pytest.approx(w / sum(left.values()), abs=1e-4) for n, w in left.items()}
    # in hard mode the next best takes over, and the one after that
    assert model.predict(picture, mix="hard").facts["used"] == {second: 1.0}
    model.networks[second] = Broken(model.networks[second], how)
    assert model.predict(picture, mix="hard").facts["used"] == {third: 1.0}


def test_all_fail_is_bad_data(said: list[str]) -> None:
    model = untrained(FOUR)
    for name in FOUR:
        model.networks[name] = Broken(model.networks[name])
    for mode in ("hard", "topk", "soft"):
        with pytest.raises(DataError, match="Every expert failed on this photo.*the network burst"):
            model.predict(noise(64, 64), mix=mode)


def test_an_option_that_is_wrong_is_no_failing_expert(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no export of 'gate'"):
        untrained().predict(noise(64, 64), exports=tmp_path)
    (tmp_path / "make.py").write_text("make = lambda: (lambda x: x.mean(1, keepdim=True).sigmoid())\n")
    model = seeing(external=(f"own={tmp_path / 'make.py'}:make",))
    with pytest.raises(ConfigError, match="--allow-code"):
        model.predict(noise(64, 64))
    assert model.predict(noise(64, 64), allow_code=True, mix="soft").facts["used"].keys() == {
        "cen",
        "crackrefine",
        "own",
    }


# ------------------------------------------------------------------------------------------- experts from outside


def test_a_folder_of_maps_in_the_pool(tmp_path: Path, said: list[str]) -> None:
    picture, own = cracked(), np.random.default_rng(0).random((96, 160), np.float32)
    write_image(tmp_path / "photos" / "p.png", picture)
    write_image(tmp_path / "maps" / "p.tif", own)
    model = seeing(("cen",), external=(f"mine={tmp_path / 'maps'}",))
    one = seeing(("cen",)).predict(picture).probability
    found = model.predict(tmp_path / "photos" / "p.png", mix="soft")
    share = found.facts["weights"]
    assert set(found.facts["used"]) == {"cen", "mine"}
    assert np.allclose(found.probability, share["cen"] * one + share["mine"] * own, atol=2e-4)
    # the same in tiles: a map is of the whole photo, and is cut as it is
    tiled = model.predict(tmp_path / "photos" / "p.png", mix="soft", tile=64, halo=32)
    assert np.allclose(tiled.probability, found.probability, atol=1e-6)
    assert not said
    # no map of this photo: the others do
    write_image(tmp_path / "photos" / "q.png", picture)
    assert model.predict(tmp_path / "photos" / "q.png", mix="soft").facts["used"] == {"cen": 1.0}
    assert "no map of 'q'" in said[0]
    assert model.predict(picture, mix="soft").facts["used"] == {"cen": 1.0}
    assert "this one has no name" in said[1]
    # a map of another size
    write_image(tmp_path / "photos" / "p.png", picture[:90])
    assert model.predict(tmp_path / "photos" / "p.png", mix="soft").facts["used"] == {"cen": 1.0}
    assert "is 160 x 96, the photo is 160 x 90" in said[2]


def test_an_onnx_file_in_the_pool(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.full((1, 3, 1, 1), -40 / 3, np.float32), "k")
    bias = numpy_helper.from_array(np.array([-40.0], np.float32), "b")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "k", "b"], ["y"])],
        "dark",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [kernel, bias],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, str(tmp_path / "dark.onnx"))
    model = seeing((), external=(f"dark={tmp_path / 'dark.onnx'},output=logits",))
    found = model.predict(cracked())
    assert found.facts["used"] == {"dark": 1.0}
    assert np.array_equal(found.mask, cracked()[..., 0] < 100)


# -------------------------------------------------------------------------------------------------- runtimes


def test_another_runtime_gives_the_same(two: CrackModel) -> None:
    graph = untrained()
    mine = graph.predict(noise(80, 112))
    run = graph._eager()
    graph.forward(graph.example())  # eager forward must not be taken for an export
    assert isinstance(graph.engine(), EagerEngine)
    calls = []

    def counted(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        calls.append(tuple(batch["image"].shape))
        return run(batch)

    theirs = graph.use(counted).predict(noise(80, 112))
    assert np.abs(mine.probability - theirs.probability).max() < 1e-6
    assert calls == [(1, 3, 96, 128)] * 2  # once for the gate, once for all maps
    graph.use(None)
    assert isinstance(graph.engine(), EagerEngine)


@pytest.mark.onnx
def test_a_folder_of_exports_is_used_and_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained(("unet", "deepcrack", "cen"))
    model.export(out=tmp_path / "parts", part="all")
    for picture in (noise(64, 64), noise(70, 300)):
        mine, theirs = model.predict(picture), model.predict(picture, exports=tmp_path / "parts")
        assert np.abs(mine.probability - theirs.probability).max() < 1e-4
        assert mine.facts["used"].keys() == theirs.facts["used"].keys()
    tiled = model.predict(noise(70, 300), exports=tmp_path / "parts", tile=64, halo=64)
    assert tiled.probability.shape == (70, 300)
    opened = []
    import fieldsight.systems.crack.predict as predict

    real = predict.open_parts
    monkeypatch.setattr(predict, "open_parts", lambda *a: opened.append(a) or real(*a))
    model.predict(picture, exports=tmp_path / "parts")
    assert not opened
    (tmp_path / "parts" / "gate.onnx").touch()
    model.predict(picture, exports=tmp_path / "parts")
    assert len(opened) == 1


# ----------------------------------------------------------------------------------------- pictures of any kind


def test_pictures_of_every_kind(two: CrackModel, tmp_path: Path) -> None:
    picture = cracked()
    truth = picture[..., 0] < 100
    grey = picture[..., 0]
    clear = np.dstack([picture, np.full(grey.shape, 255, np.uint8)])
    turned = Image.fromarray(np.rot90(picture).copy())
    exif = turned.getexif()
    exif[274] = 6  # the camera says: turn me a quarter to the right
    turned.save(tmp_path / "turned.png", exif=exif)
    forms: dict[str, Any] = {
        "array": picture, "grey": grey, "rgba": clear, "float": grey.astype(np.float32) / 255,
        "deep": write_image(tmp_path / "deep.png", grey.astype(np.uint16) * 257),
        "deep colour": write_image(tmp_path / "deep.tif", picture.astype(np.uint16) * 257),
        "file": write_image(tmp_path / "a.png", picture), "tiff": write_image(tmp_path / "a.tif", picture),
        "turned": tmp_path / "turned.png",
    }  # fmt: skip
    for name, value in forms.items():
        found = two.predict(value)
        assert found.mask.dtype == np.bool_, name
        assert np.array_equal(found.mask, truth), name
        assert found.summary.count == 2, name
        json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("shape", [(8, 8), (8, 300), (9, 33), (33, 65)])
def test_small_and_odd_sizes(shape: tuple[int, int]) -> None:
    model = untrained()
    found = model.predict(noise(*shape), min_length=0)
    assert found.mask.shape == found.probability.shape == shape
    assert np.isfinite(found.probability).all()
    assert found.draw().shape == (*shape, 3)
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_is_too_small_or_no_picture(two: CrackModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 x 1 pixels; at least 8 x 8"):
        two.predict(np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(DataError, match=r"10 x 6 pixels after resize 0\.1; at least 8 x 8"):
        two.predict(np.zeros((60, 100, 3), np.uint8), resize=0.1)
    with pytest.raises(DataError, match="shape"):
        two.predict(np.zeros((4, 4, 4, 4), np.uint8))
    (tmp_path / "no.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no picture"):
        two.predict(tmp_path / "no.png")
    with pytest.raises(ConfigError, match="tile: must be a multiple of 32"):
        two.predict(cracked(), tile=100)


def test_nothing_is_found_where_there_is_no_picture(two: CrackModel, tmp_path: Path) -> None:
    clear = np.dstack([cracked(), np.full((96, 160), 255, np.uint8)])
    clear[:, 60:120, :3], clear[:, 60:120, 3] = 0, 0  # black, and transparent
    path = write_image(tmp_path / "a.png", clear)
    for value in (path, clear):
        found = two.predict(value)
        assert found.mask[22, 30]
        assert not found.mask[:, 60:120].any()
        assert not found.probability[:, 60:120].any()
    small = two.predict(path, resize=0.5)
    assert small.mask.shape == (48, 80)
    assert not small.mask[:, 31:59].any()
    assert small.mask[10:12, 10:25].any()


# ----------------------------------------------------------------------------------------------- scale and place


def test_scale_and_resize(two: CrackModel) -> None:
    plain, told = two.predict(cracked()), two.predict(cracked(), scale=0.5)
    assert plain.summary.length_mm is None
    assert told.summary.length_mm == pytest.approx(0.5 * plain.summary.length_px)
    assert told.facts["scale_mm"] == 0.5
    down = next(c for c in told.cracks if c.bbox[3] > 50)
    assert down.mean_width_mm == pytest.approx(2.0, abs=0.1)
    half = two.predict(cracked(), scale=0.5, resize=0.5)
    assert half.mask.shape == (48, 80)
    assert half.facts["scale_mm"] == 1.0
    assert half.facts["notes"] == ["shrunk to 80 x 48 pixels"]
    assert half.summary.length_mm == pytest.approx(told.summary.length_mm, rel=0.05)
    assert two.predict(cracked(), min_length=79).summary.count == 1
    assert two.predict(cracked(), threshold=0.999999).summary.area_px <= plain.summary.area_px


def geotiff(path: Path, picture: NDArray[np.uint8], side: float = 0.002) -> Path:
    """A GeoTIFF in UTM 33 N with its corner at (500000, 5400000)."""
    keys = (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633, 3076, 0, 1, 9001)
    tags = [
        (33550, 12, 3, (side, side, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 500000.0, 5400000.0, 0.0), True),
        (34735, 3, len(keys), keys, True),
    ]
    tifffile.imwrite(path, picture, photometric="rgb", tile=(64, 64), compression="zlib", metadata=None, extratags=tags)
    return path


def test_an_orthomosaic_keeps_its_place(two: CrackModel, tmp_path: Path) -> None:
    path = geotiff(tmp_path / "map.tif", cracked())
    found = two.predict(path, out=tmp_path / "out")
    assert found.facts["scale_mm"] == 2.0
    assert found.summary.length_mm == pytest.approx(2 * found.summary.length_px)
    written = tmp_path / "out" / "map_mask.tif"
    before, after = read_georeference(path), read_georeference(written)
    assert after == before  # all tags
    assert after.epsg == 32633
    mask = tifffile.imread(written)
    assert np.array_equal(mask, found.mask * np.uint8(255))
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "map_probability.tif"), found.probability)
    outlines = json.loads((tmp_path / "out" / "map.geojson").read_text())
    assert outlines["crs"]["properties"]["name"].endswith("32633")
    ring = np.array(outlines["features"][0]["geometry"]["coordinates"][0])
    x, y = (ring[:, 0] - 500000) / 0.002, (5400000 - ring[:, 1]) / 0.002
    first = found.cracks[0].bbox
    assert x.min() == pytest.approx(first[0], abs=0.01)
    assert y.max() == pytest.approx(first[1] + first[3], abs=0.01)
    # shrunk: the same place by a larger pixel, and the scale follows
    half = two.predict(path, out=tmp_path / "half", resize=0.5)
    assert half.facts["scale_mm"] == pytest.approx(4.0)
    assert half.georeference is not None
    assert half.georeference.transform == pytest.approx((0.004, 0, 500000, 0, -0.004, 5400000))
    assert read_georeference(tmp_path / "half" / "map_mask.tif").transform == pytest.approx(half.georeference.transform)
    # somebody who knows better
    assert two.predict(path, scale=3.0).facts["scale_mm"] == 3.0


def test_a_place_without_a_scale(two: CrackModel, tmp_path: Path) -> None:
    where = Georeference((1e-8, 0, 11.5, 0, -1e-8, 48.1), 4326)
    write_geotiff(tmp_path / "a.tif", cracked(), where)
    found = two.predict(tmp_path / "a.tif")
    assert "scale_mm" not in found.facts
    assert any("metre" in note for note in found.facts["notes"])


# ------------------------------------------------------------------------------------------------- what is written


def test_files_of_a_photo(two: CrackModel, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png", cracked())
    found = two.predict(tmp_path / "in" / "a.png", out=tmp_path / "out", scale=0.5)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "a_mask.png", "a_probability.tif", "a_overlay.png", "a_cracks.csv", "a.geojson", "a_coco.json", "a.json",
    }  # fmt: skip
    out = tmp_path / "out"
    assert set(np.unique(np.asarray(Image.open(out / "a_mask.png")))) == {0, 255}
    probability = tifffile.imread(out / "a_probability.tif")
    assert probability.dtype == np.float32
    assert np.array_equal(probability, found.probability)
    with open(out / "a_cracks.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[0]["length_px [px]"]) >= float(rows[1]["length_px [px]"])
    assert rows[0]["severity"] == "low"
    told = json.loads((out / "a.json").read_text())
    assert told["count"] == 2
    assert told["photo"] == "a.png"
    assert len(told["cracks"]) == 2
    coco = json.loads((out / "a_coco.json").read_text())
    assert coco["images"] == [{"id": 1, "file_name": "a.png", "height": 96, "width": 160}]
    red = np.asarray(Image.open(out / "a_overlay.png")).astype(int)
    assert (red[22, 30] - red[60, 30])[0] > (red[22, 30] - red[60, 30])[1] + 50


def test_previews_of_large_photos_keep_hairlines(two: CrackModel) -> None:
    picture = np.full((300, 4200, 3), 150, np.uint8)
    picture[100:101, 200:3000] = 20
    found = two.predict(picture, route="image", halo=64)
    drawn = found.draw().astype(int)
    assert drawn.shape == (143, 2000, 3)
    row = drawn[round(100 * 143 / 300), 150:1400]
    assert (row[:, 0] > row[:, 1] + 50).mean() > 0.9
    ring = found.draw() != dataclasses.replace(found, cracks=()).draw()
    assert ring.any()


def test_a_folder_gives_one_coco_file_and_a_review_list(two: CrackModel, tmp_path: Path) -> None:
    photos = tmp_path / "in"
    write_image(photos / "a.png", cracked())
    write_image(photos / "site" / "a.png", cracked(100, 170))
    write_image(photos / "site" / "b_coco.png", cracked(90, 180, dark=45))
    write_image(photos / "clean.png", np.full((64, 64, 3), 150, np.uint8))
    (photos / "broken.png").write_bytes(b"no")
    two.networks["crackrefine"] = Dark(-1.3)  # finds what is black, not what is grey
    results = two.predict(photos, out=tmp_path / "out", mix="soft", threshold=0.2)
    assert [bool(o.error) for o in results] == [False, True, False, False, False]
    joined = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [i["file_name"] for i in joined["images"]] == ["a.png", "clean.png", "site/a.png", "site/b_coco.png"]
    assert [i["id"] for i in joined["images"]] == [1, 2, 3, 4]
    ids = [a["id"] for a in joined["annotations"]]
    assert ids == list(range(1, 7))
    assert [a["image_id"] for a in joined["annotations"]] == [1, 1, 3, 3, 4, 4]
    assert joined["categories"][0]["name"] == "crack"
    with open(tmp_path / "out" / "review.csv") as file:
        rows = list(csv.DictReader(file))
    assert [r["place"] for r in rows] == ["1", "2", "3", "4"]
    scores = [float(r["score"]) for r in rows]
    assert scores == sorted(scores, reverse=True)
    assert rows[0]["photo"].endswith("b_coco.png")
    assert "experts that ran differ by" in rows[0]["reason"]
    assert {r["cracks"] for r in rows} == {"0", "2"}
    assert set(results.files) == {tmp_path / "out" / "coco.json", tmp_path / "out" / "review.csv"}


def test_two_runs_write_the_same_bytes_and_only_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained()
    write_image(tmp_path / "in" / "a.png", noise(80, 100))
    geotiff(tmp_path / "in" / "b.tif", noise(70, 90, 1))
    monkeypatch.chdir(tmp_path / "in")
    kept = {}
    for name in ("one", "two"):
        model.predict(tmp_path / "in", out=tmp_path / name, min_length=0)
        kept[name] = {
            str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()
        }
    assert kept["one"] == kept["two"]
    assert len(kept["one"]) == 16
    assert {p.name for p in (tmp_path / "in").iterdir()} == {"a.png", "b.tif"}
    assert {p.name for p in tmp_path.iterdir()} == {"in", "one", "two"}


def test_by_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = untrained().save(tmp_path / "model")
    path = write_image(tmp_path / "a.png", noise(64, 64))
    words = ["crack", "predict", str(path), "--model", str(folder), "--mix", "topk", "--k", "1", "--scale", "2"]
    assert main([*words, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert str(tmp_path / "out" / "a_mask.png") in capsys.readouterr().out
    assert main([*words, "--json", "--quiet"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["results"]
    assert len(told["used"]) == 1
    assert told["scale_mm"] == 2.0
    assert main(["crack", "predict", str(path), "--model", str(folder), "--route", "tile", "--quiet"]) == 0
    assert "cracks" in capsys.readouterr().out


def test_what_is_shown(two: CrackModel) -> None:
    found = two.predict(cracked(), scale=1.0)
    assert isinstance(found, CrackMap)
    facts, (table,) = found.shown()
    assert facts["cracks"] == 2
    assert facts["length in all"].endswith(" m")
    assert "moderate" not in facts["severity"]
    assert len(table.rows) == 2
    assert any(line.startswith("experts used: ") for line in found.lines())
    assert config().names == ("cen", "crackrefine")
