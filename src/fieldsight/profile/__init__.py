"""Parameters, MACs, activations, bytes and joules of any torch or ONNX network.

::

    from fieldsight import profile

    counts = profile.count_module(module, profile.example((1, 3, 224, 224)))
    print(profile.joules_line(counts))

Nothing heavy is imported before it is used: neither torch nor onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldsight.profile.counts import CONVENTION, Counts, Layer, Op, PaperNumbers
    from fieldsight.profile.hardware import Hardware, hardware_names, load_hardware
    from fieldsight.profile.hf_config import count_hf_config, decoder_from_config, hf_decoder
    from fieldsight.profile.joules import Energy, by_layer, energy, joules_line, si
    from fieldsight.profile.onnx_counts import count_onnx
    from fieldsight.profile.sweeps import (
        Regime,
        Sensitivity,
        Sweep,
        Time,
        generation,
        regime,
        roofline,
        sensitivity,
        sweep,
    )
    from fieldsight.profile.torch_counts import count_module, example
    from fieldsight.profile.transformer import Decoder, count_decoder, gpt

_HOMES = {
    "counts": ("CONVENTION", "Counts", "Layer", "Op", "PaperNumbers"),
    "hardware": ("Hardware", "hardware_names", "load_hardware"),
    "hf_config": ("count_hf_config", "decoder_from_config", "hf_decoder"),
    "joules": ("Energy", "by_layer", "energy", "joules_line", "si"),
    "onnx_counts": ("count_onnx",),
    "sweeps": ("Regime", "Sensitivity", "Sweep", "Time", "generation", "regime", "roofline", "sensitivity", "sweep"),
    "torch_counts": ("count_module", "example"),
    "transformer": ("Decoder", "count_decoder", "gpt"),
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CONVENTION",
    "Counts",
    "Decoder",
    "Energy",
    "Hardware",
    "Layer",
    "Op",
    "PaperNumbers",
    "Regime",
    "Sensitivity",
    "Sweep",
    "Time",
    "by_layer",
    "count_decoder",
    "count_hf_config",
    "count_module",
    "count_onnx",
    "decoder_from_config",
    "energy",
    "example",
    "generation",
    "gpt",
    "hardware_names",
    "hf_decoder",
    "joules_line",
    "load_hardware",
    "regime",
    "roofline",
    "sensitivity",
    "si",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'fieldsight.profile' has no attribute '{name}'")
    return getattr(importlib.import_module(f"fieldsight.profile.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
