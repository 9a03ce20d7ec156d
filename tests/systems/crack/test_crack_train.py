"""Training: what learns and what stays as it is, copies without their fold, runs that go on where they stopped."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fieldsight
from fieldsight import progress
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.crack import augment, losses
from fieldsight.systems.crack import train as training
from fieldsight.systems.crack.config import PRESETS, CrackConfig, ExpertTraining, Recipe
from fieldsight.systems.crack.data import ExpertItems, draw, load_splits
from fieldsight.systems.crack.folders import write_folder
from fieldsight.systems.crack.oof import Row, Table, load_table
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.sample import Sample

#: What makes a training last about a second.
QUICK: dict[str, Any] = {
    "pool": ("unet", "deepcrack"), "window": 32, "mix": {"k": 2},
    "expert": {"steps": 3, "batch": 2, "lr": 0.02, "warmup": 1, "validate": 3, "prior": 0.3, "attempts": 1},
    "oof": {"folds": 2, "steps": 2, "batch": 2, "lr": 0.02, "warmup": 1},
    "gate": {"widths": (4, 4, 8, 8), "hidden": 8, "epochs": 2, "batch": 4, "share": 0.3},
}  # fmt: skip
DATA = {"train": 10, "val": 2, "test": 2, "size": 32, "empty": 0.0}


def config(**changes: Any) -> CrackConfig:
    return PRESETS["tiny"].replace(**{**QUICK, "data": DATA, **changes})


def flat(changes: dict[str, Any]) -> dict[str, Any]:
    """Options as ``fieldsight.train`` takes them; a group named ``data`` would be its folder."""
    found: dict[str, Any] = {}
    for name, value in changes.items():
        found.update({f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value})
    return found


def train(run: Path, **changes: Any) -> Any:
    given = {"resume": changes.pop("resume")} if "resume" in changes else {"preset": "tiny", "run": run}
    rest = {} if "resume" in given else flat({**QUICK, "data": DATA, **changes})
    return fieldsight.train("crack", **given, **rest)


def digest(network: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()


@pytest.fixture(autouse=True, scope="module")
def _no_plots() -> Iterator[None]:
    """The page of a run and its joules are tested elsewhere, and take as long as these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fieldsight.systems.crack.evaluate.energy_line", lambda model: "not counted")
        patch.setattr("fieldsight.training.loss_plots", lambda run: {})
        yield


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Sample]]:
    return load_splits(config(), None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train(tmp_path_factory.mktemp("crack") / "run")


def scored(samples: list[Sample], experts: tuple[str, ...]) -> Table:
    """A table of drawn scores; two photos are missed by every expert."""
    rng = rng_for("scores")
    rows = [
        Row(s.id, s.group, s.domain, 0, 9, {e: float(rng.random()) if n > 1 else 0.0 for e in experts})
        for n, s in enumerate(samples)
    ]
    return Table(experts, tuple(rows))


# ----------------------------------------------------------------------------------------------------- the gate


@pytest.mark.parametrize("target", ["soft", "hard", "ranking"])
def test_only_the_gate_learns_from_the_table(splits: dict[str, list[Sample]], target: str) -> None:
    model = CrackModel.create(config(gate={**QUICK["gate"], "target": target, "lr": 0.01}))
    model.round_weights()
    before = {name: digest(network) for name, network in model.networks.items()}
    said: list[str] = []
    with progress.watching(progress.silent, said.append):
        training.train_gate(model, splits["train"], scored(splits["train"], model.names), None)
    after = {name: digest(network) for name, network in model.networks.items()}
    assert after.pop("gate") != before.pop("gate")
    assert after == before
    assert any("2 photos on which every expert scores 0" in text for text in said)
    for sample in splits["test"]:
        model.predict(sample.image())
    assert {name: digest(model.networks[name]) for name in before} == before


def test_a_frozen_backbone_keeps_its_weights_and_its_statistics(splits: dict[str, list[Sample]]) -> None:
    changes = []
    for freeze in (2, 0):
        model = CrackModel.create(config(gate={**QUICK["gate"], "freeze": freeze, "lr": 0.01}))
        model.round_weights()
        before = {k: v.clone() for k, v in model.networks["gate"].state_dict().items()}
        training.train_gate(model, splits["train"], scored(splits["train"], model.names), None)
        after = model.networks["gate"].state_dict()
        changes.append({k for k in before if not torch.equal(before[k], after[k])})
    head = {k for k in changes[0] if k.startswith("head")}
    assert changes[0] == head
    assert head
    assert any("running_mean" in k for k in changes[1])


def test_losses_of_the_gate_are_those_of_the_specification() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.5, -1.0]], requires_grad=True)
    scores = torch.tensor([[0.66, 0.71, 0.63, 0.72]])
    soft = config(gate={**QUICK["gate"], "target": "soft"}).gate
    loss = training.gate_loss(logits, scores, soft)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.512927, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0.366813, -0.036822, -0.095629, -0.234363], abs=1e-6)
    hard = config(gate={**QUICK["gate"], "target": "hard"}).gate
    assert float(training.gate_loss(logits.detach(), scores, hard)) == pytest.approx(3.495182, abs=1e-6)
    assert float(training.gate_loss(logits.detach(), torch.zeros(1, 4), hard)) == 0.0


def test_photos_left_out_of_the_table_do_not_train_the_gate(splits: dict[str, list[Sample]]) -> None:
    model = CrackModel.create(config())
    table = scored(splits["train"], model.names)
    rows = [Row(r.id, r.group, r.domain, 0, 0, dict.fromkeys(model.names, math.nan)) for r in table.rows[:3]]
    said: list[str] = []
    with progress.watching(progress.silent, said.append):
        training.train_gate(model, splits["train"], Table(table.experts, (*rows, *table.rows[3:])), None)
    assert any("3 photos without crack are left out" in text for text in said)


# -------------------------------------------------------------------------------------------- failed trainings


class Constant(torch.nn.Module):
    """An expert that gives one logit everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = torch.nn.Parameter(torch.tensor(logit))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logit.expand(len(image), 1, *image.shape[2:])


def tried(logits: list[float], samples: list[Sample]) -> tuple[list[int], float]:
    """The attempts made where training gives these networks one after the other, and the one that is kept."""
    attempts: list[int] = []

    def train_one(attempt: int) -> Any:
        attempts.append(attempt)
        return Constant(logits[attempt])

    kept: Any = training.until_it_sees(train_one, samples, config(expert={"attempts": 3}), "expert 'unet'")
    return attempts, float(kept.logit)


def test_a_training_that_collapsed_begins_again(
    splits: dict[str, list[Sample]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tried([4.0, -4.0, -4.0], splits["val"]) == ([0], 4.0)
    assert "warning" not in capsys.readouterr().err
    assert tried([-4.0, 4.0, -4.0], splits["val"]) == ([0, 1], 4.0)
    assert "expert 'unet' finds no crack at all after its training: it begins anew" in capsys.readouterr().err
    assert tried([-4.0, -4.5, -5.0], splits["val"]) == ([0, 1, 2], -5.0)
    assert capsys.readouterr().err.count("it stays as it is; leave it out, or train longer") == 1


def test_photos_without_crack_condemn_no_training(splits: dict[str, list[Sample]]) -> None:
    sound = Sample("sound", "a", "val", "plain", splits["val"][0].image, lambda: np.zeros((32, 32), bool))
    assert tried([-4.0, -4.0, -4.0], [sound]) == ([0], -4.0)


def test_further_attempts_learn_more_slowly_in_stages_of_their_own(
    splits: dict[str, list[Sample]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple[str, float]] = []
    starts: list[str] = []

    def blind(state: Any, *rest: Any, stage: str, **others: Any) -> None:
        seen.append((stage, state.schedule.base_lrs[0]))
        starts.append(digest(state.net))

    monkeypatch.setattr(training, "fit", blind)
    monkeypatch.setattr(training, "sees", lambda *_: len(seen) == 3)
    model = CrackModel.create(config(expert={**QUICK["expert"], "attempts": 3}))
    training.train_experts(model, splits["train"], splits["val"], None, ["unet"])
    assert seen == [("expert-unet", 0.02), ("expert-unet-again-1", 0.01), ("expert-unet-again-2", 0.005)]
    seen.clear()
    training.fit_copy(model, "unet", splits["train"], 1, None)
    assert seen == [("oof-1-unet", 0.02), ("oof-1-unet-again-1", 0.01), ("oof-1-unet-again-2", 0.005)]
    assert len(set(starts)) == 6, "weights that were a dead end once are one again"


# ------------------------------------------------------------------------------------------------------- copies


@pytest.mark.parametrize("backbone", ["generic", "deployed", "full"])
def test_copies_start_and_learn_as_they_are_told(
    splits: dict[str, list[Sample]], backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CrackModel.create(config(pool=("unet", "crackrefine"), oof={**QUICK["oof"], "backbone": backbone}))
    with torch.no_grad():  # else an untrained one could not be told from a new one
        for network in model.networks.values():
            for value in network.state_dict().values():
                if value.is_floating_point():
                    value.add_(0.01)
    made: list[tuple[str, Any, dict[str, torch.Tensor]]] = []
    real = training.copy_network

    def watched(owner: CrackModel, name: str, fold: int, attempt: int) -> Any:
        network = real(owner, name, fold, attempt)
        made.append((name, network, {k: v.clone() for k, v in network.state_dict().items()}))
        return network

    monkeypatch.setattr(training, "copy_network", watched)
    before = {name: digest(network) for name, network in model.networks.items()}
    table = training.make_table(model, splits["train"], None)
    assert {name: digest(network) for name, network in model.networks.items()} == before  # they are thrown away
    assert len(table.rows) == 10
    assert [name for name, _, _ in made] == ["unet", "crackrefine"] * 2
    for name, network, start in made:
        after = network.state_dict()
        own = {id(p) for p in network.backbone_parameters()}
        modules = {n.rpartition(".")[0] for n, p in network.named_parameters() if id(p) in own}
        inside = {k for k in start if k.rpartition(".")[0] in modules}
        moved = {k for k in start if not torch.equal(start[k], after[k])}
        assert moved - inside, "the head learns"
        assert bool(moved & inside) == (backbone == "full")
        assert name != "unet" or any("running_mean" in k for k in inside)  # statistics are among what must not move
        deployed = model.networks[name].state_dict()
        alike = {k for k in inside if torch.equal(start[k], deployed[k])}
        assert (alike == inside) == (backbone == "deployed")


def test_each_copy_has_its_own_chance() -> None:
    model = CrackModel.create(config())
    copies = {(name, fold): digest(training.copy_network(model, name, fold)) for name in model.names for fold in (0, 1)}
    assert len(set(copies.values())) == 4
    assert digest(training.copy_network(model, "unet", 1)) == copies["unet", 1]


def test_a_share_is_drawn_from_what_the_copy_may_see(splits: dict[str, list[Sample]]) -> None:
    kept = splits["train"][2:8]
    items = ExpertItems(kept, config(), Recipe(share=0.5), 4, "cen")
    assert len(items.samples) == 3
    assert {s.id for s in items.samples} <= {s.id for s in kept}
    one = items.item(0, rng_for(0))
    assert one["image"].shape == (3, 32, 32)
    assert one["mask"].shape == (1, 32, 32)
    assert set(one["mask"].unique().tolist()) <= {0.0, 1.0}


def test_a_recipe_draws_its_own_surfaces_more_often(splits: dict[str, list[Sample]]) -> None:
    items = ExpertItems(splits["train"], config(), Recipe(domains=("tile",), outside=0.1), 4, "cen")
    shares = np.diff(items.edges, prepend=0.0)
    own = np.array([s.domain == "tile" for s in items.samples])
    assert shares[own].min() == pytest.approx(10 * shares[~own].max())
    others = [s for s in splits["train"] if s.domain != "road"]
    with pytest.raises(DataError, match="'cen' would see no picture: none is of road"):
        ExpertItems(others, config(), Recipe(domains=("road",), outside=0.0), 4, "cen")


# ------------------------------------------------------------------------------------------------- small pieces


def test_dice_is_of_each_picture_and_finite_without_crack() -> None:
    truth = torch.zeros(2, 1, 2, 2)
    truth[0, 0, 0] = 1.0
    sure = torch.where(truth > 0, 50.0, -50.0)
    assert float(losses.dice_loss(sure, truth)) == pytest.approx(0.0, abs=1e-4)
    # half of the pixels at 1/2 in the first picture: 1 - 2 * 1 / (2 + 2); the second is 1 - smooth / (2 + smooth)
    assert float(losses.dice_loss(torch.zeros(2, 1, 2, 2), truth)) == pytest.approx((0.5 + 1.0) / 2, abs=1e-4)
    settings = ExpertTraining(bce=1.0, dice=0.5, aux=0.4, reconstruction=0.1)
    found = losses.expert_loss(
        {"logits": torch.zeros(2, 1, 2, 2), "aux": torch.zeros(2, 1, 2, 2)}, truth, truth, settings
    )
    assert float(found["loss"]) == pytest.approx(1.4 * (math.log(2) + 0.5 * 0.75), abs=1e-4)
    whole = losses.expert_loss({"logits": sure, "reconstruction": truth + 2.0}, truth, truth, settings)
    assert float(whole["loss"]) == pytest.approx(0.2, abs=1e-4)


def test_rates_warm_up_and_fall_to_zero() -> None:
    model = CrackModel.create(config())
    network = training.training_network("unet", model.config, model.networks["unet"])
    state = training.expert_state(network, list(network.parameters()), model.config, 10, 1.0, 4)
    factors = [state.schedule.lr_lambdas[0](n) for n in range(11)]
    assert factors[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert factors[5:] == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0.0])
    gate = training.gate_state(model.networks["gate"], model.config.gate.replace(warmup=1, epochs=3, lr=1.0), 2)  # type: ignore[arg-type]
    assert [gate.schedule.lr_lambdas[0](n) for n in range(7)] == pytest.approx(
        [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447, 0.0], abs=1e-6
    )


def test_photo_and_mask_are_turned_alike() -> None:
    mask = rng_for("turn").random((16, 16)) < 0.3
    photo = np.repeat(mask[..., None].astype(np.uint8), 3, axis=2)
    views = set()
    for n in range(40):
        turned, same = augment.turn(photo, mask, rng_for("turn", n))
        assert np.array_equal(turned[..., 0].astype(bool), same)
        views.add(same.tobytes())
    assert len(views) == 8
    view = augment.gate_view(np.full((33, 40, 3), 120, np.uint8), rng_for("view"))
    assert view.shape == (33, 40, 3)
    assert view.dtype == np.uint8


# ------------------------------------------------------------------------------------------------------- stages


def test_a_run_keeps_its_table_and_what_explanations_need(finished: Any) -> None:
    model = finished.model
    table = load_table(finished.path / "oof.csv")
    assert table.experts == ("unet", "deepcrack")
    assert [r.id for r in table.rows] == [s.id for s in draw(model.config.data) if s.split == "train"]
    assert not list((finished.path / "checkpoints").glob("oof-*"))
    assert set(model.artefacts) == {"neighbours", "routing"}
    assert model.artefacts["neighbours"]["ids"] == [r.id for r in table.rows]
    assert model.artefacts["routing"]["oof_iou"] == pytest.approx(table.means(), abs=1e-4)
    assert model.card.metrics["pooled_iou"] is not None
    assert model.card.fingerprint == model.fingerprint()


@contextmanager
def interrupted_at(stage: str) -> Iterator[None]:
    """Press Ctrl-C at the first step of a stage."""
    pressed = False

    def watch(label: str, done: int, total: int | None, remark: str) -> None:
        nonlocal pressed
        if label == f"training {stage}" and done == 1 and not pressed:
            pressed = True
            os.kill(os.getpid(), signal.SIGINT)

    with progress.watching(watch):
        yield


@pytest.mark.parametrize("stage", ["oof-1-unet", "gate"])
def test_a_run_stopped_anywhere_ends_as_if_it_had_not(finished: Any, tmp_path: Path, stage: str) -> None:
    with pytest.raises(KeyboardInterrupt), interrupted_at(stage):
        train(tmp_path / "run")
    steps: dict[str, int] = {}

    def watch(label: str, done: int, total: int | None, remark: str) -> None:
        steps[label] = steps.get(label, 0) + (label.startswith("training"))

    with progress.watching(watch):
        resumed = train(tmp_path / "run", resume=tmp_path / "run")
    assert not any(steps.get(f"training {done}") for done in ("expert-unet", "expert-deepcrack", "oof-0-unet"))
    assert (resumed.path / "oof.csv").read_text() == (finished.path / "oof.csv").read_text()
    assert resumed.model.fingerprint() == finished.model.fingerprint()
    assert (resumed.path / "metrics.jsonl").read_text() == (finished.path / "metrics.jsonl").read_text()


def test_experts_alone_have_no_table(tmp_path: Path) -> None:
    run = train(tmp_path / "run", stage="experts")
    assert not (run.path / "oof.csv").exists()
    assert not run.model.artefacts
    stages = {json.loads(line)["stage"] for line in (run.path / "metrics.jsonl").read_text().splitlines()}
    assert stages == {"expert-unet", "expert-deepcrack"}


def test_a_pool_of_one_is_that_expert(tmp_path: Path) -> None:
    model = train(tmp_path / "run", pool=("unet",), mix={"k": 1}).model
    assert set(model.networks) == {"unet"}
    photo = draw(model.config.data)[0].image()
    found = model.predict(photo)
    alone = training.probability(model.networks["unet"], photo, model.config)
    np.testing.assert_array_equal(found.probability, alone)
    assert found.facts["used"] == {"unet": 1.0}
    metrics = model.evaluate(ablate=True).metrics
    assert "hit" not in metrics


def test_experts_of_another_run_are_taken_over(finished: Any, tmp_path: Path) -> None:
    run = train(tmp_path / "run", stage="gate", init=finished.path, gate={**QUICK["gate"], "target": "hard"})
    for name in ("unet", "deepcrack"):
        assert digest(run.model.networks[name]) == digest(finished.model.networks[name])
    assert digest(run.model.networks["gate"]) != digest(finished.model.networks["gate"])
    with pytest.raises(ConfigError, match="name a model with --init"):
        train(tmp_path / "none", stage="gate")
    with pytest.raises(ConfigError, match="another size than networks: small"):
        training.start_from(CrackModel.create(config(networks="small")), finished.model)


def test_an_expert_of_ones_own_needs_its_column_and_a_gate_alone(
    finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fieldsight.data.images import write_image
    from fieldsight.systems.crack.evaluate import heldout

    for sample in (*draw(config().data), *heldout(finished.model)):
        write_image(tmp_path / "maps" / f"{sample.id}.png", sample.mask().astype(np.uint8) * np.uint8(255))
    asked: list[str] = []
    real = training.fit_copy
    monkeypatch.setattr(training, "fit_copy", lambda m, name, *rest: asked.append(name) or real(m, name, *rest))
    run = train(
        tmp_path / "run", stage="gate", init=finished.path, external=(f"mine={tmp_path / 'maps'}",),
        oof={**QUICK["oof"], "table": finished.path / "oof.csv"},
    )  # fmt: skip
    assert set(asked) == {"mine"}
    table = load_table(run.path / "oof.csv")
    assert table.experts == ("unet", "deepcrack", "mine")
    assert table.means()["mine"] == 1.0
    old = load_table(finished.path / "oof.csv")
    np.testing.assert_array_equal(table.matrix()[:, :2], old.matrix())
    for name in ("unet", "deepcrack"):
        assert digest(run.model.networks[name]) == digest(finished.model.networks[name])


def test_a_built_in_expert_is_added_without_touching_the_others(finished: Any, tmp_path: Path) -> None:
    run = train(
        tmp_path / "run", stage="gate", init=finished.path, pool=("unet", "deepcrack", "mobilenet"),
        oof={**QUICK["oof"], "table": finished.path / "oof.csv"},
    )  # fmt: skip
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"expert-mobilenet", "oof-0-mobilenet", "oof-1-mobilenet", "gate"}
    for name in ("unet", "deepcrack"):
        assert digest(run.model.networks[name]) == digest(finished.model.networks[name])


def test_a_table_of_other_photos_is_refused(finished: Any, tmp_path: Path) -> None:
    renamed = [
        Sample(f"x{s.id}", s.group, s.split, s.domain, s.image, s.mask) for s in draw(finished.model.config.data)
    ]
    others = {**QUICK, "stage": "gate", "oof": {**QUICK["oof"], "table": finished.path / "oof.csv"}}
    folder = write_folder(renamed, tmp_path / "folder")
    with pytest.raises(DataError, match="other photos"):
        fieldsight.train(
            "crack", folder, preset="tiny", run=tmp_path / "other", init=finished.path, **flat(others)
        )  # fmt: skip
    with pytest.raises(DataError, match="other photos"):  # of the same names
        train(
            tmp_path / "drawn", init=finished.path, data={**DATA, "seed": 1}, **{k: others[k] for k in ("stage", "oof")}
        )
