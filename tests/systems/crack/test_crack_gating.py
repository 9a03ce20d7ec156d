"""What the gate sees of small and large photos: windows of its training's size, and the mean of their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.systems.crack.config import PRESETS
from fieldsight.systems.crack.data import GateItems
from fieldsight.systems.crack.gating import of_picture, pieces, weigh, weigh_cells, windows
from fieldsight.systems.crack.options import PredictOptions
from fieldsight.systems.crack.predict import CrackModel

NATIVE = PRESETS["tiny"]


class Bright:
    """A gate that trusts its first expert by how bright a window is; it keeps the windows' shapes."""

    names = ("first", "second")

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def weights(self, image: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(image.shape))
        first = torch.sigmoid(image.mean(dim=(1, 2, 3)))
        return torch.stack([first, 1 - first], dim=1)

    def expert(self, name: str, image: torch.Tensor) -> torch.Tensor:
        raise AssertionError(name)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([32, 64, 96, 128]))
def test_windows_cover_a_view_and_are_no_larger_than_asked(rows: int, columns: int, side: int) -> None:
    height, width = 32 * rows, 32 * columns
    view = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width).expand(1, 3, -1, -1)
    corners, found = windows(view, side)
    assert found.shape == (len(corners), 3, min(side, height), min(side, width))
    seen = np.zeros((height, width), int)
    for (top, left), one in zip(corners, found, strict=True):
        seen[top : top + one.shape[1], left : left + one.shape[2]] += 1
        assert one[0, 0, 0] == view[0, 0, top, left]
    assert seen.min() >= 1
    assert len(corners) == -(-height // side) * -(-width // side)  # no more than needed


def test_a_photo_of_the_training_size_is_one_window() -> None:
    gate, view = Bright(), torch.randn(1, 3, 128, 128)
    assert weigh(gate, view, 128) == pytest.approx(gate.weights(view)[0].numpy())
    assert gate.shapes[0] == (1, 3, 128, 128)


def test_a_larger_view_gets_the_mean_of_its_windows() -> None:
    """Half bright, half dark: neither is sure of the other, and the whole's mean would say nothing of them."""
    view = torch.full((1, 3, 128, 256), 4.0)
    view[..., 128:] = -2.0
    wanted = (torch.sigmoid(torch.tensor([4.0, -2.0]))).mean()
    assert weigh(Bright(), view, 128)[0] == pytest.approx(float(wanted), abs=1e-6)


def test_a_gate_is_as_sure_of_a_large_photo_of_one_kind_as_of_a_small_one() -> None:
    small = torch.full((1, 3, 64, 64), 2.0)
    large = torch.full((1, 3, 512, 512), 2.0)
    assert weigh(Bright(), small, 64) == pytest.approx(weigh(Bright(), large, 64), abs=1e-6)


def test_cells_of_a_large_photo_have_weights_of_their_own() -> None:
    picture = np.zeros((600, 1100, 3), np.uint8)
    picture[:, 580:] = 255
    found = weigh_cells(Bright(), of_picture(picture), 128)
    assert found.shape == (2, 4, 2)
    assert (np.diff(found[..., 0], axis=1) >= 0).all()
    assert found[0, 0, 0] < 0.2 < 0.8 < found[0, -1, 0]
    assert found.sum(axis=-1) == pytest.approx(1.0)


def test_pieces_cover_a_photo_once() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (530, 1030, 3), dtype=np.uint8)
    seen = np.zeros(picture.shape[:2], int)
    for (rows, columns), view in pieces(of_picture(picture), NATIVE):
        seen[rows, columns] += 1
        assert view.shape[2] % 32 == view.shape[3] % 32 == 0
        assert view.shape[2] - (rows.stop - rows.start) < 32
    assert (seen == 1).all()
    squashed = NATIVE.replace(fit="squash", input=64)
    ((place, view),) = pieces(of_picture(picture), squashed)
    assert place == (slice(0, 530), slice(0, 1030))
    assert view.shape == (1, 3, 64, 64)


@pytest.mark.parametrize(("route", "cells"), [("auto", (2, 4)), ("tile", (2, 4)), ("image", (1, 1))])
def test_one_choice_for_a_large_photo_goes_by_the_mean_of_its_cells(route: Any, cells: tuple[int, int]) -> None:
    model = CrackModel.create(NATIVE)
    picture = np.random.default_rng(1).integers(0, 256, (600, 1100, 3), dtype=np.uint8)
    options = PredictOptions(route=route)
    found = model.route(of_picture(picture), options, model.engine(options))
    assert found.gate.shape == (*cells, 2)
    tiled = weigh_cells(model.engine(options), of_picture(picture), model.gate_side)
    assert found.gate.mean(axis=(0, 1)) == pytest.approx(tiled.mean(axis=(0, 1)), abs=1e-6)


def test_the_gate_learns_from_windows_at_the_photos_own_scale() -> None:
    """A photo larger than the gate's square is cut, not shrunk: prediction looks at it window by window, too."""
    picture = np.random.default_rng(2).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    items = GateItems([lambda: picture], np.ones((1, 2), np.float32), NATIVE, 128, augmented=False)
    rng = np.random.default_rng(3)
    shown = [items.item(0, rng)["image"] for _ in range(4)]
    assert all(one.shape == (3, 128, 128) for one in shown)
    assert not torch.equal(shown[0], shown[1])
    # a window is found in the photo as it is: its first pixel's row of 128 values occurs there
    first = (shown[0][0, 0].numpy() * 0.229 + 0.485) * 255
    rows = np.lib.stride_tricks.sliding_window_view(picture[..., 0].astype(np.float64), 128, axis=1)
    assert np.abs(rows - first).max(axis=-1).min() < 0.01
    small = GateItems([lambda: picture[:100, :90]], np.ones((1, 2), np.float32), NATIVE, 128, augmented=False)
    one = small.item(0, rng)["image"]
    assert torch.equal(one[:, 100:], one[:, 72:100].flip(1))  # mirrored
    squashed = NATIVE.replace(fit="squash", input=64)
    whole = GateItems([lambda: picture], np.ones((1, 2), np.float32), squashed, 64, False).item(0, rng)["image"]
    assert whole.shape == (3, 64, 64)
