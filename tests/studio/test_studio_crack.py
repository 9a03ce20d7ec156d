"""crack's own page: measured anew without a network, corrected by hand, explained, several photos, hostile uploads."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
import torch
import torch.nn.functional as F
from hostile import bomb
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import fieldsight
from fieldsight import registry
from fieldsight.errors import ConfigError, DataError
from fieldsight.report.html import Report
from fieldsight.studio.pages import draw_page
from fieldsight.studio.tab import _fill
from fieldsight.systems.crack import studio, studio_again, studio_desk, studio_scenes
from fieldsight.systems.crack import studio_view as view
from fieldsight.systems.crack.config import PRESETS
from fieldsight.systems.crack.explain import ALPHA, Explanation
from fieldsight.systems.crack.predict import CrackModel
from fieldsight.systems.crack.results import CrackMap
from fieldsight.systems.crack.studio_again import ByHand


class Dark(nn.Module):
    """Stands in for an expert: what is darker than its surroundings is crack."""

    def __init__(self, side: int, gain: float, bias: float) -> None:
        super().__init__()
        self.side, self.gain, self.bias = side, gain, bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grey = x.mean(1, keepdim=True)
        back = F.avg_pool2d(grey, self.side, 1, self.side // 2, count_include_pad=False)
        return self.gain * (back - grey) + self.bias


def standing_in() -> CrackModel:
    model = CrackModel.create(PRESETS["tiny"])
    for name, network in zip(model.config.pool, (Dark(31, 8.0, -5.0), Dark(21, 6.0, -4.0)), strict=True):
        model.networks[name] = network
    model.source = "standin"
    return model


class Page(standin.Page):
    """crack's page."""

    def found(self, key: str, number: int = 0) -> CrackMap:
        prediction = self.shown(key).views[number].prediction
        assert isinstance(prediction, CrackMap)
        return prediction

    def files(self, key: str) -> dict[str, Path]:
        return {p.name: p for p in self.shown(key).files}


def wall(lines: int = 2, shape: tuple[int, int] = (160, 224)) -> np.ndarray:
    """A light wall with dark lines; each is fainter than the one before."""
    rng = np.random.default_rng(3)
    picture = np.clip(rng.normal(170, 3, (*shape, 3)), 0, 255)
    for n in range(lines):
        row = 30 + 40 * n
        picture[row : row + 3, 20 : shape[1] - 20] = 40 + 40 * n
    return picture.astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> CrackModel:
    return standing_in()


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, and what people should not send."""
    folder = tmp_path_factory.mktemp("sent")
    for name, lines in {"wall": 2, "more": 3, "none": 0}.items():
        Image.fromarray(wall(lines)).save(folder / f"{name}.png")
    Image.fromarray(wall(2)).save(folder / "a & <b>.png")
    Image.fromarray(wall(2)[:4, :4]).save(folder / "tiny.png")
    (folder / "words.png").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "short.png").write_bytes((folder / "wall.png").read_bytes()[:900])
    (folder / "letter.txt").write_text("no picture")
    bomb(folder / "bomb.png")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, model: CrackModel) -> Page:
    context = standin.context_in(tmp_path_factory.mktemp("crack"), registry.get("crack"), model)
    page: Page = standin.draw(context, draw_page, Page)
    return page


@pytest.fixture
def result(page: Page, sent: Path) -> str:
    """A new result of the wall; its key."""
    return str(page.press(image=page.upload(sent, "wall.png"))["key"])


LOOK = ("told", "slider", "numbers", "table", "all", "tabs", "threshold", "route", "several", "files", "look", "over")


def opened(page: Page, key: str, number: Any = 0) -> dict[str, Any]:
    return dict(zip(LOOK, page.happens["opened"](key, number), strict=True))


# ---------------------------------------------------------------------------------------------------- examples


def test_examples_are_drawn_and_the_same_every_time(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = studio_scenes.scene
    monkeypatch.setattr(studio_scenes, "scene", lambda *a, **k: real(*a, **{**k, "size": (96, 128)}))
    offered = studio.examples()
    assert {e.origin for e in offered} == {"drawn"}
    assert len({e.label for e in offered}) == len(offered) >= 6
    for example in offered:
        assert example.write is not None
        path = example.write(tmp_path / "a")
        assert path.read_bytes() == example.write(tmp_path / "b").read_bytes()
    assert len({p.read_bytes() for p in (tmp_path / "a").iterdir()}) == len(offered)
    filled = _fill(page.context, page.tab, offered[0])("")
    assert Path(filled[0][0]).is_relative_to(page.context.uploads)
    assert filled[1:] == [f.plan.value for f in page.tab.left.fields]


def test_one_example_has_no_crack() -> None:
    truths = {words: studio_scenes.scene(*drawn, size=(128, 160)).mask.any() for words, drawn in studio_scenes.SCENES}
    assert truths.pop("Joints, no crack") == False  # noqa: E712
    assert all(truths.values())


def test_every_button_has_a_picture_of_its_own(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    real = studio_scenes.scene
    monkeypatch.setattr(studio_scenes, "scene", lambda *a, **k: real(*a, **{**k, "size": (48, 64)}))
    studio_scenes._thumbnails.cache_clear()
    style = studio_scenes.buttons()
    studio_scenes._thumbnails.cache_clear()
    ids = [button.elem_id for button, _ in page.tab.left.examples]
    assert len(ids) == len(studio_scenes.SCENES)
    for name in ids:
        assert style.count(f"#{name} {{ background-image: url(data:image/jpeg;base64,") == 1
    assert "http" not in style


# --------------------------------------------------------------------------------------------- a result is opened


def test_a_photo_becomes_a_result(page: Page, result: str) -> None:
    seen = opened(page, result)
    found = page.found(result)
    assert found.summary.count == 2
    assert "2 cracks found" in seen["told"]
    assert "Give the scale" in seen["told"]
    left, right = seen["slider"]
    assert left.shape == right.shape == (160, 224, 3)
    assert (right != left).any(axis=2)[found.mask].mean() > 0.95  # the crack is marked
    assert seen["threshold"] == found.facts["threshold"]
    assert seen["all"]["visible"]
    assert "CEN" in seen["route"]
    assert "counts" in seen["route"]
    assert "disagree on" in seen["route"]
    assert seen["several"] == ""
    for words in ("Mask, PNG", "GeoJSON", "COCO", "CSV", "JSON", "ZIP"):
        assert words in seen["files"]
    for name in page.files(result):
        assert name in seen["files"]
    assert seen["table"].count("<tr>") == 3
    assert seen["table"].index("longitudinal" if "longitudinal" in seen["table"] else "transverse") > 0


def test_a_photo_without_cracks_is_no_proof(page: Page, sent: Path) -> None:
    key = page.press(image=page.upload(sent, "none.png"))["key"]
    seen = opened(page, key)
    assert "No crack found" in seen["told"]
    assert "no proof" in seen["told"]
    assert seen["table"] == ""


def test_names_of_uploads_are_text(page: Page, sent: Path) -> None:
    key = page.press(image=page.upload(sent, "a & <b>.png", "wall.png"))["key"]
    seen = opened(page, key)
    assert "<b>.png" not in "".join(str(v) for k, v in seen.items() if k != "slider")
    assert "&lt;b&gt;.png" in seen["several"]


# ------------------------------------------------------------------------------------- measured without a network


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.9])
def test_the_slider_gives_what_a_run_would_give(
    page: Page, model: CrackModel, sent: Path, result: str, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: Any = model.predict(sent / "wall.png", threshold=threshold)
    monkeypatch.setattr(CrackModel, "predict_one", None)  # no network runs
    told, slider, numbers, table = page.happens["moved"](result, 0, threshold, "Cracks", 12)
    found = page.found(result)
    assert (found.mask == wanted.mask).all()
    assert found.to_dict() == wanted.to_dict()
    assert (slider[1] == view.pair(wanted)[1]).all()
    assert told == view.verdict(wanted) + view.remark(wanted)
    assert numbers == view.numbers(wanted)
    assert table == view.table(wanted)


def test_the_scale_gives_what_a_run_would_give(page: Page, model: CrackModel, sent: Path, result: str) -> None:
    wanted: Any = model.predict(sent / "wall.png", scale=2.5)
    told, *_ = page.happens["scaled"](result, 0, "2,5", 1.0, "Cracks")
    assert page.found(result).to_dict() == wanted.to_dict()
    assert "Worst class of severity: moderate" in told
    assert "mm" in view.table(page.found(result))
    page.happens["scaled"](result, 0, " ", 1.0, "Cracks")
    assert page.found(result).summary.length_mm is None
    half: Any = model.predict(sent / "wall.png", scale=2.5, resize=0.5)
    key = page.press(image=page.upload(sent, "wall.png"), resize=0.5)["key"]
    page.happens["scaled"](key, 0, "2.5", 0.5, "Cracks")
    assert page.found(key).facts["scale_mm"] == pytest.approx(half.facts["scale_mm"])


@pytest.mark.parametrize("typed", ["wide", "-1", "0", "nan", "inf", "1e9", "1 mm"])
def test_a_scale_that_is_none_gets_a_sentence(page: Page, result: str, typed: str) -> None:
    told, *rest = page.happens["scaled"](result, 0, typed, 1.0, "Cracks")
    assert "is no number above 0" in told
    assert len(rest) == 3
    assert page.found(result).summary.length_mm is None


@settings(deadline=None)
@given(st.one_of(st.text(max_size=12), st.floats(), st.none(), st.integers()))
def test_any_text_is_a_scale_or_an_error(typed: Any) -> None:
    with contextlib.suppress(ConfigError):
        found = studio_again.scale_of(typed)
        assert found is None or 0 < found <= 1e6


def test_short_cracks_come_and_go(page: Page, result: str) -> None:
    assert page.found(result).summary.count == 2
    page.happens["moved"](result, 0, 0.5, "Cracks", 500)
    assert page.found(result).summary.count == 0
    page.happens["moved"](result, 0, 0.5, "Cracks", None)
    assert page.found(result).summary.count == 2


def test_files_follow_what_is_shown(page: Page, result: str) -> None:
    opened(page, result)
    before = (page.context.shelf.file(result, "all.zip") or Path()).read_bytes()
    page.happens["scaled"](result, 0, "0.5", 1.0, "Cracks")
    page.happens["moved"](result, 0, 0.9, "Cracks", 12)
    assert "Mask, PNG" in page.happens["written"](result, 0)
    files, found = page.files(result), page.found(result)
    assert (np.asarray(Image.open(files["wall_mask.png"])) == 255 * found.mask).all()
    told = json.loads(files["wall.json"].read_text())
    assert told["threshold"] == 0.9
    assert told["scale_mm"] == 0.5
    assert len(told["cracks"]) == found.summary.count
    after = page.context.shelf.file(result, "all.zip")
    assert after is not None
    assert after.read_bytes() != before
    with zipfile.ZipFile(after) as archive:
        assert json.loads(archive.read("wall.json"))["threshold"] == 0.9


def test_two_changes_at_once_are_both_kept(page: Page, result: str) -> None:
    standin.at_once(
        lambda: page.happens["moved"](result, 0, 0.8, "Cracks", 12),
        lambda: page.happens["scaled"](result, 0, "3", 1.0, "Cracks"),
    )
    assert page.found(result).facts["threshold"] == 0.8
    assert page.found(result).facts["scale_mm"] == 3


def test_every_look_has_a_picture(page: Page, result: str) -> None:
    pictures = {}
    for look, words in view.LOOKS.items():
        (left, right), told = page.happens["turned"](result, 0, look)
        assert left.shape == right.shape
        assert words in told
        pictures[look] = right.tobytes()
    assert len(set(pictures.values())) == len(view.LOOKS)


def test_results_that_are_gone_say_so(page: Page) -> None:
    assert opened(page, "gone")["all"]["visible"] is False
    assert opened(page, "gone", None)["told"] == ""
    assert "no longer kept" in page.happens["moved"]("gone", 0, 0.5, "Cracks", 12)[0]
    assert "no longer kept" in page.happens["applied"]("gone", 0, None, "Cracks", 12)[0]
    assert "no longer kept" in page.happens["undone"]("gone", 0, "Cracks", 12)[0]
    assert page.happens["written"]("gone", 0) == ""
    assert page.happens["handed"]("gone", 0) == [None, ""]
    assert page.happens["asked"]("gone", 0) == ["", None, ""]
    assert page.happens["turned"]("gone", 0, "Cracks")[1] == ""
    assert page.happens["scaled"]("gone", 0, "1", 1.0, "Cracks")


# ------------------------------------------------------------------------------------------- corrected by hand


def test_paint_rub_out_and_undo(page: Page, result: str) -> None:
    before = page.found(result).mask.copy()
    value, _ = page.happens["handed"](result, 0)
    assert "Nothing was changed" in page.happens["applied"](result, 0, value, "Cracks", 12)[-1]
    layer = value["layers"][0].copy()
    assert ((layer[..., 3] > 0) == before).all()
    layer[120:123, 40:180] = (255, 40, 40, 255)  # a crack that the experts missed
    layer[25:40] = 0  # and one that is none
    updates = page.happens["applied"](result, 0, {"layers": [layer]}, "Cracks", 12)
    found = page.found(result)
    assert isinstance(found, ByHand)
    assert found.mask[120:123, 40:180].all()
    assert not found.mask[25:40].any()
    assert found.summary.count == 2
    assert "Corrected by hand" in updates[0]
    assert "420 pixels added" in updates[-1]
    files = page.files(result)
    assert {"wall_by-hand_mask.png", "wall_by-hand_cracks.csv", "wall_probability.tif"} <= set(files)
    assert "wall_mask.png" not in files  # nobody takes the one for the other
    assert "corrected by hand" in updates[-2]
    assert json.loads(files["wall_by-hand.json"].read_text())["corrected"].startswith("by hand: 420 pixels added")
    assert (np.asarray(Image.open(files["wall_by-hand_mask.png"])) == 255 * found.mask).all()

    page.happens["moved"](result, 0, 0.05, "Cracks", 12)  # what was corrected stays so at every threshold
    assert page.found(result).mask[120:123, 40:180].all()
    assert not page.found(result).mask[25:40].any()
    page.happens["moved"](result, 0, 0.5, "Cracks", 12)

    again, _ = page.happens["handed"](result, 0)
    layer = again["layers"][0].copy()
    layer[121, 60:80] = 0  # rub out what was painted
    layer[30:32, 50:60] = 255  # paint what was rubbed out
    page.happens["applied"](result, 0, {"layers": [layer]}, "Cracks", 12)
    mask = page.found(result).mask
    assert not mask[121, 60:80].any()
    assert mask[30:32, 50:60].all()

    updates = page.happens["undone"](result, 0, "Cracks", 12)
    assert (page.found(result).mask == before).all()
    assert not isinstance(page.found(result), ByHand)
    assert "corrected" not in page.found(result).facts
    assert {"wall_mask.png", "wall_probability.tif"} <= set(page.files(result))
    assert not [name for name in page.files(result) if "by-hand" in name]
    assert ((updates[-1]["layers"][0][..., 3] > 0) == before).all()


@pytest.mark.parametrize(
    "value", [None, "text", {}, {"layers": []}, {"layers": [np.zeros((3, 3, 4), np.uint8)]},
              {"layers": [np.zeros((160, 224), np.uint8)]}],
)  # fmt: skip
def test_a_painting_that_is_none_gets_a_sentence(page: Page, result: str, value: Any) -> None:
    words = page.happens["applied"](result, 0, value, "Cracks", 12)[-1]
    assert "Open &#x27;Correct by hand&#x27; again" in words


def test_soft_edges_and_several_layers_are_one_mask(page: Page, result: str) -> None:
    found = page.found(result)
    faint, strong = (np.zeros((*found.mask.shape, 4), np.uint8) for _ in range(2))
    faint[10, :, 3], strong[20, :, 3] = 40, 255
    mask = studio_desk.painted_mask({"layers": [faint, strong]}, found)
    assert not mask[10].any()
    assert mask[20].all()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 1.0), st.integers(0, 2**31))
def test_a_smaller_painting_changes_only_what_was_painted(height: int, width: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < 0.2
    small = (max(1, round(height * share)), max(1, round(width * share)))
    rows, columns = ((np.arange(n) * m) // n for n, m in zip(small, mask.shape, strict=True))
    shown = np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, axis=0), columns, axis=1)
    assert (studio_again.enlarged(shown, mask.shape) | ~mask).all()  # rubbing a pixel out takes all of its block
    one = np.zeros(small, bool)
    one[rng.integers(small[0]), rng.integers(small[1])] = True
    block = studio_again.enlarged(one, mask.shape)
    assert block.any()
    assert block.sum() <= -(-height // small[0]) * -(-width // small[1])


def test_photos_larger_than_the_page_keep_their_detail(model: CrackModel) -> None:
    photo = wall(2, (720, 1200))
    found: Any = model.predict(photo)
    assert max(view.small_photo(found).shape) == view.ROOM
    shown = view.small_mask(found)
    assert shown.shape == view.small_photo(found).shape[:2]
    painted = shown.copy()
    painted[400:403, 100:400] = True
    made = studio_again.corrected(found, shown, painted, 12)
    assert made.mask.shape == (720, 1200)
    assert (made.mask[:470] == found.mask[:470]).all()  # far from the stroke not a pixel differs
    assert made.mask[481:483, 122:478].all()
    with pytest.raises(DataError, match="handed out"):
        studio_again.corrected(found, shown, painted[1:], 12)
    for look in view.LOOKS:
        left, right = view.pair(found, look)
        assert left.shape == right.shape == (600, 1000, 3)


# ------------------------------------------------------------------------------------------------ doubt, why


def _calibrated(low: bool) -> dict[str, Any]:
    value = 0.99 if low else 0.0
    return {
        "sets": {"q": 1.0, "alpha": ALPHA, "n": 40}, "disagreement": [value] * 20, "doubt": [value] * 20,
        "set_size": [2 if low else 1] * 20,
    }  # fmt: skip


def test_a_doubtful_photo_asks_for_a_person(page: Page, result: str) -> None:
    found = page.found(result)
    unusual = dataclasses.replace(found, facts={**found.facts, "disagreement": 0.4, "doubt": 0.9, "set_size": 2})
    assert "Look at this photo yourself." in view.remark(unusual, _calibrated(False))
    assert "Look at this photo yourself." not in view.remark(unusual, _calibrated(True))
    for apart, told in ((0.4, True), (0.01, False), (None, False)):
        one = dataclasses.replace(found, facts={**found.facts, "disagreement": apart})
        assert ("yourself" in view.remark(one)) == told
        assert ("disagree on" in view.route(one)) == (apart is not None)
    failed = dataclasses.replace(found, facts={**found.facts, "failed": {"cen": "<b> broke"}, "notes": ["x & y"]})
    assert "CEN: &lt;b&gt; broke" in view.remark(failed)
    assert "x &amp; y" in view.remark(failed)


def test_the_route_is_told_in_words(page: Page, result: str) -> None:
    found = page.found(result)
    facts = {**found.facts, "weights": {"cen": 0.5, "ecsn": 0.3, "mine<": 0.2}, "used": {"cen": 0.625, "ecsn": 0.375}}
    told = view.route(dataclasses.replace(found, facts=facts))
    assert "once and chose CEN (62%) and ECSN (38%)" in told
    assert told.count("counts") == 2
    assert "not asked" in told
    assert "mine&lt;" in told
    cells = view.route(dataclasses.replace(found, facts={**facts, "routed": "in 3 x 4 cells"}))
    assert "place by place, in 3 x 4 cells" in cells
    alone = view.route(dataclasses.replace(found, facts={**facts, "weights": {"cen": 1.0}, "used": {"cen": 1.0}}))
    assert "has one expert, CEN" in alone


def test_why_these_experts(page: Page, model: CrackModel, sent: Path, result: str) -> None:
    trust, picture, alike = page.happens["asked"](result, 0)
    wanted: Any = model.explain(sent / "wall.png")
    assert (picture == wanted.draw()).all()
    assert trust == view.why(wanted)
    assert alike == ""  # it keeps no training photos
    rows = [{"photo": f"p{n}", "surface": "road", "distance": 1.0, "cen": 0.5, "crackrefine": 0.7} for n in range(3)]
    table = dataclasses.replace(wanted.nearest, columns=dict.fromkeys(rows[0], ""), rows=rows)
    near = view.alike(dataclasses.replace(wanted, nearest=table))
    assert "CrackRefineNet did best there, with an IoU of 0.70" in near
    sure: Explanation = dataclasses.replace(wanted, facts={"expert_set": ["cen"], "set_level": 0.9})
    assert "With 90% certainty" in view.why(sure)
    unsure = dataclasses.replace(wanted, facts={"expert_set": list(wanted.experts), "set_level": 0.9})
    assert "can&#x27;t rule out" in view.why(unsure)


def test_one_expert_leaves_nothing_to_explain(page: Page, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = page.context.models
    assert isinstance(models, standin.One)
    gate = models.model.networks
    monkeypatch.setattr(models.model, "networks", {k: v for k, v in gate.items() if k != "gate"})
    words, picture, alike = page.happens["asked"](result, 0)
    assert "no choice to explain" in words
    assert (picture, alike) == (None, "")


# -------------------------------------------------------------------------------------------- several, hostile


def test_several_photos_are_listed_by_doubt(page: Page, sent: Path) -> None:
    updates = page.press(image=page.upload(sent, "wall.png", "words.png", "more.png"))
    assert "1 of 3 could not be used" in str(updates["head"])
    assert [n for _, n in updates["which"]["choices"]] == [0, 2]
    key = updates["key"]
    seen = opened(page, key, 2)
    assert "2 photos" in seen["several"]
    assert "1: wall.png" in seen["several"]
    assert "3: more.png" in seen["several"]
    files = page.files(key)
    rows = list(csv.DictReader(io.StringIO(files["review.csv"].read_text())))
    assert {row["photo"] for row in rows} == {"1: wall.png", "3: more.png"}
    joined = json.loads(files["coco.json"].read_text())
    assert len(joined["images"]) == 2
    assert "3 cracks found" in seen["told"]

    page.happens["moved"](key, 2, 0.98, "Cracks", 12)
    page.happens["written"](key, 2)
    assert page.found(key, 0).facts["threshold"] == 0.5  # the threshold is the photo's own
    fewer = json.loads(page.files(key)["coco.json"].read_text())
    assert len(fewer["annotations"]) < len(joined["annotations"])
    page.happens["scaled"](key, 2, "0.5", 1.0, "Cracks")
    assert [page.found(key, n).facts["scale_mm"] for n in (0, 2)] == [0.5, 0.5]  # the scale is everybody's
    page.happens["written"](key, 2, True)
    assert json.loads(page.files(key)["wall.json"].read_text())["scale_mm"] == 0.5
    assert {"review.csv", "coco.json"} <= set(page.files(key))


BAD = {
    "words.png": "picture", "short.png": "", "empty.png": "empty", "bomb.png": "", "tiny.png": "at least",
    "letter.txt": "must end in",
}  # fmt: skip


@pytest.mark.parametrize(("name", "words"), BAD.items())
def test_hostile_uploads_get_a_sentence(page: Page, sent: Path, name: str, words: str) -> None:
    updates = standin.refused(page, sent, name, words)
    assert opened(page, updates["key"], updates.get("which", {}).get("value"))["all"]["visible"] is False


def test_what_was_not_uploaded_is_not_read(page: Page, sent: Path) -> None:
    assert "is no uploaded file" in str(page.press(image=[str(sent / "wall.png")])["head"])
    assert "Give image" in str(page.press(image=[])["head"])


def test_no_page_runs_code_or_reads_a_folder(page: Page) -> None:
    names = {f.plan.name for f in page.tab.left.fields}
    assert not names & {"allow_code", "exports"}
    assert {"scale", "mix", "k", "route", "resize", "min_length"} <= names


def test_the_notice_is_read_once(page: Page, sent: Path) -> None:
    notice = registry.get("crack").notice
    updates = page.press(image=page.upload(sent, "wall.png"))
    seen = opened(page, updates["key"])
    assert sum(notice in text for text in page.html) == 1
    assert notice not in str(updates) + str(seen)
    assert "fieldsight crack predict wall.png" in str(updates["lines"])


# ------------------------------------------------------------------------------------------------ tour, gallery


def test_the_demonstration_says_what_it_ran_on(model: CrackModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fieldsight, "load", lambda *a, **k: model)
    report = Report("tour")
    studio.demo(report.section("crack"))
    text = report.render()
    assert "drawn by us" in text
    assert "IoU with the truth" in text
    assert "<img" in text


def test_the_gallery_picture_can_be_made(model: CrackModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fieldsight, "load", lambda *a, **k: model)
    picture = studio.gallery_picture()
    assert picture.shape == (360, 540, 3)
    assert picture.dtype == np.uint8


def test_neither_page_nor_api_can_ask_for_code_or_server_files() -> None:
    from fieldsight.config import options
    from fieldsight.studio.fields import plan_all
    from fieldsight.systems.crack.options import PredictOptions

    known = {plan.name for plan in plan_all(PredictOptions)}
    assert {"threshold", "scale"} <= known
    for name in ("allow_code", "exports"):
        assert name in {o.name for o in options(PredictOptions)}
        assert name not in known
