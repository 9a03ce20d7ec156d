"""Options of the verbs. Light: asking for help imports this and no numerics."""

from __future__ import annotations
