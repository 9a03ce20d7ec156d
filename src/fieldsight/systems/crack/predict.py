"""The model users hold: a photo in; mask, measurements and the route that led to them out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fieldsight.engine.seed import torch_seed
from fieldsight.errors import ConfigError
from fieldsight.model import Model, Runner
from fieldsight.predicting import Outcome
from fieldsight.predictions import Prediction
from fieldsight.systems.crack import nets
from fieldsight.systems.crack.config import CrackConfig
from fieldsight.systems.crack.data import GATE_SIDE
from fieldsight.systems.crack.engines import DenseEngine, EagerEngine, PartsEngine, open_parts
from fieldsight.systems.crack.external import Expert, load_external
from fieldsight.systems.crack.fusion import Warn, fuse, left_out
from fieldsight.systems.crack.gating import pieces, weigh, weigh_cells
from fieldsight.systems.crack.inference import STRIDE, Engine, prepared, restored
from fieldsight.systems.crack.mixing import select
from fieldsight.systems.crack.model import Dense, ExpertOnly, GateOnly, set_prior
from fieldsight.systems.crack.nets.gate import Gate
from fieldsight.systems.crack.options import PredictOptions
from fieldsight.systems.crack.photo import Photo, open_photo
from fieldsight.systems.crack.results import CrackMap, write_folder_files
from fieldsight.systems.crack.routes import VIEW, Route
from fieldsight.systems.crack.sample import Sample

#: Photos up to so many pixels a side are routed as a whole where nothing else is said.
WHOLE = VIEW


class CrackModel(Model):
    """A pool of experts and the gate that chooses among them."""

    system = "crack"
    input_names: ClassVar[tuple[str, ...]] = ("image",)
    output_names: ClassVar[tuple[str, ...]] = ("weights", "maps")
    config: CrackConfig
    _external: dict[str, Expert] | None = None
    _opened: tuple[Any, dict[str, Runner]] | None = None

    # ------------------------------------------------------------------------------------------ networks

    @classmethod
    def build(cls, config: CrackConfig) -> dict[str, nn.Module]:
        """The gate (where there is a choice) and the trained experts, without what only training needs."""
        found: dict[str, nn.Module] = {}
        if len(config.names) > 1:
            own = config.gate
            found["gate"] = Gate(len(config.names), own.widths, own.hidden, own.dropout, own.shrink)
        for name in config.pool:
            found[name] = deployed(nets.build(name, config.networks, config.window or None))
        return found

    @classmethod
    def create(cls, config: CrackConfig) -> CrackModel:
        """An untrained model; its weights depend on the config's seed only."""
        networks = {}
        with torch.random.fork_rng(devices=[]):
            for name in ("gate", *config.pool):
                torch.manual_seed(torch_seed(config.seed, "init", name))
                one = cls.build(config if name == "gate" else config.replace(pool=(name,), external=()))
                if name in one:
                    networks[name] = one[name]
                if name != "gate" and config.expert.prior:
                    set_prior(networks[name], config.expert.prior)
        return cls(config, networks)

    @property
    def names(self) -> tuple[str, ...]:
        """Experts in the order of the gate's outputs."""
        return self.config.names

    def graph(self) -> nn.Module:
        """Gate and trained experts side by side.

        Raises:
            ConfigError: the pool holds experts of the user's own, or a single one.
        """
        if self.config.external or "gate" not in self.networks:
            raise ConfigError(
                "Only a pool of trained experts with a gate is one network. Export a part: --part gate, or an expert's "
                "name."
            )
        experts: dict[str, nn.Module] = {name: self.networks[name] for name in self.config.pool}
        return Dense(self.networks["gate"], experts, self.config.mix.temperature)

    def example(self) -> dict[str, Tensor]:
        """Two pictures of soft waves with a dark line, normalised."""
        side = max(2 * STRIDE, self.config.window or 0) if self.config.fit == "native" else self.config.input
        y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
        waves = [torch.stack([torch.sin(9 * k * x + 5 * y + c) for c in range(3)]) for k in (1, 2)]
        image = torch.stack(waves)
        image[:, :, side // 2 : side // 2 + 2] -= 2.0
        return {"image": image}

    def typical(self) -> dict[str, Tensor]:
        """One grey picture of the size it was made for."""
        side = self.config.input if self.config.fit == "squash" else 512
        return {"image": torch.zeros(1, 3, side, side)}

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Batch, height and width may change, these by multiples of 32."""
        if self.config.fit == "squash":
            return {"image": {0: "batch"}}
        return {"image": {0: "batch", 2: "height", 3: "width"}}

    def part(self, name: str) -> CrackModel:
        """The model whose graph is the pool, the gate, or one expert; networks are shared.

        Raises:
            ConfigError: no such part.
        """
        if name == "pool":
            return self
        if name not in self.networks:
            raise ConfigError(f"part: '{name}' is not in this model; it has pool, all, {', '.join(self.networks)}.")
        found = PartModel(self.config, self.networks, self.artefacts, self.card)
        found.source, found.device, found.chosen = self.source, self.device, name
        if name != "gate":
            found.output_names = ("probability",)  # type: ignore[misc]
        return found

    def describe(self) -> str:
        """The pool, and what the default was trained on."""
        name = f"crack model '{self.source}' ({', '.join(self.names)})"
        return f"{name}. {self.card.line()}" if self.card else name

    # ------------------------------------------------------------------------------------------- running

    def external_experts(self, allow_code: bool = False) -> dict[str, Expert]:
        """The user's own experts, opened.

        Raises:
            ConfigError: one names Python code and ``allow_code`` is not set.
        """
        if self._external is None:
            found = {}
            for text in self.config.external:
                name, _, source = (part.strip() for part in text.partition("="))
                if Path(source).is_dir() and self.config.fit == "native":
                    source += ",fit=pad"  # its maps are of the photo, what the networks see is padded
                found[name] = load_external({"name": name, "source": source}, allow_code)
            self._external = found
        return self._external

    def external_map(self, name: str, sample: Sample) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Map ``(H, W)`` of a user's expert on a sample; training calls it, so code is allowed."""
        expert = self.external_experts(allow_code=True)[name]
        picture = sample.image()
        found = expert.probability(prepared(picture, self.config), [sample.id])
        shape = (picture.shape[0], picture.shape[1])
        return restored(found, shape, self.config)[0, 0].numpy()

    def engine(self, options: PredictOptions | None = None, id: str = "") -> Engine:
        """What computes: an export in use, a folder of exports, or the networks here."""
        options = options or PredictOptions()
        external = self.external_experts(options.allow_code)
        if self._runner is not None and type(self._runner) is not Eager:
            return DenseEngine(self, self._runner)
        if options.exports is not None:
            return PartsEngine(self, self._parts(options.exports), external, id)
        return EagerEngine(self, external, id)

    def _parts(self, folder: Path) -> dict[str, Runner]:
        """Runners of a folder of exports, kept for the next photo as long as no file in it changes."""
        state = (folder.resolve(), *sorted((p.name, p.stat().st_mtime_ns) for p in folder.glob("*")))
        if self._opened is None or self._opened[0] != state:
            self._opened = (state, open_parts(self, folder))
        return self._opened[1]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The dense form: weights and all maps; see :meth:`predict_one` for the sparse one."""
        if self._runner is None:
            self._runner = Eager(self._eager())
        return self._runner(batch)

    # ---------------------------------------------------------------------------------------- prediction

    def read(self, item: Any, options: PredictOptions) -> Photo:
        """Open a photo: only a part of it is in memory where it is large. Of a video, the first picture."""
        return open_photo(item, options.resize, options.scale)

    def predict_one(self, value: Photo, options: PredictOptions) -> Prediction:
        """Choose experts, run them, mix, measure; of a video, picture by picture.

        Raises:
            DataError: every expert failed.
        """
        if value.video is not None:
            from fieldsight.systems.crack.video import predict_video

            return predict_video(self, value, options)
        return self.find(value, options)

    def find(self, photo: Photo, options: PredictOptions, warn: Warn = left_out) -> CrackMap:
        """The cracks of one photo.

        Args:
            photo: the photo.
            options: of ``predict``.
            warn: told of each expert that fails: its name, and why.

        Raises:
            DataError: every expert failed.
        """
        engine = self.engine(options, photo.id)
        route = self.route(photo, options, engine)
        mixed = fuse(photo, route, engine, self.config, options, warn)
        return CrackMap.make(self, photo, mixed, options)

    @property
    def gate_side(self) -> int:
        """Side of the windows that the gate judges, in pixels: that of its training."""
        own = self.config.input if self.config.fit == "squash" else GATE_SIDE
        return int(self.artefacts.get("routing", {}).get("side", own))

    def mixing(self, options: PredictOptions) -> dict[str, Any]:
        """Mode, k and p: the model's own where the options say nothing."""
        own = self.config.mix
        return {
            "mode": own.mode if options.mix == "model" else options.mix,
            "k": min(options.k or own.k, len(self.names)),
            "p": options.p or own.p,
        }

    def route(self, photo: Photo, options: PredictOptions, engine: Engine) -> Route:
        """Ask the gate, for the whole photo or cell by cell, and choose.

        One choice for a large photo goes by the mean over its cells.
        """
        if len(self.names) == 1:
            one = np.ones((1, 1, 1), np.float32)
            return Route(one, one)
        large = self.config.fit == "native" and max(photo.shape) > WHOLE
        if large or (options.route == "tile" and self.config.fit == "native"):
            weights = weigh_cells(engine, photo, self.gate_side)
            if options.route == "image":
                weights = weights.mean(axis=(0, 1), keepdims=True)
        else:
            ((_, view),) = pieces(photo, self.config)
            weights = weigh(engine, view, self.gate_side)[None, None]
        chosen = select(weights.reshape(-1, len(self.names)), **self.mixing(options)).weights
        return Route(weights, chosen.reshape(weights.shape).astype(np.float32))

    # ------------------------------------------------------------------------------------------- exports

    def calibration_inputs(self, count: int) -> Any:
        """Drawn photos, for INT8: the gate and the experts see what they were trained on."""
        from fieldsight.systems.crack.data import draw

        config = self.config
        wanted = config.data.replace(train=max(10, count), val=2, test=2, seed=config.data.seed + 1)
        for sample in [s for s in draw(wanted) if s.split == "train"][:count]:
            yield {"image": prepared(sample.image(), config)}

    def conclude(self, outcomes: Sequence[Outcome], out: Path) -> list[Path]:
        """For several photos: all outlines as one COCO file, and the list of photos that a person should look at."""
        done = [o for o in outcomes if not o.error]
        files = [f for o in done for f in o.files]
        return write_folder_files(files, [(o.name, o.summary) for o in done], out, self.artefacts.get("routing"))


class Eager:
    """Marks the eager runner, so that exports in use are told from it."""

    def __init__(self, run: Runner) -> None:
        self._run = run

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the dense graph."""
        return self._run(batch)


class PartModel(CrackModel):
    """One part of a model alone, for exports."""

    output_names: ClassVar[tuple[str, ...]] = ("weights",)
    chosen: str = "gate"

    def graph(self) -> nn.Module:
        """The gate's weights, or an expert's probability."""
        network = self.networks[self.chosen]
        return GateOnly(network, self.config.mix.temperature) if self.chosen == "gate" else ExpertOnly(network)


def deployed(expert: nn.Module) -> nn.Module:
    """An expert without the parts that only training needs."""
    if getattr(expert, "reconstruction", None) is not None:
        expert.register_module("reconstruction", None)
    return expert


def with_pool(config: CrackConfig, pool: Sequence[str], external: Sequence[str] = ()) -> CrackConfig:
    """A config with another pool."""
    return config.replace(pool=tuple(pool), external=tuple(external))
