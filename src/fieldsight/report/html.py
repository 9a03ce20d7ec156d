"""Reports as one HTML file: pictures, plots and styles inside, no script from anywhere, every text escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldsight._version import __version__
from fieldsight.data.files import write_text
from fieldsight.data.images import png_bytes
from fieldsight.predictions import Table


@dataclass
class Section:
    """A heading and what stands under it, in order; made by :meth:`Report.section`."""

    title: str
    anchor: str
    parts: list[tuple[str, Any]] = field(default_factory=list)

    def text(self, words: str) -> Section:
        """A paragraph."""
        self.parts.append(("text", words))
        return self

    def notice(self, words: str) -> Section:
        """A warning that must not be missed."""
        if words:
            self.parts.append(("notice", words))
        return self

    def code(self, words: str) -> Section:
        """A command or listing."""
        self.parts.append(("code", words))
        return self

    def facts(self, values: Mapping[str, Any]) -> Section:
        """Short names with short values, side by side."""
        from fieldsight.cli.console import cell

        self.parts.append(("facts", [(name, cell(value)) for name, value in values.items()]))
        return self

    def table(self, table: Table, most: int = 200) -> Section:
        """A table; rows beyond ``most`` are left out and counted."""
        from fieldsight.cli.console import cell

        numeric = {
            c: all(
                isinstance(r.get(c), (int, float, type(None))) and not isinstance(r.get(c), bool) for r in table.rows
            )
            for c in table.columns
        }
        rows = [[(cell(row.get(c)), numeric[c]) for c in table.columns] for row in list(table.rows)[:most]]
        header = [(n, u, numeric[n]) for n, u in table.columns.items()]
        self.parts.append(
            ("table", {"title": table.title, "header": header, "rows": rows, "more": len(table.rows) - len(rows)})
        )
        return self

    def picture(self, picture: NDArray[Any], caption: str = "") -> Section:
        """A picture ``(H, W)`` or ``(H, W, 3)``."""
        data = base64.b64encode(png_bytes(np.asarray(picture))).decode()
        native = int(np.asarray(picture).shape[1])
        width = native * max(1, min(6, 960 // native))  # small pictures are enlarged by whole pixels
        self.parts.append(("picture", {"data": data, "caption": caption, "width": width}))
        return self

    def plot(self, svg: str, caption: str = "") -> Section:
        """A plot from :mod:`fieldsight.report.plots`."""
        self.parts.append(("plot", {"svg": svg, "caption": caption}))
        return self


class Report:
    """A report under construction.

    Args:
        title: heading of the page.
        subtitle: one line below it.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self.sections: list[Section] = []

    def section(self, title: str) -> Section:
        """Begin a section."""
        self.sections.append(Section(title, f"s{len(self.sections) + 1}"))
        return self.sections[-1]

    def render(self) -> str:
        """The page as text."""
        from jinja2 import Environment, PackageLoader

        environment = Environment(
            loader=PackageLoader("fieldsight.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        return environment.get_template("report.html").render(
            title=self.title, subtitle=self.subtitle, sections=self.sections, version=__version__
        )

    def save(self, path: str | Path) -> Path:
        """Write the page, whole or not at all."""
        return write_text(path, self.render())
