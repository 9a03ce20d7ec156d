"""All networks of the system, by name and size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from fieldsight.errors import ConfigError, unknown
from fieldsight.nn import backbones
from fieldsight.systems.crack.nets.blocks import Expert
from fieldsight.systems.crack.nets.compact import LARGE, DeepCrack, MobileLRASPP
from fieldsight.systems.crack.nets.crackmaster import CrackMaster
from fieldsight.systems.crack.nets.crackrefine import CrackRefineNet
from fieldsight.systems.crack.nets.ecsn import ECSN
from fieldsight.systems.crack.nets.gate import Gate
from fieldsight.systems.crack.nets.swin import SwinUPerNet
from fieldsight.systems.crack.nets.unet import CascadeNet, UNet

__all__ = ["GATES", "KINDS", "SIZES", "Expert", "Gate", "build", "build_gate"]

Size = Literal["paper", "small", "tiny"]
SIZES: tuple[str, ...] = get_args(Size)

#: ConvNeXt's widths, depths and stride of the first stage. The twins start at half size, not at a quarter: a hairline
#: crack is one pixel wide, and what the deepest maps see stays within the halo of a tile.
_TWIN: dict[str, Any] = {"patch": 2, "layer_scale": 1.0, "init_std": None}
_ENCODERS: dict[str, dict[str, Any]] = {
    "base": {"widths": (128, 256, 512, 1024), "depths": (3, 3, 27, 3)},
    "slim": {"widths": (96, 192, 384, 768), "depths": (3, 3, 27, 3)},
    "small": {"widths": (16, 24, 48, 64), "depths": (1, 1, 2, 1), **_TWIN},
    "tiny": {"widths": (8, 12, 16, 24), "depths": (1, 1, 1, 1), **_TWIN},
}
_FULL = (64, 128, 256, 512, 1024)


def _convnext(name: str, drop_path: float, norms: bool = False) -> backbones.Encoder:
    return backbones.convnext(**_ENCODERS[name], drop_path=drop_path, norms=norms)


def _unet(size: str, window: int | None, drop_path: float) -> Expert:
    return UNet({"small": (8, 16, 32, 48, 64), "tiny": (4, 8, 12, 16, 24)}.get(size, _FULL))


def _cen(size: str, window: int | None, drop_path: float) -> Expert:
    return CascadeNet({"small": (8, 16, 24, 32, 48), "tiny": (4, 8, 12, 16)}.get(size, _FULL))


def _ecsn(size: str, window: int | None, drop_path: float) -> Expert:
    if size == "paper":
        return ECSN(_convnext("slim", drop_path), window=window)
    bottom, widths = {"small": (64, (48, 24, 16, 8)), "tiny": (24, (16, 12, 8, 4))}[size]
    return ECSN(_convnext(size, drop_path), bottom, widths, window)


def _crackmaster(size: str, window: int | None, drop_path: float) -> Expert:
    if size == "paper":
        return CrackMaster(_convnext("base", drop_path), window=window)
    settings: dict[str, Any] = {
        "small": {"width": 40, "low": 16, "branch": 32, "last": 16, "reconstruct": (32, 32, 24, 16, 8)},
        "tiny": {"width": 16, "low": 8, "branch": 8, "last": 8, "reconstruct": (16, 12, 8, 8, 4)},
    }[size]
    return CrackMaster(_convnext(size, drop_path), **settings, rates=(1, 2, 3), dropout=0.05, window=window)


def _crackrefine(size: str, window: int | None, drop_path: float) -> Expert:
    if size == "paper":
        return CrackRefineNet(_convnext("base", drop_path, norms=True), window=window)
    settings: dict[str, Any] = {
        "small": {"width": 16, "hidden": 16, "reduction": 2},
        "tiny": {"width": 12, "hidden": 8, "reduction": 2},
    }[size]
    return CrackRefineNet(_convnext(size, drop_path, norms=True), **settings, dropout=0.1, window=window)


def _swin(size: str, window: int | None, drop_path: float) -> Expert:
    if size == "paper":
        return SwinUPerNet(backbones.swin(drop_path=drop_path))
    settings: dict[str, Any] = {
        "small": {"width": 12, "depths": (1, 2, 2, 1), "heads": (1, 2, 4, 8)},
        "tiny": {"width": 6, "depths": (1, 2, 1, 1), "heads": (1, 2, 2, 4)},
    }[size]
    encoder = backbones.swin(**settings, window=4, patch=2, drop_path=drop_path)
    return SwinUPerNet(encoder, {"small": 16, "tiny": 8}[size])


def _deepcrack(size: str, window: int | None, drop_path: float) -> Expert:
    if size == "paper":
        return DeepCrack()
    if size == "small":
        return DeepCrack((12, 24, 32, 48, 64))
    return DeepCrack((4, 8, 16, 24, 24), (1, 1, 2, 2, 2))


def _mobilenet(size: str, window: int | None, drop_path: float) -> Expert:
    if size == "paper":
        return MobileLRASPP(window=window)
    if size == "small":
        return MobileLRASPP(LARGE, 0.25, 32, (16, 16), window)
    return MobileLRASPP(LARGE[:-3], 0.125, 16, (8, 8), window)


_BUILDERS: dict[str, Callable[[str, int | None, float], Expert]] = {
    "cen": _cen,
    "ecsn": _ecsn,
    "crackmaster": _crackmaster,
    "crackrefine": _crackrefine,
    "unet": _unet,
    "swin": _swin,
    "deepcrack": _deepcrack,
    "mobilenet": _mobilenet,
}
#: Names of the experts' networks.
KINDS: tuple[str, ...] = tuple(_BUILDERS)

#: Settings of :class:`Gate` by size.
GATES: dict[str, dict[str, Any]] = {
    "paper": {},
    "small": {"widths": (16, 32, 64, 128), "hidden": 64},
    "tiny": {"widths": (8, 16, 24, 32), "hidden": 16},
}


def build(kind: str, size: str, window: int | None = None, drop_path: float | None = None) -> Expert:
    """Make an expert's network with random weights from torch's random numbers.

    Args:
        kind: one of :data:`KINDS`.
        size: ``paper`` (the published size), ``small`` (what ships) or ``tiny`` (for tests).
        window: side of the training crops in pixels; statistics over a picture are then taken over windows of that
            size in evaluation, see :mod:`fieldsight.systems.crack.nets.context`. None for global statistics.
        drop_path: stochastic depth of ConvNeXt and Swin encoders; None means 0.1 at ``paper`` and 0 otherwise.

    Raises:
        ConfigError: unknown kind or size, or a window below 1.
    """
    if kind not in _BUILDERS:
        raise ConfigError(unknown("expert network", kind, KINDS))
    if size not in SIZES:
        raise ConfigError(unknown("size of network", size, SIZES))
    if window is not None and window < 1:
        raise ConfigError(f"window must be at least 1 pixel, or None for global statistics; got {window}.")
    rate = drop_path if drop_path is not None else 0.1 if size == "paper" else 0.0
    return _BUILDERS[kind](size, window, rate)


def build_gate(experts: int, size: str, shrink: int = 1) -> Gate:
    """Make a gate for ``experts`` experts in one of :data:`SIZES`; pictures are averaged down by ``shrink`` first.

    Raises:
        ConfigError: unknown size, fewer than one expert, or a shrink below 1.
    """
    if size not in GATES:
        raise ConfigError(unknown("size of network", size, GATES))
    return Gate(experts, shrink=shrink, **GATES[size])
