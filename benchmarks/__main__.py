"""Run benchmarks, print their rows, keep them. Each has a process of its own: peak memory is inherited by children."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

from fieldsight.cli.console import print_rows, say
from fieldsight.run import commit, machine, now, versions

HERE = Path(__file__).parent
COLUMNS = dict.fromkeys(("name", "value", "unit", "peer", "peer_value", "ratio", "goal", "command"), "")


def main() -> int:
    known = sorted(p.stem for p in HERE.glob("*_*.py") if not p.stem.startswith("_"))
    wanted = sys.argv[1:] or known
    strangers = [name for name in wanted if name not in known]
    if strangers:
        say(f"no such benchmark: {', '.join(strangers)}; there are: {', '.join(known)}")
        return 2
    if len(wanted) > 1:
        return max(subprocess.run([sys.executable, "-m", "benchmarks", n], check=False).returncode for n in wanted)
    for name in wanted:
        rows = importlib.import_module(f"benchmarks.{name}").main()
        record = {
            "benchmark": name,
            "date": now(),
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "rows": rows,
        }
        path = HERE / "results" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
        print_rows(
            {c: u for c, u in COLUMNS.items() if c != "command"}, [{k: r.get(k) for k in COLUMNS} for r in rows], name
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
