"""Frames: exact bytes back or a reason why not; and the Reed-Solomon code below them."""

from __future__ import annotations

import builtins
import random
import tracemalloc
import unicodedata
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldsight.errors import ConfigError, DataError, MissingExtraError
from fieldsight.systems.stego import container, keys, reedsolomon
from fieldsight.systems.stego.container import HEADER_BYTES, frame_size, largest_payload, pack, safe_name, unpack


def entropy(size: int) -> bytes:
    return bytes(range(size))


def hurt(frame: bytes, places: list[int], seed: int = 0) -> bytes:
    chance = random.Random(seed)
    changed = bytearray(frame)
    for place in places:
        changed[place] ^= chance.randrange(1, 256)
    return bytes(changed)


# ------------------------------------------------------------------------------------------- Reed-Solomon


def test_known_parity_and_generator() -> None:
    # (x - 1)(x - 2) = x^2 + 3 x + 2 in GF(256), so the word of the single byte 1 is 1, 3, 2
    assert reedsolomon.encode(np.array([[1]], dtype=np.uint8), 2).tolist() == [[1, 3, 2]]
    # the QR code standard's example "HELLO WORLD", version 1-M: ten check bytes of this very code
    data = [32, 91, 11, 120, 209, 114, 220, 77, 67, 64, 236, 17, 236, 17, 236, 17]
    check = [196, 35, 39, 119, 235, 215, 231, 226, 93, 23]
    assert reedsolomon.encode(np.array([data], dtype=np.uint8), 10)[0, 16:].tolist() == check


@pytest.mark.parametrize("parity", [2, 6, 16, 64, 200])
@pytest.mark.parametrize("errors", ["none", "one", "half", "more"])
def test_repairs_up_to_half_the_parity(parity: int, errors: str) -> None:
    rng = np.random.default_rng(parity)
    data = rng.integers(0, 256, (30, min(40, 255 - parity)), dtype=np.uint8)
    words = reedsolomon.encode(data, parity)
    count = {"none": 0, "one": 1, "half": parity // 2, "more": parity // 2 + 2}[errors]
    wrong = words.copy()
    for row in wrong:
        row[rng.choice(len(row), count, replace=False)] ^= rng.integers(1, 256, count, dtype=np.uint8)
    found, repaired = reedsolomon.decode(wrong, parity)
    if errors == "more":
        beyond = repaired < 0
        assert beyond.mean() >= (0.6 if parity == 2 else 0.9)
        np.testing.assert_array_equal(found[beyond], wrong[beyond][:, : data.shape[1]])
    else:
        np.testing.assert_array_equal(found, data)
        assert (repaired == count).all()


def test_equals_reedsolo() -> None:
    reedsolo = pytest.importorskip("reedsolo")
    rng = np.random.default_rng(1)
    for parity, k in ((2, 1), (8, 30), (32, 223), (96, 159), (64, 17)):
        data = rng.integers(0, 256, (4, k), dtype=np.uint8)
        words = reedsolomon.encode(data, parity)
        theirs = reedsolo.RSCodec(parity)
        assert [bytes(theirs.encode(row.tobytes())) for row in data] == [row.tobytes() for row in words]
        words[:, rng.choice(k + parity, parity // 2, replace=False)] ^= 0x5A
        assert [bytes(theirs.decode(row.tobytes())[0]) for row in words] == [row.tobytes() for row in data]
        np.testing.assert_array_equal(reedsolomon.decode(words, parity)[0], data)


@pytest.mark.parametrize(("parity", "k"), [(3, 10), (0, 10), (202, 10), (32, 224), (-2, 1)])
def test_impossible_codes_are_refused(parity: int, k: int) -> None:
    with pytest.raises(ConfigError, match="parity|Parity"):
        reedsolomon.encode(np.zeros((1, k), dtype=np.uint8), parity)
    with pytest.raises((ConfigError, DataError)):
        reedsolomon.decode(np.zeros((1, max(0, k + parity)), dtype=np.uint8), parity)


# ------------------------------------------------------------------------------------------- round trips


@settings(max_examples=80, deadline=None)
@given(
    st.binary(max_size=600),
    st.text(max_size=60),
    st.sampled_from(container.KINDS),
    st.sampled_from([2, 16, 64, 200]),
    st.binary(max_size=20),
)
def test_round_trip(payload: bytes, name: str, kind: str, parity: int, tail: bytes) -> None:
    frame = pack(payload, name, kind, parity=parity)
    found = unpack(frame + tail)
    assert (found.payload, found.name, found.kind) == (payload, safe_name(name), kind)
    assert found.repaired == 0
    assert not found.encrypted


@pytest.mark.parametrize("size", [0, 1, 190, 191, 192, 5000])
def test_sizes(size: int) -> None:
    payload = random.Random(size).randbytes(size)
    frame = pack(payload, "a.bin")
    assert len(frame) == frame_size(size + 10 + len("a.bin"))
    assert unpack(frame).payload == payload


def test_known_layout() -> None:
    frame = pack(b"", "a")
    assert frame[:12] == b"FSst" + bytes([1, 0, 64, 0]) + (11).to_bytes(4, "little")
    assert frame[12:28] == bytes(16)
    assert HEADER_BYTES == 120
    # one word of kind 0, name of one byte, payload of none with CRC-32 0, then 64 check bytes
    assert frame[120:131] == b"\x00\x01" + bytes(8) + b"a"
    assert len(frame) == 120 + 11 + 64


def test_what_compresses_is_compressed() -> None:
    assert len(pack(bytes(100_000), "zeros")) < 1000
    assert unpack(pack(bytes(100_000), "zeros")).payload == bytes(100_000)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3000), st.sampled_from([2, 32, 64, 128]), st.booleans(), st.text(max_size=10))
def test_largest_payload_is_the_largest(room: int, parity: int, encrypted: bool, name: str) -> None:
    size = largest_payload(room, name, encrypted, parity)
    fixed = 10 + len(safe_name(name).encode()) + 28 * encrypted
    assert frame_size(size + 1 + fixed, parity) > room
    assert size == 0 or frame_size(size + fixed, parity) <= room


# ------------------------------------------------------------------------------------------- encryption


@pytest.fixture(scope="module")
def sealed() -> bytes:
    pytest.importorskip("cryptography")
    return pack(b"the payload " * 40, "secret.txt", passphrase="correct horse", entropy=entropy)


def test_encrypted_round_trip(sealed: bytes) -> None:
    found = unpack(sealed, "correct horse")
    assert (found.name, found.payload, found.encrypted) == ("secret.txt", b"the payload " * 40, True)
    assert b"secret" not in sealed
    assert sealed == pack(b"the payload " * 40, "secret.txt", passphrase="correct horse", entropy=entropy)


def test_salt_and_nonce_are_fresh() -> None:
    pytest.importorskip("cryptography")
    one, two = (pack(b"x" * 60, "n", passphrase="p") for _ in range(2))
    same = np.mean(np.frombuffer(one, np.uint8)[HEADER_BYTES:] == np.frombuffer(two, np.uint8)[HEADER_BYTES:])
    assert same < 0.1
    assert one[12:28] != two[12:28]


def test_damaged_encrypted_frame_is_repaired(sealed: bytes) -> None:
    found = unpack(hurt(sealed, list(range(30)) + list(range(130, 160))), "correct horse")
    assert found.payload == b"the payload " * 40
    assert found.repaired == 60


@pytest.mark.parametrize(
    ("passphrase", "words"), [("wrong horse", "passphrase is wrong"), (None, "Give the passphrase")]
)
def test_wrong_or_no_passphrase(sealed: bytes, passphrase: str | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        unpack(sealed, passphrase)


def test_swapped_salt_or_flags_do_not_open(sealed: bytes) -> None:
    fields = bytearray(sealed[:40])
    fields[15] ^= 1
    with pytest.raises(DataError, match="passphrase"):
        unpack(container._coded_header(bytes(fields)) + sealed[HEADER_BYTES:], "correct horse")
    fields = bytearray(sealed[:40])
    fields[5] ^= 2
    with pytest.raises(DataError, match="passphrase"):
        unpack(container._coded_header(bytes(fields)) + sealed[HEADER_BYTES:], "correct horse")


def test_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"fieldsight\[stego\]"):
        pack(b"x", "x", passphrase="p")
    assert unpack(pack(b"x", "x")).payload == b"x"


# ------------------------------------------------------------------------------------------- damage


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 900))
def test_random_damage_below_the_bound_is_repaired(seed: int, size: int) -> None:
    chance = random.Random(seed)
    payload = chance.randbytes(size)
    frame = pack(payload, "a", parity=32)
    words = -(-(size + 11) // 223)
    places = chance.sample(range(HEADER_BYTES), 40)
    for word in range(words):  # sixteen wrong bytes in every word, which is the bound
        places += chance.sample(range(HEADER_BYTES + word, len(frame), words), 16)
    found = unpack(hurt(frame, places, seed))
    assert found.payload == payload
    assert found.repaired == 40 + 16 * words


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.15, 0.4]), st.sampled_from([2, 4, 16, 64]))
def test_any_damage_gives_the_exact_bytes_or_an_error(seed: int, rate: float, parity: int) -> None:
    chance = random.Random(seed)
    payload = chance.randbytes(chance.randrange(2000))
    frame = pack(payload, "a", parity=parity)
    places = [place for place in range(len(frame)) if chance.random() < rate]
    try:
        found = unpack(hurt(frame, places, seed))
    except DataError:
        return
    assert found.payload == payload


def test_too_much_damage_counts_the_blocks() -> None:
    frame = pack(random.Random(0).randbytes(2000), "a", parity=16)  # nine words
    places = list(range(HEADER_BYTES, HEADER_BYTES + 9 * 8)) + [HEADER_BYTES + 9 * 8 + k for k in (0, 4)]
    with pytest.raises(DataError, match="2 of 9 blocks hold more than 8 wrong bytes"):
        unpack(hurt(frame, places))


def test_a_burst_spreads_over_the_words() -> None:
    payload = random.Random(0).randbytes(20_000)
    frame = pack(payload, "a")
    words = -(-20_011 // 191)
    start = HEADER_BYTES + 777
    found = unpack(hurt(frame, list(range(start, start + 32 * words))))
    assert found.payload == payload
    assert found.repaired == 32 * words


@settings(max_examples=60, deadline=None)
@given(st.data(), st.binary(min_size=1, max_size=400))
def test_truncation_anywhere_is_an_error(data: st.DataObject, payload: bytes) -> None:
    frame = pack(payload, "name.txt")
    with pytest.raises(DataError):
        unpack(frame[: data.draw(st.integers(0, len(frame) - 1))])


def test_truncation_names_both_lengths() -> None:
    frame = pack(b"x" * 10, "a")
    with pytest.raises(DataError, match=f"{len(frame) - 1} bytes are here, {len(frame)} are needed"):
        unpack(frame[:-1])


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=700))
@example(b"")
@example(bytes(500))
@example(b"FSst" + bytes(500))
def test_random_bytes_are_an_error(noise: bytes) -> None:
    with pytest.raises(DataError):
        unpack(noise)


# ------------------------------------------------------------------------------------------- hostile frames


def forged(body: bytes, flags: int = 0, digest: bytes | None = None, **changes: int) -> bytes:
    """A frame with valid coding around any body: what an attacker may send."""
    header = container._HEADER.pack(
        b"FSst",
        changes.get("version", 1),
        flags,
        changes.get("parity", 64),
        changes.get("reserved", 0),
        changes.get("length", len(body)),
        bytes(16),
        container._digest(body if digest is None else digest),
    )
    return container._coded_header(header) + container._coded_body(body, 64)


def record(payload: bytes, name: bytes = b"a", **changes: int) -> bytes:
    return (
        container._RECORD.pack(
            changes.get("kind", 0),
            changes.get("title", len(name)),
            changes.get("size", len(payload)),
            changes.get("crc", zlib.crc32(payload)),
        )
        + name
        + payload
    )


def test_forging_works_at_all() -> None:
    assert unpack(forged(record(b"hello"))).payload == b"hello"
    assert unpack(forged(zlib.compress(record(b"hello")), 2)).payload == b"hello"


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (forged(record(b"hello", crc=1)), "CRC-32 differs"),
        (forged(record(b"hello", size=4)), "makes no sense"),
        (forged(record(b"hello", size=2**32 - 1)), "makes no sense"),
        (forged(record(b"hello", title=200)), "makes no sense"),
        (forged(record(b"hello", kind=9)), "kind 9"),
        (forged(b"abc"), "3 bytes are left"),
        (forged(record(b"x"), version=2), "version 2"),
        (forged(record(b"x"), flags=8), "flags 8"),
        (forged(record(b"x"), reserved=1), "Update fieldsight"),
        (forged(record(b"x"), parity=3), "parity 3"),
        (forged(record(b"x"), parity=255), "parity 255"),
        (forged(record(b"x"), length=0), "length 0"),
        (forged(record(b"x"), length=2**32 - 1), "makes no sense"),
        (forged(record(b"x"), length=2**30), "cut short"),
        (forged(b"no deflate stream", 2), "can't be decompressed"),
        (forged(zlib.compress(record(b"hello" * 9))[:-6], 2), "another length"),
        (forged(zlib.compress(record(b"hello"))[:-2], 2), "another length"),
        (forged(zlib.compress(b"abc"), 2), "ends too early"),
        (forged(record(b"x"), digest=record(b"y")), "check sum differs"),
        (forged(record(b"x"), 1), "encrypted"),
    ],
)
def test_hostile_frames_are_refused(frame: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        unpack(frame)


def test_bombs_are_refused_before_they_grow() -> None:
    bomb = zlib.compress(record(bytes(50_000_000), size=10), 9)
    frame = forged(bomb, 2)
    tracemalloc.start()
    with pytest.raises(DataError, match="states 21 bytes but inflates to another length"):
        unpack(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    with pytest.raises(DataError, match="can't hold that"):
        unpack(forged(zlib.compress(record(b"x", size=2**31)), 2))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\windows\\system32\\a.dll", "a.dll"),
        ("../..", "file"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        (" . . ", "file"),
        ("a/", "file"),
        (".bashrc", "_bashrc"),
        ("con", "_con"),
        ("NUL.tar.gz", "_NUL.tar.gz"),
        ("com1.txt", "_com1.txt"),
        ("LPT\u00b9", "_LPT\u00b9"),
        ("console.log", "console.log"),
        ("a\x00b\nc\x7f.txt", "abc.txt"),
        ("gpj.\u202eexe", "gpj.exe"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        ("trailing. . ", "trailing"),
        ("\ud800lone", "lone"),
        ("日本語 ü.png", "日本語 ü.png"),
        ("u\u0308.png", "ü.png"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec=None), max_size=300))
@example("ä" * 300 + ".jpeg")
@example("a" * 158 + ". .txt")
@example("x." * 200)
@example("con\u200b.txt")
@example("a\u2044\uff0fb\uff0e\uff0e")
def test_safe_names_are_safe_and_settled(name: str) -> None:
    safe = safe_name(name)
    assert safe == safe_name(safe)
    assert 1 <= len(safe.encode()) <= container.MAX_NAME
    assert not set(safe) & set('/\\<>:"|?*\x00\n\r')
    assert safe[0] != "."
    assert safe[-1] not in ". "
    assert not [c for c in safe if unicodedata.category(c)[0] == "C"]
    assert safe.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")


def test_long_names_keep_their_suffix() -> None:
    assert safe_name("n" * 500 + ".jpeg") == "n" * (container.MAX_NAME - 5) + ".jpeg"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "film"}, "film"),
        ({"parity": 31}, "even numbers from 2 to 200"),
        ({"parity": 0}, "even numbers"),
        ({"passphrase": ""}, "passphrase is empty"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        pack(b"x", "x", **options)


def test_too_long_a_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_PAYLOAD", 10)
    with pytest.raises(DataError, match="11 bytes; at most 10"):
        pack(bytes(11), "x")


def test_the_header_is_no_place_for_the_checksum_of_a_secret(sealed: bytes) -> None:
    # a CRC of the plain payload beside the cipher text would let anyone confirm a guess
    crc = zlib.crc32(b"the payload " * 40)
    assert crc.to_bytes(4, "little") not in sealed
    assert keys.NONCE_BYTES + keys.TAG_BYTES == 28
