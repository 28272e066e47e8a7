"""The transport over AWS: EventBridge and a topic of SNS take messages, queues of SQS hold them for each service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from urllib.parse import parse_qsl, urlsplit

from trenza.chassis.messages.transports.aws_clients import CALL_SECONDS, FAILURES, Clients, told
from trenza.chassis.messages.transports.aws_publishing import Publisher
from trenza.chassis.messages.transports.aws_queues import Interruptions, Queue, QueueConsumer
from trenza.chassis.messages.transports.aws_topology import Found, Topology
from trenza.chassis.messages.transports.base import Outgoing, Receiver, Transport, TransportUnavailable
from trenza.chassis.messages.transports.opening import BrokerUrl

__all__ = ["AwsTransport"]

_PATIENCE_SECONDS = 4.0
"""How long to wait until everything is found on AWS. With `CALL_SECONDS` this stays below ten."""


class AwsTransport(Transport):
    """``sqs://region``; credentials and a different endpoint as for every AWS tool (``AWS_*``).

    Messages with an ordering key go through a FIFO topic into a FIFO queue for each service, the others through a bus of
    EventBridge into a plain one. What is missing is made, unless the URL says ``?create=false``: then it is named.
    """

    def __init__(self, url: BrokerUrl) -> None:
        self._region, self._create = _read(url.text)
        self.place = f"AWS in {self._region}"
        self._prefix = url.prefix
        self._stack = AsyncExitStack()
        self._clients: Clients | None = None
        self._types: dict[str, frozenset[str]] = {}
        self._consumers: dict[str, tuple[QueueConsumer, QueueConsumer]] = {}
        self._stopped: list[QueueConsumer] = []
        self._wanted = 1
        """Rises whenever there may be something to look for or to make, and is reached by looking."""
        self._found_for = 0
        self._found: tuple[Found, Publisher] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Hand over a batch, once all subscriptions of this process exist."""
        try:
            _, publisher = await self._found_soon()
            await publisher.publish(messages)
        except TransportUnavailable:
            self._look_again()
            raise
        except FAILURES as error:
            self._look_again()
            raise TransportUnavailable(f"{self.place} did not take the messages: {told(error)}") from error

    async def subscribe(self, service: str, types: frozenset[str], receiver: Receiver) -> None:
        """Poll the queues of a service from now on, or from when AWS is reached."""
        await self.unsubscribe(service)
        self._types[service] = types
        self._look_again()
        interruptions = Interruptions(service)
        self._consumers[service] = (
            QueueConsumer(lambda: self._queue(service, 0), self._look_again, receiver, interruptions),
            QueueConsumer(lambda: self._queue(service, 1), self._look_again, receiver, interruptions),
        )
        for consumer in self._consumers[service]:
            consumer.start()
        with suppress(TransportUnavailable, *FAILURES):  # the consumers tell of it, and go on trying
            await self._found_soon()

    async def unsubscribe(self, service: str) -> None:
        """Stop polling; returns when no delivery is under way. What the queues hold stays there."""
        self._types.pop(service, None)
        consumers = self._consumers.pop(service, ())
        self._stopped = [*consumers, *(consumer for consumer in self._stopped if consumer.is_busy)]
        await asyncio.gather(*(consumer.stop() for consumer in consumers))

    async def ping(self) -> None:
        """Ask for the topic, once everything is found. Names what is missing when nothing may be made."""
        try:
            found, _ = await self._found_soon()
            async with asyncio.timeout(CALL_SECONDS):
                await (await self._opened()).sns.get_topic_attributes(TopicArn=found.topic)
        except TransportUnavailable:
            self._look_again()
            raise
        except FAILURES as error:
            self._look_again()
            raise TransportUnavailable(f"{self.place} does not answer: {told(error)}") from error

    async def close(self) -> None:
        """Give back what is being stored, and close the connections."""
        consumers = [*self._stopped, *(consumer for pair in self._consumers.values() for consumer in pair)]
        self._consumers.clear()
        await asyncio.gather(*(consumer.abandon() for consumer in consumers))
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await self._stack.aclose()

    def _look_again(self) -> None:
        self._wanted += 1

    async def _queue(self, service: str, which: int) -> Queue:
        found, _ = await self._found_now()
        if service not in found.queues:
            raise TransportUnavailable(f"{service} is not subscribed any more")
        return (await self._opened()).sqs, found.queues[service][which]

    async def _found_soon(self) -> tuple[Found, Publisher]:
        """Everything, within seconds. Whoever else waits for it goes on waiting."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self._found_now()

    async def _found_now(self) -> tuple[Found, Publisher]:
        """Everything that this process needs on AWS. All who ask while it is looked for share one look, and its failure."""
        while self._found is None or self._found_for != self._wanted:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look(), name="topology on AWS")
            await asyncio.shield(self._looking)
        return self._found

    async def _look(self) -> None:
        wanted = self._wanted
        clients = await self._opened()
        found = await Topology(clients, self._prefix, create=self._create).found(dict(self._types))
        if self._found is None or self._found[0].topic != found.topic:
            self._found = found, Publisher(clients, found.bus, found.topic)
        else:
            self._found = found, self._found[1]  # it bounds the calls at once, also of those under way
        self._found_for = wanted

    async def _opened(self) -> Clients:
        """The connections. Only a look opens them, and there is one at a time."""
        if self._clients is None:
            self._clients = await Clients.opened(self._region, self._stack)
        return self._clients


def _read(text: str) -> tuple[str, bool]:
    """The region, and whether to make what is missing. Raises `ValueError`."""
    parts = urlsplit(text)
    if not parts.hostname or parts.netloc != parts.hostname or parts.path.strip("/"):
        raise ValueError("it is sqs://region, such as sqs://eu-west-1; credentials come from AWS_* as for every AWS tool")
    settings = dict(parse_qsl(parts.query, keep_blank_values=True))
    create = {"true": True, "false": False}.get(settings.pop("create", "true"))
    if create is None or settings:
        raise ValueError("after its region come prefix=… and create=true or create=false, and nothing else")
    return parts.hostname, create
