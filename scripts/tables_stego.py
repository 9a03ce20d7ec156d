"""Tables of the page of `stego`, for ``scripts/render_docs.py``."""

from __future__ import annotations

from typing import Any

#: Classical ways whose detection stands beside the model's.
WAYS = ("lsb-4", "lsb-4+", "lsb-codec-1")


def shipped() -> str:
    from render_docs import made, study, table

    d = study("stego", "shipped")
    if d is None:
        return "Not recorded yet.\n"
    rows = []
    for name, means in d["means"].items():
        spans = d["intervals"][name]
        cells = [f"`{name}`" if name == "base" else name]
        for metric, digits in (("stego_psnr", 1), ("stego_ssim", 3), ("secret_psnr", 1), ("secret_ssim", 3)):
            low, high = spans[metric]
            cells.append(f"{means[metric]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")
        rows.append(cells)
    worst = {r["metric"]: r for r in d["extremes"]}
    floats = d["means"]["base"]
    note = (
        f"{d['pairs']} committed pairs of {d['covers']} held-out photos, 256 x 256, measured from the 8-bit "
        f"stego; brackets: 95 % bootstrap intervals over covers. `base` before rounding: "
        f"{floats['stego_psnr_float']:.1f} dB and {floats['secret_psnr_float']:.1f} "
        f"dB. Its worst pairs: {worst['stego_psnr']['worst']:.1f} dB "
        f"({worst['stego_psnr']['worst pair']}) and SSIM {worst['secret_ssim']['worst']:.3f} "
        f"({worst['secret_ssim']['worst pair']}). The goal, stego above 36 dB and secret SSIM above 0.96, "
        f"{'holds' if d['holds'] else 'is missed'}. `dwt-alpha` and `dwt-svd` need the cover to reveal. "
    )
    header = ["way", "stego PSNR [dB]", "stego SSIM", "secret PSNR [dB]", "secret SSIM"]
    return table(header, rows, note + made(d, "make study SYSTEM=stego NAME=shipped"))


def goal() -> str:
    from render_docs import made, seeds_of, study, table

    d = study("stego", "goal")
    if d is None:
        return "Not recorded yet.\n"
    rows = []
    for name, runs in d["rows"].items():
        count = len(runs)
        middle = {k: sum(r[k] for r in runs) / count for k in ("stego_psnr", "secret_psnr", "secret_ssim", "steps")}
        gain = d["gains_db"].get(name)
        told = [
            "" if gain is None else f"+{gain[m]['value']:.1f} [{gain[m]['low']:.1f}, {gain[m]['high']:.1f}]"
            for m in ("stego_psnr", "secret_psnr")
        ]
        rows.append(
            [name, f"{runs[0]['parameters']:,}", f"{middle['steps']:,.0f}", f"{middle['stego_psnr']:.1f}",
             f"{middle['secret_psnr']:.1f}", f"{middle['secret_ssim']:.3f}", *told]
        )  # fmt: skip
    note = (
        f"Each trained for {d['seconds']:.0f} s of one processor core on the same {d['pictures']:,} pictures, "
        f"{seeds_of(d)}, measured on the {d['pairs']} held-out pairs from the 8-bit file. That the invertible "
        f"network gains at least 3 dB on both pictures {'holds' if d['holds'] else 'does not hold'} against every "
        f"reading. A step of the paper's design costs more: it computes at every coefficient. "
    )
    header = [
        "design", "parameters", "steps", "stego PSNR [dB]", "secret PSNR [dB]", "secret SSIM",
        "`inn` gains, stego [dB]", "`inn` gains, secret [dB]",
    ]  # fmt: skip
    return table(header, rows, note + made(d, "make study SYSTEM=stego NAME=goal"))


def small() -> str:
    from render_docs import made, seeds_of, study, table

    d = study("stego", "small")
    if d is None:
        return "Not recorded yet.\n"
    rows = []
    groups = [*d["means"].items(), *((f"dwf2, beta {b}, 250 steps", m) for b, m in d["beta_means"].items())]
    groups += [(f"dwf2, beta {b}, 500 steps", m) for b, m in d["ends_means"].items()]
    for name, m in groups:
        span = m["stego_psnr_range"]
        rows.append(
            [name, f"{m['stego_psnr']:.1f} ({span[0]:.1f} to {span[1]:.1f})", f"{m['secret_psnr']:.1f}",
             f"{m['secret_ssim']:.3f}", f"{1000 * m['seconds_a_step']:.0f}"]
        )  # fmt: skip
    rank, by_class = d["spearman_of_log_beta"], d["means"]["dwf2, spatial"]["secret_ssim_by_class"]
    classes = ", ".join(f"{k} {v:.2f}" for k, v in sorted(by_class.items(), key=lambda kv: -kv[1]))
    first = d["means"]["dwf2, spatial"]
    note = (
        f"Width 8, 400 steps of 16 pairs of 32 x 32 drawn pixels, {seeds_of(d)} (range over seeds in brackets), "
        f"measured on {d['pairs']} held-out drawn pairs from the 8-bit stego. The loss falls from "
        f"{first['first_loss']:.3f} to {first['last_losses']:.3f}. Rank correlation of beta with stego PSNR "
        f"{rank['stego_psnr']:.2f}, with secret SSIM {rank['secret_ssim']:.2f}. Secret SSIM by class: {classes}. Such "
        f"runs show directions, not quality. "
    )
    header = ["what is trained", "stego PSNR [dB]", "secret PSNR [dB]", "secret SSIM", "ms a step"]
    return table(header, rows, note + made(d, "make study SYSTEM=stego NAME=small"))


def attack() -> str:
    from render_docs import made, study, table

    d = study("stego", "attack")
    if d is None:
        return "Not recorded yet.\n"
    found = d["values"][0]["rows"]
    others = {name: {r["attack"]: r for r in found[name]} for name in d["controls"]}
    rows = []
    for r in found["model"]:
        file = "" if r["file"] is None else f"{r['file']:.0%}"
        mark = "" if r["mark"] is None else f"{r['mark']:.0%}"
        cells = [r["attack"], f"{r['secret_psnr']:.1f}", f"{r['secret_ssim']:.3f}", mark, file]
        rows.append([*cells, *(f"{others[n][r['attack']]['secret_ssim']:.3f}" for n in d["controls"])])
    note = (
        f"{d['pairs']} held-out pairs of photos, 256 x 256, the shipped model. *Mark found*, and a file of 64 bytes "
        "in the strongest cells back exactly: share of pairs. `lsb-codec-2` counts as mid-grey where its file can't be "
        "read. *(nothing hidden)* is what is revealed from plain covers. "
    )
    header = ["attack", "secret PSNR [dB]", "secret SSIM", "mark found", "file exact"]
    header += [f"secret SSIM, `{n}`" for n in d["controls"]]
    return table(header, rows, note + made(d, "make study SYSTEM=stego NAME=attack"))


def detect() -> str:
    from render_docs import made, seeds_of, study, table

    d = study("stego", "detect")
    if d is None:
        return "Not recorded yet.\n"
    rows = []
    for name, own in d["values"].items():
        if name not in ("model", *WAYS):
            continue
        for r in own["statistics"]:
            span = f"{r['auc']:.3f} [{r['low']:.3f}, {r['high']:.3f}]"
            rows.append([f"`{name}`", r["detector"], span, f"{r['pe']:.2f}"])
        spread = own["trained_over_seeds"]
        auc = spread["auc"]
        rows.append(
            [f"`{name}`", "SRM network, trained", f"{auc['mean']:.3f} ({auc['least']:.3f} to {auc['largest']:.3f})",
             f"{spread['pe']['mean']:.2f}"]
        )  # fmt: skip
    controls = d["values"]["controls of the model's network"]
    noise = min(c["noise against plain"]["auc"] for c in controls)
    note = (
        f"{d['pairs']} held-out photos against {d['pairs']} stego pictures; area under the ROC curve with "
        f"DeLong's interval, and the least average error P_E (0.5 is guessing). The network learned "
        f"{d['steps']} steps on {d['learnt']}, {seeds_of(d)} (range in brackets): more training only finds "
        "more. Statistics such as RS are made for bits replaced like noise. Everybody with the model finds the mark. "
        f"Noise as strong as the model's change is told from plain photos as surely (AUC {noise:.2f}): the network "
        "knows noise, not us. "
    )
    return table(["way", "detector", "AUC", "P_E"], rows, note + made(d, "make study SYSTEM=stego NAME=detect"))


def plain() -> str:
    from render_docs import made, study

    d = study("stego", "plain")
    if d is None:
        return "Not recorded yet.\n"
    false, doubt, found = d["false_positives"], d["above_half"], d["controls"]["found"]
    return (
        f"Of {d['number']:,} plain crops of {d['photos']} photos that no model learned from, {false['count']} "
        f"passed for a stego picture (at most {false['high']:.2%} at 95 %), and {doubt['count']} had a probability "
        f"of a mark above one half ({doubt['share']:.1%}). Of {found['number']} crops with something hidden, "
        f"{found['count']} were found. {made(d, 'make study SYSTEM=stego NAME=plain')}\n"
    )


def tables(bench: Any, cards: Any) -> dict[str, Any]:
    """All tables by name."""
    return {
        "stego-shipped": shipped,
        "stego-goal": goal,
        "stego-small": small,
        "stego-attack": attack,
        "stego-detect": detect,
        "stego-plain": plain,
        "stego-cards": lambda: cards("stego"),
        "bench-stego": lambda: bench("stego_dwt", "stego_photo", "stego_runtime", "stego_steps"),
    }
