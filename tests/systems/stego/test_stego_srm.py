"""The trainable detector: kernels by their definitions, the network's shape, a toy task, bad input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray

from fieldsight import progress
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.stego import srm
from fieldsight.systems.stego.roc import auc
from fieldsight.systems.stego.srm import SrmNet, scores, srm_kernels, train_detector

Array = NDArray[Any]


def texture(seed: int, side: int = 48) -> Array:
    rng = rng_for(seed, "texture")
    smooth = ndi.gaussian_filter(rng.normal(size=(side, side, 3)), (2, 2, 0))
    return np.clip(smooth / smooth.std() * 30 + 128, 0, 255).astype(np.uint8)


def embedded(picture: Array, seed: int) -> Array:
    return (picture & 254) | rng_for(seed, "bits").integers(0, 2, picture.shape, dtype=np.uint8)


class Descent:
    """Plain gradient descent instead of AdamW, whose first use imports a compiler for seconds."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float, weight_decay: float) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": lr}]

    def zero_grad(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter -= self.param_groups[0]["lr"] * parameter.grad


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim, "AdamW", Descent)


@pytest.fixture(scope="module")
def pairs() -> tuple[list[Array], list[Array]]:
    covers = [texture(i) for i in range(20)]
    return covers, [embedded(cover, i) for i, cover in enumerate(covers)]


# ---------------------------------------------------------------------------------------------------- kernels


def test_thirty_distinct_kernels_without_mean() -> None:
    kernels = srm_kernels()
    assert kernels.shape == (30, 5, 5)
    assert kernels.dtype == np.float32
    assert np.abs(kernels.sum(axis=(1, 2))).max() < 1e-6
    assert len(np.unique(kernels.reshape(30, 25), axis=0)) == 30
    assert np.abs(kernels[:, 2, 2]) == pytest.approx(1.0)


def test_kernels_by_their_definitions() -> None:
    kernels = srm_kernels()
    assert kernels[0, 2].tolist() == [0, 0, -1, 1, 0]  # first order, to the right
    assert kernels[2, :, 2].tolist() == [0, 1, -1, 0, 0]  # first order, upwards
    assert kernels[8, 2] == pytest.approx([0, 0.5, -1, 0.5, 0])
    assert np.diag(kernels[11]) == pytest.approx([0, 0.5, -1, 0.5, 0])
    assert kernels[12, 2] == pytest.approx([0, 1 / 3, -1, 1, -1 / 3])
    assert kernels[20, 1:4, 1:4] * 4 == pytest.approx(np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]))
    assert kernels[21, 3:].tolist() == [[0.0] * 5] * 2
    assert kernels[25, 0] * 12 == pytest.approx([-1, 2, -2, 2, -1])
    assert kernels[25, 2] * 12 == pytest.approx([-2, 8, -12, 8, -2])
    assert kernels[26, 2] * 12 == pytest.approx([-2, 8, -12, 8, -2])
    assert kernels[26, 3:].tolist() == [[0.0] * 5] * 2


@pytest.mark.parametrize(
    "group", [slice(0, 8), slice(8, 12), slice(12, 20), slice(20, 21), slice(21, 25), slice(25, 26), slice(26, 30)]
)
def test_each_group_is_closed_under_quarter_turns(group: slice) -> None:
    kernels = srm_kernels()[group]
    turned = np.rot90(kernels, axes=(1, 2))
    assert np.allclose(np.unique(kernels.reshape(-1, 25), axis=0), np.unique(turned.reshape(-1, 25), axis=0))


@pytest.mark.parametrize(("order", "group"), [(1, slice(8, 20)), (2, slice(12, 20)), (0, slice(0, 30))])
def test_kernels_annihilate_polynomials(order: int, group: slice) -> None:
    rows, columns = np.mgrid[-2:3, -2:3]
    for power in range(order + 1):
        surface = (rows + 2.0 * columns) ** power
        assert np.abs((srm_kernels()[group] * surface).sum(axis=(1, 2))).max() < 1e-5


# ---------------------------------------------------------------------------------------------------- network


def test_residuals_are_truncated_and_zero_on_flat_pictures() -> None:
    net = SrmNet(4)
    assert net.residuals(torch.full((1, 3, 9, 7), 200.0)).abs().max() < 1e-3  # at the border too
    noisy = net.residuals(torch.randint(0, 256, (2, 3, 16, 16), generator=torch.manual_seed(0)).float())
    assert noisy.shape == (2, 90, 16, 16)
    assert noisy.abs().max() == 3.0


def test_residuals_equal_correlation_with_the_kernels() -> None:
    picture = texture(1, 12).astype(np.float64)
    found = SrmNet(4).residuals(torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float32)))[0].numpy()
    for channel in range(3):
        for k, kernel in enumerate(srm_kernels()):
            wanted = np.clip(ndi.correlate(picture[..., channel], kernel.astype(np.float64), mode="nearest"), -3, 3)
            assert np.allclose(found[30 * channel + k], wanted, atol=1e-4)


def test_size_outputs_and_gradients() -> None:
    net = SrmNet()
    assert sum(p.numel() for p in net.parameters()) == 73281
    assert 30_000 < sum(p.numel() for p in SrmNet(11).parameters()) < sum(p.numel() for p in SrmNet(20).parameters())
    assert "kernels" not in net.state_dict()
    net(torch.rand(4, 3, 20, 17) * 255).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    net.eval()
    for size in ((1, 1), (2, 5), (33, 16)):
        assert net(torch.rand(2, 3, *size)).shape == (2,)
    with pytest.raises(ConfigError):
        SrmNet(0)


# --------------------------------------------------------------------------------------------------- training


@pytest.mark.slow
def test_detector_learns_replaced_bits_of_unseen_textures(pairs: tuple[list[Array], list[Array]]) -> None:
    covers, stegos = pairs
    net = train_detector(covers[:12], stegos[:12], steps=40, batch=8, crop=32, width=6)
    assert auc(scores(net, covers[12:]), scores(net, stegos[12:])) > 0.95


def test_training_moves_weights_and_tells_its_steps(cheap: None, pairs: tuple[list[Array], list[Array]]) -> None:
    seen: list[tuple[int, int | None]] = []
    with progress.watching(lambda label, done, total, remark: seen.append((done, total))):
        net = train_detector(*pairs, steps=4, batch=4, crop=16, width=2)
    assert not net.training
    assert seen[3] == (4, 4)
    once = train_detector(*pairs, steps=1, batch=4, crop=16, width=2)
    assert not torch.equal(net.head.weight, once.head.weight)


def test_same_seed_same_weights_and_the_global_generator_is_left_alone(
    cheap: None,
    pairs: tuple[list[Array], list[Array]],
) -> None:
    options = {"steps": 2, "batch": 4, "crop": 16, "width": 2}
    before = torch.random.get_rng_state()
    first = train_detector(*pairs, seed=3, **options).state_dict()  # type: ignore[arg-type]
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    again = train_detector(*pairs, seed=3, **options).state_dict()  # type: ignore[arg-type]
    other = train_detector(*pairs, seed=4, **options).state_dict()  # type: ignore[arg-type]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_a_cover_and_its_own_stego_share_a_batch_and_a_crop(pairs: tuple[list[Array], list[Array]]) -> None:
    batch = srm._paired_batch(*pairs, 8, 24, 0, 5)
    assert batch.shape == (8, 3, 24, 24)
    difference = np.abs(batch[1::2] - batch[0::2])
    assert difference.max() == 1.0
    assert 0.4 < difference.mean() < 0.6
    assert not np.array_equal(batch[0], batch[2])
    assert np.array_equal(batch, srm._paired_batch(*pairs, 8, 24, 0, 5))
    assert not np.array_equal(batch, srm._paired_batch(*pairs, 8, 24, 0, 6))


def test_a_batch_larger_than_the_set(pairs: tuple[list[Array], list[Array]]) -> None:
    assert srm._paired_batch(pairs[0][:3], pairs[1][:3], 10, 16, 0, 0).shape == (10, 3, 16, 16)


def test_learning_rate_rises_then_falls() -> None:
    course = [srm._one_cycle(step, 100) for step in range(100)]
    assert course.index(max(course)) in (9, 10)
    assert course[0] == pytest.approx(0.1)
    assert 0.0 < course[-1] < 0.001
    assert srm._one_cycle(0, 1) == 1.0


# ----------------------------------------------------------------------------------------------------- scoring


def test_scores_of_large_pictures_are_means_over_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    net, picture = SrmNet(2), texture(5, 40)
    monkeypatch.setattr(srm, "TILE", 20)
    whole = scores(net, [picture])
    parts = scores(net, [picture[r : r + 20, c : c + 20] for r in (0, 20) for c in (0, 20)])
    assert whole[0] == pytest.approx(parts.mean(), abs=1e-6)
    assert net.training  # the mode is given back
    assert sum(tile.size for tile in srm._tiles(texture(5, 47))) == 47 * 47 * 3


def test_scores_do_not_depend_on_company(pairs: tuple[list[Array], list[Array]]) -> None:
    net = SrmNet(2)
    assert scores(net, pairs[0][:3])[2] == scores(net, [pairs[0][2]])[0]
    assert scores(net, []).shape == (0,)


@pytest.mark.parametrize(
    "wrong", [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 3), np.float32), np.zeros((0, 20, 3), np.uint8)]
)
def test_other_pictures_are_refused(wrong: Array) -> None:
    with pytest.raises(DataError):
        scores(SrmNet(2), [wrong])
    with pytest.raises(DataError):
        train_detector([wrong], [wrong], steps=1, crop=16)


def test_pairs_that_do_not_match_are_refused() -> None:
    picture = texture(0, 20)
    for covers, stegos in (([], []), ([picture], []), ([picture], [texture(0, 24)]), ([picture], [picture])):
        with pytest.raises(DataError):
            train_detector(covers, stegos, steps=1, crop=22)


def test_all_wrong_options_are_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        train_detector([], [], steps=0, batch=3, crop=4, lr=float("nan"), weight_decay=-1.0)
    assert len(caught.value.problems) == 5
