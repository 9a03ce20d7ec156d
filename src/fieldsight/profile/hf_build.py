"""Any transformers architecture, built on the meta device from its config and counted by its forward.

A model of 175 billion parameters takes seconds and no memory to speak of. transformers is imported here and nowhere
else in this package.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from fieldsight.errors import DataError, unknown
from fieldsight.profile.counts import Counts, Layer
from fieldsight.profile.transformer import MOST_LAYERS, Phase


def count_built(
    values: Mapping[str, Any], kind: str, context: int | None, phase: Phase, name: str, where: str
) -> Counts:
    """Build the model of a config on the meta device and count it.

    Args:
        values: the parsed config.
        kind: its ``model_type``.
        context: tokens; by default the longest the config names, at most 2048.
        phase: ``decode`` counts one token against a full cache, ``prefill`` the whole prompt, dense.
        name: name in tables.
        where: the config in words, for messages.

    Raises:
        DataError: unknown ``model_type``; a config that transformers refuses; an input that no length describes.
    """
    model, config = build(values, kind, where)
    main = getattr(model, "main_input_name", "input_ids")
    if main == "pixel_values":
        return _count(model, {"pixel_values": _picture(config, where)}, name, "image")
    if main != "input_ids":
        raise DataError(
            f"{where}: a '{kind}' model takes '{main}', which no context length describes. Build it and use "
            "count_module with example inputs."
        )
    length = context or min(int(getattr(config, "max_position_embeddings", 0) or 2048), 2048)
    extra = {"decoder_input_ids": (1, 1)} if getattr(config, "is_encoder_decoder", False) else {}
    if phase == "prefill" or extra:
        counts = _count(model, _tokens(length, extra), name, f"prompt of {length} tokens")
    else:
        counts = _decoded(model, length, name)
    return _cached(counts, values, length)


def build(values: Mapping[str, Any], kind: str, where: str = "the config") -> tuple[Any, Any]:
    """The module on the meta device, and its config object.

    Raises:
        DataError: as :func:`count_built`.
    """
    with _quiet():
        import torch
        import transformers
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        if kind not in CONFIG_MAPPING:
            known = sorted(CONFIG_MAPPING.keys())
            words = unknown("model_type", kind, known).split(" Allowed:")[0]
            raise DataError(f"{where}: {words} The installed transformers knows {len(known)} of them.")
        plain = {k: v for k, v in _harmless(values, where).items() if k != "model_type"}
        try:
            config = CONFIG_MAPPING[kind](**plain)
            with torch.device("meta"):
                return _class(transformers, values, config)(config).eval(), config
        except DataError:
            raise
        except Exception as error:
            reason = str(error).strip().split("\n")[0][:300]
            raise DataError(
                f"{where}: transformers can't build a '{kind}' from it: {type(error).__name__}: {reason}. Check the "
                "sizes."
            ) from error


def _harmless(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config without what could load code or weights from elsewhere, or build without end."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if key in _LEFT_OUT or "implementation" in key or "kernel" in key.split("_"):
            continue
        deep = "layer" in key or "depth" in key
        if deep and isinstance(value, int) and value > MOST_LAYERS:
            raise DataError(f"{where}: '{key}' is {value:,}; at most {MOST_LAYERS:,} are built.")
        kept[key] = _harmless(value, where) if isinstance(value, Mapping) else value
    return kept


_LEFT_OUT = frozenset(
    {"torch_dtype", "dtype", "quantization_config", "auto_map", "trust_remote_code", "name_or_path", "_name_or_path"}
)


def _class(transformers: Any, values: Mapping[str, Any], config: Any) -> Any:
    """The class that the config names, or the plainest one for it: never code from elsewhere."""
    for named in values.get("architectures") or ():
        found = getattr(transformers, str(named), None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    for auto in (transformers.AutoModelForCausalLM, transformers.AutoModel):
        if type(config) in auto._model_mapping:
            found = auto._model_mapping[type(config)]
            return found[0] if isinstance(found, (tuple, list)) else found
    raise DataError(f"transformers has no model for a '{config.model_type}' config.")


def _tokens(length: int, extra: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    from fieldsight.profile.torch_counts import example

    return {"input_ids": example((1, length), "int64"), **{k: example(s, "int64") for k, s in extra.items()}}


def _picture(config: Any, where: str) -> Any:
    from fieldsight.profile.torch_counts import example

    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    size = size if isinstance(size, (list, tuple)) else (size or 224, size or 224)
    if len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in (*size, channels)):
        raise DataError(f"{where}: image_size {size} with {channels} channels makes no picture.")
    return example((1, channels, *size))


def _count(model: Any, inputs: Mapping[str, Any], name: str, unit: str) -> Counts:
    from fieldsight.profile.torch_counts import count_module

    with _quiet():
        counts = count_module(model, name=name, **inputs)
    return dataclasses.replace(counts, unit=unit, source="config")


def _decoded(model: Any, length: int, name: str) -> Counts:
    """One token against ``length`` keys, from prompts of 1, 2 and 3 tokens.

    A layer's dense MACs for a prompt of T tokens are a T + b T^2, with b its attention: a decoded token then costs
    a + b C. The third prompt proves the form.

    Raises:
        DataError: some layer is of another form (chunks, scans, a window cut into the forward).
    """
    runs = [_count(model, _tokens(t, {}), name, "token") for t in (1, 2, 3)]
    rows = [{(x.name, x.kind): x for x in run.layers} for run in runs]
    layers = []
    for key, first in rows[0].items():
        macs = [row[key].macs if key in row else -1 for row in rows]
        b, rest = divmod(macs[1] - 2 * macs[0], 2)
        a = macs[0] - b
        if rest or macs[2] != 3 * a + 9 * b or rows[0].keys() != rows[2].keys():
            raise DataError(
                f"The layer '{key[0]}' of '{name}' does not grow like attention with the prompt, so a decoded token "
                "can't be told from a prompt. Use the phase 'prefill'."
            )
        layers.append(dataclasses.replace(first, macs=a + b * length))
    return dataclasses.replace(runs[0], layers=tuple(layers))


def _cached(counts: Counts, values: Mapping[str, Any], length: int) -> Counts:
    from fieldsight.profile.hf_config import kv_per_token

    each = kv_per_token(values)
    if not each:
        return counts
    note = "The KV volume is from the config's head counts, full context in every layer."
    row = Layer("kv_cache", "kv_cache", kv=each * length, calls=0)
    return dataclasses.replace(counts, layers=(*counts.layers, row), notes=(*counts.notes, note))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers talks while it builds; nothing of it concerns shapes."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
