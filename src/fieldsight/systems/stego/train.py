"""The method of section 2: both networks as one, Eq. (5), on pairs of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldsight.data.loader import Loader
from fieldsight.engine.checkpoint import State
from fieldsight.engine.fit import Step, Steps, fit
from fieldsight.engine.seed import rng_for
from fieldsight.engine.steps import one_loss
from fieldsight.errors import DataError
from fieldsight.run import Run
from fieldsight.systems.stego.config import StegoConfig
from fieldsight.systems.stego.data import PairItems, load_pictures, read_pictures, training_pictures
from fieldsight.systems.stego.invertible import InvertibleNet, fit_basis
from fieldsight.systems.stego.losses import banded_loss, decibel_loss, fusion_loss, gain_loss
from fieldsight.systems.stego.model import Way
from fieldsight.systems.stego.noise import disturb
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.wavelet import DWT

Pictures = Sequence[NDArray[np.uint8]]

#: Crops whose packets give the principal components that the invertible network starts from.
BASIS_CROPS = 400


def train(config: StegoConfig, data: Path | None, run: Run, init: StegoModel | None) -> StegoModel:
    """Train both networks; without ``data`` on drawn pictures, and on packaged photos where the config says so."""
    learned, watched, words = gather_pictures(config, data)
    model = StegoModel.create(config)
    if init is not None:
        for name, network in model.networks.items():
            network.load_state_dict(init.networks[name].state_dict())
    elif config.arch == "inn" and config.inn.start:
        start(model, learned)
    train_pair(model, learned, watched, run)
    from fieldsight.systems.stego.evaluate import card_of

    model.card = card_of(model, run, words)
    return model


def gather_pictures(config: StegoConfig, data: Path | None) -> tuple[Pictures, Pictures, str]:
    """Pictures to learn from and to watch, ``(H, W, 3)`` uint8 each, and what they are in words.

    Raises:
        DataError: fewer than two pictures in a split, or pictures smaller than the crop.
    """
    if data is None:
        learned, watched, words = training_pictures(config.data, config.crop)
    else:
        learned, watched = (load_pictures(read_pictures(data, s), config.data.longest) for s in ("train", "val"))
        words = f"{len(learned)} pictures of '{data.name}'"
    for name, pictures in (("train", learned), ("val", watched)):
        fitting = [p for p in pictures if min(p.shape[:2]) >= config.crop]
        if len(fitting) < 2:
            raise DataError(
                f"The split '{name}' has {len(fitting)} pictures of at least {config.crop} x {config.crop} pixels, "
                "two are needed. Lower the crop, or give more or larger pictures."
            )
    return learned, watched, words


def start(model: StegoModel, pictures: Pictures) -> None:
    """Give the invertible network the principal components of training crops and the best linear gains."""
    config = model.config
    items = PairItems(pictures, config.crop, augment=True)
    chosen: list[Tensor] = []
    for number in range(min(BASIS_CROPS, 4 * len(items))):
        item = items.item(number % len(items), rng_for(config.seed, "stego", "basis", number))
        chosen.append(torch.from_numpy(item["cover"]))
    network = model.networks["net"]
    assert isinstance(network, InvertibleNet)
    network.start(fit_basis(chosen, config.inn.levels))


def train_pair(
    model: StegoModel, learned: Pictures, watched: Pictures, run: Run | None, step: Step | None = None
) -> None:
    """All steps of one stage; ends with weights that float16 holds exactly: what is measured is what is kept.

    ``step`` stands in for :func:`step_of`, for studies that watch every step.
    """
    config = model.config
    codec = model.codec(pixels=config.loss.domain != "dwt")
    optimizer = torch.optim.Adam(codec.parameters(), lr=config.lr, eps=1e-7)
    state = State(net=codec, opt=optimizer)
    if config.schedule == "cosine":
        state = State(
            net=codec, opt=optimizer, schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
        )
    # without augmentation the paper's way: whole pictures, a new secret for each cover in every epoch
    items = PairItems(learned, config.crop, config.augment, shuffle=True, whole=not config.augment)
    loader = Loader(items, config.batch, config.seed, drop_last=True, workers=config.workers)
    aside = Loader(PairItems(watched, config.crop, augment=False), config.batch, config.seed, shuffle=False)
    fit(
        state,
        step or step_of(config),
        loader,
        stage="pair",
        until=Steps(config.steps),
        run=run,
        validate=(lambda s: watch(config, s.net, aside)) if run is not None else None,
    )
    model.round_weights()


def step_of(config: StegoConfig) -> Step:
    """One optimiser step on both networks."""
    return one_loss(
        lambda state, batch: losses(config, state.net, batch), clip=config.clip or None, schedule="schedule"
    )


def losses(config: StegoConfig, codec: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss of a batch of pixels ``(N, 3, H, W)`` in 0-1."""
    chosen = config.loss
    # the wavelet networks give bands of cover and secret too where the loss is on bands; see StegoModel.codec
    found = {**batch, **codec(batch["cover"], batch["secret"], way_of(config), chosen.rounding == "8bit")}
    four = (found["secret"], found["revealed"], found["cover"], found["stego"])
    if chosen.domain == "gain":
        return {"loss": gain_loss(*four, chosen.beta)}
    if chosen.domain == "psnr":
        return {"loss": decibel_loss(*four, chosen.beta)}
    if chosen.domain == "pixel" or set(chosen.bands) == {1.0}:  # by Parseval the same in pixels and in bands
        return {"loss": fusion_loss(*four, chosen.beta)}
    a, b, c, d = (x if x.ndim == 5 else DWT()(x) for x in four)
    return {"loss": banded_loss(a, b, c, d, chosen.beta, chosen.bands)}


def way_of(config: StegoConfig) -> Way | None:
    """What happens to the stego between hiding and revealing in training."""
    kinds = config.loss.noise
    return (lambda stego: disturb(stego, kinds)) if kinds else None


def watch(config: StegoConfig, codec: Any, loader: Loader) -> dict[str, float]:
    """PSNR of stego and secret in dB after rounding to 8 bits, pooled over validation pairs."""
    device = next(codec.parameters()).device
    errors = np.zeros(2)
    count = 0
    for batch in loader.batches("watch", 0):
        cover, secret = batch["cover"].to(device), batch["secret"].to(device)
        stego = codec.finish(codec.hide(cover, secret), cover)
        revealed = codec.reveal(stego).clamp(0, 1)
        errors += [float(((a - b) ** 2).mean()) * len(cover) for a, b in ((stego, cover), (revealed, secret))]
        count += len(cover)
    stego_db, secret_db = (-10 * math.log10(max(e / count, 1e-12)) for e in errors)
    return {"stego_psnr": stego_db, "secret_psnr": secret_db}
