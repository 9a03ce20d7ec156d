"""The object users hold: networks with their pre- and postprocessing, in one place, loaded and saved as a folder.

::

    model/
    ├── model.json            format, system, config, hashes
    ├── weights.safetensors   all networks, names as "network/parameter"
    ├── card.json             what it was trained on, how good it is, what it must not be used for
    └── <artefact>.json       e.g. the calibration

A system subclasses :class:`Model` and says how its networks are built, how an input becomes tensors, and how
tensors become a :class:`~fieldsight.predictions.Prediction`. Training code never appears here.
"""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fieldsight import registry
from fieldsight.config import Config
from fieldsight.data.files import atomic_folder, read_json, sha256, write_json
from fieldsight.data.folders import Item, gather
from fieldsight.errors import ConfigError, DataError, ModelFileError, unknown
from fieldsight.predictions import Prediction
from fieldsight.registry import System

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fieldsight.predicting import Outcome
    from fieldsight.report.card import Card

FORMAT = 1

#: Named tensors in, named tensors out: the eager network, or an exported one in another runtime.
Runner = Callable[[dict[str, "Tensor"]], dict[str, "Tensor"]]


class Model(ABC):
    """Base of all models. Tensors are batched, ``(N, C, H, W)`` for pictures.

    Attributes:
        system: id of its system.
        input_names, output_names: names of the exported graph's tensors, in order.
        config: how it was built.
        networks: its networks by name; empty for an analytic system.
        artefacts: JSON documents that belong to it, by file name without ending.
        card: what is known of it, or None.
        device: where the networks are.
    """

    system: ClassVar[str]
    input_names: ClassVar[tuple[str, ...]] = ("image",)
    output_names: ClassVar[tuple[str, ...]] = ("output",)

    def __init__(
        self,
        config: Config,
        networks: Mapping[str, nn.Module] | None = None,
        artefacts: Mapping[str, Any] | None = None,
        card: Card | None = None,
    ) -> None:
        self.config = config
        self.networks: dict[str, nn.Module] = dict(networks or {})
        self.artefacts: dict[str, Any] = dict(artefacts or {})
        self.card = card
        self.device: Any = "cpu"
        self.source = "untrained"
        self._runner: Runner | None = None
        for network in self.networks.values():
            network.eval()

    # ----------------------------------------------------------------------------- what a system provides

    @classmethod
    def build(cls, config: Any) -> dict[str, nn.Module]:
        """The untrained networks of a config; weights are drawn from torch's random numbers."""
        return {}

    @classmethod
    def from_file(cls, path: Path) -> Model:
        """A model out of one file of other tools, in systems that take such.

        Raises:
            ModelFileError: this system takes none, or not this file.
        """
        raise ModelFileError(_stranger(registry.get(cls.system), path))

    def graph(self) -> nn.Module:
        """The part that is exported: tensors in the order of ``input_names`` to a tuple of ``output_names``."""
        raise ConfigError(f"The system '{self.system}' has no network to run or export.")

    def example(self) -> dict[str, Tensor]:
        """A small batch with the names of ``input_names``, for exports and checks; always the same values."""
        raise ConfigError(f"The system '{self.system}' has no network to run or export.")

    def typical(self) -> dict[str, Tensor]:
        """One input of the usual size, for the energy line of the card; the first of the example by default."""
        return {name: value[:1] for name, value in self.example().items()}

    def calibration_inputs(self, count: int) -> Iterator[dict[str, Tensor]]:
        """Up to ``count`` batches like :meth:`example`, of what the network will meet, for the ranges of INT8.

        One picture each, in the size that will be predicted with, from training or drawn data and never from a test
        split; always the same.
        """
        raise ConfigError(f"The system '{self.system}' names no calibration inputs; give --calibration FOLDER.")

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Axes whose size may change after export, by tensor name; by default the batch."""
        return {name: {0: "batch"} for name in self.input_names}

    def arrange(self, inputs: Any, named: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """Inputs and other named inputs of the main action as they belong together, before :meth:`items` sees them.

        By default as they are; a system whose people name two inputs side by side (cover and secret) overrides it.
        """
        return inputs, named

    def items(self, inputs: Any) -> list[Item]:
        """What people handed in, one by one: files, folders and patterns of the first input's suffixes, or values.

        A system whose input may also be a name (a built-in network, a style) overrides it.
        """
        return gather(inputs, self.spec.inputs[0].suffixes)

    def read(self, item: Any, options: Any) -> Any:
        """Turn a path or value of the first input into what :meth:`preprocess` takes; by default unchanged."""
        return item

    def preprocess(self, value: Any, options: Any) -> tuple[dict[str, Tensor], Any]:
        """One input to a batch of one and whatever :meth:`postprocess` needs to know."""
        raise ConfigError(f"The system '{self.system}' has no preprocessing of single inputs.")

    def postprocess(self, raw: dict[str, Tensor], meta: Any, options: Any) -> Prediction:
        """The network's outputs for a batch of one to a prediction."""
        raise ConfigError(f"The system '{self.system}' has no postprocessing of single inputs.")

    def predict_one(self, value: Any, options: Any) -> Prediction:
        """One read input to one prediction; systems that tile or need no network override it."""
        batch, meta = self.preprocess(value, options)
        return self.postprocess(self.forward(batch), meta, options)

    def conclude(self, outcomes: Sequence[Outcome], out: Path) -> list[Path]:
        """Files about several inputs together, written below ``out`` when all are done; by default none."""
        return []

    @abstractmethod
    def describe(self) -> str:
        """What kind of model this is, in one line."""

    # ------------------------------------------------------------------------------------------- running

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the graph without gradients, in eager torch or in the runtime chosen by :meth:`use`."""
        if self._runner is None:
            self._runner = self._eager()
        return self._runner(batch)

    def _eager(self) -> Runner:
        import torch

        graph = self.graph().eval()

        def run(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            with torch.inference_mode():
                outputs = graph(*(batch[name].to(self.device) for name in self.input_names))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return {name: value.cpu() for name, value in zip(self.output_names, outputs, strict=True)}

        return run

    def use(self, runner: Runner | None) -> Model:
        """Let another runtime compute :meth:`forward`; None goes back to eager torch. Returns itself."""
        self._runner = runner
        return self

    def to(self, device: str) -> Model:
        """Move the networks to a device (``auto`` takes a GPU if there is one). Returns itself."""
        import torch

        chosen = device
        if device == "auto":
            mps = torch.backends.mps.is_available()
            chosen = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
        try:
            self.device = torch.device(chosen)
            for network in self.networks.values():
                network.to(self.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device: '{device}' can't be used here: {error}") from None
        self._runner = None
        return self

    def predict(self, inputs: Any, **options: Any) -> Any:
        """The main action; see the system's options. One input gives one prediction, several give a list."""
        return self._verb(self.spec.main.name)(inputs, **options)

    # ------------------------------------------------------------------------------------ verbs as methods

    @property
    def spec(self) -> System:
        """The system's entry in the registry."""
        return registry.get(self.system)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("system", "networks"):
            raise AttributeError(name)
        if any(verb.model and verb.attribute == name for verb in self.spec.verbs):
            return self._verb(name)
        verbs = sorted(verb.attribute for verb in self.spec.verbs if verb.model)
        raise AttributeError(unknown(f"attribute of a {self.system} model", name, verbs))

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(v.attribute for v in self.spec.verbs if v.model)})

    def _verb(self, name: str) -> Callable[..., Any]:
        from fieldsight.verbs import call

        return functools.partial(call, self.spec, name, self)

    # --------------------------------------------------------------------------------- saving and loading

    def state(self) -> dict[str, Tensor]:
        """All weights on the CPU, named ``network/parameter``."""
        return {
            f"{network}/{name}": tensor.detach().cpu().contiguous()
            for network, module in self.networks.items()
            for name, tensor in module.state_dict().items()
        }

    def fingerprint(self) -> str:
        """Hash of the weights as float32 values: the same before saving in float16 and after loading."""
        import torch

        digest = hashlib.sha256()
        for name, tensor in sorted(self.state().items()):
            digest.update(name.encode())
            values = tensor.to(torch.float32) if tensor.is_floating_point() else tensor
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()

    def round_weights(self) -> Model:
        """Round all weights to float16 values (kept as float32), as a shipped file stores them. Returns itself."""
        import torch

        with torch.no_grad():
            for module in self.networks.values():
                for tensor in [*module.parameters(), *module.buffers()]:
                    if tensor.is_floating_point():
                        tensor.copy_(tensor.to(torch.float16).to(tensor.dtype))
        return self

    def is_rounded(self) -> bool:
        """True when float16 holds every weight exactly."""
        import torch

        floats = [v for v in self.state().values() if v.is_floating_point()]
        return all(torch.equal(v, v.to(torch.float16).to(v.dtype)) for v in floats)

    def save(self, folder: str | Path) -> Path:
        """Write the model folder, whole or not at all; an older model there is replaced.

        Weights that float16 holds exactly (:meth:`round_weights`) are stored as float16, in half the space; they are
        computed with in float32 either way.
        """
        import torch

        target = Path(folder)
        before = self.fingerprint() if self.networks else ""
        with atomic_folder(target) as temporary:
            weights = self.state()
            if weights and self.is_rounded():
                weights = {k: v.to(torch.float16) if v.is_floating_point() else v for k, v in weights.items()}
            info: dict[str, Any] = {
                "format": FORMAT,
                "system": self.system,
                "config": self.config.to_dict(),
                "networks": sorted(self.networks),
                "artefacts": sorted(self.artefacts),
                "fingerprint": before,
            }
            if weights:
                from safetensors.torch import save_file

                path = temporary / "weights.safetensors"
                save_file(weights, str(path), metadata={"system": self.system})
                info["sha256"] = sha256(path)
            write_json(temporary / "model.json", info)
            for name, value in self.artefacts.items():
                write_json(temporary / f"{name}.json", value)
            if self.card is not None:
                write_json(temporary / "card.json", self.card.to_dict())
        return target


def load(system: str, source: str | Path | None = None, device: str = "auto") -> Any:
    """Load a model: the shipped default, a shipped one by name, a run's, or a model folder.

    Args:
        system: a system id, e.g. ``"sem"``.
        source: None for the default; a shipped model's name; a run folder; a model folder; a file, where the system
            takes models of others.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        ConfigError: unknown system or device.
        ModelFileError: no such model, incomplete or corrupt files, another system's, or a newer format.
    """
    spec = registry.get(system)
    cls: type[Model] = spec.load(spec.model)
    if source is None and not spec.defaults:
        if "learns" in spec.traits:
            raise ModelFileError(
                f"The system '{system}' ships no model. Train one: fieldsight {system} train, then name its run folder."
            )
        presets = spec.load(spec.presets)
        return cls(next(iter(presets.values())))
    if source is not None and str(source) not in spec.defaults and Path(source).is_file():
        foreign = cls.from_file(Path(source))
        foreign.source = str(source)
        return foreign.to(device) if foreign.networks else foreign
    folder = _find(spec, source)
    model = _read(spec, cls, folder)
    model.source = folder.name if source is None or str(source) in spec.defaults else str(source)
    return model.to(device) if model.networks else model


def shipped(spec: System, name: str) -> Path:
    """Folder of a model that ships with the package."""
    import importlib.util

    found = importlib.util.find_spec(spec.model.partition(":")[0])
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "weights" / name


def _find(spec: System, source: str | Path | None) -> Path:
    if source is None:
        return shipped(spec, spec.defaults[0])
    if str(source) in spec.defaults:
        return shipped(spec, str(source))
    path = Path(source)
    if (path / "model.json").is_file():
        return path
    if (path / "run.json").is_file():
        if (path / "model" / "model.json").is_file():
            return path / "model"
        raise ModelFileError(
            f"The run '{path}' has no model yet. Finish it: fieldsight {spec.id} train --resume {path}"
        )
    raise ModelFileError(_stranger(spec, source))


def _stranger(spec: System, source: str | Path) -> str:
    shipped_names = f" Shipped with fieldsight: {', '.join(spec.defaults)}." if spec.defaults else ""
    return f"'{source}' is no model folder, no run folder and no shipped model.{shipped_names}"


def _read(spec: System, cls: type[Model], folder: Path) -> Model:
    from fieldsight.report.card import Card

    try:
        info = read_json(folder / "model.json")
        if int(info["format"]) > FORMAT:
            raise ModelFileError(
                f"The model '{folder}' has format {info['format']}, this fieldsight reads up to {FORMAT}. "
                "Upgrade it: pip install --upgrade fieldsight"
            )
        if info["system"] != spec.id:
            raise ModelFileError(
                f"'{folder}' is a model of '{info['system']}', not of '{spec.id}'. "
                f'Use fieldsight.load("{info["system"]}", ...).'
            )
        config = spec.load(spec.config).parse(info["config"], where=str(folder / "model.json"))
        artefacts = {name: read_json(folder / f"{name}.json") for name in info["artefacts"]}
        card = Card.from_dict(read_json(folder / "card.json")) if (folder / "card.json").is_file() else None
        networks = cls.build(config) if info["networks"] else {}
    except (DataError, ConfigError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"The model '{folder}' is damaged: {error}") from None
    if networks:
        _fill(networks, folder, info)
    return cls(config, networks, artefacts, card)


def _fill(networks: dict[str, nn.Module], folder: Path, info: Mapping[str, Any]) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "weights.safetensors"
    try:
        if "sha256" in info and sha256(path) != info["sha256"]:
            raise ModelFileError(f"'{path}' is damaged: its hash is not the one in model.json. Fetch the model anew.")
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"Can't read the weights '{path}': {error}") from None
    for name, network in networks.items():
        prefix = name + "/"
        own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        floats = {k: v.to(torch.float32) if v.dtype == torch.float16 else v for k, v in own.items()}
        try:
            network.load_state_dict(floats)
        except RuntimeError as error:
            raise ModelFileError(f"The weights in '{path}' do not fit the network '{name}': {error}") from None
