"""Options of the verbs. Light: asking for help imports this and no numerics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fieldsight.config import setting
from fieldsight.systems.alert.config import AlertConfig


@dataclass(frozen=True)
class LiveOptions(AlertConfig):
    """Options of ``live``."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in")
    port: int = setting(8766, "port to listen on; 0 takes a free one", ge=0, le=65535)
    tls_cert: Path | None = setting(None, "certificate (PEM): a phone gives camera and vibration over TLS only")
    tls_key: Path | None = setting(None, "private key of the certificate (PEM)")
    token: str = setting("", "secret that every client must know, for use beyond this machine")
    source: str = setting(
        "", "where frames come from: nothing (clients send them), tcp://HOST:PORT, - (stdin), a recording, camera:0"
    )
    depth_model: Path | None = setting(None, "ONNX file that gives depth from colour, for a camera without depth")
    cane: str = setting("", "cane handle to drive: a serial port, tcp://HOST:PORT, or - (stdout)")
    beep: bool = setting(True, "let the page beep at an alarm; that nobody watches is heard in any case")

    rules = (
        *AlertConfig.rules,
        (lambda o: (o.tls_cert is None) == (o.tls_key is None), "tls_cert, tls_key: give both, or none"),
        (
            lambda o: not o.source.startswith("camera:") or o.depth_model is not None,
            "source: a camera gives colour, not depth. Name a network that does: --depth-model FILE.onnx",
        ),
    )
