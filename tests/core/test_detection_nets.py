"""Detectors: published parameter and MAC counts, decoding, folding, gradients, RT-DETR, key maps of checkpoints."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fieldsight.errors import ConfigError, DataError, ModelFileError
from fieldsight.nn.detection import blocks, decode
from fieldsight.nn.detection.assign import Targets
from fieldsight.nn.detection.checkpoints import key_map, load_checkpoint, save_checkpoint
from fieldsight.nn.detection.loss import detection_loss, dual_loss
from fieldsight.nn.detection.rtdetr import rtdetr
from fieldsight.nn.detection.yolo import yolo

#: The specification's table, layers 0 to 22; n and s with one class.
LAYERS = {
    "n": [464, 4_672, 7_360, 18_560, 49_664, 73_984, 197_632, 295_424, 460_288, 164_608, 0, 0, 148_224, 0, 0, 37_248,
          36_992, 0, 123_648, 147_712, 0, 493_056, 751_507],
    "s": [928, 18_560, 29_056, 73_984, 197_632, 295_424, 788_480, 1_180_672, 1_838_080, 656_896, 0, 0, 591_360, 0, 0,
          148_224, 147_712, 0, 493_056, 590_336, 0, 1_969_152, 2_116_435],
}  # fmt: skip


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def abstract(*arguments: Any, **options: Any) -> Any:
    """A network without numbers: made in no time, counts and shapes are real."""
    with torch.device("meta"):
        return yolo(*arguments, **options).eval()


def lively(net: nn.Module, seed: int = 0) -> Any:
    """Statistics of batch normalisation as if trained, so that folding has something to do."""
    torch.manual_seed(seed)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.2)
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return net.eval()


def same(state: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in state.items())


@torch.no_grad()
def run(net: nn.Module, images: Tensor) -> Tensor:
    return net(images)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# ------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize(
    ("scale", "classes", "head", "count", "fused"),
    [
        ("p", 1, "v8", 912_731, 909_939),
        ("n", 1, "v8", 3_011_043, 3_005_843),
        ("s", 1, "v8", 11_135_987, 11_125_971),
        ("n", 80, "v8", 3_157_200, 3_151_904),
        ("s", 80, "v8", 11_166_560, 11_156_544),
        ("m", 80, "v8", 25_902_640, None),
        ("l", 80, "v8", 43_691_520, None),
        ("x", 80, "v8", 68_229_648, None),
        # published for both branches; fused as 2.3 M and 7.2 M for the one-to-one branch alone
        ("n", 80, "v10", 2_775_520, 2_299_264),
        ("s", 80, "v10", 8_128_272, 7_248_960),
    ],
)
def test_parameters(scale, classes, head, count, fused) -> None:
    net = abstract(scale, classes, head)
    assert parameters(net) == count
    if fused:
        assert parameters(net.fuse()) == fused


@pytest.mark.parametrize("scale", ["n", "s"])
def test_parameters_of_each_layer(scale) -> None:
    assert [parameters(layer) for layer in abstract(scale, 1).layers] == LAYERS[scale]


def test_head_of_the_small_scale() -> None:
    assert parameters(abstract("p", 1).head) == 345_523


def conv_macs(net: nn.Module, side: int) -> int:
    total = 0

    def count(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += output.numel() * layer.weight[0].numel()

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    run(net, torch.empty(1, 3, side, side, device="meta"))
    return total


@pytest.mark.parametrize(
    ("scale", "classes", "side", "macs"),
    [
        ("n", 1, 640, 4_040_832_000),
        ("n", 1, 320, 4_040_832_000 // 4),
        ("n", 1, 160, 4_040_832_000 // 16),
        ("s", 1, 640, 14_215_833_600),
        ("n", 80, 640, 4_371_456_000),
        ("p", 1, 160, 86_416_800),
    ],
)
def test_macs_of_convolutions(scale, classes, side, macs) -> None:
    assert conv_macs(abstract(scale, classes), side) == macs


@pytest.mark.parametrize(("side", "count"), [(640, 8400), (160, 525)])
@pytest.mark.parametrize("head", ["v8", "v10"])
def test_anchors_of_the_output(head, side, count) -> None:
    images = torch.empty(2, 3, side, side, device="meta")
    assert run(abstract("n", 7, head).deployed(), images).shape == (2, 4 + 7, count)


# ------------------------------------------------------------------------------------------- decoding


def raw_of(height: int, width: int, classes: int = 2) -> decode.Raw:
    maps = [torch.zeros(1, 1, height // s, width // s) for s in (8, 16, 32)]
    points, strides = decode.anchors(maps, (8, 16, 32))
    logits = torch.randn(3, 64, len(points)), torch.randn(3, classes, len(points))
    return decode.Raw(*logits, points, strides, torch.arange(16.0))


def test_anchor_points_are_centres_row_by_row() -> None:
    points, strides = decode.anchors([torch.zeros(1, 8, 2, 3), torch.zeros(1, 8, 1, 1)], (8, 16))
    assert points.tolist() == [[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [0.5, 1.5], [1.5, 1.5], [2.5, 1.5], [0.5, 0.5]]
    assert strides.tolist() == [8] * 6 + [16]


def test_uniform_logits_are_seven_and_a_half_strides() -> None:
    raw = raw_of(64, 96)._replace(sides=torch.full((1, 64, 126), 3.0), classes=torch.zeros(1, 2, 126))
    assert torch.allclose(decode.distances(raw.sides, raw.bins), torch.tensor(7.5), atol=1e-5)
    found = decode.decoded(raw)[0]
    centre = (raw.points * raw.strides[:, None]).T
    assert torch.allclose(found[:2], centre, atol=1e-3)
    assert torch.allclose(found[2:4], (15 * raw.strides).expand(2, -1), atol=1e-3)
    assert (found[4:] == 0.5).all()
    reach = 7.5 * raw.strides[:, None]
    assert torch.allclose(decode.boxes(raw)[0], torch.cat((centre.T - reach, centre.T + reach), 1), atol=1e-3)


def test_a_sure_distribution_is_its_bin_and_sides_are_left_top_right_bottom() -> None:
    sides = torch.full((1, 4, 16, 1), -100.0)
    for side, distance in enumerate((1, 2, 5, 9)):
        sides[0, side, distance] = 100
    raw = decode.Raw(sides.view(1, 64, 1), torch.zeros(1, 1, 1), torch.tensor([[10.5, 20.5]]), torch.tensor([8.0]),
                     torch.arange(16.0))  # fmt: skip
    assert decode.boxes(raw).flatten().tolist() == [76, 148, 124, 236]
    assert decode.decoded(raw).flatten().tolist() == [100, 192, 48, 88, 0.5]


def test_both_layouts_hold_the_same_boxes() -> None:
    raw = raw_of(64, 96)
    cx, cy, w, h = decode.decoded(raw)[:, :4].unbind(1)
    corners = torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), -1)
    assert torch.allclose(corners, decode.boxes(raw), atol=1e-3)


def test_half_precision_is_decoded_in_float32() -> None:
    raw = raw_of(64, 96)
    half = raw._replace(sides=raw.sides.half(), classes=raw.classes.half())
    found = decode.decoded(half)
    assert found.dtype == torch.float32
    assert torch.allclose(found, decode.decoded(raw), atol=0.5)


@given(st.lists(st.floats(0, 14.5, width=32), min_size=4, max_size=4), st.integers(0, 1000), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_distances_to_boxes_and_back(reach, column, row) -> None:
    point = torch.tensor([[column + 0.5, row + 0.5]])
    box = decode.corners(torch.tensor(reach).view(1, 4, 1), point)
    assert torch.allclose(decode.reaches(box, point)[0, 0], torch.tensor(reach), atol=2e-4)


def test_targets_of_distances_are_clipped() -> None:
    box = torch.tensor([[[1.0, -50.0, 300.0, 2.0]]])
    assert decode.reaches(box, torch.tensor([[0.5, 0.5]])).flatten().tolist() == pytest.approx([0, 14.99, 14.99, 1.5])


# ------------------------------------------------------------------------------------------- networks


def conv_of(state: dict[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight, norm = state[f"{name}.conv.weight"], f"{name}.bn."
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    moments = state[norm + "running_mean"], state[norm + "running_var"]
    return F.silu(F.batch_norm(x, *moments, state[norm + "weight"], state[norm + "bias"], eps=1e-3))


def c2f_of(state: dict[str, Tensor], name: str, x: Tensor, repeats: int, residual: bool) -> Tensor:
    maps = list(conv_of(state, f"{name}.cv1", x).chunk(2, 1))
    for i in range(repeats):
        y = conv_of(state, f"{name}.m.{i}.cv2", conv_of(state, f"{name}.m.{i}.cv1", maps[-1]))
        maps.append(maps[-1] + y if residual else y)
    return conv_of(state, f"{name}.cv2", torch.cat(maps, 1))


def pyramid_of(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The specification's table for scales p and n, in functions, by public names."""
    kept: dict[int, Tensor] = {}
    for first, repeats in ((0, 0), (1, 1), (3, 2), (5, 2), (7, 1)):
        x = kept[first] = conv_of(state, f"model.{first}", x, 2)
        if repeats:
            x = kept[first + 1] = c2f_of(state, f"model.{first + 1}", x, repeats, True)
    maps = [conv_of(state, "model.9.cv1", x)]
    for side in (5, 9, 13):  # 5x5 pools in series
        maps.append(F.max_pool2d(maps[0], side, 1, side // 2))
    kept[9] = conv_of(state, "model.9.cv2", torch.cat(maps, 1))
    for layer, low, high in ((12, 9, 6), (15, 12, 4)):
        doubled = kept[low].repeat_interleave(2, 2).repeat_interleave(2, 3)
        kept[layer] = c2f_of(state, f"model.{layer}", torch.cat((doubled, kept[high]), 1), 1, False)
    for layer, low, high in ((18, 15, 12), (21, 18, 9)):
        halved = conv_of(state, f"model.{layer - 2}", kept[low], 2)
        kept[layer] = c2f_of(state, f"model.{layer}", torch.cat((halved, kept[high]), 1), 1, False)
    return [kept[15], kept[18], kept[21]]


@torch.no_grad()
def test_wiring_is_the_tables() -> None:
    net, images = lively(yolo("p", 2)), torch.rand(1, 3, 64, 96)
    names = key_map(net)
    state = {names[key]: value for key, value in net.state_dict().items()}
    pyramid = pyramid_of(state, images)
    for found, expected in zip(net.features(images), pyramid, strict=True):
        assert torch.allclose(found, expected, atol=1e-4)
    logits = []
    for level, x in enumerate(pyramid):
        branches = []
        for part in ("cv2", "cv3"):
            name = f"model.22.{part}.{level}"
            y = conv_of(state, f"{name}.1", conv_of(state, f"{name}.0", x))
            branches.append(F.conv2d(y, state[f"{name}.2.weight"], state[f"{name}.2.bias"]))
        logits.append(torch.cat(branches, 1).flatten(2))
    raw = net(images)[-1]
    assert torch.allclose(torch.cat((raw.sides, raw.classes), 1), torch.cat(logits, 2), atol=1e-4)


def test_biases_at_the_start() -> None:
    head = yolo("p", 1).head
    assert [level[-1].bias.item() for level in head.cls] == pytest.approx([-7.1546, -5.7683, -4.3820], abs=1e-4)
    assert all((level[-1].bias == 1).all() for level in head.box)
    assert yolo("p", 1, prior_size=160).head.cls[0][-1].bias.item() == pytest.approx(-7.1546 + np.log(16), abs=1e-4)


def test_batch_normalisation_as_published() -> None:
    norms = [m for m in yolo("p", 1, "v10").modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.03)}


@pytest.mark.parametrize(("head", "body"), [("v8", "v8"), ("v10", "v10"), ("v10", "v8"), ("v8", "v10")])
def test_folding_changes_nothing(head, body) -> None:
    net = lively(yolo("p", 2, head, body=body))
    images = torch.rand(2, 3, 64, 96)
    fused = copy.deepcopy(net).fuse()
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    whole, folded = net(images)[-1], fused(images)[-1]
    assert (whole.sides - folded.sides).abs().max() < 1e-4
    assert (whole.classes - folded.classes).abs().max() < 1e-4
    boxes, folded_boxes = run(net.deployed(), images), run(fused.deployed(), images)
    assert (boxes - folded_boxes).abs().max() < 1e-3  # pixels
    assert torch.equal(run(fused.fuse().deployed(), images), folded_boxes)


def test_a_convolution_with_a_bias_folds_too() -> None:
    conv, norm = nn.Conv2d(3, 5, 3), lively(nn.Sequential(nn.BatchNorm2d(5)))[0]
    x = torch.randn(1, 3, 9, 9)
    assert torch.allclose(run(blocks.folded(conv, norm), x), run(nn.Sequential(conv, norm), x), atol=1e-6)


@pytest.mark.parametrize("head", ["v8", "v10"])
def test_a_training_step_moves_every_weight(head) -> None:
    net = yolo("p", 3, head).train()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    outputs = net(torch.rand(2, 3, 64, 64))
    loss = sum(((r.sides * torch.rand_like(r.sides)).sum() + (r.classes * torch.rand_like(r.classes)).sum())
               for r in outputs)  # fmt: skip
    loss.backward()
    optimiser.step()
    still = {name for name, p in net.named_parameters() if torch.equal(p, before[name])}
    assert still == {f"layers.{len(net.layers) - 1}.bins"}
    assert sum(p.numel() for p in net.parameters() if not p.requires_grad) == 16
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("head", ["v8", "v10"])
def test_losses_take_the_outputs(head) -> None:
    net = yolo("p", 2, head).train()
    outputs = net(torch.rand(2, 3, 64, 64))
    assert len(outputs) == len(net.head.positives)
    targets = Targets.of([([[8, 8, 40, 48]], [1]), ([], [])])
    found = detection_loss(outputs[0], targets) if head == "v8" else dual_loss(*outputs, targets)
    found["loss"].backward()
    assert found["loss"].isfinite()
    assert found["positives" if head == "v8" else "many_positives"] == 10
    assert net.layers[0].conv.weight.grad.any()


def test_the_two_branches_of_v10() -> None:
    net = yolo("p", 2, "v10").train()
    images = torch.rand(2, 3, 64, 64)
    many, one = net(images)
    assert torch.equal(many.sides, one.sides)  # it starts as a copy
    assert torch.equal(many.classes, one.classes)
    (one.sides.sum() + one.classes.sum()).backward()
    moved = {name.split(".")[2] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"one_box", "one_cls"}  # no gradient into the body or the other branch
    assert net.head.positives == (10, 1)
    assert net.nms_free
    assert not yolo("p", 2).nms_free
    with torch.no_grad():
        assert len(net.eval()(images)) == 1
        assert len(net.fuse().train()(images)) == 1
    assert net.head.positives == (1,)


@pytest.mark.parametrize("head", ["v8", "v10"])
def test_features_of_layers(head) -> None:
    net = yolo("p", 1, head).eval()
    images = torch.rand(2, 3, 64, 96)
    shapes = [tuple(f.shape) for f in net.features(images)]
    assert shapes == [(2, 32, 8, 12), (2, 64, 4, 6), (2, 128, 2, 3)]
    some = net.features(images, (9, 0, 4, 6))
    assert [tuple(f.shape) for f in some] == [(2, 128, 2, 3), (2, 8, 32, 48), (2, 32, 8, 12), (2, 64, 4, 6)]
    assert [net.widths[n] for n in (9, 0, 4, 6)] == [f.shape[1] for f in some]
    everything = net.features(images, range(len(net.sources)))
    assert torch.equal(everything[4], some[2])
    assert torch.equal(everything[net.taps[0]], net.features(images)[0])
    assert net.features(images, ()) == []
    with pytest.raises(ConfigError, match="layers 0 to 2"):
        net.features(images, (len(net.sources),))


def test_attention_is_scaled_dot_product_attention() -> None:
    layer = lively(blocks.Attention(32, 2))
    x = torch.randn(2, 32, 3, 5)
    with torch.no_grad():
        query, key, value = layer.qkv(x).view(2, 2, 32, 15).split([8, 8, 16], 2)
        mixed = F.scaled_dot_product_attention(query.mT, key.mT, value.mT).mT.reshape(2, 32, 3, 5)
        expected = layer.project(mixed + layer.position(value.reshape(2, 32, 3, 5)))
    assert torch.allclose(run(layer, x), expected, atol=1e-5)


def test_what_can_not_be_made() -> None:
    with pytest.raises(ConfigError, match="Unknown scale 'nano'"):
        yolo("nano", 1)
    with pytest.raises(ConfigError, match="Unknown head 'v9'"):
        yolo("n", 1, "v9")
    with pytest.raises(ConfigError, match="at least one class; got 0"):
        yolo("n", 0)
    with pytest.raises(ConfigError) as caught:
        yolo("q", -1, "v8", body="v7", prior_size=1)
    assert len(caught.value.problems) == 4
    assert parameters(abstract("m", 1, "v10", body="v8")) > 0


@pytest.mark.onnx
@pytest.mark.parametrize("head", ["v8", "v10"])
def test_onnx_gives_the_same_at_any_size(head, tmp_path) -> None:
    ort = pytest.importorskip("onnxruntime")
    net = lively(yolo("p", 2, head)).fuse().deployed()
    dim = torch.export.Dim
    shapes = ({0: dim.DYNAMIC, 2: 32 * dim("h", min=1, max=64), 3: 32 * dim("w", min=1, max=64)},)
    program = torch.onnx.export(net, (torch.rand(2, 3, 64, 96),), dynamo=True, opset_version=18, verbose=False,
                                input_names=["images"], output_names=["detections"], dynamic_shapes=shapes)  # fmt: skip
    assert program is not None
    program.save(str(tmp_path / "net.onnx"))
    session = ort.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 64, 64), (3, 3, 32, 160)):
        images = torch.rand(shape)
        found = session.run(None, {"images": images.numpy()})[0]
        assert np.abs(found - run(net, images).numpy()).max() < 1e-3


# ------------------------------------------------------------------------------------------- RT-DETR


@pytest.fixture(scope="module")
def detr() -> Any:
    torch.manual_seed(0)
    return rtdetr("tiny", 2, queries=20)


def test_rtdetr_is_as_large_as_published() -> None:
    with torch.device("meta"):
        assert round(parameters(rtdetr("r18", 80)) / 1e6) == 20
        assert round(parameters(rtdetr("r50", 80)) / 1e6) == 43  # 42 in the paper, which counts no denoising classes


def test_rtdetr_says_boxes_in_pixels_and_scores(detr) -> None:
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        raw, found = detr.eval()(images), detr.deployed()(images)
        assert [tuple(f.shape) for f in detr.features(images)] == [(2, 32, 8, 12), (2, 64, 4, 6), (2, 128, 2, 3)]
    assert found.shape == (2, 20, 6)
    assert torch.allclose(found[..., :4], raw.boxes * torch.tensor([96.0, 64.0, 96.0, 64.0]))
    assert torch.equal(found[..., 4:], raw.classes.sigmoid())
    assert found[..., 4:].max() < 0.2  # before training nothing is found


def test_rtdetr_learns(detr) -> None:
    net = copy.deepcopy(detr).train()
    images = torch.rand(2, 3, 64, 64)
    targets = Targets.of([([[8, 8, 40, 48], [30, 2, 60, 20]], [1, 0]), ([], [])])
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        found = net.loss(images, targets)
        loss = found["loss"].item()
        assert loss == pytest.approx(sum(found[k].item() for k in ("vfl", "bbox", "giou")), rel=1e-4)
        optimiser.zero_grad()
        found["loss"].backward()
        optimiser.step()
        losses.append(loss)
    assert losses[-1] < losses[0]
    # box heads start at 0, so that the layers before them wait for the second step
    assert not [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]


def test_rtdetr_learns_from_photos_without_boxes(detr) -> None:
    net = copy.deepcopy(detr).train()
    found = net.loss(torch.rand(2, 3, 64, 64), Targets.of([([], []), ([], [])]))
    assert float(found["bbox"]) == 0
    found["loss"].backward()
    assert found["loss"].item() > 0


def test_rtdetr_takes_ignored_regions_for_background(detr) -> None:
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        one = detr.eval().loss(images, Targets.of([([[8, 8, 40, 48]], [1])]))
        two = detr.loss(images, Targets.of([([[8, 8, 40, 48], [0, 0, 9, 9]], [1, 0], [False, True])]))
    assert torch.equal(one["loss"], two["loss"])


def test_rtdetr_refuses(detr) -> None:
    images = torch.rand(1, 3, 64, 64)
    with pytest.raises(DataError, match="class 2; allowed: 0 to 1"):
        detr.loss(images, Targets.of([([[1, 1, 9, 9]], [2])]))
    with pytest.raises(DataError, match="photo 1; allowed: 0 to 0"):
        detr.loss(images, Targets.of([([], []), ([[1, 1, 9, 9]], [0])]))
    with pytest.raises(DataError, match="no area"):
        detr.loss(images, Targets.of([([[9, 1, 9, 9]], [0])]))
    with pytest.raises(DataError, match="multiples of 32; got 64 x 50"):
        detr(torch.rand(1, 3, 64, 50))
    with pytest.raises(DataError, match="5 cells for 20 queries|21 cells for 50 queries"):
        rtdetr("tiny", 1)(torch.rand(1, 3, 32, 32))
    with pytest.raises(ConfigError) as caught:
        rtdetr("r19", 0, queries=0)
    assert len(caught.value.problems) == 3


# ------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize(("scale", "tensors"), [("n", 355), ("s", 355), ("m", 475), ("l", 595)])
def test_as_many_tensors_as_public_checkpoints(scale, tensors) -> None:
    assert len(set(key_map(abstract(scale, 80)).values())) == tensors


def test_public_names() -> None:
    names = set(key_map(abstract("n", 80)).values())
    assert {
        "model.0.conv.weight", "model.0.bn.running_var", "model.2.cv1.conv.weight", "model.2.m.0.cv2.bn.bias",
        "model.4.m.1.cv1.conv.weight", "model.9.cv2.conv.weight", "model.21.cv2.bn.num_batches_tracked",
        "model.22.cv2.0.0.conv.weight", "model.22.cv2.2.2.bias", "model.22.cv3.1.1.bn.weight",
        "model.22.dfl.conv.weight",
    } <= names  # fmt: skip
    names = set(key_map(abstract("s", 80, "v10")).values())
    assert {
        "model.5.cv1.conv.weight", "model.7.cv2.bn.weight", "model.8.m.0.cv1.2.conv1.conv.weight",
        "model.10.attn.qkv.conv.weight", "model.10.attn.pe.bn.bias", "model.10.ffn.1.conv.weight",
        "model.22.m.0.cv1.4.conv.weight", "model.23.cv3.0.0.1.conv.weight", "model.23.one2one_cv3.2.2.bias",
        "model.23.one2one_cv2.0.0.bn.weight", "model.23.dfl.conv.weight",
    } <= names  # fmt: skip


@pytest.mark.parametrize("head", ["v8", "v10"])
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_a_checkpoint_round_trip(head, prefix, tmp_path) -> None:
    source, images = lively(yolo("p", 3, head)), torch.rand(1, 3, 64, 64)
    save_checkpoint(source, tmp_path / "net.safetensors")
    tensors = {prefix + name: value for name, value in load_file(tmp_path / "net.safetensors").items()}
    save_file(tensors, tmp_path / "net.safetensors")
    net = yolo("p", 3, head).eval()
    report = load_checkpoint(net, tmp_path / "net.safetensors")
    assert torch.equal(run(net.deployed(), images), run(source.deployed(), images))
    assert same(net.state_dict(), source.state_dict())
    assert report.prefix == prefix
    assert {prefix + name for name in report.matched} == set(tensors)
    assert not report.left_out
    assert f"{len(tensors)} tensors" in str(report)


def test_half_precision_and_absent_counters_are_fine(tmp_path) -> None:
    source = lively(yolo("p", 1))
    save_checkpoint(source, tmp_path / "net.safetensors")
    tensors = load_file(tmp_path / "net.safetensors")
    half = {name: value.half() for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    save_file(half, tmp_path / "half.safetensors")
    net = yolo("p", 1).eval()
    report = load_checkpoint(net, tmp_path / "half.safetensors")
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert torch.allclose(net.layers[0].conv.weight, source.layers[0].conv.weight, atol=1e-3)
    assert len(report.counters) == len(tensors) - len(half) == 57


def test_folded_checkpoints_want_folded_networks(tmp_path) -> None:
    source, images = lively(yolo("p", 1)).fuse(), torch.rand(1, 3, 64, 64)
    save_checkpoint(source, tmp_path / "fused.safetensors")
    with pytest.raises(ModelFileError, match=r"folded in the file alone: fuse\(\) the network"):
        load_checkpoint(yolo("p", 1), tmp_path / "fused.safetensors")
    net = yolo("p", 1).eval().fuse()
    load_checkpoint(net, tmp_path / "fused.safetensors")
    assert torch.equal(run(net.deployed(), images), run(source.deployed(), images))


def test_other_classes_are_refused_or_left_out(tmp_path) -> None:
    source = lively(yolo("p", 80))
    save_checkpoint(source, tmp_path / "coco.safetensors")
    net = yolo("p", 1)
    before = copy.deepcopy(net.state_dict())
    message = r"model.22.cv3.0.0.conv.weight has shape \(80, 32, 3, 3\), the network's is \(32, 32, 3, 3\).*without="
    with pytest.raises(ModelFileError, match=message):
        load_checkpoint(net, tmp_path / "coco.safetensors")
    assert same(net.state_dict(), before)
    report = load_checkpoint(net, tmp_path / "coco.safetensors", without=["model.22.cv3"])
    assert all(name.startswith("model.22.cv3") for name in report.left_out)
    trained = source.state_dict()
    names = key_map(net)
    assert same(net.state_dict(), {k: before[k] if n in report.left_out else trained[k] for k, n in names.items()})
    with pytest.raises(ConfigError, match=r"No tensor begins with 'model.99'"):
        load_checkpoint(net, tmp_path / "coco.safetensors", without=["model.99"])


def test_what_does_not_fit_is_named(tmp_path) -> None:
    save_checkpoint(yolo("p", 1), tmp_path / "net.safetensors")
    tensors = load_file(tmp_path / "net.safetensors")
    path = tmp_path / "bad.safetensors"
    one = "model.0.conv.weight"
    save_file({name: value for name, value in tensors.items() if name != one}, path)
    with pytest.raises(ModelFileError, match=re.escape(f"{one} is missing. Check")):
        load_checkpoint(yolo("p", 1), path)
    save_file({**tensors, "model.30.weight": torch.zeros(3)}, path)
    with pytest.raises(ModelFileError, match=r"model\.30\.weight is not in the network"):
        load_checkpoint(yolo("p", 1), path)
    save_file({**tensors, one: torch.full_like(tensors[one], float("nan"))}, path)
    with pytest.raises(ModelFileError, match=re.escape(f"{one} holds numbers that are not finite")):
        load_checkpoint(yolo("p", 1), path)
    save_file({**tensors, one: tensors[one].to(torch.int32)}, path)
    with pytest.raises(ModelFileError, match=r"is of type torch\.int32"):
        load_checkpoint(yolo("p", 1), path)
    with pytest.raises(ModelFileError, match=r"and \d+ more\. Check scale"):
        load_checkpoint(yolo("n", 1), tmp_path / "net.safetensors")
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match="Check scale, head"):
        load_checkpoint(yolo("p", 1), path)


class Bomb:
    """Unpickling it would show."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.safetensors"])
@pytest.mark.parametrize("packed", ["zip", "bare"])
def test_pickles_are_refused_with_the_way_out(name, packed, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    if packed == "zip":
        torch.save({"model": Bomb()}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelFileError, match=r"pickled.*run code(.|\n)*save_file"):
        load_checkpoint(yolo("p", 1), tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_the_way_out_is_python_that_works(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = lively(yolo("p", 1))
    names = key_map(source)
    torch.save({"model": {names[key]: value for key, value in source.state_dict().items()}}, "net.pt")
    with pytest.raises(ModelFileError) as caught:
        load_checkpoint(yolo("p", 1), "net.pt")
    lines = [line[4:] for line in str(caught.value).splitlines()[1:]]
    exec("\n".join(lines), {})  # noqa: S102  our own message
    net = yolo("p", 1)
    load_checkpoint(net, "net.safetensors")
    assert same(net.state_dict(), source.state_dict())


def test_a_header_that_starts_like_a_pickle_is_none(tmp_path) -> None:
    save_checkpoint(yolo("p", 1), tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    padding = -(length - 0x80) % 256
    header = content[8 : 8 + length] + b" " * padding
    (tmp_path / "net.safetensors").write_bytes(
        (length + padding).to_bytes(8, "little") + header + content[8 + length :]
    )
    assert (tmp_path / "net.safetensors").read_bytes()[:1] == b"\x80"
    load_checkpoint(yolo("p", 1), tmp_path / "net.safetensors")


def test_broken_files_are_errors_of_ours(tmp_path) -> None:
    save_checkpoint(yolo("p", 1), tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    path = tmp_path / "broken.safetensors"
    for broken in (b"", b"text", content[:100], content[:-10], b"\xff" * 64, (10**6).to_bytes(8, "little") + b"{}"):
        path.write_bytes(broken)
        with pytest.raises(ModelFileError, match="no readable safetensors file"):
            load_checkpoint(yolo("p", 1), path)
    with pytest.raises(ModelFileError, match="No such file"):
        load_checkpoint(yolo("p", 1), tmp_path / "absent.safetensors")
    with pytest.raises(ModelFileError, match="Can't read"):
        load_checkpoint(yolo("p", 1), tmp_path)


@pytest.mark.parametrize("names", ["today", "older", "tied", "outer"])
def test_rtdetr_takes_the_names_of_all_its_versions(detr, names, tmp_path) -> None:
    torch.manual_seed(1)
    state = {key: torch.randn_like(v) if v.is_floating_point() else v for key, v in detr.state_dict().items()}
    tensors = {name: state[key] for key, name in key_map(detr, older=names != "today").items()}
    for name in [n for n in tensors if n.startswith(("model.decoder.class_embed", "model.decoder.bbox_embed"))]:
        if names in ("tied", "outer"):
            tensors[name.removeprefix("model.decoder.")] = tensors[name].clone()
        if names == "outer":
            del tensors[name]
    save_file(tensors, tmp_path / "detr.safetensors")
    net = rtdetr("tiny", 2, queries=20)
    load_checkpoint(net, tmp_path / "detr.safetensors")
    assert same(net.state_dict(), state)
    if names == "older":
        assert any("self_attn.out_proj" in name for name in tensors)
        assert any("encoder.encoder.0.layers" in name for name in tensors)
