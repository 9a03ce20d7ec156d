"""``toygan``: learns to draw stripes that lie or stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.config import Config, setting
from fieldsight.data.files import read_json, write_json
from fieldsight.data.images import read_image, to_float, write_image
from fieldsight.data.loader import Loader
from fieldsight.engine.checkpoint import State
from fieldsight.engine.fit import Steps, fit
from fieldsight.engine.seed import rng_for, torch_seed
from fieldsight.errors import DataError
from fieldsight.metrics.items import PerItem
from fieldsight.model import Model
from fieldsight.predictions import Images
from fieldsight.registry import Input, Metric, System, Verb
from fieldsight.report.card import Card
from fieldsight.report.evaluation import Evaluation
from fieldsight.run import Run
from fieldsight.verbs import Written

KINDS = ("lying", "standing")
NOISE = 4


@dataclass(frozen=True)
class GanConfig(Config):
    """Training."""

    seed: int = setting(0, "seed", ge=0)
    steps: int = setting(40, "optimiser steps", ge=0)
    batch: int = setting(8, "pictures per step", ge=1)
    lr: float = setting(2e-3, "learning rate", gt=0, le=1)
    count: int = setting(32, "drawn pictures", ge=2)


@dataclass(frozen=True)
class GenerateOptions(Config):
    """Options of ``generate``."""

    count: int = setting(4, "pictures of each kind", ge=1, le=64)
    seed: int = setting(0, "seed of chance", ge=0)


@dataclass(frozen=True)
class DataOptions(Config):
    """Options of ``make-data``."""

    count: int = setting(32, "pictures", ge=2, le=10_000)
    seed: int = setting(0, "seed", ge=0)


@dataclass(frozen=True)
class Nothing(Config):
    """No options."""


PRESETS = {"tiny": GanConfig(), "paper": GanConfig(steps=4000)}


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(NOISE + 2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 64), nn.Sigmoid()
        )

    def forward(self, noise: Tensor, kind: Tensor) -> Tensor:
        return self.body(torch.cat([noise, F.one_hot(kind, 2).float()], 1)).reshape(-1, 8, 8)


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(66, 32), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(32, 1))

    def forward(self, picture: Tensor, kind: Tensor) -> Tensor:
        return self.body(torch.cat([picture.flatten(1), F.one_hot(kind, 2).float()], 1))[:, 0]


def draw(kind: int, rng: np.random.Generator) -> np.ndarray:
    stripes = np.tile(np.repeat([0.1, 0.9], 2), 2)[:, None] * np.ones(8)
    picture = np.roll(stripes, int(rng.integers(4)), axis=0)
    picture = picture + rng.normal(0, 0.05, (8, 8))
    return np.clip(picture if kind == 0 else picture.T, 0, 1).astype(np.float32)


class Stripes:
    def __init__(self, pictures: list[np.ndarray], kinds: list[int]) -> None:
        self.pictures, self.kinds = pictures, kinds

    def __len__(self) -> int:
        return len(self.pictures)

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"picture": self.pictures[index], "kind": self.kinds[index]}


def load_data(data: Path | None, config: GanConfig) -> Stripes:
    if data is None:
        rngs = [rng_for(config.seed, "toygan", n) for n in range(config.count)]
        return Stripes([draw(n % 2, rng) for n, rng in enumerate(rngs)], [n % 2 for n in range(config.count)])
    listed = read_json(data / "labels.json")
    pictures, kinds = [], []
    for name, kind in listed.items():
        if kind not in KINDS:
            raise DataError(f"'{data / 'labels.json'}': '{name}' is '{kind}', allowed are {', '.join(KINDS)}.")
        picture = to_float(read_image(data / name, "grey"))
        if picture.shape != (8, 8):
            raise DataError(f"'{data / name}' is {picture.shape[1]} x {picture.shape[0]}, 8 x 8 is wanted.")
        pictures.append(picture)
        kinds.append(KINDS.index(kind))
    return Stripes(pictures, kinds)


def make_data(out: Path | None, options: DataOptions) -> Written:
    assert out is not None
    labels = {}
    for n in range(options.count):
        picture = draw(n % 2, rng_for(options.seed, "toygan", n))
        write_image(out / f"{n:03d}.png", np.round(picture * 255).astype(np.uint8))
        labels[f"{n:03d}.png"] = KINDS[n % 2]
    write_json(out / "labels.json", labels)
    return Written(out, {"pictures": options.count, "drawn": True})


def step(fabric: Any, s: State, batch: dict[str, Any], number: int) -> Mapping[str, Tensor]:
    real, kind = batch["picture"], batch["kind"]
    noise = torch.randn(len(real), NOISE, device=real.device)
    fake = s.G(noise, kind)
    s.opt_D.zero_grad()
    loss_d = F.softplus(-s.D(real, kind)).mean() + F.softplus(s.D(fake.detach(), kind)).mean()
    fabric.backward(loss_d)
    s.opt_D.step()
    s.opt_G.zero_grad()
    loss_g = F.softplus(-s.D(fake, kind)).mean() + 4 * (fake - real).abs().mean()
    fabric.backward(loss_g)
    s.opt_G.step()
    s.seen += len(real)
    return {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}


def train(config: GanConfig, data: Path | None, run: Run, init: Any) -> GanModel:
    model = GanModel.create(config)
    if init is not None:
        model.networks["G"].load_state_dict(init.networks["G"].state_dict())
    torch.manual_seed(torch_seed(config.seed, "critic"))
    D, G = Critic(), model.networks["G"]
    state = State(
        G=G,
        D=D,
        opt_G=torch.optim.Adam(G.parameters(), config.lr, betas=(0.5, 0.99)),
        opt_D=torch.optim.Adam(D.parameters(), config.lr, betas=(0.5, 0.99)),
        seen=0,
    )
    loader = Loader(load_data(data, config), config.batch, config.seed)
    fit(state, step, loader, stage="pair", until=Steps(config.steps), run=run, save_steps=5)
    model.card = Card(
        "toy stripes",
        "toygan",
        data="drawn stripes",
        metrics={"distance": distance(model, config)},
        measured_on="drawn",
    )
    return model


class GanModel(Model):
    system = "toygan"
    input_names = ("noise", "kind")
    output_names = ("picture",)

    @classmethod
    def build(cls, config: Any) -> dict[str, nn.Module]:
        return {"G": Generator()}

    @classmethod
    def create(cls, config: GanConfig) -> GanModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(config.seed, "init"))
            return cls(config, cls.build(config))

    def describe(self) -> str:
        return "toy stripes"

    def graph(self) -> nn.Module:
        return self.networks["G"]

    def example(self) -> dict[str, Tensor]:
        return {"noise": torch.zeros(2, NOISE), "kind": torch.tensor([0, 1])}

    def read(self, item: Any, options: GenerateOptions) -> str:
        if str(item) not in KINDS:
            raise DataError(f"There is no kind '{item}'. Allowed: {', '.join(KINDS)}.")
        return str(item)

    def predict_one(self, value: str, options: GenerateOptions) -> Images:
        noise = rng_for(options.seed, "noise", value).standard_normal((options.count, NOISE)).astype(np.float32)
        kind = torch.full((options.count,), KINDS.index(value))
        pictures = self.forward({"noise": torch.from_numpy(noise), "kind": kind})["picture"].numpy()
        return Images(pictures, tuple(str(n) for n in range(options.count)), {"kind": value})


def distance(model: GanModel, config: GanConfig) -> float:
    real = load_data(None, config)
    gaps = []
    for kind, name in enumerate(KINDS):
        mean = np.mean([p for p, k in zip(real.pictures, real.kinds, strict=True) if k == kind], axis=0)
        gaps.append(np.abs(model.predict_one(name, GenerateOptions(count=32)).pictures.mean(axis=0) - mean).mean())
    return float(np.mean(gaps))


def evaluate(model: GanModel, data: Path | None, options: Nothing) -> Evaluation:
    value = distance(model, model.config)  # type: ignore[arg-type]
    items = PerItem()
    items.add("all", {"distance": value})
    return Evaluation(model.spec, {"distance": value}, items, "drawn stripes")


def demo(section: Any) -> None:
    section.text("a toy")


SPEC = System(
    id="toygan",
    title="Toy stripes",
    summary="draws stripes that lie or stand",
    paper="none: a toy of the test suite",
    number=101,
    model="toys.gan:GanModel",
    config="toys.gan:GanConfig",
    presets="toys.gan:PRESETS",
    inputs=(Input("kind", "label", "lying or standing"),),
    verbs=(
        Verb(
            "generate", "fieldsight.predicting:predict", "toys.gan:GenerateOptions", "draw", needs="inputs", page=True
        ),
        Verb("make-data", "toys.gan:make_data", "toys.gan:DataOptions", "write drawn pictures", model=False),
        Verb("train", "toys.gan:train", "toys.gan:GanConfig", "train the pair", needs="data?", model=False),
        Verb("evaluate", "toys.gan:evaluate", "toys.gan:Nothing", "measure", needs="data?"),
    ),
    output="Images",
    metrics=(Metric("distance", "intensity", "lower", (0, 1), 0, "mean |mean of drawn - mean of made|, both kinds"),),
    traits=frozenset({"learns", "generates"}),
    demo="toys.gan:demo",
)
