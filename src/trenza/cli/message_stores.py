"""The databases of a deployment's services, and the messages in them, opened beside a running server or without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from trenza.chassis.clock import SystemClock
from trenza.chassis.data import Database
from trenza.chassis.failpoints import killing_at, parse_failpoint
from trenza.chassis.messages import Messages, open_broker
from trenza.chassis.runtime.databases import database_urls, open_database, pending_migrations
from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.service import Service
from trenza.chassis.settings import PlatformSettings
from trenza.cli.errors import Failure, UsageFailure
from trenza.cli.options import read_settings

__all__ = ["Scope"]


@dataclass(frozen=True)
class Scope:
    """Which services' databases a command is about: all of a deployment, or the one named."""

    data_dir: Path | None
    deployment: str
    service: str | None

    def settings(self) -> PlatformSettings:
        """The platform's settings, as they are read for these databases."""
        return read_settings(self.data_dir)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[dict[str, Messages]]:
        """The messages by service name, for the block. Raises as `databases`."""
        settings, services = self.settings(), self._services()
        async with self.databases() as databases:
            yield {
                name: Messages(database, name, services[name].handlers, services[name].schedules, SystemClock(), settings)
                for name, database in databases.items()
            }

    @asynccontextmanager
    async def databases(self) -> AsyncIterator[dict[str, Database]]:
        """The databases by service name, for the block. Raises `Failure` for those that `trenza up` has not made yet."""
        settings, services = self.settings(), self._services()
        if settings.transport_url is not None:
            open_broker(settings.transport_url.get_secret_value())  # refuses what `trenza up` would; connects to nothing
        urls = database_urls(tuple(services.values()), settings)
        if self.service is not None and self.service not in urls:
            raise UsageFailure(f"--service is {self.service!r}; those with messages: {', '.join(sorted(urls))}")
        wanted = [self.service] if self.service else list(urls)
        databases = {}
        failing = ExitStack()
        try:
            if settings.failpoint is not None:
                failing.enter_context(killing_at(*parse_failpoint(settings.failpoint)))
            for name in wanted:
                url = urls[name]
                if url.get_backend_name() == "sqlite" and not await asyncio.to_thread(Path(url.database or "").exists):
                    raise Failure(f"{name} has no database at {url.database} yet: name the right --data-dir, or start it once")
                databases[name] = open_database(name, url)
                await databases[name].ping()
            if behind := await pending_migrations(databases, tuple(services.values())):
                raise Failure(f"migrations are pending for {', '.join(behind)}: run `trenza migrate` first")
            yield databases
        finally:
            failing.close()
            for database in databases.values():
                await database.close()

    def _services(self) -> dict[str, Service]:
        return {service.name: service for service in load_services(read_deployment(self.deployment).services)}
