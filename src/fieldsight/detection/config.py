"""Numbers of training a detector; the defaults are what the tools of this family use when nothing is set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting

Scale = Literal["p", "n", "s", "m", "l", "x"]
Family = Literal["yolov8", "yolov9", "yolov10", "rtdetr", "rfcn"]


@dataclass(frozen=True)
class Augment(Config):
    """Changes of training pictures."""

    mosaic: float = setting(1.0, "chance that four pictures become one", ge=0, le=1)
    close_mosaic: int = setting(10, "last epochs without mosaic", ge=0)
    erase: float = setting(0.0, "chance that a part of a picture is painted over, boxes and all", ge=0, le=1)
    hue: float = setting(0.015, "largest change of hue, of the circle", ge=0, le=0.5)
    saturation: float = setting(0.7, "largest change of saturation, as a share", ge=0, le=1)
    value: float = setting(0.4, "largest change of brightness, as a share", ge=0, le=1)
    translate: float = setting(0.1, "largest shift, of the side", ge=0, le=1)
    scale: float = setting(0.5, "largest change of size, as a share", ge=0, lt=1)
    flip: float = setting(0.5, "chance of a mirrored picture", ge=0, le=1)
    flip_ud: float = setting(0.0, "chance of a picture upside down", ge=0, le=1)
    rotate: float = setting(0.0, "largest turn (degrees)", ge=0, le=180)


@dataclass(frozen=True)
class Loss(Config):
    """Assignment of anchors to boxes (Y1) and weights of the loss (Y5)."""

    box: float = setting(7.5, "weight of CIoU", ge=0)
    cls: float = setting(0.5, "weight of the classes' cross-entropy", ge=0)
    dfl: float = setting(1.5, "weight of the distribution focal loss", ge=0)
    topk: int = setting(10, "anchors a box gets at the most", ge=1, le=1000)
    alpha: float = setting(0.5, "power of the score in assignment", ge=0)
    beta: float = setting(6.0, "power of CIoU in assignment", ge=0)


@dataclass(frozen=True)
class DetectorConfig(Config):
    """Training of one detector; a system adds its data, and says which families it takes."""

    seed: int = setting(0, "seed of weights and order", ge=0)
    family: Family = setting("yolov8", "kind of detector")
    size: Scale = setting("n", "scale of the detector; p is half as wide as n")
    classes: tuple[str, ...] = setting((), "names of the classes; those of the data without any")
    checkpoint: Path | None = setting(None, "weights in the field's names to start from (.safetensors), e.g. of COCO")
    without: tuple[str, ...] = setting((), "beginnings of names that the checkpoint does not fill, as model.22.cv3")
    input: int = setting(640, "pixels a side of what the network sees; a multiple of 32", ge=32, le=4096)
    epochs: int = setting(100, "most epochs", ge=1, le=100_000)
    steps: int = setting(0, "most optimiser steps; 0: as many as the epochs have", ge=0)
    patience: int = setting(10, "epochs without a better fitness before it stops", ge=1)
    batch: int = setting(16, "pictures per batch", ge=1, le=4096)
    nominal: int = setting(64, "pictures per optimiser step, as batches are added up", ge=1, le=65_536)
    lr: float = setting(0.002, "learning rate of AdamW", gt=0, le=1)
    beta1: float = setting(0.9, "momentum of AdamW", ge=0, lt=1)
    last: float = setting(0.01, "share of the learning rate at the end; linear", gt=0, le=1)
    weight_decay: float = setting(5e-4, "weight decay, on weights alone", ge=0, le=1)
    warmup: float = setting(3.0, "epochs of linear warm-up; below 1 a share of all steps", ge=0)
    clip: float = setting(10.0, "largest norm of the gradient", gt=0)
    ema: float = setting(0.9999, "decay of the running mean of the weights", ge=0, lt=1)
    ema_ramp: float = setting(2000.0, "optimiser steps over which it rises; below 1 a share of all steps", gt=0)
    augment: Augment = setting(Augment(), "augmentation")
    loss: Loss = setting(Loss(), "loss")
    conf: float = setting(0.25, "least score of a box that is told", gt=0, lt=1)
    iou: float = setting(0.7, "overlap from which the weaker of two boxes of a class is dropped", gt=0, le=1)
    most: int = setting(300, "boxes a picture has at the most", ge=1, le=100_000)
    workers: int = setting(0, "loader processes", ge=0, le=64)

    rules = (
        (lambda c: c.input % 32 == 0, "input: must be a multiple of 32"),
        (lambda c: not c.without or c.checkpoint is not None, "without: only with a checkpoint"),
        (lambda c: len(set(c.classes)) == len(c.classes), "classes: a name is given twice"),
    )
