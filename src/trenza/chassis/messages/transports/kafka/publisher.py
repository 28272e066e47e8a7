"""One idempotent producer and the thread that hears what became of its messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from trenza.chassis.messages.transports.base import Outgoing, TransportUnavailable
from trenza.chassis.messages.transports.kafka.reasons import SILENT, reason_of
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from trenza.chassis.messages.transports.kafka.cluster import Cluster

__all__ = ["Publisher"]

_LISTEN_SECONDS = 0.25
_PURGE_SECONDS = 5.0

_log = get_logger(__name__)


class Publisher:
    """Publishes until something fails, and then nothing more: what was not delivered is purged, and a new one takes over.

    A producer that went on would send the second message of a key without the first, and what a batch left behind would mix with
    its repetition.
    """

    def __init__(self, cluster: Cluster, lost: Callable[[], None]) -> None:
        """``lost`` is called in another thread when no broker is connected any more. Raises `TransportUnavailable`."""
        self._lost = lost
        self._place = cluster.place
        self.fault = SILENT
        """What was last wrong with a connection: why messages have not been confirmed, if they have not."""
        self._retired = Event()
        self._lock = RLock()  # between the messages of one batch nothing is purged
        try:
            self._producer = Producer(
                cluster.client(
                    enable_idempotence=True,
                    enable_gapless_guarantee=True,
                    acks="all",
                    partitioner="murmur2",  # where Java's clients would put a key
                    linger_ms=1,  # a batch is handed over at once; what comes alone need not wait for company
                    message_timeout_ms=0,  # they time out together, by `retire`: one by one would leave gaps
                    error_cb=self._on_error,
                )
            )
        except KafkaException as error:
            raise TransportUnavailable(f"{cluster.place} cannot be asked: {error.args[0].str()}") from error
        self._thread = Thread(target=self._listen, name="kafka publisher", daemon=True)
        self._thread.start()

    @property
    def retired(self) -> bool:
        """Whether it publishes no more."""
        return self._retired.is_set()

    async def publish(self, messages: Sequence[tuple[str, Outgoing]]) -> None:
        """Send each to its topic; returns when all are safe. Raises `TransportUnavailable`. Cancelled, it sends no more."""
        batch = _Batch(len(messages), self.retire)
        try:
            self._produce(messages, batch)
            await batch.reported
        except (KafkaException, BufferError) as error:
            self.retire()
            raise TransportUnavailable(f"Kafka takes no messages: {error}") from error
        except asyncio.CancelledError:
            self.retire()
            raise
        if batch.error is not None:
            raise TransportUnavailable(f"{self._place} {reason_of(batch.error)}")

    def retire(self) -> None:
        """Publish no more, and drop what has not been sent."""
        with self._lock:
            if not self.retired:
                self._retired.set()
                self._producer.purge(blocking=False)

    async def close(self) -> None:
        """Retire, and end the thread."""
        self.retire()
        await asyncio.to_thread(self._thread.join)

    def _produce(self, messages: Sequence[tuple[str, Outgoing]], batch: _Batch) -> None:
        with self._lock:
            if self.retired:
                raise TransportUnavailable("another publication has just failed")
            for topic, message in messages:
                key = str(message.id) if message.ordering_key is None else message.ordering_key
                self._producer.produce(
                    topic,
                    value=message.body.encode(),
                    key=key.encode(),
                    headers=[("type", message.type.encode()), ("id", str(message.id).encode())],
                    on_delivery=batch.on_delivery,
                )

    def _listen(self) -> None:
        while not self._retired.is_set():
            try:
                self._producer.poll(_LISTEN_SECONDS)
            except KafkaException as error:  # fatal ones are raised as well as told
                self._on_error(error.args[0])
        give_up = time.monotonic() + _PURGE_SECONDS
        while len(self._producer) and time.monotonic() < give_up:
            with suppress(KafkaException):
                self._producer.poll(_LISTEN_SECONDS)

    def _on_error(self, error: KafkaError) -> None:
        _log.debug("the connection to Kafka has a fault", reason=f"{self._place} {reason_of(error)}")
        if error.fatal():
            self.retire()
        if error.name() == "_ALL_BROKERS_DOWN":
            self._lost()
        else:
            self.fault = reason_of(error)


class _Batch:
    """Counts the reports of one publication, which come in the publisher's thread."""

    def __init__(self, count: int, retire: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = count
        self._retire = retire
        self.error: KafkaError | None = None
        self.reported: asyncio.Future[None] = self._loop.create_future()
        if not count:
            self.reported.set_result(None)

    def on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and self.error is None:
            self.error = error
            self._retire()
        self._left -= 1
        if self._left == 0 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self.reported.done():
            self.reported.set_result(None)
