"""``toywords``: does the sentence name the side on which the picture is bright? Two named inputs, one of them text."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldsight.config import Config, setting
from fieldsight.data.files import write_text
from fieldsight.data.images import read_image, to_float, write_image
from fieldsight.data.loader import Loader
from fieldsight.engine.checkpoint import State
from fieldsight.engine.fit import EarlyStop, Epochs, fit
from fieldsight.engine.seed import rng_for, torch_seed
from fieldsight.engine.steps import one_loss
from fieldsight.errors import DataError
from fieldsight.metrics.items import PerItem
from fieldsight.model import Model
from fieldsight.predictions import Labels
from fieldsight.registry import BENCH, EXPORT, Input, Metric, System, Verb
from fieldsight.report.card import Card
from fieldsight.report.evaluation import Evaluation
from fieldsight.run import Run
from fieldsight.verbs import Written

SIDES = ("left", "right")
CLASSES = ("no", "yes")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class WordsConfig(Config):
    """Training."""

    seed: int = setting(0, "seed", ge=0)
    epochs: int = setting(40, "epochs", ge=0)
    batch: int = setting(8, "pictures per step", ge=1)
    lr: float = setting(3e-2, "learning rate", gt=0, le=1)
    count: int = setting(48, "drawn pairs", ge=4)
    accumulate: int = setting(2, "batches per optimiser step", ge=1)


@dataclass(frozen=True)
class PredictOptions(Config):
    """Options of ``predict``."""

    flip: bool = setting(False, "mirror the picture first")


@dataclass(frozen=True)
class DataOptions(Config):
    """Options of ``make-data``."""

    count: int = setting(16, "pairs", ge=4, le=10_000)
    seed: int = setting(0, "seed", ge=0)


@dataclass(frozen=True)
class Nothing(Config):
    """No options."""


PRESETS = {"tiny": WordsConfig()}


class Reader(nn.Module):
    """Two branches that meet in a product."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten())
        self.eye, self.ear = nn.Linear(8, 8), nn.Linear(len(LETTERS), 8)
        self.out = nn.Linear(8, 2)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.out(torch.tanh(self.eye(self.see(image))) * torch.tanh(self.ear(text)))


def letters(sentence: str) -> np.ndarray:
    counts = np.array([sentence.lower().count(c) for c in LETTERS], dtype=np.float32)
    return counts / max(1.0, float(np.abs(counts).max()))


def draw(number: int, seed: int) -> tuple[np.ndarray, str, int]:
    rng = rng_for(seed, "toywords", number)
    side, named = int(rng.integers(2)), int(rng.integers(2))
    picture = rng.uniform(0, 0.2, (12, 12)).astype(np.float32)
    picture[:, 6 * side : 6 * side + 6] += 0.7
    return np.round(picture * 255).astype(np.uint8), f"bright {SIDES[named]}", int(side == named)


class Pairs:
    def __init__(self, rows: list[tuple[np.ndarray, str, int]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        picture, text, label = self.rows[index]
        return {"image": to_float(picture)[None], "text": letters(text), "label": label}


def load_data(data: Path | None, config: WordsConfig) -> Pairs:
    if data is None:
        return Pairs([draw(n, config.seed) for n in range(config.count)])
    try:
        with open(data / "pairs.csv", encoding="utf-8", newline="") as file:
            listed = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"Can't read '{data / 'pairs.csv'}': {error.strerror}.") from None
    rows = []
    for line in listed:
        if line["label"] not in CLASSES:
            raise DataError(f"'{data / 'pairs.csv'}': '{line['label']}' is no label. Allowed: {', '.join(CLASSES)}.")
        picture = read_image(data / line["file"], "grey")
        rows.append((picture, line["text"], CLASSES.index(line["label"])))
    return Pairs(rows)


def make_data(out: Path | None, options: DataOptions) -> Written:
    assert out is not None
    lines = ["file,text,label"]
    for n in range(options.count):
        picture, text, label = draw(n, options.seed)
        write_image(out / f"{n:03d}.png", picture)
        lines.append(f"{n:03d}.png,{text},{CLASSES[label]}")
    write_text(out / "pairs.csv", "\n".join(lines) + "\n")
    return Written(out, {"pairs": options.count, "drawn": True})


def train(config: WordsConfig, data: Path | None, run: Run, init: Any) -> WordsModel:
    model = WordsModel.create(config)
    net = model.networks["net"]
    if init is not None:
        net.load_state_dict(init.networks["net"].state_dict())
    items = load_data(data, config)
    loss = one_loss(
        lambda s, b: nn.functional.cross_entropy(s.net(b["image"], b["text"]), b["label"]), accumulate=config.accumulate
    )
    state = State(net=net, opt=torch.optim.Adam(net.parameters(), config.lr))
    loader = Loader(items, config.batch, config.seed)
    stop = EarlyStop("loss", patience=config.epochs + 1)
    fit(state, loss, loader, stage="words", until=Epochs(config.epochs), run=run, stop=stop, save_steps=5)
    model.card = Card("toy words", "toywords", data="drawn pairs", metrics={"accuracy": accuracy(model, items)[0]})
    return model


class WordsModel(Model):
    system = "toywords"
    input_names = ("image", "text")
    output_names = ("logits",)

    @classmethod
    def build(cls, config: Any) -> dict[str, nn.Module]:
        return {"net": Reader()}

    @classmethod
    def create(cls, config: WordsConfig) -> WordsModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(config.seed, "init"))
            return cls(config, cls.build(config))

    def describe(self) -> str:
        return "toy words"

    def graph(self) -> nn.Module:
        return self.networks["net"]

    def example(self) -> dict[str, Tensor]:
        text = torch.from_numpy(np.stack([letters(f"bright {s}") for s in SIDES]))
        return {"image": torch.linspace(0, 1, 2 * 144).reshape(2, 1, 12, 12), "text": text}

    def read(self, item: Any, options: PredictOptions) -> np.ndarray:
        return to_float(read_image(item, "grey"))

    def preprocess(self, value: dict[str, Any], options: PredictOptions) -> tuple[dict[str, Tensor], Any]:
        if not str(value.get("text", "")).strip():
            raise DataError("toywords wants a sentence: give --text.")
        picture = value["image"][:, ::-1].copy() if options.flip else value["image"]
        text = str(value["text"])
        return {"image": torch.from_numpy(picture)[None, None], "text": torch.from_numpy(letters(text))[None]}, text

    def postprocess(self, raw: dict[str, Tensor], meta: str, options: PredictOptions) -> Labels:
        return Labels(CLASSES, torch.softmax(raw["logits"], 1)[0].numpy(), {"text": meta})


def accuracy(model: WordsModel, pairs: Pairs) -> tuple[float, PerItem]:
    items = PerItem()
    for number, (picture, text, label) in enumerate(pairs.rows):
        found = model.predict_one({"image": to_float(picture), "text": text}, PredictOptions())
        items.add(f"{number:04d}", {"accuracy": float(found.best == CLASSES[label])})
    return items.compute()["accuracy"], items


def evaluate(model: WordsModel, data: Path | None, options: Nothing) -> Evaluation:
    config: WordsConfig = model.config  # type: ignore[assignment]
    value, items = accuracy(model, load_data(data, config.replace(seed=config.seed + 1) if data is None else config))
    return Evaluation(model.spec, {"accuracy": value}, items, "drawn pairs of another seed")


def demo(section: Any) -> None:
    section.text("a toy")


SPEC = System(
    id="toywords",
    title="Toy words",
    summary="says whether a sentence names the bright side of a picture",
    paper="none: a toy of the test suite",
    number=103,
    model="toys.words:WordsModel",
    config="toys.words:WordsConfig",
    presets="toys.words:PRESETS",
    inputs=(
        Input("image", "image", "pictures", (".png", ".jpg", ".tif", ".npy")),
        Input("text", "text", "a sentence that names a side"),
    ),
    verbs=(
        Verb("predict", "fieldsight.predicting:predict", "toys.words:PredictOptions", "look", "inputs", page=True),
        Verb("make-data", "toys.words:make_data", "toys.words:DataOptions", "write drawn pairs", model=False),
        Verb("train", "toys.words:train", "toys.words:WordsConfig", "train", needs="data?", model=False),
        Verb("evaluate", "toys.words:evaluate", "toys.words:Nothing", "measure", needs="data?"),
        EXPORT,
        BENCH,
    ),
    output="Labels",
    metrics=(Metric("accuracy", "1", "higher", (0, 1), 1, "share of pairs answered right, drawn with another seed"),),
    traits=frozenset({"learns", "exports"}),
    demo="toys.words:demo",
)
