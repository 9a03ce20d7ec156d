"""R-FCN (Dai, Li, He, Sun, NIPS 2016, arXiv 1605.06409) on ResNets and Inception-ResNet-v2.

A fully convolutional detector of two stages. A backbone gives two maps at stride 16. The region proposal network reads
the first. The second, whose last stage keeps the stride and dilates its convolutions, is reduced to 1024 channels and
gives the position-sensitive maps. Every region is pooled from those, and its bins vote: no layer runs for each region.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.nn.backbones import Encoder, resnet
from fieldsight.nn.detection.assign import Targets
from fieldsight.nn.detection.boxes import clip_boxes, to_centres
from fieldsight.nn.detection.nms import Floats, Suppression, suppress
from fieldsight.nn.detection.psroi import ps_roi_pool, vote
from fieldsight.nn.detection.rpn import (
    PROPOSALS,
    Matching,
    Proposals,
    RegionProposals,
    begin,
    decode,
    encode,
    match,
    sample,
)
from fieldsight.nn.inception_resnet import InceptionResNetV2

#: Backbones: stages of a ResNet (widths, depths, deep ones of bottlenecks), channels of the RPN and before the
#: position-sensitive maps. The paper's is ``r101``; ``tiny`` is ours, for a CPU.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (16, 32, 64, 128), "depths": (1, 1, 1, 1), "deep": False, "rpn": 64, "reduced": 128},
    "r18": {"widths": (64, 128, 256, 512), "depths": (2, 2, 2, 2), "deep": False, "rpn": 256, "reduced": 512},
    "r50": {"widths": (256, 512, 1024, 2048), "depths": (3, 4, 6, 3), "deep": True, "rpn": 512, "reduced": 1024},
    "r101": {"widths": (256, 512, 1024, 2048), "depths": (3, 4, 23, 3), "deep": True, "rpn": 512, "reduced": 1024},
    "inception_resnet_v2": {"rpn": 512, "reduced": 1024},
}  # fmt: skip
STRIDE = 16
#: What the four differences of a region's box are divided by.
VARIANCES = (0.1, 0.1, 0.2, 0.2)
#: What :meth:`RFCN.predict` keeps, with the paper's IoU.
SHOWN = Suppression(conf=0.25, iou=0.3)
#: Regions with an IoU of a half or more are objects (section 2 of the paper); without mining, a quarter of 128.
REGIONS = Matching(0.5, 0.5, False, 128, 0.25)


class Regions(NamedTuple):
    """What is said of the regions of a batch.

    Attributes:
        boxes: ``(N, P, 4)`` corners of the regions in pixels of the input.
        valid: ``(N, P)`` bool, False where a row only pads.
        classes: ``(N, P, 1 + nc)`` logits, background first.
        deltas: ``(N, P, 4)`` how the object's box differs from the region, over :data:`VARIANCES`.
    """

    boxes: Tensor
    valid: Tensor
    classes: Tensor
    deltas: Tensor


class AtrousResNet(nn.Module):
    """A ResNet whose last stage keeps stride 16.

    Attributes:
        widths: channels of the two maps.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.widths = (encoder.widths[-2], encoder.widths[-1])
        atrous(encoder.stages[-1])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 3, H, W)`` to the maps ``(N, widths[i], H / 16, W / 16)`` of the last two stages."""
        *_, middle, last = self.encoder(images)
        return middle, last


def atrous(stage: nn.Module) -> None:
    """Take the stride of 2 out of a stage, in place: what followed it reads every second cell (the hole algorithm).

    At every second cell the stage then gives what it gave with its stride.
    """
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d):
            if layer.stride == (2, 2):
                layer.stride = (1, 1)
            elif layer.kernel_size == (3, 3):
                layer.dilation = layer.padding = (2, 2)


class RFCN(nn.Module):
    """Backbone, region proposals, position-sensitive maps.

    Attributes:
        size, classes: what it was made from.
        k: bins a side.
        mining: whether the regions of the largest losses are learned from (OHEM, section 2), else drawn ones.
        reduce: 1x1 convolution before the maps, and ReLU.
        score: 1x1 convolution to ``k k (1 + nc)`` maps.
        box: 1x1 convolution to ``4 k k`` maps, of one box for all classes.
        strides: pixels of the input a cell of the maps.
    """

    nms_free = False

    def __init__(
        self,
        backbone: AtrousResNet | InceptionResNetV2,
        size: str,
        classes: int,
        k: int,
        mining: bool,
        rpn: RegionProposals,
        reduced: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.size, self.classes, self.k, self.mining, self.strides = size, classes, k, mining, (STRIDE,)
        self.rpn = rpn
        self.reduce = nn.Conv2d(backbone.widths[1], reduced, 1)
        self.score = nn.Conv2d(reduced, k * k * (1 + classes), 1)
        self.box = nn.Conv2d(reduced, k * k * 4, 1)
        begin(self.reduce, self.score, self.box)

    @overload
    def forward(self, images: Tensor) -> Regions: ...

    @overload
    def forward(self, images: Tensor, targets: Targets) -> dict[str, Tensor]: ...

    def forward(self, images: Tensor, targets: Targets | None = None) -> Regions | dict[str, Tensor]:
        """``(N, 3, H, W)`` in 0-1 to what is said of the regions; with targets to the losses, see :meth:`loss`."""
        if targets is not None:
            return self.loss(images, targets)
        middle, last = self.features(images)
        logits, differences, anchors = self.rpn(middle)
        boxes, valid = self.rpn.regions(logits, differences, anchors, _size(images))
        return Regions(boxes, valid, *self.judge(self.maps(last), boxes))

    def features(self, images: Tensor) -> list[Tensor]:
        """The two maps of the backbone: ``(N, C_i, H / 16, W / 16)``, of region proposals and of the last stage."""
        return list(self.backbone(images))

    def maps(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """Position-sensitive maps ``(N, (1 + nc) k k, h, w)`` and ``(N, 4 k k, h, w)`` of the last stage's map."""
        reduced = self.reduce(last).relu()
        return self.score(reduced), self.box(reduced)

    def judge(self, maps: tuple[Tensor, Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Votes of the bins of regions ``(N, P, 4)``: logits ``(N, P, 1 + nc)`` and differences ``(N, P, 4)``."""
        classes, deltas = (vote(ps_roi_pool(part, boxes, STRIDE, self.k)) for part in maps)
        return classes, deltas

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Losses of the region proposals and of the regions, added (section 2 of the paper, lambda = 1).

        The regions are the proposals and the true boxes. With mining all of them are judged, and the 128 a photo of
        the largest losses are learned from; without, 128 drawn ones, of which at most a quarter objects. Chance comes
        from torch's global generator.

        Args:
            images: ``(N, 3, H, W)`` in 0-1.
            targets: boxes in pixels of the input, on the network's device.

        Returns:
            Scalars. ``loss``, the sum, to be minimised. Without gradient: ``rpn_object``, ``rpn_box``, ``cls`` and
            ``box``, its parts; ``positives``, regions learned from that are objects.

        Raises:
            DataError: a target of a class or photo that does not exist or without an area.
        """
        self._check(targets, len(images))
        middle, last = self.features(images)
        logits, differences, anchors = self.rpn(middle)
        proposed, valid = self.rpn.regions(logits, differences, anchors, _size(images))
        rpn_object, rpn_box = self.rpn.loss(logits, differences, anchors, targets)
        cls, box, positives = self._region_loss(self.maps(last), proposed, valid, targets)
        parts = {"rpn_object": rpn_object, "rpn_box": rpn_box, "cls": cls, "box": box}
        told = {name: part.detach() for name, part in parts.items()}
        return {"loss": rpn_object + rpn_box + cls + box, **told, "positives": torch.tensor(float(positives))}

    def deployed(self) -> DeployedRFCN:
        """This network, sharing its weights, with decoding: ``(N, 3, H, W)`` to ``(N, 4 + nc, P)``."""
        return DeployedRFCN(self).train(self.training)

    @torch.no_grad()
    def predict(self, images: Tensor, options: Suppression = SHOWN) -> list[Floats]:
        """Boxes of each photo after suppression.

        Args:
            images: ``(N, 3, H, W)`` in 0-1.
            options: what is kept.

        Returns:
            For each photo ``(K, 6)``: corners in pixels of the input, score, class, best first.
        """
        return suppress(self.deployed()(images).cpu().numpy(), options)

    def _region_loss(
        self, maps: tuple[Tensor, Tensor], proposed: Tensor, valid: Tensor, targets: Targets
    ) -> tuple[Tensor, Tensor, int]:
        """Cross-entropy and smooth L1, each divided by the regions learned from; and how many of these are objects."""
        truth, labels, ignore = targets.padded(len(proposed))
        real = (labels >= 0) & ~ignore
        boxes, exists = torch.cat((proposed, truth), 1), torch.cat((valid, real), 1)
        classes, deltas = self.judge(maps, boxes)
        cls, box, total, positives = [], [], 0, 0
        for n in range(len(boxes)):
            label, row = match(boxes[n], truth[n, real[n]], truth[n, ignore[n]], REGIONS)
            label[~exists[n]] = -1
            kept = (label >= 0).nonzero()[:, 0] if self.mining else sample(label, REGIONS)
            wanted = torch.zeros_like(kept)
            positive = label[kept] == 1
            mine = row[kept[positive]]
            wanted[positive] = labels[n, real[n]][mine] + 1
            costs = F.cross_entropy(classes[n, kept], wanted, reduction="none")
            aims = encode(truth[n, real[n]][mine], boxes[n, kept[positive]], VARIANCES)
            shifts = torch.zeros_like(costs)
            shifts[positive] = F.smooth_l1_loss(deltas[n, kept[positive]], aims, reduction="none").sum(-1)
            hardest = (costs + shifts).detach().topk(min(REGIONS.count, len(kept))).indices
            cls.append(costs[hardest].sum())
            box.append(shifts[hardest].sum())
            total += len(hardest)
            positives += int(positive[hardest].sum())
        return torch.stack(cls).sum() / max(total, 1), torch.stack(box).sum() / max(total, 1), positives

    def _check(self, targets: Targets, photos: int) -> None:
        for what, values, most in (("class", targets.labels, self.classes), ("photo", targets.image, photos)):
            bad = values[(values < 0) | (values >= most)]
            if len(bad):
                raise DataError(f"A target is of {what} {int(bad[0])}; allowed: 0 to {most - 1}.")
        boxes = targets.boxes[~targets.ignore]
        bad = boxes[~(boxes[:, 2:] > boxes[:, :2]).all(1)]
        if len(bad):
            raise DataError(f"A target has no area: corners {bad[0].tolist()}; leave it out.")


class DeployedRFCN(nn.Module):
    """R-FCN as it is exported: photos in, a box and scores a region out. Overlaps are left to suppress, per class.

    Attributes:
        net: the network.
    """

    def __init__(self, net: RFCN) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` in 0-1 to ``(N, 4 + nc, P)``: ``cx, cy, w, h`` in pixels, cut to the photo, scores in 0-1.

        Rows that only pad have scores of 0.
        """
        said: Regions = self.net(images)
        boxes = clip_boxes(decode(said.deltas, said.boxes, VARIANCES), _size(images))
        scores = said.classes.softmax(-1)[..., 1:] * said.valid[..., None]
        return torch.cat((to_centres(boxes), scores), -1).transpose(1, 2)


def rfcn(
    size: str,
    classes: int,
    *,
    k: int = 3,
    mining: bool = True,
    anchors: Sequence[float] | None = None,
    proposals: Proposals = PROPOSALS,
) -> RFCN:
    """An R-FCN with random weights.

    Args:
        size: ``tiny`` (for a CPU), ``r18``, ``r50``, ``r101`` (the paper's) or ``inception_resnet_v2``.
        classes: their number, without background.
        k: bins a side of a region; the paper takes 3 and 7.
        mining: online hard example mining.
        anchors: sides of the anchors in pixels, each in three shapes; by default 32, 64 and 128.
        proposals: which boxes become regions.

    Raises:
        ConfigError: a size that does not exist, fewer than one class or bin, an anchor without a side.
    """
    problems = [] if size in SIZES else [unknown("backbone of R-FCN", size, SIZES)]
    if classes < 1:
        problems.append(f"A detector needs at least one class; got {classes}.")
    if k < 1:
        problems.append(f"A region has at least one bin a side; got k={k}.")
    if anchors is not None and (not anchors or min(anchors) <= 0):
        problems.append(f"Anchors need at least one side, all above 0 pixels; got {list(anchors)}.")
    if problems:
        raise ConfigError(problems)
    made = SIZES[size]
    backbone = _backbone(size)
    given = {} if anchors is None else {"sizes": anchors}
    rpn = RegionProposals(backbone.widths[0], made["rpn"], STRIDE, options=proposals, **given)
    return RFCN(backbone, size, classes, k, mining, rpn, made["reduced"])


def _backbone(size: str) -> AtrousResNet | InceptionResNetV2:
    if size == "inception_resnet_v2":
        return InceptionResNetV2()
    made = SIZES[size]
    build = _bottlenecks if made["deep"] else resnet
    return AtrousResNet(build(made["widths"], made["depths"]))


def _bottlenecks(widths: Sequence[int], depths: Sequence[int]) -> Encoder:
    """A ResNet of bottlenecks (He et al., CVPR 2016), with their stride in the 3x3 convolution."""
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(
        embedding_size=64, hidden_sizes=list(widths), depths=list(depths), layer_type="bottleneck"
    )  # fmt: skip
    model: Any = ResNetModel(config)
    return Encoder(model.embedder, model.encoder.stages, widths, 4)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
