"""A link with delay, jitter, loss and bandwidth around any connection, without root rights and without ``tc``.

The same :class:`~fieldsight.systems.edge.network.Network` that the simulator computes with is played in real time: a
message takes the wire for its bytes (one message at a time), then the drawn delay, then again and again the retry time
where it gets lost; messages of one way do not overtake each other. Chance is drawn message by message under the
simulator's labels, so that both meet the same network.

What the real connection takes comes on top; on one machine that is a fraction of a millisecond.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Protocol

from fieldsight.engine.seed import rng_for
from fieldsight.systems.edge.network import Delay, Network, wire_ms
from fieldsight.systems.edge.options_serve import LinkOptions


def network_of(base: Network, options: LinkOptions) -> Network | None:
    """A network of Table 6 with what the options change; None where nothing is to be delayed.

    Args:
        base: what holds where the options say nothing.
        options: the changes.
    """
    if not options.shaped:
        return None
    if options == LinkOptions():
        return base
    mean = options.rtt if options.rtt is not None else base.up.mean + base.down.mean
    jitter = options.jitter
    if jitter is None:  # as far from the mean as before, in proportion
        whole = base.up.mean + base.down.mean
        jitter = math.hypot(base.up.sd, base.down.sd) * (mean / whole if whole else 0.0)
    found = Network.round_trip(base.name, mean, jitter, options.mbit_s, options.loss)
    return replace(found, retry_ms=options.retry)


def words_of(network: Network | None) -> str:
    """A network in a line."""
    if network is None:
        return "the network as it is"
    sd = math.hypot(network.up.sd, network.down.sd)
    words = [f"{network.up.mean + network.down.mean:g} ms there and back (sd {sd:.4g})"]
    words += [f"{network.up_mbit_s:g} Mbit/s"] if network.up_mbit_s else []
    if network.loss:
        again = "never sent again" if network.retry_ms is None else f"sent again after {network.retry_ms:g} ms"
        words.append(f"{100 * network.loss:g} % lost each way, {again}")
    return ", ".join(words)


class Wire(Protocol):
    """A connection of messages."""

    async def send(self, message: bytes) -> None:
        """Give a message away."""

    async def receive(self) -> str | bytes:
        """The next message; raises where none will come."""

    async def close(self) -> None:
        """End it."""


class Lane:
    """One way of a link, on any clock in ms.

    Args:
        delay: time on the way.
        mbit_s: bandwidth; None where the delay holds the time on the wire.
        network: for loss and retry.
        labels: of the delays' and the losses' chance.
        seed: of both.
    """

    def __init__(
        self, delay: Delay, mbit_s: float | None, network: Network, labels: tuple[str, str], seed: int
    ) -> None:
        self.delay, self.mbit_s, self.network = delay, mbit_s, network
        self._delays, self._losses = (rng_for("edge", "loop", seed, label) for label in labels)
        self._free = self._last = -math.inf

    def take(self, now: float, size: int) -> tuple[float, float]:
        """Have a message sent; returns when the wire is free again, and when it arrives (infinity: never)."""
        self._free = max(now, self._free) + wire_ms(size, self.mbit_s)
        # both are drawn in any case, so that message n meets the same delay whatever was lost before
        took = float(self.delay.draw(self._delays, 1)[0]) + float(self.network.retries(self._losses, 1)[0])
        if math.isinf(took):
            return self._free, math.inf
        self._last = max(self._last, self._free + took)
        return self._free, self._last


class Link:
    """Both ways of a network.

    Args:
        network: what is played.
        seed: of delays and losses.
    """

    def __init__(self, network: Network, seed: int = 0) -> None:
        self.network = network
        self.up = Lane(network.up, network.up_mbit_s, network, ("up", "lost"), seed)
        self.down = Lane(network.down, network.down_mbit_s, network, ("down", "back"), seed)


class Shaped:
    """A connection behind a link; an asynchronous context, whose end closes the connection.

    Args:
        wire: the real connection.
        link: delays both ways; None for the connection as it is.

    Attributes:
        lost: messages that the link lost, both ways.
    """

    def __init__(self, wire: Wire, link: Link | None) -> None:
        self.wire, self.link, self.lost = wire, link, 0
        self._loop = asyncio.get_running_loop()
        self._there: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._back: asyncio.Queue[tuple[float, str | bytes]] = asyncio.Queue()
        self._here: asyncio.Queue[str | bytes | Exception] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Shaped:
        works = [self._take()] if self.link is None else [self._carry(), self._take(), self._deliver()]
        self._tasks = [asyncio.create_task(self._watched(work)) for work in works]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.wire.close()

    async def send(self, message: bytes) -> None:
        """Give a message to the link; comes back when the wire has taken it, long before it arrives."""
        if self.link is None:
            await self.wire.send(message)
            return
        free, arrives = self.link.up.take(self._now(), len(message))
        if math.isinf(arrives):
            self.lost += 1
        else:
            self._there.put_nowait((arrives, message))
        await self._until(free)

    async def receive(self) -> str | bytes:
        """The next message that has come back.

        Raises:
            Exception: whatever ended the connection.
        """
        found = await self._here.get()
        if isinstance(found, Exception):
            self._here.put_nowait(found)  # it stays ended
            raise found
        return found

    def _now(self) -> float:
        return self._loop.time() * 1000.0

    async def _until(self, when: float) -> None:
        """Sleep until a time of :meth:`_now`; not at all where it has come."""
        left = (when - self._now()) / 1000.0
        if left > 0:
            await asyncio.sleep(left)

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._here.put_nowait(error)

    async def _carry(self) -> None:
        """From us to the real connection, each message at its time."""
        while True:
            arrives, message = await self._there.get()
            await self._until(arrives)
            await self.wire.send(message)

    async def _take(self) -> None:
        """From the real connection."""
        while True:
            message = await self.wire.receive()
            if self.link is None:
                self._here.put_nowait(message)
                continue
            _, arrives = self.link.down.take(self._now(), len(message))
            if math.isinf(arrives):
                self.lost += 1
            else:
                self._back.put_nowait((arrives, message))

    async def _deliver(self) -> None:
        """To us, each message at its time."""
        while True:
            arrives, message = await self._back.get()
            await self._until(arrives)
            self._here.put_nowait(message)
