"""fieldsight: vision systems for the field. Little data, small devices, answers you can stand behind.

    import fieldsight

    model = fieldsight.load("sem")                    # the model that ships with the package
    picture = model.predict("cell.gds", layer="li1")  # every verb that needs a model is a method of its name
    picture.save("out/")

    run = fieldsight.train("sem", preset="tiny")
    run.model.evaluate().save("report/")

Importing this imports no torch; names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fieldsight._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from fieldsight.errors import (
        ConfigError,
        DataError,
        ExportError,
        FieldsightError,
        MissingExtraError,
        ModelFileError,
        RunError,
    )
    from fieldsight.model import Model, load
    from fieldsight.registry import systems
    from fieldsight.training import train

__all__ = [
    "ConfigError",
    "DataError",
    "ExportError",
    "FieldsightError",
    "MissingExtraError",
    "Model",
    "ModelFileError",
    "RunError",
    "__version__",
    "call",
    "evaluate",
    "load",
    "predict",
    "systems",
    "train",
]

_WHERE = {
    **dict.fromkeys(
        (
            "ConfigError",
            "DataError",
            "ExportError",
            "FieldsightError",
            "MissingExtraError",
            "ModelFileError",
            "RunError",
        ),
        "fieldsight.errors",
    ),
    "Model": "fieldsight.model",
    "load": "fieldsight.model",
    "systems": "fieldsight.registry",
    "train": "fieldsight.training",
}


def predict(system: str, inputs: Any, *, model: str | Path | None = None, **options: Any) -> Any:
    """Load a model and run its main action; see the system's options.

    Args:
        system: a system id.
        inputs: a path, a folder, a pattern, an array, or a list of those.
        model: shipped model, run folder or model folder; the default without it.
        options: options of the main action; ``out`` writes the results.
    """
    from fieldsight.model import load as load_model

    return load_model(system, model).predict(inputs, **options)


def evaluate(system: str, data: str | Path | None = None, *, model: str | Path | None = None, **options: Any) -> Any:
    """Load a model and measure it on a data folder, or on its own held-out drawn data."""
    from fieldsight.model import load as load_model

    return load_model(system, model).evaluate(data, **options)


def call(system: str, verb: str, subject: Any = None, **options: Any) -> Any:
    """Run any verb of a system that needs no model of yours: ``call("sem", "make-data", out="data/")``."""
    from fieldsight import registry, verbs

    return verbs.call(registry.get(system), verb, None, subject, **options)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        import importlib

        return getattr(importlib.import_module(_WHERE[name]), name)
    from fieldsight.errors import unknown

    raise AttributeError(unknown("name in fieldsight", name, [n for n in __all__ if not n.startswith("_")]))


def __dir__() -> list[str]:
    return sorted(__all__)
