"""How the services behind the gateway are, as checks of its own health: a service that is down degrades it, no more."""

from __future__ import annotations

import asyncio
from functools import partial

import orjson

from trenza.chassis.gateway.probes import ask
from trenza.chassis.gateway.proxy import Proxy
from trenza.chassis.gateway.upstream import UpstreamBroke
from trenza.chassis.peers import Replica
from trenza.chassis.telemetry.health import Health

__all__ = ["add_checks"]

_OK = 200
_SECONDS = 1.5
"""Less than the 2 s that a check has as a whole, so that the reason names the replica."""


class ServiceDegraded(Exception):
    """Some of a service's replicas do not answer, or say that something is missing that they need."""


def add_checks(health: Health, proxies: list[Proxy]) -> None:
    """Add a check for each service, named after it. The gateway stays ready without them: it serves the others."""
    for proxy in proxies:
        health.add(f"{proxy.service} service", partial(_check, proxy), required=False)


async def _check(proxy: Proxy) -> None:
    replicas = proxy.upstream.replicas.all
    found = await asyncio.gather(*(_look(proxy, replica) for replica in replicas))
    if problems := [problem for problem in found if problem is not None]:
        of = f"{len(problems)} of {len(replicas)} replicas: " if len(replicas) > 1 else ""
        raise ServiceDegraded(of + "; ".join(dict.fromkeys(problems)))


async def _look(proxy: Proxy, replica: Replica) -> str | None:
    """What is wrong with a replica. A legacy one has no health of ours: that it answers is all that is asked."""
    try:
        async with asyncio.timeout(_SECONDS):
            status, body = await ask(proxy.upstream, replica, "/health" if proxy.own else "/")
    except (UpstreamBroke, TimeoutError) as error:
        return f"no answer ({error})" if str(error) else f"no answer within {_SECONDS:g} s"
    if not proxy.own:
        return None
    try:
        report = orjson.loads(body)
        checks = [name for name, word in report["checks"].items() if word != "healthy"]
        word = report["status"]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None if status == _OK else f"it answers {status} at /health"
    return None if word == "healthy" else f"{word}: {', '.join(checks)}"
