"""Files of a recording by name, out of a folder or a zip: names are checked, sizes are limited, nothing is unpacked."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from fieldsight.errors import DataError

#: Bytes of one picture or of one frame in another form.
FRAME_LIMIT = 128 * 2**20

#: Bytes of one table.
TABLE_LIMIT = 256 * 2**20

#: Bytes of one array that holds all frames.
ARRAY_LIMIT = 4 * 2**30

#: Files in a recording: a million frames with confidence.
COUNT_LIMIT = 2_100_000


class Store(Protocol):
    """Files by name."""

    name: str

    def names(self) -> frozenset[str]:
        """All names, with ``/`` between folders."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file; :class:`DataError` where it is absent, damaged, or larger than ``limit``."""
        ...

    def part(self, name: str, count: int, tail: bool = False) -> bytes:
        """The first (or last) ``count`` bytes; empty where it can't be read."""
        ...


def open_store(path: Path) -> Store:
    """A folder or a zip as files by name.

    Raises:
        DataError: absent, no zip, too many files, a name that leads out of the zip, an encrypted or doubled file.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise DataError(f"There is no file or folder '{path}'.")
    return Zip(path)


def check_name(name: str, where: str) -> str:
    """A name that stays below its folder, as it was given.

    Raises:
        DataError: absolute, with ``..``, with backslashes or a drive.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0"):
        raise DataError(f"'{where}' names the file {name!r}, which leads out of it. It is not read.")
    return name


class Folder:
    """Files below a folder, down to ``deep`` levels where it is given."""

    def __init__(self, path: Path, deep: int | None = None) -> None:
        self.path, self.name, self._deep = path, str(path), deep
        self._names: frozenset[str] | None = None

    def names(self) -> frozenset[str]:
        """All files below, hidden ones left out."""
        if self._names is None:
            self._names = frozenset(self._walk())
        return self._names

    def _walk(self) -> Iterator[str]:
        for folder, below, files in os.walk(self.path):
            at = Path(folder).relative_to(self.path)
            deepest = self._deep is not None and len(at.parts) + 1 >= self._deep
            below[:] = [] if deepest else sorted(name for name in below if not name.startswith("."))
            prefix = "" if at == Path() else f"{at.as_posix()}/"
            yield from (prefix + name for name in files if not name.startswith("."))

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file.

        Raises:
            DataError: absent, unreadable or larger than ``limit``.
        """
        path = self.path / check_name(name, self.name)
        try:
            if path.stat().st_size > limit:
                raise too_large(self.name, name, path.stat().st_size, limit)
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"'{self.name}': can't read '{name}': {error.strerror or error}.") from None

    def part(self, name: str, count: int, tail: bool = False) -> bytes:
        """The first or last bytes of a file, empty where it can't be read."""
        try:
            with open(self.path / check_name(name, self.name), "rb") as file:
                if tail:
                    file.seek(max(0, file.seek(0, 2) - count))
                return file.read(count)
        except OSError:
            return b""


class Zip:
    """Files in a zip; where all lie in one folder, its name is left off."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(f"'{path}' is no zip that can be read: {error}.") from None
        self._lock = threading.Lock()
        self._entries: dict[str, zipfile.ZipInfo] = {}
        entries = self._archive.infolist()
        if len(entries) > COUNT_LIMIT:
            raise DataError(f"'{path}' holds {len(entries)} files; at most {COUNT_LIMIT} are read.")
        for entry in entries:
            check_name(entry.orig_filename, self.name)
            if entry.is_dir():
                continue
            if entry.flag_bits & 1:
                raise DataError(f"'{path}': '{entry.filename}' is encrypted. Pack it again without a password.")
            if entry.filename in self._entries:
                raise DataError(f"'{path}' holds '{entry.filename}' twice. Pack it again.")
            self._entries[entry.filename] = entry
        tops = {name.split("/")[0] for name in self._entries}
        if len(tops) == 1 and all("/" in name for name in self._entries):
            self._entries = {name.split("/", 1)[1]: entry for name, entry in self._entries.items()}

    def names(self) -> frozenset[str]:
        """All files."""
        return frozenset(self._entries)

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file.

        Raises:
            DataError: absent, damaged, or a declared size above ``limit``; nothing is unpacked then.
        """
        return self._bytes(name, limit, None)

    def part(self, name: str, count: int, tail: bool = False) -> bytes:
        """The first or last bytes of a file, empty where it can't be read."""
        try:
            found = self._bytes(name, FRAME_LIMIT, None if tail else count)
        except DataError:
            return b""
        return found[-count:] if tail else found

    def _bytes(self, name: str, limit: int, count: int | None) -> bytes:
        entry = self._entries.get(name)
        if entry is None:
            raise DataError(f"'{self.name}' lacks '{name}'.")
        if entry.file_size > limit:
            raise too_large(self.name, name, entry.file_size, limit)
        try:
            with self._lock, self._archive.open(entry) as file:
                return file.read() if count is None else file.read(count)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise DataError(f"'{self.name}': '{name}' is damaged: {error}.") from None


def too_large(where: str, name: str, size: int, limit: int) -> DataError:
    """The error for a file that claims more bytes than are read."""
    return DataError(
        f"'{where}': '{name}' says it holds {size / 2**20:.0f} MB, more than the {limit / 2**20:.0f} MB allowed. "
        "It is not read."
    )


class Writer(Protocol):
    """Takes the files of a recording one by one."""

    def add(self, name: str, data: bytes, packed: bool = False) -> None:
        """Add a file; ``packed`` says that its bytes are compressed already."""
        ...


class FolderWriter:
    """Writes files below a folder that exists."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, name: str, data: bytes, packed: bool = False) -> None:
        """Write one file."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


class ZipWriter:
    """Writes a zip whose bytes depend on the files alone: fixed dates, fixed rights."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive

    def add(self, name: str, data: bytes, packed: bool = False) -> None:
        """Write one file."""
        entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        entry.create_system, entry.external_attr = 3, 0o644 << 16
        entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
        self.archive.writestr(entry, data)


def numbered(names: frozenset[str], folder: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Names directly in ``folder`` (empty: the root) with one of the endings, by their number, then by name."""
    prefix = f"{folder}/" if folder else ""
    found = [n for n in names if n.startswith(prefix) and "/" not in n[len(prefix) :] and n.lower().endswith(suffixes)]
    return iter(sorted(found, key=_order))


def _order(name: str) -> tuple[float, str]:
    digits = "".join(c if c.isdigit() else " " for c in PurePosixPath(name).name.split(".")[0]).split()
    return (float(digits[-1]) if digits else -1.0, name)
