"""The out-of-fold table: who saw what, how a photo is scored, and what becomes of the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight import progress
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack.mixing import hard_labels, sharpened, soft_labels
from fieldsight.systems.crack.oof import Row, Table, assign_folds, load_table, out_of_fold, score
from fieldsight.systems.crack.sample import Sample
from fieldsight.systems.crack.tables import shown

SIDE = 24


def _samples(groups: int = 12, each: int = 3, blank: tuple[int, ...] = ()) -> list[Sample]:
    """Photos of random masks, a number of crops a group; groups listed in ``blank`` have no crack."""
    found = []
    for g in range(groups):
        for k in range(each):
            share = 0.0 if g in blank else (g + 1) / 50
            mask = rng_for("oof test", g, k).random((SIDE, SIDE)) < share
            photo = np.zeros((SIDE, SIDE, 3), np.uint8)
            found.append(Sample(f"{g:02d}-{k}", f"{g:02d}", "train", "asphalt", photo.copy, mask.copy))
    return found


def _pixels(samples: list[Sample]) -> list[int]:
    return [int(s.mask().sum()) for s in samples]


# ---------------------------------------------------------------------------------------------------- folds


def test_folds_keep_groups_together_and_are_alike_in_crack() -> None:
    samples = _samples(40, 3)
    folds = np.array(assign_folds(samples, 5, 42, _pixels(samples)))
    by_group = {s.group: set() for s in samples}  # type: dict[str, set[int]]
    for sample, fold in zip(samples, folds, strict=True):
        by_group[sample.group].add(int(fold))
    assert all(len(found) == 1 for found in by_group.values())
    amounts = {g: sum(p for s, p in zip(samples, _pixels(samples), strict=True) if s.group == g) for g in by_group}
    edges = np.quantile(list(amounts.values()), [0.25, 0.5, 0.75])
    for fold in range(5):
        assert (folds == fold).sum() == 24
        own = [amounts[g] for g, found in by_group.items() if found == {fold}]
        quartiles = np.searchsorted(edges, own, side="right")
        assert np.bincount(quartiles, minlength=4).tolist() == [2, 2, 2, 2]


def test_folds_depend_on_the_seed_alone() -> None:
    samples = _samples()
    pixels = _pixels(samples)
    assert assign_folds(samples, 4, 1, pixels) == assign_folds(samples, 4, 1, pixels)
    assert assign_folds(samples, 4, 1, pixels) != assign_folds(samples, 4, 2, pixels)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.lists(st.integers(1, 4), min_size=6, max_size=20), st.integers(0, 99))
def test_every_fold_gets_groups_whatever_their_sizes(count: int, sizes: list[int], seed: int) -> None:
    mask = np.ones((4, 4), bool)
    samples = [
        Sample(f"{g}-{k}", str(g), "train", "", mask.copy, mask.copy)
        for g, size in enumerate(sizes)
        for k in range(size)
    ]
    folds = assign_folds(samples, count, seed, rng_for(seed).integers(0, 99, len(samples)).tolist())
    assert set(folds) == set(range(count))
    groups = [len({s.group for s, f in zip(samples, folds, strict=True) if f == fold}) for fold in range(count)]
    assert max(groups) - min(groups) <= 1


def test_fewer_groups_than_folds_say_so() -> None:
    samples = _samples(3)
    with pytest.raises(DataError, match=r"3 groups of photos can't make 5 folds.*oof\.folds=3"):
        assign_folds(samples, 5, 0, _pixels(samples))


# ---------------------------------------------------------------------------------------------------- table


def test_every_photo_is_scored_once_by_copies_that_never_saw_its_group() -> None:
    samples = _samples()
    seen: dict[tuple[str, int], list[Sample]] = {}

    def fit_copy(name: str, kept: list[Sample], fold: int) -> Any:
        seen[name, fold] = kept
        return lambda sample: np.full((SIDE, SIDE), 0.6 if name == "yes" else 0.4, np.float32)

    table = out_of_fold(samples, ("yes", "no"), 4, 42, "fpr", fit_copy)
    assert [row.id for row in table.rows] == [s.id for s in samples]
    assert set(seen) == {(e, f) for e in ("yes", "no") for f in range(4)}
    for row in table.rows:
        for name in ("yes", "no"):
            kept = seen[name, row.fold]
            assert row.id not in {s.id for s in kept}
            assert row.group not in {s.group for s in kept}
            # all others were there: nothing is held out for nothing
            assert len(kept) == sum(r.fold != row.fold for r in table.rows)
    assert all(row.scores["no"] == 0.0 for row in table.rows)
    shares = [row.crack_pixels / SIDE**2 for row in table.rows]
    assert [row.scores["yes"] for row in table.rows] == pytest.approx(shares)


def test_an_expert_that_learns_by_heart_gains_nothing_out_of_fold() -> None:
    samples = _samples()

    def fit_copy(name: str, kept: list[Sample], fold: int) -> Any:
        known = {s.id: s.mask() for s in kept}
        share = float(np.mean([m.mean() for m in known.values()]))

        def predictor(sample: Sample) -> Any:
            guess = rng_for("guess", sample.id).random((SIDE, SIDE)) < share
            return known.get(sample.id, guess).astype(np.float32)

        inside = [score(predictor(s) >= 0.5, s.mask(), "fpr")[0] for s in kept]
        assert inside == [1.0] * len(kept)
        return predictor

    table = out_of_fold(samples, ("memory",), 4, 42, "fpr", fit_copy)
    share = np.mean([row.crack_pixels for row in table.rows]) / SIDE**2
    own = np.array([row.crack_pixels for row in table.rows]) / SIDE**2
    chance = own * share / (own + share - own * share)  # of two independent masks
    assert table.means()["memory"] == pytest.approx(float(chance.mean()), abs=0.03)
    assert table.matrix().max() < 0.5


def test_a_fold_without_crack_is_noted_and_all_folds_but_one_are_refused() -> None:
    samples = _samples(3, blank=(0, 1))
    said: list[str] = []

    def fit_copy(name: str, kept: list[Sample], fold: int) -> Any:
        return lambda sample: np.zeros((SIDE, SIDE), np.float32)

    with (
        progress.watching(progress.silent, said.append),
        pytest.raises(DataError, match="hold no crack at all: nothing"),
    ):
        out_of_fold(samples, ("a",), 3, 0, "fpr", fit_copy)
    samples = _samples(4, blank=(0, 1))
    with progress.watching(progress.silent, said.append):
        table = out_of_fold(samples, ("a",), 4, 0, "fpr", fit_copy)
    assert sum("holds no crack at all" in text for text in said) >= 2
    assert [row.scores["a"] for row in table.rows if row.group in ("00", "01")] == [1.0] * 6  # no false pixel


def test_scores_of_the_specification() -> None:
    truth, found = np.zeros((2, 1000), bool)
    truth[:50], found[20:60] = True, True  # tp 30, fp 10, fn 20
    value, side = score(found, truth, "fpr")
    assert value == 0.5
    assert side == {"prec": 0.75, "rec": 0.6, "f1": pytest.approx(2 / 3), "n_pred_pixels": 40}
    nothing = np.zeros(1000, bool)
    assert score(nothing, truth, "fpr") == (0.0, {"prec": 0.0, "rec": 0.0, "f1": 0.0, "n_pred_pixels": 0})
    assert score(found, nothing, "fpr")[0] == pytest.approx(0.96)
    assert score(nothing, nothing, "fpr")[0] == 1.0
    assert math.isnan(score(found, nothing, "drop")[0])


def test_rows_of_zeros_have_an_even_target_and_no_best_expert() -> None:
    scores = np.array([[0.0, 0.0, 0.0], [0.66, 0.71, 0.63]])
    assert soft_labels(scores)[0].tolist() == pytest.approx([1 / 3] * 3)
    assert sharpened(scores)[0].tolist() == pytest.approx([1 / 3] * 3)
    index, counts = hard_labels(scores)
    assert counts.tolist() == [0.0, 1.0]
    assert index[1] == 1
    table = Table(
        ("a", "b", "c"),
        tuple(Row(str(n), "", "", 0, 5, dict(zip("abc", r, strict=True))) for n, r in enumerate(scores)),
    )
    assert shown(table).facts == {"photos": 2, "left out": 0, "all score 0": 1}
    assert [row["best on"] for row in shown(table).rows] == ["0%", "100%", "0%"]


def test_photos_that_are_left_out_do_not_count_in_the_means() -> None:
    rows = tuple(Row(str(n), "", "", 0, 5, {"a": a, "b": 0.5}) for n, a in enumerate((0.2, math.nan, 0.6)))
    found = shown(Table(("a", "b"), rows))
    assert found.facts["left out"] == 1
    assert [row["mean IoU"] for row in found.rows] == [0.4, 0.5]
    blank = shown(Table(("a",), tuple(Row(str(n), "", "", 0, 0, {"a": math.nan}) for n in range(2))))
    assert blank.rows[0]["mean IoU"] is None


# ---------------------------------------------------------------------------------------------------- file

_TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12)
_SCORE = st.one_of(st.floats(0, 1), st.just(math.nan))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["cen", "my_net", "ünet", "a b"]), min_size=1, max_size=4, unique=True),
    st.lists(
        st.tuples(_TEXT, _TEXT, st.integers(-1, 9), st.integers(0, 10**7), _SCORE), max_size=5, unique_by=lambda t: t[0]
    ),
)
def test_tables_come_back_from_their_file(
    tmp_path_factory: pytest.TempPathFactory, experts: list[str], rows: list[tuple[str, str, int, int, float]]
) -> None:
    table = Table(
        tuple(experts),
        tuple(
            Row(i, g, "road", fold, n, dict.fromkeys(experts, v), {f"prec_{experts[0]}": v})
            for i, g, fold, n, v in rows
        ),
    )
    path = table.save(tmp_path_factory.mktemp("table") / "oof.csv")
    again = load_table(path)
    assert again.experts == table.experts
    assert [(r.id, r.group, r.domain, r.fold, r.crack_pixels) for r in again.rows] == [
        (i, g, "road", fold, n) for i, g, fold, n, _ in rows
    ]
    np.testing.assert_allclose(again.matrix(), table.matrix(), atol=1e-6, equal_nan=True)
    for mine, theirs in zip(table.rows, again.rows, strict=True):
        np.testing.assert_allclose(theirs.side[f"prec_{experts[0]}"], mine.side[f"prec_{experts[0]}"], atol=1e-6)
    assert load_table(again.save(path)).to_csv() == again.to_csv()


GOOD = "image_id,fold,group,domain,n_gt_pixels,iou_a\n"


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("", "lacks image_id"),
        ("image_id,fold\n1,2\n", "lacks group, n_gt_pixels"),
        ("image_id,fold,group,n_gt_pixels\n1,2,3,4\n", "columns iou_"),
        (GOOD + "x,0,g,road,5,1.2\n", "0 to 1 is allowed"),
        (GOOD + "x,0,g,road,5,-0.1\n", "0 to 1 is allowed"),
        (GOOD + "x,0,g,road,5,inf\n", "0 to 1 is allowed"),
        (GOOD + "x,0,g,road,5,high\n", "Can't read"),
        (GOOD + "x,zero,g,road,5,0.2\n", "Can't read"),
        (GOOD + "x,0,g\n", "Can't read"),
        (GOOD + "x,0,g,road,5,0.2,0.3\n", "more cells than the header"),
        (GOOD + "x,0,g,road,5,0.2\nx,1,g,road,5,0.2\n", "'x' twice"),
        (GOOD.replace("iou_a", "iou_a,iou_a") + "x,0,g,road,5,0.2,0.2\n", "a column twice"),
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, text: str, piece: str) -> None:
    path = tmp_path / "oof.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=piece):
        load_table(path)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 4)
    for name in ("binary.csv", "absent.csv", "."):
        with pytest.raises(DataError, match="oof|Can't read"):
            load_table(tmp_path / name)


def test_tables_are_joined_only_over_the_same_photos_and_folds() -> None:
    def table(expert: str, fold: int = 0) -> Table:
        return Table((expert,), (Row("x", "g", "road", fold, 5, {expert: 0.5}),))

    both = table("a").joined(table("b"))
    assert both.experts == ("a", "b")
    assert both.matrix().tolist() == [[0.5, 0.5]]
    assert both.chosen(("b", "a")).experts == ("b", "a")
    with pytest.raises(DataError, match="other photos or folds"):
        table("a").joined(table("b", fold=1))
    with pytest.raises(ConfigError, match="no column for c; it has a, b"):
        both.chosen(("a", "c"))
