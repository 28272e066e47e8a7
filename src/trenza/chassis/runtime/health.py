"""Which health checks a process has: its databases, its objects, and those that its services list."""

from __future__ import annotations

from functools import partial

from trenza.chassis.runtime.assembly import Assembly
from trenza.chassis.telemetry.health import Health

__all__ = ["health_of"]


def health_of(assembly: Assembly) -> Health:
    """The checks of a process. It accepts work from the end of its start until its drain begins."""
    health = Health(accepting=lambda: assembly.readiness.ready)
    for name, database in assembly.databases.items():
        health.add(f"{name} database", database.ping)
    health.add("objects", assembly.blobs.ping)
    # Without its broker a service works on: its outbox keeps what it announces.
    health.add("transport", assembly.transport.ping, required=False)
    for service in assembly.services:
        for check in service.checks:
            run = partial(check.run, assembly.implementation_of(service))
            health.add(check.name, run, required=check.required)
    return health
