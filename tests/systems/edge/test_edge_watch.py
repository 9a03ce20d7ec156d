"""``watch``: a stream as it comes, from a real server on this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from fieldsight.cli import main
from fieldsight.data.detection.sample import Detections
from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.edge import watch as watching
from fieldsight.systems.edge.config import PRESETS
from fieldsight.systems.edge.options import WatchOptions
from fieldsight.systems.edge.watch import watch, without_password

RATE = 50.0


class Model:
    """Finds one box where the picture's grey says it is; slow if asked to be."""

    classes = ("a", "b")
    config = PRESETS["tiny"]

    def __init__(self, takes: float = 0.0) -> None:
        self.takes, self.greys = takes, list[int]()

    def find(self, picture: np.ndarray, options: Any) -> Detections:
        time.sleep(self.takes)
        self.greys.append(int(picture.mean()))
        return Detections.of([[4, 4, 20, 20]], [0.9], [1])


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """Gives the address of a camera as many are: JPEG after JPEG over HTTP, each one brighter than the last."""
    servers: list[ThreadingHTTPServer] = []

    def serve(frames: int, then: float = 0.0) -> str:
        class Camera(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
                self.end_headers()
                for n in range(frames):
                    data = cv2.imencode(".jpg", np.full((48, 64, 3), 2 * n, np.uint8))[1].tobytes()
                    self.wfile.write(b"--part\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
                    self.wfile.write(data + b"\r\n")
                    time.sleep(1 / RATE)
                time.sleep(then)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://user:secret@127.0.0.1:{server.server_port}/live.mjpg"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_stream_is_looked_at_until_it_ends(served: Callable[..., str], tmp_path: Path) -> None:
    model = Model()
    options = WatchOptions(source=served(100), retries=0, timeout=5.0)
    found = watch(model, tmp_path / "out", options)  # type: ignore[arg-type]
    rows = [json.loads(line) for line in (tmp_path / "out" / "watch.jsonl").read_text().splitlines()]
    assert found.looked == len(rows) == found.boxes["b"] == len(model.greys) > 10
    assert found.looked + found.dropped <= 100
    assert rows[0]["boxes"] == [{"class": "b", "score": 0.9, "box": [4.0, 4.0, 20.0, 20.0]}]
    assert [r["frame"] for r in rows] == sorted({r["frame"] for r in rows})
    assert [r["time"] for r in rows] == sorted(r["time"] for r in rows)
    with Image.open(tmp_path / "out" / "watch.png") as picture:
        assert picture.size[0] >= 64
    assert found.ended == "the stream ended"
    told = json.dumps(found.to_dict()) + " ".join(found.lines())
    assert "secret" not in told
    assert "127.0.0.1" in told


def test_a_slow_detector_sees_the_newest_frame_and_no_queue(served: Callable[..., str]) -> None:
    model = Model(takes=0.3)
    found = watch(model, None, WatchOptions(source=served(100), retries=0, seconds=1.6, timeout=5.0, track=True))  # type: ignore[arg-type]
    assert found.ended == "1.6 s are over"
    assert 2 <= found.looked <= 7
    assert found.dropped > found.looked
    assert max(np.diff(model.greys)) > 10, "from one look to the next many frames passed"


def test_a_stream_that_breaks_off_is_opened_again(served: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PAUSE", 0.01)
    found = watch(Model(), None, WatchOptions(source=served(20), retries=2, seconds=3.0, timeout=2.0))  # type: ignore[arg-type]
    assert found.reopened >= 1
    assert found.looked > 20 - found.dropped


def test_ctrl_c_ends_it_well(served: Callable[..., str], tmp_path: Path) -> None:
    class Stopped(Model):
        def find(self, picture: np.ndarray, options: Any) -> Detections:
            if len(self.greys) == 3:
                raise KeyboardInterrupt
            return super().find(picture, options)

    found = watch(Stopped(), tmp_path, WatchOptions(source=served(100), retries=0))  # type: ignore[arg-type]
    assert (found.ended, found.looked) == ("Ctrl-C", 3)
    assert len((tmp_path / "watch.jsonl").read_text().splitlines()) == 3


def test_bad_sources(served: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    for source, message in {"": "number of a camera", str(tmp_path / "a.mp4"): "fieldsight edge predict"}.items():
        with pytest.raises(ConfigError, match=message):
            watch(Model(), None, WatchOptions(source=source))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="can't be opened") as caught:
        watch(Model(), None, WatchOptions(source="http://me:secret@127.0.0.1:9/x", timeout=1.0))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="can't write"):
        watch(Model(), tmp_path / "a.mp4" / "out", WatchOptions(source=served(5, 1.0)))  # type: ignore[arg-type]
    assert main(["edge", "predict", "rtsp://host/live", "--quiet"]) > 0
    assert "fieldsight edge watch" in capsys.readouterr().err
    assert without_password("rtsp://a:b@host/x@y") == "rtsp://host/x@y"
