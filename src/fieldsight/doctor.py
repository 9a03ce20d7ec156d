"""``doctor``: look at this installation and say what would not work, and why. It changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fieldsight import assets, registry
from fieldsight._version import __version__
from fieldsight.data.files import read_json, sha256
from fieldsight.errors import DataError
from fieldsight.export.runtime import int8_support
from fieldsight.model import shipped
from fieldsight.predictions import Table

#: Extra to the packages that make it up.
EXTRAS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "nncf"),
    "ncnn": ("ncnn", "pnnx"),
    "stego": ("cryptography",),
    "studio": ("gradio", "websockets"),
}


def examine() -> Table:
    """One row a finding: what, state (ok, missing, problem), and what to do."""
    return Table({"what": "", "state": "", "detail": ""}, list(_findings()), "doctor")


def problems(table: Table) -> int:
    """Number of findings that keep something from working."""
    return sum(row["state"] == "problem" for row in table.rows)


def _findings() -> Iterator[dict[str, Any]]:
    yield _row("fieldsight", "ok", f"{__version__}, Python {platform.python_version()}, {platform.system()}")
    yield from _torch()
    for extra, packages in EXTRAS.items():
        missing = [p for p in packages if importlib.util.find_spec(p) is None]
        found = ", ".join(f"{p} {_version(p)}" for p in packages if p not in missing)
        advice = f'{", ".join(missing)} missing; pip install "fieldsight[{extra}]"'
        yield _row(f"extra {extra}", "missing" if missing else "ok", advice if missing else found)
    if importlib.util.find_spec("torchvision") is not None and "+cpu" in _version("torch"):
        yield _row(
            "torchvision", "problem", "beside a CPU build of torch it breaks transformers; pip uninstall torchvision"
        )
    yield from _opencv()
    yield _cache()
    for name, asset in assets.catalogue().items():
        where = assets.locate(name)
        detail = str(where) if where else f"fieldsight assets fetch {name} ({asset.megabytes} MB)"
        yield _row(f"asset {name}", "ok" if where else "missing", detail)
    for spec in registry.systems():
        for name in spec.defaults:
            yield _weights(spec, name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield _row("processor", "ok", f"{platform.machine()}, {cores} cores, INT8 by {int8_support()}")


def _torch() -> Iterator[dict[str, Any]]:
    try:
        import torch
    except Exception as error:  # a broken torch fails with OSError, ImportError and others
        yield _row("torch", "problem", f"{type(error).__name__}: {error}")
        return
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    yield _row("torch", "ok", f"{torch.__version__}, computes on {device}, {torch.get_num_threads()} threads")


def _opencv() -> Iterator[dict[str, Any]]:
    wheels = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
    found = [w for w in wheels if _version(w)]
    if len(found) > 1:
        yield _row("OpenCV", "problem", f"several wheels give cv2: {', '.join(found)}; keep opencv-python-headless")


def _cache() -> dict[str, Any]:
    folder = assets.cache_folder()
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    usable = os.access(place, os.W_OK)
    advice = f"{folder} can't be written; set FIELDSIGHT_CACHE to a folder that can"
    return _row("cache folder", "ok" if usable else "problem", str(folder) if usable else advice)


def _weights(spec: registry.System, name: str) -> dict[str, Any]:
    folder: Path = shipped(spec, name)
    label = f"model {spec.id} {name}"
    try:
        info = read_json(folder / "model.json")
        weights = folder / "weights.safetensors"
        if "sha256" in info and sha256(weights) != info["sha256"]:
            return _row(label, "problem", "damaged: its hash is wrong; install fieldsight again")
        card = read_json(folder / "card.json") if (folder / "card.json").is_file() else {}
        size = sum(p.stat().st_size for p in folder.iterdir()) / 1e6  # an engine without a network has no weights
        return _row(label, "ok", f"{size:.2f} MB, {card.get('data', '')}")
    except (DataError, OSError) as error:
        return _row(label, "problem", f"{error}; install fieldsight again")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _row(what: str, state: str, detail: str) -> dict[str, Any]:
    return {"what": what, "state": state, "detail": detail}
