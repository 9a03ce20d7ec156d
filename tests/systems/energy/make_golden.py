"""Write ``golden.json``: what the doors must all say. Run it only where a change of the numbers is meant.

python tests/systems/energy/make_golden.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden.json"

#: Network and settings that every door can be set to.
CASES: tuple[dict[str, Any], ...] = (
    {"network": "resnet18"},
    {"network": "resnet18", "convention": "paper", "batch": 4},
    {"network": "resnet18", "hardware": "7nm-lpddr5", "precision": "fp16", "batch": 16, "scale_weight": 0.25},
    {"network": "resnet50", "pj_per_bit": 7.5, "pj_per_mac": 0.5, "w_bits": 4, "a_bits": 16, "batch": 3},
    {"network": "vgg16", "hardware": "in-memory", "batch": 8},
    {"network": "vgg19", "hardware": "near-memory", "precision": "int4", "scale_mac": 0.5},
    {"network": "mobilenetv2", "scale_activation": 0.0625, "batch": 128},
    {"network": "gpt3-small", "context": 300, "batch": 2},
    {"network": "gpt3-small", "convention": "paper", "context": 1024},
    {"network": "llama-7b", "batch": 16, "kv_bits": 4, "scale_kv": 0.5},
    {"network": "llama-7b", "convention": "paper", "batch": 16},
    {"network": "llama-7b-real", "hardware": "45nm-gddr6", "precision": "int8", "context": 8000},
    {"network": "gpt3-175b", "hardware": "7nm-lpddr5", "batch": 64, "convention": "paper"},
)


def numbers(plain: dict[str, Any]) -> dict[str, Any]:
    """What every door tells: parts of both conventions, and the crossover."""
    return {
        name: {
            "parts_j": c["parts_j"],
            "total_j": c["total_j"],
            "per_sample_j": c["per_sample_j"],
            "bound": c["bound"],
            "crossover": c["mac_equals_weight_at_batch"],
        }
        for name, c in plain["conventions"].items()
    }


def main() -> None:
    import fieldsight

    model = fieldsight.load("energy")
    found = []
    for case in CASES:
        options = {k: v for k, v in case.items() if k != "network"}
        plain = model.estimate(case["network"], draws=0, **options).to_dict()
        found.append({"case": case, "unit": plain["unit"], "precision": plain["precision"], "numbers": numbers(plain)})
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
