"""Small pieces of HTML. Every text is escaped; nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from fieldsight.cli.console import cell
from fieldsight.predictions import Table

Tone = Literal["error", "warning", "info", "quiet"]


def message(text: str, tone: Tone = "info", title: str = "") -> str:
    """A coloured box with a sentence."""
    heading = f"<strong>{escape(title)}</strong> " if title else ""
    role = "alert" if tone in ("error", "warning") else "note"
    return f'<div class="fs-message fs-{tone}" role="{role}">{heading}<span>{escape(text)}</span></div>'


def placeholder(text: str) -> str:
    """What stands where a result will appear."""
    return f'<div class="fs-empty"><p>{escape(text)}</p></div>'


def facts(values: Mapping[str, Any]) -> str:
    """Short names and values, side by side."""
    if not values:
        return ""
    shown = [(str(name), cell(value)) for name, value in values.items()]
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd{' class=fs-long' if len(text) > 11 else ''}>{escape(text)}</dd></div>"
        for name, text in shown
    )
    return f'<dl class="fs-facts">{items}</dl>'


def table(shown: Table, most: int = 50) -> str:
    """A table that scrolls inside its own box; rows beyond ``most`` are counted."""
    numeric = {
        c: any(isinstance(r.get(c), (int, float)) and not isinstance(r.get(c), bool) for r in shown.rows)
        for c in shown.columns
    }
    head = "".join(
        f"<th{_numeric(numeric[c])}>{escape(c.replace('_nm', '').replace('_', ' '))}"
        f"{f' <small>{escape(unit)}</small>' if unit else ''}</th>"
        for c, unit in shown.columns.items()
    )
    rows = "".join(
        "<tr>" + "".join(f"<td{_numeric(numeric[c])}>{escape(cell(row.get(c)))}</td>" for c in shown.columns) + "</tr>"
        for row in list(shown.rows)[:most]
    )
    more = len(shown.rows) - most
    rest = f'<p class="fs-soft">and {more:,} more rows in the files</p>' if more > 0 else ""
    title = f"<h3>{escape(shown.title[:1].upper() + shown.title[1:])}</h3>" if shown.title else ""
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'{title}<div class="fs-scroll" tabindex="0">{body}</div>{rest}'


def rows(columns: Sequence[str], values: Iterable[Sequence[Any]], title: str = "") -> str:
    """A table out of plain rows."""
    return table(Table(dict.fromkeys(columns, ""), [dict(zip(columns, v, strict=True)) for v in values], title))


def downloads(key: str, files: Sequence[Path], folder: Path) -> str:
    """Links to the files of a result, and to all of them as one ZIP."""
    if not files:
        return ""
    items = "".join(
        f'<li><a href="/results/{quote(key)}/{quote(path.relative_to(folder).as_posix())}" '
        f'download="{escape(path.name)}">{escape(_short(path, folder))}</a> <small>{size(path)}</small></li>'
        for path in files
    )
    every = ""
    if len(files) > 1:
        every = (
            f'<a class="fs-button" href="/results/{quote(key)}/all.zip" download="results.zip">Download all (ZIP)</a>'
        )
    return f'<h3>Files</h3>{every}<ul class="fs-files">{items}</ul>'


def buttons(key: str, files: Sequence[tuple[Path, str]], folder: Path, about: str) -> str:
    """Buttons that download chosen files of a result, the first one in colour, and everything as one ZIP.

    Args:
        key: of the result.
        files: each with the words of its button.
        folder: the result's own.
        about: a sentence below them.
    """
    items = "".join(_button(key, path, folder, words, n == 0) for n, (path, words) in enumerate(files))
    every = f'<a class="fs-button" href="/results/{quote(key)}/all.zip" download="results.zip">All files, ZIP</a>'
    row = f'<p style="display:flex;flex-wrap:wrap;gap:8px;margin:0">{items}{every}</p>'
    return f"<h3>Files</h3>{row}{soft(about)}"


def _button(key: str, path: Path, folder: Path, words: str, main: bool) -> str:
    address = f"/results/{quote(key)}/{quote(path.relative_to(folder).as_posix())}"
    return (
        f'<a class="fs-button{" fs-main" if main else ""}" href="{address}" download="{escape(path.name)}">'
        f'{escape(words)} <small style="color:inherit;opacity:.75">{size(path)}</small></a>'
    )


def soft(words: str) -> str:
    """A small line of text."""
    return f'<p class="fs-soft">{escape(words)}</p>'


def frame(address: str, title: str, scripts: bool = False) -> str:
    """An HTML page inside the page, apart from it: it reaches neither us nor the network.

    Args:
        address: where it is served.
        title: what it is.
        scripts: True where it may compute by itself.
    """
    allowed = "allow-scripts" if scripts else ""
    return (
        f'<iframe class="fs-frame" src="{escape(address)}" title="{escape(title)}" sandbox="{allowed}" '
        'loading="lazy"></iframe>'
        f'<p class="fs-soft"><a href="{escape(address)}" target="_blank" rel="noopener">Open it alone</a></p>'
    )


def code(text: str, title: str) -> str:
    """Lines to copy, with a button that copies them."""
    copy = "navigator.clipboard.writeText(this.closest('.fs-code').querySelector('pre').textContent)"
    return (
        f'<div class="fs-code"><p><b>{escape(title)}</b><button type="button" onclick="{escape(copy)}">Copy</button>'
        f"</p><pre>{escape(text)}</pre></div>"
    )


def notes(lines: Sequence[str]) -> str:
    """Remarks made while working."""
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in dict.fromkeys(lines))
    return f'<ul class="fs-notes">{items}</ul>'


def size(path: Path) -> str:
    """Size of a file in words."""
    try:
        number = float(path.stat().st_size)
    except OSError:
        return ""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _short(path: Path, folder: Path) -> str:
    below = path.relative_to(folder)
    return "/".join(below.parts[1:]) if len(below.parts) > 1 else below.name


def _numeric(yes: bool) -> str:
    return ' class="n"' if yes else ""
