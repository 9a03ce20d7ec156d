"""``page``: one HTML file with sliders, which computes the energies by itself from the counts inside it.

Nothing is loaded from anywhere and the file works from a disk. Its script repeats :func:`fieldsight.profile.energy`
operation by operation; a test compares both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path, PurePath
from typing import Any

from fieldsight import predicting
from fieldsight._version import __version__
from fieldsight.data.files import write_text
from fieldsight.errors import DataError
from fieldsight.model import Model
from fieldsight.profile.hardware import BITS, Hardware, hardware_names, load_hardware
from fieldsight.profile.joules import Workload, workload
from fieldsight.profile.transformer import Decoder, count_decoder
from fieldsight.systems.energy import data
from fieldsight.systems.energy.config import EnergyConfig
from fieldsight.systems.energy.drawing import PART_COLOURS, PART_WORDS
from fieldsight.systems.energy.estimate import changed, group_names
from fieldsight.systems.energy.networks import Network, is_name
from fieldsight.systems.energy.options import PageOptions
from fieldsight.systems.energy.predict import METHOD, EnergyEstimate

#: Most groups of layers that a network has in the page.
GROUPS = 24

#: Settings that the page can move.
SLIDERS = (
    "batch", "hardware", "precision", "convention", "context", "pj_per_bit", "pj_per_mac", "w_bits", "a_bits",
    "kv_bits", "scale_weight", "scale_mac", "scale_activation", "scale_kv", "act", "weight_reuse", "sparsity",
)  # fmt: skip


#: Settings that change no number of the page.
_UNSEEN = ("hardware_file", "draws", "seed", "battery", "rate", "grid", "prompt", "tokens")


@dataclass(frozen=True)
class StaticPage:
    """The page before it is written.

    Attributes:
        values: the data inside it.
        skipped: inputs that could not be used, with the reason.
    """

    values: Mapping[str, Any]
    skipped: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, or the code for bad data when an input was skipped."""
        return DataError.exit_code if self.skipped else 0

    def html(self) -> str:
        """The page as text."""
        frame = resources.files("fieldsight.systems.energy").joinpath("page.html").read_text(encoding="utf-8")
        # a name may hold anything: "</script>" must not end the script that holds it
        inside = json.dumps(self.values, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
        return (
            frame.replace("__METHOD__", escape(METHOD)).replace("__VERSION__", __version__).replace("__DATA__", inside)
        )

    def to_dict(self) -> dict[str, Any]:
        """What is inside."""
        return {
            "networks": [n["name"] for n in self.values["networks"]],
            "hardware": [h["name"] for h in self.values["hardware"]],
            "bytes": len(self.html().encode()),
            "skipped": list(self.skipped),
        }

    def lines(self) -> list[str]:
        """The page itself, for ``> energy.html``."""
        return self.html().splitlines()

    def save(self, out: str | Path) -> list[Path]:
        """Write the page: to a file that ends in .html, or as ``energy.html`` into a folder."""
        path = Path(out)
        return [write_text(path if path.suffix.lower() == ".html" else path / "energy.html", self.html())]


def page(model: Model, inputs: Any, options: PageOptions, strict: bool) -> StaticPage:
    """The page for some networks; all built-in ones where none are named.

    Raises:
        DataError: none of the networks could be used; with ``strict`` the first bad one.
    """
    listed = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs] if inputs is not None else data.names()
    found = predicting.predict(model, list(listed), options, None, strict, {})
    assert isinstance(found, predicting.Results)
    networks = [(o.prediction.charged.network, o.name) for o in found if isinstance(o.prediction, EnergyEstimate)]
    skipped = tuple(f"{o.name}: {o.error}" for o in found.skipped)
    if not networks:
        raise DataError("None of the networks could be used. " + " ".join(skipped))
    profiles = [load_hardware(name) for name in hardware_names()]
    if options.hardware_file is not None:
        profiles.insert(0, load_hardware(options.hardware_file))
    settings = {**options.to_dict(), "hardware": profiles[0].name if options.hardware_file else options.hardware}
    values = {
        "networks": [network_data(n, options, name) for n, name in networks],
        "hardware": [hardware_data(h) for h in profiles],
        "settings": {k: settings[k] for k in SLIDERS},
        "fixed": _flags({k: v for k, v in changed(options).items() if k not in (*SLIDERS, *_UNSEEN)}),
        "own": {"name": profiles[0].name, "file": options.hardware_file.name} if options.hardware_file else None,
        "formats": BITS,
        "parts": [{"id": p, "words": PART_WORDS[p], "colour": c} for p, c in PART_COLOURS.items()],
    }
    return StaticPage(values, skipped)


# ------------------------------------------------------------------------------------------------- what is inside


def network_data(network: Network, options: EnergyConfig, call: str = "") -> dict[str, Any]:
    """A network as the page's script takes it: what one sample asks for, in both conventions, and groups of layers.

    Args:
        network: the network.
        options: its settings.
        call: how it was named; of a path only the file's name goes into the page.
    """
    counts = network.counts
    exact, _ = workload(counts, "exact", options.embedding)
    paper, notes = workload(counts, "paper", options.embedding)
    shape = network.decoder if counts.unit == "token" else None
    return {
        "name": network.name,
        "call": network.name if not call else call if is_name(call) else PurePath(call).name,
        "title": network.title,
        "unit": counts.unit,
        "precision": network.precision,
        "exact": _work(exact),
        "paper": {**_work(paper), "rules": bool(notes)},
        "decoder": None if shape is None else _decoder(shape, options.context or shape.context),
        "groups": _groups(network),
        "notes": [*counts.notes, *network.notes],
        "unknown": [op.kind for op in counts.unknown],
    }


def _flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as words of a command line."""
    return [
        f"--{name.replace('_', '-')} {one}"
        for name, value in settings.items()
        for one in (value if isinstance(value, (list, tuple)) else [value])
    ]


def _work(work: Workload) -> dict[str, Any]:
    return {
        "weights": [list(pair) for pair in work.weights],
        "lookup": [list(pair) for pair in work.lookup],
        "macs": work.macs,
        "kv": work.kv,
        "activations": work.activations,
        "largest": work.largest,
        "act_joules": work.act_joules,
    }


def _decoder(shape: Decoder, at: int) -> dict[str, Any]:
    """What changes with the context: every block sees the least of the context and its window."""
    reaches = [
        shape.window if shape.window and (not shape.local or b in shape.local) else 0 for b in range(shape.layers)
    ]
    one = count_decoder(shape, 1)
    return {
        "context": shape.context,
        "limit": shape.context if shape.positions else None,
        "at": at,
        "fixed_macs": one.macs - sum(row.macs for row in one.layers if row.kind == "attention"),
        "blocks": [[reach, reaches.count(reach)] for reach in sorted(set(reaches))],
        "queries": shape.heads * shape.head_dim,
        "keys": shape.kv_heads * shape.head_dim,
        "head": shape.vocab * (shape.embed or shape.d),
    }


def _groups(network: Network) -> list[dict[str, Any]]:
    """Weights by share, MACs, activations and cached values of groups of layers, for one sample."""
    counts = network.counts
    n = max(counts.samples, 1)
    names = group_names(network)
    heavy: dict[str, float] = dict.fromkeys(names, 0.0)
    for group, layer in zip(names, counts.layers, strict=True):
        heavy[group] += layer.params + layer.macs / n
    if len(heavy) > GROUPS:
        kept = set(sorted(heavy, key=lambda g: -heavy[g])[: GROUPS - 1])
        names = [g if g in kept else "others" for g in names]
    found: dict[str, dict[str, Any]] = {
        g: {"name": g, "weights": [], "macs": 0.0, "activations": 0.0, "kv": 0.0, "attention": 0.0}
        for g in dict.fromkeys(names)
    }
    for group, layer in zip(names, counts.layers, strict=True):
        row = found[group]
        row["weights"].append([layer.params, layer.share])
        row["macs"] += layer.macs / n
        row["activations"] += layer.outputs / n if layer.macs else 0.0
        row["kv"] += layer.kv / n
        row["attention"] += layer.macs / n if layer.kind == "attention" else 0.0
    for row in found.values():
        merged: dict[float, float] = {}
        for elements, share in row["weights"]:
            merged[share] = merged.get(share, 0.0) + elements
        row["weights"] = [[elements, share] for share, elements in merged.items()]
    return list(found.values())


def hardware_data(hardware: Hardware) -> dict[str, Any]:
    """A profile as the page's script takes it."""
    inside = hardware.in_memory
    return {
        "name": hardware.name,
        "title": hardware.title,
        "dram": {"name": hardware.dram.name, "pj_per_bit": hardware.dram.pj_per_bit.value},
        "factor": hardware.weight_factor.value,
        "sram": [{"name": m.name, "bytes": m.bytes, "pj_per_bit": m.pj_per_bit.value} for m in hardware.sram],
        "mac": {key: number.value for key, number in hardware.mac.items()},
        "in_memory": None
        if inside is None
        else {
            "rows": inside.rows,
            "cell_bits": inside.cell_bits,
            "cell_pj": inside.cell_pj.value,
            "adc_pj": inside.adc_pj.value,
        },
        "notes": list(hardware.notes),
    }
