"""Vessels brought out and stenoses found in coronary angiograms (paper 12)."""

from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.registry import BENCH, EXPORT, Input, Metric, System, Verb

_HERE = "fieldsight.systems.vessel"
_AP = (
    "COCO: 101 recalls; at most 100 boxes of a frame; suppression IoU 0.7; confidence 0.001; ignored regions "
    "(narrowings below 50 %, stenoses that can't be judged) are neither right nor wrong; no truth: undefined; nothing "
    "found: 0"
)
_FROC = "share of stenoses found (IoU 0.5) at so many false boxes a frame; ignored regions count as nothing"
_BEST = "IoU 0.5, at the confidence of the best F1; 0/0 is undefined"

#: Endings of runs of frames.
RUN_SUFFIXES = (".dcm", ".dicom", ".ima", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_SUFFIXES = (*RUN_SUFFIXES, *IMAGE_SUFFIXES)

SPEC = System(
    id="vessel",
    title="Vessels",
    summary="enhances vessels in angiograms and finds stenoses",
    paper=(
        "Y. Li, T. Yoshimura, Y. Horima, H. Sugimori: A Hessian-Based Deep Learning Preprocessing Method for Coronary "
        "Angiography Image Analysis. Electronics 2024, 13(18), 3676. DOI 10.3390/electronics13183676"
    ),
    number=12,
    model=f"{_HERE}.predict:VesselModel",
    config=f"{_HERE}.config:VesselConfig",
    presets=f"{_HERE}.config:PRESETS",
    inputs=(
        Input(
            "image",
            "image",
            "angiograms (DICOM, pictures, videos), or folders of them",
            (*RUN_SUFFIXES, *IMAGE_SUFFIXES),
        ),
    ),
    verbs=(
        Verb(
            "predict",
            "fieldsight.predicting:predict",
            f"{_HERE}.options:PredictOptions",
            "find stenoses",
            needs="inputs",
            page=True,
        ),
        Verb(
            "enhance",
            f"{_HERE}.enhancing:enhance",
            f"{_HERE}.options:EnhanceOptions",
            "bring out the vessels of any picture",
            needs="inputs",
            model=False,
            page=True,
        ),
        Verb(
            "fuse",
            f"{_HERE}.enhancing:fuse",
            f"{_HERE}.options:FuseOptions",
            "lay vesselness over a frame: what a detector sees",
            needs="inputs",
            model=False,
        ),
        Verb(
            "measure",
            f"{_HERE}.measuring:measure",
            f"{_HERE}.options:MeasureOptions",
            "how narrow a stenosis is, between two points or in a box",
            needs="inputs",
            model=False,
            page=True,
        ),
        Verb(
            "make-data",
            f"{_HERE}.prepare:make_data",
            f"{_HERE}.options:MakeDataOptions",
            "draw patients, as a data set that train reads",
            model=False,
        ),
        Verb(
            "prepare",
            f"{_HERE}.prepare:prepare",
            f"{_HERE}.options:PrepareOptions",
            "split a data set by patient and write it raw and fused, with the same boxes",
            needs="data?",
            model=False,
        ),
        Verb(
            "train",
            f"{_HERE}.train:train",
            f"{_HERE}.config:VesselConfig",
            "train a detector of stenoses",
            needs="data?",
            model=False,
        ),
        Verb(
            "evaluate",
            f"{_HERE}.evaluate:evaluate",
            f"{_HERE}.options:EvaluateOptions",
            "average precision and sensitivity on held-out frames, by view and vessel",
            needs="data?",
        ),
        EXPORT,
        BENCH,
        Verb(
            "reproduce",
            f"{_HERE}.reproduce:reproduce",
            f"{_HERE}.options:ReproduceOptions",
            "the paper's tables against ours",
            model=False,
        ),
    ),
    output="Stenoses",
    metrics=(
        Metric("ap50", "1", "higher", (0, 1), 1, f"IoU 0.5; {_AP}"),
        Metric("ap50_95", "1", "higher", (0, 1), 1, f"mean over IoU 0.50 to 0.95 by 0.05; {_AP}"),
        Metric("sensitivity_0_25", "1", "higher", (0, 1), 1, f"a quarter: {_FROC}"),
        Metric("sensitivity_0_5", "1", "higher", (0, 1), 1, f"a half: {_FROC}"),
        Metric("sensitivity_1", "1", "higher", (0, 1), 1, f"one: {_FROC}"),
        Metric("precision", "1", "higher", (0, 1), 1, _BEST),
        Metric("recall", "1", "higher", (0, 1), 1, _BEST),
        Metric("f1", "1", "higher", (0, 1), 1, _BEST),
        Metric("sensitivity_main", "1", "higher", (0, 1), 1, f"on main vessels of drawn frames, at one: {_FROC}"),
        Metric("sensitivity_branch", "1", "higher", (0, 1), 1, f"on side branches of drawn frames, at one: {_FROC}"),
        Metric(
            "mabo",
            "1",
            "higher",
            (0, 1),
            1,
            "mean over a frame's true boxes of the highest IoU of a found box, confidence 0.001, then mean over "
            "frames; those without true boxes are left out",
        ),
    ),
    traits=frozenset({"learns", "exports"}),
    page=f"{_HERE}.studio:page",
    demo=f"{_HERE}.studio_scenes:demo",
    examples=f"{_HERE}.studio_scenes:examples",
    notice="No medical device: for research and teaching only, never for a decision about a person.",
    defaults=("base",),
)
