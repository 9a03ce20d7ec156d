"""The loop over a recording, and what it leaves: states, pictures, sounds."""

from __future__ import annotations

from collections.abc import Iterator

from fieldsight.systems.alert.config import AlertConfig
from fieldsight.systems.alert.engine import AlertEngine
from fieldsight.systems.alert.recording import Frame, Recording
from fieldsight.systems.alert.state import AlertState


def states_of(recording: Recording, config: AlertConfig) -> list[AlertState]:
    """Every processed frame's state, from a fresh engine."""
    return [state for _, _, state in walk(recording, AlertEngine(settings_for(recording, config)))]


def walk(recording: Recording, engine: AlertEngine) -> Iterator[tuple[int, Frame, AlertState]]:
    """Numbers, frames and their states as they come; frames that were not due give none."""
    for number, frame in enumerate(recording):
        state = engine.step(frame.depth, frame.t, frame.confidence, frame.K, frame.pose)
        if state is not None:
            yield number, frame, state


def settings_for(recording: Recording, config: AlertConfig) -> AlertConfig:
    """The settings with the camera height that the recording states, where the settings have the usual one."""
    known = recording.manifest.camera_height
    usual = AlertConfig().camera_height
    return config.replace(camera_height=known) if config.camera_height == usual and 0 < known <= 3 else config
