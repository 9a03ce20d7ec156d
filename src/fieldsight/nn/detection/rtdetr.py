"""RT-DETR (Zhao et al., CVPR 2024, arXiv 2304.08069) through transformers: random weights, no download.

A set of queries, each one object or none: no NMS. ``transformers`` is imported when :func:`rtdetr` is called; the loss
needs scipy, which solves the assignment.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fieldsight.errors import ConfigError, DataError, unknown
from fieldsight.nn.detection.assign import Targets
from fieldsight.nn.detection.boxes import to_centres

#: Backbone, hybrid encoder and decoder of each size. ``r18`` and ``r50`` are the paper's.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "layer": "basic", "depths": (1, 1, 1, 1), "stem": 16, "widths": (16, 32, 64, 128), "width": 64, "heads": 4,
        "ffn": 128, "queries": 50, "decoder": 2, "expansion": 0.5, "denoising": 20,
    },
    "r18": {
        "layer": "basic", "depths": (2, 2, 2, 2), "stem": 64, "widths": (64, 128, 256, 512), "width": 256, "heads": 8,
        "ffn": 1024, "queries": 300, "decoder": 3, "expansion": 0.5, "denoising": 100,
    },
    "r50": {
        "layer": "bottleneck", "depths": (3, 4, 6, 3), "stem": 64, "widths": (256, 512, 1024, 2048), "width": 256,
        "heads": 8, "ffn": 1024, "queries": 300, "decoder": 6, "expansion": 1.0, "denoising": 100,
    },
    # the encoder is wider than the decoder here
    "r101": {
        "layer": "bottleneck", "depths": (3, 4, 23, 3), "stem": 64, "widths": (256, 512, 1024, 2048), "width": 256,
        "heads": 8, "ffn": 1024, "queries": 300, "decoder": 6, "expansion": 1.0, "denoising": 100,
        "encoder": (384, 2048),
    },
}  # fmt: skip
STRIDES = (8, 16, 32)

#: Linear layers that transformers starts as the authors do: those of deformable attention.
_KEPT = ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
#: Probability that a query says a class before any training.
_PRIOR = 0.01


class Queries(NamedTuple):
    """What the queries say of a batch.

    Attributes:
        classes: ``(N, Q, nc)`` logits.
        boxes: ``(N, Q, 4)`` as ``cx, cy, w, h`` in shares of the input's width and height, 0-1.
    """

    classes: Tensor
    boxes: Tensor


class RTDetr(nn.Module):
    """transformers' ``RTDetrForObjectDetection`` with this package's inputs and outputs.

    Attributes:
        net: the model of transformers.
        size, classes: what it was made from.
        queries: their number, Q.
        strides: pixels of the input a cell of the levels.
    """

    nms_free = True

    def __init__(self, net: Any, size: str, classes: int) -> None:
        super().__init__()
        self.net = net
        self.size, self.classes, self.strides = size, classes, STRIDES
        self.queries = int(net.config.num_queries)

    def forward(self, images: Tensor) -> Queries:
        """``(N, 3, H, W)`` in 0-1, H and W multiples of 32, to what the last decoder layer says.

        Raises:
            DataError: the photo has fewer cells than there are queries.
        """
        self._check(images)
        found = self.net(pixel_values=images)
        return Queries(found.logits, found.pred_boxes)

    def features(self, images: Tensor) -> list[Tensor]:
        """Outputs of the backbone at strides 8, 16, 32: ``(N, C_i, H / stride_i, W / stride_i)``."""
        return list(self.net.model.backbone.model(images).feature_maps)

    def loss(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The paper's loss: varifocal, L1 and GIoU after Hungarian matching, over all decoder layers.

        In training it adds contrastive denoising, whose noise is drawn from torch's global generator. Ignored regions
        are background here: the method has no place for them.

        Args:
            images: ``(N, 3, H, W)`` in 0-1.
            targets: boxes in pixels of the input, on the network's device.

        Returns:
            Scalars. ``loss``, the sum, to be minimised. ``vfl``, ``bbox`` and ``giou``, its parts, weighted as in the
            sum and without gradient.

        Raises:
            DataError: a target of a class or photo that does not exist or without an area, or see :meth:`forward`.
        """
        self._check(images)
        found = self.net(pixel_values=images, labels=self._labels(images, targets))
        parts = {
            name: torch.stack([v.detach() for key, v in found.loss_dict.items() if name in key]).sum()
            for name in ("vfl", "bbox", "giou")
        }
        return {"loss": found.loss, **parts}

    def deployed(self) -> DeployedRTDetr:
        """This network, sharing its weights, with decoding: ``(N, 3, H, W)`` to ``(N, Q, 4 + nc)``."""
        return DeployedRTDetr(self).train(self.training)

    def _labels(self, images: Tensor, targets: Targets) -> list[dict[str, Tensor]]:
        """What transformers wants: boxes of each photo as centres and sizes in shares of its width and height."""
        kept = ~targets.ignore
        boxes, labels, photo = targets.boxes[kept], targets.labels[kept], targets.image[kept]
        for what, values, most in (("class", labels, self.classes), ("photo", photo, len(images))):
            bad = values[(values < 0) | (values >= most)]
            if len(bad):
                raise DataError(f"A target is of {what} {int(bad[0])}; allowed: 0 to {most - 1}.")
        bad = boxes[~(boxes[:, 2:] > boxes[:, :2]).all(1)]
        if len(bad):
            raise DataError(f"A target has no area: corners {bad[0].tolist()}; leave it out.")
        height, width = images.shape[-2:]
        shares = to_centres(boxes) / boxes.new_tensor([width, height, width, height])
        return [{"class_labels": labels[photo == i], "boxes": shares[photo == i]} for i in range(len(images))]

    def _check(self, images: Tensor) -> None:
        if torch.compiler.is_compiling():  # sizes are symbols then
            return
        height, width = images.shape[-2:]
        if height % STRIDES[-1] or width % STRIDES[-1]:
            raise DataError(f"RT-DETR takes heights and widths that are multiples of 32; got {height} x {width}.")
        cells = sum((height // s) * (width // s) for s in STRIDES)
        if cells < self.queries:
            raise DataError(f"A photo of {height} x {width} has {cells} cells for {self.queries} queries; enlarge it.")


class DeployedRTDetr(nn.Module):
    """RT-DETR as it is exported: photos in, boxes and scores out."""

    def __init__(self, net: RTDetr) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` in 0-1 to ``(N, Q, 4 + nc)``: ``cx, cy, w, h`` in pixels of the input, scores in 0-1."""
        found = self.net(images)
        height, width = images.shape[-2:]
        x, y, w, h = found.boxes.float().unbind(-1)
        boxes = torch.stack((x * width, y * height, w * width, h * height), -1)
        return torch.cat((boxes, found.classes.float().sigmoid()), -1)


def rtdetr(size: str, classes: int, *, queries: int | None = None) -> RTDetr:
    """An RT-DETR with random weights.

    Args:
        size: ``tiny`` (for a CPU), ``r18``, ``r50`` or ``r101`` (the paper's, on ResNet-D).
        classes: their number.
        queries: how many objects it can say; by default 50 in ``tiny``, else 300.

    Raises:
        ConfigError: a size that does not exist, fewer than one class or query.
    """
    problems = [] if size in SIZES else [unknown("size of RT-DETR", size, SIZES)]
    if classes < 1:
        problems.append(f"A detector needs at least one class; got {classes}.")
    if queries is not None and queries < 1:
        problems.append(f"RT-DETR needs at least one query; got {queries}.")
    if problems:
        raise ConfigError(problems)
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    made = SIZES[size]
    width, ffn = made.get("encoder", (made["width"], made["ffn"]))
    backbone = RTDetrResNetConfig(
        embedding_size=made["stem"], hidden_sizes=list(made["widths"]), depths=list(made["depths"]),
        layer_type=made["layer"], out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = RTDetrConfig(
        backbone_config=backbone, freeze_backbone_batch_norms=False, num_labels=classes,
        encoder_in_channels=list(made["widths"][1:]), feat_strides=list(STRIDES), encoder_hidden_dim=width,
        encoder_ffn_dim=ffn, encoder_attention_heads=made["heads"], hidden_expansion=made["expansion"],
        d_model=made["width"], decoder_in_channels=[width] * 3, decoder_ffn_dim=made["ffn"],
        decoder_attention_heads=made["heads"], decoder_layers=made["decoder"],
        num_queries=made["queries"] if queries is None else queries, num_denoising=made["denoising"],
    )  # fmt: skip
    net: Any = RTDetrForObjectDetection(config)
    _restart(net)
    return RTDetr(net, size, classes)


def _restart(net: nn.Module) -> None:
    """Weights to learn from, where transformers draws what a checkpoint is to replace.

    It draws the scales of batch normalisation around 0 with a deviation of 0.01, which silences the backbone, and lets
    scores start at 1 / (classes + 1). Here those scales start at 1, convolutions by He et al. (2015), scores at 0.01 as
    with the authors, box heads at the anchors, other linear layers as torch does.
    """
    for name, layer in net.named_modules():
        last = name.rpartition(".")[2]
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear) and last not in _KEPT:
            layer.reset_parameters()
            if "class_embed" in name or last == "enc_score_head":
                nn.init.constant_(layer.bias, math.log(_PRIOR / (1 - _PRIOR)))
            elif "bbox" in name and name.endswith("layers.2"):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
