"""The study ``effects`` in a minute: what two versions of the code must agree on, to the last digit, to be the same."""

from __future__ import annotations

from typing import Any

STEPS = 40


def probe(study: Any) -> dict[str, Any]:
    """Numbers of a short run of the study's module, everything in it: drawing, training, precisions, calibration."""
    full = study.config_of

    def short(seed: int, **changes: Any) -> Any:
        config = full(seed, **{**changes, "steps": STEPS})
        return config.replace(data={**config.data.to_dict(), "train": 48, "val": 12, "test": 24})

    study.config_of, study.CALIBRATION, study.FEWER = short, 24, STEPS
    found = {"one": study.one_seed(0), "larger": study.larger_size(0)}
    for part in found.values():
        part.pop("minutes")  # the one thing that may differ
    return found
