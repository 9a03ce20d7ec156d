"""Recorded studies: claims that take minutes or seeds to show, kept as JSON beside the code.

``studies/<system>/<name>.json`` holds every seed, interval and control, with the command and commit that made it.
A study is *stale* once the code it rests on has changed: its record carries a hash of that code, comments and
docstrings aside.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fieldsight import registry
from fieldsight.data.files import read_json, write_json
from fieldsight.run import command_line, commit, machine, now, versions

#: Files of a system whose change makes its studies stale; others in its folder are looks and words.
CODE = (
    "config.py", "data.py", "model.py", "losses.py", "train.py", "process.py", "layouts.py", "calibrate.py",
    # a system that learns nothing rests on its engine, and a simulator is data
    "engine.py", "checks.py", "decision.py", "differencing.py", "corridor.py", "looming.py", "motion.py", "scene.py",
    "ground.py", "track.py", "events.py", "world.py", "render.py", "sensors.py", "scenes.py", "behaviours.py",
    "wearer.py", "danger.py",
    # parts of a method that have files of their own
    "invertible.py", "wavelet.py", "noise.py", "textures.py", "rounding.py", "baselines.py", "secret.py",
    "channel.py", "attack.py", "attacks.py", "detect.py", "steganalysis.py", "srm.py", "roc.py",
    "augment.py", "oof.py", "mixing.py", "inference.py", "oracle.py", "routing.py", "nets/*.py", "world/*.py",
    "detector.py", "validate.py", "quant/*.py", "constants.py", "hessian.py", "filters.py", "fast.py", "fusing.py",
    "enhance.py", "phantom/*.py",
)  # fmt: skip


def folder() -> Path | None:
    """The checkout's ``studies`` folder, or None in an installed package."""
    found = Path(__file__).resolve().parents[2] / "studies"
    return found if found.is_dir() else None


def code_hash(system: str) -> str:
    """Hash of the code that a system's results rest on, without comments, docstrings and the preset ``base``.

    Studies decide what ``base`` is, and work with other presets: it may follow them without making them stale.
    """
    digest = hashlib.sha256()
    for path in _files(system):
        digest.update(path.name.encode())
        digest.update(ast.dump(_bare(ast.parse(path.read_text(encoding="utf-8")))).encode())
    return digest.hexdigest()[:16]


def source_hash(system: str) -> str:
    """Hash of the same files as they stand, for a quick look: where it agrees, nothing has changed at all."""
    digest = hashlib.sha256()
    for path in _files(system):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _files(system: str) -> list[Path]:
    import importlib.util

    found = importlib.util.find_spec(registry.get(system).model.partition(":")[0])
    assert found is not None
    assert found.origin is not None
    return [path for name in CODE for path in sorted(Path(found.origin).parent.glob(name))]


def record(system: str, name: str, result: Mapping[str, Any], code: str = "") -> Path:
    """Write a study's result with all that makes it checkable.

    Args:
        system: a system id.
        name: the study.
        code: :func:`code_hash` taken when the study began; now's by default.
        result: claim, seeds, values per seed, intervals, controls: plain values.
    """
    home = folder()
    target = (home or Path("studies")) / system / f"{name}.json"
    return write_json(
        target,
        {
            "system": system,
            "study": name,
            "command": command_line(),
            "commit": commit(),
            "date": now(),
            "code": code or code_hash(system),
            "source": source_hash(system) if code in ("", code_hash(system)) else "",
            "versions": versions(),
            "machine": machine(),
            **result,
        },
    )


class Done:
    """What a long study has finished so far, so that a killed one goes on and two processes can share its seeds.

    A line of ``studies/<system>/.<name>.jsonl`` (not committed) holds a key, the code's hash and a value. Values of
    other code are not used.
    """

    def __init__(self, system: str, name: str) -> None:
        self.path = (folder() or Path("studies")) / system / f".{name}.jsonl"
        self.code = code_hash(system)

    def get(self, key: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """The value kept under ``key``, or that of ``make()``, which is kept then. Values are plain."""
        wanted = json.loads(json.dumps(dict(key)))
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    kept = json.loads(line)
                except json.JSONDecodeError:
                    continue  # killed while it wrote
                if kept["key"] == wanted and kept["code"] == self.code:
                    return kept["value"]
        value = json.loads(json.dumps(make()))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("\n" * self._torn() + json.dumps({"key": wanted, "code": self.code, "value": value}) + "\n")
        return value

    def _torn(self) -> bool:
        if not self.path.is_file() or self.path.stat().st_size == 0:
            return False
        with open(self.path, "rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"


def read(system: str, name: str) -> dict[str, Any] | None:
    """A recorded study, or None."""
    home = folder()
    path = home / system / f"{name}.json" if home else None
    return read_json(path) if path is not None and path.is_file() else None


def states(system: str) -> dict[str, str]:
    """Every recorded study of a system: ``fresh`` or ``stale``; empty in an installed package."""
    home = folder()
    if home is None:
        return {}
    records = {path.stem: read_json(path) for path in sorted((home / system).glob("*.json"))}
    source = source_hash(system)
    changed = [name for name, found in records.items() if found.get("source") != source]
    code = code_hash(system) if changed else ""
    stale = {name for name in changed if records[name].get("code") != code}
    return {name: "stale" if name in stale else "fresh" for name in records}


def _bare(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "PRESETS":
            assert isinstance(node.value, ast.Dict)
            pairs = zip(node.value.keys, node.value.values, strict=True)
            kept = [(k, v) for k, v in pairs if not (isinstance(k, ast.Constant) and k.value == "base")]
            node.value = ast.Dict([k for k, _ in kept], [v for _, v in kept])
    return tree
