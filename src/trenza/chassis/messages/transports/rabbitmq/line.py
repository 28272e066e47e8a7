"""A connection to RabbitMQ: opened when it is wanted, dropped when it fails, and what fails is told in our words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError
from yarl import URL

from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.messages.transports.rabbitmq.reasons import reason_of

__all__ = ["Line"]

_PATIENCE_SECONDS = 7.0
"""Within which the broker has answered, or counts as away."""
_CLOSE_SECONDS = 1.0
"""How long to wait for the broker's farewell; what it held for us is free as soon as the connection is gone."""
_FAILURES = (AMQPError, OSError, RuntimeError)
"""What the library raises when something is wrong with connection or channel; time-outs are among the second."""

for _library in ("aio_pika", "aiormq"):  # they write whole messages at lower levels; what fails in them is told here
    logging.getLogger(_library).setLevel(logging.CRITICAL)


class Line:
    """One connection."""

    def __init__(self, url: URL, purpose: str) -> None:
        """``purpose`` is what the broker's own tools call it, unless the URL says that."""
        self._url = url if "name" in url.query else url.update_query(name=purpose)
        self.place = f"RabbitMQ at {url.host_port_subcomponent}"
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()
        self.away = False
        """Whether the last attempt to connect has failed."""

    async def opened(self) -> AbstractConnection:
        """The connection. To be called within `answering`."""
        async with self._opening:
            if self._connection is not None and self._connection.connected.is_set():
                return self._connection
            await self.drop()
            connection = aio_pika.Connection(self._url)
            try:
                await connection.connect()
            except BaseException:
                self.away = True
                await connection.close()  # or it would try to when it is collected, perhaps without a loop
                raise
            self._connection, self.away = connection, False
            return connection

    async def unblocked(self) -> None:
        """Wait until the broker takes messages: one that lacks memory or disk says so to those that publish."""
        if self._connection is not None and self._connection.transport is not None:
            await self._connection.transport.ready()

    async def drop(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            async with _own_cancellations(), asyncio.timeout(_CLOSE_SECONDS):
                await connection.close()
        except _FAILURES:
            await connection.close()  # it has let go of its socket, and has only to note that

    async def free(self, channel: AbstractChannel) -> None:
        """Close a channel, if need be with its connection, so that others get what it holds."""
        try:
            async with _own_cancellations(), asyncio.timeout(_CLOSE_SECONDS):
                await channel.close()
        except _FAILURES:
            await self.drop()

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Ask the broker something in here. What fails or takes too long raises `TransportUnavailable`, and drops the connection.

        A blocked connection is kept: the broker would not notice its end, and would have one more at each attempt.
        """
        try:
            async with _own_cancellations(), asyncio.timeout(_PATIENCE_SECONDS):
                yield
        except _FAILURES as error:
            blocked = await self._blocked()
            if isinstance(error, OSError) and not blocked:
                await self.drop()
            raise TransportUnavailable(f"{self.place} {reason_of(error, blocked=blocked, patience=_PATIENCE_SECONDS)}") from error

    async def _blocked(self) -> bool:
        if self._connection is None or not self._connection.connected.is_set():
            return False
        try:
            async with asyncio.timeout(0):
                await self.unblocked()
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def _own_cancellations() -> AsyncIterator[None]:
    """Raise `ConnectionError` when it is the library that cancels: so it ends what waits on a connection that closes."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionError("the connection was closed") from None
