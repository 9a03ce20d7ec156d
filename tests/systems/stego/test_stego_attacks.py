"""Attacks: what each does, that it keeps size and repeats, and that names are parsed or refused with a reason."""

from __future__ import annotations

import io
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.stego.attacks import ATTACKS, check_picture, decoded, encoded, parse

Picture = NDArray[np.uint8]

LISTED = ["none", "jpeg-95", "jpeg-90", "jpeg-80", "jpeg-70", "jpeg-60", "jpeg-50", "webp-90", "webp-75"]
LISTED += ["resize-0.9", "resize-0.75", "resize-0.5", "crop-0.9", "crop-0.75", "blur-0.5", "blur-1", "noise-1"]
LISTED += ["noise-2", "noise-5", "bits-7", "bits-6", "lsb-1", "lsb-2", "median-3", "screenshot", "screenshot-jpeg"]


def noise(*shape: int, label: str = "a") -> Picture:
    return rng_for("stego-attacks", label, *shape).integers(0, 256, (*shape, 3), dtype=np.uint8)


def photo() -> Picture:
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:128, 128:256])


def flat(value: int, size: int = 24) -> Picture:
    return np.full((size, size, 3), value, dtype=np.uint8)


def run(name: str, picture: Picture, seed: int = 0) -> Picture:
    (attack,) = parse(name)
    return attack.apply(picture, rng_for("attack", seed))


def psnr(a: Picture, b: Picture) -> float:
    return 10.0 * math.log10(255.0**2 / float(np.mean((a.astype(np.float64) - b) ** 2)))


def test_the_list() -> None:
    assert list(ATTACKS) == LISTED
    assert [name for name, attack in ATTACKS.items() if attack.lossless] == ["none"]
    for name, attack in ATTACKS.items():
        assert attack.name == name
        assert name.startswith(attack.family)
        assert parse(name) == [attack]
    assert (ATTACKS["resize-0.75"].family, ATTACKS["resize-0.75"].strength) == ("resize", 0.75)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 1), (33, 47)])
def test_size_kept_input_untouched_repeatable(size: tuple[int, int]) -> None:
    for name in LISTED:
        picture = noise(*size)
        before = picture.copy()
        result = run(name, picture)
        assert result.shape == picture.shape, name
        assert result.dtype == np.uint8, name
        assert (picture == before).all(), name
        assert not np.shares_memory(result, picture), name
        assert (run(name, picture) == result).all(), name


def test_only_noise_and_lsb_depend_on_chance() -> None:
    picture = photo()
    for name in LISTED:
        same = (run(name, picture, seed=1) == run(name, picture, seed=2)).all()
        assert same == (ATTACKS[name].family not in ("noise", "lsb")), name


def test_none_is_the_lossless_channel_and_the_rest_is_not() -> None:
    picture = noise(40, 40)
    for name in LISTED:
        assert (run(name, picture) == picture).all() == (name == "none"), name


@pytest.mark.parametrize("family", ["jpeg", "webp", "resize", "crop", "blur", "noise", "bits", "lsb"])
def test_listed_strengths_go_from_mild_to_harsh(family: str) -> None:
    picture = photo()
    values = [psnr(picture, attack.apply(picture, rng_for("x"))) for attack in parse(family)]
    assert all(a > b + 0.3 for a, b in pairwise(values))


# ---------------------------------------------------------------------------------------------- one by one


@pytest.mark.parametrize("quality", [95, 83, 50])
def test_jpeg_is_pillows_default(quality: int) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(photo()).save(buffer, format="JPEG", quality=quality)
    assert (run(f"jpeg-{quality}", photo()) == np.asarray(Image.open(buffer))).all()


def test_noise_has_the_sigma_of_its_name() -> None:
    for sigma in (1.0, 2.0, 5.0):
        error = run(f"noise-{sigma:g}", flat(128, 200)).astype(float) - 128.0
        assert error.std() == pytest.approx(math.sqrt(sigma**2 + 1 / 12), rel=0.01)
        assert abs(error.mean()) < 0.05
    assert run("noise-100", flat(0)).min() == 0
    assert run("noise-100", flat(255)).max() == 255


@pytest.mark.parametrize("bits", range(1, 8))
def test_bit_depth_keeps_black_white_and_order(bits: int) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    found = run(f"bits-{bits}", ramp)[..., 0].ravel().astype(int)
    assert len(np.unique(found)) == 2**bits
    assert (found[0], found[-1]) == (0, 255)
    assert (np.diff(found) >= 0).all()
    assert np.abs(found - np.arange(256)).max() <= 127.5 / (2**bits - 1) + 0.5


@pytest.mark.parametrize("bits", [1, 2, 7])
def test_lsb_wipe_keeps_the_high_bits_and_draws_the_low_ones(bits: int) -> None:
    picture = flat(0, 64)
    picture[:] = 0b10101010
    found = run(f"lsb-{bits}", picture)
    assert (found >> bits == picture >> bits).all()
    counts = np.bincount((found & ((1 << bits) - 1)).ravel(), minlength=1 << bits)
    assert counts.min() > 0.5 * picture.size / (1 << bits)


def test_crop_keeps_the_middle_on_mid_grey() -> None:
    picture = noise(40, 20)
    found = run("crop-0.75", picture)
    assert (found[5:35, 2:17] == picture[5:35, 2:17]).all()
    outside = np.ones((40, 20), dtype=bool)
    outside[5:35, 2:17] = False
    assert (found[outside] == 128).all()


def test_blur_is_a_gaussian_of_that_sigma() -> None:
    point = flat(0, 31)
    point[15, 15] = 255
    found = run("blur-1", point)[..., 0].astype(float)
    y, x = np.mgrid[-15:16, -15:16]
    kernel = np.exp(-(x**2 + y**2) / 2.0)
    np.testing.assert_allclose(found, 255.0 * kernel / kernel.sum(), atol=0.52)


def test_median_removes_a_spot() -> None:
    spotted = flat(90)
    spotted[5, 7] = (255, 0, 17)
    assert (run("median-3", spotted) == 90).all()
    assert not (run("blur-0.5", spotted) == 90).all()


@pytest.mark.parametrize(
    "name", [n for n in LISTED if ATTACKS[n].family in ("resize", "blur", "median", "webp", "jpeg")]
)
def test_plain_pictures_stay_plain(name: str) -> None:
    for value in (0, 128, 255):
        assert np.abs(run(name, flat(value)).astype(int) - value).max() <= 1


def test_resize_is_an_area_average_before_it_is_interpolated() -> None:
    checks = np.indices((32, 32)).sum(axis=0) % 2 * 255
    found = run("resize-0.5", np.repeat(checks[..., None], 3, axis=2).astype(np.uint8))
    assert np.abs(found.astype(int) - 128).max() <= 1


def test_screenshot_keeps_greys_grey_and_misses_the_tone_curve() -> None:
    for value in (0, 64, 128, 200, 255):
        expected = round(255.0 * (value / 255.0) ** 1.02)
        assert (run("screenshot", flat(value)) == expected).all()
    red = flat(0)
    red[..., 0] = 255
    assert run("screenshot", red)[0, 0].tolist() != [255, 0, 0]
    assert 25.0 < psnr(photo(), run("screenshot", photo())) < 45.0
    assert (run("screenshot-jpeg", photo()) == run("jpeg-85", run("screenshot", photo()))).all()


# ---------------------------------------------------------------------------------------------- names


def names(text: str) -> list[str]:
    return [attack.name for attack in parse(text)]


def test_parse_names_families_strengths_and_all() -> None:
    assert names("jpeg-90") == ["jpeg-90"]
    assert names("jpeg-83, blur-.8  resize-0.333") == ["jpeg-83", "blur-0.8", "resize-0.333"]
    assert names("jpeg") == ["jpeg-95", "jpeg-90", "jpeg-80", "jpeg-70", "jpeg-60", "jpeg-50"]
    assert names("screenshot") == ["screenshot"]
    assert names("screenshot-jpeg\nNONE") == ["screenshot-jpeg", "none"]
    assert names("all") == LISTED
    assert names("jpeg-90,all,jpeg-90.0,jpeg-090")[:2] == ["jpeg-90", "none"]
    assert len(names("jpeg-90,all")) == len(LISTED)
    assert parse("noise-1.0") == [ATTACKS["noise-1"]]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("jpg-90", "Did you mean 'jpeg-90'"),
        ("jpegs", "Did you mean 'jpeg"),
        ("jpeg--5", "Unknown attack"),
        ("jpeg-nan", "Unknown attack"),
        ("jpeg-1e1", "Unknown attack"),
        ("jpeg-٩", "Unknown attack"),
        ("screenshot-2", "Unknown attack 'screenshot-2'"),
        ("none-1", "Unknown attack"),
        ("jpeg-0", "whole numbers from 1 to 100"),
        ("jpeg-101", "whole numbers from 1 to 100"),
        ("jpeg-90.5", "whole numbers from 1 to 100"),
        ("jpeg-" + "9" * 400, "whole numbers from 1 to 100"),
        ("resize-1", "numbers from 0.05 to 0.99"),
        ("crop-0", "numbers from 0.05 to 0.99"),
        ("noise-0", "numbers from 0.1 to 100"),
        ("bits-8", "whole numbers from 1 to 7"),
        ("median-4", "odd numbers from 3 to 15"),
        ("median-3.5", "odd numbers from 3 to 15"),
        ("", "No attack is named"),
        (" , ,", "No attack is named"),
    ],
)
def test_parse_refuses_with_a_reason(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(word)
    assert said in str(caught.value)


def test_parse_reports_every_problem_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("jpeg-900 none sepia bits-6 noise-0")
    assert len(caught.value.problems) == 3


@settings(max_examples=60, deadline=None)
@given(st.text() | st.from_regex(r"(jpeg|crop|none|screenshot|all|x)?-?[-0-9.e,]*", fullmatch=True))
def test_parse_takes_any_text(text: str) -> None:
    try:
        found = parse(text)
    except ConfigError:
        return
    assert found
    assert len({attack.name for attack in found}) == len(found)
    assert parse(",".join(attack.name for attack in found)) == found


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["resize", "crop", "blur", "noise"]), st.floats(0.1, 0.99))
def test_a_name_gives_the_same_strength_back(family: str, strength: float) -> None:
    (attack,) = parse(f"{family}-{strength!r}")
    assert attack.strength == strength
    assert parse(attack.name) == [attack]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(LISTED), st.integers(1, 12), st.integers(1, 12), st.integers(0, 3))
def test_any_small_picture(name: str, height: int, width: int, seed: int) -> None:
    result = run(name, noise(height, width, label=str(seed)), seed)
    assert result.shape == (height, width, 3)
    assert result.dtype == np.uint8


# ---------------------------------------------------------------------------------------------- bad input


def test_bad_pictures_are_refused() -> None:
    good = noise(4, 4)
    for attack in ATTACKS.values():
        for bad in (good.astype(float), good[..., 0], np.dstack([good, good]), good[:, :0], "x", None):
            with pytest.raises(DataError, match="picture to attack"):
                attack.apply(bad, rng_for("x"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "side"), [("jpeg-90", 65_501), ("webp-90", 16_384), ("screenshot-jpeg", 65_501)])
def test_sides_that_a_format_cannot_hold(name: str, side: int) -> None:
    with pytest.raises(DataError, match="holds sides up to"):
        run(name, np.zeros((1, side, 3), dtype=np.uint8))


def test_files_that_are_none() -> None:
    file = encoded(noise(5, 6), "JPEG")
    assert decoded(file, "JPEG", (5, 6, 3)).shape == (5, 6, 3)
    for wrong in (b"", b"x", file[: len(file) // 2]):
        with pytest.raises(DataError, match="no readable"):
            decoded(wrong, "JPEG", (5, 6, 3))
    with pytest.raises(DataError, match="no readable WEBP"):
        decoded(file, "WEBP", (5, 6, 3))
    with pytest.raises(DataError, match="6x5 pixels, and 5x6 are expected"):
        decoded(file, "JPEG", (6, 5, 3))
    with pytest.raises(DataError, match="can't write"):
        encoded(noise(2, 2), "NOSUCH")


def test_check_picture_returns_what_it_got() -> None:
    picture = noise(2, 3)
    assert check_picture(picture, "x") is picture
