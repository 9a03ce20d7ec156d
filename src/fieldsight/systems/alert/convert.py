"""The verb ``convert``: any source as a recording in our own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fieldsight import progress
from fieldsight.data.folders import safe_name
from fieldsight.errors import DataError
from fieldsight.predicting import Outcome, Results
from fieldsight.systems.alert import iar
from fieldsight.systems.alert.options import ConvertOptions
from fieldsight.systems.alert.recording import Recording
from fieldsight.systems.alert.sources import find_sources, open_recording


def convert(inputs: Any, out: Path | None, options: ConvertOptions, strict: bool = False) -> Results:
    """Write sources as ``.iar`` files (or folders) and say what was decided about each.

    Args:
        inputs: whatever :func:`open_recording` takes, a list of those, or a folder of sources.
        out: a file ending in ``.iar`` for a single source, else a folder.
        options: what the sources do not say of themselves.
        strict: stop at the first bad source instead of skipping it.

    Returns:
        One outcome a source, with its file, frames, size and notes, or its error.

    Raises:
        DataError: no ``out``, nothing to convert, a file for several sources; with ``strict``, the first bad source.
    """
    if out is None:
        raise DataError("convert writes files: name a folder, or a file ending in .iar, with --out.")
    sources = _sources(inputs, options.format != "auto")
    single = out.suffix.lower() == iar.SUFFIX
    if single and len(sources) > 1:
        raise DataError(f"'{out}' is one file, there are {len(sources)} sources. Name a folder with --out.")
    outcomes, taken = [], set[Path]()
    for source in progress.track(sources, "alert convert") if len(sources) > 1 else sources:
        name = str(source) if isinstance(source, (str, Path)) else "array"
        try:
            recording = described(open_recording(source, options), options)
            target = out if single else _target(out, recording.name, options, taken)
            iar.write(recording, target, options.storage)
        except DataError as error:
            if strict or len(sources) == 1:
                raise
            progress.note(f"skipped {name}: {error}")
            outcomes.append(Outcome(name, error=str(error)))
            continue
        outcomes.append(Outcome(name, summary_of(recording), (target,)))
    return Results(outcomes)


def described(recording: Recording, options: ConvertOptions) -> Recording:
    """The recording with city, weather and licence of the options in its manifest, where they are given."""
    words = {name: getattr(options, name) for name in ("city", "weather", "licence") if getattr(options, name)}
    return recording.replace(manifest=recording.manifest.replace(**words)) if words else recording


def summary_of(recording: Recording) -> dict[str, Any]:
    """What is told of a recording that was written."""
    m = recording.manifest
    return {
        "frames": len(recording), "seconds": round(recording.seconds, 3), "width": m.width, "height": m.height,
        "kind": m.kind, "notes": list(recording.notes),
    }  # fmt: skip


def _sources(inputs: Any, named: bool) -> list[Any]:
    many = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    found: list[Any] = []
    for one in many:
        if isinstance(one, (str, Path)):
            below = [Path(one)] if named else find_sources(one)
            if not below:
                raise DataError(f"The folder '{one}' holds no source that is known. Name its kind by format=KIND.")
            found += below
        else:
            found.append(one)
    if not found:
        raise DataError("There is nothing to convert. Give a file or a folder.")
    return found


def _target(out: Path, name: str, options: ConvertOptions, taken: set[Path]) -> Path:
    ending = "" if options.folder else iar.SUFFIX
    stem = safe_name(name).replace(".", "-")
    target, count = out / f"{stem}{ending}", 1
    while target in taken:
        count += 1
        target = out / f"{stem}-{count}{ending}"
    taken.add(target)
    return target
