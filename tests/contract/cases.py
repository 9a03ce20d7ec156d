"""What the contract can't know by itself about a system: valid inputs, broken data, perfect answers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.data.files import write_text
from fieldsight.data.images import write_image
from fieldsight.metrics.items import PerItem


@dataclass(frozen=True)
class Case:
    """One system under the contract.

    Attributes:
        id: the system.
        inputs: writes three valid inputs of the main action into a folder and returns them.
        named: the other inputs.
        options: options that keep the main action quick.
        bad_input: writes an input that must be refused.
        pictures: writes one picture in every form (path, array, grey, RGBA, 16 bit, odd size); empty where the input
            is no picture.
        corruptions: writes broken data folders; each with a piece of the message that names the fault.
        metric: what tiny training must improve.
        perfect: the metrics of a perfect prediction.
        measure: items to add in any order; ``(id, values, group)``.
        bad_options: constraint-breaking options of the training config beyond those found by themselves.
        data_options: options that keep ``make-data`` small.
        wobble: how far whole numbers of a prediction by an exported network may be off, and what share of them.
        parity: how far outputs of an export may be off, in their own unit.
        frames: an input of a stream system as its steps: named inputs and time, one frame after the other.
    """

    id: str
    inputs: Callable[[Path], list[Any]]
    bad_input: Callable[[Path], Any]
    named: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    pictures: Callable[[Path], dict[str, Any]] | None = None
    corruptions: Callable[[Path], dict[str, str]] | None = None
    metric: str = ""
    perfect: Callable[[], dict[str, float]] | None = None
    measure: Callable[[Any], list[tuple[str, dict[str, float], str]]] | None = None
    data_options: dict[str, Any] = field(default_factory=dict)
    wobble: tuple[int, float] = (0, 0.0)
    parity: float = 1e-4
    frames: Callable[[Any], list[tuple[dict[str, Any], float]]] | None = None


# -------------------------------------------------------------------------------------------------- sem


def _bars(size: tuple[int, int] = (32, 32), shift: int = 0) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[:, 6 + shift : 14 + shift] = mask[:, 20 + shift : 27 + shift] = 255
    return mask


def _sem_inputs(folder: Path) -> list[Any]:
    from fieldsight.data.gds import write_polygons

    square = np.array([[0, 0], [60, 0], [60, 150], [0, 150]], float)
    layout = write_polygons(folder / "cell.gds", [square, square + np.array([120, 0])], (67, 20))
    first = write_image(folder / "a.png", _bars())
    return [layout, first, write_image(folder / "b.png", _bars(shift=2))]


def _sem_bad(folder: Path) -> Path:
    path = folder / "broken.gds"
    path.write_bytes(b"\x00\x06\x00\x02\x02\x58 and then nonsense")
    return path


def _sem_pictures(folder: Path) -> dict[str, Any]:
    mask = _bars()
    rgba = np.dstack([mask, mask, mask, np.full_like(mask, 255)])
    return {
        "path": write_image(folder / "mask.png", mask),
        "array": mask,
        "bool": mask > 0,
        "grey float": mask.astype(np.float32) / 255,
        "rgb": write_image(folder / "rgb.png", rgba[..., :3]),
        "rgba": write_image(folder / "rgba.png", rgba),
        "16 bit": write_image(folder / "deep.png", mask.astype(np.uint16) * 257),
        "tiff": write_image(folder / "mask.tif", mask),
        "npy": write_image(folder / "mask.npy", mask),
        "odd size": write_image(folder / "odd.png", _bars((33, 47))),
    }


def _sem_corruptions(folder: Path) -> dict[str, str]:
    def base(name: str) -> Path:
        root = folder / name
        for n in range(8):
            write_image(root / "mask" / f"{n}.png", np.roll(_bars(), n, axis=1))
            write_image(root / "sem" / f"{n}.png", np.roll(_bars(), n, axis=1) // 2 + n)
        return root

    (base("lonely") / "sem" / "3.png").unlink()
    write_image(base("sizes") / "sem" / "5.png", _bars((32, 40)))
    broken = base("truncated") / "mask" / "2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    leaking = base("leak")
    lines = [f"{n},{n},{'test' if n > 5 else 'train'}" for n in range(8)]
    write_text(leaking / "manifest.csv", "id,group,split\n" + "\n".join(lines).replace("7,7", "7,0") + "\n")
    return {"lonely": "no partner", "sizes": "5.png", "truncated": "2.png", "leak": "'0' is in"}


def _sem_perfect() -> dict[str, float]:
    from fieldsight.systems.sem.evaluate import measure

    mask = np.kron(_bars((32, 32)) > 0, np.ones((3, 3))).astype(bool)
    from scipy.ndimage import gaussian_filter

    picture = gaussian_filter(0.2 + 0.5 * mask.astype(np.float32), 2.0)
    values = measure(picture, picture, picture, picture, 0.1, mask=mask, surface=picture, pixel=2.0)
    # the true contour is drawn on the smoothed picture, so its own edges come back within a tenth of a pixel
    for name in ("epe_nm", "cd_error_nm"):
        assert abs(values[name]) < 0.3, name
        values[name] = 0.0
    return {**values, "crossing": 0.0, "raw_coverage": 1.0, "ler_nm": 0.0}


def _sem_measure(model: Any) -> list[tuple[str, dict[str, float], str]]:
    from fieldsight.systems.sem.data import draw_pairs
    from fieldsight.systems.sem.evaluate import evaluate_pairs

    items, _ = evaluate_pairs(model, [p for p in draw_pairs(model.config.data) if p.split == "test"], edges=False)
    return _rows(items)


def _rows(items: PerItem) -> list[tuple[str, dict[str, float], str]]:
    return [
        (
            str(row["id"]),
            {k: v for k, v in row.items() if k not in ("id", "group") and v is not None},
            str(row["group"]),
        )
        for row in items.table("").rows
    ]


# ----------------------------------------------------------------------------------------------- energy


def _energy_inputs(folder: Path) -> list[Any]:
    layers = "name,kind,weights,macs,outputs\nfirst,conv2d,432,110592,4096\nlast,linear,1280,1280,10\n"
    gpt2 = '{"model_type": "gpt2", "vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}'
    return ["resnet18", write_text(folder / "layers.csv", layers), write_text(folder / "config.json", gpt2)]


def _energy_bad(folder: Path) -> Path:
    path = folder / "broken.onnx"
    path.write_bytes(b"\x08\x07 and then nonsense")
    return path


# ------------------------------------------------------------------------------------------------ alert


def _alert_inputs(folder: Path) -> list[Any]:
    from fieldsight.systems.alert import iar
    from fieldsight.systems.alert.simulate import simulate

    recording = simulate(scenario="approach", seconds=2.0, seed=3, size=(48, 36))
    # a model that is stepped by hand knows no manifest: it takes the usual height
    recording = recording.replace(manifest=recording.manifest.replace(camera_height=1.3))
    ranges = "t,range_m\n" + "".join(f"{n / 10},{9 - 0.4 * n:.2f}\n" for n in range(20))
    walls = np.stack([np.full((12, 16), 6 - 0.25 * n, np.float32) for n in range(12)])
    np.savez(folder / "walls.npz", depth=walls, t=np.arange(12) / 10, K=[[13, 0, 7.5], [0, 13, 5.5], [0, 0, 1]])
    return [
        iar.write(recording, folder / "street.iar"),
        write_text(folder / "ranges.csv", ranges),
        folder / "walls.npz",
    ]


def _alert_bad(folder: Path) -> Path:
    path = folder / "broken.iar"
    path.write_bytes(b"PK\x03\x04 and then nonsense")
    return path


def _alert_frames(path: Any) -> list[tuple[dict[str, Any], float]]:
    from fieldsight.systems.alert.sources import open_recording

    return [
        ({"depth": f.depth, "confidence": f.confidence, "K": f.K, "pose": f.pose}, f.t) for f in open_recording(path)
    ]


# ------------------------------------------------------------------------------------------------ stego


def _photo(seed: int = 0, size: tuple[int, int] = (72, 96)) -> np.ndarray:
    from fieldsight.engine.seed import rng_for
    from fieldsight.systems.stego.textures import draw

    return np.ascontiguousarray(draw("cloud", max(size), rng_for(seed, "contract"))[: size[0], : size[1]])


def _stego_secret() -> str:
    """A real picture that is installed anyway, as a path: what people name on the command line."""
    found = importlib.util.find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "datasets" / "images" / "china.jpg")


def _stego_inputs(folder: Path) -> list[Any]:
    return [write_image(folder / f"{n}.png", _photo(n)) for n in range(3)]


def _stego_bad(folder: Path) -> Path:
    path = folder / "broken.png"
    path.write_bytes(write_image(folder / "whole.png", _photo()).read_bytes()[:200])
    return path


def _stego_pictures(folder: Path) -> dict[str, Any]:
    picture = _photo(7)
    return {
        "path": write_image(folder / "p.png", picture),
        "array": picture,
        "float": picture.astype(np.float32) / 255,
        "rgba": write_image(folder / "rgba.png", np.dstack([picture, np.full(picture.shape[:2], 200, np.uint8)])),
        "16 bit": write_image(folder / "deep.png", picture.astype(np.uint16) * 257),
        "tiff": write_image(folder / "p.tif", picture),
        "npy": write_image(folder / "p.npy", picture),
        "odd size": write_image(folder / "odd.png", _photo(7, (75, 101))),
    }


def _stego_corruptions(folder: Path) -> dict[str, str]:
    for name in ("truncated", "small", "alone", "leak"):
        for split, count in (("train", 4), ("val", 3)):
            for n in range(count):
                write_image(folder / name / split / "n03028079" / f"{n}.png", _photo(10 * count + n))
    broken = folder / "truncated" / "train" / "n03028079" / "2.png"
    broken.write_bytes(broken.read_bytes()[:150])
    write_image(folder / "small" / "val" / "n03028079" / "1.png", _photo(3, (16, 16))[:9, :9])
    for n in (1, 2, 3):
        (folder / "alone" / "train" / "n03028079" / f"{n}.png").unlink()
    write_image(folder / "leak" / "val" / "n03028079" / "2.png", _photo(40))
    return {"truncated": "2.png", "small": "1.png", "alone": "two are needed", "leak": "the same content is in"}


def _stego_pairs(count: int = 3) -> list[Any]:
    from fieldsight.systems.stego.evaluate import drawn_pairs

    return drawn_pairs(count, 32)


def _stego_perfect() -> dict[str, float]:
    from fieldsight.systems.stego.evaluate import Outcome, measure

    pair = _stego_pairs(1)[0]
    floats = [p.astype(np.float32) / 255 for p in (pair.cover, pair.secret)]
    return measure(Outcome(pair, pair.cover, pair.secret, *floats))


def _stego_measure(model: Any) -> list[tuple[str, dict[str, float], str]]:
    from fieldsight.systems.stego.evaluate import evaluate_pairs, run_pair

    return _rows(evaluate_pairs(lambda pair: run_pair(model, pair), _stego_pairs(6))[0])


# --------------------------------------------------------------------------------- photos with their truth


def _photo_inputs(folder: Path, samples: Sequence[Any]) -> list[Any]:
    """Three photos as files: as drawn, of odd size, upside down."""
    photos = [sample.image() for sample in samples]
    return [
        write_image(folder / f"{n}.png", photo)
        for n, photo in enumerate((photos[0], photos[1][:50, :61], np.ascontiguousarray(photos[2][::-1])))
    ]


def _photo_bad(folder: Path, sample: Any) -> Path:
    """The first bytes of a photo."""
    path = folder / "broken.png"
    path.write_bytes(write_image(folder / "whole.png", sample.image()).read_bytes()[:400])
    return path


def _photo_pictures(folder: Path, sample: Any) -> dict[str, Any]:
    """A photo in every form."""
    photo = sample.image()
    rgba = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    return {
        "path": write_image(folder / "p.png", photo),
        "array": photo,
        "float": photo.astype(np.float32) / 255,
        "rgba": write_image(folder / "rgba.png", rgba),
        "16 bit": write_image(folder / "deep.png", photo.astype(np.uint16) * 257),
        "tiff": write_image(folder / "p.tif", photo),
        "npy": write_image(folder / "p.npy", photo),
        "odd size": write_image(folder / "odd.png", photo[:47, :61]),
    }


# ------------------------------------------------------------------------------------------------ crack


def _crack_photos(count: int, size: int = 64) -> list[Any]:
    """Drawn photos with their masks."""
    from fieldsight.systems.crack.world import draw_set

    return draw_set({"test": count}, size=size, seed=7, empty=0.0)


def _crack_inputs(folder: Path) -> list[Any]:
    return _photo_inputs(folder, _crack_photos(3))


def _crack_bad(folder: Path) -> Path:
    return _photo_bad(folder, _crack_photos(1)[0])


def _crack_pictures(folder: Path) -> dict[str, Any]:
    return _photo_pictures(folder, _crack_photos(1)[0])


def _crack_corruptions(folder: Path) -> dict[str, str]:
    from fieldsight.systems.crack.folders import write_folder
    from fieldsight.systems.crack.world import draw_set

    samples = draw_set({"train": 5, "val": 2, "test": 2}, size=32, seed=7, empty=0.0)
    first = {split: next(s.id for s in samples if s.split == split) for split in ("train", "val", "test")}
    for name in ("lonely", "sizes", "truncated", "leak", "blank"):
        write_folder(samples, folder / name)
    train = Path("train")
    (folder / "lonely" / train / "masks" / f"{first['train']}.png").unlink()
    write_image(folder / "sizes" / train / "masks" / f"{first['train']}.png", np.zeros((32, 40), np.uint8))
    broken = folder / "truncated" / "val" / "images" / f"{first['val']}.png"
    broken.write_bytes(broken.read_bytes()[:400])
    manifest = folder / "leak" / "manifest.csv"
    lines = manifest.read_text().splitlines()
    group = next(line.split(",")[1] for line in lines if line.startswith(first["train"]))
    moved = [f"{first['test']},{group},test," if line.startswith(first["test"]) else line for line in lines]
    manifest.write_text("\n".join(moved) + "\n")
    for mask in (folder / "blank" / train / "masks").iterdir():
        write_image(mask, np.zeros((32, 32), np.uint8))
    return {
        "lonely": first["train"], "sizes": "40 x 32", "truncated": first["val"], "leak": f"'{group}' is in",
        "blank": "no crack in the whole training split",
    }  # fmt: skip


def _crack_perfect() -> dict[str, float]:
    from fieldsight.config import resolve
    from fieldsight.systems.crack import evaluate
    from fieldsight.systems.crack.config import PRESETS, CrackConfig
    from fieldsight.systems.crack.explain import Seen
    from fieldsight.systems.crack.predict import CrackModel

    model = CrackModel.create(resolve(CrackConfig, PRESETS, "tiny"))
    seen = []
    for sample in _crack_photos(3):
        truth = sample.mask()
        # one expert is right and the gate is sure of it
        maps = np.stack([truth, *[np.zeros_like(truth)] * (len(model.names) - 1)]).astype(np.float32)
        seen.append(Seen(sample, truth, np.eye(len(model.names))[0], maps))
    return evaluate.totals_of(model, evaluate.gather_seen(model, seen))


def _crack_measure(model: Any) -> list[tuple[str, dict[str, float], str]]:
    from fieldsight.systems.crack.evaluate import gather

    return _rows(gather(model, _crack_photos(6)).pool.items)


# ------------------------------------------------------------------------------------------------- edge


def _edge_samples(count: int, size: int = 64) -> list[Any]:
    """Drawn frames with their boxes."""
    from fieldsight.systems.edge.world import draw_set

    return draw_set("cutouts", {"test": count}, (size, size), seed=7, per_trajectory=4)


def _edge_inputs(folder: Path) -> list[Any]:
    return _photo_inputs(folder, _edge_samples(3))


def _edge_bad(folder: Path) -> Path:
    return _photo_bad(folder, _edge_samples(1)[0])


def _edge_pictures(folder: Path) -> dict[str, Any]:
    return _photo_pictures(folder, _edge_samples(1)[0])


def _edge_corruptions(folder: Path) -> dict[str, str]:
    from fieldsight.systems.edge.world import CLASSES, draw_set

    counts = {"train": 8, "val": 4, "test": 4}
    samples = draw_set("cutouts", counts, (64, 64), seed=7, per_trajectory=4)
    return _yolo_corruptions(folder, samples, CLASSES["cutouts"])


def _yolo_corruptions(folder: Path, samples: Sequence[Any], names: Sequence[str]) -> dict[str, str]:
    """A data set in YOLO's layout, damaged in five ways."""
    from fieldsight.data.detection.folders import write_detection

    first = next(s for s in samples if s.split == "train" and len(s.truth()))
    for name in ("class", "numbers", "truncated", "leak", "blank"):
        write_detection(samples, names, folder / name, "yolo")
    label = Path("labels") / "train" / f"{first.id}.txt"
    write_text(folder / "class" / label, "99 0.5 0.5 0.2 0.2\n")
    write_text(folder / "numbers" / label, "0 0.5 a 0.2 0.2\n")
    broken = folder / "truncated" / "images" / "train" / f"{first.id}.png"
    broken.write_bytes(broken.read_bytes()[:400])
    twin = next(s for s in samples if s.split == "test")
    manifest = folder / "leak" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(f"{twin.id},{twin.group},", f"{twin.id},{first.group},"))
    for path in (folder / "blank" / "labels").rglob("*.txt"):
        write_text(path, "")
    return {
        "class": "99", "numbers": first.id, "truncated": first.id, "leak": f"'{first.group}' is in",
        "blank": "no box in the whole training split",
    }  # fmt: skip


def _edge_model() -> Any:
    from fieldsight.systems.edge.config import PRESETS
    from fieldsight.systems.edge.predict import EdgeModel

    return EdgeModel.create(PRESETS["tiny"])


def _edge_perfect() -> dict[str, float]:
    from fieldsight.data.detection.sample import Detections
    from fieldsight.detection.measure import gather_found
    from fieldsight.systems.edge.evaluate import metrics_of

    samples = _edge_samples(12)
    truths = [s.truth() for s in samples]
    right = [Detections.of(t.boxes, np.ones(len(t)), t.labels) for t in truths]
    return metrics_of(gather_found(_edge_model(), samples, right))


def _edge_measure(model: Any) -> list[tuple[str, dict[str, float], str]]:
    from fieldsight.detection.measure import gather

    return _rows(gather(model, _edge_samples(6)).items)


# ----------------------------------------------------------------------------------------------- vessel


def _vessel_samples(count: int) -> list[Any]:
    """Frames of drawn patients."""
    from fieldsight.systems.vessel.data import drawn

    return drawn("test", -(-count // 2), 2, 7, "high", 128)[:count]


def _vessel_corruptions(folder: Path) -> dict[str, str]:
    from fieldsight.systems.vessel.data import Data, drawn_splits

    splits = drawn_splits(Data(train=8, val=4, test=4, each=2, side=64, look="high"))
    samples = [_boxed(s) for s in (*splits.train, *splits.val, *splits.test)]
    return _yolo_corruptions(folder, samples, splits.classes)


def _boxed(sample: Any) -> Any:
    """Without ignored regions, which YOLO's files can't say."""
    from dataclasses import replace

    from fieldsight.data.detection.sample import Truth

    truth = sample.truth()
    own = Truth.of(truth.boxes[~truth.ignore], truth.labels[~truth.ignore])
    return replace(sample, truth=lambda: own)


def _vessel_model() -> Any:
    from fieldsight.systems.vessel.config import PRESETS
    from fieldsight.systems.vessel.predict import VesselModel

    return VesselModel.create(PRESETS["tiny"])


def _vessel_perfect() -> dict[str, float]:
    from fieldsight.data.detection.sample import Detections
    from fieldsight.systems.vessel.evaluate import measured_found, metrics_of

    samples = _vessel_samples(16)
    right = []
    for sample in samples:
        truth = sample.truth()
        own = ~truth.ignore
        right.append(Detections.of(truth.boxes[own], np.ones(own.sum()), truth.labels[own]))
    return metrics_of(measured_found(_vessel_model(), samples, right))


def _vessel_measure(model: Any) -> list[tuple[str, dict[str, float], str]]:
    from fieldsight.systems.vessel.evaluate import measured

    return _rows(measured(model, _vessel_samples(6)).gathered.items)


# -------------------------------------------------------------------------------------------------- toys


def _words_inputs(folder: Path) -> list[Any]:
    from toys.words import draw

    return [write_image(folder / f"{n}.png", draw(n, 0)[0]) for n in range(3)]


def _words_pictures(folder: Path) -> dict[str, Any]:
    from toys.words import draw

    picture = draw(0, 0)[0]
    rgba = np.dstack([picture, picture, picture, np.full_like(picture, 255)])
    return {
        "path": write_image(folder / "p.png", picture),
        "array": picture,
        "rgba": write_image(folder / "rgba.png", rgba),
        "16 bit": write_image(folder / "deep.png", picture.astype(np.uint16) * 257),
        "odd size": write_image(folder / "odd.png", np.pad(picture, ((0, 1), (0, 3)), mode="edge")),
    }


def _words_corruptions(folder: Path) -> dict[str, str]:
    from toys.words import DataOptions, make_data

    for name in ("label", "file", "zero"):
        make_data(folder / name, DataOptions(count=4))
    table = folder / "label" / "pairs.csv"
    table.write_text(table.read_text().replace(",yes", ",perhaps").replace(",no", ",perhaps"))
    (folder / "file" / "002.png").unlink()
    (folder / "zero" / "001.png").write_bytes(b"")
    return {"label": "'perhaps' is no label", "file": "002.png", "zero": "001.png' is empty"}


def _gan_corruptions(folder: Path) -> dict[str, str]:
    from toys.gan import DataOptions, make_data

    for name in ("kind", "size", "gone"):
        make_data(folder / name, DataOptions(count=4))
    labels = folder / "kind" / "labels.json"
    labels.write_text(labels.read_text().replace("lying", "flying"))
    write_image(folder / "size" / "001.png", np.zeros((9, 8), np.uint8))
    (folder / "gone" / "labels.json").unlink()
    return {"kind": "'flying'", "size": "8 x 8 is wanted", "gone": "labels.json"}


def _stream_inputs(folder: Path) -> list[Any]:
    paths = []
    for n in range(3):
        path = folder / f"s{n}.npy"
        np.save(path, np.full((5, 8, 8), 5.0 + n, np.float32))
        paths.append(path)
    return paths


def _bad_npy(folder: Path) -> Path:
    path = folder / "broken.npy"
    np.save(path, np.zeros((2, 2, 2, 2), np.float32))
    return path


CASES = {
    case.id: case
    for case in (
        Case(
            "sem",
            _sem_inputs,
            _sem_bad,
            pictures=_sem_pictures,
            corruptions=_sem_corruptions,
            metric="mae",
            perfect=_sem_perfect,
            measure=_sem_measure,
            data_options={"preset": "tiny"},
        ),
        # it learns nothing, its input is no picture and its data no training set: corruptions, pictures, metrics and
        # perfect answers have nothing to stand on; tests/systems/energy holds what takes their place
        Case("energy", _energy_inputs, _energy_bad, data_options={"rows": 8, "idle": 2}),
        Case(
            "toygan",
            lambda folder: ["lying", "standing", "lying"],
            lambda folder: "sitting",
            corruptions=_gan_corruptions,
            metric="distance",
            perfect=lambda: {"distance": 0.0},
            data_options={"count": 4},
        ),
        # nothing is trained and the input is a stream, no picture: what a stream gets wrong is in tests/systems/alert
        Case(
            "alert",
            _alert_inputs,
            _alert_bad,
            data_options={"count": 2, "seconds": 1.0, "size": "32,24"},
            frames=_alert_frames,
        ),
        Case(
            "stego",
            _stego_inputs,
            _stego_bad,
            named={"secret": _stego_secret()},
            pictures=_stego_pictures,
            corruptions=_stego_corruptions,
            metric="secret_psnr",
            perfect=_stego_perfect,
            measure=_stego_measure,
            data_options={"count": 10, "size": 48},
            # a value between two levels may fall on either side, and rounding by blocks answers it in its neighbours:
            # 0.12 % and 2 levels at most in three pictures
            wobble=(2, 0.002),
        ),
        Case(
            "crack",
            _crack_inputs,
            _crack_bad,
            pictures=_crack_pictures,
            corruptions=_crack_corruptions,
            metric="pooled_iou",
            perfect=_crack_perfect,
            measure=_crack_measure,
            data_options={"train": 10, "val": 2, "test": 3, "size": 32},
        ),
        Case(
            "edge",
            _edge_inputs,
            _edge_bad,
            options={"conf": 0.01},
            pictures=_edge_pictures,
            corruptions=_edge_corruptions,
            metric="mabo",
            perfect=_edge_perfect,
            measure=_edge_measure,
            data_options={"world": "cutouts", "train": 8, "val": 2, "test": 3, "size": 64},
            parity=1e-3,  # boxes are in pixels
        ),
        Case(
            "vessel",
            lambda folder: _photo_inputs(folder, _vessel_samples(3)),
            lambda folder: _photo_bad(folder, _vessel_samples(1)[0]),
            options={"conf": 0.01},
            pictures=lambda folder: _photo_pictures(folder, _vessel_samples(1)[0]),
            corruptions=_vessel_corruptions,
            metric="mabo",
            perfect=_vessel_perfect,
            measure=_vessel_measure,
            data_options={"train": 8, "val": 4, "test": 4, "each": 2, "side": 64},
            parity=1e-3,  # boxes are in pixels
        ),
        Case(
            "toystream",
            _stream_inputs,
            _bad_npy,
            data_options={"frames": 6},
            frames=lambda path: [({"depth": f}, n / 10.0) for n, f in enumerate(np.load(path))],
        ),
        Case(
            "toywords",
            _words_inputs,
            lambda folder: write_text(folder / "x.png", "no picture"),
            named={"text": "bright left"},
            pictures=_words_pictures,
            corruptions=_words_corruptions,
            metric="accuracy",
            perfect=lambda: {"accuracy": 1.0},
            data_options={"count": 4},
        ),
    )
}
