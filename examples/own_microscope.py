"""Make the interval of `sem` hold for another microscope: calibrate on a few own pairs, look at the coverage.

The pairs are drawn here, with twice the noise of the training pictures. Yours lie in one folder, mask/ and sem/ under
the same names; see docs/howto/own-pairs.md.

    python examples/own_microscope.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import fieldsight
from fieldsight.data.images import write_image


def draw_pairs(folder: Path, count: int) -> None:
    """Layouts through the simulated process, seen by a noisier microscope."""
    drawn = fieldsight.call(
        "sem", "simulate", pattern="bars", count=count, size=96, pixel="5nm", recipe={"microscope": {"noise": 0.05}}
    )
    for sample in drawn.samples:
        write_image(folder / "mask" / f"{sample.name}.png", sample.made.mask.astype(np.uint8) * np.uint8(255))
        write_image(folder / "sem" / f"{sample.name}.png", sample.made.sem)


def main() -> None:
    """Coverage on the test layouts with the threshold that ships, and with the own one."""
    with TemporaryDirectory() as scratch:
        pairs = Path(scratch) / "mine"
        draw_pairs(pairs, 32)
        shipped = fieldsight.load("sem")
        own = shipped.calibrate(pairs).model
        for name, model in (("as it ships", shipped), ("calibrated", own)):
            found = model.evaluate(pairs).metrics
            print(f"{name}: coverage {found['coverage']:.3f}, width {found['width']:.3f}")


if __name__ == "__main__":
    main()
