"""Build the wheel, install it alone in an empty environment, and use it from outside the tree."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from setup_env import ROOT, interpreter, pip_settings

LIMIT_MB = 60


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        check([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)])
        wheel = next(folder.glob("*.whl"))
        size = wheel.stat().st_size / 1e6
        names = zipfile.ZipFile(wheel).namelist()
        print(f"{wheel.name}: {size:.2f} MB, {len(names)} files")
        if size > LIMIT_MB:
            raise SystemExit(f"the wheel has {size:.1f} MB, {LIMIT_MB} are allowed")
        strangers = [n for n in names if not n.startswith(("fieldsight/", "fieldsight-"))]
        if strangers:
            raise SystemExit(f"the wheel holds files of no package: {strangers[:5]}")
        python = install(folder / "empty", wheel)
        use(python, folder)
    return 0


def install(home: Path, wheel: Path) -> Path:
    """The wheel and its core dependencies, nothing else."""
    venv.create(home, with_pip=True)
    python = interpreter(home)
    pins = ["-c", str(ROOT / "constraints.txt")]
    with pip_settings(python) as environment:
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), *pins, str(wheel)]
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            check([str(python), "-m", "pip", "install", "--quiet", *pins, str(wheel)])
    return python


def use(python: Path, folder: Path) -> None:
    """What a person would do first, from a folder that is not the tree."""
    work = folder / "work"
    work.mkdir()
    fieldsight = [str(python), "-I", "-m", "fieldsight"]
    check([*fieldsight, "list"], work)
    check([*fieldsight, "sem", "simulate", "--pattern", "sram", "--pixel", "5nm", "--out", "drawn"], work)
    done = check([*fieldsight, "sem", "predict", "drawn/mask", "--out", "out", "--json", "--quiet"], work)
    found = json.loads(done)["results"]
    if len(found) != 1 or not found[0]["files"]:
        raise SystemExit(f"`sem predict` gave {found}")
    print(f"sem predict: mean {found[0]['mean']}, interval {found[0]['mean_width']}, {len(found[0]['files'])} files")
    check([*fieldsight, "energy", "estimate", "resnet18", "--json"], work)
    here = check([str(python), "-I", "-c", "import fieldsight; print(fieldsight.__file__)"], work)
    if str(ROOT) in here:
        raise SystemExit(f"the tree was used, not the wheel: {here}")


def check(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
