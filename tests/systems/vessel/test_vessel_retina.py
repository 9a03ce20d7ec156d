"""The filter on the one real photo: what is checked holds, and would not if the filter were wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldsight.data.images import write_image
from fieldsight.errors import DataError
from fieldsight.systems.vessel import filters, retina
from fieldsight.systems.vessel.retina import Fundus


@pytest.fixture(scope="module")
def small() -> Fundus:
    return retina.fundus(retina.read_retina(), retina.SIDE)


@pytest.fixture(scope="module")
def found() -> retina.RetinaCheck:
    return retina.retina_check()


def test_the_filter_does_on_a_real_photo_what_it_should(found: retina.RetinaCheck) -> None:
    broken = [(c.name, c.value) for c in found.checks if not c.holds]
    assert broken == []
    assert found.holds
    assert len({c.name for c in found.checks}) == 7
    assert found.picture.shape == (512, 3 * 512 + 12, 3)


def test_nothing_is_called_an_accuracy(found: retina.RetinaCheck) -> None:
    told = str(found.to_dict())
    assert "no number here is an accuracy" in told
    assert "self-made reference" in told
    assert "accuracy" not in told.replace("no number here is an accuracy", "")


def test_field_of_view_is_round_and_the_edge_is_far(small: Fundus) -> None:
    assert 0.7 < small.lit.mean() < 0.79  # a disc in its square has pi / 4
    assert 0.4 < small.inside.mean() < 0.55
    assert not (small.inside & ~small.lit).any()
    dark = np.where(small.lit, small.green, np.uint8(0))
    bright = np.where(small.lit, small.green, np.uint8(255))
    apart = np.abs(retina.vessels(dark) - retina.vessels(bright))
    assert apart[small.inside].max() < 1e-3, "what is compared does not know what lies outside of the field"
    assert apart[small.lit & ~small.inside].max() > 0.5


@pytest.fixture(scope="module")
def part(small: Fundus) -> Fundus:
    """The middle, a quarter of the area: the peer is slow."""
    cut = np.s_[128:384, 128:384]
    return Fundus(small.green[cut], small.lit[cut], small.inside[cut])


def test_unrepaired_peer_is_scikit_images_own(part: Fundus) -> None:
    from skimage.filters import frangi

    frame = part.green[:128, :128]
    theirs = frangi(frame, sigmas=filters.SIGMAS, beta=filters.BETA, gamma=filters.C)
    again = retina.skimage_frangi(frame, normalised=False, mode="reflect")
    assert np.abs(theirs - again).max() < 1e-12
    assert np.abs(theirs - retina.skimage_frangi(frame, normalised=True, mode="reflect")).max() > 0.1


def test_repaired_peer_agrees_where_pixels_are_fine_enough(part: Fundus) -> None:
    """At sigma 1, their two derivatives of sigma 0.71 are sampled too coarsely; from 3 on nothing differs."""
    scales, inner = (3.0, 5.0), np.s_[64:-64, 64:-64]  # two derivatives are mirrored twice at the border
    ours, theirs = (filters.multiscale(part.green, scales).value, retina.skimage_frangi(part.green, True, scales))
    assert ours[inner].max() > 0.1
    assert np.abs(ours - theirs)[inner].max() < 1e-4


def test_a_wrong_polarity_is_seen(part: Fundus) -> None:
    wrong = retina.vessels(part.green, "bright")
    assert not retina.agreement(part, wrong).holds
    assert not retina.polarity(part, wrong)[0].holds
    assert not retina.tophat(part, wrong).holds


def test_a_missing_factor_of_the_scale_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retina, "SIDE", 256)
    small, large = (retina.fundus(retina.read_retina(), side) for side in (256, 512))
    value = retina.vessels(small.green)
    assert retina.size(small, large, value).holds

    def bare(frame: np.ndarray, larger: int = 1) -> np.ndarray:
        return retina.skimage_frangi(frame, False, tuple(larger * s for s in filters.SIGMAS))

    monkeypatch.setattr(retina, "vessels", bare)
    monkeypatch.setattr(retina, "CLEAR", 0.05)
    assert retina.size(small, large, bare(small.green)).value < 0.3
    assert not retina.agreement(small, bare(small.green)).holds
    assert not retina.noise(small, 0).holds


def test_rows_and_columns_that_differ_are_seen(small: Fundus, monkeypatch: pytest.MonkeyPatch) -> None:
    value = retina.vessels(small.green)
    real = retina.vessels
    monkeypatch.setattr(retina, "vessels", lambda frame: np.roll(real(frame), 1, axis=0))
    assert not retina.rotation(small, np.roll(value, 1, axis=0)).holds


def test_noise_follows_its_seed(small: Fundus) -> None:
    values = [retina._noisy(small.green, [seed, 0]) for seed in (0, 0, 1)]
    assert np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_a_value_that_is_none_does_not_hold() -> None:
    check = retina.Check("x", float("nan"), -np.inf, np.inf)
    assert not check.holds
    assert dataclasses.replace(check, value=0.0).holds


def test_it_is_written_and_drawn(found: retina.RetinaCheck, tmp_path: Path) -> None:
    written = found.save(tmp_path)
    assert sorted(p.name for p in written) == ["retina.csv", "retina.json", "retina.png"]
    assert all(p.stat().st_size > 0 for p in written)
    assert found.draw() is found.picture


@pytest.mark.parametrize(
    ("made", "piece"),
    [
        (lambda p: p / "none.png", "There is no file"),
        (lambda p: write_image(p / "small.png", np.full((100, 100, 3), 90, np.uint8)), "at least 1024 pixels"),
        (lambda p: write_image(p / "dark.png", np.zeros((1024, 1024, 3), np.uint8)), "no bright round field"),
    ],
)
def test_other_pictures_are_named(made: Any, piece: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        retina.retina_check(made(tmp_path))
    assert piece in str(caught.value)


def test_another_release_of_the_photo_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retina.assets, "locate", lambda name: None)
    with pytest.raises(DataError, match="is another version.*assets fetch scikit-image-retina"):
        retina.read_retina()
