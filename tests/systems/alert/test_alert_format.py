"""The recording format: what is written comes back, and what is not as it should be is named."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldsight.errors import DataError
from fieldsight.systems.alert import iar
from fieldsight.systems.alert.frames import png, turned, turns_by_gravity
from fieldsight.systems.alert.poses import is_rigid, pose_of, quaternion_of
from fieldsight.systems.alert.recording import Frame, Manifest, Recording, field_of_view, of_arrays
from fieldsight.systems.alert.units import unit_problem

SHAPE = (24, 32)


def made(count: int = 5, seed: int = 0, **changes: Any) -> Recording:
    """A recording with everything in it."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.3, 25, (count, *SHAPE)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.1] = np.nan
    poses = np.stack([pose_of(rng.normal(size=4), rng.normal(size=3)) for _ in range(count)])
    manifest = Manifest(kind="sim", city="jaipur", weather="fog", seed=7, licence="CC0", camera_height=1.21, pitch=0.1)
    found = of_arrays(
        depth, 5 + 0.1 * np.arange(count), K=field_of_view(SHAPE[1], SHAPE[0]), poses=poses,
        confidence=rng.integers(0, 3, depth.shape).astype(np.uint8), manifest=manifest,
    )  # fmt: skip
    tables = {
        "objects": {
            "i": np.arange(3), "id": np.arange(3), "class": np.array(["car", "bus", '7,"x"']), "x": rng.normal(size=3),
        },
        "labels": {
            "i": np.arange(count), "t": found.times, "danger": np.arange(count) % 2 == 0,
            "ttc_true": np.where(np.arange(count) % 2, np.inf, 1.25), "rule": np.array(["swerve"] * count),
        },
        "truth": {"i": np.arange(3), "frontal": np.array([True, False, True]), "note": np.array(["é", "", "b"])},
    }  # fmt: skip
    return found.replace(**{"notes": ("one", "two"), **tables, **changes})


def same(a: Recording, b: Recording, tolerance: float) -> None:
    assert len(a) == len(b)
    assert np.array_equal(a.times, b.times)
    for one, two in zip(a, b, strict=True):
        assert two.depth.dtype == np.float32
        assert np.array_equal(np.isnan(one.depth), np.isnan(two.depth))
        assert np.nanmax(np.abs(one.depth - two.depth)) <= tolerance
        assert np.allclose(one.pose, two.pose, atol=1e-9)
        assert np.array_equal(one.K, two.K)
        assert np.array_equal(one.confidence, two.confidence)
    for name in ("objects", "labels", "truth"):
        for column, values in getattr(a, name).items():
            back = getattr(b, name)[column]
            assert np.array_equal(values, back), column
            assert values.dtype.kind == back.dtype.kind, column


@pytest.mark.parametrize("target", ["rec.iar", "rec"])
@pytest.mark.parametrize(("storage", "tolerance"), [("png", 0.000501), ("npz", 0.0079), ("npy", 0.0079)])
def test_a_recording_comes_back_to_the_millimetre(tmp_path: Path, target: str, storage: Any, tolerance: float) -> None:
    before = made()
    path = iar.write(before, tmp_path / target, storage)
    after = iar.read(path)
    same(before, after, tolerance)
    assert after.manifest == before.manifest
    assert after.notes == before.notes
    assert after.name == "rec"


def test_the_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    for storage in ("png", "npz"):
        one = iar.write(made(), tmp_path / "a.iar", storage).read_bytes()  # type: ignore[arg-type]
        two = iar.write(made(), tmp_path / "b.iar", storage).read_bytes()  # type: ignore[arg-type]
        assert one == two
    assert iar.write(made(seed=1), tmp_path / "a.iar").read_bytes() != one


def test_a_folder_has_the_files_of_the_specification(tmp_path: Path) -> None:
    path = iar.write(made(), tmp_path / "rec")
    names = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert {"manifest.json", "frames.csv", "objects.csv", "labels.csv", "truth.csv"} <= names
    assert {"depth/000000.png", "confidence/000004.png"} <= names
    head = (path / "frames.csv").read_text().splitlines()[0]
    assert head == "i,t,depth_file,conf_file,rgb_file,qw,qx,qy,qz,px,py,pz"
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["version"] == 1
    assert manifest["sensor"]["kind"] == "sim"
    assert manifest["sensor"]["K"][2] == [0.0, 0.0, 1.0]
    assert manifest["user"]["camera_height"] == 1.21


def test_an_older_recording_stays_when_writing_fails(tmp_path: Path) -> None:
    path = iar.write(made(), tmp_path / "rec.iar")
    before = path.read_bytes()

    def broken(i: int) -> Frame:
        if i == 3:
            raise DataError("the source broke off")
        return made().load(i)

    with pytest.raises(DataError, match="broke off"):
        iar.write(made(load=broken), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_range_series_frames_without_pose_and_intrinsics_that_change(tmp_path: Path) -> None:
    series = of_arrays(np.array([3.0, np.nan, 1.5]))
    back = iar.read(iar.write(series, tmp_path / "s"))
    assert (tmp_path / "s" / "range.csv").is_file()
    assert [f.depth.item() for f in back][::2] == [3.0, 1.5]
    assert np.isnan(back.load(1).depth).all()
    assert back.manifest.kind == "range"

    frames = [
        Frame(np.ones((4, 6 + i), np.float32), 0.1 * i, None, field_of_view(6 + i, 4), np.eye(4) if i else None)
        for i in range(3)
    ]
    mixed = Recording(Manifest(width=6, height=4), np.array([0.0, 0.2, 0.1]), lambda i: frames[i])
    back = iar.read(iar.write(mixed, tmp_path / "m.iar"))
    assert [f.depth.shape for f in back] == [(4, 6), (4, 7), (4, 8)]
    assert back.load(0).pose is None
    assert np.allclose(back.load(2).K, frames[2].K)
    assert list(back.times) == [0.0, 0.2, 0.1]
    with pytest.raises(DataError, match="storage='png'"):
        iar.write(mixed, tmp_path / "m.iar", "npz")


def test_a_range_table_alone_is_a_recording(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "range.csv").write_text("t,range_m\n0,4\n0.1,3.5\n")
    back = iar.read(tmp_path / "r")
    assert back.manifest.kind == "range"
    assert [f.depth.item() for f in back] == [4.0, 3.5]


def test_euclidean_depth_of_others_becomes_plane_depth(tmp_path: Path) -> None:
    path = iar.write(made(), tmp_path / "rec")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sensor"]["depth"] = "range"
    (path / "manifest.json").write_text(json.dumps(manifest))
    K = np.asarray(manifest["sensor"]["K"])
    plain, turned_ = made().load(0).depth, iar.read(path).load(0).depth
    corner = np.sqrt(1 + ((31 - K[0, 2]) / K[0, 0]) ** 2 + ((23 - K[1, 2]) / K[1, 1]) ** 2)
    assert plain[23, 31] / turned_[23, 31] == pytest.approx(corner, rel=1e-3)
    manifest["sensor"]["K"] = None
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="needs the intrinsics"):
        iar.read(path)


def test_a_zip_of_the_folder_itself_is_read(tmp_path: Path) -> None:
    path = iar.write(made(), tmp_path / "rec")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for file in path.rglob("*"):
            archive.write(file, f"rec/{file.relative_to(path)}")
    same(made(), iar.read(tmp_path / "packed.zip"), 0.0006)


def rewritten(tmp_path: Path, change: dict[str, bytes | None]) -> Path:
    """A recording whose members are replaced, added, or left out."""
    source = iar.write(made(), tmp_path / "whole.iar")
    target = tmp_path / "changed.iar"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if name not in change:
                new.writestr(name, old.read(name))
        for name, data in change.items():
            if data is not None:
                new.writestr(name, data)
    return target


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"manifest.json": None}, "lacks manifest.json"),
        ({"manifest.json": b"{"}, "manifest.json is no JSON"),
        ({"manifest.json": b"[]"}, "an object is wanted"),
        ({"manifest.json": b'{"version": 2}'}, "Get a newer fieldsight"),
        ({"manifest.json": b'{"version": "x"}'}, "version"),
        ({"manifest.json": b'{"sensor": {"kind": "eye"}}'}, "sensor.kind is 'eye'"),
        ({"manifest.json": b'{"sensor": {"fps": -1}}'}, "fps is -1"),
        ({"manifest.json": b'{"sensor": {"K": [[1, 2], [3]]}}'}, "sensor.K is 3 x 3"),
        ({"manifest.json": b'{"sensor": {"width": 60000, "height": 60000}}'}, "60000 x 60000"),
        ({"frames.csv": None}, "lacks frames.csv"),
        ({"frames.csv": b"i,depth_file\n0,depth/000000.png\n"}, "lacks the column t"),
        ({"frames.csv": b"i,t,depth_file\n0,zero,depth/000000.png\n"}, "line 2: t is 'zero'"),
        ({"frames.csv": b"i,t,depth_file\n0,,depth/000000.png\n"}, "line 2"),
        ({"frames.csv": b"i,t,depth_file\n0,0,depth/000000.png\n1,1\n"}, "line 3 has 2 cells"),
        ({"frames.csv": b"i,t,depth_file\n0,0,../../secret.png\n"}, "leads out"),
        ({"frames.csv": b"i,t,depth_file\n0,0,depth/000099.png\n"}, "lacks 'depth/000099.png'"),
        ({"frames.csv": b"i,t,depth_file\n"}, "holds no frame"),
        ({"frames.csv": b"\xff\xfe\x00"}, "no UTF-8 text"),
        ({"depth/000002.png": None}, "lacks 'depth/000002.png'"),
        ({"labels.csv": b"i,t,danger\n0,0,perhaps\n"}, "line 2: danger is 'perhaps'"),
        ({"labels.csv": b"i,t,kind\n0,0,car\n"}, "lacks the column danger"),
        ({"../evil.png": b"x"}, "leads out"),
        ({"/etc/evil.png": b"x"}, "leads out"),
        ({"a\\..\\evil.png": b"x"}, "leads out"),
        ({"c:evil.png": b"x"}, "leads out"),
    ],
)
def test_a_recording_that_is_not_whole_is_refused(tmp_path: Path, change: dict[str, bytes | None], word: str) -> None:
    with pytest.raises(DataError, match=word):
        iar.read(rewritten(tmp_path, change))


def damaged(data: bytes) -> dict[str, bytes | None]:
    return {"depth/000001.png": data}


WHOLE = png(np.full(SHAPE, 1500, np.uint16) + np.arange(32, dtype=np.uint16))
HUGE = WHOLE[:16] + struct.pack(">II", 50000, 50000) + WHOLE[24:]


@pytest.mark.parametrize("data", [b"", b"\x89PNG", WHOLE[: len(WHOLE) // 2], WHOLE[:40] + b"\0" * 40, HUGE])
def test_a_damaged_picture_is_named_when_its_frame_is_asked_for(tmp_path: Path, data: bytes) -> None:
    found = iar.read(rewritten(tmp_path, damaged(data)))
    assert found.load(0).depth.shape == SHAPE
    with pytest.raises(DataError, match=r"depth/000001\.png"):
        found.load(1)


def test_flipped_bytes_of_a_zip_never_end_in_anything_but_a_data_error(tmp_path: Path) -> None:
    whole = iar.write(made(2), tmp_path / "a.iar").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "b.iar"
    for k in range(150):
        data = bytearray(whole[: rng.integers(1, len(whole))] if k % 3 == 0 else whole)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        path.write_bytes(bytes(data))
        try:
            found = iar.read(path)
            for i in range(len(found)):
                found.load(i)
        except DataError:
            pass


def lying(path: Path, name: str, size: int) -> None:
    """Make the directory of a zip claim another unpacked size."""
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
    data[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(bytes(data))


def test_a_member_that_claims_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    path = iar.write(made(), tmp_path / "a.iar")
    lying(path, "truth.csv", 3_000_000_000)
    with pytest.raises(DataError, match=r"truth\.csv.*MB"):
        iar.read(path)
    path = iar.write(made(), tmp_path / "a.iar")
    lying(path, "depth/000003.png", 3_000_000_000)
    with pytest.raises(DataError, match=r"depth/000003\.png.*MB"):
        iar.read(path).load(3)


def test_an_array_whose_header_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f2", "fortran_order": False, "shape": (5, 40000, 40000)})
    path = rewritten(tmp_path, {"depth.npy": buffer.getvalue() + b"\0" * 64})
    with pytest.raises(DataError, match=r"depth\.npy.*header claims"):
        iar.read(path).load(0)
    path = rewritten(tmp_path, {"depth.npz": b"no zip"})
    with pytest.raises(DataError, match=r"depth\.npz"):
        iar.read(path).load(0)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.iar").write_text("hello")
    for path, word in ((tmp_path / "none.iar", "no file"), (tmp_path / "text.iar", "no zip"), (tmp_path, "manifest")):
        with pytest.raises(DataError, match=word):
            iar.read(path)
    with pytest.raises(DataError, match="ends in .iar"):
        iar.write(made(), tmp_path / "a.mp4")


# ------------------------------------------------------------------------------------------ turns and units


def test_quaternions_and_matrices_are_each_others_inverse() -> None:
    rng = np.random.default_rng(0)
    for k in range(200):
        q = rng.normal(size=4) * np.roll([1, 0, 0, 0], k % 4) if k < 8 else rng.normal(size=4)
        pose = pose_of(q, rng.normal(size=3))
        assert pose is not None
        assert is_rigid(pose)
        assert np.allclose(pose_of(quaternion_of(pose[:3, :3]), pose[:3, 3]), pose, atol=1e-12)
    assert pose_of([0, 0, 0, 0], [0, 0, 0]) is None
    assert pose_of([1, 0, 0, 0], [0, np.nan, 0]) is None


def test_a_turned_frame_shows_the_same_points_of_the_world() -> None:
    rng = np.random.default_rng(1)
    depth = rng.uniform(1, 9, (5, 7)).astype(np.float32)
    K = np.array([[6.0, 0, 2.7], [0, 5.0, 2.2], [0, 0, 1]])
    frame = Frame(depth, 0.0, (depth > 5).astype(np.uint8), K, pose_of([1, 0.3, -0.2, 0.5], [1, 2, 3]))

    def points(f: Frame) -> np.ndarray:
        v, u = np.mgrid[: f.depth.shape[0], : f.depth.shape[1]]
        z = f.depth
        cam = np.stack([(u - f.K[0, 2]) * z / f.K[0, 0], (v - f.K[1, 2]) * z / f.K[1, 1], z, np.ones_like(z)], -1)
        world = cam.reshape(-1, 4) @ f.pose.T
        return world[np.lexsort(world.round(4).T)]

    for turns in range(5):
        found = turned(frame, turns)
        assert np.allclose(points(found), points(frame), atol=1e-4), turns
        assert np.array_equal(found.confidence, np.rot90(frame.confidence, -turns))


def test_gravity_tells_the_turn() -> None:
    level = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 1.3], [0, 0, 0, 1]])
    for turns in range(4):
        lying_ = turned(Frame(np.ones((2, 3), np.float32), 0.0, None, None, level), (4 - turns) % 4)
        assert turns_by_gravity([None, lying_.pose]) == turns
    assert turns_by_gravity([]) == 0


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.linspace(500, 9000, 100), "these are millimetres, not"),
        (np.linspace(100, 800, 100), "millimetres or centimetres"),
        (np.linspace(30, 190, 100), "centimetres"),
        (np.linspace(0, 1, 100), "scaled picture"),
        (np.linspace(0.3, 25, 100), ""),
        (np.linspace(3, 240, 100) ** 0.9, ""),
        (np.full(10, np.nan), ""),
        (np.zeros(10, np.uint16), ""),
        (np.array([12.0]), ""),
    ],
)
def test_units_are_told_from_the_values(values: np.ndarray, word: str) -> None:
    found = unit_problem(values)
    assert (word in found) if word else not found
