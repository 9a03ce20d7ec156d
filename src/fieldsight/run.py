"""A run is a folder, and the folder is the run.

::

    runs/sem-tiny-20261122-101500/
    ├── run.json        what was run: system, verb, command, seed, versions, machine, state, stages, metrics
    ├── config.toml     every option, with its help
    ├── metrics.jsonl   one line per log entry
    ├── checkpoints/    one folder a stage
    ├── model/          what the run gives: `fieldsight.load("sem", "runs/...")`
    └── report.html

While it is written, it is locked. A run killed at any moment is continued with ``--resume`` and ends with the same
weights.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from fieldsight._version import __version__
from fieldsight.config import Config, read_toml
from fieldsight.data.files import read_json, write_json, write_text
from fieldsight.errors import ConfigError, DataError, RunError

FORMAT = 1

RunState = Literal["running", "done", "failed", "interrupted"]


@dataclass(frozen=True)
class Devices:
    """Where training computes, as Lightning Fabric names it.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        count: devices per node.
        nodes: machines.
        precision: ``32-true``, ``bf16-mixed``, ``16-mixed`` …
        strategy: ``auto``, ``ddp`` …
    """

    accelerator: str = "auto"
    count: int = 1
    nodes: int = 1
    precision: str = "32-true"
    strategy: str = "auto"


class Run:
    """An open run folder. Use as a context manager: it unlocks, and records how the run ended."""

    def __init__(self, path: Path, info: dict[str, Any], devices: Devices = Devices()) -> None:
        self.path, self.info, self.devices = path, info, devices
        self.fabric: Any = None  # made by the first `fit` of this process
        self._lock: Any = None

    # -------------------------------------------------------------------------------------- making and opening

    @classmethod
    def create(
        cls,
        path: str | Path,
        system: str,
        config: Config,
        *,
        verb: str = "train",
        preset: str = "",
        seed: int = 0,
        inputs: Mapping[str, str] | None = None,
        devices: Devices = Devices(),
    ) -> Run:
        """Make a new run folder and lock it.

        Raises:
            RunError: the folder exists and is not empty.
        """
        folder = Path(path)
        if is_main() and folder.exists() and any(folder.iterdir()):
            raise RunError(
                f"The run folder '{folder}' is not empty. Go on with it by --resume {folder}, or choose another."
            )
        info = {
            "format": FORMAT,
            "system": system,
            "verb": verb,
            "preset": preset,
            "seed": seed,
            "state": "running",
            "created": now(),
            "command": command_line(),
            "inputs": dict(inputs or {}),
            "versions": versions(),
            "commit": commit(),
            "machine": machine(),
            "stages": {},
            "metrics": {},
        }
        run = cls(folder, info, devices)
        if is_main():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunError(f"Can't make the run folder '{folder}': {error.strerror}.") from None
            run._take_lock()
            write_text(folder / "config.toml", config.to_toml())
            run._write()
        return run

    @classmethod
    def resume(cls, path: str | Path, config: Config | None = None, devices: Devices = Devices()) -> Run:
        """Open an unfinished run to go on with it.

        Args:
            path: the run folder.
            config: what is asked for now, or None for what the run was made with; a difference is refused.
            devices: where to compute now.

        Raises:
            RunError: no run, finished, locked by another process, of a newer format, or made with another config.
        """
        run = cls.open(path)
        run.devices = devices
        if run.info["state"] == "done":
            raise RunError(f"The run '{path}' is finished; its model is in '{run.path / 'model'}'.")
        if config is not None:
            made_with = type(config).parse(read_toml(run.path / "config.toml"), where=str(run.path / "config.toml"))
            changed = made_with.differences(config)
            if changed:
                raise RunError(
                    f"The run '{path}' was made with other options: {'; '.join(changed)}. "
                    f"Resume without them, or start a new run from its weights with --init {path}."
                )
        if is_main():
            run._take_lock()
            run.info["state"] = "running"
            run._write()
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a run to look at it; nothing is locked.

        Raises:
            RunError: there is no run, or it is of a newer format.
        """
        folder = Path(path)
        if not (folder / "run.json").is_file():
            raise RunError(f"'{folder}' is no run folder: it has no run.json.")
        try:
            info = read_json(folder / "run.json")
            if int(info["format"]) > FORMAT:
                raise RunError(
                    f"The run '{folder}' has format {info['format']}, this fieldsight ({__version__}) reads up to "
                    f"{FORMAT}. Upgrade it: pip install --upgrade fieldsight"
                )
        except (DataError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"'{folder / 'run.json'}' is damaged: {error}") from None
        return cls(folder, info)

    # ------------------------------------------------------------------------------------------------ keeping

    def stage(self, name: str) -> Path:
        """Folder of a stage's checkpoints."""
        return self.path / "checkpoints" / name

    @property
    def model(self) -> Path:
        """Folder of the model the run gives."""
        return self.path / "model"

    def log(self, values: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``."""
        if is_main():
            plain = {k: (round(v, 8) if isinstance(v, float) else v) for k, v in values.items()}
            with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(plain) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """All lines of ``metrics.jsonl``; a line that a kill cut short is left out."""
        lines: list[dict[str, Any]] = []
        with contextlib.suppress(OSError):
            for line in (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    lines.append(json.loads(line))
        return lines

    def rewind(self, stage: str, step: int) -> None:
        """Drop log lines of a stage past a step, and of stages begun after it: they will be written again."""
        if not is_main():
            return
        kept: list[dict[str, Any]] = []
        for line in self.history():
            if line.get("stage") == stage and line.get("step", 0) > step:
                break
            kept.append(line)
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def record(self, **values: Any) -> None:
        """Merge values into ``run.json``; dictionaries are merged one level deep."""
        for key, value in values.items():
            if isinstance(value, Mapping) and isinstance(self.info.get(key), dict):
                self.info[key].update(value)
            else:
                self.info[key] = value
        if is_main():
            self._write()

    def _write(self) -> None:
        self.info["updated"] = now()
        write_json(self.path / "run.json", self.info)

    # ----------------------------------------------------------------------------------------- locking and end

    def _take_lock(self) -> None:
        from filelock import FileLock, Timeout

        lock = FileLock(str(self.path / ".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"The run '{self.path}' is being written by another process. Wait for it or stop it."
            ) from None
        except OSError as error:
            raise RunError(f"Can't lock the run '{self.path}': {error.strerror}.") from None
        self._lock = lock

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state: RunState = "done" if kind is None else "interrupted" if kind is KeyboardInterrupt else "failed"
        if error is not None and kind is not KeyboardInterrupt:
            self.info["error"] = f"{type(error).__name__}: {error}"
        else:
            self.info.pop("error", None)
        with contextlib.suppress(DataError):  # a full disk must not hide what went wrong before
            self.record(state=state)
        self.close()

    def close(self) -> None:
        """Unlock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


# ------------------------------------------------------------------------------------------- around a run


def new_run_path(root: str | Path, system: str, preset: str) -> Path:
    """A fresh folder name below ``root``: system, preset, time.

    Raises:
        ConfigError: several processes train together and could not agree on a time.
    """
    if world_size() > 1:
        raise ConfigError("Several processes train together: name one folder for all with --run DIR.")
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    base = Path(root) / f"{system}-{preset or 'custom'}-{stamp}"
    path, number = base, 2
    while path.exists():
        path, number = base.with_name(f"{base.name}-{number}"), number + 1
    return path


def find_runs(root: str | Path) -> list[Run]:
    """All runs below a folder, newest first; damaged ones are left out."""
    found = []
    for file in Path(root).glob("*/run.json"):
        with contextlib.suppress(RunError):
            found.append(Run.open(file.parent))
    return sorted(found, key=lambda run: str(run.info.get("created", "")), reverse=True)


def is_main() -> bool:
    """True in the process that writes files: the only one, or rank 0 under ``torchrun``."""
    return int(os.environ.get("RANK", "0")) == 0


def world_size() -> int:
    """Processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def command_line() -> str:
    """The command that started this process, its program by name only: no path of a machine."""
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    shown = "fieldsight" if name in ("fieldsight", "__main__.py", "fieldsight.exe") else name
    return " ".join([shown, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Versions of what decides results."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"fieldsight": __version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "scipy"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def machine() -> dict[str, Any]:
    """What the machine is, without its name."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count() or 0}


@functools.cache
def commit() -> str:
    """Commit of the checkout this package is imported from, or empty when it was installed.

    Read once: long work is named after the code it began with.
    """
    for folder in Path(__file__).resolve().parents[1:4]:
        with contextlib.suppress(OSError):
            own, shared = _git_folders(folder)
            text = (own / "HEAD").read_text().strip()
            if not text.startswith("ref: "):
                return text[:12]
            ref = shared / text[5:]
            if ref.is_file():
                return ref.read_text().strip()[:12]
            for line in _packed_refs(shared):
                if line.endswith(" " + text[5:]):
                    return line[:12]
    return ""


def _git_folders(checkout: Path) -> tuple[Path, Path]:
    """Where a checkout's HEAD lies and where its branches do: two places in a second work tree."""
    own = checkout / ".git"
    if not own.is_file():
        return own, own
    own = checkout / own.read_text().removeprefix("gitdir:").strip()
    return own, own / (own / "commondir").read_text().strip()


def _packed_refs(git: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from (git / "packed-refs").read_text().splitlines()
