"""What computes gate and experts: the networks here, one dense export, or a folder of exported parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldsight.errors import ConfigError, DataError
from fieldsight.model import Runner
from fieldsight.systems.crack.external import Expert, FolderExpert
from fieldsight.systems.crack.external_heads import resized

if TYPE_CHECKING:
    from fieldsight.systems.crack.predict import CrackModel

#: Rows and columns of a photo.
Place = tuple[slice, slice]


class WithExternal:
    """What engines have in common that run one expert at a time: the user's own experts, and a count of the calls.

    Attributes:
        names: experts in the gate's order.
        calls: how often each expert ran, for tests and reports.
    """

    def __init__(self, model: CrackModel, external: Mapping[str, Expert], id: str = "") -> None:
        self.model, self.external, self.id = model, external, id
        self.names = model.names
        self.calls = dict.fromkeys(self.names, 0)
        self._place: tuple[tuple[int, int], Place] | None = None
        self._whole: dict[str, Tensor] = {}

    def look_at(self, shape: tuple[int, int], place: Place) -> None:
        """Say which part of a photo of ``shape`` (H, W) comes next, for maps that were made of the whole photo."""
        self._place = (shape, place)

    def weights(self, image: Tensor) -> Tensor:
        """Eq. 4: ``(N, 3, H, W)`` to ``(N, M)``."""
        raise NotImplementedError

    def expert(self, name: str, image: Tensor) -> Tensor:
        """Probabilities ``(N, 1, H, W)`` of one expert."""
        self.calls[name] += 1
        if name not in self.external:
            return self._own(name, image)
        expert = self.external[name]
        if isinstance(expert, FolderExpert) and not self.id:
            raise DataError("It holds maps of files, and this one has no name: give the photo as a file.")
        if isinstance(expert, FolderExpert) and self._place is not None:
            return self._part(expert, image)
        return expert.probability(image, [self.id] * len(image))

    def _own(self, name: str, image: Tensor) -> Tensor:
        raise NotImplementedError

    def _part(self, expert: FolderExpert, image: Tensor) -> Tensor:
        """The part of a map that belongs to a part of the photo, padded as the photo is."""
        assert self._place is not None
        shape, place = self._place
        if expert.name not in self._whole:
            values = torch.from_numpy(expert.map(self.id))
            if expert.fit == "pad" and tuple(values.shape) != shape:
                raise DataError(
                    f"The map of '{self.id}' by expert '{expert.name}' is {values.shape[1]} x {values.shape[0]}, the "
                    f"photo is {shape[1]} x {shape[0]}. Save maps at the photo's size, or give the expert fit=resize."
                )
            self._whole[expert.name] = resized(values[None, None], shape).clamp(0.0, 1.0)
        part = self._whole[expert.name][:, :, place[0], place[1]]
        below, right = image.shape[2] - part.shape[2], image.shape[3] - part.shape[3]
        return F.pad(part, (0, right, 0, below), mode="replicate") if below or right else part


class EagerEngine(WithExternal):
    """The networks in eager torch, and the user's own experts."""

    def weights(self, image: Tensor) -> Tensor:
        """Eq. 4: ``(N, 3, H, W)`` to ``(N, M)``."""
        gate = self.model.networks["gate"].eval()
        with torch.inference_mode():
            return torch.softmax(gate(image.to(self.model.device)) / self.model.config.mix.temperature, dim=1).cpu()

    def _own(self, name: str, image: Tensor) -> Tensor:
        network = self.model.networks[name].eval()
        with torch.inference_mode():
            return torch.sigmoid(network(image.to(self.model.device))).cpu()


class DenseEngine:
    """One export of the whole pool: every expert runs, the chosen ones are used."""

    def __init__(self, model: CrackModel, runner: Runner) -> None:
        self.model, self.runner, self.names = model, runner, model.names
        self._image: Tensor | None = None
        self._maps: Tensor = torch.empty(0)

    def weights(self, image: Tensor) -> Tensor:
        """Eq. 4."""
        return self.runner({"image": image})["weights"]

    def expert(self, name: str, image: Tensor) -> Tensor:
        """One of the maps; they are computed once a picture."""
        if image is not self._image:
            self._maps, self._image = self.runner({"image": image})["maps"], image
        place = self.names.index(name)
        return self._maps[:, place : place + 1]


class PartsEngine(WithExternal):
    """A folder with the gate and every expert exported alone, and the user's own experts.

    Args:
        model: whose parts they are.
        runners: see :func:`open_parts`.
        external: experts of the user's own.
        id: of the photo.
    """

    def __init__(
        self, model: CrackModel, runners: Mapping[str, Runner], external: Mapping[str, Expert], id: str = ""
    ) -> None:
        super().__init__(model, external, id)
        self.runners = runners

    def weights(self, image: Tensor) -> Tensor:
        """Eq. 4."""
        return self.runners["gate"]({"image": image})["weights"]

    def _own(self, name: str, image: Tensor) -> Tensor:
        return self.runners[name]({"image": image})["probability"]


def open_parts(model: CrackModel, folder: Path) -> dict[str, Runner]:
    """Open a folder of ``export --part all``: a runner for the gate and each trained expert.

    Raises:
        ConfigError: a part is missing.
        ExportError: a part can't be loaded.
    """
    from fieldsight.export.runtime import runner_for

    found: dict[str, Runner] = {}
    for name in model.networks:
        files = [p for p in (folder / f"{name}.onnx", folder / name) if p.exists()]
        if not files:
            raise ConfigError(
                f"exports: '{folder}' has no export of '{name}'. Make all: fieldsight crack export --part all "
                f"--out {folder}"
            )
        found[name] = runner_for(model.part(name), files[0])
    return found
