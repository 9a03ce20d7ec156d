"""Take a finished run as the model that ships, with what plain photos score on it.

python -m fieldsight.systems.stego.ship RUN             the model of a run becomes ``weights/base``
python studies/run.py stego plain                       measure plain photos on it
python -m fieldsight.systems.stego.ship                 put these scores beside its weights
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fieldsight import studies
from fieldsight.errors import DataError
from fieldsight.model import load


def plain_scores(record: dict[str, Any] | None, fingerprint: str) -> dict[str, Any]:
    """How like a mark plain photos look to a model, from its study; empty where that is of other weights."""
    if record is None or record["fingerprint"] != fingerprint:
        return {}
    return {
        "photos": record["number"],
        "false_positives": record["false_positives"]["count"],
        "scores": record["scores"],
    }


def main() -> int:
    """Write ``weights/base`` beside this file.

    Raises:
        DataError: the study of plain photos is of other weights.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="run or model folder; the shipped model without it")
    given = parser.parse_args()
    model = load("stego", given.run, device="cpu")
    found = plain_scores(studies.read("stego", "plain"), model.fingerprint())
    if found:
        model.artefacts["plain"] = found
    elif given.run is None:
        raise DataError("The study 'plain' is of other weights. Run it anew: python studies/run.py stego plain")
    print(model.save(Path(__file__).parent / "weights" / "base"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
