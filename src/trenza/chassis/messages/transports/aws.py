"""The transport over AWS: EventBridge and a topic of SNS take messages, queues of SQS hold them for each service."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

from trenza.chassis.messages.transports.aws_clients import CALL_SECONDS, FAILURES, Clients, told
from trenza.chassis.messages.transports.aws_publishing import Publisher
from trenza.chassis.messages.transports.aws_queues import Interruptions, Queue, QueueConsumer
from trenza.chassis.messages.transports.aws_topology import Found, MissingOnAws, Topology
from trenza.chassis.messages.transports.base import BrokerTransport, Outgoing, Receiver, TransportUnavailable
from trenza.chassis.messages.transports.opening import BrokerUrl
from trenza.chassis.messages.transports.options import Options

__all__ = ["AwsTransport"]

_ENDPOINT = re.compile(r"https?://[^/?#\s]+(/[^?#\s]*)?", re.ASCII)
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)

_DECLARE_SECONDS = 60.0
"""How long everything of one service may take that is asked for once: some thirty calls, one after the other."""
_PATIENCE_SECONDS = 4.0
"""How long to wait until everything is found on AWS. With `CALL_SECONDS` this stays below ten."""


class AwsTransport(BrokerTransport):
    """``sqs://region``; credentials and a different endpoint as for every AWS tool (``AWS_*``).

    Messages with an ordering key go through a FIFO topic into a FIFO queue for each service, the others through a bus of
    EventBridge into a plain one. What is missing is made, unless the URL says ``?create=false``: then it is named.
    """

    def __init__(self, url: BrokerUrl) -> None:
        self._region, self._create = _read(url)
        self.place = f"AWS in {self._region}"
        self._prefix = url.prefix
        self._stack = AsyncExitStack()
        self._clients: Clients | None = None
        self._opening = asyncio.Lock()
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

    async def reach(self) -> None:
        """Ask for the bus, and for the topic where there is one; with ``create=false`` both must be there."""
        try:
            async with self._answering(CALL_SECONDS):
                await Topology(await self._opened(), self._prefix, create=False).found({})
        except MissingOnAws:
            if not self._create:
                raise

    async def declare(self, service: str, types: frozenset[str]) -> None:
        """Make the queues of a service and what fills them; with ``create=false``, name what is missing."""
        async with self._answering(_DECLARE_SECONDS):
            await Topology(await self._opened(), self._prefix, create=self._create).found({service: types})

    async def close(self) -> None:
        """Give back what is being stored, and close the connections."""
        consumers = [*self._stopped, *(consumer for pair in self._consumers.values() for consumer in pair)]
        self._consumers.clear()
        await asyncio.gather(*(consumer.abandon() for consumer in consumers))
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await self._stack.aclose()

    @asynccontextmanager
    async def _answering(self, seconds: float) -> AsyncIterator[None]:
        """Ask AWS something in here, apart from what this process looks for by itself."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except FAILURES as error:
            raise TransportUnavailable(f"{self.place} does not answer: {told(error)}") from error

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
        """The connections."""
        async with self._opening:
            if self._clients is None:
                self._clients = await Clients.opened(self._region, self._stack)
            return self._clients


def _read(url: BrokerUrl) -> tuple[str, bool]:
    """The region, and whether to make what is missing. Raises `ValueError`."""
    parts = urlsplit(url.text)
    if not parts.hostname or parts.netloc != parts.hostname or parts.path.strip("/"):
        raise ValueError("it is sqs://region, such as sqs://eu-west-1; credentials come from AWS_* as for every AWS tool")
    if not _REGION.fullmatch(parts.hostname):
        raise ValueError(
            f"{parts.hostname!r} is no region; write lower-case letters, digits and hyphens, such as sqs://eu-west-1"
        )
    options = Options(url.text, known={"create"})
    create = options.choice("create", ("true", "false"), default="true")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EVENTBRIDGE", "AWS_ENDPOINT_URL_SNS", "AWS_ENDPOINT_URL_SQS"):
        if (endpoint := os.environ.get(name)) and not _ENDPOINT.fullmatch(endpoint):
            options.refuse(f"{name}, where AWS is found, is no address; write https://host or http://host:port, or unset it")
    options.refuse_invalid()
    return parts.hostname, create == "true"
