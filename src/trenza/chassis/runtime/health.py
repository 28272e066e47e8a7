"""Which health checks a process has: its databases, its objects, and those that its services list; and how its messages stand."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.messages import Messages
from trenza.chassis.runtime.assembly import Assembly
from trenza.chassis.telemetry.health import Health

__all__ = ["CalleeAway", "calls_of", "health_of", "messages_of"]

_RATES_OF = timedelta(minutes=1)
_LOOK_SECONDS = 2.0


class CalleeAway(Exception):
    """A service of another process cannot be called at present."""


def health_of(assembly: Assembly) -> Health:
    """The checks of a process. It accepts work from the end of its start until its drain begins."""
    health = Health(accepting=lambda: assembly.readiness.ready)
    for name, database in assembly.databases.items():
        health.add(f"{name} database", database.ping)
    health.add("objects", assembly.blobs.ping)
    # Without its broker a service works on: its outbox keeps what it announces.
    health.add("transport", assembly.broker.check, required=False)
    for callee in calls_of(assembly):
        # Whoever calls it has an answer for its absence, or fails alone.
        health.add(f"calls to {callee}", partial(_reachable, assembly, callee), required=False)
    if assembly.rate_limits.shared is not None:
        # Without Redis each process counts for itself.
        health.add("rate limits", assembly.rate_limits.shared.check, required=False)
    # What cannot be stored is kept by whoever brings it.
    for name, messages in assembly.messages.items():
        if messages.event_types:
            health.add(f"{name} inbox", messages.check_receiving, required=False)
    for service in assembly.services:
        for check in service.checks:
            run = partial(check.run, assembly.implementation_of(service))
            health.add(check.name, run, required=check.required)
    return health


def calls_of(assembly: Assembly) -> dict[str, dict[str, Any]]:
    """How the calls to services in other processes stand, by service: see `Callee.state`."""
    return {} if assembly.callees is None else assembly.callees.states()


async def _reachable(assembly: Assembly, callee: str) -> None:
    """Raise `CalleeAway` while calls to a service are held back, or none of its processes answers. Asks nobody."""
    state = calls_of(assembly)[callee]
    if state["breaker"] == "open":
        raise CalleeAway(f"its breaker is open; calls are tried again in {state['retry_in']:g} s")
    if all(replica["state"] == "aside" for replica in state["replicas"]):
        raise CalleeAway(f"nothing answers at {', '.join(replica['url'] for replica in state['replicas'])}")


async def messages_of(assembly: Assembly) -> dict[str, dict[str, Any] | None]:
    """For each service how much waits, runs and is dead, and what the last minute brought; None where nobody can tell."""
    looks = (_figures(assembly, messages) for messages in assembly.messages.values())
    return dict(zip(assembly.messages, await asyncio.gather(*looks), strict=True))


async def _figures(assembly: Assembly, messages: Messages) -> dict[str, Any] | None:
    now = assembly.clock.now()
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            found = await messages.overview.look(after=now - _RATES_OF, until=now)
    except (DatabaseUnavailable, SQLAlchemyError, TimeoutError):  # whatever it is, the checks shall still be told
        return None
    ages = [queue.oldest_seconds for queue in found.queues if queue.oldest_seconds is not None]
    return {
        "waiting": sum(queue.waiting for queue in found.queues),
        "delayed": sum(queue.delayed for queue in found.queues),
        "running": sum(queue.running for queue in found.queues),
        "dead": sum(queue.dead for queue in found.queues),
        "oldest_seconds": max(ages, default=None),
        "handled_per_minute": round(sum(queue.handled_per_second for queue in found.queues) * found.seconds),
        "outbox_waiting": found.outbox_waiting,
        "outbox_oldest_seconds": found.outbox_oldest_seconds,
    }
