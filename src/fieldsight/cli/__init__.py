"""The command line: ``fieldsight SYSTEM VERB INPUT... [--option value]``."""

from fieldsight.cli.main import main

__all__ = ["main"]
