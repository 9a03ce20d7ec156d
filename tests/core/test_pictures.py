"""Pictures in and out, and every way a file can be broken."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fieldsight.data.arrays import allocate, bands, release, thumbnail, write_tiff
from fieldsight.data.images import png_bytes, read_image, resize, to_float, to_uint8, write_image
from fieldsight.errors import DataError

GREY = (np.arange(20 * 30).reshape(20, 30) % 251).astype(np.uint8)
COLOUR = np.dstack([GREY, GREY[::-1], 250 - GREY])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".npy"])
@pytest.mark.parametrize("picture", [GREY, COLOUR, GREY.astype(np.uint16) * 200])
def test_lossless_formats_round_trip(tmp_path: Path, suffix: str, picture: np.ndarray) -> None:
    if suffix == ".bmp" and picture.dtype == np.uint16:
        pytest.skip("BMP holds no 16 bit")
    found = read_image(write_image(tmp_path / f"x{suffix}", picture))
    assert found.dtype == picture.dtype
    np.testing.assert_array_equal(found, picture)


def test_sixteen_bit_colour_keeps_its_bits_and_its_order(tmp_path: Path) -> None:
    deep = COLOUR.astype(np.uint16) * 257 + 3
    for name in ("x.png", "x.tif"):
        np.testing.assert_array_equal(read_image(write_image(tmp_path / name, deep)), deep)


def test_float_tiff_and_what_cannot_hold_floats(tmp_path: Path) -> None:
    values = np.linspace(-1, 2, 600, dtype=np.float32).reshape(20, 30)
    np.testing.assert_array_equal(read_image(write_image(tmp_path / "x.tif", values)), values)
    with pytest.raises(DataError, match="can't hold float"):
        write_image(tmp_path / "x.png", values)
    assert not (tmp_path / "x.png").exists()


def test_alpha_palette_cmyk_bilevel_and_grey_alpha(tmp_path: Path) -> None:
    rgba = np.dstack([COLOUR, np.full_like(GREY, 128)])
    path = write_image(tmp_path / "a.png", rgba)
    assert read_image(path).shape == (20, 30, 4)
    half = np.round(COLOUR * (128 / 255) + 255 * (1 - 128 / 255))
    assert np.abs(read_image(path, "rgb").astype(int) - half).max() <= 1
    for mode in ("P", "CMYK", "1", "LA"):
        name = tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}"
        Image.fromarray(COLOUR).convert(mode).save(name)
        assert read_image(name, "grey").shape == (20, 30), mode
        assert read_image(name, "rgb").shape == (20, 30, 3), mode


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR)
    exif = Image.Exif()
    exif[274] = 6
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert read_image(tmp_path / "turned.jpg").shape == (30, 20, 3)


def test_arrays_are_pictures_too() -> None:
    assert read_image(GREY > 100).dtype == np.uint8
    assert read_image(GREY.astype(np.int64)).dtype == np.uint8
    assert read_image(GREY[..., None], "rgb").shape == (20, 30, 3)
    for bad in (np.zeros((2, 3, 4, 5)), np.zeros(7), np.zeros((4, 4, 2)), np.zeros((0, 5)), np.array([["a"]])):
        with pytest.raises(DataError):
            read_image(bad)
    with pytest.raises(DataError, match="holds int64"):
        read_image(np.array([[-1, 5]]))


def test_scaling() -> None:
    assert to_float(np.array([[0, 255]], np.uint8)).tolist() == [[0.0, 1.0]]
    assert to_float(np.array([[65535]], np.uint16)).tolist() == [[1.0]]
    assert to_uint8(np.array([[-1.0, 0.5, 7.0, np.nan]])).tolist() == [[0, 128, 255, 0]]


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def test_broken_files_are_named_with_the_reason(tmp_path: Path) -> None:
    good = write_image(tmp_path / "good.png", COLOUR).read_bytes()
    broken = {
        "zero.png": (b"", "is empty"),
        "truncated.png": (good[: len(good) // 2], "truncated or corrupt"),
        "text.png": (b"hello, I am no picture", "no picture that can be read"),
        "bomb.png": (_png(50_000, 50_000), "pixels|too large"),
        "lying.npy": (b"\x93NUMPY but not really", "Can't read"),
    }
    for name, (data, reason) in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=reason) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(DataError, match="There is no file"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(DataError, match="more than the 0 million allowed"):
        read_image(tmp_path / "good.png", max_pixels=100)


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="Can't read"):
        read_image(tmp_path / "evil.npy")


def test_large_pictures_are_converted_in_bands_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rgba = np.dstack([COLOUR, GREY])
    pictures = [GREY.astype(np.uint16) * 200, COLOUR / np.float32(255), rgba, rgba.astype(np.uint16) * 257]
    whole = [to_uint8(read_image(p, "rgb")) for p in pictures]
    monkeypatch.setattr("fieldsight.data.images.LARGE", 200)
    for picture, wanted in zip(pictures, whole, strict=True):
        np.testing.assert_array_equal(to_uint8(read_image(picture, "rgb")), wanted)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 5), ",  # a bracket that is never closed
        "{'descr': '|u1', 'fortran_order': False, b'shape': (6, 5)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 5)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 5)}",
        "{'descr': '|u1' 'fortran_order', 1 2}",
        "(" * 100,
    ],
)
def test_damaged_headers_of_arrays_are_bad_data(tmp_path: Path, header: str) -> None:
    text = header.encode().ljust(117) + b"\n"
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(60))
    with pytest.raises(DataError, match=r"Can't read .*x\.npy"):
        read_image(path)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["x.png", "x.jpg", "x.tif", "x.gif", "x.npy", "x.webp"]))
def test_garbage_is_refused_as_data(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(data)
    with pytest.raises(DataError):
        read_image(path)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "WEBP"]))
def test_flipped_bytes_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, kind: str
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, format=kind)
    data = bytearray(buffer.getvalue())
    data[place % len(data)] = value
    path = tmp_path_factory.mktemp("fuzz") / f"x.{kind.lower()}"
    path.write_bytes(bytes(data))
    with contextlib.suppress(DataError):
        assert read_image(path).ndim in (2, 3)


def test_large_arrays_are_mapped_and_written_band_by_band(tmp_path: Path) -> None:
    big = allocate((500, 400), np.float32, limit=1000)
    assert isinstance(big, np.memmap)
    assert not isinstance(allocate((5, 4)), np.memmap)
    for rows in bands(500, 400, 4, budget=64_000):
        big[rows] = np.arange(rows.start, rows.stop)[:, None]
        release(big)
    assert float(big[499, 0]) == 499.0
    np.testing.assert_array_equal(read_image(write_tiff(tmp_path / "x.tif", big)), big)
    small = thumbnail(big, 100)
    assert small.shape == (100, 80)
    assert small[0, 0] == pytest.approx(2.0)


def test_pngs_in_memory_and_shrinking() -> None:
    assert png_bytes(GREY)[:4] == b"\x89PNG"
    assert resize(COLOUR, 10).shape == (7, 10, 3)
    assert resize(COLOUR, 100) is COLOUR
