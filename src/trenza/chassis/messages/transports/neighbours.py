"""The transport between processes without a broker: events go into the databases of the services that take them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa

from trenza.chassis.clock import Clock
from trenza.chassis.data import Database, DatabaseUnavailable
from trenza.chassis.messages.news import WORK_NOTICE, News
from trenza.chassis.messages.reception import Reception
from trenza.chassis.messages.subscriptions import noted_consumers
from trenza.chassis.messages.tables import subscriptions
from trenza.chassis.messages.transports.base import Outgoing, TransportUnavailable
from trenza.chassis.messages.transports.local import LocalTransport

__all__ = ["NeighbourTransport"]


class NeighbourTransport(LocalTransport):
    """Connects the services of this process directly, and those of others through their databases.

    Every service notes in its own database what it takes (`subscriptions`); here its inbox is filled by that note, whether its
    process runs or not. One that has never run has no note, and misses what is published until then. A database that is away
    holds up the outboxes of this process: where services do not share a server, a broker keeps them apart.
    """

    place = "the databases of the other services"

    def __init__(self, neighbours: Mapping[str, Database], clock: Clock) -> None:
        """``neighbours`` are the databases of services that run elsewhere, by name; they need not exist. `close` closes them."""
        super().__init__()
        self._neighbours = [_Neighbour(name, database, clock) for name, database in neighbours.items()]

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Store each message in every inbox that takes its type. Raises `TransportUnavailable`; the batch is then repeated."""
        await super().publish(messages)
        try:
            await asyncio.gather(*(neighbour.store(messages) for neighbour in self._neighbours))
        except DatabaseUnavailable as error:
            raise TransportUnavailable(str(error)) from error

    async def ping(self) -> None:
        """Ask every database that exists. Raises `TransportUnavailable`."""
        try:
            await asyncio.gather(*(neighbour.ping() for neighbour in self._neighbours))
        except DatabaseUnavailable as error:
            raise TransportUnavailable(str(error)) from error

    async def close(self) -> None:
        """Close the databases."""
        await asyncio.gather(*(neighbour.database.close() for neighbour in self._neighbours))


class _Neighbour:
    """A service that runs in other processes, as its database shows it."""

    def __init__(self, name: str, database: Database, clock: Clock) -> None:
        self.database = database
        self._reception = Reception(database, name, clock)
        self._news = News(database, name)
        self._noting = False

    async def store(self, messages: Sequence[Outgoing]) -> None:
        """Put into its inbox what it takes."""
        if not await self._notes():
            return
        consumers = await noted_consumers(self.database)
        if bodies := [message.body for message in messages if message.type in consumers]:
            await self._reception.receive(bodies, lambda type_: consumers.get(type_, ()))
            self._news.announce(WORK_NOTICE)

    async def ping(self) -> None:
        """Ask its database for a sign of life, where it has one."""
        if await self._exists():
            await self.database.ping()

    async def _notes(self) -> bool:
        """Whether the service has run here before; from then on it always has."""
        if not self._noting and await self._exists():
            async with self.database.read() as connection:
                self._noting = await connection.run_sync(lambda bound: sa.inspect(bound).has_table(subscriptions.name))
        return self._noting

    async def _exists(self) -> bool:
        """Whether there is a database. Opening a file of SQLite would make it."""
        return not self.database.is_sqlite or await asyncio.to_thread(Path(self.database.url.database or "").exists)
