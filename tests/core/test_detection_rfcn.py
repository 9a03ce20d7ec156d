"""R-FCN: position-sensitive pooling by hand and by loops, region proposals, backbones at stride 16, learning."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldsight.errors import ConfigError, DataError
from fieldsight.nn.backbones import resnet
from fieldsight.nn.detection.assign import Targets
from fieldsight.nn.detection.boxes import iou_matrix
from fieldsight.nn.detection.nms import Suppression, suppress
from fieldsight.nn.detection.psroi import ps_roi_pool, vote
from fieldsight.nn.detection.rfcn import VARIANCES, AtrousResNet, rfcn
from fieldsight.nn.detection.rpn import (
    OBJECTNESS,
    Matching,
    Proposals,
    anchor_boxes,
    decode,
    encode,
    match,
    sample,
)
from fieldsight.nn.inception_resnet import InceptionResNetV2


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def abstract(build: Any, *arguments: Any) -> Any:
    with torch.device("meta"):
        return build(*arguments).eval()


@torch.no_grad()
def run(net: nn.Module, *inputs: Any) -> Any:
    return net(*inputs)


def two_squares(side: int = 96, times: int = 1) -> tuple[Tensor, Targets]:
    """Two photos of noise, a square of another colour in each."""
    images = torch.from_numpy(np.random.default_rng([7]).uniform(0, 0.2, (2, 3, side, side)).astype(np.float32))
    boxes = [20 * times, 16 * times, 56 * times, 52 * times], [32 * times, 32 * times, 72 * times, 72 * times]
    for colour, (x1, y1, x2, y2) in enumerate(boxes):
        images[colour, colour, y1:y2, x1:x2] = 1
    return images, Targets.of([([boxes[0]], [0]), ([boxes[1]], [1])])


def lively(classes: int = 2, **options: Any) -> Any:
    """A small network whose outputs differ from place to place."""
    net = rfcn("tiny", classes, **options)
    for layer in (net.rpn.object, net.rpn.box, net.score, net.box):
        nn.init.normal_(layer.weight, std=0.1)
    return net.eval()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# ------------------------------------------------------------------------------------------- pooling


def test_three_bins_a_side_read_one_map_each() -> None:
    maps = torch.zeros(1, 9, 3, 3)
    for place in range(9):
        maps[0, place] = 100 * (place + 1)  # what a bin must not read
        maps[0, place, place // 3, place % 3] = place + 1
    pooled = ps_roi_pool(maps, torch.tensor([[[0.0, 0.0, 48.0, 48.0]]]), 16, 3)
    assert pooled.shape == (1, 1, 1, 3, 3)
    assert pooled[0, 0, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert vote(pooled).tolist() == [[[5.0]]]


def test_bins_average_and_share_cells() -> None:
    row = torch.tensor([1.0, 2.0, 4.0, 8.0])
    maps = row.expand(1, 9, 4, 4)
    # 4 cells in 3 bins: 0 to 4/3 covers the cells 0 and 1, 4/3 to 8/3 the cells 1 and 2, 8/3 to 4 the cells 2 and 3
    pooled = ps_roi_pool(maps, torch.tensor([[[0.0, 0.0, 64.0, 64.0]]]), 16, 3)
    assert pooled[0, 0, 0].tolist() == [[1.5, 3.0, 6.0]] * 3


def by_loops(maps: np.ndarray, region: np.ndarray, stride: int, k: int) -> np.ndarray:
    """Equation 1, cell by cell."""
    classes, (height, width) = len(maps) // (k * k), maps.shape[1:]
    x0, y0, x1, y1 = (float(v) / stride for v in region)
    x1, y1 = max(x1, x0 + 0.1), max(y1, y0 + 0.1)
    pooled = np.zeros((classes, k, k))
    for c in range(classes):
        for i in range(k):
            for j in range(k):
                low_y, high_y = math.floor(y0 + i * (y1 - y0) / k), math.ceil(y0 + (i + 1) * (y1 - y0) / k)
                low_x, high_x = math.floor(x0 + j * (x1 - x0) / k), math.ceil(x0 + (j + 1) * (x1 - x0) / k)
                rows = [y for y in range(low_y, high_y) if 0 <= y < height]
                columns = [x for x in range(low_x, high_x) if 0 <= x < width]
                part = maps[(c * k + i) * k + j][rows][:, columns]
                pooled[c, i, j] = part.mean() if part.size else 0
    return pooled


@pytest.mark.parametrize("k", [1, 3, 7])
def test_pooling_is_the_equation(k) -> None:
    rng = np.random.default_rng([3, k])
    maps = rng.normal(size=(2, 2 * k * k, 6, 9)).astype(np.float32)
    corners = rng.uniform(-20, 150, (2, 40, 4)).astype(np.float32)
    corners[..., 2:] = corners[..., :2] + rng.uniform(0, 90, (2, 40, 2))
    found = ps_roi_pool(torch.from_numpy(maps), torch.from_numpy(corners), 16, k).numpy()
    assert found.shape == (2, 40, 2, k, k)
    for n in range(2):
        for p in range(40):
            assert np.abs(found[n, p] - by_loops(maps[n], corners[n, p], 16, k)).max() < 1e-5


def test_outside_is_nothing_and_a_point_has_a_cell() -> None:
    maps = torch.ones(1, 9, 3, 3)
    regions = torch.tensor([[[500.0, 500.0, 600.0, 600.0], [20.0, 20.0, 20.0, 20.0]]])
    pooled = ps_roi_pool(maps, regions, 16, 3)
    assert (pooled[0, 0] == 0).all()
    assert (pooled[0, 1] == 1).all()


def test_gradient_is_spread_over_the_bin() -> None:
    maps = torch.zeros(1, 9, 4, 4, requires_grad=True)
    ps_roi_pool(maps, torch.tensor([[[0.0, 0.0, 64.0, 64.0]]]), 16, 3)[0, 0, 0, 0, 0].backward()
    expected = torch.zeros(9, 4, 4)
    expected[0, :2, :2] = 0.25
    assert torch.equal(maps.grad[0], expected)


def test_pooling_refuses() -> None:
    with pytest.raises(DataError, match="10 channels.*multiple of 9"):
        ps_roi_pool(torch.zeros(1, 10, 3, 3), torch.zeros(1, 1, 4), 16, 3)
    with pytest.raises(DataError, match="regions \\(1, 4\\)"):
        ps_roi_pool(torch.zeros(1, 9, 3, 3), torch.zeros(1, 4), 16, 3)


# ------------------------------------------------------------------------------------------- networks


def test_maps_of_one_class() -> None:
    net = abstract(rfcn, "r18", 1)
    assert net.score.out_channels == 18
    assert net.box.out_channels == 36
    assert (net.rpn.object.out_channels, net.rpn.box.out_channels) == (9, 36)


@pytest.mark.parametrize(
    ("size", "backbone", "count"),
    [
        ("r18", 11_176_512, 12_068_515),
        ("r50", 23_508_032, 30_403_747),
        ("r101", 42_500_160, 49_395_875),
        ("inception_resnet_v2", 54_306_464, 60_972_803),  # the backbone as in other packages
    ],
)
def test_parameters(size, backbone, count) -> None:
    net = abstract(rfcn, size, 1)
    assert parameters(net.backbone) == backbone
    assert parameters(net) == count
    middle, last = net.features(torch.empty(1, 3, 160, 96, device="meta"))
    assert (middle.shape[1], last.shape[1]) == net.backbone.widths
    assert middle.shape[2:] == last.shape[2:] == (10, 6)


def test_a_dilated_last_stage_gives_the_strided_one_at_every_second_cell() -> None:
    images = torch.rand(1, 3, 128, 96)
    for make in (resnet((8, 16, 24, 32), (1, 1, 1, 2)), InceptionResNetV2(False, (0, 0, 1))):
        plain = make.eval()
        strided = run(plain, images)[-1]
        if isinstance(plain, InceptionResNetV2):
            dilated = InceptionResNetV2(True, (0, 0, 1)).eval()
            dilated.load_state_dict(plain.state_dict())
        else:
            dilated = AtrousResNet(plain)
        fine = run(dilated, images)[-1]
        assert fine.shape[2:] == (8, 6)
        assert torch.allclose(fine[:, :, ::2, ::2], strided, atol=1e-5)


def test_residuals_are_scaled() -> None:
    net = InceptionResNetV2(repeats=(1, 1, 1))
    scales = [m.scale for m in net.modules() if hasattr(m, "scale")]
    assert scales == [0.17, 0.10, 0.20, 1.0]
    block, x = net.middle[8].eval(), torch.rand(1, 320, 3, 3)
    assert torch.allclose(run(block, x), (x + 0.17 * run(block.project, run(block.branches, x))).relu(), atol=1e-6)


# ------------------------------------------------------------------------------------------- proposals


def test_anchors() -> None:
    anchors = anchor_boxes(2, 3, 16, sizes=(16, 32), ratios=(0.25, 1.0))
    assert anchors.shape == (2 * 3 * 4, 4)
    assert anchors[0].tolist() == [-8, 4, 24, 12]  # 32 wide, 8 high around (8, 8)
    assert anchors[3].tolist() == [-8, -8, 24, 24]
    assert anchors[4:8].sub(anchors[:4]).tolist() == [[16, 0, 16, 0]] * 4  # the next cell is to the right
    assert anchors[12:16].sub(anchors[:4]).tolist() == [[0, 16, 0, 16]] * 4
    assert len(anchor_boxes(40, 40, 16)) == 40 * 40 * 9


@given(st.lists(st.floats(5, 200), min_size=8, max_size=8))
@settings(max_examples=50, deadline=None)
def test_coding_and_back(numbers) -> None:
    low, size = torch.tensor(numbers).view(2, 2, 2)
    box, base = torch.cat((low, low + size), -1)
    assert torch.allclose(decode(encode(box, base, VARIANCES), base, VARIANCES), box, atol=0.02)


def test_coding_by_hand() -> None:
    base, box = torch.tensor([0.0, 0.0, 10.0, 20.0]), torch.tensor([5.0, 10.0, 15.0, 50.0])
    assert torch.allclose(encode(box, base), torch.tensor([0.5, 1.0, 0.0, math.log(2)]))
    assert torch.allclose(encode(box, base, VARIANCES), torch.tensor([5, 10, 0, 5 * math.log(2)]))
    assert decode(torch.tensor([0.0, 0.0, 99.0, 0.0]), base)[2] == pytest.approx(5 + 5 * 1000 / 16)  # growth is limited


def test_matching() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 4], [50, 50, 60, 60], [80, 80, 90, 90]])
    truth = torch.tensor([[0.0, 0, 10, 10], [52, 50, 72, 60]])  # the second has an IoU of 8 / 22 at most
    ignored = torch.tensor([[79.0, 79, 95, 95]])
    label, row = match(boxes, truth, ignored, OBJECTNESS)
    assert label.tolist() == [1, 1, -1, 1, -1]
    assert row[[0, 1, 3]].tolist() == [0, 0, 1]
    label, _ = match(boxes, truth, truth[:0], Matching(0.5, 0.5, False, 128, 0.25))
    assert label.tolist() == [1, 1, 0, 0, 0]
    label, _ = match(boxes, truth[:0], truth[:0], OBJECTNESS)
    assert label.tolist() == [0] * 5


def test_samples() -> None:
    label = torch.tensor([1] * 200 + [0] * 500 + [-1] * 300)
    chosen = sample(label, OBJECTNESS)
    assert len(chosen) == len(set(chosen.tolist())) == 256
    assert (label[chosen] == 1).sum() == (label[chosen] == 0).sum() == 128
    few = sample(label[190:], OBJECTNESS)
    assert (label[190:][few] == 1).sum() == 10
    assert len(few) == 256


def test_regions_are_few_apart_and_inside() -> None:
    net = lively(proposals=Proposals(before=100, after=20, iou=0.5))
    images = torch.rand(2, 3, 96, 128)
    said = run(net, images)
    assert said.boxes.shape == (2, 20, 4)
    assert said.classes.shape == (2, 20, 3)
    for boxes, valid in zip(said.boxes, said.valid, strict=True):
        assert valid.any()
        assert (boxes[~valid] == 0).all()
        kept = boxes[valid]
        assert (kept >= 0).all()
        assert (kept <= torch.tensor([128.0, 96, 128, 96])).all()
        assert (iou_matrix(kept, kept) - torch.eye(len(kept))).max() <= 0.5


# ------------------------------------------------------------------------------------------- output


def test_deployed_layout() -> None:
    net = lively(3, proposals=Proposals(before=60, after=40, iou=0.1))
    images = torch.rand(2, 3, 64, 96)
    said, found = run(net, images), run(net.deployed(), images)
    assert found.shape == (2, 4 + 3, 40)
    assert not said.valid.all()
    assert (found[:, 4:].transpose(1, 2)[~said.valid] == 0).all()
    scores = said.classes.softmax(-1)[..., 1:]
    assert torch.allclose(found[:, 4:].transpose(1, 2)[said.valid], scores[said.valid])
    one = torch.cat([run(net.deployed(), image[None]) for image in images])
    assert torch.allclose(one, found, atol=1e-3)


def test_predictions_are_rows_of_the_stack() -> None:
    net, images = lively(2), torch.rand(2, 3, 64, 64)
    options = Suppression(conf=0.1, iou=0.3, limit=7)
    found = net.predict(images, options)
    expected = suppress(run(net.deployed(), images).numpy(), options)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(0 < len(rows) <= 7 and rows.shape[1] == 6 for rows in found)


def test_what_can_not_be_made() -> None:
    with pytest.raises(ConfigError, match="Unknown backbone of R-FCN 'r34'"):
        rfcn("r34", 1)
    with pytest.raises(ConfigError) as caught:
        rfcn("q", 0, k=0, anchors=(0.0,))
    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigError) as caught:
        Proposals(before=0, after=0, iou=2, least=-1)
    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigError, match="three numbers of blocks"):
        InceptionResNetV2(repeats=(1, 2))


# ------------------------------------------------------------------------------------------- learning


def test_losses_at_the_start() -> None:
    net = rfcn("tiny", 2).train()
    images, targets = two_squares()
    found = net(images, targets)
    parts = ("rpn_object", "rpn_box", "cls", "box")
    assert torch.allclose(found["loss"], sum(found[name] for name in parts), atol=1e-6)
    assert found["rpn_object"] == pytest.approx(math.log(2), abs=0.05)  # nothing is known yet
    assert found["cls"] == pytest.approx(math.log(3), abs=0.1)
    assert found["positives"] >= 2  # the true boxes are regions too


def test_every_weight_learns() -> None:
    net = rfcn("tiny", 2).train()
    images, targets = two_squares()
    net.loss(images, targets)["loss"].backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
def test_mining_learns_from_the_hardest() -> None:
    net, images = lively(2), torch.rand(1, 3, 160, 160)
    said = net(images)
    costs = -said.classes.log_softmax(-1)[..., 0][said.valid]  # without boxes all regions are background
    assert len(costs) > 140
    empty = Targets.of([([], [])])
    assert net.loss(images, empty)["cls"] == pytest.approx(float(costs.topk(128).values.mean()), rel=1e-5)
    net.mining = False
    drawn = float(net.loss(images, empty)["cls"])
    assert costs.topk(128, largest=False).values.mean() < drawn < costs.topk(128).values.mean()


def test_photos_without_boxes_and_ignored_regions() -> None:
    net, (images, _) = lively(2), two_squares()
    empty = net.loss(images, Targets.of([([], []), ([], [])]))
    assert empty["loss"].isfinite()
    assert empty["positives"] == empty["box"] == empty["rpn_box"] == 0
    empty["loss"].backward()
    whole = [[0, 0, 96, 96]], [0], [True]
    free = net.loss(images, Targets.of([whole, whole]))  # no region is background there
    assert free["cls"] == free["box"] == 0
    assert free["loss"] < empty["loss"]


def test_targets_that_can_not_be_learned() -> None:
    net, images = rfcn("tiny", 2), torch.rand(1, 3, 64, 64)
    with pytest.raises(DataError, match="of class 2; allowed: 0 to 1"):
        net.loss(images, Targets.of([([[0, 0, 9, 9]], [2])]))
    with pytest.raises(DataError, match="of photo 1; allowed: 0 to 0"):
        net.loss(images, Targets.of([([], []), ([[0, 0, 9, 9]], [0])]))
    with pytest.raises(DataError, match="no area"):
        net.loss(images, Targets.of([([[9, 0, 9, 9]], [0])]))


@pytest.mark.parametrize("mining", [True, False])
def test_the_loss_falls(mining) -> None:
    net = rfcn("tiny", 2, mining=mining).train()
    images, targets = two_squares()
    optimiser, losses = torch.optim.AdamW(net.parameters(), 2e-3), []
    for _ in range(20):
        loss = net.loss(images, targets)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_it_learns_two_squares() -> None:
    net = rfcn("tiny", 2).train()
    images, targets = two_squares(160, 2)  # three bins a side need objects of more than three cells
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, 150)
    for _ in range(150):
        optimiser.zero_grad()
        net.loss(images, targets)["loss"].backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10)
        optimiser.step()
        schedule.step()
    for rows, box, label in zip(net.eval().predict(images), targets.boxes, targets.labels, strict=True):
        assert rows[0, 5] == label
        assert iou_matrix(torch.from_numpy(rows[:1, :4]), box[None]) > 0.8


@pytest.mark.slow
def test_inception_resnet_learns() -> None:
    net = rfcn("inception_resnet_v2", 1).train()
    images, _ = two_squares()
    boxes = Targets.of([([[20, 16, 56, 52]], [0]), ([[32, 32, 72, 72]], [0])])
    optimiser, losses = torch.optim.AdamW(net.parameters(), 1e-4), []
    for _ in range(6):
        loss = net.loss(images, boxes)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.onnx
def test_onnx_gives_the_same_at_any_size(tmp_path) -> None:
    ort = pytest.importorskip("onnxruntime")
    net = lively(2, proposals=Proposals(before=200, after=50)).deployed()
    dim = torch.export.Dim
    shapes = ({0: dim.DYNAMIC, 2: 32 * dim("h", min=1, max=64), 3: 32 * dim("w", min=1, max=64)},)
    program = torch.onnx.export(net, (torch.rand(2, 3, 64, 96),), dynamo=True, opset_version=18, verbose=False,
                                input_names=["images"], output_names=["detections"], dynamic_shapes=shapes)  # fmt: skip
    assert program is not None
    program.save(str(tmp_path / "net.onnx"))
    session = ort.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 64, 64), (3, 3, 32, 160), (1, 3, 256, 320)):  # fewer and more anchors than are looked at
        images = torch.rand(shape)
        found = session.run(None, {"images": images.numpy()})[0]
        assert np.abs(found - run(net, images).numpy()).max() < 1e-3
