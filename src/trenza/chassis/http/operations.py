"""The routes by which load balancers, Prometheus and operators ask a process how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from trenza.chassis.auth.permissions import public, requires
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.health import CheckResult, Health
from trenza.chassis.telemetry.metrics import render_metrics

__all__ = ["no_calls", "no_messages", "operations_router"]

_PROBED = public("load balancers and supervisors ask without a token; they are told the names and states of checks, no more")
_SCRAPED = public("in development Prometheus scrapes without a token")
_OPERATORS = requires("platform:viewer")
_OBJECT = {"type": "object", "additionalProperties": True}


async def no_messages() -> dict[str, Any]:
    """Of a process that handles none."""
    return {}


def no_calls() -> dict[str, Any]:
    """Of a process that calls nobody."""
    return {}


def operations_router(
    health: Health,
    settings: PlatformSettings,
    *,
    messages: Callable[[], Awaitable[Mapping[str, Any]]] = no_messages,
    calls: Callable[[], Mapping[str, Any]] = no_calls,
) -> APIRouter:
    """``/health/live``, ``/health/ready``, ``/health``, ``/health/status`` and, unless switched off, ``/metrics``.

    ``live`` is 200 as long as the process answers. ``ready`` is 200 when work can be accepted and 503 otherwise, while draining
    too. ``/health`` adds the state of every check (503 only when a required one fails), ``/health/status`` the reasons, how the
    ``messages`` of each service and the ``calls`` to other processes stand, which are for operators. ``/metrics`` is theirs as
    well in production, as it tells the traffic of every route.
    """
    router = APIRouter(tags=["operations"])

    async def live(response: Response) -> dict[str, str]:
        """Answer 200 while the process answers at all."""
        _never_stored(response)
        return {"status": "alive"}

    async def ready(response: Response) -> dict[str, Any]:
        """Answer 200 when work can be accepted, and 503 before, after, and while something is missing that it needs."""
        report = await health.report()
        _never_stored(response, status=200 if report.ready else 503)
        return {"status": "ready" if report.ready else "not ready", "accepting": report.accepting, "health": report.status}

    async def summary(response: Response) -> dict[str, Any]:
        """Tell the state of every check, but not why."""
        report = await health.report()
        _never_stored(response, status=503 if report.status == "unhealthy" else 200)
        return {"status": report.status, "checks": {check.name: _word(check) for check in report.checks}}

    _probe(router, "/health/live", live, "Whether the process answers")
    _probe(router, "/health/ready", ready, "Whether work can be accepted", may_be_503=True)
    _probe(router, "/health", summary, "The state of every check", may_be_503=True)

    @router.get("/health/status", dependencies=[_OPERATORS], summary="The checks with reasons and durations, and the messages")
    async def status(response: Response) -> dict[str, Any]:
        """Tell all that is known: the reasons, how long each check took, and what waits in each service."""
        report, queues = await asyncio.gather(health.report(), messages())
        _never_stored(response)
        return {
            "status": report.status,
            "ready": report.ready,
            "accepting": report.accepting,
            "environment": settings.environment,
            "checks": [
                {
                    "name": check.name,
                    "status": _word(check),
                    "required": check.required,
                    "duration_ms": check.duration_ms,
                    "reason": check.reason,
                }
                for check in report.checks
            ],
            "messages": queues,
            "calls": calls(),
        }

    if settings.prometheus_enabled:
        guard = _OPERATORS if settings.environment == "production" else _SCRAPED

        @router.get("/metrics", dependencies=[guard], include_in_schema=False)
        async def metrics(request: Request) -> Response:
            """Every metric of this process, in the format that the scraper prefers."""
            body, content_type = render_metrics(request.headers.get("accept", ""))
            return Response(body, headers={"Content-Type": content_type})

    return router


def _probe(
    router: APIRouter, path: str, answer: Callable[..., Awaitable[dict[str, Any]]], title: str, *, may_be_503: bool = False
) -> None:
    """GET, and HEAD for the probes that use it. Two routes, because one operation id cannot stand for both in OpenAPI."""
    responses: dict[int | str, dict[str, Any]] = {}
    if may_be_503:
        responses[503] = {"description": "The same, when it is not so.", "content": {"application/json": {"schema": _OBJECT}}}
    router.add_api_route(path, answer, methods=["GET"], dependencies=[_PROBED], summary=title, responses=responses)
    router.add_api_route(path, answer, methods=["HEAD"], dependencies=[_PROBED], include_in_schema=False)


def _never_stored(response: Response, *, status: int = 200) -> None:
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"


def _word(check: CheckResult) -> str:
    return "healthy" if check.healthy else "unhealthy"
