"""Make the model that ships: the default settings with what to expect of them on held-out drawn approaches.

python -m fieldsight.systems.alert.ship [--approaches 200]
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from fieldsight import registry
from fieldsight.report.card import Card
from fieldsight.run import commit, now, versions
from fieldsight.systems.alert.assess import assess, metrics_of, simulated, surface
from fieldsight.systems.alert.config import PRESETS
from fieldsight.systems.alert.predict import AlertModel

#: First seed of the fourth held-out block: see studies/alert/heldout.toml. Nothing was chosen on it.
HELD_OUT = 9_400_000


def build(approaches: int) -> AlertModel:
    """The engine with its surface and card; replays ``approaches`` drawn approaches of 8 s, sensors in turn."""
    config = PRESETS["base"]
    runs = assess(simulated(HELD_OUT, approaches), [config], approaches, "what to expect")[0]
    on = f"{approaches} held-out simulated approaches (drawn), all cities and sensors"
    spec = registry.get("alert")
    found = metrics_of([r.clip for r in runs])
    model = AlertModel(config, artefacts={"surface": surface(runs, on)})
    model.card = Card(
        title="alert/base, the default engine",
        system="alert",
        preset="base",
        data="nothing: its constants were set on simulated approaches (drawn) of other seeds",
        command=f"python -m fieldsight.systems.alert.ship --approaches {approaches}",
        commit=commit(),
        date=now(),
        metrics={m.name: None if math.isnan(found[m.name]) else round(found[m.name], 6) for m in spec.metrics},
        protocols={m.name: f"[{m.unit}] {m.protocol}" for m in spec.metrics},
        measured_on=on,
        parameters=0,
        energy="no network: some 2 ms of one processor core a frame of 256 x 192 (benchmark alert_engine)",
        limits=(
            "Measured on drawn streets only: boxes and cylinders, no rain on the lens, no crowds that touch.",
            "It warns of what its sensor shows: a phone's LiDAR measures to about 5 m, the rest is filled in by a "
            "network; a car at 8 m/s needs 24 m for 3 s.",
            "What surely closes slower than 2.2 m/s does not sound at the default thresholds: walking into a wall is "
            "no alarm.",
            "Without camera poses it can't tell what moves by itself, and warns of more.",
        ),
        notice=spec.notice,
        versions=versions(),
        fingerprint=model.fingerprint(),
    )
    return model


def main() -> int:
    """Write ``weights/base`` beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--approaches", type=int, default=200)
    given = parser.parse_args()
    target = build(given.approaches).save(Path(__file__).parent / "weights" / "base")
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
