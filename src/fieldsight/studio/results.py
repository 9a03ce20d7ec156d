"""What a verb gave, made ready to be seen: pictures, facts, tables, warnings, files."""

from __future__ import annotations

import dataclasses
import re
import secrets
import shutil
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight.cli.console import cell
from fieldsight.data.files import atomic, write_text
from fieldsight.data.images import write_image
from fieldsight.errors import FieldsightError
from fieldsight.predictions import Prediction, Table

_UNITS = {"nm": "nm", "um": "µm", "mm": "mm", "px": "px", "s": "s", "ms": "ms", "uj": "µJ", "mj": "mJ", "db": "dB"}
_WARNINGS = ("warning", "warnings")

_ROOM = 800  # pixels; half of it is the least that the longer side of a drawing has

#: Name under which all files of a result are served together.
ARCHIVE = "all.zip"


@dataclass(frozen=True)
class View:
    """One result as a page shows it.

    Attributes:
        name: the input it belongs to, or what it is.
        picture: PNG file of its drawing, or None.
        facts: short names and values.
        tables: what is tabular.
        warnings: what must not be missed.
        error: why there is no result, or empty.
        files: what may be downloaded, by name below the result's folder.
        report: an HTML report among the files, or empty.
        summary: plain values, for the API.
        prediction: the object itself, for own pages; None where it is no prediction.
    """

    name: str
    picture: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""
    files: tuple[str, ...] = ()
    report: str = ""
    summary: Mapping[str, Any] = field(default_factory=dict)
    prediction: Prediction | None = None


@dataclass(frozen=True)
class Shown:
    """All that one call gave.

    Attributes:
        key: name of its folder on the shelf.
        folder: where its files are.
        views: one or more results.
        notes: remarks made on the way.
    """

    key: str
    folder: Path
    views: tuple[View, ...]
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """Every file of every result."""
        return [self.folder / name for view in self.views for name in view.files]


class Shelf:
    """The last results of one Studio, so that a page can look at them again; older ones and their files go.

    Args:
        folder: where results are written.
        most: how many are kept.
        limit: bytes of files that are kept; the newest result stays whatever its size.
    """

    def __init__(self, folder: Path, most: int = 24, limit: int = 2 * 2**30) -> None:
        self.folder, self._most, self._limit = folder, most, limit
        self._kept: OrderedDict[str, tuple[Shown, int]] = OrderedDict()
        self._lock = threading.Lock()

    def new_folder(self) -> tuple[str, Path]:
        """An empty folder under a name that nobody can guess."""
        key = secrets.token_urlsafe(12)
        folder = self.folder / key
        folder.mkdir(parents=True)
        return key, folder

    def drop(self, folder: Path) -> None:
        """Remove the folder of work that gave nothing."""
        shutil.rmtree(folder, ignore_errors=True)

    def keep(self, shown: Shown) -> Shown:
        """Put results on the shelf."""
        size = sum(p.stat().st_size for p in shown.folder.rglob("*") if p.is_file())
        gone = []
        with self._lock:
            self._kept[shown.key] = (shown, size)
            while len(self._kept) > 1 and (
                len(self._kept) > self._most or sum(s for _, s in self._kept.values()) > self._limit
            ):
                gone.append(self._kept.popitem(last=False)[1][0])
        for old in gone:
            shutil.rmtree(old.folder, ignore_errors=True)
        return shown

    def get(self, key: str | None) -> Shown | None:
        """Results by their key, or None where they are gone."""
        with self._lock:
            found = self._kept.get(key or "")
        return None if found is None else found[0]

    def file(self, key: str, name: str) -> Path | None:
        """A file of a result that was declared for download, or :data:`ARCHIVE` with all of them, or None."""
        shown = self.get(key)
        if shown is None:
            return None
        if name == ARCHIVE:
            return _archive(shown)
        if name not in {n for view in shown.views for n in view.files}:
            return None
        path = shown.folder / name
        return path if path.is_file() else None


def views_of(result: Any, folder: Path, title: str) -> list[View]:
    """Make what a verb returned visible: draw it, save it below ``folder``, name its facts.

    Understood are predictions, several of them (``Results``, or any dataclass that holds a list of predictions),
    whatever has ``report()``, and whatever has ``to_dict()``.
    """
    outcomes = getattr(result, "outcomes", None)
    if outcomes is not None:
        return [
            View(Path(o.name).name, error=o.error)
            if o.prediction is None
            else _view(Path(o.name).name, o.prediction, folder, Path(o.name).stem, number)
            for number, o in enumerate(outcomes, 1)
        ]
    if isinstance(result, Prediction):
        return [_view(title, result, folder, "result", 1)]
    several = _several(result)
    if several:
        return [_view(getattr(p, "name", f"{n}"), p, folder, "", n) for n, p in enumerate(several, 1)]
    return [_other(title, result, folder)]


def clean(text: str, names: Mapping[str, str]) -> str:
    """A message without the server's paths: every uploaded file by the name it was sent under."""
    for path, name in names.items():
        text = text.replace(path, name)
    return text


def facts_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The single values of a summary under readable names: ``pixel_nm`` becomes ``pixel [nm]``."""
    found = {}
    for key, value in summary.items():
        if isinstance(value, (Mapping, list, tuple)) or value is None or key in _WARNINGS:
            continue
        stem, _, last = key.rpartition("_")
        name = f"{stem} [{_UNITS[last]}]" if stem and last in _UNITS else key
        found[name.replace("_", " ")] = value
    return found


def write_pages(shown: Shown) -> list[Path]:
    """Files for a client that asked by API: what was saved, and the drawings."""
    pictures = [v.picture for v in shown.views if v.picture is not None]
    return [*shown.files, *(p for p in pictures if p not in shown.files)]


# ---------------------------------------------------------------------------------------------- internals


def _archive(shown: Shown) -> Path:
    target = shown.folder / ARCHIVE
    if not target.is_file():
        with atomic(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
            for path in shown.files:
                if path.is_file():
                    out.write(path, path.relative_to(shown.folder / "files").as_posix())
    return target


def _several(result: Any) -> Sequence[Prediction]:
    if not dataclasses.is_dataclass(result):
        return ()
    for one in dataclasses.fields(result):
        value = getattr(result, one.name)
        if isinstance(value, (list, tuple)) and value and all(isinstance(v, Prediction) for v in value):
            return value
    return ()


def _view(name: str, prediction: Prediction, folder: Path, stem: str, number: int) -> View:
    summary = prediction.to_dict()
    picture = None
    if not isinstance(prediction, Table):
        picture = write_image(folder / "drawn" / f"{number:03d}.png", _visible(prediction.draw()))
    below = folder / "files"
    try:
        saved = _saved(prediction, below, stem)
    except FieldsightError as error:
        return View(name, picture, facts_of(summary), summary=summary, error=str(error), prediction=prediction)
    facts, tables = prediction.shown() or (facts_of(summary), _tables(prediction, summary))
    return View(
        name,
        picture,
        facts,
        tuple(tables),
        tuple(_warnings(summary)),
        files=tuple(path.relative_to(folder).as_posix() for path in saved),
        summary=summary,
        prediction=prediction,
    )


def _saved(prediction: Prediction, below: Path, stem: str) -> Sequence[Path]:
    """The files of a prediction: those that its verb wrote already, else those that it writes now."""
    written: Sequence[Path] = getattr(prediction, "files", ())
    if getattr(prediction, "saved", False) and written and all(path.is_relative_to(below) for path in written):
        return written
    return prediction.save(below, _unused(below, stem)) if stem else prediction.save(below)


def _visible(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A small drawing enlarged by whole pixels, so that a browser does not blur it."""
    times = max(1, _ROOM // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def _other(title: str, result: Any, folder: Path) -> View:
    summary = result.to_dict() if hasattr(result, "to_dict") else {"result": str(result)}
    below = folder / "files"
    saved: list[Path] = []
    if hasattr(result, "save") and not getattr(result, "saved", False):
        saved = list(result.save(below))
    elif below.is_dir():
        saved = sorted(p for p in below.rglob("*") if p.is_file())
    pages = [p for p in saved if p.suffix == ".html"]
    if not pages and hasattr(result, "report"):
        pages = [write_text(below / "report.html", result.report().render())]
        saved += pages
    files = tuple(path.relative_to(folder).as_posix() for path in saved)
    report = pages[0].relative_to(folder).as_posix() if pages else ""
    metrics = summary.get("metrics")
    facts = {**facts_of(metrics if isinstance(metrics, Mapping) else {}), **facts_of(summary)}
    table = result.table() if hasattr(result, "table") else None
    tables = (table,) if isinstance(table, Table) else ()
    return View(title, None, facts, tables, tuple(_warnings(summary)), files=files, report=report, summary=summary)


def _tables(prediction: Prediction, summary: Mapping[str, Any]) -> Iterable[Table]:
    if isinstance(prediction, Table):
        yield prediction
        return
    own = [v for v in vars(prediction).values() if isinstance(v, Table) and v.rows]
    yield from own
    for name, value in summary.items():
        title = name.replace("_", " ")
        if isinstance(value, Mapping) and value:
            yield Table({"name": "", "value": ""}, [{"name": k, "value": v} for k, v in value.items()], title)
        elif not own and isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            columns = dict.fromkeys((str(k) for row in value for k in row), "")
            yield Table(columns, value, title)


def _warnings(summary: Mapping[str, Any]) -> Iterable[str]:
    for key in _WARNINGS:
        value = summary.get(key)
        if isinstance(value, str) and value:
            yield value
        elif isinstance(value, (list, tuple)):
            yield from (str(v) for v in value)


def _unused(folder: Path, stem: str) -> str:
    wanted = re.sub(r"[^\w.-]+", "-", stem).strip(".-") or "result"
    taken = {p.name.split(".")[0].lower() for p in folder.glob("*")} if folder.is_dir() else set()
    name, number = wanted, 1
    while any(t == name.lower() or t.startswith(name.lower() + "_") for t in taken):
        number += 1
        name = f"{wanted}-{number}"
    return name


def text_of(value: Any) -> str:
    """A value as a page shows it."""
    return cell(value)
