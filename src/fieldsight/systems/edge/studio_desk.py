"""Results of the Studio page: looked at, sifted, written anew."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fieldsight.detection.found import Found, write_together
from fieldsight.errors import FieldsightError
from fieldsight.predicting import Outcome
from fieldsight.studio import render, same
from fieldsight.studio.context import Call, PageContext
from fieldsight.systems.edge import studio_view as view
from fieldsight.systems.edge.options import PredictOptions
from fieldsight.systems.edge.studio_view import Sifted

if TYPE_CHECKING:
    from typing import Any

    from fieldsight.studio.results import Shown, View


class Desk:
    """Results of this page, as they are looked at, sifted and written anew."""

    def __init__(self, context: PageContext) -> None:
        self.context = context
        self._lock = threading.Lock()

    def found(self, key: str, number: Any) -> tuple[Shown, Sifted] | None:
        """What is on the shelf and the result that is looked at; None where there is none."""
        return self.context.found(key, number, Sifted)

    def all(self, key: str) -> list[tuple[str, Sifted]]:
        """The good results with the number and name by which the page's list calls them."""
        shown = self.context.shelf.get(key)
        views = () if shown is None else shown.views
        return [(f"{n}: {v.name}", v.prediction) for n, v in enumerate(views, 1) if isinstance(v.prediction, Sifted)]

    def change(self, key: str, conf: float, only: tuple[str, ...] | None) -> None:
        """Sift all results of one call anew; their files follow with :meth:`write`."""
        with self._lock:
            shown = self.context.shelf.get(key)
            if shown is not None:
                views = [_sifted(one, conf, only) for one in shown.views]
                self.context.shelf.keep(replace(shown, views=tuple(views)))

    def write(self, key: str) -> None:
        """Write the files of all results that were sifted since, one at a time, and those about all of them."""
        while True:
            with self._lock:
                shown = self.context.shelf.get(key)
                number = None if shown is None else next((n for n, v in enumerate(shown.views) if _stale(v)), None)
                if shown is None or number is None:
                    break
                views = list(shown.views)
                views[number] = _written(shown, views[number])
                self.context.shelf.keep(replace(shown, views=tuple(views)))
        self.joint(key)

    def joint(self, key: str) -> None:
        """Write the files about all photos: names of the classes, and of several photos all boxes as one file."""
        with self._lock:
            shown = self.context.shelf.get(key)
            first = _first(shown)
            if shown is None or first is None:
                return
            views = list(shown.views)
            photos = [v for v in views if isinstance(v.prediction, Sifted) and isinstance(v.prediction.whole, Found)]
            (shown.folder / "all.zip").unlink(missing_ok=True)
            if photos:
                classes = _whole(photos[0]).classes
                told = [Outcome(v.name, v.summary) for v in photos]
                paths = write_together(told, classes, shown.folder / "files" / view.JOINT)
                if len(photos) == 1:
                    paths.pop(0).unlink()  # all boxes of one photo are in its own file
                names = [path.relative_to(shown.folder).as_posix() for path in paths]
                kept = [n for n in views[first].files if n not in names]
                views[first] = replace(views[first], files=(*kept, *names))
            self.context.shelf.keep(replace(shown, views=tuple(views)))

    def film(self, key: str, number: Any, who: str) -> None:
        """Write the video with the boxes in it.

        Raises:
            FieldsightError: the video can't be read any more.
        """
        at = self.found(key, number)
        if at is not None:
            shown, one = at
            base = _base(shown, shown.views[number])
            paths, _ = self.context.jobs.run(who, lambda: one.film(base.parent, base.name))
            with self._lock:
                shown = self.context.shelf.get(key) or shown
                names = [path.relative_to(shown.folder).as_posix() for path in paths]
                views = list(shown.views)
                kept = [n for n in views[number].files if view.is_joint(n)]
                views[number] = replace(views[number], files=(*names, *kept))
                (shown.folder / "all.zip").unlink(missing_ok=True)
                self.context.shelf.keep(replace(shown, views=tuple(views)))

    def files(self, key: str, number: Any) -> str:
        """Downloads of a result, as HTML."""
        at = self.found(key, number)
        first = None if at is None else _first(at[0])
        if at is None or first is None:
            return ""
        shown = at[0]
        return view.downloads(shown, shown.views[number], [n for n in shown.views[first].files if view.is_joint(n)])

    def lines(self, key: str) -> str:
        """The same call elsewhere, with what is chosen now, as HTML."""
        found = self.all(key)
        if not found:
            return ""
        one, spec = found[0][1], self.context.spec
        plain, chosen = PredictOptions().to_dict(), one.made.options.to_dict()
        changes = {name: value for name, value in chosen.items() if value != plain[name]}
        if one.conf != one.made.conf:
            changes["conf"] = one.conf
        if one.only:
            changes["only"] = one.only
        names = [Path(words.partition(": ")[2]) for words, _ in found]
        call = Call(spec.main, tuple(names), {}, changes, one.made.model)
        try:
            model = self.context.models.find(spec, one.made.model)
        except FieldsightError:
            model = None
        return render.code(same.command(spec, call, model), "Command line") + render.code(
            same.python(spec, call, model), "Python"
        )


def _sifted(one: View, conf: float, only: tuple[str, ...] | None) -> View:
    before = one.prediction
    if not isinstance(before, Sifted) or (before.conf, before.only) == (conf, only):
        return one
    return replace(one, prediction=replace(before, conf=conf, only=only))


def _stale(one: View) -> bool:
    """Its files hold another choice than what is shown."""
    now = one.prediction
    if not isinstance(now, Sifted) or not one.files:
        return False
    only = None if now.only is None else list(now.only)
    return (one.summary.get("conf"), one.summary.get("only")) != (now.conf, only)


def _written(shown: Shown, one: View) -> View:
    """Write a result's files in the place of those before."""
    assert isinstance(one.prediction, Sifted)
    base = _base(shown, one)
    paths = one.prediction.save(base.parent, base.name)
    names = [path.relative_to(shown.folder).as_posix() for path in paths]
    for name in one.files:
        if name not in names and not view.is_joint(name):
            (shown.folder / name).unlink(missing_ok=True)  # a video with other boxes
    kept = [n for n in one.files if view.is_joint(n)]
    return replace(one, files=(*names, *kept), summary=one.prediction.to_dict())


def _base(shown: Shown, one: View) -> Path:
    """Folder and stem of a result's files."""
    told = next(name for name in one.files if name.endswith(".json") and not view.is_joint(name))
    return (shown.folder / told).with_suffix("")


def _first(shown: Shown | None) -> int | None:
    """The first good result; the files about all of them are listed there."""
    views: Sequence[View] = () if shown is None else shown.views
    return next((n for n, v in enumerate(views) if isinstance(v.prediction, Sifted) and v.files), None)


def _whole(one: View) -> Found:
    assert isinstance(one.prediction, Sifted)
    assert isinstance(one.prediction.whole, Found)
    return one.prediction.whole
