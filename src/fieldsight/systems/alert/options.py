"""Options of the verbs. Light: asking for help imports this and no numerics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fieldsight.config import Config, setting
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


@dataclass(frozen=True)
class EvaluateOptions(Config):
    """Options of ``evaluate``."""

    against: str = setting("paper", "second setting on the same streams: a preset, or nothing")
    approaches: int = setting(40, "simulated approaches where no data is given", ge=2, le=10_000)
    sensor: str = setting("any", "sensor of the simulated approaches: a profile, or any")
    seed: int = setting(9_000_000, "first seed of the simulated approaches; the held-out ones by default", ge=0)
    draws: int = setting(2000, "bootstrap samples, over clips", ge=100, le=100_000)


@dataclass(frozen=True)
class SweepOptions(Config):
    """Options of ``sweep``."""

    speeds: tuple[float, ...] = setting((-5.0, -3.0, -2.2, -1.0), "speed thresholds", unit="m/s", min_items=1, le=0)
    ttis: tuple[float, ...] = setting((1.0, 3.0, 5.0), "thresholds on time to impact", unit="s", min_items=1, ge=0)
    inclusive: bool = setting(False, "let an alarm sound at the thresholds themselves, against the paper")
    draws: int = setting(2000, "bootstrap samples, over clips", ge=100, le=100_000)


@dataclass(frozen=True)
class TuneOptions(Config):
    """Options of ``tune``."""

    miss_rate: float = setting(0.1, "share of approaches that may be missed", gt=0, lt=1)
    constants: bool = setting(False, "also search the paper's constants (96 settings), as section 3.2 did")
    folds: int = setting(3, "folds by clip that hold the choice to account", ge=2, le=20)
    approaches: int = setting(60, "simulated approaches where no data is given", ge=10, le=10_000)
    sensor: str = setting("any", "sensor of the simulated approaches: a profile, or any")
    seed: int = setting(1_000_000, "first seed of the simulated approaches; the tuning ones by default", ge=0)


@dataclass(frozen=True)
class ReproduceOptions(Config):
    """Options of ``reproduce``."""
