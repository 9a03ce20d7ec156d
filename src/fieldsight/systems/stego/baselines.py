"""Classical ways to hide a colour picture in another of the same size: what a network has to beat.

============= ===== ======================================================== =====================================
name          blind how                                                      what comes back
============= ===== ======================================================== =====================================
lsb-1..7      yes   high bits of the secret in the low bits of the cover     the high bits of every sample
lsb-1+..7+    yes   the same with optimal pixel adjustment                   the same, at less damage
lsb-codec-1.. yes   the secret as a WebP file in 1, 2 or 3 low bits          the decoded file, or an error
lsb-j2k-1..3  yes   the secret as a JPEG 2000 file in 1, 2 or 3 low bits     the decoded file, or an error
dwt-alpha     no    additive fusion of the Haar sub-bands                    secret minus rounding and clipping
dwt-svd       no    singular values of the Haar sub-bands                    a watermark test, see :class:`DwtSvd`
============= ===== ======================================================== =====================================

None of them survives a lossy file format well, and none of them is hidden from a statistical detector.
"""

from __future__ import annotations

import math
import struct
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.systems.stego.attacks import Picture, check_picture, decoded, encoded

Floats = NDArray[np.float64]

Codec = Literal["WEBP", "JPEG2000"]

MID_GREY = 127.5  # the middle of 0 and 255: what an additive method takes as "nothing to add"
_LOSSLESS: dict[Codec, dict[str, Any]] = {
    "WEBP": {"lossless": True, "method": 4},
    "JPEG2000": {"irreversible": False, "no_jp2": True, "mct": 1},
}
_HEADER = struct.Struct(">II")  # length in bytes, CRC-32 of the length and the file
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class SvdKey:
    """Left ``(4, 3, h, n)`` and right ``(4, 3, n, w)`` singular vectors of a secret's sub-bands, n = min(h, w)."""

    left: Floats
    right: Floats


class Baseline(ABC):
    """One way to hide a picture in another; ``blind`` where :meth:`reveal` needs the stego picture only."""

    blind: ClassVar[bool]

    @property
    @abstractmethod
    def name(self) -> str:
        """The key in :data:`METHODS` where the parameters are those of a listed method."""

    @abstractmethod
    def hide(self, cover: Picture, secret: Picture) -> Picture:
        """Return the stego picture ``(H, W, 3)`` uint8. DataError: not uint8 RGB, sizes differ, secret too large."""

    @abstractmethod
    def reveal(self, stego: Picture, cover: Picture | None = None, key: SvdKey | None = None) -> Picture:
        """Return the secret ``(H, W, 3)`` uint8 as far as it can be recovered; blind methods ignore the rest.

        Raises:
            DataError: not uint8 RGB, a cover or key that is missing or of another size, or nothing readable inside.
        """

    def key(self, secret: Picture) -> SvdKey | None:
        """Side information that :meth:`reveal` asks for; None for every method but ``dwt-svd``."""
        return None


@dataclass(frozen=True)
class Lsb(Baseline):
    """Bit replacement: the ``bits`` high bits of the secret become the ``bits`` low bits of the cover.

    The recovered sample is those bits, shifted up, plus ``2**(7 - bits)``: the middle of the interval that they leave
    open. With ``adjust`` the stego sample moves by ``2**bits`` towards the cover where that is closer and stays in
    0..255; the low bits, and so the recovered secret, do not change (C.-K. Chan and L. M. Cheng, "Hiding data in
    images by simple LSB substitution", Pattern Recognition 37, 2004: optimal pixel adjustment, OPAP).
    """

    bits: int
    adjust: bool = False
    blind: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_bits(self.bits)

    @property
    def name(self) -> str:
        """``lsb-4``, with a ``+`` behind it where the samples are adjusted."""
        return f"lsb-{self.bits}{'+' if self.adjust else ''}"

    def hide(self, cover: Picture, secret: Picture) -> Picture:
        """See :meth:`Baseline.hide`. A sample changes by at most ``2**bits - 1``."""
        _check_pair(cover, secret, "secret")
        stego = (cover & np.uint8(256 - (1 << self.bits))) | (secret >> np.uint8(8 - self.bits))
        return _adjusted(cover, stego, self.bits) if self.adjust else stego

    def reveal(self, stego: Picture, cover: Picture | None = None, key: SvdKey | None = None) -> Picture:
        """See :meth:`Baseline.reveal`. A sample is off by at most ``2**(7 - bits)``."""
        check_picture(stego, "stego")
        low = stego & np.uint8((1 << self.bits) - 1)
        return (low << np.uint8(8 - self.bits)) | np.uint8(1 << (7 - self.bits))


@dataclass(frozen=True)
class DwtAlpha(Baseline):
    """Additive fusion of the orthonormal Haar sub-bands: ``C' = C + alpha (S - M)`` in every sub-band and channel.

    M are the sub-bands of plain mid-grey (127.5). The plain form ``C + alpha S`` would brighten the stego picture by
    alpha times the mean of the secret and clip more of it; M is a constant, so the receiver need not be told a mean.
    The inverse ``S = (C' - C) / alpha + M`` needs the cover. With one alpha for all sub-bands the transform cancels:
    this is the sum ``cover + alpha (secret - 127.5)`` in pixels. It is written on the sub-bands because the published
    schemes are.

    alpha: the stego error is alpha times the RMS of ``secret - 127.5``, which is 73.9 for uniform bytes and 46 to 89,
    74 in the mean, for seven photos; alpha = 0.09 gives 6.65 grey levels, 31.7 dB, where the published networks stand.
    """

    alpha: float = 0.09
    name: ClassVar[str] = "dwt-alpha"
    blind: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def hide(self, cover: Picture, secret: Picture) -> Picture:
        """See :meth:`Baseline.hide`. Samples beyond 0..255 are clipped; what is clipped is lost for the secret."""
        _check_pair(cover, secret, "secret")
        fused = _haar(_padded(cover)) + self.alpha * _haar(_padded(secret) - MID_GREY)
        return _rounded(_unhaar(fused), cover.shape)

    def reveal(self, stego: Picture, cover: Picture | None = None, key: SvdKey | None = None) -> Picture:
        """See :meth:`Baseline.reveal`. Rounding alone leaves an error of about ``0.29 / alpha`` grey levels RMS."""
        known = _needed(self.name, stego, cover)
        difference = (_haar(_padded(stego)) - _haar(_padded(known))) / self.alpha
        return _rounded(_unhaar(difference) + MID_GREY, stego.shape)


@dataclass(frozen=True)
class DwtSvd(Baseline):
    """DWT-SVD embedding: the singular values of each sub-band of the cover grow by alpha times those of the secret.

    After E. Ganic and A. M. Eskicioglu, "Robust DWT-SVD domain image watermarking: embedding data in all frequencies",
    ACM MM&Sec 2004, with a secret of the cover's size, sub-band by sub-band, instead of one of a quarter of its size
    put in all four. Per sub-band and channel: cover = U diag(s) V', secret = P diag(t) Q', stego = U diag(s + alpha t)
    V', recovered = P diag((s* - s) / alpha) Q'.

    This is a watermark test rather than hiding. The receiver needs the cover's singular values and the secret's own P
    and Q (:meth:`key`), which hold more numbers than the secret and nearly all that one sees in it; the picture carries
    n values a sub-band. With the P and Q of a secret that was never put in, that secret "appears" in a picture that
    holds another one (correlation 0.5 to 0.96 on photos): the well-known false-positive flaw of SVD watermarks. Never
    list its recovery beside that of a method that hides.

    alpha: the stego error is alpha times the RMS of the secret's samples, 80 to 167 for the same seven photos;
    alpha = 0.05 gives 32 dB in the mean. Time grows as H W min(H, W): seconds for a megapixel.
    """

    alpha: float = 0.05
    name: ClassVar[str] = "dwt-svd"
    blind: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    def hide(self, cover: Picture, secret: Picture) -> Picture:
        """See :meth:`Baseline.hide`."""
        _check_pair(cover, secret, "secret")
        left, values, right = np.linalg.svd(_matrices(cover), full_matrices=False)
        values = values + self.alpha * np.linalg.svd(_matrices(secret), compute_uv=False)
        return _rounded(_unhaar(_bands(left, values, right)), cover.shape)

    def key(self, secret: Picture) -> SvdKey:
        """The singular vectors of the secret ``(H, W, 3)`` uint8; DataError for anything else."""
        check_picture(secret, "secret")
        left, _, right = np.linalg.svd(_matrices(secret), full_matrices=False)
        return SvdKey(left, right)

    def reveal(self, stego: Picture, cover: Picture | None = None, key: SvdKey | None = None) -> Picture:
        """See :meth:`Baseline.reveal`. Needs the cover and :meth:`key` of the secret."""
        known = _needed(self.name, stego, cover)
        if key is None:
            raise DataError("dwt-svd can't reveal without the secret's singular vectors. Pass key=method.key(secret).")
        marked, plain = (np.linalg.svd(_matrices(x), compute_uv=False) for x in (stego, known))
        values = (marked - plain) / self.alpha
        height, width, n = (stego.shape[0] + 1) // 2, (stego.shape[1] + 1) // 2, values.shape[-1]
        if key.left.shape != (4, 3, height, n) or key.right.shape != (4, 3, n, width):
            raise DataError(f"The key does not fit a stego picture {stego.shape}. Make it from a secret of that size.")
        return _rounded(_unhaar(_bands(key.left, values, key.right)), stego.shape)


@dataclass(frozen=True)
class LsbCodec(Baseline):
    """The secret as a compressed file in the ``bits`` low bits of every sample: all of it, or an error, and no halves.

    Lossless where that fits, else the highest lossy quality that fits, found by bisection. A header of 64 bits comes
    first: length and CRC-32. Samples are visited by a public stride near the golden ratio of their number, so that a
    short file spreads evenly. Samples are adjusted as in :class:`Lsb`. One changed low bit ruins the file.

    Lossy WebP halves the colour resolution (4:2:0), which holds it near 38 dB on photos however many bits it gets.
    ``codec="JPEG2000"`` (``lsb-j2k-2``) does not, and is the stronger baseline where Pillow was built with OpenJPEG.
    """

    bits: int
    codec: Codec = "WEBP"
    blind: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_bits(self.bits)
        if self.codec not in _LOSSLESS:
            raise ConfigError(unknown("codec", str(self.codec), _LOSSLESS))

    @property
    def name(self) -> str:
        """``lsb-codec-2`` for WebP, ``lsb-j2k-2`` for JPEG 2000."""
        return f"lsb-{'codec' if self.codec == 'WEBP' else 'j2k'}-{self.bits}"

    def capacity(self, shape: tuple[int, ...]) -> int:
        """Bytes that a file in a cover of ``shape`` (H, W, 3) may have, the header taken off; 0 where none fits."""
        return max(0, math.prod(shape) * self.bits // 8 - _HEADER.size)

    def hide(self, cover: Picture, secret: Picture) -> Picture:
        """See :meth:`Baseline.hide`."""
        _check_pair(cover, secret, "secret")
        room = self.capacity(cover.shape)
        file = _smallest_loss(secret, self.codec, room, self.name)
        length = struct.pack(">I", len(file))
        data = _HEADER.pack(len(file), zlib.crc32(length + file)) + file
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
        digits = np.pad(bits, (0, -len(bits) % self.bits)).reshape(-1, self.bits)
        values = (digits << _shifts(self.bits)).sum(axis=1, dtype=np.uint8)
        stego = cover.reshape(-1).copy()
        places = _places(stego.size, len(values))
        stego[places] = (stego[places] & np.uint8(256 - (1 << self.bits))) | values
        return _adjusted(cover, stego.reshape(cover.shape), self.bits)

    def reveal(self, stego: Picture, cover: Picture | None = None, key: SvdKey | None = None) -> Picture:
        """See :meth:`Baseline.reveal`. Exactly the decoded file, or an error."""
        check_picture(stego, "stego")
        room = self.capacity(stego.shape)
        header = self._read(stego, _HEADER.size) if room else bytes(_HEADER.size)
        length, crc = _HEADER.unpack(header)
        if not 0 < length <= room:
            raise DataError(
                f"No {self.name} file in this picture: its header says {length:,} bytes, and there is room for "
                f"{room:,}. The picture never held one, holds one of other bits, or was changed on its way."
            )
        file = self._read(stego, _HEADER.size + length)[_HEADER.size :]
        if zlib.crc32(header[:4] + file) != crc:
            raise DataError(
                f"The {self.name} file of {length:,} bytes in this picture fails its checksum. "
                "The picture never held one, or was changed on its way: it must travel losslessly."
            )
        return decoded(file, self.codec, stego.shape)

    def _read(self, stego: Picture, length: int) -> bytes:
        places = _places(stego.size, -(-8 * length // self.bits))
        digits = (stego.reshape(-1)[places, None] >> _shifts(self.bits)) & np.uint8(1)
        return np.packbits(digits.reshape(-1)[: 8 * length]).tobytes()


# ---------------------------------------------------------------------------------------------- internals


def _check_pair(first: Picture, second: Picture, what: str) -> None:
    check_picture(first, "cover" if what == "secret" else "stego")
    (height, width), (rows, columns) = first.shape[:2], check_picture(second, what).shape[:2]
    if (height, width) != (rows, columns):
        raise DataError(f"The {what} has {columns}x{rows} pixels and must have {width}x{height}. Resize it first.")


def _needed(name: str, stego: Picture, cover: Picture | None) -> Picture:
    """The cover that a non-blind method asks for, of the stego's size."""
    check_picture(stego, "stego")
    if cover is None:
        raise DataError(f"{name} can't reveal without the cover. Pass the untouched cover picture.")
    _check_pair(stego, cover, "cover")
    return cover


def _check_bits(bits: Any) -> None:
    if not isinstance(bits, int) or not 1 <= bits <= 7:
        raise ConfigError(f"bits must be a whole number from 1 to 7, got {bits!r}.")


def _check_alpha(alpha: Any) -> None:
    if not isinstance(alpha, (int, float)) or not 0.0 < alpha <= 1.0:
        raise ConfigError(f"alpha must be a number above 0 and at most 1, got {alpha!r}.")


def _adjusted(cover: Picture, stego: Picture, bits: int) -> Picture:
    """Move samples by ``2**bits`` towards the cover where that is closer (OPAP); the low bits stay."""
    step = 1 << bits
    wide = stego.astype(np.int16)
    error = wide - cover
    down = (error > step // 2) & (wide >= step)
    up = (error < -(step // 2)) & (wide < 256 - step)
    return (wide + step * up - step * down).astype(np.uint8)


def _shifts(bits: int) -> NDArray[np.uint8]:
    return np.arange(bits - 1, -1, -1, dtype=np.uint8)


def _haar(x: Floats) -> Floats:
    """Orthonormal one-level Haar of ``(H, W, C)``, even sides: ``(H/2, W/2, 4, C)`` in the order LL, LH, HL, HH."""
    a, b, c, d = x[0::2, 0::2], x[0::2, 1::2], x[1::2, 0::2], x[1::2, 1::2]
    return np.stack([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], axis=2) / 2.0


def _unhaar(bands: Floats) -> Floats:
    """Inverse of :func:`_haar`: ``(h, w, 4, C)`` to ``(2h, 2w, C)``."""
    ll, lh, hl, hh = (bands[:, :, i] for i in range(4))
    x = np.empty((2 * bands.shape[0], 2 * bands.shape[1], bands.shape[3]))
    x[0::2, 0::2], x[0::2, 1::2] = (ll + lh + hl + hh) / 2.0, (ll + lh - hl - hh) / 2.0
    x[1::2, 0::2], x[1::2, 1::2] = (ll - lh + hl - hh) / 2.0, (ll - lh - hl + hh) / 2.0
    return x


def _padded(picture: Picture) -> Floats:
    """As float64 in 0..255, odd sides made even by reflection (a side of 1 is repeated)."""
    height, width = picture.shape[:2]
    return np.pad(picture.astype(np.float64), ((0, height % 2), (0, width % 2), (0, 0)), mode="reflect")


def _rounded(x: Floats, shape: tuple[int, ...]) -> Picture:
    """Crop to the shape, clip to 0..255 and round to 8 bits."""
    return np.clip(np.rint(x[: shape[0], : shape[1]]), 0.0, 255.0).astype(np.uint8)


def _matrices(picture: Picture) -> Floats:
    """The sub-bands as matrices ``(4, 3, h, w)``."""
    return _haar(_padded(picture)).transpose(2, 3, 0, 1)


def _bands(left: Floats, values: Floats, right: Floats) -> Floats:
    """``left diag(values) right`` as sub-bands ``(h, w, 4, 3)``."""
    return ((left * values[..., None, :]) @ right).transpose(2, 3, 0, 1)


def _places(count: int, needed: int) -> NDArray[np.int64]:
    """The first ``needed`` of a walk that visits each of ``count`` samples once, evenly spread at every length."""
    step = max(1, round(count * _GOLDEN))
    while math.gcd(step, count) != 1:
        step += 1
    return np.arange(needed, dtype=np.int64) * step % count


def _smallest_loss(secret: Picture, codec: Codec, room: int, name: str) -> bytes:
    """The file of least loss that fits into ``room`` bytes; of the lossy ones, the best of 101 steps."""
    exact = encoded(secret, codec, **_LOSSLESS[codec])
    if len(exact) <= room:
        return exact
    best = _lossy(secret, codec, 0, room)
    if len(best) > room:
        raise DataError(
            f"The secret of {secret.shape[1]}x{secret.shape[0]} needs {len(best):,} bytes at the lowest quality, and "
            f"{name} has a capacity of {room:,} bytes in a cover of this size. Take more bits, or larger pictures."
        )
    low, high = 0, 100
    while low < high:
        middle = (low + high + 1) // 2
        file = _lossy(secret, codec, middle, room)
        low, high, best = (middle, high, file) if len(file) <= room else (low, middle - 1, best)
    return best


def _lossy(secret: Picture, codec: Codec, quality: int, room: int) -> bytes:
    """A lossy file; for JPEG 2000, which is asked for a size, the quality 100..0 stands for 1..1/20 of the room."""
    if codec == "WEBP":
        return encoded(secret, codec, quality=quality, method=4)
    ratio = secret.size / max(1, room) * 20.0 ** (1.0 - quality / 100.0)
    layers = {"quality_mode": "rates", "quality_layers": [max(1.0, ratio)]}
    return encoded(secret, codec, irreversible=True, no_jp2=True, mct=1, **layers)


#: Every baseline by name.
METHODS: dict[str, Baseline] = {
    method.name: method
    for method in (
        *(Lsb(bits) for bits in range(1, 8)),
        *(Lsb(bits, adjust=True) for bits in range(1, 8)),
        *(LsbCodec(bits) for bits in (1, 2, 3)),
        *(LsbCodec(bits, "JPEG2000") for bits in (1, 2, 3)),
        DwtAlpha(),
        DwtSvd(),
    )
}
