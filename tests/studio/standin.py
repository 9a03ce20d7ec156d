"""A Studio of one stand-in model, and a drawn page that is pressed without a browser."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from fieldsight.studio.context import PageContext
from fieldsight.studio.jobs import Jobs
from fieldsight.studio.models import Choice, Models
from fieldsight.studio.results import Shelf, Shown
from fieldsight.studio.tab import _run


class One(Models):
    """A Studio with one model."""

    def __init__(self, runs: Path, model: Any) -> None:
        super().__init__(runs)
        self.model, self.lock = model, threading.RLock()

    def choices(self, spec: Any) -> list[Choice]:
        return [Choice("standin", "stand-in", self.runs, None)]

    def load(self, spec: Any, name: str | None = None) -> tuple[Any, threading.RLock]:
        return self.model, self.lock

    def card(self, spec: Any, name: str | None) -> str:
        return "no card"


def context_in(folder: Path, spec: Any, model: Any = None) -> PageContext:
    """All that a page needs, in a folder: with one model, or with those that ship."""
    (folder / "uploads").mkdir()
    models = Models(folder / "runs") if model is None else One(folder / "runs", model)
    return PageContext(spec, folder / "runs", folder, models, Jobs(), Shelf(folder / "results"))


@dataclasses.dataclass(frozen=True)
class Page:
    """A drawn page, or a part of it: its context, its tab, and all that was drawn."""

    context: PageContext
    tab: Any
    blocks: Any

    @functools.cached_property
    def happens(self) -> dict[str, Callable[..., Any]]:
        """What happens in it, by name."""
        return {f.fn.__name__: f.fn for f in self.blocks.fns.values() if f.fn is not None}

    @functools.cached_property
    def html(self) -> list[str]:
        """Its texts."""
        return [str(b.value) for b in self.blocks.blocks.values() if isinstance(b, gr.HTML)]

    def upload(self, sent: Path, *names: str) -> list[str]:
        return [str(shutil.copyfile(sent / n, self.context.uploads / n)) for n in names]

    def press(self, **values: Any) -> dict[str, Any]:
        """Press the button; updates by the name of the right half's component."""
        left, right = self.tab.left, self.tab.right
        given = {left.inputs[n] if n in left.inputs else self.tab.field(n): v for n, v in values.items()}
        plain = {f.component: f.plan.value for f in left.fields}
        plain |= {left.model: left.model.value} if left.model is not None else {}
        told = _run(self.context, self.tab, plain | given, "me", lambda *a, **k: None)
        names = {id(getattr(right, f.name)): f.name for f in dataclasses.fields(right)}
        return {names[id(c)]: u for c, u in told.items()}

    def shown(self, key: str) -> Shown:
        """A result that is there."""
        shown = self.context.shelf.get(key)
        assert shown is not None
        return shown


def draw(context: PageContext, drawing: Callable[[PageContext], Any], kind: type[Page] = Page) -> Any:
    """The page that ``drawing`` draws, with its one tab."""
    with drawn_tabs() as kept, gr.Blocks() as blocks:
        drawing(context)
    ((own, tab),) = kept
    return kind(own, tab, blocks)


@contextlib.contextmanager
def drawn_tabs() -> Iterator[list[tuple[PageContext, Any]]]:
    """The contexts and tabs that are drawn inside the block."""
    kept: list[Any] = []
    real = PageContext.tab
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PageContext, "tab", lambda *a, **k: kept.append((a[0], real(*a, **k))) or kept[-1][1])
        yield kept


def refused(page: Page, sent: Path, name: str, words: str) -> dict[str, Any]:
    """Press the button with a hostile upload: a sentence names the file and says what is wrong with it, no more."""
    updates = page.press(image=page.upload(sent, name))
    text = str(updates["head"])
    assert "fs-error" in text
    assert name in text
    assert words in text
    assert "Traceback" not in text
    assert str(page.context.scratch) not in text
    return updates


def at_once(*calls: Callable[[], Any]) -> None:
    """Call all in threads of their own, and wait for them."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
