"""What a network costs in joules, where they go, and what a better memory or MAC would save (paper 08)."""

from fieldsight.registry import Input, System, Verb

_HERE = "fieldsight.systems.energy"

SPEC = System(
    id="energy",
    title="Energy of networks",
    summary="says what a network costs in joules, where they go, and what a better memory or MAC would save",
    paper=(
        "I. Yoon, J. Mun, K.-S. Min: Comparative Study on Energy Consumption of Neural Networks by Scaling of "
        "Weight-Memory Energy Versus Computing Energy for Implementing Low-Power Edge Intelligence. Electronics 2025, "
        "14(13), 2718. DOI 10.3390/electronics14132718"
    ),
    number=8,
    model=f"{_HERE}.predict:EnergyModel",
    config=f"{_HERE}.config:EnergyConfig",
    presets=f"{_HERE}.config:PRESETS",
    inputs=(
        Input(
            "network",
            "network",
            "a built-in network (resnet18), an ONNX file, a Hugging Face config.json or a CSV of layers; on the "
            "command line also package.module:factory and fieldsight:SYSTEM",
            (".onnx", ".json", ".csv"),
        ),
    ),
    verbs=(
        Verb(
            "estimate",
            "fieldsight.predicting:predict",
            f"{_HERE}.config:EnergyConfig",
            "joules by part and layer, in exact counts and as the paper charges",
            needs="inputs",
            page=True,
        ),
        Verb(
            "sweep",
            f"{_HERE}.sweep:sweep",
            f"{_HERE}.options:SweepOptions",
            "scale a part, or move context, bits or format, over batches: the paper's Table 2",
            needs="inputs",
            page=True,
        ),
        Verb(
            "compare",
            f"{_HERE}.compare:compare",
            f"{_HERE}.options:CompareOptions",
            "several networks side by side, what each part saves, and the two bound regions",
            needs="inputs",
            page=True,
        ),
        Verb(
            "calibrate",
            f"{_HERE}.fit:calibrate",
            f"{_HERE}.options:CalibrateOptions",
            "fit pJ a bit, pJ a MAC and static watts to measurements (CSV), as a hardware profile",
            needs="data",
            model=False,
        ),
        Verb(
            "measure",
            f"{_HERE}.timing:measure",
            f"{_HERE}.options:MeasureOptions",
            "time a network on this machine, and read its joules where the machine lets one",
            needs="inputs",
        ),
        Verb(
            "page",
            f"{_HERE}.page:page",
            f"{_HERE}.options:PageOptions",
            "write one HTML page with sliders that computes by itself, from any network",
            needs="inputs?",
            page=True,
        ),
        Verb(
            "make-data",
            f"{_HERE}.standin:make_data",
            f"{_HERE}.options:MakeDataOptions",
            "write drawn data: layer tables of small networks, and readings of a make-believe meter",
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
    output="EnergyEstimate",
    demo=f"{_HERE}.studio:demo",
    examples=f"{_HERE}.studio:examples",
    page=f"{_HERE}.studio:page",
)
