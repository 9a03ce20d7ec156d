"""Large photos: tiles leave no trace, memory is bounded, an expert that fails half-way leaves no seam."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from pools import Broken, Dark, cracked, noise, seeing, untrained
from torch import Tensor, nn

from fieldsight.data.arrays import allocate
from fieldsight.data.images import read_image
from fieldsight.engine.seed import rng_for
from fieldsight.systems.crack import fusion, results, world
from fieldsight.systems.crack.engines import EagerEngine
from fieldsight.systems.crack.options import PredictOptions
from fieldsight.systems.crack.photo import Photo, open_photo
from fieldsight.systems.crack.predict import CrackModel

PAPER = ("cen", "ecsn", "crackmaster", "crackrefine")


@pytest.fixture(scope="module")
def model() -> CrackModel:
    return untrained()


class Brightness(nn.Module):
    """A gate that knows bright from dark: the first expert for bright views, the second for dark ones."""

    def forward(self, x: Tensor) -> Tensor:
        level = 20 * x.mean(dim=(1, 2, 3))
        return torch.stack([level, -level], dim=1)


@pytest.mark.parametrize(("route", "tile"), [("image", 256), ("tile", 288)])
def test_tiles_equal_the_whole(model: CrackModel, route: str, tile: int) -> None:
    picture = noise(320, 576)
    whole = model.predict(picture, route=route, tile=1024, mix="soft")
    assert float(np.std(whole.probability)) > 0.05
    tiled = model.predict(picture, route=route, tile=tile, halo=256, mix="soft")
    assert tiled.mask.shape == (320, 576)
    assert np.abs(tiled.probability - whole.probability).max() < 1e-4
    assert (tiled.mask != whole.mask).mean() < 1e-4
    a, b = (dict(found.facts) for found in (tiled, whole))
    assert a.pop("disagreement") == pytest.approx(b.pop("disagreement"), abs=2e-4)
    assert a == b


@pytest.mark.slow
@pytest.mark.parametrize("route", ["image", "tile"])
def test_tiles_equal_the_whole_with_the_networks_that_ship(route: str) -> None:
    small = untrained(PAPER, networks="small", window=128)
    picture = world.draw_photo("road", (512, 576), rng_for(0, "tiles")).image
    whole, tiled = (small.predict(picture, route=route, mix="soft", tile=t, halo=256).probability for t in (1024, 256))
    assert float(np.std(whole)) > 0.02
    assert np.abs(tiled - whole).max() < 1e-4


def test_experts_run_once_a_tile(model: CrackModel) -> None:
    options = PredictOptions(mix="hard", tile=128, halo=64, route="image")
    photo = open_photo(noise(200, 300))
    engine = model.engine(options)
    assert isinstance(engine, EagerEngine)
    fusion.fuse(photo, model.route(photo, options, engine), engine, model.config, options, lambda name, why: None)
    assert sorted(engine.calls.values()) == [0, 6]


def test_a_large_photo_is_routed_place_by_place() -> None:
    model = seeing()
    model.networks["gate"] = Brightness()
    model.networks["cen"], model.networks["crackrefine"] = Dark(-9.0), Dark(9.0)  # nothing, everything
    picture = np.full((300, 1400, 3), 230, np.uint8)
    picture[:, 700:] = 20
    found = model.predict(picture, mix="hard", halo=64)
    assert found.facts["routed"] == "in 1 x 5 cells"
    assert not found.mask[:, :512].any()
    assert found.mask[:, 900:].all()
    middle = found.probability[150]
    assert (np.diff(middle) >= -1e-6).all()  # rises evenly from one expert to the other
    assert np.abs(np.diff(middle)).max() < 0.01
    whole = model.predict(picture, mix="hard", halo=64, route="image")
    assert whole.facts["routed"] == "as a whole"
    assert float(np.ptp(whole.probability)) < 1e-6
    assert model.predict(picture[:, :500], mix="hard", halo=64).facts["routed"] == "as a whole"


@pytest.mark.parametrize("how", ["raise", "nan"])
def test_an_expert_that_fails_half_way_leaves_no_seam(said: list[str], how: str) -> None:
    picture = noise(200, 330)
    options: dict[str, Any] = {"mix": "soft", "tile": 128, "halo": 64, "route": "image"}
    from_start, later = untrained(), untrained()
    from_start.networks["cen"] = Broken(from_start.networks["cen"], how)
    later.networks["cen"] = Broken(later.networks["cen"], how, after=4)
    wanted, found = from_start.predict(picture, **options), later.predict(picture, **options)
    assert np.array_equal(found.probability, wanted.probability)
    assert found.facts["used"] == {"crackrefine": 1.0}
    assert found.facts["disagreement"] is None
    assert len(said) == 2


def test_mapped_files_hold_what_memory_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeing()
    picture = np.concatenate([cracked(200, 300), cracked(200, 300)], axis=1)
    model.predict(picture, out=tmp_path / "a", tile=128, halo=32)
    small = functools.partial(allocate, limit=1000)
    for module in (fusion, results):
        monkeypatch.setattr(module, "allocate", small)
    found = model.predict(picture, out=tmp_path / "b", tile=128, halo=32)
    assert isinstance(found.probability, np.memmap)
    assert isinstance(found.mask, np.memmap)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()
    }


def test_small_pictures_of_large_ones_are_read_in_bands() -> None:
    picture = cv2.GaussianBlur(noise(2300, 700), (0, 0), 2.0)
    asked: list[int] = []

    def block(rows: slice, columns: slice) -> Any:
        asked.append(rows.stop - rows.start)
        return picture[rows, columns]

    photo = Photo((2300, 700), block, valid=lambda rows, columns: np.ones((rows.stop - rows.start, 700), np.bool_))
    small = photo.small(1000)
    assert small.shape == (1000, 304, 3)
    assert max(asked) < 600
    assert sum(asked) == 2300
    once = cv2.resize(picture, (304, 1000), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(small - once).mean() < 0.5
    valid = photo.small_valid(1000)
    assert valid is not None
    assert valid.shape == (1000, 304)
    assert valid.all()


@pytest.mark.slow
def test_six_megapixels_by_command_line(tmp_path: Path) -> None:
    picture = world.draw_photo("concrete", (2000, 3000), rng_for(0, "large")).image
    tifffile.imwrite(tmp_path / "p.tif", picture, photometric="rgb", tile=(256, 256), compression="zlib")
    model = untrained().save(tmp_path / "model")
    # the mark of this process alone: what rusage tells is handed down by the parent
    code = "import sys; from fieldsight.cli import main; status = main(sys.argv[1:])\n"
    code += "from pathlib import Path; state = Path('/proc/self/status')\n"
    code += "peak = state.read_text().partition('VmHWM:')[2].split()[0] if state.exists() else 0\n"
    code += "print(peak, file=sys.stderr); sys.exit(status)"
    masks = []
    for tile in (512, 768):
        out = tmp_path / str(tile)
        words = ["crack", "predict", str(tmp_path / "p.tif"), "--model", str(model), "--out", str(out)]
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--tile", str(tile), "--quiet"],
            capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert int(done.stderr.split()[-1]) / 1e6 < 2.0  # in one piece it would take 4
        masks.append(read_image(out / "p_mask.png"))
    assert masks[0].shape == (2000, 3000)
    assert masks[0].any()
    assert (masks[0] != masks[1]).mean() < 0.01
    assert json.loads((tmp_path / "512" / "p.json").read_text())["routed"] == "in 8 x 12 cells"
