"""The simulator: numbers of the specification (acceptance 9), and what physics demands of it."""

from __future__ import annotations

import numpy as np
import pytest

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.sem import process
from fieldsight.systems.sem.config import Exposure, Imprint, Recipe, Rules
from fieldsight.systems.sem.layouts import FAMILIES, draw, spaces_stay_open


def bar(size: int = 128, low: int = 40, high: int = 88) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[:, low:high] = True
    return mask


def crossing(profile: np.ndarray, level: float) -> float:
    """Place, in pixels, where a falling profile first goes below a level, between pixel centres."""
    below = int(np.argmax(profile < level))
    a, b = profile[below - 1], profile[below]
    return below - 1 + (a - level) / (a - b) + 0.5


def test_numbers_of_the_specification() -> None:
    assert process.lateral_bias(100.0, 0.85) == pytest.approx(15.0)
    assert process.beam_sigma(12.5) == pytest.approx(5.308, abs=5e-4)
    assert process.beam_sigma(10.0) == pytest.approx(4.247, abs=5e-4)
    assert process.beam_sigma(15.0) == pytest.approx(6.370, abs=5e-4)
    assert process.creep(0.01, 1e6, 5000, 0.02, 0.004) == pytest.approx(4.9373, abs=5e-5)
    assert process.creep(0.1, 1e6, 5000, 0.02, 0.004) == pytest.approx(23.2000, abs=5e-5)
    assert process.creep(0.02, 1e6, 5000, 0.02, 0.0) == pytest.approx(8.0)


def test_creep_goes_over_into_the_maxwell_liquid() -> None:
    assert process.creep(0.02, 1e6, 5000, 0.02, 1e-9) == pytest.approx(
        process.creep(0.02, 1e6, 5000, 0.02, 0.0), rel=1e-6
    )


def test_same_seed_same_bytes_other_seed_other_bytes() -> None:
    pictures = [process.simulate(bar(), 2.0, Recipe(), np.random.default_rng(seed)).sem.tobytes() for seed in (3, 3, 4)]
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


def test_gaussian_matches_a_direct_convolution() -> None:
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(0).random((64, 80)).astype(np.float32)
    ours = process.gaussian(image, (0.7, 3.0), (0.3, 9.0))
    theirs = 0.7 * gaussian_filter(image, 3.0, mode="reflect", truncate=8) + 0.3 * gaussian_filter(
        image, 9.0, mode="reflect", truncate=8
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_gaussian_leaves_its_input_alone() -> None:
    image = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    before = image.copy()
    process.gaussian(image, (1.0, 2.0))
    np.testing.assert_array_equal(image, before)


def test_the_rim_moves_by_the_bias_and_half_height_by_half_of_it() -> None:
    opened = bar(256, 60, 196).astype(np.float32)
    settings = Recipe().etch.replace(lag=0.0)
    depth = process.etch(opened, np.full(opened.shape, 1e6, np.float32), 2.0, settings)
    profile = depth[128, 128:]
    edge = 196 - 128
    assert depth[128, 128] == pytest.approx(100.0, rel=1e-4)
    half = (crossing(profile, 50.0) - edge) * 2.0
    assert half == pytest.approx(7.5, abs=1.5)
    rim = (crossing(profile, 5.0) - edge) * 2.0
    assert 13.0 < rim < 21.0  # 15 nm, smeared by the first-order upwind scheme


def test_anisotropy_one_keeps_walls_straight() -> None:
    opened = bar().astype(np.float32)
    depth = process.etch(opened, np.full(opened.shape, 1e6, np.float32), 2.0, Recipe().etch.replace(anisotropy=1.0))
    assert depth[64, 88:].max() == 0.0


def test_narrow_openings_etch_less_deep() -> None:
    settings = Recipe().etch
    depths = []
    for high in (50, 100):
        opened = bar(128, 40, high).astype(np.float32)
        width = process.cavity_width(opened > 0.5, 2.0, settings.depth)
        depths.append(float(process.etch(opened, width, 2.0, settings)[64, 45]))
    assert depths[0] < depths[1] - 5.0


def test_proximity_correction_brings_edges_together() -> None:
    mask = np.zeros((256, 256), dtype=bool)
    for left in range(10, 120, 26):
        mask[:, left : left + 13] = True
    mask[:, 190:203] = True  # the isolated line
    spreads = []
    for steps in (0, 5):
        dose = process.expose(mask, 2.0, Exposure(pec_steps=steps))
        dense, alone = dose[128, [61, 62, 74, 75]].mean(), dose[128, [189, 190, 202, 203]].mean()
        spreads.append(abs(float(dense - alone)))
    assert spreads[1] < 0.6 * spreads[0]


def test_rough_field_has_unit_variance_and_the_asked_length() -> None:
    fields = [process.rough_field((256, 256), 10.0, 0.6, np.random.default_rng(s)) for s in range(4)]
    assert np.mean([f.var() for f in fields]) == pytest.approx(1.0, rel=0.1)
    near = np.mean([(f[:, :-3] * f[:, 3:]).mean() for f in fields])
    far = np.mean([(f[:, :-60] * f[:, 60:]).mean() for f in fields])
    assert near > 0.6 > 0.2 > abs(far)


def test_line_edge_roughness_has_the_asked_sigma() -> None:
    height = np.tile(np.where(np.arange(256) < 128, 100.0, 0.0), (256, 1)).astype(np.float32)
    height = process.gaussian(height, (1.0, 2.0))
    rough = process.release(height, 2.0, Imprint(ler=3.0, rounding=0.0), np.random.default_rng(0))
    edges = np.array([crossing(row, 50.0) for row in rough]) * 2.0
    assert edges.std() == pytest.approx(3.0, rel=0.35)


def test_noise_free_picture_spans_what_the_specification_says() -> None:
    made = process.simulate(bar(), 2.0, Recipe(), np.random.default_rng(0))
    assert 0.05 < made.clean.min() < 0.25
    assert 0.9 < made.clean.max() < 1.2
    assert (made.clean > 1).mean() < 0.01
    flat = (made.clean[64, 5] * 255.0 - made.sem[40:90, 2:12].astype(float)) / 255.0
    assert flat.std() == pytest.approx(0.025, rel=0.15)


def test_a_blank_field_stays_dark_and_a_full_one_is_bright() -> None:
    levels = [
        process.simulate(np.full((64, 64), value, dtype=bool), 2.0, Recipe(), np.random.default_rng(0)).clean.mean()
        for value in (False, True)
    ]
    assert levels[0] < 0.25 < 0.5 < levels[1]


def test_optional_noises_change_the_picture() -> None:
    for change in ({"electrons": 50.0}, {"charging": 0.1}, {"drift": 8.0}):
        recipe = Recipe().replace(microscope=change)
        plain = process.simulate(bar(), 2.0, Recipe(), np.random.default_rng(0)).sem
        other = process.simulate(bar(), 2.0, recipe, np.random.default_rng(0)).sem
        assert (plain != other).mean() > 0.02


def test_small_and_flat_masks_are_refused() -> None:
    for bad in (np.zeros((8, 64), bool), np.zeros((64, 64, 3), bool)):
        with pytest.raises(DataError, match="at least 16 x 16"):
            process.simulate(bad, 2.0, Recipe(), np.random.default_rng(0))


def test_a_recipe_that_eats_its_resist_is_refused() -> None:
    with pytest.raises(ConfigError, match="resist would be gone"):
        Recipe().replace(etch={"depth": 1000.0})


def test_sampled_recipes_stay_in_the_papers_ranges() -> None:
    rng = np.random.default_rng(0)
    found = [Recipe().sample(rng).exposure for _ in range(200)]
    assert all(10.0 <= e.fwhm <= 15.0 and 180.0 <= e.thickness <= 200.0 for e in found)
    assert np.std([e.threshold for e in found]) == pytest.approx(0.01, rel=0.25)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize(("size", "pixel"), [(64, 4.0), (128, 2.0)])
def test_every_family_draws_masks_that_keep_the_rules(family: str, size: int, pixel: float) -> None:
    for seed in range(3):
        mask = draw(family, size, pixel, Rules(), np.random.default_rng(seed))
        assert mask.shape == (size, size)
        assert 0.04 <= mask.mean() <= 0.8
        assert spaces_stay_open(mask, pixel, 50.0)


def test_a_closed_space_is_noticed() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[:, 10:30] = mask[:, 36:50] = True  # 6 pixels of 4 nm between
    assert not spaces_stay_open(mask, 4.0, 50.0)
    assert spaces_stay_open(mask, 4.0, 20.0)


def test_impossible_rules_say_so() -> None:
    with pytest.raises(DataError, match="No 'sram' layout"):
        draw("sram", 32, 1.0, Rules(min_width=20, max_width=80), np.random.default_rng(0), tries=3)
    with pytest.raises(DataError, match="Did you mean 'rings'"):
        draw("ring", 64, 4.0, Rules(), np.random.default_rng(0))
