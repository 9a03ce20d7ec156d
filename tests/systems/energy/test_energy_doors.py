"""Command line, Python, static page and Studio say the same numbers: those of ``golden.json``."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from make_golden import CASES, GOLDEN, numbers

import fieldsight
from fieldsight import registry
from fieldsight.cli import main
from fieldsight.errors import ConfigError, DataError
from fieldsight.profile.hardware import hardware_names
from fieldsight.studio.context import Call, PageContext
from fieldsight.studio.form import inputs_of
from fieldsight.studio.jobs import Jobs
from fieldsight.studio.models import Models
from fieldsight.studio.results import Shelf
from fieldsight.systems.energy import data, networks, studio
from fieldsight.systems.energy.estimate import plain

NODE = shutil.which("node") or shutil.which("nodejs")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def golden() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert [one["case"] for one in found] == list(CASES), "python tests/systems/energy/make_golden.py"
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of all built-in networks."""
    out = tmp_path_factory.mktemp("page") / "energy.html"
    assert main(["energy", "page", "--out", str(out)]) == 0
    return out


def split(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return case["network"], {k: v for k, v in case.items() if k != "network"}


def same(found: Any, wanted: Any) -> None:
    """Equal but for the last bits, which depend on the order of additions."""
    if isinstance(wanted, dict):
        assert found.keys() >= wanted.keys()
        for key, value in wanted.items():
            same(found[key], value)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-12, abs=1e-30)
    else:
        assert found == wanted


def flags(options: dict[str, Any]) -> list[str]:
    return [word for k, v in options.items() for word in (f"--{k.replace('_', '-')}", str(v))]


# ------------------------------------------------------------------------------------------ command line, Python


def test_python(golden: list[dict[str, Any]]) -> None:
    model = fieldsight.load("energy")
    for one in golden:
        network, options = split(one["case"])
        found = model.estimate(network, draws=0, **options).to_dict()
        same(numbers(found), one["numbers"])
        assert (found["unit"], found["precision"]) == (one["unit"], one["precision"])


def test_command_line(golden: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    for one in golden:
        network, options = split(one["case"])
        assert main(["energy", "estimate", network, *flags(options), "--draws", "0", "--json", "--quiet"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["results"]
        same(numbers(found), one["numbers"])


def test_a_file_of_settings_is_the_same(
    golden: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = golden[3]
    network, options = split(one["case"])
    assert main(["energy", "estimate", network, *flags(options), "--print-config"]) == 0
    file = tmp_path / "settings.toml"
    file.write_text(capsys.readouterr().out)
    assert main(["energy", "predict", network, "--config", str(file), "--json", "--quiet"]) == 0
    same(numbers(json.loads(capsys.readouterr().out)["results"][0]), one["numbers"])


# ---------------------------------------------------------------------------------------------------- the Studio


@pytest.fixture
def context(tmp_path: Path) -> PageContext:
    (tmp_path / "uploads").mkdir()
    spec = registry.get("energy")
    return PageContext(
        spec, tmp_path / "runs", tmp_path, Models(tmp_path / "runs"), Jobs(), Shelf(tmp_path / "results")
    )


FIELDS = [f.name for f in dataclasses.fields(studio.Form)]


def slid(case: dict[str, Any]) -> list[Any]:
    """What the components of the page hold when a person sets them to a case."""
    start = {"convention": "exact", "hardware": "paper-45nm-lpddr5", "precision": "auto", "batch": 1}
    return [{**start, **case}.get(name) for name in FIELDS]


def test_the_sliders_of_the_studio(golden: list[dict[str, Any]], context: PageContext) -> None:
    for one in golden:
        found = plain(studio._now(*studio._settings(context, slid(one["case"]))))
        same(numbers(found), one["numbers"])


def test_sliders_at_rest_change_nothing(context: PageContext) -> None:
    """The page sets its sliders to a network's own constants; then every setting is still the default."""
    for name in data.names():
        rest = studio.at_rest(studio._now(name, studio.EnergyConfig()))
        values = {k: v["value"] for k, v in rest.items() if "value" in v}
        settings = studio._settings(context, slid({"network": name, **values}))[1]
        assert settings == studio.EnergyConfig(), name


def test_the_estimate_tab_of_the_studio(golden: list[dict[str, Any]], context: PageContext) -> None:
    for one in (golden[3], golden[9]):
        network, options = split(one["case"])
        shown = context.perform(Call(context.spec.main, (network,), changes={**options, "draws": 0}), "me")
        same(numbers(dict(shown.views[0].summary)), one["numbers"])


@pytest.mark.parametrize(
    "name", ["os:getcwd", "fieldsight.cli:main", "fieldsight:nothing", "/etc/passwd", "../secret.onnx", "resnet-18"]
)
def test_the_studio_takes_only_names_on_offer_and_uploads(
    name: str, context: PageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import path that a page sends would run code: it is refused before anything looks at it."""

    def never(*args: Any) -> Any:
        raise AssertionError(f"tried to read {args}")

    for reader in ("build", "_system", "_file", "_named"):
        monkeypatch.setattr(networks, reader, never)
    with pytest.raises(ConfigError, match="Unknown network"):
        studio._settings(context, slid({"network": name}))
    for verb in ("estimate", "sweep", "compare", "page"):
        one = context.spec.verb(verb)
        with pytest.raises((ConfigError, DataError), match=r"Unknown built-in network|is no uploaded file"):
            inputs_of(context.spec, one, {"network": [name]}, context.uploads, context.names(one))
    with pytest.raises((ConfigError, DataError), match=r"Unknown built-in network|is no uploaded file"):
        studio._subject(context, [name], [])
    with pytest.raises(DataError, match="is no uploaded file"):
        studio._settings(context, slid({"file": name}))


def test_the_api_reads_no_profile_of_the_server(context: PageContext, tmp_path: Path) -> None:
    from fieldsight.studio.api import _changes

    secret = tmp_path / "secret.toml"
    secret.write_text("title = 'x'")
    with pytest.raises(DataError, match="is no uploaded file"):
        _changes(context, context.spec.main, {"hardware_file": str(secret)}, "")


def test_every_example_of_the_studio_works(context: PageContext, tmp_path: Path) -> None:
    offered = [e for e in studio.examples() if not e.value.startswith("fieldsight:")]
    assert {e.value for e in offered if e.value} == set(data.names())
    assert all(e.origin == "real" for e in offered)
    for example in offered:
        charged = studio._now(example.write(tmp_path) if example.write else example.value, studio.EnergyConfig())
        for html in (studio.head_html(charged), studio.plots_html(charged), studio.layers_html(charged)):
            assert html.count("<div") == html.count("</div")


def test_uploads_are_read_and_bad_ones_said_without_paths(context: PageContext) -> None:
    good, bad = context.uploads / "net.csv", context.uploads / "broken.onnx"
    good.write_text("name,weights,macs\na,1000,5000\n")
    bad.write_bytes(b"")
    found = plain(studio._now(*studio._settings(context, slid({"file": str(good)}))))
    assert found["parameters"] == 1000
    with pytest.raises(DataError) as caught:
        studio._now(*studio._settings(context, slid({"file": str(bad)})))
    told = studio._error(context, caught.value, slid({"file": str(bad)}))
    assert "broken.onnx" in told
    assert str(context.scratch) not in told


def test_the_page_writes_what_can_be_downloaded(context: PageContext) -> None:
    html = studio._write(context, slid({"network": "resnet18", "batch": 4}), "me")
    assert "fieldsight energy estimate resnet18 --batch 4" in html
    assert "resnet18.html" in html
    assert studio.gallery_picture().shape == (360, 540, 3)


# ----------------------------------------------------------------------------------------------- the static page


def script(page: Path) -> str:
    """The page's model and what its command line says, without what needs a document."""
    text = page.read_text(encoding="utf-8")
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    model = re.search(r"^const PJ = .*?(?=^// --- the page)", text, re.DOTALL | re.MULTILINE)
    command = re.search(r"^function command.*?^}", text, re.DOTALL | re.MULTILINE)
    assert inside
    assert model
    assert command
    return f"const data = JSON.parse({json.dumps(inside[1])});\n{model[0]}\n{command[0]}\n"


def in_page(page: Path, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases as the page's own script computes them, with the command it shows."""
    if NODE is None:
        pytest.skip("no node here to run the page's script; the test marked studio does it in a browser")
    code = script(page) + (
        "const start = {...data.settings};\n"
        'const cases = JSON.parse(require("fs").readFileSync(0, "utf-8"));\n'
        "const answers = cases.map(c => ({...start, ...c})).map(s => ({...evaluate(s), command: command(s)}));\n"
        "console.log(JSON.stringify(answers));\n"
    )
    done = subprocess.run(
        [NODE, "-e", code], input=json.dumps(cases), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def of_page(found: dict[str, Any]) -> dict[str, Any]:
    keys = ("parts_j", "total_j", "per_sample_j", "bound", "crossover")
    return {name: {k: c[k] for k in keys} for name, c in found["conventions"].items()}


def test_the_static_page(golden: list[dict[str, Any]], written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for one, found in zip(golden, in_page(written, [g["case"] for g in golden]), strict=True):
        same(of_page(found), one["numbers"])
        exact = found["conventions"]["exact"]
        groups = sum(sum(g["parts"].values()) for g in found["groups"])
        assert groups == pytest.approx(exact["total_j"], rel=1e-9)
        # and the command it shows says the same once more
        words = shlex.split(found["command"])
        assert words[0] == "fieldsight"
        assert main([*words[1:], "--draws", "0", "--json", "--quiet"]) == 0
        same(numbers(json.loads(capsys.readouterr().out)["results"][0]), one["numbers"])


def test_the_static_page_at_many_settings(written: Path) -> None:
    import random

    rng = random.Random(0)
    cases = []
    for _ in range(150):
        case: dict[str, Any] = {
            "network": rng.choice(data.names()),
            "hardware": rng.choice(hardware_names()),
            "precision": rng.choice(["auto", "int4", "int8", "fp16", "bf16", "fp32"]),
            "convention": rng.choice(["exact", "paper"]),
            "batch": rng.choice([1, 2, 7, 64, 1000]),
            "act": rng.choice(["default", "auto", "sram", "dram", "none"]),
            "sparsity": rng.choice([0, 0.3, 1]),
        }
        for name, values in {
            "pj_per_bit": (0, 1.5, 20), "pj_per_mac": (0, 0.07), "w_bits": (1, 3, 12), "a_bits": (2, 24),
            "kv_bits": (2, 8), "weight_reuse": (1, 3, 50), "scale_weight": (0, 0.0625), "scale_mac": (0, 2),
            "scale_activation": (0, 0.5), "scale_kv": (0, 0.125),
        }.items():  # fmt: skip
            if rng.random() < 0.3:
                case[name] = rng.choice(values)
        if case["network"] in data.DECODERS and rng.random() < 0.5:
            case["context"] = rng.randint(1, 2048)
        cases.append(case)
    model = fieldsight.load("energy")
    for case, found in zip(cases, in_page(written, cases), strict=True):
        network, options = split(case)
        same(of_page(found), numbers(model.estimate(network, draws=0, **options).to_dict()))


def test_a_page_with_other_networks_and_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, an own profile, and settings that the page can't move: its command line still means the same."""
    csv = tmp_path / "my net.csv"
    csv.write_text("name,kind,weights,macs,outputs\n</script><b>,conv2d,432,110592,4096\nlast,linear,1280,1280,10\n")
    assert main(["energy", "make-data", "--out", str(tmp_path / "drawn")]) == 0
    assert main(["energy", "calibrate", str(tmp_path / "drawn"), "--name", "mine", "--out", str(tmp_path)]) == 0
    out = tmp_path / "page.html"
    given = ["--kv-heads", "8", "--hardware-file", str(tmp_path / "mine.toml"), "--precision", "fp32"]
    assert main(["energy", "page", "llama-7b-real", str(csv), *given, "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "</script><b>" not in text
    cases = [{"network": n} for n in ("llama-7b-real", "my net")]
    answers = in_page(out, cases)
    capsys.readouterr()
    for found, path in zip(answers, ("llama-7b-real", str(csv)), strict=True):
        words = shlex.split(found["command"])
        assert words[3] == Path(path).name
        words[3] = path
        words = [str(tmp_path / w) if w == "mine.toml" else w for w in words]
        assert main([*words[1:], "--draws", "0", "--json", "--quiet"]) == 0
        same(of_page(found), numbers(json.loads(capsys.readouterr().out)["results"][0]))


def test_the_static_page_loads_nothing(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!data:)", text)
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org/2000/svg", "", text)
    assert len(text.encode()) < 100_000


@pytest.mark.studio
@pytest.mark.parametrize("width", [1280, 390])
def test_the_static_page_in_a_browser(golden: list[dict[str, Any]], written: Path, width: int) -> None:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": width, "height": 900})
        wrong: list[str] = []
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        tab.goto(written.as_uri())
        assert tab.inner_text("#big") == "900 µJ per image"
        for one in golden:
            found = tab.evaluate(
                "c => { const s = {...window.fieldsight.settings(), ...window.fieldsight.data.settings, ...c};"
                " window.fieldsight.put(s); return {...window.fieldsight.evaluate(window.fieldsight.settings()),"
                " big: document.getElementById('big').textContent, wide: document.body.scrollWidth}; }",
                one["case"],
            )
            same(of_page(found), one["numbers"])
            chosen = one["numbers"][one["case"].get("convention", "exact")]["per_sample_j"]
            assert found["big"].startswith(studio.joules(chosen)), one["case"]
            assert found["wide"] <= width
        browser.close()
    assert not wrong
