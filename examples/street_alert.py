"""Three drawn streets, each with a car that drives at you: when do the engine and the paper's method sound, and when
was there danger?

One street says little about either: `fieldsight alert evaluate` counts over many.

    python examples/street_alert.py
"""

from pathlib import Path
from tempfile import mkdtemp

import fieldsight
from fieldsight.systems.alert.events import score
from fieldsight.systems.alert.simulate import simulate


def main() -> None:
    """Replay every street with both settings, and hold the alarms against the labels."""
    model, folder = fieldsight.load("alert"), Path(mkdtemp(prefix="street-alert-"))
    for seed in range(3):
        street = simulate(scenario="oncoming", kind="car", speed=7.0, gap=-0.5, sensor="stereo", seconds=7.0, seed=seed)
        for preset in ("base", "paper"):
            replay = model.predict(street, preset=preset)
            truth = score(street, replay.states)
            sounds = ", ".join(f"{row['from']:.1f} to {row['to']:.1f} s" for row in replay.alarm_rows()) or "none"
            print(f"{street.name}, {preset}: alarms {sounds}; for nothing: {truth.false_alarms}")
            for danger in truth.approaches:
                unseen = "" if danger.seen else ", which the sensor could not see,"
                told = f"announced {danger.lead:.1f} s before it is there" if danger.detected else "missed"
                print(f"  {danger.kind}{unseen} dangerous from {danger.start:.1f} to {danger.end:.1f} s: {told}")
            replay.save(folder, f"{street.name}-{preset}")
    print(f"pictures and tables: {folder}")


if __name__ == "__main__":
    main()
