from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from trenza.chassis.auth.keys import SigningKey
from trenza.chassis.auth.permissions import DOCUMENT_PATHS, RoleBook, Roles, check_routes, install_auth, public, requires
from trenza.chassis.auth.tokens import TokenVerifier, issue_token
from trenza.chassis.context import Principal, current_context
from trenza.chassis.http.problem import install_problem_handlers
from trenza.chassis.testing.clock import ManualClock

PHOTOS = Roles("photos", ("admin", "manager", "editor", "viewer", "public"))
BILLS = Roles("bills", ("admin", "viewer"))

Bearer = Callable[..., dict[str, str]]


@pytest.fixture
def bearer(key: SigningKey, clock: ManualClock) -> Bearer:
    """Makes the Authorization header of somebody with these scopes."""

    def header(*scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {issue_token(key, 'ana', scopes, timedelta(minutes=5), clock=clock)}"}

    return header


@pytest.fixture
def app(verifier: TokenVerifier) -> FastAPI:
    """An application with a guarded route of each kind."""
    app = FastAPI()
    install_auth(app, verifier, [PHOTOS, BILLS])
    install_problem_handlers(app)

    @app.get("/photos")
    async def photos(principal: Annotated[Principal, requires("photos:editor")]) -> dict[str, object]:
        return {"subject": principal.subject, "in_context": current_context().principal.subject}

    @app.get("/bills", dependencies=[requires("bills:viewer")])
    def bills() -> str:  # not async: FastAPI runs it in a thread
        return current_context().principal.subject

    @app.get("/tasks", dependencies=[requires("platform:viewer")])
    async def tasks() -> str:
        return "tasks"

    @app.get("/stream", dependencies=[requires("photos:viewer")])
    async def stream() -> StreamingResponse:
        async def body() -> object:
            yield current_context().principal.subject

        return StreamingResponse(body())  # type: ignore[arg-type]  # an async generator of strings

    @app.get("/open")
    async def open_to_all(principal: Annotated[Principal, public("a test")]) -> str:
        return principal.subject

    return app


@pytest.fixture
async def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_without_a_token_a_guarded_route_answers_401(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer  "}):
        answer = await client.get("/photos", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "UNAUTHENTICATED"


async def test_a_bad_token_answers_401_and_says_only_what_its_bearer_may_know(
    client: httpx.AsyncClient, key: SigningKey, clock: ManualClock
) -> None:
    expired = issue_token(key, "ana", ["photos:admin"], timedelta(seconds=1), clock=ManualClock(clock.now() - timedelta(hours=1)))
    strange = issue_token(SigningKey.generate(), "ana", ["photos:admin"], timedelta(hours=1), clock=clock)
    for token, reason in ((expired, "expired"), (strange, "not trusted"), ("x", "malformed")):
        answer = await client.get("/photos", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert (answer.json()["code"], answer.json()["reason"]) == ("INVALID_TOKEN", reason)


async def test_of_several_authorizations_none_is_taken(client: httpx.AsyncClient, bearer: Bearer) -> None:
    mine, anybodys = bearer("photos:editor")["Authorization"], bearer("photos:viewer")["Authorization"]
    for pair in ((mine, anybodys), (anybodys, mine), (mine, mine), (mine, "Basic YTpi"), (mine, "")):
        answer = await client.get("/photos", headers=[("Authorization", value) for value in pair])
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (400, "SEVERAL_AUTHORIZATIONS")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_request"'
        assert (problem["field"], problem["limit"]) == ("Authorization", 1)
        assert problem["remedy"]


@pytest.mark.parametrize("role", ["admin", "manager", "editor"])
async def test_the_role_and_higher_ones_may(client: httpx.AsyncClient, bearer: Bearer, role: str) -> None:
    answer = await client.get("/photos", headers=bearer(f"photos:{role}"))
    assert answer.json() == {"subject": "ana", "in_context": "ana"}


@pytest.mark.parametrize("scope", ["photos:viewer", "photos:public", "bills:admin", "platform:admin", "photos:Editor", "photos"])
async def test_lower_roles_and_those_of_others_may_not(client: httpx.AsyncClient, bearer: Bearer, scope: str) -> None:
    answer = await client.get("/photos", headers=bearer(scope))
    assert answer.status_code == 403
    assert answer.json()["code"] == "SCOPE_MISSING"
    assert answer.json()["scope"] == "photos:editor"
    assert 'scope="photos:editor"' in answer.headers["WWW-Authenticate"]


async def test_the_platforms_roles_need_no_declaration(client: httpx.AsyncClient, bearer: Bearer) -> None:
    assert (await client.get("/tasks", headers=bearer("platform:admin"))).status_code == 200
    assert (await client.get("/tasks", headers=bearer("photos:admin"))).status_code == 403


async def test_the_principal_is_in_the_context_of_threads_and_streams_and_gone_afterwards(
    client: httpx.AsyncClient, bearer: Bearer
) -> None:
    assert (await client.get("/bills", headers=bearer("bills:viewer"))).json() == "ana"
    assert (await client.get("/stream", headers=bearer("photos:viewer"))).text == "ana"
    assert current_context().principal.kind == "anonymous"


async def test_a_public_route_does_not_look_at_tokens(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Bearer rubbish"}):
        assert (await client.get("/open", headers=headers)).json() == "anonymous"


async def handshake(app: FastAPI, path: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    """What the application sends when a WebSocket is opened."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "websocket",
        "path": path,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "query_string": b"",
        "subprotocols": [],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_a_websocket_is_guarded_at_its_handshake(app: FastAPI, bearer: Bearer) -> None:
    @app.websocket("/live", dependencies=[requires("photos:viewer")])
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(current_context().principal.subject)
        await socket.close()

    opened = await handshake(app, "/live", bearer("photos:admin"))
    assert [message["type"] for message in opened] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert opened[1]["text"] == "ana"
    for headers in ({}, bearer("bills:admin"), {"Authorization": "Bearer x"}):
        (refused,) = await handshake(app, "/live", headers)
        assert (refused["type"], refused["code"]) == ("websocket.close", 1008)


def test_the_api_document_names_the_bearer_scheme(app: FastAPI) -> None:
    document = app.openapi()
    assert document["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"
    assert document["paths"]["/photos"]["get"]["security"] == [{"Bearer": []}]
    assert "security" not in document["paths"]["/open"]["get"]
    assert "Authorization" not in str(document["paths"]["/photos"]["get"].get("parameters", ""))


def test_a_complete_application_passes_the_check(app: FastAPI) -> None:
    assert check_routes(app, [PHOTOS, BILLS]) == ()


def test_forgotten_routes_are_found_wherever_they_are(app: FastAPI) -> None:
    async def forgotten() -> None: ...

    async def forgotten_socket(socket: WebSocket) -> None: ...

    inner = APIRouter(prefix="/inner")
    inner.add_api_route("/http", forgotten, methods=["POST"])
    inner.add_api_websocket_route("/socket", forgotten_socket)
    outer = APIRouter(prefix="/outer")
    outer.include_router(inner)
    app.include_router(outer)
    mounted = FastAPI(openapi_url=None)
    mounted.add_api_route("/http", forgotten)
    app.mount("/mounted", mounted)
    app.mount("/plain", Starlette(routes=[Route("/page", PlainTextResponse("x"))]))
    app.mount("/opaque", PlainTextResponse("x"))
    findings = check_routes(app, [PHOTOS, BILLS])
    for path in ("POST /outer/inner/http:", "/outer/inner/socket:", "/mounted/http:", "/plain/page:", "/opaque:"):
        assert sum(path in finding for finding in findings) == 1, path
    assert len(findings) == 5


def test_a_router_can_guard_all_that_it_includes(app: FastAPI) -> None:
    async def guarded() -> None: ...

    inner = APIRouter(prefix="/inner")
    inner.add_api_route("/http", guarded)
    outer = APIRouter(dependencies=[requires("photos:viewer")])
    outer.include_router(inner)
    app.include_router(outer)
    assert check_routes(app, [PHOTOS, BILLS]) == ()


def test_unknown_scopes_and_contradictions_are_found(app: FastAPI) -> None:
    @app.get("/typo", dependencies=[requires("photos:editr")])
    async def typo() -> None: ...

    @app.get("/both", dependencies=[requires("photos:editor"), public("a test")])
    async def both() -> None: ...

    findings = check_routes(app, [PHOTOS, BILLS])
    assert len(findings) == 2
    assert "/typo" in findings[0]
    assert "'photos:editr'" in findings[0]
    assert "both" in findings[1]
    assert any("bills:viewer" in finding for finding in check_routes(app, [PHOTOS])), "roles that nobody declares are unknown"


def test_the_list_of_open_documents_opens_nothing_else(app: FastAPI) -> None:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(request.url))

    app.add_route("/elsewhere", page)
    assert ["/elsewhere" in finding for finding in check_routes(app, [PHOTOS, BILLS])] == [True]
    assert check_routes(app, [PHOTOS, BILLS], allowed=[*DOCUMENT_PATHS, "/elsewhere"]) == ()


async def test_an_application_without_auth_says_what_is_missing(bearer: Bearer) -> None:
    app = FastAPI()

    @app.get("/photos", dependencies=[requires("photos:editor")])
    async def photos() -> None: ...

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        with pytest.raises(RuntimeError, match=r"call install_auth\(app, verifier, roles\)"):
            await client.get("/photos", headers=bearer("photos:editor"))


def test_roles_scopes_and_reasons_are_checked_when_they_are_written() -> None:
    with pytest.raises(ValueError, match="service:role"):
        requires("photos")
    with pytest.raises(ValueError, match="reason"):
        public(" ")
    with pytest.raises(ValueError, match="all different"):
        Roles("photos", ("admin", "admin"))
    with pytest.raises(ValueError, match="part of a scope"):
        Roles("photos", ("ad min",))
    with pytest.raises(ValueError, match="declared twice"):
        check_routes(FastAPI(), [PHOTOS, PHOTOS])


def test_a_scope_may_be_held_for_a_unit() -> None:
    book = RoleBook([Roles("photos", ("admin", "viewer"))])
    assert book.units(["photos:viewer@A", "photos:admin@B", "images:viewer@C"], "photos:viewer") == frozenset("AB")
    assert book.units(["photos:viewer@A"], "photos:admin") == frozenset()
    assert book.units(["photos:viewer@A", "photos:admin"], "photos:viewer") is None
    assert not book.allows(["photos:admin@A"], "photos:viewer")
    assert [book.knows(scope) for scope in ("photos:viewer@A", "photos:viewer", "photos:viewer@", "photos:boss@A")] == [
        True,
        True,
        False,
        False,
    ]
