"""Convolutional networks from their published tables, counted by arithmetic alone.

Sources: He et al. 2016 (ResNet, Table 1), Simonyan and Zisserman 2015 (VGG, Table 1, configurations D and E),
Sandler et al. 2018 (MobileNetV2, Table 2). Strides follow the implementations in use: ResNet-50 strides in the 3 x 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from fieldsight.profile.counts import Counts, Layer, Op, PaperNumbers, merge_ops


@dataclass
class Tower:
    """Layers stacked on an image, with the size and channels so far.

    Attributes:
        size: height and width (square).
        channels: channels so far.
    """

    size: int
    channels: int
    layers: list[Layer] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    def conv(
        self,
        name: str,
        out: int,
        kernel: int,
        stride: int = 1,
        padding: int | None = None,
        *,
        groups: int = 1,
        norm: bool = True,
        bias: bool = False,
        act: str = "relu",
    ) -> Tower:
        """A square convolution; its norm's scale and shift stand in the same row as ``biases``."""
        pad = kernel // 2 if padding is None else padding
        after = (self.size + 2 * pad - kernel) // stride + 1
        inputs, outputs = self.channels * self.size**2, out * after**2
        weights = out * (self.channels // groups) * kernel**2
        biases = (2 * out if norm else 0) + (out if bias else 0)
        macs = outputs * (self.channels // groups) * kernel**2
        self.layers.append(Layer(name, "conv2d", weights, biases, macs, inputs, outputs))
        self.size, self.channels = after, out
        for kind in (["batch_norm"] if norm else []) + ([act] if act else []):
            self.op(kind, outputs, outputs, name)
        return self

    def pool(self, kernel: int, stride: int, padding: int = 0, where: str = "pool") -> Tower:
        """Max pooling."""
        before = self.channels * self.size**2
        self.size = (self.size + 2 * padding - kernel) // stride + 1
        return self.op("max_pool2d", before, self.channels * self.size**2, where)

    def average(self, where: str = "pool") -> Tower:
        """Global average pooling."""
        before, self.size = self.channels * self.size**2, 1
        return self.op("adaptive_avg_pool2d", before, self.channels, where)

    def linear(self, name: str, out: int, act: str = "") -> Tower:
        """A fully connected layer with bias on all that there is."""
        inputs = self.channels * self.size**2
        self.layers.append(Layer(name, "linear", inputs * out, out, inputs * out, inputs, out))
        self.size, self.channels = 1, out
        return self.op(act, out, out, name) if act else self

    def op(self, kind: str, inputs: int, outputs: int, where: str) -> Tower:
        """Arithmetic outside the MACs."""
        self.ops.append(Op(kind, 1, inputs, outputs, where))
        return self

    def counts(self, name: str, paper: PaperNumbers | None = None) -> Counts:
        """The table."""
        return Counts(name, "table", tuple(self.layers), merge_ops(self.ops), unit="image", paper=paper)


def resnet(name: str, depths: Iterable[int], bottleneck: bool, size: int = 224, classes: int = 1000,
           paper: PaperNumbers | None = None) -> Counts:  # fmt: skip
    """ResNet-18, -34 (basic blocks), -50, -101, -152 (bottlenecks)."""
    net = Tower(size, 3).conv("conv1", 64, 7, 2).pool(3, 2, 1, "conv1")
    grow = 4 if bottleneck else 1
    for stage, depth in enumerate(depths, start=1):
        width = 64 * 2 ** (stage - 1)
        for block in range(depth):
            stride = 2 if stage > 1 and block == 0 else 1
            before, size_before, at = net.channels, net.size, f"layer{stage}.{block}"
            if bottleneck:
                net.conv(f"{at}.conv1", width, 1).conv(f"{at}.conv2", width, 3, stride)
                net.conv(f"{at}.conv3", width * 4, 1, act="")
            else:
                net.conv(f"{at}.conv1", width, 3, stride).conv(f"{at}.conv2", width, 3, act="")
            if stride != 1 or before != width * grow:
                side = Tower(size_before, before, net.layers, net.ops)
                side.conv(f"{at}.downsample", width * grow, 1, stride, act="")
            elements = net.channels * net.size**2
            net.op("add", elements, elements, at).op("relu", elements, elements, at)
    return net.average().linear("fc", classes).counts(name, paper)


def vgg(name: str, plan: str, size: int = 224, classes: int = 1000) -> Counts:
    """VGG: ``plan`` lists widths and M for pooling; biases, no norms."""
    net, index = Tower(size, 3), 0
    for step in plan.split():
        if step == "M":
            net.pool(2, 2, where=f"conv{index}")
        else:
            index += 1
            net.conv(f"conv{index}", int(step), 3, norm=False, bias=True)
    return net.linear("fc1", 4096, "relu").linear("fc2", 4096, "relu").linear("fc3", classes).counts(name)


def mobilenet_v2(name: str = "mobilenetv2", size: int = 224, classes: int = 1000) -> Counts:
    """MobileNetV2 at width 1: inverted residuals (expansion, channels, repeats, stride) of its Table 2."""
    net = Tower(size, 3).conv("conv1", 32, 3, 2, act="relu6")
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for stage, (expand, out, repeats, first) in enumerate(table, start=1):
        for block in range(repeats):
            at, stride, before = f"block{stage}.{block}", first if block == 0 else 1, net.channels
            wide = before * expand
            if expand > 1:
                net.conv(f"{at}.expand", wide, 1, act="relu6")
            net.conv(f"{at}.depthwise", wide, 3, stride, groups=wide, act="relu6")
            net.conv(f"{at}.project", out, 1, act="")
            if stride == 1 and before == out:
                elements = out * net.size**2
                net.op("add", elements, elements, at)
    return net.conv("conv2", 1280, 1, act="relu6").average().linear("fc", classes).counts(name)


def cnn(width: int, depth: int = 3, size: int = 32, classes: int = 10) -> Counts:
    """The small generated CNN: ``depth`` 3 x 3 convolutions with bias and ReLU, every second one halves the image.

    The same network is :func:`fieldsight.systems.energy.toys.cnn`.
    """
    net = Tower(size, 3)
    for i in range(depth):
        net.conv(f"conv{i}", width * 2 ** (i // 2), 3, 1 + i % 2, norm=False, bias=True)
    return net.average().linear("fc", classes).counts(f"cnn-{width}x{depth}")


def mlp(width: int, depth: int = 3, inputs: int = 256, classes: int = 10) -> Counts:
    """The small generated MLP: ``depth`` layers without biases, so that MACs are exactly weights times batch."""
    sizes = [inputs, *[width] * (depth - 1), classes]
    rows = [Layer(f"fc{i}", "linear", a * b, 0, a * b, a, b) for i, (a, b) in enumerate(pairwise(sizes))]
    ops = [Op("relu", 1, row.outputs, row.outputs, row.name) for row in rows[:-1]]
    return Counts(f"mlp-{width}x{depth}", "table", tuple(rows), merge_ops(ops))
