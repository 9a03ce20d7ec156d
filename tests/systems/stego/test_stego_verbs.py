"""``attack`` and ``detect``: rows by their definitions, invariants, folders as people have them, the command line."""

from __future__ import annotations

import importlib.util
import json
import math
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fieldsight.cli import main
from fieldsight.data.images import write_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import ConfigError, DataError
from fieldsight.metrics import image
from fieldsight.metrics.stats import bootstrap
from fieldsight.systems.stego import attack as attacking
from fieldsight.systems.stego import detect as detecting
from fieldsight.systems.stego import photos
from fieldsight.systems.stego.attack import NOTHING, Findings, Way, attack, mark_of, network, trial, trials
from fieldsight.systems.stego.attacks import ATTACKS, parse
from fieldsight.systems.stego.baselines import METHODS
from fieldsight.systems.stego.carrier import Carrier
from fieldsight.systems.stego.channel import read_mark
from fieldsight.systems.stego.config import PRESETS
from fieldsight.systems.stego.detect import Scored, detect, judge, learning_pairs, mark_detector
from fieldsight.systems.stego.evaluate import Pair, folder_pairs
from fieldsight.systems.stego.options import AttackOptions, DetectOptions, HideOptions
from fieldsight.systems.stego.predict import StegoModel
from fieldsight.systems.stego.secret import Secret
from fieldsight.systems.stego.srm import SrmNet
from fieldsight.systems.stego.textures import draw

Picture = NDArray[np.uint8]

#: The secret is sent as it is: the best channel there can be, and nothing of the cover is left.
COPY = Way("copy", lambda cover, secret: secret, lambda stego: stego)


@cache
def picture(number: int, size: int = 96) -> Picture:
    return draw(("cloud", "leaves", "gradient")[number % 3], size, rng_for(number, "verbs"))


def pairs(count: int, size: int = 96) -> list[Pair]:
    return [Pair(f"p{n}", picture(n, size), picture(n + 50, size), f"cover {n // 2}") for n in range(count)]


def embedded(plain: Picture, seed: int) -> Picture:
    """Every lowest bit a coin."""
    return (plain & 254) | rng_for(seed, "bits").integers(0, 2, plain.shape, dtype=np.uint8)


@pytest.fixture(autouse=True)
def _no_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos inside packages that are installed anyway are not seen either."""
    monkeypatch.setattr(photos, "find", lambda split=None: [])


@pytest.fixture(scope="module")
def model() -> StegoModel:
    return StegoModel.create(PRESETS["tiny"])


@pytest.fixture(scope="module")
def folder(model: StegoModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model as the command line names it."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    model.save(path)
    return str(path)


@pytest.fixture(scope="module")
def attacked(model: StegoModel) -> Findings:
    return attack(model, None, AttackOptions(attacks=("none", "jpeg-50", "noise-5"), pairs=3, pictures=1))


@pytest.fixture
def two_folders(tmp_path: Path) -> tuple[Path, Path]:
    for n in range(8):
        write_image(tmp_path / "plain" / f"{n}.png", picture(n))
        write_image(tmp_path / "stego" / f"{n}.png", embedded(picture(n), n))
    return tmp_path / "plain", tmp_path / "stego"


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Networks are not trained; what they would have learnt from is kept."""
    seen: list[dict[str, Any]] = []

    def fake(covers: list[Picture], stegos: list[Picture], **options: Any) -> SrmNet:
        seen.append({"covers": covers, "stegos": stegos, **options})
        return SrmNet(2).eval()

    monkeypatch.setattr(detecting, "train_detector", fake)
    return seen


def with_photos(monkeypatch: pytest.MonkeyPatch, root: Path, count: int = 3, size: int = 96) -> None:
    """Packaged photos of every split are here."""
    found = []
    for n in range(count):
        path = write_image(root / "photos" / f"{n}.png", picture(n + 20, size))
        found += [photos.Photo(f"photo {n}", "a", path.name, "CC0", split, path) for split in photos.SPLITS]
    monkeypatch.setattr(photos, "find", lambda split=None: [p for p in found if split in (None, p.split)])


# ------------------------------------------------------------------------------------------------- a way to hide


def test_a_model_hides_as_the_product_does(model: StegoModel) -> None:
    cover, secret = picture(0, 97), picture(1, 70)
    way = network(model)
    assert way.cut(cover).shape == (96, 96, 3)
    stego, drawn = way.put(way.cut(cover), secret)
    whole = model.predict_one(
        {"cover": Carrier.read(cover), "secret": Secret.read(secret)}, HideOptions.parse({"check": False})
    )
    assert (whole.picture[:96, :96] == stego).all()
    assert drawn.shape == stego.shape
    assert read_mark(way.reveal(stego)) == mark_of(model, whole.picture)


@pytest.mark.parametrize("size", [(64, 64), (75, 131), (203, 90), (300, 66)])
def test_a_mark_is_read_from_the_rim_alone(model: StegoModel, size: tuple[int, int]) -> None:
    plain = np.ascontiguousarray(picture(2, 300)[: size[0], : size[1]])
    way = network(model)
    cut = way.cut(plain)
    for seen in (plain, way.put(cut, picture(3))[0]):
        rim, whole = mark_of(model, seen), read_mark(way.reveal(way.cut(seen)))
        assert rim is not None
        assert whole is not None
        assert (rim.header, rim.score) == (whole.header, pytest.approx(whole.score, abs=1e-6))
    assert mark_of(model, plain[:63]) is None
    assert mark_of(model, plain[:, :63]) is None


# --------------------------------------------------------------------------------------------------- the trial


def test_numbers_of_a_trial_by_their_definitions() -> None:
    (pair,) = pairs(1, 256)
    revealed: dict[str, Picture] = {}
    found = trial(COPY, pair, parse("none bits-6 jpeg-50 blur-20"), 0, revealed.__setitem__)
    assert list(found) == ["none", "bits-6", "jpeg-50", "blur-20", NOTHING]
    drawn = revealed["none"]
    none, bits, nothing = (found[name] for name in ("none", "bits-6", NOTHING))
    assert none["secret_ssim"] == none["mark"] == none["file"] == 1.0
    assert math.isnan(none["secret_psnr"])
    assert math.isnan(none["damage_psnr"])
    assert bits["damage_psnr"] == pytest.approx(image.psnr(drawn, revealed["bits-6"], 255))
    assert bits["secret_psnr"] == pytest.approx(image.psnr(drawn[:-8], revealed["bits-6"][:-8], 255))
    assert bits["secret_ssim"] == pytest.approx(image.ssim(drawn[:-8], revealed["bits-6"][:-8], 255))
    assert (bits["mark"], bits["file"]) == (1.0, 1.0)
    assert (found["blur-20"]["mark"], found["blur-20"]["file"]) == (0.0, 0.0)
    assert nothing["secret_psnr"] == pytest.approx(image.psnr(drawn[:-8], pair.cover[:-8], 255))
    assert (nothing["mark"], nothing["unreadable"]) == (0.0, 0.0)
    assert math.isnan(nothing["file"])


def test_what_cannot_be_read_counts_as_grey() -> None:
    (pair,) = pairs(1, 256)
    found = trial(
        Way("codec", METHODS["lsb-codec-2"].hide, METHODS["lsb-codec-2"].reveal), pair, parse("none lsb-1"), 0
    )
    assert (found["none"]["mark"], found["none"]["file"], found["none"]["unreadable"]) == (1.0, 1.0, 0.0)
    lost = found["lsb-1"]
    assert (lost["mark"], lost["file"], lost["unreadable"]) == (0.0, 0.0, 1.0)
    assert lost == {**found[NOTHING], "damage_psnr": lost["damage_psnr"], "file": 0.0}
    assert lost["secret_psnr"] < 20.0


def test_rows_are_means_with_intervals_over_covers() -> None:
    found = trials(COPY, pairs(5), parse("noise-5 lsb-2"), 3, keep=2)
    assert len(found.strips) == 2
    row = found.rows()[0]
    assert (row["attack"], row["pairs"], row["covers"], row["file"]) == ("noise-5", 5, 3, None)
    own = bootstrap(found.items["noise-5"].column("secret_ssim"), [f"cover {n // 2}" for n in range(5)])
    assert (row["secret_ssim"], row["ssim_low"], row["ssim_high"]) == tuple(
        round(v, 5) for v in (own.value, own.low, own.high)
    )
    assert row["mark"] == 1.0
    assert len(found.each().rows) == 15
    assert "<svg" in attacking.ssim_plot(found.rows())


def test_chance_depends_on_seed_attack_and_pair_only() -> None:
    whole, some = trials(COPY, pairs(3), parse("noise-5 none"), 1), trials(COPY, pairs(2), parse("none noise-5"), 1)
    assert whole.items["noise-5"].table("").rows[:2] == some.items["noise-5"].table("").rows
    other = trials(COPY, pairs(3), parse("noise-5 none"), 2)
    assert whole.items["noise-5"].column("secret_psnr")[0] != other.items["noise-5"].column("secret_psnr")[0]
    assert whole.rows()[1] == other.rows()[1]


def test_a_strip_shows_every_family_once() -> None:
    assert attacking.shown_attacks(["none", "jpeg-95", "jpeg-90", "jpeg-80", "crop-0.9"]) == [
        "none",
        "jpeg-90",
        "crop-0.9",
    ]
    shown = attacking.shown_attacks(ATTACKS)
    assert len({name.split("-")[0] for name in shown}) == len(shown) == 7


# -------------------------------------------------------------------------------------------- the verb attack


def test_attack_tells_every_attack(attacked: Findings) -> None:
    rows = {row["attack"]: row for row in attacked.rows}
    assert list(rows) == ["none", "jpeg-50", "noise-5", NOTHING]
    assert rows["none"]["secret_ssim"] > rows["jpeg-50"]["secret_ssim"] + 0.2
    assert rows["none"]["secret_psnr"] > rows["noise-5"]["secret_psnr"]
    assert (rows["none"]["mark"], rows["jpeg-50"]["mark"], rows[NOTHING]["mark"]) == (1.0, 0.0, 0.0)
    assert rows["none"]["damage_psnr"] is None
    assert rows["none"]["file"] is None  # 64 px are too few
    assert any("too small for the file" in w for w in attacked.warnings)
    assert any("drawn" in w for w in attacked.warnings)
    assert [line.split()[0] for line in attacked.lines()[2:5]] == ["none", "jpeg-50", "noise-5"]


def test_attack_is_the_same_for_a_seed(model: StegoModel, attacked: Findings) -> None:
    options = AttackOptions(attacks=("none", "noise-5"), pairs=3, pictures=0)
    again = attack(model, None, options)
    assert [r for r in again.rows if r["attack"] == "noise-5"] == [r for r in attacked.rows if r["attack"] == "noise-5"]
    assert again.pictures == {}


def test_findings_are_saved_as_one_page_and_tables(attacked: Findings, tmp_path: Path) -> None:
    files = attacked.save(tmp_path)
    assert [f.name for f in files] == ["attack.json", "attack.csv", "items.csv", "report.html"]
    kept = json.loads(files[0].read_text())
    assert kept["rows"] == [dict(r) for r in attacked.rows]
    assert len(files[1].read_text().splitlines()) == 5
    assert len(files[2].read_text().splitlines()) == 1 + 3 * 4
    page = files[3].read_text()
    assert "<svg" in page
    assert "data:image/png" in page
    assert 'src="http' not in page


def test_unknown_attacks_are_told_before_anything_is_computed() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'jpeg-90'") as caught:
        attack(None, None, AttackOptions(attacks=("jpg-90", "none", "noise-0")))  # type: ignore[arg-type]
    assert len(caught.value.problems) == 2


def test_attack_on_a_folder(model: StegoModel, tmp_path: Path) -> None:
    for split, count in (("train", 2), ("val", 3)):
        for n in range(count):
            write_image(tmp_path / split / "a" / f"{n}.png", picture(n + 9 * count, 80))
    found = attack(model, tmp_path, AttackOptions(attacks=("bits",), pairs=2, size=48, pictures=0))
    assert [row["attack"] for row in found.rows] == ["bits-7", "bits-6", NOTHING]
    assert all(row["mark"] is None for row in found.rows)  # 48 px are too few
    assert "val" in found.on or "test" in found.on
    with pytest.raises(DataError, match="no folder"):
        attack(model, tmp_path / "none", AttackOptions())


def test_pairs_of_a_folder_are_spread_over_its_classes(tmp_path: Path) -> None:
    for kind in "abc":
        write_image(tmp_path / "train" / kind / "0.png", picture(ord(kind), 32))
        for n in range(3):
            write_image(tmp_path / "val" / kind / f"{n}.png", picture(10 * ord(kind) + n, 32))
    few = folder_pairs(tmp_path, "val", 2, 32)
    assert [p.id for p in few] == ["val/a/0", "val/b/0"]
    assert np.array_equal(few[1].secret, photos.square(picture(10 * ord("c"), 32), 32))
    assert [p.id for p in folder_pairs(tmp_path, "val", 4, 32)] == ["val/a/0", "val/a/1", "val/b/0", "val/b/2"]
    for count in (0, 9, 50):  # all of them, the first one is the last one's secret
        assert [p.id for p in folder_pairs(tmp_path, "val", count, 32)] == [
            f"val/{k}/{n}" for k in "abc" for n in range(3)
        ]
    assert len({p.id for p in folder_pairs(tmp_path, "val", 8, 32)}) == 8


def test_what_was_compared_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        for n in range(4):
            write_image(tmp_path / split / "a" / f"{n}.png", picture(n + 9 * ord(split[0]), 32))
    asked = ["stego", "evaluate", str(tmp_path), "--pairs", "2", "--size", "32", "--quiet"]
    assert main(asked) == 0
    plain = capsys.readouterr().out
    assert plain.count("2 pairs") == 1
    assert "lsb-4" not in plain
    assert main([*asked, "--baselines", "--against", "base"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(plain)
    rows = {line.split()[0]: line.split()[1:] for line in told[len(plain) :].splitlines() if line}
    assert {"lsb-4", "lsb-codec-2", "dwt-svd", "base"} <= set(rows)
    assert all(float(a) > 0 for name in ("lsb-4", "base") for a in rows[name])
    assert main([*asked, "--baselines", "--json"]) == 0
    (methods,) = json.loads(capsys.readouterr().out)["compared"].values()
    assert methods[1]["method"] == "lsb-4"
    assert methods[1]["stego_psnr"] == pytest.approx(float(rows["lsb-4"][0]), abs=0.01)


# ------------------------------------------------------------------------------------------------------ judging


def test_judge_golden_values() -> None:
    a, b = np.arange(20.0), np.r_[np.arange(15.0), np.full(5, 99.0)]
    (row,) = judge({"x": a, "only plain": a}, {"x": b}, paired=False)
    # of 400 pairs: 5 * 20 above all; 15 * 14 / 2 below each other and 15 ties
    assert row["auc"] == pytest.approx((100 + 105 + 7.5) / 400)
    assert row["found"] == pytest.approx(5 / 20)
    assert row["pe"] == pytest.approx((1 - 5 / 20) / 2)
    assert (row["plain"], row["stego"]) == (20, 20)
    assert row["low"] < row["auc"] < row["high"]
    (same,) = judge({"x": a}, {"x": a}, paired=True)
    assert (same["auc"], same["pe"]) == (0.5, 0.5)


def test_scores_of_a_photo_are_averaged_and_silent_detectors_left_out() -> None:
    found = Scored()
    for n, value in enumerate((1.0, 3.0, 7.0)):
        found.add(str(n), picture(n, 16), {"x": lambda _, v=value: v, "mark": lambda p, n=n: None if n == 1 else 1.0})
    means = found.means(["b", "b", "a"])
    assert list(means) == ["x"]
    assert means["x"].tolist() == [2.0, 7.0]


# ------------------------------------------------------------------------------------------- own stego pictures


def test_detect_own_pictures(model: StegoModel, tmp_path: Path) -> None:
    found = detect(model, None, DetectOptions(pairs=6))
    rows = {row["detector"]: row for row in found.rows}
    assert list(rows) == ["rs", "sample_pairs", "chi_square", "mark"]
    assert rows["mark"]["auc"] == rows["mark"]["found"] == 1.0  # whoever has the model finds everything
    assert all(row["plain"] == row["stego"] == 6 for row in rows.values())
    assert "drawn" in found.on
    assert any("few pictures" in w for w in found.warnings)
    assert detect(model, None, DetectOptions(pairs=6)).to_dict() == found.to_dict()
    names = [f.name for f in found.save(tmp_path)]
    assert names == ["detect.json", "detect.csv", "items.csv", "report.html"]
    assert len((tmp_path / "items.csv").read_text().splitlines()) == 13


def test_a_network_learns_from_other_pictures(model: StegoModel, untrained: list[dict[str, Any]]) -> None:
    options = DetectOptions(method="trained", pairs=4, learn=5, crop=32, steps=7, seed=2)
    found = detect(model, None, options)
    assert [row["detector"] for row in found.rows][-1] == "trained"
    (call,) = untrained
    assert (len(call["covers"]), call["steps"], call["crop"], call["seed"]) == (5, 7, 32, 2)
    assert (found.facts["learnt"], found.facts["steps"]) == ("5 drawn pictures", 7)
    for cover, stego in zip(call["covers"], call["stegos"], strict=True):
        reading = mark_of(model, stego)
        assert reading is not None
        assert reading.header is not None
        assert not np.array_equal(cover, stego)
    with pytest.raises(ConfigError, match=r"crop: 128 is larger.*64 px"):
        detect(model, None, DetectOptions(method="trained", pairs=4, learn=3, crop=128))


def test_pairs_to_learn_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="assets fetch"):
        learning_pairs(5, 64, real=True)
    with_photos(monkeypatch, tmp_path, count=4)
    found, words = learning_pairs(5, 64, real=True)
    assert (len(found), words) == (5, "5 crops of training photos")
    assert all(p.cover.shape == p.secret.shape == (64, 64, 3) for p in found)
    assert not any(np.array_equal(p.cover, p.secret) for p in found)
    assert len({p.id for p in found}) == 5


@pytest.mark.slow
def test_a_trained_network_finds_what_it_learnt(model: StegoModel) -> None:
    found = detect(model, None, DetectOptions(method="trained", pairs=8, learn=16, crop=32, steps=60))
    assert found.rows[-1]["auc"] > 0.9


# ------------------------------------------------------------------------------------------------- two folders


def test_two_folders(model: StegoModel, two_folders: tuple[Path, Path]) -> None:
    plain, stego = two_folders
    found = detect(model, plain, DetectOptions(stego=stego))
    rows = {row["detector"]: row for row in found.rows}
    assert rows["sample_pairs"]["auc"] > 0.9
    assert 0.0 < rows["mark"]["auc"] < 1.0  # another tool's pictures
    assert found.facts["pairs"] == "same names in both folders"
    assert (rows["rs"]["plain"], rows["rs"]["stego"]) == (8, 8)


def test_bad_files_are_named_and_left_out(
    model: StegoModel, two_folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    plain, stego = two_folders
    (plain / "3.png").write_bytes(b"junk")
    write_image(stego / "5.png", picture(5).astype(np.uint16) * 257)
    write_image(stego / "6.png", picture(6)[:9])
    found = detect(model, plain, DetectOptions(stego=stego))
    assert [name in text for name, text in zip(("3.png", "5.png", "6.png"), found.skipped, strict=True)] == [True] * 3
    assert "16 bits" in found.skipped[1]
    assert "3.png" in capsys.readouterr().err
    assert (found.rows[0]["plain"], found.rows[0]["stego"]) == (7, 6)
    assert found.facts["pairs"] == "pictures are not paired"
    assert found.to_dict()["skipped"] == list(found.skipped)
    found.report().render()


def test_too_few_pictures(model: StegoModel, two_folders: tuple[Path, Path], tmp_path: Path) -> None:
    plain, stego = two_folders
    for n in range(5):
        (stego / f"{n}.png").unlink()
    with pytest.raises(DataError, match=r"3 stego pictures can be compared; 4 or more"):
        detect(model, plain, DetectOptions(stego=stego))
    with pytest.raises(DataError, match="no file or folder"):
        detect(model, plain, DetectOptions(stego=tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="plain pictures too"):
        detect(model, None, DetectOptions(stego=stego))


def test_half_of_the_pairs_are_learnt_from(
    model: StegoModel, two_folders: tuple[Path, Path], untrained: list[dict[str, Any]]
) -> None:
    plain, stego = two_folders
    write_image(plain / "extra.png", picture(30))
    found = detect(model, plain, DetectOptions(stego=stego, method="trained", crop=32))
    (call,) = untrained
    assert len(call["covers"]) == 4
    assert [row["detector"] for row in found.rows][-1] == "trained"
    assert (found.rows[0]["plain"], found.rows[0]["stego"]) == (5, 4)
    tested = {row["picture"] for row in found.each.rows}
    known = {n: picture(int(n)) for n in "01234567"}
    learnt = {n for n, own in known.items() if any(np.array_equal(own, cover) for cover in call["covers"])}
    assert len(learnt) == 4
    assert tested == (set(known) - learnt) | {"extra"}
    assert all((c & 254 == s & 254).all() for c, s in zip(call["covers"], call["stegos"], strict=True))
    again = detect(model, plain, DetectOptions(stego=stego, method="trained", crop=32, seed=1))
    assert {row["picture"] for row in again.each.rows} != tested


def test_pictures_that_cannot_be_learnt_from(
    model: StegoModel, two_folders: tuple[Path, Path], untrained: list[dict[str, Any]]
) -> None:
    plain, stego = two_folders
    with pytest.raises(DataError, match=r"0 of these.*--crop 96"):
        detect(model, plain, DetectOptions(stego=stego, method="trained", crop=97))
    for n in range(8):
        write_image(stego / f"{n}.png", picture(n)[: 96 - n % 2])
    found = detect(model, plain, DetectOptions(stego=stego, method="trained", crop=96))
    assert all("not learnt from" in text and "other sizes" in text for text in found.skipped)
    assert len(untrained[-1]["covers"]) + len(found.skipped) == 4
    for n in range(8):
        (stego / f"{n}.png").rename(stego / f"other-{n}.png")
    with pytest.raises(DataError, match="names agree"):
        detect(model, plain, DetectOptions(stego=stego, method="trained"))


# --------------------------------------------------------------------------------------------------- screening


def test_screening_tells_numbers_and_no_verdict(model: StegoModel, tmp_path: Path) -> None:
    way = network(model)
    write_image(tmp_path / "a" / "marked.png", way.put(picture(0), picture(1))[0])
    write_image(tmp_path / "plain.png", picture(2))
    write_image(tmp_path / "small.png", picture(3, 40))
    (tmp_path / "broken.jpg").write_bytes(b"")
    found = detect(model, tmp_path, DetectOptions())
    assert {row["picture"]: row["mark"] for row in found.rows} == {
        "a/marked": "found", "plain": "none", "small": "too small",
    }  # fmt: skip
    assert all(row["rs_plain"] is None for row in found.rows)  # no packaged photos in tests
    assert "not known" in found.facts["plain"]
    assert "no proof" in found.warnings[0]
    assert len(found.skipped) == 1
    text = "\n".join(found.lines())
    assert "a/marked: rs " in text
    assert "mark of this model: found" in text
    (one,) = detect(model, tmp_path / "plain.png", DetectOptions()).rows
    assert one["rs"] == next(row["rs"] for row in found.rows if row["picture"] == "plain")
    with pytest.raises(DataError, match="None of 1"):
        detect(model, tmp_path / "broken.jpg", DetectOptions())


def test_screening_against_plain_photos(
    model: StegoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untrained: list[dict[str, Any]]
) -> None:
    with_photos(monkeypatch, tmp_path)
    write_image(tmp_path / "in" / "full.png", embedded(picture(0), 0))
    options = DetectOptions(size=64, method="trained", crop=32, learn=4)
    (row,) = detect(model, tmp_path / "in", options).rows
    known = [p for n in range(3) for p in (photos.square(picture(n + 20), 64), picture(n + 20)[16:80, 16:80])]
    above = sum(detecting.CLASSICAL["rs"](p) >= detecting.CLASSICAL["rs"](embedded(picture(0), 0)) for p in known)
    assert row["rs_plain"] == pytest.approx((1 + above) / 7, abs=1e-4)
    assert row["rs_plain"] < 0.5
    assert 0.0 < row["trained_plain"] <= 1.0
    assert len(untrained[0]["covers"]) == 4


def test_the_model_as_a_detector(model: StegoModel) -> None:
    way = network(model)
    stego = way.put(picture(4), picture(5))[0]
    assert mark_detector(model)(stego) == pytest.approx(1.0, abs=0.05)
    assert mark_detector(model, whole=True)(stego) == 1.0
    assert mark_detector(model, whole=True)(picture(4)) == 0.0
    assert mark_detector(model)(picture(4, 48)) is None


# ----------------------------------------------------------------------------------------------- command line


def test_command_line_attack(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["stego", "attack", "--model", folder, "--attacks", "none,bits-7", "--pairs", "2", "--quiet"]
    assert main(words) == 0
    assert "bits-7" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert [row["attack"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["none", "bits-7", NOTHING]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "report.html" in capsys.readouterr().out
    assert main(["stego", "attack", "--model", folder, "--attacks", "jpegg", "--quiet"]) == ConfigError.exit_code
    assert "Did you mean 'jpeg'" in capsys.readouterr().err


def test_command_line_detect(
    folder: str, two_folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, stego = (str(f) for f in two_folders)
    base = ["stego", "detect", "--model", folder, "--quiet"]
    assert main([*base, plain, "--stego", stego, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["detector"] == "rs"
    assert main([*base, f"{plain}/0.png"]) == 0
    assert "no proof" in capsys.readouterr().out
    (two_folders[0] / "0.png").write_bytes(b"junk")
    assert main([*base, plain]) == 0
    assert "1 inputs were skipped" in capsys.readouterr().err
    assert main([*base, "--pairs", "4", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").is_file()
    assert main([*base, str(tmp_path / "nowhere")]) == DataError.exit_code


# ---------------------------------------------------------------------------------------------------- studies


def study(root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"study_{name}", root / "studies" / "stego" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_study_of_plain_photos(model: StegoModel, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_photos(monkeypatch, tmp_path, size=300)
    own = study(root, "plain")
    monkeypatch.setattr(own.fieldsight, "load", lambda *_: model)
    found = own.run(number=9, marked=2)
    assert (found["number"], found["photos"], len(found["scores"])) == (9, 3, 9)
    assert found["false_positives"]["count"] == 0
    assert found["controls"]["found"]["count"] == 2
    json.dumps(found, allow_nan=False)
    with pytest.raises(DataError, match="9,999|9999"):
        own.run(number=9999)


def test_study_of_attacks_tells_what_survives(root: Path) -> None:
    codec = METHODS["lsb-codec-2"]
    found = {
        "model": trials(COPY, pairs(4), parse("none lsb-1"), 0),
        "codec": trials(Way("codec", codec.hide, codec.reveal), pairs(4), parse("none lsb-1"), 0),
    }
    claims = study(root, "attack").claims(found)
    assert claims["survived"]["model"]["picture"] == ["none", "lsb-1"]
    assert claims["survived"]["codec"]["picture"] == claims["survived"]["codec"]["mark"] == ["none"]
    assert claims["ssim_minus_the_models"]["codec/lsb-1"]["value"] < -0.2
    json.dumps(claims, allow_nan=False)
