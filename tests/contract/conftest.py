"""The contract runs over every registered system, one worker a system, and prints what ran where."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import toys
from cases import CASES
from subjects import Subject

from fieldsight import registry

toys.register()

_subjects: dict[str, Subject] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("needs")
    wanted = marker.args if marker else ()
    # a system without a case fails test_every_system_has_a_case, and keeps no other from being checked
    ids = [i for i in registry.names() if i in CASES and all(_has(i, w) for w in wanted)]
    params = [pytest.param(i, marks=pytest.mark.xdist_group(i), id=i) for i in ids]
    metafunc.parametrize("subject", params, indirect=True)


def _has(id: str, wanted: str) -> bool:
    spec, case = registry.get(id), CASES[id]
    if wanted in ("learns", "exports", "streams", "generates"):
        return wanted in spec.traits
    if wanted == "networks":
        return "learns" in spec.traits
    if wanted == "defaults":
        return bool(spec.defaults)
    return bool(getattr(case, wanted))


@pytest.fixture
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    id = request.param
    request.node.user_properties.append(("contract", id))
    if id not in _subjects:
        _subjects[id] = Subject(id, tmp_path_factory.mktemp(f"contract-{id}"))
    return _subjects[id]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table system x check, and the seconds of each system."""
    table: dict[str, dict[str, str]] = defaultdict(dict)
    seconds: dict[str, float] = defaultdict(float)
    marks = {"passed": "ok", "failed": "FAIL", "skipped": "skip", "error": "FAIL"}
    for outcome, mark in marks.items():
        for report in terminalreporter.stats.get(outcome, []):
            for key, id in getattr(report, "user_properties", []):
                if key == "contract":
                    check = report.location[2].split("[")[0].removeprefix("test_")
                    table[check][id] = mark
                    seconds[id] += report.duration
    if not table:
        return
    ids = list(registry.names())
    width = max(len(c) for c in table)
    terminalreporter.section("contract: check x system (- where the trait is missing)")
    terminalreporter.write_line(" " * width + "  " + "  ".join(i.rjust(9) for i in ids))
    for check in sorted(table):
        cells = "  ".join(table[check].get(i, "-").rjust(9) for i in ids)
        terminalreporter.write_line(f"{check.ljust(width)}  {cells}")
    terminalreporter.write_line("seconds".ljust(width) + "  " + "  ".join(f"{seconds[i]:9.1f}" for i in ids))
