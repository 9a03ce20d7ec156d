"""Anything people call a network, read into counts: built-in names, files, modules, import paths, other systems.

=========================== ==============================================================
input                       counted by
=========================== ==============================================================
``resnet18``                its published table (:mod:`fieldsight.systems.energy.data`)
``net.onnx``                shapes of the graph
``config.json``             closed form, or a build on the meta device (transformers)
``layers.csv``              its rows
``package.module:factory``  one forward on shapes; command line and Python only
a module, counts, a dict    Python only
``fieldsight:sem``          the graph of that system's default model
=========================== ==============================================================

A text is a name or an import path, a ``Path`` always a file: the Studio hands in nothing but built-in names and the
paths of uploads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldsight import registry
from fieldsight.errors import ConfigError, DataError, FieldsightError, nearest, unknown
from fieldsight.profile.counts import Counts
from fieldsight.profile.transformer import Decoder, count_decoder
from fieldsight.systems.energy import data
from fieldsight.systems.energy.config import EnergyConfig

if TYPE_CHECKING:
    from torch import nn

#: Files taken from folders.
SUFFIXES = (".onnx", ".json", ".csv")

_OURS = "fieldsight:"
_IMPORT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Network:
    """A network ready to be charged.

    Attributes:
        name: in tables and file names.
        title: for people.
        source: ``built-in``, ``onnx``, ``config``, ``csv``, ``torch``, ``system`` or ``counts``.
        counts: of one pass, or of one token at the context asked for.
        precision: the format that ``auto`` means for it.
        decoder: its shape where it is a language model in closed form.
        notes: what a reader must know.
        origin: what can be run: the path of an ONNX file, an import path, or a :class:`Built`; None where there is
            nothing but counts.
    """

    name: str
    title: str
    source: str
    counts: Counts
    precision: str
    decoder: Decoder | None = None
    notes: tuple[str, ...] = ()
    origin: Any = None


@dataclass(frozen=True)
class Built:
    """A module with the inputs to run it on, as :func:`network` takes them."""

    module: Any
    inputs: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Shape:
    """One input of a graph: its name or None for the next place, sizes, and element type."""

    name: str | None
    dims: tuple[int, ...]
    dtype: str = "float32"


def is_name(text: str) -> bool:
    """True where a text is no path: a built-in name, an import path, or nothing that exists (refused when read)."""
    return text in data.names() or not (glob.has_magic(text) or Path(text).exists())


def config_of(inputs: Any) -> Any:
    """Inputs with a model's folder, one that holds a ``config.json``, replaced by that file."""
    if isinstance(inputs, (list, tuple)):
        return [config_of(one) for one in inputs]
    if isinstance(inputs, Path) or (isinstance(inputs, str) and inputs.strip()):
        file = Path(inputs) / "config.json"
        return file if file.is_file() else inputs
    return inputs


def read(item: Any, options: EnergyConfig) -> Network:
    """Read one input; see the table above.

    Args:
        item: what people gave.
        options: ``shape``, and for language models ``context``, ``phase`` and the changes of their shape.

    Raises:
        DataError: whatever is wrong with the input, with its name and the way out.
    """
    if isinstance(item, Network):
        return item
    if isinstance(item, Path):
        return _file(item, options)
    if isinstance(item, str):
        return _named(item, options)
    if isinstance(item, Counts):
        return _plain(Network(item.name, item.name, "counts", item, _format(item)), options)
    if isinstance(item, Decoder):
        return _language(item, item.name, "config", options)
    if isinstance(item, Mapping):
        return _config(dict(item), str(item.get("model_type", "decoder")), options)
    if isinstance(item, Built):
        return _module(item.module, type(item.module).__name__, options, item.inputs)
    if callable(getattr(item, "named_modules", None)):
        return _module(item, type(item).__name__, options)
    raise DataError(
        f"Can't cost {type(item).__name__!r}. Give a built-in name ({', '.join(data.names())}), a file, a module, "
        "counts or a config."
    )


# ----------------------------------------------------------------------------------------- names and files


def _named(text: str, options: EnergyConfig) -> Network:
    if text in data.names():
        return _built_in(text, options)
    if text.startswith(_OURS):
        return _system(text.removeprefix(_OURS), options)
    path = Path(text)
    if path.exists():
        return _file(path, options)
    if _IMPORT.fullmatch(text):
        found = _module(build(text), text.partition(":")[2], options)
        return dataclasses.replace(found, origin=text)
    if path.suffix.lower() in SUFFIXES or "/" in text or "\\" in text:
        raise DataError(f"There is no file '{text}'.")
    raise DataError(
        f"{unknown('network', text, data.names())} A file ({', '.join(SUFFIXES)}), an import path "
        "package.module:factory or fieldsight:SYSTEM also does."
    )


def _built_in(name: str, options: EnergyConfig) -> Network:
    entry = data.built_in(name)
    if name in data.DECODERS:
        return _language(data.DECODERS[name], entry.title, "built-in", options)
    return _plain(Network(name, entry.title, "built-in", data.model(name), entry.precision), options)


def _file(path: Path, options: EnergyConfig) -> Network:
    kind = path.suffix.lower()
    if path.is_dir() and (path / "config.json").is_file():
        path, kind = path / "config.json", ".json"
    if kind == ".onnx":
        from fieldsight.profile.onnx_counts import count_onnx

        counts = count_onnx(path, _for_onnx(options))
        found = Network(path.stem, f"ONNX file {path.name}", "onnx", counts, _format(counts), origin=path)
        return _plain(found, options)
    if kind == ".csv":
        counts = data.read_layers(path)
        return _plain(Network(path.stem, f"table of layers {path.name}", "csv", counts, _format(counts)), options)
    if kind == ".json":
        return _config(path, "" if path.stem == "config" else path.stem, options)
    raise DataError(f"'{path}' is no network: its name must end in {', '.join(SUFFIXES)}.")


def _config(config: Path | dict[str, Any], name: str, options: EnergyConfig) -> Network:
    from fieldsight.profile.hf_config import count_hf_config, hf_decoder

    shape, note = hf_decoder(config, name)
    if shape is not None:
        made = _language(shape, f"language model {shape.name}, from its config", "config", options)
        return dataclasses.replace(made, notes=(*made.notes, note)) if note else made
    counts = count_hf_config(config, options.context, options.phase, name=name)
    found = Network(counts.name, f"{counts.name}, built from its config", "config", counts, _format(counts))
    return _plain(found, options, context=True)


def _system(id: str, options: EnergyConfig) -> Network:
    """The graph of a system's default model, through the door that users have."""
    import fieldsight
    from fieldsight.profile.torch_counts import count_module

    with_graph = [s.id for s in registry.systems() if "exports" in s.traits]
    if id not in with_graph:
        raise DataError(f"{unknown('system with a network', id, with_graph)} Write fieldsight:NAME.")
    try:
        model = fieldsight.load(id)
        typical = model.typical()
        built = Built(model.graph(), tuple(typical[name] for name in model.input_names))
        counts = count_module(built.module, *built.inputs, name=id)
    except FieldsightError as error:
        raise DataError(f"Can't cost fieldsight:{id}: {error}") from error
    counts = dataclasses.replace(counts, unit="image" if "image" in model.input_names else "input")
    found = Network(id, f"default model of fieldsight's {id}", "system", counts, _format(counts), origin=built)
    return _plain(found, options)


def _format(counts: Counts) -> str:
    return "fp16" if counts.kv else "int8"


# ----------------------------------------------------------------------------------------- language models


def _language(shape: Decoder, title: str, source: str, options: EnergyConfig) -> Network:
    changed = change(shape, options)
    counts = count_decoder(changed, options.context, options.phase)
    if changed == shape and options.phase == "decode" and options.context in (None, shape.context):
        counts = dataclasses.replace(counts, paper=data.PAPER.get(shape.name) if source == "built-in" else None)
    return Network(shape.name, title, source, counts, "fp16", changed)


def change(shape: Decoder, options: EnergyConfig) -> Decoder:
    """A language model with grouped heads, a window or experts in place of its own.

    Raises:
        DataError: heads or widths that do not divide; experts that are not there.
    """
    changes: dict[str, Any] = {}
    if options.kv_heads is not None:
        changes["kv_heads"] = options.kv_heads
    if options.window is not None:
        changes |= {"window": options.window, "local": frozenset()}
    if options.experts is not None and shape.experts:
        raise DataError(
            f"'{shape.name}' has {shape.experts} experts already; leave out experts: active alone also does."
        )
    if options.experts is not None:
        if shape.ffn % options.experts:
            raise DataError(
                f"The MLPs of '{shape.name}', {shape.ffn} wide, don't divide into {options.experts} experts."
            )
        changes |= {"experts": options.experts, "expert_ffn": shape.ffn // options.experts}
    if options.active is not None:
        if not shape.experts and options.experts is None:
            raise DataError(f"'{shape.name}' has no experts; say with experts how many its MLPs are cut into.")
        changes["active"] = options.active
    return dataclasses.replace(shape, **changes)


def _plain(found: Network, options: EnergyConfig, context: bool = False) -> Network:
    """A network that is no language model in closed form, with a note about options that do not apply to it."""
    asked = {
        "context": options.context if not context else None,
        "phase": options.phase if options.phase != "decode" and not context else None,
        "kv_heads": options.kv_heads,
        "window": options.window,
        "experts": options.experts,
        "active": options.active,
        "prompt": options.prompt,
    }
    ignored = [name for name, value in asked.items() if value is not None]
    if not ignored:
        return found
    note = f"Not used, for it needs a language model in closed form: {', '.join(ignored)}."
    return dataclasses.replace(found, notes=(*found.notes, note))


# ------------------------------------------------------------------------------------------------- modules


def _module(module: nn.Module, name: str, options: EnergyConfig, inputs: Sequence[Any] = ()) -> Network:
    from fieldsight.profile.torch_counts import count_module

    positional: list[Any] = list(inputs)
    named: dict[str, Any] = {}
    if not inputs:
        positional, named = examples(name, options)
    taken = sorted(set(named) & {"name", "device", "kernels", "samples"})
    if taken:
        raise DataError(f"'{name}': no input can be named '{taken[0]}' here. Give the shapes in order, without names.")
    counts = count_module(module, *positional, name=name, **named)
    origin = Built(module, tuple(inputs))
    return _plain(Network(name, f"module {name}", "torch", counts, _format(counts), origin=origin), options)


def examples(name: str, options: EnergyConfig) -> tuple[list[Any], dict[str, Any]]:
    """Tensors without memory for the shapes asked for: positional ones and those with names.

    Raises:
        DataError: no shape, or one that can't be read.
    """
    from fieldsight.profile.torch_counts import example

    shapes = parse_shapes(options.shape)
    if not shapes:
        raise DataError(
            f"'{name}' needs the shape of its input: --shape 1,3,224,224, several times for several inputs, in Python "
            'shape="1,3,224,224" or example=tensor.'
        )
    positional = [example(s.dims, s.dtype) for s in shapes if s.name is None]
    return positional, {s.name: example(s.dims, s.dtype) for s in shapes if s.name is not None}


def build(path: str, meta: bool = True) -> nn.Module:
    """Import ``package.module:factory`` and build its module; modules beside the present folder are found.

    The factory is a module, a module class or a function without arguments. With ``meta`` it runs on the meta device
    first, where weights take no memory, and as it is where that fails.

    Raises:
        DataError: no such module or name, whatever the import or the factory raises, or something that is no module.
    """
    place, _, name = path.partition(":")
    with _present_folder():
        try:
            module = importlib.import_module(place)
        except (Exception, SystemExit) as error:
            raise DataError(
                f"Can't import '{place}' of '{path}': {_said(error)}. Start in the folder that holds it, or install it."
            ) from error
        found: Any = module
        for part in name.split("."):
            if not hasattr(found, part):
                hint = nearest(part, [n for n in dir(found) if not n.startswith("_")])
                raise DataError(f"'{place}' has no '{name}'.{hint} Give package.module:factory.")
            found = getattr(found, part)
        made = found if _is_module(found) else _call(found, path, meta)
    if not _is_module(made):
        raise DataError(f"'{path}' gives {type(made).__name__!r}, no torch.nn.Module. Name one, or what makes one.")
    return made


def _call(factory: Any, path: str, meta: bool) -> Any:
    import torch

    if not callable(factory):
        raise DataError(f"'{path}' is {type(factory).__name__!r}, neither a torch.nn.Module nor what makes one.")
    if meta:
        with contextlib.suppress(Exception, SystemExit), torch.device("meta"):
            return factory()
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise DataError(f"'{path}' can't be built: {_said(error)}. It must work without arguments.") from error


def _is_module(value: Any) -> bool:
    return callable(getattr(value, "named_modules", None)) and not isinstance(value, type)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}" if str(error).strip() else repr(error)


@contextlib.contextmanager
def _present_folder() -> Iterator[None]:
    """Let imports find modules in the present folder, as ``python -m`` does, and keep what they print off stdout."""
    added = str(Path.cwd())
    sys.path.insert(0, added)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(added)


# -------------------------------------------------------------------------------------------------- shapes


def parse_shapes(texts: Sequence[str]) -> list[Shape]:
    """Shapes out of texts: ``1,3,224,224``, ``input=1,3,224,224``, ``ids=1,128:int64``; several may follow each other.

    A text of one number goes on with the shape before it, so that a list cut at its commas is the same list.

    Raises:
        DataError: sizes that are no whole numbers >= 1.
    """
    parts: list[list[str]] = []
    for text in texts:
        for token in (t.strip() for t in text.split(";") if t.strip()):
            if parts and "=" not in token and "," not in token:
                parts[-1].append(token)
            else:
                parts.append([token])
    return [_shape(",".join(part)) for part in parts]


def _shape(text: str) -> Shape:
    name, equals, rest = text.rpartition("=")
    sizes, _, dtype = rest.partition(":")
    dims = [d.strip() for d in re.split(r"[,x]", sizes)]
    if (equals and not name.strip()) or not all(d.isdigit() and int(d) > 0 for d in dims):
        raise DataError(f"shape: '{text}' is none. Write sizes >= 1 like 1,3,224,224 or name=1,128:int64.")
    return Shape(name.strip() or None, tuple(int(d) for d in dims), dtype.strip() or "float32")


def _for_onnx(options: EnergyConfig) -> Mapping[str, Sequence[int]] | list[Sequence[int]]:
    shapes = parse_shapes(options.shape)
    named = {s.name: s.dims for s in shapes if s.name is not None}
    if named and len(named) != len(shapes):
        raise ConfigError("shape: give all inputs of an ONNX file by name, or all in order.")
    return named or [s.dims for s in shapes]
