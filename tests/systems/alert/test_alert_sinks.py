"""Beeps, vibration and the cane handle."""

from __future__ import annotations

import io
import json
import math
import socket
import threading
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from fieldsight.errors import ConfigError, DataError
from fieldsight.systems.alert import sinks
from fieldsight.systems.alert.sinks import CaneSink, SimulatedCane
from fieldsight.systems.alert.state import AlertState


def alarm(t: float, tti: float = 1.4, bearing: float = math.nan) -> AlertState:
    return AlertState(t, "alarm", True, 2, 4.3, -3.1, tti, bearing=bearing)


@pytest.mark.parametrize(("tti", "period"), [
    (0.0, 0.08), (0.5, 0.08), (1.4, 0.21), (3.0, 0.45), (6.0, 0.5), (math.inf, 0.5), (math.nan, 0.5),
])  # fmt: skip
def test_the_beat_follows_the_time_to_impact(tti: float, period: float) -> None:
    assert sinks.beep_period(tti) == pytest.approx(period)
    on, off = sinks.haptic(tti)[0]
    assert on == off == round(500 * period)
    assert sum(map(sum, sinks.haptic(tti, 2.0))) == pytest.approx(2000, rel=0.15)


def test_a_beep_is_880_hz_for_60_ms_and_comes_from_its_side() -> None:
    sound = sinks.beep(math.radians(40), 44_100)
    assert len(sound) == round(0.06 * 44_100)
    spectrum = np.abs(np.fft.rfft(sound[:, 1], 44_100))
    assert abs(int(spectrum.argmax()) - 880) <= 3
    left, right = (float(np.abs(sound[:, n]).max()) for n in (0, 1))
    assert right > 5 * left
    middle = sinks.beep()
    np.testing.assert_array_equal(middle[:, 0], middle[:, 1])
    assert sum(g * g for g in sinks.pan(-0.3)) == pytest.approx(1)  # the same power everywhere


def read(data: bytes) -> tuple[np.ndarray, int]:
    with wave.open(io.BytesIO(data)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth()) == (2, 2)
        frames = sound.readframes(sound.getnframes())
        return np.frombuffer(frames, "<i2").reshape(-1, 2) / 32767, sound.getframerate()


def test_a_replay_sounds_where_it_alarms_and_where_nobody_watches(tmp_path: Path) -> None:
    states = [AlertState(100 + n / 10, "clear") for n in range(120)]
    states[20:30] = [alarm(102 + n / 10) for n in range(10)]
    states[110:] = [AlertState(111 + n / 10, "no judgement", reason="covered") for n in range(10)]
    sound, rate = read(sinks.wav_bytes(states))
    assert len(sound) / rate == pytest.approx(11.9 + 0.5, abs=0.01)
    loud = np.abs(sound).max(axis=1) > 0.05
    assert not loud[: 2 * rate].any()
    assert not loud[int(3.1 * rate) : 11 * rate].any()
    begins = np.flatnonzero(np.diff(np.convolve(loud[: 4 * rate], np.ones(rate // 50), "same") > 0, prepend=0) == 1)
    assert len(begins) == 5  # beeps at 2.0, 2.21, ... 2.84 s
    assert loud[11 * rate :].any()
    path = sinks.write_wav(tmp_path / "alarms.wav", states)
    assert path.read_bytes() == sinks.wav_bytes(states)


def test_strange_times_give_sound_and_not_a_crash() -> None:
    assert len(read(sinks.wav_bytes([]))[0]) > 0
    assert sinks.cues([alarm(math.nan), alarm(5.0), alarm(4.0), alarm(4.0)])
    assert {c.kind for c in sinks.cues([AlertState(0, "no judgement"), alarm(1), AlertState(2, "clear")])} == {
        "beep", "lost"
    }  # fmt: skip
    with pytest.raises(DataError, match="six"):
        sinks.cues([alarm(0), alarm(1e9)])


def test_the_handle_hears_the_protocol_and_knows_when_it_lost_contact() -> None:
    now = [0.0]
    cane = SimulatedCane(lambda: now[0])
    assert cane.state == "lost contact"
    line = json.dumps(alarm(0, bearing=-0.21).message()).encode() + b"\n"
    assert json.loads(line) == {"l": 2, "tti": 1.4, "v": -3.1, "b": -12}
    for piece in (line[:7], line[7:]):
        cane.feed(piece)
    assert (cane.state, cane.motor()) == ("alarm", (105, 105))
    cane.feed(b'{"l":0,"tti":null,"v":0,"b":null}\n')
    assert (cane.state, cane.motor()) == ("quiet", (0, 0))
    cane.feed(b'{"l":255,"tti":null}\n')
    assert cane.state == "not watching"
    assert cane.motor()[0] > 300
    now[0] = 1.2
    assert cane.state == "lost contact"
    cane.feed(b'\xff\xfe\n[]\n{"l":7}\n{"l":"x"}\n' + b"[" * 5000 + b"\n{}\n" + b"x" * 100_000)
    assert cane.garbage == 6
    assert cane.state == "lost contact"
    cane.feed(b'\n{"l":1,"tti":9999}\n')
    assert cane.state == "alarm"


def test_a_handle_over_tcp_is_told_alarms_then_that_nobody_watches_and_is_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sinks, "LOST_CONTACT", 0.4)
    monkeypatch.setattr(sinks, "HEARTBEAT", 0.1)
    monkeypatch.setattr(sinks, "AGAIN", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server, CaneSink(f"tcp://127.0.0.1:{server.getsockname()[1]}") as it:
        for _ in range(2):  # the second time after the handle went away
            connection, _address = server.accept()
            with connection:
                cane = SimulatedCane()
                it.send(alarm(0.0))
                hear(connection, cane, "alarm")
                hear(connection, cane, "not watching")  # told nothing for a second


def hear(connection: socket.socket, cane: SimulatedCane, wanted: str) -> None:
    connection.settimeout(2)
    end = time.monotonic() + 3
    while cane.state != wanted:
        assert time.monotonic() < end, cane.state
        cane.feed(connection.recv(4096))


def test_a_handle_that_is_not_there_is_a_problem_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "ttyACM0"
    with CaneSink(str(path)) as sink:
        end = time.monotonic() + 2
        while not sink.problem and time.monotonic() < end:
            time.sleep(0.01)
        assert "can't be reached" in sink.problem
    assert not path.exists()
    path.touch()
    with CaneSink(str(path)) as sink:
        sink.send(alarm(0.0))
        threading.Event().wait(0.2)
    assert b'"l":2' in path.read_bytes()


@pytest.mark.parametrize("address", ["tcp://", "tcp://host", "tcp://host:0", "tcp://host:x", "tcp://:99999"])
def test_an_address_that_is_none_is_named_at_once(address: str) -> None:
    with pytest.raises(ConfigError, match="tcp://HOST:PORT"):
        CaneSink(address)


def test_the_handles_own_program_is_python(root: Path) -> None:
    path = root / "examples" / "cane_handle" / "code.py"
    compile(path.read_text(encoding="utf-8"), str(path), "exec")
