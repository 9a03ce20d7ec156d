"""The gate: ResNet-18 and a small MLP, from the picture to one logit an expert (section 3.3 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fieldsight.errors import ConfigError
from fieldsight.nn.backbones import resnet
from fieldsight.systems.crack.nets.blocks import pixels_first


class Gate(nn.Module):
    """Weighs experts by the picture alone: 11,176,512 parameters and 66,180 in the MLP at full size with 4 experts.

    Args:
        experts: number of experts M, at least 1.
        widths: channels of the ResNet's stages, two basic blocks each.
        hidden: channels of the MLP's layer between.
        dropout: in the MLP.
        shrink: pictures are averaged down by this factor first.

    Raises:
        ConfigError: fewer than one expert, or a shrink below 1.
    """

    def __init__(
        self,
        experts: int,
        widths: Sequence[int] = (64, 128, 256, 512),
        hidden: int = 128,
        dropout: float = 0.2,
        shrink: int = 1,
    ) -> None:
        super().__init__()
        if experts < 1 or shrink < 1:
            raise ConfigError(f"A gate needs experts >= 1 and shrink >= 1; got experts={experts}, shrink={shrink}.")
        self.shrink = nn.AvgPool2d(shrink) if shrink > 1 else nn.Identity()
        self.backbone = resnet(widths)
        self.head = nn.Sequential(
            nn.Linear(widths[-1], hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, experts)
        )

    def maps(self, x: Tensor) -> Tensor:
        """The last stage's map ``(N, widths[-1], h, w)``, for Grad-CAM."""
        return self.backbone(self.shrink(pixels_first(x)))[-1]

    def features(self, x: Tensor) -> Tensor:
        """Normalised picture ``(N, 3, H, W)`` to its embedding ``(N, widths[-1])``."""
        return self.maps(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised picture ``(N, 3, H, W)`` to logits ``(N, M)``."""
        return self.head(self.features(x))

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Parameters of the ResNet."""
        return list(self.backbone.parameters())

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters of the MLP."""
        return list(self.head.parameters())
