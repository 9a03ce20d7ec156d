"""Every source, from tiny files in its own layout: a floor and a wall must come out upright, in metres, posed."""

from __future__ import annotations

import contextlib
import json
import sys
import types
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fieldsight.data.folders import gather
from fieldsight.errors import ConfigError, DataError, MissingExtraError
from fieldsight.systems.alert import iar
from fieldsight.systems.alert.convert import convert
from fieldsight.systems.alert.options import CloudOptions, ConvertOptions, SourceOptions
from fieldsight.systems.alert.readers.clouds import project
from fieldsight.systems.alert.recording import Manifest, Recording, field_of_view
from fieldsight.systems.alert.sources import SUFFIXES, find_sources, gather_recordings, kind_of, open_recording

HEIGHT, WALL, COUNT = 1.4, 4.0, 4

#: A level camera that looks along the world's y axis, in our convention.
LEVEL = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, HEIGHT], [0, 0, 0, 1]])


def street(width: int = 18, height: int = 24, nearer: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Upright plane depth of a floor and a wall from a level camera, with its intrinsics."""
    K = field_of_view(width, height, 70)
    K[0, 2] += 0.7  # off the middle, so that a wrong turn shows
    v = np.arange(height)[:, None] * np.ones((1, width))
    with np.errstate(divide="ignore"):
        floor = np.where(v > K[1, 2], HEIGHT * K[1, 1] / (v - K[1, 2]), np.inf)
    depth = np.minimum(floor, WALL - nearer)
    depth[2, 1] = np.nan
    return depth.astype(np.float32), K


def is_street(found: Recording, tolerance: float = 0.002, posed: bool = True, count: int = COUNT) -> None:
    """The floor at the bottom, the wall at the top, and every point of it at its place in the world."""
    assert len(found) == count
    for i, frame in enumerate(found):
        want, K = street(nearer=0.1 * i)
        assert frame.depth.dtype == np.float32
        assert frame.depth.shape == want.shape == (found.manifest.height, found.manifest.width)
        assert np.array_equal(np.isnan(frame.depth), np.isnan(want))
        assert np.nanmax(np.abs(frame.depth - want)) < tolerance
        assert frame.depth[-1].max() < frame.depth[0, 5] - 1
        assert np.allclose(frame.K, K, atol=1e-3)
        if posed:
            v, u = np.mgrid[: want.shape[0], : want.shape[1]]
            z = frame.depth
            cam = np.stack([(u - K[0, 2]) * z / K[0, 0], (v - K[1, 2]) * z / K[1, 1], z, np.ones_like(z)], -1)
            world = cam @ frame.pose.T
            assert np.nanmin(world[..., 2]) > -0.02
            assert np.allclose(world[-1, :, 2], 0, atol=0.01)
            assert np.allclose(world[0, 5:, 1], WALL - 0.1 * i + frame.pose[1, 3], atol=0.01)


def depth_png(path: Path, depth: np.ndarray, unit: float = 1e-3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.nan_to_num(np.round(depth / unit)).astype(np.uint16))


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


# Each of these writes a source and gives the options it needs.


def npz(root: Path) -> tuple[Path, dict[str, Any]]:
    frames = np.stack([street(nearer=0.1 * i)[0] for i in range(COUNT)])
    poses = np.stack([LEVEL] * COUNT)
    times = 100 + 0.1 * np.arange(COUNT)
    np.savez(root / "a.npz", depth=frames, t=times, K=street()[1], poses=poses, conf=np.full(frames.shape, 2, np.uint8))
    return root / "a.npz", {}


def npz_realsense(root: Path) -> tuple[Path, dict[str, Any]]:
    frames = np.stack([np.nan_to_num(street(nearer=0.1 * i)[0]) for i in range(COUNT)])
    stamps = 1.7e12 + 100.0 * np.arange(COUNT)  # milliseconds
    np.savez(root / "b.npz", depth=np.round(frames * 4000).astype(np.uint16), depth_scale=0.00025, timestamps=stamps,
             intrinsics=street()[1], poses=np.stack([LEVEL] * COUNT))  # fmt: skip
    return root / "b.npz", {}


def pictures(root: Path) -> tuple[Path, dict[str, Any]]:
    for i in range(COUNT):
        depth_png(root / "p" / f"frame_{i + 8}.png", street(nearer=0.1 * i)[0])  # 8, 9, 10, 11: by number, not by name
    K = street()[1]
    text(root / "p" / "times.txt", *(f"{0.1 * i}" for i in range(COUNT)))
    text(root / "p" / "intrinsics.txt", f"{K[0, 0]} {K[1, 1]} {K[0, 2]} {K[1, 2]}")
    text(root / "p" / "poses.txt", *(" ".join(str(v) for v in LEVEL.ravel()) for _ in range(COUNT)))
    return root / "p", {}


def tum(root: Path) -> tuple[Path, dict[str, Any]]:
    rows = ["# depth maps", "# timestamp filename"]
    for i in range(COUNT):
        depth_png(root / "tum" / "depth" / f"{i}.png", street(nearer=0.1 * i)[0], 1 / 5000)
        rows.append(f"{1305031102.1 + 0.1 * i:.4f} depth/{i}.png")
    text(root / "tum" / "depth.txt", *rows)
    half = np.sqrt(0.5)  # a turn by -90 degrees about x takes z forward to y forward
    truth = [f"{1305031102.1 + 0.1 * i + 0.02:.4f} 0 0 {HEIGHT} {-half} 0 0 {half}" for i in range(COUNT)]
    text(root / "tum" / "groundtruth.txt", "# timestamp tx ty tz qx qy qz qw", *truth)
    K = street()[1]
    text(root / "tum" / "K.txt", *(" ".join(str(v) for v in row) for row in K))
    return root / "tum", {}


def euroc(root: Path) -> tuple[Path, dict[str, Any]]:
    base = root / "euroc" / "mav0"
    rows = ["#timestamp [ns],filename"]
    for i in range(COUNT):
        stamp = 1403636579763555584 + i * 100_000_000
        depth_png(base / "depth0" / "data" / f"{stamp}.png", street(nearer=0.1 * i)[0])
        rows.append(f"{stamp},{stamp}.png")
    text(base / "depth0" / "data.csv", *rows)
    K = street()[1]
    text(base / "depth0" / "sensor.yaml", "#General sensor definitions.", "sensor_type: camera", "T_BS:", "  cols: 4",
         "  rows: 4", "  data: [0.0, 0.0, 1.0, 0.0,", "         -1.0, 0.0, 0.0, 0.0,", "         0.0, -1.0, 0.0, 0.0,",
         "         0.0, 0.0, 0.0, 1.0]", "resolution: [18, 24]",
         f"intrinsics: [{K[0, 0]}, {K[1, 1]}, {K[0, 2]}, {K[1, 2]}] #fu, fv, cu, cv")  # fmt: skip
    # the body has x forward, y left: it is turned left by 90 degrees to look along the world's y
    half = np.sqrt(0.5)
    truth = [f"{1403636579763555584 + i * 5_000_000},0,0,{HEIGHT},{half},0,0,{half},0,0,0" for i in range(80)]
    text(base / "state_groundtruth_estimate0" / "data.csv", "#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], "
         "q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z [], v_x, v_y, v_z", *truth)  # fmt: skip
    return root / "euroc", {}


def scannet(root: Path) -> tuple[Path, dict[str, Any]]:
    for i in range(COUNT):
        depth_png(root / "s" / "depth" / f"{i}.png", street(nearer=0.1 * i)[0])
        text(root / "s" / "pose" / f"{i}.txt", *(" ".join(str(v) for v in row) for row in LEVEL))
    K = np.eye(4)
    K[:3, :3] = street()[1]
    text(root / "s" / "intrinsic" / "intrinsic_depth.txt", *(" ".join(str(v) for v in row) for row in K))
    return root / "s", {}


def sideways(upright: np.ndarray) -> np.ndarray:
    """What a portrait phone's sensor stores: its columns run down the street, its rows to the left."""
    height, width = upright.shape
    v, u = np.mgrid[:width, :height]
    return upright[u, width - 1 - v]


def lens_sideways(K: np.ndarray, width: int) -> np.ndarray:
    return np.array([[K[1, 1], 0, K[1, 2]], [0, K[0, 0], width - 1 - K[0, 2]], [0, 0, 1.0]])


#: ARKit's camera of a phone held upright: x down, y right, z back, in a world with y up that looks along -z.
PORTRAIT = np.array([[0.0, 1, 0, 0], [-1, 0, 0, HEIGHT], [0, 0, 1, 0], [0, 0, 0, 1]])


def stray(root: Path) -> tuple[Path, dict[str, Any]]:
    rows = ["timestamp, frame, x, y, z, qx, qy, qz, qw"]
    # the app writes ARKit's rotation times half a turn about x: columns x down, y left, z forward
    q = np.array([0.5, -0.5, 0.5, 0.5])
    want = np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, -1]])
    from scipy.spatial.transform import Rotation

    q = Rotation.from_matrix(want).as_quat()
    for i in range(COUNT):
        depth = sideways(street(nearer=0.1 * i)[0])
        depth_png(root / "stray" / "depth" / f"{i:06d}.png", depth)
        cv2.imwrite(str(_made(root / "stray" / "confidence") / f"{i:06d}.png"), (depth < 3).astype(np.uint8) * 2)
        rows.append(f"{2000.5 + 0.1 * i}, {i:06d}, 0, {HEIGHT}, 0, {q[0]}, {q[1]}, {q[2]}, {q[3]}")
    text(root / "stray" / "odometry.csv", *rows)
    K = np.diag([1920 / 24, 1440 / 18, 1]) @ lens_sideways(street()[1], 18)
    text(root / "stray" / "camera_matrix.csv", *(", ".join(str(v) for v in row) for row in K))
    text(root / "stray" / "imu.csv", "timestamp, a_x, a_y, a_z, alpha_x, alpha_y, alpha_z")
    (root / "stray" / "rgb.mp4").write_bytes(b"")
    return root / "stray", {}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def record3d(root: Path, portrait: bool = True, pack: Callable[[bytes], bytes] = bytes) -> tuple[Path, dict[str, Any]]:
    K = street()[1]
    K = K if portrait else lens_sideways(K, 18)
    width, height = (18, 24) if portrait else (24, 18)
    big = np.diag([40.0, 40.0, 1]) @ K
    half = np.sqrt(0.5)
    # upright: ARKit's level camera has no turn; sideways: x down is a turn of -90 degrees about z
    q = [0.0, 0.0, 0.0, 1.0] if portrait else [0.0, 0.0, -half, half]
    meta = {
        "w": 40 * width, "h": 40 * height, "dw": width, "dh": height, "fps": 10, "K": list(big.T.ravel()),
        "poses": [[*q, 0.0, HEIGHT, 0.0]] * COUNT, "frameTimestamps": [0.1 * i for i in range(COUNT)],
    }  # fmt: skip
    path = root / "a.r3d"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata", json.dumps(meta))
        for i in range(COUNT):
            depth = street(nearer=0.1 * i)[0]
            depth = depth if portrait else sideways(depth)
            archive.writestr(f"rgbd/{i}.jpg", b"")
            archive.writestr(f"rgbd/{i}.depth", pack(depth.astype("<f4").tobytes()))
            archive.writestr(f"rgbd/{i}.conf", pack((depth < 3).astype(np.uint8).tobytes()))
    return path, {}


def record3d_sideways(root: Path) -> tuple[Path, dict[str, Any]]:
    return record3d(root, portrait=False)


def multiscan(root: Path) -> tuple[Path, dict[str, Any]]:
    base = _made(root / "scan_1")
    depth = np.stack([sideways(street(nearer=0.1 * i)[0]) for i in range(COUNT)]).astype("<f2")
    packer = zlib.compressobj(wbits=-15)
    (base / "scan_1.depth.zlib").write_bytes(packer.compress(depth.tobytes()) + packer.flush())
    (base / "scan_1.confidence.zlib").write_bytes(zlib.compress(np.full(depth.shape, 2, np.uint8).tobytes()))
    streams = [
        {"id": "color_back_1", "type": "color_camera", "resolution": [720, 960], "encoding": "h264"},
        {"id": "depth_back_1", "type": "lidar_sensor", "resolution": [18, 24], "encoding": "float16_zlib"},
    ]
    (base / "scan_1.json").write_text(json.dumps({"depth_unit": "m", "streams": streams}))
    K = np.diag([40.0, 40.0, 1]) @ lens_sideways(street()[1], 18)
    lines = [
        json.dumps({"timestamp": 5 + 0.1 * i, "transform": list(PORTRAIT.T.ravel()), "intrinsics": list(K.T.ravel())})
        for i in range(COUNT)
    ]
    text(base / "scan_1.jsonl", *lines)
    return base, {}


def arkitscenes(root: Path) -> tuple[Path, dict[str, Any]]:
    base = root / "41069021"
    K = lens_sideways(street()[1], 18)
    # the trajectory holds world (z up) to camera, as a rotation vector
    camera = np.array([[0.0, -1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, HEIGHT], [0, 0, 0, 1]])  # x down, y left, z forward
    inverse = np.linalg.inv(camera)
    turn = cv2.Rodrigues(inverse[:3, :3])[0].ravel()
    rows = []
    for i in range(COUNT):
        stamp = f"{300.1 + 0.1 * i:.3f}"
        depth_png(base / "lowres_depth" / f"41069021_{stamp}.png", sideways(street(nearer=0.1 * i)[0]))
        lens = [24, 18, K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
        text(base / "lowres_wide_intrinsics" / f"41069021_{stamp}.pincam", " ".join(str(v) for v in lens))
        rows.append(" ".join(str(v) for v in (stamp, *turn, *inverse[:3, 3])))
    text(base / "lowres_wide.traj", *rows)
    return base, {}


def ours(root: Path) -> tuple[Path, dict[str, Any]]:
    source, options = npz(root)
    return iar.write(open_recording(source, SourceOptions.parse(options)), root / "a.iar"), {}


SOURCES = {
    "array": npz, "array (RealSense)": npz_realsense, "pictures": pictures, "tum": tum, "euroc": euroc,
    "scannet": scannet, "stray": stray, "record3d": record3d, "record3d (sideways)": record3d_sideways,
    "zlib": multiscan, "arkitscenes": arkitscenes, "iar": ours,
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_gives_the_street_upright_in_metres_and_in_its_place(tmp_path: Path, kind: str) -> None:
    path, options = SOURCES[kind](tmp_path)
    assert kind_of(path) == kind.split(" ")[0]
    found = open_recording(path, SourceOptions.parse(options))
    is_street(found, tolerance=0.003)
    assert np.allclose(np.diff(found.times), 0.1, atol=1e-3)
    sure = found.load(0).confidence
    assert sure is None or sure.shape == found.load(0).depth.shape
    if kind in ("stray", "record3d", "record3d (sideways)"):
        want = street()[0] < 3
        assert np.array_equal(sure > 0, want)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_survives_the_way_through_our_own_format(tmp_path: Path, kind: str) -> None:
    path, options = SOURCES[kind](tmp_path)
    done = convert(path, tmp_path / "out", ConvertOptions.parse({**options, "city": "hefei"}))
    assert len(done) == 1
    back = iar.read(done[0].files[0])
    is_street(back, tolerance=0.003)
    assert back.manifest.city == "hefei"


def test_a_turn_can_be_said(tmp_path: Path) -> None:
    depth, K = street()
    np.savez(tmp_path / "a.npz", depth=np.stack([sideways(depth)] * 2), K=lens_sideways(K, 18))
    found = open_recording(tmp_path / "a.npz", SourceOptions(rotate="90"))
    assert np.allclose(found.load(0).depth, depth, equal_nan=True)
    assert np.allclose(found.load(0).K, K)
    assert "turned clockwise by 90" in " ".join(found.notes)


# ---------------------------------------------------------------------------------------------------- units


def test_millimetres_that_are_called_metres_are_detected_and_named(tmp_path: Path) -> None:
    depth = np.stack([street()[0]] * 3) * 1000
    np.save(tmp_path / "a.npy", depth)
    with pytest.raises(DataError, match="declared as m: .*these are millimetres, not metres. Give unit=mm"):
        open_recording(tmp_path / "a.npy", SourceOptions(unit="m"))
    found = open_recording(tmp_path / "a.npy")
    assert any("taken as millimetres" in note for note in found.notes)
    assert np.nanmax(found.load(0).depth) == pytest.approx(WALL)
    assert np.nanmax(open_recording(tmp_path / "a.npy", SourceOptions(unit="mm")).load(0).depth) == pytest.approx(WALL)
    assert np.nanmax(open_recording(tmp_path / "a.npy", SourceOptions(unit="m", scale=1.0)).load(0).depth) > 3999


@pytest.mark.parametrize(
    ("factor", "options", "word"),
    [
        (100.0, {}, "Give unit=mm or unit=cm"),
        (0.001, {}, "half of the values lie below"),
        (1.0, {"unit": "mm"}, "too near for mm"),
    ],
)
def test_other_units_are_named_too(factor: float, options: dict[str, Any], word: str) -> None:
    depth = np.stack([street()[0]] * 3) * factor
    with pytest.raises(DataError, match=word):
        open_recording(depth, SourceOptions.parse(options))


def test_pictures_scaled_to_one_are_no_metres() -> None:
    with pytest.raises(DataError, match="scaled picture"):
        open_recording(np.linspace(0, 1, 3 * 8 * 12, dtype=np.float32).reshape(3, 8, 12))


# --------------------------------------------------------------------------------------- order, sizes, damage


def test_disorder_is_passed_on_and_named(tmp_path: Path) -> None:
    times = [0.0, 0.2, 0.1, 0.1, 0.2, 0.3, 5.2]
    found = open_recording({"depth": np.ones((7, 8, 12), np.float32), "times": times})
    assert list(found.times) == times
    notes = "; ".join(found.notes)
    for word in ("1 of 7 frames are older", "1 of 7 frames have the time", "longest pause between frames is 4.9 s"):
        assert word in notes


def test_a_size_change_and_a_bad_picture_are_passed_on_and_counted(tmp_path: Path) -> None:
    path, _ = pictures(tmp_path)
    depth_png(path / "frame_10.png", np.ones((12, 30)))
    whole = (path / "frame_9.png").read_bytes()
    (path / "frame_9.png").write_bytes(whole[: len(whole) // 2])
    found = open_recording(path)
    shapes = [frame.depth.shape for frame in found]
    assert shapes == [(24, 18), (24, 18), (12, 30), (24, 18)]
    assert np.isnan(found.load(1).depth).all()
    notes = "; ".join(found.notes)
    assert "1 of 4 frames can't be read and are empty: 1" in notes
    assert "2 sizes" in notes
    for file in path.glob("*.png"):
        file.write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="none of the 4 frames can be read"):
        open_recording(path, SourceOptions(format="pictures"))


@pytest.mark.parametrize(
    ("source", "file", "data", "word"),
    [
        (tum, "depth.txt", "1 depth/0.png\nzwei depth/1.png", r"depth\.txt' line 2: timestamp is 'zwei'"),
        (tum, "depth.txt", "1", "cells|holds no row|1 cells"),
        (tum, "groundtruth.txt", "1 2 3", r"groundtruth\.txt' line 1 has 3 cells"),
        (pictures, "times.txt", "0\n1\nx\n3", r"times\.txt' line 3: time is 'x'"),
        (pictures, "times.txt", "0\n1\n2", "4 pictures but 3 times"),
        (pictures, "poses.txt", "1 2 3 4 5 6 7", "poses.txt has 1 rows"),
        (pictures, "intrinsics.txt", "1 2 3", "has 3 numbers"),
        (pictures, "intrinsics.txt", "-1 2 3 4", "above 0"),
        (stray, "odometry.csv", "timestamp, frame, x, y, z, qx, qy, qz\n1,0,0,0,0,0,0,0", "lacks the column qw"),
        (stray, "odometry.csv", "timestamp, frame, x, y, z, qx, qy, qz, qw\n1,0,0,up,0,0,0,0,1", "line 2: y is 'up'"),
        (
            stray,
            "odometry.csv",
            "timestamp, frame, x, y, z, qx, qy, qz, qw\n1,77,0,0,0,0,0,0,1",
            "no number of a picture",
        ),
        (stray, "camera_matrix.csv", "1,2,3", "has 3 numbers"),
        (scannet, "pose/1.txt", "1 2 3 4", "has 4 numbers, 16"),
        (euroc, "mav0/depth0/data.csv", "#t,f\nnow,a.png", "names 1 pictures|timestamp is 'now'|holds no row"),
        (multiscan, "scan_1.jsonl", "{", "line 1 is no JSON"),
        (multiscan, "scan_1.json", "{", "is no JSON"),
        (multiscan, "scan_1.depth.zlib", "abc", "packed by zlib|cut short"),
        (arkitscenes, "lowres_wide.traj", "1 2 3", "line 1 has 3 cells"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, source: Any, file: str, data: str, word: str) -> None:
    path, options = source(tmp_path)
    text(path / file, data)
    with pytest.raises(DataError, match=word):
        found = open_recording(path, SourceOptions.parse(options))
        for frame in found:
            assert frame.depth.ndim == 2


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "a.txt", "hello")
    text(tmp_path / "b.csv", "a,b,c,d", "1,2,3,4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "c.npz").write_bytes(b"PK no")
    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY")
    for name in ("a.txt", "b.csv", "empty", "c.npz", "d.npy", "none.iar"):
        with pytest.raises(DataError):
            open_recording(tmp_path / name)
    with pytest.raises(ConfigError, match="format"):
        SourceOptions.parse({"format": "eurok"})
    np.savez(tmp_path / "e.npz", depth=np.array([{}], dtype=object))
    np.savez(tmp_path / "f.npz", colour=np.ones(3), other=np.ones(3))
    for name in ("e.npz", "f.npz"):
        with pytest.raises(DataError):
            open_recording(tmp_path / name)
    for bad in (np.ones((2, 3, 4, 5)), np.array(["a"]), np.empty((0, 3, 3))):
        with pytest.raises(DataError):
            open_recording(bad)


def test_a_folder_of_sources_is_searched_but_not_a_source(tmp_path: Path) -> None:
    stray(tmp_path)
    ours(tmp_path)
    text(tmp_path / "deep" / "s.csv", "t,range_m", "0,3", "1,2")
    assert [p.name for p in find_sources(tmp_path)] == ["a.iar", "a.npz", "s.csv", "stray"]
    assert find_sources(tmp_path / "stray") == [tmp_path / "stray"]
    text(tmp_path / "bad.csv", "what", "is")
    done = convert(tmp_path, tmp_path / "out", ConvertOptions())
    assert [bool(o.error) for o in done] == [False, False, True, False, False]
    assert done.exit_code == 3
    assert len(list((tmp_path / "out").glob("*.iar"))) == 4
    with pytest.raises(DataError, match="one file, there are"):
        convert(tmp_path, tmp_path / "x.iar", ConvertOptions())


def test_inputs_of_all_kinds_are_gathered(tmp_path: Path) -> None:
    stray(tmp_path)
    ours(tmp_path)
    (tmp_path / "twin").mkdir()
    ours(tmp_path / "twin")
    array = np.ones((3, 8, 12), np.float32)
    many = [tmp_path, str(tmp_path / "twin" / "a.iar"), array, array, str(tmp_path / "twin" / "*.iar")]
    items = gather_recordings(many, gather, SUFFIXES)
    assert [i.stem.as_posix() for i in items] == [
        "a", "a-2", "stray", "twin/a", "twin/a-2", "a-3", "input-0006", "input-0007", "a-4",
    ]  # fmt: skip
    assert all(len(open_recording(item.value)) for item in items)
    assert [i.stem.name for i in gather_recordings(tmp_path / "stray", gather, SUFFIXES)] == ["stray"]
    (tmp_path / "none").mkdir()
    for nothing in ([], "", tmp_path / "none", "nowhere.iar"):
        with pytest.raises(DataError):
            gather_recordings(nothing, gather, SUFFIXES)


def test_colour_of_sixteen_bits_is_no_depth(tmp_path: Path) -> None:
    (tmp_path / "depth").mkdir()
    cv2.imwrite(str(tmp_path / "depth" / "0.png"), np.full((8, 12, 3), 8000, np.uint16))
    with pytest.raises(DataError, match="depth is grey, 16 bit"):
        open_recording(tmp_path)


# ------------------------------------------------------------------------------------------- Record3D's packing


def test_packed_record3d_names_the_package_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = record3d(tmp_path, pack=lambda data: b"bvx2" + zlib.compress(data))
    for name in ("liblzfse", "lzfse"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="pip install pyliblzfse"):
        open_recording(path)
    stand_in = types.ModuleType("liblzfse")
    stand_in.decompress = lambda data: zlib.decompress(data[4:])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liblzfse", stand_in)
    is_street(open_recording(path), tolerance=0.003)


def test_record3d_by_a_real_decoder(tmp_path: Path) -> None:
    liblzfse = pytest.importorskip("liblzfse", reason="pyliblzfse is not installed")
    is_street(open_recording(record3d(tmp_path, pack=liblzfse.compress)[0]), tolerance=0.003)


# ------------------------------------------------------------------------------------------------- ranges


def test_range_series(tmp_path: Path) -> None:
    text(tmp_path / "a.csv", "t,range_m", "0.0,5.0", "0.1,", "0.2,4.5", "0.3,inf")
    found = open_recording(tmp_path / "a.csv")
    assert found.manifest.kind == "range"
    values = np.array([f.depth.item() for f in found])
    assert np.array_equal(values, [5.0, np.nan, 4.5, np.nan], equal_nan=True)
    text(tmp_path / "b.csv", "0.0;5000", "0.1;4000")
    found = open_recording(tmp_path / "b.csv")
    assert [f.depth.item() for f in found] == [5.0, 4.0]
    assert "millimetres" in found.notes[0]
    text(tmp_path / "c.csv", "t,range_m,id", "0,5,left", "0,3,right", "1,2,left", "1,,right")
    assert [f.depth.item() for f in open_recording(tmp_path / "c.csv")] == [3.0, 2.0]
    assert "2 series" in open_recording(tmp_path / "c.csv").notes[0]
    assert [f.depth.item() for f in open_recording(tmp_path / "c.csv", SourceOptions(series="left"))] == [5.0, 2.0]
    with pytest.raises(DataError, match="It has: left, right"):
        open_recording(tmp_path / "c.csv", SourceOptions(series="up"))
    text(tmp_path / "d.csv", "t,range_m", "0,5", "1,five")
    with pytest.raises(DataError, match="line 3: range_m is 'five'"):
        open_recording(tmp_path / "d.csv")


def test_ros_range_table(tmp_path: Path) -> None:
    heading = "%time,field.header.seq,field.header.stamp,field.header.frame_id,field.radiation_type,"
    heading += "field.field_of_view,field.min_range,field.max_range,field.range"
    rows = [
        f"{1700000000000000000 + i * 100_000_000},{i},{1700000000000000000},sonar,0,0.26,0.02,4,{3 - i}"
        for i in range(3)
    ]
    text(tmp_path / "r.csv", heading, *rows)
    found = open_recording(tmp_path / "r.csv")
    assert [f.depth.item() for f in found][:2] == [3.0, 2.0]
    assert np.allclose(np.diff(found.times), 0.1)


def test_ros_laser_scan_becomes_plane_depth(tmp_path: Path) -> None:
    angles = np.radians(np.arange(-180, 180.0))
    with np.errstate(divide="ignore"):
        wall = np.where(np.abs(angles) < np.radians(75), 5 / np.cos(angles), np.inf)
    post = np.where(np.abs(angles - np.radians(20)) < np.radians(1.5), 2.0, wall)
    heading = "%time,field.header.seq,field.header.stamp,field.header.frame_id,field.angle_min,field.angle_max,"
    heading += "field.angle_increment,field.time_increment,field.scan_time,field.range_min,field.range_max,"
    heading += ",".join(f"field.ranges{k}" for k in range(len(angles)))
    row = f"{{}},0,0,laser,{angles[0]},{angles[-1]},{np.radians(1)},0,0.1,0.1,30," + ",".join(f"{r:.4f}" for r in post)
    text(tmp_path / "scan.csv", heading, row.format(10**18), row.format(10**18 + 10**8))
    found = open_recording(tmp_path / "scan.csv")
    frame = found.load(1)
    assert found.times[1] - found.times[0] == pytest.approx(0.1)
    assert (frame.depth == frame.depth[:1])[np.isfinite(frame.depth)].all()
    near = np.flatnonzero(frame.depth[0] < 3)
    middle = frame.K[0, 2] - frame.K[0, 0] * np.tan(np.radians(20))  # to the left
    assert np.abs(near - middle).max() < 0.06 * frame.K[0, 0]
    assert np.allclose(frame.depth[0][frame.depth[0] > 3], 5, atol=0.01)  # a wall is flat in plane depth


# ------------------------------------------------------------------------------------------------- clouds


def wall_points(axes: str = "lidar") -> np.ndarray:
    """A wall 6 m ahead that is 8 m wide and 3 m high, and a near post to the left, in the scanner's axes."""
    y, z = np.meshgrid(np.linspace(-4, 4, 161), np.linspace(-1.5, 1.5, 41))
    wall = np.stack([np.full(y.size, 6.0), y.ravel(), z.ravel()], 1)
    post = np.stack([np.full(60, 3.0), np.full(60, 1.0), np.linspace(-1, 1, 60)], 1)
    behind = np.array([[-2.0, 0, 0], [0, 0, 0], [np.nan, 1, 1]])
    points = np.concatenate([wall, post, behind]).astype(np.float32)
    return points if axes == "lidar" else np.stack([-points[:, 1], -points[:, 2], points[:, 0]], 1)


def pcd(path: Path, points: np.ndarray, binary: bool) -> None:
    head = "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    head += f"WIDTH {len(points)}\n"
    head += f"HEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA {'binary' if binary else 'ascii'}\n"
    full = np.c_[points, np.ones(len(points))].astype("<f4")
    body = full.tobytes() if binary else "\n".join(" ".join(f"{v:.5f}" for v in row) for row in full).encode()
    path.write_bytes(head.encode() + body)


def ply(path: Path, points: np.ndarray, binary: bool) -> None:
    form = "binary_little_endian" if binary else "ascii"
    head = f"ply\nformat {form} 1.0\ncomment x\nelement vertex {len(points)}\nproperty uchar red\nproperty double x\n"
    head += "property double y\nproperty double z\nelement face 0\nproperty list uchar int vertex_indices\nend_header\n"
    kind = np.dtype([("r", "u1"), ("p", "<f8", (3,))])
    rows = np.zeros(len(points), kind)
    rows["p"] = points
    body = rows.tobytes() if binary else "\n".join("7 " + " ".join(f"{v:.5f}" for v in row) for row in points).encode()
    path.write_bytes(head.encode() + body)


def clouds(root: Path) -> dict[str, Path]:
    points = wall_points()
    pcd(root / "a.pcd", points, False)
    pcd(root / "b.pcd", points, True)
    ply(root / "c.ply", points, False)
    ply(root / "d.ply", points, True)
    (root / "e.bin").write_bytes(np.c_[points, np.ones(len(points))].astype("<f4").tobytes())
    finite = points[np.isfinite(points).all(1)]
    text(root / "f.xyz", *(" ".join(f"{v:.5f}" for v in row) for row in finite))
    text(root / "g.csv", "x,y,z", *(",".join(f"{v:.5f}" for v in row) for row in finite))
    return {p.name: p for p in root.iterdir()}


def test_clouds_of_every_kind_give_plane_depth(tmp_path: Path) -> None:
    for path in clouds(tmp_path).values():
        found = open_recording(path)
        frame = found.load(0)
        assert frame.depth.shape == (128, 256), path
        # trap 15: at the wall's edge the distance is 7.2 m, the depth along the axis 6 m
        seen = frame.depth[np.isfinite(frame.depth)]
        assert set(np.round(np.unique(seen), 2)) == {3.0, 6.0}, path
        rows, columns = np.nonzero(frame.depth < 4)
        want = frame.K[0, 2] - frame.K[0, 0] / 3  # y = 1 m to the left at 3 m
        assert np.abs(columns - want).max() <= 1.6
        assert len(set(rows)) > 60


def test_axes_yaw_and_the_nearest_point() -> None:
    K = field_of_view(64, 48, 90)
    lidar = project(wall_points(), K, (48, 64), CloudOptions())
    camera = project(wall_points("camera"), K, (48, 64), CloudOptions(axes="camera"))
    assert np.array_equal(lidar, camera, equal_nan=True)
    left = np.array([[0.0, 5.0, 0.0]])
    found = project(left, K, (48, 64), CloudOptions(yaw=90, grow=0))
    assert np.nanmin(found) == pytest.approx(5)
    assert np.isfinite(found).sum() == 1
    assert np.isfinite(found[22:26, 30:34]).any()
    both = np.array([[9.0, 0, 0], [4.0, 0, 0], [7.0, 0, 0]])
    assert np.nanmax(project(both, K, (48, 64), CloudOptions())) == pytest.approx(4)
    assert np.isnan(project(np.empty((0, 3)), K, (48, 64), CloudOptions())).all()


def test_a_folder_of_clouds_with_times_and_a_damaged_one(tmp_path: Path) -> None:
    for i in range(3):
        points = np.c_[wall_points(), np.ones(len(wall_points()))].astype("<f4")
        data = points.tobytes()
        path = _made(tmp_path / "kitti" / "velodyne_points" / "data") / f"{i:010d}.bin"
        path.write_bytes(data[:-5] if i == 1 else data)
    text(tmp_path / "kitti" / "velodyne_points" / "timestamps.txt", "0", "0.1", "0.2")
    found = open_recording(tmp_path / "kitti")
    assert list(found.times) == [0.0, 0.1, 0.2]
    assert [bool(np.isfinite(f.depth).any()) for f in found] == [True, False, True]


BIG_ENDIAN = b"ply\nformat binary_big_endian 1.0\nelement vertex 1\n"
BIG_ENDIAN += b"".join(b"property float %c\n" % axis for axis in b"xyz") + b"end_header\n"


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("a.pcd", b"FIELDS x y z\n", "no DATA line"),
        ("a.pcd", b"FIELDS x y\nSIZE 4 4\nTYPE F F\nWIDTH 1\nHEIGHT 1\nDATA ascii\n1 2\n", "x, y and z"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 999999999\nDATA binary\nabc", "cut short"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 2\nDATA ascii\n1 2 3\n", "cut short"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 2\nDATA binary_compressed\n", "packed"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 1\nDATA ascii\n1 b 3\n", "column 2 is 'b'"),
        ("a.ply", b"plyx", "no PLY"),
        ("a.ply", BIG_ENDIAN, "big_endian"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "x, y and z"),
        ("a.bin", b"12345", "four float32 a point"),
        ("a.xyz", b"1 2\n", "line 1 has 2 cells"),
        ("a.xyz", b"\xff\xfe", "no UTF-8 text"),
    ],
)  # fmt: skip
def test_damaged_clouds_are_named(tmp_path: Path, name: str, data: bytes, word: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=word):
        open_recording(tmp_path / name)


def test_euclidean_depth_needs_and_uses_a_camera() -> None:
    K = field_of_view(64, 48, 90)
    x, y = (np.arange(64) - K[0, 2]) / K[0, 0], (np.arange(48) - K[1, 2]) / K[1, 1]
    distance = 5 * np.sqrt(1 + x[None] ** 2 + y[:, None] ** 2)
    with pytest.raises(DataError, match="need a camera"):
        open_recording(distance[None], SourceOptions(depth="range"))
    found = open_recording(distance[None], SourceOptions(depth="range", fov=90))
    assert np.allclose(found.load(0).depth, 5, atol=1e-4)


def test_a_recording_and_its_manifest_pass_through() -> None:
    before = Recording(Manifest(), np.zeros(1), lambda i: None)  # type: ignore[arg-type, return-value]
    assert open_recording(before) is before


@pytest.mark.parametrize("kind", SOURCES)
def test_damage_anywhere_never_ends_in_anything_but_a_data_error(tmp_path: Path, kind: str) -> None:
    path, _ = SOURCES[kind](tmp_path)
    rng = np.random.default_rng(0)
    files = sorted(p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file() and p.stat().st_size)
    texts = [p for p in files if p.suffix != ".png"] or files
    for k in range(16):
        victim = texts[rng.integers(len(texts))] if k % 4 else files[rng.integers(len(files))]
        whole = victim.read_bytes()
        data = bytearray(whole)
        at = int(rng.integers(len(data)))
        if k % 3 == 0:
            del data[at:]
        elif k % 3 == 1:
            data[at : at + 3] = rng.integers(0, 256, 3, dtype=np.uint8).tobytes()
        else:
            data[at:at] = [b"1e999", b"nan", b"[[[", b",,", b'"', b"null"][int(rng.integers(6))]
        victim.write_bytes(bytes(data))
        with contextlib.suppress(DataError):
            for frame in open_recording(path):
                assert frame.depth.ndim == 2
        victim.write_bytes(whole)
