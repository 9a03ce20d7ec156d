"""Classical baselines: the specification's golden numbers (acceptance 9), bounds, capacity, and what bad input says."""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.stego import baselines
from fieldsight.systems.stego.baselines import METHODS, Baseline, DwtAlpha, DwtSvd, Lsb, LsbCodec, SvdKey

Picture = NDArray[np.uint8]

COVER_DB = (51.14, 44.15, 37.92, 31.85, 25.81, 19.79, 13.77)
SECRET_DB = (16.78, 22.80, 28.81, 34.81, 40.73, 46.37, 51.14)

CODECS = [name for name in METHODS if name.startswith(("lsb-codec", "lsb-j2k"))]
PLAIN = [name for name in METHODS if name not in CODECS]


def psnr(a: Picture, b: Picture) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10.0 * math.log10(255.0**2 / error) if error else math.inf


def noise(*shape: int, label: str = "a") -> Picture:
    return rng_for("stego-baselines", label, *shape).integers(0, 256, (*shape, 3), dtype=np.uint8)


def smooth(height: int, width: int, phase: float = 0.0, low: float = 60.0, high: float = 200.0) -> Picture:
    """A picture without hard edges, and without values near black and white unless asked for."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(phase + (c + 1) * 3.0 * x / width + (3 - c) * 2.0 * y / height) for c in range(3)]
    return np.rint(low + (high - low) * (0.5 + 0.5 * np.stack(waves, axis=2))).astype(np.uint8)


def photo(name: str, size: int = 256) -> Picture:
    from skimage import data

    return np.ascontiguousarray(getattr(data, name)()[:size, :size, :3])


def all_pairs() -> tuple[Picture, Picture]:
    """Each of the 65,536 pairs of bytes once, in each channel."""
    cover, secret = np.mgrid[:256, :256].astype(np.uint8)
    return np.repeat(cover[..., None], 3, axis=2), np.repeat(secret[..., None], 3, axis=2)


def give_back(method: Baseline, stego: Picture, cover: Picture, secret: Picture) -> Picture:
    return method.reveal(stego, cover, method.key(secret))


# ---------------------------------------------------------------------------------------------- bits


@pytest.mark.parametrize("bits", range(1, 8))
def test_lsb_exact_expectation_over_all_pairs_of_bytes(bits: int) -> None:
    cover, secret = all_pairs()
    method = Lsb(bits)
    stego = method.hide(cover, secret)
    assert psnr(cover, stego) == pytest.approx(COVER_DB[bits - 1], abs=0.006)
    assert psnr(secret, method.reveal(stego)) == pytest.approx(SECRET_DB[bits - 1], abs=0.006)


@pytest.mark.parametrize("bits", range(1, 8))
def test_lsb_sampled(bits: int) -> None:
    cover, secret = noise(256, 256), noise(256, 256, label="b")
    stego = Lsb(bits).hide(cover, secret)
    assert psnr(cover, stego) == pytest.approx(COVER_DB[bits - 1], abs=0.1)
    assert psnr(secret, Lsb(bits).reveal(stego)) == pytest.approx(SECRET_DB[bits - 1], abs=0.1)


@pytest.mark.parametrize("bits", range(1, 8))
def test_adjusted_lsb_is_the_nearest_byte_with_the_same_low_bits(bits: int) -> None:
    cover, secret = all_pairs()
    plain, adjusted = Lsb(bits).hide(cover, secret), Lsb(bits, adjust=True).hide(cover, secret)
    candidates = np.arange(256)
    for high in range(1 << bits):
        allowed = candidates[candidates % (1 << bits) == high]
        best = np.abs(np.arange(256)[:, None] - allowed).min(axis=1)
        column = high << (8 - bits)
        assert (np.abs(adjusted[:, column, 0].astype(int) - np.arange(256)) == best).all()
    before, after = (np.abs(x.astype(int) - cover) for x in (plain, adjusted))
    assert (after <= before).all()
    inside = (cover >= 1 << bits) & (cover < 256 - (1 << bits))
    assert after[inside].max(initial=0) <= 1 << (bits - 1)
    assert (Lsb(bits).reveal(plain) == Lsb(bits, adjust=True).reveal(adjusted)).all()
    assert bits == 1 or psnr(cover, adjusted) > psnr(cover, plain) + 1.0
    assert bits > 1 or (adjusted == plain).all()


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(1, 7), adjust=st.booleans(), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0)
)
def test_lsb_bounds(bits: int, adjust: bool, height: int, width: int, seed: int) -> None:
    cover, secret = noise(height, width, label=f"c{seed}"), noise(height, width, label=f"s{seed}")
    method = Lsb(bits, adjust)
    kept = (cover.copy(), secret.copy())
    stego = method.hide(cover, secret)
    assert stego.shape == cover.shape
    assert stego.dtype == np.uint8
    assert (cover == kept[0]).all()
    assert (secret == kept[1]).all()
    assert np.abs(stego.astype(int) - cover).max() < 1 << bits
    found = method.reveal(stego)
    assert (found == ((secret >> (8 - bits)) << (8 - bits)) + (1 << (7 - bits))).all()
    assert np.abs(found.astype(int) - secret).max() <= 1 << (7 - bits)


# ---------------------------------------------------------------------------------------------- wavelets


def test_haar_of_the_specification() -> None:
    bands = baselines._haar(np.array([[1.0, 2.0], [3.0, 4.0]])[..., None])
    assert bands.shape == (1, 1, 4, 1)
    assert bands.ravel().tolist() == [5.0, -2.0, -1.0, 0.0]
    assert float((bands**2).sum()) == 30.0


def test_haar_inverts_keeps_energy_and_channels_apart() -> None:
    x = rng_for("haar").random((12, 20, 3))
    bands = baselines._haar(x)
    np.testing.assert_allclose(baselines._unhaar(bands), x, atol=1e-14)
    assert float((bands**2).sum()) == pytest.approx(float((x**2).sum()), rel=1e-12)
    other = x.copy()
    other[..., 0] += 1.0
    assert (baselines._haar(other)[..., 1:] == bands[..., 1:]).all()


@pytest.mark.parametrize("alpha", [0.05, 0.09, 0.2])
def test_dwt_alpha_is_a_sum_in_pixels_and_bounded_by_rounding(alpha: float) -> None:
    cover, secret = smooth(33, 46), noise(33, 46)
    method = DwtAlpha(alpha)
    stego = method.hide(cover, secret)
    expected = cover + alpha * (secret - 127.5)
    assert np.abs(stego - expected).max() <= 0.5 + 1e-9
    error = np.abs(method.reveal(stego, cover).astype(float) - secret)
    assert error.max() <= 0.5 / alpha + 0.5 + 1e-6
    assert error.max() > 0.3 / alpha


def test_dwt_alpha_stands_where_its_docstring_says() -> None:
    cover, secret = smooth(128, 128), noise(128, 128)
    assert psnr(cover, DwtAlpha().hide(cover, secret)) == pytest.approx(31.7, abs=0.15)


def test_dwt_svd_changes_the_cover_by_alpha_times_the_secret() -> None:
    cover, secret = smooth(64, 48, low=90.0, high=150.0), smooth(64, 48, phase=2.0, low=0.0, high=255.0)
    stego = DwtSvd().hide(cover, secret)
    rms = np.sqrt(np.mean((stego.astype(float) - cover) ** 2))
    expected = 0.05 * np.sqrt(np.mean(secret.astype(float) ** 2))
    assert rms == pytest.approx(expected, rel=0.02)
    assert psnr(secret, DwtSvd().reveal(stego, cover, DwtSvd().key(secret))) > 28.0


def test_dwt_svd_finds_the_secret_where_it_never_was() -> None:
    """The false-positive flaw that the docstring warns of."""
    cover, hidden, never = photo("coffee", 192), photo("chelsea", 192), photo("astronaut", 192)
    found = DwtSvd().reveal(DwtSvd().hide(cover, hidden), cover, DwtSvd().key(never))
    assert np.corrcoef(found.ravel(), never.ravel())[0, 1] > 0.7
    assert np.corrcoef(found.ravel(), hidden.ravel())[0, 1] < 0.4


def test_methods_that_are_not_blind_say_what_they_need() -> None:
    cover, secret = smooth(8, 10), noise(8, 10)
    for method in (DwtAlpha(), DwtSvd()):
        stego = method.hide(cover, secret)
        with pytest.raises(DataError, match="without the cover"):
            method.reveal(stego)
        with pytest.raises(DataError, match="cover has 8x10 pixels and must have 10x8"):
            method.reveal(stego, noise(10, 8), method.key(secret))
    with pytest.raises(DataError, match="singular vectors"):
        DwtSvd().reveal(cover, cover)
    for wrong in (DwtSvd().key(noise(10, 8)), DwtSvd().key(noise(8, 12)), SvdKey(np.zeros(3), np.zeros(3))):
        with pytest.raises(DataError, match="key does not fit"):
            DwtSvd().reveal(cover, cover, wrong)


# ---------------------------------------------------------------------------------------------- files in low bits


@pytest.mark.parametrize("name", CODECS)
def test_codec_gives_back_exactly_the_decoded_file(name: str) -> None:
    from PIL import Image

    method = METHODS[name]
    assert isinstance(method, LsbCodec)
    cover, secret = photo("coffee", 128), photo("astronaut", 128)
    stego = method.hide(cover, secret)
    file = baselines._smallest_loss(secret, method.codec, method.capacity(cover.shape), name)
    assert len(file) <= method.capacity(cover.shape)
    assert (method.reveal(stego) == np.asarray(Image.open(io.BytesIO(file)))).all()
    change = np.abs(stego.astype(int) - cover)
    inside = (cover >= 1 << method.bits) & (cover < 256 - (1 << method.bits))
    assert change[inside].max() <= 1 << (method.bits - 1)
    assert (change > 0).sum() <= -(-8 * (8 + len(file)) // method.bits)


def test_codec_takes_the_highest_quality_that_fits() -> None:
    from PIL import Image

    secret, room = photo("astronaut", 128), LsbCodec(1).capacity((96, 96, 3))
    sizes = []
    for quality in range(101):
        buffer = io.BytesIO()
        Image.fromarray(secret).save(buffer, format="WEBP", quality=quality, method=4)
        sizes.append(len(buffer.getvalue()))
    best = max(quality for quality in range(101) if sizes[quality] <= room)
    assert len(baselines._smallest_loss(secret, "WEBP", room, "x")) == sizes[best]
    assert best < 100


@pytest.mark.parametrize("name", CODECS)
def test_codec_is_lossless_where_that_fits(name: str) -> None:
    cover, secret = noise(64, 64), np.full((64, 64, 3), 77, dtype=np.uint8)
    assert (METHODS[name].reveal(METHODS[name].hide(cover, secret)) == secret).all()


def test_codec_beats_four_bits_on_both_sides() -> None:
    """Trap 4 sharpened: compression makes plain replacement a weak baseline."""
    cover, secret = photo("coffee"), photo("astronaut")
    four, one, best = Lsb(4, adjust=True), LsbCodec(1), LsbCodec(2, "JPEG2000")
    stego = {method: method.hide(cover, secret) for method in (four, one, best)}
    assert psnr(cover, stego[one]) > psnr(cover, stego[four]) + 12.0
    assert psnr(cover, stego[best]) > psnr(cover, stego[four]) + 8.0
    assert psnr(secret, one.reveal(stego[one])) > psnr(secret, four.reveal(stego[four]))
    assert psnr(secret, best.reveal(stego[best])) > psnr(secret, four.reveal(stego[four])) + 8.0


def test_capacity_in_bytes() -> None:
    assert [LsbCodec(bits).capacity((256, 256, 3)) for bits in (1, 2, 3)] == [24568, 49144, 73720]
    assert LsbCodec(3).capacity((1, 1, 3)) == 0


@pytest.mark.parametrize("name", CODECS)
def test_codec_names_the_capacity_where_the_secret_is_too_large(name: str) -> None:
    method = METHODS[name]
    assert isinstance(method, LsbCodec)
    for height, width in ((1, 1), (3, 4)):
        secret = noise(height, width)
        with pytest.raises(DataError, match=f"capacity of {method.capacity(secret.shape):,} bytes"):
            method.hide(secret, secret)


def test_codec_refuses_sides_that_webp_cannot_hold() -> None:
    tall = np.zeros((16_384, 1, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="16383"):
        LsbCodec(1).hide(tall, tall)


@pytest.mark.parametrize("name", CODECS)
def test_codec_finds_nothing_in_other_pictures(name: str) -> None:
    method = METHODS[name]
    flat = [np.full((16, 16, 3), value, dtype=np.uint8) for value in (0, 255, 1, 128)]
    pictures = [*flat, noise(1, 1), noise(64, 64), photo("chelsea"), *(noise(5, 5, label=str(i)) for i in range(20))]
    for picture in pictures:
        with pytest.raises(DataError, match=r"No lsb-|fails its checksum"):
            method.reveal(picture)


@pytest.mark.parametrize("name", CODECS)
def test_one_changed_bit_fails_the_checksum(name: str) -> None:
    method = METHODS[name]
    assert isinstance(method, LsbCodec)
    stego = method.hide(noise(64, 64), smooth(64, 64))
    for sample in (40, 70, 100):
        broken = stego.reshape(-1).copy()
        broken[baselines._places(broken.size, 101)[sample]] ^= 1
        with pytest.raises(DataError, match=r"No lsb-|checksum"):
            method.reveal(broken.reshape(stego.shape))
    other = LsbCodec(method.bits % 3 + 1, method.codec)
    with pytest.raises(DataError):
        other.reveal(stego)


@pytest.mark.parametrize("file", [b"junk", b"RIFF\x10\x00\x00\x00WEBPVP8 \x00\x00\x00\x00"])
def test_a_file_with_a_good_checksum_that_is_no_picture(file: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_smallest_loss", lambda *_: file)
    stego = LsbCodec(2).hide(noise(32, 32), noise(32, 32))
    with pytest.raises(DataError, match="no readable WEBP"):
        LsbCodec(2).reveal(stego)


def test_a_hidden_picture_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    file = baselines.encoded(smooth(8, 9), "WEBP", lossless=True)
    monkeypatch.setattr(baselines, "_smallest_loss", lambda *_: file)
    stego = LsbCodec(2).hide(noise(32, 32), noise(32, 32))
    with pytest.raises(DataError, match="9x8 pixels, and 32x32"):
        LsbCodec(2).reveal(stego)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000))
def test_places_visit_each_sample_once_and_evenly(count: int) -> None:
    places = baselines._places(count, count)
    assert sorted(places) == list(range(count))
    if count >= 1000:
        halves = (places[: count // 10] < count // 2).mean()
        assert halves == pytest.approx(0.5, abs=0.06)


# ---------------------------------------------------------------------------------------------- all of them


def test_the_table() -> None:
    assert [name for name, method in METHODS.items() if not method.blind] == ["dwt-alpha", "dwt-svd"]
    assert {f"lsb-{k}" for k in range(1, 8)} | {f"lsb-{k}+" for k in range(1, 8)} <= set(METHODS)
    assert {f"lsb-codec-{k}" for k in (1, 2, 3)} | {f"lsb-j2k-{k}" for k in (1, 2, 3)} <= set(METHODS)
    for name, method in METHODS.items():
        assert method.name == name
        with pytest.raises(dataclasses.FrozenInstanceError):
            method.bits = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", PLAIN)
def test_any_size_and_grey(name: str) -> None:
    method = METHODS[name]
    sizes = [(1, 1), (1, 6), (7, 1), (5, 8), (9, 11)]
    colour = [(noise(*size), noise(*size, label="b")) for size in sizes]
    grey = [tuple(np.repeat(part[..., :1], 3, axis=2) for part in pair) for pair in colour]
    for cover, secret in [*colour, *grey]:
        stego = method.hide(cover, secret)
        found = give_back(method, stego, cover, secret)
        for picture in (stego, found):
            assert picture.shape == cover.shape
            assert picture.dtype == np.uint8
        assert (method.hide(cover, secret) == stego).all()


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [(33, 47), (40, 31)])
def test_codecs_take_odd_sizes_and_grey(name: str, size: tuple[int, int]) -> None:
    cover = np.repeat(noise(*size)[..., :1], 3, axis=2)
    secret = np.repeat(smooth(*size)[..., :1], 3, axis=2)
    stego = METHODS[name].hide(cover, secret)
    assert stego.shape == cover.shape
    assert psnr(secret, METHODS[name].reveal(stego)) > 30.0


def test_blind_methods_look_at_the_stego_picture_only() -> None:
    stego = {name: METHODS[name].hide(noise(48, 48), smooth(48, 48)) for name in METHODS if METHODS[name].blind}
    for name, picture in stego.items():
        assert (METHODS[name].reveal(picture) == METHODS[name].reveal(picture, noise(2, 2))).all()
        assert METHODS[name].key(picture) is None


@pytest.mark.parametrize("name", METHODS)
def test_bad_pictures_are_named(name: str) -> None:
    method, good = METHODS[name], noise(6, 6)
    bad = [good.astype(np.float32), good[..., 0], good[..., :2], np.dstack([good, good]), good[:0], good.tolist(), None]
    for picture in bad:
        with pytest.raises(DataError, match="The cover"):
            method.hide(picture, good)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="The secret"):
            method.hide(good, picture)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="The stego"):
            method.reveal(picture, good, None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="secret has 6x5 pixels and must have 6x6"):
        method.hide(good, noise(5, 6))


def test_parameters_out_of_range() -> None:
    for bits in (0, 8, -1, 2.0, "2", None):
        for kind in (Lsb, LsbCodec):
            with pytest.raises(ConfigError, match="1 to 7"):
                kind(bits)  # type: ignore[arg-type]
    for alpha in (0.0, -0.1, 1.5, math.nan, math.inf, "x"):
        for fusion in (DwtAlpha, DwtSvd):
            with pytest.raises(ConfigError, match="above 0"):
                fusion(alpha)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Did you mean 'JPEG2000'"):
        LsbCodec(1, "JPEG200")  # type: ignore[arg-type]
