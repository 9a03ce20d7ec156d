"""The command line's own verbs, assets, doctor, tour, the public names, and files that are never half written."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import toys

import fieldsight
from fieldsight import assets, doctor, progress, registry, studies
from fieldsight.assets import Asset
from fieldsight.cli import main
from fieldsight.data.files import atomic, atomic_folder, read_json, sha256, write_json
from fieldsight.data.folders import gather
from fieldsight.errors import ConfigError, DataError, FieldsightError
from fieldsight.tour import tour

toys.register()

# ---------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    ("words", "code", "piece"),
    [
        (["--version"], 0, "fieldsight 0."),
        ([], 0, "usage: fieldsight SYSTEM VERB"),
        (["list"], 0, "predicts the SEM image"),
        (["list", "*stream*", "--json"], 0, "toystream"),
        (["sme", "predict"], 2, "Did you mean 'sem'?"),
        (["doktor"], 2, "Did you mean 'doctor'?"),
        (["sem", "predikt"], 2, "Did you mean 'predict'?"),
        (["assets", "fetch"], 2, "name an asset"),
        (["assets", "steal"], 2, "say list or fetch"),
        (["assets", "fetch", "sky13"], 2, "Did you mean 'sky130'?"),
        (["assets", "list"], 0, "sky130"),
        (["studio", "--port", "many"], 2, "must be a whole number"),
        (["sem", "predict", "x.gds", "--tile", "77"], 2, "tile: must be a multiple of 4"),
        (["sem", "predict", "nowhere.gds", "--set", "tile"], 2, "--set wants NAME=VALUE"),
        (["sem", "train", "--preset", "huge"], 2, "Unknown preset 'huge'"),
        (["sem", "train", "--preset", "tiny", "--set", "second.gama=2"], 2, "Did you mean 'second.gamma'?"),
        (["sem", "train", "--print-config", "--preset", "paper"], 0, "q_low = 0.05"),
        (["sem", "export", "--out", "x.txt"], 2, "ends in .onnx"),
    ],
)
def test_words_codes_and_messages(
    words: list[str], code: int, piece: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    if words[:2] == ["sem", "export"] and not _shipped():
        pytest.skip("no shipped model yet")
    assert main(words) == code
    said = capsys.readouterr()
    assert piece in said.out + said.err
    assert "Traceback" not in said.err


def _shipped() -> bool:
    from fieldsight.model import shipped

    return (shipped(registry.get("sem"), "base") / "model.json").is_file()


def test_a_fault_of_ours_is_called_one_and_shows_its_trace_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(words: Any) -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("fieldsight.cli.product.doctor", broken)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert "internal error: ZeroDivisionError: oops" in said
    assert "Traceback" not in said
    main(["doctor", "--traceback"])
    assert "Traceback" in capsys.readouterr().err


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(words: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("fieldsight.cli.product.doctor", pressed)
    assert main(["doctor"]) == 130


def test_every_flag_is_written_down(root: Path) -> None:
    """The command line is an interface: a flag that appears or goes must be put on the list."""
    from fieldsight.cli.system import _flags

    found = {
        f"{id} {verb.name}": sorted(f.name for f in _flags(registry.get(id), verb))
        for id in registry.SYSTEMS
        for verb in registry.get(id).verbs
    }
    path = root / "tests" / "core" / "flags.json"
    listed = json.loads(path.read_text())
    assert found == listed, f"if this is meant, write it down: {json.dumps(found, indent=1)}"


def test_no_test_imports_a_conftest(root: Path) -> None:
    """There are several of that name: which one is found depends on what else runs."""
    wrong = [p for p in (root / "tests").rglob("*.py") if re.search(r"^(import|from) conftest\b", p.read_text(), re.M)]
    assert not wrong


def test_public_names_are_exactly_these() -> None:
    assert sorted(fieldsight.__all__) == [
        "ConfigError", "DataError", "ExportError", "FieldsightError", "MissingExtraError", "Model", "ModelFileError",
        "RunError", "__version__", "call", "evaluate", "load", "predict", "systems", "train",
    ]  # fmt: skip
    for name in fieldsight.__all__:
        assert getattr(fieldsight, name) is not None
    with pytest.raises(AttributeError, match="Did you mean 'predict'"):
        _ = fieldsight.predit


def test_errors_have_their_codes() -> None:
    own = [c for c in FieldsightError.__subclasses__() if c.__module__ == "fieldsight.errors"]
    codes = {c.__name__: c.exit_code for c in own}
    assert codes == {
        "ConfigError": 2, "DataError": 3, "MissingExtraError": 4, "ModelFileError": 1, "ExportError": 1, "RunError": 1,
    }  # fmt: skip


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    model = registry.load(registry.get("toywords").model).create(registry.load("toys.words:PRESETS")["tiny"])
    with pytest.raises(FieldsightError, match=r'pip install "fieldsight\[onnx\]"') as caught:
        model.export(out=tmp_path / "x.onnx")
    assert caught.value.exit_code == 4


# --------------------------------------------------------------------------------------------- doctor and tour


def test_doctor_looks_and_finds(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any) -> None:
    table = doctor.examine()
    states = {row["what"]: row["state"] for row in table.rows}
    assert states["torch"] == "ok"
    assert states["asset sky130"] == "missing"
    if os.name != "nt" and os.geteuid() != 0:
        blocked = tmp_path / "blocked"
        blocked.mkdir(mode=0o500)
        monkeypatch.setenv("FIELDSIGHT_CACHE", str(blocked / "x"))
        assert {r["what"]: r["state"] for r in doctor.examine().rows}["cache folder"] == "problem"
    monkeypatch.setattr(doctor, "_version", lambda p: "5.0" if p.startswith("opencv") else "")
    assert {r["what"]: r["state"] for r in doctor.examine().rows}["OpenCV"] == "problem"


def test_the_tour_is_one_file_and_survives_a_failing_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(section: Any) -> None:
        raise DataError("its model is gone")

    monkeypatch.setattr("toys.gan.demo", failing)
    page = tour(tmp_path / "t.html", ["toygan", "toystream"]).read_text()
    assert "This demonstration failed: its model is gone" in page
    assert "Toy stream" in page
    assert "a toy" in page
    with pytest.raises(ConfigError, match="Unknown system"):
        tour(tmp_path / "u.html", ["nothing"])


# ------------------------------------------------------------------------------------------------------ assets


def _wheel(folder: Path, name: str = "pack-1.0-py3-none-any.whl") -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pack/data/a.gds", b"layout")
        archive.writestr("pack/data/../../evil.txt", b"outside")
        archive.writestr("pack/code.py", b"x = 1")
    return path


@pytest.fixture
def asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    monkeypatch.setenv("FIELDSIGHT_CACHE", str(tmp_path / "cache"))
    wheel = _wheel(tmp_path)
    one = Asset("pack", "t", "PyPI", "pack", "1.0", "pack/data", "MIT", ("sem",), 1, sha256=sha256(wheel))
    monkeypatch.setattr(assets, "catalogue", lambda: {"pack": one})

    def download(command: list[str], **options: Any) -> Any:
        assert "--no-deps" in command
        assert "pack==1.0" in command
        target = Path(command[command.index("--dest") + 1])
        (target / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(assets.subprocess, "run", download)
    return one


def test_assets_are_fetched_checked_and_unpacked_inside(asset: Asset, tmp_path: Path) -> None:
    assert assets.locate("pack") is None
    folder = assets.fetch("pack")
    assert assets.locate("pack") == folder
    assert sorted(p.name for p in folder.iterdir()) == ["a.gds", "asset.json"]
    assert not list(tmp_path.rglob("evil.txt"))
    assert assets.fetch("pack", tmp_path / "mine") == tmp_path / "mine"


def test_assets_with_another_hash_or_no_connection_leave_nothing(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    monkeypatch.setattr(assets, "catalogue", lambda: {"pack": dataclasses.replace(asset, sha256="0" * 64)})
    with pytest.raises(DataError, match="its hash differs. Nothing was kept"):
        assets.fetch("pack")
    assert assets.locate("pack") is None
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution\n")
    monkeypatch.setattr(assets.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(DataError, match="No matching distribution. It needs a connection to PyPI"):
        assets.fetch("pack")


def test_the_real_catalogue_is_complete() -> None:
    for name, entry in assets.catalogue().items():
        assert entry.licence, name
        assert entry.version, name
        assert entry.sha256 or entry.files, name
        assert set(entry.systems) <= set(registry.SYSTEMS), name


@pytest.mark.assets
def test_real_standard_cells_are_read_and_predicted(tmp_path: Path) -> None:
    folder = assets.locate("sky130")
    if folder is None:
        pytest.skip("the asset sky130 is not here: fieldsight assets fetch sky130")
    from fieldsight.data.gds import open_layout

    files = sorted(folder.rglob("*.gds"))
    assert len(files) == 727
    for path in files[::60]:
        layout = open_layout(path)
        assert layout.layers, path
    cell = next(p for p in files if p.name.endswith("dfxtp_1.gds"))
    out = tmp_path / "out"
    assert main(["sem", "predict", str(cell), "--pixel", "5nm", "--out", str(out)]) == 0
    assert main(["sem", "predict", str(cell), "--pixel", "5nm", "--layer", "met1"]) == 0
    assert main(["sem", "predict", str(cell), "--layer", "met9"]) == 3


# ------------------------------------------------------------------------------------------------------- files


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    target = write_json(tmp_path / "sub" / "a.json", {"x": 1})
    with pytest.raises(RuntimeError), atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(target) == {"x": 1}
    with pytest.raises(DataError, match="No space left on device. Nothing was changed"), atomic(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [p.name for p in target.parent.iterdir()] == ["a.json"]
    with pytest.raises(ValueError, match="not JSON compliant|Out of range"):
        write_json(target, {"x": float("nan")})
    assert read_json(target) == {"x": 1}
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Can't write"):
        write_json(tmp_path / "file" / "b.json", {})


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "m") as folder:
        (folder / "one").write_text("1")
    with pytest.raises(DataError), atomic_folder(tmp_path / "m") as folder:
        (folder / "two").write_text("2")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [p.name for p in (tmp_path / "m").iterdir()] == ["one"]
    with atomic_folder(tmp_path / "m") as folder:
        (folder / "three").write_text("3")
    assert [p.name for p in (tmp_path / "m").iterdir()] == ["three"]
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_inputs_are_gathered_in_order_with_unique_names(tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "sub/a.png", ".hidden/x.png", "note.txt", "a.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = gather(str(tmp_path), (".png", ".tif"))
    assert [str(i.stem) for i in found] == ["a", "a-2", "b", os.path.join("sub", "a")]
    assert [i.name.split("/")[-1] for i in gather(str(tmp_path / "*.png"), (".png",))] == ["b.png"]
    twice = gather([tmp_path / "b.png", tmp_path / "b.png"], (".png",))
    assert [str(i.stem) for i in twice] == ["b", "b-2"]
    for bad, piece in (
        ("nowhere.png", "no file or folder"),
        ([], "nothing to work on"),
        (tmp_path / "sub2", "no file"),
    ):
        with pytest.raises(DataError, match=piece):
            gather(bad, (".png",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file ending in"):
        gather(tmp_path / "empty", (".png",))


# ------------------------------------------------------------------------------------------ progress and studies


def test_progress_is_told_to_whoever_watches() -> None:
    seen: list[tuple[str, int, int | None]] = []
    said: list[str] = []
    with progress.watching(lambda label, done, total, remark: seen.append((label, done, total)), said.append):
        assert list(progress.track([1, 2], "work")) == [1, 2]
        progress.note("hello")
    assert seen == [("work", 1, 2), ("work", 2, 2), ("work", 2, 2)]
    assert said == ["hello"]


def test_a_killed_study_goes_on_where_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(studies, "folder", lambda: tmp_path)
    made: list[int] = []

    def make(seed: int) -> dict[str, float]:
        made.append(seed)
        return {"mae": 0.5 + seed}

    assert studies.Done("sem", "claim").get({"seed": 0}, lambda: make(0)) == {"mae": 0.5}
    with open(tmp_path / "sem" / ".claim.jsonl", "a", encoding="utf-8") as file:
        file.write('{"key": {"seed": 1}, "co')  # killed while it wrote
    again = studies.Done("sem", "claim")
    assert [again.get({"seed": s}, lambda s=s: make(s))["mae"] for s in (0, 1, 1)] == [0.5, 1.5, 1.5]
    assert made == [0, 1]
    monkeypatch.setattr(studies, "code_hash", lambda system: "other")
    studies.Done("sem", "claim").get({"seed": 0}, lambda: make(0))
    assert made == [0, 1, 0]  # of other code: made anew


def test_a_study_is_stale_once_its_code_changes_and_comments_do_not_count(tmp_path: Path, monkeypatch: Any) -> None:
    home = tmp_path / "studies"
    home.mkdir()
    monkeypatch.setattr(studies, "folder", lambda: home)
    studies.record("sem", "claim", {"seeds": [0], "value": 1.5})
    assert studies.states("sem") == {"claim": "fresh"}
    found = studies.read("sem", "claim")
    assert found is not None
    assert {"command", "commit", "date", "code", "versions", "machine", "value"} <= set(found)
    monkeypatch.setattr(studies, "source_hash", lambda system: "other")
    assert studies.states("sem") == {"claim": "fresh"}  # other comments
    monkeypatch.setattr(studies, "code_hash", lambda system: "other")
    assert studies.states("sem") == {"claim": "stale"}
    monkeypatch.undo()
    import ast

    plain = ast.dump(studies._bare(ast.parse("def f(x):\n    return x\n")))
    one, two = (
        ast.dump(studies._bare(ast.parse(f'PRESETS: dict[str, C] = {{"base": C({n}), "small": C(1)}}'))) for n in (1, 2)
    )
    assert one == two  # what ships may follow the studies
    other = ast.dump(studies._bare(ast.parse('PRESETS: dict[str, C] = {"base": C(1), "small": C(2)}')))
    assert other != one
    worded = ast.dump(studies._bare(ast.parse('"""Doc."""\ndef f(x):\n    """Words."""\n    # more\n    return x\n')))
    assert plain == worded


def test_registering_twice_is_fine_and_taking_an_id_is_not() -> None:
    from toys.gan import SPEC

    assert registry.register(SPEC) is SPEC
    import dataclasses

    with pytest.raises(ConfigError, match="is taken"):
        registry.register(dataclasses.replace(SPEC, id="sem"))
    with pytest.raises(ConfigError, match="is taken"):
        registry.register(dataclasses.replace(SPEC, title="other"))
    broken = dataclasses.replace(SPEC, title="", metrics=())
    assert any("'title' is empty" in p for p in registry.check(broken))
    assert any("without metrics" in p for p in registry.check(broken))
