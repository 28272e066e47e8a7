"""The operations of a transport, over Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from trenza.chassis.messages.transports.base import BrokerTransport, Outgoing, Receiver, TransportUnavailable
from trenza.chassis.messages.transports.kafka.cluster import Cluster, Topics
from trenza.chassis.messages.transports.kafka.publisher import Publisher
from trenza.chassis.messages.transports.kafka.reasons import SILENT
from trenza.chassis.messages.transports.kafka.subscription import Subscription
from trenza.chassis.messages.transports.kafka.threads import in_thread
from trenza.chassis.messages.transports.opening import BrokerUrl

__all__ = ["KafkaTransport"]

_PUBLISH_SECONDS = 8.0
_SUBSCRIBE_SECONDS = 5.0


class KafkaTransport(BrokerTransport):
    """Messages in Kafka's topics, in as many partitions as a topic has; those of one ordering key lie in one partition.

    A service that subscribes for the first time begins with the oldest message that its topics have kept. Order holds as long as
    nobody changes the number of a topic's partitions. Raises `ValueError` for a URL that says what cannot be.
    """

    def __init__(self, url: BrokerUrl) -> None:
        self._cluster = Cluster.read(url)
        self.place = self._cluster.place
        self._topics = Topics(self._cluster)
        self._subscriptions: dict[str, Subscription] = {}
        self._publisher: Publisher | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Hand over a batch; returns when all replicas that are in step have it."""
        addressed = [(self._cluster.topic_of(message.type), message) for message in messages]
        try:
            async with asyncio.timeout(_PUBLISH_SECONDS):
                if missing := self._topics.missing(topic for topic, _ in addressed):
                    await in_thread(partial(self._topics.make, missing))
                if self._publisher is None or self._publisher.retired:
                    self._publisher = Publisher(self._cluster, self._topics.forget)
                await self._publisher.publish(addressed)
        except TimeoutError as error:
            fault = SILENT if self._publisher is None else self._publisher.fault
            late = f"has not confirmed the messages in {_PUBLISH_SECONDS:.0f} s"
            raise TransportUnavailable(f"{self.place} {late}: it {fault}") from error
        except TransportUnavailable:
            self._topics.forget()
            raise

    async def subscribe(self, service: str, types: frozenset[str], receiver: Receiver) -> None:
        """Deliver these types to a service."""
        await self.unsubscribe(service)
        if not types:
            return
        self._subscriptions[service] = subscription = Subscription(self._cluster, self._topics, service, types, receiver)
        await subscription.begun(_SUBSCRIBE_SECONDS)

    async def unsubscribe(self, service: str) -> None:
        """Stop delivering to a service, and leave its group."""
        if (subscription := self._subscriptions.pop(service, None)) is not None:
            await subscription.leave()

    async def ping(self) -> None:
        """Ask the cluster for its topics."""
        await in_thread(self._topics.ask)

    async def reach(self) -> None:
        """Ask the cluster for its topics."""
        await self.ping()

    async def declare(self, service: str, types: frozenset[str]) -> None:  # noqa: ARG002 - any service may read them all
        """Make the topics. A service that comes later begins with the oldest message that they have kept."""
        await in_thread(partial(self._topics.make, {self._cluster.topic_of(type_) for type_ in types}))

    async def close(self) -> None:
        """Leave all groups; what is under way is cancelled and not committed."""
        leaving = [subscription.leave(at_once=True) for subscription in self._subscriptions.values()]
        self._subscriptions.clear()
        if self._publisher is not None:
            leaving.append(self._publisher.close())
        await asyncio.gather(*leaving)
