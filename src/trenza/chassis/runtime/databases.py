"""Which database each service has, by settings alone, and bringing all of them up to date."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from trenza.chassis.data import Database
from trenza.chassis.service import Service
from trenza.chassis.settings import CannotStart, InvalidSettings, PlatformSettings, load_settings
from trenza.chassis.telemetry.logs import get_logger

__all__ = [
    "PendingMigrations",
    "database_url",
    "database_urls",
    "migrate",
    "migrate_or_refuse",
    "neighbour_databases",
    "open_database",
    "pending_migrations",
    "service_prefix",
]

_log = get_logger(__name__)


class PendingMigrations(CannotStart):
    """Production does not migrate by itself: some services' databases are behind their code."""

    def __init__(self, services: tuple[str, ...]) -> None:
        super().__init__(f"migrations are pending for {', '.join(services)}: run `trenza migrate` first")
        self.services = services


class _Override(BaseSettings):
    """``TRENZA_<SERVICE>_DATABASE_URL``; the prefix is given when it is read."""

    model_config = SettingsConfigDict(extra="ignore")

    database_url: str | None = None


def service_prefix(service_name: str) -> str:
    """What the environment variables of a service start with: ``TRENZA_PHOTOS_``."""
    return f"TRENZA_{service_name.upper().replace('-', '_')}_"


def database_url(service_name: str, settings: PlatformSettings) -> URL:
    """The URL of a service's database: its own override, else the shared one, else a SQLite file in the data folder.

    Raises `InvalidSettings` for a URL that cannot be used, without quoting it (it may hold a password).
    """
    prefix = service_prefix(service_name)
    own = load_settings(_Override, _env_prefix=prefix).database_url
    named, variable = (own, f"{prefix}DATABASE_URL") if own else (settings.database_url, "TRENZA_DATABASE_URL")
    if not named:
        return URL.create("sqlite+aiosqlite", database=str(settings.data_dir / "db" / f"{service_name}.sqlite3"))
    try:
        url = make_url(named)
    except ArgumentError:
        raise InvalidSettings((f"{variable} is no database URL: write postgresql://user:password@host/database",)) from None
    match url.get_backend_name():
        case "postgresql" | "postgres":
            if find_spec("asyncpg") is None:
                raise InvalidSettings((f"{variable} names PostgreSQL: pip install 'trenza[postgres]'",))
            return url.set(drivername="postgresql+asyncpg")
        case "sqlite" if url.database:
            return url.set(drivername="sqlite+aiosqlite")
        case other:
            raise InvalidSettings((f"{variable} names {other}: use postgresql://… or sqlite:///path/to/file",))


def database_urls(services: tuple[Service, ...], settings: PlatformSettings) -> dict[str, URL]:
    """The URL of each service that has a database, by its name. Raises `InvalidSettings` with the problems of all."""
    problems: list[str] = []
    urls = {}
    for service in services:
        if service.has_database:
            try:
                urls[service.name] = database_url(service.name, settings)
            except InvalidSettings as error:
                problems.extend(problem for problem in error.problems if problem not in problems)
    if problems:
        raise InvalidSettings(tuple(problems))
    return urls


def open_database(service_name: str, url: URL) -> Database:
    """A service's database; in PostgreSQL its tables lie in a schema that is named after it."""
    return Database(url, schema=service_name.replace("-", "_"))


def neighbour_databases(names: Iterable[str], settings: PlatformSettings) -> dict[str, Database]:
    """The databases that services of other processes would have, by name. Nothing connects yet. Raises `InvalidSettings`."""
    return {name: open_database(name, database_url(name, settings)) for name in names}


async def pending_migrations(databases: dict[str, Database], services: tuple[Service, ...]) -> tuple[str, ...]:
    """The names of the services whose databases are behind their code."""
    from trenza.chassis.data.migrations import pending  # noqa: PLC0415 - Alembic is a tenth of a second of importing the API

    return tuple([s.name for s in services if s.name in databases and await pending(databases[s.name], s.migrations)])


async def migrate(databases: dict[str, Database], services: tuple[Service, ...]) -> None:
    """Bring every service's database up to date. Safe beside other processes that do the same."""
    from trenza.chassis.data.migrations import pending, upgrade  # noqa: PLC0415 - as above

    for service in services:
        database = databases.get(service.name)
        if database is not None and await pending(database, service.migrations):
            await upgrade(database, service.migrations)
            _log.info("database migrated", database=service.name)


async def migrate_or_refuse(databases: dict[str, Database], services: tuple[Service, ...], settings: PlatformSettings) -> None:
    """Migrate, or in production raise `PendingMigrations`: there an operator decides when a schema changes."""
    if settings.environment != "production":
        await migrate(databases, services)
    elif behind := await pending_migrations(databases, services):
        raise PendingMigrations(behind)
