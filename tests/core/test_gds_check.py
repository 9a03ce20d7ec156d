"""A GDSII file is looked at before the reader in C++ gets it: good ones pass, broken ones are named by their byte."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import gdstk
import pytest

from fieldsight.data.gds_check import check_gds
from fieldsight.errors import DataError


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """Every kind of element that gdstk writes."""
    library = gdstk.Library()
    part, whole = library.new_cell("PART"), library.new_cell("WHOLE")
    shape = gdstk.rectangle((0, 0), (0.1, 0.1), layer=3)
    shape.set_gds_property(1, "name")
    shape.repetition = gdstk.Repetition(3, 4, spacing=(1, 1))
    line = gdstk.FlexPath([(0, 0), (2, 0), (2, 3)], 0.2, layer=4, simple_path=True, ends="extended")
    part.add(shape, line, gdstk.Label("hi", (0, 0), rotation=0.2, magnification=2, x_reflection=True))
    whole.add(gdstk.Reference(part, (5, 5), rotation=0.3, magnification=2, x_reflection=True))
    whole.add(gdstk.Reference(part, columns=3, rows=2, spacing=(4, 4)))
    path = tmp_path / "rich.gds"
    library.write_gds(str(path))
    return path


def record(kind: int, form: int, data: bytes = b"") -> bytes:
    return struct.pack(">HBB", 4 + len(data), kind, form) + data


def test_what_gdstk_writes_passes(rich: Path) -> None:
    check_gds(rich)
    rich.write_bytes(rich.read_bytes() + b"\0" * 2048)  # old tapes end in zeros
    check_gds(rich)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (record(0x11, 0), b"", "0x08 stands inside an element"),
        (record(0x08, 0), b"", "0x0d is out of place"),
        (record(0x0D, 2, b"\0\3"), record(0x0D, 2), "0x0d is unknown or holds other data"),
        (record(0x0D, 2, b"\0\3"), record(0x0D, 5, b"\0" * 8), "0x0d is unknown or holds other data"),
        (record(0x0D, 2, b"\0\3"), record(0x77, 2, b"\0\3"), "0x77 is unknown"),
        (record(0x04, 0), b"", "ends too early"),
        (record(0x00, 2, b"\2\x58"), b"", "0x01 is out of place"),
    ],
)
def test_faults_are_named_with_their_byte(rich: Path, old: bytes, new: bytes, words: str) -> None:
    data = rich.read_bytes()
    assert old in data
    rich.write_bytes(data.replace(old, new, 1))
    with pytest.raises(DataError, match="no GDSII file.*at byte") as caught:
        check_gds(rich)
    assert words in str(caught.value)


def test_any_cut_and_any_flipped_byte_is_an_answer(rich: Path) -> None:
    data, rng = rich.read_bytes(), random.Random(5)
    for _ in range(300):
        broken = bytearray(data)
        if rng.random() < 0.3:
            del broken[rng.randrange(1, len(broken)) :]
        else:
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        rich.write_bytes(broken)
        with contextlib.suppress(DataError):  # and nothing else
            check_gds(rich)
