"""``trenza messages declare``: the broker keeps events for services from now on, before these have run for the first time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import typer

from trenza.chassis.messages import event_types_of, open_broker
from trenza.chassis.runtime.deployment import read_deployment
from trenza.chassis.runtime.loading import load_services
from trenza.cli.errors import Failure, UsageFailure
from trenza.cli.options import read_settings

__all__ = ["declare"]


def declare(*, data_dir: Path | None, deployment: str, service: str | None) -> None:
    """Declare what each service of the deployment, or the one named, reacts to, and say so."""
    settings = read_settings(data_dir)
    if settings.transport_url is None:
        raise Failure("TRENZA_TRANSPORT_URL is not set: without a broker there is nothing to declare")
    services = load_services(read_deployment(deployment).services)
    types = {each.name: found for each in services if (found := event_types_of(each.handlers))}
    if service is not None and service not in types:
        raise UsageFailure(f"--service is {service!r}; those that react to events: {', '.join(sorted(types)) or 'none'}")
    wanted = types if service is None else {service: types[service]}
    place = asyncio.run(_declare(settings.transport_url.get_secret_value(), wanted))
    for name, found in wanted.items():
        typer.echo(f"{name}: {place} keeps {', '.join(sorted(found))}")
    if not wanted:
        typer.echo(f"no service of {deployment} reacts to events")


async def _declare(url: str, wanted: Mapping[str, frozenset[str]]) -> str:
    broker = open_broker(url)
    try:
        for name, types in wanted.items():
            await broker.declare(name, types)
    finally:
        await broker.close()
    return broker.place
