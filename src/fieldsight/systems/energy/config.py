"""Settings: the hardware, the number formats, the convention and the workload. Nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting

#: Shipped technology profiles; data files of :mod:`fieldsight.profile`.
Profile = Literal["paper-45nm-lpddr5", "45nm-gddr6", "7nm-lpddr5", "near-memory", "in-memory"]
Format = Literal["auto", "int4", "int8", "fp16", "bf16", "fp32"]


@dataclass(frozen=True)
class EnergyConfig(Config):
    """What every estimate supposes; the options of ``estimate``, and the first options of the verbs beside it."""

    batch: int = setting(1, "samples at once: images, or sequences that decode one token each", ge=1, le=1_000_000)
    hardware: Profile = setting("paper-45nm-lpddr5", "technology profile")
    precision: Format = setting("auto", "number format; auto is int8, and fp16 for language models")
    convention: Literal["exact", "paper"] = setting(
        "exact", "exact charges true counts, paper what the paper charges; both are always shown"
    )
    context: int | None = setting(
        None, "tokens a language model attends to, or of its prompt; its longest by default", ge=1, le=100_000_000
    )
    phase: Literal["decode", "prefill"] = setting("decode", "one new token a sequence, or the whole prompt in one pass")
    shape: tuple[str, ...] = setting(
        (), "input of an ONNX file or module: 1,3,224,224 or input=1,3,224,224 or ids=1,128:int64", repeat=True
    )
    hardware_file: Path | None = setting(None, "own technology profile (TOML, as calibrate writes) instead of hardware")
    pj_per_bit: float | None = setting(None, "energy of a memory bit instead of the profile's", unit="pJ", ge=0, le=1e6)
    pj_per_mac: float | None = setting(None, "energy of a MAC instead of the profile's", unit="pJ", ge=0, le=1e6)
    w_bits: float | None = setting(None, "bits of a weight; the format's by default", gt=0, le=64)
    a_bits: float | None = setting(None, "bits of an activation; the format's by default", gt=0, le=64)
    kv_bits: float | None = setting(None, "bits of a cached key or value; the format's by default", gt=0, le=64)
    scale_weight: float = setting(1.0, "factor on the energy of weights; 0 is the ideal limit", ge=0, le=1000)
    scale_mac: float = setting(1.0, "factor on the energy of MACs", ge=0, le=1000)
    scale_activation: float = setting(1.0, "factor on the energy of activations", ge=0, le=1000)
    scale_kv: float = setting(1.0, "factor on the energy of the KV cache", ge=0, le=1000)
    act: Literal["default", "auto", "sram", "dram", "none", "paper"] = setting(
        "default", "where activations go; auto is the smallest level that holds the largest layer"
    )
    weight_reuse: int | None = setting(
        None, "samples that share one fetch of the weights; the whole batch by default", ge=1, le=1_000_000
    )
    embedding: Literal["full", "rows"] = setting("full", "charge whole lookup tables, or only the rows read")
    sparsity: float = setting(0.0, "share of weights and MACs that is skipped", ge=0, le=1)
    kv_heads: int | None = setting(None, "heads of keys and values, for grouped queries", ge=1, le=10_000)
    window: int | None = setting(None, "reach of sliding-window attention in tokens", ge=1, le=100_000_000)
    experts: int | None = setting(None, "split the MLPs of a language model into so many experts", ge=1, le=10_000)
    active: int | None = setting(None, "experts that one token uses", ge=1, le=10_000)
    prompt: int | None = setting(None, "tokens of the prompt, for the energy of a whole answer", ge=1, le=1_000_000)
    tokens: int | None = setting(None, "new tokens of the whole answer", ge=1, le=1_000_000)
    battery: float | None = setting(None, "capacity of a battery, to see how long it lasts", unit="Wh", gt=0, le=1e9)
    rate: float | None = setting(None, "samples an hour, for the hours a battery lasts", gt=0, le=1e15)
    grid: float | None = setting(None, "grams of CO2 per kWh, for the CO2 of a million samples", ge=0, le=1e5)
    draws: int = setting(2000, "draws from the ranges of the constants; 0 leaves sensitivity out", ge=0, le=1_000_000)
    seed: int = setting(0, "seed of the draws", ge=0)

    rules = (
        (lambda o: (o.prompt is None) == (o.tokens is None), "prompt and tokens: give both for a whole answer"),
        (lambda o: o.experts is None or o.active is not None, "experts: say with active how many of them a token uses"),
        (
            lambda o: o.experts is None or o.active is None or o.active <= o.experts,
            "active: must be at most the number of experts",
        ),
    )

    @property
    def scale(self) -> dict[str, float]:
        """Factors by part, as :func:`fieldsight.profile.energy` takes them."""
        return {
            "weight": self.scale_weight,
            "mac": self.scale_mac,
            "activation": self.scale_activation,
            "kv": self.scale_kv,
        }


#: Settings by name; the first is what stands where nothing is said.
PRESETS: dict[str, EnergyConfig] = {
    "base": EnergyConfig(),
    "paper": EnergyConfig(convention="paper"),
    "edge": EnergyConfig(hardware="7nm-lpddr5"),
    "near-memory": EnergyConfig(hardware="near-memory"),
    "in-memory": EnergyConfig(hardware="in-memory"),
    "int4-weights": EnergyConfig(w_bits=4),
}
