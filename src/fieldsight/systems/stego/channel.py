"""Bytes as pictures, and the mark at the bottom of every hidden picture.

The networks carry pictures: what comes back has noise, smooth errors and soft edges. Bytes go through them as a *data
picture* of square cells whose grey levels stand for bits (:class:`Cells`), and every hidden picture carries a *mark*
(:class:`Header`, :func:`write_mark`, :func:`read_mark`): a strip of cells at its bottom that says that there is
something, what it is, and how large it was. Nothing here knows the networks; bytes are protected against errors by
:mod:`~fieldsight.systems.stego.container`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.stego import reedsolomon
from fieldsight.systems.stego.keys import Key, permutation, stream

Image = NDArray[np.uint8]
Float = NDArray[np.float32]
Symbols = NDArray[np.uint8]  # numbers of levels, 0 the darkest
Places = NDArray[np.int64]

SIZES = (1, 2, 3, 4, 8)  # pixels; side of a cell
LEVELS = (2, 4, 8, 16)
MARGIN = 24  # grey levels kept free at both ends, so that noise is seldom clipped
_PUBLIC = b"fieldsight stego channel 1"
_PASSES = 6  # of the equaliser, at most; it stops when the decisions stand
_WINDOW = 28  # pixels, and at least 5 cells; errors of the channel smoother than this are taken out
_FIT_CELLS = 100_000  # as many cells fix 25 coefficients far beyond the noise


def _checked(picture: Image) -> tuple[int, int]:
    """Height and width of a picture that is one."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise DataError(f"A picture of shape {picture.shape} {picture.dtype} can't be used; allowed: (H, W, 3) uint8.")
    return picture.shape[0], picture.shape[1]


def _means(picture: Image, size: int) -> Float:
    """Weighted means of the whole cells: ``(H // size, W // size, 3)``.

    The outermost pixels of a cell count half from 3 pixels up: they hold light of the neighbours.
    """
    rows, columns = picture.shape[0] // size, picture.shape[1] // size
    weights = np.ones(size, dtype=np.float32)
    if size >= 3:
        weights[[0, -1]] = 0.5
    weights /= weights.sum()
    found = np.zeros((rows, columns, 3), dtype=np.float32)
    for i in range(size):
        for j in range(size):
            part = picture[i : rows * size : size, j : columns * size : size]
            found += np.float32(weights[i] * weights[j]) * part
    return found


# ------------------------------------------------------------------------------------------------- the data picture


@dataclass(frozen=True)
class Cells:
    """A way to draw bytes: square cells, each channel of a cell at one of some grey levels.

    Neighbouring levels differ in one bit (Gray code). The bytes are XORed with SHAKE-256 of the seed, so that the
    picture is noise with a flat histogram whatever the bytes are, and the cells are visited in an order that depends on
    the seed, so that a damaged spot becomes single errors far apart. A few cells (one in 64, at least 16) are pilots of
    known level.

    Args:
        size: side of a cell in pixels, one of :data:`SIZES`.
        levels: grey levels, one of :data:`LEVELS`, equally spaced from :data:`MARGIN` to 255 - MARGIN.
        grey: all three channels carry the same level: a third of the capacity, less noise.
        seed: public by default; with ``key.sub("cells")`` only the key's owner reads the bytes. That these are data is
            plain to see for whoever reveals the picture: cells look like cells.

    Raises:
        ConfigError: size or levels is not allowed.
    """

    size: int = 4
    levels: int = 4
    grey: bool = False
    seed: bytes = _PUBLIC

    def __post_init__(self) -> None:
        problems = []
        if self.size not in SIZES:
            problems.append(f"Cells of {self.size} pixels are not possible; allowed: {SIZES}.")
        if self.levels not in LEVELS:
            problems.append(f"Cells of {self.levels} levels are not possible; allowed: {LEVELS}.")
        if problems:
            raise ConfigError(problems)

    @property
    def bits(self) -> int:
        """Bits per channel of a cell."""
        return self.levels.bit_length() - 1

    @property
    def channels(self) -> int:
        """Channels that carry bits of their own: 3, or 1 if grey."""
        return 1 if self.grey else 3

    def capacity(self, shape: tuple[int, int]) -> int:
        """Bytes that a picture of ``shape`` (H, W) carries, before any error correction; 0 if it is too small."""
        cells = (shape[0] // self.size) * (shape[1] // self.size)
        return (cells - _pilots(cells)) * self.channels * self.bits // 8

    def write(self, data: bytes, shape: tuple[int, int]) -> Image:
        """Draw bytes; the unused rest of the picture looks the same.

        Args:
            data: at most :meth:`capacity` bytes.
            shape: (H, W) of the picture.

        Returns:
            ``(H, W, 3)`` uint8.

        Raises:
            DataError: more bytes than the picture holds, or a side shorter than a pixel.
        """
        if min(shape) < 1:
            raise DataError(f"A picture of {shape[1]} x {shape[0]} pixels can't be drawn.")
        room = self.capacity(shape)
        if len(data) > room:
            raise DataError(
                f"{len(data):,} bytes do not fit: a picture of {shape[1]} x {shape[0]} pixels with cells of "
                f"{self.size} pixels and {self.levels} levels holds {room:,}. Use a larger cover, or smaller cells."
            )
        height, width = shape
        rows, columns = height // self.size, width // self.size
        whole = (-(-height // self.size), -(-width // self.size), self.channels)
        # the rim that makes no whole cell is drawn as cut cells of chance
        symbols = stream(self._label("rim", shape), math.prod(whole)).reshape(whole) % np.uint8(self.levels)
        inner = np.empty((rows * columns, self.channels), dtype=np.uint8)
        order, pilots = self._order(shape)
        inner[order[:pilots]] = self._known(pilots)
        inner[order[pilots:]] = self._symbols(data, rows * columns - pilots, shape)
        symbols[:rows, :columns] = inner.reshape(rows, columns, self.channels)
        cells = np.round(self._greys()).astype(np.uint8)[symbols]
        drawn = cells.repeat(self.size, axis=0).repeat(self.size, axis=1)[:height, :width]
        return np.broadcast_to(drawn, (height, width, 3)).copy()

    def read(self, picture: Image, count: int | None = None) -> bytes:
        """Read the first ``count`` bytes (default and at most: all) of a data picture; wrong cells give wrong bits.

        Raises:
            DataError: the picture is no ``(H, W, 3)`` uint8 array.
        """
        shape = _checked(picture)
        room = self.capacity(shape)
        count = room if count is None else min(count, room)
        if count <= 0:
            return b""
        order, pilots = self._order(shape)
        symbols = self._sliced(self._equalised(picture, order[:pilots])).reshape(-1, self.channels)
        needed = -(-count * 8 // (self.bits * self.channels))
        levels = symbols[order[pilots : pilots + needed]].ravel()
        gray = levels ^ (levels >> np.uint8(1))
        bits = (gray[:, None] >> np.arange(self.bits, dtype=np.uint8)[::-1]) & 1
        coded = np.packbits(bits.ravel())[:count]
        return (coded ^ stream(self._label("white", shape), count)).tobytes()

    def error_rate(self, picture: Image) -> tuple[float, float]:
        """Share of wrong symbols among the pilots (0 to 1), and noise: rms distance to the decided levels, in greys.

        Raises:
            DataError: the picture is no ``(H, W, 3)`` uint8 array, or too small for pilots.
        """
        shape = _checked(picture)
        if self.capacity(shape) == 0:
            raise DataError(
                f"A picture of {shape[1]} x {shape[0]} pixels is too small for cells of {self.size} pixels."
            )
        order, pilots = self._order(shape)
        values = self._equalised(picture, order[:pilots])
        decided = self._sliced(values)
        noise = float(np.sqrt(((values - self._greys()[decided]) ** 2).mean()))
        return float((decided.reshape(-1, self.channels)[order[:pilots]] != self._known(pilots)).mean()), noise

    def _label(self, purpose: str, shape: tuple[int, int]) -> bytes:
        return self.seed + f"|{purpose}|{shape[0]}x{shape[1]}/{self.size}/{self.levels}/{self.grey}".encode()

    def _greys(self) -> Float:
        return np.linspace(MARGIN, 255 - MARGIN, self.levels, dtype=np.float32)

    def _order(self, shape: tuple[int, int]) -> tuple[Places, int]:
        """The cells in the order of the bytes; the first few are the pilots."""
        cells = (shape[0] // self.size) * (shape[1] // self.size)
        return permutation(self._label("order", shape), cells), _pilots(cells)

    def _known(self, pilots: int) -> Symbols:
        """Levels of the pilots ``(pilots, channels)``: all levels in turn, the channels apart from each other."""
        turn = np.arange(pilots)[:, None] + np.arange(self.channels) * (pilots // 3)
        return (turn % self.levels).astype(np.uint8)

    def _symbols(self, data: bytes, cells: int, shape: tuple[int, int]) -> Symbols:
        count = cells * self.channels
        coded = stream(self._label("white", shape), -(-count * self.bits // 8)).copy()
        coded[: len(data)] ^= np.frombuffer(data, dtype=np.uint8)
        bits = np.unpackbits(coded)[: count * self.bits].reshape(count, self.bits)
        words = np.zeros(count, dtype=np.uint8)
        for place in range(self.bits):
            words = (words << np.uint8(1)) | bits[:, place]
        levels = np.arange(self.levels)
        return np.argsort(levels ^ (levels >> 1)).astype(np.uint8)[words].reshape(cells, self.channels)

    def _sliced(self, values: Float) -> Symbols:
        step = (255 - 2 * MARGIN) / (self.levels - 1)
        return np.clip(np.round((values - MARGIN) / step), 0, self.levels - 1).astype(np.uint8)

    def _equalised(self, picture: Image, pilots: Places) -> Float:
        """Cell means ``(rows, columns, channels)`` with gain, offset, smooth errors and blur taken out.

        First gain and offset of each channel by least squares over the pilots. Then, a few times, the decided levels
        serve as the known ones: their local mean error is taken off, and a small linear filter over the neighbouring
        cells is fitted to them (a decision-directed equaliser, as in data modems; Lucky 1966).
        """
        values = _means(picture, self.size)
        if self.grey:
            values = values.mean(axis=2, keepdims=True)
        greys, known = self._greys(), self._known(len(pilots))
        for channel in range(self.channels):
            flat = values[..., channel].ravel()
            values[..., channel] = _unbiased(flat, flat[pilots], greys[known[:, channel]]).reshape(values.shape[:2])
        found, decided, reach = values, self._sliced(values), 2 if self.size == 1 else 1
        for _ in range(_PASSES):
            decided.reshape(-1, self.channels)[pilots] = known
            target = greys[decided]
            level = values - _smooth(values - target, self.size)
            found = np.stack([_filtered(level[..., c], target[..., c], reach) for c in range(self.channels)], axis=2)
            before, decided = decided, self._sliced(found)
            if (decided != before).mean() < 1e-4:
                break
        return found


def _pilots(cells: int) -> int:
    return min(cells, max(16, cells // 64))


def _unbiased(values: Float, seen: Float, meant: Float) -> Float:
    """Values corrected by the gain and offset that take ``meant`` to ``seen`` (least squares)."""
    spread = float(meant.var())
    gain = float(((seen - seen.mean()) * (meant - meant.mean())).mean()) / spread if spread > 0 else 1.0
    gain = max(gain, 0.05)  # a picture without contrast holds nothing; it must only not end in a division by zero
    return ((values - seen.mean()) / gain + meant.mean()).astype(np.float32)


def _smooth(error: Float, size: int) -> Float:
    from scipy.ndimage import uniform_filter

    window = 2 * max(2, _WINDOW // (2 * size)) + 1
    if min(error.shape[:2]) < window:
        return np.broadcast_to(error.mean(axis=(0, 1)), error.shape)
    return uniform_filter(error, (window, window, 0), mode="reflect")


def _filtered(values: Float, target: Float, reach: int) -> Float:
    """One channel ``(rows, columns)`` after the linear filter that brings it closest to ``target``."""
    from scipy.ndimage import correlate

    rows, columns = values.shape
    if min(rows, columns) < 8:
        return values
    side = 2 * reach + 1
    centre = float(target.mean())
    padded = np.pad(values - centre, reach, mode="reflect")
    step = max(1, rows * columns // _FIT_CELLS)
    chosen = np.arange(0, rows, step)
    taps = [padded[chosen + i, j : j + columns].ravel() for i in range(side) for j in range(side)]
    seen, meant = np.stack(taps, axis=1).astype(np.float64), target[chosen].ravel() - centre
    gram = seen.T @ seen
    gram[np.diag_indices_from(gram)] += 1e-3 * np.trace(gram) / len(gram) + 1e-6
    kernel = np.linalg.solve(gram, seen.T @ meant).reshape(side, side)
    found = correlate(values - centre, kernel.astype(np.float32), mode="mirror")
    # least squares shrinks towards the mean: gain and offset are set right again
    return _unbiased(found, found[chosen].ravel(), target[chosen].ravel())


def repair_hint(rate: float) -> str:
    """A sentence for the user about a share of wrong cells (0 to 1), from :meth:`Cells.error_rate` or a mark.

    The limits are those of the default protection (64 check bytes of 255): it stands 12 wrong bytes in a hundred, which
    at two bits a cell are about 3 wrong cells in a hundred.
    """
    share = f"{100 * rate:.1f} %" if rate >= 0.001 else "less than 0.1 %"
    if rate == 0:
        return "The picture came through without a wrong cell."
    if rate < 0.03:
        return f"{share} of the cells are wrong; as a rule that can be repaired."
    if rate < 0.3:
        return f"The picture was changed: {share} of the cells are wrong. Was it saved as JPEG, resized or edited?"
    return (
        f"{share} of the cells are wrong: as good as nothing is left. Another key, another picture, or heavy editing."
    )


# ------------------------------------------------------------------------------------------------- the mark

ROWS = 8  # pixel rows of the strip in pictures at least 128 pixels wide
SMALLEST = 64  # pixels; smaller pictures have no mark
_CELL = 4  # pixels
_LOW, _HIGH = 48, 208
_SYNC_BITS = 64
_HEADER_BYTES, _HEADER_PARITY = 10, 6
_CODE_BITS = _SYNC_BITS + 8 * (_HEADER_BYTES + _HEADER_PARITY)  # 192
_VERSION = 1
_KINDS = ("picture", "file")


@dataclass(frozen=True)
class Header:
    """What the mark says of the hidden picture.

    Args:
        kind: ``picture``, or ``file`` for a data picture.
        height: pixels of the secret before it was brought to the cover's size, 1 to 65,535.
        width: likewise.
        keyed: the picture is scrambled, or the data picture whitened, with the key.
        size: side of a cell if a data picture, else 0.
        levels: levels of a cell if a data picture, else 0.
        grey: the cells are grey.

    Raises:
        ConfigError: a value is out of range.
    """

    kind: str
    height: int
    width: int
    keyed: bool = False
    size: int = 0
    levels: int = 0
    grey: bool = False

    def __post_init__(self) -> None:
        problems = []
        if self.kind not in _KINDS:
            problems.append(f"A mark of kind '{self.kind}' is not possible; allowed: {', '.join(_KINDS)}.")
        if not (1 <= self.height <= 65535 and 1 <= self.width <= 65535):
            problems.append(f"A mark holds sizes from 1 to 65,535 pixels, not {self.width} x {self.height}.")
        if self.kind == "file" and (self.size not in SIZES or self.levels not in LEVELS):
            problems.append(f"Cells of {self.size} pixels and {self.levels} levels are not possible.")
        if self.kind == "picture" and (self.size or self.levels or self.grey):
            problems.append("The mark of a picture names no cells.")
        if problems:
            raise ConfigError(problems)

    def cells(self, key: Key | None) -> Cells:
        """The cells of the data picture that the mark belongs to.

        Raises:
            ConfigError: the mark is that of a picture, or needs a key and none is given.
        """
        if self.keyed and key is None:
            raise ConfigError("The hidden data were drawn with a key. Give the passphrase.")
        return Cells(self.size, self.levels, self.grey, key.sub("cells") if key and self.keyed else _PUBLIC)

    def _pack(self, secret: bytes) -> bytes:
        first = _VERSION << 4 | _KINDS.index(self.kind) << 2 | self.keyed << 1 | self.grey
        fields = bytes([first, self.size << 4 | self.levels.bit_length()])
        fields += self.height.to_bytes(2, "big") + self.width.to_bytes(2, "big")
        return fields + blake2b(fields, digest_size=4, key=secret).digest()

    @classmethod
    def _unpack(cls, packed: bytes, secret: bytes) -> Header | None:
        fields, check = packed[:-4], packed[-4:]
        first, layout = fields[0], fields[1]
        if blake2b(fields, digest_size=4, key=secret).digest() != check or first >> 4 != _VERSION:
            return None
        kind, levels = first >> 2 & 3, layout & 15
        sides = int.from_bytes(fields[2:4], "big"), int.from_bytes(fields[4:6], "big")
        try:
            name = _KINDS[kind] if kind < len(_KINDS) else ""
            return cls(name, *sides, bool(first & 2), layout >> 4, 1 << levels >> 1, bool(first & 1))
        except ConfigError:
            return None


@dataclass(frozen=True)
class Reading:
    """What was read at the place of the mark.

    Args:
        header: what the mark says, or None where its check sum is wrong.
        score: correlation of the 64 sync bits with the expected word, -1 to 1; 1 is a perfect mark.
        p_value: chance of at least as many right sync bits if each were the toss of a fair coin. This is a model of
            pictures without a mark, not a measurement: the rate of false alarms must be measured on plain photos.
        probability: that there is a mark, 0 to 1: 1 - 2^-32 if the header is valid (its check sum has 32 bits), else
            by Bayes' rule from the sync bits, with even odds before, fair coins without a mark, and one wrong bit in
            ten with one.
        rate: share of wrong cells: over the whole strip if the header is valid, else over the sync cells.
    """

    header: Header | None
    score: float
    p_value: float
    probability: float
    rate: float


def strip_rows(width: int) -> int:
    """Pixel rows that the mark takes at the bottom of a picture of this width: 8 from 128 pixels up, 12 from 88, 16
    from 64; 0 below :data:`SMALLEST`, where there is no mark."""
    if width < SMALLEST:
        return 0
    return _CELL * max(ROWS // _CELL, -(-_CODE_BITS // (3 * (width // _CELL))))


def _room(picture: Image) -> int:
    shape = _checked(picture)
    return strip_rows(shape[1]) if min(shape) >= SMALLEST else 0


def _layout(key: Key | None, rows: int, columns: int) -> tuple[bytes, NDArray[np.int8], Places, NDArray[np.uint8]]:
    """Secret of the check sum, sync word (+-1, balanced), bit of every slot of the strip, whitening of the header.

    A slot is one channel of one cell; the 192 bits are repeated over the slots as often as there is room, scattered by
    the key, so that a hurt spot or channel costs most bits no more than one of their copies.
    """
    secret = key.sub("mark") if key else b"fieldsight stego public mark 1"
    sync = np.where(permutation(secret + b"|sync", _SYNC_BITS) < _SYNC_BITS // 2, 1, -1).astype(np.int8)
    slots = 3 * (rows // _CELL) * (columns // _CELL)
    order = permutation(secret + f"|slots {slots}".encode(), slots)
    bit = np.empty(slots, dtype=np.int64)
    bit[order] = np.arange(slots) % _CODE_BITS
    return secret, sync, bit, stream(secret + b"|white", _HEADER_BYTES + _HEADER_PARITY)


def _code(header: Header, secret: bytes, sync: NDArray[np.int8], white: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The 192 bits of a mark as +-1."""
    data = np.frombuffer(header._pack(secret), dtype=np.uint8)[None]
    bits = np.unpackbits(reedsolomon.encode(data, _HEADER_PARITY)[0] ^ white)
    return np.concatenate([sync, 2 * bits.astype(np.int8) - 1])


def write_mark(secret: Image, header: Header, key: Key | None = None) -> Image:
    """Overwrite the strip at the bottom of a picture with a mark.

    Args:
        secret: ``(H, W, 3)`` uint8, the picture to hide. A data picture should be drawn :func:`strip_rows` shorter.
        header: what the mark says.
        key: makes a mark that only this key finds.

    Returns:
        A copy with the strip; unchanged if a side is shorter than :data:`SMALLEST` pixels: no mark then.

    Raises:
        DataError: not such an array.
    """
    height, marked = _room(secret), secret.copy()
    if not height:
        return marked
    rows, columns = height // _CELL, secret.shape[1] // _CELL
    own, sync, bit, white = _layout(key, height, secret.shape[1])
    cells = np.where(_code(header, own, sync, white)[bit] > 0, _HIGH, _LOW).astype(np.uint8).reshape(rows, columns, 3)
    strip = cells.repeat(_CELL, axis=0).repeat(_CELL, axis=1)
    rim = np.repeat(strip[:, -1:], secret.shape[1] - strip.shape[1], axis=1)
    marked[-height:] = np.concatenate([strip, rim], axis=1)
    return marked


def read_mark(revealed: Image, key: Key | None = None) -> Reading | None:
    """Look for a mark at the bottom of a revealed picture.

    Args:
        revealed: ``(H, W, 3)`` uint8.
        key: as given to :func:`write_mark`; a mark with a key looks like none without it.

    Returns:
        What was found; None if the picture is too small for a mark.

    Raises:
        DataError: not such an array.
    """
    height = _room(revealed)
    if not height:
        return None
    own, sync, bit, white = _layout(key, height, revealed.shape[1])
    slots = _two_levels(_means(revealed[-height:], _CELL).reshape(-1, 3).astype(np.float64)).ravel()
    soft = np.bincount(bit, weights=slots) / np.bincount(bit)
    seen = soft[:_SYNC_BITS] - soft[:_SYNC_BITS].mean()
    norm = math.sqrt(_SYNC_BITS * float((seen**2).sum()))
    score = float(sync @ seen) / norm if norm > 1e-6 else 0.0
    right = int(((soft[:_SYNC_BITS] > 0) == (sync > 0)).sum())
    header = _decoded(soft[_SYNC_BITS:], white, own)
    if header is None:
        used = bit < _SYNC_BITS
        rate = float(((slots[used] > 0) != (sync[bit[used]] > 0)).mean())
        return Reading(None, score, _tail(right), _posterior(right), rate)
    rate = float(((slots > 0) != (_code(header, own, sync, white)[bit] > 0)).mean())
    return Reading(header, score, _tail(right), 1.0 - 2.0**-32, rate)


def _decoded(soft: NDArray[np.float64], white: NDArray[np.uint8], secret: bytes) -> Header | None:
    """The header in 128 soft bits, if its check sum is right.

    The eight least certain bits are tried both ways (Chase 1972), since the check sum tells which of the 256 words is
    the right one; without a mark one of them passes by accident in less than one picture of 10^11.
    """
    doubtful = np.argsort(np.abs(soft), kind="stable")[:8]
    bits = np.repeat((soft > 0).astype(np.uint8)[None], 256, axis=0)
    bits[:, doubtful] ^= np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    data, repaired = reedsolomon.decode(np.packbits(bits, axis=1) ^ white, _HEADER_PARITY)
    for word in data[repaired >= 0]:
        header = Header._unpack(word.tobytes(), secret)
        if header is not None:
            return header
    return None


def _two_levels(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each channel (n, 3) shifted and scaled so that the means of its upper and lower part are 1 and -1; clipped there,
    so that a spot brighter than any cell does not outvote whole cells."""
    upper = values >= values.mean(axis=0)
    high = (values * upper).sum(axis=0) / np.maximum(upper.sum(axis=0), 1)
    low = (values * ~upper).sum(axis=0) / np.maximum((~upper).sum(axis=0), 1)
    low = np.where(upper.all(axis=0), high, low)  # one level only: all slots become 0
    # the half distance is at least a grey level: a plain strip must not become noise at full scale
    return np.clip((values - (high + low) / 2) / np.maximum((high - low) / 2, 1.0), -1.0, 1.0)


def _tail(right: int) -> float:
    """P(at least ``right`` heads in 64 tosses), exact."""
    return sum(math.comb(_SYNC_BITS, count) for count in range(right, _SYNC_BITS + 1)) / 2**_SYNC_BITS


def _posterior(right: int) -> float:
    odds = right * math.log(0.9 / 0.5) + (_SYNC_BITS - right) * math.log(0.1 / 0.5)
    return 1.0 / (1.0 + math.exp(-odds))
