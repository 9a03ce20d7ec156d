"""Writing that never leaves half a file, and hashes of what was written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fieldsight.errors import DataError


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` and rename it to ``path`` when the block ends well.

    The name keeps the target's suffix, since many writers choose the format by it. Missing parent folders are made.

    Raises:
        DataError: the folder can't be made or written, or the disk is full; ``path`` is then as it was.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise _cant_write(target, error) from None
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private; give it the mode an ordinary new file would have
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        raise _cant_write(target, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Like :func:`atomic` for a whole folder; an older folder of that name is replaced.

    Raises:
        DataError: the folder can't be written; an older folder is then as it was.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise _cant_write(target, error) from None
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
    except OSError as error:
        if old.exists() and not target.exists():
            os.replace(old, target)
        raise _cant_write(target, error) from None
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file, UTF-8, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def write_json(path: str | Path, values: Any, compact: bool = False) -> Path:
    """Write JSON, keys in the order given; NaN and infinity are refused, since JSON has neither.

    Readable, or ``compact`` without line breaks where there are many numbers.
    """
    how: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 1}
    return write_text(path, json.dumps(values, ensure_ascii=False, allow_nan=False, **how) + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON.

    Raises:
        DataError: the file is absent, not text, or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"Can't read '{path}' as JSON: {error}.") from None


def sha256(path: str | Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cant_write(path: Path, error: OSError) -> DataError:
    return DataError(f"Can't write '{path}': {error.strerror or error}. Nothing was changed; check space and rights.")
