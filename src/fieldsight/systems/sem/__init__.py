"""Layout to SEM picture with a calibrated interval for every pixel (paper 05)."""

from fieldsight.data.suffixes import IMAGE_SUFFIXES, LAYOUT_SUFFIXES
from fieldsight.registry import BENCH, EXPORT, Input, Metric, System, Verb

_HERE = "fieldsight.systems.sem"
_IMAGES = "per picture, then mean over pictures; each layout in four rotations"
_REGION = "share of the region's pixels, per picture; pictures without the region are left out"
_CONTOUR = "upright pictures with edges only; contour at half height between ground and features"

SPEC = System(
    id="sem",
    title="Layout to SEM",
    summary="predicts the SEM image of a chip layout with an interval for every pixel",
    paper=(
        "J. Chien, E. Lee: Deep-CNN-Based Layout-to-SEM Image Reconstruction with Conformal Uncertainty Calibration "
        "for Nanoimprint Lithography in Semiconductor Manufacturing. Electronics 2025, 14(15), 2973. "
        "DOI 10.3390/electronics14152973"
    ),
    number=5,
    model=f"{_HERE}.predict:SemModel",
    config=f"{_HERE}.config:SemConfig",
    presets=f"{_HERE}.config:PRESETS",
    inputs=(
        Input(
            "layout",
            "layout",
            "GDSII or OASIS layouts or mask pictures; on the command line also folders of them",
            (*LAYOUT_SUFFIXES, *IMAGE_SUFFIXES),
        ),
    ),
    verbs=(
        Verb(
            "predict",
            "fieldsight.predicting:predict",
            f"{_HERE}.options:PredictOptions",
            "the expected picture with its interval, width map and uncertain places",
            needs="inputs",
            page=True,
        ),
        Verb(
            "simulate",
            f"{_HERE}.simulate:simulate",
            f"{_HERE}.options:SimulateOptions",
            "run a layout or a drawn pattern through exposure, etch, imprint and microscope",
            needs="inputs?",
            model=False,
            page=True,
        ),
        Verb(
            "make-data",
            f"{_HERE}.data:make_data",
            f"{_HERE}.options:MakeDataOptions",
            "write drawn pairs of mask and picture as a data folder",
            model=False,
        ),
        Verb(
            "train",
            f"{_HERE}.train:train",
            f"{_HERE}.config:SemConfig",
            "train the model: baseline, calibration, second stage",
            needs="data?",
            model=False,
        ),
        Verb(
            "calibrate",
            f"{_HERE}.calibrate:calibrate",
            f"{_HERE}.options:CalibrateOptions",
            "compute the threshold that makes the interval cover, on own pairs",
            needs="data?",
        ),
        Verb(
            "finetune",
            f"{_HERE}.train:finetune",
            f"{_HERE}.options:FinetuneOptions",
            "adapt a model to a few own pairs, outliers weighted, encoder frozen",
            needs="data?",
        ),
        Verb(
            "evaluate",
            f"{_HERE}.evaluate:evaluate",
            f"{_HERE}.options:EvaluateOptions",
            "error, coverage and edges on held-out layouts",
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
    output="Interval",
    metrics=(
        Metric("mae", "intensity 0-1", "lower", (0, 1), 0, f"mean |mid - y| over pixels {_IMAGES}"),
        Metric(
            "coverage", "1", "target", (0, 1), 1, f"share of pixels inside the closed interval; target 0.9; {_IMAGES}"
        ),
        Metric("width", "intensity 0-1", "lower", (0, 2), 0, f"mean hi - lo over pixels {_IMAGES}"),
        Metric("interval_score", "intensity 0-1", "lower", (0, 50), 0, f"Winkler's score at alpha {_IMAGES}"),
        Metric("raw_coverage", "1", "target", (0, 1), 1, f"coverage before calibration; {_IMAGES}"),
        Metric("crossing", "1", "lower", (0, 1), 0, "share of pixels whose raw quantiles cross, over all pixels"),
        Metric("psnr", "dB", "higher", (0, 99), 99, f"of the middle, peak 1, cut at 99; {_IMAGES}"),
        Metric("ssim", "1", "higher", (-1, 1), 1, f"of the middle, Gaussian window 1.5 px; {_IMAGES}"),
        Metric("coverage_edge", "1", "target", (0, 1), 1, f"within 3 px of the half-height contour; {_REGION}"),
        Metric("coverage_interior", "1", "target", (0, 1), 1, f"written and not edge; {_REGION}"),
        Metric("coverage_background", "1", "target", (0, 1), 1, f"neither written nor edge; {_REGION}"),
        Metric("mae_edge", "intensity 0-1", "lower", (0, 1), 0, f"within 3 px of the half-height contour; {_REGION}"),
        Metric("epe_nm", "nm", "lower", (0, 1e6), 0, f"mean distance of true to predicted contour; {_CONTOUR}"),
        Metric("cd_error_nm", "nm", "target", (-1e6, 1e6), 0, f"twice the mean signed edge shift; {_CONTOUR}"),
        Metric("ler_nm", "nm", "lower", (0, 1e6), 0, f"true line-edge roughness, 3 sigma; {_CONTOUR}"),
        Metric("cd_band_nm", "nm", "lower", (0, 1e6), 0, f"mean distance of lower to upper contour; {_CONTOUR}"),
    ),
    traits=frozenset({"learns", "exports"}),
    demo=f"{_HERE}.studio:demo",
    examples=f"{_HERE}.studio:examples",
    page=f"{_HERE}.studio:page",
    defaults=("base", "paper"),
)
