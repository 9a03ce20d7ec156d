"""Start and stop: what is printed, when, and with which exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fieldsight.cli import main
from fieldsight.errors import ConfigError, MissingExtraError
from fieldsight.studio import serve as serving


@pytest.fixture
def taken() -> int:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        yield other.getsockname()[1]


def test_a_taken_port_is_named_at_once_with_the_way_out(taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studio", "--port", str(taken)]) == 2
    told = capsys.readouterr().err
    assert f"{taken} is taken" in told
    assert "fieldsight studio --port" in told
    assert "fieldsight.studio.app" not in sys.modules or "gradio" in sys.modules  # nothing heavy was begun for it


@pytest.mark.parametrize(("host", "port", "words"), [
    ("127.0.0.1", 70_000, "0 to 65535"),
    ("127.0.0.1", -1, "0 to 65535"),
    ("no.such.host.invalid", 0, "not known"),
    ("203.0.113.7", 8765, "can't listen"),
])  # fmt: skip
def test_hosts_and_ports_that_can_not_be(host: str, port: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=words):
        serving.take(host, port)


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "gradio" else real(name, *rest)
    )
    with pytest.raises(MissingExtraError, match=r'pip install "fieldsight\[studio\]"'):
        serving.serve("127.0.0.1", 0, Path("runs"), False)


@pytest.mark.studio
def test_it_starts_says_so_answers_and_stops(tmp_path: Path, taken: int) -> None:
    """One line on stdout, nothing on stderr, no model, no torch; Ctrl-C gives 0."""
    code = (
        "import sys, threading\n"
        "from fieldsight.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules, 'torch was imported without need'\n"
        "sys.exit(code)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "studio", "--port", "0", "--runs", str(tmp_path / "runs")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "True", "HOME": str(tmp_path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Studio: http://127.0.0.1:"), process.stderr.read() if process.stderr else ""
        address = line.split(" ", 1)[1].strip()
        assert httpx.get(address).status_code == 200
        assert httpx.get(f"{address}/sem").status_code == 200
        assert httpx.get(address, headers={"host": "evil.example"}).status_code == 400
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert (out, err) == ("", "")
    assert not (tmp_path / "runs").exists()  # looking makes nothing
    assert list(tmp_path.iterdir()) == []
