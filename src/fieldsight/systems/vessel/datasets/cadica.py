"""CADICA (Jiménez-Partinen et al. 2024, Expert Systems 41:e13708): videos of 42 patients, boxes with a grade.

::

    CADICA/selectedVideos/pX/vY/input/pX_vY_000ZZ.png
    CADICA/selectedVideos/pX/vY/pX_vY_selectedFrames.txt           key frames, an id a line
    CADICA/selectedVideos/pX/vY/groundtruth/pX_vY_000ZZ.txt        x y w h grade; only in videos with lesions
    CADICA/CADICAprojections.json                                  which artery a video shows (or in selectedVideos/)

Only key frames are taken: the others of a video with lesions have no labels and would be wrong as background.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight import progress
from fieldsight.data.detection import checks
from fieldsight.data.detection.checks import Labelled, Marks, Reading, examine, read_text
from fieldsight.data.detection.letterbox import Photo
from fieldsight.data.detection.sample import DetectionSample
from fieldsight.data.files import read_json
from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.errors import DataError, unknown
from fieldsight.systems.vessel.datasets.common import (
    GRADES,
    SLIGHT,
    STENOSIS,
    UNKNOWN,
    AngiogramSet,
    files_in,
    subfolders,
    summary,
    tags_of,
)  # fmt: skip

_PATIENT, _VIDEO = re.compile(r"p\d+"), re.compile(r"v\d+")
_LISTS = "_selectedframes"


@dataclass
class _Found:
    """Key frames as read, the grades of their boxes by photo, and what has to be told."""

    reading: Reading
    grades: dict[Path, list[str]] = field(default_factory=dict)
    bare: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def is_cadica(folder: Path) -> bool:
    """Whether a folder, or the one ``CADICA`` in it, holds ``selectedVideos/pX/vY/input/``."""
    home = _home(folder)
    return home is not None and next(_videos(home), None) is not None


def read_cadica(folder: Path) -> AngiogramSet:
    """Key frames of the selected videos; group is the patient.

    Grades from 50 % on are stenoses, lower ones ignored regions. Key frames without a file in ``groundtruth/`` are
    pictures without stenosis; those in a video that has such files are counted in the note. Facts hold ``video``,
    ``grades`` of each box, and ``artery`` where the file of projections tells it; it tells no angle, so that every
    view is unknown.

    Raises:
        DataError: no such layout, a line that can't be understood, an unknown grade, no key frame at all, or what the
            checks refuse.
    """
    home = _home(folder)
    if home is None:
        raise DataError(f"'{folder}' has no selectedVideos/pX/vY/input/. Give the folder 'CADICA'.")
    found = _Found(Reading("cadica", home, STENOSIS, STENOSIS, []))
    with checks.refusing(home):
        for patient, video in progress.track(list(_videos(home)), "reading labels"):
            _read_video(patient, video, found)
    if not found.reading.photos:
        raise DataError(f"'{home}' has no key frames: no video has both pX_vY_selectedFrames.txt and their pictures.")
    marks = {one.photo: one.marks for one in found.reading.photos}
    arteries = _arteries(home)
    samples = tuple(_named(sample, marks, found.grades, arteries) for sample in examine(found.reading))
    more = []
    if found.bare:
        more.append(
            f"{len(found.bare)} key frames without a file in a video with lesions are taken as without stenosis "
            f"({', '.join(found.bare[:3])}{', ...' if len(found.bare) > 3 else ''})"
        )
    if found.skipped:
        more.append(f"videos without a list of key frames are left out: {', '.join(found.skipped[:5])}")
    views = {s.id: UNKNOWN for s in samples}
    note = summary("cadica", home, samples, views, True, False, found.reading.findings, more)
    return AngiogramSet(samples, STENOSIS, views, note, "cadica", False, True, found.reading.findings)


def parse_boxes(text: str, where: str) -> tuple[Marks, list[str]]:
    """Lines ``x y w h grade``, px from the top left; a blank line is fine.

    Returns:
        The boxes, those of less than 50 % ignored, and the grade of each.

    Raises:
        DataError: names file and line.
    """
    rows, grades = [], []
    for line, content in enumerate(text.splitlines(), 1):
        words = content.replace(",", " ").split()
        if not words:
            continue
        try:
            x, y, w, h = (checks.number(word) for word in words[:4])
        except ValueError:
            words = []
        if len(words) != 5:
            raise DataError(
                f"'{where}' line {line} is '{content.strip():.60}'; wanted is x y w h grade, as 10 20 30 40 p50_70."
            )
        grade = words[4].lower()
        if grade not in GRADES:
            raise DataError(f"'{where}' line {line}: {unknown('grade', words[4][:40], GRADES)}")
        rows.append([x, y, x + w, y + h, 0, grade in SLIGHT, float("nan"), line])
        grades.append(grade)
    return Marks.of(rows), grades


def _home(folder: Path) -> Path | None:
    if not folder.is_dir():
        return None
    below = subfolders(folder)
    inner = subfolders(below["cadica"]) if "cadica" in below else {}
    own = folder if folder.name.lower() == "selectedvideos" else None
    return below.get("selectedvideos") or inner.get("selectedvideos") or own


def _videos(home: Path) -> Iterator[tuple[str, Path]]:
    """Patient and folder of each video that has pictures, in order of their numbers."""

    def number(name: str) -> int:
        return int(name[1:])

    for patient, folder in sorted((p for p in subfolders(home).items() if _PATIENT.fullmatch(p[0])),
                                  key=lambda p: number(p[0])):  # fmt: skip
        videos = [v for v in subfolders(folder).items() if _VIDEO.fullmatch(v[0])]
        for _, video in sorted(videos, key=lambda v: number(v[0])):
            if (video / "input").is_dir():
                yield patient, video


def _read_video(patient: str, video: Path, found: _Found) -> None:
    name = f"{patient}_{video.name.lower()}"
    photos = {p.stem.lower(): p for p in files_in(video / "input", IMAGE_SUFFIXES)}
    labels = {p.stem.lower(): p for p in files_in(video / "groundtruth", (".txt",))}
    lists = [p for p in files_in(video, (".txt",)) if p.stem.lower().endswith(_LISTS)]
    chosen = dict.fromkeys(labels)  # a frame with boxes is a key frame, listed or not
    if lists:
        words = (line.strip().removesuffix(".png").lower() for line in read_text(lists[0]).splitlines())
        chosen.update(dict.fromkeys(word for word in words if word))
    elif not labels:
        found.skipped.append(name)
        return
    findings = found.reading.findings
    for stem in sorted(chosen):
        if stem not in photos:
            findings.add("orphans", str(labels.get(stem) or f"{lists[0]}: {stem:.60}"))
            continue
        file, photo = labels.get(stem), photos[stem]
        marks, grades = parse_boxes(read_text(file), str(file)) if file is not None else (Marks.of([]), [])
        if file is None and labels:
            found.bare.append(photo.stem)
        found.grades[photo] = grades
        facts: dict[str, object] = {"patient": patient, "video": name}
        found.reading.photos.append(Labelled(photo, "", marks, str(file or ""), facts=facts))


def _named(
    sample: DetectionSample, marks: dict[Path, Marks], grades: dict[Path, list[str]], arteries: dict[str, str]
) -> DetectionSample:
    """With its patient as group, and what is known of boxes and video."""
    assert isinstance(sample.image, Photo)
    path = sample.image.path
    facts = dict(sample.facts)
    patient, video = str(facts.pop("patient")), str(facts["video"])
    facts["grades"] = tags_of(sample, np.asarray(marks[path].boxes), marks[path].ignore, grades[path])
    if video in arteries:
        facts["artery"] = arteries[video]
    return replace(sample, group=patient, split="train", facts=facts)


def _arteries(home: Path) -> dict[str, str]:
    """Artery by video, ``{"videosLCA": ["p1_v1", ...], "videosLCA2": [...], "videosRCA": [...]}``; none without it."""
    places = (folder / "CADICAprojections.json" for folder in (home, home.parent))
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return {}
    told: Any = read_json(file)
    found: dict[str, str] = {}
    for key, videos in told.items() if isinstance(told, dict) else ():
        artery = next((a for a in ("LCA", "RCA") if a in key.upper()), None)
        for video in videos if artery is not None and isinstance(videos, list) else ():
            if isinstance(video, str):
                name = video.strip().lower()
                found[name] = artery or "" if found.get(name, artery) == artery else ""
    return {video: artery for video, artery in found.items() if artery}  # one in two lists is not told
