"""Where a server's own frames come from: a recording at its own speed, a stream in or out, a camera, the demo street.

Each source is a thread that hands frames to a feed. One that breaks says why there, and tries again where that helps.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fieldsight.errors import ConfigError, DataError, FieldsightError
from fieldsight.systems.alert.recording import Array, Frame, Recording, field_of_view
from fieldsight.systems.alert.sinks import host_and_port
from fieldsight.systems.alert.stream import Decoder
from fieldsight.systems.alert.watching import Feed, Hub

#: Seconds before a source that broke is tried again.
AGAIN = 1.0
#: Bytes that are read at once.
CHUNK = 1 << 18
#: Pixels of a picture of a camera.
MAX_PIXELS = 4_000_000


class Depth(Protocol):
    """Gives depth ``(H, W)`` in metres from colour ``(h, w, 3)`` uint8."""

    def __call__(self, rgb: Array) -> Array:
        """Depth of one picture."""
        ...


Pump = Callable[[Feed, threading.Event], None]


def pump_of(source: str, depth: Depth | None = None) -> Pump:
    """What feeds frames from a source.

    Raises:
        ConfigError: the source is none of those that exist, or its address is wrong.
        DataError: a recording can't be read.
    """
    if source == "-":
        return lambda feed, end: stream(partial(os.read, sys.stdin.fileno()), feed, end)
    if source.startswith("tcp://"):
        host, port = host_and_port(source, "source")
        return lambda feed, end: connect(host, port, feed, end)
    if source.startswith("camera:"):
        number = source.removeprefix("camera:")
        if not number.isdigit():
            raise ConfigError(f"source: a camera is camera:NUMBER, as in camera:0, got '{source}'.")
        assert depth is not None
        return lambda feed, end: camera(int(number), depth, feed, end)
    from fieldsight.systems.alert.sources import open_recording

    recording = open_recording(Path(source))
    return lambda feed, end: loop(recording, feed, end)


def start(hub: Hub, pump: Pump, name: str, end: threading.Event) -> Feed:
    """Run a source in a thread of its own until ``end``."""
    feed = hub.open(name)

    def work() -> None:
        try:
            pump(feed, end)
            if not feed.ended:
                feed.end("the source has ended")
        except FieldsightError as error:
            feed.end(str(error))
        except Exception as error:  # whatever it was: nobody watches now, and that is said
            feed.end(f"the source broke: {error}")

    threading.Thread(target=work, name=f"source {name}", daemon=True).start()
    return feed


def loop(recording: Recording, feed: Feed, end: threading.Event) -> None:
    """Play a recording at its own speed, again and again."""
    if recording.manifest.max_range:
        feed.know(max_range=recording.manifest.max_range)
    if 0 < recording.manifest.camera_height <= 3:
        feed.know(camera_height=recording.manifest.camera_height)
    while not end.is_set():
        feed.again()
        began, first = time.monotonic(), math.nan
        for n in range(len(recording)):
            frame = recording.load(n)
            first = frame.t if math.isnan(first) else first
            ahead = (frame.t - first) - (time.monotonic() - began)
            if ahead > 0 and end.wait(min(ahead, 60.0)):
                return
            if end.is_set():
                return
            feed.take(frame)
        if end.wait(0.2):
            return


def stream(read: Callable[[int], bytes], feed: Feed, end: threading.Event) -> None:
    """Take frames from a stream of bytes until it ends.

    Args:
        read: gives the next bytes, at most so many; none at the end.
        feed: takes the frames.
        end: stops.
    """
    decoder = Decoder()
    while not end.is_set():
        data = read(CHUNK)
        if not data:
            break
        for found in decoder.events(data):
            if isinstance(found, DataError):
                feed.trouble(str(found))
            else:
                feed.take(found)
    try:
        decoder.close()
    except DataError as error:
        feed.trouble(str(error))
    feed.end("the stream has ended")


def connect(host: str, port: int, feed: Feed, end: threading.Event) -> None:
    """Take frames from a server; connect again when it goes away."""
    while not end.is_set():
        try:
            with socket.create_connection((host, port), timeout=5.0) as connection:
                feed.again()
                stream(_patient(connection, end), feed, end)
        except OSError as error:
            feed.end(f"{host}:{port} can't be reached: {error.strerror or error}")
        end.wait(AGAIN)


def _patient(connection: socket.socket, end: threading.Event) -> Callable[[int], bytes]:
    connection.settimeout(0.5)  # so that the end is seen; the feed knows by itself when nothing comes

    def read(size: int) -> bytes:
        while not end.is_set():
            with contextlib.suppress(TimeoutError):
                return connection.recv(size)
        return b""

    return read


def depth_of(path: Path, output: str = "metric", height: float = 1.3) -> Depth:
    """The network that gives depth from colour.

    Args:
        path: ONNX file.
        output: ``metric``, or ``inverse`` depth up to scale and shift, which the ground then fixes.
        height: metres of the camera above the ground.

    Raises:
        ConfigError: the file is not there.
        FieldsightError: it can't be used.
    """
    if not path.is_file():
        raise ConfigError(f"depth_model: there is no file '{path}'.")
    from fieldsight.systems.alert.mono import DepthModel
    from fieldsight.systems.alert.options import MonoOptions

    model = DepthModel(path, MonoOptions.parse({"output": output}))
    return lambda rgb: model.metric(rgb, field_of_view(rgb.shape[1], rgb.shape[0]), height)


def coloured(rgb: Array, t: float, model: Depth) -> Frame:
    """A frame from colour; its intrinsics are those of a usual phone or webcam, since nobody tells them."""
    depth = np.asarray(model(rgb), dtype=np.float32)
    return Frame(depth, t, K=field_of_view(depth.shape[1], depth.shape[0]))


def picture(data: bytes) -> Array:
    """A JPEG or PNG from a client as ``(h, w, 3)`` uint8.

    Raises:
        DataError: it is none, or is too large.
    """
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"The picture has {image.width} x {image.height} pixels; 4 megapixels are taken.")
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"The picture can't be read: {error}") from None


def camera(number: int, model: Depth, feed: Feed, end: threading.Event) -> None:
    """Take pictures of a camera of this machine; open it again when it goes away."""
    import cv2

    while not end.is_set():
        device = cv2.VideoCapture(number)
        try:
            if device.isOpened():
                feed.again()
            for rgb in _pictures(device, end):
                try:
                    feed.take(coloured(rgb, time.monotonic(), model))
                except DataError as error:
                    feed.trouble(str(error))
        finally:
            device.release()
        feed.end(f"camera {number} gives no picture. Is it plugged in, and free?")
        end.wait(AGAIN)


def _pictures(device: Any, end: threading.Event) -> Iterator[Array]:
    while not end.is_set():
        done, bgr = device.read()
        if not done:
            return
        yield np.ascontiguousarray(bgr[..., ::-1])


class Demo:
    """The demo street: a simulated walk that is played while somebody looks at it.

    Args:
        hub: where its feed shows up.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.feed: Feed | None = None
        self._viewers: set[object] = set()
        self._lock = threading.Lock()
        self._end = threading.Event()

    def play(self, viewer: object) -> Feed:
        """Begin, or join.

        Raises:
            FieldsightError: there are too many senders.
        """
        with self._lock:
            self._viewers.add(viewer)
            if self.feed is None or self.feed.ended:
                self._end = threading.Event()
                self.feed = start(self.hub, _street, "demo street", self._end)
            return self.feed

    def leave(self, viewer: object) -> None:
        """Nobody else looks: it ends."""
        with self._lock:
            self._viewers.discard(viewer)
            if not self._viewers and self.feed is not None:
                self._end.set()
                self.feed.end("the demo street has ended")
                self.feed.ended_at = -math.inf  # nobody misses it
                self.feed = None


def _street(feed: Feed, end: threading.Event) -> None:
    feed.waits("the demo street is being drawn")
    loop(demo_street(), feed, end)


def demo_street() -> Recording:
    """A simulated walk along a street; after some seconds something comes near."""
    from fieldsight.systems.alert.simulate import simulate

    return simulate(scenario="approach", sensor="stereo", seconds=16.0, seed=0, size=(128, 96), poses=True)
