"""Drawn angiograms as DICOM XA files: valid, of many frames, and without a patient."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight._version import __version__
from fieldsight.data.files import atomic
from fieldsight.errors import DataError

#: X-Ray Angiographic Image Storage.
XA_CLASS = "1.2.840.10008.5.1.4.1.1.12.1"
_EXPLICIT = "1.2.840.10008.1.2.1"

#: Tags that the standard wants to be there, and lets be empty.
_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "StudyID", "AccessionNumber", "SeriesNumber", "PatientOrientation", "KVP",
)  # fmt: skip


def write_xa(
    path: str | Path,
    frames: NDArray[np.uint8] | NDArray[np.uint16],
    fps: float,
    primary: float | None = None,
    secondary: float | None = None,
    spacing: float | tuple[float, float] | None = None,
    artery: str = "unknown",
    bits: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a run as a multi-frame X-Ray Angiographic Image (PS3.3 A.14), little endian; same input, same bytes.

    For drawn data: the tags of the patient are empty, and the file says that it is derived.

    Args:
        path: ends in ``.dcm``.
        frames: ``(N, H, W)`` uint8 or uint16, vessels dark.
        fps: frames a second, above 0.
        primary: angle in degrees, positive to LAO; None leaves it empty.
        secondary: angle in degrees, positive to cranial; None leaves it empty.
        spacing: mm of a pixel in the patient, or (row, column).
        artery: LCA or RCA is told in the description of the series; ``unknown`` is not.
        bits: stored of uint16, 9 to 16; None is 16.
        overwrite: replace a file of that name.

    Raises:
        DataError: frames of another shape or type, values out of range, a file of that name is there, or the disk is
            full; a file that was there is then as it was.
    """
    target = Path(path)
    depth = _depth(frames, bits)
    if target.suffix.lower() != ".dcm":
        raise DataError(f"'{target}': a DICOM file is written as .dcm.")
    if artery not in ("LCA", "RCA", "unknown") or not 0 < fps < 1000:
        raise DataError(f"artery is {artery}, fps {fps}; allowed: LCA, RCA or unknown, and above 0 to 1000.")
    if target.exists() and not overwrite:
        raise DataError(f"'{target}' is there already. Name another file, or pass overwrite=True.")
    pixels = np.ascontiguousarray(frames, frames.dtype.newbyteorder("<")).tobytes()
    data = _dataset(frames.shape, depth, pixels)
    _describe(data, fps, primary, secondary, spacing, artery)
    with atomic(target) as temporary:
        data.save_as(temporary, enforce_file_format=True)
    return target


def _depth(frames: NDArray[Any], bits: int | None) -> int:
    if frames.ndim != 3 or frames.dtype not in (np.uint8, np.uint16) or 0 in frames.shape:
        raise DataError(f"frames are {frames.dtype} {frames.shape}; (N, H, W) of uint8 or uint16 is wanted.")
    depth = bits if bits is not None else frames.dtype.itemsize * 8
    low = 9 if frames.dtype == np.uint16 else 8
    if not low <= depth <= frames.dtype.itemsize * 8 or int(frames.max()) >= 2**depth:
        raise DataError(
            f"{depth} bits are to be stored of {frames.dtype} up to {frames.max()}. Allowed: {low} to "
            f"{frames.dtype.itemsize * 8}, and enough for the largest value."
        )
    if max(frames.shape[1:]) > 65535 or frames.nbytes > 2**32 - 2:
        raise DataError(f"frames of {frames.shape} are larger than a DICOM file holds: 65535 a side, 4 GiB.")
    return depth


def _dataset(shape: tuple[int, ...], depth: int, pixels: bytes) -> Any:
    """Data set with the tags that every angiogram has."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    seed = hashlib.sha256(f"{shape} {depth}".encode() + pixels)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(_EXPLICIT)
    for keyword in _EMPTY:
        setattr(data, keyword, None if keyword == "KVP" else "")
    for number, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")):
        own = hashlib.sha256(seed.digest() + bytes([number])).hexdigest()
        setattr(data, keyword, f"2.25.{int(own[:32], 16)}")  # a UID made of 128 bits (PS3.5 B.2)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UID(XA_CLASS)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["DERIVED", "SECONDARY", "SINGLE PLANE"]
    data.Modality, data.InstanceNumber = "XA", 1
    data.Manufacturer, data.ManufacturerModelName, data.SoftwareVersions = "fieldsight", "drawn data", __version__
    data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", "drawn by a program, there is no patient"
    data.BurnedInAnnotation, data.LossyImageCompression = "NO", "00"
    data.PixelIntensityRelationship, data.RadiationSetting = "DISP", "GR"
    data.NumberOfFrames, data.Rows, data.Columns = shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 if depth == 8 else 16, depth, depth - 1
    data.WindowCenter, data.WindowWidth, data.VOILUTFunction = 2 ** (depth - 1), 2**depth, "LINEAR"
    data.add_new("PixelData", "OB" if depth == 8 else "OW", pixels + b"\0" * (len(pixels) % 2))
    return data


def _describe(
    data: Any, fps: float, primary: float | None, secondary: float | None,
    spacing: float | tuple[float, float] | None, artery: str,
) -> None:  # fmt: skip
    """Speed, angles, size of a pixel and artery."""
    data.FrameTime, data.FrameIncrementPointer = _decimal(1000 / fps), 0x00181063
    data.RecommendedDisplayFrameRate = round(fps)
    if fps == round(fps):
        data.CineRate = round(fps)
    data.PositionerMotion = "STATIC"
    data.PositionerPrimaryAngle = None if primary is None else _decimal(primary)
    data.PositionerSecondaryAngle = None if secondary is None else _decimal(secondary)
    if spacing is not None:
        pair = spacing if isinstance(spacing, tuple) else (spacing, spacing)
        if not all(1e-4 < side < 100 for side in pair):
            raise DataError(f"spacing is {spacing}; millimetres of a pixel are wanted, above 0.0001 and below 100.")
        data.PixelSpacing = [_decimal(side) for side in pair]
        data.PixelSpacingCalibrationType, data.PixelSpacingCalibrationDescription = "GEOMETRY", "drawn in this size"
    if artery != "unknown":
        data.SeriesDescription = artery


def _decimal(value: float) -> str:
    """A number as the format wants it: at most 16 letters."""
    return f"{value:.10g}"
