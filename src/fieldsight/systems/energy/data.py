"""The models one can name: networks from published tables, language models from their sizes, CSV files of layers."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fieldsight.errors import ConfigError, DataError, nearest, unknown
from fieldsight.profile.counts import Counts, Layer, PaperNumbers
from fieldsight.profile.transformer import Decoder, Phase, count_decoder, gpt
from fieldsight.systems.energy import tables

_VGG16 = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"
_VGG19 = "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M"

#: What the paper charges per sample: rounded parameters, half of its rounded FLOPs, its KV values and the two
#: activation energies that its Table 2 implies (10.8195 µJ an image, 251.1 µJ a token).
PAPER: dict[str, PaperNumbers] = {
    "resnet18": PaperNumbers(11.7e6, 1.8e9 / 2, act_joules=10.8195e-6),
    "llama-7b": PaperNumbers(6.66e9, 13.2e9 / 2, 1.000e9, 251.1e-6),
    "gpt3-small": PaperNumbers(125e6, 265e6 / 2, 37_748_736 * 1e9 / 2**29),
    "gpt3-175b": PaperNumbers(175e9, 334e9 / 2, 4_831_838_208 * 1e9 / 2**29),
}

#: The language models by name: three shapes of the paper's Table 1, and LLaMA 7B as released.
DECODERS: dict[str, Decoder] = {
    "gpt3-small": gpt("gpt3-small", 50257, 2048, 768, 12, 12),
    "llama-7b": gpt("llama-7b", 50257, 2048, 4096, 32, 32),
    "gpt3-175b": gpt("gpt3-175b", 50257, 2048, 12288, 96, 96),
    "llama-7b-real": Decoder(
        "llama-7b-real", 32000, 2048, 4096, 32, 32, 32, 128, 11008, gated=True, qkv_bias=False, out_bias=False,
        mlp_bias=False, norm=4096, tied=False,
    ),
}  # fmt: skip

_CNNS: dict[str, Callable[[], Counts]] = {
    "resnet18": lambda: tables.resnet("resnet18", (2, 2, 2, 2), bottleneck=False, paper=PAPER["resnet18"]),
    "resnet50": lambda: tables.resnet("resnet50", (3, 4, 6, 3), bottleneck=True),
    "vgg16": lambda: tables.vgg("vgg16", _VGG16),
    "vgg19": lambda: tables.vgg("vgg19", _VGG19),
    "mobilenetv2": tables.mobilenet_v2,
}


@dataclass(frozen=True)
class BuiltIn:
    """A model one can name.

    Attributes:
        id: its name.
        title: for people, with its source.
        precision: number format that the paper, or practice, uses for it.
    """

    id: str
    title: str
    precision: str


#: All of them, in the order in which people meet them.
MODELS: tuple[BuiltIn, ...] = (
    BuiltIn("resnet18", "ResNet-18 at 224 x 224 (He et al. 2016)", "int8"),
    BuiltIn("resnet50", "ResNet-50 at 224 x 224 (He et al. 2016)", "int8"),
    BuiltIn("vgg16", "VGG-16 at 224 x 224 (Simonyan and Zisserman 2015)", "int8"),
    BuiltIn("vgg19", "VGG-19 at 224 x 224 (Simonyan and Zisserman 2015)", "int8"),
    BuiltIn("mobilenetv2", "MobileNetV2 at 224 x 224 (Sandler et al. 2018)", "int8"),
    BuiltIn("gpt3-small", "GPT-3 small, the paper's Table 1", "fp16"),
    BuiltIn("llama-7b", "Llama-7B as the paper's Table 1 has it (GPT vocabulary, plain MLP)", "fp16"),
    BuiltIn("llama-7b-real", "LLaMA 7B as released (Touvron et al. 2023)", "fp16"),
    BuiltIn("gpt3-175b", "GPT-3 175B, the paper's Table 1", "fp16"),
)


def names() -> tuple[str, ...]:
    """Ids of the built-in models."""
    return tuple(model.id for model in MODELS)


def built_in(name: str) -> BuiltIn:
    """A built-in model's entry.

    Raises:
        ConfigError: unknown name, with the nearest.
    """
    for model in MODELS:
        if model.id == name:
            return model
    raise ConfigError(unknown("model", name, names()))


@functools.cache
def model(name: str, context: int | None = None, phase: Phase = "decode") -> Counts:
    """Counts of a built-in model; at full context with the paper's own numbers where it has them.

    Args:
        name: a built-in id.
        context, phase: of a language model; by default one token at the longest context.

    Raises:
        ConfigError: unknown name; a context for a network without one.
    """
    built_in(name)
    if name not in DECODERS:
        if context is not None or phase != "decode":
            raise ConfigError(f"'{name}' has no context: only {', '.join(DECODERS)} take one.")
        return _CNNS[name]()
    shape = DECODERS[name]
    counts = count_decoder(shape, context, phase)
    full = phase == "decode" and context in (None, shape.context)
    return dataclasses.replace(counts, paper=PAPER.get(name)) if full else counts


# ------------------------------------------------------------------------------------------------- CSV

_NUMBERS = ("weights", "biases", "macs", "inputs", "outputs", "kv", "calls")
_COLUMNS = ("name", "kind", *_NUMBERS, "share")
_MOST_ROWS = 1_000_000
_MOST_BYTES = 200_000_000


def read_layers(file: str | Path) -> Counts:
    """Read a table of layers: a header with ``name``, ``weights``, ``macs``, and any of kind, biases, inputs, outputs,
    kv, calls, share; comma, semicolon or tab between.

    Raises:
        DataError: no such file, no header, unknown or missing columns, and every bad cell with its line (the first
            ten).
    """
    path = Path(file)
    rows = read_table(path, _COLUMNS, ("name", "weights", "macs"))
    problems: list[str] = []
    layers = []
    for line, row in rows:
        values = {k: _whole(row[k], k, line, problems) for k in _NUMBERS if row.get(k)}
        share = number(row.get("share") or "1", "share", line, problems)
        if not 0 < share <= 1:
            problems.append(f"line {line}: share must lie above 0 and up to 1, got {row['share']!r}")
        kind = row.get("kind") or "layer"
        layers.append(Layer(row["name"] or f"row{line}", kind, **values, share=share))
    refuse(path, problems)
    return Counts(path.stem, "csv", tuple(layers))


def read_table(path: Path, allowed: Iterable[str], needed: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a small table with their line numbers; cells stripped.

    Raises:
        DataError: as :func:`read_layers`, for the header and the shape of rows.
    """
    allowed = tuple(allowed)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"'{path}' has more than {_MOST_BYTES // 10**6} MB: that is no table of layers.")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is no text file: {error.reason} at byte {error.start}. Save it as CSV.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"Can't read '{path}': {getattr(error, 'strerror', None) or error}. Give a CSV file.") from None
    first = text.lstrip().split("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        found = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"'{path}' is no CSV: {error}. Quote cells that hold {delimiter!r}.") from None
    numbered = [(i, [c.strip() for c in row]) for i, row in enumerate(found, start=1) if any(c.strip() for c in row)]
    if not numbered:
        raise DataError(f"'{path}' is empty. Its first line must name the columns: {', '.join(needed)}, ...")
    header = [c.lower() for c in numbered[0][1]]
    strange = [c for c in header if c not in allowed]
    hints = [nearest(c, allowed) for c in strange[:4]]
    problems = [f"unknown column '{c}'{'.' + h if h else ''}" for c, h in zip(strange, hints, strict=False)]
    problems += [f"{len(strange)} unknown columns in all"] if len(strange) > 4 else []
    problems += [f"allowed are {', '.join(allowed)}"] if strange else []
    problems += [f"the column '{c}' is missing" for c in needed if c not in header]
    problems += [f"the column '{c}' is there twice" for c in sorted(set(header)) if header.count(c) > 1]
    if len(numbered) > _MOST_ROWS:
        problems.append(f"more than {_MOST_ROWS:,} rows")
    rows = []
    for line, row in numbered[1:]:
        if len(row) != len(header):
            problems.append(f"line {line}: {len(row)} cells under {len(header)} columns")
        rows.append((line, dict(zip(header, row, strict=False))))
    refuse(path, problems)
    if not rows:
        raise DataError(f"'{path}' has a header and no rows.")
    return rows


def refuse(path: Path, problems: list[str]) -> None:
    """Raise what was found in a file, the first ten and how many more."""
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError(f"'{path}': {'; '.join(problems[:10])}{more}.")


def number(text: str, column: str, line: int, problems: list[str]) -> float:
    """A cell as a finite number; a problem and 1 where it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        problems.append(f"line {line}: {column} must be a number, got {text!r}")
        return 1.0
    return value


def _whole(text: str, column: str, line: int, problems: list[str]) -> int:
    value = number(text, column, line, problems)
    if value < 0 or value != int(value):
        problems.append(f"line {line}: {column} must be a whole number >= 0, got {text!r}")
        return 0
    return int(text) if text.lstrip("+").isdigit() else int(value)


# ------------------------------------------------------------------------------------- generated models


def generated() -> Mapping[str, Counts]:
    """The small generated models with counts in closed form: CNNs, MLPs and decoders (one token at full context)."""
    made = [tables.cnn(w, d) for w in (8, 16, 32, 64) for d in (3, 5)]
    made += [tables.mlp(w, d) for w in (64, 256, 1024) for d in (2, 4)]
    made += [count_decoder(toy_decoder(d, layers, c)) for d, layers, c in ((64, 2, 128), (128, 2, 256), (256, 4, 512))]
    return {counts.name: counts for counts in made}


def toy_decoder(d: int, layers: int = 2, context: int = 128, vocab: int = 512) -> Decoder:
    """The small generated language model; the same network is :class:`fieldsight.systems.energy.toys.ToyLM`."""
    return gpt(f"lm-{d}x{layers}", vocab, context, d, layers, max(d // 32, 1))
