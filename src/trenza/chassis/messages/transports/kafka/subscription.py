"""One service's membership in its consumer group: the thread that reads, and what it owes when partitions change hands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from trenza.chassis.messages.transports.base import Receiver, TransportUnavailable
from trenza.chassis.messages.transports.kafka.delivery import Delivery
from trenza.chassis.messages.transports.kafka.reasons import reason_of
from trenza.chassis.messages.transports.misdirected import as_sent
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from trenza.chassis.messages.transports.kafka.cluster import Cluster, Topics

__all__ = ["Subscription"]

_BATCH = 200
"""As many as a relay publishes at once; the bytes are bounded by the queue of the client."""
_QUEUE_KIBIBYTES = 8 * 1024
_READ_SECONDS = 0.25
"""How long a read waits; how soon a thread sees that it is to end."""
_STAY_SECONDS = 0.2
"""How often a member that waits for its receiver answers the group."""
_HAND_OVER_SECONDS = 5.0
"""How long a delivery under way may hold up a rebalance before it is cancelled."""
_LEAVE_SECONDS = 6.0
"""How long a leave waits for Kafka; its client gives up telling the group after five seconds, but a commit never."""
_SESSION_SECONDS = 10
"""How long a member that was killed keeps its partitions."""
_POLL_SECONDS = 20
"""How long a member that hangs may hold up a rebalance."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

_log = get_logger(__name__)


class Subscription:
    """Reads a service's topics until it is told to leave.

    A batch is committed after the receiver has stored it; until then nothing later is taken. Partitions go to another member only
    when no delivery of theirs is under way: it ends and is committed, or it is cancelled.
    """

    def __init__(self, cluster: Cluster, topics: Topics, service: str, types: frozenset[str], receiver: Receiver) -> None:
        """Must be made in the loop in which the receiver runs."""
        self._cluster = cluster
        self._topics = topics
        self._service = service
        self._types = {type_.encode() for type_ in types}
        self._names = sorted({cluster.topic_of(type_) for type_ in types})
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._begun, self._ended = asyncio.Event(), asyncio.Event()
        self._leaving, self._at_once = Event(), Event()
        self._joining, self._joined = Lock(), False
        self._interruptions = 0
        """Since messages were last received."""
        self._told = set[str]()
        """The kinds of faults that have been told since then: an attempt each second would fill the log."""
        self._broken = self._paused = False
        self._owned: set[tuple[str, int]] = set()
        self._ahead: list[Message] = []
        self._batch: list[Message] = []
        self._delivery: Delivery | None = None
        Thread(target=self._run, name=f"kafka subscription of {service}", daemon=True).start()

    async def begun(self, seconds: float) -> None:
        """Returns when the topics exist and the group is being joined, or after some seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._begun.wait(), seconds)

    async def leave(self, *, at_once: bool = False) -> None:
        """End the delivery under way, or ``at_once`` cancel it, and leave the group.

        A thread that has not joined has nothing to give back, and may wait for an answer of Kafka: it is left alone with that.
        So is one that has no delivery under way and gets no answer to its last commit or its leaving.
        """
        if at_once:
            self._at_once.set()
        with self._joining:
            self._leaving.set()
            joined = self._joined
        while joined and not self._ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _LEAVE_SECONDS)
            joined = (delivery := self._delivery) is not None and not delivery.wait(0)

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._leaving.is_set() and not self._loop.is_closed():
            try:
                self._topics.make(self._names)
                self._join()
                pause = _SHORTEST_PAUSE
            except Exception as error:  # noqa: BLE001 - a subscription goes on trying, whatever it was
                tell = _log.debug if self._interruptions else _log.warning
                self._interruptions += 1
                defect = None if isinstance(error, TransportUnavailable) else error
                tell("no messages are received, trying again", service=self._service, reason=str(error), exc_info=defect)
                self._leaving.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        self._tell(self._ended)

    def _join(self) -> None:
        """Be a member, unless somebody has asked to leave: whoever asks from now on waits until the group is left."""
        with self._joining:
            if self._leaving.is_set():
                return
            self._joined = True
        try:
            self._be_member()
        finally:
            with self._joining:
                self._joined = False

    def _be_member(self) -> None:
        """Deliver until it is time to leave or to begin anew."""
        self._broken = False
        consumer = Consumer(
            self._cluster.client(
                group_id=self._cluster.group_of(self._service),
                enable_auto_commit=False,
                enable_auto_offset_store=False,
                auto_offset_reset="earliest",
                partition_assignment_strategy="range",
                session_timeout_ms=_SESSION_SECONDS * 1000,
                heartbeat_interval_ms=1000,
                max_poll_interval_ms=_POLL_SECONDS * 1000,
                fetch_max_bytes=_QUEUE_KIBIBYTES * 1024,
                queued_max_messages_kbytes=_QUEUE_KIBIBYTES,
                error_cb=self._on_error,
            )
        )
        try:
            consumer.subscribe(self._names, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
            self._tell(self._begun)
            while not (self._leaving.is_set() or self._broken or self._loop.is_closed()):
                self._batch = self._read(consumer)
                self._deliver(consumer)
        finally:
            self._batch, self._ahead = [], []
            consumer.close()
            self._owned.clear()

    def _read(self, consumer: Consumer) -> list[Message]:
        """What is there, once something is. A read that waited for a whole batch would hold up a single message."""
        if self._paused:
            self._paused = False
            consumer.resume(consumer.assignment())
        read, self._ahead = self._ahead[:_BATCH], self._ahead[_BATCH:]
        if not read and (first := consumer.poll(_READ_SECONDS)) is not None:
            read = [first, *consumer.consume(_BATCH - 1, 0)]
        if self._interruptions and self._is_heard(consumer, read):
            _log.info("messages are received again", service=self._service, failures=self._interruptions)
            self._interruptions = 0
            self._told.clear()
        return [] if self._broken else [message for message in read if self._is_ours(message)]

    def _is_heard(self, consumer: Consumer, read: Sequence[Message]) -> bool:
        """Whether Kafka answers again for all our partitions. A client connects anew by itself, and tells nobody."""
        if any(message.error() is None for message in read):
            return True
        with suppress(KafkaException):
            topics = consumer.list_topics(timeout=_STAY_SECONDS).topics
            partitions = [partition for name in self._names if name in topics for partition in topics[name].partitions.values()]
            return bool(partitions) and all(partition.leader >= 0 for partition in partitions)
        return False

    def _is_ours(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return _place(message) in self._owned
        self._on_error(error)
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:  # made anew it begins anew, and so must we
            self._topics.forget()
            self._broken = True
        return False

    def _deliver(self, consumer: Consumer) -> None:
        """Have the batch stored and commit it; again and again while the receiver raises."""
        pause = _SHORTEST_PAUSE
        while self._batch and not self._leaving.is_set() and not self._broken:
            self._delivery = delivery = Delivery(self._loop, self._receiver, self._bodies())
            while not delivery.wait(_STAY_SECONDS) and not self._loop.is_closed():
                if self._at_once.is_set():
                    delivery.cancel()
                self._stay(consumer)
            self._delivery = None
            if delivery.stored:
                self._commit(consumer)
            elif self._batch and not self._leaving.is_set():
                _log.warning("messages not received", service=self._service, messages=len(self._batch), error=delivery.error)
                self._wait(consumer, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _bodies(self) -> list[bytes]:
        """The bodies of our types. What does not say its type is for the inbox to judge.

        One that is of no service whose topic it came by becomes a dead letter.
        """
        ours = (message for message in self._batch if (said := _type_of(message)) is None or said in self._types)
        return [self._body(message.value() or b"", message.topic() or "") for message in ours]

    def _body(self, body: bytes, topic: str) -> bytes:
        return as_sent(body, fits=lambda type_: self._cluster.topic_of(type_) == topic, sent_as=f"one of {topic}")

    def _wait(self, consumer: Consumer, seconds: float) -> None:
        while seconds > 0 and not self._leaving.wait(min(seconds, _STAY_SECONDS)):
            self._stay(consumer)
            seconds -= _STAY_SECONDS

    def _stay(self, consumer: Consumer) -> None:
        """Remain a member while no message is wanted; partitions may come and go meanwhile."""
        self._paused = True
        consumer.pause(consumer.assignment())
        self._ahead += consumer.consume(_BATCH, 0)

    def _commit(self, consumer: Consumer) -> None:
        """Commit the batch, of which nothing is left then. One that cannot be committed comes again, here or elsewhere."""
        after: dict[tuple[str, int], int] = {}
        for message in self._batch:
            after[_place(message)] = (message.offset() or 0) + 1
        self._batch = []
        if not after or self._broken:
            return
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in after.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            _log.warning("messages stored but not committed", service=self._service, error=str(error.args[0]))

    def _on_assign(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._paused = True  # one that was taken from us while it was paused may have come back as it was
        self._owned |= {(partition.topic, partition.partition) for partition in partitions}

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Another member waits for these: let the delivery under way end, for a while."""
        if (delivery := self._delivery) is not None:
            seconds = _HAND_OVER_SECONDS
            while seconds > 0 and not self._at_once.is_set() and not delivery.wait(_STAY_SECONDS):
                seconds -= _STAY_SECONDS
            delivery.end()
            if delivery.stored:
                self._commit(consumer)
        self._drop(partitions)

    def _on_lost(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Another member may have these already."""
        if self._delivery is not None:
            self._delivery.end()
        self._drop(partitions)

    def _drop(self, partitions: Sequence[TopicPartition]) -> None:
        self._owned -= {(partition.topic, partition.partition) for partition in partitions}
        self._batch = [message for message in self._batch if _place(message) in self._owned]
        self._ahead = [message for message in self._ahead if _place(message) in self._owned]

    def _on_error(self, error: KafkaError) -> None:
        tell = _log.debug if error.name() in self._told else _log.warning
        tell("the connection to Kafka has a fault", service=self._service, reason=f"{self._cluster.place} {reason_of(error)}")
        self._told.add(error.name())
        self._broken |= error.fatal()
        self._interruptions += 1

    def _tell(self, event: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(event.set)


def _place(message: Message) -> tuple[str, int]:
    return message.topic() or "", message.partition() or 0


def _type_of(message: Message) -> bytes | None:
    said = dict(message.headers() or ()).get("type")
    return said if isinstance(said, bytes) else None
