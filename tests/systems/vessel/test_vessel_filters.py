"""Vesselness: golden numbers, invariances, and the fast ways against the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tubes import picture

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.vessel import fast, filters, hessian
from fieldsight.systems.vessel.constants import SIGMAS
from fieldsight.systems.vessel.enhancer import Enhancer, Frangi


@pytest.mark.parametrize(
    ("l1", "l2", "expected"),
    [(0, 30, 0.864665), (5, 30, 0.824856), (15, 30, 0.556744), (30, 30, 0.132857), (0, 15, 0.393469), (0, -30, 0),
     (-5, -30, 0), (0, 0, 0), (-5, 30, 0.824856)],
)  # fmt: skip
def test_frangi_of_eigenvalues(l1: float, l2: float, expected: float) -> None:
    found = filters.frangi(np.array([float(l1)]), np.array([float(l2)]))
    assert found[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [(1, 17.889), (2, 35.355), (2.828427, 38.490), (4, 35.777), (8, 22.827)],
)
def test_ridge_of_known_width(sigma: float, expected: float) -> None:
    """Acceptance 2: the response peaks at sqrt(2) times the ridge's width."""
    x = np.arange(-80, 81, dtype=np.float64)
    ridge = np.broadcast_to(200 - 100 * np.exp(-(x**2) / (2 * 2.0**2)), (161, 161))
    _, l2 = hessian.eigenvalues(hessian.hessian(ridge, sigma))
    assert l2[80, 80] == pytest.approx(expected, abs=0.01)


def test_turned_picture_has_turned_vessels() -> None:
    image = picture()
    plain, turned = filters.multiscale(image), filters.multiscale(np.rot90(image))
    assert np.abs(np.rot90(plain.value) - turned.value).max() < 1e-5
    clear = np.rot90(plain.value) > 0.3
    # a quarter turn anticlockwise on the screen, where y runs down, takes a quarter off an angle
    apart = np.rot90(plain.direction)[clear] - np.pi / 2 - turned.direction[clear]
    assert np.abs(np.sin(apart)).max() < 1e-5


def test_inverted_picture_has_bright_vessels() -> None:
    image = picture()
    dark, bright = filters.multiscale(image), filters.multiscale(255 - image, polarity="bright")
    assert np.allclose(dark.value, bright.value, atol=1e-9)
    assert filters.multiscale(255 - image).value[dark.value > 0.5].mean() < 0.05


def test_direction_is_along_the_vessel() -> None:
    y, x = np.mgrid[:81, :81].astype(np.float64) - 40
    for degrees in (-60, -30, 0, 30, 60, 90):
        a = np.deg2rad(degrees)
        away = -np.sin(a) * x + np.cos(a) * y
        tube = 200 - 100 * np.exp(-(away**2) / 8)
        for found in (filters.multiscale(tube), fast.vesselness(tube)):
            assert abs(np.sin(found.direction[40, 40] - a)) < 1e-3
            assert found.scale[40, 40] == 3.0


def test_flat_and_sloping_ground_hold_nothing() -> None:
    """Acceptance 4."""
    flat = np.full((160, 160), 77.0)
    slope = np.broadcast_to(np.arange(160.0), (160, 160))
    inside = slice(55, -55)
    for found in (filters.multiscale, lambda image: fast.vesselness(image)):
        assert found(flat).value.max() < 1e-6
        assert found(slope).value[:, inside].max() < 1e-6
        assert filters.scaled(found(flat).value).max() < 1e-6
    assert Frangi()(torch.from_numpy(flat).float()[None, None]).max() < 1e-6


def test_number_types_agree() -> None:
    image = picture()
    for found in (lambda i: filters.multiscale(i).value, lambda i: fast.vesselness(i).value):
        assert np.abs(found(image) - found(image.astype(np.float32))).max() < 1e-4
        assert np.abs(found(image) - found(image.astype(np.uint16))).max() < 1e-4


@pytest.mark.parametrize("size", [(150, 170), (64, 200), (131, 97), (20, 9)])
@pytest.mark.parametrize("sigmas", [SIGMAS, (1.0, 2**0.5, 2.0, 2**1.5, 4.0, 2**2.5, 8.0), (16.0,), (0.7,)])
def test_fast_equals_reference(size: tuple[int, int], sigmas: tuple[float, ...]) -> None:
    """Acceptance 16 asks for 1e-4."""
    image = picture(*size)
    for polarity in ("dark", "bright"):
        slow, quick = filters.multiscale(image, sigmas, polarity=polarity), fast.vesselness(image, sigmas, polarity)
        assert np.abs(slow.value - quick.value)[~saddles(image, sigmas)].max() < 3e-5
        sure = slow.value > 0.05
        same = sure & np.isclose(slow.scale, quick.scale)
        assert same.sum() >= 0.999 * sure.sum()
        assert sure.any() == (min(size) > 20)
        assert np.abs(np.sin(slow.direction - quick.direction)[same]).max(initial=0) < 1e-2


def test_fast_does_not_depend_on_threads_or_detail() -> None:
    image = picture()
    whole = fast.vesselness(image)
    assert np.array_equal(whole.value, fast.vesselness(image, threads=3).value)
    bare = fast.vesselness(image, detail=False)
    assert np.array_equal(whole.value, bare.value)
    assert bare.scale.size == bare.direction.size == 0


def test_scales_in_any_order() -> None:
    image = picture()
    for made in (filters.multiscale, fast.vesselness):
        one, other = made(image, (1.0, 3.0, 5.0)), made(image, (5.0, 1.0, 3.0, 1.0))
        assert np.array_equal(one.value, other.value)
        assert np.array_equal(one.scale, other.scale)


@pytest.mark.parametrize("sigmas", [(), (0.1,), (float("nan"),), (1.0, 100.0), (-1.0,)])
def test_impossible_scales(sigmas: tuple[float, ...]) -> None:
    for made in (lambda: filters.multiscale(picture(), sigmas), lambda: fast.vesselness(picture(), sigmas)):
        with pytest.raises(ConfigError, match="sigmas"):
            made()


def test_border_makes_no_vessel() -> None:
    """Vertical stripes go on at the mirrored border: it looks like the inside."""
    x = np.arange(121)
    image = np.broadcast_to(150 - 50 * np.cos(2 * np.pi * x / 30), (121, 121))
    value = fast.vesselness(image).value
    assert np.abs(value[0] - value[60]).max() < 1e-4
    bare = np.full((100, 100), 100.0) + 60 * (np.arange(100) < 50)[:, None]
    assert fast.vesselness(bare).value[0].max() < 1e-3


def test_torch_equals_reference() -> None:
    image = picture()
    for polarity in ("dark", "bright"):
        found = Frangi(polarity=polarity)(torch.from_numpy(image).float()[None, None])[0, 0].numpy()
        assert np.abs(found - filters.multiscale(image, polarity=polarity).value).max() < 1e-4
    with pytest.raises(DataError, match="at least 55 pixels"):
        Frangi()(torch.zeros(1, 1, 54, 80))


def test_torch_lets_gradients_through() -> None:
    frames = torch.from_numpy(picture()).float()[None, None].requires_grad_()
    Enhancer("ihs")._fuse(frames, Frangi()(frames)).sum().backward()
    assert frames.grad is not None
    assert torch.isfinite(frames.grad).all()


@pytest.mark.parametrize("measure", ["sato", "meijering", "jerman"])
def test_other_measures_find_the_tubes(measure: str) -> None:
    image = picture()
    value = filters.multiscale(image, measure=measure).value  # type: ignore[arg-type]
    tube = filters.multiscale(image).value > 0.6
    assert value.min() >= 0
    assert value[tube].mean() > 3 * value[~tube].mean()
    assert filters.multiscale(np.full((60, 60), 9.0), measure=measure).value.max() < 1e-6  # type: ignore[arg-type]
    bright = filters.multiscale(255 - image, measure=measure, polarity="bright").value  # type: ignore[arg-type]
    assert np.allclose(value, bright, atol=1e-9)


def test_automatic_strength_is_half_of_the_largest() -> None:
    image = picture().astype(np.float64)
    one = filters.multiscale(image, c="auto").value
    assert np.allclose(one, filters.multiscale(image / 2 + 20, c="auto").value)
    assert one.max() == pytest.approx(1 - np.exp(-2), abs=0.01)


def test_noise_holds_no_clear_vessel() -> None:
    noise = np.random.default_rng(1).normal(128, 4, (200, 200)).clip(0, 255)
    value = fast.vesselness(noise, (3.0, 5.0, 7.0, 9.0)).value
    assert np.array_equal(filters.scaled(value), value)  # too faint to be scaled up
    tubes = fast.vesselness(picture()).value
    assert filters.scaled(tubes).max() == 1.0


@settings(max_examples=25, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.floats(0, 255, width=32)))
def test_any_picture_gives_values_in_range(image: np.ndarray) -> None:
    found = fast.vesselness(image, (1.0, 4.0))
    assert np.isfinite(found.value).all()
    assert found.value.min() >= 0
    assert found.value.max() <= 1
    assert np.isfinite(found.direction).all()
    apart = np.abs(found.value - filters.multiscale(image, (1.0, 4.0)).value)
    assert apart[~saddles(image, (1.0, 4.0))].max(initial=0) < 1e-4


def saddles(image: np.ndarray, sigmas: tuple[float, ...]) -> np.ndarray:
    """Where a scale bends both ways alike: there Frangi's measure jumps, to 0 or from it, and rounding decides."""
    return np.any([np.abs(np.add(*hessian.eigenvalues(hessian.hessian(image, s)))) < 2e-3 for s in sigmas], axis=0)
