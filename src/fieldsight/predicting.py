"""The main action over whatever people hand in: one file, a folder of a thousand, arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from fieldsight import progress
from fieldsight.config import Config
from fieldsight.data.folders import Item
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import ConfigError, DataError
from fieldsight.model import Model
from fieldsight.predictions import Prediction


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        name: the input as it was named.
        summary: the prediction's ``to_dict``, empty where it failed.
        files: what was written.
        error: why it was skipped, or empty.
        prediction: the prediction, where it was kept in memory.
    """

    name: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    error: str = ""
    prediction: Prediction | None = None


class Results(Sequence[Outcome]):
    """Outcomes in the order of the inputs, bad inputs with their error; ``files`` are those about all of them."""

    def __init__(self, outcomes: Sequence[Outcome], files: Sequence[Path] = ()) -> None:
        self.outcomes, self.files = list(outcomes), list(files)

    def __len__(self) -> int:
        return len(self.outcomes)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Outcome]: ...
    def __getitem__(self, index: int | slice) -> Outcome | Sequence[Outcome]:
        return self.outcomes[index]

    @property
    def predictions(self) -> list[Prediction]:
        """The predictions kept in memory, without the skipped inputs."""
        return [o.prediction for o in self.outcomes if o.prediction is not None]

    @property
    def skipped(self) -> list[Outcome]:
        """Inputs that could not be used."""
        return [o for o in self.outcomes if o.error]

    @property
    def exit_code(self) -> int:
        """0, or the code for bad data when an input was skipped."""
        return DataError.exit_code if self.skipped else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values: a list of summaries with their files."""
        return {
            "results": [
                {
                    "input": o.name,
                    **({"error": o.error} if o.error else dict(o.summary)),
                    "files": [str(f) for f in o.files],
                }
                for o in self.outcomes
            ],
            "skipped": len(self.skipped),
            **({"files": [str(f) for f in self.files]} if self.files else {}),
        }

    def lines(self) -> list[str]:
        """One line an input: its files, or its summary where nothing was written."""
        lines = []
        for outcome in self.outcomes:
            if outcome.files:
                lines += [str(f) for f in outcome.files]
            elif outcome.prediction is not None:
                lines += [f"{outcome.name}", *(f"  {line}" for line in outcome.prediction.lines())]
        return [*lines, *(str(f) for f in self.files)]


def predict(
    model: Model,
    inputs: Any,
    options: Config,
    out: Path | None,
    strict: bool,
    named: Mapping[str, Any],
    action: Callable[[Any, Any], Prediction] | None = None,
) -> Prediction | Results:
    """Run the main action over inputs.

    A single path of a file or a single array gives a :class:`Prediction`; a folder, pattern or list gives
    :class:`Results`. With ``out``, every prediction is written there as soon as it is made, under the input's own
    folder structure, and of several only the summaries are kept. ``action`` stands in for ``model.predict_one``, for
    verbs that do something else with the same inputs.

    Raises:
        ConfigError: several inputs, and ``out`` names one picture.
        DataError: nothing to work on; the single input is bad; with ``strict``, the first bad one.
    """
    if action is None:
        inputs, named = model.arrange(inputs, named)
    items = model.items(inputs)
    single = len(items) == 1 and not isinstance(inputs, (list, tuple)) and not _is_folder(inputs)
    outcomes = list(_each(model, items, options, out, strict or single, named, single or out is None, action))
    if single:
        kept = outcomes[0].prediction
        assert kept is not None
        return _written(kept, outcomes[0].files)
    return Results(outcomes, model.conclude(outcomes, out) if out is not None and action is None else ())


def run_all(
    model: Model, inputs: Any, options: Config, out: Path | None, strict: bool, named: Mapping[str, Any]
) -> Results:
    """Like :func:`predict`, but a single input gives :class:`Results` too, its error inside: for the command line."""
    inputs, named = model.arrange(inputs, named)
    items = model.items(inputs)
    outcomes = list(_each(model, items, options, out, strict, named, keep=len(items) == 1 or out is None))
    return Results(outcomes, model.conclude(outcomes, out) if out is not None and len(items) > 1 else ())


def _each(
    model: Model,
    items: Sequence[Item],
    options: Config,
    out: Path | None,
    strict: bool,
    named: Mapping[str, Any],
    keep: bool,
    action: Callable[[Any, Any], Prediction] | None = None,
) -> Iterator[Outcome]:
    act = action or model.predict_one
    if out is not None and len(items) > 1 and out.suffix.lower() in IMAGE_SUFFIXES and not out.is_dir():
        raise ConfigError(f"out: '{out}' names one picture, and there are {len(items)} inputs. Name a folder.")
    watched = progress.track(items, f"{model.system} {model.spec.main.name}") if len(items) > 1 else items
    for item in watched:
        try:
            value = model.read(item.value, options)
            prediction = act({model.spec.inputs[0].name: value, **named} if named else value, options)
        except DataError as error:
            if strict:
                raise
            progress.note(f"skipped {item.name}: {error}")
            yield Outcome(item.name, error=str(error))
            continue
        files = tuple(prediction.save(out, item.stem)) if out is not None else ()
        yield Outcome(item.name, prediction.to_dict(), files, prediction=prediction if keep else None)


def _written(prediction: Any, files: tuple[Path, ...]) -> Any:
    """The prediction with the files it was written to, where it has a field for them."""
    own = getattr(prediction, "__dataclass_fields__", {})
    return dataclasses.replace(prediction, files=files) if "files" in own else prediction


def _is_folder(inputs: Any) -> bool:
    return isinstance(inputs, (str, Path)) and Path(inputs).is_dir()
