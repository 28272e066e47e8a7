"""What a transport is: five operations that carry envelopes between the services of a deployment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

__all__ = ["BrokerTransport", "Outgoing", "Receiver", "Transport", "TransportUnavailable"]

Receiver = Callable[[Sequence[str | bytes]], Awaitable[None]]
"""Stores a batch of bodies. Once it returns, the transport may acknowledge them; when it raises, it delivers them again."""


class TransportUnavailable(Exception):
    """The transport did not take the messages over, or it is not known whether it did. They are published again.

    The message is for operators: which broker it is, what is wrong, and what helps, if anything does. It holds no secret.
    """


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way: ``body`` is the envelope in JSON; the rest is what routing and partitioning need of it."""

    id: UUID
    type: str
    ordering_key: str | None
    body: str


class Transport(Protocol):
    """Carries messages at least once, and those of one ordering key in the order in which they were published.

    Making one connects to nothing. A transport whose broker goes away connects anew by itself, and then sees to it that all its
    subscriptions exist before it publishes anything: what is published to nobody is gone. One conformance suite
    (``tests/conformance``) holds every transport to what is said here.
    """

    place: str
    """Which broker it is and where, for operators: ``Kafka at host:9092``. Never a user or a password."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Hand over a batch. Returns when every message is safe with the transport; raises `TransportUnavailable`.

        Some of the batch may have been taken over when it raises, those of one key never with a gap: not the second without the
        first. A type to which nobody subscribes is no error.
        """
        ...

    async def subscribe(self, service: str, types: frozenset[str], receiver: Receiver) -> None:
        """Deliver messages of these types to a service from now on, as those are that were kept for it while it was away.

        Bodies come in batches, in their order within each key, one batch of a key at a time over all processes of the service;
        ``receiver`` has stored one when it returns. When it raises, or the process ends, they come again, before later ones of
        their keys. A subscription outlives its process. While the broker is away this returns within seconds, and the transport
        goes on trying.
        """
        ...

    async def unsubscribe(self, service: str) -> None:
        """Stop delivering to a service in this process; its messages are kept. Returns when no delivery is under way."""
        ...

    async def ping(self) -> None:
        """Check that the transport answers. Raises `TransportUnavailable`, within seconds."""
        ...

    async def close(self) -> None:
        """Stop delivering and close the connections. A delivery under way is cancelled, and made again elsewhere."""
        ...


class BrokerTransport(Transport, Protocol):
    """A transport over a broker that others run, with what its operators ask beside the services."""

    async def reach(self) -> None:
        """Check that the broker lets us in, and make nothing there. Raises `TransportUnavailable`, within seconds."""
        ...

    async def declare(self, service: str, types: frozenset[str]) -> None:
        """Have messages of these types kept for a service from now on, as if it had run already; nothing is received.

        Raises `TransportUnavailable`. Declaring what exists changes nothing.
        """
        ...
