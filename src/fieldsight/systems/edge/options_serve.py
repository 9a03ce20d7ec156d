"""Options of ``serve``, ``roundtrip`` and ``simulate``. Light: asking for help imports this and no numerics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldsight.config import Config, setting

Kind = Literal["jpeg", "raw", "float32"]


@dataclass(frozen=True)
class ServeOptions(Config):
    """Options of ``serve``."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in", web=False)
    port: int = setting(8767, "port to listen on; 0 takes a free one", ge=0, le=65535)
    tls_cert: Path | None = setting(None, "certificate (PEM): a browser gives its camera to other machines' pages "
                                    "over TLS only", web=False)  # fmt: skip
    tls_key: Path | None = setting(None, "private key of the certificate (PEM)", web=False)
    token: str = setting("", "secret that every client must know, for use beyond this machine", secret=True)
    conf: float | None = setting(None, "least score of a box that is told; the model's own by default", gt=0, lt=1)
    iou: float | None = setting(
        None, "overlap from which the weaker of two boxes of a class is dropped; the model's own by default", gt=0, le=1
    )
    most: int | None = setting(None, "boxes a frame has at the most", ge=1, le=100_000)
    queue: int = setting(1, "frames of a client that may wait; the oldest is dropped for a new one", ge=1, le=100)

    rules = ((lambda o: (o.tls_cert is None) == (o.tls_key is None), "tls_cert, tls_key: give both, or none"),)


@dataclass(frozen=True)
class LinkOptions(Config):
    """A link between camera and computer; what is not said is as in the paper's Table 6."""

    shaped: bool = setting(True, "delay messages; off: the network as it is, for a server that really is far away")
    rtt: float | None = setting(
        None, "mean time there and back, without the time on the wire where a bandwidth is given", unit="ms", ge=0,
        le=1e6,
    )  # fmt: skip
    jitter: float | None = setting(None, "standard deviation of it (lognormal); 0: constant", unit="ms", ge=0, le=1e6)
    mbit_s: float | None = setting(None, "bandwidth in Mbit/s; none: the time there and back holds it", gt=0, le=1e6)
    loss: float = setting(0.0, "share of messages that get lost, each way", ge=0, lt=1)
    retry: float | None = setting(
        200.0, "after which a lost message is sent again, as TCP does; none: it stays lost", unit="ms", gt=0, le=1e6
    )

    rules = ((lambda o: not (o.rtt == 0 and o.jitter), "jitter: a time of 0 ms can't spread; give an rtt above 0"),)


@dataclass(frozen=True)
class RoundtripOptions(Config):
    """Options of ``roundtrip``."""

    server: str = setting("", "server to send to, ws://HOST:PORT; without, one is started here", web=False)
    cloud_server: str = setting("", "server behind the cloud link; by default the same", web=False)
    token: str = setting("", "secret of the servers", secret=True)
    isolated: bool = setting(True, "start the server as a process of its own; off: a thread, with the runtime in use")
    payload: Kind = setting("jpeg", "what is sent for a frame: JPEG, its bytes, or the network's input")
    quality: int = setting(90, "of JPEG", ge=1, le=100)
    side: int = setting(640, "pixels a side of the square that a frame is put into", ge=32, le=1280)
    fps: float | None = setting(
        None, "frames a second of the camera; none: the next one when the answer is back, as in the paper", gt=0,
        le=1000,
    )  # fmt: skip
    frames: int = setting(200, "frames to send over each link", ge=1, le=1_000_000)
    warmup: int = setting(10, "frames before them that do not count", ge=0, le=10_000)
    pictures: int = setting(8, "different frames, sent again and again; drawn ones where no input is named", ge=1,
                            le=1000)  # fmt: skip
    queue: int = setting(1, "frames that may wait for the link; the oldest is dropped for a new one", ge=0, le=100)
    timeout: float = setting(5000.0, "wait for an answer", unit="ms", gt=0, le=1e6)
    cloud_transport: Literal["http", "websocket"] = setting("http", "how frames go to the cloud; the paper used HTTP")
    edge: LinkOptions = setting(LinkOptions(), "link to the edge device")
    cloud: LinkOptions = setting(LinkOptions(), "link to the cloud")
    seed: int = setting(0, "seed of delays and losses, and of drawn frames", ge=0)

    rules = (
        (lambda o: o.side % 32 == 0, "side: must be a multiple of 32"),
        (
            lambda o: o.payload != "float32" or 12 * o.side**2 <= 16 * 2**20,
            "side: with float32 at the most 1152; more than 16 MiB a frame no server takes",
        ),
        (lambda o: bool(o.server) or not o.cloud_server, "cloud_server: name the edge's server too"),
    )


@dataclass(frozen=True)
class SimulateOptions(Config):
    """Options of ``simulate``."""

    show: Literal["loop", "table5", "table6", "sweep"] = setting(
        "loop",
        "each configuration in the loop, the paper's Table 5 or 6, or edge against cloud over the network's time",
    )
    only: str = setting("", "only configurations with these words in their names, as in 'Orin NX INT8'; all without")
    network: Literal["edge", "cloud"] = setting("edge", "link of Table 6 to start from")
    link: LinkOptions = setting(LinkOptions(), "the link, where it is another")
    payload: Kind = setting("jpeg", "what is sent for a frame; matters where the link has a bandwidth")
    fps: float | None = setting(
        None, "frames a second of the camera; none: the next one when the answer is back", gt=0, le=100_000
    )
    frames: int = setting(3000, "frames that the camera gives", ge=1, le=1_000_000)
    queue: int = setting(1, "frames that may wait before the link, and before the computer", ge=0, le=100_000)
    drop: Literal["oldest", "newest"] = setting("oldest", "which frame a full queue drops")
    workers: int = setting(1, "frames computed at the same time", ge=1, le=1024)
    pipelined: bool = setting(False, "overhead of one frame runs beside the model of the next")
    timeout: float = setting(1000.0, "wait for a lost frame in the closed loop", unit="ms", gt=0, le=1e9)
    seed: int = setting(0, "seed of delays and service times", ge=0)
