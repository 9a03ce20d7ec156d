"""One app, one server in a thread and one tiny run for all tests of the Studio, on one worker."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from hostile import bomb

from fieldsight import registry
from fieldsight.data.gds import write_polygons
from fieldsight.data.images import write_image


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("studio"))


@dataclass(frozen=True)
class Running:
    """A Studio that answers.

    Attributes:
        app: the app.
        address: where it answers.
        runs: its folder of runs; ``first`` is a finished tiny run of sem.
    """

    app: Any
    address: str
    runs: Path

    def client(self) -> Any:
        """A new API client."""
        from gradio_client import Client

        return Client(self.address, verbose=False)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import fieldsight

    folder = tmp_path_factory.mktemp("studio") / "runs"
    fieldsight.train("sem", preset="tiny", run=folder / "first")
    return folder


@pytest.fixture(scope="session")
def studio(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The Studio with the shipped systems and the toys, behind a real server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELDSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(registry, "_extra", dict(registry._extra))
        toys.register()
        from fieldsight.studio.app import build

        app = build(runs)
        with serving(app) as address:
            yield Running(app, address, runs)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    import uvicorn

    from fieldsight.studio.serve import take

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    with contextlib.closing(take("127.0.0.1", 0)) as listening:
        server = Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.02)
            assert thread.is_alive()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small layout with two layers, a mask picture, and what people should not send."""
    folder = tmp_path_factory.mktemp("inputs")
    bar = np.array([[0, 0], [60, 0], [60, 240], [0, 240]], float)
    write_polygons(folder / "cell.gds", [bar, bar + np.array([130, 0])], (67, 20))
    mask = np.zeros((40, 56), np.uint8)
    mask[8:32, 10:22] = mask[8:32, 34:46] = 255
    write_image(folder / "mask.png", mask)
    (folder / "empty.png").write_bytes(b"")
    (folder / "short.png").write_bytes((folder / "mask.png").read_bytes()[:60])
    (folder / "short.gds").write_bytes((folder / "cell.gds").read_bytes()[:90])
    (folder / "notes.txt").write_text("no layout")
    (folder / "text.gds").write_text("no layout either")
    bomb(folder / "bomb.png")
    return folder
