"""Run recorded studies and write ``studies/SYSTEM/NAME.json``.

python studies/run.py SYSTEM [NAME] [--seeds 0,1,2]
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def load(system: str, name: str) -> Any:
    path = HERE / system / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"studies_{system}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system")
    parser.add_argument("name", nargs="?")
    parser.add_argument("--seeds", help="comma-separated; the study's own by default")
    given = parser.parse_args()
    from fieldsight import studies

    found = sorted(p.stem for p in (HERE / given.system).glob("*.py"))
    names = [given.name] if given.name else found
    if not names or any(name not in found for name in names):
        print(f"no such study of '{given.system}'; there are: {', '.join(found) or 'none'}", file=sys.stderr)
        return 2
    for name in names:
        study = load(given.system, name)
        code = studies.code_hash(given.system)  # what runs now, whatever is edited meanwhile
        seeds = tuple(int(s) for s in given.seeds.split(",")) if given.seeds else None
        result = study.run(seeds) if seeds else study.run()
        print(studies.record(given.system, name, result, code))
    return 0


if __name__ == "__main__":
    sys.exit(main())
