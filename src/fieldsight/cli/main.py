"""Dispatch: the first word is a product verb or a system; errors become one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from fieldsight import registry
from fieldsight._version import __version__
from fieldsight.cli.console import say
from fieldsight.errors import ConfigError, FieldsightError, unknown

#: Product verbs: word to ``(function, one line)``; functions live in :mod:`fieldsight.cli.product`.
PRODUCT: dict[str, str] = {
    "list": "the systems, what they do and their state",
    "doctor": "look at this installation: versions, extras, models, folders",
    "assets": "real pictures and layouts out of other packages: list, fetch",
    "tour": "a short demonstration of every system as one HTML report",
    "studio": "the same systems in the browser",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code and raises nothing.

    0 done, 1 failed, 2 usage or config, 3 data, 4 a missing extra, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    trace = "--traceback" in words
    words = [w for w in words if w != "--traceback"]
    try:
        return _dispatch(words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2 if stop.code else 0
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:
        # whoever read our output left; point stdout elsewhere so that Python's own flush at exit stays quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FieldsightError as error:
        if trace:
            traceback.print_exc()
        say(f"error: {error}")
        return error.exit_code
    except Exception as error:
        if trace:
            traceback.print_exc()
        say(f"internal error: {type(error).__name__}: {error}")
        say("This is a fault of fieldsight. Run again with --traceback and report what it prints.")
        return 1


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else "--help"
    if first in ("-h", "--help", "help"):
        _print_help()
        return 0
    if first in ("-V", "--version"):
        print(f"fieldsight {__version__}")
        return 0
    if first in PRODUCT:
        from fieldsight.cli import product

        run: Callable[[list[str]], int] = getattr(product, first)
        return run(words[1:])
    if first in registry.names():
        from fieldsight.cli.system import run_system

        return run_system(registry.get(first), words[1:])
    raise ConfigError(unknown("system or verb", first, [*registry.names(), *PRODUCT]))


def _print_help() -> None:
    print(f"fieldsight {__version__}: vision systems for the field\n")
    print("usage: fieldsight SYSTEM VERB INPUT... [--option value]\n")
    print("systems (fieldsight SYSTEM --help)")
    for id in registry.names():
        print(f"  {id:10} {registry.get(id).summary}")
    print("\nthe product")
    for word, line in PRODUCT.items():
        print(f"  {word:10} {line}")
    print("\nEvery command takes --help; most take --json. --traceback shows where an error comes from.")
