"""INT8 against FP32 of the same detector, runtime, run and threads; accuracy on held-out drawn frames; a real clip.

    python -m benchmarks edge_int8

One `bench` of the shipped detector: precisions of a runtime take turns, each in a process of its own on the same
processor. Eager torch stands beside and replaces FP32 of no runtime. Points of mAP50-95 are with their 95 % interval.
"""

from __future__ import annotations

from typing import Any

COMMAND = "python -m benchmarks edge_int8"
THREADS, ROUNDS, RUNS, FRAMES = 1, 20, 20, 300
LARGER = 640

#: Processors' 8-bit units that multiply and add four products at once; others widen to 16 bits first.
DOTS = ("VNNI", "AMX", "I8MM", "dot product")


def main() -> list[dict[str, Any]]:
    import fieldsight
    from fieldsight.export.runtime import int8_support
    from fieldsight.systems.edge.studio_scenes import real_clip

    model, clip = fieldsight.load("edge", device="cpu"), real_clip()
    table = model.bench(
        runtimes=("torch", "onnx", "openvino", "ncnn"), precisions=("fp32", "fp16", "int8"), threads=THREADS,
        rounds=ROUNDS, runs=RUNS, frames=FRAMES, video=clip, video_frames=200,
    )  # fmt: skip
    unit = int8_support()
    goal = 2.0 if any(word in unit for word in DOTS) and "without" not in unit else 1.3
    rows: list[dict[str, Any]] = [row("8-bit products of this processor", unit, "")]
    if clip is None:
        rows.append(row("vtest.avi", "not here: fieldsight assets fetch opencv-vtest", ""))
    found = {(r["backend"], r["precision"]): r for r in table.rows}
    for (backend, precision), r in found.items():
        if r.get("p50_ms") is None:
            rows.append(row(f"{backend}, {precision}", r.get("notes") or "not measured", ""))
            continue
        rows += timing(backend, precision, r, found.get((backend, "FP32")) or found.get((backend, "fp32")), goal)
    return rows + larger(model, goal)


def larger(model: Any, goal: float) -> list[dict[str, Any]]:
    """The same network on frames of 640 px, which it has not learned: time only."""
    from fieldsight.systems.edge.predict import EdgeModel

    wide = EdgeModel(model.config.replace(input=LARGER), model.networks, model.artefacts)
    table = wide.bench(runtimes=("onnx", "openvino"), precisions=("fp32", "int8"), threads=THREADS,
                       rounds=ROUNDS // 2, runs=RUNS // 2, frames=20)  # fmt: skip
    found = {(r["backend"], r["precision"].lower()): r for r in table.rows}
    rows = []
    for (backend, precision), r in found.items():
        more: dict[str, Any] = {}
        if precision == "int8":
            single = found[backend, "fp32"]["p50_ms"]
            more = {"peer": f"{backend}, FP32", "peer_value": single, "ratio": r["speedup"], "goal": goal}
        name = f"{backend}, {r['precision']}: one frame of {LARGER} px, {THREADS} thread"
        rows.append(row(name, r["p50_ms"], "ms", **more))
    return rows


def timing(backend: str, precision: str, r: Any, single: Any, goal: float) -> list[dict[str, Any]]:
    """What a configuration takes, and what it loses."""
    more: dict[str, Any] = {}
    if precision.lower() == "int8":
        more = {"peer": f"{backend}, FP32", "peer_value": single["p50_ms"], "ratio": r["speedup"], "goal": goal}
    rows = [row(f"{backend}, {precision}: one frame, {THREADS} thread", r["p50_ms"], "ms", **more)]
    rows.append(row(f"{backend}, {precision}: mAP50-95 on {FRAMES} held-out drawn frames", r["map50_95"], ""))
    if precision.lower() == "int8":
        interval = f"95 %: {100 * r['map_loss_low']:+.2f} to {100 * r['map_loss_high']:+.2f}"
        rows.append(row(f"{backend}, {precision}: points of mAP50-95 lost ({interval})", 100 * r["map_loss"], "points",
                        goal=1.0, goal_on="value, lower is better"))  # fmt: skip
    if r.get("video_fps") is not None:
        rows.append(row(f"{backend}, {precision}: vtest.avi (768 x 576), from file to boxes", r["video_fps"], "1/s"))
    return rows


def row(name: str, value: Any, unit: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "command": COMMAND, **more}
