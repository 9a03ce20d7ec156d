"""Users' own checkpoints: safetensors with the names of public state dicts, read by explicit key maps.

Public YOLOv8 and YOLOv10 files call a layer ``model.N...`` with short names inside (``cv1``, ``bn``, ``m``);
RT-DETR's are those of transformers, before or after its fifth version. Pickled files run code when they are read, so
they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fieldsight.data.files import atomic
from fieldsight.errors import ConfigError, ModelFileError
from fieldsight.nn.detection.blocks import CIB, PSA, SPPF, Attention, Bottleneck, C2f, Conv, LargeDepthwise, SCDown
from fieldsight.nn.detection.heads import Detect, DualDetect
from fieldsight.nn.detection.rtdetr import RTDetr
from fieldsight.nn.detection.yolo import Yolo

#: Our name of a part to the public one, for each block that has parts; what is not listed keeps its name.
NAMES: dict[type[nn.Module], dict[str, str]] = {
    Yolo: {"layers": "model"},
    Conv: {"norm": "bn"},
    Bottleneck: {"first": "cv1", "second": "cv2"},
    C2f: {"enter": "cv1", "exit": "cv2", "blocks": "m"},
    SPPF: {"enter": "cv1", "exit": "cv2"},
    SCDown: {"channels": "cv1", "space": "cv2"},
    LargeDepthwise: {"large": "conv", "small": "conv1"},
    CIB: {"steps": "cv1"},
    Attention: {"project": "proj", "position": "pe"},
    PSA: {"enter": "cv1", "exit": "cv2", "attention": "attn", "mlp": "ffn"},
    Detect: {"box": "cv2", "cls": "cv3", "bins": "dfl.conv.weight"},
    DualDetect: {
        "box": "cv2", "cls": "cv3", "bins": "dfl.conv.weight", "one_box": "one2one_cv2", "one_cls": "one2one_cv3",
    },
}  # fmt: skip

#: How transformers called parts of RT-DETR before its fifth version: pattern in today's name, replacement.
OLDER = (
    (r"o_proj\.", "out_proj."),
    (r"\.mlp\.(fc[12])\.", r".\1."),
    (r"encoder\.aifi\.", "encoder.encoder."),
)

#: What savers put in front of every name.
PREFIXES = ("", "model.", "module.", "ema.", "ema.module.", "state_dict.", "net.")

_PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".tar")
_CONVERT = """Convert it where you trust its origin, with the package that made it:
    import torch
    from safetensors.torch import save_file
    saved = torch.load("{name}", map_location="cpu", weights_only=False)  # runs code of the file
    saved = saved.get("model", saved) if isinstance(saved, dict) else saved
    state = saved.state_dict() if hasattr(saved, "state_dict") else saved
    floats = {{k: v.float() if v.is_floating_point() else v for k, v in state.items()}}
    save_file({{k: v.contiguous() for k, v in floats.items()}}, "{stem}.safetensors")"""


@dataclass(frozen=True)
class Loaded:
    """What of a checkpoint went where; names as in the file, without its prefix.

    Attributes:
        path: the file.
        prefix: what all its names had in front.
        matched: tensors that were loaded.
        left_out: tensors and parts of the network that ``without`` named; they keep their values.
        counters: numbers of batches seen that the file lacks; they mean nothing at this momentum.
        parameters: elements loaded.
    """

    path: Path
    prefix: str
    matched: tuple[str, ...]
    left_out: tuple[str, ...]
    counters: tuple[str, ...]
    parameters: int

    def __str__(self) -> str:
        kept = f"; {len(self.left_out)} left out: {', '.join(self.left_out[:3])}, ..." if self.left_out else ""
        return f"{len(self.matched)} tensors ({self.parameters:,} elements) loaded from '{self.path}'{kept}"


def key_map(net: Yolo | RTDetr, older: bool = False) -> dict[str, str]:
    """Name of each tensor of a network's state to its public name.

    Args:
        net: a YOLO, fused or not, or an RT-DETR.
        older: RT-DETR's names as transformers had them before its fifth version.
    """
    if isinstance(net, RTDetr):
        names = {key: key.removeprefix("net.") for key in net.state_dict()}
        return {key: _older(name) for key, name in names.items()} if older else names
    return {key: _public(net, key) for key in net.state_dict()}


def load_checkpoint(net: Yolo | RTDetr, path: str | Path, *, without: Sequence[str] = ()) -> Loaded:
    """Fill a network from a ``.safetensors`` file of public names; nothing is changed unless all of it fits.

    Args:
        net: what :func:`~fieldsight.nn.detection.yolo.yolo` or :func:`~fieldsight.nn.detection.rtdetr.rtdetr` made. For
            a file with batch normalisation folded, call its ``fuse`` first.
        path: the file; float16, bfloat16 and float64 are converted to the network's type.
        without: beginnings of public names to leave as they are, such as ``model.22.cv3`` for the class branch when
            the classes differ.

    Returns:
        What matched.

    Raises:
        ModelFileError: the file is absent, damaged or pickled; or a tensor is missing, of another shape, not finite, or
            known to no part of the network. The message names the first five and the way out.
        ConfigError: ``without`` has a name that begins nothing.
    """
    path = Path(path)
    tensors = _untied(_read(path)) if isinstance(net, RTDetr) else _read(path)
    state = net.state_dict()
    prefix, names = _best_names(net, tensors)
    found = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    outside = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    public = set(names.values()) | set(found)
    unused = [start for start in without if not any(name.startswith(start) for name in public)]
    if unused:
        raise ConfigError(f"No tensor begins with {', '.join(map(repr, unused))}; names are like '{min(public)}'.")
    skipped = {name for name in public if name.startswith(tuple(without))} if without else set()
    counters = tuple(n for n in names.values() if n.endswith("num_batches_tracked") and n not in found)
    wanted = {name: state[key] for key, name in names.items() if name not in skipped and name not in counters}
    problems = _problems(wanted, {n: v for n, v in found.items() if n not in skipped} | outside)
    if problems:
        raise ModelFileError(_misfit(net, path, problems, found))
    fitted = {key: found[name].to(state[key].dtype) for key, name in names.items() if name in wanted}
    net.load_state_dict({**state, **fitted})
    size = sum(found[name].numel() for name in wanted)
    return Loaded(path, prefix, tuple(wanted), tuple(sorted(skipped)), counters, size)


def save_checkpoint(net: Yolo | RTDetr, path: str | Path) -> None:
    """Write a network's state under its public names, which :func:`load_checkpoint` and other programs read.

    Raises:
        DataError: the file can't be written; one that was there stays as it was.
    """
    from safetensors.torch import save_file

    names = key_map(net)
    tensors = {names[key]: value.detach().cpu().contiguous().clone() for key, value in net.state_dict().items()}
    with atomic(path) as temporary:
        save_file(tensors, str(temporary))


def _public(net: nn.Module, key: str) -> str:
    """Walk down a dotted name and rename each part by the table of the block it belongs to."""
    module: object = net
    parts = []
    for part in key.split("."):
        parts.append(NAMES.get(type(module), {}).get(part, part) if isinstance(module, nn.Module) else part)
        module = getattr(module, part, None)
    return ".".join(parts)


def _older(name: str) -> str:
    for pattern, replacement in OLDER:
        name = re.sub(pattern, replacement, name)
    return name


def _untied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Older RT-DETRs hold the decoder's heads under two names, of which a file has one or both; keep the inner."""
    inner = {re.sub(r"^(class|bbox)_embed\.", r"model.decoder.\1_embed.", name): name for name in tensors}
    return {name: tensors[name if name in tensors else outer] for name, outer in inner.items()}


def _best_names(net: Yolo | RTDetr, tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, str]]:
    """The prefix and the map under which most of the network's tensors are in the file."""
    maps = [key_map(net)] + ([key_map(net, older=True)] if isinstance(net, RTDetr) else [])
    ways = [(prefix, names) for names in maps for prefix in PREFIXES]
    return max(ways, key=lambda way: sum(way[0] + name in tensors for name in way[1].values()))


def _problems(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    problems = []
    for name, value in wanted.items():
        got = found.get(name)
        if got is None:
            problems.append(f"{name} is missing")
        elif got.shape != value.shape:
            problems.append(f"{name} has shape {tuple(got.shape)}, the network's is {tuple(value.shape)}")
        elif value.is_floating_point() and not got.is_floating_point():
            problems.append(f"{name} is of type {got.dtype}, the network's {value.dtype}")
        elif not bool(torch.isfinite(got).all()):
            problems.append(f"{name} holds numbers that are not finite")
    return problems + [f"{name} is not in the network" for name in found if name not in wanted]


def _misfit(net: Yolo | RTDetr, path: Path, problems: Sequence[str], found: Mapping[str, Tensor]) -> str:
    """What does not fit, and the likeliest reason."""
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    hint = "Check scale, head and number of classes."
    if isinstance(net, Yolo):
        names = key_map(net).values()
        head = f"model.{len(net.layers) - 1}."
        folded = {"file": not any(".bn." in n for n in found), "network": not any(".bn." in n for n in names)}
        if any(n in found for n in names) and sum(folded.values()) == 1:
            where = "file" if folded["file"] else "network"
            hint = f"Batch normalisation is folded in the {where} alone: fuse() the network, or take one unfused."
        elif all(p.startswith(head) for p in problems):
            branches = [head + "cv3"] + [head + "one2one_cv3"] * isinstance(net.head, DualDetect)
            hint = f"If the classes differ, leave their branch out: without={branches}."
    return f"The weights '{path}' do not fit: {'; '.join(problems[:5])}{more}. {hint}"


def _read(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        ModelFileError: absent, pickled, of another format or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ModelFileError(f"Can't read the weights '{path}': {error.strerror or error}.") from None
    # safetensors: eight bytes of length, then JSON. torch writes zip files, its older versions bare pickles.
    pickled = path.suffix.lower() in _PICKLED or start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"
    if pickled and start[8:] != b"{":
        convert = _CONVERT.format(name=path.name, stem=path.stem)
        raise ModelFileError(f"'{path}' is pickled: reading it would run code from it. {convert}")
    try:
        return load_file(str(path))
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ModelFileError(f"'{path}' is no readable safetensors file: {error}.") from None
