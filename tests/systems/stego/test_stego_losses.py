"""Losses and metrics: Acceptance 5 to 8, and the ways from one to the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fieldsight.metrics import image
from fieldsight.systems.stego import losses
from fieldsight.systems.stego.config import PRESETS
from fieldsight.systems.stego.evaluate import global_ssim, hiding_capacity
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.train import losses as losses_of
from fieldsight.systems.stego.wavelet import DWT


def test_psnr_of_known_errors() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert image.psnr(grey, grey + 10, 255) == pytest.approx(28.131, abs=5e-4)
    flat = np.zeros((4, 4))
    assert image.psnr(flat, flat + math.sqrt(1e-3)) == pytest.approx(30.0)
    assert pytest.approx(6.58, abs=5e-3) == 255 / 10 ** (31.764 / 20)
    assert math.isinf(image.psnr(grey, grey, 255))


def test_eq_3_in_one_window() -> None:
    x = np.array([[0.0, 50.0, 100.0, 150.0]])
    assert pytest.approx(6.5025) == (0.01 * 255) ** 2
    assert pytest.approx(58.5225) == (0.03 * 255) ** 2
    assert global_ssim(x, x + 10, 255) == pytest.approx(0.99222, abs=5e-6)
    assert global_ssim(np.full((4, 4), 7.0), np.full((4, 4), 7.0), 255) == 1.0
    colour = np.dstack([x, x, x])
    assert global_ssim(colour, colour + 10, 255) == pytest.approx(0.99222, abs=5e-6)


def test_eq_5() -> None:
    zero = torch.zeros(1, 4, 3, 5, 5)
    revealed, stego = (torch.full_like(zero, math.sqrt(v)) for v in (0.0010, 0.0008))
    assert float(losses.fusion_loss(zero, revealed, zero, stego, 0.95)) == pytest.approx(0.00176)
    assert float(losses.banded_loss(zero, revealed, zero, stego, 0.95, (1, 1, 1, 1))) == pytest.approx(0.00176)
    assert float(losses.banded_loss(zero, revealed, zero, stego, 0.95, (2, 0, 0, 0))) == pytest.approx(0.00088)


def test_eq_4() -> None:
    assert hiding_capacity(8 * 3 * 256 * 256, 256, 256) == 24


def test_the_loss_on_bands_is_the_loss_on_pixels() -> None:
    torch.manual_seed(0)
    four = torch.rand(4, 2, 3, 32, 32)
    dwt = DWT()
    pixels = float(losses.fusion_loss(*four, beta=0.95))
    assert float(losses.fusion_loss(*(dwt(x) for x in four), beta=0.95)) == pytest.approx(pixels, rel=1e-6)
    batch = {"cover": four[0], "secret": four[1]}
    small = PRESETS["small"].replace(net={"width": 3})
    values = []
    for domain in ("dwt", "pixel"):
        config = small.replace(loss={"domain": domain})
        codec = StegoModel.create(config).codec(pixels=domain != "dwt")
        values.append(float(losses_of(config, codec, batch)["loss"].detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_ssim_agrees_with_scikit_image() -> None:
    rng = np.random.default_rng(0)
    a = rng.random((40, 48, 3))
    b = np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1)
    ours = losses.ssim(*(torch.from_numpy(x.transpose(2, 0, 1))[None] for x in (a, b)))
    assert float(ours) == pytest.approx(image.ssim(a, b), abs=2e-3)  # scikit-image's window is cut at 3.5 sigma too
    assert float(losses.ssim(torch.ones(1, 3, 20, 20), torch.ones(1, 3, 20, 20))) == pytest.approx(1.0)
    assert image.ssim(a, a) == pytest.approx(1.0)


def test_the_gain_grows_with_quality() -> None:
    torch.manual_seed(0)
    secret, cover = torch.rand(2, 2, 3, 24, 24)
    noisy = [losses.gain_loss(secret, secret + s * torch.randn_like(secret), cover, cover, 1.0) for s in (0.01, 0.1)]
    assert float(noisy[0]) < float(noisy[1])


def test_the_logarithm_weighs_pairs_alike() -> None:
    zero = torch.zeros(2, 3, 8, 8)
    found = zero.clone()
    found[0], found[1] = 0.1, 0.2
    one = float(losses.decibel_loss(zero, found, zero, found, 0.0))
    expected = 0.5 * (math.log(0.01 + losses.FLOOR) + math.log(0.04 + losses.FLOOR))
    assert one == pytest.approx(expected, rel=1e-6)
    halved = float(losses.decibel_loss(zero, found / math.sqrt(2), zero, found, 0.0))
    assert one - halved == pytest.approx(math.log(2), abs=1e-3)  # 3 dB for each pair


@pytest.mark.parametrize("name", ["jpeg", "blur", "resize", "gaussian"])
def test_what_happens_on_the_way_lets_gradients_pass(name: str) -> None:
    from fieldsight.systems.stego.noise import disturb

    torch.manual_seed(3)
    picture = torch.rand(1, 3, 24, 29, requires_grad=True)
    changed = picture
    for _ in range(6):  # by chance one of the rounds does nothing
        changed = disturb(picture, (name,))
        if changed is not picture:
            break
    assert changed.shape == picture.shape
    assert not torch.equal(changed, picture)
    changed.sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0


def test_jpeg_in_torch_is_near_the_real_one() -> None:
    import io

    from PIL import Image

    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.stego.noise import jpeg
    from fieldsight.systems.stego.textures import draw

    picture = draw("leaves", 64, rng_for(0, "jpeg"))
    for quality in (50, 90):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="JPEG", quality=quality, subsampling=0)
        real = np.asarray(Image.open(buffer)).astype(float)
        ours = jpeg(torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 255)[None], quality)
        mine = ours[0].numpy().transpose(1, 2, 0).clip(0, 1) * 255
        lost = np.abs(real - picture).mean()
        assert np.abs(mine - real).mean() < 0.35 * lost + 0.6, quality
