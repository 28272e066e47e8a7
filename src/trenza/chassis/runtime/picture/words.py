"""What the picture of a deployment says: addresses, stores and events in words, without passwords."""

from __future__ import annotations

from pathlib import PurePath
from urllib.parse import urlsplit

from sqlalchemy.engine import URL

from trenza.chassis.runtime.databases import database_urls
from trenza.chassis.runtime.deployment import Process
from trenza.chassis.runtime.plan import Plan
from trenza.chassis.service import Service

__all__ = ["address_of", "badges_of", "counted", "database_of", "events_of", "shared_stores"]

_BROKERS = {"amqp": "RabbitMQ", "amqps": "RabbitMQ", "kafka": "Kafka", "sqs": "SQS"}


def address_of(plan: Plan, process: Process) -> str:
    """Where a process is reached: ``http://127.0.0.1:8101 to 8103`` for three replicas on one machine."""
    if process.url is None or process.port is None:
        return "where its command line says" if plan.deployment.alone or process.gateway else "no address: it only works"
    if process.replicas == 1 or process.gateway:
        return process.url
    parts = urlsplit(process.url)
    base = process.url if parts.port else f"{process.url}:{process.port}"
    return f"{base} to {process.port + process.replicas - 1}"


def badges_of(plan: Plan, process: Process) -> tuple[str, ...]:
    """What sets a process apart, in few words."""
    stored = {service.name for service in plan.services if service.has_database}
    badges = ["gateway"] * process.gateway
    if process.replicas > 1:
        badges.append(f"{process.replicas} replicas")
    if stored & set(process.services):
        badges.append("workers" if process.workers else "no workers")
    return tuple(badges)


def counted(number: int, one: str, several: str) -> str:
    """``1 process``, ``3 processes``."""
    return f"{number} {one if number == 1 else several}"


def database_of(plan: Plan, service: Service) -> str:
    """Which database a service has; empty for none."""
    if not service.has_database:
        return ""
    return _database(database_urls((service,), plan.settings)[service.name], service.name.replace("-", "_"))


def _database(url: URL, schema: str) -> str:
    if url.get_backend_name() == "sqlite":
        return f"SQLite file {PurePath(url.database or '').name}"
    port = f":{url.port}" if url.port else ""
    return f"PostgreSQL {url.host or 'by socket'}{port}/{url.database or ''}, schema {schema}"


def events_of(service: Service) -> tuple[str, ...]:
    """The events that a service announces, without its own name before them."""
    return tuple(event.message_type.removeprefix(f"{service.name}.") for event in service.contract.events)


def shared_stores(plan: Plan) -> tuple[tuple[str, str], ...]:
    """What all processes share, as a heading and a sentence each."""
    settings = plan.settings
    objects = f"bucket {settings.blobs_url}" if settings.blobs_url else "files in the data folder"
    signing = "a named PEM file" if settings.signing_key_file else "a file in the data folder"
    return (("Objects", objects), ("Events", _transport(plan)), ("Signing key", signing))


def _transport(plan: Plan) -> str:
    secret = plan.settings.transport_url
    if secret is None:
        if len(plan.deployment.processes) == 1:
            return "from outbox to inbox within the process"
        return "from outbox to inbox through the databases"
    scheme, _, rest = secret.get_secret_value().partition("://")
    # A password may hold any character, so what counts is the last @, before anything else is cut off.
    place = rest.rpartition("@")[2].partition("?")[0].partition("#")[0].strip("/")
    return f"{_BROKERS.get(scheme, 'a broker')} {place}".rstrip()
