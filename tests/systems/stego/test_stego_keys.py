"""Keys, encryption and the jigsaw: golden values (the same on every platform), inverses, and bad input."""

from __future__ import annotations

import builtins
import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import ConfigError, DataError, MissingExtraError
from fieldsight.systems.stego import keys
from fieldsight.systems.stego.keys import Key, derive, open_sealed, permutation, scramble, seal, stream, unscramble

KEY = Key(bytes(range(32)))
OTHER = Key(bytes(range(1, 33)))

GOLDEN_KEY = "db0e3f38cdd39d1c6bea639df459a03eb4aa6b3cc99af909ac31c5764ba74ecc"
GOLDEN_SUB = "0aedf106e37f245ab28fa7955606b21c4866ec2221db5311cb30984de9bdccd6"
GOLDEN_SEALED = "a26687c805b7e4d56f2b7e6827fa8daf522cb3eb67d7"
GOLDEN_PERMUTATION = [4, 0, 5, 8, 9, 3, 1, 7, 6, 2]
GOLDEN_SCRAMBLED = "14db4e97649be6acd8834d33db10841fcc625fe1c094722ea00a4181f4586949"


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# ------------------------------------------------------------------------------------------- keys


def test_derive_is_scrypt() -> None:
    expected = hashlib.scrypt(b"correct horse", salt=b"salt" * 4, n=16384, r=8, p=1, dklen=32)
    assert derive("correct horse", b"salt" * 4).material == expected
    assert derive("correct horse").material == bytes.fromhex(GOLDEN_KEY)


def test_derive_depends_on_passphrase_and_salt_and_not_on_the_unicode_form() -> None:
    assert derive("\u00fc").material == derive("u\u0308").material
    assert len({derive("a").material, derive("b").material, derive("a", b"other").material}) == 3


@pytest.mark.parametrize(("passphrase", "words"), [("", "empty"), ("\ud800", "no valid Unicode")])
def test_impossible_passphrases(passphrase: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        derive(passphrase)


def test_sub_keys_differ_and_the_key_is_not_printed() -> None:
    assert KEY.sub("mark").hex() == GOLDEN_SUB
    assert len({KEY.sub("mark"), KEY.sub("cells"), OTHER.sub("mark")}) == 3
    assert len(KEY.sub("mark", 64)) == 64
    assert "material" not in repr(KEY)
    assert KEY.material.hex() not in repr(KEY)


# ------------------------------------------------------------------------------------------- encryption


def test_seal_and_open() -> None:
    pytest.importorskip("cryptography")
    sealed = seal(b"secret", KEY, b"bound", bytes(12))
    assert sealed.hex() == bytes(12).hex() + GOLDEN_SEALED
    assert open_sealed(sealed, KEY, b"bound") == b"secret"
    assert len(sealed) == 6 + keys.NONCE_BYTES + keys.TAG_BYTES
    assert seal(b"secret", KEY) != seal(b"secret", KEY)
    assert open_sealed(seal(b"", KEY), KEY) == b""


def test_any_change_is_noticed() -> None:
    pytest.importorskip("cryptography")
    sealed = seal(b"secret", KEY, b"bound", bytes(12))
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(DataError, match="passphrase is wrong"):
            open_sealed(bytes(changed), KEY, b"bound")
    with pytest.raises(DataError, match="passphrase is wrong"):
        open_sealed(sealed, OTHER, b"bound")
    with pytest.raises(DataError, match="passphrase is wrong"):
        open_sealed(sealed, KEY, b"other")
    with pytest.raises(DataError, match="27 bytes; at least 28"):
        open_sealed(sealed[:27], KEY, b"bound")


def test_nonce_of_another_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="8 bytes; it must have 12"):
        seal(b"x", KEY, nonce=bytes(8))


def test_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    for action in (lambda: seal(b"x", KEY), lambda: open_sealed(bytes(40), KEY)):
        with pytest.raises(MissingExtraError, match=r"cryptography.*fieldsight\[stego\]"):
            action()


# ------------------------------------------------------------------------------------------- chance from a key


def test_stream_is_shake_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream(b"seed", 40).tobytes() == hashlib.shake_256(b"seed").digest(40)
    assert stream(b"seed", 0).size == 0
    monkeypatch.setattr(keys, "_PIECE", 16)
    pieces = [b"seed", b"seed|piece 1", b"seed|piece 2"]
    assert stream(b"seed", 40).tobytes() == b"".join(hashlib.shake_256(p).digest(16) for p in pieces)[:40]


def test_permutation_is_the_same_everywhere() -> None:
    assert permutation(b"seed", 10).tolist() == GOLDEN_PERMUTATION
    assert sorted(permutation(b"other", 1000)) == list(range(1000))
    assert permutation(b"x", 0).tolist() == []
    assert permutation(b"x", 1).tolist() == [0]


# ------------------------------------------------------------------------------------------- the jigsaw


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(2, 40), st.integers(0, 99))
def test_unscramble_is_the_exact_inverse(height: int, width: int, block: int, seed: int) -> None:
    plain = picture(height, width, seed)
    before = plain.copy()
    mixed = scramble(plain, KEY, block)
    assert mixed.shape == plain.shape
    assert mixed.dtype == np.uint8
    np.testing.assert_array_equal(plain, before)
    np.testing.assert_array_equal(unscramble(mixed, KEY, block), plain)
    np.testing.assert_array_equal(scramble(unscramble(plain, KEY, block), KEY, block), plain)


def test_scramble_is_the_same_everywhere() -> None:
    plain = (np.arange(40 * 50 * 3) % 251).astype(np.uint8).reshape(40, 50, 3)
    assert hashlib.sha256(scramble(plain, KEY).tobytes()).hexdigest() == GOLDEN_SCRAMBLED


def test_another_key_does_not_bring_the_picture_back() -> None:
    plain = picture(128, 128)
    assert (unscramble(scramble(plain, KEY), OTHER) == plain).mean() < 0.02
    assert (scramble(plain, KEY) == plain).mean() < 0.02


def test_whole_blocks_stay_whole() -> None:
    # sixteen flat blocks of their own grey: after mixing still sixteen flat blocks, each grey or its negative once
    greys = np.arange(16, dtype=np.uint8) * 7
    plain = np.repeat(greys.reshape(4, 4).repeat(16, 0).repeat(16, 1)[..., None], 3, axis=2)
    mixed = scramble(plain, KEY).reshape(4, 16, 4, 16, 3).swapaxes(1, 2).reshape(16, 256, 3)
    assert (mixed == mixed[:, :1]).all()
    found = mixed[:, 0, 0]
    assert sorted(np.minimum(found, 255 - found)) == sorted(greys)
    assert not np.array_equal(np.minimum(found, 255 - found), greys)


def test_rims_stay_rims() -> None:
    plain = np.full((40, 50, 3), 10, dtype=np.uint8)
    plain[32:, :48], plain[:32, 48:], plain[32:, 48:] = 20, 30, 40
    mixed = scramble(plain, KEY)
    folded = np.minimum(mixed, 255 - mixed)
    np.testing.assert_array_equal(folded, plain)


def test_noise_keeps_its_strength() -> None:
    plain = picture(64, 64) // 2 + 60
    noise = np.random.default_rng(5).integers(-9, 10, plain.shape)
    received = (scramble(plain, KEY) + noise).astype(np.uint8)
    error = unscramble(received, KEY).astype(int) - plain
    assert (error**2).sum() == (noise**2).sum()


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused(wrong: np.ndarray) -> None:
    for action in (scramble, unscramble):
        with pytest.raises(DataError, match="can't be scrambled"):
            action(wrong, KEY)


@pytest.mark.parametrize("block", [1, 0, -4, 257])
def test_impossible_blocks(block: int) -> None:
    with pytest.raises(ConfigError, match="2 to 256"):
        scramble(picture(8, 8), KEY, block)


def test_the_docstring_says_that_it_is_no_encryption() -> None:
    assert "not encryption" in (scramble.__doc__ or "").lower()
