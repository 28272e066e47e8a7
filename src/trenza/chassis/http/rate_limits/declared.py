"""Limits that a route declares for itself, by `limited`, and the check that they make sense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection

from trenza.chassis.http.rate_limits.door import UNCOUNTED_PATHS, UNCOUNTED_PREFIX
from trenza.chassis.http.rate_limits.limiter import By, rate_limits_of
from trenza.chassis.http.route_templates import RouteTemplates
from trenza.chassis.rates import Rate

__all__ = ["Limit", "check_limits", "limited"]

_templates = RouteTemplates()


@dataclass(frozen=True)
class Limit:
    """The dependency behind `limited`."""

    rate: Rate
    by: By
    bucket: str | None = None

    async def __call__(self, connection: HTTPConnection) -> None:
        """Count the request, or raise `Problem` (429)."""
        scope = connection.scope
        limits = rate_limits_of(connection)
        if not limits.enabled:
            return
        template = f"{scope.get('root_path', '')}{_templates.template(scope)}"
        methods = ",".join(sorted(getattr(scope["route"], "methods", None) or ()))
        bucket = self.bucket or f"{methods} {template}".strip()
        await limits.count(scope, self.rate, bucket=bucket, by=self.by, route=template)


@cache
def limited(rate: str, *, by: By = "caller", bucket: str | None = None) -> Any:
    """Limit how often one caller may ask a route, beside the limit for everything.

    ``dependencies=[limited("5/minute", by="address")]``, on a route, or on a router, each of whose routes counts apart. ``rate``
    is as `Rate.read` has it. ``by`` "caller" counts the subject of a valid token together, else the address; "address" counts an
    address whoever asks, which is what keeps passwords from being tried. Routes with the same ``bucket`` count together.
    What is too much is answered with 429, and not counted. Raises `ValueError` for what makes no sense.
    """
    if by not in get_args(By):
        raise ValueError(f"by={by!r}: write one of {', '.join(get_args(By))}")
    if bucket is not None and not (bucket.isascii() and bucket.isprintable() and bucket.strip() and '"' not in bucket):
        raise ValueError(f"bucket={bucket!r}: write a short name of ASCII letters; clients see it")
    return Depends(Limit(Rate.read(rate), by, bucket))


def check_limits(app: FastAPI) -> tuple[str, ...]:
    """What is wrong with the limits that routes declare, a sentence each with its remedy. Empty when all is well."""
    findings: list[str] = []
    buckets: dict[str, tuple[Limit, str]] = {}
    for route in iter_route_contexts(app.routes):
        limits = list(_limits_of(getattr(route, "dependant", None)))
        where = f"{','.join(sorted(route.methods or ()))} {route.path}".strip()
        path = route.path or ""
        if limits and (path in UNCOUNTED_PATHS or path.startswith(UNCOUNTED_PREFIX)):
            findings.append(f"{where}: is never counted, so that limited(…) has no effect; remove it")
        for limit in limits:
            if sum(other.by == limit.by and other.bucket == limit.bucket for other in limits) > 1:
                rates = ", ".join(sorted({str(other.rate) for other in limits if other.by == limit.by}))
                findings.append(f'{where}: has several limits by {limit.by}; write one limited("{rates}", …)')
                break
            if limit.bucket is not None:
                first, at = buckets.setdefault(limit.bucket, (limit, where))
                if first != limit:
                    differs = f"{first.rate} by {first.by} at {at} and {limit.rate} by {limit.by} here"
                    findings.append(f"{where}: the bucket {limit.bucket!r} is {differs}; make them equal, or name two buckets")
    return tuple(findings)


def _limits_of(dependant: Any) -> Iterator[Limit]:
    """The limits anywhere in a tree of dependencies."""
    if dependant is None:
        return
    if isinstance(dependant.call, Limit):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _limits_of(inner)
