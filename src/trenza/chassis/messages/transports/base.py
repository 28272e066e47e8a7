"""What a transport is: five operations that carry envelopes between the services of a deployment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

__all__ = ["Outgoing", "Receiver", "Transport", "TransportUnavailable"]

Receiver = Callable[[Sequence[str | bytes]], Awaitable[None]]
"""Stores a batch of bodies. Once it returns, the transport may acknowledge them; when it raises, it delivers them again."""


class TransportUnavailable(Exception):
    """The transport did not take the messages over, or it is not known whether it did. They are published again."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way: ``body`` is the envelope in JSON; the rest is what routing and partitioning need of it."""

    id: UUID
    type: str
    ordering_key: str | None
    body: str


class Transport(Protocol):
    """Carries messages at least once, and those of one ordering key in the order in which they were published."""

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Hand over a batch. Returns when every message is safe with the transport; raises `TransportUnavailable`."""
        ...

    async def subscribe(self, service: str, types: frozenset[str], receiver: Receiver) -> None:
        """Deliver messages of these types to a service from now on, as those are that were kept for it while it was away."""
        ...

    async def unsubscribe(self, service: str) -> None:
        """Stop delivering to a service in this process; its messages are kept. Returns when no delivery is under way."""
        ...

    async def ping(self) -> None:
        """Check that the transport answers. Raises `TransportUnavailable`."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
