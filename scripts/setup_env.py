"""Make the virtual environment and install fieldsight into it. Called by ``make``; needs only Python itself.

    python scripts/setup_env.py [--venv .venv] [--extras dev] [--torch pinned|any]

Fast where it can be: uv does the work when pip can get it, pip does where not. A stamp beside the environment
remembers what was installed, so a second call does nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", default=".venv", help="folder of the environment")
    parser.add_argument("--extras", default="dev", help="extras to install, comma-separated")
    parser.add_argument(
        "--torch", default="pinned", choices=["pinned", "any"], help="the pinned CPU build, or any build"
    )
    given = parser.parse_args()
    folder = ROOT / given.venv
    python = interpreter(folder)
    stamp = folder / f".installed-{given.extras.replace(',', '-')}"
    wanted = fingerprint(given.extras, given.torch)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return 0
    if sys.version_info < (3, 10):  # noqa: UP036  an older Python may run this file
        print(f"fieldsight needs Python 3.10 or newer, this is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    print(f"installing fieldsight[{given.extras}] into {given.venv} (a few minutes the first time) …", flush=True)
    if not python.exists():
        make_environment(folder)
    install(python, given.extras, given.torch)
    print("compiling what the first press of a button would wait for …", flush=True)
    run([python, ROOT / "scripts" / "warm_compiled.py"], quiet=True)
    stamp.write_text(wanted)
    return 0


def interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(extras: str, torch: str) -> str:
    """Changes when the dependencies, the pins or this machine's Python change; not with the code (it is editable)."""
    digest = hashlib.sha256(f"{extras} {torch} {sys.version}".encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def make_environment(folder: Path) -> None:
    try:
        venv.create(folder, with_pip=True)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"can't make {folder}: {error}\nOn Debian: apt-get install python3-venv", file=sys.stderr)
        raise SystemExit(1) from None


def install(python: Path, extras: str, torch: str) -> None:
    target = ["-e", f"{ROOT}[{extras}]"]
    pins = [] if torch == "any" else ["-c", str(ROOT / "constraints.txt")]
    if run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"], quiet=True) == 0:
        with pip_settings(python) as environment:
            command: list[str | Path] = [
                python,
                "-m",
                "uv",
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",  # as pip does; else the first command of all takes half a minute longer
                "--python",
                python,
                *pins,
                *target,
            ]
            if run(command, environment) == 0:
                return
        print("uv could not install it; trying pip …", flush=True)
    if run([python, "-m", "pip", "install", "--disable-pip-version-check", *pins, *target]) != 0:
        raise SystemExit(1)


class pip_settings:  # noqa: N801  reads as a verb where it is used
    """uv does not read pip's settings: hand over where else pip finds packages, and which certificates it trusts."""

    def __init__(self, python: Path) -> None:
        self.python = python

    def __enter__(self) -> dict[str, str]:
        environment = dict(os.environ)
        links = self.setting("find-links")
        if links:
            environment["UV_FIND_LINKS"] = ",".join(links.split())
        index = self.setting("index-url")
        if index:
            environment["UV_DEFAULT_INDEX"] = index
        certificates = self.setting("cert")
        if certificates and "SSL_CERT_FILE" not in environment:
            environment["SSL_CERT_FILE"] = certificates
        environment.setdefault("UV_LINK_MODE", "copy")
        return environment

    def __exit__(self, *error: object) -> None:
        return None

    def setting(self, name: str) -> str:
        for scope in (":env:", "global", "user", "site"):
            done = subprocess.run(
                [self.python, "-m", "pip", "config", "get", f"{scope}.{name}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0 and done.stdout.strip():
                return done.stdout.strip()
        return ""


def run(command: list[str | Path], environment: dict[str, str] | None = None, quiet: bool = False) -> int:
    with tempfile.TemporaryFile("w+") as log:
        output = log if quiet else None
        return subprocess.run(command, env=environment, stdout=output, stderr=output, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
