"""Warn a pedestrian of what is about to hit them, from any depth stream (paper 03)."""

from fieldsight.registry import Input, Metric, System, Verb

_HERE = "fieldsight.systems.alert"
_SAMPLES = "samples of all clips together, alarm against danger; NaN where there is no case"
_APPROACH = "an approach is one object while it is dangerous; those that the sensor could not see count apart"

SPEC = System(
    id="alert",
    title="Collision alert",
    summary="warns a pedestrian of what is about to hit them, from any depth stream",
    paper=(
        "R. Rawat, C. Lant, H. Yuan, D. Shasha: ImpactAlert: Pedestrian-Carried Vehicle Collision Alert System. "
        "Electronics 2025, 14(15), 3133. DOI 10.3390/electronics14153133"
    ),
    number=3,
    model=f"{_HERE}.predict:AlertModel",
    config=f"{_HERE}.config:AlertConfig",
    presets=f"{_HERE}.config:PRESETS",
    inputs=(
        Input(
            "depth",
            "depth",
            "a recording: .iar, NPZ or NPY, a CSV of ranges, Record3D (.r3d); on the command line also folders of "
            "16-bit PNG, TUM, EuRoC, Stray Scanner, point clouds and stereo pairs",
            (".iar", ".npz", ".npy", ".csv", ".r3d"),
        ),
    ),
    verbs=(
        Verb(
            "replay",
            "fieldsight.predicting:predict",
            f"{_HERE}.options:ReplayOptions",
            "run recordings through the engine: distance, closing speed, time to impact, alarms",
            needs="inputs",
            page=True,
        ),
        Verb(
            "live",
            f"{_HERE}.live:live",
            f"{_HERE}.options:LiveOptions",
            "serve a page that takes frames, shows what it sees, beeps, turns red and vibrates",
        ),
        Verb(
            "evaluate",
            f"{_HERE}.evaluate:evaluate",
            f"{_HERE}.options:EvaluateOptions",
            "misses per approach, false alarms a minute and lead time on labelled recordings, against a second setting",
            needs="data?",
        ),
        Verb(
            "sweep",
            f"{_HERE}.sweep:sweep",
            f"{_HERE}.options:SweepOptions",
            "other thresholds on readings with labels, as the paper's Table 2; Table A1 without data",
            needs="data?",
            model=False,
        ),
        Verb(
            "tune",
            f"{_HERE}.tune:tune",
            f"{_HERE}.options:TuneOptions",
            "fit thresholds to a miss rate, with what that is worth on new clips",
            needs="data?",
        ),
        Verb(
            "simulate",
            f"{_HERE}.simulate:simulate_verb",
            f"{_HERE}.options:SimulateOptions",
            "write drawn street scenes with exact labels",
            model=False,
        ),
        Verb(
            "make-data",
            f"{_HERE}.simulate:make_data",
            f"{_HERE}.options:MakeDataOptions",
            "write a small labelled set of drawn recordings",
            model=False,
        ),
        Verb(
            "convert",
            f"{_HERE}.convert:convert",
            f"{_HERE}.options:ConvertOptions",
            "turn any source into the recording format",
            needs="inputs",
            model=False,
        ),
        Verb(
            "reproduce",
            f"{_HERE}.reproduce:run",
            f"{_HERE}.options:ReproduceOptions",
            "the paper's tables computed again, with its errors named",
            model=False,
        ),
    ),
    output="Replay",
    metrics=(
        Metric("missed", "1", "lower", (0, 1), 0, f"share of approaches without an alarm; {_APPROACH}"),
        Metric("false_per_minute", "1/min", "lower", (0, 600), 0, "alarms with no danger within 0.4 s, a minute"),
        Metric("false_share", "1", "lower", (0, 1), 0, "share of the time in an alarm with no danger within 0.4 s"),
        Metric("lead", "s", "higher", (0, 60), 60, "median true time to impact at the first alarm of an approach"),
        Metric(
            "fast_late", "1", "lower", (0, 1), 0, "share of vehicles above 3 m/s in the corridor announced too late"
        ),
        Metric("precision", "1", "higher", (0, 1), 1, _SAMPLES),
        Metric("recall", "1", "higher", (0, 1), 1, _SAMPLES),
        Metric("f1", "1", "higher", (0, 1), 1, _SAMPLES),
        Metric("accuracy", "1", "higher", (0, 1), 1, _SAMPLES),
        Metric("judged", "1", "higher", (0, 1), 1, "share of samples with a judgement"),
    ),
    traits=frozenset({"streams"}),
    demo=f"{_HERE}.studio:demo",
    examples=f"{_HERE}.studio:examples",
    page=f"{_HERE}.studio:page",
    routes=f"{_HERE}.routes:routes",
    notice=(
        "This is no safety device. It misses dangers, it sees no farther than its sensor, and its numbers come from "
        "drawn streets: keep the cane, the ears and the eyes."
    ),
    defaults=("base",),
)
