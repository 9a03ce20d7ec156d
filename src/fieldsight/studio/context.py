"""What a page is given: its system, the models, and helpers that run a verb and show what it gave.

Own pages (``System.page``) are written with the same helpers as the generated one:

    def page(context: PageContext) -> None:
        tab = context.tab("predict")                       # the whole generated tab
        with tab.right.below:                              # room under the picture
            plot = gr.HTML()
        tab.right.key.change(draw_more, [tab.right.key, tab.right.which], plot)
        context.card(tab)

``draw_more`` finds what was shown by ``context.found(key, number, SomePrediction)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fieldsight import registry, verbs
from fieldsight.errors import ConfigError, FieldsightError
from fieldsight.registry import Input, System, Verb
from fieldsight.studio.jobs import Jobs, Report
from fieldsight.studio.models import Models, chooses
from fieldsight.studio.results import Shelf, Shown, View, clean, views_of

if TYPE_CHECKING:
    from fieldsight.studio.tab import VerbTab

T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """An input to try, or a built-in one to choose.

    Attributes:
        label: a few words on a button or in a list.
        origin: ``drawn`` by us, or ``real``; the button says it.
        write: writes the input's file into a folder and gives its path, or gives the value itself (a text). The
            example is then a button that fills the form and runs it.
        value: a name that the first input takes instead of a file (a built-in network). The example then stands in a
            list beside the upload; pages and API take no other names.
        named: the same as ``write`` for the other inputs, by name; those without stay empty.
        options: options that go with it; all others take their defaults.
        verbs: names of the verbs it fits; empty means every verb that takes inputs.
    """

    label: str
    origin: Literal["drawn", "real"]
    write: Callable[[Path], Any] | None = None
    value: str = ""
    named: Mapping[str, Callable[[Path], Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    verbs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """One call of a verb, from a page or from the API.

    Attributes:
        verb: what to do.
        subject: uploaded files or values of the first input; empty where there is none.
        named: the other named inputs.
        changes: options that differ from their defaults, by full name.
        model: name of the model; empty for the first one on offer.
        preset: settings to start from; empty where there are none.
    """

    verb: Verb
    subject: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    preset: str = ""

    def names(self) -> dict[str, str]:
        """Every uploaded file's path on the server, and the name people know it by."""
        values = [*self.subject, *self.named.values(), *self.changes.values()]
        return {str(v): v.name for v in values if isinstance(v, Path)}


@dataclass(frozen=True)
class PageContext:
    """Everything a page needs.

    Attributes:
        spec: its system.
        runs: folder of runs.
        scratch: a temporary folder of this Studio; uploads and results are below it.
        models: models on offer, loaded at first use.
        jobs: work under way.
        shelf: the last results.
        endpoints: verbs that programs can call, with the inputs of each; :mod:`fieldsight.studio.api` adds them.
    """

    spec: System
    runs: Path
    scratch: Path
    models: Models
    jobs: Jobs
    shelf: Shelf
    endpoints: list[tuple[Verb, tuple[Input, ...]]] = field(default_factory=list)

    @property
    def uploads(self) -> Path:
        """Where uploaded files lie; the only files a page or a client may name."""
        return self.scratch / "uploads"

    def names(self, verb: Verb) -> list[str]:
        """Built-in names that the first input of a verb may be."""
        return [e.value for e in self.examples(verb) if e.value]

    def verbs(self) -> list[Verb]:
        """The verbs that get a tab, the main action first."""
        return [verb for verb in self.spec.verbs if verb.page]

    def examples(self, verb: Verb) -> list[Example]:
        """Inputs to try with a verb."""
        if not self.spec.examples or not verb.needs.startswith("inputs"):
            return []
        offered: Sequence[Example] = registry.load(self.spec.examples)()
        return [e for e in offered if not e.verbs or verb.name in e.verbs]

    def tab(
        self,
        verb: str,
        shown: Sequence[str] = (),
        suggest: Sequence[str] = (),
        own_picture: bool = False,
        calm: bool = False,
        without: Sequence[str] = (),
    ) -> VerbTab:
        """Draw the generated tab of a verb inside the present Gradio block.

        Args:
            verb: name of the verb.
            shown: names of the options that stand openly, in this order; the first few without it.
            suggest: text options whose field offers a list that the page fills.
            own_picture: True where the page draws the picture itself; it is then left alone here.
            calm: True where "nothing is there" is an answer and no fault: what is wrong with an input is then told
                without alarm.
            without: options that say nothing on a page; they get no field and keep their defaults.
        """
        from fieldsight.studio.tab import draw_tab

        return draw_tab(self, self.spec.verb(verb), shown, suggest, own_picture, calm, without)

    def endpoint(self, verb: str, inputs: Sequence[Input]) -> None:
        """Let programs call a verb that has no generated tab; what has one can be called anyway.

        Args:
            verb: name of the verb.
            inputs: what it takes.
        """
        from fieldsight.studio.api import add

        add(self, self.spec.verb(verb), inputs)

    def card(self, tab: VerbTab) -> None:
        """Draw the card of the model that a tab has chosen."""
        from fieldsight.studio.pages import draw_card

        draw_card(self, tab)

    def found(self, key: str, number: Any, kind: type[T]) -> tuple[Shown, T] | None:
        """What is on the shelf and the prediction that is looked at.

        Args:
            key: what ``tab.right.key`` holds.
            number: what ``tab.right.which`` holds.
            kind: class of the prediction.

        Returns:
            None where there is none of that kind, or no longer one.
        """
        shown = self.shelf.get(key)
        if shown is None or not isinstance(number, int) or not 0 <= number < len(shown.views):
            return None
        one = shown.views[number].prediction
        return (shown, one) if isinstance(one, kind) else None

    def perform(self, call: Call, who: str, report: Report | None = None) -> Shown:
        """Run a verb with progress and stop, and make what it gave visible.

        Options are checked before a model is loaded. One bad input among several is a view with its error.

        Args:
            call: what to do.
            who: whose work it is, for :meth:`~fieldsight.studio.jobs.Jobs.stop`.
            report: told how far it is.

        Raises:
            FieldsightError: in words without the server's paths.
        """
        names = {**call.names(), str(self.scratch): "the Studio's folder"}
        key, folder = self.shelf.new_folder()

        def work() -> list[View]:
            return views_of(self._result(call, folder), folder, call.verb.name)

        try:
            views, notes = self.jobs.run(who, work, report)
        except FieldsightError as error:
            self.shelf.drop(folder)
            raise _cleaned(error, names) from None
        tidy = tuple(_clean_view(view, names) for view in views)
        return self.shelf.keep(Shown(key, folder, tidy, tuple(clean(n, names) for n in notes)))

    def _result(self, call: Call, folder: Path) -> Any:
        spec, verb = self.spec, call.verb
        if not call.subject and verb.needs == "inputs":
            first = spec.inputs[0]
            raise ConfigError(f"Give {first.name}: {first.help}.")
        preset = call.preset or None
        verbs.options_of(spec, verb, None, call.changes, None, preset)
        several = verb is spec.main and verb.run == "fieldsight.predicting:predict"
        subject: Any = list(call.subject) if several or len(call.subject) > 1 else next(iter(call.subject), None)
        # a verb that writes by itself writes below the result; the main action is saved by us, one input at a time
        writes = not several and "out" in inspect.signature(registry.load(verb.run)).parameters
        out = folder / "files" if writes else None
        if not verb.model:
            return verbs.call(spec, verb.name, None, subject, out=out, preset=preset, **call.changes, **call.named)
        model, lock = self.models.load(spec, call.model if chooses(spec, verb) else None)
        with lock:
            return verbs.call(spec, verb.name, model, subject, out=out, preset=preset, **call.changes, **call.named)


def _cleaned(error: FieldsightError, names: Mapping[str, str]) -> FieldsightError:
    if isinstance(error, ConfigError):
        return ConfigError([clean(p, names) for p in error.problems])
    error.args = (clean(str(error), names),)
    return error


def _clean_view(view: View, names: Mapping[str, str]) -> View:
    import dataclasses

    tidy = tuple(clean(w, names) for w in view.warnings)
    return dataclasses.replace(view, name=clean(view.name, names), error=clean(view.error, names), warnings=tidy)
