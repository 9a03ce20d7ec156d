"""The verbs make-data, evaluate, oof, explain, export and bench, by Python and by command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fieldsight
from fieldsight.cli import main
from fieldsight.data.images import write_image
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack import evaluate, explain, export, oracle
from fieldsight.systems.crack.config import PRESETS
from fieldsight.systems.crack.data import draw, squash
from fieldsight.systems.crack.explain import look
from fieldsight.systems.crack.folders import read_folder, write_folder
from fieldsight.systems.crack.oof import load_table
from fieldsight.systems.crack.options import CrackBenchOptions, PredictOptions
from fieldsight.systems.crack.predict import WHOLE, CrackModel
from fieldsight.systems.crack.sample import Sample
from fieldsight.systems.crack.scores import Counts
from fieldsight.systems.crack.train import make_table, remember

CONFIG = PRESETS["tiny"].replace(
    pool=("unet", "mobilenet", "deepcrack"), window=32,
    data={"train": 10, "val": 3, "test": 6, "size": 32, "empty": 0.2},
    expert={"steps": 2, "batch": 2, "warmup": 1, "prior": 0.0}, oof={"folds": 2, "steps": 2, "batch": 2, "warmup": 1},
    gate={"widths": (4, 4, 8, 8), "hidden": 8, "epochs": 1},
)  # fmt: skip


def create(**changes: Any) -> CrackModel:
    """A model whose experts say this here and that there, without any training."""
    model = CrackModel.create(CONFIG.replace(**changes))
    with torch.no_grad():
        for name, network in model.networks.items():
            torch.manual_seed(len(name))
            for layer in network.modules():
                if isinstance(layer, torch.nn.Conv2d) and layer.out_channels == 1:
                    layer.weight.normal_(0, 1.5)
                if isinstance(layer, torch.nn.Linear):
                    layer.weight.normal_(0, 0.8)
    return model


@pytest.fixture(scope="module")
def model() -> CrackModel:
    return create()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(draw(CONFIG.data), tmp_path_factory.mktemp("crack") / "data")


@pytest.fixture(scope="module")
def saved(model: CrackModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = draw(CONFIG.data)
    splits = {name: [s for s in samples if s.split == name] for name in ("train", "val", "test")}
    remember(model, splits, make_table(model, splits["train"], None))
    return model.save(tmp_path_factory.mktemp("crack") / "model")


def photo(shape: tuple[int, int]) -> Sample:
    """A photo of any shape, of drawn ones side by side."""
    parts = draw(CONFIG.data)
    picture = np.concatenate([s.image() for s in parts[:10]], axis=1)
    mask = np.concatenate([s.mask() for s in parts[:10]], axis=1)
    again = (-(-shape[0] // 32), -(-shape[1] // 320))
    picture, mask = np.tile(picture, (*again, 1))[: shape[0], : shape[1]], np.tile(mask, again)[: shape[0], : shape[1]]
    return Sample("big", "big", "test", "road", picture.copy, mask.copy)


# ---------------------------------------------------------------------------------------------------- make-data


def test_drawn_data_comes_back_from_its_folder(folder: Path) -> None:
    drawn = {s.id: s for s in draw(CONFIG.data)}
    found = read_folder(folder)
    assert {s.id for s in found} == set(drawn)
    for sample in found:
        own = drawn[sample.id]
        assert (sample.split, sample.group, sample.domain) == (own.split, own.group, own.domain)
        np.testing.assert_array_equal(sample.image(), own.image())
        np.testing.assert_array_equal(sample.mask(), own.mask())


def test_make_data_takes_plain_flags_and_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "crack",
        "make-data",
        "--out",
        str(tmp_path / "a"),
        "--train",
        "10",
        "--val",
        "2",
        "--test",
        "2",
        "--size",
        "32",
    ]
    assert main([*words, "--domains", "plaster", "--seed", "3"]) == 0
    assert {s.domain for s in read_folder(tmp_path / "a")} == {"plaster"}
    assert main(words[:2]) == 3
    assert "name it with --out" in capsys.readouterr().err
    assert main([*words, "--domains", "plastic"]) in (2, 3)
    assert "plastic" in capsys.readouterr().err
    assert main([*words[:-1], "33"]) == 2
    assert "multiple of 32" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------- evaluate


def test_numbers_are_those_of_the_predictions(model: CrackModel, folder: Path) -> None:
    found = model.evaluate(folder)
    total = Counts()
    for sample in read_folder(folder):
        if sample.split == "test":
            total += Counts.of(model.predict(sample.image()).mask, sample.mask())
    assert found.metrics["pooled_iou"] == pytest.approx(total.pooled()["pooled_iou"], abs=1e-12)
    assert found.metrics["pooled_f1"] == pytest.approx(total.pooled()["pooled_f1"], abs=1e-12)
    assert 0 < found.metrics["pooled_iou"] < 1
    assert "6 photos" in found.on
    assert len(found.items) == 6
    surfaces = next(t for t in found.tables if "surface" in t.columns)
    assert set(model.names) < set(surfaces.columns)
    assert sum(row["photos"] for row in surfaces.rows) == 6


@pytest.mark.parametrize("shape", [(40, 800), (64, 1100)])
def test_large_photos_are_measured_as_they_are_predicted(model: CrackModel, shape: tuple[int, int]) -> None:
    sample = photo(shape)
    found = evaluate.gather(model, [sample])
    predicted = model.predict(sample.image())
    counts = Counts.of(predicted.mask, sample.mask())
    assert {k: found.pool.items.column(k)[0] for k in ("tp", "fp", "fn", "tn")} == counts.values()
    seen = look(model, sample)
    assert (seen.mixed is not None) == (shape[1] > WHOLE)
    assert seen.weights.sum() == pytest.approx(1.0)
    mean = np.array(list(predicted.facts["weights"].values()))
    np.testing.assert_allclose(seen.weights, mean, atol=1e-4)


def test_squashed_photos_are_measured_at_both_sizes(folder: Path) -> None:
    model = create(fit="squash", input=64)
    found = model.evaluate(folder)
    native, small = Counts(), Counts()
    for sample in (s for s in read_folder(folder) if s.split == "test"):
        seen = look(model, sample)
        assert seen.raw is not None
        assert seen.raw.shape == (3, 64, 64)
        assert seen.maps.shape == (3, 32, 32)
        native += Counts.of(model.predict(sample.image()).mask, sample.mask())
        weights = evaluate.select(seen.weights[None], "topk", 2).weights[0]
        small += Counts.of(evaluate.blend(seen.raw, weights) >= 0.5, squash(sample.mask(), 64))
    assert found.metrics["pooled_iou"] == pytest.approx(native.pooled()["pooled_iou"], abs=1e-12)
    assert found.facts["at 64 x 64"]["pooled_iou"] == pytest.approx(small.pooled()["pooled_iou"], abs=1e-5)
    assert native.values() != small.values()
    assert found.to_dict()["at 64 x 64"] == found.facts["at 64 x 64"]


def test_evaluation_by_command_line(
    saved: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["crack", "evaluate", "--model", str(saved), "--quiet", "--json", "--pictures", "1"]
    assert main([*common, "--unseen"]) == 0
    unseen = json.loads(capsys.readouterr().out)
    assert "plaster, not in training" in unseen["on"]
    assert (
        main([*common, str(folder), "--split", "val", "--ablate", "--draws", "100", "--out", str(tmp_path / "out")])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert "3 photos" in found["on"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "gate, top 2 without unet" in page
    assert "chosen on these photos" in page  # the split that is measured is the one for choosing
    assert main([*common, str(tmp_path / "nowhere")]) == 3
    assert "nowhere" in capsys.readouterr().err


def test_every_way_of_mixing_keeps_its_bounds(model: CrackModel, folder: Path) -> None:
    found = model.evaluate(folder, ablate=True, draws=200, pictures=0)
    rows = {row["way"]: row for row in found.tables[0].rows}
    names = ["unet", "mobilenet", "deepcrack"]
    wanted = {*names, "gate, hard", "gate, soft", "gate, top 2", "gate, top 3", "gate, adaptive"}
    wanted |= {f"gate, top 2 without {n}" for n in names}
    wanted |= {"best single", "uniform mean", "majority vote", "random two", "best fixed pair", "fixed learned weights"}
    assert wanted <= set(rows)
    assert rows["gate, top 3"] == {**rows["gate, soft"], "way": "gate, top 3"}
    for name in names:
        assert rows["oracle expert"]["mean IoU"] >= rows[name]["mean IoU"] - 0.01
    assert rows["gate, hard"]["mean IoU"] <= rows["oracle expert"]["mean IoU"] + 0.01
    best = max(names, key=lambda n: rows[n]["iou"])
    assert rows[best].get("gain") is None
    assert all(0 <= row["p"] <= 1 for name, row in rows.items() if name != best)
    assert found.metrics["pooled_iou"] == pytest.approx(rows["gate, top 2"]["iou"] / 100, abs=1e-4)


def test_oracles_bound_every_photo(model: CrackModel) -> None:
    samples = [s for s in draw(CONFIG.data) if s.split != "train"]
    found = evaluate.gather(model, samples)
    one, weights = oracle.oracle_one(found.cases), oracle.oracle_weights(found.cases)
    mixtures = {m.name: m for m in evaluate.ways(model, found.weights, found.cases)}
    assert (mixtures["gate, hard"].iou <= one.iou).all()
    assert (weights.iou >= one.iou).all()
    for mixed in mixtures.values():
        on_grid = mixed.name in (*model.names, "uniform mean") or mixed.name.startswith(("best", "fixed"))
        assert not on_grid or (weights.iou >= mixed.iou - 1e-12).all(), mixed.name
    np.testing.assert_array_equal(mixtures["gate, soft"].counts, mixtures["gate, top 3"].counts)
    np.testing.assert_array_equal(found.expert_iou.max(axis=1), one.iou)


def test_fixed_mixtures_are_chosen_on_validation_photos(model: CrackModel, folder: Path) -> None:
    found = model.evaluate(folder, ablate=True, draws=100, pictures=0)
    assert not any("chosen on these photos" in row["way"] for row in found.tables[0].rows)


def test_code_that_came_with_a_model_does_not_run(tmp_path: Path, folder: Path) -> None:
    marker = tmp_path / "ran"
    code = tmp_path / "own.py"
    code.write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\ndef make():\n    raise SystemExit\n")
    model = create(external=(f"mine={code}:make",))
    for call in (lambda: model.evaluate(folder), lambda: model.oof(folder)):
        with pytest.raises(ConfigError, match="runs only if you allow it"):
            call()
    assert not marker.exists()


def test_splits_and_folders_that_hold_nothing_say_so(model: CrackModel, tmp_path: Path) -> None:
    samples = [s for s in draw(CONFIG.data) if s.split != "test"]
    write_folder(samples, tmp_path / "data")
    with pytest.raises(DataError, match="no photos in the split 'test'"):
        model.evaluate(tmp_path / "data")


# ---------------------------------------------------------------------------------------------------------- oof


def test_a_new_column_is_added_to_a_table(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["crack", "oof", "--model", str(saved), "--quiet"]
    assert main([*common, "--experts", "unet", "--out", str(tmp_path / "first")]) == 0
    capsys.readouterr()
    first = tmp_path / "first" / "oof.csv"
    assert load_table(first).experts == ("unet",)
    assert [p.name for p in first.parent.iterdir()] == ["oof.csv"]
    second = tmp_path / "second.csv"
    assert main([*common, "--experts", "swin", "--table", str(first), "--out", str(second), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["expert"] for row in told["rows"]] == ["unet", "swin"]
    assert told["file"] == str(second)
    table = load_table(second)
    assert table.experts == ("unet", "swin")
    assert table.matrix()[:, 0].tolist() == load_table(first).matrix()[:, 0].tolist()
    assert len({row.id for row in table.rows}) == 10
    rows = list(csv.DictReader(second.read_text().splitlines()))
    assert {"prec_swin", "rec_swin", "f1_swin", "n_pred_pixels_swin"} <= set(rows[0])
    assert main([*common, "--experts", "vit", "--out", str(tmp_path)]) == 2
    assert "there is no vit" in capsys.readouterr().err


def test_a_column_that_could_not_be_joined_is_refused_before_any_training(
    model: CrackModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fieldsight.systems.crack.train.fit_copy", lambda *_: pytest.fail("trained"))
    table = load_table(_table(tmp_path / "oof.csv", [(f"p{n}", n % 2) for n in range(10)]))
    with pytest.raises(DataError, match="other photos or folds: 0 of its 10 rows"):
        model.oof(experts=("unet",), table=table.save(tmp_path / "again.csv"))
    deployed = create(oof={**CONFIG.oof.to_dict(), "backbone": "deployed"})
    with pytest.raises(ConfigError, match="copies start from deployed experts"):
        deployed.oof(experts=("swin",))


def _table(path: Path, rows: list[tuple[str, int]]) -> Path:
    lines = [f"{id},{fold},{id},road,5,0.5" for id, fold in rows]
    path.write_text("image_id,fold,group,domain,n_gt_pixels,iou_a\n" + "\n".join(lines) + "\n")
    return path


# ------------------------------------------------------------------------------------------------------ explain


def test_explanations_tell_weights_choice_and_neighbours(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = fieldsight.load("crack", saved)
    first = next(s for s in draw(CONFIG.data) if s.split == "train")
    found = model.explain(first.image(), neighbours=3)
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-6)
    assert found.attention.shape == found.picture.shape[:2] == (32, 32)
    assert 0 <= found.attention.min() <= found.attention.max() <= 1
    assert len(found.chosen) == 2
    assert found.nearest.rows[0]["photo"] == first.id
    assert found.nearest.rows[0]["distance"] == pytest.approx(0.0, abs=0.02)
    assert len(found.nearest.rows) == 3
    assert set(model.names) < set(found.nearest.columns)
    predicted = model.predict(first.image())
    assert list(predicted.facts["used"]) == list(found.chosen)
    path = write_image(tmp_path / "one.png", first.image())
    assert (
        main(
            ["crack", "explain", str(path), "--model", str(saved), "--json", "--quiet", "--out", str(tmp_path / "out")]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    told = told["results"][0] if "results" in told else told
    assert told["weights"] == found.to_dict()["weights"]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"one_route.png", "one_route.json"}, "written once"


def test_attention_lies_on_the_picture_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    model = create(fit="squash", input=64)
    mark = np.zeros((64, 64), np.float32)
    mark[:, 48:] = 1.0
    monkeypatch.setattr(explain, "grad_cam", lambda gate, views, expert: (mark[None], np.zeros((1, 8))))
    found = model.explain(photo((32, 128)).image())
    assert found.attention.shape == found.picture.shape[:2]
    across = found.attention.mean(axis=0)
    assert across[: int(0.7 * len(across))].max() == 0.0
    assert across[int(0.8 * len(across)) :].min() == pytest.approx(1.0)


def test_a_model_without_a_choice_has_nothing_to_explain(model: CrackModel) -> None:
    one = create(pool=("unet",))
    with pytest.raises(ConfigError, match="no choice to explain"):
        one.explain(photo((32, 32)).image())
    large = photo((48, 1100)).image()
    found = model.explain(large)
    assert found.facts["note"].startswith("chosen place by place")
    told = model.predict(large).facts
    assert list(told["used"]) == list(found.chosen)
    assert found.to_dict()["weights"] == pytest.approx(told["weights"], abs=1e-4)
    assert found.facts["entropy"] == told["doubt"]


def test_grad_cam_is_where_the_gradient_says() -> None:
    class Gate(torch.nn.Module):
        """Two features: the first is the left half, the second the right; the logit wants the first."""

        def maps(self, view: torch.Tensor) -> torch.Tensor:
            found = torch.zeros(2, 2, 4, 4)
            found[:, 0, :, :2], found[:, 1, :, 2:] = 1.0, 1.0
            found[1] *= 3.0
            return found

        def head(self, features: torch.Tensor) -> torch.Tensor:
            return features @ torch.tensor([[2.0, 0.0], [-1.0, 0.0]])

    cam, features = explain.grad_cam(Gate(), torch.zeros(2, 3, 4, 4), 0)  # type: ignore[arg-type]
    assert features.tolist() == [pytest.approx([0.5, 0.5]), pytest.approx([1.5, 1.5])]
    # the gradient of the first feature's mean over 16 cells is the logit's 1 or 2 times 1/16 in every cell
    slope = cam[0, 0, 0]
    assert slope > 0
    assert cam[0, :, :2] == pytest.approx(slope)
    assert cam[1, :, :2] == pytest.approx(3 * slope)
    assert (cam[:, :, 2:] == 0.0).all()


# ------------------------------------------------------------------------------------------------ export, bench


def test_bench_of_the_whole_and_of_its_parts(
    model: CrackModel, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = {"runtimes": ("torch",), "runs": 5, "warmup": 0}
    whole = model.bench(size=64, **quick)
    assert whole.facts["input"] == "1 x 3 x 64 x 64"
    words = ["crack", "bench", "--model", str(saved), "--parts", "--size", "64", "--runtimes", "torch", "--runs", "5"]
    assert main([*words, "--warmup", "0", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["part"]: row for row in found["rows"]}
    assert list(rows) == ["gate", "unet", "mobilenet", "deepcrack", "routed", "all experts"]
    experts = [rows[n]["p50"] for n in model.names]
    routed = rows["routed"]
    assert routed["x mean expert"] == pytest.approx(routed["p50"] / np.mean(experts), rel=1e-6)
    assert routed["x all experts"] == pytest.approx(routed["p50"] / rows["all experts"]["p50"], rel=1e-6)
    assert all(row["p95"] >= row["p50"] > 0 for row in rows.values())
    assert "of 5 photos" in found["routed"]


def test_bench_runs_only_what_was_chosen(model: CrackModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    shapes: list[tuple[int, ...]] = []

    def runner(name: str) -> Any:
        def run(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            calls.append(name)
            shapes.append(tuple(batch["image"].shape))
            return {"weights": torch.tensor([[0.2, 0.5, 0.3]]), "probability": torch.zeros(1, 1, 64, 64)}

        return run

    parts = {"fake": {name: runner(name) for name in model.networks}}
    photos = [export.Timed(model, picture) for picture in export.drawn(64)]
    assert len(photos) == 5
    seconds = export.time_parts(model, parts, photos[:1], 0, 2)
    once = [*model.networks, "gate", "mobilenet", "deepcrack", "unet", "mobilenet", "deepcrack"]
    assert calls == once * 2
    assert photos[0].chosen == ("mobilenet", "deepcrack")
    assert {len(v[0]) for v in seconds["fake"].values()} == {2}
    monkeypatch.setattr(export, "DRAWN", 32)
    assert export.drawn(80)[0].shape == (80, 80, 3)


def test_bench_refuses_what_it_cannot_time(model: CrackModel) -> None:
    with pytest.raises(ConfigError, match="multiple of 32, got 100"):
        model.bench(size=100)
    with pytest.raises(ConfigError, match="one by one; got 2"):
        model.bench(size=64, parts=True, batch=2)
    with pytest.raises(ConfigError, match="only a pool"):
        create(pool=("unet",)).bench(size=64, parts=True)
    squashed = create(fit="squash", input=64)
    found = export.bench(squashed, CrackBenchOptions(runtimes=("torch",), runs=3, warmup=0))
    assert found.facts["input"] == "1 x 3 x 64 x 64"


def test_a_part_is_calibrated_with_what_it_sees(model: CrackModel) -> None:
    sample = photo((40, 800))
    opened = model.read(sample.image(), PredictOptions())
    for name, shapes in (("gate", [(32, 32), (32, 32)]), ("unet", [(64, 800), (64, 288)])):
        seen: list[tuple[int, ...]] = []
        part = export.part_of(model, name)
        part.use(lambda batch, seen=seen: seen.append(tuple(batch["image"].shape[2:])) or {})  # type: ignore[misc]
        part.predict_one(opened, PredictOptions())
        assert seen == shapes, name


def test_exports_that_have_nowhere_to_go_say_so(model: CrackModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="writes a folder"):
        model.export(part="all")
    with pytest.raises(ConfigError, match="got the file name"):
        model.export(part="all", out=tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="it has pool, all, gate"):
        model.export(part="cen", out=tmp_path / "x.onnx")


@pytest.mark.onnx
def test_exported_parts_predict_the_same_at_any_size(tmp_path: Path) -> None:
    model = create(pool=("unet", "mobilenet"))
    done = model.export(out=tmp_path / "parts", part="all")
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == sorted(f"{n}.onnx" for n in model.networks)
    assert max(done.differences.values()) < 1e-4
    picture = photo((45, 70)).image()  # larger than the window of its layers, and no multiple of anything
    mine = model.predict(picture)
    theirs = model.predict(picture, exports=tmp_path / "parts")
    np.testing.assert_allclose(theirs.probability, mine.probability, atol=1e-4)
    assert theirs.facts["used"] == pytest.approx(mine.facts["used"], abs=1e-3)
