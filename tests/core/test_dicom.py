"""DICOM files of every packing, as values and as pictures; damaged and hostile ones; and no word about the patient."""

from __future__ import annotations

import io
import logging
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicoms import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    J2K,
    JPEG,
    JPEG_LS,
    LOSSLESS,
    MPEG,
    RLE,
    SECRETS,
    jpeg,
    lossless,
    ramp,
    write,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate_extended
from pydicom.sequence import Sequence

from fieldsight.data.dicom import Dicom
from fieldsight.data.dicom_grey import windowed
from fieldsight.data.dicom_header import NUMBERS, TEXTS, WORDS
from fieldsight.data.jpeg_lossless import decode_lossless
from fieldsight.errors import DataError, FieldsightError

SIGNED = (ramp(3, 23, 31, 4095, np.int16) - 2000).astype(np.int16)

# ------------------------------------------------------------------------------------------------ packings


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE])
@pytest.mark.parametrize("pixels", [ramp(3, 23, 31), ramp(3, 23, 31, 4095, np.uint16), SIGNED], ids=["8", "16", "-"])
def test_frames_of_every_exact_packing(tmp_path: Path, syntax: str, pixels: Any) -> None:
    with Dicom(write(tmp_path / "a.dcm", pixels, syntax)) as run:
        assert (run.count, run.size, run.bits) == (3, (23, 31), pixels.dtype.itemsize * 8)
        for number in (2, 0, 1):  # an odd number of bytes a frame: the second begins at an odd place
            found = run.frame(number)
            assert found.dtype == (np.float32 if pixels.dtype == np.int16 else np.uint16)
            np.testing.assert_array_equal(found, pixels[number])
        assert run.notes == (() if pixels.dtype == np.uint8 else run.notes)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_without_preamble_the_syntax_is_told_by_the_first_tag(tmp_path: Path, syntax: str) -> None:
    pixels = ramp(2, top=999, dtype=np.uint16)
    run = Dicom(write(tmp_path / "old", pixels, syntax, headless=True))
    np.testing.assert_array_equal(run.frame(1), pixels[1])
    assert run.notes[0] == "the file has no DICOM preamble"
    assert "is assumed" in run.notes[1]


def test_jpeg_of_both_kinds(tmp_path: Path) -> None:
    pixels, deep = ramp(3), ramp(3, top=4095, dtype=np.uint16)
    packed = [jpeg(frame, quality=95) for frame in pixels]
    run = Dicom(write(tmp_path / "a.dcm", pixels, JPEG, frames_packed=packed))
    assert max(int(np.abs(run.frame(i) - pixels[i].astype(int)).max()) for i in range(3)) <= 3
    packed = [jpeg(frame, "JPEG2000", no_jp2=True) for frame in deep]
    run = Dicom(write(tmp_path / "b.dcm", deep, J2K, frames_packed=packed))
    np.testing.assert_array_equal(run.frame(2), deep[2])


@pytest.mark.parametrize("table", [True, False])
def test_frames_in_several_pieces(tmp_path: Path, table: bool) -> None:
    pixels = ramp(3)
    packed = [jpeg(frame, quality=90) for frame in pixels]
    path = write(tmp_path / "a.dcm", pixels, JPEG, frames_packed=packed)
    data = dcmread(path)
    from pydicom.encaps import encapsulate

    data.PixelData = encapsulate(packed, fragments_per_frame=2, has_bot=table)
    data["PixelData"].is_undefined_length = True
    data.save_as(path)
    run = Dicom(path)
    assert [int(np.abs(run.frame(i) - pixels[i].astype(int)).max()) <= 5 for i in range(3)] == [True] * 3


def test_extended_offset_table(tmp_path: Path) -> None:
    pixels = ramp(3)
    path = write(tmp_path / "a.dcm", pixels, JPEG, frames_packed=[jpeg(frame) for frame in pixels])
    data = dcmread(path)
    whole = encapsulate_extended([jpeg(frame, quality=95) for frame in pixels])
    data.PixelData, data.ExtendedOffsetTable, data.ExtendedOffsetTableLengths = whole
    data["PixelData"].is_undefined_length = True
    data.save_as(path)
    assert np.abs(Dicom(path).frame(1) - pixels[1].astype(int)).max() <= 3


def test_bits_above_those_stored_do_not_count(tmp_path: Path) -> None:
    stored = ramp(1, top=1023, dtype=np.uint16)
    noisy = stored | (np.arange(stored.size, dtype=np.uint16).reshape(stored.shape) % 63 << 10)
    np.testing.assert_array_equal(Dicom(write(tmp_path / "a.dcm", noisy, bits=10)).frame(0), stored[0])
    for syntax in (EXPLICIT, RLE):  # aligned to the highest bit, as old machines do
        path = write(tmp_path / "b.dcm", (stored << 6).astype(np.uint16), syntax, bits=10, HighBit=15)
        np.testing.assert_array_equal(Dicom(path).frame(0), stored[0])
    negative = (ramp(1, top=1023, dtype=np.int16) - 512) & 0x3FF  # 10 bits, two's complement, nothing above
    path = write(tmp_path / "c.dcm", negative.astype(np.uint16), bits=10, PixelRepresentation=1)
    np.testing.assert_array_equal(Dicom(path).frame(0), ramp(1, top=1023, dtype=np.int16)[0] - 512)


@pytest.mark.parametrize("predictor", range(1, 8))
def test_lossless_jpeg_agrees_with_another_library(predictor: int) -> None:
    frame = ramp(1, 9, 11)[0] ^ np.random.default_rng([7, predictor]).integers(0, 32, (9, 11)).astype(np.uint8)
    for restart in (0, 3):
        packed = lossless(frame, predictor=predictor, restart=restart)
        np.testing.assert_array_equal(decode_lossless(packed, 9, 11, 1), frame)
        try:
            other = np.asarray(Image.open(io.BytesIO(packed)))  # libjpeg-turbo 3 reads 8 bits
        except OSError:
            continue
        np.testing.assert_array_equal(other, frame)


def test_lossless_jpeg_in_files(tmp_path: Path) -> None:
    rng = np.random.default_rng([7])
    for bits, shape in ((8, (2, 9, 11)), (12, (2, 9, 11)), (16, (2, 9, 11)), (8, (2, 9, 11, 3))):
        pixels = rng.integers(0, 2**bits, shape).astype(np.uint8 if bits == 8 else np.uint16)
        packed = [lossless(frame, bits, 6) for frame in pixels]
        run = Dicom(write(tmp_path / "a.dcm", pixels, LOSSLESS, bits=bits, frames_packed=packed))
        wanted = pixels[1] if len(shape) == 3 else pixels[1] @ np.array([0.299, 0.587, 0.114])
        np.testing.assert_allclose(run.frame(1), wanted, atol=0.51 if len(shape) == 4 else 0)
    shifted = rng.integers(0, 256, (9, 11)) << 4
    np.testing.assert_array_equal(decode_lossless(lossless(shifted, 12, shift=4), 9, 11, 1), shifted)


def test_damaged_lossless_jpeg() -> None:
    whole = lossless(ramp(1, 9, 11)[0])
    with pytest.raises(DataError, match="11 x 9 pixels of 1 number"):
        decode_lossless(whole, 9, 12, 1)
    with pytest.raises(DataError, match="damaged"):
        decode_lossless(jpeg(ramp(1, 9, 11)[0]), 9, 11, 1)
    for end in range(len(whole) - 3):
        with pytest.raises(DataError, match="damaged"):
            decode_lossless(whole[:end], 9, 11, 1)


# ------------------------------------------------------------------------------------------------ grey values


def test_window_of_the_file_and_of_the_caller(tmp_path: Path) -> None:
    pixels = ramp(1, top=4095, dtype=np.uint16)
    run = Dicom(write(tmp_path / "a.dcm", pixels, bits=12, WindowCenter=["1000", "7"], WindowWidth=["500", "7"]))
    x = pixels[0].astype(np.float64)
    wanted = np.clip((x - 999.5) / 499 + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2.1
    np.testing.assert_allclose(run.display(0), wanted, atol=1e-3)
    np.testing.assert_array_equal(run.picture(0), np.rint(run.display(0)))
    np.testing.assert_allclose(run.display(0, "full"), x * 255 / 4095, atol=1e-3)
    np.testing.assert_allclose(run.display(0, (2048, 4096)), x * 255 / 4095, atol=1e-3)
    low, high = np.percentile(x, (0.5, 99.5))
    shown = run.display(0, "percentile")
    assert abs(shown[x <= low].max()) < 1
    assert shown[x >= high].min() > 254
    for window, words in (((1, 0), "above 0"), ((1, np.nan), "above 0"), ("none", "Unknown window")):
        with pytest.raises(DataError, match=words):
            run.display(0, window)  # type: ignore[arg-type]


def test_window_functions_of_the_standard() -> None:
    x = np.array([-5.0, 0.0, 9.0, 10.0, 11.0, 20.0, 25.0], np.float32)
    np.testing.assert_allclose(windowed(x, 10, 20, "LINEAR_EXACT"), np.clip(x / 20, 0, 1) * 255, atol=1e-4)
    np.testing.assert_allclose(windowed(x, 10, 20, "SIGMOID"), 255 / (1 + np.exp(-4 * (x - 10) / 20)), atol=1e-3)
    np.testing.assert_array_equal(windowed(x, 10, 1, "LINEAR"), np.where(x > 9.5, 255, 0))
    with pytest.raises(DataError, match="LINEAR_EXACT"):
        windowed(x, 10, 20, "CUBIC")


def test_without_window_deep_files_take_percentiles_and_say_so(tmp_path: Path) -> None:
    deep = Dicom(write(tmp_path / "a.dcm", ramp(4, top=900, dtype=np.uint16), bits=16))
    assert deep.picture(3).max() == 255
    assert deep.picture(0).max() < 160  # one window for all frames: they do not flicker
    assert any("percentiles" in note for note in deep.notes)
    plain = Dicom(write(tmp_path / "b.dcm", ramp(1)))
    np.testing.assert_array_equal(plain.picture(0), ramp(1)[0])
    assert plain.notes == ()


def test_polarity(tmp_path: Path) -> None:
    pixels = ramp(1)
    for tags in ({"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"},
                 {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}):  # fmt: skip
        run = Dicom(write(tmp_path / "a.dcm", pixels, **tags))
        np.testing.assert_array_equal(run.picture(0), 255 - pixels[0])
        np.testing.assert_array_equal(run.frame(0), pixels[0])


def lut(entries: Any, first: int, bits: int) -> Sequence:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries) % 65536, first, bits], list(entries)
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    item.ModalityLUTType = "US"
    return Sequence([item])


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_tables_of_the_file(tmp_path: Path, syntax: str) -> None:
    pixels = ramp(1, top=255, dtype=np.uint16)
    table = (np.arange(200) ** 2 % 4096).tolist()
    run = Dicom(write(tmp_path / "a.dcm", pixels, syntax, bits=12, ModalityLUTSequence=lut(table, 20, 12)))
    at = np.clip(pixels[0].astype(int) - 20, 0, 199)
    np.testing.assert_array_equal(run.frame(0), np.array(table)[at])
    curve = [min(4095, 30 * i) for i in range(256)]
    run = Dicom(write(tmp_path / "b.dcm", pixels, syntax, bits=12, VOILUTSequence=lut(curve, 0, 12)))
    np.testing.assert_allclose(run.display(0), np.array(curve)[pixels[0]] * 255 / 4095, atol=1e-3)


def test_rescaling_comes_before_the_window(tmp_path: Path) -> None:
    pixels = ramp(1, top=1000, dtype=np.uint16)
    tags = {"RescaleSlope": "2", "RescaleIntercept": "-500", "RescaleType": "US", "WindowCenter": "500.5",
            "WindowWidth": "1001"}  # fmt: skip
    run = Dicom(write(tmp_path / "a.dcm", pixels, bits=12, **tags))
    values = pixels[0] * 2.0 - 500
    assert run.frame(0).dtype == np.float32
    np.testing.assert_array_equal(run.frame(0), values)
    np.testing.assert_allclose(run.display(0), np.clip((values - 500) / 1000 + 0.5, 0, 1) * 255, atol=1e-3)


def test_the_modality_table_of_an_angiogram_is_not_for_display(tmp_path: Path) -> None:
    pixels = ramp(1)
    table = lut([255 - i for i in range(256)], 0, 8)
    run = Dicom(write(tmp_path / "a.dcm", pixels, PixelIntensityRelationship="LOG", ModalityLUTSequence=table))
    np.testing.assert_array_equal(run.picture(0), pixels[0])
    np.testing.assert_array_equal(run.frame(0), 255 - pixels[0].astype(int))
    assert any("left out for display" in note for note in run.notes)


def test_colour_is_taken_as_luminance(tmp_path: Path) -> None:
    rgb = np.stack([ramp(2), ramp(2)[..., ::-1], ramp(2) // 2], axis=-1)
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    for tags, pixels in (
        ({}, rgb),
        ({"PlanarConfiguration": 1}, rgb.transpose(0, 3, 1, 2).reshape(rgb.shape)),
    ):
        run = Dicom(write(tmp_path / "a.dcm", pixels, **tags))
        np.testing.assert_allclose(run.frame(1), luma[1], atol=0.51)
        assert any("luminance" in note for note in run.notes)
    run = Dicom(write(tmp_path / "b.dcm", rgb, RLE))
    np.testing.assert_allclose(run.display(1), luma[1], atol=1e-3)
    ybr = np.stack([np.asarray(Image.fromarray(frame).convert("YCbCr")) for frame in rgb])
    run = Dicom(write(tmp_path / "c.dcm", ybr, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_array_equal(run.frame(1), ybr[1, ..., 0])
    packed = [jpeg(frame, quality=95) for frame in rgb]
    run = Dicom(write(tmp_path / "d.dcm", rgb, JPEG, frames_packed=packed, PhotometricInterpretation="YBR_FULL_422"))
    assert np.abs(run.display(1) - luma[1]).max() < 6
    shared = np.concatenate([ybr[..., ::2, :1], ybr[..., 1::2, :1], ybr[..., ::2, 1:]], axis=-1)
    path = write(tmp_path / "e.dcm", rgb, PhotometricInterpretation="YBR_FULL_422")
    data = dcmread(path)
    data.PixelData = shared.tobytes()
    data.save_as(path)
    np.testing.assert_array_equal(Dicom(path).frame(1), ybr[1, ..., 0])


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
def test_palette(tmp_path: Path, syntax: str) -> None:
    pixels, order = ramp(1, top=99), ">" if syntax == BIG else "<"
    colours = {"Red": np.arange(100) * 600, "Green": 60000 - np.arange(100) * 600, "Blue": np.full(100, 3000)}
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, entries in colours.items():
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [100, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = entries.astype(f"{order}u2").tobytes()
    run = Dicom(write(tmp_path / "a.dcm", pixels, syntax, **tags))
    luma = (0.299 * colours["Red"] + 0.587 * colours["Green"] + 0.114 * colours["Blue"]) * 255 / 65535
    np.testing.assert_allclose(run.display(0), luma[pixels[0]], atol=1e-3)
    assert any("PALETTE COLOR" in note for note in run.notes)
    for name in colours:  # the same as a straight line in segments: one point, then a line to the last
        first, last = int(colours[name][0]), int(colours[name][-1])
        del tags[f"{name}PaletteColorLookupTableData"]
        words = np.array([0, 1, first, 1, 99, last], f"{order}u2")
        tags[f"Segmented{name}PaletteColorLookupTableData"] = words.tobytes()
    run = Dicom(write(tmp_path / "b.dcm", pixels, syntax, **tags))
    np.testing.assert_allclose(run.display(0), luma[pixels[0]], atol=0.02)


def test_values_of_frames_in_an_enhanced_object(tmp_path: Path) -> None:
    groups = []
    for number in range(2):
        window, voi, place, position = Dataset(), Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = 500.5 + 1000 * number, 1001
        voi.FrameVOILUTSequence = Sequence([window])
        position.PositionerPrimaryAngle = 10.0 * number
        voi.PositionerPositionSequence = Sequence([position])
        groups.append(voi)
        place.PatientName = "Grimshaw^Ottoline"
        voi.add_new(0x00081140, "SQ", Sequence([place]))
    pixels = np.repeat(ramp(1, top=2000, dtype=np.uint16), 2, axis=0)
    run = Dicom(write(tmp_path / "a.dcm", pixels, bits=12, PerFrameFunctionalGroupsSequence=Sequence(groups)))
    for number in (1, 0, 1):
        low = 1000 * number
        np.testing.assert_allclose(run.display(number), np.clip((pixels[0] - low * 1.0) / 1000, 0, 1) * 255, atol=1e-3)
        assert run.number("PositionerPrimaryAngle", number) == 10 * number


# ------------------------------------------------------------------------------------------------ speed and size


def test_frame_rate(tmp_path: Path) -> None:
    def rate(**tags: Any) -> Dicom:
        plain = {"CineRate": None, "FrameTime": None}
        return Dicom(write(tmp_path / "a.dcm", ramp(3), **{**plain, **tags}))

    assert rate().fps is None
    assert rate(CineRate=30).fps == 30
    assert rate(FrameTime="80").fps == 12.5
    assert rate(FrameTimeVector=["0", "40", "60"]).fps == 20
    assert rate(RecommendedDisplayFrameRate=10).fps == 10
    assert rate(CineRate=0, FrameTime="0", RecommendedDisplayFrameRate=10).fps == 10
    both = rate(CineRate=30, FrameTime="66.67", RecommendedDisplayFrameRate=7)
    assert both.fps == 30
    assert both.notes == ("CineRate says 30 frames a second, FrameTime 14.9993: the first is taken",)


def test_size_of_a_pixel(tmp_path: Path) -> None:
    def spacing(**tags: Any) -> Any:
        plain = {"ImagerPixelSpacing": None, "EstimatedRadiographicMagnificationFactor": None}
        return Dicom(write(tmp_path / "a.dcm", ramp(1), **{**plain, **tags})).spacing

    assert spacing() is None
    found = spacing(ImagerPixelSpacing=["0.3", "0.15"], EstimatedRadiographicMagnificationFactor="1.5")
    assert (found.row, found.column, found.at_detector) == pytest.approx((0.2, 0.1, False))
    assert found.source.startswith("ImagerPixelSpacing, divided by EstimatedRadiographicMagnificationFactor")
    found = spacing(ImagerPixelSpacing=["0.3", "0.3"], DistanceSourceToPatient="750", DistanceSourceToDetector="1000")
    assert found.row == pytest.approx(0.225)
    found = spacing(ImagerPixelSpacing=["0.3", "0.3"])
    assert (found.row, found.at_detector) == (0.3, True)
    found = spacing(ImagerPixelSpacing=["0.3", "0.3"], PixelSpacing=["0.2", "0.2"])
    assert (found.row, found.source) == (0.2, "PixelSpacing")
    same = {"ImagerPixelSpacing": ["0.3", "0.3"], "PixelSpacing": ["0.3", "0.3"]}
    found = spacing(**same, EstimatedRadiographicMagnificationFactor="1.5")  # equal: not corrected (PS3.3 10.7.1.3)
    assert found.row == pytest.approx(0.2)
    assert spacing(**same, PixelSpacingCalibrationType="FIDUCIAL").source == "PixelSpacing, calibrated: FIDUCIAL"
    assert spacing(ImagerPixelSpacing=["0", "0.3"]) is None


def test_one_frame_at_a_time_is_in_memory(tmp_path: Path) -> None:
    pixels = np.zeros((200, 256, 256), np.uint8)
    paths = [write(tmp_path / "a.dcm", pixels), write(tmp_path / "b.dcm", pixels, RLE)]
    for path in paths:
        Dicom(path).picture(0)  # what is imported and cached
        tracemalloc.start()
        with Dicom(path) as run:
            for number in (0, 199, 100):
                run.picture(number)
            peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12 * 65536, peak  # 200 frames are 13 MB


# ------------------------------------------------------------------------------------------------ bad input


def patched(path: Path, old: bytes, new: bytes) -> Path:
    whole = path.read_bytes()
    assert whole.count(old) == 1, whole.count(old)
    path.write_bytes(whole.replace(old, new))
    return path


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


WRONG = [
    ({"Rows": 25}, "shorter than the header says"),
    ({"Rows": 20}, "longer than the header says"),
    ({"Columns": 33}, "shorter"),
    ({"NumberOfFrames": 4}, "3 frame.s. are whole"),
    ({"NumberOfFrames": 2}, "longer"),
    ({"NumberOfFrames": 2_000_000}, "2,000,000 frames"),
    ({"NumberOfFrames": -1}, "NumberOfFrames is -1"),
    ({"Rows": 65535, "Columns": 65535, "NumberOfFrames": 1_000_000}, "million allowed"),
    ({"Rows": 0}, "Rows is 0"),
    ({"Rows": None}, "lacks the tag Rows"),
    ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "BitsAllocated 32"),
    ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}, "BitsAllocated 12"),
    ({"BitsStored": 9, "HighBit": 8}, "BitsStored 9"),
    ({"HighBit": 3}, "HighBit 3"),
    ({"PixelRepresentation": 2}, "PixelRepresentation is 2"),
    ({"PhotometricInterpretation": "MONOCHROME3"}, "is MONOCHROME3 with 1"),
    ({"PhotometricInterpretation": "RGB"}, "is RGB with 1"),
    ({"PhotometricInterpretation": None}, "absent"),
    ({"SamplesPerPixel": 3}, "is MONOCHROME2 with 3"),
]


@pytest.mark.parametrize(("tags", "words"), WRONG, ids=[str(tags) for tags, _ in WRONG])
def test_tags_that_do_not_fit(tmp_path: Path, tags: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        Dicom(write(tmp_path / "a.dcm", ramp(3), **tags))
    assert "a.dcm" in str(caught.value)
    assert "xport" in str(caught.value) or "trust" in str(caught.value) or "damaged" in str(caught.value)


def test_zeros_behind_the_pixels_are_padding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", ramp(2))
    data = dcmread(path)
    plain = data.PixelData
    for count, value in ((100, 0), (2, 9)):
        data.PixelData = plain + bytes([value]) * count
        data.save_as(path)
        run = Dicom(path)
        assert run.count == 2
        np.testing.assert_array_equal(run.frame(1), ramp(2)[1])
        assert run.notes == (("100 zeros behind the pixels are left out",) if value == 0 else ())
    for count, value in ((24 * 32, 0), (100, 1)):
        data.PixelData = plain + bytes([value]) * count
        data.save_as(path)
        with pytest.raises(DataError, match="longer"):
            Dicom(path)


def test_what_is_no_dicom_picture(tmp_path: Path) -> None:
    cases = {
        "empty.dcm": (b"", "is empty"),
        "text.dcm": (b"Grimshaw Ottoline " * 30, "no DICOM file"),
        "picture.dcm": (jpeg(ramp(1)[0]), "no DICOM file"),
        "preamble.dcm": (b"\0" * 128 + b"DICM", "no DICOM file|no PixelData"),
        "like.dcm": (b"\x08\0\x05\0" + b"Grimshaw" * 40, "no DICOM file|truncated"),
    }
    for name, (data, words) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=words) as caught:
            Dicom(tmp_path / name)
        assert "Grimshaw" not in str(caught.value)
    with pytest.raises(DataError, match="no file"):
        Dicom(tmp_path / "none.dcm")
    with pytest.raises(DataError, match="is a folder"):
        Dicom(tmp_path)
    path = write(tmp_path / "report.dcm", ramp(1))
    data = dcmread(path)
    del data.PixelData
    data.save_as(path)
    with pytest.raises(DataError, match="holds no PixelData"):
        Dicom(path)
    data.FloatPixelData = b"\0" * 24 * 32 * 4
    data.save_as(path)
    with pytest.raises(DataError, match="holds FloatPixelData"):
        Dicom(path)
    path = write(tmp_path / "DICOMDIR", ramp(1))
    data = dcmread(path)
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    data.save_as(path)
    with pytest.raises(DataError, match="is a DICOMDIR"):
        Dicom(path)


def test_truncated_files_give_their_whole_frames_when_asked_to(tmp_path: Path) -> None:
    packed = [jpeg(frame) for frame in ramp(3)]
    for path in (write(tmp_path / "a.dcm", ramp(3)), write(tmp_path / "b.dcm", ramp(3), JPEG, frames_packed=packed)):
        whole = Dicom(path).frame(1)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DataError, match=r"2 frame\(s\) are whole.*lenient=True to get 2"):
            Dicom(path)
        run = Dicom(path, lenient=True)
        assert run.count == 2
        np.testing.assert_array_equal(run.frame(1), whole)
        assert any("shorter" in note for note in run.notes)
        with pytest.raises(DataError, match="no frame 2. Allowed: 0 to 1"):
            run.frame(2)
    path = write(tmp_path / "c.dcm", ramp(1))
    path.write_bytes(path.read_bytes()[:-40])
    for lenient in (True, False):
        with pytest.raises(DataError, match="0 frame"):
            Dicom(path, lenient=lenient)


def test_a_decoder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    pixels = ramp(1)
    path = write(tmp_path / "a.dcm", pixels, J2K, frames_packed=[jpeg(pixels[0], "JPEG2000", no_jp2=True)])
    np.testing.assert_array_equal(Dicom(path).frame(0), pixels[0])
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    with pytest.raises(DataError, match=r"JPEG 2000.*no decoder.*pip install pylibjpeg pylibjpeg-openjpeg"):
        Dicom(path)
    path = write(tmp_path / "b.dcm", pixels, MPEG, frames_packed=[b"abcd"])
    with pytest.raises(DataError, match=r"video stream \(MPEG-4"):
        Dicom(path)
    from pydicom.pixels.decoders import JPEGLSLosslessDecoder

    if not JPEGLSLosslessDecoder.is_available:
        with pytest.raises(DataError, match=r"JPEG-LS.*pip install pyjpegls"):
            Dicom(write(tmp_path / "c.dcm", pixels, JPEG_LS, frames_packed=[b"abcd"]))


def test_packed_frames_that_do_not_fit(tmp_path: Path) -> None:
    pixels, big = ramp(2), ramp(1, 600, 700)[0]
    path = write(tmp_path / "a.dcm", pixels, JPEG, frames_packed=[jpeg(big), b"\xff\xd8\xff\xd9"])
    with pytest.raises(DataError, match=r"frame 0 has 700 x 600 pixels inside"):
        Dicom(path).frame(0)
    with pytest.raises(DataError, match="frame 1 .*can't be decoded here. Another decoder .*pylibjpeg-libjpeg"):
        Dicom(path).frame(1)
    huge = [b"\0" * (2**20 + 5000), b"\0\0"]
    with pytest.raises(DataError, match="more than it has unpacked"):
        Dicom(write(tmp_path / "b.dcm", pixels, RLE, frames_packed=huge)).frame(0)
    with pytest.raises(DataError, match="frame 0 .*can't be decoded"):
        Dicom(write(tmp_path / "c.dcm", pixels, RLE, frames_packed=[b"\1\0\0\0" + b"\0" * 60] * 2)).frame(0)
    path = write(tmp_path / "d.dcm", pixels)
    with pytest.raises(DataError, match="not packed in items"):
        Dicom(patched(path, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    path = write(tmp_path / "e.dcm", pixels, RLE)
    with pytest.raises(DataError, match="packed in items"):
        Dicom(patched(path, b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0"))


def test_a_deflated_file_that_grows_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.dcm", np.zeros((40, 256, 256), np.uint8), DEFLATED)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr("fieldsight.data.dicom_header._INFLATED", 2**20)
    with pytest.raises(DataError, match="grows beyond"):
        Dicom(path)


# ------------------------------------------------------------------------------------------------ the patient


def spoken(run: Dicom) -> str:
    """Everything that a Dicom gives out."""
    run.picture(0)
    run.frame(0)
    return " ".join(map(str, (run, run.technical(), run.notes, run.spacing, run.fps, run.photometric, run._header)))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE])
def test_nothing_of_the_patient_is_given_out(tmp_path: Path, syntax: str) -> None:
    path = write(tmp_path / "a.dcm", ramp(2), syntax)
    if syntax != DEFLATED:
        assert all(secret.encode() in path.read_bytes() for secret in SECRETS[:2])
    run = Dicom(path)
    text = spoken(run)
    assert not [secret for secret in SECRETS if secret in text]
    assert run.technical()["ManufacturerModelName"] == "Angio 7"
    assert run.technical()["KVP"] == 81
    assert run.technical()["Kind"] == "X-Ray Angiographic Image Storage"
    assert set(run.technical()) <= {"Kind", "TransferSyntax", *WORDS, *NUMBERS, *TEXTS}
    assert run.mentions(r"\blca\b")
    assert not run.mentions("rca")


def test_errors_logs_and_warnings_keep_silent_about_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """A name in tags of numbers and words, where parsers quote what they can't read."""
    caplog.set_level(logging.DEBUG)
    said = []
    rows = element(0x0028, 0x0010, b"US", struct.pack("<H", 24))
    for old, new in (
        (element(0x0018, 0x0040, b"IS", b"15"), element(0x0018, 0x0040, b"IS", b"Grimshaw")),
        (element(0x0018, 0x0060, b"DS", b"81"), element(0x0018, 0x0060, b"DS", b"Ottoline Grimshaw ")),
        (element(0x0008, 0x0060, b"CS", b"XA"), element(0x0008, 0x0060, b"CS", b"Grimshaw^Ottoline ")),
        (element(0x0028, 0x0004, b"CS", b"MONOCHROME2 "), element(0x0028, 0x0004, b"CS", b"Grimshaw^Ottoline ")),
        (rows, element(0x0028, 0x0010, b"IS", b"Ottoline")),
        (b"1.2.840.10008.1.2.1\0", b"Grimshaw Ottoline 1\0"[:20]),
    ):
        path = patched(write(tmp_path / "a.dcm", ramp(1)), old, new)
        try:
            said.append(spoken(Dicom(path)))
        except DataError as error:
            said += [str(error), "" if error.__suppress_context__ or error.__context__ is None else SECRETS[0]]
    text = " ".join(said) + caplog.text + " ".join(str(warning.message) for warning in recwarn)
    assert not [secret for secret in SECRETS if secret in text]
    assert "CineRate holds no number" in text


def test_burnt_in_text_is_told(tmp_path: Path) -> None:
    run = Dicom(write(tmp_path / "a.dcm", ramp(1), BurnedInAnnotation="YES"))
    assert any("burnt into the picture" in note for note in run.notes)


# ------------------------------------------------------------------------------------------------ any damage


def files(folder: Path) -> dict[str, bytes]:
    pixels = ramp(2, 9, 10)
    packed = [jpeg(frame) for frame in pixels]
    table = {"VOILUTSequence": lut(range(256), 0, 8)}
    return {
        "explicit": write(folder / "a", pixels, **table).read_bytes(),
        "implicit": write(folder / "a", pixels, IMPLICIT, **table).read_bytes(),
        "big": write(folder / "a", pixels, BIG).read_bytes(),
        "deflated": write(folder / "a", pixels, DEFLATED).read_bytes(),
        "rle": write(folder / "a", pixels, RLE).read_bytes(),
        "jpeg": write(folder / "a", pixels, JPEG, frames_packed=packed).read_bytes(),
        "lossless": write(folder / "a", pixels, LOSSLESS, frames_packed=[lossless(f) for f in pixels]).read_bytes(),
        "headless": write(folder / "a", pixels, headless=True).read_bytes(),
    }


def open_all(path: Path) -> None:
    """All that can be asked of a file; only our own errors may come out, without a word of the patient."""
    said = ""
    try:
        with Dicom(path, max_pixels=10**6, lenient=True) as run:
            run.technical()
            for number in range(min(run.count, 3)):
                run.frame(number)
                run.picture(number, "percentile")
                run.picture(number)
    except FieldsightError as error:
        said = str(error)
    assert not [secret for secret in SECRETS if secret in said]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files(tmp_path_factory.mktemp("files"))


SETTINGS = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.mark.parametrize("name", ["explicit", "implicit", "big", "deflated", "rle", "jpeg", "lossless", "headless"])
@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6))
@settings(max_examples=25, **SETTINGS)  # type: ignore[arg-type]
def test_damage_raises_only_our_errors(
    tmp_path: Path, originals: dict[str, bytes], name: str, cut: float, flips: list[tuple[float, int]]
) -> None:
    data = bytearray(originals[name])
    for place, value in flips:
        data[min(len(data) - 1, 128 + int(place * (len(data) - 128)))] = value
    (tmp_path / "x").write_bytes(data if flips else data[: int(cut * len(data))])
    open_all(tmp_path / "x")


@pytest.mark.slow
def test_much_damage(tmp_path: Path, originals: dict[str, bytes], recwarn: pytest.WarningsRecorder) -> None:
    rng = np.random.default_rng([12, 4])
    for original in originals.values():
        for _ in range(400):
            data = bytearray(original)
            for place in rng.integers(0, len(data), rng.integers(1, 5)):
                data[place] = rng.choice([0, 1, 255, rng.integers(256)])
            (tmp_path / "x").write_bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data)
            open_all(tmp_path / "x")
    assert not [str(warning.message) for warning in recwarn]
