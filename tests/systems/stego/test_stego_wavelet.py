"""Wavelet transforms: Acceptance 2 and 3, PyWavelets' numbers, and the compiled kernels against the torch code."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fieldsight.errors import DataError
from fieldsight.systems.stego import wavelet
from fieldsight.systems.stego.wavelet import DWT, IDWT, ORTHONORMAL, packet, unpacket

#: Ours by PyWavelets' name.
NAMES = {"haar": "haar", "db2": "db2", "db4": "db4", "cdf97": "bior4.4", "legall53": "bior2.2"}
each = pytest.mark.parametrize("name", NAMES)

KERNELS = "fieldsight.systems.stego.kernels"


@pytest.fixture
def torch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernels, whatever was loaded before."""
    monkeypatch.setattr(wavelet, "_kernels", lambda x: None)


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    """The kernels, loaded and so in use."""
    return importlib.import_module(KERNELS)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_torch(function: Any, x: torch.Tensor) -> torch.Tensor:
    """What the torch code gives: it always computes gradients."""
    given = x.detach().clone().requires_grad_()
    found: torch.Tensor = function(given)
    assert found.requires_grad
    return found.detach()


# -------------------------------------------------------------------------------------------- the transform


def test_haar_of_the_specification() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    bands = DWT()(x)
    assert bands.flatten().tolist() == [5, -2, -1, 0]  # LL, LH, HL, HH
    assert float((x**2).sum()) == float((bands**2).sum()) == 30
    assert torch.equal(IDWT()(bands), x)


@each
def test_shapes_and_perfect_reconstruction_of_the_specification(name: Any) -> None:
    x = noise(2, 3, 256, 256)
    bands = DWT(name)(x)
    assert wavelet.bands_last(bands).shape == (2, 128, 128, 4, 3)
    assert torch.equal(wavelet.bands_first(wavelet.bands_last(bands)), bands)
    assert float((IDWT(name)(bands) - x).abs().max()) < 1e-6


@each
def test_colours_stay_apart(name: Any) -> None:
    x = noise(1, 3, 16, 16)
    other = x.clone()
    other[:, 0] += noise(16, 16, seed=1)
    before, after = DWT(name)(x), DWT(name)(other)
    assert torch.equal(before[:, :, 1:], after[:, :, 1:])
    assert not torch.equal(before[:, :, 0], after[:, :, 0])


@pytest.mark.parametrize("name", ORTHONORMAL)
def test_squared_errors_of_bands_are_those_of_pixels(name: Any) -> None:
    x, y = noise(2, 3, 64, 48), noise(2, 3, 64, 48, seed=1)
    pixels = float(((x - y) ** 2).mean())
    bands = float(((DWT(name)(x) - DWT(name)(y)) ** 2).mean())
    assert abs(bands - pixels) / pixels < 1e-5


@each
def test_a_unit_of_every_band_weighs_the_same(name: Any) -> None:
    """Synthesis atoms have the norm 1: what a coefficient's error costs does not depend on the band."""
    impulses = torch.zeros(4, 4, 1, 8, 8, dtype=torch.float64)
    for band in range(4):
        impulses[band, band, 0, 3, 4] = 1
    atoms = IDWT(name)(impulses)
    assert torch.allclose(atoms.flatten(1).norm(dim=1), torch.ones(4, dtype=torch.float64), atol=1e-12)
    # where analysis and synthesis are one, so are their atoms; elsewhere bands are no orthogonal axes
    rotation = DWT(name)(torch.eye(16, dtype=torch.float64).reshape(16, 1, 4, 4)).flatten(1)
    orthogonal = torch.allclose(rotation @ rotation.T, torch.eye(16, dtype=torch.float64), atol=1e-9)
    assert orthogonal == (name in ORTHONORMAL)
    assert (wavelet.gains_of(name) == (1.0, 1.0)) == (name in ORTHONORMAL)


@each
@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (3, 2, 2, 4), (1, 5, 4, 6), (7, 1, 10, 2), (2, 3, 6, 16)])
def test_small_sizes_and_odd_batches_come_back(name: Any, shape: tuple[int, ...]) -> None:
    x = noise(*shape, dtype=torch.float64)
    bands = DWT(name)(x)
    assert bands.shape == (shape[0], 4, shape[1], shape[2] // 2, shape[3] // 2)
    assert torch.allclose(IDWT(name)(bands), x, atol=1e-12)
    assert torch.allclose(by_torch(lambda v: IDWT(name)(DWT(name)(v)), x.float()), x.float(), atol=1e-6)


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(sorted(NAMES)), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_even_size_comes_back(height: int, width: int, name: Any, seed: int) -> None:
    x = noise(1, 2, 2 * height, 2 * width, seed=seed, dtype=torch.float64)
    assert torch.allclose(IDWT(name)(DWT(name)(x)), x, atol=1e-12)


@each
def test_a_shift_by_two_pixels_shifts_bands_by_one(name: Any) -> None:
    x = noise(1, 1, 12, 16, dtype=torch.float64)
    moved = DWT(name)(x.roll((2, -4), (2, 3)))
    assert torch.allclose(moved, DWT(name)(x).roll((1, -2), (3, 4)), atol=1e-12)


@each
def test_flat_pictures_have_no_detail(name: Any) -> None:
    bands = DWT(name)(torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64))
    assert torch.allclose(bands[:, 1:], torch.zeros(1, dtype=torch.float64), atol=1e-9)
    assert float(bands[:, 0].std()) < 1e-12


# ---------------------------------------------------------------------------------------- PyWavelets' numbers

PICTURE = [[0, 5, 10, 4, 9, 3], [7, 4, 1, 9, 6, 3], [6, 6, 6, 6, 6, 6], [8, 0, 3, 6, 9, 1]]

#: pywt.dwt2(PICTURE, name, mode="periodization") of PyWavelets 1.8, rounded: cA, cH, cV, cD.
THEIRS: dict[str, list[list[list[float]]]] = {
    "haar": [
        [[8, 12, 10.5], [10, 10.5, 11]],
        [[-3, 2, 1.5], [2, 1.5, 1]],
        [[-1, -1, 4.5], [4, -1.5, 4]],
        [[-4, 7, 1.5], [-4, 1.5, -4]],
    ],
    "db2": [
        [[5.0559301, 9.8929492, 14.0690699], [12.3525635, 8.2769238, 12.3525635]],
        [[1.489823, -3.4485572, 0.0257214], [2.114823, -5.2475953, 0.0657849]],
        [[-2.2912659, -2.3815699, -3.590304], [-0.1842151, 2.3815699, -2.9342151]],
        [[1.4261207, 4.125, -2.0690699], [-2.4375, 1.375, -4.4195508]],
    ],
    "db4": [
        [[11.9087882, 9.7932994, 10.0262618], [11.5205529, 6.7279186, 12.023179]],
        [[-0.0229648, -2.3247179, -2.0809197], [-0.7907783, 2.3292463, -2.1098656]],
        [[1.4521982, -4.5243691, -2.7771401], [-0.7453024, -3.8166189, 1.4112324]],
        [[1.1586172, -4.7810942, -3.0722012], [7.9042346, -1.2228219, -1.9867345]],
    ],
    "cdf97": [
        [[4.3120022, 11.3524575, 13.3033076], [12.4051911, 8.3174205, 12.309621]],
        [[-2.0466833, 3.5394389, 0.0846138], [-0.6265414, 4.5243069, -0.475135]],
        [[0.6896043, 2.8063548, 3.8491666], [1.423488, -3.0742465, 3.3056328]],
        [[0.1524222, 5.5267271, -2.0659964], [-3.1683192, 1.9753281, -4.4201618]],
    ],
    "legall53": [
        [[1.875, 11.9375, 14.6875], [14.625, 6.6875, 12.1875]],
        [[-3.3125, 4.9375, 0.125], [-1.9375, 5.6875, -0.5]],
        [[1.375, 2.75, 3.875], [1.375, -2.75, 2.375]],
        [[0, 4.125, -1.375], [-2.75, 1.375, -3.375]],
    ],
}


def scaled(name: Any) -> torch.Tensor:
    """What PyWavelets' bands LL, LH, HL, HH are to be multiplied with."""
    low, high = wavelet.gains_of(name)
    return torch.tensor([low * low, low * high, high * low, high * high], dtype=torch.float64)[:, None, None]


@each
def test_numbers_are_those_of_pywavelets(name: Any) -> None:
    x = torch.tensor(PICTURE, dtype=torch.float64)[None, None]
    expected = torch.tensor(THEIRS[name], dtype=torch.float64) * scaled(name)
    assert torch.allclose(DWT(name)(x)[0, :, 0], expected, atol=2e-7)
    assert torch.allclose(DWT(name)(x.float())[0, :, 0].double(), expected, atol=5e-6)


@each
def test_numbers_are_those_of_pywavelets_where_it_is_here(name: Any) -> None:
    pywt = pytest.importorskip("pywt")
    x = noise(2, 3, 18, 34, dtype=torch.float64)
    smooth, details = pywt.dwt2(x.numpy(), NAMES[name], mode="periodization")
    expected = torch.from_numpy(np.stack([smooth, *details], 1)) * scaled(name)[:, None]
    assert torch.allclose(DWT(name)(x), expected, atol=1e-9)


# --------------------------------------------------------------------------------------------------- packets


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_packets_come_back_and_keep_energy(levels: int) -> None:
    x = noise(2, 3, 24, 16, dtype=torch.float64)
    bands = packet(x, levels)
    side = 2**levels
    assert bands.shape == (2, 3 * side * side, 24 // side, 16 // side)
    assert torch.allclose(unpacket(bands, levels), x, atol=1e-12)
    assert float((bands**2).sum()) == pytest.approx(float((x**2).sum()))


def test_a_packet_is_the_transform_of_every_band() -> None:
    x = noise(1, 3, 8, 8)
    once = DWT()(x)
    twice = torch.cat([DWT()(once[:, band]) for band in range(4)], 2)  # the later band counts first
    assert torch.equal(packet(x, 1), once.flatten(1, 2))
    assert torch.equal(packet(x, 2), twice.flatten(1, 2))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_filters_of_a_packet(levels: int) -> None:
    x = noise(2, 3, 16, 24)
    filters = torch.from_numpy(wavelet.packet_filters(levels, 3))
    found = torch.nn.functional.conv2d(x, filters, stride=2**levels)
    assert torch.allclose(found, packet(x, levels), atol=2e-6)
    flat = filters.flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(len(flat)), atol=1e-6)


class Packets(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return unpacket(2 * packet(x, 2), 2)


def test_packets_of_an_exporter_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(2, 3, 8, 12)
    bands, back = packet(x, 2), Packets()(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert wavelet._kernels(x) is None
    assert torch.allclose(packet(x, 2), bands, atol=1e-6)
    assert torch.allclose(Packets()(x), back, atol=2e-6)


@pytest.mark.slow
@each
def test_exports_take_any_size(name: Any) -> None:
    free = torch.export.Dim.DYNAMIC
    for net in (Packets(), nn.Sequential(DWT(name), IDWT(name))):
        program = torch.export.export(net, (noise(2, 3, 8, 12),), dynamic_shapes=({0: free, 2: free, 3: free},))
        named = [str(node.target) for node in program.graph.nodes]
        assert any("aten" in name for name in named)
        assert sum("conv2d" in name for name in named) == 2 * isinstance(net, Packets)
        x = noise(1, 3, 16, 20)
        assert torch.allclose(program.module()(x), net(x), atol=2e-6)


# ------------------------------------------------------------------------------------- gradients and bad input


@each
def test_gradients(name: Any) -> None:
    x = noise(1, 2, 4, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(DWT(name), (x,))
    assert torch.autograd.gradcheck(IDWT(name), (noise(1, 4, 2, 2, 3, dtype=torch.float64).requires_grad_(),))


@each
@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (1, 3, 4, 5), (1, 3, 7, 9)])
def test_odd_sizes_are_refused(name: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=f"{shape[3]} x {shape[2]}"):
        DWT(name)(torch.zeros(shape))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="N, C, H, W"):
        DWT()(torch.zeros(3, 4, 4))
    with pytest.raises(DataError, match="bands"):
        IDWT()(torch.zeros(1, 3, 4, 4))
    with pytest.raises(DataError, match="bands"):
        IDWT("db2")(torch.zeros(1, 3, 2, 4, 4))
    with pytest.raises(DataError, match="5 x 6"):
        packet(torch.zeros(1, 1, 12, 10), 2)


# --------------------------------------------------------------------------------------------------- kernels


@each
@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 3, 2, 4), (1, 2, 4, 6), (3, 1, 34, 70)])
def test_kernels_give_the_bits_of_the_torch_code(kernels: ModuleType, name: Any, shape: tuple[int, ...]) -> None:
    x = noise(*shape) - 0.3
    assert wavelet._kernels(x) is kernels
    bands = DWT(name)(x)
    assert torch.equal(bands, by_torch(DWT(name), x))
    assert torch.equal(IDWT(name)(bands), by_torch(IDWT(name), bands))


def test_kernels_stay_inside_their_arrays(kernels: ModuleType) -> None:
    """Compiled code does not check indices; the same code run by Python does."""
    x = np.random.default_rng(0).random((2, 2, 6, 4)).astype(np.float32)
    found, back = np.empty((2, 4, 2, 3, 2), np.float32), np.empty_like(x)
    kernels.haar.py_func(x, found)
    kernels.unhaar.py_func(found, back)
    assert torch.equal(torch.from_numpy(found), by_torch(DWT(), torch.from_numpy(x)))
    assert np.allclose(back, x, atol=1e-6)
    for name in ("db4", "cdf97", "legall53"):
        ahead, again = DWT(name), IDWT(name)  # type: ignore[arg-type]
        low, high, first = zip(*(wavelet._phase(again.low, again.high, p) for p in (0, 1)), strict=True)
        kernels.analyse.py_func(x, np.float32(ahead.low), np.float32(ahead.high), found)
        kernels.synthesise.py_func(found, np.float32(low), np.float32(high), np.array(first), back)
        assert torch.equal(torch.from_numpy(found), by_torch(ahead, torch.from_numpy(x)))
        assert np.allclose(back, x, atol=1e-6)


def test_kernels_take_views_and_parameters(kernels: ModuleType) -> None:
    x = noise(1, 3, 12, 8)
    for given_ in (x.permute(0, 1, 3, 2), x[:, :, ::2, ::2].flip(3), x.expand(4, 3, 12, 8)):
        assert torch.equal(packet(given_, 1), by_torch(lambda v: packet(v, 1), given_))
        assert torch.equal(unpacket(packet(given_, 1), 1), by_torch(lambda v: unpacket(packet(v, 1), 1), given_))
    with torch.inference_mode():
        found = DWT("db2")(nn.Parameter(x))
    assert torch.equal(found, by_torch(DWT("db2"), x))


def test_packets_by_kernels(kernels: ModuleType) -> None:
    x = noise(2, 3, 16, 24)
    assert torch.equal(packet(x, 3), by_torch(lambda v: packet(v, 3), x))
    assert torch.equal(unpacket(packet(x, 3), 3), by_torch(lambda v: unpacket(packet(v, 3), 3), x))


def test_kernels_keep_out_where_torch_must_see(kernels: ModuleType) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.autograd import forward_ad
    from torch.utils.flop_counter import FlopCounterMode

    x = noise(1, 1, 4, 4)
    assert wavelet._kernels(x) is kernels
    for other in (x.double(), x.to("meta"), x.clone().requires_grad_(), x[:0], x.half()):
        assert wavelet._kernels(other) is None
    with torch.no_grad():
        assert wavelet._kernels(x.clone().requires_grad_()) is kernels
    seen = []

    def look(v: torch.Tensor) -> torch.Tensor:
        seen.append(wavelet._kernels(v))
        return v + 1

    with FlopCounterMode(display=False):
        look(x)
    with forward_ad.dual_level():
        look(forward_ad.make_dual(x, x))
        tangent = forward_ad.unpack_dual(IDWT()(DWT()(forward_ad.make_dual(x, 2 * x)))).tangent
    torch.func.vmap(look)(x[None])
    with FakeTensorMode() as mode:
        look(mode.from_tensor(x))
    assert seen == [None] * 4
    assert tangent is not None
    assert torch.allclose(tangent, 2 * x, atol=1e-6)


def test_kernels_compile_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from fieldsight.compiled import compiled

    asked: list[dict[str, Any]] = []

    def njit(**options: Any) -> Any:
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert compiled(noise) is noise
    assert asked == [{"cache": True, "nogil": True}, {"nogil": True}]


def test_numba_waits_until_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, KERNELS, raising=False)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(wavelet, "_transformed", 0)
    monkeypatch.setattr(wavelet, "PATIENCE", 1600)
    asked: list[str] = []
    monkeypatch.setattr(importlib, "import_module", lambda name: asked.append(name))
    x = noise(1, 1, 10, 10)
    for _ in range(3):
        DWT()(x)
    assert asked == []
    monkeypatch.setitem(sys.modules, "numba", ModuleType("numba"))  # somebody else started it
    assert wavelet._kernels(x) is None
    assert asked == [KERNELS]
    monkeypatch.delitem(sys.modules, "numba")
    for _ in range(20):
        wavelet._kernels(x)
    assert len(asked) == 1 + 9  # from the sixteenth hundred on


@pytest.mark.usefixtures("torch_only")
def test_torch_alone_does_it_all() -> None:
    x = noise(1, 3, 8, 8)
    for name in NAMES:
        assert torch.allclose(IDWT(name)(DWT(name)(x)), x, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(unpacket(packet(x, 2), 2), x, atol=1e-6)
