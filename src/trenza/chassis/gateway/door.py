"""What the gateway answers itself: its health, the metrics, the merged OpenAPI document, and compositions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import JSONResponse

from trenza.chassis.auth.permissions import Roles, install_auth, public
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.gateway.compositions import Compositions
from trenza.chassis.gateway.documents import Documents
from trenza.chassis.http.middleware import install_middleware
from trenza.chassis.http.operations import operations_router
from trenza.chassis.http.problem import Problem, install_problem_handlers
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.health import Health

__all__ = ["door_app"]

_SHOWN = public("it shows the API, no data")
_COMPOSED = public("each part asks for its own permission, with the caller's token")


def door_app(
    settings: PlatformSettings,
    verifier: TokenVerifier,
    health: Health,
    documents: Documents,
    compositions: Compositions,
    *,
    messages: Callable[[], Awaitable[Mapping[str, Any]]],
    calls: Callable[[], Mapping[str, Any]],
    routers: Sequence[APIRouter],
    roles: Iterable[Roles],
) -> FastAPI:
    """The application of these pages, with the middleware and the error handlers that every process has."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    install_auth(app, verifier, tuple(roles))
    install_problem_handlers(app)
    install_middleware(app, settings)
    app.include_router(operations_router(health, settings, messages=messages, calls=calls))

    @app.get("/openapi.json", dependencies=[_SHOWN])
    async def openapi() -> Response:
        return JSONResponse(await documents.merged(), headers={"Cache-Control": "no-cache"})

    for router in routers:
        app.include_router(router)

    @app.api_route("/{_path:path}", methods=["GET", "HEAD"], dependencies=[_COMPOSED])
    async def compose(request: Request, _path: str) -> Response:
        found = compositions.find(request.scope["raw_path"])
        if found is None:
            raise Problem(404, "NOT_FOUND")
        return JSONResponse(await compositions.compose(*found, request.scope), headers={"Cache-Control": "no-store"})

    return app
