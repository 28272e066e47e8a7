"""``trenza migrate``: bring the databases of a deployment up to date."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from trenza.chassis.messages.handlers import Handlers
from trenza.chassis.messages.subscriptions import note_subscriptions
from trenza.chassis.runtime.assembly import open_databases
from trenza.chassis.runtime.databases import migrate, pending_migrations
from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.runtime.lock import refuse_half_restored
from trenza.cli.options import read_settings

__all__ = ["migrate_all"]


def migrate_all(*, data_dir: Path | None, deployment: str, quiet: bool = False) -> None:
    """Apply what is pending and, unless ``quiet``, say which databases that changed."""
    settings = read_settings(data_dir)
    refuse_half_restored(settings.data_dir)
    services = load_services(read_deployment(deployment).services)
    databases = open_databases(services, settings)

    async def work() -> tuple[str, ...]:
        try:
            await asyncio.gather(*(database.ping() for database in databases.values()))
            behind = await pending_migrations(databases, services)
            await migrate(databases, services)
            for service in services:
                if service.name in databases:  # so that what is published before its first start waits for it
                    await note_subscriptions(databases[service.name], Handlers(service.handlers).subscriptions)
        finally:
            for database in databases.values():
                await database.close()
        return behind

    behind = asyncio.run(work())
    if not databases and not quiet:
        typer.echo("no service has a database")
    for name, database in () if quiet else databases.items():
        state = "migrated" if name in behind else "up to date"
        typer.echo(f"{name}: {state} ({database.url.render_as_string(hide_password=True)})")
