"""Fusion: the colour model there and back, golden pixels, and the torch module against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tubes import picture

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.vessel import fusing
from fieldsight.systems.vessel.constants import KAPPA
from fieldsight.systems.vessel.enhancer import EXPORTABLE, Enhancer
from fieldsight.systems.vessel.fast import vesselness
from fieldsight.systems.vessel.filters import scaled


def test_colours_there_and_back() -> None:
    """Acceptance 5."""
    rgb = np.random.default_rng(0).random((10_000, 3))
    assert np.abs(fusing.from_ihs(*fusing.to_ihs(rgb)) - rgb).max() < 1e-6
    i, h, s = fusing.to_ihs(np.array([0.2, 0.6, 0.4]))
    assert (i, s) == (pytest.approx(0.4), pytest.approx(0.5))
    assert h == pytest.approx(4 / 3)
    assert fusing.to_ihs(np.array([0.4, 0.2, 0.6]))[1] == pytest.approx(7 / 3)
    without = fusing.from_ihs(i, h - 1, s, least="R")  # as printed: no offset in the forward, one in the inverse
    assert without == pytest.approx([0.2, 1.2, -0.2])
    i, h, s = fusing.to_ihs(np.array([0.6, 0.4, 0.2]))
    assert i == pytest.approx(0.4)
    assert fusing.from_ihs(0.5, h, s) == pytest.approx([0.75, 0.5, 0.25])


def test_grey_and_black() -> None:
    i, h, s = fusing.to_ihs(np.array([[0.1] * 3, [0.7] * 3, [0.0] * 3]))
    assert s.tolist() == h.tolist() == [0, 0, 0]
    assert np.allclose(fusing.from_ihs(i, h, s), [[0.1] * 3, [0.7] * 3, [0.0] * 3])
    assert fusing.to_ihs(np.array([1.0, 0.6, 0.0]))[1] == pytest.approx(fusing.HUE)


@pytest.mark.parametrize("mode", ["ihs", "blend", "substitute"])
def test_without_vessels_it_is_the_frame(mode: fusing.Fusion) -> None:
    frame = picture()
    fused = fusing.fuse(frame, np.zeros(frame.shape), mode)
    assert np.array_equal(fused.image, fusing.grey(frame))
    assert fused.clipped == 0


def test_golden_pixels() -> None:
    """Acceptance 6: (122.1875, 90.3125, 42.5), rounded."""
    frame, value = np.full((1, 1), 100, np.uint8), np.full((1, 1), 0.5)
    assert fusing.fuse(frame, value).image[0, 0].tolist() == [122, 90, 43]
    assert fusing.fuse(frame, value, "blend").image[0, 0].tolist() == [85] * 3
    assert fusing.fuse(frame, value, "average").image[0, 0].tolist() == [114] * 3  # 50 + 63.75
    colour = fusing.to_ihs(np.array([1.0, 0.8, 0.5]))  # the ramp at V = .5
    assert colour[1] == pytest.approx(fusing.HUE)
    assert colour[2] == pytest.approx(1 - 0.5 / (1 - 0.5 * 1.4 / 3))
    wanted = np.rint(fusing.from_ihs(100, colour[1], colour[2]))
    assert fusing.fuse(frame, value, "substitute").image[0, 0].tolist() == wanted.tolist()


def test_intensity_is_kept_where_nothing_is_clipped() -> None:
    frame = (picture() // 2).astype(np.uint8)
    value = scaled(vesselness(frame).value)
    fused = fusing.fuse(frame, value)
    assert fused.clipped == 0
    assert np.abs(fused.image.mean(-1) - frame * (1 - KAPPA * value)).max() < 0.6


def test_clipping_is_counted() -> None:
    bright = np.full((10, 10), 250, np.uint8)
    assert fusing.fuse(bright, np.full((10, 10), 0.9)).clipped == pytest.approx(1 / 3)
    assert fusing.fuse(bright, np.zeros((10, 10))).clipped == 0


def test_stack_holds_frame_vessels_and_equalised_frame() -> None:
    frame = picture()
    value = scaled(vesselness(frame).value)
    image = fusing.fuse(frame, value, "stack").image
    assert np.array_equal(image[..., 0], frame)
    assert np.array_equal(image[..., 1], fusing.levels(value))
    assert image[..., 2].std() > frame.std()
    assert fusing.unsharp(frame).std() > frame.std()


def test_what_does_not_fit_is_said() -> None:
    frame, value = picture(), np.zeros((3, 3))
    with pytest.raises(DataError, match="same size"):
        fusing.fuse(frame, value)
    with pytest.raises(DataError, match="uint8"):
        fusing.fuse(frame.astype(np.float32), np.zeros(frame.shape))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Did you mean 'blend'"):
        fusing.fuse(frame, np.zeros(frame.shape), "blendd")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="kappa"):
        fusing.fuse(frame, np.zeros(frame.shape), kappa=1.5)


@pytest.mark.parametrize("mode", EXPORTABLE)
def test_torch_equals_numpy(mode: str) -> None:
    frame = picture()
    value = scaled(vesselness(frame).value)
    if mode in ("raw", "vesselness"):
        wanted = fusing.grey(frame if mode == "raw" else fusing.levels(value))
    else:
        wanted = fusing.fuse(frame, value, mode).image  # type: ignore[arg-type]
    found = Enhancer(mode)(torch.from_numpy(frame).float()[None, None])[0].permute(1, 2, 0).numpy()  # type: ignore[arg-type]
    apart = np.abs(found - wanted)
    assert apart.max() <= 1  # where a value lies between two levels
    assert (apart > 0).mean() < 0.01


def test_torch_has_no_equalised_frame() -> None:
    with pytest.raises(ConfigError, match="stack"):
        Enhancer("stack")  # type: ignore[arg-type]


@pytest.mark.onnx
def test_exported_enhancer_is_the_same(tmp_path: object) -> None:
    pytest.importorskip("onnxruntime")
    from pathlib import Path

    import onnxruntime

    path = Path(str(tmp_path)) / "enhancer.onnx"
    frames = torch.from_numpy(np.stack([picture(seed=n) for n in range(2)])).float()[:, None]
    module = Enhancer("ihs").eval()
    torch.onnx.export(module, (frames,), str(path), dynamo=False, input_names=["frames"], output_names=["fused"])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {"frames": frames.numpy()})[0]
    assert np.abs(found - module(frames).numpy()).max() <= 1
