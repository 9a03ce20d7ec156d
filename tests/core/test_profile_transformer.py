"""Decoder language models in closed form, held against transformers' own modules on the meta device."""

from __future__ import annotations

import inspect
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import DataError, FieldsightError
from fieldsight.profile import Counts, count_decoder, count_hf_config, decoder_from_config, gpt
from fieldsight.profile.hf_config import FAMILIES
from fieldsight.profile.transformer import Decoder, decode_macs_kv

TABLE_1 = {
    "gpt3-small": gpt("gpt3-small", 50257, 2048, 768, 12, 12),
    "llama-7b": gpt("llama-7b", 50257, 2048, 4096, 32, 32),
    "gpt3-175b": gpt("gpt3-175b", 50257, 2048, 12288, 96, 96),
}
LLAMA_7B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "intermediate_size": 11008, "vocab_size": 32000, "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "params", "flops", "kv", "ratio"),
    [
        ("gpt3-small", 125_226_240, 245_366_784, 37_748_736, 1.9594),
        ("llama-7b", 6_658_404_352, 13_958_643_712, 536_870_912, 2.0964),
        ("gpt3-175b", 174_604_259_328, 357_556_027_392, 4_831_838_208, 2.0478),
    ],
)
def test_table_1_shapes_follow_r10_to_r12(name: str, params: int, flops: int, kv: int, ratio: float) -> None:
    model = TABLE_1[name]
    L, d, V, C = model.layers, model.d, model.vocab, model.context
    counts = count_decoder(model)
    assert counts.params == params == 12 * L * d * d + 13 * L * d + 2 * d + (V + C) * d
    assert counts.flops - 2 * V * d == flops == 24 * L * d * d + 4 * L * C * d
    assert counts.kv == kv == 2 * L * C * d
    assert round(flops / params, 4) == ratio
    assert counts.unit == "token"


def test_the_real_llama_7b() -> None:
    counts = count_hf_config(LLAMA_7B)
    assert counts.params == 6_738_415_616
    assert counts.macs == 7_143_948_288  # 7.144 GMAC
    assert counts.kv * 2 == 2**30  # bytes in FP16


def test_doubling_the_context_doubles_kv_and_adds_4lcd() -> None:
    model = decoder_from_config({**LLAMA_7B, "max_position_embeddings": 4096})
    short, long = count_decoder(model, 2048), count_decoder(model, 4096)
    assert long.kv == 2 * short.kv
    assert long.flops - short.flops == 4 * 32 * 2048 * 4096
    grouped = count_hf_config({**LLAMA_7B, "num_key_value_heads": 8})
    assert 4 * grouped.kv == short.kv
    assert grouped.params < short.params


def test_a_prompt_shares_the_weights_and_the_mask_saves_half() -> None:
    model = TABLE_1["gpt3-small"]
    prompt = count_decoder(model, 512, "prefill")
    one = count_decoder(model, 1)
    linear = one.macs - sum(x.macs for x in one.layers if x.kind == "attention")
    assert prompt.params == one.params
    assert prompt.macs == 512 * linear + 2 * 512 * 512 * 12 * 768
    causal = count_decoder(model, 512, "prefill", attention="causal")
    assert prompt.macs - causal.macs == 2 * (512 * 512 - 512 * 513 // 2) * 12 * 768
    last = count_decoder(model, 512, "prefill", logits="last")
    assert prompt.macs - last.macs == 511 * 50257 * 768
    assert prompt.kv == 2 * 512 * 12 * 768
    assert prompt.unit == "prompt of 512 tokens"


def test_windows_limit_what_a_token_sees() -> None:
    model = decoder_from_config({**LLAMA_7B, "model_type": "mistral", "sliding_window": 100})
    assert count_decoder(model, 2048).kv == count_decoder(model, 100).kv
    causal = count_decoder(model, 300, "prefill", attention="causal")
    pairs = sum(min(i, 100) for i in range(1, 301))
    assert sum(x.macs for x in causal.layers if x.kind == "attention") == 2 * pairs * 32 * 4096
    some = decoder_from_config(
        {**LLAMA_7B, "model_type": "qwen2", "sliding_window": 100, "use_sliding_window": True, "max_window_layers": 30}
    )
    assert count_decoder(some, 2048).kv == 2 * 4096 * (30 * 2048 + 2 * 100)


def test_many_contexts_at_once_equal_one_by_one() -> None:
    for config in (LLAMA_7B, {**LLAMA_7B, "model_type": "gemma2", "sliding_window": 70, "head_dim": 16}):
        model = decoder_from_config(config)
        contexts = np.array([[1, 69, 70], [71, 500, 2048]])
        macs, kv = decode_macs_kv(model, contexts)
        one = [count_decoder(model, int(c)) for c in contexts.ravel()]
        assert macs.ravel().tolist() == [c.macs for c in one]
        assert kv.ravel().tolist() == [c.kv for c in one]


def test_experts_are_stored_whole_and_used_in_part() -> None:
    counts = count_hf_config(
        {**LLAMA_7B, "model_type": "mixtral", "num_key_value_heads": 8, "intermediate_size": 14336,
         "num_local_experts": 8, "num_experts_per_tok": 2}
    )  # fmt: skip
    assert counts.params == 46_702_792_704  # Mixtral 8x7B
    assert counts.active_params == 12_879_925_248


# ------------------------------------------------------------------- held against transformers


def random_config(kind: str, rng: random.Random) -> dict[str, Any]:
    """A tiny config of a family with its own switches drawn at random."""

    def coin() -> bool:
        return rng.random() < 0.5

    groups, dim = rng.choice([1, 2]), rng.choice([8, 16])
    heads = groups * rng.choice([1, 2])
    c: dict[str, Any] = {
        "model_type": kind, "vocab_size": rng.randint(30, 60), "hidden_size": heads * dim,
        "num_hidden_layers": rng.randint(2, 3), "num_attention_heads": heads, "num_key_value_heads": groups,
        "intermediate_size": rng.randint(5, 20), "max_position_embeddings": 64, "tie_word_embeddings": coin(),
        "pad_token_id": None,
    }  # fmt: skip
    only = {
        "llama": {"attention_bias": coin(), "mlp_bias": coin(), "head_dim": 12},
        "mistral": {"sliding_window": rng.choice([None, 3])},
        "qwen2": {"use_sliding_window": coin(), "sliding_window": 3, "max_window_layers": 1},
        "qwen3": {"attention_bias": coin(), "head_dim": 12},
        "gemma": {"head_dim": 12, "attention_bias": coin()},
        "gemma2": {"head_dim": 12, "sliding_window": 3},
        "gemma3_text": {"head_dim": 8, "sliding_window": 3},
        "phi3": {"sliding_window": rng.choice([None, 3])},
        "phi": {"num_key_value_heads": heads, "qk_layernorm": coin()},
        "gpt_neox": {"attention_bias": coin()},
        "opt": {"ffn_dim": 24, "enable_bias": coin(), "layer_norm_elementwise_affine": coin(),
                "do_layer_norm_before": coin(), "word_embed_proj_dim": rng.choice([8, heads * dim])},
        "falcon": {"parallel_attn": coin(), "multi_query": True, "bias": coin(), "num_kv_heads": 1, "alibi": coin()},
        "mixtral": {"num_local_experts": 4, "num_experts_per_tok": rng.choice([1, 2])},
        "qwen2_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12,
                      "shared_expert_intermediate_size": 10, "decoder_sparse_step": rng.choice([1, 2])},
        "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "head_dim": 8,
                      "mlp_only_layers": [0] if coin() else []},
    }  # fmt: skip
    if kind == "falcon" and coin():
        only["falcon"] = {"new_decoder_architecture": True, "num_kv_heads": groups, "bias": coin()}
    if kind in ("gpt2", "bloom"):
        del c["num_key_value_heads"], c["intermediate_size"]
    return {**c, **only.get(kind, {})}


@pytest.fixture(scope="module")
def hf() -> Any:
    """transformers, imported once, offline."""
    pytest.importorskip("transformers")
    from fieldsight.profile import hf_build

    return hf_build


@pytest.mark.parametrize("kind", FAMILIES)
def test_closed_forms_equal_the_modules_of_transformers(kind: str, hf: Any) -> None:
    from transformers import DynamicCache

    from fieldsight.profile import count_module, example

    rng = random.Random(f"closed form {kind}")
    for _ in range(2):
        values = random_config(kind, rng)
        prompt = count_hf_config(values, 7, "prefill")
        built = count_hf_config(values, 7, "prefill", closed_form=False)
        assert (prompt.params, prompt.macs) == (built.params, built.macs), values
    # one token against a real cache of eight
    import torch

    shape = decoder_from_config(values)
    model, config = hf.build(values, kind)
    cache = DynamicCache(config=config)
    past = torch.zeros(1, shape.kv_heads, 8, shape.head_dim, device="meta")
    for layer in range(shape.layers):
        cache.update(past, past, layer)
    # transformers renamed the argument in 5.24
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    token = count_module(model, input_ids=example((1, 1), "int64"), use_cache=True, **{name: cache})
    assert count_hf_config(values, 9).macs == token.macs, values


def test_other_architectures_are_built_and_counted(hf: Any) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    text = {**small, "vocab_size": 40, "max_position_embeddings": 64, "num_key_value_heads": 1, "pad_token_id": None}
    # a family with a closed form gives the same by solving for one token
    llama = {**text, "model_type": "llama"}
    assert count_hf_config(llama, 9, closed_form=False).macs == count_hf_config(llama, 9).macs
    assert count_hf_config(llama, 9, closed_form=False).kv == count_hf_config(llama, 9).kv
    # one without
    granite = count_hf_config({**text, "model_type": "granite"}, 9)
    assert granite.macs == count_hf_config(llama, 9).macs
    assert "config's head counts" in granite.notes[0]
    # an image model takes its own picture size
    vit = count_hf_config({**small, "model_type": "vit", "image_size": 32, "patch_size": 8}, name="tiny ViT")
    tokens, d = 17, 16
    per_layer = tokens * (4 * d * d + 2 * d * 24) + 2 * tokens * tokens * d
    assert vit.macs == 2 * per_layer + 16 * 3 * 64 * d + d * d
    assert (vit.unit, vit.name) == ("image", "tiny ViT")


def test_a_model_of_175_billion_parameters_built_on_meta(hf: Any) -> None:
    import torch

    values = {
        "model_type": "gpt2",
        "vocab_size": 50257,
        "n_embd": 12288,
        "n_layer": 96,
        "n_head": 96,
        "n_positions": 2048,
    }
    model, _ = hf.build(values, "gpt2")
    assert {p.device for p in model.parameters()} == {torch.device("meta")}
    built = count_hf_config(values, closed_form=False)
    closed = count_decoder(TABLE_1["gpt3-175b"])
    assert (built.params, built.macs, built.kv) == (closed.params, closed.macs, closed.kv)


def test_what_does_not_grow_like_attention_is_not_guessed(hf: Any) -> None:
    values = {"model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(DataError, match=r"takes 'input_values'.*count_module"):
        count_hf_config(values)


def test_the_language_model_of_a_multimodal_config_is_counted_and_said() -> None:
    counts = count_hf_config({"model_type": "llava", "text_config": LLAMA_7B})
    assert counts.params == 6_738_415_616
    assert "Only the language model (llama) of this llava config" in counts.notes[0]


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": None, "vocab_size": None}, "'hidden_size' is missing; 'vocab_size' is missing"),
        ({"hidden_size": "4096"}, "'hidden_size' must be a whole number >= 1, got '4096'"),
        ({"num_hidden_layers": -3, "vocab_size": True}, "got True; .*got -3"),
        ({"num_attention_heads": 7, "num_key_value_heads": 7}, "4096 is not a multiple of num_attention_heads 7"),
        ({"num_key_value_heads": 5}, "32 query heads can't share 5"),
        ({"tie_word_embeddings": "no"}, "must be true or false"),
        ({"hidden_size": 10**15}, "whole number"),
        ({"num_hidden_layers": 10**9}, "1,000,000,000 layers are more than 2,000"),
        ({"model_type": None}, "no 'model_type'"),
        ({"auto_map": {"AutoModel": "x.Y"}}, r"never run here.*count_module"),
    ],
)
def test_bad_configs_name_every_problem(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({k: v for k, v in {**LLAMA_7B, **changes}.items() if v is not None}))
    with pytest.raises(DataError, match=words):
        count_hf_config(file)


def test_unknown_model_types_get_the_nearest(hf: Any) -> None:
    with pytest.raises(DataError, match="Did you mean 'mistral'"):
        count_hf_config({**LLAMA_7B, "model_type": "mistrall"})
    with pytest.raises(DataError, match="Check the sizes"):
        count_hf_config({"model_type": "granite", "hidden_size": "wide"})
    with pytest.raises(DataError, match="'num_hidden_layers' is 1,000,000; at most 2,000"):
        count_hf_config({"model_type": "granite", "num_hidden_layers": 10**6})


def test_a_config_can_not_name_code_or_kernels_from_elsewhere(hf: Any) -> None:
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
            "vocab_size": 40, "num_key_value_heads": 1, "pad_token_id": None, "model_type": "granite"}  # fmt: skip
    strange = {
        "attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel", "use_kernels": True,
        "experts_implementation": "someone/kernel", "architectures": ["os", "GraniteForCausalLM"],
        "quantization_config": {"quant_method": "strange"}, "torch_dtype": "float13",
    }  # fmt: skip
    assert count_hf_config({**tiny, **strange}, 9).macs == count_hf_config(tiny, 9).macs


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b'{"model_type": "llama"', "not valid JSON"),
        (b"[1, 2]", "holds list"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (None, "Can't read"),
    ],
)
def test_bad_files_are_named(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        count_hf_config(file)
    assert "broken.json" in str(caught.value)


def test_a_folder_means_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_7B))
    assert count_hf_config(tmp_path).params == 6_738_415_616


values_of_any_kind = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@given(
    st.sampled_from(sorted(FAMILIES)),
    st.dictionaries(
        st.sampled_from(
            [*LLAMA_7B, "n_embd", "head_dim", "sliding_window", "layer_types", "mlp_only_layers", "ffn_dim", "bias",
             "num_experts", "decoder_sparse_step", "max_window_layers", "new_decoder_architecture", "text_config"]
        ),
        values_of_any_kind,
        max_size=6,
    ),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_odd_values_raise_nothing_but_our_own_errors(kind: str, changes: dict[str, Any]) -> None:
    values = {**LLAMA_7B, "num_hidden_layers": 3, **changes, "model_type": kind}
    try:
        counts = count_hf_config(values, 16)
    except FieldsightError:
        return
    assert isinstance(counts, Counts)
    assert counts.params > 0


@pytest.mark.parametrize("context", [0, -1, 4096])
def test_contexts_a_model_does_not_take(context: int) -> None:
    with pytest.raises(DataError, match="takes contexts from 1 to 2048"):
        count_decoder(TABLE_1["llama-7b"], context)


def test_shapes_that_can_not_be() -> None:
    with pytest.raises(DataError, match="not a multiple of its 7 heads"):
        gpt("odd", 10, 10, 64, 1, 7)
    with pytest.raises(DataError, match=r"layers must be a whole number >= 1, got 0; .*kv_heads"):
        Decoder("odd", 10, 10, 64, 0, 2, 0, 32, 64)
    with pytest.raises(DataError, match="9 of 8 experts"):
        Decoder("odd", 10, 10, 64, 1, 2, 2, 32, 64, experts=8, active=9, expert_ffn=4)
    rope = decoder_from_config(LLAMA_7B)
    assert "beyond the model's 2048" in count_decoder(rope, 9000).notes[0]
