"""Carries messages over RabbitMQ: one topic exchange, and a quorum queue for each service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue
from aio_pika.exceptions import DeliveryError

from trenza.chassis.messages.transports.base import BrokerTransport, Outgoing, Receiver, TransportUnavailable
from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.messages.transports.rabbitmq.address import read_address
from trenza.chassis.messages.transports.rabbitmq.line import Line
from trenza.chassis.messages.transports.rabbitmq.subscription import Subscription, pause_after
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["RabbitTransport"]

_DELIVERY_LIMIT = 10_000
"""How often connections may be lost under a message before the broker gives it up. Under any limit what was delivered in vain
returns to its place; without one it may come behind what was published later."""

_log = get_logger(__name__)


class RabbitTransport(BrokerTransport):
    """Publishes on one connection and receives on another: a broker that lacks memory reads no more from those who publish.

    A service's queue has one active consumer, in whichever process; the others wait until its channel closes. What it held
    then returns to its place in the queue before the next one becomes active. (One that is cancelled instead keeps what it
    holds while the next one gets what follows: nothing here cancels one.)

    A queue stays bound to types that its service no longer takes: processes of another release may run beside this one, and
    AMQP does not tell what is bound. The inbox makes dead letters of what nobody handles.
    """

    def __init__(self, url: BrokerUrl) -> None:
        """Raises `ValueError` for a URL that cannot be right."""
        self._events = f"{url.prefix}.events"
        self._dead = f"{url.prefix}.events.dead"  # no service can be called so
        self._prefix = url.prefix
        address = read_address(url)
        self._publishing = Line(address, f"{url.prefix} publishing")
        self._receiving = Line(address, f"{url.prefix} receiving")
        self.place = self._publishing.place
        self._subscriptions: dict[str, Subscription] = {}
        self._channel: AbstractChannel | None = None
        self._connection: AbstractConnection | None = None
        """Whose channel it is."""
        self._declared: set[Subscription] = set()
        self._declaring = asyncio.Lock()
        self._refused = False

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Send a batch down one channel, in order, and wait for the confirmation of each message.

        The broker takes the messages of a channel in order: a lost connection leaves a beginning of the batch behind, without a
        gap. A queue refuses messages only when an operator's policy bounds it, and then from one on. The next batch goes message
        by message, for the queue may begin to take them again in the midst of it.
        """
        async with self._publishing.answering():
            channel = await self._ready_channel()
            await self._publishing.unblocked()
            try:
                for part in [[message] for message in messages] if self._refused else [messages]:
                    await self._send(channel, part)
            except DeliveryError:
                self._refused = True
                raise
            self._refused = False

    async def subscribe(self, service: str, types: frozenset[str], receiver: Receiver) -> None:
        """Declare the queue, bind it and consume; in the background when the broker is known to be away."""
        await self.unsubscribe(service)
        subscription = self._subscriptions[service] = Subscription(service, types, receiver)
        subscription.task = asyncio.create_task(self._serve(subscription), name=f"{service} rabbitmq")
        if not self._receiving.away:
            await subscription.tried.wait()

    async def unsubscribe(self, service: str) -> None:
        """Let a delivery under way end, then close the channel."""
        subscription = self._subscriptions.pop(service, None)
        if subscription is not None and subscription.task is not None:
            subscription.leave()
            await asyncio.wait([subscription.task])

    async def ping(self) -> None:
        """Ask for the exchange."""
        async with self._publishing.answering():
            channel = await self._ready_channel()
            await self._publishing.unblocked()
            await self._declare_exchange(channel)

    async def reach(self) -> None:
        """Log in, open the virtual host, and see whether it takes messages."""
        async with self._publishing.answering():
            await self._publishing.opened()
            await self._publishing.unblocked()

    async def declare(self, service: str, types: frozenset[str]) -> None:
        """Declare the queue of a service and bind it."""
        async with self._publishing.answering():
            await self._declare_queue(await self._ready_channel(), service, types)

    async def close(self) -> None:
        """Cancel what is under way, and close both connections."""
        tasks = [subscription.task for subscription in self._subscriptions.values() if subscription.task is not None]
        self._subscriptions.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(self._publishing.drop(), self._receiving.drop())

    async def _ready_channel(self) -> AbstractChannel:
        """The channel to publish on, once all exists that this process subscribes to."""
        async with self._declaring:
            connection = await self._publishing.opened()
            if self._channel is None or self._channel.is_closed or self._connection is not connection:
                self._declared.clear()
                channel = await connection.channel()
                await self._declare_exchange(channel)
                self._channel, self._connection = channel, connection
            for subscription in set(self._subscriptions.values()) - self._declared:
                await self._declare_queue(self._channel, subscription.service, subscription.types)
                self._declared.add(subscription)
            return self._channel

    async def _declare_exchange(self, channel: AbstractChannel) -> None:
        await channel.declare_exchange(self._events, aio_pika.ExchangeType.TOPIC, durable=True)

    async def _declare_queue(self, channel: AbstractChannel, service: str, types: frozenset[str]) -> AbstractQueue:
        """The queue of a service, and the one for what the broker gives up. As a rule they exist already."""
        await self._declare_exchange(channel)
        await channel.declare_exchange(self._dead, aio_pika.ExchangeType.FANOUT, durable=True)
        given_up = await channel.declare_queue(self._dead, durable=True, arguments={"x-queue-type": "quorum"})
        await given_up.bind(self._dead)
        queue = await channel.declare_queue(
            f"{self._prefix}.{service}",
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-single-active-consumer": True,
                "x-delivery-limit": _DELIVERY_LIMIT,
                "x-dead-letter-exchange": self._dead,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",  # under an operator's bound, what finds no room waits in the outboxes
            },
        )
        for type_ in sorted(types):
            await queue.bind(self._events, type_)
        return queue

    async def _send(self, channel: AbstractChannel, messages: Sequence[Outgoing]) -> None:
        exchange = await channel.get_exchange(self._events, ensure=False)
        packed = [(_packed(message), message.type) for message in messages]
        try:
            async with asyncio.TaskGroup() as group:  # its tasks begin in order, and get the channel in order
                tasks = [group.create_task(exchange.publish(body, type_, mandatory=False)) for body, type_ in packed]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        if any(task.cancelled() for task in tasks):  # so the library ends what waits on a connection that closes
            raise ConnectionError("the connection was closed")

    async def _serve(self, subscription: Subscription) -> None:
        """Receive until the service leaves; whatever fails is tried again, and told once."""
        failures = 0
        while not subscription.left:
            channel: AbstractChannel | None = None
            try:
                async with self._receiving.answering():
                    channel = await (await self._receiving.opened()).channel(publisher_confirms=False)
                    arrivals = await subscription.consume(
                        channel, await self._declare_queue(channel, subscription.service, subscription.types)
                    )
                if failures:
                    _log.info("messages are received again", service=subscription.service, failures=failures)
                failures = 0
                subscription.tried.set()
                await subscription.deliver(arrivals, self._receiving)
            except Exception as error:  # noqa: BLE001 - a subscription outlives whatever happens to it
                failures += 1
                if failures == 1:
                    defect = None if isinstance(error, TransportUnavailable) else error
                    facts = {"service": subscription.service, "reason": str(error)}
                    _log.warning("no messages are received, trying again", **facts, exc_info=defect)
            finally:
                subscription.tried.set()
                if channel is not None:
                    await self._receiving.free(channel)
            if failures:
                await asyncio.sleep(pause_after(failures))


def _packed(message: Outgoing) -> aio_pika.Message:
    return aio_pika.Message(
        message.body.encode(),
        message_id=str(message.id),
        type=message.type,
        content_type="application/cloudevents+json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
