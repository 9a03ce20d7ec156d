"""``simulate``: the loop of camera, link and computer from tables alone, the paper's or a benchmark's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from fieldsight.errors import ConfigError, DataError
from fieldsight.predictions import Table
from fieldsight.systems.edge import profiles
from fieldsight.systems.edge.link import network_of, words_of
from fieldsight.systems.edge.network import Network, payload
from fieldsight.systems.edge.options_bench import MORE_COLUMNS
from fieldsight.systems.edge.options_serve import LinkOptions, SimulateOptions
from fieldsight.systems.edge.profiles import Device
from fieldsight.systems.edge.simulate import (
    COLUMNS,
    LoopConfig,
    break_even_ms,
    energy_of,
    simulate,
    sweep,
    table5,
    table6,
)


def simulate_verb(inputs: Any, options: SimulateOptions) -> Table:
    """Run configurations through the loop.

    Args:
        inputs: tables of benchmarks, CSV or JSON, as ``bench`` writes them; None for the paper's 14 configurations.
        options: link, payload, camera and queues.

    Returns:
        One row a configuration; without a table and over the paper's own link, with what Table 5 prints beside.

    Raises:
        DataError: a table that can't be read.
        ConfigError: no configuration of that name; a network that can't be.
    """
    loop = loop_of(options)
    base = profiles.edge_network() if options.network == "edge" else profiles.cloud_network()
    network = network_of(base, options.link) or Network.round_trip("none", 0.0)
    tables = [] if inputs is None else [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    if options.show in ("table5", "table6"):
        if tables or options.link != LinkOptions():
            raise ConfigError(f"show: {options.show} is the paper's own; it takes no table and no other link.")
        return table5(loop) if options.show == "table5" else table6(loop)
    devices = _wanted(list(_devices(tables)), options.only)
    if options.show == "sweep":
        return _sweep(devices if tables or options.only else [], options, loop)
    printed = _printed() if not tables and network == profiles.edge_network() else {}
    rows = []
    for device in devices:
        found = simulate(device, network, loop, name=device.name).row()
        rows.append({**found, **(dict.fromkeys(_PRINTED) if printed else {}), **printed.get(device.name, {})})
    sent = payload(options.payload)
    facts = {
        "network": f"{network.name}: {words_of(network)}",
        "payload": f"{sent.name}, {sent.mean / 1000:.6g} kB on average",
        "loop": "the next frame when the answer is back" if loop.fps is None else f"{loop.fps:g} frames a second",
        "mean_communication_ms": network.mean_ms(sent.mean, sent.answer),
        "energy": "; ".join(dict.fromkeys(energy_of(device, 1.0, 1.0)[1] for device in devices)),
        "data": "simulated from a table; nothing was measured here",
        "source": ", ".join(str(t) for t in tables) or "Tables 4 to 6 of the paper",
    }
    return Table({**COLUMNS, **(_PRINTED if printed else {})}, rows, "The loop, simulated", facts)


_PRINTED = {"rtt_printed": "ms", "throughput_printed": "1/s"}


def loop_of(options: SimulateOptions) -> LoopConfig:
    """The simulator's own settings out of the verb's."""
    return LoopConfig(**{f.name: getattr(options, f.name) for f in fields(LoopConfig)})


def _devices(tables: Sequence[Any]) -> Iterator[Device]:
    """The paper's configurations, or those of tables that have a speed."""
    if not tables:
        yield from profiles.paper_devices()
        return
    found = 0
    for table in tables:
        for row in profiles.read_rows(Path(table), ignore=MORE_COLUMNS):
            if row.latency_ms is None and not row.mis_fps:
                continue
            found += 1
            yield profiles.device_of(row)
    if not found:
        raise DataError("No row of the table has latency_ms or mis_fps: measure one of them with bench.")


def _wanted(devices: Sequence[Device], only: str) -> list[Device]:
    words = only.lower().split()
    found = [d for d in devices if all(w in d.name.lower().replace("(", " ").split() or w in d.name.lower()
                                       for w in words)]  # fmt: skip
    if not found:
        names = "; ".join(d.name for d in devices)
        raise ConfigError(f"only: no configuration has '{only}' in its name. There are: {names}.")
    return found


def _printed() -> dict[str, dict[str, float]]:
    """Mean RTT and throughput of Table 5 by the names of the paper's devices."""
    found = {}
    for device, rows in profiles.printed()["table5"].items():
        for key, values in rows.items():
            name = profiles.paper_device(device, *key.split("-")).name
            found[name] = {"rtt_printed": float(values[0]), "throughput_printed": float(values[4])}
    return found


def _sweep(devices: Sequence[Device], options: SimulateOptions, loop: LoopConfig) -> Table:
    """Edge against the paper's cloud over the network's time, for one configuration."""
    if len(devices) > 1:
        raise ConfigError(f"only: sweep compares one configuration with the cloud; {len(devices)} fit. Name it.")
    edge = devices[0] if devices else None
    table = sweep(edge=edge, mbit_s=options.link.mbit_s, sent=payload(options.payload), loop=loop)
    here, link = edge or profiles.table6_edge(), profiles.edge_network()
    even = break_even_ms(here.mean_ms + link.mean_ms(0, 0), profiles.table6_cloud().mean_ms)
    return Table(table.columns, table.rows, table.title, {**table.facts, "edge": here.name, "break_even_ms": even})
