"""What verbs give is made visible; work is watched, stopped and forgotten; a call can be taken elsewhere."""

from __future__ import annotations

import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fieldsight import progress, registry
from fieldsight.cli import main
from fieldsight.errors import ConfigError, DataError, FieldsightError, ModelFileError
from fieldsight.predictions import Alerts, Images, Interval, Labels, Prediction, Table
from fieldsight.report.html import Report
from fieldsight.studio import render, same
from fieldsight.studio.context import Call, PageContext
from fieldsight.studio.fields import plan_all
from fieldsight.studio.jobs import Jobs, StoppedError
from fieldsight.studio.models import Models
from fieldsight.studio.results import Shelf, Shown, _visible, facts_of, views_of
from fieldsight.studio.tab import _by_label, body_html, head_html

FLAT = np.full((20, 30), 0.5, np.float32)
TABLE = Table({"name": "", "energy_uj": "µJ"}, [{"name": "<b>", "energy_uj": 1.5}], "parts")


@dataclass(frozen=True)
class Several:
    made: list[Prediction]

    def to_dict(self) -> dict[str, Any]:
        return {}


class Written:
    def to_dict(self) -> dict[str, Any]:
        return {"metrics": {"mae": 0.1}, "warnings": ["careful"]}

    def report(self) -> Report:
        report = Report("title")
        report.section("one").text("words")
        return report


GIVEN: dict[str, tuple[Any, int]] = {
    "interval": (Interval(FLAT, FLAT, FLAT + 0.1, 0.1, FLAT, {"pixel_nm": 2.0, "warning": "odd input"}), 1),
    "images": (Images(np.stack([FLAT, FLAT]), ("a", "b")), 1),
    "labels": (Labels(("x", "y"), np.array([0.2, 0.8])), 1),
    "alerts": (Alerts(({"time": 0.0, "state": "clear"},)), 1),
    "table": (TABLE, 1),
    "several": (Several([TABLE, TABLE]), 2),
    "report": (Written(), 1),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_whatever_a_verb_gives_is_shown(kind: str, tmp_path: Path) -> None:
    result, count = GIVEN[kind]
    views = views_of(result, tmp_path, "verb")
    assert len(views) == count
    shown = Shown("key", tmp_path, tuple(views))
    assert shown.files
    assert all(p.is_file() for p in shown.files)
    html = body_html(shown, views[0])
    assert "/results/key/files/" in html
    assert "<b>" not in html
    assert (views[0].picture is not None) == (kind not in ("table", "several", "report"))
    if kind == "report":
        assert "report.html" in html
        assert "iframe" in html
        assert "Careful." in head_html(registry.get("sem"), shown)
    if kind == "interval":
        assert views[0].facts["pixel [nm]"] == 2.0
        assert "Odd input." in head_html(registry.get("sem"), shown)


def test_same_names_do_not_overwrite(tmp_path: Path) -> None:
    from fieldsight.predicting import Outcome, Results

    results = Results([Outcome("a/x.png", prediction=TABLE), Outcome("b/x.png", prediction=TABLE)])
    views = views_of(results, tmp_path, "verb")
    assert len({f for v in views for f in v.files}) == 4


@pytest.mark.parametrize(("side", "wanted"), [(7, 798), (400, 800), (401, 401), (1500, 1500)])
def test_small_drawings_are_enlarged_by_whole_pixels(side: int, wanted: int) -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (side // 7, side, 3)).astype(np.uint8)
    seen = _visible(drawn)
    times = wanted // side
    assert seen.shape == (side // 7 * times, wanted, 3)
    assert (seen[::times, ::times] == drawn).all()
    assert len(np.unique(seen)) == len(np.unique(drawn))  # no colour in between


def test_errors_name_labels_where_a_page_has_them() -> None:
    @dataclass(frozen=True)
    class Field:
        plan: Any

    options = registry.load(registry.get("sem").verb("simulate").options)
    tab: Any = SimpleNamespace(left=SimpleNamespace(fields=[Field(p) for p in plan_all(options)]))
    assert _by_label("give a layout, or --pattern, or --no-such.", tab) == (
        "give a layout, or 'Pattern', or --no-such."
    )
    assert _by_label("--pixel: must be > 0", tab) == "'Pixel': must be > 0"


def test_facts_have_readable_names() -> None:
    assert facts_of({"pixel_nm": 2, "mean_width": 0.1, "rows": [1], "warning": "x", "none": None}) == {
        "pixel [nm]": 2,
        "mean width": 0.1,
    }


def test_the_shelf_keeps_the_last_and_forgets_files_with_them(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=2, limit=10_000)
    keys = []
    for _ in range(3):
        key, folder = shelf.new_folder()
        shelf.keep(Shown(key, folder, tuple(views_of(TABLE, folder, "t"))))
        keys.append(key)
    assert shelf.get(keys[0]) is None
    assert not (tmp_path / keys[0]).exists()
    archive = shelf.file(keys[2], "all.zip")
    assert archive is not None
    assert zipfile.ZipFile(archive).namelist() == ["result.csv", "result.json"]
    assert shelf.file(keys[2], "files/result.csv") is not None
    for name in ("../x", "drawn/001.png", "/etc/hostname", ""):
        assert shelf.file(keys[2], name) is None
    key, folder = shelf.new_folder()
    (folder / "big").write_bytes(b"x" * 20_000)
    shelf.keep(Shown(key, folder, ()))
    assert shelf.get(key) is not None  # the newest stays, whatever its size
    assert shelf.get(keys[2]) is None


def test_texts_are_escaped() -> None:
    evil = "<script>alert(1)</script>"
    parts = [
        render.message(evil, "error", evil), render.facts({evil: evil}), render.notes([evil]), render.placeholder(evil),
        render.table(Table({evil: evil}, [{evil: evil}], evil)), render.frame(f'"{evil}', evil),
    ]  # fmt: skip
    assert "<script" not in "".join(parts)


# --------------------------------------------------------------------------------------------------------- work


def test_work_is_watched_and_its_notes_kept() -> None:
    told: list[tuple[float | None, str]] = []

    def work() -> int:
        progress.note("one remark")
        for _ in progress.track(range(3), "counting"):
            time.sleep(0.12)
        return 7

    value, notes = Jobs().run("me", work, lambda share, words: told.append((share, words)))
    assert value == 7
    assert notes == ["one remark"]
    assert (pytest.approx(1 / 3), "counting: 1 of 3") in told


@pytest.mark.parametrize("listens", [True, False])
def test_work_is_stopped_by_its_owner_only(listens: bool) -> None:
    jobs, ended = Jobs(), threading.Event()

    def work() -> None:
        for _ in progress.track(range(200), "long") if listens else range(200):
            time.sleep(0.02)
        ended.set()

    caught: list[BaseException] = []

    def run() -> None:
        try:
            jobs.run("me", work)
        except StoppedError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not jobs.running():
        time.sleep(0.01)
    assert jobs.stop("you") == 0
    assert jobs.stop("me") == 1
    thread.join(3)
    assert not thread.is_alive()
    assert caught
    assert not jobs.running()


def test_errors_of_work_arrive_and_faults_show_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def bad() -> None:
        raise DataError("the file is broken")

    with pytest.raises(DataError, match="the file is broken"):
        Jobs().run("me", bad)
    with pytest.raises(FieldsightError, match="Internal error: ZeroDivisionError") as caught:
        Jobs().run("me", lambda: 1 // 0)
    assert "Traceback" not in str(caught.value)
    assert "Traceback" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------- models


def test_models_are_found_by_name_loaded_once_and_anew_when_they_change(runs: Path) -> None:
    spec, models = registry.get("sem"), Models(runs)
    assert "first" in [c.name for c in models.choices(spec)]
    model, _ = models.load(spec, "first")
    assert models.load(spec, "first")[0] is model
    assert "Trained on" in models.card(spec, "first")
    for name in ("../first", str(runs / "first"), "nope", "."):
        with pytest.raises(ConfigError, match="Unknown model"):
            models.find(spec, name)
    stamp = runs / "first" / "model" / "model.json"
    stamp.touch()
    assert models.load(spec, "first")[0] is not model


def test_no_model_at_all_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fieldsight.model

    monkeypatch.setattr(fieldsight.model, "shipped", lambda spec, name: tmp_path / name)
    spec, models = registry.get("sem"), Models(tmp_path)
    with pytest.raises(ModelFileError, match="fieldsight sem train"):
        models.load(spec)
    assert "fieldsight sem train" in models.card(spec, None)


# ------------------------------------------------------------------------------------------- the same call elsewhere

CALLS = [
    ("predict", {"layer": "67/20", "pixel": 5.0, "hotspots": 3, "allow_mismatch": True}),
    ("predict", {"window": (0.0, 10.0, 200.0, 300.0)}),
    ("simulate", {"pattern": "gratings", "recipe.etch.depth": 80.0, "recipe.etch.lag": 0.2, "sample": True}),
]


def call_of(verb: str, changes: dict[str, Any]) -> Call:
    spec = registry.get("sem")
    subject = (Path("/tmp/x/it's a cell.gds"),) if verb == "predict" else ()
    return Call(spec.verb(verb), subject, {}, changes)


@pytest.mark.parametrize(("verb", "changes"), CALLS)
def test_the_command_line_means_the_same(
    verb: str, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    from fieldsight.verbs import options_of

    spec = registry.get("sem")
    words = shlex.split(same.command(spec, call_of(verb, changes), None))
    assert words[0] == "fieldsight"
    assert main([*words[1:], "--print-config"]) == 0
    assert capsys.readouterr().out == options_of(spec, spec.verb(verb), None, changes).to_toml()


@pytest.mark.parametrize(("verb", "changes"), CALLS)
def test_the_python_means_the_same(verb: str, changes: dict[str, Any]) -> None:
    import ast

    from fieldsight.verbs import options_of

    spec = registry.get("sem")
    text = same.python(spec, call_of(verb, changes), None)
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and n.keywords]
    given = {k.arg: ast.literal_eval(k.value) for c in calls for k in c.keywords}
    assert options_of(spec, spec.verb(verb), None, given) == options_of(spec, spec.verb(verb), None, changes)
    if verb == "predict":
        assert '"it\'s a cell.gds"' in text


def test_perform_checks_options_before_it_loads_a_model(tmp_path: Path, runs: Path) -> None:
    spec = registry.get("sem")
    context = PageContext(spec, runs, tmp_path, Models(tmp_path / "none"), Jobs(), Shelf(tmp_path / "results"))
    with pytest.raises(ConfigError, match="pixel"):
        context.perform(Call(spec.verb("predict"), (Path("x.gds"),), {}, {"pixel": -1}), "me")
    assert list((tmp_path / "results").iterdir()) == []
