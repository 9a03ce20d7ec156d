"""Keys from a passphrase: encryption of files, the keyed mark, and the jigsaw of pictures.

Three different strengths, told apart on purpose:

* a **file** is encrypted and authenticated with ChaCha20-Poly1305 (RFC 8439). This is cryptography;
* the **mark and the whitening** of data pictures depend on the key: without it the mark can't be told from chance and
  the cells can't be read. They are only as strong as the passphrase (see :data:`PICTURE_SALT`);
* a **picture** is scrambled: its blocks are moved, turned and recoloured by the key. This is obfuscation, a jigsaw that
  a patient attacker can put together. It is not encryption. Who needs protection hides the picture as a file.

The passphrase is stretched with scrypt (RFC 7914); sub-keys come from keyed BLAKE2b (RFC 7693).
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, DataError, MissingExtraError

Image = NDArray[np.uint8]

SALT_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16

PICTURE_SALT = b"fieldsight stego pictures, key 1"
"""The salt of everything that lives in a picture without room for a salt: mark, whitening and scrambling.

It is the same for everyone, so the same passphrase always gives the same mark and, for one size, the same scrambling:
two pictures scrambled alike can be compared, and one table of guessed passphrases serves against all pictures. Files
have a random salt of their own, but a passphrase that is found by way of the mark opens the file too: use a long one.
"""

BLOCK = 16  # pixels; side of a piece of the jigsaw


@dataclass(frozen=True)
class Key:
    """A stretched passphrase, 32 bytes; its sub-keys tell nothing about each other. Not shown when printed."""

    material: bytes = field(repr=False)

    def sub(self, purpose: str, size: int = 32) -> bytes:
        """A sub-key of ``size`` bytes (1 to 64) for a purpose: BLAKE2b of the purpose, keyed with the material."""
        return hashlib.blake2b(
            purpose.encode(), digest_size=size, key=self.material, person=b"fieldsight stego"
        ).digest()


def derive(passphrase: str, salt: bytes = PICTURE_SALT) -> Key:
    """Stretch a passphrase to a key by scrypt with N = 2^14, r = 8, p = 1 (16 MB, about 50 ms).

    The passphrase is brought to Unicode form NFKC first, so that an accented letter typed on different systems counts
    as the same letter.

    Args:
        passphrase: any text but the empty one.
        salt: random bytes kept beside the data, or :data:`PICTURE_SALT` where there is no room for any.

    Raises:
        ConfigError: the passphrase is empty or is no valid text.
    """
    try:
        text = unicodedata.normalize("NFKC", passphrase).encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError("The passphrase holds characters that are no valid Unicode text; type another one.") from None
    if not text:
        raise ConfigError("The passphrase is empty. Give at least one character, or none at all to work without a key.")
    return Key(hashlib.scrypt(text, salt=salt, n=2**14, r=8, p=1, dklen=32))


# ------------------------------------------------------------------------------------------------- encryption


def _cipher(key: Key) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    except ImportError:
        raise MissingExtraError("cryptography", "stego", "Encrypting files with a passphrase") from None
    return ChaCha20Poly1305(key.sub("file encryption"))


def seal(plain: bytes, key: Key, bound: bytes = b"", nonce: bytes | None = None) -> bytes:
    """Encrypt and authenticate with ChaCha20-Poly1305: nonce (12 bytes), cipher text, tag (16 bytes).

    Args:
        plain: the bytes to protect.
        key: from :func:`derive` with a random salt, one salt per message.
        bound: bytes that are not encrypted but must be the same when opening.
        nonce: 12 bytes; random if None, which is the only right choice outside of tests.

    Raises:
        MissingExtraError: the package ``cryptography`` is absent.
        ConfigError: the nonce has another length.
    """
    nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    if len(nonce) != NONCE_BYTES:
        raise ConfigError(f"The nonce has {len(nonce)} bytes; it must have {NONCE_BYTES}.")
    return nonce + _cipher(key).encrypt(nonce, plain, bound)


def open_sealed(sealed: bytes, key: Key, bound: bytes = b"") -> bytes:
    """Undo :func:`seal`.

    Raises:
        DataError: wrong key, or a byte of ``sealed`` or ``bound`` differs.
        MissingExtraError: the package ``cryptography`` is absent.
    """
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag

    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise DataError(f"The encrypted part has {len(sealed)} bytes; at least {NONCE_BYTES + TAG_BYTES} are needed.")
    try:
        return bytes(cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound))
    except InvalidTag:
        raise DataError("The passphrase is wrong, or the encrypted data was changed. Check the passphrase.") from None


# ------------------------------------------------------------------------------------------------- chance from a key

_PIECE = 1 << 26


def stream(seed: bytes, size: int) -> NDArray[np.uint8]:
    """``size`` pseudo-random bytes from a seed: SHAKE-256 (FIPS 202), the same on every platform.

    Every :data:`_PIECE` bytes the number of the piece is appended to the seed, since some builds of Python refuse
    digests of 512 MB.
    """
    pieces = [
        hashlib.shake_256(seed + (f"|piece {start // _PIECE}".encode() if start else b"")).digest(
            min(_PIECE, size - start)
        )
        for start in range(0, size, _PIECE)
    ]
    return np.frombuffer(b"".join(pieces), dtype=np.uint8)


def permutation(seed: bytes, size: int) -> NDArray[np.int64]:
    """A permutation of ``0 .. size-1`` from a seed: the order of 64-bit values from SHAKE-256, ties in place."""
    values = stream(seed, 8 * size).view("<u8")
    return np.argsort(values, kind="stable").astype(np.int64, copy=False)


# ------------------------------------------------------------------------------------------------- the jigsaw

_CHANNEL_ORDERS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


@dataclass(frozen=True)
class _Moves:
    """What the key does with the ``n`` pieces of a region: place, turn, order of channels, negation."""

    place: NDArray[np.int64]  # (n,): the piece at i comes from place[i]
    turn: NDArray[np.int64]  # (n,): bit 0 flips rows, bit 1 flips columns, bit 2 swaps rows and columns
    order: NDArray[np.int64]  # (n, 3)
    negative: NDArray[np.uint8]  # (n, 3): 0 or 255

    @classmethod
    def make(cls, seed: bytes, n: int, square: bool) -> _Moves:
        values = stream(seed + b"|pieces", 3 * n).reshape(n, 3).astype(np.int64)
        order = _CHANNEL_ORDERS[values[:, 1] % 6]
        negative = np.where((values[:, 2, None] >> np.arange(3)) & 1, 255, 0).astype(np.uint8)
        return cls(permutation(seed + b"|places", n), values[:, 0] % (8 if square else 4), order, negative)

    def apply(self, pieces: Image) -> Image:
        """Pieces (n, h, w, 3) moved, then turned and recoloured."""
        moved = _turned(pieces[self.place], self.turn, back=False)
        return np.take_along_axis(moved, self.order[:, None, None, :], axis=3) ^ self.negative[:, None, None, :]

    def undo(self, pieces: Image) -> Image:
        """The exact inverse of :meth:`apply`."""
        plain = pieces ^ self.negative[:, None, None, :]
        plain = np.take_along_axis(plain, np.argsort(self.order, axis=1)[:, None, None, :], axis=3)
        found = np.empty_like(plain)
        found[self.place] = _turned(plain, self.turn, back=True)
        return found


def _turned(pieces: Image, turn: NDArray[np.int64], back: bool) -> Image:
    found = pieces.copy()
    steps = [(1, lambda p: p[:, ::-1]), (2, lambda p: p[:, :, ::-1]), (4, lambda p: p.swapaxes(1, 2))]
    for bit, move in reversed(steps) if back else steps:
        chosen = (turn & bit) != 0
        if chosen.any():
            found[chosen] = move(found[chosen])
    return found


def _regions(height: int, width: int, block: int) -> list[tuple[slice, slice, int, int]]:
    """The picture in up to four regions of equal pieces: whole blocks, right rim, bottom rim, corner."""
    inner_h, inner_w = height - height % block, width - width % block
    rows = [(slice(0, inner_h), block), (slice(inner_h, height), height - inner_h)]
    columns = [(slice(0, inner_w), block), (slice(inner_w, width), width - inner_w)]
    return [
        (row, column, piece_h, piece_w)
        for row, piece_h in rows
        for column, piece_w in columns
        if row.stop > row.start and column.stop > column.start
    ]


def _jigsaw(picture: Image, key: Key, block: int, back: bool) -> Image:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise DataError(
            f"A picture of shape {picture.shape} {picture.dtype} can't be scrambled; allowed: (H, W, 3) uint8."
        )
    if not 2 <= block <= 256:
        raise ConfigError(f"The block of the scrambling is {block} pixels; allowed: 2 to 256.")
    height, width = picture.shape[:2]
    root = key.sub("scramble")
    found = np.empty_like(picture)
    for index, (rows, columns, h, w) in enumerate(_regions(height, width, block)):
        part = picture[rows, columns]
        down, across = part.shape[0] // h, part.shape[1] // w
        pieces = part.reshape(down, h, across, w, 3).swapaxes(1, 2).reshape(down * across, h, w, 3)
        moves = _Moves.make(root + f"|{height}x{width}/{block}#{index}".encode(), down * across, h == w)
        done = moves.undo(pieces) if back else moves.apply(pieces)
        found[rows, columns] = done.reshape(down, across, h, w, 3).swapaxes(1, 2).reshape(part.shape)
    return found


def scramble(picture: Image, key: Key, block: int = BLOCK) -> Image:
    """Cut a picture into blocks and move, turn and recolour them by the key.

    This is obfuscation, **not encryption**: a jigsaw. Edges of neighbouring pieces still fit, large plain areas stay
    plain, and known jigsaw solvers put such pictures together. It keeps a passer-by from seeing the picture. Who needs
    protection hides the picture as an encrypted file. Blocks are whole so that the result still looks like a picture
    to the networks, which they hide far better than pixel noise.

    The right and bottom rims that make no whole block are cut into pieces of their own size, which change places among
    themselves; the corner piece stays where it is and is only turned and recoloured. The same key, size and block
    always give the same moves, on every platform (see :data:`PICTURE_SALT`).

    Args:
        picture: ``(H, W, 3)`` uint8, any size from 1 pixel.
        key: from :func:`derive` with its default salt.
        block: side of a piece in pixels, 2 to 256.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        DataError: not such an array.
        ConfigError: the block is out of range.
    """
    return _jigsaw(picture, key, block, back=False)


def unscramble(picture: Image, key: Key, block: int = BLOCK) -> Image:
    """The exact inverse of :func:`scramble`; noise in the picture stays noise of the same strength.

    Raises:
        DataError: not an ``(H, W, 3)`` uint8 array.
        ConfigError: the block is out of range.
    """
    return _jigsaw(picture, key, block, back=True)
