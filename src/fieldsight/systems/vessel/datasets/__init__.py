"""Data sets of coronary angiograms with boxes of stenoses, whatever their layout; and such with vessel masks.

::

    arcade     arcade/stenosis/{train,val,test}/{images,annotations}/
    cadica     CADICA/selectedVideos/pX/vY/{input,groundtruth}/
    danilov    dataset/14_002_5_0016.bmp + .xml
    plain      YOLO, COCO or VOC, with a views.csv (image,patient,view) and an ignored.json beside, if there are any
"""

from __future__ import annotations

from pathlib import Path

from fieldsight import progress
from fieldsight.errors import DataError
from fieldsight.systems.vessel.datasets.arcade import has_arcade_masks, is_arcade, read_arcade, read_arcade_masks
from fieldsight.systems.vessel.datasets.cadica import is_cadica, read_cadica
from fieldsight.systems.vessel.datasets.common import GRADES, SLIGHT, STENOSIS, UNKNOWN, VIEWS, AngiogramSet
from fieldsight.systems.vessel.datasets.danilov import is_danilov, read_danilov
from fieldsight.systems.vessel.datasets.masks import MaskSample, read_masks
from fieldsight.systems.vessel.datasets.plain import read_plain

__all__ = [
    "GRADES", "SLIGHT", "STENOSIS", "UNKNOWN", "VIEWS", "AngiogramSet", "MaskSample", "is_arcade", "is_cadica",
    "is_danilov", "read_angiograms", "read_vessel_masks",
]  # fmt: skip


def read_angiograms(folder: str | Path, seed: int = 0) -> AngiogramSet:
    """Angiograms with boxes of stenoses, in any of the layouts above; a note says what was found.

    Label files and headers of pictures are read now, pixels when a sample is asked for them.

    Args:
        folder: of the data set; a ``data.yaml`` or a COCO file is fine.
        seed: of what a data set with a train split but none for validation has to be given.

    Raises:
        DataError: no known layout, or what the reader of the layout refuses; it names the files.
    """
    path = Path(folder)
    if is_arcade(path):
        found = read_arcade(path)
    elif is_cadica(path):
        found = read_cadica(path)
    elif is_danilov(path):
        found = read_danilov(path)
    elif all((path / name).is_dir() for name in ("raw", "fused")):
        raise DataError(f"'{path}' holds two variants of one data set. Give '{path / 'raw'}' or '{path / 'fused'}'.")
    else:
        found = read_plain(path, seed)
    progress.note(found.note)
    return found


def read_vessel_masks(folder: str | Path) -> list[MaskSample]:
    """Angiograms with vessel masks: ARCADE's syntax task, DCA1, XCAD, or pictures and masks of the same names.

    Raises:
        DataError: no such layout, or files that can't be used; it names them.
    """
    path = Path(folder)
    return read_arcade_masks(path) if has_arcade_masks(path) else read_masks(path)
