"""DICOM XA files as machines write them, tiny, with a patient who must never show up; for tests."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence

IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))
RLE, JPEG, LOSSLESS, JPEG_LS, J2K = (f"1.2.840.10008.1.2.{end}" for end in ("5", "4.50", "4.70", "4.80", "4.90"))
MPEG = "1.2.840.10008.1.2.4.102"
XA = "1.2.840.10008.5.1.4.1.1.12.1"

#: What stands in the files about the patient, and must stand nowhere else.
SECRETS = ("Grimshaw", "Ottoline", "19431207", "MRN-77341", "Dr. Pemberton", "St. Swithin", "9.8.7.6")


def ramp(frames: int = 1, rows: int = 24, columns: int = 32, top: int = 255, dtype: Any = np.uint8) -> NDArray[Any]:
    """``(N, H, W)``, every frame another one, smooth, 0 to top."""
    x = np.linspace(0, 1, columns)[None, None] * np.linspace(0.5, 1, rows)[None, :, None]
    shift = np.linspace(0.5, 1, frames)[:, None, None] if frames > 1 else np.ones((1, 1, 1))
    return np.round(x * shift * top).astype(dtype)


def dataset(pixels: NDArray[Any], bits: int | None = None, **tags: Any) -> Dataset:
    """An XA data set of ``(N, H, W)`` or ``(N, H, W, 3)``; tags replace or add, None removes."""
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID, data.SOPInstanceUID = XA, "9.8.7.6.1"
    data.StudyInstanceUID = data.SeriesInstanceUID = "9.8.7.6.2"
    data.PatientName, data.PatientID = "Grimshaw^Ottoline", "MRN-77341"
    data.PatientBirthDate = data.StudyDate = "19431207"
    data.ReferringPhysicianName, data.InstitutionName = "Dr. Pemberton", "St. Swithin"
    item = Dataset()
    item.PatientName = "Grimshaw^Ottoline"
    item.PatientID = "MRN-77341"
    data.OtherPatientIDsSequence = Sequence([item])
    data["OtherPatientIDsSequence"].is_undefined_length = True
    block = data.private_block(0x0019, "ACME 1.0", create=True)
    block.add_new(1, "LO", "Grimshaw Ottoline")
    block.add_new(2, "PN", "Grimshaw^Ottoline")
    data.SeriesDescription = "Grimshaw Ottoline coronary LCA 15 fps"
    data.ImageComments = "Grimshaw MRN-77341"
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "XA", "ACME", "Angio 7"
    data.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    data.PixelIntensityRelationship = "LIN"
    data.NumberOfFrames, data.CineRate, data.FrameTime = len(pixels), 15, "66.666667"
    data.PositionerPrimaryAngle, data.PositionerSecondaryAngle = "32.5", "-21"
    data.KVP, data.XRayTubeCurrent = "81", 600
    data.ImagerPixelSpacing = ["0.184", "0.184"]
    data.EstimatedRadiographicMagnificationFactor = "1.5"
    data.Rows, data.Columns = pixels.shape[1:3]
    data.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    data.PhotometricInterpretation = "RGB" if pixels.ndim == 4 else "MONOCHROME2"
    if pixels.ndim == 4:
        data.PlanarConfiguration = 0
    data.BitsAllocated = pixels.dtype.itemsize * 8
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in tags.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    return data


def jpeg(frame: NDArray[Any], form: str = "JPEG", **options: Any) -> bytes:
    """One frame packed by Pillow."""
    out = io.BytesIO()
    Image.fromarray(frame).save(out, form, **options)
    return out.getvalue()


def write(path: Path, pixels: NDArray[Any], syntax: str = EXPLICIT, headless: bool = False, **tags: Any) -> Path:
    """Write pixels as a DICOM file; ``frames_packed`` among the tags gives the packed frames themselves."""
    packed, table = tags.pop("frames_packed", None), tags.pop("table", True)
    data = dataset(pixels, **tags)
    order = ">" if syntax == BIG else "<"
    plain = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    kind = "OB" if pixels.dtype.itemsize == 1 and syntax not in (IMPLICIT, BIG) else "OW"
    if syntax == BIG and pixels.dtype.itemsize == 1:  # bytes in words: every pair is swapped
        plain += b"\0" * (len(plain) % 2)
        plain = np.frombuffer(plain, ">u2").astype("<u2").tobytes()
    if syntax == RLE and packed is None:
        shape = {"rows": data.Rows, "columns": data.Columns, "samples_per_pixel": data.SamplesPerPixel,
                 "bits_allocated": data.BitsAllocated, "bits_stored": data.BitsStored, "number_of_frames": 1,
                 "pixel_representation": data.PixelRepresentation, "planar_configuration": 0,
                 "photometric_interpretation": data.PhotometricInterpretation}  # fmt: skip
        packed = [RLELosslessEncoder.encode(frame.tobytes(), **shape) for frame in pixels]
    data.PixelData = encapsulate(packed, has_bot=table) if packed else plain + b"\0" * (len(plain) % 2)
    data["PixelData"].VR = "OB" if packed else kind
    if packed:
        data["PixelData"].is_undefined_length = True
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax if syntax != DEFLATED else EXPLICIT
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = XA, "9.8.7.6.1"
    if headless:  # as old archives have it: neither preamble nor meta information
        del data.file_meta
        dcmwrite(path, data, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG)
        return path
    dcmwrite(path, data, enforce_file_format=True)
    if syntax == DEFLATED:
        deflate(path)
    return path


def deflate(path: Path) -> None:
    """Deflate a file of explicit little endian in place."""
    whole = path.read_bytes()
    length = struct.unpack("<L", whole[140:144])[0]
    meta, body = whole[: 144 + length], whole[144 + length :]
    old, new = EXPLICIT.encode() + b"\0", DEFLATED.encode()
    assert meta.count(old) == 1
    at = meta.index(old)
    meta = meta[: at - 2] + struct.pack("<H", len(new)) + new + meta[at + len(old) :]
    meta = meta[:140] + struct.pack("<L", length + len(new) - len(old)) + meta[144:]
    pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(meta + pack.compress(body) + pack.flush())


def lossless(frame: NDArray[Any], bits: int = 8, predictor: int = 1, restart: int = 0, shift: int = 0) -> bytes:
    """One frame ``(H, W)`` or ``(H, W, 3)`` as lossless JPEG; ``restart`` rows between restart markers.

    Written straight from ITU-T T.81, annex H, with one table that gives all 17 sizes a code of 5 bits.
    """
    pixels = (frame[..., None] if frame.ndim == 2 else frame).astype(int) >> shift
    rows, columns, components = pixels.shape
    counts = bytes([0, 0, 0, 0, 17] + [0] * 11)
    out = b"\xff\xd8\xff\xc4" + struct.pack(">HB", 3 + 16 + 17, 0) + counts + bytes(range(17))
    parts = b"".join(bytes([c + 1, 0x11, 0]) for c in range(components))
    out += b"\xff\xc3" + struct.pack(">HBHHB", 8 + 3 * components, bits, rows, columns, components) + parts
    if restart:
        out += b"\xff\xdd" + struct.pack(">HH", 4, restart * columns)
    scan = b"".join(bytes([c + 1, 0]) for c in range(components))
    out += b"\xff\xda" + struct.pack(">HB", 6 + 2 * components, components) + scan + bytes([predictor, 0, shift])
    step = restart or rows
    for number, first in enumerate(range(0, rows, step)):
        text = "".join(_coded(pixels, y, first, predictor, bits - shift) for y in range(first, min(first + step, rows)))
        text += "1" * (-len(text) % 8)
        packed = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
        mark = bytes([0xFF, 0xD0 + (number - 1) % 8]) if number else b""
        out += mark + packed.replace(b"\xff", b"\xff\0")
    return out + b"\xff\xd9"


def _coded(pixels: NDArray[Any], y: int, first: int, predictor: int, bits: int) -> str:
    text = []
    for x in range(pixels.shape[1]):
        for c in range(pixels.shape[2]):
            a, b, d = (int(pixels[y - i, x - j, c]) if x >= j and y >= i else 0 for i, j in ((0, 1), (1, 0), (1, 1)))
            if y == first:
                guess = a if x else 1 << (bits - 1)
            else:
                ways = (a, b, d, a + b - d, a + ((b - d) >> 1), b + ((a - d) >> 1), (a + b) >> 1)
                guess = ways[predictor - 1] if x else b
            difference = (int(pixels[y, x, c]) - guess + 32767) % 65536 - 32767
            size = 16 if difference == 32768 else abs(difference).bit_length()
            text.append(f"{size:05b}")
            if 0 < size < 16:
                text.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
    return "".join(text)
