"""What a service receives over RabbitMQ in this process: batches, one after the other, each until it is stored."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from trenza.chassis.messages.transports.base import Receiver, TransportUnavailable
from trenza.chassis.messages.transports.misdirected import as_sent
from trenza.chassis.messages.transports.rabbitmq.line import Line
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["Subscription", "pause_after"]

_BATCH = 200
_BATCH_BYTES = 8 * 1024 * 1024
_PREFETCH = 2 * _BATCH
"""One batch is stored while the next one arrives."""
_LONGEST_PAUSE_SECONDS = 5.0

_log = get_logger(__name__)


def pause_after(failures: int) -> float:
    """Seconds, more with each failure; spread, so that many processes do not come all at once."""
    return min(0.1 * 2.0**failures, _LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class Subscription:
    """A service, what it takes, and whether it is being handed something."""

    def __init__(self, service: str, types: frozenset[str], receiver: Receiver) -> None:
        self.service = service
        self.types = types
        self.tried = asyncio.Event()
        """Set after the first attempt to subscribe, however it ended."""
        self.task: asyncio.Task[None] | None = None
        self.left = False
        self._receiver = receiver
        self._queue = ""
        self._holding = False

    def leave(self) -> None:
        """End the task after the delivery under way, or now."""
        self.left = True
        if self.task is not None and not self._holding:
            self.task.cancel()

    async def consume(self, channel: AbstractChannel, queue: AbstractQueue) -> Arrivals:
        """Let the messages of its queue arrive."""
        arrivals = Arrivals()
        channel.close_callbacks.add(arrivals.lose)
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(arrivals.lose)
        await channel.set_qos(prefetch_count=_PREFETCH)
        self._queue = queue.name
        await queue.consume(arrivals.add)
        return arrivals

    async def deliver(self, arrivals: Arrivals, line: Line) -> None:
        """Hand over what arrives until the service leaves. Raises `TransportUnavailable` when the channel is lost."""
        while not self.left:
            await self._hand_over(await arrivals.batch(), arrivals.lost, line)

    async def _hand_over(self, batch: Sequence[AbstractIncomingMessage], lost: asyncio.Event, line: Line) -> None:
        """Try until it is stored. Nothing is handed back to the queue for a failure here: the broker counts, and gives up."""
        failures, bodies = 0, [self._body(message) for message in batch]
        while not (self.left or lost.is_set()):
            self._holding = True
            try:
                if await self._stored(bodies, first=failures == 0):
                    async with line.answering():
                        await batch[-1].ack(multiple=True)
                    return
            finally:
                self._holding = False
            failures += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_after(failures)):
                    await lost.wait()

    def _body(self, message: AbstractIncomingMessage) -> bytes:
        """What it says, if it was sent as what it says that it is.

        Who puts it straight into the queue may do so with any; it takes the right to do so, which an operator has who moves
        messages about.
        """
        key = message.routing_key or ""
        return message.body if key == self._queue else as_sent(message.body, fits=key.__eq__, sent_as=key)

    async def _stored(self, bodies: Sequence[bytes], *, first: bool) -> bool:
        try:
            await self._receiver(bodies)
        except Exception as error:  # noqa: BLE001 - whatever it is, the batch comes again; it is logged
            tell = _log.warning if first else _log.debug
            tell("received messages not stored, trying again", service=self.service, reason=f"{type(error).__name__}: {error}")
            return False
        return True


class Arrivals:
    """What has arrived on one channel, in order."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        """The channel has closed, or the queue is gone."""
        self._messages: deque[AbstractIncomingMessage] = deque()
        self._stirred = asyncio.Event()

    async def add(self, message: AbstractIncomingMessage) -> None:
        """Take a message."""
        self._messages.append(message)
        self._stirred.set()

    def lose(self, *_: object) -> None:
        """There will be no more, and none of these can be acknowledged."""
        self.lost.set()
        self._stirred.set()

    async def batch(self) -> list[AbstractIncomingMessage]:
        """The oldest messages that are there, at least one. Raises `TransportUnavailable` when the channel is lost."""
        while not self._messages and not self.lost.is_set():
            self._stirred.clear()
            await self._stirred.wait()
        if self.lost.is_set():
            raise TransportUnavailable("the connection is lost")
        batch: list[AbstractIncomingMessage] = []
        room = _BATCH_BYTES
        while self._messages and len(batch) < _BATCH and (not batch or len(self._messages[0].body) <= room):
            room -= len(self._messages[0].body)
            batch.append(self._messages.popleft())
        return batch
