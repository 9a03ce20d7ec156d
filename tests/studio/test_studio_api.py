"""The Studio by API: what a program gets, and what nobody gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

import fieldsight
from fieldsight import registry
from fieldsight.studio.guard import CLOSED


@pytest.fixture(scope="session")
def client(studio: Any) -> Any:
    return studio.client()


def upload(studio: Any, path: Path, name: str | None = None) -> str:
    """Upload by plain HTTP; returns the path the server gives it."""
    with open(path, "rb") as file:
        answer = httpx.post(f"{studio.address}/gradio_api/upload", files={"files": (name or path.name, file)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()[0])


def call(studio: Any, name: str, body: dict[str, Any]) -> tuple[str, Any]:
    """Call by plain HTTP; returns the last event and its data."""
    base = f"{studio.address}/gradio_api/call"
    event = httpx.post(f"{base}/v2/{name}", json=body, timeout=60)
    assert event.status_code == 200, event.text
    told = httpx.get(f"{base}/{name}/{event.json()['event_id']}", timeout=60).text.strip().splitlines()
    return told[-2].removeprefix("event: "), json.loads(told[-1].removeprefix("data: "))


def file(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


# ---------------------------------------------------------------------------------------------- pages and names


def test_every_system_has_its_page_and_its_endpoints(studio: Any) -> None:
    info = httpx.get(f"{studio.address}/gradio_api/info").json()["named_endpoints"]
    for spec in registry.systems():
        page = httpx.get(f"{studio.address}/{spec.id}")
        assert page.status_code == 200, spec.id
        assert spec.title in page.text
        for verb in (v for v in spec.verbs if v.page):
            name = f"/{spec.id}_{verb.attribute}"
            assert name in info, name
            names = [p["parameter_name"] for p in info[name]["parameters"]]
            wanted = [i.name for i in spec.inputs] if verb is spec.main else [i.name for i in spec.inputs[:1]]
            assert names[: len(wanted)] == (wanted if verb.needs else []) or names[0] == "options"
            assert "options" in names
    paged = {f"/{s.id}_{v.attribute}" for s in registry.systems() for v in s.verbs if v.page}
    assert set(info) == paged | {"/energy_calibrate"}  # a tab of an own page, which says so itself


def test_home_runs_and_reference_answer(studio: Any) -> None:
    home = httpx.get(studio.address)
    assert home.status_code == 200
    for spec in registry.systems():
        assert f"/{spec.id}" in home.text
    assert httpx.get(f"{studio.address}/runs").status_code == 200
    assert "sem_predict" in httpx.get(f"{studio.address}/api").text
    assert httpx.get(f"{studio.address}/pictures/sem.png").headers["content-type"] == "image/png"
    assert httpx.get(f"{studio.address}/pictures/nope.png").status_code == 404


def test_pages_may_load_from_here_only(studio: Any) -> None:
    for path in ("/", "/sem", "/runs", "/api"):
        answer = httpx.get(studio.address + path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "connect-src 'self'" in policy
        assert "fonts.g" not in answer.text


# ------------------------------------------------------------------------------------------------------ results


def test_a_prediction_by_client(client: Any, inputs: Path) -> None:
    answer = client.predict(
        layout=[handle_file(str(inputs / "cell.gds"))], options={"hotspots": 3}, model="first", api_name="/sem_predict"
    )
    (result,) = answer["results"]
    assert result["name"] == "cell.gds"
    assert result["summary"]["cell"] == "TOP"
    assert len(result["summary"]["hotspots"]) <= 3
    assert answer["model"] == "first"
    assert answer["command"].startswith("fieldsight sem predict cell.gds --model ")
    assert "--hotspots 3" in answer["command"]
    names = {Path(p).name for p in answer["files"]}
    assert {"cell_lo.tif", "cell_mid.tif", "cell_hi.tif", "cell.json"} <= names
    assert all(Path(p).stat().st_size for p in answer["files"])  # the client has them here


def test_a_prediction_by_plain_http(studio: Any, inputs: Path) -> None:
    path = upload(studio, inputs / "mask.png")
    event, data = call(studio, "sem_predict", {"layout": [file(path)], "options": {}, "model": "first"})
    assert event == "complete"
    assert data[0]["results"][0]["summary"]["height"] == 40
    address = data[0]["files"][0]["url"]
    assert address.startswith(studio.address)
    assert httpx.get(address).status_code == 200


def test_a_verb_without_inputs_and_grouped_options(client: Any) -> None:
    options = {
        "pattern": "gratings",
        "size": 64,
        "pixel": "0.004um",
        "recipe.etch.depth": 90,
        "recipe": {"etch": {"lag": 0.2}},
    }
    answer = client.predict(options=options, api_name="/sem_simulate")
    (result,) = answer["results"]
    assert result["summary"]["px_nm"] == 4
    assert "--set recipe.etch.depth=90" in answer["command"]
    assert "--set recipe.etch.lag=0.2" in answer["command"]


def test_a_tab_of_an_own_page_can_be_called_too(client: Any, tmp_path: Path) -> None:
    fieldsight.call("energy", "make_data", out=tmp_path / "drawn")
    sent = handle_file(str(tmp_path / "drawn" / "measured.csv"))
    answer = client.predict(measurements=[sent], options={"name": "mine"}, api_name="/energy_calibrate")
    assert answer["results"][0]["summary"]
    assert {"mine.toml", "mine.json"} <= {Path(p).name for p in answer["files"]}
    assert answer["command"] == "fieldsight energy calibrate measured.csv --name mine --out out/"
    with pytest.raises(AppError, match="Give measurements: CSV"):
        client.predict(options={}, api_name="/energy_calibrate")
    with pytest.raises(AppError, match="is no measurements"):
        client.predict(measurements=[handle_file(str(tmp_path / "drawn" / "meter.json"))], api_name="/energy_calibrate")


def test_a_built_in_name_stands_for_a_file_and_no_other_does(client: Any) -> None:
    answer = client.predict(network=["resnet18"], options={"batch": 4}, api_name="/energy_estimate")
    assert answer["results"][0]["summary"]
    for name in ("os:system", "torchvision.models:resnet18", "/etc/hostname", "resnet81"):
        with pytest.raises(AppError, match=r"Unknown built-in network|no uploaded file"):
            client.predict(network=[name], options={}, api_name="/energy_estimate")


def test_two_named_inputs_one_of_them_text(studio: Any, client: Any, tmp_path: Path) -> None:
    from cases import CASES

    case = CASES["toywords"]
    spec = registry.get("toywords")
    fieldsight.train("toywords", preset="tiny", run=studio.runs / "toywords")
    picture = case.inputs(tmp_path)[0]
    name = spec.inputs[1].name
    with pytest.raises(AppError, match=f"Give {name}"):
        client.predict(
            **{spec.inputs[0].name: [handle_file(str(picture))]}, api_name=f"/toywords_{spec.main.attribute}"
        )
    answer = client.predict(
        **{spec.inputs[0].name: [handle_file(str(picture))], **case.named}, api_name=f"/toywords_{spec.main.attribute}"
    )
    assert answer["results"][0]["summary"]


def test_own_routes_stand_before_gradio(studio: Any) -> None:
    from websockets.sync.client import connect

    with connect(studio.address.replace("http", "ws") + "/toystream/live") as socket:
        socket.send(json.dumps({"t": 0.0, "depth": [[5.0, 5.0]]}))
        assert json.loads(socket.recv(timeout=10))["state"] == "clear"
        socket.send(json.dumps({"t": 0.1, "depth": [[1.0, 1.0]]}))
        assert json.loads(socket.recv(timeout=10))["state"] == "alarm"


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.png", "empty"),
        ("short.png", "truncated"),
        ("short.gds", "no GDSII file"),
        ("text.gds", "no GDSII file"),
        ("bomb.png", "too large"),
        ("notes.txt", "must end in"),
    ],
)
def test_a_bad_file_is_one_clear_error(client: Any, studio: Any, inputs: Path, name: str, words: str) -> None:
    with pytest.raises(AppError) as caught:
        client.predict(layout=[handle_file(str(inputs / name))], options={}, api_name="/sem_predict")
    message = str(caught.value)
    assert words in message
    assert name in message
    assert "Traceback" not in message
    assert "/tmp" not in message
    assert "gradio" not in message


def test_one_bad_file_among_many(client: Any, inputs: Path) -> None:
    sent = [handle_file(str(inputs / n)) for n in ("short.png", "mask.png")]
    answer = client.predict(layout=sent, options={}, api_name="/sem_predict")
    bad, good = answer["results"]
    assert "truncated" in bad["error"]
    assert good["summary"]["height"] == 40


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"options": {"pixle": 5}}, "Did you mean 'pixel'"),
        ({"options": {"tile": 65, "halo": -4}}, "halo"),
        ({"options": {"layer": "99"}}, "no layer '99'"),
        ({"options": ["layer"]}, "must be an object"),
        ({"options": {}, "model": "../../first"}, "Unknown model"),
        ({"options": {}, "model": "/"}, "Unknown model"),
        ({"options": {"calibration": "/etc/hostname"}}, "no uploaded file"),
        ({"options": {"layer_names": {"path": "/etc/hostname"}}}, "no uploaded file"),
    ],
)
def test_bad_options_are_named(client: Any, inputs: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(AppError, match=words):
        client.predict(layout=[handle_file(str(inputs / "cell.gds"))], **given, api_name="/sem_predict")


def test_a_missing_input_is_asked_for(client: Any) -> None:
    with pytest.raises(AppError, match="Give layout"):
        client.predict(options={}, api_name="/sem_predict")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hostname",
        "../../../../etc/hostname",
        "/proc/self/environ",
        "http://127.0.0.1:1/x.gds",
        "https://example.com/x.gds",
        "file:///etc/hostname",
        "",
        "\0",
        ".",
    ],
)
def test_no_path_of_the_server_and_no_address_is_read(studio: Any, path: str) -> None:
    event, data = call(studio, "sem_predict", {"layout": [file(path)], "options": {}})
    assert event == "error"
    assert "no uploaded file" in json.dumps(data)


def test_not_even_a_file_beside_the_uploads(studio: Any, inputs: Path) -> None:
    uploads = Path(upload(studio, inputs / "mask.png")).parents[1]
    outside = uploads.parent / "outside.png"
    outside.write_bytes((inputs / "mask.png").read_bytes())
    for path in (str(outside), str(uploads / ".." / "outside.png"), str(uploads)):
        event, _ = call(studio, "sem_predict", {"layout": [file(path)], "options": {}})
        assert event == "error", path


def test_a_link_among_the_uploads_leads_nowhere(studio: Any, inputs: Path, tmp_path: Path) -> None:
    uploads = Path(upload(studio, inputs / "mask.png")).parents[1]
    target = tmp_path / "secret.png"
    target.write_bytes((inputs / "mask.png").read_bytes())
    link = uploads / "link.png"
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("no links on this file system")
    event, _ = call(studio, "sem_predict", {"layout": [file(str(link))], "options": {}})
    assert event == "error"


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..\\evil.png", "a" * 300 + ".png", "evil\n.png"])
def test_names_that_look_like_paths_stay_names(studio: Any, inputs: Path, name: str) -> None:
    path = Path(upload(studio, inputs / "mask.png", name))
    uploads = Path(upload(studio, inputs / "mask.png")).parents[1]
    assert path.resolve().is_relative_to(uploads.resolve())
    event, data = call(studio, "sem_predict", {"layout": [file(str(path))], "options": {}})
    assert event == "complete", data
    for sent in data[0]["files"]:
        assert Path(sent["path"]).resolve().is_relative_to(uploads.resolve())


def test_uploads_are_limited(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fieldsight.studio.app import MAX_UPLOAD

    blocks = studio.app.routes[-1].app.get_blocks()
    assert blocks.max_file_size == MAX_UPLOAD
    monkeypatch.setattr(blocks, "max_file_size", 1000)
    answer = httpx.post(f"{studio.address}/gradio_api/upload", files={"files": ("big.gds", b"x" * 5000)})
    assert answer.status_code == 413


@pytest.mark.parametrize("path", CLOSED)
def test_doors_that_nobody_uses_are_closed(studio: Any, path: str) -> None:
    for method in ("GET", "POST"):
        assert httpx.request(method, f"{studio.address}{path}/127.0.0.1:1/x").status_code in (404, 405)


def test_files_of_the_server_are_not_served(studio: Any, runs: Path) -> None:
    for path in ("/etc/hostname", str(runs / "first" / "run.json"), str(Path(__file__)), "pyproject.toml"):
        assert httpx.get(f"{studio.address}/gradio_api/file={path}").status_code in (403, 404), path


def test_results_are_served_by_their_key_only(studio: Any, client: Any, inputs: Path) -> None:
    from fieldsight.studio.app import scratch

    client.predict(layout=[handle_file(str(inputs / "mask.png"))], options={}, api_name="/sem_predict")
    key = max((scratch() / "results").iterdir(), key=lambda p: p.stat().st_mtime).name
    base = f"{studio.address}/results"
    assert httpx.get(f"{base}/{key}/files/mask_lo.tif").status_code == 200
    archive = httpx.get(f"{base}/{key}/all.zip")
    assert archive.content[:2] == b"PK"
    assert 'filename="results.zip"' in archive.headers["content-disposition"]
    for path in (f"{key}/files/../../../uploads", f"{key}/%2e%2e/x", "nokey/files/mask_lo.tif", f"{key}/drawn/001.png"):
        assert httpx.get(f"{base}/{path}").status_code == 404, path
