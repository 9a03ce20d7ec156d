"""Experts that a user brings: a torch module, an ONNX file, or a folder of probability maps made elsewhere.

All give probabilities ``(N, 1, H, W)`` for normalised photos ``(N, 3, H, W)``. What a network gives is said by
``output``: ``probability`` (values of 0 to 1), ``logits`` (sigmoid, or softmax over two channels) or ``softmax`` (two
channels of which the second is crack).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldsight.data.images import read_image, to_float
from fieldsight.errors import ConfigError, DataError, FieldsightError, unknown
from fieldsight.systems.crack.external_heads import TOLERANCE, Network, check_input, resized, short
from fieldsight.systems.crack.external_onnx import OnnxExpert as OnnxExpert

#: Ways of a :class:`FolderExpert` to bring a map to the size of what the networks see.
FITS = ("auto", "resize", "pad")

MAP_SUFFIXES = (".png", ".tif", ".tiff", ".npy")

#: Pictures are padded to multiples of this.
STRIDE = 32

_KEYS = ("name", "source", "output", "weights", "input_size", "expects", "output_name", "fit")
_OPTION = re.compile(rf",\s*({'|'.join(_KEYS[2:])})\s*=")


class Expert(Protocol):
    """A crack segmenter from outside."""

    @property
    def name(self) -> str:
        """What it is called in the pool."""
        ...

    def probability(self, x: Tensor, ids: Sequence[str]) -> Tensor:
        """Probabilities of crack.

        Args:
            x: ``(N, 3, H, W)`` float32, ImageNet-normalised RGB.
            ids: of the photos, one each.

        Returns:
            ``(N, 1, H, W)`` float32 in 0 to 1, on the device of ``x``.

        Raises:
            DataError: the expert fails, or gives another shape or range.
        """
        ...


class TorchExpert(Network):
    """A torch module, or any function of a tensor.

    Args:
        name: in the pool.
        network: takes ``(N, 3, h, w)``, gives ``(N, 1, h', w')`` or ``(N, 2, h', w')``; another size than the input's
            is resized, bilinear. A module is put in evaluation mode and its parameters are frozen.
        output: what it gives.
        expects: how its input is scaled.
        input_size: ``(h, w)`` that it takes, where it takes one only.

    Raises:
        ConfigError: it can't be called, or an option is unknown.
    """

    def __init__(
        self,
        name: str,
        network: Callable[[Tensor], Any],
        output: str = "probability",
        expects: str = "imagenet",
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(name, output, expects, input_size)
        if not callable(network):
            raise ConfigError(f"The expert '{name}' is {type(network).__name__}; a module or a function is wanted.")
        if isinstance(network, nn.Module):
            network.eval().requires_grad_(False)
        self.network = network

    def _compute(self, x: Tensor) -> Any:
        if isinstance(self.network, nn.Module):
            self.network.eval().to(x.device)  # whoever else holds it may have set it to training
        return self.network(x)


class FolderExpert:
    """Probability maps that were made elsewhere: ``<id>.png``, ``.tif`` or ``.npy``, of whole photos.

    8-bit values are divided by 255, 16-bit ones by 65535; floats are taken as they are. An id finds the file of its
    path, else of its last part. A map knows nothing of tiles: it fits photos that are seen as a whole.

    Args:
        name: in the pool.
        folder: with the maps, in sub-folders too.
        fit: how a map is brought to the size of the input: ``resize``, bilinear; ``pad``, where inputs are photos
            padded below and right to multiples of 32; ``auto`` takes ``pad`` where the input is not square and padding
            leads to it exactly.

    Raises:
        DataError: no such folder, no maps in it, or masks of 0 and 1 in place of maps.
        ConfigError: an unknown ``fit``.
    """

    def __init__(self, name: str, folder: str | Path, fit: str = "auto") -> None:
        if fit not in FITS:
            raise ConfigError(unknown(f"fit of expert '{name}':", fit, FITS))
        self.name, self.folder, self.fit = name, Path(folder), fit
        if not self.folder.is_dir():
            raise DataError(f"The expert '{name}': there is no folder '{folder}'.")
        self._by_path: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() in MAP_SUFFIXES and path.is_file() and not path.name.startswith("."):
                key = path.relative_to(self.folder).with_suffix("").as_posix()
                self._by_path.setdefault(key, []).append(path)
                self._by_stem.setdefault(path.stem, []).append(path)
        if not self._by_path:
            raise DataError(
                f"The expert '{name}': '{folder}' holds no probability maps. Allowed: {', '.join(MAP_SUFFIXES)}."
            )
        self._refuse_binary()

    def map(self, id: str) -> NDArray[np.float32]:
        """The map of a photo, ``(h, w)`` in 0 to 1, at its own size.

        Raises:
            DataError: there is none, or there are several; it can't be read, or leaves 0 to 1.
        """
        path = self._find(id)
        values = to_float(read_image(path, "grey"))
        low, top = float(values.min()), float(values.max())
        if not (low >= -TOLERANCE and top <= 1.0 + TOLERANCE):  # also NaN
            raise DataError(
                f"The map '{path}' of expert '{self.name}' holds {low:g} to {top:g}; probabilities are 0 to 1. "
                "Put logits through a sigmoid before they are saved."
            )
        return np.clip(values, 0.0, 1.0).astype(np.float32)

    def probability(self, x: Tensor, ids: Sequence[str]) -> Tensor:
        """See :meth:`Expert.probability`."""
        check_input(self.name, x, ids)
        return torch.cat([self._fitted(id, x.shape[2], x.shape[3]) for id in ids]).to(x.device)

    def _fitted(self, id: str, height: int, width: int) -> Tensor:
        values = torch.from_numpy(self.map(id))[None, None]
        below, right = height - values.shape[2], width - values.shape[3]
        padded = 0 <= below < STRIDE and 0 <= right < STRIDE
        if self.fit == "pad" and not padded:
            raise DataError(
                f"The map of '{id}' by expert '{self.name}' is {values.shape[3]} x {values.shape[2]}, but the photo, "
                f"padded to multiples of {STRIDE}, is {width} x {height}. Save maps at the photo's size, and choose "
                "experts once a photo (route image): a map can't be cut into tiles."
            )
        if self.fit == "pad" or (self.fit == "auto" and padded and height != width):
            return F.pad(values, (0, right, 0, below), mode="replicate")
        return resized(values, (height, width)).clamp(0.0, 1.0)

    def _find(self, id: str) -> Path:
        name = id.replace("\\", "/")
        for known, key in (
            (self._by_path, name), (self._by_path, Path(name).with_suffix("").as_posix()),
            (self._by_stem, Path(name).name), (self._by_stem, Path(name).stem),
        ):  # fmt: skip
            found = known.get(key, [])
            if len(found) > 1:
                shown = ", ".join(str(p.relative_to(self.folder)) for p in found[:4])
                raise DataError(f"The expert '{self.name}' has several maps of '{id}': {shown}. Keep one.")
            if found:
                return found[0]
        raise DataError(
            f"The expert '{self.name}' has no map of '{id}' in '{self.folder}'. "
            f"Save it as {Path(name).name}.png, .tif or .npy."
        )

    def _refuse_binary(self) -> None:
        """Masks of 0 and 1 would be read as probabilities up to 1/255: look at the first few files."""
        tops = []
        for paths in list(self._by_path.values())[:8]:
            values = read_image(paths[0])
            if values.dtype not in (np.uint8, np.uint16):
                return
            tops.append(int(values.max()))
        if max(tops) == 1:
            raise DataError(
                f"The expert '{self.name}': the maps in '{self.folder}' hold whole numbers 0 and 1, but 255 is read "
                "as certain. Save probability times 255, or floats as .npy."
            )


# ---------------------------------------------------------------------------------------------------- loading


def load_external(spec: Mapping[str, Any], allow_code: bool) -> Expert:
    """Open an expert by its description.

    Args:
        spec: ``source`` is an ``.onnx`` file, a folder of maps, or Python code as ``package.module:factory`` or
            ``path/to/file.py:factory``; it may carry options, ``net.onnx,output=logits,input_size=512``. The rest:
            ``name``; ``output`` (see :data:`OUTPUTS`, default probability); ``expects`` (see :data:`EXPECTS`);
            ``input_size`` (a side, or height and width); ``weights``, a safetensors file for Python code;
            ``output_name`` for ONNX; ``fit`` for folders (see :data:`FITS`).
        allow_code: whether Python code may be imported. Only a person may say so, in Python or on the command line;
            never a file that came with a model.

    Raises:
        ConfigError: Python code that is not allowed, can't be imported, or does not fit; unknown or unfit options.
        DataError: files that are absent or can't be read.
        MissingExtraError: an ONNX file without onnxruntime.
    """
    values = _parsed(spec)
    source = values["source"]
    name = values.get("name") or _default_name(source)
    path = Path(source)
    kind = "onnx" if path.suffix.lower() == ".onnx" else "torch" if ":" in source and not path.exists() else "folder"
    if path.suffix.lower() in (".pt", ".pth", ".ckpt", ".safetensors"):
        raise ConfigError(
            f"'{source}' holds weights but no network: give module:factory, with its weights as a .safetensors file by "
            "the option weights; or export the network to ONNX."
        )
    _check_keys(name, kind, values)
    network = {k: values[k] for k in ("output", "expects", "input_size") if k in values}
    if kind == "onnx":
        return OnnxExpert(name, path, **network, output_name=values.get("output_name", ""))
    if kind == "folder":
        return FolderExpert(name, path, values.get("fit", "auto"))
    if not allow_code:
        raise ConfigError(
            f"The expert '{name}' is Python code ('{source}'), which runs only if you allow it: give --allow-code on "
            "the command line, allow_code=True in Python, if you trust it. ONNX files and folders of maps need no such."
        )
    made = _make(name, source)
    if values.get("weights"):
        _load_weights(name, made, Path(values["weights"]))
    return TorchExpert(name, made, **network)


def _parsed(spec: Mapping[str, Any]) -> dict[str, Any]:
    values = {str(k): v for k, v in spec.items() if v is not None}
    text = str(values.get("source", "")).strip()
    marks = list(_OPTION.finditer(text))
    ends = [*(m.start() for m in marks[1:]), len(text)]
    for mark, end in zip(marks, ends[: len(marks)], strict=True):
        values.setdefault(mark[1], text[mark.end() : end].strip())
    values["source"] = text[: marks[0].start()].strip() if marks else text
    problems = [unknown("key of an expert", key, _KEYS) for key in values if key not in _KEYS]
    if not values["source"]:
        problems.append("An expert needs a source: FILE.onnx, a folder of maps, or module:factory.")
    if "input_size" in values:
        sides = values["input_size"]
        words = re.split(r"[x,\s]+", sides.strip()) if isinstance(sides, str) else np.ravel(sides).tolist()
        try:
            numbers = [int(w) for w in words]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) not in (1, 2) or min(numbers) < 1:
            problems.append(f"input_size is {sides!r}; a side like 512, or height x width like 384x512, is wanted.")
        else:
            values["input_size"] = (numbers[0], numbers[-1])
    if problems:
        raise ConfigError(problems)
    return values


def _check_keys(name: str, kind: str, values: Mapping[str, Any]) -> None:
    fitting = {
        "onnx": ("output", "expects", "input_size", "output_name"),
        "torch": ("output", "expects", "input_size", "weights"),
        "folder": ("fit",),
    }[kind]
    words = {"onnx": "an ONNX file", "torch": "Python code", "folder": "a folder of maps"}[kind]
    wrong = [k for k in values if k not in ("name", "source", *fitting)]
    if wrong:
        raise ConfigError(
            f"The expert '{name}' is {words}; {', '.join(wrong)} is for others. Allowed: {', '.join(fitting)}."
        )


def _default_name(source: str) -> str:
    place, mark, factory = source.rpartition(":")
    return factory if mark and not Path(source).exists() and len(place) > 1 else Path(source).stem or "expert"


def _make(name: str, source: str) -> Any:
    """Import the code and call the factory."""
    place, _, attribute = source.rpartition(":")
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        made: Any = module
        for part in attribute.split("."):
            made = getattr(made, part)
        return made if isinstance(made, nn.Module) else made()
    except FieldsightError:
        raise
    except Exception as error:  # somebody else's code
        raise ConfigError(
            f"The expert '{name}' can't be made from '{source}': {type(error).__name__}: {short(error)}. Wanted is "
            "'package.module:factory' of an installed package, or 'path/to/file.py:factory'; the factory takes nothing "
            "and returns a torch module or a function."
        ) from error


def _module_of_file(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"There is no file '{path}'.")
    key = f"fieldsight_expert_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    found = importlib.util.spec_from_file_location(key, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[key] = module  # dataclasses and the like look their module up
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[key]
        raise
    return module


def _load_weights(name: str, network: Any, path: Path) -> None:
    """Fill a module from safetensors; one prefix that all keys share (``module.``, ``model.``) is dropped."""
    if not isinstance(network, nn.Module):
        raise ConfigError(f"The expert '{name}' is a function, which holds no weights; leave weights out.")
    if path.suffix != ".safetensors":
        raise ConfigError(
            f"The weights '{path}' of expert '{name}' are no .safetensors file, the only kind that is read. Convert: "
            "safetensors.torch.save_file(module.state_dict(), 'weights.safetensors')"
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise DataError(f"Can't read the weights '{path}': {error}.") from None
    wanted = network.state_dict()
    prefix = next(iter(tensors), "").partition(".")[0] + "."
    if {prefix + k for k in wanted} == set(tensors):
        tensors = {k[len(prefix) :]: v for k, v in tensors.items()}
    problems = [f"{k} is missing" for k in wanted if k not in tensors]
    problems += [f"{k} is not in the network" for k in tensors if k not in wanted]
    problems += [
        f"{k} has shape {tuple(tensors[k].shape)}, the network's is {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in tensors and tensors[k].shape != v.shape
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ConfigError(f"The weights '{path}' do not fit the expert '{name}': {'; '.join(problems[:5])}{more}.")
    network.load_state_dict(tensors)
