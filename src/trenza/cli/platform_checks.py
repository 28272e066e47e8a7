"""The doctor's look at what the settings name: services' settings, production readiness, databases, objects and keys."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy.engine import URL

from trenza.chassis.auth.keys import UnusableKey
from trenza.chassis.blobs import Blobs, BlobsUnavailable, open_blobs
from trenza.chassis.data import Database, DatabaseUnavailable
from trenza.chassis.gateway import GatewaySettings
from trenza.chassis.http.rate_limits import RateLimits
from trenza.chassis.messages import TransportUnavailable, open_broker
from trenza.chassis.runtime.assembly import read_service_settings
from trenza.chassis.runtime.databases import database_urls, open_database, pending_migrations, service_prefix
from trenza.chassis.runtime.object_store import object_store_place, refuse_foreign
from trenza.chassis.runtime.signing import NoLocalKey, signing_key, signing_key_path
from trenza.chassis.runtime.wiring import wiring_problems
from trenza.chassis.service import Service
from trenza.chassis.settings import CannotStart, InvalidSettings, PlatformSettings, UnsafeSettings
from trenza.cli.findings import Finding, fail, good, warn

__all__ = ["run"]

_BROKER_SECONDS = 6.0
"""How long a broker may take to let us in; Kafka's library tells after five why it was not."""


async def run(services: tuple[Service, ...], settings: PlatformSettings) -> list[Finding]:
    """Every finding about the platform. Makes nothing that is not there yet."""
    findings = [fail("wiring", problem, "") for problem in wiring_problems(services)] or [
        good("wiring", "the services fit together")
    ]
    findings += _service_settings(services, settings)
    findings += _unknown_variables(services)
    findings.append(_key(settings))
    findings += await _databases(services, settings)
    findings.append(await _blobs(services, settings))
    findings += await _redis(settings)
    findings += await _broker(settings)
    return findings


def _service_settings(services: tuple[Service, ...], settings: PlatformSettings) -> list[Finding]:
    try:
        read_service_settings(services, settings)
    except InvalidSettings as error:
        return [fail("settings", problem, "") for problem in error.problems]
    except UnsafeSettings as error:
        return [fail("production", problem, "") for problem in error.problems]
    if settings.environment == "production":
        return [good("production", "the settings are safe")]
    as_production = settings.model_copy(update={"environment": "production"})
    lacking = as_production.unsafe_for_production()
    said = (
        f"not asked for; it would need {len(lacking)} more settings"
        if lacking
        else "not asked for; the settings are ready for it"
    )
    return [good("production", said)]


def _unknown_variables(services: tuple[Service, ...]) -> list[Finding]:
    """``TRENZA_*`` variables that nothing reads: usually a slip of the pen."""
    prefixes = tuple(service_prefix(service.name) for service in services)
    known = {f"TRENZA_{name.upper()}" for name in PlatformSettings.model_fields}
    known |= {"TRENZA_SECRETS_DIR", "TRENZA_DEPLOYMENT", "TRENZA_PROCESS", "TRENZA_TOKEN", "TRENZA_URL"}
    known |= {f"TRENZA_GATEWAY_{name.upper()}" for name in GatewaySettings.model_fields}
    for service in services:
        prefix = str(service.settings.model_config.get("env_prefix", ""))
        known |= {f"{prefix}{name}".upper() for name in service.settings.model_fields}
        known.add(f"{service_prefix(service.name)}DATABASE_URL")
    return [
        warn("settings", f"{name} is set but nothing reads it", "correct its name, or unset it")
        for name in sorted(os.environ)
        if name.startswith("TRENZA_") and name not in known and not any(name == prefix for prefix in prefixes)
    ]


def _key(settings: PlatformSettings) -> Finding:
    path = signing_key_path(settings)
    if settings.signing_key_file is None and settings.environment != "production" and not path.exists():
        return good("signing key", f"{path} (made on first use)")
    try:
        return good("signing key", f"{path} ({signing_key(settings).kid[:8]}…)")
    except (NoLocalKey, UnusableKey) as error:
        return fail("signing key", str(error), "")


async def _databases(services: tuple[Service, ...], settings: PlatformSettings) -> list[Finding]:
    try:
        urls = database_urls(services, settings)
    except InvalidSettings as error:
        return [fail("database", problem, "") for problem in error.problems]
    return list(await asyncio.gather(*(_database(service, urls[service.name]) for service in services if service.name in urls)))


async def _database(service: Service, url: URL) -> Finding:
    what = f"database {service.name}"
    shown = url.render_as_string(hide_password=True)
    if not await asyncio.to_thread(_is_made, url):
        return good(what, f"{shown} (made on first use)")
    database = open_database(service.name, url)
    try:
        await database.ping()
        behind = await pending_migrations({service.name: database}, (service,))
    except DatabaseUnavailable as error:
        return fail(what, str(error), "")  # it names the remedy
    finally:
        await database.close()
    if behind:
        return warn(what, f"{shown}: migrations are pending", "run `trenza migrate` (development migrates at start)")
    return good(what, f"{shown}: up to date")


def _is_made(url: URL) -> bool:
    """Whether there can be a database; to open one of SQLite would make it."""
    return url.get_backend_name() != "sqlite" or Path(url.database or "").exists()


async def _blobs(services: tuple[Service, ...], settings: PlatformSettings) -> Finding:
    where = object_store_place(settings)
    if settings.blobs_url is None and not settings.data_dir.exists():
        return good("objects", f"{where} (made on first use)")
    blobs: Blobs | None = None
    databases: dict[str, Database] = {}
    try:
        blobs = open_blobs(settings)
        await blobs.ping()
        with suppress(InvalidSettings):  # said above
            urls = database_urls(services, settings)
            made = [name for name in urls if await asyncio.to_thread(_is_made, urls[name])]
            databases |= {name: open_database(name, urls[name]) for name in made}
        await refuse_foreign(databases, blobs, settings)
    except InvalidSettings as error:
        return fail("objects", "; ".join(error.problems), "")  # they name their remedies
    except CannotStart as error:
        return fail("objects", str(error), "")  # the same
    except BlobsUnavailable as error:
        return fail("objects", f"{where}: {error}", "check the folder's permissions, or TRENZA_BLOBS_URL and AWS_*")
    finally:
        if blobs is not None:
            await blobs.close()
        for database in databases.values():
            await database.close()
    return good("objects", f"{where} can be reached")


async def _redis(settings: PlatformSettings) -> list[Finding]:
    if settings.redis_url is None:
        return []
    try:
        limits = RateLimits(settings)
    except InvalidSettings as error:
        return [fail("Redis", problem, "") for problem in error.problems]
    try:
        if limits.shared is not None:
            await limits.shared.check()
    except ConnectionError as error:
        return [warn("Redis", str(error), "check TRENZA_REDIS_URL, or raise TRENZA_REDIS_TIMEOUT_SECONDS where it is far away")]
    finally:
        await limits.close()
    return [good("Redis", "rate limits are counted there" if limits.enabled else "not used: rate limits are off")]


async def _broker(settings: PlatformSettings) -> list[Finding]:
    if settings.transport_url is None:
        return [good("broker", "none: the services of one process reach each other directly")]
    try:
        broker = open_broker(settings.transport_url.get_secret_value())
    except InvalidSettings as error:
        return [fail("broker", problem, "") for problem in error.problems]
    try:
        async with asyncio.timeout(_BROKER_SECONDS):
            await broker.reach()
    except TimeoutError:
        remedy = "start it, see whether a firewall keeps us from it, or correct TRENZA_TRANSPORT_URL"
        return [fail("broker", f"{broker.place} does not answer within {_BROKER_SECONDS:.0f} s", remedy)]
    except TransportUnavailable as error:
        return [fail("broker", str(error), "")]  # it names the remedy
    finally:
        await broker.close()
    return [good("broker", f"{broker.place} lets us in")]
