"""``tour``: a short demonstration of every system, on real input where it is here and drawn input elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from fieldsight import progress, registry
from fieldsight._version import __version__
from fieldsight.errors import FieldsightError
from fieldsight.report.html import Report
from fieldsight.run import commit, machine, now, versions


def tour(out: Path, systems: Sequence[str] = ()) -> Path:
    """Run every system's demonstration and write one self-contained page.

    A system that fails has its message in the page; the others go on.

    Args:
        out: the HTML file.
        systems: only these ids.

    Raises:
        ConfigError: an unknown id.
        DataError: the file can't be written.
    """
    chosen = [registry.get(id) for id in systems] if systems else registry.systems()
    report = Report(
        "fieldsight: the tour",
        "Vision systems for the field: little data, small devices, answers you can stand behind.",
    )
    start = report.section("What this is")
    start.text(
        f"{len(chosen)} systems, each from a published paper, each run a moment ago on this machine with the model "
        "that ships. Every section names its input: real files out of other packages, or drawn data."
    )
    for spec in progress.track(chosen, "tour"):
        section = report.section(spec.title).text(f"{spec.summary[:1].upper()}{spec.summary[1:]}.").notice(spec.notice)
        begun = time.perf_counter()
        try:
            registry.load(spec.demo)(section)
        except FieldsightError as error:
            section.notice(f"This demonstration failed: {error}")
        section.text(f"{time.perf_counter() - begun:.1f} s. {spec.paper}")
    facts = {"fieldsight": __version__, "commit": commit() or "installed", "made": now(), **machine(), **versions()}
    report.section("Made with").facts(facts)
    return report.save(out)
