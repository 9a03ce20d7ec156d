"""The set of Danilov et al. 2021 (Scientific Reports 11:7582): frames of 100 patients, VOC XML beside each.

::

    [Stenosis detection/][dataset/]14_002_5_0016.bmp, 14_002_5_0016.xml      site, patient, series, frame
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from fieldsight.data.detection import voc
from fieldsight.data.detection.checks import examine, listed
from fieldsight.errors import DataError, unknown
from fieldsight.systems.vessel.datasets.common import STENOSIS, UNKNOWN, AngiogramSet, files_in, subfolders, summary

_NAME = re.compile(r"(?P<patient>\d+_\d+)_(?P<series>\d+)_\d+")


def is_danilov(folder: Path) -> bool:
    """Whether a folder, or ``dataset`` in it, holds XML files named ``14_002_5_0016.xml``."""
    return _home(folder) is not None


def read_danilov(folder: Path) -> AngiogramSet:
    """All frames; group is the patient, ``14_002`` of the file's name. Facts hold ``series``. Views are not told.

    Raises:
        DataError: no such layout, a file whose name tells no patient, a class other than stenosis, or what the VOC
            reader and the checks refuse.
    """
    home = _home(folder)
    if home is None:
        raise DataError(f"'{folder}' holds no files named like 14_002_5_0016.xml. Give the folder 'dataset'.")
    reading = voc.read_voc([voc.Part("", home, home)], home)
    others = [name for name in reading.names if name.casefold() not in STENOSIS]
    if others:
        raise DataError(f"'{home}': {unknown('class', others[0], STENOSIS)}")
    reading.photos = [
        replace(one, marks=one.marks._replace(labels=np.zeros_like(one.marks.labels))) for one in reading.photos
    ]
    reading.names = reading.keys = STENOSIS
    odd = [str(one.photo) for one in reading.photos if not _NAME.fullmatch(one.photo.stem)]
    if odd:
        head = f"'{home}': the names of {len(odd)} files tell no patient (as 14_002_5_0016 does); move them elsewhere:"
        raise DataError(listed(head, odd))
    samples = []
    for sample in examine(reading):
        match = _NAME.fullmatch(sample.id)
        if match is None:
            raise DataError(f"'{home}' holds two pictures named '{Path(sample.id).name}'. Keep one.")
        facts = {**sample.facts, "series": f"{match['patient']}_{match['series']}"}
        samples.append(replace(sample, group=match["patient"], split="train", facts=facts))
    views = {s.id: UNKNOWN for s in samples}
    note = summary("danilov", home, samples, views, True, False, reading.findings)
    return AngiogramSet(tuple(samples), STENOSIS, views, note, "danilov", False, True, reading.findings)


def _home(folder: Path) -> Path | None:
    if not folder.is_dir():
        return None
    below = subfolders(folder)
    inner = subfolders(below["stenosis detection"]) if "stenosis detection" in below else {}
    places = [folder, below.get("dataset"), below.get("stenosis detection"), inner.get("dataset")]
    return next((p for p in places if p is not None and _named(p)), None)


def _named(folder: Path) -> bool:
    """Whether the first XML files have such names: they do not say so by chance."""
    names = [p.stem for p in islice(files_in(folder, (".xml",)), 20)]
    return bool(names) and sum(_NAME.fullmatch(name) is not None for name in names) * 2 > len(names)
