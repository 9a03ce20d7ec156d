"""One photo hidden in another, and back (paper 07)."""

from fieldsight.data.suffixes import IMAGE_SUFFIXES
from fieldsight.registry import BENCH, Input, Metric, System, Verb

_HERE = "fieldsight.systems.stego"
_PAIRS = "per pair, then mean over pairs; the stego picture is rounded to 8 bits first"
_EQUAL = "equal pictures are infinite, left out of the mean and counted"
_WINDOW = "Gaussian window 1.5 px, mean over colours"

SPEC = System(
    id="stego",
    title="Photo in photo",
    summary="hides one photo, or any file, in another photo and gets it back",
    paper=(
        "A. Khalifa, Y. Yadav: Wavelet-Based Fusion for Image Steganography Using Deep Convolutional Neural Networks. "
        "Electronics 2025, 14(14), 2758. DOI 10.3390/electronics14142758"
    ),
    number=7,
    model=f"{_HERE}.predict:StegoModel",
    config=f"{_HERE}.config:StegoConfig",
    presets=f"{_HERE}.config:PRESETS",
    inputs=(
        Input("cover", "image", "pictures to hide in; one cover and its secret may stand side by side", IMAGE_SUFFIXES),
        Input(
            "secret",
            "image",
            "what to hide: a picture, any other file, or a folder of pictures",
            (*IMAGE_SUFFIXES, "*"),
        ),
    ),
    verbs=(
        Verb(
            "hide",
            "fieldsight.predicting:predict",
            f"{_HERE}.options:HideOptions",
            "hide a picture or a file in a picture",
            needs="inputs",
            page=True,
        ),
        Verb(
            "reveal",
            f"{_HERE}.reveal:reveal",
            f"{_HERE}.options:RevealOptions",
            "get what is hidden out of a picture",
            needs="inputs",
            page=True,
        ),
        Verb(
            "attack",
            f"{_HERE}.attack:attack",
            f"{_HERE}.options:AttackOptions",
            "what is left of the secret after JPEG, resizing and the like",
            needs="data?",
        ),
        Verb(
            "detect",
            f"{_HERE}.detect:detect",
            f"{_HERE}.options:DetectOptions",
            "how well others can tell that something is hidden",
            needs="data?",
        ),
        Verb(
            "make-data",
            f"{_HERE}.data:make_data",
            f"{_HERE}.options:MakeDataOptions",
            "write drawn pictures as a data folder",
            model=False,
        ),
        Verb(
            "train",
            f"{_HERE}.train:train",
            f"{_HERE}.config:StegoConfig",
            "train both networks as one",
            needs="data?",
            model=False,
        ),
        Verb(
            "evaluate",
            f"{_HERE}.evaluate:evaluate",
            f"{_HERE}.options:EvaluateOptions",
            "PSNR and SSIM of stego and secret on held-out pairs",
            needs="data?",
        ),
        Verb(
            "export",
            f"{_HERE}.export:export",
            f"{_HERE}.options:StegoExportOptions",
            "write the networks for another runtime, checked from input to output",
        ),
        BENCH,
        Verb(
            "reproduce",
            f"{_HERE}.reproduce:reproduce",
            f"{_HERE}.options:ReproduceOptions",
            "the paper's tables against ours",
            model=False,
        ),
    ),
    output="Stego",
    metrics=(
        Metric("stego_psnr", "dB", "higher", (0, 99), 99, f"stego against cover, peak 255; {_PAIRS}; {_EQUAL}"),
        Metric("stego_ssim", "1", "higher", (-1, 1), 1, f"stego against cover, {_WINDOW}; {_PAIRS}"),
        Metric("secret_psnr", "dB", "higher", (0, 99), 99, f"revealed against secret, 8 bits; {_PAIRS}; {_EQUAL}"),
        Metric("secret_ssim", "1", "higher", (-1, 1), 1, f"revealed against secret, {_WINDOW}; {_PAIRS}"),
        Metric("stego_psnr_pooled", "dB", "higher", (0, 99), 99, "PSNR of the mean squared error over all pairs"),
        Metric("secret_psnr_pooled", "dB", "higher", (0, 99), 99, "PSNR of the mean squared error over all pairs"),
        Metric("secret_ssim_global", "1", "higher", (-1, 1), 1, f"Eq. (3) in one window, mean over colours; {_PAIRS}"),
        Metric("largest_change", "grey levels", "lower", (0, 255), 0, f"of a cover's pixel; {_PAIRS}"),
        Metric("stego_psnr_float", "dB", "higher", (0, 99), 99, "before clipping and rounding, as the paper may have"),
        Metric("secret_psnr_float", "dB", "higher", (0, 99), 99, "revealed before the stego is clipped and rounded"),
        Metric("secret_ssim_float", "1", "higher", (-1, 1), 1, "revealed before the stego is clipped and rounded"),
        Metric("bpp", "bit/pixel", "higher", (0, 48), 24, "nominal capacity, Eq. (4): bits of the secret a pixel"),
    ),
    traits=frozenset({"learns", "exports"}),
    demo=f"{_HERE}.studio:demo",
    examples=f"{_HERE}.studio:examples",
    page=f"{_HERE}.studio:page",
    notice=(
        "Hiding is not encryption: whoever has this model and looks for it can find and read what is hidden without a "
        "key, and statistics tell that something is there. Use it lawfully."
    ),
    defaults=("base",),
)
