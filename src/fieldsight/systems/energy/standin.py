"""``make-data``: drawn data, layer tables of small networks and readings of a make-believe power meter."""

from __future__ import annotations

from pathlib import Path

from fieldsight.data.files import atomic_folder, write_json, write_text
from fieldsight.errors import ConfigError
from fieldsight.predictions import Table
from fieldsight.profile.counts import Counts
from fieldsight.systems.energy import data
from fieldsight.systems.energy.calibrate import Meter
from fieldsight.systems.energy.fit import MEASURED
from fieldsight.systems.energy.options import MakeDataOptions
from fieldsight.systems.energy.timing import COLUMNS
from fieldsight.verbs import Written

_LAYERS = ("name", "kind", "weights", "biases", "macs", "inputs", "outputs", "kv")


def make_data(out: Path | None, options: MakeDataOptions) -> Written:
    """Write ``layers/NAME.csv`` for every generated network, and ``measured.csv`` with the meter's readings.

    Raises:
        ConfigError: no folder was named.
    """
    if out is None:
        raise ConfigError("make-data: say where with --out FOLDER.")
    known = data.generated()
    meter = Meter(noise=options.noise, static=options.static)
    rows = meter.rows(options.seed, known.values(), options.rows, options.idle)
    lines = []
    for row in rows:
        counts = known.get(row.model)
        own = (counts.params, counts.macs, counts.kv) if counts is not None else (0, 0, 0)
        values = (row.model, row.batch, row.joules, row.seconds, "fp32", *own)
        lines.append(dict(zip(COLUMNS, values, strict=True)))
    with atomic_folder(out) as folder:
        for name, counts in known.items():
            write_text(folder / "layers" / f"{name}.csv", layers_csv(counts))
        write_text(folder / MEASURED, Table(dict.fromkeys(COLUMNS, ""), lines).to_csv())
        truth = {"e_mem": meter.e_mem, "e_mac": meter.e_mac, "static": meter.static}
        write_json(folder / "meter.json", {"drawn": True, "true_constants": truth, "noise": meter.noise,
                                           "seed": options.seed})  # fmt: skip
    return Written(out, {"networks": len(known), "measurements": len(rows), "drawn": True})


def layers_csv(counts: Counts) -> str:
    """Counts as the table that ``estimate`` reads."""
    rows = [{column: getattr(layer, column) for column in _LAYERS} for layer in counts.layers]
    return Table(dict.fromkeys(_LAYERS, ""), rows).to_csv()
