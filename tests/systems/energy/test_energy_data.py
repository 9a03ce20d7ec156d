"""The models one can name: exact published tables, torch modules and ONNX files beside them, CSV files of layers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldsight.errors import ConfigError, DataError, FieldsightError
from fieldsight.profile import Counts, count_decoder, count_hf_config, count_module, count_onnx, energy, example
from fieldsight.systems.energy import data, tables, toys


def test_resnet18_exactly_as_published() -> None:
    counts = data.model("resnet18")
    assert (counts.params, counts.macs, counts.activations) == (11_689_512, 1_814_073_344, 2_484_712)
    assert round(counts.macs_per_param, 3) == 155.188
    assert {k: (v.weights, v.macs, v.outputs, v.biases) for k, v in counts.by_group(1).items()} == {
        "conv1": (9_408, 118_013_952, 802_816, 128),
        "layer1": (147_456, 462_422_016, 802_816, 512),
        "layer2": (524_288, 411_041_792, 501_760, 1_280),
        "layer3": (2_097_152, 411_041_792, 250_880, 2_560),
        "layer4": (8_388_608, 411_041_792, 125_440, 5_120),
        "fc": (512_000, 512_000, 1_000, 1_000),
    }


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("resnet50", 25_557_032, 4_089_184_256),
        ("vgg16", 138_357_544, 15_470_264_320),
        ("vgg19", 143_667_240, 19_632_062_464),
        ("mobilenetv2", 3_504_872, 300_774_272),
        ("gpt3-small", 125_226_240, 161_280_768),
        ("llama-7b", 6_658_404_352, 7_185_174_528),
        ("llama-7b-real", 6_738_415_616, 7_143_948_288),
        ("gpt3-175b", 174_604_259_328, 179_395_571_712),
    ],
)
def test_the_other_built_in_models(name: str, params: int, macs: int) -> None:
    counts = data.model(name)
    assert (counts.params, counts.macs) == (params, macs)
    assert counts.unknown == ()


def test_tables_equal_the_modules_of_transformers() -> None:
    from transformers import (
        MobileNetV2Config,
        MobileNetV2ForImageClassification,
        ResNetConfig,
        ResNetForImageClassification,
    )

    picture = example((1, 3, 224, 224))
    basic = ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", num_labels=1000)
    with torch.device("meta"):
        built = {
            "resnet18": ResNetForImageClassification(basic),
            "resnet50": ResNetForImageClassification(ResNetConfig(num_labels=1000)),
            # the TensorFlow padding and the one extra class of the default are not the paper's
            "mobilenetv2": MobileNetV2ForImageClassification(MobileNetV2Config(num_labels=1000, tf_padding=False)),
        }
    for name, module in built.items():
        mine, theirs = data.model(name), count_module(module, picture)
        assert (mine.params, mine.macs, mine.activations) == (theirs.params, theirs.macs, theirs.activations), name
        kinds = ({op.kind: (op.calls, op.inputs) for op in c.uncounted} for c in (mine, theirs))
        a, b = kinds
        for kind in ("batch_norm", "add", "max_pool2d"):
            assert a.get(kind) == b.get(kind), (name, kind)


def test_tables_equal_the_light_onnx_models() -> None:
    onnx = pytest.importorskip("onnx")
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for name in ("vgg19", "resnet50"):
        mine, file = data.model(name), count_onnx(folder / f"light_{name}.onnx")
        assert (mine.params, mine.macs, mine.activations) == (file.params, file.macs, file.activations)


def test_the_real_llama_is_the_one_of_its_config() -> None:
    config = {
        "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "intermediate_size": 11008, "vocab_size": 32000, "max_position_embeddings": 2048,
    }  # fmt: skip
    a, b = data.model("llama-7b-real"), count_hf_config(config)
    assert (a.params, a.macs, a.kv) == (b.params, b.macs, b.kv)


def test_the_paper_numbers_belong_to_its_own_setting() -> None:
    assert data.model("llama-7b").paper == data.PAPER["llama-7b"]
    assert data.model("llama-7b", 2048).paper is not None
    assert data.model("llama-7b", 512).paper is None
    assert data.model("llama-7b", phase="prefill").paper is None
    assert data.model("llama-7b-real").paper is None


def test_names_and_contexts_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'resnet18'"):
        data.model("resnet-18")
    with pytest.raises(ConfigError, match="'vgg16' has no context"):
        data.model("vgg16", 512)
    with pytest.raises(DataError, match="takes contexts from 1 to 2048"):
        data.model("llama-7b", 4096)
    assert {m.id for m in data.MODELS} == set(data.names())
    assert all(energy(data.model(m.id), precision=m.precision).total > 0 for m in data.MODELS)


# ------------------------------------------------------------------------------- generated models


@pytest.mark.parametrize("seed", range(10))
def test_ten_random_cnns_and_language_models_equal_the_hooks(seed: int) -> None:
    rng = random.Random(seed)
    if seed % 2:
        width, depth, size = rng.choice([8, 16, 32, 64]), rng.randint(1, 6), rng.choice([17, 32, 48])
        closed = tables.cnn(width, depth, size)
        hooked = count_module(toys.cnn(width, depth), example((1, 3, size, size)))
    else:
        shape = data.toy_decoder(rng.choice([64, 128, 256]), rng.randint(1, 4), rng.choice([128, 256, 512]))
        module = toys.ToyLM(shape)
        prompt = rng.randint(2, 100)
        closed = count_decoder(shape, prompt, "prefill")
        hooked = count_module(module, example((1, prompt), "int64"))
        past = rng.randint(1, 100)
        with torch.device("meta"):
            cache = module.empty_cache(1, past)
        token = count_module(module, example((1, 1), "int64"), cache)
        assert token.macs == count_decoder(shape, past + 1).macs
        assert cache.numel() + 2 * shape.layers * shape.d == count_decoder(shape, past + 1).kv
    assert (closed.params, closed.macs) == (hooked.params, hooked.macs)
    if seed % 2:
        assert closed.activations == hooked.activations


def test_mlps_and_the_registry_of_generated_models() -> None:
    closed, hooked = tables.mlp(128, 4), count_module(toys.mlp(128, 4), example((1, 256)))
    assert (closed.params, closed.macs, closed.activations) == (hooked.params, hooked.macs, hooked.activations)
    assert closed.params == closed.macs, "one MAC a weight: what calibration can't tell apart at one batch size"
    made = data.generated()
    assert len(made) == 17
    assert all(c.macs > 0 and name == c.name for name, c in made.items())


def test_the_toy_language_model_runs() -> None:
    shape = data.toy_decoder(64)
    module = toys.ToyLM(shape).eval()
    tokens = torch.randint(0, shape.vocab, (2, 6), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = module(tokens)
        assert whole.shape == (2, 6, shape.vocab)
        assert torch.isfinite(whole).all()
        # a prefix changes nothing that comes before it: the mask is causal
        assert torch.allclose(module(tokens[:, :3]), whole[:, :3], atol=1e-5)


# ------------------------------------------------------------------------------------------- CSV


def test_a_csv_of_layers(tmp_path: Path) -> None:
    file = tmp_path / "net.csv"
    file.write_text("name;weights;biases;MACs;outputs;share\nconv;1728;64;1e6;200704;\nexperts;800;;200;5;0.25\n\n")
    counts = data.read_layers(file)
    assert (counts.name, counts.source) == ("net", "csv")
    assert (counts.params, counts.macs, counts.activations) == (2592, 1_000_200, 200_709)
    assert counts.layers[1].share == 0.25
    file.write_text("name,weights,macs\nbig,123456789012345678,1\n", encoding="utf-8-sig")
    assert data.read_layers(file).weights == 123_456_789_012_345_678


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("name,weights,macs\n", "a header and no rows"),
        ("name,weight,macs\na,1,2\n", "Did you mean 'weights'.*the column 'weights' is missing"),
        ("name,weights,macs,macs\na,1,2,3\n", "'macs' is there twice"),
        ("name,weights,macs\na,one,2\nb,-3,1.5\n", "line 2: weights must be a number.*line 3: weights.*line 3: macs"),
        ("name,weights,macs\na,1\n", "line 2: 2 cells under 3 columns"),
        ("name,weights,macs,share\na,1,2,1.5\n", "share must lie above 0"),
        ('name,weights,macs\n"a,1,2\n', "is no CSV"),
        ("name,weights,macs\n" + "a,x,1\n" * 30, "and 20 more"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        data.read_layers(file)
    assert "bad.csv" in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Can't read"):
        data.read_layers(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(DataError, match="is no text file"):
        data.read_layers(tmp_path / "binary.csv")


@given(
    st.text(max_size=80)
    | st.text(alphabet='name,weightsmacs\n"0159-.eE;\t', max_size=80).map("name,weights,macs\n".__add__)
)
@settings(max_examples=150, deadline=None)
def test_garbage_raises_nothing_but_our_own_errors(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "garbage.csv"
    file.write_text(text, encoding="utf-8")
    try:
        assert isinstance(data.read_layers(file), Counts)
    except FieldsightError as error:
        message = str(error)
    else:
        return
    assert "garbage.csv" in message
