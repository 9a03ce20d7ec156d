"""The paper's tables against ours. *Ours* quotes recorded studies, on held-out packaged photos, not the paper's."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

from fieldsight import registry, studies
from fieldsight.config import read_toml
from fieldsight.report.paper import PaperTable, Reproduction, Row
from fieldsight.systems.stego.options import ReproduceOptions

#: The paper's errors and gaps, and what is done here instead.
ERRORS = (
    "1,532,406 parameters are two networks of 6 input channels (2 x 766,203). The text feeds the revealing "
    "network with the 3-channel stego alone: 758,703, together 1,524,906. That is the default; "
    "`net.reveal_inputs=6` feeds the stego twice and gives the printed count without giving away the cover.",
    "A Keras Conv2D on tensors of 128 x 128 x 4 x C convolves columns with sub-bands and treats every row by "
    "itself. `net.axes=spatial` (rows and columns) is the default, `literal` is what the printed shapes compute, "
    "`banded` takes the bands as channels.",
    "Table 3 prints the best of ten pairs (Parrot in Karaoke, 34.12 dB and 97 %) against other papers' means. "
    "With its own means (31.57 dB and 0.93 as printed) the method is below its predecessor (33.63 dB, 98.7 %) on "
    "both measures, against the abstract's 'improved imperceptibility compared to its predecessor'.",
    "The mean PSNR of Table 2 is 31.76 dB, not 31.57; no median and no leaving out of one pair gives 31.57 either.",
    "A 4-bit LSB swap reaches the same on uniform pixels (31.85 dB, and 34.81 dB for the secret) without "
    "training; it stands in every table of ours, and so does a compressed secret in two low bits, which beats "
    "both.",
    "34.12 dB is called slightly lower than SteGuz's 44.33 dB: ten times the squared error. SteganoCNN has 47.92 "
    "bpp in the introduction and 48 in Table 3.",
    "'Gas Pump in Parachute' swaps the roles that Table 1 gives the two pictures. Table 2's are used.",
    "The image file is not mentioned: coefficients outside the range and between the grey levels do not survive "
    "it. All numbers here are taken from the 8-bit file; those before rounding stand beside them.",
    "The last layer's activation is not given; a ReLU would forbid half of all detail coefficients. It is linear.",
    "Wavelet, pixel scale, initial weights, number of steps, SSIM's window and the pairing of test images are not "
    "given: orthonormal Haar, 0-1, Glorot, 100 epochs, an 11 x 11 Gaussian window; the training images are the "
    "training splits of Imagenette (9,469) and Linnaeus 5 (6,000): 15,469.",
    "'Significant reduction of training time' has no number: see the benchmark stego_steps.",
    "beta from 0.80 to 0.95 changes a weight of the loss by a factor of 1.19, within the spread over seeds; from "
    "0.25 to 4 its effect is plain (study small).",
    "There is no steganalysis: at 31 dB detectors are near certain. `fieldsight stego detect` measures it.",
)


def reproduce(options: ReproduceOptions) -> Reproduction:
    """Every number the paper prints, recomputed where it follows from others, with ours beside it."""
    printed = read_toml(Path(__file__).with_name("paper.toml"))
    shipped = studies.read("stego", "shipped")
    return Reproduction(
        registry.get("stego"),
        [_counts(printed), _table2(printed, shipped), _table3(printed, shipped), _beta()],
        ERRORS,
        studies.states("stego"),
        {"pairs behind ours": shipped["pairs"] if shipped else 0},
    )


def _counts(printed: dict[str, Any]) -> PaperTable:
    from fieldsight.systems.stego.config import PRESETS
    from fieldsight.systems.stego.predict import StegoModel

    text, data = printed["text"], printed["data"]
    stated = PRESETS["paper"].replace(net={"reveal_inputs": "6"})
    count = sum(p.numel() for p in StegoModel.create(stated).codec().parameters())
    return PaperTable(
        "Section 2.3",
        [
            Row("trainable parameters", text["parameters"], count, count, "reproduced", "with net.reveal_inputs=6"),
            Row("size [MiB]", text["megabytes"], round(count * 4 / 2**20, 2), None, "reproduced", "5.846"),
            Row(
                "training images", text["images"], data["imagenette_train"] + data["linnaeus_train"], None,
                "reproduced",
                "both training splits: the validation and test splits are free for testing",
            ),
        ],
    )  # fmt: skip


def _table2(printed: dict[str, Any], shipped: dict[str, Any] | None) -> PaperTable:
    rows = []
    for name, values in printed["table2"].items():
        for metric, value in values.items():
            rows.append(Row(f"{name}, {metric}", value, None, None, "not comparable", "the pictures are not at hand"))
    for metric in ("stego_psnr", "secret_ssim"):
        recomputed = round(mean(v[metric] for v in printed["table2"].values()), 3)
        stated = printed["text"][f"mean_{metric}"]
        verdict: Any = "contradicts" if metric == "stego_psnr" else "reproduced"
        note = "the mean of the printed rows" if metric == "stego_psnr" else "0.937, printed without rounding up"
        rows.append(Row(f"mean, {metric}", stated, recomputed, _ours(shipped, metric), verdict, note))
    return PaperTable(
        "Table 2",
        rows,
        "Ours: the shipped model on the committed pairs of held-out packaged photos, from the 8-bit file.",
    )


def _table3(printed: dict[str, Any], shipped: dict[str, Any] | None) -> PaperTable:
    rows = []
    best = max(printed["table2"].values(), key=lambda v: v["stego_psnr"])
    for name, values in printed["table3"].items():
        own = name == "DeepWaveletFusionToo"
        rows.append(
            Row(
                f"{name}, PSNR", values["psnr"], best["stego_psnr"] if own else None,
                _ours(shipped, "stego_psnr") if own else None, "contradicts" if own else "not comparable",
                "the best of ten pairs stands against other papers' means" if own else "quoted by the paper, not rerun",
            )
        )  # fmt: skip
        if "similarity" in values:
            ours = _ours(shipped, "secret_ssim") if own else None
            rows.append(
                Row(
                    f"{name}, similarity %", values["similarity"], 100 * best["secret_ssim"] if own else None,
                    None if ours is None else round(100 * ours, 2), "contradicts" if own else "not comparable",
                )
            )  # fmt: skip
    return PaperTable("Table 3", rows, "The other methods' numbers are the paper's quotations.")


def _beta() -> PaperTable:
    study = studies.read("stego", "small")
    rows = []
    if study:
        for value, means in study["beta_means"].items():
            rows.append(Row(f"beta {value}, stego PSNR", None, None, means["stego_psnr"], "not comparable"))
            rows.append(Row(f"beta {value}, secret SSIM", None, None, means["secret_ssim"], "not comparable"))
    return PaperTable(
        "Figures 4 and 5",
        rows,
        "The figures hold no numbers, and too narrow a range of beta. Ours: the CPU preset on drawn data.",
    )


def _ours(study: dict[str, Any] | None, metric: str) -> float | None:
    return None if study is None else round(float(study["means"]["base"][metric]), 4)
