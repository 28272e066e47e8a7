"""The transport within one process: what a service publishes goes straight into the inboxes of those that subscribe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trenza.chassis.messages.transports.base import Outgoing, Receiver

if TYPE_CHECKING:
    from trenza.chassis.messages.service_messages import Messages

__all__ = ["LocalTransport"]


class LocalTransport:
    """Connects the services of one process.

    Each inbox stores a batch in one transaction of its own database; the relay marks the batch as sent after the last of them.
    A crash in between repeats the batch, and the inboxes that had it already ignore it. An inbox is a table: a service that is
    stopped keeps what arrives for its next start.
    """

    place = "this process"

    def __init__(self) -> None:
        self._receivers: dict[str, tuple[frozenset[str], Receiver]] = {}

    def connect(self, *services: Messages) -> None:
        """Let these services exchange messages. Connect all of them before the first one starts."""
        for messages in services:
            messages.use(self)
            self._receivers[messages.service_name] = (messages.event_types, messages.receive)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Store each message in every inbox that takes its type. Raises what a database raises; the batch is then repeated."""
        for types, receiver in tuple(self._receivers.values()):
            if bodies := [message.body for message in messages if message.type in types]:
                await receiver(bodies)

    async def subscribe(self, service: str, types: frozenset[str], receiver: Receiver) -> None:
        """Deliver these types to a service."""
        self._receivers[service] = (types, receiver)

    async def unsubscribe(self, service: str) -> None:
        """Nothing to stop: while the process lives, a stopped service's inbox goes on storing."""

    async def ping(self) -> None:
        """A process always reaches itself."""

    async def close(self) -> None:
        """Nothing to close."""
