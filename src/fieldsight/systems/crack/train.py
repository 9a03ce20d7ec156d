"""The method of section 3: experts, out-of-fold table, routing targets, gate."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.data.loader import Loader
from fieldsight.engine.checkpoint import State
from fieldsight.engine.fit import EarlyStop, Epochs, Step, Steps, fit
from fieldsight.engine.seed import rng_for, torch_seed
from fieldsight.errors import ConfigError, DataError
from fieldsight.run import Run
from fieldsight.systems.crack import mixing, nets
from fieldsight.systems.crack.config import CrackConfig, GateTraining, Recipe
from fieldsight.systems.crack.data import ExpertItems, GateItems, gate_side, load_splits, weight
from fieldsight.systems.crack.inference import probability
from fieldsight.systems.crack.losses import expert_loss
from fieldsight.systems.crack.model import freeze, set_prior
from fieldsight.systems.crack.nets.gate import Gate
from fieldsight.systems.crack.oof import Table, load_table, out_of_fold, score
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.sample import Sample

Predictor = Callable[[Sample], NDArray[np.float32]]

#: Photos on which a copy must find anything.
WATCHED = 30


def train(config: CrackConfig, data: Path | None, run: Run, init: CrackModel | None) -> CrackModel:
    """Train experts, table and gate; without ``data`` on drawn photos.

    Raises:
        ConfigError: a gate is wanted for experts that nobody gave.
    """
    splits = load_splits(config, data)
    model = CrackModel.create(config)
    if init is not None:
        start_from(model, init)
    if config.stage == "gate" and config.pool and init is None:
        raise ConfigError("stage: 'gate' needs experts: name a model with --init.")
    known = () if config.stage != "gate" or init is None else tuple(init.networks)
    train_experts(model, splits["train"], splits["val"], run, [n for n in config.pool if n not in known])
    if config.stage != "experts" and len(config.names) > 1:
        table = kept_table(model, splits["train"], run)
        train_gate(model, splits["train"], table, run)
        remember(model, splits, table)
    model.round_weights()
    from fieldsight.systems.crack.evaluate import card_of

    model.card = card_of(model, splits["test"], run, drawn=data is None)
    return model


def start_from(model: CrackModel, init: CrackModel) -> None:
    """Take over the networks of another model, as far as both have them in the same shape."""
    for name, network in model.networks.items():
        found = init.networks.get(name)
        if found is None:
            continue
        try:
            network.load_state_dict(found.state_dict())
        except RuntimeError:
            if name != "gate":  # another number of experts: the gate begins anew
                raise ConfigError(
                    f"init: its expert '{name}' has another size than networks: {model.config.networks}."
                ) from None


# ------------------------------------------------------------------------------------------------- experts


def train_experts(
    model: CrackModel,
    samples: Sequence[Sample],
    watched: Sequence[Sample],
    run: Run | None,
    names: Sequence[str] | None = None,
) -> None:
    """Stage 1: experts on the whole training split, all by default; the best step by validation mIoU stays."""
    config = model.config
    for name in config.pool if names is None else names:
        train_one = partial(fit_expert, model, name, samples, watched, run)
        network = until_it_sees(train_one, watched, config, f"expert '{name}'")
        deploy(model, name, network)
    model.round_weights()


def fit_expert(
    model: CrackModel, name: str, samples: Sequence[Sample], watched: Sequence[Sample], run: Run | None, attempt: int
) -> nets.Expert:
    """One training of an expert; further attempts have new weights and half the learning rate of the one before."""
    config = model.config
    network = training_network(name, config, model.networks[name], attempt)
    steps = round(config.expert.steps * config.recipe(name).longer)
    every = min(config.expert.validate, steps)
    items = ExpertItems(samples, config, config.recipe(name), every * config.expert.batch, name)
    loader = Loader(items, config.expert.batch, config.seed, shuffle=False, workers=config.workers)
    lr = config.expert.lr * 0.5**attempt
    state = expert_state(network, list(network.parameters()), config, steps, lr, config.expert.warmup)
    fit(
        state,
        expert_step(config),
        loader,
        stage=f"expert-{name}" + _again(attempt),
        until=Steps(steps),
        run=run,
        validate=lambda s: {"val_miou": mean_iou(s.net.expert, watched, config, name)},
        stop=EarlyStop("val_miou", patience=steps, mode="max"),
    )
    return network


def until_it_sees(
    train_one: Callable[[int], nets.Expert], samples: Sequence[Sample], config: CrackConfig, what: str
) -> nets.Expert:
    """Train, and train again where the result finds no crack at all: now and then first weights are a dead end.

    The out-of-fold table says nothing of such an accident, so that a gate would go on sending photos to it.
    """
    for attempt in range(config.expert.attempts):
        network = train_one(attempt)
        if sees(network, samples, config):
            return network
        last = attempt == config.expert.attempts - 1
        then = "it stays as it is; leave it out, or train longer" if last else "it begins anew, more slowly"
        progress.note(f"warning: {what} finds no crack at all after its training: {then}")
    return network


def sees(network: nn.Module, samples: Sequence[Sample], config: CrackConfig) -> bool:
    """Whether a network hits a single pixel of crack on any of the samples, or there is none to hit."""
    network.eval()
    cracked = [s for s in samples if s.mask().any()]
    return not cracked or any((probability(network, s.image(), config)[s.mask()] >= 0.5).any() for s in cracked)


def _again(attempt: int) -> str:
    return f"-again-{attempt}" if attempt else ""


def training_network(name: str, config: CrackConfig, deployed: nn.Module, attempt: int = 0) -> nets.Expert:
    """An expert with all that only training needs: from the weights of the deployed one, later from new ones."""
    if attempt:
        return new_network(name, config, "expert", name, attempt)
    network = drawn_network(name, config, "training parts", name)
    network.load_state_dict(deployed.state_dict(), strict=False)
    return network


def new_network(name: str, config: CrackConfig, *labels: Any) -> nets.Expert:
    """An untrained expert as a training begins with it; its weights are drawn for the labels."""
    network = drawn_network(name, config, *labels)
    if config.expert.prior:
        set_prior(network, config.expert.prior)
    return network


def drawn_network(name: str, config: CrackConfig, *labels: Any) -> nets.Expert:
    """An expert with weights drawn for the labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(config.seed, *labels))
        return nets.build(name, config.networks, config.window or None, drop_path=config.expert.drop_path)


def deploy(model: CrackModel, name: str, network: nn.Module) -> None:
    """Put trained weights into the model, without what only training needs."""
    wanted = model.networks[name].state_dict()
    model.networks[name].load_state_dict({k: v for k, v in network.state_dict().items() if k in wanted})
    model.networks[name].eval()


def expert_state(
    network: nets.Expert, learning: list[nn.Parameter], config: CrackConfig, steps: int, lr: float, warmup: int
) -> State:
    """AdamW with linear warm-up (from a millionth) and polynomial decay to 0."""
    optimizer = torch.optim.AdamW(learning, lr=lr, betas=(0.9, 0.999), weight_decay=config.expert.weight_decay)

    def factor(step: int) -> float:
        if step < warmup:
            return max(1e-6, (step + 1) / warmup)
        left = 1.0 - (step - warmup) / max(1, steps - warmup)
        return float(max(left, 0.0) ** config.expert.power)

    return State(net=Full(network), opt=optimizer, schedule=torch.optim.lr_scheduler.LambdaLR(optimizer, factor))


def expert_step(config: CrackConfig, frozen: Sequence[nn.Parameter] = ()) -> Step:
    """One optimiser step of an expert; layers of ``frozen`` stay in evaluation mode."""
    settings = config.expert

    def step(fabric: Any, state: State, batch: dict[str, Tensor], number: int) -> Mapping[str, Tensor]:
        network = state.net
        if frozen:
            freeze(list(frozen), getattr(network, "module", network))
        values = expert_loss(network(batch["image"]), batch["mask"], batch["image"], settings)
        fabric.backward(values["loss"])
        if settings.clip:
            fabric.clip_gradients(network, state.opt, max_norm=settings.clip, error_if_nonfinite=False)
        state.opt.step()
        state.opt.zero_grad()
        state.schedule.step()
        return {k: v.detach() for k, v in values.items()}

    return step


class Full(nn.Module):
    """An expert that gives all its outputs, since Fabric wraps ``forward`` alone."""

    def __init__(self, expert: nets.Expert) -> None:
        super().__init__()
        self.expert = expert

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """``(N, 3, H, W)`` to the logits and what else is supervised."""
        return self.expert.outputs(image)


def mean_iou(network: nn.Module, samples: Sequence[Sample], config: CrackConfig, name: str) -> float:
    """Pooled mIoU (Eq. 13) over samples, each weighted as in the expert's training."""
    total = np.zeros(4)
    for sample in samples:
        truth = sample.mask()
        found = probability(network, sample.image(), config) >= 0.5
        tp, fp, fn = (int(np.count_nonzero(x)) for x in (found & truth, found & ~truth, ~found & truth))
        total += weight(sample, config.recipe(name)) * np.array([tp, fp, fn, truth.size - tp - fp - fn])
    right, false, missed, ground = (float(v) for v in total)
    wrong = false + missed
    return 0.5 * (right / max(right + wrong, 1.0) + ground / max(ground + wrong, 1.0))


# -------------------------------------------------------------------------------------------- out-of-fold table


def kept_table(model: CrackModel, samples: Sequence[Sample], run: Run) -> Table:
    """Stage 2 in a run: the table is written at once, and a run that goes on reads it; the copies are thrown away."""
    path = run.path / "oof.csv"
    if not path.is_file():
        make_table(model, samples, run).save(path)
    for folder in (run.path / "checkpoints").glob("oof-*"):
        shutil.rmtree(folder, ignore_errors=True)
    return load_table(path).chosen(model.config.names)


def make_table(model: CrackModel, samples: Sequence[Sample], run: Run | None, experts: Sequence[str] = ()) -> Table:
    """Stage 2: the out-of-fold table of the trained experts, and the scores of external ones as they are.

    Columns of ``oof.table`` are taken over.
    """
    config = model.config
    known = load_table(config.oof.table) if config.oof.table is not None else None
    if known is not None:
        check_photos(known, samples)
    wanted = [e for e in (experts or config.names) if known is None or e not in known.experts]
    if config.gate.supervision == "in-sample":
        made = in_sample_table(model, samples)
    elif wanted:
        made = out_of_fold(
            samples, wanted, config.oof.folds, config.seed, config.oof.empty_gt,
            lambda name, kept, fold: fit_copy(model, name, kept, fold, run),
        )  # fmt: skip
    else:
        assert known is not None
        made = known
    joined = made if known is None or made is known else known.joined(made)
    return joined.chosen(experts or config.names)


def check_photos(table: Table, samples: Sequence[Sample]) -> None:
    """Make sure that a table is of these very photos.

    Raises:
        DataError: a photo is missing on either side, or its truth is another one.
    """
    crack = {sample.id: int(np.count_nonzero(sample.mask())) for sample in samples}
    found = {row.id: row.crack_pixels for row in table.rows}
    wrong = sorted(id for id in {*crack, *found} if crack.get(id) != found.get(id))
    if wrong:
        raise DataError(
            f"The out-of-fold table is of other photos: '{wrong[0]}' and {len(wrong) - 1} more differ from the "
            "training split. Make it anew for this data: fieldsight crack oof DATA --out FOLDER"
        )


def fit_copy(model: CrackModel, name: str, samples: list[Sample], fold: int, run: Run | None) -> Predictor:
    """Train one copy of an expert without a fold; an external expert is used as it is."""
    config = model.config
    if name not in config.pool:
        return lambda sample: model.external_map(name, sample)
    train_one = partial(fit_one_copy, model, name, samples, fold, run)
    what = f"the copy of expert '{name}' without fold {fold}"
    network = until_it_sees(train_one, samples[:WATCHED], config, what)
    network.eval()
    return lambda sample: probability(network, sample.image(), config)


def fit_one_copy(
    model: CrackModel, name: str, samples: list[Sample], fold: int, run: Run | None, attempt: int
) -> nets.Expert:
    """One training of a copy; see :func:`fit_expert`."""
    config = model.config
    network = copy_network(model, name, fold, attempt)
    head_only = config.oof.backbone != "full"
    frozen = list(network.backbone_parameters()) if head_only else []
    if frozen:
        freeze(frozen, network)
    learning = [p for p in network.parameters() if p.requires_grad]
    recipe = copy_recipe(config, name)
    steps = round(config.oof.steps * recipe.longer)
    items = ExpertItems(samples, config, recipe, steps * config.oof.batch, name)
    loader = Loader(items, config.oof.batch, config.seed, shuffle=False, workers=config.workers)
    state = expert_state(network, learning, config, steps, config.oof.lr * 0.5**attempt, config.oof.warmup)
    stage = f"oof-{fold}-{name}" + _again(attempt)
    fit(state, expert_step(config, frozen), loader, stage=stage, until=Steps(steps), run=run)
    return network


def copy_recipe(config: CrackConfig, name: str) -> Recipe:
    """An expert that learns from a share of the photos: its copies learn from as many, though a fold is missing.

    With fewer they would be worse than what they stand for, and the gate would learn to avoid it (few photos make
    each one count).
    """
    recipe, folds = config.recipe(name), config.oof.folds
    return recipe.replace(share=min(1.0, recipe.share * folds / (folds - 1)))


def copy_network(model: CrackModel, name: str, fold: int, attempt: int = 0) -> nets.Expert:
    """What a copy starts from: new weights, or those of the deployed expert with a new head."""
    config = model.config
    network = new_network(name, config, "copy", name, fold, *([attempt] if attempt else []))
    if config.oof.backbone == "deployed":
        deployed = model.networks[name]
        assert isinstance(deployed, nets.Expert)
        backbone = {id(p) for p in deployed.backbone_parameters()}
        names = {n for n, p in deployed.named_parameters() if id(p) in backbone}
        modules = {n.rpartition(".")[0] for n in names}
        kept = {k: v for k, v in deployed.state_dict().items() if k in names or k.rpartition(".")[0] in modules}
        network.load_state_dict(kept, strict=False)
    return network


def in_sample_table(model: CrackModel, samples: Sequence[Sample]) -> Table:
    """The control: scores of the deployed experts on the very photos they were trained on."""
    from fieldsight.systems.crack.oof import Row

    rows = []
    for sample in samples:
        truth, scores = sample.mask(), {}
        for name in model.config.names:
            if name in model.config.pool:
                found = probability(model.networks[name], sample.image(), model.config)
            else:
                found = model.external_map(name, sample)
            scores[name], _ = score(found >= 0.5, truth, model.config.oof.empty_gt)
        rows.append(Row(sample.id, sample.group, sample.domain, -1, int(np.count_nonzero(truth)), scores))
    return Table(model.config.names, tuple(rows))


# ---------------------------------------------------------------------------------------------------- gate


def train_gate(
    model: CrackModel, samples: Sequence[Sample], table: Table, run: Run | None, stage: str = "gate"
) -> None:
    """Stage 3: the gate on whole photos; no expert's weight or statistic changes.

    A share of the table's groups decides when to stop; the test split is never looked at.
    """
    config, settings = model.config, model.config.gate
    by_id = {s.id: s for s in samples}
    rows = [row for row in table.rows if not any(math.isnan(v) for v in row.scores.values())]
    dropped = len(table.rows) - len(rows)
    if dropped:
        progress.note(f"{dropped} photos without crack are left out of the gate's training")
    zero = sum(not any(row.scores.values()) for row in rows)
    if zero:
        progress.note(f"{zero} photos on which every expert scores 0: equal soft target, no hard label")
    groups = sorted({row.group for row in rows})
    order = rng_for(config.seed, "gate split").permutation(len(groups))
    aside = {groups[i] for i in order[: max(1, round(settings.share * len(groups)))]}
    side = gate_side([by_id[r.id] for r in rows], config)

    def items(held: bool) -> GateItems:
        chosen = [r for r in rows if (r.group in aside) == held]
        scores = np.array([[r.scores[e] for e in table.experts] for r in chosen], dtype=np.float32)
        return GateItems([by_id[r.id].image for r in chosen], scores, config, side, augmented=not held)

    # a last batch of one photo would give BatchNorm nothing to average over
    loader = Loader(items(False), settings.batch, config.seed, drop_last=True, workers=config.workers)
    watched = Loader(items(True), settings.batch, config.seed, shuffle=False)
    gate = model.networks["gate"]
    assert isinstance(gate, Gate)
    state = gate_state(gate, settings, len(loader))
    fit(
        state,
        gate_step(gate, settings, len(loader)),
        loader,
        stage=stage,
        until=Epochs(settings.epochs),
        run=run,
        validate=lambda s: watch_gate(s.net, settings, watched),
        stop=EarlyStop("val_loss", patience=settings.patience),
    )
    model.round_weights()


def gate_state(gate: Gate, settings: GateTraining, per_epoch: int) -> State:
    """AdamW, linear warm-up, cosine decay."""
    for parameter in gate.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(gate.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    warmup, total = settings.warmup * per_epoch, settings.epochs * per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return max(1e-6, (step + 1) / warmup)
        return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return State(net=gate, opt=optimizer, schedule=torch.optim.lr_scheduler.LambdaLR(optimizer, factor))


def gate_step(gate: Gate, settings: GateTraining, per_epoch: int) -> Step:
    """One optimiser step of the gate; the backbone does not move in the first epochs, nor do its statistics."""
    backbone = list(gate.backbone_parameters())

    def step(fabric: Any, state: State, batch: dict[str, Tensor], number: int) -> Mapping[str, Tensor]:
        frozen = number < settings.freeze * per_epoch
        for parameter in backbone:
            parameter.requires_grad_(not frozen)
        if frozen:
            freeze(backbone, gate)
        loss = gate_loss(state.net(batch["image"]), batch["scores"], settings)
        fabric.backward(loss)
        state.opt.step()
        state.opt.zero_grad()
        state.schedule.step()
        return {"loss": loss.detach()}

    return step


def gate_loss(logits: Tensor, scores: Tensor, settings: GateTraining) -> Tensor:
    """The chosen loss of gate logits ``(N, M)`` for out-of-fold scores ``(N, M)``."""
    if settings.target == "hard":
        label, counts = (torch.from_numpy(a).to(logits.device) for a in mixing.hard_labels(scores.cpu().numpy()))
        return mixing.hard_loss(logits, label, counts.to(logits.dtype))
    if settings.target == "ranking":
        return mixing.ranking_loss(logits, scores)
    if settings.target == "regret":
        return mixing.regret_loss(logits, scores)
    table = scores.cpu().numpy()
    target = mixing.soft_labels(table) if settings.target == "soft" else mixing.sharpened(table, settings.tau)
    return mixing.soft_loss(logits, torch.from_numpy(target).to(logits))


def watch_gate(gate: nn.Module, settings: GateTraining, loader: Loader) -> dict[str, float]:
    """The loss on the groups put aside, and what the gate's choice costs there: regret and hit rate."""
    device = next(gate.parameters()).device
    logits, scores = [], []
    for batch in loader.batches("watch", 0):
        logits.append(gate(batch["image"].to(device)).cpu())
        scores.append(batch["scores"])
    found, truth = torch.cat(logits), torch.cat(scores)
    best = truth.max(dim=1).values
    picked = truth.gather(1, found.argmax(dim=1, keepdim=True))[:, 0]
    return {
        "val_loss": float(gate_loss(found, truth, settings)),
        "val_regret": float((best - picked).mean()),
        "val_hit": float((picked >= best).float().mean()),
    }


def remember(model: CrackModel, splits: Mapping[str, Sequence[Sample]], table: Table) -> None:
    """Keep with the model what routing explanations and the review list need."""
    from fieldsight.systems.crack.explain import calibrate, neighbours

    side = gate_side(splits["train"], model.config)
    model.artefacts["routing"] = {"side": side}  # what follows looks at photos as prediction does
    model.artefacts["neighbours"] = neighbours(model, splits["train"], table)
    model.artefacts["routing"] = {"side": side, **calibrate(model, splits["val"], table)}
