"""Reed-Solomon codes over GF(256), many code words at once.

A word has ``n <= 255`` bytes: ``k`` data bytes, then ``parity`` check bytes; up to ``parity // 2`` wrong bytes at
unknown places are found and set right. The field is GF(2)[x] / (x^8 + x^4 + x^3 + x^2 + 1) with generator 2, the roots
of the code are ``2^0 .. 2^(parity-1)``: the same code as the package ``reedsolo`` with its defaults, which the tests
compare with. Every step works on all words together, since a picture of 12 megapixels carries ten thousand of them.

Sources: Reed & Solomon 1960; Massey, IEEE Trans. Inform. Theory 15, 1969 (the error locator); Chien 1964 (its roots);
Forney 1965 (the error values).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import ConfigError, DataError

Bytes = NDArray[np.uint8]

LONGEST = 255  # bytes of a word: one for every non-zero element of the field
_POLYNOMIAL = 0x11D
_WORDS_AT_ONCE = 4096  # bounds the memory of the decoder: about 20 MB


def _tables() -> tuple[NDArray[np.int64], NDArray[np.int64], Bytes]:
    powers = np.zeros(2 * LONGEST, dtype=np.int64)
    value = 1
    for exponent in range(LONGEST):
        powers[exponent] = powers[exponent + LONGEST] = value
        value = (value << 1) ^ (_POLYNOMIAL if value & 0x80 else 0)
    logs = np.zeros(256, dtype=np.int64)
    logs[powers[:LONGEST]] = np.arange(LONGEST)
    product = powers[logs[:, None] + logs[None, :]]
    product[0, :] = product[:, 0] = 0
    return powers, logs, product.astype(np.uint8)


_EXP, _LOG, _PRODUCT = _tables()
_FLAT = _PRODUCT.ravel()
_INVERSE = _EXP[(LONGEST - _LOG) % LONGEST].astype(np.uint8)  # the entry of 0 is never used


def _times(a: Bytes, b: Bytes) -> Bytes:
    """Element by element product in the field."""
    return _FLAT[(a.astype(np.uint16) << 8) | b]


@functools.lru_cache(maxsize=16)
def _generator(parity: int) -> Bytes:
    """Coefficients of prod (x - 2^i), i < parity, after the leading 1, highest power first."""
    found = np.ones(1, dtype=np.uint8)
    for root in _EXP[:parity]:
        found = np.append(found, np.uint8(0)) ^ np.append(np.uint8(0), _PRODUCT[root][found])
    return found[1:]


def _evaluate(polynomials: Bytes, exponents: NDArray[np.int64]) -> Bytes:
    """Values of polynomials (N, m), lowest power first, at ``2^exponents`` (p): ``(N, p)``."""
    values = np.zeros((len(polynomials), len(exponents)), dtype=np.uint8)
    for power in range(polynomials.shape[1]):
        column = polynomials[:, power]
        if column.any():
            values ^= _PRODUCT[:, _EXP[(exponents * power) % LONGEST]][column]
    return values


def allowed(parity: int) -> bool:
    """Whether a word can have so many check bytes: even numbers from 2 to 200."""
    return 2 <= parity <= 200 and parity % 2 == 0


def check(parity: int, k: int = 1) -> None:
    """Refuse a code that is not possible.

    Raises:
        ConfigError: ``parity`` is not allowed, or ``k`` data bytes and the parity make more than 255 bytes.
    """
    if not allowed(parity):
        raise ConfigError(f"Parity is {parity} bytes a word; allowed: even numbers from 2 to 200.")
    if not 1 <= k <= LONGEST - parity:
        raise ConfigError(f"A word with {parity} parity bytes holds 1 to {LONGEST - parity} data bytes, not {k}.")


def _remainder(data: Bytes, parity: int) -> Bytes:
    """Remainder of data(x) x^parity by the generator: ``(N, k)`` to ``(N, parity)``."""
    table = _PRODUCT[:, _generator(parity)]  # (256, parity): the generator times every element
    register = np.zeros((len(data), parity), dtype=np.uint8)
    for column in range(data.shape[1]):
        feedback = data[:, column] ^ register[:, 0]
        register[:, :-1] = register[:, 1:]
        register[:, -1] = 0
        register ^= table[feedback]
    return register


def encode(data: Bytes, parity: int) -> Bytes:
    """Append ``parity`` check bytes to each row.

    Args:
        data: ``(N, k)`` uint8, one word a row.
        parity: check bytes a word, even, 2 to 200; ``k + parity <= 255``.

    Returns:
        ``(N, k + parity)`` uint8.

    Raises:
        ConfigError: parity or the length of a word is not allowed.
    """
    check(parity, data.shape[1])
    return np.concatenate([data, _remainder(data, parity)], axis=1)


def decode(words: Bytes, parity: int) -> tuple[Bytes, NDArray[np.int64]]:
    """Set right what can be set right.

    More than ``parity // 2`` wrong bytes in a word are nearly always noticed, but not surely: the chance that such a
    word turns into another valid word is about 1 / (parity / 2)!. Callers need a check sum of their own.

    Args:
        words: ``(N, n)`` uint8 with ``parity < n <= 255``.
        parity: check bytes a word, as given to :func:`encode`.

    Returns:
        The data ``(N, n - parity)`` and, per word, the number of bytes set right, or -1 where it could not be done
        (its data is then as received).

    Raises:
        DataError: words are not longer than their parity.
    """
    if words.ndim != 2 or words.shape[1] <= parity:
        raise DataError(f"Reed-Solomon words of shape {words.shape} are too short for {parity} parity bytes.")
    k = words.shape[1] - parity
    check(parity, k)
    data = words[:, :k].copy()
    repaired = np.zeros(len(words), dtype=np.int64)
    rest = _remainder(data, parity) ^ words[:, k:]
    bad = np.flatnonzero(rest.any(axis=1))
    for start in range(0, len(bad), _WORDS_AT_ONCE):
        rows = bad[start : start + _WORDS_AT_ONCE]
        errors, repaired[rows] = _errors(rest[rows], words.shape[1])
        data[rows] ^= errors[:, :k]
    return data, repaired


def _errors(rest: Bytes, n: int) -> tuple[Bytes, NDArray[np.int64]]:
    """Error patterns ``(N, n)`` and their weights (-1: beyond repair) from the remainders ``(N, parity)``."""
    parity = rest.shape[1]
    # the remainder has the same values at the code's roots as the received word: these are the syndromes
    syndromes = _evaluate(rest[:, ::-1], np.arange(parity))
    locator, degree = _massey(syndromes)
    half = parity // 2
    evaluator = np.zeros_like(syndromes)
    for power in range(half + 1):
        evaluator[:, power:] ^= _times(locator[:, power, None], syndromes[:, : parity - power])
    where = np.arange(n - 1, -1, -1)  # byte i stands for x^(n-1-i); its locator is 2^(n-1-i)
    roots = _evaluate(locator[:, : half + 1], -where % LONGEST) == 0
    # a recurrence as long as its locator has roots inside the word explains every syndrome
    good = roots.sum(axis=1) == degree
    errors = np.zeros((len(rest), n), dtype=np.uint8)
    row, column = np.nonzero(roots & good[:, None])
    slope = locator.copy()
    slope[:, 0::2] = 0  # in characteristic 2 only odd powers survive: x times the derivative
    over = _evaluate(evaluator[:, :half], -where % LONGEST)[row, column]
    under = _evaluate(slope[:, : half + 1], -where % LONGEST)[row, column]
    # Forney for first root 2^0: e = X Omega(1/X) / Lambda'(1/X), and slope holds Lambda'(1/X) / X
    errors[row, column] = _times(over, _INVERSE[under])
    return errors, np.where(good, degree, -1)


def _massey(syndromes: Bytes) -> tuple[Bytes, NDArray[np.int64]]:
    """Berlekamp-Massey: the shortest recurrence of each row, lowest power first, and its length."""
    words, parity = syndromes.shape
    locator = np.zeros((words, parity + 1), dtype=np.uint8)
    locator[:, 0] = 1
    before = locator.copy()
    length = np.zeros(words, dtype=np.int64)
    for step in range(parity):
        window = syndromes[:, step::-1]
        gap = np.bitwise_xor.reduce(_times(locator[:, : step + 1], window), axis=1)
        before[:, 1:] = before[:, :-1].copy()
        before[:, 0] = 0
        changed = locator ^ _times(gap[:, None], before)
        grow = (gap != 0) & (2 * length <= step)
        scaled = _times(locator[grow], _INVERSE[gap[grow]][:, None])
        before[grow] = scaled
        length[grow] = step + 1 - length[grow]
        locator = changed
    return locator, length
