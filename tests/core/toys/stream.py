"""``toystream``: warns when a depth frame is much nearer than the frames before it; no network, but a state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fieldsight.config import Config, setting
from fieldsight.data.images import read_image
from fieldsight.engine.seed import rng_for
from fieldsight.errors import DataError
from fieldsight.model import Model
from fieldsight.predictions import Alerts
from fieldsight.registry import Input, System, Verb
from fieldsight.verbs import Written


@dataclass(frozen=True)
class StreamConfig(Config):
    """Settings."""

    share: float = setting(0.5, "alarm below this share of the running distance", gt=0, lt=1)
    memory: float = setting(0.8, "weight of the past", ge=0, lt=1)


@dataclass(frozen=True)
class ReplayOptions(Config):
    """Options of ``replay``."""

    rate: float = setting(10.0, "frames per second", gt=0, le=1000)


@dataclass(frozen=True)
class DataOptions(Config):
    """Options of ``make-data``."""

    frames: int = setting(20, "frames", ge=2, le=1000)
    seed: int = setting(0, "seed", ge=0)


PRESETS = {"tiny": StreamConfig()}


def make_data(out: Path | None, options: DataOptions) -> Written:
    assert out is not None
    out.mkdir(parents=True, exist_ok=True)
    rng = rng_for(options.seed, "toystream")
    near = options.frames // 2
    frames = np.full((options.frames, 8, 8), 5.0) + rng.normal(0, 0.05, (options.frames, 8, 8))
    frames[near:] -= 4.0
    np.save(out / "stream.npy", frames.astype(np.float32))
    return Written(out, {"frames": options.frames, "drawn": True})


class StreamModel(Model):
    system = "toystream"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start()

    def describe(self) -> str:
        return "toy stream"

    def start(self) -> None:
        """Forget everything."""
        self._distance: float | None = None

    def step(self, inputs: dict[str, Any], t: float) -> dict[str, Any]:
        """One depth frame (H, W) in metres at ``t`` seconds; NaN pixels are ignored."""
        frame = np.asarray(inputs["depth"], dtype=np.float64)
        if frame.ndim != 2:
            raise DataError(f"A depth frame is (H, W), got {frame.shape}.")
        nearest = float(np.nanmedian(frame)) if not np.isnan(frame).all() else math.nan
        if math.isnan(nearest):
            return {"time": t, "state": "blind", "distance": None}
        config: StreamConfig = self.config  # type: ignore[assignment]
        past = nearest if self._distance is None else self._distance
        self._distance = config.memory * past + (1 - config.memory) * nearest
        return {"time": t, "state": "alarm" if nearest < config.share * past else "clear", "distance": nearest}

    def read(self, item: Any, options: ReplayOptions) -> np.ndarray:
        frames = np.load(item, allow_pickle=False) if str(item).endswith(".npy") else read_image(item, "grey")
        frames = frames[None] if frames.ndim == 2 else frames
        if frames.ndim != 3:
            raise DataError(f"'{item}' holds {frames.shape}, a stream is (T, H, W).")
        return frames

    def predict_one(self, value: np.ndarray, options: ReplayOptions) -> Alerts:
        self.start()
        return Alerts(tuple(self.step({"depth": frame}, n / options.rate) for n, frame in enumerate(value)))


def routes(app: Any) -> None:
    """A WebSocket that answers each frame ``{"t": s, "depth": [[...]]}`` with the alert."""
    from fastapi import WebSocket, WebSocketDisconnect

    from fieldsight.model import load

    # the annotation must be found in the module's names, since annotations are strings here
    globals()["WebSocket"] = WebSocket

    @app.websocket("/toystream/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        model = load("toystream")
        try:
            while True:
                message = await socket.receive_json()
                try:
                    answer = model.step({"depth": message["depth"]}, float(message["t"]))
                except (DataError, KeyError, TypeError, ValueError) as error:
                    answer = {"error": str(error)}
                await socket.send_json(answer)
        except WebSocketDisconnect:
            return


def demo(section: Any) -> None:
    section.text("a toy")


SPEC = System(
    id="toystream",
    title="Toy stream",
    summary="warns when something comes near",
    paper="none: a toy of the test suite",
    number=102,
    model="toys.stream:StreamModel",
    config="toys.stream:StreamConfig",
    presets="toys.stream:PRESETS",
    inputs=(Input("depth", "depth", "recorded streams", (".npy", ".png")),),
    verbs=(
        Verb(
            "replay",
            "fieldsight.predicting:predict",
            "toys.stream:ReplayOptions",
            "run a recording",
            "inputs",
            page=True,
        ),
        Verb("make-data", "toys.stream:make_data", "toys.stream:DataOptions", "write a drawn recording", model=False),
    ),
    output="Alerts",
    traits=frozenset({"streams"}),
    demo="toys.stream:demo",
    routes="toys.stream:routes",
)
