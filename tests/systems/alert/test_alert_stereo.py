"""Depth of pairs, on drawn planes and on two real scenes with known truth; depth of single pictures by a network."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fieldsight import assets
from fieldsight.data.images import read_image
from fieldsight.errors import DataError
from fieldsight.systems.alert.calibration import Calibration, parse_calibration, read_calibration
from fieldsight.systems.alert.mono import DepthModel, by_ground
from fieldsight.systems.alert.options import MonoOptions, SourceOptions, StereoOptions
from fieldsight.systems.alert.recording import field_of_view
from fieldsight.systems.alert.sources import kind_of, open_recording
from fieldsight.systems.alert.stereo import depth_of, disparity, stereo_depth

FOCAL, BASELINE = 200.0, 0.12


def pair(shift: int, width: int = 160, height: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A wall with random dots, seen by two cameras ``shift`` pixels of disparity apart."""
    texture = np.random.default_rng(seed).integers(0, 255, (height, width + 64), dtype=np.uint8)
    texture = cv2.GaussianBlur(texture, (3, 3), 0)
    return texture[:, 32 : 32 + width].copy(), texture[:, 32 + shift : 32 + shift + width].copy()


def test_a_wall_lies_where_its_disparity_says() -> None:
    left, right = pair(8)
    depth = stereo_depth(left, right, Calibration(FOCAL, BASELINE), StereoOptions(disparities=32))
    assert depth.dtype == np.float32
    assert np.nanmedian(depth) == pytest.approx(FOCAL * BASELINE / 8, rel=0.01)
    assert np.isfinite(depth[5:-5, 20:-5]).mean() > 0.9
    assert np.isnan(depth[:, 0]).all()  # what the right picture does not see is not guessed
    shifted = stereo_depth(left, right, Calibration(FOCAL, BASELINE, doffs=4), StereoOptions(disparities=32))
    assert np.nanmedian(shifted) == pytest.approx(FOCAL * BASELINE / 12, rel=0.01)
    with pytest.raises(DataError, match="has one size|one size"):
        disparity(left, right[:-1])
    with pytest.raises(DataError, match=r"stereo\.disparities"):
        disparity(left, right, StereoOptions(disparities=256))


def test_disparity_becomes_depth_by_the_formula() -> None:
    found = depth_of(np.array([[10.0, np.nan, -40.0, -31.086]]), Calibration(994.978, 0.193001, doffs=31.086))
    assert found[0, 0] == pytest.approx(0.193001 * 994.978 / 41.086, rel=1e-6)
    assert np.isnan(found[0, 1:]).all()


@pytest.mark.parametrize(
    "data",
    [
        b'{"f": 994.978, "baseline": 0.193001, "cx": 311.193, "cy": 254.877, "doffs": 31.086}',
        b"%YAML:1.0\n---\nfocal: 994.978\nbaseline_mm: 193.001\ncx: 311.193 # px\ncy: 254.877\ndoffs: 31.086\n",
        b"cam0=[994.978 0 311.193; 0 994.978 254.877; 0 0 1]\ncam1=[994.978 0 342.279; 0 994.978 254.877; 0 0 1]\n"
        b"doffs=31.086\nbaseline=193.001\nwidth=741\nheight=500\nndisp=70\n",
    ],
)
def test_calibrations_of_three_kinds(data: bytes) -> None:
    found = parse_calibration(data, "c")
    assert (found.focal, found.cx, found.cy, found.doffs) == (994.978, 311.193, 254.877, 31.086)
    assert found.baseline == pytest.approx(0.193001)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "lacks the focal length"),
        (b"{", "no JSON"),
        (b"focal: 10", "lacks the baseline"),
        (b"focal: 500\nbaseline: 193", "looks like millimetres"),
        (b"focal: wide\nbaseline: 0.1", "focal is 'wide'"),
        (b"focal: -5\nbaseline: 0.1", "both above 0"),
        (b'{"focal": true, "baseline": 1}', "a number is wanted"),
        (b"\xff\xfe", "no text"),
    ],
)
def test_calibrations_that_make_no_sense(data: bytes, word: str) -> None:
    with pytest.raises(DataError, match=word):
        parse_calibration(data, "c")


def test_folders_of_pairs(tmp_path: Path) -> None:
    for i, shift in enumerate((8, 10, 12)):
        for side, picture in zip(("left", "right"), pair(shift), strict=True):
            (tmp_path / side).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / side / f"{i}.png"), picture)
    (tmp_path / "times.txt").write_text("0\n0.5\n1.0\n")
    options = SourceOptions.parse({"stereo": {"disparities": 32}})
    assert kind_of(tmp_path) == "stereo"
    with pytest.raises(DataError, match=r"needs its calibration.*stereo\.focal"):
        open_recording(tmp_path, options)
    (tmp_path / "calibration.json").write_text(json.dumps({"f": FOCAL, "baseline": BASELINE}))
    found = open_recording(tmp_path, options)
    assert found.manifest.kind == "stereo"
    assert list(found.times) == [0.0, 0.5, 1.0]
    for i, shift in enumerate((8, 10, 12)):
        assert np.nanmedian(found.load(i).depth) == pytest.approx(FOCAL * BASELINE / shift, rel=0.01)
    assert found.load(0).K[0].tolist() == [FOCAL, 0, 79.5]
    (tmp_path / "right" / "1.png").write_bytes(b"")
    broken = open_recording(tmp_path, options)
    assert np.isnan(broken.load(1).depth).all()
    assert "1 of 3 frames can't be read" in broken.notes[0]
    (tmp_path / "right" / "2.png").unlink()
    with pytest.raises(DataError, match="3 left and 2 right"):
        open_recording(tmp_path, options)


def test_a_pair_of_files_and_a_middlebury_scene(tmp_path: Path) -> None:
    for name, picture in zip(("im0", "im1"), pair(8), strict=True):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    text = f"cam0=[{FOCAL} 0 80; 0 {FOCAL} 30; 0 0 1]\ndoffs=0\nbaseline={BASELINE * 1000}\n"
    (tmp_path / "calib.txt").write_text(text)
    assert read_calibration(tmp_path / "calib.txt").baseline == pytest.approx(BASELINE)
    words: dict[str, Any] = {"stereo": {"disparities": 32}}
    assert np.nanmedian(open_recording(tmp_path, SourceOptions.parse(words)).load(0).depth) == pytest.approx(
        3, rel=0.01
    )
    words["stereo"]["right"] = str(tmp_path / "im1.png")
    found = open_recording(tmp_path / "im0.png", SourceOptions.parse(words))
    assert np.nanmedian(found.load(0).depth) == pytest.approx(3, rel=0.01)
    assert found.load(0).K[0, 2] == 80


def test_two_cameras_of_euroc_are_rectified(tmp_path: Path) -> None:
    left, right = pair(8)
    for k, picture in enumerate((left, right)):
        base = tmp_path / "mav0" / f"cam{k}"
        (base / "data").mkdir(parents=True)
        cv2.imwrite(str(base / "data" / "1000000000.png"), picture)
        (base / "data.csv").write_text("#timestamp [ns],filename\n1000000000,1000000000.png\n")
        place = [1, 0, 0, k * BASELINE, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
        (base / "sensor.yaml").write_text(
            f"#Sensor\nT_BS:\n  cols: 4\n  rows: 4\n  data: {[float(v) for v in place]}\nrate_hz: 20\n"
            f"resolution: [160, 60]\ncamera_model: pinhole\nintrinsics: [{FOCAL}, {FOCAL}, 79.5, 29.5]\n"
            "distortion_coefficients: [0.0, 0.0, 0.0, 0.0]\n"
        )
    found = open_recording(tmp_path, SourceOptions.parse({"stereo": {"disparities": 32}}))
    assert np.nanmedian(found.load(0).depth) == pytest.approx(3, rel=0.02)
    assert found.times[0] == 1.0


# --------------------------------------------------------------------------------------------- real scenes


def motorcycle() -> Path:
    """Folder of the motorcycle pair inside the installed scikit-image; nothing is fetched."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    if not all((folder / f"motorcycle_{part}").is_file() for part in ("left.png", "right.png", "disp.npz")):
        pytest.skip("this scikit-image does not carry the motorcycle pair")
    return folder


#: Middlebury 2014, Motorcycle, at a quarter of its size, as scikit-image describes its files.
MOTORCYCLE = Calibration(994.978, 0.193001, 311.193, 254.877, 31.086)


def test_the_motorcycle_has_its_true_depth() -> None:
    folder = motorcycle()
    left, right = (read_image(folder / f"motorcycle_{side}.png") for side in ("left", "right"))
    with np.load(folder / "motorcycle_disp.npz", allow_pickle=False) as data:
        truth = data["arr_0"]
    known = np.isfinite(truth)
    found = disparity(left, right)
    both = known & np.isfinite(found)
    # measured: 91 % of the known pixels are found, 92.5 % of those within 1 px, 84 % of all known
    assert both.sum() / known.sum() > 0.90
    off = np.abs(found - truth)[both]
    assert (off < 1).mean() > 0.91
    assert (off < 1).sum() / known.sum() > 0.83
    depth, true = stereo_depth(left, right, MOTORCYCLE), depth_of(truth, MOTORCYCLE)
    wrong = np.abs(depth - true)[both]
    assert 2.5 < np.median(true[known]) < 2.8
    assert np.median(wrong) < 0.010  # measured 7.3 mm
    assert np.percentile(wrong / true[both], 90) < 0.05  # measured 1.4 %


def test_the_motorcycle_through_the_door(tmp_path: Path) -> None:
    folder = motorcycle()
    words = {
        "stereo": {
            "right": str(folder / "motorcycle_right.png"),
            "focal": 994.978,
            "baseline": 0.193001,
            "doffs": 31.086,
        }
    }
    found = open_recording(folder / "motorcycle_left.png", SourceOptions.parse(words))
    frame = found.load(0)
    assert frame.depth.shape == (500, 741)
    assert np.nanmedian(frame.depth) == pytest.approx(2.6, abs=0.1)


@pytest.mark.assets
def test_the_aloe_has_its_true_disparity() -> None:
    folder = assets.locate("opencv-doc")
    if folder is None:
        pytest.skip("fieldsight assets fetch opencv-doc was not run (it needs a Debian system and a connection)")
    left, right = (read_image(folder / name) for name in ("aloeL.jpg", "aloeR.jpg"))
    truth = read_image(folder / "aloeGT.png", "grey").astype(np.float32)
    known = truth > 0  # 0 is unknown; one grey value is one pixel
    found = disparity(left, right, StereoOptions(disparities=240))
    both = known & np.isfinite(found)
    off = np.abs(found - truth)[both]
    # measured: 87 % found; of those 90 % within 1 px, 98 % within 4 px; median 0.19 px
    assert both.sum() / known.sum() > 0.85
    assert (off < 1).mean() > 0.89
    assert (off < 4).mean() > 0.975
    assert np.median(off) < 0.25


# ------------------------------------------------------------------------------------------ single pictures

K = field_of_view(64, 48, 70)


def ground(height: float = 1.3, pitch: float = 0.0, wall: float = 9.0) -> np.ndarray:
    """Plane depth of a floor, a wall and a box that stands on the floor."""
    slope = (np.arange(48) - K[1, 2]) / K[1, 1] * np.cos(pitch) + np.sin(pitch)
    with np.errstate(divide="ignore"):
        floor = np.where(slope > 0, height / slope, np.inf)
    depth = np.repeat(np.minimum(floor, wall)[:, None], 64, axis=1)
    depth[20:40, 25:35] = np.minimum(depth[20:40, 25:35], 2.5)
    return depth


@pytest.mark.parametrize("pitch", [0.0, 0.15])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (37.0, -1.5), (0.02, 4.0)])
def test_the_ground_fixes_scale_and_shift(pitch: float, scale: float, shift: float) -> None:
    true = ground(pitch=pitch)
    found = by_ground((scale / true + shift).astype(np.float32), K, 1.3, pitch)
    assert np.nanmax(np.abs(found - true) / true) < 0.01
    assert by_ground(scale / true, K, 1.3, pitch, shift=False) == pytest.approx(true, rel=0.01)


def test_what_has_no_ground_has_no_scale() -> None:
    with pytest.raises(DataError, match="not in the picture"):
        by_ground(np.ones((48, 64)), K, 1.3, -0.9)
    with pytest.raises(DataError, match="equally far"):
        by_ground(np.ones((48, 64)), K, 1.3)
    with pytest.raises(DataError, match="farther towards"):
        by_ground(ground(), K, 1.3)


def network(path: Path, first: bool = True, kind: str = "float", inverse: bool = False, outputs: int = 1) -> Path:
    """An ONNX file that gives the picture's red channel, as metres (x 10) or as it is."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    shape = [1, 3, "h", "w"] if first else [1, 48, 64, 3]
    element = TensorProto.FLOAT if kind == "float" else TensorProto.UINT8
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["f", "zero"], ["y0"], axis=1 if first else 3),
        helper.make_node("Mul", ["y0", "k"], ["y"]),
    ]
    numbers = [
        helper.make_tensor("zero", TensorProto.INT64, [], [0]),
        helper.make_tensor("k", TensorProto.FLOAT, [], [1.0 if inverse else 10.0]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], numbers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("first", "kind"), [(True, "float"), (False, "float"), (True, "byte"), (False, "byte")])
def test_a_network_of_any_layout_gives_metres(tmp_path: Path, first: bool, kind: str) -> None:
    model = DepthModel(network(tmp_path / "n.onnx", first, kind), MonoOptions(normalise="unit", size=56))
    rgb = np.full((48, 64, 3), 51, np.uint8)
    found = model.metric(rgb, K, 1.3)
    assert found.shape == (48, 64)
    assert np.allclose(found, 510 if kind == "byte" else 2.0, atol=1e-3)
    with pytest.raises(DataError, match="uint8"):
        model(rgb.astype(np.float32))


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = network(tmp_path / "n.onnx")
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    onnx.save(model, tmp_path / "five.onnx")
    with pytest.raises(DataError, match="one picture"):
        DepthModel(tmp_path / "five.onnx")
    with pytest.raises(DataError, match="no file"):
        DepthModel(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no")
    from fieldsight.errors import ExportError

    with pytest.raises(ExportError, match="can't load"):
        DepthModel(tmp_path / "bad.onnx")


def test_videos_and_colour_pictures_become_recordings(tmp_path: Path) -> None:
    path = network(tmp_path / "n.onnx", inverse=True)
    grey = np.clip(255 * 0.5 / ground(), 0, 255)
    folder = tmp_path / "rgb"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), np.repeat(np.round(grey)[..., None], 3, 2).astype(np.uint8))
    words = {"fov": 70.0, "mono": {"model": str(path), "output": "inverse", "normalise": "none", "size": 56}}
    found = open_recording(folder, SourceOptions.parse(words))
    assert found.manifest.kind == "mono"
    true = ground()
    assert np.nanmedian(np.abs(found.load(1).depth - true) / true) < 0.05
    with pytest.raises(DataError, match=r"mono\.model=FILE"):
        open_recording(folder)

    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    for _ in range(6):
        writer.write(np.repeat(np.round(grey)[..., None], 3, 2).astype(np.uint8))
    writer.release()
    words["mono"] = {**words["mono"], "every": 2}  # type: ignore[dict-item]
    clip = open_recording(tmp_path / "v.avi", SourceOptions.parse(words))
    assert len(clip) == 3
    assert np.allclose(clip.times, [0, 0.1, 0.2])
    for i in (2, 0, 1):
        assert np.nanmedian(np.abs(clip.load(i).depth - true) / true) < 0.1
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="no video"):
        open_recording(tmp_path / "bad.mp4", SourceOptions.parse(words))
