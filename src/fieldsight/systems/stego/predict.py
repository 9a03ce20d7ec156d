"""The model users hold: cover and secret in, stego out; stego in, secret out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldsight import progress
from fieldsight.data import tiling
from fieldsight.data.folders import Item, gather
from fieldsight.data.images import to_uint8
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.engine.seed import torch_seed
from fieldsight.errors import ConfigError, DataError
from fieldsight.model import Model
from fieldsight.systems.stego import secret as secrets
from fieldsight.systems.stego.carrier import Carrier
from fieldsight.systems.stego.channel import Reading
from fieldsight.systems.stego.config import StegoConfig
from fieldsight.systems.stego.graphs import Both, Hiding, Revealing
from fieldsight.systems.stego.invertible import InvertibleNet
from fieldsight.systems.stego.model import Baluja, Codec, HidingNet, RevealingNet, WaveletFusion
from fieldsight.systems.stego.options import HideOptions, KeyOptions, RevealOptions
from fieldsight.systems.stego.results import Revealed, Stego, psnr_of
from fieldsight.systems.stego.secret import Passphrase, Secret

Array = NDArray[Any]
Picture = NDArray[np.uint8]

#: Chance of a mark below which a picture is said to hold nothing.
DOUBT = 0.5


@dataclass(frozen=True)
class Pairs:
    """Covers with a secret each, as two words or two folders on the command line name them."""

    covers: Any
    secrets: Any


@dataclass(frozen=True)
class Couple:
    """One cover and its secret, not yet read."""

    cover: Any
    secret: Any


class StegoModel(Model):
    """A pair of hiding and revealing networks with all that surrounds them."""

    system = "stego"
    input_names: ClassVar[tuple[str, ...]] = ("cover", "secret")
    output_names: ClassVar[tuple[str, ...]] = ("stego", "revealed")
    wrapper: ClassVar[type[nn.Module]] = Both
    config: StegoConfig

    # ------------------------------------------------------------------------------------------ networks

    @classmethod
    def build(cls, config: StegoConfig) -> dict[str, nn.Module]:
        """The networks of a config."""
        if config.arch == "inn":
            own = config.inn
            return {
                "net": InvertibleNet(own.levels, own.width, own.before, own.after, own.sent, own.settling, own.balance)
            }
        net = config.net
        if config.arch == "baluja":
            return {"net": Baluja(net.width)}
        inputs: Literal[3, 6] = 6 if net.reveal_inputs == "6" else 3
        return {
            "hiding": HidingNet(net.width, net.axes, residual=config.arch == "residual"),
            "revealing": RevealingNet(net.width, net.axes, inputs),
        }  # fmt: skip

    @classmethod
    def create(cls, config: StegoConfig) -> StegoModel:
        """An untrained model; its weights depend on the config's seed only."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(config.seed, "stego", "init"))
            return cls(config, cls.build(config))

    def codec(self, pixels: bool = True) -> Codec:
        """Both networks around pixels; see :class:`~fieldsight.systems.stego.model.WaveletFusion` for ``pixels``."""
        if "net" in self.networks:
            found = self.networks["net"]
            assert isinstance(found, Codec)
            return found
        hiding, revealing = self.networks["hiding"], self.networks["revealing"]
        assert isinstance(hiding, HidingNet)
        assert isinstance(revealing, RevealingNet)
        return WaveletFusion(hiding, revealing, self.config.net.wavelet, pixels)

    def part(self, name: str) -> StegoModel:
        """The model whose graph is ``pair``, ``hide`` or ``reveal``; the networks are shared."""
        kinds: dict[str, type[StegoModel]] = {"pair": StegoModel, "hide": HidePart, "reveal": RevealPart}
        found = kinds[name](self.config, self.networks, self.artefacts, self.card)
        found.source, found.device = self.source, self.device
        return found

    def graph(self) -> nn.Module:
        """What is exported."""
        return self.wrapper(self.codec())

    def example(self) -> dict[str, Tensor]:
        """Two small pairs of waves."""
        size = max(32, 4 * self.config.stride)
        y, x = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
        waves = [0.5 + 0.4 * torch.sin(6.3 * (k * x + (3 - k) * y) + k) for k in range(6)]
        cover = torch.stack([torch.stack(waves[:3]), torch.stack(waves[3:])])
        return {n: cover if n != "secret" else cover.flip(0, 3) for n in self.input_names}

    def typical(self) -> dict[str, Tensor]:
        """One pair of the paper's size."""
        return {name: torch.full((1, 3, 256, 256), 0.5) for name in self.input_names}

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Batch, height and width may change; the sizes by multiples of the stride."""
        return {name: {0: "batch", 2: "height", 3: "width"} for name in self.input_names}

    def describe(self) -> str:
        """What the default was trained on."""
        name = f"stego model '{self.source}' ({self.config.arch})"
        return f"{name}. {self.card.line()}." if self.card else name

    # -------------------------------------------------------------------------------------------- inputs

    def arrange(self, inputs: Any, named: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """Two words are cover and secret; a folder of secrets gives one to each cover in turn.

        Raises:
            ConfigError: there is no secret.
        """
        if "secret" in named:
            given = named["secret"]
            if isinstance(given, (str, Path)) and Path(given).is_dir():
                return Pairs(inputs, given), {}
            return inputs, named
        if isinstance(inputs, (Pairs, Couple)):
            return inputs, named
        if isinstance(inputs, (list, tuple)) and len(inputs) == 2:
            return Pairs(inputs[0], inputs[1]), {}
        raise ConfigError(
            "There is no secret. Give cover and secret: fieldsight stego hide COVER SECRET --out STEGO.png, "
            "or for several covers --secret FILE_OR_FOLDER."
        )

    def items(self, inputs: Any) -> list[Item]:
        """Covers; each with its secret where both were named in pairs."""
        if not isinstance(inputs, Pairs):
            return super().items(inputs)
        covers = super().items(inputs.covers)
        folder = isinstance(inputs.secrets, (str, Path)) and Path(inputs.secrets).is_dir()
        given = [i.value for i in gather(inputs.secrets, IMAGE_SUFFIXES)] if folder else [inputs.secrets]
        return [Item(Couple(item.value, given[n % len(given)]), item.name, item.stem) for n, item in enumerate(covers)]

    def read(self, item: Any, options: Any) -> Any:
        """A cover, or a cover with its secret."""
        if isinstance(item, Couple):
            return {"cover": Carrier.read(item.cover), "secret": Secret.read(item.secret, options.as_file)}
        return item if isinstance(item, Carrier) else Carrier.read(item)

    # ------------------------------------------------------------------------------------------ hiding

    def predict_one(self, value: Any, options: HideOptions) -> Stego:
        """Hide a secret in a cover.

        Args:
            value: ``cover`` as :meth:`read` gives it, and ``secret``: a path, an array or bytes.

        Raises:
            ConfigError: no secret, an empty passphrase.
            DataError: a secret that can't be read, or that the cover can't hold.
        """
        if not isinstance(value, Mapping) or value.get("secret") is None:
            raise ConfigError("There is no secret. Give one: --secret FILE, or secret=... in Python.")
        cover: Carrier = value["cover"]
        hidden = Secret.read(value["secret"], options.as_file)
        phrase = Passphrase.of(options.key, options.key_file)
        field_ = self.field(cover.shape)
        last = ""
        for drawn, how in hidden.drawings(field_, phrase, options.mark, options.robustness):
            stego, eight = self._hide(cover, drawn, options)
            if not options.check and hidden.payload is None:
                return self._result(cover, stego, eight, hidden, how, None, drawn, options)
            revealed = self._reveal(stego[: field_[0], : field_[1]], options)
            if hidden.payload is None:
                return self._result(cover, stego, eight, hidden, how, revealed, drawn, options)
            try:
                found = secrets.find(revealed, phrase)
                if isinstance(found, secrets.Found) and found.payload == hidden.payload:
                    return self._result(cover, stego, eight, hidden, how, revealed, drawn, options, found)
                last = "the mark did not come through"
            except DataError as error:
                last = str(error)
        raise DataError(
            f"'{hidden.name}' fits into {cover.name}, but does not come through whole: {last} "
            "Use a larger cover (fewer, larger cells), or a calmer one."
        )

    def field(self, shape: tuple[int, int]) -> tuple[int, int]:
        """The part of a picture that the networks see: whole strides from the upper left; the rim stays as it is."""
        step = max(2, self.config.stride)
        return shape[0] // step * step, shape[1] // step * step

    def _hide(self, cover: Carrier, drawn: Picture, options: KeyOptions) -> tuple[Array, Picture]:
        """Stego colours ``(H, W, 3)`` in the cover's depth, and in 8 bits: one array where that is the depth.

        Rounding 16 bits to 8 would harm the secret; so what the network gave is finished for either depth.
        """
        stego, top = cover.colour.copy(), np.float32(cover.top)
        deep = stego.dtype != np.uint8
        eight = to_uint8(stego) if deep else stego
        for tile in self._tiles(drawn.shape[:2], options.tile, "hiding"):
            batch = {
                "cover": _tensor(cover.colour[tile.read], top),
                "secret": _tensor(drawn[tile.read], np.float32(255)),
            }
            raw, own = self._run_hide(batch), batch["cover"].to(self.device)
            for kept in (stego, eight) if deep else (stego,):
                levels = np.float32(np.iinfo(kept.dtype).max)
                finished = _array(self.codec().finish(raw, own, float(levels)))
                kept[tile.keep] = np.round(finished[tile.inner] * levels).astype(kept.dtype)
        return stego, eight

    def _reveal(self, stego: Array, options: KeyOptions) -> Picture:
        """Revealed field ``(h, w, 3)`` in 8 bits of a stego field."""
        revealed, top = np.empty(stego.shape, np.uint8), np.float32(np.iinfo(stego.dtype).max)
        for tile in self._tiles(stego.shape[:2], options.tile, "revealing"):
            found = self._run_reveal({"stego": _tensor(stego[tile.read], top)})[tile.inner]
            revealed[tile.keep] = np.round(np.clip(found, 0, 1) * 255).astype(np.uint8)
        return revealed

    def _run_hide(self, batch: dict[str, Tensor]) -> Tensor:
        if self._runner is not None:  # another runtime, or the eager graph: both know the pair
            return self.forward(batch)["stego"].to(self.device)
        with torch.inference_mode():
            return self.codec().hide(*(batch[n].to(self.device) for n in ("cover", "secret")))

    def _run_reveal(self, batch: dict[str, Tensor]) -> Array:
        with torch.inference_mode():
            return _array(self.codec().reveal(batch["stego"].to(self.device)))

    def _tiles(self, shape: tuple[int, int], size: int, label: str) -> Iterator[tiling.Tile]:
        """Tiles whose halo is what the networks see around a pixel, so that no seam can be."""
        chosen = size or (1024 if self.config.arch == "inn" else 256)
        number = tiling.count(shape, chosen)
        pieces = tiling.tiles(shape, chosen, self.halo)
        return progress.track(pieces, f"{label} tiles", number) if number > 4 else pieces

    @property
    def halo(self) -> int:
        """Pixels around a pixel that its result may depend on, one way; whole strides."""
        if self.config.arch == "inn":
            own = self.config.inn
            return 6 * (own.before + own.after) * self.config.stride
        return 32  # 10 coefficients or 20 pixels of five 5x5 convolutions; Baluja's two nets in a row 20 pixels

    def _result(
        self,
        cover: Carrier,
        stego: Array,
        eight: Picture,
        hidden: Secret,
        how: str,
        revealed: Picture | None,
        drawn: Picture,
        options: HideOptions,
        found: secrets.Found | None = None,
    ) -> Stego:
        facts: dict[str, Any] = {
            "height": cover.shape[0],
            "width": cover.shape[1],
            "stego_psnr": psnr_of(cover.colour, stego),
            "largest_change": int(np.abs(stego.astype(np.int32) - cover.colour).max() * (255 / cover.top) + 0.5),
            "secret": hidden.name if hidden.payload is not None else "picture",
            "capacity_bytes": secrets.capacity(self.field(cover.shape)),
            "model": self.source,
        }
        if hidden.payload is not None:
            facts |= {"bytes": len(hidden.payload), "cells": how, "repaired": found.repaired if found else 0}
        elif revealed is not None:
            facts["secret_psnr"] = psnr_of(drawn, revealed)
        notes = list(cover.notes)
        if hidden.picture is not None and any(
            a > b for a, b in zip(hidden.picture.shape[:2], drawn.shape, strict=False)
        ):
            seen, room = hidden.picture.shape, drawn.shape
            notes.append(
                f"the secret is shrunk from {seen[1]} x {seen[0]} to fit {room[1]} x {room[0]}: small things are lost"
            )
        if notes:
            facts["notes"] = notes
        for note in notes:
            progress.note(f"warning: {cover.name}: {note}")
        preview = None if revealed is None else Revealed(revealed, None, "", {})
        return Stego(eight, cover.with_colour(stego), cover, preview, facts, options.details, options.allow_lossy)

    # ----------------------------------------------------------------------------------------- revealing

    def reveal_one(self, value: Carrier, options: RevealOptions) -> Revealed:
        """What is hidden in a picture.

        Raises:
            DataError: nothing that this model hid with this passphrase; a file that did not come through whole.
        """
        phrase = Passphrase.of(options.key, options.key_file)
        height, width = self.field(value.shape)
        revealed = self._reveal(value.colour[:height, :width], options)
        found = secrets.find(revealed, phrase, options.force)
        if not isinstance(found, secrets.Found):
            raise DataError(self._nothing(value, found, phrase is not None))
        reading = found.reading
        facts: dict[str, Any] = {
            "height": found.picture.shape[0],
            "width": found.picture.shape[1],
            "mark": reading is not None and reading.header is not None,
            "model": self.source,
        }
        if reading is not None:
            facts |= {"probability": round(reading.probability, 6), "wrong_cells": round(reading.rate, 4)}
        if found.payload is not None:
            facts |= {"file": found.name, "bytes": len(found.payload), "repaired": found.repaired}
        return Revealed(found.picture, found.payload, found.name, facts)

    def _nothing(self, value: Carrier, reading: Reading | None, keyed: bool) -> str:
        if reading is None:
            return (
                f"{value.name} is too small for a mark (64 pixels a side), so nobody can tell whether something is "
                "hidden. --force shows what the network makes of it."
            )
        words = [f"{value.name} holds nothing that this model hid{' with this passphrase' if keyed else ''}"]
        words.append(f" (probability of a mark {reading.probability:.2g}{self._false_alarms(reading)}).")
        if value.name.strip("'").lower().endswith((".jpg", ".jpeg")):
            words.append(" It is a JPEG: saving as JPEG destroys what was hidden; ask for the original file.")
        elif reading.probability > DOUBT:
            words.append(" There seems to be a damaged mark: the picture was edited, resized or saved anew.")
        hint = "another passphrase, another model" if keyed else "a passphrase (--key-file), another model (--model)"
        return "".join([*words, f" It may need {hint}. --force shows what the network makes of it."])

    def _false_alarms(self, reading: Reading) -> str:
        """How many plain photos score as high, where the model knows: an artefact of its shipping."""
        plain = self.artefacts.get("plain")
        if not plain:
            return ""
        above = int((np.asarray(plain["scores"]) >= reading.score).sum())
        return f"; of {plain['photos']:,} plain photos {above:,} look as much like one"


class HidePart(StegoModel):
    """The hiding network alone, for exports."""

    output_names = ("stego",)
    wrapper = Hiding


class RevealPart(StegoModel):
    """The revealing network alone, for exports."""

    input_names = ("stego",)
    output_names = ("revealed",)
    wrapper = Revealing


def _tensor(part: Array, top: np.float32) -> Tensor:
    scaled = part.astype(np.float32) / top
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))[None]


def _array(batch: Tensor) -> Array:
    return batch[0].cpu().numpy().transpose(1, 2, 0)
