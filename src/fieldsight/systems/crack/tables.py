"""``oof``: the out-of-fold table of a model's experts, or of a new one, on drawn or own photos."""

from __future__ import annotations

from pathlib import Path

from fieldsight.data.files import write_text
from fieldsight.errors import ConfigError
from fieldsight.predictions import Table as Shown
from fieldsight.systems.crack.data import load_splits
from fieldsight.systems.crack.oof import Table, load_table
from fieldsight.systems.crack.options import OofOptions
from fieldsight.systems.crack.predict import CrackModel


def oof(model: CrackModel, data: Path | None, out: Path | None, options: OofOptions) -> Shown:
    """Score experts out of fold on the training split; writes ``oof.csv`` below ``out``.

    The result is what ``train --stage gate --set oof.table=FILE`` takes.

    Raises:
        ConfigError: an expert that the model does not have.
        DataError: the data or the earlier table can't be used.
    """
    from fieldsight.systems.crack.train import make_table

    wanted = options.experts or model.names
    strangers = [e for e in wanted if e not in model.names]
    if strangers:
        raise ConfigError(f"experts: the model has no {', '.join(strangers)}; it has {', '.join(model.names)}.")
    earlier = load_table(options.table) if options.table is not None else None
    table = make_table(model, load_splits(model.config, data)["train"], None, wanted)
    table = table if earlier is None else earlier.joined(table)
    if out is not None:
        write_text(out / "oof.csv" if out.suffix != ".csv" else out, table.to_csv())
    return shown(table)


def shown(table: Table) -> Shown:
    """The means of a table, expert by expert."""
    scores = table.matrix()
    best = scores.argmax(axis=1)
    rows = [
        {"expert": e, "mean IoU": round(mean, 4), "best on": f"{(best == k).mean():.0%}"}
        for k, (e, mean) in enumerate(table.means().items())
    ]
    return Shown(dict.fromkeys(("expert", "mean IoU", "best on"), ""), rows, f"Out of fold, {len(table.rows)} photos")
