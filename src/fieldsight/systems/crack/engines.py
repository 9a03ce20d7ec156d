"""What computes gate and experts: the networks here, one dense export, or a folder of exported parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fieldsight.errors import DataError
from fieldsight.model import Runner
from fieldsight.systems.crack.external import Expert

if TYPE_CHECKING:
    from fieldsight.systems.crack.predict import CrackModel


class EagerEngine:
    """The networks in eager torch, and the user's own experts.

    Attributes:
        names: experts in the gate's order.
        calls: how often each expert ran, for tests and reports.
    """

    def __init__(self, model: CrackModel, external: Mapping[str, Expert], id: str = "") -> None:
        self.model, self.external, self.id = model, external, id
        self.names = model.names
        self.calls = dict.fromkeys(self.names, 0)

    def weights(self, image: Tensor) -> Tensor:
        """Eq. 4: ``(N, 3, H, W)`` to ``(N, M)``."""
        gate = self.model.networks["gate"].eval()
        with torch.inference_mode():
            return torch.softmax(gate(image.to(self.model.device)) / self.model.config.mix.temperature, dim=1).cpu()

    def expert(self, name: str, image: Tensor) -> Tensor:
        """Probabilities ``(N, 1, H, W)`` of one expert."""
        self.calls[name] += 1
        if name in self.external:
            return self.external[name].probability(image, [self.id] * len(image))
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


class PartsEngine:
    """A folder with the gate and every expert exported alone.

    Raises:
        DataError: a part is missing.
    """

    def __init__(self, model: CrackModel, folder: Path) -> None:
        from fieldsight.export.runtime import runner_for

        self.model, self.names = model, model.names
        self.runners: dict[str, Runner] = {}
        for name in model.networks:
            found = [p for p in (folder / f"{name}.onnx", folder / name) if p.exists()]
            if not found:
                raise DataError(
                    f"'{folder}' has no export of '{name}'. Make all: fieldsight crack export --part all --out {folder}"
                )
            self.runners[name] = runner_for(model.part(name), found[0])

    def weights(self, image: Tensor) -> Tensor:
        """Eq. 4."""
        return self.runners["gate"]({"image": image})["weights"]

    def expert(self, name: str, image: Tensor) -> Tensor:
        """Probabilities of one expert."""
        return self.runners[name]({"image": image})["probability"]
