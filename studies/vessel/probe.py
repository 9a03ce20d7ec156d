"""The study ``effects`` in a minute: what two versions of the code must agree on, to the last digit, to be the same."""

from __future__ import annotations

from typing import Any

STEPS, FRAMES, TEST = 30, 24, 24


def probe(study: Any) -> dict[str, Any]:
    """Numbers of short trainings of the study's module: both families, a start from streets, known patients."""
    full = study.config_of

    def short(family: str, name: str, seed: int, **data: Any) -> Any:
        small = {**data, "train": min(FRAMES, data.get("train", FRAMES)), "val": 8}
        return full(family, name, seed, **small).replace(steps=STEPS)

    study.config_of, study.TEST = short, TEST
    runs = {
        "raw": study.trained_once(short("yolov8", "raw", 0)),
        "ihs": study.trained_once(short("yolov8", "ihs", 0)),
        "yolov10": study.trained_once(short("yolov10", "ihs", 0)),
        "from streets": study.trained_once(short("yolov8", "ihs", 0).replace(size="n"), known=True),
    }
    runs["known patients"] = study.known_patients(0)
    for one in runs.values():
        one.pop("minutes", None)  # the one thing that may differ
    return runs
