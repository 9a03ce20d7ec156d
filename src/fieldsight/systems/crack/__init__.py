"""Cracks found and measured by the best two of several experts (paper 01)."""

from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.registry import Input, Metric, System, Verb

_HERE = "fieldsight.systems.crack"
_PIXELS = "threshold 0.5, no post-processing, at the photo's own size"
_POOLED = f"TP, FP, FN, TN summed over all photos first (the paper's way); {_PIXELS}; 0/0 is 0"
_EACH = f"per photo, then mean; both empty is 1, one of them empty is 0; {_PIXELS}"
_LEFT = f"per photo, then mean; photos where both are empty are left out; {_PIXELS}"

#: Endings of videos that are read frame by frame.
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")

SPEC = System(
    id="crack",
    title="Cracks",
    summary="finds and measures cracks; a gate picks the best two of several experts for each photo",
    paper=(
        "A. M. Okran, H. A. Rashwan, S. Chambon, D. Puig: Adaptive Expert Selection for Crack Segmentation Using a "
        "Top-K Mixture-of-Experts Framework with Out-of-Fold Supervision. Electronics 2026, 15(2), 407. "
        "DOI 10.3390/electronics15020407"
    ),
    number=1,
    model=f"{_HERE}.predict:CrackModel",
    config=f"{_HERE}.config:CrackConfig",
    presets=f"{_HERE}.config:PRESETS",
    inputs=(
        Input(
            "image",
            "image",
            "photos, orthomosaics (GeoTIFF), videos, or folders of them",
            (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES),
        ),
    ),
    verbs=(
        Verb(
            "predict",
            "fieldsight.predicting:predict",
            f"{_HERE}.options:PredictOptions",
            "find, outline and measure cracks",
            needs="inputs",
            page=True,
        ),
        Verb(
            "explain",
            f"{_HERE}.explain:explain",
            f"{_HERE}.options:ExplainOptions",
            "why the gate chose these experts",
            needs="inputs",
            page=True,
        ),
        Verb(
            "oof",
            f"{_HERE}.tables:oof",
            f"{_HERE}.options:OofOptions",
            "score experts out of fold, for a new one or for own data",
            needs="data?",
        ),
        Verb(
            "make-data",
            f"{_HERE}.data:make_data",
            f"{_HERE}.options:MakeDataOptions",
            "write drawn photos with masks, as a folder that train reads",
            model=False,
        ),
        Verb(
            "train",
            f"{_HERE}.train:train",
            f"{_HERE}.config:CrackConfig",
            "train experts, out-of-fold table and gate",
            needs="data?",
            model=False,
        ),
        Verb(
            "evaluate",
            f"{_HERE}.evaluate:evaluate",
            f"{_HERE}.options:EvaluateOptions",
            "IoU and its kin on held-out photos, with every way of mixing and the oracles",
            needs="data?",
        ),
        Verb(
            "export",
            f"{_HERE}.export:export",
            f"{_HERE}.options:CrackExportOptions",
            "write the networks for another runtime, checked from input to output",
        ),
        Verb(
            "bench",
            f"{_HERE}.export:bench",
            f"{_HERE}.options:CrackBenchOptions",
            "time gate, experts and the routed whole in every runtime",
        ),
        Verb(
            "reproduce",
            f"{_HERE}.reproduce:reproduce",
            f"{_HERE}.options:ReproduceOptions",
            "the paper's tables against ours",
            model=False,
        ),
    ),
    output="CrackMap",
    metrics=(
        Metric("pooled_iou", "1", "higher", (0, 1), 1, f"Eq. 10; {_POOLED}"),
        Metric("pooled_precision", "1", "higher", (0, 1), 1, f"Eq. 11; {_POOLED}"),
        Metric("pooled_recall", "1", "higher", (0, 1), 1, f"Eq. 11; {_POOLED}"),
        Metric("pooled_f1", "1", "higher", (0, 1), 1, f"Eq. 12; {_POOLED}"),
        Metric("pooled_miou", "1", "higher", (0, 1), 1, f"Eq. 13, mean of crack and background; {_POOLED}"),
        Metric("iou", "1", "higher", (0, 1), 1, _EACH),
        Metric("f1", "1", "higher", (0, 1), 1, _EACH),
        Metric("precision", "1", "higher", (0, 1), 1, _LEFT),
        Metric("recall", "1", "higher", (0, 1), 1, _LEFT),
        Metric("miou", "1", "higher", (0, 1), 1, f"mean of crack and background; {_EACH}"),
        Metric("iou_tol2", "1", "higher", (0, 1), 1, f"pixels within 2 px of the other mask are right; {_EACH}"),
        Metric("f1_tol2", "1", "higher", (0, 1), 1, f"pixels within 2 px of the other mask are right; {_EACH}"),
        Metric("centreline_iou", "1", "higher", (0, 1), 1, f"skeletons, 4 px tolerance (OmniCrack30k's); {_EACH}"),
        Metric("cldice", "1", "higher", (0, 1), 1, f"skeleton in mask, both ways (Shit et al. 2021); {_EACH}"),
        Metric("boundary_f1", "1", "higher", (0, 1), 1, f"outlines, 2 px tolerance; {_EACH}"),
        Metric("length_error", "1", "lower", (0, float("inf")), 0, f"|length - true| / true, of skeletons; {_LEFT}"),
        Metric("width_error", "px", "lower", (0, float("inf")), 0, f"|mean width - true|; {_LEFT}"),
        Metric("hit", "1", "higher", (0, 1), 1, "share of photos whose best expert has the greatest weight"),
        Metric("top2_recall", "1", "higher", (0, 1), 1, "share of photos whose best expert is among the two greatest"),
        Metric("regret", "1", "lower", (-1, 1), 0, "IoU of the best expert less IoU of the mixture; mean over photos"),
        Metric("entropy", "1", "target", (0, 1), 0, "of the gate's weights over that of equal ones; mean over photos"),
    ),
    traits=frozenset({"learns", "exports"}),
    demo=f"{_HERE}.studio:demo",
    examples=f"{_HERE}.studio:examples",
    page=f"{_HERE}.studio:page",
    notice=(
        "An aid for inspection, no judgement of safety: trained on drawn cracks, it misses some and invents others. "
        "A person decides."
    ),
    defaults=("base",),
)
