"""Classical detectors of replaced least significant bits (LSBs): RS, sample pairs, chi-square on pairs of values.

All of them look at single pictures and need no training. They are made for LSB replacement: a value 2k may become
2k + 1 and back, never 2k - 1. They say little about other embedding, for which see ``srm.py``.

Rates are shares of samples (pixels times channels) whose LSB was replaced by a message bit; at rate r about half of
these, r / 2, differ from the cover. An estimate of a clean photo is not exactly 0: it has noise, may be negative, and
has a bias that depends on the picture. Measured: within 0.04 on most photos of scikit-image, 0.04 to 0.2 on several
that were decoded from JPEG at full size.
"""

from __future__ import annotations

import cmath
import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.errors import DataError

Array = NDArray[Any]

#: Estimated rates are limited to this range: a nearly singular equation may give any number.
RATE_LIMITS = (-1.0, 2.0)

#: A pair of values counts in the chi-square test from this many expected samples on (Westfeld & Pfitzmann: over 4).
LEAST_EXPECTED = 4.0


def rs_analysis(picture: Array) -> float:
    """Estimate the LSB replacement rate by RS steganalysis.

    Fridrich, Goljan & Du 2001, "Reliable detection of LSB steganography in color and grayscale images". Groups are
    four pixels in a row or in a column, at every place (they overlap), with masks ``[0 1 1 0]`` and ``[0 -1 -1 0]``
    and the sum of absolute differences as the discrimination function.

    Args:
        picture: uint8 ``(H, W)`` or ``(H, W, 3)``.

    Returns:
        The mean over channels of the estimated rate: about 0 for a clean photo, about 1 for a fully embedded one,
        limited to :data:`RATE_LIMITS`. 0 for a constant picture and where no group of four fits.

    Raises:
        DataError: another type or shape, or an empty picture.
    """
    return _mean_rate([_rs_channel(channel) for channel in _channels(picture)])


def sample_pairs(picture: Array) -> float:
    """Estimate the LSB replacement rate by sample pair analysis.

    Dumitrescu, Wu & Wang 2003, "Detection of LSB steganography via sample pair analysis", over all horizontal and
    vertical neighbours; more exact than RS at low rates.

    Args:
        picture: uint8 ``(H, W)`` or ``(H, W, 3)``.

    Returns:
        The mean over channels of the estimated rate: about 0 for a clean photo, about 1 for a fully embedded one,
        limited to :data:`RATE_LIMITS`. Channels without two neighbours that differ by at most their LSB say nothing
        and are left out; 0 where none is left, and for a constant picture.

    Raises:
        DataError: another type or shape, or an empty picture.
    """
    return _mean_rate([_pairs_channel(channel) for channel in _channels(picture)])


def chi_square(picture: Array) -> float:
    """Probability that the LSBs of the whole picture were replaced, by the chi-square test on pairs of values.

    Westfeld & Pfitzmann 1999, "Attacks on steganographic systems". Embedding makes the counts of 2k and 2k + 1 equal.
    Channels have their own pairs, their statistics and degrees of freedom add up. As in the paper only the even value
    of a pair enters, so the statistic of an embedded picture is near half its degrees of freedom, and the
    probability near 1 rather than spread over 0-1.

    Args:
        picture: uint8 ``(H, W)`` or ``(H, W, 3)``.

    Returns:
        0 to 1: near 1 at full rate, near 0 for most clean photos, and for most messages scattered at up to half
        rate. Small or grey pictures with a smooth histogram may give 1 without any message. 0 where fewer than two
        pairs of values are frequent enough (constant, tiny and saturated pictures).

    Raises:
        DataError: another type or shape, or an empty picture.
    """
    return float(chi_square_curve(picture, parts=1)[0])


def chi_square_curve(picture: Array, parts: int = 20) -> NDArray[np.float64]:
    """Run :func:`chi_square` on the first 1, 2, ... ``parts`` parts of the rows-first pixel order.

    A message written in sequence gives a curve that stays near 1 as far as the message goes and then falls, so the
    mean of the curve is a rough estimate of the share of the picture that holds it.

    Args:
        picture: uint8 ``(H, W)`` or ``(H, W, 3)``.
        parts: number of prefixes, at least 1.

    Returns:
        ``(parts,)``, each 0 to 1; the last is the whole picture.

    Raises:
        DataError: another type or shape, an empty picture, or ``parts`` below 1.
    """
    from scipy.special import chdtrc

    if parts < 1:
        raise DataError(f"The chi-square curve needs at least one part, got {parts}.")
    channels = _channels(picture)
    ends = np.linspace(0, channels[0].size, parts + 1).round().astype(int)
    statistic, freedom = np.zeros(parts), np.zeros(parts)
    for channel in channels:
        flat = channel.ravel()
        blocks = [np.bincount(flat[a:b], minlength=256) for a, b in itertools.pairwise(ends)]
        counts = np.cumsum(blocks, axis=0)
        even, odd = counts[:, 0::2], counts[:, 1::2]
        expected = (even + odd) / 2.0
        frequent = expected > LEAST_EXPECTED
        terms = (even - expected) ** 2 / np.where(frequent, expected, 1.0)
        pairs = frequent.sum(axis=1)
        statistic += np.where(pairs >= 2, np.where(frequent, terms, 0.0).sum(axis=1), 0.0)
        freedom += np.maximum(pairs - 1, 0)
    return np.where(freedom > 0, chdtrc(np.maximum(freedom, 1.0), statistic), 0.0)


def features(picture: Array) -> dict[str, float]:
    """Compute all classical numbers of one picture.

    Args:
        picture: uint8 ``(H, W)`` or ``(H, W, 3)``.

    Returns:
        ``rs`` and ``sample_pairs`` (estimated rates), ``chi_square`` (probability for the whole picture) and
        ``chi_square_share`` (mean of the curve: share holding a message written in sequence). All are finite and
        larger for more embedding.

    Raises:
        DataError: another type or shape, or an empty picture.
    """
    curve = chi_square_curve(picture)
    return {
        "rs": rs_analysis(picture),
        "sample_pairs": sample_pairs(picture),
        "chi_square": float(curve[-1]),
        "chi_square_share": float(curve.mean()),
    }


# ---------------------------------------------------------------------------------------------------- parts


def _channels(picture: Array) -> list[Array]:
    """The colour planes ``(H, W)`` of a checked picture."""
    array = np.asarray(picture)
    if array.dtype != np.uint8:
        raise DataError(
            f"Steganalysis needs the stored 8-bit values (uint8), got {array.dtype}. Scaling destroys the bits that it "
            "looks at: read the file without converting it."
        )
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] == 3):
        raise DataError(f"Steganalysis needs a picture (H, W) or (H, W, 3), got shape {array.shape}.")
    if array.size == 0:
        raise DataError(f"The picture is empty: shape {array.shape}.")
    return [array] if array.ndim == 2 else [array[..., c] for c in range(3)]


def _mean_rate(rates: list[float]) -> float:
    """Mean of the channels that say something, limited; 0 where none does."""
    known = [min(max(rate, RATE_LIMITS[0]), RATE_LIMITS[1]) for rate in rates if not math.isnan(rate)]
    return sum(known) / len(known) if known else 0.0


def _smaller_root(a: float, b: float, c: float) -> complex:
    """Root of ``a x^2 + b x + c`` nearer to 0, complex where it has to be; infinite where there is none.

    Written as ``c / q`` it stays exact when ``a`` vanishes.
    """
    root = cmath.sqrt(complex(b * b - 4.0 * a * c))
    q = -0.5 * (b + root if b >= 0 else b - root)
    if q == 0:
        return 0j if c == 0 else complex(math.inf)
    return c / q


def _rs_channel(channel: Array) -> float:
    """RS estimate of one plane; NaN where no group fits."""
    values = channel.astype(np.int16)
    counts = np.zeros((2, 2))  # [as it is, all LSBs flipped] x [mask, negative mask]: regular minus singular groups
    groups = 0
    for lines in (values, np.ascontiguousarray(values.T)):
        if lines.shape[1] >= 4:
            groups += lines.shape[0] * (lines.shape[1] - 3)
            counts[0] += _regular_minus_singular(lines)
            counts[1] += _regular_minus_singular(lines ^ 1)
    if groups == 0:
        return math.nan
    (d0, n0), (d1, n1) = (counts / groups).tolist()
    x = _smaller_root(2.0 * (d1 + d0), n0 - n1 - d1 - 3.0 * d0, d0 - n0)
    if math.isinf(x.real):
        return 1.0
    if x == 0.5:
        return math.nan
    # Near full rate all counts vanish and noise may make the roots complex; both are then large, and the rate near 1.
    return (x / (x - 0.5)).real


def _regular_minus_singular(lines: Array) -> tuple[int, int]:
    """Regular minus singular groups of four along the rows of int16 ``(n, m)``: mask ``[0 1 1 0]``, its negative."""
    plain = np.abs(np.diff(lines, axis=1))
    smoothness = plain[:, :-2] + plain[:, 1:-1] + plain[:, 2:]
    found = []
    for flipped in (lines ^ 1, ((lines + 1) ^ 1) - 1):
        changed = np.abs(flipped[:, 1:-2] - lines[:, :-3])
        changed += np.abs(flipped[:, 2:-1] - flipped[:, 1:-2])
        changed += np.abs(lines[:, 3:] - flipped[:, 2:-1])
        found.append(int(np.count_nonzero(changed > smoothness)) - int(np.count_nonzero(changed < smoothness)))
    return found[0], found[1]


def _pairs_channel(channel: Array) -> float:
    """Sample pair estimate of one plane; NaN where it has no close pairs.

    With X, Y, Z, W the sizes of the trace sets and P all pairs, the rate p solves
    ``(W + Z) / 2 p^2 + (2 X - P) p + (Y - X) = 0``. Each pair counts in both orders, so that a mirrored picture gives
    the same estimate.
    """
    X = Y = Z = W = 0
    odd = (channel & 1).astype(bool)
    for u, v, u_odd, v_odd in (
        (channel[:, :-1], channel[:, 1:], odd[:, :-1], odd[:, 1:]),
        (channel[:-1], channel[1:], odd[:-1], odd[1:]),
    ):
        equal = int(np.count_nonzero(u == v))
        alike = int(np.count_nonzero((u >> 1) == (v >> 1)))  # equal, or different in the LSB only
        # X: (u, v) with v even and u < v, or v odd and u > v; Y: the other way round.
        x = int(np.count_nonzero((u < v) & ~v_odd)) + int(np.count_nonzero((u > v) & v_odd))
        x += int(np.count_nonzero((v < u) & ~u_odd)) + int(np.count_nonzero((v > u) & u_odd))
        X, Y, Z, W = X + x, Y + 2 * (u.size - equal) - x, Z + 2 * equal, W + 2 * (alike - equal)
    if W + Z == 0:
        return math.nan
    return _smaller_root(0.5 * (W + Z), float(X - Y - Z), float(Y - X)).real
