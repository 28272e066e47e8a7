"""``trenza migrate``: bring the databases of a deployment up to date."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from trenza.chassis.runtime.assembly import open_databases
from trenza.chassis.runtime.databases import migrate, pending_migrations
from trenza.chassis.runtime.deployment import load_services, read_deployment
from trenza.chassis.runtime.lock import refuse_half_restored
from trenza.cli.options import read_settings

__all__ = ["migrate_all"]


def migrate_all(*, data_dir: Path | None, deployment: str) -> None:
    """Apply what is pending and say which databases that changed."""
    settings = read_settings(data_dir)
    refuse_half_restored(settings.data_dir)
    services = load_services(
        tuple(name for process in read_deployment(deployment).processes.values() for name in process.services)
    )
    databases = open_databases(services, settings)

    async def work() -> tuple[str, ...]:
        try:
            await asyncio.gather(*(database.ping() for database in databases.values()))
            behind = await pending_migrations(databases, services)
            await migrate(databases, services)
        finally:
            for database in databases.values():
                await database.close()
        return behind

    behind = asyncio.run(work())
    if not databases:
        typer.echo("no service has a database")
    for name, database in databases.items():
        state = "migrated" if name in behind else "up to date"
        typer.echo(f"{name}: {state} ({database.url.render_as_string(hide_password=True)})")
