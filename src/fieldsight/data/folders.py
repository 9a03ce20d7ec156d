"""Inputs as people name them: files, folders, patterns and arrays, in a steady order."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldsight.errors import DataError


@dataclass(frozen=True)
class Item:
    """One input: its value (a path or an array), a name for messages, and where its result goes.

    ``stem`` is a relative path without ending, unique among the items of one call.
    """

    value: Any
    name: str
    stem: Path


def gather(inputs: Any, suffixes: Sequence[str], named: Callable[[str], bool] | None = None) -> list[Item]:
    """Turn inputs into items.

    Args:
        inputs: a path, a pattern (``scans/*.png``), an array, or a list of those. A folder gives every file below
            it with one of the suffixes, sorted; hidden files are left out.
        suffixes: endings to take from folders, lower case with the dot. Empty: values are passed on as they are.
        named: says of a text whether it is a name (of a built-in thing) and no path; names are passed on.

    Raises:
        DataError: a path that does not exist, a folder without a fitting file, or nothing at all.
    """
    many = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    items: list[Item] = []
    for number, one in enumerate(many):
        if isinstance(one, str) and not one.strip() and suffixes:
            raise DataError("An input is an empty text. Give a file, a folder or a pattern.")
        if not isinstance(one, (str, Path)):
            items.append(Item(one, f"input {number}", Path(f"input-{number:04d}")))
        elif not suffixes or (named is not None and isinstance(one, str) and named(one)):
            items.append(Item(one, str(one), Path(safe_name(str(one)))))
        else:
            items.extend(_expand(str(one), suffixes))
    if not items:
        raise DataError("There is nothing to work on. Give a file, a folder or a pattern.")
    return _unique(items)


def _expand(text: str, suffixes: Sequence[str]) -> Iterable[Item]:
    path = Path(text)
    if path.is_dir():
        found = sorted(
            p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file() and not _hidden(p, path)
        )
        if not found:
            raise DataError(f"The folder '{path}' holds no file ending in {', '.join(suffixes)}.")
        return [Item(p, str(p), p.relative_to(path).with_suffix("")) for p in found]
    if path.exists():
        return [Item(path, str(path), Path(path.stem))]
    found = sorted(Path(p) for p in glob.glob(text, recursive=True)) if glob.has_magic(text) else []
    found = [p for p in found if p.suffix.lower() in suffixes]
    if not found:
        raise DataError(f"There is no file or folder '{text}'.")
    return [Item(p, str(p), Path(p.stem)) for p in found]


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def safe_name(text: str) -> str:
    """A text as a file name: letters, digits, dash, dot and underscore; never empty."""
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in text)[-80:]
    return kept.strip(".-") or "input"


def _unique(items: list[Item]) -> list[Item]:
    taken: set[str] = set()
    unique = []
    for item in items:
        stem, count = item.stem, 1
        while str(stem).lower() in taken:  # lower: file systems that fold case would overwrite
            count += 1
            stem = item.stem.with_name(f"{item.stem.name}-{count}")
        taken.add(str(stem).lower())
        unique.append(Item(item.value, item.name, stem))
    return unique
