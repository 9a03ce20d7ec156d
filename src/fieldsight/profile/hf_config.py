"""Counts from a Hugging Face ``config.json``: closed form for the known decoder families, a meta build for the rest.

No weights, no network, no code from a repository: a config that names its own code is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fieldsight.errors import DataError, FieldsightError, unknown
from fieldsight.profile.counts import Counts
from fieldsight.profile.transformer import MOST_LAYERS, Decoder, Phase, count_decoder

_MAX_BYTES = 10_000_000


def count_hf_config(
    config: str | Path | Mapping[str, Any],
    context: int | None = None,
    phase: Phase = "decode",
    *,
    closed_form: bool = True,
    name: str = "",
) -> Counts:
    """Count the model that a ``config.json`` describes.

    Args:
        config: the file, its folder, or the parsed dictionary; a row of the paper's Table 1 (n_word, n_context,
            d_model, n_layer, n_head) also does.
        context: as in :func:`~fieldsight.profile.transformer.count_decoder`; for models without a language model's
            input it is not used.
        phase: ``decode`` or ``prefill``.
        closed_form: False builds the model on the meta device even for the families known in closed form.
        name: name in tables, by default the model type.

    Raises:
        DataError: no JSON object; no or an unknown ``model_type``; sizes that are missing, of the wrong type or out
            of range (all of them named); a config that needs code from its repository.
    """
    values, kind, where, note = _opened(config)
    if closed_form and _maker(values) is not None:
        counts = count_decoder(decoder_from_config(values, name or kind, where), context, phase)
    else:
        from fieldsight.profile.hf_build import count_built

        counts = count_built(values, kind, context, phase, name or kind, where)
    return counts if not note else _noted(counts, note)


def hf_decoder(config: str | Path | Mapping[str, Any], name: str = "") -> tuple[Decoder | None, str]:
    """The closed-form shape of a config and a remark about what was left out; None for families without one.

    Raises:
        DataError: as :func:`count_hf_config`.
    """
    values, kind, where, note = _opened(config)
    return (None if _maker(values) is None else decoder_from_config(values, name or kind, where)), note


def _opened(config: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str, str, str]:
    """The values to count, their model type, the config in words, and a remark."""
    values, where = _read(config)
    kind = values.get("model_type")
    inner = values.get("text_config")
    note = ""
    if isinstance(inner, Mapping) and inner.get("model_type") in FAMILIES and kind not in FAMILIES:
        note = f"Only the language model ({inner['model_type']}) of this {kind} config is counted."
        values, kind = dict(inner), inner["model_type"]
    if kind is None and "n_word" in values:
        return values, "decoder", where, note
    if not isinstance(kind, str) or not kind:
        raise DataError(f"{where} has no 'model_type'. Give the config.json of a transformers model.")
    if "auto_map" in values:
        raise DataError(
            f"{where} needs code from its repository (auto_map), which is never run here. Build the module yourself "
            "and use count_module."
        )
    return values, kind, where, note


def _maker(values: Mapping[str, Any]) -> Callable[[_Values, str], dict[str, Any]] | None:
    kind = values.get("model_type")
    if kind is None and "n_word" in values:
        return _table1
    return FAMILIES.get(kind) if isinstance(kind, str) else None


def _noted(counts: Counts, note: str) -> Counts:
    return dataclasses.replace(counts, notes=(*counts.notes, note))


def decoder_from_config(values: Mapping[str, Any], name: str = "", where: str = "the config") -> Decoder:
    """The closed-form shape of a config of a known family.

    Raises:
        DataError: as :func:`count_hf_config`; also for a family without a closed form.
    """
    kind, maker = values.get("model_type"), _maker(values)
    if maker is None:
        raise DataError(f"{where}: {unknown('model_type', str(kind), FAMILIES)}")
    reader = _Values(values, where)
    layers = _Values(values, where).size("num_hidden_layers", "n_layer")
    if layers > MOST_LAYERS:
        raise DataError(f"{where} can't be read as a model: {layers:,} layers are more than {MOST_LAYERS:,}.")
    made = maker(reader, name or str(kind or "decoder"))
    reader.done()
    try:
        return Decoder(**made)
    except DataError as error:
        raise DataError(f"{where} can't be read as a model. {error}") from None


class _Values:
    """Reads sizes from a config and collects every problem before one is raised."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where
        self.problems: list[str] = []

    def size(self, *keys: str, default: int | None = None, least: int = 1) -> int:
        """The first of some keys that is there, as a whole number."""
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least or value > 2**40:
                self.problems.append(f"'{key}' must be a whole number >= {least}, got {value!r}")
                return max(least, 1)
            return value
        if default is None:
            self.problems.append(f"'{keys[0]}' is missing")
            return 1
        return default

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problems.append(f"'{key}' must be true or false, got {value!r}")
        return bool(value)

    def list(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.problems.append(f"'{key}' must be a list, got {value!r}")
            return []
        return value

    def done(self) -> None:
        if self.problems:
            raise DataError(f"{self.where} can't be read as a model: {'; '.join(self.problems)}.")


def _read(config: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    if isinstance(config, Mapping):
        return dict(config), "The config"
    path = Path(config)
    try:
        if path.is_dir():
            path = path / "config.json"
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"'{path}' has more than {_MAX_BYTES // 10**6} MB: that is no config.json.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FieldsightError:
        raise
    except OSError as error:
        raise DataError(f"Can't read '{path}': {error.strerror or error}. Give a config.json.") from None
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise DataError(f"'{path}' is not valid JSON: {error}. Download it again.") from None
    if not isinstance(values, dict):
        raise DataError(f"'{path}' holds {type(values).__name__}, not a JSON object. Give a config.json.")
    return values, f"'{path}'"


# --------------------------------------------------------------------------------------------- families


def _common(v: _Values, name: str, **defaults: Any) -> dict[str, Any]:
    """What nearly every family has under the same names."""
    d = v.size("hidden_size", "n_embd", "d_model")
    heads = v.size("num_attention_heads", "n_head")
    grouped = defaults.get("grouped", True)  # the older families ignore the key
    kv = v.size("num_key_value_heads", default=defaults.get("kv_heads") or heads) if grouped else heads
    head_dim = v.size("head_dim", default=defaults.get("head_dim") or max(d // heads, 1))
    if not v.problems and not v.values.get("head_dim") and not defaults.get("head_dim") and d % heads:
        v.problems.append(f"hidden_size {d} is not a multiple of num_attention_heads {heads}")
    return {
        "name": name,
        "vocab": v.size("vocab_size"),
        "context": v.size(
            "max_position_embeddings", "n_positions", "seq_length", default=defaults.get("context", 2048)
        ),
        "d": d,
        "layers": v.size("num_hidden_layers", "n_layer"),
        "heads": heads,
        "kv_heads": kv,
        "head_dim": head_dim,
        "tied": v.flag("tie_word_embeddings", bool(defaults.get("tied", False))),
    }


def _llama(
    v: _Values,
    name: str,
    *,
    qkv_bias: bool = False,
    bias_key: str = "attention_bias",
    norms: int = 2,
    qk_norm: bool = False,
    **defaults: Any,
) -> dict[str, Any]:
    """RMS norms, rotary positions, gated MLP, grouped heads."""
    made = _common(v, name, **defaults)
    bias = v.flag(bias_key, False) if bias_key else False
    window, local = _window(v, made["layers"])
    return {
        **made,
        "ffn": v.size("intermediate_size"),
        "gated": True,
        "qkv_bias": qkv_bias or bias,
        "out_bias": bias,
        "mlp_bias": v.flag("mlp_bias", False) if bias_key else False,
        "norm": made["d"],
        "norms": norms,
        "qk_norm": 2 * made["head_dim"] if qk_norm else 0,
        "window": window,
        "local": local,
    }


def _window(v: _Values, layers: int) -> tuple[int, frozenset[int]]:
    """The sliding window and the blocks that have it; no block means all."""
    window = v.size("sliding_window", default=0)
    if not window or not v.flag("use_sliding_window", True):
        return 0, frozenset()
    types = v.list("layer_types")
    if types:
        local = frozenset(i for i, kind in enumerate(types[:layers]) if "sliding" in str(kind))
        return (window, local) if local else (0, local)
    return window, frozenset()


def _qwen(v: _Values, name: str, **options: Any) -> dict[str, Any]:
    """A window only where ``use_sliding_window`` says so, and then from block ``max_window_layers`` on."""
    made = _llama(v, name, **options)
    if not v.flag("use_sliding_window", False):
        return {**made, "window": 0, "local": frozenset()}
    if made["window"] and not v.list("layer_types"):
        first = v.size("max_window_layers", default=28, least=0)
        return _some(made, range(first, made["layers"]))
    return made


def _some(made: dict[str, Any], blocks: Iterable[int]) -> dict[str, Any]:
    """The window in these blocks only; none when there are none."""
    local = frozenset(blocks)
    return {**made, "local": local, "window": made["window"] if local else 0}


def _gemma2(v: _Values, name: str, **options: Any) -> dict[str, Any]:
    made = _llama(v, name, norms=4, tied=True, **options)
    made["mlp_bias"] = False
    if "sliding_window" not in v.values:
        made["window"] = 4096
    if made["window"] and not v.list("layer_types"):
        every = v.size("sliding_window_pattern", "_sliding_window_pattern", default=6 if options.get("qk_norm") else 2)
        return _some(made, (i for i in range(made["layers"]) if (i + 1) % every))
    return made


def _mixtral(v: _Values, name: str) -> dict[str, Any]:
    made = _llama(v, name, bias_key="", kv_heads=8)
    experts = {"experts": v.size("num_local_experts", default=8), "active": v.size("num_experts_per_tok", default=2)}
    return {**made, **experts, "expert_ffn": made["ffn"]}


def _qwen_moe(v: _Values, name: str, shared: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"qkv_bias": True, "bias_key": "", "kv_heads": 16} if shared else {
        "qk_norm": True, "kv_heads": 4
    }  # fmt: skip
    made = _llama(v, name, **options)
    if not v.flag("use_sliding_window", False):
        made["window"] = 0
    made["mlp_bias"] = False
    if made["window"] and not v.list("layer_types"):  # these two have rules of their own
        first = v.size("max_window_layers", default=28, least=0)
        made = _some(made, range(0, min(first, made["layers"]), 2)) if shared else {**made, "local": frozenset()}
    step = v.size("decoder_sparse_step", default=1)
    plain = {i for i in v.list("mlp_only_layers") if isinstance(i, int)}
    layers = range(made["layers"])
    return {
        **made,
        "experts": v.size("num_experts", default=60 if shared else 128),
        "active": v.size("num_experts_per_tok", default=4 if shared else 8),
        "expert_ffn": v.size("moe_intermediate_size", default=1408 if shared else 768),
        "shared_ffn": v.size("shared_expert_intermediate_size", default=5632) if shared else 0,
        "dense": frozenset(i for i in layers if i in plain or (i + 1) % step),
    }


def _phi(v: _Values, name: str) -> dict[str, Any]:
    made = _common(v, name)
    return {
        **made,
        "ffn": v.size("intermediate_size"),
        "head_bias": True,
        "norm": 2 * made["d"],
        "norms": 1,
        "qk_norm": 4 * made["head_dim"] if v.flag("qk_layernorm", False) else 0,
    }


def _gpt2(v: _Values, name: str) -> dict[str, Any]:
    made = _common(v, name, tied=True, context=1024, grouped=False)
    return {
        **made,
        "ffn": v.size("n_inner", "intermediate_size", default=4 * made["d"]),
        "norm": 2 * made["d"],
        "positions": made["context"],
    }


def _gpt_neox(v: _Values, name: str) -> dict[str, Any]:
    made = _common(v, name, grouped=False)
    bias = v.flag("attention_bias", True)
    ffn = v.size("intermediate_size", default=4 * made["d"])
    return {**made, "ffn": ffn, "norm": 2 * made["d"], "qkv_bias": bias, "out_bias": bias}


def _opt(v: _Values, name: str) -> dict[str, Any]:
    made = _common(v, name, tied=True, grouped=False)
    bias, width = v.flag("enable_bias", True), v.size("word_embed_proj_dim", default=made["d"])
    norm = 2 * made["d"] if v.flag("layer_norm_elementwise_affine", True) else 0
    last = v.flag("do_layer_norm_before", True) and not v.flag("_remove_final_layer_norm", False)
    return {
        **made,
        "ffn": v.size("ffn_dim", default=4 * made["d"]),
        "qkv_bias": bias,
        "out_bias": bias,
        "mlp_bias": bias,
        "norm": norm,
        "final_norm": last,
        "positions": made["context"] + 2,
        "embed": width if width != made["d"] else 0,
    }


def _falcon(v: _Values, name: str) -> dict[str, Any]:
    made = _common(v, name, tied=True, grouped=False)
    new = v.flag("new_decoder_architecture", False)
    parallel = v.flag("parallel_attn", True)
    bias = v.flag("bias", False)
    if new:
        made["kv_heads"] = v.size("num_kv_heads", default=made["heads"])
    else:
        made["kv_heads"] = 1 if v.flag("multi_query", True) else made["heads"]
    twice = v.size("num_ln_in_parallel_attn", default=2) == 2 if new else not parallel
    return {
        **made,
        "ffn": v.size("ffn_hidden_size", default=4 * made["d"]),
        "qkv_bias": bias,
        "out_bias": bias,
        "mlp_bias": bias,
        "norm": 2 * made["d"],
        "norms": 2 if twice else 1,
    }


def _table1(v: _Values, name: str) -> dict[str, Any]:
    """A row of the paper's Table 1: n_word, n_context, d_model, n_layer, n_head; d_head, n_kv_head, d_ff if need be."""
    d, heads = v.size("d_model"), v.size("n_head")
    head_dim = v.size("d_head", default=max(d // heads, 1))
    if not v.problems and not v.values.get("d_head") and d % heads:
        v.problems.append(f"d_model {d} is not a multiple of n_head {heads}")
    context = v.size("n_context")
    return {
        "name": name,
        "vocab": v.size("n_word"),
        "context": context,
        "d": d,
        "layers": v.size("n_layer"),
        "heads": heads,
        "kv_heads": v.size("n_kv_head", default=heads),
        "head_dim": head_dim,
        "ffn": v.size("d_ff", default=4 * d),
        "norm": 2 * d,
        "positions": context,
    }


def _bloom(v: _Values, name: str) -> dict[str, Any]:
    made = _common(v, name, tied=True, grouped=False)
    return {**made, "ffn": 4 * made["d"], "norm": 2 * made["d"], "embed_norm": True}


#: Families with a closed form, by ``model_type``.
FAMILIES: dict[str, Callable[[_Values, str], dict[str, Any]]] = {
    "llama": lambda v, n: _llama(v, n),
    "mistral": lambda v, n: _llama(v, n, bias_key="", kv_heads=8),
    "qwen2": lambda v, n: _qwen(v, n, qkv_bias=True, bias_key="", kv_heads=32),
    "qwen3": lambda v, n: {**_qwen(v, n, qk_norm=True, kv_heads=32, head_dim=128), "mlp_bias": False},
    "gemma": lambda v, n: {**_llama(v, n, tied=True, kv_heads=16, head_dim=256), "mlp_bias": False},
    "gemma2": lambda v, n: _gemma2(v, n, kv_heads=4, head_dim=256),
    "gemma3_text": lambda v, n: _gemma2(v, n, qk_norm=True, kv_heads=4, head_dim=256),
    "phi3": lambda v, n: _llama(v, n, bias_key=""),
    "phi": _phi,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "opt": _opt,
    "falcon": _falcon,
    "bloom": _bloom,
    "mixtral": _mixtral,
    "qwen2_moe": lambda v, n: _qwen_moe(v, n, shared=True),
    "qwen3_moe": lambda v, n: _qwen_moe(v, n, shared=False),
}


def kv_per_token(values: Mapping[str, Any]) -> int:
    """KV elements that one token adds to the cache, from a config's own keys; 0 where they do not say.

    Multi-head latent attention keeps its compressed vector and the rotary part of the key.
    """
    v = _Values(values, "the config")
    layers, heads = (
        v.size("num_hidden_layers", "n_layer", default=0),
        v.size("num_attention_heads", "n_head", default=0),
    )
    if not layers or not heads:
        return 0
    if values.get("kv_lora_rank"):
        return layers * (v.size("kv_lora_rank") + v.size("qk_rope_head_dim", default=0, least=0))
    width = v.size("hidden_size", "n_embd", "d_model", default=0)
    head_dim = v.size("head_dim", default=width // heads or 1)
    return 0 if v.problems else 2 * layers * v.size("num_key_value_heads", default=heads) * head_dim
