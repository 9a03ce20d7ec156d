"""What can go wrong, as one tree.

::

    Exception
    └── FieldsightError          exit code 1   anything fieldsight says itself
        ├── ConfigError          exit code 2   an option, preset or TOML key; lists every problem at once
        ├── DataError            exit code 3   a file, folder or array that can't be read or makes no sense
        ├── MissingExtraError    exit code 4   an optional package is not installed; names the pip command
        ├── ModelFileError       exit code 1   weights or a model folder: absent, corrupt, of another system, too new
        ├── ExportError          exit code 1   an export that did not match the original
        └── RunError             exit code 1   a run folder: locked, unfinished, of another config

A message says what is wrong, the value got, what is allowed and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class FieldsightError(Exception):
    """Base of everything fieldsight raises on purpose; the command line prints it without a traceback."""

    exit_code = 1


class ConfigError(FieldsightError):
    """Options that can't be used. ``problems`` holds every one found, not only the first."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(FieldsightError):
    """A file, folder or array that can't be read, or holds what it must not hold."""

    exit_code = 3


class MissingExtraError(FieldsightError):
    """An optional package is missing."""

    exit_code = 4

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. "
            f'Install it with: pip install "fieldsight[{extra}]"'
        )


class ModelFileError(FieldsightError):
    """A model folder or weights file that is absent, corrupt, of another system, or of a newer format."""


class ExportError(FieldsightError):
    """An exported network that can't be made, or does not give what the original gives."""


class RunError(FieldsightError):
    """A run folder that is locked, unfinished, or was made with another config."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest allowed name, or an empty string."""
    match = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""


def unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """Return the standard sentence for a name that does not exist: what, got, nearest, allowed."""
    names = list(allowed)
    listed = ", ".join(names) if names else "none"
    return f"Unknown {what} '{name}'.{nearest(name, names)} Allowed: {listed}."
