"""``oof``: the out-of-fold table of a model's experts, or of a new one, on drawn or own photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from fieldsight.data.files import write_text
from fieldsight.errors import ConfigError, DataError
from fieldsight.predictions import Table as Shown
from fieldsight.systems.crack.config import ExpertName
from fieldsight.systems.crack.data import load_splits
from fieldsight.systems.crack.oof import Table, assign_folds, load_table
from fieldsight.systems.crack.options import OofOptions
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.sample import Sample


@dataclass(frozen=True)
class OofMeans(Shown):
    """The means of a table; the table itself is in the file that ``facts`` names."""

    saved: bool = True


def oof(model: CrackModel, data: Path | None, out: Path | None, options: OofOptions) -> OofMeans:
    """Score experts out of fold on the training split; writes ``oof.csv`` below ``out``, or the ``.csv`` of that name.

    ``experts`` may name a built-in expert that the model lacks: its copies are trained by the model's settings, and
    with ``table`` only its column is made. The result is what ``train --stage gate --set oof.table=FILE`` takes.

    Raises:
        ConfigError: an unknown expert, or one that is Python code; a new one where copies start from deployed ones.
        DataError: the data or the earlier table can't be used.
    """
    from fieldsight.systems.crack.train import make_table

    wanted = options.experts or model.names
    model.external_experts()  # code that came with a model is refused here, before hours of training
    working = prepared_for(model, wanted)
    samples = load_splits(working.config, data)["train"]
    earlier = load_table(options.table) if options.table is not None else None
    if earlier is not None:
        same_photos(working, samples, earlier)
    table = make_table(working, samples, None, wanted)
    table = table if earlier is None else earlier.joined(table)
    file = None
    if out is not None:
        file = write_text(out if out.suffix == ".csv" else out / "oof.csv", table.to_csv())
    return shown(table, file)


def prepared_for(model: CrackModel, wanted: Sequence[str]) -> CrackModel:
    """The model as it makes columns: of all experts named, out of fold, and not from the table of its own training.

    Raises:
        ConfigError: an unknown expert, or a new one where copies start from deployed ones.
    """
    new = [e for e in wanted if e not in model.names]
    strangers = [e for e in new if e not in get_args(ExpertName)]
    if strangers:
        known = ", ".join(dict.fromkeys((*model.names, *get_args(ExpertName))))
        raise ConfigError(f"experts: there is no {', '.join(strangers)}; known are {known}.")
    if new and model.config.oof.backbone == "deployed":
        raise ConfigError(
            f"experts: the model has no {', '.join(new)}, and its copies start from deployed experts "
            "(oof.backbone: deployed). Train a model with it first."
        )
    config = model.config.replace(
        pool=(*model.config.pool, *new), oof={"table": None}, gate={"supervision": "oof"}
    )  # fmt: skip
    return CrackModel(config, model.networks)


def same_photos(model: CrackModel, samples: Sequence[Sample], earlier: Table) -> None:
    """Refuse an earlier table that new columns could not be joined to.

    Raises:
        DataError: it is of other photos or folds.
    """
    crack = [int(np.count_nonzero(s.mask())) for s in samples]
    folds = assign_folds(samples, model.config.oof.folds, model.config.seed, crack)
    expected = [(s.id, f) for s, f in zip(samples, folds, strict=True)]
    found = [(r.id, r.fold) for r in earlier.rows]
    if found != expected:
        alike = sum(a == b for a, b in zip(found, expected, strict=False))
        raise DataError(
            f"The earlier table holds other photos or folds: {alike} of its {len(found)} rows fit the {len(expected)} "
            f"training photos in {model.config.oof.folds} folds by seed {model.config.seed}."
        )


def shown(table: Table, file: Path | None = None) -> OofMeans:
    """The means of a table, expert by expert, and how often each is a best one; photos left out are not counted.

    An expert that ties for the best score counts too; photos on which every expert scores 0 have no best one.
    """
    scores = table.matrix()
    kept = scores[~np.isnan(scores).any(axis=1)]
    told = kept[kept.max(axis=1) > 0]
    rows = []
    for k, expert in enumerate(table.experts):
        won = f"{(told[:, k] == told.max(axis=1)).mean():.0%}" if len(told) else "-"
        mean = round(float(kept[:, k].mean()), 4) if len(kept) else None
        rows.append({"expert": expert, "mean IoU": mean, "best on": won})
    facts: dict[str, Any] = {} if file is None else {"file": str(file)}
    facts |= {"photos": len(table.rows), "left out": len(scores) - len(kept), "all score 0": len(kept) - len(told)}
    return OofMeans(dict.fromkeys(("expert", "mean IoU", "best on"), ""), rows, "Out of fold", facts)
