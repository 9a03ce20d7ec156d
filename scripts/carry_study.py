"""Carry a recorded study over a change that moved code and changed no number.

    python scripts/carry_study.py SYSTEM STUDY COMMIT

COMMIT is one whose code the record rests on. ``studies/SYSTEM/probe.py`` runs the study in short, in a checkout of that
commit and in this one. Where every number agrees to the last digit, the record takes this code's hash and says from
which it was carried; else nothing is written and the study has to be recorded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: Runs in either checkout: the study's own module, the newer probe, the hash of the code.
_CHILD = """
import importlib.util, json, sys
def module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found
system, study, probe, out = sys.argv[1:]
from fieldsight import studies
told = {"code": studies.code_hash(system), "source": studies.source_hash(system)}
told["numbers"] = module("probe", probe).probe(module("study", study))
json.dump(told, open(out, "w"), sort_keys=True)
"""


def told(root: Path, system: str, name: str) -> dict[str, Any]:
    """What the short run says in a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "told.json"
        study, probe = root / "studies" / system / f"{name}.py", ROOT / "studies" / system / "probe.py"
        environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", _CHILD, system, str(study), str(probe), str(out)]
        subprocess.run(command, check=True, env=environment, cwd=root)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def main(system: str, name: str, commit: str) -> int:
    """Compare, and rewrite the record; 1 where the record stays as it is."""
    path = ROOT / "studies" / system / f"{name}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        subprocess.run(["git", "worktree", "add", "--detach", str(old), commit], check=True, cwd=ROOT)
        try:
            before = told(old, system, name)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(old)], check=True, cwd=ROOT)
    if before["code"] != record["code"]:
        print(f"The record rests on code {record['code']}, commit {commit} has {before['code']}: name another commit.")
        return 1
    after = told(ROOT, system, name)
    if before["numbers"] != after["numbers"]:
        print(f"The numbers differ; record the study again.\nbefore: {before['numbers']}\nafter: {after['numbers']}")
        return 1
    numbers = json.dumps(after["numbers"], sort_keys=True).encode()
    step = {
        "from": before["code"], "to": after["code"], "commit": commit,
        "by": f"python scripts/carry_study.py {system} {name} {commit}",
        "same_numbers_sha256": hashlib.sha256(numbers).hexdigest()[:16],
    }  # fmt: skip
    record |= {"code": after["code"], "source": after["source"], "carried": [*record.get("carried", []), step]}
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"carried from {before['code']} to {after['code']}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
