"""What a benchmark ran on: processor, governor, clock, power source, versions. No names of machines or people."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fieldsight._version import __version__
from fieldsight.export.runtime import int8_support
from fieldsight.systems.edge.backends import half_unit

PACKAGES = ("torch", "onnxruntime", "openvino", "nncf", "ncnn", "pnnx", "tensorrt", "numpy", "opencv-python-headless")


def processor(root: Path = Path("/")) -> str:
    """The device's name: of a board its model, else the processor's."""
    board = _read(root / "proc/device-tree/model").strip("\0 ")
    if board:
        return board
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine()


def governor(root: Path = Path("/")) -> str:
    """What sets the clock, of each kind that processors have; ``unknown`` where the system does not tell."""
    files = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))
    found = sorted({text for file in files if (text := _read(file).strip())})
    return ", ".join(found) or "unknown"


def clock_mhz(root: Path = Path("/")) -> float | None:
    """Mean clock now in MHz; None where nobody tells."""
    files = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    told = [float(text) / 1e3 for file in files if (text := _read(file).strip()).isdigit()]
    for line in [] if told else _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "cpu MHz":
            try:
                told.append(float(value))
            except ValueError:
                continue
    return round(sum(told) / len(told), 1) if told else None


def power_source(root: Path = Path("/")) -> str:
    """``mains``, ``battery (charge)``, or ``unknown``."""
    supplies = sorted(root.glob("sys/class/power_supply/*"))
    kinds = {s: _read(s / "type").strip() for s in supplies}
    if any(kind in ("Mains", "USB") and _read(s / "online").strip() == "1" for s, kind in kinds.items()):
        return "mains"
    for supply, kind in kinds.items():
        if kind == "Battery" and _read(supply / "scope").strip() != "Device":
            return f"battery ({_read(supply / 'capacity').strip() or '?'} %)"
    return "unknown"


def environment(threads: int, processors: Sequence[int], root: Path = Path("/")) -> dict[str, Any]:
    """What numbers depend on, and a hash of it (of what changes by itself, clock and load are left out).

    Args:
        threads: of every runtime.
        processors: numbers of those used; none: not pinned.
        root: where the system's files are.
    """
    pinned = " ".join(str(n) for n in processors)
    steady: dict[str, Any] = {
        "processor": processor(root),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "int8": int8_support(),
        "fp16": half_unit() or "storage only",
        "governor": governor(root),
        "power_source": power_source(root),
        "threads": threads,
        "pinned_to": f"processors {pinned}" if pinned else "not pinned",
        "system": f"{platform.system()} {platform.release()}",
        "versions": f"fieldsight {__version__}, Python {platform.python_version()}, {_versions()}",
    }
    digest = hashlib.sha256(json.dumps(steady, sort_keys=True).encode()).hexdigest()[:12]
    return {**steady, "environment": digest, "clock_mhz": clock_mhz(root), "load_average": load()}


def load() -> float | None:
    """How many processes wanted a processor over the last minute; above 0 others disturb what is timed."""
    if sys.platform == "win32" or not hasattr(os, "getloadavg"):
        return None
    return round(os.getloadavg()[0], 2)


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
