"""A small detector, trained, made smaller, and measured where it will run (paper 10)."""

from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.registry import Input, Metric, System, Verb

_HERE = "fieldsight.systems.edge"
_AP = (
    "COCO: 101 recalls, mean over classes with truth; at most 100 boxes of a class and photo; suppression IoU 0.7; "
    "no truth in a class: left out; nothing found: 0"
)
_IOUS = "mean over IoU 0.50 to 0.95 by 0.05"
_BEST = "all classes together, IoU 0.5, at the confidence of the best F1; 0/0 is undefined"

#: Endings of videos that are read frame by frame.
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")

SPEC = System(
    id="edge",
    title="Edge detector",
    summary="trains a small detector and finds the best export for a device: speed, accuracy, joules, round trip",
    paper=(
        "L. Rey, A. M. Bernardos, A. D. Dobrzycki, D. Carraminana, L. Bergesio, J. A. Besada, J. R. Casar: A "
        "Performance Analysis of You Only Look Once Models for Deployment on Constrained Computational Edge Devices in "
        "Drone Applications. Electronics 2025, 14(3), 638. DOI 10.3390/electronics14030638"
    ),
    number=10,
    model=f"{_HERE}.predict:EdgeModel",
    config=f"{_HERE}.config:EdgeConfig",
    presets=f"{_HERE}.config:PRESETS",
    inputs=(Input("image", "image", "photos, videos, or folders of them", (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)),),
    verbs=(
        Verb(
            "predict",
            "fieldsight.predicting:predict",
            f"{_HERE}.options:PredictOptions",
            "find objects in photos and videos",
            needs="inputs",
            page=True,
        ),
        Verb(
            "make-data",
            f"{_HERE}.data:make_data",
            f"{_HERE}.options:MakeDataOptions",
            "write drawn frames with their boxes, as a folder that train reads",
            model=False,
        ),
        Verb(
            "train",
            f"{_HERE}.train:train",
            f"{_HERE}.config:EdgeConfig",
            "train a detector",
            needs="data?",
            model=False,
        ),
        Verb(
            "evaluate",
            f"{_HERE}.evaluate:evaluate",
            f"{_HERE}.options:EvaluateOptions",
            "average precision on held-out photos, at two settings of confidence",
            needs="data?",
        ),
        Verb(
            "export",
            f"{_HERE}.export:export",
            f"{_HERE}.options_bench:EdgeExportOptions",
            "write the detector for another runtime, checked from photo to boxes",
        ),
        Verb(
            "quantize",
            f"{_HERE}.quantize:quantize",
            f"{_HERE}.options_quantize:QuantizeOptions",
            "make it 8 bits, with what every layer loses",
            needs="data?",
        ),
        Verb(
            "bench",
            f"{_HERE}.bench:bench",
            f"{_HERE}.options_bench:EdgeBenchOptions",
            "accuracy, speed, power and energy in every runtime and precision",
            needs="data?",
        ),
        Verb(
            "watch",
            f"{_HERE}.watch:watch",
            f"{_HERE}.options:WatchOptions",
            "look at a camera or a network stream as it comes",
        ),
        Verb(
            "serve",
            f"{_HERE}.serve:serve",
            f"{_HERE}.options_serve:ServeOptions",
            "answer frames that come over the network",
        ),
        Verb(
            "roundtrip",
            f"{_HERE}.roundtrip:roundtrip",
            f"{_HERE}.options_serve:RoundtripOptions",
            "time from frame to answer, at the edge against a cloud",
            needs="inputs?",
        ),
        Verb(
            "simulate",
            f"{_HERE}.simulating:simulate_verb",
            f"{_HERE}.options_serve:SimulateOptions",
            "the loop of camera, link and computer, from tables",
            needs="inputs?",
            model=False,
        ),
        Verb(
            "recommend",
            f"{_HERE}.recommending:recommend_verb",
            f"{_HERE}.recommend:Constraints",
            "which board, model and precision for a mission",
            needs="inputs?",
            model=False,
        ),
        Verb(
            "reproduce",
            f"{_HERE}.reproduce:run",
            f"{_HERE}.options:ReproduceOptions",
            "the paper's tables against each other",
            model=False,
        ),
    ),
    output="Found",
    metrics=(
        Metric("map50_95", "1", "higher", (0, 1), 1, f"{_IOUS}, confidence 0.001; {_AP}"),
        Metric("map50", "1", "higher", (0, 1), 1, f"IoU 0.5, confidence 0.001; {_AP}"),
        Metric("map75", "1", "higher", (0, 1), 1, f"IoU 0.75, confidence 0.001; {_AP}"),
        Metric("map50_95_conf50", "1", "higher", (0, 1), 1, f"{_IOUS}, confidence 0.5 (the paper's); {_AP}"),
        Metric("map50_conf50", "1", "higher", (0, 1), 1, f"IoU 0.5, confidence 0.5 (the paper's); {_AP}"),
        Metric("map_small", "1", "higher", (0, 1), 1, f"objects up to 32 x 32 px; {_IOUS}; {_AP}"),
        Metric("map_medium", "1", "higher", (0, 1), 1, f"objects of 32 x 32 to 96 x 96 px; {_IOUS}; {_AP}"),
        Metric("map_large", "1", "higher", (0, 1), 1, f"objects from 96 x 96 px on; {_IOUS}; {_AP}"),
        Metric("precision", "1", "higher", (0, 1), 1, _BEST),
        Metric("recall", "1", "higher", (0, 1), 1, _BEST),
        Metric("f1", "1", "higher", (0, 1), 1, _BEST),
        Metric(
            "mabo",
            "1",
            "higher",
            (0, 1),
            1,
            "mean over a photo's true boxes of the highest IoU of a found box of their class, confidence 0.001, then "
            "mean over photos; those without true boxes are left out",
        ),
    ),
    traits=frozenset({"learns", "exports"}),
    demo=f"{_HERE}.studio:demo",
    examples=f"{_HERE}.studio:examples",
    page=f"{_HERE}.studio:page",
    routes=f"{_HERE}.routes:routes",
    notice="",
    defaults=("base",),
)
