"""A file made fit for a noisy channel: named, checked, optionally encrypted, and coded against errors.

A frame is a header (40 bytes, coded to 120, a third of which may be wrong) and a body:

==========  =====  =============================================================================================
header      bytes  meaning
==========  =====  =============================================================================================
magic       4      ``FSst``
version     1      1
flags       1      bit 0: encrypted, bit 1: compressed
parity      1      Reed-Solomon check bytes per word of the body
reserved    1      0
length      4      bytes of the body before coding
salt        16     of the passphrase; zeros without one
digest      12     BLAKE2b-96 of the body before coding: tells damage from a wrong passphrase
==========  =====  =============================================================================================

The body is a record (kind, name, length, CRC-32, payload), deflated when that makes it smaller, then encrypted when
there is a passphrase, then cut into Reed-Solomon words of equal length. The words are interleaved: neighbours in the
frame belong to different words, so a damaged stretch costs each word little. What comes back is the exact payload or a
:class:`~fieldsight.errors.DataError` that says why not.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import struct
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.systems.stego import keys, reedsolomon

KINDS = ("file", "text", "picture")
PARITY = 64  # bytes of 255: a word survives 32 wrong bytes
MAX_NAME = 160  # bytes of UTF-8
MAX_PAYLOAD = 1 << 30  # bytes; more than any picture can carry

_MAGIC, _VERSION = b"FSst", 1
_HEADER = struct.Struct("<4sBBBBI16s12s")
_HEADER_PARITY = 80
HEADER_BYTES = _HEADER.size + _HEADER_PARITY
_RECORD = struct.Struct("<BBII")  # kind, bytes of the name, bytes of the payload, its CRC-32
_ENCRYPTED, _COMPRESSED = 1, 2
_DEFLATE_LIMIT = 1100  # deflate can't do better than 1032 to 1

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])", re.IGNORECASE)


@dataclass(frozen=True)
class Unpacked:
    """What was in a frame: a safe file name, the exact payload, and how many bytes of the frame had to be repaired."""

    name: str
    payload: bytes
    repaired: int
    kind: str
    encrypted: bool


# ------------------------------------------------------------------------------------------------- names


def safe_name(name: str) -> str:
    """A name that is harmless as a file in any folder of any system.

    Folders are cut off; control, format and surrogate characters vanish; characters that some system forbids become
    ``_``; so does a leading dot (no hidden files); device names of Windows get a leading ``_``; the length is held to
    :data:`MAX_NAME` bytes of UTF-8, with a short suffix kept. Nothing left gives ``file``. Applying it twice changes
    nothing more.
    """
    base = re.split(r"[/\\]", name)[-1]
    base = "".join(c for c in base if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
    base = re.sub(r'[<>:"|?*/\\]', "_", unicodedata.normalize("NFC", base)).strip().rstrip(". ")
    base = re.sub(r"^\.", "_", base)
    if _RESERVED.fullmatch(base.split(".")[0].rstrip()):
        base = "_" + base
    if len(base.encode()) > MAX_NAME:
        stem, dot, suffix = base.rpartition(".")
        if not stem or len(suffix.encode()) > 16:
            stem, dot, suffix = base, "", ""
        room = MAX_NAME - len((dot + suffix).encode())
        base = (stem.encode()[:room].decode("utf-8", "ignore") + dot + suffix).rstrip(". ")
    return base or "file"


# ------------------------------------------------------------------------------------------------- sizes


def frame_size(body: int, parity: int = PARITY) -> int:
    """Bytes of a frame whose body has ``body`` bytes before coding.

    Raises:
        ConfigError: the parity is not allowed.
    """
    words, data = _words(body, parity)
    return HEADER_BYTES + words * (data + parity)


def largest_payload(room: int, name: str = "", encrypted: bool = False, parity: int = PARITY) -> int:
    """The most bytes of payload that surely fit into ``room`` bytes of frame, uncompressed; 0 if none do.

    Raises:
        ConfigError: the parity is not allowed.
    """
    fixed = _RECORD.size + len(safe_name(name).encode()) + encrypted * (keys.NONCE_BYTES + keys.TAG_BYTES)
    low, high = 0, max(0, room)
    while low < high:  # frame_size never falls with the body, so halving finds the edge
        middle = (low + high + 1) // 2
        low, high = (middle, high) if frame_size(middle + fixed, parity) <= room else (low, middle - 1)
    return low


def _words(body: int, parity: int) -> tuple[int, int]:
    """Number of Reed-Solomon words and data bytes of each: all words are equally long, with few zeros at the end."""
    reedsolomon.check(parity)
    words = max(1, -(-body // (reedsolomon.LONGEST - parity)))
    return words, max(1, -(-body // words))


# ------------------------------------------------------------------------------------------------- packing


def pack(
    payload: bytes,
    name: str,
    kind: str = "file",
    passphrase: str | None = None,
    parity: int = PARITY,
    *,
    entropy: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """Make a frame of a file.

    Args:
        payload: any bytes, also none at all, at most :data:`MAX_PAYLOAD`.
        name: the file's name; folders are cut off (:func:`safe_name`).
        kind: one of :data:`KINDS`: what the receiver should take the payload for.
        passphrase: encrypts payload and name; the salt is random, so two frames of one file differ.
        parity: check bytes per Reed-Solomon word of at most 255 bytes, even, 2 to 200; half as many wrong bytes in a
            word are repaired.
        entropy: gives n random bytes for salt and nonce; anything but the default is for tests only.

    Returns:
        The frame: :func:`frame_size` bytes.

    Raises:
        ConfigError: kind, passphrase or parity is not allowed.
        DataError: the payload is too long.
        MissingExtraError: a passphrase is given and the package ``cryptography`` is absent.
    """
    if kind not in KINDS:
        raise ConfigError(unknown("kind of payload", kind, KINDS))
    if len(payload) > MAX_PAYLOAD:
        raise DataError(f"The file has {len(payload):,} bytes; at most {MAX_PAYLOAD:,} can be packed.")
    _words(0, parity)
    title = safe_name(name).encode()
    body = _RECORD.pack(KINDS.index(kind), len(title), len(payload), zlib.crc32(payload)) + title + payload
    flags = 0
    if len(small := zlib.compress(body, 9)) < len(body):
        body, flags = small, _COMPRESSED
    salt = bytes(keys.SALT_BYTES)
    if passphrase is not None:
        salt, flags = entropy(keys.SALT_BYTES), flags | _ENCRYPTED
        key, bound = keys.derive(passphrase, salt), bytes([_VERSION, flags])
        body = keys.seal(body, key, bound, entropy(keys.NONCE_BYTES))
    header = _HEADER.pack(_MAGIC, _VERSION, flags, parity, 0, len(body), salt, _digest(body))
    return _coded_header(header) + _coded_body(body, parity)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=12).digest()


def _coded_header(header: bytes) -> bytes:
    return reedsolomon.encode(np.frombuffer(header, dtype=np.uint8)[None], _HEADER_PARITY).tobytes()


def _coded_body(body: bytes, parity: int) -> bytes:
    words, data = _words(len(body), parity)
    padded = np.zeros(words * data, dtype=np.uint8)
    padded[: len(body)] = np.frombuffer(body, dtype=np.uint8)
    # byte i of the frame belongs to word i mod words
    return np.ascontiguousarray(reedsolomon.encode(padded.reshape(words, data), parity).T).tobytes()


# ------------------------------------------------------------------------------------------------- unpacking


def unpack(frame: bytes, passphrase: str | None = None) -> Unpacked:
    """Get the file out of a frame, repairing what can be repaired.

    Args:
        frame: the frame, possibly damaged, possibly followed by other bytes.
        passphrase: as given to :func:`pack`; ignored if the frame is not encrypted.

    Raises:
        DataError: no frame here, cut short, damaged beyond repair, passphrase missing or wrong, or contents that make
            no sense. The bytes returned are otherwise exactly the ones packed.
        MissingExtraError: the frame is encrypted and the package ``cryptography`` is absent.
    """
    flags, parity, length, salt, digest, fixed = _read_header(frame)
    body, repaired = _read_body(frame, length, parity, digest)
    encrypted = bool(flags & _ENCRYPTED)
    if encrypted:
        if passphrase is None:
            raise DataError("The hidden file is encrypted. Give the passphrase it was hidden with.")
        body = keys.open_sealed(body, keys.derive(passphrase, salt), bytes([_VERSION, flags]))
    if flags & _COMPRESSED:
        body = _inflated(body)
    kind, name, payload = _read_record(body)
    return Unpacked(name, payload, fixed + repaired, kind, encrypted)


def _read_header(frame: bytes) -> tuple[int, int, int, bytes, bytes, int]:
    if len(frame) < HEADER_BYTES:
        raise DataError(f"This is no hidden file: {len(frame)} bytes, where the header alone takes {HEADER_BYTES}.")
    words = np.frombuffer(frame[:HEADER_BYTES], dtype=np.uint8)[None]
    data, repaired = reedsolomon.decode(words, _HEADER_PARITY)
    magic, version, flags, parity, reserved, length, salt, digest = _HEADER.unpack(data.tobytes())
    if repaired[0] < 0 or magic != _MAGIC:
        raise DataError(
            "No hidden file found: its header can't be read. There is none, the key is another one, "
            "or the picture was changed too much (saved as JPEG, resized, cropped)."
        )
    if version != _VERSION or flags & ~3 or reserved:
        raise DataError(
            f"The hidden file has format version {version}, flags {flags}; known: version 1. Update fieldsight."
        )
    if not reedsolomon.allowed(parity) or not 1 <= length <= 2 * MAX_PAYLOAD:
        raise DataError(f"The header of the hidden file makes no sense: parity {parity}, length {length:,}.")
    return flags, parity, length, salt, digest, int(repaired[0])


def _read_body(frame: bytes, length: int, parity: int, digest: bytes) -> tuple[bytes, int]:
    needed = frame_size(length, parity)
    if len(frame) < needed:
        raise DataError(f"The hidden file is cut short: {len(frame):,} bytes are here, {needed:,} are needed.")
    words, data = _words(length, parity)
    coded = np.frombuffer(frame, dtype=np.uint8, count=needed - HEADER_BYTES, offset=HEADER_BYTES)
    found, repaired = reedsolomon.decode(np.ascontiguousarray(coded.reshape(data + parity, words).T), parity)
    lost = int((repaired < 0).sum())
    if lost:
        raise DataError(
            f"The hidden file can't be repaired: {lost:,} of {words:,} blocks hold more than {parity // 2} wrong "
            "bytes. Was the picture saved as JPEG, resized or edited? Use the original, or hide with more protection."
        )
    body = found.tobytes()[:length]
    if _digest(body) != digest:
        raise DataError("The hidden file was damaged beyond repair: its check sum differs. Use the original picture.")
    return body, int(repaired.sum())


def _inflated(body: bytes) -> bytes:
    """Inflate, but never to more than a record may hold nor more than deflate can honestly do."""
    limit = min(_RECORD.size + MAX_NAME + MAX_PAYLOAD, _DEFLATE_LIMIT * len(body) + 64)
    inflater = zlib.decompressobj()
    try:
        start = inflater.decompress(body, _RECORD.size)
        if len(start) < _RECORD.size:
            raise DataError("The hidden file is damaged: its compressed part ends too early.")
        stated = _RECORD.size + start[1] + _RECORD.unpack(start)[2]
        if stated > limit:
            raise DataError(f"The hidden file states {stated:,} bytes; {len(body):,} compressed bytes can't hold that.")
        # one byte more than stated is asked for, to notice a record that holds more than it says
        found = start + inflater.decompress(inflater.unconsumed_tail, stated - len(start) + 1)
    except zlib.error as error:
        raise DataError(f"The hidden file is damaged: it can't be decompressed ({error}).") from None
    if len(found) != stated or not inflater.eof:
        raise DataError(f"The hidden file states {stated:,} bytes but inflates to another length; it is refused.")
    return found


def _read_record(body: bytes) -> tuple[str, str, bytes]:
    if len(body) < _RECORD.size:
        raise DataError(f"The hidden file is damaged: {len(body)} bytes are left, {_RECORD.size} are needed.")
    kind, title, size, crc = _RECORD.unpack_from(body)
    payload = body[_RECORD.size + title :]
    if len(payload) != size or kind >= len(KINDS):
        raise DataError(f"The hidden file makes no sense: kind {kind}, {size:,} bytes stated, {len(payload):,} found.")
    if zlib.crc32(payload) != crc:
        raise DataError("The hidden file is damaged: its CRC-32 differs.")
    name = body[_RECORD.size : _RECORD.size + title].decode("utf-8", "replace")
    return KINDS[kind], safe_name(name), payload
