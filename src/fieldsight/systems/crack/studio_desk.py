"""Results of the Studio page: looked at, changed, written anew, painted on, explained."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fieldsight.errors import ConfigError, DataError, FieldsightError
from fieldsight.studio.context import PageContext
from fieldsight.systems.crack import studio_view as view
from fieldsight.systems.crack.results import CrackMap, write_folder_files
from fieldsight.systems.crack.studio_again import ByHand

if TYPE_CHECKING:
    from fieldsight.studio.results import Shown
    from fieldsight.systems.crack.explain import Explanation

#: Alpha of a painted pixel from which on it is crack, and the colour of the brush.
PAINTED, RED = 64, (255, 40, 40)


class Desk:
    """Results of this page, as they are looked at, changed and written anew."""

    def __init__(self, context: PageContext) -> None:
        self.context = context
        self._lock = threading.Lock()

    def found(self, key: str, number: Any) -> tuple[Shown, CrackMap] | None:
        """What is on the shelf and the result that is looked at; None where there is none."""
        return self.context.found(key, number, CrackMap)

    def change(self, key: str, numbers: Sequence[int], way: Callable[[CrackMap], CrackMap]) -> None:
        """Put changed results in the place of the old ones; their files follow with :meth:`write`.

        The lock is held while they are made: of two changes at once none is lost.
        """
        with self._lock:
            shown = self.context.shelf.get(key)
            if shown is not None:
                old = {n: shown.views[n].prediction for n in numbers}
                changed = {n: way(one) for n, one in old.items() if isinstance(one, CrackMap)}
                views = [replace(v, prediction=changed[n]) if n in changed else v for n, v in enumerate(shown.views)]
                self.context.shelf.keep(replace(shown, views=tuple(views)))

    def write(self, key: str, numbers: Sequence[int]) -> None:
        """Write the files of results anew, as they are now, and those about all photos."""
        with self._lock:
            shown = self.context.shelf.get(key)
            if shown is None:
                return
            views = list(shown.views)
            for number in numbers:
                found = views[number].prediction
                if isinstance(found, CrackMap) and views[number].files:
                    views[number] = replace(views[number], files=tuple(_saved(shown, views[number].files, found)))
            shown = replace(shown, views=tuple(views))
            shown = self._joint(shown)
            (shown.folder / "all.zip").unlink(missing_ok=True)
            self.context.shelf.keep(shown)

    def _joint(self, shown: Shown) -> Shown:
        """The files about all photos: outlines of all as COCO, and the review list."""
        listed = view.numbered(shown)
        first = next((n for n, v in enumerate(shown.views) if v.files), None)
        if len(listed) < 2 or first is None:
            return shown
        facts = [(name, {**found.facts, **found.summary.to_dict()}) for name, found in listed]
        written = write_folder_files(shown.files, facts, shown.folder / "files", self.reference(listed[0][1]))
        names = [path.relative_to(shown.folder).as_posix() for path in written]
        own = [n for n in shown.views[first].files if n not in names]
        views = list(shown.views)
        views[first] = replace(views[first], files=(*own, *names))
        return replace(shown, views=tuple(views))

    def reference(self, found: CrackMap) -> Any:
        """What signs of doubt are usual for the model that made a result; None where that is not known."""
        try:
            return self.model(found)[0].artefacts.get("routing")
        except FieldsightError:
            return None

    def model(self, found: CrackMap) -> tuple[Any, threading.RLock]:
        """The model that made a result, and the lock to hold while it works."""
        return self.context.models.load(self.context.spec, str(found.facts["model"]))


def _saved(shown: Shown, before: Sequence[str], found: CrackMap) -> list[str]:
    """Write a result's files in the place of the ones before; a corrected mask gets a name that says so."""
    table = next(name for name in before if name.endswith("_cracks.csv"))
    stem = Path(table).name.removesuffix("_cracks.csv").removesuffix("_by-hand")
    below = (shown.folder / table).parent
    hand = isinstance(found, ByHand)
    joint = [n for n in before if Path(n).name in ("coco.json", "review.csv")]
    for name in before:
        if name not in joint:
            (shown.folder / name).unlink(missing_ok=True)
    written = found.save(below, f"{stem}_by-hand" if hand else stem)
    kept = [p for p in written if not (hand and p.name.endswith("_probability.tif"))]
    if hand:  # the experts' map is none that a person made
        (dropped,) = [p for p in written if p not in kept]
        kept.append(dropped.replace(below / f"{stem}_probability.tif"))
    return [path.relative_to(shown.folder).as_posix() for path in kept] + joint


def painting(found: CrackMap) -> dict[str, Any]:
    """The photo with its mask as a layer, for the editor."""
    mask = view.small_mask(found)
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[mask] = (*RED, 255)
    return {"background": view.small_photo(found), "layers": [layer], "composite": None}


def painted_mask(value: Any, found: CrackMap) -> view.Mask:
    """The mask that comes back from the editor, at the size at which it was handed out.

    Raises:
        DataError: nothing came back, or no picture.
    """
    layers = value.get("layers") if isinstance(value, dict) else None
    shape = view.small_mask(found).shape
    if not layers:
        raise DataError("There is no painting to measure. Open 'Correct by hand' again.")
    mask = np.zeros(shape, np.bool_)
    for layer in layers:
        painted = np.asarray(layer)
        if painted.ndim != 3 or painted.shape[2] != 4 or painted.shape[:2] != shape:
            raise DataError(f"The painting is {painted.shape}, wanted {(*shape, 4)}. Open 'Correct by hand' again.")
        mask |= painted[..., 3] >= PAINTED
    return mask


def explained(desk: Desk, found: CrackMap) -> Explanation:
    """The explanation of a result's route, from the photo as it is kept for drawing.

    Raises:
        ConfigError: the model has no gate.
    """
    from fieldsight.systems.crack.explain import explain_one
    from fieldsight.systems.crack.options import ExplainOptions
    from fieldsight.systems.crack.photo import open_photo

    model, lock = desk.model(found)
    if "gate" not in model.networks:
        raise ConfigError("This model has one expert and no gate: there is no choice to explain.")
    with lock:
        return explain_one(model, open_photo(found.source), ExplainOptions())
