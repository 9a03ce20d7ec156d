"""The same checks over every registered system. Each names the trait it needs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CASES
from subjects import Subject

import fieldsight
from fieldsight import progress, registry
from fieldsight.cli import main
from fieldsight.config import Config, options
from fieldsight.errors import ConfigError, DataError, ModelFileError, RunError
from fieldsight.metrics.items import PerItem

# ------------------------------------------------------------------------------------------ spec and config


def test_every_system_has_a_case() -> None:
    assert [i for i in registry.names() if i not in CASES] == []


def test_spec_is_complete(subject: Subject) -> None:
    assert registry.check(subject.spec) == []
    for verb in subject.spec.verbs:
        assert callable(registry.load(verb.run)), verb.name
        assert issubclass(registry.load(verb.options), Config), verb.name
    assert callable(registry.load(subject.spec.demo))


def test_help_needs_no_torch(subject: Subject, root: Path) -> None:
    verbs = [v.name for v in subject.spec.verbs]
    # the toys of the test suite are single files that import torch themselves; the house must not
    toy = subject.id.startswith("toy")
    code = f"""
import sys
if {toy}:
    sys.path.insert(0, {str(root / "tests" / "core")!r})
    import toys; toys.register()
from fieldsight.cli import main
assert main([{subject.id!r}, "--help"]) == 0
for verb in {verbs!r}:
    assert main([{subject.id!r}, verb, "--help"]) == 0, verb
heavy = [m for m in ("torch", "lightning_fabric", "gradio", "transformers", "cv2", "scipy") if m in sys.modules]
assert {toy} or not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage: fieldsight" in done.stdout


def test_config_round_trips_and_finds_every_problem(subject: Subject) -> None:
    cls = registry.load(subject.spec.config)
    for name, preset in registry.load(subject.spec.presets).items():
        import tomlkit

        assert cls.parse(tomlkit.parse(preset.to_toml()).unwrap()) == preset, name
        assert cls.parse(json.loads(json.dumps(preset.to_dict()))) == preset, name
    broken = {option.name: value for option, value in _invalid(cls)}
    with pytest.raises(ConfigError) as caught:
        cls.parse({**broken, "no_such_option": 1})
    text = str(caught.value)
    assert "Unknown option 'no_such_option'" in text
    for name in broken:
        assert any(line.startswith(f"{name}: must ") or f"{name}: Unknown choice" in line for line in text.splitlines())


def _invalid(cls: type[Config]) -> Iterator[tuple[Any, Any]]:
    """A value that breaks each option's limits, or its type where it has none."""
    for option in options(cls):
        known = option.setting
        if option.group is not None or option.type is str or "str" in str(option.type):
            continue
        if option.choices:
            yield option, "no such choice"
        elif option.type is bool:
            yield option, "perhaps"
        elif known.ge is not None or known.gt is not None:
            yield option, (known.ge if known.ge is not None else known.gt) - 1  # type: ignore[operator]
        elif known.le is not None or known.lt is not None:
            yield option, (known.le if known.le is not None else known.lt) + 1  # type: ignore[operator]


# ----------------------------------------------------------------------------------------------- stand-in data


def _make(subject: Subject, out: Path, **changes: Any) -> Path:
    fieldsight.call(subject.id, "make-data", out=out, **{**subject.case.data_options, **changes})
    return out


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.needs("data_options")
def test_stand_in_data_is_deterministic(subject: Subject, tmp_path: Path) -> None:
    a, b = (_bytes(_make(subject, tmp_path / n)) for n in "ab")
    assert a == b
    assert a
    changed = _bytes(_make(subject, tmp_path / "c", seed=1))
    assert changed != a


@pytest.mark.needs("data_options")
def test_stand_in_data_by_command_line_is_the_same(subject: Subject, tmp_path: Path) -> None:
    given = [w for k, v in subject.case.data_options.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    assert main([subject.id, "make-data", "--out", str(tmp_path / "a"), *given]) == 0
    assert _bytes(tmp_path / "a") == _bytes(_make(subject, tmp_path / "b"))


@pytest.mark.needs("learns", "data_options")
def test_stand_in_data_can_be_trained_and_measured(subject: Subject, tmp_path: Path) -> None:
    data = _make(subject, tmp_path / "data")
    found = subject.model.evaluate(data)
    _in_range(subject, found.metrics)


@pytest.mark.needs("corruptions")
def test_three_corruptions_are_named(subject: Subject, tmp_path: Path) -> None:
    assert subject.case.corruptions is not None
    broken = subject.case.corruptions(tmp_path)
    assert len(broken) >= 3
    for name, piece in broken.items():
        run = tmp_path / f"run-{name}"
        with pytest.raises(DataError) as caught:
            fieldsight.train(subject.id, tmp_path / name, preset="tiny", run=run)
        assert piece in str(caught.value), f"{name}: {caught.value}"
        assert json.loads((run / "run.json").read_text())["state"] == "failed"
        assert not (run / "model").exists()


# ---------------------------------------------------------------------------------------------------- training


@pytest.mark.needs("learns")
def test_tiny_training_improves(subject: Subject) -> None:
    metric = next(m for m in subject.spec.metrics if m.name == subject.case.metric)
    before = subject.untrained()
    for name in ("calibration",):  # an untrained model borrows what evaluation needs
        if name in subject.model.artefacts:
            before.artefacts[name] = {**subject.model.artefacts[name], "q_from": "another model"}
    values = [m.evaluate().metrics[metric.name] for m in (before, subject.model)]
    gain = values[0] - values[1] if metric.better == "lower" else values[1] - values[0]
    assert gain > 0, values


@pytest.mark.needs("learns")
def test_training_by_command_line_asks_for_the_same(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = subject.run, {}

    def train(id: str, **given: Any) -> Any:
        asked.update(given, id=id)
        return made

    monkeypatch.setattr("fieldsight.training.train", train)
    assert main([subject.id, "train", "some/folder", "--preset", "tiny", "--run", "there", "--set", "seed=7"]) == 0
    assert {k: str(asked[k]) for k in ("id", "data", "preset", "run", "seed")} == {
        "id": subject.id, "data": "some/folder", "preset": "tiny", "run": "there", "seed": "7",
    }  # fmt: skip


@pytest.mark.needs("learns")
def test_same_seed_same_weights_other_seed_others(subject: Subject, tmp_path: Path) -> None:
    again = fieldsight.train(subject.id, preset="tiny", run=tmp_path / "again")
    assert again.model.fingerprint() == subject.model.fingerprint()
    other = registry.load(subject.spec.model).create(registry.load(subject.spec.presets)["tiny"].replace(seed=5))
    assert other.fingerprint() != subject.untrained().fingerprint()


@contextmanager
def _interrupt_after(steps: int) -> Iterator[None]:
    """Press Ctrl-C after so many reported training steps."""
    count = 0

    def watch(label: str, done: int, total: int | None, remark: str) -> None:
        nonlocal count
        if label.startswith("training") and done != total:
            count += 1
            if count >= steps:  # once, as a rule: training ends with the step; a lost one is pressed again
                os.kill(os.getpid(), signal.SIGINT)

    try:
        with progress.watching(watch):
            yield
    finally:
        if count > steps:
            handler = signal.getsignal(signal.SIGINT)
            warnings.warn(f"Ctrl-C was pressed {count - steps + 1} times; handler afterwards: {handler}", stacklevel=2)


@pytest.mark.needs("learns")
def test_resume_equals_uninterrupted(subject: Subject, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt), _interrupt_after(17):
        fieldsight.train(subject.id, preset="tiny", run=run)
    assert json.loads((run / "run.json").read_text())["state"] == "interrupted"
    with pytest.raises(ModelFileError, match="no model yet"):
        fieldsight.load(subject.id, run)
    with pytest.raises(RunError, match="was made with other options"):
        fieldsight.train(subject.id, resume=run, seed=77)
    resumed = fieldsight.train(subject.id, resume=run)
    assert resumed.model.fingerprint() == subject.model.fingerprint()
    assert (run / "metrics.jsonl").read_text() == (subject.run.path / "metrics.jsonl").read_text()
    with pytest.raises(RunError, match="is finished"):
        fieldsight.train(subject.id, resume=run)


@pytest.mark.needs("learns")
def test_init_starts_from_weights(subject: Subject, tmp_path: Path) -> None:
    started = fieldsight.train(subject.id, preset="tiny", init=subject.run.path, run=tmp_path / "new", seed=3)
    assert started.info["inputs"]["init"] == str(subject.run.path)
    assert started.model.fingerprint() != subject.model.fingerprint()
    with pytest.raises(ConfigError, match="give one of them"):
        fieldsight.train(subject.id, resume=tmp_path / "new", init=subject.run.path)


@pytest.mark.needs("learns")
def test_every_trainable_parameter_gets_a_gradient(subject: Subject) -> None:
    import torch

    torch.manual_seed(0)
    model = subject.untrained()
    example = model.example()
    graph = model.graph().train()
    # random inputs: an empty example would leave a dead unit unexcused
    noisy = [v + torch.rand_like(v) if v.is_floating_point() else v for v in (example[n] for n in model.input_names)]
    outputs = graph(*noisy)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum((o * torch.rand_like(o)).sum() for o in outputs).backward()  # type: ignore[union-attr]
    silent = [n for n, p in graph.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not silent


# ------------------------------------------------------------------------------------------- models as files


def _same(a: Any, b: Any) -> bool:
    for f in dataclasses.fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if isinstance(x, np.ndarray):
            if not np.allclose(x, y, atol=1e-6, equal_nan=True):
                return False
        elif isinstance(x, tuple) and x and dataclasses.is_dataclass(x[0]):
            if len(x) != len(y) or not all(_same(one, other) for one, other in zip(x, y, strict=True)):
                return False
        elif isinstance(x, float) and x != x:
            if y == y:
                return False
        elif isinstance(x, (int, float, str, tuple)) and x != y:
            return False
    return True


def test_save_load_predict_without_pickle(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    import torch

    real = {name: getattr(pickle, name) for name in ("load", "loads", "dump")}

    def forbid(name: str) -> Any:
        def forbidden(*args: Any, **kwargs: Any) -> Any:
            # numba keeps its machine code so, in its own cache, beside the .pyc files: as much to be trusted as those
            if name in real and sys._getframe(1).f_globals.get("__name__", "").startswith("numba."):
                return real[name](*args, **kwargs)
            raise AssertionError("pickle was used")

        return forbidden

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "dump"), (torch, "load"), (torch, "save")):
        monkeypatch.setattr(module, name, forbid(name))
    value = subject.inputs(tmp_path / "in")[0]
    first = subject.model.predict(value, **subject.case.named, **subject.case.options)
    subject.model.save(tmp_path / "model")
    again = fieldsight.load(subject.id, tmp_path / "model")
    assert _same(first, again.predict(value, **subject.case.named, **subject.case.options))
    if subject.model.networks:
        assert again.fingerprint() == subject.model.fingerprint()


def test_damaged_and_foreign_model_folders_are_refused(subject: Subject, tmp_path: Path) -> None:
    folder = subject.model.save(tmp_path / "model")
    info = json.loads((folder / "model.json").read_text())
    for change, piece in (({"format": 99}, "Upgrade it"), ({"system": "other"}, "is a model of 'other'")):
        (folder / "model.json").write_text(json.dumps({**info, **change}))
        with pytest.raises(ModelFileError, match=piece):
            fieldsight.load(subject.id, folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(ModelFileError, match="damaged"):
        fieldsight.load(subject.id, folder)
    with pytest.raises(ModelFileError, match="no model folder"):
        fieldsight.load(subject.id, tmp_path / "nowhere")
    if subject.model.networks:
        (folder / "model.json").write_text(json.dumps(info))
        weights = folder / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-7])
        with pytest.raises(ModelFileError, match="damaged"):
            fieldsight.load(subject.id, folder)


# ------------------------------------------------------------------------------------------------- predictions


@pytest.mark.needs("pictures")
def test_pictures_come_in_every_form(subject: Subject, tmp_path: Path) -> None:
    assert subject.case.pictures is not None
    tmp_path.mkdir(exist_ok=True)
    forms = subject.case.pictures(tmp_path)
    assert {"path", "array", "rgba", "16 bit", "odd size"} <= set(forms)
    reference = None
    for name, value in forms.items():
        found = subject.model.predict(value, **subject.case.named, **subject.case.options)
        drawn = found.draw()
        assert drawn.dtype == np.uint8
        assert drawn.ndim == 3
        assert drawn.shape[2] == 3
        json.dumps(found.to_dict(), allow_nan=False)
        if name != "odd size":
            reference = reference or found
            assert _same(reference, found), name


def test_batch_equals_singles_and_bad_inputs_are_skipped(subject: Subject, tmp_path: Path) -> None:
    values = subject.inputs(tmp_path / "in")
    singles = [subject.model.predict(v, **subject.case.named, **subject.case.options) for v in values]
    bad = subject.case.bad_input(tmp_path)
    together = subject.model.predict([*values[:1], bad, *values[1:]], **subject.case.named, **subject.case.options)
    assert len(together) == 4
    assert [bool(o.error) for o in together] == [False, True, False, False]
    assert all(_same(a, b) for a, b in zip(singles, together.predictions, strict=True))
    with pytest.raises(DataError):
        subject.model.predict([bad], strict=True, **subject.case.named)
    with pytest.raises(DataError):
        subject.model.predict(bad, **subject.case.named)


def test_predictions_save_and_write_only_where_told(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = subject.inputs(tmp_path / "in")
    home = tmp_path / "elsewhere"
    home.mkdir()
    monkeypatch.chdir(home)
    before = _bytes(tmp_path)
    subject.model.predict(values, **subject.case.named, **subject.case.options)
    assert _bytes(tmp_path) == before
    results = subject.model.predict(values, out=tmp_path / "out", **subject.case.named, **subject.case.options)
    written = {f for o in results for f in o.files} | set(results.files)
    new = {tmp_path / name for name in set(_bytes(tmp_path)) - set(before)}
    assert written == new
    assert all(tmp_path / "out" in f.parents for f in new)


@pytest.mark.needs("generates")
def test_the_same_seed_generates_the_same(subject: Subject, tmp_path: Path) -> None:
    value = subject.inputs(tmp_path)[0]
    a, b, c = (subject.model.predict(value, seed=s) for s in (0, 0, 1))
    assert _same(a, b)
    assert not _same(a, c)


@pytest.mark.needs("streams")
def test_stepping_equals_replaying_and_start_forgets(subject: Subject, tmp_path: Path) -> None:
    model = subject.model
    value = subject.inputs(tmp_path)[0]
    replayed = model.predict(value)
    assert subject.case.frames is not None
    for _ in range(2):
        model.start()
        stepped = [model.step(inputs, t) for inputs, t in subject.case.frames(value)]
        assert [s for s in stepped if s is not None] == list(replayed.steps)  # None: the frame was not due


# ------------------------------------------------------------------------------------------------------ metrics


def _in_range(subject: Subject, metrics: Any) -> None:
    for metric in subject.spec.metrics:
        value = metrics.get(metric.name)
        if value is not None and not np.isnan(value):
            assert metric.range[0] <= value <= metric.range[1], metric.name


@pytest.mark.needs("learns")
def test_metrics_are_in_range_and_have_protocols(subject: Subject, tmp_path: Path) -> None:
    found = subject.model.evaluate()
    _in_range(subject, found.metrics)
    assert {m.name for m in subject.spec.metrics} >= set(found.metrics)
    assert all(found.protocols()[name].strip() for name in found.metrics)
    files = found.save(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert tmp_path / "report.html" in files
    assert not re.search(r"(src|href)=.?https?:", page)
    assert "https://" not in page.replace(subject.spec.paper, "")
    json.loads((tmp_path / "metrics.json").read_text())


@pytest.mark.needs("perfect")
def test_a_perfect_prediction_scores_perfectly(subject: Subject) -> None:
    assert subject.case.perfect is not None
    found = subject.case.perfect()
    for metric in subject.spec.metrics:
        value = found.get(metric.name)
        if value is not None and not np.isnan(value):
            assert value == pytest.approx(metric.perfect, abs=1e-9), metric.name


@pytest.mark.needs("measure")
def test_metrics_do_not_depend_on_order_or_shards(subject: Subject) -> None:
    assert subject.case.measure is not None
    rows = subject.case.measure(subject.model)
    results = []
    for order in (rows, rows[::-1]):
        items = PerItem()
        for id, values, group in order:
            items.add(id, values, group)
        results.append(items.compute())
    shards = [PerItem(), PerItem(), PerItem()]
    for n, (id, values, group) in enumerate(rows):
        shards[n % 3].add(id, values, group)
    results.append(shards[2].merge(shards[0]).merge(shards[1]).compute())
    assert results[0] == results[1] == results[2]


# ------------------------------------------------------------------------------------- command line and pages


def test_exit_codes(subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(subject.model.save(tmp_path / "model"))
    values = [str(v) for v in subject.inputs(tmp_path / "in")]
    verb = subject.spec.main.name
    named = [w for k, v in subject.case.named.items() for w in (f"--{k}", str(v))]
    common = [subject.id, verb, *values, "--model", model, *named]
    assert main([*common, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 3
    bad = str(subject.case.bad_input(tmp_path))
    assert main([subject.id, verb, values[0], bad, "--model", model, *named]) == 3
    assert "skipped" in capsys.readouterr().err
    assert main([subject.id, verb, bad, "--strict", "--model", model, *named]) == 3
    assert main([subject.id, verb, values[0], "--no-such-flag"]) == 2
    assert main([subject.id, "no-such-verb"]) == 2
    assert "Unknown verb" in capsys.readouterr().err
    assert main([subject.id, verb, *values, "--model", str(tmp_path / "nowhere"), *named]) == 1
    assert main([subject.id, verb]) == 2
    assert main([subject.id, verb, "--print-config"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_three_doors_give_the_same(subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = subject.model.save(tmp_path / "model")
    value = subject.inputs(tmp_path / "in")[0]
    named = [w for k, v in subject.case.named.items() for w in (f"--{k}", str(v))]
    main([subject.id, subject.spec.main.name, str(value), "--model", str(folder), *named, "--json", "--quiet"])
    by_command = json.loads(capsys.readouterr().out)["results"][0]
    by_python = fieldsight.predict(subject.id, value, model=folder, **subject.case.named).to_dict()
    by_method = getattr(fieldsight.load(subject.id, folder), subject.spec.main.attribute)(value, **subject.case.named)
    for name, found in json.loads(json.dumps(by_python)).items():
        assert by_command[name] == found, name
        assert json.loads(json.dumps(by_method.to_dict()))[name] == found, name


@pytest.mark.needs("defaults")
def test_shipped_models_have_complete_cards(subject: Subject) -> None:
    total = 0
    for name in subject.spec.defaults:
        model = fieldsight.load(subject.id, name)
        card = model.card
        assert card is not None
        for field in ("title", "data", "command", "commit", "metrics", "measured_on", "energy", "limits", "licence"):
            assert getattr(card, field), f"{name}: {field}"
        assert card.fingerprint == model.fingerprint()
        assert "drawn" in card.data or "photo" in card.data
        assert card.parameters == sum(p.numel() for n in model.networks.values() for p in n.parameters())
        from fieldsight.model import shipped

        total += sum(p.stat().st_size for p in shipped(subject.spec, name).iterdir())
    assert total < 16e6


# ------------------------------------------------------------------------------------------------------ export


@pytest.mark.onnx
@pytest.mark.needs("exports")
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_exports_predict_the_same(subject: Subject, tmp_path: Path, format: str) -> None:
    from fieldsight.export.runtime import runner_for

    model = subject.model
    target = tmp_path / ("graph.onnx" if format == "onnx" else "graph")
    done = model.export(out=target, format=format)
    assert max(done.differences.values()) < subject.case.parity
    levels, share = subject.case.wobble
    for value in subject.inputs(tmp_path / "in"):
        mine = model.predict(value, **subject.case.named, **subject.case.options)
        model.use(runner_for(model, target))
        theirs = model.predict(value, **subject.case.named, **subject.case.options)
        model.use(None)
        for f in dataclasses.fields(mine):
            x, y = getattr(mine, f.name), getattr(theirs, f.name)
            if isinstance(x, np.ndarray) and x.dtype.kind in "iu":
                assert x.shape == y.shape, f.name
                assert np.abs(x.astype(np.int64) - y).max(initial=0) <= levels, f.name
                assert np.count_nonzero(x != y) <= share * x.size, f.name
            elif isinstance(x, np.ndarray):
                np.testing.assert_allclose(x, y, atol=subject.case.parity, err_msg=f.name)


@pytest.mark.onnx
@pytest.mark.needs("exports")
def test_an_export_that_differs_is_not_written(subject: Subject, tmp_path: Path) -> None:
    from fieldsight.errors import ExportError

    with pytest.raises(ExportError, match="differs from the original"):
        subject.model.export(out=tmp_path / "graph.onnx", tolerance=1e-30)
    assert list(tmp_path.iterdir()) == []
